// HiResCAM.

import CMicrokernels
import Inference
import Kernels

/// High-resolution class activation mapping.
///
/// Draelos and Carin, “Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks”, 2020:
/// the map is ReLU(Σ_c dA_c ⊙ A_c).
package struct HiResCAM: LayerMethod {
    package static let name = "hirescam"
    package static let title = "HiResCAM"
    package static let formula = "ReLU(sum over channels of dA A), dA the gradient of the class's logit"
    package static let reading =
        "Each cell's own share of the score, exact where only a mean and one linear layer follow; do not take it for exact where more follows."
    package static let source = "Draelos and Carin 2020"
    package let layer: TargetLayer

    package init(_ settings: NoSettings, explaining layer: Layer) { self.layer = TargetLayer(layer) }

    package func map(_ tape: inout Tape, activation: Value, gradient: Value?) -> LayerMap {
        let products = tape.map(WB_MAP_multiply, gradient!, activation)
        let sum = tape.reduce(products, axes: [1])
        return LayerMap(map: tape.map(WB_MAP_clip, sum, a: 0, b: .infinity))
    }

    package func blankReason(weights: [Float]?) -> String {
        "no cell of the layer speaks for the class: its gradient times its activation is nowhere above zero"
    }
}
