// Layer normalisations and GELUs that an exporter spelled out, because its operator set had no operator for them, become that operator: fewer
// steps, and relevance goes back through what they are, not through a difference from a mean.

import Kernels

extension NetworkDraft {
    /// What is recognised must be there to the last step, and none of its values be anybody else's.
    mutating func writeAsOne() {
        let graph = ReadGraph(self)
        var (left, taken) = (nodes.map(Optional.some), Set<Int>())
        for last in nodes.indices {
            guard let found = graph.layerNormalisation(endingAt: last) ?? graph.gelu(endingAt: last),
                taken.isDisjoint(with: found.nodes)
            else { continue }
            taken.formUnion(found.nodes)
            for i in found.nodes { left[i] = nil }
            left[last] = NetworkNode(
                name: nodes[last].name, type: found.type, operation: found.operation, inputs: found.inputs,
                outputs: nodes[last].outputs,
                parameters: found.nodes.reduce(0) { $0 + nodes[$1].parameters },
                statedModules: nodes[last].statedModules)
        }
        nodes = left.compactMap(\.self)
    }
}

/// A chain of nodes, and the operator that does what they do.
private struct Recognised {
    let nodes: Set<Int>
    let type: String
    let operation: any Operator
    let inputs: [String]
}

/// The nodes of a draft, who makes each value, and who reads it.
private struct ReadGraph {
    let draft: NetworkDraft
    private var makers: [String: Int] = [:]
    private var readers: [String: Set<Int>] = [:]

    init(_ draft: NetworkDraft) {
        self.draft = draft
        for (i, node) in draft.nodes.enumerated() {
            for name in node.makes { makers[name] = i }
            for name in node.reads { readers[name, default: []].insert(i) }
        }
    }

    private func node(_ i: Int) -> NetworkNode { draft.nodes[i] }

    /// The node of that kind that makes a value.
    private func maker<Kind: Operator>(_ value: String, _: Kind.Type) -> Int? {
        guard let i = makers[value], node(i).operation is Kind, node(i).outputs.count == 1 else { return nil }
        return i
    }

    /// A constant that is one number, and gives what it meets no more dimensions.
    private func number(_ value: String) -> Float? {
        guard let tensor = draft.constants[value], tensor.shape.count == 1, tensor.shape.rank <= 1,
            !tensor.isInteger
        else { return nil }
        return try? tensor.floats()[0]
    }

    /// What a node of two inputs reads beside a constant, and the constant's name.
    private func beside(_ i: Int) -> (value: String, constant: String)? {
        guard node(i).inputs.count == 2 else { return nil }
        let (a, b) = (node(i).inputs[0], node(i).inputs[1])
        return switch (draft.constants[a] != nil, draft.constants[b] != nil) {
        case (false, true): (a, b)
        case (true, false): (b, a)
        default: nil
        }
    }

    /// What a node of that kind reads beside a number that has nearly that value: exporters write it in binary32.
    private func beside<Kind: Operator>(_ value: String, _ kind: Kind.Type, _ expected: Float) -> (
        value: String, node: Int
    )? {
        guard let i = maker(value, kind), let found = beside(i), let number = number(found.constant),
            abs(number - expected) <= 1e-6 * expected
        else { return nil }
        return (found.value, i)
    }

    /// Whether nobody but these nodes reads what they make, up to the last of them.
    private func areClosed(_ nodes: Set<Int>, last: Int) -> Bool {
        nodes.allSatisfy { i in
            i == last
                || node(i).makes.allSatisfy {
                    !draft.outputs.contains($0) && readers[$0]?.isSubset(of: nodes) ?? true
                }
        }
    }

    // MARK: scale (x − mean) / √(variance + ε) + bias

    func layerNormalisation(endingAt last: Int) -> Recognised? {
        // The bias may be missing; then a scaled one with a bias is not seen here, but at its end.
        var (scaled, bias) = (last, "")
        if node(last).operation is Add, let sum = beside(last), let product = maker(sum.value, Mul.self) {
            (scaled, bias) = (product, sum.constant)
        } else if !(node(last).operation is Mul) || isScaledForBias(last) {
            return nil
        }
        guard let product = beside(scaled), let divided = maker(product.value, Div.self) else { return nil }
        let (deviations, root) = (node(divided).inputs[0], node(divided).inputs[1])
        guard let sqrt = maker(root, Sqrt.self), let shifted = maker(node(sqrt).inputs[0], Add.self),
            let variance = beside(shifted), let epsilon = number(variance.constant), epsilon >= 0,
            let averaged = maker(variance.value, ReduceMean.self),
            let squares = makers[node(averaged).inputs[0]], let squared = squaredInput(squares),
            let difference = maker(deviations, Sub.self), let other = maker(squared, Sub.self),
            node(other).inputs == node(difference).inputs,
            let mean = maker(node(difference).inputs[1], ReduceMean.self)
        else { return nil }
        let x = node(difference).inputs[0]
        guard node(mean).inputs[0] == x, draft.constants[x] == nil,
            let axes = lastAxes(mean), axes == lastAxes(averaged),
            let scale = draft.constants[product.constant], scale.shape.rank == axes, !scale.isInteger,
            bias.isEmpty || draft.constants[bias]!.shape == scale.shape && !draft.constants[bias]!.isInteger,
            let operation = try? LayerNormalization(
                Attributes(opset: 17, ["axis": .int(-axes), "epsilon": .float(epsilon)]))
        else { return nil }
        let nodes: Set = [last, scaled, divided, sqrt, shifted, averaged, squares, difference, other, mean]
        guard areClosed(nodes, last: last) else { return nil }
        return Recognised(
            nodes: nodes, type: LayerNormalization.name, operation: operation,
            inputs: [x, product.constant] + (bias.isEmpty ? [] : [bias]))
    }

    /// Whether the one reader of a product adds a constant to it: the bias.
    private func isScaledForBias(_ i: Int) -> Bool {
        guard let name = node(i).makes.first, let all = readers[name], all.count == 1, let reader = all.first
        else { return false }
        return node(reader).operation is Add && beside(reader) != nil
    }

    /// What is squared by a node, if one is.
    private func squaredInput(_ i: Int) -> String? {
        let inputs = node(i).inputs
        guard inputs.count == 2, node(i).outputs.count == 1 else { return nil }
        if node(i).operation is Mul, inputs[0] == inputs[1] { return inputs[0] }
        return node(i).operation is Pow && number(inputs[1]) == 2 ? inputs[0] : nil
    }

    /// Over how many of the last axes a mean goes that keeps them; nil if it is over others.
    private func lastAxes(_ mean: Int) -> Int? {
        guard let axes = (node(mean).operation as? ReduceMean)?.axes.kept(draft.constantInputs(node(mean))),
            !axes.isEmpty, axes.sorted() == Array(-axes.count..<0)
        else { return nil }
        return axes.count
    }

    // MARK: x (1 + erf(x / √2)) / 2

    func gelu(endingAt last: Int) -> Recognised? {
        guard node(last).operation is Mul, node(last).outputs.count == 1 else { return nil }
        // The half is a factor of any of the three: of the whole, of x, of the sum.
        let half = beside(last)
        let halved = half.flatMap { number($0.constant) == 0.5 ? maker($0.value, Mul.self) : nil }
        let product = halved ?? last
        guard half == nil || halved != nil, node(product).inputs.count == 2 else { return nil }
        for (a, b) in [(0, 1), (1, 0)] {
            var nodes: Set = [last, product]
            var (x, sum) = (node(product).inputs[a], node(product).inputs[b])
            if halved == nil {
                if let found = beside(sum, Mul.self, 0.5) {
                    (sum, nodes) = (found.value, nodes.union([found.node]))
                } else if let found = beside(x, Mul.self, 0.5) {
                    (x, nodes) = (found.value, nodes.union([found.node]))
                } else {
                    continue
                }
            }
            guard let one = beside(sum, Add.self, 1), let erf = maker(one.value, Erf.self),
                let scaled = makers[node(erf).inputs[0]], isOverRootOfTwo(scaled, of: x),
                draft.constants[x] == nil,
                let operation = try? Gelu(Attributes(opset: 20))
            else { continue }
            nodes.formUnion([one.node, erf, scaled])
            guard areClosed(nodes, last: last) else { continue }
            return Recognised(nodes: nodes, type: Gelu.name, operation: operation, inputs: [x])
        }
        return nil
    }

    /// Whether a node makes x / √2.
    private func isOverRootOfTwo(_ i: Int, of x: String) -> Bool {
        let root = Float(2).squareRoot()
        guard let name = node(i).makes.first else { return false }
        if node(i).operation is Div {
            return node(i).inputs.first == x && beside(name, Div.self, root) != nil
        }
        return beside(name, Mul.self, 1 / root).map { $0.value == x } ?? false
    }
}

extension NetworkDraft {
    fileprivate func constantInputs(_ node: NetworkNode) -> [Operand?] {
        node.inputs.map { constants[$0].map(Operand.host) }
    }
}
