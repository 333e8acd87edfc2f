import Foundation
import ONNX
import Testing

@Suite struct ModelTests {
    @Test func roundTrip() throws {
        let model = try smallModel().model()
        #expect(model.irVersion == 8)
        #expect(model.opset == 17)
        #expect(model.producerName == "whitebox")
        #expect(model.metadata == ["classes": "a,b"])
        let graph = model.graph
        #expect(graph.name == "small")
        #expect(graph.inputs == [ONNXValueInfo(name: "x", dims: [1, 2])])
        #expect(graph.outputs == [ONNXValueInfo(name: "y", dims: [.symbolic("batch"), 2])])
        #expect(graph.valueInfo["h"]?.dims == [1, 2])
        #expect(graph.nodes.map(\.name) == ["fc", "Reshape_r", "Relu_y"])
        #expect(graph.nodes[0].inputs == ["x", "w"])
        #expect(try graph.initializers["w"]?.floats() == [1, 2, 3, 4])
        #expect(graph.initializers["w"]?.dims == [2, 2])
        #expect(try graph.initializers["shape"]?.ints() == [1, -1])
        #expect(smallModel().data() == smallModel().data())
    }

    @Test func everyAttributeKind() throws {
        var builder = ONNXBuilder()
        builder.input("x", [1])
        builder.node(
            "Thing", ["x", ""], ["y", ""],
            [
                "i": 3, "f": 1.5, "s": "text", "ints": [1, 2], "floats": .floats([0.5]),
                "strings": .strings(["a", "b"]), "t": .tensor(ONNXTensor(name: "c", dims: [], floats: [7])),
                "g": .graph(ONNXSubgraph()), "n": .int(-1), "odd": .unsupported("x"),
            ], domain: "my.domain")
        builder.output("y", nil)
        let model = try builder.model()
        let node = model.graph.nodes[0]
        #expect(node.domain == "my.domain")
        #expect(try node.int("i") == 3)
        #expect(try node.int("n", default: 0) == -1)
        #expect(try node.int("absent", default: 9) == 9)
        #expect(try node.float("f") == 1.5)
        #expect(try node.float("absent", default: 2) == 2)
        #expect(try node.string("s") == "text")
        #expect(try node.string("absent", default: "d") == "d")
        #expect(try node.ints("ints") == [1, 2])
        #expect(try node.ints("absent", default: [4]) == [4])
        #expect(try node.floats("floats") == [0.5])
        #expect(try node.floats("absent", default: []) == [])
        #expect(try node.strings("strings") == ["a", "b"])
        #expect(try node.strings("absent", default: []) == [])
        #expect(try node.tensor("t").floats() == [7])
        #expect(try node.tensor("t").dims == [])
        #expect(node.has("g") && !node.has("absent"))
        #expect(node.attributes["g"]?.kindName == "a graph")
        #expect(node.attributes["odd"]?.kindName == "of the kind SPARSE_TENSOR")
        let wrong = failure { () throws(ONNXError) in _ = try node.ints("i") }
        #expect(wrong?.kind == .invalidAttribute)
        #expect(
            wrong?.description
                == "(model in memory): The attribute 'i' of the node 'Thing_y' (my.domain.Thing) is an integer, "
                + "where a list of integers is needed.")
        let missing = failure { () throws(ONNXError) in _ = try node.string("absent") }
        #expect(missing?.kind == .invalidAttribute)
        #expect(missing?.reason.contains("is missing") == true)
    }

    @Test func initializersAreNotInputs() throws {
        var builder = ONNXBuilder(irVersion: 3)
        builder.input("x", [1])
        builder.input("w", [1])
        builder.initializer("w", [1], floats: [2])
        builder.node("Add", ["x", "w"], ["y"])
        builder.output("y", [1])
        #expect(try builder.model().graph.inputs.map(\.name) == ["x"])
    }

    @Test func nodesAreSorted() throws {
        var builder = ONNXBuilder()
        builder.input("x", [1])
        builder.node("C", ["b", "a"], ["c"])
        builder.node("B", ["a"], ["b"])
        builder.node("A", ["x"], ["a"])
        builder.node("D", ["x"], ["d"])
        builder.output("c", [1])
        #expect(try builder.model().graph.nodes.map(\.opType) == ["A", "B", "C", "D"])
    }

    @Test func longChainInReverse() throws {
        var builder = ONNXBuilder()
        builder.input("v0", [1])
        let count = 20_000
        for index in (0..<count).reversed() { builder.node("Relu", ["v\(index)"], ["v\(index + 1)"]) }
        builder.output("v\(count)", [1])
        let nodes = try builder.model().graph.nodes
        #expect(nodes.count == count)
        #expect(nodes.first?.inputs == ["v0"])
        #expect(nodes.last?.outputs == ["v\(count)"])
    }

    @Test func dimensions() throws {
        var builder = ONNXBuilder()
        builder.input("x", ["N", 3, .unknown, .fixed(-1)])
        builder.input("u", nil)
        builder.input("scalar", [])
        builder.output("x", nil)
        let inputs = try builder.model().graph.inputs
        #expect(inputs[0].dims == [.symbolic("N"), .fixed(3), .unknown, .unknown])
        #expect(inputs[0].dims?.map(\.description) == ["N", "3", "?", "?"])
        #expect(inputs[1].dims == nil)
        #expect(inputs[2].dims == [])
    }

    @Test func otherTypesOfValues() throws {
        var builder = ONNXBuilder()
        builder.input("x", [1], type: .uint8)
        builder.node("ZipMap", ["x"], ["y"])
        builder.output("y", nil)
        builder.graph.output[0].type.sequenceType = Data()
        let graph = try builder.model().graph
        #expect(graph.inputs[0].type == .tensor(.uint8))
        #expect(graph.outputs[0].type == .other("sequence"))
    }

    @Test func otherDomains() throws {
        var builder = ONNXBuilder(opset: nil)
        builder.opset(13, domain: "ai.onnx")
        builder.opset(2, domain: "ai.onnx.ml")
        builder.input("x", [1])
        builder.output("x", [1])
        let model = try builder.model()
        #expect(model.opset == 13)
        #expect(model.otherOpsets == ["ai.onnx.ml": 2])
    }

    /// A message field that is written in two pieces is one message.
    @Test func graphInTwoPieces() throws {
        var first = smallModel()
        var second = first
        (second.wire, second.graph) = (.init(), .init())
        second.graph.node = [first.graph.node.removeLast()]
        #expect(failure(first)?.kind == .missingValue)
        let model = try ONNXModel(data: first.data() + second.data())
        #expect(model.graph.nodes.map(\.opType) == ["Gemm", "Reshape", "Relu"])
    }

    /// Trained models that lie beside the checkout, in shared/models.
    @Test(
        .enabled(if: FileManager.default.fileExists(atPath: Self.models), "needs ../shared/models"),
        arguments: [
            ("efficientnet-lite0", 94, 103), ("mobilenetv2", 100, 108), ("squeezenet1.1", 65, 52),
        ])
    func trainedModels(name: String, nodes: Int, initializers: Int) throws {
        let model = try ONNXModel(path: "\(Self.models)/\(name).onnx")
        #expect(model.opset == 13)
        #expect(model.irVersion == 7)
        #expect(model.graph.nodes.count == nodes)
        #expect(model.graph.initializers.count == initializers)
        #expect(model.graph.inputs == [ONNXValueInfo(name: "input", dims: [1, 3, 224, 224])])
        #expect(model.graph.outputs == [ONNXValueInfo(name: "logits", dims: [1, 1000])])
        for tensor in model.graph.initializers.values where tensor.isFloat32 {
            let values = try tensor.floats()
            #expect(values.allSatisfy { $0.isFinite })
        }
        let conv = try #require(model.graph.nodes.first { $0.opType == "Conv" })
        #expect(try conv.ints("kernel_shape") == [3, 3])
    }

    static let models = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("shared/models").path
}
