// The feature explanation method.

import Inference
import Kernels

/// Feature explanation method.
///
/// Fuad et al., “Features Understanding in 3D CNNs for Actions Recognition in Video”, IPTA 2020: with μ_c and σ_c the mean and the population standard
/// deviation of channel c, B_c = [A_c > μ_c + k σ_c], S = Σ_c μ_c B_c, and the map is S / max S. It knows no class and needs no
/// gradient. The comparison is strict, so a constant channel never fires.
///
/// The paper's layers come after a ReLU, where S is nowhere negative. Elsewhere max S may be, and dividing by it would turn the map
/// upside down; so it is divided by |max S|, which keeps the order of the cells.
package struct FEM: LayerMethod {
    package static let name = "fem"
    package static let title = "FEM"
    package static let formula = "S / |max S|, S = sum over channels of mean(A) [A > mean(A) + k sd(A)]"
    package static let reading =
        "Strong where channels fire far above their usual, whatever the class; do not use it to ask why one class won over another."
    package static let source = "Fuad et al. 2020"
    package static let family = MethodFamily.features
    package static let isClassSpecific = false

    package struct Settings: MethodSettings {
        package var k: Float = 2
        package init() {}
        package static let list = [
            MethodSetting<Settings>(
                "k", \.k, "how many standard deviations above its mean a channel must be to count")
        ]
    }
    package let layer: TargetLayer
    private let k: Float

    package init(_ settings: Settings, explaining layer: Layer) throws {
        (self.layer, k) = (TargetLayer(layer), settings.k)
        let cells = layer.cells
        guard k.isFinite, k >= 0 else {
            throw ExplainError(.method, "FEM's k is \(k); it must be a number of at least 0.")
        }
        // No element of n can lie more than √(n − 1) standard deviations above their mean.
        guard Double(k) * Double(k) < Double(cells - 1) else {
            throw ExplainError(
                .method,
                "FEM with k = \(k) is blank on every picture: in a layer of \(layer.grid) cells no value can exceed the mean by more "
                    + "than √(\(cells) − 1) standard deviations; take a layer with a larger grid (--layer) or a smaller k (--set fem.k=…)."
            )
        }
    }

    package func map(_ tape: inout Tape, activation: Value, gradient: Value?) -> LayerMap {
        LayerMap(map: tape.femMap(activation, k: k))
    }

    package func scaled(_ map: [Float]) -> [Float] { FEM.scaled(map) }

    package static func scaled(_ map: [Float]) -> [Float] {
        guard let largest = map.max(), largest != 0 else { return map }
        return map.map { $0 / abs(largest) }
    }

    package func blankReason(weights: [Float]?) -> String {
        "no channel of the layer exceeds its threshold anywhere"
    }
}
