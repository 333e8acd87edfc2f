// From what was typed to picture files: files, folders, and patterns.

import ArgumentParser
import Explain
import Files
import Glibc
import Imaging

enum Pictures {
    /// Files as they are; a folder's pictures of the formats that are read, sorted; what a pattern matches, sorted. A file that is named twice counts once.
    /// What is left out is said in notes.
    /// - Parameter videos: what was named as such, which comes behind the pictures.
    static func find(_ arguments: [String], videos: [String] = []) throws -> [Picture] {
        let videos = try videos.map(Picture.video(path:))
        guard !arguments.isEmpty || videos.isEmpty else { return videos }
        guard !arguments.isEmpty else {
            throw ValidationError(
                "No image was named; name files, folders, or patterns such as 'photos/*.jpg'.")
        }
        var paths: [String] = []
        // By bytes: Swift holds names for equal that file systems don't.
        var seen: Set<[UInt8]> = []
        var again = 0
        for argument in arguments {
            do {
                for path in try expand(argument) {
                    if seen.insert(Paths.identity(path)).inserted { paths.append(path) } else { again += 1 }
                }
            } catch {
                // Beside others, what names no picture is reported with those that cannot be read.
                if arguments.count == 1 { throw error }
                paths.append(argument)
            }
        }
        if again > 0 {
            NoteHandler.logger.notice(
                "\(again) name\(again == 1 ? " leads" : "s lead") to files that other names or links lead to as well; each file counts once."
            )
        }
        return paths.map(Picture.file) + videos
    }

    private static func isPicture(_ name: String) -> Bool {
        RGBImage.fileExtensions.contains(Paths.fileExtension(name))
    }

    /// Pictures to everybody else.
    private static let otherFormats: Set<String> = [
        "avif", "dng", "exr", "hdr", "heic", "heif", "j2k", "jp2", "jxl", "pbm", "pgm", "pnm", "ppm", "svg",
        "tga",
    ]

    private static func expand(_ argument: String) throws -> [String] {
        switch FileKind(argument) {
        case .folder: return try files(in: argument)
        case .file, .other: return [argument]
        case .missing: break
        }
        // A missing file is reported with the pictures.
        guard argument.unicodeScalars.contains(where: { $0 == "*" || $0 == "?" || $0 == "[" }) else {
            return [argument]
        }
        guard argument.firstRange(of: "**") == nil else {
            throw ExplainError(
                .input,
                "The pattern '\(argument)' holds **, which is not supported: a * stands for a part of one name; write one pattern for each depth, such as 'photos/*/*.jpg'."
            )
        }
        var found = glob_t()
        defer { globfree(&found) }
        let code = FileName.withPath(argument) { glob($0, 0, nil, &found) }
        let paths = code == 0 ? (0..<Int(found.gl_pathc)).map { FileName.text(found.gl_pathv[$0]!) } : []
        let files = paths.filter { FileKind($0) == .file }
        guard !files.isEmpty else { throw ExplainError(.input, "No file matches the pattern '\(argument)'.") }
        return FileName.sorted(files)
    }

    /// The pictures below folders, by their paths within them; and files, by their names.
    static func below(_ arguments: [String]) throws -> [(folder: String, paths: [String])] {
        try arguments.map { argument in
            switch FileKind(argument) {
            case .folder:
                var found = Found()
                try find(&found, in: argument, isRecursive: true)
                try found.check(argument, isRecursive: true)
                return (argument, found.pictures)
            case .file, .other, .missing:
                let (folder, name) = Paths.split(argument)
                return (folder, [name])
            }
        }
    }

    /// What a folder holds, and what of it is left out.
    private struct Found {
        var pictures: [String] = []
        var earlier = 0, notFiles = 0, others = 0, unread: [String] = []

        /// Says what was left out.
        func check(_ folder: String, isRecursive: Bool) throws {
            func leftOut(_ count: Int, _ one: String, _ several: String) -> String? {
                count == 0 ? nil : "\(count) \(count == 1 ? one : several)"
            }
            let notes = [
                leftOut(others, "file of another format", "files of other formats"),
                leftOut(earlier, "result of an earlier run", "results of an earlier run"),
                leftOut(
                    notFiles, "folder or pipe named like a picture", "folders or pipes named like pictures"),
                leftOut(unread.count, "folder that cannot be read", "folders that cannot be read"),
            ].compactMap { $0 }.joined(separator: ", ")
            guard !pictures.isEmpty else {
                throw ExplainError(
                    .input,
                    "The folder '\(folder)' holds no picture (\(RGBImage.formats))\(notes.isEmpty ? "" : " but \(notes)")"
                        + (isRecursive ? "." : "; folders in it are not searched (--recursive)."))
            }
            if !notes.isEmpty { NoteHandler.logger.notice("'\(folder)': left out \(notes).") }
        }
    }

    /// - Parameters:
    ///   - path: from `root` on; empty for that itself.
    ///   - above: the folders that lead there, so that links do not lead round.
    private static func find(
        _ found: inout Found, in root: String, isRecursive: Bool, below path: String = "",
        above: [[UInt8]] = []
    ) throws {
        let folder = path.isEmpty ? root : Paths.join(root, path)
        let identity = Paths.identity(folder)
        guard !above.contains(identity) else { return }
        guard let all = Folder.names(folder) else {
            guard !path.isEmpty else { throw ExplainError(.input, "The folder '\(folder)' cannot be read.") }
            found.unread.append(path)
            return
        }
        // Overlays of an earlier run are no photographs.
        let results = Set(ResultDocument.files(in: folder).map(FileName.bytes))
        for name in all where name.unicodeScalars.first != "." {
            let within = path.isEmpty ? name : Paths.join(path, name)
            if isRecursive, !isPicture(name), FileKind(Paths.join(folder, name)) == .folder {
                // Results of a run lie in folders too.
                guard
                    !results.contains(where: { $0.starts(with: FileName.bytes(name) + [UInt8(ascii: "/")]) })
                else {
                    found.earlier += 1
                    continue
                }
                try find(
                    &found, in: root, isRecursive: true, below: within, above: above + [identity])
                continue
            }
            guard isPicture(name) else {
                if otherFormats.contains(Paths.fileExtension(name)) { found.others += 1 }
                continue
            }
            if results.contains(FileName.bytes(name)) {
                found.earlier += 1
                continue
            }
            switch FileKind(Paths.join(folder, name)) {
            case .folder, .other: found.notFiles += 1
            // A link to nowhere is reported with the pictures.
            case .file, .missing: found.pictures.append(within)
            }
        }
    }

    private static func files(in folder: String) throws -> [String] {
        var found = Found()
        try find(&found, in: folder, isRecursive: false)
        try found.check(folder, isRecursive: false)
        return found.pictures.map { Paths.join(folder, $0) }
    }
}
