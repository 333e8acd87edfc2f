// Division and square root made of integers, for devices that do not declare their own to be correctly rounded: the same bits.

import CLRuntime
import CMicrokernels
import Kernels
import TestSupport
import Testing

@Suite struct DivisionTests {
    @Test func integersDivideAsTheProcessorDoes() throws {
        let device = try #require(Devices.inventory.devices.first { OpenCL.fitness(of: $0).problem == nil })
        let count = 1 << 15
        var random = SeededRandom("division")
        func numbers() -> [Float] {
            var values = (0..<count).map { i in
                i % 2 == 0
                    ? Float(bitPattern: UInt32(truncatingIfNeeded: random.next())) : random.float(-4, 4)
            }
            Numbers.notFinite.change(&values, &random)
            return values
        }
        let (x, z) = (numbers(), numbers())

        var tape = Tape()
        let a = tape.input([count])
        let b = tape.input([count])
        let rows = tape.input([1, 64, 16, 32])
        var kept = [
            tape.map(WB_MAP_divide, a, b), tape.map(WB_MAP_sqrt, tape.map(WB_MAP_abs, a)),
            tape.map(WB_MAP_sigmoid, a),
        ]
        kept += [
            tape.map(WB_MAP_tanh, a),
            tape.spatialMean(rows),
        ]
        kept.append(tape.femMap(rows, k: 2))
        for (op, attributes) in [
            ("Softmax", [:]), ("LRN", ["size": .int(5)]), ("AveragePool", ["kernel_shape": .ints([3, 2])]),
        ]
            as [(String, [String: Attribute])]
        {
            let operands = try #require(OperatorList[op]).init(Attributes(opset: 13, attributes))
                .forward(&tape, [.value(rows)], outputs: 1)
            kept.append(try tape.value(operands[0]))
        }

        func run(_ device: Device) throws -> [[Float]] {
            let executor = try device.load(tape, keeping: kept)
            for (value, numbers) in [(a, x), (b, z), (rows, x)] {
                try numbers.withUnsafeBufferPointer { try executor.write(value, from: $0) }
            }
            try executor.run(0..<tape.steps.count)
            return try kept.map(executor.memoryOrder)
        }
        let expected = try run(Devices.all[0].device)
        for shape in KernelShape.allCases {
            for native in [true, false] {
                let got = try run(.openCL(OpenCL(device, shape: shape, nativeDivision: native)))
                for (i, (p, q)) in zip(expected, got).enumerated() {
                    if let difference = bitDifference(p, q) {
                        Issue.record("value \(i), \(shape), native division \(native): \(difference)")
                    }
                }
            }
        }
        for i in 0..<count {
            #expect((expected[0][i].isNaN && (x[i] / z[i]).isNaN) || expected[0][i] == x[i] / z[i])
        }
    }
}
