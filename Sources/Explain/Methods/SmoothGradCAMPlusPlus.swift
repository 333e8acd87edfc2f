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
    package static let source = "Omeiza et al. 2019, equations 6 to 9"
    package static let cost = "1 + 50 forward, 50 back to the layer (samples)"
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

    /// The map from sums of powers of gradients. They are kept for ten groups of samples apart, for an estimate of the map's standard error from
    /// what it is without each group (the jackknife: Efron and Stein 1981).
    package struct Estimate: GradientEstimate {
        private static let groups = 10
        private let activations: [Float], cells: Int
        /// Σ A of each channel.
        private let totals: [Double]
        /// Σ G, Σ G², Σ G³ of each group's samples; and how many those are.
        private var sums: [(first: [Float], second: [Float], third: [Float])]
        private var counts = [Int](repeating: 0, count: groups)
        package var count: Int { counts.reduce(0, +) }

        /// - Parameter activations: [C, H, W], row by row.
        init(_ activations: [Float], cells: Int) {
            (self.activations, self.cells) = (activations, cells)
            totals = stride(from: 0, to: activations.count, by: cells).map {
                activations[$0..<$0 + cells].reduce(0.0) { $0 + Double($1) }
            }
            let zeros = [Float](repeating: 0, count: activations.count)
            sums = Array(repeating: (zeros, zeros, zeros), count: Self.groups)
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

        /// The map of all groups but one.
        private func map(without left: Int?) -> [Float] {
            let taken = sums.indices.filter { $0 != left && counts[$0] > 0 }
            let samples = Double(taken.reduce(0) { $0 + counts[$1] })
            func mean(_ power: KeyPath<(first: [Float], second: [Float], third: [Float]), [Float]>)
                -> [Double]
            {
                var mean = [Double](repeating: 0, count: activations.count)
                for group in taken {
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

        package func map() -> (values: [Float], sampleError: [Float]) {
            let values = map(without: nil)
            let groups = counts.indices.filter { counts[$0] > 0 }
            guard groups.count > 1 else { return (values, values.map { _ in 0 }) }
            let others = groups.map { map(without: $0) }
            let share = Double(groups.count - 1) / Double(groups.count)
            let errors = values.indices.map { i in
                let mean = others.reduce(0.0) { $0 + Double($1[i]) } / Double(groups.count)
                let squares = others.reduce(0.0) { $0 + (Double($1[i]) - mean) * (Double($1[i]) - mean) }
                return Float((share * squares).squareRoot())
            }
            return (values, errors)
        }
    }
}
