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
    package var reach: Reach { .rowMajor }
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
    package var reach: Reach { .ordered(order) }
    package let order: [Int]?
    package init(_ attributes: Attributes) throws { order = try attributes.ints("perm") }
    @Sendable private func order(_ rank: Int) throws -> [Int] {
        let order = self.order ?? Array((0..<rank).reversed())
        guard order.sorted() == Array(0..<rank) else {
            throw OperatorError("orders the dimensions of a tensor of rank \(rank) as \(order)")
        }
        return order
    }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first else { return nil }
        let order = try order(x.shape.rank)
        try limits.memory.check(40 * x.shape.count)
        let strides = x.shape.rowMajorStrides
        let indices = order.reduce([0]) { all, axis in
            all.flatMap { base in (0..<x.shape.dims[axis]).map { base + $0 * strides[axis] } }
        }
        return [try x.picking(indices, shape: Shape(order.map { x.shape.dims[$0] }))]
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

package struct Expand: UnaryOperator {
    package static let name = "Expand"
    package static let accepts = Meaning.all
    package static let formula = "the tensor broadcast to a constant shape"
    package static let opsets = 8...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    package var reach: Reach { .place }
    package init(_ attributes: Attributes) throws {}

    private func shape(_ old: Shape, _ inputs: [Operand?]) throws -> Shape {
        guard let wanted = try constant(inputs, 1, "shape")?.ints() else {
            throw OperatorError("lacks its shape")
        }
        _ = try Shape(checking: wanted)
        guard let new = Shape.broadcast(old, Shape(wanted)) else {
            throw OperatorError("cannot broadcast the shape \(old) to \(wanted)")
        }
        return new
    }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first else { return nil }
        let new = try shape(x.shape, inputs.map { $0.map(Operand.host) })
        try limits.memory.check(24 * new.count + 4 * x.shape.count)
        let (strides, missing) = (x.shape.rowMajorStrides, new.rank - x.shape.rank)
        let indices = (0..<new.rank).reduce([0]) { all, axis in
            let d = axis - missing
            let step = d < 0 || x.shape.dims[d] == 1 ? 0 : strides[d]
            return all.flatMap { base in (0..<new.dims[axis]).map { base + $0 * step } }
        }
        return [try x.picking(indices, shape: new)]
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "input"))
        let new = try shape(tape.shape(x), inputs).checked()
        return [
            .value(
                tape.view(x, as: new, strides: tape.strides(x, broadcastTo: new), offset: tape.offset(x)))
        ]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        tape.sum(dy, to: tape.shape(try required(node.inputs, 0, "input")))
    }
}

/// What DepthToSpace and SpaceToDepth share: pixels of blocks, and channels.
private struct Blocks: Sendable {
    let size: Int
    init(_ attributes: Attributes) throws {
        size = try attributes.int("blocksize")
        guard size >= 1, size <= 1 << 12 else { throw OperatorError("has blocks of \(size)") }
    }

    /// Channels become pixels of blocks.
    /// - Parameter pixelsFirst: whether a block's pixels are the outer part of the channels.
    func spread(_ tape: inout Tape, _ x: Value, pixelsFirst: Bool) throws -> Value {
        let dims = try image(tape.shape(x)).dims
        let (n, c, h, w) = (dims[0], dims[1], dims[2], dims[3])
        guard c % (size * size) == 0 else {
            throw OperatorError("makes blocks of \(size)×\(size) pixels of \(c) channels")
        }
        let channels = c / (size * size)
        let parts = tape.reshape(
            x, to: pixelsFirst ? [n, size, size, channels, h, w] : [n, channels, size, size, h, w])
        let order = pixelsFirst ? [0, 3, 4, 1, 5, 2] : [0, 1, 4, 2, 5, 3]
        return tape.reshape(
            tape.transpose(parts, order), to: try Shape([n, channels, h * size, w * size]).checked())
    }

    /// Pixels of blocks become channels.
    func gather(_ tape: inout Tape, _ x: Value, pixelsFirst: Bool) throws -> Value {
        let dims = try image(tape.shape(x)).dims
        let (n, c, h, w) = (dims[0], dims[1], dims[2], dims[3])
        guard h % size == 0, w % size == 0 else {
            throw OperatorError("cuts \(h)×\(w) pixels into blocks of \(size)×\(size)")
        }
        let parts = tape.reshape(x, to: [n, c, h / size, size, w / size, size])
        let order = pixelsFirst ? [0, 3, 5, 1, 2, 4] : [0, 1, 3, 5, 2, 4]
        return tape.reshape(
            tape.transpose(parts, order), to: try Shape([n, c * size * size, h / size, w / size]).checked())
    }
}

package struct DepthToSpace: UnaryOperator {
    package static let name = "DepthToSpace"
    package static let accepts = Meaning.all
    package static let formula = "channels become pixels of blocks"
    package var reach: Reach { .behindFirst }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    private let blocks: Blocks, pixelsFirst: Bool
    package init(_ attributes: Attributes) throws {
        blocks = try Blocks(attributes)
        let mode = attributes.opset >= 11 ? try attributes.string("mode", default: "DCR") : "DCR"
        guard ["DCR", "CRD"].contains(mode) else {
            throw OperatorError("has the mode “\(mode.prefix(40))”, which does not exist")
        }
        pixelsFirst = mode == "DCR"
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "input"))
        return [.value(try blocks.spread(&tape, x, pixelsFirst: pixelsFirst))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try blocks.gather(&tape, dy, pixelsFirst: pixelsFirst)
    }
}

package struct SpaceToDepth: UnaryOperator {
    package static let name = "SpaceToDepth"
    package static let accepts = Meaning.all
    package static let formula = "pixels of blocks become channels"
    package var reach: Reach { .behindFirst }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    private let blocks: Blocks
    package init(_ attributes: Attributes) throws { blocks = try Blocks(attributes) }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "input"))
        return [.value(try blocks.gather(&tape, x, pixelsFirst: true))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try blocks.spread(&tape, dy, pixelsFirst: true)
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
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        index == 1 ? .boolean : (inputs.first ?? nil) ?? .real
    }
    /// The mask, if it is asked for, keeps everything.
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "data"))
        let shape = try shape(tape.shape(x), inputs)
        return [.value(x)] + (outputs > 1 ? [.value(tape.fill(shape, with: 1))] : [])
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
    package var reach: Reach { .place }
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
        // What is no number is none on the tape either.
        if !x.isInteger, try !x.floats().allSatisfy(\.isFinite) { return nil }
        let ints = try x.ints()
        let range: ClosedRange<Int> =
            if case .narrow(let range) = conversion {
                range
            } else {
                type == 6 ? Int(Int32.min)...Int(Int32.max) : .min ... .max
            }
        if let bad = ints.first(where: { !range.contains($0) }) {
            if case .narrow = conversion {
                // Whole numbers wrap around; what else does not fit is none, which the tape says.
                let (low, last) = (range.lowerBound, range.upperBound &- range.lowerBound)
                guard x.isInteger, [0xFF, 0xFFFF].contains(last) else { return nil }
                return [HostTensor(x.shape, .ints(ints.map { (($0 &- low) & last) + low }))]
            }
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
    /// Whole numbers between the bounds, with which arithmetic wraps around.
    case narrow(ClosedRange<Int>)

    /// - Parameter type: as ONNX numbers them: 1 float, 10 float16, 11 double, 16 bfloat16, 9 bool, 6 int32, 7 int64, and
    ///   the other integers.
    init?(to type: Int) {
        switch type {
        case 1, 11: self = .real
        case 10: self = .half
        case 16: self = .bfloat
        case 9: self = .truth
        case 6, 7: self = .whole
        case 2: self = .narrow(0...255)
        case 3: self = .narrow(-128...127)
        case 4: self = .narrow(0...65535)
        case 5: self = .narrow(-32768...32767)
        case 12: self = .narrow(0...Int(UInt32.max))
        case 13: self = .narrow(0 ... .max)
        default: return nil
        }
    }

    var isReal: Bool { meaning == .real }
    var meaning: Meaning {
        switch self {
        case .real, .half, .bfloat: .real
        case .truth: .boolean
        case .whole: .integer
        case .narrow: .wrapping
        }
    }
}

extension Tape {
    /// Numbers in another type. What no integer is, and what an integer of binary32 is not sure to be, becomes NaN as an integer, and so does
    /// a real number beyond the bounds of a type: ONNX leaves open what that is. Whole numbers wrap around.
    mutating func converted(_ operand: Operand, _ conversion: Conversion) throws -> Value {
        if case .value(let sums) = operand, element(sums) == .int32 {
            switch conversion {
            case .real: return stating(asFloats(sums), .real)
            case .whole: return sums
            default:
                throw OperatorError(
                    unsupported:
                        "casts integers of 32 bits to anything but real numbers, which is not supported")
            }
        }
        let (from, x) = (meaning(operand), try wholeValue(operand))
        switch conversion {
        case .real: return x
        case .half: return map(WB_MAP_half, x)
        case .bfloat: return map(WB_MAP_bfloat, x)
        case .truth: return from == .boolean ? x : map(WB_MAP_truth, x, a: from == .real ? 0 : 1)
        case .whole: return from == .real ? checkedWhole(map(WB_MAP_trunc, x)) : x
        case .narrow(let range):
            if from == .boolean { return x }
            let most = 1 << 24
            if from == .real || range.upperBound >= most {
                let (low, high) = (max(range.lowerBound, 1 - most), min(range.upperBound, most - 1))
                return map(WB_MAP_within, map(WB_MAP_trunc, x), a: Float(low), b: Float(high))
            }
            return map(
                WB_MAP_wrap, x, a: Float(range.count),
                b: range.lowerBound < 0 ? Float(range.upperBound + 1) : .infinity)
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
    package var reach: Reach { .place }
    package let dependence: Dependence = .selects
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        inputs.count > 1 ? inputs[1] ?? .real : .real
    }
    private func conversion(_ tape: Tape, _ inputs: [Operand?]) throws -> Conversion {
        let target = try required(inputs, 1, "target_type")
        // What whole numbers a constant has, is not known any more.
        if case .host(let tensor) = target, tensor.isInteger {
            throw OperatorError(
                unsupported:
                    "takes the type of a constant of whole numbers or truths, which is not supported; take Cast instead"
            )
        }
        switch tape.meaning(target) {
        case .real: return .real
        case .integer: return .whole
        case .boolean: return .truth
        case .wrapping:
            throw OperatorError(
                unsupported:
                    "takes the type of whole numbers of 8 or 16 bits or without a sign, which is not supported; take Cast instead"
            )
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
