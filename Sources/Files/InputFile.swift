// Reading files.

import Glibc

/// A regular file that is open for reading as long as this lives.
///
/// It is read, not mapped: where a mapped file is shortened by another program, the next look at it ends this one by a signal. A file
/// that takes the path of this one changes nothing.
package struct InputFile: ~Copyable, Sendable {
    package let path: String
    /// Bytes, when it was opened.
    package let size: Int
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

    /// Opens a file. The error's code is EISDIR for a directory, and ESPIPE for what is no file of which parts can be read again.
    /// - Parameter isBounded: whether it must be neither empty nor larger than one gigabyte, because all of it is held in memory.
    package init(_ path: String, isBounded: Bool = false) throws(FileError) {
        // Not blocking: opening a pipe that nobody writes to must not wait for ever.
        let file = FileName.open(path, O_RDONLY | O_NONBLOCK)
        guard file >= 0 else { throw FileError(.read, path, errno) }
        var status = stat()
        var problem: FileError?
        if fstat(file, &status) != 0 {
            problem = FileError(.read, path, errno)
        } else if status.st_mode & S_IFMT == S_IFDIR {
            problem = FileError(.read, path, EISDIR, "it is a directory; name a file in it")
        } else if status.st_mode & S_IFMT != S_IFREG {
            problem = FileError(.read, path, ESPIPE, "it is not a regular file")
        } else if isBounded && status.st_size == 0 {
            problem = FileError(.read, path, ENODATA, "the file is empty")
        } else if isBounded && status.st_size > 1 << 30 {
            problem = FileError(.read, path, EFBIG, "it is larger than one gigabyte")
        }
        if let problem {
            close(file)
            throw problem
        }
        (self.path, size, descriptor, opened) = (path, Int(status.st_size), file, State(status))
    }

    deinit { close(descriptor) }

    /// The content of a file that is neither empty nor larger than one gigabyte.
    package static func contents(_ path: String) throws(FileError) -> [UInt8] {
        let file = try InputFile(path, isBounded: true)
        return try file.read(from: 0, count: file.size)
    }

    /// Fills memory with the bytes from `offset` on. Returns how many there were: fewer where the file ends.
    package func read(_ target: UnsafeMutableRawBufferPointer, from offset: Int) throws(FileError) -> Int {
        var done = 0
        while done < target.count {
            let read = pread(descriptor, target.baseAddress! + done, target.count - done, offset + done)
            if read < 0 && errno == EINTR { continue }
            if read < 0 { throw FileError(.read, path, errno) }
            if read == 0 { break }
            done += read
        }
        return done
    }

    /// `count` bytes from `offset` on; fewer where the file ends.
    package func read(from offset: Int, count: Int) throws(FileError) -> [UInt8] {
        var failure: FileError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            do throws(FileError) {
                // There may be more room than was asked for.
                filled = try read(
                    UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count), from: offset)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Whether nobody has written to it since it was opened.
    package var isUnchanged: Bool {
        var status = stat()
        return fstat(descriptor, &status) == 0 && State(status) == opened
    }
}

/// What changes when somebody writes to a file: by it, one that is as it was need not be read again.
package struct FileStamp: Hashable, Sendable {
    package let size: Int
    /// Nanoseconds since 1970.
    package let modified: Int

    package init(size: Int, modified: Int) { (self.size, self.modified) = (size, modified) }

    /// Of what a path leads to; nil if that is no regular file.
    package init?(_ path: String) {
        var status = stat()
        guard FileName.withPath(path, { stat($0, &status) }) == 0, status.st_mode & S_IFMT == S_IFREG else {
            return nil
        }
        self.init(
            size: Int(status.st_size),
            modified: status.st_mtim.tv_sec * 1_000_000_000 + status.st_mtim.tv_nsec)
    }
}
