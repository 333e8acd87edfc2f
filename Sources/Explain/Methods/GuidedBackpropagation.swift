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

/// What is common to methods that go back to the pixels in a pass of their own, with one rule.
struct RuledGradient {
    let input: PixelInput
    let rule: any BackwardRule

    private func spec(_ network: Network, batch: Int, like shared: PassSpec) -> PassSpec {
        var spec = PassSpec(batch: batch, height: shared.height, width: shared.width)
        (spec.stored, spec.gradients) = ([network.logitsName], [input.name])
        spec.add(rule: rule)
        return spec
    }

    /// Plans a pass, before there is any picture, to see whether the rule knows all operators.
    /// - Throws: `ExplainError` of kind `method` if it does not.
    func check(_ subject: ExplainedNetwork) throws {
        let sizes = PassSpec(batch: 1, height: input.height, width: input.width)
        do {
            _ = try PassPlan(spec(subject.network, batch: 1, like: sizes), of: subject.network)
        } catch let error as NetworkError {
            throw ExplainError(.method, error.description, details: error.details)
        }
    }

    /// For each picture what comes back [C, H, W], row by row, for one target of each.
    /// - Parameter begin: what a pass begins with: of a picture's place, the derivatives with respect to the network's scores, and
    ///   those scores.
    func gradients(
        _ batch: ExplainedBatch, _ targets: [Target], _ engine: Engine,
        begin: (_ picture: Int, _ seed: [Float], _ scores: [Float]) -> [Float] = { _, seed, _ in seed }
    ) throws -> [[Float]] {
        let cotangents = batch.cotangents(targets)
        // As many as are computed at a time, or fewer where there is no room for what the rule reads.
        var (size, found) = (batch.size, [[Float]]())
        while found.count < batch.pictures.count {
            let spec = spec(engine.network, batch: size, like: batch.pass.plan.spec)
            let pass: Pass
            do {
                pass = try engine.pass(spec)
            } catch  where size > 1 && isOutOfMemory(error) {
                engine.forget(spec)
                size = (size + 1) / 2
                continue
            }
            let part = found.count..<min(found.count + size, batch.pictures.count)
            try pass.feed(
                part.flatMap(batch.input) + Array(repeating: 0, count: (size - part.count) * input.count))
            try pass.forward()
            let (seed, scores) = (
                batch.seed(Array(cotangents[part]), size: size), try pass.stored(engine.network.logitsName)!
            )
            let row = scores.count / size
            let seeds = part.enumerated().flatMap { i, picture in
                begin(picture, Array(seed[i * row..<(i + 1) * row]), Array(scores[i * row..<(i + 1) * row]))
            }
            try pass.backward(seeds + Array(repeating: 0, count: (size - part.count) * row))
            let all = try pass.gradient(input.name)!
            found += part.indices.map { i in
                Array(all[(i - part.lowerBound) * input.count..<(i - part.lowerBound + 1) * input.count])
            }
        }
        return found
    }

    /// The sum of a gradient over the colours.
    func sum(_ gradient: [Float]) -> [Float] {
        var sum = Array(gradient[..<input.cells])
        for channel in 1..<max(1, input.channels) {
            for i in 0..<input.cells { sum[i] += gradient[channel * input.cells + i] }
        }
        return sum
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
        return try batch.rounds(targets) { targets, pictures in
            let found = try ruled.gradients(batch, targets, engine)
            return pictures.map {
                Attribution(
                    picture: $0, target: targets[$0], grid: grid, values: ruled.sum(found[$0]),
                    blankReason: "nothing positive comes back to the pixels")
            }
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
    package static let source = "Zeiler and Fergus 2014, section 2.1"
    package static let rule = ClipRule.deconvolution
    package let input: PixelInput
    package init(_ input: PixelInput) { self.input = input }
}
