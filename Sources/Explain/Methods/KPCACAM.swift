// KPCA-CAM.

import CMicrokernels
import Inference
import Kernels

/// Karmani et al., “KPCA-CAM: Visual Explainability of Deep Computer Vision Models using Kernel PCA”, 2024: Eigen-CAM with a kernel:
/// with K_ij = k(a_i, a_j) for the cells' channels a_i, less the channels' means, and K centred, the map is √λ v of its largest eigenvalue λ and
/// its eigenvector v. The kernel is tanh(γ a·b + 1), exp(−γ |a − b|²), or a·b, which is Eigen-CAM; γ = 1 / channels unless it is set, as in
/// scikit-learn. That means are taken out before the kernel is what the first author's own program does, in pytorch-grad-cam.
package struct KPCACAM: HostLayerMethod {
    package static let name = "kpcacam"
    package static let title = "KPCA-CAM"
    package static let formula =
        "first kernel principal component of A as cells x channels, up where A is larger"
    package static let reading =
        "As Eigen-CAM, with a curved pattern in place of a straight one, whatever the class; do not compare its numbers between pictures, each of which has its own pattern."
    package static let source = "Karmani et al. 2024"
    package static let isClassSpecific = false
    package static let sign = MapSign.evidence
    package static let cost = "1 forward"

    package enum Kernel: String, SettingChoice { case sigmoid, rbf, linear }
    package struct Settings: MethodSettings {
        package var kernel = Kernel.sigmoid
        package var gamma: Float?
        package init() {}
        package static let list = [
            MethodSetting<Settings>("kernel", \.kernel, "the kernel"),
            MethodSetting<Settings>(
                "gamma", \.gamma, "its scale; none is 1 / channels",
                where: ("above 0", { $0.map { $0 > 0 } ?? true })),
        ]
    }
    package let layer: TargetLayer
    private let settings: Settings
    private static let mostCells = 1024

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        layer = TargetLayer(subject.layers[0])
        self.settings = settings
        guard layer.grid.cells <= Self.mostCells else {
            throw ExplainError(
                .method,
                "KPCA-CAM compares each cell with each other, and the layer has \(subject.layers[0].grid) of them, where "
                    + "\(Self.mostCells) are the most; take a layer with a smaller grid (--layer).")
        }
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        try layer.activations(of: batch).enumerated().map { picture, activations in
            Attribution(
                picture: picture, target: nil, grid: grid,
                values: map(activations),
                blankReason:
                    "to the kernel all cells of the layer are alike; its scale, kpcacam.gamma, does not suit their numbers"
            )
        }
    }

    private func map(_ activations: [Float]) -> [Float] {
        let cells = grid.cells
        let channels = activations.count / cells
        let rows = (0..<channels).map { channel in
            let row = activations[channel * cells..<(channel + 1) * cells].map(Double.init)
            let mean = row.reduce(0, +) / Double(cells)
            return row.map { $0 - mean }
        }
        var matrix = SymmetricMatrix(productsOf: PrincipalComponent.transposed(rows, cells))
        let gamma = settings.gamma.map(Double.init) ?? 1 / Double(channels)
        let squares = (0..<cells).map { matrix.values[$0 * cells + $0] }
        for i in 0..<cells {
            for j in 0..<cells {
                let product = matrix.values[i * cells + j]
                matrix.values[i * cells + j] =
                    switch settings.kernel {
                    case .linear: product
                    case .sigmoid: Double(wb_host_tanh(Float(gamma * product + 1)))
                    case .rbf:
                        Double(wb_host_exp(Float(-gamma * max(0, squares[i] + squares[j] - 2 * product))))
                    }
            }
        }
        matrix.centre()
        guard let found = matrix.largestEigenvector() else { return Array(repeating: 0, count: cells) }
        let length = found.value.squareRoot()
        return PrincipalComponent.oriented(found.vector.map { $0 * length }, activations, channels)
    }
}
