// Sampling images at positions that are data: kernels/sample.clh, which states the order of the terms.
//
// What a position reads becomes terms first, pixels and weights, so that the sums over channels know nothing of coordinates. The way
// back is a gather too: lists of the terms that read each pixel are made by whoever owns it, in one walk over all terms, without sorting
// and without atomics.

import CLRuntime
import CMicrokernels

package struct Sample: Step {
    enum Kind: String {
        case terms = "sample_terms"  // positions become pixels and weights
        case sample  // sums of terms
        case lists = "sample_lists"  // the terms of each pixel that is read
        case vjp = "sample_vjp"  // sums of those
    }
    let kind: Kind
    let sampling: wb_sample
    let inputs: [Value], outputs: [Value]

    package var kernel: String { kind.rawValue }
    package var reads: [Value] { inputs }
    package var writes: [Value] { outputs }
    package var readsViews: Bool { true }
    package var operations: Int {
        switch kind {
        case .terms: 8 * sampling.terms
        // Each part of an image walks over all its terms.
        case .lists: parts * sampling.terms / max(1, Int(sampling.n))
        case .sample, .vjp: 2 * sampling.terms * Int(sampling.c)
        }
    }
    /// How many pixels a work-item lists the terms of, and into how many parts that cuts all images.
    private func run(parts: Int) -> Int { max(1, (sampling.pixels + parts - 1) / parts) }
    private var parts: Int { Int(sampling.n) * min(sampling.pixels, 256) }
    private var rows: Int {
        Int(sampling.n) * (kind == .lists || kind == .vjp ? sampling.pixels : Int(sampling.points))
    }

    package func run(_ cpu: CPUFrame) {
        let (x, y) = (inputs, outputs)
        withUnsafePointer(to: sampling) { s in
            // Whoever lists terms walks over all of them.
            cpu.split(rows, minimum: kind == .lists ? max(1, rows / cpu.threads) : 16) { begin, end, _ in
                let (begin, end) = (Int64(begin), Int64(end))
                switch kind {
                case .terms:
                    cpu.functions.sample_terms(
                        s, cpu.pointer(x[0]), cpu.integers(y[0]), cpu.pointer(y[1]), begin, end)
                case .sample:
                    cpu.functions.sample(
                        s, cpu.pointer(x[0]), cpu.integers(x[1]), cpu.pointer(x[2]), cpu.pointer(y[0]),
                        begin, end)
                case .lists:
                    cpu.functions.sample_lists(
                        s, cpu.integers(x[0]), cpu.integers(y[0]), cpu.integers(y[1]), begin, end)
                case .vjp:
                    cpu.functions.sample_vjp(
                        s, cpu.integers(x[0]), cpu.integers(x[1]), cpu.pointer(x[2]), cpu.pointer(x[3]),
                        cpu.pointer(y[0]), begin, end)
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let arguments: [CLArgument] = (inputs + outputs).map(frame.buffer) + [.structure(sampling)]
        let isCPU = frame.device.shape == .cpu
        switch kind {
        case .terms: return [try frame.launch(kernel, in: "sample", arguments, count: rows)]
        case .lists:
            let run = run(parts: isCPU ? 4 : 256)
            let parts = (sampling.pixels + run - 1) / run
            return [
                try frame.launch(
                    kernel, in: "sample", arguments + [.int(Int32(run))],
                    over: CLSize(Int(sampling.n) * parts),
                    inGroupsOf: CLSize(isCPU ? 1 : 32))
            ]
        case .sample, .vjp:
            if isCPU {
                return [
                    try frame.launch(
                        kernel, in: "sample", options: "-DWB_CPU_SHAPE=1", arguments, over: CLSize(1, rows),
                        inGroupsOf: CLSize(1, 8))
                ]
            }
            return [
                try frame.launch(kernel, in: "sample", arguments, columns: Int(sampling.c), rows: rows)
            ]
        }
    }
}

extension wb_sample {
    fileprivate var pixels: Int { Int(d) * Int(h) * Int(w) }
    /// Of each point.
    fileprivate var count: Int { (0..<axes).reduce(1) { count, _ in count * Int(taps) } }
    fileprivate var terms: Int { Int(n) * Int(points) * count }

    /// The same for one image, as a matrix from its pixels to the points.
    /// - Parameter grid: the coordinates of its points, row-major.
    func matrix(_ grid: [Float], within limits: Limits) throws -> SparseMatrix {
        var one = self
        one.n = 1
        try limits.memory.check(2 * SparseMatrix.bytes(rows: Int(points), terms: one.terms))
        var places = [Int32](repeating: 0, count: one.terms)
        var weights = [Float](repeating: 0, count: one.terms)
        // All of them give the same bits.
        wb_functions_at(0).pointee.sample_terms(&one, grid, &places, &weights, 0, Int64(points))
        return SparseMatrix(
            columns: pixels,
            rows: (0..<Int(points)).map { point in
                (point * count..<(point + 1) * count).filter { places[$0] >= 0 }
                    .map { (Int(places[$0]), weights[$0]) }
            })
    }
}

extension Tape {
    package struct SampleTerms {
        let sampling: wb_sample
        let places: Value, weights: Value
    }

    /// What the points of a grid, [N, …, axes], read.
    /// - Parameter slope: with respect to which coordinate the weights are differentiated.
    mutating func sampleTerms(_ sampling: wb_sample, _ grid: Value, slope: Int? = nil) -> SampleTerms {
        var sampling = sampling
        sampling.slope = Int32(slope ?? -1)
        let (places, weights) = (value([sampling.terms], of: .int32), value([sampling.terms]))
        add(
            Sample(
                kind: .terms, sampling: sampling, inputs: [rowMajor(grid)], outputs: [places, weights]))
        return SampleTerms(sampling: sampling, places: places, weights: weights)
    }

    /// The sums of terms over each channel of x.
    mutating func sample(_ x: Value, _ terms: SampleTerms, to shape: Shape) -> Value {
        let y = channelsLastValue(shape)
        add(
            Sample(
                kind: .sample, sampling: terms.sampling,
                inputs: [channelsLast(x), terms.places, terms.weights],
                outputs: [y]))
        return y
    }

    /// The cotangent of what was sampled.
    mutating func sampleVJP(_ dy: Value, _ terms: SampleTerms, of shape: Shape) -> Value {
        let s = terms.sampling
        let heads = value([Int(s.n) * s.pixels], of: .int32)
        let followers = value([s.terms], of: .int32)
        add(Sample(kind: .lists, sampling: s, inputs: [terms.places], outputs: [heads, followers]))
        let dx = channelsLastValue(shape)
        add(
            Sample(
                kind: .vjp, sampling: s, inputs: [heads, followers, terms.weights, channelsLast(dy)],
                outputs: [dx]))
        return dx
    }
}
