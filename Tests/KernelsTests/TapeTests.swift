// Tapes: memory that is used again, stages, dead steps, views, and the grids that steps walk over.

import CMicrokernels
import Kernels
import TestSupport
import Testing

@Suite struct TapeTests {
    static let devices = [Devices.all[0], Devices.all[1]] + Devices.openCL

    private func write(_ executor: any Executor, _ tape: Tape, _ value: Value, _ rowMajor: [Float]) throws {
        try tape.shape(value).memoryOrder(rowMajor).withUnsafeBufferPointer {
            try executor.write(value, from: $0)
        }
    }
    private func read(_ executor: any Executor, _ tape: Tape, _ value: Value) throws -> [Float] {
        tape.shape(value).rowMajor(try executor.memoryOrder(value))
    }

    /// More values than are compared with each other when memory is shared out: three kinds of sizes, read near and far, and some to the end.
    @Test func thousandsOfValues() throws {
        var random = SeededRandom("thousands of values")
        let shapes: [Shape] = [[40], [7, 9], [3, 5, 11]]
        var tape = Tape()
        let inputs = shapes.map { tape.input($0) }
        var values = inputs.map { [$0] }
        let start = shapes.map { shape in (0..<shape.count).map { _ in random.float(-1, 1) } }
        var numbers = start.map { [$0] }
        var kept: [(value: Value, numbers: [Float])] = []
        for i in 0..<2500 {
            let k = random.index(below: 3)
            let count = values[k].count
            // Mostly one of the last, sometimes any.
            let (p, q) = (
                count - 1 - random.index(below: min(count, 4)),
                i % 50 == 0 ? random.index(below: count) : count - 1 - random.index(below: min(count, 4))
            )
            let halves = [p, q].map { tape.map(WB_MAP_scale, values[k][$0], a: 0.5) }
            values[k].append(tape.map(WB_MAP_add, halves[0], halves[1]))
            numbers[k].append(zip(numbers[k][p], numbers[k][q]).map { $0 * 0.5 + $1 * 0.5 })
            if i % 100 == 0 { kept.append((values[k].last!, numbers[k].last!)) }
        }
        for k in 0..<3 { kept.append((values[k].last!, numbers[k].last!)) }
        #expect(tape.steps.count == 7500)
        let arena = tape.memory(keeping: kept.map(\.value), alignment: 64).passing
        #expect(arena.size < 1500 * 192, "Memory is used again.")
        let parts = tape.memory(keeping: kept.map(\.value), alignment: 64, most: 4096).passing
        #expect(parts.sizes.allSatisfy { $0 <= 4096 && $0 > 0 } && parts.size < 2 * arena.size)
        let executor = try Devices.all[0].device.load(tape, keeping: kept.map(\.value))
        for (input, numbers) in zip(inputs, start) { try write(executor, tape, input, numbers) }
        try executor.run(0..<tape.steps.count)
        for (value, numbers) in kept { #expect(try read(executor, tape, value) == numbers) }
    }

    /// Batches travel to the device while others are computed, from two slots in turns, sent by another thread.
    @Test(arguments: devices + Devices.copying)
    func slotsTakeTurns(_ device: TestDevice) async throws {
        var tape = Tape()
        let shape: Shape = [3, 1031]
        let x = tape.input(shape)
        let y = tape.map(WB_MAP_scale, x, a: 0.5)
        let executor = try device.device.load(tape, keeping: [y])
        let slots = try [executor.slot(for: x), executor.slot(for: x)]
        func fill(_ batch: Int) -> Task<Void, any Error> {
            let slot = slots[batch % 2]
            return Task.detached {
                for i in 0..<slot.numbers.count { slot.numbers.pointer[i] = Float(batch * 10_000 + i) }
                try slot.send()
            }
        }
        var next = fill(0)
        for batch in 0..<7 {
            try await next.value
            next = fill(batch + 1)
            try executor.take(slots[batch % 2], as: x)
            try executor.start(0..<1)
            #expect(try executor.memoryOrder(y) == (0..<shape.count).map { Float(batch * 10_000 + $0) / 2 })
        }
        try await next.value
    }

    /// Random computations, also written in Swift: no value is overwritten while somebody still needs it.
    @Test(arguments: 0..<12)
    func liveValuesNeverOverlap(_ seed: Int) throws {
        var random = SeededRandom("tape \(seed)")
        var tape = Tape()
        // Row-major numbers of each value.
        var values: [(value: Value, numbers: [Float])] = []
        let shapes: [Shape] = [[2, 3, 4, 5], [2, 60], [120], [2, 12, 1, 5, 1], [4, 3, 2, 5]]
        let numbers = (0..<120).map { _ in random.float() }
        let input = tape.input(shapes[0])
        values.append((input, numbers))
        let constant = (0..<120).map { _ in random.float() }
        values.append((try tape.constant(HostTensor(shapes[0], .floats(constant))), constant))
        for _ in 0..<50 {
            // Mostly recent values, so that old ones die.
            let back = random.index(below: 3) == 0 ? values.count : min(4, values.count)
            let (x, a) = values[values.count - 1 - random.index(below: back)]
            switch random.index(below: 6) {
            case 0:
                let (z, b) = values[values.count - 1 - random.index(below: back)]
                let same = tape.reshape(z, to: tape.shape(x))
                values.append((tape.map(WB_MAP_add, x, same), zip(a, b).map(+)))
            case 1: values.append((tape.map(WB_MAP_scale, x, a: -0.75), a.map { $0 * -0.75 }))
            case 2:
                values.append((tape.map(WB_MAP_clip, x, a: -0.5, b: 0.5), a.map { min(max($0, -0.5), 0.5) }))
            case 3, 4: values.append((tape.reshape(x, to: shapes[random.index(below: shapes.count)]), a))
            default:
                let dims = tape.shape(x).dims
                let order = Array(dims.indices).shuffled(using: &random)
                let exact = Reference.transpose(Tensor(dims, a.map(Double.init)), order)
                values.append((tape.transpose(x, order), exact.values.map(Float.init)))
            }
        }
        let kept = values.enumerated().filter { $0.offset % 9 == 5 || $0.offset == values.count - 1 }.map {
            (value: tape.dense($0.element.value), numbers: $0.element.numbers)
        }
        // Buffers for two values and for eight.
        for device in Self.devices + Devices.crumbs(1024) + Devices.crumbs(4096) {
            let executor = try device.device.load(tape, keeping: kept.map(\.value))
            #expect(executor.arenaBytes < tape.steps.count * 512, "Memory is used again.")
            try write(executor, tape, input, numbers)
            try executor.run(0..<tape.steps.count)
            for (value, expected) in kept {
                let difference = bitDifference(try read(executor, tape, value), expected)
                #expect(difference == nil, "\(device)")
            }
        }
    }

    /// An arena in blocks: none is too large but for what does not fit anyway, and one block is as it was without a limit.
    @Test func arenasInBlocks() {
        var random = SeededRandom("blocks")
        var tape = Tape()
        var values = [tape.map(WB_MAP_scale, tape.input([64]), a: 2)]
        for _ in 0..<60 {
            let size = 16 * (1 + random.index(below: 40))
            let x = values[max(0, values.count - 1 - random.index(below: 6))]
            let y = tape.fill([size], with: 0)
            tape.copy(tape.view(x, as: [16], strides: [1], offset: 0), into: y, strides: [1])
            values.append(y)
        }
        let kept = [values[10], values[40], values.last!]
        let whole = tape.memory(keeping: kept, alignment: 64).passing
        #expect(whole.sizes.count == 1)
        let largest = values.map { tape.shape($0).count }.max()!
        for most in [largest + 64, largest * 3 / 2, 2 * largest] {
            let arena = tape.memory(keeping: kept, alignment: 64, most: most).passing
            #expect(arena.sizes.allSatisfy { $0 <= most && $0 > 0 } && arena.sizes.count > 1)
            #expect(arena.size < 2 * whole.size)
        }
        #expect(tape.memory(keeping: kept, alignment: 64, most: whole.size).passing.sizes == whole.sizes)
    }

    @Test(arguments: devices)
    func stagesCanRunAgain(_ device: TestDevice) throws {
        var tape = Tape()
        let x = tape.input([100])
        let doubled = tape.map(WB_MAP_scale, x, a: 2)
        let shifted = tape.map(WB_MAP_add, doubled, x)
        _ = tape.map(WB_MAP_multiply, shifted, shifted)  // lives in the first stage only
        tape.beginStage()
        let w = tape.input([100])
        let sum = tape.map(WB_MAP_add, shifted, w)
        let product = tape.map(WB_MAP_multiply, sum, doubled)
        let result = tape.map(WB_MAP_subtract, product, sum)
        #expect(tape.stageCount == 2 && tape.stage(0) == 0..<3 && tape.stage(1) == 3..<6)

        let executor = try device.device.load(tape, keeping: [result])
        let numbers = (0..<100).map(Float.init)
        try write(executor, tape, x, numbers)
        try executor.run(tape.stage(0))
        for factor: Float in [1, 5, 1] {
            try write(executor, tape, w, numbers.map { $0 * factor })
            for _ in 0..<2 {
                try executor.run(tape.stage(1))
                let expected = numbers.map { (n: Float) -> Float in
                    let sum = 3 * n + factor * n
                    return sum * 2 * n - sum
                }
                #expect(try read(executor, tape, result) == expected)
            }
        }
    }

    @Test(arguments: devices)
    func deadStepsGo(_ device: TestDevice) throws {
        var tape = Tape()
        let x = tape.input([2, 3, 2, 2])
        tape.label = "a"
        let a = tape.map(WB_MAP_scale, x, a: 3)
        tape.label = "dead"
        let dead = tape.map(WB_MAP_exp, a)
        tape.label = "filled"
        let filled = tape.fill([2, 5, 2, 2], with: 7)
        tape.copy(a, into: filled, strides: Shape([2, 5, 2, 2]).strides)
        tape.beginStage()
        tape.label = "dead"
        _ = tape.map(WB_MAP_add, dead, dead)
        tape.label = "last"
        let last = tape.map(
            WB_MAP_add, tape.view(filled, as: [2, 5, 2, 2]), try tape.constant(HostTensor([], .floats([0.5])))
        )
        tape.dropDeadSteps(keeping: [last])
        #expect(tape.labels == ["a", "filled", "filled", "last"])
        #expect(tape.stage(0) == 0..<3 && tape.stage(1) == 3..<4)

        let executor = try device.device.load(tape, keeping: [last])
        let numbers = (0..<24).map(Float.init)
        try write(executor, tape, x, numbers)
        try executor.run(0..<4)
        let border = [Float](repeating: 7.5, count: 8)
        let tripled = numbers.map { (n: Float) -> Float in n * 3 + 0.5 }
        let expected = Array(tripled[..<12]) + border + Array(tripled[12...]) + border
        #expect(try read(executor, tape, last) == expected)
    }

    @Test(arguments: devices)
    func sumsToTheShapeOfAnOperand(_ device: TestDevice) throws {
        let numbers = (0..<120).map(Float.init)
        for target: Shape in [
            [2, 3, 4, 5], [3, 1, 1], [1, 3, 4, 1], [5], [], [1], [2, 1, 1, 1], [4, 5], [1, 1, 1, 1],
        ] {
            var tape = Tape()
            let x = tape.input([2, 3, 4, 5])
            let y = tape.dense(tape.sum(x, to: target))
            let executor = try device.device.load(tape, keeping: [y])
            try write(executor, tape, x, numbers)
            try executor.run(0..<tape.steps.count)
            var expected = Tensor(zeros: target.dims)
            var i = 0
            forEachIndex([2, 3, 4, 5]) { index in
                let at = zip(index.suffix(target.rank), target.dims).map { $1 == 1 ? 0 : $0 }
                expected.values[expected.place(at)] += Double(i)
                i += 1
            }
            #expect(tape.shape(y) == target)
            #expect(try read(executor, tape, y) == expected.values.map(Float.init), "to \(target)")
        }
    }

    @Test func sketchesHoldShapesOnly() throws {
        var tape = Tape(sketch: true)
        let x = tape.input([1, 3, 8, 8])
        let conv = try Conv(Attributes(opset: 13, ["strides": .ints([2, 2])]))
        let weights = HostTensor([4, 3, 3, 3], .deferred { _ in throw OperatorError("reads its weights") })
        let y = try conv.forward(&tape, [.value(x), .host(weights)], outputs: 1)
        #expect(tape.shape(y[0]) == [1, 4, 3, 3] && tape.steps.isEmpty)
    }

    /// Views of views are the elements that they should be: reshaped, transposed, cut with steps of both signs, and added to others.
    @Test(arguments: 0..<150)
    func viewsAreThoseElements(_ seed: Int) throws {
        var random = SeededRandom("views \(seed)")
        func factors(_ count: Int) -> Shape {
            var dims = Array(repeating: 1, count: 1 + random.index(below: 5))
            var left = count
            for prime in [2, 3, 5, 7] {
                while left % prime == 0 {
                    dims[random.index(below: dims.count)] *= prime
                    left /= prime
                }
            }
            return Shape(dims)
        }
        var tape = Tape()
        let start = factors(1680)
        let input = tape.input(start)
        let numbers = (0..<1680).map(Float.init)
        var (value, dims, rows) = (input, start.dims, numbers)  // row-major
        func pick(_ ranges: [[Int]]) -> [Float] {
            let strides = Shape(dims).rowMajorStrides
            var places = [0]
            for (d, range) in ranges.enumerated() {
                places = places.flatMap { base in range.map { base + $0 * strides[d] } }
            }
            return places.map { rows[$0] }
        }
        for _ in 0..<8 {
            switch random.index(below: 4) {
            case 0:
                let shape = factors(rows.count)
                if shape.count == rows.count { (value, dims) = (tape.reshape(value, to: shape), shape.dims) }
            case 1:
                let order = Array(dims.indices).shuffled(using: &random)
                let exact = Reference.transpose(Tensor(dims, rows.map(Double.init)), order)
                value = tape.transpose(value, order)
                (dims, rows) = (order.map { dims[$0] }, exact.values.map(Float.init))
            case 2:
                let axis = random.index(below: dims.count)
                let step = [1, 2, -1, -2][random.index(below: 4)]
                let first = random.index(below: dims[axis])
                let room = step > 0 ? dims[axis] - first : first + 1
                let count = 1 + random.index(below: (room + abs(step) - 1) / abs(step))
                // Odd remainders cannot be cut into factors again.
                let slice = tape.view(
                    value, as: Shape(dims.indices.map { $0 == axis ? count : dims[$0] }),
                    strides: dims.indices.map { tape.strides(value)[$0] * ($0 == axis ? step : 1) },
                    offset: tape.offset(value) + first * tape.strides(value)[axis])
                rows = pick(
                    dims.indices.map { d in
                        d == axis ? (0..<count).map { first + $0 * step } : Array(0..<dims[d])
                    })
                (value, dims[axis]) = (slice, count)
            default:
                // Broadcast: a row of the first dimension beside all.
                let row = tape.view(
                    value, as: Shape([1] + dims.dropFirst()), strides: tape.strides(value),
                    offset: tape.offset(value))
                let size = rows.count / dims[0]
                value = tape.map(WB_MAP_add, value, row)
                rows = rows.indices.map { rows[$0] + rows[$0 % size] }
            }
        }
        let (dense, sum) = (tape.dense(value), tape.dense(tape.reduce(value, axes: [dims.count - 1])))
        for device in Self.devices {
            let executor = try device.device.load(tape, keeping: [dense, sum])
            try write(executor, tape, input, numbers)
            try executor.run(0..<tape.steps.count)
            #expect(try read(executor, tape, dense) == rows, "\(device)")
            // Whole numbers, so that their sums are exact in any order.
            let sums = stride(from: 0, to: rows.count, by: dims.last!).map {
                rows[$0..<$0 + dims.last!].reduce(0, +)
            }
            let small = (rows.map { abs($0) }.max() ?? 0) * Float(dims.last!) < 0x1p24
            #expect(try !small || read(executor, tape, sum) == sums, "\(device)")
        }
    }

    /// All elements of `y`, with `x` and `z` broadcast to it.
    private func grid(_ y: Shape, x: Shape, z: Shape? = nil) -> Grid {
        var tape = Tape()
        let (x, z) = (tape.input(x), z.map { tape.input($0) })
        return Grid(
            dims: y.dims, x: tape.strides(x, broadcastTo: y), z: z.map { tape.strides($0, broadcastTo: y) },
            y: y.strides)
    }

    @Test func gridsAreAsSimpleAsTheyCanBe() {
        let images: Shape = [2, 3, 4, 5]
        #expect(grid(images, x: images).raw.rank == 1)
        #expect(grid(images, x: images, z: []).raw.rank == 1)
        let channels = grid(images, x: images, z: [3, 1, 1])
        #expect(channels.raw.rank == 2 && channels.raw.dims.5 == 3 && channels.raw.dims.4 == 40)
        #expect(channels.raw.z.5 == 1 && channels.raw.z.4 == 0 && channels.raw.y.4 == 3)
        #expect(grid(images, x: [2, 3, 1, 1]).raw.rank == 3)
        #expect(grid([1, 1, 1], x: [1, 1, 1]).raw.rank == 1)
        #expect(grid([7, 1, 1, 9], x: [7, 1, 1, 9]).raw.rank == 1)
        let six: Shape = [2, 3, 2, 3, 2, 3]
        #expect(grid(six, x: six, z: [2, 1, 2, 1, 2, 1]).raw.rank == 6)
        #expect(grid(six, x: six).count == 216)
    }

    @Test func shapesKnowTheirMemory() {
        let shape: Shape = [2, 3, 4, 5]
        let rows = (0..<120).map(Float.init)
        #expect(shape.strides == [60, 1, 15, 3] && !shape.isRowMajor)
        #expect(shape.rowMajor(shape.memoryOrder(rows)) == rows)
        #expect(shape.memoryOrder(rows)[1] == 20)
        #expect(
            Shape([2, 1, 4, 5]).isRowMajor && Shape([2, 9, 1, 1]).isRowMajor && Shape([2, 3, 4]).isRowMajor)
        #expect(Shape.broadcast([3, 1], [2, 1, 4]) == [2, 3, 4] && Shape.broadcast([3], [4]) == nil)
        #expect(Shape.broadcast([], [0]) == [0])
    }
}
