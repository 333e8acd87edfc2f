// Sums, differences, products and quotients of tensors that broadcast.

import CMicrokernels

/// What the arithmetic of two tensors shares.
protocol Arithmetic: Operator {
    var operation: MapOperation { get }
    func onInts(_ a: Int, _ b: Int) throws -> Int
    /// The cotangent of an input, before it is summed over what was broadcast.
    func cotangent(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value, input: Int) throws -> Value
}

extension Arithmetic {
    package var keepsPicturesApart: Bool { true }
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }

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

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let (a, b) = try operands(tape, inputs)
        return [.value(tape.map(operation, try tape.value(a), try tape.value(b)))]
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
        guard inputs.count == 2, let a = inputs[0], let b = inputs[1], a.isInteger, b.isInteger,
            let shape = Shape.broadcast(a.shape, b.shape), shape.count == max(a.shape.count, b.shape.count)
        else { return nil }
        try limits.memory.check(8 * shape.count)
        let (p, q) = (try a.ints(), try b.ints())
        guard !p.isEmpty, !q.isEmpty, p.count == q.count || p.count == 1 || q.count == 1 else { return nil }
        return [
            HostTensor(
                shape,
                .ints(
                    try (0..<shape.count).map {
                        try onInts(p[p.count == 1 ? 0 : $0], q[q.count == 1 ? 0 : $0])
                    }))
        ]
    }
}

/// The result of integer arithmetic that must not overflow.
private func checked(_ result: (partialValue: Int, overflow: Bool)) throws -> Int {
    if result.overflow { throw OperatorError("computes a shape that overflows") }
    return result.partialValue
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
    /// da = dy / b, db = −dy y / b
    func cotangent(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value, input: Int) throws -> Value {
        let quotient = tape.map(WB_MAP_divide, dy, try tape.value(required(node.inputs, 1, "B")))
        if input == 0 { return quotient }
        return tape.map(
            WB_MAP_scale, tape.map(WB_MAP_multiply, quotient, try tape.value(node.output)), a: -1)
    }
}

package struct Sum: Operator {
    package var keepsPicturesApart: Bool { true }
    package static let name = "Sum"
    package static let formula = "y = a + b + ..., added from left to right"
    package let dependence: Dependence = .adds
    package static func arity(opset: Int) -> Arity { Arity(inputs: nil) }
    package init(_ attributes: Attributes) throws {}
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        var sum = try tape.value(required(inputs, 0, "data_0"))
        for i in inputs.indices.dropFirst() {
            let next = try tape.value(required(inputs, i, "data_\(i)"))
            guard Shape.broadcast(tape.shape(sum), tape.shape(next)) != nil else {
                throw OperatorError("adds shapes that do not fit: \(tape.shape(sum)) and \(tape.shape(next))")
            }
            sum = tape.map(WB_MAP_add, sum, next)
        }
        return [.value(sum)]
    }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        try node.each(wanted) {
            tape.sum(cotangents[0]!, to: tape.shape(try required(node.inputs, $0, "input")))
        }
    }
}
