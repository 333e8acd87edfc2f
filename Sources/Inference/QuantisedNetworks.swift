// Networks whose activations are whole numbers: how they become networks of real numbers, and which parts are computed in whole ones.
//
// Every activation has two names: one for its whole numbers, one for the real numbers that these stand for. Methods explain the second;
// forward, operators between the first are computed in integers, and the steps for the others fall away where nobody reads them.

import Kernels

extension Network {
    /// Whether activations are rounded to whole numbers, so that gradients go by the straight-through rule.
    package var isQuantised: Bool {
        nodes.contains { if case .quantises = $0.operation.role { true } else { false } }
    }

    /// The node that rounds the logits themselves to whole numbers, if one does.
    var scoreQuantiser: Int? {
        var name = logitsName
        var isWhole = false
        while let i = producers[name], let source = nodes[i].inputs.first {
            switch nodes[i].operation.role {
            case .quantises: return isWhole ? i : nil
            case .dequantises: isWhole = true
            case .passes, .rearranges, .reshapes: break
            default: return nil
            }
            name = source
        }
        return nil
    }
}

extension NetworkDraft {
    /// Operators between quantised tensors become DequantizeLinear, the operator of real numbers, and QuantizeLinear.
    mutating func unfoldQuantisedForms() throws {
        guard nodes.contains(where: { $0.operation is any QuantisedForm }) else { return }
        var taken = Set(nodes.flatMap { $0.inputs + $0.outputs }).union(constants.keys).union(outputs)
        func free(_ wanted: [String]) -> String {
            var name = wanted.first { !taken.contains($0) } ?? wanted.last!
            while taken.contains(name) { name += "_" }
            taken.insert(name)
            return name
        }
        /// The name of what ONNX Runtime's quantiser made whole.
        func stem(_ name: String) -> [String] {
            let ending = "_quantized"
            return name.hasSuffix(ending) && name.count > ending.count
                ? [String(name.dropLast(ending.count))] : []
        }
        var left: [NetworkNode] = []
        var reals: [[String]: String] = [:]  // by the whole numbers, scale and zero point
        let plain = Attributes(opset: 13, ["axis": .int(0)])
        let (quantise, dequantise) = (try QuantizeLinear(plain), try DequantizeLinear(plain))
        for node in nodes {
            guard let form = node.operation as? any QuantisedForm else {
                left.append(node)
                continue
            }
            do {
                func name(_ index: Int) -> String { index < node.inputs.count ? node.inputs[index] : "" }
                let hosts = node.inputs.map { constants[$0].map(Operand.host) }
                var inputs: [String] = []
                let operands = form.operands(node.inputs.count)
                for operand in operands {
                    let whole = name(operand.numbers)
                    if whole.isEmpty {
                        inputs.append("")
                        continue
                    }
                    let key =
                        operand.scale < 0
                        ? [whole] + operands.prefix(2).map { name($0.scale) }
                        : [whole, name(operand.scale), name(operand.zero)]
                    if let real = reals[key] {
                        inputs.append(real)
                        continue
                    }
                    let real = free(stem(whole) + [whole + "_real"])
                    if let tensor = constants[whole] {
                        let quantisation =
                            operand.scale < 0
                            ? try form.biasQuantisation(hosts, tensor.shape)
                            : try form.quantisation(
                                hosts, operand, rank: tensor.shape.rank, type: tensor.type)
                        constants[real] = try tensor.dequantised(quantisation)
                    } else {
                        left.append(
                            NetworkNode(
                                name: real + "_DequantizeLinear", type: DequantizeLinear.name,
                                operation: dequantise, inputs: key, outputs: [real], parameters: 0))
                    }
                    reals[key] = real
                    inputs.append(real)
                }
                guard let output = node.outputs.first, node.outputs.count == 1 else {
                    throw OperatorError("has \(node.outputs.count) outputs, where one is needed")
                }
                let isReal = form.isReal(node.inputs.count)
                let made =
                    isReal
                    ? output
                    : free(stem(output).map { $0 + "_QuantizeLinear_Input" } + [output + "_unrounded"])
                left.append(
                    NetworkNode(
                        name: node.name, type: node.type, operation: form.real, inputs: inputs,
                        outputs: [made], parameters: node.parameters))
                if isReal { continue }
                left.append(
                    NetworkNode(
                        name: node.name + "_QuantizeLinear", type: QuantizeLinear.name, operation: quantise,
                        inputs: [made, name(form.output.scale), name(form.output.zero)], outputs: [output],
                        parameters: 0))
            } catch let error as OperatorError {
                throw NetworkError(Network.kind(error), "\(path): \(node.label) \(error).")
            }
        }
        nodes = left
    }
}

extension Planner {
    /// The node that makes a value in this plan.
    private func maker(_ name: String) -> NetworkNode? {
        guard let i = network.producers[name], running[i], nodes[i].merged == nil else { return nil }
        return nodes[i]
    }

    mutating func computeInWholes(_ node: NetworkNode, _ inputs: [Operand?]) throws -> Bool {
        if let quantise = node.operation as? QuantizeLinear {
            guard case .value(let x)? = inputs.first ?? nil, var product = maker(node.inputs[0]) else {
                return false
            }
            var clip: Bounds?
            if case .clips(let bounds) = product.operation.role, let source = product.inputs.first,
                let before = maker(source)
            {
                clip = try bounds(product.inputs.map(operand))
                product = before
            }
            let output = try quantise.quantisation(inputs, rank: tape.shape(x).rank)
            guard let y = try inWholes(product, output, clip), tape.shape(y) == tape.shape(x) else {
                return false
            }
            try record(node, [.value(y)])
            return true
        }
        // A dense layer whose results stay real.
        guard node.operation is any LinearOperator, node.operation is any QuantisableOperator,
            readers[node.outputs.first ?? ""]?.contains(where: {
                nodes[$0].operation is QuantizeLinear
            }) != true, let y = try inWholes(node, nil, nil)
        else { return false }
        try record(node, [.value(y)])
        return true
    }

    private mutating func inWholes(_ node: NetworkNode, _ output: Quantisation?, _ clip: Bounds?) throws
        -> Value?
    {
        guard let operation = node.operation as? any QuantisableOperator else { return nil }
        var operands: [QuantisedOperand?] = []
        for name in node.inputs {
            if name.isEmpty {
                operands.append(nil)
            } else if let operand = try wholes(name) {
                operands.append(operand)
            } else {
                return nil
            }
        }
        return try operation.quantised(&tape, operands, output: output, clip: clip)
    }

    /// The whole numbers that a value of real ones stands for.
    private mutating func wholes(_ name: String) throws -> QuantisedOperand? {
        if case .host(let tensor)? = operands[name] {
            return tensor.quantised.map { .constant($0.whole, $0.quantisation) }
        }
        guard let i = network.producers[name], let dequantise = nodes[i].operation as? DequantizeLinear,
            let real = operands[name], case .value(let x) = real
        else { return nil }
        let rank = tape.shape(x).rank
        let reads = nodes[i].inputs
        guard running[i] else {
            // Fed in place of what was dequantised: brought back to its grid.
            let constants = reads.map { network.constants[$0].map(Operand.host) }
            guard
                let quantisation = try? dequantise.quantisation(constants, rank: rank, type: nil),
                quantisation.isOfTensor
            else { return nil }
            return .value(try tape.wholes(x, quantisation), quantisation)
        }
        guard case .value(let whole)? = operands[reads[0]] else { return nil }
        let quantisation = try dequantise.quantisation(
            reads.map(operand), rank: rank, type: WholeType(tape.element(whole)) ?? .int32)
        return .value(whole, quantisation)
    }

    /// Past the rounding of the score itself, which must not end all gradients where the score is the largest that there is.
    mutating func vjpOfScore(_ node: LoweredNode, _ cotangents: [Value?]) throws -> (
        found: [Value?], byRule: Bool
    )? {
        guard let dy = cotangents[0] else { return nil }
        let dx = try QuantizeLinear(Attributes(opset: 13)).vjpUnclipped(&tape, node, dy)
        return (node.inputs.indices.map { $0 == 0 ? dx : nil }, false)
    }
}
