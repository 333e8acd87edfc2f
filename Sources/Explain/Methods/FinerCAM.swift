// Finer-CAM.

import Inference
import Kernels

/// Grad-CAM of what tells a class from those that are most like it.
///
/// Zhang et al., “Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation”, CVPR 2025: Grad-CAM of
/// s_t − α · (mean of s_d over the n classes d whose logits are nearest to that of t); of classes equally near the lower index comes
/// first. pytorch-grad-cam weighs those classes by their probabilities.
package struct FinerCAM: ClassActivationMap {
    package static let name = "finercam"
    package static let title = "Finer-CAM"
    package static let formula =
        "Grad-CAM of the class's logit - alpha (mean of the logits of the classes nearest to it)"
    package static let reading =
        "What tells the class from those most like it; do not use it to see all that the class needs, because what it shares with them is left out."
    package static let source = "Zhang et al. 2025"

    package struct Settings: MethodSettings {
        package var alpha: Float = 1
        package var classes = 3
        package init() {}
        package static let list = [
            MethodSetting<Settings>("alpha", \.alpha, "how much of the other classes is subtracted", 0...10),
            MethodSetting<Settings>("classes", \.classes, "how many other classes", 1...100),
        ]
    }
    package let layer: TargetLayer
    private let settings: Settings

    package init(_ settings: Settings, explaining layer: Layer) {
        (self.layer, self.settings) = (TargetLayer(layer), settings)
    }

    package func weights(_ tape: inout Tape, activation: Value, gradient: Value) -> Value {
        tape.spatialMean(gradient)
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        try batch.rounds(targets) { targets, pictures in
            let cotangents = zip(targets, batch.logits).map { cotangent($0, $1, batch.scoring) }
            let outputs = try batch.outputs(of: self, cotangents: cotangents)
            return pictures.map { attribution(outputs, batch, picture: $0, targets[$0]) }
        }
    }

    /// The derivative of the difference with respect to the logits of all classes.
    private func cotangent(_ target: Target, _ logits: [Float], _ scoring: Scoring) -> [Float] {
        var row = scoring.cotangent(target, logits)
        let near = FinerCAM.nearest(settings.classes, to: target.classIndex, logits)
        let share = settings.alpha / Float(max(near.count, 1))
        for other in near {
            let one = Target(other, isNegative: target.isNegative, scale: target.scale)
            for (i, value) in scoring.cotangent(one, logits).enumerated() where value != 0 {
                row[i] -= share * value
            }
        }
        return row
    }

    /// The classes whose logits are nearest to that of a class, without itself.
    static func nearest(_ count: Int, to index: Int, _ logits: [Float]) -> [Int] {
        let distances = logits.map { abs($0 - logits[index]) }
        let order = logits.indices.filter { $0 != index }.sorted {
            distances[$0] == distances[$1] ? $0 < $1 : distances[$0] < distances[$1]
        }
        return Array(order.prefix(count))
    }

    package func blankReason(weights: [Float]?) -> String {
        "no cell of the layer speaks for the class more than for those like it"
    }
}
