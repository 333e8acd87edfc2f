// Resizing exactly as Pillow's `Image.resize` does on 8-bit pictures.
//
// Two passes, first along rows, then along columns, each rounding to 8 bits. An output pixel is a weighted sum
// over the input pixels under the filter, which is stretched by the scale when shrinking (antialiasing). Weights
// are computed in double precision, divided by their sum, and rounded to fixed point with 22 fractional bits.
//
// Pillow 13 began to take the columns first for some shapes (mostly pictures more than twice as tall as wide),
// which can change a pixel by a step. Rows first is what every earlier version does, and so what networks
// were trained with; we stay with it, so a picture has one result.
//
// Every output pixel depends only on its own taps, so a `window` of the result costs only its own pixels.

/// How pixels between pixels are made up; the names are Pillow's.
package enum Interpolation: String, CaseIterable, Sendable {
    case nearest, box, bilinear, hamming, bicubic, lanczos

    /// Half the width of the filter, in output pixels when shrinking, in input pixels when enlarging.
    fileprivate var support: Double {
        switch self {
        case .nearest: 0
        case .box: 0.5
        case .bilinear, .hamming: 1
        case .bicubic: 2
        case .lanczos: 3
        }
    }

    fileprivate func weight(_ position: Double) -> Double {
        let x = abs(position)
        switch self {
        case .nearest: return 0
        case .box: return position > -0.5 && position <= 0.5 ? 1 : 0
        case .bilinear: return x < 1 ? 1 - x : 0
        case .bicubic:
            let a = -0.5
            if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
            if x < 2 { return (((x - 5) * x + 8) * x - 4) * a }
            return 0
        case .hamming: return x < 1 ? sinc(x) * (0.54 + 0.46 * sine(0.5 - x)) : 0
        case .lanczos: return x < 3 ? sinc(x) * sinc(x / 3) : 0
        }
    }
}

/// sin(πx) / (πx).
private func sinc(_ x: Double) -> Double { x == 0 ? 1 : sine(x) / (.pi * x) }

/// sin(πx), for small numbers x, to a few units in the last place: of half a turn by its Taylor series, which no library has a say in.
private func sine(_ x: Double) -> Double {
    let turns = x.rounded(.toNearestOrEven)
    let y = (x - turns) * .pi
    var (term, sum) = (y, 0.0)
    for n in stride(from: 2.0, through: 26, by: 2) {
        sum += term
        term *= -y * y / (n * (n + 1))
    }
    return turns.truncatingRemainder(dividingBy: 2) == 0 ? sum : -sum
}

/// For each output position of one axis: the first input position, how many follow, and their weights.
private struct Taps {
    var first: [Int] = []
    var count: [Int] = []
    var weights: [Int32] = []
    /// Room for the weights of one output position.
    let stride: Int

    static let fractionBits: Int32 = 22

    init(from size: Int, to newSize: Int, window: Range<Int>, filter: Interpolation) {
        let scale = Double(size) / Double(newSize)
        let stretch = max(scale, 1)
        let support = filter.support * stretch
        stride = Int(support.rounded(.up)) * 2 + 1
        weights = [Int32](repeating: 0, count: stride * window.count)
        var exact = [Double](repeating: 0, count: stride)
        for (slot, position) in window.enumerated() {
            let centre = (Double(position) + 0.5) * scale
            let low = max(0, Int(centre - support + 0.5))
            let high = min(size, Int(centre + support + 0.5))
            let inverse = 1 / stretch
            var sum = 0.0
            for i in 0..<high - low {
                exact[i] = filter.weight((Double(i + low) - centre + 0.5) * inverse)
                sum += exact[i]
            }
            for i in 0..<high - low {
                let share = (sum != 0 ? exact[i] / sum : exact[i]) * Double(1 << Self.fractionBits)
                weights[slot * stride + i] = Int32(share < 0 ? share - 0.5 : share + 0.5)
            }
            first.append(low)
            count.append(high - low)
        }
    }
}

@inline(__always)
private func rounded(_ sum: Int32) -> UInt8 {
    UInt8(truncatingIfNeeded: min(max(sum >> Taps.fractionBits, 0), 255))
}

private let half = Int32(1) << (Taps.fractionBits - 1)

extension RGBImage {
    /// The picture at another size, or the part of it that `columns` and `rows` (of the new size) select.
    package func resized(
        width newWidth: Int, height newHeight: Int, by interpolation: Interpolation,
        columns: Range<Int>? = nil, rows: Range<Int>? = nil
    ) -> RGBImage {
        let columns = columns ?? 0..<newWidth
        let rows = rows ?? 0..<newHeight
        precondition(columns.lowerBound >= 0 && columns.upperBound <= newWidth && !columns.isEmpty)
        precondition(rows.lowerBound >= 0 && rows.upperBound <= newHeight && !rows.isEmpty)
        guard opacity == nil else {
            return changed {
                $0.resized(
                    width: newWidth, height: newHeight, by: interpolation, columns: columns, rows: rows)
            }
        }
        if newWidth == width && newHeight == height {
            return columns.count == width && rows.count == height
                ? self
                : cropped(
                    left: columns.lowerBound, top: rows.lowerBound, width: columns.count, height: rows.count)
        }
        if interpolation == .nearest { return nearest(newWidth, newHeight, columns, rows) }

        let down =
            newHeight == height
            ? nil : Taps(from: height, to: newHeight, window: rows, filter: interpolation)
        // Only the input rows that the second pass asks for go through the first.
        var needed = rows
        if let down {
            let last = zip(down.first, down.count).map(+).max()!
            needed = down.first.min()!..<last
        }
        var image = self
        if newWidth != width {
            image = alongRows(
                Taps(from: width, to: newWidth, window: columns, filter: interpolation), rows: needed)
        } else if columns.count != width || needed.count != height {
            image = cropped(
                left: columns.lowerBound, top: needed.lowerBound, width: columns.count, height: needed.count)
        }
        return down.map { image.alongColumns($0, shift: needed.lowerBound) } ?? image
    }

    private func alongRows(_ taps: Taps, rows: Range<Int>) -> RGBImage {
        let newWidth = taps.first.count
        var result = RGBImage(width: newWidth, height: rows.count)
        pixels.withUnsafeBufferPointer { from in
            result.pixels.withUnsafeMutableBufferPointer { to in
                taps.weights.withUnsafeBufferPointer { weights in
                    var out = to.baseAddress!
                    for y in rows {
                        let row = from.baseAddress! + y * width * 3
                        for x in 0..<newWidth {
                            var (r, g, b) = (half, half, half)
                            var pixel = row + taps.first[x] * 3
                            var weight = weights.baseAddress! + x * taps.stride
                            for _ in 0..<taps.count[x] {
                                let w = weight.pointee
                                r &+= w &* Int32(pixel[0])
                                g &+= w &* Int32(pixel[1])
                                b &+= w &* Int32(pixel[2])
                                pixel += 3
                                weight += 1
                            }
                            out[0] = rounded(r)
                            out[1] = rounded(g)
                            out[2] = rounded(b)
                            out += 3
                        }
                    }
                }
            }
        }
        return result
    }

    /// The second pass; the first row of this picture is the row `shift` that the taps speak of.
    private func alongColumns(_ taps: Taps, shift: Int) -> RGBImage {
        let length = width * 3
        var result = RGBImage(width: width, height: taps.first.count)
        var sums = [Int32](repeating: 0, count: length)
        pixels.withUnsafeBufferPointer { from in
            result.pixels.withUnsafeMutableBufferPointer { to in
                sums.withUnsafeMutableBufferPointer { sums in
                    for y in 0..<taps.first.count {
                        sums.update(repeating: half)
                        for tap in 0..<taps.count[y] {
                            let w = taps.weights[y * taps.stride + tap]
                            let row = from.baseAddress! + (taps.first[y] + tap - shift) * length
                            for i in 0..<length { sums[i] &+= w &* Int32(row[i]) }
                        }
                        let out = to.baseAddress! + y * length
                        for i in 0..<length { out[i] = rounded(sums[i]) }
                    }
                }
            }
        }
        return result
    }

    /// Pillow walks along the input by repeated addition, so we do too.
    private func nearest(
        _ newWidth: Int, _ newHeight: Int, _ columns: Range<Int>, _ rows: Range<Int>
    ) -> RGBImage {
        func walk(_ size: Int, _ newSize: Int) -> [Int] {
            let step = Double(size) / Double(newSize)
            var position = step * 0.5
            return (0..<newSize).map { _ in
                defer { position += step }
                return min(Int(position), size - 1)
            }
        }
        let (xs, ys) = (walk(width, newWidth), walk(height, newHeight))
        var result = RGBImage(width: columns.count, height: rows.count)
        pixels.withUnsafeBufferPointer { from in
            result.pixels.withUnsafeMutableBufferPointer { to in
                var target = 0
                for y in rows {
                    for x in columns {
                        let source = (ys[y] * width + xs[x]) * 3
                        to[target] = from[source]
                        to[target + 1] = from[source + 1]
                        to[target + 2] = from[source + 2]
                        target += 3
                    }
                }
            }
        }
        return result
    }
}
