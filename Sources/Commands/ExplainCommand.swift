// `app explain`, `app compare` and `app classify`.

import ArgumentParser
import Explain
import Files
import Glibc
import Text

struct ExplainCommand: FileWriter {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Explain photographs: heat maps, overlays, and what the network says.",
        discussion: """
            Writes for each picture
              STEM.METHOD.CLASS.png          the heat map over the picture
              STEM.METHOD.CLASS.heatmap.npy  0 … 1, at the network's input size
              STEM.METHOD.CLASS.map.npy      raw, at the layer's resolution
              STEM.METHOD.CLASS.stderr.npy   its standard error, where it was sampled
              STEM.compare.png               the picture and all heat maps
            and results.json. A method that knows no class leaves CLASS out. Of a video (--video)
              STEM.METHOD.CLASS.png          frames of it, at most 16
              STEM.METHOD.CLASS.apng         an animation of all of them
            and the arrays have the frames in front.
            """)

    @Argument(
        help: ArgumentHelp(
            "Picture files (PNG, JPEG, WebP, TIFF, GIF, BMP), folders of them, or patterns such as 'photos/*.jpg'.",
            valueName: "image"),
        completion: .file())
    var images: [String] = []
    @OptionGroup var videos: VideoOptions
    @OptionGroup var pictures: PictureOptions
    @OptionGroup var part: ShardOptions
    @OptionGroup var model: ModelOptions
    @OptionGroup var inputs: InputOptions
    @OptionGroup var method: MethodOptions
    @OptionGroup var layers: LayerOptions
    @OptionGroup var device: DeviceOptions
    @OptionGroup var log: LogOptions

    @OptionGroup var batch: BatchOptions

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Where results go; if left out, whitebox-results, or whitebox-results-2, … if that is there.",
            valueName: "folder"), completion: .directory)
    var output: String?

    @OptionGroup var files: WriteOptions

    @Option(
        help: ArgumentHelp(
            "Write a page of HTML too, with everything in it: maps to look at side by side, predictions, how it was made.",
            valueName: "file"), completion: .file(extensions: ["html"]))
    var report: String?

    @Flag(
        help:
            "Put the maps of all pictures into few arrays, maps-00000.npy …, with an index beside each; other files only with --write."
    )
    var pack = false

    @Option(
        help: ArgumentHelp("Numbers of packed maps: float32 or float16.", valueName: "type"),
        completion: .list(PackFormat.Element.allCases.map(\.rawValue)))
    var packType = "float32"

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Pictures that share an array of packed maps; if left out, as many as make 64 MiB, and at most 2048.",
            valueName: "n"))
    var packSize: Int?

    @Flag(help: "Replace results that are there already, and remove those of the run before.")
    var force = false

    @Flag(help: "Go on with the run whose results are there: what is done is not done again.")
    var resume = false

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "End when more pictures than that could not be explained: a number, or a share of all such as 5%.",
            valueName: "n|x%"))
    var maxFailures: FailureLimit?

    @Flag(name: .shortAndLong, help: "Print no notes; warnings and errors stay.")
    var quiet = false

    @Flag(help: "Print results.json instead of text.")
    var json = false

    private func parts() throws -> Set<ResultPart> { try files.parts ?? (pack ? [] : ResultPart.standard) }

    func validate() throws {
        guard PackFormat.Element(rawValue: packType.lowercased()) != nil else {
            throw ValidationError("--pack-type must be float32 or float16, and is “\(packType)”.")
        }
        guard packSize.map({ (1...1 << 20).contains($0) }) ?? true else {
            throw ValidationError("--pack-size must be between 1 and \(1 << 20), and is \(packSize!).")
        }
        guard pack || packSize == nil && packType == "float32" else {
            throw ValidationError("--pack-size and --pack-type say how maps are packed; say --pack too.")
        }
        guard try !parts().isEmpty || pack else {
            throw ValidationError("--write names nothing that would be written.")
        }
        guard !(force && resume) else {
            throw ValidationError("--force begins anew, and --resume goes on; choose one.")
        }
        guard !(resume && report != nil) else {
            throw ValidationError(
                "--resume does not compute again what a report (--report) would show; make the report in a run of its own."
            )
        }
        guard try !(parts().contains(.contact) && (resume || part.shard != nil)) else {
            throw ValidationError(
                "A sheet for all pictures (--write contact) is made by a run that explains all of them, without --resume and --shard."
            )
        }
        guard report == nil || videos.videos.isEmpty else {
            throw ValidationError("A report (--report) shows pictures, not --video.")
        }
        guard !(resume && output == nil) else {
            throw ValidationError("--resume goes on with the results in a folder; name it with --output.")
        }
    }

    func run() throws {
        let start = Benchmark.now()
        (NoteHandler.isQuiet, Terminal.isJSON) = (quiet, log.json)
        try log.check()
        let queue = try pictures.queue(images, videos: videos.videos, shard: part.shard)
        var options = Options()
        try method.apply(to: &options, takesFolders: true)
        options.layersApart = layers.eachLayer
        try device.apply(to: &options, takesSeveral: true)
        options.batch = batch.size(of: queue.count)
        let writer = try ResultWriter(
            directory: output ?? "whitebox-results", pictures: queue.pictures, options: options,
            background: files.background, parts: parts(), style: files.style.style,
            pack: pack
                ? .init(element: PackFormat.Element(rawValue: packType.lowercased())!, block: packSize) : nil,
            existing: resume ? .resume : force ? .replace : .refuse,
            claimsFresh: output == nil && !force,
            inputs: resume || force ? queue.files(in: output ?? "whitebox-results") : [])
        let model = try model.load(inputs: inputs.input)
        try model.checkTakesPictures(orVideos: report == nil)
        let page = try report.map { try ReportWriter(path: $0, overwrite: force) }
        // results.json names it.
        model.beginDigests()
        let pool: SessionPool
        do {
            pool = try SessionPool(model, options: options, devices: device.choices) {
                NoteHandler.logger.warning("\($0)")
            }
        } catch let error as ExplainError where error.kind == .classChoice {
            throw Report.withBestClasses(error, model, options, queue.pictures?.first)
        }
        let session = pool.first
        queue.classes = try pictures.classes(session, images, isOfFolders: method.isOfFolders)
        queue.shard = try writer.begin(session, shard: queue.shard)
        Report.notes(session)
        // Who asks for all does not know what they take.
        if options.leavesOutInapplicable { Report.passes(session) }
        if !json { Report.head(session) }

        // Until here there is nothing to keep, and a signal ends the program as it always does.
        Interruption.watch()
        let run = Run(queue, pool, isQuiet: json, limit: maxFailures, metrics: log.metrics)
        do {
            try run.explain(writer, report: page) { image, item in tell(image, item, writer) }
            // The last files are still being written.
            writer.wait()
            run.report(writer) { image, item in tell(image, item, writer) }
            try Interruption.check()
        } catch let reason as any EarlyEnd {
            writer.wait()
            run.report(writer) { image, item in tell(image, item, writer) }
            run.progress.hide()
            let sentence = reason.sentence(run.seen, of: queue.count)
            let incomplete = run.seen == queue.count ? nil : sentence
            try run.writeMetrics()
            try writer.finish(session, incomplete: incomplete, list: queue.digest)
            try page?.finish(
                session, command: App.command(self.model), details: writer.details(session),
                incomplete: incomplete)
            if json { try writer.text(session, incomplete: incomplete, printBytes) }
            _ = Terminal.flush()
            if reason.isToBeSaid { Terminal.complain("app: \(sentence)") }
            throw reason
        } catch {
            writer.wait()
            run.report(writer) { image, item in tell(image, item, writer) }
            run.progress.hide()
            throw error
        }
        run.progress.hide()
        try run.writeMetrics()
        try writer.finish(session, list: queue.digest)
        try page?.finish(
            session, command: App.command(self.model), details: writer.details(session))
        if json {
            try writer.text(session, printBytes)
        } else if run.failed < run.seen {
            let done = run.seen - run.failed
            print(
                "\(done) of \(run.seen) image\(run.seen == 1 ? "" : "s") explained in "
                    + "\(Report.time(Benchmark.now() - start))"
                    + (run.kept > 0 ? ", \(run.kept) of them before" : "")
                    + "; see \(report ?? Paths.join(writer.directory, "results.json"))"
            )
        }
        if !json, !quiet, let summary = run.summary { print(summary) }
        try run.end()
    }

    private func printBytes(_ bytes: [UInt8]) { printLines(String(decoding: bytes, as: UTF8.self)) }

    private func tell(_ image: ImageExplanation, _ item: RunItem, _ writer: ResultWriter) {
        func path(_ name: String) -> String { Paths.join(writer.directory, name) }
        Report.predictions(image)
        for explanation in image.explanations {
            let what = Report.what(explanation)
            let files = writer.files(stem: item.stem, explanation)
            let file = files.overlay ?? files.heatmap ?? files.map
            let layer = explanation.layerIndex.map { " at layer \($0)" } ?? ""
            print("  \(explanation.title)\(layer), \(what)" + (file.map { ": \(path($0))" } ?? ""))
            if let blank = explanation.blank { print("    This map is blank: \(blank).") }
            if let note = explanation.note { print("    Note: \(note).") }
            if let found = explanation.completeness { print("    \(Report.completeness(found))") }
        }
        if let sheet = writer.sheet(stem: item.stem, image) { print("  Side by side: \(path(sheet))") }
        print(
            "  Read in \(Report.time(image.seconds.prepare)), explained in \(Report.time(image.seconds.compute))"
        )
    }
}

/// Which files are made of a picture, and how.
package struct WriteOptions: ParsableArguments {
    package init() {}

    @Option(
        help: ArgumentHelp(
            "What the heat map is laid over: view (what the network saw) or photo (the whole picture).",
            valueName: "what"), completion: .list(ResultWriter.Background.allCases.map(\.rawValue)))
    package var overlay = "view"

    @Option(
        help: ArgumentHelp(
            "Which files are written of each picture: map, heatmap, overlay, sheet, and mask, box, contour of what is above the threshold, contact (one sheet for all pictures), with commas between them; if left out, the first four.",
            valueName: "what"), completion: .list(ResultPart.allCases.map(\.rawValue)))
    package var write: String?

    @OptionGroup package var style: StyleOptions

    package func validate() throws {
        guard ResultWriter.Background(rawValue: overlay.lowercased()) != nil else {
            throw ValidationError("--overlay must be view or photo, and is “\(overlay)”.")
        }
        _ = try parts
    }

    package var background: ResultWriter.Background { .init(rawValue: overlay.lowercased())! }

    /// Nil where nothing was said.
    package var parts: Set<ResultPart>? {
        get throws {
            guard let write else { return nil }
            return Set(
                try list(write.lowercased()).map { name in
                    guard let part = ResultPart(rawValue: name) else {
                        throw ValidationError(
                            "--write must name what is written, such as map,overlay (there are \(ResultPart.allCases.map(\.rawValue).joined(separator: ", "))), and has “\(name)”."
                        )
                    }
                    return part
                })
        }
    }
}

/// How maps become pictures.
package struct StyleOptions: ParsableArguments {
    package init() {}

    @Option(
        name: .customLong("colormap"),
        help: ArgumentHelp(
            "Colours of maps in pictures: \(PictureStyle.colorMaps.joined(separator: ", ")); coolwarm shows both signs of maps that have them.",
            valueName: "name"), completion: .list(PictureStyle.colorMaps))
    var colorMap = PictureStyle().colorMap

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("How much of the picture a map covers, 0 to 100.", valueName: "%"))
    var opacity: Float = 100 * PictureStyle().opacity

    @Option(
        help: ArgumentHelp(
            "What the brightest colour means: common (the largest number of any class of a method) or own (of each map itself).",
            valueName: "which"), completion: .list(PictureStyle.Scale.allCases.map(\.rawValue)))
    var scale = PictureStyle.Scale.common.rawValue

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "From which part of its scale on a map is in its mask, box and contour, 0 to 1.",
            valueName: "part"))
    var threshold: Float = PictureStyle().threshold

    package func validate() throws {
        guard PictureStyle.colorMaps.contains(colorMap.lowercased()) else {
            throw ValidationError(
                "--colormap must be one of \(PictureStyle.colorMaps.joined(separator: ", ")), and is “\(colorMap)”."
            )
        }
        guard (0...100).contains(opacity) else {
            throw ValidationError("--opacity must be between 0 and 100, and is \(opacity).")
        }
        guard PictureStyle.Scale(rawValue: scale.lowercased()) != nil else {
            throw ValidationError("--scale must be common or own, and is “\(scale)”.")
        }
        guard threshold > 0, threshold <= 1 else {
            throw ValidationError("--threshold must be above 0 and at most 1, and is \(threshold).")
        }
    }

    package var style: PictureStyle {
        var style = PictureStyle()
        style.colorMap = colorMap.lowercased()
        style.opacity = opacity / 100
        style.scale = PictureStyle.Scale(rawValue: scale.lowercased())!
        style.threshold = threshold
        return style
    }
}

struct CompareCommand: FileWriter {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Explain photographs by many methods, and write a page that compares them.",
        discussion: """
            As `app explain`, with other things left out: without --method all methods that can explain the network are taken, without --report the
            page is report.html, and without --write only the maps' numbers lie beside it.

              app compare photo.jpg --methods white   methods that look inside the network
              app compare photo.jpg --methods black   methods that only ask it
              app compare photos --methods gradcam,fem,rise --class top2 --report page.html
            """)

    @OptionGroup var explain: ExplainCommand

    func validate() throws {
        guard !explain.resume else {
            throw ValidationError(
                "--resume does not compute again what the page would show; go on with `app explain --resume`, or compare in a run of its own."
            )
        }
    }

    func run() throws {
        var command = explain
        NoteHandler.isQuiet = explain.quiet
        if command.method.method.isEmpty { command.method.method = ["all"] }
        command.report = command.report ?? CompareCommand.page(replaces: explain.force)
        command.files.write = command.files.write ?? ResultPart.map.rawValue
        try command.run()
    }

    /// The first of report.html, report-2.html, … that is not there, as results are written beside those of earlier runs.
    private static func page(replaces: Bool) -> String {
        let first = "report.html"
        guard !replaces, FileKind.isTaken(first) else { return first }
        let free = (2...).lazy.map { "report-\($0).html" }.first { !FileKind.isTaken($0) }!
        NoteHandler.logger.notice("\(first) is there already, so the page is \(free)")
        return free
    }
}

struct ClassifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "classify", abstract: "Print the five most probable classes of photographs.")

    @Argument(
        help: ArgumentHelp(
            "Picture files (PNG, JPEG, WebP, TIFF, GIF, BMP), folders of them, or patterns such as 'photos/*.jpg'.",
            valueName: "image"),
        completion: .file())
    var images: [String] = []
    @OptionGroup var videos: VideoOptions
    @OptionGroup var pictures: PictureOptions
    @OptionGroup var part: ShardOptions
    @OptionGroup var model: ModelOptions
    @OptionGroup var inputs: InputOptions
    @OptionGroup var device: DeviceOptions
    @OptionGroup var log: LogOptions

    @OptionGroup var batch: BatchOptions

    @Flag(name: .shortAndLong, help: "Print no notes; warnings and errors stay.")
    var quiet = false

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func run() throws {
        (NoteHandler.isQuiet, Terminal.isJSON) = (quiet, log.json)
        try log.check()
        let queue = try pictures.queue(images, videos: videos.videos, shard: part.shard)
        var options = Options()
        options.methods = []
        try device.apply(to: &options, takesSeveral: true)
        options.batch = batch.size(of: queue.count)
        let model = try model.load(inputs: inputs.input)
        try model.checkTakesPictures(orVideos: true)
        let pool = try SessionPool(model, options: options, devices: device.choices) {
            NoteHandler.logger.warning("\($0)")
        }
        let session = pool.first
        queue.classes = try pictures.classes(session, images, isOfFolders: false)
        Report.notes(session)
        Interruption.watch()
        var records: [JSON] = []
        func document(incomplete: String? = nil) throws -> String {
            try ResultDocument.text(session, images: records, incomplete: incomplete)
        }
        let run = Run(queue, pool, isQuiet: json, limit: nil, metrics: log.metrics)
        do {
            defer { run.progress.hide() }
            try run.classify { item, result in
                if json { records.append(ResultDocument.image(item.request, result)) }
                if case .success(let image) = result, !json { Report.predictions(image) }
            }
        } catch let reason as any EarlyEnd {
            let sentence = reason.sentence(run.seen, of: queue.count)
            if json { printLines(try document(incomplete: run.seen == queue.count ? nil : sentence)) }
            _ = Terminal.flush()
            if reason.isToBeSaid { Terminal.complain("app: \(sentence)") }
            throw reason
        }
        try run.writeMetrics()
        if json { printLines(try document()) }
        try run.end()
    }
}

/// What both print.
enum Report {
    static func head(_ session: ExplanationSession) {
        print("Model   \(session.model.path), preprocessing \(session.model.preprocessingSource)")
        print("Device  \(session.device)")
        for layer in session.layers {
            print("Layer   \(layer.index) “\(shortened(layer.name))” (\(layer.type)), \(layer.reason)")
        }
    }

    /// What was chosen where nobody chose.
    static func notes(_ session: ExplanationSession) {
        if let note = session.deviceNote { NoteHandler.logger.notice("\(note)") }
        for (method, reason) in session.leftOut {
            NoteHandler.logger.notice("\(method) is left out: \(reason)")
        }
        if !session.layers.isEmpty, !session.readsLayers {
            NoteHandler.logger.notice(
                "no method that was asked for reads a layer, so --layer changes nothing")
        }
        for note in [session.model.outputNote, session.model.preprocessingNote] {
            if let note { NoteHandler.logger.notice("\(note)") }
        }
    }

    /// Which methods take long, and why.
    static func passes(_ session: ExplanationSession) {
        let many = session.manyPasses
        guard !many.isEmpty else { return }
        NoteHandler.logger.notice(
            "\(many.count == 1 ? "one method asks" : "\(many.count) methods ask") the network many times for a map, and take\(many.count == 1 ? "s" : "") most of the time: \(many.map { "\($0.method): \($0.passes)" }.joined(separator: "; "))"
        )
    }

    /// The complaint about a class, with what the network sees in the first picture.
    static func withBestClasses(
        _ error: ExplainError, _ model: Model, _ options: Options, _ picture: Picture?
    ) -> ExplainError {
        guard let picture else { return error }
        var options = options
        (options.methods, options.classChoice, options.layer, options.batch) = ([], .top(1), "auto", 1)
        guard let image = try? ExplanationSession(model, options: options).explain(picture) else {
            return error
        }
        let best = image.predictions.prefix(3).map {
            "\($0.index) “\($0.label)” (\(percent($0.probability, width: 0)))"
        }
        return ExplainError(
            error.kind,
            "\(error.description) The best classes of \(picture.name) are \(best.joined(separator: ", ")).")
    }

    static func predictions(_ image: ImageExplanation) {
        print("\(image.name)" + (image.size.map { " (\($0.width)×\($0.height))" } ?? ""))
        if let note = image.note { print("  Note: \(note).") }
        for prediction in image.predictions {
            print(
                "  " + percent(prediction.probability) + "  " + pad("\(prediction.index)", 4, right: true)
                    + "  " + prediction.label)
        }
    }

    /// What a map explains, in words.
    static func what(_ explanation: Explanation) -> String {
        guard let target = explanation.target, let label = explanation.label else {
            return "whatever the class"
        }
        return (target.isNegative ? "against " : "") + "\(target.classIndex) \(label)"
            + (target.against.map { ", and not \($0) \(explanation.againstLabel ?? "")" } ?? "")
            + (target.scale == .probability ? " (probability)" : "")
    }

    /// Whether a map adds up.
    static func completeness(_ found: Completeness) -> String {
        let numbers =
            (found.isOfSegments ? "map, each segment counted once, " : "map ")
            + "adds up to \(number(Double(found.sum), digits: 4)) of \(number(Double(found.expected), digits: 4))"
        guard let error = found.error, error > Completeness.worrying else { return "The \(numbers)." }
        if let taker = found.absorbedBy {
            return error < 0.9
                ? "The \(numbers); \(taker) took the rest."
                : "Warning: the \(numbers); \(taker) took nearly all, so its parts can be compared with each other and with nothing else."
        }
        return
            "Warning: the \(numbers), \(number(Double(error) * 100, digits: 1)) % off: do not trust its parts' sizes"
            + (found.remedy.map { "; \($0)" } ?? "") + "."
    }

    static func failure(_ error: ExplainError) {
        fflush(nil)
        Terminal.complain("app: \(error.description)")
    }

    static func time(_ seconds: Double) -> String {
        seconds < 1
            ? number(seconds * 1e3, digits: seconds < 0.1 ? 1 : 0) + " ms" : number(seconds, digits: 2) + " s"
    }

    static func percent(_ probability: Float, width: Int = 5) -> String {
        pad(number(Double(probability) * 100, digits: 1), width, right: true) + " %"
    }

    static func number(_ value: Double, digits: Int) -> String { decimal(value, digits: digits) }

    static func pad(_ text: String, _ width: Int, right: Bool = false) -> String {
        let space = String(repeating: " ", count: max(0, width - text.count))
        return right ? space + text : text + space
    }

    /// Columns as wide as their widest cell; `right` says which are numbers.
    static func table(_ rows: [[String]], right: Set<Int> = []) {
        let rows = rows.map { $0.map(printable) }
        guard let columns = rows.map(\.count).max() else { return }
        let widths = (0..<columns).map { c in rows.map { c < $0.count ? $0[c].count : 0 }.max() ?? 0 }
        for row in rows {
            let line = row.enumerated().map { c, cell in
                c == columns - 1 && !right.contains(c) ? cell : pad(cell, widths[c], right: right.contains(c))
            }.joined(separator: "  ")
            print(line.replacing(#/ +$/#, with: ""))
        }
    }
}
