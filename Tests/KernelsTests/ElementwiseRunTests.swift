// Runs of element-wise steps: computed block by block they give the bits that they give one after the other, and disturb nobody's memory.

import CMicrokernels
import Kernels
import TestSupport
import Testing

@Suite struct ElementwiseRunTests {
    /// A tape of element-wise steps that read each other in random ways, with copies and parts between them.
    private struct Steps {
        var tape = Tape()
        let input: Value
        let numbers: [Float]
        var made: [Value] = []
        var kept: [Value] = []

        init(_ seed: Int) {
            var random = SeededRandom("element-wise run \(seed)")
            func pick<T>(_ choices: [T]) -> T { choices[random.index(below: choices.count)] }
            let count = pick([8191, 8192, 8193, 12_000, 33_333, 70_000])
            let shape: Shape = [pick([1, 2]), count]
            numbers = (0..<shape.count).map { _ in random.float(-3, 3) }
            input = tape.input(shape)
            let one = tape.map(WB_MAP_scale, tape.zeros(1), a: 1)
            let number = tape.view(tape.map(WB_MAP_sigmoid, one), as: [1, 1], strides: [0, 0], offset: 0)
            var values = [tape.map(WB_MAP_scale, input, a: 0.5)]
            made = values
            for _ in 0..<pick([2, 4, 6, 9]) {
                // Mostly what was made last.
                let x = random.index(below: 3) == 0 ? pick(values) : values.last!
                let y: Value
                switch random.index(below: 9) {
                case 0, 1: y = tape.map(pick([WB_MAP_sigmoid, WB_MAP_erf, WB_MAP_tanh]), x)
                case 2: y = tape.map(WB_MAP_divide, x, number)
                case 3: y = tape.map(WB_MAP_scale, x, a: random.float(-2, 2))
                case 4: y = tape.map(WB_MAP_clip, x, a: -1, b: 1)
                case 5: y = tape.map(WB_MAP_multiply, x, x)
                case 6:
                    // The other way round, which is no row.
                    let turned = tape.view(x, as: shape, strides: [shape.dims[1], 1], offset: 0)
                    y = tape.dense(tape.transpose(tape.transpose(turned, [1, 0]), [1, 0]))
                case 7:
                    // Of two halves that change places.
                    let half = shape.dims[1] / 2
                    y = tape.value(shape)
                    let strides = shape.rowMajorStrides
                    tape.copy(
                        tape.part(x, axis: 1, start: half, count: shape.dims[1] - half), into: y,
                        strides: strides)
                    tape.copy(
                        tape.part(x, axis: 1, start: 0, count: half), into: y, strides: strides,
                        start: shape.dims[1] - half)
                default: y = tape.map(pick([WB_MAP_add, WB_MAP_multiply, WB_MAP_subtract]), x, pick(values))
                }
                values.append(y)
                made.append(y)
            }
            kept = [values.last!] + (pick([true, false]) ? [pick(values)] : [])
            made = made.filter { tape.isDense($0) }
            kept = kept.map { tape.dense($0) }
        }

        func run(on cpu: CPU, keeping others: [Value], timed: Bool = false) throws -> [[UInt32]] {
            try tape.twice(
                input, numbers, on: cpu, keeping: kept + others, reading: kept, timed: timed)
        }
    }

    @Test(arguments: 0..<80)
    func givesTheSameBits(_ seed: Int) throws {
        let steps = Steps(seed)
        // What somebody reads must be written.
        #expect(ElementwiseRun.all(in: steps.tape, keeping: steps.made + steps.kept).isEmpty)
        let expected = try steps.run(on: CPU(threads: 1), keeping: steps.made)
        for set in CPU.instructionSets {
            for threads in 1...3 {
                let cpu = try CPU(threads: threads, instructionSet: set)
                let found = try steps.run(on: cpu, keeping: [], timed: threads == 2)
                #expect(found == expected, "\(cpu.description)")
            }
        }
    }

    /// Most of them do run so.
    @Test func runsAreFound() {
        let lengths = (0..<80).map { seed -> Int in
            let steps = Steps(seed)
            return ElementwiseRun.all(in: steps.tape, keeping: steps.kept).reduce(0) { $0 + $1.steps.count }
        }
        #expect(lengths.count { $0 > 1 } > 40, "\(lengths)")
        #expect(lengths.max()! >= 5)
    }

    /// The five nodes of a GELU are one run.
    @Test func spelledOutGELU() {
        var tape = Tape()
        let x = tape.map(WB_MAP_scale, tape.input([197, 3072]), a: 1)
        func number(_ value: Float) -> Value { try! tape.constant(HostTensor([], .floats([value]))) }
        let erf = tape.map(WB_MAP_erf, tape.map(WB_MAP_divide, x, number(1.4142135)))
        let product = tape.map(WB_MAP_multiply, x, tape.map(WB_MAP_add, erf, number(1)))
        let y = tape.map(WB_MAP_multiply, product, number(0.5))
        let runs = ElementwiseRun.all(in: tape, keeping: [x, y])
        #expect(runs.map(\.steps.count) == [5])
    }
}
