// Segments beside scikit-image's; LIME and Kernel SHAP beside networks whose answers are known, regressions solved a second time, and
// Shapley values by their definition.

import Explain
import Foundation
import Imaging
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct SegmentTests {
    /// A picture of 16×20 pixels in blocks and gradients.
    private static let picture: ViewedColours = {
        var values: [Double] = []
        for y in 0..<16 {
            for x in 0..<20 {
                for level in [x * 11 + y * 3, y * 13 + x / 7 * 60, x * y + 40 * (y / 6)] {
                    values.append(Double(level % 256) / 255)
                }
            }
        }
        return ViewedColours(height: 16, width: 20, channels: 3, areColours: true, values: values)
    }()
    private func rows(_ labels: [Int]) -> [String] {
        let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        return stride(from: 0, to: labels.count, by: 20).map { begin in
            String(labels[begin..<begin + 20].map { letters[$0] })
        }
    }

    /// scikit-image 0.26: quickshift(picture, kernel_size=1.5, max_dist=6, ratio=0.5).
    @Test func quickshift() {
        let found = Quickshift(kernel: 1.5, farthest: 6, ratio: 0.5, seed: 0).labels(Self.picture)
        #expect(
            rows(found) == [
                "aaaabbbcccccccdddddd", "aaaabbbcccccccdddddd", "aaabbbbccccccceeeeee",
                "hhhhfffgggggggeeeeee", "hhhhfffgggggggeeeeee", "hhhhhhhgggggggeeeeee",
                "kkkkkkkiiiiiiijjjjjj", "kkkkkkkiiiiiiijjjjjj", "kkkkkkkiiiiiiijjjjjj",
                "kkkkkkkiiiiiiijjjjjj", "kkkkkkkiiiiiiijjjjjj", "kkkkkkkiiiiiiillllll",
                "nnnnnnnooooooomppppp", "nnnnnnnooooooopppppp", "nnnnnnnooooooqpppppp",
                "nnnnnnnoooooqqpppppp",
            ])
        let whole = Quickshift(kernel: 2, farthest: 200, ratio: 0.2, seed: 0).labels(Self.picture)
        #expect(whole.allSatisfy { $0 == 0 })
    }

    /// scikit-image 0.26: slic(picture, n_segments, compactness, start_label=0).
    @Test func slic() {
        #expect(
            rows(SLIC(segments: 12, compactness: 10).labels(Self.picture)) == [
                "aaaaaaabbcccccdddddd", "aaaaaaabbcccccdddddd", "aaaaaaabbbccccdddddd",
                "eeeaaaabbbbcccdddddd", "eeeeeaabbbbbccdddddd", "eeeeeaaeebbbccdddddd",
                "eeeeeeeeeeffffgggggg", "eeeeeeeeeeffffgggggg", "hhheeeeeeeffffgggggg",
                "ihhhhhhhjjffffgggggg", "iihhhhhhjjjfffgggggg", "iiiihhhhjjjjkkllllll",
                "iiijjjhjjjkkkkllllll", "iiijjjjjjjkkkkllllll", "iiiijjjjjjkkklllllll",
                "iiiijjjjjjkkklllllll",
            ])
        #expect(
            rows(SLIC(segments: 30, compactness: 1).labels(Self.picture)) == [
                "aaabbbbcdddeeefffggg", "aaabbbbccdddeeffffgg", "aaaabbbcccddeehffffg",
                "iijjkkkllcmmmehhnnnn", "iiijjkklllmmmmhhhnnn", "iiiijjkllllmmmhhhhnn",
                "oooppppqlrrssstttuuu", "oooopppqqrrrsstttuuu", "vooowppqxxrrsstttuuu",
                "vvyywwwzxxxAAAtttuuu", "vvvyywwzxxxAAAtttuuu", "vvvvyywzzxxxAABBBBBB",
                "CCvDDDwEEFFFFFBGGGGH", "CCCDDDDEEEFFFFGGGGHH", "CCCCDDDEEEFFFFGGGHHH",
                "CCCCDDDEEEFFFFGGHHHH",
            ])
        // More segments than pixels, and pictures of one pixel, one row, one column.
        for (height, width) in [(1, 1), (1, 9), (9, 1), (3, 2)] {
            let picture = ViewedColours(
                height: height, width: width, channels: 1, areColours: false,
                values: (0..<height * width).map { Double($0) / 9 })
            let labels = SLIC(segments: 100, compactness: 10).labels(picture)
            #expect(labels.count == height * width && Set(labels) == Set(0...labels.max()!))
            let shifted = Quickshift(kernel: 4, farthest: 200, ratio: 0.2, seed: 0).labels(picture)
            #expect(Set(shifted) == Set(0...shifted.max()!))
        }
    }

    /// scikit-image's rgb2lab of red and of (12, 200, 90).
    @Test func lab() {
        let picture = ViewedColours(
            height: 1, width: 2, channels: 3, areColours: true,
            values: [255, 0, 0, 12, 200, 90].map { Double($0) / 255 })
        let expected = [
            53.24058794, 80.09230823, 67.20275104, 70.95515778, -64.82005978, 43.0652283,
        ]
        for (a, b) in zip(picture.lab, expected) { #expect(abs(a - b) < 1e-7) }
    }

    @Test func exponential() {
        var random = SeededRandom("exponential")
        for _ in 0..<20_000 {
            let x = Double(random.float(-700, 0))
            #expect(abs(expOfNegative(x) / exp(x) - 1) < 5e-16)
        }
        #expect(expOfNegative(0) == 1 && expOfNegative(-1e9) == 0)
    }

    /// The colours are those before the preprocessing, whatever that was.
    @Test func colours() throws {
        let bytes = (0..<3 * 16).map { Float(($0 * 37) % 256) }
        for name in ["imagenet", "lite", "caffe", "tf", "none"] {
            let preprocessing = try #require(Preprocessing.preset(named: name))
            let input = try PixelInput(subject(channels: 3, preprocessing), for: "")
            let numbers = bytes.enumerated().map {
                ($1 / preprocessing.divisor - preprocessing.mean[$0 / 16]) / preprocessing.std[$0 / 16]
            }
            let found = ViewedColours(numbers, of: input, preparedBy: preprocessing)
            for pixel in 0..<16 {
                for c in 0..<3 {
                    let channel = preprocessing.colours == .bgr ? 2 - c : c
                    #expect(found.values[3 * pixel + c] == Double(bytes[16 * channel + pixel]) / 255)
                }
            }
            // One channel is grey; two are no colours.
            let grey = try PixelInput(subject(channels: 1, preprocessing), for: "")
            let greys = (0..<16).map { i in preprocessing.number(bytes[i], channel: 0, of: 1) }
            let seen = ViewedColours(greys, of: grey, preparedBy: preprocessing)
            #expect(seen.values == (0..<48).map { Double(bytes[$0 / 3]) / 255 })
        }
        let two = try PixelInput(subject(channels: 2, .none), for: "")
        let found = ViewedColours((0..<32).map { Float($0) - 8 }, of: two, preparedBy: .none)
        #expect(found.channels == 2 && !found.areColours && found.values[0] == 0 && found.values[31] == 1)
        let numbers = try PixelInput(subject(channels: 3, .none), for: "")
        #expect(!ViewedColours((0..<48).map { Float($0) - 8 }, of: numbers, preparedBy: .none).areColours)
    }

    private func subject(channels: Int, _ preprocessing: Preprocessing) throws -> ExplainedNetwork {
        var builder = ONNXBuilder(name: "mean")
        builder.input("x", ["N", .fixed(channels), 4, 4])
        builder.node("GlobalAveragePool", ["x"], ["s"], name: "pool")
        builder.node("Flatten", ["s"], ["f"], name: "flatten")
        builder.output("f", ["N", .fixed(channels)])
        return ExplainedNetwork(
            try Network(builder.model()), layers: [], input: [1, channels, 4, 4],
            preprocessing: preprocessing)
    }

    @Test func systems() {
        var random = SeededRandom("systems")
        for size in [1, 2, 5, 30] {
            let half = (0..<size * size).map { _ in Double(random.float()) }
            var matrix = [Double](repeating: 0, count: size * size)
            for i in 0..<size {
                for j in 0..<size {
                    for k in 0..<size { matrix[i * size + j] += half[i * size + k] * half[j * size + k] }
                }
                matrix[i * size + i] += 0.1
            }
            let right = (0..<size).map { _ in Double(random.float()) }
            let system = SymmetricSystem(matrix, size: size)
            let (x, inverse) = (system.solve(right), system.inverse)
            for i in 0..<size {
                let row = matrix[i * size..<(i + 1) * size]
                #expect(abs(zip(row, x).reduce(-right[i]) { $0 + $1.0 * $1.1 }) < 1e-9)
                for j in 0..<size {
                    let product = (0..<size).reduce(0.0) { $0 + row[i * size + $1] * inverse[$1 * size + j] }
                    #expect(abs(product - (i == j ? 1 : 0)) < 1e-9)
                }
            }
            #expect(!system.isSingular)
        }
        #expect(SymmetricSystem([1, 1, 1, 1], size: 2).isSingular)
        #expect(SymmetricSystem([1, 1, 1, 1], size: 2).solve([3, 3]) == [3, 0])
    }
}

@Suite struct CoalitionTests {
    private static let (side, blocks) = (4, 6)
    /// Six blocks of 4×4 pixels, in two rows, of colours far apart, with a gradient within each.
    private static let picture: [Float] = (0..<3).flatMap { channel in
        (0..<8).flatMap { y in
            (0..<12).map { x in
                let block = y / side * 3 + x / side
                return Float(
                    [40, 220, 90, 160, 30, 200][(block * (channel + 1) + channel) % 6] + (x + y) % 4)
            }
        }
    }
    /// The block of each pixel.
    private static let labels = (0..<96).map { $0 / 12 / side * 3 + $0 % 12 / side }
    private static let slic = ["segmentation": "slic", "segments": "6", "cover": "zero"]

    /// s = Σ v x, of 3×8×12 pixels.
    private func linear(_ weights: [Float]) -> ONNXBuilder {
        var builder = ONNXBuilder(name: "linear")
        builder.input("x", ["N", 3, 8, 12])
        builder.initializer("w", [2, 288], floats: weights + weights.map { -$0 })
        builder.initializer("one", [3, 1, 1, 1], floats: [1, 1, 1])
        builder.node("Conv", ["x", "one"], ["c"], ["group": 3], name: "conv")
        builder.node("Flatten", ["c"], ["f"], name: "flatten")
        builder.node("Gemm", ["f", "w"], ["s"], ["transB": 1], name: "linear")
        builder.output("s", ["N", 2])
        return builder
    }

    /// A network in which segments matter to each other.
    private func curved() -> ONNXBuilder {
        var random = SeededRandom("curved")
        func floats(_ count: Int, _ size: Float) -> [Float] {
            (0..<count).map { _ in random.float(-size, size) }
        }
        var builder = ONNXBuilder(name: "curved")
        builder.input("x", ["N", 3, 8, 12])
        builder.initializer("w1", [6, 3, 3, 3], floats: floats(162, 0.01))
        builder.node("Conv", ["x", "w1"], ["c"], ["pads": [1, 1, 1, 1]], name: "conv")
        builder.node("Sigmoid", ["c"], ["a"], name: "sigmoid")
        builder.node("Flatten", ["a"], ["f"], name: "flatten")
        builder.initializer("w2", [10, 576], floats: floats(5760, 0.2))
        builder.node("Gemm", ["f", "w2"], ["g"], ["transB": 1], name: "dense")
        builder.node("Tanh", ["g"], ["t"], name: "tanh")
        builder.initializer("w3", [3, 10], floats: floats(30, 2))
        builder.node("Gemm", ["t", "w3"], ["s"], ["transB": 1], name: "linear")
        builder.output("s", ["N", 3])
        return builder
    }

    private func explain(
        _ builder: ONNXBuilder, _ pictures: [[Float]], _ method: String, _ settings: [String: String],
        _ change: (inout Options) -> Void = { _ in }
    ) throws -> [ImageExplanation] {
        let model = try Model(Network(builder.model()), preprocessing: "none")
        var options = Options()
        (options.device, options.classChoice, options.scale) = (.cpu, .index(0), .logit)
        (options.methods, options.settings) = ([method], [method: settings])
        change(&options)
        var found: [ImageExplanation] = []
        try ExplanationSession(model, options: options).explain(
            pictures.enumerated().map { .array($1, name: "\($0)") }
        ) { found.append(try $1.get()) }
        return found
    }

    /// The number of each block, if the map is the same all over each.
    private func blocks(_ map: [Float]) throws -> [Float] {
        let numbers = (0..<Self.blocks).map { map[Self.labels.firstIndex(of: $0)!] }
        try #require(map == Self.labels.map { numbers[$0] })
        return numbers
    }

    private let weights: [Float] = {
        var random = SeededRandom("weights")
        return (0..<288).map { _ in random.float() }
    }()

    /// What a block adds to the linear score.
    private var shares: [Double] {
        (0..<Self.blocks).map { block in
            (0..<288).reduce(0.0) {
                $0 + (Self.labels[$1 % 96] == block ? Double(weights[$1]) * Double(Self.picture[$1]) : 0)
            }
        }
    }

    /// A linear score is its own explanation.
    @Test(arguments: ["lime", "kernel-shap"])
    func linearScore(_ method: String) throws {
        var settings = Self.slic
        if method == "lime" { settings["alpha"] = "1e-6" }
        for samples in ["40", "500"] {
            settings["samples"] = samples
            let found = try explain(linear(weights), [Self.picture], method, settings)[0].explanations[0]
            for (a, b) in zip(try blocks(found.map.values), shares) { #expect(abs(Double(a) - b) < 0.01) }
            if let error = found.sampleError { #expect(error.values.allSatisfy { $0 < 0.01 }) }
            if let completeness = found.completeness {
                #expect(abs(completeness.expected - Float(shares.reduce(0, +))) < 0.01)
                #expect(completeness.error! < 1e-4)
            }
        }
    }

    /// The ridge regression a second time: Gaussian elimination with the intercept as an unknown of its own.
    @Test func limeIsRidge() throws {
        let (n, count) = (Self.blocks, 50)
        var settings = Self.slic
        settings["samples"] = "\(count)"
        let found = try explain(curved(), [Self.picture], "lime", settings)[0].explanations[0]
        let random = CounterRandom(seed: 0, stream: 0x4C49_4D45)
        let shown = (0..<count).map { sample in
            random.uniforms(n, sample: sample).map { sample == 0 || $0 < 0.5 }
        }
        let scores = try scores(of: shown)
        var matrix = (0...n).map { _ in [Double](repeating: 0, count: n + 2) }
        for (z, y) in zip(shown, scores) {
            let row = z.map { $0 ? 1.0 : 0.0 } + [1]
            let distance = 1 - (Double(z.filter { $0 }.count) / Double(n)).squareRoot()
            let weight = exp(-distance * distance / 0.0625).squareRoot()
            for i in 0...n {
                for j in 0...n { matrix[i][j] += weight * row[i] * row[j] }
                matrix[i][n + 1] += weight * row[i] * y
            }
        }
        for i in 0..<n { matrix[i][i] += 1 }
        for i in 0...n {
            for k in 0...n where k != i {
                let factor = matrix[k][i] / matrix[i][i]
                for j in 0...n + 1 { matrix[k][j] -= factor * matrix[i][j] }
            }
        }
        let expected = (0..<n).map { matrix[$0][n + 1] / matrix[$0][$0] }
        for (a, b) in zip(try blocks(found.map.values), expected) { #expect(abs(Double(a) - b) < 1e-4) }
        #expect(found.note!.hasPrefix("6 segments; R² of the fit 0."))
    }

    /// The score of class 0 with some blocks shown and the others 0.
    private func scores(of shown: [[Bool]]) throws -> [Double] {
        let pictures = shown.map { z in
            Self.picture.enumerated().map { z[Self.labels[$0 % 96]] ? $1 : 0 }
        }
        return try explain(curved(), pictures, "saliency", [:]).map { image in
            Double(image.predictions.first { $0.index == 0 }!.logit)
        }
    }

    /// Shapley's definition: the mean over all orders, which is over all coalitions without a block.
    private func shapley() throws -> [Double] {
        let n = Self.blocks
        let scores = try scores(of: (0..<1 << n).map { set in (0..<n).map { set >> $0 & 1 == 1 } })
        let factorial = (0...n).map { (1...max(1, $0)).reduce(1.0) { $0 * Double($1) } }
        return (0..<n).map { block in
            (0..<1 << n).filter { $0 >> block & 1 == 0 }.reduce(0.0) {
                let size = $1.nonzeroBitCount
                return $0 + factorial[size] * factorial[n - 1 - size] / factorial[n]
                    * (scores[$1 | 1 << block] - scores[$1])
            }
        }
    }

    @Test func kernelSHAPIsShapley() throws {
        let expected = try shapley()
        let found = try explain(curved(), [Self.picture], "kernel-shap", Self.slic)[0].explanations[0]
        for (a, b) in zip(try blocks(found.map.values), expected) { #expect(abs(Double(a) - b) < 1e-4) }
        #expect(found.note!.contains("exact") && found.sampleError == nil && found.samples == 62)
        #expect(found.completeness!.error! < 1e-4)
        #expect(expected.contains { abs($0) > 0.1 })
    }

    /// Over many seeds the estimate's mean is right (Kernel SHAP), and its spread is what the standard errors say.
    @Test(arguments: ["lime", "kernel-shap"])
    func errorsAreTrue(_ method: String) throws {
        let (seeds, n) = (40, Self.blocks)
        var settings = Self.slic
        settings["samples"] = method == "lime" ? "120" : "40"
        var (estimates, squares): ([[Double]], Double) = ([], 0)
        for seed in 0..<seeds {
            let found = try explain(curved(), [Self.picture], method, settings) { $0.seed = UInt64(seed) }[0]
                .explanations[0]
            estimates.append(try blocks(found.map.values).map(Double.init))
            squares += try blocks(found.sampleError!.values).reduce(0.0) { $0 + Double($1) * Double($1) }
        }
        let means = (0..<n).map { i in estimates.reduce(0.0) { $0 + $1[i] } / Double(seeds) }
        let spread = estimates.reduce(0.0) { sum, estimate in
            sum + zip(estimate, means).reduce(0.0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }
        let ratio = squares / Double(seeds) / (spread / Double(seeds - 1))
        #expect(ratio > 0.6 && ratio < 1.7, "the errors say \(ratio) times the variance that there is")
        if method == "kernel-shap" {
            let expected = try shapley()
            let error = (spread / Double(seeds - 1) / Double(seeds) / Double(n)).squareRoot()
            for (a, b) in zip(means, expected) { #expect(abs(a - b) < 5 * error) }
        }
    }

    /// As many samples as are needed, in numbers that do not depend on the batch or on other classes.
    @Test(arguments: ["lime", "kernel-shap"])
    func precision(_ method: String) throws {
        var settings = Self.slic
        (settings["segments"], settings["compactness"]) = ("24", "1000")
        (settings["samples"], settings["precision"]) = ("100000", "0.05")
        func found(_ batch: Int, _ choice: ClassChoice, _ device: Device) throws -> [Explanation] {
            try explain(curved(), [Self.picture], method, settings) {
                ($0.batch, $0.classChoice, $0.opened) = (batch, choice, device)
            }[0].explanations
        }
        let cpu = Device.cpu(try CPU(threads: 1))
        let all = try found(1, .top(3), cpu)
        for one in all {
            #expect(one.samples! < 50_000)
            #expect(one.samples! % 32 == 0)
            let error = try #require(one.sampleError).values.reduce(0.0) { $0 + Double($1) * Double($1) }
            let range = one.map.values.max()! - one.map.values.min()!
            #expect((error / 96).squareRoot() / Double(range) <= 0.05)
        }
        for device in Devices.all {
            let same = try found(5, .index(all[1].classIndex!), device.device)[0]
            #expect(same.map.values == all[1].map.values && same.samples == all[1].samples)
            #expect(same.sampleError == all[1].sampleError)
        }
    }

    @Test func refusals() throws {
        func sentence(_ method: String, _ settings: [String: String]) -> String {
            do {
                _ = try explain(curved(), [Self.picture], method, settings)
                return ""
            } catch { return "\(error)" }
        }
        #expect(
            sentence(
                "kernel-shap",
                ["segmentation": "slic", "segments": "24", "compactness": "1000", "samples": "30"]
            )
            .contains("segments apart with 30 coalitions"))
        #expect(sentence("lime", ["segmentation": "watershed"]).contains("quickshift or slic"))
        #expect(sentence("lime", ["cover": "mauve"]).contains("segment, zero"))
    }
}
