// Grad-CAM++.

import CMicrokernels
import Inference
import Kernels

/// Chattopadhyay et al., “Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep Convolutional Networks”, WACV 2018,
/// equations 10 and 19: with G = ∂s/∂A, a = G² / (2G² + (Σ A_c) G³), the sum over the cells of the channel, and a = 0 where the
/// divisor is 0; w_c = Σ a max(G, 0), and the map is ReLU(Σ_c w_c A_c). The paper differentiates exp(s), whose powers of the
/// derivative differ from those of G by a factor that cancels in a, and that is one for the whole map in w.
package struct GradCAMPlusPlus: ClassActivationMap {
    package static let name = "gradcam++"
    package static let title = "Grad-CAM++"
    package static let formula =
        "ReLU(sum over channels of w A), w = sum of a max(dA, 0), a = dA^2 / (2 dA^2 + sum(A) dA^3)"
    package static let reading =
        "As Grad-CAM, with weights that let several objects of a class show; do not take its sizes for shares of the score, which they are not."
    package static let source = "Chattopadhyay et al. 2018, equations 10 and 19"
    package static let zeroWeights =
        "no cell of any channel has a gradient above zero, or only one so small that its powers vanish"
    package let layer: TargetLayer

    package init(_ settings: NoSettings, explaining layer: Layer) { self.layer = TargetLayer(layer) }

    package func weights(_ tape: inout Tape, activation: Value, gradient: Value) -> Value {
        let sum = tape.reduce(activation, axes: [2, 3])
        let square = tape.map(WB_MAP_multiply, gradient, gradient)
        return GradCAMPlusPlus.weights(
            &tape, sum: sum, gradient: gradient, square: square,
            cube: tape.map(WB_MAP_multiply, square, gradient))
    }

    /// The weights, from the sum of the activations [N, C, 1, 1] and powers of the gradient [N, C, H, W].
    package static func weights(
        _ tape: inout Tape, sum: Value, gradient: Value, square: Value, cube: Value
    ) -> Value {
        let divisor = tape.map(
            WB_MAP_add, tape.map(WB_MAP_scale, square, a: 2), tape.map(WB_MAP_multiply, cube, sum))
        let a = tape.map(WB_MAP_divide_or_zero, square, divisor)
        let positive = tape.map(WB_MAP_clip, gradient, a: 0, b: .infinity)
        return tape.reduce(tape.map(WB_MAP_multiply, a, positive), axes: [2, 3])
    }
}
