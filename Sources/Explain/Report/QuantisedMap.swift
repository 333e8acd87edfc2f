// A map as the page of a report draws it: whole numbers of 8 or 16 bits, and what they stand for.

import FoundationEssentials

/// A map in whole numbers: 0 stands for `low` and `top` for `high`, evenly between.
package struct QuantisedMap: Sendable, Equatable {
    package let width: Int, height: Int
    /// Whether numbers below 0 speak against what is explained. Then `low` is −`high`, and 0 is exactly in the middle.
    package let isSigned: Bool
    /// 8, or 16 for maps of few cells.
    package let bits: Int
    package let low: Float, high: Float
    /// Whether what lies beyond `low` and `high` was brought to them.
    package let isCut: Bool
    /// How many numbers of the map, along each axis, are one here: their mean.
    package let cell: Int
    /// Row by row from the top; of 16 bits the low byte first.
    package let bytes: [UInt8]

    /// The number that stands for `high`: even, so that there is a middle.
    package var top: Int { QuantisedMap.top(bits) }
    private static func top(_ bits: Int) -> Int { (1 << bits) - 2 }

    /// The most numbers that are kept in 16 bits.
    private static let fewest = 64 * 64

    /// Bytes of a map of which squares of `cell` × `cell` numbers become one.
    static func size(width: Int, height: Int, cell: Int) -> Int {
        width * height <= fewest ? 2 * width * height : count(width, cell) * count(height, cell)
    }

    private static func count(_ side: Int, _ cell: Int) -> Int { (side + cell - 1) / cell }

    /// - Parameters:
    ///   - quantile: of the magnitudes of a map with signs, or of the numbers of one without; what lies beyond is brought to it. 1 for nothing.
    ///   - cell: how many numbers along each axis become one, of a map that is not small.
    package init(_ map: Grid2D, isSigned: Bool, quantile: Double = 1, cell wanted: Int = 1) {
        let isSmall = map.width * map.height <= QuantisedMap.fewest
        let cell = isSmall ? 1 : wanted
        let (width, height) = (QuantisedMap.count(map.width, cell), QuantisedMap.count(map.height, cell))
        let values = cell == 1 ? map.values : QuantisedMap.means(map, cell, width, height)
        let finite = values.filter(\.isFinite)
        let sizes = isSigned ? finite.map(abs) : finite
        let least = isSigned ? 0 : finite.min() ?? 0
        let most = sizes.max() ?? 0
        var bound = most
        if quantile < 1, !sizes.isEmpty {
            let sorted = sizes.sorted()
            let place = max(0, min(sorted.count, Int((quantile * Double(sorted.count)).rounded(.up))) - 1)
            // Where all that could be shown would vanish, nothing is cut.
            if sorted[place] > least { bound = sorted[place] }
        }
        let (low, high) = (isSigned ? -bound : least, bound)
        let bits = isSmall ? 16 : 8
        let top = QuantisedMap.top(bits)
        let range = Double(high) - Double(low)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(values.count * bits / 8)
        for value in values {
            // What is no number counts as 0, or as the least.
            let number = value.isFinite ? Double(min(max(value, low), high)) : isSigned ? 0 : Double(low)
            let level = range > 0 ? Int(((number - Double(low)) / range * Double(top)).rounded()) : top / 2
            bytes.append(UInt8(level & 255))
            if bits == 16 { bytes.append(UInt8(level >> 8)) }
        }
        (self.width, self.height, self.isSigned) = (width, height, isSigned)
        (self.low, self.high, self.bits, self.bytes) = (low, high, bits, bytes)
        (self.cell, isCut) = (cell, bound < most)
    }

    /// Of squares of numbers; those at the right and lower edge may be cut off.
    private static func means(_ map: Grid2D, _ cell: Int, _ width: Int, _ height: Int) -> [Float] {
        var means: [Float] = []
        for y in 0..<height {
            for x in 0..<width {
                var (sum, count) = (0.0, 0)
                for row in y * cell..<min(map.height, (y + 1) * cell) {
                    for column in x * cell..<min(map.width, (x + 1) * cell)
                    where map[row, column].isFinite {
                        sum += Double(map[row, column])
                        count += 1
                    }
                }
                means.append(count > 0 ? Float(sum / Double(count)) : .nan)
            }
        }
        return means
    }

    /// The number that cell (row, column) stands for.
    package func value(row: Int, column: Int) -> Double {
        let i = row * width + column
        let level = bits == 8 ? Int(bytes[i]) : Int(bytes[2 * i]) | Int(bytes[2 * i + 1]) << 8
        return Double(low) + Double(level) / Double(top) * (Double(high) - Double(low))
    }

    var json: [(String, JSON)] {
        [
            ("width", .int(width)), ("height", .int(height)), ("signed", .bool(isSigned)),
            ("bits", .int(bits)), ("low", .float(low)), ("high", .float(high)), ("cut", .bool(isCut)),
            ("cell", .int(cell)), ("values", .string(Data(bytes).base64EncodedString())),
        ]
    }
}
