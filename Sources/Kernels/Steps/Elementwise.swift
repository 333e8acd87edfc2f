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
    package var readsViews: Bool { true }

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
        let y = value(shape, like: [x] + (z.map { [$0] } ?? []))
        add(
            Elementwise(
                operation: operation, x: x, z: z, y: y,
                grid: Grid(
                    dims: shape.dims, x: strides(x, broadcastTo: shape),
                    z: z.map { strides($0, broadcastTo: shape) }, y: strides(y), x0: offset(x),
                    z0: z.map(offset) ?? 0), a: a, b: b))
        return y
    }

    /// A value's strides seen from a shape that it broadcasts to: 0 where one element serves a whole dimension.
    package func strides(_ value: Value, broadcastTo shape: Shape) -> [Int] {
        let (own, dims) = (strides(value), self.shape(value).dims)
        return (0..<shape.rank).map { d in
            let i = d - (shape.rank - dims.count)
            return i < 0 || (dims[i] == 1 && shape.dims[d] != 1) ? 0 : own[i]
        }
    }

    /// Copies `x`, broadcast to `shape` if one is given, to elements of `y`, or scales it on the way.
    /// - Parameters:
    ///   - strides: in `y`, of each dimension.
    ///   - start: the place in `y` of the first element.
    package mutating func copy(
        _ x: Value, into y: Value, strides: [Int], start: Int = 0, as shape: Shape? = nil, scale: Float? = nil
    ) {
        let shape = shape ?? self.shape(x)
        add(
            Elementwise(
                operation: scale == nil ? WB_MAP_copy : WB_MAP_scale, x: x, z: nil, y: y,
                grid: Grid(
                    dims: shape.dims, x: self.strides(x, broadcastTo: shape), y: strides, x0: offset(x),
                    y0: start), a: scale ?? 0, b: 0))
    }

    /// A tensor full of one number.
    package mutating func fill(_ shape: Shape, with number: Float) -> Value {
        let y = value(shape)
        fill(y, with: number, Grid(dims: [shape.count], x: [0], y: [1]))
        return y
    }

    /// Writes one number to the elements of `y` that a grid walks through.
    mutating func fill(_ y: Value, with number: Float, _ grid: Grid) {
        add(Elementwise(operation: WB_MAP_fill, x: zeros(1), z: nil, y: y, grid: grid, a: number, b: 0))
    }

    /// The same elements under a new shape, in row-major order as ONNX counts them: a view where their places allow, else one copy, or
    /// two where the extents have nothing in common.
    package mutating func reshape(_ x: Value, to shape: Shape) -> Value {
        let old = self.shape(x)
        if old == shape { return x }
        if let parts = Shape.commonParts(old, shape) {
            // Where the parts lie in `x`, and with that, if neighbours lie evenly, where the new dimensions do.
            let from = zip(parts.first, strides(x)).flatMap { Shape.strides($0, inside: $1) }
            if let strides = Shape.strides(of: parts.second, from) {
                return view(x, as: shape, strides: strides, offset: offset(x))
            }
            if from.count <= Int(WB_RANK) {
                let dims = Shape(parts.first.flatMap(\.self))
                let y = value(shape)
                copy(
                    view(x, as: dims, strides: from, offset: offset(x)), into: y,
                    strides: zip(parts.second, shape.strides).flatMap { Shape.strides($0, inside: $1) })
                return y
            }
        }
        let rows = value([old.count])
        copy(x, into: rows, strides: old.rowMajorStrides)
        return view(rows, as: shape, strides: shape.rowMajorStrides, offset: 0)
    }

    /// Dimension i of the result is dimension `order[i]` of `x`: a view.
    package mutating func transpose(_ x: Value, _ order: [Int]) -> Value {
        let (dims, strides) = (shape(x).dims, strides(x))
        return view(
            x, as: Shape(order.map { dims[$0] }), strides: order.map { strides[$0] }, offset: offset(x))
    }
}

extension Shape {
    /// The dimensions of two shapes with as many elements, each cut into extents, so that in row-major order both have the same
    /// extents; nil where there are none. Extents of 1 are left out.
    static func commonParts(_ a: Shape, _ b: Shape) -> (first: [[Int]], second: [[Int]])? {
        var (first, second) = (a.dims.map { _ in [Int]() }, b.dims.map { _ in [Int]() })
        var (i, j) = (0, 0)
        var (p, q) = (a.dims.first ?? 1, b.dims.first ?? 1)  // what is left of the dimensions i and j
        while true {
            if p == 1, i < a.rank {
                i += 1
                p = i < a.rank ? a.dims[i] : 1
            } else if q == 1, j < b.rank {
                j += 1
                q = j < b.rank ? b.dims[j] : 1
            } else if i < a.rank, j < b.rank {
                let part = min(p, q)
                guard part > 0, p % part == 0, q % part == 0 else { return nil }
                first[i].append(part)
                second[j].append(part)
                (p, q) = (p / part, q / part)
            } else {
                return (first, second)
            }
        }
    }

    /// The strides of the parts of a dimension.
    static func strides(_ parts: [Int], inside stride: Int) -> [Int] {
        parts.indices.map { stride * parts[($0 + 1)...].reduce(1, *) }
    }

    /// The strides of dimensions whose parts have these strides, one after the other; nil where the parts of a dimension do not lie
    /// evenly.
    static func strides(of dimensions: [[Int]], _ strides: [Int]) -> [Int]? {
        var next = 0
        var result: [Int] = []
        for parts in dimensions {
            let own = strides[next..<next + parts.count]
            next += parts.count
            guard own.elementsEqual(Shape.strides(parts, inside: own.last ?? 1)) else { return nil }
            result.append(own.last ?? 1)
        }
        return result
    }
}
