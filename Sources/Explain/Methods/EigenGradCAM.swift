// Eigen-Grad-CAM.

import Inference
import Kernels

/// Eigen-CAM of dA ⊙ A, as pytorch-grad-cam's `EigenGradCAM`: the projection of each cell on the first principal component of the cells
/// of that product, the means of the channels removed; up where the product, its channels summed, is larger.
package struct EigenGradCAM: HostLayerMethod {
    package static let name = "eigengradcam"
    package static let title = "Eigen-Grad-CAM"
    package static let formula =
        "first principal component of dA A as cells x channels, up where it is larger"
    package static let reading =
        "The strongest pattern of what the class's gradient weighs; do not rely on it where two patterns are about as strong, because it shows one of them."
    package static let source = "pytorch-grad-cam, EigenGradCAM"
    package static let sign = MapSign.evidence
    package let readsGradient = true
    package static let cost = "1 forward, 1 back to the layer"
    package let layer: TargetLayer

    package init(_ settings: NoSettings, explaining subject: ExplainedNetwork) {
        layer = TargetLayer(subject.layers[0])
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let activations = try layer.activations(of: batch)
        return try batch.rounds(targets) { targets, pictures in
            let gradient = try batch.gradient(layer.output, targets: targets)
            return pictures.map { picture in
                let own = activations[picture]
                let products = own.indices.map { own[$0] * gradient[picture * own.count + $0] }
                return Attribution(
                    picture: picture, target: targets[picture], grid: grid,
                    values: PrincipalComponent.projection(products, channels: own.count / grid.cells),
                    blankReason: "the gradient times the activation is the same in all cells of the layer")
            }
        }
    }
}
