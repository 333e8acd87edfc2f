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
    /// How many variants of each channel's mask are asked for.
    var samples: Int { get }
    /// Makes a mask a variant of itself.
    func vary(_ mask: UnsafeMutableBufferPointer<Float>, channel: Int, sample: Int)
}

extension ScoreCAMFamily {
    package static var sign: MapSign { .magnitude }
    package static var asksManyTimes: Bool { true }
    package static var scale: Target.Scale { .probability }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let activations = try layer.activations(of: batch)
        let cells = grid.cells
        let channels = activations[0].count / cells
        let (height, width) = (subject.input.dims[2], subject.input.dims[3])
        let variants = try Variants(batch, engine, of: subject, mask: [1, height, width])
        return try batch.pictures.flatMap { picture in
            let own = activations[picture]
            let live = (0..<channels).filter { c in
                own[c * cells..<(c + 1) * cells].contains { $0 != own[c * cells] }
            }
            var scores = targets[picture].map { _ in [Float](repeating: 0, count: channels) }
            // All that is masked, if any is, comes last.
            let count = live.count * samples + (live.count < channels ? 1 : 0)
            try variants.take(batch.input(picture))
            try variants.run(0..<count) { variant, mask in
                guard variant < live.count * samples else { return mask.update(repeating: 0) }
                let channel = live[variant / samples]
                let plane = Plane(
                    width: layer.width, height: layer.height,
                    values: Array(own[channel * cells..<(channel + 1) * cells]))
                let scaled = plane.resized(width: width, height: height).normalised().plane.values
                _ = mask.update(from: scaled)
                vary(mask, channel: channel, sample: variant % samples)
            } receive: { variant, logits, _ in
                for (t, target) in targets[picture].enumerated() {
                    let s = batch.scoring.value(target, logits)
                    if variant < live.count * samples {
                        scores[t][live[variant / samples]] += s / Float(samples)
                    } else {
                        for c in Set(0..<channels).subtracting(live) { scores[t][c] = s }
                    }
                }
                try batch.advance(picture, done: variant + 1, of: count)
            }
            return zip(targets[picture], scores).map { target, scores in
                Attribution(
                    picture: picture, target: target, grid: grid,
                    values: weightedChannels(own[...], softmax(scores), clip: true),
                    blankReason: "the layer is active nowhere")
            }
        }
    }
}

/// Wang et al., “Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks”, CVPR workshops 2020, equations 5 to 7 and
/// algorithm 1. (pytorch-grad-cam takes the softmax of raw logits: `--score logit`.)
package struct ScoreCAM: ScoreCAMFamily {
    package static let name = "scorecam"
    package static let title = "Score-CAM"
    package static let formula =
        "ReLU(sum over channels of w A), w = softmax of the scores of the picture masked by each channel"
    package static let source = "Wang et al. 2020, algorithm 1"
    package static let cost = "1 forward, and 1 for each channel"
    package let layer: TargetLayer, subject: ExplainedNetwork
    package let samples = 1

    package init(_ settings: NoSettings, explaining subject: ExplainedNetwork) {
        (layer, self.subject) = (TargetLayer(subject.layers[0]), subject)
    }
    package func vary(_ mask: UnsafeMutableBufferPointer<Float>, channel: Int, sample: Int) {}
}

/// Wang et al., “SS-CAM: Smoothed Score-CAM for Sharper Visual Feature Localization”, 2020, algorithm 1: each mask is varied by normal noise.
package struct SSCAM: ScoreCAMFamily {
    package static let name = "sscam"
    package static let title = "SS-CAM"
    package static let formula = "Score-CAM, its scores averaged over masks with normal noise"
    package static let source = "Wang et al. 2020 (SS-CAM), algorithm 1"
    package static let cost = "1 forward, and `samples` for each channel"

    package struct Settings: MethodSettings {
        package var samples = 10
        package var sigma: Float = 2
        package init() {}
        package static let list = [
            MethodSetting<Settings>("samples", \.samples, "variants of each channel's mask", 1...1000),
            MethodSetting<Settings>("sigma", \.sigma, "the standard deviation of the noise", 0...100),
        ]
    }
    package let layer: TargetLayer, subject: ExplainedNetwork
    package let samples: Int
    private let sigma: Float

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) {
        (layer, self.subject) = (TargetLayer(subject.layers[0]), subject)
        (samples, sigma) = (settings.samples, settings.sigma)
    }

    package func vary(_ mask: UnsafeMutableBufferPointer<Float>, channel: Int, sample: Int) {
        let random = CounterRandom(seed: subject.seed, stream: CounterRandom.Stream.ssCAM)
        let noise = random.normals(mask.count, sample: channel * samples + sample)
        for i in mask.indices { mask[i] += sigma * noise[i] }
    }
}

/// Naidu et al., “IS-CAM: Integrated Score-CAM for axiomatic-based explanations”, 2020: each mask is taken i/n of the way from 0, i = 1 … n.
package struct ISCAM: ScoreCAMFamily {
    package static let name = "iscam"
    package static let title = "IS-CAM"
    package static let formula = "Score-CAM, its scores averaged over 1/n, 2/n, ... 1 of each mask"
    package static let source = "Naidu et al. 2020"
    package static let cost = "1 forward, and `samples` for each channel"

    package struct Settings: MethodSettings {
        package var samples = 10
        package init() {}
        package static let list = [
            MethodSetting<Settings>("samples", \.samples, "steps of each channel's mask, n", 1...1000)
        ]
    }
    package let layer: TargetLayer, subject: ExplainedNetwork
    package let samples: Int

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) {
        (layer, self.subject, samples) = (TargetLayer(subject.layers[0]), subject, settings.samples)
    }

    package func vary(_ mask: UnsafeMutableBufferPointer<Float>, channel: Int, sample: Int) {
        let share = Float(sample + 1) / Float(samples)
        for i in mask.indices { mask[i] *= share }
    }
}
