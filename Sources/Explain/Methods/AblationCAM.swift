// Ablation-CAM.

import Inference
import Kernels

/// Ramaswamy et al., “Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free Localization”, WACV 2020, equations 2
/// and 3: w_c = (s − s_c) / s, where s_c is the score with channel c of A set to 0, and the map is ReLU(Σ_c w_c A_c). Only the tail of
/// the network runs. Where the logits are an affine function of A, as behind a global average, s − s_c is Σ ∂s/∂A_c ⊙ A_c: one way back for all channels.
/// It is divided by |s|: by an s below 0, as logits may be, the map would be turned upside down. A channel that is
/// 0 everywhere has the weight 0, and no pass is run for it.
package struct AblationCAM: HostLayerMethod {
    package static let name = "ablationcam"
    package static let title = "Ablation-CAM"
    package static let formula = "ReLU(sum over channels of w A), w = (s - s without the channel) / |s|"
    package static let reading =
        "Strong where channels fire without which the score falls; do not conclude from a cold place that nothing there matters, because channels that stand in for each other all look idle."
    package static let source = "Ramaswamy et al. 2020, equations 2 and 3"
    package static let sign = MapSign.magnitude
    package static let asksManyTimes = true
    package static let cost = passes(NoSettings(), of: nil)
    package static func passes(_ settings: NoSettings, of subject: ExplainedNetwork?) -> String {
        "1 forward, 1 of the tail for \(subject.eachChannel); 1 back where the tail is linear"
    }
    package let layer: TargetLayer
    private let subject: ExplainedNetwork
    /// Whether the tail is affine, so that the drops follow from it.
    package let readsGradient: Bool

    package init(_ settings: NoSettings, explaining subject: ExplainedNetwork) {
        (layer, self.subject) = (TargetLayer(subject.layers[0]), subject)
        readsGradient = subject.network.isAffine(in: layer.output)
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let activations = try layer.activations(of: batch)
        // A probability is no affine function of anything.
        if readsGradient, targets.allSatisfy({ $0.allSatisfy { $0.scale == .logit } }) {
            return try batch.rounds(targets) { targets, pictures in
                let gradient = try batch.gradient(layer.output, targets: targets)
                return pictures.map { picture in
                    let own = activations[picture]
                    let drops = stride(from: 0, to: own.count, by: grid.cells).map { start in
                        (start..<start + grid.cells).reduce(0.0) {
                            $0 + Double(own[$1]) * Double(gradient[picture * own.count + $1])
                        }
                    }
                    return attribution(own, drops.map { Float($0) }, batch, picture, targets[picture])
                }
            }
        }
        let channels = activations[0].count / grid.cells
        let variants = try Variants(batch, engine, of: subject, layer: layer, mask: [channels, 1, 1])
        let fed = try layer.fed(of: batch)
        return try batch.pictures.flatMap { picture in
            let own = activations[picture]
            let live = (0..<channels).filter { c in
                own[c * grid.cells..<(c + 1) * grid.cells].contains { $0 != 0 }
            }
            var drops = targets[picture].map { _ in [Float](repeating: 0, count: channels) }
            try variants.take(fed[picture])
            try variants.run(0..<live.count) { variant, mask in
                mask.update(repeating: 1)
                mask[live[variant]] = 0
            } receive: { variant, logits, _ in
                for (t, target) in targets[picture].enumerated() {
                    let s = batch.value(target, picture: picture)
                    drops[t][live[variant]] = s - batch.scoring.value(target, logits)
                }
                try batch.advance(picture, done: variant + 1, of: live.count)
            }
            return zip(targets[picture], drops).map { attribution(own, $1, batch, picture, $0) }
        }
    }

    /// - Parameter drops: s − s_c of each channel.
    private func attribution(
        _ activations: [Float], _ drops: [Float], _ batch: ExplainedBatch, _ picture: Int, _ target: Target
    ) -> Attribution {
        let s = batch.value(target, picture: picture)
        return Attribution(
            picture: picture, target: target, grid: grid,
            values: weightedChannels(
                activations[...], s == 0 ? drops : drops.map { $0 / abs(s) }, clip: true),
            blankReason: "no cell of the layer is active in channels without which the class would lose")
    }
}
