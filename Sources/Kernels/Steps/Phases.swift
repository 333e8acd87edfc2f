// The gradient of a strided convolution with respect to its input, made of convolutions with strides of 1.
//
// Input pixels whose coordinates leave the same remainders when they are divided by the strides are a phase. A phase meets
// only some of the kernel's taps, and pixel q of it meets them in output pixels q + shift, one shift for each tap: so a phase
// is the gradient of a convolution with strides of 1 by those taps. Phases with few channels are computed together, as
// channels of one convolution, so that they fill its columns.

import CMicrokernels

/// Every `stride`th row, or column, of the input.
private struct Phase {
    /// Its first row.
    let start: Int
    /// Its rows.
    let count: Int
    /// The taps that it meets, in ascending order, and the row of the output, counted from the phase's own, in which it meets
    /// each: in descending order.
    let taps: [(tap: Int, shift: Int)]

    init(_ axis: Axis, start: Int) {
        self.start = start
        count = max(0, (axis.input - start + axis.stride - 1) / axis.stride)
        taps = (0..<axis.kernel).compactMap { tap in
            let from = start + axis.pad - tap * axis.dilation
            return from % axis.stride == 0 ? (tap, from / axis.stride) : nil
        }
    }

    var spacing: Int { taps.count > 1 ? taps[0].shift - taps[1].shift : 1 }
}

extension Tape {
    /// The cotangent of a convolution's input.
    /// - Parameters:
    ///   - weights: of the convolution, as in ONNX.
    ///   - scale: a factor for each output channel of the convolution.
    package mutating func convolutionGradient(
        _ dy: Value, _ shape: ConvolutionShape, _ weights: HostTensor, scale: [Double]? = nil
    ) throws -> Value {
        if shape.axes.allSatisfy({ $0.stride == 1 }) {
            return convolution(
                dy, shape.transposed, PackedWeights(transposing: weights, of: shape, scale: scale))
        }
        if isSketch { return value(shape.input) }
        let dx = channelsLastValue(shape.input)
        let lines = shape.axes.map { axis in
            (0..<axis.stride).map { Phase(axis, start: $0) }.filter { $0.count > 0 }
        }
        let reached = lines.map { $0.filter { !$0.taps.isEmpty } }
        // Steps, and programs' arguments, for each; there are never many but for a file that means harm.
        guard reached.reduce(1, { $0 * $1.count }) <= 4096, lines.reduce(0, { $0 + $1.count }) <= 1 << 14
        else {
            throw OperatorError(
                unsupported:
                    "has the strides \(shape.axes.map(\.stride)), for which its gradient would be made of "
                    + "\(lines.map { "\($0.count)" }.joined(separator: "×")) parts; it has no gradient here")
        }
        /// One of each list, in all ways.
        func combinations(_ lists: [[Phase]]) -> [[Phase]] {
            lists.reduce([[]]) { all, list in all.flatMap { some in list.map { some + [$0] } } }
        }
        let met = combinations(reached)
        if lines.map(\.count) != reached.map(\.count) {
            // What no tap meets: rows of their own, and the rest of each row that is met.
            let unmet = lines.indices.map { d in
                reached[..<d] + [lines[d].filter(\.taps.isEmpty)] + lines[(d + 1)...]
            }
            if unmet.reduce(0, { $0 + $1.reduce(1) { $0 * $1.count } }) <= 64 {
                for phase in unmet.flatMap({ combinations(Array($0)) }) {
                    let (dims, strides, start) = Tape.place(of: phase, in: shape)
                    let grid = Grid(dims: dims.dims, x: dims.dims.map { _ in 0 }, y: strides, y0: start)
                    fill(dx, with: 0, grid)
                }
            } else {
                fill(dx, with: 0, Grid(dims: [shape.input.count], x: [0], y: [1]))
            }
        }
        let together =
            shape.groups == 1 && met.count * shape.inputChannels <= Int(WB_PANEL)
            && met.allSatisfy { $0.allSatisfy { $0.spacing == 1 } }
        for set in together ? [met] : met.map({ [$0] }) where !set.isEmpty {
            // The shifts of all phases of the set, in descending order, like the taps of a kernel.
            let shifts = shape.axes.indices.map { d in
                let all = set.flatMap { $0[d].taps.map(\.shift) }
                return Array(stride(from: all.max()!, through: all.min()!, by: -set[0][d].spacing))
            }
            var forward = shape
            forward.inputChannels *= set.count
            for d in shape.axes.indices {
                forward.axes[d] = Axis(
                    input: set.map { $0[d].count }.max()!, output: shape.axes[d].output,
                    kernel: shifts[d].count, pad: shifts[d][0], dilation: set[0][d].spacing)
            }
            let part = Tape.part(weights, of: shape, phases: set, shifts: shifts)
            let y = convolution(
                dy, forward.transposed, PackedWeights(transposing: part, of: forward, scale: scale))
            for (i, phase) in set.enumerated() {
                let (dims, strides, start) = Tape.place(of: phase, in: shape)
                let part = view(
                    y, as: dims, strides: forward.input.channelsLastStrides, offset: i * shape.inputChannels)
                copy(part, into: dx, strides: strides, start: start)
            }
        }
        return dx
    }

    /// The extents of a phase, and where its pixels lie in the input.
    private static func place(of phase: [Phase], in shape: ConvolutionShape) -> (
        dims: Shape, strides: [Int], start: Int
    ) {
        let to = shape.input.channelsLastStrides
        return (
            Shape([shape.images, shape.inputChannels] + phase.map(\.count)),
            to[..<2] + zip(to[2...], shape.axes).map { $0 * $1.stride },
            zip(phase, to[2...]).reduce(0) { $0 + $1.0.start * $1.1 }
        )
    }

    /// The weights of a set of phases, [outputs, phases × channels, shifts…]; 0 where a phase lacks a shift.
    private static func part(
        _ weights: HostTensor, of shape: ConvolutionShape, phases: [[Phase]], shifts: [[Int]]
    ) -> HostTensor {
        let channels = shape.inputChannels / shape.groups
        // Of each phase and combination of shifts the tap, counted over all axes; -1 where there is none.
        let taps = phases.map { phase in
            shape.axes.indices.reduce([0]) { all, d in
                all.flatMap { before in
                    shifts[d].map { shift in
                        guard before >= 0, let tap = phase[d].taps.first(where: { $0.shift == shift })?.tap
                        else { return -1 }
                        return before * shape.axes[d].kernel + tap
                    }
                }
            }
        }
        let dims = [shape.outputChannels, phases.count * channels] + shifts.map(\.count)
        let size = shape.axes.taps
        /// The weights are read when a device loads the tape, and gathered for as long as they are lent.
        @Sendable func gather(_ weights: UnsafeRawBufferPointer) -> [Float] {
            var part: [Float] = []
            part.reserveCapacity(dims.reduce(1, *))
            for output in 0..<shape.outputChannels {
                for phase in taps {
                    for channel in 0..<channels {
                        let plane = (output * channels + channel) * size
                        for tap in phase {
                            let at = 4 * (plane + tap)
                            part.append(
                                tap < 0 ? 0 : weights.loadUnaligned(fromByteOffset: at, as: Float.self))
                        }
                    }
                }
            }
            return part
        }
        return HostTensor(
            Shape(dims),
            .deferred { body in
                try weights.withFloats { try gather($0).withUnsafeBytes(body) }
            }, identity: weights.identity.derived(dims + [size] + taps.flatMap(\.self)))
    }
}
