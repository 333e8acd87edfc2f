// How pictures are prepared if nobody says it, at which size, and whether that looks right.

import Explain
import Imaging
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct PictureInputTests {
    /// Mean colours as scores, after what `body` puts in front.
    private static func network(
        _ dims: [ONNXDimension], type: ONNXDataType = .float32, _ body: (inout ONNXBuilder) -> Void = { _ in }
    ) throws -> Network {
        var builder = ONNXBuilder()
        builder.input("image", dims, type: type)
        builder.initializer("w", [4, 3, 3, 3], floats: (0..<108).map { Float($0 % 7) - 3 })
        builder.initializer("number", [], floats: [127.5])
        builder.initializer("numbers", [3, 1, 1], floats: [103.939, 116.779, 123.68])
        builder.initializer("half", [], floats: [0.5])
        let count = builder.graph.node.count
        body(&builder)
        if builder.graph.node.count == count { builder.node("Identity", ["image"], ["x"]) }
        builder.node("Conv", ["x", "w"], ["c"], ["pads": [1, 1, 1, 1]], name: "conv")
        builder.node("GlobalAveragePool", ["c"], ["p"])
        builder.node("Flatten", ["p"], ["y"])
        builder.output("y", ["N", 4])
        return try Network(builder.model(name: "net.onnx"))
    }

    @Test func theNetworkNormalisesItself() throws {
        let plain = try Model(Self.network(["N", 3, 224, 224]))
        #expect(plain.preprocessing == .imagenet && plain.preprocessingSource == "the default, imagenet")
        #expect(plain.preprocessingNote?.contains("imagenet is assumed; --preprocess") == true)

        let bytes = try Self.network(["N", 3, 224, 224]) { $0.node("Div", ["image", "number"], ["x"]) }
        let model = try Model(bytes)
        #expect(model.preprocessing.givesBytes && model.preprocessing.resize == .shortSide(256))
        #expect(
            model.preprocessingSource.contains(
                "pixels 0…255, as the network normalises them itself (its first nodes are Div"))
        #expect(model.preprocessingNote?.contains("so it is the default, imagenet's sizes") == true)
        // Who says another thing hears of it.
        let twice = try Model(bytes, preprocessing: "imagenet")
        #expect(twice.preprocessing == .imagenet)
        #expect(twice.preprocessingNote?.contains("as if it did not") == true)
        #expect(try Model(bytes, preprocessing: "caffe").preprocessingNote == nil)

        let caffe = try Model(
            Self.network(["N", 3, 224, 224]) { $0.node("Sub", ["image", "numbers"], ["x"]) })
        #expect(caffe.preprocessing.colours == .bgr && caffe.preprocessing.givesBytes)
        let unit = try Model(
            Self.network(["N", 3, 224, 224]) {
                $0.node("Sub", ["image", "half"], ["s"])
                $0.node("Div", ["s", "half"], ["x"])
            })
        #expect(unit.preprocessing.divisor == 255 && unit.preprocessing.mean == [0, 0, 0])
        let odd = try Model(
            Self.network(["N", 3, 224, 224]) {
                $0.initializer("odd", [], floats: [5000])
                $0.node("Div", ["image", "odd"], ["x"])
            })
        #expect(odd.preprocessing == .imagenet && odd.preprocessingNote?.contains("probably wrong") == true)
    }

    @Test func bytesAreFedAsTheyAre() throws {
        let network = try Self.network(["N", 20, 20, 3], type: .uint8) {
            $0.node("Cast", ["image"], ["f"], ["to": 1])
            $0.node("Transpose", ["f"], ["x"], ["perm": [0, 3, 1, 2]])
        }
        let model = try Model(network)
        #expect(model.preprocessing.givesBytes && [model.inputHeight, model.inputWidth] == [20, 20])
        #expect(try model.inputShape() == [3, 20, 20])
        #expect(model.preprocessingSource.contains("as the network takes bytes, fitted to 20×20"))
        #expect(throws: ExplainError.self) { try Model(network, preprocessing: "imagenet") }
        #expect(try Model(network, preprocessing: "none").preprocessing.givesBytes)
        // Explained like any other, through to the pixels.
        var options = Options()
        (options.methods, options.device) = (["gradcam", "saliency"], .cpu)
        let session = try ExplanationSession(model, options: options)
        let result = try session.explain(
            .array((0..<1200).map { Float($0 % 256) }, name: "numbers"))
        #expect(result.explanations[0].map.values.count == 400)
        #expect(result.explanations[1].map.values.count == 400 && result.explanations[1].blank == nil)
    }

    @Test func sizesThatAreAskedFor() throws {
        let open = try Self.network(["N", 3, .unknown, .unknown])
        let model = try Model(open, size: (384, 384))
        #expect([model.inputHeight, model.inputWidth] == [384, 384])
        #expect(model.preprocessing.resize == .shortSide(439))
        #expect(model.preprocessing.crop == .init(width: 384, height: 384))
        #expect(model.preprocessingSource == "the default, imagenet, fitted to 384×384")
        let wide = try Model(open, preprocessing: "tf", size: (30, 40))
        #expect([wide.inputHeight, wide.inputWidth] == [30, 40])
        #expect(wide.preprocessing.resize == .exact(width: 40, height: 30))
        let fixed = try Self.network(["N", 3, 20, 24])
        #expect((try Model(fixed, size: (20, 24)).inputHeight) == 20)
        let error = #expect(throws: ExplainError.self) { try Model(fixed, size: (24, 24)) }
        #expect(
            error?.kind == .settings && error?.description.contains("fixes the input to N×3×20×24") == true)
        // What a model carries follows too, if it is asked to; timm's follows by itself.
        let carried = try Self.network(["N", 3, .unknown, .unknown]) {
            $0.metadata(
                "whitebox.preprocessing",
                #"{"input_size": [3, 224, 224], "crop_pct": 0.9, "crop_mode": "squash"}"#)
        }
        #expect(try Model(carried).inputHeight == 224)
        let large = try Model(carried, size: (300, 300))
        #expect(large.preprocessing.resize == .exact(width: 333, height: 333) && large.inputWidth == 300)
    }

    @Test func fourChannels() throws {
        var builder = ONNXBuilder()
        builder.input("image", ["N", 4, 8, 8])
        builder.node("GlobalAveragePool", ["image"], ["p"])
        builder.node("Flatten", ["p"], ["y"])
        builder.output("y", ["N", 4])
        let model = try Model(Network(builder.model(name: "four.onnx")), preprocessing: "none")
        #expect(model.preprocessing.hasOpacity && model.preprocessing.mean.count == 4)
        #expect(try model.inputShape() == [4, 8, 8])
    }

    @Test func whatTheFirstActivationsSay() {
        let trained: (mean: [Float], deviation: [Float]) = ([0, 1], [1, 2])
        func picture(_ factor: Float) -> [Float] {
            (0..<64).map { factor * Float($0 % 5 - 2) / 1.42 }
                + (0..<64).map { 1 + factor * 2 * Float($0 % 5 - 2) / 1.42 }
        }
        let right = PreprocessingCheck(
            activations: [picture(1), picture(1.2)], channels: 2, trained: trained)
        #expect(right.warnings.isEmpty && (right.width ?? 0) > 0.8 && (right.width ?? 9) < 1.4)
        let wide = PreprocessingCheck(activations: [picture(200)], channels: 2, trained: trained)
        #expect(wide.warnings.count == 1 && wide.warnings[0].contains("times as wide as in training"))
        let narrow = PreprocessingCheck(activations: [picture(0.01)], channels: 2, trained: trained)
        #expect(narrow.warnings.count == 1)
        let flat = PreprocessingCheck(
            activations: [Array(repeating: 3, count: 128)], channels: 2, trained: nil)
        #expect(flat.warnings.count == 1 && flat.warnings[0].contains("same everywhere"))
        let broken = PreprocessingCheck(
            activations: [Array(repeating: .nan, count: 128)], channels: 2, trained: nil)
        #expect(broken.warnings == ["the first layer's activations are not finite numbers"])
    }
}
