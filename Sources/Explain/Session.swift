// A session: a model made ready on a device for certain methods, and used for many pictures.

import CMicrokernels
import Dispatch
import Glibc
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
    public internal(set) var device: String
    /// Why the device is not the one that `auto` would have liked, and that its memory makes batches smaller than they were to be;
    /// nil if all is as wanted.
    public let deviceNote: String?
    /// The layers that are explained: name, ONNX operator and index among the layers, and why each was taken. None if no method needs
    /// one.
    public let layers: [(name: String, type: String, index: Int, reason: String)]
    /// The number of classes: as many as the network has scores, but two for one score.
    public var classes: Int { scoring.classes }
    /// Methods that were asked for and cannot explain this network, and why: see `Options.leavesOutInapplicable`.
    public let leftOut: [(method: String, reason: String)]
    /// Whether any method reads the layers.
    public var readsLayers: Bool { methods.contains { $0.type.layers != .none } }
    let scoring: Scoring

    let methods: [MadeMethod]
    let engine: Engine
    /// The pass that all methods share.
    let pass: Pass
    /// Variants of a picture that the device computes at a time.
    let samplesAtATime: Int
    /// Whether results hold what the network was fed, for those who go on to ask about it.
    package var keepsInput = false
    /// The methods that make maps now; nil for all.
    package var onlyMethods: Set<String>?
    private let targets: [ClassTarget], against: ClassTarget?
    /// What pictures asked for themselves, by what it is called.
    private var ownTargets: [String: [ClassTarget]] = [:]
    private let preparation: Preparation
    /// For the maps of a batch.
    private let share: MemoryBudget.Share
    /// What the maps of one class of a picture take.
    private let bytesOfEachClass: Int
    /// Inputs of two batches: one is prepared while the other is computed.
    private let slots: [any InputSlot]
    /// What maps are averaged over, and the input of all versions but the picture itself; nil where there are no others.
    private let versions: [AugmentedVersion], versionSlot: (any InputSlot)?

    /// The most maps of a picture: those of ImageNet's classes, and some. More are no sheet that anybody could look at.
    private static let mapLimit = 1024

    /// How many pictures are computed at a time: `options.batch`, or fewer where the device's memory does not suffice.
    public var batch: Int { pass.plan.spec.batch }

    /// Working memory on the device for one batch, in bytes, without weights.
    public var workingMemory: Int { pass.executor.arenaBytes }

    /// How many maps a picture has, unless it has classes in common with others that are asked for.
    var mapsOfEach: Int { methods.map { Self.maps($0, targets) }.reduce(0, +) }

    /// [maps, height, width] of each picture, if all of its maps are of one size.
    /// - Throws: `ExplainError` of kind `settings` if they are not.
    func packShape() throws -> [Int] {
        guard !methods.contains(where: \.isApart) else {
            throw ExplainError(
                .method,
                "Packed maps (--pack) are one array, and maps of several layers (--each-layer) are not of one size."
            )
        }
        let grids = methods.map(\.grid)
        guard let first = grids.first, first.frames == nil else {
            throw ExplainError(.method, "Maps are packed (--pack) of pictures, and of videos they are not.")
        }
        if let other = grids.firstIndex(where: { $0.size != first.size }) {
            throw ExplainError(
                .method,
                "Packed maps (--pack) are one array, so they need one size; those of \(methods[0].type.title) are \(first.size.height)×\(first.size.width), and those "
                    + "of \(methods[other].type.title) \(grids[other].size.height)×\(grids[other].size.width). Run these methods one after the other."
            )
        }
        let isRanked = (targets + [against].compactMap { $0 }).contains {
            if case .rank = $0 { true } else { false }
        }
        guard against == nil || targets.count == 1 || !isRanked else {
            throw ExplainError(
                .method,
                "Packed maps (--pack) are as many of each picture; but of several classes (--class) the one that they are compared with (--against) is left out, if it is among them. Name all of them by their indices, or ask for one at a time."
            )
        }
        return [mapsOfEach, first.size.height, first.size.width]
    }

    /// Methods that ask the network many times for a map, and the passes that each takes, in words.
    package var manyPasses: [(method: String, passes: String)] {
        methods.filter { $0.type.asksManyTimes }.map { ($0.type.name, $0.passes) }
    }

    private static func maps(_ method: MadeMethod, _ targets: [ClassTarget]) -> Int {
        (method.type.isClassSpecific ? targets.count : 1) * (method.isApart ? method.explainers.count : 1)
    }

    /// A method with what was chosen of it.
    struct MadeMethod {
        let type: any Explainer.Type
        /// One, or one for each layer, whose maps are fused.
        let explainers: [any Explainer]
        /// The settings as they stand in results.
        let settings: [(String, JSON)]
        /// The passes that a map takes with these settings, in words.
        let passes: String
        /// Whether each of its layers has a map of its own.
        let isApart: Bool

        var grid: Attribution.Grid { Attribution.fusedGrid(explainers.map(\.grid)) }

        /// - Throws: `ExplainError` of kind `method` if it cannot be applied.
        init(
            _ type: any Explainer.Type, _ model: Model, layers: [Layer], _ options: Options,
            samplesAtATime: Int = 1
        ) throws {
            let made = try (type.layers == .each ? layers.map { [$0] } : [layers]).map {
                try type.make(
                    options.settings[type.name] ?? [:],
                    explaining: ExplainedNetwork(
                        model.network, layers: $0, input: Shape([1] + model.inputShape()),
                        preprocessing: model.preprocessing, seed: options.seed,
                        samplesAtATime: samplesAtATime, mostVariants: options.mostVariants))
            }
            (self.type, explainers, settings) = (type, made.map(\.method), made[0].settings)
            passes =
                made[0].passes
                + (type.asksManyTimes && made.count > 1 ? ", at each of \(made.count) layers" : "")
            isApart = options.layersApart && made.count > 1
        }

        /// Why a method cannot be applied; nil if it can.
        /// - Parameter model: shows the layers.
        static func refusal(
            _ type: any Explainer.Type, _ model: Model, layers: [Layer], _ options: Options = Options()
        ) throws -> ExplainError? {
            guard !layers.isEmpty || type.layers == .none else {
                return ExplainError(.layer, "There is no layer for it.")
            }
            do {
                _ = try MadeMethod(type, model, layers: layers, options)
                return nil
            } catch let error as ExplainError where error.kind == .method {
                return error
            }
        }
    }

    /// Plans, loads the weights onto the device, and builds its programs (OpenCL: seconds the first time,
    /// then from a cache on disk).
    /// - Throws: `ExplainError`, before any picture is read: of kind `method`, `layer`, `classChoice`,
    ///   `device`, `model` or `unsupportedModel` (the network's output is not one row of scores per picture).
    public init(_ model: Model, options: Options = Options()) throws {
        self.options = options
        var seen: Set<String> = []
        let types = try options.methods.filter { seen.insert($0).inserted }.map(ExplainerList.named)
        for name in options.settings.keys where !seen.contains(name) { _ = try ExplainerList.named(name) }
        // A network without any layer that maps could lie on is still classified, and explained by methods that need none.
        let isChosen = options.layer != Options().layer
        var choices: [LayerChoice] = []
        var noLayer: ExplainError?
        if isChosen || types.contains(where: { $0.layers != .none }) {
            do {
                choices = try model.layers(named: options.layer)
            } catch let error as ExplainError
                where error.kind == .layer && options.leavesOutInapplicable && !isChosen
            {
                noLayer = error
            }
        }
        layers = choices.map { ($0.layer.name, $0.layer.type, $0.layer.index, $0.reason) }
        // A device that is not there is complained of last.
        let opened = Result { try options.openDevice() }
        let device = try? opened.get().device
        let wanted = device?.batch(max(1, options.batch)) ?? 1
        let samplesAtATime = device?.batch(Self.samplesAtATime) ?? 1
        self.samplesAtATime = samplesAtATime
        let explained = choices.map(\.layer)
        let model = try model.showing(explained, for: types)
        self.model = model
        var methods: [MadeMethod] = []
        var leftOut: [(type: any Explainer.Type, error: ExplainError)] = []
        for type in types {
            do {
                if let noLayer, type.layers != .none { throw noLayer }
                methods.append(
                    try MadeMethod(
                        type, model, layers: explained, options,
                        samplesAtATime: samplesAtATime))
            } catch let error as ExplainError
                where options.leavesOutInapplicable && options.settings[type.name] == nil
                && (error.kind == .method || error.kind == .layer)
            {
                leftOut.append((type, error))
            }
        }
        if methods.isEmpty, let first = leftOut.first { throw first.error }
        self.methods = methods
        self.leftOut = leftOut.map { ($0.type.name, $0.error.description) }
        versions = AugmentedVersion.versions(options.augmentations)
        guard try versions.count == 1 || model.inputShape().count == 3 else {
            throw ExplainError(
                .method,
                "Maps can be averaged over versions of a picture (--augment) only if the network takes pictures; of one it takes "
                    + "\(try Shape([1] + model.inputShape())).")
        }

        do {
            var plan: PassPlan
            var onlyOne: String?
            do {
                plan = try Self.plan(model, layers: explained, methods, batch: wanted)
            } catch  where wanted > 1 && !isOutOfMemory(error) {
                // A network that drops its first axis, say, takes one picture and no more.
                guard let single = try? Self.plan(model, layers: explained, methods, batch: 1) else {
                    throw error
                }
                plan = single
                onlyOne =
                    "the network takes no \(wanted) pictures at a time, so they are computed one by one: \(ExplainError(error, .model))"
            }
            scoring = Scoring(
                network: model.network, scores: ClassScores(scores: plan.logits.count / plan.spec.batch))
            let targets = try options.classChoice.targets(in: model, classes: scoring.classes).unique
            self.targets = targets
            let classes = scoring.classes
            against = try options.against.map { try ClassChoice($0).single(in: model, classes: classes) }
            if let against, case .fixed(let index) = against, targets.contains(against) {
                throw ExplainError(
                    .classChoice,
                    "The class \(index) is compared with itself (--against), and there is no difference to explain."
                )
            }
            let maps = methods.map { Self.maps($0, targets) }.reduce(0, +)
            guard maps <= Self.mapLimit else {
                throw ExplainError(
                    .limit,
                    "--class and --method ask for \(maps) maps of each picture, and the most is \(Self.mapLimit); take fewer classes "
                        + "at a time.")
            }
            // Each map, as it comes from the device and as it is kept, with its standard error, and its heat map; and the picture as the network sees it.
            let pixels = (model.inputFrames ?? 1) * model.inputHeight * model.inputWidth
            func bytes(_ maps: (MadeMethod) -> Int) -> Int {
                methods.map { maps($0) * (24 * $0.grid.cells + 4 * pixels) }.reduce(0, +)
            }
            let resultBytes = bytes { Self.maps($0, targets) } + 3 * pixels
            bytesOfEachClass = bytes { $0.type.isClassSpecific ? 1 : 0 }
            let opened = try opened.get()
            self.device = opened.device.description
            engine = Engine(model.network, on: try LoadedDevice(opened.device))
            let memory = model.network.limits.memory
            var meets = false
            while true {
                let batch = plan.spec.batch
                do {
                    let pass = try engine.pass(plan)
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
                    let slots = try [pass.slot(), pass.slot()]
                    let versionSlot = versions.count > 1 ? try pass.slot() : nil
                    if try engine.joinsPictures(in: pass) {
                        engine.forget(plan.spec)
                        plan = try Self.plan(model, layers: explained, methods, batch: 1)
                        meets = true
                        continue
                    }
                    (self.slots, self.pass, self.share) = (slots, pass, share)
                    self.versionSlot = versionSlot
                    break
                } catch  where batch > 1 && isOutOfMemory(error) {
                    engine.forget(plan.spec)
                    plan = try Self.plan(model, layers: explained, methods, batch: (batch + 1) / 2)
                }
            }
            let notes = [
                opened.note,
                onlyOne,
                meets
                    ? "the network makes pictures of a batch depend on each other, so they are computed one at a time"
                    : nil,
                plan.spec.batch == wanted || meets || onlyOne != nil
                    ? nil
                    : "batches of \(wanted) pictures need more memory than there is, so \(plan.spec.batch) are computed at a time",
            ].compactMap { $0 }
            deviceNote = notes.isEmpty ? nil : notes.joined(separator: "; ")
            preparation = Preparation(model: model, shape: plan.tape.shape(plan.input))
        } catch {
            throw ExplainError(error, .model)
        }
    }

    /// What all methods read of a batch.
    private static func plan(_ model: Model, layers: [Layer], _ methods: [MadeMethod], batch: Int) throws
        -> PassPlan
    {
        var spec = PassSpec(batch: batch, height: model.inputHeight, width: model.inputWidth)
        spec.stored = [model.network.logitsName]
        for method in methods { for explainer in method.explainers { explainer.request(&spec) } }
        let shapes = try model.network.shapes(of: [model.network.logitsName] + layers.map(\.output), in: spec)
        let shape = shapes[0]
        let scores = try model.scores(shape, batch: batch)
        try model.checkLabels(scores)
        if scores.isBinary, let end = model.network.softmax {
            throw ExplainError(
                .unsupportedModel,
                "\(model.path): The network ends in a \(end) over a single score, which says the same of every picture; a "
                    + "classifier of two classes has two scores, or one and a Sigmoid.")
        }
        for (layer, found) in zip(layers, shapes.dropFirst())
        where found.dims != [batch] + layer.shape.dims.dropFirst() {
            throw ExplainError(
                .layer,
                "\(model.path): The layer “\(shortened(layer.name))” has the shape \(found) for \(batch) pictures, which is not one grid of "
                    + "cells for each picture, so no map can be made of it.")
        }
        return try PassPlan(spec, of: model.network)
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

    /// The same of what is asked of a picture.
    package func explain(_ request: PictureRequest) throws -> ImageExplanation {
        var requests = [request]
        var result: Result<ImageExplanation, ExplainError>?
        try explain(
            next: {
                defer { requests = [] }
                return requests
            }, { result = $0[0] })
        return try result!.get()
    }

    /// Explains pictures, in batches; hands over each result as it comes, in order.
    ///
    /// A picture that cannot be read gives a failure of its own, of kind `input`, and the others go on; so does one for which the
    /// network's scores are no numbers, of kind `model`.
    /// - Parameters:
    ///   - progress: is told meanwhile how many pictures are done, a batch's part counted; what it throws ends the work and is
    ///     thrown on.
    ///   - receive: is called on this thread with the index of the picture among `pictures`, and its
    ///     result. What it throws ends the work and is thrown on.
    /// - Throws: `ExplainError` of kind `device` if the device fails.
    public func explain(
        _ pictures: [Picture], progress: ((_ done: Double) throws -> Void)? = nil,
        _ receive: (Int, Result<ImageExplanation, ExplainError>) throws -> Void
    ) throws {
        var (taken, done) = (0, 0)
        try explain(
            progress: progress.map { progress in
                { part in try progress(Double(done) + part) }
            },
            next: {
                let part = taken..<min(taken + batch, pictures.count)
                taken = part.upperBound
                return pictures[part].map { PictureRequest($0) }
            },
            { results in
                for result in results {
                    try receive(done, result)
                    done += 1
                }
            })
    }

    /// Explains batches of pictures for as long as there are any. While one is computed the next is prepared.
    /// - Parameters:
    ///   - progress: is told meanwhile how many of the batch's pictures are done, in parts; what it throws ends the work and is thrown on.
    ///   - next: is asked, on this thread, for at most `batch` pictures, one batch ahead of what is received; none ends the work.
    ///   - receive: is called on this thread with the results of a batch, in the order in which batches were taken.
    /// - Throws: as above. What was taken and not received is not done.
    package func explain(
        progress: ((_ done: Double) throws -> Void)? = nil, next: () throws -> [PictureRequest],
        _ receive: ([Result<ImageExplanation, ExplainError>]) throws -> Void
    ) throws {
        var taken = 0
        // What was taken and is in no batch yet; and how many were taken each time, with what is known of them.
        var (waiting, isOver): (ArraySlice<PictureRequest>, Bool) = ([], false)
        var groups: [Int] = []
        var done: [Result<ImageExplanation, ExplainError>] = []
        func take(_ most: Int) throws -> [PictureRequest] {
            if waiting.isEmpty, !isOver {
                waiting = try next()[...]
                precondition(waiting.count <= batch)
                isOver = waiting.isEmpty
                if !isOver { groups.append(waiting.count) }
            }
            defer { waiting = waiting.dropFirst(most) }
            return Array(waiting.prefix(most))
        }
        func begin() throws -> Preparation.Batch? {
            let requests = try take(batch)
            guard !requests.isEmpty else { return nil }
            defer { taken += 1 }
            return preparation.begin(requests, in: slots[taken % 2])
        }
        var coming = try begin()
        var start: UInt64?  // when the forward pass of `coming` was started
        func launch(_ batch: Preparation.Batch) throws {
            start = DispatchTime.now().uptimeNanoseconds
            try pass.feed(batch.slot)
            try pass.forward(pictures: batch.requests.count)
        }
        // Nothing goes on after this call, whatever ends it.
        defer { _ = coming?.wait() }
        while let ready = coming {
            // Pictures that could not be read give their places to those that come next, so that only what was read is computed.
            var results = [Result<ImageExplanation, ExplainError>?](
                repeating: nil, count: ready.requests.count)
            var numbers = Array(results.indices)  // of results, by places
            while case let failures = ready.failures, !failures.isEmpty, start == nil,
                case let others = try take(failures.count), !others.isEmpty
            {
                let found = ready.wait()
                for place in failures.prefix(others.count) {
                    if case .failure(let error) = found[place] { results[numbers[place]] = .failure(error) }
                    numbers[place] = results.count
                    results.append(nil)
                }
                ready.replace(failures, by: others, preparation)
            }
            let prepared = ready.wait()
            /// Hands over what is known of all that was taken together.
            func give(_ computed: [Result<ImageExplanation, ExplainError>]) throws {
                for (number, result) in zip(numbers, computed) { results[number] = result }
                done += results.map { $0! }
                while let count = groups.first, done.count >= count {
                    groups.removeFirst()
                    let group = Array(done[..<count])
                    done.removeFirst(count)
                    try receive(group)
                }
            }
            guard ready.failures.count < prepared.count else {
                // There is nothing to compute.
                coming = nil
                coming = try begin()
                try give(prepared.map { $0.flatMap { _ in preconditionFailure() } })
                continue
            }
            let computed: [Result<ImageExplanation, ExplainError>]
            do {
                if start == nil { try launch(ready) }
                let since = start!
                start = nil
                do { coming = try begin() } catch { throw Ended(reason: error) }
                let told = progress.map { progress in
                    { (done: Double) throws -> Void in
                        do {
                            try progress(done * Double(ready.requests.count))
                        } catch {
                            throw Ended(reason: error)
                        }
                    }
                }
                func compute() throws -> [Result<ImageExplanation, ExplainError>] {
                    try finish(ready.requests, prepared, ready.slot.numbers, since: since, progress: told) {
                        // Where the device goes on by itself, what is left to do here is done meanwhile.
                        guard pass.executor.runsBesideHost, let coming, coming.isReady,
                            coming.failures.isEmpty
                        else { return }
                        try launch(coming)
                    }
                }
                do {
                    computed = try compute()
                } catch let error where isOutOfMemory(error) && coming != nil && start == nil {
                    // Pictures that are decoded meanwhile may have held what was missing.
                    _ = coming!.wait()
                    try pass.feed(ready.slot)
                    try pass.forward(pictures: ready.requests.count)
                    computed = try compute()
                }
            } catch let ended as Ended {
                throw ended.reason
            } catch {
                throw ExplainError(error, .device)
            }
            try give(computed)
        }
    }

    /// What whoever was asked for pictures, or told of the progress, threw.
    private struct Ended: Error { let reason: any Error }

    /// Variants of a picture that are computed at a time, where the device gains from that many.
    private static let samplesAtATime = 64

    // MARK: Computing

    /// Explains a batch whose forward pass runs. When all is read from the device it calls `release`: the device is free then.
    private func finish(
        _ requests: [PictureRequest], _ prepared: [Result<PreparedPicture, ExplainError>], _ numbers: Block,
        since start: UInt64, progress: ((Double) throws -> Void)?, release: () throws -> Void
    ) throws -> [Result<ImageExplanation, ExplainError>] {
        let pictures = requests.map(\.picture)
        // How much of the batch's work is done, the methods being parts of the same size.
        var done = 0.0
        let methods =
            onlyMethods.map { only in self.methods.filter { only.contains($0.type.name) } } ?? methods
        let parts = Double(max(1, methods.map(\.explainers.count).reduce(0, +) * versions.count))
        func explained(_ numbers: Block) throws -> ExplainedBatch {
            try ExplainedBatch(
                pass, pictures: pictures.map(\.name), scoring: scoring, numbers: numbers
            ) {
                try progress?((done + $0) / parts)
            }
        }
        let batch = try explained(numbers)
        let rows = batch.logits
        let wanted = requests.map { request in Result { () throws(ExplainError) in try own(request) } }
        // Where a picture's own classes are refused, something is computed in their place, and nobody sees it.
        let classes = zip(wanted, rows).map { self.classes($1, of: (try? $0.get()) ?? [.fixed(0)]) }
        // Beyond the maps that every picture has, room was promised to nobody.
        let more = classes.reduce(0) { $0 + max(0, $1.explained.count - targets.count) } * bytesOfEachClass
        guard let room = model.network.limits.memory.tryReserve(more) else {
            throw LimitError(
                "The classes that pictures of a batch name for themselves take \(MemoryBudget.mebibytes(more)) of memory, which "
                    + "\(model.network.limits.memory.exceeded); name fewer at a time, or raise the limit with --memory-limit.",
                isMemory: true)
        }
        defer { withExtendedLifetime(room) {} }
        var methodSeconds: [String: Double] = [:]
        let maps = try versions.map { version in
            let batch = version.isPlain ? batch : try explained(feed(version, of: batch))
            return try methods.map { method in
                let wanted = classes.map { targets(of: method.type, $0) }
                let (begin, shared) = (DispatchTime.now().uptimeNanoseconds, batch.sharedSeconds)
                defer {
                    let end = DispatchTime.now().uptimeNanoseconds
                    // Who asks first for the way back of the shared pass does not pay for it.
                    let own = Double(end - begin) * 1e-9 - (batch.sharedSeconds - shared)
                    methodSeconds[method.type.name, default: 0] += own / Double(pictures.count)
                }
                let maps = try method.explainers.map { explainer in
                    let maps = try explainer.explain(batch, wanted, engine)
                    done += 1
                    // Methods that compute parts of a batch give them in an order of their own.
                    return maps.sorted { a, b in
                        func place(_ map: Attribution) -> Int {
                            map.target.flatMap { wanted[map.picture].firstIndex(of: $0) } ?? 0
                        }
                        return (a.picture, place(a)) < (b.picture, place(b))
                    }
                }
                let made =
                    method.isApart ? maps.flatMap { $0 } : Attribution.fused(maps, sign: method.type.sign)
                return made.map(version.restored)
            }
        }
        // In the order in which the methods were asked for, and of the classes.
        let found = methods.indices.flatMap { m in
            let means = Attribution.mean(maps.map { $0[m] })
            let ofEach = max(1, means.count / methods[m].explainers.count)
            return means.enumerated().map { number, map in
                (methods[m].type, map, methods[m].isApart ? layers[number / ofEach].index : nil)
            }
        }
        let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9 / Double(pictures.count)
        let inputs = keepsInput ? pictures.indices.map(batch.input) : []
        try release()

        var results = [Result<ImageExplanation, ExplainError>?](repeating: nil, count: pictures.count)
        results.withUnsafeMutableBufferPointer { results in
            // Each picture writes its own result, and only reads the rest.
            nonisolated(unsafe) let (results, session) = (results, self)
            let methodSeconds = methodSeconds
            DispatchQueue.concurrentPerform(iterations: pictures.count) { i in
                let ready: PreparedPicture
                switch prepared[i] {
                case .failure(let error):
                    results[i] = .failure(error)
                    return
                case .success(let picture): ready = picture
                }
                if case .failure(let error) = wanted[i] {
                    results[i] = .failure(error)
                    return
                }
                let probabilities = session.scoring.probabilities(rows[i])
                let unknown = probabilities.count(where: \.isNaN)
                guard unknown == 0 else {
                    results[i] = .failure(session.notANumber(pictures[i].name, rows[i], unknown))
                    return
                }
                if let other = classes[i].against, classes[i].explained == [other],
                    session.methods.contains(where: { $0.type.isClassSpecific })
                {
                    results[i] = .failure(
                        ExplainError(
                            .classChoice,
                            "\(shortenedPath(pictures[i].name)): The class to explain is \(other) “\(shortened(session.model.label(other)))”, which is "
                                + "the one that it is compared with (--against), so there is no difference to explain."
                        ))
                    return
                }
                let explanations = found.filter { $0.1.picture == i }.map {
                    session.explanation($0.1, by: $0.0, layer: $0.2, probabilities)
                }
                var result = ImageExplanation(
                    name: pictures[i].name, size: ready.size,
                    predictions: ExplanationSession.best(5, of: rows[i]).map {
                        Prediction(
                            index: $0, label: session.model.label($0), logit: rows[i][$0],
                            probability: probabilities[$0])
                    }, note: session.noted(ready.note, dropped: classes[i].dropped),
                    explanations: explanations,
                    seconds: (ready.seconds, seconds),
                    view: ready.view, photo: ready.photo, source: ready.source, memory: session.model.writing)
                (result.frames, result.frameNames) = (ready.frames, ready.frameNames)
                if session.keepsInput { result.input = inputs[i] }
                result.methodSeconds = methodSeconds
                result.asked = classes[i].asked
                (result.logits, result.probabilities) = (rows[i], probabilities)
                results[i] = .success(result)
            }
        }
        return results.map { $0! }
    }

    /// Runs the shared pass forward on another version of a batch's pictures.
    /// - Returns: what it was fed.
    private func feed(_ version: AugmentedVersion, of batch: ExplainedBatch) throws -> Block {
        let (slot, one) = (versionSlot!, Shape([1] + (try model.inputShape())))
        let input = PixelInput(name: model.network.inputName, shape: one)
        for picture in batch.pictures {
            let numbers = version.numbers(batch.input(picture), of: input, model.preprocessing)
            one.writeMemoryOrder(numbers, to: slot.numbers.pointer + picture * one.count)
        }
        try slot.send()
        try pass.feed(slot)
        try pass.forward(pictures: batch.pictures.count)
        return slot.numbers
    }

    /// What a method explains of a picture.
    /// - Parameter classes: of `explained`.
    private func targets(
        of method: any Explainer.Type, _ classes: ExplainedClasses
    ) -> [Target] {
        classes.explained.map {
            Target(
                $0, against: classes.against, isNegative: options.isNegative,
                scale: options.scale ?? method.scale)
        }
    }

    /// What a request asks for, or if it does not, what all get.
    private func own(_ request: PictureRequest) throws(ExplainError) -> [ClassTarget] {
        guard let choice = request.classChoice else { return targets }
        if let known = ownTargets[choice.text] { return known }
        do {
            let own = try choice.targets(in: model, classes: scoring.classes).unique
            let maps = methods.map { Self.maps($0, own) }.reduce(0, +)
            guard maps <= Self.mapLimit else {
                throw ExplainError(
                    .limit, "Its classes ask for \(maps) maps, and the most is \(Self.mapLimit).")
            }
            ownTargets[choice.text] = own
            return own
        } catch {
            let error = ExplainError(error, .classChoice)
            throw ExplainError(
                error.kind, "\(shortenedPath(request.picture.name)): \(error.description)")
        }
    }

    /// The classes that are asked for of a picture, the same each once, and the one that they are compared with.
    private struct ExplainedClasses {
        var asked: [Int], explained: [Int]
        var against: Int?
        /// `against`, if it was asked for beside others; alone it is an error.
        var dropped: Int?
    }

    private func classes(_ logits: [Float], of targets: [ClassTarget]) -> ExplainedClasses {
        let all = targets.classes(logits)
        guard let other = against.map({ [$0].classes(logits)[0] }) else {
            return ExplainedClasses(asked: all, explained: all.unique)
        }
        let others = all.filter { $0 != other }
        let asked = others.isEmpty ? all : others
        return ExplainedClasses(
            asked: asked, explained: asked.unique, against: other,
            dropped: others.isEmpty || others.count == all.count
                || !methods.contains { $0.type.isClassSpecific } ? nil : other)
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
    private func explanation(
        _ found: Attribution, by method: any Explainer.Type, layer: Int?, _ probabilities: [Float]
    ) -> Explanation {
        let (grid, frames, values) = (found.grid.size, found.grid.frames, found.values)
        let plane = Plane(width: grid.width, height: grid.height, values: values)
        let isSigned = method.sign == .evidence
        let scaled = plane.clipped(atQuantile: method.brightestQuantile, signed: isSigned).normalised(
            signed: isSigned)
        var blank: String?
        if scaled.notFinite > 0 {
            blank =
                "\(scaled.notFinite) of \(values.count) cells are not finite numbers: the network, or the way back through it, overflows on this picture"
        } else if values.allSatisfy({ $0 == 0 }) {
            blank = found.blankReason
        } else if values.allSatisfy({ $0 == values[0] }) {
            blank = "the map has the same value, \(values[0]), everywhere"
        } else if method.sign == .evidence, scaled.maximum <= 0 {
            blank = "nothing of the map is above zero, so nothing speaks for what is explained"
        }
        let sides = (model.inputFrames.map { [$0] } ?? []) + [model.inputHeight, model.inputWidth]
        let heat = scaled.plane.resized(frames: frames, to: sides)
        func cells(_ values: [Float]) -> Grid2D {
            Grid2D(width: grid.width, height: grid.height / (frames ?? 1), frames: frames, values: values)
        }
        return Explanation(
            method: method.name, title: method.title, classIndex: found.target?.classIndex,
            label: found.target.map { model.label($0.classIndex) },
            probability: found.target.map { probabilities[$0.classIndex] }, target: found.target,
            againstLabel: found.target?.against.map(model.label), layer: found.grid.title,
            layerIndex: layer,
            map: cells(values),
            isSigned: method.sign == .evidence,
            heatmap: Grid2D(
                width: model.inputWidth, height: model.inputHeight, frames: model.inputFrames,
                values: heat.values),
            blank: blank,
            sampleError: found.sampleError.map(cells), samples: found.samples,
            completeness: found.completeness, note: found.note)
    }

    /// What is to be said of every picture's result, and of this one.
    /// - Parameter dropped: a class that was asked for and is not explained, because the others are compared with it.
    private func noted(_ note: String?, dropped: Int?) -> String? {
        let notes = [
            note,
            dropped.map {
                "class \($0) “\(shortened(model.label($0)))” is not explained, because it is the one that the others are compared with (--against)"
            },
            model.network.isQuantised
                ? "the network is quantised, so gradients go by the straight-through rule" : nil,
        ].compactMap { $0 }
        return notes.isEmpty ? nil : notes.joined(separator: "; ")
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
