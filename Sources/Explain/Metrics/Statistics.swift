// What measurements of many pictures say together: means with intervals, and whether two methods differ.

/// A mean and where it may lie.
package struct Estimate: Sendable, Equatable {
    package let mean: Double
    /// The 95 % confidence interval of the mean.
    package let low: Double, high: Double
    /// Of how many pictures.
    package let count: Int
}

package enum Statistics {
    /// Pictures are drawn anew so many times.
    package static let resamples = 2000
    /// Of more pictures than that the interval is the mean ± 1.96 standard errors, which then differs from the other in no digit that counts.
    package static let mostResampled = 5000

    /// The mean and its percentile bootstrap interval (Efron 1979), of pictures drawn with replacement; nil of none.
    ///
    /// Which pictures are drawn depends on the seed and on how many there are, so that methods measured on the same pictures are compared on
    /// the same draws.
    package static func estimate(_ values: [Double], seed: UInt64) -> Estimate? {
        guard !values.isEmpty else { return nil }
        let n = values.count
        let mean = values.reduce(0, +) / Double(n)
        guard n > 1 else { return Estimate(mean: mean, low: mean, high: mean, count: 1) }
        guard n <= mostResampled else {
            let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n - 1)
            let half = 1.96 * (variance / Double(n)).squareRoot()
            return Estimate(mean: mean, low: mean - half, high: mean + half, count: n)
        }
        let random = CounterRandom(seed: seed, stream: CounterRandom.Stream.bootstrap)
        var means: [Double] = []
        means.reserveCapacity(resamples)
        for sample in 0..<resamples {
            var sum = 0.0
            for place in 0..<(n + 3) / 4 {
                let words = random.words(sample: sample, place: place)
                for i in 0..<min(4, n - 4 * place) { sum += values[CounterRandom.index(words[i], below: n)] }
            }
            means.append(sum / Double(n))
        }
        means.sort()
        let cut = resamples / 40
        return Estimate(mean: mean, low: means[cut], high: means[resamples - 1 - cut], count: n)
    }

    /// The two-sided p of a paired test by exchanged signs (Fisher 1935): how often the sum of the differences is as far from 0 as it is if each might as well have
    /// the other sign. Of at most 12 pictures that differ all signs are tried, else 4999 at random. 1 where nothing differs.
    package static func pairedTest(_ a: [Double], _ b: [Double], seed: UInt64) -> Double {
        precondition(a.count == b.count)
        let differences = zip(a, b).map { $0 - $1 }.filter { $0 != 0 }
        let n = differences.count
        guard n > 0 else { return 1 }
        // Rounding must not make equal sums different.
        let own = abs(differences.reduce(0, +)) * (1 - 1e-12)
        if n <= 12 {
            let all = 1 << n
            let count = (0..<all).count { signs in
                var sum = 0.0
                for (i, d) in differences.enumerated() { sum += signs >> i & 1 == 0 ? d : -d }
                return abs(sum) >= own
            }
            return Double(count) / Double(all)
        }
        let random = CounterRandom(seed: seed, stream: CounterRandom.Stream.signs)
        let tries = 4999
        let count = (0..<tries).count { sample in
            var sum = 0.0
            for place in 0..<(n + 127) / 128 {
                let words = random.words(sample: sample, place: place)
                for word in 0..<4 {
                    let begin = 128 * place + 32 * word
                    for i in begin..<max(begin, min(n, begin + 32)) {
                        sum += words[word] >> UInt32(i - begin) & 1 == 0 ? differences[i] : -differences[i]
                    }
                }
            }
            return abs(sum) >= own
        }
        return Double(count + 1) / Double(tries + 1)
    }

    /// Holm's correction (1979) of several tests.
    package static func corrected(_ p: [Double]) -> [Double] {
        let order = p.indices.sorted { p[$0] < p[$1] }
        var result = p
        var least = 0.0
        for (rank, i) in order.enumerated() {
            least = max(least, min(1, p[i] * Double(p.count - rank)))
            result[i] = least
        }
        return result
    }
}
