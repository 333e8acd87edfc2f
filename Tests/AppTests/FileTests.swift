// Names that are bytes, folders that are shared, runs that end early.

import Explain
import Files
import Foundation
import Imaging
import Testing

@Suite struct FileNameTests {
    @Test func everyNameHasOneText() {
        var names: [[UInt8]] = [
            Array("plain.png".utf8), Array("\u{FC}.png".utf8), Array("u\u{308}.png".utf8),
            [0x62, 0xFF, 0x2E],
            Array("a\\xff".utf8), Array("a\\x5cxff".utf8), [0xC3], [0xED, 0xA0, 0x80], [0xC0, 0xAF],
            Array("\\x41".utf8), [0x5C, 0xFF],
        ]
        for a in UInt8(0x70)...0xFF { names.append([0x5C, a, 0x78, a, 0x5C, 0x78, 0x66, 0x66]) }
        for name in names { #expect(FileName.bytes(FileName.text(name)) == name) }
        #expect(Set(names.map { Array(FileName.text($0).utf8) }).count == names.count)
        #expect(FileName.text([0x62, 0xFF, 0x2E]) == "b\\xff.")
    }
}

@Suite struct FilesTests {
    static let options = ["--model", "small.onnx", "--device", "cpu"]

    @Test func namesAreBytes() throws {
        let place = try Place()
        try FileManager.default.createDirectory(
            atPath: place.path + "/in", withIntermediateDirectories: false)
        let bytes = try Data(contentsOf: URL(fileURLWithPath: place.path + "/one.png"))
        for name in ["u\u{308}.png", "\u{FC}.png", "bad\\xff.png"] {
            try AtomicFile.write([UInt8](bytes), to: place.path + "/in/" + name, overwrite: false)
        }
        let outcome = try place.run(["in", "--output", "out", "--json"] + Self.options)
        #expect(outcome.code == 0, "\(outcome.err)")
        let images = try #require(try outcome.json()["images"] as? [[String: Any]])
        #expect(images.count == 3)
        #expect(images.first?["image"] as? String == "in/bad\\xff.png")
        #expect(place.list("out").filter { $0.hasSuffix(".compare.png") }.count == 3)
    }

    /// Whatever names a file may name one that is not UTF-8.
    @Test func everyOptionTakesBytes() throws {
        let place = try Place()
        try NPYArray(shape: [1, 3, 32, 32], values: (0..<3072).map { Float($0 % 97) / 97 }).write(
            to: place.path + "/x.npy", overwrite: false)
        let files = try place.shell(
            #"""
            b=$(printf 'b\377')
            cp small.onnx "$b.onnx"; cp x.npy "$b.npy"; cp one.png "$b.png"
            printf 'Ameise\nBiene\nKatze\nHund\n' > "$b.txt"
            printf '{"resize": {"width": 32, "height": 32}, "divisor": 51}' > "$b.json"
            """#)
        try #require(files.code == 0, "\(files.err)")
        let text = "b\\xff"

        let run = try place.shell(
            #"""
            b=$(printf 'b\377')
            "$app" run --model "$b.onnx" --input "$b.npy" --output "$b.run" --device cpu --json
            """#)
        #expect(run.code == 0, "\(run.err)")
        #expect(try run.json()["model"] as? String == text + ".onnx")
        #expect(Folder.names(place.path + "/" + text + ".run") == ["logits.npy"])

        let explained = try place.shell(
            #"""
            b=$(printf 'b\377')
            "$app" "$b.png" --model "$b.onnx" --labels "$b.txt" --preprocess "$b.json" --class Katze --device cpu --output "$b/$b" --json
            """#)
        #expect(explained.code == 0, "\(explained.err)")
        let result = try explained.json()
        let model = try #require(result["model"] as? [String: Any])
        #expect(model["file"] as? String == text + ".onnx")
        let plain = try place.run("classify", "one.png", "--model", "small.onnx", "--device", "cpu", "--json")
        let same = try #require(try plain.json()["model"] as? [String: Any])
        #expect(
            model["sha256"] as? String == same["sha256"] as? String
                && (model["sha256"] as? String)?.count == 64)
        let preprocessing = try #require(result["preprocessing"] as? [String: Any])
        #expect(preprocessing["divisor"] as? Double == 51)
        #expect(preprocessing["source"] as? String == "as asked: " + text + ".json")
        let names = try #require(Folder.names(place.path + "/" + text + "/" + text))
        #expect(names.contains("results.json") && names.contains("b_xff.gradcam.2.png"))

        let named = try place.shell(
            #"""
            b=$(printf 'b\377'); export WHITEBOX_MODEL="$b.onnx"
            "$app" classify one.png --device cpu --json
            """#)
        #expect(named.code == 0, "\(named.err)")
        #expect((try named.json()["model"] as? [String: Any])?["file"] as? String == text + ".onnx")

        for (option, code) in [
            ("one.png --model", Int32(4)), ("one.png --model small.onnx --labels", 11),
            ("one.png --model small.onnx --preprocess", 11),
            ("run --model small.onnx --output o --input", 3),
        ] {
            let missing = try place.shell(#""$app" \#(option) "$(printf 'no\376')""#)
            #expect(missing.code == code && missing.complaints.count == 1, "\(missing.err)")
            #expect(missing.err.contains("no\\xfe"), "\(missing.err)")
        }
    }

    /// Swift holds both for equal; they are two files.
    @Test func twoFormsOfAName() throws {
        let place = try Place()
        let forms = ["\u{FC}", "u\u{308}"]
        let values = (0..<3072).map { Float($0 % 97) / 97 }
        for (i, form) in forms.enumerated() {
            let path = place.path + "/" + form
            let names = ["ant", "bee", "cat", "dog"].map { "\($0)\(i)" }
            var builder = Place.network()
            builder.wire.metadataProps.removeAll { $0.key == "whitebox.labels" }
            builder.metadata("whitebox.source", "model \(i)")
            func write(_ ending: String, _ text: [UInt8]) throws {
                try AtomicFile.write(text, to: path + ending, overwrite: false)
            }
            try write(".onnx", [UInt8](builder.data()))
            try write(".txt", Array(names.joined(separator: "\n").utf8))
            try write(".json", Array(#"{"resize": {"width": 32, "height": 32}, "divisor": \#(i + 1)}"#.utf8))
            try write(".npy", NPYArray(shape: [1, 3, 32, 32], values: values.map { $0 * Float(i) }).npyData)
        }
        for (i, form) in forms.enumerated() {
            let outcome = try place.run(
                "one.png", "--model", form + ".onnx", "--labels", form + ".txt", "--preprocess",
                form + ".json",
                "--class", "cat\(i)", "--device", "cpu", "--output", form, "--json")
            #expect(outcome.code == 0, "\(outcome.err)")
            let result = try outcome.json()
            #expect((result["model"] as? [String: Any])?["source"] as? String == "model \(i)")
            #expect((result["preprocessing"] as? [String: Any])?["divisor"] as? Double == Double(i + 1))
            let run = try place.run(
                "run", "--model", form + ".onnx", "--input", form + ".npy", "--outputs", "input,logits",
                "--device", "cpu", "--output", form + ".run")
            #expect(run.code == 0, "\(run.err)")
        }
        let folders = try #require(Folder.names(place.path)).filter {
            FileKind(place.path + "/" + $0) == .folder
        }
        #expect(folders.count == 4)
        #expect(try place.array(forms[0] + ".run/logits.npy") != place.array(forms[1] + ".run/logits.npy"))
    }

    /// A program that was installed has no models beside it.
    @Test func noModelIsNear() throws {
        let place = try Place()
        let outcome = try place.shell(
            #"mkdir bin; cp "$app" bin/; unset WHITEBOX_MODEL; PATH="$PWD/bin" app classify one.png"#)
        #expect(outcome.code == 4 && outcome.complaints.count == 1, "\(outcome.err)")
        for word in [
            "models/efficientnet-lite0.onnx", "near the program", "--model", "WHITEBOX_MODEL", "make models",
        ] {
            #expect(outcome.err.contains(word), "\(outcome.err)")
        }
        let near = try place.shell(
            #"mkdir models; cp small.onnx models/efficientnet-lite0.onnx; cd /; "$OLDPWD/bin/app" layers"#)
        #expect(near.code == 0 && near.out.contains("relu2"), "\(near.err)")
    }

    /// There is one way to a file: by the bytes of its name. Foundation's own go by texts, and repair what is not UTF-8.
    @Test func oneWayIn() throws {
        let folder = Paths.parent(Paths.parent(Paths.parent(#filePath))) + "/Sources"
        var found: [String] = []
        for case let file as String in try #require(FileManager.default.enumerator(atPath: folder))
        where file.hasSuffix(".swift") {
            let text = try String(contentsOfFile: folder + "/" + file, encoding: .utf8)
            let means = [
                "FileManager", "fileURLWithPath", "filePath:", "contentsOfFile", "atPath:", "fopen(",
                ".environment[",
            ]
            for (i, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
            where means.contains(where: { line.contains($0) }) && !line.contains("/proc/") {
                found.append("\(file):\(i + 1)")
            }
        }
        // The kernel's own files, of fixed names.
        #expect(found.filter { !$0.hasPrefix("Kernels/Limits.swift:") }.isEmpty, "\(found)")
    }

    /// However many names lead to a picture, it counts once, and a note says so.
    @Test func linksCountOnce() throws {
        let place = try Place()
        let outcome = try place.shell(
            #"""
            mkdir links; for i in $(seq 200); do ln -s ../one.png links/$i.png; done
            "$app" classify links one.png ./one.png two.png --model small.onnx --device cpu
            """#)
        #expect(outcome.code == 0, "\(outcome.err)")
        #expect(outcome.out.split(separator: "\n").filter { $0.contains("(48×40)") }.count == 2)
        #expect(
            outcome.err
                == "notice: 201 names lead to files that other names or links lead to as well; each file counts once.\n"
        )
    }

    /// Nobody asked for a GPU: that there is none is said once, as a notice, and not at all with --quiet.
    @Test func theMissingGPUIsOneNotice() throws {
        let place = try Place()
        let none = ["OCL_ICD_VENDORS": "/nonexistent"]
        for command in ["classify", "explain"] {
            let run = [command, "one.png", "two.png", "--model", "small.onnx"]
            let loud = try place.run(run, environment: none)
            #expect(loud.code == 0 && loud.err == "notice: no OpenCL GPU was found, so the CPU computes\n")
            let quiet = try place.run(run + ["--quiet"], environment: none)
            #expect(quiet.code == 0 && quiet.err.isEmpty, "\(quiet.err)")
            let cpu = try place.run(run + ["--device", "cpu"], environment: none)
            #expect(cpu.code == 0 && cpu.err.isEmpty, "\(cpu.err)")
        }
    }

    @Test func forceRemovesWhatAnEarlierRunListed() throws {
        let place = try Place()
        #expect(try place.run(["one.png", "two.png", "--output", "out"] + Self.options).code == 0)
        try place.write("out/mine.png", [1])
        #expect(try place.run(["one.png", "--output", "out", "--force"] + Self.options).code == 0)
        #expect(place.list("out").contains("mine.png"))
        #expect(!place.list("out").contains { $0.hasPrefix("two") })
    }

    @Test func foldersLeaveOutWhatIsNoPicture() throws {
        let place = try Place()
        #expect(try place.run(["one.png", "--output", "out"] + Self.options).code == 0)
        try place.picture("out/new.png", seed: 9)
        try place.write("out/x.heic", [1])
        try FileManager.default.createDirectory(
            atPath: place.path + "/out/x.jpg", withIntermediateDirectories: false)
        #expect(mkfifo(place.path + "/out/y.png", 0o600) == 0)
        let outcome = try place.run(["out", "--output", "more", "--json"] + Self.options)
        #expect(outcome.code == 0, "\(outcome.err)")
        #expect((try outcome.json()["images"] as? [Any])?.count == 1)
        for part in ["1 file of another format", "2 results of an earlier run", "2 folders or pipes"] {
            #expect(outcome.err.contains(part), "\(outcome.err)")
        }
        #expect(try place.run(["**/*.png", "--output", "deep"] + Self.options).err.contains("**"))
        #expect(try place.run("clasify", "one.png").err.contains("did you mean `app classify`?"))
    }
}
