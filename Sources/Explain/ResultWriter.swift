// Results as files: overlays, heat maps, raw maps, a sheet for each picture, and results.json.

import Dispatch
import Files
import Foundation
import Imaging
import Synchronization
import Text

/// Writes what an `ExplanationSession` finds into a directory.
///
/// For each picture, `STEM` being its file name without the extension (`-2`, `-3`, … are added where two pictures share one):
/// - `STEM.METHOD.CLASS.png`: the heat map over the picture;
/// - `STEM.METHOD.CLASS.heatmap.npy`: the heat map, binary32, [height, width] of the network's input, 0 … 1;
/// - `STEM.METHOD.CLASS.map.npy`: the raw map, binary32, at the layer's resolution, in the method's own unit;
/// - `STEM.compare.png`: the picture and all of its explanations side by side.
///
/// Of a video the arrays have the frames in front, [frames, height, width], `STEM.METHOD.CLASS.png` has its frames in rows (of more than sixteen,
/// sixteen), and `STEM.METHOD.CLASS.apng` is an animation of all of them.
///
/// `CLASS` is the index of the class; a method that knows no class leaves it out (`STEM.fem.png`). `results.json` describes
/// everything. A file is complete or not there at all, and one that is there already is only replaced if `overwrite` says so.
///
/// ```swift
/// let writer = try ResultWriter(directory: "results", pictures: pictures, options: options)
/// let session = try ExplanationSession(Model(path: "resnet50.onnx"), options: options)
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

    /// Where the results go. Of a writer made with `claimsFresh` it is certain once the first result is written.
    public var directory: String { state.withLock { $0.directory } }
    /// Names of the files of each picture, without what distinguishes methods.
    public let stems: [String]
    private let pictures: [Picture]
    private let background: Background
    private let overwrite: Bool
    private let claimsFresh: Bool
    private let names: Names

    private struct State {
        var directory: String
        /// The directory, open and locked for as long as it is written into.
        var lock: Int32 = -1
        var records: [Int: JSON] = [:]
        var written: Set<Int> = []
        var spoiled: [Int: ExplainError] = [:]
        var failure: ExplainError?
        var isThere = false
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
    ///   - overwrite: whether files that are there already are replaced. What an earlier results.json there lists is removed before
    ///     the first file is written, so that nothing stays that the new one does not know.
    ///   - claimsFresh: a directory of its own is made, `directory` or, where that is there, `directory-2`, `-3` …, even if several
    ///     programs try at the same moment.
    /// - Throws: `ExplainError` of kind `output`: the directory cannot be written to, or holds results of these names.
    public init(
        directory: String, pictures: [Picture], options: Options, background: Background = .view,
        overwrite: Bool = false, claimsFresh: Bool = false
    ) throws {
        state = Mutex(State(directory: directory))
        self.pictures = pictures
        self.background = background
        self.overwrite = overwrite
        self.claimsFresh = claimsFresh
        stems = ResultWriter.stems(pictures)
        if background == .photo,
            let video = pictures.first(where: { if case .video = $0 { true } else { false } })
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
        if !overwrite { try checkConflicts(in: directory) }
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
    private static func lock(_ directory: String) throws -> Int32 {
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

    private static func stems(_ pictures: [Picture]) -> [String] {
        var taken: Set<String> = []
        return pictures.map { picture in
            var stem = Paths.name(picture.name)
            switch picture {
            case .file: stem = Paths.stem(picture.name)
            case .video where Paths.fileExtension(stem) == "txt": stem = Paths.stem(picture.name)
            case .video, .array: break
            }
            stem = fileName(stem, fallback: "image")
            // File systems allow 255 bytes, and something follows.
            while stem.utf8.count > 180 { stem.removeLast() }
            var name = stem
            var number = 1
            while !taken.insert(name).inserted {
                number += 1
                name = "\(stem)-\(number)"
            }
            return name
        }
    }

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

    /// Removes what an earlier results.json in the directory lists, but for what is explained now, and that file itself.
    private static func removeEarlier(_ directory: String, but pictures: [Picture]) {
        let listed = ResultDocument.files(in: directory)
        let kept = Set(pictures.flatMap { $0.files + [$0.name] }.map(Paths.identity))
        for name in listed {
            let path = Paths.join(directory, name)
            if FileKind(path) == .file, !kept.contains(Paths.identity(path)) { FileName.remove(path) }
        }
        if !listed.isEmpty { FileName.remove(Paths.join(directory, "results.json")) }
    }

    /// The names that files of a run have.
    package struct Names {
        let stems: Set<String>, methods: [String]
        /// Nil: any.
        let classes: Set<Int>?

        func contain(_ file: String) -> Bool {
            guard
                let ending = [".heatmap.npy", ".map.npy", ".stderr.npy", ".png", ".apng"].first(
                    where: file.hasSuffix)
            else {
                return false
            }
            let whole = file.dropLast(ending.count)
            if ending == ".png" && whole.hasSuffix(".compare") {
                return stems.contains(String(whole.dropLast(8)))
            }
            return methods.contains { method in
                if whole.hasSuffix("." + method) {
                    return stems.contains(String(whole.dropLast(method.count + 1)))
                }
                guard let dot = whole.lastIndex(of: "."),
                    let target = Target(fileName: whole[whole.index(after: dot)...]),
                    classes?.contains(target.classIndex) ?? true
                else { return false }
                let front = whole[..<dot]
                return front.hasSuffix("." + method)
                    && stems.contains(String(front.dropLast(method.count + 1)))
            }
        }
    }

    private func checkConflicts(in directory: String) throws {
        let conflicts = (Folder.names(directory) ?? []).filter { $0 == "results.json" || names.contain($0) }
            .sorted()
        guard let first = conflicts.first else { return }
        let others = conflicts.count == 1 ? "" : " and \(conflicts.count - 1) more"
        throw ExplainError(
            .output,
            "The directory '\(directory)' already holds results (\(first)\(others))"
                + (ResultDocument.isUnfinished(directory)
                    ? " of a run that has not ended, or was killed" : "")
                + "; choose another --output, or replace them with --force.")
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

    // MARK: During

    /// Names of the files of an explanation, within the directory.
    public func files(_ index: Int, _ explanation: Explanation) -> ResultFiles {
        let base =
            "\(stems[index]).\(explanation.method)" + (explanation.target.map { ".\($0.fileName)" } ?? "")
        return ResultFiles(
            map: base + ".map.npy", heatmap: base + ".heatmap.npy", overlay: base + ".png",
            sampleError: explanation.sampleError.map { _ in base + ".stderr.npy" },
            animation: explanation.heatmap.frames.map { _ in base + ".apng" })
    }

    /// The name of a picture's comparison sheet, within the directory.
    public func sheet(_ index: Int) -> String { stems[index] + ".compare.png" }

    /// Takes the result of picture `index` of those that the writer was made for; the files are written while the caller goes on.
    /// - Throws: `ExplainError` of kind `output` if a file could not be written, perhaps one of an earlier picture.
    public func write(_ index: Int, _ result: Result<ImageExplanation, ExplainError>) throws {
        try state.withLock { state in
            if let failure = state.failure { throw failure }
            state.records[index] = ResultDocument.image(
                pictures[index].name, result, files: { self.files(index, $0) }, sheet: sheet(index))
            guard case .success = result, !state.isThere else { return }
            if claimsFresh {
                state.directory = try ResultWriter.claim(state.directory)
            } else {
                try ResultWriter.makeDirectory(state.directory)
            }
            state.lock = try ResultWriter.lock(state.directory)
            if !claimsFresh {
                AtomicFile.sweep(state.directory)
                if overwrite { ResultWriter.removeEarlier(state.directory, but: pictures) }
            }
            // So the files of a run that is killed are known for what they are; and of two runs into one directory the second ends here.
            do {
                try AtomicFile.write(
                    Array(ResultDocument.beginning(names).utf8),
                    to: Paths.join(state.directory, "results.json"),
                    overwrite: overwrite)
            } catch {
                throw ExplainError(.output, "\(error)")
            }
            state.isThere = true
        }
        guard case .success(let image) = result else { return }
        waiting.wait()
        // The picture was decoded in as much memory: alone, it can be written.
        let room = image.memory.room(memory(image), isPromised: true)
        queue.async(group: group) {
            defer {
                withExtendedLifetime(room) {}
                self.waiting.signal()
            }
            do {
                try self.writeFiles(index, image)
                self.state.withLock { _ = $0.written.insert(index) }
            } catch let spoiled as Spoiled {
                self.state.withLock { state in
                    state.spoiled[index] = spoiled.reason
                    state.records[index] = ResultDocument.image(
                        self.pictures[index].name, .failure(spoiled.reason), files: { self.files(index, $0) },
                        sheet: self.sheet(index))
                }
            } catch {
                self.state.withLock { $0.failure = $0.failure ?? ExplainError(.output, "\(error)") }
            }
        }
    }

    /// A picture that could not be read again, or is another now.
    private struct Spoiled: Error { let reason: ExplainError }

    /// Why picture `index` has no files although it was explained: it had to be read again (`Background.photo`), and was changed
    /// meanwhile. Nil while all is well.
    public func failure(of index: Int) -> ExplainError? { state.withLock { $0.spoiled[index] } }

    /// Whether all files of picture `index` are in their place.
    public func isWritten(_ index: Int) -> Bool { state.withLock { $0.written.contains(index) } }

    /// Bytes that a result takes until it is written.
    private func memory(_ image: ImageExplanation) -> Int {
        guard let heat = image.explanations.first?.heatmap else { return 0 }
        let maps = image.explanations.count
        // Raw maps and their standard errors, as numbers and as a file.
        let numbers = image.explanations.reduce(0) {
            $0 + $1.map.values.count + ($1.sampleError?.values.count ?? 0)
        }
        // Of a video there are frames, a filmstrip of some of them, and an animation.
        let pixels = heat.width * heat.height * (heat.frames.map { 3 * $0 } ?? 1)
        // Heat map and overlay; and each on the sheet, of 320 × 400 pixels, as a picture and as a file.
        var bytes = 8 * numbers + maps * 8 * pixels + (maps + 1) * 6 * 320 * 400
        if background == .photo, let size = image.size {
            // While it is decoded; then with its overlay, and that as a file.
            bytes += 13 * size.width * size.height
        }
        return bytes
    }

    private func writeFiles(_ index: Int, _ image: ImageExplanation) throws {
        let directory = directory
        func write(_ bytes: [UInt8], _ name: String) throws {
            try AtomicFile.write(
                bytes, to: Paths.join(directory, name), overwrite: overwrite)
        }
        var photo: RGBImage?
        if background == .photo && !image.explanations.isEmpty {
            do { photo = try image.photo?() } catch { throw Spoiled(reason: ExplainError(error, .input)) }
        }
        // Of a video, what there is grey in place of its frames if they came as numbers.
        let frames = image.frames.isEmpty ? ResultWriter.greyFrames(image) : image.frames
        let view =
            image.view?.image ?? (frames.isEmpty ? nil : Filmstrip.picture(frames))
            ?? image.explanations.first.map {
                RGBImage(width: $0.heatmap.width, height: $0.heatmap.height, colour: (128, 128, 128))
            }
        guard let view else { return }
        var items: [ComparisonSheet.Item] = []
        for explanation in image.explanations {
            let names = files(index, explanation)
            let heat = Plane(explanation.heatmap)
            try write(NPYArray(explanation.map).npyData, names.map)
            try write(NPYArray(explanation.heatmap).npyData, names.heatmap)
            if let error = explanation.sampleError, let name = names.sampleError {
                try write(NPYArray(error).npyData, name)
            }
            // Where there is nothing to see the picture stays as it is.
            let small: RGBImage
            if let name = names.animation {
                let parts =
                    explanation.blank == nil
                    ? heat.parts(frames.count).map(Optional.some) : frames.map { _ in nil }
                let overlays = zip(frames, parts).map { frame, heat in
                    heat.map { Overlay.overlay(photo: frame, heat: $0) } ?? frame
                }
                try write(
                    PNG.encode(
                        animation: overlays, framesPerSecond: ResultWriter.framesPerSecond, fast: true), name)
                small = Filmstrip.picture(overlays)
            } else {
                small = explanation.blank == nil ? Overlay.overlay(photo: view, heat: heat) : view
            }
            var picture = small
            if let photo, let region = image.view?.region {
                picture = Overlay.overlayOnPhoto(
                    photo: photo, heat: heat, region: region, opacity: explanation.blank == nil ? 0.5 : 0)
            }
            try write(picture.pngData(fast: true), names.overlay)
            let what = ResultWriter.caption(explanation, among: image.explanations)
            items.append(
                ComparisonSheet.Item(
                    picture: small, title: explanation.title,
                    subtitle: explanation.blank == nil ? what : "blank: \(what)"))
        }
        if image.explanations.isEmpty { return }
        let shown = ComparisonSheet.Item(
            picture: view, title: Paths.name(image.name),
            subtitle: image.predictions.first.map { ResultWriter.caption($0.label, $0.probability) })
        try write(
            ResultWriter.sheet(shown, image.explanations, items).render().pngData(fast: true), sheet(index))
    }

    /// Of animations of videos, whose own speed nobody knows.
    private static let framesPerSecond = 8

    private static func greyFrames(_ image: ImageExplanation) -> [RGBImage] {
        guard let heat = image.explanations.first?.heatmap, let frames = heat.frames else { return [] }
        return Array(
            repeating: RGBImage(width: heat.width, height: heat.height, colour: (128, 128, 128)),
            count: frames)
    }

    /// The picture and its maps; more than would fill two rows are put together by the methods' families, if these are several.
    private static func sheet(
        _ picture: ComparisonSheet.Item, _ explanations: [Explanation], _ items: [ComparisonSheet.Item]
    ) throws -> ComparisonSheet {
        let families = try explanations.map { try ExplainerList.named($0.method).family }
        guard items.count >= 10, Set(families).count > 1 else {
            return ComparisonSheet(items: [picture] + items)
        }
        var groups = [ComparisonSheet.Group(items: [picture])]
        for family in MethodFamily.allCases where families.contains(family) {
            groups.append(
                ComparisonSheet.Group(
                    title: family.title, items: zip(families, items).filter { $0.0 == family }.map(\.1)))
        }
        return ComparisonSheet(
            groups: groups,
            heading:
                "\(items.count) maps, each from its least (blue) to its most (red), or from 0 where it has a sign"
        )
    }

    private static func caption(_ explanation: Explanation, among all: [Explanation]) -> String {
        guard let label = explanation.label else { return "whatever the class" }
        let name = caption(label, nil)
        // ImageNet has two cranes and two maillots.
        let isShared = all.contains {
            $0.classIndex != explanation.classIndex && $0.label.map { caption($0, nil) == name } ?? false
        }
        return (explanation.target?.isNegative ?? false ? "not " : "")
            + (isShared ? "\(explanation.classIndex!) " : "") + caption(label, explanation.probability)
            + (explanation.againstLabel.map { ", not " + caption($0, nil) } ?? "")
    }

    private static func caption(_ label: String, _ probability: Float?) -> String {
        // ImageNet's names list synonyms; the first is enough for a title.
        let name = label.prefix { $0 != "," }
        guard let probability, probability.isFinite else { return String(name) }
        // Not “class 8 11 %”.
        let comma = name.last.map { $0.isNumber } ?? false ? "," : ""
        return name + comma + (probability < 0.005 ? " < 1 %" : " \(Int((probability * 100).rounded())) %")
    }

    // MARK: After

    /// Waits for the files of all pictures and writes `results.json`; nothing at all if no picture could be explained.
    /// - Parameter incomplete: why not all pictures were explained, a sentence for `results.json`; nil if they were.
    /// - Returns: the text of `results.json`.
    @discardableResult
    public func finish(_ session: ExplanationSession, incomplete: String? = nil) throws -> String {
        group.wait()
        let text = try state.withLock { state in
            if let failure = state.failure { throw failure }
            let records = state.records.sorted { $0.key < $1.key }.map(\.value)
            return try ResultDocument.text(
                session, images: records, background: background, incomplete: incomplete)
        }
        defer { unlock() }
        guard state.withLock({ $0.isThere }) else { return text }
        do {
            // What is there is the beginning of this run.
            let path = Paths.join(directory, "results.json")
            try AtomicFile.write(Array(text.utf8), to: path, overwrite: true)
        } catch {
            throw ExplainError(.output, "\(error)")
        }
        return text
    }

    /// Waits until no file is being written any more. `finish` does so too; call this before giving up.
    public func wait() { group.wait() }
}

extension Plane {
    /// Frames lie below each other.
    init(_ grid: Grid2D) {
        self.init(width: grid.width, height: (grid.frames ?? 1) * grid.height, values: grid.values)
    }
}

extension NPYArray {
    init(_ grid: Grid2D) { self.init(shape: grid.shape, values: grid.values) }
}

/// The names of an explanation's files, within the directory.
public struct ResultFiles: Sendable {
    public let map: String, heatmap: String, overlay: String
    /// Of a map that was estimated from samples.
    public let sampleError: String?
    /// Of a video, whose overlay is a filmstrip.
    public let animation: String?
}

/// The form of results.json.
package enum ResultDocument {
    /// What stands there until the run ends.
    static func beginning(_ names: ResultWriter.Names) -> String {
        JSON.object([
            ("whitebox", .string(Whitebox.version)), ("numerics", .int(Whitebox.numerics)),
            ("incomplete", .string("The run has not ended, or was killed.")), ("images", .array([])),
            (
                "expected",
                .object([
                    ("stems", JSON(names.stems.sorted())), ("methods", JSON(names.methods)),
                    ("classes", names.classes.map { JSON($0.sorted()) } ?? .null),
                ])
            ),
        ]).text
    }

    /// Whether the results.json in a directory is that of a run that has not ended.
    static func isUnfinished(_ directory: String) -> Bool { document(in: directory)?["expected"] != nil }

    private static func document(in directory: String) -> [String: Any]? {
        guard let bytes = try? InputFile.contents(Paths.join(directory, "results.json")),
            bytes.count <= 1 << 28,
            // Foundation's reader recurses, and ours nest four deep.
            depth(bytes) <= 16,
            let document = try? JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any],
            document["whitebox"] is String
        else { return nil }
        return document
    }

    /// The whole document. Nothing in it but `device` depends on where it was computed.
    package static func text(
        _ session: ExplanationSession, images: [JSON], background: ResultWriter.Background = .view,
        incomplete: String? = nil
    ) throws -> String {
        let model = session.model
        let options = session.options
        return JSON.object([
            ("whitebox", .string(Whitebox.version)),
            ("numerics", .int(Whitebox.numerics)),
            ("device", .string(session.device)),
            ("deviceNote", JSON(session.deviceNote)),
            (
                "model",
                .object([
                    ("file", .string(model.path)), ("sha256", .string(try model.sha256())),
                    (
                        "externalData",
                        .array(
                            try model.externalSHA256().map {
                                .object([("file", .string($0.file)), ("sha256", .string($0.sha256))])
                            })
                    ),
                    ("source", JSON(model.source)),
                    ("license", JSON(model.license)), ("classes", .int(session.classes)),
                    (
                        "input",
                        JSON((model.inputFrames.map { [$0] } ?? []) + [model.inputHeight, model.inputWidth])
                    ),
                ])
            ),
            (
                "preprocessing",
                .object([("source", .string(model.preprocessingSource))] + model.preprocessing.entries)
            ),
            (
                "layers",
                .array(
                    session.layers.map {
                        .object([
                            ("name", .string($0.name)), ("operator", .string($0.type)),
                            ("index", .int($0.index)), ("reason", .string($0.reason)),
                        ])
                    })
            ),
            (
                "options",
                .object([
                    ("methods", JSON(options.methods)), ("class", .string(options.classChoice.text)),
                    ("against", JSON(options.against)), ("negative", .bool(options.isNegative)),
                    ("score", JSON(options.scale?.rawValue)), ("layer", .string(options.layer)),
                    ("augment", JSON(options.augmentations.map(\.rawValue).sorted())),
                    ("overlay", .string(background.rawValue)),
                ])
            ),
            ("leftOut", .object(session.leftOut.map { ($0.method, .string($0.reason)) })),
            ("settings", .object(session.methods.map { ($0.type.name, .object($0.settings)) })),
            // Whole numbers of JSON end before those of 64 bits do.
            ("seed", Int(exactly: options.seed).map(JSON.int) ?? .string("\(options.seed)")),
            ("incomplete", JSON(incomplete)),
            ("images", .array(images)),
        ]).text
    }

    /// The files that the results.json in a directory lists, by their bare names; none if there is no such file. Of a run that was
    /// killed, those that it had written.
    package static func files(in directory: String) -> [String] {
        guard let document = document(in: directory), let images = document["images"] as? [[String: Any]]
        else { return [] }
        var names: [String] = []
        for image in images {
            var stem: String?
            for explanation in image["explanations"] as? [[String: Any]] ?? [] {
                names += ["map", "heatmap", "overlay", "sampleError", "animation"].compactMap {
                    explanation[$0] as? String
                }
                // Earlier versions did not list the sheet.
                guard let overlay = explanation["overlay"] as? String,
                    let method = explanation["method"] as? String
                else { continue }
                let ending = (explanation["class"] as? Int).map { ".\(method).\($0).png" } ?? ".\(method).png"
                if overlay.hasSuffix(ending) { stem = String(overlay.dropLast(ending.count)) }
            }
            if let sheet = image["comparison"] as? String ?? stem.map({ $0 + ".compare.png" }) {
                names.append(sheet)
            }
        }
        if let expected = document["expected"] as? [String: Any], let stems = expected["stems"] as? [String],
            let methods = expected["methods"] as? [String]
        {
            let all = ResultWriter.Names(
                stems: Set(stems), methods: methods, classes: (expected["classes"] as? [Int]).map(Set.init))
            names += (Folder.names(directory) ?? []).filter(all.contain)
        }
        // Only what lies in the directory itself and can be ours.
        return names.filter { name in
            !name.utf8.contains { $0 == UInt8(ascii: "/") || $0 < 32 } && !name.hasPrefix(".")
                && (name.hasSuffix(".png") || name.hasSuffix(".npy") || name.hasSuffix(".apng"))
        }
    }

    private static func target(_ target: Target?) -> [(String, JSON)] {
        [
            ("against", JSON(target?.against)), ("negative", .bool(target?.isNegative ?? false)),
            ("score", JSON(target?.scale.rawValue)),
        ]
    }

    private static func completeness(_ found: Completeness?) -> JSON {
        guard let found else { return .null }
        return .object([
            ("sum", .float(found.sum)), ("expected", .float(found.expected)), ("error", JSON(found.error)),
            ("absorbedBy", JSON(found.absorbedBy)), ("ofSegments", .bool(found.isOfSegments)),
        ])
    }

    private static func depth(_ bytes: [UInt8]) -> Int {
        var (depth, deepest, isText, isEscaped) = (0, 0, false, false)
        for byte in bytes {
            if isText {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isText = false
                }
            } else if byte == UInt8(ascii: "\"") {
                isText = true
            } else if byte == UInt8(ascii: "[") || byte == UInt8(ascii: "{") {
                depth += 1
                deepest = max(deepest, depth)
            } else if byte == UInt8(ascii: "]") || byte == UInt8(ascii: "}") {
                depth -= 1
            }
        }
        return deepest
    }

    /// One picture.
    /// - Parameter files: names of the files of an explanation; nil if none are written.
    package static func image(
        _ name: String, _ result: Result<ImageExplanation, ExplainError>,
        files: ((Explanation) -> ResultFiles)?, sheet: String? = nil
    ) -> JSON {
        switch result {
        case .failure(let error):
            return .object([
                ("image", .string(name)), ("size", .null), ("error", .string(error.description)),
                ("note", .null), ("predictions", .array([])),
                ("explanations", .array([])),
            ])
        case .success(let image):
            let predictions = image.predictions.map {
                JSON.object([
                    ("index", .int($0.index)), ("label", .string($0.label)), ("logit", .float($0.logit)),
                    ("probability", .float($0.probability)),
                ])
            }
            var entries: [(String, JSON)] = [
                ("image", .string(name)), ("size", image.size.map { JSON([$0.width, $0.height]) } ?? .null),
                ("error", .null), ("note", JSON(image.note)),
                ("predictions", .array(predictions)),
            ]
            if !image.frameNames.isEmpty { entries.append(("frames", JSON(image.frameNames))) }
            if let files {
                let explanations = image.explanations.map { explanation in
                    let names = files(explanation)
                    return JSON.object(
                        [
                            ("method", .string(explanation.method)), ("class", JSON(explanation.classIndex)),
                            ("label", JSON(explanation.label)),
                            ("probability", JSON(explanation.probability)),
                        ] + target(explanation.target) + [
                            ("layer", .string(explanation.layer)), ("blank", JSON(explanation.blank)),
                            ("note", JSON(explanation.note)), ("signed", .bool(explanation.isSigned)),
                            ("completeness", completeness(explanation.completeness)),
                            ("samples", JSON(explanation.samples)),
                            ("map", .string(names.map)),
                            ("heatmap", .string(names.heatmap)), ("overlay", .string(names.overlay)),
                            ("sampleError", JSON(names.sampleError)),
                        ] + (names.animation.map { [("animation", .string($0))] } ?? []))
                }
                entries.append(("explanations", .array(explanations)))
                entries.append(("comparison", JSON(image.explanations.isEmpty ? nil : sheet)))
            }
            return .object(entries)
        }
    }
}
