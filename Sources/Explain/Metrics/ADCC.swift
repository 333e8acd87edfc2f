// Poppi, Cornia, Baraldi, Cucchiara, “Revisiting The Evaluation of Class Activation Mapping for Explainability”, CVPR workshops 2021.

/// Equation 5: whether the map of what the map shows is the same: (r + 1) / 2, r being the correlation of the heat maps of x and of x ⊙ H.
package struct Coherency: Metric {
    package static let name = "coherency"
    package static let title = "Coherency"
    package static let family = MetricFamily.faithfulness
    package static let formula = "(correlation of the heat maps of x and of x H + 1) / 2"
    package static let source = "Poppi et al. 2021, equation 5"
    package static let better = Better.higher
    package static let cost = "1 explanation"
    package init(_: NoSettings) {}

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        try Coherency.value(map).map { Measurement($0) } ?? .nothing("one of the maps is the same everywhere")
    }

    static func value(_ map: MeasuredMap) throws -> Double? {
        let other = try map.explanationOfHighlighted()
        return Similarity.correlation(map.heat, other.heatmap.values).map { ($0 + 1) / 2 }
    }
}

/// Equation 7: 3 / (1 / coherency + 1 / (1 − complexity) + 1 / (1 − drop)), the harmonic mean; 0 where one of the three is.
package struct ADCC: Metric {
    package static let name = "adcc"
    package static let title = "ADCC"
    package static let family = MetricFamily.faithfulness
    package static let formula = "harmonic mean of coherency, 1 - complexity and 1 - average drop"
    package static let source = "Poppi et al. 2021, equation 7"
    package static let better = Better.higher
    package static let cost = "1 forward, 1 explanation"
    package init(_: NoSettings) {}

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        guard let coherency = try Coherency.value(map), let drop = try AverageDrop.value(map) else {
            return .nothing("one of the maps is the same everywhere, or p is 0")
        }
        let parts = [coherency, 1 - MapComplexity.value(map), 1 - drop]
        return Measurement(
            parts.contains { $0 <= 0 } ? 0 : 3 / parts.reduce(0) { $0 + 1 / $1 })
    }
}
