// Shapley-CAM.

import Inference
import Kernels

/// Cai, “CAMs as Shapley Value-based Explainers”, 2025: w_c = mean of (dA_c − ½ (H A)_c), where H is the second derivative of the score
/// with respect to the activations, and the map is ReLU(Σ_c w_c A_c).
///
/// H A, the derivative of dA along A, is the difference (dA at (1 + δ) A − dA at (1 − δ) A) / 2δ with δ = 2⁻⁷, from two runs of the network's tail. In a
/// network of linear pieces it is 0 inside a piece, and the map is Grad-CAM's for logits.
package struct ShapleyCAM: HostLayerMethod {
    package static let name = "shapleycam"
    package static let title = "Shapley-CAM"
    package static let formula = "ReLU(sum over channels of w A), w = mean(dA - (d2A A) / 2)"
    package static let reading =
        "As Grad-CAM, corrected by how the gradient itself changes; do not expect it to differ from Grad-CAM where the layers behind are linear."
    package static let source = "Cai 2025"
    package static let sign = MapSign.magnitude
    package let readsGradient = true
    package static let cost = "1 forward, 1 back to the layer, 2 of the tail forward and back"
    private static let step: Float = 0x1p-7
    package let layer: TargetLayer

    package init(_ settings: NoSettings, explaining subject: ExplainedNetwork) {
        layer = TargetLayer(subject.layers[0])
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        var spec = batch.pass.plan.spec.tail(from: layer.feed)
        if let tokens = layer.tokens {
            spec.source = CellsInTokens(
                tokens: tokens, cells: batch.pass.tape.shape(batch.pass.plan.stored[layer.output]!))
        }
        (spec.stored, spec.gradients) = ([engine.network.logitsName], [layer.output])
        let tail = try engine.pass(spec)
        let activation = try batch.pass.stored(layer.output)!
        if layer.tokens != nil { try tail.feed(batch.pass.stored(layer.feed)!, at: 1) }
        return try batch.rounds(targets) { targets, pictures in
            func gradient(_ factor: Float) throws -> [Float] {
                try tail.feed(activation.map { $0 * factor })
                try tail.forward(pictures: batch.pictures.count)
                let logits = try batch.logits(of: tail)
                let seeds = zip(targets, logits).map { batch.scoring.cotangent($0, $1) }
                try tail.backward(
                    batch.seed(seeds, size: batch.size), pictures: batch.pictures.count)
                return try tail.gradient(layer.output)!
            }
            let plain = try batch.gradient(layer.output, targets: targets)
            let (above, below) = (try gradient(1 + Self.step), try gradient(1 - Self.step))
            let size = activation.count / batch.size
            return pictures.map { picture in
                let cells = grid.cells
                let range = picture * size..<(picture + 1) * size
                let weights = stride(from: range.lowerBound, to: range.upperBound, by: cells).map { begin in
                    var sum: Float = 0
                    for i in begin..<begin + cells {
                        sum += plain[i] - (above[i] - below[i]) / (2 * Self.step) / 2
                    }
                    return sum / Float(cells)
                }
                return Attribution(
                    picture: picture, target: targets[picture], grid: grid,
                    values: weightedChannels(activation[range], weights, clip: true),
                    blankReason: "no cell of the layer speaks for the class")
            }
        }
    }
}
