// What a network or its use can have wrong: one full sentence each, with the right kind.

import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct RefusalTests {
    private let device = Device.cpu(try! CPU(threads: 1))

    private func failure(_ body: () throws -> Void) -> NetworkError? {
        do {
            try body()
        } catch {
            return error as? NetworkError
        }
        return nil
    }

    /// The error of a network whose nodes `build` adds, when it is loaded and its layers are listed.
    private func failure(
        opset: Int = 17, input: [ONNXDimension] = ["N", 3, 14, 14], _ build: (inout SmallNetwork) -> String
    ) -> NetworkError? {
        var net = SmallNetwork("refused", opset: opset, input: input)
        net.output(build(&net))
        return failure { _ = try Network(net.model()).layers() }
    }

    private func expect(
        _ error: NetworkError?, _ kind: NetworkError.Kind, _ parts: String...,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(error?.kind == kind, "\(String(describing: error))", sourceLocation: sourceLocation)
        for part in parts {
            #expect(
                error?.description.contains(part) ?? false, "\(error?.description ?? "no error")",
                sourceLocation: sourceLocation)
        }
        #expect(error?.description.hasPrefix("small.onnx: ") ?? false, sourceLocation: sourceLocation)
        #expect(error?.description.hasSuffix(".") ?? false, sourceLocation: sourceLocation)
    }

    @Test func allUnsupportedNodesAreInOneMessage() {
        let error = failure { n in
            let a = n.node("Mystery", [n.relu("image")])
            let b = n.node("LSTM", [a])
            n.builder.node("FusedMystery", [b], ["c"], name: "fused", domain: "com.microsoft")
            return n.node("Mystery", ["c"])
        }
        expect(
            error, .unsupported, "4 of 5 nodes", "Mystery", "LSTM", "com.microsoft.FusedMystery", "“fused”",
            "app operators")
        #expect(error?.description.components("“Mystery.").count == 3)
    }

    /// A misspelt attribute would otherwise be passed over in silence, and one of another operator set too.
    @Test func attributesThatAnOperatorDoesNotHave() {
        expect(
            failure {
                $0.node("MaxPool", ["image"], ["kernel_shape": .ints([2, 2]), "stvides": .ints([2, 2])])
            }, .invalid,
            "MaxPool", "“stvides”", "operator set 17")
        let axes: (inout SmallNetwork) -> String = {
            $0.node("ReduceSum", ["image"], ["axes": .ints([2, 3]), "keepdims": .int(1)])
        }
        expect(failure(opset: 17, axes), .invalid, "ReduceSum", "“axes”")
        #expect(failure(opset: 11, axes) == nil)
        // These are known, and change nothing.
        #expect(failure(opset: 11) { $0.node("Dropout", ["image"], ["ratio": .float(0.5)]) } == nil)
        #expect(
            failure(opset: 19) { $0.node("Cast", ["image"], ["to": .int(1), "saturate": .int(1)]) } == nil)
        expect(
            failure(opset: 18, input: [1, 4, 8, 8]) {
                $0.builder.node(
                    "Split", ["image"], ["a", "b"], ["axis": .int(1), "num_outputs": .int(3)], name: "split")
                return $0.relu("a")
            }, .invalid, "2 outputs", "num_outputs 3")
    }

    /// An input that only a later operator set has, and one too many.
    @Test func inputsThatAnOperatorDoesNotHave() {
        let axes: (inout SmallNetwork) -> String = { $0.node("ReduceMean", ["image", $0.ints([2, 3])]) }
        expect(failure(opset: 17, axes), .invalid, "2 inputs", "operator set 17", "at most 1")
        #expect(failure(opset: 18, axes) == nil)
        expect(
            failure(opset: 10) { $0.node("Clip", ["image", $0.number(0), $0.number(1)]) }, .invalid,
            "3 inputs")
        expect(failure { $0.node("Relu", ["image", "image"]) }, .invalid, "2 inputs")
    }

    /// Integers are computed as integers, or not at all.
    @Test func integersThatAreNotShapes() throws {
        for (type, quotients) in [("Neg", [-3, -4]), ("Abs", [3, 4])] as [(String, [Float])] {
            var net = SmallNetwork("integers", input: ["N", 1, 1, 2])
            let y = net.node("Div", [net.node(type, [net.ints([7, 9])]), net.ints([2])])
            net.output(net.node("Mul", ["image", net.node("Cast", [y], ["to": .int(1)])]))
            let network = try Network(net.model())
            let found = try network.run(
                [1, 1], dims: [1, 1, 1, 2], outputs: [network.outputName], on: device)
            #expect(found[0].values == quotients)
        }
        // Of 300 eight bits are left.
        expect(
            failure { $0.node("Reshape", ["image", $0.node("Cast", [$0.ints([300])], ["to": .int(2)])]) },
            .invalid, "44")
    }

    /// Three parts are three, even where nobody reads the last two.
    @Test func partsThatNobodyReads() throws {
        var net = SmallNetwork("parts", input: ["N", 6, 4, 4])
        net.builder.node("Split", ["image"], ["first", "", ""], ["axis": .int(1)], name: "split")
        net.output("first")
        let numbers = (0..<96).map(Float.init)
        let found = try Network(net.model()).run(numbers, dims: [1, 6, 4, 4], outputs: ["first"], on: device)
        #expect(found[0].shape == [1, 2, 4, 4] && found[0].values == Array(numbers[..<32]))
    }

    @Test func outputsThatAreNotComputed() {
        expect(
            failure {
                $0.builder.node("Dropout", ["image"], ["y", "mask"], name: "drop")
                return $0.node("Add", ["y", "mask"])
            }, .unsupported, "truths")
    }

    @Test func operatorsOfLaterSets() {
        expect(failure(opset: 13) { $0.node("HardSwish", ["image"]) }, .unsupported, "HardSwish", "14")
    }

    @Test func attributes() {
        // What contradicts the standard is a broken file; what the standard allows and is not there is unsupported.
        expect(failure { $0.node("Relu", [$0.node("MaxPool", ["image"])]) }, .invalid, "kernel_shape")
        expect(
            failure { n in n.node("Conv", ["image", n.floats([2, 3, 1, 1])], ["strides": [0, 1]]) },
            .invalid, "strides")
        expect(
            failure { n in n.node("Conv", ["image", n.floats([2, 3, 1, 1])], ["dilations": [1, 0]]) },
            .invalid, "dilations")
        expect(
            failure { n in n.node("Conv", ["image", n.floats([2, 3, 1, 1])], ["strides": [1 << 21, 1]]) },
            .unsupported, "strides")
        expect(
            failure { n in n.node("Conv", ["image", n.floats([2, 3, 1, 1])], ["pads": [1, 1]]) },
            .invalid, "pads")
        expect(
            failure { n in n.node("Conv", ["image", n.floats([2, 3, 1, 1])], ["pads": [-1, 0, 0, 0]]) },
            .invalid, "pads")
        expect(
            failure { $0.node("MaxPool", ["image"], ["kernel_shape": [3, 3, 3]]) }, .invalid,
            "2 dimensions to slide over")
        expect(
            failure { $0.node("Conv", ["image", $0.floats([2, 3, 1, 1])], ["auto_pad": "MAYBE"]) },
            .invalid, "MAYBE")
    }

    @Test func shapesThatDoNotFit() {
        expect(failure { n in n.conv("image", 4, 2) }, .invalid, "Conv", "2×4×3×3", "1×3×14×14")
        expect(failure { n in n.conv(n.node("Flatten", ["image"]), 3, 2) }, .invalid, "rank 4", "1×588")
        expect(failure { n in n.gemm(n.node("Flatten", ["image"]), 500, 2) }, .invalid, "588", "500")
        expect(failure { n in n.node("Add", ["image", n.floats([5, 1, 1])]) }, .invalid, "5×1×1")
        expect(failure { n in n.concat(["image", n.pooled("image")]) }, .invalid, "do not fit")
        expect(failure { n in n.node("Reshape", ["image", n.ints([0, 100])]) }, .invalid, "1×100")
        expect(failure { n in n.node("Transpose", ["image"], ["perm": [0, 1, 2]]) }, .invalid, "rank 4")
        expect(failure { n in n.maxPool("image", kernel: 20) }, .invalid, "20 rows")
        expect(failure { n in n.node("Flatten", ["image"], ["axis": 9]) }, .invalid, "axis 9")
    }

    @Test func constantsOfWrongLengths() {
        expect(
            planned { n in n.node("Conv", ["image", n.floats([2, 3, 1, 1]), n.floats([3])]) }, .invalid,
            "3 biases", "2 output channels")
        expect(planned { n in n.batchNorm("image", 4) }, .invalid, "4 channels")
        expect(
            planned { n in
                n.node(
                    "BatchNormalization",
                    ["image", n.floats([3]), n.floats([3]), n.floats([2]), n.floats([3])])
            }, .invalid,
            "different lengths")
    }

    @Test func normalisations() {
        func training(_ n: inout SmallNetwork, outputs: Int) -> String {
            let parts = (0..<4).map { _ in n.floats([3], 0.5, 1) }
            return n.nodes(
                "BatchNormalization", ["image"] + parts, outputs: outputs,
                outputs == 1 ? ["training_mode": 1] : [:])[0]
        }
        expect(planned { n in training(&n, outputs: 1) }, .unsupported, "training mode", "batch")
        expect(planned { n in n.relu(training(&n, outputs: 1)) }, .unsupported, "training mode")
        expect(failure(opset: 9) { n in training(&n, outputs: 5) }, .unsupported, "training mode")
    }

    @Test func veryLongNamesAreCut() {
        let long = String(repeating: "x", count: 5000)
        func check(_ error: NetworkError?, _ part: String, sourceLocation: SourceLocation = #_sourceLocation)
        {
            let text = error?.description ?? ""
            #expect(text.contains(part) && text.contains("xxx…"), "\(text)", sourceLocation: sourceLocation)
            #expect(text.count < 600, sourceLocation: sourceLocation)
        }
        func refused(_ type: String, _ attributes: [String: ONNXAttribute] = [:]) -> NetworkError? {
            failure { n in
                n.builder.node(type, ["image"], [long], attributes, name: long)
                return long
            }
        }
        check(refused("Mystery"), "not supported")
        check(refused(long), "not supported")
        check(refused("Flatten", ["axis": 9]), "axis 9")
        check(refused("LRN", ["size": 0]), "size")
        check(refused("Constant"), "tensor")
        var net = SmallNetwork("long")
        net.builder.node("Flatten", ["image"], [long], name: long)
        net.output(net.gemm(long, 588, 6))
        let network = try? Network(net.model())
        check(failure { _ = try network?.layer(named: long, of: network!.layers()) }, "no grid")
        check(failure { _ = try network?.layer(named: long + "y", of: network!.layers()) }, "Did you mean")
        check(failure { _ = try network?.valueName(long + "y") }, "Did you mean")
    }

    /// The error of a network when it is really planned.
    private func planned(_ build: (inout SmallNetwork) -> String) -> NetworkError? {
        var net = SmallNetwork("refused")
        net.output(build(&net))
        return failure { _ = try Planner(Network(net.model()), batch: 1) }
    }

    @Test func weightsThatAreComputed() {
        expect(failure { n in n.node("Conv", ["image", n.relu("image")]) }, .unsupported, "constant")
    }

    @Test func inputs() {
        var net = SmallNetwork("two")
        net.builder.input("mask", ["N", 3, 14, 14])
        net.output(net.relu("image"))
        expect(failure { _ = try Network(net.model()) }, .unsupported, "2 inputs", "“image”", "“mask”")
        expect(failure(input: ["N", 3, 0, 14]) { $0.relu("image") }, .invalid, "dimension of 0")
        expect(failure(input: ["N", 3, 1_000_000, 1_000_000]) { $0.relu("image") }, .input, "too large")
        expect(failure(input: ["N", 3, 2_000_000_000, 1]) { $0.relu("image") }, .invalid, "2000000000")
        expect(failure(input: ["N", "L"]) { $0.relu("image") }, .input, "open dimensions")
        expect(failure(input: ["N", 2, 2, 2, 2, 2, 2]) { $0.relu("image") }, .unsupported, "7 dimensions")
    }

    @Test func outputsThatDoNotDependOnTheInput() {
        expect(failure { n in n.relu(n.floats([1, 6])) }, .invalid, "does not depend on the input")
    }

    @Test func hugeResults() {
        expect(
            failure { n in
                var x = "image"
                for _ in 0..<6 { x = n.node("Pad", [x, n.ints([0, 0, 5000, 5000, 0, 0, 5000, 5000])]) }
                return x
            }, .invalid, "too large")
        expect(
            failure { n in
                n.node(
                    "MaxPool", ["image"],
                    ["kernel_shape": [1, 1], "pads": .ints([1 << 20, 1 << 20, 1 << 20, 1 << 20])])
            }, .invalid, "too large")
    }

    @Test func arraysOfAnotherShape() throws {
        let network = try Network(Style.all[0].network().model())
        func run(_ dims: [Int], _ outputs: [String]? = nil, gradient: Int? = nil) -> NetworkError? {
            failure {
                _ = try network.run(
                    Array(repeating: 0, count: dims.reduce(1, *)), dims: dims, outputs: outputs,
                    gradient: gradient, on: device)
            }
        }
        #expect(run([1, 4, 14, 14])?.kind == .input)
        #expect(run([1, 3, 15, 14])?.kind == .input)
        #expect(run([])?.kind == .input)
        #expect(run([0, 3, 14, 14])?.kind == .input)
        #expect(run([1, 3, 14, 14], gradient: 6)?.description.contains("0 to 5") ?? false)
        #expect(run([1, 3, 14, 14], ["relu.1"])?.description.contains("Did you mean") ?? false)
    }

    // MARK: Layers

    @Test func layersByNameIndexAndValue() throws {
        let network = try Network(Style.all.first { $0.name == "VGG" }!.network().model())
        let layers = try network.layers()
        #expect(layers.map(\.index) == Array(layers.indices))
        let automatic = try network.layer(named: "auto", of: layers)
        #expect(automatic.layer.type == "Relu" && layers[automatic.layer.index + 1].type == "MaxPool")
        #expect(
            automatic.reason.contains("14") == false && automatic.reason.contains("7×7")
                && automatic.reason.contains("MaxPool"))
        for layer in layers where layer.isSpatial {
            #expect(try network.layer(named: layer.name, of: layers).layer.index == layer.index)
            #expect(try network.layer(named: layer.output, of: layers).layer.index == layer.index)
            #expect(try network.layer(named: "\(layer.index)", of: layers).layer.index == layer.index)
        }
        let near = failure {
            _ = try network.layer(named: automatic.layer.name.lowercased() + "x", of: layers)
        }
        #expect(near?.kind == .noSuchLayer && near!.description.contains("“\(automatic.layer.name)”"))
        #expect(failure { _ = try network.layer(named: "\(layers.count)", of: layers) }?.kind == .noSuchLayer)
        #expect(failure { _ = try network.layer(named: "-1", of: layers) }?.kind == .noSuchLayer)
        #expect(
            failure { _ = try network.layer(named: "something else entirely", of: layers) }?.description
                .contains("app layers") ?? false)
        let flat = try #require(layers.first { $0.type == "Gemm" })
        #expect(
            failure { _ = try network.layer(named: flat.name, of: layers) }?.description.contains("no grid")
                ?? false)
    }

    @Test func aNetworkWithoutAGridHasNothingToMap() throws {
        var net = SmallNetwork("flat")
        net.output(net.gemm(net.node("Flatten", ["image"]), 588, 6))
        let network = try Network(net.model())
        #expect(failure { _ = try network.automaticLayer(network.layers()) }?.kind == .noSuchLayer)
    }

    @Test func theLayerOfEachStyle() throws {
        let expected = [
            "AlexNet": "Relu", "VGG": "Relu", "ResNet": "Relu", "SqueezeNet": "Relu", "Inception": "Concat",
            "DenseNet": "Relu",
            "MobileNetV2": "Clip", "EfficientNet": "Add", "ShuffleNet": "Relu", "MNASNet": "Relu",
        ]
        for style in Style.all {
            let network = try Network(style.network().model())
            #expect(
                try network.automaticLayer(network.layers()).layer.type == expected[style.name],
                "\(style.name)")
        }
    }

    @Test(
        .enabled(
            if: SharedFiles.file("models/README.md") != nil
                || SharedFiles.file("models/squeezenet1.1.onnx") != nil, "the shared networks are not here"))
    func theLayerOfRealNetworks() throws {
        func automatic(_ name: String) throws -> (Layer, [Layer]) {
            let network = try Network(ONNXModel(path: SharedFiles.file("models/\(name).onnx")!.path))
            let layers = try network.layers()
            return (try network.automaticLayer(layers).layer, layers)
        }
        let (lite, liteLayers) = try automatic("efficientnet-lite0")
        #expect(lite.type == "Clip" && lite.shape == [1, 1280, 7, 7])
        #expect(
            liteLayers[lite.index + 1].type == "GlobalAveragePool"
                || liteLayers[lite.index + 1].type == "ReduceMean")
        let (squeeze, squeezeLayers) = try automatic("squeezenet1.1")
        #expect(squeeze.type == "Relu" && squeeze.shape == [1, 1000, 13, 13])
        let conv10 = squeezeLayers[squeeze.index - 1]
        #expect(
            conv10.type == "Conv" && conv10.shape == squeeze.shape && conv10.parameters == 1000 * 512 + 1000)
    }
}

extension String {
    fileprivate func components(_ separator: String) -> [Substring] {
        var parts: [Substring] = []
        var rest = self[...]
        while let range = rest.firstRange(of: separator) {
            parts.append(rest[..<range.lowerBound])
            rest = rest[range.upperBound...]
        }
        return parts + [rest]
    }
}
