// Whole networks of every style: right by a second opinion in double precision, and the same bits on every device, in every
// batch, stored or fused.

import Explain
import Inference
import Kernels
import RandomNetworks
import TestSupport
import Testing

@Suite struct StyleTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let style: Style, opset: Int
        var testDescription: String { "\(style.name), operator set \(opset)" }
        static let all = Style.all.flatMap { style in Style.opsets.map { Case(style: style, opset: $0) } }
    }

    @Test(arguments: Case.all) func agreesWithDoublePrecision(_ item: Case) throws {
        let model = try item.style.network(opset: item.opset).model()
        let network = try Network(model)
        let evaluator = Evaluator(model)
        let picture = pictures(1)
        let classIndex = 2
        let dims = [1, 3, 14, 14]
        let device = Device.cpu(try CPU(threads: 1))
        let found = try network.run(
            picture, dims: dims, outputs: network.valueNames, gradient: classIndex, on: device)
        let expected = try evaluator.run(Array64(dims: dims, values: picture.map(Double.init)))
        for tensor in found where tensor.name != "gradient" {
            let right = try #require(expected[tensor.name])
            #expect(tensor.shape.dims == right.dims)
            let largest = right.values.map(abs).max()!
            let error = zip(tensor.values, right.values).map { abs(Double($0) - $1) }.max()!
            #expect(error <= 1e-5 * largest, "\(tensor.name) is off by \(error) of \(largest)")
        }

        // Central differences at some of the inputs. A kink within the step would show as a wild number, and the seeds are fixed.
        let gradient = try #require(found.last).values
        let largest = Double(gradient.map(abs).max()!)
        #expect(largest > 1e-3)
        var random = SeededRandom(item.style.name)
        for _ in 0..<12 {
            let i = random.index(below: picture.count)
            let step = 1e-6
            func score(_ shift: Double) throws -> Double {
                var input = Array64(dims: dims, values: picture.map(Double.init))
                input.values[i] += shift
                return try evaluator.run(input)[network.logitsName]!.values[classIndex]
            }
            let slope = try (score(step) - score(-step)) / (2 * step)
            #expect(
                abs(Double(gradient[i]) - slope) <= 1e-4 * largest, "input \(i): \(gradient[i]), \(slope)")
        }
    }

    /// Normalisations that follow each other: the first becomes part of the convolution, the others do not overwrite it.
    @Test(arguments: 1...4) func chainsOfNormalisations(_ count: Int) throws {
        var n = SmallNetwork("chain of \(count)")
        var x = n.conv("image", 3, 9)
        for _ in 0..<count { x = n.batchNorm(x, 9) }
        x = n.conv(n.relu(x), 9, 7, stride: 2, bias: false)
        for _ in 0..<count { x = n.batchNorm(x, 7) }
        n.output(n.gemm(n.node("Flatten", [n.pooled(x)]), 7, 6))
        let model = try n.model()
        let network = try Network(model)
        let found = try network.run(
            pictures(1), dims: [1, 3, 14, 14], outputs: network.valueNames, gradient: 1,
            on: .cpu(CPU(threads: 1)))
        let evaluator = Evaluator(model)
        let input = Array64(dims: [1, 3, 14, 14], values: pictures(1).map(Double.init))
        let expected = try evaluator.run(input)
        for tensor in found where tensor.name != "gradient" {
            let right = try #require(expected[tensor.name]).values
            let largest = right.map(abs).max()!
            #expect(
                zip(tensor.values, right).allSatisfy { abs(Double($0) - $1) <= 1e-5 * largest },
                "\(tensor.name)")
        }
        let gradient = try #require(found.last).values
        for i in [100, 300, 500] {
            func score(_ shift: Double) throws -> Double {
                var input = input
                input.values[i] += shift
                return try evaluator.run(input)[network.logitsName]!.values[1]
            }
            let slope = try (score(1e-6) - score(-1e-6)) / 2e-6
            #expect(abs(Double(gradient[i]) - slope) <= 1e-4 * Double(gradient.map(abs).max()!))
        }
    }

    /// All values and all gradients with respect to them.
    @Test(arguments: Style.all) func sameBitsOnEveryDevice(_ style: Style) throws {
        if let problem = Devices.openCLProblem { Issue.record("\(problem)") }
        let network = try Network(style.network().model())
        let devices = Devices.all.filter { !$0.description.contains("3 threads") }.map(\.device)
        for batch in [1, 5] {
            let result = try network.verify(pictures(batch), batch: batch, height: 14, width: 14, on: devices)
            #expect(result.difference == nil)
            #expect(result.values > 10)
        }
    }

    @Test(arguments: Style.all) func aPictureHasTheBitsThatItHasAlone(_ style: Style) throws {
        let network = try Network(style.network().model())
        let all = pictures(5)
        let size = all.count / 5
        let device = Device.cpu(try CPU(threads: 2))
        let names = network.valueNames
        let together = try network.run(all, dims: [5, 3, 14, 14], outputs: names, gradient: 3, on: device)
        for i in 0..<5 {
            let alone = try network.run(
                Array(all[i * size..<(i + 1) * size]), dims: [1, 3, 14, 14], outputs: names, gradient: 3,
                on: device)
            // What is known from shapes alone is no picture's.
            for (a, b) in zip(together, alone) where a.shape.dims.first == 5 && b.shape.dims.first == 1 {
                let part = a.values.count / 5
                #expect(
                    bitDifference(Array(a.values[i * part..<(i + 1) * part]), b.values) == nil,
                    "\(a.name), picture \(i)")
            }
        }
    }

    /// What is fused away does not show in what is left.
    @Test(arguments: Style.all) func storingChangesNoBits(_ style: Style) throws {
        let network = try Network(style.network().model())
        let input = pictures(2)
        let dims = [2, 3, 14, 14]
        let device = Device.cpu(try CPU(threads: 1))
        let names = network.valueNames
        let all = try network.run(input, dims: dims, outputs: names, gradient: 1, on: device)
        let none = try network.run(input, dims: dims, outputs: [], gradient: 1, on: device)
        #expect(bitDifference(none.last!.values, all.last!.values) == nil)
        for tensor in all where tensor.name != "gradient" {
            let alone = try network.run(input, dims: dims, outputs: [tensor.name], on: device)
            #expect(bitDifference(alone[0].values, tensor.values) == nil, "\(tensor.name)")
        }
    }

    /// Maps through sessions, on every device, alone and in batches.
    @Test(arguments: Style.all) func mapsHaveTheSameBits(_ style: Style) throws {
        let model = try Model(Network(style.network().model()), preprocessing: "none")
        let all = pictures(5)
        let size = all.count / 5
        let shown = (0..<5).map { Picture.array(Array(all[$0 * size..<($0 + 1) * size]), name: "\($0)") }
        func maps(_ change: (inout Options) -> Void) throws -> [[Float]] {
            var options = Options()
            options.methods = ["gradcam", "fem"]
            options.classChoice = .top(2)
            options.settings["fem"] = ["k": "1"]
            options.device = .cpu
            options.threads = 1
            options.batch = 1
            change(&options)
            var found: [[Float]] = []
            try ExplanationSession(model, options: options).explain(shown) { _, result in
                let result = try result.get()
                found +=
                    result.explanations.flatMap { [$0.map.values, $0.heatmap.values] } + [
                        result.predictions.map(\.probability)
                    ]
            }
            return found
        }
        let expected = try maps { _ in }
        #expect(expected.count == 5 * 7)
        #expect(expected.contains { $0.contains { $0 > 0 } })
        for set in CPU.instructionSets {
            for (threads, batch) in [(1, 5), (2, 5), (2, 3)] {
                let found = try maps { ($0.instructionSet, $0.threads, $0.batch) = (set, threads, batch) }
                #expect(found == expected, "\(set), \(threads) threads, batch \(batch)")
            }
        }
        for shape in KernelShape.allCases {
            let found = try maps { ($0.device, $0.kernelShape, $0.batch) = (.openCL(0), shape, 5) }
            #expect(found == expected, "OpenCL, kernels for a \(shape)")
        }
    }
}
