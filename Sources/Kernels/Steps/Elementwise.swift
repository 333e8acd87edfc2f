// Element-wise operations, and every copy: kernels/elementwise.cl.

import CLRuntime
import CMicrokernels

/// The operations of kernels/elementwise.clh.
package typealias MapOperation = wb_map_operation

extension MapOperation {
    package var name: String { String(cString: wb_map_name(Int32(rawValue))) }
}

/// y = operation(x, z, a, b) on a grid.
package struct Elementwise: Step {
    let operation: MapOperation
    let x: Value, z: Value?, y: Value
    let grid: Grid
    let a: Float, b: Float

    package var kernel: String { operation.name }
    package var reads: [Value] { [x] + (z.map { [$0] } ?? []) }
    package var writes: [Value] { [y] }
    package var operations: Int { grid.count }

    package func run(_ cpu: CPUFrame) {
        if grid.count == 0 { return }
        let (px, py) = (cpu.pointer(x), cpu.pointer(y))
        let pz = z.map(cpu.pointer) ?? px
        let map = cpu.functions.map!
        let code = Int32(operation.rawValue)
        let worth = 16384
        if grid.outer >= cpu.threads {
            withUnsafePointer(to: grid.raw) { raw in
                cpu.split(grid.outer, minimum: max(1, worth / grid.inner)) { begin, end, _ in
                    map(code, raw, px, pz, py, a, b, Int64(begin), Int64(end))
                }
            }
        } else {
            cpu.split(grid.inner, grain: 16, minimum: worth) { begin, end, _ in
                withUnsafePointer(to: grid.innerPart(begin..<end)) {
                    map(code, $0, px, pz, py, a, b, 0, Int64(grid.outer))
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        if grid.count == 0 { return [] }
        let px = frame.buffer(x)
        let arguments: [CLArgument] = [
            px, z.map(frame.buffer) ?? px, frame.buffer(y), .structure(grid.raw), .float(a), .float(b),
        ]
        let map = "-DWB_MAP=map_\(operation.name)"
        switch frame.device.shape {
        case .cpu:
            let run = 2048
            return [
                try frame.launch(
                    "map", in: "elementwise", options: map + " -DWB_CPU_SHAPE=1 -DWB_RUN=\(run)", arguments,
                    count: grid.outer * ((grid.inner + run - 1) / run))
            ]
        case .gpu:
            return [try frame.launch("map", in: "elementwise", options: map, arguments, count: grid.count)]
        }
    }
}

extension Tape {
    /// operation(x, z, a, b), broadcast.
    package mutating func map(
        _ operation: MapOperation, _ x: Value, _ z: Value? = nil, a: Float = 0, b: Float = 0
    ) -> Value {
        let shape = z.flatMap { Shape.broadcast(self.shape(x), self.shape($0)) } ?? self.shape(x)
        let y = value(shape)
        add(
            Elementwise(
                operation: operation, x: x, z: z, y: y,
                grid: Grid(shape, x: self.shape(x), z: z.map(self.shape)), a: a, b: b))
        return y
    }

    /// Copies a grid of elements from `x` into a part of `y`, or scales them on the way.
    package mutating func copy(_ x: Value, into y: Value, grid: Grid, scale: Float? = nil) {
        add(
            Elementwise(
                operation: scale == nil ? WB_MAP_copy : WB_MAP_scale, x: x, z: nil, y: y, grid: grid,
                a: scale ?? 0, b: 0))
    }

    /// A tensor full of one number.
    package mutating func fill(_ shape: Shape, with number: Float) -> Value {
        let y = value(shape)
        let source = zeros(1)
        add(
            Elementwise(
                operation: WB_MAP_fill, x: source, z: nil, y: y,
                grid: Grid(dims: [shape.count], x: [0], y: [1]), a: number, b: 0))
        return y
    }

    /// The same elements under a new shape, in row-major order as ONNX counts them: a view where memory order allows.
    package mutating func reshape(_ x: Value, to shape: Shape) -> Value {
        let old = self.shape(x)
        if old == shape { return x }
        if old.isRowMajor && shape.isRowMajor { return view(x, as: shape) }
        var rows = x
        if !old.isRowMajor {
            rows = value([old.count])
            copy(x, into: rows, grid: Grid(dims: old.dims, x: old.strides, y: old.rowMajorStrides))
        }
        if shape.isRowMajor { return view(rows, as: shape) }
        let y = value(shape)
        copy(rows, into: y, grid: Grid(dims: shape.dims, x: shape.rowMajorStrides, y: shape.strides))
        return y
    }

    /// Dimension i of the result is dimension `order[i]` of `x`.
    package mutating func transpose(_ x: Value, _ order: [Int]) -> Value {
        let from = shape(x)
        let to = Shape(order.map { from.dims[$0] })
        let y = value(to)
        copy(x, into: y, grid: Grid(dims: to.dims, x: order.map { from.strides[$0] }, y: to.strides))
        return y
    }
}
