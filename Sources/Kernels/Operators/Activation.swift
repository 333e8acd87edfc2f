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
    package var reach: Reach { .place }
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
    package var reach: Reach { .place }
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
    package var reach: Reach { .place }
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
    package static let accepts: Set<Meaning> = [.real, .integer]
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { inputs[0] ?? .real }
    package static let formula = "y = |x|; gradient 0 at 0"
    package init(_ attributes: Attributes) throws {}
    package let dependence: Dependence = .curve(isSmooth: false)
    package let gradientNeeds: GradientNeeds = .inputs
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        try HostTensor.combine(inputs, within: limits) {
            $0[0] < 0 ? try checked(0.subtractingReportingOverflow($0[0])) : $0[0]
        }
    }
    var operation: MapOperation { WB_MAP_abs }
    var gradientOperation: MapOperation { WB_MAP_abs_vjp }
}

package struct Neg: UnaryOperator {
    package var reach: Reach { .place }
    package static let name = "Neg"
    package static let accepts: Set<Meaning> = [.real, .integer]
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { inputs[0] ?? .real }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        try HostTensor.combine(inputs, within: limits) { try checked(0.subtractingReportingOverflow($0[0])) }
    }
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

// MARK: Further curves

package struct Selu: Activation {
    package static let name = "Selu"
    package static let formula = "y = gamma x if x >= 0, else gamma alpha (exp(x) - 1)"
    private let alpha: Float, gamma: Float
    package init(_ attributes: Attributes) throws {
        alpha = try attributes.float("alpha", default: 1.67326319217681884765625)
        gamma = try attributes.float("gamma", default: 1.05070102214813232421875)
    }
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_selu }
    var gradientOperation: MapOperation { WB_MAP_selu_vjp }
    var constants: (a: Float, b: Float) { (alpha, gamma) }
}

package struct Celu: Activation {
    package static let name = "Celu"
    package static let formula = "y = x if x >= 0, else alpha (exp(x / alpha) - 1)"
    package static let opsets = 12...24
    private let alpha: Float
    package init(_ attributes: Attributes) throws {
        alpha = try attributes.float("alpha", default: 1)
        guard alpha != 0, alpha.isFinite else {
            throw OperatorError("divides by its alpha, which is \(alpha)")
        }
    }
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_celu }
    var gradientOperation: MapOperation { WB_MAP_celu_vjp }
    var constants: (a: Float, b: Float) { (alpha, 0) }
}

package struct Softplus: Activation {
    package static let name = "Softplus"
    package static let formula = "y = log(1 + exp(x))"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_softplus }
    var gradientOperation: MapOperation { WB_MAP_softplus_vjp }
}

package struct Softsign: Activation {
    package static let name = "Softsign"
    package static let formula = "y = x / (1 + |x|)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_softsign }
    var gradientOperation: MapOperation { WB_MAP_softsign_vjp }
}

package struct Mish: Activation {
    package static let name = "Mish"
    package static let formula = "y = x tanh(log(1 + exp(x)))"
    package static let opsets = 18...24
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_mish }
    var gradientOperation: MapOperation { WB_MAP_mish_vjp }
}

package struct Swish: Activation {
    package static let name = "Swish"
    package static let formula = "y = x / (1 + exp(-alpha x))"
    package static let opsets = 24...24
    private let alpha: Float
    package init(_ attributes: Attributes) throws { alpha = try attributes.float("alpha", default: 1) }
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_swish }
    var gradientOperation: MapOperation { WB_MAP_swish_vjp }
    var constants: (a: Float, b: Float) { (alpha, 0) }
}

package struct ThresholdedRelu: Activation {
    package static let name = "ThresholdedRelu"
    package static let formula = "y = x if x > alpha, else 0"
    package static let opsets = 10...24
    private let alpha: Float
    package init(_ attributes: Attributes) throws { alpha = try attributes.float("alpha", default: 1) }
    package let dependence: Dependence = .curve(isSmooth: false)
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_thresholded_relu }
    var gradientOperation: MapOperation { WB_MAP_thresholded_relu_vjp }
    var constants: (a: Float, b: Float) { (alpha, 0) }
}

package struct Shrink: Activation {
    package static let name = "Shrink"
    package static let formula = "y = x + bias if x < -lambd, x - bias if x > lambd, else 0"
    package static let opsets = 9...24
    private let bias: Float, lambd: Float
    package init(_ attributes: Attributes) throws {
        bias = try attributes.float("bias", default: 0)
        lambd = try attributes.float("lambd", default: 0.5)
    }
    package let dependence: Dependence = .curve(isSmooth: false)
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_shrink }
    var gradientOperation: MapOperation { WB_MAP_shrink_vjp }
    var constants: (a: Float, b: Float) { (lambd, bias) }
}

/// The two forms of GELU.
private func gelu(tanh: Bool) -> (value: MapOperation, gradient: MapOperation) {
    tanh ? (WB_MAP_gelu_tanh, WB_MAP_gelu_tanh_vjp) : (WB_MAP_gelu, WB_MAP_gelu_vjp)
}

package struct Gelu: Activation {
    package static let name = "Gelu"
    package static let formula =
        "y = x (1 + erf(x / sqrt(2))) / 2, or x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2"
    package static let opsets = 20...24
    private let tanh: Bool
    package init(_ attributes: Attributes) throws {
        let approximate = try attributes.string("approximate", default: "none")
        guard ["none", "tanh"].contains(approximate) else {
            throw OperatorError(
                "has the attribute “approximate” of “\(approximate)”, where “none” or “tanh” is defined")
        }
        tanh = approximate == "tanh"
    }
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { gelu(tanh: tanh).value }
    var gradientOperation: MapOperation { gelu(tanh: tanh).gradient }
}

package struct Sin: Activation {
    package static let name = "Sin"
    package static let formula = "y = sin(x)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_sin }
    var gradientOperation: MapOperation { WB_MAP_sin_vjp }
}

package struct Cos: Activation {
    package static let name = "Cos"
    package static let formula = "y = cos(x)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_cos }
    var gradientOperation: MapOperation { WB_MAP_cos_vjp }
}

package struct Tan: Activation {
    package static let name = "Tan"
    package static let formula = "y = tan(x)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .output
    var operation: MapOperation { WB_MAP_tan }
    var gradientOperation: MapOperation { WB_MAP_tan_vjp_of_output }
}

package struct Asin: Activation {
    package static let name = "Asin"
    package static let formula = "y = arcsin(x)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_asin }
    var gradientOperation: MapOperation { WB_MAP_asin_vjp }
}

package struct Acos: Activation {
    package static let name = "Acos"
    package static let formula = "y = arccos(x)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_acos }
    var gradientOperation: MapOperation { WB_MAP_acos_vjp }
}

package struct Atan: Activation {
    package static let name = "Atan"
    package static let formula = "y = arctan(x)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_atan }
    var gradientOperation: MapOperation { WB_MAP_atan_vjp }
}

package struct Sinh: Activation {
    package static let name = "Sinh"
    package static let formula = "y = sinh(x)"
    package static let opsets = 9...24
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_sinh }
    var gradientOperation: MapOperation { WB_MAP_sinh_vjp }
}

package struct Cosh: Activation {
    package static let name = "Cosh"
    package static let formula = "y = cosh(x)"
    package static let opsets = 9...24
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_cosh }
    var gradientOperation: MapOperation { WB_MAP_cosh_vjp }
}

package struct Asinh: Activation {
    package static let name = "Asinh"
    package static let formula = "y = arsinh(x)"
    package static let opsets = 9...24
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_asinh }
    var gradientOperation: MapOperation { WB_MAP_asinh_vjp }
}

package struct Acosh: Activation {
    package static let name = "Acosh"
    package static let formula = "y = arcosh(x)"
    package static let opsets = 9...24
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_acosh }
    var gradientOperation: MapOperation { WB_MAP_acosh_vjp }
}

package struct Atanh: Activation {
    package static let name = "Atanh"
    package static let formula = "y = artanh(x)"
    package static let opsets = 9...24
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_atanh }
    var gradientOperation: MapOperation { WB_MAP_atanh_vjp }
}

package struct Reciprocal: Activation {
    package static let name = "Reciprocal"
    package static let formula = "y = 1 / x"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .output
    var operation: MapOperation { WB_MAP_reciprocal }
    var gradientOperation: MapOperation { WB_MAP_reciprocal_vjp_of_output }
}

// MARK: Steps

/// What is the same all around nearly every number, so that no gradient goes through it.
protocol Stepping: Operator {
    var operation: MapOperation { get }
    var constants: (a: Float, b: Float) { get }
}

extension Stepping {
    package static var hasGradient: Bool { false }
    package var reach: Reach { .place }
    package var dependence: Dependence { .curve(isSmooth: false) }
    package var constants: (a: Float, b: Float) { (0, 0) }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "X"))
        return [.value(tape.map(operation, x, a: constants.a, b: constants.b))]
    }
}

package struct Floor: Stepping {
    package static let name = "Floor"
    package static let formula = "y = the largest whole number not above x"
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_floor }
}

package struct Ceil: Stepping {
    package static let name = "Ceil"
    package static let formula = "y = the smallest whole number not below x"
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_ceil }
}

package struct Round: Stepping {
    package static let name = "Round"
    package static let formula = "y = the nearest whole number, of two the even one"
    package static let opsets = 11...24
    package init(_ attributes: Attributes) throws {}
    var operation: MapOperation { WB_MAP_round }
}

package struct Sign: Stepping {
    package static let name = "Sign"
    package static let formula = "y = 1 if x > 0, -1 if x < 0, else 0"
    package static let opsets = 9...24
    package static let accepts: Set<Meaning> = [.real, .integer]
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { inputs[0] ?? .real }
    package init(_ attributes: Attributes) throws {}
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        try HostTensor.combine(inputs, within: limits) { $0[0].signum() }
    }
    var operation: MapOperation { WB_MAP_sign }
}

package struct IsNaN: Stepping {
    package static let name = "IsNaN"
    package static let formula = "whether x is not a number"
    package static let opsets = 9...24
    package init(_ attributes: Attributes) throws {}
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { .boolean }
    var operation: MapOperation { WB_MAP_is_nan }
}

package struct IsInf: Stepping {
    package static let name = "IsInf"
    package static let formula = "whether x is infinite, of either sign or of one"
    package static let opsets = 10...24
    private let positive: Bool, negative: Bool
    package init(_ attributes: Attributes) throws {
        positive = try attributes.int("detect_positive", default: 1) != 0
        negative = try attributes.int("detect_negative", default: 1) != 0
    }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { .boolean }
    var operation: MapOperation { WB_MAP_is_inf }
    var constants: (a: Float, b: Float) { (positive ? 1 : 0, negative ? 1 : 0) }
}

// MARK: Of com.microsoft, as ONNX Runtime's optimiser writes them

package struct MicrosoftGelu: Activation {
    package static let name = "Gelu"
    package static let domain = "com.microsoft"
    package static let formula = "y = x (1 + erf(x / sqrt(2))) / 2"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { gelu(tanh: false).value }
    var gradientOperation: MapOperation { gelu(tanh: false).gradient }
}

package struct QuickGelu: Activation {
    package static let name = "QuickGelu"
    package static let domain = "com.microsoft"
    package static let formula = "y = x / (1 + exp(-alpha x))"
    private let alpha: Float
    package init(_ attributes: Attributes) throws { alpha = try attributes.float("alpha", default: 1.702) }
    package let gradientNeeds: GradientNeeds = .inputs
    var operation: MapOperation { WB_MAP_swish }
    var gradientOperation: MapOperation { WB_MAP_swish_vjp }
    var constants: (a: Float, b: Float) { (alpha, 0) }
}

/// A GELU of a sum with a bias.
protocol BiasedGelu: Operator {
    static var tanh: Bool { get }
    static var biasIsOptional: Bool { get }
}

extension BiasedGelu {
    package static var domain: String { "com.microsoft" }
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package var reach: Reach { .place }
    package var dependence: Dependence { .curve(isSmooth: true) }
    package var gradientNeeds: GradientNeeds { .inputs }
    private func sum(_ tape: inout Tape, _ inputs: [Operand?]) throws -> Value {
        let x = try required(inputs, 0, "A")
        if Self.biasIsOptional, inputs.count < 2 || inputs[1] == nil { return try tape.value(x) }
        let bias = try required(inputs, 1, "B")
        guard tape.shape(bias).rank == 1, tape.shape(bias).dims[0] == tape.shape(x).dims.last else {
            throw OperatorError(
                "adds a bias of shape \(tape.shape(bias)) to an input of shape \(tape.shape(x))")
        }
        return tape.map(WB_MAP_add, try tape.value(x), try tape.value(bias))
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(tape.map(gelu(tanh: Self.tanh).value, try sum(&tape, inputs)))]
    }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let dx = tape.map(gelu(tanh: Self.tanh).gradient, try sum(&tape, node.inputs), cotangents[0]!)
        return try node.each(wanted) { tape.sum(dx, to: tape.shape(try required(node.inputs, $0, "input"))) }
    }
}

package struct BiasGelu: BiasedGelu {
    package static let name = "BiasGelu"
    package static let formula = "y = s (1 + erf(s / sqrt(2))) / 2 with s = a + b"
    static let tanh = false, biasIsOptional = false
    package init(_ attributes: Attributes) throws {}
}

package struct FastGelu: BiasedGelu {
    package static let name = "FastGelu"
    package static let formula =
        "y = s (1 + tanh(sqrt(2 / pi) (s + 0.044715 s^3))) / 2 with s = x, or x + bias"
    static let tanh = true, biasIsOptional = true
    package init(_ attributes: Attributes) throws {}
}
