// Layer-wise relevance propagation and DeepLIFT: exact numbers, the rules in double precision from their formulas, sums that are kept through each
// kind of operator.

import Explain
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

/// A network under construction, with random weights of its name; each method adds a node and gives the name of its value.
private struct Builder {
    var builder: ONNXBuilder
    var random: SeededRandom
    private var count = 0

    init(_ name: String, input: [ONNXDimension], opset: Int = 17) {
        (builder, random) = (ONNXBuilder(name: name, opset: opset), SeededRandom(name))
        builder.input("x", input)
    }

    mutating func floats(_ dims: [Int], _ low: Float = -1, _ high: Float = 1) -> String {
        constant(dims, (0..<dims.reduce(1, *)).map { _ in random.float(low, high) })
    }
    mutating func constant(_ dims: [Int], _ numbers: [Float]) -> String {
        count += 1
        builder.initializer("c\(count)", dims, floats: numbers)
        return "c\(count)"
    }
    mutating func ints(_ numbers: [Int64]) -> String {
        count += 1
        builder.initializer("c\(count)", [numbers.count], ints: numbers)
        return "c\(count)"
    }
    mutating func node(_ type: String, _ inputs: [String], _ attributes: [String: ONNXAttribute] = [:])
        -> String
    {
        count += 1
        builder.node(type, inputs, ["v\(count)"], attributes, name: "\(type)\(count)")
        return "v\(count)"
    }
    mutating func conv(
        _ x: String, _ channels: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1, bias: Bool = true
    ) -> String {
        let bound = (3 / Float(channels * kernel * kernel)).squareRoot()
        let pad = kernel / 2
        return node(
            "Conv",
            [x, floats([outputs, channels, kernel, kernel], -bound, bound)]
                + (bias ? [floats([outputs], -0.2, 0.2)] : []),
            ["pads": .ints([pad, pad, pad, pad]), "strides": .ints([stride, stride])])
    }
    mutating func norm(_ x: String, _ channels: Int) -> String {
        node(
            "BatchNormalization",
            [
                x, floats([channels], -1.5, 1.5), floats([channels], -0.4, 0.4),
                floats([channels], -0.4, 0.4),
                floats([channels], 0.4, 1.6),
            ])
    }
    mutating func relu(_ x: String) -> String { node("Relu", [x]) }
    mutating func scores(_ x: String, _ terms: Int, _ columns: Int = 3) -> String {
        let flat = node("Flatten", [x])
        return node("Gemm", [flat, floats([columns, terms]), floats([columns], -0.2, 0.2)], ["transB": 1])
    }
    mutating func finished(_ scores: String, _ columns: Int = 3) -> ONNXBuilder {
        builder.output(scores, ["N", .fixed(columns)])
        return builder
    }
}

/// One explanation of class 0.
private func explain(
    _ builder: ONNXBuilder, _ picture: [Float], _ method: String, _ settings: [String: String],
    _ change: (inout Options) -> Void = { _ in }
) throws -> Explanation {
    let model = try Model(Network(builder.model()), preprocessing: "none")
    var options = Options()
    (options.device, options.classChoice, options.batch) = (.cpu, .index(0), 1)
    (options.methods, options.settings) = ([method], [method: settings])
    change(&options)
    return try ExplanationSession(model, options: options).explain(.array(picture, name: "numbers"))
        .explanations[0]
}

private func close(_ found: [Float], _ expected: [Double], within tolerance: Double = 1e-4) -> Bool {
    let range = max(1e-20, expected.map(abs).max() ?? 0)
    return found.count == expected.count
        && zip(found, expected).allSatisfy { abs(Double($0) - $1) <= tolerance * range }
}

private func picture(_ name: String, _ count: Int) -> [Float] {
    var random = SeededRandom(name)
    return (0..<count).map { _ in random.float(-1, 1) }
}

// MARK: -

@Suite struct RelevanceTests {
    /// Linear 3→3 (weights 2), ReLU, Linear 3→1 (weights 3), without biases; its input is [1, 2, 3].
    private func dense(_ first: Float) -> ONNXBuilder {
        var net = Builder("dense", input: ["N", 3, 1, 1])
        let flat = net.node("Flatten", ["x"])
        let hidden = net.node(
            "Gemm", [flat, net.constant([3, 3], [first] + Array(repeating: 2, count: 8))], ["transB": 1])
        let score = net.node(
            "Gemm", [net.relu(hidden), net.constant([1, 3], [3, 3, 3])], ["transB": 1])
        return net.finished(score, 1)
    }

    /// A layer over three channels of one pixel gives one number for the pixel; so each channel's is found with the others' weights in it,
    /// from the engine.
    private func channels(_ builder: ONNXBuilder, _ rule: RelevanceRule, on device: Device) throws -> [Float]
    {
        let network = try Network(builder.model())
        var spec = PassSpec(batch: 1)
        (spec.stored, spec.gradients) = ([network.logitsName], ["x"])
        spec.add(rule: rule)
        let pass = try Engine(network, on: LoadedDevice(device)).pass(spec)
        try pass.feed([1, 2, 3])
        try pass.forward()
        try pass.backward(try pass.stored(network.logitsName)!)
        return try pass.gradient("x")!
    }

    private func rule(_ layers: LayerRule, gamma: Float = 0.25) -> RelevanceRule {
        RelevanceRule(
            convolutions: layers, dense: layers, epsilon: 1e-9, gamma: gamma, stabiliser: 1e-9)
    }

    @Test func exactNumbers() throws {
        for device in Devices.all.map(\.device) {
            let epsilon = try channels(dense(2), rule(.epsilon), on: device)
            #expect(close(epsilon, [18, 36, 54], within: 1e-6))
            let alpha = try channels(dense(-2), rule(.zPlus), on: device)
            #expect(close(alpha, [12, 33.6, 50.4], within: 1e-6))
            // 12 − 24 · 2/10.5, 24 + 24 · 5/10.5, 36 + 24 · 7.5/10.5; with γ = 1 those are 2/18, 8/18, 12/18.
            let quarter = try channels(dense(-2), rule(.gamma), on: device)
            #expect(close(quarter, [52.0 / 7, 248.0 / 7, 372.0 / 7], within: 1e-6))
            let gamma = try channels(dense(-2), rule(.gamma, gamma: 1), on: device)
            #expect(close(gamma, [28.0 / 3, 104.0 / 3, 52], within: 1e-6))
        }
    }

    // MARK: Rules from their formulas

    /// A layer as a matrix, in double precision.
    private struct Matrix {
        var weights: [[Double]]  // [output][input]
        var bias: [Double]
        /// A bit for each weight that there is; the others are where a window does not reach.
        var reaches: [[Bool]]
    }

    /// The relevance of a layer's inputs.
    private func shared(
        _ rule: LayerRule, _ m: Matrix, _ a: [Double], _ r: [Double], gamma: Double, low: Double, high: Double
    ) -> [Double] {
        var shares = [Double](repeating: 0, count: a.count)
        for j in r.indices {
            let (w, b) = (m.weights[j], m.bias[j])
            func give(_ parts: [Double], _ bias: Double, _ factor: Double = 1) {
                let whole = parts.reduce(bias, +)
                let divisor = whole < 0 ? whole - 1e-6 : whole + 1e-6
                for i in a.indices { shares[i] += factor * parts[i] * r[j] / divisor }
            }
            let terms = a.indices.map { a[$0] * w[$0] }
            switch rule {
            case .epsilon: give(terms, b)
            case .zPlus: give(terms.map { max($0, 0) }, max(b, 0))
            case .alpha2Beta1:
                give(terms.map { max($0, 0) }, max(b, 0), 2)
                give(terms.map { min($0, 0) }, min(b, 0), -1)
            case .gamma:
                // What has the sign of the output counts more.
                let z = terms.reduce(b, +)
                func more(_ v: Double) -> Double { v * z > 0 ? (1 + gamma) * v : v }
                if z != 0 { give(terms.map(more), more(b)) }
            case .zBox:
                give(
                    a.indices.map { terms[$0] - low * max(w[$0], 0) - high * min(w[$0], 0) }.enumerated().map
                    {
                        m.reaches[j][$0.offset] ? $0.element : 0
                    }, 0)
            case .wSquare: give(w.map { $0 * $0 }, 0)
            case .flat: give(m.reaches[j].map { $0 ? 1 : 0 }, 0)
            }
        }
        return shares
    }

    /// A convolution of [channels, size, size] as a matrix.
    private func matrix(
        _ weights: [Float], _ bias: [Float], channels: Int, size: Int, kernel: Int, stride: Int, pad: Int
    ) -> (Matrix, size: Int) {
        let (outputs, out) = (bias.count, (size + 2 * pad - kernel) / stride + 1)
        let inputs = channels * size * size
        var m = Matrix(weights: [], bias: [], reaches: [])
        for o in 0..<outputs {
            for place in 0..<out * out {
                var (row, reaches) = (
                    [Double](repeating: 0, count: inputs), [Bool](repeating: false, count: inputs)
                )
                for c in 0..<channels {
                    for tap in 0..<kernel * kernel {
                        let y = place / out * stride - pad + tap / kernel
                        let x = place % out * stride - pad + tap % kernel
                        guard (0..<size).contains(y), (0..<size).contains(x) else { continue }
                        row[(c * size + y) * size + x] = Double(
                            weights[(o * channels + c) * kernel * kernel + tap])
                        reaches[(c * size + y) * size + x] = true
                    }
                }
                m.weights.append(row)
                m.bias.append(Double(bias[o]))
                m.reaches.append(reaches)
            }
        }
        return (m, out)
    }

    /// Convolutions with and without strides and a dense layer, of inputs of both signs, by each composite.
    @Test(arguments: LRP.Composite.allCases)
    func rulesFromTheirFormulas(_ composite: LRP.Composite) throws {
        var random = SeededRandom("rules")
        func numbers(_ count: Int, _ bound: Float) -> [Float] {
            (0..<count).map { _ in random.float(-bound, bound) }
        }
        let (w1, b1) = (numbers(4 * 3 * 9, 0.4), numbers(4, 0.2))
        let (w2, b2) = (numbers(5 * 4 * 9, 0.4), numbers(5, 0.2))
        let (w3, b3) = (numbers(3 * 5 * 9, 0.4), numbers(3, 0.2))
        var net = Builder("rules", input: ["N", 3, 6, 6])
        let one = net.relu(
            net.node(
                "Conv", ["x", net.constant([4, 3, 3, 3], w1), net.constant([4], b1)],
                ["pads": [1, 1, 1, 1], "strides": [2, 2]]))
        let two = net.relu(
            net.node(
                "Conv", [one, net.constant([5, 4, 3, 3], w2), net.constant([5], b2)], ["pads": [1, 1, 1, 1]]))
        let scores = net.node(
            "Gemm", [net.node("Flatten", [two]), net.constant([3, 45], w3), net.constant([3], b3)],
            ["transB": 1])
        let builder = net.finished(scores)

        let (m1, _) = matrix(w1, b1, channels: 3, size: 6, kernel: 3, stride: 2, pad: 1)
        let (m2, _) = matrix(w2, b2, channels: 4, size: 3, kernel: 3, stride: 1, pad: 1)
        let m3 = Matrix(
            weights: (0..<3).map { o in (0..<45).map { Double(w3[o * 45 + $0]) } }, bias: b3.map(Double.init),
            reaches: Array(repeating: Array(repeating: true, count: 45), count: 3))
        func forward(_ m: Matrix, _ a: [Double]) -> [Double] {
            m.bias.indices.map { j in zip(m.weights[j], a).reduce(m.bias[j]) { $0 + $1.0 * $1.1 } }
        }
        // With preparation “none” a pixel is 0 … 255.
        let x = picture("rules", 108).map { ($0 + 1) * 100 }
        let a0 = x.map(Double.init)
        let a1 = forward(m1, a0).map { max($0, 0) }
        let a2 = forward(m2, a1).map { max($0, 0) }
        let score = forward(m3, a2)[0]
        let rules = composite.rules
        func back(_ rule: LayerRule, _ m: Matrix, _ a: [Double], _ r: [Double]) -> [Double] {
            shared(rule, m, a, r, gamma: 0.25, low: 0, high: 255)
        }
        let r2 = back(rules.dense, m3, a2, [score, 0, 0])
        let r1 = back(rules.convolutions, m2, a1, r2)
        let r0 = back(rules.first ?? rules.convolutions, m1, a0, r1)
        let expected = (0..<36).map { (i: Int) -> Double in r0[i] + r0[36 + i] + r0[72 + i] }
        let found = try explain(builder, x, "lrp", ["composite": composite.rawValue])
        #expect(close(found.map.values, expected, within: 1e-3), "\(composite)")
        #expect(abs(Double(found.completeness!.expected) - score) < 1e-3 * abs(score))
    }

    // MARK: Sums

    /// Networks with each kind of operator.
    static let networks = ["residual", "pools", "gates", "normalisations", "parts", "attention"]

    static func network(_ name: String) -> ONNXBuilder {
        var n = Builder(name, input: ["N", 3, 8, 8])
        switch name {
        case "residual":
            let a = n.relu(n.norm(n.conv("x", 3, 6, bias: false), 6))
            let b = n.norm(n.conv(n.relu(n.norm(n.conv(a, 6, 6, bias: false), 6)), 6, 6, bias: false), 6)
            let c = n.relu(n.node("Add", [b, a]))
            let d = n.relu(
                n.node("Add", [n.conv(c, 6, 8, stride: 2), n.conv(c, 6, 8, kernel: 1, stride: 2)]))
            let e = n.node("Sum", [d, n.conv(d, 8, 8), n.node("Identity", [d])])
            return n.finished(n.scores(n.node("GlobalAveragePool", [e]), 8))
        case "pools":
            let a = n.node(
                "MaxPool", [n.relu(n.conv("x", 3, 6))],
                ["kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]])
            let b = n.node(
                "AveragePool", [n.conv(a, 6, 6)],
                ["kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]])
            let c = n.node("LeakyRelu", [b], ["alpha": 0.1])
            let d = n.node(
                "Add", [n.node("GlobalMaxPool", [c]), n.node("ReduceMean", [c], ["axes": [2, 3]])])
            return n.finished(n.scores(d, 6))
        case "gates":
            let a = n.node("HardSwish", [n.conv("x", 3, 6)])
            let b = n.conv(a, 6, 6)
            let c = n.node("Mul", [b, n.node("Sigmoid", [b])])
            let gate = n.node(
                "Sigmoid",
                [n.conv(n.relu(n.conv(n.node("GlobalAveragePool", [c]), 6, 2, kernel: 1)), 2, 6, kernel: 1)])
            return n.finished(n.scores(n.node("Mul", [gate, c]), 6 * 64))
        case "normalisations":
            let a = n.relu(n.norm("x", 3))
            let b = n.node(
                "Mul", [n.node("Sub", [n.conv(a, 3, 4), n.constant([1], [0.3])]), n.constant([1], [-0.7])])
            let c = n.relu(n.norm(n.node("Tanh", [b]), 4))
            let d = n.node("MatMul", [n.node("Flatten", [c]), n.floats([256, 10], -0.2, 0.2)])
            let e = n.relu(n.node("Add", [d, n.floats([10])]))
            return n.finished(n.node("Gemm", [e, n.floats([3, 10]), n.floats([3])], ["transB": 1]))
        case "parts":
            let a = n.relu(n.conv("x", 3, 6))
            let b = n.node(
                "Concat",
                [n.relu(n.conv(a, 6, 4)), n.node("Slice", [a, n.ints([2]), n.ints([6]), n.ints([1])])],
                ["axis": 1])
            let c = n.node("Pad", [b, n.ints([0, 0, 1, 1, 0, 0, 1, 1])], ["mode": "reflect"])
            let d = n.node("Transpose", [n.conv(c, 8, 4, stride: 2)], ["perm": [0, 2, 3, 1]])
            return n.finished(n.scores(n.node("Elu", [d]), 5 * 5 * 4))
        default:
            let a = n.node("Reshape", [n.relu(n.conv("x", 3, 6)), n.ints([0, 6, 64])])
            let b = n.node("MatMul", [a, n.node("Transpose", [a], ["perm": [0, 2, 1]])])
            let c = n.node(
                "Div",
                [
                    b,
                    n.node(
                        "Add",
                        [n.node("ReduceMean", [n.node("Abs", [b])], ["axes": [2]]), n.constant([1], [1])]),
                ])
            return n.finished(n.scores(c, 36))
        }
    }

    /// Where biases take nothing, nothing is lost on the way from the score to the pixels.
    @Test(arguments: networks)
    func keepTheSum(_ name: String) throws {
        for composite in ["epsilon-plus", "gamma", "epsilon", "excitation-backprop", "epsilon-plus-flat"] {
            let found = try explain(
                Self.network(name), picture(name, 192), "lrp",
                ["composite": composite, "bias": "ignored", "epsilon": "1e-9", "stabilizer": "1e-9"])
            let whole = try #require(found.completeness)
            #expect((whole.error ?? 1) < 2e-3 && whole.absorbedBy == nil, "\(name), \(composite): \(whole)")
            #expect(found.map.values.contains { $0 != 0 })
        }
    }

    /// Of normalisations that take the mean off, the division passes relevance on whole, and the rest is a linear layer: x (u − the mean of u over the row), with
    /// u = scale c / deviation and c = R / y, as the formulas have it in double precision.
    @Test(
        arguments: [
            "LayerNormalization", "InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization",
        ], [false, true])
    func meansAreLinear(_ type: String, _ biasIsIgnored: Bool) throws {
        let (channels, side) = (3, 4)
        let count = channels * side * side
        var random = SeededRandom(type)
        func numbers(_ count: Int, _ low: Float, _ high: Float) -> [Float] {
            (0..<count).map { _ in random.float(low, high) }
        }
        let own = type == "LayerNormalization" ? side : channels
        let (scale, shift) = (numbers(own, 0.5, 1.5), numbers(own, -0.5, 0.5))
        let (weights, bias) = (numbers(3 * count, -1, 1), numbers(3, -0.5, 0.5))
        let x = numbers(count, -1, 1)

        var n = Builder(type, input: ["N", 3, 4, 4], opset: 21)
        let parameters = [n.constant([own], scale), n.constant([own], shift)]
        let hasBias = type != "MeanVarianceNormalization"
        let normalised =
            switch type {
            case "LayerNormalization": n.node(type, ["x"] + parameters, ["epsilon": 1e-5])
            case "GroupNormalization": n.node(type, ["x"] + parameters, ["num_groups": 1, "epsilon": 1e-5])
            case "InstanceNormalization": n.node(type, ["x"] + parameters, ["epsilon": 1e-5])
            default: n.node(type, ["x"], ["axes": [2, 3]])
            }
        let scores = n.node(
            "Gemm",
            [n.node("Flatten", [normalised]), n.constant([3, count], weights), n.constant([3], bias)],
            ["transB": 1])
        let found = try explain(
            n.finished(scores), x, "lrp",
            [
                "composite": "epsilon", "bias": biasIsIgnored ? "ignored" : "absorbs", "epsilon": "1e-12",
                "stabilizer": "1e-12",
            ])

        // The rows, and the number of the scale of each element.
        let (row, place): ((Int) -> Int, (Int) -> Int) =
            switch type {
            case "LayerNormalization": ({ $0 / side }, { $0 % side })
            case "GroupNormalization": ({ _ in 0 }, { $0 / (side * side) })
            default: ({ $0 / (side * side) }, { $0 / (side * side) })
            }
        func mean(_ values: [Double]) -> [Double] {
            let sums = Dictionary(grouping: 0..<count, by: row).mapValues { members in
                members.reduce(0) { $0 + values[$1] } / Double(members.count)
            }
            return (0..<count).map { sums[row($0)]! }
        }
        let numbersOfX = x.map(Double.init)
        let centred = zip(numbersOfX, mean(numbersOfX)).map { $0 - $1 }
        let variance = mean(centred.map { $0 * $0 })
        let deviation = variance.map { hasBias ? ($0 + 1e-5).squareRoot() : $0.squareRoot() + 1e-9 }
        func factor(_ i: Int) -> Double { hasBias ? Double(scale[place(i)]) : 1 }
        let unbiased = (0..<count).map { centred[$0] / deviation[$0] * factor($0) }
        let y = (0..<count).map { unbiased[$0] + (hasBias ? Double(shift[place($0)]) : 0) }
        let parts = (0..<count).map { y[$0] * Double(weights[$0]) }
        let sum = parts.reduce(0, +)
        let score = sum + Double(bias[0])
        let relevance = parts.map { biasIsIgnored ? $0 * score / sum : $0 }
        let u = (0..<count).map {
            relevance[$0] / (biasIsIgnored ? unbiased[$0] : y[$0]) * factor($0) / deviation[$0]
        }
        let expected = zip(zip(numbersOfX, u), mean(u)).map { $0.0 * ($0.1 - $1) }
        let pixels = (0..<side * side).map { i in
            (0..<channels).reduce(0) { $0 + expected[$1 * side * side + i] }
        }
        #expect(close(found.map.values, pixels), "\(found.map.values) \(pixels)")
        if biasIsIgnored { #expect(abs(pixels.reduce(0, +) - score) < 1e-9) }
    }

    /// Tokens whose numbers are near 0 do not make relevance without bounds, layer after layer.
    @Test func transformersStayBounded() throws {
        var n = Builder("blocks", input: ["N", 3, 8, 8])
        let patches = n.node("Reshape", [n.conv("x", 3, 16, kernel: 1), n.ints([0, 16, 64])])
        var x = n.node("Transpose", [patches], ["perm": [0, 2, 1]])
        for _ in 0..<12 {
            let norm = n.node("LayerNormalization", [x, n.floats([16], 0.5, 1.5), n.floats([16])])
            let hidden = n.relu(
                n.node("Add", [n.node("MatMul", [norm, n.floats([16, 32], -0.4, 0.4)]), n.floats([32])]))
            x = n.node("Add", [x, n.node("MatMul", [hidden, n.floats([32, 16], -0.2, 0.2)])])
        }
        let mean = n.node("ReduceMean", [x], ["axes": [1], "keepdims": 0])
        let found = try explain(
            n.finished(n.node("Gemm", [mean, n.floats([3, 16]), n.floats([3])], ["transB": 1])),
            picture("blocks", 192), "lrp", [:])
        #expect(found.map.values.allSatisfy { abs($0) < 100 }, "\(found.map.values.map(abs).max()!)")
    }

    /// A normalisation that was merged into its convolution has the map of the convolution that both are.
    @Test func mergedNormalisations() throws {
        func network(_ merged: Bool) -> ONNXBuilder {
            var random = SeededRandom("merged")
            func numbers(_ count: Int, _ low: Float, _ high: Float) -> [Float] {
                (0..<count).map { _ in random.float(low, high) }
            }
            let w = numbers(6 * 3 * 9, -0.5, 0.5)
            let (scale, shift, mean, variance) = (
                numbers(6, -1.5, 1.5), numbers(6, -0.5, 0.5), numbers(6, -0.5, 0.5), numbers(6, 0.5, 1.5)
            )
            let last = numbers(3 * 6 * 64, -0.3, 0.3)
            var n = Builder("merged", input: ["N", 3, 8, 8])
            var y: String
            let factors = (0..<6).map { Double(scale[$0]) / (Double(variance[$0]) + 1e-5).squareRoot() }
            if merged {
                let weights = w.indices.map { Float(Double(w[$0]) * factors[$0 / 27]) }
                let bias = (0..<6).map { Float(Double(shift[$0]) - Double(mean[$0]) * factors[$0]) }
                y = n.node(
                    "Conv", ["x", n.constant([6, 3, 3, 3], weights), n.constant([6], bias)],
                    ["pads": [1, 1, 1, 1]])
            } else {
                y = n.node("Conv", ["x", n.constant([6, 3, 3, 3], w)], ["pads": [1, 1, 1, 1]])
                y = n.node(
                    "BatchNormalization",
                    [
                        y, n.constant([6], scale), n.constant([6], shift), n.constant([6], mean),
                        n.constant([6], variance),
                    ])
            }
            y = n.node("Gemm", [n.node("Flatten", [n.relu(y)]), n.constant([3, 384], last)], ["transB": 1])
            return n.finished(y)
        }
        for composite in LRP.Composite.allCases.map(\.rawValue) {
            let maps = try [true, false].map {
                try explain(network($0), picture("merged", 192), "lrp", ["composite": composite]).map.values
            }
            #expect(close(maps[0], maps[1].map(Double.init), within: 1e-4), "\(composite)")
        }
    }

    /// A border, and a clip whose bounds contradict each other, make numbers below 0 of others: rules that look at those above 0 must see them.
    @Test(arguments: ["epsilon-plus", "gamma", "alpha2-beta1"])
    func numbersBelowZero(_ composite: String) throws {
        func map(opset: Int, _ border: (inout Builder, String) -> String) throws -> [Float] {
            var n = Builder("below", input: ["N", 3, 6, 6], opset: opset)
            let (w, b, last) = (n.floats([4, 3, 3, 3]), n.floats([4]), n.floats([3, 4 * 36]))
            let bordered = border(&n, n.relu("x"))
            let y = n.relu(n.node("Conv", [bordered, w, b]))
            let scores = n.node("Gemm", [n.node("Flatten", [y]), last], ["transB": 1])
            return try explain(
                n.finished(scores), picture("below", 108), "lrp", ["composite": composite]
            ).map.values
        }
        let pads: ONNXAttribute = [0, 0, 1, 1, 0, 0, 1, 1]
        let attribute = try map(opset: 10) { $0.node("Pad", [$1], ["pads": pads, "value": -2.0]) }
        let input = try map(opset: 13) { n, x in
            let (pads, value) = (n.ints([0, 0, 1, 1, 0, 0, 1, 1]), n.constant([], [-2]))
            return n.node("Pad", [x, pads, value])
        }
        #expect(close(attribute, input.map(Double.init)) && attribute.contains { $0 != 0 })
        // Everything becomes −1, which is what a border of −1 around nothing is.
        let clipped = try map(opset: 13) { n, x in
            let (low, high) = (n.constant([], [0]), n.constant([], [-1]))
            let pads = n.ints([0, 0, 1, 1, 0, 0, 1, 1])
            return n.node("Pad", [n.node("Clip", [x, low, high]), pads, n.constant([], [-1])])
        }
        let moved = try map(opset: 13) { n, x in
            let pads = n.ints([0, 0, 1, 1, 0, 0, 1, 1])
            let none = n.node("Mul", [x, n.constant([1], [0])])
            let minus = n.node("Sub", [none, n.constant([1], [1])])
            return n.node("Pad", [minus, pads, n.constant([], [-1])])
        }
        #expect(close(clipped, moved.map(Double.init)) && clipped.contains { $0 != 0 })
    }

    /// A constant in a sum of several takes nothing, wherever it stands.
    @Test func constantsInSums() throws {
        func map(_ sum: (inout Builder, String, String, String) -> String) throws -> Explanation {
            var n = Builder("constants", input: ["N", 3, 8, 8])
            let c = n.floats([1, 4, 1, 1], -3, 3)
            let (a, b) = (n.conv("x", 3, 4, bias: false), n.conv("x", 3, 4, bias: false))
            return try explain(
                n.finished(n.scores(sum(&n, a, b, c), 256)), picture("constants", 192), "lrp",
                ["bias": "ignored", "stabilizer": "1e-9"])
        }
        let whole = try map { n, a, b, c in n.node("Sum", [a, c, b]) }
        let apart = try map { n, a, b, c in n.node("Add", [n.node("Add", [a, b]), c]) }
        #expect((whole.completeness?.error ?? 1) < 2e-3)
        // Rounded in another order.
        #expect(close(whole.map.values, apart.map.values.map(Double.init), within: 1e-3))
    }

    /// Differences of logits, and their negatives, begin with the values of both.
    @Test func targets() throws {
        func found(_ change: (inout Options) -> Void) throws -> Explanation {
            try explain(Self.network("residual"), picture("targets", 192), "lrp", ["bias": "ignored"], change)
        }
        let (a, b) = (try found { _ in }, try found { $0.classChoice = .index(1) })
        let difference = try found { $0.against = "1" }
        #expect(close(difference.map.values, zip(a.map.values, b.map.values).map { Double($0 - $1) }))
        #expect(
            close(
                try found { ($0.against, $0.isNegative) = ("1", true) }.map.values,
                difference.map.values.map { -Double($0) }))
        #expect((difference.completeness?.error ?? 1) < 2e-3)
        let probability = try found { $0.scale = .probability }
        #expect(probability.completeness == nil && probability.note != nil)
    }

    /// What no rule is known for is named, and so is a rule that does not fit.
    @Test func refusals() throws {
        func message(_ settings: [String: String], _ build: (inout Builder) -> String) throws -> String {
            var n = Builder("refused", input: ["N", 3, 8, 8])
            let scores = n.scores(build(&n), 192)
            do {
                _ = try explain(n.finished(scores), picture("refused", 192), "lrp", settings)
                return ""
            } catch let error as ExplainError {
                #expect(error.kind == .method)
                return error.description
            }
        }
        #expect(
            try message([:]) { $0.node("LogSoftmax", [$0.conv("x", 3, 3)], ["axis": 1]) }.contains(
                "LogSoftmax"))
        #expect(try message(["first": "z-box"]) { $0.conv($0.relu("x"), 3, 3) }.contains("z-box"))
        #expect(try message(["dense": "z-box"]) { $0.conv("x", 3, 3) }.contains("z-box"))
        #expect(try message(["composite": "best"]) { $0.conv("x", 3, 3) }.contains("epsilon-plus"))
        #expect(try message(["epsilon": "0"]) { $0.conv("x", 3, 3) }.contains("lrp.epsilon"))
        #expect(try message([:]) { $0.conv("x", 3, 3) }.isEmpty)
    }
}

// MARK: -

@Suite struct DifferenceTests {
    /// Whatever the operators are, the map adds up to the difference of the scores.
    @Test(arguments: RelevanceTests.networks + ["softmax"], ["zero", "white", "mean", "blur"])
    func addsUp(_ name: String, _ baseline: String) throws {
        var builder = RelevanceTests.network(name)
        if name == "softmax" {
            var n = Builder(name, input: ["N", 3, 8, 8])
            let a = n.conv("x", 3, 6)
            let b = n.node(
                "Mul",
                [n.node("Softmax", [n.node("MaxPool", [a], ["kernel_shape": [1, 1]])], ["axis": 1]), a])
            builder = n.finished(n.scores(n.relu(b), 384))
        }
        // Baselines are pixels of 0 … 255.
        let x = picture(name, 192).map { ($0 + 1) * (baseline == "zero" ? 1 : 120) }
        let found = try explain(builder, x, "deeplift", ["baseline": baseline])
        let whole = try #require(found.completeness)
        #expect((whole.error ?? 1) < 2e-3, "\(name), \(baseline): \(whole)")
        #expect(found.map.values.contains { $0 != 0 })
    }

    /// A constant divided by fewer numbers than it has.
    @Test func quotientsThatBroadcast() throws {
        var n = Builder("quotients", input: ["N", 3, 8, 8])
        let divisor = n.node(
            "Add",
            [n.node("GlobalAveragePool", [n.node("Abs", [n.conv("x", 3, 4)])]), n.constant([1], [0.5])])
        let builder = n.finished(n.scores(n.node("Div", [n.floats([1, 4, 3, 3]), divisor]), 36))
        let found = try explain(builder, picture("quotients", 192), "deeplift", [:])
        #expect((found.completeness?.error ?? 1) < 2e-3, "\(found.completeness!)")
    }

    /// Linear 3→2, ReLU, Linear 2→1 by hand: of the unit that is on in both, the weights; of the one that goes on, Δy/Δx.
    @Test func exactNumbers() throws {
        var n = Builder("by hand", input: ["N", 3, 1, 1])
        let hidden = n.node(
            "Gemm",
            [n.node("Flatten", ["x"]), n.constant([2, 3], [1, 2, 3, 1, -1, 1]), n.constant([2], [1, -4])],
            ["transB": 1])
        let score = n.node("Gemm", [n.relu(hidden), n.constant([1, 2], [2, -3])], ["transB": 1])
        let builder = n.finished(score, 1)
        let network = try Network(builder.model())
        // x = [2, 1, 5]: units 20 and 2; baseline 0: 1 and −4. So multipliers 2 · 1 and −3 · 2/6.
        for device in Devices.all.map(\.device) {
            var spec = PassSpec(batch: 2)
            (spec.stored, spec.gradients, spec.isPaired) = ([network.logitsName], ["x"], true)
            spec.add(rule: DifferenceRule())
            let pass = try Engine(network, on: LoadedDevice(device)).pass(spec)
            try pass.feed([2, 1, 5, 0, 0, 0])
            try pass.forward()
            #expect(try pass.stored(network.logitsName)! == [34, 2])
            try pass.backward([1])
            let multipliers = try pass.gradient("x")!
            #expect(close(multipliers, [1, 5, 5], within: 1e-6))
            #expect(close(zip(multipliers, [2, 1, 5]).map(*), [2, 5, 25], within: 1e-6))
        }
    }

    /// Where the picture is hardly another than the baseline, multipliers are the gradient.
    @Test(arguments: ["residual", "gates", "parts"])
    func closeToTheBaselineItIsTheGradient(_ name: String) throws {
        let network = try Network(RelevanceTests.network(name).model())
        let engine = Engine(network, on: try LoadedDevice(.cpu(CPU(threads: 1))))
        var plain = PassSpec(batch: 1)
        var paired = PassSpec(batch: 2)
        (plain.gradients, paired.gradients, paired.isPaired) = (["x"], ["x"], true)
        paired.add(rule: DifferenceRule())
        let x = picture("close", 192)
        let (a, b) = (try engine.pass(plain), try engine.pass(paired))
        try a.feed(x)
        try b.feed(x + x)
        for pass in [a, b] {
            try pass.forward()
            try pass.backward([0, 1, 0])
        }
        let gradient = try a.gradient("x")!
        #expect(close(try b.gradient("x")!, gradient.map(Double.init), within: 1e-5))
        #expect(gradient.contains { $0 != 0 })
    }

    @Test func probabilitiesAddUpToo() throws {
        for (change, name) in [
            ({ $0.against = "1" }, "a difference"), ({ $0.isNegative = true }, "a negative"),
            ({ _ in }, "a probability"),
        ] as [((inout Options) -> Void, String)] {
            let found = try explain(RelevanceTests.network("residual"), picture("p", 192), "deeplift", [:]) {
                $0.scale = .probability
                change(&$0)
            }
            #expect((found.completeness?.error ?? 1) < 2e-3, "\(name): \(found.completeness!)")
        }
    }

    /// The picture of a batch and its baseline meet in a network whose batch is another axis.
    @Test func refusals() throws {
        var n = Builder("meets", input: ["N", 3, 8, 8])
        let a = n.node("Reshape", [n.conv("x", 3, 4), n.ints([-1, 4, 8])])
        let b = n.node("Reshape", [n.node("Tanh", [a]), n.ints([-1, 256])])
        let builder = n.finished(n.scores(b, 256))
        do {
            _ = try explain(builder, picture("meets", 192), "deeplift", [:])
            Issue.record("What is not apart was compared.")
        } catch let error as ExplainError {
            #expect(error.kind == .method && error.description.contains("apart"))
        }
    }
}
