// A 1 among zeros selects a row of a matrix: the bits of the whole product, and only where these are known.

import CMicrokernels
import Kernels
import TestSupport
import Testing

@Suite struct OneHotTests {
    /// Rows times a matrix, and the same product where nobody can know what the rows are.
    private func products(_ rows: [[Float]], _ columns: Int, _ weights: [Float], on device: Device) throws
        -> (
            [UInt32], [UInt32]
        )
    {
        var tape = Tape()
        let terms = rows[0].count
        let shape = ConvolutionShape(
            input: [rows.count, terms, 1, 1], output: [rows.count, columns, 1, 1], kernel: [1, 1],
            strides: [1, 1], pads: [0, 0], dilations: [1, 1], groups: 1)
        let packed = PackedWeights(HostTensor([columns, terms], .floats(weights)), for: shape)
        let x = tape.input(shape.input)
        let known = tape.convolution(x, shape, packed)
        let unknown = tape.convolution(tape.map(WB_MAP_scale, x, a: 1), shape, packed)
        let executor = try device.load(tape, keeping: [known, unknown])
        try rows.flatMap { $0 }.withUnsafeBufferPointer { try executor.write(x, from: $0) }
        try executor.run(0..<tape.steps.count)
        let results = try [known, unknown].map { try executor.memoryOrder($0).map(\.bitPattern) }
        return (results[0], results[1])
    }

    /// A row with a number at each of some places.
    private func row(_ terms: Int, _ numbers: [Int: Float]) -> [Float] {
        (0..<terms).map { numbers[$0] ?? 0 }
    }

    @Test(arguments: [Devices.all[0], Devices.all[1]] + Devices.openCL)
    func selectsTheRow(_ device: TestDevice) throws {
        var random = CounterRandom("one hot")
        let (terms, columns) = (1000, 70)
        var weights = (0..<terms * columns).map { _ in random.float() }
        // Zeros of both signs and the smallest numbers.
        for i in stride(from: 0, to: weights.count, by: 7) {
            weights[i] =
                [-0.0, 0, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, .greatestFiniteMagnitude][
                    i / 7 % 5]
        }
        let hot = [0, 255, 256, 999].map { row(terms, [$0: 1]) }
        let (found, expected) = try products(hot, columns, weights, on: device.device)
        #expect(found == expected)
        for (r, term) in [0, 255, 256, 999].enumerated() {
            #expect(
                (0..<columns).allSatisfy {
                    Float(bitPattern: found[r * columns + $0]) == weights[$0 * terms + term]
                })
        }
        // Not a 1, not one, none, and negative zeros besides.
        let others = [
            row(terms, [3: 2]), row(terms, [3: 1, 900: -1]), row(terms, [:]), row(terms, [5: 1, 6: -0.0]),
            row(terms, [7: .nan]), row(terms, [8: -1]),
        ]
        for rows in others.map({ [$0] }) + [others, [hot[1], others[0]]] {
            let (found, expected) = try products(rows, columns, weights, on: device.device)
            #expect(found.map(isNaN) == expected.map(isNaN))
            #expect(zip(found, expected).allSatisfy { $0 == $1 || isNaN($0) })
        }
        // An infinite weight reaches every row of the product.
        weights[5 * terms + 17] = .infinity
        let (all, same) = try products(hot, columns, weights, on: device.device)
        #expect(all.map(isNaN) == same.map(isNaN) && all.contains(where: isNaN))
    }

    private func isNaN(_ bits: UInt32) -> Bool { Float(bitPattern: bits).isNaN }
}
