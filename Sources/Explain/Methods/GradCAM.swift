// Grad-CAM.

import Kernels

/// Gradient-weighted class activation mapping.
///
/// Selvaraju et al., “Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization”, ICCV 2017, equations 1
/// and 2: w_c is the mean over space of ∂s/∂A_c, the map is ReLU(Σ_c w_c A_c). The score s is the class's logit.
package enum GradCAM: Explainer {
    package static let name = "gradcam"
    package static let title = "Grad-CAM"
    package static let formula = "ReLU(sum over channels of mean(dA) A), dA the gradient of the class's logit"
    package static let source = "Selvaraju et al. 2017, equations 1 and 2"
    package static let isClassSpecific = true

    package static func map(_ tape: inout Tape, _ inputs: MethodInputs) -> MethodOutputs {
        let weights = tape.spatialMean(inputs.gradient!)
        return MethodOutputs(
            map: tape.channelMap(inputs.activation, weights: weights, clip: true), weights: weights)
    }

    package static func blankReason(weights: [Float]?) -> String {
        weights?.allSatisfy { $0 == 0 } ?? false
            ? "the gradient of the class's logit with respect to the layer has a mean of zero in every channel"
            : "no cell of the layer speaks for the class: the weighted sum of its channels is nowhere above zero"
    }
}
