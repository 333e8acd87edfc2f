// Normalisations, reductions and pools.

import Foundation
import Kernels
import TestSupport

extension Cases {
    static let normalisationCases: [OperatorCase] = [
        layerNormalisations, channelNormalisations, otherNormalisations, reductions, choices, norms,
    ].flatMap { $0 }

    // MARK: By mean and variance

    /// - Parameters:
    ///   - scale, bias: shapes.
    ///   - outputs: 1, or more with the statistics.
    static func layer(
        _ x: [Int], name: String = "LayerNormalization", axis: Int? = nil, scale: [Int]? = nil,
        bias: Bool = true,
        epsilon: Float? = nil, opset: Int = 17, outputs: Int = 1, fill: OperatorCase.Fill = .uniform(2)
    ) -> OperatorCase {
        let from = axis.map { $0 < 0 ? $0 + x.count : $0 } ?? x.count - 1
        let isCentred = name == "LayerNormalization"
        var attributes: [String: Attribute] = [:]
        if let axis { attributes["axis"] = .int(axis) }
        if let epsilon { attributes["epsilon"] = .float(epsilon) }
        let shape = scale ?? Array(x[from...])
        var test = OperatorCase(
            name,
            "axis \(axis.map(String.init) ?? "default")" + (epsilon.map { ", ε \($0)" } ?? "")
                + (outputs > 1 ? ", \(outputs) outputs" : ""),
            opset: opset, attributes,
            [.activation(x, fill), .constant(shape, .between(0.5, 2))]
                + (isCentred && bias ? [.constant(shape)] : []), outputs: outputs
        ) { inputs in
            let found = Reference.normalise(
                inputs[0]!, axes: Array(from..<x.count), scale: { inputs[1]!.broadcast($0) },
                bias: { inputs.count > 2 ? inputs[2]!.broadcast($0) : 0 }, epsilon: Double(epsilon ?? 1e-5),
                isCentred: isCentred)
            return isCentred
                ? Array([found.y, found.mean, found.inverse].prefix(outputs))
                : Array([found.y, found.inverse].prefix(outputs))
        }
        test.independent = x[0] == 5 && from > 0
        return test
    }

    static let layerNormalisations: [OperatorCase] = {
        var cases: [OperatorCase] = []
        // Around vectors of 4, 8 and 16, and blocks of four rows.
        for length in [1, 2, 3, 15, 16, 17, 31, 32, 33, 48, 65, 768] {
            for rows in [1, 3, 4, 9] where rows == 9 || length == 17 || length == 768 {
                // Of two or three numbers next to nothing of a gradient is left, unless ε is large.
                cases.append(layer([rows, length], epsilon: length < 4 ? 0.1 : nil))
            }
        }
        cases += [
            layer([5, 7, 40], axis: -1), layer([2, 197, 64], axis: 2, epsilon: 1e-6), layer([2, 3, 4, 5]),
            layer([2, 5, 3, 4], axis: 1), layer([2, 5, 3, 4], axis: -2), layer([2, 16, 3, 4], axis: 0),
            layer([2, 5, 4, 32], axis: 3), layer([1, 33, 2, 48]), layer([2, 2, 3, 4, 5], axis: -2),
            layer([2, 1, 2, 3, 2, 17], axis: 4), layer([4, 6], axis: 0, bias: false),
            layer([3, 20], scale: [1]), layer([3, 4, 20], axis: 1, scale: [4, 1]),
            layer([3, 4, 20], axis: 1, scale: [20]), layer([3, 4, 20], scale: [3, 1, 20]),
            layer([3, 20], bias: false, opset: 7), layer([3, 20], epsilon: 1, opset: 23),
            layer([3, 20], outputs: 2), layer([3, 4, 20], axis: 1, outputs: 3),
            layer([3, 20], fill: .between(10, 12)),
        ]
        for name in ["RMSNormalization", "SimplifiedLayerNormalization"] {
            cases += [
                layer([5, 33], name: name, opset: 23), layer([2, 5, 3, 4], name: name, axis: 1, opset: 23),
                layer([3, 7, 64], name: name, axis: -1, epsilon: 1e-3, opset: 24),
                layer([2, 3, 4, 17], name: name, axis: 2, opset: 23),
            ]
        }
        cases.append(layer([3, 20], name: "SimplifiedLayerNormalization", opset: 13, outputs: 2))
        for (simplified, outputs, term) in [
            (false, 1, false), (false, 4, true), (true, 1, true), (true, 1, false), (false, 1, true),
        ] {
            let c = 24
            var inputs: [OperatorCase.Input] = [
                .activation([2, 3, c]), .activation([2, 3, c]), .constant([c], .between(0.5, 2)),
            ]
            if !simplified { inputs.append(.constant([c])) }
            if term { inputs.append(.constant([c])) }
            var test =
                OperatorCase(
                    simplified ? "SkipSimplifiedLayerNormalization" : "SkipLayerNormalization",
                    "\(outputs) outputs" + (term ? ", bias" : ""), ["epsilon": .float(1e-5)], inputs,
                    outputs: outputs
                ) { inputs in
                    var sum = Reference.binary(inputs[0]!, inputs[1]!, +)
                    if term { sum = Reference.binary(sum, inputs.last!!, +) }
                    let found = Reference.normalise(
                        sum, axes: [2], scale: { inputs[2]!.broadcast($0) },
                        bias: { simplified ? 0 : inputs[3]!.broadcast($0) }, epsilon: 1e-5,
                        isCentred: !simplified)
                    sum.magnitudes = sum.magnitudes.map { $0 + 2 }
                    var all = [found.y, found.mean, found.inverse, sum]
                    // The sum's own rounding.
                    for i in all[0].magnitudes.indices { all[0].magnitudes[i] *= 2 }
                    return Array(all.prefix(outputs))
                }
            test.domain = "com.microsoft"
            cases.append(test)
        }
        return cases
    }()

    static func instance(_ x: [Int], epsilon: Float = 1e-5) -> OperatorCase {
        var test = OperatorCase(
            "InstanceNormalization", ["epsilon": .float(epsilon)],
            [.activation(x, .uniform(2)), .constant([x[1]], .between(0.5, 2)), .constant([x[1]])]
        ) { inputs in
            [
                Reference.normalise(
                    inputs[0]!, axes: Array(2..<x.count), scale: { inputs[1]!.values[$0[1]] },
                    bias: { inputs[2]!.values[$0[1]] }, epsilon: Double(epsilon)
                ).y
            ]
        }
        test.independent = x[0] == 5
        return test
    }

    static func group(_ x: [Int], _ groups: Int, opset: Int = 21) -> OperatorCase {
        let (count, size) = (opset < 21 ? groups : x[1], x[1] / groups)
        @Sendable func place(_ index: [Int]) -> Int { opset < 21 ? index[1] / size : index[1] }
        var test = OperatorCase(
            "GroupNormalization", "\(groups) groups", opset: opset, ["num_groups": .int(groups)],
            [.activation(x, .uniform(2)), .constant([count], .between(0.5, 2)), .constant([count])]
        ) { inputs in
            // Groups have a dimension of their own.
            let form = [x[0], groups, size, x[2...].reduce(1, *)]
            func channel(_ index: [Int]) -> [Int] { [index[0], index[1] * size + index[2]] }
            var y = Reference.normalise(
                Tensor(form, inputs[0]!.values), axes: [2, 3],
                scale: { inputs[1]!.values[place(channel($0))] },
                bias: { inputs[2]!.values[place(channel($0))] }, epsilon: Double(Float(1e-5))
            ).y
            y.dims = x
            return [y]
        }
        test.independent = x[0] == 5
        return test
    }

    static let channelNormalisations: [OperatorCase] = [
        instance([5, 17, 4, 3]), instance([2, 3, 5, 7]), instance([1, 48, 9, 8], epsilon: 1e-2),
        instance([2, 4, 37]), instance([1, 70, 2, 3]), instance([2, 3, 2, 3, 4]), instance([2, 16, 1, 5]),
        instance([2, 3, 2, 2, 2, 2]),
        group([5, 8, 4, 3], 2), group([2, 32, 5, 7], 2), group([1, 48, 3, 3], 3), group([2, 6, 5], 3),
        group([2, 6, 3, 2, 2], 1), group([2, 12, 3, 3], 12), group([2, 32, 3, 5], 1),
        group([2, 10, 3, 3], 5),
        group([5, 8, 4, 3], 2, opset: 18), group([2, 32, 5, 7], 2, opset: 20), group([2, 64, 7, 6], 4),
        group([3, 24], 3),
    ]

    static let otherNormalisations: [OperatorCase] = {
        var cases: [OperatorCase] = []
        for (x, axes) in [
            ([3, 5, 3, 4], nil), ([2, 33, 3, 4], [0, 2, 3]), ([2, 5, 3, 4], [1]), ([4, 20], [-1]),
            ([4, 20], [0]),
            ([2, 17, 5, 4], [0, 1]),
        ] as [([Int], [Int]?)] {
            cases.append(
                OperatorCase(
                    "MeanVarianceNormalization", "axes \(axes ?? [])", opset: 13,
                    axes.map { ["axes": .ints($0)] } ?? [:],
                    [.activation(x, .uniform(2))]
                ) {
                    [
                        Reference.normalise(
                            $0[0]!, axes: (axes ?? [0, 2, 3]).map { $0 < 0 ? $0 + x.count : $0 },
                            scale: { _ in 1 },
                            bias: { _ in 0 }, epsilon: 1e-9, isOutside: true
                        ).y
                    ]
                })
        }
        for (x, axis, p) in [
            ([3, 20], nil, nil), ([2, 5, 3, 4], 1, 2), ([2, 5, 3, 4], -1, 1), ([5, 33], 1, 1),
            ([4, 7], 0, 2),
        ] as [([Int], Int?, Int?)] {
            var attributes: [String: Attribute] = [:]
            if let axis { attributes["axis"] = .int(axis) }
            if let p { attributes["p"] = .int(p) }
            cases.append(
                OperatorCase(
                    "LpNormalization", "axis \(axis ?? -1), p \(p ?? 2)", attributes,
                    [.activation(x, .away(from: [0]))]
                ) {
                    let axis = (axis ?? -1) < 0 ? x.count - 1 : axis!
                    let norms = Reference.reduce($0[0]!, axes: [axis], power: Double(p ?? 2))
                    return [Reference.binary($0[0]!, norms, /)]
                })
        }
        return cases
    }()

    // MARK: Reductions

    private typealias Whole = @Sendable ([Double]) -> (value: Double, magnitude: Double)

    private static let kinds: [(name: String, fill: OperatorCase.Fill, f: Whole)] = [
        ("ReduceMax", .distinct, { ($0.max()!, abs($0.max()!)) }),
        ("ReduceMin", .distinct, { ($0.min()!, abs($0.min()!)) }),
        ("ReduceProd", .between(0.7, 1.3), { ($0.reduce(1, *), Double($0.count) * abs($0.reduce(1, *))) }),
        ("ReduceL1", .away(from: [0]), { ($0.map(abs).reduce(0, +), $0.map(abs).reduce(0, +)) }),
        (
            "ReduceL2", .uniform(2),
            {
                let s = $0.map { $0 * $0 }.reduce(0, +).squareRoot()
                return (s, s)
            }
        ),
        (
            "ReduceSumSquare", .uniform(2),
            {
                let s = $0.map { $0 * $0 }.reduce(0, +)
                return (s, s)
            }
        ),
        (
            "ReduceLogSum", .between(0.2, 3),
            {
                let s = log($0.reduce(0, +))
                return (s, abs(s) + 1)
            }
        ),
        (
            "ReduceLogSumExp", .uniform(4),
            {
                let s = log($0.map(exp).reduce(0, +))
                return (s, abs(s) + abs($0.max()!) * 2 + 1)
            }
        ),
    ]

    static func reduction(
        of x: [Int], _ axes: [Int]?, keep: Bool = true, opset: Int = 18, noop: Bool = false, only: Int? = nil
    ) -> [OperatorCase] {
        kinds.enumerated().filter { only == nil || $0.offset == only! % kinds.count }.map { _, kind in
            var attributes: [String: Attribute] = ["keepdims": .int(keep ? 1 : 0)]
            if noop { attributes["noop_with_empty_axes"] = .int(1) }
            var inputs: [OperatorCase.Input] = [.activation(x, kind.fill)]
            if let axes {
                if opset >= 18 { inputs.append(.ints(axes)) } else { attributes["axes"] = .ints(axes) }
            }
            let all = axes ?? (noop ? [] : Array(x.indices))
            return OperatorCase(
                kind.name, keep ? "keeps, axes \(all)" : "axes \(all)", opset: opset, attributes, inputs
            ) { [Reference.reduce($0[0]!, axes: all, keep: keep, kind.f)] }
        }
    }

    static let reductions: [OperatorCase] = {
        var cases: [OperatorCase] = []
        for keep in [true, false] {
            cases += reduction(of: [2, 5, 3, 4], [2, 3], keep: keep)
            cases += reduction(of: [2, 5, 3, 4], [-3], keep: keep, opset: 13)
            cases += reduction(of: [3, 40], [1], keep: keep)
            cases += reduction(of: [40, 35], [0], keep: keep, opset: 20)
        }
        cases += reduction(of: [2, 5, 3, 4], nil, keep: false)
        cases += reduction(of: [2, 5, 3, 4], nil, opset: 11)
        cases += reduction(of: [2, 33], nil, noop: true)
        cases += reduction(of: [2, 3, 2, 3, 2, 3], [1, 4])
        // A product in which there are zeros.
        cases.append(
            OperatorCase(
                "ReduceProd", "zeros",
                [.activation([3, 4], .exactly([1, 2, 0, 3, 0, 5, 0, 1, 2, 2, 1.5, -1])), .ints([1])]
            ).with(opset: 18) {
                [Reference.reduce($0[0]!, axes: [1], keep: true) { ($0.reduce(1, *), abs($0.reduce(1, *))) }]
            })
        return cases
    }()

    // MARK: Choices

    static func choice(
        _ name: String, _ x: [Int], axis: Int?, keep: Bool = true, last: Bool = false, opset: Int = 13,
        fill: OperatorCase.Fill = .distinct
    ) -> OperatorCase {
        var attributes: [String: Attribute] = ["keepdims": .int(keep ? 1 : 0)]
        if let axis { attributes["axis"] = .int(axis) }
        if last { attributes["select_last_index"] = .int(1) }
        let along = axis.map { $0 < 0 ? $0 + x.count : $0 } ?? 0
        return OperatorCase(
            name, "axis \(along)" + (keep ? ", keeps" : "") + (last ? ", last" : ""), opset: opset,
            attributes,
            [.activation(x, fill)]
        ) {
            [
                Reference.reduce($0[0]!, axes: [along], keep: keep) { row in
                    let best = name == "ArgMax" ? row.max()! : row.min()!
                    let at = Double((last ? row.lastIndex(of: best) : row.firstIndex(of: best))!)
                    return (at, at)
                }
            ]
        }
    }

    static let choices: [OperatorCase] = {
        var cases: [OperatorCase] = []
        let ties = OperatorCase.Fill.exactly([1, 3, 3, 0, 2, 2, 1, 1, -1, -1, 4, -1])
        for name in ["ArgMax", "ArgMin"] {
            for last in [false, true] {
                cases.append(choice(name, [3, 4], axis: 1, last: last, fill: ties))
                cases.append(choice(name, [2, 5, 3, 4], axis: -1, keep: last, last: last))
            }
            cases += [
                choice(name, [2, 5, 3, 4], axis: nil, opset: 7),
                choice(name, [2, 5, 3, 4], axis: 1, keep: false),
                choice(name, [5, 1000], axis: 1), choice(name, [17], axis: 0, keep: false),
            ]
        }
        for (x, axis, k, smallest, opset) in [
            ([3, 10], nil, 3, false, 11), ([2, 5, 3, 4], 1, 5, false, 13), ([2, 5, 3, 4], -2, 1, true, 24),
            ([5, 100], 1, 5, false, 10), ([4, 9], 0, 2, false, 7), ([2, 3, 2, 4, 2], 3, 2, true, 11),
        ] as [([Int], Int?, Int, Bool, Int)] {
            var attributes: [String: Attribute] = [:]
            if let axis { attributes["axis"] = .int(axis) }
            if smallest { attributes["largest"] = .int(0) }
            if opset < 10 { attributes["k"] = .int(k) }
            let along = axis.map { $0 < 0 ? $0 + x.count : $0 } ?? x.count - 1
            for outputs in [1, 2] where outputs == 2 || opset == 11 {
                cases.append(
                    OperatorCase(
                        "TopK", "\(k) along \(along), \(outputs) outputs", opset: opset, attributes,
                        [.activation(x, .distinct)] + (opset < 10 ? [] : [.ints([k])]), outputs: outputs
                    ) { Array(Reference.top($0[0]!, axis: along, k: k, smallest: smallest).prefix(outputs)) })
            }
        }
        for (x, axis, opset) in [
            ([3, 10], nil, 13), ([2, 5, 3, 4], 1, 13), ([2, 5, 3, 4], 2, 11), ([5, 6], nil, 7),
        ]
            as [([Int], Int?, Int)]
        {
            cases.append(
                OperatorCase(
                    "Hardmax", "axis \(axis.map(String.init) ?? "default")", opset: opset,
                    axis.map { ["axis": .int($0)] } ?? [:], [.activation(x, .distinct)]
                ) { inputs in
                    let from = axis ?? (opset < 13 ? 1 : x.count - 1)
                    let row = opset < 13 ? Array(from..<x.count) : [from]
                    let best = Reference.reduce(inputs[0]!, axes: row, keep: true) { ($0.max()!, 0) }
                    return [Reference.binary(inputs[0]!, best) { $0 == $1 ? 1 : 0 }]
                })
        }
        return cases
    }()

    // MARK: Norms of windows and images

    static let norms: [OperatorCase] = {
        var cases: [OperatorCase] = []
        for (title, p, x, window, opset) in [
            (
                "p 1", 1, [2, 5, 6, 7],
                Reference.Window(kernel: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1]), 11
            ),
            ("p 3", 3, [1, 17, 6, 5], Reference.Window(kernel: [2, 3]), 18),
            ("dilations", 2, [1, 4, 9, 8], Reference.Window(kernel: [2, 3], dilations: [2, 2]), 18),
        ] as [(String, Int, [Int], Reference.Window, Int)] {
            let attributes: [String: Attribute] = [
                "kernel_shape": .ints(window.kernel), "strides": .ints(window.strides),
                "pads": .ints(window.pads),
                "p": .int(p), "dilations": .ints(window.dilations),
            ]
            cases.append(
                OperatorCase("LpPool", title, opset: opset, attributes, [.activation(x, .away(from: [0]))]) {
                    [Reference.normPool($0[0]!, window, p: Double(p))]
                })
        }
        for (x, p) in [([5, 17, 4, 3], nil), ([2, 3, 7], 1), ([2, 3, 2, 3, 2], 3)] as [([Int], Int?)] {
            cases.append(
                OperatorCase(
                    "GlobalLpPool", "p \(p ?? 2)", p.map { ["p": .int($0)] } ?? [:],
                    [.activation(x, .away(from: [0]))]
                ) { [Reference.reduce($0[0]!, axes: Array(2..<x.count), power: Double(p ?? 2))] })
            cases.append(
                OperatorCase("GlobalAveragePool", "\(x.count - 2) axes", [.activation(x)]) {
                    [Reference.reduce($0[0]!, axes: Array(2..<x.count), keep: true, mean: true)]
                })
            cases.append(
                OperatorCase("GlobalMaxPool", "\(x.count - 2) axes", [.activation(x, .distinct)]) {
                    [
                        Reference.reduce($0[0]!, axes: Array(2..<x.count), keep: true) {
                            ($0.max()!, abs($0.max()!))
                        }
                    ]
                })
        }
        return cases
    }()

    // MARK: Random uses

    /// Every tenth of the random cases.
    static func randomNormalisation(_ number: Int, _ random: inout SeededRandom) -> OperatorCase? {
        guard number % 10 == 7 else { return nil }
        func int(_ range: ClosedRange<Int>) -> Int { range.lowerBound + random.index(below: range.count) }
        let rank = int(2...5)
        let x = (0..<rank).map { _ in random.index(below: 5) == 0 ? int(15...34) : int(1...6) }
        switch int(0...5) {
        case 0, 1:
            return layer(
                x, name: ["LayerNormalization", "RMSNormalization"][int(0...1)], axis: int(-rank...rank - 1),
                bias: int(0...1) == 0, epsilon: 1e-3, opset: 23)
        case 2: return instance(rank == 2 ? x + [int(2...40)] : x, epsilon: 1e-3)
        case 3:
            let groups = [1, 2, 3, 4][int(0...3)]
            return group([x[0], groups * int(1...9)] + (rank == 2 ? [int(2...9)] : Array(x[2...])), groups)
        case 4:
            let axes = x.indices.filter { _ in int(0...1) == 0 }
            return reduction(of: x, axes.isEmpty ? nil : axes, keep: int(0...1) == 0, only: int(0...7))[0]
        default:
            return choice(
                ["ArgMax", "ArgMin"][int(0...1)], x, axis: int(-rank...rank - 1), keep: int(0...1) == 0,
                last: int(0...1) == 0)
        }
    }
}

extension OperatorCase {
    /// The same with another reference, in another operator set.
    fileprivate func with(opset: Int, _ reference: @escaping Exact) -> OperatorCase {
        var test = self
        (test.opset, test.reference) = (opset, reference)
        return test
    }

    /// Without one yet.
    fileprivate init(_ name: String, _ title: String, _ inputs: [Input]) {
        self.init(name, title, inputs) { _ in [] }
    }
}

extension Reference {
    /// Rows over axes, by their mean and variance.
    static func normalise(
        _ x: Tensor, axes: [Int], scale: ([Int]) -> Double, bias: ([Int]) -> Double, epsilon: Double,
        isCentred: Bool = true, isOutside: Bool = false
    ) -> (y: Tensor, mean: Tensor, inverse: Tensor) {
        let mean = reduce(x, axes: axes, keep: true) { row in
            let sum = isCentred ? row.reduce(0, +) : 0
            return (sum / Double(row.count), row.map(abs).reduce(0, +) / Double(row.count))
        }
        let inverse = reduce(x, axes: axes, keep: true) { row in
            let mean = isCentred ? row.reduce(0, +) / Double(row.count) : 0
            let variance = row.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(row.count)
            let value =
                isOutside ? 1 / (variance.squareRoot() + epsilon) : 1 / (variance + epsilon).squareRoot()
            // What the mean's rounding does to it.
            let size = row.map(abs).max()!
            return (value, value * (1 + size * value))
        }
        var y = Tensor(zeros: x.dims)
        var i = 0
        forEachIndex(x.dims) { index in
            let (m, r) = (mean.broadcast(index), inverse.broadcast(index))
            y.values[i] = (x[index] - m) * r * scale(index) + bias(index)
            y.magnitudes[i] =
                (abs(x[index]) + abs(m) + 1 / r * 0.01) * r * (1 + r * 0.1) * abs(scale(index))
                + abs(bias(index))
            i += 1
        }
        return (y, mean, inverse)
    }

    /// Any function of the numbers along axes.
    static func reduce(
        _ x: Tensor, axes: [Int], keep: Bool, _ f: ([Double]) -> (value: Double, magnitude: Double)
    ) -> Tensor {
        let axes = axes.map { $0 < 0 ? $0 + x.dims.count : $0 }.sorted()
        let kept = x.dims.indices.map { axes.contains($0) ? 1 : x.dims[$0] }
        var y = Tensor(zeros: kept)
        var i = 0
        forEachIndex(kept) { index in
            var row: [Double] = []
            forEachIndex(axes.map { x.dims[$0] }) { at in
                var index = index
                for (axis, i) in zip(axes, at) { index[axis] = i }
                row.append(x[index])
            }
            (y.values[i], y.magnitudes[i]) = f(row)
            i += 1
        }
        if !keep { y.dims = x.dims.indices.filter { !axes.contains($0) }.map { x.dims[$0] } }
        return y
    }

    static func reduce(_ x: Tensor, axes: [Int], power p: Double) -> Tensor {
        reduce(x, axes: axes, keep: true) { row in
            let norm = pow(row.map { pow(abs($0), p) }.reduce(0, +), 1 / p)
            return (norm, norm * p)
        }
    }

    static func top(_ x: Tensor, axis: Int, k: Int, smallest: Bool) -> [Tensor] {
        var dims = x.dims
        dims[axis] = k
        func order(_ index: [Int]) -> (Double, Int) {
            let row = (0..<x.dims[axis]).map { i -> (Double, Int) in
                var at = index
                at[axis] = i
                return (x[at], i)
            }
            return row.sorted { smallest ? $0 < $1 : ($0.0, $1.1) > ($1.0, $0.1) }[index[axis]]
        }
        return [Tensor(dims) { order($0).0 }, Tensor(dims) { Double(order($0).1) }]
    }

    static func normPool(_ x: Tensor, _ w: Window, p: Double) -> Tensor {
        let powers = unary(x) { pow(abs($0), p) }
        // A mean with pads of 0, times as many cells.
        let count = Double(w.kernel.reduce(1, *))
        let mean = averagePool(powers, w, countPads: true)
        return unary(mean, { pow($0 * count, 1 / p) }, magnitude: { pow($0 * count, 1 / p) * 2 })
    }
}
