// Random numbers that are the same in every run: number i of stream s is a function of s and i.

package struct SeededRandom: RandomNumberGenerator, Sendable {
    private let stream: UInt64
    private var counter: UInt64 = 0

    package init(_ stream: UInt64) { self.stream = SeededRandom.mix(stream &+ 0x9e37_79b9_7f4a_7c15) }

    /// A stream of its own for each name.
    package init(_ name: String) {
        self.init(name.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 })
    }

    package mutating func next() -> UInt64 {
        counter += 1
        return SeededRandom.mix(stream ^ (counter &* 0x9e37_79b9_7f4a_7c15))
    }

    /// SplitMix64's finaliser.
    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// Uniform between the bounds, with all bits of the significand used.
    package mutating func float(_ low: Float = -1, _ high: Float = 1) -> Float {
        low + (high - low) * Float(next() >> 40) * 0x1p-24
    }

    package mutating func index(below count: Int) -> Int { Int(next() % UInt64(count)) }
}
