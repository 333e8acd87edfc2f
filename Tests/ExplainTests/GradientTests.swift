// The methods of gradients with respect to pixels: exact numbers, sums that must come out, and statistics with known answers.

import Explain
import Foundation
import Imaging
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct GradientTests {
    private let picture = (0..<16).map(Float.init)

    private func explain(
        _ builder: ONNXBuilder, _ pictures: [[Float]], _ methods: [String], on device: Device? = nil,
        _ change: (inout Options) throws -> Void = { _ in }
    ) throws -> [ImageExplanation] {
        let model = try Model(Network(builder.model()), preprocessing: "none")
        var options = Options()
        (options.device, options.threads, options.opened) = (.cpu, 2, device)
        (options.methods, options.classChoice) = (methods, .index(0))
        try change(&options)
        var found: [ImageExplanation] = []
        try ExplanationSession(model, options: options).explain(
            pictures.enumerated().map { .array($1, name: "\($0)") }
        ) { found.append(try $1.get()) }
        return found
    }

    private func close(_ found: [Float], _ expected: [Float], within tolerance: Float = 1e-4) -> Bool {
        found.count == expected.count && zip(found, expected).allSatisfy { abs($0 - $1) <= tolerance }
    }

    private func failure(_ body: () throws -> Void) -> ExplainError? {
        do {
            try body()
        } catch {
            return error as? ExplainError
        }
        return nil
    }

    /// s₀ = Σ w x² of one channel of 4×4, whose gradient is 2 w x; s₁ = 0.
    private func squares(_ weights: [Float]) -> ONNXBuilder {
        var builder = ONNXBuilder(name: "squares")
        builder.input("x", ["N", 1, 4, 4])
        builder.node("Mul", ["x", "x"], ["squares"], name: "square")
        builder.initializer("w", [2, 16], floats: weights + Array(repeating: 0, count: 16))
        builder.node("Flatten", ["squares"], ["flat"], name: "flatten")
        builder.node("Gemm", ["flat", "w"], ["s"], ["transB": 1], name: "linear")
        builder.output("s", ["N", 2])
        return builder
    }

    /// A smooth network of three colours: Conv, Sigmoid × itself, Conv, mean, Gemm; 8×8 pixels, three classes.
    private func smooth(softmax: Bool = false, activation: String = "Sigmoid") -> ONNXBuilder {
        var random = SeededRandom("smooth network")
        func floats(_ count: Int, _ size: Float) -> [Float] {
            (0..<count).map { _ in random.float(-size, size) }
        }
        var builder = ONNXBuilder(name: "smooth")
        builder.input("x", ["N", 3, 8, 8])
        builder.initializer("w1", [6, 3, 3, 3], floats: floats(162, 0.5))
        builder.initializer("b1", [6], floats: floats(6, 0.5))
        builder.node("Conv", ["x", "w1", "b1"], ["c1"], ["pads": [1, 1, 1, 1]], name: "conv1")
        builder.node(activation, ["c1"], ["a1"], name: "activation")
        builder.initializer("w2", [8, 6, 3, 3], floats: floats(432, 0.5))
        builder.initializer("b2", [8], floats: floats(8, 0.2))
        builder.node(
            "Conv", ["a1", "w2", "b2"], ["c2"], ["strides": [2, 2], "pads": [1, 1, 1, 1]], name: "conv2")
        builder.node(activation, ["c2"], ["a2"], name: "activation2")
        builder.node("GlobalAveragePool", ["a2"], ["p"], name: "pool")
        builder.node("Flatten", ["p"], ["f"], name: "flatten")
        builder.initializer("m", [3, 8], floats: floats(24, 2))
        builder.initializer("b3", [3], floats: [0.3, -0.2, 0.1])
        builder.node("Gemm", ["f", "m", "b3"], ["s"], ["transB": 1], name: "linear")
        if softmax { builder.node("Softmax", ["s"], ["p3"], ["axis": 1], name: "softmax") }
        builder.output(softmax ? "p3" : "s", ["N", 3])
        return builder
    }

    private func colours(_ name: String) -> [Float] {
        var random = SeededRandom(name)
        return (0..<192).map { _ in random.float(-2, 2) }
    }

    // MARK: Exact numbers

    @Test func gradientsOfOneConvolution() throws {
        let gradient: [Float] = [0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0]
        for device in Devices.all {
            let found = try explain(
                oneConvNetwork(), [picture], ["saliency", "input-x-gradient"], on: device.device)[0]
                .explanations
            #expect(found[0].map.values == gradient, "\(device)")
            #expect(found[1].map.values == zip(gradient, picture).map { $0 * $1 }, "\(device)")
            #expect(found.map(\.isSigned) == [false, true])
            #expect(found[0].map.width == 4 && found[0].map.height == 4 && found[0].layer == "the input")
        }
        // The negative's gradient is the negative.
        let against = try explain(oneConvNetwork(), [picture], ["saliency", "input-x-gradient"]) {
            $0.isNegative = true
        }[0].explanations
        #expect(against[0].map.values == gradient)
        #expect(against[1].map.values == zip(gradient, picture).map { -$0 * $1 })
        #expect(against[1].blank?.contains("nothing speaks for") == true)
    }

    /// Of Σ w x² the integral from b to x is w (x² − b²), and every rule that is exact for straight lines finds it.
    @Test func integratedGradientsOfSquares() throws {
        let weights = (0..<16).map { Float($0) / 8 - 1 }
        let network = squares(weights)
        func map(_ settings: [String: String]) throws -> Explanation {
            try explain(network, [picture], ["integrated-gradients"]) {
                $0.settings["integrated-gradients"] = settings
            }[0].explanations[0]
        }
        let toZero = zip(weights, picture).map { $0 * $1 * $1 }
        for rule in ["gauss-legendre", "trapezoid", "riemann-middle"] {
            for steps in ["2", "3", "50"] {
                let found = try map(["rule": rule, "steps": steps])
                #expect(close(found.map.values, toZero, within: 2e-4), "\(rule), \(steps)")
                let whole = try #require(found.completeness)
                #expect(
                    abs(whole.sum - whole.expected) < 1e-2 && abs(whole.expected - toZero.reduce(0, +)) < 1e-2
                )
            }
        }
        // At n equal steps the sums of the ends are off by the factors 1 ∓ 1/n.
        #expect(
            close(
                try map(["rule": "riemann-left", "steps": "4"]).map.values, toZero.map { $0 * 0.75 },
                within: 2e-4))
        #expect(
            close(
                try map(["rule": "riemann-right", "steps": "4"]).map.values, toZero.map { $0 * 1.25 },
                within: 2e-4))
        // The mean of the picture is 7.5, white is 255.
        let toMean = zip(weights, picture).map { $0 * ($1 * $1 - 56.25) }
        #expect(close(try map(["baseline": "mean"]).map.values, toMean, within: 2e-4))
        let toWhite = zip(weights, picture).map { $0 * ($1 * $1 - 65025) }
        #expect(close(try map(["baseline": "white"]).map.values, toWhite, within: 1))
        // Of several baselines the mean.
        let both = try map(["baseline": "mean+zero"])
        #expect(close(both.map.values, zip(toMean, toZero).map { ($0 + $1) / 2 }, within: 2e-4))
        #expect(abs(try #require(both.completeness).error!) < 1e-4)
        // The picture itself is no baseline.
        let nothing = try explain(network, [Array(repeating: 3, count: 16)], ["integrated-gradients"]) {
            $0.settings["integrated-gradients"] = ["baseline": "mean"]
        }[0].explanations[0]
        #expect(nothing.blank?.contains("the picture is the baseline") == true)
    }

    @Test func integratedGradientsAddUp() throws {
        for softmax in [false, true] {
            let found = try explain(
                smooth(softmax: softmax), [colours("p"), colours("q")], ["integrated-gradients"]
            ) {
                ($0.classChoice, $0.scale, $0.batch) = (.top(2), softmax ? .probability : nil, 2)
                $0.against = "1"
            }
            for explanation in found.flatMap(\.explanations) {
                let whole = try #require(explanation.completeness)
                #expect(try #require(whole.error) < 1e-4)
                #expect(abs(explanation.map.values.reduce(0, +) - whole.expected) < 1e-4)
                #expect(!softmax || abs(whole.expected) < 1)
            }
        }
    }

    /// Nodes and weights as tables have them, for −1 … 1.
    @Test func quadrature() {
        let five = QuadratureRule.gaussLegendre.points(5)
        let nodes = [-0.9061798459386640, -0.5384693101056831, 0, 0.5384693101056831, 0.9061798459386640]
        let weights = [
            0.2369268850561891, 0.4786286704993665, 0.5688888888888889, 0.4786286704993665,
            0.2369268850561891,
        ]
        for i in 0..<5 {
            #expect(abs(2 * five[i].node - 1 - nodes[i]) < 1e-15)
            #expect(abs(2 * five[i].weight - weights[i]) < 1e-14)
        }
        #expect(QuadratureRule.gaussLegendre.points(1).map(\.node) == [0.5])
        // n nodes are exact for powers up to 2n − 1.
        for n in [1, 2, 3, 10, 50, 51, 500] {
            let points = QuadratureRule.gaussLegendre.points(n)
            #expect(zip(points, points.dropFirst()).allSatisfy { $0.node < $1.node })
            for power in [0, 1, 2 * n - 1] {
                let sum = points.reduce(0) { $0 + $1.weight * pow($1.node, Double(power)) }
                #expect(abs(sum - 1 / Double(power + 1)) < 1e-13, "\(n) nodes, power \(power)")
            }
        }
        for rule in QuadratureRule.allCases {
            #expect(abs(rule.points(7).reduce(0) { $0 + $1.weight } - 1) < 1e-15)
        }
    }

    /// The parts of the full gradient of one convolution by hand: x ⊙ dx up to 11, and biases −50 and −75 times [0, 1, 1, 1] and [0, 0, −1, −1].
    @Test func fullGradOfOneConvolution() throws {
        let pixels: [Float] = [0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 0, 0, 0].map { $0 / 11 }
        func enlarged(_ cells: [Float]) -> [Float] {
            Plane(width: 2, height: 2, values: cells).resized(width: 4, height: 4).values
        }
        for device in Devices.all {
            for (scale, cells) in [
                ("layer", [0, 2 / 3, 5 / 3, 5 / 3]), ("channel", [0, 1, 2, 2]),
            ] as [(String, [Float])] {
                let found = try explain(oneConvNetwork(), [picture], ["fullgrad"], on: device.device) {
                    $0.settings["fullgrad"] = ["scale": scale]
                }[0].explanations[0]
                #expect(
                    close(found.map.values, zip(pixels, enlarged(cells)).map { $0 + $1 }, within: 1e-6),
                    "\(device)")
                // 54 + 0 is the score.
                #expect(found.note == nil)
            }
        }
    }

    /// Of a ReLU network the parts add up to the score, its normalisation merged or not; a sigmoid's do not.
    @Test func fullGradientsAddUp() throws {
        var builder = smooth(activation: "Relu")
        #expect(try explain(builder, [colours("p")], ["fullgrad"])[0].explanations[0].note == nil)
        #expect(
            try explain(smooth(), [colours("p")], ["fullgrad"])[0].explanations[0].note?.contains(
                "not to the score")
                == true)

        // With a normalisation that is merged, one that is not, and a constant that is subtracted.
        builder = ONNXBuilder(name: "normalised")
        builder.input("x", ["N", 3, 8, 8])
        var random = SeededRandom("normalised network")
        func floats(_ count: Int, _ low: Float = -1, _ high: Float = 1) -> [Float] {
            (0..<count).map { _ in random.float(low, high) }
        }
        func norm(_ x: String, _ y: String) {
            for (part, low) in [("scale", -1), ("bias", -1), ("mean", -1), ("variance", 0.5)]
                as [(String, Float)]
            {
                builder.initializer("\(y).\(part)", [4], floats: floats(4, low, 1))
            }
            builder.node(
                "BatchNormalization", [x] + ["scale", "bias", "mean", "variance"].map { "\(y).\($0)" }, [y],
                name: y)
        }
        builder.initializer("shift", [1, 3, 1, 1], floats: floats(3))
        builder.node("Sub", ["x", "shift"], ["shifted"], name: "shift")
        builder.initializer("w", [4, 3, 3, 3], floats: floats(108))
        builder.initializer("b", [4], floats: floats(4))
        builder.node("Conv", ["shifted", "w", "b"], ["c"], ["pads": [1, 1, 1, 1]], name: "conv")
        norm("c", "n")
        builder.node("Relu", ["n"], ["r"], name: "relu")
        norm("r", "m")
        builder.node("Add", ["m", "n"], ["sum"], name: "residual")
        builder.node("GlobalAveragePool", ["sum"], ["p"], name: "pool")
        builder.node("Flatten", ["p"], ["f"], name: "flatten")
        builder.initializer("rows", [2, 4], floats: floats(8))
        builder.initializer("last", [2], floats: floats(2))
        builder.node("Gemm", ["f", "rows", "last"], ["s"], ["transB": 1], name: "linear")
        builder.output("s", ["N", 2])
        let network = try Network(builder.model())
        let biases = try network.biases(in: PassSpec(batch: 1))
        #expect(biases.map(\.value) == ["shifted", "n", "m", "s"])
        let found = try explain(builder, [colours("p")], ["fullgrad"])[0]
        #expect(found.explanations[0].note == nil)
        // In double precision, part by part.
        let dims = [1, 3, 8, 8]
        func gradient(_ value: String) throws -> [Float] {
            try network.run(
                colours("p"), dims: dims, outputs: [], gradient: 0, target: value, on: Devices.cpus[0].device)[
                    0
                ]
                .values
        }
        var sum = zip(try gradient("x"), colours("p")).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        for bias in biases.dropLast() {
            let (numbers, values) = (try gradient(bias.value), try bias.tensor.floats())
            let cells = numbers.count / values.count
            for i in numbers.indices { sum += Double(numbers[i]) * Double(values[i / cells]) }
        }
        sum += Double(try biases[3].tensor.floats()[0])
        #expect(abs(sum - Double(found.predictions.first { $0.index == 0 }!.logit)) < 1e-4)
    }

    // MARK: Samples

    /// With x² the answers are known: the mean of 2w(x + ε) is 2wx, its square's 4w²(x² + σ²), its variance 4w²σ²; and the errors that
    /// are found are those that are stated.
    @Test(arguments: [("smoothgrad", 0), ("smoothgrad-squared", 1), ("vargrad", 2)])
    func noise(_ method: String, _ kind: Int) throws {
        let weights = (0..<16).map { Float($0 + 2) / 8 }
        let sigma: Float = 0.2 * 15
        let expected = zip(weights, picture).map { w, x -> Float in
            switch kind {
            case 0: 2 * w * x
            case 1: 4 * w * w * (x * x + sigma * sigma)
            default: 4 * w * w * sigma * sigma
            }
        }
        var scores: [Float] = []
        for seed: UInt64 in 0..<8 {
            let found = try explain(squares(weights), [picture], [method]) {
                $0.settings[method] = ["samples": "400", "noise": "0.2"]
                $0.seed = seed
            }[0].explanations[0]
            #expect(found.samples == 400)
            let errors = try #require(found.sampleError).values
            for i in kind == 0 ? 1..<16 : 0..<16 {
                scores.append((found.map.values[i] - expected[i]) / errors[i])
            }
        }
        let square = scores.reduce(0) { $0 + $1 * $1 } / Float(scores.count)
        #expect(square > 0.7 && square < 1.4, "the mean square of errors over standard errors is \(square)")
        #expect(scores.allSatisfy { abs($0) < 5 })
    }

    /// Baselines of one colour from 0 … 255: the mean of w (x² − b²) is w (x² − 255²/3).
    @Test func expectedGradients() throws {
        let weights = (0..<16).map { Float($0 + 2) / 8 }
        let found = try explain(squares(weights), [picture.map { 10 * $0 }], ["expected-gradients"]) {
            $0.settings["expected-gradients"] = ["samples": "1000"]
        }[0].explanations[0]
        #expect(found.samples == 1000)
        let errors = try #require(found.sampleError).values
        for i in 0..<16 {
            let expected = weights[i] * (100 * picture[i] * picture[i] - 255 * 255 / 3)
            #expect(abs(found.map.values[i] - expected) < 4 * errors[i])
        }
        let whole = try #require(found.completeness)
        #expect(try #require(whole.error) < 0.1)
        // s(x) − E[s(b)], of the same baselines.
        let score = zip(weights, picture).reduce(0) { $0 + $1.0 * 100 * $1.1 * $1.1 }
        let mean = weights.reduce(0, +) * 255 * 255 / 3
        #expect(abs(whole.expected - (score - mean)) < mean * 0.1)
    }

    /// From a folder of two pictures of one grey each: between 50 and 100, with a share of each that chance gives.
    @Test func expectedGradientsOfAFolder() throws {
        let folder = try TemporaryDirectory()
        for level: UInt8 in [50, 100] {
            try RGBImage(width: 4, height: 4, colour: (level, level, level)).writePNG(
                to: folder.path + "/\(level).png", overwrite: false)
        }
        let weights = [Float](repeating: 1, count: 16)
        let found = try explain(squares(weights), [Array(repeating: 0, count: 16)], ["expected-gradients"]) {
            $0.settings["expected-gradients"] = ["samples": "256", "baselines": folder.path]
        }[0].explanations[0]
        // The mean of −b² is −6250 if both are as frequent; the completeness has the true share.
        let whole = try #require(found.completeness)
        #expect(abs(whole.expected / 16 + 6250) < 1000)
        let error = try #require(found.sampleError).values[0]
        #expect(abs(found.map.values[0] - whole.expected / 16) < 4 * error)
        for wrong in [folder.path + "/none", "/dev/null"] {
            let error = failure {
                _ = try explain(squares(weights), [picture], ["expected-gradients"]) {
                    $0.settings["expected-gradients"] = ["baselines": wrong]
                }
            }
            #expect(error?.kind == .input && error?.description.contains(wrong) == true)
        }
    }

    /// Samples are drawn until they are precise enough, which is looked at after every 32, whatever else is computed.
    @Test(arguments: ["smoothgrad", "vargrad", "expected-gradients"])
    func precision(_ method: String) throws {
        func explain(_ precision: String?, classes: ClassChoice = .index(0), batch: Int = 1) throws
            -> [ImageExplanation]
        {
            try self.explain(smooth(), [colours("p"), colours("q")], [method]) {
                ($0.classChoice, $0.batch) = (classes, batch)
                $0.settings[method] = ["samples": "500"]
                if let precision { $0.settings[method]!["precision"] = precision }
            }
        }
        #expect(try explain(nil)[0].explanations[0].samples == 500)
        let loose = try explain("0.1")
        let samples = try #require(loose[0].explanations[0].samples)
        #expect(samples % 32 == 0 && samples < 500)
        for explanation in loose.map({ $0.explanations[0] }) {
            let (values, errors) = (explanation.map.values, explanation.sampleError!.values)
            let square = errors.reduce(0) { $0 + $1 * $1 } / Float(errors.count)
            #expect(square.squareRoot() / (values.max()! - values.min()!) <= 0.1)
        }
        let together = try explain("0.1", classes: .list([.index(2), .index(0), .index(1)]), batch: 2)
        for (a, b) in zip(loose, together) {
            let same = b.explanations.first { $0.classIndex == 0 }!
            #expect(same.map == a.explanations[0].map && same.samples == a.explanations[0].samples)
        }
    }

    // MARK: Bits

    /// All methods, on all devices, in batches of one and of three, and so (three threads take 11 variants of a picture at a time, others fewer) with
    /// variants together or not: the same bits.
    @Test func sameBitsEverywhere() throws {
        if let problem = Devices.openCLProblem { Issue.record("\(problem)") }
        let methods = [
            "saliency", "input-x-gradient", "integrated-gradients", "expected-gradients", "smoothgrad",
            "smoothgrad-squared", "vargrad", "fullgrad",
        ]
        let pictures = ["p", "q", "r"].map(colours)
        func maps(_ device: TestDevice, batch: Int, _ pictures: [[Float]]) throws -> [[Float]] {
            try explain(smooth(softmax: true), pictures, methods, on: device.device) {
                $0.settings["integrated-gradients"] = ["steps": "11", "baseline": "zero+blur"]
                for method in methods[3...6] { $0.settings[method] = ["samples": "11"] }
                ($0.batch, $0.classChoice, $0.scale) = (batch, .list([.index(2), .index(0)]), .probability)
            }.flatMap(\.explanations).flatMap {
                [$0.map.values, $0.heatmap.values, $0.sampleError?.values ?? []]
            }
        }
        let first = try maps(Devices.all[0], batch: 1, pictures)
        for device in Devices.all {
            for batch in [1, 3] {
                let found = try maps(device, batch: batch, pictures)
                #expect(found.count == first.count)
                for (a, b) in zip(first, found) {
                    if let problem = bitDifference(a, b) {
                        Issue.record("\(device), batch \(batch): \(problem)")
                    }
                }
            }
        }
    }

    /// Progress goes up, and whoever hears of it may end the work.
    @Test func progress() throws {
        var options = Options()
        (options.device, options.batch) = (.cpu, 2)
        options.methods = ["saliency", "smoothgrad", "integrated-gradients", "expected-gradients"]
        let session = try ExplanationSession(
            try Model(Network(smooth().model()), preprocessing: "none"), options: options)
        let pictures = ["p", "q", "r"].map { Picture.array(colours($0), name: $0) }
        var told: [Double] = []
        func tell(_ done: Double) { told.append(done) }
        try session.explain(pictures, progress: tell) { _, result in _ = try result.get() }
        #expect(told == told.sorted() && told.count > 100 && told.allSatisfy { (0...3).contains($0) })
        struct Enough: Error {}
        func end(_ done: Double) throws { if done > 1 { throw Enough() } }
        #expect(throws: Enough.self) {
            try session.explain(pictures, progress: end) { _, _ in }
        }
    }

    // MARK: Baselines, heat maps, refusals

    @Test func baselines() throws {
        let network = try Network(smooth().model())
        let subject = ExplainedNetwork(
            network, layers: [], input: [1, 3, 8, 8],
            preprocessing: Preprocessing(
                resize: .exact(width: 8, height: 8), interpolation: .nearest, divisor: 255,
                mean: [0.5, 0.25, 0.75],
                std: [0.5, 1, 0.25]))
        func numbers(_ text: String, _ picture: [Float]) throws -> [Float] {
            try #require(Baseline(setting: text)).ready(for: subject).numbers(for: picture)
        }
        func channels(_ numbers: Float...) -> [Float] { numbers.flatMap { Array(repeating: $0, count: 64) } }
        let picture = colours("p")
        #expect(try numbers("zero", picture) == channels(0, 0, 0))
        #expect(try numbers("black", picture) == channels(-1, -0.25, -3))
        #expect(try numbers("White", picture) == channels(1, 0.75, 1))
        let mean = try numbers("mean", picture)
        for channel in 0..<3 {
            let sum = picture[channel * 64..<(channel + 1) * 64].reduce(0) { $0 + Double($1) }
            #expect(abs(Double(mean[channel * 64 + 5]) - sum / 64) < 1e-7)
        }
        // A blurred picture of one colour is that picture; a blurred point is a Gaussian.
        let flat = channels(3, -1, 0.5)
        #expect(close(try numbers("blur:2", flat), flat, within: 1e-6))
        var point = channels(0, 0, 0)
        point[3 * 8 + 3] = 1
        let blurred = try numbers("blur:1", point)
        var total = 0.0
        for d in -3...3 { total += exp(-Double(d * d) / 2) }
        for (dx, dy) in [(0, 0), (1, 0), (0, -2), (2, 1)] {
            let expected = exp(-Double(dx * dx + dy * dy) / 2) / (total * total)
            #expect(abs(Double(blurred[(3 + dy) * 8 + 3 + dx]) - expected) < 1e-6)
        }
        // A file is prepared like any picture.
        let folder = try TemporaryDirectory()
        let path = folder.path + "/grey:1+.png"
        try RGBImage(width: 20, height: 9, colour: (51, 102, 204)).writePNG(to: path, overwrite: false)
        #expect(close(try numbers("file:\(path)", picture), channels(-0.6, 0.15, 0.2), within: 1e-6))
        for wrong in ["", "grau", "blur:", "blur:0", "blur:nan", "file:", "zero:1"] {
            #expect(Baseline(setting: wrong) == nil, "\(wrong)")
        }
        let missing = failure { _ = try numbers("file:/nowhere.png", picture) }
        #expect(missing?.kind == .input && missing?.description.contains("/nowhere.png") == true)
        let two = ExplainedNetwork(network, layers: [], input: [1, 2, 8, 8])
        #expect(failure { _ = try Baseline.black.ready(for: two) }?.kind == .method)
    }

    /// A few bright pixels do not hide the rest.
    @Test func heatMapsAreClipped() {
        let values = (1...200).map(Float.init) + [.nan, 1e6, .infinity]
        let plane = Plane(width: 29, height: 7, values: values)
        let clipped = plane.clipped(atQuantile: 0.99).values
        // Of 201 finite numbers number 199.
        #expect(clipped[..<199] == values[..<199] && clipped[199] == 199 && clipped[201] == 199)
        #expect(clipped[200].isNaN && clipped[202] == .infinity)
        #expect(plane.clipped(atQuantile: 1).values[201] == 1e6)
        // One bright pixel among zeros stays, signed or not.
        let one = Plane(width: 10, height: 20, values: Array(repeating: 0, count: 199) + [5])
        #expect(one.clipped(atQuantile: 0.99) == one)
        let negative = Plane(width: 10, height: 20, values: (0..<199).map { -Float($0) } + [5])
        #expect(negative.clipped(atQuantile: 0.99, signed: true) == negative)
        #expect(Saliency.brightestQuantile == 0.99 && GradCAM.brightestQuantile == 1)
    }

    @Test func refusals() throws {
        for (method, settings, words) in [
            ("integrated-gradients", ["rule": "trapezoid", "steps": "1"], "at least 2 steps"),
            ("integrated-gradients", ["steps": "0"], "from 1 to 10000"),
            ("integrated-gradients", ["baseline": "zero+"], "integrated-gradients.baseline"),
            ("smoothgrad", ["noise": "-1"], "smoothgrad.noise"),
            ("vargrad", ["precision": "0"], "above 0"),
            ("saliency", ["steps": "1"], "it has none"),
        ] {
            let error = failure {
                _ = try explain(oneConvNetwork(), [picture], [method]) { $0.settings[method] = settings }
            }
            #expect(
                error?.kind == .method && error?.description.contains(words) == true,
                "\(String(describing: error))")
        }
        let error = failure { _ = try explain(squares(picture), [picture], ["fullgrad"]) }
        #expect(error?.kind == .method && error?.description.contains("has none") == true)
    }
}
