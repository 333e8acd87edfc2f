// 3×3 convolutions by Winograd's minimal filtering: kernels/winograd.clh.

import CLRuntime
import CMicrokernels

extension ConvolutionShape {
    /// The side m of the tiles of outputs by which a convolution goes by Winograd's F(m×m, 3×3), or nil if it goes directly. Part
    /// of the plan: it depends on the layer alone, never on the batch or the device.
    ///
    /// With m = 4 each output costs 36/16 products instead of 9, and weights take four times the memory. So maps must have some
    /// tiles to share the weights among; small ones have m = 2, with 16/4 products and 16/9 of the memory, and the smallest
    /// go directly. Channels must be many enough to outweigh the transformations. Pads of more than 1 make outputs that see
    /// next to nothing of the tile whose rounding errors they get.
    package var winogradTile: Int? {
        guard axes.count == 2, groups == 1,
            axes.allSatisfy({
                $0.kernel == 3 && $0.stride == 1 && $0.dilation == 1 && $0.pad <= 1
                    && $0.output + 2 - $0.input - $0.pad <= 1
            })
        else { return nil }
        guard [inputChannels, outputChannels].allSatisfy({ $0 >= 32 && $0 % 16 == 0 }) else { return nil }
        let side = min(axes[0].output, axes[1].output)
        return side > 8 ? 4 : side >= 4 ? 2 : nil
    }
}

/// How the outputs of a convolution are cut into tiles.
private struct Tiling {
    /// The side of a tile, and the values of a transformed one, each of which has weights of its own.
    let side: Int, positions: Int
    /// Rows and columns of tiles in an image.
    let height: Int, width: Int
    /// Tiles of the whole batch.
    let count: Int
    let panels: Int
    /// Floats of the workspace that a tile takes: transformed, and as products.
    let room: (tile: Int, product: Int)

    init(_ shape: ConvolutionShape, side: Int) {
        self.side = side
        positions = Winograd.positions(side: side)
        height = (shape.axes[0].output + side - 1) / side
        width = (shape.axes[1].output + side - 1) / side
        count = shape.images * height * width
        panels = (shape.outputChannels + Int(WB_PANEL) - 1) / Int(WB_PANEL)
        room = (positions * shape.inputChannels, positions * panels * Int(WB_PANEL))
    }

    /// As many tiles as a workspace of so many bytes holds, and at least 64.
    func capacity(bytes: Int) -> Int { min(count, max(64, bytes / 4 / (room.tile + room.product))) }

    /// The tiles that a CPU's thread takes through all three parts: as many as leave room for weights in its second-level cache,
    /// and a multiple of the product's rows.
    var block: Int { min(64, max(16, 512 * 1024 / 4 / (room.tile + room.product) / 8 * 8)) }

    /// Whether each thread takes tiles of its own; of few, all threads share the tiles, and need a workspace for them.
    func isPrivate(_ threads: Int) -> Bool { threads == 1 || count >= 2 * block * threads }

    /// The tiles that a workspace on the device holds at a time: a matter of memory alone.
    func capacity(on device: Device) -> Int {
        switch device {
        case .cpu(let cpu): isPrivate(cpu.threads) ? 0 : capacity(bytes: Tiling.most)
        // A CPU's should stay in its caches.
        case .openCL(let device):
            capacity(bytes: min(device.shape == .cpu ? 8 << 20 : Tiling.most, device.device.maxAllocation))
        }
    }

    static let most = 64 << 20
}

/// A convolution in three parts: tiles of the input are transformed, multiplied position by position, and transformed back.
package struct Winograd: Step {
    let shape: ConvolutionShape
    private let tiling: Tiling
    let x: Value, weights: Value, bias: Value?, residual: Value?, zeros: Value, y: Value
    /// Transformed tiles and their products, for as many tiles as fit, and what the product itself needs.
    let tiles: Value, products: Value, sums: Value
    let clip: Bounds?

    /// Of its tiles of outputs.
    package var side: Int { tiling.side }

    package var kernel: String { "winograd" }
    package var reads: [Value] { [x, weights, zeros] + [bias, residual].compactMap { $0 } }
    package var writes: [Value] { [y] }
    package var workspaces: [Value] { [tiles, products, sums] }
    package var overwrites: Value? { residual }
    /// Those of the convolution as it is defined, so that speeds compare.
    package var operations: Int { 2 * shape.output.count * shape.terms }
    package var weight: Double { 1 }

    /// Values of a transformed tile.
    static func positions(side: Int) -> Int { (side + 2) * (side + 2) }

    init(
        _ shape: ConvolutionShape, tile: Int, x: Value, weights: Value, bias: Value?, residual: Value?,
        clip: Bounds?,
        y: Value, on tape: inout Tape
    ) {
        (self.shape, self.x, self.weights, self.bias, self.residual) = (shape, x, weights, bias, residual)
        (self.clip, self.y) = (clip, y)
        zeros = tape.zeros(shape.inputChannels)
        tiling = Tiling(shape, side: tile)
        (tiles, products, sums) = (tape.workspace(), tape.workspace(), tape.workspace())
    }

    /// The arguments for tiles [first, first + rows), which are in the workspace.
    private func raw(first: Int, rows: Int) -> wb_winograd {
        let (i, o) = (shape.input.dims.map(Int32.init), shape.output.dims.map(Int32.init))
        return wb_winograd(
            tile: Int32(tiling.side), n: i[0], h: i[2], w: i[3], c: i[1], oh: o[2], ow: o[3], oc: o[1],
            pad_h: Int32(shape.axes[0].pad), pad_w: Int32(shape.axes[1].pad), tiles_h: Int32(tiling.height),
            tiles_w: Int32(tiling.width),
            first: Int32(first), rows: Int32(rows), m_pixel: Int32(tiling.panels) * WB_PANEL,
            bias: bias == nil ? 0 : 1, residual: residual == nil ? 0 : 1, clip: clip == nil ? 0 : 1,
            lo: clip?.low ?? 0, hi: clip?.high ?? 0)
    }

    package func run(_ cpu: CPUFrame) {
        let (x, weights, zeros, y) = (
            cpu.pointer(x), cpu.pointer(weights), cpu.pointer(zeros), cpu.pointer(y)
        )
        let (bias, residual) = (
            bias.map { UnsafePointer(cpu.pointer($0)) }, residual.map { UnsafePointer(cpu.pointer($0)) }
        )
        let functions = cpu.functions
        let channels = shape.outputChannels
        let (positions, panels, room) = (tiling.positions, tiling.panels, tiling.room)
        let count = tiling.count

        if tiling.isPrivate(cpu.threads) {
            let block = tiling.block
            cpu.split(count, grain: block) { begin, end, scratch in
                let floats = block * (room.tile + room.product)
                let v = wb_scratch_get(scratch, floats * 4)!.bindMemory(to: Float.self, capacity: floats)
                let m = v + block * room.tile
                for first in stride(from: begin, to: end, by: block) {
                    let rows = min(block, end - first)
                    withUnsafePointer(to: raw(first: first, rows: rows)) { raw in
                        let rows = Int32(rows)
                        functions.winograd_input(raw, x, zeros, v, 0, rows)
                        functions.winograd_product(
                            raw, v, weights, m, 0, Int32(positions), 0, rows, 0, Int32(panels))
                        functions.winograd_output(raw, m, bias, residual, y, 0, rows, 0, Int32(channels))
                    }
                }
            }
            return
        }
        // Threads share the tiles and divide the weights, so that each is read once.
        let (v, m) = (cpu.pointer(tiles), cpu.pointer(products))
        let capacity = tiling.capacity(bytes: Tiling.most)
        for first in stride(from: 0, to: count, by: capacity) {
            let rows = min(capacity, count - first)
            withUnsafePointer(to: raw(first: first, rows: rows)) { raw in
                cpu.split(rows) { begin, end, _ in
                    functions.winograd_input(raw, x, zeros, v, Int32(begin), Int32(end))
                }
                cpu.split(positions) { begin, end, _ in
                    functions.winograd_product(
                        raw, v, weights, m, Int32(begin), Int32(end), 0, Int32(rows), 0, Int32(panels))
                }
                cpu.split(rows) { begin, end, _ in
                    functions.winograd_output(
                        raw, m, bias, residual, y, Int32(begin), Int32(end), 0, Int32(channels))
                }
            }
        }
    }

    /// The ranges of tiles that go through the three parts one after the other.
    private func parts(_ device: OpenCL) -> [(first: Int, rows: Int)] {
        let (step, count) = (tiling.capacity(on: .openCL(device)), tiling.count)
        return stride(from: 0, to: count, by: step).map { ($0, min(step, count - $0)) }
    }

    /// The product of each position is a group of a convolution of one row of pixels.
    private func product(_ raw: wb_winograd) -> wb_conv {
        let positions = Int32(tiling.positions)
        return wb_conv(
            n: 1, d: 1, h: 1, w: raw.rows, c: positions * raw.c, od: 1, oh: 1, ow: raw.rows,
            oc: positions * raw.oc, groups: positions, inner: positions,
            x_pixel: raw.c, x_group: raw.rows * raw.c, y_pixel: raw.m_pixel,
            y_group: raw.rows * raw.m_pixel, x0: 0, x_outer: 0, y_outer: 0, kd: 1, kh: 1, kw: 1, stride_d: 1,
            stride_h: 1, stride_w: 1,
            pad_d: 0, pad_h: 0, pad_w: 0, dilation_d: 1, dilation_h: 1, dilation_w: 1, bias: 0, residual: 0,
            clip: 0, lo: 0, hi: 0)
    }

    package func room(on device: Device) -> [Int] {
        let capacity = tiling.capacity(on: device)
        var sums = 0
        if case .openCL(let device) = device {
            sums = parts(device).map {
                Convolution.sums(device, product(raw(first: $0.first, rows: $0.rows)))
            }
            .max()!
        }
        return [capacity * tiling.room.tile, capacity * tiling.room.product, sums]
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let (px, pv, pm) = (frame.buffer(x), frame.buffer(tiles), frame.buffer(products))
        let outputs = [pm, bias.map(frame.buffer) ?? px, residual.map(frame.buffer) ?? px, frame.buffer(y)]
        return try parts(frame.device).flatMap { first, rows -> [OpenCLLaunch] in
            let raw = raw(first: first, rows: rows)
            var launches = [
                try launch(
                    frame, "winograd_input", [px, pv, .structure(raw)], channels: shape.inputChannels, rows)
            ]
            launches += try Convolution.launches(
                frame, product(raw), [pv, frame.buffer(weights), pv, pv, frame.buffer(zeros), pm],
                sums: sums)
            launches.append(
                try launch(
                    frame, "winograd_output", outputs + [.structure(raw)], channels: shape.outputChannels,
                    rows))
            return launches
        }
    }

    /// A transformation of `rows` tiles: a work-item takes a tile (CPU shape), or a channel of a tile.
    private func launch(
        _ frame: OpenCLFrame, _ kernel: String, _ arguments: [CLArgument], channels: Int, _ rows: Int
    ) throws -> OpenCLLaunch {
        let options = "-DWB_TILE=\(tiling.side)"
        switch frame.device.shape {
        case .cpu:
            return try frame.launch(
                kernel, in: "winograd", options: "-DWB_CPU_SHAPE=1 " + options, arguments,
                global: CLSize(rows), local: 1)
        case .gpu:
            return try frame.launch(
                kernel, in: "winograd", options: options, arguments, columns: channels, rows: rows)
        }
    }
}

extension Tape {
    /// Writes the convolution of `x` to `y` by Winograd's way.
    mutating func winograd(
        _ x: Value, _ shape: ConvolutionShape, tile: Int, _ weights: PackedWeights, _ epilogue: Epilogue,
        _ y: Value
    ) {
        let weights = self.weights(weights)
        let bias = epilogue.bias.map { self.weights(PackedWeights.bias($0, for: shape)) }
        add(
            Winograd(
                shape, tile: tile, x: x, weights: weights, bias: bias, residual: epilogue.residual,
                clip: epilogue.clip, y: y, on: &self))
    }
}
