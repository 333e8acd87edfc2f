// Random numbers by counter: number i of sample n is the same wherever, and in whatever order, it is drawn.

import CMicrokernels

/// Philox 4×32 with 10 rounds (Salmon, Moraes, Dror, Shaw: “Parallel Random Numbers: As Easy as 1, 2, 3”, SC 2011): a function of a key
/// and of a counter of 128 bits, of which a quarter tells what the numbers are for, a quarter the sample, and a quarter the place in it.
package struct CounterRandom: Sendable {
    /// What numbers are for; no two uses have the same.
    package enum Stream {
        package static let randomCAM: UInt32 = 1
        package static let ssCAM: UInt32 = 2
        package static let rise: UInt32 = 3
        package static let lime: UInt32 = 0x4C49_4D45
        package static let kernelSHAP: UInt32 = 0x5348_4150
        package static let expectedGradients: UInt32 = 0x4558_5045
        /// Of SmoothGrad and its kin.
        package static let noise: UInt32 = 0x534D_4F4F
        /// Squares of infidelity, noise of ROAD, and of those that measure how stable maps are.
        package static let infidelity: UInt32 = 0x494E_4649
        package static let road: UInt32 = 0x524F_4144
        package static let sensitivity: UInt32 = 0x5345_4E53
        /// Of summaries: resampled pictures, and signs that are exchanged.
        package static let bootstrap: UInt32 = 0x424F_4F54
        package static let signs: UInt32 = 0x5349_474E
        /// Weights that take the place of trained ones.
        package static let weights: UInt32 = 0x5745_4947
        /// Which of equally dense pixels quickshift takes for denser.
        package static let ties: UInt32 = 0x5449_4553
    }

    private let key: (UInt32, UInt32)
    private let stream: UInt32

    /// - Parameter stream: what the numbers are for; each use has its own.
    package init(seed: UInt64, stream: UInt32) {
        key = (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
        self.stream = stream
    }

    /// The function itself.
    package static func philox(
        _ counter: SIMD4<UInt32>, key: (UInt32, UInt32)
    ) -> SIMD4<UInt32> {
        var (x, k) = (counter, key)
        for round in 0..<10 {
            if round > 0 { k = (k.0 &+ 0x9E37_79B9, k.1 &+ 0xBB67_AE85) }
            let a = x[0].multipliedFullWidth(by: 0xD251_1F53)
            let b = x[2].multipliedFullWidth(by: 0xCD9E_8D57)
            x = SIMD4(b.high ^ x[1] ^ k.0, b.low, a.high ^ x[3] ^ k.1, a.low)
        }
        return x
    }

    /// Four words.
    package func words(sample: Int, place: Int, attempt: Int = 0) -> SIMD4<UInt32> {
        CounterRandom.philox(
            SIMD4(
                UInt32(truncatingIfNeeded: place), UInt32(truncatingIfNeeded: sample), stream,
                UInt32(truncatingIfNeeded: attempt)), key: key)
    }

    /// 0 ≤ x < 1, a multiple of 2⁻²⁴.
    package static func uniform(_ word: UInt32) -> Float { Float(word >> 8) * 0x1p-24 }

    /// `count` numbers of a sample, each 0 ≤ x < 1.
    package func uniforms(_ count: Int, sample: Int) -> [Float] {
        var result: [Float] = []
        result.reserveCapacity(count + 3)
        for place in 0..<(count + 3) / 4 {
            let words = words(sample: sample, place: place)
            for i in 0..<4 { result.append(CounterRandom.uniform(words[i])) }
        }
        return Array(result.prefix(count))
    }

    /// `count` numbers of a sample with the standard normal distribution, by Marsaglia's polar method.
    package func normals(_ count: Int, sample: Int) -> [Float] {
        [Float](unsafeUninitializedCapacity: count) { out, initialised in
            for pair in 0..<(count + 1) / 2 {
                var attempt = 0
                while true {
                    let words = words(sample: sample, place: pair, attempt: attempt)
                    attempt += 1
                    // −1 < u, v < 1, symmetric about 0.
                    let u = (Float(words[0] >> 9) + 0.5) * 0x1p-22 - 1
                    let v = (Float(words[1] >> 9) + 0.5) * 0x1p-22 - 1
                    let s = u * u + v * v
                    guard s < 1, s > 0 else { continue }
                    let factor = wb_host_sqrt(wb_host_div(-2 * wb_host_log(s), s))
                    out[2 * pair] = u * factor
                    if 2 * pair + 1 < count { out[2 * pair + 1] = v * factor }
                    break
                }
            }
            initialised = count
        }
    }

    /// A whole number 0 ≤ x < `count`.
    package static func index(_ word: UInt32, below count: Int) -> Int {
        Int(word.multipliedFullWidth(by: UInt32(count)).high)
    }
}

/// The mean of samples and its standard error, number by number (Welford 1962). It depends on the order of the samples, and on nothing
/// else.
package struct SampleMean: Sendable {
    package private(set) var count = 0
    package private(set) var mean: [Double]
    private var squares: [Double]

    package init(_ numbers: Int) {
        (mean, squares) = (Array(repeating: 0, count: numbers), Array(repeating: 0, count: numbers))
    }

    package mutating func add(_ sample: [Float], times weight: Float = 1) {
        sample.withUnsafeBufferPointer { add($0, times: weight) }
    }

    package mutating func add(_ sample: UnsafeBufferPointer<Float>, times weight: Float = 1) {
        precondition(sample.count == mean.count)
        count += 1
        let share = 1 / Double(count)
        mean.withUnsafeMutableBufferPointer { mean in
            squares.withUnsafeMutableBufferPointer { squares in
                for i in sample.indices {
                    let x = Double(sample[i]) * Double(weight)
                    let difference = x - mean[i]
                    mean[i] += difference * share
                    squares[i] += difference * (x - mean[i])
                }
            }
        }
    }

    /// The mean.
    package var values: [Float] { mean.map(Float.init) }
    /// Of the samples, with n − 1 in the denominator; 0 of fewer than two.
    package var variance: [Double] { squares.map { count < 2 ? 0 : $0 / Double(count - 1) } }
    /// Of the mean: √(variance / n).
    package var sampleError: [Float] { variance.map { Float(($0 / Double(max(count, 1))).squareRoot()) } }
}
