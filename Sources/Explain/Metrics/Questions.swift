// What measures ask of a network: the probability of a class of many changed pictures.

import Inference
import Kernels

/// Asks the network of a session about changed pictures, as many at a time as keep the device busy. Each has the bits that it would have alone.
package final class Questions {
    /// [C, H, W] of what the network is fed.
    package let channels: Int, height: Int, width: Int
    package let scoring: Scoring
    private let session: ExplanationSession
    private var variants: [Bool: Variants] = [:]
    private var plain: Pass?

    /// Pixels, and numbers.
    package var cells: Int { height * width }
    package var count: Int { channels * cells }

    /// - Throws: `ExplainError` of kind `method` if the network takes no pictures.
    package init(_ session: ExplanationSession) throws {
        let dims = try session.model.inputShape()
        guard dims.count == 3 else {
            throw ExplainError(
                .method,
                "Maps are measured of pictures, and what the network takes of one is \(Shape([1] + dims)).")
        }
        (channels, height, width) = (dims[0], dims[1], dims[2])
        (scoring, self.session) = (session.scoring, session)
    }

    private var sides: (height: Int, width: Int) { (session.model.inputHeight, session.model.inputWidth) }

    /// The numbers of a target of variants x ⊙ m + b ⊙ (1 − m) of a picture x.
    /// - Parameters:
    ///   - picture: x, [C, H, W] row by row.
    ///   - baseline: b, likewise; nil for 0.
    ///   - mask: writes m [H, W] of a variant; several are asked for at the same time, on several threads.
    package func values(
        of target: Target, _ picture: [Float], baseline: [Float]? = nil, count: Int,
        mask: @Sendable (_ variant: Int, _ to: UnsafeMutableBufferPointer<Float>) -> Void
    ) throws -> [Float] {
        let asked =
            try variants[baseline != nil]
            ?? Variants(
                session.engine, scoring, height: sides.height, width: sides.width,
                atATime: session.samplesAtATime, mask: [1, height, width], hasBaseline: baseline != nil)
        variants[baseline != nil] = asked
        try asked.take(picture, baseline: baseline)
        var values: [Float] = []
        try asked.run(0..<count, mask: mask) { _, logits, _ in values.append(scoring.value(target, logits)) }
        return values
    }

    /// The numbers of a target of any pictures.
    /// - Parameter picture: [C, H, W] of each, row by row.
    package func values(of target: Target, count: Int, picture: (Int) throws -> [Float]) throws -> [Float] {
        let network = session.model.network
        let pass =
            try plain
            ?? session.engine.pass(ofAtMost: session.samplesAtATime) { size in
                var spec = PassSpec(batch: size, height: sides.height, width: sides.width)
                spec.stored = [network.logitsName]
                return spec
            }
        plain = pass
        let size = pass.plan.spec.batch
        var values: [Float] = []
        var numbers = [Float](repeating: 0, count: size * self.count)
        for begin in stride(from: 0, to: count, by: size) {
            let part = min(size, count - begin)
            for i in 0..<part {
                numbers.replaceSubrange(
                    i * self.count..<(i + 1) * self.count, with: try picture(begin + i))
            }
            try pass.feed(numbers)
            try pass.forward(pictures: part)
            values += try ExplainedBatch.logits(of: pass, part, scoring).map { scoring.value(target, $0) }
        }
        return values
    }
}
