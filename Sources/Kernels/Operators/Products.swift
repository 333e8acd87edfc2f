// Conv, BatchNormalization, Gemm, MatMul: products with weights.

import CMicrokernels
import Foundation

/// What Conv and the pools share: a window that slides over height and width.
struct Window: Sendable {
    var kernel: [Int]?
    let strides: [Int], dilations: [Int]
    private let pads: [Int]?
    private let autoPad: String

    init(_ attributes: Attributes) throws {
        func two(_ name: String) throws -> [Int]? {
            guard let values = try attributes.ints(name) else { return nil }
            guard values.count == 2 else {
                throw OperatorError(
                    unsupported:
                        "has \(values.count) numbers in “\(name)”; only two-dimensional windows are supported"
                )
            }
            guard values.allSatisfy({ $0 >= 1 }) else {
                throw OperatorError("has \(values) as “\(name)”, which must be at least 1")
            }
            guard values.allSatisfy({ $0 <= 1 << 20 }) else {
                throw OperatorError(
                    unsupported: "has \(values) as “\(name)”, which must be at most \(1 << 20) here")
            }
            return values
        }
        kernel = try two("kernel_shape")
        strides = try two("strides") ?? [1, 1]
        dilations = try two("dilations") ?? [1, 1]
        pads = try attributes.ints("pads")
        if let pads, pads.count != 4 || !pads.allSatisfy({ $0 >= 0 }) {
            throw OperatorError("has \(pads) as “pads”, which must be four numbers of at least 0")
        }
        if let pads, !pads.allSatisfy({ $0 <= 1 << 20 }) {
            throw OperatorError(unsupported: "has \(pads) as “pads”, which must be at most \(1 << 20) here")
        }
        autoPad = try attributes.string("auto_pad", default: "NOTSET")
        guard ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"].contains(autoPad) else {
            throw OperatorError("has the auto_pad “\(autoPad.prefix(40))”, which does not exist")
        }
    }

    /// Pads (top, left, bottom, right) and output extents for an input of `size`.
    func place(_ size: [Int], kernel: [Int], ceil: Bool = false) throws -> (pads: [Int], output: [Int]) {
        var pads = self.pads ?? [0, 0, 0, 0]
        var output = [0, 0]
        for d in 0..<2 {
            let reach = dilations[d] * (kernel[d] - 1) + 1
            guard reach < 1 << 24, kernel[0] * kernel[1] < 1 << 24 else {
                throw OperatorError(
                    "has a window of \(kernel[0])×\(kernel[1]) with dilations \(dilations), which is too large"
                )
            }
            switch autoPad {
            case "SAME_UPPER", "SAME_LOWER":
                output[d] = (size[d] + strides[d] - 1) / strides[d]
                let total = max(0, (output[d] - 1) * strides[d] + reach - size[d])
                let less = total / 2
                pads[d] = autoPad == "SAME_UPPER" ? less : total - less
                pads[d + 2] = total - pads[d]
            default:
                if autoPad == "VALID" { (pads[d], pads[d + 2]) = (0, 0) }
                let room = size[d] + pads[d] + pads[d + 2] - reach
                guard room >= 0 else {
                    throw OperatorError(
                        "has a window of \(reach) \(d == 0 ? "rows" : "columns") on an input of \(size[d]) with pads \(pads)"
                    )
                }
                output[d] = room / strides[d] + 1
                // A further window, partly outside, if it starts inside the input or its first pad.
                if ceil, room % strides[d] != 0, output[d] * strides[d] < size[d] + pads[d] { output[d] += 1 }
            }
        }
        return (pads, output)
    }
}

/// A shape that must be [N, C, H, W].
func image(_ shape: Shape) throws -> Shape {
    guard shape.rank == 4 else {
        let problem = "works on tensors of rank 4 (N, C, H, W) here, and its input has the shape \(shape)"
        throw shape.rank < 3 ? OperatorError(problem) : OperatorError(unsupported: problem)
    }
    return shape
}

/// y[n,o,p] = b[o] + Σ w[o,c,k] x[n,c,p·stride − pad + k·dilation]
package struct Conv: FusingOperator {
    package static let name = "Conv"
    package static let formula =
        "y[n,o,p] = b[o] + sum over k and c of w[o,c,k] x[n,c,p*stride - pad + k*dilation]"

    private let window: Window
    private let groups: Int
    /// y scale + shift for each output channel, from a batch normalisation that was merged into this convolution.
    private var scale: [Double]?, shift: [Double]?

    package init(_ attributes: Attributes) throws {
        window = try Window(attributes)
        groups = try attributes.int("group", default: 1)
    }

    /// Whether a normalisation is part of it.
    package var isMerged: Bool { scale != nil }

    /// This convolution followed by an affine map of its channels, as one convolution.
    package func merging(scale: [Double], shift: [Double]) -> Conv {
        precondition(!isMerged, "a convolution is merged with one normalisation")
        var merged = self
        (merged.scale, merged.shift) = (scale, shift)
        return merged
    }

    package func shape(_ input: Shape, weights: Shape) throws -> ConvolutionShape {
        let input = try image(input)
        guard weights.rank == 4 else {
            throw OperatorError(
                unsupported: "has weights of shape \(weights); only 2-D convolutions are supported")
        }
        let w = weights.dims
        let x = input.dims
        _ = try weights.checked()
        guard groups > 0, w[0] > 0, w[0] % groups == 0, w[1] * groups == x[1], w[2] > 0, w[3] > 0 else {
            throw OperatorError(
                "has weights of shape \(weights) and \(groups) groups, which do not fit an input of shape \(input)"
            )
        }
        if let kernel = window.kernel, kernel != [w[2], w[3]] {
            throw OperatorError("has the kernel_shape \(kernel) and weights of shape \(weights)")
        }
        let (pads, out) = try window.place([x[2], x[3]], kernel: [w[2], w[3]])
        return ConvolutionShape(
            input: input, output: try Shape([x[0], w[0], out[0], out[1]]).checked(), kernel: [w[2], w[3]],
            strides: window.strides,
            pads: [pads[0], pads[1]], dilations: window.dilations, groups: groups)
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
        var bias = try constant(inputs, 2, "bias")?.floats()
        if let bias, bias.count != shape.outputChannels {
            throw OperatorError("has \(bias.count) biases for \(shape.outputChannels) output channels")
        }
        if let scale, let shift {
            bias = shift.indices.map { Float(Double(bias?[$0] ?? 0) * scale[$0] + shift[$0]) }
        }
        return tape.convolution(
            x, shape, PackedWeights(weights, for: shape, scale: scale),
            Epilogue(bias: bias, residual: residual, clip: clip))
    }

    package func gradient(_ tape: inout Tape, _ node: LoweredNode, input: Int) throws -> Value {
        let weights = try weights(node.inputs)
        let shape = try shape(tape.shape(required(node.inputs, 0, "X")), weights: weights.shape)
        return try tape.convolutionGradient(node.cotangent, shape, weights, scale: scale)
    }
}

/// y = γ (x − μ) / √(σ² + ε) + β for each channel, as y = x·scale + shift.
package struct BatchNormalization: FusingOperator {
    package static let name = "BatchNormalization"
    package static let formula = "y = scale (x - mean) / sqrt(variance + epsilon) + bias, for each channel"
    private let epsilon: Double
    /// Whether mean and variance are those of the input itself: of constants, as networks with standardised weights have it.
    private let isTraining: Bool

    package init(_ attributes: Attributes) throws {
        epsilon = Double(try attributes.float("epsilon", default: 1e-5))
        isTraining = try attributes.int("training_mode", default: 0) != 0
        attributes.ignore("momentum")
        guard try attributes.int("spatial", default: 1) == 1 else {
            throw OperatorError(unsupported: "has spatial = 0, which is not supported")
        }
    }

    /// In training mode over constants: mean and variance of each channel are sums in double precision in the order of the elements,
    /// and y is rounded once.
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard isTraining else { return nil }
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
        return [HostTensor(shape, .floats(values))]
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
        try checkInference(outputs: outputs)
        return [.value(try forward(&tape, inputs, residual: nil, clip: nil))]
    }

    /// The factor and the term of each channel, in double precision.
    package func affine(_ inputs: [Operand?]) throws -> (scale: [Double], shift: [Double]) {
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
        return (scale, scale.indices.map { parts[1][$0] - parts[2][$0] * scale[$0] })
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
        let (scale, shift) = try affine(inputs)
        return try apply(
            &tape, tape.value(required(inputs, 0, "X")), scale, shift, residual: residual, clip: clip)
    }

    package func gradient(_ tape: inout Tape, _ node: LoweredNode, input: Int) throws -> Value {
        try apply(&tape, node.cotangent, affine(node.inputs).scale, nil)
    }
}

/// A product of rows with a constant matrix: a convolution of images of one pixel.
struct RowProduct {
    let rows: Int, terms: Int, columns: Int
    /// [columns, terms] if it is transposed, like the weights of a convolution; else [terms, columns], like those of the
    /// convolution that goes back.
    let matrix: HostTensor, isTransposed: Bool
    /// What the matrix is multiplied by, each number rounded.
    var factor: Float = 1

    private var shape: ConvolutionShape {
        ConvolutionShape(
            input: [rows, terms, 1, 1], output: [rows, columns, 1, 1], kernel: [1, 1], strides: [1, 1],
            pads: [0, 0], dilations: [1, 1], groups: 1)
    }

    private func weights(for shape: ConvolutionShape, asStored: Bool) -> PackedWeights {
        // In double precision the product of two floats is exact.
        let scale =
            factor == 1 ? nil : [Double](repeating: Double(factor), count: matrix.shape.dims[0])
        return asStored
            ? PackedWeights(matrix, for: shape, scale: scale)
            : PackedWeights(transposing: matrix, of: shape.transposed, scale: scale)
    }

    /// [rows, terms] to [rows, columns].
    func forward(_ tape: inout Tape, _ x: Value, _ epilogue: Epilogue = Epilogue()) -> Value {
        let y = tape.convolution(
            tape.view(x, as: shape.input), shape, weights(for: shape, asStored: isTransposed), epilogue)
        return tape.view(y, as: [rows, columns])
    }

    /// [rows, columns] to [rows, terms].
    func gradient(_ tape: inout Tape, _ dy: Value) -> Value {
        let back = shape.transposed
        let dx = tape.convolution(
            tape.view(dy, as: back.input), back, weights(for: back, asStored: !isTransposed))
        return tape.view(dx, as: [rows, terms])
    }
}

/// y = α A B + β C, with A and B transposed if asked.
package struct Gemm: FusingOperator {
    package static let name = "Gemm"
    package static let formula = "y = alpha A B + beta C; B is constant"
    private let alpha: Float, beta: Float, transA: Bool, transB: Bool

    package init(_ attributes: Attributes) throws {
        alpha = try attributes.float("alpha", default: 1)
        beta = try attributes.float("beta", default: 1)
        transA = try attributes.int("transA", default: 0) != 0
        transB = try attributes.int("transB", default: 0) != 0
    }

    private func product(_ tape: Tape, _ inputs: [Operand?]) throws -> RowProduct {
        let a = tape.shape(try required(inputs, 0, "A"))
        guard let b = try constant(inputs, 1, "B") else { throw OperatorError("lacks its input B") }
        guard a.rank == 2, b.shape.rank == 2 else {
            throw OperatorError("multiplies matrices, and has inputs of shape \(a) and \(b.shape)")
        }
        let (rows, terms) = transA ? (a.dims[1], a.dims[0]) : (a.dims[0], a.dims[1])
        let (inner, columns) =
            transB ? (b.shape.dims[1], b.shape.dims[0]) : (b.shape.dims[0], b.shape.dims[1])
        _ = try b.shape.checked()
        guard terms == inner else {
            throw OperatorError("multiplies \(rows)×\(terms) by \(inner)×\(columns)")
        }
        _ = try Shape([rows, columns]).checked()
        return RowProduct(
            rows: rows, terms: terms, columns: columns, matrix: b, isTransposed: transB, factor: alpha)
    }

    package func outputShape(_ tape: Tape, _ inputs: [Operand?]) throws -> Shape {
        let a = tape.shape(try required(inputs, 0, "A"))
        let b = tape.shape(try required(inputs, 1, "B"))
        guard a.rank == 2, b.rank == 2 else { throw OperatorError("multiplies \(a) by \(b)") }
        return try Shape([a.dims[transA ? 1 : 0], b.dims[transB ? 0 : 1]]).checked()
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], residual: Value?, clip: Bounds?) throws
        -> Value
    {
        let product = try product(tape, inputs)
        var a = try tape.value(required(inputs, 0, "A"))
        if transA { a = tape.transpose(a, [1, 0]) }
        var bias: [Float]?
        if inputs.count > 2, let c = inputs[2], beta != 0 {
            let shape = tape.shape(c)
            guard Shape.broadcast(shape, [product.rows, product.columns]) == [product.rows, product.columns]
            else {
                throw OperatorError(
                    "adds C of shape \(shape) to a product of \(product.rows)×\(product.columns)")
            }
            if case .host(let tensor) = c, shape.count == 1 || shape.count == shape.dims.last {
                let values = try tensor.floats().map { beta == 1 ? $0 : $0 * beta }
                bias =
                    values.count == product.columns
                    ? values : Array(repeating: values[0], count: product.columns)
            } else {
                var sum = product.forward(&tape, a)
                var term = try tape.value(c)
                if beta != 1 { term = tape.map(WB_MAP_scale, term, a: beta) }
                sum = tape.map(WB_MAP_add, sum, term)
                if let residual { sum = tape.map(WB_MAP_add, sum, residual) }
                if let clip { sum = tape.map(WB_MAP_clip, sum, a: clip.low, b: clip.high) }
                return sum
            }
        }
        return product.forward(&tape, a, Epilogue(bias: bias, residual: residual, clip: clip))
    }

    package func gradient(_ tape: inout Tape, _ node: LoweredNode, input: Int) throws -> Value {
        if input == 2 {
            let term = beta == 1 ? node.cotangent : tape.map(WB_MAP_scale, node.cotangent, a: beta)
            return tape.sum(term, to: tape.shape(try required(node.inputs, 2, "C")))
        }
        guard input == 0 else {
            throw OperatorError(unsupported: "has no gradient with respect to its weights")
        }
        let da = try product(tape, node.inputs).gradient(&tape, node.cotangent)
        return transA ? tape.transpose(da, [1, 0]) : da
    }
}

/// y = A B over the last two dimensions, the others broadcast.
package struct MatMul: Operator {
    package static let name = "MatMul"
    package static let formula = "y = A B over the last two dimensions"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs

    private struct Plan {
        var a: Shape, b: Shape  // of rank 2 at least
        var batch: [Int], m: Int, k: Int, n: Int
        var output: Shape
    }

    private func plan(_ a: Shape, _ b: Shape) throws -> Plan {
        guard a.rank >= 1, b.rank >= 1 else { throw OperatorError("multiplies \(a) by \(b)") }
        let p: Shape = a.rank == 1 ? [1, a.dims[0]] : a
        let q: Shape = b.rank == 1 ? [b.dims[0], 1] : b
        let (m, k, n) = (p.dims[p.rank - 2], p.dims[p.rank - 1], q.dims[q.rank - 1])
        guard k == q.dims[q.rank - 2], k > 0,
            let batch = Shape.broadcast(Shape(p.dims.dropLast(2)), Shape(q.dims.dropLast(2))),
            batch.rank <= 4
        else { throw OperatorError("multiplies \(a) by \(b), which do not fit") }
        let output = batch.dims + (a.rank == 1 ? [] : [m]) + (b.rank == 1 ? [] : [n])
        return Plan(a: p, b: q, batch: batch.dims, m: m, k: k, n: n, output: try Shape(output).checked())
    }

    /// op(a) · op(b) with strides; `a` and `b` have rank 2 at least, and either can be read transposed.
    private func product(
        _ tape: inout Tape, _ a: Value, _ b: Value, transA: Bool, transB: Bool, batch: [Int], m: Int, k: Int,
        n: Int
    ) -> Value {
        func strides(_ value: Value, _ transposed: Bool) -> (batch: [Int], row: Int, column: Int) {
            let shape = tape.shape(value)
            let s = shape.strides
            let lead = Shape(shape.dims.dropLast(2))
            let own = (0..<batch.count).map { d -> Int in
                let i = d - (batch.count - lead.rank)
                return i < 0 || lead.dims[i] == 1 ? 0 : s[i]
            }
            let (r, c) = (s[shape.rank - 2], s[shape.rank - 1])
            return (own, transposed ? c : r, transposed ? r : c)
        }
        let (p, q) = (strides(a, transA), strides(b, transB))
        let count = batch.reduce(1, *)
        let y = tape.value([count, m, n])
        func four(_ values: [Int], pad: Int) -> (Int32, Int32, Int32, Int32) {
            let all = (Array(repeating: pad, count: 4 - values.count) + values).map { Int32($0) }
            return (all[0], all[1], all[2], all[3])
        }
        tape.add(
            MatrixProduct(
                product: wb_product(
                    batch: Int32(count), m: Int32(m), n: Int32(n), k: Int32(k), a_m: Int32(p.row),
                    a_k: Int32(p.column),
                    b_k: Int32(q.row), b_n: Int32(q.column), batch_dims: four(batch, pad: 1),
                    a_batches: four(p.batch, pad: 0),
                    b_batches: four(q.batch, pad: 0)), a: a, b: b, y: y))
        return y
    }

    /// Products with a constant matrix go the way of convolutions.
    private func rows(_ tape: Tape, _ inputs: [Operand?]) throws -> RowProduct? {
        let a = tape.shape(try required(inputs, 0, "A"))
        guard case .host(let b) = try required(inputs, 1, "B"), b.shape.rank == 2, a.rank >= 2 else {
            return nil
        }
        let plan = try plan(a, b.shape)
        return RowProduct(
            rows: a.count / plan.k, terms: plan.k, columns: plan.n, matrix: b, isTransposed: false)
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let (a, b) = (try required(inputs, 0, "A"), try required(inputs, 1, "B"))
        let plan = try plan(tape.shape(a), tape.shape(b))
        if let rows = try rows(tape, inputs) {
            let y = rows.forward(&tape, tape.reshape(try tape.value(a), to: [rows.rows, rows.terms]))
            return [.value(tape.reshape(y, to: plan.output))]
        }
        let x = tape.reshape(try tape.value(a), to: plan.a)
        let z = tape.reshape(try tape.value(b), to: plan.b)
        let y = product(
            &tape, x, z, transA: false, transB: false, batch: plan.batch, m: plan.m, k: plan.k, n: plan.n)
        return [.value(tape.reshape(y, to: plan.output))]
    }

    package func gradient(_ tape: inout Tape, _ node: LoweredNode, input: Int) throws -> Value {
        let (a, b) = (try required(node.inputs, 0, "A"), try required(node.inputs, 1, "B"))
        let plan = try plan(tape.shape(a), tape.shape(b))
        if input == 0, let rows = try rows(tape, node.inputs) {
            let dx = rows.gradient(&tape, tape.reshape(node.cotangent, to: [rows.rows, rows.columns]))
            return tape.reshape(dx, to: tape.shape(a))
        }
        let dy = tape.reshape(node.cotangent, to: Shape(plan.batch + [plan.m, plan.n]))
        let d: Value
        let full: Shape
        let matrix: Shape
        if input == 0 {
            let z = tape.reshape(try tape.value(b), to: plan.b)
            d = product(
                &tape, dy, z, transA: false, transB: true, batch: plan.batch, m: plan.m, k: plan.n, n: plan.k)
            (full, matrix) = (Shape(plan.batch + [plan.m, plan.k]), plan.a)
        } else {
            let x = tape.reshape(try tape.value(a), to: plan.a)
            d = product(
                &tape, x, dy, transA: true, transB: false, batch: plan.batch, m: plan.k, k: plan.m, n: plan.n)
            (full, matrix) = (Shape(plan.batch + [plan.k, plan.n]), plan.b)
        }
        let sum = tape.sum(tape.reshape(d, to: full), to: matrix)
        return tape.reshape(sum, to: tape.shape(input == 0 ? a : b))
    }
}
