// Transposed convolutions with constant weights: gradients of convolutions, whose own gradient is the convolution.

import CMicrokernels

/// y = Wᵀ x + b, where W is the convolution with the same window.
package struct ConvTranspose: UnaryOperator, LinearOperator {
    package var reach: Reach { .behindFirst }
    package static let name = "ConvTranspose"
    package static let formula =
        "y[n,o,p*stride - pad + k*dilation] = b[o] + sum over k and c of w[c,o,k] x[n,c,p]"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    package let dependence: Dependence = .products
    package let slides = true
    private let groups: Int, autoPad: String
    private let kernel: [Int]?, strides: [Int]?, dilations: [Int]?, pads: [Int]?
    private let outputPadding: [Int]?, outputShape: [Int]?

    package init(_ attributes: Attributes) throws {
        groups = try attributes.int("group", default: 1)
        autoPad = try attributes.string("auto_pad", default: "NOTSET")
        guard ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"].contains(autoPad) else {
            throw OperatorError("has the auto_pad “\(autoPad.prefix(40))”, which does not exist")
        }
        func extents(_ name: String, from least: Int) throws -> [Int]? {
            let values = try attributes.ints(name)
            guard values?.allSatisfy({ $0 >= least && $0 <= 1 << 20 }) ?? true else {
                throw OperatorError("has \(values!) as “\(name)”, which must be \(least) to \(1 << 20) here")
            }
            return values
        }
        kernel = try extents("kernel_shape", from: 1)
        strides = try extents("strides", from: 1)
        dilations = try extents("dilations", from: 1)
        pads = try extents("pads", from: 0)
        outputPadding = try extents("output_padding", from: 0)
        outputShape = try extents("output_shape", from: 1)
    }

    /// The convolution that takes this one's output to its input.
    private func convolution(_ input: Shape, weights: Shape) throws -> ConvolutionShape {
        let (x, w) = (input.dims, weights.dims)
        guard (3...5).contains(input.rank), weights.rank == input.rank else {
            throw OperatorError(
                unsupported: "has an input of shape \(input) and weights of shape \(weights)")
        }
        _ = try weights.checked()
        guard groups > 0, w[0] == x[1], x[1] % groups == 0 else {
            throw OperatorError(
                "has weights of shape \(weights) and \(groups) groups, which do not fit an input of shape \(input)"
            )
        }
        let taps = Array(w.dropFirst(2))
        let count = taps.count
        if let kernel, kernel != taps {
            throw OperatorError("has the kernel_shape \(kernel) and weights of shape \(weights)")
        }
        func one(_ values: [Int]?, _ name: String, each: Int = 1, standard: Int) throws -> [Int] {
            guard let values else { return Array(repeating: standard, count: each * count) }
            guard values.count == each * count else {
                throw OperatorError(
                    "has \(values.count) numbers in “\(name)” for an input of shape \(input)")
            }
            return values
        }
        let strides = try one(strides, "strides", standard: 1)
        let dilations = try one(dilations, "dilations", standard: 1)
        let pads = try one(pads, "pads", each: 2, standard: 0)
        let padding = try one(outputPadding, "output_padding", standard: 0)
        // Some files name the pictures and channels too.
        let wanted = outputShape.map { $0.count == count + 2 ? Array($0.dropFirst(2)) : $0 }
        guard wanted.map({ $0.count == count }) ?? true,
            taps.reduce(1.0, { $0 * Double($1) }) < Double(1 << 24)
        else {
            throw OperatorError("has the output_shape \(outputShape ?? []) for an input of shape \(input)")
        }
        let axes = try (0..<count).map { d -> Axis in
            let reach = dilations[d] * (taps[d] - 1) + 1
            let whole = strides[d] * (x[d + 2] - 1) + padding[d] + reach
            guard reach < 1 << 24, whole < 1 << 30 else {
                throw OperatorError("makes \(whole) elements of \(x[d + 2]), which are too many")
            }
            var (before, output) = (pads[d], whole - pads[d] - pads[d + count])
            func share(_ total: Int) -> Int {
                autoPad == "SAME_UPPER" ? total / 2 : total - total / 2
            }
            if let wanted {
                // Where it is larger than the whole, no tap reaches its end.
                (before, output) = (share(max(0, whole - wanted[d])), wanted[d])
            } else if autoPad.hasPrefix("SAME") {
                output = strides[d] * x[d + 2]
                before = share(max(0, whole - output))
            } else if autoPad == "VALID" {
                (before, output) = (0, whole)
            }
            guard output > 0 else {
                throw OperatorError("leaves nothing of \(whole) elements with the pads \(pads)")
            }
            return Axis(
                input: output, output: x[d + 2], kernel: taps[d], stride: strides[d], pad: before,
                dilation: dilations[d])
        }
        let shape = ConvolutionShape(
            images: x[0], inputChannels: w[1] * groups, outputChannels: x[1], groups: groups, axes: axes)
        _ = try shape.input.checked()
        return shape
    }

    private func weights(_ inputs: [Operand?]) throws -> HostTensor {
        guard let weights = try constant(inputs, 1, "weights") else {
            throw OperatorError("lacks its weights")
        }
        return weights
    }

    private func bias(_ inputs: [Operand?], channels: Int) throws -> [Float]? {
        let bias = try constant(inputs, 2, "bias")?.floats()
        if let bias, bias.count != channels {
            throw OperatorError("has \(bias.count) biases for \(channels) output channels")
        }
        return bias
    }
    package func bias(_ inputs: [Operand?], of output: Shape) throws -> HostTensor? {
        try bias(inputs, channels: output.dims[1]).map { HostTensor(channels: $0, of: output) }
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "X"))
        return [.value(try product(&tape, inputs, of: x, weights: nil, bias: .stays))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try reverseProduct(&tape, node.inputs, dy, weights: nil)
    }

    package func isLinear(_ inputs: [Operand?]) -> Bool { true }

    package func product(
        _ tape: inout Tape, _ inputs: [Operand?], of x: Value, weights change: WeightChange?,
        bias: BiasChange?
    ) throws -> Value {
        var weights = try weights(inputs)
        let shape = try convolution(tape.shape(x), weights: weights.shape)
        if let change { weights = weights.changed(change, scale: nil) }
        let y = try tape.convolutionGradient(x, shape, weights)
        guard let bias, let numbers = try self.bias(inputs, channels: shape.inputChannels) else { return y }
        let term = HostTensor(channels: numbers.map { bias($0) }, of: shape.input)
        return tape.map(WB_MAP_add, y, try tape.constant(term))
    }

    package func reverseProduct(
        _ tape: inout Tape, _ inputs: [Operand?], _ dy: Value, weights change: WeightChange?
    ) throws -> Value {
        var weights = try weights(inputs)
        var input = tape.shape(try required(inputs, 0, "X")).dims
        input[0] = tape.shape(dy).dims[0]
        let shape = try convolution(Shape(input), weights: weights.shape)
        if let change { weights = weights.changed(change, scale: nil) }
        return tape.convolution(dy, shape, PackedWeights(weights, for: shape))
    }
}
