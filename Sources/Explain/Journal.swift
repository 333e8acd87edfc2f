// The journal of a run: what is done of it, so that another run can go on where this one was ended.
//
// Lines of JSON in the folder of results, which are only ever appended: first what the run is; then, for each picture, that its files are
// begun, and that they are there, with what was read and what results.json will say. Each line has a sum of its bytes; one that is damaged counts as
// not said.
//
// A killed program leaves all of its lines, and what they say is there. Where the machine itself went down, files may be empty or zero that a line
// calls done. So every few seconds, and at the end, all is written to the disk, and then a line says how far; of another start of the machine only what is
// before that counts. (Syncing each file by itself would take longer than explaining a small picture.)

import Files
import Glibc
import Imaging
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
    private struct State {
        /// Where the next line begins.
        var end = 0
        /// Stems of which an earlier run began files that nobody has done since.
        var unfinished: Set<String> = []
        /// All before this is on the disk.
        var synced = 0
        var isSyncing = false
        var lastSync = Benchmark.now()
    }
    private let state: Mutex<State>
    /// Seconds after which what was done is written to the disk.
    private static let patience = 5.0
    /// Blocks of packed maps that were there before, by number and sum.
    private let blocks: [String: (line: Int, sizes: [Int])]
    /// Whether lines are damaged, torn, or may never have reached the disk before the machine went down, so that files may be an earlier run's of which
    /// nothing is known any more.
    private let isDamaged: Bool
    /// Where lines on pictures that were done before begin, by their stems.
    private let known: [UInt64: Int]
    /// Stems of which files may be there without being done.
    var unfinished: [String] { state.withLock { $0.unfinished.sorted() } }

    /// Begins one in a folder.
    init(beginning directory: String, head: String) throws {
        path = Paths.join(directory, Journal.name)
        descriptor = FileName.withPath(path) { open($0, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666) }
        guard descriptor >= 0 else { throw FileError(.write, path, errno) }
        (self.head, known, blocks, isDamaged) = (head, [:], [:], false)
        state = Mutex(State())
        try append(JSON.object([("journal", .int(2)), ("head", .string(head))]))
        try append(JSON.object([("start", .string(Journal.start))]))
    }

    /// Goes on with the one in a folder; nil if there is none.
    /// - Parameter isRead: whether it is only read, and perhaps another run's.
    init?(continuing directory: String, isRead: Bool = false) throws {
        let path = Paths.join(directory, Journal.name)
        let file = FileName.withPath(path) {
            open($0, (isRead ? O_RDONLY : O_RDWR | O_NOFOLLOW) | O_CLOEXEC)
        }
        guard file >= 0 else {
            guard errno == ENOENT else { throw FileError(.read, path, errno) }
            return nil
        }
        var isTaken = false
        defer { if !isTaken { close(file) } }
        var known: [UInt64: Int] = [:]
        var begun: [UInt64: String] = [:]
        var blocks: [String: (line: Int, sizes: [Int])] = [:]
        var (head, start): (String?, String?)
        var (synced, isForeign, isDamaged) = (0, false, false)
        /// Of another start of the machine nothing counts that was not on the disk.
        func began(_ now: String) throws {
            if let start, start != now {
                isDamaged = true
                for (key, line) in known where line >= synced {
                    known[key] = nil
                    begun[key] = try Journal.entry(file, path, at: line).stem
                }
                blocks = blocks.filter { $0.value.line < synced }
            }
            start = now
        }
        let whole = try Journal.lines(file, path) { bytes, offset in
            let line = Journal.content(bytes)
            if head == nil {
                isForeign = true
                guard let line, let first = try? JSON(reading: Array(line) + [UInt8(ascii: "}")]),
                    first[key: "journal"]?.asInt == 2
                else { return false }
                head = first[key: "head"]?.asString
                return head != nil
            }
            guard let line, let (kind, text) = Journal.beginning(line) else {
                isDamaged = true
                return true
            }
            let key = Journal.hash(text)
            switch kind {
            case "begins": begun[key] = text
            case "done":
                known[key] = offset
                begun[key] = nil
            // Of one that failed nothing is there; what was there before stays.
            case "fails": break
            case "block":
                let parts = text.split(separator: ":").map(String.init)
                guard parts.count == 4 else { break }
                blocks["\(parts[0]):\(parts[1])"] = (offset, parts[2...].compactMap { Int($0) })
            case "start": try began(text)
            case "disk": synced = Int(text) ?? synced
            default: isDamaged = true
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
                "The journal '\(path)' is not one of this version of the program, or is damaged in its first line; remove it, or choose another --output."
            )
        }
        let last = start
        if !isRead {
            try began(Journal.start)
            if lseek(file, 0, SEEK_END) > off_t(whole) { isDamaged = true }
            guard ftruncate(file, off_t(whole)) == 0 else { throw FileError(.write, path, errno) }
        }
        (self.path, descriptor, self.head, self.known, self.blocks) = (path, file, head, known, blocks)
        self.isDamaged = isDamaged
        state = Mutex(State(end: whole, unfinished: Set(begun.values), synced: synced))
        isTaken = true
        if !isRead, last != Journal.start {
            try append(JSON.object([("start", .string(Journal.start))]))
        }
    }

    /// Tells one start of the machine from another; none is the same where nobody knows.
    private static let start: String = {
        var bytes: [UInt8] = []
        if let file = try? InputFile("/proc/sys/kernel/random/boot_id") {
            bytes = (try? file.read(from: 0, count: 36)) ?? []
        }
        return bytes.isEmpty
            ? "unknown \(UInt64.random(in: .min ... .max))" : String(decoding: bytes, as: UTF8.self)
    }()

    deinit { close(descriptor) }

    /// A run's journal is not needed any more when the document of results is there.
    func remove() { FileName.remove(path) }

    // MARK: Lines

    func begins(_ stem: String) throws { try append(JSON.object([("begins", .string(stem))])) }

    /// Says that a block of packed maps is there.
    /// - Parameter sizes: of its files.
    func made(block number: Int, _ sum: UInt64, _ sizes: (maps: Int, index: Int)) throws {
        try append(
            JSON.object([("block", .string("\(number):\(sum):\(sizes.maps):\(sizes.index)"))]))
    }

    /// The sizes of such a block's files, if it was there before.
    func sizes(ofBlock number: Int, _ sum: UInt64) -> [Int]? { blocks["\(number):\(sum)"]?.sizes }

    /// - Returns: where the line is.
    @discardableResult
    func append(_ entry: Entry) throws -> Int {
        state.withLock { _ = $0.unfinished.remove(entry.stem) }
        return try append(
            JSON.object([
                (entry.isFailure ? "fails" : "done", .string(entry.stem)),
                ("sha256", JSON(entry.source?.sha256)),
                ("size", JSON(entry.source?.stamp?.size)), ("modified", JSON(entry.source?.stamp?.modified)),
                ("class", JSON(entry.classText)), ("true", JSON(entry.trueClass)),
                ("bytes", .int(entry.bytes)), ("files", JSON(entry.files)),
                ("row", JSON(entry.row)),
                ("rowSum", .int(Int(entry.rowSum))), ("image", .string(entry.image)),
                ("record", .string(entry.record)), ("index", .string(entry.index)),
            ]))
    }

    @discardableResult
    private func append(_ line: JSON) throws -> Int {
        let content = Array(line.line.utf8.dropLast())
        let bytes = content + Journal.sum(content[...]) + [UInt8(ascii: "\n")]
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

    /// Has all that was said so far, and the files of which it was said, written to the disk, and says so.
    /// - Parameter isLate: only if that was not done for some seconds.
    func sync(ifLate isLate: Bool) throws {
        let end: Int? = state.withLock { state in
            guard state.end > state.synced, !state.isSyncing,
                !isLate || Benchmark.now() - state.lastSync > Journal.patience
            else { return nil }
            state.isSyncing = true
            return state.end
        }
        guard let end else { return }
        defer { state.withLock { ($0.isSyncing, $0.lastSync) = (false, Benchmark.now()) } }
        guard try Folder.sync(fileSystemOf: descriptor, path) else { return }
        try append(JSON.object([("disk", .string("\(end)"))]))
        state.withLock { $0.synced = max($0.synced, end) }
    }

    /// The line that begins at `offset`.
    func entry(at offset: Int) throws -> Entry { try Journal.entry(descriptor, path, at: offset) }

    private static func entry(_ descriptor: Int32, _ path: String, at offset: Int) throws -> Entry {
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
        guard let value = try? JSON(reading: bytes),
            let stem = (value[key: "done"] ?? value[key: "fails"])?.asString,
            let record = value[key: "record"]?.asString, let index = value[key: "index"]?.asString,
            let image = value[key: "image"]?.asString
        else { throw FileError(.read, path, EIO, "a line of it is damaged") }
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
            bytes: value[key: "bytes"]?.asInt ?? 0, files: files, isFailure: value[key: "done"] == nil,
            row: value[key: "row"]?.asInt,
            rowSum: UInt32(truncatingIfNeeded: value[key: "rowSum"]?.asInt ?? 0),
            image: image, record: record, index: index)
    }

    /// Where the line is on a picture that was done before; nil if it was not.
    func offset(of stem: String) -> Int? { known[Journal.hash(stem)] }

    /// Whether files of that name are this run's, from before, or may be.
    func hasBegun(_ stem: String) -> Bool {
        isDamaged || known[Journal.hash(stem)] != nil || state.withLock { $0.unfinished.contains(stem) }
    }

    /// All pictures that were done before.
    var done: [Int] { known.values.sorted() }

    // MARK: Reading

    /// FNV-1a with 64 bits: a million names meet with a probability of 3e-8, and then a line says that it is another's.
    static func hash(_ text: String) -> UInt64 {
        text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }

    /// What ends a line: a sum of what is before it.
    private static func sum(_ content: ArraySlice<UInt8>) -> [UInt8] {
        let digits = String(CRC32.of(content), radix: 16)
        return Array(",\"sum\":\"\(String(repeating: "0", count: 8 - digits.count))\(digits)\"}".utf8)
    }
    private static let sumBytes = sum([]).count

    /// A line without its sum; nil if that is another's.
    private static func content(_ line: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard line.count > sumBytes, line.first == UInt8(ascii: "{") else { return nil }
        let content = UnsafeRawBufferPointer(rebasing: line.dropLast(sumBytes))
        return line.suffix(sumBytes).elementsEqual(sum(Array(content)[...])) ? content : nil
    }

    /// The first key of a line, and its text.
    private static func beginning(_ line: UnsafeRawBufferPointer) -> (kind: String, stem: String)? {
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
    /// - Returns: the bytes of all lines before that, or before one that has no end.
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
