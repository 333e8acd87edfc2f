// Random-CAM, a control.

import Inference
import Kernels

/// A class activation map with random weights, uniform in −1 … 1, that are the same for every picture and class: what a map looks like
/// that knows only where the layer is active. A method that cannot be told from it explains nothing.
package struct RandomCAM: LayerMethod {
    package static let name = "randomcam"
    package static let title = "Random-CAM"
    package static let formula = "ReLU(sum over channels of w A), w uniform in -1 ... 1 (--seed)"
    package static let reading =
        "A control of random weights: a map that looks like this one shows the layer and not the class; never read it as an explanation."
    package static let source = "a control, as in pytorch-grad-cam"
    package static let isClassSpecific = false
    package let layer: TargetLayer
    private let weights: [Float]

    package init(_ settings: NoSettings, explaining subject: ExplainedNetwork) throws {
        try self.init(subject.layers[0], seed: subject.seed)
    }
    package init(_ settings: NoSettings, explaining layer: Layer) throws { try self.init(layer, seed: 0) }

    private init(_ layer: Layer, seed: UInt64) throws {
        self.layer = TargetLayer(layer)
        let random = CounterRandom(seed: seed, stream: CounterRandom.Stream.randomCAM)
        weights = random.uniforms(layer.shape.dims[1], sample: 0).map { 2 * $0 - 1 }
    }

    package func map(_ tape: inout Tape, activation: Value, gradient: Value?) throws -> LayerMap {
        let shape = tape.shape(activation)
        let one = try tape.constant(HostTensor([1, weights.count, 1, 1], .floats(weights)))
        let all = tape.value([shape.dims[0], weights.count, 1, 1])
        tape.copy(one, into: all, strides: tape.shape(all).strides, as: tape.shape(all))
        return LayerMap(map: tape.channelMap(activation, weights: all, clip: true))
    }

    package func blankReason(weights: [Float]?) -> String {
        "the layer is active nowhere that has a weight above zero"
    }
}
