// Sampling of images at positions that a grid gives: Steps/Sample.swift where the network computes the grid, and a product with a constant
// sparse matrix where it is a constant, the same for all pictures. Both give the same bits: the matrix is made by the kernels' own
// lines.

import CMicrokernels

package struct GridSample: Operator {
    package static let name = "GridSample"
    package static let formula =
        "the picture at the positions that a grid gives, interpolated; a gradient for both"
    package static let opsets = 16...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .pools
    package var reach: Reach { .behindFirst }
    package var addsNegatives: Bool { taps == 4 }
    package let gradientNeeds: GradientNeeds = .inputs
    private let opset: Int
    private let taps: Int, beside: wb_beside, isAligned: Bool

    package init(_ attributes: Attributes) throws {
        opset = attributes.opset
        let modes =
            opset >= 20
            ? ["linear": 2, "nearest": 1, "cubic": 4] : ["bilinear": 2, "nearest": 1, "bicubic": 4]
        let mode = try attributes.string("mode", default: opset >= 20 ? "linear" : "bilinear")
        guard let taps = modes[mode] else {
            throw OperatorError("has the mode “\(mode.prefix(40))”, which does not exist")
        }
        let padding = try attributes.string("padding_mode", default: "zeros")
        let paddings = [
            "zeros": WB_BESIDE_ZEROS, "border": WB_BESIDE_BORDER, "reflection": WB_BESIDE_MIRROR,
        ]
        guard let beside = paddings[padding] else {
            throw OperatorError("has the padding_mode “\(padding.prefix(40))”, which does not exist")
        }
        (self.taps, self.beside) = (taps, beside)
        isAligned = try attributes.int("align_corners", default: 0) != 0
    }

    private struct Plan {
        var sampling: wb_sample
        var output: Shape
        /// Of a constant grid that is the same for all pictures.
        var product: SparseProduct?
    }

    private func plan(_ tape: Tape, _ inputs: [Operand?]) throws -> Plan {
        let (x, grid) = (
            tape.shape(try required(inputs, 0, "X")), tape.shape(try required(inputs, 1, "grid"))
        )
        let axes = x.rank - 2
        guard opset >= 20 ? (1...3).contains(axes) : axes == 2 else {
            throw OperatorError(
                unsupported:
                    "samples a tensor of rank \(x.rank), which must be \(opset >= 20 ? "3 to 5" : "4")")
        }
        // One grid may serve all pictures: a constant that was written for a single one.
        guard grid.rank == x.rank, grid.dims.last == axes,
            grid.dims[0] == x.dims[0] || grid.dims[0] == 1
                || grid.dims[0] == tape.writtenBatch
        else {
            throw OperatorError("samples a tensor of shape \(x) by a grid of shape \(grid), which do not fit")
        }
        let extents = Array(x.dims[2...])
        let out = Array(grid.dims[1...axes])
        guard extents.allSatisfy({ (1...1 << 24).contains($0) }) else {
            throw OperatorError(
                unsupported:
                    "samples a tensor of shape \(x), whose axes must have between 1 and \(1 << 24) places")
        }
        let output = try Shape(x.dims[..<2] + out).checked()
        let points = out.reduce(1, *)
        let terms = x.dims[0] * points * (0..<axes).reduce(1) { count, _ in count * taps }
        guard max(terms, points * x.rank * x.dims[0]) < Int32.max else {
            throw OperatorError(unsupported: "reads \(terms) numbers, which are more than kernels can count")
        }
        let three = Array(repeating: 1, count: 3 - axes) + extents
        var plan = Plan(
            sampling: wb_sample(
                n: Int32(x.dims[0]), d: Int32(three[0]), h: Int32(three[1]), w: Int32(three[2]),
                c: Int32(x.dims[1]), axes: Int32(axes), points: Int32(points), taps: Int32(taps),
                beside: Int32(beside.rawValue), aligned: isAligned ? 1 : 0, slope: -1), output: output)
        if case .host(let tensor)? = inputs[1] {
            let all = try tensor.floats()
            let count = points * axes
            let first = Array(all.prefix(count))
            if all.indices.allSatisfy({ all[$0].bitPattern == first[$0 % count].bitPattern }) {
                plan.product = SparseProduct(
                    try plan.sampling.matrix(first, within: tape.limits), axes: 2..<x.rank, extents: out)
            }
        }
        guard plan.product != nil || grid.dims[0] == x.dims[0] || grid.dims[0] == 1 else {
            throw OperatorError(
                unsupported:
                    "has a grid for each of \(grid.dims[0]) pictures, and \(x.dims[0]) are computed")
        }
        return plan
    }

    /// The grid with as many pictures as are sampled.
    private func grid(_ tape: inout Tape, _ inputs: [Operand?], _ plan: Plan) throws -> Value {
        let grid = try tape.value(required(inputs, 1, "grid"))
        let n = Int(plan.sampling.n)
        guard tape.shape(grid).dims[0] != n else { return grid }
        let shape = Shape([n] + tape.shape(grid).dims.dropFirst())
        return tape.view(
            grid, as: shape, strides: tape.strides(grid, broadcastTo: shape), offset: tape.offset(grid))
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let plan = try plan(tape, inputs)
        let x = try tape.value(required(inputs, 0, "X"))
        if let product = plan.product { return [.value(tape.product(product, x))] }
        let terms = tape.sampleTerms(plan.sampling, try grid(&tape, inputs, plan))
        return [.value(tape.sample(x, terms, to: plan.output))]
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let plan = try plan(tape, node.inputs)
        let (dy, x) = (cotangents[0]!, try required(node.inputs, 0, "X"))
        return try node.each(wanted) { input in
            if input == 0 {
                if let product = plan.product {
                    return tape.product(product.transposed(for: tape.shape(x)), dy)
                }
                let terms = tape.sampleTerms(plan.sampling, try grid(&tape, node.inputs, plan))
                return tape.sampleVJP(dy, terms, of: tape.shape(x))
            }
            return try gridGradient(&tape, node, plan, dy)
        }
    }

    /// For each coordinate the sum over channels of dy times what the derivatives of the weights make of x.
    private func gridGradient(_ tape: inout Tape, _ node: LoweredNode, _ plan: Plan, _ dy: Value) throws
        -> Value
    {
        let own = tape.shape(try required(node.inputs, 1, "grid"))
        // The nearest pixel stays the same.
        if taps == 1 { return tape.fill(own, with: 0) }
        let x = try tape.value(required(node.inputs, 0, "X"))
        let grid = try grid(&tape, node.inputs, plan)
        let all = tape.value(tape.shape(grid))
        for axis in 0..<Int(plan.sampling.axes) {
            let slopes = tape.sample(
                x, tape.sampleTerms(plan.sampling, grid, slope: axis), to: plan.output)
            let sums = tape.reduce(tape.map(WB_MAP_multiply, slopes, dy), axes: [1])
            let part = tape.reshape(sums, to: Shape([plan.output.dims[0]] + plan.output.dims[2...] + [1]))
            tape.place(part, into: all, [SliceRange(axis: own.rank - 1, start: axis, step: 1, count: 1)])
        }
        return tape.sum(all, to: own)
    }
}
