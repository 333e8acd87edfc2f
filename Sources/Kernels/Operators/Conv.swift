// Convolutions of images with constant weights.

/// y[n,o,p] = b[o] + Σ w[o,c,k] x[n,c,p·stride − pad + k·dilation]
package struct Conv: FusingOperator, UnaryOperator, LinearOperator {
    package var reach: Reach { .behindFirst }
    package static let name = "Conv"
    package static let formula =
        "y[n,o,p] = b[o] + sum over k and c of w[o,c,k] x[n,c,p*stride - pad + k*dilation]"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    /// One that is followed by an affine map takes no other: it would overwrite the first.
    package var role: Role { affine == nil ? .convolves(followedBy: followed) : .computes }
    package let dependence: Dependence = .products
    package let slides = true
    private let window: Window
    private let groups: Int
    /// What its output channels go through afterwards: a batch normalisation that was merged into this convolution.
    private var affine: ChannelAffine?

    package init(_ attributes: Attributes) throws {
        window = try Window(attributes)
        groups = try attributes.int("group", default: 1)
    }

    /// This convolution followed by an affine map of its channels, as one convolution.
    private func followed(by affine: ChannelAffine) -> Conv {
        var merged = self
        merged.affine = affine
        return merged
    }

    package func shape(_ input: Shape, weights: Shape) throws -> ConvolutionShape {
        let (w, x) = (weights.dims, input.dims)
        guard weights.rank == input.rank else {
            throw OperatorError(
                "has weights of shape \(weights), of rank \(weights.rank), for an input of shape \(input), of rank \(input.rank)"
            )
        }
        let kernel = Array(w.dropFirst(2))
        _ = try weights.checked()
        guard groups > 0, w.count > 2, w[0] > 0, w[0] % groups == 0, w[1] * groups == x[1] else {
            throw OperatorError(
                "has weights of shape \(weights) and \(groups) groups, which do not fit an input of shape \(input)"
            )
        }
        if let stated = window.kernel, stated != kernel {
            throw OperatorError("has the kernel_shape \(stated) and weights of shape \(weights)")
        }
        let shape = ConvolutionShape(
            images: x[0], inputChannels: x[1], outputChannels: w[0], groups: groups,
            axes: try window.axes(input, kernel: kernel).axes)
        _ = try shape.output.checked()
        return shape
    }

    private func weights(_ inputs: [Operand?]) throws -> HostTensor {
        guard let weights = try constant(inputs, 1, "weights") else {
            throw OperatorError("lacks its weights")
        }
        return weights
    }

    package func outputShape(_ tape: Tape, _ inputs: [Operand?]) throws -> Shape {
        try shape(tape.shape(required(inputs, 0, "X")), weights: weights(inputs).shape).output
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], residual: Value?, clip: Bounds?) throws
        -> Value
    {
        let x = try tape.value(required(inputs, 0, "X"))
        let weights = try weights(inputs)
        let shape = try shape(tape.shape(x), weights: weights.shape)
        return tape.convolution(
            x, shape, PackedWeights(weights, for: shape, scale: affine?.scale),
            Epilogue(bias: try bias(inputs, channels: shape.outputChannels), residual: residual, clip: clip))
    }

    private func bias(_ inputs: [Operand?], channels: Int) throws -> [Float]? {
        let bias = try constant(inputs, 2, "bias")?.floats()
        if let bias, bias.count != channels {
            throw OperatorError("has \(bias.count) biases for \(channels) output channels")
        }
        guard let affine else { return bias }
        return affine.shift.indices.map {
            Float(Double(bias?[$0] ?? 0) * affine.scale[$0] + affine.shift[$0])
        }
    }

    package func bias(_ inputs: [Operand?], of output: Shape) throws -> HostTensor? {
        try bias(inputs, channels: output.dims[1]).map { HostTensor(channels: $0, of: output) }
    }

    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let weights = try weights(node.inputs)
        let shape = try shape(tape.shape(required(node.inputs, 0, "X")), weights: weights.shape)
        return try tape.convolutionGradient(dy, shape, weights, scale: affine?.scale)
    }

    package func isLinear(_ inputs: [Operand?]) -> Bool { true }

    /// The weights, and the factors that they are still to be multiplied by.
    private func weights(_ inputs: [Operand?], _ change: WeightChange?) throws -> (HostTensor, [Double]?) {
        let weights = try weights(inputs)
        guard let change else { return (weights, affine?.scale) }
        return (weights.changed(change, scale: affine?.scale), nil)
    }

    package func product(
        _ tape: inout Tape, _ inputs: [Operand?], of x: Value, weights change: WeightChange?,
        bias: BiasChange?
    ) throws -> Value {
        let (weights, scale) = try weights(inputs, change)
        let shape = try shape(tape.shape(x), weights: weights.shape)
        let numbers = try bias.flatMap { change in
            try self.bias(inputs, channels: shape.outputChannels)?.map { change($0) }
        }
        return tape.convolution(
            x, shape, PackedWeights(weights, for: shape, scale: scale), Epilogue(bias: numbers))
    }

    package func reverseProduct(
        _ tape: inout Tape, _ inputs: [Operand?], _ dy: Value, weights change: WeightChange?
    ) throws -> Value {
        let (weights, scale) = try weights(inputs, change)
        let shape = try shape(tape.shape(required(inputs, 0, "X")), weights: weights.shape)
        return try tape.convolutionGradient(dy, shape, weights, scale: scale)
    }
}
