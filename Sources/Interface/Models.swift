// Models and engines as C has them, the versions, and the program.
// swift-format-ignore-file: AlwaysUseLowerCamelCase

import ArgumentParser
import CWhitebox
import Commands
import Dispatch
import Explain
import Files
import Glibc
import Synchronization
import Text

private let version = CText(Whitebox.version)

@c @implementation
public func whitebox_interface() -> UInt32 {
    UInt32(WHITEBOX_INTERFACE_MAJOR) << 16 | UInt32(WHITEBOX_INTERFACE_MINOR)
}

@c @implementation
public func whitebox_version() -> UnsafePointer<CChar> { version.pointer }

@c @implementation
public func whitebox_numerics() -> UInt32 { UInt32(Whitebox.numerics) }

@c @implementation
public func whitebox_main() { App.main() }

// MARK: Models

private struct OptionsOfModels: ParsableArguments {
    @OptionGroup var model: ModelOptions
    @OptionGroup var inputs: InputOptions
}

/// A model, and what is said of it.
final class OpenedModel: Handle, Sendable {
    let model: Model
    private let json = Mutex<CText?>(nil)

    init(path: String, _ words: UnsafePointer<UnsafePointer<CChar>>?, _ count: Int) throws {
        var options = try parsed(OptionsOfModels.self, words, count)
        guard options.model.model == nil else {
            throw Usage(sentence: "The model is named by its path, so --model cannot be given beside it.")
        }
        options.model.model = path
        do {
            model = try options.model.open(inputs: options.inputs.input)
        } catch let error as ExplainError where options.model.verbose {
            throw ExplainError(error.kind, error.details ?? error.description)
        }
        guard !path.isEmpty else { throw ExplainError(.model, "The path of the model is empty.") }
    }

    var document: CText {
        get throws {
            try json.withLock { json in
                if let json { return json }
                guard case .object(let layers) = try model.layersDocument() else { preconditionFailure() }
                let size = (model.inputFrames.map { [$0] } ?? []) + [model.inputHeight, model.inputWidth]
                let text = CText(
                    JSON.object(
                        [
                            ("file", .string(model.path)), ("sha256", .string(try model.sha256())),
                            ("source", JSON(model.source)), ("license", JSON(model.license)),
                            ("input", JSON(size)), ("shape", JSON(try model.inputShape())),
                            ("labels", JSON(model.labels)),
                            (
                                "preprocessing",
                                .object(
                                    [("source", .string(model.preprocessingSource))]
                                        + model.preprocessing.entries)
                            ),
                            ("notes", JSON([model.outputNote, model.preprocessingNote].compactMap { $0 })),
                        ] + layers.filter { $0.0 != "model" }
                    ).text)
                json = text
                return text
            }
        }
    }
}

@c @implementation
public func whitebox_model_open(
    _ path: UnsafePointer<CChar>, _ options: UnsafePointer<UnsafePointer<CChar>>?, _ count: Int,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    attempt(error) { try OpenedModel(path: FileName.text(path), options, count).retained }
}

@c @implementation
public func whitebox_model_json(
    _ model: OpaquePointer, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> UnsafePointer<CChar>? {
    attempt(error) { try OpenedModel.at(model).document.pointer }
}

@c @implementation
public func whitebox_model_free(_ model: OpaquePointer?) { OpenedModel.release(model) }

// MARK: Engines

private struct OptionsOfEngines: ParsableArguments {
    @OptionGroup var method: MethodOptions
    @OptionGroup var device: DeviceOptions
    @OptionGroup var layers: LayerOptions
    @OptionGroup var batch: BatchOptions
    @Flag var classify = false
}

/// Sessions of one model on one or several devices.
final class OpenedEngine: Handle, @unchecked Sendable {
    // The sessions are touched by the thread whose turn it is.
    private let pool: SessionPool
    private let turn = DispatchSemaphore(value: 1)
    /// Whose turn it is; 0 if nobody's.
    private let owner = Atomic<UInt>(0)
    /// Calls that explain have numbers: that of the one that is computing, 0 if none is; and of the last one that is to end.
    private let computing = Atomic<UInt64>(0), cancelled = Atomic<UInt64>(0)
    private var calls: UInt64 = 0
    private let json = Mutex<CText?>(nil)
    /// What became of devices.
    private let notes: Notes

    private final class Notes: Sendable {
        let all = Mutex<[String]>([])
    }

    init(_ model: Model, _ words: UnsafePointer<UnsafePointer<CChar>>?, _ count: Int) throws {
        let asked = try parsed(OptionsOfEngines.self, words, count)
        var options = Options()
        do {
            try asked.method.apply(to: &options)
            try asked.device.apply(to: &options, takesSeveral: true)
        } catch let error as ValidationError {
            throw Usage(sentence: error.message)
        }
        options.layersApart = asked.layers.eachLayer
        options.batch = asked.batch.batch
        if asked.classify { options.methods = [] }
        let notes = Notes()
        self.notes = notes
        pool = try SessionPool(model, options: options, devices: asked.device.choices) { note in
            notes.all.withLock { $0.append(note) }
        }
    }

    /// Waits until it is this thread's turn.
    /// - Parameter waiting: is called now and then; what it throws ends the waiting and is thrown on.
    private func inTurn<R>(waiting: () throws -> Void = {}, _ body: () throws -> R) throws -> R {
        let thread = UInt(pthread_self())
        guard owner.load(ordering: .relaxed) != thread else {
            throw Usage(
                sentence:
                    "The engine is computing for this very thread, so a progress function cannot use it.")
        }
        while turn.wait(timeout: .now() + .milliseconds(50)) == .timedOut { try waiting() }
        owner.store(thread, ordering: .relaxed)
        defer {
            owner.store(0, ordering: .relaxed)
            turn.signal()
        }
        return try body()
    }

    /// Nobody else uses the session meanwhile.
    func withSession<R>(_ body: (ExplanationSession) throws -> R) throws -> R {
        try inTurn { try body(pool.first) }
    }

    /// Ends the call that is computing; one that comes later has another number.
    func cancel() {
        let call = computing.load(ordering: .relaxed)
        if call != 0 { cancelled.store(call, ordering: .relaxed) }
    }

    func explain(
        _ requests: [PictureRequest], progress: ((Double) -> Bool)?
    ) throws -> [Result<ImageExplanation, ExplainError>] {
        func waiting() throws { if !(progress?(0) ?? true) { throw Cancelled() } }
        return try inTurn(waiting: waiting) {
            calls += 1
            let call = calls
            computing.store(call, ordering: .relaxed)
            defer { computing.store(0, ordering: .relaxed) }
            var results: [Result<ImageExplanation, ExplainError>] = []
            var taken = 0
            func tell(_ part: Double) throws {
                guard cancelled.load(ordering: .relaxed) != call,
                    progress?(Double(results.count) + part) ?? true
                else { throw Cancelled() }
            }
            try tell(0)
            try pool.explain(
                progress: tell,
                next: {
                    let part = taken..<min(taken + pool.batch, requests.count)
                    taken = part.upperBound
                    return Array(requests[part])
                },
                {
                    results += $0
                    try tell(0)
                })
            return results
        }
    }

    var document: CText {
        get throws {
            try json.withLock { json in
                if let json { return json }
                let text = try withSession { session in
                    guard case .object(let entries) = try ResultDocument.run(session) else {
                        preconditionFailure()
                    }
                    let ignored =
                        !session.layers.isEmpty && !session.readsLayers
                        ? "no method that was asked for reads a layer, so --layer changes nothing" : nil
                    let said =
                        [
                            session.deviceNote, ignored, session.model.outputNote,
                            session.model.preprocessingNote,
                        ]
                        .compactMap { $0 }
                    return CText(
                        JSON.object(
                            entries + [
                                ("notes", JSON(said)), ("batch", .int(pool.batch)),
                                (
                                    "labels",
                                    JSON((0..<session.classes).map(session.model.label))
                                ),
                            ]
                        ).text)
                }
                json = text
                return text
            }
        }
    }
}

@c @implementation
public func whitebox_engine_open(
    _ model: OpaquePointer, _ options: UnsafePointer<UnsafePointer<CChar>>?, _ count: Int,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    attempt(error) { try OpenedEngine(OpenedModel.at(model).model, options, count).retained }
}

@c @implementation
public func whitebox_engine_json(
    _ engine: OpaquePointer, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> UnsafePointer<CChar>? {
    attempt(error) { try OpenedEngine.at(engine).document.pointer }
}

@c @implementation
public func whitebox_engine_cancel(_ engine: OpaquePointer) { OpenedEngine.at(engine).cancel() }

@c @implementation
public func whitebox_engine_free(_ engine: OpaquePointer?) { OpenedEngine.release(engine) }
