// LayerCAM.

import CMicrokernels
import Inference
import Kernels

/// Jiang et al., “LayerCAM: Exploring Hierarchical Class Activation Maps for Localization”, IEEE TIP 2021, equations 5 and 6:
/// the map is ReLU(Σ_c max(dA_c, 0) ⊙ A_c). (Where maps of several layers are fused, TorchCAM applies tanh to them; we scale them.)
package struct LayerCAM: LayerMethod {
    package static let name = "layercam"
    package static let title = "LayerCAM"
    package static let formula = "ReLU(sum over channels of max(dA, 0) A)"
    package static let reading =
        "Each cell weighed by its own gradient, so that early layers give fine maps; do not read edges in those as evidence of the class, because early layers fire at any edge."
    package static let source = "Jiang et al. 2021, equations 5 and 6"
    package let layer: TargetLayer

    package init(_ settings: NoSettings, explaining layer: Layer) { self.layer = TargetLayer(layer) }

    package func map(_ tape: inout Tape, activation: Value, gradient: Value?) -> LayerMap {
        let positive = tape.map(WB_MAP_clip, gradient!, a: 0, b: .infinity)
        let sum = tape.reduce(tape.map(WB_MAP_multiply, positive, activation), axes: [1])
        return LayerMap(map: tape.map(WB_MAP_clip, sum, a: 0, b: .infinity))
    }

    package func blankReason(weights: [Float]?) -> String {
        "no cell of the layer is active and has a gradient above zero"
    }
}
