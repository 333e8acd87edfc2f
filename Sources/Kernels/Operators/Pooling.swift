// Pools over windows, over whole images, and reductions over any axes.

import CMicrokernels

/// What the window pools share.
private struct Pooling: Sendable {
    let window: Window
    let ceil: Bool, countPads: Bool

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
            count_pads: countPads ? 1 : 0,
            padded_d: int(padded[0]), padded_h: int(padded[1]), padded_w: int(padded[2]))
        return (raw, output)
    }

    func forward(_ tape: inout Tape, _ kind: Pool.Kind, _ inputs: [Operand?]) throws -> [Operand] {
        var x = try tape.value(required(inputs, 0, "X"))
        let (raw, shape) = try raw(tape.shape(x))
        x = tape.channelsLast(x)
        let y = tape.channelsLastValue(shape)
        tape.add(Pool(kind: kind, pooling: raw, inputs: [x], output: y))
        return [.value(y)]
    }
}

package struct MaxPool: UnaryOperator {
    package var keepsPicturesApart: Bool { true }
    package static let name = "MaxPool"
    package static let formula = "y = largest of a window; the gradient goes to the first of equals"
    package static func arity(opset: Int) -> Arity { Arity(outputs: 2) }
    package let role: Role = .pools
    package let dependence: Dependence = .largest
    private let pooling: Pooling
    package init(_ attributes: Attributes) throws { pooling = try Pooling(attributes) }
    package let gradientNeeds: GradientNeeds = .inputs
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        guard outputs == 1 else {
            throw OperatorError(unsupported: "is asked for the indices of its maxima, which is not supported")
        }
        return try pooling.forward(&tape, .maxPool, inputs)
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
    package var keepsPicturesApart: Bool { true }
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
        let shape = tape.shape(try required(node.inputs, 0, "X"))
        let dx = tape.channelsLastValue(shape)
        tape.add(
            Pool(
                kind: .averagePoolVJP, pooling: try pooling.raw(shape).window,
                inputs: [tape.channelsLast(dy)], output: dx))
        return dx
    }
}

/// The cotangent of a mean or a sum over axes: every element gets the same share.
private func spread(_ tape: inout Tape, _ dy: Value, over shape: Shape, axes: [Int], scale: Float) -> Value {
    let kept = Shape(shape.dims.indices.map { axes.contains($0) ? 1 : shape.dims[$0] })
    let source = tape.reshape(dy, to: kept)
    let dx = tape.value(shape)
    tape.copy(source, into: dx, strides: shape.strides, as: shape, scale: scale)
    return dx
}

package struct GlobalAveragePool: UnaryOperator {
    package var keepsPicturesApart: Bool { true }
    package static let name = "GlobalAveragePool"
    package static let formula = "y = mean over height and width"
    package let role: Role = .pools
    package let dependence: Dependence = .averages
    package init(_ attributes: Attributes) throws {}
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "X"))
        _ = try image(tape.shape(x))
        return [.value(tape.spatialMean(x))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let shape = tape.shape(try required(node.inputs, 0, "X"))
        let scale = 1 / Float(shape.dims[2] * shape.dims[3])
        return spread(&tape, dy, over: shape, axes: [2, 3], scale: scale)
    }
}

package struct GlobalMaxPool: UnaryOperator {
    package var keepsPicturesApart: Bool { true }
    package static let name = "GlobalMaxPool"
    package static let formula = "y = largest over height and width; the gradient goes to the first of equals"
    package let role: Role = .pools
    package let dependence: Dependence = .largest
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    private func pool(_ shape: Shape) throws -> MaxPool {
        try MaxPool(Attributes(opset: 13, ["kernel_shape": .ints(Array(image(shape).dims[2...]))]))
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        try pool(tape.shape(required(inputs, 0, "X"))).forward(&tape, inputs, outputs: outputs)
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try pool(tape.shape(required(node.inputs, 0, "X"))).vjp(&tape, node, dy)
    }
}

/// What ReduceMean and ReduceSum share.
private struct Reduction: Sendable {
    private let listed: [Int]?, axesAreInput: Bool, keepDims: Bool, emptyMeansNone: Bool

    init(_ attributes: Attributes, axesAreInputFrom opset: Int) throws {
        axesAreInput = attributes.opset >= opset
        listed = axesAreInput ? nil : try attributes.ints("axes")
        keepDims = try attributes.int("keepdims", default: 1) != 0
        emptyMeansNone = axesAreInput ? try attributes.int("noop_with_empty_axes", default: 0) != 0 : false
    }

    func axes(_ shape: Shape, _ inputs: [Operand?]) throws -> [Int] {
        let given = axesAreInput ? try constant(inputs, 1, "axes")?.ints() : listed
        if given ?? [] == [] { return emptyMeansNone ? [] : Array(0..<shape.rank) }
        return Array(Set(try given!.map { try normalised($0, rank: shape.rank) })).sorted()
    }

    func forward(_ tape: inout Tape, _ inputs: [Operand?], mean: Bool) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "data"))
        let shape = tape.shape(x)
        let axes = try axes(shape, inputs)
        if axes.isEmpty { return [.value(x)] }
        let count = axes.map { shape.dims[$0] }.reduce(1, *)
        let y = tape.reduce(x, axes: axes, divisor: mean ? Float(count) : 1)
        if keepDims { return [.value(y)] }
        return [
            .value(
                tape.reshape(
                    y, to: Shape(shape.dims.indices.filter { !axes.contains($0) }.map { shape.dims[$0] })))
        ]
    }

    func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value, mean: Bool) throws -> Value {
        let shape = tape.shape(try required(node.inputs, 0, "data"))
        let axes = try axes(shape, node.inputs)
        let count = axes.map { shape.dims[$0] }.reduce(1, *)
        return spread(&tape, dy, over: shape, axes: axes, scale: mean ? 1 / Float(count) : 1)
    }
}

package struct ReduceMean: UnaryOperator {
    package static let name = "ReduceMean"
    package static let formula = "y = mean over axes"
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 18 ? 2 : 1) }
    package let role: Role = .pools
    package let dependence: Dependence = .averages
    private let reduction: Reduction
    package init(_ attributes: Attributes) throws {
        reduction = try Reduction(attributes, axesAreInputFrom: 18)
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        try reduction.forward(&tape, inputs, mean: true)
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try reduction.vjp(&tape, node, dy, mean: true)
    }
}

package struct ReduceSum: UnaryOperator {
    package static let name = "ReduceSum"
    package static let formula = "y = sum over axes"
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 13 ? 2 : 1) }
    package let role: Role = .pools
    package let dependence: Dependence = .averages
    private let reduction: Reduction
    package init(_ attributes: Attributes) throws {
        reduction = try Reduction(attributes, axesAreInputFrom: 13)
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        try reduction.forward(&tape, inputs, mean: false)
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try reduction.vjp(&tape, node, dy, mean: false)
    }
}
