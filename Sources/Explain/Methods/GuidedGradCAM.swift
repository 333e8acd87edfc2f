// Guided Grad-CAM.

import Imaging
import Inference
import Kernels

/// Selvaraju et al., “Grad-CAM”, ICCV 2017, section 3.3: guided backpropagation, its colours added, times Grad-CAM's map enlarged to the
/// pixels. Of several layers it takes the last.
package struct GuidedGradCAM: Explainer {
    package static let name = "guided-gradcam"
    package static let title = "Guided Grad-CAM"
    package static let family = MethodFamily.gradient
    package static let layers = LayerUse.together
    package static let formula = "guided backpropagation times Grad-CAM enlarged to the pixels"
    package static let reading =
        "Fine edges within the places that Grad-CAM marks; do not trust the edges more than the places, because they come from guided backpropagation, which depends little on the class."
    package static let source = "Selvaraju et al. 2017, section 3.3"
    package static let sign = MapSign.evidence
    package static let cost = "2 forward, 1 back to the pixels, 1 to the layer"

    package enum Enlargement: String, SettingChoice { case bilinear, nearest }
    package struct Settings: MethodSettings {
        package var enlargement = Enlargement.bilinear
        package init() {}
        package static let list = [
            MethodSetting<Settings>(
                "enlargement", \.enlargement, "how Grad-CAM's map is enlarged; Captum does it by nearest")
        ]
    }
    private let input: PixelInput
    private let cam: GradCAM
    private let enlargement: Enlargement

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        input = try PixelInput(subject, for: Self.title)
        cam = GradCAM(NoSettings(), explaining: subject.layers[subject.layers.count - 1])
        enlargement = settings.enlargement
    }
    package var grid: Attribution.Grid { input.grid }
    package func request(_ spec: inout PassSpec) { cam.request(&spec) }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let maps = try cam.explain(batch, targets, engine)
        let ruled = RuledGradient(input: input, rule: ClipRule.guided)
        let found = try ruled.attributions(batch, targets, engine) { picture, target, gradient, _, _ in
            Attribution(
                picture: picture, target: target, grid: grid, values: ruled.sum(gradient), blankReason: "")
        }
        return found.map { guided in
            let map = maps.first { $0.picture == guided.picture && $0.target == guided.target }!
            let large = enlarged(map)
            return Attribution(
                picture: guided.picture, target: guided.target, grid: grid,
                values: zip(large, guided.values).map(*),
                blankReason: map.values.allSatisfy { $0 == 0 }
                    ? map.blankReason
                    : "nothing positive comes back to the pixels where Grad-CAM's map is above 0")
        }
    }

    private func enlarged(_ map: Attribution) -> [Float] {
        let (height, width) = map.grid.size
        switch enlargement {
        case .bilinear:
            return Plane(width: width, height: height, values: map.values)
                .resized(width: input.width, height: input.height).values
        case .nearest:
            return (0..<input.cells).map {
                map.values[
                    $0 / input.width * height / input.height * width + $0 % input.width * width / input.width]
            }
        }
    }
}
