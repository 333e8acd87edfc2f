// What an operator is, and what it is given.
//
// Each file of this folder holds the operators of one family, each with all that there is to know of it, in one order: formula,
// attributes, output (its shape follows from the steps), forward, gradient. Both are written as steps of a tape, so each serves
// every device. The steps' arithmetic is in Steps/ and in kernels/.

import Synchronization

/// Why an operator cannot be used as a network uses it: the end of a sentence that names the node.
package struct OperatorError: Error, Sendable, CustomStringConvertible {
    package let description: String
    /// Whether the file is sound and asks for what is not there; else it contradicts itself or the standard.
    package let isUnsupported: Bool
    package init(_ description: String) { (self.description, isUnsupported) = (description, false) }
    package init(unsupported description: String) {
        (self.description, isUnsupported) = (description, true)
    }
}

/// A constant tensor on the host, in row-major order.
package struct HostTensor: Sendable {
    package enum Numbers: Sendable {
        case floats([Float])
        case ints([Int])
        /// Lent when they are needed: the weights of a file.
        case deferred(Lender)
        /// The same of whole numbers that binary32 holds exactly.
        case deferredWholes(Lender)
    }
    /// Lends the numbers as binary32 in row-major order, at any alignment.
    package typealias Lender = @Sendable (_ body: (UnsafeRawBufferPointer) throws -> Void) throws -> Void

    package let shape: Shape
    package let numbers: Numbers
    /// Which numbers these are, so that who has put them in order once need not do it again.
    package let identity: Identity
    /// Of whole numbers: their type in the file, if somebody said it and it is one that can stand for real numbers.
    package let type: WholeType?
    /// The whole numbers that stand for these.
    package let quantised: QuantisedConstant?

    /// - Parameter identity: of other numbers, if these are a function of those; numbers of their own if nil.
    package init(
        _ shape: Shape, _ numbers: Numbers, identity: Identity? = nil, type: WholeType? = nil,
        quantised: QuantisedConstant? = nil
    ) {
        (self.shape, self.numbers, self.identity) = (shape, numbers, identity ?? Identity())
        (self.type, self.quantised) = (type, quantised)
    }

    /// The numbers of a tensor, or a function of those. Two with the same identity are equal.
    package struct Identity: Hashable, Sendable {
        private let number: Int
        /// What was done to them.
        private var derivation: [Int] = []
        private static let made = Atomic(0)

        init() { number = Identity.made.add(1, ordering: .relaxed).newValue }

        /// The identity of a function of the numbers.
        /// - Parameter description: tells this function from all others.
        func derived(_ description: [Int]) -> Identity {
            var derived = self
            derived.derivation += [description.count] + description
            return derived
        }
    }
    package init(ints: [Int]) { self.init([ints.count], .ints(ints)) }

    package func floats() throws -> [Float] {
        switch numbers {
        case .floats(let values): values
        case .ints(let values): values.map(Float.init)
        case .deferred, .deferredWholes:
            try [Float](unsafeUninitializedCapacity: shape.count) { to, count in
                try withFloats { UnsafeMutableRawBufferPointer(to).copyMemory(from: $0) }
                count = shape.count
            }
        }
    }

    /// Lends the numbers as binary32 in row-major order, at any alignment, without a copy where there need not be one.
    package func withFloats(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        let body = { (bytes: UnsafeRawBufferPointer) in
            precondition(bytes.count == 4 * shape.count)
            try body(bytes)
        }
        switch numbers {
        case .deferred(let lend), .deferredWholes(let lend): return try lend(body)
        case .floats, .ints: break
        }
        try floats().withUnsafeBytes(body)
    }

    package func ints() throws -> [Int] {
        if case .ints(let values) = numbers { return values }
        return try floats().map { value in
            guard let int = Int(exactly: value.rounded(.towardZero)) else {
                throw OperatorError("needs integers, and finds \(value)")
            }
            return int
        }
    }

    /// What the numbers take in memory, without those that are lent.
    package var bytes: Int {
        switch numbers {
        case .floats(let values): 4 * values.count
        case .ints(let values): 8 * values.count
        case .deferred, .deferredWholes: 0
        }
    }

    package var isInteger: Bool {
        switch numbers {
        case .ints, .deferredWholes: true
        case .floats, .deferred: false
        }
    }

    /// The same numbers under another shape.
    package func reshaped(_ shape: Shape) -> HostTensor {
        // Blocks and axes of a quantisation are those of the old shape.
        HostTensor(shape, numbers, identity: identity, type: type)
    }

    /// The numbers at `indices` (positions in row-major order), under a new shape.
    func picking(_ indices: [Int], shape: Shape) throws -> HostTensor {
        if isInteger {
            let values = try ints()
            return HostTensor(shape, .ints(indices.map { values[$0] }), type: type)
        }
        let values = try floats()
        return HostTensor(shape, .floats(indices.map { values[$0] }))
    }
}

/// An input of a node.
package enum Operand: Sendable {
    case value(Value)
    case host(HostTensor)
    /// A value that was never stored, because the step that would have made it does more.
    case fused(Shape)

    /// The constant that it is; nil if it is none.
    package var constant: HostTensor? { if case .host(let tensor) = self { tensor } else { nil } }
}

extension Tape {
    /// A constant tensor, which is put in memory order when a device loads the tape.
    package mutating func constant(_ tensor: HostTensor) throws -> Value {
        let shape = try tensor.shape.checked()
        let key = PackedWeights.Key.tensor(tensor.identity, layout: [0] + shape.dims, scale: nil)
        let numbers = weights(
            PackedWeights(count: shape.count, key: key) {
                shape.writeMemoryOrder(try tensor.floats(), to: $0)
            })
        return view(numbers, as: shape)
    }

    package func shape(_ operand: Operand) -> Shape {
        switch operand {
        case .value(let value): shape(value)
        case .host(let tensor): tensor.shape
        case .fused(let shape): shape
        }
    }

    /// What an operand's numbers stand for.
    package func meaning(_ operand: Operand) -> Meaning {
        switch operand {
        case .value(let value): meaning(value)
        case .host(let tensor): tensor.isInteger ? .integer : .real
        case .fused: .real
        }
    }

    /// The operand as a value, whole numbers too if binary32 holds them.
    package mutating func wholeValue(_ operand: Operand) throws -> Value {
        guard case .host(let tensor) = operand, tensor.isInteger else { return try value(operand) }
        let most = 1 << 24
        if let large = try tensor.ints().first(where: { $0 > most || $0 < -most }) {
            throw OperatorError(
                unsupported: "computes with \(large), and whole numbers are exact only up to \(most)")
        }
        let floats = HostTensor(tensor.shape, .floats(try tensor.floats()))
        return stating(try constant(floats), .integer)
    }

    /// The operand as a value: a constant is put on the tape.
    package mutating func value(_ operand: Operand) throws -> Value {
        switch operand {
        case .value(let value):
            guard element(value) != .int32 else {
                throw OperatorError(
                    unsupported: "reads integers of 32 bits, which binary32 does not hold exactly")
            }
            return asFloats(value)
        // As binary32 they would be divided without being cut off, and from 2²⁴ on be others.
        case .host(let tensor) where tensor.isInteger:
            throw OperatorError(
                unsupported:
                    "computes with integers other than those of shapes in a way that is not supported")
        case .host(let tensor): return try constant(tensor)
        case .fused: preconditionFailure("A value that a gradient needs was fused away.")
        }
    }
}

package enum Attribute: Sendable {
    case int(Int)
    case float(Float)
    case string(String)
    case ints([Int])
    case floats([Float])
    case tensor(HostTensor)
    /// Something that no operator here reads, by its kind.
    case other(String)
}

/// The attributes of a node, and the version of the operator set that gives them their meaning. It notes which an operator asks for, so
/// that what nobody understands is not passed over in silence.
package final class Attributes {
    package let opset: Int
    private let values: [String: Attribute]
    private var asked: Set<String> = []

    package init(opset: Int, _ values: [String: Attribute] = [:]) {
        (self.opset, self.values) = (opset, values)
    }

    /// The names of those that nobody asked for, in order.
    package var unread: [String] { values.keys.filter { !asked.contains($0) }.sorted() }

    /// The operator knows these, and nothing that it does here depends on them.
    func ignore(_ names: String...) { asked.formUnion(names) }

    package func has(_ name: String) -> Bool { self[name] != nil }

    private func wrong(_ name: String, _ expected: String) -> OperatorError {
        OperatorError("has an attribute “\(name)” that is not \(expected)")
    }
    package func int(_ name: String, default fallback: Int? = nil) throws -> Int {
        switch self[name] {
        case .int(let value): return value
        case nil:
            if let fallback { return fallback } else { throw OperatorError("lacks the attribute “\(name)”") }
        default: throw wrong(name, "an integer")
        }
    }
    package func float(_ name: String, default fallback: Float) throws -> Float {
        switch self[name] {
        case .float(let value): return value
        case .int(let value): return Float(value)
        case nil: return fallback
        default: throw wrong(name, "a number")
        }
    }
    package func string(_ name: String, default fallback: String) throws -> String {
        switch self[name] {
        case .string(let value): return value
        case nil: return fallback
        default: throw wrong(name, "a string")
        }
    }
    package func ints(_ name: String) throws -> [Int]? {
        switch self[name] {
        case .ints(let value): return value
        case .int(let value): return [value]
        case nil: return nil
        default: throw wrong(name, "a list of integers")
        }
    }
    package func tensor(_ name: String) throws -> HostTensor? {
        switch self[name] {
        case .tensor(let value): return value
        case nil: return nil
        default: throw wrong(name, "a tensor")
        }
    }
    package subscript(name: String) -> Attribute? {
        asked.insert(name)
        return values[name]
    }
}

/// A node whose forward steps are on the tape: what its gradient can use.
package struct LoweredNode {
    /// nil where one is left out.
    package let inputs: [Operand?], outputs: [Operand?]
    /// What is known of each input.
    package let origins: [Origin]
    /// In a pass over pairs of pictures: the same of the second of each pair, as the others are of the first.
    package let seconds: (inputs: [Operand?], outputs: [Operand?])?

    package init(
        inputs: [Operand?], outputs: [Operand?], origins: [Origin] = [],
        seconds: (inputs: [Operand?], outputs: [Operand?])? = nil
    ) {
        (self.inputs, self.outputs) = (inputs, outputs)
        (self.origins, self.seconds) = (origins, seconds)
    }

    /// The inputs that are activations.
    package var activations: [Int] {
        inputs.indices.filter {
            switch inputs[$0] {
            case .value, .fused: true
            case .host, nil: false
            }
        }
    }

    /// The first output, which is there if a cotangent arrives at it.
    package var output: Operand { outputs[0]! }

    /// For each input what `cotangent` gives, if it is wanted.
    func each(_ wanted: Set<Int>, _ cotangent: (_ input: Int) throws -> Value?) rethrows -> [Value?] {
        try inputs.indices.map { wanted.contains($0) ? try cotangent($0) : nil }
    }
}

/// Which stored values a gradient reads; those must not be fused away.
package struct GradientNeeds: OptionSet, Sendable {
    package let rawValue: Int
    package init(rawValue: Int) { self.rawValue = rawValue }
    package static let inputs = GradientNeeds(rawValue: 1)
    package static let output = GradientNeeds(rawValue: 2)
}

/// What the numbers of an activation stand for. On a tape all are binary32, which holds whole numbers exactly up to 2²⁴; a boolean is
/// 0 or 1.
package enum Meaning: Sendable, Hashable {
    case real, integer, boolean
    /// Whole numbers of 8 or 16 bits, or without a sign: their sums and products wrap around, which is not computed, so they are only moved,
    /// compared and converted.
    case wrapping
    package static let all: Set<Meaning> = [.real, .integer, .boolean, .wrapping]
}

/// An operator of ONNX, or of a domain beside it.
package protocol Operator: Sendable {
    static var name: String { get }
    /// The domain that defines it; "" is ai.onnx.
    static var domain: String { get }
    /// One line for people.
    static var formula: String { get }
    /// The versions of the operator set in which it means what is implemented here.
    static var opsets: ClosedRange<Int> { get }
    /// Whether activations can have a gradient through it.
    static var hasGradient: Bool { get }
    /// What the activations among its inputs may stand for; anything else is refused.
    static var accepts: Set<Meaning> { get }
    /// One input and one output if it does not say otherwise.
    static func arity(opset: Int) -> Arity

    init(_ attributes: Attributes) throws

    var role: Role { get }
    /// What the numbers of an output stand for.
    /// - Parameter inputs: what those of each input do; nil where one is left out.
    func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning
    /// Whether activations have a gradient through this one; of those whose type has one, an operator may say no for its attributes.
    var passesGradient: Bool { get }
    /// From where it takes the numbers of its output.
    var reach: Reach { get }
    /// How the output depends on activations among the inputs.
    var dependence: Dependence { get }
    /// Whether its attributes may put numbers below 0 among those of its inputs.
    var addsNegatives: Bool { get }
    var gradientNeeds: GradientNeeds { get }

    /// Computes on the host if all inputs are constants; nil if that is not worth code of its own. Memory is asked for before
    /// anything is made.
    func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]?
    /// The constant that it adds to what is otherwise proportional to its inputs, in a shape that broadcasts to its output's: a bias; nil
    /// if it adds none.
    func bias(_ inputs: [Operand?], of output: Shape) throws -> HostTensor?
    /// Puts the forward computation on the tape.
    func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand]
    /// Puts the vector-Jacobian product on the tape: the cotangents of inputs from those of the outputs.
    /// - Parameters:
    ///   - cotangents: the gradient of the score with respect to each output; nil where nothing arrives, but not everywhere.
    ///   - wanted: the inputs whose cotangents are asked for.
    /// - Returns: one for each input; nil where it is not wanted, or where there is none.
    func vjp(_ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>) throws
        -> [Value?]
}

/// An operator of one output, which has a gradient with respect to its first input; all others are constants.
package protocol UnaryOperator: Operator {
    /// Puts the cotangent of the first input on the tape.
    /// - Parameter dy: the cotangent of the output.
    func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value
}

extension UnaryOperator {
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        try node.each(wanted) { input in
            try input == 0 ? cotangents[0].map { try vjp(&tape, node, $0) } : nil
        }
    }
}

/// An operator whose last step can also add a tensor and clip.
package protocol FusingOperator: Operator {
    func forward(_ tape: inout Tape, _ inputs: [Operand?], residual: Value?, clip: Bounds?) throws -> Value
    func outputShape(_ tape: Tape, _ inputs: [Operand?]) throws -> Shape
    /// The operator that also adds a constant before any residual; nil if the constant is not one number for each of its channels, or it
    /// has one already.
    func adding(_ bias: HostTensor, to output: Shape, _ inputs: [Operand?]) throws -> Self?
}

extension FusingOperator {
    package func adding(_ bias: HostTensor, to output: Shape, _ inputs: [Operand?]) throws -> Self? { nil }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(try forward(&tape, inputs, residual: nil, clip: nil))]
    }
}

extension Operator {
    package static var domain: String { "" }
    /// The name for people, with the domain where it is not that of ONNX.
    package static var fullName: String { domain.isEmpty ? name : domain + "." + name }
    package static var opsets: ClosedRange<Int> { 7...24 }
    package static var hasGradient: Bool { true }
    package static var accepts: Set<Meaning> { [.real] }
    package static func arity(opset: Int) -> Arity { Arity() }
    package var role: Role { .computes }
    /// The same as those of the first input, where it passes them on.
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        switch role {
        case .rearranges, .reshapes, .passes:
            // Beside such, constants are such.
            inputs.contains(.wrapping) ? .wrapping : (inputs.first ?? nil) ?? .real
        default: .real
        }
    }
    package var passesGradient: Bool { Self.hasGradient }
    package var reach: Reach { .anywhere }
    package var dependence: Dependence { .unstated }
    package var addsNegatives: Bool { false }
    package var gradientNeeds: GradientNeeds { [] }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? { nil }
    package func bias(_ inputs: [Operand?], of output: Shape) throws -> HostTensor? { nil }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] { node.inputs.map { _ in nil } }
}

extension HostTensor {
    /// One number for each channel of a shape.
    init(channels: [Float], of shape: Shape) {
        self.init(Shape([1, channels.count] + shape.dims.dropFirst(2).map { _ in 1 }), .floats(channels))
    }
}

/// Input `index`, which must be there.
package func required(_ inputs: [Operand?], _ index: Int, _ what: String) throws -> Operand {
    guard index < inputs.count, let operand = inputs[index] else {
        throw OperatorError("lacks its input \(index) (\(what))")
    }
    return operand
}

/// Input `index` as a constant, nil if it is absent.
func constant(_ inputs: [Operand?], _ index: Int, _ what: String) throws -> HostTensor? {
    guard index < inputs.count, let operand = inputs[index] else { return nil }
    guard case .host(let tensor) = operand else {
        throw OperatorError(
            unsupported:
                "needs its input \(index) (\(what)) to be a constant, and it is computed by the network")
    }
    return tensor
}

/// `axis` counted from the front.
func normalised(_ axis: Int, rank: Int) throws -> Int {
    guard axis >= -rank, axis < rank else {
        throw OperatorError("names the axis \(axis) of a tensor of rank \(rank)")
    }
    return axis < 0 ? axis + rank : axis
}
