// Networks of several inputs and outputs: which is the picture, what is given for the others, where the scores are.

import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct InterfaceTests {
    /// A picture, a number for each class that is multiplied with the scores, an offset that is an integer, and an input that only the second
    /// output reads; features come first, then what is not supported, then the scores.
    private func builder(extraImage: Bool = false) -> ONNXBuilder {
        var net = SmallNetwork("interface")
        if extraImage { net.builder.input("depth", ["N", 1, 14, 14]) }
        net.builder.input("factors", [1, 6])
        net.builder.input("offset", [1])
        net.builder.input("unused", [1, 6])
        let features = net.node("Flatten", [net.pooled(net.relu(net.conv("image", 3, 5)))])
        let scores = net.node("Mul", [net.gemm(features, 5, 6), "factors"])
        let other = net.node("Add", [scores, "unused"])
        net.builder.node("Nonsense", [other], ["nonsense"], domain: "somebody")
        net.builder.output(features, ["N", 5])
        net.builder.output("nonsense", nil)
        net.builder.output(scores, ["N", 6])
        return net.builder
    }

    private func network(_ change: (inout NetworkInterface) -> Void = { _ in }, extraImage: Bool = false)
        throws
        -> Network
    {
        let model = try builder(extraImage: extraImage).model(name: "interface.onnx")
        var interface = NetworkInterface()
        interface.scoreOutput = model.graph.outputs[2].name
        interface.given["factors"] = HostTensor([1, 6], .floats([1, 2, 3, 4, 5, 6]))
        change(&interface)
        return try Network(model, interface: interface)
    }

    private func sentence(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "nothing was wrong"
        } catch { return "\(error)" }
    }

    @Test func scoresOfTheNamedOutput() throws {
        let network = try network()
        #expect(network.inputName == "image")
        let picture = pictures(2)
        func run(_ network: Network) throws -> [Float] {
            try network.run(picture, dims: [2, 3, 14, 14], outputs: nil, on: Devices.all[0].device)[0].values
        }
        let ones = try run(
            self.network { $0.given["factors"] = HostTensor([1, 6], .floats([1, 1, 1, 1, 1, 1])) })
        let found = try run(network)
        for (i, value) in found.enumerated() { #expect(value == ones[i] * Float(i % 6 + 1)) }
        // The features, which come first in the file, are the scores if nobody says otherwise.
        let first = try Network(builder().model(), interface: NetworkInterface())
        #expect(try run(first).count == 10)
    }

    @Test func whatTheScoresDoNotNeedMayBeMissing() throws {
        // Neither “unused” nor the operator that nobody knows.
        let network = try network()
        #expect(!network.nodes.contains { $0.type == "Nonsense" })
        #expect(
            sentence { _ = try self.network { $0.scoreOutput = "nonsense" } }.contains(
                "also depend on the input “unused”"))
        #expect(
            sentence {
                _ = try self.network {
                    $0.scoreOutput = "nonsense"
                    $0.given["unused"] = HostTensor([1, 6], .floats(Array(repeating: 0, count: 6)))
                }
            }.contains("somebody.Nonsense"))
    }

    @Test func sentences() {
        #expect(sentence { _ = try network { $0.given = [:] } }.contains("“factors”"))
        #expect(
            sentence { _ = try network { $0.given["factor"] = HostTensor([1], .floats([1])) } }.contains(
                "did you mean “factors”"))
        #expect(
            sentence {
                _ = try network { $0.given["factors"] = HostTensor([1, 5], .floats([1, 2, 3, 4, 5])) }
            }
            .contains("has the shape 1×5"))
        #expect(sentence { _ = try network { $0.input = "picture" } }.contains("no input “picture”"))
        #expect(
            sentence { _ = try network { $0.input = "factors" } }.contains(
                "is the picture, and numbers are given"))
        #expect(sentence { _ = try network { $0.scoreOutput = "scores" } }.contains("no output “scores”"))
        #expect(sentence { _ = try network(extraImage: true) }.contains("several could be the picture"))
        #expect(
            sentence {
                _ = try network(
                    {
                        $0.input = "image"
                        $0.given["depth"] = HostTensor(
                            [1, 1, 14, 14], .floats(Array(repeating: 0, count: 196)))
                    }, extraImage: true)
            } == "nothing was wrong")
    }

    /// The batch that a file of one picture fixes may lie behind the tokens, as in torch's multi-head attention.
    @Test func batchesBehindTheTokens() throws {
        var net = SmallNetwork("behind", input: [1, 3, 4, 4])
        let patches = net.node(
            "Conv", ["image", net.floats([8, 3, 2, 2])], ["kernel_shape": [2, 2], "strides": [2, 2]])
        func reshape(_ x: String, _ dims: [Int64]) -> String { net.node("Reshape", [x, net.ints(dims)]) }
        func transpose(_ x: String, _ order: [Int]) -> String {
            net.node("Transpose", [x], ["perm": .ints(order)])
        }
        // [T, N, C], as rows of a product, as heads of a batch, and back.
        var x = transpose(reshape(patches, [1, 8, 4]), [2, 0, 1])
        var parts: [String] = []
        for _ in 0..<3 {
            let row = net.gemm(reshape(x, [4, 8]), 8, 8)
            parts.append(transpose(reshape(reshape(row, [4, 1, 8]), [4, 2, 4]), [1, 0, 2]))
        }
        let scores = net.node("MatMul", [parts[0], transpose(parts[1], [0, 2, 1])])
        x = net.node("MatMul", [net.node("Softmax", [scores], ["axis": -1]), parts[2]])
        x = net.gemm(reshape(transpose(x, [1, 0, 2]), [4, 8]), 8, 8)
        x = transpose(reshape(x, [4, 1, 8]), [1, 0, 2])
        net.output(net.gemm(net.node("ReduceMean", [x], ["axes": [1], "keepdims": 0]), 8, 6))
        let network = try Network(net.model())
        let values = pictures(3, size: 4)
        for device in [Devices.all[0], Devices.all.last!] {
            let together = try network.run(values, dims: [3, 3, 4, 4], outputs: nil, on: device.device)[0]
                .values
            let alone = try (0..<3).flatMap {
                try network.run(
                    Array(values[$0 * 48..<($0 + 1) * 48]), dims: [1, 3, 4, 4], outputs: nil,
                    on: device.device)[0].values
            }
            #expect(together.map(\.bitPattern) == alone.map(\.bitPattern))
        }
    }
}
