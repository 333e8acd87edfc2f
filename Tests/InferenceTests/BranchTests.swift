// Nodes `If`, whose branches are taken where constants or shapes decide; modules that the file states.

import Foundation
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct BranchTests {
    private typealias B = ONNXBuilder

    /// The grid of a picture: `conv`, then a branch on `condition`, then the mean.
    /// - Parameter plain: which branch stands in the place of the node.
    private func network(
        input: [ONNXDimension] = ["N", 3, 14, 14], plain: Bool? = nil,
        _ condition: (inout SmallNetwork) -> String
    ) throws -> Network {
        var n = SmallNetwork("branches", input: input)
        let grid = n.conv("image", 3, 8)
        let condition = condition(&n)
        let then = [B.node("Relu", [grid], ["t"], name: "relu")]
        let other = [B.node("Neg", [grid], ["t"], name: "neg"), B.node("Exp", ["t"], ["u"])]
        if let plain {
            n.builder.graph.node += plain ? then : other
            n.builder.node("Identity", [plain ? "t" : "u"], ["chosen"])
        } else {
            n.builder.branch(
                if: condition, then: (then, ["t"]), else: (other, ["u"]), ["chosen"], name: "choose")
        }
        let score = n.node("Flatten", [n.node("GlobalAveragePool", ["chosen"])])
        n.output(score)
        return try Network(n.model())
    }

    private func numbers(_ network: Network, batch: Int = 1) throws -> [[Float]] {
        let shape = try network.inputShape(batch: batch)
        var random = SeededRandom("branches")
        let picture = (0..<shape.count).map { _ in random.float(-1, 1) }
        return try network.run(
            picture, dims: shape.dims, outputs: [network.outputName], gradient: 1, on: .cpu(CPU(threads: 1))
        ).map(\.values)
    }

    private func bits(_ numbers: [[Float]]) -> [[UInt32]] { numbers.map { $0.map(\.bitPattern) } }

    /// True where the dimension of the image is not 14.
    private func isOther(_ n: inout SmallNetwork, _ dimension: Int64) -> String {
        let size = n.node("Gather", [n.node("Shape", ["image"]), n.ints([dimension], scalar: true)])
        return n.node(
            "Cast", [n.node("Sub", [size, n.ints([dimension == 0 ? 1 : 14], scalar: true)])], ["to": 9])
    }

    @Test(arguments: [true, false]) func constantsDecide(_ truth: Bool) throws {
        let plain = try network(plain: truth) { _ in "" }
        let asInitializer = try network {
            $0.builder.initializer(ONNXTensor(name: "k", dims: [], type: .bool, raw: Data([truth ? 1 : 0])))
            return "k"
        }
        let folded = try network {
            let one = $0.ints([truth ? 3 : 2])
            return $0.node("Cast", [$0.node("Sub", [one, $0.ints([2])])], ["to": 9])
        }
        #expect(try bits(numbers(asInitializer)) == bits(numbers(plain)))
        #expect(try bits(numbers(folded)) == bits(numbers(plain)))
        let names = Set(asInitializer.nodes.map(\.name))
        #expect(names.contains("choose/relu") == truth && names.contains("choose/neg") == !truth)
    }

    @Test func shapesDecide() throws {
        let fixed = try network { isOther(&$0, 2) }
        #expect(
            try bits(numbers(fixed, batch: 3)) == bits(numbers(network(plain: false) { _ in "" }, batch: 3)))
        // For batches of one; others need the other branch.
        let batches = try network { isOther(&$0, 0) }
        #expect(try bits(numbers(batches)) == bits(numbers(network(plain: false) { _ in "" })))
        let error = #expect(throws: NetworkError.self) { try numbers(batches, batch: 2) }
        #expect(
            error?.description.contains("“choose” (If) takes another branch") == true,
            "\(error?.description ?? "")")
    }

    @Test func othersAreRefused() {
        func refusal(_ condition: @escaping (inout SmallNetwork) -> String) -> String {
            (#expect(throws: NetworkError.self) { try network(condition) })?.description ?? ""
        }
        let computed = refusal {
            $0.node("Cast", [$0.node("ReduceMean", ["image"], ["keepdims": 0])], ["to": 9])
        }
        #expect(computed.contains("If has a condition") && computed.contains("“choose”"), "\(computed)")
        let several = refusal { $0.ints([1, 0]) }
        #expect(several.contains("“choose”") && several.contains("one truth"), "\(several)")
    }

    @Test func branchesInBranches() throws {
        var n = SmallNetwork("nested")
        n.builder.initializer(ONNXTensor(name: "yes", dims: [], type: .bool, raw: Data([1])))
        var inner = ONNXBuilder()
        inner.branch(
            if: "yes", then: ([B.node("Relu", ["image"], ["t"])], ["t"]), else: ([], ["image"]), ["u"],
            name: "inner")
        // One branch is a value around it, and the other would read what is not supported.
        n.builder.branch(
            if: "yes", then: (inner.graph.node, ["u"]), else: ([B.node("NoSuch", ["image"], ["v"])], ["v"]),
            ["chosen"],
            name: "outer")
        n.output(n.node("Flatten", [n.node("GlobalAveragePool", ["chosen"])]))
        let network = try Network(n.model())
        #expect(network.nodes.map(\.name).prefix(1) == ["outer/inner/outer/Relu_t"])
    }

    @Test func malformedBranches() throws {
        func error(_ change: (inout ONNXBuilder) -> Void) -> String {
            var n = SmallNetwork("malformed")
            n.builder.initializer(ONNXTensor(name: "yes", dims: [], type: .bool, raw: Data([1])))
            n.builder.branch(
                if: "yes", then: ([B.node("Relu", ["image"], ["t"])], ["t"]), else: ([], ["image"]),
                ["chosen"], name: "if")
            change(&n.builder)
            n.output(n.node("Flatten", ["chosen"]))
            do {
                _ = try Network(n.builder.model())
                return ""
            } catch { return "\(error)" }
        }
        #expect(error { _ in } == "")
        func graph(_ change: (inout WireGraph) -> Void) -> String {
            error { change(&$0.graph.node[0].attribute[0].g) }
        }
        #expect(graph { $0.output = [] }.contains("then_branch"))
        #expect(graph { $0.output[0].name = "" }.contains("no name"))
        #expect(graph { $0.output[0].name = "nowhere" }.contains("'nowhere'"))
        #expect(graph { $0.node[0].input = ["nowhere"] }.contains("'nowhere'"))
        #expect(graph { $0.node.append($0.node[0]) }.contains("twice"))
        #expect(graph { $0.node[0].input = ["t"] }.contains("circle"))
        #expect(graph { $0.sparseInitializer = [Data()] }.contains("sparse"))
        #expect(error { $0.graph.node[0].attribute.removeFirst() }.contains("then_branch"))
        #expect(error { $0.graph.node[0].input = [] }.contains("inputs"))
        #expect(error { $0.graph.node[0].attribute = [] }.contains("If is not supported"))
    }

    @Test func statedModulesNameLayers() throws {
        var n = SmallNetwork("modules")
        n.output(n.node("Flatten", [n.node("GlobalAveragePool", [n.node("Relu", [n.conv("image", 3, 8)])])]))
        let scopes = "pkg.torch.onnx.name_scopes"
        for i in 0..<2 {
            n.builder.graph.node[i].metadataProps = [
                .with { ($0.key, $0.value) = (scopes, "['', 'stage', 'stage.\(i)', 'op']") }
            ]
        }
        let network = try Network(n.model())
        let layers = try network.layers()
        #expect(layers[1].modules == ["stage", "stage.1"])
        #expect(try network.layer(named: "stage", of: layers).layer.index == 1)
        #expect(try network.layer(named: "stage.0", of: layers).layer.index == 0)
    }
}
