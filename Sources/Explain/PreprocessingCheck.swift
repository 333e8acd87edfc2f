// Whether pictures are prepared as the network was trained, as far as its first activations tell.

import Inference
import Kernels

/// What photographs do to a network's first layer, beside what the pictures did that it was trained on.
package struct PreprocessingCheck: Sendable {
    /// Sentences; none if nothing looks wrong.
    package private(set) var warnings: [String] = []
    /// By how much a channel of the first normalised activation is wider than in training, and how far its mean lies from there, in
    /// deviations: the medians over the channels; nil where the file has no normalisation left.
    package private(set) var width: Float?, distance: Float?

    /// - Parameter pictures: some photographs of different things.
    /// - Throws: what computing throws.
    package init(_ model: Model, _ pictures: [Picture], on device: Device) throws {
        let network = model.network
        let normalised = network.firstNormalised
        guard !pictures.isEmpty, let value = normalised?.value ?? network.firstActivation else { return }
        var spec = PassSpec(batch: 1, height: model.inputHeight, width: model.inputWidth)
        spec.stored = [value, network.logitsName]
        let pass = try Engine(network, on: LoadedDevice(device)).pass(spec)
        var (activations, logits): ([[Float]], [[Float]]) = ([], [])
        for picture in pictures {
            let numbers = try model.tensor(picture)
            guard numbers.count == pass.tape.shape(pass.plan.input).count else {
                throw ExplainError(
                    .input,
                    "\(picture.name): The picture has another size after preprocessing than the network takes."
                )
            }
            try pass.feed(numbers)
            try pass.forward()
            activations.append(try pass.stored(value) ?? [])
            logits.append(try pass.stored(network.logitsName) ?? [])
        }
        guard let shape = pass.plan.shape(value), shape.rank == 4 else { return }
        check(activations, channels: shape.dims[1], normalised)
        if logits.count > 1, Set(logits.map { $0.map(\.bitPattern) }).count == 1 {
            warnings.append("the scores are the same for every photograph")
        }
    }

    /// - Parameters:
    ///   - activations: of each picture, channel after channel.
    ///   - normalised: their means and deviations in training.
    package init(
        activations: [[Float]], channels: Int, trained: (mean: [Float], deviation: [Float])?
    ) {
        check(activations, channels: channels, trained.map { ("", $0.mean, $0.deviation) })
    }

    private mutating func check(
        _ activations: [[Float]], channels: Int,
        _ trained: (value: String, mean: [Float], deviation: [Float])?
    ) {
        guard activations.allSatisfy({ $0.allSatisfy(\.isFinite) }) else {
            warnings.append("the first layer's activations are not finite numbers")
            return
        }
        var widths: [Float] = []
        var distances: [Float] = []
        var constant = 0
        for channel in 0..<channels {
            var (count, sum, squares) = (0.0, 0.0, 0.0)
            for picture in activations {
                let cells = picture.count / channels
                for x in picture[channel * cells..<(channel + 1) * cells] {
                    (count, sum, squares) = (count + 1, sum + Double(x), squares + Double(x) * Double(x))
                }
            }
            let mean = sum / count
            let deviation = max(0, squares / count - mean * mean).squareRoot()
            if deviation <= 1e-6 * max(1, abs(mean)) { constant += 1 }
            guard let trained, channel < trained.mean.count, trained.deviation[channel] > 0 else { continue }
            widths.append(Float(deviation) / trained.deviation[channel])
            distances.append(abs(Float(mean) - trained.mean[channel]) / trained.deviation[channel])
        }
        if constant * 10 > channels * 9 {
            warnings.append(
                "\(constant) of \(channels) channels of the first layer are the same everywhere in every photograph, as if the network saw nothing"
            )
            return
        }
        guard !widths.isEmpty else { return }
        let (width, distance) = (widths.sorted()[widths.count / 2], distances.sorted()[distances.count / 2])
        (self.width, self.distance) = (width, distance)
        if width > 4 || width < 0.25 || distance > 2 {
            warnings.append(
                "the first normalised activations are \(Self.rounded(width)) times as wide as in training, and their means are \(Self.rounded(distance)) "
                    + "deviations away, so pictures are probably prepared in another way than the network was trained with (--preprocess)"
            )
        }
    }

    private static func rounded(_ number: Float) -> Float {
        number < 10 ? (number * 100).rounded() / 100 : number.rounded()
    }
}
