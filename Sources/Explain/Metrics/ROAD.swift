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

    /// - Parameters:
    ///   - picture: [C, H, W], row by row.
    ///   - removed: which pixels are. Where all are, nothing is filled in.
    ///   - noise: standard normal numbers, [C, H, W]; nil for none.
    /// - Returns: the picture, filled in: to about 10⁻⁶ of the largest number in it.
    package func filled(_ picture: [Float], removed: [Bool], noise: [Float]?) -> [Float] {
        let cells = height * width
        let count = removed.count { $0 }
        guard count > 0, count < cells else { return picture }
        let grid = NeighbourSystem(removed, height: height, width: width)
        let channels = picture.count / cells
        var result = picture
        // Four channels at a time, which cost as much as one.
        for first in stride(from: 0, to: channels, by: 4) {
            let own = first..<min(first + 4, channels)
            var known = [SIMD4<Double>](repeating: .zero, count: cells)
            var (sum, largest) = (SIMD4<Double>.zero, 0.0)
            for i in 0..<cells where !removed[i] {
                for channel in own {
                    let number = Double(picture[channel * cells + i])
                    known[i][channel - first] = number
                    largest = max(largest, abs(number))
                }
                sum += known[i]
            }
            let solution = grid.solution(
                known: known, start: sum / Double(cells - count), accuracy: 1e-7 * largest)
            for i in 0..<cells where removed[i] {
                for channel in own {
                    let at = channel * cells + i
                    result[at] = Float(solution[i][channel - first]) + (noise.map { sigma * $0[at] } ?? 0)
                }
            }
        }
        return result
    }
}

/// The equations of unknown pixels of a grid: d x − Σ w x′ = b over their eight neighbours. The matrix is symmetric and positive, and is solved by conjugate gradients, preconditioned
/// by a cycle over coarser and coarser grids, each of the sums of 2 × 2 equations of the one before.
private struct NeighbourSystem {
    typealias Numbers = SIMD4<Double>

    /// A grid with a border of one cell, which no equation has.
    struct Level {
        let height: Int, width: Int
        /// From one row to the next.
        let stride: Int
        /// 0 where there is no unknown.
        var diagonal: [Double]
        /// To the neighbour to the right, below, below to the right and below to the left.
        var right: [Double], below: [Double], corner: [Double], other: [Double]
        var unknown: [Int] = []

        init(height: Int, width: Int) {
            (self.height, self.width, stride) = (height, width, width + 2)
            let zeros = [Double](repeating: 0, count: (height + 2) * stride)
            (diagonal, right, below, corner, other) = (zeros, zeros, zeros, zeros, zeros)
        }
        func place(_ y: Int, _ x: Int) -> Int { (y + 1) * stride + x + 1 }

        /// The next coarser grid.
        var coarser: Level {
            var next = Level(height: (height + 1) / 2, width: (width + 1) / 2)
            for y in 0..<height {
                for x in 0..<width where diagonal[place(y, x)] > 0 {
                    let here = place(y, x), to = next.place(y / 2, x / 2)
                    next.diagonal[to] += diagonal[here]
                    for (weight, dy, dx) in [
                        (right[here], 0, 1), (below[here], 1, 0), (corner[here], 1, 1), (other[here], 1, -1),
                    ] where weight != 0 {
                        let (v, u) = ((y + dy) / 2, (x + dx) / 2)
                        switch (v - y / 2, u - x / 2) {
                        case (0, 0): next.diagonal[to] -= 2 * weight
                        case (0, 1): next.right[to] += weight
                        // To the left is to the right of that.
                        case (0, _): next.right[to - 1] += weight
                        case (1, 0): next.below[to] += weight
                        case (1, 1): next.corner[to] += weight
                        default: next.other[to] += weight
                        }
                    }
                }
            }
            next.list()
            return next
        }
        mutating func list() { unknown = diagonal.indices.filter { diagonal[$0] > 0 } }

        /// Σ w x′ over the neighbours of a cell.
        @inline(__always)
        func neighbours(_ x: UnsafePointer<Numbers>, _ i: Int) -> Numbers { before(x, i) + behind(x, i) }
        @inline(__always)
        func before(_ x: UnsafePointer<Numbers>, _ i: Int) -> Numbers {
            let up = i - stride
            return right[i - 1] * x[i - 1] + below[up] * x[up] + corner[up - 1] * x[up - 1]
                + other[up + 1] * x[up + 1]
        }
        @inline(__always)
        func behind(_ x: UnsafePointer<Numbers>, _ i: Int) -> Numbers {
            let down = i + stride
            return right[i] * x[i + 1] + below[i] * x[down] + corner[i] * x[down + 1] + other[i] * x[down - 1]
        }
    }

    let levels: [Level]
    private let height: Int, width: Int
    private static let straight = 1.0 / 6, diagonal = 1.0 / 12

    init(_ removed: [Bool], height: Int, width: Int) {
        (self.height, self.width) = (height, width)
        var fine = Level(height: height, width: width)
        func isRemoved(_ y: Int, _ x: Int) -> Bool {
            (0..<height).contains(y) && (0..<width).contains(x) && removed[y * width + x]
        }
        for y in 0..<height {
            let rows = (y > 0 ? 1 : 0) + (y < height - 1 ? 1 : 0)
            for x in 0..<width where removed[y * width + x] {
                let columns = (x > 0 ? 1 : 0) + (x < width - 1 ? 1 : 0)
                let i = fine.place(y, x)
                fine.diagonal[i] = Self.straight * Double(rows + columns) + Self.diagonal * Double(rows * columns)
                if isRemoved(y, x + 1) { fine.right[i] = Self.straight }
                if isRemoved(y + 1, x) { fine.below[i] = Self.straight }
                if isRemoved(y + 1, x + 1) { fine.corner[i] = Self.diagonal }
                if isRemoved(y + 1, x - 1) { fine.other[i] = Self.diagonal }
            }
        }
        fine.list()
        var levels = [fine]
        while levels.last!.unknown.count > 4, levels.last!.height * levels.last!.width > 4 {
            levels.append(levels.last!.coarser)
        }
        self.levels = levels
    }

    /// - Parameters:
    ///   - known: the numbers of pixels, [H, W]; 0 where they are unknown.
    ///   - accuracy: how far a number may be off, about.
    /// - Returns: [H, W], of which only unknown ones are set.
    func solution(known: [Numbers], start: Numbers, accuracy: Double) -> [Numbers] {
        let fine = levels[0]
        let size = fine.diagonal.count
        let zeros = [Numbers](repeating: .zero, count: size)
        var b = zeros
        for place in fine.unknown {
            let (y, x) = (place / fine.stride - 1, place % fine.stride - 1)
            for dy in -1...1 where (0..<height).contains(y + dy) {
                for dx in -1...1 where (0..<width).contains(x + dx) && (dy, dx) != (0, 0) {
                    b[place] += (dy == 0 || dx == 0 ? Self.straight : Self.diagonal) * known[(y + dy) * width + x + dx]
                }
            }
        }
        // Memory of the cycle: the right side and the solution of each level.
        var rights = levels.map { [Numbers](repeating: .zero, count: $0.diagonal.count) }
        var lefts = rights
        var x = zeros, q = zeros
        for place in fine.unknown { x[place] = start }
        x.withUnsafeBufferPointer { x in
            for i in fine.unknown { rights[0][i] = b[i] - (fine.diagonal[i] * x[i] - fine.neighbours(x.baseAddress!, i)) }
        }
        var r = rights[0]
        func preconditioned() -> [Numbers] {
            rights[0] = r
            cycle(0, &rights, &lefts)
            return lefts[0]
        }
        func dot(_ a: [Numbers], _ b: [Numbers]) -> Numbers {
            var sum = Numbers(repeating: 0)
            for i in fine.unknown { sum += a[i] * b[i] }
            return sum
        }
        func quotient(_ a: Numbers, _ b: Numbers) -> Numbers {
            (a / b).replacing(with: Numbers(repeating: 0), where: b .<= Numbers(repeating: 0))
        }
        var z = preconditioned()
        var direction = z
        var energy = dot(r, z)
        for _ in 0..<1000 {
            // What the cycle adds is about the error of x.
            guard fine.unknown.contains(where: { abs(z[$0].max()) > accuracy || abs(z[$0].min()) > accuracy })
            else { break }
            direction.withUnsafeBufferPointer { d in
                for i in fine.unknown { q[i] = fine.diagonal[i] * d[i] - fine.neighbours(d.baseAddress!, i) }
            }
            let step = quotient(energy, dot(direction, q))
            for i in fine.unknown {
                x[i] += step * direction[i]
                r[i] -= step * q[i]
            }
            z = preconditioned()
            let next = dot(r, z)
            let share = quotient(next, energy)
            energy = next
            for i in fine.unknown { direction[i] = z[i] + share * direction[i] }
        }
        return (0..<height * width).map { x[fine.place($0 / width, $0 % width)] }
    }

    /// One cycle for `rights[level]`, into `lefts[level]`: a sweep forward, the coarser grid twice, a sweep back; symmetric, so that conjugate
    /// gradients may use it.
    private func cycle(_ number: Int, _ rights: inout [[Numbers]], _ lefts: inout [[Numbers]]) {
        let level = levels[number]
        // Taken out, so that it is not copied.
        var x: [Numbers] = []
        swap(&x, &lefts[number])
        let b = rights[number]
        let isLast = number == levels.count - 1
        x.withUnsafeMutableBufferPointer { x in
            let at = UnsafePointer(x.baseAddress!)
            for i in level.unknown { x[i] = .zero }
            func sweep(_ cells: some Sequence<Int>) {
                for i in cells { x[i] = (b[i] + level.neighbours(at, i)) / level.diagonal[i] }
            }
            guard !isLast else {
                for _ in 0..<4 {
                    sweep(level.unknown)
                    sweep(level.unknown.reversed())
                }
                return
            }
            sweep(level.unknown)
            let next = levels[number + 1]
            for _ in 0..<2 {
                for i in next.unknown { rights[number + 1][i] = .zero }
                for i in level.unknown {
                    let to = next.place((i / level.stride - 1) / 2, (i % level.stride - 1) / 2)
                    rights[number + 1][to] += b[i] + level.neighbours(at, i) - level.diagonal[i] * x[i]
                }
                cycle(number + 1, &rights, &lefts)
                for i in level.unknown {
                    x[i] += lefts[number + 1][next.place((i / level.stride - 1) / 2, (i % level.stride - 1) / 2)]
                }
            }
            sweep(level.unknown.reversed())
        }
        lefts[number] = x
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
        let probabilities = try map.probabilitiesWithout(most: most, noise: noise) {
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
