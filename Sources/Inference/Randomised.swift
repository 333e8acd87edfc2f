// A network with random numbers in the place of trained weights, for tests of whether a map depends on them.

import Kernels

extension Network {
    /// A node with trained weights: a convolution or a product of matrices.
    package struct TrainedLayer: Sendable {
        /// The node's name.
        package let name: String
        /// Of its weights, in the file.
        let weights: String
    }

    /// Those nodes, from the scores to the picture: the last of the file first. Of nodes that share weights only the last.
    package var trainedLayers: [TrainedLayer] {
        var seen: Set<String> = []
        return model.graph.nodes.reversed().compactMap { node in
            guard node.inputs.count > 1,
                OperatorList[node.opType, domain: node.domain] is any LinearOperator.Type,
                let weights = node.inputs[1...].first(where: {
                    constants[$0].map { $0.shape.rank > 1 } ?? model.graph.initializers.keys.contains($0)
                }),
                model.graph.initializers[weights].map({ $0.type.isFloatingPoint && $0.dims.count > 1 })
                    ?? false,
                seen.insert(weights).inserted
            else { return nil }
            return TrainedLayer(name: node.name, weights: weights)
        }
    }

    /// The network with normal numbers of the same mean and deviation in the place of the weights of some layers. Biases and what normalisations learnt stay.
    /// - Parameter normal: numbers of the standard normal distribution, `count` for layer `number` of `trainedLayers`.
    package func randomised(
        _ layers: Range<Int>, normal: (_ count: Int, _ number: Int) -> [Float]
    ) throws -> Network {
        let all = trainedLayers
        var interface = interface
        for number in layers {
            let name = all[number].weights
            let tensor = model.graph.initializers[name]!
            var values: [Float] = []
            try tensor.withFloatBytes { bytes in
                values = (0..<bytes.count / 4).map {
                    bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self)
                }
            }
            let n = Double(max(1, values.count))
            let mean = values.reduce(0.0) { $0 + Double($1) } / n
            let variance = values.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / n
            let deviation = variance.squareRoot()
            interface.weights[name] = HostTensor(
                Shape(tensor.dims),
                .floats(normal(values.count, number).map { Float(mean + deviation * Double($0)) }))
        }
        var network = try Network(model, limits: limits, interface: interface)
        network.frames = frames
        return network
    }
}
