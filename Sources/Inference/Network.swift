// A network: the nodes of an ONNX model with their operators, rewritten.
//
// What is decided here depends on the model alone. Which steps run is decided by the planner, from the network and the shapes;
// where they run, by the device.

import Kernels
import ONNX
import Text

/// A node of a network.
package struct NetworkNode: Sendable {
    /// Its name in the file.
    package let name: String
    package let type: String
    let operation: any Operator
    let inputs: [String]  // "" where an input is left out
    let outputs: [String]
    /// Numbers that were trained.
    package let parameters: Int
    /// Of a convolution that only runs when its own output is asked for: what it became one with.
    var merged: Merged?
    /// The modules that it belongs to as the exporter wrote them beside the node, if it did.
    var statedModules: [String] = []

    struct Merged {
        /// The node that does the work of both.
        let into: Int
        /// The normalisation that was there, for the gradient of the convolution's own output.
        let normalisation: any Operator, inputs: [String]
    }

    /// The same node with another operator and its inputs.
    func replacing(_ operation: any Operator, inputs: [String]) -> NetworkNode {
        NetworkNode(
            name: name, type: type, operation: operation, inputs: inputs, outputs: outputs,
            parameters: parameters, statedModules: statedModules)
    }

    /// The same node, whose one output has another name.
    func making(_ output: String) -> NetworkNode {
        NetworkNode(
            name: name, type: type, operation: operation, inputs: inputs, outputs: [output],
            parameters: parameters, statedModules: statedModules)
    }

    /// The same node, which reads another value in the place of one.
    func reading(_ value: String, insteadOf old: String) -> NetworkNode {
        guard inputs.contains(old) else { return self }
        var node = replacing(operation, inputs: inputs.map { $0 == old ? value : $0 })
        node.merged = merged
        return node
    }

    /// How sentences begin that are about it.
    var label: String { "The node “\(shortened(name))” (\(shortened(type)))" }

    /// The values that it reads and makes, without what is left out.
    var reads: [String] { inputs.filter { !$0.isEmpty } }
    var makes: [String] { outputs.filter { !$0.isEmpty } }
}

/// A network that can run and be differentiated.
package struct Network: Sendable {
    package let model: ONNXModel
    let interface: NetworkInterface
    package let inputName: String
    /// Extents of the input, of pictures [N, C, H, W]; nil where the file leaves them open.
    package let inputDims: [Int?]
    /// How many frames a video has, of a network of videos that leaves it open.
    package var frames = 16
    /// Whether the file's input is [N, H, W, C], and which of its values are.
    package let isChannelsLast: Bool
    let turned: Set<String>
    /// Whether the input is bytes, 0 … 255, in the file.
    package let takesBytes: Bool
    package let outputName: String
    /// The value whose elements are the scores of the classes, before a final softmax.
    package let logitsName: String
    /// Whether the network ends in a sigmoid, so that each class has a probability of its own.
    package let scoreIsSigmoid: Bool
    package private(set) var nodes: [NetworkNode]
    let constants: [String: HostTensor]
    /// What may be spent on it, and on all that is made from it.
    package let limits: Limits
    /// The memory of its constants, as long as it lives.
    private let shares: [MemoryBudget.Share]
    /// The index of the node that makes each value.
    private(set) var producers: [String: Int]
    /// Those of the network as it was read: to show layers as grids (`showing`) adds none.
    let knownLayers = KnownLayers()

    /// - Parameter interface: which input is the picture, and which output has the scores.
    /// - Throws: `NetworkError` with one sentence; for unsupported operators it lists all of them.
    package init(
        _ model: ONNXModel, limits: Limits = Limits(), interface: NetworkInterface = NetworkInterface()
    ) throws {
        try self.init(model, limits: limits, interface: interface, decided: [:])
    }

    /// - Parameter decided: what is left of nodes `If` that were decided, by what they make.
    init(
        _ model: ONNXModel, limits: Limits, interface: NetworkInterface, decided: [String: TakenBranch]
    ) throws {
        self.model = model
        self.limits = limits
        self.interface = interface
        var graph = model.graph
        func fail(_ kind: NetworkError.Kind, _ reason: String) -> NetworkError {
            NetworkError(kind, "\(model.path): \(reason)")
        }

        let input = try interface.picture(of: graph, path: model.path)
        guard case .tensor(let type) = input.type, type.isFloatingPoint || type == .uint8,
            let dims = input.dims, !dims.isEmpty
        else {
            throw fail(
                .unsupported,
                "The input “\(shortened(input.name))” must be a tensor of floating-point numbers, or of bytes (uint8), with a stated rank."
            )
        }
        takesBytes = !type.isFloatingPoint
        inputName = input.name
        guard dims.count <= Shape.maximumRank else {
            throw fail(
                .unsupported,
                "The input “\(shortened(input.name))” has \(dims.count) dimensions; the limit is \(Shape.maximumRank)."
            )
        }
        let fileDims = dims.map(\.size)
        if let bad = fileDims.compactMap({ $0 }).first(where: { $0 < 1 || $0 > 1 << 20 }) {
            throw fail(.invalid, "The input “\(shortened(input.name))” has a dimension of \(bad).")
        }
        let scoreOutput = try interface.scores(of: graph, path: model.path).name
        outputName = scoreOutput
        let branches = try DecidedGraph(model, output: outputName, interface: interface, limits: limits)
        graph = branches.graph
        // What the scores do not depend on may need what is not there: other inputs, operators that are not supported.
        let (needed, reads) = NetworkInterface.ancestors(of: scoreOutput, in: graph)
        let others = graph.outputs.reduce(into: Set<Int>()) { all, output in
            if output.name != scoreOutput {
                all.formUnion(NetworkInterface.ancestors(of: output.name, in: graph).nodes)
            }
        }
        let unfed = Set(graph.inputs.map(\.name)).subtracting(interface.given.keys).subtracting([input.name])
        if let missing = graph.inputs.first(where: { unfed.contains($0.name) && reads.contains($0.name) }) {
            throw fail(
                .input,
                "The scores also depend on the input “\(shortened(missing.name))”; give its numbers with --input \(shortened(missing.name))=FILE.npy."
            )
        }

        var shares: [MemoryBudget.Share] = []
        do {
            shares.append(try limits.memory.reserve(model.memory))
        } catch {
            throw LimitError("\(model.path): What the file says \(error).")
        }
        var constants: [String: HostTensor] = [:]
        for tensor in graph.initializers.values {
            do {
                constants[tensor.name] = try Network.hostTensor(tensor, limits, &shares)
            } catch let error as LimitError {
                throw LimitError("\(model.path): The initializer “\(shortened(tensor.name))” \(error).")
            }
        }
        for (name, tensor) in interface.weights {
            shares.append(try limits.memory.reserve(4 * tensor.shape.count))
            constants[name] = tensor
        }
        for (name, tensor) in interface.given {
            // Whole numbers come as such where the network takes such.
            if case .tensor(let type)? = graph.inputs.first(where: { $0.name == name })?.type,
                !type.isFloatingPoint
            {
                constants[name] = HostTensor(tensor.shape, .ints(try tensor.ints()))
            } else {
                constants[name] = tensor
            }
        }
        // Every node gets its operator, or is on the list of what is missing.
        var absent = unfed
        var nodes: [NetworkNode] = []
        var problems: [(node: ONNXNode, problem: String)] = []
        for (place, node) in graph.nodes.enumerated() {
            if node.inputs.contains(where: absent.contains) {
                absent.formUnion(node.outputs.filter { !$0.isEmpty })
                continue
            }
            do {
                if let branch = branches.branch(node)
                    ?? (node.opType == "If" ? node.outputs.first.flatMap { decided[$0] } : nil)
                {
                    nodes.append(
                        NetworkNode(
                            name: node.name, type: node.opType, operation: branch, inputs: node.inputs,
                            outputs: node.outputs, parameters: 0, statedModules: node.modules))
                    continue
                }
                if let problem = branches.problem(node) { throw OperatorError(unsupported: problem) }
                guard let operatorType = OperatorList[node.opType, domain: node.domain] else {
                    throw OperatorError(unsupported: "is not supported")
                }
                guard operatorType.opsets.contains(model.opset) || !node.domain.isEmpty else {
                    throw OperatorError(
                        unsupported:
                            "is supported from operator set \(operatorType.opsets.lowerBound) on, and this is \(model.opset)"
                    )
                }
                // A name that is left out at the end might as well not be there.
                func given(_ names: [String]) -> [String] {
                    Array(names.reversed().drop { $0.isEmpty }.reversed())
                }
                let attributes = Attributes(
                    opset: model.opset,
                    try node.attributes.mapValues { try Network.attribute($0, limits, &shares) })
                let operation = try operatorType.init(attributes)
                if let unknown = attributes.unread.first {
                    throw OperatorError(
                        "has the attribute “\(shortened(unknown))”, which \(node.opType) does not have in operator set \(model.opset)"
                    )
                }
                let most = operatorType.arity(opset: model.opset)
                let inputs = given(node.inputs)
                // How many parts there are is said by how many outputs there are.
                let outputs = most.outputs == nil ? node.outputs : given(node.outputs)
                for (what, count, most) in [
                    ("inputs", inputs.count, most.inputs), ("outputs", outputs.count, most.outputs),
                ] {
                    guard let most, count > most else { continue }
                    throw OperatorError(
                        "has \(count) \(what), and in operator set \(model.opset) at most \(most) are defined"
                    )
                }
                nodes.append(
                    NetworkNode(
                        name: node.name, type: node.opType, operation: operation,
                        inputs: inputs, outputs: outputs,
                        parameters: node.inputs.compactMap { graph.initializers[$0]?.elementCount }.reduce(
                            0, +), statedModules: node.modules))
            } catch let error as OperatorError where error.isUnsupported {
                // What only other outputs need may be missing.
                if needed.contains(place) || !others.contains(place) {
                    problems.append((node, "\(error)"))
                } else {
                    absent.formUnion(node.outputs.filter { !$0.isEmpty })
                }
            } catch {
                let label = "The node “\(shortened(node.name))” (\(shortened(node.opType)))"
                switch error {
                case is ONNXError: throw error
                case is LimitError: throw LimitError("\(model.path): \(label) \(error).")
                default: throw fail(.invalid, "\(label) \(error).")
                }
            }
        }
        guard problems.isEmpty else {
            let types = Dictionary(grouping: problems) {
                shortened(($0.node.domain.isEmpty ? "" : $0.node.domain + ".") + $0.node.opType) + " "
                    + $0.problem
            }
            func sentence(naming most: Int) -> String {
                let list = types.sorted { $0.key < $1.key }.map { key, nodes in
                    let names = nodes.map { "“\(shortened($0.node.name))”" }
                    return names.count <= most
                        ? "\(key) (\(names.joined(separator: ", ")))"
                        : "\(key) (\(names.count) nodes, such as \(names[0]))"
                }
                return
                    "\(model.path): \(problems.count) of \(graph.nodes.count) nodes can't be run: \(list.joined(separator: "; ")). "
                    + "`app operators` lists what is supported."
            }
            let few = 3
            let details = types.values.contains { $0.count > few } ? sentence(naming: .max) : nil
            throw NetworkError(
                .unsupported,
                sentence(naming: few) + (details == nil ? "" : " All nodes are named with --verbose."),
                details: details)
        }

        if takesBytes {
            do {
                try InputLayout.checkBytes(input.name, nodes)
            } catch let error as NetworkError {
                throw fail(error.kind, error.description)
            }
        }
        let layout = try InputLayout(of: input.name, fileDims, nodes, opset: model.opset)
        (inputDims, isChannelsLast, turned) = (layout.dims, layout.isChannelsLast, layout.turned)
        nodes = layout.nodes

        var draft = NetworkDraft(
            path: model.path, outputs: Set(graph.outputs.map(\.name)).subtracting(absent), limits: limits,
            nodes: nodes,
            constants: constants, shares: shares)
        try Rewrite.change(&draft)
        nodes = draft.nodes
        (self.nodes, self.constants, self.shares) = (nodes, draft.constants, draft.shares)
        producers = Network.producers(nodes)

        // The score is the logit: a softmax at the end is not part of what is explained.
        var logits = outputName
        var isSigmoid = false
        walk: while let i = producers[logits] {
            let node = nodes[i]
            switch node.operation.role {
            case .softmax, .passes: break
            case .sigmoid where logits == outputName: isSigmoid = true
            default: break walk
            }
            guard let source = node.inputs.first, !source.isEmpty else {
                throw fail(.invalid, "\(node.label) lacks its input.")
            }
            logits = source
        }
        logitsName = logits
        scoreIsSigmoid = isSigmoid
        guard producers[logits] != nil || logits == inputName else {
            throw fail(.invalid, "The output “\(shortened(outputName))” does not depend on the input.")
        }
    }

    private static func producers(_ nodes: [NetworkNode]) -> [String: Int] {
        var producers: [String: Int] = [:]
        for (i, node) in nodes.enumerated() {
            for output in node.makes { producers[output] = i }
        }
        return producers
    }

    /// Puts other nodes in the place of its own, which compute the same.
    mutating func replace(_ nodes: [NetworkNode]) {
        self.nodes = nodes
        producers = Network.producers(nodes)
    }

    /// Integers are shapes and the like, and are there at once; other numbers are lent when they are needed.
    private static func hostTensor(
        _ tensor: ONNXTensor, _ limits: Limits, _ shares: inout [MemoryBudget.Share]
    ) throws -> HostTensor {
        let shape = Shape(tensor.dims)
        if !tensor.type.isFloatingPoint {
            // As they lie in the file, as numbers of 8 bytes, and as those that are kept.
            try limits.memory.check(24 * tensor.elementCount)
            let types: [ONNXDataType: WholeType] = [
                .uint8: .uint8, .int8: .int8, .uint16: .uint16, .int16: .int16, .int32: .int32,
            ]
            let type = types[tensor.type]
            // Weights in whole numbers are lent like others.
            if let type, type.isByte, tensor.elementCount > 4096 {
                return HostTensor(
                    shape, .deferredWholes { body in try tensor.withFloatBytes(body) }, type: type)
            }
            do {
                let ints = try tensor.ints()
                shares.append(try limits.memory.reserve(8 * tensor.elementCount))
                return HostTensor(shape, .ints(ints.map { Int($0) }), type: type)
            } catch let error as ONNXError where error.kind == .invalidTensor {
                // Beyond integers of 64 bits.
            }
        }
        return HostTensor(shape, .deferred { body in try tensor.withFloatBytes(body) })
    }

    /// Whether the file is wrong, or what it asks for is not there.
    static func kind(_ error: any Error) -> NetworkError.Kind {
        (error as? OperatorError)?.isUnsupported == true ? .unsupported : .invalid
    }

    private static func attribute(
        _ attribute: ONNXAttribute, _ limits: Limits, _ shares: inout [MemoryBudget.Share]
    ) throws -> Attribute {
        switch attribute {
        case .int(let value): .int(value)
        case .float(let value): .float(value)
        case .string(let value): .string(value)
        case .ints(let values): .ints(values)
        case .floats(let values): .floats(values)
        case .tensor(let tensor): .tensor(try hostTensor(tensor, limits, &shares))
        default: .other(attribute.kindName)
        }
    }
}
