// From a network to a tape: which nodes run, and the walk back from a score to an activation. What is fused: Rewrites.swift.
//
// The plan comes before the device: everything here is decided from the network and the shapes.

import CMicrokernels
import Kernels
import Text

/// A rule by which the reverse walk passes some operators in another way than by their gradients: as data of a pass.
package protocol BackwardRule: Hashable, Sendable {
    /// Which stored values it reads at such an operator, beside what the gradient reads.
    func gradientNeeds(_ operation: any Operator) -> GradientNeeds
    /// - Returns: as `Operator.vjp`, but that nothing goes back to an input that is wanted and has no cotangent; nil if the rule has nothing
    ///   to say of this operator.
    func vjp(
        _ tape: inout Tape, _ operation: any Operator, _ node: LoweredNode, cotangents: [Value?],
        wanted: Set<Int>
    ) throws -> [Value?]?
}

extension BackwardRule {
    package func gradientNeeds(_ operation: any Operator) -> GradientNeeds { [] }
}

/// Puts a network's passes on a tape.
package struct Planner {
    package let network: Network
    package var tape: Tape
    package let batch: Int
    /// What is fed: the network's input or the value in its place, or what a source makes it of.
    package let inputs: [Value]
    package var input: Value { inputs[0] }
    let nodes: [NetworkNode]
    let running: [Bool]  // of each of them
    private let rules: [any BackwardRule]
    private let isPaired: Bool

    // What rewrites read and change.

    /// The operands by their names in the file.
    var operands: [String: Operand] = [:]
    /// A product that waits: its reader may become part of its last step.
    struct WaitingProduct {
        var operation: any FusingOperator
        let inputs: [Operand?]
        var residual: Value?
        let shape: Shape
        /// The node that made it, by which errors call it.
        let node: NetworkNode
    }
    /// By the names of what they will make.
    var waiting: [String: WaitingProduct] = [:]
    /// Whole numbers that somebody will read, as binary32.
    private var shown: [String: Value] = [:]
    /// The memory of constants that became known with the shapes.
    var shares: [MemoryBudget.Share] = []
    let stored: Set<String>
    let readers: [String: [Int]]
    /// The shapes at the batch that the file fixes, if this plan is for another one.
    private(set) var ownShapes: [String: Shape] = [:]
    /// Parts of values that are made, or that nodes read of what is made as a whole.
    private let parts: [String: PassDraft.Part]
    /// Values in which the pictures share an axis with something that lies around them.
    var innerBatches: Set<String> = []

    /// Lays out the forward pass.
    /// - Parameters:
    ///   - height, width: extents of the input where the file leaves them open.
    ///   - stored: values that must exist, because somebody will read them. To store a value changes no other's bits.
    ///   - differentiated: values with respect to which `gradients` will be asked for. They need not be stored.
    ///   - feed: a value that is fed instead of the input, so that only the tail of the network runs.
    ///   - rules: of the way back; the first that has something to say of an operator takes its place.
    ///   - isPaired: as `PassSpec.isPaired`.
    ///   - source: makes the value that is fed, of other values that are.
    ///   - sketch: only shapes are wanted.
    package init(
        _ network: Network, batch: Int, height: Int? = nil, width: Int? = nil, stored: Set<String> = [],
        differentiated: Set<String> = [], feed: String? = nil, rules: [any BackwardRule] = [],
        isPaired: Bool = false, source: (any PassSource)? = nil, sketch: Bool = false
    ) throws {
        self.network = network
        self.batch = batch
        self.rules = rules
        self.isPaired = isPaired
        tape = Tape(
            sketch: sketch, limits: network.limits,
            writtenBatch: network.inputDims[0].flatMap { $0 == batch ? nil : $0 })
        var shape = try network.inputShape(batch: batch, height: height, width: width)
        var nodes = network.nodes
        if let feed {
            let whole = PassSpec(batch: batch, height: height, width: width)
            shape = try network.shapes(of: [feed], in: whole)[0]
            // Fed what a convolution makes, the normalisation that was merged with it does its own work again.
            if let merged = network.producers[feed].flatMap({ nodes[$0].merged }) {
                nodes[merged.into] = nodes[merged.into].replacing(merged.normalisation, inputs: merged.inputs)
            }
        }
        if let source {
            var fed: [Value] = []
            for part in source.fed(shape) { fed.append(tape.input(part)) }
            tape.label = source.label
            let made = try source.add(to: &tape, fed: fed, shape: shape)
            precondition(tape.shape(made) == shape)
            inputs = fed
            operands[feed ?? network.inputName] = .value(made)
        } else {
            inputs = [tape.input(shape)]
            operands[feed ?? network.inputName] = .value(inputs[0])
        }

        // Which nodes run: those on whose outputs the logits, or anything else that is wanted, depend.
        let wanted = stored.union([network.logitsName])
        var running = [Bool](repeating: false, count: nodes.count)
        var needed = wanted.union(differentiated)
        for (i, node) in nodes.enumerated().reversed()
        where node.outputs.contains(where: { needed.contains($0) && $0 != feed }) {
            running[i] = true
            needed.formUnion(node.reads)
        }
        self.running = running
        var draft = PassDraft(network: network, nodes: nodes, running: running, batch: batch) {
            try network.sketch(batch: $0, height: height, width: width)
        }
        // Rules and pairs are for the network as it is written.
        if !sketch, rules.isEmpty, !isPaired { try Rewrite.change(&draft) }
        let (parts, besides) = (draft.parts, draft.wholes(nodes, wanted: stored.union(differentiated)))
        (self.nodes, self.parts) = (draft.nodes, parts)
        nodes = draft.nodes
        func reads(_ node: NetworkNode) -> Set<String> {
            Set(node.reads.map { name in parts[name].flatMap { $0.isMade ? nil : $0.whole } ?? name })
        }
        if let feed, feed != network.inputName, needed.contains(network.inputName) {
            throw NetworkError(
                .noSuchLayer,
                "\(network.model.path): The rest of the network cannot be computed from “\(shortened(feed))” alone: ways from the input "
                    + "lead around it.")
        }

        // What must be stored: what is wanted, and what gradients on the way from the logits read.
        var keep = wanted
        if !differentiated.isEmpty {
            let path = network.path(from: differentiated)
            for i in path where running[i] {
                let node = nodes[i]
                let needs = rules.reduce(node.operation.gradientNeeds) {
                    $0.union($1.gradientNeeds(node.operation))
                }
                if needs.contains(.inputs) { keep.formUnion(node.reads) }
                if needs.contains(.output) { keep.formUnion(node.makes) }
            }
        }
        self.stored = keep
        var readers: [String: [Int]] = [:]
        for (i, node) in nodes.enumerated() where running[i] {
            for name in reads(node) { readers[name, default: []].append(i) }
            for name in besides[i].map(reads) ?? [] { readers[name, default: []].append(i) }
        }
        self.readers = readers

        if let own = network.inputDims[0], own != batch,
            nodes.contains(where: Rewrite.asksForOwnBatch)
        {
            let plan = try Planner(
                network, batch: own, height: height, width: width, stored: stored,
                differentiated: differentiated, sketch: true)
            ownShapes = plan.operands.mapValues(plan.tape.shape)
        }

        for (name, tensor) in network.constants where readers[name] != nil || keep.contains(name) {
            operands[name] = .host(tensor)
        }
        for (i, node) in nodes.enumerated() where running[i] {
            try lower(node)
            if let whole = besides[i] { try lower(whole) }
        }
        for name in waiting.keys.sorted() { try flush(name) }
    }

    private func error(_ node: NetworkNode, _ error: any Error) -> NetworkError {
        NetworkError(Network.kind(error), "\(network.model.path): \(node.label) \(error).")
    }

    /// The operand of that name, stored or not; nil if the name is empty or unknown.
    func operand(_ name: String) -> Operand? {
        if let product = waiting[name] { return .fused(product.shape) }
        return name.isEmpty ? nil : operands[name]
    }

    // MARK: Forward

    private mutating func lower(_ node: NetworkNode) throws {
        tape.label = shortened(node.name)
        do {
            try lowerUnchecked(node)
        } catch let problem as OperatorError {
            throw error(node, problem)
        } catch let problem as LimitError {
            throw LimitError("\(network.model.path): \(node.label) \(problem).")
        }
    }

    private mutating func lowerUnchecked(_ node: NetworkNode) throws {
        for name in node.inputs { try take(name) }
        if try Rewrite.join(node, on: &self) {
            noteInnerBatches(node)
            return
        }
        for name in node.inputs {
            try flush(name)
            guard name.isEmpty || operands[name] != nil else {
                if let i = network.producers[name] {
                    let maker = network.nodes[i]
                    throw OperatorError(
                        unsupported:
                            "reads “\(shortened(name))”, an output of “\(shortened(maker.name))” (\(maker.type)) that is not supported"
                    )
                }
                throw OperatorError("reads “\(shortened(name))”, which is not computed")
            }
        }
        let inputs = node.inputs.map(operand)
        if try Rewrite.lower(node, inputs, on: &self) {
            noteInnerBatches(node)
            return
        }
        let accepted = type(of: node.operation).accepts
        for case .value(let value)? in inputs where !accepted.contains(tape.meaning(value)) {
            throw OperatorError(
                unsupported:
                    "reads \(tape.meaning(value) == .boolean ? "truths" : "whole numbers") that the network computes, which is not supported"
            )
        }
        try record(node, node.operation.forward(&tape, inputs, outputs: node.outputs.count))
        noteInnerBatches(node)
    }

    /// Makes a view of a part that is read.
    private mutating func take(_ name: String) throws {
        guard let part = parts[name], !part.isMade, operands[name] == nil else { return }
        try flush(part.whole)
        guard case .value(let whole)? = operands[part.whole] else { return }
        operands[name] = .value(tape.slice(whole, [part.range]))
        ownShapes[name] = ownShapes[part.whole]
        if innerBatches.contains(part.whole) { innerBatches.insert(name) }
    }

    /// Notes what a node's outputs are.
    mutating func record(_ node: NetworkNode, _ results: [Operand]) throws {
        for (name, result) in zip(node.outputs, results) where !name.isEmpty {
            // The arithmetic of shapes may well come to an empty list.
            if case .host = result {} else { _ = try tape.shape(result).checked() }
            operands[name] = result
        }
        // What they stand for follows from the inputs, if that is not real numbers everywhere.
        let inputs = node.inputs.map { operand($0).map(tape.meaning) }
        for (i, name) in node.outputs.enumerated() {
            guard case .value(let value)? = operands[name] else { continue }
            operands[name] = .value(
                tape.stating(value, node.operation.meaning(ofOutput: i, inputs)))
            if stored.contains(name), tape.element(value) != .float32 { shown[name] = tape.asFloats(value) }
        }
    }

    /// Lays out a product that waits in vain.
    mutating func flush(_ name: String) throws {
        guard let product = waiting.removeValue(forKey: name) else { return }
        operands[name] = .value(try layOut(product))
    }

    /// The steps of a product that waited, under its own name: what is wrong with it is not its reader's fault.
    mutating func layOut(_ product: WaitingProduct, clip: Bounds? = nil) throws -> Value {
        let label = tape.label
        defer { tape.label = label }
        tape.label = shortened(product.node.name)
        do {
            return try product.operation.forward(
                &tape, product.inputs, residual: product.residual, clip: clip)
        } catch let problem as OperatorError {
            throw error(product.node, problem)
        }
    }

    /// The value of that name, which must be stored.
    package func value(_ name: String) throws -> Value {
        if let shown = shown[name] { return shown }
        guard case .value(let value)? = operands[name] else {
            throw NetworkError(.noSuchValue, network.unknownValue(name))
        }
        return value
    }

    /// The shape of a value, if it is computed at all.
    package func shape(_ name: String) -> Shape? { operand(name).map(tape.shape) }

    package var logits: Value { get throws { try value(network.logitsName) } }

    // MARK: Backward

    /// The cotangents of a node's inputs, and whether a rule gave them.
    private mutating func vjp(
        _ operation: any Operator, _ node: LoweredNode, _ cotangents: [Value?], _ wanted: Set<Int>
    ) throws -> (found: [Value?], byRule: Bool) {
        for rule in rules {
            if let found = try rule.vjp(&tape, operation, node, cotangents: cotangents, wanted: wanted) {
                return (found, true)
            }
        }
        return (try operation.vjp(&tape, node, cotangents: cotangents, wanted: wanted), false)
    }

    /// A node as the way back sees it.
    private mutating func lowered(_ node: NetworkNode, _ origins: [String: Origin]) throws -> LoweredNode {
        let (inputs, outputs) = (node.inputs.map(operand), node.outputs.map(operand))
        let known = node.inputs.map { origins[$0] ?? [] }
        guard isPaired else { return LoweredNode(inputs: inputs, outputs: outputs, origins: known) }
        func halves(_ operands: [Operand?]) throws -> [(Operand, Operand)?] {
            try operands.map { operand in try operand.map { try halved($0) } }
        }
        let (reads, makes) = (try halves(inputs), try halves(outputs))
        return LoweredNode(
            inputs: reads.map { $0?.0 }, outputs: makes.map { $0?.0 }, origins: known,
            seconds: (reads.map { $0?.1 }, makes.map { $0?.1 }))
    }

    /// What of an operand belongs to the first pictures of the pairs, and what to the second. Both have constants.
    private mutating func halved(_ operand: Operand) throws -> (Operand, Operand) {
        switch operand {
        case .host: return (operand, operand)
        case .fused(let shape):
            let half = Operand.fused(try first(of: shape))
            return (half, half)
        case .value(let value):
            let (half, strides) = (try first(of: tape.shape(value)), tape.strides(value))
            func part(_ start: Int) -> Operand {
                .value(
                    tape.view(
                        value, as: half, strides: strides,
                        offset: tape.offset(value) + start * (strides.first ?? 0)))
            }
            return (part(0), part(batch / 2))
        }
    }

    /// The shape of what belongs to the first pictures of the pairs; where there are none, the shape itself.
    package func first(of shape: Shape) throws -> Shape {
        guard isPaired else { return shape }
        guard shape.dims.first == batch else {
            throw OperatorError(
                unsupported:
                    "has a tensor of shape \(shape), in which pictures that are compared are not apart along the first dimension"
            )
        }
        return Shape([batch / 2] + shape.dims.dropFirst())
    }

    /// What is known of the values of the network.
    private func origins() throws -> [String: Origin] {
        var origins: [String: Origin] = [network.inputName: [.picture, .unweighed]]
        for (i, node) in nodes.enumerated() where running[i] && node.merged == nil {
            let operation = node.operation
            var origin: Origin = []
            let reads = node.reads.filter { origins[$0] != nil }
            let isProduct = (operation as? any LinearOperator)?.isLinear(node.inputs.map(operand)) ?? false
            if !isProduct, reads.allSatisfy({ origins[$0]!.contains(.unweighed) }) {
                origin.insert(.unweighed)
            }
            if isProduct { origin.insert(.product) }
            /// Whether all that it computes with is at least 0.
            func readsNoNegative() throws -> Bool {
                try node.reads.allSatisfy { name in
                    if let known = origins[name] { return known.contains(.nonNegative) }
                    guard case .host(let tensor)? = operand(name) else { return false }
                    return try tensor.isInteger || tensor.floats().allSatisfy { $0 >= 0 }
                }
            }
            switch (operation.role, operation.dependence) {
            case (.clips(let bounds), _):
                // Where the bounds contradict each other, everything is the upper one.
                let bounds = try bounds(node.inputs.map(operand))
                if bounds.low >= 0, bounds.high >= 0 { origin.insert(.nonNegative) }
            case (.sigmoid, _): origin.insert(.nonNegative)
            case (.passes, _): if let from = node.inputs.first { origin = origins[from] ?? [] }
            case (.adds, _), (.pools, _), (_, .selects), (_, .multiplies):
                if try !operation.addsNegatives && readsNoNegative() { origin.insert(.nonNegative) }
            default: break
            }
            for name in node.makes { origins[name] = origin }
        }
        return origins
    }

    /// Puts the reverse walk on the tape: the gradients of a score with respect to `targets`, values named in
    /// `differentiated`. The walk covers the paths between them and the logits, nothing else.
    /// - Parameter seed: the cotangent of the logits, such as 1 at a class and 0 elsewhere.
    package mutating func gradients(seed: Value, of targets: [String]) throws -> [String: Value] {
        let path = network.path(from: Set(targets))
        let origins = rules.isEmpty ? [:] : try origins()
        var active = Set(targets)
        for i in path { active.formUnion(network.nodes[i].makes) }
        for name in targets { active.formUnion(network.mergedOutputs(of: name)) }
        var cotangents: [String: Value] = [network.logitsName: seed]

        /// Contributions are added in the order in which the walk meets them: from the last reader of a value to the first.
        func add(_ contribution: Value, to name: String) {
            cotangents[name] = cotangents[name].map { tape.map(WB_MAP_add, $0, contribution) } ?? contribution
        }
        let scoreQuantiser = network.scoreQuantiser
        for i in path.reversed() {
            let node = nodes[i]
            let arrived = node.outputs.map { cotangents[$0] }
            guard running[i], node.merged == nil, arrived.contains(where: { $0 != nil }) else { continue }
            let wanted = node.inputs.indices.filter {
                active.contains(parts[node.inputs[$0]]?.whole ?? node.inputs[$0])
            }
            tape.label = "gradient of " + shortened(node.name)
            do {
                let lowered = try lowered(node, origins)
                let (found, byRule) =
                    i == scoreQuantiser
                    ? try vjpOfScore(lowered, arrived) ?? vjp(node.operation, lowered, arrived, Set(wanted))
                    : try vjp(node.operation, lowered, arrived, Set(wanted))
                for k in wanted {
                    if byRule, found[k] == nil { continue }
                    guard let dx = found[k], tape.shape(dx) == lowered.inputs[k].map(tape.shape) else {
                        throw OperatorError(unsupported: "has no gradient with respect to its input \(k)")
                    }
                    let name = node.inputs[k]
                    if let part = parts[name], !part.isMade {
                        add(tape.unslice(dx, into: part.shape, [part.range]), to: part.whole)
                    } else {
                        add(dx, to: name)
                    }
                }
            } catch let problem as OperatorError {
                throw error(node, problem)
            }
        }

        var result: [String: Value] = [:]
        for target in targets {
            // The output of a convolution that was merged with the normalisation after it.
            if let merged = network.producers[target].flatMap({ network.nodes[$0].merged }),
                let dy = cotangents[network.nodes[merged.into].outputs[0]]
            {
                let inputs = merged.inputs.map { network.constants[$0].map(Operand.host) }
                let node = LoweredNode(inputs: inputs, outputs: [.value(dy)])
                result[target] = try vjp(merged.normalisation, node, [dy], [0]).found[0]
            } else if let dy = cotangents[target] {
                result[target] = dy
            } else if let (name, part) = parts.first(where: { $0.value.isMade && $0.value.whole == target }),
                let dy = cotangents[name]
            {
                // What was left out has no say in the score.
                result[target] = tape.unslice(dy, into: part.shape, [part.range])
            } else {
                throw NetworkError(
                    .noSuchLayer,
                    "The score does not depend on “\(shortened(target))”, so there is no gradient with respect to it."
                )
            }
        }
        return result
    }
}

extension Network {
    /// The input's shape for a batch.
    package func inputShape(batch: Int, height: Int? = nil, width: Int? = nil) throws -> Shape {
        var dims = [batch] + inputDims.dropFirst().map { $0 ?? 0 }
        if dims.count == 4 {
            if dims[1] == 0 { dims[1] = 3 }
            if dims[2] == 0 { dims[2] = height ?? 224 }
            if dims[3] == 0 { dims[3] = width ?? 224 }
        } else if takesVideos {
            if dims[1] == 0 { dims[1] = 3 }
            if dims[2] == 0 { dims[2] = frames }
            if dims[3] == 0 { dims[3] = height ?? 112 }
            if dims[4] == 0 { dims[4] = width ?? 112 }
        }
        guard !dims.contains(0) else {
            throw NetworkError(
                .input,
                "\(model.path): The input “\(shortened(inputName))” has open dimensions other than batch, height and width (and, of [N, C, T, H, W], frames)."
            )
        }
        // A gigabyte.
        guard dims.reduce(1.0, { $0 * Double($1) }) <= Double(1 << 28) else {
            throw NetworkError(
                .input,
                "\(model.path): An input of shape \(Shape(dims)) is too large"
                    + (batch > 1 ? "; take a smaller batch (--batch)." : "."))
        }
        return Shape(dims)
    }

    /// The nodes on ways from values to the logits, in order.
    func path(from names: Set<String>) -> [Int] {
        var reached = names
        var forward: [Int] = []
        for name in names { reached.formUnion(mergedOutputs(of: name)) }
        // The shape of a value does not change with its numbers, so no way leads through Shape.
        for (i, node) in nodes.enumerated()
        where node.merged == nil && node.operation.passesGradient
            && node.inputs.contains(where: reached.contains)
        {
            reached.formUnion(node.makes)
            forward.append(i)
        }
        var needed: Set<String> = [logitsName]
        var path: [Int] = []
        for i in forward.reversed() where nodes[i].outputs.contains(where: needed.contains) {
            path.append(i)
            needed.formUnion(nodes[i].reads)
        }
        return path.reversed()
    }

    /// Whether the logits are an affine function of a value, whatever the picture: as of a layer that an average and a linear layer follow.
    package func isAffine(in name: String) -> Bool {
        path(from: [name]).allSatisfy { i in
            let activations = nodes[i].inputs.count { !$0.isEmpty && constants[$0] == nil }
            switch nodes[i].operation.dependence {
            case .selects, .adds, .averages, .affine: return true
            case .products, .multiplies: return activations == 1
            default: return false
            }
        }
    }

    /// A merged convolution's output lives on as that of the normalisation.
    fileprivate func mergedOutputs(of name: String) -> [String] {
        producers[name].flatMap { nodes[$0].merged }.map { nodes[$0.into].makes } ?? []
    }

    package func unknownValue(_ name: String) -> String {
        let names = nodes.flatMap { $0.makes + [$0.name] } + [inputName]
        let near = nearMatches(name, among: Array(Set(names)))
        return "\(model.path): There is no value “\(shortened(name))” in the network."
            + (near.isEmpty
                ? " `app layers` lists them."
                : " Did you mean \(near.map { "“\(shortened($0))”" }.joined(separator: ", "))?")
    }
}
