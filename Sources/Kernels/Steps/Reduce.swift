// Reductions and what is made of them: kernels/reduce.cl.

import CLRuntime
import CMicrokernels

/// What a reduction makes of its terms: kernels/types.clh.
package typealias Reduction = wb_reduction

/// A sum (divided by a number), an extreme or a product over some axes, by the tree of kernels/tree.clh.
package struct Reduce: Step {
    let kind: Reduction
    let x: Value, offsets: Value, y: Value
    let grid: Grid
    let terms: Int
    let divisor: Float

    package var kernel: String {
        switch kind {
        case WB_REDUCE_MAX: "reduce_max"
        case WB_REDUCE_MIN: "reduce_min"
        case WB_REDUCE_PRODUCT: "reduce_product"
        case WB_REDUCE_MAGNITUDES: "reduce_magnitudes"
        case WB_REDUCE_SQUARES: "reduce_squares"
        default: "reduce_sum"
        }
    }
    package var reads: [Value] { [x, offsets] }
    package var writes: [Value] { [y] }
    package var operations: Int { grid.count * terms }
    package var readsViews: Bool { true }

    package func run(_ cpu: CPUFrame) {
        let (px, py) = (cpu.pointer(x), cpu.pointer(y))
        let list = cpu.integers(offsets)
        let kind = Int32(kind.rawValue)
        if grid.outer >= cpu.threads {
            withUnsafePointer(to: grid.raw) { raw in
                cpu.split(grid.outer, minimum: max(1, 8192 / max(1, grid.inner * terms))) { begin, end, _ in
                    cpu.functions.reduce(
                        kind, raw, list, Int32(terms), divisor, px, py, Int64(begin), Int64(end))
                }
            }
        } else {
            cpu.split(grid.inner, grain: 16, minimum: max(16, 8192 / max(1, terms))) { begin, end, _ in
                withUnsafePointer(to: grid.innerPart(begin..<end)) {
                    cpu.functions.reduce(kind, $0, list, Int32(terms), divisor, px, py, 0, Int64(grid.outer))
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let arguments: [CLArgument] = [
            frame.buffer(x), frame.buffer(offsets), frame.buffer(y), .structure(grid.raw),
            .int(Int32(terms)), .float(divisor),
        ]
        let option = "-DWB_KIND=\(kind.rawValue)"
        switch frame.device.shape {
        case .cpu:
            return [
                try frame.launch(
                    "reduce", in: "reduce", options: option + " -DWB_CPU_SHAPE=1", arguments,
                    global: CLSize(max(1, grid.outer * ((grid.inner + 15) / 16))), local: 1)
            ]
        case .gpu:
            return [try frame.launch("reduce", in: "reduce", options: option, arguments, count: grid.count)]
        }
    }
}

/// Softmax or its logarithm along one dimension, and the cotangents of their inputs.
package struct Softmax: Step {
    let logarithm: Bool
    let rows: wb_rows
    let inputs: [Value]  // x; or y and dy
    let output: Value

    package var kernel: String { (logarithm ? "log_softmax" : "softmax") + (inputs.count == 2 ? "_vjp" : "") }
    package var reads: [Value] { inputs }
    package var writes: [Value] { [output] }
    private var count: Int { Int(rows.outer) * Int(rows.inner) }
    package var operations: Int { count * Int(rows.length) * 20 }

    package func run(_ cpu: CPUFrame) {
        let x = inputs.map(cpu.pointer)
        let y = cpu.pointer(output)
        let log: Int32 = logarithm ? 1 : 0
        withUnsafePointer(to: rows) { rows in
            cpu.split(count, minimum: 4) { begin, end, _ in
                if x.count == 1 {
                    cpu.functions.softmax(rows, log, x[0], y, Int64(begin), Int64(end))
                } else {
                    cpu.functions.softmax_vjp(rows, log, x[0], x[1], y, Int64(begin), Int64(end))
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        [
            try frame.launch(
                inputs.count == 1 ? "softmax" : "softmax_vjp", in: "reduce",
                options: frame.device.shape == .cpu ? "-DWB_CPU_SHAPE=1" : "",
                inputs.map(frame.buffer) + [frame.buffer(output), .structure(rows), .int(logarithm ? 1 : 0)],
                count: count)
        ]
    }
}

/// Local response normalisation across channels, and the cotangent of its input.
package struct LocalResponse: Step {
    let window: wb_lrn
    let inputs: [Value]  // x; or x and dy
    let output: Value

    package var kernel: String { inputs.count == 1 ? "lrn" : "lrn_vjp" }
    package var reads: [Value] { inputs }
    package var writes: [Value] { [output] }
    package var operations: Int { Int(window.pixels) * Int(window.c) * Int(window.size + 20) }

    package func run(_ cpu: CPUFrame) {
        let x = inputs.map(cpu.pointer)
        let y = cpu.pointer(output)
        withUnsafePointer(to: window) { window in
            cpu.split(Int(window.pointee.pixels), minimum: 4) { begin, end, _ in
                if x.count == 1 {
                    cpu.functions.lrn(window, x[0], y, Int64(begin), Int64(end))
                } else {
                    cpu.functions.lrn_vjp(window, x[0], x[1], y, Int64(begin), Int64(end))
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        [
            try frame.launch(
                kernel, in: "reduce", inputs.map(frame.buffer) + [frame.buffer(output), .structure(window)],
                count: Int(window.pixels) * Int(window.c))
        ]
    }
}

/// A map over cells from activations and one weight per channel.
package struct ChannelMap: Step {
    enum Kind: String {
        case cam
        case femStatistics = "fem_statistics"
        case fem
    }
    let kind: Kind
    let maps: wb_maps
    let inputs: [Value]
    let outputs: [Value]

    package var kernel: String { kind.rawValue }
    package var reads: [Value] { inputs }
    package var writes: [Value] { outputs }
    package var operations: Int { 2 * Int(maps.n) * Int(maps.pixels) * Int(maps.c) }
    private var count: Int { Int(maps.n) * Int(kind == .femStatistics ? maps.c : maps.pixels) }

    package func run(_ cpu: CPUFrame) {
        let x = inputs.map(cpu.pointer)
        let y = outputs.map(cpu.pointer)
        withUnsafePointer(to: maps) { maps in
            cpu.split(count, minimum: 8) { begin, end, _ in
                let (begin, end) = (Int64(begin), Int64(end))
                switch kind {
                case .cam: cpu.functions.cam(maps, x[0], x[1], y[0], begin, end)
                case .femStatistics: cpu.functions.fem_statistics(maps, x[0], y[0], y[1], begin, end)
                case .fem: cpu.functions.fem(maps, x[0], x[1], x[2], y[0], begin, end)
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let arguments = (inputs + outputs).map(frame.buffer) + [.structure(maps)]
        if kind == .cam && frame.device.shape == .cpu {
            return [
                try frame.launch(
                    kernel, in: "reduce", options: "-DWB_CPU_SHAPE=1", arguments,
                    global: CLSize((count + 7) / 8), local: 1)
            ]
        }
        return [try frame.launch(kernel, in: "reduce", arguments, count: count)]
    }
}

extension Tape {
    /// Reduces `x` over `axes`, which stay as dimensions of extent 1.
    /// - Parameter divisor: what the result is divided by: of a sum, the number of terms gives a mean.
    package mutating func reduce(
        _ x: Value, axes: [Int], _ kind: Reduction = WB_REDUCE_SUM, divisor: Float = 1
    ) -> Value {
        let shape = self.shape(x)
        let y = value(shape.reduced(axes))
        if isSketch { return y }
        let (table, kept) = (terms(of: x, along: axes), shape.dims.indices.filter { !axes.contains($0) })
        add(
            Reduce(
                kind: kind, x: x, offsets: table.offsets, y: y,
                grid: Grid(
                    dims: kept.map { shape.dims[$0] }, x: kept.map { strides(x)[$0] },
                    y: kept.map { self.shape(y).strides[$0] }, x0: offset(x)),
                terms: table.count, divisor: divisor))
        return y
    }

    /// Where the terms of a reduction lie, the last axis innermost.
    mutating func terms(of x: Value, along axes: [Int]) -> (offsets: Value, count: Int) {
        let (dims, strides) = (shape(x).dims, strides(x))
        let walked = axes.sorted().map { (extent: dims[$0], stride: strides[$0]) }
        let count = walked.reduce(1) { $0 * $1.extent }
        let table = weights(
            PackedWeights(integers: count, key: .offsets(walked.flatMap { [$0.extent, $0.stride] })) {
                table in
                table[0] = 0
                var count = 1
                for (extent, stride) in walked {
                    // From behind, so that each is read before its place is taken.
                    for i in (0..<count).reversed() {
                        let base = table[i]
                        for k in 0..<extent { table[i * extent + k] = base + Int32(k * stride) }
                    }
                    count *= extent
                }
            })
        return (table, count)
    }

    /// Sums `x` to a shape that broadcasts to its own.
    package mutating func sum(_ x: Value, to target: Shape) -> Value {
        let shape = self.shape(x)
        if shape == target { return x }
        let axes = shape.dims.indices.filter { d in
            let i = d - (shape.rank - target.rank)
            return i < 0 || (target.dims[i] == 1 && shape.dims[d] != 1)
        }
        return reshape(axes.isEmpty ? x : reduce(x, axes: axes), to: target)
    }

    /// The cotangent of a sum over axes, or of a multiple of it: every element gets the same share.
    mutating func spread(_ dy: Value, over shape: Shape, axes: [Int], scale: Float) -> Value {
        let source = reshape(dy, to: shape.reduced(axes))
        let dx = value(shape)
        copy(source, into: dx, strides: shape.strides, as: shape, scale: scale)
        return dx
    }

    /// Mean over the last two dimensions of [N, C, H, W].
    package mutating func spatialMean(_ x: Value) -> Value {
        let shape = self.shape(x)
        return reduce(x, axes: [2, 3], divisor: Float(shape.dims[2] * shape.dims[3]))
    }

    private func maps(_ activation: Value, clip: Bool = false, k: Float = 0) -> wb_maps {
        let dims = shape(activation).dims
        return wb_maps(
            n: Int32(dims[0]), pixels: Int32(dims[2] * dims[3]), c: Int32(dims[1]), clip: clip ? 1 : 0, k: k)
    }

    /// Class activation map [N, 1, H, W]: the sum over channels of weights [N, C, 1, 1] times activation [N, C, H, W].
    /// - Parameter clip: keep only what is above 0.
    package mutating func channelMap(_ activation: Value, weights: Value, clip: Bool) -> Value {
        let (activation, weights) = (dense(activation), dense(weights))
        let dims = shape(activation).dims
        let y = value([dims[0], 1, dims[2], dims[3]])
        add(
            ChannelMap(
                kind: .cam, maps: maps(activation, clip: clip), inputs: [activation, weights], outputs: [y]))
        return y
    }

    /// FEM's map [N, 1, H, W] before it is scaled: the sum of the means μ of the channels that exceed μ + kσ in a cell.
    package mutating func femMap(_ activation: Value, k: Float) -> Value {
        let activation = dense(activation)
        let dims = shape(activation).dims
        let (means, thresholds) = (value([dims[0], dims[1]]), value([dims[0], dims[1]]))
        let y = value([dims[0], 1, dims[2], dims[3]])
        let maps = maps(activation, k: k)
        add(
            ChannelMap(kind: .femStatistics, maps: maps, inputs: [activation], outputs: [means, thresholds]))
        add(ChannelMap(kind: .fem, maps: maps, inputs: [activation, means, thresholds], outputs: [y]))
        return y
    }
}
