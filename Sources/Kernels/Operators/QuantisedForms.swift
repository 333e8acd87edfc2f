// Operators between quantised tensors: how those of real numbers are computed in whole ones, and the operators that are given so (QOperator).
//
// Which roundings there are, and in which order, is that of ONNX Runtime's kernels for x86-64, so that results have its bits.

import CMicrokernels

/// An operator of real numbers that can be computed with the whole numbers that stand for them.
package protocol QuantisableOperator: Operator {
    /// Puts it on the tape.
    /// - Parameters:
    ///   - output: what the result's whole numbers stand for; nil where it is to be real numbers.
    ///   - clip: bounds that the real results are clipped to.
    /// - Returns: nil if it is not computed so.
    func quantised(
        _ tape: inout Tape, _ inputs: [QuantisedOperand?], output: Quantisation?, clip: Bounds?
    ) throws -> Value?
}

extension Tape {
    /// A quantised operand as bytes.
    fileprivate mutating func bytes(_ operand: QuantisedOperand) throws -> Value? {
        guard operand.quantisation.isOfTensor, operand.quantisation.type.isByte else { return nil }
        switch operand {
        case .value(let value, let quantisation): return asBytes(value, quantisation.type)
        case .constant(let tensor, let quantisation):
            let numbers = HostTensor(tensor.shape, .floats(try tensor.floats()))
            return asBytes(try constant(numbers), quantisation.type)
        }
    }
}

// MARK: Products

extension WholeProductOperator {
    fileprivate func wholeProduct(
        _ tape: inout Tape, _ inputs: [QuantisedOperand?], output: Quantisation?, clip: Bounds?
    ) throws -> Value? {
        guard inputs.count >= 2, let a = inputs[0], case .value = a,
            case .constant(let weights, let w)? = inputs[1], w.type.isByte,
            output.map({ $0.isOfTensor && $0.type.isByte }) ?? true, clip == nil || output != nil,
            let x = try tape.bytes(a)
        else { return nil }
        var bias: HostTensor?
        if inputs.count > 2, let c = inputs[2] {
            guard case .constant(let tensor, let q) = c, q.type == .int32, q.zero.allSatisfy({ $0 == 0 })
            else { return nil }
            bias = tensor
        }
        let q = a.quantisation
        let zero = try tape.constant(HostTensor([1], .floats([Float(q.zero[0])])))
        return try wholeProduct(&tape, x, zero: zero, weights, w, bias: bias) { scales in
            guard let output else { return .real(scales.map { q.scale[0] * $0 }) }
            return .bytes(
                scales.map { q.scale[0] * $0 / output.scale[0] }, output.type, output.rounding(clip: clip))
        }
    }
}

extension Conv: QuantisableOperator {
    package func quantised(
        _ tape: inout Tape, _ inputs: [QuantisedOperand?], output: Quantisation?, clip: Bounds?
    ) throws -> Value? {
        output == nil ? nil : try wholeProduct(&tape, inputs, output: output, clip: clip)
    }
}
extension Gemm: QuantisableOperator {
    package func quantised(
        _ tape: inout Tape, _ inputs: [QuantisedOperand?], output: Quantisation?, clip: Bounds?
    ) throws -> Value? { try wholeProduct(&tape, inputs, output: output, clip: clip) }
}
extension MatMul: QuantisableOperator {
    package func quantised(
        _ tape: inout Tape, _ inputs: [QuantisedOperand?], output: Quantisation?, clip: Bounds?
    ) throws -> Value? { try wholeProduct(&tape, inputs, output: output, clip: clip) }
}

// MARK: Sums, products number by number, means

extension Arithmetic {
    fileprivate func pair(
        _ tape: inout Tape, _ inputs: [QuantisedOperand?], _ output: Quantisation?, clip: Bounds?,
        _ numbers: (_ a: Quantisation, _ b: Quantisation, _ y: Quantisation) -> wb_whole_pair
    ) throws -> Value? {
        guard inputs.count == 2, clip == nil, let p = inputs[0], let q = inputs[1], let output,
            output.isOfTensor, output.type.isByte, let a = try tape.bytes(p), let b = try tape.bytes(q)
        else { return nil }
        guard Shape.broadcast(tape.shape(a), tape.shape(b)) != nil else {
            throw OperatorError("combines shapes that do not fit: \(tape.shape(a)) and \(tape.shape(b))")
        }
        return tape.pair(numbers(p.quantisation, q.quantisation, output), a, b, output.type)
    }
}

extension Add: QuantisableOperator {
    package func quantised(
        _ tape: inout Tape, _ inputs: [QuantisedOperand?], output: Quantisation?, clip: Bounds?
    ) throws -> Value? {
        try pair(&tape, inputs, output, clip: clip) { a, b, y in
            let (p, q) = (a.scale[0] / y.scale[0], b.scale[0] / y.scale[0])
            let zeros = (q * Float(b.zero[0])).addingProduct(p, Float(a.zero[0]))
            var rounding = y.roundingWithZero()
            rounding.before = 0
            return wb_whole_pair(
                multiplies: 0, a0: Int32(a.type.shift), b0: Int32(b.type.shift), a_scale: p, b_scale: q,
                shift: Float(y.zero[0]) - zeros, rounding: rounding)
        }
    }
}

extension Mul: QuantisableOperator {
    package func quantised(
        _ tape: inout Tape, _ inputs: [QuantisedOperand?], output: Quantisation?, clip: Bounds?
    ) throws -> Value? {
        try pair(&tape, inputs, output, clip: clip) { a, b, y in
            wb_whole_pair(
                multiplies: 1, a0: Int32(a.zero[0] + a.type.shift), b0: Int32(b.zero[0] + b.type.shift),
                a_scale: a.scale[0] * b.scale[0] / y.scale[0], b_scale: 0, shift: 0,
                rounding: y.roundingWithZero())
        }
    }
}

extension GlobalAveragePool: QuantisableOperator {
    package func quantised(
        _ tape: inout Tape, _ inputs: [QuantisedOperand?], output: Quantisation?, clip: Bounds?
    ) throws -> Value? {
        guard clip == nil, let p = inputs.first ?? nil, case .value = p, let output, output.isOfTensor,
            output.type.isByte, var x = try tape.bytes(p)
        else { return nil }
        let dims = tape.shape(x).dims
        guard dims.count == 4 else { return nil }
        x = tape.bytesChannelsLast(x)
        let (pixels, q) = (dims[2] * dims[3], p.quantisation)
        let y = tape.bytes([dims[0], dims[1], 1, 1], output.type)
        tape.add(
            WholeMean(
                mean: wb_whole_mean(
                    n: Int32(dims[0]), pixels: Int32(pixels), c: Int32(dims[1]),
                    zeros: Int32((q.zero[0] + q.type.shift) * pixels),
                    scale: q.scale[0] / (output.scale[0] * Float(pixels)), rounding: output.rounding()), x: x,
                y: y))
        return y
    }
}

extension AveragePool: QuantisableOperator {
    package func quantised(
        _ tape: inout Tape, _ inputs: [QuantisedOperand?], output: Quantisation?, clip: Bounds?
    ) throws -> Value? {
        guard clip == nil, let p = inputs.first ?? nil, case .value = p, let output, output.isOfTensor,
            output.type.isByte, let x = try tape.bytes(p)
        else { return nil }
        let real = try forward(&tape, [.value(tape.dequantise(x, p.quantisation))], outputs: 1)
        guard case .value(let mean) = real[0] else { return nil }
        let y = tape.bytes(tape.shape(mean), output.type, channelsLast: true)
        tape.quantise(mean, output, rounding: output.roundingWithZero(), into: y)
        return y
    }
}

// MARK: Operators that are given in whole numbers

/// An operator between quantised tensors, which say with each what its whole numbers stand for.
package protocol QuantisedForm: Operator {
    /// What it computes of real numbers.
    var real: any Operator { get }
    /// The inputs that are those of `real`, in its order; the third of a product is its bias, whose scale is the product of those of the
    /// others, and which has no scale here.
    func operands(_ count: Int) -> [QuantisedInput]
    /// Where the scale and the zero point of the output are.
    var output: (scale: Int, zero: Int) { get }
}

extension QuantisedForm {
    package static var accepts: Set<Meaning> { [.integer] }
    package static var domain: String { "com.microsoft" }
    package var reach: Reach {
        // Each tensor has its scale and its zero behind it.
        if case .product = real.reach { .product(right: 3) } else { real.reach }
    }
    package var gradientNeeds: GradientNeeds { [.inputs, .output] }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        isReal(inputs.count) ? .real : .integer
    }
    /// Whether the output is real numbers, because it has no scale.
    package func isReal(_ count: Int) -> Bool { output.scale >= count }

    /// What the numbers of one of the operands stand for.
    package func quantisation(_ inputs: [Operand?], _ input: QuantisedInput, rank: Int, type: WholeType?)
        throws -> Quantisation
    {
        // Weights of a convolution by output channels, of other products by columns.
        let isByRows = (real as? any LinearOperator)?.slides == true || (real as? Gemm)?.transB == true
        let axis = isByRows ? 0 : rank - 1
        return try Kernels.quantisation(
            inputs, scale: input.scale, zero: input.zero, axis: axis, rank: rank, type: type)
    }

    /// What the numbers of a product's bias stand for: as its sums.
    package func biasQuantisation(_ inputs: [Operand?], _ shape: Shape) throws -> Quantisation {
        let places = operands(inputs.count)
        func scales(_ place: Int) throws -> [Float] {
            guard let scale = try constant(inputs, places[place].scale, "scale") else {
                throw OperatorError("lacks a scale")
            }
            return try scale.floats()
        }
        let (a, b) = (try scales(0), try scales(1))
        guard a.count == 1, !b.isEmpty, b.count == 1 || shape.rank > 0 else {
            throw OperatorError(unsupported: "has several scales for its input, which is not supported")
        }
        return Quantisation(
            scale: b.map { a[0] * $0 }, zero: b.map { _ in 0 }, axis: max(0, shape.rank - 1), type: .int32)
    }

    package func outputQuantisation(_ inputs: [Operand?]) throws -> Quantisation? {
        if isReal(inputs.count) { return nil }
        return try Kernels.quantisation(
            inputs, scale: output.scale, zero: output.zero, axis: 0, rank: 1, type: .uint8)
    }

    /// The operands as whole numbers, each with what it stands for.
    package func quantisedOperands(_ tape: Tape, _ inputs: [Operand?]) throws -> [QuantisedOperand?] {
        var result: [QuantisedOperand?] = []
        for input in operands(inputs.count) {
            guard input.numbers < inputs.count, let operand = inputs[input.numbers] else {
                result.append(nil)
                continue
            }
            if input.scale < 0 {
                guard case .host(let tensor) = operand else {
                    throw OperatorError(unsupported: "has a bias that is no constant")
                }
                result.append(.constant(tensor, try biasQuantisation(inputs, tensor.shape)))
                continue
            }
            let rank = tape.shape(operand).rank
            switch operand {
            case .value(let value):
                result.append(
                    .value(
                        value,
                        try quantisation(
                            inputs, input, rank: rank, type: WholeType(tape.element(value)))))
            case .host(let tensor):
                result.append(
                    .constant(
                        tensor, try quantisation(inputs, input, rank: rank, type: tensor.type)))
            case .fused: throw OperatorError("reads a value that was fused away")
            }
        }
        return result
    }

    /// The operands as real numbers.
    private func realOperands(_ tape: inout Tape, _ operands: [QuantisedOperand?]) throws -> [Operand?] {
        try operands.map { operand in
            switch operand {
            case .value(let value, let q): .value(try tape.reals(value, q))
            case .constant(let tensor, let q): .host(try tensor.dequantised(q))
            case nil: nil
            }
        }
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let operands = try quantisedOperands(tape, inputs)
        let output = try outputQuantisation(inputs)
        if let real = real as? any QuantisableOperator,
            let y = try real.quantised(&tape, operands, output: output, clip: nil)
        {
            return [.value(tape.stating(y, output == nil ? .real : .integer))]
        }
        let results = try real.forward(&tape, realOperands(&tape, operands), outputs: 1)
        guard case .value(let y)? = results.first else {
            throw OperatorError(unsupported: "computes a constant, which is not supported")
        }
        return [.value(try output.map { try tape.wholes(y, $0) } ?? y)]
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let places = operands(node.inputs.count)
        let quantised = try quantisedOperands(tape, node.inputs)
        let reals = try realOperands(&tape, quantised)
        var dy = cotangents[0]!
        if let output = try outputQuantisation(node.inputs) {
            dy = try tape.straightThrough(dy, wholes: tape.value(node.output), output)
        }
        var makes: [Operand?] = [.fused(tape.shape(dy))]
        if real.gradientNeeds.contains(.output) {
            makes = try real.forward(&tape, reals, outputs: 1).map { $0 }
        }
        let inner = Set(places.indices.filter { wanted.contains(places[$0].numbers) })
        let found = try real.vjp(
            &tape, LoweredNode(inputs: reals, outputs: makes), cotangents: [dy], wanted: inner)
        return try node.each(wanted) { input in
            guard let place = places.firstIndex(where: { $0.numbers == input }), let dx = found[place],
                let q = quantised[place]?.quantisation
            else { return nil }
            return try tape.straightThrough(dx, q)
        }
    }
}

package struct QLinearConv: QuantisedForm {
    package static let name = "QLinearConv"
    package static let domain = ""
    package static let formula =
        "Conv between quantised tensors: y = saturate(round(float(sum) * (x scale * w scale / y scale)) + zero), the sum an integer"
    package static let opsets = 10...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 9) }
    package let real: any Operator
    package let output = (scale: 6, zero: 7)
    package init(_ attributes: Attributes) throws { real = try Conv(attributes) }
    package func operands(_ count: Int) -> [QuantisedInput] {
        [.init(0, scale: 1, zero: 2), .init(3, scale: 4, zero: 5)]
            + (count > 8 ? [.init(8, scale: -1, zero: -1)] : [])
    }
}

package struct QLinearMatMul: QuantisedForm {
    package static let name = "QLinearMatMul"
    package static let domain = ""
    package static let formula =
        "MatMul between quantised tensors, rounded as QLinearConv; B is constant"
    package static let opsets = 10...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 8) }
    package let real: any Operator
    package let output = (scale: 6, zero: 7)
    package init(_ attributes: Attributes) throws { real = try MatMul(attributes) }
    package func operands(_ count: Int) -> [QuantisedInput] {
        [.init(0, scale: 1, zero: 2), .init(3, scale: 4, zero: 5)]
    }
}

package struct QGemm: QuantisedForm {
    package static let name = "QGemm"
    package static let formula =
        "Gemm between quantised tensors, rounded as QLinearConv; real numbers where y has no scale"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 9) }
    package let real: any Operator
    package let output = (scale: 7, zero: 8)
    package init(_ attributes: Attributes) throws { real = try Gemm(attributes) }
    package func operands(_ count: Int) -> [QuantisedInput] {
        [.init(0, scale: 1, zero: 2), .init(3, scale: 4, zero: 5)]
            + (count > 6 ? [.init(6, scale: -1, zero: -1)] : [])
    }
}

/// What the sums and the products number by number share.
protocol QuantisedArithmetic: QuantisedForm {}
extension QuantisedArithmetic {
    package static func arity(opset: Int) -> Arity { Arity(inputs: 8) }
    package var output: (scale: Int, zero: Int) { (6, 7) }
    package func operands(_ count: Int) -> [QuantisedInput] {
        [.init(0, scale: 1, zero: 2), .init(3, scale: 4, zero: 5)]
    }
}

package struct QLinearAdd: QuantisedArithmetic {
    package static let name = "QLinearAdd"
    package static let formula = "y = a + b between quantised tensors, rounded once"
    package let real: any Operator
    package init(_ attributes: Attributes) throws { real = try Add(attributes) }
}

package struct QLinearMul: QuantisedArithmetic {
    package static let name = "QLinearMul"
    package static let formula = "y = a b between quantised tensors, rounded once"
    package let real: any Operator
    package init(_ attributes: Attributes) throws { real = try Mul(attributes) }
}

/// What the functions of one quantised tensor share.
protocol QuantisedFunction: QuantisedForm {}
extension QuantisedFunction {
    package static func arity(opset: Int) -> Arity { Arity(inputs: 5) }
    package var output: (scale: Int, zero: Int) { (3, 4) }
    package func operands(_ count: Int) -> [QuantisedInput] { [.init(0, scale: 1, zero: 2)] }
}

extension Attributes {
    fileprivate func refuseChannelsLast() throws {
        guard try int("channels_last", default: 0) == 0 else {
            throw OperatorError(unsupported: "has its channels last, which is not supported")
        }
    }
}

package struct QLinearGlobalAveragePool: QuantisedFunction {
    package static let name = "QLinearGlobalAveragePool"
    package static let formula = "GlobalAveragePool between quantised tensors, of the integer sum"
    package let real: any Operator
    package init(_ attributes: Attributes) throws {
        try attributes.refuseChannelsLast()
        real = try GlobalAveragePool(attributes)
    }
}

package struct QLinearAveragePool: QuantisedFunction {
    package static let name = "QLinearAveragePool"
    package static let formula = "AveragePool between quantised tensors"
    package let real: any Operator
    package init(_ attributes: Attributes) throws {
        try attributes.refuseChannelsLast()
        real = try AveragePool(attributes)
    }
}

package struct QLinearLeakyRelu: QuantisedFunction {
    package static let name = "QLinearLeakyRelu"
    package static let formula = "LeakyRelu between quantised tensors"
    package let real: any Operator
    package init(_ attributes: Attributes) throws { real = try LeakyRelu(attributes) }
}

package struct QLinearSigmoid: QuantisedFunction {
    package static let name = "QLinearSigmoid"
    package static let formula = "Sigmoid between quantised tensors"
    package let real: any Operator
    package init(_ attributes: Attributes) throws { real = try Sigmoid(attributes) }
}

package struct QLinearConcat: QuantisedForm {
    package static let name = "QLinearConcat"
    package static let formula = "Concat of quantised tensors, each rounded to the scale of the whole"
    package static func arity(opset: Int) -> Arity { Arity(inputs: nil) }
    package let real: any Operator
    package let output = (scale: 0, zero: 1)
    package init(_ attributes: Attributes) throws { real = try Concat(attributes) }
    package func operands(_ count: Int) -> [QuantisedInput] {
        stride(from: 2, to: count, by: 3).map { .init($0, scale: $0 + 1, zero: $0 + 2) }
    }
}
