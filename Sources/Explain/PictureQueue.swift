// The pictures of a run, one after the other: of a list that may be as long as it likes, or some that were named.

import Files
import Glibc
import Imaging
import Text

/// A picture of a run, in its place.
package struct RunItem: Sendable {
    /// Its place among all of the run, from 0.
    package let index: Int
    /// The name of its files.
    package let stem: String
    package let request: PictureRequest
    /// Why it cannot be explained as it was asked for, if nobody needs to read it to know.
    package let failure: ExplainError?
}

/// Hands over the pictures of a run, and is used by one thread at a time.
package final class PictureQueue {
    /// What there is of a picture before it is known what is asked of it.
    struct Named {
        var picture: Picture
        /// Reads the bytes of a picture that lies in no file of its own.
        var content: (() throws -> [UInt8])?
        /// What stands beside it in an archive of the class that it is of; to be asked after that.
        var label: (() throws -> String?)?
        /// The path that its files are named after; nil where that is known otherwise.
        var path: String
        var stem: String?
        var asked: String?, trueClass: String?
    }

    /// How many there are; nil if that is known at the end.
    package var count: Int? { all.map { all in shard.map { $0.count(of: all) } ?? all } }
    /// Those of other shards counted.
    private let all: Int?
    /// The pictures, where there are so few that they are known at once.
    package let pictures: [Picture]?
    private var source: () throws -> Named?
    /// Hands over the paths of all pictures that lie in files, and those of other shards.
    private let eachFile: (_ take: (String) -> Void) throws -> Void
    private var stems = Stems()
    /// Of the pictures, each its own.
    package var classes = PictureClasses.none
    private var taken = 0
    /// Of several programs, the one whose pictures these are; nil for one alone.
    package var shard: Shard?
    /// Of all pictures so far, those of other shards too: a number that tells whether two programs had the same.
    package private(set) var digest: UInt64 = 0xcbf2_9ce4_8422_2325
    /// How many were passed over so far, which other shards have.
    private var passed = 0

    package init(_ pictures: [Picture], shard: Shard? = nil) {
        self.pictures = shard == nil ? pictures : nil
        (all, self.shard) = (pictures.count, shard)
        eachFile = { take in pictures.flatMap(\.files).forEach(take) }
        let names = Stems.of(pictures)
        var next = 0
        source = {
            guard next < pictures.count else { return nil }
            defer { next += 1 }
            return Named(picture: pictures[next], path: pictures[next].name, stem: names[next])
        }
    }

    /// Of the files below a folder, by their paths within it.
    package init(folders: [(folder: String, paths: [String])], shard: Shard? = nil) {
        pictures = nil
        all = folders.reduce(0) { $0 + $1.paths.count }
        self.shard = shard
        eachFile = { take in
            for (folder, paths) in folders { for path in paths { take(Paths.join(folder, path)) } }
        }
        var (folder, next) = (0, 0)
        source = {
            while folder < folders.count, next == folders[folder].paths.count {
                (folder, next) = (folder + 1, 0)
            }
            guard folder < folders.count else { return nil }
            defer { next += 1 }
            let (front, path) = (folders[folder].folder, folders[folder].paths[next])
            return Named(
                picture: .file(Paths.join(front, path)),
                path: folders.count > 1 ? Paths.join(Paths.name(front), path) : path)
        }
    }

    /// Of a list: each line is a path, or a JSON object such as {"image": "cat.jpg", "id": "cats/1", "class": "tabby", "true": 281}.
    /// - Parameter path: of a file, or `-` for what comes through stdin.
    package init(list path: String, shard: Shard? = nil) throws {
        pictures = nil
        self.shard = shard
        let lines = try TextLines(path)
        // Of what comes through a pipe nobody knows the end.
        var all: Int?
        if lines.canRewind {
            var count = 0
            while let line = try lines.next() { count += PictureQueue.isBlank(line) ? 0 : 1 }
            lines.rewind()
            all = count
            guard count > 0 else { throw ExplainError(.input, "The list '\(path)' names no picture.") }
        }
        self.all = all
        eachFile = { take in
            // What comes through a pipe is waited for.
            try lines.makeRewindable()
            while let line = try lines.next() {
                if PictureQueue.isBlank(line) { continue }
                take(try PictureQueue.named(line, in: path, number: lines.number).picture.name)
            }
            lines.rewind()
        }
        source = {
            while let line = try lines.next() {
                if PictureQueue.isBlank(line) { continue }
                return try PictureQueue.named(line, in: path, number: lines.number)
            }
            return nil
        }
    }

    /// Names that tar archives have.
    package static func isArchive(_ name: String) -> Bool {
        let name = name.lowercased()
        return ["", ".gz", ".xz", ".zst", ".bz2"].contains { name.hasSuffix(".tar" + $0) }
            || [".tgz", ".txz", ".tbz2", ".tzst"].contains { name.hasSuffix($0) }
    }

    /// Of tar archives, which are read as they are needed: their files that are called pictures.
    /// - Parameter note: is told of each archive what was passed over.
    package init(archives: [String], shard: Shard? = nil, note: @escaping (String) -> Void) throws {
        (pictures, all, self.shard) = (nil, nil, shard)
        eachFile = { _ in }
        // That the first is there is said before anything is computed.
        var open: Archive? = try Archive(archives[0])
        var number = 0
        source = {
            while let archive = open {
                while let entry = try archive.nextPicture() {
                    let front =
                        Paths.name(archives[number]).split(separator: ".").first.map(String.init) ?? "archive"
                    return Named(
                        picture: .encoded([], name: Paths.join(archives[number], entry.path)),
                        content: { try archive.content() }, label: { try archive.label(of: entry) },
                        path: archives.count > 1 ? Paths.join(front, entry.path) : entry.path)
                }
                if archive.others > 0 {
                    note(
                        "'\(archives[number])': left out \(archive.others) file\(archive.others == 1 ? "" : "s") not called pictures."
                    )
                }
                number += 1
                open = number < archives.count ? try Archive(archives[number]) : nil
            }
            return nil
        }
    }

    private final class Archive {
        private var reader: TarReader
        var others = 0
        init(_ path: String) throws {
            do { reader = try TarReader(path: path) } catch { throw ExplainError(error, .input) }
        }
        /// An entry that was looked at before its turn.
        private var coming: TarReader.Entry?
        /// What stood in front of the pictures of one sample, as WebDataset has them: `a/1.cls` is beside `a/1.jpg`.
        private var given: (sample: String, label: String?) = ("", nil)

        private func next() throws -> TarReader.Entry? {
            if let coming {
                self.coming = nil
                return coming
            }
            do { return try reader.next() } catch { throw ExplainError(error, .input) }
        }

        func nextPicture() throws -> TarReader.Entry? {
            while let entry = try next() {
                if Archive.isPicture(entry) { return entry }
                if try !readLabel(entry) { others += 1 }
            }
            return nil
        }

        /// Those of the picture that was given last.
        func content() throws -> [UInt8] { try reader.content() }

        /// What stands in front of it or behind it.
        func label(of picture: TarReader.Entry) throws -> String? {
            let sample = Archive.sample(picture)
            while given.sample != sample || given.label == nil, coming == nil, let entry = try next() {
                guard !Archive.isPicture(entry), Archive.sample(entry) == sample else {
                    coming = entry
                    break
                }
                if try !readLabel(entry) { others += 1 }
            }
            return given.sample == sample ? given.label : nil
        }

        /// - Returns: whether it is one.
        private func readLabel(_ entry: TarReader.Entry) throws -> Bool {
            guard Paths.fileExtension(entry.path) == "cls", entry.size <= 1024 else { return false }
            do {
                let text = String(decoding: try reader.content(), as: UTF8.self)
                    .trimmed
                given = (Archive.sample(entry), text.isEmpty ? nil : text)
                return true
            } catch {
                throw ExplainError(error, .input)
            }
        }

        private static func isPicture(_ entry: TarReader.Entry) -> Bool {
            !Paths.name(entry.path).hasPrefix(".")
                && RGBImage.fileExtensions.contains(Paths.fileExtension(entry.path))
        }

        /// What files of one sample have in common: all before the first point of their names.
        private static func sample(_ entry: TarReader.Entry) -> String {
            let (folder, name) = Paths.split(entry.path)
            return Paths.join(folder, String(name.prefix { $0 != "." }))
        }
    }

    private static func isBlank(_ line: [UInt8]) -> Bool {
        line.allSatisfy { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
    }

    private static func named(_ line: [UInt8], in list: String, number: Int) throws -> Named {
        guard number > 1 || !TextLines.beginsArray(line) else {
            throw ExplainError(.input, "The list '\(list)', line 1: \(TextLines.arrayReason)")
        }
        guard line.first == UInt8(ascii: "{") else {
            let path = FileName.text(line)
            return Named(picture: .file(path), path: path)
        }
        func failed(_ reason: String) -> ExplainError {
            ExplainError(.input, "The list '\(list)', line \(number): \(reason)")
        }
        let value: JSON
        do { value = try JSON(reading: line) } catch {
            throw failed("The line looks like JSON, but \(error.reason).")
        }
        guard case .object(let entries) = value else { throw failed("The line is no JSON object.") }
        var found: [String: String] = [:]
        for (key, value) in entries {
            guard ["image", "id", "class", "true"].contains(key) else {
                throw failed(
                    "There is nothing called “\(shortened(key))” to say of a picture; there are image, id, class and true."
                )
            }
            switch value {
            case .string(let text): found[key] = text
            case .int(let number) where key == "class" || key == "true": found[key] = "\(number)"
            case .null: break
            default:
                throw failed(
                    "“\(key)” must be a text"
                        + (key == "class" || key == "true" ? " or a whole number." : "."))
            }
        }
        guard let path = found["image"], !path.isEmpty else {
            throw failed("The line names no image; write {\"image\": \"cat.jpg\"}, or a path alone.")
        }
        return Named(
            picture: .file(path), path: found["id"].map { $0 + ".id" } ?? path, asked: found["class"],
            trueClass: found["true"])
    }

    /// Which pictures lie in a folder that results are written into, as `Paths.identity`. To be asked before the first picture is; a list that comes
    /// through a pipe is read to its end for it.
    package func files(in folder: String) throws -> Set<[UInt8]> {
        guard FileKind(folder) == .folder, let root = FileName.resolved(folder) else { return [] }
        var found: Set<[UInt8]> = []
        // Of a million pictures most lie beside each other, and elsewhere.
        var (parent, isInside) = ("", false)
        try eachFile { path in
            if Paths.split(path).folder != parent {
                parent = Paths.split(path).folder
                isInside =
                    FileName.resolved(parent).map { $0 == root || FileName.isBelow($0, folder: root) }
                    ?? false
            }
            guard isInside || FileKind.isLink(path), let real = FileName.resolved(path),
                FileName.isBelow(real, folder: root)
            else { return }
            found.insert(FileName.bytes(real))
        }
        return found
    }

    /// The next picture; nil if there are no more.
    package func next() throws -> RunItem? {
        while let named = try source() {
            defer { passed += 1 }
            // Names depend on all pictures, so that they are those of the whole run.
            let stem = named.stem ?? stems.stem(ofPath: named.path)
            digest =
                (digest &* 0x100_0000_01b3)
                ^ Journal.hash("\(named.picture.name)\u{0}\(stem)\u{0}\(named.asked ?? "")")
            if let shard, !shard.has(passed) { continue }
            defer { taken += 1 }
            var request = PictureRequest(named.picture)
            var failure: ExplainError?
            if let content = named.content {
                do {
                    request.picture = .encoded(try content(), name: named.picture.name)
                } catch let error as FileError where error.code == EFBIG || error.code == ENODATA {
                    failure = ExplainError(error, .input)
                } catch {
                    throw ExplainError(error, .input)
                }
            }
            var named = named
            if let label = named.label { named.trueClass = try label() }
            do throws(ExplainError) {
                try classes.apply(to: &request, named)
            } catch {
                failure = failure ?? error
            }
            return RunItem(index: taken, stem: stem, request: request, failure: failure)
        }
        return nil
    }
}

/// Which pictures of a run one of several programs takes, on as many hosts: of every `count` blocks of pictures one.
package struct Shard: Hashable, Sendable {
    /// From 1.
    package let number: Int
    package let count: Int
    /// Pictures that stay together.
    package var block = 1

    package init(number: Int, of count: Int) { (self.number, self.count) = (number, count) }

    func has(_ index: Int) -> Bool { index / block % count == number - 1 }

    func count(of all: Int) -> Int {
        let round = block * count
        let rest = all % round - (number - 1) * block
        return all / round * block + max(0, min(block, rest))
    }

    /// The place among all pictures of one of this shard's.
    package func place(of index: Int) -> Int { (index / block * count + number - 1) * block + index % block }
}

/// Lines of a text, with flat memory.
final class TextLines {
    private let path: String
    private var descriptor: Int32
    private var window: [UInt8] = []
    private var start = 0
    private var offset = 0
    private var isAtEnd = false
    private(set) var canRewind: Bool
    /// Of the line that was given last, from 1.
    private(set) var number = 0

    /// - Parameter path: `-` for stdin.
    init(_ path: String) throws {
        self.path = path
        descriptor = path == "-" ? dup(STDIN_FILENO) : FileName.open(path, O_RDONLY)
        guard descriptor >= 0 else { throw ExplainError(FileError(.read, path, errno), .input) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT != S_IFDIR else {
            close(descriptor)
            throw ExplainError(
                .input, "Cannot read '\(path)': it is a directory; name a file with a path on each line.")
        }
        canRewind = path != "-" && status.st_mode & S_IFMT == S_IFREG
    }

    deinit { close(descriptor) }

    /// Reads all of what comes through a pipe into a file that nobody else sees, before its first line was asked for.
    func makeRewindable() throws {
        guard !canRewind else { return }
        guard let file = tmpfile() else { throw ExplainError(FileError(.write, path, errno), .input) }
        defer { fclose(file) }
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = read(descriptor, &part, part.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw ExplainError(FileError(.read, path, errno), .input) }
            guard count > 0 else { break }
            guard fwrite(part, 1, count, file) == count else {
                throw ExplainError(FileError(.write, path, errno), .input)
            }
        }
        guard fflush(file) == 0 else { throw ExplainError(FileError(.write, path, errno), .input) }
        close(descriptor)
        (descriptor, canRewind) = (fcntl(fileno(file), F_DUPFD_CLOEXEC, 0), true)
        rewind()
    }

    func rewind() {
        precondition(canRewind)
        (window, start, offset, isAtEnd, number) = ([], 0, 0, false, 0)
        lseek(descriptor, 0, SEEK_SET)
    }

    /// The longest line that is a path or says something of one.
    private static let mostBytes = 1 << 20

    /// The next line without its end; nil after the last.
    func next() throws -> [UInt8]? {
        while true {
            if let end = window[start...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { start = end + 1 }
                return line(window[start..<end])
            }
            if isAtEnd {
                guard start < window.count else { return nil }
                defer { start = window.count }
                return line(window[start...])
            }
            guard window.count - start < Self.mostBytes else {
                throw ExplainError(
                    .input, "'\(path)', line \(number + 1): The line is longer than a megabyte.")
            }
            window.removeFirst(start)
            start = 0
            let part = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
                var read = Glibc.read(descriptor, buffer.baseAddress!, 1 << 16)
                while read < 0 && errno == EINTR {
                    read = Glibc.read(descriptor, buffer.baseAddress!, 1 << 16)
                }
                count = read
                if read < 0 { count = 0 }
            }
            if part.isEmpty { isAtEnd = true } else { window += part }
        }
    }

    /// Whether a first line is that of an array of JSON. (A picture may be called `[1].jpg`.)
    static func beginsArray(_ line: [UInt8]) -> Bool {
        let rest = line.drop { " \t".utf8.contains($0) }
        guard rest.first == UInt8(ascii: "[") else { return false }
        let next = rest.dropFirst().first { !" \t".utf8.contains($0) }
        return next.map { "{[]\"".utf8.contains($0) } ?? true
    }
    static let arrayReason =
        "It begins an array of JSON, and the file is read line by line; write each object on a line of its own, without brackets and commas around it (jq -c '.[]' does so)."

    private func line(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        number += 1
        var line = bytes
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        // A byte order mark at the start says nothing.
        if number == 1, line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
        return Array(line)
    }
}
