// Writing files so that each is either complete or not there.

import Glibc

/// Writes files that nobody ever sees half-written.
package enum AtomicFile {
    /// Writes `bytes` under a temporary name in the directory of `path`, then gives it its name in one step.
    /// With `overwrite: false` an existing file is an error and stays as it is.
    /// - Parameter mode: who may do what with the file, less what the process's mask takes away.
    package static func write(
        _ bytes: [UInt8], to path: String, overwrite: Bool, mode: mode_t = 0o666
    ) throws(FileError) {
        do {
            try write(to: path, overwrite: overwrite, mode: mode) { append in try append(bytes) }
        } catch let error as FileError {
            throw error
        } catch {
            preconditionFailure("Nothing else is thrown.")
        }
    }

    /// The same, of bytes that come in parts.
    /// - Parameter content: is called once, or a second time where the first way of making a file is not there; hands over all bytes. What it
    ///   throws is thrown on, and nothing is left.
    package static func write(
        to path: String, overwrite: Bool, mode: mode_t = 0o666,
        _ content: (_ append: ([UInt8]) throws -> Void) throws -> Void
    ) throws {
        func failed(_ code: Int32, _ reason: String? = nil) -> FileError {
            FileError(.write, path, code, reason)
        }
        func taken() -> FileError { failed(EEXIST, "it is there already (--force replaces it)") }
        let (directory, name) = Paths.split(path)
        guard !name.isEmpty && name != "." && name != ".." else { throw failed(EINVAL, "it names no file") }

        var status = stat()
        guard FileName.withPath(directory, { stat($0, &status) }) == 0 else {
            let code = errno
            throw failed(
                code,
                code == ENOENT
                    ? "the directory '\(directory)' does not exist; create it first"
                    : "the directory '\(directory)' cannot be used, because \(FileError.words(code))")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw failed(ENOTDIR, "'\(directory)' is not a directory")
        }
        if FileName.withPath(path, { lstat($0, &status) }) == 0 {
            guard status.st_mode & S_IFMT != S_IFDIR else { throw failed(EISDIR, "it is a directory") }
            guard overwrite else { throw taken() }
        }

        // A file without a name vanishes with the process, however that ends. Where the file system knows no such files, or /proc is not
        // there to name one, the file has a hidden name, which `sweep` removes when nobody holds it any more.
        let file = FileName.withPath(directory) { open($0, O_WRONLY | temporaryFile | O_CLOEXEC, mode) }
        if file >= 0 {
            defer { close(file) }
            hold(file)
            try content { if let code = fill(file, $0) { throw failed(code) } }
            switch give(file, path, overwrite: overwrite, beside: directory, name) {
            case 0: return
            case EEXIST where !overwrite: throw taken()
            default: break  // once more, with a name
            }
        }
        let temporary = hidden(directory, name)
        let named = FileName.withPath(temporary) { open($0, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode) }
        guard named >= 0 else {
            let code = errno
            throw failed(
                code,
                "the directory '\(directory)' cannot be written to, because \(FileError.words(code))")
        }
        hold(named)
        do {
            try content { if let code = fill(named, $0) { throw failed(code) } }
        } catch {
            close(named)
            FileName.remove(temporary)
            throw error
        }
        var code = rename(temporary, path, overwrite: overwrite)
        if close(named) != 0 && code == 0 { code = errno }
        guard code == 0 else {
            FileName.remove(temporary)
            throw code == EEXIST && !overwrite ? taken() : failed(code)
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
            FileName.remove(path)
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

    /// Says to `sweep` that somebody is still at it.
    private static func hold(_ file: Int32) { flock(file, LOCK_EX | LOCK_NB) }

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
        if renamed != 0 { FileName.remove(temporary) }
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
