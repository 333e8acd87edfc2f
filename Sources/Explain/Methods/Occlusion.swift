// Occlusion: what the score loses when a window of the picture is covered.

import Inference
import Kernels

/// Zeiler and Fergus, “Visualizing and Understanding Convolutional Networks”, ECCV 2014, section 4.2: the map of a pixel is the mean of
/// s(x) − s(x with a window covered) over the windows that cover the pixel. Windows begin at every `stride` pixels from the upper left corner; where
/// the last ones would leave pixels at an edge uncovered, there is one more that ends at the edge.
package struct Occlusion: Explainer {
    package static let name = "occlusion"
    package static let title = "Occlusion"
    package static let family = MethodFamily.perturbation
    package static let formula =
        "mean of s(x) - s(x with a window covered) over the windows that cover the pixel"
    package static let reading =
        "How much the score falls when a window is covered there; do not read detail smaller than the window, nor trust it where two parts can stand in for each other."
    package static let source = "Zeiler and Fergus 2014, section 4.2"
    package static let sign = MapSign.evidence
    package static let scale = Target.Scale.probability
    package static let cost = "1 forward for each window: \(windows(Settings(), 224, 224)) at 224 x 224"
    package static func passes(_ settings: Settings, of subject: ExplainedNetwork?) -> String {
        guard let dims = subject?.input.dims, dims.count == 4 else { return cost }
        return "1 forward for each of \(windows(settings, dims[2], dims[3])) windows"
    }
    private static func windows(_ settings: Settings, _ height: Int, _ width: Int) -> Int {
        spans(height, settings).count * spans(width, settings).count
    }

    package struct Settings: MethodSettings {
        package var window = 15
        package var stride = 8
        package var baseline = Baseline.zero
        package init() {}
        package static let list = [
            MethodSetting<Settings>("window", \.window, "the side of a window, in pixels", 1...4096),
            MethodSetting<Settings>("stride", \.stride, "how far apart windows begin, in pixels", 1...4096),
            MethodSetting<Settings>("baseline", \.baseline, "what a window is covered with"),
        ]
    }
    private let subject: ExplainedNetwork
    private let input: PixelInput
    private let settings: Settings
    private let baseline: ReadyBaseline

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        input = try PixelInput(subject, for: Self.title)
        (self.subject, self.settings) = (subject, settings)
        guard settings.stride <= settings.window else {
            throw ExplainError(
                .method,
                "Occlusion's windows of \(settings.window) pixels, \(settings.stride) apart, leave pixels between them uncovered; take "
                    + "a stride that is no larger than the window (occlusion.stride, occlusion.window).")
        }
        baseline = try settings.baseline.ready(for: subject)
    }
    package var grid: Attribution.Grid { input.grid }

    /// Where windows lie along an axis.
    private static func spans(_ extent: Int, _ settings: Settings) -> [Range<Int>] {
        let length = min(settings.window, extent)
        var starts = Array(stride(from: 0, through: extent - length, by: settings.stride))
        if starts.last! + length < extent { starts.append(extent - length) }
        return starts.map { $0..<$0 + length }
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let (rows, columns) = (
            Self.spans(input.height, settings), Self.spans(input.width, settings)
        )
        let variants = try Variants(
            batch, engine, of: subject, mask: [1, input.height, input.width], hasBaseline: true)
        let (count, width) = (rows.count * columns.count, input.width)
        var covers = [Float](repeating: 0, count: input.cells)
        for row in rows {
            for column in columns { for y in row { for x in column { covers[y * width + x] += 1 } } }
        }
        return try batch.pictures.flatMap { picture in
            let x = batch.input(picture)
            try variants.take(x, baseline: baseline.numbers(for: x))
            var sums = targets[picture].map { _ in [Float](repeating: 0, count: input.cells) }
            try variants.run(0..<count) { variant, mask in
                mask.update(repeating: 1)
                for y in rows[variant / columns.count] {
                    for x in columns[variant % columns.count] { mask[y * width + x] = 0 }
                }
            } receive: { variant, logits, _ in
                for (t, target) in targets[picture].enumerated() {
                    let loss = batch.value(target, picture: picture) - batch.scoring.value(target, logits)
                    for y in rows[variant / columns.count] {
                        for x in columns[variant % columns.count] { sums[t][y * width + x] += loss }
                    }
                }
                try batch.advance(picture, done: variant + 1, of: count)
            }
            return zip(targets[picture], sums).map { target, sum in
                Attribution(
                    picture: picture, target: target, grid: grid, values: zip(sum, covers).map(/),
                    blankReason: "the score is the same whichever window is covered")
            }
        }
    }
}
