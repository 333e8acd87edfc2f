// RISE: the mean of random masks, weighed by the score that the picture has under them.

import CMicrokernels
import Inference
import Kernels

/// Petsiuk, Das, Saenko, “RISE: Randomized Input Sampling for Explanation of Black-box Models”, BMVC 2018, equation 6: the map is
/// Σ s(x ⊙ M_i) M_i / (N p). A mask is a grid of `grid` × `grid` cells that are 1 with the probability p, enlarged bilinearly to (grid + 1) cells
/// of ⌈H / grid⌉ × ⌈W / grid⌉ pixels, from which a window of H × W is cut at random (section 3.2).
///
/// Mask i is the same for every picture, class, device and batch.
package struct RISE: Explainer {
    package static let name = "rise"
    package static let title = "RISE"
    package static let family = MethodFamily.perturbation
    package static let formula = "sum of s(x M) M / (N p) over N random masks M"
    package static let reading =
        "The mean score when a place is visible among random masks; do not read faint texture, which is chance that its standard error tells, nor anything smaller than a mask's cell."
    package static let source = "Petsiuk et al. 2018, equation 6"
    package static let sign = MapSign.magnitude
    package static let scale = Target.Scale.probability
    package static let cost = passes(Settings(), of: nil)
    package static func passes(_ settings: Settings, of subject: ExplainedNetwork?) -> String {
        "\(settings.samples) forward (samples)"
    }

    package struct Settings: MethodSettings {
        package var samples = 4000
        package var grid = 7
        package var p: Float = 0.5
        package var precision: Float?
        package init() {}
        package static let list = [
            MethodSetting<Settings>("samples", \.samples, "how many masks there are, at most", 2...1_000_000),
            MethodSetting<Settings>(
                "grid", \.grid, "cells of a mask along each side, before it is enlarged", 1...64),
            MethodSetting<Settings>(
                "p", \.p, "how likely a cell is to show the picture",
                where: ("above 0, at most 1", { $0 > 0 && $0 <= 1 })),
            MethodSetting<Settings>("precision", \.precision, precisionHelp, where: precisionBounds),
        ]
    }
    private let subject: ExplainedNetwork
    private let input: PixelInput
    private let masks: RandomMasks
    private let count: SampleCount
    private let p: Float

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        input = try PixelInput(subject, for: Self.title)
        self.subject = subject
        masks = RandomMasks(
            grid: settings.grid, p: settings.p, height: input.height, width: input.width, seed: subject.seed)
        (count, p) = (SampleCount(most: settings.samples, precision: settings.precision), settings.p)
    }
    package var grid: Attribution.Grid { input.grid }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let variants = try Variants(batch, engine, of: subject, mask: [1, input.height, input.width])
        return try batch.pictures.flatMap { picture in
            try variants.take(batch.input(picture))
            var means = targets[picture].map { _ in SampleMean(input.cells) }
            var open = Array(targets[picture].indices)
            for part in count.parts where !open.isEmpty {
                try variants.run(part) { sample, to in
                    masks.write(sample, to: to)
                } receive: { sample, logits, mask in
                    for t in open {
                        means[t].add(mask, times: batch.scoring.value(targets[picture][t], logits) / p)
                    }
                    try batch.advance(picture, done: sample + 1, of: count.most)
                }
                if let precision = count.precision {
                    open = open.filter {
                        SampleCount.relativeError(means[$0].values, means[$0].sampleError) > precision
                    }
                }
            }
            return zip(targets[picture], means).map { target, mean in
                var found = Attribution(
                    picture: picture, target: target, grid: grid, values: mean.values,
                    blankReason: "the score is zero under every mask")
                (found.sampleError, found.samples) = (mean.sampleError, mean.count)
                return found
            }
        }
    }
}

/// RISE's masks.
package struct RandomMasks: Sendable {
    let grid: Int, p: Float
    let height: Int, width: Int
    private let random: CounterRandom

    package init(grid: Int, p: Float, height: Int, width: Int, seed: UInt64) {
        (self.grid, self.p, self.height, self.width) = (grid, p, height, width)
        random = CounterRandom(seed: seed, stream: CounterRandom.Stream.rise)
    }

    /// Writes mask `sample` [H, W], row by row.
    ///
    /// The first grid² numbers of the sample say which cells are 1 (where below p), the next two the window's place. With e = (grid + 1) c
    /// the extent of the enlarged grid along an axis and c that of a cell, pixel i of it lies at (i + ½) · grid / e − ½ among the cells, edges held.
    package func write(_ sample: Int, to mask: UnsafeMutableBufferPointer<Float>) {
        let numbers = random.uniforms(grid * grid + 2, sample: sample)
        let cells = numbers[..<(grid * grid)].map { $0 < p ? Float(1) : 0 }
        func places(_ extent: Int, _ number: Float) -> [(low: Int, high: Int, t: Float)] {
            let cell = (extent + grid - 1) / grid
            let start = min(Int(number * Float(cell)), cell - 1)
            let scale = Float(grid) / Float((grid + 1) * cell)
            return (0..<extent).map { i in
                let at = min(max((Float(i + start) + 0.5) * scale - 0.5, 0), Float(grid - 1))
                let low = Int(at)
                return (low, min(low + 1, grid - 1), at - Float(low))
            }
        }
        let rows = places(height, numbers[grid * grid])
        let columns = places(width, numbers[grid * grid + 1])
        var line = [Float](repeating: 0, count: grid)
        for (y, row) in rows.enumerated() {
            for j in 0..<grid {
                line[j] = (1 - row.t) * cells[row.low * grid + j] + row.t * cells[row.high * grid + j]
            }
            for (x, column) in columns.enumerated() {
                mask[y * width + x] = (1 - column.t) * line[column.low] + column.t * line[column.high]
            }
        }
    }
}
