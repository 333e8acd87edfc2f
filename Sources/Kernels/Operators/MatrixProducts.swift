// Gemm, MatMul.

import CMicrokernels

/// A product of rows with a constant matrix: a convolution of images of one pixel.
struct RowProduct {
    let rows: Int, terms: Int, columns: Int
    /// [columns, terms] if it is transposed, like the weights of a convolution; else [terms, columns], like those of the
    /// convolution that goes back.
    let matrix: HostTensor, isTransposed: Bool
    /// What the matrix is multiplied by, each number rounded.
    var factor: Float = 1

    /// The same with other weights.
    func changed(_ change: WeightChange?) -> RowProduct {
        guard let change else { return self }
        let scale = factor == 1 ? nil : [Double](repeating: Double(factor), count: matrix.shape.dims[0])
        return RowProduct(
            rows: rows, terms: terms, columns: columns, matrix: matrix.changed(change, scale: scale),
            isTransposed: isTransposed)
    }

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
            tape.reshape(x, to: shape.input), shape, weights(for: shape, asStored: isTransposed), epilogue)
        return tape.reshape(y, to: [rows, columns])
    }

    /// [rows, columns] to [rows, terms].
    func gradient(_ tape: inout Tape, _ dy: Value) -> Value {
        if rows <= ReverseProduct.mostRows {
            return tape.reverseProduct(
                dy, weights(for: shape, asStored: isTransposed), terms: terms)
        }
        let back = shape.transposed
        let dx = tape.convolution(
            tape.reshape(dy, to: back.input), back, weights(for: back, asStored: !isTransposed))
        return tape.reshape(dx, to: [rows, terms])
    }

    /// The same for values of any rank: each of their last dimensions is a row, in whatever order the rows lie.
    func forward(
        ofLast tape: inout Tape, _ x: Value, bias: [Float]? = nil, residual: Value? = nil,
        clip: Bounds? = nil
    ) -> Value {
        let all = Tape.Rows(&tape, ofLast: x)
        let term = residual.map { tape.reshape(all.same(&tape, $0), to: shape.output) }
        let y = forward(
            &tape, tape.reshape(all.value, to: [rows, terms]),
            Epilogue(bias: bias, residual: term, clip: clip))
        return all.restored(&tape, tape.reshape(y, to: [rows, columns, 1]))
    }
    func gradient(ofLast tape: inout Tape, _ dy: Value) -> Value {
        let all = Tape.Rows(&tape, ofLast: dy)
        let dx = gradient(&tape, tape.reshape(all.value, to: [rows, columns]))
        return all.restored(&tape, tape.reshape(dx, to: [rows, terms, 1]))
    }
}

/// y = α A B + β C, with A and B transposed if asked.
package struct Gemm: FusingOperator, LinearOperator {
    package var reach: Reach { transA ? .anywhere : .product }
    package static let name = "Gemm"
    package static let formula = "y = alpha A B + beta C"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    package let dependence: Dependence = .products
    package let slides = false
    package let gradientNeeds: GradientNeeds = .inputs
    let alpha: Float, beta: Float, transA: Bool, transB: Bool

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
        if case .value(let b)? = inputs.count > 1 ? inputs[1] : nil {
            return try forward(&tape, inputs, b, residual: residual, clip: clip)
        }
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

    /// The operands as they are multiplied.
    private func matrices(_ tape: inout Tape, _ inputs: [Operand?], _ b: Value) throws -> (Value, Value) {
        let a = try tape.value(required(inputs, 0, "A"))
        guard tape.shape(a).rank == 2, tape.shape(b).rank == 2 else {
            throw OperatorError(
                "multiplies matrices, and has inputs of shape \(tape.shape(a)) and \(tape.shape(b))")
        }
        let (p, q) = (transA ? tape.transposed(a) : a, transB ? tape.transposed(b) : b)
        guard tape.shape(p).dims[1] == tape.shape(q).dims[0] else {
            throw OperatorError("multiplies \(tape.shape(p)) by \(tape.shape(q))")
        }
        return (p, q)
    }

    /// With a computed B, whose product is what alpha multiplies.
    private func forward(
        _ tape: inout Tape, _ inputs: [Operand?], _ b: Value, residual: Value?, clip: Bounds?
    ) throws -> Value {
        let (p, q) = try matrices(&tape, inputs, b)
        var y = try tape.product(p, q)
        if alpha != 1 { y = tape.map(WB_MAP_scale, y, a: alpha) }
        if inputs.count > 2, let c = inputs[2], beta != 0 {
            var term = try tape.value(c)
            guard Shape.broadcast(tape.shape(term), tape.shape(y)) == tape.shape(y) else {
                throw OperatorError(
                    "adds C of shape \(tape.shape(term)) to a product of \(tape.shape(y))")
            }
            if beta != 1 { term = tape.map(WB_MAP_scale, term, a: beta) }
            y = tape.map(WB_MAP_add, y, term)
        }
        if let residual { y = tape.map(WB_MAP_add, y, residual) }
        if let clip { y = tape.map(WB_MAP_clip, y, a: clip.low, b: clip.high) }
        return y
    }

    package func bias(_ inputs: [Operand?], of output: Shape) throws -> HostTensor? {
        guard beta != 0, inputs.count > 2, case .host(let c)? = inputs[2] else { return nil }
        return HostTensor(c.shape, .floats(try c.floats().map { $0 * beta }))
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let dy = cotangents[0]!
        return try node.each(wanted) { input in
            if input == 2 {
                let term = beta == 1 ? dy : tape.map(WB_MAP_scale, dy, a: beta)
                return tape.sum(term, to: tape.shape(try required(node.inputs, 2, "C")))
            }
            if case .value(let b)? = node.inputs[1] {
                let (p, q) = try matrices(&tape, node.inputs, b)
                let scaled = alpha == 1 ? dy : tape.map(WB_MAP_scale, dy, a: alpha)
                if input == 0 {
                    let da = try tape.product(scaled, tape.transposed(q))
                    return transA ? tape.transposed(da) : da
                }
                let db = try tape.product(tape.transposed(p), scaled)
                return transB ? tape.transposed(db) : db
            }
            guard input == 0 else {
                throw OperatorError(unsupported: "has no gradient with respect to its weights")
            }
            let da = try product(tape, node.inputs).gradient(&tape, dy)
            return transA ? tape.transpose(da, [1, 0]) : da
        }
    }

    package func isLinear(_ inputs: [Operand?]) -> Bool {
        guard inputs.count > 1, case .host? = inputs[1] else { return false }
        guard inputs.count > 2, let c = inputs[2], beta != 0 else { return true }
        if case .host = c { return true } else { return false }
    }

    package func product(
        _ tape: inout Tape, _ inputs: [Operand?], of x: Value, weights: WeightChange?, bias: BiasChange?
    ) throws -> Value {
        let a = transA ? tape.transpose(x, [1, 0]) : x
        let y = try product(tape, [.value(x)] + inputs.dropFirst()).changed(weights).forward(&tape, a)
        guard let bias, let tensor = try self.bias(inputs, of: tape.shape(y)) else { return y }
        let term = HostTensor(tensor.shape, .floats(try tensor.floats().map { bias($0) }))
        return tape.map(WB_MAP_add, y, try tape.constant(term))
    }

    package func reverseProduct(
        _ tape: inout Tape, _ inputs: [Operand?], _ dy: Value, weights: WeightChange?
    ) throws -> Value {
        let da = try product(tape, inputs).changed(weights).gradient(&tape, dy)
        return transA ? tape.transpose(da, [1, 0]) : da
    }
}

/// y = A B over the last two dimensions, the others broadcast.
package struct MatMul: FusingOperator, LinearOperator {
    package let dependence: Dependence = .multiplies
    package var reach: Reach { .product }
    package let slides = false
    package static let name = "MatMul"
    package static let formula = "y = A B over the last two dimensions"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs
    /// One number a column, which a sum after it added.
    private var bias: [Float]?

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

    package func outputShape(_ tape: Tape, _ inputs: [Operand?]) throws -> Shape {
        try plan(tape.shape(required(inputs, 0, "A")), tape.shape(required(inputs, 1, "B"))).output
    }

    package func adding(_ bias: HostTensor, to output: Shape, _ inputs: [Operand?]) throws -> MatMul? {
        guard self.bias == nil, case .host(let b)? = inputs[1], b.shape.rank == 2, let n = output.dims.last,
            case .value? = inputs[0], bias.shape.count == n || bias.shape.count == 1,
            bias.shape.dims.last == bias.shape.count, !bias.isInteger
        else { return nil }
        let numbers = try bias.floats()
        var biased = self
        biased.bias = numbers.count == n ? numbers : Array(repeating: numbers[0], count: n)
        return biased
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], residual: Value?, clip: Bounds?) throws
        -> Value
    {
        let (a, b) = (try required(inputs, 0, "A"), try required(inputs, 1, "B"))
        let plan = try plan(tape.shape(a), tape.shape(b))
        if let rows = try rows(tape, inputs) {
            return rows.forward(
                ofLast: &tape, try tape.value(a), bias: bias, residual: residual, clip: clip)
        }
        let x = tape.reshape(try tape.value(a), to: plan.a)
        let z = tape.reshape(try tape.value(b), to: plan.b)
        var y = tape.reshape(try tape.product(x, z), to: plan.output)
        if let residual { y = tape.map(WB_MAP_add, y, residual) }
        if let clip { y = tape.map(WB_MAP_clip, y, a: clip.low, b: clip.high) }
        return y
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let (a, b) = (try required(node.inputs, 0, "A"), try required(node.inputs, 1, "B"))
        let plan = try plan(tape.shape(a), tape.shape(b))
        let (batch, m, n) = (plan.batch, plan.m, plan.n)
        return try node.each(wanted) { input in
            if input == 0, let rows = try rows(tape, node.inputs) {
                return rows.gradient(ofLast: &tape, cotangents[0]!)
            }
            let dy = tape.reshape(cotangents[0]!, to: Shape(batch + [m, n]))
            if input == 0 {
                let z = tape.reshape(try tape.value(b), to: plan.b)
                let sum = tape.sum(try tape.product(dy, tape.transposed(z)), to: plan.a)
                return tape.reshape(sum, to: tape.shape(a))
            }
            let x = tape.reshape(try tape.value(a), to: plan.a)
            let sum = tape.sum(try tape.product(tape.transposed(x), dy), to: plan.b)
            return tape.reshape(sum, to: tape.shape(b))
        }
    }

    package func isLinear(_ inputs: [Operand?]) -> Bool {
        guard inputs.count == 2, let a = inputs[0], case .host(let b)? = inputs[1] else { return false }
        if case .host = a { return false }
        return b.shape.rank == 2
    }

    private func rows(_ tape: Tape, _ inputs: [Operand?], _ weights: WeightChange?) throws -> RowProduct {
        guard let rows = try rows(tape, inputs) else {
            throw OperatorError(
                unsupported: "multiplies by constants of rank 2 only, where weights are changed")
        }
        return rows.changed(weights)
    }

    package func product(
        _ tape: inout Tape, _ inputs: [Operand?], of x: Value, weights: WeightChange?, bias: BiasChange?
    ) throws -> Value {
        try rows(tape, [.value(x)] + inputs.dropFirst(), weights).forward(ofLast: &tape, x)
    }

    package func reverseProduct(
        _ tape: inout Tape, _ inputs: [Operand?], _ dy: Value, weights: WeightChange?
    ) throws -> Value {
        try rows(tape, inputs, weights).gradient(ofLast: &tape, dy)
    }
}
