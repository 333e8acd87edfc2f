// Tar archives read as streams: what is in them, what is passed over, and a sentence for what is damaged.

import Files
import Foundation
import Glibc
import TestSupport
import Testing

@Suite struct TarReaderTests {
    private static let block = 512

    /// A header as POSIX has it, with the sum of its bytes.
    private static func header(
        _ path: [UInt8], size: Int, kind: Character = "0", target: String = "", sizeError: Int = 0
    ) -> [UInt8] {
        var header = [UInt8](repeating: 0, count: block)
        func put(_ text: some Sequence<UInt8>, at place: Int) {
            for (i, byte) in text.enumerated() { header[place + i] = byte }
        }
        func octal(_ value: Int, _ digits: Int) -> String.UTF8View {
            let text = String(value, radix: 8)
            return (String(repeating: "0", count: digits - text.count) + text).utf8
        }
        put(path, at: 0)
        put("0000644".utf8, at: 100)
        put("0000000".utf8, at: 108)
        put("0000000".utf8, at: 116)
        put(octal(size, 11), at: 124)
        put("00000000000".utf8, at: 136)
        put("        ".utf8, at: 148)
        put(String(kind).utf8, at: 156)
        put(target.utf8, at: 157)
        put("ustar\0".utf8, at: 257)
        put("00".utf8, at: 263)
        put(octal(header.reduce(0) { $0 + Int($1) } + sizeError, 6), at: 148)
        header[154] = 0
        return header
    }

    private static func file(_ path: [UInt8], _ content: [UInt8]) -> [UInt8] {
        header(path, size: content.count) + content
            + [UInt8](repeating: 0, count: (block - content.count % block) % block)
    }

    private static let end = [UInt8](repeating: 0, count: 2 * block)

    /// A path that only a PAX header can hold, before the file itself.
    private static func longFile(_ path: String, _ content: [UInt8]) -> [UInt8] {
        let field = " path=\(path)\n"
        var length = field.utf8.count
        while "\(length)\(field)".utf8.count != length { length = "\(length)\(field)".utf8.count }
        let record = Array("\(length)\(field)".utf8)
        var header = Self.file(Array("PaxHeader/x".utf8), record)
        header.replaceSubrange(
            0..<block, with: Self.header(Array("PaxHeader/x".utf8), size: record.count, kind: "x"))
        return header + file(Array("short".utf8), content)
    }

    private static let content = (0..<1500).map { UInt8(truncatingIfNeeded: $0 * 7) }

    private static let archive: [UInt8] =
        header(Array("photos/".utf8), size: 0, kind: "5") + file(Array("photos/a.png".utf8), content)
        + header(Array("photos/link.png".utf8), size: 0, kind: "2", target: "a.png")
        + header(Array("photos/again.png".utf8), size: 0, kind: "1", target: "photos/a.png")
        + file(Array("photos/empty".utf8), []) + file(Array("b\u{FC}\\".utf8) + [0xFF], [1, 2, 3])
        + longFile("ü/" + String(repeating: "long/", count: 60) + "c.jpg", [4]) + end

    private static let found: [(path: String, content: [UInt8])] = [
        ("photos/a.png", content), ("photos/empty", []), ("b\u{FC}\\\\xff", [1, 2, 3]),
        ("ü/" + String(repeating: "long/", count: 60) + "c.jpg", [4]),
    ]

    /// Calls `body` with a reader of an archive that lies in a file.
    private func reading<R>(_ bytes: [UInt8], _ body: (inout TarReader) throws -> R) throws -> R {
        let scratch = try TemporaryDirectory()
        let path = scratch.path + "/a.tar"
        try AtomicFile.write(bytes, to: path, overwrite: false)
        var reader = try TarReader(path: path)
        return try body(&reader)
    }

    /// All files, with their contents if these are asked for, and how much was passed over.
    private func all(_ reader: inout TarReader, contents: Bool = true) throws -> ([String], [[UInt8]], Int) {
        var (paths, found): ([String], [[UInt8]]) = ([], [])
        while let entry = try reader.next() {
            paths.append(entry.path)
            if contents { found.append(try reader.content()) }
        }
        return (paths, found, reader.skipped)
    }

    @Test func filesAreThereInOrder() throws {
        let (paths, contents, skipped) = try reading(Self.archive) { try all(&$0) }
        #expect(paths == Self.found.map(\.path))
        #expect(contents == Self.found.map(\.content))
        #expect(skipped == 3)
        // Contents need not be read.
        #expect(try reading(Self.archive) { try all(&$0, contents: false).0 } == paths)
    }

    @Test func pipesAreRead() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        let writer = ends[1]
        let thread = Thread {
            var archive = Self.archive[...]
            while !archive.isEmpty {
                let count = archive.withUnsafeBytes { write(writer, $0.baseAddress, min(100, $0.count)) }
                guard count > 0 else { break }
                archive = archive.dropFirst(count)
            }
            close(writer)
        }
        thread.start()
        var reader = try TarReader(descriptor: ends[0], name: "standard input")
        #expect(try all(&reader).1 == Self.found.map(\.content))
        close(ends[0])
    }

    @Test(arguments: [["gzip", "-c"], ["xz", "-c"], ["bzip2", "-c"]]) func compressed(_ command: [String])
        throws
    {
        let scratch = try TemporaryDirectory()
        try AtomicFile.write(Self.archive, to: scratch.path + "/a.tar", overwrite: false)
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", (command + ["a.tar > b"]).joined(separator: " ")]
        process.currentDirectoryURL = URL(filePath: scratch.path)
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        var reader = try TarReader(path: scratch.path + "/b")
        #expect(try all(&reader).1 == Self.found.map(\.content))
        // Cut off in the middle.
        let bytes = [UInt8](try Data(contentsOf: URL(filePath: scratch.path + "/b")))
        #expect(throws: FileError.self) { try reading(Array(bytes[..<(bytes.count / 2)])) { try all(&$0) } }
    }

    /// Every compressed archive says a sum of what is in it, some at their very end, and one that is another is told.
    @Test(arguments: ["gzip -c", "gzip -c > c; cat c; true | gzip -c", "xz -c", "bzip2 -c", "zstd -c"])
    func sumsAreChecked(_ command: String) throws {
        let scratch = try TemporaryDirectory()
        // What follows the mark of the end is more than is decompressed at once.
        try AtomicFile.write(
            Self.archive + [UInt8](repeating: 0, count: 1 << 20), to: scratch.path + "/a.tar",
            overwrite: false)
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", "{ \(command); } < a.tar > b"]
        process.currentDirectoryURL = URL(filePath: scratch.path)
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            // zstd's program is not everywhere.
            try #require(command.hasPrefix("zstd"))
            return
        }
        let bytes = [UInt8](try Data(contentsOf: URL(filePath: scratch.path + "/b")))
        #expect(try reading(bytes) { try all(&$0) }.1 == Self.found.map(\.content))
        if command.hasPrefix("gzip") {
            // Zeros that fill a tape's block say nothing.
            #expect(try reading(bytes + [UInt8](repeating: 0, count: 512)) { try all(&$0) }.1.count == 4)
        }
        // The last bytes of bzip2 may be filled up, and the end of xz has lengths and marks of its own.
        for place in [bytes.count - 8, bytes.count - 5, bytes.count / 2] {
            var changed = bytes
            changed[place] ^= 4
            let error = #expect(throws: FileError.self, "\(place)") {
                try reading(changed) { try all(&$0, contents: false) }
            }
            #expect(
                error?.description.contains("may be wrong too") == true && error?.code == EILSEQ, "\(error!)")
        }
        #expect(throws: FileError.self) { try reading(bytes.dropLast(4)) { try all(&$0) } }
    }

    /// Wherever it is cut, reading gives only what is whole, and then a sentence.
    @Test func cutArchivesAreReported() throws {
        let lengths =
            Array(stride(from: 0, to: Self.archive.count - 2 * Self.block, by: 61)) + [
                512, 1024, 2560, Self.archive.count - 2 * Self.block,
            ]
        for length in lengths {
            let error = #expect(throws: FileError.self, "\(length)") {
                try reading(Array(Self.archive[..<length])) { try all(&$0) }
            }
            #expect(error?.description.hasSuffix(".") == true && error?.code == EILSEQ)
        }
        #expect(try reading(Array(Self.archive.dropLast(Self.block))) { try all(&$0).0.count } == 4)
    }

    @Test func damagedHeadersAreReported() throws {
        let bad =
            Self.file(Array("a".utf8), [1]) + Self.header(Array("b".utf8), size: 0, sizeError: 1) + Self.end
        try reading(bad) { (reader: inout TarReader) throws -> Void in
            #expect(try reader.next()?.path == "a")
            let error = #expect(throws: FileError.self) { _ = try reader.next() }
            #expect(error?.description.contains("the tar archive is damaged or cut off") == true)
            // After an error there is nothing more.
            #expect(try reader.next() == nil)
        }
        for other in [Array("hello".utf8), Array("PK\u{3}\u{4}".utf8) + Self.content, []] {
            let error = #expect(throws: FileError.self) { try reading(other) { _ = try $0.next() } }
            #expect(error?.description.contains("is no tar archive") == true, "\(error!)")
        }
    }

    @Test func changedArchivesNeverCrash() throws {
        var random = SeededRandom("changed archives")
        for _ in 0..<500 {
            var bytes = Self.archive
            for _ in 0...random.index(below: 3) {
                bytes[random.index(below: bytes.count)] = UInt8(random.index(below: 256))
            }
            do {
                _ = try reading(bytes) { (reader: inout TarReader) throws -> Void in
                    while let entry = try reader.next() {
                        _ = try reader.content {
                            if $0 > 1 << 24 { throw FileError(.read, entry.path, EFBIG) }
                        }
                    }
                }
            } catch {
                #expect((error as? FileError)?.description.hasSuffix(".") == true)
            }
        }
    }

    @Test func memoryIsAskedForFirst() throws {
        struct Refused: Error {}
        try reading(Self.archive) { (reader: inout TarReader) throws -> Void in
            #expect(try reader.next()?.size == 1500)
            var asked = 0
            #expect(throws: Refused.self) {
                try reader.content {
                    asked = $0
                    throw Refused()
                }
            }
            #expect(asked == 1500)
            // The next file is there all the same.
            #expect(try reader.next()?.path == "photos/empty")
        }
        let large = Self.header(Array("large".utf8), size: 1 << 30 + 1)
        try reading(large) { (reader: inout TarReader) throws -> Void in
            _ = try reader.next()
            let error = #expect(throws: FileError.self) { _ = try reader.content() }
            #expect(error?.description.contains("'large' is larger than one gigabyte") == true)
        }
    }

    @Test func whatIsNoFile() throws {
        let scratch = try TemporaryDirectory()
        #expect(throws: FileError.self) { _ = try TarReader(path: scratch.path + "/none.tar") }
        let error = #expect(throws: FileError.self) { _ = try TarReader(path: scratch.path) }
        #expect(error?.code == EISDIR)
    }
}
