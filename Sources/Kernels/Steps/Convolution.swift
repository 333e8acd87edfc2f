// Convolution and matrix products with constant weights: kernels/convolution.cl, which states the order of the terms.

import CLRuntime
import CMicrokernels
import Dispatch

/// The extents of a convolution, without the data.
package struct ConvolutionShape: Sendable, Hashable {
    /// Input and output as [N, C, H, W].
    package var input: Shape, output: Shape
    package var kernel: [Int], strides: [Int], pads: [Int]  // height, width; pads: top, left
    package var dilations: [Int], groups: Int
    /// Input pixels lie this far apart: 1, but for the gradient of a strided convolution.
    package var up = [1, 1]

    package var inputChannels: Int { input.dims[1] }
    package var outputChannels: Int { output.dims[1] }
    package var terms: Int { kernel[0] * kernel[1] * inputChannels / groups }
    /// One filter for each channel: there is no sum over channels.
    package var isDepthwise: Bool { groups > 1 && groups == inputChannels && groups == outputChannels }

    /// The convolution that takes the cotangent of this one's output to the cotangent of its input: kernels flipped, roles of
    /// the channels exchanged, strides turned into gaps between the pixels that are read.
    package var transposed: ConvolutionShape {
        var t = self
        (t.input, t.output) = (output, input)
        t.strides = [1, 1]
        t.pads = (0..<2).map { dilations[$0] * (kernel[$0] - 1) - pads[$0] }
        t.up = strides
        return t
    }
}

/// Weights in the order in which the kernels read them.
package struct PackedWeights: Sendable {
    let block: Block

    private init(block: Block) { self.block = block }

    /// - Parameters:
    ///   - weights: row-major [output channels, input channels / groups, kernel height, kernel width], as in ONNX.
    ///   - scale: a factor for each output channel.
    package init(_ weights: [Float], for shape: ConvolutionShape, scale: [Double]? = nil) {
        let (taps, channels) = (shape.kernel[0] * shape.kernel[1], shape.inputChannels / shape.groups)
        if shape.isWinograd {
            let scaled = PackedWeights.scaled(weights, by: scale)
            self.init(
                block: scaled.withUnsafeBufferPointer {
                    PackedWeights.winograd(
                        shape, $0.baseAddress!, byOutput: taps * channels, byChannel: taps, byTap: 1)
                })
            return
        }
        self.init(shape) { output, tap, channel in
            let w = weights[(output * channels + channel) * taps + tap]
            return scale.map { Float(Double(w) * $0[output]) } ?? w
        }
    }

    /// For the gradient of `forward`, whose weights these are.
    package init(transposing weights: [Float], of forward: ConvolutionShape, scale: [Double]? = nil) {
        let taps = forward.kernel[0] * forward.kernel[1]
        let channels = forward.inputChannels / forward.groups
        let outputs = forward.outputChannels / forward.groups
        if forward.transposed.isWinograd {
            let scaled = PackedWeights.scaled(weights, by: scale)
            self.init(
                block: scaled.withUnsafeBufferPointer {
                    PackedWeights.winograd(
                        forward.transposed, $0.baseAddress! + taps - 1, byOutput: taps,
                        byChannel: taps * channels, byTap: -1)
                })
            return
        }
        self.init(forward.transposed) { input, tap, channel in
            // Here outputs are the forward's inputs: channel `channel` of the same group as `input`.
            let output = input / channels * outputs + channel
            let w = weights[(output * channels + input % channels) * taps + taps - 1 - tap]
            return scale.map { Float(Double(w) * $0[output]) } ?? w
        }
    }

    /// Row-major weights with the first dimension's factors multiplied in.
    private static func scaled(_ weights: [Float], by scale: [Double]?) -> [Float] {
        guard let scale else { return weights }
        let size = weights.count / scale.count
        var scaled = weights
        for (output, factor) in scale.enumerated() {
            for i in output * size..<(output + 1) * size { scaled[i] = Float(Double(weights[i]) * factor) }
        }
        return scaled
    }

    private init(_ shape: ConvolutionShape, weight: (_ output: Int, _ tap: Int, _ channel: Int) -> Float) {
        let taps = shape.kernel[0] * shape.kernel[1]
        if shape.isDepthwise {
            let channels = shape.outputChannels
            block = Block(count: taps * channels) { to in
                for tap in 0..<taps { for c in 0..<channels { to[tap * channels + c] = weight(c, tap, 0) } }
            }
            return
        }
        let channels = shape.inputChannels / shape.groups
        let columns = shape.outputChannels / shape.groups
        let panel = Int(WB_PANEL)
        let panels = (columns + panel - 1) / panel
        block = Block(count: shape.groups * panels * taps * channels * panel) { to in
            // Each iteration writes a panel of its own, and `weight` only reads.
            nonisolated(unsafe) let (to, weight) = (to, weight)
            DispatchQueue.concurrentPerform(iterations: shape.groups * panels) { index in
                let (group, first) = (index / panels, index % panels * panel)
                let start = to + index * taps * channels * panel
                for column in first..<min(first + panel, columns) {
                    let at = start + (column - first)
                    for channel in 0..<channels {
                        for tap in 0..<taps {
                            at[(tap * channels + channel) * panel] = weight(
                                group * columns + column, tap, channel)
                        }
                    }
                }
            }
        }
    }

    /// One number for each output channel, padded like the weights.
    package static func bias(_ bias: [Float], for shape: ConvolutionShape) -> Block {
        if shape.isDepthwise { return Block(bias) }
        let columns = shape.outputChannels / shape.groups
        let panel = Int(WB_PANEL)
        let panels = (columns + panel - 1) / panel
        return Block(count: shape.groups * panels * panel) { to in
            for i in bias.indices { to[i / columns * panels * panel + i % columns] = bias[i] }
        }
    }
}

/// What a convolution does with its sums before it stores them.
package struct Epilogue: Sendable {
    /// Row-major, one number per output channel.
    package var bias: [Float]?
    /// A tensor of the output's shape that is added.
    package var residual: Value?
    /// Bounds that the result is clipped to.
    package var clip: Bounds?

    package init(bias: [Float]? = nil, residual: Value? = nil, clip: Bounds? = nil) {
        (self.bias, self.residual, self.clip) = (bias, residual, clip)
    }
}

/// What a number is clipped to.
package struct Bounds: Sendable, Hashable {
    package var low: Float, high: Float
    package init(_ low: Float, _ high: Float) { (self.low, self.high) = (low, high) }
    package static let relu = Bounds(0, .infinity)
}

package struct Convolution: Step {
    let shape: ConvolutionShape
    let x: Value, weights: Value, bias: Value?, residual: Value?, zeros: Value, y: Value
    let clip: Bounds?

    package var kernel: String { shape.isDepthwise ? "depthwise" : "convolution" }
    package var reads: [Value] { [x, weights, zeros] + [bias, residual].compactMap { $0 } }
    package var writes: [Value] { [y] }
    package var operations: Int { 2 * shape.output.count * shape.terms }

    private var rows: Int { shape.output.dims[0] * shape.output.dims[2] * shape.output.dims[3] }
    private var groupColumns: Int { shape.outputChannels / shape.groups }
    private var panels: Int { shape.groups * ((groupColumns + Int(WB_PANEL) - 1) / Int(WB_PANEL)) }

    private var raw: wb_conv {
        func int(_ i: Int) -> Int32 { Int32(i) }
        let (i, o) = (shape.input.dims, shape.output.dims)
        return wb_conv(
            n: int(i[0]), h: int(i[2]), w: int(i[3]), c: int(i[1]), oh: int(o[2]), ow: int(o[3]),
            oc: int(o[1]),
            groups: int(shape.groups), x_pixel: int(i[1]), x_group: int(i[1] / shape.groups),
            y_pixel: int(o[1]), y_group: int(o[1] / shape.groups), kh: int(shape.kernel[0]),
            kw: int(shape.kernel[1]),
            stride_h: int(shape.strides[0]),
            stride_w: int(shape.strides[1]), pad_h: int(shape.pads[0]), pad_w: int(shape.pads[1]),
            dilation_h: int(shape.dilations[0]), dilation_w: int(shape.dilations[1]), up_h: int(shape.up[0]),
            up_w: int(shape.up[1]), bias: bias == nil ? 0 : 1, residual: residual == nil ? 0 : 1,
            clip: clip == nil ? 0 : 1,
            lo: clip?.low ?? 0, hi: clip?.high ?? 0)
    }

    package func run(_ cpu: CPUFrame) {
        let raw = raw
        let operands = wb_conv_operands(
            x: cpu.pointer(x), weights: cpu.pointer(weights),
            bias: bias.map { UnsafePointer(cpu.pointer($0)) },
            residual: residual.map { UnsafePointer(cpu.pointer($0)) }, zeros: cpu.pointer(zeros),
            y: cpu.pointer(y))
        withUnsafePointer(to: raw) { raw in
            withUnsafePointer(to: operands) { operands in
                if shape.isDepthwise {
                    cpu.split(rows, minimum: 16) { begin, end, _ in
                        cpu.functions.depthwise(raw, operands, Int64(begin), Int64(end))
                    }
                    return
                }
                // Many rows are cut by rows, so that each thread reads its own; few rows by panels, so that each thread
                // reads its own weights.
                let tile = Int(cpu.functions.tile_rows)
                if rows >= 8 * tile * cpu.threads || panels < cpu.threads {
                    cpu.split(rows, grain: tile) { begin, end, scratch in
                        cpu.functions.convolution(
                            raw, operands, scratch, Int64(begin), Int64(end), 0, Int32(panels))
                    }
                } else {
                    cpu.split(panels) { begin, end, scratch in
                        cpu.functions.convolution(
                            raw, operands, scratch, 0, Int64(rows), Int32(begin), Int32(end))
                    }
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let px = frame.buffer(x)
        let arguments = [
            px, frame.buffer(weights), bias.map(frame.buffer) ?? px, residual.map(frame.buffer) ?? px,
            frame.buffer(zeros), frame.buffer(y),
        ]
        if !shape.isDepthwise { return try Convolution.launches(frame, raw, arguments) }
        switch frame.device.shape {
        case .cpu:
            return [
                try frame.launch(
                    kernel, in: "convolution", options: "-DWB_CPU_SHAPE=1", arguments + [.structure(raw)],
                    global: CLSize(rows), local: 1)
            ]
        case .gpu:
            return [
                try frame.launch(
                    kernel, in: "convolution",
                    arguments + [.structure(raw)], count: rows * shape.outputChannels)
            ]
        }
    }

    package func workspace(_ device: OpenCL) -> Int {
        shape.isDepthwise ? 0 : Convolution.workspace(device, raw)
    }

    /// A convolution that is not depthwise, with `buffers` x, weights, bias, residual, zeros, y.
    static func launches(_ frame: OpenCLFrame, _ raw: wb_conv, _ buffers: [CLArgument]) throws
        -> [OpenCLLaunch]
    {
        let product = Product(raw)
        guard frame.device.shape == .gpu else {
            let panels = product.groups * ((product.columns + Int(WB_PANEL) - 1) / Int(WB_PANEL))
            return [
                try frame.launch(
                    "convolution", in: "convolution", options: "-DWB_CPU_SHAPE=1",
                    buffers + [.structure(raw)],
                    global: CLSize((product.rows + 7) / 8, panels), local: [1, 1])
            ]
        }
        let (tile, splits) = product.cut(frame.device)
        // The whole kernel unrolled would take a CPU's compiler long.
        let rolled = frame.device.device.kind == .cpu ? " -DWB_ROLLED=1" : ""
        func launch(_ options: String, to y: CLArgument, chunks: Int) throws -> OpenCLLaunch {
            try frame.launch(
                "convolution", in: "convolution", options: tile.options + rolled + options,
                buffers.dropLast() + [y, .structure(raw)],
                global: CLSize(
                    product.groups * tile.across(product.columns) * tile.items, tile.down(product.rows),
                    chunks),
                local: CLSize(tile.items, 1, 1))
        }
        if !splits { return [try launch("", to: buffers[5], chunks: 1)] }
        return [
            try launch(" -DWB_SPLIT=1", to: frame.workspace, chunks: product.chunks),
            try frame.launch(
                "join_chunks", in: "convolution",
                [frame.workspace, buffers[2], buffers[3], buffers[5], .structure(raw)],
                count: product.groups * product.rows * product.columns),
        ]
    }

    /// What those launches need.
    static func workspace(_ device: OpenCL, _ raw: wb_conv) -> Int {
        let product = Product(raw)
        let outputs = product.groups * product.rows * product.columns
        return product.cut(device).splits ? product.chunks * outputs : 0
    }

    /// A convolution as so many products of matrices, `rows` by `columns`, of terms in so many chunks.
    private struct Product {
        let groups: Int, rows: Int, columns: Int, chunks: Int

        init(_ raw: wb_conv) {
            groups = Int(raw.groups)
            rows = Int(raw.n) * Int(raw.oh) * Int(raw.ow)
            columns = Int(raw.oc) / groups
            chunks = (Int(raw.kh) * Int(raw.kw) * Int(raw.c) / groups + Int(WB_CHUNK) - 1) / Int(WB_CHUNK)
        }

        /// How the GPU shape divides the work.
        func cut(_ device: OpenCL) -> (tile: OpenCLTile, splits: Bool) {
            let tile = device.tile(rows: rows, columns: columns, groups: groups)
            let tiles = groups * tile.across(columns) * tile.down(rows)
            return (tile, device.splits(chunks: chunks, tiles: tiles))
        }
    }
}

extension OpenCLTile {
    fileprivate var options: String { "-DWB_ROWS=\(rows) -DWB_COLUMNS=\(columns)" }
}

extension Tape {
    /// A convolution of `x` by packed weights.
    package mutating func convolution(
        _ x: Value, _ shape: ConvolutionShape, _ weights: @autoclosure () throws -> PackedWeights,
        _ epilogue: Epilogue = Epilogue()
    ) rethrows -> Value {
        precondition(self.shape(x) == shape.input)
        let y = value(shape.output)
        if isSketch { return y }
        if shape.isWinograd {
            try winograd(x, shape, weights(), epilogue, y)
            return y
        }
        let weights = try weights()
        let bias = epilogue.bias.map { PackedWeights.bias($0, for: shape) }
        add(
            Convolution(
                shape: shape, x: x, weights: constant([weights.block.count], weights.block),
                bias: bias.map { constant([$0.count], $0) }, residual: epilogue.residual,
                zeros: zeros(max(64, shape.kernel[1] * shape.inputChannels)), y: y, clip: epilogue.clip))
        return y
    }
}
