// Normalisations by the mean and the variance of the numbers themselves: over layers, groups of channels, channels, and any axes.
// The steps and their order of terms: Steps/Normalise.swift, kernels/normalise.clh.

import CMicrokernels

/// A normalisation that takes the mean off: y = scale (x − mean) / deviation + bias. Were the deviation a constant, it would be linear.
package protocol CentringOperator: Operator {
    /// The result without the bias.
    func unbiased(_ tape: inout Tape, _ node: LoweredNode) throws -> Value
    /// The cotangent of x, the deviation held to be a constant.
    func linearVJP(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value
}

/// How far apart in a tensor are neighbours along each dimension of a shape that it broadcasts to: 0 where one number serves all.
private func strides(of tensor: HostTensor, broadcastTo shape: Shape, _ what: String) throws -> [Int] {
    guard Shape.broadcast(tensor.shape, shape) == shape else {
        throw OperatorError("has a \(what) of shape \(tensor.shape) and an input of shape \(shape)")
    }
    let (own, missing) = (tensor.shape.rowMajorStrides, shape.rank - tensor.shape.rank)
    return shape.dims.indices.map {
        $0 < missing || tensor.shape.dims[$0 - missing] == 1 ? 0 : own[$0 - missing]
    }
}

/// What normalisations over the last axes share.
struct LayerRows: Sendable {
    let axis: Int, epsilon: Float, isCentred: Bool

    init(_ attributes: Attributes, isCentred: Bool, epsilon: Float = 1e-5) throws {
        axis = try attributes.int("axis", default: -1)
        self.epsilon = try attributes.float("epsilon", default: epsilon)
        self.isCentred = isCentred
        guard try attributes.int("stash_type", default: 1) == 1 else {
            throw OperatorError(
                unsupported: "computes in another type than float32 (stash_type), which is not supported")
        }
    }

    var reach: Reach { .from(axis) }

    func rows(_ shape: Shape, scale: HostTensor?, bias: HostTensor?) throws -> NormalisedRows {
        let axis = try normalised(axis, rank: shape.rank)
        var rows = NormalisedRows(
            axes: Array(axis..<shape.rank), scale: scale, bias: bias, strides: shape.dims.map { _ in 0 },
            isCentred: isCentred, epsilon: epsilon)
        if let scale {
            rows.strides = try strides(of: scale, broadcastTo: shape, "scale")
            if let bias, bias.shape != scale.shape {
                guard try strides(of: bias, broadcastTo: shape, "bias") == rows.strides else {
                    throw OperatorError(
                        unsupported:
                            "has a scale of shape \(scale.shape) and a bias of shape \(bias.shape), which is not supported"
                    )
                }
            }
        }
        return rows
    }

    /// The means and the inverse deviations of the rows, which some ask for beside the result.
    func statistics(_ tape: inout Tape, _ x: Value) throws -> (
        means: Value?, deviations: Value, inverse: Value
    ) {
        let axes = try rows(tape.shape(x), scale: nil, bias: nil).axes
        let count = Float(tape.shape(x).count(axes))
        let means = isCentred ? tape.reduce(x, axes: axes, divisor: count) : nil
        let deviations = means.map { tape.map(WB_MAP_subtract, x, $0) } ?? x
        let variance = tape.reduce(deviations, axes: axes, WB_REDUCE_SQUARES, divisor: count)
        return (means, deviations, tape.map(WB_MAP_inverse_root, variance, a: epsilon))
    }

    /// What goes back from the cotangents of those.
    func statisticsVJP(_ tape: inout Tape, _ x: Value, means: Value?, inverse: Value?) throws -> Value? {
        let shape = tape.shape(x)
        let axes = try rows(shape, scale: nil, bias: nil).axes
        let share = 1 / Float(shape.count(axes))
        var sum = means.map { tape.spread($0, over: shape, axes: axes, scale: share) }
        if let inverse {
            // d(1/√(v + ε)) = −(v + ε)^(−3/2) d, over n.
            let found = try statistics(&tape, x)
            let cube = tape.map(
                WB_MAP_multiply, tape.map(WB_MAP_multiply, found.inverse, found.inverse), found.inverse)
            let factor = tape.map(
                WB_MAP_scale, tape.map(WB_MAP_multiply, tape.reshape(inverse, to: tape.shape(cube)), cube),
                a: -share)
            let term = tape.map(WB_MAP_multiply, found.deviations, factor)
            sum = sum.map { tape.map(WB_MAP_add, $0, term) } ?? term
        }
        return sum
    }

    /// The result, and the statistics that are asked for.
    func forward(
        _ tape: inout Tape, _ x: Value, scale: HostTensor?, bias: HostTensor?, means: Bool, inverse: Bool
    ) throws -> (y: Value, means: Value?, inverse: Value?) {
        let y = try tape.normalise(x, rows(tape.shape(x), scale: scale, bias: bias))
        guard means || inverse else { return (y, nil, nil) }
        let found = try statistics(&tape, x)
        return (y, found.means, inverse ? found.inverse : nil)
    }

    /// The cotangent of x from those of the result and of the statistics.
    func vjp(_ tape: inout Tape, _ x: Value, scale: HostTensor?, _ dy: Value?, means: Value?, inverse: Value?)
        throws -> Value?
    {
        let beside = try statisticsVJP(&tape, x, means: means, inverse: inverse)
        guard let dy else { return beside }
        let rows = try rows(tape.shape(x), scale: scale, bias: nil)
        let dx = try tape.normalise(x, rows, cotangent: dy)
        return beside.map { tape.map(WB_MAP_add, dx, $0) } ?? dx
    }
}

/// A constant input that must be there.
private func weights(_ inputs: [Operand?], _ index: Int, _ what: String) throws -> HostTensor {
    guard let tensor = try constant(inputs, index, what) else {
        throw OperatorError("lacks its input \(index) (\(what))")
    }
    return tensor
}

/// In operator sets before 17 it is there too, as optimised files have it.
package struct LayerNormalization: CentringOperator {
    package static let name = "LayerNormalization"
    package static let formula =
        "y = scale (x - mean) / sqrt(variance + epsilon) + bias, over the axes from one on"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3, outputs: 3) }
    package let dependence: Dependence = .normalises
    package let gradientNeeds: GradientNeeds = .inputs
    private let layer: LayerRows
    package var reach: Reach { layer.reach }

    package init(_ attributes: Attributes) throws { layer = try LayerRows(attributes, isCentred: true) }

    package func bias(_ inputs: [Operand?], of output: Shape) throws -> HostTensor? {
        try constant(inputs, 2, "B")
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let found = try layer.forward(
            &tape, tape.value(required(inputs, 0, "X")), scale: weights(inputs, 1, "Scale"),
            bias: constant(inputs, 2, "B"), means: outputs > 1, inverse: outputs > 2)
        return [found.y, found.means, found.inverse].prefix(outputs).map { .value($0!) }
    }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        try node.each(wanted) { input in
            guard input == 0 else { return nil }
            return try layer.vjp(
                &tape, tape.value(required(node.inputs, 0, "X")), scale: weights(node.inputs, 1, "Scale"),
                cotangents[0], means: cotangents.count > 1 ? cotangents[1] : nil,
                inverse: cotangents.count > 2 ? cotangents[2] : nil)
        }
    }
}

extension LayerNormalization {
    package func unbiased(_ tape: inout Tape, _ node: LoweredNode) throws -> Value {
        let x = try tape.value(required(node.inputs, 0, "X"))
        let scale = try weights(node.inputs, 1, "Scale")
        return try tape.normalise(x, layer.rows(tape.shape(x), scale: scale, bias: nil))
    }
    package func linearVJP(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let x = try tape.value(required(node.inputs, 0, "X"))
        let scale = try weights(node.inputs, 1, "Scale")
        return try tape.centre(x, layer.rows(tape.shape(x), scale: scale, bias: nil), cotangent: dy)
    }
}

package struct RMSNormalization: UnaryOperator {
    package static let name = "RMSNormalization"
    package static let formula = "y = scale x / sqrt(mean of x^2 + epsilon), over the axes from one on"
    package static let opsets = 23...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let dependence: Dependence = .normalises
    package let gradientNeeds: GradientNeeds = .inputs
    private let layer: LayerRows
    package var reach: Reach { layer.reach }

    package init(_ attributes: Attributes) throws { layer = try LayerRows(attributes, isCentred: false) }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "X"))
        let scale = try weights(inputs, 1, "scale")
        return [.value(try tape.normalise(x, layer.rows(tape.shape(x), scale: scale, bias: nil)))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let x = try tape.value(required(node.inputs, 0, "X"))
        let rows = try layer.rows(tape.shape(x), scale: weights(node.inputs, 1, "scale"), bias: nil)
        return try tape.normalise(x, rows, cotangent: dy)
    }
}

/// RMSNormalization as ONNX Runtime's optimiser writes it, in the domain of ONNX.
package struct SimplifiedLayerNormalization: Operator {
    package static let name = "SimplifiedLayerNormalization"
    package static let formula = RMSNormalization.formula
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2, outputs: 2) }
    package let dependence: Dependence = .normalises
    package let gradientNeeds: GradientNeeds = .inputs
    private let layer: LayerRows
    package var reach: Reach { layer.reach }

    package init(_ attributes: Attributes) throws { layer = try LayerRows(attributes, isCentred: false) }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let found = try layer.forward(
            &tape, tape.value(required(inputs, 0, "X")), scale: weights(inputs, 1, "scale"), bias: nil,
            means: false, inverse: outputs > 1)
        return [found.y, found.inverse].prefix(outputs).map { .value($0!) }
    }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        try node.each(wanted) { input in
            guard input == 0 else { return nil }
            return try layer.vjp(
                &tape, tape.value(required(node.inputs, 0, "X")), scale: weights(node.inputs, 1, "scale"),
                cotangents[0], means: nil, inverse: cotangents.count > 1 ? cotangents[1] : nil)
        }
    }
}

/// What the normalisations of a sum share, which ONNX Runtime's optimiser makes. They have the outputs y, mean, inverse deviation, sum.
struct SkippedRows: Sendable {
    let layer: LayerRows
    /// Which inputs hold the bias of the normalisation, if it has one, and that of the sum.
    let bias: Int?, term: Int

    func sum(_ tape: inout Tape, _ inputs: [Operand?]) throws -> Value {
        let (x, skip) = (try required(inputs, 0, "input"), try required(inputs, 1, "skip"))
        var sum = tape.map(WB_MAP_add, try tape.value(x), try tape.value(skip))
        guard tape.shape(sum) == tape.shape(x) else {
            throw OperatorError("adds \(tape.shape(skip)) to an input of shape \(tape.shape(x))")
        }
        if let bias = try constant(inputs, term, "bias") {
            sum = tape.map(WB_MAP_add, sum, try tape.constant(bias))
        }
        return sum
    }

    func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let sum = try sum(&tape, inputs)
        let found = try layer.forward(
            &tape, sum, scale: weights(inputs, 2, "gamma"),
            bias: bias.flatMap { try constant(inputs, $0, "beta") },
            means: false, inverse: false)
        if outputs == 1 { return [.value(found.y)] }
        let statistics = try layer.statistics(&tape, sum)
        // Where no mean is taken off, it is 0.
        let means = statistics.means ?? tape.fill(tape.shape(statistics.inverse), with: 0)
        let all = [found.y, means, statistics.inverse, sum]
        return all.prefix(outputs).map { .value($0) }
    }

    func vjp(_ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>) throws
        -> [Value?]
    {
        func arrived(_ i: Int) -> Value? { i < cotangents.count ? cotangents[i] : nil }
        let sum = try sum(&tape, node.inputs)
        var dx = try layer.vjp(
            &tape, sum, scale: weights(node.inputs, 2, "gamma"), arrived(0),
            means: layer.isCentred ? arrived(1) : nil, inverse: arrived(2))
        if let beside = arrived(3) { dx = dx.map { tape.map(WB_MAP_add, $0, beside) } ?? beside }
        return try node.each(wanted) { input in
            try input > 1
                ? nil : dx.map { tape.sum($0, to: tape.shape(try required(node.inputs, input, "input"))) }
        }
    }
}

/// What both forms share.
protocol Skipping: Operator {
    var rows: SkippedRows { get }
}

extension Skipping {
    package static var domain: String { "com.microsoft" }
    package var reach: Reach { rows.layer.reach }
    package var gradientNeeds: GradientNeeds { .inputs }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        try rows.forward(&tape, inputs, outputs: outputs)
    }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] { try rows.vjp(&tape, node, cotangents: cotangents, wanted: wanted) }
}

package struct SkipLayerNormalization: Skipping {
    package static let name = "SkipLayerNormalization"
    package static let formula = "LayerNormalization of the sum of two inputs and a bias, over the last axis"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 5, outputs: 4) }
    let rows: SkippedRows
    package init(_ attributes: Attributes) throws {
        rows = SkippedRows(
            layer: try LayerRows(attributes, isCentred: true, epsilon: 1e-12), bias: 3, term: 4)
    }
}

package struct SkipSimplifiedLayerNormalization: Skipping {
    package static let name = "SkipSimplifiedLayerNormalization"
    package static let formula = "RMSNormalization of the sum of two inputs and a bias, over the last axis"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 4, outputs: 4) }
    let rows: SkippedRows
    package init(_ attributes: Attributes) throws {
        rows = SkippedRows(
            layer: try LayerRows(attributes, isCentred: false, epsilon: 1e-12), bias: nil, term: 3)
    }
}

// MARK: Channels

/// Rows over pixels and, in their groups, channels. `isLinear`: of the cotangent, the deviation held to be a constant.
private struct GroupRows: Sendable {
    let epsilon: Float
    /// nil: as many as there are channels.
    let groups: Int?

    /// The form of [N, C, …] in which a group has a dimension of its own, [N, G, C / G, …].
    private func form(_ shape: Shape) throws -> Shape {
        guard shape.rank >= 3 || groups != nil && shape.rank == 2 else {
            throw OperatorError("works on tensors of rank 3 and more, and its input has the shape \(shape)")
        }
        let (channels, groups) = (shape.dims[1], groups ?? shape.dims[1])
        guard groups >= 1, channels % groups == 0 else {
            throw OperatorError("cuts \(channels) channels into \(groups) groups")
        }
        return Shape([shape.dims[0], groups, channels / groups] + shape.dims[2...])
    }

    func apply(
        _ tape: inout Tape, _ x: Value, scale: HostTensor, bias: HostTensor?, cotangent: Value? = nil,
        isLinear: Bool = false
    ) throws -> Value {
        let shape = tape.shape(x)
        let parts = try form(shape)
        // One dimension for all pixels, so that any number of axes will do.
        let flat = Shape(parts.dims[..<3] + [parts.dims[3...].reduce(1, *)])
        let rows = tape.reshape(x, to: flat)
        var strides = [0, 0, 0, 0]
        switch scale.shape.count {
        case shape.dims[1]: strides = [0, parts.dims[2], 1, 0]
        case parts.dims[1]: strides = [0, 1, 0, 0]
        default:
            throw OperatorError("has \(scale.shape.count) scales and an input of shape \(shape)")
        }
        if let bias, bias.shape.count != scale.shape.count {
            throw OperatorError("has \(scale.shape.count) scales and \(bias.shape.count) biases")
        }
        let normalised = NormalisedRows(
            axes: [3, 2], scale: scale, bias: bias, strides: strides, epsilon: epsilon)
        let dy = cotangent.map { tape.reshape($0, to: flat) }
        let y =
            isLinear
            ? try tape.centre(rows, normalised, cotangent: dy!)
            : try tape.normalise(rows, normalised, cotangent: dy)
        return tape.reshape(y, to: shape)
    }
}

package struct InstanceNormalization: UnaryOperator, CentringOperator {
    package static let name = "InstanceNormalization"
    package static let formula =
        "y = scale (x - mean) / sqrt(variance + epsilon) + bias, over all cells of a channel"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    package var reach: Reach { .behindFirst }
    package let dependence: Dependence = .normalises
    package let gradientNeeds: GradientNeeds = .inputs
    private let rows: GroupRows

    package init(_ attributes: Attributes) throws {
        rows = GroupRows(epsilon: try attributes.float("epsilon", default: 1e-5), groups: nil)
    }
    package func bias(_ inputs: [Operand?], of output: Shape) throws -> HostTensor? {
        HostTensor(channels: try weights(inputs, 2, "B").floats(), of: output)
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [
            .value(
                try rows.apply(
                    &tape, tape.value(required(inputs, 0, "input")), scale: weights(inputs, 1, "scale"),
                    bias: weights(inputs, 2, "B")))
        ]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try rows.apply(
            &tape, tape.value(required(node.inputs, 0, "input")), scale: weights(node.inputs, 1, "scale"),
            bias: nil, cotangent: dy)
    }
    package func unbiased(_ tape: inout Tape, _ node: LoweredNode) throws -> Value {
        try rows.apply(
            &tape, tape.value(required(node.inputs, 0, "input")), scale: weights(node.inputs, 1, "scale"),
            bias: nil)
    }
    package func linearVJP(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try rows.apply(
            &tape, tape.value(required(node.inputs, 0, "input")), scale: weights(node.inputs, 1, "scale"),
            bias: nil, cotangent: dy, isLinear: true)
    }
}

package struct GroupNormalization: UnaryOperator, CentringOperator {
    package static let name = "GroupNormalization"
    package static let formula =
        "y = scale (x - mean) / sqrt(variance + epsilon) + bias, over all cells of a group of channels"
    package static let opsets = 18...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    package var reach: Reach { .behindFirst }
    package let dependence: Dependence = .normalises
    package let gradientNeeds: GradientNeeds = .inputs
    private let rows: GroupRows
    /// Before operator set 21 there is one scale for each group.
    private let scalesGroups: Bool

    package init(_ attributes: Attributes) throws {
        rows = GroupRows(
            epsilon: try attributes.float("epsilon", default: 1e-5), groups: try attributes.int("num_groups"))
        scalesGroups = attributes.opset < 21
        guard try attributes.int("stash_type", default: 1) == 1 else {
            throw OperatorError(
                unsupported: "computes in another type than float32 (stash_type), which is not supported")
        }
    }

    private func parameters(_ tape: Tape, _ inputs: [Operand?]) throws -> (
        scale: HostTensor, bias: HostTensor
    ) {
        let (scale, bias) = (try weights(inputs, 1, "scale"), try weights(inputs, 2, "bias"))
        let shape = tape.shape(try required(inputs, 0, "X"))
        let count = scalesGroups ? rows.groups : shape.rank < 2 ? nil : shape.dims[1]
        guard scale.shape.count == count, bias.shape.count == count else {
            throw OperatorError(
                "has \(scale.shape.count) scales and \(bias.shape.count) biases for an input of shape \(shape)"
            )
        }
        return (scale, bias)
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let (scale, bias) = try parameters(tape, inputs)
        let x = try tape.value(required(inputs, 0, "X"))
        return [.value(try rows.apply(&tape, x, scale: scale, bias: bias))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let scale = try parameters(tape, node.inputs).scale
        let x = try tape.value(required(node.inputs, 0, "X"))
        return try rows.apply(&tape, x, scale: scale, bias: nil, cotangent: dy)
    }
    package func unbiased(_ tape: inout Tape, _ node: LoweredNode) throws -> Value {
        let scale = try parameters(tape, node.inputs).scale
        return try rows.apply(&tape, tape.value(required(node.inputs, 0, "X")), scale: scale, bias: nil)
    }
    package func linearVJP(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let scale = try parameters(tape, node.inputs).scale
        let x = try tape.value(required(node.inputs, 0, "X"))
        return try rows.apply(&tape, x, scale: scale, bias: nil, cotangent: dy, isLinear: true)
    }
}

// MARK: Any axes

package struct MeanVarianceNormalization: UnaryOperator, CentringOperator {
    package static let name = "MeanVarianceNormalization"
    package static let formula = "y = (x - mean) / (sqrt(variance) + 1e-9), over axes"
    package static let opsets = 9...24
    package let dependence: Dependence = .normalises
    package let gradientNeeds: GradientNeeds = .inputs
    private let axes: [Int]

    package init(_ attributes: Attributes) throws { axes = try attributes.ints("axes") ?? [0, 2, 3] }
    package var reach: Reach {
        .along { shape, _ in try axes.map { try normalised($0, rank: shape.rank) } }
    }

    private func rows(_ shape: Shape) throws -> NormalisedRows {
        NormalisedRows(
            axes: Array(Set(try axes.map { try normalised($0, rank: shape.rank) })).sorted(),
            strides: shape.dims.map { _ in 0 }, epsilon: 1e-9, isOutside: true)
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "X"))
        return [.value(try tape.normalise(x, rows(tape.shape(x))))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let x = try tape.value(required(node.inputs, 0, "X"))
        return try tape.normalise(x, rows(tape.shape(x)), cotangent: dy)
    }
    package func unbiased(_ tape: inout Tape, _ node: LoweredNode) throws -> Value {
        try tape.value(node.output)
    }
    package func linearVJP(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let x = try tape.value(required(node.inputs, 0, "X"))
        return try tape.centre(x, rows(tape.shape(x)), cotangent: dy)
    }
}

package struct LpNormalization: UnaryOperator {
    package static let name = "LpNormalization"
    package static let formula =
        "y = x / (sum of |x|^p along an axis)^(1/p), p being 1 or 2; 0 where that is 0"
    package let dependence: Dependence = .normalises
    package let gradientNeeds: GradientNeeds = .inputs
    private let axis: Int, p: Int
    package var reach: Reach { .along(axis) }

    package init(_ attributes: Attributes) throws {
        axis = try attributes.int("axis", default: -1)
        p = try attributes.int("p", default: 2)
        guard p == 1 || p == 2 else { throw OperatorError("has p = \(p), which must be 1 or 2") }
    }

    private func norms(_ tape: inout Tape, _ x: Value, _ axis: Int) -> Value {
        p == 1
            ? tape.reduce(x, axes: [axis], WB_REDUCE_MAGNITUDES)
            : tape.map(WB_MAP_sqrt, tape.reduce(x, axes: [axis], WB_REDUCE_SQUARES))
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "input"))
        let axis = try normalised(axis, rank: tape.shape(x).rank)
        return [.value(tape.map(WB_MAP_divide_or_zero, x, norms(&tape, x, axis)))]
    }
    /// With n the norm: (dy − n′ Σ y dy) / n, n′ being y for p = 2, and the sign of x for p = 1.
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let x = try tape.value(required(node.inputs, 0, "input"))
        let axis = try normalised(axis, rank: tape.shape(x).rank)
        let norms = norms(&tape, x, axis)
        let y = tape.map(WB_MAP_divide_or_zero, x, norms)
        let sum = tape.reduce(tape.map(WB_MAP_multiply, y, dy), axes: [axis])
        let pull = tape.map(p == 1 ? WB_MAP_abs_vjp : WB_MAP_multiply, p == 1 ? x : y, sum)
        return tape.map(WB_MAP_divide_or_zero, tape.map(WB_MAP_subtract, dy, pull), norms)
    }
}
