// LRN, Softmax, LogSoftmax, Hardmax.

import CMicrokernels

package struct LRN: UnaryOperator {
    package var reach: Reach { .behindFirst }
    package static let name = "LRN"
    package static let formula = "y = x (bias + alpha / size * sum of x^2 over size channels)^-beta"
    package let role: Role = .pools
    package let dependence: Dependence = .normalises
    private let size: Int, alpha: Float, beta: Float, bias: Float
    package let gradientNeeds: GradientNeeds = .inputs

    package init(_ attributes: Attributes) throws {
        size = try attributes.int("size")
        guard size >= 1 else { throw OperatorError("has the size \(size), which must be at least 1") }
        guard size <= 1 << 20 else {
            throw OperatorError(unsupported: "has the size \(size), which must be at most \(1 << 20) here")
        }
        alpha = try attributes.float("alpha", default: 1e-4)
        beta = try attributes.float("beta", default: 0.75)
        bias = try attributes.float("bias", default: 1)
    }

    private func step(_ tape: inout Tape, _ inputs: [Value]) throws -> Value {
        let shape = try image(tape.shape(inputs[0]))
        let y = tape.value(shape)
        let d = shape.dims
        tape.add(
            LocalResponse(
                window: wb_lrn(
                    pixels: Int32(d[0] * d[2] * d[3]), c: Int32(d[1]), size: Int32(size),
                    alpha: alpha / Float(size),
                    beta: beta, bias: bias), inputs: inputs.map { tape.dense($0) }, output: y))
        return y
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(try step(&tape, [try tape.value(required(inputs, 0, "X"))]))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try step(&tape, [try tape.value(required(node.inputs, 0, "X")), dy])
    }
}

/// What Softmax and its logarithm share.
private struct SoftmaxRows: Sendable {
    private let axis: Int
    /// Before operator set 13 all dimensions from the axis on are one.
    private let flattens: Bool

    init(_ attributes: Attributes) throws {
        flattens = attributes.opset < 13
        axis = try attributes.int("axis", default: flattens ? 1 : -1)
    }

    var reach: Reach { flattens ? .from(axis) : .along(axis) }

    /// The form of a tensor in which one axis is a row.
    func form(of shape: Shape) throws -> (form: Shape, axis: Int) {
        let axis = try normalised(self.axis, rank: shape.rank)
        guard flattens && axis != shape.rank - 1 else { return (shape, axis) }
        return ([shape.dims[..<axis].reduce(1, *), shape.dims[axis...].reduce(1, *)], 1)
    }

    func apply(_ tape: inout Tape, _ inputs: [Value], logarithm: Bool) throws -> Value {
        let shape = tape.shape(inputs[0])
        let (working, axis) = try form(of: shape)
        // In the order in which the last one lies: the input, or the cotangent of the output.
        let rows = Tape.Rows(&tape, tape.reshape(inputs.last!, to: working), axis: axis)
        let others = inputs.dropLast().map { rows.same(&tape, tape.reshape($0, to: working)) }
        let y = tape.value(tape.shape(rows.value))
        let (inner, length) = (tape.shape(rows.value).dims[2], working.dims[axis])
        tape.add(
            Softmax(
                logarithm: logarithm,
                rows: wb_rows(
                    outer: Int32(working.count / max(1, inner * length)), length: Int32(length),
                    inner: Int32(inner)),
                inputs: others + [rows.value], output: y))
        return tape.reshape(rows.restored(&tape, y), to: shape)
    }
}

package struct SoftmaxOperator: UnaryOperator {
    package static let name = "Softmax"
    package static let formula = "y = exp(x - max x) / sum of exp(x - max x)"
    package let role: Role = .softmax
    package var dependence: Dependence { .softmax(rows: rows.form) }
    private let rows: SoftmaxRows
    package var reach: Reach { rows.reach }
    package init(_ attributes: Attributes) throws { rows = try SoftmaxRows(attributes) }
    package let gradientNeeds: GradientNeeds = .output
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(try rows.apply(&tape, [try tape.value(required(inputs, 0, "input"))], logarithm: false))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try rows.apply(&tape, [try tape.value(node.output), dy], logarithm: false)
    }
}

package struct LogSoftmax: UnaryOperator {
    package static let name = "LogSoftmax"
    package static let formula = "y = (x - max x) - log(sum of exp(x - max x))"
    package let role: Role = .softmax
    private let rows: SoftmaxRows
    package var reach: Reach { rows.reach }
    package init(_ attributes: Attributes) throws { rows = try SoftmaxRows(attributes) }
    package let gradientNeeds: GradientNeeds = .output
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(try rows.apply(&tape, [try tape.value(required(inputs, 0, "input"))], logarithm: true))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try rows.apply(&tape, [try tape.value(node.output), dy], logarithm: true)
    }
}

package struct Hardmax: Operator {
    package static let name = "Hardmax"
    package static let formula = "1 at the first of the largest numbers along an axis, 0 at all others"
    package static let hasGradient = false
    private let rows: SoftmaxRows
    package var reach: Reach { rows.reach }
    package init(_ attributes: Attributes) throws { rows = try SoftmaxRows(attributes) }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "input"))
        let shape = tape.shape(x)
        let (form, axis) = try rows.form(of: shape)
        let taken = try tape.extreme(tape.reshape(x, to: form), axes: [axis])
        let ones = tape.fill(tape.shape(taken), with: 1)
        return [.value(tape.reshape(try tape.give(ones, to: taken, of: form, axes: [axis]), to: shape))]
    }
}
