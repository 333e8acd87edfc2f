// What lies under a path, and folders.

import CSystem
import Glibc

/// What the file system says is under a path.
package enum FileKind {
    case file, folder, other, missing

    /// What a path leads to, links followed.
    package init(_ path: String) {
        var status = stat()
        guard FileName.withPath(path, { stat($0, &status) }) == 0 else {
            self = .missing
            return
        }
        switch status.st_mode & S_IFMT {
        case S_IFREG: self = .file
        case S_IFDIR: self = .folder
        default: self = .other
        }
    }
}

extension FileKind {
    /// Whether a name is taken, if only by a link that leads nowhere.
    package static func isTaken(_ path: String) -> Bool {
        var status = stat()
        return FileName.withPath(path) { lstat($0, &status) } == 0
    }

    /// Whether a path is that of a symbolic link.
    package static func isLink(_ path: String) -> Bool {
        var status = stat()
        return FileName.withPath(path) { lstat($0, &status) } == 0 && status.st_mode & S_IFMT == S_IFLNK
    }
}

package enum Folder {
    /// Makes a folder and those above it that are missing. The error names the one that cannot be made.
    package static func make(_ path: String, mode: mode_t = 0o777) throws(FileError) {
        guard FileKind(path) != .folder else { return }
        let parent = Paths.parent(path)
        if parent != path { try make(parent, mode: mode) }
        guard FileName.withPath(path, { mkdir($0, mode) }) != 0 else { return }
        let code = errno
        // Somebody else may have made it meanwhile; anything else there is in the way.
        guard FileKind(path) != .folder else { return }
        throw FileError(.make, path, code == EEXIST ? ENOTDIR : code)
    }

    /// The names in a folder, sorted by bytes, without `.` and `..`; nil if it cannot be read.
    package static func names(_ path: String) -> [String]? {
        guard let stream = FileName.withPath(path.isEmpty ? "." : path, { opendir($0) }) else { return nil }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { FileName.text($0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return FileName.sorted(names)
    }

    /// The first folder on the way from `root` to what has a name within it that is a symbolic link, and may lead anywhere; nil if there is none.
    package static func link(in root: String, to name: String) -> String? {
        var path = root
        for part in name.unicodeScalars.split(separator: "/").dropLast() {
            path = Paths.join(path, String(part))
            if FileKind.isLink(path) { return path }
        }
        return nil
    }

    /// Removes a file by its name within `root`, unless a link leads out of that, and the folders in `root` that are empty without it.
    package static func remove(_ name: String, in root: String) {
        guard link(in: root, to: name) == nil else { return }
        FileName.remove(Paths.join(root, name))
        removeEmpty(above: name, in: root)
    }

    /// Removes the folders that lead to a name within `root`, as far as nothing is in them.
    package static func removeEmpty(above name: String, in root: String) {
        var parts = name.unicodeScalars.split(separator: "/").dropLast().map { String($0) }
        while !parts.isEmpty {
            let path = Paths.join(root, parts.joined(separator: "/"))
            guard FileName.withPath(path, { rmdir($0) }) == 0 || errno == ENOENT else { return }
            parts.removeLast()
        }
    }

    /// Waits until all that was written to the file system of an open file is on its disk.
    /// - Returns: false where that is not to be had.
    package static func sync(fileSystemOf descriptor: Int32, _ path: String) throws(FileError) -> Bool {
        switch wb_sync_file_system(descriptor) {
        case 0: return true
        case ENOSYS, EINVAL, EPERM, EBADF: return false
        case let code:
            throw FileError(
                .write, path, code, "what was written did not reach the disk (\(FileError.words(code)))")
        }
    }
}
