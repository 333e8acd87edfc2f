// A report, from what a session finds: pictures are taken as they come, and written to a file of their own until the page is put together.

import Dispatch
import Files
import Glibc
import Imaging
import Synchronization
import Text

/// Writes a page of HTML that shows what an `ExplanationSession` finds, with the pictures inside.
package final class ReportWriter: Sendable {
    /// The most pictures of a report: of more a browser would make no use.
    package static let pictureLimit = 1000
    /// The longest side of a photograph in the page.
    private static let photoSide = 1024
    /// Bytes that a photograph's JPEG file and, as they stand in the page, all maps of a picture take at most.
    private static let photoBytes = 230_000, mapBytes = 600_000

    package let path: String
    private let overwrite: Bool

    private struct State {
        /// Blocks of pictures, one after the other; the file has no name and goes with the process.
        var file: UnsafeMutablePointer<FILE>?
        var end = 0
        /// Of each picture its entry in the list and where its block lies, by its place among all.
        var entries: [Int: (entry: JSON, block: Range<Int>?)] = [:]
        var leftOut = 0
        var failure: ExplainError?
    }
    private let state: Mutex<State>
    private let group = DispatchGroup()
    private let queue = DispatchQueue(label: "whitebox.report", attributes: .concurrent)
    // Pictures that wait to be written; more would only fill the memory.
    private let waiting = DispatchSemaphore(value: 4)

    /// Checks, before anything is computed, that the report can be written.
    /// - Throws: `ExplainError` of kind `output`.
    package init(path: String, overwrite: Bool) throws {
        (self.path, self.overwrite) = (path, overwrite)
        state = Mutex(State())
        switch FileKind(path) {
        case .missing: break
        case .folder:
            throw ExplainError(
                .output, "The report cannot be written to '\(path)', because that is a folder.")
        default:
            guard overwrite else {
                throw ExplainError(
                    .output,
                    "'\(path)' is there already; name another file (--report), or replace it with --force.")
            }
            // No picture, list or array that happens to have the name.
            guard let bytes = try? InputFile.contents(path).prefix(15),
                bytes.isEmpty || String(decoding: bytes, as: UTF8.self).lowercased() == "<!doctype html>"
            else {
                throw ExplainError(
                    .output,
                    "'\(path)' is there already and is no page of HTML, so it is not replaced; name another file (--report)."
                )
            }
        }
        try ResultWriter.checkWritable(Paths.parent(path))
    }

    deinit { state.withLock { if let file = $0.file { fclose(file) } } }

    // MARK: During

    /// Takes the result of a picture; it is written while the caller goes on.
    /// - Parameters:
    ///   - index: the picture's place among all.
    ///   - metrics, curves: what was measured of its maps.
    package func take(
        _ index: Int, _ picture: Picture, _ result: Result<ImageExplanation, ExplainError>,
        metrics: [ReportDocument.Metric] = [], curves: [ReportDocument.Curve] = []
    ) throws {
        let isFull = try state.withLock { state in
            if let failure = state.failure { throw failure }
            let isFull = state.entries.count >= ReportWriter.pictureLimit
            if isFull { state.leftOut += 1 } else { state.entries[index] = (.null, nil) }
            return isFull
        }
        if isFull { return }
        switch result {
        case .failure(let error):
            state.withLock {
                $0.entries[index] = (ReportDocument.entry(picture.name, failed: error.description), nil)
            }
        case .success(let image):
            waiting.wait()
            // While the photograph is decoded; the rest is small.
            let pixels = (image.size?.width ?? 0) * (image.size?.height ?? 0)
            let room = image.memory.room(13 * pixels + 4_000_000, isPromised: true)
            queue.async(group: group) {
                defer {
                    withExtendedLifetime(room) {}
                    self.waiting.signal()
                }
                do {
                    var shown = try ReportWriter.picture(image)
                    (shown.metrics, shown.curves) = (metrics, curves)
                    try self.append(
                        index, shown.entry, ReportDocument.block(shown.json, id: "picture-\(index)"))
                } catch {
                    self.state.withLock { $0.failure = $0.failure ?? ExplainError(error, .output) }
                }
            }
        }
    }

    private func append(_ index: Int, _ entry: JSON, _ block: String) throws {
        try state.withLock { state in
            if state.file == nil { state.file = tmpfile() }
            let bytes = Array(block.utf8)
            guard let file = state.file, fwrite(bytes, 1, bytes.count, file) == bytes.count else {
                throw ExplainError(
                    .output,
                    "The report cannot be prepared, because a temporary file cannot be written: \(String(cString: strerror(errno)))."
                )
            }
            state.entries[index] = (entry, state.end..<state.end + bytes.count)
            state.end += bytes.count
        }
    }

    /// What a report shows of a picture.
    package static func picture(_ image: ImageExplanation) throws -> ReportDocument.Picture {
        guard image.frames.isEmpty, image.explanations.allSatisfy({ $0.heatmap.frames == nil }) else {
            throw ExplainError(.settings, "\(image.name): A report shows pictures, and this is a video.")
        }
        // A picture that cannot be read a second time is shown as the network saw it.
        let read = try? image.photo?()
        let size = image.explanations.first.map { ($0.heatmap.width, $0.heatmap.height) } ?? (1, 1)
        let photo =
            read ?? image.view?.image ?? RGBImage(width: size.0, height: size.1, colour: (128, 128, 128))
        var region = Region(x: 0, y: 0, width: 1, height: 1)
        if read != nil, let seen = image.view?.region {
            let (width, height) = (Double(photo.width), Double(photo.height))
            region = Region(
                x: seen.x / width, y: seen.y / height, width: seen.width / width,
                height: seen.height / height)
        }
        let small = photo.fitted(photoSide)
        var jpeg: [UInt8] = []
        for quality in [85, 75, 60, 40, 20] {
            jpeg = small.jpegData(quality: quality)
            if jpeg.count <= photoBytes { break }
        }
        let cell = cell(image.explanations)
        return ReportDocument.Picture(
            name: image.name, width: photo.width, height: photo.height, photo: jpeg,
            thumbnail: small.fitted(96).jpegData(quality: 70), region: region,
            predictions: image.predictions, note: image.note,
            panels: try image.explanations.map { try panel($0, cell: cell) }, seconds: image.methodSeconds)
    }

    /// How many numbers along each axis become one, so that all maps of a picture fit.
    private static func cell(_ explanations: [Explanation]) -> Int {
        var cell = 1
        while cell < 64,
            explanations.reduce(
                0,
                {
                    $0 + QuantisedMap.size(width: $1.map.width, height: $1.map.height, cell: cell)
                }) * 4 / 3 > mapBytes
        { cell += 1 }
        return cell
    }

    private static func panel(_ found: Explanation, cell: Int) throws -> ReportDocument.Panel {
        let type = try ExplainerList.named(found.method)
        let target = found.target
        let more = [
            target?.isNegative ?? false ? "what speaks against it" : nil,
            found.againstLabel.map { "not \($0)" },
            target?.scale == .probability ? "its probability" : nil,
        ].compactMap { $0 }
        return ReportDocument.Panel(
            method: found.method, classIndex: found.classIndex, label: found.label,
            probability: found.probability, more: more.isEmpty ? nil : more.joined(separator: ", "),
            layer: found.layer,
            map: QuantisedMap(
                found.map, isSigned: found.isSigned, quantile: type.brightestQuantile, cell: cell),
            blank: found.blank, note: found.note)
    }

    // MARK: After

    /// Waits for all pictures and writes the page; nothing at all if no picture was taken.
    /// - Parameters:
    ///   - command: what makes the report again.
    ///   - details: all that results say of the run.
    ///   - incomplete: why not all pictures were explained.
    ///   - metrics, tables: of all pictures together.
    /// - Throws: `ExplainError` of kind `output`.
    package func finish(
        _ session: ExplanationSession, command: String, details: String, incomplete: String? = nil,
        metrics: [ReportDocument.Metric] = [], tables: [ReportDocument.Table] = []
    ) throws {
        group.wait()
        try state.withLock { state in
            if let failure = state.failure { throw failure }
            guard !state.entries.isEmpty else { return }
            var document = try ReportDocument.of(session, command: command, details: details)
            (document.metrics, document.tables) = (metrics, tables)
            let reasons = [
                incomplete,
                state.leftOut > 0
                    ? "A report has at most \(ReportWriter.pictureLimit) pictures, so \(state.leftOut) more are not here."
                    : nil,
            ].compactMap { $0 }
            document.incomplete = reasons.isEmpty ? nil : reasons.joined(separator: " ")
            let pictures = state.entries.sorted { $0.key < $1.key }
            let page = try document.page(
                pictures.map { number, picture in
                    guard case .object(let entries) = picture.entry else { return picture.entry }
                    // Where the page finds the rest.
                    return .object([("id", .string("picture-\(number)"))] + entries)
                })
            let file = state.file
            do {
                try AtomicFile.write(to: path, overwrite: overwrite) { append in
                    try append(Array(page.before.utf8))
                    for case (_, (_, let block?)) in pictures {
                        var bytes = [UInt8](repeating: 0, count: block.count)
                        guard let file, fseek(file, block.lowerBound, SEEK_SET) == 0,
                            fread(&bytes, 1, bytes.count, file) == bytes.count
                        else {
                            throw ExplainError(
                                .output,
                                "The report cannot be written, because what was prepared of it is lost.")
                        }
                        try append(bytes)
                    }
                    try append(Array(page.after.utf8))
                }
            } catch {
                throw ExplainError(error, .output)
            }
        }
    }
}

extension ReportDocument {
    /// What a report says of a run.
    package static func of(
        _ session: ExplanationSession, command: String, details: String
    ) throws -> ReportDocument {
        let model = session.model
        var facts = [
            Fact("Program", "Whitebox \(Whitebox.version), numerics \(Whitebox.numerics)"),
            Fact("Model", model.path), Fact("SHA-256 of the model", try model.sha256()),
        ]
        facts += try model.externalSHA256().map { Fact("SHA-256 of \($0.file)", $0.sha256) }
        if let source = model.source { facts.append(Fact("Source", source)) }
        if let license = model.license { facts.append(Fact("Licence", license)) }
        facts += [
            Fact("Input", "\(model.inputHeight) × \(model.inputWidth), \(session.classes) classes"),
            Fact("Preprocessing", model.preprocessingSource),
        ]
        facts += session.layers.map { Fact("Layer", "\($0.index) “\($0.name)” (\($0.type)), \($0.reason)") }
        facts += [
            Fact("Seed", "\(session.options.seed)"),
            Fact("Device", "\(session.device); no bit of a map depends on it"),
        ]
        var document = ReportDocument(
            command: command, facts: facts, details: details,
            methods: session.methods.map { $0.type.name })
        for method in session.methods { document.passes[method.type.name] = method.passes }
        document.leftOut = session.leftOut
        return document
    }
}

extension RGBImage {
    /// The picture, made smaller if its longer side exceeds `side`.
    func fitted(_ side: Int) -> RGBImage {
        guard max(width, height) > side else { return self }
        let scale = Double(side) / Double(max(width, height))
        func length(_ size: Int) -> Int { max(1, Int((Double(size) * scale).rounded())) }
        return resized(width: length(width), height: length(height), by: .bilinear)
    }
}
