import SwiftProtobuf

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Builds an ONNX file, for tests and examples. Nothing is checked before the file is read: `data()` writes what it
/// was told, so that tests can also write files that are wrong.
///
///     var builder = ONNXBuilder()
///     builder.input("x", [1, 3, 8, 8])
///     builder.initializer("w", [4, 3, 3, 3], floats: weights)
///     builder.node("Conv", ["x", "w"], ["y"], ["pads": [1, 1, 1, 1]])
///     builder.output("y", [1, 4, 8, 8])
///     let model = try builder.model()
package struct ONNXBuilder: Sendable {
    /// The message so far without its graph, for what has no method here.
    package var wire = WireModel()
    /// The graph so far. It is kept apart since an array inside an inner message is copied at each change.
    package var graph = WireGraph()

    /// - Parameters:
    ///   - opset: the version of ai.onnx, nil to leave it out.
    package init(name: String = "graph", opset: Int? = 17, irVersion: Int = 8) {
        wire.irVersion = Int64(irVersion)
        wire.producerName = "whitebox"
        graph.name = name
        if let opset { self.opset(opset) }
    }

    package mutating func opset(_ version: Int, domain: String = "") {
        var entry = WireOperatorSet()
        entry.domain = domain
        entry.version = Int64(version)
        wire.opsetImport.append(entry)
    }

    /// Sets an entry of the metadata.
    package mutating func metadata(_ key: String, _ value: String) {
        wire.metadataProps.removeAll { $0.key == key }
        var entry = WireStringPair()
        entry.key = key
        entry.value = value
        wire.metadataProps.append(entry)
    }

    package mutating func input(_ name: String, _ dims: [ONNXDimension]?, type: ONNXDataType = .float32) {
        graph.input.append(ONNXValueInfo(name: name, type: .tensor(type), dims: dims).wire)
    }

    package mutating func output(
        _ name: String, _ dims: [ONNXDimension]? = nil, type: ONNXDataType = .float32
    ) {
        graph.output.append(ONNXValueInfo(name: name, type: .tensor(type), dims: dims).wire)
    }

    package mutating func valueInfo(_ name: String, _ dims: [ONNXDimension]?, type: ONNXDataType = .float32) {
        graph.valueInfo.append(ONNXValueInfo(name: name, type: .tensor(type), dims: dims).wire)
    }

    package mutating func initializer(_ name: String, _ dims: [Int], floats: [Float]) {
        initializer(ONNXTensor(name: name, dims: dims, floats: floats))
    }

    package mutating func initializer(_ name: String, _ dims: [Int], ints: [Int64]) {
        initializer(ONNXTensor(name: name, dims: dims, ints: ints))
    }

    package mutating func initializer(_ tensor: ONNXTensor) {
        graph.initializer.append(tensor.wire)
    }

    package mutating func node(
        _ opType: String, _ inputs: [String], _ outputs: [String],
        _ attributes: [String: ONNXAttribute] = [:],
        name: String = "", domain: String = ""
    ) {
        graph.node.append(Self.node(opType, inputs, outputs, attributes, name: name, domain: domain))
    }

    /// A node, for functions and for graphs inside nodes.
    package static func node(
        _ opType: String, _ inputs: [String], _ outputs: [String],
        _ attributes: [String: ONNXAttribute] = [:],
        name: String = "", domain: String = "", metadata: [String: String] = [:]
    ) -> WireNode {
        var wire = ONNXNode(
            name: name, opType: opType, domain: domain, inputs: inputs, outputs: outputs,
            attributes: attributes, file: ""
        ).wire
        wire.metadataProps = metadata.sorted { $0.key < $1.key }.map { pair in
            .with { ($0.key, $0.value) = pair }
        }
        return wire
    }

    /// Defines a function of the operators of ai.onnx in the builder's first opset.
    package mutating func function(
        _ name: String, _ inputs: [String], _ outputs: [String], _ nodes: [WireNode], domain: String = "mine",
        attributes: [String] = [], overload: String = ""
    ) {
        var function = WireFunction()
        (function.name, function.domain, function.overload) = (name, domain, overload)
        (function.input, function.output, function.attribute) = (inputs, outputs, attributes)
        function.node = nodes
        function.opsetImport = Array(wire.opsetImport.prefix(1))
        wire.functions.append(function)
    }

    /// A node `If`. Its branches read the values around it.
    package mutating func branch(
        if condition: String, then: ([WireNode], [String]), else other: ([WireNode], [String]),
        _ outputs: [String],
        name: String = ""
    ) {
        func attribute(_ name: String, _ branch: ([WireNode], [String])) -> WireAttribute {
            .with {
                ($0.name, $0.type) = (name, .graph)
                $0.g.name = name
                $0.g.node = branch.0
                $0.g.output = branch.1.map { output in .with { $0.name = output } }
            }
        }
        var node = Self.node("If", [condition], outputs, name: name)
        node.attribute = [attribute("then_branch", then), attribute("else_branch", other)]
        graph.node.append(node)
    }

    /// The bytes of the file; the same for the same calls.
    package func data() -> Data {
        var wire = wire
        wire.graph = graph
        do {
            return try wire.serializedBytes()
        } catch {
            preconditionFailure("a message of more than 2 GB: \(error)")
        }
    }

    /// The file, written and read back.
    package func model(name: String = "(model in memory)", folder: String? = nil) throws(ONNXError)
        -> ONNXModel
    {
        try ONNXModel(data: data(), name: name, folder: folder)
    }
}
