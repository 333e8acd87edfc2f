// Tar archives as streams: entry by entry, from a file or a pipe, through libarchive. The memory is the same however large the archive is;
// only the content of one file, when it is asked for, is held.

import CArchive
import Glibc

/// Reads the regular files of a tar archive in their order; compressed ones (gzip, bzip2, xz, zstd) too, which their content tells,
/// and whose sums are checked when their end has been read.
///
/// Every error is a `FileError` that names the archive, with the code `EILSEQ` where the archive is damaged, cut off or none; after one nothing
/// more is read.
package struct TarReader: ~Copyable {
    /// A regular file.
    package struct Entry: Equatable, Sendable {
        /// Its path in the archive, as text (`FileName`).
        package let path: String
        /// Bytes of its content, as the archive says.
        package let size: Int
    }

    /// What errors call the archive.
    package let name: String
    /// Folders, links, and whatever else is no regular file, passed over so far.
    package private(set) var skipped = 0

    /// The most bytes that a content may have.
    package static let contentLimit = 1 << 30

    private let archive: OpaquePointer
    /// To be closed with this; -1 for none.
    private let descriptor: Int32
    private var current: Entry?
    private var isOver = false

    /// Opens an archive; it may be a pipe with a name.
    package init(path: String) throws(FileError) {
        let file = FileName.open(path, O_RDONLY)
        guard file >= 0 else { throw FileError(.read, path, errno) }
        var status = stat()
        if fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
            close(file)
            throw FileError(.read, path, EISDIR, "it is a directory, not a tar archive")
        }
        do throws(FileError) { archive = try Self.open(file, name: path) } catch {
            close(file)
            throw error
        }
        (name, descriptor) = (path, file)
    }

    /// Reads from a descriptor, such as 0 for the standard input, which stays open. Nothing is read past the archive's last block of 256 KiB.
    package init(descriptor: Int32, name: String) throws(FileError) {
        archive = try Self.open(descriptor, name: name)
        (self.name, self.descriptor) = (name, -1)
    }

    deinit {
        wb_tar_close(archive)
        if descriptor >= 0 { close(descriptor) }
    }

    private static func open(_ descriptor: Int32, name: String) throws(FileError) -> OpaquePointer {
        var reason: UnsafePointer<CChar>?
        guard wb_archive_available(&reason) else {
            let why = reason.map { String(cString: $0) } ?? "unknown"
            throw FileError(
                .read, name, ENOSYS,
                "tar archives need the libraries libarchive and zlib (Debian's packages libarchive13 and zlib1g), and one cannot be opened: \(why)"
            )
        }
        var result = WB_TAR_OK
        guard let archive = wb_tar_open(descriptor, &result) else { throw FileError(.read, name, ENOMEM) }
        guard result == WB_TAR_OK else {
            let error = problem(archive, name: name)
            wb_tar_close(archive)
            throw error
        }
        return archive
    }

    private static func problem(_ archive: OpaquePointer, name: String) -> FileError {
        let words = wb_tar_problem(archive).map { String(cString: $0) }
        // libarchive's own words for what is no archive at all.
        guard words != "Unrecognized archive format" else {
            return FileError(
                .read, name, EILSEQ, "it is no tar archive (plain, or compressed by gzip, bzip2, xz or zstd)")
        }
        return FileError(
            .read, name, EILSEQ,
            "the tar archive is damaged or cut off\(words.map { ": its reader says \"\($0)\"" } ?? "")"
                // The sums of what is compressed come last.
                + (wb_tar_is_compressed(archive) ? "; what was read of it before may be wrong too" : ""))
    }

    private mutating func failed() -> FileError {
        isOver = true
        current = nil
        return Self.problem(archive, name: name)
    }

    /// Goes to the next regular file; nil at the end.
    package mutating func next() throws(FileError) -> Entry? {
        while !isOver {
            current = nil
            switch wb_tar_next(archive) {
            case WB_TAR_OK: break
            case WB_TAR_END:
                isOver = true
                return nil
            default: throw failed()
            }
            guard wb_tar_is_file(archive), let path = wb_tar_path(archive) else {
                skipped += 1
                continue
            }
            let entry = Entry(path: FileName.text(path), size: Int(wb_tar_size(archive)))
            current = entry
            return entry
        }
        return nil
    }

    /// The content of the file that `next` gave, once.
    /// - Parameter admission: asked before memory is taken, for how many bytes.
    package mutating func content(admission: (_ bytes: Int) throws -> Void = { _ in }) throws -> [UInt8] {
        guard let entry = current else { preconditionFailure("There is no file whose content is asked for.") }
        guard (0...Self.contentLimit).contains(entry.size) else {
            throw FileError(.read, name, EFBIG, "in the archive, '\(entry.path)' is larger than one gigabyte")
        }
        current = nil
        try admission(entry.size)
        var (isBroken, isShort) = (false, false)
        let bytes = [UInt8](unsafeUninitializedCapacity: entry.size) { buffer, filled in
            while filled < entry.size {
                var count = 0
                let result = wb_tar_read(archive, buffer.baseAddress! + filled, entry.size - filled, &count)
                isBroken = result != WB_TAR_OK
                isShort = count == 0
                if isBroken || isShort { break }
                filled += count
            }
        }
        if isBroken { throw failed() }
        if isShort {
            isOver = true
            throw FileError(
                .read, name, EILSEQ,
                "the tar archive is cut off in '\(entry.path)', after \(bytes.count) of its \(entry.size) bytes"
            )
        }
        return bytes
    }
}
