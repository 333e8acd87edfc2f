// Graphs inside nodes, and how one takes the place of its node.

import Text

/// A graph inside a node. It reads the values around it by their names.
package struct ONNXSubgraph: Sendable {
    package let inputs: [String]
    package let outputs: [String]
    let nodes: [ONNXNode]
    let initializers: [ONNXTensor]
    /// What it reads from around it.
    let captures: [String]

    /// An empty one.
    package init() { self.init(inputs: [], outputs: [], nodes: [], initializers: []) }

    init(inputs: [String], outputs: [String], nodes: [ONNXNode], initializers: [ONNXTensor]) {
        (self.inputs, self.outputs, self.nodes, self.initializers) = (inputs, outputs, nodes, initializers)
        let own = Set(inputs + initializers.map(\.name) + nodes.flatMap(\.outputs))
        let reads = Set(outputs + nodes.flatMap { $0.inputs + $0.captures })
        captures = reads.filter { !$0.isEmpty && !own.contains($0) }.sorted()
    }

    /// The names of the values that it makes, and the graphs in its nodes make.
    var defined: [String] {
        inputs + initializers.map(\.name) + nodes.flatMap { $0.outputs + $0.definedInside }
    }
}

extension ONNXNode {
    /// The attributes by name, for who makes names on the way: of those that several graphs have in common always the same one gets the
    /// number.
    var orderedAttributes: [(key: String, value: ONNXAttribute)] { attributes.sorted { $0.key < $1.key } }

    /// The names of the values that graphs inside it make.
    var definedInside: [String] {
        attributes.values.flatMap { if case .graph(let graph) = $0 { graph.defined } else { [String]() } }
    }
}

extension ONNXSubgraph {
    init(
        _ wire: WireGraph, label: String, file: String, externalData: inout ExternalData
    ) throws(ONNXError) {
        func failure(_ kind: ONNXError.Kind, _ reason: String) -> ONNXError {
            ONNXError(kind, file: file, reason)
        }
        guard wire.sparseInitializer.isEmpty else {
            throw failure(
                .unsupportedFeature, "There are sparse initializers in \(label), which are not supported.")
        }
        var initializers: [ONNXTensor] = []
        for tensor in wire.initializer {
            initializers.append(
                try ONNXTensor(
                    tensor, raw: nil, label: "the initializer \(quoted(tensor.name)) in \(label)", file: file,
                    externalData: &externalData))
        }
        var nodes: [ONNXNode] = []
        for (index, node) in wire.node.enumerated() {
            nodes.append(try ONNXNode(node, index: index, file: file, externalData: &externalData))
        }
        self.init(
            inputs: wire.input.map(\.name), outputs: wire.output.map(\.name), nodes: nodes,
            initializers: initializers)
        guard !outputs.contains("") else { throw failure(.malformed, "An output in \(label) has no name.") }
        var names: Set<String> = []
        for name in inputs + initializers.map(\.name) + nodes.flatMap({ $0.outputs.filter { !$0.isEmpty } }) {
            guard !name.isEmpty else {
                throw failure(.malformed, "An input or initializer in \(label) has no name.")
            }
            guard names.insert(name).inserted else {
                throw failure(.duplicateName, "The value \(quoted(name)) is made twice in \(label).")
            }
        }
    }

    var wire: WireGraph {
        .with { wire in
            wire.input = inputs.map { name in .with { $0.name = name } }
            wire.output = outputs.map { name in .with { $0.name = name } }
            wire.node = nodes.map(\.wire)
            wire.initializer = initializers.map(\.wire)
        }
    }
}

// MARK: - In another place

/// Names for values, none of which is there already.
struct FreshNames {
    private var taken: Set<String>
    private var last: [String: Int] = [:]

    init(_ taken: some Sequence<String>) { self.taken = Set(taken) }

    /// The name, within the node of that name: with a number behind it where there is one already.
    mutating func make(_ node: String, _ name: String) -> String {
        let wish = node + "/" + name
        var name = wish
        while !taken.insert(name).inserted {
            last[wish, default: 1] += 1
            name = "\(wish).\(last[wish]!)"
        }
        return name
    }
}

/// How nodes are changed that are put in the place of another node.
struct Placement {
    /// The node whose place they take.
    let node: ONNXNode
    /// What values are called there. Those that are not here keep their names.
    var values: [String: String]
    /// Of a function, the attributes that it was called with, with the defaults.
    var attributes: [String: ONNXAttribute]?
    /// Of a function, the attributes that have neither a value nor a default.
    var missing: Set<String> = []

    func name(_ value: String) -> String { values[value] ?? value }

    func placed(_ node: ONNXNode, _ names: inout FreshNames) throws(ONNXError) -> ONNXNode {
        var attributes: [String: ONNXAttribute] = [:]
        for (name, value) in node.orderedAttributes {
            attributes[name] = try placed(value, called: name, of: node, &names)
        }
        return ONNXNode(
            name: self.node.name + "/" + node.name, opType: node.opType, domain: node.domain,
            overload: node.overload,
            inputs: node.inputs.map(name), outputs: node.outputs.map(name), attributes: attributes,
            captures: ONNXNode.captures(attributes),
            modules: node.modules.isEmpty ? self.node.modules : node.modules, file: node.file)
    }

    /// - Returns: nil if the attribute is left out.
    private func placed(
        _ attribute: ONNXAttribute, called name: String, of node: ONNXNode, _ names: inout FreshNames
    ) throws(ONNXError) -> ONNXAttribute? {
        switch attribute {
        case .graph(let graph):
            var inside = self
            for name in graph.inputs + graph.initializers.map(\.name) + graph.nodes.flatMap(\.outputs)
            where !name.isEmpty { inside.values[name] = names.make(self.node.name, name) }
            var nodes: [ONNXNode] = []
            for node in graph.nodes { nodes.append(try inside.placed(node, &names)) }
            return .graph(
                ONNXSubgraph(
                    inputs: graph.inputs.map(inside.name), outputs: graph.outputs.map(inside.name),
                    nodes: nodes,
                    initializers: graph.initializers.map { $0.named(inside.name($0.name)) }))
        case .reference(let wanted):
            guard let attributes else { return attribute }
            if let value = attributes[wanted] { return value }
            if missing.contains(wanted) { return nil }
            throw ONNXError(
                .invalidAttribute, file: node.file,
                "The attribute \(quoted(name)) of \(node.label) is that of the attribute \(quoted(wanted)), which its function does not have."
            )
        default: return attribute
        }
    }
}

extension ONNXGraph {
    /// A node that chooses one of its graphs, and the one that it takes.
    package struct Taken: Sendable {
        /// Where the node is among the graph's.
        package let node: Int
        /// The attribute that holds the graph.
        package let branch: String
        /// Whether a node stays that passes the outputs on, and reads what decided: the node's input.
        package let staysBecause: Bool
        package init(node: Int, branch: String, staysBecause: Bool) {
            (self.node, self.branch, self.staysBecause) = (node, branch, staysBecause)
        }
    }

    /// The same graph, in which nodes have given way to graphs inside them.
    package func taking(_ taken: [Taken]) throws(ONNXError) -> ONNXGraph {
        var names = FreshNames(
            inputs.map(\.name) + initializers.keys + nodes.flatMap { $0.outputs + $0.definedInside })
        var initializers = initializers
        let branches = Dictionary(uniqueKeysWithValues: taken.map { ($0.node, $0) })
        var result: [ONNXNode] = []
        for (i, node) in nodes.enumerated() {
            guard let taken = branches[i] else {
                result.append(node)
                continue
            }
            func failure(_ reason: String) -> ONNXError { ONNXError(.malformed, file: node.file, reason) }
            guard case .graph(let graph)? = node.attributes[taken.branch] else {
                throw failure("There is no graph \(quoted(taken.branch)) in \(node.label).")
            }
            guard graph.inputs.isEmpty, graph.outputs.count >= node.outputs.count else {
                throw failure(
                    "The graph \(quoted(taken.branch)) of \(node.label) has \(graph.inputs.count) inputs and \(graph.outputs.count) outputs, where the node has \(node.outputs.count) outputs."
                )
            }
            var place = Placement(node: node, values: [:])
            let made = Set(graph.nodes.flatMap(\.outputs))
            if !taken.staysBecause {
                for (inner, outer) in zip(graph.outputs, node.outputs)
                where !outer.isEmpty && made.contains(inner) && place.values[inner] == nil {
                    place.values[inner] = outer
                }
            }
            for name in graph.initializers.map(\.name) + graph.nodes.flatMap(\.outputs)
            where !name.isEmpty && place.values[name] == nil {
                place.values[name] = names.make(node.name, name)
            }
            for tensor in graph.initializers {
                let tensor = tensor.named(place.name(tensor.name))
                initializers[tensor.name] = tensor
            }
            for inner in graph.nodes { result.append(try place.placed(inner, &names)) }
            for (inner, outer) in zip(graph.outputs, node.outputs)
            where !outer.isEmpty && place.name(inner) != outer {
                result.append(
                    ONNXNode(
                        name: node.name, opType: taken.staysBecause ? node.opType : "Identity",
                        inputs: [place.name(inner)] + (taken.staysBecause ? node.inputs : []),
                        outputs: [outer],
                        modules: node.modules, file: node.file))
            }
        }
        var producers: [String: Int] = [:]
        for (i, node) in result.enumerated() {
            for output in node.outputs where !output.isEmpty { producers[output] = i }
        }
        return ONNXGraph(
            name: name, inputs: inputs, outputs: outputs,
            nodes: try Self.sorted(result, producers: producers, file: result.first?.file ?? ""),
            initializers: initializers, valueInfo: valueInfo)
    }
}
