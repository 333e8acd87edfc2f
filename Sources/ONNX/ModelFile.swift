import Text

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif
#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// A model's file, or one beside it, open for reading as long as this lives.
///
/// It is read, not mapped: where a mapped file is shortened by another program, the next look at it ends this one by a signal. Whoever
/// reads asks afterwards whether the file is still as it was when it was opened, so all that is ever read of it is one state of it. A file
/// that takes the path of this one changes nothing.
package final class ModelFile: Sendable {
    package let path: String
    /// Bytes.
    package let count: Int
    private let descriptor: Int32
    private let opened: State

    /// What changes when somebody writes: not the time of the inode's change, which links and a new name change too.
    private struct State: Equatable {
        let size: Int, seconds: Int, nanoseconds: Int
        init(_ status: stat) {
            (size, seconds, nanoseconds) = (
                Int(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec
            )
        }
    }

    init(_ path: String) throws(ONNXError) {
        guard !path.isEmpty, !path.utf8.contains(0) else {
            throw ONNXError(.fileNotFound, file: quoted(path), "This is not a path of a file.")
        }
        // Not blocking: opening a pipe that nobody writes to must not wait for ever.
        let file = FileName.open(path, O_RDONLY | O_NONBLOCK)
        guard file >= 0 else {
            let code = errno
            if code == ENOENT || code == ENOTDIR {
                throw ONNXError(.fileNotFound, file: path, "There is no such file.")
            }
            throw ModelFile.unreadable(path, code)
        }
        var status = stat()
        var problem: ONNXError?
        if fstat(file, &status) != 0 {
            problem = ModelFile.unreadable(path, errno)
        } else if status.st_mode & S_IFMT == S_IFDIR {
            problem = ONNXError(
                .notAFile, file: path, "This is a directory; name the .onnx file inside it.")
        } else if status.st_mode & S_IFMT != S_IFREG {
            problem = ONNXError(
                .notAFile, file: path, "This is not a regular file, of which parts can be read again.")
        }
        if let problem {
            close(file)
            throw problem
        }
        (self.path, count, descriptor, opened) = (path, Int(status.st_size), file, State(status))
    }

    deinit { close(descriptor) }

    private static func unreadable(_ path: String, _ code: Int32) -> ONNXError {
        ONNXError(.unreadable, file: path, "The file cannot be read: \(String(cString: strerror(code))).")
    }

    /// Fills memory with the bytes from `offset` on.
    /// - Throws: `changed` if another program has written to the file since it was opened.
    package func read(_ target: UnsafeMutableRawBufferPointer, from offset: Int) throws(ONNXError) {
        var done = 0
        while done < target.count {
            let read = pread(descriptor, target.baseAddress! + done, target.count - done, offset + done)
            if read < 0 && errno == EINTR { continue }
            if read < 0 { throw ModelFile.unreadable(path, errno) }
            if read == 0 { break }
            done += read
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0, State(status) == opened, done == target.count else {
            throw ONNXError(
                .changed, file: path,
                "The file was changed by another program after it was opened; run again when it is complete.")
        }
    }

    /// The folder of `path`: everything before its last slash.
    static func folder(of path: String) -> String {
        // By bytes: a slash before a combining mark is a slash.
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// What a file that is not ONNX looks like, by its first bytes: the formats that people confuse with it.
    static func otherFormat(_ data: Data) -> String? {
        let formats: [(start: [UInt8], name: String)] = [
            (
                Array("version https://git-lfs".utf8),
                "a Git LFS pointer; fetch the file itself with 'git lfs pull'"
            ),
            (
                Array("PK\u{3}\u{4}".utf8),
                "a zip archive, maybe a PyTorch checkpoint; export the model to ONNX first"
            ),
            ([0x89] + Array("HDF".utf8), "an HDF5 file, maybe a Keras model; export the model to ONNX first"),
            ([0x1f, 0x8b], "a gzip archive; unpack it first"),
            ([0x80, 0x02], "a Python pickle, maybe a PyTorch checkpoint; export the model to ONNX first"),
            (Array("<!DOCTYPE".utf8), "a web page, not what its link promised"),
            (Array("<html".utf8), "a web page, not what its link promised"),
        ]
        return formats.first { data.starts(with: $0.start) }?.name
    }
}
