// Sums, differences, products, quotients, remainders, powers and extremes of tensors that broadcast.
//
// Whole numbers that a network computes are binary32, exact below 2^24. What reaches that is NaN, which is not known, and so is all that is
// computed from it: never another number.

import CMicrokernels

extension Tape {
    /// Operands as values that may be combined: all real, or all whole numbers and truths.
    mutating func alike(_ operands: [Operand]) throws -> (values: [Value], areWhole: Bool) {
        let real = operands.count { meaning($0) == .real }
        guard real == 0 || real == operands.count else {
            throw OperatorError("combines whole numbers with others")
        }
        return (try operands.map { try wholeValue($0) }, real == 0)
    }

    /// Whole numbers, NaN in place of those that binary32 may not hold.
    mutating func checkedWhole(_ x: Value) -> Value { map(WB_MAP_whole, x) }
}

extension Operator {
    /// Whole if all that it reads is.
    fileprivate func common(_ inputs: [Meaning?]) -> Meaning {
        !inputs.isEmpty && inputs.allSatisfy { $0 == nil || $0 == .integer } ? .integer : .real
    }
}

/// All inputs, which broadcast together.
private func terms(_ tape: Tape, _ inputs: [Operand?]) throws -> [Operand] {
    var terms = [try required(inputs, 0, "data_0")]
    var shape = tape.shape(terms[0])
    for i in inputs.indices.dropFirst() {
        let next = try required(inputs, i, "data_\(i)")
        guard let both = Shape.broadcast(shape, tape.shape(next)) else {
            throw OperatorError("combines shapes that do not fit: \(shape) and \(tape.shape(next))")
        }
        terms.append(next)
        shape = both
    }
    return terms
}

extension Shape {
    /// For each element, in row-major order, where in a tensor that broadcasts to this shape its number is.
    func places(in operand: Shape) -> [Int] {
        let strides = operand.rowMajorStrides
        var places = [0]
        for d in 0..<rank {
            let i = d - (rank - operand.rank)
            let step = i < 0 || operand.dims[i] == 1 ? 0 : strides[i]
            places = places.flatMap { from in (0..<dims[d]).map { from + $0 * step } }
        }
        return places
    }
}

extension HostTensor {
    /// A function of whole numbers, element by element, as the arithmetic of shapes has them; nil where some are no whole numbers.
    static func combine(
        _ inputs: [HostTensor?], within limits: Limits, _ function: ([Int]) throws -> Int
    ) throws -> [HostTensor]? {
        guard !inputs.isEmpty, inputs.allSatisfy({ $0?.isInteger ?? false }) else { return nil }
        let tensors = inputs.map { $0! }
        var shape = tensors[0].shape
        for tensor in tensors.dropFirst() {
            guard let both = Shape.broadcast(shape, tensor.shape) else {
                throw OperatorError("combines shapes that do not fit: \(shape) and \(tensor.shape)")
            }
            shape = both
        }
        try limits.memory.check((8 + 16 * tensors.count) * shape.count)
        let numbers = try tensors.map { tensor in
            let own = try tensor.ints()
            return tensor.shape == shape ? own : shape.places(in: tensor.shape).map { own[$0] }
        }
        var arguments = [Int](repeating: 0, count: tensors.count)
        let results = try (0..<shape.count).map { i in
            for k in numbers.indices { arguments[k] = numbers[k][i] }
            return try function(arguments)
        }
        return [HostTensor(shape, .ints(results))]
    }
}

/// The result of integer arithmetic that must not overflow.
func checked(_ result: (partialValue: Int, overflow: Bool)) throws -> Int {
    if result.overflow { throw OperatorError("computes a shape that overflows") }
    return result.partialValue
}

/// What the arithmetic of two tensors shares.
protocol Arithmetic: Operator {
    var operation: MapOperation { get }
    func onInts(_ a: Int, _ b: Int) throws -> Int
    /// Of whole numbers that the network computes.
    func onWhole(_ tape: inout Tape, _ a: Value, _ b: Value) throws -> Value
    /// The cotangent of an input, before it is summed over what was broadcast.
    func cotangent(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value, input: Int) throws -> Value
}

extension Arithmetic {
    package static var accepts: Set<Meaning> { [.real, .integer] }
    package var reach: Reach { .place }
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { common(inputs) }

    func operands(_ tape: Tape, _ inputs: [Operand?]) throws -> (Operand, Operand) {
        let (a, b) = (try required(inputs, 0, "A"), try required(inputs, 1, "B"))
        guard inputs.count == 2 else {
            throw OperatorError("has \(inputs.count) inputs, where two are needed")
        }
        guard Shape.broadcast(tape.shape(a), tape.shape(b)) != nil else {
            throw OperatorError("combines shapes that do not fit: \(tape.shape(a)) and \(tape.shape(b))")
        }
        return (a, b)
    }

    func onWhole(_ tape: inout Tape, _ a: Value, _ b: Value) throws -> Value { tape.map(operation, a, b) }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let (a, b) = try operands(tape, inputs)
        let (values, areWhole) = try tape.alike([a, b])
        guard areWhole else { return [.value(tape.map(operation, values[0], values[1]))] }
        return [.value(tape.checkedWhole(try onWhole(&tape, values[0], values[1])))]
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        try node.each(wanted) { input in
            let dx = try cotangent(&tape, node, cotangents[0]!, input: input)
            return tape.sum(dx, to: tape.shape(try required(node.inputs, input, "input")))
        }
    }

    /// Integers only: those are the arithmetic of shapes.
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard inputs.count == 2 else { return nil }
        return try HostTensor.combine(inputs, within: limits) { try onInts($0[0], $0[1]) }
    }
}

package struct Add: Arithmetic {
    package static let name = "Add"
    package static let formula = "y = a + b"
    package let role: Role = .adds
    package let dependence: Dependence = .adds
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_add }
    func onInts(_ a: Int, _ b: Int) throws -> Int { try checked(a.addingReportingOverflow(b)) }
    package func bias(_ inputs: [Operand?], of output: Shape) throws -> HostTensor? {
        for case .host(let constant)? in inputs { return constant }
        return nil
    }
    func cotangent(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value, input: Int) throws -> Value { dy }
}

package struct Sub: Arithmetic {
    package static let name = "Sub"
    package static let formula = "y = a - b"
    package let dependence: Dependence = .adds
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_subtract }
    func onInts(_ a: Int, _ b: Int) throws -> Int { try checked(a.subtractingReportingOverflow(b)) }
    package func bias(_ inputs: [Operand?], of output: Shape) throws -> HostTensor? {
        if case .host(let constant)? = inputs.first { return constant }
        guard case .host(let constant)? = inputs.last else { return nil }
        return HostTensor(constant.shape, .floats(try constant.floats().map { -$0 }))
    }
    func cotangent(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value, input: Int) throws -> Value {
        input == 0 ? dy : tape.map(WB_MAP_scale, dy, a: -1)
    }
}

package struct Mul: Arithmetic {
    package static let name = "Mul"
    package static let formula = "y = a b"
    package let dependence: Dependence = .multiplies
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_multiply }
    func onInts(_ a: Int, _ b: Int) throws -> Int { try checked(a.multipliedReportingOverflow(by: b)) }
    func cotangent(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value, input: Int) throws -> Value {
        tape.map(WB_MAP_multiply, dy, try tape.value(required(node.inputs, 1 - input, "input")))
    }
}

package struct Div: Arithmetic {
    package static let name = "Div"
    package static let formula = "y = a / b"
    package let dependence: Dependence = .divides
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = [.inputs, .output]
    var operation: MapOperation { WB_MAP_divide }
    func onInts(_ a: Int, _ b: Int) throws -> Int {
        if b == 0 { throw OperatorError("divides a shape by 0") }
        return try checked(a.dividedReportingOverflow(by: b))
    }
    /// Cut off. A quotient of numbers up to 2^24 is rounded to none that it does not reach.
    func onWhole(_ tape: inout Tape, _ a: Value, _ b: Value) throws -> Value {
        tape.map(WB_MAP_trunc, tape.map(WB_MAP_divide, a, b))
    }
    /// da = dy / b, db = −dy y / b
    func cotangent(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value, input: Int) throws -> Value {
        let quotient = tape.map(WB_MAP_divide, dy, try tape.value(required(node.inputs, 1, "B")))
        if input == 0 { return quotient }
        return tape.map(
            WB_MAP_scale, tape.map(WB_MAP_multiply, quotient, try tape.value(node.output)), a: -1)
    }
}

package struct Mod: Arithmetic {
    package static let name = "Mod"
    package static let formula =
        "y = a - n b, n = a / b rounded towards 0 (fmod = 1) or, of whole numbers, downwards; exact"
    package static let opsets = 10...24
    package let dependence: Dependence = .curve(isSmooth: false)
    private let towardsZero: Bool
    package init(_ attributes: Attributes) throws {
        towardsZero = try attributes.int("fmod", default: 0) != 0
    }
    package let gradientNeeds: GradientNeeds = [.inputs, .output]
    var operation: MapOperation { WB_MAP_fmod }
    func onInts(_ a: Int, _ b: Int) throws -> Int {
        if b == 0 { throw OperatorError("divides a shape by 0") }
        let rest = b == -1 ? 0 : a % b
        return !towardsZero && rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest
    }
    func onWhole(_ tape: inout Tape, _ a: Value, _ b: Value) throws -> Value {
        tape.map(towardsZero ? WB_MAP_fmod : WB_MAP_modulo, a, b)
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let (a, b) = try operands(tape, inputs)
        let (values, areWhole) = try tape.alike([a, b])
        if areWhole { return [.value(tape.checkedWhole(try onWhole(&tape, values[0], values[1])))] }
        guard towardsZero else {
            throw OperatorError(
                "has the attribute “fmod” of 0, which is defined of whole numbers only; of others it is 1")
        }
        return [.value(tape.map(operation, values[0], values[1]))]
    }
    /// da = dy, db = −n dy = dy (y − a) / b
    func cotangent(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value, input: Int) throws -> Value {
        if input == 0 { return dy }
        let (a, b) = (try required(node.inputs, 0, "A"), try required(node.inputs, 1, "B"))
        let left = tape.map(WB_MAP_subtract, try tape.value(node.output), try tape.value(a))
        let n = tape.map(WB_MAP_round, tape.map(WB_MAP_divide, left, try tape.value(b)))
        return tape.map(WB_MAP_multiply, n, dy)
    }
}

package struct Pow: Operator {
    package static let name = "Pow"
    package static let formula = "y = x^e, as IEEE 754 has pow; gradient for e 0 where x is"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package var reach: Reach { .place }
    package let dependence: Dependence = .curve(isSmooth: true)
    package let gradientNeeds: GradientNeeds = [.inputs, .output]
    package init(_ attributes: Attributes) throws {}

    /// The exponent as a value, or as a number if it is one.
    private enum Exponent {
        case number(Float)
        case value(Value)
    }
    private func operands(_ tape: inout Tape, _ inputs: [Operand?]) throws -> (Value, Exponent) {
        let (x, exponent) = (try required(inputs, 0, "X"), try required(inputs, 1, "Y"))
        guard Shape.broadcast(tape.shape(x), tape.shape(exponent)) != nil else {
            throw OperatorError(
                "combines shapes that do not fit: \(tape.shape(x)) and \(tape.shape(exponent))")
        }
        let base = try tape.value(x)
        guard case .host(let tensor) = exponent else { return (base, .value(try tape.value(exponent))) }
        let rank = max(tape.shape(x).rank, tensor.shape.rank)
        if tensor.shape.count == 1, tensor.shape.rank == 0 || rank == tape.shape(x).rank {
            return (base, .number(try tensor.floats()[0]))
        }
        // Whole exponents of real numbers are fine.
        return (base, .value(try tape.wholeValue(exponent)))
    }

    /// Numbers whose powers are a step or two without logarithms.
    private func simple(_ exponent: Float) -> MapOperation? {
        switch exponent {
        case -1: WB_MAP_reciprocal
        case -0.5: WB_MAP_reciprocal_root
        case 0.5: WB_MAP_root
        case 3: WB_MAP_cube
        default: nil
        }
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let (x, exponent) = try operands(&tape, inputs)
        switch exponent {
        case .number(1): return [.value(x)]
        case .number(2): return [.value(tape.map(WB_MAP_multiply, x, x))]
        case .number(let e):
            guard let operation = simple(e) else { return [.value(tape.map(WB_MAP_pow_constant, x, a: e))] }
            return [.value(tape.map(operation, x))]
        case .value(let e): return [.value(tape.map(WB_MAP_pow, x, e))]
        }
    }

    /// dx = dy e x^(e - 1), 0 where e is; de = dy y ln x, 0 where x is and y is finite.
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let (x, exponent) = try operands(&tape, node.inputs)
        let dy = cotangents[0]!
        return try node.each(wanted) { input in
            let d: Value
            switch (input, exponent) {
            case (0, .number(let e)):
                d =
                    switch e {
                    case 0: tape.map(WB_MAP_scale, dy, a: 0)
                    case 1: dy
                    case 2: tape.map(WB_MAP_multiply, tape.map(WB_MAP_scale, x, a: 2), dy)
                    case 3: tape.map(WB_MAP_cube_vjp, x, dy)
                    default: tape.map(WB_MAP_pow_constant_vjp, x, dy, a: e, b: e - 1)
                    }
            case (0, .value(let e)):
                let one = tape.fill([1], with: 1)
                let power = tape.map(WB_MAP_pow, x, tape.map(WB_MAP_subtract, e, one))
                d = tape.map(WB_MAP_multiply, tape.map(WB_MAP_multiply_or_zero, power, e), dy)
            default:
                d = tape.map(
                    WB_MAP_multiply, tape.map(WB_MAP_pow_log, x, try tape.value(node.output)), dy)
            }
            return tape.sum(d, to: tape.shape(try required(node.inputs, input, "input")))
        }
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard inputs.count == 2, let exponents = inputs[1], exponents.isInteger,
            try exponents.ints().allSatisfy({ $0 >= 0 })
        else { return nil }
        return try HostTensor.combine(inputs, within: limits) { numbers in
            let (x, e) = (numbers[0], numbers[1])
            if x == 0 || x == 1 { return e == 0 ? 1 : x }
            if x == -1 { return e % 2 == 0 ? 1 : -1 }
            var power = 1
            for _ in 0..<min(e, 64) { power = try checked(power.multipliedReportingOverflow(by: x)) }
            return power
        }
    }
}

package struct Sum: Operator {
    package var reach: Reach { .place }
    package static let name = "Sum"
    package static let formula = "y = a + b + ..., added from left to right"
    package let dependence: Dependence = .adds
    package static func arity(opset: Int) -> Arity { Arity(inputs: nil) }
    package init(_ attributes: Attributes) throws {}
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let values = try terms(tape, inputs).map { try tape.value($0) }
        return [.value(values.dropFirst().reduce(values[0]) { tape.map(WB_MAP_add, $0, $1) })]
    }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        try node.each(wanted) {
            tape.sum(cotangents[0]!, to: tape.shape(try required(node.inputs, $0, "input")))
        }
    }
}

package struct Mean: Operator {
    package var reach: Reach { .place }
    package static let name = "Mean"
    package static let formula = "y = (a + b + ...) / n, added from left to right"
    package static func arity(opset: Int) -> Arity { Arity(inputs: nil) }
    package init(_ attributes: Attributes) throws {}
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let values = try terms(tape, inputs).map { try tape.value($0) }
        let sum = values.dropFirst().reduce(values[0]) { tape.map(WB_MAP_add, $0, $1) }
        return [.value(values.count == 1 ? sum : divided(&tape, sum, by: values.count))]
    }
    private func divided(_ tape: inout Tape, _ x: Value, by count: Int) -> Value {
        tape.map(WB_MAP_divide, x, tape.fill([1], with: Float(count)))
    }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let part = divided(&tape, cotangents[0]!, by: node.inputs.count)
        return try node.each(wanted) {
            tape.sum(part, to: tape.shape(try required(node.inputs, $0, "input")))
        }
    }
}

/// The largest or smallest of tensors, number by number; NaN if one is. The gradient goes to the first input that has the extreme.
protocol Extreme: Operator {
    var operation: MapOperation { get }
    func onInts(_ numbers: [Int]) -> Int
}

extension Extreme {
    package static var accepts: Set<Meaning> { [.real, .integer] }
    package static func arity(opset: Int) -> Arity { Arity(inputs: nil) }
    package var reach: Reach { .place }
    package var dependence: Dependence { .curve(isSmooth: false) }
    package var gradientNeeds: GradientNeeds { [.inputs, .output] }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { common(inputs) }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let values = try tape.alike(terms(tape, inputs)).values
        return [.value(values.dropFirst().reduce(values[0]) { tape.map(operation, $0, $1) })]
    }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let y = try tape.value(node.output)
        var left = cotangents[0]!
        return try node.inputs.indices.map { i in
            let x = try required(node.inputs, i, "input")
            let has = tape.map(WB_MAP_equal, try tape.value(x), y)
            let here = tape.map(WB_MAP_keep_where, left, has)
            left = tape.map(WB_MAP_keep_unless, left, has)
            return wanted.contains(i) ? tape.sum(here, to: tape.shape(x)) : nil
        }
    }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        try HostTensor.combine(inputs, within: limits) { onInts($0) }
    }
}

package struct Max: Extreme {
    package static let name = "Max"
    package static let formula = "y = max(a, b, ...); gradient to the first that is the largest"
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_maximum }
    func onInts(_ numbers: [Int]) -> Int { numbers.max()! }
}

package struct Min: Extreme {
    package static let name = "Min"
    package static let formula = "y = min(a, b, ...); gradient to the first that is the smallest"
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_minimum }
    func onInts(_ numbers: [Int]) -> Int { numbers.min()! }
}
