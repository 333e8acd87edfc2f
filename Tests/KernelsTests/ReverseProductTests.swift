// Products with the transpose of a packed matrix: the bits of the convolution with the transposed matrix. A 1 among zeros selects a
// row of it: the bits of the whole product, and only where these are known.

import CMicrokernels
import Kernels
import TestSupport
import Testing

@Suite struct ReverseProductTests {
    /// The convolution that makes columns of terms.
    private func shape(_ rows: Int, _ columns: Int, _ terms: Int) -> ConvolutionShape {
        ConvolutionShape(
            input: [rows, terms, 1, 1], output: [rows, columns, 1, 1], kernel: [1, 1],
            strides: [1, 1], pads: [0, 0], dilations: [1, 1], groups: 1)
    }

    /// Sizes around tiles, panels and chunks, and any others.
    @Test(arguments: 0..<40)
    func isTheTransposedProduct(_ seed: Int) throws {
        var random = SeededRandom("reverse \(seed)")
        func pick(_ sizes: [Int], below: Int) -> Int {
            seed % 2 == 0 ? sizes[random.index(below: sizes.count)] : 1 + random.index(below: below)
        }
        let rows = pick([1, 3, 4, 5, 8, 9, 17], below: 20)
        let columns = pick([1, 31, 32, 33, 255, 256, 257, 289, 512, 600], below: 700)
        let terms = pick([1, 15, 16, 17, 31, 32, 33, 64, 65, 100], below: 130)
        let x = (0..<rows * columns).map { _ in random.float(-1, 1) }
        let w = (0..<columns * terms).map { _ in random.float(-1, 1) }
        var tape = Tape()
        let dy = tape.input([rows, columns])
        let shape = shape(rows, columns, terms)
        let matrix = HostTensor([columns, terms], .floats(w))
        let found = tape.reverseProduct(dy, PackedWeights(matrix, for: shape), terms: terms)
        let expected = tape.convolution(
            tape.view(dy, as: shape.transposed.input), shape.transposed,
            PackedWeights(transposing: matrix, of: shape))
        for device in Devices.all {
            let executor = try device.device.load(tape, keeping: [found, expected])
            try x.withUnsafeBufferPointer { try executor.write(dy, from: $0) }
            try executor.run(0..<tape.steps.count)
            let numbers = try executor.memoryOrder(found)
            let difference = bitDifference(numbers, try executor.memoryOrder(expected))
            #expect(difference == nil, "\(device), \(rows)×\(columns)×\(terms)")
            for (row, term) in [(0, 0), (rows - 1, terms - 1), (rows / 2, terms / 2)] {
                let exact = (0..<columns).reduce(0.0) {
                    $0 + Double(x[row * columns + $1]) * Double(w[$1 * terms + term])
                }
                #expect(
                    abs(Double(numbers[row * terms + term]) - exact) < 1e-5 * Double(columns).squareRoot())
            }
        }
    }

    /// The limit of work must not count a gradient differently for the order in which its weights are stored.
    @Test func weighsAsMuchAsTheConvolution() throws {
        let shape = shape(3, 40, 50)
        let matrix = HostTensor([40, 50], .floats([Float](repeating: 1, count: 2000)))
        var tape = Tape()
        let dy = tape.input([3, 40])
        _ = tape.reverseProduct(dy, PackedWeights(matrix, for: shape), terms: 50)
        _ = tape.convolution(
            tape.view(dy, as: shape.transposed.input), shape.transposed,
            PackedWeights(transposing: matrix, of: shape))
        let steps = tape.steps
        try #require(steps.count == 2 && steps[0] is ReverseProduct)
        #expect(steps[0].weight == steps[1].weight)
        #expect(steps[0].operations == steps[1].operations)
    }

    /// Rows times a matrix, and the same product where nobody can know what the rows are.
    /// - Parameter weights: [columns, terms].
    private func products(_ rows: [[Float]], _ terms: Int, _ weights: [Float], on device: Device) throws
        -> ([UInt32], [UInt32])
    {
        var tape = Tape()
        let columns = rows[0].count
        let packed = PackedWeights(
            HostTensor([columns, terms], .floats(weights)), for: shape(rows.count, columns, terms))
        let x = tape.input([rows.count, columns])
        let known = tape.reverseProduct(x, packed, terms: terms)
        let unknown = tape.reverseProduct(tape.map(WB_MAP_scale, x, a: 1), packed, terms: terms)
        let executor = try device.load(tape, keeping: [known, unknown])
        try rows.flatMap { $0 }.withUnsafeBufferPointer { try executor.write(x, from: $0) }
        try executor.run(0..<tape.steps.count)
        let results = try [known, unknown].map { try executor.memoryOrder($0).map(\.bitPattern) }
        return (results[0], results[1])
    }

    /// A row with a number at each of some places.
    private func row(_ columns: Int, _ numbers: [Int: Float]) -> [Float] {
        (0..<columns).map { numbers[$0] ?? 0 }
    }

    @Test(arguments: [Devices.all[0], Devices.all[1]] + Devices.openCL)
    func selectsTheRow(_ device: TestDevice) throws {
        var random = SeededRandom("one hot")
        let (columns, terms) = (1000, 70)
        var weights = (0..<columns * terms).map { _ in random.float() }
        // Zeros of both signs and the smallest numbers.
        for i in stride(from: 0, to: weights.count, by: 7) {
            weights[i] =
                [-0.0, 0, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, .greatestFiniteMagnitude][
                    i / 7 % 5]
        }
        let hot = [0, 255, 256, 999].map { row(columns, [$0: 1]) }
        let (found, expected) = try products(hot, terms, weights, on: device.device)
        #expect(found == expected)
        for (r, column) in [0, 255, 256, 999].enumerated() {
            #expect(
                (0..<terms).allSatisfy {
                    Float(bitPattern: found[r * terms + $0]) == weights[column * terms + $0]
                })
        }
        // Not a 1, not one, none, and negative zeros besides.
        let others = [
            row(columns, [3: 2]), row(columns, [3: 1, 900: -1]), row(columns, [:]),
            row(columns, [5: 1, 6: -0.0]),
            row(columns, [7: .nan]), row(columns, [8: -1]),
        ]
        for rows in others.map({ [$0] }) + [others, [hot[1], others[0]]] {
            let (found, expected) = try products(rows, terms, weights, on: device.device)
            #expect(found.map(isNaN) == expected.map(isNaN))
            #expect(zip(found, expected).allSatisfy { $0 == $1 || isNaN($0) })
        }
        // An infinite weight reaches every row of the product.
        weights[17 * terms + 5] = .infinity
        let (all, same) = try products(hot, terms, weights, on: device.device)
        #expect(all.map(isNaN) == same.map(isNaN) && all.contains(where: isNaN))
    }

    private func isNaN(_ bits: UInt32) -> Bool { Float(bitPattern: bits).isNaN }
}
