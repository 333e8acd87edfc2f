// Nodes `If`: where the condition is a constant, or follows from shapes, the branch that is taken stands in the place of the node.
//
// What follows from shapes is decided for the shape that the file gives, and a batch of one where that is open. A plan for another shape
// comes by the node `If`, which stays, and is refused where the condition would be another.

import Kernels
import ONNX
import Text

/// y = the value of the branch that was taken. What is left of a node `If` whose condition follows from shapes.
struct TakenBranch: UnaryOperator {
    static let name = "If"
    static let formula = "the branch that the condition takes"
    let isThen: Bool
    init(_ attributes: Attributes) throws { throw OperatorError("is made here, and stands in no file") }
    init(isThen: Bool) { self.isThen = isThen }
    let role: Role = .passes
    let dependence: Dependence = .selects
    let reach = Reach.place
    let gradientNeeds: GradientNeeds = []
    static var accepts: Set<Meaning> { [.real, .boolean, .integer] }
    static func arity(opset: Int) -> Arity { Arity(inputs: 2, outputs: 1) }
    func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning { (inputs.first ?? nil) ?? .real }

    private func check(_ condition: HostTensor?) throws {
        guard let condition, try condition.truth == isThen else {
            throw OperatorError(
                unsupported:
                    "takes another branch for this batch and size than for those that the file fixes, or batches of one, which is not supported"
            )
        }
    }
    func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard inputs.count == 2, let x = inputs[0] else { return nil }
        try check(inputs[1])
        return [x]
    }
    func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        guard inputs.count == 2, let x = inputs[0] else { throw OperatorError("lacks its input") }
        try check(inputs[1]?.constant)
        return [x]
    }
    func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value { dy }
}

extension HostTensor {
    /// Of a condition, which has one element.
    fileprivate var truth: Bool {
        get throws {
            guard shape.count == 1 else {
                throw OperatorError("has a condition of shape \(shape), where one truth is needed")
            }
            return isInteger ? try ints()[0] != 0 : try floats()[0] != 0
        }
    }
}

/// A graph whose nodes `If` are decided.
struct DecidedGraph {
    private(set) var graph: ONNXGraph
    /// What is left of nodes `If`, by the names of what they make.
    private(set) var taken: [String: TakenBranch] = [:]
    /// Why others are as they were, as ends of sentences.
    private(set) var problems: [String: String] = [:]

    /// Nodes that are looked at, over all rounds, at most: each reads the graph once, and decides what depends on no other `If`.
    private static let mostWork = 2_000_000

    /// - Parameters:
    ///   - output: what is computed; what it does not depend on stays as it is.
    ///   - interface: which names its picture.
    init(_ model: ONNXModel, output: String, interface: NetworkInterface, limits: Limits) throws {
        graph = model.graph
        guard graph.nodes.contains(where: DecidedGraph.chooses) else { return }
        var work = 0
        while true {
            let (needed, _) = NetworkInterface.ancestors(of: output, in: graph)
            // Those on which no open node has an influence.
            var unclear: Set<String> = []
            var next: [Int] = []
            for (i, node) in graph.nodes.enumerated() {
                let isOpen = DecidedGraph.chooses(node)
                let reads = isOpen ? Array(node.inputs.prefix(1)) : node.inputs + node.captures
                if !reads.contains(where: unclear.contains), isOpen, needed.contains(i), problem(node) == nil
                {
                    next.append(i)
                }
                if isOpen || reads.contains(where: unclear.contains) {
                    unclear.formUnion(node.outputs.filter { !$0.isEmpty })
                }
            }
            guard !next.isEmpty else { return }
            work += graph.nodes.count * (next.count + 1)
            guard work <= DecidedGraph.mostWork else {
                throw LimitError(
                    "\(model.path): To decide the graph's nodes “If”, whose conditions depend on one another, takes too long; fold its constants when the network is exported."
                )
            }
            var decided: [ONNXGraph.Taken] = []
            for i in next {
                let node = graph.nodes[i]
                do {
                    let (truth, isConstant) = try condition(of: node, model, interface, limits)
                    decided.append(
                        ONNXGraph.Taken(
                            node: i, branch: truth ? "then_branch" : "else_branch", staysBecause: !isConstant)
                    )
                    if !isConstant {
                        for output in node.outputs where !output.isEmpty {
                            taken[output] = TakenBranch(isThen: truth)
                        }
                    }
                } catch let error as OperatorError {
                    for output in node.outputs where !output.isEmpty { problems[output] = "\(error)" }
                }
            }
            graph = try graph.taking(decided)
        }
    }

    /// Whether it is an `If` that has its branches.
    private static func chooses(_ node: ONNXNode) -> Bool {
        node.opType == "If" && node.domain.isEmpty && !node.attributes.isEmpty
    }

    /// Why it is not decided, if it was tried.
    func problem(_ node: ONNXNode) -> String? {
        node.opType == "If" ? node.outputs.first { !$0.isEmpty }.flatMap { problems[$0] } : nil
    }

    /// The operator of a node, if that is what is left of an `If`.
    func branch(_ node: ONNXNode) -> TakenBranch? {
        node.opType == "If" && node.attributes.isEmpty ? node.outputs.first.flatMap { taken[$0] } : nil
    }

    /// The value of a node's condition, and whether it is the same for all shapes.
    private func condition(
        of node: ONNXNode, _ model: ONNXModel, _ interface: NetworkInterface, _ limits: Limits
    ) throws -> (Bool, isConstant: Bool) {
        guard node.inputs.count == 1, let name = node.inputs.first, !name.isEmpty else {
            throw OperatorError("has \(node.inputs.count) inputs, where one is its condition")
        }
        let (places, _) = NetworkInterface.ancestors(of: name, in: graph)
        let picture = try interface.picture(of: graph, path: model.path)
        // The picture is what this part gives out, so that nothing in it is needed, and what is not supported is left out.
        let nodes = places.sorted().map { graph.nodes[$0] }
        let part = try Network(
            model.part(of: graph, nodes: nodes, reading: [name], output: picture), limits: limits,
            interface: NetworkInterface(input: picture.name, given: interface.given), decided: taken)
        if let constant = part.constants[name] { return (try constant.truth, true) }
        let operand: Operand?
        do {
            operand = try Planner(part, batch: part.inputDims[0] ?? 1, stored: [name], sketch: true).operand(
                name)
        } catch let error as NetworkError where error.kind == .unsupported {
            throw OperatorError(
                unsupported:
                    "has a condition that is not known before the network runs, or needs what is not supported"
            )
        }
        guard case .host(let tensor)? = operand else {
            throw OperatorError(
                unsupported:
                    "has a condition that is computed of the picture's numbers, which is not supported; constants and shapes may decide"
            )
        }
        return (try tensor.truth, false)
    }
}
