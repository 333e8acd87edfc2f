// DeepLIFT.

import Inference
import Kernels

/// Deep learning important features, with the rescale rule.
///
/// Shrikumar, Greenside, Kundaje, “Learning Important Features Through Propagating Activation Differences”, ICML 2017, sections 3.3 to 3.5.1: the
/// map is Σ_c (x − b)_c m_c, where m are multipliers that say how much of a difference of the picture x from a baseline b arrives at the number
/// that is explained. It adds up to s(x) − s(b).
package struct DeepLIFT: Explainer {
    package static let name = "deeplift"
    package static let title = "DeepLIFT"
    package static let family = MethodFamily.propagation
    package static let formula =
        "sum over colours of (x - b) m, multipliers m as gradients, with dy/dx of differences from the baseline b for functions of one number"
    package static let reading =
        "What each pixel's difference from the baseline adds to the score or takes from it; do not read it where the object has the baseline's colour."
    package static let source = "Shrikumar et al. 2017, section 3.5.1"
    package static let sign = MapSign.evidence
    package static let cost = "2 forward (the picture and the baseline), 1 back to the pixels"

    package struct Settings: MethodSettings {
        package var baseline = Baseline.zero
        package init() {}
        package static let list = [
            MethodSetting<Settings>("baseline", \.baseline, "what the picture is compared with")
        ]
    }

    private let input: PixelInput
    private let baseline: ReadyBaseline

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        input = try PixelInput(subject, for: Self.title)
        baseline = try settings.baseline.ready(for: subject)
        try ruled.check(subject)
    }

    package var grid: Attribution.Grid { input.grid }
    private var ruled: RuledGradient {
        RuledGradient(input: input, rule: DifferenceRule(), baseline: baseline)
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        try ruled.attributions(
            batch, targets, engine, cotangent: batch.scoring.multipliers
        ) { picture, target, multipliers, logits, others in
            let (x, b) = (batch.input(picture), baseline.numbers(for: batch.input(picture)))
            let products = multipliers.indices.map {
                multipliers[$0] * (x[$0 - multipliers.startIndex] - b[$0 - multipliers.startIndex])
            }
            var attribution = Attribution(
                picture: picture, target: target, grid: grid, values: ruled.sum(products[...]),
                blankReason:
                    "at every pixel the picture is the baseline, or no difference from it arrives at what is explained"
            )
            attribution.completeness = Completeness(
                sum: Float(attribution.values.reduce(0.0) { $0 + Double($1) }),
                expected: batch.scoring.value(target, logits) - batch.scoring.value(target, others))
            return attribution
        }
    }
}
