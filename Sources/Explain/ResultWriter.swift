// Results as files, in a folder: those of each picture, a journal while it goes on, and results.json in the end.

import Dispatch
import Files
import Glibc
import Imaging
import Synchronization
import Text

/// Writes what an `ExplanationSession` finds into a directory.
///
/// For each picture, `STEM` being its file name without the extension (its path, where names of several folders are the same; `-2`, `-3`, … are
/// added where two pictures share one):
/// - `STEM.METHOD.CLASS.png`: the heat map over the picture;
/// - `STEM.METHOD.CLASS.heatmap.npy`: the heat map, binary32, [height, width] of the network's input, 0 … 1;
/// - `STEM.METHOD.CLASS.map.npy`: the raw map, binary32, at the layer's resolution, in the method's own unit;
/// - `STEM.compare.png`: the picture and all of its explanations side by side;
/// - if asked for (`ResultPart`), masks, boxes and contours, and `contact.png`, one sheet for all pictures.
///
/// Of a video the arrays have the frames in front, [frames, height, width], `STEM.METHOD.CLASS.png` has its frames in rows (of more than sixteen,
/// sixteen), and `STEM.METHOD.CLASS.apng` is an animation of all of them.
///
/// `CLASS` is the index of the class; a method that knows no class leaves it out (`STEM.fem.png`). `results.json` describes
/// everything. A file is complete or not there at all, and one that is there already is only replaced if `overwrite` says so.
/// While it goes on, and if it is killed, `journal.jsonl` says what is done, and a writer that `resumes` goes on from there.
///
/// ```swift
/// let writer = try ResultWriter(directory: "results", pictures: pictures, options: options)
/// let session = try ExplanationSession(Model(path: "resnet50.onnx"), options: options)
/// try writer.begin(session)
/// try session.explain(pictures) { index, result in try writer.write(index, result) }
/// try writer.finish(session)
/// ```
public final class ResultWriter: Sendable {
    /// What the heat map is laid over.
    public enum Background: String, Sendable, CaseIterable {
        /// The part of the picture that the network saw, at the network's size.
        case view
        /// The whole picture at its own size; what the network did not see is darkened.
        case photo
    }

    /// Where the time of writing went.
    package struct Times: Sendable {
        /// Seconds of all threads together that write.
        package var writing = 0.0
        /// Seconds for which nobody could go on because too much waited to be written.
        package var blocked = 0.0
        /// Pictures that wait to be written, or are.
        package var waiting = 0
        package init() {}
    }

    package var times: Times { state.withLock { $0.times } }

    /// What is done where there are results already.
    package enum Existing: Sendable {
        /// They are an error.
        case refuse
        /// They are replaced, and what an earlier results.json lists is removed before the first file is written.
        case replace
        /// What is done of the same run stays, and is not done again.
        case resume
    }

    /// Where the results go. Of a writer made with `claimsFresh` it is certain once the first result is written.
    public var directory: String { state.withLock { $0.directory } }
    /// The pictures, of a writer that was made for some, and the names of their files, without what distinguishes methods.
    private let pictures: [Picture]
    public let stems: [String]
    private let format: PictureFiles
    /// How maps are packed; nil if they are not. The shape is that of the session that begins.
    private let pack: PackRequest?
    private let existing: Existing
    private let claimsFresh: Bool
    private let names: Names
    /// Files that are explained and lie in the directory, as `Paths.identity`: none of them is replaced or removed.
    private let inputs: Set<[UInt8]>

    private struct State {
        var directory: String
        /// The directory, open and locked for as long as it is written into.
        var lock: Int32 = -1
        /// What the run is, as the document of results has it.
        var head = ""
        var journal: Journal?
        /// Whether that is of an earlier run; and whether it was made of that run's document.
        var isContinued = false, isOfDocument = false
        var pack: PackFormat?
        /// Of several programs, the one that this is.
        var shard: Shard?
        var rows: MapRows?
        /// How many pictures of each block are done, but for blocks that are written.
        var blocks: [Int: Int] = [:]
        /// Blocks that are there, and how many pictures and rows each has.
        var written: [Int: (pictures: Int, rows: Int, sum: UInt64)] = [:]
        /// Where the journal's lines are on the pictures.
        var lines = JournalLines()
        /// Whether any picture was explained, now or before.
        var hasSuccess = false
        /// What is only said if any was: of pictures that failed before.
        var early: [Int: Journal.Entry] = [:]
        /// Whether the document of results is this run's.
        var isWritten = false
        var spoiled: [Int: ExplainError] = [:]
        var times = Times()
        var failure: ExplainError?
        var contact = ContactSheet()

        mutating func note(_ index: Int, _ line: Int) {
            lines.set(index, line)
        }
    }
    private let state: Mutex<State>
    private let group = DispatchGroup()
    private let queue = DispatchQueue(label: "whitebox.results", attributes: .concurrent)
    // Pictures that wait to be written; more would only fill the memory.
    private let waiting = DispatchSemaphore(value: 16)

    /// Checks, before anything is computed, that the results can be written.
    /// - Parameters:
    ///   - directory: made, with those above it, when the first file is written.
    ///   - pictures: all that will be written.
    ///   - options: those of the session.
    ///   - background: what the heat maps are laid over.
    ///   - parts: which files are written of each picture.
    ///   - style: how maps are drawn.
    ///   - overwrite: whether files that are there already are replaced. What an earlier results.json there lists is removed before
    ///     the first file is written, so that nothing stays that the new one does not know.
    ///   - claimsFresh: a directory of its own is made, `directory` or, where that is there, `directory-2`, `-3` …, even if several
    ///     programs try at the same moment.
    /// - Throws: `ExplainError` of kind `output`: the directory cannot be written to, or holds results of these names.
    public convenience init(
        directory: String, pictures: [Picture], options: Options, background: Background = .view,
        parts: Set<ResultPart> = ResultPart.standard, style: PictureStyle = PictureStyle(),
        overwrite: Bool = false, claimsFresh: Bool = false
    ) throws {
        try self.init(
            directory: directory, pictures: pictures, options: options, background: background, parts: parts,
            style: style, pack: nil, existing: overwrite ? .replace : .refuse, claimsFresh: claimsFresh,
            inputs: PictureQueue(pictures).files(in: directory))
    }

    /// What is asked for of packed maps.
    package struct PackRequest: Sendable {
        let element: PackFormat.Element
        /// Pictures of a block; nil for as many as make some megabytes.
        let block: Int?
        package init(element: PackFormat.Element, block: Int?) {
            (self.element, self.block) = (element, block)
        }
    }

    /// - Parameters:
    ///   - pictures: nil if nobody knows them yet.
    ///   - inputs: `PictureQueue.files` in the directory.
    package init(
        directory: String, pictures: [Picture]?, options: Options, background: Background,
        parts: Set<ResultPart>, style: PictureStyle = PictureStyle(), pack: PackRequest?, existing: Existing,
        claimsFresh: Bool, inputs: Set<[UInt8]>
    ) throws {
        state = Mutex(State(directory: directory))
        self.inputs = inputs
        self.pack = pack
        self.pictures = pictures ?? []
        format = PictureFiles(background: background, parts: parts, style: style)
        self.existing = existing
        self.claimsFresh = claimsFresh
        stems = Stems.of(self.pictures)
        if background == .photo,
            let video = self.pictures.first(where: { if case .video = $0 { true } else { false } })
        {
            throw ExplainError(
                .settings,
                "Heat maps of a video, such as '\(video.name)', can only be laid over what the network saw (--overlay view)."
            )
        }
        try ResultWriter.checkWritable(claimsFresh ? Paths.parent(directory) : directory)
        names = Names(
            stems: Set(stems), methods: options.methods, classes: options.classChoice.indices)
        if claimsFresh { return }
        if existing == .refuse { try checkConflicts(in: directory) }
        try checkPictures(in: directory)
    }

    /// Makes the first of `base`, `base-2`, … that is not there: who makes it owns it.
    private static func claim(_ base: String) throws -> String {
        for number in 1... {
            let path = number == 1 ? base : "\(base)-\(number)"
            if FileName.withPath(path, { mkdir($0, 0o777) }) == 0 { return path }
            guard errno == EEXIST else { break }
        }
        throw ExplainError(.output, "The directory '\(base)' cannot be made; choose another --output.")
    }

    /// Locks a directory against other runs until the descriptor is closed.
    static func lock(_ directory: String) throws -> Int32 {
        let descriptor = FileName.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        // Some file systems know no locks.
        if descriptor >= 0, flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
            close(descriptor)
            throw ExplainError(
                .output,
                "Another run is writing into '\(directory)'; wait for its end, or choose another --output.")
        }
        return descriptor
    }

    private func unlock() {
        state.withLock { state in
            if state.lock >= 0 { close(state.lock) }
            state.lock = -1
        }
    }

    deinit { unlock() }

    /// `name` with what cannot stand in a file name replaced by `_`.
    package static func fileName(_ name: String, fallback: String) -> String {
        var scalars = String.UnicodeScalarView()
        for scalar in name.unicodeScalars {
            let bad = scalar == "/" || scalar == "\\" || !scalar.isPrintable
            scalars.append(bad || (scalar == "." && scalars.isEmpty) ? "_" : scalar)
        }
        return scalars.isEmpty ? fallback : String(scalars)
    }

    // MARK: Before

    /// The directory, or the nearest above it that exists, must be one that can be written to.
    package static func checkWritable(_ directory: String) throws {
        var path = directory.isEmpty ? "." : directory
        while FileKind(path) == .missing {
            let parent = Paths.parent(path)
            if parent == path { break }
            path = parent
        }
        guard FileKind(path) == .folder else {
            throw ExplainError(
                .output,
                "The results cannot be written to '\(directory)', because '\(path)' is a file; choose another --output."
            )
        }
        guard FileName.withPath(path, { access($0, W_OK) }) == 0 else {
            throw ExplainError(
                .output,
                "The results cannot be written to '\(directory)', because '\(path)' is not writable; choose another --output."
            )
        }
    }

    /// Makes a directory and those above it that are missing.
    package static func makeDirectory(_ directory: String) throws {
        do { try Folder.make(directory) } catch {
            throw ExplainError(
                .output, "The directory '\(error.path)' cannot be made; choose another --output.")
        }
    }

    /// Removes what an earlier run in the directory says that it wrote, but for what is explained now, and its own files.
    private func removeEarlier(_ directory: String) {
        let listed = ResultDocument.files(in: directory)
        for name in listed where FileKind(Paths.join(directory, name)) == .file {
            remove(name, in: directory)
        }
        if !listed.isEmpty { FileName.remove(Paths.join(directory, ResultDocument.name)) }
        FileName.remove(Paths.join(directory, Journal.name))
    }

    /// Removes a result, unless it is explained now, and folders that are empty without it.
    private func remove(_ name: String, in directory: String) {
        if !isInput(Paths.join(directory, name)) { Folder.remove(name, in: directory) }
    }

    private func isInput(_ path: String) -> Bool {
        !inputs.isEmpty && inputs.contains(Paths.identity(path))
    }

    /// The names that files of a run have.
    package struct Names {
        let stems: Set<String>, methods: [String]
        /// Nil: any.
        let classes: Set<Int>?

        /// - Parameter stem: says whether a name is a picture's.
        func contain(_ file: String) -> Bool {
            guard
                let ending = [
                    ".heatmap.npy", ".map.npy", ".stderr.npy", ".mask.png", ".box.png", ".contour.png",
                    ".png",
                    ".apng",
                ].first(where: file.hasSuffix)
            else {
                return false
            }
            let whole = file.dropLast(ending.count)
            if ending == ".png" && whole.hasSuffix(".compare") {
                return stems.contains(String(whole.dropLast(8)))
            }
            // STEM.METHOD, and the layer if it has a map of its own.
            func isNamed(_ front: Substring, _ method: String) -> Bool {
                var front = front
                if let dot = front.lastIndex(of: "."), front[dot...].hasPrefix(".layer"),
                    Int(front[dot...].dropFirst(6)) != nil
                {
                    front = front[..<dot]
                }
                return front.hasSuffix("." + method)
                    && stems.contains(String(front.dropLast(method.count + 1)))
            }
            return methods.contains { method in
                if isNamed(whole, method) { return true }
                guard let dot = whole.lastIndex(of: "."),
                    let target = Target(fileName: whole[whole.index(after: dot)...]),
                    classes?.contains(target.classIndex) ?? true
                else { return false }
                return isNamed(whole[..<dot], method)
            }
        }
    }

    private func checkConflicts(in directory: String) throws {
        let isUnfinished = FileKind(Paths.join(directory, Journal.name)) != .missing
        let conflicts = (Folder.names(directory) ?? []).filter {
            $0 == ResultDocument.name || $0 == Journal.name || names.contain($0)
                || format.parts.contains(.contact) && $0 == ContactSheet.name
        }
        .sorted { ($0 == Journal.name ? "~" : $0) < ($1 == Journal.name ? "~" : $1) }
        guard let first = conflicts.first else { return }
        let others = conflicts.count == 1 ? "" : " and \(conflicts.count - 1) more"
        throw ExplainError(
            .output,
            "The directory '\(directory)' already holds results (\(first)\(others))"
                + (isUnfinished
                    ? " of a run that has not ended, or was killed; go on with it by --resume, choose another --output, or replace them with --force."
                    : "; choose another --output, or replace them with --force."))
    }

    /// A picture that is explained must not be replaced by what explains another.
    private func checkPictures(in directory: String) throws {
        let folder = Paths.identity(directory)
        for path in pictures.flatMap(\.files) {
            guard names.contain(Paths.name(path)),
                Paths.identity(Paths.parent(path)) == folder
            else { continue }
            throw ExplainError(
                .output,
                "The picture '\(path)' has the name of a result, and would be overwritten; choose another --output."
            )
        }
    }

    /// Says what the run is. Where it goes on from another, that must have been the same.
    /// - Throws: `ExplainError` of kind `output` if it was not.
    public func begin(_ session: ExplanationSession) throws { _ = try begin(session, shard: nil) }

    /// The same for one of several programs.
    /// - Returns: the shard, with as many pictures together as share a file.
    package func begin(_ session: ExplanationSession, shard: Shard?) throws -> Shard? {
        var shard = shard
        var packed: PackFormat?
        if let pack {
            let shape = try session.packShape()
            packed = PackFormat(
                element: pack.element, block: pack.block ?? PackFormat.block(of: shape), shape: shape)
        }
        if let packed { shard?.block = packed.block }
        let head = try ResultDocument.head(session, format, packed, shard: shard)
        try state.withLock { state in
            (state.head, state.pack, state.shard) = (head, packed, shard)
            guard existing == .resume, FileKind(state.directory) == .folder else { return }
            state.lock = try ResultWriter.lock(state.directory)
            state.journal = try Journal(continuing: state.directory)
            guard let journal = state.journal else {
                let path = Paths.join(state.directory, ResultDocument.name)
                guard FileKind(path) != .missing else { return }
                // That run came to its end; this one may have other pictures.
                let earlier = try ResultDocument.head(in: path)
                try ResultDocument.checkSame(earlier, head, path)
                let journal = try Journal(beginning: state.directory, head: head)
                do {
                    if let packed {
                        // What lies in files of its own is said there, and the rest in the index.
                        var records: [String: Journal.Entry] = [:]
                        try ResultDocument.entries(in: path) { records[$0.stem] = $0 }
                        let rows = try MapRows(state.directory, packed, isNew: true)
                        state.rows = rows
                        try ResultDocument.entries(ofBlocksIn: state.directory, packed) { entry, bytes in
                            guard let whole = format.parts.isEmpty ? entry : records[entry.stem] else {
                                return
                            }
                            let (row, sum) = try rows.append(bytes)
                            try journal.append(whole.with(row: row, sum: sum, index: entry.index))
                            records[entry.stem] = nil
                        }
                        // Files whose rows are lost are this run's all the same.
                        for stem in records.keys.sorted() { try journal.begins(stem) }
                    } else {
                        try ResultDocument.entries(in: path) { _ = try journal.append($0) }
                    }
                } catch {
                    journal.remove()
                    state.rows?.remove()
                    throw ExplainError(error, .output)
                }
                try journal.sync(ifLate: false)
                (state.journal, state.isContinued) = (try Journal(continuing: state.directory), true)
                state.isOfDocument = true
                return
            }
            state.isContinued = true
            if let packed { state.rows = try MapRows(state.directory, packed) }
            try ResultDocument.checkSame(journal.head, head, Paths.join(state.directory, Journal.name))
            AtomicFile.sweep(state.directory)
            // What was begun is done anew, perhaps under other names.
            removeBegun(journal, state.directory)
        }
        return shard
    }

    // MARK: During

    /// What is to be said of picture `index` of those that the writer was made for, if an earlier run has done it: then it need not be done again.
    /// - Parameter request: with the bytes of a picture that lies in no file of its own.
    /// - Returns: whether it is.
    package func keep(_ index: Int, stem: String, _ request: PictureRequest) throws -> Bool {
        guard let journal = state.withLock({ $0.journal }), let line = journal.offset(of: stem) else {
            return false
        }
        let entry = try journal.entry(at: line)
        guard entry.stem == stem, !entry.isFailure, entry.classText == request.classChoice?.text,
            entry.trueClass == request.trueClass?.given, let source = entry.source,
            entry.image == request.picture.name, isThere(entry), request.picture.isStill(source)
        else { return false }
        do { try state.withLock { try succeed(&$0) } } catch { throw ExplainError(error, .output) }
        try note(index, line)
        return true
    }

    /// Whether an earlier run's files of a picture are all there.
    private func isThere(_ entry: Journal.Entry) -> Bool {
        let directory = directory
        var bytes = 0
        for name in entry.files {
            guard Folder.link(in: directory, to: name) == nil,
                let file = try? InputFile(Paths.join(directory, name)),
                // Of what did not reach the disk before a power cut only zeros may be left.
                (try? file.read(from: 0, count: 1)) == [PictureFiles.firstByte(of: name)]
            else { return false }
            bytes += file.size
        }
        guard bytes == entry.bytes else { return false }
        guard let rows = state.withLock({ $0.rows }) else { return true }
        return entry.row.map { rows.holds($0, entry.rowSum) } ?? false
    }

    /// Names of the files of an explanation, within the directory.
    public func files(_ index: Int, _ explanation: Explanation) -> ResultFiles {
        format.files(stems[index], explanation)
    }

    /// The name of a picture's comparison sheet, within the directory; nil if there is none.
    public func sheet(_ index: Int, _ image: ImageExplanation) -> String? {
        format.sheet(stems[index], image)
    }

    package func files(stem: String, _ explanation: Explanation) -> ResultFiles {
        format.files(stem, explanation)
    }
    package func sheet(stem: String, _ image: ImageExplanation) -> String? { format.sheet(stem, image) }

    /// Takes the result of picture `index` of those that the writer was made for; the files are written while the caller goes on.
    /// - Throws: `ExplainError` of kind `output` if a file could not be written, perhaps one of an earlier picture.
    public func write(_ index: Int, _ result: Result<ImageExplanation, ExplainError>) throws {
        try write(index, stem: stems[index], PictureRequest(pictures[index]), result)
    }

    /// The same for a picture that the writer was not made for.
    /// - Parameters:
    ///   - index: its place among all.
    ///   - stem: the name of its files, which no other has.
    package func write(
        _ index: Int, stem: String, _ request: PictureRequest,
        _ result: Result<ImageExplanation, ExplainError>
    ) throws {
        let entry = entry(stem, request, result, bytes: 0)
        var line: Int?
        let journal: Journal? = try state.withLock { state in
            precondition(!state.head.isEmpty, "Nobody said by `begin` what the run is.")
            if let failure = state.failure { throw failure }
            if case .failure = result, !state.hasSuccess {
                state.early[index] = entry
                return nil
            }
            do {
                try succeed(&state)
                if case .failure = result { line = try state.journal!.append(entry) }
            } catch {
                throw ExplainError(error, .output)
            }
            return state.journal
        }
        if let line { try note(index, line) }
        guard case .success(let image) = result, let journal else { return }
        let start = Benchmark.now()
        waiting.wait()
        // The picture was decoded in as much memory: alone, it can be written.
        let room = image.memory.room(format.memory(image), isPromised: true)
        state.withLock { state in
            state.times.blocked += Benchmark.now() - start
            state.times.waiting += 1
        }
        queue.async(group: group) {
            let start = Benchmark.now()
            defer {
                self.state.withLock { state in
                    state.times.writing += Benchmark.now() - start
                    state.times.waiting -= 1
                }
                withExtendedLifetime(room) {}
                self.waiting.signal()
            }
            do {
                do {
                    let (pack, rows) = self.state.withLock { ($0.pack, $0.rows) }
                    let bytes = try pack?.row(of: image)
                    let size = try self.writeFiles(index, stem, image, entry.files, journal)
                    var entry = self.entry(stem, request, result, bytes: size)
                    if let bytes, let rows {
                        let (row, sum) = try rows.append(bytes)
                        entry = entry.with(row: row, sum: sum)
                    }
                    try self.note(index, journal.append(entry))
                    try journal.sync(ifLate: true)
                } catch let spoiled as PictureFiles.Spoiled {
                    try self.spoil(index, stem, request, spoiled.reason, journal)
                } catch let error as ExplainError where error.kind == .settings {
                    try self.spoil(index, stem, request, error, journal)
                }
            } catch {
                self.state.withLock { $0.failure = $0.failure ?? ExplainError(error, .output) }
            }
        }
    }

    /// Notes that picture `index` failed although it was explained.
    private func spoil(
        _ index: Int, _ stem: String, _ request: PictureRequest, _ reason: ExplainError, _ journal: Journal
    ) throws {
        state.withLock { $0.spoiled[index] = reason }
        try note(index, journal.append(entry(stem, request, .failure(reason), bytes: 0)))
    }

    /// Notes where the journal's line is on picture `index`, and writes its block if all of that is done.
    private func note(_ index: Int, _ line: Int) throws {
        let block: Int? = state.withLock { state in
            state.note(index, line)
            guard let pack = state.pack else { return nil }
            let block = index / pack.block
            let count = (state.blocks[block] ?? 0) + 1
            state.blocks[block] = count < pack.block ? count : nil
            return count == pack.block ? block : nil
        }
        if let block { try writeBlock(block) }
    }

    /// Writes packed maps, unless they are there already.
    private func writeBlock(_ block: Int) throws {
        let (directory, pack, shard, rows, journal, lines) = state.withLock { state in
            let size = state.pack!.block
            return (
                state.directory, state.pack!, state.shard, state.rows!, state.journal!,
                state.lines[block * size..<(block + 1) * size]
            )
        }
        let entries = try lines.map(journal.entry)
        let sum = PackFormat.sum(entries)
        let place = shard?.place(of: block * pack.block) ?? block * pack.block
        let name = place / pack.block
        let files = [PackFormat.maps(name), PackFormat.index(name)].map { Paths.join(directory, $0) }
        let isThere =
            journal.sizes(ofBlock: name, sum).map { $0 == files.compactMap { FileStamp($0)?.size } } ?? false
        if !isThere {
            let mayReplace = existing == .replace || state.withLock { $0.isContinued }
            let sizes = try pack.write(block: name, entries, rows, to: directory, overwrite: mayReplace)
            try journal.made(block: name, sum, sizes)
        }
        state.withLock { state in
            state.written[name] = (entries.count, entries.count { $0.row != nil }, sum)
            // Nobody asks for them again, and of a million pictures they are many.
            if format.parts.isEmpty, existing != .resume {
                state.lines.forget(block * pack.block..<(block + 1) * pack.block)
            }
        }
    }

    /// A picture was explained, so there are results: their directory and journal are there from now on, and say what failed before.
    private func succeed(_ state: inout State) throws {
        guard !state.hasSuccess else { return }
        if state.journal == nil { try open(&state) }
        state.hasSuccess = true
        for (index, entry) in state.early.sorted(by: { $0.key < $1.key }) {
            state.note(index, try state.journal!.append(entry))
            if let pack = state.pack { state.blocks[index / pack.block, default: 0] += 1 }
        }
        state.early = [:]
    }

    /// Makes the directory and begins the journal.
    private func open(_ state: inout State) throws {
        if claimsFresh {
            state.directory = try ResultWriter.claim(state.directory)
        } else {
            try ResultWriter.makeDirectory(state.directory)
        }
        if state.lock < 0 { state.lock = try ResultWriter.lock(state.directory) }
        if !claimsFresh {
            AtomicFile.sweep(state.directory)
            if existing == .replace { removeEarlier(state.directory) }
        }
        if state.pack != nil, existing != .replace,
            let other = (Folder.names(state.directory) ?? []).first(where: PackFormat.isOurs)
        {
            // Before there is a journal, for then the next run would take it for its own.
            throw FileError(
                .write, Paths.join(state.directory, other), EEXIST,
                "it is there already, and is no file of this run; choose another --output, or remove it")
        }
        // Of two runs into one directory the second ends here.
        state.journal = try Journal(beginning: state.directory, head: state.head)
        if let pack = state.pack { state.rows = try MapRows(state.directory, pack, isNew: true) }
    }

    private func entry(
        _ stem: String, _ request: PictureRequest, _ result: Result<ImageExplanation, ExplainError>,
        bytes: Int
    ) -> Journal.Entry {
        var files: [String] = []
        var source: PictureSource?
        var isFailure = true
        if case .success(let image) = result {
            (source, isFailure) = (image.source, false)
            files = image.explanations.flatMap { format.files(stem, $0).all }
            if let sheet = format.sheet(stem, image) { files.append(sheet) }
        }
        let record =
            format.parts.isEmpty
            ? nil : ResultDocument.image(request, result, format, stem: stem, bytes: bytes)
        return Journal.Entry(
            stem: stem, source: source, classText: request.classChoice?.text,
            trueClass: request.trueClass?.given,
            bytes: bytes, files: files, isFailure: isFailure, row: nil, rowSum: 0,
            image: request.picture.name,
            record: record?.text(indent: ResultDocument.recordIndent) ?? "",
            index: pack == nil ? "" : ResultDocument.indexLine(request, result, stem: stem))
    }

    /// What the file system may refuse of a name, but not of others.
    private static let refusals: Set<Int32> = [ENAMETOOLONG, EISDIR, ENOTDIR, EILSEQ, ELOOP]

    /// - Parameter files: their names.
    /// - Returns: the bytes of all files together.
    /// - Throws: `PictureFiles.Spoiled` where other pictures may be written all the same; then nothing of this one is left.
    private func writeFiles(
        _ index: Int, _ stem: String, _ image: ImageExplanation, _ files: [String], _ journal: Journal
    ) throws -> Int {
        let directory = directory
        guard let first = files.first else {
            // It has no file of its own, but perhaps a place on the sheet for all.
            if let contact = try format.write(image, stem: stem, { _, _ in }) {
                state.withLock { $0.contact.add(index, contact) }
            }
            return 0
        }
        if let link = Folder.link(in: directory, to: first) {
            throw ExplainError(
                .output,
                "'\(shortenedPath(link))' is a symbolic link, and results are not written through links; remove it, or choose another --output."
            )
        }
        if !inputs.isEmpty, let input = files.first(where: { isInput(Paths.join(directory, $0)) }) {
            throw PictureFiles.Spoiled(
                reason: ExplainError(
                    .output,
                    "\(shortenedPath(image.name)): A result of it would have the name of the picture '\(shortenedPath(Paths.join(directory, input)))', which is explained as well and stays as it is; choose another --output."
                ))
        }
        // Of a run that goes on only its own files are replaced.
        let mayReplace = existing == .replace || existing == .resume && journal.hasBegun(stem)
        if !mayReplace, let other = files.first(where: { FileKind.isTaken(Paths.join(directory, $0)) }) {
            // Before it is said that they are ours, for then the next run would remove them.
            throw FileError(
                .write, Paths.join(directory, other), EEXIST,
                "it is there already, and is no file of this run; choose another --output, or remove it")
        }
        try journal.begins(stem)
        var all = 0
        var written: [String] = []
        do {
            if stem.utf8.contains(UInt8(ascii: "/")) {
                try Folder.make(Paths.parent(Paths.join(directory, stem)))
            }
            let contact = try format.write(image, stem: stem) { bytes, name in
                all += bytes.count
                try AtomicFile.write(bytes, to: Paths.join(directory, name), overwrite: mayReplace)
                written.append(name)
            }
            if let contact { state.withLock { $0.contact.add(index, contact) } }
        } catch {
            func undo() {
                for name in written { FileName.remove(Paths.join(directory, name)) }
                Folder.removeEmpty(above: first, in: directory)
            }
            if error is PictureFiles.Spoiled { undo() }
            guard let error = error as? FileError, ResultWriter.refusals.contains(error.code) else {
                throw error
            }
            undo()
            throw PictureFiles.Spoiled(
                reason: ExplainError(.output, "\(shortenedPath(image.name)): \(error.description)"))
        }
        return all
    }

    /// Why picture `index` has no files although it was explained: it had to be read again (`Background.photo`), and was changed
    /// meanwhile. Nil while all is well.
    public func failure(of index: Int) -> ExplainError? { state.withLock { $0.spoiled[index] } }

    /// Whether all files of picture `index` are in their place.
    public func isWritten(_ index: Int) -> Bool {
        state.withLock {
            $0.lines.knows(index) && $0.spoiled[index] == nil
        }
    }

    // MARK: After

    /// Waits for the files of all pictures and writes `results.json`; nothing at all if no picture could be explained.
    /// - Parameter incomplete: why not all pictures were explained, a sentence for `results.json`; nil if they were. Then the journal stays, and
    ///   another run may go on.
    public func finish(_ session: ExplanationSession, incomplete: String? = nil) throws {
        try finish(session, incomplete: incomplete, list: nil)
    }

    /// The same of one of several programs.
    /// - Parameter list: `PictureQueue.digest` of all pictures.
    package func finish(_ session: ExplanationSession, incomplete: String? = nil, list: UInt64?) throws {
        group.wait()
        defer { unlock() }
        let found: (journal: Journal, lines: JournalLines)? = try state.withLock { state in
            if let failure = state.failure { throw failure }
            if !state.hasSuccess {
                // What there was before stays, and is another run's.
                if let journal = state.journal, !journal.done.isEmpty || state.shard == nil {
                    if state.isOfDocument {
                        journal.remove()
                        state.rows?.remove()
                    }
                    return nil
                }
                // One of several programs says what it did even if that is nothing.
                guard state.shard != nil else { return nil }
                do { try succeed(&state) } catch { throw ExplainError(error, .output) }
            }
            return (state.journal!, state.lines)
        }
        guard let (journal, lines) = found else { return }
        let directory = directory
        do {
            // Of a run that goes on another time, blocks wait for their pictures.
            for block in state.withLock({ Array($0.blocks.keys) }) where incomplete == nil {
                try writeBlock(block)
            }
            // What a run that was ended has not come to is not forgotten.
            if existing == .resume, incomplete == nil { try removeForgotten(journal, lines.all, directory) }
            if let sheet = state.withLock({ $0.contact.file }) {
                try AtomicFile.write(
                    sheet, to: Paths.join(directory, ContactSheet.name), overwrite: existing != .refuse)
            }
            let (pack, shard, blocks) = state.withLock { ($0.pack, $0.shard, $0.written) }
            let head = try ResultDocument.head(
                session, format, pack, shard: shard, isWhole: true, incomplete: incomplete,
                list: shard == nil || incomplete != nil ? nil : list,
                blocks: blocks.sorted { $0.key < $1.key }.map { number, count in
                    .object([
                        ("maps", .string(PackFormat.maps(number))),
                        ("index", .string(PackFormat.index(number))),
                        ("pictures", .int(count.pictures)), ("rows", .int(count.rows)),
                        ("sum", .string(String(count.sum, radix: 16))),
                    ])
                })
            try AtomicFile.write(
                to: Paths.join(directory, ResultDocument.name), overwrite: existing != .refuse
            ) { append in
                try ResultDocument.write(
                    head,
                    (format.parts.isEmpty ? [] : lines.all).lazy.map { line in
                        Result { try journal.entry(at: line).record }
                    }, append)
            }
            state.withLock { $0.isWritten = true }
            try journal.sync(ifLate: false)
        } catch {
            throw ExplainError(error, .output)
        }
        guard incomplete == nil else { return }
        journal.remove()
        state.withLock { $0.rows?.remove() }
    }

    /// What `results.json` says of the run, without what it says of pictures.
    package func details(_ session: ExplanationSession) throws -> String {
        let (pack, shard) = state.withLock { ($0.pack, $0.shard) }
        return try ResultDocument.head(session, format, pack, shard: shard, isWhole: true)
    }

    /// The text of `results.json`, in parts: as it was written, or would have been if any picture had been explained.
    package func text(
        _ session: ExplanationSession, incomplete: String? = nil, _ take: ([UInt8]) throws -> Void
    ) throws {
        let (isWritten, early) = state.withLock { ($0.isWritten, $0.early) }
        guard !isWritten else {
            let file = try InputFile(Paths.join(directory, ResultDocument.name))
            // Parts end with lines, so that each is text.
            var rest: [UInt8] = []
            for start in stride(from: 0, to: file.size, by: 1 << 20) {
                rest += try file.read(from: start, count: min(1 << 20, file.size - start))
                guard let end = rest.lastIndex(of: UInt8(ascii: "\n")) else { continue }
                try take(Array(rest[...end]))
                rest.removeFirst(end + 1)
            }
            return
        }
        let (pack, shard) = state.withLock { ($0.pack, $0.shard) }
        let head = try ResultDocument.head(
            session, format, pack, shard: shard, isWhole: true, incomplete: incomplete)
        try ResultDocument.write(
            head, early.sorted { $0.key < $1.key }.map(\.value.record).filter { !$0.isEmpty }, take)
    }

    /// Removes files of an earlier run that this one knows nothing of: of pictures that are not named any more, or that were begun and are done
    /// under other names.
    private func removeForgotten(_ journal: Journal, _ lines: [Int], _ directory: String) throws {
        let kept = Set(lines)
        var files: Set<String> = []
        for line in journal.done where !kept.contains(line) {
            files.formUnion(try journal.entry(at: line).files)
        }
        if !files.isEmpty {
            for line in lines { files.subtract(try journal.entry(at: line).files) }
        }
        for file in files where ResultDocument.isOurs(file) { remove(file, in: directory) }
        let blocks = state.withLock { state in
            Set(state.written.keys.flatMap { [PackFormat.maps($0), PackFormat.index($0), MapRows.name] })
        }
        for name in Folder.names(directory) ?? []
        where PackFormat.isOurs(name) && !blocks.contains(name) && name != MapRows.name {
            remove(name, in: directory)
        }
        removeBegun(journal, directory)
    }

    /// Removes files of pictures that an earlier run began.
    private func removeBegun(_ journal: Journal, _ directory: String) {
        for stem in journal.unfinished {
            let begun = Names(stems: [Paths.name(stem)], methods: names.methods, classes: nil)
            let folder = Paths.split(stem).folder
            let all = Folder.names(Paths.parent(Paths.join(directory, stem))) ?? []
            for name in all where begun.contain(name) {
                remove(folder == "." ? name : Paths.join(folder, name), in: directory)
            }
            Folder.removeEmpty(above: stem, in: directory)
        }
    }

    /// Waits until no file is being written any more. `finish` does so too; call this before giving up.
    public func wait() { group.wait() }
}

/// Where a journal's lines are on pictures, by the places of these among all; in chunks, so that what is not needed any more can be given back.
private struct JournalLines {
    private static let size = 1024
    /// -1 for those that are not done.
    private var chunks: [[Int]?] = []
    /// Places before this one that were forgotten, because all of their block was done.
    private var forgotten: [Range<Int>] = []

    mutating func set(_ index: Int, _ line: Int) {
        let chunk = index / Self.size
        if chunk >= chunks.count { chunks += Array(repeating: nil, count: chunk + 1 - chunks.count) }
        if chunks[chunk] == nil { chunks[chunk] = Array(repeating: -1, count: Self.size) }
        chunks[chunk]![index % Self.size] = line
    }

    private func line(_ index: Int) -> Int? {
        guard index / Self.size < chunks.count, let line = chunks[index / Self.size]?[index % Self.size],
            line >= 0
        else { return nil }
        return line
    }

    /// Whether a picture is done.
    func knows(_ index: Int) -> Bool {
        line(index) != nil || forgotten.contains { $0.contains(index) }
    }

    /// Those of the pictures at these places that are done.
    subscript(range: Range<Int>) -> [Int] { range.compactMap(line) }

    /// Of all, in their order.
    var all: [Int] { chunks.flatMap { ($0 ?? []).filter { $0 >= 0 } } }

    mutating func forget(_ range: Range<Int>) {
        if let last = forgotten.last, last.upperBound == range.lowerBound {
            forgotten[forgotten.count - 1] = last.lowerBound..<range.upperBound
        } else {
            forgotten.append(range)
        }
        for index in range where index / Self.size < chunks.count {
            chunks[index / Self.size]?[index % Self.size] = -1
        }
        for chunk in range.lowerBound / Self.size...(range.upperBound - 1) / Self.size
        where chunk < chunks.count && chunks[chunk]?.allSatisfy({ $0 < 0 }) ?? false
            && forgotten.contains(where: {
                $0.contains(chunk * Self.size) && $0.contains((chunk + 1) * Self.size - 1)
            })
        {
            chunks[chunk] = nil
        }
    }
}
