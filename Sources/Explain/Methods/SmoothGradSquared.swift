// SmoothGrad-Squared.

import Inference

/// SmoothGrad-Squared.
///
/// Hooker, Erhan, Kindermans, Kim, “A Benchmark for Interpretability Methods in Deep Neural Networks”, NeurIPS 2019, section 3: the mean of the
/// squares of ∂s/∂x at x + N(0, σ²); here of the colours the largest, as for SmoothGrad.
package struct SmoothGradSquared: NoiseMethod {
    package static let name = "smoothgrad-squared"
    package static let title = "SmoothGrad-Squared"
    package static let formula =
        "maximum over colours of the mean square of the gradient at noisy copies of the picture"
    package static let reading =
        "As SmoothGrad with squares, which make strong parts stand out; do not compare faint parts, which squares make fainter."
    package static let source = "Hooker et al. 2019, section 3"
    package let samples: NoisyGradients, input: PixelInput

    package init(_ samples: NoisyGradients, of input: PixelInput) {
        (self.samples, self.input) = (samples, input)
    }
    package static func empty(_ input: PixelInput) -> GradientMean { GradientMean(input, ofSquares: true) }
}
