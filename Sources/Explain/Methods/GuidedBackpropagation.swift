// Guided backpropagation and the deconvolutional network: the gradient, but for another way back through clips.

import CMicrokernels
import Inference
import Kernels

/// Another way back through ReLUs and other clips. What else clips, such as SiLU, has its own gradient.
package enum ClipRule: BackwardRule {
    /// g [x > 0] [g > 0]: what is positive goes back where the gradient does.
    case guided
    /// max(g, 0), whatever went forward.
    case deconvolution

    package func vjp(
        _ tape: inout Tape, _ operation: any Operator, _ node: LoweredNode, cotangents: [Value?],
        wanted: Set<Int>
    ) throws -> [Value?]? {
        guard case .clips = operation.role, let dy = cotangents[0] else { return nil }
        let positive = tape.map(WB_MAP_clip, dy, a: 0, b: .infinity)
        switch self {
        case .guided: return try operation.vjp(&tape, node, cotangents: [positive], wanted: wanted)
        case .deconvolution:
            return node.inputs.indices.map { wanted.contains($0) && $0 == 0 ? positive : nil }
        }
    }
}

/// A method that is the gradient under one rule, its colours added.
package protocol RuledMethod: Explainer where Settings == NoSettings {
    static var rule: ClipRule { get }
    var input: PixelInput { get }
    init(_ input: PixelInput)
}

extension RuledMethod {
    package static var family: MethodFamily { .gradient }
    package static var sign: MapSign { .evidence }
    package static var cost: String { "1 forward, 1 back to the pixels" }
    package var grid: Attribution.Grid { input.grid }

    package init(_ settings: NoSettings, explaining subject: ExplainedNetwork) throws {
        self.init(try PixelInput(subject, for: Self.title))
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let ruled = RuledGradient(input: input, rule: Self.rule)
        return try ruled.attributions(batch, targets, engine) { picture, target, gradient, _, _ in
            Attribution(
                picture: picture, target: target, grid: grid, values: ruled.sum(gradient),
                blankReason: "nothing positive comes back to the pixels")
        }
    }
}

/// Springenberg et al., “Striving for Simplicity: The All Convolutional Net”, 2014, figure 1: the gradient, but of what arrives at a ReLU
/// only what is above 0 goes back; the colours are added.
package struct GuidedBackpropagation: RuledMethod {
    package static let name = "guided-backprop"
    package static let title = "Guided backpropagation"
    package static let formula =
        "sum over colours of the gradient, of which only what is above 0 passes a ReLU"
    package static let reading =
        "Edges that the network uses, sharply drawn; do not take it for evidence of a class, because it changes little with the class and even with the weights (Adebayo et al. 2018)."
    package static let source = "Springenberg et al. 2014, figure 1"
    package static let rule = ClipRule.guided
    package let input: PixelInput
    package init(_ input: PixelInput) { self.input = input }
}

/// Zeiler and Fergus, “Visualizing and Understanding Convolutional Networks”, ECCV 2014, section 2.1, as Simonyan et al. 2013 put it: the
/// gradient, but what goes back through a ReLU is max(g, 0), whatever went forward; the colours are added.
package struct Deconvnet: RuledMethod {
    package static let name = "deconvnet"
    package static let title = "Deconvnet"
    package static let formula =
        "sum over colours of the gradient, with ReLU(g) on the way back through each ReLU"
    package static let reading =
        "Shapes that the upper layers ask for, drawn back to the pixels; do not take it for evidence of a class, because it depends little on the class."
    package static let source = "Zeiler and Fergus 2014, section 2.1"
    package static let rule = ClipRule.deconvolution
    package let input: PixelInput
    package init(_ input: PixelInput) { self.input = input }
}
