// The gradients of many variants of one picture, with respect to its pixels or to a layer: what methods average.

import CMicrokernels
import Dispatch
import Inference
import Kernels

/// Makes variants of one picture x [1, C, H, W] on the device.
package protocol VariantSource: PassSource {
    /// How many of the values that it is fed have a part for each variant; those come first. The others serve all variants.
    var ownParts: Int { get }
}

/// b + α (x − b): on the straight line from a baseline b to the picture x. It is fed α [n, 1, 1, 1], b and x, if each variant has a
/// baseline of its own; else α, x and b.
package struct Interpolation: VariantSource {
    /// The shape of a baseline without the batch: it broadcasts to that of x.
    package let baseline: [Int]
    /// Whether each variant has a baseline of its own.
    package let hasOwnBaselines: Bool

    package init(baseline: [Int], hasOwnBaselines: Bool = false) {
        (self.baseline, self.hasOwnBaselines) = (baseline, hasOwnBaselines)
    }

    package var label: String { "variants of the picture" }
    package var ownParts: Int { hasOwnBaselines ? 2 : 1 }

    package func fed(_ shape: Shape) -> [Shape] {
        let variants = shape.dims[0]
        let share = Shape([variants] + shape.dims.dropFirst().map { _ in 1 })
        let one = Shape([1] + shape.dims.dropFirst())
        return hasOwnBaselines
            ? [share, Shape([variants] + baseline), one] : [share, one, Shape([1] + baseline)]
    }

    package func add(to tape: inout Tape, fed: [Value], shape: Shape) throws -> Value {
        let (x, b) = hasOwnBaselines ? (fed[2], fed[1]) : (fed[1], fed[2])
        let way = tape.map(WB_MAP_subtract, x, b)
        return tape.map(WB_MAP_add, tape.map(WB_MAP_multiply, way, fed[0]), b)
    }
}

/// x + noise. It is fed the noise [n, C, H, W], and x.
package struct Noise: VariantSource {
    package init() {}
    package var label: String { "variants of the picture" }
    package var ownParts: Int { 1 }

    package func fed(_ shape: Shape) -> [Shape] { [shape, Shape([1] + shape.dims.dropFirst())] }

    package func add(to tape: inout Tape, fed: [Value], shape: Shape) throws -> Value {
        tape.map(WB_MAP_add, fed[0], fed[1])
    }
}

/// Computes the gradients, and the logits, of many variants of one picture, as many at a time as keep the device busy.
package final class GradientVariants {
    private let pass: Pass
    private let batch: ExplainedBatch
    private let source: any VariantSource
    private let value: String
    /// The numbers that a variant's gradient has.
    private let count: Int
    private let most: Int?
    /// The numbers that a variant has of each value that is fed for it alone.
    private let partSizes: [Int]
    /// How many are computed at a time.
    private let size: Int

    /// What is written of a variant: row by row, the first of the source's own parts first.
    package typealias Write = @Sendable (_ variant: Int, _ parts: [UnsafeMutableBufferPointer<Float>]) -> Void

    /// - Parameters:
    ///   - value: with respect to which the gradients are, such as the network's input.
    ///   - most: the most that will be asked for at a time.
    package init(
        _ batch: ExplainedBatch, _ engine: Engine, of subject: ExplainedNetwork, value: String,
        source: any VariantSource, most: Int
    ) throws {
        (self.batch, self.source, self.value) = (batch, source, value)
        self.most = subject.mostVariants
        let shared = batch.pass.plan.spec
        // A way back keeps what the way forward made, so memory is short sooner than the device is idle.
        let atATime = GradientVariants.size(of: most, atATime: max(1, subject.samplesAtATime / 2))
        pass = try engine.pass(ofAtMost: atATime) { size in
            var spec = PassSpec(batch: size, height: shared.height, width: shared.width)
            (spec.stored, spec.gradients) = ([engine.network.logitsName], [value])
            spec.source = source
            return spec
        }
        let (size, tape) = (pass.plan.spec.batch, pass.tape)
        self.size = size
        count = tape.shape(pass.plan.gradients[value]!).count / size
        partSizes = pass.plan.inputs[..<source.ownParts].map { tape.shape($0).count / size }
    }

    /// How many of `count` variants are computed at a time: a pass computes as many as it was made for, so that few of the last are
    /// computed for nothing.
    /// - Parameter most: and at least half of that.
    static func size(of count: Int, atATime most: Int) -> Int {
        let most = min(most, count)
        func computed(_ size: Int) -> Int { (count + size - 1) / size * size }
        return ((most + 1) / 2...most).reversed().min { computed($0) < computed($1) }!
    }

    /// Sets what serves all variants, row by row, in the order of the source.
    package func take(_ shared: [Float]...) throws {
        for (i, numbers) in shared.enumerated() { try pass.feed(numbers, at: source.ownParts + i) }
    }

    /// The logits and gradients of variants.
    /// - Parameters:
    ///   - targets: whose gradients are asked for; each variant's own logits say what the derivatives of a probability are. None: logits
    ///     only.
    ///   - write: is asked for several variants at the same time, on several threads.
    ///   - logits: is given those of all classes, of each variant in order, before its gradients.
    ///   - gradient: is given, for each target, each variant in order with the gradient, row by row.
    package func run(
        _ variants: Range<Int>, targets: [Target], write: @escaping Write,
        logits receiveLogits: (_ variant: Int, _ logits: [Float]) throws -> Void = { _, _ in },
        gradient receive: (_ variant: Int, _ target: Int, _ gradient: UnsafeBufferPointer<Float>) throws ->
            Void
    ) throws {
        let variants = self.most.map { variants.prefix($0) } ?? variants
        let parts = stride(from: variants.lowerBound, to: variants.upperBound, by: size).map {
            $0..<min($0 + size, variants.upperBound)
        }
        var next = parts.first.map { numbers(of: $0, write) }
        for (k, part) in parts.enumerated() {
            for (i, numbers) in next!.enumerated() { try pass.feed(numbers, at: i) }
            try pass.forward(pictures: part.count)
            // While the device computes, what it is fed next is written, where it does that by itself.
            if targets.isEmpty { next = k + 1 < parts.count ? numbers(of: parts[k + 1], write) : nil }
            let logits = try batch.logits(of: pass, count: part.count)
            for (variant, row) in zip(part, logits) { try receiveLogits(variant, row) }
            for (t, target) in targets.enumerated() {
                let cotangents = logits.map { batch.scoring.cotangent(target, $0) }
                try pass.backward(batch.seed(cotangents, size: size), pictures: part.count)
                if t == targets.count - 1, k + 1 < parts.count { next = numbers(of: parts[k + 1], write) }
                try pass.gradient(value)!.withUnsafeBufferPointer { gradients in
                    for (i, variant) in part.enumerated() {
                        try receive(
                            variant, t,
                            UnsafeBufferPointer(rebasing: gradients[i * count..<(i + 1) * count]))
                    }
                }
            }
        }
    }

    /// What is fed for some variants: of each own part the numbers of `size` variants, 0 of those that are too many.
    private func numbers(of variants: Range<Int>, _ write: @escaping Write) -> [[Float]] {
        let (sizes, size) = (partSizes, size)
        let starts = sizes.indices.map { sizes[..<$0].reduce(0, +) * size }
        var all = [Float](repeating: 0, count: sizes.reduce(0, +) * size)
        all.withUnsafeMutableBufferPointer { all in
            // Each variant writes places of its own.
            nonisolated(unsafe) let all = all
            DispatchQueue.concurrentPerform(iterations: variants.count) { k in
                write(
                    variants.lowerBound + k,
                    sizes.indices.map {
                        let start = starts[$0] + k * sizes[$0]
                        return UnsafeMutableBufferPointer(rebasing: all[start..<start + sizes[$0]])
                    })
            }
        }
        return sizes.indices.map { Array(all[starts[$0]..<starts[$0] + size * sizes[$0]]) }
    }
}
