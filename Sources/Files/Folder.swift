// What lies under a path, and folders.

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
}
