// Input times gradient.

import CMicrokernels
import Inference
import Kernels

/// Input × gradient.
///
/// Shrikumar et al., “Not Just a Black Box: Learning Important Features Through Propagating Activation Differences”, 2016, where it is what
/// DeepLIFT is compared with: the map is Σ_c x_c ∂s/∂x_c. In a network of piecewise linear operators without biases it adds up to s.
package struct InputXGradient: PixelMethod {
    package static let name = "input-x-gradient"
    package static let title = "Input × gradient"
    package static let formula = "sum over colours of x dx, dx the gradient with respect to the pixels"
    package static let reading =
        "What each pixel adds to the score or takes from it, to first order; do not read dark parts as unimportant, because where the network's input is near 0 it is near 0."
    package static let source = "Shrikumar et al. 2016"
    package static let sign = MapSign.evidence
    package static let blankReason =
        "at every pixel the input or the gradient is zero: what is explained does not react to small changes of what is not zero"
    package let input: PixelInput

    package init(_ settings: NoSettings, explaining input: PixelInput) { self.input = input }

    package func map(_ tape: inout Tape, input: Value, gradient: Value) -> Value {
        tape.reduce(tape.map(WB_MAP_multiply, gradient, input), axes: [1])
    }
}
