// What pictures and results take of the memory, and files that other programs change.

import Dispatch
import Explain
import Foundation
import Imaging
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct MemoryTests {
    private func network(_ input: [ONNXDimension] = ["N", 3, 8, 8], classes: Int = 3) -> ONNXBuilder {
        var builder = ONNXBuilder(name: "memory")
        builder.input("x", input)
        builder.initializer(
            "w", [classes, 3, 1, 1], floats: (0..<3 * classes).map { Float($0 % 7) - 2.5 })
        builder.node("Conv", ["x", "w"], ["c"], name: "conv")
        builder.node("Relu", ["c"], ["r"], name: "relu")
        builder.node("GlobalAveragePool", ["r"], ["p"], name: "pool")
        builder.node("Flatten", ["p"], ["y"], name: "flatten")
        builder.output("y", ["N", .fixed(classes)])
        return builder
    }

    private func options(_ change: (inout Options) -> Void = { _ in }) -> Options {
        var options = Options()
        (options.device, options.threads) = (.cpu, 1)
        change(&options)
        return options
    }

    private func withFolder<R>(_ body: (String) throws -> R) throws -> R {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
            "memory-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        return try body(folder.path)
    }

    private func failure(_ body: () throws -> Void) -> ExplainError? {
        do {
            try body()
        } catch {
            return error as? ExplainError
        }
        return nil
    }

    private func picture(_ path: String, _ size: Int, _ red: UInt8) throws -> Picture {
        try RGBImage(width: size, height: size, colour: (red, 90, 7)).writePNG(to: path, overwrite: true)
        return .file(path)
    }

    // MARK: Room

    @Test func roomIsWaitedFor() throws {
        let model = try Model(
            Network(network().model(), limits: Limits(memory: 80 << 20)), preprocessing: "none")
        let memory = model.decoding
        #expect(memory.bound == 10 << 20)
        // Many at a time, each with more than a third of the bound: two fit.
        DispatchQueue.concurrentPerform(iterations: 40) { _ in
            let room = memory.room(4 << 20)
            #expect(room != nil)
            usleep(500)
            withExtendedLifetime(room) {}
        }
        #expect(memory.peak <= 8 << 20)
        // More than the bound is had alone; more than the limit is not, but where it is promised.
        var room = memory.room(30 << 20)
        #expect(room != nil && memory.peak == 30 << 20)
        room = nil
        #expect(memory.room(100 << 20) == nil)
        room = memory.room(100 << 20, isPromised: true)
        #expect(room != nil && memory.peak == 100 << 20)
        room = nil
        #expect(memory.room(1) != nil)
    }

    /// Pictures that are decoded, and results with whole pictures that wait to be written, are only as many as may be; the results are
    /// those of unlimited memory.
    @Test func picturesAreBounded() throws {
        try withFolder { folder in
            let pictures = try (0..<12).map { try picture("\(folder)/\($0).png", 400, UInt8(20 * $0)) }
            func run(_ limit: Int, _ name: String) throws -> (maps: [[Float]], files: [Data], Model) {
                let model = try Model(
                    Network(network().model(), limits: Limits(memory: limit)), preprocessing: "imagenet")
                let session = try ExplanationSession(model, options: options { $0.batch = 6 })
                let writer = try ResultWriter(
                    directory: "\(folder)/\(name)", pictures: pictures, options: session.options,
                    background: .photo)
                try writer.begin(session)
                var maps: [[Float]] = []
                try session.explain(pictures) { index, result in
                    maps.append(try result.get().explanations[0].map.values)
                    try writer.write(index, result)
                }
                try writer.finish(session)
                let files = try (0..<12).map {
                    let overlay = try FileManager.default.contentsOfDirectory(atPath: "\(folder)/\(name)")
                        .first { [stem = "\($0).gradcam."] file in
                            file.hasPrefix(stem) && !file.hasSuffix("npy")
                        }
                    return try Data(contentsOf: URL(filePath: "\(folder)/\(name)/\(try #require(overlay))"))
                }
                return (maps, files, model)
            }
            let roomy = try run(8 << 30, "roomy")
            // One picture takes 12 × 400² and some.
            let one = 2_000_000
            let tight = try run(8 * 3_000_000, "tight")
            #expect(tight.maps == roomy.maps && tight.files == roomy.files)
            let size = try RGBImage(decoding: [UInt8](roomy.files[0]), name: "overlay")
            #expect(size.width == 400)
            #expect(tight.2.decoding.peak < 2 * one && tight.2.decoding.peak > one / 2)
            // The photograph, two pictures on the sheet, and a heat map and a raw map of 64 numbers.
            #expect(tight.2.writing.peak <= max(3_000_000, 13 * 400 * 400 + 2 * 6 * 320 * 400 + 16 * 64))
            #expect(tight.2.network.limits.memory.left > 0)
        }
    }

    /// A batch takes no room that its pictures need, so that none fails in it which alone would not.
    @Test func batchesLeaveRoomForPictures() throws {
        var shrunk = 0
        for memory in stride(from: 1 << 20, through: 16 << 20, by: 1 << 18) {
            let model = try Model(
                Network(network(["N", 3, 100, 100]).model(), limits: Limits(memory: memory)),
                preprocessing: "none")
            guard let session = try? ExplanationSession(model, options: options { $0.batch = 8 }),
                session.batch > 1
            else { continue }
            if session.batch < 8 { shrunk += 1 }
            #expect(model.network.limits.memory.left >= model.decoding.bound, "\(memory), \(session.batch)")
        }
        #expect(shrunk > 2)
    }

    @Test func pictureThatExceedsTheLimit() throws {
        try withFolder { folder in
            let model = try Model(
                Network(network().model(), limits: Limits(memory: 3 << 20)), preprocessing: "imagenet")
            let session = try ExplanationSession(model, options: options { $0.batch = 2 })
            let (large, small) = (
                try picture("\(folder)/large.png", 600, 3), try picture("\(folder)/small.png", 100, 3)
            )
            var failed: [ExplainError] = []
            try session.explain([large, small]) { _, result in
                if case .failure(let error) = result { failed.append(error) }
            }
            #expect(failed.count == 1 && failed[0].kind == .limit)
            #expect(failed[0].description.contains("large.png"))
            #expect(failed[0].description.contains("--memory-limit"))
        }
    }

    /// A picture that changes before it is drawn on is a failure of its own; the others, and the list of results, are there.
    @Test func aChangedPictureSpoilsNoOther() throws {
        try withFolder { folder in
            let pictures = try ["a", "b"].map { try picture("\(folder)/\($0).png", 20, 10) }
            let session = try ExplanationSession(
                Model(Network(network().model()), preprocessing: "imagenet"), options: options())
            let writer = try ResultWriter(
                directory: "\(folder)/out", pictures: pictures, options: session.options, background: .photo)
            try writer.begin(session)
            try session.explain(pictures) { index, result in
                if index == 0 { _ = try picture("\(folder)/a.png", 20, 11) }
                try writer.write(index, result)
            }
            try writer.finish(session)
            let text = try String(contentsOfFile: "\(folder)/out/results.json", encoding: .utf8)
            #expect(writer.failure(of: 0)?.kind == .input && writer.failure(of: 1) == nil)
            #expect(!writer.isWritten(0) && writer.isWritten(1))
            #expect(text.contains("was changed while it was explained"))
        }
    }

    /// The overlay is laid over the picture that was explained, or over none.
    @Test func pictureThatChanges() throws {
        try withFolder { folder in
            let path = "\(folder)/a.png"
            let shown = try picture(path, 20, 10)
            let session = try ExplanationSession(
                Model(Network(network().model()), preprocessing: "imagenet"), options: options())
            let found = try session.explain(shown)
            #expect(try found.photo?().width == 20)
            _ = try picture(path, 20, 11)
            let error = failure { _ = try found.photo?() }
            #expect(error?.kind == .input && error!.description.contains("changed"))
        }
    }

    // MARK: Maps

    @Test func mapsAreCounted() throws {
        let model = try Model(Network(network(classes: 2000).model()), preprocessing: "none")
        let many = failure {
            _ = try ExplanationSession(model, options: options { $0.classChoice = .top(1025) })
        }
        #expect(many?.kind == .limit && many!.description.contains("1025 maps of each picture"))
        let session = try ExplanationSession(model, options: options { $0.classChoice = .top(1000) })
        let found = try session.explain(.array((0..<192).map(Float.init), name: "a"))
        #expect(found.explanations.count == 1000)

        // 500 maps of 100 × 100 take 60 MB for one picture; a batch of eight shrinks.
        func shrinks(_ memory: Int) throws -> String? {
            let limited = try Model(
                Network(
                    network(["N", 3, 100, 100], classes: 600).model(), limits: Limits(memory: memory)),
                preprocessing: "none")
            let session = try ExplanationSession(
                limited,
                options: options {
                    $0.classChoice = .top(500)
                    $0.batch = 8
                })
            return session.deviceNote
        }
        #expect(try shrinks(2 << 30) == nil)
        #expect(try shrinks(300 << 20)?.contains("of 8 pictures need more memory") == true)
        let refused = failure { _ = try shrinks(90 << 20) }
        #expect(refused?.kind == .limit && refused!.description.contains("--class"))
    }

    // MARK: Files that change

    @Test func theDigestIsThatOfWhatRuns() throws {
        try withFolder { folder in
            let path = "\(folder)/m.onnx"
            let bytes = network().data()
            try bytes.write(to: URL(filePath: path))
            let inMemory = try Model(Network(network().model())).sha256()
            let model = try Model(path: path)
            // Another file takes its place before it is hashed.
            try Data("other".utf8).write(to: URL(filePath: path), options: .atomic)
            #expect(try model.sha256() == inMemory && inMemory.count == 64)
            #expect(try ExplanationSession(model, options: options()).classes == 3)
        }
    }

    @Test func aModelThatIsWrittenTo() throws {
        try withFolder { folder in
            let path = "\(folder)/m.onnx"
            try network(classes: 5000).data().write(to: URL(filePath: path))
            let model = try Model(path: path)
            #expect(truncate(path, 3000) == 0)
            for error in [
                failure { _ = try model.sha256() },
                failure { _ = try ExplanationSession(model, options: options()) },
            ] {
                #expect(error?.kind == .model && error!.description.contains("changed by another program"))
                #expect(error?.description.hasPrefix(path) == true)
            }
        }
    }

    @Test func digestsOfExternalData() throws {
        try withFolder { folder in
            var builder = network()
            let weights = builder.graph.initializer[0].rawData
            try weights.write(to: URL(filePath: "\(folder)/w.bin"))
            builder.graph.initializer[0].clearRawData()
            builder.graph.initializer[0].externalData = [.with { ($0.key, $0.value) = ("location", "w.bin") }]
            builder.graph.initializer[0].dataLocation = .external
            try builder.data().write(to: URL(filePath: "\(folder)/m.onnx"))
            let model = try Model(path: "\(folder)/m.onnx")
            let digests = try model.externalSHA256()
            #expect(digests.map(\.file) == ["w.bin"] && digests[0].sha256.count == 64)
            #expect(try digests[0].sha256 != model.sha256())
            try weights.write(to: URL(filePath: "\(folder)/whole.onnx"))
            let text = try ResultDocument.text(
                ExplanationSession(model, options: options()), images: [])
            #expect(text.contains(digests[0].sha256) && text.contains("\"externalData\""))
        }
    }

    /// A network that is nothing but its end has its input for scores.
    @Test func softmaxAlone() throws {
        try withFolder { folder in
            var builder = ONNXBuilder(name: "end")
            builder.input("x", ["N", 3])
            builder.node("Softmax", ["x"], ["y"])
            builder.output("y", ["N", 3])
            let model = try Model(Network(builder.model()), preprocessing: "none")
            try NPYArray(shape: [1, 3], values: [1, 2, 3]).write(to: "\(folder)/x.npy", overwrite: false)
            func run(_ gradient: String) throws {
                _ = try model.runFile(
                    "\(folder)/x.npy", outputs: nil, gradient: gradient, device: .cpu, threads: 1, shape: nil,
                    directory: "\(folder)/out", overwrite: true)
            }
            let error = failure { try run("7") }
            #expect(error?.kind == .classChoice && error!.description.contains("0 to 2"), "\(error!)")
            try run("2")
        }
    }
}
