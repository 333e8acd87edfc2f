// Reading whole files, and writing them so that a file is either complete or not there.

import Glibc

/// The last error of the C library in words.
private func reason(_ code: Int32) -> String {
    switch code {
    case ENOENT: "there is no such file"
    case EACCES, EPERM: "permission is denied"
    case ENOTDIR: "a part of its path is not a directory"
    case ENOSPC: "the disk is full"
    case EROFS: "the file system is read-only"
    default: String(cString: strerror(code)).lowercased()
    }
}

/// The content of a regular file of at most one gigabyte.
package func readFile(_ path: String) throws(ImageError) -> [UInt8] {
    func failed(_ reason: String) -> ImageError { .unreadable(file: path, reason: reason) }
    // Not blocking: opening a pipe that nobody writes to must not wait for ever.
    let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else { throw failed(reason(errno)) }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0 else { throw failed(reason(errno)) }
    switch status.st_mode & S_IFMT {
    case S_IFREG: break
    case S_IFDIR: throw failed("it is a directory; name a file in it")
    default: throw failed("it is not a regular file")
    }
    let size = Int(status.st_size)
    guard size > 0 else { throw failed("the file is empty") }
    guard size <= 1 << 30 else { throw failed("it is larger than one gigabyte") }
    var bytes = [UInt8](repeating: 0, count: size)
    var filled = 0
    var code: Int32 = 0
    bytes.withUnsafeMutableBytes { buffer in
        while filled < size {
            let count = read(file, buffer.baseAddress! + filled, size - filled)
            if count < 0 && errno == EINTR { continue }
            if count < 0 { code = errno }
            if count <= 0 { break }
            filled += count
        }
    }
    guard code == 0 else { throw failed(reason(code)) }
    bytes.removeLast(size - filled)
    return bytes
}

/// Writes files that nobody ever sees half-written.
package enum AtomicFile {
    /// Writes `bytes` under a temporary name in the directory of `path`, then gives it its name in one step.
    /// With `overwrite: false` an existing file is an error and stays as it is.
    package static func write(_ bytes: [UInt8], to path: String, overwrite: Bool) throws(ImageError) {
        func failed(_ reason: String) -> ImageError { .unwritable(file: path, reason: reason) }
        let slash = path.lastIndex(of: "/")
        let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
        guard !name.isEmpty && name != "." && name != ".." else { throw failed("it names no file") }

        var status = stat()
        guard stat(directory, &status) == 0 else {
            throw failed(
                errno == ENOENT
                    ? "the directory '\(directory)' does not exist; create it first"
                    : "the directory '\(directory)' cannot be used, because \(reason(errno))")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw failed("'\(directory)' is not a directory")
        }
        if lstat(path, &status) == 0 {
            guard status.st_mode & S_IFMT != S_IFDIR else { throw failed("it is a directory") }
            guard overwrite else { throw failed("it exists already, and overwriting was not asked for") }
        }

        // The temporary name is cut so that it stays within what file systems allow.
        let random = UInt64.random(in: .min ... .max)
        let temporary = "\(directory)/.\(name.prefix(40)).\(String(random, radix: 36)).part"
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        guard file >= 0 else {
            throw failed("the directory '\(directory)' cannot be written to, because \(reason(errno))")
        }
        var code: Int32 = 0
        bytes.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count && code == 0 {
                let count = Glibc.write(file, buffer.baseAddress! + done, buffer.count - done)
                if count >= 0 { done += count } else if errno != EINTR { code = errno }
            }
        }
        if close(file) != 0 && code == 0 { code = errno }
        if code == 0 {
            if overwrite {
                if rename(temporary, path) != 0 { code = errno }
            } else if link(temporary, path) == 0 {
                unlink(temporary)  // `link` fails where the name has been taken meanwhile; `rename` would not
            } else if errno == EEXIST {
                unlink(temporary)
                throw failed("it exists already, and overwriting was not asked for")
            } else if rename(temporary, path) != 0 {  // a file system without hard links
                code = errno
            }
        }
        guard code == 0 else {
            unlink(temporary)
            throw failed(reason(code))
        }
    }
}
