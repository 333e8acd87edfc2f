// `app explain` and `app classify`.

import ArgumentParser
import Explain
import Files
import Foundation
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
            "PNG and JPEG files, folders of them, or patterns such as 'photos/*.jpg'.", valueName: "image"),
        completion: .file())
    var images: [String] = []
    @OptionGroup var videos: VideoOptions
    @OptionGroup var model: ModelOptions
    @OptionGroup var inputs: InputOptions
    @OptionGroup var method: MethodOptions
    @OptionGroup var device: DeviceOptions

    @Option(
        parsing: .unconditional, help: ArgumentHelp("How many images are computed at a time.", valueName: "n")
    )
    var batch = 8

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Where results go; if left out, whitebox-results, or whitebox-results-2, … if that is there.",
            valueName: "folder"), completion: .directory)
    var output: String?

    @Option(
        help: ArgumentHelp(
            "What the heat map is laid over: view (what the network saw) or photo (the whole picture).",
            valueName: "what"), completion: .list(ResultWriter.Background.allCases.map(\.rawValue)))
    var overlay = "view"

    @Flag(help: "Replace results that are there already, and remove those of the run before.")
    var force = false

    @Flag(name: .shortAndLong, help: "Print no notes; warnings and errors stay.")
    var quiet = false

    @Flag(help: "Print results.json instead of text.")
    var json = false

    private var background: ResultWriter.Background? { .init(rawValue: overlay.lowercased()) }

    func validate() throws {
        guard (1...1024).contains(batch) else {
            throw ValidationError("--batch must be between 1 and 1024, and is \(batch).")
        }
        guard background != nil else {
            throw ValidationError("--overlay must be view or photo, and is “\(overlay)”.")
        }
    }

    func run() throws {
        let start = Benchmark.now()
        NoteHandler.isQuiet = quiet
        let pictures = try Pictures.find(images, videos: videos.videos)
        var options = Options()
        try method.apply(to: &options)
        device.apply(to: &options)
        options.batch = Pictures.batch(batch, of: pictures.count)
        let writer = try ResultWriter(
            directory: output ?? "whitebox-results", pictures: pictures, options: options,
            background: background!, overwrite: force,
            claimsFresh: output == nil && !force)
        let model = try model.load(inputs: inputs.input)
        try model.checkTakesPictures(orVideos: true)
        // results.json names it.
        model.beginDigests()
        let session: ExplanationSession
        do {
            session = try ExplanationSession(model, options: options)
        } catch let error as ExplainError where error.kind == .classChoice {
            throw Report.withBestClasses(error, model, options, pictures[0])
        }
        Report.notes(session)
        if !json { Report.head(session) }

        // Until here there is nothing to keep, and a signal ends the program as it always does.
        Interruption.watch()
        var seen = 0
        let progress = ProgressBar(total: pictures.count)
        progress.show(0)
        var failures: [ExplainError] = []
        // What is said of pictures, in their order; of files only once they are there.
        var waiting: [(index: Int, result: Result<ImageExplanation, ExplainError>)] = []
        func report() {
            let ready = waiting.prefix {
                if case .success = $0.result {
                    writer.isWritten($0.index) || writer.failure(of: $0.index) != nil
                } else {
                    true
                }
            }
            guard !ready.isEmpty else { return }
            progress.hide()
            for (index, result) in ready {
                switch result {
                case .failure(let error): Report.failure(error)
                case .success(let image):
                    if let error = writer.failure(of: index) {
                        failures.append(error)
                        Report.failure(error)
                    } else if !json {
                        tell(image, index, writer, in: writer.directory)
                    }
                }
            }
            waiting.removeFirst(ready.count)
        }
        do {
            let meanwhile = { (done: Double) throws -> Void in
                progress.show(done)
                try Interruption.check()
            }
            try session.explain(pictures, progress: meanwhile) { index, result in
                try writer.write(index, result)
                if case .failure(let error) = result { failures.append(error) }
                waiting.append((index, result))
                seen += 1
                report()
                // What has been computed is kept: it ends after a batch.
                if seen % session.batch == 0 { try Interruption.check() }
                progress.show(seen)
            }
            // The last files are still being written.
            writer.wait()
            report()
            try Interruption.check()
        } catch let interrupted as Interrupted {
            writer.wait()
            report()
            progress.hide()
            let reason = interrupted.sentence(seen, of: pictures.count)
            let text = try writer.finish(session, incomplete: seen < pictures.count ? reason : nil)
            if json { printLines(text) }
            _ = Terminal.flush()
            if interrupted.signal != SIGPIPE { Terminal.complain("app: \(reason)") }
            throw interrupted
        } catch {
            writer.wait()
            report()
            progress.hide()
            throw error
        }
        progress.hide()
        let text = try writer.finish(session)
        if json {
            printLines(text)
        } else if failures.count < pictures.count {
            let done = pictures.count - failures.count
            print(
                "\(done) of \(pictures.count) image\(pictures.count == 1 ? "" : "s") explained in "
                    + "\(Report.time(Benchmark.now() - start)); see \(Paths.join(writer.directory, "results.json"))"
            )
        }
        try Report.end(failures, of: pictures.count)
    }

    private func tell(_ image: ImageExplanation, _ index: Int, _ writer: ResultWriter, in directory: String) {
        func path(_ name: String) -> String { Paths.join(directory, name) }
        Report.predictions(image)
        for explanation in image.explanations {
            let what = Report.what(explanation)
            print("  \(explanation.title), \(what): \(path(writer.files(index, explanation).overlay))")
            if let blank = explanation.blank { print("    This map is blank: \(blank).") }
            if let note = explanation.note { print("    Note: \(note).") }
            if let found = explanation.completeness { print("    \(Report.completeness(found))") }
        }
        print("  Side by side: \(path(writer.sheet(index)))")
        print(
            "  Read in \(Report.time(image.seconds.prepare)), explained in \(Report.time(image.seconds.compute))"
        )
    }
}

struct ClassifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "classify", abstract: "Print the five most probable classes of photographs.")

    @Argument(
        help: ArgumentHelp(
            "PNG and JPEG files, folders of them, or patterns such as 'photos/*.jpg'.", valueName: "image"),
        completion: .file())
    var images: [String] = []
    @OptionGroup var videos: VideoOptions
    @OptionGroup var model: ModelOptions
    @OptionGroup var inputs: InputOptions
    @OptionGroup var device: DeviceOptions

    @Option(
        parsing: .unconditional, help: ArgumentHelp("How many images are computed at a time.", valueName: "n")
    )
    var batch = 8

    @Flag(name: .shortAndLong, help: "Print no notes; warnings and errors stay.")
    var quiet = false

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func validate() throws {
        guard (1...1024).contains(batch) else {
            throw ValidationError("--batch must be between 1 and 1024, and is \(batch).")
        }
    }

    func run() throws {
        NoteHandler.isQuiet = quiet
        let pictures = try Pictures.find(images, videos: videos.videos)
        var options = Options()
        options.methods = []
        device.apply(to: &options)
        options.batch = Pictures.batch(batch, of: pictures.count)
        let model = try model.load(inputs: inputs.input)
        try model.checkTakesPictures(orVideos: true)
        let session = try ExplanationSession(model, options: options)
        Report.notes(session)
        Interruption.watch()
        let progress = ProgressBar(total: pictures.count)
        var seen = 0
        var failures: [ExplainError] = []
        var records: [JSON] = []
        func document(incomplete: String? = nil) throws -> String {
            try ResultDocument.text(session, images: records, incomplete: incomplete)
        }
        do {
            defer { progress.hide() }
            try session.explain(pictures) { index, result in
                progress.hide()
                if json { records.append(ResultDocument.image(pictures[index].name, result, files: nil)) }
                switch result {
                case .failure(let error):
                    failures.append(error)
                    Report.failure(error)
                case .success(let image): if !json { Report.predictions(image) }
                }
                seen += 1
                if seen % session.batch == 0 { try Interruption.check() }
                progress.show(seen)
            }
        } catch let interrupted as Interrupted {
            let reason = interrupted.sentence(seen, of: pictures.count)
            if json { printLines(try document(incomplete: seen < pictures.count ? reason : nil)) }
            _ = Terminal.flush()
            if interrupted.signal != SIGPIPE { Terminal.complain("app: \(reason)") }
            throw interrupted
        }
        if json { printLines(try document()) }
        try Report.end(failures, of: pictures.count)
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

    /// The complaint about a class, with what the network sees in the first picture.
    static func withBestClasses(
        _ error: ExplainError, _ model: Model, _ options: Options, _ picture: Picture
    ) -> ExplainError {
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

    /// Some failed, or all.
    static func end(_ failures: [ExplainError], of count: Int) throws {
        guard let first = failures.first else { return }
        throw ExitCode(failures.count < count ? 2 : first.kind.rawValue)
    }

    static func time(_ seconds: Double) -> String {
        seconds < 1
            ? number(seconds * 1e3, digits: seconds < 0.1 ? 1 : 0) + " ms" : number(seconds, digits: 2) + " s"
    }

    static func percent(_ probability: Float, width: Int = 5) -> String {
        pad(number(Double(probability) * 100, digits: 1), width, right: true) + " %"
    }

    static func number(_ value: Double, digits: Int) -> String { String(format: "%.\(digits)f", value) }

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
