// The kernels that measure what a device can do.

import Kernels
import TestSupport
import Testing

@Suite struct PeakTests {
    /// After n steps of s = s / 2 + 1 a sum lies at 2 + (s₀ − 2) / 2ⁿ: exactly, while there are bits enough for it.
    @Test(arguments: [(512, 4), (768, 9), (256 * 33, 1)])
    func computesWhatItSays(count: Int, rounds: Int) throws {
        var tape = Tape()
        let y = tape.peak(count: count, rounds: rounds)
        let divisor = Float(1 << rounds)
        let expected = (0..<count).map { i in 2 + (Float(i % 256) - 2) / divisor }
        for device in Devices.all {
            let executor = try device.device.load(tape, keeping: [y])
            try executor.run(0..<1)
            #expect(try executor.memoryOrder(y) == expected, "\(device)")
        }
    }

    @Test func addsWhatItStreams() throws {
        let count = 256 * 33
        var tape = Tape()
        let (a, b) = (tape.input([count]), tape.input([count]))
        let y = tape.stream(a, b)
        let numbers = (0..<count).map { Float($0) / 3 }
        for device in Devices.all {
            let executor = try device.device.load(tape, keeping: [y])
            for (value, values) in [(a, numbers), (b, numbers.reversed())] {
                try values.withUnsafeBufferPointer { try executor.write(value, from: $0) }
            }
            try executor.run(0..<1)
            #expect(try executor.memoryOrder(y) == zip(numbers, numbers.reversed()).map(+), "\(device)")
        }
    }

    @Test func measures() throws {
        let devices = [Devices.cpus[0]] + Devices.openCL.prefix(1)
        for device in devices {
            let peak = try device.device.peak()
            #expect(peak.gflops.isFinite && peak.gflops > 0.01, "\(device)")
            #expect(peak.gigabytesPerSecond.isFinite && peak.gigabytesPerSecond > 0.01, "\(device)")
        }
    }
}
