// Functions of one number.

import CMicrokernels

/// What the activations share: one element-wise operation, one for the gradient.
protocol Activation: UnaryOperator {
    var operation: MapOperation { get }
    /// The operation of the gradient: of the input, or of the output where `gradientNeeds` says so.
    var gradientOperation: MapOperation { get }
    /// The constants of both.
    var constants: (a: Float, b: Float) { get }
}

extension Activation {
    package var keepsPicturesApart: Bool { true }
    package var dependence: Dependence { .curve(isSmooth: true) }
    package var constants: (a: Float, b: Float) { (0, 0) }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "X"))
        return [.value(tape.map(operation, x, a: constants.a, b: constants.b))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let source = gradientNeeds.contains(.output) ? node.output : try required(node.inputs, 0, "X")
        return tape.map(
            gradientOperation, try tape.value(source), dy, a: constants.a, b: constants.b)
    }
}

/// A clip to constant bounds. The gradient is 0 where the result is on a bound.
protocol Clipping: UnaryOperator {
    func bounds(_ inputs: [Operand?]) throws -> Bounds
}

extension Clipping {
    package var keepsPicturesApart: Bool { true }
    package var role: Role { .clips(bounds: bounds) }
    package var dependence: Dependence { .curve(isSmooth: false) }
    package var gradientNeeds: GradientNeeds { .output }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let bounds = try bounds(inputs)
        let x = try tape.value(required(inputs, 0, "X"))
        return [.value(tape.map(WB_MAP_clip, x, a: bounds.low, b: bounds.high))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let bounds = try bounds(node.inputs)
        let y = try tape.value(node.output)
        return tape.map(WB_MAP_clip_vjp_of_output, y, dy, a: bounds.low, b: bounds.high)
    }
}

package struct Relu: Clipping {
    package static let name = "Relu"
    package static let formula = "y = max(x, 0); gradient 0 at 0"
    package init(_ attributes: Attributes) throws {}
    func bounds(_ inputs: [Operand?]) throws -> Bounds { .relu }
}

package struct Clip: Clipping {
    package static let name = "Clip"
    package static let formula = "y = min(max(x, low), high); gradient 0 on the bounds"
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 11 ? 3 : 1) }
    private let low: Float, high: Float, boundsAreInputs: Bool

    package init(_ attributes: Attributes) throws {
        boundsAreInputs = attributes.opset >= 11
        low = boundsAreInputs ? -.infinity : try attributes.float("min", default: -.infinity)
        high = boundsAreInputs ? .infinity : try attributes.float("max", default: .infinity)
    }

    func bounds(_ inputs: [Operand?]) throws -> Bounds {
        guard boundsAreInputs else { return Bounds(low, high) }
        func bound(_ index: Int, _ fallback: Float) throws -> Float {
            guard let tensor = try constant(inputs, index, index == 1 ? "min" : "max") else {
                return fallback
            }
            guard tensor.shape.count == 1 else {
                throw OperatorError("has bounds that are not single numbers")
            }
            return try tensor.floats()[0]
        }
        return Bounds(try bound(1, -.infinity), try bound(2, .infinity))
    }
}

package struct LeakyRelu: Activation {
    package static let name = "LeakyRelu"
    package static let formula = "y = x if x >= 0, else alpha x"
    private let alpha: Float
    package init(_ attributes: Attributes) throws { alpha = try attributes.float("alpha", default: 0.01) }
    package let dependence: Dependence = .curve(isSmooth: false)
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_leaky_relu }
    var gradientOperation: MapOperation { WB_MAP_leaky_relu_vjp }
    var constants: (a: Float, b: Float) { (alpha, 0) }
}

package struct Elu: Activation {
    package static let name = "Elu"
    package static let formula = "y = x if x >= 0, else alpha (exp(x) - 1)"
    private let alpha: Float
    package init(_ attributes: Attributes) throws { alpha = try attributes.float("alpha", default: 1) }
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_elu }
    var gradientOperation: MapOperation { WB_MAP_elu_vjp }
    var constants: (a: Float, b: Float) { (alpha, 0) }
}

package struct PRelu: Operator {
    package var keepsPicturesApart: Bool { true }
    package let dependence: Dependence = .curve(isSmooth: false)
    package static let name = "PRelu"
    package static let formula = "y = x if x >= 0, else slope x"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let (x, slope) = (try required(inputs, 0, "X"), try required(inputs, 1, "slope"))
        guard Shape.broadcast(tape.shape(x), tape.shape(slope)) == tape.shape(x) else {
            throw OperatorError(
                "has slopes of shape \(tape.shape(slope)) for an input of shape \(tape.shape(x))")
        }
        return [.value(tape.map(WB_MAP_prelu, try tape.value(x), try tape.value(slope)))]
    }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        guard !wanted.contains(1) else {
            throw OperatorError(unsupported: "has no gradient with respect to its slopes")
        }
        let x = try tape.value(required(node.inputs, 0, "X"))
        let slope = try tape.value(required(node.inputs, 1, "slope"))
        return [tape.map(WB_MAP_multiply, tape.map(WB_MAP_prelu_slope, x, slope), cotangents[0]!), nil]
    }
}

package struct Sigmoid: Activation {
    package static let name = "Sigmoid"
    package static let formula = "y = 1 / (1 + exp(-x))"
    package let role: Role = .sigmoid
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .output
    var operation: MapOperation { WB_MAP_sigmoid }
    var gradientOperation: MapOperation { WB_MAP_sigmoid_vjp_of_output }
}

package struct HardSigmoid: Activation {
    package static let name = "HardSigmoid"
    package static let formula = "y = min(max(alpha x + beta, 0), 1)"
    private let alpha: Float, beta: Float
    package init(_ attributes: Attributes) throws {
        alpha = try attributes.float("alpha", default: 0.2)
        beta = try attributes.float("beta", default: 0.5)
    }
    package let dependence: Dependence = .curve(isSmooth: false)
    package let gradientNeeds: GradientNeeds = .output
    var operation: MapOperation { WB_MAP_hard_sigmoid }
    var gradientOperation: MapOperation { WB_MAP_hard_sigmoid_vjp_of_output }
    var constants: (a: Float, b: Float) { (alpha, beta) }
}

package struct HardSwish: Activation {
    package static let name = "HardSwish"
    package static let formula = "y = x min(max(x / 6 + 1/2, 0), 1)"
    package static let opsets = 14...24
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_hard_swish }
    var gradientOperation: MapOperation { WB_MAP_hard_swish_vjp }
}

package struct Tanh: Activation {
    package static let name = "Tanh"
    package static let formula = "y = tanh(x)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .output
    var operation: MapOperation { WB_MAP_tanh }
    var gradientOperation: MapOperation { WB_MAP_tanh_vjp_of_output }
}

package struct Exp: Activation {
    package static let name = "Exp"
    package static let formula = "y = exp(x)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .output
    var operation: MapOperation { WB_MAP_exp }
    var gradientOperation: MapOperation { WB_MAP_multiply }
}

package struct Log: Activation {
    package static let name = "Log"
    package static let formula = "y = log(x)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_log }
    var gradientOperation: MapOperation { WB_MAP_log_vjp }
}

package struct Sqrt: Activation {
    package static let name = "Sqrt"
    package static let formula = "y = sqrt(x)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .output
    var operation: MapOperation { WB_MAP_sqrt }
    var gradientOperation: MapOperation { WB_MAP_sqrt_vjp_of_output }
}

package struct Erf: Activation {
    package static let name = "Erf"
    package static let formula = "y = erf(x)"
    package static let opsets = 9...24
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_erf }
    var gradientOperation: MapOperation { WB_MAP_erf_vjp }
}

package struct Abs: Activation {
    package static let name = "Abs"
    package static let formula = "y = |x|; gradient 0 at 0"
    package init(_ attributes: Attributes) throws {}
    package let dependence: Dependence = .curve(isSmooth: false)
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_abs }
    var gradientOperation: MapOperation { WB_MAP_abs_vjp }
}

package struct Neg: UnaryOperator {
    package var keepsPicturesApart: Bool { true }
    package static let name = "Neg"
    package static let formula = "y = -x"
    package let dependence: Dependence = .affine
    package init(_ attributes: Attributes) throws {}
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(tape.map(WB_MAP_scale, try tape.value(required(inputs, 0, "X")), a: -1))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        tape.map(WB_MAP_scale, dy, a: -1)
    }
}
