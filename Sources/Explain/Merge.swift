// Results of several programs that shared the pictures of a run, joined to those of one.

import Files
import Foundation
import Glibc
import Imaging
import Text

/// Joins folders of results.
package struct ResultMerge {
    /// A folder, and what is known of it before its pictures are read.
    private struct Part {
        let folder: String
        /// The document without its pictures, line by line.
        let head: [String]
        let shard: Shard
        let device: String
        let incomplete: String?
        /// A number of all pictures that it was given; nil if it has not come to their end.
        let list: String?
        let blocks: [JSON]
    }

    private let parts: [Part]
    private let pack: PackFormat?
    /// Why the whole is not complete, a clause for each reason; empty if it is.
    package private(set) var missing: [String]
    /// Pictures that were joined.
    package private(set) var pictures = 0

    /// Reads what the folders hold, and checks that they belong together.
    /// - Throws: `ExplainError` of kind `output` if they do not.
    package init(_ folders: [String]) throws {
        let parts = try folders.map(ResultMerge.part)
        guard let first = parts.first else { throw ExplainError(.output, "There is nothing to merge.") }
        func failed(_ part: Part, _ reason: String) -> ExplainError {
            ExplainError(.output, "'\(part.folder)' does not belong to '\(first.folder)': \(reason)")
        }
        var seen: [Int: String] = [:]
        for part in parts {
            guard part.shard.count == first.shard.count else {
                throw failed(
                    part, "it is one of \(part.shard.count) shards, and that is one of \(first.shard.count).")
            }
            if let other = seen.updateValue(part.folder, forKey: part.shard.number) {
                throw ExplainError(
                    .output,
                    "'\(other)' and '\(part.folder)' are both shard \(part.shard.number); name each once.")
            }
            try ResultDocument.checkSame(
                ResultMerge.comparable(first), ResultMerge.comparable(part),
                Paths.join(part.folder, ResultDocument.name))
        }
        let known = parts.filter { $0.list != nil }
        if let one = known.first, let other = known.first(where: { $0.list != one.list }) {
            throw ExplainError(
                .output,
                "'\(one.folder)' and '\(other.folder)' are not of one list of pictures; all shards must be given the same, in the same order."
            )
        }
        self.parts = parts.sorted { $0.shard.number < $1.shard.number }
        let whole = try JSON(reading: Array(ResultMerge.text(first.head).utf8))
        pack = PackFormat(whole[key: "pack"])
        missing = (1...first.shard.count).filter { seen[$0] == nil }.map {
            "shard \($0) of \(first.shard.count) is not there"
        }
        for part in self.parts {
            if let reason = part.incomplete {
                missing.append(
                    "shard \(part.shard.number) of \(part.shard.count) has not come to its end (\(part.folder)): \(reason)"
                )
            }
        }
    }

    private static func text(_ head: [String]) -> String {
        head.joined(separator: "\n") + "\n  \"images\": []\n}\n"
    }

    /// What must be the same for all.
    private static func comparable(_ part: Part) -> String {
        guard case .object(let entries)? = try? JSON(reading: Array(text(part.head).utf8)) else { return "" }
        return JSON.object(
            entries.filter {
                !["whitebox", "device", "deviceNote", "incomplete", "shard", "list", "blocks", "images"]
                    .contains(
                        $0.0)
            }
        ).text
    }

    private static func part(_ folder: String) throws -> Part {
        let path = Paths.join(folder, ResultDocument.name)
        guard FileKind(path) == .file else {
            let isBegun = FileKind(Paths.join(folder, Journal.name)) == .file
            throw ExplainError(
                .output,
                "'\(folder)' holds no \(ResultDocument.name)"
                    + (isBegun
                        ? ": its run was killed, or goes on; let it come to its end (--resume)."
                        : ", so it is no folder of results."))
        }
        let lines = try TextLines(path)
        var head: [String] = []
        while let line = try lines.next() {
            if line.starts(with: "  \"images\": ".utf8) { break }
            head.append(String(decoding: line, as: UTF8.self))
            guard head.count < 1 << 20 else { break }
        }
        func failed(_ reason: String) -> ExplainError { ExplainError(.output, "'\(path)': \(reason)") }
        guard let document = try? JSON(reading: Array(text(head).utf8)),
            document[key: "whitebox"]?.asString != nil
        else {
            throw failed("It is not as this program wrote it.")
        }
        guard case .array(let numbers)? = document[key: "shard"], numbers.count == 2,
            let number = numbers[0].asInt,
            let count = numbers[1].asInt, count >= 1, (1...count).contains(number)
        else { throw failed("It is the result of a whole run, and not of a part of one (--shard).") }
        var shard = Shard(number: number, of: count)
        shard.block = PackFormat(document[key: "pack"])?.block ?? 1
        var blocks: [JSON] = []
        if case .array(let all)? = document[key: "blocks"] { blocks = all }
        return Part(
            folder: folder, head: head, shard: shard, device: document[key: "device"]?.asString ?? "",
            incomplete: document[key: "incomplete"]?.asString, list: document[key: "list"]?.asString,
            blocks: blocks)
    }

    /// Writes the whole; files are linked where the file system can, else copied, and those that are read stay.
    /// - Parameter directory: holds no results.
    package mutating func write(to directory: String) throws {
        try ResultWriter.checkWritable(directory)
        for name in [ResultDocument.name, Journal.name]
        where FileKind(Paths.join(directory, name)) != .missing {
            throw ExplainError(
                .output,
                "The directory '\(directory)' already holds results (\(name)); choose another --output.")
        }
        try ResultWriter.makeDirectory(directory)
        do {
            let blocks = try linkBlocks(to: directory)
            let head = head(blocks)
            let readers = try parts.map { try RecordReader(Paths.join($0.folder, ResultDocument.name)) }
            var (place, done, ended) = (0, 0, Set<Int>())
            var counts = parts.map { $0.blocks.reduce(0) { $0 + ($1[key: "pictures"]?.asInt ?? 0) } }
            let isOfRecords = counts.allSatisfy { $0 == 0 }
            var failure: (any Error)?
            let records = AnySequence<Result<String, any Error>> {
                [parts] () -> AnyIterator<Result<String, any Error>> in
                AnyIterator {
                    // One after the other, each from the shard whose turn it is.
                    while ended.count < parts.count {
                        defer { place += 1 }
                        guard let i = parts.firstIndex(where: { $0.shard.has(place) }) else { continue }
                        do {
                            guard let record = try readers[i].next() else {
                                ended.insert(i)
                                continue
                            }
                            try ResultMerge.link(record, from: parts[i].folder, to: directory)
                            done += 1
                            if isOfRecords { counts[i] += 1 }
                            return .success(record)
                        } catch {
                            failure = error
                            return .failure(error)
                        }
                    }
                    return nil
                }
            }
            try AtomicFile.write(to: Paths.join(directory, ResultDocument.name), overwrite: false) { append in
                // A second time, where files are made in another way.
                if place > 0 { throw FileError(.write, Paths.join(directory, ResultDocument.name), EIO) }
                try ResultDocument.write(head, records, append)
                let all = counts.reduce(0, +)
                for (part, count) in zip(parts, counts)
                where missing.isEmpty && count != part.shard.count(of: all) {
                    throw ExplainError(
                        .output,
                        "The folders are not of one list of pictures: '\(part.folder)' has \(count) pictures, and of \(all) those of shard \(part.shard.number) of \(part.shard.count) are \(part.shard.count(of: all))."
                    )
                }
            }
            if let failure { throw failure }
            pictures = counts.reduce(0, +)
        } catch {
            throw ExplainError(error, .output)
        }
    }

    /// The beginning of the whole document, whose lines are the first one's but for what the parts do not share.
    private func head(_ blocks: [JSON]) -> String {
        var devices: [String] = []
        for part in parts where !devices.contains(part.device) { devices.append(part.device) }
        let incomplete: String? =
            missing.isEmpty ? nil : "Of the whole run " + missing.joined(separator: "; ") + "."
        func line(_ key: String, _ value: JSON) -> String { "  \"\(key)\": \(value.text(indent: "  "))," }
        var lines: [String] = []
        var isOfBlocks = false
        for old in parts[0].head {
            if isOfBlocks {
                isOfBlocks = old != "  ],"
            } else if old.hasPrefix("  \"blocks\": ") {
                isOfBlocks = !old.hasSuffix("],")
                lines.append(line("blocks", .array(blocks)))
            } else if old.hasPrefix("  \"shard\": ") {
                lines.append(line("shard", .null))
            } else if old.hasPrefix("  \"list\": ") {
                lines.append(line("list", .null))
            } else if old.hasPrefix("  \"incomplete\": ") {
                lines.append(line("incomplete", JSON(incomplete)))
            } else if old.hasPrefix("  \"device\": "), devices.count > 1 {
                lines.append(line("device", .string(devices.joined(separator: "; "))))
            } else {
                lines.append(old)
            }
        }
        return ResultMerge.text(lines)
    }

    private func linkBlocks(to directory: String) throws -> [JSON] {
        var found: [(maps: String, block: JSON)] = []
        for part in parts {
            for block in part.blocks {
                guard let maps = block[key: "maps"]?.asString, let index = block[key: "index"]?.asString,
                    PackFormat.isOurs(maps), PackFormat.isOurs(index)
                else { continue }
                for name in [maps, index] { try ResultMerge.link(name, part.folder, directory) }
                found.append((maps, block))
            }
        }
        // Numbers of more than five digits come behind.
        return found.sorted { ($0.maps.count, $0.maps) < ($1.maps.count, $1.maps) }.map(\.block)
    }

    private static func link(_ record: String, from folder: String, to directory: String) throws {
        let value = try JSON(reading: Array(record.utf8))
        for name in ResultDocument.files(of: value) where ResultDocument.isOurs(name) {
            if name.contains("/") {
                try ResultWriter.makeDirectory(Paths.parent(Paths.join(directory, name)))
            }
            try link(name, folder, directory)
        }
    }

    private static func link(_ name: String, _ folder: String, _ directory: String) throws {
        let (old, new) = (Paths.join(folder, name), Paths.join(directory, name))
        let isLinked = FileName.withPath(old) { old in FileName.withPath(new) { Glibc.link(old, $0) == 0 } }
        if isLinked { return }
        try AtomicFile.write(try InputFile.contents(old), to: new, overwrite: false)
    }
}

extension PackFormat {
    /// Reads `json`.
    init?(_ value: JSON?) {
        guard let value, let element = value[key: "element"]?.asString.flatMap(Element.init(rawValue:)),
            let block = value[key: "pictures"]?.asInt, block > 0,
            case .array(let numbers)? = value[key: "shape"]
        else { return nil }
        self.init(element: element, block: block, shape: numbers.compactMap(\.asInt))
    }
}

/// The records of a document of results, one after the other.
private final class RecordReader {
    private let lines: TextLines

    init(_ path: String) throws {
        lines = try TextLines(path)
        while let line = try lines.next(), !line.starts(with: "  \"images\": ".utf8) {}
    }

    func next() throws -> String? {
        var record: [UInt8] = []
        while let line = try lines.next() {
            guard line.starts(with: ResultDocument.recordIndent.utf8) else { return nil }
            let content = line.dropFirst(ResultDocument.recordIndent.utf8.count)
            record += record.isEmpty ? Array(content) : [UInt8(ascii: "\n")] + line
            guard content.first == UInt8(ascii: "}") else { continue }
            if record.last == UInt8(ascii: ",") { record.removeLast() }
            return String(decoding: record, as: UTF8.self)
        }
        return nil
    }
}
