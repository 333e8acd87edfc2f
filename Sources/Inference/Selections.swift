// What a selection leaves out is not computed.
//
// A transformer's score may depend on one token at the end, the class token, of some two hundred. All that works token by token after the last
// attention need then be done for that one only, forward and back. So the walk here goes up from each selection for as long as what it
// leaves out is of use to nobody. The numbers that are left keep their bits, since no row of a product depends on the others.

import Kernels

/// A pass that is being planned.
struct PassDraft {
    let network: Network
    /// In the place of some nodes stand others, which make parts of the same values.
    var nodes: [NetworkNode]
    /// Which of them run.
    let running: [Bool]
    /// Makes a plan with the shapes of all values, for a batch.
    let shapes: (_ batch: Int) throws -> Planner
    let batch: Int
    /// Parts of values, by names that no file has.
    fileprivate(set) var parts: [String: Part] = [:]

    struct Part {
        let whole: String
        let shape: Shape  // of that
        let range: SliceRange
        /// Whether it is made for itself, without the whole.
        let isMade: Bool
    }

    init(
        network: Network, nodes: [NetworkNode], running: [Bool], batch: Int,
        shapes: @escaping (_ batch: Int) throws -> Planner
    ) {
        (self.network, self.nodes, self.running) = (network, nodes, running)
        (self.batch, self.shapes) = (batch, shapes)
    }

    private static let generalBatch = 13

    /// The nodes that run on whose outputs the score depends, in order.
    fileprivate var scoreNodes: [Int] {
        var needed: Set<String> = [network.logitsName]
        var found: [Int] = []
        for (i, node) in nodes.enumerated().reversed()
        where running[i] && node.makes.contains(where: needed.contains) {
            needed.formUnion(node.reads)
            found.append(i)
        }
        return found.reversed()
    }

    /// Nodes before selections make only the parts that are selected. Whoever wants to see the whole of such a value has it computed beside
    /// that: what is asked for changes nobody else's bits.
    mutating func leaveOut() throws {
        // What is asked for beside the score has no say.
        let scoreNodes = scoreNodes
        var readers: [String: Int] = [:]
        for i in scoreNodes {
            for name in nodes[i].reads { readers[name, default: 0] += 1 }
        }
        // To know the shapes takes time, and most networks have no selection of something that nobody else reads.
        let mayHelp = scoreNodes.contains { i in
            nodes[i].operation is any Selecting && nodes[i].inputs.first.map { readers[$0] == 1 } ?? false
        }
        // Bytes are rounded beside the nodes that make them.
        guard mayHelp, !network.isQuantised else { return }
        // Nor has the batch: in one of one picture, axes are alike that are not in others. This many is nothing else's extent. Where there is no
        // such batch, nor one of two, one picture is all that there ever is.
        var allowed = Set(scoreNodes)
        if let general = try? shapes(PassDraft.generalBatch) {
            allowed = Narrowing(self, general, among: allowed).narrowed
        } else if batch != 1 || (try? shapes(2)) != nil {
            return
        }
        let narrowing = Narrowing(self, try shapes(batch), among: allowed)
        (nodes, parts) = (narrowing.nodes, narrowing.parts)
    }

    /// The nodes whose place others have taken and that run nevertheless, by that place: somebody wants what they make.
    func wholes(_ original: [NetworkNode], wanted: Set<String>) -> [Int: NetworkNode] {
        var wanted = wanted.union(parts.values.filter { !$0.isMade }.map(\.whole))
        var wholes: [Int: NetworkNode] = [:]
        for (i, node) in original.enumerated().reversed()
        where running[i] && node.makes.contains(where: wanted.contains) {
            wanted.formUnion(node.reads)
            if nodes[i].makes != node.makes { wholes[i] = node }
        }
        return wholes
    }
}

private struct Narrowing {
    private(set) var nodes: [NetworkNode]
    private(set) var parts: [String: PassDraft.Part] = [:]
    /// The nodes that make or take a part.
    private(set) var narrowed: Set<Int> = []
    private let plan: Planner

    /// What of a value the score needs.
    private enum Need: Equatable {
        case whole
        case part(SliceRange)
    }

    /// - Parameter allowed: the nodes that may.
    init(_ pass: PassDraft, _ plan: Planner, among allowed: Set<Int>) {
        (nodes, self.plan) = (pass.nodes, plan)
        var needs: [String: Need] = [pass.network.logitsName: .whole]
        func need(_ need: Need, of name: String) {
            needs[name] = needs[name].map { $0 == need ? need : .whole } ?? need
        }
        // What each node that makes a part, or takes one, needs of its inputs.
        var narrowed: [Int: [Need]] = [:]
        for i in pass.scoreNodes.reversed() {
            let node = pass.nodes[i]
            var inputs: [Need]?
            if !allowed.contains(i) {
                // Another batch would have it make all.
            } else if let range = selection(node) {
                needs[node.outputs[0]] = .whole
                inputs = [.part(range)] + node.inputs.dropFirst().map { _ in .whole }
            } else if node.makes.count == 1, node.outputs.count == 1,
                case .part(let range)? = needs[node.outputs[0]]
            {
                inputs = self.needs(node, range)
            }
            if let inputs {
                narrowed[i] = inputs
            } else {
                for name in node.makes { needs[name] = .whole }
            }
            for (k, name) in node.inputs.enumerated() where !name.isEmpty {
                need(inputs?[k] ?? .whole, of: name)
            }
        }

        self.narrowed = Set(narrowed.keys)
        // By now it is known of what the score does not need the whole.
        func isMade(_ name: String, _ range: SliceRange) -> Bool {
            guard needs[name] == .part(range), let i = pass.network.producers[name] else { return false }
            return narrowed[i] != nil
        }
        func part(_ name: String, _ range: SliceRange) -> String {
            let part = "\(name) [axis \(range.axis), \(range.start) ..< \(range.start + range.count)]"
            parts[part] = PassDraft.Part(
                whole: name, shape: plan.shape(name)!, range: range, isMade: isMade(name, range))
            return part
        }
        for (i, inputs) in narrowed {
            let node = pass.nodes[i]
            guard let whole = plan.shape(node.outputs[0]) else { continue }
            var (shape, output) = (whole, node.outputs[0])
            if case .part(let range)? = needs[output] {
                shape = Shape(whole.dims.indices.map { $0 == range.axis ? range.count : whole.dims[$0] })
                output = part(output, range)
            } else if case .part(let range)? = inputs.first, !isMade(node.inputs[0], range) {
                // A selection of something that is there as a whole.
                continue
            }
            let names = zip(node.inputs, inputs).map { name, need in
                if case .part(let range) = need { part(name, range) } else { name }
            }
            let isTaken =
                switch node.operation.reach {
                case .rowMajor: true
                default: node.operation is any Selecting && output == node.outputs[0]
                }
            var new =
                isTaken
                ? node.replacing(Taken(shape: shape), inputs: [names[0]])
                : node.replacing(node.operation, inputs: names)
            if output != node.outputs[0] { new = new.making(output) }
            nodes[i] = new
        }
    }

    /// The part that a node selects, if it is a small one.
    private func selection(_ node: NetworkNode) -> SliceRange? {
        guard let operation = node.operation as? any Selecting, node.outputs.count == 1,
            let name = node.inputs.first, isActivation(name), let shape = plan.shape(name),
            let range = try? operation.selection(of: shape, node.inputs.map(plan.operand)),
            2 * range.count <= shape.dims[range.axis]
        else { return nil }
        return range
    }

    private func isActivation(_ name: String) -> Bool {
        if case .value(let value)? = plan.operand(name) {
            plan.tape.element(value) == .float32
        } else {
            false
        }
    }

    /// What a node needs of its inputs to make a part of its output; nil if that is not known to be less than all.
    private func needs(_ node: NetworkNode, _ range: SliceRange) -> [Need]? {
        guard let shape = plan.shape(node.outputs[0]) else { return nil }
        let shapes = node.inputs.map(plan.shape)
        func part(_ axis: Int) -> Need {
            .part(SliceRange(axis: axis, start: range.start, step: 1, count: range.count))
        }
        /// Of inputs that are broadcast to the output.
        func broadcast(_ k: Int) -> Need? {
            guard !node.inputs[k].isEmpty else { return .whole }
            guard let own = shapes[k] else { return nil }
            let axis = range.axis + own.rank - shape.rank
            if axis < 0 || own.dims[axis] == 1 { return .whole }
            return own.dims[axis] == shape.dims[range.axis] && isActivation(node.inputs[k]) ? part(axis) : nil
        }
        func all(_ needs: [Need?]) -> [Need]? {
            let known = needs.compactMap { $0 }
            return known.count == needs.count ? known : nil
        }
        if case .place = node.operation.reach {
            // What is broadcast to a shape that an input writes down has no part of that.
            if case .rearranges = node.operation.role { return nil }
            return all(node.inputs.indices.map(broadcast))
        }
        guard let first = node.inputs.first, isActivation(first), let before = shapes[0] else { return nil }
        let others = node.inputs.dropFirst()
        switch node.operation.reach {
        case .anywhere, .behindFirst, .place: return nil
        case .along(let axes):
            guard let axes = try? axes(before, node.inputs.map(plan.operand)), !axes.contains(range.axis),
                before.rank == shape.rank, before.dims[range.axis] == shape.dims[range.axis],
                !others.contains(where: isActivation),
                // Nor may there be a scale for each place of the axis.
                node.inputs.indices.dropFirst().allSatisfy({ broadcast($0) == .whole })
            else { return nil }
            return [part(range.axis)] + others.map { _ in .whole }
        case .product(let right):
            guard right == 1, node.inputs.count > 1, before.rank == shape.rank, range.axis == shape.rank - 2,
                shapes[1]?.rank ?? 0 >= 2
            else { return nil }
            return all([part(range.axis), .whole] + node.inputs.indices.dropFirst(2).map(broadcast))
        case .rowMajor:
            let around = shape.dims[..<range.axis].reduce(1, *)
            for axis in before.dims.indices where before.dims[..<axis].reduce(1, *) == around {
                let (own, other) = (before.dims[axis], shape.dims[range.axis])
                // The axis as it is; with others behind it that are one axis now; or one that is several now.
                var found: SliceRange?
                if other % own == 0, range.start % (other / own) == 0, range.count % (other / own) == 0 {
                    let m = other / own
                    found = SliceRange(axis: axis, start: range.start / m, step: 1, count: range.count / m)
                } else if own % other == 0 {
                    let m = own / other
                    found = SliceRange(axis: axis, start: range.start * m, step: 1, count: range.count * m)
                }
                if let found { return [.part(found)] + others.map { _ in .whole } }
            }
            return nil
        case .ordered(let order):
            guard let order = try? order(before.rank) else { return nil }
            return [part(order[range.axis])]
        }
    }
}

/// What is left of a selection, or of a reshape, where only the selected part is made: another shape.
private struct Taken: UnaryOperator {
    static let name = "Taken"
    static let formula = "the part that was selected already"
    let shape: Shape
    init(_ attributes: Attributes) throws { throw OperatorError("is made here, and stands in no file") }
    init(shape: Shape) { self.shape = shape }
    var role: Role { .rearranges }
    var dependence: Dependence { .selects }
    var reach: Reach { .rowMajor }
    func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(tape.reshape(try tape.value(required(inputs, 0, "data")), to: shape))]
    }
    func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        tape.reshape(dy, to: tape.shape(try required(node.inputs, 0, "data")))
    }
}
