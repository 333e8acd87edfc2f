// Reductions over any axes, and choices along one: sums, means, extremes, products, norms; ArgMax, ArgMin, TopK.

import CMicrokernels

/// The axes of a reduction: an attribute, or an input in later operator sets.
package struct ReducedAxes: Sendable {
    private let listed: [Int]?, areInput: Bool, keepDims: Bool, emptyMeansNone: Bool

    init(_ attributes: Attributes, areInputFrom opset: Int) throws {
        areInput = attributes.opset >= opset
        listed = areInput ? nil : try attributes.ints("axes")
        keepDims = try attributes.int("keepdims", default: 1) != 0
        emptyMeansNone = areInput ? try attributes.int("noop_with_empty_axes", default: 0) != 0 : false
    }

    func of(_ shape: Shape, _ inputs: [Operand?]) throws -> [Int] {
        let given = areInput ? try constant(inputs, 1, "axes")?.ints() : listed
        if given ?? [] == [] { return emptyMeansNone ? [] : Array(0..<shape.rank) }
        return Array(Set(try given!.map { try normalised($0, rank: shape.rank) })).sorted()
    }

    /// The axes as they are written, which may count from the end; nil if they are not kept, are unknown, or are all.
    package func kept(_ inputs: [Operand?]) -> [Int]? {
        guard keepDims else { return nil }
        let given = areInput ? (try? constant(inputs, 1, "axes")?.ints()) ?? nil : listed
        return given ?? [] == [] ? nil : given
    }

    /// The shape of the result.
    func result(_ shape: Shape, _ axes: [Int]) -> Shape {
        keepDims
            ? shape.reduced(axes)
            : Shape(shape.dims.indices.filter { !axes.contains($0) }.map { shape.dims[$0] })
    }
}

/// A reduction of one tensor.
package protocol ReductionOperator: UnaryOperator {
    /// The operator set in which axes became an input.
    static var axesAreInputFrom: Int { get }
    init(_ axes: ReducedAxes)
    var axes: ReducedAxes { get }
    /// The result, in which the axes are dimensions of extent 1.
    func reduced(_ tape: inout Tape, _ x: Value, _ axes: [Int]) throws -> Value
    /// - Parameters:
    ///   - dy: in which they are too.
    ///   - shape: of the input, which need not be stored.
    func cotangent(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value, _ shape: Shape, _ axes: [Int]) throws
        -> Value
    /// The result for integers; nil if there is none.
    func onInts(_ terms: [Int]) throws -> Int?
}

extension ReductionOperator {
    package static var axesAreInputFrom: Int { 18 }
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= axesAreInputFrom ? 2 : 1) }
    package var role: Role { .pools }
    package var reach: Reach { .along { try axes.of($0, $1) } }
    package init(_ attributes: Attributes) throws {
        self.init(try ReducedAxes(attributes, areInputFrom: Self.axesAreInputFrom))
    }
    package func onInts(_ terms: [Int]) throws -> Int? { nil }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "data"))
        let shape = tape.shape(x)
        let axes = try self.axes.of(shape, inputs)
        return [.value(tape.reshape(try reduced(&tape, x, axes), to: self.axes.result(shape, axes)))]
    }

    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let shape = tape.shape(try required(node.inputs, 0, "data"))
        let axes = try self.axes.of(shape, node.inputs)
        return try cotangent(&tape, node, tape.reshape(dy, to: shape.reduced(axes)), shape, axes)
    }

    /// Integers only: those are the arithmetic of shapes.
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let x = inputs.first ?? nil, x.isInteger else { return nil }
        let axes = try self.axes.of(x.shape, inputs.map { $0.map(Operand.host) })
        let (values, result) = (try x.ints(), self.axes.result(x.shape, axes))
        try limits.memory.check(16 * (values.count + result.count))
        var terms = [[Int]](repeating: [], count: result.count)
        let places = x.shape.reduced(axes).rowMajorStrides
        x.shape.forEachIndex { place, index in
            let to = index.indices.reduce(0) { axes.contains($1) ? $0 : $0 + index[$1] * places[$1] }
            terms[to].append(values[place])
        }
        var numbers: [Int] = []
        for part in terms {
            guard let number = try onInts(part) else { return nil }
            numbers.append(number)
        }
        return [HostTensor(result, .ints(numbers))]
    }

    fileprivate func whole(_ node: LoweredNode, _ tape: inout Tape) throws -> Value {
        try tape.value(required(node.inputs, 0, "data"))
    }

    /// The stored output, in which the axes are dimensions of extent 1.
    fileprivate func kept(_ node: LoweredNode, _ tape: inout Tape, _ shape: Shape, _ axes: [Int]) throws
        -> Value
    {
        tape.reshape(try tape.value(node.output), to: shape.reduced(axes))
    }
}

extension Shape {
    /// Each index in row-major order, and its place in it.
    fileprivate func forEachIndex(_ body: (_ place: Int, _ index: [Int]) -> Void) {
        var index = [Int](repeating: 0, count: rank)
        for place in 0..<count {
            body(place, index)
            for d in (0..<rank).reversed() {
                index[d] += 1
                if index[d] < dims[d] { break }
                index[d] = 0
            }
        }
    }
}

private func sum(_ terms: [Int]) throws -> Int {
    try terms.reduce(0) { try checked($0.addingReportingOverflow($1)) }
}

package struct ReduceMean: ReductionOperator {
    package static let name = "ReduceMean"
    package static let formula = "y = mean over axes"
    package let dependence: Dependence = .averages
    package let axes: ReducedAxes
    package init(_ axes: ReducedAxes) { self.axes = axes }
    package func reduced(_ tape: inout Tape, _ x: Value, _ axes: [Int]) -> Value {
        axes.isEmpty ? x : tape.reduce(x, axes: axes, divisor: Float(tape.shape(x).count(axes)))
    }
    package func cotangent(
        _ tape: inout Tape, _ node: LoweredNode, _ dy: Value, _ shape: Shape, _ axes: [Int]
    ) -> Value { tape.spread(dy, over: shape, axes: axes, scale: 1 / Float(shape.count(axes))) }
    /// Cut off, as quotients of integers are.
    package func onInts(_ terms: [Int]) throws -> Int? { terms.isEmpty ? nil : try sum(terms) / terms.count }
}

package struct ReduceSum: ReductionOperator {
    package static let name = "ReduceSum"
    package static let formula = "y = sum over axes"
    package static let axesAreInputFrom = 13
    package let dependence: Dependence = .averages
    package let axes: ReducedAxes
    package init(_ axes: ReducedAxes) { self.axes = axes }
    package func reduced(_ tape: inout Tape, _ x: Value, _ axes: [Int]) -> Value {
        axes.isEmpty ? x : tape.reduce(x, axes: axes)
    }
    package func cotangent(
        _ tape: inout Tape, _ node: LoweredNode, _ dy: Value, _ shape: Shape, _ axes: [Int]
    ) -> Value { tape.spread(dy, over: shape, axes: axes, scale: 1) }
    package func onInts(_ terms: [Int]) throws -> Int? { try sum(terms) }
}

package struct ReduceMax: ReductionOperator {
    package static let name = "ReduceMax"
    package static let formula = "y = largest over axes; the gradient goes to the first of equals"
    package static let accepts = Meaning.all
    package let dependence: Dependence = .largest
    package let gradientNeeds: GradientNeeds = .inputs
    package let axes: ReducedAxes
    package init(_ axes: ReducedAxes) { self.axes = axes }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        (inputs.first ?? nil) ?? .real
    }
    package func reduced(_ tape: inout Tape, _ x: Value, _ axes: [Int]) -> Value {
        axes.isEmpty ? x : tape.reduce(x, axes: axes, WB_REDUCE_MAX)
    }
    package func cotangent(
        _ tape: inout Tape, _ node: LoweredNode, _ dy: Value, _ shape: Shape, _ axes: [Int]
    ) throws -> Value {
        let taken = try tape.extreme(whole(node, &tape), axes: axes)
        return try tape.give(dy, to: taken, of: shape, axes: axes)
    }
    package func onInts(_ terms: [Int]) throws -> Int? { terms.max() }
}

package struct ReduceMin: ReductionOperator {
    package static let name = "ReduceMin"
    package static let formula = "y = smallest over axes; the gradient goes to the first of equals"
    package static let accepts = Meaning.all
    package let gradientNeeds: GradientNeeds = .inputs
    package let axes: ReducedAxes
    package init(_ axes: ReducedAxes) { self.axes = axes }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        (inputs.first ?? nil) ?? .real
    }
    package func reduced(_ tape: inout Tape, _ x: Value, _ axes: [Int]) -> Value {
        axes.isEmpty ? x : tape.reduce(x, axes: axes, WB_REDUCE_MIN)
    }
    package func cotangent(
        _ tape: inout Tape, _ node: LoweredNode, _ dy: Value, _ shape: Shape, _ axes: [Int]
    ) throws -> Value {
        let taken = try tape.extreme(whole(node, &tape), axes: axes, smallest: true)
        return try tape.give(dy, to: taken, of: shape, axes: axes)
    }
    package func onInts(_ terms: [Int]) throws -> Int? { terms.min() }
}

package struct ReduceProd: ReductionOperator {
    package static let name = "ReduceProd"
    package static let formula = "y = product over axes"
    package let gradientNeeds: GradientNeeds = .inputs
    package let axes: ReducedAxes
    package init(_ axes: ReducedAxes) { self.axes = axes }
    package func reduced(_ tape: inout Tape, _ x: Value, _ axes: [Int]) -> Value {
        axes.isEmpty ? x : tape.reduce(x, axes: axes, WB_REDUCE_PRODUCT)
    }
    package func cotangent(
        _ tape: inout Tape, _ node: LoweredNode, _ dy: Value, _ shape: Shape, _ axes: [Int]
    ) throws -> Value { tape.factorsVJP(try whole(node, &tape), dy, axes: axes) }
    package func onInts(_ terms: [Int]) throws -> Int? {
        var product = 1
        for term in terms {
            let next = product.multipliedReportingOverflow(by: term)
            if next.overflow { return nil }
            product = next.partialValue
        }
        return product
    }
}

package struct ReduceL1: ReductionOperator {
    package static let name = "ReduceL1"
    package static let formula = "y = sum of |x| over axes"
    package let gradientNeeds: GradientNeeds = .inputs
    package let axes: ReducedAxes
    package init(_ axes: ReducedAxes) { self.axes = axes }
    package func reduced(_ tape: inout Tape, _ x: Value, _ axes: [Int]) -> Value {
        tape.reduce(x, axes: axes, WB_REDUCE_MAGNITUDES)
    }
    package func cotangent(
        _ tape: inout Tape, _ node: LoweredNode, _ dy: Value, _ shape: Shape, _ axes: [Int]
    ) throws -> Value { tape.map(WB_MAP_abs_vjp, try whole(node, &tape), dy) }
}

package struct ReduceL2: ReductionOperator {
    package static let name = "ReduceL2"
    package static let formula = "y = sqrt(sum of x^2 over axes); the gradient is 0 where y is"
    package let gradientNeeds: GradientNeeds = [.inputs, .output]
    package let axes: ReducedAxes
    package init(_ axes: ReducedAxes) { self.axes = axes }
    package func reduced(_ tape: inout Tape, _ x: Value, _ axes: [Int]) -> Value {
        tape.map(WB_MAP_sqrt, tape.reduce(x, axes: axes, WB_REDUCE_SQUARES))
    }
    package func cotangent(
        _ tape: inout Tape, _ node: LoweredNode, _ dy: Value, _ shape: Shape, _ axes: [Int]
    ) throws -> Value {
        let share = tape.map(WB_MAP_divide_or_zero, dy, try kept(node, &tape, shape, axes))
        return tape.map(WB_MAP_multiply, try whole(node, &tape), share)
    }
}

package struct ReduceSumSquare: ReductionOperator {
    package static let name = "ReduceSumSquare"
    package static let formula = "y = sum of x^2 over axes"
    package let gradientNeeds: GradientNeeds = .inputs
    package let axes: ReducedAxes
    package init(_ axes: ReducedAxes) { self.axes = axes }
    package func reduced(_ tape: inout Tape, _ x: Value, _ axes: [Int]) -> Value {
        tape.reduce(x, axes: axes, WB_REDUCE_SQUARES)
    }
    package func cotangent(
        _ tape: inout Tape, _ node: LoweredNode, _ dy: Value, _ shape: Shape, _ axes: [Int]
    ) throws -> Value {
        tape.map(WB_MAP_multiply, try whole(node, &tape), tape.map(WB_MAP_scale, dy, a: 2))
    }
}

package struct ReduceLogSum: ReductionOperator {
    package static let name = "ReduceLogSum"
    package static let formula = "y = log(sum of x over axes)"
    package let addsNegatives = true
    package let gradientNeeds: GradientNeeds = .inputs
    package let axes: ReducedAxes
    package init(_ axes: ReducedAxes) { self.axes = axes }
    package func reduced(_ tape: inout Tape, _ x: Value, _ axes: [Int]) -> Value {
        tape.map(WB_MAP_log, tape.reduce(x, axes: axes))
    }
    package func cotangent(
        _ tape: inout Tape, _ node: LoweredNode, _ dy: Value, _ shape: Shape, _ axes: [Int]
    ) throws -> Value {
        let sum = tape.reduce(try whole(node, &tape), axes: axes)
        return tape.spread(tape.map(WB_MAP_divide, dy, sum), over: shape, axes: axes, scale: 1)
    }
}

package struct ReduceLogSumExp: ReductionOperator {
    package static let name = "ReduceLogSumExp"
    package static let formula =
        "y = m + log(sum of exp(x - m) over axes), m being the largest, or 0 if that is infinite"
    package let addsNegatives = true
    package let gradientNeeds: GradientNeeds = [.inputs, .output]
    package let axes: ReducedAxes
    package init(_ axes: ReducedAxes) { self.axes = axes }
    package func reduced(_ tape: inout Tape, _ x: Value, _ axes: [Int]) -> Value {
        let largest = tape.map(
            WB_MAP_finite_or_zero, axes.isEmpty ? x : tape.reduce(x, axes: axes, WB_REDUCE_MAX))
        let terms = tape.map(WB_MAP_exp, tape.map(WB_MAP_subtract, x, largest))
        return tape.map(WB_MAP_add, tape.map(WB_MAP_log, tape.reduce(terms, axes: axes)), largest)
    }
    package func cotangent(
        _ tape: inout Tape, _ node: LoweredNode, _ dy: Value, _ shape: Shape, _ axes: [Int]
    ) throws -> Value {
        let beside = tape.map(WB_MAP_subtract, try whole(node, &tape), try kept(node, &tape, shape, axes))
        return tape.map(WB_MAP_multiply, tape.map(WB_MAP_exp, beside), dy)
    }
}

// MARK: Choices

/// What ArgMax and ArgMin share.
struct Choice: Sendable {
    let axis: Int, keepDims: Bool, last: Bool, smallest: Bool

    init(_ attributes: Attributes, smallest: Bool) throws {
        axis = try attributes.int("axis", default: 0)
        keepDims = try attributes.int("keepdims", default: 1) != 0
        last = attributes.opset >= 12 ? try attributes.int("select_last_index", default: 0) != 0 : false
        self.smallest = smallest
    }

    private func result(_ shape: Shape, _ axis: Int) -> Shape {
        var dims = shape.reduced([axis]).dims
        if !keepDims { dims.remove(at: axis) }
        return Shape(dims)
    }

    func forward(_ tape: inout Tape, _ inputs: [Operand?]) throws -> [Operand] {
        let x = try tape.wholeValue(required(inputs, 0, "data"))
        let shape = tape.shape(x)
        let axis = try normalised(axis, rank: shape.rank)
        let y = try tape.extreme(x, axes: [axis], smallest: smallest, last: last)
        return [.value(tape.reshape(y, to: result(shape, axis)))]
    }

    func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let x = inputs.first ?? nil else { return nil }
        let axis = try normalised(axis, rank: x.shape.rank)
        let (length, inner) = (x.shape.dims[axis], x.shape.dims[(axis + 1)...].reduce(1, *))
        guard length > 0 else { return nil }
        try limits.memory.check(8 * x.shape.count)
        /// - Parameter isBefore: whether the number at one place is taken before that at another.
        func chosen(_ isBefore: (Int, Int) -> Bool) -> [Int] {
            (0..<x.shape.count / length).map { row in
                let start = row / inner * inner * length + row % inner
                return (1..<max(1, length)).reduce(0) { best, i in
                    let (a, b) = (start + i * inner, start + best * inner)
                    return isBefore(a, b) || (last && !isBefore(b, a)) ? i : best
                }
            }
        }
        let indices: [Int]
        if case .ints(let values) = x.numbers {
            indices = chosen { smallest ? values[$0] < values[$1] : values[$0] > values[$1] }
        } else {
            let values = try x.floats()
            indices = chosen { a, b in
                values[a].isNaN
                    ? !values[b].isNaN : smallest ? values[a] < values[b] : values[a] > values[b]
            }
        }
        return [HostTensor(result(x.shape, axis), .ints(indices))]
    }
}

/// What ArgMax and ArgMin share.
protocol Choosing: Operator {
    var choice: Choice { get }
}

extension Choosing {
    package var reach: Reach { .along(choice.axis) }
    package static var hasGradient: Bool { false }
    package static var accepts: Set<Meaning> { [.real, .integer] }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { .integer }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        try choice.fold(inputs, within: limits)
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        try choice.forward(&tape, inputs)
    }
}

package struct ArgMax: Choosing {
    package static let name = "ArgMax"
    package static let formula =
        "which number along an axis is the largest: the first of equals, or the last; NaN before any"
    let choice: Choice
    package init(_ attributes: Attributes) throws { choice = try Choice(attributes, smallest: false) }
}

package struct ArgMin: Choosing {
    package static let name = "ArgMin"
    package static let formula =
        "which number along an axis is the smallest: the first of equals, or the last; NaN before any"
    let choice: Choice
    package init(_ attributes: Attributes) throws { choice = try Choice(attributes, smallest: true) }
}

package struct TopK: Operator {
    package static let name = "TopK"
    package static let formula =
        "the K largest, or smallest, numbers along an axis in order, and where they are"
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 10 ? 2 : 1, outputs: 2) }
    package static let accepts: Set<Meaning> = [.real, .integer]
    package let gradientNeeds: GradientNeeds = .inputs
    private let axis: Int, listed: Int?, smallest: Bool
    package var reach: Reach { .along(axis) }

    package init(_ attributes: Attributes) throws {
        axis = try attributes.int("axis", default: -1)
        listed = attributes.opset < 10 ? try attributes.int("k") : nil
        smallest = attributes.opset >= 11 ? try attributes.int("largest", default: 1) == 0 : false
        // Where any order will do, it is the same.
        if attributes.opset >= 11 { attributes.ignore("sorted") }
    }

    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        index == 1 ? .integer : (inputs.first ?? nil) ?? .real
    }

    private func top(_ tape: inout Tape, _ inputs: [Operand?]) throws -> (
        values: Value, indices: Value, axis: Int
    ) {
        let x = try tape.wholeValue(required(inputs, 0, "X"))
        let shape = tape.shape(x)
        let axis = try normalised(axis, rank: shape.rank)
        guard let k = try listed ?? constant(inputs, 1, "K")?.ints().first else {
            throw OperatorError("lacks its input 1 (K)")
        }
        guard k >= 1, k <= shape.dims[axis] else {
            throw OperatorError("takes \(k) numbers of \(shape.dims[axis])")
        }
        let (values, indices) = try tape.top(x, axis: axis, k: k, smallest: smallest)
        return (values, indices, axis)
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let top = try top(&tape, inputs)
        return [Operand.value(top.values), .value(top.indices)].prefix(outputs).map { $0 }
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        try node.each(wanted) { input in
            guard input == 0 else { return nil }
            let shape = tape.shape(try required(node.inputs, 0, "X"))
            // Where they are is no matter of degree.
            guard let dy = cotangents[0] else { return tape.fill(shape, with: 0) }
            let top = try top(&tape, node.inputs)
            return try tape.give(dy, to: top.indices, of: shape, axes: [top.axis])
        }
    }
}
