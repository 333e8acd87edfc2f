import Files
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
/// Whoever reads asks afterwards whether the file is still as it was when it was opened, so all that is ever read of it is one state of it.
package final class ModelFile: Sendable {
    private let file: InputFile
    package var path: String { file.path }
    /// Bytes.
    package var count: Int { file.size }

    init(_ path: String) throws(ONNXError) {
        guard !path.isEmpty, !path.utf8.contains(0) else {
            throw ONNXError(.fileNotFound, file: quoted(path), "This is not a path of a file.")
        }
        do { file = try InputFile(path) } catch { throw ModelFile.failure(error) }
    }

    private static func failure(_ error: FileError) -> ONNXError {
        switch error.code {
        case ENOENT, ENOTDIR: ONNXError(.fileNotFound, file: error.path, "There is no such file.")
        case EISDIR:
            ONNXError(.notAFile, file: error.path, "This is a directory; name the .onnx file inside it.")
        case ESPIPE:
            ONNXError(
                .notAFile, file: error.path,
                "This is not a regular file, of which parts can be read again.")
        default:
            ONNXError(.unreadable, file: error.path, "The file cannot be read: \(error.systemMessage).")
        }
    }

    /// Fills memory with the bytes from `offset` on.
    /// - Throws: `changed` if another program has written to the file since it was opened.
    package func read(_ target: UnsafeMutableRawBufferPointer, from offset: Int) throws(ONNXError) {
        let count: Int
        do { count = try file.read(target, from: offset) } catch { throw ModelFile.failure(error) }
        guard file.isUnchanged, count == target.count else {
            throw ONNXError(
                .changed, file: path,
                "The file was changed by another program after it was opened; run again when it is complete.")
        }
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
