// Kernel SHAP: the Shapley values of a picture's segments, by a weighted regression.

import Inference
import Kernels

/// Lundberg and Lee, “A Unified Approach to Interpreting Model Predictions”, NeurIPS 2017, theorem 2: φ minimises
/// Σ_z π(z) (s(z) − s(b) − Σ_j z_j φ_j)², π(z) = (n − 1) / (C(n, |z|) |z| (n − |z|)), among those with Σ φ = s(x) − s(b); s(z) is the score with
/// the segments of z shown and the others covered, s(b) that with all of them covered.
///
/// If all 2ⁿ − 2 coalitions are no more than `samples`, they are taken, and φ are the Shapley values. Else coalitions are drawn by π: their
/// size first, then which; each with its complement (Covert and Lee, “Improving KernelSHAP”, 2021, section 4.2), so that half of the samples are drawn.
/// The standard error of φ is that paper's in another form: the spread, from pair to pair, of what each pair changes of the solution.
package struct KernelSHAP: SegmentMethod {
    package static let name = "kernel-shap"
    package static let title = "Kernel SHAP"
    package static let formula =
        "Shapley values of the segments, by a regression of the score that weighs coalitions by Shapley's kernel"
    package static let reading =
        "Each segment's fair share of the score's rise from the hidden picture; do not read within a segment, nor forget that what stands for hidden is a choice."
    package static let source = "Lundberg and Lee 2017, theorem 2"
    package static let cost = passes(Settings(), of: nil)
    package static func passes(_ settings: Settings, of subject: ExplainedNetwork?) -> String {
        "1 forward, and \(settings.samples) (samples)"
    }

    package struct Settings: SegmentMethodSettings {
        package var picture = SegmentSettings()
        package var samples = 2048
        package var precision: Float?
        package init() {}
        package static var list: [MethodSetting<Settings>] {
            [
                MethodSetting(
                    "samples", \.samples, "how many coalitions there are, at most, besides none and all",
                    2...1_000_000)
            ] + segmentList
        }
    }
    package let common: SegmentSampling<Settings>
    package init(_ common: SegmentSampling<Settings>) { self.common = common }

    /// Whether all coalitions are taken.
    private func isExact(_ segments: Int) -> Bool {
        segments < 20 && (1 << segments) - 2 <= common.settings.samples
    }

    /// The first shows nothing.
    package func coalitions(segments n: Int) throws -> Coalitions {
        if isExact(n) {
            return Coalitions(segments: n, count: (1 << n) - 1, ahead: 1) { sample, shown in
                for i in 0..<n { shown[i] = Double(sample >> i & 1) }
            }
        }
        let pairs = common.settings.samples / 2
        guard pairs >= n else {
            throw ExplainError(
                .method,
                "Kernel SHAP cannot tell \(n) segments apart with \(common.settings.samples) coalitions; take at least \(2 * n) "
                    + "(kernel-shap.samples), or fewer segments.")
        }
        // How likely sizes up to s are.
        var likely = [0.0]
        for s in 1..<n { likely.append(likely[s - 1] + 1 / (Double(s) * Double(n - s))) }
        let (sizes, random) = (
            likely, CounterRandom(seed: common.subject.seed, stream: CounterRandom.Stream.kernelSHAP)
        )
        return Coalitions(segments: n, count: 1 + 2 * pairs, ahead: 1) { sample, shown in
            guard sample > 0 else { return }
            let pair = (sample - 1) / 2
            let numbers = random.uniforms(n, sample: pair).map(Double.init)
            let drawn = numbers[0] * sizes[n - 1]
            let size = sizes.firstIndex { drawn < $0 } ?? n - 1
            let isComplement = sample % 2 == 0
            if isComplement { for i in 0..<n { shown[i] = 1 } }
            // The first `size` of a shuffle.
            var order = Array(0..<n)
            for i in 0..<size {
                order.swapAt(i, i + min(Int(numbers[i + 1] * Double(n - i)), n - i - 1))
                shown[order[i]] = isComplement ? 0 : 1
            }
        }
    }

    package func fit(_ coalitions: Coalitions, whole: Double) -> ShapleyFit {
        let n = coalitions.segments
        guard isExact(n) else { return ShapleyFit(coalitions, whole: whole, kernel: nil) }
        // π by size, without the n − 1 that all share.
        var choices = 1.0
        let kernel = (0...n).map { s in
            if s > 0 { choices = choices * Double(n - s + 1) / Double(s) }
            return s == 0 || s == n ? 0 : 1 / (choices * Double(s) * Double(n - s))
        }
        return ShapleyFit(coalitions, whole: whole, kernel: kernel)
    }
}

/// The regression of Kernel SHAP. All sums run in double precision, in the order of the samples.
package struct ShapleyFit: CoalitionFit {
    private let coalitions: Coalitions
    private let whole: Double
    /// By how many segments are shown, if all coalitions are taken; if they are drawn, all weigh 1.
    private let kernel: [Double]?
    /// The first is s(b).
    private var values: [Double] = []
    // Σ w z (y − s(b)), Σ w z zᵀ on and below the diagonal.
    private var products: [Double], matrix: [Double]

    init(_ coalitions: Coalitions, whole: Double, kernel: [Double]?) {
        (self.coalitions, self.whole, self.kernel) = (coalitions, whole, kernel)
        let n = coalitions.segments
        (products, matrix) = (Array(repeating: 0, count: n), Array(repeating: 0, count: n * n))
    }

    package mutating func add(_ shown: [Double], value y: Double) {
        values.append(y)
        guard values.count > 1 else { return }
        let (n, w) = (shown.count, kernel?[Int(shown.reduce(0, +))] ?? 1)
        for i in 0..<n where shown[i] == 1 {
            products[i] += w * (y - values[0])
            for j in 0...i { matrix[i * n + j] += w * shown[j] }
        }
    }

    package func solution() -> SegmentWeights {
        let (n, nothing) = (products.count, values[0])
        let gain = whole - nothing
        let solver = SymmetricSystem(matrix, size: n)
        // Lagrange: φ = A⁻¹ (b − λ 1), λ so that Σ φ is what it should be.
        let free = solver.solve(products)
        let ones = solver.solve(Array(repeating: 1, count: n))
        let total = ones.reduce(0, +)
        let lambda = total > 0 ? (free.reduce(0, +) - gain) / total : 0
        // Without other coalitions than none and all, one segment has it all.
        let shapley =
            n == 1 ? [gain] : zip(free, ones).map { $0 - lambda * $1 }
        let completeness = Completeness(
            sum: Float(shapley.reduce(0, +)), expected: Float(gain), isOfSegments: true)
        if kernel != nil {
            return SegmentWeights(
                values: shapley, completeness: completeness,
                note: "exact: all coalitions of them were asked for")
        }
        var note = "coalitions drawn, in pairs"
        if solver.isSingular { note += "; those drawn do not tell all segments apart" }
        return SegmentWeights(
            values: shapley, errors: errors(shapley, solver, ones, total), completeness: completeness,
            note: note)
    }

    /// With P = A⁻¹ − A⁻¹ 1 1ᵀ A⁻¹ / (1ᵀ A⁻¹ 1), a pair changes φ by u = P Σ z (y − s(b) − zᵀ φ), less the mean of that.
    private func errors(
        _ shapley: [Double], _ solver: SymmetricSystem, _ ones: [Double], _ total: Double
    ) -> [Double]? {
        let (n, pairs) = (shapley.count, (values.count - 1) / 2)
        guard pairs > n, total > 0 else { return nil }
        var projection = solver.inverse
        for i in 0..<n { for j in 0..<n { projection[i * n + j] -= ones[i] * ones[j] / total } }
        var squares = [Double](repeating: 0, count: n)
        for pair in 0..<pairs {
            var change = [Double](repeating: 0, count: n)
            for sample in [2 * pair + 1, 2 * pair + 2] {
                let shown = coalitions[sample]
                let residual = zip(shown, shapley).reduce(values[sample] - values[0]) {
                    $0 - $1.0 * $1.1
                }
                for i in 0..<n where shown[i] == 1 { change[i] += residual }
            }
            addSquares(&squares, projection, change, times: 1)
        }
        // The changes add up to P λ 1 = 0, so their mean is 0.
        let scale = Double(pairs) / Double(pairs - n)
        return squares.map { ($0 * scale).squareRoot() }
    }
}
