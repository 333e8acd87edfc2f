// Element-wise Grad-CAM.

import CMicrokernels
import Inference
import Kernels

/// Pixel-wise weighted gradients, as pytorch-grad-cam's `GradCAMElementWise` names it: Σ_c max(dA_c ⊙ A_c, 0). Unlike HiResCAM it cuts
/// off what speaks against the class before the channels are added.
package struct ElementwiseGradCAM: LayerMethod {
    package static let name = "elementwise-gradcam"
    package static let title = "Element-wise Grad-CAM"
    package static let formula = "sum over channels of ReLU(dA A)"
    package static let reading =
        "What speaks for the class, channel by channel; do not use it where evidence for and against lies in one place, because what is against is left out before it is added."
    package static let source = "pytorch-grad-cam, GradCAMElementWise"
    package let layer: TargetLayer

    package init(_ settings: NoSettings, explaining layer: Layer) { self.layer = TargetLayer(layer) }

    package func map(_ tape: inout Tape, activation: Value, gradient: Value?) -> LayerMap {
        let products = tape.map(WB_MAP_multiply, gradient!, activation)
        return LayerMap(map: tape.reduce(tape.map(WB_MAP_clip, products, a: 0, b: .infinity), axes: [1]))
    }

    package func blankReason(weights: [Float]?) -> String {
        "no channel speaks for the class in any cell: the gradient times the activation is nowhere above zero"
    }
}
