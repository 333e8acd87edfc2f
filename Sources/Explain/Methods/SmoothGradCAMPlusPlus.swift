// Smooth Grad-CAM++.

import Inference
import Kernels

/// Omeiza, Speakman, Cintas, Weldemariam, “Smooth Grad-CAM++: An Enhanced Inference Level Visualization Technique for Deep Convolutional Neural
/// Network Models”, 2019, equations 6 to 9: Grad-CAM++ whose G, G² and G³ are means over copies of the picture with noise; the activations are
/// those of the picture itself.
package struct SmoothGradCAMPlusPlus: Explainer {
    package static let name = "smooth-gradcam++"
    package static let title = "Smooth Grad-CAM++"
    package static let family = MethodFamily.activation
    package static let sign = MapSign.magnitude
    package static let formula =
        "Grad-CAM++ with dA, dA^2 and dA^3 averaged over noisy copies of the picture"
    package static let reading =
        "What stays of Grad-CAM++ when the picture is disturbed; do not trust faint parts of few samples, which may be chance."
    package static let source = "Omeiza et al. 2019, equations 6 to 9"
    package static let cost = passes(NoiseSettings(), of: nil)
    package static func passes(_ settings: NoiseSettings, of subject: ExplainedNetwork?) -> String {
        "1 + \(settings.samples) forward, \(settings.samples) back to the layer (samples)"
    }
    package static let asksManyTimes = true

    private let layer: TargetLayer
    private let samples: NoisyGradients

    package init(_ settings: NoiseSettings, explaining subject: ExplainedNetwork) {
        layer = TargetLayer(subject.layers[0])
        samples = NoisyGradients(settings, subject)
    }

    package var grid: Attribution.Grid { layer.grid }
    package func request(_ spec: inout PassSpec) { spec.stored.insert(layer.output) }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let activations = try layer.activations(of: batch)
        return try samples.attributions(
            batch, targets, engine, of: layer.output, grid: grid, blankReason: GradCAMPlusPlus.zeroWeights
        ) { Estimate(activations[$0], cells: grid.cells) }
    }

    /// The map from sums of powers of gradients. They are kept for eight groups of samples apart, for maps of halves of the samples: what two such
    /// maps differ by, halved, has the deviation of the whole's error, and seven ways to halve are balanced (McCarthy, “Pseudo-replication: Half
    /// Samples”, 1969). Their median is taken: near zeros of Grad-CAM++'s divisor the map of few samples jumps, which one deviation cannot
    /// describe. (For the same reason neither derivatives nor leaving samples out will do: measured, they say two to a hundred times
    /// the spread over seeds.)
    package struct Estimate: GradientEstimate {
        private static let groups = 8
        private let activations: [Float], cells: Int
        /// Σ A of each channel.
        private let totals: [Double]
        private struct Powers { var first: [Float], second: [Float], third: [Float] }
        /// Σ G, Σ G², Σ G³ of each group's samples; and how many those are.
        private var sums: [Powers]
        private var counts = [Int](repeating: 0, count: groups)
        package var count: Int { counts.reduce(0, +) }

        /// - Parameter activations: [C, H, W], row by row.
        init(_ activations: [Float], cells: Int) {
            (self.activations, self.cells) = (activations, cells)
            totals = stride(from: 0, to: activations.count, by: cells).map {
                activations[$0..<$0 + cells].reduce(0.0) { $0 + Double($1) }
            }
            let zeros = [Float](repeating: 0, count: activations.count)
            sums = Array(repeating: Powers(first: zeros, second: zeros, third: zeros), count: Self.groups)
        }

        package mutating func add(_ gradient: UnsafeBufferPointer<Float>, of sample: Int) {
            let group = sample % Self.groups
            counts[group] += 1
            for (i, g) in gradient.enumerated() {
                sums[group].first[i] += g
                sums[group].second[i] += g * g
                sums[group].third[i] += g * g * g
            }
        }

        /// The map of some groups' samples.
        private func map(of groups: [Int]) -> [Float] {
            let samples = Double(groups.reduce(0) { $0 + counts[$1] })
            func mean(_ power: KeyPath<Powers, [Float]>) -> [Double] {
                var mean = [Double](repeating: 0, count: activations.count)
                for group in groups {
                    for (i, part) in sums[group][keyPath: power].enumerated() { mean[i] += Double(part) }
                }
                return mean.map { $0 / samples }
            }
            let (first, second, third) = (mean(\.first), mean(\.second), mean(\.third))
            let weights = totals.enumerated().map { c, total in
                var weight = 0.0
                for i in c * cells..<(c + 1) * cells where first[i] > 0 {
                    let divisor = 2 * second[i] + total * third[i]
                    if divisor != 0 { weight += second[i] / divisor * first[i] }
                }
                return Float(weight)
            }
            return weightedChannels(activations[...], weights, clip: true)
        }

        /// Half of what the maps of two halves of the samples differ by, for each way to halve them.
        private var differences: [[Float]] {
            (1..<Self.groups).compactMap { way in
                // The columns of Hadamard's matrix: each way has four groups in a half, and any two groups part in four ways.
                let halves = [0, 1].map { half in
                    counts.indices.filter { counts[$0] > 0 && ($0 & way).nonzeroBitCount % 2 == half }
                }
                // An empty half there is only while there are fewer samples than groups.
                guard halves.allSatisfy({ !$0.isEmpty }) else { return nil }
                return zip(map(of: halves[0]), map(of: halves[1])).map { abs($0 - $1) / 2 }
            }
        }

        package func map() -> (values: [Float], sampleError: [Float]) {
            let differences = differences
            // Half of normal numbers are nearer to 0 than this share of their deviation.
            let sampleError = (0..<cells).map { i in
                differences.isEmpty ? 0 : differences.map { $0[i] }.sorted()[differences.count / 2] / 0.6745
            }
            return (map(of: Array(counts.indices)), sampleError)
        }

        package func note(on map: (values: [Float], sampleError: [Float])) -> String? {
            guard map.sampleError.contains(where: { $0 > 0 }) else {
                return
                    "noise changes nothing: what follows the layer is linear for every copy, so this is Grad-CAM++"
            }
            func meanSquare(_ x: [Float]) -> Double {
                x.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(x.count)
            }
            let whole = meanSquare(differences.flatMap(\.self))
            guard whole > 9 * meanSquare(map.sampleError) else { return nil }
            return
                "where the divisor of Grad-CAM++ is near 0 the map jumps: with other samples it may differ by far more than its standard error, "
                + "which is that of the samples that do not"
        }
    }
}
