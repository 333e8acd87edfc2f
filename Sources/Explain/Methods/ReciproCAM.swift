// Recipro-CAM.

import Inference
import Kernels

/// Byun and Lee, “Recipro-CAM: Fast gradient-free visual explanations for convolutional neural networks”, CVPR workshops 2024: the map of a
/// cell is the score of a network whose layer has that cell alone, all others being 0; with `gaussian` also its eight neighbours, weighted
/// ½ beside it and ¼ at the corners: of a video those of the same frame. Only the tail of the network runs, once for each cell. No gradient.
package struct ReciproCAM: HostLayerMethod {
    package static let name = "reciprocam"
    package static let title = "Recipro-CAM"
    package static let formula = "the score with one cell of A kept and all others 0"
    package static let reading =
        "Strong where one cell of the layer alone, all others being 0, says the class; do not use it for what matters only together with its surroundings."
    package static let source = "Byun and Lee 2024"
    package static let sign = MapSign.magnitude
    package static let scale = Target.Scale.probability
    package static let asksManyTimes = true
    package static let cost = passes(Settings(), of: nil)
    package static func passes(_ settings: Settings, of subject: ExplainedNetwork?) -> String {
        "1 forward, 1 of the tail for "
            + (subject.map { "each of \($0.layers[0].cells) cells" } ?? "each cell")
    }

    package struct Settings: MethodSettings {
        package var gaussian = false
        package init() {}
        package static let list = [
            MethodSetting<Settings>("gaussian", \.gaussian, "keep a part of the eight cells around it too")
        ]
    }
    package let layer: TargetLayer
    private let subject: ExplainedNetwork
    private let settings: Settings

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) {
        (layer, self.subject, self.settings) = (TargetLayer(subject.layers[0]), subject, settings)
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let fed = try layer.fed(of: batch)
        let (height, width) = (layer.height, layer.width)
        let variants = try Variants(batch, engine, of: subject, layer: layer, mask: [1, height, width])
        let (gaussian, rows) = (settings.gaussian, height / (layer.frames ?? 1))
        return try batch.pictures.flatMap { picture in
            var maps = targets[picture].map { _ in [Float](repeating: 0, count: height * width) }
            try variants.take(fed[picture])
            try variants.run(0..<height * width) { cell, mask in
                mask.update(repeating: 0)
                guard gaussian else {
                    mask[cell] = 1
                    return
                }
                let (y, x) = (cell / width, cell % width)
                let frame = y / rows * rows
                for j in max(frame, y - 1)...min(frame + rows - 1, y + 1) {
                    for i in max(0, x - 1)...min(width - 1, x + 1) {
                        mask[j * width + i] = (j == y ? 1 : 0.5) * (i == x ? 1 : 0.5)
                    }
                }
            } receive: { cell, logits, _ in
                for (t, target) in targets[picture].enumerated() {
                    maps[t][cell] = batch.scoring.value(target, logits)
                }
                try batch.advance(picture, done: cell + 1, of: height * width)
            }
            return zip(targets[picture], maps).map { target, map in
                Attribution(
                    picture: picture, target: target, grid: grid, values: map,
                    blankReason: "the score is 0 whichever cell is kept")
            }
        }
    }
}
