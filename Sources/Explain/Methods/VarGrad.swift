// VarGrad.

import Inference

/// VarGrad.
///
/// Adebayo, Gilmer, Goodfellow, Kim, “Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values”, 2018, equation 4: the
/// variance of ∂s/∂x at x + N(0, σ²), estimated with n − 1; here of the colours the largest, as for SmoothGrad.
package struct VarGrad: NoiseMethod {
    package static let name = "vargrad"
    package static let title = "VarGrad"
    package static let formula =
        "maximum over colours of the variance of the gradient at noisy copies of the picture"
    package static let reading =
        "Strong where the gradient changes most among noisy copies of the picture; do not take it for evidence, because it tells how unsteady the gradient is, not which way it points."
    package static let source = "Adebayo et al. 2018"
    package static let blankReason = "the gradient is the same at every noisy copy of the picture"
    package let samples: NoisyGradients, input: PixelInput

    package init(_ samples: NoisyGradients, of input: PixelInput) {
        (self.samples, self.input) = (samples, input)
    }
    package static func empty(_ input: PixelInput) -> Estimate { Estimate(input) }

    package struct Estimate: GradientEstimate {
        private let input: PixelInput
        private var moments: SampleMoments
        package var count: Int { moments.count }

        init(_ input: PixelInput) { (self.input, moments) = (input, SampleMoments(input.count)) }

        package mutating func add(_ gradient: UnsafeBufferPointer<Float>, of sample: Int) {
            moments.add(gradient)
        }

        package func map() -> (values: [Float], sampleError: [Float]) {
            input.largest(moments.variance.map { Float($0) }, moments.sampleErrorOfVariance)
        }
    }
}

/// Sums of powers of the deviations of samples from their mean, number by number (Pébay, “Formulas for Robust, One-Pass Parallel Computation of
/// Covariances and Arbitrary-Order Statistical Moments”, 2008, equations 2.1 with one new sample).
struct SampleMoments {
    private(set) var count = 0
    private var means: [Double], seconds: [Double], thirds: [Double], fourths: [Double]

    init(_ numbers: Int) {
        let zeros = [Double](repeating: 0, count: numbers)
        (means, seconds, thirds, fourths) = (zeros, zeros, zeros, zeros)
    }

    mutating func add(_ sample: UnsafeBufferPointer<Float>) {
        precondition(sample.count == means.count)
        count += 1
        let n = Double(count)
        let (share, fourth) = (1 / n, n * n - 3 * n + 3)
        means.withUnsafeMutableBufferPointer { means in
            seconds.withUnsafeMutableBufferPointer { seconds in
                thirds.withUnsafeMutableBufferPointer { thirds in
                    fourths.withUnsafeMutableBufferPointer { fourths in
                        for i in sample.indices {
                            let difference = Double(sample[i]) - means[i]
                            let step = difference * share
                            let square = step * step
                            let term = difference * step * (n - 1)
                            means[i] += step
                            fourths[i] +=
                                term * square * fourth + 6 * square * seconds[i] - 4 * step * thirds[i]
                            thirds[i] += term * step * (n - 2) - 3 * step * seconds[i]
                            seconds[i] += term
                        }
                    }
                }
            }
        }
    }

    /// With n − 1 in the denominator; 0 of fewer than two samples.
    var variance: [Double] { seconds.map { count < 2 ? 0 : $0 / Double(count - 1) } }

    /// √((m₄ − (n − 3) / (n − 1) s⁴) / n), with m₄ the mean of the fourth powers and s² the variance.
    var sampleErrorOfVariance: [Float] {
        guard count > 1 else { return seconds.map { _ in 0 } }
        let n = Double(count)
        return zip(fourths, variance).map {
            Float((max(0, $0 / n - (n - 3) / (n - 1) * $1 * $1) / n).squareRoot())
        }
    }
}
