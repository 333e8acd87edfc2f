// Variants of a picture, or of a layer's activations, and the scores that the network gives them: what methods do that ask a network
// many times.

import CMicrokernels
import Dispatch
import Inference
import Kernels

/// x ⊙ m, or x ⊙ m + b ⊙ (1 − m): variants of one tensor x [1, …] by masks m, made on the device.
package struct Masking: PassSource {
    /// The masks' shape, for as many variants as the pass computes: it broadcasts to that of x.
    package let mask: [Int]
    /// Whether there is a b; else it is 0.
    package let hasBaseline: Bool
    /// Where the cells are that the masks are for, if x is tokens of which some are no cells. Those stay.
    package let tokens: TokenGrid?

    package init(mask: [Int], hasBaseline: Bool = false, tokens: TokenGrid? = nil) {
        (self.mask, self.hasBaseline, self.tokens) = (mask, hasBaseline, tokens)
    }

    package var label: String { "variants of the picture" }

    package func fed(_ shape: Shape) -> [Shape] {
        let one = Shape([1] + shape.dims.dropFirst())
        return [Shape([shape.dims[0]] + mask), one] + (hasBaseline ? [one] : [])
    }

    package func add(to tape: inout Tape, fed: [Value], shape: Shape) throws -> Value {
        if let tokens {
            let cells = try tokens.grid(&tape, fed[1])
            return try tokens.tokens(
                &tape, cells: tape.map(WB_MAP_multiply, cells, fed[0]), rest: fed[1], shape: shape)
        }
        let kept = tape.map(WB_MAP_multiply, fed[0], fed[1])
        guard hasBaseline else { return kept }
        let one = tape.fill([1], with: 1)
        let rest = tape.map(WB_MAP_subtract, one, fed[0])
        return tape.map(WB_MAP_add, kept, tape.map(WB_MAP_multiply, rest, fed[2]))
    }
}

/// Computes the logits of many variants of one picture, as many at a time as keep the device busy.
package final class Variants {
    private let pass: Pass
    private let scoring: Scoring
    private let masking: Masking
    private let maskSize: Int
    private let most: Int?
    /// How many are computed at a time.
    private let size: Int

    /// - Parameters:
    ///   - layer: whose variants these are: the network runs from there on; nil for the picture.
    ///   - mask: the shape of a mask without the batch, such as [1, H, W].
    ///   - hasBaseline: whether what is masked is replaced by something other than 0.
    package convenience init(
        _ batch: ExplainedBatch, _ engine: Engine, of subject: ExplainedNetwork, layer: TargetLayer? = nil,
        mask: [Int],
        hasBaseline: Bool = false
    ) throws {
        let spec = batch.pass.plan.spec
        try self.init(
            engine, batch.scoring, height: spec.height, width: spec.width, atATime: subject.samplesAtATime,
            most: subject.mostVariants, layer: layer, mask: mask, hasBaseline: hasBaseline)
    }

    /// - Parameters:
    ///   - height: of the network's input, where the file leaves it open; so the width.
    ///   - atATime: how many variants are computed at a time, if there is memory for that.
    ///   - most: of which no more are computed, if devices are only compared.
    package init(
        _ engine: Engine, _ scoring: Scoring, height: Int?, width: Int?, atATime: Int, most: Int? = nil,
        layer: TargetLayer? = nil, mask: [Int], hasBaseline: Bool = false
    ) throws {
        self.scoring = scoring
        precondition(!hasBaseline || layer?.tokens == nil)
        masking = Masking(mask: mask, hasBaseline: hasBaseline, tokens: layer?.tokens)
        maskSize = mask.reduce(1, *)
        self.most = most
        let masking = masking
        pass = try engine.pass(ofAtMost: atATime) { size in
            let whole = PassSpec(batch: size, height: height, width: width)
            var spec = layer.map { whole.tail(from: $0.feed) } ?? whole
            (spec.stored, spec.source) = ([engine.network.logitsName], masking)
            return spec
        }
        size = pass.plan.spec.batch
    }

    /// Sets the tensor whose variants are computed, and what takes the place of what is masked; both row by row.
    package func take(_ tensor: [Float], baseline: [Float]? = nil) throws {
        try pass.feed(tensor, at: 1)
        if masking.hasBaseline { try pass.feed(baseline!, at: 2) }
    }

    /// The logits of variants.
    /// - Parameters:
    ///   - mask: writes the mask of a variant, row by row; several are asked for at the same time, on several threads.
    ///   - receive: is given each variant with its logits and its mask, in order.
    package func run(
        _ variants: Range<Int>,
        mask: @Sendable (_ variant: Int, _ to: UnsafeMutableBufferPointer<Float>) -> Void,
        receive: (_ variant: Int, _ logits: [Float], _ mask: UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        let maskSize = maskSize
        let variants = most.map { variants.prefix($0) } ?? variants
        var masks = [Float](repeating: 0, count: size * maskSize)
        for begin in stride(from: variants.lowerBound, to: variants.upperBound, by: size) {
            let count = min(size, variants.upperBound - begin)
            masks.withUnsafeMutableBufferPointer { masks in
                // Each variant writes a part of its own.
                nonisolated(unsafe) let masks = masks
                DispatchQueue.concurrentPerform(iterations: count) { i in
                    mask(
                        begin + i,
                        UnsafeMutableBufferPointer(rebasing: masks[i * maskSize..<(i + 1) * maskSize]))
                }
            }
            try pass.feed(masks, at: 0)
            try pass.forward(pictures: count)
            let logits = try ExplainedBatch.logits(of: pass, count, scoring)
            try masks.withUnsafeBufferPointer { masks in
                for (i, row) in logits.enumerated() {
                    let mask = UnsafeBufferPointer(rebasing: masks[i * maskSize..<(i + 1) * maskSize])
                    try receive(begin + i, row, mask)
                }
            }
        }
    }
}
