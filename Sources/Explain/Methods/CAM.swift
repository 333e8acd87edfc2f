// CAM, the first of its kind.

import Inference
import Kernels

/// Class activation mapping.
///
/// Zhou et al., “Learning Deep Features for Discriminative Localization”, CVPR 2016, equation 2: Σ_c w_c A_c, where w_c are the weights
/// of the class in the one linear layer that follows the global average of A. They are found as the derivative of the class's
/// logit with respect to that average, Σ over cells of ∂s/∂A_c, which needs no search for the matrix in the file. No ReLU.
package struct CAM: LayerMethod {
    package static let name = "cam"
    package static let title = "CAM"
    package static let formula =
        "sum over channels of w A, w the class's weights in the linear layer after the global average"
    package static let reading =
        "Each cell's share of the class's score, exact for networks that end in a mean and one linear layer; do not look for detail smaller than a cell."
    package static let source = "Zhou et al. 2016, equation 2"
    package static let sign = MapSign.evidence
    package let layer: TargetLayer

    package init(_ settings: NoSettings, explaining subject: ExplainedNetwork) throws {
        let layer = subject.layers[0]
        guard subject.network.endsInLinearAverage(after: layer.output) else {
            throw ExplainError(
                .method,
                "CAM is for a layer that only a global average and linear layers follow, and after “\(layer.name)” there is more; take "
                    + "the last layer before the average (--layer), or Grad-CAM, which is the same there and goes on elsewhere."
            )
        }
        self.layer = TargetLayer(layer)
    }
    package init(_ settings: NoSettings, explaining layer: Layer) { self.layer = TargetLayer(layer) }

    package func map(_ tape: inout Tape, activation: Value, gradient: Value?) -> LayerMap {
        let weights = tape.reduce(gradient!, axes: [2, 3])
        return LayerMap(
            map: tape.channelMap(activation, weights: weights, clip: false), weights: weights)
    }

    package func blankReason(weights: [Float]?) -> String {
        "the weighted sum of the channels is zero everywhere"
    }
}
