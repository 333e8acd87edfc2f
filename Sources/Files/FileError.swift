// Why a file cannot be read or written.

import Glibc
import Text

/// What the file system refused. `description` is a sentence that ends with a full stop.
package struct FileError: Error, Equatable, CustomStringConvertible {
    package enum Attempt: String, Sendable { case read, write, make }

    package let path: String
    /// The end of the sentence.
    package let reason: String
    /// The C library's number for the reason.
    package let code: Int32
    private let attempt: Attempt

    /// - Parameter reason: if left out, what the number means.
    package init(_ attempt: Attempt, _ path: String, _ code: Int32, _ reason: String? = nil) {
        (self.attempt, self.path, self.code) = (attempt, path, code)
        self.reason = reason ?? FileError.words(code)
    }

    package var description: String {
        printable("Cannot \(attempt.rawValue) '\(shortenedPath(path))': \(reason).")
    }

    /// What the C library calls the reason.
    package var systemMessage: String { String(cString: strerror(code)) }

    /// An error number in words.
    static func words(_ code: Int32) -> String {
        switch code {
        case ENOENT: "there is no such file"
        case EACCES, EPERM: "permission is denied"
        case ENOTDIR: "a part of its path is not a directory"
        case ENOSPC: "the disk is full"
        case EROFS: "the file system is read-only"
        default: String(cString: strerror(code)).lowercased()
        }
    }
}
