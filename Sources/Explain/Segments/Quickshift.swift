// Quickshift: each pixel goes to the nearest one around it where pixels are denser, and all that end at the same pixel are a segment.

import Dispatch

/// Vedaldi and Soatto, “Quick Shift and Kernel Methods for Mode Seeking”, ECCV 2008, as scikit-image 0.26 has it (`quickshift`): the
/// distance d of two pixels is that of their L*a*b* colours times `ratio`, and of their places, together; the density of a pixel is Σ exp(−d²/2k²)
/// over the pixels at most ⌈3k⌉ rows and columns away; its parent is the nearest of them that is denser, if that is at most `farthest` away.
///
/// Noise with a standard deviation of 10⁻⁵ decides between equal densities; it is ours (`CounterRandom`), not NumPy's, so that where
/// colours are all the same, and only there, the segments are others.
package struct Quickshift: Sendable {
    package let kernel: Float, farthest: Float, ratio: Float
    package let seed: UInt64

    package init(kernel: Float, farthest: Float, ratio: Float, seed: UInt64) {
        (self.kernel, self.farthest, self.ratio, self.seed) = (kernel, farthest, ratio, seed)
    }

    /// - Returns: the segment of each pixel, row by row, counted from 0 in the order of the pixels where they end.
    package func labels(_ picture: ViewedColours) -> [Int] {
        let (height, width, channels) = (picture.height, picture.width, picture.channels)
        let (cells, reach) = (height * width, Int((3 * kernel).rounded(.up)))
        // Channel by channel, so that neighbours in a row are neighbours in memory.
        let lab = picture.lab
        let colours = (0..<channels * cells).map { Double(ratio) * lab[$0 % cells * channels + $0 / cells] }
        let random = CounterRandom(seed: seed, stream: CounterRandom.Stream.ties)
        var densities = random.normals(cells, sample: 0).map { 1e-5 * Double($0) }
        var parents = Array(0..<cells)
        let scale = -0.5 / (Double(kernel) * Double(kernel))
        let farthest = Double(farthest)

        /// Calls `body` with each row and, in the order of the pixels, each of the offsets (dy, dx) within reach, the columns that have a pixel there,
        /// and the squared distances to those.
        @Sendable func each(
            _ body:
                @Sendable (
                    _ row: Int, _ dy: Int, _ dx: Int, _ columns: Range<Int>,
                    _ squares: UnsafeMutablePointer<Double>
                ) -> Void
        ) {
            DispatchQueue.concurrentPerform(iterations: height) { row in
                withUnsafeTemporaryAllocation(of: Double.self, capacity: width) { buffer in
                    let squares = buffer.baseAddress!
                    colours.withUnsafeBufferPointer { colours in
                        for dy in max(-reach, -row)...min(reach, height - 1 - row) {
                            for dx in -min(reach, width - 1)...min(reach, width - 1) {
                                let columns = max(0, -dx)..<min(width, width - dx)
                                let place = Double(dy * dy + dx * dx)
                                for c in columns { squares[c] = 0 }
                                for channel in 0..<channels {
                                    let here = colours.baseAddress! + channel * cells + row * width
                                    let there = here + dy * width + dx
                                    for c in columns {
                                        let t = here[c] - there[c]
                                        squares[c] += t * t
                                    }
                                }
                                for c in columns { squares[c] += place }
                                body(row, dy, dx, columns, squares)
                            }
                        }
                    }
                }
            }
        }

        densities.withUnsafeMutableBufferPointer { densities in
            // Each row writes its own.
            nonisolated(unsafe) let own = densities.baseAddress!
            each { row, _, _, columns, squares in
                let line = own + row * width
                for c in columns { line[c] += expOfNegative(squares[c] * scale) }
            }
        }
        var nearest = [Double](repeating: .infinity, count: cells)
        densities.withUnsafeBufferPointer { known in
            parents.withUnsafeMutableBufferPointer { parents in
                nearest.withUnsafeMutableBufferPointer { nearest in
                    nonisolated(unsafe) let densities = known.baseAddress!
                    nonisolated(unsafe) let (parents, nearest) = (parents.baseAddress!, nearest.baseAddress!)
                    each { row, dy, dx, columns, squares in
                        for c in columns {
                            let (here, there) = (row * width + c, (row + dy) * width + c + dx)
                            if densities[there] > densities[here], squares[c] < nearest[here] {
                                nearest[here] = squares[c]
                                parents[here] = there
                            }
                        }
                    }
                }
            }
        }
        // A pixel that is its own parent has none nearby that is denser.
        for i in 0..<cells where nearest[i].squareRoot() > farthest { parents[i] = i }
        return roots(parents)
    }

    /// The segments of a forest, counted in the order of their roots.
    private func roots(_ parents: [Int]) -> [Int] {
        var parents = parents
        var changes = true
        while changes {
            let next = parents.map { parents[$0] }
            changes = next != parents
            parents = next
        }
        var label: [Int: Int] = [:]
        for root in parents.indices where parents[root] == root { label[root] = label.count }
        return parents.map { label[$0]! }
    }
}

/// eˣ of x ≤ 0 within 2 units in the last place, from + and × alone, so that it is the same everywhere; 0 below −700.
@inline(__always) package func expOfNegative(_ x: Double) -> Double {
    // x = n ln 2 + r; n lies in the last bits of n + 1.5 · 2⁵², and r in ±0.35.
    let shifted = max(x, -700) * 1.4426950408889634 + 0x1.8p52
    let n = shifted - 0x1.8p52
    let r = (max(x, -700) - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33
    // Taylor's series to r¹³ / 13!.
    var p = 1 / 6_227_020_800.0
    p = p * r + 1 / 479_001_600.0
    p = p * r + 1 / 39_916_800.0
    p = p * r + 1 / 3_628_800.0
    p = p * r + 1 / 362_880.0
    p = p * r + 1 / 40_320.0
    p = p * r + 1 / 5_040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1
    p = p * r + 1
    let scaled = Double(bitPattern: p.bitPattern &+ shifted.bitPattern << 52)
    return x < -700 ? 0 : scaled
}
