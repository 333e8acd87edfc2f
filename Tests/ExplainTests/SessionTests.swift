// Sessions: batches, classes, pictures that fail between good ones, blank maps and why, and what is refused before any picture.

import Explain
import Foundation
import Imaging
import Inference
import ONNX
import TestSupport
import Testing

@Suite struct SessionTests {
    private let picture = (0..<16).map(Float.init)

    private func model(_ builder: ONNXBuilder = oneConvNetwork(), labels: [String]? = nil) throws -> Model {
        var builder = builder
        if let labels {
            builder.metadata(
                "whitebox.labels", String(decoding: try JSONEncoder().encode(labels), as: UTF8.self))
        }
        return try Model(Network(builder.model()), preprocessing: "none")
    }

    private func options(_ change: (inout Options) -> Void = { _ in }) -> Options {
        var options = Options()
        options.device = .cpu
        options.threads = 1
        options.layer = "relu"
        change(&options)
        return options
    }

    /// The best classes are the first of the ranking, with equal scores and NaN too.
    @Test func bestOfTheRanking() {
        let scores: [Float] = [2, .nan, 7, -1, 7, .infinity, .nan, 0, -0.0, 2, -.infinity, 2]
        #expect(ExplanationSession.ranking(scores) == [5, 2, 4, 0, 9, 11, 7, 8, 3, 10, 1, 6])
        for count in 1...20 {
            #expect(
                ExplanationSession.best(count, of: scores)
                    == Array(ExplanationSession.ranking(scores).prefix(count)))
        }
    }

    private func failure(_ body: () throws -> Void) -> ExplainError? {
        do {
            try body()
        } catch {
            return error as? ExplainError
        }
        return nil
    }

    /// Scores are sums of the picture with other signs: class i is the sum of column i of the weights.
    private func linear(_ weights: [Float], channels: Int = 2, bias: [Float]? = nil) -> ONNXBuilder {
        var builder = ONNXBuilder(name: "linear")
        builder.input("x", ["N", 1, 3, 3])
        builder.initializer("w", [channels, 1, 1, 1], floats: (0..<channels).map { $0 % 2 == 0 ? 1 : -1 })
        builder.node("Conv", ["x", "w"], ["c"], name: "conv")
        builder.node("Relu", ["c"], ["r"], name: "relu")
        builder.node("GlobalAveragePool", ["r"], ["p"], name: "pool")
        builder.node("Flatten", ["p"], ["f"], name: "flatten")
        builder.initializer("m", [weights.count / channels, channels], floats: weights)
        builder.node("Gemm", ["f", "m"], ["y"], ["transB": 1], name: "linear")
        builder.output("y", ["N", .fixed(weights.count / channels)])
        return builder
    }

    @Test func picturesThatFailLeaveTheOthersAlone() throws {
        let good = picture.map { $0 + 1 }
        for batch in [1, 2, 3, 8, 33] {
            let session = try ExplanationSession(model(), options: options { $0.batch = batch })
            let alone = try session.explain(.array(picture, name: "a")).explanations[0].map
            let shown: [Picture] = [
                .array(picture, name: "a"), .array([1, 2], name: "short"), .file("/nowhere/at/all.png"),
                .array(good, name: "b"),
                .array(picture, name: "c"), .array([], name: "none"),
            ]
            var order: [Int] = []
            var failed: [Int] = []
            try session.explain(shown) { i, result in
                order.append(i)
                switch result {
                case .success(let found):
                    #expect(found.name == shown[i].name && found.photo == nil)
                    if i != 3 { #expect(found.explanations[0].map == alone) }
                case .failure(let error):
                    failed.append(i)
                    #expect(error.kind == .input && error.description.contains(shown[i].name))
                }
            }
            #expect(order == [0, 1, 2, 3, 4, 5] && failed == [1, 2, 5], "batch \(batch)")
        }
    }

    /// Where the memory does not suffice for a batch, fewer pictures are computed at a time, a note says so, and no bit changes.
    @Test func batchesShrink() throws {
        var builder = ONNXBuilder(name: "some memory")
        builder.input("x", ["N", 1, 32, 32])
        builder.initializer("w", [3, 1, 3, 3], floats: (0..<27).map { Float($0 % 5) - 1 })
        builder.node("Conv", ["x", "w"], ["c"], name: "conv")
        builder.node("Relu", ["c"], ["r"], name: "relu")
        builder.node("GlobalAveragePool", ["r"], ["p"], name: "pool")
        builder.node("Flatten", ["p"], ["y"], name: "flatten")
        builder.output("y", ["N", 3])
        let network = builder
        let pictures = (0..<11).map { i in
            Picture.array((0..<1024).map { Float(($0 * (i + 3)) % 17) - 6 }, name: "\(i)")
        }
        func explain(_ device: TestDevice?) throws -> (note: String?, memory: Int, maps: [[Float]]) {
            let session = try ExplanationSession(
                model(network),
                options: options {
                    ($0.batch, $0.methods, $0.settings) = (8, ["gradcam", "fem"], ["fem": ["k": "1"]])
                    $0.opened = device?.device
                })
            var maps: [[Float]] = []
            try session.explain(pictures) { _, result in
                maps += try result.get().explanations.map(\.heatmap.values)
            }
            return (session.deviceNote, session.workingMemory, maps)
        }
        let whole = try explain(nil)
        #expect(whole.note == nil && whole.maps.count == 22)
        let roomy = try explain(try Devices.lesser("roomy") { _ in })
        #expect(roomy.note == nil)
        var notes: [String?] = []
        for (memory, buffer) in [
            (roomy.memory, 1 << 20), (roomy.memory / 3, 1 << 20), (1 << 20, roomy.memory / 2),
        ] {
            let device = try Devices.lesser("less") {
                ($0.globalMemory, $0.maxAllocation) = (memory, buffer)
            }
            let less = try explain(device)
            #expect(less.maps == whole.maps)
            notes.append(less.note)
        }
        #expect(notes[0]?.contains("batches of 8 pictures need more memory than there is, so 4 are") == true)
        #expect(notes[1]?.contains("so 2 are") == true || notes[1]?.contains("so 1 are") == true)
        #expect(notes[2] == nil, "An arena is cut into buffers.")
        let error = failure { _ = try explain(try Devices.lesser("none") { $0.globalMemory = 64 }) }
        #expect(error?.kind == .device && error?.description.contains("of memory, and this needs") == true)
    }

    @Test func aSessionCanBeUsedAgain() throws {
        let session = try ExplanationSession(
            model(),
            options: options {
                ($0.batch, $0.methods) = (3, ["gradcam", "fem"])
                $0.settings["fem"] = ["k": "1"]
            })
        let other = (0..<16).map { Float(15 - $0) }
        let first = try session.explain(.array(picture, name: "a"))
        let second = try session.explain(.array(other, name: "b"))
        let again = try session.explain(.array(picture, name: "a"))
        #expect(first.explanations.map(\.map) == again.explanations.map(\.map))
        #expect(first.explanations[0].map != second.explanations[0].map)
        #expect(first.predictions == again.predictions)
        var count = 0
        try session.explain([]) { _, _ in count += 1 }
        #expect(count == 0)
    }

    @Test func anErrorOfTheReceiverComesThrough() throws {
        struct Stop: Error {}
        let session = try ExplanationSession(model(), options: options())
        #expect(throws: (any Error).self) {
            try session.explain([.array(picture, name: "a")]) { _, _ in throw Stop() }
        }
        #expect(try session.explain(.array(picture, name: "a")).explanations.count == 1)
    }

    @Test func methodsInTheOrderInWhichTheyWereAskedFor() throws {
        let session = try ExplanationSession(
            model(linear([1, 0, 0, 1, 1, 1])),
            options: options {
                ($0.methods, $0.classChoice) = (["fem", "gradcam", "fem"], .top(2))
                $0.settings["fem"] = ["k": "1"]
            })
        let found = try session.explain(.array([1, 2, 3, -4, 5, 6, -7, 8, 9], name: "a"))
        #expect(found.explanations.map(\.method) == ["fem", "gradcam", "gradcam"])
        #expect(
            found.explanations.map(\.classIndex) == [
                nil, found.predictions[0].index, found.predictions[1].index,
            ])
    }

    @Test func theClassesOfEachPicture() throws {
        let session = try ExplanationSession(
            model(linear([1, 0, 0, 1, 0.5, 0.5])),
            options: options { ($0.batch, $0.classChoice) = (2, .top(3)) })
        var found: [[Int]] = []
        try session.explain([
            .array([1, 1, 1, 1, 1, 1, 1, 1, -1], name: "positive"),
            .array([-1, -1, -1, -1, -1, -1, -1, -1, 1], name: "negative"),
        ]) { _, result in found.append(try result.get().explanations.map { $0.classIndex! }) }
        #expect(found == [[0, 2, 1], [1, 2, 0]])
    }

    @Test func classesByNumberAndName() throws {
        let named = try model(labels: ["cat, pussy", "dog", "elephant", "cat"])
        func classes(_ choice: ClassChoice) throws -> [Int?] {
            try ExplanationSession(named, options: options { $0.classChoice = choice }).explain(
                .array(picture, name: "a")
            ).explanations.map(\.classIndex)
        }
        #expect(try classes(.index(3)) == [3])
        #expect(try classes(.label("Dog")) == [1])
        #expect(try classes(.label("pussy")) == [0])
        #expect(try classes(.label("cat")) == [3])  // the whole name goes before a part of one
        #expect(try classes(ClassChoice("top3")) == [0, 1, 2])
        #expect(
            try ExplanationSession(named, options: options { $0.classChoice = .label("dog") }).explain(
                .array(picture, name: "a")
            ).explanations[0].label == "dog")

        func refusal(_ choice: ClassChoice, _ model: Model) -> String? {
            let error = failure {
                _ = try ExplanationSession(model, options: options { $0.classChoice = choice })
            }
            return error?.kind == .classChoice ? error?.description : nil
        }
        #expect(refusal(.index(4), named)?.contains("0 to 3") ?? false)
        #expect(refusal(.index(-1), named)?.contains("0 to 3") ?? false)
        #expect(refusal(.top(5), named)?.contains("4 classes") ?? false)
        #expect(refusal(.top(0), named) != nil)
        #expect(refusal(.top(-2), named) != nil)
        #expect(refusal(.label("elefant"), named)?.contains("Did you mean 2 “elephant”?") ?? false)
        #expect(refusal(.label("spaceship"), named) == "There is no class “spaceship”.")
        #expect(refusal(.label("dog"), try model())?.contains("no class names") ?? false)
        let twice = try model(labels: ["crane", "dog", "crane", "cat"])
        #expect(refusal(.label("crane"), twice)?.contains("0 and 2") ?? false)
    }

    /// Several classes at once; names may have commas of their own.
    @Test func severalClasses() throws {
        let named = try model(
            linear([1, 0, 0, 1, 0.5, 0.5, 2, 0, 0, 3]),
            labels: ["tench, Tinca tinca", "dog", "Tinca tinca", "cat, puss", "crane"])
        func classes(_ text: String, _ picture: [Float] = [1, 2, 3, -4, 5, 6, -7, 8, 9]) throws -> [Int?] {
            try ExplanationSession(named, options: options { $0.classChoice = ClassChoice(text) }).explain(
                .array(picture, name: "a")
            ).explanations.map(\.classIndex)
        }
        #expect(try classes("3,1") == [3, 1])
        #expect(try classes(" 3 , 1 ") == [3, 1])
        #expect(try classes("3,1,3") == [3, 1])
        #expect(try classes("dog,0") == [1, 0])
        #expect(try classes("tench, Tinca tinca") == [0])
        #expect(try classes("Tench,tinca tinca") == [0])
        #expect(try classes("dog, tench, Tinca tinca, 4") == [1, 0, 4])
        #expect(try classes("tench,dog") == [0, 1])
        #expect(try classes("Tinca tinca,tench") == [2, 0])
        #expect(try classes("puss,CAT, Puss") == [3])
        // The best is 3, then 0, 4, 2, 1.
        #expect(try classes("top2") == [3, 0])
        #expect(try classes("top2,dog,top3") == [3, 0, 1, 4])
        #expect(try classes("0,top3") == [0, 3, 4])
        #expect(ClassChoice("top2,3") == .list([.top(2), .index(3)]) && ClassChoice("Top2") == .top(2))
        #expect(ClassChoice("dog,3") == .label("dog,3") && ClassChoice("3") == .index(3))
        for (bad, word) in [
            ("dog,horse", "“horse”"), ("dog,5", "0 to 4"), ("top9,dog", "5 classes"), ("dog,", "empty"),
            ("", "empty"), (",", "empty"),
            ("1,,2", "empty"),
        ] {
            let error = failure { _ = try classes(bad) }
            #expect(
                error?.kind == .classChoice && error?.description.contains(word) ?? false,
                "\(bad): \(String(describing: error))")
        }
    }

    /// In a batch, pictures may have different numbers of classes; each is explained as if it were alone.
    @Test func severalClassesInABatch() throws {
        let network = try model(linear([1, 0, 0, 1, 0.5, 0.5]))
        let pictures: [[Float]] = [
            [1, 2, 3, 4, 5, 6, 7, 8, -1], [-1, -2, -3, -4, -5, -6, -7, -8, 1],
            [1, -2, 3, -4, 5, -6, 7, -8, 9],
        ]
        func found(_ batch: Int) throws -> [[Explanation]] {
            var all: [[Explanation]] = []
            let session = try ExplanationSession(
                network,
                options: options {
                    ($0.batch, $0.methods, $0.settings) = (batch, ["gradcam", "fem"], ["fem": ["k": "1"]])
                    $0.classChoice = .list([.top(1), .index(0), .label("top2")])
                })
            try session.explain(pictures.map { .array($0, name: "a") }) { _, result in
                all.append(try result.get().explanations)
            }
            return all
        }
        let (alone, together) = (try found(1), try found(3))
        #expect(alone.map { $0.map(\.classIndex) } == [[0, 2, nil], [1, 0, 2, nil], [0, 2, nil]])
        #expect(together.map { $0.map(\.classIndex) } == alone.map { $0.map(\.classIndex) })
        for (one, other) in zip(alone.joined(), together.joined()) {
            #expect(one.map == other.map && one.label == other.label)
        }
    }

    @Test func whatIsRefusedBeforeAnyPicture() throws {
        let model = try model()
        func kind(_ change: (inout Options) -> Void) -> ExplainError.Kind? {
            failure { _ = try ExplanationSession(model, options: options(change)) }?.kind
        }
        #expect(kind { $0.layer = "rleu" } == .layer)
        #expect(kind { $0.layer = "linear" } == .layer)
        #expect(kind { $0.methods = ["gradcamm"] } == .method)
        #expect(kind { $0.device = .openCL(99) } == .device)
        #expect(kind { $0.instructionSet = "none" } == .device)
        #expect(kind { _ in } == nil)
        let near = failure {
            _ = try ExplanationSession(model, options: options { $0.methods = ["grad-cam"] })
        }
        #expect(near?.description.contains("Did you mean “gradcam”") ?? false)
        #expect(failure { _ = try Model(path: "/nowhere.onnx") }?.kind == .model)
        #expect(
            failure { _ = try Model(Network(oneConvNetwork().model()), preprocessing: "nothing") }?.kind
                == .settings)
    }

    @Test func scoresThatAreNoScores() throws {
        var builder = ONNXBuilder()
        builder.input("x", ["N", 1, 3, 3])
        builder.node("Relu", ["x"], ["y"], name: "relu")
        builder.output("y", ["N", 1, 3, 3])
        #expect(
            failure { _ = try ExplanationSession(model(builder), options: options()) }?.kind
                == .unsupportedModel)
    }

    // MARK: Blank maps

    private func blank(
        _ builder: ONNXBuilder, _ picture: [Float], _ change: (inout Options) -> Void = { _ in }
    ) throws -> Explanation {
        let found = try ExplanationSession(
            model(builder),
            options: options {
                $0.classChoice = .index(0)
                change(&$0)
            }
        )
        .explain(.array(picture, name: "a"))
        return found.explanations[0]
    }

    private let mixed: [Float] = [1, 2, 3, -4, 5, 6, -7, 8, 9]

    @Test func aZeroGradientIsNamed() throws {
        let found = try blank(linear([0, 0, 1, 1]), mixed)
        #expect(found.blank?.contains("gradient") ?? false)
        #expect(found.map.values.allSatisfy { $0 == 0 } && found.heatmap.values.allSatisfy { $0 == 0 })
    }

    @Test func aMapThatIsNegativeEverywhereIsNamed() throws {
        let found = try blank(linear([-1, -1, 1, 1]), mixed)
        #expect(found.blank?.contains("no cell of the layer speaks for the class") ?? false)
    }

    @Test func aConstantMapIsNamed() throws {
        let found = try blank(linear([1, 1, 0, 0]), Array(repeating: 2, count: 9))
        #expect(found.blank?.contains("same value") ?? false)
        #expect(found.heatmap.values.allSatisfy { $0 == 0 })
    }

    /// A probability that is a number, behind activations that are not.
    @Test func numbersThatAreNotFiniteAreNamed() throws {
        var builder = linear([1, 1, 2, 2])
        builder.node("Sigmoid", ["y"], ["s"], name: "bound")
        builder.graph.output.removeAll()
        builder.output("s", ["N", 2])
        var picture = mixed
        picture[4] = .infinity
        let found = try blank(builder, picture)
        #expect(found.blank?.contains("finite") ?? false)
        #expect(found.heatmap.values.allSatisfy { $0.isFinite })
    }

    /// A network that says NaN says nothing: the picture fails, and the others go on.
    @Test func scoresThatAreNoNumbersAreAFailure() throws {
        for bad in [Float.nan, .infinity] {
            for methods in [["gradcam", "fem"], []] {
                var picture = mixed
                picture[4] = bad
                let session = try ExplanationSession(
                    model(linear([1, 1, 0, 0])),
                    options: options {
                        ($0.batch, $0.methods, $0.settings) = (2, methods, ["fem": ["k": "1"]])
                    })
                var failures: [Int: ExplainError] = [:]
                try session.explain([
                    .array(mixed, name: "a"), .array(picture, name: "bad"), .array(mixed, name: "c"),
                ]) { i, result in if case .failure(let error) = result { failures[i] = error } }
                #expect(failures.keys.sorted() == [1])
                #expect(failures[1]?.kind == .model && failures[1]?.description.hasPrefix("bad: ") ?? false)
                #expect(failures[1]?.description.contains("of the network's 2 logits") ?? false)
            }
        }
    }

    @Test func femOfConstantChannelsIsNamed() throws {
        let found = try blank(linear([1, 1, 0, 0]), Array(repeating: 2, count: 9)) { $0.methods = ["fem"] }
        #expect(found.blank?.contains("threshold") ?? false)
    }

    @Test func aNormalMapIsNotBlank() throws {
        let found = try blank(linear([1, 0, 0, 1]), mixed)
        #expect(found.blank == nil && found.heatmap.values.max() == 1 && found.heatmap.values.min() == 0)
    }

    // MARK: Probabilities

    @Test func softmaxAndSigmoidAtTheEnd() throws {
        for end in ["Softmax", "LogSoftmax", "Sigmoid"] {
            var builder = linear([1, 0, 0, 1, 2, 0])
            builder.node(end, ["y"], ["probabilities"], name: "end")
            builder.graph.output.removeAll()
            builder.output("probabilities", ["N", 3])
            let found = try ExplanationSession(model(builder), options: options()).explain(
                .array(mixed, name: "a"))
            // The score is the logit, whatever follows it.
            let positive = mixed.map { max($0, 0) }.reduce(0, +) / 9
            let negative = mixed.map { max(-$0, 0) }.reduce(0, +) / 9
            #expect(found.predictions.map(\.index) == [2, 0, 1])
            for (prediction, logit) in zip(found.predictions, [2 * positive, positive, negative]) {
                #expect(abs(prediction.logit - logit) < 1e-5)
            }
            let sum = found.predictions.map(\.probability).reduce(0, +)
            #expect(end == "Sigmoid" ? sum > 1.5 : abs(sum - 1) < 1e-6)
        }
    }

    @Test func threeChannelsFromAFile() throws {
        var builder = ONNXBuilder(name: "colours")
        builder.input("x", ["N", 3, 8, 8])
        builder.initializer("w", [3, 3, 1, 1], floats: [1, 0, 0, 0, 1, 0, 0, 0, 1])
        builder.node("Conv", ["x", "w"], ["c"], name: "conv")
        builder.node("Relu", ["c"], ["r"], name: "relu")
        builder.node("GlobalAveragePool", ["r"], ["p"], name: "pool")
        builder.node("Flatten", ["p"], ["y"], name: "flatten")
        builder.output("y", ["N", 3])
        let model = try Model(Network(builder.model()), preprocessing: "none")
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
            "session-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var pixels: [UInt8] = []
        for i in 0..<64 { pixels += [UInt8(i), UInt8(3 * i), 0] }
        let path = folder.appendingPathComponent("green.png").path
        try RGBImage(width: 8, height: 8, pixels: pixels).writePNG(to: path, overwrite: false)
        let session = try ExplanationSession(model, options: options { $0.batch = 2 })
        let found = try session.explain(.file(path))
        #expect(found.size?.width == 8 && found.predictions[0].index == 1)
        #expect(found.predictions.map(\.logit) == [94.5, 31.5, 0])
        // A picture of another size is refused, since “none” does not resize.
        let small = folder.appendingPathComponent("small.png").path
        try RGBImage(width: 4, height: 4, pixels: Array(repeating: 9, count: 48)).writePNG(
            to: small, overwrite: false)
        #expect(failure { _ = try session.explain(.file(small)) }?.kind == .input)
    }

    /// Pixels that one can see through count with the colours under them, and somebody says so. What a network of one channel sees
    /// is grey.
    @Test func transparentPicturesAndGreyNetworks() throws {
        // Red but for its alpha; 2 × 1 pixels, the second of them half transparent.
        let file = try #require(
            Data(
                base64Encoded:
                    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAYAAAD0In+KAAAAEUlEQVR4nGPcwsDwn4GBoREACy4CNnjtK+cAAAAASUVORK5CYII="
            ))
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
            "session-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appendingPathComponent("glass.png").path
        try file.write(to: URL(filePath: path))
        var builder = ONNXBuilder(name: "grey")
        builder.input("x", ["N", 1, 1, 2])
        builder.initializer("w", [2, 1, 1, 1], floats: [1, -1])
        builder.node("Conv", ["x", "w"], ["c"], name: "conv")
        builder.node("Relu", ["c"], ["r"], name: "relu")
        builder.node("GlobalAveragePool", ["r"], ["p"], name: "pool")
        builder.node("Flatten", ["p"], ["y"], name: "flatten")
        builder.output("y", ["N", 2])
        let model = try Model(Network(builder.model()), preprocessing: "none")
        let found = try ExplanationSession(model, options: options()).explain(.file(path))
        #expect(found.predictions[0].logit == 60)
        #expect(found.note?.hasPrefix("the picture has transparent pixels, and the network sees") == true)
        #expect(found.view?.image.pixels == [60, 60, 60, 60, 60, 60])
        let record = ResultDocument.image(PictureRequest(.file("glass.png")), .success(found)).text
        #expect(record.contains("\"note\": \"the picture has transparent pixels"))

        let plain = folder.appendingPathComponent("plain.png").path
        try RGBImage(width: 2, height: 1, colour: (180, 0, 0)).writePNG(to: plain, overwrite: false)
        let other = try ExplanationSession(model, options: options()).explain(.file(plain))
        #expect(other.note == nil && other.predictions[0].logit == 60)
    }
}
