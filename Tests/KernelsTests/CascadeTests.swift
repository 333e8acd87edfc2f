// Cascades: convolutions and pools in bands of rows give the bits that they give one after the other, and disturb nobody's memory.

import CMicrokernels
import Kernels
import TestSupport
import Testing

extension Tape {
    /// Runs all steps twice, so that nothing of the first run may matter, and reads values.
    /// - Parameter timed: whether the second time each step is timed.
    func twice(
        _ input: Value, _ numbers: [Float], on cpu: CPU, keeping kept: [Value], reading read: [Value],
        timed: Bool = false
    ) throws -> [[UInt32]] {
        let executor = try Device.cpu(cpu).load(self, keeping: kept)
        try shape(input).memoryOrder(numbers).withUnsafeBufferPointer { try executor.write(input, from: $0) }
        let all = 0..<steps.count
        try executor.run(all)
        if timed {
            let times = try executor.time(all)
            #expect(times.count == steps.count && times.allSatisfy { $0 >= 0 })
        } else {
            try executor.run(all)
        }
        return try read.map { try executor.memoryOrder($0).map(\.bitPattern) }
    }
}

@Suite struct CascadeTests {
    /// A tape with a chain of convolutions, and what must be the same however it runs.
    private struct Chain {
        var tape = Tape()
        let input: Value
        let numbers: [Float]
        /// The outputs of convolutions and pools.
        var outputs: [Value] = []
        /// What is read afterwards: the end, and a value that lives all the while.
        var kept: [Value] = []

        /// Convolutions of every kind, with strides, pads, dilations, residuals and clips, and pools.
        init(_ seed: Int) {
            var random = SeededRandom("cascade \(seed)")
            func pick<T>(_ choices: [T]) -> T { choices[random.index(below: choices.count)] }
            let shape: Shape = [pick([1, 1, 2, 3]), pick([4, 8, 16]), pick([31, 40, 47]), pick([33, 40])]
            numbers = (0..<shape.count).map { _ in random.float() }
            input = tape.input(shape)
            let before = tape.map(WB_MAP_scale, input, a: 0.5)
            var x = tape.map(WB_MAP_scale, input, a: 2)
            let start = x
            for _ in 0..<pick([2, 3, 3, 5]) {
                let from = tape.shape(x)
                if from.dims[2...].allSatisfy({ $0 >= 5 }), pick([true, false, false, false]) {
                    let pool = try! MaxPool(
                        Attributes(
                            opset: 13,
                            [
                                "kernel_shape": .ints([3, 3]), "strides": .ints(pick([[1, 1], [2, 2]])),
                                "pads": .ints(pick([[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 2, 1]])),
                            ]))
                    guard case .value(let y)? = try! pool.forward(&tape, [.value(x)], outputs: 1).first else {
                        break
                    }
                    x = y
                    self.outputs.append(y)
                    continue
                }
                let c = from.dims[1]
                let size = pick([1, 1, 3, 3, 5])
                let depthwise = size > 1 && pick([true, true, false])
                let stride = size > 1 ? pick([1, 1, 2]) : pick([1, 1, 1, 2])
                let dilation = size == 3 ? pick([1, 1, 2]) : 1
                let pads = (0..<4).map { _ in size > 1 ? pick([0, size / 2, size / 2, size]) : 0 }
                let groups = depthwise ? c : size == 5 && c % 2 == 0 ? 2 : 1
                let outputs = depthwise ? c : size == 5 ? 4 : pick([4, 8, 12])
                let extent = (dilation * (size - 1)) + 1
                let to = (0..<2).map { (from.dims[2 + $0] + pads[$0] + pads[2 + $0] - extent) / stride + 1 }
                guard to.allSatisfy({ $0 > 1 }) else { break }
                let convolution = ConvolutionShape(
                    input: from, output: Shape([from.dims[0], outputs] + to), kernel: [size, size],
                    strides: [stride, stride], pads: Array(pads.prefix(2)), dilations: [dilation, dilation],
                    groups: groups)
                let weights = (0..<outputs * c / groups * size * size).map { _ in random.float() }
                var epilogue = Epilogue(
                    bias: pick([true, false]) ? (0..<outputs).map { _ in random.float() } : nil,
                    clip: pick([nil, .relu, Bounds(-0.5, 6)]))
                if tape.shape(start) == convolution.output, pick([true, true, false]) {
                    epilogue.residual = start
                } else if pick([true, false, false]) {
                    epilogue.residual = tape.input(convolution.output)  // zeros
                }
                x = tape.convolution(
                    x, convolution,
                    PackedWeights(HostTensor([weights.count], .floats(weights)), for: convolution), epilogue)
                self.outputs.append(x)
            }
            kept = [tape.map(WB_MAP_scale, x, a: 3), tape.map(WB_MAP_scale, before, a: 5)]
        }

        func run(on cpu: CPU, keeping kept: [Value]) throws -> [[UInt32]] {
            try tape.twice(input, numbers, on: cpu, keeping: kept, reading: self.kept)
        }
    }

    private static let cache = 64 << 10

    @Test(arguments: 0..<60)
    func givesTheSameBits(_ seed: Int) throws {
        let chain = Chain(seed)
        let all = chain.outputs + chain.kept
        #expect(Cascade.all(in: chain.tape, keeping: all, threads: 1, cache: Self.cache).isEmpty)
        let expected = try chain.run(on: CPU(threads: 1, cache: Self.cache), keeping: all)
        for set in CPU.instructionSets {
            for threads in 1...3 {
                let cpu = try CPU(threads: threads, instructionSet: set, cache: Self.cache)
                let found = try chain.run(on: cpu, keeping: chain.kept)
                #expect(found == expected, "\(cpu.description)")
            }
        }
    }

    /// Most of those chains do run as cascades.
    @Test func chainsAreFound() {
        let lengths = (0..<60).map { seed -> Int in
            let chain = Chain(seed)
            return Cascade.all(in: chain.tape, keeping: chain.kept, threads: 1, cache: Self.cache)
                .reduce(0) { $0 + $1.steps.count }
        }
        #expect(lengths.count { $0 > 1 } > 40)
        #expect(lengths.max()! >= 4)
    }

    /// Three convolutions of a tensor, the last of which adds it.
    private func block(_ read: (inout Tape, [Value]) -> [Value]) -> (tape: Tape, kept: [Value]) {
        var tape = Tape()
        let shape: Shape = [1, 8, 64, 64]
        let convolution = ConvolutionShape(
            input: shape, output: shape, kernel: [1, 1], strides: [1, 1], pads: [0, 0], dilations: [1, 1],
            groups: 1)
        let x = tape.map(WB_MAP_scale, tape.input(shape), a: 1)
        var values = [x]
        for i in 0..<3 {
            let weights = PackedWeights(
                HostTensor([64], .floats([Float](repeating: 1, count: 64))), for: convolution)
            values.append(
                tape.convolution(values[i], convolution, weights, Epilogue(residual: i == 2 ? x : nil)))
        }
        let kept = read(&tape, values)
        return (tape, kept)
    }

    private func found(_ block: (tape: Tape, kept: [Value]), cache: Int = Self.cache) -> [Range<Int>] {
        Cascade.all(in: block.tape, keeping: block.kept, threads: 1, cache: cache).map(\.steps)
    }

    @Test func linksWhatOnlyTheNextReads() {
        #expect(found(block { _, values in [values[3]] }) == [1..<4])
        #expect(found(block { _, values in [values[2], values[3]] }) == [1..<3])
        #expect(found(block { tape, values in [values[3], tape.map(WB_MAP_scale, values[1])] }) == [2..<4])
        // A stage ends with its steps.
        #expect(
            found(
                block { tape, values in
                    tape.beginStage()
                    return [tape.map(WB_MAP_scale, values[3])]
                }) == [1..<4])
        // Caches that hold everything need no bands.
        #expect(found(block { _, values in [values[3]] }, cache: 512 << 10) == [])
    }

    /// What passes between links takes no memory, and the sum takes that of its term only where no band still reads this.
    @Test func arenas() {
        let (tape, kept) = block { _, values in [values[3]] }
        let size = 8 * 64 * 64
        // What is kept is nobody else's at any time.
        #expect(tape.memory(keeping: kept, alignment: 16).size == 4 * size)
        #expect(tape.memory(keeping: kept, alignment: 16, overwriting: true).size == 3 * size)
        #expect(tape.memory(keeping: kept, alignment: 16, runs: [1..<4], overwriting: true).size == 2 * size)
        #expect(tape.memory(keeping: kept, alignment: 16, runs: [2..<4], overwriting: true).size == 2 * size)
    }
}
