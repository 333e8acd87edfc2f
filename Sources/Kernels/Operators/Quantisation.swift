// Between real numbers and the whole ones that stand for them: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, and the
// products of whole numbers that are given as such.
//
// Gradients go by the straight-through rule: rounding counts as no change. What is quantised passes the gradient on, divided by the
// scale, where its whole number lies between the ends of its type's range, and 0 where it lies on one, as at the bounds of a clip.

import CMicrokernels

/// Where an operator's inputs say what whole numbers stand for.
package struct QuantisedInput: Sendable {
    package let numbers: Int, scale: Int, zero: Int
    package init(_ numbers: Int, scale: Int, zero: Int) {
        (self.numbers, self.scale, self.zero) = (numbers, scale, zero)
    }
}

/// The scale and the zero point among a node's inputs, as constants.
/// - Parameters:
///   - type: of the whole numbers, where the zero point does not say it.
func quantisation(
    _ inputs: [Operand?], scale: Int, zero: Int, axis: Int, rank: Int, type: WholeType?
) throws -> Quantisation {
    guard let scales = try constant(inputs, scale, "scale") else { throw OperatorError("lacks its scale") }
    let zeros = try constant(inputs, zero, "zero point")
    guard !scales.isInteger, scales.shape.rank <= 1 else {
        throw OperatorError(
            unsupported:
                "has a scale of shape \(scales.shape), where one number, or one for each index of an axis is supported"
        )
    }
    guard let type = zeros.map({ $0.type }) ?? type else {
        throw OperatorError(unsupported: "has a zero point whose type is not known, or not supported")
    }
    let count = scales.shape.count
    let numbers = try zeros?.ints() ?? Array(repeating: 0, count: count)
    guard numbers.count == count, count > 0, numbers.allSatisfy(type.range.contains) else {
        throw OperatorError("has \(count) scales and \(numbers.count) zero points, which do not fit")
    }
    return Quantisation(
        scale: try scales.floats(), zero: numbers, axis: count == 1 ? 0 : try normalised(axis, rank: rank),
        type: type)
}

extension HostTensor {
    /// What whole numbers stand for.
    package func dequantised(_ quantisation: Quantisation) throws -> HostTensor {
        let (scale, zero) = (quantisation.scale, quantisation.zero)
        if !quantisation.isOfTensor, shape.dims[quantisation.axis] != scale.count {
            throw OperatorError(
                "has \(scale.count) scales for an axis of \(shape.dims[quantisation.axis])")
        }
        let inner =
            quantisation.isOfTensor ? 1 : shape.dims[(quantisation.axis + 1)...].reduce(1, *)
        let whole = self
        return HostTensor(
            shape,
            .deferred { body in
                var numbers = try whole.exactFloats(zero: quantisation)
                for i in numbers.indices { numbers[i] *= scale[i / inner % scale.count] }
                try numbers.withUnsafeBytes(body)
            },
            identity: identity.derived(
                [0x5144, quantisation.axis] + scale.map { Int($0.bitPattern) } + zero),
            quantised: QuantisedConstant(whole: self, quantisation: quantisation))
    }

    /// The numbers less the zero points, rounded to binary32.
    private func exactFloats(zero quantisation: Quantisation) throws -> [Float] {
        let zero = quantisation.zero
        let inner =
            quantisation.isOfTensor ? 1 : shape.dims[(quantisation.axis + 1)...].reduce(1, *)
        if case .ints(let values) = numbers {
            return values.indices.map { Float(values[$0] - zero[$0 / inner % zero.count]) }
        }
        var numbers = try floats()
        for i in numbers.indices { numbers[i] -= Float(zero[i / inner % zero.count]) }
        return numbers
    }
}

extension Tape {
    /// One number, or one for each index of an axis, where it broadcasts to a shape.
    fileprivate mutating func along(_ numbers: [Float], _ quantisation: Quantisation, _ shape: Shape) throws
        -> Value
    {
        if numbers.count > 1, shape.dims[quantisation.axis] != numbers.count {
            throw OperatorError(
                "has \(numbers.count) scales for an axis of \(shape.dims[quantisation.axis])")
        }
        let dims = shape.dims.indices.map { $0 == quantisation.axis ? numbers.count : 1 }
        return try constant(HostTensor(numbers.count == 1 ? [1] : Shape(dims), .floats(numbers)))
    }

    /// The whole numbers that stand for x: bytes, or numbers of 16 bits as binary32.
    package mutating func wholes(_ x: Value, _ q: Quantisation) throws -> Value {
        if q.isOfTensor, q.type.isByte { return quantised(x, q) }
        let shape = self.shape(x)
        var y = map(WB_MAP_divide, x, try along(q.scale, q, shape))
        y = map(WB_MAP_nearest_whole, y, a: -0x1p21, b: 0x1p21)
        if q.zero.contains(where: { $0 != 0 }) {
            y = map(WB_MAP_add, y, try along(q.zero.map(Float.init), q, shape))
        }
        y = map(WB_MAP_clip, y, a: Float(q.type.range.lowerBound), b: Float(q.type.range.upperBound))
        return stating(q.type.isByte ? asBytes(y, q.type) : y, .integer)
    }

    /// What whole numbers stand for.
    mutating func reals(_ x: Value, _ q: Quantisation) throws -> Value {
        if q.isOfTensor, element(x) == .uint8 || element(x) == .int8, WholeType(element(x)) == q.type {
            return dequantise(x, q)
        }
        let shape = self.shape(x)
        var y = asFloats(x)
        if q.zero.contains(where: { $0 != 0 }) {
            y = map(WB_MAP_subtract, y, try along(q.zero.map(Float.init), q, shape))
        }
        return stating(map(WB_MAP_multiply, y, try along(q.scale, q, shape)), .real)
    }

    /// The cotangent of what was quantised, of that of the whole numbers.
    mutating func straightThrough(_ dq: Value, wholes y: Value, _ q: Quantisation) throws -> Value {
        let inside = map(
            WB_MAP_clip_vjp_of_output, asFloats(y), dq, a: Float(q.type.range.lowerBound),
            b: Float(q.type.range.upperBound))
        return map(WB_MAP_divide, inside, try along(q.scale, q, shape(dq)))
    }

    /// The cotangent of whole numbers, of that of what they stand for.
    mutating func straightThrough(_ dx: Value, _ q: Quantisation) throws -> Value {
        map(WB_MAP_multiply, dx, try along(q.scale, q, shape(dx)))
    }
}

extension Attributes {
    /// What tells neither of the two operators anything beside their inputs.
    fileprivate func quantisation(_ name: String) throws -> (axis: Int, isBlocked: Bool) {
        ignore("saturate")  // of 8-bit floats
        let precision = try int("precision", default: 0)
        guard precision == 0 || precision == 1 else {
            throw OperatorError(
                unsupported: "computes in a precision other than binary32, which is not supported")
        }
        return (try int("axis", default: 1), try int("block_size", default: 0) != 0)
    }
}

package struct QuantizeLinear: UnaryOperator {
    package var reach: Reach { .place }
    package static let name = "QuantizeLinear"
    package static let formula =
        "q = saturate(round(x / scale) + zero), ties to even; gradient straight-through: dq / scale inside the range, 0 at its ends"
    package static let opsets = 10...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    package let role: Role = .quantises
    package let dependence: Dependence = .selects
    package let gradientNeeds: GradientNeeds = .output
    private let axis: Int, type: WholeType?

    package init(_ attributes: Attributes) throws {
        let (axis, isBlocked) = try attributes.quantisation("QuantizeLinear")
        self.axis = axis
        guard !isBlocked else {
            throw OperatorError(unsupported: "quantises blocks of activations, which is not supported")
        }
        let code = try attributes.int("output_dtype", default: 0)
        // The data types of ONNX; 0 is that of the zero point.
        let types: [Int: WholeType] = [2: .uint8, 3: .int8, 4: .uint16, 5: .int16]
        type = types[code]
        guard code == 0 || type != nil else {
            throw OperatorError(unsupported: "quantises to the data type \(code), which is not supported")
        }
    }

    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { .integer }

    /// What the node's whole numbers stand for.
    package func quantisation(_ inputs: [Operand?], rank: Int) throws -> Quantisation {
        try Kernels.quantisation(
            inputs, scale: 1, zero: 2, axis: axis, rank: rank, type: type ?? .uint8)
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "x"))
        return [.value(try tape.wholes(x, quantisation(inputs, rank: tape.shape(x).rank)))]
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first, !x.isInteger else { return nil }
        let q = try quantisation(inputs.map { $0.map(Operand.host) }, rank: x.shape.rank)
        try limits.memory.check(16 * x.shape.count)
        let inner = q.isOfTensor ? 1 : x.shape.dims[(q.axis + 1)...].reduce(1, *)
        let whole = try x.floats().enumerated().map { i, x -> Int in
            let k = i / inner % q.scale.count
            let (low, high) = (q.type.range.lowerBound - q.zero[k], q.type.range.upperBound - q.zero[k])
            let quotient = x / q.scale[k]
            let kept = quotient > Float(low) ? min(quotient, Float(high)) : Float(low)
            return Int(kept.rounded(.toNearestOrEven)) + q.zero[k]
        }
        return [HostTensor(x.shape, .ints(whole), type: q.type)]
    }

    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try tape.straightThrough(
            dy, wholes: tape.value(node.output), quantisation(node.inputs, rank: tape.shape(dy).rank))
    }

    /// The way back where the numbers are the score itself, which at an end of its range would have no gradient at all.
    package func vjpUnclipped(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let q = try quantisation(node.inputs, rank: tape.shape(dy).rank)
        return tape.map(WB_MAP_divide, dy, try tape.along(q.scale, q, tape.shape(dy)))
    }
}

package struct DequantizeLinear: UnaryOperator {
    package var reach: Reach { .place }
    package static let name = "DequantizeLinear"
    package static let formula = "x = scale (q - zero)"
    package static let opsets = 10...24
    package static let accepts: Set<Meaning> = [.integer, .real]
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    package let role: Role = .dequantises
    package let dependence: Dependence = .selects
    private let axis: Int, isBlocked: Bool, block: Int

    package init(_ attributes: Attributes) throws {
        (axis, isBlocked) = try attributes.quantisation("DequantizeLinear")
        block = try attributes.int("block_size", default: 0)
        guard [0, 1].contains(try attributes.int("output_dtype", default: 0)) else {
            throw OperatorError(unsupported: "makes numbers other than binary32, which is not supported")
        }
    }

    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { .real }

    /// What the node's whole numbers stand for.
    /// - Parameter type: of the numbers, where no zero point says it.
    package func quantisation(_ inputs: [Operand?], rank: Int, type: WholeType?) throws -> Quantisation {
        guard !isBlocked else {
            throw OperatorError(unsupported: "has blocks of activations, which is not supported")
        }
        return try Kernels.quantisation(inputs, scale: 1, zero: 2, axis: axis, rank: rank, type: type)
    }

    private func quantisation(_ tape: Tape, _ inputs: [Operand?]) throws -> Quantisation {
        let x = try required(inputs, 0, "x")
        var type: WholeType?
        switch x {
        case .value(let value): type = WholeType(tape.element(value)) ?? .int32
        case .host(let tensor): type = tensor.type
        case .fused: break
        }
        return try quantisation(inputs, rank: tape.shape(x).rank, type: type)
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try required(inputs, 0, "x")
        let q = try quantisation(tape, inputs)
        switch x {
        case .value(let value): return [.value(try tape.reals(value, q))]
        case .host(let tensor): return [.host(try tensor.dequantised(q))]
        case .fused: preconditionFailure("Whole numbers are never fused away.")
        }
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first else { return nil }
        let operands = inputs.map { $0.map(Operand.host) }
        if isBlocked { return [try blocks(x, operands)] }
        return [
            try x.dequantised(quantisation(operands, rank: x.shape.rank, type: x.type ?? .int32))
        ]
    }

    /// One scale for each block along the axis.
    private func blocks(_ x: HostTensor, _ inputs: [Operand?]) throws -> HostTensor {
        guard let scales = try constant(inputs, 1, "scale") else { throw OperatorError("lacks its scale") }
        let zeros = try constant(inputs, 2, "zero point")
        let axis = try normalised(self.axis, rank: x.shape.rank)
        let dims = x.shape.dims
        let length = (dims[axis] + block - 1) / max(1, block)
        let blocked = Array(dims[..<axis]) + [length] + dims[(axis + 1)...]
        guard block > 0, scales.shape.dims == blocked, zeros.map({ $0.shape == scales.shape }) ?? true else {
            throw OperatorError(
                "has scales of shape \(scales.shape) for blocks of \(block) along the axis \(axis) of \(x.shape)"
            )
        }
        let inner = dims[(axis + 1)...].reduce(1, *)
        return HostTensor(
            x.shape,
            .deferred { body in
                let (scale, zero) = (try scales.floats(), try zeros?.floats())
                var numbers = try x.floats()
                for i in numbers.indices {
                    let (outer, rest) = (i / (inner * dims[axis]), i % (inner * dims[axis]))
                    let k = (outer * length + rest / inner / block) * inner + rest % inner
                    numbers[i] = (numbers[i] - (zero?[k] ?? 0)) * scale[k]
                }
                try numbers.withUnsafeBytes(body)
            })
    }

    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try tape.straightThrough(dy, quantisation(tape, node.inputs))
    }
}

package struct DynamicQuantizeLinear: Operator {
    package static let name = "DynamicQuantizeLinear"
    package static let formula =
        "q = saturate(round(x / scale) + zero) in uint8, with scale and zero of the tensor's own range; gradient straight-through, scale and zero as constants"
    package static let opsets = 11...24
    package static func arity(opset: Int) -> Arity { Arity(outputs: 3) }
    package let gradientNeeds: GradientNeeds = .output
    package init(_ attributes: Attributes) throws {}

    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        index == 1 ? .real : .integer
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "x"))
        let all = Array(0..<tape.shape(x).rank)
        let most = tape.reshape(tape.reduce(x, axes: all, WB_REDUCE_MAX), to: [])
        let least = tape.reshape(tape.reduce(x, axes: all, WB_REDUCE_MIN), to: [])
        let high = tape.map(WB_MAP_clip, most, a: 0, b: .infinity)
        let low = tape.map(WB_MAP_clip, least, a: -.infinity, b: 0)
        let range = tape.map(WB_MAP_subtract, high, low)
        let levels = try tape.constant(HostTensor([], .floats([255])))
        let scale = tape.map(WB_MAP_divide, range, levels)
        // Of a tensor of zeros, the quotients are no numbers, and whole numbers are 0.
        let zero = tape.map(
            WB_MAP_nearest_whole,
            tape.map(WB_MAP_divide_or_zero, tape.map(WB_MAP_scale, low, a: -1), scale), a: 0, b: 255)
        var q = tape.map(WB_MAP_divide_or_zero, x, scale)
        q = tape.map(WB_MAP_nearest_whole, q, a: -0x1p21, b: 0x1p21)
        q = tape.map(WB_MAP_clip, tape.map(WB_MAP_add, q, zero), a: 0, b: 255)
        return [.value(tape.asBytes(q, .uint8)), .value(scale), .value(zero)]
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        try node.each(wanted) { _ in
            guard let dq = cotangents[0] else {
                return tape.fill(tape.shape(try required(node.inputs, 0, "x")), with: 0)
            }
            let q = tape.asFloats(try tape.value(node.output))
            let inside = tape.map(WB_MAP_clip_vjp_of_output, q, dq, a: 0, b: 255)
            return tape.map(WB_MAP_divide_or_zero, inside, try tape.value(required(node.outputs, 1, "scale")))
        }
    }
}

// MARK: Products of whole numbers

/// A product of whole numbers whose sums are the result, as integers.
protocol IntegerProduct: Operator {
    /// A product of real numbers of the same form.
    var real: any LinearOperator & WholeProductOperator { get }
}

/// A product of constant weights that can be computed in whole numbers.
protocol WholeProductOperator: Operator {
    /// Puts it on the tape.
    /// - Parameters:
    ///   - x: bytes.
    ///   - zero: the number that stands for 0 in it: one binary32.
    ///   - bias: as sums are.
    /// - Returns: nil if that is not supported in whole numbers.
    func wholeProduct(
        _ tape: inout Tape, _ x: Value, zero: Value, _ weights: HostTensor, _ quantisation: Quantisation,
        bias: HostTensor?, _ output: (_ scales: [Float]) -> WholeOutput
    ) throws -> Value?
}

extension IntegerProduct {
    package var reach: Reach { real.reach }
    package static var opsets: ClosedRange<Int> { 10...24 }
    package static var accepts: Set<Meaning> { [.integer] }
    package static func arity(opset: Int) -> Arity { Arity(inputs: 4) }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { .integer }

    /// The weights' quantisation, with scales of 1.
    private func weights(_ inputs: [Operand?]) throws -> (HostTensor, Quantisation) {
        guard let weights = try constant(inputs, 1, "weights") else {
            throw OperatorError("lacks its weights")
        }
        guard let type = weights.type, type.isByte else {
            throw OperatorError(unsupported: "has weights that are neither int8 nor uint8")
        }
        let zero = try constant(inputs, 3, "zero point of the weights")?.ints() ?? [0]
        let axis = real.slides ? 0 : weights.shape.rank - 1
        guard zero.count == 1 || zero.count == weights.shape.dims[axis], zero.allSatisfy(type.range.contains)
        else { throw OperatorError("has \(zero.count) zero points for its weights") }
        return (
            weights,
            Quantisation(
                scale: Array(repeating: 1, count: zero.count), zero: zero, axis: axis, type: type)
        )
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let (weights, quantisation) = try weights(inputs)
        guard case .value(var x) = try required(inputs, 0, "x") else {
            throw OperatorError(unsupported: "multiplies two constants, which is not supported")
        }
        var zero: Value?
        var type = WholeType(tape.element(x))
        if inputs.count > 2, let operand = inputs[2] {
            guard tape.shape(operand).count == 1 else {
                throw OperatorError(unsupported: "has several zero points for its input")
            }
            if case .host(let tensor) = operand, let stated = tensor.type { type = type ?? stated }
            zero = try tape.wholeValue(operand)
        }
        guard let type, type.isByte else {
            throw OperatorError(unsupported: "multiplies whole numbers that are neither int8 nor uint8")
        }
        x = tape.asBytes(x, type)
        let none = try tape.constant(HostTensor([1], .floats([0])))
        guard
            let y = try real.wholeProduct(
                &tape, x, zero: zero ?? none, weights, quantisation, bias: nil, { _ in .sums })
        else {
            throw OperatorError(unsupported: "multiplies in a way that is not supported in whole numbers")
        }
        return [.value(tape.stating(y, .integer))]
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let (weights, quantisation) = try weights(node.inputs)
        return try node.each(wanted) { input in
            // The zero point is a constant to the straight-through rule.
            if input != 0 { return tape.fill(tape.shape(node.inputs[input]!), with: 0) }
            let x = try required(node.inputs, 0, "x")
            return try real.reverseProduct(
                &tape, [x, .host(try weights.dequantised(quantisation))], cotangents[0]!, weights: nil)
        }
    }
}

package struct ConvInteger: IntegerProduct {
    package static let name = "ConvInteger"
    package static let formula = "Conv of x - zero with w - zero, both of bytes, in integers of 32 bits"
    let real: any LinearOperator & WholeProductOperator
    package init(_ attributes: Attributes) throws { real = try Conv(attributes) }
}

package struct MatMulInteger: IntegerProduct {
    package static let name = "MatMulInteger"
    package static let formula =
        "MatMul of A - zero with B - zero, both of bytes, in integers of 32 bits; B is constant"
    let real: any LinearOperator & WholeProductOperator
    package init(_ attributes: Attributes) throws { real = try MatMul(attributes) }
}

extension Conv: WholeProductOperator {
    func wholeProduct(
        _ tape: inout Tape, _ x: Value, zero: Value, _ weights: HostTensor, _ quantisation: Quantisation,
        bias: HostTensor?, _ output: (_ scales: [Float]) -> WholeOutput
    ) throws -> Value? {
        guard case .convolves = role, quantisation.isOfTensor || quantisation.axis == 0 else { return nil }
        let shape = try shape(tape.shape(x), weights: weights.shape)
        guard bias.map({ $0.shape.count == shape.outputChannels }) ?? true else {
            throw OperatorError("has \(bias!.shape.count) biases for \(shape.outputChannels) output channels")
        }
        return tape.wholeConvolution(
            x, zero: zero, shape,
            WholeWeights(
                tensor: weights, isTransposed: false, type: quantisation.type, zero: quantisation.zero),
            bias: try bias?.ints(), output(quantisation.scale))
    }
}

extension Tape {
    /// Rows of bytes by a constant matrix: a convolution of images of one pixel.
    fileprivate mutating func wholeRows(
        _ x: Value, zero: Value, _ matrix: HostTensor, isTransposed: Bool, _ quantisation: Quantisation,
        bias: HostTensor?, output: Shape, _ kind: WholeOutput
    ) throws -> Value? {
        let (terms, columns) =
            isTransposed
            ? (matrix.shape.dims[1], matrix.shape.dims[0]) : (matrix.shape.dims[0], matrix.shape.dims[1])
        guard matrix.shape.rank == 2, quantisation.isOfTensor || quantisation.axis == (isTransposed ? 0 : 1)
        else { return nil }
        let rows = shape(x).count / terms
        let shape = ConvolutionShape(
            images: rows, inputChannels: terms, outputChannels: columns,
            axes: [Axis(input: 1, output: 1, kernel: 1), Axis(input: 1, output: 1, kernel: 1)])
        var numbers = try bias?.ints()
        if let all = numbers, all.count == 1 { numbers = Array(repeating: all[0], count: columns) }
        guard numbers.map({ $0.count == columns }) ?? true else { return nil }
        let y = wholeConvolution(
            rowMajorBytes(x, as: shape.input), zero: zero, shape,
            WholeWeights(
                tensor: matrix, isTransposed: !isTransposed, type: quantisation.type,
                zero: quantisation.zero), bias: numbers, kind)
        // One pixel: memory order is row-major.
        if output.isRowMajor { return view(y, as: output, strides: output.strides, offset: 0) }
        let real = reshape(
            asFloats(view(y, as: [rows, columns], strides: [columns, 1], offset: 0)), to: output)
        return WholeType(element(y)).flatMap { $0.isByte ? asBytes(real, $0) : nil } ?? real
    }

    /// The same bytes in row-major order, under another shape whose memory order is that.
    private mutating func rowMajorBytes(_ x: Value, as shape: Shape) -> Value {
        if isDense(x), self.shape(x).isRowMajor {
            return view(x, as: shape, strides: shape.strides, offset: 0)
        }
        return asBytes(reshape(asFloats(x), to: shape), WholeType(element(x))!)
    }
}

extension MatMul: WholeProductOperator {
    func wholeProduct(
        _ tape: inout Tape, _ x: Value, zero: Value, _ weights: HostTensor, _ quantisation: Quantisation,
        bias: HostTensor?, _ output: (_ scales: [Float]) -> WholeOutput
    ) throws -> Value? {
        let a = tape.shape(x)
        guard a.rank >= 2, weights.shape.rank == 2 else { return nil }
        guard a.dims.last == weights.shape.dims[0] else {
            throw OperatorError("multiplies \(a) by \(weights.shape), which do not fit")
        }
        return try tape.wholeRows(
            x, zero: zero, weights, isTransposed: false, quantisation, bias: bias,
            output: Shape(a.dims.dropLast() + [weights.shape.dims[1]]).checked(), output(quantisation.scale))
    }
}

extension Gemm: WholeProductOperator {
    func wholeProduct(
        _ tape: inout Tape, _ x: Value, zero: Value, _ weights: HostTensor, _ quantisation: Quantisation,
        bias: HostTensor?, _ output: (_ scales: [Float]) -> WholeOutput
    ) throws -> Value? {
        let a = tape.shape(x)
        guard !transA, beta == 1 || bias == nil, a.rank == 2, weights.shape.rank == 2 else { return nil }
        guard a.dims[1] == weights.shape.dims[transB ? 1 : 0] else {
            throw OperatorError("multiplies \(a) by \(weights.shape), which do not fit")
        }
        return try tape.wholeRows(
            x, zero: zero, weights, isTransposed: transB, quantisation, bias: bias,
            output: [a.dims[0], weights.shape.dims[transB ? 0 : 1]],
            output(quantisation.scale.map { alpha * $0 }))
    }
}
