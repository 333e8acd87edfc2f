// ROAD: what the network says of a picture whose important, or unimportant, pixels are filled in from their neighbours.

import CMicrokernels
import Dispatch
import Inference

/// Rong et al., “A Consistent and Efficient Evaluation Strategy for Attribution Methods”, ICML 2022, section 4: fills in removed pixels. Each is the mean of its eight
/// neighbours, those beside it with the weight 1/6 and those at its corners with 1/12, of those that are inside the picture: a system of linear
/// equations. Then comes normal noise of σ = 0.01.
package struct NoisyLinearImputer: Sendable {
    package let height: Int, width: Int
    /// Of the noise, in the network's numbers.
    package var sigma: Float = 0.01

    package init(height: Int, width: Int) { (self.height, self.width) = (height, width) }

    private static let neighbours: [(dy: Int, dx: Int, weight: Double)] = [
        (-1, -1, 1.0 / 12), (-1, 0, 1.0 / 6), (-1, 1, 1.0 / 12), (0, -1, 1.0 / 6), (0, 1, 1.0 / 6),
        (1, -1, 1.0 / 12), (1, 0, 1.0 / 6), (1, 1, 1.0 / 12),
    ]

    /// - Parameters:
    ///   - picture: [C, H, W], row by row.
    ///   - removed: which pixels are; the picture keeps at least one.
    ///   - noise: standard normal numbers, [C, H, W]; nil for none.
    /// - Returns: the picture, filled in: to 10⁻⁶ of the largest number in it.
    package func filled(_ picture: [Float], removed: [Bool], noise: [Float]?) -> [Float] {
        let cells = height * width
        // A border of pixels that are neither there nor removed, so that no neighbour is outside.
        let stride = width + 2
        var unknowns: [Int] = []
        var number = [Int32](repeating: -1, count: (height + 2) * stride)  // −1: outside; −2: known
        for y in 0..<height {
            for x in 0..<width {
                let place = (y + 1) * stride + x + 1
                if removed[y * width + x] {
                    number[place] = Int32(unknowns.count)
                    unknowns.append(place)
                } else {
                    number[place] = -2
                }
            }
        }
        let count = unknowns.count
        guard count > 0, count < cells else { return picture }
        let offsets = Self.neighbours.map { (offset: $0.dy * stride + $0.dx, weight: $0.weight) }
        var diagonal = [Double](repeating: 0, count: count)
        for (i, place) in unknowns.enumerated() {
            for (offset, weight) in offsets where number[place + offset] != -1 { diagonal[i] += weight }
        }
        func pixel(_ place: Int) -> Int { (place / stride - 1) * width + place % stride - 1 }
        var result = picture
        for begin in Swift.stride(from: 0, to: picture.count, by: cells) {
            var known = [Double](repeating: 0, count: count)
            var sum = 0.0, largest = 0.0
            for i in 0..<cells where !removed[i] {
                sum += Double(picture[begin + i])
                largest = max(largest, abs(Double(picture[begin + i])))
            }
            for (i, place) in unknowns.enumerated() {
                for (offset, weight) in offsets where number[place + offset] == -2 {
                    known[i] += weight * Double(picture[begin + pixel(place + offset)])
                }
            }
            // From the mean of what is there.
            let start = [Double](repeating: sum / Double(cells - count), count: count)
            let solution = solve(
                start, known, diagonal, unknowns: unknowns, number: number, offsets: offsets,
                accuracy: 1e-6 * largest)
            for (i, place) in unknowns.enumerated() {
                let at = begin + pixel(place)
                result[at] = Float(solution[i]) + (noise.map { sigma * $0[at] } ?? 0)
            }
        }
        return result
    }

    /// Conjugate gradients for D x − W x = b, whose matrix is symmetric and positive: W is the weights between unknown pixels. Preconditioned by a
    /// sweep over the pixels forward and one back (symmetric Gauss-Seidel).
    private func solve(
        _ start: [Double], _ b: [Double], _ diagonal: [Double], unknowns: [Int], number: [Int32],
        offsets: [(offset: Int, weight: Double)], accuracy: Double
    ) -> [Double] {
        let count = b.count
        // On the padded grid: what is not unknown is 0 in all vectors.
        let size = number.count
        let before = offsets.filter { $0.offset < 0 }, behind = offsets.filter { $0.offset > 0 }
        func product(_ v: [Double], _ out: inout [Double]) {
            v.withUnsafeBufferPointer { v in
                out.withUnsafeMutableBufferPointer { out in
                    for (i, place) in unknowns.enumerated() {
                        var sum = diagonal[i] * v[place]
                        for (offset, weight) in offsets { sum -= weight * v[place + offset] }
                        out[i] = sum
                    }
                }
            }
        }
        func preconditioned(_ r: [Double], _ z: inout [Double]) {
            z.withUnsafeMutableBufferPointer { z in
                for (i, place) in unknowns.enumerated() {
                    var sum = r[i]
                    for (offset, weight) in before { sum += weight * z[place + offset] }
                    z[place] = sum / diagonal[i]
                }
                for i in Swift.stride(from: count - 1, through: 0, by: -1) {
                    let place = unknowns[i]
                    var sum = z[place] * diagonal[i]
                    for (offset, weight) in behind { sum += weight * z[place + offset] }
                    z[place] = sum / diagonal[i]
                }
            }
        }
        var x = start
        var full = [Double](repeating: 0, count: size)
        for (i, place) in unknowns.enumerated() { full[place] = x[i] }
        var q = [Double](repeating: 0, count: count)
        product(full, &q)
        var r = zip(b, q).map { $0 - $1 }
        var z = [Double](repeating: 0, count: size)
        preconditioned(r, &z)
        var direction = z
        func dot(_ a: [Double], _ padded: [Double]) -> Double {
            var sum = 0.0
            for (i, place) in unknowns.enumerated() { sum += a[i] * padded[place] }
            return sum
        }
        var energy = dot(r, z)
        for _ in 0..<4 * count {
            // z is about the error of x.
            guard z.contains(where: { abs($0) > accuracy * 1e-2 }), energy > 0 else { break }
            product(direction, &q)
            let curvature = dot(q, direction)
            guard curvature > 0 else { break }
            let step = energy / curvature
            for (i, place) in unknowns.enumerated() {
                x[i] += step * direction[place]
                r[i] -= step * q[i]
            }
            for place in unknowns { z[place] = 0 }
            preconditioned(r, &z)
            let next = dot(r, z)
            let share = next / energy
            energy = next
            for place in unknowns { direction[place] = z[place] + share * direction[place] }
        }
        return x
    }
}

/// What the three have in common.
package struct ROADSettings: MethodSettings {
    package var noise: Float = 0.01
    package init() {}
    package static let list = [
        MethodSetting<ROADSettings>(
            "noise", \.noise, "the noise on pixels that were filled in, in the network's numbers", 0...10)
    ]
}

extension ROADSettings {
    private static let percentiles = [10, 20, 30, 40, 50, 60, 70, 80, 90]

    /// The mean of p′ − p over pictures of which the most, or the least, important pixels were removed but for 10, 20 … 90 percent of all; as
    /// many as are below that percentile as NumPy has it stay.
    fileprivate func mean(_ map: MeasuredMap, most: Bool) throws -> Double {
        let probabilities = try map.probabilitiesWithout(most: most) {
            let (picture, places) = (map.picture, map.places)
            let cells = picture.cells
            var imputer = NoisyLinearImputer(height: picture.height, width: picture.width)
            imputer.sigma = noise
            let random = CounterRandom(seed: picture.seed, stream: CounterRandom.Stream.road)
            let input = picture.input
            let (sigma, ready) = (noise, imputer)
            let pictures = Concurrent.map(Self.percentiles.count) { i in
                let kept = ((cells - 1) * Self.percentiles[i] + 99) / 100
                let removed = places.map { most ? Int($0) < cells - kept : Int($0) >= kept }
                return ready.filled(
                    input, removed: removed,
                    noise: sigma > 0
                        ? random.normals(input.count, sample: i + (most ? 0 : Self.percentiles.count)) : nil)
            }
            return try picture.questions.values(of: map.target, count: pictures.count) { pictures[$0] }
        }
        return probabilities.reduce(0.0) { $0 + Double($1) - Double(map.probability) }
            / Double(probabilities.count)
    }
}

/// Work on several threads whose results come in order.
enum Concurrent {
    static func map<Result: Sendable>(_ count: Int, _ body: @Sendable (Int) -> Result) -> [Result] {
        [Result?](unsafeUninitializedCapacity: count) { results, initialised in
            results.initialize(repeating: nil)
            // Each writes its own place.
            nonisolated(unsafe) let places = results
            DispatchQueue.concurrentPerform(iterations: count) { places[$0] = body($0) }
            initialised = count
        }.map { $0! }
    }
}

/// (least − most) / 2: how much more the network loses with the important pixels than with the others, as pytorch-grad-cam combines the two.
package struct ROAD: Metric {
    package static let name = "road"
    package static let title = "ROAD"
    package static let family = MetricFamily.faithfulness
    package static let formula =
        "(p without the least important - p without the most important) / 2, filled in from neighbours, mean over 10 ... 90 %"
    package static let source = "Rong et al. 2022, section 4"
    package static let better = Better.higher
    package static let cost = "18 forward"
    private let settings: ROADSettings
    package init(_ settings: ROADSettings) { self.settings = settings }
    package func measure(_ map: MeasuredMap) throws -> Measurement {
        Measurement((try settings.mean(map, most: false) - settings.mean(map, most: true)) / 2)
    }
}

/// p′ − p without the most important pixels.
package struct ROADMost: Metric {
    package static let name = "road-most"
    package static let title = "ROAD, most relevant first"
    package static let family = MetricFamily.faithfulness
    package static let formula =
        "p without the most important pixels, filled in from neighbours, - p; mean over 10 ... 90 %"
    package static let source = "Rong et al. 2022, section 4"
    package static let better = Better.lower
    package static let cost = "9 forward"
    private let settings: ROADSettings
    package init(_ settings: ROADSettings) { self.settings = settings }
    package func measure(_ map: MeasuredMap) throws -> Measurement {
        Measurement(try settings.mean(map, most: true))
    }
}

/// p′ − p without the least important pixels.
package struct ROADLeast: Metric {
    package static let name = "road-least"
    package static let title = "ROAD, least relevant first"
    package static let family = MetricFamily.faithfulness
    package static let formula =
        "p without the least important pixels, filled in from neighbours, - p; mean over 10 ... 90 %"
    package static let source = "Rong et al. 2022, section 4"
    package static let better = Better.higher
    package static let cost = "9 forward"
    private let settings: ROADSettings
    package init(_ settings: ROADSettings) { self.settings = settings }
    package func measure(_ map: MeasuredMap) throws -> Measurement {
        Measurement(try settings.mean(map, most: false))
    }
}
