// Measures of how little of the picture a map takes. They ask the network nothing.

import CMicrokernels

/// The shares of pixels in a map: |v| / Σ |v|; nil for a map of zeros.
private func shares(_ values: [Float]) -> [Double]? {
    let sizes = values.map { abs(Double($0)) }
    let sum = sizes.reduce(0, +)
    return sum > 0 && sum.isFinite ? sizes.map { $0 / sum } : nil
}

/// −Σ s ln s of the shares; nil for a map of zeros.
func entropy(_ values: [Float]) -> Double? {
    shares(values).map { shares in
        // Our own logarithm, whose bits are the same everywhere.
        shares.reduce(0) { $0 - ($1 > 0 ? $1 * Double(wb_host_log(Float($1))) : 0) }
    }
}

private let isBlank = "the map is 0 everywhere, or not of numbers"

/// Poppi et al., “Revisiting The Evaluation of Class Activation Mapping for Explainability”, CVPR workshops 2021, equation 6: the mean of the heat map,
/// ‖H‖₁ / (height · width).
package struct MapComplexity: Metric {
    package static let name = "complexity"
    package static let title = "Complexity"
    package static let family = MetricFamily.complexity
    package static let formula = "mean of the heat map"
    package static let source = "Poppi et al. 2021, equation 6"
    package static let better = Better.lower
    package init(_: NoSettings) {}
    package func measure(_ map: MeasuredMap) -> Measurement { Measurement(MapComplexity.value(map)) }
    static func value(_ map: MeasuredMap) -> Double {
        map.heat.reduce(0.0) { $0 + Double($1) } / Double(map.heat.count)
    }
}

/// Chalasani et al., “Concise Explanations of Neural Networks using Adversarial Training”, ICML 2020, section 5: the Gini index of |v|.
package struct Sparseness: Metric {
    package static let name = "sparseness"
    package static let title = "Sparseness"
    package static let family = MetricFamily.complexity
    package static let formula = "Gini index of |map|: 0 if all pixels are the same, 1 if one has all"
    package static let source = "Chalasani et al. 2020, section 5"
    package static let better = Better.higher
    package init(_: NoSettings) {}
    package func measure(_ map: MeasuredMap) -> Measurement {
        guard let shares = shares(map.values) else { return .nothing(isBlank) }
        let n = Double(shares.count)
        var sum = 0.0
        for (i, share) in shares.sorted().enumerated() { sum += (2 * Double(i + 1) - n - 1) * share }
        return Measurement(sum / n)
    }
}

/// Bhatt, Weller, Moura, “Evaluating and Aggregating Feature-based Model Explanations”, IJCAI 2020, definition 3: the entropy of the shares, in nats.
package struct Entropy: Metric {
    package static let name = "entropy"
    package static let title = "Entropy"
    package static let family = MetricFamily.complexity
    package static let formula = "-sum of s ln s, s = |map| / sum |map|"
    package static let source = "Bhatt et al. 2020, definition 3"
    package static let better = Better.lower
    package init(_: NoSettings) {}
    package func measure(_ map: MeasuredMap) -> Measurement {
        Entropy.value(map).map { Measurement($0) } ?? .nothing(isBlank)
    }
    static func value(_ map: MeasuredMap) -> Double? { entropy(map.values) }
}

/// How many pixels would have that entropy if all of them had the same, as a share of all: exp(entropy) / pixels.
package struct EffectivePixels: Metric {
    package static let name = "effective-pixels"
    package static let title = "Effective pixels"
    package static let family = MetricFamily.complexity
    package static let formula = "exp(entropy) / number of pixels"
    package static let source = "Hill 1973, equation 2 (a = 1)"
    package static let better = Better.lower
    package init(_: NoSettings) {}
    package func measure(_ map: MeasuredMap) -> Measurement {
        guard let entropy = Entropy.value(map) else { return .nothing(isBlank) }
        return Measurement(Double(wb_host_exp(Float(entropy))) / Double(map.values.count))
    }
}
