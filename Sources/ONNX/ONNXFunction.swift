// Operators that a model defines itself: each use of one gives way to the nodes of which it is made, when the file is read. So nobody else
// knows of them.

import Text

/// An operator that a model defines itself.
private struct ONNXFunction {
    /// The end of sentences.
    let label: String
    let inputs: [String]
    let outputs: [String]
    let nodes: [ONNXNode]
    let defaults: [String: ONNXAttribute]
    /// The attributes without a default.
    let attributes: Set<String>

    init(
        _ wire: WireFunction, label: String, opset: Int, file: String, externalData: inout ExternalData
    ) throws(ONNXError) {
        func failure(_ kind: ONNXError.Kind, _ reason: String) -> ONNXError {
            ONNXError(kind, file: file, reason)
        }
        self.label = label
        (inputs, outputs, attributes) = (wire.input, wire.output, Set(wire.attribute))
        var defaults: [String: ONNXAttribute] = [:]
        for attribute in wire.attributeProto {
            defaults[attribute.name] = try ONNXAttribute(
                attribute, label: "the attribute \(quoted(attribute.name)) of \(label)", file: file,
                externalData: &externalData)
        }
        self.defaults = defaults
        var nodes: [ONNXNode] = []
        for (index, node) in wire.node.enumerated() {
            nodes.append(try ONNXNode(node, index: index, file: file, externalData: &externalData))
        }
        self.nodes = nodes

        var made: Set<String> = []
        for name in inputs + nodes.flatMap({ $0.outputs.filter { !$0.isEmpty } }) {
            guard made.insert(name).inserted else {
                throw failure(.duplicateName, "The value \(quoted(name)) is made twice in \(label).")
            }
        }
        for node in nodes {
            for name in node.inputs + node.captures where !name.isEmpty && !made.contains(name) {
                throw failure(
                    .missingValue,
                    "The value \(quoted(name)) is read by \(node.label) in \(label), where nothing provides it."
                )
            }
        }
        if let name = outputs.first(where: { !made.contains($0) }) {
            throw failure(
                .missingValue, "The output \(quoted(name)) of \(label) is not produced by any node.")
        }
        // The operators of another operator set may be others.
        let own = wire.opsetImport.first { $0.domain.isEmpty || $0.domain == "ai.onnx" }
        guard own.map({ Int($0.version) == opset }) ?? !nodes.contains(where: \.usesStandardOperators) else {
            throw failure(
                .unsupportedOpset,
                own.map {
                    "The \(label) is written for opset \($0.version) and the model for opset \(opset), which is not supported; export it again with one opset, or inline it with onnx.inliner."
                } ?? "The \(label) does not say its opset.")
        }
    }
}

extension ONNXNode {
    /// Whether it, or a node inside it, is an operator of ai.onnx.
    fileprivate var usesStandardOperators: Bool {
        domain.isEmpty
            || attributes.values.contains {
                if case .graph(let graph) = $0 {
                    graph.nodes.contains(where: \.usesStandardOperators)
                } else {
                    false
                }
            }
    }
}

/// Puts the nodes of functions in the places of their calls.
struct FunctionInliner {
    /// Calls within calls and graphs within nodes, of which a sound file has a few.
    private static let mostDepth = 64
    /// Nodes of all calls together.
    private static let mostNodes = 1_000_000

    private struct Key: Hashable {
        let domain: String, name: String, overload: String
        init(_ domain: String, _ name: String, _ overload: String) {
            (self.domain, self.name, self.overload) = (domain == "ai.onnx" ? "" : domain, name, overload)
        }
        var label: String {
            "function \(quoted((domain.isEmpty ? "" : domain + ".") + name + (overload.isEmpty ? "" : ":" + overload)))"
        }
    }

    private let wire: [Key: WireFunction]
    private let opset: Int
    private let file: String
    private let mostMemory: Int
    /// Bytes that the file's parts and all that is made of functions take, at most.
    private(set) var memory: Int
    private var made = 0
    /// Those that were called so far.
    private var functions: [Key: ONNXFunction] = [:]
    private var active: [Key] = []
    private var names = FreshNames([])

    /// - Parameter used: bytes that the file's parts take.
    init(_ functions: [WireFunction], opset: Int, file: String, memory: Int, used: Int) throws(ONNXError) {
        (self.opset, self.file, mostMemory, self.memory) = (opset, file, memory, used)
        var wire: [Key: WireFunction] = [:]
        for function in functions {
            let key = Key(function.domain, function.name, function.overload)
            guard wire.updateValue(function, forKey: key) == nil else {
                throw ONNXError(.duplicateName, file: file, "The model defines the \(key.label) twice.")
            }
        }
        self.wire = wire
    }

    /// The nodes of a graph without calls.
    /// - Parameter others: names of values that the nodes do not make.
    mutating func inlined(
        _ nodes: [ONNXNode], among others: Set<String>, externalData: inout ExternalData
    ) throws(ONNXError) -> [ONNXNode] {
        if let (node, name) = Self.reference(nodes) {
            throw ONNXError(
                .malformed, file: file,
                "The attribute \(quoted(name)) of \(node.label) refers to a function's attribute, and the node is in no function."
            )
        }
        guard !wire.isEmpty else { return nodes }
        names = FreshNames(Array(others) + nodes.flatMap { $0.outputs + $0.definedInside })
        var result: [ONNXNode] = []
        for node in nodes { try append(node, to: &result, depth: 0, &externalData) }
        return result
    }

    /// A node that refers to an attribute of a function.
    private static func reference(_ nodes: [ONNXNode]) -> (ONNXNode, String)? {
        for node in nodes {
            for (name, attribute) in node.orderedAttributes {
                switch attribute {
                case .reference: return (node, name)
                case .graph(let graph): if let found = reference(graph.nodes) { return found }
                default: break
                }
            }
        }
        return nil
    }

    /// Appends a node, or what it stands for.
    private mutating func append(
        _ node: ONNXNode, to result: inout [ONNXNode], depth: Int, _ externalData: inout ExternalData
    ) throws(ONNXError) {
        guard depth < Self.mostDepth else {
            throw ONNXError(
                .unsupportedFeature, file: file,
                "The calls of functions in \(node.label) go more than \(Self.mostDepth) deep, which is not supported."
            )
        }
        let key = Key(node.domain, node.opType, node.overload)
        if let definition = wire[key] {
            try call(key, definition, node, to: &result, depth: depth, &externalData)
            return
        }
        var attributes = node.attributes
        for (name, attribute) in node.orderedAttributes {
            guard case .graph(let graph) = attribute else { continue }
            var inner: [ONNXNode] = []
            for node in graph.nodes { try append(node, to: &inner, depth: depth + 1, &externalData) }
            attributes[name] = .graph(
                ONNXSubgraph(
                    inputs: graph.inputs, outputs: graph.outputs, nodes: inner,
                    initializers: graph.initializers))
        }
        result.append(
            ONNXNode(
                name: node.name, opType: node.opType, domain: node.domain, overload: node.overload,
                inputs: node.inputs,
                outputs: node.outputs, attributes: attributes, captures: ONNXNode.captures(attributes),
                modules: node.modules, file: node.file))
    }

    private mutating func call(
        _ key: Key, _ definition: WireFunction, _ node: ONNXNode, to result: inout [ONNXNode], depth: Int,
        _ externalData: inout ExternalData
    ) throws(ONNXError) {
        func failure(_ kind: ONNXError.Kind, _ reason: String) -> ONNXError {
            ONNXError(kind, file: node.file, reason)
        }
        guard !active.contains(key) else {
            throw failure(.cycle, "The \(key.label) calls itself, so the model cannot be run.")
        }
        let function: ONNXFunction
        if let known = functions[key] {
            function = known
        } else {
            function = try ONNXFunction(
                definition, label: key.label, opset: opset, file: file, externalData: &externalData)
            functions[key] = function
        }
        guard node.inputs.count <= function.inputs.count, node.outputs.count <= function.outputs.count else {
            throw failure(
                .malformed,
                "There are \(node.inputs.count) inputs and \(node.outputs.count) outputs at \(node.label), where its \(key.label) has \(function.inputs.count) and \(function.outputs.count)."
            )
        }
        if let unknown = node.attributes.keys.sorted().first(where: {
            !function.attributes.contains($0) && function.defaults[$0] == nil
        }) {
            throw failure(
                .invalidAttribute,
                "The attribute \(quoted(unknown)) of \(node.label) is none that its \(key.label) has.")
        }
        var place = Placement(
            node: node, values: [:], attributes: function.defaults.merging(node.attributes) { $1 },
            missing: function.attributes)
        for (i, name) in function.inputs.enumerated() {
            place.values[name] = i < node.inputs.count ? node.inputs[i] : ""
        }
        // An output that is an input, or two outputs that are one value, are passed on.
        var passed: [(from: String, to: String)] = []
        for (name, value) in zip(function.outputs, node.outputs) where !value.isEmpty {
            if let known = place.values[name] {
                passed.append((known, value))
            } else {
                place.values[name] = value
            }
        }
        for name in function.nodes.flatMap(\.outputs) where !name.isEmpty && place.values[name] == nil {
            place.values[name] = names.make(node.name, name)
        }
        active.append(key)
        try count(node)
        for inner in function.nodes {
            let copy = try place.placed(inner, &names)
            try count(copy)
            try append(copy, to: &result, depth: depth + 1, &externalData)
        }
        active.removeLast()
        for (from, to) in passed {
            guard !from.isEmpty else {
                throw failure(
                    .missingValue,
                    "The output \(quoted(to)) of \(node.label) is an input of its \(key.label) that is left out."
                )
            }
            let copy = ONNXNode(
                name: node.name, opType: "Identity", inputs: [from], outputs: [to], modules: node.modules,
                file: node.file)
            try count(copy)
            result.append(copy)
        }
    }

    /// Counts a copy, and what is inside it.
    private mutating func count(_ node: ONNXNode) throws(ONNXError) {
        made += 1
        memory += WireMessage.copy(node)
        guard memory <= mostMemory, made <= Self.mostNodes else {
            throw ONNXError(
                .memory, file: file,
                "What the model's functions come to, up to \(node.label), takes more memory than the memory limit leaves (\(mostMemory >> 20) MiB), or has more than \(Self.mostNodes) nodes; a sound model needs far less."
            )
        }
        for case .graph(let graph) in node.attributes.values {
            for node in graph.nodes { try count(node) }
        }
    }
}
