// Whole numbers that stand for others, element by element, and their means and maxima: kernels/quantise.cl.

import CLRuntime
import CMicrokernels

extension CPUFrame {
    /// The same of a value whose elements are bytes.
    func bytes(_ value: Value) -> UnsafeMutablePointer<UInt8> {
        UnsafeMutableRawPointer(pointer(value)).assumingMemoryBound(to: UInt8.self)
    }
}

/// From real numbers to bytes and back, from integers to real numbers, and sums and products of bytes.
struct WholeElementwise: Step {
    enum Operation: Sendable {
        case quantise(scale: Float, wb_rounding)
        case dequantise(zero: Int, scale: Float)
        case float
        case pair(wb_whole_pair)
    }
    let operation: Operation
    let x: Value, z: Value?, y: Value
    let grid: Grid

    var kernel: String {
        switch operation {
        case .quantise: "quantise"
        case .dequantise: "dequantise"
        case .float: "whole_float"
        case .pair: "whole_pair"
        }
    }
    var reads: [Value] { [x] + (z.map { [$0] } ?? []) }
    var writes: [Value] { [y] }
    var operations: Int { grid.count }
    var readsViews: Bool { true }

    private func compute(_ cpu: CPUFrame, _ raw: UnsafePointer<wb_grid>, _ begin: Int, _ end: Int) {
        let (begin, end) = (Int64(begin), Int64(end))
        switch operation {
        case .quantise(let scale, let rounding):
            withUnsafePointer(to: rounding) {
                cpu.functions.quantise(raw, cpu.pointer(x), cpu.bytes(y), scale, $0, begin, end)
            }
        case .dequantise(let zero, let scale):
            cpu.functions.dequantise(raw, cpu.bytes(x), cpu.pointer(y), Int32(zero), scale, begin, end)
        case .float: cpu.functions.whole_float(raw, cpu.integers(x), cpu.pointer(y), begin, end)
        case .pair(let pair):
            withUnsafePointer(to: pair) {
                cpu.functions.whole_pair(
                    raw, $0, cpu.bytes(x), cpu.bytes(z!), cpu.bytes(y), begin, end)
            }
        }
    }

    func run(_ cpu: CPUFrame) {
        if grid.count == 0 { return }
        let worth = 16384
        if grid.outer >= cpu.threads {
            withUnsafePointer(to: grid.raw) { raw in
                cpu.split(grid.outer, minimum: max(1, worth / grid.inner)) { begin, end, _ in
                    compute(cpu, raw, begin, end)
                }
            }
        } else {
            cpu.split(grid.inner, grain: 16, minimum: worth) { begin, end, _ in
                withUnsafePointer(to: grid.innerPart(begin..<end)) { compute(cpu, $0, 0, grid.outer) }
            }
        }
    }

    func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        if grid.count == 0 { return [] }
        var arguments: [CLArgument] = [frame.buffer(x)]
        if let z { arguments.append(frame.buffer(z)) }
        arguments += [frame.buffer(y), .structure(grid.raw)]
        switch operation {
        case .quantise(let scale, let rounding): arguments += [.float(scale), .structure(rounding)]
        case .dequantise(let zero, let scale): arguments += [.int(Int32(zero)), .float(scale)]
        case .float: break
        case .pair(let pair): arguments.append(.structure(pair))
        }
        return [try frame.launch(kernel, in: "quantise", arguments, count: grid.count)]
    }
}

/// Means of bytes over all pixels of each channel.
struct WholeMean: Step {
    let mean: wb_whole_mean
    let x: Value, y: Value

    var kernel: String { "whole_mean" }
    var reads: [Value] { [x] }
    var writes: [Value] { [y] }
    var operations: Int { Int(mean.n) * Int(mean.pixels) * Int(mean.c) }
    var readsViews: Bool { true }

    func run(_ cpu: CPUFrame) {
        withUnsafePointer(to: mean) { mean in
            cpu.split(Int(mean.pointee.n)) { begin, end, _ in
                cpu.functions.whole_mean(mean, cpu.bytes(x), cpu.bytes(y), Int64(begin), Int64(end))
            }
        }
    }

    func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        [
            try frame.launch(
                kernel, in: "quantise", [frame.buffer(x), frame.buffer(y), .structure(mean)],
                count: Int(mean.n * mean.c))
        ]
    }
}

/// The largest bytes of windows that slide over two axes.
struct WholeMaxPool: Step {
    let pooling: wb_pool
    let x: Value, y: Value

    var kernel: String { "whole_max_pool" }
    var reads: [Value] { [x] }
    var writes: [Value] { [y] }
    private var pixels: Int { Int(pooling.n) * Int(pooling.oh) * Int(pooling.ow) }
    var operations: Int { pixels * Int(pooling.c) * Int(pooling.kh) * Int(pooling.kw) }
    var readsViews: Bool { true }

    func run(_ cpu: CPUFrame) {
        withUnsafePointer(to: pooling) { window in
            cpu.split(pixels, minimum: 16) { begin, end, _ in
                cpu.functions.whole_max_pool(window, cpu.bytes(x), cpu.bytes(y), Int64(begin), Int64(end))
            }
        }
    }

    func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        [
            try frame.launch(
                kernel, in: "quantise", [frame.buffer(x), frame.buffer(y), .structure(pooling)],
                count: pixels * Int(pooling.c))
        ]
    }
}

extension Tape {
    /// y = rint(x / scale) + zero, brought to the range of the type, at the places of a value of bytes.
    mutating func quantise(
        _ x: Value, _ quantisation: Quantisation, rounding: wb_rounding? = nil, into y: Value
    ) {
        let shape = self.shape(x)
        add(
            WholeElementwise(
                operation: .quantise(
                    scale: quantisation.scale[0], rounding ?? quantisation.rounding()), x: x, z: nil, y: y,
                grid: Grid(
                    dims: shape.dims, x: strides(x), y: strides(y), x0: offset(x), y0: offset(y))))
    }

    /// x = scale (q − zero) of bytes.
    /// - Parameter stated: whether the result are whole numbers.
    mutating func dequantise(_ q: Value, _ quantisation: Quantisation, stated: Bool = false) -> Value {
        let shape = self.shape(q)
        let y =
            !isDense(q) && hasChannelsLast(q) ? channelsLastValue(shape) : value(shape)
        add(
            WholeElementwise(
                operation: .dequantise(
                    zero: quantisation.zero[0] + quantisation.type.shift, scale: quantisation.scale[0]), x: q,
                z: nil, y: y, grid: Grid(dims: shape.dims, x: strides(q), y: strides(y), x0: offset(q))))
        return stated ? stating(y, .integer) : y
    }

    mutating func integersAsFloats(_ x: Value) -> Value {
        let shape = self.shape(x)
        let y = value(shape)
        add(
            WholeElementwise(
                operation: .float, x: x, z: nil, y: y,
                grid: Grid(dims: shape.dims, x: strides(x), y: strides(y), x0: offset(x))))
        return y
    }

    /// A sum or a product of bytes that broadcast.
    mutating func pair(_ pair: wb_whole_pair, _ a: Value, _ b: Value, _ type: WholeType) -> Value {
        let shape = Shape.broadcast(self.shape(a), self.shape(b))!
        let y = bytes(
            shape, type,
            channelsLast: !isDense(a) && self.shape(a) == shape && hasChannelsLast(a))
        add(
            WholeElementwise(
                operation: .pair(pair), x: a, z: b, y: y,
                grid: Grid(
                    dims: shape.dims, x: strides(a, broadcastTo: shape), z: strides(b, broadcastTo: shape),
                    y: strides(y), x0: offset(a), z0: offset(b))))
        return y
    }
}
