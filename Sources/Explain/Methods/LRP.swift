// Layer-wise relevance propagation.

import Imaging
import Inference
import Kernels

/// Layer-wise relevance propagation.
///
/// Bach, Binder, Montavon, Klauschen, Müller, Samek, “On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
/// Propagation”, PLOS ONE 2015: the number that is explained is shared out layer by layer, by rules that keep its sum but for what
/// biases take. Which rules: `LayerRule`, and the composites of Montavon et al. 2019 and Kohlbrenner et al. 2020. The map is the relevance of
/// the pixels, summed over colours.
///
/// A class's logit begins with its own value; a difference with those of both. A probability begins with ∂p/∂z, as softmax-gradient LRP
/// (Iwana et al. 2019, equation 6), whose sum over the classes is 0.
package struct LRP: Explainer {
    package static let name = "lrp"
    package static let title = "LRP"
    package static let family = MethodFamily.propagation
    package static let formula =
        "sum over colours of the relevance R of pixels, which layers share: R_i = sum over j of (a_i w_ij / z_j) R_j and variants of it"
    package static let reading =
        "How the score is shared out among the pixels, layer by layer, for (above 0) and against (below 0); do not compare maps of different rules, which share it out differently."
    package static let source = "Bach et al. 2015; rules: Montavon et al. 2019"
    package static let sign = MapSign.evidence
    package static let cost = "1 forward, 1 back to the pixels, each layer up to three times"

    /// Which layers have which rule, as Zennit names it, or one rule for all.
    package enum Composite: String, SettingChoice {
        case epsilonPlus = "epsilon-plus"
        case epsilonPlusFlat = "epsilon-plus-flat"
        case epsilonGammaBox = "epsilon-gamma-box"
        case epsilonAlpha2Beta1 = "epsilon-alpha2-beta1"
        case epsilonAlpha2Beta1Flat = "epsilon-alpha2-beta1-flat"
        case excitationBackpropagation = "excitation-backprop"
        /// Achtibat et al. 2024, for transformers: attention by their rules, which hold for every composite, γ for the patches' convolution.
        case attention = "attn-lrp"
        case epsilon, gamma
        case alpha2Beta1 = "alpha2-beta1"
        case wSquare = "w-square"
        case flat

        /// Of the first layer (nil: as others), of convolutions, of dense layers.
        package var rules: (first: LayerRule?, convolutions: LayerRule, dense: LayerRule) {
            switch self {
            case .epsilonPlus: (nil, .zPlus, .epsilon)
            case .epsilonPlusFlat: (.flat, .zPlus, .epsilon)
            case .epsilonGammaBox: (.zBox, .gamma, .epsilon)
            case .epsilonAlpha2Beta1: (nil, .alpha2Beta1, .epsilon)
            case .epsilonAlpha2Beta1Flat: (.flat, .alpha2Beta1, .epsilon)
            case .excitationBackpropagation: (nil, .zPlus, .zPlus)
            case .attention: (nil, .gamma, .epsilon)
            case .epsilon: (nil, .epsilon, .epsilon)
            case .gamma: (nil, .gamma, .gamma)
            case .alpha2Beta1: (nil, .alpha2Beta1, .alpha2Beta1)
            case .wSquare: (nil, .wSquare, .wSquare)
            case .flat: (nil, .flat, .flat)
            }
        }
    }

    /// What becomes of the relevance that biases earn.
    package enum Bias: String, SettingChoice {
        /// They keep it, and the map has less.
        case absorbs
        /// They are left out of what relevance is divided by, and so earn none.
        case ignored
    }

    package struct Settings: MethodSettings {
        package var composite = Composite.epsilonPlus
        package var first: LayerRule?, convolutions: LayerRule?, dense: LayerRule?
        package var epsilon: Float = 1e-6, gamma: Float = 0.25, stabilizer: Float = 1e-6
        package var bias = Bias.absorbs
        package init() {}
        package static let list = [
            MethodSetting<Settings>("composite", \.composite, "which layers have which rule"),
            MethodSetting<Settings>(
                "first", \.first, "the rule of layers that read the input; none: that of the composite"),
            MethodSetting<Settings>(
                "convolutions", \.convolutions,
                "the rule of the other convolutions; none: that of the composite"),
            MethodSetting<Settings>(
                "dense", \.dense, "the rule of the other dense layers; none: that of the composite"),
            MethodSetting<Settings>(
                "epsilon", \.epsilon, "what the rule epsilon adds to divisors, away from 0", 1e-12...1e6),
            MethodSetting<Settings>(
                "gamma", \.gamma, "how much the rule gamma prefers weights of the output's sign", 0...1e6),
            MethodSetting<Settings>(
                "stabilizer", \.stabilizer, "what all other rules add to divisors, away from 0", 1e-12...1),
            MethodSetting<Settings>(
                "bias", \.bias, "whether biases keep the relevance that they earn or earn none"),
        ]
    }

    private let input: PixelInput
    private let rule: RelevanceRule

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        input = try PixelInput(subject, for: Self.title)
        let rules = settings.composite.rules
        let first = settings.first ?? rules.first
        let channels = input.channels
        guard first != .zBox || [1, 3, 4].contains(channels) else {
            throw ExplainError(
                .method,
                "LRP's rule z-box needs the bounds of pixels, and the network's input for one picture is \(subject.input), which is no "
                    + "picture of one, three or four channels; take another rule for the first layer (--set lrp.first=flat)."
            )
        }
        guard (settings.convolutions ?? rules.convolutions) != .zBox, (settings.dense ?? rules.dense) != .zBox
        else {
            throw ExplainError(
                .method,
                "LRP's rule z-box is for layers that read the picture itself; it can be lrp.first and nothing else."
            )
        }
        func bound(_ choose: (Float, Float) -> Float) -> [Float] {
            (0..<channels).map { channel in
                func number(_ level: Float) -> Float {
                    subject.preprocessing.number(level, channel: channel, of: channels)
                }
                return choose(number(0), number(255))
            }
        }
        rule = RelevanceRule(
            convolutions: settings.convolutions ?? rules.convolutions, dense: settings.dense ?? rules.dense,
            first: first, epsilon: settings.epsilon, gamma: settings.gamma, stabiliser: settings.stabilizer,
            biasesAbsorb: settings.bias == .absorbs,
            low: first == .zBox ? bound(min) : [], high: first == .zBox ? bound(max) : [])
        try RuledGradient(input: input, rule: rule).check(subject)
    }

    package var grid: Attribution.Grid { input.grid }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let ruled = RuledGradient(input: input, rule: rule)
        func beginsWithScores(_ target: Target) -> Bool { target.scale == .logit }
        return try ruled.attributions(batch, targets, engine, beginsWithScores: beginsWithScores) {
            picture, target, relevance, _, _ in
            var attribution = Attribution(
                picture: picture, target: target, grid: grid, values: ruled.sum(relevance),
                blankReason: "no relevance arrives at the pixels")
            if attribution.values.contains(where: { !$0.isFinite }) {
                attribution.note =
                    "a divisor of the rules is so near to 0 that relevance overflows; raise lrp.epsilon, or lrp.stabilizer"
            } else if beginsWithScores(target) {
                attribution.completeness = Completeness(
                    sum: Float(attribution.values.reduce(0.0) { $0 + Double($1) }),
                    expected: batch.value(target, picture: picture),
                    absorbedBy: rule.dropsPart ? "biases, or outputs whose divisor is near 0," : nil)
            } else {
                attribution.note =
                    "relevance begins with the derivatives of the probability, whose sum over the classes is about 0"
            }
            return attribution
        }
    }
}
