// From what was typed to picture files: files, folders, and patterns.

import ArgumentParser
import Explain
import Foundation

enum Pictures {
    /// Files as they are; a folder's PNG and JPEG files, sorted; what a pattern matches, sorted. A file that is named twice counts once.
    static func find(_ arguments: [String]) throws -> [Picture] {
        guard !arguments.isEmpty else {
            throw ValidationError(
                "No image was named; name files, folders, or patterns such as 'photos/*.jpg'.")
        }
        var paths: [String] = []
        var seen: Set<String> = []
        for argument in arguments {
            do {
                for path in try expand(argument) where seen.insert(identity(path)).inserted {
                    paths.append(path)
                }
            } catch {
                // Beside others, what names no picture is reported with those that cannot be read.
                if arguments.count == 1 { throw error }
                paths.append(argument)
            }
        }
        return paths.map(Picture.file)
    }

    /// A batch is computed whole, so the batches are made equal: ten images at most eight at a time are five and five.
    static func batch(_ most: Int, of count: Int) -> Int {
        let batches = (count + most - 1) / most
        return (count + batches - 1) / batches
    }

    /// The same for all spellings of a path to one file.
    private static func identity(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }

    private static func isPicture(_ name: String) -> Bool {
        ["png", "jpg", "jpeg"].contains(Paths.fileExtension(name))
    }

    private static func expand(_ argument: String) throws -> [String] {
        var isFolder: ObjCBool = false
        if FileManager.default.fileExists(atPath: argument, isDirectory: &isFolder) {
            return isFolder.boolValue ? try files(in: argument) : [argument]
        }
        // A missing file is reported with the pictures.
        guard argument.contains(where: { "*?[".contains($0) }) else { return [argument] }
        var found = glob_t()
        defer { globfree(&found) }
        let code = glob(argument, 0, nil, &found)
        let paths = code == 0 ? (0..<Int(found.gl_pathc)).map { String(cString: found.gl_pathv[$0]!) } : []
        let files = paths.filter { path in
            var isFolder: ObjCBool = false
            return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && !isFolder.boolValue
        }
        guard !files.isEmpty else { throw ExplainError(.input, "No file matches the pattern '\(argument)'.") }
        return files.sorted()
    }

    private static func files(in folder: String) throws -> [String] {
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else {
            throw ExplainError(.input, "The folder '\(folder)' cannot be read.")
        }
        let pictures = names.filter { isPicture($0) && !$0.hasPrefix(".") }.sorted()
        guard !pictures.isEmpty else {
            throw ExplainError(
                .input, "The folder '\(folder)' holds no PNG or JPEG file; folders in it are not searched.")
        }
        return pictures.map { Paths.join(folder, $0) }
    }
}
