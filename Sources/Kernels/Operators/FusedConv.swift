// Operators that stand for several, one after the other, as optimisers of files write them.

import CMicrokernels

/// An operator that a network has as several, one after the other, in its place (`Rewrite.all`): so each of them is known by its role, as
/// if the file had named it.
package protocol CompositeOperator: Operator {
    var parts: [CompositePart] { get }
}

/// One of them.
package struct CompositePart: Sendable {
    package let type: String
    package let operation: any Operator
    /// Which inputs of the whole it reads; nil is what the part before made.
    package let inputs: [Int?]
}

extension CompositeOperator {
    /// The parts whose inputs are there, and what they read and make.
    private func run(_ tape: inout Tape, _ inputs: [Operand?]) throws -> [(CompositePart, LoweredNode)] {
        var made: Operand?
        var done: [(CompositePart, LoweredNode)] = []
        for part in parts(of: inputs.map { $0 != nil }) {
            let reads = part.inputs.map { $0.map { $0 < inputs.count ? inputs[$0] : nil } ?? made }
            let outputs = try part.operation.forward(&tape, reads, outputs: 1)
            made = outputs[0]
            done.append((part, LoweredNode(inputs: reads, outputs: outputs)))
        }
        return done
    }

    /// The parts of a node with these inputs: one that reads the part before and an input that is left out is not there.
    package func parts(of given: [Bool]) -> [CompositePart] {
        parts.enumerated().filter { i, part in
            i == 0 || part.inputs.allSatisfy { $0.map { $0 < given.count && given[$0] } ?? true }
        }.map(\.element)
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        try run(&tape, inputs).last!.1.outputs.map { $0! }
    }

    /// Through parts that are computed anew; in a network they are nodes of their own.
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        var dy = cotangents[0]!
        var found = node.inputs.map { _ -> Value? in nil }
        for (part, lowered) in try run(&tape, node.inputs).reversed() {
            let places = part.inputs.indices.filter { part.inputs[$0].map(wanted.contains) ?? true }
            let back = try part.operation.vjp(&tape, lowered, cotangents: [dy], wanted: Set(places))
            for place in places {
                if let input = part.inputs[place] { found[input] = back[place] } else { dy = back[place]! }
            }
        }
        return found
    }
}

/// A convolution, a term that is added, and an activation.
package struct FusedConv: CompositeOperator {
    package static let name = "FusedConv"
    package static let domain = "com.microsoft"
    package static let formula = "an activation of a convolution and a term that is added"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 4) }
    package var reach: Reach { .behindFirst }
    package let gradientNeeds: GradientNeeds = .inputs
    package let parts: [CompositePart]

    package init(_ attributes: Attributes) throws {
        let conv = CompositePart(type: "Conv", operation: try Conv(attributes), inputs: [0, 1, 2])
        let sum = CompositePart(type: "Add", operation: try Add(attributes), inputs: [nil, 3])
        let name = try attributes.string("activation", default: "")
        var numbers: [Float] = []
        switch attributes["activation_params"] {
        case .floats(let values)?: numbers = values
        case .float(let value)?: numbers = [value]
        case nil: break
        default: throw OperatorError("has activation_params that are no numbers")
        }
        func given(_ names: [String]) throws -> Attributes {
            guard numbers.count == names.count else {
                throw OperatorError("has \(numbers.count) activation_params for \(name)")
            }
            return Attributes(
                opset: 6, Dictionary(uniqueKeysWithValues: zip(names, numbers.map(Attribute.float))))
        }
        let activation: (any Operator)? =
            switch name {
            case "": nil
            case "Relu": try Relu(given([]))
            case "Sigmoid": try Sigmoid(given([]))
            case "Tanh": try Tanh(given([]))
            case "LeakyRelu": try LeakyRelu(given(["alpha"]))
            case "HardSigmoid": try HardSigmoid(given(["alpha", "beta"]))
            case "Clip": try Clip(given(["min", "max"]))
            default:
                throw OperatorError(
                    unsupported: "has the activation “\(name.prefix(40))”, which is not supported")
            }
        parts =
            [conv, sum] + (activation.map { [CompositePart(type: name, operation: $0, inputs: [nil])] } ?? [])
    }
}
