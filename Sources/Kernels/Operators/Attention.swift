// Attention, RotaryEmbedding; and com.microsoft's Attention and MultiHeadAttention.
//
// All are made of the steps that MatMul, Mul, Add, Softmax and Transpose are made of, in the same order: so a file that spells attention
// out and one that names it get the same bits.

import CMicrokernels

/// y = softmax(scale q kᵀ + bias) v for each head, with everything as [batch, heads of k and v, heads of q that share them, rows, columns].
struct HeadProduct {
    /// What q and k are multiplied by before their product, or the product after it; 1 is left out.
    var factor: Float = 1, scale: Float = 1
    /// Scores become c·tanh(score / c); 0 leaves them alone.
    var softcap: Float = 0

    struct Scores {
        var q: Value, k: Value
        /// q kᵀ with its scale; that after the cap; with the bias; their softmax.
        var raw: Value, capped: Value, biased: Value, probabilities: Value
        /// tanh(score / c)
        var bent: Value?
    }

    private func softmax() throws -> SoftmaxOperator {
        try SoftmaxOperator(Attributes(opset: 13, ["axis": .int(-1)]))
    }

    func scores(_ tape: inout Tape, _ q: Value, _ k: Value, bias: Value?) throws -> Scores {
        let q = factor == 1 ? q : tape.map(WB_MAP_scale, q, a: factor)
        let k = factor == 1 ? k : tape.map(WB_MAP_scale, k, a: factor)
        var raw = try tape.product(q, tape.transposed(k))
        if scale != 1 { raw = tape.map(WB_MAP_scale, raw, a: scale) }
        var (capped, bent) = (raw, Value?.none)
        if softcap != 0 {
            bent = tape.map(WB_MAP_tanh, tape.map(WB_MAP_scale, raw, a: 1 / softcap))
            capped = tape.map(WB_MAP_scale, bent!, a: softcap)
        }
        let biased = bias.map { tape.map(WB_MAP_add, capped, $0) } ?? capped
        let result = try softmax().forward(&tape, [.value(biased)], outputs: 1)[0]
        return Scores(
            q: q, k: k, raw: raw, capped: capped, biased: biased, probabilities: try tape.value(result),
            bent: bent)
    }

    struct Cotangents { var q: Value?, k: Value?, v: Value?, bias: Value? }

    /// The cotangents of all inputs, in the shapes that those have.
    /// - Parameters:
    ///   - dy: of y; nil where nothing arrives.
    ///   - extra: what arrives at one of the scores besides.
    func vjp(
        _ tape: inout Tape, _ s: Scores, v: Value, bias: Value?, dy: Value?,
        extra: (at: WritableKeyPath<Scores, Value>, value: Value)?
    ) throws -> Cotangents {
        var result = Cotangents()
        /// What arrives, and what arrives besides.
        func joined(_ tape: inout Tape, _ at: WritableKeyPath<Scores, Value>, _ value: Value?) -> Value? {
            guard let extra, extra.at == at else { return value }
            return value.map { tape.map(WB_MAP_add, $0, extra.value) } ?? extra.value
        }
        var d: Value?
        if let dy {
            let dv = try tape.product(tape.transposed(s.probabilities), dy)
            result.v = tape.sum(dv, to: tape.shape(v))
            d = try tape.product(dy, tape.transposed(v))
        }
        d = joined(&tape, \.probabilities, d)
        if let arrived = d {
            let node = LoweredNode(inputs: [.value(s.biased)], outputs: [.value(s.probabilities)])
            d = try softmax().vjp(&tape, node, arrived)
        }
        d = joined(&tape, \.biased, d)
        if let bias, let d { result.bias = tape.sum(d, to: tape.shape(bias)) }
        d = joined(&tape, \.capped, d)
        if let bent = s.bent, let arrived = d { d = tape.map(WB_MAP_tanh_vjp_of_output, bent, arrived) }
        d = joined(&tape, \.raw, d)
        guard var d else { return result }
        if scale != 1 { d = tape.map(WB_MAP_scale, d, a: scale) }
        var dq = try tape.product(d, s.k)
        var dk = tape.sum(try tape.product(tape.transposed(d), s.q), to: tape.shape(s.k))
        if factor != 1 {
            dq = tape.map(WB_MAP_scale, dq, a: factor)
            dk = tape.map(WB_MAP_scale, dk, a: factor)
        }
        (result.q, result.k) = (dq, dk)
        return result
    }
}

extension Tape {
    /// [batch, rows, heads · d] or [batch, heads, rows, d] as [batch, heads / shared, shared, rows, d].
    fileprivate mutating func heads(_ x: Value, _ heads: Int, shared: Int) -> Value {
        let dims = shape(x).dims
        if dims.count == 4 {
            return reshape(x, to: [dims[0], heads / shared, shared, dims[2], dims[3]])
        }
        let split = reshape(x, to: [dims[0], dims[1], heads / shared, shared, dims[2] / heads])
        return transpose(split, [0, 2, 3, 1, 4])
    }

    /// Back, to a shape of rank 3 or 4.
    fileprivate mutating func unheads(_ x: Value, to shape: Shape) -> Value {
        reshape(shape.rank == 4 ? x : transpose(x, [0, 3, 1, 2, 4]), to: shape)
    }

    /// [batch, heads, rows, columns], or what broadcasts to it, as the scores of grouped heads lie.
    fileprivate mutating func scoreBias(_ x: Value, heads: Int, shared: Int) -> Value {
        let dims = shape(x).dims
        let four = Array(repeating: 1, count: max(0, 4 - dims.count)) + dims
        let grouped = four[1] == 1 ? [1, 1] : [heads / shared, shared]
        return reshape(x, to: Shape([four[0]] + grouped + four[2...]))
    }

    /// −∞ above the diagonal, and 0 elsewhere.
    /// - Parameter past: how many columns there are before those in which the diagonal begins.
    fileprivate mutating func causal(_ rows: Int, _ columns: Int, past: Int = 0) throws -> Value {
        let shape = try Shape([rows, columns]).checked()
        return try constant(
            HostTensor(
                shape,
                .floats(
                    (0..<rows).flatMap { i in
                        (0..<columns).map { $0 - past > i ? -Float.infinity : 0 }
                    })))
    }

    /// Rows of heads, and past ones of [batch, heads, rows, d] before them. One past may serve all pictures.
    fileprivate mutating func appended(_ x: Value, to past: Value) -> Value {
        let (own, before) = (shape(x).dims, shape(past).dims)
        var dims = own
        dims[3] += before[2]
        let all = value(Shape(dims))
        let five = reshape(past, to: [before[0], before[1], 1, before[2], before[3]])
        let part = Shape([own[0]] + shape(five).dims.dropFirst())
        copy(five, into: all, strides: strides(all), as: part)
        place(x, into: all, [SliceRange(axis: 3, start: before[2], step: 1, count: own[3])])
        return all
    }
}

package struct Attention: Operator {
    package static let name = "Attention"
    package static let formula =
        "y = softmax(scale q k^T + mask) v for each head, past keys and values before the given ones"
    package static let opsets = 23...24
    package static let accepts: Set<Meaning> = [.real, .boolean]
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 24 ? 7 : 6, outputs: 4) }
    package let gradientNeeds: GradientNeeds = .inputs
    package var reach: Reach { .behindFirst }
    private let scale: Float?, softcap: Float, isCausal: Bool, heads: (q: Int?, kv: Int?), mode: Int

    package init(_ attributes: Attributes) throws {
        scale = attributes.has("scale") ? try attributes.float("scale", default: 0) : nil
        softcap = try attributes.float("softcap", default: 0)
        isCausal = try attributes.int("is_causal", default: 0) != 0
        mode = try attributes.int("qk_matmul_output_mode", default: 0)
        guard (0...3).contains(mode) else {
            throw OperatorError("has the qk_matmul_output_mode \(mode), which must be 0 to 3")
        }
        guard softcap >= 0, softcap.isFinite else {
            throw OperatorError("has the softcap \(softcap), which must be 0 or a positive number")
        }
        if let scale, !(scale >= 0 && scale.isFinite) {
            throw OperatorError(unsupported: "has the scale \(scale), which must not be negative here")
        }
        func count(_ name: String) throws -> Int? {
            guard attributes.has(name) else { return nil }
            let count = try attributes.int(name)
            guard count > 0 else { throw OperatorError("has \(count) as its \(name)") }
            return count
        }
        heads = (try count("q_num_heads"), try count("kv_num_heads"))
        // All is computed in binary32.
        attributes.ignore("softmax_precision")
    }

    /// Extents and operands, as the heads' product takes them.
    private struct Parts {
        var product: HeadProduct
        var q: Value, k: Value, v: Value, bias: Value?
        var heads: Int, shared: Int
        /// Rows of k and v that were there before.
        var past: Int
        /// Of y and of the scores.
        var output: Shape, scores: Shape
    }

    private func parts(_ tape: inout Tape, _ inputs: [Operand?]) throws -> Parts {
        let operands = try ["Q", "K", "V"].enumerated().map { try required(inputs, $0, $1) }
        let past = [4, 5].compactMap { $0 < inputs.count ? inputs[$0] : nil }
        guard past.isEmpty || past.count == 2 else {
            throw OperatorError("has past keys or past values, and needs both or none")
        }
        guard (operands + past).allSatisfy({ tape.meaning($0) == .real }) else {
            throw OperatorError(unsupported: "takes queries, keys or values that are no real numbers")
        }
        let (q, k, v) = (
            tape.shape(operands[0]).dims, tape.shape(operands[1]).dims, tape.shape(operands[2]).dims
        )
        let shapes = "\(Shape(q)), \(Shape(k)) and \(Shape(v))"
        guard q.count == k.count, q.count == v.count, q.count == 3 || q.count == 4, q[0] == k[0],
            q[0] == v[0]
        else { throw OperatorError("takes queries, keys and values of shapes \(shapes), which do not fit") }
        let four = q.count == 4
        guard let h = four ? q[1] : heads.q, let kv = four ? k[1] : heads.kv else {
            throw OperatorError("lacks q_num_heads or kv_num_heads, which inputs of rank 3 need")
        }
        if four, heads.q ?? h != h || heads.kv ?? kv != kv {
            throw OperatorError("names other numbers of heads than its inputs of shapes \(shapes) have")
        }
        guard h % kv == 0, four ? v[1] == kv : q[2] % h == 0 && k[2] % kv == 0 && v[2] % kv == 0 else {
            throw OperatorError("divides \(shapes) by \(h) and \(kv) heads, which do not fit")
        }
        let (size, other, width) = (
            four ? q[3] : q[2] / h, four ? k[3] : k[2] / kv, four ? v[3] : v[2] / kv
        )
        let (rows, columns) = (four ? q[2] : q[1], four ? k[2] : k[1])
        guard size == other, columns == (four ? v[2] : v[1]) else {
            throw OperatorError("takes queries, keys and values of shapes \(shapes), which do not fit")
        }
        let before = past.map { tape.shape($0).dims }
        let kept = before.first.map { $0.count == 4 ? $0[2] : 0 } ?? 0
        guard
            zip(before, [size, width]).allSatisfy({
                ($0 == [q[0], kv, kept, $1] || $0 == [1, kv, kept, $1]) && kept > 0
            })
        else {
            throw OperatorError(
                "puts past keys and values of shapes \(Shape(before[0])) and \(Shape(before[1])) before those of \(shapes), "
                    + "which do not fit")
        }
        let scores = try Shape([q[0], h, rows, kept + columns]).checked()
        // As ONNX has it, the root of the scale goes to each factor.
        let root = scale.map { Double($0).squareRoot() } ?? (1 / Double(size).squareRoot()).squareRoot()
        let (a, b, c) = (
            try tape.value(operands[0]), try tape.value(operands[1]), try tape.value(operands[2])
        )
        var (keys, values) = (tape.heads(b, kv, shared: 1), tape.heads(c, kv, shared: 1))
        if past.count == 2 {
            keys = tape.appended(keys, to: try tape.value(past[0]))
            values = tape.appended(values, to: try tape.value(past[1]))
        }
        return Parts(
            product: HeadProduct(factor: Float(root), softcap: softcap),
            q: tape.heads(a, h, shared: h / kv), k: keys, v: values,
            bias: try bias(&tape, inputs, scores, shared: h / kv, past: kept), heads: h,
            shared: h / kv, past: kept,
            output: Shape(four ? [q[0], h, rows, width] : [q[0], rows, h * width]), scores: scores)
    }

    /// What is added to scores of that shape.
    private func bias(
        _ tape: inout Tape, _ inputs: [Operand?], _ scores: Shape, shared: Int, past: Int
    ) throws -> Value? {
        let (rows, columns) = (scores.dims[2], scores.dims[3])
        var bias: Value?
        if inputs.count > 3, let mask = inputs[3] {
            var value: Value
            if case .host(let tensor) = mask, tensor.isInteger {
                value = try tape.constant(
                    HostTensor(
                        tensor.shape, .floats(try tensor.ints().map { $0 != 0 ? 0 : -.infinity })))
            } else {
                value = try tape.value(mask)
                // Truths are 1 and 0, and their logarithms 0 and −∞.
                if tape.meaning(mask) == .boolean { value = tape.map(WB_MAP_log, value) }
            }
            var dims = tape.shape(value).dims
            if let last = dims.last, last < columns, last > 1 {
                dims[dims.count - 1] = columns
                let whole = tape.fill(Shape(dims), with: -.infinity)
                tape.place(
                    value, into: whole,
                    [SliceRange(axis: dims.count - 1, start: 0, step: 1, count: last)])
                value = whole
            }
            guard Shape.broadcast(Shape(dims), scores) == scores, dims.count <= 4 else {
                throw OperatorError(
                    "adds a mask of shape \(tape.shape(mask)) to scores of shape \(scores), which do not fit")
            }
            bias = tape.scoreBias(value, heads: scores.dims[1], shared: shared)
        }
        if isCausal {
            let causal = try tape.causal(rows, columns, past: past)
            bias = bias.map { tape.map(WB_MAP_add, $0, causal) } ?? causal
        }
        if let lengths = try constant(inputs, 6, "nonpad_kv_seqlen")?.ints() {
            // Of one batch that was written down, all lengths being the same, any other can be made.
            let isSame = lengths.allSatisfy { $0 == lengths[0] }
            guard let first = lengths.first, lengths.count == scores.dims[0] || isSame else {
                throw OperatorError(
                    "has the lengths of \(lengths.count) sequences for a batch of \(scores.dims[0])")
            }
            let each = isSame ? [first] : lengths
            let pads = HostTensor(
                [each.count, 1, 1, 1, columns],
                .floats(each.flatMap { n in (0..<columns).map { $0 < n ? 0 : -Float.infinity } }))
            let ends = try tape.constant(pads)
            bias = bias.map { tape.map(WB_MAP_add, $0, ends) } ?? ends
        }
        return bias
    }

    private var modes: [WritableKeyPath<HeadProduct.Scores, Value>] {
        [\.raw, \.capped, \.biased, \.probabilities]
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let p = try parts(&tape, inputs)
        let scores = try p.product.scores(&tape, p.q, p.k, bias: p.bias)
        let y = tape.unheads(try tape.product(scores.probabilities, p.v), to: p.output)
        var results = [y]
        if outputs > 1 {
            // The present keys and values are the past ones and the inputs.
            for x in [p.k, p.v] {
                let d = tape.shape(x).dims
                results.append(tape.reshape(x, to: [d[0], d[1], d[3], d[4]]))
            }
            results.append(tape.reshape(scores[keyPath: modes[mode]], to: p.scores))
        }
        return results.prefix(outputs).map(Operand.value)
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let p = try parts(&tape, node.inputs)
        let scores = try p.product.scores(&tape, p.q, p.k, bias: p.bias)
        let dy = cotangents[0].map { tape.heads($0, p.heads, shared: p.shared) }
        let extra = cotangents.count > 3 ? cotangents[3] : nil
        let d = try p.product.vjp(
            &tape, scores, v: p.v, bias: p.bias, dy: dy,
            extra: extra.map { (modes[mode], tape.reshape($0, to: tape.shape(scores.raw))) })
        return try node.each(wanted) { input in
            let operand = try required(node.inputs, input, "input")
            let shape = tape.shape(operand)
            if input == 3 {
                guard tape.meaning(operand) == .real else { return nil }
                guard let bias = d.bias else { return tape.fill(shape, with: 0) }
                var dims = shape.dims
                let columns = p.scores.dims[3]
                let own = dims.last ?? 1
                if own > 1 && own < columns { dims[dims.count - 1] = columns }
                let whole = tape.sum(bias, to: grouped(dims, p))
                let all = tape.reshape(whole, to: Shape(dims))
                if own == dims.last ?? 1 { return all }
                return tape.slice(
                    all, [SliceRange(axis: dims.count - 1, start: 0, step: 1, count: own)])
            }
            if input == 0 { return d.q.map { tape.unheads($0, to: shape) } ?? tape.fill(shape, with: 0) }
            // Keys, or values: past ones and the inputs, which are the present ones.
            let output = input < 3 ? input : input - 3
            var found = output == 1 ? d.k : d.v
            if cotangents.count > output, let arrived = cotangents[output] {
                let dims = tape.shape(arrived).dims
                let back = tape.reshape(arrived, to: [dims[0], dims[1], 1, dims[2], dims[3]])
                found = found.map { tape.map(WB_MAP_add, $0, back) } ?? back
            }
            guard let found else { return tape.fill(shape, with: 0) }
            let rows = tape.shape(found).dims[3]
            if input < 3 {
                return tape.unheads(
                    tape.slice(
                        found, [SliceRange(axis: 3, start: p.past, step: 1, count: rows - p.past)]),
                    to: shape)
            }
            let part = tape.slice(found, [SliceRange(axis: 3, start: 0, step: 1, count: p.past)])
            let dims = tape.shape(part).dims
            return tape.sum(tape.reshape(part, to: [dims[0], dims[1], dims[3], dims[4]]), to: shape)
        }
    }

    /// A mask's shape among grouped heads.
    private func grouped(_ dims: [Int], _ p: Parts) -> Shape {
        let four = Array(repeating: 1, count: max(0, 4 - dims.count)) + dims
        let grouped = four[1] == 1 ? [1, 1] : [p.heads / p.shared, p.shared]
        return Shape([four[0]] + grouped + four[2...])
    }
}

/// Numbers turned in pairs, by angles that their places in a sequence have.
package struct RotaryEmbedding: UnaryOperator {
    package static let name = "RotaryEmbedding"
    package static let formula = "pairs (x1, x2) of each head become (cos x1 - sin x2, sin x1 + cos x2)"
    package static let opsets = 23...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 4) }
    package var reach: Reach { .behindFirst }
    private let isInterleaved: Bool, heads: Int, width: Int

    package init(_ attributes: Attributes) throws {
        isInterleaved = try attributes.int("interleaved", default: 0) != 0
        heads = try attributes.int("num_heads", default: 0)
        width = try attributes.int("rotary_embedding_dim", default: 0)
    }

    /// - Parameter back: whether the angles are the opposite ones, as for the way back.
    private func turned(_ tape: inout Tape, _ x: Value, _ inputs: [Operand?], back: Bool) throws -> Value {
        let shape = tape.shape(x)
        guard shape.rank == 4 || (shape.rank == 3 && heads > 0 && shape.dims[2] % heads == 0) else {
            throw OperatorError("turns a tensor of shape \(shape) with \(heads) heads, which do not fit")
        }
        let four =
            shape.rank == 4
            ? x
            : tape.transpose(
                tape.reshape(x, to: [shape.dims[0], shape.dims[1], heads, shape.dims[2] / heads]),
                [0, 2, 1, 3])
        let d = tape.shape(four).dims
        let width = self.width == 0 ? d[3] : self.width
        guard width > 0, width <= d[3], width % 2 == 0 else {
            throw OperatorError("turns \(width) of \(d[3]) numbers of a head")
        }
        func cache(_ tape: inout Tape, _ index: Int, _ what: String) throws -> Value {
            var operand = try required(inputs, index, what)
            if let places = try constant(inputs, 3, "position_ids") {
                guard case .host(let all) = operand, all.shape.rank == 2 else {
                    throw OperatorError(
                        unsupported: "picks places of a \(what) that is no constant matrix")
                }
                let columns = all.shape.dims[1]
                let indices = try places.ints().flatMap { row -> Range<Int> in
                    guard row >= 0, row < all.shape.dims[0] else {
                        throw OperatorError("picks the place \(row) of a \(what) of shape \(all.shape)")
                    }
                    return row * columns..<(row + 1) * columns
                }
                operand = .host(try all.picking(indices, shape: Shape(places.shape.dims + [columns])))
            }
            let value = try tape.value(operand)
            let own = tape.shape(value)
            guard own.rank == 3, own.dims[0] == 1 || own.dims[0] == d[0], own.dims[1] == d[2],
                own.dims[2] == width / 2
            else {
                throw OperatorError(
                    "has a \(what) of shape \(own) for \(d[2]) places and \(width) numbers")
            }
            return tape.reshape(value, to: [own.dims[0], 1, own.dims[1], own.dims[2]])
        }
        let cosine = try cache(&tape, 1, "cos_cache")
        var sine = try cache(&tape, 2, "sin_cache")
        if back { sine = tape.map(WB_MAP_scale, sine, a: -1) }
        let halves = (0..<2).map {
            SliceRange(
                axis: 3, start: isInterleaved ? $0 : $0 * width / 2, step: isInterleaved ? 2 : 1,
                count: width / 2)
        }
        let (first, second) = (tape.slice(four, [halves[0]]), tape.slice(four, [halves[1]]))
        let parts = [
            tape.map(
                WB_MAP_subtract, tape.map(WB_MAP_multiply, first, cosine),
                tape.map(WB_MAP_multiply, second, sine)),
            tape.map(
                WB_MAP_add, tape.map(WB_MAP_multiply, first, sine),
                tape.map(WB_MAP_multiply, second, cosine)),
        ]
        let y = tape.value(tape.shape(four), like: [four])
        for (part, half) in zip(parts, halves) { tape.place(part, into: y, [half]) }
        if width < d[3] {
            let rest = SliceRange(axis: 3, start: width, step: 1, count: d[3] - width)
            tape.place(tape.slice(four, [rest]), into: y, [rest])
        }
        return tape.reshape(shape.rank == 4 ? y : tape.transpose(y, [0, 2, 1, 3]), to: shape)
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(try turned(&tape, try tape.value(required(inputs, 0, "X")), inputs, back: false))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try turned(&tape, dy, node.inputs, back: true)
    }
}

/// What com.microsoft's two operators share: all heads of q, k and v beside each other, and a scale of the scores.
private struct PlainHeads: Sendable {
    let heads: Int, scale: Float, isCausal: Bool

    init(_ attributes: Attributes) throws {
        heads = try attributes.int("num_heads")
        guard heads > 0 else { throw OperatorError("has \(heads) heads") }
        scale = try attributes.float("scale", default: 0)
        isCausal = try attributes.int("unidirectional", default: 0) != 0
        // Of masks, which are refused.
        attributes.ignore("mask_filter_value")
    }

    func refuse(_ inputs: [Operand?], _ names: [(Int, String)]) throws {
        for (i, name) in names where i < inputs.count && inputs[i] != nil {
            throw OperatorError(unsupported: "has an input \(name), which is not supported")
        }
    }

    struct Parts {
        var product: HeadProduct
        var q: Value, k: Value, v: Value, bias: Value?
        var output: Shape
    }

    /// - Parameters:
    ///   - q: [batch, rows, heads · d].
    ///   - k, v: the same, or [batch, heads, rows, d].
    func parts(_ tape: inout Tape, _ q: Value, _ k: Value, _ v: Value, bias: Operand?) throws -> Parts {
        let shapes = [q, k, v].map { tape.shape($0) }
        func fits(_ s: Shape) -> Bool {
            s.rank == 4 ? s.dims[1] == heads : s.rank == 3 && s.dims[2] % heads == 0
        }
        guard shapes.allSatisfy(fits), Set(shapes.map { $0.dims[0] }).count == 1, shapes[0].rank == 3 else {
            throw OperatorError(
                "takes queries, keys and values of shapes \(shapes[0]), \(shapes[1]) and \(shapes[2]) with \(heads) heads, "
                    + "which do not fit")
        }
        let (a, b, c) = (
            tape.heads(q, heads, shared: 1), tape.heads(k, heads, shared: 1), tape.heads(v, heads, shared: 1)
        )
        let (da, db, dc) = (tape.shape(a).dims, tape.shape(b).dims, tape.shape(c).dims)
        guard da[4] == db[4], db[3] == dc[3] else {
            throw OperatorError(
                "takes queries, keys and values of shapes \(shapes[0]), \(shapes[1]) and \(shapes[2]), which do not fit"
            )
        }
        let scores = try Shape([da[0], heads, da[3], db[3]]).checked()
        var term: Value?
        if let bias {
            guard tape.meaning(bias) == .real, tape.shape(bias).rank == 4,
                Shape.broadcast(tape.shape(bias), scores) == scores
            else {
                throw OperatorError(
                    "adds \(tape.shape(bias)) to scores of shape \(scores), which do not fit")
            }
            term = tape.scoreBias(try tape.value(bias), heads: heads, shared: 1)
        }
        if isCausal {
            let causal = try tape.causal(da[3], db[3])
            term = term.map { tape.map(WB_MAP_add, $0, causal) } ?? causal
        }
        return Parts(
            product: HeadProduct(scale: scale == 0 ? Float(1 / Double(da[4]).squareRoot()) : scale),
            q: a, k: b, v: c, bias: term, output: [da[0], da[3], heads * dc[4]])
    }

    func forward(_ tape: inout Tape, _ p: Parts) throws -> Value {
        let scores = try p.product.scores(&tape, p.q, p.k, bias: p.bias)
        return tape.unheads(try tape.product(scores.probabilities, p.v), to: p.output)
    }

    /// Cotangents of q, k, v and the bias.
    func vjp(_ tape: inout Tape, _ p: Parts, _ dy: Value, of shapes: [Shape], bias: Shape?) throws -> [Value]
    {
        let scores = try p.product.scores(&tape, p.q, p.k, bias: p.bias)
        let d = try p.product.vjp(
            &tape, scores, v: p.v, bias: p.bias, dy: tape.heads(dy, heads, shared: 1), extra: nil)
        var all = zip([d.q!, d.k!, d.v!], shapes).map { tape.unheads($0, to: $1) }
        if let bias, let db = d.bias {
            let five = Shape([bias.dims[0], bias.dims[1], 1] + bias.dims[2...])
            all.append(tape.reshape(tape.sum(db, to: five), to: bias))
        }
        return all
    }
}

/// As ONNX Runtime's optimiser writes the attention of encoders.
package struct MicrosoftAttention: Operator {
    package static let name = "Attention"
    package static let domain = "com.microsoft"
    package static let formula =
        "q, k and v from one product with constant weights; y = softmax(scale q k^T + attention_bias) v"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 7, outputs: 1) }
    package let gradientNeeds: GradientNeeds = .inputs
    package var reach: Reach { .behindFirst }
    private let plain: PlainHeads, sizes: [Int]?

    package init(_ attributes: Attributes) throws {
        plain = try PlainHeads(attributes)
        sizes = try attributes.ints("qkv_hidden_sizes")
        guard try attributes.int("do_rotary", default: 0) == 0 else {
            throw OperatorError(unsupported: "turns its queries and keys (do_rotary), which is not supported")
        }
        attributes.ignore("past_present_share_buffer", "rotary_embedding_dim")
    }

    /// The product that makes q, k and v, the widths of those, and the bias.
    private func rows(_ tape: Tape, _ inputs: [Operand?]) throws -> (RowProduct, [Int], [Float]?) {
        try plain.refuse(inputs, [(3, "mask_index"), (4, "past"), (6, "past_sequence_length")])
        let x = tape.shape(try required(inputs, 0, "input"))
        guard let weights = try constant(inputs, 1, "weights") else {
            throw OperatorError("lacks its weights")
        }
        guard x.rank == 3, weights.shape.rank == 2, weights.shape.dims[0] == x.dims[2] else {
            throw OperatorError("multiplies \(x) by \(weights.shape), which do not fit")
        }
        let columns = weights.shape.dims[1]
        let sizes = self.sizes ?? Array(repeating: columns / 3, count: 3)
        guard sizes.count == 3, sizes.allSatisfy({ $0 > 0 && $0 % plain.heads == 0 }),
            sizes.reduce(0, +) == columns
        else { throw OperatorError("cuts \(columns) columns into \(sizes) of \(plain.heads) heads") }
        let bias = try constant(inputs, 2, "bias")?.floats()
        guard bias?.count ?? columns == columns else {
            throw OperatorError("adds \(bias!.count) numbers to \(columns) columns")
        }
        let product = RowProduct(
            rows: x.dims[0] * x.dims[1], terms: x.dims[2], columns: columns, matrix: weights,
            isTransposed: false)
        return (product, sizes, bias)
    }

    private func ranges(_ sizes: [Int]) -> [SliceRange] {
        var start = 0
        return sizes.map { size in
            defer { start += size }
            return SliceRange(axis: 2, start: start, step: 1, count: size)
        }
    }

    private func parts(_ tape: inout Tape, _ inputs: [Operand?]) throws -> PlainHeads.Parts {
        let (product, sizes, bias) = try rows(tape, inputs)
        let x = try tape.value(required(inputs, 0, "input"))
        let all = product.forward(ofLast: &tape, x, bias: bias)
        let parts = ranges(sizes).map { tape.slice(all, [$0]) }
        return try plain.parts(
            &tape, parts[0], parts[1], parts[2], bias: inputs.count > 5 ? inputs[5] : nil)
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(try plain.forward(&tape, try parts(&tape, inputs)))]
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let (product, sizes, _) = try rows(tape, node.inputs)
        let x = tape.shape(try required(node.inputs, 0, "input"))
        let bias = node.inputs.count > 5 ? node.inputs[5].map { tape.shape($0) } : nil
        let shapes = sizes.map { Shape([x.dims[0], x.dims[1], $0]) }
        let d = try plain.vjp(
            &tape, try parts(&tape, node.inputs), cotangents[0]!, of: shapes, bias: bias)
        return node.each(wanted) { input in
            if input == 5 { return d[3] }
            guard input == 0 else { return nil }
            let all = tape.value([x.dims[0], x.dims[1], product.columns])
            for (part, range) in zip(d, ranges(sizes)) { tape.place(part, into: all, [range]) }
            return product.gradient(ofLast: &tape, all)
        }
    }
}

/// As ONNX Runtime's optimiser writes the attention of encoders whose q, k and v are there already.
package struct MultiHeadAttention: Operator {
    package static let name = "MultiHeadAttention"
    package static let domain = "com.microsoft"
    package static let formula = "y = softmax(scale q k^T + attention_bias) v for each head"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 10, outputs: 1) }
    package let gradientNeeds: GradientNeeds = .inputs
    package var reach: Reach { .behindFirst }
    private let plain: PlainHeads

    package init(_ attributes: Attributes) throws { plain = try PlainHeads(attributes) }

    /// q, k and v as they are given, or out of one that holds all.
    private func given(_ tape: inout Tape, _ inputs: [Operand?]) throws -> [Value] {
        try plain.refuse(
            inputs,
            [
                (4, "key_padding_mask"), (6, "past_key"), (7, "past_value"), (8, "past_sequence_length"),
                (9, "cache_indirection"),
            ])
        let query = try tape.value(required(inputs, 0, "query"))
        let d = tape.shape(query).dims
        if d.count == 5 {
            guard d[2] == plain.heads, d[3] == 3, inputs.dropFirst().prefix(2).allSatisfy({ $0 == nil })
            else {
                throw OperatorError("takes queries, keys and values of shape \(Shape(d)), which do not fit")
            }
            return (0..<3).map { i in
                let part = tape.slice(query, [SliceRange(axis: 3, start: i, step: 1, count: 1)])
                return tape.reshape(part, to: [d[0], d[1], d[2] * d[4]])
            }
        }
        guard inputs.count > 2, let k = inputs[1], let v = inputs[2] else {
            throw OperatorError(
                unsupported: "takes keys and values packed together, which is not supported")
        }
        return [query, try tape.value(k), try tape.value(v)]
    }

    private func parts(_ tape: inout Tape, _ inputs: [Operand?]) throws -> PlainHeads.Parts {
        var given = try given(&tape, inputs)
        if let bias = try constant(inputs, 3, "bias") {
            let widths = given.map { tape.shape($0).dims.last! }
            guard given.allSatisfy({ tape.shape($0).rank == 3 }), bias.shape.count == widths.reduce(0, +)
            else { throw OperatorError("adds a bias of shape \(bias.shape), which does not fit") }
            let numbers = try bias.floats()
            var start = 0
            for i in given.indices {
                let part = Array(numbers[start..<start + widths[i]])
                start += widths[i]
                given[i] = tape.map(
                    WB_MAP_add, given[i], try tape.constant(HostTensor([part.count], .floats(part))))
            }
        }
        return try plain.parts(
            &tape, given[0], given[1], given[2], bias: inputs.count > 5 ? inputs[5] : nil)
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(try plain.forward(&tape, try parts(&tape, inputs)))]
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let shapes = try given(&tape, node.inputs).map { tape.shape($0) }
        let bias = node.inputs.count > 5 ? node.inputs[5].map { tape.shape($0) } : nil
        let d = try plain.vjp(
            &tape, try parts(&tape, node.inputs), cotangents[0]!, of: shapes, bias: bias)
        let query = tape.shape(try required(node.inputs, 0, "query"))
        return node.each(wanted) { input in
            if input == 0, query.rank == 5 {
                let all = tape.value(query)
                let (b, rows, size) = (query.dims[0], query.dims[1], query.dims[4])
                for i in 0..<3 {
                    tape.place(
                        tape.reshape(d[i], to: [b, rows, plain.heads, 1, size]), into: all,
                        [SliceRange(axis: 3, start: i, step: 1, count: 1)])
                }
                return all
            }
            return input < 3 ? d[input] : input == 5 ? d[3] : nil
        }
    }
}
