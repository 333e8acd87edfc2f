// XGrad-CAM.

import CMicrokernels
import Inference
import Kernels

/// Fu et al., “Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs”, BMVC 2020, equation 8:
/// w_c = Σ (dA_c A_c) / Σ A_c, and the map is ReLU(Σ_c w_c A_c). A channel whose activations sum to 0, such as one that is off
/// everywhere, has the weight 0.
package struct XGradCAM: ClassActivationMap {
    package static let name = "xgradcam"
    package static let title = "XGrad-CAM"
    package static let formula = "ReLU(sum over channels of w A), w = sum(dA A) / sum(A)"
    package static let reading =
        "As Grad-CAM, with weights by which the map comes near to adding up to the score; do not rely on that sum where the layers behind are far from linear."
    package static let source = "Fu et al. 2020, equation 8"
    package static let zeroWeights = "the gradient times the activation sums to zero in every channel"
    package let layer: TargetLayer

    package init(_ settings: NoSettings, explaining layer: Layer) { self.layer = TargetLayer(layer) }

    package func weights(_ tape: inout Tape, activation: Value, gradient: Value) -> Value {
        let products = tape.map(WB_MAP_multiply, gradient, activation)
        return tape.map(
            WB_MAP_divide_or_zero, tape.reduce(products, axes: [2, 3]), tape.reduce(activation, axes: [2, 3]))
    }
}
