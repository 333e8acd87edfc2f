// Everything about a network in one go: for `app check`.

import Glibc
import Imaging
import Inference
import Kernels
import ONNX
import Text

/// What can be said of a model before it explains anything: what it is, what stands in the way, and what will be assumed.
package struct ModelCheck: Sendable {
    package enum Level: String, Sendable {
        case fact
        /// Something to look at: results may not be what was meant.
        case warning
        /// Nothing can be explained before it is mended.
        case problem
    }
    package struct Finding: Sendable {
        package let topic: String
        package let level: Level
        package let text: String
    }
    /// In the order in which a person wants to know them.
    package private(set) var findings: [Finding] = []
    /// What ended the check early; nil if it came to its end.
    package private(set) var error: ExplainError?

    package var isWell: Bool { findings.allSatisfy { $0.level == .fact } }

    private mutating func add(_ topic: String, _ level: Level = .fact, _ text: String) {
        findings.append(Finding(topic: topic, level: level, text: text))
    }

    /// - Parameters:
    ///   - path: the file, for what can be said of one that makes no model.
    ///   - pictures: photographs that it tries; none if it is to compute nothing.
    ///   - load: makes the model.
    package init(path: String, pictures: [Picture], options: Options, load: () throws -> Model) {
        do {
            describe(try ONNXModel(path: path))
        } catch {
            fail("file", error)
            return
        }
        let model: Model
        do {
            model = try load()
        } catch {
            fail("network", error)
            return
        }
        scores(model)
        sizes(model, options)
        layer(model)
        preparation(model)
        methods(model, options)
        do {
            try model.checkTakesPictures(orVideos: true)
            if model.network.takesVideos {
                add("run", "nothing was computed: it takes videos (`app explain --video`)")
            } else {
                try run(model, pictures, options)
            }
        } catch {
            fail("network", error)
        }
    }

    private mutating func fail(_ topic: String, _ error: any Error) {
        let error = ExplainError(error, .model)
        add(topic, .problem, error.details ?? error.description)
        self.error = error
    }

    // MARK: The file

    private mutating func describe(_ file: ONNXModel) {
        let graph = file.graph
        // Some exporters print a version that they do not know.
        let producer = [file.producerName, file.producerVersion].filter { !$0.isEmpty }.joined(separator: " ")
            .split(separator: " ").filter { $0 != "None" }.joined(separator: " ")
        add(
            "file",
            "\(bytes(file.bytes.count)), operator set \(file.opset), IR version \(file.irVersion), "
                + (producer.isEmpty
                    ? "by an exporter that does not name itself" : "written by \(shortened(producer))")
                + (file.externalFiles.isEmpty
                    ? ""
                    : "; weights also in \(file.externalFiles.map { shortened($0.location) }.joined(separator: ", "))")
        )
        let types = Dictionary(grouping: graph.nodes) {
            ($0.domain.isEmpty ? "" : $0.domain + ".") + $0.opType
        }
        .mapValues(\.count).sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        add(
            "nodes",
            "\(graph.nodes.count): "
                + types.prefix(12).map { "\($0.value) \(shortened($0.key))" }.joined(separator: ", ")
                + (types.count > 12 ? " and \(types.count - 12) more kinds" : ""))
        for (what, values) in [("input", graph.inputs), ("output", graph.outputs)] {
            for value in values {
                let dims =
                    value.dims.map { $0.map(\.description).joined(separator: "×") } ?? "of unknown rank"
                add(
                    what,
                    "“\(shortened(value.name))” \(dims.isEmpty ? "a single number" : dims), \(value.type)")
            }
        }
        let element = Dictionary(grouping: graph.initializers.values) { "\($0.type)" }
            .mapValues { $0.reduce(0) { $0 + $1.elementCount } }.sorted {
                ($1.value, $0.key) < ($0.value, $1.key)
            }
        add(
            "weights",
            element.isEmpty
                ? "none" : element.map { "\($0.value) numbers of \($0.key)" }.joined(separator: ", "))
    }

    // MARK: The network

    private mutating func scores(_ model: Model) {
        let network = model.network
        do {
            let spec = PassSpec(batch: 1, height: model.inputHeight, width: model.inputWidth)
            let shape = try network.shapes(of: [network.logitsName], in: spec)[0]
            let scores = try model.scores(shape, batch: 1)
            let end =
                network.softmax.map { "a \($0) after them" }
                ?? (network.scoreIsSigmoid
                    ? "a Sigmoid after them, so each class has a probability of its own"
                    : "nothing after them")
            add(
                "scores",
                "\(scores.isBinary ? "one score, which makes two classes" : "\(scores.classes) classes"): “\(shortened(network.logitsName))” \(shape), \(end)"
            )
            if let note = model.outputNote { add("scores", .warning, note) }
            if model.labels.isEmpty {
                add("labels", "none; classes are called by their numbers (--labels names them)")
            } else {
                do {
                    try model.checkLabels(scores)
                    let names = model.labels.prefix(3).map { "“\(shortened($0))”" }.joined(separator: ", ")
                    add("labels", "\(model.labels.count): \(names)\(model.labels.count > 3 ? ", …" : "")")
                } catch {
                    add("labels", .problem, "\(ExplainError(error, .settings))")
                }
            }
        } catch {
            fail("scores", error)
        }
    }

    /// Whether what the network makes of a picture depends on those beside it, as far as that can be tried.
    private func meetsOthers(_ model: Model, _ options: Options) -> Bool {
        var spec = PassSpec(batch: 2, height: model.inputHeight, width: model.inputWidth)
        spec.stored = [model.network.logitsName]
        let found = try? {
            let engine = Engine(model.network, on: try LoadedDevice(options.openDevice().device))
            return try engine.joinsPictures(in: engine.pass(spec))
        }()
        return found ?? false
    }

    /// Batches and sizes of pictures, as far as shapes go.
    private mutating func sizes(_ model: Model, _ options: Options) {
        let network = model.network
        func plans(batch: Int, height: Int, width: Int) -> Result<PassPlan, any Error> {
            Result {
                var spec = PassSpec(batch: batch, height: height, width: width)
                spec.stored = [network.logitsName]
                return try PassPlan(spec, of: network)
            }
        }
        let (height, width) = (model.inputHeight, model.inputWidth)
        var memory: [String] = []
        var text = "any"
        for batch in [1, 8] {
            switch plans(batch: batch, height: height, width: width) {
            case .success(let plan):
                let working = 4 * plan.tape.memory(keeping: plan.kept, alignment: 16, overwriting: true).size
                memory.append(
                    "\(bytes(working + plan.tape.bytes(keeping: plan.kept))) for \(batch == 1 ? "one picture" : "\(batch)")"
                )
            case .failure(let error):
                if batch == 1 { return fail("network", error) }
                text = "1 only: \(ExplainError(error, .model))"
            }
        }
        if text == "any", meetsOthers(model, options) {
            add(
                "batch", .warning,
                "what the network makes of a picture depends on the others of its batch (as a mean over the first axis would); pictures are computed one at a time, whatever --batch says"
            )
        } else {
            add("batch", text)
        }
        let open =
            network.inputDims.count == 4 ? [network.inputDims[2], network.inputDims[3]].contains(nil) : false
        if open {
            // Larger by what most networks' strides divide.
            let larger = plans(batch: 1, height: height + 64, width: width + 64)
            switch larger {
            case .success:
                add(
                    "size",
                    "open in the file; \(width)×\(height) as prepared, and \(width + 64)×\(height + 64) would do too"
                )
            case .failure(let error):
                add(
                    "size",
                    "open in the file, but only \(width)×\(height) was seen to do: \(ExplainError(error, .model))"
                )
            }
        } else {
            add("size", "\(width)×\(height) (width × height), fixed in the file")
        }
        add("memory", memory.joined(separator: ", "))
    }

    private mutating func layer(_ model: Model) {
        do {
            let choice = try model.layer("auto")
            add(
                "layer",
                "\(choice.layer.index) “\(shortened(choice.layer.name))” (\(choice.layer.type)), \(choice.reason)"
            )
        } catch {
            add("layer", .warning, "\(ExplainError(error, .layer)) Methods that need none are left.")
        }
    }

    private mutating func preparation(_ model: Model) {
        let isAssumed = model.preprocessingIsAssumed
        add("pictures", "preprocessing \(model.preprocessingSource)")
        // That the model does not say how is no fault of it; what contradicts the network is.
        if let note = model.preprocessingNote {
            add("pictures", isAssumed && !model.preprocessingIsDoubtful ? .fact : .warning, note)
        }
    }

    /// Which methods cannot be applied.
    private mutating func methods(_ model: Model, _ options: Options) {
        var left: [(name: String, title: String, why: String)] = []
        let layers = (try? model.layers(named: options.layer).map(\.layer)) ?? []
        do {
            let shown = try model.showing(layers, for: ExplainerList.all)
            for type in ExplainerList.all {
                if let error = try ExplanationSession.MadeMethod.refusal(type, shown, layers: layers, options)
                {
                    left.append((type.name, type.title, error.description))
                }
            }
        } catch {
            return fail("methods", error)
        }
        let all = ExplainerList.all.count
        add("methods", "\(all - left.count) of \(all)")
        // The same reason of several, each of which begins with its own name, is said once.
        var reasons: [(key: String, names: [String], why: String)] = []
        for (name, title, why) in left {
            let key = why.hasPrefix(title) ? String(why.dropFirst(title.count)) : why
            if let i = reasons.firstIndex(where: { $0.key == key }) {
                reasons[i].names.append(name)
            } else {
                reasons.append((key, [name], why))
            }
        }
        for reason in reasons {
            add("methods", "not \(reason.names.joined(separator: ", ")): \(reason.why)")
        }
    }

    // MARK: Photographs

    private mutating func run(_ model: Model, _ pictures: [Picture], _ options: Options) throws {
        guard !pictures.isEmpty else {
            return add("run", "nothing was computed; name photographs to try some")
        }
        var options = options
        options.methods = layerIsThere ? ["gradcam"] : []
        options.batch = 1
        let session = try ExplanationSession(model, options: options)
        var (seconds, best, blank): ([Double], [Prediction], [String]) = ([], [], [])
        for picture in pictures {
            let image = try session.explain(picture)
            seconds.append(image.seconds.compute)
            best.append(image.predictions[0])
            let top = image.predictions.prefix(3).map {
                "\($0.label), \(Int(($0.probability * 100).rounded())) %"
            }
            add("run", "\(picture.name): \(top.joined(separator: ", "))")
            blank += image.explanations.compactMap(\.blank)
        }
        for warning in try PreprocessingCheck(model, pictures, on: options.openDevice().device).warnings {
            add("pictures", .warning, warning)
        }
        let median = Benchmark.median(seconds.count > 1 ? Array(seconds.dropFirst()) : seconds)
        add(
            "speed",
            "\(decimal(1 / max(median, 1e-9), digits: 1)) pictures/s by Grad-CAM, one at a time, on \(session.device)"
        )
        if let reason = blank.first { add("map", .warning, "the Grad-CAM map is blank: \(reason)") }
        let classes = session.classes
        if classes > 2, best.allSatisfy({ $0.probability < 2 / Float(classes) }) {
            add(
                "answers", .warning,
                "the network is as good as undecided about every photograph (the best class has at most \(best.map(\.probability).max()!)); its pictures are prepared in another way, or its weights are random"
            )
        }
        if best.count > 2, Set(best.map(\.index)).count == 1 {
            add(
                "answers", .warning,
                "the network says \(best[0].label) of every photograph, so its pictures are probably prepared in another way"
            )
        }
    }

    private var layerIsThere: Bool { !findings.contains { $0.topic == "layer" && $0.level != .fact } }

    private func bytes(_ count: Int) -> String {
        count < 1 << 20 ? "\((count + 1023) >> 10) KiB" : MemoryBudget.mebibytes(count)
    }
}

extension ModelCheck {
    private mutating func add(_ topic: String, _ text: String) { add(topic, .fact, text) }
}
