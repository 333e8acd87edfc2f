// Class names in every form that people have them in, checked against the network; and networks of a single score.

import Explain
import Foundation
import Imaging
import Inference
import ONNX
import TestSupport
import Testing

/// A network of `classes` scores, w_i times the mean of the picture's positive part.
private func network(_ weights: [Float], ending: String? = nil) -> ONNXBuilder {
    var builder = ONNXBuilder(name: "classes")
    builder.input("x", ["N", 1, 3, 3])
    builder.node("Relu", ["x"], ["r"], name: "relu")
    builder.node("GlobalAveragePool", ["r"], ["p"], name: "pool")
    builder.node("Flatten", ["p"], ["f"], name: "flatten")
    builder.initializer("m", [weights.count, 1], floats: weights)
    builder.node("Gemm", ["f", "m"], ["y"], ["transB": 1], name: "linear")
    if let ending { builder.node(ending, ["y"], ["end"], name: "end") }
    builder.output(ending == nil ? "y" : "end", ["N", .fixed(weights.count)])
    return builder
}

private func options(_ choice: ClassChoice = .top(1)) -> Options {
    var options = Options()
    (options.device, options.threads, options.layer, options.classChoice) = (.cpu, 1, "relu", choice)
    return options
}

private func failure(_ body: () throws -> Void) -> ExplainError? {
    do {
        try body()
        return nil
    } catch {
        return error as? ExplainError
    }
}

@Suite struct ClassNameTests {
    private func model(_ classes: Int, _ bytes: [UInt8]) throws -> Model {
        let path = FileManager.default.temporaryDirectory.path + "/labels-\(UInt64.random(in: .min ... .max))"
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try Model(
            Network(network((0..<classes).map { Float($0 + 1) }).model()), preprocessing: "none", labels: path
        )
    }

    private func labels(_ classes: Int, _ bytes: [UInt8]) throws -> [String] {
        try ExplanationSession(model(classes, bytes), options: options()).model.labels
    }

    static let forms: [(name: String, bytes: [UInt8])] = [
        ("lines", Array("ant\nbee\ncat".utf8)), ("a line feed at the end", Array("ant\nbee\ncat\n".utf8)),
        ("blank lines at the end", Array("ant\nbee\ncat\n\n \n".utf8)),
        ("CR LF", Array("ant\r\nbee\r\ncat\r\n".utf8)),
        ("CR", Array("ant\rbee\rcat\r".utf8)),
        ("a byte order mark", [0xEF, 0xBB, 0xBF] + Array("ant\nbee\ncat".utf8)),
        ("spaces", Array("  ant \n\tbee\ncat  ".utf8)),
        ("WordNet numbers", Array("n00000001 ant\nn00000002\tbee\nn00000003  cat\n".utf8)),
        ("a JSON list", Array("[\"ant\",\r\n\"bee\", \"cat\"]\n".utf8)),
        ("a JSON list after a mark", [0xEF, 0xBB, 0xBF] + Array(" [\"ant\", \"bee\", \"cat\"]".utf8)),
        ("a JSON object", Array("{\"2\": \"cat\", \"0\": \"ant\", \"1\": \"bee\"}".utf8)),
        (
            "Keras' JSON",
            Array("{\"0\": [\"n00000001\", \"ant\"], \"1\": [\"n00000002\", \"bee\"], \"2\": \"cat\"}".utf8)
        ),
    ]

    @Test(arguments: forms.indices) func isRead(_ i: Int) throws {
        #expect(try labels(3, Self.forms[i].bytes) == ["ant", "bee", "cat"], "\(Self.forms[i].name)")
    }

    @Test func otherScripts() throws {
        #expect(try labels(3, Array("Bär\n猫\nn0250445x dog".utf8)) == ["Bär", "猫", "n0250445x dog"])
    }

    static let bad: [(bytes: [UInt8], words: [String])] = [
        (Array("ant\nbee\n".utf8), ["names 2 classes", "the network has 3 classes"]),
        (Array("ant".utf8), ["names 1 class,", "the network has 3 classes"]),
        (Array("ant\r\nbee\r\ncat\r\ndog".utf8), ["names 4 classes"]),
        (Array("ant\n\ncat".utf8), ["Line 2", "blank"]),
        (Array("\nant\nbee\ncat".utf8), ["Line 1", "blank"]), (Array("\n\n".utf8), ["empty"]),
        (Array("[\"ant\", \"bee\"]".utf8), ["names 2 classes"]),
        (Array("[\"ant\", 5, \"cat\"]".utf8), ["class 1"]),
        (Array("[\"ant\", \"\", \"cat\"]".utf8), ["class 1", "empty"]), (Array("[]".utf8), ["empty"]),
        (Array("{}".utf8), ["empty"]),
        (Array("[\"ant\", \"bee\"".utf8), ["JSON", "line 1"]),
        (Array("{\"ant\": 0}".utf8), ["\"ant\"", "indices"]),
        (Array("{\"0\": \"ant\", \"1\": \"bee\", \"3\": \"cat\"}".utf8), ["index 3"]),
        (Array("{\"0\": \"ant\", \"1\": \"bee\", \"1\": \"cat\"}".utf8), ["twice"]),
        (Array("{\"00\": \"ant\"}".utf8), ["\"00\""]), (Array("{\"-1\": \"ant\"}".utf8), ["\"-1\""]),
        (Array("ant\n".utf8) + [0xFF, 0x0A], ["not UTF-8"]), ([0xFF, 0xFE, 0x61, 0], ["UTF-16"]),
        ([], ["empty"]),
        (Array(repeating: UInt8(ascii: "["), count: 100_000), ["deep"]),
    ]

    @Test(arguments: bad.indices) func isRefused(_ i: Int) throws {
        let error = failure { _ = try labels(3, Self.bad[i].bytes) }
        #expect(error?.kind == .settings)
        for word in Self.bad[i].words {
            #expect(error?.description.contains(word) ?? false, "\(String(describing: error))")
        }
    }

    @Test func aFileThatIsNotThere() {
        let error = failure {
            _ = try Model(Network(network([1, 2]).model()), preprocessing: "none", labels: "/nowhere.txt")
        }
        #expect(error?.kind == .settings && error?.description.contains("no such file") ?? false)
    }

    @Test func whatAModelCarries() throws {
        func labels(_ carried: String) throws -> [String] {
            var builder = network([1, 2])
            builder.metadata("whitebox.labels", carried)
            return try ExplanationSession(
                Model(Network(builder.model()), preprocessing: "none"), options: options()
            )
            .model.labels
        }
        #expect(try labels("[\"ant\", \"bee\"]") == ["ant", "bee"])
        #expect(try labels("{\"1\": \"bee\", \"0\": \"ant\"}") == ["ant", "bee"])
        for bad in [
            "[\"ant\"]", "[\"ant\", \"bee\", \"cat\"]", "ant\nbee", "", "[1, 2]",
            String(repeating: "[", count: 100_000),
        ] {
            let error = failure { _ = try labels(bad) }
            #expect(
                error?.kind == .settings && error?.description.contains("carries") ?? false,
                "\(String(describing: error))")
        }
        // A file takes their place.
        var builder = network([1, 2])
        builder.metadata("whitebox.labels", "[\"ant\"]")
        let path = FileManager.default.temporaryDirectory.path + "/labels-\(UInt64.random(in: .min ... .max))"
        try Data("cat\ndog".utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let model = try Model(Network(builder.model()), preprocessing: "none", labels: path)
        #expect(try ExplanationSession(model, options: options()).model.labels == ["cat", "dog"])
    }
}

/// One score is that of a binary classifier.
@Suite struct BinaryTests {
    private let picture: [Float] = [1, 2, 3, 4, 5, 6, 7, 8, 9]  // the mean is 5

    private func explain(
        _ weight: Float, ending: String? = nil, labels: String? = nil, _ choice: ClassChoice = .top(1)
    ) throws -> ImageExplanation {
        var builder = network([weight], ending: ending)
        if let labels { builder.metadata("whitebox.labels", labels) }
        let model = try Model(Network(builder.model()), preprocessing: "none")
        let session = try ExplanationSession(model, options: options(choice))
        #expect(session.classes == 2)
        return try session.explain(.array(picture, name: "a"))
    }

    private func sigmoid(_ x: Double) -> Float { Float(1 / (1 + exp(-x))) }

    @Test(arguments: [nil, "Sigmoid", "Identity"]) func twoClasses(_ ending: String?) throws {
        for (weight, best) in [(Float(0.25), 1), (-0.25, 0)] {
            let found = try explain(weight, ending: ending)
            let score = 5 * weight
            #expect(found.predictions.map(\.index) == [best, 1 - best])
            #expect(found.predictions.map(\.logit) == [abs(score), -abs(score)])
            for prediction in found.predictions {
                #expect(abs(prediction.probability - sigmoid(Double(prediction.logit))) < 1e-6)
            }
            #expect(found.explanations.map(\.classIndex) == [best])
            #expect(found.explanations[0].label == "class \(best)")
        }
    }

    /// The map of each class is of its own logit: w · A for class 1, −w · A for class 0.
    @Test func eachClassIsExplained() throws {
        let positive = try explain(0.9, .index(1)).explanations[0]
        let negative = try explain(-0.9, .index(0)).explanations[0]
        #expect(positive.blank == nil && positive.map == negative.map)
        for (value, pixel) in zip(positive.map.values, picture) { #expect(abs(value - 0.1 * pixel) < 1e-6) }
        #expect(try explain(0.9, .index(0)).explanations[0].blank != nil)
        #expect(try explain(0.9, .top(2)).explanations.map(\.classIndex) == [1, 0])
        #expect(failure { _ = try explain(1, .index(2)) }?.description.contains("0 to 1") ?? false)
        #expect(failure { _ = try explain(1, .top(3)) }?.kind == .classChoice)
    }

    @Test func twoNames() throws {
        let found = try explain(1, labels: "[\"no cat\", \"cat\"]", .label("no cat"))
        #expect(found.predictions.map(\.label) == ["cat", "no cat"])
        #expect(found.explanations.map(\.classIndex) == [0])
        let error = failure { _ = try explain(1, labels: "[\"cat\"]") }
        #expect(error?.kind == .settings && error?.description.contains("one score") ?? false)
    }

    @Test func aSoftmaxOfOneNumberIsRefused() {
        for end in ["Softmax", "LogSoftmax"] {
            let error = failure { _ = try explain(1, ending: end) }
            #expect(error?.kind == .unsupportedModel && error?.description.contains(end) ?? false)
        }
    }
}

/// Pictures are prepared as they were asked to be, or not at all.
@Suite struct OwnPreprocessingTests {
    private func model(_ height: ONNXDimension, _ width: ONNXDimension, _ json: String?, carried: Bool) throws
        -> Model
    {
        var builder = ONNXBuilder(name: "sizes")
        builder.input("x", ["N", 3, height, width])
        builder.node("Relu", ["x"], ["r"], name: "relu")
        builder.node("GlobalAveragePool", ["r"], ["p"], name: "pool")
        builder.node("Flatten", ["p"], ["y"], name: "flatten")
        builder.output("y", ["N", 3])
        guard let json, !carried else {
            if let json { builder.metadata("whitebox.preprocessing", json) }
            return try Model(Network(builder.model()))
        }
        let path =
            FileManager.default.temporaryDirectory.path + "/own-\(UInt64.random(in: .min ... .max)).json"
        try Data(json.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try Model(Network(builder.model()), preprocessing: path)
    }

    @Test(arguments: [false, true]) func whatDoesNotFitIsRefused(_ carried: Bool) throws {
        for (json, size) in [
            ("{\"resize\": {\"shortSide\": 36}, \"crop\": {\"width\": 20, \"height\": 28}}", "20×28"),
            ("{\"resize\": {\"width\": 30, \"height\": 31}}", "30×31"),
            (
                "{\"resize\": {\"width\": 32, \"height\": 24}, \"crop\": {\"width\": 30, \"height\": 20}}",
                "30×20"
            ),
            ("{\"resize\": \"none\", \"crop\": {\"width\": 24, \"height\": 32}}", "24×32"),
        ] {
            let error = failure { _ = try model(24, 32, json, carried: carried) }
            #expect(error?.kind == .settings)
            #expect(error?.description.contains(size) ?? false, "\(String(describing: error))")
            #expect(error?.description.contains("takes 32×24") ?? false, "\(String(describing: error))")
        }
    }

    @Test(arguments: [false, true]) func whatFitsIsAppliedAsItIs(_ carried: Bool) throws {
        let exact = "{\"resize\": {\"width\": 32, \"height\": 24}}"
        #expect(
            try model(24, 32, exact, carried: carried).preprocessing.resize == .exact(width: 32, height: 24))
        let crop = "{\"resize\": {\"shortSide\": 99}, \"crop\": {\"width\": 32, \"height\": 24}}"
        #expect(try model(24, 32, crop, carried: carried).preprocessing.resize == .shortSide(99))
        // An input without a size takes that of the preparation.
        let open = try model("H", "W", exact, carried: carried)
        #expect(
            (open.inputHeight, open.inputWidth) == (24, 32)
                && open.preprocessing.resize == .exact(width: 32, height: 24))
        // What a picture becomes is only known once there is one.
        let any = try model(24, 32, "{\"resize\": {\"shortSide\": 24}}", carried: carried)
        #expect(any.preprocessing.crop == nil)
    }

    @Test func presetsFollowAndSaySo() throws {
        let followed = try model(24, 32, nil, carried: false)
        #expect(followed.preprocessing.crop == .init(width: 32, height: 24))
        #expect(followed.preprocessingSource == "the default, imagenet, fitted to 32×24")
        #expect(try model(224, 224, nil, carried: false).preprocessingSource == "the default, imagenet")
    }
}
