// Reading whole files, and writing them so that a file is either complete or not there.

import Glibc
import Text

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

/// A regular file of at most one gigabyte, open for reading.
struct InputFile: ~Copyable {
    let path: String
    let size: Int
    private let descriptor: Int32

    init(_ path: String) throws(ImageError) {
        func failed(_ reason: String) -> ImageError { .unreadable(file: path, reason: reason) }
        // Not blocking: opening a pipe that nobody writes to must not wait for ever.
        let file = FileName.open(path, O_RDONLY | O_NONBLOCK)
        guard file >= 0 else { throw failed(reason(errno)) }
        var status = stat()
        var wrong: String?
        if fstat(file, &status) != 0 {
            wrong = reason(errno)
        } else {
            switch status.st_mode & S_IFMT {
            case S_IFREG: break
            case S_IFDIR: wrong = "it is a directory; name a file in it"
            default: wrong = "it is not a regular file"
            }
        }
        let size = Int(status.st_size)
        if wrong == nil && size == 0 { wrong = "the file is empty" }
        if wrong == nil && size > 1 << 30 { wrong = "it is larger than one gigabyte" }
        if let wrong {
            close(file)
            throw failed(wrong)
        }
        (self.path, self.size, descriptor) = (path, size, file)
    }

    deinit { close(descriptor) }

    /// `count` bytes from `offset` on; fewer where the file ends.
    func read(from offset: Int, count: Int) throws(ImageError) -> [UInt8] {
        var code: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                let read = pread(descriptor, buffer.baseAddress! + filled, count - filled, offset + filled)
                if read < 0 && errno == EINTR { continue }
                if read < 0 { code = errno }
                if read <= 0 { break }
                filled += read
            }
        }
        guard code == 0 else { throw .unreadable(file: path, reason: reason(code)) }
        return bytes
    }
}

/// The content of a regular file of at most one gigabyte.
package func readFile(_ path: String) throws(ImageError) -> [UInt8] {
    let file = try InputFile(path)
    return try file.read(from: 0, count: file.size)
}

/// Writes files that nobody ever sees half-written.
package enum AtomicFile {
    /// Writes `bytes` under a temporary name in the directory of `path`, then gives it its name in one step.
    /// With `overwrite: false` an existing file is an error and stays as it is.
    package static func write(_ bytes: [UInt8], to path: String, overwrite: Bool) throws(ImageError) {
        func failed(_ reason: String) -> ImageError { .unwritable(file: path, reason: reason) }
        // By bytes: a slash before a combining mark is a slash.
        let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
        let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let name = slash.map { String(path[path.utf8.index(after: $0)...]) } ?? path
        guard !name.isEmpty && name != "." && name != ".." else { throw failed("it names no file") }

        var status = stat()
        guard FileName.withPath(directory, { stat($0, &status) }) == 0 else {
            throw failed(
                errno == ENOENT
                    ? "the directory '\(directory)' does not exist; create it first"
                    : "the directory '\(directory)' cannot be used, because \(reason(errno))")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw failed("'\(directory)' is not a directory")
        }
        if FileName.withPath(path, { lstat($0, &status) }) == 0 {
            guard status.st_mode & S_IFMT != S_IFDIR else { throw failed("it is a directory") }
            guard overwrite else { throw failed("it is there already (--force replaces it)") }
        }

        // A file without a name vanishes with the process, however that ends. Where the file system knows no such files, or /proc is not
        // there to name one, the file has a hidden name, which `sweep` removes when nobody holds it any more.
        let file = FileName.withPath(directory) { open($0, O_WRONLY | temporaryFile | O_CLOEXEC, 0o666) }
        if file >= 0 {
            if let code = fill(file, bytes) {
                close(file)
                throw failed(reason(code))
            }
            let code = give(file, path, overwrite: overwrite, beside: directory, name)
            close(file)
            switch code {
            case 0: return
            case EEXIST where !overwrite: throw failed("it is there already (--force replaces it)")
            default: break  // once more, with a name
            }
        }
        let temporary = hidden(directory, name)
        let named = FileName.withPath(temporary) { open($0, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666) }
        guard named >= 0 else {
            throw failed("the directory '\(directory)' cannot be written to, because \(reason(errno))")
        }
        flock(named, LOCK_EX | LOCK_NB)  // says that somebody is still at it
        var code = fill(named, bytes) ?? 0
        if code == 0 { code = rename(temporary, path, overwrite: overwrite) }
        if close(named) != 0 && code == 0 { code = errno }
        guard code == 0 else {
            _ = FileName.withPath(temporary) { unlink($0) }
            throw failed(
                code == EEXIST && !overwrite
                    ? "it is there already (--force replaces it)" : reason(code))
        }
    }

    /// Removes the temporary files that runs left in a folder when they were killed. One that is being written is locked, and stays.
    package static func sweep(_ directory: String) {
        for name in Folder.names(directory) ?? [] where name.hasPrefix(".") && name.hasSuffix(".part") {
            // .NAME.RANDOM.part, and nothing else: other programs have such files too.
            let random = name.dropLast(5).split(separator: ".").last ?? ""
            guard random.count >= 8, UInt64(random, radix: 36) != nil, name.contains(marker)
            else { continue }
            let path = directory + "/" + name
            let file = FileName.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
            guard file >= 0 else { continue }
            defer { close(file) }
            guard flock(file, LOCK_EX | LOCK_NB) == 0 else { continue }
            _ = FileName.withPath(path) { unlink($0) }
        }
    }

    /// In every temporary name.
    private static let marker = ".whitebox."
    /// O_TMPFILE, which Swift does not import because it is made of two flags.
    private static let temporaryFile = 0o20_000_000 | O_DIRECTORY

    /// A name that nobody else has. The name is cut so that it stays within what file systems allow.
    private static func hidden(_ directory: String, _ name: String) -> String {
        let random = UInt64.random(in: 1 << 60 ... .max)
        return "\(directory)/.\(name.prefix(40))\(marker)\(String(random, radix: 36)).part"
    }

    /// Writes all of it. Returns the error, nil if there is none.
    private static func fill(_ file: Int32, _ bytes: [UInt8]) -> Int32? {
        bytes.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count {
                let count = Glibc.write(file, buffer.baseAddress! + done, buffer.count - done)
                if count >= 0 { done += count } else if errno != EINTR { return errno }
            }
            return nil
        }
    }

    /// Gives a file that has no name the name `path`. Returns the error, 0 if there is none.
    private static func give(
        _ file: Int32, _ path: String, overwrite: Bool, beside directory: String, _ name: String
    ) -> Int32 {
        func link(_ target: String) -> Int32 {
            FileName.withPath(target) {
                linkat(AT_FDCWD, "/proc/self/fd/\(file)", AT_FDCWD, $0, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno
            }
        }
        let code = link(path)
        guard code == EEXIST && overwrite else { return code }
        // There is no way to replace a file by one without a name: it gets a hidden one for the moment, complete.
        let temporary = hidden(directory, name)
        let linked = link(temporary)
        guard linked == 0 else { return linked }
        let renamed = rename(temporary, path, overwrite: true)
        if renamed != 0 { _ = FileName.withPath(temporary) { unlink($0) } }
        return renamed
    }

    /// Renames a file; without `overwrite` only to a name that is not taken. Returns the error, 0 if there is none.
    private static func rename(_ old: String, _ new: String, overwrite: Bool) -> Int32 {
        FileName.withPath(old) { old in
            FileName.withPath(new) { new in
                if !overwrite {
                    // `link` fails where the name has been taken meanwhile; `rename` would not.
                    if link(old, new) == 0 {
                        unlink(old)
                        return 0
                    }
                    if errno == EEXIST { return EEXIST }
                    // A file system without hard links.
                }
                return Glibc.rename(old, new) == 0 ? 0 : errno
            }
        }
    }
}
