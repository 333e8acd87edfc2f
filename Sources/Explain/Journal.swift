// The journal of a run: what is done of it, so that another run can go on where this one was ended.
//
// Lines of JSON in the folder of results, which are only ever appended: first what the run is; then, for each picture, that its files are
// begun, and that they are there, with what was read and what results.json will say. A killed program leaves all of its lines; where the machine
// itself went down, a line may be torn, and all from there on counts as not said.

import Files
import Glibc
import Synchronization
import Text

final class Journal: Sendable {
    static let name = "journal.jsonl"

    /// A picture that is done.
    struct Entry: Sendable {
        /// The name of its files, of which each picture has one of its own.
        let stem: String
        let source: PictureSource?
        /// The class that was asked for it alone, and the one that it is known to be of.
        let classText: String?, trueClass: String?
        /// Bytes of its files together.
        let bytes: Int
        let files: [String]
        /// Why it could not be explained, of one that could not.
        let isFailure: Bool
        /// Where its maps lie among the rows, of a run that packs them, and a sum of their bytes.
        let row: Int?, rowSum: UInt32
        /// How the picture is called.
        let image: String
        /// What the document of results says of it, as it stands there; empty where all is in the index.
        let record: String
        /// What the index of packed maps says of it, without its row; empty where there is none.
        let index: String

        /// - Parameter packed: what the index of packed maps says; nil for what is here.
        func with(row: Int, sum: UInt32, index packed: String? = nil) -> Entry {
            Entry(
                stem: stem, source: source, classText: classText, trueClass: trueClass, bytes: bytes,
                files: files,
                isFailure: isFailure, row: row, rowSum: sum, image: image, record: record,
                index: packed ?? index)
        }
    }

    /// What was asked for, as the document of results has it.
    let head: String
    private let descriptor: Int32
    private let path: String
    /// Where the next line begins, and stems of which an earlier run began files that nobody has done since.
    private let state: Mutex<(end: Int, unfinished: Set<String>)>
    /// Blocks of packed maps that were there before, by number and sum.
    private let blocks: Set<String>
    /// Where lines on pictures that were done before begin, by their stems.
    private let known: [UInt64: Int]
    /// Stems of which files may be there without being done.
    var unfinished: [String] { state.withLock { $0.unfinished.sorted() } }

    /// Begins one in a folder.
    init(beginning directory: String, head: String) throws {
        path = Paths.join(directory, Journal.name)
        descriptor = FileName.withPath(path) { open($0, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666) }
        guard descriptor >= 0 else { throw FileError(.write, path, errno) }
        (self.head, known, blocks) = (head, [:], [])
        state = Mutex((0, []))
        try append(JSON.object([("journal", .int(1)), ("head", .string(head))]))
    }

    /// Goes on with the one in a folder; nil if there is none.
    /// - Parameter isRead: whether it is only read, and perhaps another run's.
    init?(continuing directory: String, isRead: Bool = false) throws {
        let path = Paths.join(directory, Journal.name)
        let file = FileName.withPath(path) { open($0, (isRead ? O_RDONLY : O_RDWR) | O_CLOEXEC) }
        guard file >= 0 else {
            guard errno == ENOENT else { throw FileError(.read, path, errno) }
            return nil
        }
        var isTaken = false
        defer { if !isTaken { close(file) } }
        var known: [UInt64: Int] = [:]
        var begun: [UInt64: String] = [:]
        var head: String?
        var blocks: Set<String> = []
        var isForeign = false
        let whole = try Journal.lines(file, path) { line, offset in
            if head == nil {
                isForeign = true
                guard let first = try? JSON(reading: Array(line)), first[key: "journal"]?.asInt == 1 else {
                    return false
                }
                head = first[key: "head"]?.asString
                return head != nil
            }
            guard line.first == UInt8(ascii: "{"), line.last == UInt8(ascii: "}"),
                let (kind, stem) = Journal.start(line)
            else { return false }
            let key = Journal.hash(stem)
            switch kind {
            case "begins": begun[key] = stem
            case "block": blocks.insert(stem)
            case "done":
                known[key] = offset
                begun[key] = nil
            default: return false
            }
            return true
        }
        guard let head else {
            // Nothing was said before the run was ended.
            if !isForeign {
                if !isRead { FileName.remove(path) }
                return nil
            }
            throw ExplainError(
                .output,
                "The journal '\(path)' is not one of this program's, or was torn in its first line; remove it, or choose another --output."
            )
        }
        guard isRead || ftruncate(file, off_t(whole)) == 0 else { throw FileError(.write, path, errno) }
        (self.path, descriptor, self.head, self.known, self.blocks) = (path, file, head, known, blocks)
        state = Mutex((whole, Set(begun.values)))
        isTaken = true
    }

    deinit { close(descriptor) }

    /// A run's journal is not needed any more when the document of results is there.
    func remove() { FileName.remove(path) }

    // MARK: Lines

    func begins(_ stem: String) throws { try append(JSON.object([("begins", .string(stem))])) }

    /// Says that a block of packed maps is there.
    func made(block number: Int, _ sum: UInt64) throws {
        try append(JSON.object([("block", .string("\(number):\(sum)"))]))
    }

    /// Whether such a block was there before.
    func hasMade(block number: Int, _ sum: UInt64) -> Bool { blocks.contains("\(number):\(sum)") }

    /// - Returns: where the line is.
    @discardableResult
    func append(_ entry: Entry) throws -> Int {
        state.withLock { _ = $0.unfinished.remove(entry.stem) }
        return try append(
            JSON.object([
                ("done", .string(entry.stem)), ("sha256", JSON(entry.source?.sha256)),
                ("size", JSON(entry.source?.stamp?.size)), ("modified", JSON(entry.source?.stamp?.modified)),
                ("class", JSON(entry.classText)), ("true", JSON(entry.trueClass)),
                ("bytes", .int(entry.bytes)), ("files", JSON(entry.files)),
                ("failed", .bool(entry.isFailure)), ("row", JSON(entry.row)),
                ("rowSum", .int(Int(entry.rowSum))), ("image", .string(entry.image)),
                ("record", .string(entry.record)), ("index", .string(entry.index)),
            ]))
    }

    @discardableResult
    private func append(_ line: JSON) throws -> Int {
        let bytes = Array((line.line + "\n").utf8)
        return try state.withLock { state in
            var done = 0
            while done < bytes.count {
                let count = bytes.withUnsafeBytes {
                    pwrite(descriptor, $0.baseAddress! + done, bytes.count - done, off_t(state.end + done))
                }
                if count < 0 && errno == EINTR { continue }
                guard count >= 0 else { throw FileError(.write, path, errno) }
                done += count
            }
            defer { state.end += bytes.count }
            return state.end
        }
    }

    /// The line that begins at `offset`.
    func entry(at offset: Int) throws -> Entry {
        var bytes: [UInt8] = []
        while true {
            let part = [UInt8](unsafeUninitializedCapacity: 16384) { buffer, count in
                count = max(0, pread(descriptor, buffer.baseAddress!, 16384, off_t(offset + bytes.count)))
            }
            if let line = part.firstIndex(of: UInt8(ascii: "\n")) {
                bytes += part[..<line]
                break
            }
            guard !part.isEmpty else { throw FileError(.read, path, EIO) }
            bytes += part
        }
        guard let value = try? JSON(reading: bytes), let stem = value[key: "done"]?.asString,
            let record = value[key: "record"]?.asString, let index = value[key: "index"]?.asString,
            let image = value[key: "image"]?.asString
        else { throw FileError(.read, path, EIO, "a line of it is damaged") }
        var isFailure = false
        if case .bool(let failed)? = value[key: "failed"] { isFailure = failed }
        var files: [String] = []
        if case .array(let names)? = value[key: "files"] { files = names.compactMap(\.asString) }
        var stamp: FileStamp?
        if let size = value[key: "size"]?.asInt, let modified = value[key: "modified"]?.asInt {
            stamp = FileStamp(size: size, modified: modified)
        }
        return Entry(
            stem: stem,
            source: value[key: "sha256"]?.asString.map { PictureSource(sha256: $0, stamp: stamp) },
            classText: value[key: "class"]?.asString, trueClass: value[key: "true"]?.asString,
            bytes: value[key: "bytes"]?.asInt ?? 0, files: files, isFailure: isFailure,
            row: value[key: "row"]?.asInt,
            rowSum: UInt32(truncatingIfNeeded: value[key: "rowSum"]?.asInt ?? 0),
            image: image, record: record, index: index)
    }

    /// Where the line is on a picture that was done before; nil if it was not.
    func offset(of stem: String) -> Int? { known[Journal.hash(stem)] }

    /// Whether files of that name are this run's, from before.
    func hasBegun(_ stem: String) -> Bool {
        known[Journal.hash(stem)] != nil || state.withLock { $0.unfinished.contains(stem) }
    }

    /// All pictures that were done before.
    var done: [Int] { known.values.sorted() }

    // MARK: Reading

    /// FNV-1a with 64 bits: a million names meet with a probability of 3e-8, and then a line says that it is another's.
    static func hash(_ text: String) -> UInt64 {
        text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }

    /// The first key of a line, and its text.
    private static func start(_ line: UnsafeRawBufferPointer) -> (kind: String, stem: String)? {
        // {"done":"STEM",
        let quotes = UInt8(ascii: "\"")
        guard line.count > 4, line[1] == quotes, let end = line[2...].firstIndex(of: quotes),
            end + 2 < line.count, line[end + 1] == UInt8(ascii: ":"), line[end + 2] == quotes
        else { return nil }
        var stop = end + 3
        while stop < line.count, line[stop] != quotes { stop += line[stop] == UInt8(ascii: "\\") ? 2 : 1 }
        guard stop < line.count, let text = try? JSON(reading: Array(line[end + 2...stop])).asString else {
            return nil
        }
        return (String(decoding: line[2..<end], as: UTF8.self), text)
    }

    /// Hands over the lines of a file, until one is refused.
    /// - Returns: the bytes of all lines before that.
    private static func lines(
        _ descriptor: Int32, _ path: String,
        _ take: (_ line: UnsafeRawBufferPointer, _ offset: Int) throws -> Bool
    ) throws -> Int {
        var window = [UInt8](repeating: 0, count: 1 << 20)
        var (offset, held) = (0, 0)
        while true {
            let count = window.withUnsafeMutableBytes {
                pread(descriptor, $0.baseAddress! + held, $0.count - held, off_t(offset + held))
            }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw FileError(.read, path, errno) }
            held += count
            var start = 0
            let goesOn = try window.withUnsafeBytes { bytes in
                while let end = memchr(bytes.baseAddress! + start, 10, held - start) {
                    let stop = bytes.baseAddress!.distance(to: end)
                    guard try take(UnsafeRawBufferPointer(rebasing: bytes[start..<stop]), offset + start)
                    else {
                        return false
                    }
                    start = stop + 1
                }
                return true
            }
            offset += start
            guard goesOn, count > 0 else { return offset }
            held -= start
            window.withUnsafeMutableBytes {
                _ = memmove($0.baseAddress!, $0.baseAddress! + start, held)
            }
            if held == window.count { window += [UInt8](repeating: 0, count: window.count) }
        }
    }
}
