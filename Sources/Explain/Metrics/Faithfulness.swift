// Measures of whether what a map says matters matters to the network: what its probability does when pixels are taken away.

import Imaging
import Inference

/// A curve of the class's probability while the picture turns into another, pixel after pixel in the map's order, the same number of
/// pixels in each step.
private struct PixelCurve {
    /// How many steps there are.
    let steps: Int
    /// Whether pixels come in the order of rising values.
    var isAscending = false

    /// The probabilities, of steps + 1 pictures.
    /// - Parameters:
    ///   - baseline: what pixels are taken from, or put in the place of.
    ///   - inserts: whether it begins with the baseline and ends with the picture.
    func values(
        _ map: MeasuredMap, _ baseline: [Float], inserts: Bool, _ scale: Target.Scale = .probability
    ) throws -> [Float] {
        let (places, cells) = (map.places, map.picture.cells)
        let each = (cells + steps - 1) / steps
        let (before, after): (Float, Float) = inserts ? (0, 1) : (1, 0)
        // Fewer pixels than steps: the last steps change nothing, and are not asked for.
        let count = min(steps, (cells + each - 1) / each)
        return try map.picture.questions.values(
            of: Target(map.target.classIndex, scale: scale), map.picture.input, baseline: baseline,
            count: count + 1
        ) { [isAscending] step, mask in
            let changed = Int32(min(cells, step * each))
            for i in mask.indices {
                let place = isAscending ? Int32(cells) - 1 - places[i] : places[i]
                mask[i] = place < changed ? after : before
            }
        }
    }

    /// The area below the curve, and the curve.
    func measured(
        _ map: MeasuredMap, _ baseline: [Float], inserts: Bool, _ scale: Target.Scale
    ) throws -> Measurement {
        let curve = try values(map, baseline, inserts: inserts, scale)
        return Measurement(PixelCurve.area(curve), curve: curve)
    }

    /// The area below a curve over 0 … 1, by trapezoids.
    private static func area(_ curve: [Float]) -> Double {
        let sum =
            curve.reduce(0.0) { $0 + Double($1) } - (Double(curve[0]) + Double(curve[curve.count - 1])) / 2
        return sum / Double(curve.count - 1)
    }
}

/// What a curve follows.
extension Target.Scale: SettingChoice {}

/// Of a curve.
package protocol CurveSettings: MethodSettings {
    var steps: Int { get set }
    var score: Target.Scale { get set }
}

extension CurveSettings {
    fileprivate static var common: [MethodSetting<Self>] {
        [
            MethodSetting("steps", \Self.steps, "steps of the curve", 1...100_000),
            MethodSetting("score", \Self.score, "what the curve follows"),
        ]
    }
}

/// Petsiuk, Das, Saenko, “RISE”, BMVC 2018, section 4.1 and algorithm 1: the area below the probability while pixels are replaced by the
/// network's zero, the most important first.
package struct Deletion: Metric {
    package static let name = "deletion"
    package static let title = "Deletion"
    package static let family = MetricFamily.faithfulness
    package static let formula =
        "area below p while pixels become zero (the mean colour), the most important first"
    package static let source = "Petsiuk et al. 2018, algorithm 1"
    package static let better = Better.lower
    package static let cost = "225 forward (steps + 1)"
    package struct Settings: CurveSettings {
        package var steps = 224, score = Target.Scale.probability
        package var baseline = Baseline.zero
        package init() {}
        package static let list =
            common + [MethodSetting<Settings>("baseline", \.baseline, "what takes the place of pixels")]
    }
    private let settings: Settings
    package init(_ settings: Settings) { self.settings = settings }

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        try PixelCurve(steps: settings.steps).measured(
            map, map.picture.baseline(settings.baseline), inserts: false, settings.score)
    }
}

/// The same paper: the area below the probability while a blurred picture becomes the picture, the most important pixels first. The blur is a
/// Gaussian of σ = 5 cut off at 5 pixels, and edges are held. That of the authors' program folds back what lies beyond its 11 pixels, so that it is flatter
/// (the area changes by 0.001), and has zeros beyond the edges (by 0.01).
package struct Insertion: Metric {
    package struct Settings: CurveSettings {
        package var steps = 224, score = Target.Scale.probability
        package var baseline: Baseline?
        package init() {}
        package static let list =
            common + [
                MethodSetting<Settings>(
                    "baseline", \.baseline,
                    "what there is before there are pixels; none for the blur of the authors")
            ]
    }
    package static let name = "insertion"
    package static let title = "Insertion"
    package static let family = MetricFamily.faithfulness
    package static let formula =
        "area below p while a blurred picture (sigma 5, 11 pixels) becomes sharp, the most important pixels first"
    package static let source = "Petsiuk et al. 2018, algorithm 1"
    package static let better = Better.higher
    package static let cost = "225 forward (steps + 1)"
    private let settings: Settings
    package init(_ settings: Settings) { self.settings = settings }

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        let (picture, cells) = (map.picture, map.picture.cells)
        let blur = GaussianBlur(sigma: 5, reach: 5)
        let blurred =
            try settings.baseline.map(picture.baseline)
            ?? stride(from: 0, to: picture.input.count, by: cells).flatMap {
                blur.applied(
                    to: Array(picture.input[$0..<$0 + cells]), height: picture.height, width: picture.width)
            }
        return try PixelCurve(steps: settings.steps).measured(
            map, blurred, inserts: true, settings.score)
    }
}

/// Bach et al., “On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance Propagation”, PLoS ONE 2015, section
/// “Pixel-flipping”: the area below the probability while pixels become black, the most important first.
package struct PixelFlipping: Metric {
    package struct Settings: CurveSettings {
        package var steps = 56, score = Target.Scale.probability
        package var baseline = Baseline.black
        package init() {}
        package static let list =
            common + [MethodSetting<Settings>("baseline", \.baseline, "what takes the place of pixels")]
    }
    package static let name = "pixel-flipping"
    package static let title = "Pixel flipping"
    package static let family = MetricFamily.faithfulness
    package static let formula = "area below p while pixels become black, the most important first"
    package static let source = "Bach et al. 2015"
    package static let better = Better.lower
    package static let cost = "57 forward (steps + 1)"
    private let settings: Settings
    package init(_ settings: Settings) { self.settings = settings }

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        try PixelCurve(steps: settings.steps).measured(
            map, map.picture.baseline(settings.baseline), inserts: false, settings.score)
    }
}

/// Arya et al., “One Explanation Does Not Fit All”, 2019, metric of monotonicity: pixels are put into a picture of the baseline in the order of
/// rising importance; the share of steps in which the probability does not fall. (Theirs is whether that share is 1.)
package struct Monotonicity: Metric {
    package struct Settings: MethodSettings {
        package var steps = 28
        package var baseline = Baseline.black
        package init() {}
        package static let list = [
            MethodSetting<Settings>("steps", \.steps, "steps of the curve", 1...100_000),
            MethodSetting<Settings>("baseline", \.baseline, "what there is before there are pixels"),
        ]
    }
    package static let name = "monotonicity"
    package static let title = "Monotonicity"
    package static let family = MetricFamily.faithfulness
    package static let formula =
        "share of the steps in which p does not fall while pixels are put in, the least important first"
    package static let source = "Arya et al. 2019"
    package static let better = Better.higher
    package static let cost = "29 forward (steps + 1)"
    private let settings: Settings
    package init(_ settings: Settings) { self.settings = settings }

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        let curve = try PixelCurve(steps: settings.steps, isAscending: true).values(
            map, map.picture.baseline(settings.baseline), inserts: true)
        let kept = zip(curve, curve.dropFirst()).count { $1 >= $0 }
        return Measurement(Double(kept) / Double(curve.count - 1), curve: curve)
    }
}

/// DeYoung et al., “ERASER: A Benchmark to Evaluate Rationalized NLP Models”, ACL 2020, section 4.2: p of the picture less p of its most important
/// pixels alone, the mean over the most important 5, 10, 20 and 50 percent. (Another measure of that name, of Dasgupta et al. 2022, compares
/// pictures with each other.)
package struct Sufficiency: Metric {
    package static let name = "sufficiency"
    package static let title = "Sufficiency"
    package static let family = MetricFamily.faithfulness
    package static let formula = "mean of p - p(the most important 5, 10, 20, 50 % alone, on zero)"
    package static let source = "DeYoung et al. 2020, section 4.2"
    package static let better = Better.lower
    package static let cost = "4 forward"
    package init(_: NoSettings) {}

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        let (places, cells) = (map.places, map.picture.cells)
        let kept = [5, 10, 20, 50].map { Int32((cells * $0 + 99) / 100) }
        let p = try map.picture.questions.values(of: map.target, map.picture.input, count: kept.count) {
            variant, mask in
            for i in mask.indices { mask[i] = places[i] < kept[variant] ? 1 : 0 }
        }
        return Measurement(p.reduce(0.0) { $0 + Double(map.probability) - Double($1) } / Double(p.count))
    }
}

/// Chattopadhay et al., “Grad-CAM++”, WACV 2018, section 5.1: max(0, p − p′) / p, p′ being of the picture times its heat map. (In percent there.)
package struct AverageDrop: Metric {
    package static let name = "average-drop"
    package static let title = "Average drop"
    package static let family = MetricFamily.faithfulness
    package static let formula = "max(0, p - p(x H)) / p, H the heat map"
    package static let source = "Chattopadhay et al. 2018, section 5.1"
    package static let better = Better.lower
    package static let cost = "1 forward"
    package init(_: NoSettings) {}

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        try AverageDrop.value(map).map { Measurement($0) }
            ?? .nothing("the network's probability of the class is 0")
    }

    static func value(_ map: MeasuredMap) throws -> Double? {
        let (p, left) = (Double(map.probability), Double(try map.probabilityOfHighlighted()))
        return p > 0 ? max(0, p - left) / p : nil
    }
}

/// The same paper: whether p′ is above p; its mean over pictures is the share of those.
package struct Increase: Metric {
    package static let name = "increase"
    package static let title = "Increase"
    package static let family = MetricFamily.faithfulness
    package static let formula = "1 if p(x H) > p, else 0"
    package static let source = "Chattopadhay et al. 2018, section 5.1"
    package static let better = Better.higher
    package static let cost = "1 forward"
    package init(_: NoSettings) {}

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        Measurement(try map.probabilityOfHighlighted() > map.probability ? 1 : 0)
    }
}

/// Zhang et al., “Opti-CAM: Optimizing saliency maps for interpretability”, CVIU 2024, section 4.1: max(0, p′ − p) / (1 − p).
package struct AverageGain: Metric {
    package static let name = "average-gain"
    package static let title = "Average gain"
    package static let family = MetricFamily.faithfulness
    package static let formula = "max(0, p(x H) - p) / (1 - p)"
    package static let source = "Zhang et al. 2024, section 4.1"
    package static let better = Better.higher
    package static let cost = "1 forward"
    package init(_: NoSettings) {}

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        let (p, left) = (Double(map.probability), Double(try map.probabilityOfHighlighted()))
        guard p < 1 else { return .nothing("the network is sure already, and nothing can be gained") }
        return Measurement(max(0, left - p) / (1 - p))
    }
}

/// Yeh et al., “On the (In)fidelity and Sensitivity of Explanations”, NeurIPS 2019, definition 2.1: the mean of (β Σ I φ − (p(x) − p(x − I)))² over
/// changes I that replace a square by the baseline (section 2.3), scaled by the best β (as Captum's `normalize`), so that maps in any unit can be
/// compared. φ is the map, the same in each channel.
package struct Infidelity: Metric {
    package struct Settings: MethodSettings {
        package var samples = 64
        package var size: Float = 0.25
        package var baseline = Baseline.zero
        package init() {}
        package static let list = [
            MethodSetting<Settings>("samples", \.samples, "squares that are replaced", 1...100_000),
            MethodSetting<Settings>(
                "size", \.size, "a square's side, as a share of the picture's",
                where: ("above 0, at most 1", { $0 > 0 && $0 <= 1 })),
            MethodSetting<Settings>("baseline", \.baseline, "what takes the place of a square"),
        ]
    }
    package static let name = "infidelity"
    package static let title = "Infidelity"
    package static let family = MetricFamily.faithfulness
    package static let formula =
        "mean of (b sum(I map) - (p(x) - p(x - I)))^2 over squares I that become zero, b the best factor"
    package static let source = "Yeh et al. 2019, definition 2.1"
    package static let better = Better.lower
    package static let cost = "64 forward (samples)"
    private let settings: Settings
    package init(_ settings: Settings) { self.settings = settings }

    /// Where squares are: of a seed, the same for every map.
    package struct Square: Sendable {
        package let top: Int, left: Int, height: Int, width: Int
    }

    package func squares(_ picture: MeasuredPicture) -> [Square] {
        let random = CounterRandom(seed: picture.seed, stream: CounterRandom.Stream.infidelity)
        func side(_ extent: Int) -> Int {
            max(1, min(extent, Int((settings.size * Float(extent)).rounded())))
        }
        let (h, w) = (side(picture.height), side(picture.width))
        return (0..<settings.samples).map { sample in
            let words = random.words(sample: sample, place: 0)
            return Square(
                top: CounterRandom.index(words[0], below: picture.height - h + 1),
                left: CounterRandom.index(words[1], below: picture.width - w + 1), height: h, width: w)
        }
    }

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        let picture = map.picture
        let (width, cells) = (picture.width, picture.cells)
        let baseline = try picture.baseline(settings.baseline)
        let squares = squares(picture)
        let values = map.values
        let p = try picture.questions.values(
            of: map.target, picture.input, baseline: baseline, count: squares.count
        ) { sample, mask in
            mask.update(repeating: 1)
            let square = squares[sample]
            for y in square.top..<square.top + square.height {
                for x in square.left..<square.left + square.width { mask[y * width + x] = 0 }
            }
        }
        /// Σ I φ of each square.
        let sums = squares.map { square in
            var sum = 0.0
            for channel in 0..<picture.questions.channels {
                for y in square.top..<square.top + square.height {
                    for x in square.left..<square.left + square.width {
                        let i = channel * cells + y * width + x
                        sum +=
                            (Double(picture.input[i]) - Double(baseline[i])) * Double(values[y * width + x])
                    }
                }
            }
            return sum
        }
        let drops = p.map { Double(map.probability) - Double($0) }
        let squaresOfSums = sums.reduce(0) { $0 + $1 * $1 }
        let products = zip(sums, drops).reduce(0) { $0 + $1.0 * $1.1 }
        let factor = squaresOfSums > 0 ? products / squaresOfSums : 0
        let error = zip(sums, drops).reduce(0) {
            let difference = factor * $1.0 - $1.1
            return $0 + difference * difference
        }
        return Measurement(error / Double(squares.count))
    }
}
