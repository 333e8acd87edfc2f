// Eigen-CAM.

import Inference
import Kernels

/// Muhammad and Yeasin, “Eigen-CAM: Class Activation Map using Principal Components”, IJCNN 2020: the projection of each cell on the
/// first principal component of the cells of A [H·W × C], the means of the channels removed. Its sign, which is arbitrary, is such that
/// more active cells lie above 0.
package struct EigenCAM: HostLayerMethod {
    package static let name = "eigencam"
    package static let title = "Eigen-CAM"
    package static let formula = "first principal component of A as cells x channels, up where A is larger"
    package static let reading =
        "The strongest pattern of the layer, whatever the class; do not use it to ask why one class won over another."
    package static let source = "Muhammad and Yeasin 2020"
    package static let isClassSpecific = false
    package static let sign = MapSign.evidence
    package static let cost = "1 forward"
    package let layer: TargetLayer

    package init(_ settings: NoSettings, explaining subject: ExplainedNetwork) {
        layer = TargetLayer(subject.layers[0])
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        try layer.activations(of: batch).enumerated().map { picture, activations in
            Attribution(
                picture: picture, target: nil, grid: grid,
                values: PrincipalComponent.projection(activations, channels: activations.count / grid.cells),
                blankReason: "all cells of the layer are alike")
        }
    }
}
