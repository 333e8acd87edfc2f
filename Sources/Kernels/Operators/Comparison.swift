// Comparisons, logic, and the choice between two tensors. A truth is 1 or 0.

import CMicrokernels

extension Tape {
    /// An operand of truths as a value.
    fileprivate mutating func truth(_ operand: Operand) throws -> Value {
        let isTruth =
            switch operand {
            case .value(let value): meaning(value) == .boolean
            case .host(let tensor): try tensor.isInteger && tensor.ints().allSatisfy { $0 == 0 || $0 == 1 }
            case .fused: false
            }
        guard isTruth else { throw OperatorError("takes numbers for truths that are none") }
        return try wholeValue(operand)
    }
}

/// What comparisons and the logic of two tensors share.
protocol Judging: Operator {
    func onInts(_ a: Int, _ b: Int) -> Bool
    func judge(_ tape: inout Tape, _ a: Operand, _ b: Operand) throws -> Value
}

extension Judging {
    package static var hasGradient: Bool { false }
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package var reach: Reach { .place }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { .boolean }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let (a, b) = (try required(inputs, 0, "A"), try required(inputs, 1, "B"))
        guard Shape.broadcast(tape.shape(a), tape.shape(b)) != nil else {
            throw OperatorError("combines shapes that do not fit: \(tape.shape(a)) and \(tape.shape(b))")
        }
        return [.value(try judge(&tape, a, b))]
    }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard inputs.count == 2 else { return nil }
        return try HostTensor.combine(inputs, within: limits) { onInts($0[0], $0[1]) ? 1 : 0 }
    }
}

/// False where a real number is NaN. A whole number that is NaN is not known, nor is what it is compared with.
protocol Comparing: Judging {
    var operation: MapOperation { get }
    /// Whether the operation compares the second with the first.
    var isSwapped: Bool { get }
}

extension Comparing {
    package static var accepts: Set<Meaning> { [.real, .integer, .wrapping] }
    var isSwapped: Bool { false }
    func judge(_ tape: inout Tape, _ a: Operand, _ b: Operand) throws -> Value {
        let (values, areWhole) = try tape.alike(isSwapped ? [b, a] : [a, b])
        return tape.map(operation, values[0], values[1], a: areWhole ? 1 : 0)
    }
}

package struct Equal: Comparing {
    package static let name = "Equal"
    package static let formula = "whether a = b"
    package static let accepts = Meaning.all
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_equal }
    func onInts(_ a: Int, _ b: Int) -> Bool { a == b }
}

package struct Greater: Comparing {
    package static let name = "Greater"
    package static let formula = "whether a > b"
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_greater }
    func onInts(_ a: Int, _ b: Int) -> Bool { a > b }
}

package struct GreaterOrEqual: Comparing {
    package static let name = "GreaterOrEqual"
    package static let formula = "whether a >= b"
    package static let opsets = 12...24
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_greater_or_equal }
    func onInts(_ a: Int, _ b: Int) -> Bool { a >= b }
}

package struct Less: Comparing {
    package static let name = "Less"
    package static let formula = "whether a < b"
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_greater }
    let isSwapped = true
    func onInts(_ a: Int, _ b: Int) -> Bool { a < b }
}

package struct LessOrEqual: Comparing {
    package static let name = "LessOrEqual"
    package static let formula = "whether a <= b"
    package static let opsets = 12...24
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_greater_or_equal }
    let isSwapped = true
    func onInts(_ a: Int, _ b: Int) -> Bool { a <= b }
}

/// Of truths.
protocol Logic: Judging {}
extension Logic {
    package static var accepts: Set<Meaning> { [.boolean] }
}

package struct And: Logic {
    package static let name = "And"
    package static let formula = "whether a and b"
    package init(_ attributes: Attributes) throws {}
    func judge(_ tape: inout Tape, _ a: Operand, _ b: Operand) throws -> Value {
        tape.map(WB_MAP_multiply, try tape.truth(a), try tape.truth(b))
    }
    func onInts(_ a: Int, _ b: Int) -> Bool { a != 0 && b != 0 }
}

package struct Or: Logic {
    package static let name = "Or"
    package static let formula = "whether a or b"
    package init(_ attributes: Attributes) throws {}
    func judge(_ tape: inout Tape, _ a: Operand, _ b: Operand) throws -> Value {
        tape.map(WB_MAP_maximum, try tape.truth(a), try tape.truth(b))
    }
    func onInts(_ a: Int, _ b: Int) -> Bool { a != 0 || b != 0 }
}

package struct Xor: Logic {
    package static let name = "Xor"
    package static let formula = "whether either a or b"
    package init(_ attributes: Attributes) throws {}
    func judge(_ tape: inout Tape, _ a: Operand, _ b: Operand) throws -> Value {
        tape.map(WB_MAP_abs, tape.map(WB_MAP_subtract, try tape.truth(a), try tape.truth(b)))
    }
    func onInts(_ a: Int, _ b: Int) -> Bool { (a != 0) != (b != 0) }
}

package struct Not: Operator {
    package static let name = "Not"
    package static let formula = "whether not x"
    package static let accepts: Set<Meaning> = [.boolean]
    package static let hasGradient = false
    package var reach: Reach { .place }
    package init(_ attributes: Attributes) throws {}
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { .boolean }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(tape.map(WB_MAP_not, try tape.truth(required(inputs, 0, "X"))))]
    }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        try HostTensor.combine(inputs, within: limits) { $0[0] == 0 ? 1 : 0 }
    }
}

package struct Where: Operator {
    package static let name = "Where"
    package static let formula = "y = a where the condition holds, else b"
    package static let opsets = 9...24
    package static let accepts = Meaning.all
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    package var reach: Reach { .place }
    package let dependence: Dependence = .chooses
    package let gradientNeeds: GradientNeeds = .inputs
    package init(_ attributes: Attributes) throws {}

    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        guard inputs.count == 3, let a = inputs[1], let b = inputs[2] else { return .real }
        if [a, b].contains(.wrapping) { return .wrapping }
        // A constant truth is a whole number too.
        return a == b ? a : [a, b].contains(.real) ? .real : [a, b].contains(.boolean) ? .boolean : .integer
    }

    private func operands(_ tape: inout Tape, _ inputs: [Operand?]) throws -> (Value, Operand, Operand) {
        let condition = try required(inputs, 0, "condition")
        let (a, b) = (try required(inputs, 1, "X"), try required(inputs, 2, "Y"))
        guard let both = Shape.broadcast(tape.shape(a), tape.shape(b)),
            Shape.broadcast(both, tape.shape(condition)) != nil
        else {
            throw OperatorError(
                "combines shapes that do not fit: \(tape.shape(condition)), \(tape.shape(a)) and \(tape.shape(b))"
            )
        }
        return (try tape.truth(condition), a, b)
    }

    /// A constant of a single number, of no higher rank than the other.
    private func number(_ tape: Tape, _ operand: Operand, besides other: Operand) throws -> Float? {
        guard case .host(let tensor) = operand, tensor.shape.count == 1,
            tensor.shape.rank <= tape.shape(other).rank
        else { return nil }
        return try tensor.isInteger ? nil : tensor.floats()[0]
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let (condition, a, b) = try operands(&tape, inputs)
        if let number = try number(tape, a, besides: b) {
            return [.value(tape.map(WB_MAP_constant_where, condition, try tape.value(b), a: number))]
        }
        if let number = try number(tape, b, besides: a) {
            return [.value(tape.map(WB_MAP_constant_unless, condition, try tape.value(a), a: number))]
        }
        let values = try tape.alike([a, b]).values
        // -0 added to a number leaves it as it is.
        let (first, second) = (
            tape.map(WB_MAP_keep_where, values[0], condition, a: -0.0),
            tape.map(WB_MAP_keep_unless, values[1], condition, a: -0.0)
        )
        return [.value(tape.map(WB_MAP_add, first, second))]
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let condition = try operands(&tape, node.inputs).0
        return try node.each(wanted) { input in
            guard input > 0 else { return nil }
            let d = tape.map(
                input == 1 ? WB_MAP_keep_where : WB_MAP_keep_unless, cotangents[0]!, condition)
            return tape.sum(d, to: tape.shape(try required(node.inputs, input, "input")))
        }
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard inputs.count == 3 else { return nil }
        return try HostTensor.combine(inputs, within: limits) { $0[0] != 0 ? $0[1] : $0[2] }
    }
}
