// Nothing that a file says reaches a terminal as an order: for every place where a stranger's words are printed, through the program itself.

import Explain
import Files
import Foundation
import Imaging
import ONNX
import Testing
import Text

@Suite struct TerminalTests {
    /// Sets the title, rings, returns to the left, begins a line of its own, colours by a C1 control, turns the direction, breaks the line.
    static let attack = "\u{1B}]0;x\u{7}\r\napp: fake\u{9B}31m\u{202E}\u{2066}\u{2028}\u{200B}"
    /// How it must look.
    static let shown = "\\u{1B}]0;x\\u{7}\\r\\napp: fake\\u{9B}31m\\u{202E}\\u{2066}\\u{2028}\\u{200B}"

    /// A place where words come from.
    struct Source: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let code: Int32
        /// Whether the words themselves are printed (in a short form of results' files they are not).
        let isShown: Bool
        let arguments: [String]
        let prepare: @Sendable (Place) throws -> Void

        init(
            _ name: String, _ code: Int32, _ arguments: [String], isShown: Bool = true,
            _ prepare: @escaping @Sendable (Place) throws -> Void = { _ in }
        ) {
            (testDescription, self.code, self.arguments, self.isShown, self.prepare) = (
                name, code, arguments, isShown, prepare
            )
        }

        /// A model with something in it.
        static func model(
            _ name: String, _ code: Int32, _ arguments: String..., isShown: Bool = true,
            _ change: @escaping @Sendable (inout ONNXBuilder) -> Void
        ) -> Source {
            Source(name, code, arguments + ["--model", "bad.onnx"], isShown: isShown) { place in
                var builder = Place.network()
                change(&builder)
                try builder.data().write(to: URL(fileURLWithPath: place.path + "/bad.onnx"))
            }
        }

        static func file(
            _ name: String, _ code: Int32, _ file: String, _ text: String, _ arguments: String...
        ) -> Source {
            Source(name, code, arguments) { try $0.write(file, Array(text.utf8)) }
        }
    }

    /// The small network with its last layer under another name, or its logits.
    private static func renamed(
        _ builder: inout ONNXBuilder, node: String = "classes", value: String = "logits"
    ) {
        builder.graph.node.removeLast()
        builder.graph.output.removeAll()
        builder.node("Gemm", ["flat", "w3"], [value], name: node)
        builder.output(value, [1, 4])
    }

    /// A .npy file with words in its header.
    private static func array(_ header: String) -> [UInt8] {
        let text = Array((header + "\n").utf8)
        return [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(text.count & 255), UInt8(text.count >> 8)] + text
            + [0, 0, 0, 0]
    }

    static let sources: [Source] = [
        .model("a node that is not supported", 5, "one.png") {
            $0.node("Frobnicate", ["r1"], ["x"], name: attack)
        },
        .model("an operator", 5, "one.png") { $0.node("Frob" + attack, ["r1"], ["x"], name: "x") },
        .model("a domain", 5, "one.png") {
            $0.opset(1, domain: attack)
            $0.node("Relu", ["r1"], ["x"], name: "x", domain: attack)
        },
        .model("a node in the table", 0, "layers") { renamed(&$0, node: attack) },
        .model("a node in JSON", 0, "layers", "--json", isShown: false) { renamed(&$0, node: attack) },
        .model("a value in JSON", 0, "layers", "--json", isShown: false) { renamed(&$0, value: attack) },
        .model("the layer that is explained", 0, "one.png", "--device", "cpu") {
            $0.graph.node.removeAll { $0.output == ["r2"] }
            $0.node("Relu", ["c2"], ["r2"], name: attack)
        },
        .model("a layer that is no grid", 6, "one.png", "--layer", attack) { renamed(&$0, node: attack) },
        .model(
            "values that are written", 0, "run", "--input", "x.npy", "--output", "out", "--outputs", "all",
            "--device", "cpu"
        ) {
            renamed(&$0, value: attack)
        },
        .model("a value that nothing makes", 4, "one.png") { $0.node("Relu", [attack], ["x"], name: "x") },
        .model("a value that is made twice", 4, "one.png") {
            $0.node("Relu", ["r1"], [attack], name: "x")
            $0.node("Relu", ["r1"], [attack], name: "y")
        },
        .model("an output that nothing makes", 4, "one.png") { $0.output(attack, [1]) },
        .model("two inputs", 5, "one.png") { $0.input(attack, [1, 3, 32, 32]) },
        .model("an input that is no picture", 5, "one.png") {
            $0 = ONNXBuilder()
            $0.input(attack, [1, 5, 32, 32])
            $0.node("Relu", [attack], ["r"], name: "relu")
            $0.node("GlobalAveragePool", ["r"], ["p"], name: "pool")
            $0.node("Flatten", ["p"], ["y"], name: "flatten")
            $0.output("y", [1, 5])
        },
        .model("an initializer", 4, "one.png") {
            $0.initializer(attack, [2], floats: [1, 2])
            $0.initializer(attack, [1], floats: [1])
        },
        .model("an attribute's text", 4, "one.png") {
            $0.node("Conv", ["input", "w1"], ["x"], ["auto_pad": .string(attack)], name: "x")
        },
        .model("an attribute of the wrong kind", 4, "one.png") {
            $0.node("Conv", ["input", "w1"], ["x"], ["strides": .string("a")], name: attack)
        },
        .model("preprocessing that a model carries", 11, "one.png") {
            $0.metadata("whitebox.preprocessing", "{\"resize\": \"none\", \"\(json)\": 1}")
        },
        .model("labels that a model carries", 11, "one.png") {
            $0.metadata("whitebox.labels", "{\"\(json)\": \"x\"}")
        },
        .model("class names that a model carries", 0, "classify", "one.png", "--device", "cpu") {
            $0.metadata("whitebox.labels", "[\"\(json)\", \"b\", \"c\", \"d\"]")
        },
        .model(
            "class names in results", 0, "one.png", "--class", "0", "--device", "cpu", "--json",
            isShown: false
        ) {
            $0.metadata("whitebox.labels", "[\"\(json)\", \"b\", \"c\", \"d\"]")
        },
        .model("a source and a licence in results", 0, "one.png", "--device", "cpu", "--json", isShown: false)
        {
            $0.metadata("whitebox.source", attack)
            $0.metadata("whitebox.license", attack)
        },
        .model("names that are near", 7, "one.png", "--class", "antt") {
            $0.metadata("whitebox.labels", "[\"ant, \(json)\", \"b\", \"c\", \"d\"]")
        },
        .file(
            "class names in a file", 0, "names.txt", "a\(attack.filter { !$0.isNewline })z\nb\nc\nd\n",
            "classify", "one.png", "--model", "small.onnx", "--labels", "names.txt", "--device", "cpu"),
        .file(
            "a key of a preprocessing", 11, "p.json", "{\"resize\": \"none\", \"\(json)\": 1}", "one.png",
            "--model", "small.onnx", "--preprocess", "p.json"),
        .file(
            "a text of a preprocessing", 11, "p.json", "{\"resize\": \"none\", \"colours\": \"\(json)\"}",
            "one.png", "--model", "small.onnx", "--preprocess", "p.json"),
        .file(
            "a missing key", 11, "p.json", "{\"resize\": {\"\(json)\": 1}}", "one.png", "--model",
            "small.onnx", "--preprocess", "p.json"),
        .file(
            "a key of labels", 11, "l.json", "{\"\(json)\": \"x\"}", "one.png", "--model", "small.onnx",
            "--labels", "l.json"),
        Source(
            "the type of an array", 3,
            ["run", "--model", "small.onnx", "--input", "bad.npy", "--output", "out"]
        ) {
            try $0.write("bad.npy", array("{'descr': '\(attack)', 'fortran_order': False, 'shape': (1,), }"))
        },
        Source(
            "a key of an array", 3, ["run", "--model", "small.onnx", "--input", "bad.npy", "--output", "out"]
        ) {
            try $0.write("bad.npy", array("{'\(attack)': '<f4', 'fortran_order': False, 'shape': (1,), }"))
        },
        Source("external data", 4, ["one.png", "--model", "bad.onnx"]) { place in
            var builder = Place.network()
            builder.graph.initializer[0].rawData = .init()
            builder.graph.initializer[0].floatData = []
            builder.graph.initializer[0].dataLocation = .external
            var location = WireStringPair()
            (location.key, location.value) = ("location", attack)
            builder.graph.initializer[0].externalData = [location]
            try builder.data().write(to: URL(fileURLWithPath: place.path + "/bad.onnx"))
        },
        Source("a picture", 0, ["\(attack).png", "--model", "small.onnx", "--device", "cpu"]) {
            try $0.picture("\(attack).png", seed: 1)
        },
        Source(
            "a picture to classify", 0,
            ["classify", "\(attack).png", "--model", "small.onnx", "--device", "cpu"]
        ) {
            try $0.picture("\(attack).png", seed: 1)
        },
        Source(
            "a picture in JSON", 0, ["\(attack).png", "--model", "small.onnx", "--device", "cpu", "--json"],
            isShown: false
        ) {
            try $0.picture("\(attack).png", seed: 1)
        },
        Source(
            "a picture to verify", 0, ["verify", "\(attack).png", "--model", "small.onnx", "--device", "cpu"]
        ) {
            try $0.picture("\(attack).png", seed: 1)
        },
        Source("a damaged picture", 3, ["\(attack).png", "--model", "small.onnx"]) {
            try $0.write("\(attack).png", [1, 2, 3])
        },
        Source("a damaged picture beside others", 2, ["one.png", "\(attack).png", "--model", "small.onnx"]) {
            try $0.write("\(attack).png", [1, 2, 3])
        },
        Source("a model", 0, ["one.png", "--model", "\(attack).onnx", "--device", "cpu"]) {
            try FileManager.default.copyItem(atPath: $0.model, toPath: $0.path + "/\(attack).onnx")
        },
        Source("a damaged model", 4, ["one.png", "--model", "\(attack).onnx"]) {
            try $0.write("\(attack).onnx", [1, 2, 3])
        },
        Source("a model that is not there", 4, ["one.png", "--model", attack]),
        Source("a folder", 3, [attack, "--model", "small.onnx"]) {
            try FileManager.default.createDirectory(
                atPath: $0.path + "/" + attack, withIntermediateDirectories: true)
        },
        Source(
            "a folder of results", 0,
            ["one.png", "--model", "small.onnx", "--device", "cpu", "--output", attack]),
        Source("a file in place of the folder", 10, ["one.png", "--model", "small.onnx", "--output", attack])
        { try $0.write(attack, [1]) },
        Source("a pattern", 3, [attack + "*", "--model", "small.onnx"]),
        Source("labels that are not there", 11, ["one.png", "--model", "small.onnx", "--labels", attack]),
        Source("a preprocessing", 11, ["one.png", "--model", "small.onnx", "--preprocess", attack]),
        Source("a class", 7, ["one.png", "--model", "small.onnx", "--class", attack]),
        Source("a layer", 6, ["one.png", "--model", "small.onnx", "--layer", attack]),
        Source("a method", 9, ["one.png", "--model", "small.onnx", "--method", attack]),
        Source("a device", 64, ["one.png", "--model", "small.onnx", "--device", attack]),
        Source("an overlay", 64, ["one.png", "--model", "small.onnx", "--overlay", attack]),
        Source("an option", 64, ["one.png", "--" + attack]),
        Source(
            "an array that is not there", 3,
            ["run", "--model", "small.onnx", "--input", attack, "--output", "out"]),
    ]

    /// The attack within a JSON text.
    private static let json = attack.unicodeScalars.map { scalar in
        scalar.value < 0x20
            ? "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16) : String(scalar)
    }.joined()

    @Test(arguments: sources) func nothingIsObeyed(_ source: Source) throws {
        let place = try Place()
        try NPYArray(shape: [1, 3, 32, 32], values: (0..<3072).map { Float($0 % 97) / 97 }).write(
            to: place.path + "/x.npy", overwrite: true)
        try source.prepare(place)
        let outcome = try place.run(source.arguments)
        #expect(outcome.code == source.code, "\(outcome.err)")
        let text = outcome.out + outcome.err
        let obeyed = text.unicodeScalars.filter { !$0.isPrintable && $0 != "\n" }.map { $0.value }
        #expect(obeyed.isEmpty, "\(obeyed.map { String($0, radix: 16) })")
        if source.code != 0 { #expect(outcome.complaints.count == 1, "\(outcome.err)") }
        let lines = text.split(separator: "\n")
        #expect(!lines.contains { $0.hasPrefix("app: fake") })
        if source.isShown {
            #expect(text.contains("\\u{1B}]0;x\\u{7}"), "the words are not in \(text)")
        } else {
            // JSON keeps the true name.
            #expect(text.contains("\\u001b]0;x\\u0007"), "the words are not in \(text)")
            _ = try JSONSerialization.jsonObject(with: Data(outcome.out.utf8))
        }
    }

    /// There is one way out: nobody in the program writes to a terminal by other means.
    @Test func oneWayOut() throws {
        let folder = Paths.parent(Paths.parent(Paths.parent(#filePath))) + "/Sources"
        var found: [String] = []
        for case let file as String in try #require(FileManager.default.enumerator(atPath: folder))
        where file.hasSuffix(".swift") {
            let text = try String(contentsOfFile: folder + "/" + file, encoding: .utf8)
            let means = [
                "Swift.print(", "standardError", "standardOutput", "STDOUT_FILENO", "fputs(", "fputc(",
                "putchar(",
            ]
            for (i, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
            where means.contains(where: { line.contains($0) }) && !line.contains("isatty")
                && file != "Commands/Terminal.swift"
            {
                found.append("\(file):\(i + 1)")
            }
        }
        #expect(found.isEmpty)
    }

    /// Results keep the true names, and their own files' names are tame.
    @Test func resultsKeepTheTrueNames() throws {
        let place = try Place()
        let name = Self.attack + ".png"
        try place.picture(name, seed: 1)
        #expect(try place.run(name, "--model", "small.onnx", "--device", "cpu", "--output", "out").code == 0)
        let text = try String(contentsOfFile: place.path + "/out/results.json", encoding: .utf8)
        #expect(text.unicodeScalars.allSatisfy { $0.isPrintable || $0 == "\n" })
        let document = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        let image = try #require((document["images"] as? [[String: Any]])?.first)
        #expect((image["image"] as? String).map { Array($0.utf8) } == Array(name.utf8))
        let files = place.list("out")
        #expect(files.count == 5 && files.allSatisfy { $0.unicodeScalars.allSatisfy(\.isPrintable) })
    }
}
