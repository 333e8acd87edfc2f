// Sanity: does a map depend on what the network learnt? Weights are made random, and maps compared with those of the trained network.

import Glibc
import Inference
import Text

/// Adebayo et al., “Sanity Checks for Saliency Maps”, NeurIPS 2018, section 3 (model parameter randomisation test): weights become random from the scores down (cascading), or of one
/// layer alone (independent). A map that stays the same says nothing of what was learnt.
///
/// Beside it: Hedström et al., “Sanity Checks Revisited”, 2024: the smooth form (sMPRT, equation 7), maps averaged over noisy pictures, and the efficient form (eMPRT, equation 8), the relative
/// rise of a map's entropy when all weights are random; and Sixt, Granz, Landgraf, “When Explanations Lie”, ICML 2020, section 4: the map of another class
/// (random logit). Adebayo's test by random labels needs the network trained anew, and is not here.
package struct Randomisation: Sendable {
    package enum Order: String, Sendable, CaseIterable { case cascading, independent }

    /// Of one method.
    package struct Found: Sendable {
        /// By order, and level: the mean similarity of maps with those of the trained network; nil where no picture's scores were finite.
        package var ssim: [Order: [Double?]] = [:], spearman: [Order: [Double?]] = [:]
        /// sMPRT: Spearman's correlation, all weights random, of maps averaged over noisy pictures.
        package var smooth: Double?
        /// eMPRT: (entropy with random weights − entropy) / entropy.
        package var efficient: Double?
        /// Spearman's correlation with the map of a random other class; nil for a method that knows none.
        package var otherClass: Double?
        /// Whether the map is much the same when nothing that was learnt is left.
        package var doesNotNotice: Bool {
            guard let last = spearman[.cascading]?.last ?? nil else { return false }
            return last > Randomisation.noticed
        }
    }

    /// A method whose maps with random weights have a higher correlation of ranks than that with those of the trained network does not notice them.
    package static let noticed = 0.5
    /// Levels at most: of more layers evenly many.
    package static let mostLevels = 8
    private static let noisy = 8

    /// The names of the layers down to which weights are random, level by level: the scores' first.
    package let levels: [String]
    package let pictures: Int
    package private(set) var methods: [(method: String, found: Found)] = []

    /// - Parameters:
    ///   - pictures: that can be read; a few suffice.
    ///   - progress: is told how much is done, 0 … 1.
    /// - Throws: `ExplainError`; of kind `method` if the network has no weights that could be random.
    package init(
        _ model: Model, _ options: Options, _ pictures: [PictureRequest],
        progress: (Double) throws -> Void = { _ in }
    ) throws {
        try Self.check(model)
        let all = model.network.trainedLayers
        let count = min(Self.mostLevels, all.count)
        // How many layers from the scores down are random.
        let depths = (1...count).map { max(1, ($0 * all.count + count / 2) / count) }
        levels = depths.map { all[$0 - 1].name }
        var options = options
        options.batch = 1
        let trained = try ExplanationSession(model, options: options)
        trained.keepsInput = true
        let questions = try Questions(trained)
        // Another model must not choose another layer.
        if !trained.layers.isEmpty {
            options.layer = trained.layers.map { "\($0.index)" }.joined(separator: ",")
        }
        let names = trained.methods.map { $0.type.name }
        var sums: [String: Found] = Dictionary(uniqueKeysWithValues: names.map { ($0, Found()) })

        struct Original {
            let request: PictureRequest
            let explanations: [Explanation]
            let numbers: [Float]
            let noisy: [[Float]]
        }
        let random = CounterRandom(seed: options.seed, stream: CounterRandom.Stream.weights)
        var originals: [Original] = []
        var otherClass: [String: [Double]] = [:]
        for (place, request) in pictures.enumerated() {
            let image = try trained.explain(request)
            let index =
                image.explanations.first { $0.classIndex != nil }?.classIndex ?? image.predictions[0].index
            // The same class for every network.
            let own = ClassChoice.index(index)
            let input = image.input!
            let (low, high) = (input.min() ?? 0, input.max() ?? 0)
            let noisy = (0..<Self.noisy).map { sample in
                let noise = random.normals(input.count, sample: -1 - place * Self.noisy - sample)
                return zip(input, noise).map { $0 + 0.2 * (high - low) * $1 }
            }
            let fixed = PictureRequest(.array(input, name: image.name), classChoice: own)
            let explained = try trained.explain(fixed)
            originals.append(
                Original(
                    request: fixed, explanations: explained.explanations, numbers: input, noisy: noisy))
            if trained.classes > 1 {
                let step =
                    1
                    + CounterRandom.index(
                        random.words(sample: place, place: 1 << 30)[0], below: trained.classes - 1)
                let other = try trained.explain(
                    PictureRequest(fixed.picture, classChoice: .index((index + step) % trained.classes)))
                for (a, b) in zip(explained.explanations, other.explanations) where a.classIndex != nil {
                    if let value = Similarity.rankCorrelation(a.map.values, b.map.values) {
                        otherClass[a.method, default: []].append(value)
                    }
                }
            }
        }
        /// The mean of a method's maps over noisy pictures.
        func smooth(_ session: ExplanationSession, _ original: Original) throws -> [String: [Float]] {
            var sums: [String: [Double]] = [:]
            for numbers in original.noisy {
                let image = try session.explain(
                    PictureRequest(
                        .array(numbers, name: original.request.picture.name),
                        classChoice: original.request.classChoice))
                for map in image.explanations {
                    let sum = sums[map.method] ?? [Double](repeating: 0, count: map.map.values.count)
                    sums[map.method] = zip(sum, map.map.values).map { $0 + Double($1) }
                }
            }
            return sums.mapValues { $0.map(Float.init) }
        }
        let smoothed = try originals.map { try smooth(trained, $0) }
        let steps = Double(Order.allCases.count * depths.count)
        var done = 0.0
        for order in Order.allCases {
            for (level, depth) in depths.enumerated() {
                let layers = order == .cascading ? 0..<depth : depth - 1..<depth
                let network = try model.network.randomised(layers) { random.normals($0, sample: $1) }
                let session = try ExplanationSession(model.with(network), options: options)
                let isLast = order == .cascading && level == depths.count - 1
                var (ssim, spearman): ([String: [Double]], [String: [Double]]) = ([:], [:])
                var (efficient, smooths): ([String: [Double]], [String: [Double]]) = ([:], [:])
                for (place, original) in originals.enumerated() {
                    // Scores that overflow leave nothing to compare.
                    guard let image = try? session.explain(original.request) else { continue }
                    for (a, b) in zip(original.explanations, image.explanations) {
                        ssim[a.method, default: []].append(
                            Similarity.structure(
                                a.heatmap.values, b.heatmap.values, height: questions.height,
                                width: questions.width))
                        // A map that became constant has nothing of the old one.
                        spearman[a.method, default: []].append(
                            Similarity.rankCorrelation(a.map.values, b.map.values) ?? 0)
                        if isLast, let before = entropy(a.map.values), let after = entropy(b.map.values),
                            before > 0
                        {
                            efficient[a.method, default: []].append((after - before) / before)
                        }
                    }
                    // A noisy picture may overflow where the picture itself does not.
                    if isLast, let noisy = try? smooth(session, original) {
                        for (method, map) in noisy {
                            if let old = smoothed[place][method] {
                                smooths[method, default: []].append(Similarity.rankCorrelation(old, map) ?? 0)
                            }
                        }
                    }
                }
                func mean(_ values: [Double]?) -> Double? {
                    values.flatMap { $0.isEmpty ? nil : $0.reduce(0, +) / Double($0.count) }
                }
                for name in names {
                    sums[name]!.ssim[order, default: []].append(mean(ssim[name]))
                    sums[name]!.spearman[order, default: []].append(mean(spearman[name]))
                    if isLast {
                        sums[name]!.efficient = mean(efficient[name])
                        sums[name]!.smooth = mean(smooths[name])
                        sums[name]!.otherClass = mean(otherClass[name])
                    }
                }
                done += 1
                try progress(done / steps)
            }
        }
        self.pictures = originals.count
        methods = names.map { ($0, sums[$0]!) }
    }

    /// - Throws: `ExplainError` of kind `method` if a network has no weights that could be random.
    package static func check(_ model: Model) throws {
        guard !model.network.trainedLayers.isEmpty, !model.network.isQuantised else {
            throw ExplainError(
                .method,
                "The network has no weights in floating point that could be made random, so whether maps depend on them cannot be tested (--sanity)."
            )
        }
    }

    package func json() -> JSON {
        func number(_ value: Double?) -> JSON { value.map(JSON.double) ?? .null }
        func numbers(_ values: [Double?]) -> JSON { .array(values.map(number)) }
        return .object([
            ("pictures", .int(pictures)), ("levels", JSON(levels)), ("noticedBelow", .double(Self.noticed)),
            (
                "methods",
                .object(
                    methods.map { method, found in
                        (
                            method,
                            .object(
                                Order.allCases.map { order in
                                    (
                                        order.rawValue,
                                        .object([
                                            ("ssim", numbers(found.ssim[order] ?? [])),
                                            ("spearman", numbers(found.spearman[order] ?? [])),
                                        ])
                                    )
                                } + [
                                    ("smoothSpearman", number(found.smooth)),
                                    ("entropyRise", number(found.efficient)),
                                    ("otherClassSpearman", number(found.otherClass)),
                                    ("doesNotNotice", .bool(found.doesNotNotice)),
                                ])
                        )
                    })
            ),
        ])
    }
}
