// Measures of the maps of many pictures, and what they say together.

import Files
import Text

/// Which measures are taken.
package struct EvaluationOptions: Sendable {
    /// Names from `MetricList.all`, in the order of results; nil for all that can be taken without knowing where objects are, and those too where that is known.
    package var metrics: [String]?
    /// Settings of measures, by name and setting, as people type them.
    package var settings: [String: [String: String]] = [:]
    package var objects: ObjectSource?
    /// How the objects were given, and a digest of all that says where they are, for results.
    package var objectsName: String?, objectsDigest: String?
    /// Whether maps of methods are compared with each other.
    package var comparesMethods = true
    /// Whether the curves are kept.
    package var keepsCurves = true
    package init() {}

    /// Takes one setting of one metric. Whether it is among the metrics, and has that setting, is checked by an `Evaluation`.
    /// - Parameter text: `METRIC.SETTING=VALUE`, such as `deletion.steps=56`.
    package mutating func set(_ text: String) throws {
        let typed = try TypedSetting(
            text,
            form:
                "METRIC.SETTING=VALUE, such as deletion.steps=56 (`app metrics NAME` lists a metric's settings)"
        )
        settings[typed.owner, default: [:]][typed.name] = typed.value
    }
}

/// Takes measures of pictures that a session explains.
package final class Evaluation {
    package let session: ExplanationSession
    package let metrics: [(metric: any Metric, settings: [(String, JSON)])]
    package let options: EvaluationOptions
    private let questions: Questions
    private let resolver: PictureClasses.Resolver
    /// Of masks that were found by a picture's bare name, that of the picture.
    private var takenMasks: [String: String] = [:]

    /// - Throws: `ExplainError` of kind `method` for measures that are not there, or that cannot be taken.
    package init(_ session: ExplanationSession, _ options: EvaluationOptions) throws {
        let choice = session.options
        guard choice.against == nil, !choice.isNegative else {
            throw ExplainError(
                .method,
                "Measures ask for the probability of a class, so maps of differences (--against) and of what speaks against it (--negative) cannot be measured."
            )
        }
        guard !session.methods.isEmpty else {
            throw ExplainError(.method, "There is no method whose maps could be measured.")
        }
        let hasObjects = options.objects != nil
        var seen: Set<String> = []
        let types =
            try options.metrics?.filter { seen.insert($0).inserted }.map(MetricList.named)
            ?? MetricList.all.filter { hasObjects || !$0.needsObject }
        guard !types.isEmpty else { throw ExplainError(.method, "No metric was named.") }
        if !hasObjects, let one = types.first(where: { $0.needsObject }) {
            throw ExplainError(
                .method,
                "The metric \(one.name) needs to know where the object is; give --masks FOLDER or --boxes FILE."
            )
        }
        for name in options.settings.keys.sorted() where !types.contains(where: { $0.name == name }) {
            throw ExplainError(
                .method,
                "--set-metric names a setting of \(shortened(name)), which is not among the metrics (--metrics)."
                    + (MetricList.all.contains { $0.name == name }
                        ? ""
                        : " There is no such metric."
                            + didYouMean(name, among: MetricList.all.map { $0.name })))
        }
        (self.session, self.options) = (session, options)
        questions = try Questions(session)
        metrics = try types.map { try $0.make(options.settings[$0.name] ?? [:]) }
        resolver = PictureClasses.Resolver(session)
        session.keepsInput = true
    }

    // MARK: A picture

    /// Measures the maps of a picture.
    /// - Returns: its record.
    /// - Throws: `ExplainError` of kind `input` for what concerns this picture only, of kind `device` if the device fails.
    package func record(
        _ request: PictureRequest, stem: String, _ result: Result<ImageExplanation, ExplainError>,
        progress: () throws -> Void = {}
    ) throws -> JSON {
        func failed(_ error: ExplainError) -> JSON {
            .object([
                ("image", .string(request.picture.name)), ("stem", .string(stem)),
                ("asked", JSON(request.classChoice?.text)), ("error", .string(error.description)),
            ])
        }
        let image: ImageExplanation
        switch result {
        case .failure(let error): return failed(error)
        case .success(let found): image = found
        }
        do {
            return try record(image, stem: stem, asked: request.classChoice?.text, progress)
        } catch let error as ExplainError where error.kind == .input {
            return failed(error)
        }
    }

    private func record(
        _ image: ImageExplanation, stem: String, asked: String?, _ progress: () throws -> Void
    ) throws -> JSON {
        // A method that knows no class is measured by that which the others explain first.
        let explained = image.explanations.compactMap(\.classIndex)
        let first = explained.first ?? image.predictions[0].index
        let picture = MeasuredPicture(image, session, questions, classIndex: first)
        picture.measuredClasses = explained.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
        if picture.measuredClasses.isEmpty { picture.measuredClasses = [first] }
        picture.objects = try options.objects?.objects(of: image, stem: stem, questions, resolver)
        picture.takesMask = { [self] path in
            let other = takenMasks.updateValue(image.name, forKey: path)
            guard let other, other != image.name else { return }
            throw ExplainError(
                .input,
                "\(image.name): The mask '\(path)' has its bare name, and was taken for \(other) already; put masks into folders as the pictures lie in some."
            )
        }
        let probabilities = try Dictionary(
            uniqueKeysWithValues: picture.measuredClasses.map { index in
                let target = Target(index, scale: .probability)
                return (
                    index,
                    try image.explanations.first { $0.classIndex == index }?.probability
                        ?? questions.values(of: target, count: 1) { _ in picture.input }[0]
                )
            })
        var maps: [MeasuredMap] = []
        var records: [JSON] = []
        for explanation in image.explanations {
            let index = explanation.classIndex ?? first
            try picture.findObject(ofClass: index)
            let map = MeasuredMap(explanation, of: picture, probability: probabilities[index]!)
            maps.append(map)
            var values: [(String, JSON)] = []
            var notes: [(String, JSON)] = []
            var curves: [(String, JSON)] = []
            for (metric, _) in metrics {
                let name = type(of: metric).name
                // What a map is worth that shows nothing, nothing can say.
                let found =
                    try explanation.blank.map { Measurement.nothing("the map is blank: \($0)") }
                    ?? metric.measure(map)
                values.append((name, found.value.map(JSON.double) ?? .null))
                if let note = found.note { notes.append((name, .string(note))) }
                if options.keepsCurves, let curve = found.curve {
                    curves.append((name, .array(curve.map(JSON.float))))
                }
                try progress()
            }
            records.append(
                .object([
                    ("method", .string(explanation.method)), ("class", .int(index)),
                    ("label", .string(session.model.label(index))),
                    ("probability", .float(map.probability)), ("blank", JSON(explanation.blank)),
                    ("metrics", .object(values)), ("notes", .object(notes)), ("curves", .object(curves)),
                ]))
        }
        return .object([
            ("image", .string(image.name)), ("stem", .string(stem)), ("sha256", JSON(image.source?.sha256)),
            ("asked", JSON(asked)),
            ("predicted", .int(image.predictions[0].index)), ("maps", .array(records)),
            ("agreement", .array(options.comparesMethods ? agreement(maps) : [])),
        ])
    }

    /// How alike the maps of each two methods are, of the class that is explained first.
    private func agreement(_ maps: [MeasuredMap]) -> [JSON] {
        guard let first = maps.first.map({ $0.target.classIndex }) else { return [] }
        let own = maps.filter { $0.target.classIndex == first && $0.explanation.blank == nil }
        let (height, width) = (questions.height, questions.width)
        return own.indices.flatMap { i in
            own.indices.dropFirst(i + 1).map { j in
                let (a, b) = (own[i], own[j])
                func value(_ number: Double?) -> JSON { number.map(JSON.double) ?? .null }
                return .object([
                    ("a", .string(a.explanation.method)), ("b", .string(b.explanation.method)),
                    ("pcc", value(Similarity.correlation(a.values, b.values))),
                    ("sim", value(Similarity.overlap(a.heat, b.heat))),
                    (
                        "ssim",
                        value(Similarity.structure(a.heat, b.heat, height: height, width: width))
                    ),
                    ("top10", value(Similarity.commonTenth(a.places, b.places))),
                ])
            }
        }
    }

    /// What a report shows of a record.
    package func forReport(_ record: JSON) -> (
        metrics: [ReportDocument.Metric], curves: [ReportDocument.Curve]
    ) {
        guard case .array(let maps)? = record[key: "maps"] else { return ([], []) }
        var found: (metrics: [ReportDocument.Metric], curves: [ReportDocument.Curve]) = ([], [])
        for map in maps {
            guard let method = map[key: "method"]?.asString,
                let type = session.methods.first(where: { $0.type.name == method })?.type
            else { continue }
            let index = type.isClassSpecific ? map[key: "class"]?.asInt : nil
            for metric in metrics.map({ Swift.type(of: $0.metric) }) {
                if let value = map[key: "metrics"]?[key: metric.name]?.number {
                    found.metrics.append(
                        ReportDocument.Metric(
                            method: method, classIndex: index, name: metric.title, value: value,
                            isHigherBetter: metric.better == .higher))
                }
                if let kind = ReportDocument.Curve.Kind(rawValue: metric.name),
                    case .array(let curve)? = map[key: "curves"]?[key: metric.name]
                {
                    found.curves.append(
                        ReportDocument.Curve(
                            method: method, classIndex: index, kind: kind,
                            scores: curve.compactMap(\.number).map(Float.init)))
                }
            }
        }
        return found
    }

    // MARK: All of them

    /// What was asked for, as it stands in results; a run that is gone on with must have the same.
    package func head() throws -> [(String, JSON)] {
        guard
            case .object(let entries)? = try? JSON(
                reading: Array(ResultDocument.text(session, images: []).utf8))
        else { preconditionFailure("Our own document is no JSON.") }
        let kept: Set = [
            "whitebox", "numerics", "model", "preprocessing", "layers", "leftOut", "settings", "seed",
        ]
        var head = entries.filter { kept.contains($0.0) }
        let choice = session.options
        head.append(
            (
                "options",
                .object([
                    ("methods", JSON(session.methods.map { $0.type.name })),
                    ("class", .string(choice.ownClasses ?? choice.classChoice.text)),
                    ("score", JSON(choice.scale?.rawValue)), ("layer", .string(choice.layer)),
                    ("augment", JSON(choice.augmentations.map(\.rawValue).sorted())),
                    ("objects", JSON(options.objectsName)), ("objectsSHA256", JSON(options.objectsDigest)),
                    (
                        "labelsSHA256",
                        session.model.labels.isEmpty
                            ? .null
                            : .string(
                                SHA256.digits(of: Array(session.model.labels.joined(separator: "\n").utf8)))
                    ),
                ])
            ))
        head.append(
            ("metrics", .object(metrics.map { (type(of: $0.metric).name, .object($0.settings)) })))
        return head
    }

    /// The numbers of all records, as they are added.
    package struct Summary {
        /// By metric and method, of each picture the mean over its classes; nil where there is none.
        private var values: [String: [String: [Double?]]] = [:]
        private var pairs: [String: [String: [Double]]] = [:]
        private var order: [(a: String, b: String)] = []
        package private(set) var pictures = 0, failed = 0
        /// What was computed already: it takes long, and several ask for it.
        private final class Found {
            var estimates: [String: Estimate?] = [:]
            var rankings: [String: [(method: String, estimate: Estimate)]] = [:]
            var tests: [String: (difference: Double, p: Double, count: Int)?] = [:]
            var best: [String: Set<String>] = [:]
        }
        private var found = Found()
        /// By metric, of how many maps nothing could be said, and why of the first.
        package private(set) var missing: [String: (maps: Int, note: String)] = [:]
        private let metrics: [any Metric.Type], methods: [String], seed: UInt64

        fileprivate init(_ metrics: [any Metric.Type], _ methods: [String], seed: UInt64) {
            (self.metrics, self.methods, self.seed) = (metrics, methods, seed)
        }

        package mutating func add(_ record: JSON) {
            found = Found()
            guard case .array(let maps)? = record[key: "maps"] else {
                failed += 1
                return
            }
            for map in maps {
                guard case .object(let notes)? = map[key: "notes"] else { continue }
                for (metric, note) in notes where map[key: "metrics"]?[key: metric]?.number == nil {
                    let before = missing[metric]
                    missing[metric] = ((before?.maps ?? 0) + 1, before?.note ?? note.asString ?? "")
                }
            }
            for metric in metrics {
                for method in methods {
                    let found = maps.filter { $0[key: "method"]?.asString == method }.compactMap {
                        $0[key: "metrics"]?[key: metric.name]?.number
                    }
                    values[metric.name, default: [:]][method, default: []].append(
                        found.isEmpty ? nil : found.reduce(0, +) / Double(found.count))
                }
            }
            if case .array(let all)? = record[key: "agreement"] {
                for pair in all {
                    guard let a = pair[key: "a"]?.asString, let b = pair[key: "b"]?.asString else { continue }
                    let key = "\(a) \(b)"
                    if pairs[key] == nil { order.append((a, b)) }
                    for measure in Self.agreements {
                        if let number = pair[key: measure]?.number {
                            pairs[key, default: [:]][measure, default: []].append(number)
                        }
                    }
                    pairs[key] = pairs[key] ?? [:]
                }
            }
            pictures += 1
        }

        private static let agreements = ["pcc", "sim", "ssim", "top10"]

        /// The mean of a measure for a method.
        package func estimate(_ metric: String, _ method: String) -> Estimate? {
            if let known = found.estimates["\(metric) \(method)"] { return known }
            let new = Statistics.estimate((values[metric]?[method] ?? []).compactMap { $0 }, seed: seed)
            found.estimates["\(metric) \(method)"] = .some(new)
            return new
        }

        /// Methods that have any number of a measure, the best first.
        package func ranking(_ metric: any Metric.Type) -> [(method: String, estimate: Estimate)] {
            if let known = self.found.rankings[metric.name] { return known }
            let found = methods.compactMap { method in
                estimate(metric.name, method).map { (method: method, estimate: $0) }
            }
            let sorted = found.sorted { a, b in
                let (x, y) = (a.estimate.mean, b.estimate.mean)
                return x == y ? false : metric.better == .lower ? x < y : x > y
            }
            self.found.rankings[metric.name] = sorted
            return sorted
        }

        /// Whether two methods differ, by the pictures that both have numbers of: the mean difference, p, and of how many pictures.
        func test(_ metric: String, _ a: String, _ b: String) -> (difference: Double, p: Double, count: Int)?
        {
            if let known = found.tests["\(metric) \(a) \(b)"] { return known }
            let new = computedTest(metric, a, b)
            found.tests["\(metric) \(a) \(b)"] = .some(new)
            return new
        }

        private func computedTest(_ metric: String, _ a: String, _ b: String) -> (
            difference: Double, p: Double, count: Int
        )? {
            let both = zip(values[metric]?[a] ?? [], values[metric]?[b] ?? []).compactMap { x, y in
                x.flatMap { x in y.map { (x, $0) } }
            }
            guard !both.isEmpty else { return nil }
            return (
                both.reduce(0) { $0 + $1.0 - $1.1 } / Double(both.count),
                Statistics.pairedTest(both.map(\.0), both.map(\.1), seed: seed), both.count
            )
        }

        /// The most methods of which each is tested against each; of more, each against the best.
        static let mostPaired = 8

        /// All of it.
        package func json() -> JSON {
            .object([
                ("pictures", .int(pictures)), ("failed", .int(failed)),
                (
                    "metrics",
                    .object(
                        metrics.map { metric in
                            let ranking = ranking(metric)
                            let names = ranking.map(\.method)
                            let pairs = names.indices.flatMap { i in
                                names.indices.dropFirst(i + 1).filter { _ in
                                    i == 0 || names.count <= Self.mostPaired
                                }.map { (names[i], names[$0]) }
                            }
                            let tests = pairs.compactMap { a, b in
                                test(metric.name, a, b).map { (a: a, b: b, test: $0) }
                            }
                            let corrected = Statistics.corrected(tests.map(\.test.p))
                            return (
                                metric.name,
                                .object([
                                    ("better", .string(metric.better.rawValue)),
                                    (
                                        "methods",
                                        .object(
                                            ranking.map { method, estimate in
                                                (
                                                    method,
                                                    .object([
                                                        ("mean", .double(estimate.mean)),
                                                        ("low", .double(estimate.low)),
                                                        ("high", .double(estimate.high)),
                                                        ("pictures", .int(estimate.count)),
                                                    ])
                                                )
                                            })
                                    ),
                                    (
                                        "tests",
                                        .array(
                                            zip(tests, corrected).map { test, corrected in
                                                .object([
                                                    ("a", .string(test.a)), ("b", .string(test.b)),
                                                    ("difference", .double(test.test.difference)),
                                                    ("p", .double(test.test.p)), ("holm", .double(corrected)),
                                                    ("pictures", .int(test.test.count)),
                                                ])
                                            })
                                    ),
                                ])
                            )
                        })
                ),
                (
                    "agreement",
                    .array(
                        order.map { a, b in
                            .object(
                                [("a", .string(a)), ("b", .string(b))]
                                    + Self.agreements.map { measure in
                                        let numbers = pairs["\(a) \(b)"]?[measure] ?? []
                                        return (
                                            measure,
                                            numbers.isEmpty
                                                ? .null
                                                : .double(numbers.reduce(0, +) / Double(numbers.count))
                                        )
                                    })
                        })
                ),
            ])
        }

        /// The means of all pictures, for a report.
        package var forReport: [ReportDocument.Metric] {
            metrics.flatMap { metric in
                ranking(metric).map { method, estimate in
                    var mean = ReportDocument.Metric(
                        method: method, classIndex: nil, name: metric.title, value: estimate.mean,
                        isHigherBetter: metric.better == .higher)
                    mean.spread = (estimate.low, estimate.high, estimate.count)
                    return mean
                }
            }
        }

        /// For people: whether a method is not shown to be worse than the best.
        package func isAmongTheBest(_ metric: any Metric.Type, _ method: String) -> Bool {
            if let known = found.best[metric.name] { return known.contains(method) }
            let ranking = ranking(metric)
            guard let best = ranking.first else { return false }
            let others = ranking.dropFirst().map(\.method)
            let p = Statistics.corrected(others.map { test(metric.name, best.method, $0)?.p ?? 1 })
            let all = Set([best.method] + zip(others, p).filter { $0.1 >= 0.05 }.map(\.0))
            found.best[metric.name] = all
            return all.contains(method)
        }
    }

    package func summary() -> Summary {
        Summary(
            metrics.map { type(of: $0.metric) }, session.methods.map { $0.type.name },
            seed: session.options.seed)
    }
}

extension JSON {
    /// Any finite number.
    package var number: Double? {
        switch self {
        case .int(let value): Double(value)
        case .double(let value): value.isFinite ? value : nil
        case .float(let value): value.isFinite ? Double(value) : nil
        default: nil
        }
    }
}
