// SmoothGrad.

import Inference

/// SmoothGrad.
///
/// Smilkov et al., “SmoothGrad: removing noise by adding noise”, 2017, section 3: M = mean of ∂s/∂x at x + N(0, σ²), and the map is max_c |M_c|.
/// Gradients keep their sign until they are averaged.
package struct SmoothGrad: NoiseMethod {
    package static let name = "smoothgrad"
    package static let title = "SmoothGrad"
    package static let formula =
        "maximum over colours of |mean of the gradient at noisy copies of the picture|"
    package static let reading =
        "Saliency averaged over noisy copies of the picture, so that what stays is no accident; do not read its sizes as shares of the score."
    package static let source = "Smilkov et al. 2017, section 3"
    package let samples: NoisyGradients, input: PixelInput

    package init(_ samples: NoisyGradients, of input: PixelInput) {
        (self.samples, self.input) = (samples, input)
    }
    package static func empty(_ input: PixelInput) -> GradientMean { GradientMean(input, ofSquares: false) }
}
