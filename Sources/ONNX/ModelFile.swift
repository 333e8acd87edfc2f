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

/// Maps files into memory.
enum ModelFile {
    /// The bytes of the regular file at `path`, mapped, not read. The mapping lives as long as the data or a slice
    /// of it does. Another program that shortens the file meanwhile ends this one, as with any mapped file.
    static func map(_ path: String) throws(ONNXError) -> Data {
        guard !path.isEmpty, !path.utf8.contains(0) else {
            throw ONNXError(.fileNotFound, file: quoted(path), "This is not a path of a file.")
        }
        var status = stat()
        guard FileName.withPath(path, { stat($0, &status) }) == 0 else {
            let code = errno
            if code == ENOENT || code == ENOTDIR {
                throw ONNXError(.fileNotFound, file: path, "There is no such file.")
            }
            throw ONNXError(
                .unreadable, file: path, "The file cannot be read: \(String(cString: strerror(code))).")
        }
        switch status.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFDIR:
            throw ONNXError(.notAFile, file: path, "This is a directory; name the .onnx file inside it.")
        default:
            throw ONNXError(
                .notAFile, file: path, "This is not a regular file; models are mapped into memory.")
        }
        guard status.st_size > 0 else { return Data() }
        let file = FileName.open(path, O_RDONLY)
        defer { close(file) }
        let size = Int(status.st_size)
        guard file >= 0, let start = mmap(nil, size, PROT_READ, MAP_PRIVATE, file, 0), start != MAP_FAILED
        else {
            throw ONNXError(
                .unreadable, file: path, "The file cannot be read: \(String(cString: strerror(errno))).")
        }
        return Data(bytesNoCopy: start, count: size, deallocator: .unmap)
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
