// Convolutions and products of bytes with constant weights, summed in integers: kernels/quantise.cl.

import CLRuntime
import CMicrokernels

/// What is stored of the sums of a product of whole numbers.
enum WholeOutput {
    /// Integers of 32 bits.
    case sums
    /// Real numbers: each sum times the factor of its column.
    case real([Float])
    /// Bytes: the same, rounded.
    case bytes([Float], WholeType, wb_rounding)
}

struct WholeProduct: Step {
    let shape: ConvolutionShape
    let raw: wb_conv, sums: wb_whole_sums
    let x: Value, weights: Value, bias: Value, weightSums: Value, offsets: Value, scales: Value, zero: Value
    let y: Value

    var isDepthwise: Bool { shape.isDepthwise }
    var kernel: String { isDepthwise ? "whole_depthwise" : "whole_product" }
    var reads: [Value] { [x, weights, bias, weightSums, offsets, scales, zero] }
    var writes: [Value] { [y] }
    var operations: Int { 2 * shape.output.count * shape.terms }
    var weight: Double { isDepthwise ? 4 : 1 }
    var readsViews: Bool { true }
    private var rows: Int { raw.rows }
    private var panels: Int { shape.wholePanels }

    func run(_ cpu: CPUFrame) {
        let operands = wb_whole_operands(
            x: UnsafePointer(cpu.bytes(x)), weights: UnsafePointer(cpu.integers(weights)),
            bias: UnsafePointer(cpu.integers(bias)), sums: UnsafePointer(cpu.integers(weightSums)),
            offsets: UnsafePointer(cpu.integers(offsets)), scales: UnsafePointer(cpu.pointer(scales)),
            zero: UnsafePointer(cpu.pointer(zero)), y: UnsafeMutableRawPointer(cpu.pointer(y)))
        withUnsafePointer(to: raw) { raw in
            withUnsafePointer(to: sums) { sums in
                withUnsafePointer(to: operands) { operands in
                    func compute(
                        _ rows: Range<Int>, _ panels: Range<Int>, _ scratch: UnsafeMutablePointer<wb_scratch>
                    ) {
                        cpu.functions.whole_product(
                            raw, sums, operands, scratch, Int64(rows.lowerBound), Int64(rows.upperBound),
                            Int32(panels.lowerBound), Int32(panels.upperBound))
                    }
                    if isDepthwise {
                        cpu.split(rows, minimum: 16) { begin, end, _ in
                            cpu.functions.whole_depthwise(raw, sums, operands, Int64(begin), Int64(end))
                        }
                    } else if rows >= 32 * cpu.threads || panels < cpu.threads {
                        cpu.split(rows, minimum: 8, whole: 64) { begin, end, scratch in
                            compute(begin..<end, 0..<panels, scratch)
                        }
                    } else {
                        cpu.split(panels) { begin, end, scratch in compute(0..<rows, begin..<end, scratch) }
                    }
                }
            }
        }
    }

    func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let cpu = frame.device.shape == .cpu
        let options = (cpu ? "-DWB_CPU_SHAPE=1" : "") + raw.axes
        let lanes = cpu ? 16 : 1
        if isDepthwise {
            return [
                try frame.launch(
                    kernel, in: "quantise", options: options,
                    [x, weights, bias, scales, zero, y].map(frame.buffer) + [
                        .structure(raw), .structure(sums),
                    ],
                    count: rows * ((shape.inputChannels + lanes - 1) / lanes))
            ]
        }
        return [
            try frame.launch(
                kernel, in: "quantise", options: options,
                [x, weights, bias, weightSums, offsets, scales, zero, y].map(frame.buffer) + [
                    .structure(raw), .structure(sums),
                ], columns: panels * Int(WB_PANEL) / lanes, rows: (rows + 3) / 4)
        ]
    }
}

extension ConvolutionShape {
    fileprivate var wholePanels: Int { groups * wholeGroupPanels }
    fileprivate var wholeGroupPanels: Int {
        (outputChannels / groups + Int(WB_PANEL) - 1) / Int(WB_PANEL)
    }
    /// Of four channels, in a row of terms.
    fileprivate var wholeBlocks: Int { axes.taps * ((inputChannels / groups + 3) / 4) }

    /// Where an output channel's numbers lie among those of all panels.
    fileprivate func wholeColumn(_ channel: Int) -> Int {
        if isDepthwise { return channel }
        let columns = outputChannels / groups
        return channel / columns * wholeGroupPanels * Int(WB_PANEL) + channel % columns
    }
    fileprivate var wholeColumns: Int { isDepthwise ? outputChannels : wholePanels * Int(WB_PANEL) }
}

/// The weights of a product of whole numbers, and how they lie in their tensor.
struct WholeWeights {
    /// [output channels, input channels / groups, kernel extents …], or its transpose of rank 2.
    let tensor: HostTensor
    let isTransposed: Bool
    let type: WholeType
    /// One, or one for each output channel.
    let zero: [Int]

    /// What is subtracted from all, so that signed bytes hold them.
    private var moved: Int { type == .uint8 ? 128 : 0 }
    func offset(_ channel: Int) -> Int { zero[zero.count == 1 ? 0 : channel] - moved }
    var hasOffsets: Bool { zero.contains { $0 != moved } }

    private func key(_ shape: ConvolutionShape, _ what: Int) -> PackedWeights.Key {
        .tensor(
            tensor.identity,
            layout: [
                what, isTransposed ? 1 : 0, moved, shape.groups, shape.inputChannels, shape.outputChannels,
                shape.axes.taps,
            ] + (what == 11 ? zero : []), scale: nil)
    }

    /// Calls `body` with each weight, by output channel, term's channel and tap.
    private func each(
        _ shape: ConvolutionShape, _ body: (_ output: Int, _ channel: Int, _ tap: Int, _ weight: Int) -> Void
    ) throws {
        let (taps, channels) = (shape.axes.taps, shape.inputChannels / shape.groups)
        try tensor.withFloats { numbers in
            for o in 0..<shape.outputChannels {
                for c in 0..<channels {
                    for tap in 0..<taps {
                        let at = isTransposed ? c * shape.outputChannels + o : (o * channels + c) * taps + tap
                        let w = numbers.loadUnaligned(fromByteOffset: 4 * at, as: Float.self)
                        body(o, c, tap, Int(w) - moved)
                    }
                }
            }
        }
    }

    func packed(_ shape: ConvolutionShape) -> PackedWeights {
        if shape.isDepthwise {
            // As numbers of 16 bits.
            let count = shape.outputChannels * shape.axes.taps
            return PackedWeights(integers: (count + 1) / 2, key: key(shape, 11)) { to in
                try to.withMemoryRebound(to: Int16.self, capacity: (count + 1) / 2 * 2) { to in
                    to[count / 2 * 2] = 0
                    try each(shape) { o, _, tap, w in
                        to[tap * shape.outputChannels + o] = Int16(w - offset(o))
                    }
                }
            }
        }
        let (blocks, perTap) = (shape.wholeBlocks, (shape.inputChannels / shape.groups + 3) / 4)
        let count = shape.wholePanels * blocks * Int(WB_PANEL)
        return PackedWeights(integers: count, key: key(shape, 12)) { to in
            to.initialize(repeating: 0, count: count)
            try to.withMemoryRebound(to: Int8.self, capacity: 4 * count) { to in
                try each(shape) { o, c, tap, w in
                    let (panel, column) = shape.wholeColumn(o).quotientAndRemainder(dividingBy: Int(WB_PANEL))
                    let block = (panel * blocks + tap * perTap + c / 4) * Int(WB_PANEL)
                    to[4 * (block + column) + c % 4] = Int8(w)
                }
            }
        }
    }

    /// The sum of each column's weights as they are packed.
    func sums(_ shape: ConvolutionShape) -> PackedWeights {
        PackedWeights(integers: shape.wholeColumns, key: key(shape, 13)) { to in
            to.initialize(repeating: 0, count: shape.wholeColumns)
            try each(shape) { o, _, _, w in to[shape.wholeColumn(o)] &+= Int32(w) }
        }
    }
}

extension Tape {
    /// Integers, one for each output channel, where a product reads them.
    private mutating func columns(_ numbers: [Int], _ shape: ConvolutionShape) -> Value {
        let bits = numbers.map { UInt32(bitPattern: Int32(truncatingIfNeeded: $0)) }
        let layout = [14, shape.wholeColumns, shape.groups]
        return weights(
            PackedWeights(integers: shape.wholeColumns, key: .numbers(bits, layout: layout)) { to in
                to.initialize(repeating: 0, count: shape.wholeColumns)
                for (i, bits) in bits.enumerated() { to[shape.wholeColumn(i)] = Int32(bitPattern: bits) }
            })
    }

    /// A convolution of bytes, in integers.
    /// - Parameters:
    ///   - zero: the number that stands for 0 in x: one binary32.
    ///   - bias: one for each output channel.
    mutating func wholeConvolution(
        _ x: Value, zero: Value, _ shape: ConvolutionShape, _ weights: WholeWeights, bias: [Int]?,
        _ output: WholeOutput
    ) -> Value {
        precondition(self.shape(x) == shape.input)
        let type = WholeType(element(x))!
        var sums = wb_whole_sums()
        sums.blocks = Int32(shape.wholeBlocks)
        sums.shift = Int32(type.shift)
        sums.offsets = weights.hasOffsets ? 1 : 0
        let y: Value
        var factors: [Float] = []
        switch output {
        case .sums:
            let room = value([shape.output.count], of: .int32)
            y = view(
                room, as: shape.output,
                strides: shape.axes.count == 2 || shape.output.rank <= 2
                    ? shape.output.strides : shape.output.channelsLastStrides, offset: 0)
        case .real(let all):
            (sums.stores, factors) = (1, all)
            y = channelsLastValue(shape.output)
        case .bytes(let all, let type, let rounding):
            (sums.stores, sums.rounding, factors) = (2, rounding, all)
            y = bytes(shape.output, type, channelsLast: true)
        }
        if isSketch { return y }
        if factors.count == 1 { factors = Array(repeating: factors[0], count: shape.outputChannels) }
        let zeros = [Int](repeating: 0, count: shape.outputChannels)
        let x = bytesChannelsLast(x)
        let raw = Convolution(
            shape: shape, x: x, weights: x, bias: nil, residual: nil, zeros: x, y: y, clip: nil, sums: x
        ).raw
        add(
            WholeProduct(
                shape: shape, raw: raw, sums: sums, x: x, weights: self.weights(weights.packed(shape)),
                bias: columns(bias ?? zeros, shape),
                weightSums: shape.isDepthwise ? columns(zeros, shape) : self.weights(weights.sums(shape)),
                offsets: columns(zeros.indices.map { weights.offset($0) }, shape),
                scales: columns(
                    factors.isEmpty
                        ? zeros : factors.map { Int(Int32(bitPattern: $0.bitPattern)) }, shape), zero: zero,
                y: y))
        return y
    }
}
