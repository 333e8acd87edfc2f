// The examples of Documentation/Architecture.md: compiled, run on all devices, and literally in that document.

import CMicrokernels
import Explain
import Foundation
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

package struct Softsign: UnaryOperator {
    package static let name = "Softsign"
    package static let formula = "y = x / (1 + |x|)"
    package init(_ attributes: Attributes) throws {}
    package let gradientNeeds: GradientNeeds = .inputs

    private func divisor(_ tape: inout Tape, of x: Value) -> Value {
        let one = tape.fill([1], with: 1)
        return tape.map(WB_MAP_add, tape.map(WB_MAP_abs, x), one)
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "X"))
        let divisor = divisor(&tape, of: x)
        return [.value(tape.map(WB_MAP_divide, x, divisor))]
    }

    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let divisor = divisor(&tape, of: try tape.value(required(node.inputs, 0, "X")))
        return tape.map(WB_MAP_divide, dy, tape.map(WB_MAP_multiply, divisor, divisor))
    }
}

@Suite struct ArchitectureExamples {
    private static let devices = Devices.all

    /// Each block of Swift in the document is in this file, letter by letter.
    @Test func documentHasThem() throws {
        let root = URL(filePath: #filePath).appending(path: "../../..").standardized
        let code =
            try String(contentsOfFile: #filePath, encoding: .utf8)
            + ["HiResCAM", "GuidedBackpropagation"].map {
                try String(
                    contentsOf: root.appending(path: "Sources/Explain/Methods/\($0).swift"), encoding: .utf8)
            }.joined()
        let page = try String(
            contentsOf: root.appending(path: "Documentation/Architecture.md"), encoding: .utf8)
        let blocks = page.components(separatedBy: "\n```swift\n").dropFirst().map {
            $0.components(separatedBy: "```")[0]
        }
        #expect(blocks.count == 3)
        for block in blocks {
            #expect(code.contains("\n" + block), "This is not in ArchitectureExamples.swift:\n\(block)")
        }
    }

    @Test(arguments: devices)
    func softsign(_ device: TestDevice) throws {
        let softsign = try Softsign(Attributes(opset: 17))
        var tape = Tape()
        let (x, dy) = (tape.input([2, 3]), tape.input([2, 3]))
        let y = try softsign.forward(&tape, [.value(x)], outputs: 1)[0]
        let node = LoweredNode(inputs: [.value(x)], outputs: [y])
        let dx = try #require(try softsign.vjp(&tape, node, cotangents: [dy], wanted: [0])[0])
        let value = try tape.value(y)
        let executor = try device.device.load(tape, keeping: [value, dx])
        for (input, numbers) in [(x, [-3, -1, -0.0, 0, 1, 7]), (dy, [16, 4, 3, 2, -4, 128])]
            as [(Value, [Float])]
        {
            try numbers.withUnsafeBufferPointer { try executor.write(input, from: $0) }
        }
        try executor.run(tape.stage(0))
        #expect(try executor.memoryOrder(value) == [-0.75, -0.5, 0, 0, 0.5, 0.875])
        #expect(try executor.memoryOrder(dx) == [1, 1, 3, 2, -1, 2])
    }

    /// A convolution of two channels, the example of Documentation/Methods.md. Its picture is 0 … 15.
    private func network() throws -> Network {
        var builder = ONNXBuilder(name: "one convolution")
        builder.input("x", ["N", 1, 4, 4])
        builder.initializer("w", [2, 1, 3, 3], floats: Array(repeating: 1, count: 18))
        builder.initializer("b", [2], floats: [-50, -75])
        builder.initializer("rows", [2, 8], floats: [1, 1, 1, 1, 1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0])
        builder.node("Conv", ["x", "w", "b"], ["conv.out"], name: "conv")
        builder.node("Relu", ["conv.out"], ["relu.out"], name: "relu")
        builder.node("Flatten", ["relu.out"], ["flat"], name: "flatten")
        builder.node("Gemm", ["flat", "rows"], ["scores"], ["transB": 1], name: "linear")
        builder.output("scores", ["N", 2])
        return try Network(builder.model())
    }
    private let picture = (0..<16).map(Float.init)

    @Test(arguments: devices)
    func hiResCAM(_ device: TestDevice) throws {
        let network = try network()
        let layer = try #require(try network.layers().first { $0.name == "relu" })
        let method = HiResCAM(NoSettings(), explaining: layer)
        #expect(method.grid == .layers(["relu"], height: 2, width: 2))
        var spec = PassSpec(batch: 2)
        method.request(&spec)
        let pass = try Engine(network, on: LoadedDevice(device.device)).pass(spec)
        try pass.feed(picture + picture.map { 2 * $0 })
        try pass.forward()
        try pass.backward([1, 0, 1, 0])
        // The second picture's activations are [[40, 58], [112, 130]] and [[15, 33], [87, 105]].
        #expect(try pass.addition(0)[0] == [0, 4, 25, 25] + [55, 25, 25, 25])
    }

    @Test(arguments: devices)
    func guidedBackpropagation(_ device: TestDevice) throws {
        let network = try network()
        let engine = Engine(network, on: try LoadedDevice(device.device))
        var spec = PassSpec(batch: 1)
        spec.gradients = ["x"]
        let plain = try engine.pass(spec)
        spec.add(rule: ClipRule.guided)
        let guided = try engine.pass(spec)
        for pass in [plain, guided] {
            try pass.feed(picture)
            try pass.forward()
            try pass.backward([1, 0])
        }
        #expect(try plain.gradient("x") == [0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0])
        // Of the second channel nothing comes back, because what arrives at its two active cells is negative.
        #expect(try guided.gradient("x") == [0, 1, 1, 1, 1, 3, 3, 2, 1, 3, 3, 2, 1, 2, 2, 1])
    }
}
