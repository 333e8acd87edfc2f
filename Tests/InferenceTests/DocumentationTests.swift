// What the documents say of the house is so: links lead somewhere, and the picture of the modules is Package.swift's.

import Foundation
import Testing

@Suite struct DocumentationTests {
    private static let root = URL(filePath: #filePath).appending(path: "../../..").standardized

    private static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    static let pages: [String] = {
        let names = try? FileManager.default.contentsOfDirectory(
            atPath: root.appending(path: "Documentation").path)
        return ["README.md", "CONTRIBUTING.md"]
            + (names ?? []).filter { $0.hasSuffix(".md") }.sorted().map { "Documentation/" + $0 }
    }()

    /// The lines that are no code, and without the code in them.
    private static func prose(_ text: String) -> [String] {
        var isCode = false
        return text.components(separatedBy: "\n").compactMap { line in
            if line.drop(while: { $0 == " " }).hasPrefix("```") {
                isCode.toggle()
                return nil
            }
            return isCode ? nil : line
        }
    }

    /// What a heading is called in links.
    private static func anchor(_ heading: String) -> String {
        String(
            heading.lowercased().map { $0 == " " ? "-" : $0 }.filter {
                $0.isLetter || $0.isNumber || "-_".contains($0)
            })
    }

    private static func anchors(_ path: String) throws -> Set<String> {
        Set(
            prose(try text(path)).filter { $0.hasPrefix("#") }.map {
                anchor(String($0.drop { $0 == "#" }.dropFirst()))
            })
    }

    @Test(arguments: pages) func linksLeadSomewhere(_ page: String) throws {
        let folder = Self.root.appending(path: page).deletingLastPathComponent()
        let prose = Self.prose(try Self.text(page)).joined(separator: "\n")
        for match in prose.matches(of: /\]\(([^()\s]+)\)/) {
            let link = String(match.1)
            if link.hasPrefix("http") { continue }
            let parts = link.components(separatedBy: "#")
            let target = parts[0].isEmpty ? Self.root.appending(path: page) : folder.appending(path: parts[0])
            let path = target.standardized.path
            guard FileManager.default.fileExists(atPath: path) else {
                Issue.record("\(page) links to \(link), which is not there.")
                continue
            }
            if parts.count > 1 {
                let name = String(path.dropFirst(Self.root.path.count + 1))
                #expect(
                    try Self.anchors(name).contains(parts[1]),
                    "\(page) links to \(link), and \(name) has no such heading.")
            }
        }
    }

    /// Foundation brings tens of megabytes with it, into every program and every wheel; nothing of it is needed but its small part.
    @Test func nobodyNeedsFoundation() throws {
        let folder = Self.root.appending(path: "Sources").path
        for case let file as String in try #require(FileManager.default.enumerator(atPath: folder))
        where file.hasSuffix(".swift") {
            let text = try String(contentsOfFile: folder + "/" + file, encoding: .utf8)
            let imports = text.components(separatedBy: "\n").filter { $0.hasSuffix("import Foundation") }
            // What protoc writes takes the small part where there is one.
            #expect(imports.isEmpty || text.contains("#if canImport(FoundationEssentials)"), "\(file)")
        }
    }

    /// The arrows of the picture in Architecture.md, from a module to one that uses it.
    @Test func pictureOfTheModulesIsThePackage() throws {
        let page = try Self.text("Documentation/Architecture.md")
        let picture = try #require(page.components(separatedBy: "```mermaid\n").dropFirst().first)
        var shown: Set<[String]> = []
        for line in picture.components(separatedBy: "```")[0].split(separator: "\n") {
            let sides = line.components(separatedBy: " --> ")
            guard sides.count == 2 else { continue }
            let names = sides.map { $0.components(separatedBy: "&").map { $0.filter { !$0.isWhitespace } } }
            for from in names[0] { for to in names[1] { shown.insert([from, to]) } }
        }

        let package = try Self.text("Package.swift")
        let targets = try #require(package.components(separatedBy: "\n    targets: [").dropFirst().first)
            .components(separatedBy: ".testTarget(")[0]
        var declared: Set<[String]> = []
        var modules: Set<String> = []
        for part in targets.split(separator: /\.(target|executableTarget|systemLibrary)\(/).dropFirst() {
            let name = try #require(part.firstMatch(of: /name: "(\w+)"/)).1
            modules.insert(String(name))
            let dependencies = part.components(separatedBy: "dependencies: [").dropFirst().first ?? ""
            for found in dependencies.replacing(/\.product\([^)]*\)/, with: "").matches(of: /"(\w+)"/) {
                declared.insert([String(found.1), String(name)])
            }
        }
        #expect(shown == declared)
        let table = page.components(separatedBy: "\n").filter { $0.hasPrefix("| `") }.flatMap {
            $0.split(separator: "|")[0].matches(of: /`(\w+)`/).map { String($0.1) }
        }
        let told = Set(table + ["CDeflate", "CGIF", "CNettle", "CPNG", "CTurboJPEG", "CWebP"])
        #expect(modules.isSubset(of: told), "Not in the table of modules: \(modules.subtracting(told))")
    }
}
