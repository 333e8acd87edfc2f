// FullGrad.

import CMicrokernels
import Imaging
import Inference
import Kernels

/// Full-gradient representation.
///
/// Srinivas, Fleuret, “Full-Gradient Representation for Neural Network Visualization”, NeurIPS 2019, equations 2 and 4: a score is the sum of
/// x ⊙ ∂s/∂x and of b ⊙ ∂s/∂b over all biases b, of which those of layers with a grid are spread over its cells. The map is
/// Σ ψ(x ⊙ ∂s/∂x) + Σ_layers Σ_channels ψ(b ⊙ ∂s/∂y), y the layer's output, where ψ takes magnitudes, scales them to 0 … 1 and enlarges them to the input
/// bilinearly. Biases are those of convolutions, sums with constants, and normalisations, of which −μγ/√(σ² + ε) + β is one.
package struct FullGrad: Explainer, PassAddition {
    package static let name = "fullgrad"
    package static let title = "FullGrad"
    package static let family = MethodFamily.gradient
    package static let formula =
        "sum over colours, and over the channels of layers with biases b, of psi(x dx) and psi(b dy), psi scales magnitudes to 0 ... 1"
    package static let reading =
        "The share of the pixels and of each layer's biases in the score, added up by place; do not read a sign into it, because only magnitudes are added."
    package static let source = "Srinivas and Fleuret 2019, equation 4"
    package static let sign = MapSign.magnitude
    package static let cost = "1 forward, 1 back to the pixels"
    /// Every pixel has its share of every layer, so none stands out as with gradients alone.
    package static let brightestQuantile = 1.0

    package struct Settings: MethodSettings {
        package var scale = Scale.layer
        package init() {}
        package static let list = [
            MethodSetting<Settings>(
                "scale", \.scale,
                "what is scaled to 0 ... 1: all channels of a layer together, as the authors' program does, or each alone"
            )
        ]
    }

    /// What is scaled together.
    package enum Scale: String, SettingChoice { case layer, channel }

    /// A value with a bias.
    private struct Part: Hashable {
        let name: String
        let bias: [Float], biasDims: [Int]
        /// Height and width; nil of a value without a grid, which has no place in the map.
        let grid: [Int]?
    }

    private let input: PixelInput
    private let scale: Scale
    private let parts: [Part]
    /// The grids of maps: that of the input, and then those of layers in the order in which they come.
    private let grids: [[Int]]

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        input = try PixelInput(subject, for: Self.title)
        scale = settings.scale
        parts = try subject.network.biases(
            in: PassSpec(batch: 1, height: input.height, width: input.width)
        ).map {
            Part(
                name: $0.value, bias: try $0.tensor.floats(), biasDims: $0.tensor.shape.dims,
                grid: $0.shape.rank == 4 ? Array($0.shape.dims[2...]) : nil)
        }
        guard parts.contains(where: { $0.grid != nil }) else {
            throw ExplainError(
                .method,
                "\(Self.title) needs layers with biases and a grid, and \(subject.network.model.path) has none; take "
                    + "\(InputXGradient.name), which is all that would be left of it.")
        }
        var grids = [[input.height, input.width]]
        for case let grid? in parts.map(\.grid) where !grids.contains(grid) { grids.append(grid) }
        self.grids = grids
    }

    package var grid: Attribution.Grid { input.grid }
    package var label: String { Self.title }
    package var layers: [String] { [input.name] }
    package var readsGradients: Bool { true }
    package var differentiated: [String] { [input.name] + parts.map(\.name) }

    package func request(_ spec: inout PassSpec) { spec.add(self) }

    /// - Returns: for each grid the sum over its layers and their channels of what is scaled, [N, 1, h, w]; then for each layer the sum over its
    ///   channels of what is not, [N, 1, …].
    package func add(to tape: inout Tape, activations: [Value], gradients: [Value]) throws -> [Value] {
        var products = [tape.map(WB_MAP_multiply, gradients[0], activations[0])]
        for (part, gradient) in zip(parts, gradients.dropFirst()) {
            let bias = try tape.constant(HostTensor(Shape(part.biasDims), .floats(part.bias)))
            products.append(tape.map(WB_MAP_multiply, gradient, bias))
        }
        var maps: [[Int]: Value] = [:]
        for (product, grid) in zip(products, [grids[0]] + parts.map(\.grid)) {
            guard let grid else { continue }
            let map = tape.reduce(scaled(&tape, product), axes: [1])
            maps[grid] = maps[grid].map { tape.map(WB_MAP_add, $0, map) } ?? map
        }
        return grids.map { maps[$0]! } + products.map { tape.reduce($0, axes: [1]) }
    }

    /// (|v| − min) / (max − min), over each picture's layer or channel; 0 where all are equal.
    private func scaled(_ tape: inout Tape, _ product: Value) -> Value {
        let size = tape.map(WB_MAP_abs, product)
        func largest(_ value: Value) -> Value {
            let channels = tape.reduce(value, axes: [2, 3], WB_REDUCE_MAX)
            return scale == .channel ? channels : tape.reduce(channels, axes: [1], WB_REDUCE_MAX)
        }
        // The least is the largest of the negatives.
        let least = tape.map(WB_MAP_scale, largest(tape.map(WB_MAP_scale, size, a: -1)), a: -1)
        let range = tape.map(WB_MAP_subtract, largest(size), least)
        return tape.map(WB_MAP_divide_or_zero, tape.map(WB_MAP_subtract, size, least), range)
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        try batch.rounds(targets) { targets, pictures in
            let outputs = try batch.outputs(of: self, targets: targets)
            return pictures.map { picture in
                func numbers(_ output: [Float]) -> ArraySlice<Float> {
                    let size = output.count / batch.size
                    return output[picture * size..<(picture + 1) * size]
                }
                var map = [Float](repeating: 0, count: input.cells)
                for (grid, output) in zip(grids, outputs) {
                    let plane = Plane(width: grid[1], height: grid[0], values: Array(numbers(output)))
                    let large = plane.resized(width: input.width, height: input.height)
                    for i in map.indices { map[i] += large.values[i] }
                }
                var attribution = Attribution(
                    picture: picture, target: targets[picture], grid: grid, values: map,
                    blankReason:
                        "the gradient of what is explained is zero at every pixel and every layer with biases"
                )
                let sum = outputs[grids.count...].reduce(0.0) {
                    numbers($1).reduce($0) { $0 + Double($1) }
                }
                attribution.note = note(
                    Completeness(
                        sum: Float(sum), expected: batch.value(targets[picture], picture: picture)),
                    targets[picture])
                return attribution
            }
        }
    }

    /// What all parts add up to before ψ, if that is not the score. A probability is no sum of them.
    private func note(_ whole: Completeness, _ target: Target) -> String? {
        guard target.scale == .logit, let error = whole.error, error > Completeness.worrying else {
            return nil
        }
        return
            "the parts of the full gradient add up to \(whole.sum) and not to the score, \(whole.expected), because the network has "
            + "operators that are not piecewise linear, or add constants in other ways than by biases, such as a ReLU6 that is full"
    }
}
