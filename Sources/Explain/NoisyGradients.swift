// Estimates from gradients at many variants of a picture: drawn until there are enough, or until they are precise enough.

import CMicrokernels
import Inference
import Kernels

/// What is estimated, number by number, from the gradients of samples.
package protocol GradientEstimate {
    var count: Int { get }
    /// - Parameters:
    ///   - gradient: [C, H, W], row by row.
    ///   - sample: its number; they come in ascending order.
    mutating func add(_ gradient: UnsafeBufferPointer<Float>, of sample: Int)
    /// The map, one number for each pixel or cell, and the standard error of each.
    func map() -> (values: [Float], sampleError: [Float])
    /// What a person should know of that map, as a clause; nil if nothing.
    func note(on map: (values: [Float], sampleError: [Float])) -> String?
}

extension GradientEstimate {
    package func note(on map: (values: [Float], sampleError: [Float])) -> String? { nil }
}

/// The mean of gradients or of their squares: its magnitude in the colour where that is the largest.
package struct GradientMean: GradientEstimate {
    private let input: PixelInput
    private let isOfSquares: Bool
    private var mean: SampleMean
    package var count: Int { mean.count }

    init(_ input: PixelInput, ofSquares: Bool) {
        (self.input, isOfSquares, mean) = (input, ofSquares, SampleMean(input.count))
    }

    package mutating func add(_ gradient: UnsafeBufferPointer<Float>, of sample: Int) {
        if isOfSquares { mean.add(gradient.map { $0 * $0 }) } else { mean.add(gradient) }
    }

    package func map() -> (values: [Float], sampleError: [Float]) {
        input.largest(mean.values.map(abs), mean.sampleError)
    }
}

/// How many samples are drawn.
package struct SampleCount: Hashable, Sendable {
    package let most: Int
    /// How far off the map may be, as `relativeError` says it; nil: all samples are drawn.
    package let precision: Float?

    /// After so many samples, and again after as many, it is looked whether they suffice: never after a number that depends on how
    /// many are computed at a time.
    package static let step = 32

    package init(most: Int, precision: Float?) { (self.most, self.precision) = (most, precision) }

    /// What is drawn before anybody looks.
    var parts: [Range<Int>] {
        guard precision != nil else { return [0..<most] }
        return stride(from: 0, to: most, by: SampleCount.step).map { $0..<min($0 + SampleCount.step, most) }
    }

    /// The root mean square of the standard errors over the range of the values; 0 of a map that is the same everywhere.
    static func relativeError(_ values: [Float], _ errors: [Float]) -> Float {
        guard let low = values.min(), let high = values.max(), high > low else { return 0 }
        let square = errors.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(errors.count)
        return Float(square.squareRoot() / (Double(high) - Double(low)))
    }
}

let precisionHelp =
    "stop when the root mean square of the standard errors is at most this share of the map's range; looked at after every "
    + "\(SampleCount.step) samples"
let precisionBounds: (words: String, hold: @Sendable (Float?) -> Bool) = (
    "above 0", { $0.map { $0 > 0 } ?? true }
)

extension GradientVariants {
    /// Estimates something for each target, from as many samples as each needs.
    /// - Parameters:
    ///   - empty: an estimate of no samples.
    ///   - progress: is told how many of the most samples are done.
    func estimate<Estimate: GradientEstimate>(
        _ targets: [Target], _ samples: SampleCount, empty: Estimate, write: @escaping Write,
        progress: (_ done: Int) throws -> Void
    ) throws -> [Estimate] {
        var estimates = targets.map { _ in empty }
        var open = Array(targets.indices)
        for part in samples.parts where !open.isEmpty {
            try run(part, targets: open.map { targets[$0] }, write: write) { sample, _ in
                try progress(sample)
            } gradient: { sample, t, gradient in
                estimates[open[t]].add(gradient, of: sample)
            }
            guard let precision = samples.precision else { continue }
            open = open.filter {
                let map = estimates[$0].map()
                return SampleCount.relativeError(map.values, map.sampleError) > precision
            }
        }
        return estimates
    }
}

// MARK: Noise

/// What can be chosen of the methods that add noise to a picture.
package struct NoiseSettings: MethodSettings {
    package var samples = 50
    package var noise: Float = 0.15
    package var precision: Float?
    package init() {}
    package static let list = [
        MethodSetting<NoiseSettings>(
            "samples", \.samples, "how many noisy copies there are, at most", 2...100_000),
        MethodSetting<NoiseSettings>(
            "noise", \.noise,
            "the noise's standard deviation, as a share of the difference between the picture's largest and smallest number",
            0...10),
        MethodSetting<NoiseSettings>("precision", \.precision, precisionHelp, where: precisionBounds),
    ]
}

/// Copies of a picture with noise, and what is estimated from their gradients.
package struct NoisyGradients: Sendable {
    let subject: ExplainedNetwork
    let count: SampleCount
    let noise: Float

    init(_ settings: NoiseSettings, _ subject: ExplainedNetwork) {
        self.subject = subject
        count = SampleCount(most: settings.samples, precision: settings.precision)
        noise = settings.noise
    }

    /// - Parameters:
    ///   - value: with respect to which the gradients are.
    ///   - empty: an estimate of no copies of a picture.
    func attributions<Estimate: GradientEstimate>(
        _ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine, of value: String,
        grid: Attribution.Grid, blankReason: String, empty: (_ picture: Int) -> Estimate
    ) throws -> [Attribution] {
        let variants = try GradientVariants(
            batch, engine, of: subject, value: value, source: Noise(), most: count.parts[0].count)
        // The same noise for all methods of this kind, all pictures and all classes.
        let random = CounterRandom(seed: subject.seed, stream: CounterRandom.Stream.noise)
        return try batch.pictures.flatMap { picture in
            let x = batch.input(picture)
            let sigma = noise * (x.max()! - x.min()!)
            try variants.take(x)
            let estimates = try variants.estimate(targets[picture], count, empty: empty(picture)) {
                sample, parts in
                for (i, normal) in random.normals(parts[0].count, sample: sample).enumerated() {
                    parts[0][i] = sigma * normal
                }
            } progress: {
                try batch.advance(picture, done: $0, of: count.most)
            }
            return zip(targets[picture], estimates).map { target, estimate in
                let map = estimate.map()
                var attribution = Attribution(
                    picture: picture, target: target, grid: grid, values: map.values,
                    blankReason: blankReason)
                attribution.sampleError = map.sampleError
                attribution.samples = estimate.count
                attribution.note = estimate.note(on: map)
                return attribution
            }
        }
    }
}

/// A method that estimates its map from the gradients with respect to the pixels at copies x + ε of a picture, ε with the distribution N(0, σ²) for
/// each of its numbers, σ a share of the difference between the largest and the smallest of them.
package protocol NoiseMethod: Explainer where Settings == NoiseSettings {
    associatedtype Estimate: GradientEstimate
    var input: PixelInput { get }
    var samples: NoisyGradients { get }
    init(_ samples: NoisyGradients, of input: PixelInput)
    static var blankReason: String { get }
    static func empty(_ input: PixelInput) -> Estimate
}

extension NoiseMethod {
    package static var family: MethodFamily { .gradient }
    package static var sign: MapSign { .magnitude }
    package static var asksManyTimes: Bool { true }
    package static var cost: String { passes(NoiseSettings(), of: nil) }
    package static func passes(_ settings: NoiseSettings, of subject: ExplainedNetwork?) -> String {
        "\(settings.samples) forward, \(settings.samples) back to the pixels (samples)"
    }
    package static var blankReason: String { "the gradient is zero at every pixel of every noisy copy" }

    package init(_ settings: NoiseSettings, explaining subject: ExplainedNetwork) throws {
        self.init(NoisyGradients(settings, subject), of: try PixelInput(subject, for: Self.title))
    }

    package var grid: Attribution.Grid { input.grid }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        try samples.attributions(
            batch, targets, engine, of: input.name, grid: grid, blankReason: Self.blankReason
        ) { _ in Self.empty(input) }
    }
}

extension PixelInput {
    /// For each pixel the channel in which a number [C, H, W] is the largest, the first of equals; and from there both numbers.
    func largest(_ numbers: [Float], _ errors: [Float]) -> (values: [Float], sampleError: [Float]) {
        var (values, sampleError) = (Array(numbers[..<cells]), Array(errors[..<cells]))
        for channel in 1..<max(1, channels) {
            for i in 0..<cells where numbers[channel * cells + i] > values[i] {
                values[i] = numbers[channel * cells + i]
                sampleError[i] = errors[channel * cells + i]
            }
        }
        return (values, sampleError)
    }
}
