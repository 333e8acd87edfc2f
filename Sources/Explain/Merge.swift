// Results of several programs that shared the pictures of a run, joined to those of one.

import Files
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

    /// Writes the whole; files are linked where the file system can, else copied, and those that are read stay. What a merge of the same left that was
    /// killed, or came to its end, is taken as it is; of one that fails nothing is left.
    /// - Parameter directory: holds no other results.
    package mutating func write(to directory: String) throws {
        try ResultWriter.checkWritable(directory)
        if FileKind(Paths.join(directory, Journal.name)) != .missing { throw ResultMerge.taken(directory) }
        var missing: [String] = []
        var path = directory
        while FileKind(path) == .missing {
            missing.append(path)
            path = Paths.parent(path)
        }
        let joined = Joined(directory)
        do {
            try ResultWriter.makeDirectory(directory)
            let lock = try ResultWriter.lock(directory)
            defer { if lock >= 0 { close(lock) } }
            try write(joined)
            if lock >= 0 { _ = try Folder.sync(fileSystemOf: lock, directory) }
        } catch {
            undo(joined)
            for path in missing { _ = FileName.withPath(path) { rmdir($0) } }
            throw ExplainError(error, .output)
        }
    }

    private static func taken(_ directory: String) -> ExplainError {
        ExplainError(
            .output,
            "The directory '\(directory)' already holds results, and not those of these folders together; remove them, or choose another --output."
        )
    }

    private mutating func write(_ joined: Joined) throws {
        let blocks = blocks
        let head = head(blocks.map(\.block))
        let path = Paths.join(joined.directory, ResultDocument.name)
        let isThere = FileKind.isTaken(path)
        let front = Array(head.utf8.dropLast("[]\n}\n".utf8.count))
        guard try !isThere || InputFile(path).read(from: 0, count: front.count) == front else {
            throw ResultMerge.taken(joined.directory)
        }
        for (name, folder) in blocks.flatMap({ [($0.maps, $0.folder), ($0.index, $0.folder)] }) {
            try joined.place(name, from: folder)
        }
        var counts: [Int] = []
        let parts = parts
        func write(_ append: ([UInt8]) throws -> Void) throws {
            // From the start once more, where files have to be made in another way.
            joined.rewind(to: 2 * blocks.count)
            counts = parts.map { $0.blocks.reduce(0) { $0 + ($1[key: "pictures"]?.asInt ?? 0) } }
            let isOfRecords = counts.allSatisfy { $0 == 0 }
            let records = try Records(parts)
            let texts = AnySequence<Result<String, any Error>> {
                AnyIterator {
                    do {
                        guard let (record, part) = try records.next() else { return nil }
                        for name in try ResultMerge.files(of: record) {
                            try joined.place(name, from: parts[part].folder)
                        }
                        if isOfRecords { counts[part] += 1 }
                        return .success(record)
                    } catch {
                        return .failure(error)
                    }
                }
            }
            try ResultDocument.write(head, texts, append)
            let all = counts.reduce(0, +)
            for (part, count) in zip(parts, counts)
            where missing.isEmpty && count != part.shard.count(of: all) {
                throw ExplainError(
                    .output,
                    "The folders are not of one list of pictures: '\(part.folder)' has \(count) pictures, and of \(all) those of shard \(part.shard.number) of \(part.shard.count) are \(part.shard.count(of: all))."
                )
            }
        }
        if isThere {
            let earlier = try InputFile(path)
            var place = 0
            try write { bytes in
                guard try earlier.read(from: place, count: bytes.count) == bytes else {
                    throw ResultMerge.taken(joined.directory)
                }
                place += bytes.count
            }
            guard place == earlier.size else { throw ResultMerge.taken(joined.directory) }
        } else {
            try AtomicFile.write(to: path, overwrite: false, write)
        }
        pictures = counts.reduce(0, +)
    }

    /// Removes what was placed, which is found again in the same order.
    private func undo(_ joined: Joined) {
        joined.rewind(to: 0)
        for block in blocks { for name in [block.maps, block.index] { joined.remove(name) } }
        guard let records = try? Records(parts) else { return }
        while !joined.isEmpty, let (record, _) = try? records.next(),
            let names = try? ResultMerge.files(of: record)
        {
            for name in names { joined.remove(name) }
        }
    }

    /// The files of the whole, one after the other, and which of them were not there before: a million pictures have too many names to keep them.
    private final class Joined {
        let directory: String
        private var isNew: [Bool] = []
        private var next = 0
        init(_ directory: String) { self.directory = directory }

        var isEmpty: Bool { next >= isNew.count }
        func rewind(to place: Int) { next = place }

        func place(_ name: String, from folder: String) throws {
            defer { next += 1 }
            let isMade = try ResultMerge.place(name, from: folder, in: directory)
            if next == isNew.count { isNew.append(isMade) }
        }

        func remove(_ name: String) {
            guard !isEmpty else { return }
            if isNew[next] { Folder.remove(name, in: directory) }
            next += 1
        }
    }

    /// The records of all, in the order of the pictures.
    private final class Records {
        private let parts: [Part]
        private let readers: [RecordReader]
        private var place = 0
        private var ended: Set<Int> = []

        init(_ parts: [Part]) throws {
            self.parts = parts
            readers = try parts.map { try RecordReader(Paths.join($0.folder, ResultDocument.name)) }
        }

        func next() throws -> (record: String, part: Int)? {
            // One after the other, each from the shard whose turn it is.
            while ended.count < parts.count {
                defer { place += 1 }
                guard let i = parts.firstIndex(where: { $0.shard.has(place) }) else { continue }
                guard let record = try readers[i].next() else {
                    ended.insert(i)
                    continue
                }
                return (record, i)
            }
            return nil
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

    /// The blocks of packed maps, by their numbers.
    private var blocks: [(maps: String, index: String, folder: String, block: JSON)] {
        var found: [(maps: String, index: String, folder: String, block: JSON)] = []
        for part in parts {
            for block in part.blocks {
                guard let maps = block[key: "maps"]?.asString, let index = block[key: "index"]?.asString,
                    PackFormat.isOurs(maps), PackFormat.isOurs(index)
                else { continue }
                found.append((maps, index, part.folder, block))
            }
        }
        // Numbers of more than five digits come behind.
        return found.sorted { ($0.maps.count, $0.maps) < ($1.maps.count, $1.maps) }
    }

    private static func files(of record: String) throws -> [String] {
        ResultDocument.files(of: try JSON(reading: Array(record.utf8))).filter(ResultDocument.isOurs)
    }

    /// - Returns: false where it is there already.
    private static func place(_ name: String, from folder: String, in directory: String) throws -> Bool {
        let (old, new) = (Paths.join(folder, name), Paths.join(directory, name))
        for root in [folder, directory] {
            if let link = Folder.link(in: root, to: name) {
                throw ExplainError(
                    .output,
                    "'\(shortenedPath(link))' is a symbolic link, and results do not lie behind links; remove it, or choose another --output."
                )
            }
        }
        if FileKind.isTaken(new) {
            guard Paths.identity(old) != Paths.identity(new), try isSame(old, new) else {
                throw ExplainError(
                    .output,
                    "'\(shortenedPath(new))' is there already, and is not what '\(shortenedPath(old))' is; remove it, or choose another --output."
                )
            }
            return false
        }
        if name.contains("/") { try ResultWriter.makeDirectory(Paths.parent(new)) }
        if FileName.withPath(old, { old in FileName.withPath(new) { Glibc.link(old, $0) == 0 } }) {
            return true
        }
        try AtomicFile.write(try InputFile.contents(old), to: new, overwrite: false)
        return true
    }

    /// Whether two names are of one file, or of files with the same bytes.
    private static func isSame(_ a: String, _ b: String) throws -> Bool {
        var (one, other) = (stat(), stat())
        guard FileName.withPath(a, { lstat($0, &one) }) == 0, FileName.withPath(b, { lstat($0, &other) }) == 0
        else { return false }
        if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) { return true }
        guard one.st_size == other.st_size, other.st_mode & S_IFMT == S_IFREG else { return false }
        return try InputFile.contents(a) == InputFile.contents(b)
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
