// Small computations whose results are known exactly: a network of one convolution, its maps and gradients, and FEM.

import Kernels
import TestSupport
import Testing

@Suite struct ExactNumberTests {
    /// Conv(1→2, 3×3, weights 1, bias −50, −75) → Relu → Flatten → Gemm(8→4, rows 1 1 1 1 1 −1 −1 −1) → Relu, of 0 … 15.
    @Test(arguments: Devices.all)
    func oneConvolution(_ device: TestDevice) throws {
        let attributes = Attributes(opset: 13)
        let (conv, relu, flatten) = (try Conv(attributes), try Relu(attributes), try Flatten(attributes))
        let gemm = try Gemm(Attributes(opset: 13, ["transB": .int(1)]))
        let rows: [Float] = [1, 1, 1, 1, 1, -1, -1, -1]
        func ones(_ shape: Shape) -> Operand {
            .host(HostTensor(shape, .floats(Array(repeating: 1, count: shape.count))))
        }

        var tape = Tape()
        let x = tape.input([1, 1, 4, 4])
        let seed = tape.input([1, 4])
        let inputs: [[Operand?]] = [
            [.value(x), ones([2, 1, 3, 3]), .host(HostTensor([2], .floats([-50, -75])))]
        ]
        let a = try conv.forward(&tape, inputs[0], outputs: 1)[0]
        let b = try relu.forward(&tape, [a], outputs: 1)[0]
        let c = try flatten.forward(&tape, [b], outputs: 1)[0]
        let weights: [Operand?] = [
            c, .host(HostTensor([4, 8], .floats(rows + rows + rows + rows))),
            .host(HostTensor([4], .floats([0, 0, 0, 0]))),
        ]
        let d = try gemm.forward(&tape, weights, outputs: 1)[0]
        let e = try relu.forward(&tape, [d], outputs: 1)[0]

        /// The cotangent of the first input.
        func back(_ op: any Operator, _ inputs: [Operand?], _ output: Operand, _ dy: Value) throws -> Value {
            let node = LoweredNode(inputs: inputs, outputs: [output])
            return try #require(try op.vjp(&tape, node, cotangents: [dy], wanted: [0])[0])
        }
        let gd = try back(relu, [d], e, seed)
        let gc = try back(gemm, weights, d, gd)
        let gb = try back(flatten, [b], c, gc)
        let ga = try back(relu, [a], b, gb)
        let gx = try back(conv, inputs[0], a, ga)

        let (va, vb, ve) = (try tape.value(a), try tape.value(b), try tape.value(e))
        let atConv = tape.spatialMean(ga)
        let atRelu = tape.spatialMean(gb)
        let camAtConv = tape.channelMap(va, weights: atConv, clip: false)
        let camAtRelu = tape.channelMap(vb, weights: atRelu, clip: true)
        let negative = tape.channelMap(va, weights: tape.fill([1, 2, 1, 1], with: -1), clip: true)
        let all: [(String, Value, [Float])] = [
            ("convolution", va, [-5, 4, 31, 40, -30, -21, 6, 15]), ("score", ve, [54, 54, 54, 54]),
            ("gradient at the convolution", ga, [0, 1, 1, 1, 0, 0, -1, -1]),
            ("gradient at the ReLU", gb, [1, 1, 1, 1, 1, -1, -1, -1]),
            ("Grad-CAM's weights at the convolution", atConv, [0.75, -0.5]),
            ("Grad-CAM's weights at the ReLU", atRelu, [1, -0.5]),
            ("Grad-CAM at the convolution, not clipped", camAtConv, [11.25, 13.5, 20.25, 22.5]),
            ("Grad-CAM at the ReLU", camAtRelu, [0, 4, 28, 32.5]),
            ("a map clipped at 0", negative, [35, 17, 0, 0]),
            ("gradient", gx, [0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0]),
        ]
        let expected = all.map { ($0.0, tape.dense($0.1), $0.2) }
        let executor = try device.device.load(tape, keeping: expected.map(\.1))
        for (value, numbers) in [(x, (0..<16).map(Float.init)), (seed, [1, 0, 0, 0])] as [(Value, [Float])] {
            try numbers.withUnsafeBufferPointer { try executor.write(value, from: $0) }
        }
        try executor.run(0..<tape.steps.count)
        for (name, value, numbers) in expected {
            #expect(tape.shape(value).rowMajor(try executor.memoryOrder(value)) == numbers, "\(name)")
        }
    }

    /// A constant channel never exceeds its mean; the mean of the other is 1, and it does in one cell.
    @Test(arguments: Devices.all)
    func fem(_ device: TestDevice) throws {
        var tape = Tape()
        let x = tape.input([2, 2, 2, 2])
        let map = tape.femMap(x, k: 1)
        let blank = tape.femMap(x, k: 2)
        let executor = try device.device.load(tape, keeping: [map, blank])
        let image: [Float] = [1, 1, 1, 1, 0, 0, 0, 4]
        let other: [Float] = [0, 8, 0, 0, 12, 0, 0, 0]
        try tape.shape(x).memoryOrder(image + other).withUnsafeBufferPointer {
            try executor.write(x, from: $0)
        }
        try executor.run(0..<tape.steps.count)
        #expect(try executor.memoryOrder(map) == [0, 0, 0, 1, 3, 2, 0, 0])
        #expect(
            try executor.memoryOrder(blank).allSatisfy { $0 == 0 }, "√3 is the largest z-score of four cells."
        )
    }

    /// Maps of many channels and cells against double precision, and equal on all devices.
    @Test func mapsOfManyChannels() throws {
        let (n, c, h, w) = (2, 515, 5, 7)
        var random = SeededRandom("maps")
        var tape = Tape()
        let x = tape.input([n, c, h, w])
        let weights = tape.input([n, c, 1, 1])
        let kept = [
            tape.channelMap(x, weights: weights, clip: false),
            tape.channelMap(x, weights: weights, clip: true), tape.femMap(x, k: 1),
        ]
        let a = (0..<(n * c * h * w)).map { _ in max(0, random.float()) }
        let b = (0..<(n * c)).map { _ in random.float() }
        func run(_ device: TestDevice) throws -> [[Float]] {
            let executor = try device.device.load(tape, keeping: kept)
            for (value, numbers) in [(x, tape.shape(x).memoryOrder(a)), (weights, b)] as [(Value, [Float])] {
                try numbers.withUnsafeBufferPointer { try executor.write(value, from: $0) }
            }
            try executor.run(0..<tape.steps.count)
            return try kept.map(executor.memoryOrder)
        }
        let results = try run(Devices.all[0])
        for device in Devices.all.dropFirst() {
            for (p, q) in zip(results, try run(device)) { #expect(bitDifference(p, q) == nil, "\(device)") }
        }
        let cells = h * w
        for i in 0..<n {
            var fem = [Double](repeating: 0, count: cells)
            var cam = fem
            for k in 0..<c {
                let channel = (0..<cells).map { Double(a[(i * c + k) * cells + $0]) }
                let mean = channel.reduce(0, +) / Double(cells)
                let deviation = (channel.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(cells))
                    .squareRoot()
                for p in 0..<cells {
                    if channel[p] > mean + deviation { fem[p] += mean }
                    cam[p] += Double(b[i * c + k]) * channel[p]
                }
            }
            for p in 0..<cells {
                #expect(abs(Double(results[0][i * cells + p]) - cam[p]) < 1e-4)
                #expect(results[1][i * cells + p] == max(results[0][i * cells + p], 0))
                #expect(abs(Double(results[2][i * cells + p]) - fem[p]) < 1e-3)
            }
        }
    }
}
