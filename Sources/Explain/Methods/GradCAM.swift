// Grad-CAM.

import Inference
import Kernels

/// Gradient-weighted class activation mapping.
///
/// Selvaraju et al., “Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization”, ICCV 2017, equations 1
/// and 2: w_c is the mean over space of ∂s/∂A_c, the map is ReLU(Σ_c w_c A_c). The score s is the class's logit.
package struct GradCAM: ClassActivationMap {
    package static let name = "gradcam"
    package static let title = "Grad-CAM"
    package static let formula = "ReLU(sum over channels of mean(dA) A), dA the gradient of the class's logit"
    package static let reading =
        "Strong where channels fire that raise the class's score; do not look for detail in it, because a cell of the layer is the smallest thing that it can show, nor for every one of several objects."
    package static let source = "Selvaraju et al. 2017, equations 1 and 2"
    package static let zeroWeights =
        "the gradient of the class's logit with respect to the layer has a mean of zero in every channel"
    package let layer: TargetLayer

    package init(_ settings: NoSettings, explaining layer: Layer) { self.layer = TargetLayer(layer) }

    package func weights(_ tape: inout Tape, activation: Value, gradient: Value) -> Value {
        tape.spatialMean(gradient)
    }
}
