// Products of two activations, and what transformers make of them.

import Foundation
import Kernels
import TestSupport

extension Reference {
    struct Heads {
        var q: Int, kv: Int
        var scale: Double?
        var softcap = 0.0, causal = false
        /// Rows of k and v that were there before.
        var past = 0
        /// How many rows of k and v count in each sequence.
        var lengths: [Int]?
        /// Which scores are given out too: 0 products, 1 capped, 2 with the mask, 3 their softmax; nil for none.
        var mode: Int?
    }

    /// softmax(scale q kᵀ + mask) v, of [batch, rows, heads · d] or [batch, heads, rows, d]; a mask of truths has 0 and 1.
    static func attention(
        _ q: Tensor, _ k: Tensor, _ v: Tensor, mask: Tensor?, truths: Bool = false, _ a: Heads
    ) -> [Tensor] {
        let four = q.dims.count == 4
        let size = four ? q.dims[3] : q.dims[2] / a.q
        let width = four ? v.dims[3] : v.dims[2] / a.kv
        let (rows, columns) = (four ? q.dims[2] : q.dims[1], four ? k.dims[2] : k.dims[1])
        let scale = a.scale ?? 1 / Double(size).squareRoot()
        func at(_ x: Tensor, _ b: Int, _ h: Int, _ i: Int, _ d: Int, _ size: Int) -> Double {
            four ? x[[b, h, i, d]] : x[[b, i, h * size + d]]
        }
        var scores = Tensor(zeros: [q.dims[0], a.q, rows, columns])
        var y = Tensor(zeros: four ? [q.dims[0], a.q, rows, width] : [q.dims[0], rows, a.q * width])
        var place = 0
        for b in 0..<q.dims[0] {
            for h in 0..<a.q {
                for i in 0..<rows {
                    let g = h / (a.q / a.kv)
                    var (row, given, sizes) = ([Double](), [Double](), [Double]())
                    for j in 0..<columns {
                        let terms = (0..<size).map { at(q, b, h, i, $0, size) * at(k, b, g, j, $0, size) }
                        var s = scale * terms.reduce(0, +)
                        sizes.append(1 + scale * terms.map(abs).reduce(0, +))
                        var shown = s
                        if a.softcap > 0 { s = a.softcap * tanh(s / a.softcap) }
                        if a.mode == 1 { shown = s }
                        if var mask {
                            mask.dims = Array(repeating: 1, count: 4 - mask.dims.count) + mask.dims
                            let last = mask.dims[3]
                            let m =
                                j >= last && last > 1
                                ? (truths ? 0 : -.infinity) : mask.broadcast([b, h, i, min(j, last - 1)])
                            s += truths ? (m != 0 ? 0 : -.infinity) : m
                            sizes[j] += m.isFinite ? abs(m) : 0
                        }
                        if a.causal && j - a.past > i { s = -.infinity }
                        if let lengths = a.lengths, j >= lengths[b] { s = -.infinity }
                        if a.mode == 2 { shown = s }
                        row.append(s)
                        given.append(shown)
                    }
                    let largest = row.max()!
                    let e = row.map { exp($0 - largest) }
                    let sum = e.reduce(0, +)
                    for j in 0..<columns {
                        scores.values[place] = a.mode == 3 ? e[j] / sum : given[j]
                        scores.magnitudes[place] = a.mode == 3 ? e[j] / sum * sizes[j] : sizes[j]
                        place += 1
                    }
                    for d in 0..<width {
                        let index =
                            four
                            ? ((b * a.q + h) * rows + i) * width + d : ((b * rows + i) * a.q + h) * width + d
                        for j in 0..<columns {
                            let term = e[j] / sum * at(v, b, g, j, d, width)
                            y.values[index] += term
                            y.magnitudes[index] += abs(term) * sizes[j]
                        }
                    }
                }
            }
        }
        guard a.mode != nil else { return [y] }
        /// All of them, past ones too.
        func present(_ x: Tensor) -> Tensor {
            let size = four ? x.dims[3] : x.dims[2] / a.kv
            return Tensor([x.dims[0], a.kv, columns, size]) { at(x, $0[0], $0[1], $0[2], $0[3], size) }
        }
        return [y, present(k), present(v), scores]
    }
}

extension Reference {
    /// Past rows, [batch, heads, rows, d], and those of x behind them, in the form of x.
    static func appended(_ x: Tensor, to past: Tensor) -> Tensor {
        let (rows, four) = (past.dims[2], x.dims.count == 4)
        var dims = x.dims
        dims[four ? 2 : 1] += rows
        return Tensor(dims) { i in
            let (at, d) = (i[four ? 2 : 1], past.dims[3])
            let before = at < rows
            let b = past.dims[0] == 1 ? 0 : i[0]
            if four { return before ? past[[b, i[1], at, i[3]]] : x[[i[0], i[1], at - rows, i[3]]] }
            return before ? past[[b, i[2] / d, at, i[2] % d]] : x[[i[0], at - rows, i[2]]]
        }
    }
}

extension Cases {
    static func attention(
        _ title: String = "", batch: Int = 2, heads: Int = 3, kv: Int? = nil, rows: Int = 5,
        columns: Int? = nil, size: Int = 8, width: Int? = nil, four: Bool = false, scale: Float? = nil,
        softcap: Float = 0, causal: Bool = false, mode: Int? = nil, mask: OperatorCase.Input? = nil,
        truths: Bool = false, past: Int = 0, pastBatch: Int? = nil, constantPast: Bool = false,
        lengths: [Int]? = nil, opset: Int = 23
    ) -> OperatorCase {
        let (kv, columns, width) = (kv ?? heads, columns ?? rows, width ?? size)
        func dims(_ heads: Int, _ rows: Int, _ size: Int) -> [Int] {
            four ? [batch, heads, rows, size] : [batch, rows, heads * size]
        }
        var attributes: [String: Attribute] = [:]
        if !four { (attributes["q_num_heads"], attributes["kv_num_heads"]) = (.int(heads), .int(kv)) }
        if let scale { attributes["scale"] = .float(scale) }
        if softcap != 0 { attributes["softcap"] = .float(softcap) }
        if causal { attributes["is_causal"] = .int(1) }
        if let mode { attributes["qk_matmul_output_mode"] = .int(mode) }
        let form = Reference.Heads(
            q: heads, kv: kv, scale: scale.map(Double.init), softcap: Double(softcap), causal: causal,
            past: past, lengths: lengths, mode: mode)
        let before = [size, width].map { d -> OperatorCase.Input in
            let dims = [pastBatch ?? batch, kv, past, d]
            return past == 0 ? .absent : constantPast ? .constant(dims) : .activation(dims)
        }
        var more = mask.map { [$0] } ?? []
        if past > 0 || lengths != nil { more = [more.first ?? .absent] + before }
        if let lengths { more.append(.ints(lengths)) }
        var test = OperatorCase(
            "Attention",
            "\(title) \(heads) heads of q, \(kv) of k, mode \(mode ?? -1)\(past > 0 ? ", past" : "")",
            opset: opset,
            attributes,
            [
                .activation(dims(heads, rows, size)), .activation(dims(kv, columns, size)),
                .activation(dims(kv, columns, width)),
            ] + more, outputs: mode == nil ? 1 : 4
        ) {
            Reference.attention(
                $0[0]!, past > 0 ? Reference.appended($0[1]!, to: $0[4]!) : $0[1]!,
                past > 0 ? Reference.appended($0[2]!, to: $0[5]!) : $0[2]!, mask: $0.count > 3 ? $0[3] : nil,
                truths: truths, form)
        }
        test.tolerance = 16
        return test
    }

    static let attentionCases: [OperatorCase] =
        [
            attention(), attention("4-D", four: true),
            attention("row by row", batch: 1, heads: 1, rows: 1, size: 1),
            attention("tiles", batch: 1, heads: 2, rows: 33, columns: 65, size: 32, width: 16),
            attention("more than a chunk of keys", batch: 1, heads: 1, rows: 3, columns: 300, size: 17),
            attention("grouped", heads: 6, kv: 2), attention("grouped, 4-D", heads: 4, kv: 1, four: true),
            attention("causal", rows: 7, causal: true),
            attention("causal", rows: 3, columns: 6, causal: true),
            attention("scaled, capped", scale: 0.25, softcap: 0.75),
            attention("masked", mask: .activation([5, 5])),
            attention("masked", heads: 4, kv: 2, mask: .activation([2, 4, 5, 5])),
            attention("masked", heads: 4, kv: 2, mask: .constant([2, 1, 1, 5])),
            attention("masked, causal, capped", softcap: 2, causal: true, mask: .activation([3, 5, 5])),
            attention("short mask", rows: 4, columns: 9, mask: .activation([4, 6]), opset: 24),
            attention("truths", rows: 2, columns: 3, mask: .ints([1, 0, 1]), truths: true),
            attention("scores", softcap: 0.5, mode: 0, mask: .activation([5, 5])),
            attention("scores", four: true, softcap: 0.5, mode: 1, mask: .activation([5, 5])),
            attention("scores", heads: 4, kv: 2, softcap: 0.5, mode: 2, mask: .activation([5, 5])),
            attention("scores", heads: 4, kv: 2, mode: 3, opset: 24),
            attention(past: 3), attention("4-D", four: true, past: 1),
            attention("presents", heads: 4, kv: 2, width: 6, mode: 0, past: 7),
            attention("presents", four: true, mode: 3, past: 4),
            attention("causal", rows: 4, columns: 6, causal: true, past: 3),
            attention("causal", rows: 6, columns: 3, causal: true, past: 17),
            attention("masked, causal", causal: true, mask: .activation([5, 8]), past: 3),
            attention("constant past", past: 2, constantPast: true),
            attention("one past for all", batch: 3, heads: 4, kv: 2, past: 2, pastBatch: 1),
            attention("lengths", batch: 3, lengths: [5, 2, 3], opset: 24),
            attention("one length", columns: 7, mask: .activation([5, 7]), lengths: [4, 4], opset: 24),
        ] + productCases + microsoftCases + rotaryCases

    /// q, k and v as the columns of a product; the reference's are those of [batch, rows, 3 · heads · size].
    private static func microsoft(
        batch: Int = 2, rows: Int = 5, width: Int = 12, heads: Int = 2, size: Int = 8, values: Int? = nil,
        bias: Bool = true, term: OperatorCase.Input? = nil, causal: Bool = false, scale: Float? = nil
    ) -> OperatorCase {
        let sizes = [heads * size, heads * size, heads * (values ?? size)]
        let columns = sizes.reduce(0, +)
        var attributes: [String: Attribute] = ["num_heads": .int(heads)]
        if values != nil { attributes["qkv_hidden_sizes"] = .ints(sizes) }
        if causal { attributes["unidirectional"] = .int(1) }
        if let scale { attributes["scale"] = .float(scale) }
        let form = Reference.Heads(q: heads, kv: heads, scale: scale.map(Double.init), causal: causal)
        var test = OperatorCase(
            "Attention", "com.microsoft, \(heads) heads\(causal ? ", causal" : "")", attributes,
            [
                .activation([batch, rows, width]), .constant([width, columns]),
                bias ? .constant([columns]) : .absent,
            ] + (term.map { [.absent, .absent, $0] } ?? [])
        ) { i in
            let product = Reference.matMul(i[0]!, i[1]!)
            let all = i[2].map { Reference.binary(product, $0, +) } ?? product
            var parts: [Tensor] = []
            var start = 0
            for size in sizes {
                let first = start
                parts.append(Tensor([batch, rows, size]) { all[[$0[0], $0[1], first + $0[2]]] })
                start += size
            }
            return Reference.attention(
                parts[0], parts[1], parts[2], mask: i.count > 5 ? i[5] : nil, form)
        }
        (test.domain, test.tolerance) = ("com.microsoft", 64)
        return test
    }

    private static func multiHead(
        _ inputs: [OperatorCase.Input], heads: Int = 2, _ title: String
    ) -> OperatorCase {
        var test = OperatorCase("MultiHeadAttention", title, ["num_heads": .int(heads)], inputs) { i in
            var parts = Array(i.prefix(3))
            let form = Reference.Heads(q: heads, kv: heads)
            if let all = i[0], all.dims.count == 5 {
                let size = all.dims[4]
                parts = (0..<3).map { part in
                    Tensor([all.dims[0], all.dims[1], heads * size]) {
                        all[[$0[0], $0[1], $0[2] / size, part, $0[2] % size]]
                    }
                }
            }
            if i.count > 3, let bias = i[3] {
                var start = 0
                for p in 0..<3 {
                    let first = start
                    parts[p] = Tensor(parts[p]!.dims) { parts[p]![$0] + bias[[first + $0[2]]] }
                    start += parts[p]!.dims[2]
                }
            }
            return Reference.attention(
                parts[0]!, parts[1]!, parts[2]!, mask: i.count > 5 ? i[5] : nil, form)
        }
        (test.domain, test.tolerance) = ("com.microsoft", 32)
        return test
    }

    private static let microsoftCases: [OperatorCase] = [
        microsoft(), microsoft(values: 3, causal: true), microsoft(bias: false, scale: 0.5),
        microsoft(term: .activation([1, 2, 5, 5])),
        multiHead(
            [.activation([2, 4, 16]), .activation([2, 7, 16]), .activation([2, 7, 6])], "separate"),
        multiHead(
            [
                .activation([2, 4, 16]), .activation([2, 4, 16]), .activation([2, 4, 16]), .constant([48]),
                .absent, .activation([2, 1, 4, 4]),
            ], "with biases"),
        multiHead([.activation([2, 5, 2, 3, 8])], "packed"),
    ]

    private static func rotary(
        _ x: [Int], heads: Int = 0, width: Int = 0, interleaved: Bool = false, batched: Bool = true
    ) -> OperatorCase {
        let (rows, size) = x.count == 4 ? (x[2], x[3]) : (x[1], x[2] / heads)
        let turned = width == 0 ? size : width
        let cache = [batched ? x[0] : 1, rows, turned / 2]
        return OperatorCase(
            "RotaryEmbedding", "\(heads) heads, \(interleaved ? "interleaved" : "halves") of \(turned)",
            opset: 23,
            [
                "num_heads": .int(heads), "rotary_embedding_dim": .int(width),
                "interleaved": .int(interleaved ? 1 : 0),
            ], [.activation(x), .constant(cache), .constant(cache)]
        ) { i in
            var y = i[0]!
            var place = 0
            forEachIndex(x) { index in
                defer { place += 1 }
                let (row, d) = x.count == 4 ? (index[2], index[3]) : (index[1], index[2] % size)
                guard d < turned else { return }
                let pair = interleaved ? d / 2 : d % (turned / 2)
                let isFirst = interleaved ? d % 2 == 0 : d < turned / 2
                var other = index
                other[x.count - 1] += (isFirst ? 1 : -1) * (interleaved ? 1 : turned / 2)
                let at = [batched ? index[0] : 0, row, pair]
                let (own, cross) = (i[0]![index] * i[1]![at], i[0]![other] * i[2]![at])
                y.values[place] = isFirst ? own - cross : own + cross
                y.magnitudes[place] = abs(own) + abs(cross)
            }
            return [y]
        }
    }

    private static let rotaryCases: [OperatorCase] = [
        rotary([2, 3, 5, 8]), rotary([2, 5, 24], heads: 3), rotary([2, 5, 24], heads: 3, interleaved: true),
        rotary([2, 3, 5, 10], width: 6, batched: false),
        rotary([2, 5, 20], heads: 2, width: 4, interleaved: true),
    ]

    /// Both operands computed.
    static func gemm(
        computed m: Int, _ k: Int, _ n: Int, c: [Int]? = nil, alpha: Float = 1, beta: Float = 1,
        transA: Bool = false, transB: Bool = false, adds: Bool = false, clip: Bounds? = nil
    ) -> OperatorCase {
        var test = OperatorCase(
            "Gemm", "computed B, α \(alpha), β \(beta), \(transA ? "Aᵀ" : "A") \(transB ? "Bᵀ" : "B")",
            [
                "alpha": .float(alpha), "beta": .float(beta), "transA": .int(transA ? 1 : 0),
                "transB": .int(transB ? 1 : 0),
            ],
            [.activation(transA ? [k, m] : [m, k]), .activation(transB ? [n, k] : [k, n])]
                + (c.map { [.activation($0)] } ?? [])
        ) {
            [Reference.gemm($0, alpha: Double(alpha), beta: Double(beta), transA: transA, transB: transB)]
        }
        (test.adds, test.clip) = (adds, clip)
        if adds { test.title += ", adds" }
        return test
    }

    /// Attention of random extents, heads and masks.
    static func randomAttention(_ random: inout SeededRandom) -> OperatorCase {
        func int(_ range: ClosedRange<Int>) -> Int { range.lowerBound + random.index(below: range.count) }
        func chance() -> Bool { random.index(below: 2) == 0 }
        let (kv, shared, batch) = (int(1...3), int(1...2), int(1...2))
        let (rows, columns) = (int(1...20), int(1...40))
        let past = chance() ? 0 : int(1...20)
        let dims = [chance() ? batch : 1, chance() ? kv * shared : 1, chance() ? rows : 1, past + columns]
        let mask = OperatorCase.Input.activation(Array(dims.dropFirst(int(0...2))))
        let causal = chance()
        var mode = chance() ? nil : int(0...3)
        // Scores that are masked are −∞, of which there are no differences.
        if causal, mode == 1 || mode == 2 { mode = 3 }
        return attention(
            batch: batch, heads: kv * shared, kv: kv, rows: rows, columns: columns, size: int(1...40),
            width: int(1...40), four: chance(), scale: chance() ? nil : 0.3, softcap: chance() ? 0 : 1.5,
            causal: causal, mode: mode, mask: chance() ? mask : nil, past: past)
    }

    private static let productCases: [OperatorCase] = [
        gemm(computed: 4, 20, 6), gemm(computed: 9, 33, 65, transA: true),
        gemm(computed: 33, 257, 31, c: [31], alpha: 0.5, beta: 2, transB: true),
        gemm(computed: 7, 513, 35, c: [7, 1], alpha: -1, transA: true, transB: true),
        gemm(computed: 5, 20, 6, c: [5, 6], beta: 0), gemm(computed: 5, 9, 6, adds: true, clip: .relu),
        matMul(.activation([2, 8, 16]), .activation([2, 16, 32])),
        matMul(.activation([2, 3, 17, 300]), .activation([2, 3, 300, 33])),
        matMul(.activation([3, 1, 9, 64]), .activation([1, 4, 64, 16])),
        matMul(.activation([5, 1, 7]), .activation([7, 40])),
        matMul(.constant([70, 40]), .activation([3, 40, 9])),
        matMul(.activation([3, 9, 40]), .constant([3, 40, 33])),
        matMul(.activation([2, 2, 2, 2, 3, 4]), .activation([2, 2, 2, 2, 4, 5])),
    ]
}
