// The exact-number cases of the methods: a network of one convolution, and FEM of two channels.

import Explain
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

/// Conv(1→2, 3×3, weights 1, bias −50 and −75), Relu, Flatten, Gemm with equal rows, Relu; its picture is 0…15.
func oneConvNetwork() -> ONNXBuilder {
    var builder = ONNXBuilder(name: "one convolution")
    builder.input("x", ["N", 1, 4, 4])
    builder.initializer("w", [2, 1, 3, 3], floats: Array(repeating: 1, count: 18))
    builder.initializer("b", [2], floats: [-50, -75])
    builder.initializer(
        "rows", [4, 8], floats: Array(repeating: [1, 1, 1, 1, 1, -1, -1, -1], count: 4).flatMap { $0 })
    builder.initializer("zero", [4], floats: [0, 0, 0, 0])
    builder.node("Conv", ["x", "w", "b"], ["conv.out"], ["kernel_shape": [3, 3]], name: "conv")
    builder.node("Relu", ["conv.out"], ["relu.out"], name: "relu")
    builder.node("Flatten", ["relu.out"], ["flat"], name: "flatten")
    builder.node("Gemm", ["flat", "rows", "zero"], ["sum"], ["transB": 1], name: "linear")
    builder.node("Relu", ["sum"], ["scores"], name: "last")
    builder.output("scores", ["N", 4])
    return builder
}

@Suite struct ExactNumberTests {
    private let picture = (0..<16).map(Float.init)
    private var devices: [TestDevice] { Devices.all }

    private func explain(_ builder: ONNXBuilder, _ picture: [Float], _ change: (inout Options) -> Void) throws
        -> ImageExplanation
    {
        let model = try Model(Network(builder.model()), preprocessing: "none")
        var options = Options()
        options.device = .cpu
        options.batch = 1
        options.classChoice = .index(0)
        change(&options)
        return try ExplanationSession(model, options: options).explain(.array(picture, name: "numbers"))
    }

    private func close(_ found: [Float], _ expected: [Float], within tolerance: Float = 0.01) -> Bool {
        found.count == expected.count && zip(found, expected).allSatisfy { abs($0 - $1) <= tolerance }
    }

    @Test func theScore() throws {
        let found = try explain(oneConvNetwork(), picture) { $0.layer = "conv" }
        #expect(found.predictions.count == 4)
        #expect(found.predictions.map(\.logit) == [54, 54, 54, 54])
        #expect(found.predictions.map(\.index) == [0, 1, 2, 3])  // of equals the lower index first
        #expect(found.predictions.allSatisfy { $0.probability == 0.25 })
    }

    @Test func gradCAM() throws {
        #expect(
            close(
                try explain(oneConvNetwork(), picture) { $0.layer = "relu" }.explanations[0].map.values,
                [0, 4, 28, 32.5]))
        #expect(
            close(
                try explain(oneConvNetwork(), picture) { $0.layer = "conv" }.explanations[0].map.values,
                [11.25, 13.5, 20.25, 22.5]))
        // The heat map is 0…1 at the input's size.
        let heat = try explain(oneConvNetwork(), picture) { $0.layer = "relu" }.explanations[0].heatmap
        #expect(heat.width == 4 && heat.height == 4 && heat.values.first == 0 && heat.values.last == 1)
    }

    @Test func activationsAndGradients() throws {
        if let problem = Devices.openCLProblem { Issue.record("\(problem)") }
        let network = try Network(oneConvNetwork().model())
        for device in devices {
            let found = try network.run(
                picture, dims: [1, 1, 4, 4], outputs: ["conv.out", "relu.out"], gradient: 0, on: device.device
            )
            #expect(found[0].values == [-5, 4, 31, 40, -30, -21, 6, 15], "\(device)")
            #expect(found[1].values == [0, 4, 31, 40, 0, 0, 6, 15], "\(device)")
            #expect(found[2].values == [0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0], "\(device)")
            // Grad-CAM without its last ReLU, channel by channel and summed, from the gradient at the convolution.
            let gradient = try network.run(
                picture, dims: [1, 1, 4, 4], outputs: [], gradient: 0, target: "conv.out", on: device.device)[
                    0
                ].values
            let weights = [gradient[0..<4], gradient[4..<8]].map { $0.reduce(0, +) / 4 }
            let channels = (0..<8).map { found[0].values[$0] * weights[$0 / 4] }
            #expect(close(channels, [-3.75, 3, 23.25, 30, 15, 10.5, -3, -7.5]))
            #expect(close((0..<4).map { channels[$0] + channels[$0 + 4] }, [11.25, 13.5, 20.25, 22.5]))
            // HiResCAM from the same numbers.
            #expect(
                close(
                    (0..<4).map {
                        max(
                            0, gradient[$0] * found[0].values[$0] + gradient[$0 + 4] * found[0].values[$0 + 4]
                        )
                    }, [0, 4, 25, 25]))
        }
    }

    @Test func theTapeGivesGradCAMOnEveryDevice() throws {
        let network = try Network(oneConvNetwork().model())
        for clip in [false, true] {
            var plan = try Planner(network, batch: 1, stored: ["conv.out"], differentiated: ["conv.out"])
            plan.tape.beginStage()
            let seed = plan.tape.input([1, 4])
            let gradient = try plan.gradients(seed: seed, of: ["conv.out"])["conv.out"]!
            let weights = plan.tape.spatialMean(gradient)
            let map = plan.tape.channelMap(try plan.value("conv.out"), weights: weights, clip: clip)
            for device in devices {
                let executor = try device.device.load(plan.tape, keeping: [map])
                try picture.withUnsafeBufferPointer { try executor.write(plan.input, from: $0) }
                try [Float(1), 0, 0, 0].withUnsafeBufferPointer { try executor.write(seed, from: $0) }
                try executor.run(plan.tape.stage(0))
                try executor.run(plan.tape.stage(1))
                #expect(close(try executor.memoryOrder(map), [11.25, 13.5, 20.25, 22.5]), "\(device)")
            }
        }
    }

    /// A layer of negative means: scaling keeps the order of the cells.
    @Test func femScaling() {
        #expect(FEM.scaled([-4, -2, -8]) == [-2, -1, -4])
        #expect(FEM.scaled([0, 2, -1]) == [0, 1, -0.5])
        #expect(FEM.scaled([0, -2]) == [0, -2])
    }

    /// Channels [[1, 1], [1, 1]] and [[0, 0], [0, 4]] with k = 1: a strict comparison lets only the second fire.
    @Test func fem() throws {
        var builder = ONNXBuilder(name: "two channels")
        builder.input("x", ["N", 1, 2, 2])
        builder.initializer("w", [2, 1, 1, 1], floats: [0, 1])
        builder.initializer("b", [2], floats: [1, 0])
        builder.node("Conv", ["x", "w", "b"], ["c"], name: "conv")
        builder.node("Relu", ["c"], ["r"], name: "relu")
        builder.node("GlobalAveragePool", ["r"], ["p"], name: "pool")
        builder.node("Flatten", ["p"], ["y"], name: "flatten")
        builder.output("y", ["N", 2])
        for device in [DeviceChoice.cpu, .openCL(0)] {
            let found = try explain(builder, [0, 0, 0, 4]) {
                ($0.methods, $0.settings, $0.device) = (["fem"], ["fem": ["k": "1"]], device)
            }
            #expect(found.explanations[0].map.values == [0, 0, 0, 1])
            #expect(found.explanations[0].classIndex == nil && found.explanations[0].blank == nil)
        }
        // With k at √(4 − 1) or above nothing can fire, whatever the picture.
        for k: Float in [1.7320509, 2, .infinity, .nan, -1] {
            do {
                _ = try explain(builder, [0, 0, 0, 4]) {
                    ($0.methods, $0.settings) = (["fem"], ["fem": ["k": "\(k)"]])
                }
                Issue.record("FEM accepts k = \(k).")
            } catch let error as ExplainError {
                #expect(error.kind == .method && error.description.lowercased().contains("fem"))
            }
        }
        #expect(throws: Never.self) {
            _ = try explain(builder, [0, 0, 0, 4]) {
                ($0.methods, $0.settings) = (["fem"], ["fem": ["k": "1.73"]])
            }
        }
    }
}
