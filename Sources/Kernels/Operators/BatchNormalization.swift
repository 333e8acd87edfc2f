// Batch normalisation at inference: an affine map of each channel.

/// y = γ (x − μ) / √(σ² + ε) + β for each channel, as y = x·scale + shift.
package struct BatchNormalization: FusingOperator, UnaryOperator {
    package var reach: Reach { .behindFirst }
    package static let name = "BatchNormalization"
    package static let formula = "y = scale (x - mean) / sqrt(variance + epsilon) + bias, for each channel"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 5, outputs: opset >= 14 ? 3 : 5) }
    package var role: Role { .normalises(affine: affine) }
    package let dependence: Dependence = .affine
    private let epsilon: Double
    /// Whether mean and variance are those of the input itself: of constants, as networks with standardised weights have it.
    private let isTraining: Bool
    /// Whether the operator set says so by an attribute.
    private let hasMode: Bool

    package init(_ attributes: Attributes) throws {
        epsilon = Double(try attributes.float("epsilon", default: 1e-5))
        isTraining = try attributes.int("training_mode", default: 0) != 0
        hasMode = attributes.opset >= 14
        attributes.ignore("momentum")
        guard try attributes.int("spatial", default: 1) == 1 else {
            throw OperatorError(unsupported: "has spatial = 0, which is not supported")
        }
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        isTraining ? [try standardised(inputs, within: limits)] : nil
    }

    /// In training mode over constants: mean and variance of each channel are sums in double precision in the order of the elements,
    /// and y is rounded once.
    private func standardised(_ inputs: [HostTensor?], within limits: Limits) throws -> HostTensor {
        guard inputs.count >= 3, let x = inputs[0], let scale = inputs[1], let bias = inputs[2] else {
            throw OperatorError("lacks an input")
        }
        guard x.shape.rank >= 2, [scale, bias].allSatisfy({ $0.shape.count == x.shape.dims[1] }) else {
            throw OperatorError("has \(scale.shape.count) channels and an input of shape \(x.shape)")
        }
        let shape = try x.shape.checked()
        try limits.memory.check(8 * shape.count)
        var values = try x.floats()
        let (scales, terms) = (try scale.floats(), try bias.floats())
        let (images, channels) = (shape.dims[0], shape.dims[1])
        let cells = shape.count / (images * channels)
        for channel in 0..<channels {
            func sum(_ term: (Double) -> Double) -> Double {
                var sum = 0.0
                for image in 0..<images {
                    let start = (image * channels + channel) * cells
                    for i in start..<start + cells { sum += term(Double(values[i])) }
                }
                return sum
            }
            let count = Double(images * cells)
            let mean = sum { $0 } / count
            let variance = sum { ($0 - mean) * ($0 - mean) } / count
            let factor = Double(scales[channel]) / (variance + epsilon).squareRoot()
            for image in 0..<images {
                let start = (image * channels + channel) * cells
                for i in start..<start + cells {
                    values[i] = Float((Double(values[i]) - mean) * factor + Double(terms[channel]))
                }
            }
        }
        return HostTensor(shape, .floats(values))
    }

    /// Mean and variance of activations depend on the other pictures of the batch.
    private func checkInference(outputs: Int = 1) throws {
        guard !isTraining, outputs == 1 else {
            throw OperatorError(
                unsupported:
                    "is in training mode, and normalises activations by the mean and the variance of the batch; export the network "
                    + "for inference")
        }
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        // Before operator set 14 there is no mode, but outputs that only training has.
        if outputs > 1, !hasMode {
            let hosts = inputs.map { $0?.constant }
            if let first = hosts.first, first != nil {
                return [.host(try standardised(hosts, within: tape.limits))]
            }
        }
        try checkInference(outputs: outputs)
        return [.value(try forward(&tape, inputs, residual: nil, clip: nil))]
    }

    private func affine(_ inputs: [Operand?]) throws -> ChannelAffine {
        try checkInference()
        let parts = try (1...4).map { index in
            guard let part = try constant(inputs, index, ["scale", "bias", "mean", "variance"][index - 1])
            else {
                throw OperatorError("lacks its input \(index)")
            }
            return try part.floats().map(Double.init)
        }
        guard Set(parts.map(\.count)).count == 1 else {
            throw OperatorError("has parameters of different lengths")
        }
        let scale = parts[0].indices.map { parts[0][$0] / (parts[3][$0] + epsilon).squareRoot() }
        return ChannelAffine(
            scale: scale, shift: scale.indices.map { parts[1][$0] - parts[2][$0] * scale[$0] })
    }

    /// A convolution with one weight for each channel.
    private func apply(
        _ tape: inout Tape, _ x: Value, _ scale: [Double], _ shift: [Double]?, residual: Value? = nil,
        clip: Bounds? = nil
    ) throws -> Value {
        let shape = tape.shape(x)
        guard shape.rank >= 2, shape.dims[1] == scale.count else {
            throw OperatorError("has \(scale.count) channels and an input of shape \(shape)")
        }
        let images =
            shape.rank == 4
            ? shape : [shape.dims[0], shape.dims[1], shape.dims[2...].reduce(1, *), 1]
        let product = ConvolutionShape(
            input: images, output: images, kernel: [1, 1], strides: [1, 1], pads: [0, 0], dilations: [1, 1],
            groups: scale.count)
        let y = tape.convolution(
            tape.reshape(x, to: images), product,
            PackedWeights(HostTensor([scale.count], .floats(scale.map(Float.init))), for: product),
            Epilogue(
                bias: shift?.map(Float.init), residual: residual.map { tape.reshape($0, to: images) },
                clip: clip
            ))
        return tape.reshape(y, to: shape)
    }

    package func outputShape(_ tape: Tape, _ inputs: [Operand?]) throws -> Shape {
        try checkInference()
        return tape.shape(try required(inputs, 0, "X"))
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], residual: Value?, clip: Bounds?) throws
        -> Value
    {
        let affine = try affine(inputs)
        return try apply(
            &tape, tape.value(required(inputs, 0, "X")), affine.scale, affine.shift, residual: residual,
            clip: clip)
    }

    package func bias(_ inputs: [Operand?], of output: Shape) throws -> HostTensor? {
        HostTensor(channels: try affine(inputs).shift.map { Float($0) }, of: output)
    }

    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try apply(&tape, dy, affine(node.inputs).scale, nil)
    }
}
