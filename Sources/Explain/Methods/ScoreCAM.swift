// Score-CAM, and its relatives that mask the picture in other ways.

import Imaging
import Inference
import Kernels

/// What Score-CAM and its relatives have in common: channel c of A, enlarged bilinearly to the picture and scaled to 0 … 1, is a mask;
/// s_c is a mean of scores of the picture under variants of it; w = softmax of s over the channels; the map is ReLU(Σ_c w_c A_c).
///
/// The papers have the increase of s over that of a black picture, which is the same in every channel and drops out of the softmax. A
/// channel that is the same everywhere masks all; the network is asked once for all of those.
package protocol ScoreCAMFamily: HostLayerMethod {
    var subject: ExplainedNetwork { get }
    /// The variants of each channel's mask that are asked for.
    var samples: SampleCount { get }
    /// Whether those are drawn, so that the map has a standard error.
    static var draws: Bool { get }
    /// Makes a mask a variant of itself.
    func vary(_ mask: UnsafeMutableBufferPointer<Float>, channel: Int, of channels: Int, sample: Int)
}

extension ScoreCAMFamily {
    package static var sign: MapSign { .magnitude }
    package static var asksManyTimes: Bool { true }
    package static var scale: Target.Scale { .probability }
    package static var draws: Bool { false }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let activations = try layer.activations(of: batch)
        let cells = grid.cells
        let channels = activations[0].count / cells
        // Of a picture, or of a video.
        let size = Array(subject.input.dims[2...])
        let variants = try Variants(batch, engine, of: subject, mask: [1] + size)
        return try batch.pictures.flatMap { picture in
            let own = activations[picture]
            let live = (0..<channels).filter { c in
                own[c * cells..<(c + 1) * cells].contains { $0 != own[c * cells] }
            }
            let dead = Set(0..<channels).subtracting(live)
            // All that is masked, if any is, comes first; then every channel's first sample, every channel's second, ….
            let masked = dead.isEmpty ? 0 : 1
            let count = masked + live.count * samples.most
            var scores = targets[picture].map { _ in [Float](repeating: 0, count: channels) }
            var means = targets[picture].map { _ in SampleMean(channels) }
            func map(_ t: Int) -> ScoreCAMMap { ScoreCAMMap(activations: own, scores: means[t]) }
            try variants.take(batch.input(picture))
            let rounds =
                samples.precision == nil ? [0..<samples.most] : (0..<samples.most).map { $0..<$0 + 1 }
            for round in rounds {
                let first = round.lowerBound == 0 ? 0 : masked + round.lowerBound * live.count
                try variants.run(first..<masked + round.upperBound * live.count) { variant, mask in
                    guard variant >= masked else { return mask.update(repeating: 0) }
                    let (sample, place) = (variant - masked).quotientAndRemainder(dividingBy: live.count)
                    let channel = live[place]
                    let plane = Plane(
                        width: layer.width, height: layer.height,
                        values: Array(own[channel * cells..<(channel + 1) * cells]))
                    let scaled = plane.resized(frames: layer.frames, to: size).normalised().plane.values
                    _ = mask.update(from: scaled)
                    vary(mask, channel: channel, of: channels, sample: sample)
                } receive: { variant, logits, _ in
                    for (t, target) in targets[picture].enumerated() {
                        let s = batch.scoring.value(target, logits)
                        if variant < masked {
                            for c in dead { scores[t][c] = s }
                        } else {
                            let place = (variant - masked) % live.count
                            scores[t][live[place]] = s
                            if place == live.count - 1 { means[t].add(scores[t]) }
                        }
                    }
                    try batch.advance(picture, done: variant + 1, of: count)
                }
                // A layer that is the same everywhere has no samples; and where devices are compared not all are asked for.
                for t in means.indices where means[t].count == 0 { means[t].add(scores[t]) }
                if let precision = samples.precision, round.upperBound > 1,
                    means.indices.allSatisfy({ map($0).relativeError <= precision })
                {
                    break
                }
            }
            return targets[picture].indices.map { t in
                let map = map(t)
                var attribution = Attribution(
                    picture: picture, target: targets[picture][t], grid: grid, values: map.values,
                    blankReason: "the layer is active nowhere")
                if Self.draws {
                    (attribution.sampleError, attribution.samples) = (
                        map.sampleError, means[t].count * live.count
                    )
                }
                return attribution
            }
        }
    }
}

/// ReLU(Σ_c w_c A_c) with w = softmax of the means of the channels' scores.
private struct ScoreCAMMap {
    let values: [Float]
    /// To the first order in the errors of the scores, which are drawn for each channel apart: √Σ_c (w_c (A_c − Σ_k w_k A_k))² var(s_c).
    let sampleError: [Float]

    /// - Parameter activations: [C, H, W], row by row.
    init(activations: [Float], scores: SampleMean) {
        let weights = softmax(scores.values)
        let cells = activations.count / weights.count
        let sums = weightedChannels(activations[...], weights, clip: false)
        var squares = [Double](repeating: 0, count: cells)
        for (c, error) in scores.sampleError.enumerated() where error != 0 {
            let factor = Double(weights[c]) * Double(error)
            for i in 0..<cells {
                let slope = factor * (Double(activations[c * cells + i]) - Double(sums[i]))
                squares[i] += slope * slope
            }
        }
        values = sums.map { $0 > 0 ? $0 : 0 }
        sampleError = squares.map { Float($0.squareRoot()) }
    }

    var relativeError: Float { SampleCount.relativeError(values, sampleError) }
}

/// Wang et al., “Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks”, CVPR workshops 2020, equations 5 to 7 and
/// algorithm 1. (pytorch-grad-cam takes the softmax of raw logits: `--score logit`.)
package struct ScoreCAM: ScoreCAMFamily {
    package static let name = "scorecam"
    package static let title = "Score-CAM"
    package static let formula =
        "ReLU(sum over channels of w A), w = softmax of the scores of the picture masked by each channel"
    package static let reading =
        "Strong where channels fire through which the picture still says the class; do not trust it where a picture that is mostly black is a class of its own to the network."
    package static let source = "Wang et al. 2020, algorithm 1"
    package static let cost = passes(NoSettings(), of: nil)
    package static func passes(_ settings: NoSettings, of subject: ExplainedNetwork?) -> String {
        "1 forward, and 1 for \(subject.eachChannel)"
    }
    package let layer: TargetLayer, subject: ExplainedNetwork
    package let samples = SampleCount(most: 1, precision: nil)

    package init(_ settings: NoSettings, explaining subject: ExplainedNetwork) {
        (layer, self.subject) = (TargetLayer(subject.layers[0]), subject)
    }
    package func vary(_ mask: UnsafeMutableBufferPointer<Float>, channel: Int, of channels: Int, sample: Int)
    {}
}

/// Wang et al., “SS-CAM: Smoothed Score-CAM for Sharper Visual Feature Localization”, 2020, algorithm 1: each mask is varied by normal noise.
package struct SSCAM: ScoreCAMFamily {
    package static let name = "sscam"
    package static let title = "SS-CAM"
    package static let formula = "Score-CAM, its scores averaged over masks with normal noise"
    package static let reading =
        "As Score-CAM, with noise on the masks so that the map is smoother; do not read faint parts of few samples, and what is said of Score-CAM's masks holds here too."
    package static let source = "Wang et al. 2020 (SS-CAM), algorithm 1"
    package static let cost = "1 forward, and `samples` for each channel"
    package static func passes(_ settings: Settings, of subject: ExplainedNetwork?) -> String {
        "1 forward, and \(settings.samples) for \(subject.eachChannel)"
    }

    package struct Settings: MethodSettings {
        package var samples = 10
        package var sigma: Float = 2
        package var precision: Float?
        package init() {}
        package static let list = [
            MethodSetting<Settings>(
                "samples", \.samples, "variants of each channel's mask, at most", 2...1000),
            MethodSetting<Settings>("sigma", \.sigma, "the standard deviation of the noise", 0...100),
            MethodSetting<Settings>(
                "precision", \.precision,
                "stop when the root mean square of the standard errors is at most this share of the map's range; looked at after each "
                    + "variant of all channels", where: precisionBounds),
        ]
    }
    package static let draws = true
    package let layer: TargetLayer, subject: ExplainedNetwork
    package let samples: SampleCount
    private let sigma: Float

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) {
        (layer, self.subject) = (TargetLayer(subject.layers[0]), subject)
        samples = SampleCount(most: settings.samples, precision: settings.precision)
        sigma = settings.sigma
    }

    package func vary(_ mask: UnsafeMutableBufferPointer<Float>, channel: Int, of channels: Int, sample: Int)
    {
        let random = CounterRandom(seed: subject.seed, stream: CounterRandom.Stream.ssCAM)
        let noise = random.normals(mask.count, sample: sample * channels + channel)
        for i in mask.indices { mask[i] += sigma * noise[i] }
    }
}

/// Naidu et al., “IS-CAM: Integrated Score-CAM for axiomatic-based explanations”, 2020: each mask is taken i/n of the way from 0, i = 1 … n.
package struct ISCAM: ScoreCAMFamily {
    package static let name = "iscam"
    package static let title = "IS-CAM"
    package static let formula = "Score-CAM, its scores averaged over 1/n, 2/n, ... 1 of each mask"
    package static let reading =
        "As Score-CAM, with each mask brought in by steps; do not trust it where a darkened picture means something else to the network."
    package static let source = "Naidu et al. 2020"
    package static let cost = "1 forward, and `samples` for each channel"
    package static func passes(_ settings: Settings, of subject: ExplainedNetwork?) -> String {
        "1 forward, and \(settings.samples) for \(subject.eachChannel)"
    }

    package struct Settings: MethodSettings {
        package var samples = 10
        package init() {}
        package static let list = [
            MethodSetting<Settings>("samples", \.samples, "steps of each channel's mask, n", 1...1000)
        ]
    }
    package let layer: TargetLayer, subject: ExplainedNetwork
    package let samples: SampleCount

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) {
        (layer, self.subject) = (TargetLayer(subject.layers[0]), subject)
        samples = SampleCount(most: settings.samples, precision: nil)
    }

    package func vary(_ mask: UnsafeMutableBufferPointer<Float>, channel: Int, of channels: Int, sample: Int)
    {
        let share = Float(sample + 1) / Float(samples.most)
        for i in mask.indices { mask[i] *= share }
    }
}
