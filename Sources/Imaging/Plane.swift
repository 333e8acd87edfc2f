// The array of a heat map, and what is done to it before it is drawn.

/// `height` rows of `width` numbers.
package struct Plane: Equatable, Sendable {
    package let width: Int
    package let height: Int
    /// Row by row, from the top.
    package var values: [Float]

    package init(width: Int, height: Int, values: [Float]) {
        precondition(width > 0 && height > 0 && values.count == width * height)
        self.width = width
        self.height = height
        self.values = values
    }

    /// The plane at another size: bilinear between the centres of cells, edges held, no antialiasing (PyTorch's
    /// `interpolate(mode="bilinear", align_corners=False)`, OpenCV's INTER_LINEAR).
    ///
    /// In binary32, each step rounded, nothing contracted. For output column X:
    /// s = max(0, (X + 0.5) · (width / newWidth) − 0.5), x₀ = ⌊s⌋, x₁ = min(x₀ + 1, width − 1), t = s − x₀, and the same with u for
    /// rows; then `top = (1 − t) · v[y₀, x₀] + t · v[y₀, x₁]`, `bottom` likewise from row y₁, and the result is
    /// `(1 − u) · top + u · bottom`. An axis whose size stays is not touched.
    package func resized(width newWidth: Int, height newHeight: Int) -> Plane {
        precondition(newWidth > 0 && newHeight > 0)
        let columns = (0..<newWidth).map { Sample(at: $0, from: width, to: newWidth) }
        let rows = (0..<newHeight).map { Sample(at: $0, from: height, to: newHeight) }
        return sampled(columns: columns, rows: rows)
    }

    /// Where between two neighbours of an axis a sample lies.
    struct Sample {
        var low: Int
        var high: Int
        /// The weight of `high`.
        var t: Float

        init(position: Float, size: Int) {
            let s = min(max(position, 0), Float(size - 1))
            low = Int(s)
            high = min(low + 1, size - 1)
            t = s - Float(low)
        }

        init(at index: Int, from size: Int, to newSize: Int) {
            let scale = Float(size) / Float(newSize)
            self.init(position: (Float(index) + 0.5) * scale - 0.5, size: size)
        }
    }

    func sampled(columns: [Sample], rows: [Sample]) -> Plane {
        let newWidth = columns.count
        let result = [Float](unsafeUninitializedCapacity: newWidth * rows.count) { out, initialised in
            values.withUnsafeBufferPointer { v in
                // Along the columns each row is mixed once: of the rows below each other, the last two are kept.
                withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * newWidth) { mixed in
                    var held = [-1, -1]
                    func line(_ row: Int) -> UnsafeMutablePointer<Float> {
                        let to = mixed.baseAddress! + row % 2 * newWidth
                        if held[row % 2] == row { return to }
                        held[row % 2] = row
                        let from = v.baseAddress! + row * width
                        for (x, column) in columns.enumerated() {
                            (to + x).initialize(
                                to: Self.mix(from[column.low], from[column.high], column.t))
                        }
                        return to
                    }
                    var target = out.baseAddress!
                    for row in rows {
                        let (top, bottom, t) = (line(row.low), line(row.high), row.t)
                        if t == 0 {
                            target.initialize(from: top, count: newWidth)
                        } else {
                            let rest = 1 - t
                            for x in 0..<newWidth { target[x] = rest * top[x] + t * bottom[x] }
                        }
                        target += newWidth
                    }
                }
            }
            initialised = newWidth * rows.count
        }
        return Plane(width: newWidth, height: rows.count, values: result)
    }

    /// A weight of zero leaves the other value alone, even beside an infinity or NaN.
    @inline(__always)
    private static func mix(_ a: Float, _ b: Float, _ t: Float) -> Float {
        t == 0 ? a : (1 - t) * a + t * b
    }

    /// The plane with what is above a quantile of its finite numbers brought down to it: of n numbers in ascending order number ⌈q n⌉.
    /// Nothing is changed where all that could be shown would vanish: where the quantile is the least number, or, of a signed map,
    /// not above 0.
    package func clipped(atQuantile q: Double, signed: Bool = false) -> Plane {
        guard q < 1 else { return self }
        let finite = values.filter(\.isFinite).sorted()
        guard let least = finite.first else { return self }
        let bound = finite[max(0, min(finite.count, Int((q * Double(finite.count)).rounded(.up))) - 1)]
        guard bound > (signed ? max(0, least) : least) else { return self }
        return Plane(
            width: width, height: height, values: values.map { $0.isFinite && $0 > bound ? bound : $0 })
    }

    /// A plane scaled to 0…1, and what was found on the way.
    package struct Normalised: Equatable, Sendable {
        /// (v − minimum) / (maximum − minimum); zero everywhere if `isConstant`, and in every cell that is not finite.
        package var plane: Plane
        /// Over the finite cells; both zero if there are none.
        package var minimum: Float
        package var maximum: Float
        /// All finite cells hold the same number (or there is none): there is nothing to show.
        package var isConstant: Bool
        /// How many cells hold NaN or an infinity.
        package var notFinite: Int
    }

    /// Scales to 0…1. A constant map is not scaled up but reported; NaN and infinities count as absent.
    /// - Parameter signed: scales from 0, and what is below 0 becomes 0.
    package func normalised(signed: Bool = false) -> Normalised {
        let finite = values.lazy.filter(\.isFinite)
        let low = signed ? 0 : finite.min() ?? 0
        let high = max(low, finite.max() ?? low)
        let isConstant = low == high
        // Halved where the range itself would overflow.
        let half: Float = (high - low).isFinite ? 1 : 0.5
        let range = high * half - low * half
        var notFinite = 0
        let scaled = values.map { value -> Float in
            guard value.isFinite else {
                notFinite += 1
                return 0
            }
            return isConstant ? 0 : ((value < low ? low : value) * half - low * half) / range
        }
        return Normalised(
            plane: Plane(width: width, height: height, values: scaled), minimum: low, maximum: high,
            isConstant: isConstant, notFinite: notFinite)
    }
}
