import Explain
import Files
import Foundation
import Imaging
import ONNX
import Testing

/// What a run of the program left.
struct Outcome {
    let code: Int32
    let out: String
    let err: String

    /// The lines on stderr that are no notes.
    var complaints: [String] {
        err.split(separator: "\n").map(String.init).filter {
            !$0.hasPrefix("notice: ") && !$0.hasPrefix("warning: ")
        }
    }

    func json() throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(out.utf8)) as? [String: Any])
    }
}

/// A folder of its own for each test, with a small network and a few pictures; removed with this object.
final class Place {
    let path: String
    let model: String

    /// The program beside the tests.
    static let program: String? = {
        let tests = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        let folders = [tests, CommandLine.arguments[0]].map { Paths.parent($0) }
        return folders.map { $0 + "/app" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }()

    /// The folder of networks and photographs beside the project, if it is there.
    static let shared: String? = {
        let root = Paths.parent(Paths.parent(Paths.parent(#filePath)))
        let folder = Paths.parent(root) + "/shared"
        return FileManager.default.fileExists(atPath: folder + "/models") ? folder : nil
    }()

    init() throws {
        path =
            FileManager.default.temporaryDirectory.path + "/whitebox-app-\(UInt64.random(in: .min ... .max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        model = path + "/small.onnx"
        try Place.network().data().write(to: URL(fileURLWithPath: model))
        for (i, name) in ["one.png", "two.png", "three.png"].enumerated() { try picture(name, seed: i) }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func picture(_ name: String, seed: Int) throws {
        var pixels = [UInt8](repeating: 0, count: 48 * 40 * 3)
        for i in pixels.indices {
            pixels[i] = UInt8(truncatingIfNeeded: (i + seed * 131) * (i >> 6 + 7 + seed) >> 3)
        }
        try RGBImage(width: 48, height: 40, pixels: pixels).writePNG(to: path + "/" + name, overwrite: true)
    }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: path + "/" + name))
    }

    /// Two convolutions, a mean and four classes, for pictures of 32×32.
    static func network() -> ONNXBuilder {
        var numbers = SystemNumbers(state: 1)
        func weights(_ count: Int) -> [Float] {
            (0..<count).map { _ in Float.random(in: -0.3...0.3, using: &numbers) }
        }
        var builder = ONNXBuilder()
        builder.input("input", [1, 3, 32, 32])
        builder.initializer("w1", [8, 3, 3, 3], floats: weights(216))
        builder.node(
            "Conv", ["input", "w1"], ["c1"], ["pads": [1, 1, 1, 1], "strides": [2, 2]], name: "first")
        builder.node("Relu", ["c1"], ["r1"], name: "relu1")
        builder.initializer("w2", [16, 8, 3, 3], floats: weights(1152))
        builder.node("Conv", ["r1", "w2"], ["c2"], ["pads": [1, 1, 1, 1]], name: "second")
        builder.node("Relu", ["c2"], ["r2"], name: "relu2")
        builder.node("GlobalAveragePool", ["r2"], ["mean"], name: "pool")
        builder.node("Flatten", ["mean"], ["flat"], name: "flatten")
        builder.initializer("w3", [16, 4], floats: weights(64))
        builder.node("Gemm", ["flat", "w3"], ["logits"], name: "classes")
        builder.output("logits", [1, 4])
        builder.metadata("whitebox.labels", "[\"ant\", \"bee\", \"cat\", \"dog\"]")
        builder.metadata(
            "whitebox.preprocessing",
            "{\"resize\": {\"shortSide\": 36}, \"crop\": {\"width\": 32, \"height\": 32}, \"divisor\": 255}")
        return builder
    }

    private struct SystemNumbers: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
    }

    /// Runs the program in this folder.
    func run(_ arguments: String..., environment: [String: String] = [:]) throws -> Outcome {
        try run(arguments, environment: environment)
    }

    func run(_ arguments: [String], environment: [String: String] = [:]) throws -> Outcome {
        try launch(
            try #require(Place.program, "the program `app` is not beside the tests"), arguments, environment)
    }

    /// Runs a shell's script in this folder; `"$app"` is the program. Shells can say what Swift's texts cannot: names that are not UTF-8.
    func shell(_ script: String) throws -> Outcome {
        try launch(
            "/bin/sh", ["-euc", script],
            ["app": try #require(Place.program, "the program `app` is not beside the tests")])
    }

    private func launch(_ program: String, _ arguments: [String], _ environment: [String: String]) throws
        -> Outcome
    {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: path)
        process.environment = ProcessInfo.processInfo.environment.merging(["COLUMNS": "80"]) { $1 }.merging(
            environment
        ) { $1 }
        // Files, because a pipe that nobody empties stops the program.
        let (out, err) = (path + "/.stdout", path + "/.stderr")
        for file in [out, err] { _ = FileManager.default.createFile(atPath: file, contents: nil) }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: out))
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: err))
        try process.run()
        process.waitUntilExit()
        func text(_ file: String) throws -> String {
            defer { try? FileManager.default.removeItem(atPath: file) }
            return try String(contentsOfFile: file, encoding: .utf8)
        }
        return Outcome(
            code: process.terminationReason == .exit
                ? process.terminationStatus : 128 + process.terminationStatus,
            out: try text(out), err: try text(err))
    }

    /// Names in a folder below this one, sorted; hidden ones too.
    func list(_ folder: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path + "/" + folder)) ?? []).sorted()
    }

    func array(_ file: String) throws -> NPYArray { try NPYArray.load(path: path + "/" + file) }
}
