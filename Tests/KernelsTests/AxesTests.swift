// Convolutions and pools over one and three axes, with their gradients, against plain loops in double precision; and those over one
// axis bit for bit like those over two of which one has a single place.

import CMicrokernels
import Kernels
import TestSupport
import Testing

/// A window over any number of axes, as the standard describes it.
private struct Sliding {
    let input: [Int], kernel: [Int], strides: [Int], dilations: [Int], pads: [Int]

    init(_ axes: Int, _ random: inout SeededRandom) {
        var all: [[Int]] = []
        while all.count < axes {
            let next = [
                2 + random.index(below: axes == 1 ? 20 : 5), 1 + random.index(below: 3),
                1 + random.index(below: 3),
                1 + random.index(below: 2), random.index(below: 2), random.index(below: 2),
            ]
            if next[0] + next[4] + next[5] > (next[1] - 1) * next[3], next[4] < next[1], next[5] < next[1] {
                all.append(next)
            }
        }
        (input, kernel, strides) = (all.map { $0[0] }, all.map { $0[1] }, all.map { $0[2] })
        (dilations, pads) = (all.map { $0[3] }, all.map { $0[4] } + all.map { $0[5] })
    }

    var output: [Int] {
        input.indices.map {
            (input[$0] + pads[$0] + pads[$0 + input.count] - (kernel[$0] - 1) * dilations[$0] - 1)
                / strides[$0] + 1
        }
    }

    /// The place that a tap of an output reads; nil on padding.
    func place(_ output: [Int], _ tap: [Int]) -> [Int]? {
        let at = input.indices.map { output[$0] * strides[$0] - pads[$0] + tap[$0] * dilations[$0] }
        return zip(at, input).allSatisfy { $0 >= 0 && $0 < $1 } ? at : nil
    }

    /// - Parameter second: the same with a dimension of one place before or after the last.
    func attributes(_ second: Int? = nil) -> Attributes {
        func with(_ values: [Int], _ one: Int, each: Int = 1) -> Attribute {
            guard let second else { return .ints(values) }
            let parts = (0..<each).map { Array(values[$0 * input.count..<($0 + 1) * input.count]) }
            return .ints(parts.flatMap { second == 0 ? [one] + $0 : $0 + [one] })
        }
        return Attributes(
            opset: 17,
            [
                "kernel_shape": with(kernel, 1), "strides": with(strides, 1), "dilations": with(dilations, 1),
                "pads": with(pads, 0, each: 2),
            ])
    }
}

@Suite struct AxesTests {
    private static let devices = [Devices.all[0], Devices.cpus.last!] + Devices.openCL

    private func place(_ index: [Int], _ dims: [Int]) -> Int {
        zip(index, dims).reduce(0) { $0 * $1.1 + $1.0 }
    }

    private func close(_ a: [Float], _ b: [Double]) -> Bool {
        a.count == b.count && zip(a, b).allSatisfy { abs(Double($0) - $1) < 2e-5 * (1 + abs($1)) }
    }

    /// An operator forward and back on a device: numbers in row-major order.
    private func run(
        _ op: any Operator, _ x: (Shape, [Float]), _ weights: HostTensor?, cotangent r: (Shape, [Float]),
        on device: TestDevice
    ) throws -> (y: [Float], dx: [Float]) {
        var tape = Tape()
        let input = tape.input(x.0)
        let operands: [Operand?] = [.value(input)] + (weights.map { [.host($0)] } ?? [])
        let output = try op.forward(&tape, operands, outputs: 1)[0]
        // Something element-wise in between, which must keep what is there.
        let doubled = tape.map(WB_MAP_scale, try tape.value(output), a: 2)
        let dy = tape.input(r.0)
        let back = try op.vjp(
            &tape, LoweredNode(inputs: operands, outputs: [output]), cotangents: [dy], wanted: [0])[0]
        let kept = [tape.dense(doubled), tape.dense(try #require(back))]
        #expect(tape.shape(kept[0]) == r.0 && tape.shape(kept[1]) == x.0)
        let executor = try device.device.load(tape, keeping: kept)
        for (value, numbers) in [(input, x), (dy, r)] {
            try numbers.0.memoryOrder(numbers.1).withUnsafeBufferPointer {
                try executor.write(value, from: $0)
            }
        }
        try executor.run(0..<tape.steps.count)
        let found = try kept.map { tape.shape($0).rowMajor(try executor.memoryOrder($0)) }
        return (found[0].map { $0 / 2 }, found[1])
    }

    /// What all devices find, bit for bit, and near the numbers that are right.
    private func agreed(
        _ op: any Operator, _ x: (Shape, [Float]), _ weights: HostTensor?, cotangent r: (Shape, [Float]),
        _ y: [Double], _ dx: [Double]
    ) throws -> (y: [Float], dx: [Float]) {
        let all = try Self.devices.map { try run(op, x, weights, cotangent: r, on: $0) }
        for (device, found) in zip(Self.devices, all) {
            #expect(close(found.y, y), "\(device)")
            #expect(close(found.dx, dx), "\(device)")
            #expect(
                bitDifference(found.y, all[0].y) == nil && bitDifference(found.dx, all[0].dx) == nil,
                "\(device)")
        }
        return all[0]
    }

    @Test(arguments: [1, 3], 0..<24)
    func convolutions(_ axes: Int, _ seed: Int) throws {
        var random = SeededRandom("axes \(axes) \(seed)")
        let window = Sliding(axes, &random)
        let groups = [1, 1, 2, 40][random.index(below: 4)]
        let (n, c) = (1 + random.index(below: 2), groups == 40 ? 40 : 6)
        let o = groups == 40 ? 40 : 4
        let x = Shape([n, c] + window.input)
        let w = Shape([o, c / groups] + window.kernel)
        let y = Shape([n, o] + window.output)
        func numbers(_ shape: Shape) -> [Float] { (0..<shape.count).map { _ in random.float(-1, 1) } }
        let (xs, ws, rs) = (numbers(x), numbers(w), numbers(y))
        var (ys, dxs) = ([Double](repeating: 0, count: y.count), [Double](repeating: 0, count: x.count))
        forEachIndex(y.dims) { at in
            let group = at[1] / (o / groups)
            forEachIndex([c / groups] + window.kernel) { tap in
                guard let from = window.place(Array(at[2...]), Array(tap[1...])) else { return }
                let (i, k) = (
                    place([at[0], group * (c / groups) + tap[0]] + from, x.dims), place([at[1]] + tap, w.dims)
                )
                let j = place(at, y.dims)
                ys[j] += Double(xs[i]) * Double(ws[k])
                dxs[i] += Double(rs[j]) * Double(ws[k])
            }
        }
        func attributes(_ second: Int? = nil) throws -> Conv {
            // The group is one number more.
            let base = window.attributes(second)
            var all: [String: Attribute] = ["group": .int(groups)]
            for name in ["kernel_shape", "strides", "dilations", "pads"] { all[name] = base[name] }
            return try Conv(Attributes(opset: 17, all))
        }
        let weights = HostTensor(w, .floats(ws))
        let first = try agreed(attributes(), (x, xs), weights, cotangent: (y, rs), ys, dxs)
        guard axes == 1 else { return }
        for second in 0..<2 {
            func two(_ shape: Shape) -> Shape {
                Shape(shape.dims[..<2] + (second == 0 ? [1, shape.dims[2]] : [shape.dims[2], 1]))
            }
            let found = try run(
                attributes(second), (two(x), xs), HostTensor(two(w), .floats(ws)), cotangent: (two(y), rs),
                on: Self.devices[0])
            #expect(bitDifference(found.y, first.y) == nil && bitDifference(found.dx, first.dx) == nil)
        }
    }

    @Test(arguments: [1, 3], 0..<24)
    func pools(_ axes: Int, _ seed: Int) throws {
        var random = SeededRandom("pools \(axes) \(seed)")
        let window = Sliding(axes, &random)
        let (n, c, takesLargest) = (
            1 + random.index(below: 2), [1, 5, 17][random.index(below: 3)], seed % 2 == 0
        )
        let (x, y) = (Shape([n, c] + window.input), Shape([n, c] + window.output))
        let xs = (0..<x.count).shuffled(using: &random).map { Float($0) * 0.01 - 1 }
        let rs = (0..<y.count).map { _ in random.float(-1, 1) }
        var (ys, dxs) = ([Double](repeating: 0, count: y.count), [Double](repeating: 0, count: x.count))
        forEachIndex(y.dims) { at in
            var cells: [Int] = []
            forEachIndex(window.kernel) { tap in
                guard let from = window.place(Array(at[2...]), tap) else { return }
                cells.append(place(Array(at[..<2]) + from, x.dims))
            }
            let j = place(at, y.dims)
            if takesLargest {
                guard let best = cells.max(by: { xs[$0] < xs[$1] }) else { return }
                ys[j] = Double(xs[best])
                dxs[best] += Double(rs[j])
            } else {
                for i in cells {
                    ys[j] += Double(xs[i]) / Double(cells.count)
                    dxs[i] += Double(rs[j]) / Double(cells.count)
                }
            }
        }
        let op: any Operator =
            takesLargest ? try MaxPool(window.attributes()) : try AveragePool(window.attributes())
        _ = try agreed(op, (x, xs), nil, cotangent: (y, rs), ys, dxs)
    }
}
