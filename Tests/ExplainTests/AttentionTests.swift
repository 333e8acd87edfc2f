// Attention rollout and its gradient-weighted form, against products of whole matrices in double precision.

import Explain
import Foundation
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

/// A transformer of two blocks with two heads: 3×2 patches, and a class token in front unless the score is of the mean.
private struct Transformer {
    var builder = ONNXBuilder(name: "transformer", opset: 17)
    private var random = SeededRandom("attention")
    private var count = 0
    let channels = 4
    let tokens: Int
    private(set) var attentions: [String] = []

    init(classToken: Bool) {
        tokens = classToken ? 7 : 6
        builder.input("image", [1, 3, 6, 4])
        var x = node(
            "Conv", ["image", weights([channels, 3, 2, 2])], ["kernel_shape": [2, 2], "strides": [2, 2]])
        x = node("Transpose", [reshape(x, [1, Int64(channels), 6])], ["perm": [0, 2, 1]])
        if classToken { x = node("Concat", [weights([1, 1, channels]), x], ["axis": 1]) }
        for _ in 0..<2 { x = node("Add", [x, attention(x)]) }
        x =
            classToken
            ? node("Gather", [x, ints([0], scalar: true)], ["axis": 1])
            : node("ReduceMean", [x], ["axes": [1], "keepdims": 0])
        x = node("MatMul", [x, weights([channels, 3])])
        builder.output(x, [1, 3])
    }

    private mutating func name(_ text: String) -> String {
        count += 1
        return "\(text).\(count)"
    }
    private mutating func weights(_ dims: [Int]) -> String {
        let name = name("weights")
        builder.initializer(name, dims, floats: (0..<dims.reduce(1, *)).map { _ in random.float(-1, 1) })
        return name
    }
    private mutating func ints(_ values: [Int64], scalar: Bool = false) -> String {
        let name = name("numbers")
        builder.initializer(name, scalar ? [] : [values.count], ints: values)
        return name
    }
    private mutating func node(
        _ type: String, _ inputs: [String], _ attributes: [String: ONNXAttribute] = [:]
    ) -> String {
        let name = name(type)
        builder.node(type, inputs, [name], attributes, name: name)
        return name
    }
    private mutating func reshape(_ x: String, _ dims: [Int64]) -> String {
        node("Reshape", [x, ints(dims)])
    }
    private mutating func attention(_ x: String) -> String {
        let (t, c) = (Int64(tokens), Int64(channels))
        let parts = (0..<3).map { _ in
            node(
                "Transpose",
                [reshape(node("MatMul", [x, weights([channels, channels])]), [1, t, 2, c / 2])],
                ["perm": [0, 2, 1, 3]])
        }
        let scores = node("MatMul", [parts[0], node("Transpose", [parts[1]], ["perm": [0, 1, 3, 2]])])
        attentions.append(node("Softmax", [scores], ["axis": -1]))
        let mixed = node("MatMul", [attentions.last!, parts[2]])
        return node(
            "MatMul",
            [
                reshape(node("Transpose", [mixed], ["perm": [0, 2, 1, 3]]), [1, t, c]),
                weights([channels, channels]),
            ])
    }
}

@Suite struct AttentionTests {
    private let picture: [Float] = {
        var random = SeededRandom("attention's picture")
        return (0..<72).map { _ in random.float(-1, 1) }
    }()

    private typealias Matrix = [[Double]]
    private func product(_ a: Matrix, _ b: Matrix) -> Matrix {
        a.map { row in b[0].indices.map { j in row.indices.reduce(0) { $0 + row[$1] * b[$1][j] } } }
    }

    /// The mean over heads of each T×T matrix.
    private func fused(_ heads: [Float], _ tokens: Int, _ fuse: ([Double]) -> Double) -> Matrix {
        (0..<tokens).map { i in
            (0..<tokens).map { j in
                fuse((0..<2).map { Double(heads[($0 * tokens + i) * tokens + j]) })
            }
        }
    }

    private func explain(
        _ made: Transformer, _ method: String, _ settings: [String: String] = [:], on device: TestDevice
    )
        throws -> [Float]
    {
        var options = Options()
        (options.methods, options.classChoice, options.opened) = ([method], .index(1), device.device)
        options.settings = [method: settings]
        let model = try Model(Network(made.builder.model()), preprocessing: "none")
        return try ExplanationSession(model, options: options).explain(.array(picture, name: "a"))
            .explanations[0].map.values
    }

    private func expected(_ product: Matrix, _ made: Transformer) -> [Double] {
        if made.tokens == 7 { return Array(product[0].dropFirst()) }
        return (0..<6).map { j in product.reduce(0) { $0 + $1[j] } / 6 }
    }

    @Test(arguments: [true, false], ["mean", "max", "min"])
    func rollout(_ classToken: Bool, _ heads: String) throws {
        let made = Transformer(classToken: classToken)
        let network = try Network(made.builder.model())
        let values = try network.run(
            picture, dims: [1, 3, 6, 4], outputs: made.attentions, on: Devices.all[0].device)
        var all: Matrix?
        for value in values {
            var block = fused(value.values, made.tokens) { parts in
                switch heads {
                case "mean": parts.reduce(0, +) / 2
                case "max": parts.max()!
                default: parts.min()!
                }
            }
            for i in block.indices {
                block[i][i] += 1
                block[i] = block[i].map { $0 / 2 }
            }
            all = all.map { product(block, $0) } ?? block
        }
        let expected = expected(all!, made)
        for device in [Devices.all[0], Devices.all.last!] {
            let found = try explain(made, "rollout", ["heads": heads], on: device)
            for (a, b) in zip(found, expected) { #expect(abs(Double(a) - b) < 1e-5) }
        }
    }

    @Test(arguments: [true, false])
    func gradientRollout(_ classToken: Bool) throws {
        let made = Transformer(classToken: classToken)
        let network = try Network(made.builder.model())
        var all: Matrix?
        for name in made.attentions {
            let found = try network.run(
                picture, dims: [1, 3, 6, 4], outputs: [name], gradient: 1, target: name,
                on: Devices.all[0].device)
            let weighted = zip(found[0].values, found[1].values).map { max(0, $0 * $1) }
            var block = fused(weighted, made.tokens) { $0.reduce(0, +) / 2 }
            for i in block.indices { block[i][i] += 1 }
            all = all.map { product(block, $0) } ?? block
        }
        let expected = expected(all!, made)
        #expect(expected.contains { $0 > 0 })
        var maps: [[UInt32]] = []
        for device in [Devices.all[0], Devices.all.last!] {
            let found = try explain(made, "gradient-rollout", on: device)
            for (a, b) in zip(found, expected) { #expect(abs(Double(a) - b) < 1e-5) }
            maps.append(found.map(\.bitPattern))
        }
        #expect(maps[0] == maps[1])
    }

    @Test func networksWithoutAttention() throws {
        let model = try Model(Network(oneConvNetwork().model()), preprocessing: "none")
        var options = Options()
        options.methods = ["rollout"]
        let error = #expect(throws: ExplainError.self) { try ExplanationSession(model, options: options) }
        #expect(error?.kind == .method)
        #expect(error?.description.contains("no attention between tokens") == true)
    }

    /// Relevance through attention is kept where no biases take any: matrix products halve it, softmax and what is added keep it.
    @Test(arguments: [true, false])
    func relevanceIsKept(_ classToken: Bool) throws {
        let made = Transformer(classToken: classToken)
        var options = Options()
        (options.methods, options.classChoice, options.device) = (["lrp"], .index(1), .cpu)
        options.settings = ["lrp": ["composite": "epsilon", "epsilon": "1e-12", "stabilizer": "1e-12"]]
        let model = try Model(Network(made.builder.model()), preprocessing: "none")
        let found = try ExplanationSession(model, options: options).explain(.array(picture, name: "a"))
        let map = found.explanations[0]
        #expect(map.map.values.contains { $0 != 0 } && map.map.values.allSatisfy(\.isFinite))
    }
}
