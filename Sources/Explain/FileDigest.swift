// What a file holds, in a number.

import Dispatch
import Glibc
import ONNX
import Synchronization
import Text

/// The SHA-256 of a model's bytes, computed once, on another thread: from the file that the network itself is read from, which is
/// open since then, so that the number is that of what runs.
final class FileDigest: Sendable {
    private let bytes: ModelBytes
    private let state = Mutex<(begun: Bool, digits: Result<String, ONNXError>?)>((false, nil))
    private let done = DispatchGroup()

    init(_ bytes: ModelBytes) { self.bytes = bytes }

    /// Begins, so that the number is there when it is asked for.
    func begin() {
        state.withLock { state in
            guard !state.begun else { return }
            state.begun = true
            DispatchQueue.global().async(group: done) {
                let digits = Result { () throws(ONNXError) in try FileDigest.digits(self.bytes) }
                self.state.withLock { $0.digits = digits }
            }
        }
    }

    /// 64 hexadecimal digits.
    /// - Throws: `ExplainError` if the file was changed, or cannot be read any more.
    func digits() throws -> String {
        begin()
        done.wait()
        do {
            return try state.withLock { $0.digits! }.get()
        } catch {
            throw ExplainError(error, .model)
        }
    }

    private static func digits(_ bytes: ModelBytes) throws(ONNXError) -> String {
        let part = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { part.deallocate() }
        var hash = SHA256()
        for start in stride(from: 0, to: bytes.count, by: part.count) {
            let read = UnsafeMutableRawBufferPointer(rebasing: part[..<min(part.count, bytes.count - start)])
            try bytes.read(read, from: start)
            hash.update(UnsafeRawBufferPointer(read))
        }
        return hash.digits()
    }
}
