// Measures of whether nearly the same picture has nearly the same map. The picture is explained anew, with the same samples.

import Imaging

/// Yeh et al., “On the (In)fidelity and Sensitivity of Explanations”, NeurIPS 2019, definition 4.1, as Captum has it: the largest ‖Φ(x + e) − Φ(x)‖ / ‖Φ(x)‖ over
/// changes e whose numbers are uniform in −r … r. Φ is the map itself, at its own size.
package struct MaxSensitivity: Metric {
    package struct Settings: MethodSettings {
        package var samples = 10
        package var radius: Float = 0.02
        package init() {}
        package static let list = [
            MethodSetting<Settings>("samples", \.samples, "changed pictures", 1...10_000),
            MethodSetting<Settings>(
                "radius", \.radius, "the most that a number changes, in the network's numbers",
                where: ("above 0, at most 10", { $0 > 0 && $0 <= 10 })),
        ]
    }
    package static let name = "max-sensitivity"
    package static let title = "Max-sensitivity"
    package static let family = MetricFamily.robustness
    package static let formula = "largest |map(x + e) - map(x)| / |map(x)|, e uniform in -r ... r"
    package static let source = "Yeh et al. 2019, definition 4.1"
    package static let better = Better.lower
    package static let cost = "10 explanations (samples)"
    private let settings: Settings
    package init(_ settings: Settings) { self.settings = settings }

    /// The numbers of a changed picture.
    package func changed(_ picture: MeasuredPicture, sample: Int) -> [Float] {
        let random = CounterRandom(seed: picture.seed, stream: CounterRandom.Stream.sensitivity)
        let numbers = random.uniforms(picture.input.count, sample: sample)
        let radius = settings.radius
        return zip(picture.input, numbers).map { $0 + radius * (2 * $1 - 1) }
    }

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        let own = map.explanation.map.values
        let size = own.reduce(0.0) { $0 + Double($1) * Double($1) }
        guard size > 0 else { return .nothing("the map is 0 everywhere") }
        var worst = 0.0
        for sample in 0..<settings.samples {
            // Of few samples the maps of all methods are kept for these; of more each method makes its own.
            let key = settings.samples <= 64 ? "sensitivity \(sample)" : nil
            let other = try map.picture.explained(map, key) {
                changed(map.picture, sample: sample)
            }
            let difference = zip(own, other.map.values).reduce(0.0) {
                let d = Double($1.1) - Double($1.0)
                return $0 + d * d
            }
            worst = max(worst, (difference / size).squareRoot())
        }
        return Measurement(worst)
    }
}

/// What the three have in common: Pearson's correlation of the map with that of a changed picture, where both show the same.
private func correlation(
    _ map: MeasuredMap, _ key: String, _ change: () throws -> [Float],
    restored: ([Float]) -> [Float] = { $0 }, own: ([Float]) -> [Float] = { $0 }
) throws -> Measurement {
    let other = try map.picture.explained(map, key, change)
    let values = restored(MeasuredMap.values(other, map.picture.questions))
    return Similarity.correlation(own(map.values), values).map { Measurement($0) }
        ?? .nothing("one of the maps is the same everywhere")
}

/// The picture mirrored left to right, and its map mirrored back.
package struct FlipStability: Metric {
    package static let name = "stability-flip"
    package static let title = "Stability, mirrored"
    package static let family = MetricFamily.robustness
    package static let formula = "correlation of the map with that of the mirrored picture, mirrored back"
    package static let source = "ours"
    package static let better = Better.higher
    package static let cost = "1 explanation"
    package init(_: NoSettings) {}

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        let width = map.picture.width
        func mirrored(_ numbers: [Float]) -> [Float] {
            var mirrored = numbers
            for row in stride(from: 0, to: numbers.count, by: width) { mirrored[row..<row + width].reverse() }
            return mirrored
        }
        return try correlation(map, "flip", { mirrored(map.picture.input) }, restored: mirrored)
    }
}

/// The picture without a border of a sixteenth of its sides, enlarged to its size.
package struct CropStability: Metric {
    package static let name = "stability-crop"
    package static let title = "Stability, cropped"
    package static let family = MetricFamily.robustness
    package static let formula =
        "correlation of the map with that of the picture without a border of 1/16, where both show the same"
    package static let source = "ours"
    package static let better = Better.higher
    package static let cost = "1 explanation"
    package init(_: NoSettings) {}

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        let (height, width) = (map.picture.height, map.picture.width)
        let (top, left) = (height / 16, width / 16)
        // Nothing would be cropped, and every map be as stable as can be.
        guard top > 0, left > 0 else {
            return .nothing(
                "the network takes \(width)×\(height) pixels, of which a border of a sixteenth is less than one"
            )
        }
        func cropped(_ numbers: [Float]) -> [Float] {
            var result: [Float] = []
            for begin in stride(from: 0, to: numbers.count, by: height * width) {
                var rows: [Float] = []
                for y in top..<height - top {
                    let row = begin + y * width
                    rows += numbers[row + left..<row + width - left]
                }
                let inner = Plane(width: width - 2 * left, height: height - 2 * top, values: rows)
                result += inner.resized(width: width, height: height).values
            }
            return result
        }
        return try correlation(map, "crop", { cropped(map.picture.input) }, own: cropped)
    }
}

/// The picture as the network saw it, saved as a JPEG of quality 75 and read again.
package struct JPEGStability: Metric {
    package static let name = "stability-jpeg"
    package static let title = "Stability, JPEG"
    package static let family = MetricFamily.robustness
    package static let formula = "correlation of the map with that of the picture as a JPEG of quality 75"
    package static let source = "ours"
    package static let better = Better.higher
    package static let cost = "1 explanation"
    package init(_: NoSettings) {}

    package func measure(_ map: MeasuredMap) throws -> Measurement {
        guard let view = map.picture.view else {
            return .nothing("an array is no picture that could be saved")
        }
        return try correlation(
            map, "jpeg",
            {
                let bytes = view.jpegData(quality: 75)
                return map.picture.numbers(of: try RGBImage(decoding: bytes, name: map.picture.name) { _ in })
            })
    }
}
