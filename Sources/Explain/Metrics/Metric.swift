// What a measure of a map is, and the one list of them.

import Text

/// A measure of a map, with its settings.
///
/// It is given a map of one picture, and may ask the network about changed pictures (`MeasuredMap.picture.questions`), have changed pictures
/// explained (`MeasuredPicture.explained`), or look where the object is (`MeasuredPicture.object`).
package protocol Metric: Sendable {
    associatedtype Settings: MethodSettings = NoSettings

    /// What people type.
    static var name: String { get }
    /// What people read.
    static var title: String { get }
    static var family: MetricFamily { get }
    /// One line: the formula.
    static var formula: String { get }
    /// Where it was published.
    static var source: String { get }
    /// Which of two maps is better by it.
    static var better: Better { get }
    /// What it takes for a map, in words.
    static var cost: String { get }
    /// Whether it needs to know where the object is.
    static var needsObject: Bool { get }

    init(_ settings: Settings)
    func measure(_ map: MeasuredMap) throws -> Measurement
}

extension Metric {
    package static var needsObject: Bool { family == .localisation }
    package static var cost: String { "nothing" }
    package static var settingsTable: [(name: String, value: JSON, expected: String, help: String)] {
        Settings.table
    }
    static func make(_ texts: [String: String]) throws -> (metric: any Metric, settings: [(String, JSON)]) {
        let settings = try Settings(texts, of: name)
        return (Self(settings), settings.entries)
    }
}

extension Metric where Settings == NoSettings {
    /// Of those that have nothing to choose.
    package static var withoutSettings: Self { Self(NoSettings()) }
}

/// Measures that look at the same.
package enum MetricFamily: String, Sendable, CaseIterable {
    /// Whether what the map says matters matters to the network.
    case faithfulness
    /// How little of the picture it takes.
    case complexity
    /// Whether nearly the same picture has nearly the same map.
    case robustness
    /// Whether it lies on the object.
    case localisation

    package var title: String { rawValue.prefix(1).uppercased() + rawValue.dropFirst() }
}

/// Which numbers are better.
package enum Better: String, Sendable {
    case higher, lower
}

/// What came of it.
package struct Measurement: Sendable {
    /// nil where it cannot be said of this map; `note` says why.
    package var value: Double?
    /// Of a measure that follows the network's probability while the picture changes: that, from the first to the last step.
    package var curve: [Float]?
    /// What a person should know, as a clause.
    package var note: String?

    package init(_ value: Double?, curve: [Float]? = nil, note: String? = nil) {
        let isFinite = value?.isFinite ?? true
        (self.value, self.curve) = (isFinite ? value : nil, curve)
        self.note = isFinite ? note : note ?? "it is no finite number"
    }
    static func nothing(_ note: String) -> Measurement { Measurement(nil, note: note) }
}

/// The measures: `--metrics`, its help, `app metrics` and the tests read this list.
package enum MetricList {
    package static let all: [any Metric.Type] = [
        Deletion.self, Insertion.self, PixelFlipping.self, AverageDrop.self, Increase.self, AverageGain.self,
        ROAD.self, ROADMost.self, ROADLeast.self, Infidelity.self, Sufficiency.self, Monotonicity.self,
        ADCC.self, Coherency.self,
        MapComplexity.self, Sparseness.self, Entropy.self, EffectivePixels.self,
        MaxSensitivity.self, FlipStability.self, CropStability.self, JPEGStability.self,
        PointingGame.self, EnergyInObject.self, ObjectIoU.self, TopPrecision.self,
    ]

    package static func named(_ name: String) throws -> any Metric.Type {
        if let metric = all.first(where: { $0.name == name }) { return metric }
        let names = all.map { $0.name }
        throw ExplainError(
            .method,
            "There is no metric “\(shortened(name))”; there are \(names.joined(separator: ", "))."
                + didYouMean(name, among: names))
    }
}
