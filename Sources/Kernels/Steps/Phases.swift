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

    init(_ shape: ConvolutionShape, dimension d: Int, start: Int) {
        let (stride, size) = (shape.strides[d], shape.input.dims[2 + d])
        self.start = start
        count = max(0, (size - start + stride - 1) / stride)
        taps = (0..<shape.kernel[d]).compactMap { tap in
            let from = start + shape.pads[d] - tap * shape.dilations[d]
            return from % stride == 0 ? (tap, from / stride) : nil
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
        if shape.strides == [1, 1] {
            return convolution(
                dy, shape.transposed, PackedWeights(transposing: weights, of: shape, scale: scale))
        }
        let dx = value(shape.input)
        if isSketch { return dx }
        let lines = (0..<2).map { d in
            (0..<shape.strides[d]).map { Phase(shape, dimension: d, start: $0) }.filter { $0.count > 0 }
        }
        let reached = lines.map { $0.filter { !$0.taps.isEmpty } }
        // Steps, and programs' arguments, for each; there are never many but for a file that means harm.
        guard reached[0].count * reached[1].count <= 4096, lines[0].count + lines[1].count <= 1 << 14 else {
            throw OperatorError(
                unsupported:
                    "has the strides \(shape.strides), for which its gradient would be made of "
                    + "\(lines[0].count)×\(lines[1].count) parts; it has no gradient here")
        }
        let met = reached[0].flatMap { y in reached[1].map { x in [y, x] } }
        if lines.map(\.count) != reached.map(\.count) {
            // What no tap meets: rows of their own, and the rest of each row that is met.
            let unmet =
                lines[0].filter(\.taps.isEmpty).flatMap { y in lines[1].map { x in [y, x] } }
                + reached[0].flatMap { y in lines[1].filter(\.taps.isEmpty).map { x in [y, x] } }
            if unmet.count <= 64 {
                for phase in unmet {
                    let (dims, strides, start) = Tape.place(of: phase, in: shape)
                    fill(dx, with: 0, Grid(dims: dims.dims, x: [0, 0, 0, 0], y: strides, y0: start))
                }
            } else {
                fill(dx, with: 0, Grid(dims: [shape.input.count], x: [0], y: [1]))
            }
        }
        let together =
            shape.groups == 1 && met.count * shape.inputChannels <= Int(WB_PANEL)
            && met.allSatisfy { $0.allSatisfy { $0.spacing == 1 } }
        for set in together ? [met] : met.map({ [$0] }) where !set.isEmpty {
            let spacing = set[0].map(\.spacing)
            // The shifts of all phases of the set, in descending order, like the taps of a kernel.
            let shifts = (0..<2).map { d in
                let all = set.flatMap { $0[d].taps.map(\.shift) }
                return Array(stride(from: all.max()!, through: all.min()!, by: -spacing[d]))
            }
            let counts = (0..<2).map { d in set.map { $0[d].count }.max()! }
            var forward = shape
            (forward.strides, forward.dilations) = ([1, 1], spacing)
            forward.kernel = shifts.map(\.count)
            forward.pads = shifts.map { $0[0] }
            forward.input = Shape([shape.input.dims[0], set.count * shape.inputChannels] + counts)
            let part = Tape.part(weights, of: shape, phases: set, shifts: shifts)
            let y = convolution(
                dy, forward.transposed, PackedWeights(transposing: part, of: forward, scale: scale))
            for (i, phase) in set.enumerated() {
                let (dims, strides, start) = Tape.place(of: phase, in: shape)
                let part = view(
                    y, as: dims, strides: forward.input.strides, offset: i * shape.inputChannels)
                copy(part, into: dx, strides: strides, start: start)
            }
        }
        return dx
    }

    /// The extents of a phase, and where its pixels lie in the input.
    private static func place(of phase: [Phase], in shape: ConvolutionShape) -> (
        dims: Shape, strides: [Int], start: Int
    ) {
        let to = shape.input.strides
        return (
            Shape(shape.input.dims[..<2] + phase.map(\.count)),
            [to[0], to[1], to[2] * shape.strides[0], to[3] * shape.strides[1]],
            phase[0].start * to[2] + phase[1].start * to[3]
        )
    }

    /// The weights of a set of phases, [outputs, phases × channels, shifts, shifts]; 0 where a phase lacks a shift.
    private static func part(
        _ weights: HostTensor, of shape: ConvolutionShape, phases: [[Phase]], shifts: [[Int]]
    ) -> HostTensor {
        let channels = shape.inputChannels / shape.groups
        let taps = phases.map { phase in
            (0..<2).map { d in shifts[d].map { shift in phase[d].taps.first { $0.shift == shift }?.tap } }
        }
        let dims = [shape.outputChannels, phases.count * channels, shifts[0].count, shifts[1].count]
        let kernel = shape.kernel
        /// The weights are read when a device loads the tape, and gathered for as long as they are lent.
        @Sendable func gather(_ weights: UnsafeRawBufferPointer) -> [Float] {
            var part: [Float] = []
            part.reserveCapacity(dims.reduce(1, *))
            for output in 0..<shape.outputChannels {
                for phase in taps {
                    for channel in 0..<channels {
                        let plane = (output * channels + channel) * kernel[0] * kernel[1]
                        for ky in phase[0] {
                            for kx in phase[1] {
                                if let ky, let kx {
                                    let at = plane + ky * kernel[1] + kx
                                    part.append(weights.loadUnaligned(fromByteOffset: 4 * at, as: Float.self))
                                } else {
                                    part.append(0)
                                }
                            }
                        }
                    }
                }
            }
            return part
        }
        let chosen = taps.flatMap { $0.flatMap { [-2] + $0.map { $0 ?? -1 } } }
        return HostTensor(
            Shape(dims),
            .deferred { body in
                try weights.withFloats { try gather($0).withUnsafeBytes(body) }
            }, identity: weights.identity.derived(dims + kernel + chosen))
    }
}
