// Convolution and matrix products with constant weights: kernels/convolution.cl, which states the order of the terms.

import CLRuntime
import CMicrokernels

/// One dimension that a window slides over. Input coordinate of output o and tap k: o stride − pad + k dilation.
package struct Axis: Sendable, Hashable {
    package var input: Int, output: Int, kernel: Int
    package var stride = 1
    /// In front.
    package var pad = 0
    package var dilation = 1

    package init(input: Int, output: Int, kernel: Int, stride: Int = 1, pad: Int = 0, dilation: Int = 1) {
        (self.input, self.output, self.kernel) = (input, output, kernel)
        (self.stride, self.pad, self.dilation) = (stride, pad, dilation)
    }
}

extension [Axis] {
    /// Depth, height and width: those that are not there have one place.
    var three: (d: Axis, h: Axis, w: Axis) {
        let all = Array(repeating: Axis(input: 1, output: 1, kernel: 1), count: 3 - count) + self
        return (all[0], all[1], all[2])
    }
    var taps: Int { reduce(1) { $0 * $1.kernel } }
}

/// The extents of a convolution, without the data.
package struct ConvolutionShape: Sendable, Hashable {
    package var images: Int, inputChannels: Int, outputChannels: Int, groups: Int
    /// One, two or three, the outermost first.
    package var axes: [Axis]

    package init(images: Int, inputChannels: Int, outputChannels: Int, groups: Int = 1, axes: [Axis]) {
        (self.images, self.inputChannels, self.outputChannels) = (images, inputChannels, outputChannels)
        (self.groups, self.axes) = (groups, axes)
    }

    /// - Parameters:
    ///   - input, output: [N, C, …].
    ///   - kernel, strides, pads, dilations: of each axis; pads in front.
    package init(
        input: Shape, output: Shape, kernel: [Int], strides: [Int], pads: [Int], dilations: [Int], groups: Int
    ) {
        self.init(
            images: input.dims[0], inputChannels: input.dims[1], outputChannels: output.dims[1],
            groups: groups,
            axes: kernel.indices.map {
                Axis(
                    input: input.dims[2 + $0], output: output.dims[2 + $0], kernel: kernel[$0],
                    stride: strides[$0], pad: pads[$0], dilation: dilations[$0])
            })
    }

    /// [N, C, …].
    package var input: Shape { Shape([images, inputChannels] + axes.map(\.input)) }
    package var output: Shape { Shape([images, outputChannels] + axes.map(\.output)) }
    package var terms: Int { axes.taps * inputChannels / groups }
    /// One filter for each channel: there is no sum over channels.
    package var isDepthwise: Bool { groups > 1 && groups == inputChannels && groups == outputChannels }
    /// Narrow groups, several to a panel: kernels/depthwise.cl.
    package var isGrouped: Bool {
        groups > 1 && inputChannels == outputChannels && outputChannels % Int(WB_PANEL) == 0
            && [4, 8, 16].contains(inputChannels / groups)
    }

    /// The convolution that takes the cotangent of this one's output to the cotangent of its input: kernels flipped, roles of
    /// the channels exchanged. For strides of 1; others are made of those (Phases.swift).
    package var transposed: ConvolutionShape {
        ConvolutionShape(
            images: images, inputChannels: outputChannels, outputChannels: inputChannels, groups: groups,
            axes: axes.map {
                precondition($0.stride == 1)
                return Axis(
                    input: $0.output, output: $0.input, kernel: $0.kernel,
                    pad: $0.dilation * ($0.kernel - 1) - $0.pad, dilation: $0.dilation)
            })
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
    /// Of chunks that are added up afterwards.
    let sums: Value

    /// Each kernel has its own order of weights.
    enum Kind: String {
        case convolution, depthwise, grouped
    }
    var kind: Kind { shape.isDepthwise ? .depthwise : shape.isGrouped ? .grouped : .convolution }

    package var kernel: String { kind.rawValue }
    package var reads: [Value] { [x, weights, zeros] + [bias, residual].compactMap { $0 } }
    package var writes: [Value] { [y] }
    /// Those of narrow groups compute some elements twice.
    package var overwrites: Value? { kind == .convolution ? residual : nil }
    package var operations: Int { 2 * shape.output.count * shape.terms }
    package var weight: Double { kind == .convolution ? 1 : 4 }
    package var readsViews: Bool { true }

    private var rows: Int { shape.output.count / shape.outputChannels }
    private var groupColumns: Int { shape.outputChannels / shape.groups }
    private var panels: Int { shape.groups * ((groupColumns + Int(WB_PANEL) - 1) / Int(WB_PANEL)) }

    var raw: wb_conv {
        func int(_ i: Int) -> Int32 { Int32(i) }
        let (d, h, w) = shape.axes.three
        let (c, oc) = (shape.inputChannels, shape.outputChannels)
        return wb_conv(
            n: int(shape.images), d: int(d.input), h: int(h.input), w: int(w.input), c: int(c),
            od: int(d.output), oh: int(h.output), ow: int(w.output), oc: int(oc),
            groups: int(shape.groups), inner: int(shape.groups), x_pixel: int(c),
            x_group: int(c / shape.groups), y_pixel: int(oc), y_group: int(oc / shape.groups),
            x0: 0, x_outer: 0, y_outer: 0,
            kd: int(d.kernel), kh: int(h.kernel), kw: int(w.kernel),
            stride_d: int(d.stride), stride_h: int(h.stride), stride_w: int(w.stride),
            pad_d: int(d.pad), pad_h: int(h.pad), pad_w: int(w.pad),
            dilation_d: int(d.dilation), dilation_h: int(h.dilation), dilation_w: int(w.dilation),
            bias: bias == nil ? 0 : 1, residual: residual == nil ? 0 : 1,
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
        // Many rows are cut by rows, so that each thread reads its own; few rows by panels, so that each thread reads its own
        // weights.
        let tile = Int(cpu.functions.tile_rows)
        if kind != .convolution {
            cpu.split(rows, minimum: 16) { begin, end, scratch in
                compute(rows: begin..<end, raw, operands, cpu, scratch)
            }
        } else if rows >= 8 * tile * cpu.threads || panels < cpu.threads {
            // Of few tiles, each thread has exactly its share, even if that cuts one.
            cpu.split(rows, grain: rows >= 64 * tile * cpu.threads ? tile : 1, whole: 16 * tile) {
                begin, end, scratch in
                compute(rows: begin..<end, raw, operands, cpu, scratch)
            }
        } else {
            // Where the panels are not the same for all, each is cut into as many parts as there are threads.
            let parts = panels % cpu.threads == 0 ? 1 : min(cpu.threads, rows)
            cpu.split(panels * parts) { begin, end, scratch in
                if parts == 1 {
                    return compute(rows: 0..<rows, panels: begin..<end, raw, operands, cpu, scratch)
                }
                for unit in begin..<end {
                    let (panel, part) = (unit / parts, unit % parts)
                    compute(
                        rows: rows * part / parts..<rows * (part + 1) / parts, panels: panel..<panel + 1, raw,
                        operands, cpu, scratch)
                }
            }
        }
    }

    /// Computes output pixels, counted over the images, for some panels of output channels or all.
    func compute(
        rows: Range<Int>, panels: Range<Int>? = nil, _ raw: wb_conv, _ operands: wb_conv_operands,
        _ cpu: CPUFrame,
        _ scratch: UnsafeMutablePointer<wb_scratch>
    ) {
        let (begin, end) = (Int64(rows.lowerBound), Int64(rows.upperBound))
        withUnsafePointer(to: raw) { raw in
            withUnsafePointer(to: operands) { operands in
                switch kind {
                case .depthwise: cpu.functions.depthwise(raw, operands, begin, end)
                case .grouped: cpu.functions.grouped(raw, operands, begin, end)
                case .convolution:
                    let panels = panels ?? 0..<self.panels
                    cpu.functions.convolution(
                        raw, operands, scratch, begin, end, Int32(panels.lowerBound), Int32(panels.upperBound)
                    )
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
        if kind == .convolution { return try Convolution.launches(frame, raw, arguments, sums: sums) }
        return [try launchNarrow(frame, arguments + [.structure(raw)])]
    }

    package var workspaces: [Value] { [sums] }
    package func room(on device: Device) -> [Int] {
        guard case .openCL(let device) = device, kind == .convolution else { return [0] }
        return [Convolution.sums(device, raw)]
    }

    /// A convolution that is not depthwise, with `buffers` x, weights, bias, residual, zeros, y.
    static func launches(_ frame: OpenCLFrame, _ raw: wb_conv, _ buffers: [CLArgument], sums: Value) throws
        -> [OpenCLLaunch]
    {
        let product = ProductExtents(raw)
        guard let (tile, splits) = product.cut(frame.device) else {
            let panels = product.groups * ((product.columns + Int(WB_PANEL) - 1) / Int(WB_PANEL))
            let tile = product.tileRows(on: frame.device.device)
            return [
                try frame.launch(
                    "convolution", in: "convolution",
                    options:
                        "-DWB_CPU_SHAPE=1 -DWB_TILE_ROWS=\(tile)\(frame.device.prefetches ? " -DWB_PREFETCH=1" : "")"
                        + raw.axes,
                    buffers + [.structure(raw)],
                    global: CLSize((product.rows + tile - 1) / tile, panels), local: [1, 1])
            ]
        }
        func launch(to y: CLArgument, chunks: Int) throws -> OpenCLLaunch {
            try frame.launch(
                "convolution", in: "convolution",
                options: frame.device.options(tile, split: splits) + raw.axes,
                buffers.dropLast() + [y, .structure(raw)],
                global: CLSize(
                    product.groups * tile.across(product.columns) * tile.items, tile.down(product.rows),
                    chunks),
                local: CLSize(tile.items, 1, 1))
        }
        if !splits { return [try launch(to: buffers[5], chunks: 1)] }
        return [
            try launch(to: frame.buffer(sums), chunks: product.chunks),
            try frame.launch(
                "join_chunks", in: "convolution",
                [frame.buffer(sums), buffers[2], buffers[3], buffers[5], .structure(raw)],
                count: product.groups * product.rows * product.columns),
        ]
    }

    /// The sums, in floats, that those launches need room for.
    static func sums(_ device: OpenCL, _ raw: wb_conv) -> Int {
        let product = ProductExtents(raw)
        return product.cut(device)?.splits == true ? product.sums : 0
    }

    /// A convolution as so many products of matrices, `rows` by `columns`, of terms in so many chunks.
    private struct ProductExtents {
        let groups: Int, rows: Int, columns: Int, chunks: Int

        init(_ raw: wb_conv) {
            groups = Int(raw.groups)
            rows = raw.rows
            columns = Int(raw.oc) / groups
            let terms = Int(raw.kd) * Int(raw.kh) * Int(raw.kw) * Int(raw.c) / groups
            chunks = (terms + Int(WB_CHUNK) - 1) / Int(WB_CHUNK)
        }

        /// Rows of the CPU shape's tiles. With 32 registers of 16 floats: 8, or 7 where tiles of 8 would leave much of the last one empty,
        /// as for the 49 pixels of small maps. With less, the sums of 4 rows are what does not go through memory all the time.
        func tileRows(on device: CLDevice) -> Int {
            guard device.nativeVectorWidthFloat >= 16 else { return 4 }
            return (rows + 6) / 7 * 7 * 20 < (rows + 7) / 8 * 8 * 19 ? 7 : 8
        }

        /// The sums of all chunks.
        var sums: Int { chunks * groups * rows * columns }

        /// How the GPU shape divides the work; nil where the CPU shape does it.
        func cut(_ device: OpenCL) -> (tile: OpenCLTile, splits: Bool)? {
            guard device.shape == .gpu else { return nil }
            return device.cut(rows: rows, columns: columns, groups: groups, chunks: chunks)
        }
    }

    private func launchNarrow(_ frame: OpenCLFrame, _ arguments: [CLArgument]) throws -> OpenCLLaunch {
        let (raw, mostRows) = (raw, 8)
        let width = (kind == .grouped ? "-DWB_WIDTH=\(groupColumns)" : "") + raw.axes
        switch frame.device.shape {
        case .cpu:
            if kind == .depthwise, [3, 5].contains(raw.kw), raw.stride_w <= 2, raw.dilation_w == 1,
                raw.c >= 16, raw.kd * raw.kh <= mostRows
            {
                // Many lines are enough for the threads; of few, each tile is a work-item.
                let lines = raw.rows / Int(raw.ow)
                let parts = lines >= 28 ? 1 : (Int(raw.ow) + 7) / 8
                let line =
                    "-DWB_LINE=\(raw.kw) -DWB_STRIDE=\(raw.stride_w) -DWB_MOST_ROWS=\(mostRows)" + raw.axes
                return try frame.launch(
                    self.kernel, in: "depthwise", options: "-DWB_CPU_SHAPE=1 " + line, arguments,
                    global: CLSize(parts, lines), local: [1, 1])
            }
            return try frame.launch(
                self.kernel, in: "depthwise", options: "-DWB_CPU_SHAPE=1 " + width, arguments,
                global: CLSize((rows + 7) / 8), local: 1)
        case .gpu:
            return try frame.launch(
                kernel, in: "depthwise", options: width, arguments, count: rows * shape.outputChannels)
        }
    }
}

extension wb_conv {
    /// Output pixels of all images.
    var rows: Int { Int(n) * Int(od) * Int(oh) * Int(ow) }
    /// The option that a program for windows of three axes is built with. (A gradient's phase may have a single place, and that on padding.)
    var axes: String { d == 1 && od == 1 && kd == 1 && pad_d == 0 ? "" : " -DWB_AXES=3" }
}

extension Tape {
    /// A convolution of `x` by packed weights.
    package mutating func convolution(
        _ x: Value, _ shape: ConvolutionShape, _ weights: PackedWeights, _ epilogue: Epilogue = Epilogue()
    ) -> Value {
        precondition(self.shape(x) == shape.input)
        if isSketch { return value(shape.output) }
        let x = channelsLast(x)
        var epilogue = epilogue
        epilogue.residual = epilogue.residual.map { channelsLast($0) }
        let y = channelsLastValue(shape.output)
        if let tile = shape.winogradTile {
            winograd(x, shape, tile: tile, weights, epilogue, y)
            return y
        }
        let bias = epilogue.bias.map { self.weights(PackedWeights.bias($0, for: shape)) }
        add(
            Convolution(
                shape: shape, x: x, weights: self.weights(weights),
                bias: bias, residual: epilogue.residual,
                zeros: zeros(max(64, (shape.axes.last?.kernel ?? 1) * shape.inputChannels)), y: y,
                clip: epilogue.clip,
                sums: workspace()))
        return y
    }
}
