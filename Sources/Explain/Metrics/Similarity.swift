// How alike two maps are.

import Imaging

/// Measures of two maps of the same size.
package enum Similarity {
    /// Pearson's correlation; nil if one of them is the same everywhere.
    package static func correlation(_ a: [Float], _ b: [Float]) -> Double? {
        precondition(a.count == b.count)
        let n = Double(a.count)
        let (meanA, meanB) = (a.reduce(0.0) { $0 + Double($1) } / n, b.reduce(0.0) { $0 + Double($1) } / n)
        var (ab, aa, bb) = (0.0, 0.0, 0.0)
        for i in a.indices {
            let (x, y) = (Double(a[i]) - meanA, Double(b[i]) - meanB)
            (ab, aa, bb) = (ab + x * y, aa + x * x, bb + y * y)
        }
        let product = aa.squareRoot() * bb.squareRoot()
        return product > 0 && product.isFinite ? max(-1, min(1, ab / product)) : nil
    }

    /// SIM: Σ min(a / Σ a, b / Σ b) of maps that are nowhere below 0 (Judd, Durand, Torralba 2012); nil if one is 0 everywhere.
    package static func overlap(_ a: [Float], _ b: [Float]) -> Double? {
        let (sumA, sumB) = (a.reduce(0.0) { $0 + Double($1) }, b.reduce(0.0) { $0 + Double($1) })
        guard sumA > 0, sumB > 0, sumA.isFinite, sumB.isFinite else { return nil }
        return zip(a, b).reduce(0) { $0 + min(Double($1.0) / sumA, Double($1.1) / sumB) }
    }

    /// SSIM of maps 0 … 1: Gaussian windows of σ = 1.5 that reach 5 pixels, the mean over those that lie inside (Wang et al. 2004, equation 13).
    package static func structure(_ a: [Float], _ b: [Float], height: Int, width: Int) -> Double {
        let reach = min(5, (min(height, width) - 1) / 2)
        let blur = GaussianBlur(sigma: 1.5, reach: reach)
        func blurred(_ plane: [Float]) -> [Float] { blur.applied(to: plane, height: height, width: width) }
        let (meanA, meanB) = (blurred(a), blurred(b))
        let (aa, bb) = (blurred(a.map { $0 * $0 }), blurred(b.map { $0 * $0 }))
        let ab = blurred(zip(a, b).map { $0 * $1 })
        let (c1, c2) = (0.01 * 0.01, 0.03 * 0.03)
        var (sum, count) = (0.0, 0)
        for y in reach..<height - reach {
            for x in reach..<width - reach {
                let i = y * width + x
                let (p, q) = (Double(meanA[i]), Double(meanB[i]))
                let (varianceA, varianceB) = (Double(aa[i]) - p * p, Double(bb[i]) - q * q)
                let covariance = Double(ab[i]) - p * q
                sum +=
                    (2 * p * q + c1) * (2 * covariance + c2)
                    / ((p * p + q * q + c1) * (varianceA + varianceB + c2))
                count += 1
            }
        }
        return sum / Double(count)
    }

    /// The share of the most important tenth of the pixels of one that is also among those of the other.
    /// - Parameter places: of each pixel in a map's ranking.
    package static func commonTenth(_ a: [Int32], _ b: [Int32]) -> Double {
        let tenth = Int32(max(1, (a.count + 9) / 10))
        let common = zip(a, b).count { $0 < tenth && $1 < tenth }
        return Double(common) / Double(tenth)
    }

    /// Spearman's correlation: Pearson's of ranks, equals sharing theirs; nil if one is the same everywhere.
    package static func rankCorrelation(_ a: [Float], _ b: [Float]) -> Double? {
        correlation(ranks(a), ranks(b))
    }

    private static func ranks(_ values: [Float]) -> [Float] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Float](repeating: 0, count: values.count)
        var begin = 0
        while begin < order.count {
            var end = begin + 1
            while end < order.count, values[order[end]] == values[order[begin]] { end += 1 }
            let rank = Float(begin + end - 1) / 2
            for i in begin..<end { ranks[order[i]] = rank }
            begin = end
        }
        return ranks
    }
}
