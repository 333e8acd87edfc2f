// Operators that a model defines itself, and graphs inside nodes.

import Foundation
import ONNX
import SwiftProtobuf
import Testing

@Suite struct FunctionTests {
    private typealias B = ONNXBuilder

    private func reference(_ node: WireNode, _ attribute: String, to wanted: String) -> WireNode {
        var node = node
        node.attribute.append(.with { ($0.name, $0.refAttrName, $0.type) = (attribute, wanted, .float) })
        return node
    }

    private func start(_ opset: Int = 17) -> ONNXBuilder {
        var builder = ONNXBuilder(opset: opset)
        builder.input("x", [1, 2])
        builder.output("y")
        return builder
    }

    /// Node by node: operator, inputs → outputs.
    private func lines(_ builder: ONNXBuilder) throws -> [String] {
        try builder.model().graph.nodes.map {
            "\($0.opType)(\($0.inputs.joined(separator: " "))) → \($0.outputs.joined(separator: " "))"
        }
    }

    @Test func callsGiveWayToNodes() throws {
        var builder = start()
        builder.function(
            "Act", ["X"], ["Y"],
            [reference(B.node("LeakyRelu", ["X"], ["Y"], name: "leaky"), "alpha", to: "slope")])
        var slope = WireAttribute()
        (slope.name, slope.type, slope.f) = ("slope", .float, 0.125)
        builder.wire.functions[0].attributeProto = [slope]
        builder.function(
            "Block", ["X", "B"], ["Y", "C"],
            [
                B.node("Sum", ["X", "B"], ["C"], name: "sum"),
                B.node("Act", ["C"], ["t"], name: "act", domain: "mine"),
                B.node("Neg", ["t"], ["Y"]),
            ])
        // The second input and the second output are left out, and one value has the name that a copy would get.
        builder.node("Block", ["x"], ["a", ""], name: "/one", domain: "mine")
        builder.node("Relu", ["a"], ["/one/t"])
        builder.node("Block", ["a", "/one/t"], ["b", "c"], name: "/two", domain: "mine")
        builder.node("Act", ["b"], ["y"], ["slope": 0.5], name: "/three", domain: "mine")
        #expect(
            try lines(builder) == [
                "Sum(x ) → /one/C", "LeakyRelu(/one/C) → /one/t.2", "Neg(/one/t.2) → a", "Relu(a) → /one/t",
                "Sum(a /one/t) → c", "LeakyRelu(c) → /two/t", "Neg(/two/t) → b", "LeakyRelu(b) → y",
            ])
        let nodes = try builder.model().graph.nodes
        #expect(nodes.map(\.name).prefix(3) == ["/one/sum", "/one/act/leaky", "/one/Neg_Y"])
        #expect(
            try nodes.filter { $0.opType == "LeakyRelu" }.map { try $0.float("alpha") } == [
                0.125, 0.125, 0.5,
            ])
    }

    /// An attribute without a value and a default is left out; so is the operator's own default.
    @Test func attributesWithoutAValue() throws {
        var builder = start()
        builder.function(
            "Act", ["X"], ["Y"], [reference(B.node("LeakyRelu", ["X"], ["Y"]), "alpha", to: "slope")],
            attributes: ["slope"])
        builder.node("Act", ["x"], ["y"], domain: "mine")
        #expect(try builder.model().graph.nodes[0].has("alpha") == false)
    }

    @Test func outputsThatAreInputs() throws {
        var builder = start()
        builder.function("Both", ["X"], ["X", "Y", "Y"], [B.node("Neg", ["X"], ["Y"])])
        builder.node("Both", ["x"], ["a", "b", "c"], domain: "mine")
        builder.node("Sum", ["a", "b", "c"], ["y"])
        #expect(
            try lines(builder) == ["Neg(x) → b", "Identity(x) → a", "Identity(b) → c", "Sum(a b c) → y"])
    }

    /// Functions of one name differ in their domains and overloads, and may have the name of an operator.
    @Test func namesOfFunctions() throws {
        var builder = start()
        builder.function("Relu", ["X"], ["Y"], [B.node("Neg", ["X"], ["Y"])])
        builder.function("Relu", ["X"], ["Y"], [B.node("Abs", ["X"], ["Y"])], overload: "second")
        builder.node("Relu", ["x"], ["a"])
        builder.node("Relu", ["a"], ["b"], domain: "mine")
        builder.node("Relu", ["b"], ["y"], domain: "mine")
        builder.graph.node[2].overload = "second"
        #expect(try lines(builder) == ["Relu(x) → a", "Neg(a) → b", "Abs(b) → y"])
    }

    /// What graphs inside a function's nodes make has a name of its own for each call, and does not hide what a call gives.
    @Test func graphsInFunctions() throws {
        var inner = start()
        inner.branch(
            if: "K", then: ([B.node("Neg", ["X"], ["t"])], ["t"]),
            else: ([B.node("Act", ["X"], ["t"], name: "act", domain: "mine")], ["t"]), ["Y"], name: "if")
        var builder = start()
        builder.function("Act", ["X"], ["Y"], [B.node("Neg", ["X"], ["t"]), B.node("Abs", ["t"], ["Y"])])
        builder.function("Choose", ["X", "K"], ["Y"], inner.graph.node)
        builder.initializer(ONNXTensor(name: "k", dims: [], type: .bool, raw: Data([0])))
        builder.node("Abs", ["x"], ["t"])
        builder.node("Choose", ["t", "k"], ["u"], name: "one", domain: "mine")
        builder.node("Choose", ["u", "k"], ["y"], name: "two", domain: "mine")
        let graph = try builder.model().graph
        #expect(graph.nodes.map(\.captures) == [[], ["t"], ["u"]])
        let taken = try graph.taking([
            .init(node: 1, branch: "else_branch", staysBecause: false),
            .init(node: 2, branch: "then_branch", staysBecause: true),
        ])
        #expect(
            taken.nodes.map {
                "\($0.opType)(\($0.inputs.joined(separator: " "))) → \($0.outputs.joined(separator: " "))"
            }
            .enumerated().filter { $0.offset != 1 && $0.offset != 2 }.map(\.element)
                == ["Abs(x) → t", "Neg(u) → two/if/two/t.2", "If(two/if/two/t.2 k) → y"])
        #expect(
            taken.nodes[2].outputs == ["u"] && taken.nodes[2].opType == "Abs"
                && taken.nodes[1].inputs == ["t"])
    }

    @Test func modulesFromMetadata() throws {
        var builder = start()
        builder.function("Act", ["X"], ["Y"], [B.node("Neg", ["X"], ["Y"])])
        let scopes = "pkg.torch.onnx.name_scopes"
        builder.graph.node = [
            B.node(
                "Neg", ["x"], ["a"],
                metadata: [scopes: "['', 'layer4', 'layer4.2', \"layer4.2.conv3\", 'conv2d']"]),
            B.node(
                "Neg", ["a"], ["b"], metadata: ["namespace": ": a.b.Net/head: c.Linear/linear: aten.linear"]),
            B.node("Act", ["b"], ["c"], domain: "mine", metadata: [scopes: "['', 'act', 'neg']"]),
            B.node("Neg", ["c"], ["d"], metadata: [scopes: "["]),
            B.node("Neg", ["d"], ["e"], metadata: ["namespace": "/a/b"]),
            B.node("Neg", ["e"], ["y"], metadata: [scopes: "[]"]),
        ]
        #expect(
            try builder.model().graph.nodes.map(\.modules) == [
                ["layer4", "layer4.2", "layer4.2.conv3"], ["head"], ["act"], [], [], [],
            ])
    }

    // MARK: Refused

    private func expect(
        _ builder: ONNXBuilder, _ kind: ONNXError.Kind, _ parts: String...,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let error = failure(builder)
        #expect(error?.kind == kind, "\(error?.description ?? "no error")", sourceLocation: sourceLocation)
        let text = error?.description ?? ""
        #expect(text.hasSuffix("."), sourceLocation: sourceLocation)
        for part in parts { #expect(text.contains(part), "\(text)", sourceLocation: sourceLocation) }
    }

    @Test func refusals() {
        func model(
            _ nodes: [WireNode], inputs: [String] = ["X"], outputs: [String] = ["Y"],
            call: ([String], [String]) = (["x"], ["y"]), _ attributes: [String: ONNXAttribute] = [:],
            _ change: (inout ONNXBuilder) -> Void = { _ in }
        ) -> ONNXBuilder {
            var builder = start()
            builder.function("F", inputs, outputs, nodes)
            builder.node("F", call.0, call.1, attributes, name: "call", domain: "mine")
            change(&builder)
            return builder
        }
        let neg = B.node("Neg", ["X"], ["Y"], name: "inner")
        #expect(failure(model([neg])) == nil)
        expect(model([neg], call: (["x", "x"], ["y"])), .malformed, "2 inputs", "'call'", "mine.F")
        expect(model([neg], call: (["x"], ["y", "z"])), .malformed, "2 outputs", "'call'")
        expect(model([neg], ["k": 1]), .invalidAttribute, "'k'", "'call'", "mine.F")
        expect(model([B.node("Neg", ["z"], ["Y"])]), .missingValue, "'z'", "mine.F")
        expect(model([neg], outputs: ["Z"]), .missingValue, "'Z'", "mine.F")
        expect(model([neg, neg]), .duplicateName, "'Y'", "mine.F")
        expect(model([neg], inputs: ["X", "X"]), .duplicateName, "'X'")
        expect(model([reference(neg, "k", to: "gone")]), .invalidAttribute, "'k'", "'gone'", "'inner'")
        expect(model([B.node("F", ["X"], ["Y"], domain: "mine")]), .cycle, "mine.F", "itself")
        expect(
            model([neg]) { $0.wire.functions[0].opsetImport[0].version = 12 }, .unsupportedOpset, "12", "17",
            "mine.F")
        expect(model([neg]) { $0.wire.functions[0].opsetImport = [] }, .unsupportedOpset, "mine.F")
        expect(model([neg]) { $0.wire.functions.append($0.wire.functions[0]) }, .duplicateName, "mine.F")
        expect(model([], outputs: ["X"], call: ([""], ["y"])), .missingValue, "'y'", "left out")
        expect(
            model([neg]) { $0.graph.node.append(reference(B.node("Neg", ["y"], ["z"]), "k", to: "k")) },
            .malformed, "'k'")
        // What nobody calls may be anything.
        #expect(
            failure(
                model([neg]) { $0.function("G", ["X"], ["Z"], [B.node("G", ["x"], ["y"], domain: "mine")]) })
                == nil)
    }

    /// Ten calls in each of ten functions are ten thousand million nodes, and nobody makes them.
    @Test(arguments: [true, false]) func explosions(_ isEmpty: Bool) {
        var builder = start()
        for i in 0..<10 {
            let nodes = (0..<10).map {
                B.node(
                    "F\(i + 1)", [$0 == 0 ? "X" : "t\($0)"], [$0 == 9 ? "Y" : "t\($0 + 1)"], domain: "mine")
            }
            builder.function("F\(i)", ["X"], ["Y"], nodes)
        }
        builder.function("F10", ["X"], isEmpty ? ["X"] : ["Y"], isEmpty ? [] : [B.node("Neg", ["X"], ["Y"])])
        builder.node("F0", ["x"], ["y"], domain: "mine")
        let error = failure { () throws(ONNXError) in
            _ = try ONNXModel(data: builder.data(), memory: 64 << 20)
        }
        #expect(
            error?.kind == .memory && error?.description.contains("functions") == true,
            "\(error?.description ?? "")")
    }

    @Test func deepCalls() {
        var builder = start()
        for i in 0..<500 {
            builder.function("F\(i)", ["X"], ["Y"], [B.node("F\(i + 1)", ["X"], ["Y"], domain: "mine")])
        }
        builder.node("F0", ["x"], ["y"], domain: "mine")
        expect(builder, .unsupportedFeature, "deep")
    }

    /// Graphs within graphs are counted, and refused where they never end.
    @Test func deepGraphs() {
        func header(_ number: UInt8, _ size: Int) -> Data {
            var (bytes, size) = (Data([number << 3 | 2]), size)
            while size > 127 {
                bytes.append(UInt8(size & 127 | 128))
                size >>= 7
            }
            return bytes + [UInt8(size)]
        }
        // From the innermost: a graph in an attribute of a node of a graph.
        var (headers, size): ([Data], Int) = ([], 0)
        func wrap(_ number: UInt8) {
            headers.append(header(number, size))
            size += headers.last!.count
        }
        for _ in 0..<50_000 { for number: UInt8 in [6, 5, 1] { wrap(number) } }
        wrap(7)
        // A second graph is one with the first.
        var file = start().data()
        for header in headers.reversed() { file.append(header) }
        let error = failure { () throws(ONNXError) in _ = try ONNXModel(data: file) }
        #expect(error?.kind == .malformed, "\(error?.description ?? "")")
    }
}
