// What every method of the list must keep, so that a new one is tested by being listed; exact numbers of the class activation maps; targets,
// settings, random numbers.

import Explain
import Foundation
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

/// A network of 3×16×16 pictures: two convolutions that are symmetric from left to right, a global average and a linear layer.
private func symmetricNetwork() -> ONNXBuilder {
    var random = SeededRandom("symmetric")
    func kernel(_ outputs: Int, _ inputs: Int) -> [Float] {
        (0..<outputs * inputs * 3).flatMap { _ -> [Float] in
            let (side, middle) = (random.float(), random.float())
            return [side, middle, side]
        }
    }
    var builder = ONNXBuilder(name: "symmetric")
    builder.input("x", ["N", 3, 16, 16])
    builder.initializer("w1", [8, 3, 3, 3], floats: kernel(8, 3))
    builder.initializer("b1", [8], floats: (0..<8).map { _ in random.float() })
    builder.initializer("w2", [6, 8, 3, 3], floats: kernel(6, 8).map { $0 / 2 })
    builder.initializer("b2", [6], floats: (0..<6).map { _ in random.float() })
    builder.initializer("w3", [4, 6], floats: (0..<24).map { _ in random.float() })
    builder.node("Conv", ["x", "w1", "b1"], ["c1"], ["pads": [1, 1, 1, 1]], name: "conv1")
    builder.node("Relu", ["c1"], ["r1"], name: "relu1")
    builder.node("MaxPool", ["r1"], ["p1"], ["kernel_shape": [2, 2], "strides": [2, 2]], name: "pool1")
    builder.node("Conv", ["p1", "w2", "b2"], ["c2"], ["pads": [1, 1, 1, 1]], name: "conv2")
    builder.node("Relu", ["c2"], ["r2"], name: "relu2")
    builder.node("GlobalAveragePool", ["r2"], ["p2"], name: "pool2")
    builder.node("Flatten", ["p2"], ["f"], name: "flatten")
    builder.node("Gemm", ["f", "w3"], ["scores"], ["transB": 1], name: "linear")
    builder.output("scores", ["N", 4])
    return builder
}

/// Methods that explain a network without attention; those of attention have tests of their own.
private let convolutional = ExplainerList.all.filter { $0.family != .attention }.map { $0.name }

private func explain(
    _ builder: ONNXBuilder, _ pictures: [[Float]], _ change: (inout Options) -> Void
) throws -> [ImageExplanation] {
    let model = try Model(Network(builder.model()), preprocessing: "none")
    var options = Options()
    (options.device, options.classChoice) = (.cpu, .index(0))
    change(&options)
    var results: [ImageExplanation] = []
    try ExplanationSession(model, options: options).explain(
        pictures.enumerated().map { .array($1, name: "picture \($0)") }
    ) { _, result in results.append(try result.get()) }
    return results
}

private func pictures(_ count: Int) -> [[Float]] {
    var random = SeededRandom("pictures")
    return (0..<count).map { _ in (0..<3 * 16 * 16).map { _ in random.float(0, 1) } }
}

private func close(_ a: [Float], _ b: [Float], within tolerance: Float) -> Bool {
    let range = max(1e-20, b.map(abs).max() ?? 0)
    return a.count == b.count && zip(a, b).allSatisfy { abs($0 - $1) <= tolerance * range }
}

@Suite struct EveryMethodTests {
    /// Fewer samples than people take.
    private static let mostVariants = 20
    /// Those that draw no samples. Deconvnet goes back to units that are off, where a pool takes the first of several zeros.
    private static let sampleless = ExplainerList.all.filter { $0.family != .attention }.filter {
        (!$0.asksManyTimes || $0.name == ScoreCAM.name || $0.name == IntegratedGradients.name)
            && $0.name != Deconvnet.name
    }.map { $0.name }

    @Test(arguments: convolutional)
    func bitsDependOnNeitherDeviceNorBatch(_ method: String) throws {
        let pictures = pictures(3)
        func found(_ batch: Int, _ device: Device) throws -> [ImageExplanation] {
            try explain(symmetricNetwork(), pictures) {
                ($0.methods, $0.batch, $0.opened) = ([method], batch, device)
                ($0.classChoice, $0.mostVariants) = (.top(2), Self.mostVariants)
            }
        }
        let expected = try found(1, .cpu(CPU(threads: 1)))
        for device in Devices.all {
            for batch in [1, 2, 3] {
                let found = try found(batch, device.device)
                for (a, b) in zip(found, expected) {
                    #expect(a.explanations.count == b.explanations.count)
                    for (map, other) in zip(a.explanations, b.explanations) {
                        #expect(
                            map.map.values.map(\.bitPattern) == other.map.values.map(\.bitPattern)
                                && map.sampleError == other.sampleError,
                            "\(method), \(device), in batches of \(batch)")
                        #expect(map.target == other.target)
                    }
                }
            }
        }
    }

    /// No NaN, a title, and what it says of itself is true of its numbers.
    @Test(arguments: convolutional)
    func saysWhatItIs(_ method: String) throws {
        let type = try ExplainerList.named(method)
        for image in try explain(
            symmetricNetwork(), pictures(2),
            { ($0.methods, $0.mostVariants) = ([method], Self.mostVariants) })
        {
            let found = image.explanations[0]
            #expect(found.map.values.allSatisfy { $0.isFinite })
            #expect(found.isSigned == (type.sign == .evidence))
            if !found.isSigned { #expect(found.map.values.allSatisfy { $0 >= 0 }) }
            #expect((found.classIndex == nil) != type.isClassSpecific)
            #expect(found.heatmap.width == 16 && found.heatmap.values.allSatisfy { $0 >= 0 && $0 <= 1 })
            #expect(found.sampleError.map { $0.values.allSatisfy { $0 >= 0 } } ?? true)
        }
        #expect(!type.title.isEmpty && !type.formula.isEmpty && !type.source.isEmpty && !type.cost.isEmpty)
        for setting in type.settingsTable {
            #expect(!setting.help.isEmpty && setting.name == setting.name.lowercased())
        }
    }

    /// A mirrored picture has the mirrored map, where no sample is drawn.
    @Test(arguments: sampleless)
    func mirrored(_ method: String) throws {
        func mirror(_ x: [Float], _ width: Int) -> [Float] {
            stride(from: 0, to: x.count, by: width).flatMap { x[$0..<$0 + width].reversed() }
        }
        let picture = pictures(1)[0]
        let found = try explain(symmetricNetwork(), [picture, mirror(picture, 16)]) {
            $0.methods = [method]
            // A baseline that is the same everywhere has no largest number in a window, and the first is taken.
            if method == DeepLIFT.name { $0.settings = [method: ["baseline": "blur"]] }
        }
        let maps = found.map { $0.explanations[0].map }
        // Not bit for bit: sums have another order.
        #expect(
            close(mirror(maps[0].values, maps[0].width), maps[1].values, within: 2e-4), "\(method)")
    }

    /// Those whose map is linear in what is explained: of class activation maps CAM alone. Guided backpropagation and its kin cut off a part of
    /// what comes back.
    private static let linear = ExplainerList.all.filter { $0.family != .attention }.filter {
        $0.sign == .evidence && $0.isClassSpecific && ($0.family != .activation || $0.name == CAM.name)
            && ![GuidedBackpropagation.name, Deconvnet.name, GuidedGradCAM.name].contains($0.name)
    }.map { $0.name }

    /// The difference of two classes has the difference of their maps.
    @Test(arguments: linear)
    func linearInTheTarget(_ method: String) throws {
        func map(_ index: Int, against: String? = nil) throws -> [Float] {
            try explain(symmetricNetwork(), pictures(1)) {
                ($0.methods, $0.classChoice, $0.against) = ([method], .index(index), against)
                ($0.scale, $0.mostVariants) = (.logit, Self.mostVariants)
            }[0].explanations[0].map.values
        }
        let (a, b) = (try map(1), try map(2))
        #expect(a.contains { $0 != 0 } && a != b)
        #expect(close(try map(1, against: "2"), zip(a, b).map(-), within: 1e-4), "\(method)")
    }

    /// The mean of the maps of the picture and of the mirrored picture, mirrored back.
    @Test(arguments: convolutional)
    func averagedOverVersions(_ method: String) throws {
        func mirror(_ x: [Float], _ width: Int) -> [Float] {
            stride(from: 0, to: x.count, by: width).flatMap { x[$0..<$0 + width].reversed() }
        }
        func found(_ all: [[Float]], _ augmentations: Set<Augmentation>) throws -> [Explanation] {
            try explain(symmetricNetwork(), all) {
                ($0.methods, $0.mostVariants, $0.batch) = ([method], Self.mostVariants, 2)
                $0.augmentations = augmentations
            }.map { $0.explanations[0] }
        }
        let all = pictures(2)
        let (plain, mirrored) = (try found(all, []), try found(all.map { mirror($0, 16) }, []))
        for (i, map) in try found(all, [.flip]).enumerated() {
            let back = mirror(mirrored[i].map.values, map.map.width)
            #expect(map.map.values == zip(plain[i].map.values, back).map { ($0 + $1) / 2 }, "\(method)")
            #expect(map.samples == plain[i].samples.map { $0 + (mirrored[i].samples ?? 0) })
            #expect((map.sampleError == nil) == (plain[i].sampleError == nil))
            #expect((map.completeness == nil) == (plain[i].completeness == nil))
        }
    }

    /// With both kinds there are six versions; darker and brighter ones are given to the network without rounding.
    @Test func averagedOverBrightness() throws {
        let picture = pictures(1)[0]
        func map(_ picture: [Float], _ augmentations: Set<Augmentation>) throws -> [Float] {
            try explain(symmetricNetwork(), [picture]) {
                ($0.methods, $0.augmentations) = (["gradcam"], augmentations)
            }[0].explanations[0].map.values
        }
        let versions = try [1, 0.9, 1.1].map { b in try map(picture.map { $0 * b }, []) }
        let expected = versions[0].indices.map { (versions[0][$0] + versions[1][$0] + versions[2][$0]) / 3 }
        #expect(try map(picture, [.brightness]) == expected)
        let flipped = try [1, 0.9, 1.1].map { b in try map(picture.map { $0 * b }, [.flip]) }
        let both = versions[0].indices.map { i in flipped.reduce(0) { $0 + $1[i] } / 3 }
        #expect(close(try map(picture, [.flip, .brightness]), both, within: 1e-5))
        #expect(try Augmentation.list("flip, Brightness") == [.flip, .brightness])
        #expect(throws: ExplainError.self) { _ = try Augmentation.list("flop") }
    }

    /// A network in which no map could lie on any layer: methods that need none work, others are refused.
    @Test(arguments: convolutional)
    func withoutLayers(_ method: String) throws {
        var builder = ONNXBuilder(name: "linear")
        var random = SeededRandom("linear")
        builder.input("x", ["N", 3, 16, 16])
        builder.initializer("w", [4, 768], floats: (0..<4 * 768).map { _ in random.float(-0.1, 0.1) })
        builder.node("Flatten", ["x"], ["f"], name: "flatten")
        builder.node("Gemm", ["f", "w"], ["scores"], ["transB": 1], name: "linear")
        builder.output("scores", ["N", 4])
        func found() throws -> [ImageExplanation] {
            try explain(builder, pictures(1)) {
                ($0.methods, $0.mostVariants) = ([method], Self.mostVariants)
            }
        }
        // FullGrad lacks biases here.
        if try ExplainerList.named(method).layers == .none, method != FullGrad.name {
            let map = try found()[0].explanations[0].map.values
            // The gradient is the same everywhere.
            #expect(map.contains { $0 != 0 } != (method == VarGrad.name))
        } else {
            #expect(throws: ExplainError.self) { _ = try found() }
        }
    }

    /// Of all methods those that cannot explain a network are left out, and it is said why; those with settings are asked for by themselves.
    @Test func allLeavesOut() throws {
        let model = try Model(Network(oneConvNetwork().model()), preprocessing: "none")
        var options = Options()
        (options.device, options.methods, options.layer) = (.cpu, ["gradcam", "cam", "fem"], "relu")
        options.leavesOutInapplicable = true
        let session = try ExplanationSession(model, options: options)
        #expect(session.leftOut.map(\.method) == ["cam", "fem"])
        #expect(session.leftOut.allSatisfy { !$0.reason.isEmpty } && session.readsLayers)
        options.settings = ["fem": ["k": "2"]]
        #expect(throws: ExplainError.self) { _ = try ExplanationSession(model, options: options) }
        (options.settings, options.methods) = ([:], ["cam"])
        #expect(throws: ExplainError.self) { _ = try ExplanationSession(model, options: options) }
    }

    @Test func readmeHasThemAll() throws {
        let root = URL(filePath: #filePath).appending(path: "../../..").standardized
        let readme = try String(contentsOf: root.appending(path: "README.md"), encoding: .utf8)
        let section = try #require(readme.components(separatedBy: "\n## Methods\n").dropFirst().first)
        let rows = section.components(separatedBy: "\n## ")[0].split(separator: "\n").filter {
            $0.hasPrefix("| ")
        }.map(String.init)
        let expected = ExplainerList.all.map {
            "| `\($0.name)` | \($0.title) | \($0.family.rawValue) | \($0.isClassSpecific ? "a class" : "–") | \($0.cost) | \($0.source) |"
        }
        #expect(
            Array(rows.dropFirst()) == expected,
            "The table under “Methods” in README.md should be:\n\(expected.joined(separator: "\n"))")
    }
}

@Suite struct ActivationMapNumbersTests {
    private func map(_ method: String, at layer: String) throws -> [Float] {
        try explain(oneConvNetwork(), [(0..<16).map(Float.init)]) {
            ($0.methods, $0.layer) = ([method], layer)
        }[0].explanations[0].map.values
    }

    private func check(_ method: String, at layer: String, _ expected: [Float], within tolerance: Float)
        throws
    {
        let found = try map(method, at: layer)
        #expect(close(found, expected, within: tolerance), "\(method) at \(layer): \(found)")
    }

    @Test func elementWise() throws {
        for layer in ["relu", "conv"] {
            let found = try map("hirescam", at: layer)
            #expect(found == [0, 4, 25, 25])
        }
        try check("layercam", at: "relu", [0, 4, 31, 40], within: 0)
        try check("elementwise-gradcam", at: "relu", [0, 4, 31, 40], within: 0)
    }

    @Test func weights() throws {
        // Weights 1 and −1 at the ReLU; 1.0714 and 0.7 at the convolution.
        try check("xgradcam", at: "relu", [0, 4, 25, 25], within: 1e-3)
        let first: [Float] = [-5, 4, 31, 40]
        let second: [Float] = [-30, -21, 6, 15]
        let xgrad = zip(first, second).map { max(0, 1.0714 * $0 + 0.7 * $1) }
        try check("xgradcam", at: "conv", xgrad, within: 1e-3)
        let plus = zip([0, 4, 31, 40] as [Float], [0, 0, 6, 15] as [Float]).map {
            0.051948 * $0 + 0.043478 * $1
        }
        try check("gradcam++", at: "relu", plus, within: 1e-4)
    }

    /// The scores are linear in the ReLU's activations, so its second derivative is 0.
    @Test func shapleyIsGradCAMWhereAllIsLinear() throws {
        try check("shapleycam", at: "relu", [0, 4, 28, 32.5], within: 1e-5)
    }

    /// The first principal component of three cells on a line, and of one apart.
    @Test func eigen() throws {
        var builder = ONNXBuilder(name: "identity")
        builder.input("x", ["N", 1, 2, 2])
        builder.initializer("w", [3, 1, 1, 1], floats: [1, 2, 0])
        builder.node("Conv", ["x", "w"], ["c"], name: "conv")
        builder.node("GlobalAveragePool", ["c"], ["p"], name: "pool")
        builder.node("Flatten", ["p"], ["y"], name: "flatten")
        builder.output("y", ["N", 3])
        let found = try explain(builder, [[0, 1, 2, 5]]) {
            ($0.methods, $0.layer) = (["eigencam", "kpcacam"], "conv")
        }
        // Cells lie at x·(1, 2, 0): projected on that direction, less their mean of 2.
        let expected = [-2, -1, 0, 3].map { Float($0) * Float(5).squareRoot() }
        #expect(close(found[0].explanations[0].map.values, expected, within: 1e-6))
        let linear = try explain(builder, [[0, 1, 2, 5]]) {
            ($0.methods, $0.layer, $0.settings) = (["kpcacam"], "conv", ["kpcacam": ["kernel": "linear"]])
        }
        #expect(close(linear[0].explanations[0].map.values, expected, within: 1e-5))
    }

    /// One channel at a time without it, and one cell at a time alone, by hand.
    @Test func tails() throws {
        // The channels give 75 and −21, s = 54; without the first it is ReLU(−21) = 0, without the second 75.
        let weights: [Float] = [1, -21.0 / 54]
        let ablation = zip([0, 4, 31, 40] as [Float], [0, 0, 6, 15] as [Float]).map {
            max(0, weights[0] * $0 + weights[1] * $1)
        }
        try check("ablationcam", at: "relu", ablation, within: 1e-5)
        let cells = try explain(oneConvNetwork(), [(0..<16).map(Float.init)]) {
            ($0.methods, $0.layer, $0.scale) = (["reciprocam"], "relu", .logit)
        }[0].explanations[0].map.values
        #expect(close(cells, [0, 4, 25, 25], within: 1e-6))
    }

    /// Where the tail is affine no pass is run for a channel: the drops are those of the passes all the same.
    @Test func affineTails() throws {
        let network = try Network(symmetricNetwork().model())
        #expect(network.isAffine(in: "r2") && !network.isAffine(in: "c2") && !network.isAffine(in: "r1"))
        let engine = Engine(network, on: try LoadedDevice(.cpu(CPU(threads: 1))))
        var spec = PassSpec(batch: 1)
        spec.stored = ["r2", "scores"]
        let pass = try engine.pass(spec)
        try pass.feed(pictures(1)[0])
        try pass.forward()
        let (own, s) = (try pass.stored("r2")!, try pass.stored("scores")![0])
        var part = PassSpec(batch: 1).tail(from: "r2")
        part.stored = ["scores"]
        let tail = try engine.pass(part)
        var map = [Double](repeating: 0, count: 64)
        for c in 0..<6 {
            var without = own
            for i in c * 64..<(c + 1) * 64 { without[i] = 0 }
            try tail.feed(without)
            try tail.forward()
            let weight = Double(s - (try tail.stored("scores")![0])) / Double(abs(s))
            for i in 0..<64 { map[i] += weight * Double(own[c * 64 + i]) }
        }
        let found = try explain(symmetricNetwork(), pictures(1)) { $0.methods = ["ablationcam"] }[0]
        #expect(close(found.explanations[0].map.values, map.map { Float(max(0, $0)) }, within: 1e-5))
        #expect(map.contains { $0 > 0 })
    }

    @Test func camIsForAverages() throws {
        #expect(throws: ExplainError.self) { _ = try map("cam", at: "relu") }
        // s = mean over cells of the map, for a layer that an average and a matrix follow.
        let found = try explain(symmetricNetwork(), pictures(1)) { $0.methods = ["cam"] }[0]
        let values = found.explanations[0].map.values
        let logit = found.predictions.first { $0.index == 0 }!.logit
        #expect(abs(values.reduce(0, +) / Float(values.count) - logit) < 1e-4 * abs(logit))
    }
}

@Suite struct SmoothGradCAMPlusPlusTests {
    private func found(_ settings: [String: String], seed: UInt64 = 0, _ method: String = "smooth-gradcam++")
        throws
        -> Explanation
    {
        try explain(symmetricNetwork(), pictures(1)) {
            ($0.methods, $0.settings, $0.seed) = ([method], [method: settings], seed)
            // What is behind relu2 is linear, so that noise would change nothing there.
            $0.layer = "relu1"
        }[0].explanations[0]
    }

    @Test func withoutNoiseItIsGradCAMPlusPlus() throws {
        let (smooth, plain) = (try found(["noise": "0"]), try found([:], "gradcam++"))
        #expect(close(smooth.map.values, plain.map.values, within: 1e-5))
        #expect(smooth.sampleError!.values.allSatisfy { $0 < 1e-6 * smooth.map.values.max()! })
    }

    /// From the gradients of each noisy copy, which are asked for one after the other, and the paper's equations.
    @Test func asThePaperHasIt() throws {
        let network = try Network(symmetricNetwork().model())
        var spec = PassSpec(batch: 1)
        (spec.stored, spec.gradients) = (["r1"], ["r1"])
        let pass = try Engine(network, on: LoadedDevice(.cpu(CPU(threads: 1)))).pass(spec)
        let picture = pictures(1)[0]
        let sigma = 0.5 * (picture.max()! - picture.min()!)
        let random = CounterRandom(seed: 3, stream: CounterRandom.Stream.noise)
        func gradient(_ picture: [Float]) throws -> [Double] {
            try pass.feed(picture)
            try pass.forward()
            try pass.backward([1, 0, 0, 0])
            return try pass.gradient("r1")!.map(Double.init)
        }
        let all = try (0..<12).map { sample in
            try gradient(zip(picture, random.normals(picture.count, sample: sample)).map { $0 + sigma * $1 })
        }
        _ = try gradient(picture)
        let activations = try pass.stored("r1")!.map(Double.init)
        func mean(_ power: (Double) -> Double) -> [Double] {
            activations.indices.map { i in all.reduce(0) { $0 + power($1[i]) } / 12 }
        }
        let (d1, d2, d3) = (mean { $0 }, mean { $0 * $0 }, mean { $0 * $0 * $0 })
        var map = [Double](repeating: 0, count: 256)
        for c in 0..<8 {
            let cells = c * 256..<(c + 1) * 256
            let sum = activations[cells].reduce(0, +)
            let weight = cells.reduce(0.0) { total, i in
                let divisor = 2 * d2[i] + sum * d3[i]
                return total + (divisor == 0 ? 0 : d2[i] / divisor * max(0, d1[i]))
            }
            for i in 0..<256 { map[i] += weight * activations[c * 256 + i] }
        }
        let smooth = try found(["samples": "12", "noise": "0.5"], seed: 3)
        #expect(close(smooth.map.values, map.map { Float(max(0, $0)) }, within: 1e-5))
        #expect(smooth.samples == 12)
        #expect(map.contains { $0 > 0 } && zip(d1, d2).contains { abs($0 * $0 - $1) > 0.1 * $1 })
    }
}

@Suite struct SampleErrorTests {
    /// What methods that draw samples for a layer say of their error is what maps of other samples differ by.
    @Test(arguments: [
        ("smooth-gradcam++", ["samples": "400", "noise": "0.3"]),
        ("sscam", ["samples": "20", "sigma": "0.7"]),
    ])
    func areThoseOfOtherSeeds(_ method: String, _ settings: [String: String]) throws {
        let maps = try (UInt64(0)..<40).map { seed in
            try explain(symmetricNetwork(), pictures(1)) {
                ($0.methods, $0.settings, $0.seed) = ([method], [method: settings], seed)
                $0.layer = "relu1"
            }[0].explanations[0]
        }
        // By medians: where Grad-CAM++'s divisor is near 0, few samples are far off.
        func median(_ x: [Double]) -> Double { x.sorted()[x.count / 2] }
        var (spread, said) = (0.0, 0.0)
        for i in maps[0].map.values.indices {
            let values = maps.map { Double($0.map.values[i]) }
            let middle = median(values)
            // Half of normal numbers are nearer to their mean than this share of their deviation.
            spread += median(values.map { abs($0 - middle) }) / 0.6745
            said += median(maps.map { Double($0.sampleError!.values[i]) })
        }
        #expect(said / spread > 0.67 && said / spread < 1.5 && spread > 0, "\(method): \(said / spread)")
    }

    /// Samples end when they are precise enough, and the map is that of so many.
    @Test func precision() throws {
        func found(_ settings: [String: String], batch: Int = 1) throws -> Explanation {
            try explain(symmetricNetwork(), pictures(2)) {
                ($0.methods, $0.settings, $0.batch) = (["sscam"], ["sscam": settings], batch)
            }[0].explanations[0]
        }
        let all = try found(["samples": "40", "sigma": "0.7"])
        // So many for each channel that is not the same everywhere.
        let live = all.samples! / 40
        #expect(all.samples! % 40 == 0 && live > 1)
        func relative(_ map: Explanation) -> Float {
            let values = map.map.values
            let errors = map.sampleError!.values
            let square = errors.reduce(0) { $0 + $1 * $1 } / Float(errors.count)
            return square.squareRoot() / (values.max()! - values.min()!)
        }
        let wanted = 2 * relative(all)
        let some = try found(["samples": "40", "sigma": "0.7", "precision": "\(wanted)"])
        #expect(some.samples! < all.samples! && some.samples! > 2 * live && relative(some) <= wanted)
        let same = try found(["samples": "\(some.samples! / live)", "sigma": "0.7"])
        #expect(same.map.values == some.map.values)
        #expect(
            try found(["samples": "40", "sigma": "0.7", "precision": "\(wanted)"], batch: 2).samples
                == some.samples)
    }
}

@Suite struct TargetTests {
    /// CAM is linear in what is explained.
    @Test func differencesAndNegatives() throws {
        func cam(_ change: (inout Options) -> Void) throws -> Explanation {
            try explain(symmetricNetwork(), pictures(1)) {
                $0.methods = ["cam"]
                change(&$0)
            }[0].explanations[0]
        }
        let (a, b) = (try cam { $0.classChoice = .index(1) }, try cam { $0.classChoice = .index(2) })
        let difference = try cam { ($0.classChoice, $0.against) = (.index(1), "2") }
        #expect(difference.target == Target(1, against: 2))
        #expect(close(difference.map.values, zip(a.map.values, b.map.values).map(-), within: 1e-5))
        let negative = try cam { ($0.classChoice, $0.isNegative) = (.index(1), true) }
        #expect(negative.map.values == a.map.values.map { -$0 })
        #expect(throws: ExplainError.self) { _ = try cam { ($0.classChoice, $0.against) = (.index(1), "1") } }
    }

    /// A picture whose best class is the one that it is compared with fails by itself; the others of its batch go on.
    @Test func comparedWithItself() throws {
        let all = pictures(6)
        let best = try explain(symmetricNetwork(), all) { $0.methods = ["cam"] }.map {
            $0.predictions[0].index
        }
        let other = best[0]
        let model = try Model(Network(symmetricNetwork().model()), preprocessing: "none")
        for (against, batch) in [("\(other)", 1), ("\(other)", 3), ("top1", 3)] {
            var options = Options()
            (options.device, options.batch, options.against) = (.cpu, batch, against)
            options.methods = ["gradcam", "fem"]
            var failed: [Bool] = []
            try ExplanationSession(model, options: options).explain(
                all.enumerated().map { .array($1, name: "picture \($0)") }
            ) { index, result in
                switch result {
                case .success(let image):
                    failed.append(false)
                    #expect(image.explanations[0].target == Target(best[index], against: other))
                case .failure(let error):
                    failed.append(true)
                    #expect(error.kind == .classChoice && error.description.contains("picture \(index)"))
                }
            }
            #expect(failed == best.map { against == "top1" || $0 == other })
        }
        // Of several classes the others are left.
        for image in try explain(
            symmetricNetwork(), all,
            { ($0.methods, $0.classChoice, $0.against) = (["cam"], .top(3), "top2") })
        {
            let ranked = image.predictions.map(\.index)
            #expect(image.explanations.map(\.classIndex) == [ranked[0], ranked[2]])
            #expect(image.explanations.allSatisfy { $0.target?.against == ranked[1] })
        }
    }

    /// The derivative of probabilities, against differences in double precision.
    @Test func probability() throws {
        let network = try Network(symmetricNetwork().model())
        let scoring = Scoring(network: network, scores: ClassScores(scores: 4))
        let logits: [Float] = [0.3, -1.2, 2, 0.7]
        func value(_ z: [Double], _ target: Target) -> Double {
            let powers = z.map { exp($0) }
            let p = powers.map { $0 / powers.reduce(0, +) }
            let s = p[target.classIndex] - (target.against.map { p[$0] } ?? 0)
            return target.isNegative ? -s : s
        }
        for target in [
            Target(2, scale: .probability), Target(0, against: 3, scale: .probability),
            Target(1, isNegative: true, scale: .probability),
        ] {
            let found = scoring.cotangent(target, logits)
            #expect(
                abs(Double(scoring.value(target, logits)) - value(logits.map(Double.init), target)) < 1e-6)
            for j in 0..<4 {
                var (above, below) = (logits.map(Double.init), logits.map(Double.init))
                above[j] += 1e-5
                below[j] -= 1e-5
                let slope = (value(above, target) - value(below, target)) / 2e-5
                #expect(abs(Double(found[j]) - slope) < 1e-6)
            }
        }
    }

    @Test func namesOfFiles() {
        for target in [
            Target(386), Target(386, against: 101), Target(3, isNegative: true),
            Target(3, against: 4, isNegative: true),
        ] {
            #expect(Target(fileName: target.fileName) == target)
        }
        for name in ["", "x", "1-vs-", "-vs-1", "not-", "01", "1-vs-2-vs-3", "+1"] {
            #expect(Target(fileName: name) == nil, "\(name)")
        }
    }
}

@Suite struct SettingTests {
    @Test func words() throws {
        var options = Options()
        try options.set("FEM.k=1.5")
        try options.set("kpcacam.gamma=none")
        #expect(options.settings == ["fem": ["k": "1.5"], "kpcacam": ["gamma": "none"]])
        for wrong in ["", "fem", "fem.k", "fem.k=", ".k=1", "fem.=1", "nothing.k=1"] {
            #expect(throws: ExplainError.self, "\(wrong)") { try options.set(wrong) }
        }
        for (method, setting, value) in [
            ("fem", "q", "1"), ("fem", "k", "much"), ("finercam", "classes", "0"),
            ("kpcacam", "kernel", "cubic"),
            ("reciprocam", "gaussian", "maybe"), ("gradcam", "k", "1"),
        ] {
            do {
                _ = try explain(symmetricNetwork(), pictures(1)) {
                    ($0.methods, $0.settings) = ([method], [method: [setting: value]])
                }
                Issue.record("\(method).\(setting)=\(value) is taken.")
            } catch let error as ExplainError {
                #expect(error.kind == .method && error.description.contains(method))
            }
        }
    }

    @Test func severalLayers() throws {
        let one = try ["relu1", "relu2"].map { layer in
            try explain(symmetricNetwork(), pictures(1)) { ($0.methods, $0.layer) = (["layercam"], layer) }[0]
                .explanations[0]
        }
        for layers in ["relu1,relu2", "relu*", "relu2, relu1"] {
            let fused = try explain(symmetricNetwork(), pictures(1)) {
                ($0.methods, $0.layer) = (["layercam"], layers)
            }[0].explanations[0]
            #expect(fused.map.width == 16 && fused.layer == "relu1, relu2")
            // relu1 has the input's grid; relu2's heat map is its scaled map at that size.
            let expected = zip(one[0].heatmap.values, one[1].heatmap.values).map { ($0 + $1) / 2 }
            #expect(close(fused.map.values, expected, within: 1e-6), "\(layers)")
        }
        #expect(throws: ExplainError.self) {
            _ = try explain(symmetricNetwork(), pictures(1)) { $0.layer = "nothing*" }
        }
    }
}

@Suite struct RandomTests {
    /// The test vectors of Random123, the authors' own library.
    @Test func philox() {
        #expect(
            CounterRandom.philox(SIMD4(0, 0, 0, 0), key: (0, 0))
                == SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
        #expect(
            CounterRandom.philox(SIMD4(repeating: .max), key: (.max, .max))
                == SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
        #expect(
            CounterRandom.philox(
                SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), key: (0xa409_3822, 0x299f_31d0))
                == SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
    }

    @Test func distributions() {
        let random = CounterRandom(seed: 7, stream: 1)
        let uniform = random.uniforms(40000, sample: 3)
        let normal = random.normals(40001, sample: 3)
        #expect(uniform.allSatisfy { $0 >= 0 && $0 < 1 } && normal.allSatisfy { $0.isFinite })
        func moments(_ x: [Float]) -> (mean: Double, variance: Double) {
            let mean = x.reduce(0) { $0 + Double($1) } / Double(x.count)
            return (mean, x.reduce(0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / Double(x.count))
        }
        #expect(abs(moments(uniform).mean - 0.5) < 0.01 && abs(moments(uniform).variance - 1.0 / 12) < 0.003)
        #expect(abs(moments(normal).mean) < 0.02 && abs(moments(normal).variance - 1) < 0.03)
        #expect(random.uniforms(5, sample: 3) == Array(uniform.prefix(5)))
        #expect(random.uniforms(5, sample: 4) != Array(uniform.prefix(5)))
    }

    @Test func meansAndErrors() {
        var found = SampleMean(2)
        for x in [[1, 10], [2, 10], [6, 10]] as [[Float]] { found.add(x) }
        #expect(found.values == [3, 10] && found.variance == [7, 0])
        #expect(abs(found.sampleError[0] - Float((7.0 / 3).squareRoot())) < 1e-6 && found.sampleError[1] == 0)
    }
}

@Suite struct GuidedTests {
    private let picture = (0..<16).map(Float.init)

    private func map(_ method: String, _ change: (inout Options) -> Void = { _ in }) throws -> [Float] {
        try explain(oneConvNetwork(), [picture]) {
            ($0.methods, $0.layer) = ([method], "relu")
            change(&$0)
        }[0].explanations[0].map.values
    }

    @Test func exactNumbers() throws {
        let guided = try map("guided-backprop")
        #expect(guided == [0, 1, 1, 1, 1, 3, 3, 2, 1, 3, 3, 2, 1, 2, 2, 1])
        let deconvnet = try map("deconvnet")
        #expect(deconvnet == [2, 3, 3, 1, 3, 5, 5, 2, 3, 5, 5, 2, 1, 2, 2, 1])
        let cam = try map("guided-gradcam") { $0.settings = ["guided-gradcam": ["enlargement": "nearest"]] }
        let expected: [Float] = [0, 0, 4, 4, 0, 0, 12, 8, 28, 84, 97.5, 65, 28, 56, 65, 32.5]
        #expect(close(cam, expected, within: 1e-5))
    }
}

@Suite struct BlackBoxTests {
    /// s = Σ v x over a picture of 1×6×6, so that each covered pixel takes its own share away.
    private static let weights = (0..<36).map { Float(($0 * 7) % 11) - 5 }
    private func linear() -> ONNXBuilder {
        var builder = ONNXBuilder(name: "linear")
        builder.input("x", ["N", 1, 6, 6])
        builder.initializer("one", [1, 1, 1, 1], floats: [1])
        builder.initializer("w", [2, 36], floats: Self.weights + Self.weights.map { -$0 })
        builder.node("Conv", ["x", "one"], ["c"], name: "conv")
        builder.node("Flatten", ["c"], ["f"], name: "flatten")
        builder.node("Gemm", ["f", "w"], ["scores"], ["transB": 1], name: "linear")
        builder.output("scores", ["N", 2])
        return builder
    }
    private let picture = (0..<36).map { Float($0 % 5) / 4 + 0.25 }

    @Test(arguments: [(3, 2), (2, 2), (4, 3), (1, 1), (9, 9)])
    func occlusion(_ window: Int, _ stride: Int) throws {
        let found = try explain(linear(), [picture]) {
            ($0.methods, $0.scale) = (["occlusion"], .logit)
            $0.settings = ["occlusion": ["window": "\(window)", "stride": "\(stride)"]]
        }[0].explanations[0].map.values
        // By hand: windows from the corner on, and one that ends at the edge.
        let length = min(window, 6)
        var starts = Array(Swift.stride(from: 0, through: 6 - length, by: stride))
        if starts.last! + length < 6 { starts.append(6 - length) }
        var (sums, counts) = ([Double](repeating: 0, count: 36), [Double](repeating: 0, count: 36))
        for top in starts {
            for left in starts {
                let cells = (top..<top + length).flatMap { y in (left..<left + length).map { y * 6 + $0 } }
                let loss = cells.reduce(0.0) { $0 + Double(Self.weights[$1]) * Double(picture[$1]) }
                for cell in cells {
                    sums[cell] += loss
                    counts[cell] += 1
                }
            }
        }
        #expect(close(found, zip(sums, counts).map { Float($0 / $1) }, within: 1e-5))
        #expect(throws: ExplainError.self) {
            _ = try explain(linear(), [picture]) {
                ($0.methods, $0.settings) = (["occlusion"], ["occlusion": ["window": "2", "stride": "3"]])
            }
        }
    }

    /// With probability p = 1 all masks are 1, and the map is the score everywhere; else it comes near to what the mean over all masks is.
    @Test func rise() throws {
        func rise(_ settings: [String: String]) throws -> Explanation {
            try explain(linear(), [picture]) {
                ($0.methods, $0.scale, $0.classChoice) = (["rise"], .logit, .index(0))
                $0.settings = ["rise": settings]
            }[0].explanations[0]
        }
        let score = zip(Self.weights, picture).reduce(0) { $0 + $1.0 * $1.1 }
        let all = try rise(["p": "1", "samples": "40"])
        #expect(all.map.values.allSatisfy { abs($0 - score) < 1e-4 } && all.samples == 40)
        #expect(all.sampleError!.values.allSatisfy { $0 < 1e-4 })
        let some = try rise(["grid": "3", "samples": "100"])
        let more = try rise(["grid": "3", "samples": "1600"])
        // Four times as precise with sixteen times as many.
        func mean(_ x: Explanation) -> Float { x.sampleError!.values.reduce(0, +) / 36 }
        #expect(mean(some) / mean(more) > 3 && mean(some) / mean(more) < 5)
        for (a, b) in zip(
            zip(some.map.values, some.sampleError!.values), zip(more.map.values, more.sampleError!.values))
        {
            #expect(abs(a.0 - b.0) < 5 * (a.1 + b.1))
        }
        let precise = try rise(["grid": "3", "samples": "100000", "precision": "0.1"])
        #expect(precise.samples! % 32 == 0 && precise.samples! < 100000)
    }

    /// Masks against the rule, in double precision.
    @Test func masks() {
        let masks = RandomMasks(grid: 3, p: 0.5, height: 7, width: 10, seed: 5)
        let random = CounterRandom(seed: 5, stream: CounterRandom.Stream.rise)
        for sample in 0..<20 {
            var mask = [Float](repeating: 0, count: 70)
            mask.withUnsafeMutableBufferPointer { masks.write(sample, to: $0) }
            let numbers = random.uniforms(11, sample: sample)
            func at(_ i: Int, _ extent: Int, _ number: Float) -> Double {
                let cell = (extent + 2) / 3
                let start = Int(number * Float(cell))
                return min(max((Double(i + start) + 0.5) * 3 / Double(4 * cell) - 0.5, 0), 2)
            }
            for y in 0..<7 {
                for x in 0..<10 {
                    let (v, u) = (at(y, 7, numbers[9]), at(x, 10, numbers[10]))
                    var expected = 0.0
                    for j in 0..<3 {
                        for i in 0..<3 where numbers[3 * j + i] < 0.5 {
                            expected += max(0, 1 - abs(v - Double(j))) * max(0, 1 - abs(u - Double(i)))
                        }
                    }
                    #expect(abs(Double(mask[y * 10 + x]) - expected) < 1e-5)
                }
            }
        }
    }
}

/// A network may reshape the batch away and let pictures meet.
@Suite struct MeetingPicturesTests {
    private func network(_ softmaxAxis: Int) -> ONNXBuilder {
        var random = SeededRandom("meeting")
        var builder = ONNXBuilder(name: "meeting")
        builder.input("x", [1, 1, 4, 4])
        builder.initializer("w", [3, 1, 3, 3], floats: (0..<27).map { _ in random.float() })
        builder.initializer("flat", [2], ints: [3, 16])
        builder.initializer("row", [2], ints: [1, -1])
        builder.initializer("m", [4, 48], floats: (0..<192).map { _ in random.float(-3, 3) })
        builder.node("Conv", ["x", "w"], ["c"], ["pads": [1, 1, 1, 1]], name: "conv")
        builder.node("Reshape", ["c", "flat"], ["r"], name: "reshape")
        builder.node("Softmax", ["r"], ["s"], ["axis": .int(softmaxAxis)], name: "softmax")
        builder.node("Reshape", ["s", "row"], ["f"], name: "back")
        builder.node("Gemm", ["f", "m"], ["scores"], ["transB": 1], name: "linear")
        builder.output("scores", [1, 4])
        return builder
    }

    /// A network that is deaf to small numbers lets pictures meet all the same.
    @Test func areFoundAtEveryScale() throws {
        var random = SeededRandom("deaf")
        var builder = ONNXBuilder(name: "deaf")
        builder.input("x", ["N", 1, 4, 4])
        builder.initializer("c", [1], floats: [128])
        builder.initializer("m", [3, 16], floats: (0..<48).map { _ in random.float(-0.1, 0.1) })
        builder.node("Sub", ["x", "c"], ["s"], name: "sub")
        builder.node("Relu", ["s"], ["r"], name: "relu")
        builder.node("ReduceMean", ["r"], ["a"], ["axes": [0]], name: "mean")
        builder.node("Sub", ["r", "a"], ["d"], name: "difference")
        builder.node("Flatten", ["d"], ["f"], name: "flatten")
        builder.node("Gemm", ["f", "m"], ["scores"], ["transB": 1], name: "linear")
        builder.output("scores", ["N", 3])
        let model = try Model(Network(builder.model()), preprocessing: "none")
        var options = Options()
        (options.device, options.methods, options.batch) = (.cpu, [], 3)
        let session = try ExplanationSession(model, options: options)
        #expect(session.batch == 1 && session.deviceNote?.contains("one at a time") ?? false)
    }

    @Test(arguments: [0, 1]) func areComputedOneAtATime(_ axis: Int) throws {
        var random = SeededRandom("pictures that meet")
        let pictures = (0..<3).map { _ in (0..<16).map { _ in random.float() } }
        func found(_ batch: Int, _ method: String) throws -> (maps: [[Float]], note: String?) {
            let model = try Model(Network(network(axis).model()), preprocessing: "none")
            var options = Options()
            (options.device, options.methods, options.batch, options.layer) = (.cpu, [method], batch, "conv")
            (options.classChoice, options.mostVariants) = (.index(1), 12)
            let session = try ExplanationSession(model, options: options)
            var maps: [[Float]] = []
            try session.explain(pictures.enumerated().map { .array($1, name: "\($0)") }) { _, result in
                let image = try result.get()
                maps.append(image.explanations[0].map.values + image.predictions.map(\.logit))
            }
            return (maps, session.deviceNote)
        }
        for method in ["gradcam", "rise", "smoothgrad", "scorecam"] {
            let (one, together) = (try found(1, method), try found(3, method))
            #expect(one.maps == together.maps, "\(method), axis \(axis)")
            #expect((together.note?.contains("one at a time") ?? false) == (axis == 0))
        }
        // Variants of a picture must not meet either.
        let model = try Model(Network(network(axis).model()), preprocessing: "none")
        var options = Options()
        (options.device, options.methods, options.layer) = (.cpu, ["occlusion"], "conv")
        options.settings = ["occlusion": ["window": "4", "stride": "4"]]
        let whole = try ExplanationSession(model, options: options).explain(.array(pictures[0], name: "0"))
        options.settings = ["occlusion": ["window": "2", "stride": "2"]]
        let parts = try ExplanationSession(model, options: options).explain(.array(pictures[0], name: "0"))
        #expect(whole.explanations[0].map.values.allSatisfy { $0 == whole.explanations[0].map.values[0] })
        #expect(Set(parts.explanations[0].map.values).count <= 4)
    }
}
