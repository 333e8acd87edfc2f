// Saliency: how strongly the score reacts to each pixel.

import CMicrokernels
import Inference
import Kernels

/// Saliency.
///
/// Simonyan, Vedaldi, Zisserman, “Deep Inside Convolutional Networks: Visualising Image Classification Models and Saliency Maps”, 2013,
/// section 3.1: the map is max_c |∂s/∂x_c|.
package struct Saliency: PixelMethod {
    package static let name = "saliency"
    package static let title = "Saliency"
    package static let formula = "maximum over colours of |dx|, dx the gradient with respect to the pixels"
    package static let reading =
        "Strong where a small change of a pixel would change the score most, whichever way; do not read single pixels, which are noise, nor take it for what the score is made of."
    package static let source = "Simonyan et al. 2013, section 3.1"
    package static let sign = MapSign.magnitude
    package static let blankReason =
        "the gradient is zero at every pixel: what is explained does not react to small changes"
    package let input: PixelInput

    package init(_ settings: NoSettings, explaining input: PixelInput) { self.input = input }

    package func map(_ tape: inout Tape, input: Value, gradient: Value) -> Value {
        tape.reduce(tape.map(WB_MAP_abs, gradient), axes: [1], WB_REDUCE_MAX)
    }
}
