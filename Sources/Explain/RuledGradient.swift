// What comes back to the pixels of a pass with a backward rule.

import Inference
import Kernels

/// What is common to methods that go back to the pixels in a pass of their own, with one rule.
struct RuledGradient {
    let input: PixelInput
    let rule: any BackwardRule
    /// What each picture is compared with, if the rule is one for pairs.
    var baseline: ReadyBaseline?

    /// - Parameter pictures: for how many there is room.
    private func spec(_ network: Network, pictures: Int, like sizes: PassSpec) -> PassSpec {
        var spec = PassSpec(
            batch: baseline == nil ? pictures : 2 * pictures, height: sizes.height, width: sizes.width)
        (spec.stored, spec.gradients) = ([network.logitsName], [input.name])
        spec.isPaired = baseline != nil
        spec.add(rule: rule)
        return spec
    }

    /// Plans a pass, before there is any picture, to see whether the rule knows all operators.
    /// - Throws: `ExplainError` of kind `method` if it does not.
    func check(_ subject: ExplainedNetwork) throws {
        let sizes = PassSpec(batch: 1, height: input.height, width: input.width)
        do {
            _ = try PassPlan(spec(subject.network, pictures: 1, like: sizes), of: subject.network)
        } catch let error as NetworkError {
            throw ExplainError(.method, error.description, details: error.details)
        }
    }

    /// - Parameters:
    ///   - beginsWithScores: whether a pass begins with the scores themselves, times the derivatives with respect to them, and not with
    ///     these alone.
    ///   - cotangent: what a pass begins with, of each logit: its derivatives unless something else is said. It is given the logits of the picture, and
    ///     those of what it is compared with (none if with nothing).
    ///   - attribution: makes a map of what comes back [C, H, W], row by row, and is given the same logits.
    func attributions(
        _ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine,
        beginsWithScores: (Target) -> Bool = { _ in false },
        cotangent: ((_ target: Target, _ logits: [Float], _ others: [Float]) -> [Float])? = nil,
        attribution: (
            _ picture: Int, _ target: Target, _ gradient: ArraySlice<Float>, _ logits: [Float],
            _ others: [Float]
        ) -> Attribution
    ) throws -> [Attribution] {
        let sizes = batch.pass.plan.spec
        // As many as are computed at a time, or fewer where there is no room for what the rule reads.
        let pass = try engine.pass(ofAtMost: batch.size) {
            spec(engine.network, pictures: $0, like: sizes)
        }
        if baseline != nil, try engine.joinsPictures(in: pass) {
            throw ExplainError(
                .method,
                "\(engine.network.model.path): The network makes pictures of a batch depend on each other, so a picture and its "
                    + "baseline cannot go through it side by side; take a method that does not compare them.")
        }
        let together = pass.plan.spec.batch
        let size = baseline == nil ? together : together / 2
        var found: [Attribution] = []
        for begin in stride(from: 0, to: batch.pictures.count, by: size) {
            let part = begin..<min(begin + size, batch.pictures.count)
            let rest = [Float](repeating: 0, count: (size - part.count) * input.count)
            let pictures = part.map(batch.input)
            var fed = pictures.flatMap(\.self) + rest
            if let baseline { fed += pictures.flatMap(baseline.numbers(for:)) + rest }
            try pass.feed(fed)
            // With what each is compared with.
            let counted = (baseline == nil ? 1 : 2) * part.count
            try pass.forward(pictures: counted)
            let logits = try batch.logits(of: pass, count: together)
            let scores = try pass.stored(engine.network.logitsName)!
            /// The logits of a picture, and of what it is compared with.
            func rows(_ i: Int) -> ([Float], [Float]) {
                (logits[i], baseline == nil ? [] : logits[size + i])
            }
            for round in 0..<(targets[part].map(\.count).max() ?? 0) {
                // Pictures that have no target in this round repeat their first, and nobody looks.
                let chosen = targets[part].map { round < $0.count ? $0[round] : $0[0] }
                let cotangents = chosen.enumerated().map { i, target in
                    let (own, others) = rows(i)
                    return cotangent?(target, own, others) ?? batch.scoring.cotangent(target, own)
                }
                var seed = batch.seed(cotangents, size: size)
                let row = seed.count / size
                for (i, target) in chosen.enumerated() where beginsWithScores(target) {
                    for k in i * row..<(i + 1) * row { seed[k] *= scores[k] }
                }
                try pass.backward(seed, pictures: counted)
                let all = try pass.gradient(input.name)!
                for (i, picture) in part.enumerated() where round < targets[picture].count {
                    let (own, others) = rows(i)
                    found.append(
                        attribution(
                            picture, chosen[i], all[i * input.count..<(i + 1) * input.count], own, others))
                }
            }
        }
        return found
    }

    /// The sum of a gradient over the colours.
    func sum(_ gradient: ArraySlice<Float>) -> [Float] {
        let start = gradient.startIndex
        var sum = Array(gradient.prefix(input.cells))
        for channel in 1..<max(1, input.channels) {
            for i in 0..<input.cells { sum[i] += gradient[start + channel * input.cells + i] }
        }
        return sum
    }
}
