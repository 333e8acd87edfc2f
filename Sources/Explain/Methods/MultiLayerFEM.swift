// FEM of several layers.

import Inference
import Kernels

/// FEM of several layers, fused: each layer's map is scaled from its minimum … maximum to 0 … 1, enlarged bilinearly to the largest
/// grid, and their mean is taken. The layers are those of `--layer` if it names several; else the last activation at each size of
/// grid, of the coarsest sizes that `grids` asks for.
///
/// The idea is that of MLFEM (Bourroux et al. 2022), whose abstract fixes neither layers nor fusion; this rule is ours.
package struct MultiLayerFEM: Explainer {
    package static let name = "multilayer-fem"
    package static let title = "Multi-layer FEM"
    package static let family = MethodFamily.features
    package static let layers = LayerUse.together
    package static let formula =
        "mean over layers of FEM, each scaled to 0 ... 1 and enlarged to the largest grid"
    package static let reading =
        "FEM of several layers in one map, whatever the class; do not read its fine parts as the class's, because they come from early layers."
    package static let source = "ours, after Bourroux et al. 2022"
    package static let isClassSpecific = false
    package static let sign = MapSign.magnitude
    package static let cost = "1 forward"

    package struct Settings: MethodSettings {
        package var k: Float = 2
        package var grids = 3
        package init() {}
        package static let list = [
            MethodSetting<Settings>(
                "k", \.k, "how many standard deviations above its mean a channel must be to count"),
            MethodSetting<Settings>(
                "grids", \.grids, "how many sizes of grid, from the coarsest on, if --layer names one layer",
                1...8),
        ]
    }
    private let parts: [FEM]
    package let grid: Attribution.Grid

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        var layers = subject.layers
        if layers.count == 1 {
            let size = Array(subject.input.dims.suffix(2))
            let all = try subject.network.stages(height: size[0], width: size[1])
                .filter {
                    Double(settings.k) * Double(settings.k) < Double($0.shape.dims[2] * $0.shape.dims[3] - 1)
                }
            guard !all.isEmpty else {
                throw ExplainError(
                    .method,
                    "Multi-layer FEM finds no layer whose grid is large enough for k = \(settings.k); take a smaller k."
                )
            }
            layers = Array(all.suffix(settings.grids))
        }
        var fem = FEM.Settings()
        fem.k = settings.k
        parts = try layers.map { try FEM(fem, explaining: $0) }
        grid = Attribution.fusedGrid(parts.map(\.grid))
    }

    package func request(_ spec: inout PassSpec) { for part in parts { part.request(&spec) } }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        Attribution.fused(try parts.map { try $0.explain(batch, targets, engine) }, sign: Self.sign)
    }
}
