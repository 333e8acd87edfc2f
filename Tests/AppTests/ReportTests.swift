// `--report` and `app compare`: what the page holds, and when it is refused.

import Foundation
import Imaging
import Testing

@Suite struct ReportTests {
    /// The JSON of a block of a page.
    static func block(_ page: String, _ id: String) throws -> [String: Any] {
        let parts = page.components(separatedBy: "<script type=\"application/json\" id=\"\(id)\">")
        let text = try #require(parts.dropFirst().first).components(separatedBy: "</script>")[0]
        return try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    /// The bytes of a text in base 64.
    private func bytes(_ value: Any?) throws -> [UInt8] {
        let text = try #require(value as? String)
        return Array(try #require(Data(base64Encoded: text)))
    }

    private func page(_ place: Place, _ name: String) throws -> String {
        try String(contentsOfFile: place.path + "/" + name, encoding: .utf8)
    }

    @Test func holdsPicturesMapsAndHowItWasMade() throws {
        let place = try Place()
        try place.write("bad.png", Array("no picture".utf8))
        let outcome = try place.run(
            "explain", "one.png", "bad.png", "two.png", "--model", "small.onnx", "--method",
            "gradcam,saliency",
            "--class", "top2", "--device", "cpu", "--output", "out", "--report", "it's.html")
        #expect(outcome.code == 2 && outcome.out.contains("see it's.html"), "\(outcome.err)")
        let page = try page(place, "it's.html")
        let report = try Self.block(page, "report")
        let command = try #require(report["command"] as? String)
        #expect(
            command.hasPrefix("app explain one.png bad.png") && command.hasSuffix("--report 'it'\\''s.html'"))
        let details = try #require(report["details"] as? String)
        #expect(details.contains("\"numerics\"") && details.contains("\"seed\": 0"))
        let listed = try #require(report["pictures"] as? [[String: Any]])
        #expect(listed.map { $0["name"] as? String } == ["one.png", "bad.png", "two.png"])
        #expect((listed[1]["error"] as? String)?.contains("bad.png") == true)
        #expect(Set(try #require(report["methods"] as? [String: Any]).keys) == ["gradcam", "saliency"])

        let picture = try Self.block(page, "picture-2")
        #expect(picture["name"] as? String == "two.png" && picture["width"] as? Int == 48)
        let panels = try #require(picture["panels"] as? [[String: Any]])
        #expect(panels.map { $0["method"] as? String } == ["gradcam", "gradcam", "saliency", "saliency"])
        // The numbers are those of the arrays.
        let first = panels[0]
        let shown = try #require(first["class"] as? Int)
        let map = try place.array("out/two.gradcam.\(shown).map.npy")
        let values = try bytes(first["values"])
        #expect(first["bits"] as? Int == 16 && values.count == 2 * map.values.count)
        let (low, high) = (
            try #require(first["low"] as? Double), try #require(first["high"] as? Double)
        )
        for (i, value) in map.values.enumerated() {
            let level = Double(Int(values[2 * i]) | Int(values[2 * i + 1]) << 8)
            #expect(abs(low + level / 65534 * (high - low) - Double(value)) <= (high - low) / 65534)
        }
        let photo = try RGBImage(decoding: bytes(picture["photo"]), name: "photo")
        #expect((photo.width, photo.height) == (48, 40))
    }

    /// The command and the settings are those of the run: also of what was not typed.
    @Test func saysAllThatWasChosen() throws {
        let place = try Place()
        let outcome = try place.run(
            [
                "explain", "one.png", "--method", "gradcam,rise", "--set", "rise.samples=8", "--class",
                "top2",
                "--against", "top1", "--write", "map,mask", "--device", "cpu", "--output", "out", "--report",
                "page.html",
            ], environment: ["WHITEBOX_MODEL": "small.onnx"])
        #expect(outcome.code == 0, "\(outcome.err)")
        // One of two classes is that which the other is compared with, and is not left out in silence.
        #expect(outcome.out.contains("Note: class") && outcome.out.contains("is not explained"))
        let page = try page(place, "page.html")
        let report = try Self.block(page, "report")
        #expect((report["command"] as? String)?.hasPrefix("WHITEBOX_MODEL=small.onnx app explain") == true)
        #expect((report["details"] as? String)?.contains("\"write\": [\"map\", \"mask\"]") == true)
        let methods = try #require(report["methods"] as? [String: [String: Any]])
        #expect(methods["rise"]?["passes"] as? String == "8 forward (samples)")
        let picture = try Self.block(page, "picture-0")
        #expect((picture["note"] as? String)?.contains("--against") == true)
        let seconds = try #require(picture["seconds"] as? [String: Double])
        #expect(seconds.values.allSatisfy { $0 >= 0 })
    }

    /// Noise, of which a JPEG file is as large as it gets.
    @Test func photographsAreBounded() throws {
        let place = try Place()
        var state: UInt64 = 1
        let pixels = (0..<2000 * 900 * 3).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(state >> 56)
        }
        try RGBImage(width: 2000, height: 900, pixels: pixels).writePNG(
            to: place.path + "/noise.png", overwrite: false, fast: true)
        let outcome = try place.run(
            "explain", "noise.png", "--model", "small.onnx", "--device", "cpu", "--report", "r.html")
        #expect(outcome.code == 0, "\(outcome.err)")
        let picture = try Self.block(try page(place, "r.html"), "picture-0")
        #expect(picture["width"] as? Int == 2000)
        let file = try bytes(picture["photo"])
        let photo = try RGBImage(decoding: file, name: "photo")
        #expect((photo.width, photo.height) == (1024, 461) && file.count < 300_000)
    }

    @Test func isNotReplacedUnlessAsked() throws {
        let place = try Place()
        try place.write("r.html", Array("mine".utf8))
        let arguments = ["one.png", "--model", "small.onnx", "--device", "cpu", "--report", "r.html"]
        let refused = try place.run(arguments)
        #expect(refused.code == 10 && refused.err.contains("'r.html' is there already"))
        #expect(try page(place, "r.html") == "mine")
        // What is no page is never replaced.
        let forced = try place.run(arguments + ["--force"])
        #expect(forced.code == 10 && forced.err.contains("is no page of HTML"))
        #expect(try page(place, "r.html") == "mine")
        try place.write("r.html", Array("<!DOCTYPE html>mine".utf8))
        #expect(try place.run(arguments + ["--force"]).code == 0)
        #expect(try page(place, "r.html").hasPrefix("<!doctype html>"))
        #expect(try place.run(["one.png", "--model", "small.onnx", "--report", "none/r.html"]).code == 10)
        let resumed = try place.run(arguments + ["--output", "out", "--resume"])
        #expect(resumed.code == 64 && resumed.err.contains("--report"))
    }

    @Test func comparesManyMethods() throws {
        let place = try Place()
        let outcome = try place.run(
            "compare", "one.png", "--model", "small.onnx", "--methods", "white", "--device", "cpu",
            "--output", "out")
        #expect(outcome.code == 0, "\(outcome.err)")
        let report = try Self.block(try page(place, "report.html"), "report")
        let methods = try #require(report["methods"] as? [String: [String: Any]])
        #expect(methods.count > 20 && methods.values.allSatisfy { $0["black"] as? Bool == false })
        // What the network has nothing for is left out, and the page says so.
        #expect((report["leftOut"] as? [[String]])?.contains { $0[0] == "rollout" } == true)
        #expect(place.list("out").allSatisfy { $0.hasSuffix(".npy") || $0 == "results.json" })
        // Who asked for all is told what takes long, with this network's numbers.
        #expect(outcome.err.contains("scorecam: 1 forward, and 1 for each of 16 channels"), "\(outcome.err)")
        // A second time both lie beside the first.
        let again = try place.run(
            "compare", "one.png", "--model", "small.onnx", "--methods", "gradcam,fem", "--device", "cpu")
        #expect(again.code == 0 && again.err.contains("so the page is report-2.html"), "\(again.err)")
        #expect(again.out.contains("see report-2.html"))
        let first = try self.page(place, "report.html")
        #expect(try Self.block(first, "report")["methods"] as? [String: Any] != nil)
        #expect(
            try place.run("compare", "one.png", "--model", "small.onnx", "-o", "out", "--resume").code == 64)

        let asked = try place.run(
            "compare", "one.png", "--model", "small.onnx", "--methods", "black", "--device", "cpu",
            "--output", "black", "--report", "black.html", "--write", "sheet")
        #expect(asked.code == 0, "\(asked.err)")
        let black = try Self.block(try page(place, "black.html"), "report")
        #expect(
            Set((black["methods"] as? [String: Any] ?? [:]).keys) == [
                "occlusion", "rise", "lime", "kernel-shap",
            ])
        #expect(place.list("black") == ["one.compare.png", "results.json"])
    }
}
