// The documented order of the terms, written out once more in Swift: sums must have exactly these bits, not only the same ones
// everywhere, so that a version of the program can be compared with the next.

import Kernels
import TestSupport
import Testing

@Suite struct OrderTests {
    /// Chunks of 256 terms, each from +0 by fused multiply-adds, added in ascending order.
    private func product(_ terms: [(Float, Float)]) -> Float {
        let chunks = stride(from: 0, to: terms.count, by: 256).map { start in
            terms[start..<min(start + 256, terms.count)].reduce(Float(0)) { $0.addingProduct($1.0, $1.1) }
        }
        return chunks.dropFirst().reduce(chunks[0], +)
    }

    /// Sixteen lanes, then halves onto halves.
    private func tree(_ terms: [Float]) -> Float {
        var lanes = [Float](repeating: 0, count: 16)
        for (i, term) in terms.enumerated() { lanes[i % 16] += term }
        for half in [8, 4, 2, 1] { for i in 0..<half { lanes[i] += lanes[i + half] } }
        return lanes[0]
    }

    private func numbers(_ count: Int, _ name: String) -> [Float] {
        var random = SeededRandom(name)
        return (0..<count).map { _ in random.float() }
    }

    private func run(_ tape: Tape, _ x: Value, _ rowMajor: [Float], _ y: Value, _ device: TestDevice) throws
        -> [Float]
    {
        var tape = tape
        let y = tape.dense(y)
        let executor = try device.device.load(tape, keeping: [y])
        try tape.shape(x).memoryOrder(rowMajor).withUnsafeBufferPointer { try executor.write(x, from: $0) }
        try executor.run(0..<tape.steps.count)
        return tape.shape(y).rowMajor(try executor.memoryOrder(y))
    }

    static let devices = [Devices.all[0]] + Devices.openCL

    @Test(arguments: devices, [1, 3, 60])
    func convolution(_ device: TestDevice, groups: Int) throws {
        let (c, h, w, outputs, kernel) = (60, 4, 5, groups == 60 ? 60 : 6, groups == 60 ? 17 : 3)
        let (x, weights) = (
            numbers(c * h * w, "x"), numbers(outputs * c / groups * kernel * kernel, "weights")
        )
        let pad = kernel / 2
        var tape = Tape()
        let input = tape.input([1, c, h, w])
        let conv = try Conv(
            Attributes(opset: 13, ["pads": .ints([pad, pad, pad, pad]), "group": .int(groups)]))
        let filters = HostTensor([outputs, c / groups, kernel, kernel], .floats(weights))
        let y = try tape.value(conv.forward(&tape, [.value(input), .host(filters)], outputs: 1)[0])
        var expected: [Float] = []
        forEachIndex([outputs, h, w]) { i in
            var terms: [(Float, Float)] = []
            forEachIndex([kernel, kernel, c / groups]) { k in
                let (iy, ix) = (i[1] + k[0] - pad, i[2] + k[1] - pad)
                let inside = iy >= 0 && iy < h && ix >= 0 && ix < w
                let channel = i[0] / (outputs / groups) * (c / groups) + k[2]
                terms.append(
                    (
                        inside ? x[(channel * h + iy) * w + ix] : 0,
                        weights[((i[0] * (c / groups) + k[2]) * kernel + k[0]) * kernel + k[1]]
                    ))
            }
            expected.append(product(terms))
        }
        #expect(bitDifference(try run(tape, input, x, y, device), expected) == nil)
    }

    /// Lines of a tile: columns first, then rows, on the way in and on the way out; weights in double precision.
    @Test(arguments: devices, [2, 4])
    func winograd(_ device: TestDevice, side: Int) throws {
        let (c, h, w, outputs) = side == 4 ? (272, 9, 10, 32) : (272, 7, 8, 32)
        let (x, weights) = (numbers(c * h * w, "x"), numbers(outputs * c * 9, "weights"))
        var tape = Tape()
        let input = tape.input([1, c, h, w])
        let conv = try Conv(Attributes(opset: 13, ["pads": .ints([1, 1, 1, 1])]))
        let filters = HostTensor([outputs, c, 3, 3], .floats(weights))
        let y = try tape.value(conv.forward(&tape, [.value(input), .host(filters)], outputs: 1)[0])
        #expect(tape.steps.map(\.kernel) == ["winograd"])

        func inward(_ d: [Float]) -> [Float] {
            if side == 2 { return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]] }
            func odd(_ k: Float) -> Float { d[3].addingProduct(k, d[1]) }
            func even(_ k: Float) -> Float { d[4].addingProduct(k, d[2]) }
            return [
                even(-2.8125).addingProduct(1.265625, d[0]),
                even(-2.25).addingProduct(0.75, odd(-2.25)), even(-2.25).addingProduct(-0.75, odd(-2.25)),
                even(-0.5625).addingProduct(1.5, odd(-0.5625)),
                even(-0.5625).addingProduct(-1.5, odd(-0.5625)),
                d[5].addingProduct(-2.8125, d[3]).addingProduct(1.265625, d[1]),
            ]
        }
        func outward(_ m: [Float]) -> [Float] {
            if side == 2 { return [(m[0] + m[1]) + m[2], (m[1] - m[2]) - m[3]] }
            let (s, t, u, v) = (m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4])
            return [
                (m[0] + s) + u, (0.75 * t).addingProduct(1.5, v), (0.5625 * s).addingProduct(2.25, u),
                m[5].addingProduct(0.421875, t).addingProduct(3.375, v),
            ]
        }
        func columnsThenRows(_ square: [[Float]], _ line: ([Float]) -> [Float]) -> [[Float]] {
            let columns = (0..<square[0].count).map { j in line(square.map { $0[j] }) }
            return columns[0].indices.map { i in line(columns.map { $0[i] }) }
        }
        let points2: [[Double]] = [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]
        let points4: [[Double]] = [
            [64 / 81, 0, 0], [-128 / 243, -32 / 81, -8 / 27], [-128 / 243, 32 / 81, -8 / 27],
            [32 / 243, 16 / 81, 8 / 27], [32 / 243, -16 / 81, 8 / 27], [0, 0, 1],
        ]
        let points = side == 2 ? points2 : points4
        func filter(_ o: Int, _ channel: Int) -> [[Float]] {
            let g = (0..<9).map { Double(weights[(o * c + channel) * 9 + $0]) }
            func sum(_ p: [Double], _ q: [Double]) -> Double { (p[0] * q[0] + p[1] * q[1]) + p[2] * q[2] }
            let lines = points.map { p in (0..<3).map { sum(p, [g[$0], g[3 + $0], g[6 + $0]]) } }
            return lines.map { line in points.map { Float(sum(line, $0)) } }
        }
        let transformed = (0..<outputs).map { o in (0..<c).map { filter(o, $0) } }
        var expected = [Float](repeating: 0, count: outputs * h * w)
        let line = 0..<side + 2
        forEachIndex([(h + side - 1) / side, (w + side - 1) / side]) { tile in
            let tiles = (0..<c).map { channel in
                columnsThenRows(
                    line.map { i in
                        line.map { j in
                            let (iy, ix) = (tile[0] * side + i - 1, tile[1] * side + j - 1)
                            return 0..<h ~= iy && 0..<w ~= ix ? x[(channel * h + iy) * w + ix] : 0
                        }
                    }, inward)
            }
            for o in 0..<outputs {
                let products = line.map { i in
                    line.map { j in product((0..<c).map { (tiles[$0][i][j], transformed[o][$0][i][j]) }) }
                }
                for (i, row) in columnsThenRows(products, outward).enumerated() where tile[0] * side + i < h {
                    for (j, value) in row.enumerated() where tile[1] * side + j < w {
                        expected[(o * h + tile[0] * side + i) * w + tile[1] * side + j] = value
                    }
                }
            }
        }
        #expect(bitDifference(try run(tape, input, x, y, device), expected) == nil)
    }

    /// The rule of Documentation/Determinism.md: what goes by Winograd's way, by tiles of which side. The batch is no part of it.
    @Test(arguments: [1, 8])
    func winogradsRule(batch: Int) throws {
        /// Of a convolution with `h` by `w` outputs. Pads are top, left, bottom, right.
        func side(
            _ h: Int, _ w: Int, _ c: Int = 64, _ outputs: Int = 32, kernel: [Int] = [3, 3],
            strides: [Int] = [1, 1], dilations: [Int] = [1, 1], pads: [Int] = [1, 1, 1, 1], groups: Int = 1
        ) throws -> Int? {
            let sizes = [h, w].enumerated().map { d, size in
                (size - 1) * strides[d] + (kernel[d] - 1) * dilations[d] + 1 - pads[d] - pads[2 + d]
            }
            let conv = try Conv(
                Attributes(
                    opset: 13,
                    [
                        "pads": .ints(pads), "strides": .ints(strides), "dilations": .ints(dilations),
                        "group": .int(groups),
                    ]))
            let dims = Shape([outputs, c / groups] + kernel)
            let filters = HostTensor(dims, .floats([Float](repeating: 0, count: dims.count)))
            var tape = Tape()
            let input = tape.input(Shape([batch, c] + sizes))
            let y = try tape.value(conv.forward(&tape, [.value(input), .host(filters)], outputs: 1)[0])
            #expect(tape.shape(y).dims == [batch, outputs, h, w])
            return (tape.steps.last as? Winograd)?.side
        }
        let sizes: [(Int, Int, Int?)] = [
            (3, 3, nil), (3, 40, nil), (40, 3, nil), (4, 4, 2), (4, 40, 2), (7, 7, 2), (8, 8, 2), (8, 9, 2),
            (56, 8, 2), (9, 9, 4), (9, 56, 4),
        ]
        for (h, w, expected) in sizes { #expect(try side(h, w) == expected, "\(h)×\(w)") }
        for (size, expected) in [(7, 2), (14, 4)] {
            #expect(try side(size, size, 32, 32) == expected)
            #expect(try side(size, size, pads: [0, 1, 1, 0]) == expected)
            #expect(try side(size, size, 16, 64) == nil)
            #expect(try side(size, size, 64, 40) == nil)
            #expect(try side(size, size, 72, 64) == nil)
            #expect(try side(size, size, pads: [2, 1, 1, 1]) == nil)
            #expect(try side(size, size, pads: [1, 1, 1, 2]) == nil)
            #expect(try side(size, size, kernel: [3, 1], pads: [1, 0, 1, 0]) == nil)
            #expect(try side(size, size, strides: [1, 2]) == nil)
            #expect(try side(size, size, dilations: [2, 1]) == nil)
            #expect(try side(size, size, groups: 2) == nil)
        }
    }

    /// The gradient of a convolution with strides of 2: an input pixel's terms are the taps of its phase, kernel rows and columns
    /// backward, and the output channels of each. With few channels all phases have as many taps, some with the weight 0.
    @Test(arguments: devices, [3, 9])
    func stridedGradient(_ device: TestDevice, channels: Int) throws {
        let (h, w, outputs, kernel, pad) = (6, 7, 150, 3, 1)
        let (oh, ow) = (3, 4)
        let (dy, weights) = (
            numbers(outputs * oh * ow, "dy"), numbers(outputs * channels * kernel * kernel, "weights")
        )
        var tape = Tape()
        let x = tape.input([1, channels, h, w])
        let cotangent = tape.input([1, outputs, oh, ow])
        let conv = try Conv(
            Attributes(
                opset: 13, ["pads": .ints([pad, pad, pad, pad]), "strides": .ints([2, 2])]))
        let filters = HostTensor([outputs, channels, kernel, kernel], .floats(weights))
        let dx = try conv.vjp(
            &tape, LoweredNode(inputs: [.value(x), .host(filters)], outputs: [.value(cotangent)]), cotangent)
        tape.dropDeadSteps(keeping: [dx])
        let together = 4 * channels <= 32
        #expect(tape.steps.count { $0.kernel == "convolution" } == (together ? 1 : 4))
        // Each tap by the row or column that it leads to.
        func taps(_ at: Int) -> [(output: Int, tap: Int?)] {
            let met = [2, 1, 0].filter { (at + pad - $0) % 2 == 0 }.map {
                ((at + pad - $0) / 2, Optional($0))
            }
            return together && met.count == 1 ? met + [(met[0].0 + 1, nil)] : met
        }
        var expected: [Float] = []
        forEachIndex([channels, h, w]) { i in
            var terms: [(Float, Float)] = []
            for (oy, ky) in taps(i[1]) {
                for (ox, kx) in taps(i[2]) {
                    for o in 0..<outputs {
                        let inside = 0..<oh ~= oy && 0..<ow ~= ox
                        var weight: Float = 0
                        if let ky, let kx {
                            weight = weights[((o * channels + i[0]) * kernel + ky) * kernel + kx]
                        }
                        terms.append((inside ? dy[(o * oh + oy) * ow + ox] : 0, weight))
                    }
                }
            }
            expected.append(product(terms))
        }
        #expect(bitDifference(try run(tape, cotangent, dy, dx, device), expected) == nil)
    }

    @Test(arguments: devices)
    func means(_ device: TestDevice) throws {
        let x = numbers(7 * 9 * 11, "means")
        var tape = Tape()
        let input = tape.input([1, 7, 9, 11])
        let y = tape.spatialMean(input)
        let expected = (0..<7).map { tree(Array(x[($0 * 99)..<($0 * 99 + 99)])) / 99 }
        #expect(bitDifference(try run(tape, input, x, y, device), expected) == nil)
    }

    @Test(arguments: devices)
    func products(_ device: TestDevice) throws {
        let (m, k, n) = (3, 700, 4)
        let (a, b) = (numbers(m * k, "a"), numbers(k * n, "b"))
        var tape = Tape()
        let input = tape.input([m, k])
        let other = try tape.constant(HostTensor([k, n], .floats(b)))
        let y = try tape.value(
            MatMul(Attributes(opset: 13)).forward(&tape, [.value(input), .value(other)], outputs: 1)[0])
        var expected: [Float] = []
        forEachIndex([m, n]) { i in
            expected.append(product((0..<k).map { (a[i[0] * k + $0], b[$0 * n + i[1]]) }))
        }
        #expect(bitDifference(try run(tape, input, a, y, device), expected) == nil)
    }

    /// Windows from left to right and top to bottom, forward; and the windows over a pixel in the same order, backward.
    @Test(arguments: devices)
    func averagePools(_ device: TestDevice) throws {
        let (x, r) = (numbers(3 * 8 * 8, "x"), numbers(3 * 6 * 6, "r"))
        let pool = try AveragePool(Attributes(opset: 13, ["kernel_shape": .ints([3, 3])]))
        var tape = Tape()
        let input = tape.input([1, 3, 8, 8])
        let y = try pool.forward(&tape, [.value(input)], outputs: 1)[0]
        var expected: [Float] = []
        forEachIndex([3, 6, 6]) { i in
            var sum: Float = 0
            forEachIndex([3, 3]) { sum += x[(i[0] * 8 + i[1] + $0[0]) * 8 + i[2] + $0[1]] }
            expected.append(sum / 9)
        }
        #expect(bitDifference(try run(tape, input, x, tape.value(y), device), expected) == nil)

        var back = Tape()
        let source = back.input([1, 3, 8, 8])
        let cotangent = back.input([1, 3, 6, 6])
        let dx = try pool.vjp(&back, LoweredNode(inputs: [.value(source)], outputs: [y]), cotangent)
        var gradient: [Float] = []
        forEachIndex([3, 8, 8]) { i in
            var sum: Float = 0
            forEachIndex([6, 6]) { o in
                let (dy, dx) = (i[1] - o[0], i[2] - o[1])
                if 0...2 ~= dy && 0...2 ~= dx { sum += r[(i[0] * 6 + o[0]) * 6 + o[1]] / 9 }
            }
            gradient.append(sum)
        }
        #expect(bitDifference(try run(back, cotangent, r, dx, device), gradient) == nil)
    }
}
