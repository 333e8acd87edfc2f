// The same numbers under another shape or in another order.

import CMicrokernels

/// What the operators share that only give another shape.
protocol Reshaping: UnaryOperator {
    func shape(_ shape: Shape, _ inputs: [Operand?]) throws -> Shape
}

extension Reshaping {
    package static var accepts: Set<Meaning> { Meaning.all }
    package var role: Role { .rearranges }
    package var dependence: Dependence { .selects }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first else { return nil }
        return [x.reshaped(try checked(x.shape, inputs.map { $0.map(Operand.host) }))]
    }
    private func checked(_ old: Shape, _ inputs: [Operand?]) throws -> Shape {
        let new = try Shape(checking: shape(old, inputs).dims)
        guard new.count == old.count else {
            throw OperatorError("turns the shape \(old) into \(new), which has not as many elements")
        }
        guard new.rank <= Shape.maximumRank else {
            throw OperatorError(unsupported: "makes a tensor of rank \(new.rank); the limit is 6")
        }
        return new
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let operand = try required(inputs, 0, "input")
        if case .value(let bytes) = operand, tape.element(bytes) != .float32,
            let y = tape.reshapeInPlace(bytes, to: try checked(tape.shape(bytes), inputs))
        {
            return [.value(y)]
        }
        let x = try tape.value(operand)
        return [.value(tape.reshape(x, to: try checked(tape.shape(x), inputs)))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        tape.reshape(dy, to: tape.shape(try required(node.inputs, 0, "input")))
    }
}

package struct Flatten: Reshaping {
    package var keepsPicturesApart: Bool { axis == 1 }
    package static let name = "Flatten"
    package static let formula = "the dimensions before and from the axis on as two"
    private let axis: Int
    package init(_ attributes: Attributes) throws { axis = try attributes.int("axis", default: 1) }
    func shape(_ shape: Shape, _ inputs: [Operand?]) throws -> Shape {
        let at = axis == shape.rank ? axis : try normalised(axis, rank: shape.rank)
        return [shape.dims[..<at].reduce(1, *), shape.dims[at...].reduce(1, *)]
    }
}

package struct Reshape: Reshaping {
    package static let name = "Reshape"
    package static let formula =
        "the same elements in row-major order under a constant shape; 0 keeps a dimension, -1 is computed"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package var role: Role { .reshapes(shape: shape) }
    private let allowZero: Bool
    package init(_ attributes: Attributes) throws {
        allowZero = try attributes.int("allowzero", default: 0) != 0
    }
    func shape(_ shape: Shape, _ inputs: [Operand?]) throws -> Shape {
        guard let wanted = try constant(inputs, 1, "shape")?.ints() else {
            throw OperatorError("lacks its shape")
        }
        var dims: [Int] = []
        for (i, d) in wanted.enumerated() {
            guard d >= -1 else { throw OperatorError("asks for the shape \(wanted)") }
            if d == 0 && !allowZero {
                guard i < shape.rank else {
                    throw OperatorError("keeps dimension \(i) of the shape \(shape), which is not there")
                }
                dims.append(shape.dims[i])
            } else {
                dims.append(d)
            }
        }
        if let open = dims.firstIndex(of: -1) {
            var known = 1
            for (i, d) in dims.enumerated() where i != open {
                let (product, overflow) = known.multipliedReportingOverflow(by: d)
                guard !overflow else {
                    throw OperatorError("asks for the shape \(wanted), which is too large")
                }
                known = product
            }
            guard known > 0, shape.count % known == 0, !dims[(open + 1)...].contains(-1) else {
                throw OperatorError("cannot give the shape \(shape) the form \(wanted)")
            }
            dims[open] = shape.count / known
        }
        var count = 1
        for d in dims {
            let (product, overflow) = count.multipliedReportingOverflow(by: d)
            guard !overflow else { throw OperatorError("asks for the shape \(wanted), which is too large") }
            count = product
        }
        return Shape(dims)
    }
}

package struct Squeeze: Reshaping {
    package static let name = "Squeeze"
    package static let formula = "without dimensions of extent 1"
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 13 ? 2 : 1) }
    private let axes: [Int]?, axesAreInput: Bool
    package init(_ attributes: Attributes) throws {
        axesAreInput = attributes.opset >= 13
        axes = axesAreInput ? nil : try attributes.ints("axes")
    }
    func shape(_ shape: Shape, _ inputs: [Operand?]) throws -> Shape {
        let given = axesAreInput ? try constant(inputs, 1, "axes")?.ints() : axes
        let gone = try given.map { Set(try $0.map { try normalised($0, rank: shape.rank) }) }
        if let bad = gone?.first(where: { shape.dims[$0] != 1 }) {
            throw OperatorError("drops dimension \(bad) of the shape \(shape), which is not 1")
        }
        return Shape(
            shape.dims.indices.filter { d in gone.map { !$0.contains(d) } ?? (shape.dims[d] != 1) }.map {
                shape.dims[$0]
            })
    }
}

package struct Unsqueeze: Reshaping {
    package static let name = "Unsqueeze"
    package static let formula = "with more dimensions of extent 1"
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 13 ? 2 : 1) }
    private let axes: [Int]?, axesAreInput: Bool
    package init(_ attributes: Attributes) throws {
        axesAreInput = attributes.opset >= 13
        axes = axesAreInput ? nil : try attributes.ints("axes")
    }
    func shape(_ shape: Shape, _ inputs: [Operand?]) throws -> Shape {
        guard let given = axesAreInput ? try constant(inputs, 1, "axes")?.ints() : axes else {
            throw OperatorError("lacks its axes")
        }
        let rank = shape.rank + given.count
        let new = Set(try given.map { try normalised($0, rank: rank) })
        guard new.count == given.count else { throw OperatorError("names an axis twice: \(given)") }
        var old = shape.dims.makeIterator()
        return Shape((0..<rank).map { new.contains($0) ? 1 : old.next()! })
    }
}

package struct Transpose: UnaryOperator {
    package static let name = "Transpose"
    package static let accepts = Meaning.all
    package static let formula = "the dimensions in another order"
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    private let order: [Int]?
    package init(_ attributes: Attributes) throws { order = try attributes.ints("perm") }
    private func order(_ rank: Int) throws -> [Int] {
        let order = self.order ?? Array((0..<rank).reversed())
        guard order.sorted() == Array(0..<rank) else {
            throw OperatorError("orders the dimensions of a tensor of rank \(rank) as \(order)")
        }
        return order
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "data"))
        return [.value(tape.transpose(x, try order(tape.shape(x).rank)))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let order = try order(tape.shape(dy).rank)
        return tape.transpose(dy, order.indices.map { i in order.firstIndex(of: i)! })
    }
}

/// What the operators share that do nothing to an explained network.
protocol Passing: Reshaping {}
extension Passing {
    func shape(_ shape: Shape, _ inputs: [Operand?]) throws -> Shape { shape }
}

package struct Identity: Passing {
    package static let name = "Identity"
    package static let formula = "y = x"
    package let role: Role = .passes
    package init(_ attributes: Attributes) throws {}
}

package struct Dropout: Passing {
    package static let name = "Dropout"
    package static let formula = "y = x: nothing is dropped at inference"
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 12 ? 3 : 1, outputs: 2) }
    package let role: Role = .passes
    package init(_ attributes: Attributes) throws { attributes.ignore("ratio", "seed") }
    func shape(_ shape: Shape, _ inputs: [Operand?]) throws -> Shape {
        guard try constant(inputs, 2, "training_mode")?.ints().first ?? 0 == 0 else {
            throw OperatorError(unsupported: "is in training mode; export the network for inference")
        }
        return shape
    }
}

package struct Cast: UnaryOperator {
    package static let name = "Cast"
    package static let formula =
        "y = x, rounded to the nearest of a narrower type, cut off to a whole number, or whether x is not 0"
    package static let accepts = Meaning.all
    private let type: Int
    package init(_ attributes: Attributes) throws {
        type = try attributes.int("to")
        attributes.ignore("saturate", "round_mode")  // of 8-bit floats
        guard Conversion(to: type) != nil else {
            throw OperatorError(unsupported: "casts to the data type \(type), which is not supported")
        }
    }
    private var conversion: Conversion { Conversion(to: type)! }
    package var keepsPicturesApart: Bool { true }
    package var role: Role { conversion.isReal ? .passes : .computes }
    package var dependence: Dependence { conversion.isReal ? .selects : .unstated }
    package var passesGradient: Bool { conversion.isReal }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { conversion.meaning }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first else { return nil }
        try limits.memory.check(16 * x.shape.count)
        switch conversion {
        case .real: return [x.isInteger ? HostTensor(x.shape, .floats(try x.floats())) : x]
        case .half, .bfloat: return nil
        case .truth:
            let truths = x.isInteger ? try x.ints().map { $0 != 0 } : try x.floats().map { $0 != 0 }
            return [HostTensor(x.shape, .ints(truths.map { $0 ? 1 : 0 }))]
        case .whole, .narrow: break
        }
        let ints = try x.ints()
        let range: ClosedRange<Int> =
            switch type {
            case 2: 0...255
            case 3: -128...127
            case 4: 0...65535
            case 5: -32768...32767
            case 6: Int(Int32.min)...Int(Int32.max)
            case 12: 0...Int(UInt32.max)
            case 13: 0 ... .max
            default: .min ... .max
            }
        if let bad = ints.first(where: { !range.contains($0) }) {
            throw OperatorError(
                unsupported: "casts \(bad) to a type that does not hold it, which is not supported")
        }
        return [HostTensor(x.shape, .ints(ints))]
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(try tape.converted(try required(inputs, 0, "input"), conversion))]
    }
    /// Of what is rounded, as if it were not.
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value { dy }
}

/// What becomes of numbers that get another type. Real numbers of any type are binary32 here, between conversions.
enum Conversion {
    case real, half, bfloat, truth
    /// Of 32 bits or more.
    case whole
    /// Whole numbers with which arithmetic wraps around.
    case narrow

    /// - Parameter type: as ONNX numbers them: 1 float, 10 float16, 11 double, 16 bfloat16, 9 bool, 6 int32, 7 int64, and
    ///   the other integers.
    init?(to type: Int) {
        switch type {
        case 1, 11: self = .real
        case 10: self = .half
        case 16: self = .bfloat
        case 9: self = .truth
        case 6, 7: self = .whole
        case 2, 3, 4, 5, 12, 13: self = .narrow
        default: return nil
        }
    }

    var isReal: Bool { meaning == .real }
    var meaning: Meaning {
        switch self {
        case .real, .half, .bfloat: .real
        case .truth: .boolean
        case .whole, .narrow: .integer
        }
    }
}

extension Tape {
    /// Numbers in another type. What no integer is, and what an integer of binary32 is not sure to be, becomes NaN as an integer.
    mutating func converted(_ operand: Operand, _ conversion: Conversion) throws -> Value {
        let (from, x) = (meaning(operand), try wholeValue(operand))
        switch conversion {
        case .real: return x
        case .half: return map(WB_MAP_half, x)
        case .bfloat: return map(WB_MAP_bfloat, x)
        case .truth: return from == .boolean ? x : map(WB_MAP_truth, x, a: from == .integer ? 1 : 0)
        case .whole: return from == .real ? checkedWhole(map(WB_MAP_trunc, x)) : x
        case .narrow:
            throw OperatorError(
                unsupported:
                    "casts an activation to whole numbers of 8 or 16 bits or without a sign, which is not supported"
            )
        }
    }
}

package struct CastLike: UnaryOperator {
    package static let name = "CastLike"
    package static let formula =
        "y = x as a real number, a whole number or a truth, whichever the second input is; real numbers are not rounded"
    package static let opsets = 15...24
    package static let accepts = Meaning.all
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package init(_ attributes: Attributes) throws { attributes.ignore("saturate", "round_mode") }
    package var keepsPicturesApart: Bool { true }
    package let dependence: Dependence = .selects
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        inputs.count > 1 ? inputs[1] ?? .real : .real
    }
    private func conversion(_ tape: Tape, _ inputs: [Operand?]) throws -> Conversion {
        let target = try required(inputs, 1, "target_type")
        if case .host(let tensor) = target, tensor.isInteger {
            throw OperatorError(
                unsupported:
                    "takes the type of a constant that is no real number, which is not supported; take Cast")
        }
        switch tape.meaning(target) {
        case .real: return .real
        case .integer: return .whole
        case .boolean: return .truth
        }
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(try tape.converted(try required(inputs, 0, "input"), try conversion(tape, inputs)))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        guard try conversion(tape, node.inputs).isReal else {
            throw OperatorError(unsupported: "has no gradient, because it makes whole numbers or truths")
        }
        return dy
    }
}
