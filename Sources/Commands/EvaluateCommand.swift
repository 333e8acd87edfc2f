// `app evaluate` and `app metrics`.

import ArgumentParser
import Explain
import Files
import Glibc
import Text

struct EvaluateCommand: FileWriter {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Measure maps: which method should one believe?",
        discussion: """
            Explains photographs and measures each map: whether what it shows matters to the network, how much of the picture it takes, whether nearly the \
            same picture has nearly the same map, and, where masks or boxes say where the object is, whether it lies on it. Writes
              evaluation.json    what was asked, means with 95 % intervals, paired tests, agreement of methods
              measurements.csv   image, method, class, metric, value
              pictures.jsonl     all of each picture, with curves
            """)

    @Argument(
        help: ArgumentHelp(
            "Picture files (PNG, JPEG, WebP, TIFF, GIF, BMP), folders of them, or patterns such as 'photos/*.jpg'.",
            valueName: "image"),
        completion: .file())
    var images: [String] = []
    @OptionGroup var pictures: PictureOptions
    @OptionGroup var model: ModelOptions
    @OptionGroup var inputs: InputOptions
    @OptionGroup var method: MethodOptions
    @OptionGroup var device: DeviceOptions

    @Option(
        help: ArgumentHelp(
            "Metrics, separated by commas; if left out, all that can be taken: \(MetricList.all.map { $0.name }.joined(separator: ", ")).",
            valueName: "names"), completion: .list(MetricList.all.map { $0.name }))
    var metrics: String?

    @Option(
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "A setting of a metric, such as deletion.steps=56 (see `app metrics`); give it once for each.",
            valueName: "metric.setting=value"))
    var setMetric: [String] = []

    @Option(
        help: ArgumentHelp(
            "A folder of PNG files with the names of the pictures, in which the object is what is not black or not transparent; NAME.CLASS.png is that of one class.",
            valueName: "folder"), completion: .directory)
    var masks: String?

    @Option(
        help: ArgumentHelp(
            "Where the objects are, as boxes: COCO's JSON, a file of Pascal VOC's XML, or a folder of those.",
            valueName: "file"), completion: .file())
    var boxes: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Also make the network's weights random, layer by layer, and see whether maps of so many of the pictures notice.",
            valueName: "n"))
    var sanity: Int?

    @Flag(help: "Also measure what each method costs: time, passes through the network, memory.")
    var cost = false

    @OptionGroup var batch: BatchOptions

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Where results go; if left out, whitebox-evaluation.", valueName: "folder"),
        completion: .directory)
    var output = "whitebox-evaluation"

    @Option(
        help: ArgumentHelp(
            "Write a page of HTML too, with everything in it: maps side by side, curves, metrics as a table that can be sorted.",
            valueName: "file"), completion: .file(extensions: ["html"]))
    var report: String?

    @Flag(help: "Replace results that are there already.")
    var force = false

    @Flag(help: "Go on with the evaluation whose results are there: what is measured is not measured again.")
    var resume = false

    @Flag(name: .shortAndLong, help: "Print no notes; warnings and errors stay.")
    var quiet = false

    @Flag(help: "Print evaluation.json instead of tables.")
    var json = false

    /// Options of `explain` that have no sense here, so that a sentence says why.
    @Option(help: .hidden) var shard: String?
    @Flag(help: .hidden) var eachLayer = false

    func validate() throws {
        guard masks == nil || boxes == nil else {
            throw ValidationError("Where objects are is said by --masks or by --boxes, not by both.")
        }
        guard sanity.map({ (1...1000).contains($0) }) ?? true else {
            throw ValidationError("--sanity takes a number of pictures from 1 to 1000, and is \(sanity!).")
        }
        guard !(force && resume) else {
            throw ValidationError("--force begins anew, and --resume goes on; choose one.")
        }
        guard !(resume && report != nil) else {
            throw ValidationError(
                "--resume does not compute again what a report (--report) would show; make the report in a run of its own."
            )
        }
    }

    private func choices() throws -> EvaluationOptions {
        var choices = EvaluationOptions()
        choices.metrics = metrics.map { list($0.lowercased()) }
        if choices.metrics == ["all"] { choices.metrics = nil }
        for text in setMetric { try choices.set(text) }
        if let masks {
            guard FileKind(masks) == .folder else {
                throw ExplainError(.input, "There is no folder of masks '\(masks)' (--masks).")
            }
            choices.objects = .masks(folder: masks)
        }
        if let boxes { choices.objects = .boxes(try BoxFile(path: boxes)) }
        choices.objectsName = masks ?? boxes
        choices.objectsDigest = try choices.objects?.digest()
        return choices
    }

    func run() throws {
        let start = Benchmark.now()
        NoteHandler.isQuiet = quiet
        let choices = try choices()
        guard shard == nil else {
            throw ValidationError(
                "--shard shares the pictures of `app explain`; what several programs measured cannot be joined."
            )
        }
        guard !eachLayer else {
            throw ValidationError(
                "Maps are measured by method, so those of several layers (--each-layer) would be mixed; measure one layer at a time."
            )
        }
        let queue = try pictures.queue(images, videos: [])
        var options = Options()
        try method.apply(to: &options, takesFolders: true)
        try device.apply(to: &options)
        options.batch = batch.size(of: queue.count)
        let model = try model.load(inputs: inputs.input)
        try model.checkTakesPictures()
        model.beginDigests()
        let session: ExplanationSession
        do {
            session = try ExplanationSession(model, options: options)
        } catch let error as ExplainError where error.kind == .classChoice {
            throw Report.withBestClasses(error, model, options, queue.pictures?.first)
        }
        queue.classes = try pictures.classes(session, images, isOfFolders: method.isOfFolders)
        let evaluation = try Evaluation(session, choices)
        if sanity != nil { try Randomisation.check(model) }
        let page = try report.map { try ReportWriter(path: $0, overwrite: force) }
        let files = try EvaluationFiles(
            output, evaluation, existing: resume ? .resume : force ? .replace : .refuse)
        Report.notes(session)
        if options.leavesOutInapplicable { Report.passes(session) }
        if !json { Report.head(session) }
        Interruption.watch()

        let progress = ProgressBar(total: queue.count)
        var (seen, failed, kept) = (0, 0, 0)
        var firstFailure: ExplainError?
        var sane: [PictureRequest] = []
        var extra: [(String, JSON)] = []
        var tables: [ReportDocument.Table] = []
        func add(_ table: ReportDocument.Table) {
            tables.append(table)
            if !json { show(table) }
        }
        func take(_ item: RunItem, _ result: Result<ImageExplanation, ExplainError>) throws {
            let record = try evaluation.record(item.request, stem: item.stem, result) {
                progress.show(seen)
                try Interruption.check()
            }
            try files.add(record, stem: item.stem)
            if let page {
                let (metrics, curves) = evaluation.forReport(record)
                try page.take(item.index, item.request.picture, result, metrics: metrics, curves: curves)
            }
            seen += 1
            if case .success = result { readable = readable ?? item.request.picture }
            if let reason = record[key: "error"]?.asString {
                failed += 1
                let error = ExplainError((try? result.get()) == nil ? Self.kind(result) : .input, reason)
                firstFailure = firstFailure ?? error
                progress.hide()
                Report.failure(error)
            }
            progress.show(seen)
        }
        var incomplete: Interrupted?
        var late: ExplainError?
        var readable: Picture?
        do {
            var isOver = false
            while !isOver {
                var items: [RunItem] = []
                while items.count < session.batch {
                    guard let item = try queue.next() else {
                        isOver = true
                        break
                    }
                    if let failure = item.failure {
                        try take(item, .failure(failure))
                        continue
                    }
                    if sane.count < sanity ?? 0 { sane.append(item.request) }
                    if files.keeps(item.stem, item.request) {
                        (seen, kept) = (seen + 1, kept + 1)
                        progress.show(seen)
                    } else {
                        items.append(item)
                    }
                }
                try Interruption.check()
                guard !items.isEmpty else { continue }
                var results: [Result<ImageExplanation, ExplainError>] = []
                var requests = items.map(\.request)
                try session.explain(
                    next: {
                        defer { requests = [] }
                        return requests
                    }, { results += $0 })
                for (item, result) in zip(items, results) { try take(item, result) }
            }
            if sanity != nil {
                if !json { progress.hide() }
                let bar = ProgressBar(total: 100)
                let readable = sane.filter { (try? session.explain($0)) != nil }
                guard !readable.isEmpty else {
                    throw ExplainError(
                        .input, "No picture can be explained, so nothing can be said of --sanity.")
                }
                let found = try Randomisation(model, options, readable) {
                    bar.show(100 * $0)
                    try Interruption.check()
                }
                bar.hide()
                extra.append(("sanity", found.json()))
                sanityTables(found).forEach(add)
            }
            if cost, let picture = readable ?? queue.pictures?.first ?? sane.first?.picture {
                let costs = try session.options.methods.filter { name in
                    !session.leftOut.contains { $0.method == name }
                }.map { name in
                    try Interruption.check()
                    return try MethodCost(name, model, options, picture)
                }
                // Seconds differ from run to run, and the document is the same.
                extra.append(
                    (
                        "cost",
                        .object(
                            costs.map {
                                (
                                    $0.method,
                                    .object([("forward", .int($0.forward)), ("backward", .int($0.backward))])
                                )
                            })
                    ))
                add(table(costs))
            }
        } catch let reason as Interrupted {
            incomplete = reason
        } catch let error as ExplainError
            where seen > failed && error.kind != .device && error.kind != .output
        {
            // What was measured is kept; what was asked for beside it failed.
            late = error
        }
        progress.hide()
        guard seen > 0 else {
            files.discard()
            if let incomplete { throw incomplete }
            throw ExplainError(.input, "No picture was named.")
        }
        // Of nothing there are no results.
        guard seen > failed else {
            files.discard()
            if let incomplete { throw incomplete }
            throw ExitCode(firstFailure!.kind.rawValue)
        }
        let summary = try files.finish(
            evaluation, extra: extra,
            incomplete: incomplete.map { $0.sentence(seen, of: queue.count) } ?? late?.description)
        try page?.finish(
            session, command: App.command(self.model), details: JSON.object(evaluation.head()).text,
            incomplete: incomplete.map { $0.sentence(seen, of: queue.count) },
            metrics: summary.forReport, tables: tables)
        if json {
            printLines(
                String(decoding: try InputFile.contents(Paths.join(output, "evaluation.json")), as: UTF8.self)
            )
        } else {
            tell(summary, evaluation)
            print(
                "\(seen - failed) of \(seen) image\(seen == 1 ? "" : "s") measured in \(Report.time(Benchmark.now() - start))"
                    + (kept > 0 ? ", \(kept) of them before" : "")
                    + "; see \(Paths.join(output, "evaluation.json"))")
        }
        if let incomplete {
            _ = Terminal.flush()
            Terminal.complain("app: \(incomplete.sentence(seen, of: queue.count))")
        }
        if let incomplete { throw incomplete }
        if let late { throw late }
        if let firstFailure { throw ExitCode(failed < seen ? 2 : firstFailure.kind.rawValue) }
    }

    private static func kind(_ result: Result<ImageExplanation, ExplainError>) -> ExplainError.Kind {
        if case .failure(let error) = result { error.kind } else { .input }
    }

    /// Tables by family, the best of each metric first in its column's sense.
    private func tell(_ summary: Evaluation.Summary, _ evaluation: Evaluation) {
        let types = evaluation.metrics.map { type(of: $0.metric) }
        let methods = evaluation.session.options.methods.filter { name in
            !evaluation.session.leftOut.contains { $0.method == name }
        }
        // Of fewer pictures no test of signs falls below 0.05.
        let canTell = methods.count > 1 && summary.pictures >= 6
        for family in MetricFamily.allCases {
            let own = types.filter { $0.family == family }
            guard !own.isEmpty else { continue }
            print("")
            print(
                "\(family.title): mean, and half the width of its 95 % interval; * the best, and those not shown to be worse"
            )
            // As many columns as a terminal holds.
            for begin in stride(from: 0, to: own.count, by: 4) {
                let part = own[begin..<min(begin + 4, own.count)]
                var rows = [
                    ["Method"] + part.map { "\($0.name) \($0.better == .higher ? "↑" : "↓")" }
                ]
                let best = part.map { metric in
                    Set(methods.filter { summary.isAmongTheBest(metric, $0) })
                }
                for method in methods {
                    rows.append(
                        [method]
                            + zip(part, best).map { metric, best in
                                guard let found = summary.estimate(metric.name, method) else { return "–" }
                                guard found.count > 1 else {
                                    return Report.number(found.mean, digits: 3) + " "
                                }
                                return Report.number(found.mean, digits: 3) + " ±"
                                    + Report.number((found.high - found.low) / 2, digits: 3)
                                    + (best.contains(method) && canTell ? "*" : " ")
                            })
                }
                Report.table(rows, right: Set(1...part.count))
            }
        }
        if methods.count > 1, !canTell {
            print("Of fewer than six pictures no test can tell methods apart, so none is marked.")
        }
        for metric in types {
            guard let missing = summary.missing[metric.name] else { continue }
            print(
                "\(metric.name): \(missing.maps) map\(missing.maps == 1 ? " has" : "s have") no number (\(missing.note))."
            )
        }
        print("")
    }

    private func show(_ table: ReportDocument.Table) {
        print("")
        print(table.title)
        Report.table([table.head] + table.rows, right: Set(1..<table.head.count))
        for remark in table.remarks { print(remark) }
    }

    private func table(_ costs: [MethodCost]) -> ReportDocument.Table {
        ReportDocument.Table(
            title: "Cost of a picture, alone in its batch",
            head: ["Method", "Time", "Forward", "Back", "Memory"],
            rows: costs.map {
                [
                    $0.method, Report.time($0.seconds), "\($0.forward)", "\($0.backward)",
                    "\(($0.memory + 1 << 19) >> 20) MiB",
                ]
            })
    }

    /// A table for each order in which weights become random.
    private func sanityTables(_ found: Randomisation) -> [ReportDocument.Table] {
        // nil where no scores were finite, and of methods that know no class.
        func text(_ value: Double?) -> String { value.map { Report.number($0, digits: 2) } ?? "–" }
        let levels = found.levels.map { $0.count > 14 ? "…" + String($0.suffix(13)) : $0 }
        let isAlone =
            "Weights of one layer made random: correlation of ranks with the map of the trained network"
        let isAll =
            "Weights made random, from the scores down to the picture: correlation of ranks with the map of the trained network"
        return Randomisation.Order.allCases.map { order in
            let lines = found.methods.map { $0.found.spearman[order] ?? [] }
            let hasOthers = order == .cascading
            return ReportDocument.Table(
                title: hasOthers ? isAll : isAlone,
                head: ["Method"] + levels + (hasOthers ? ["other class"] : []),
                rows: zip(found.methods, lines).map { method, line in
                    [method.method] + line.map(text) + (hasOthers ? [text(method.found.otherClass)] : [])
                },
                remarks: found.methods.filter { hasOthers && $0.found.doesNotNotice }.map {
                    "\($0.method) does not notice: with all weights random its map is much the same, so it says little of what the network learnt."
                },
                lines: lines)
        }
    }
}

struct MetricsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "List the metrics of `evaluate`, or say all of one.")

    @Argument(
        help: ArgumentHelp("Metrics to say all of; if left out, all are listed.", valueName: "metric"),
        completion: .list(MetricList.all.map { $0.name }))
    var names: [String] = []

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func run() throws {
        let metrics =
            try names.isEmpty ? MetricList.all : names.map { try MetricList.named($0.lowercased()) }
        guard !json else {
            printLines(JSON.array(metrics.map(record)).text)
            return
        }
        guard names.isEmpty else {
            for (i, metric) in metrics.enumerated() {
                if i > 0 { print("") }
                describe(metric)
            }
            return
        }
        for family in MetricFamily.allCases {
            print(family.title)
            Report.table(
                MetricList.all.filter { $0.family == family }.map {
                    ["  " + $0.name, $0.better == .higher ? "↑" : "↓", $0.formula]
                })
        }
    }

    private func describe(_ metric: any Metric.Type) {
        print("\(metric.title) (\(metric.name)), \(metric.family.rawValue)")
        print("  \(metric.formula)")
        print("  Source: \(metric.source)")
        print("  Better: \(metric.better.rawValue). Cost: \(metric.cost).")
        for setting in metric.settingsTable {
            print(
                "  \(metric.name).\(setting.name)=\(setting.value.line)  \(setting.help); \(setting.expected)"
            )
        }
    }

    private func record(_ metric: any Metric.Type) -> JSON {
        .object([
            ("name", .string(metric.name)), ("title", .string(metric.title)),
            ("family", .string(metric.family.rawValue)), ("formula", .string(metric.formula)),
            ("source", .string(metric.source)), ("better", .string(metric.better.rawValue)),
            ("cost", .string(metric.cost)), ("needsObject", .bool(metric.needsObject)),
            ("settings", settingsRecord(metric.settingsTable)),
        ])
    }
}

/// The settings of a method or a metric.
func settingsRecord(_ table: [(name: String, value: JSON, expected: String, help: String)]) -> JSON {
    .array(
        table.map {
            .object([
                ("name", .string($0.name)), ("default", $0.value), ("value", .string($0.expected)),
                ("help", .string($0.help)),
            ])
        })
}
