// The constants that a network adds on its way to the score.

import Kernels

/// A constant that an operator adds to what it computes of its inputs.
package struct Bias: Sendable {
    /// The value of which it is a part.
    package let value: String
    /// The value's shape.
    package let shape: Shape
    /// The bias, in a shape that broadcasts to the value's.
    package let tensor: HostTensor
}

extension Network {
    /// All of them on ways from the input to the logits, in the order in which the nodes run, in the shapes of a pass. A normalisation that was
    /// merged into a convolution has one together with it. A network of operators that are otherwise piecewise linear without a
    /// constant part, such as convolutions, ReLU and pools, has these alone: s = Σ x ∂s/∂x + Σ b ∂s/∂b.
    package func biases(in spec: PassSpec) throws -> [Bias] {
        let path = path(from: [inputName])
        let plan = try Planner(
            self, batch: spec.batch, height: spec.height, width: spec.width,
            stored: Set(path.flatMap { nodes[$0].makes }), sketch: true)
        return try path.compactMap { i in
            let node = nodes[i]
            guard let name = node.makes.first, let shape = plan.shape(name) else { return nil }
            do {
                guard let tensor = try node.operation.bias(node.inputs.map(plan.operand), of: shape),
                    try tensor.floats().contains(where: { $0 != 0 })
                else { return nil }
                return Bias(value: name, shape: shape, tensor: tensor)
            } catch let problem as OperatorError {
                throw NetworkError(Network.kind(problem), "\(model.path): \(node.label) \(problem).")
            }
        }
    }
}
