// What a file holds, in a number.

import Crypto
import Dispatch
import Foundation
import Synchronization
import Text

/// The SHA-256 of a file, computed once, on another thread.
package final class FileDigest: Sendable {
    private let path: String
    private let state = Mutex<(begun: Bool, digits: String?)>((false, nil))
    private let done = DispatchGroup()

    init(path: String) { self.path = path }

    /// Begins, so that the number is there when it is asked for.
    package func begin() {
        state.withLock { state in
            guard !state.begun else { return }
            state.begun = true
            DispatchQueue.global().async(group: done) {
                let digits = try? FileDigest.digits(self.path)
                self.state.withLock { $0.digits = digits }
            }
        }
    }

    /// 64 hexadecimal digits; nil if the file cannot be read.
    var digits: String? {
        begin()
        done.wait()
        return state.withLock { $0.digits }
    }

    private static func digits(_ path: String) throws -> String {
        // Read, not mapped: the pages of a mapped file would count as memory of this process.
        let descriptor = FileName.open(path, O_RDONLY)
        guard descriptor >= 0 else { throw POSIXError(.ENOENT) }
        let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        var hash = SHA256()
        while let part = try file.read(upToCount: 1 << 20), !part.isEmpty { hash.update(data: part) }
        return hash.finalize().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
