// Parts of paths. Foundation's own functions for this end the program on a relative path of one letter. All by Unicode scalars,
// not by characters: a slash or a point before a combining mark is one.

package enum Paths {
    /// What follows the last slash; slashes at the end do not count.
    package static func name(_ path: String) -> String {
        path.unicodeScalars.split(separator: "/").last.map { String($0) } ?? path
    }

    /// What contains it: "." for a bare name, "/" for what lies in the root.
    package static func parent(_ path: String) -> String {
        let parts = path.unicodeScalars.split(separator: "/").dropLast().map { String($0) }.joined(
            separator: "/")
        if path.unicodeScalars.first == "/" { return "/" + parts }
        return parts.isEmpty ? "." : parts
    }

    /// What is before the last slash ("." if there is none, "/" for what lies in the root), and what follows it: nothing if the path ends
    /// in one.
    package static func split(_ path: String) -> (folder: String, name: String) {
        guard let slash = path.unicodeScalars.lastIndex(of: "/") else { return (".", path) }
        let name = path.unicodeScalars[path.unicodeScalars.index(after: slash)...]
        return (slash == path.startIndex ? "/" : String(path.unicodeScalars[..<slash]), String(name))
    }

    /// The name without what follows its last point, unless that is all of it.
    package static func stem(_ path: String) -> String {
        let name = name(path).unicodeScalars
        guard let point = name.lastIndex(of: "."), point > name.startIndex else { return String(name) }
        return String(name[..<point])
    }

    /// The part of the name after its last point, in small letters.
    package static func fileExtension(_ path: String) -> String {
        let name = name(path).unicodeScalars
        guard let point = name.lastIndex(of: "."), point > name.startIndex else { return "" }
        return String(name[name.index(after: point)...]).lowercased()
    }

    /// The same bytes for all spellings of a path to one file.
    package static func identity(_ path: String) -> [UInt8] {
        FileName.bytes(FileName.resolved(path) ?? path)
    }

    package static func join(_ folder: String, _ name: String) -> String {
        folder.isEmpty ? name : folder.utf8.last == UInt8(ascii: "/") ? folder + name : folder + "/" + name
    }
}
