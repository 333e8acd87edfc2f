// Models of a few hundred bytes that ask for absurd shapes, memory or work: a sentence for each, and nothing allocated first.

import Foundation
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct HostileModelTests {
    /// Loads, plans, loads onto the CPU and runs what `build` makes, within limits.
    private func run(
        input: [ONNXDimension] = ["N", 3, 14, 14], memory: Int = 64 << 20, work: Double = 1e13,
        gradient: Bool = false, _ build: (inout SmallNetwork) -> String
    ) throws {
        var net = SmallNetwork("hostile", input: input)
        net.output(build(&net))
        let network = try Network(net.model(), limits: Limits(memory: memory, work: work))
        let inputs = try network.inputShape(batch: 1)
        _ = try network.run(
            [Float](repeating: 0.5, count: inputs.count), dims: inputs.dims, outputs: nil,
            gradient: gradient ? 0 : nil, on: .cpu(CPU(threads: 2)))
    }

    private func refusal(
        _ parts: String..., limit: Bool = false, sourceLocation: SourceLocation = #_sourceLocation,
        _ body: () throws -> Void
    ) {
        do {
            try body()
            Issue.record("nothing was refused", sourceLocation: sourceLocation)
        } catch {
            let text = "\(error)"
            #expect((error is LimitError) == limit, "\(text)", sourceLocation: sourceLocation)
            #expect(text.hasSuffix("."), "\(text)", sourceLocation: sourceLocation)
            for part in parts { #expect(text.contains(part), "\(text)", sourceLocation: sourceLocation) }
        }
    }

    // MARK: Arithmetic of shapes

    @Test(arguments: ["Slice", "Flatten", "Gather"])
    func emptyTensorsWithAbsurdExtents(_ reader: String) {
        refusal("ConstantOfShape", "16777215") {
            try run { n in
                let huge = n.node("ConstantOfShape", [n.ints([0] + Array(repeating: 16_777_215, count: 5))])
                let y =
                    switch reader {
                    case "Slice": n.node("Slice", [huge, n.ints([0]), n.ints([5]), n.ints([1])])
                    case "Gather": n.node("Gather", [huge, n.ints([0])], ["axis": 1])
                    default: n.node("Flatten", [huge], ["axis": 2])
                    }
                return n.node("Add", [n.node("Flatten", ["image"]), y])
            }
        }
    }

    @Test func reshapeToAbsurdExtents() {
        refusal("Reshape", "4611686018427387904") {
            try run { n in
                let empty = n.node("ConstantOfShape", [n.ints([0])])
                let y = n.node("Reshape", [empty, n.ints([0, 1 << 62, 1 << 62])], ["allowzero": .int(1)])
                return n.node("Concat", ["image", y], ["axis": 1])
            }
        }
    }

    @Test func emptyConstantsAmongActivations() {
        // It adds nothing.
        #expect(throws: Never.self) {
            try run { n in
                n.builder.initializer("none", [1, 0, 14, 14], floats: [])
                return n.node("Concat", ["image", "none"], ["axis": 1])
            }
        }
        refusal("MatMul", "empty") {
            try run { n in
                n.builder.initializer("a", [1, 0], floats: [])
                n.builder.initializer("b", [0, 3], floats: [])
                return n.node("Add", [n.node("ReduceMean", ["image"]), n.node("MatMul", ["a", "b"])])
            }
        }
    }

    @Test func stridesThatMakeMillionsOfPhases() throws {
        refusal("Conv", "strides") {
            try run(input: ["N", 1, 9000, 9000], memory: 1 << 30, gradient: true) { n in
                n.node(
                    "Flatten",
                    [n.node("Conv", ["image", n.floats([1, 1, 1, 1])], ["strides": [9000, 9000]])])
            }
        }
    }

    // MARK: Memory

    @Test func gatherOfLargeConstants() {
        refusal("Gather", "memory", "--memory-limit", limit: true) {
            try run { n in
                let many = n.node("ConstantOfShape", [n.ints([1 << 19])])
                let indices = n.node(
                    "Cast", [n.node("ConstantOfShape", [n.ints([1 << 20])])], ["to": .int(7)])
                let rows = n.node("Reshape", [many, n.ints([1, 1 << 19])])
                return n.node("Concat", ["image", n.node("Gather", [rows, indices])], ["axis": 1])
            }
        }
    }

    @Test func concatOfAConstantManyTimes() {
        refusal("Concat", "memory", "--memory-limit", limit: true) {
            try run { n in
                let part = n.node("ConstantOfShape", [n.ints([1, 1, 1024, 1024])])
                return n.node(
                    "ReduceMean", [n.node("Concat", Array(repeating: part, count: 60), ["axis": 1])])
            }
        }
    }

    @Test func concatThatDoubles() {
        refusal("Concat", "memory", "--memory-limit", limit: true) {
            try run { n in
                var x = n.ints([1, 2, 3, 4])
                for _ in 0..<60 { x = n.node("Concat", [x, x], ["axis": 0]) }
                return n.node("Reshape", ["image", x])
            }
        }
    }

    @Test func manyConstantsTogether() {
        refusal("ConstantOfShape", "memory", "--memory-limit", limit: true) {
            try run { n in
                let parts = (0..<100).map { _ in n.node("ConstantOfShape", [n.ints([1, 1, 512, 512])]) }
                return n.node("Concat", parts, ["axis": 1])
            }
        }
    }

    @Test func weightsThatAreLargerThanTheyLook() {
        // Groups of one channel and two outputs fill panels of 32.
        refusal("memory", "--memory-limit", "Conv", limit: true) {
            try run(input: ["N", 1, 600, 600]) { n in
                let weights = n.node("ConstantOfShape", [n.ints([8, 1, 595, 595])])
                return n.node("Conv", ["image", weights])
            }
        }
    }

    @Test func padsThatMakeGigabytes() {
        refusal("memory", "--memory-limit", "Pad", limit: true) {
            try run { n in
                n.node(
                    "GlobalAveragePool",
                    [n.node("Pad", ["image", n.ints([0, 0, 9000, 9000, 0, 0, 9000, 9000])])])
            }
        }
    }

    /// The arena holds 24 MB of 64; the copies that are given back and written do not fit as well.
    @Test func resultsAreCounted() {
        refusal("Giving back", "memory", "--memory-limit", limit: true) {
            try run { n in n.node("Pad", ["image", n.ints([0, 0, 0, 0, 0, 0, 1986, 986])]) }
        }
    }

    @Test func whatFitsRuns() throws {
        let limits = Limits(memory: 8 << 20, work: 1e9)
        var net = SmallNetwork("fits")
        net.output(net.node("Flatten", [net.conv("image", 3, 8)]))
        let network = try Network(net.model(), limits: limits)
        // The network itself takes a little.
        let left = limits.memory.left
        #expect(left > 7 << 20 && left < limits.memory.limit)
        for _ in 0..<50 {
            _ = try network.run(
                [Float](repeating: 0.5, count: 588), dims: [1, 3, 14, 14], outputs: nil,
                on: .cpu(CPU(threads: 1)))
        }
        // What was used is given back.
        #expect(limits.memory.left == left)
    }

    @Test func constantsThatNoStepReads() throws {
        // A sum over no axis makes no step: what is kept is the constant itself.
        try run { n in
            let kept = n.node("ReduceSum", [n.floats([1, 3, 1, 1]), ""], ["noop_with_empty_axes": .int(1)])
            return n.node("Add", ["image", kept])
        }
    }

    @Test func budgets() throws {
        let budget = MemoryBudget(limit: 100)
        let share = try budget.reserve(60)
        #expect(budget.tryReserve(41) == nil)
        #expect(throws: LimitError.self) { try budget.check(41) }
        #expect(budget.tryReserve(-1) == nil)
        #expect(budget.tryReserve(Int.max) == nil)
        withExtendedLifetime(share) { #expect(budget.left == 40) }
        #expect(Limits.standardMemory > 1 << 20)
    }

    @Test func integersThatGrow() {
        // A byte each in the file, eight in memory.
        refusal("numbers", "memory", "--memory-limit", limit: true) {
            try run { n in
                n.builder.initializer(
                    ONNXTensor(name: "numbers", dims: [1 << 23], type: .int8, raw: Data(count: 1 << 23)))
                return n.node("Gather", ["image", "numbers"], ["axis": 1])
            }
        }
        refusal("Constant", "memory", "--memory-limit", limit: true) {
            try run { n in
                let value = ONNXTensor(dims: [1 << 22], type: .int8, raw: Data(count: 1 << 22))
                return n.node("Reshape", ["image", n.node("Constant", [], ["value": .tensor(value)])])
            }
        }
    }

    @Test func manySmallNodes() {
        refusal("What the file says", "memory", "--memory-limit", limit: true) {
            try run { n in
                var x = "image"
                for _ in 0..<10_000 { x = n.relu(x) }
                return x
            }
        }
    }

    // MARK: Work

    @Test(arguments: ["MaxPool", "AveragePool"]) func hugeWindowsOfOneChannel(_ type: String) {
        refusal("operations", type, "--work-limit", limit: true) {
            try run(input: ["N", 1, 2200, 2200], memory: 1 << 30) { n in
                n.node(type, ["image"], ["kernel_shape": [2000, 2000]])
            }
        }
    }

    @Test func poolsOverHugeWindows() {
        refusal("operations", "MaxPool", "--work-limit", limit: true) {
            try run(input: ["N", 1, 500, 500], work: 1e9) { n in
                n.node("MaxPool", ["image"], ["kernel_shape": [300, 300], "pads": [150, 150, 150, 150]])
            }
        }
    }

    @Test func constantsThatTakeLong() {
        refusal("AveragePool", "operations", "--work-limit", limit: true) {
            try run(work: 1e9) { n in
                let constant = n.node("ConstantOfShape", [n.ints([1, 1, 500, 500])])
                let y = n.node(
                    "AveragePool", [constant], ["kernel_shape": [300, 300], "pads": [150, 150, 150, 150]])
                return n.node("Add", [n.node("ReduceMean", ["image"]), y])
            }
        }
    }
}
