// Methods that make a map of one layer's activations on the device, in the pass that all methods share.

import Inference
import Kernels

/// A layer, as methods see it.
package struct TargetLayer: Hashable, Sendable {
    package let name: String
    /// The value that methods explain, [N, C, H, W].
    package let output: String
    /// Of a volume, how many frames it has. They lie below each other, and the height is that of all.
    package let frames: Int?
    package let height: Int, width: Int
    /// The value from which the rest of the network can be computed: `output`, or tokens of which some are no cells; and where in those
    /// the cells are.
    package let feed: String, tokens: TokenGrid?
    /// Whether the score depends on its cells at all, as far as the network's form tells.
    package let reachesScore: Bool

    package init(_ layer: Layer) {
        (name, output, frames) = (layer.name, layer.output, layer.frames)
        reachesScore = layer.reachesScore
        tokens = layer.tokens.flatMap { $0.extra > 0 ? $0 : nil }
        feed = tokens == nil ? layer.output : layer.value
        (height, width) = (layer.shape.dims[2], layer.shape.dims[3])
    }
}

/// What a layer's method puts on the tape.
package struct LayerMap {
    /// The raw map [N, 1, H, W].
    package var map: Value
    /// One number for each channel [N, C, 1, 1], if the map is a sum over channels: to tell why a map is blank.
    package var weights: Value?
    package init(map: Value, weights: Value? = nil) { (self.map, self.weights) = (map, weights) }
}

/// A method whose map is computed from the activations [N, C, H, W] of one layer and, if it knows classes, from the gradient of a
/// class's logit with respect to them.
package protocol LayerMethod: Explainer, PassAddition {
    var layer: TargetLayer { get }

    init(_ settings: Settings, explaining layer: Layer) throws
    /// Puts the method on the tape.
    /// - Parameter gradient: of the shape of the activations; nil for a method that knows no class.
    func map(_ tape: inout Tape, activation: Value, gradient: Value?) throws -> LayerMap
    /// What is left to do to the numbers of a map.
    func scaled(_ map: [Float]) -> [Float]
    /// Why a map is zero everywhere.
    func blankReason(weights: [Float]?) -> String
}

extension LayerMethod {
    package static var family: MethodFamily { .activation }
    package static var sign: MapSign { .magnitude }
    package static var cost: String { isClassSpecific ? "1 forward, 1 back to the layer" : "1 forward" }

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        precondition(
            subject.layers.count == 1,
            "Of several layers each has a method, and Attribution.fused fuses them.")
        try self.init(settings, explaining: subject.layers[0])
    }

    package var grid: Attribution.Grid { layer.grid }
    package var label: String { Self.title }
    package var layers: [String] { [layer.output] }
    package var readsGradients: Bool { Self.isClassSpecific }

    package func scaled(_ map: [Float]) -> [Float] { map }
    package func request(_ spec: inout PassSpec) { spec.add(self) }

    package func add(to tape: inout Tape, activations: [Value], gradients: [Value]) throws -> [Value] {
        let found = try map(&tape, activation: activations[0], gradient: gradients.first)
        return [found.map] + (found.weights.map { [$0] } ?? [])
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        guard Self.isClassSpecific else {
            let outputs = try batch.outputs(of: self)
            return batch.pictures.map { attribution(outputs, batch, picture: $0, nil) }
        }
        return try batch.rounds(targets) { targets, pictures in
            let outputs = try batch.outputs(of: self, targets: targets)
            return pictures.map { attribution(outputs, batch, picture: $0, targets[$0]) }
        }
    }

    package func attribution(
        _ outputs: [[Float]], _ batch: ExplainedBatch, picture: Int, _ target: Target?
    ) -> Attribution {
        func part(_ output: [Float]) -> [Float] {
            let size = output.count / batch.size
            return Array(output[picture * size..<(picture + 1) * size])
        }
        return Attribution(
            picture: picture, target: target, grid: grid, values: scaled(part(outputs[0])),
            blankReason: Self.isClassSpecific && !layer.reachesScore
                ? "no cell of the layer reaches the score, which is read from a token that met the cells before; take an earlier layer, such as `--layer auto` does"
                : blankReason(weights: outputs.count > 1 ? part(outputs[1]) : nil))
    }
}

/// A method whose map is the sum of a layer's channels, each with one weight, and of that what is above 0.
package protocol ClassActivationMap: LayerMethod {
    /// What it means that all weights are 0, for sentences.
    static var zeroWeights: String { get }
    /// The weights [N, C, 1, 1].
    func weights(_ tape: inout Tape, activation: Value, gradient: Value) throws -> Value
}

extension ClassActivationMap {
    package static var zeroWeights: String { "the weight of every channel is zero" }

    package func map(_ tape: inout Tape, activation: Value, gradient: Value?) throws -> LayerMap {
        let weights = try weights(&tape, activation: activation, gradient: gradient!)
        return LayerMap(
            map: tape.channelMap(activation, weights: weights, clip: true), weights: weights)
    }

    package func blankReason(weights: [Float]?) -> String {
        weights?.allSatisfy { $0 == 0 } ?? false
            ? Self.zeroWeights
            : "no cell of the layer speaks for the class: the weighted sum of its channels is nowhere above zero"
    }
}
