// LIME: a linear model of the score in terms of the segments that are shown.

import CMicrokernels
import Inference
import Kernels

/// Ribeiro, Singh, Guestrin, “‘Why Should I Trust You?’: Explaining the Predictions of Any Classifier”, KDD 2016, equations 1 and 2, with the choices of
/// the authors' package for pictures (lime 0.2): samples show each segment with probability ½, but for the first, which shows all; a
/// sample z weighs √exp(−d² / 0.25²), d its cosine distance from the whole picture, 1 − √(share of segments shown); the map is the
/// coefficients of a ridge regression (α = 1, with an intercept that is not penalised) on the segments' pixels.
///
/// The standard error of a coefficient is what other samples would change of it (the sandwich estimator of regressions with wrong models
/// and uneven errors; White 1980): with u_i = A⁻¹ w_i (z_i − z̄) r_i, A the ridge's matrix and r the residuals, √(n/(n − k − 1) Σ u_i²).
package struct LIME: SegmentMethod {
    package static let name = "lime"
    package static let title = "LIME"
    package static let formula =
        "coefficients of a weighted ridge regression of the score on which segments are shown"
    package static let reading =
        "How much each segment adds to the score, as far as a linear model can say; do not read within a segment, nor trust it where another seed gives another order."
    package static let source = "Ribeiro et al. 2016, equations 1 and 2"
    package static let cost = passes(Settings(), of: nil)
    package static func passes(_ settings: Settings, of subject: ExplainedNetwork?) -> String {
        "\(settings.samples) forward (samples)"
    }

    package struct Settings: SegmentMethodSettings {
        package var picture = SegmentSettings()
        package var samples = 1000
        package var width: Float = 0.25
        package var alpha: Float = 1
        package var precision: Float?
        package init() {}
        package static var list: [MethodSetting<Settings>] {
            [
                MethodSetting(
                    "samples", \.samples, "how many variants of the picture there are, at most", 2...1_000_000
                ),
                MethodSetting(
                    "width", \.width,
                    "how fast samples weigh less that show less: of the kernel of cosine distances",
                    0.01...100),
                MethodSetting(
                    "alpha", \.alpha, "how strongly the regression's coefficients are drawn to 0", 1e-6...1e6),
            ] + segmentList
        }
    }
    package let common: SegmentSampling<Settings>
    package init(_ common: SegmentSampling<Settings>) { self.common = common }

    package func coalitions(segments: Int) -> Coalitions {
        let random = CounterRandom(seed: common.subject.seed, stream: CounterRandom.Stream.lime)
        return Coalitions(segments: segments, count: common.settings.samples) { sample, shown in
            for (i, number) in random.uniforms(segments, sample: sample).enumerated() {
                shown[i] = sample == 0 || number < 0.5 ? 1 : 0
            }
        }
    }

    package func fit(_ coalitions: Coalitions, whole: Double) -> RidgeFit {
        let (n, width) = (coalitions.segments, common.settings.width)
        let weights = (0...n).map { shown in
            let distance = 1 - wb_host_sqrt(wb_host_div(Float(shown), Float(n)))
            return Double(wb_host_sqrt(wb_host_exp(-wb_host_div(distance * distance, width * width))))
        }
        return RidgeFit(coalitions, weights: weights, alpha: Double(common.settings.alpha))
    }
}

/// A ridge regression whose samples weigh by how many segments they show. All sums run in double precision, in the order of the
/// samples.
package struct RidgeFit: CoalitionFit {
    private let coalitions: Coalitions
    /// By how many segments are shown.
    private let weights: [Double]
    private let alpha: Double
    private var values: [Double] = []
    // Σ w, Σ w y, Σ w z, Σ w z y, Σ w z zᵀ on and below the diagonal.
    private var (weight, value) = (0.0, 0.0)
    private var means: [Double], products: [Double], matrix: [Double]

    init(_ coalitions: Coalitions, weights: [Double], alpha: Double) {
        (self.coalitions, self.weights, self.alpha) = (coalitions, weights, alpha)
        let n = coalitions.segments
        (means, products) = (Array(repeating: 0, count: n), Array(repeating: 0, count: n))
        matrix = Array(repeating: 0, count: n * n)
    }

    private func weight(_ shown: [Double]) -> Double { weights[Int(shown.reduce(0, +))] }

    package mutating func add(_ shown: [Double], value y: Double) {
        let (n, w) = (shown.count, weight(shown))
        values.append(y)
        weight += w
        value += w * y
        for i in 0..<n where shown[i] == 1 {
            means[i] += w
            products[i] += w * y
            for j in 0...i { matrix[i * n + j] += w * shown[j] }
        }
    }

    package func solution() -> SegmentWeights {
        let n = means.count
        let (zMean, yMean) = (means.map { $0 / weight }, value / weight)
        var system = matrix
        for i in 0..<n {
            for j in 0...i { system[i * n + j] -= means[i] * zMean[j] }
            system[i * n + i] += alpha
        }
        let solver = SymmetricSystem(system, size: n)
        let coefficients = solver.solve((0..<n).map { products[$0] - zMean[$0] * value })
        let inverse = solver.inverse
        var (left, all) = (0.0, 0.0)
        var squares = [Double](repeating: 0, count: n)
        for (sample, y) in values.enumerated() {
            let shown = coalitions[sample]
            let (w, centred) = (weight(shown), zip(shown, zMean).map { $0 - $1 })
            let residual = zip(centred, coefficients).reduce(y - yMean) { $0 - $1.0 * $1.1 }
            left += w * residual * residual
            all += w * (y - yMean) * (y - yMean)
            addSquares(&squares, inverse, centred, times: w * residual)
        }
        let freedom = values.count - n - 1
        let scale = Double(values.count) / Double(max(freedom, 1))
        let quality = all > 0 ? 1 - left / all : 1
        let shown = (quality * 1000).rounded() / 1000
        return SegmentWeights(
            values: coefficients,
            errors: freedom > 0 ? squares.map { ($0 * scale).squareRoot() } : nil,
            note: "R² of the fit \(shown)"
                + (freedom > 0 ? "" : ", with fewer samples than coefficients, so their errors are unknown"))
    }
}

/// Adds the squares of the numbers of factor · M v, M a symmetric matrix.
func addSquares(_ squares: inout [Double], _ matrix: [Double], _ vector: [Double], times factor: Double) {
    let n = vector.count
    matrix.withUnsafeBufferPointer { matrix in
        vector.withUnsafeBufferPointer { vector in
            for i in 0..<n {
                var sum = 0.0
                for j in 0..<n { sum += matrix[i * n + j] * vector[j] }
                squares[i] += factor * sum * (factor * sum)
            }
        }
    }
}
