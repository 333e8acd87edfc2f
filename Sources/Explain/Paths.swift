// Parts of paths. Foundation's own functions for this end the program on a relative path of one letter.

package enum Paths {
    /// What follows the last slash; slashes at the end do not count.
    package static func name(_ path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }

    /// What contains it: "." for a bare name, "/" for what lies in the root.
    package static func parent(_ path: String) -> String {
        let parts = path.split(separator: "/").dropLast()
        if path.hasPrefix("/") { return "/" + parts.joined(separator: "/") }
        return parts.isEmpty ? "." : parts.joined(separator: "/")
    }

    /// The name without what follows its last point, unless that is all of it.
    package static func stem(_ path: String) -> String {
        let name = name(path)
        guard let point = name.lastIndex(of: "."), point > name.startIndex else { return name }
        return String(name[..<point])
    }

    /// The part of the name after its last point, in small letters.
    package static func fileExtension(_ path: String) -> String {
        let name = name(path)
        guard let point = name.lastIndex(of: "."), point > name.startIndex else { return "" }
        return name[name.index(after: point)...].lowercased()
    }

    package static func join(_ folder: String, _ name: String) -> String {
        folder.isEmpty ? name : folder.hasSuffix("/") ? folder + name : folder + "/" + name
    }
}
