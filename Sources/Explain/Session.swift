// A session: a model made ready on a device for certain methods, and used for many pictures.

import CMicrokernels
import Dispatch
import Foundation
import Imaging
import Inference
import Kernels
import Text

/// A model that is ready to explain pictures.
///
/// ```swift
/// var options = Options()
/// options.methods = ["gradcam", "fem"]
/// let session = try ExplanationSession(Model(path: "resnet50.onnx"), options: options)
/// let result = try session.explain(.file("elephant.jpg"))
/// print(result.predictions[0].label, result.explanations[0].map.values)
/// ```
///
/// Making one plans the computation, packs the weights and builds the device's programs; explaining reuses all of it. A session
/// belongs to one thread at a time.
public final class ExplanationSession {
    /// What it was made with.
    public let model: Model
    public let options: Options
    /// For results and people: the device, such as "cpu (AVX-512, 2 threads)".
    public let device: String
    /// Why the device is not the one that `auto` would have liked, and that its memory makes batches smaller than they were to be;
    /// nil if all is as wanted.
    public let deviceNote: String?
    /// The layer that is explained: its name, ONNX operator and index among the layers, and why it was taken.
    public let layer: (name: String, type: String, index: Int, reason: String)
    /// The number of classes: as many as the network has scores, but two for one score.
    public var classes: Int { scores.classes }
    private let scores: ClassScores

    let methods: [any Explainer.Type]
    let input: Value, logits: Value, seed: Value?
    private let outputs: [MethodOutputs]
    let tape: Tape
    let executor: any Executor
    private let grid: (height: Int, width: Int)
    private let targets: [ClassTarget]
    private let preparation: Preparation
    /// For the maps of a batch.
    private let share: MemoryBudget.Share
    /// Inputs of two batches: one is prepared while the other is computed.
    private let slots: [any InputSlot]

    /// The most maps of a picture: those of ImageNet's classes, and some. More are no sheet that anybody could look at.
    private static let mapLimit = 1024

    /// How many maps a picture has, unless it has classes in common with others that are asked for.
    private static func mapsOfEach(_ methods: [any Explainer.Type], _ targets: [ClassTarget]) -> Int {
        methods.map { $0.isClassSpecific ? targets.count : 1 }.reduce(0, +)
    }
    var mapsOfEach: Int { Self.mapsOfEach(methods, targets) }

    /// How many pictures are computed at a time: `options.batch`, or fewer where the device's memory does not suffice.
    public var batch: Int { tape.shape(input).dims[0] }

    /// Working memory on the device for one batch, in bytes, without weights.
    public var workingMemory: Int { executor.arenaBytes }

    /// Plans, loads the weights onto the device, and builds its programs (OpenCL: seconds the first time,
    /// then from a cache on disk).
    /// - Throws: `ExplainError`, before any picture is read: of kind `method`, `layer`, `classChoice`,
    ///   `device`, `model` or `unsupportedModel` (the network's output is not one row of scores per picture).
    public init(_ model: Model, options: Options = Options()) throws {
        self.model = model
        self.options = options
        var seen: Set<String> = []
        methods = try options.methods.filter { seen.insert($0).inserted }.map(ExplainerList.named)
        let choice = try model.layer(options.layer)
        layer = (choice.layer.name, choice.layer.type, choice.layer.index, choice.reason)
        var settings = MethodSettings()
        settings.femThreshold = options.femThreshold
        for method in methods { try method.check(layer: choice.layer.shape, settings) }
        grid = (choice.layer.shape.dims[2], choice.layer.shape.dims[3])

        // A device that is not there is complained of last.
        let opened = Result { try options.openDevice() }
        let wanted = (try? opened.get())?.device.batch(max(1, options.batch)) ?? 1
        do {
            var batch = wanted
            var plan = try Plan(model, layer: choice.layer, methods, settings, batch: batch)
            scores = plan.scores
            targets = try options.classChoice.targets(in: model, classes: scores.classes)
            let maps = Self.mapsOfEach(methods, targets)
            guard maps <= Self.mapLimit else {
                throw ExplainError(
                    .limit,
                    "--class and --method ask for \(maps) maps of each picture, and the most is \(Self.mapLimit); take fewer classes "
                        + "at a time.")
            }
            // Each map, as it comes from the device and as it is kept, and its heat map; and the picture as the network sees it.
            let pixels = model.inputHeight * model.inputWidth
            let resultBytes = maps * (8 * grid.height * grid.width + 4 * pixels) + 3 * pixels
            let opened = try opened.get()
            device = opened.device.description
            var loaded: (executor: any Executor, slots: [any InputSlot], share: MemoryBudget.Share)
            while true {
                do {
                    let executor = try opened.device.load(plan.tape, keeping: plan.kept)
                    let memory = model.network.limits.memory
                    guard let share = memory.tryReserve(batch * resultBytes) else {
                        throw LimitError(
                            "The \(maps) maps of each picture take \(MemoryBudget.mebibytes(batch * resultBytes)) of memory, which "
                                + "\(memory.exceeded); take fewer classes (--class), or raise the limit with --memory-limit.",
                            isMemory: true)
                    }
                    // With less room than this, pictures that fit alone would fail for what the batch takes.
                    guard batch == 1 || memory.left >= model.decoding.bound else {
                        throw LimitError("There is no room for the pictures of a batch.", isMemory: true)
                    }
                    loaded = (
                        executor, try [executor.slot(for: plan.input), executor.slot(for: plan.input)], share
                    )
                    break
                } catch  where batch > 1 && isOutOfMemory(error) {
                    batch = (batch + 1) / 2
                    plan = try Plan(model, layer: choice.layer, methods, settings, batch: batch)
                }
            }
            (executor, slots, share) = loaded
            (input, logits, seed, outputs, tape) = (
                plan.input, plan.logits, plan.seed, plan.outputs, plan.tape
            )
            let notes = [
                opened.note,
                batch == wanted
                    ? nil
                    : "batches of \(wanted) pictures need more memory than there is, so \(batch) are computed at a time",
            ].compactMap { $0 }
            deviceNote = notes.isEmpty ? nil : notes.joined(separator: "; ")
            preparation = Preparation(model: model, shape: tape.shape(input))
        } catch {
            throw ExplainError(error, .model)
        }
    }

    /// What is computed for a batch.
    private struct Plan {
        let tape: Tape
        let input: Value, logits: Value, seed: Value?
        let scores: ClassScores
        let outputs: [MethodOutputs]
        /// What is read from the device.
        let kept: [Value]

        init(
            _ model: Model, layer: Layer, _ methods: [any Explainer.Type], _ settings: MethodSettings,
            batch: Int
        ) throws {
            let classwise = methods.contains { $0.isClassSpecific }
            var plan = try Planner(
                model.network, batch: batch, height: model.inputHeight, width: model.inputWidth,
                stored: [layer.output], differentiated: classwise ? [layer.output] : [])
            input = plan.input
            logits = try plan.logits
            let shape = plan.tape.shape(logits)
            guard shape.rank >= 2, shape.dims[0] == batch, shape.dims.dropFirst(2).allSatisfy({ $0 == 1 })
            else {
                throw ExplainError(
                    .unsupportedModel,
                    "\(model.path): The scores have the shape \(shape); a classifier has one row of scores for each picture."
                )
            }
            scores = ClassScores(scores: shape.dims[1])
            try model.checkLabels(scores)
            if scores.isBinary, let end = model.network.softmax {
                throw ExplainError(
                    .unsupportedModel,
                    "\(model.path): The network ends in a \(end) over a single score, which says the same of every picture; a "
                        + "classifier of two classes has two scores, or one and a Sigmoid.")
            }
            let activation = try plan.value(layer.output)
            let found = plan.tape.shape(activation).dims
            guard found == [batch] + layer.shape.dims.dropFirst() else {
                throw ExplainError(
                    .layer,
                    "\(model.path): The layer “\(shortened(layer.name))” has the shape \(Shape(found)) for \(batch) pictures, which is not one grid of "
                        + "cells for each picture, so no map can be made of it.")
            }

            // First what needs no class, with the forward pass; then, once for each class, what does.
            var outputs: [MethodOutputs?] = methods.map { _ in nil }
            for (i, method) in methods.enumerated() where !method.isClassSpecific {
                plan.tape.label = method.title
                outputs[i] = try method.map(
                    &plan.tape, MethodInputs(activation: activation, gradient: nil, settings: settings))
            }
            if classwise {
                plan.tape.beginStage()
                let seed = plan.tape.input(shape)
                let gradient = try plan.gradients(seed: seed, of: [layer.output])[layer.output]!
                for (i, method) in methods.enumerated() where method.isClassSpecific {
                    plan.tape.label = method.title
                    outputs[i] = try method.map(
                        &plan.tape,
                        MethodInputs(activation: activation, gradient: gradient, settings: settings))
                }
                self.seed = seed
            } else {
                seed = nil
            }
            self.outputs = outputs.map { $0! }
            kept = [logits] + self.outputs.flatMap { [$0.map] + ($0.weights.map { [$0] } ?? []) }
            plan.tape.dropDeadSteps(keeping: kept)
            tape = plan.tape
        }
    }

    /// Explains one picture. It takes as long as a whole batch: make a session with `batch = 1` for single
    /// pictures.
    /// - Throws: `ExplainError` of kind `input` if the picture cannot be read or does not fit, `device` if
    ///   the device fails.
    public func explain(_ picture: Picture) throws -> ImageExplanation {
        var result: Result<ImageExplanation, ExplainError>?
        try explain([picture]) { _, r in result = r }
        return try result!.get()
    }

    /// Explains pictures, in batches; hands over each result as it comes, in order.
    ///
    /// A picture that cannot be read gives a failure of its own, of kind `input`, and the others go on; so does one for which the
    /// network's scores are no numbers, of kind `model`.
    /// - Parameter receive: is called on this thread with the index of the picture among `pictures`, and its
    ///   result. What it throws ends the work and is thrown on.
    /// - Throws: `ExplainError` of kind `device` if the device fails.
    public func explain(
        _ pictures: [Picture], _ receive: (Int, Result<ImageExplanation, ExplainError>) throws -> Void
    ) throws {
        let parts = stride(from: 0, to: pictures.count, by: batch).map {
            $0..<min($0 + batch, pictures.count)
        }
        func begin(_ number: Int) -> Preparation.Batch? {
            guard number < parts.count else { return nil }
            return preparation.begin(Array(pictures[parts[number]]), in: slots[number % 2])
        }
        var next = begin(0)
        var start: UInt64?  // when the forward pass of `next` was started
        func launch(_ batch: Preparation.Batch) throws {
            start = DispatchTime.now().uptimeNanoseconds
            try executor.take(batch.slot, as: input)
            try executor.start(tape.stage(0))
        }
        // Nothing goes on after this call, whatever ends it.
        defer { _ = next?.wait() }
        for (number, part) in parts.enumerated() {
            let ready = next!
            let prepared = ready.wait()
            let computed: [Result<ImageExplanation, ExplainError>]
            do {
                if start == nil { try launch(ready) }
                let since = start!
                start = nil
                next = begin(number + 1)
                computed = try finish(Array(pictures[part]), prepared, since: since) {
                    // Where the device goes on by itself, what is left to do here is done meanwhile.
                    guard executor.runsBesideHost, let next, next.isReady else { return }
                    try launch(next)
                }
            } catch {
                throw ExplainError(error, .device)
            }
            for (i, index) in part.enumerated() { try receive(index, computed[i]) }
        }
    }

    // MARK: Computing

    /// What a method left on the device.
    private struct Numbers {
        let method: any Explainer.Type
        let classes: [Int?]?  // of each picture; nil for one that has fewer classes
        let maps: [Float], weights: [Float]?
    }

    /// Explains a batch whose forward pass runs. When all is read from the device it calls `release`: the device is free then.
    private func finish(
        _ pictures: [Picture], _ prepared: [Result<PreparedPicture, ExplainError>], since start: UInt64,
        release: () throws -> Void
    ) throws -> [Result<ImageExplanation, ExplainError>] {
        let (count, numbersOfScores) = (scores.scores, try executor.memoryOrder(logits))
        let rows = pictures.indices.map {
            scores.logits(Array(numbersOfScores[$0 * count..<($0 + 1) * count]))
        }

        var numbers: [Numbers] = []
        func read(_ method: any Explainer.Type, _ output: MethodOutputs, classes: [Int?]?) throws {
            numbers.append(
                Numbers(
                    method: method, classes: classes, maps: try executor.memoryOrder(output.map),
                    weights: try output.weights.map(executor.memoryOrder)))
        }
        for (method, output) in zip(methods, outputs) where !method.isClassSpecific {
            try read(method, output, classes: nil)
        }
        if let seed {
            let wanted = rows.map(targets.classes)
            for round in 0..<(wanted.map(\.count).max() ?? 0) {
                // A picture that has fewer classes than others repeats its first, and nobody looks.
                let targets = wanted.map { round < $0.count ? $0[round] : $0[0] }
                var cotangent = [Float](repeating: 0, count: batch * count)
                for (i, target) in targets.enumerated() {
                    let seed = scores.seed(target)
                    cotangent[i * count + seed.score] = seed.cotangent
                }
                try cotangent.withUnsafeBufferPointer { try executor.write(seed, from: $0) }
                try executor.start(tape.stage(1))
                for (method, output) in zip(methods, outputs) where method.isClassSpecific {
                    try read(
                        method, output, classes: wanted.map { round < $0.count ? $0[round] : nil })
                }
            }
        }
        let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9 / Double(pictures.count)
        try release()

        var results = [Result<ImageExplanation, ExplainError>?](repeating: nil, count: pictures.count)
        results.withUnsafeMutableBufferPointer { results in
            // Each picture writes its own result, and only reads the rest.
            nonisolated(unsafe) let (results, session) = (results, self)
            let numbers = numbers
            DispatchQueue.concurrentPerform(iterations: pictures.count) { i in
                let ready: PreparedPicture
                switch prepared[i] {
                case .failure(let error):
                    results[i] = .failure(error)
                    return
                case .success(let picture): ready = picture
                }
                let probabilities = session.model.network.probabilities(rows[i], of: session.scores)
                let unknown = probabilities.count(where: \.isNaN)
                guard unknown == 0 else {
                    results[i] = .failure(session.notANumber(pictures[i].name, rows[i], unknown))
                    return
                }
                // In the order in which the methods were asked for, and of the classes.
                let explanations = session.methods.flatMap { method in
                    numbers.filter {
                        $0.method.name == method.name && ($0.classes == nil || $0.classes![i] != nil)
                    }.map {
                        session.explanation($0, picture: i, probabilities)
                    }
                }
                results[i] = .success(
                    ImageExplanation(
                        name: pictures[i].name, size: ready.size,
                        predictions: ExplanationSession.best(5, of: rows[i]).map {
                            Prediction(
                                index: $0, label: session.model.label($0), logit: rows[i][$0],
                                probability: probabilities[$0])
                        }, note: ready.note, explanations: explanations, seconds: (ready.seconds, seconds),
                        view: ready.view, photo: ready.photo, memory: session.model.writing))
            }
        }
        return results.map { $0! }
    }

    /// A network that overflows has nothing to say of a picture, and no map of it means anything.
    private func notANumber(_ picture: String, _ logits: [Float], _ unknown: Int) -> ExplainError {
        let bad = logits.count { !$0.isFinite }
        return ExplainError(
            .model,
            "\(picture): \(bad) of the network's \(logits.count) logits are not finite numbers, so it does not say what it sees; it "
                + "overflows on this picture, or its weights or the picture's preparation (--preprocess) are wrong."
        )
    }

    /// What one method says about one picture.
    private func explanation(_ numbers: Numbers, picture i: Int, _ probabilities: [Float]) -> Explanation {
        let method = numbers.method
        let cells = grid.height * grid.width
        let values = method.finish(Array(numbers.maps[i * cells..<(i + 1) * cells]))
        let plane = Plane(width: grid.width, height: grid.height, values: values)
        let scaled = plane.normalised()
        var blank: String?
        if scaled.notFinite > 0 {
            blank =
                "\(scaled.notFinite) of \(cells) cells are not finite numbers: the network overflows on this picture"
        } else if values.allSatisfy({ $0 == 0 }) {
            blank = method.blankReason(
                weights: numbers.weights.map { all in
                    let channels = all.count / batch
                    return Array(all[i * channels..<(i + 1) * channels])
                })
        } else if scaled.isConstant {
            blank = "the map has the same value, \(values[0]), everywhere"
        }
        let heat = scaled.plane.resized(width: model.inputWidth, height: model.inputHeight)
        let target = numbers.classes.flatMap { $0[i] }
        return Explanation(
            method: method.name, title: method.title, classIndex: target, label: target.map(model.label),
            probability: target.map { probabilities[$0] }, layer: layer.name,
            map: Grid2D(width: grid.width, height: grid.height, values: values),
            heatmap: Grid2D(width: heat.width, height: heat.height, values: heat.values), blank: blank)
    }

    /// Class indices by falling score; of equals the lower index first, and NaN last.
    package static func ranking(_ scores: [Float]) -> [Int] {
        scores.indices.sorted { precedes(scores, $0, $1) }
    }

    /// The first `count` of the ranking, or all if there are fewer.
    package static func best(_ count: Int, of scores: [Float]) -> [Int] {
        // The device waits for this, so all are sorted only where many are wanted.
        if count > 16 { return Array(ranking(scores).prefix(count)) }
        var best: [Int] = []
        for i in scores.indices {
            if best.count == count {
                guard precedes(scores, i, best[count - 1]) else { continue }
                best.removeLast()
            }
            // Equal scores stay in the order of their indices.
            best.insert(i, at: best.firstIndex { precedes(scores, i, $0) } ?? best.count)
        }
        return best
    }

    private static func precedes(_ scores: [Float], _ a: Int, _ b: Int) -> Bool {
        let (p, q) = (scores[a], scores[b])
        if p.isNaN || q.isNaN { return p.isNaN == q.isNaN ? a < b : q.isNaN }
        return p == q ? a < b : p > q
    }
}
