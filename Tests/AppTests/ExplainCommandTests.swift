import Foundation
import Imaging
import Testing

@Suite struct ExplainCommandTests {
    static func files(_ stem: String) -> [String] {
        [".compare.png", ".fem.heatmap.npy", ".fem.map.npy", ".fem.png"].map { stem + $0 }
            + [".heatmap.npy", ".map.npy", ".png"].map { stem + ".gradcam.2" + $0 }
    }

    @Test func writesEveryFileAndNothingElse() throws {
        let place = try Place()
        let outcome = try place.run(
            "explain", "one.png", "--model", "small.onnx", "--method", "gradcam,fem", "--class", "cat",
            "--device", "cpu",
            "--output", "out")
        #expect(outcome.code == 0, "\(outcome.err)")
        #expect(outcome.err.isEmpty)
        #expect(place.list("out") == (Self.files("one") + ["results.json"]).sorted())
        let heat = try place.array("out/one.gradcam.2.heatmap.npy")
        let map = try place.array("out/one.gradcam.2.map.npy")
        #expect(heat.shape == [32, 32] && map.shape == [16, 16])
        #expect(heat.values.allSatisfy { (0...1).contains($0) } && map.values.allSatisfy { $0 >= 0 })
        #expect(try place.array("out/one.fem.map.npy").values.max() == 1)
        let overlay = try RGBImage.load(path: place.path + "/out/one.gradcam.2.png")
        #expect((overlay.width, overlay.height) == (32, 32))
        for word in ["relu2", "(16×16)", "cat", "Grad-CAM", "FEM", "out/one.compare.png", "1 of 1 image"] {
            #expect(outcome.out.contains(word), "the output lacks “\(word)”")
        }
    }

    /// Of several layers a map each, with the bits that each has alone.
    @Test func layersApart() throws {
        let place = try Place()
        let arguments = [
            "one.png", "--model", "small.onnx", "--method", "gradcam,fem", "--class", "cat", "--device",
            "cpu",
        ]
        let outcome = try place.run(
            arguments + ["--layer", "relu1,relu2", "--each-layer", "--output", "out", "--report", "r.html"])
        #expect(outcome.code == 0, "\(outcome.err)")
        let maps = place.list("out").filter { $0.hasSuffix(".map.npy") }
        #expect(maps.count == 4 && maps.allSatisfy { $0.contains(".layer") }, "\(maps)")
        for layer in ["relu1", "relu2"] {
            #expect(try place.run(arguments + ["--layer", layer, "--output", layer]).code == 0)
        }
        let cams = try maps.filter { $0.contains("gradcam") }.sorted().map { try place.array("out/" + $0) }
        let alone = try ["relu1", "relu2"].map { try place.array("\($0)/one.gradcam.2.map.npy") }
        #expect(cams.map(\.values) == alone.map(\.values))

        // Names of files with layers are known for what they are.
        let again = arguments + ["--layer", "relu1,relu2", "--each-layer", "--output", "out"]
        try FileManager.default.removeItem(atPath: place.path + "/out/results.json")
        #expect(try place.run(again).code == 10)
        let packed = try place.run(again + ["--pack", "--force"])
        #expect(packed.code != 0 && packed.err.contains("--each-layer"))
    }

    /// What pictures look like is chosen, and arrays stay what they are.
    @Test func picturesAreDrawnAsAsked() throws {
        let place = try Place()
        func run(_ output: String, _ more: String...) throws -> Outcome {
            try place.run(
                [
                    "one.png", "--model", "small.onnx", "--method", "gradcam,occlusion", "--class", "top4",
                    "--device", "cpu", "--output", output,
                ] + more)
        }
        func bytes(_ file: String) throws -> Data {
            try Data(contentsOf: URL(fileURLWithPath: place.path + "/" + file))
        }
        #expect(try run("plain").code == 0)
        for (output, more) in [
            ("jet", ["--colormap", "Jet"]), ("faint", ["--opacity", "20"]),
            ("signs", ["--colormap", "coolwarm"]),
            ("own", ["--scale", "own"]),
        ] {
            #expect(try run(output, more[0], more[1]).code == 0)
            var changed = 0
            for file in place.list("plain") where file != "results.json" {
                let isSame = try bytes("plain/\(file)") == bytes("\(output)/\(file)")
                if file.hasSuffix(".npy") { #expect(isSame, "\(output)/\(file)") }
                if !isSame { changed += 1 }
            }
            #expect(changed > 0, "\(output) changes nothing")
        }
        let parts = try run("parts", "--write", "mask,box,contour", "--threshold", "0.7")
        #expect(parts.code == 0, "\(parts.err)")
        #expect(place.list("parts").count == 8 * 3 + 1)
        let heat = try place.array("plain/one.gradcam.2.heatmap.npy")
        let mask = try RGBImage.load(path: place.path + "/parts/one.gradcam.2.mask.png")
        #expect(
            heat.values.map { $0 >= 0.7 ? 255 : 0 }
                == stride(from: 0, to: mask.pixels.count, by: 3).map { mask.pixels[$0] })
        let results = try String(contentsOfFile: place.path + "/parts/results.json", encoding: .utf8)
        #expect(results.contains("\"box\": [") && results.contains("one.gradcam.2.contour.png"))
        // What such a run wrote is removed by the next.
        #expect(try run("parts", "--write", "map", "--force").code == 0)
        #expect(place.list("parts").allSatisfy { $0.hasSuffix(".map.npy") || $0 == "results.json" })
        for wrong in [
            ["--colormap", "pink"], ["--opacity", "101"], ["--scale", "mine"], ["--threshold", "0"],
        ] {
            #expect(try run("wrong", wrong[0], wrong[1]).code == 64)
        }
    }

    @Test func oneSheetForAll() throws {
        let place = try Place()
        let arguments = ["--model", "small.onnx", "--device", "cpu", "--write", "contact", "--output", "out"]
        #expect(try place.run(["one.png", "two.png", "three.png"] + arguments).code == 0)
        #expect(place.list("out") == ["contact.png", "results.json"])
        let sheet = try RGBImage.load(path: place.path + "/out/contact.png")
        #expect(sheet.width == 2 * 24 + 3 * 160 + 2 * 20)
        #expect(try place.run(["one.png"] + arguments).code == 10)
        #expect(try place.run(["one.png"] + arguments + ["--resume"]).code == 64)
        // The next run knows whose it was.
        #expect(
            try place.run(["one.png"] + arguments.dropLast(4) + ["--output", "out", "--force"]).code == 0)
        #expect(!place.list("out").contains("contact.png"))
    }

    @Test func explainIsTheDefault() throws {
        let place = try Place()
        let outcome = try place.run("--device", "cpu", "one.png", "--model", "small.onnx")
        #expect(outcome.code == 0, "\(outcome.err)")
        #expect(place.list("whitebox-results").contains("results.json"))
        // Results that nobody named a place for never meet.
        #expect(try place.run("--device", "cpu", "one.png", "--model", "small.onnx").code == 0)
        #expect(place.list("whitebox-results-2") == place.list("whitebox-results"))
    }

    @Test func resultsHaveTheirForm() throws {
        let place = try Place()
        try place.write("bad.png", Array("no picture".utf8))
        let outcome = try place.run(
            "bad.png", "one.png", "--model", "small.onnx", "--method", "gradcam,fem", "--device", "cpu",
            "--output", "out", "--json")
        #expect(outcome.code == 2)
        #expect(outcome.complaints.count == 1)
        let written = try String(contentsOfFile: place.path + "/out/results.json", encoding: .utf8)
        #expect(written == outcome.out)
        let result = try outcome.json()
        #expect(result["whitebox"] as? String == "0.1.0")
        #expect((result["device"] as? String)?.hasPrefix("cpu (") == true)
        #expect(result["seed"] as? Int == 0)
        let model = try #require(result["model"] as? [String: Any])
        #expect(model["file"] as? String == "small.onnx" && (model["sha256"] as? String)?.count == 64)
        #expect(result["options"] is [String: Any])
        let images = try #require(result["images"] as? [[String: Any]])
        #expect(images.map { $0["image"] as? String } == ["bad.png", "one.png"])
        #expect((images[0]["error"] as? String)?.contains("bad.png") == true)
        #expect(images[1]["error"] is NSNull && images[1]["size"] as? [Int] == [48, 40])
        let predictions = try #require(images[1]["predictions"] as? [[String: Any]])
        #expect(predictions.count == 4)
        #expect(Set(predictions[0].keys) == ["index", "label", "logit", "probability"])
        let best = try #require(predictions[0]["index"] as? Int)
        let explanations = try #require(images[1]["explanations"] as? [[String: Any]])
        #expect(explanations.map { $0["method"] as? String } == ["gradcam", "fem"])
        #expect(explanations[0]["class"] as? Int == best && explanations[1]["class"] is NSNull)
        for explanation in explanations {
            #expect(explanation["layer"] as? String == "relu2" && explanation["blank"] is NSNull)
            for key in ["map", "heatmap", "overlay"] {
                let file = try #require(explanation[key] as? String)
                #expect(place.list("out").contains(file))
            }
        }
    }

    @Test func nothingIsOverwrittenUnlessAsked() throws {
        let place = try Place()
        let arguments = ["one.png", "--model", "small.onnx", "--device", "cpu", "--output", "out"]
        #expect(try place.run(arguments).code == 0)
        let before = place.list("out")
        let second = try place.run(arguments)
        #expect(second.code == 10)
        #expect(
            second.complaints.count == 1 && second.err.contains("'out' already holds results")
                && second.err.contains("--force"))
        #expect(second.out.isEmpty && place.list("out") == before)
        #expect(try place.run(arguments + ["--force"]).code == 0)
        #expect(place.list("out") == before)
    }

    @Test func foldersPatternsAndEqualNames() throws {
        let place = try Place()
        try FileManager.default.createDirectory(
            atPath: place.path + "/more", withIntermediateDirectories: true)
        try place.picture("more/one.png", seed: 5)
        try place.write("more/notes.txt", [1])
        let outcome = try place.run(
            "t*.png", "one.png", "more", "--model", "small.onnx", "--device", "cpu", "--output", "out",
            "--batch", "3")
        #expect(outcome.code == 0, "\(outcome.err)")
        let sheets = place.list("out").filter { $0.hasSuffix(".compare.png") }
        #expect(sheets == ["one.compare.png", "three.compare.png", "two.compare.png"])
        // The name of a file in another folder is the same, so it keeps its folder.
        #expect(place.list("out/more").contains("one.compare.png"))
    }

    @Test func bitsDoNotDependOnBatchOrThreads() throws {
        let place = try Place()
        for (folder, options) in [
            ("a", ["--batch", "1", "--threads", "1"]), ("b", ["--batch", "3", "--threads", "2"]),
        ] {
            let outcome = try place.run(
                [
                    "one.png", "two.png", "three.png", "--model", "small.onnx", "--device", "cpu", "--method",
                    "gradcam,fem", "--output", folder,
                ]
                    + options)
            #expect(outcome.code == 0, "\(outcome.err)")
        }
        #expect(place.list("a") == place.list("b"))
        for file in place.list("a") where file != "results.json" {
            #expect(
                FileManager.default.contentsEqual(
                    atPath: place.path + "/a/" + file, andPath: place.path + "/b/" + file), "\(file) differs")
        }
    }

    @Test func overlayOnThePhotograph() throws {
        let place = try Place()
        let outcome = try place.run(
            "one.png", "--model", "small.onnx", "--device", "cpu", "--class", "0", "--overlay", "photo",
            "--output", "out")
        #expect(outcome.code == 0, "\(outcome.err)")
        let overlay = try RGBImage.load(path: place.path + "/out/one.gradcam.0.png")
        #expect((overlay.width, overlay.height) == (48, 40))
    }

    @Test func classifyPrintsTheClasses() throws {
        let place = try Place()
        let text = try place.run("classify", "one.png", "--model", "small.onnx", "--device", "cpu")
        #expect(text.code == 0 && text.out.contains("bee") && text.out.contains(" %"))
        let json = try place.run("classify", "one.png", "--model", "small.onnx", "--device", "cpu", "--json")
            .json()
        let image = try #require((json["images"] as? [[String: Any]])?.first)
        let probabilities = try #require(image["predictions"] as? [[String: Any]]).compactMap {
            $0["probability"] as? Double
        }
        #expect(
            probabilities.count == 4 && abs(probabilities.reduce(0, +) - 1) < 1e-6
                && probabilities == probabilities.sorted(by: >))
        #expect(place.list("").allSatisfy { !$0.hasPrefix("whitebox-results") })
    }

    /// What fails for its scores is in the JSON, which stays JSON.
    @Test func picturesThatOverflowAreInTheJSON() throws {
        let place = try Place()
        var builder = Place.network()
        // Only bright pictures overflow.
        builder.initializer("huge", [1], floats: [3e38])
        builder.node("Mul", ["logits", "huge"], ["large"], name: "large")
        builder.node("Mul", ["large", "huge"], ["larger"], name: "larger")
        builder.graph.output.removeAll()
        builder.output("larger", [1, 4])
        try builder.data().write(to: URL(fileURLWithPath: place.path + "/large.onnx"))
        try RGBImage(width: 48, height: 40, pixels: Array(repeating: 0, count: 48 * 40 * 3)).writePNG(
            to: place.path + "/black.png", overwrite: true)
        for command in ["classify", "explain"] {
            let outcome = try place.run(
                command, "black.png", "one.png", "--model", "large.onnx", "--device", "cpu", "--json")
            #expect(outcome.code == 2 && outcome.complaints.count == 1, "\(outcome.err)")
            let images = try #require(outcome.json()["images"] as? [[String: Any]])
            #expect(images.count == 2 && images[0]["error"] is NSNull)
            #expect((images[1]["error"] as? String)?.contains("not finite") ?? false)
        }
    }

    /// The classes that results.json has for a picture, and what it says was asked for.
    private func classes(_ place: Place, _ choice: String) throws -> (classes: [Int?], asked: String?) {
        let outcome = try place.run(
            "one.png", "--model", "small.onnx", "--device", "cpu", "--class", choice, "--method",
            "gradcam,fem",
            "--output", "out", "--force", "--json")
        #expect(outcome.code == 0, "\(outcome.err)")
        let document = try outcome.json()
        let image = try #require((document["images"] as? [[String: Any]])?.first)
        let explanations = try #require(image["explanations"] as? [[String: Any]])
        for explanation in explanations {
            #expect(place.list("out").contains(try #require(explanation["overlay"] as? String)))
        }
        return (
            explanations.map { $0["class"] as? Int },
            (document["options"] as? [String: Any])?["class"] as? String
        )
    }

    @Test func severalClasses() throws {
        let place = try Place()
        #expect(try classes(place, "2,0") == ([2, 0, nil], "2,0"))
        #expect(try classes(place, "dog, 0,ANT") == ([3, 0, nil], "dog, 0,ANT"))
        let best = try classes(place, "top1").classes[0]
        #expect(try classes(place, "Top1,\(best!),top4").classes.count == 5)
        #expect(try classes(place, "\(best!),TOP1").classes == [best, nil])
    }

    @Test func anEmptyClassIsNoClass() throws {
        let place = try Place()
        for text in ["", " "] {
            let outcome = try place.run("one.png", "--model", "small.onnx", "--class", text)
            #expect(outcome.code == 7 && outcome.err.contains("A class is empty"), "\(outcome.err)")
        }
    }

    @Test func namesOfValuesInAnyCase() throws {
        let place = try Place()
        let outcome = try place.run(
            "one.png", "--model", "small.onnx", "--device", "CPU", "--method", "GradCAM,FEM", "--overlay",
            "View",
            "--class", "Top1", "--layer", "AUTO", "--kernels", "CPU", "--output", "out", "--json")
        #expect(outcome.code == 0, "\(outcome.err)")
        let options = try #require(outcome.json()["options"] as? [String: Any])
        #expect(
            options["methods"] as? [String] == ["gradcam", "fem"] && options["class"] as? String == "top1")
        #expect(place.list("out").count == 8)
        let preset = try place.run(
            "classify", "one.png", "--model", "small.onnx", "--preprocess", "ImageNet", "--json")
        let preprocessing = try #require(preset.json()["preprocessing"] as? [String: Any])
        #expect(preprocessing["source"] as? String == "as asked: imagenet, fitted to 32×32")
        #expect((preprocessing["crop"] as? [String: Int]) == ["width": 32, "height": 32])
    }

    /// Who relies on a default hears of it.
    @Test func assumedPreprocessingIsNoted() throws {
        let place = try Place()
        var builder = Place.network()
        builder.wire.metadataProps.removeAll { $0.key == "whitebox.preprocessing" }
        try builder.data().write(to: URL(fileURLWithPath: place.path + "/bare.onnx"))
        for command in ["classify", "explain"] {
            let assumed = try place.run(command, "one.png", "--model", "bare.onnx", "--device", "cpu")
            #expect(assumed.code == 0 && assumed.err.contains("imagenet is assumed"), "\(assumed.err)")
            for arguments in [["small.onnx"], ["bare.onnx", "--preprocess", "imagenet"]] {
                let stated = try place.run([command, "one.png", "--device", "cpu", "--model"] + arguments)
                #expect(stated.code == 0 && stated.err.isEmpty, "\(stated.err)")
            }
        }
    }

    @Test func theModelThatTheEnvironmentNames() throws {
        let place = try Place()
        let named = ["WHITEBOX_MODEL": "small.onnx"]
        let outcome = try place.run("classify", "one.png", "--device", "cpu", environment: named)
        #expect(outcome.code == 0 && outcome.out.contains("bee"), "\(outcome.err)")
        #expect(try place.run("layers", environment: ["WHITEBOX_MODEL": "none.onnx"]).code == 4)
        let option = try place.run(
            "layers", "--model", "small.onnx", environment: ["WHITEBOX_MODEL": "none.onnx"])
        #expect(option.code == 0)
    }

    /// Many nodes of a kind are counted; --verbose names them.
    @Test func manyNodesAreCounted() throws {
        let place = try Place()
        var builder = Place.network()
        for i in 0..<28 { builder.node("Frobnicate", ["r1"], ["x\(i)"], name: "node\(i)") }
        builder.node("Twist", ["r1"], ["y"], name: "twist")
        try builder.data().write(to: URL(fileURLWithPath: place.path + "/many.onnx"))
        let short = try place.run("one.png", "--model", "many.onnx")
        #expect(short.code == 5 && short.complaints.count == 1)
        #expect(
            short.err.contains("29 of 36 nodes") && short.err.contains("(28 nodes, such as “node0”)"),
            "\(short.err)")
        #expect(
            short.err.contains("“twist”") && short.err.contains("--verbose") && !short.err.contains("node27"))
        let long = try place.run("layers", "--model", "many.onnx", "--verbose")
        #expect(long.code == 5 && long.complaints.count == 1)
        #expect((0..<28).allSatisfy { long.err.contains("“node\($0)”") } && !long.err.contains("--verbose"))
    }

    /// What `layers` prints, `run` takes: names of nodes and of values.
    @Test func namesOfNodesAndValues() throws {
        let place = try Place()
        let table = try place.run("layers", "--model", "small.onnx")
        #expect(
            table.code == 0 && table.out.contains("value") && table.out.contains("relu1")
                && table.out.contains("r1"))
        try NPYArray(shape: [1, 3, 32, 32], values: (0..<3072).map { Float($0 % 97) / 97 }).write(
            to: place.path + "/x.npy", overwrite: true)
        let run = ["run", "--model", "small.onnx", "--input", "x.npy", "--device", "cpu", "--gradient", "1"]
        #expect(try place.run(run + ["--output", "a", "--outputs", "r1,relu2", "--wrt", "relu1"]).code == 0)
        #expect(place.list("a") == ["gradient.npy", "r1.npy", "relu2.npy"])
        #expect(try place.run(run + ["--output", "b", "--outputs", "relu1,r2", "--wrt", "r1"]).code == 0)
        for (one, other) in [
            ("a/r1.npy", "b/relu1.npy"), ("a/relu2.npy", "b/r2.npy"), ("a/gradient.npy", "b/gradient.npy"),
        ] {
            #expect(try place.array(one) == place.array(other))
        }
        #expect(
            try place.run(run + ["--output", "c", "--outputs", "ALL"]).code == 0 && place.list("c").count == 8
        )
        let wrong = try place.run(run + ["--output", "d", "--outputs", "relu3"])
        #expect(wrong.code == 6 && wrong.err.contains("“relu1”"), "\(wrong.err)")
    }
}
