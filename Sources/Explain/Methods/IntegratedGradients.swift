// Integrated gradients.

import Inference
import Kernels
import Text

/// Integrated gradients.
///
/// Sundararajan, Taly, Yan, “Axiomatic Attribution for Deep Networks”, ICML 2017, equation 1: the map is Σ_c (x − b)_c ∫ ∂s/∂x_c at b + α (x − b)
/// over α from 0 to 1, here Σ_i w_i ∂s/∂x_c at b + α_i (x − b) with the nodes α_i and weights w_i of a rule. It adds up to
/// s(x) − s(b), as far as the rule is exact. Of several baselines the mean of their maps is taken.
package struct IntegratedGradients: Explainer {
    package static let name = "integrated-gradients"
    package static let title = "Integrated gradients"
    package static let family = MethodFamily.gradient
    package static let formula =
        "sum over colours of (x - b) times the mean of the gradient on the way from the baseline b to x"
    package static let reading =
        "How the score's rise from the baseline is shared out among the pixels; do not read it where the object has the baseline's colour, because that gets nothing."
    package static let source = "Sundararajan et al. 2017, equation 1"
    package static let sign = MapSign.evidence
    package static let asksManyTimes = true
    package static let cost = passes(Settings(), of: nil)
    package static func passes(_ settings: Settings, of subject: ExplainedNetwork?) -> String {
        let (steps, baselines) = (settings.steps + 1, settings.baselines.all.count)
        return
            "\(baselines * steps) forward, \(baselines * steps) back to the pixels (steps and the baseline)"
    }

    package struct Settings: MethodSettings {
        package var steps = 50
        package var rule = QuadratureRule.gaussLegendre
        package var baselines = Baselines([.zero])
        package init() {}
        package static let list = [
            MethodSetting<Settings>(
                "steps", \.steps, "how many gradients on the way are averaged", 1...10_000),
            MethodSetting<Settings>("rule", \.rule, "where they are taken, and what each weighs"),
            MethodSetting<Settings>("baseline", \.baselines, "what the picture is compared with"),
        ]
    }

    /// One baseline or several.
    package struct Baselines: SettingValue {
        package let all: [Baseline]
        init(_ all: [Baseline]) { self.all = all }

        package static var expected: String { Baseline.expected + "; or several with + between them" }
        package init?(setting text: String) {
            let parts = text.split(separator: "+", omittingEmptySubsequences: false).map {
                Baseline(setting: String($0))
            }
            guard !parts.contains(nil) else { return nil }
            all = parts.compactMap(\.self)
        }
        package var setting: JSON { all.count == 1 ? all[0].setting : .array(all.map(\.setting)) }
    }

    private let subject: ExplainedNetwork
    private let input: PixelInput
    private let points: [(node: Double, weight: Double)]
    private let baselines: [ReadyBaseline]

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        self.subject = subject
        input = try PixelInput(subject, for: Self.title)
        guard settings.steps >= settings.rule.fewest else {
            throw ExplainError(
                .method,
                "The rule \(settings.rule.rawValue) of \(Self.name) needs at least \(settings.rule.fewest) steps, and \(Self.name).steps "
                    + "is \(settings.steps).")
        }
        points = settings.rule.points(settings.steps)
        baselines = try settings.baselines.all.map { try $0.ready(for: subject) }
    }

    package var grid: Attribution.Grid { input.grid }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        // Last the baseline itself, of which the score is wanted.
        let shares = points.map { Float($0.node) } + [0]
        let variants = try GradientVariants(
            batch, engine, of: subject, value: input.name,
            source: Interpolation(baseline: [input.channels, input.height, input.width]), most: shares.count)
        return try batch.pictures.flatMap { picture in
            let x = batch.input(picture)
            let targets = targets[picture]
            var maps = [[Double]](repeating: Array(repeating: 0, count: input.cells), count: targets.count)
            var atBaselines = [Double](repeating: 0, count: targets.count)
            for (k, baseline) in baselines.enumerated() {
                let b = baseline.numbers(for: x)
                try variants.take(x, b)
                var sums = targets.map { _ in WeightedSum(input.count) }
                try variants.run(shares.indices, targets: targets) {
                    $1[0][0] = shares[$0]
                } logits: {
                    try batch.advance(
                        picture, done: k * shares.count + $0, of: baselines.count * shares.count)
                    guard $0 == points.count else { return }
                    for (t, target) in targets.enumerated() {
                        atBaselines[t] += Double(batch.scoring.value(target, $1))
                    }
                } gradient: {
                    if $0 < points.count { sums[$1].add($2, times: points[$0].weight) }
                }
                for (t, sum) in sums.enumerated() {
                    for i in 0..<input.count {
                        maps[t][i % input.cells] += (Double(x[i]) - Double(b[i])) * sum.values[i]
                    }
                }
            }
            return targets.indices.map { t in
                let count = Double(baselines.count)
                let map = maps[t].map { Float($0 / count) }
                var attribution = Attribution(
                    picture: picture, target: targets[t], grid: grid, values: map,
                    blankReason:
                        "at every pixel the picture is the baseline, or the gradient on the way between them is zero"
                )
                attribution.completeness = Completeness(
                    sum: Float(map.reduce(0.0) { $0 + Double($1) }),
                    expected: Float(
                        Double(batch.value(targets[t], picture: picture)) - atBaselines[t] / count),
                    remedy: "take more steps (--set integrated-gradients.steps)")
                return attribution
            }
        }
    }
}

/// Σ w v of vectors v, in double precision in the order in which they come.
struct WeightedSum {
    private(set) var values: [Double]
    init(_ count: Int) { values = Array(repeating: 0, count: count) }

    mutating func add(_ vector: UnsafeBufferPointer<Float>, times weight: Double) {
        precondition(vector.count == values.count)
        values.withUnsafeMutableBufferPointer { values in
            for i in values.indices { values[i] += weight * Double(vector[i]) }
        }
    }
}
