// Pools over windows, and over whole images.

import CMicrokernels

/// What the window pools share.
private struct Pooling: Sendable {
    let window: Window
    let ceil: Bool, countPads: Bool
    /// Whether an average is not divided.
    var sums = false

    init(_ attributes: Attributes) throws {
        window = try Window(attributes)
        guard window.kernel != nil else { throw OperatorError("lacks the attribute “kernel_shape”") }
        ceil = try attributes.int("ceil_mode", default: 0) != 0
        countPads = try attributes.int("count_include_pad", default: 0) != 0
        guard try attributes.int("storage_order", default: 0) == 0 else {
            throw OperatorError(unsupported: "has storage_order = 1, which is not supported")
        }
    }

    func raw(_ input: Shape) throws -> (window: wb_pool, output: Shape) {
        let (axes, ends) = try window.axes(input, kernel: window.kernel!, ceil: ceil)
        let output = try Shape(input.dims[..<2] + axes.map(\.output)).checked()
        func int(_ i: Int) -> Int32 { Int32(i) }
        let (d, h, w) = axes.three
        // Where the last pads of each axis end.
        let padded = Array(repeating: 1, count: 3 - axes.count) + zip(axes, ends).map { $0.input + $1 }
        guard padded.allSatisfy({ $0 < Int32.max }) else {
            throw OperatorError("has pads that are too large for an input of shape \(input)")
        }
        let raw = wb_pool(
            n: int(input.dims[0]), d: int(d.input), h: int(h.input), w: int(w.input), c: int(input.dims[1]),
            od: int(d.output), oh: int(h.output), ow: int(w.output),
            kd: int(d.kernel), kh: int(h.kernel), kw: int(w.kernel),
            stride_d: int(d.stride), stride_h: int(h.stride), stride_w: int(w.stride),
            pad_d: int(d.pad), pad_h: int(h.pad), pad_w: int(w.pad),
            dilation_d: int(d.dilation), dilation_h: int(h.dilation), dilation_w: int(w.dilation),
            count_pads: countPads ? 1 : 0, sums: sums ? 1 : 0,
            padded_d: int(padded[0]), padded_h: int(padded[1]), padded_w: int(padded[2]))
        return (raw, output)
    }

    func forward(_ tape: inout Tape, _ kind: Pool.Kind, _ inputs: [Operand?]) throws -> [Operand] {
        [.value(try forward(&tape, kind, try tape.value(required(inputs, 0, "X"))))]
    }

    func forward(_ tape: inout Tape, _ kind: Pool.Kind, _ x: Value) throws -> Value {
        let (raw, shape) = try raw(tape.shape(x))
        let y = tape.channelsLastValue(shape)
        tape.add(Pool(kind: kind, pooling: raw, inputs: [tape.channelsLast(x)], output: y))
        return y
    }

    /// The cotangent of what was averaged.
    func averageVJP(_ tape: inout Tape, _ dy: Value, of shape: Shape) throws -> Value {
        let dx = tape.channelsLastValue(shape)
        tape.add(
            Pool(
                kind: .averagePoolVJP, pooling: try raw(shape).window, inputs: [tape.channelsLast(dy)],
                output: dx))
        return dx
    }
}

package struct MaxPool: UnaryOperator {
    package var reach: Reach { .behindFirst }
    package static let name = "MaxPool"
    package static let formula = "y = largest of a window; the gradient goes to the first of equals"
    package static func arity(opset: Int) -> Arity { Arity(outputs: 2) }
    package static let accepts: Set<Meaning> = [.real, .integer]
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        (inputs.first ?? nil) ?? .real
    }
    package let role: Role = .pools
    package let dependence: Dependence = .largest
    private let pooling: Pooling
    package init(_ attributes: Attributes) throws { pooling = try Pooling(attributes) }
    package let gradientNeeds: GradientNeeds = .inputs
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        guard outputs == 1 else {
            throw OperatorError(unsupported: "is asked for the indices of its maxima, which is not supported")
        }
        if case .value(let bytes)? = inputs.first ?? nil, let y = try ofBytes(&tape, bytes) {
            return [.value(y)]
        }
        return try pooling.forward(&tape, .maxPool, inputs)
    }
    /// Of bytes, the largest stands for the largest.
    private func ofBytes(_ tape: inout Tape, _ x: Value) throws -> Value? {
        guard let type = WholeType(tape.element(x)), type.isByte, tape.shape(x).rank == 4 else { return nil }
        let (raw, shape) = try pooling.raw(tape.shape(x))
        let y = tape.bytes(shape, type)
        tape.add(WholeMaxPool(pooling: raw, x: tape.bytesChannelsLast(x), y: y))
        return y
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let x = tape.channelsLast(try tape.value(required(node.inputs, 0, "X")))
        let dy = tape.channelsLast(dy)
        let (dx, taken) = (
            tape.channelsLastValue(tape.shape(x)), tape.value([tape.shape(dy).count], of: .int32)
        )
        let raw = try pooling.raw(tape.shape(x)).window
        tape.add(Pool(kind: .maxPoolTaken, pooling: raw, inputs: [x], output: taken))
        tape.add(Pool(kind: .maxPoolVJP, pooling: raw, inputs: [taken, dy], output: dx))
        return dx
    }
}

package struct AveragePool: UnaryOperator {
    package var reach: Reach { .behindFirst }
    package static let name = "AveragePool"
    package static let formula = "y = mean of a window"
    package let role: Role = .pools
    package let dependence: Dependence = .averages
    private let pooling: Pooling
    package init(_ attributes: Attributes) throws { pooling = try Pooling(attributes) }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        try pooling.forward(&tape, .averagePool, inputs)
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try pooling.averageVJP(&tape, dy, of: tape.shape(required(node.inputs, 0, "X")))
    }
}

/// What the norms of windows and of whole images share.
private struct Norm: Sendable {
    let p: Int
    init(_ attributes: Attributes) throws {
        p = try attributes.int("p", default: 2)
        guard p >= 1 else { throw OperatorError("has p = \(p), which must be at least 1") }
        guard p <= 64 else { throw OperatorError(unsupported: "has p = \(p), which must be at most 64 here") }
    }

    /// |x|^p.
    func powers(_ tape: inout Tape, _ x: Value) -> Value {
        switch p {
        case 1: tape.map(WB_MAP_abs, x)
        case 2: tape.map(WB_MAP_multiply, x, x)
        default: tape.map(WB_MAP_abs_power, x, a: Float(p))
        }
    }

    func root(_ tape: inout Tape, _ sum: Value) -> Value {
        switch p {
        case 1: sum
        case 2: tape.map(WB_MAP_sqrt, sum)
        default: tape.map(WB_MAP_abs_power, sum, a: 1 / Float(p))
        }
    }

    /// dy y^(1 − p), what goes back to the sum, but for a factor that cancels; 0 where y is.
    func share(_ tape: inout Tape, _ dy: Value, _ y: Value) -> Value {
        if p == 1 { return dy }
        let power = p == 2 ? y : tape.map(WB_MAP_abs_power, y, a: Float(p - 1))
        return tape.map(WB_MAP_divide_or_zero, dy, power)
    }

    /// sign(x) |x|^(p − 1) times what arrived at each number, where one may serve several.
    func cotangent(_ tape: inout Tape, _ x: Value, _ arrived: Value) -> Value {
        switch p {
        case 1: tape.map(WB_MAP_abs_vjp, x, arrived)
        case 2: tape.map(WB_MAP_multiply, x, arrived)
        default:
            tape.map(
                WB_MAP_multiply, tape.map(WB_MAP_abs_vjp, x, arrived),
                tape.map(WB_MAP_abs_power, x, a: Float(p - 1)))
        }
    }
}

package struct LpPool: UnaryOperator {
    package var reach: Reach { .behindFirst }
    package static let name = "LpPool"
    package static let formula = "y = (sum of |x|^p over a window)^(1/p)"
    package let role: Role = .pools
    private let pooling: Pooling, norm: Norm
    package init(_ attributes: Attributes) throws {
        var pooling = try Pooling(attributes)
        pooling.sums = true
        self.pooling = pooling
        norm = try Norm(attributes)
    }
    package let gradientNeeds: GradientNeeds = [.inputs, .output]
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "X"))
        let sum = try pooling.forward(&tape, .averagePool, norm.powers(&tape, x))
        return [.value(norm.root(&tape, sum))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let x = try tape.value(required(node.inputs, 0, "X"))
        let share = norm.share(&tape, dy, try tape.value(node.output))
        return norm.cotangent(&tape, x, try pooling.averageVJP(&tape, share, of: tape.shape(x)))
    }
}

/// The dimensions that a global pool takes together: all behind pictures and channels.
private func cells(_ shape: Shape) throws -> [Int] {
    guard shape.rank >= 3 else {
        throw OperatorError("works on tensors of rank 3 and more, and its input has the shape \(shape)")
    }
    return Array(2..<shape.rank)
}

package struct GlobalAveragePool: UnaryOperator {
    package var reach: Reach { .behindFirst }
    package static let name = "GlobalAveragePool"
    package static let formula = "y = mean over all cells of a channel"
    package let role: Role = .pools
    package let dependence: Dependence = .averages
    package init(_ attributes: Attributes) throws {}
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "X"))
        let axes = try cells(tape.shape(x))
        return [.value(tape.reduce(x, axes: axes, divisor: Float(tape.shape(x).count(axes))))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let shape = tape.shape(try required(node.inputs, 0, "X"))
        let axes = try cells(shape)
        return tape.spread(dy, over: shape, axes: axes, scale: 1 / Float(shape.count(axes)))
    }
}

package struct GlobalMaxPool: UnaryOperator {
    package var reach: Reach { .behindFirst }
    package static let name = "GlobalMaxPool"
    package static let formula =
        "y = largest of all cells of a channel; the gradient goes to the first of equals"
    package let role: Role = .pools
    package let dependence: Dependence = .largest
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    /// With one window; beyond three axes it is a reduction.
    private func pool(_ shape: Shape) throws -> (any UnaryOperator) {
        let axes = try cells(shape)
        return shape.rank <= 5
            ? try MaxPool(Attributes(opset: 13, ["kernel_shape": .ints(Array(shape.dims[2...]))]))
            : try ReduceMax(Attributes(opset: 13, ["axes": .ints(axes)]))
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        try pool(tape.shape(required(inputs, 0, "X"))).forward(&tape, inputs, outputs: outputs)
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try pool(tape.shape(required(node.inputs, 0, "X"))).vjp(&tape, node, dy)
    }
}

package struct GlobalLpPool: UnaryOperator {
    package var reach: Reach { .behindFirst }
    package static let name = "GlobalLpPool"
    package static let formula = "y = (sum of |x|^p over all cells of a channel)^(1/p)"
    package let role: Role = .pools
    private let norm: Norm
    package init(_ attributes: Attributes) throws { norm = try Norm(attributes) }
    package let gradientNeeds: GradientNeeds = [.inputs, .output]
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "X"))
        let axes = try cells(tape.shape(x))
        let sum = tape.reduce(norm.powers(&tape, x), axes: axes)
        return [.value(norm.root(&tape, sum))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let x = try tape.value(required(node.inputs, 0, "X"))
        let share = norm.share(&tape, dy, try tape.value(node.output))
        return norm.cotangent(&tape, x, share)
    }
}

extension MaxPool: QuantisableOperator {
    package func quantised(
        _ tape: inout Tape, _ inputs: [QuantisedOperand?], output: Quantisation?, clip: Bounds?
    ) throws -> Value? {
        guard clip == nil, case .value(let x, let p)? = inputs.first ?? nil, let q = output,
            p.isOfTensor, q.isOfTensor, p.type == q.type, p.scale == q.scale, p.zero == q.zero
        else { return nil }
        return try ofBytes(&tape, x)
    }
}
