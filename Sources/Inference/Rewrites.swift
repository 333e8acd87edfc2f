// How a network is changed on its way to a tape: one list, in the order in which the changes are made.
//
// The first ones change the network when it is read, and depend on the model alone. Then come those of a pass, which depend on what it
// computes, and those that are tried with each node when a planner lowers it. None depends on the device.

import Kernels
import ONNX

/// A change that makes a network faster, or possible, and whose results are those of the network as it is written.
package struct Rewrite: Sendable {
    package let name: String
    package let sentence: String
    private let change: Change

    private enum Change: Sendable {
        /// Of the network, once.
        case network(@Sendable (inout NetworkDraft) throws -> Void)
        /// Of the nodes of one pass.
        case pass(@Sendable (inout PassDraft) throws -> Void)
        /// Of a node whose inputs may still wait; true if the node is lowered by that.
        case joining(@Sendable (inout Planner, NetworkNode) throws -> Bool)
        /// Of a node whose inputs are there; true if the node is lowered by that, or waits.
        case lowering(@Sendable (inout Planner, NetworkNode, _ inputs: [Operand?]) throws -> Bool)
    }

    private init(_ name: String, _ sentence: String, _ change: Change) {
        (self.name, self.sentence, self.change) = (name, sentence, change)
    }

    package static let all = [
        Rewrite(
            "unfold quantised forms",
            "An operator between quantised tensors becomes the one of real numbers between what they stand for.",
            .network { try $0.unfoldQuantisedForms() }),
        Rewrite(
            "take apart",
            "An operator that an optimiser made of several becomes those again.",
            .network { $0.takeApart() }),
        Rewrite(
            "fold constants", "Nodes that depend on constants only are computed once.",
            .network { try $0.foldConstants() }),
        Rewrite(
            "write as one",
            "A layer normalisation or a GELU that was spelled out in its steps becomes one operator.",
            .network { $0.writeAsOne() }),
        Rewrite(
            "merge normalisations",
            "A convolution whose only reader is a batch normalisation becomes one convolution with it.",
            .network { $0.mergeNormalisations() }),
        Rewrite(
            "leave out",
            "What a selection at the end leaves out is not computed, as far up as nobody else needs it.",
            .pass { try $0.leaveOut() }),
        Rewrite(
            "join clips", "A clip joins the product before it, which waited for that.",
            .joining { try $0.joinClip($1) }),
        Rewrite(
            "join sums", "So does the sum with a tensor of the same shape that is there already.",
            .joining { try $0.joinSum($1) }),
        Rewrite(
            "join biases",
            "So does a constant with one number for each column of a product that has no bias.",
            .joining { try $0.joinBias($1) }),
        Rewrite(
            "compute in whole numbers",
            "Between quantised tensors, an operator of real numbers and the rounding of what it makes are computed as one.",
            .lowering { try $0.computeInWholes($1, $2) }),
        Rewrite(
            "wait", "A product whose only reader may join it waits for that.",
            .lowering { try $0.wait($1, $2) }),
        Rewrite(
            "fold shapes",
            "Nodes that depend on nothing but shapes are computed once the input's shape is known.",
            .lowering { try $0.foldShapes($1, $2) }),
        Rewrite(
            "correct batches",
            "A batch that was written into a shape when the network was exported becomes the batch that is computed.",
            .lowering { try $0.correctBatch($1, $2) }),
    ]

    static func change(_ network: inout NetworkDraft) throws {
        for case .network(let change) in all.map(\.change) { try change(&network) }
    }

    static func change(_ pass: inout PassDraft) throws {
        for case .pass(let change) in all.map(\.change) { try change(&pass) }
    }

    /// - Returns: whether that lowered the node.
    static func join(_ node: NetworkNode, on plan: inout Planner) throws -> Bool {
        for case .joining(let change) in all.map(\.change) where try change(&plan, node) { return true }
        return false
    }

    /// - Returns: whether that lowered the node.
    static func lower(_ node: NetworkNode, _ inputs: [Operand?], on plan: inout Planner) throws -> Bool {
        for case .lowering(let change) in all.map(\.change) where try change(&plan, node, inputs) {
            return true
        }
        return false
    }

    /// Whether a rewrite of the node will ask for shapes at the batch that the file fixes.
    static func asksForOwnBatch(_ node: NetworkNode) -> Bool {
        if case .reshapes = node.operation.role { true } else { false }
    }
}

// MARK: Of a network

/// A network that is being read.
struct NetworkDraft {
    let path: String
    /// What the file gives out.
    let outputs: Set<String>
    let limits: Limits
    var nodes: [NetworkNode]
    var constants: [String: HostTensor]
    /// The memory of the constants.
    var shares: [MemoryBudget.Share]

    /// The values between them have names of their own.
    fileprivate mutating func takeApart() {
        var known = Set(nodes.flatMap(\.outputs)).union(constants.keys)
        nodes = nodes.flatMap { node -> [NetworkNode] in
            guard let whole = node.operation as? any CompositeOperator, let output = node.outputs.first else {
                return [node]
            }
            let parts = whole.parts(of: node.inputs.map { !$0.isEmpty })
            var made = ""
            return parts.enumerated().map { i, part in
                let inputs = part.inputs.map { index in
                    index.map { $0 < node.inputs.count ? node.inputs[$0] : "" } ?? made
                }
                let isLast = i == parts.count - 1
                made = isLast ? output : "\(output)/\(part.type)"
                while !isLast, !known.insert(made).inserted { made += "/" }
                return NetworkNode(
                    name: isLast ? node.name : "\(node.name)/\(part.type)", type: part.type,
                    operation: part.operation,
                    inputs: Array(inputs.reversed().drop(while: \.isEmpty).reversed()),
                    outputs: [made], parameters: i == 0 ? node.parameters : 0)
            }
        }
    }

    fileprivate mutating func foldConstants() throws {
        var left: [NetworkNode] = []
        var work = limits.work * Limits.foldingShare
        for node in nodes {
            let inputs = node.inputs.map { constants[$0] }
            guard zip(node.inputs, inputs).allSatisfy({ $0.isEmpty || $1 != nil }) else {
                left.append(node)
                continue
            }
            do {
                let folded =
                    try node.operation.fold(inputs, within: limits)
                    ?? node.computed(inputs, within: limits, work: &work)
                for (name, tensor) in zip(node.outputs, folded) where !name.isEmpty {
                    shares.append(try limits.memory.reserve(tensor.bytes))
                    work -= Double(tensor.shape.count)
                    constants[name] = tensor
                }
                if work < 0 { throw NetworkNode.excessiveWork(limits) }
            } catch let error as LimitError {
                throw LimitError("\(path): \(node.label) \(error).")
            } catch let error as ONNXError {
                throw error
            } catch {
                throw NetworkError(Network.kind(error), "\(path): \(node.label) \(error).")
            }
        }
        nodes = left
    }

    /// The convolution's node stays, marked: its output can still be asked for, and asking changes nobody else's bits.
    fileprivate mutating func mergeNormalisations() {
        var readers: [String: Int] = [:]
        var makers: [String: Int] = [:]
        for (i, node) in nodes.enumerated() {
            for input in node.inputs { readers[input, default: 0] += 1 }
            for output in node.outputs { makers[output] = i }
        }
        for (i, node) in nodes.enumerated() {
            guard case .normalises(let affine) = node.operation.role, node.outputs.count == 1,
                let source = node.inputs.first, let from = makers[source],
                case .convolves(let followedBy) = nodes[from].operation.role, nodes[from].merged == nil,
                nodes[from].inputs.count > 1, readers[source] == 1, !outputs.contains(source),
                nodes[from].inputs.dropFirst().allSatisfy({ $0.isEmpty || constants[$0] != nil }),
                let affine = try? affine(node.inputs.map { constants[$0].map(Operand.host) }),
                let weights = constants[nodes[from].inputs[1]], weights.shape.dims.first == affine.scale.count
            else { continue }
            nodes[i] = NetworkNode(
                name: node.name, type: node.type, operation: followedBy(affine),
                inputs: nodes[from].inputs, outputs: node.outputs, parameters: node.parameters,
                statedModules: node.statedModules)
            nodes[from].merged = NetworkNode.Merged(
                into: i, normalisation: node.operation, inputs: node.inputs)
        }
    }
}

// MARK: Of a node whose inputs are constants

extension NetworkNode {
    fileprivate static func excessiveWork(_ limits: Limits) -> LimitError {
        LimitError(
            "brings the operations that the network's constants take above \(limits.work * Limits.foldingShare); fold the "
                + "constants when the network is exported, or raise the limit with --work-limit")
    }

    /// What the node makes of constants, with the bits that its steps have.
    /// - Parameter work: what may still be spent.
    fileprivate func computed(
        _ inputs: [HostTensor?], within limits: Limits, work: inout Double
    ) throws -> [HostTensor] {
        var tape = Tape(limits: limits)
        for input in inputs { _ = try input?.shape.checked() }
        let results = try operation.forward(
            &tape, inputs.map { $0.map(Operand.host) }, outputs: outputs.count
        ).map { result -> Operand in
            if case .value(let value) = result { .value(tape.dense(value)) } else { result }
        }
        for result in results {
            // The arithmetic of shapes may well come to an empty list.
            if case .host = result { continue }
            // Besides the tape's own: the numbers in memory order, and in rows.
            try limits.memory.check(8 * tape.shape(result).checked().count)
        }
        work -= tape.work
        if work < 0 { throw NetworkNode.excessiveWork(limits) }
        let values = results.compactMap { if case .value(let value) = $0 { value } else { nil } }
        let executor: any Executor
        do {
            executor = try Device.cpu(CPU(threads: 1)).load(tape, keeping: values)
        } catch is LimitError {
            // The end of a sentence, as of any operator.
            try limits.memory.check(tape.bytes(keeping: values))
            throw LimitError("needs memory that \(limits.memory.exceeded); --memory-limit raises it")
        }
        try executor.run(tape.stage(0))
        let meanings = inputs.map { $0.map { tape.meaning(Operand.host($0)) } }
        return try results.enumerated().map { i, result in
            switch result {
            case .host(let tensor): return tensor
            case .value(let value):
                let numbers = tape.shape(value).rowMajor(try executor.memoryOrder(value))
                let tensor = HostTensor(tape.shape(value), .floats(numbers))
                if operation.meaning(ofOutput: i, meanings) == .real { return tensor }
                return HostTensor(tensor.shape, .ints(try tensor.ints()))
            case .fused(let shape): return HostTensor(shape, .floats([]))
            }
        }
    }
}

// MARK: Of a node that is lowered

extension Planner {
    fileprivate mutating func joinClip(_ node: NetworkNode) throws -> Bool {
        guard let name = node.inputs.first, let product = waiting[name],
            case .clips(let bounds) = node.operation.role
        else { return false }
        let clip = try bounds(node.inputs.map(operand))
        join(name)
        try record(node, [.value(try layOut(product, clip: clip))])
        return true
    }

    fileprivate mutating func joinSum(_ node: NetworkNode) throws -> Bool {
        guard case .adds = node.operation.role, node.inputs.count == 2, node.inputs[0] != node.inputs[1]
        else { return false }
        for side in [1, 0] {
            let (name, other) = (node.inputs[side], node.inputs[1 - side])
            guard var product = waiting[name], product.residual == nil, let term = operand(other),
                tape.shape(term) == product.shape
            else { continue }
            try flush(other)
            guard case .value(let value)? = operands[other], tape.element(value) == .float32 else { continue }
            product.residual = value
            join(name)
            if mayBeJoined(node) {
                waiting[node.outputs[0]] = product
            } else {
                try record(node, [.value(try layOut(product))])
            }
            return true
        }
        return false
    }

    fileprivate mutating func joinBias(_ node: NetworkNode) throws -> Bool {
        guard case .adds = node.operation.role, node.inputs.count == 2 else { return false }
        for side in [0, 1] {
            guard var product = waiting[node.inputs[side]], product.residual == nil,
                case .host(let term)? = operand(node.inputs[1 - side]),
                Shape.broadcast(product.shape, term.shape) == product.shape,
                let biased = try product.operation.adding(term, to: product.shape, product.inputs)
            else { continue }
            product.operation = biased
            join(node.inputs[side])
            if mayBeJoined(node, asProduct: true) {
                waiting[node.outputs[0]] = product
            } else {
                try record(node, [.value(try layOut(product))])
            }
            return true
        }
        return false
    }

    fileprivate mutating func wait(_ node: NetworkNode, _ inputs: [Operand?]) throws -> Bool {
        guard let operation = node.operation as? any FusingOperator, mayBeJoined(node) else { return false }
        waiting[node.outputs[0]] = WaitingProduct(
            operation: operation, inputs: inputs, shape: try operation.outputShape(tape, inputs).checked(),
            node: node)
        return true
    }

    /// Whether the node's only reader may become part of its last step.
    /// - Parameter asProduct: whether it is, with what joined it, a product that has no second term yet.
    private func mayBeJoined(_ node: NetworkNode, asProduct: Bool = false) -> Bool {
        guard node.outputs.count == 1, !stored.contains(node.outputs[0]), let all = readers[node.outputs[0]],
            all.count == 1
        else { return false }
        return switch (node.operation.role, network.nodes[all[0]].operation.role) {
        // One term is all that a product takes.
        case (.adds, .adds): asProduct
        case (_, .adds), (_, .clips): true
        default: false
        }
    }

    /// The product of that name does not wait any more, and is stored as part of something else only.
    private mutating func join(_ name: String) {
        operands[name] = waiting.removeValue(forKey: name).map { .fused($0.shape) }
    }

    fileprivate mutating func foldShapes(_ node: NetworkNode, _ inputs: [Operand?]) throws -> Bool {
        let hosts = inputs.map { $0?.constant }
        guard zip(inputs, hosts).allSatisfy({ $0 == nil || $1 != nil }), !inputs.isEmpty else { return false }
        // A few numbers are as those of shapes, real ones too: shapes may follow from them.
        let few = 4096
        var work = Double(few * few)
        let isSmall = hosts.allSatisfy { $0.map { $0.shape.count <= few } ?? true }
        guard
            let folded = try node.operation.fold(hosts, within: tape.limits)
                ?? (isSmall ? node.computed(hosts, within: tape.limits, work: &work) : nil)
        else { return false }
        for tensor in folded { shares.append(try tape.limits.memory.reserve(tensor.bytes)) }
        try record(node, folded.map(Operand.host))
        return true
    }

    /// In a file that fixes another batch than this plan's. The pictures must stay as they lie: the same elements around all of them,
    /// the same within each.
    fileprivate mutating func correctBatch(_ node: NetworkNode, _ inputs: [Operand?]) throws -> Bool {
        guard case .reshapes(let written) = node.operation.role, let own = network.inputDims[0],
            case .value(let x)?? = inputs.first, let before = ownShapes[node.inputs[0]],
            let after = ownShapes[node.outputs[0]]
        else { return false }
        let shape = tape.shape(x)
        // What does not change with the batch is no picture's.
        if shape == before { return false }
        func scaled(_ shape: Shape, _ axis: Int) -> Shape? {
            guard axis < shape.rank, shape.dims[axis] * batch % own == 0 else { return nil }
            var dims = shape.dims
            dims[axis] = dims[axis] * batch / own
            return Shape(dims)
        }
        func around(_ shape: Shape, _ axis: Int) -> Int { shape.dims[..<axis].reduce(1, *) }

        let axis = before.dims.indices.first { scaled(before, $0) == shape }
        // The elements around all pictures: of an axis that they share with something else, that may lie around them or within.
        let outer = axis.map {
            innerBatches.contains(node.inputs[0]) ? around(before, $0 + 1) / own : around(before, $0)
        }
        let places = after.dims.indices.filter { around(after, $0) == outer && scaled(after, $0) != nil }
        let literal = try? written(shape, inputs)
        var place =
            places.first { after.dims[$0] == own } ?? places.first { scaled(after, $0) == literal }
            ?? places.first
        // The last axis is that of features, whose number the next product fixes. So the pictures join what lies around them.
        var isInner = false
        if let last = place, last > 0, last == after.rank - 1, after.dims[last] != own,
            scaled(after, last) != literal
        {
            (place, isInner) = (last - 1, true)
        }
        let result = place.flatMap { scaled(after, $0) }
        guard let result else {
            throw OperatorError(
                unsupported:
                    "does not keep the pictures of a batch apart; the file is made for batches of \(own), so take those (--batch \(own))"
            )
        }
        try record(node, [.value(tape.reshape(x, to: result))])
        if isInner { innerBatches.insert(node.outputs[0]) }
        return true
    }

    /// What is made of a value in which pictures share an axis with something that lies around them, and keeps that axis, is the same.
    mutating func noteInnerBatches(_ node: NetworkNode) {
        if case .reshapes = node.operation.role { return }
        guard !innerBatches.isEmpty, let from = node.inputs.first(where: innerBatches.contains),
            let before = ownShapes[from]
        else { return }
        for name in node.makes
        where ownShapes[name]?.rank == before.rank && ownShapes[name]?.dims.first == before.dims.first {
            innerBatches.insert(name)
        }
    }
}
