import Text

/// The network of a model. Its names are unique, its nodes stand in an order in which they can be run, and every
/// value that is read is produced.
package struct ONNXGraph: Sendable {
    package let name: String
    /// What must be fed, in the order of the file. Initializers that are also listed as inputs (as they had to be
    /// before IR version 4) are not among them: their stored value is always used.
    package let inputs: [ONNXValueInfo]
    package let outputs: [ONNXValueInfo]
    /// In the order of the file if that is an order in which they can be run, else sorted.
    package let nodes: [ONNXNode]
    package let initializers: [String: ONNXTensor]
    /// What the file says of the types and shapes of inner values. Nobody has checked it.
    package let valueInfo: [String: ONNXValueInfo]
}

/// The name of a value with its element type and shape, as far as the file gives them.
package struct ONNXValueInfo: Sendable, Hashable {
    package let name: String
    package let type: ValueType
    /// nil if the file does not even say how many dimensions there are.
    package let dims: [ONNXDimension]?

    package enum ValueType: Sendable, Hashable, CustomStringConvertible {
        case tensor(ONNXDataType)
        /// A tensor of another element type, a sequence, a map, or nothing, in words.
        case other(String)

        package var description: String {
            switch self {
            case .tensor(let type): type.description
            case .other(let name): name
            }
        }
    }

    package init(name: String, type: ValueType = .tensor(.float32), dims: [ONNXDimension]?) {
        self.name = name
        self.type = type
        self.dims = dims
    }
}

/// One dimension of a shape: `224`, `"batch"`, or unknown.
package enum ONNXDimension: Sendable, Hashable, CustomStringConvertible, ExpressibleByIntegerLiteral,
    ExpressibleByStringLiteral
{
    case fixed(Int)
    /// Known when the network runs; equal names mean equal sizes.
    case symbolic(String)
    case unknown

    package init(integerLiteral value: Int) { self = .fixed(value) }
    package init(stringLiteral value: String) { self = .symbolic(value) }

    /// The size, if it is fixed.
    package var size: Int? { if case .fixed(let size) = self { size } else { nil } }

    package var description: String {
        switch self {
        case .fixed(let size): String(size)
        case .symbolic(let name): name
        case .unknown: "?"
        }
    }
}

// MARK: - From the file

extension ONNXGraph {
    /// - Parameter wire: the graph without its nodes and initializers.
    init(
        _ wire: WireGraph, nodes wireNodes: [WireNode], initializers wireInitializers: [ONNXTensor],
        file: String,
        functions: inout FunctionInliner, externalData: inout ExternalData
    ) throws(ONNXError) {
        func failure(_ kind: ONNXError.Kind, _ reason: String) -> ONNXError {
            ONNXError(kind, file: file, reason)
        }
        guard wire.sparseInitializer.isEmpty else {
            throw failure(
                .unsupportedFeature,
                "The graph has sparse initializers, which are not supported; export the model with dense weights."
            )
        }
        name = wire.name

        var initializers: [String: ONNXTensor] = [:]
        initializers.reserveCapacity(wireInitializers.count)
        for tensor in wireInitializers {
            guard initializers.updateValue(tensor, forKey: tensor.name) == nil else {
                throw failure(.duplicateName, "Two initializers have the name \(quoted(tensor.name)).")
            }
        }
        self.initializers = initializers

        var inputs: [ONNXValueInfo] = []
        var inputNames: Set<String> = []
        for value in wire.input {
            guard !value.name.isEmpty else { throw failure(.malformed, "An input of the graph has no name.") }
            guard inputNames.insert(value.name).inserted else {
                throw failure(.duplicateName, "Two inputs of the graph have the name \(quoted(value.name)).")
            }
            if initializers[value.name] == nil { inputs.append(try ONNXValueInfo(value, file: file)) }
        }
        self.inputs = inputs

        var nodes: [ONNXNode] = []
        nodes.reserveCapacity(wireNodes.count)
        for (index, node) in wireNodes.enumerated() {
            nodes.append(try ONNXNode(node, index: index, file: file, externalData: &externalData))
        }
        nodes = try functions.inlined(
            nodes, among: inputNames.union(initializers.keys), externalData: &externalData)
        var producers: [String: Int] = [:]
        for (index, node) in nodes.enumerated() {
            for output in node.outputs where !output.isEmpty {
                if let other = producers.updateValue(index, forKey: output) {
                    throw failure(
                        .duplicateName,
                        other == index
                            ? "The value \(quoted(output)) is made twice by \(node.label)."
                            : "The value \(quoted(output)) is made by \(nodes[other].label) and again by \(node.label)."
                    )
                }
                if initializers[output] != nil || inputNames.contains(output) {
                    throw failure(
                        .duplicateName,
                        "The value \(quoted(output)) is made by \(node.label), but it is also an "
                            + (initializers[output] != nil ? "initializer." : "input of the graph."))
                }
            }
        }
        for node in nodes {
            for input in node.inputs + node.captures
            where !input.isEmpty && producers[input] == nil && initializers[input] == nil
                && !inputNames.contains(input)
            {
                throw failure(
                    .missingValue,
                    "The value \(quoted(input)) is read by \(node.label), but no node, input or initializer of the "
                        + "graph provides it.")
            }
        }

        guard !wire.output.isEmpty else { throw failure(.missingValue, "The graph has no outputs.") }
        var outputs: [ONNXValueInfo] = []
        var outputNames: Set<String> = []
        for value in wire.output {
            guard !value.name.isEmpty else {
                throw failure(.malformed, "An output of the graph has no name.")
            }
            guard outputNames.insert(value.name).inserted else {
                throw failure(.duplicateName, "Two outputs of the graph have the name \(quoted(value.name)).")
            }
            guard
                producers[value.name] != nil || initializers[value.name] != nil
                    || inputNames.contains(value.name)
            else {
                throw failure(
                    .missingValue,
                    "The output \(quoted(value.name)) of the graph is not produced by any node.")
            }
            outputs.append(try ONNXValueInfo(value, file: file))
        }
        self.outputs = outputs

        var valueInfo: [String: ONNXValueInfo] = [:]
        for value in wire.valueInfo where !value.name.isEmpty {
            valueInfo[value.name] = try ONNXValueInfo(value, file: file)
        }
        self.valueInfo = valueInfo
        self.nodes = try Self.sorted(nodes, producers: producers, file: file)
    }

    /// The nodes in an order in which each comes after those that it reads from: the given order where it is one,
    /// else each node right after the last of its sources that is not yet there.
    static func sorted(
        _ nodes: [ONNXNode], producers: [String: Int], file: String
    ) throws(ONNXError) -> [ONNXNode] {
        let sources = nodes.map { node in (node.inputs + node.captures).compactMap { producers[$0] } }
        if sources.enumerated().allSatisfy({ index, sources in sources.allSatisfy { $0 < index } }) {
            return nodes
        }

        enum State { case untouched, waiting, placed }
        var states = [State](repeating: .untouched, count: nodes.count)
        var order: [ONNXNode] = []
        order.reserveCapacity(nodes.count)
        // A walk with its own stack, since a chain of nodes may be longer than a thread's stack is deep.
        var path: [(node: Int, next: Int)] = []
        for start in nodes.indices where states[start] == .untouched {
            path.append((start, 0))
            states[start] = .waiting
            while let (node, next) = path.last {
                guard next < sources[node].count else {
                    states[node] = .placed
                    order.append(nodes[node])
                    path.removeLast()
                    continue
                }
                path[path.count - 1].next += 1
                let source = sources[node][next]
                switch states[source] {
                case .placed: break
                case .untouched:
                    path.append((source, 0))
                    states[source] = .waiting
                case .waiting:
                    // The path goes from reader to source; the data flows the other way.
                    let first = path.firstIndex { $0.node == source } ?? 0
                    var circle = path[first...].reversed().map(\.node)
                    if let earliest = circle.indices.min(by: { circle[$0] < circle[$1] }) {
                        circle = Array(circle[earliest...] + circle[..<earliest])
                    }
                    let names = circle.map { quoted(nodes[$0].name) }
                    let shown = names.prefix(8).joined(separator: " → ") + (names.count > 8 ? " → …" : "")
                    throw ONNXError(
                        .cycle, file: file,
                        "The nodes \(shown) → \(names[0]) wait for one another in a circle, so the graph cannot be run."
                    )
                }
            }
        }
        return order
    }
}

extension ONNXValueInfo {
    fileprivate init(_ wire: WireValueInfo, file: String) throws(ONNXError) {
        name = wire.name
        switch wire.type.value {
        case .tensorType(let tensor):
            type =
                ONNXDataType(rawValue: tensor.elemType).map { .tensor($0) }
                ?? .other("tensor of \(ONNXDataType.name(of: tensor.elemType))")
            guard tensor.hasShape else {
                dims = nil
                return
            }
            var dims: [ONNXDimension] = []
            for dim in tensor.shape.dim {
                switch dim.value {
                case .dimParam(let name): dims.append(name.isEmpty ? .unknown : .symbolic(name))
                // Some exporters write -1 for a dimension that they leave open.
                case nil, .dimValue(-1): dims.append(.unknown)
                case .dimValue(let size):
                    guard size >= 0, size <= Int64(Int32.max) else {
                        throw ONNXError(
                            .invalidShape, file: file,
                            "The shape of the value \(quoted(wire.name)) has the dimension \(size), which is "
                                + (size < 0 ? "negative." : "too large."))
                    }
                    dims.append(.fixed(Int(size)))
                }
            }
            self.dims = dims
        case .sequenceType: (type, dims) = (.other("sequence"), nil)
        case .mapType: (type, dims) = (.other("map"), nil)
        case .sparseTensorType: (type, dims) = (.other("sparse tensor"), nil)
        case .optionalType: (type, dims) = (.other("optional"), nil)
        case nil: (type, dims) = (.other("undefined"), nil)
        }
    }

    var wire: WireValueInfo {
        var wire = WireValueInfo()
        wire.name = name
        if case .tensor(let element) = type {
            wire.type.tensorType.elemType = element.rawValue
            if let dims {
                wire.type.tensorType.shape.dim = dims.map { dim in
                    var wire = WireDimension()
                    switch dim {
                    case .fixed(let size): wire.dimValue = Int64(size)
                    case .symbolic(let name): wire.dimParam = name
                    case .unknown: break
                    }
                    return wire
                }
                if dims.isEmpty { wire.type.tensorType.shape = WireShape() }
            }
        }
        return wire
    }
}
