// What methods share that show a network some segments of a picture, and cover the others.

import Inference
import Kernels
import Text

/// How a picture is cut into segments, and what covers them.
package struct SegmentSettings: Hashable, Sendable {
    package enum Segmentation: String, SettingChoice { case quickshift, slic }
    package var segmentation = Segmentation.quickshift
    package var kernel: Float = 4
    package var distance: Float = 200
    package var ratio: Float = 0.2
    package var segments = 100
    package var compactness: Float = 10
    package var cover = Cover.segment

    /// The segments of a picture; of each pixel, row by row, counted from 0.
    func labels(_ picture: ViewedColours, seed: UInt64) -> [Int] {
        switch segmentation {
        case .quickshift:
            Quickshift(kernel: kernel, farthest: distance, ratio: ratio, seed: seed).labels(picture)
        case .slic: SLIC(segments: segments, compactness: compactness).labels(picture)
        }
    }
}

/// What segments are covered with.
package enum Cover: SettingValue {
    /// Each with its own mean colour.
    case segment
    case baseline(Baseline)

    package static var expected: String { "segment, " + Baseline.expected }
    package init?(setting text: String) {
        if text.lowercased() == "segment" {
            self = .segment
        } else {
            guard let baseline = Baseline(setting: text) else { return nil }
            self = .baseline(baseline)
        }
    }
    package var setting: JSON {
        switch self {
        case .segment: .string("segment")
        case .baseline(let baseline): baseline.setting
        }
    }
}

/// Settings of a method of segments: these, and how many samples are drawn.
package protocol SegmentMethodSettings: MethodSettings {
    var picture: SegmentSettings { get set }
    var samples: Int { get set }
    var precision: Float? { get set }
}

extension SegmentMethodSettings {
    static var segmentList: [MethodSetting<Self>] {
        [
            MethodSetting("segmentation", \.picture.segmentation, "how the picture is cut into segments"),
            MethodSetting(
                "kernel", \.picture.kernel,
                "of quickshift: the width of the kernel of densities, in pixels; the larger, the fewer segments",
                1...20),
            MethodSetting(
                "distance", \.picture.distance,
                "of quickshift: how far a pixel may be from its parent; the larger, the fewer segments",
                1...10_000),
            MethodSetting(
                "ratio", \.picture.ratio, "of quickshift: how much colours count beside places", 0...1),
            MethodSetting(
                "segments", \.picture.segments, "of slic: about how many segments there are", 1...1024),
            MethodSetting(
                "compactness", \.picture.compactness,
                "of slic: how much places count beside colours; the larger, the squarer segments are",
                0.01...1000),
            MethodSetting(
                "cover", \.picture.cover,
                "what segments are covered with: each with its mean colour, or a baseline"
            ),
            MethodSetting(
                "precision", \.precision,
                "stop when the root mean square of the standard errors is at most this share of the map's range; looked at after "
                    + "numbers of samples that grow by a quarter, multiples of 32", where: precisionBounds),
        ]
    }
}

/// Numbers of the segments of a picture.
package struct SegmentWeights: Sendable {
    package var values: [Double]
    /// The standard error of each; nil if nothing was estimated.
    package var errors: [Double]?
    package var completeness: Completeness?
    package var note: String
}

/// What is learnt of one target from coalitions: which segments were shown, and the number that the network then said.
package protocol CoalitionFit {
    /// - Parameters:
    ///   - shown: of each segment, 1 or 0.
    ///   - value: the target's number.
    mutating func add(_ shown: [Double], value: Double)
    func solution() -> SegmentWeights
}

/// A method that asks for the scores of coalitions of segments, and gives each segment a number.
package protocol SegmentMethod: Explainer where Settings: SegmentMethodSettings {
    associatedtype Fit: CoalitionFit
    var common: SegmentSampling<Settings> { get }
    init(_ common: SegmentSampling<Settings>)
    /// The coalitions of a picture with so many segments.
    /// - Throws: `ExplainError` of kind `method` if there are too few for so many segments.
    func coalitions(segments: Int) throws -> Coalitions
    /// - Parameter whole: the target's number of the picture as it is.
    func fit(_ coalitions: Coalitions, whole: Double) -> Fit
}

/// What those methods are made of.
package struct SegmentSampling<Settings: SegmentMethodSettings>: Sendable {
    let subject: ExplainedNetwork
    let input: PixelInput
    let settings: Settings
    let cover: ReadyBaseline?
}

/// Which segments are shown in which sample.
package struct Coalitions: Sendable {
    package let segments: Int
    package let count: Int
    /// How many come before those that are samples.
    package let ahead: Int
    private let write: @Sendable (_ sample: Int, _ shown: inout [Double]) -> Void

    /// - Parameter write: sets those to 1 that sample `sample` shows; all are 0 before.
    init(
        segments: Int, count: Int, ahead: Int = 0,
        write: @escaping @Sendable (_ sample: Int, _ shown: inout [Double]) -> Void
    ) {
        (self.segments, self.count, self.ahead, self.write) = (segments, count, ahead, write)
    }

    /// Of each segment 1 if it is shown, else 0.
    package subscript(sample: Int) -> [Double] {
        var shown = [Double](repeating: 0, count: segments)
        write(sample, &shown)
        return shown
    }
}

/// The most segments with which a system of equations is solved.
private let mostSegments = 1024

extension SegmentMethod {
    package static var family: MethodFamily { .perturbation }
    package static var sign: MapSign { .evidence }
    package static var scale: Target.Scale { .probability }

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        var cover: ReadyBaseline?
        if case .baseline(let baseline) = settings.picture.cover { cover = try baseline.ready(for: subject) }
        self.init(
            SegmentSampling(
                subject: subject, input: try PixelInput(subject, for: Self.title), settings: settings,
                cover: cover))
    }

    package var grid: Attribution.Grid { common.input.grid }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let (input, settings) = (common.input, common.settings)
        let variants = try Variants(
            batch, engine, of: common.subject, mask: [1, input.height, input.width], hasBaseline: true)
        return try batch.pictures.flatMap { picture in
            let x = batch.input(picture)
            let labels = settings.picture.labels(
                ViewedColours(x, of: input, preparedBy: common.subject.preprocessing),
                seed: common.subject.seed)
            let segments = labels.max()! + 1
            guard segments <= mostSegments else {
                throw ExplainError(
                    .method,
                    "\(batch.names[picture]): \(Self.title) finds \(segments) segments in this picture, and takes at most \(mostSegments); "
                        + "a larger \(Self.name).kernel or \(Self.name).distance makes fewer, as does \(Self.name).segmentation=slic."
                )
            }
            let coalitions = try coalitions(segments: segments)
            try variants.take(
                x, baseline: common.cover?.numbers(for: x) ?? input.means(of: x, labels, segments))
            var fits = targets[picture].map {
                fit(coalitions, whole: Double(batch.value($0, picture: picture)))
            }
            func map(_ numbers: [Double]) -> [Float] { labels.map { Float(numbers[$0]) } }
            var open = Array(fits.indices)
            var counts = fits.map { _ in 0 }
            for part in parts(coalitions, settings.precision) where !open.isEmpty {
                try variants.run(part) { sample, mask in
                    let shown = coalitions[sample]
                    for (i, segment) in labels.enumerated() { mask[i] = Float(shown[segment]) }
                } receive: { sample, logits, _ in
                    let shown = coalitions[sample]
                    for t in open {
                        fits[t].add(shown, value: Double(batch.scoring.value(targets[picture][t], logits)))
                        counts[t] += 1
                    }
                    try batch.advance(picture, done: sample + 1, of: coalitions.count)
                }
                if let precision = settings.precision {
                    open = open.filter {
                        let found = fits[$0].solution()
                        guard let errors = found.errors else { return true }
                        return SampleCount.relativeError(map(found.values), map(errors)) > precision
                    }
                }
            }
            return targets[picture].enumerated().map { t, target in
                let found = fits[t].solution()
                var attribution = Attribution(
                    picture: picture, target: target, grid: grid, values: map(found.values),
                    blankReason: "the score is the same whichever segments are covered")
                (attribution.sampleError, attribution.samples) = (
                    found.errors.map(map), counts[t] - coalitions.ahead
                )
                (attribution.completeness, attribution.note) = (
                    found.completeness, "\(segments) segment\(segments == 1 ? "" : "s"); \(found.note)"
                )
                return attribution
            }
        }
    }

    /// What is drawn before anybody looks whether it suffices: 32 samples more, or a quarter more once that is more.
    private func parts(_ coalitions: Coalitions, _ precision: Float?) -> [Range<Int>] {
        guard precision != nil else { return [0..<coalitions.count] }
        let step = SampleCount.step
        var (parts, drawn): ([Range<Int>], Int) = ([], 0)
        while (parts.last?.upperBound ?? 0) < coalitions.count {
            drawn += max(step, drawn / 4 / step * step)
            parts.append((parts.last?.upperBound ?? 0)..<min(coalitions.count, coalitions.ahead + drawn))
        }
        return parts
    }
}

extension PixelInput {
    /// Each pixel's number is the mean of its segment's: in double precision, in the order of the pixels.
    func means(of numbers: [Float], _ labels: [Int], _ segments: Int) -> [Float] {
        (0..<channels).flatMap { channel in
            var (sums, counts) = (
                [Double](repeating: 0, count: segments), [Double](repeating: 0, count: segments)
            )
            for (i, segment) in labels.enumerated() {
                sums[segment] += Double(numbers[channel * cells + i])
                counts[segment] += 1
            }
            return labels.map { Float(sums[$0] / counts[$0]) }
        }
    }
}
