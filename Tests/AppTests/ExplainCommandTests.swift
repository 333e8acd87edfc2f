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
        #expect(sheets == ["one-2.compare.png", "one.compare.png", "three.compare.png", "two.compare.png"])
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
}
