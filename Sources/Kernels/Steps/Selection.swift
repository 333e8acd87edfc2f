// What is chosen of several numbers, and where it goes back to: kernels/reduce.cl.

import CLRuntime
import CMicrokernels

/// For each point of a grid a choice among its terms, or what goes back to them.
package struct Selection: Step {
    enum Kind: String {
        case extreme  // which term is the largest
        case give  // numbers go to the terms that were taken
        case top  // the largest terms, and which they are
        case factorsVJP = "factors_vjp"  // of a product
    }
    let kind: Kind
    let selection: wb_selection
    /// x; give: which terms were taken, and what they get; factors_vjp: x, and the cotangent of the product.
    let inputs: [Value]
    let offsets: Value
    let outputs: [Value]
    let count: Int

    package var kernel: String { kind.rawValue }
    package var reads: [Value] { inputs + [offsets] }
    package var writes: [Value] { outputs }
    package var readsViews: Bool { true }
    package var operations: Int {
        count * Int(selection.count) * (kind == .top ? Int(selection.k) : 1)
    }

    package func run(_ cpu: CPUFrame) {
        let (x, y, list) = (inputs.map(cpu.pointer), outputs.map(cpu.pointer), cpu.integers(offsets))
        withUnsafePointer(to: selection) { s in
            cpu.split(count, minimum: max(1, 4096 * count / max(1, operations))) { begin, end, _ in
                let (begin, end) = (Int64(begin), Int64(end))
                switch kind {
                case .extreme: cpu.functions.extreme(s, list, x[0], y[0], begin, end)
                case .give: cpu.functions.give(s, list, x[0], x[1], y[0], begin, end)
                case .top: cpu.functions.top(s, list, x[0], y[0], y[1], begin, end)
                case .factorsVJP: cpu.functions.factors_vjp(s, list, x[0], x[1], y[0], begin, end)
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        [
            try frame.launch(
                kernel, in: "reduce",
                inputs.map(frame.buffer) + [frame.buffer(offsets)] + outputs.map(frame.buffer)
                    + [.structure(selection)], count: count)
        ]
    }
}

extension Tape {
    /// Which terms are told apart by numbers that binary32 holds.
    private func check(terms: Int) throws {
        guard terms <= 1 << 24 else {
            throw OperatorError(
                unsupported: "chooses among \(terms) numbers, and can among \(1 << 24) at most")
        }
    }

    /// Which term is the largest along axes, counted in row-major order: whole numbers, and the axes stay as dimensions of extent 1. NaN
    /// is taken before any number.
    /// - Parameters:
    ///   - smallest: which is the smallest instead.
    ///   - last: of equals the last, instead of the first.
    mutating func extreme(_ x: Value, axes: [Int], smallest: Bool = false, last: Bool = false) throws -> Value
    {
        let shape = self.shape(x)
        let y = value(shape.reduced(axes))
        let terms = terms(of: x, along: axes)
        try check(terms: terms.count)
        let grid = Grid(
            apart: axes, shape, x: (strides(x), offset(x)), y: (self.shape(y).strides, 0))
        let selection = wb_selection(
            grid: grid.raw, count: Int32(terms.count), k: 1, step: 1, z_step: 1, smallest: smallest ? 1 : 0,
            last: last ? 1 : 0)
        add(
            Selection(
                kind: .extreme, selection: selection, inputs: [x], offsets: terms.offsets, outputs: [y],
                count: grid.count))
        return y
    }

    /// The numbers of `x` where terms were taken along axes, and 0 at all others.
    /// - Parameters:
    ///   - taken: which terms, of one or several along the axes, dense.
    ///   - shape: that of the result.
    mutating func give(_ x: Value, to taken: Value, of shape: Shape, axes: [Int]) throws -> Value {
        let y = value(shape)
        let terms = terms(of: y, along: axes)
        try check(terms: terms.count)
        let (chosen, own) = (self.shape(taken), strides(x))
        // Of several axes one term is taken.
        let axis = axes.first { chosen.dims[$0] > 1 }
        let grid = Grid(
            apart: axes, shape, x: (strides(y), 0), y: (strides(taken), offset(taken)), z: (own, offset(x)))
        let selection = wb_selection(
            grid: grid.raw, count: Int32(terms.count), k: Int32(axis.map { chosen.dims[$0] } ?? 1),
            step: Int32(axis.map { strides(taken)[$0] } ?? 1), z_step: Int32(axis.map { own[$0] } ?? 1),
            smallest: 0, last: 0)
        add(
            Selection(
                kind: .give, selection: selection, inputs: [taken, x], offsets: terms.offsets, outputs: [y],
                count: grid.count))
        return y
    }

    /// The `k` largest numbers along an axis in their order, and where they are; of equals the first come first, and NaN is larger than
    /// any number.
    mutating func top(_ x: Value, axis: Int, k: Int, smallest: Bool) throws -> (
        values: Value, indices: Value
    ) {
        let shape = self.shape(x)
        let terms = terms(of: x, along: [axis])
        try check(terms: terms.count)
        var dims = shape.dims
        dims[axis] = k
        let (values, indices) = (value(Shape(dims)), value(Shape(dims)))
        let grid = Grid(
            apart: [axis], shape, x: (strides(x), offset(x)), y: (strides(values), 0))
        let selection = wb_selection(
            grid: grid.raw, count: Int32(terms.count), k: Int32(k), step: Int32(strides(values)[axis]),
            z_step: 1, smallest: smallest ? 1 : 0, last: 0)
        add(
            Selection(
                kind: .top, selection: selection, inputs: [x], offsets: terms.offsets,
                outputs: [values, indices], count: grid.count))
        return (values, indices)
    }

    /// The cotangent of what was multiplied along axes.
    /// - Parameter dy: that of the product, with dimensions of extent 1 in place of the axes.
    mutating func factorsVJP(_ x: Value, _ dy: Value, axes: [Int]) -> Value {
        let x = dense(x)
        let shape = self.shape(x)
        let y = value(shape)
        let terms = terms(of: x, along: axes)
        let grid = Grid(
            apart: axes, shape, x: (strides(x), 0), y: (strides(y), 0), z: (strides(dy), offset(dy)))
        let selection = wb_selection(
            grid: grid.raw, count: Int32(terms.count), k: 1, step: 1, z_step: 1, smallest: 0, last: 0)
        add(
            Selection(
                kind: .factorsVJP, selection: selection, inputs: [x, dy], offsets: terms.offsets,
                outputs: [y], count: grid.count))
        return y
    }
}

extension Grid {
    /// The dimensions of a shape but these axes; strides and beginnings of operands with as many dimensions.
    fileprivate init(
        apart axes: [Int], _ shape: Shape, x: (strides: [Int], start: Int), y: (strides: [Int], start: Int),
        z: (strides: [Int], start: Int)? = nil
    ) {
        let kept = shape.dims.indices.filter { !axes.contains($0) }
        func part(_ strides: [Int]) -> [Int] { kept.map { strides[$0] } }
        self.init(
            dims: part(shape.dims), x: part(x.strides), z: z.map { part($0.strides) }, y: part(y.strides),
            x0: x.start, z0: z?.start ?? 0, y0: y.start)
    }
}
