// `app evaluate` and `app metrics`: files, going on where a run was ended, and what they refuse.

import Foundation
import TestSupport
import Testing

@Suite struct EvaluateTests {
    static let options = [
        "--model", "small.onnx", "--device", "cpu", "--methods", "gradcam,fem", "--metrics",
        "deletion,sparseness,increase", "--set-metric", "deletion.steps=4",
    ]

    @Test func measuresAndWrites() throws {
        let (place, _) = try RunTests.place(5)
        let outcome = try place.run(["evaluate", "photos", "--recursive", "-o", "out"] + Self.options)
        #expect(outcome.code == 0, "\(outcome.err)")
        #expect(outcome.out.contains("Faithfulness") && outcome.out.contains("deletion ↓"))
        #expect(place.list("out") == ["evaluation.json", "measurements.csv", "pictures.jsonl"])
        let data = try Data(contentsOf: URL(fileURLWithPath: "\(place.path)/out/evaluation.json"))
        let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        let summary = try #require(document["summary"] as? [String: Any])
        #expect(summary["pictures"] as? Int == 5)
        // The mean of the table is that of the lines.
        let lines = try String(contentsOfFile: "\(place.path)/out/measurements.csv", encoding: .utf8)
            .split(separator: "\n").dropFirst().map {
                $0.split(separator: ",", omittingEmptySubsequences: false)
            }
        #expect(lines.count == 5 * 2 * 3)
        let own = lines.filter { $0[1] == "fem" && $0[3] == "sparseness" }.compactMap { Double($0[4]) }
        let metrics = try #require(summary["metrics"] as? [String: Any])
        let sparseness = try #require(metrics["sparseness"] as? [String: Any])
        let methods = try #require(sparseness["methods"] as? [String: [String: Any]])
        let mean = try #require(methods["fem"]?["mean"] as? Double)
        #expect(abs(mean - own.reduce(0, +) / 5) < 1e-12)
        // A second time nothing is overwritten, and --force does.
        let again = try place.run(["evaluate", "photos", "--recursive", "-o", "out"] + Self.options)
        #expect(again.code == 10 && again.err.contains("--resume"))
        #expect(
            try place.run(["evaluate", "photos", "--recursive", "-o", "out", "--force"] + Self.options).code
                == 0)
    }

    /// Ended at random moments and gone on with, it comes to the bytes of the undisturbed run; a torn or damaged line is measured again.
    @Test func goesOnWhereItWasEnded() throws {
        let (place, _) = try RunTests.place(9)
        let run = ["evaluate", "photos", "--recursive"] + Self.options
        #expect(try place.run(run + ["-o", "whole"]).code == 0)
        var random = SeededRandom("ended evaluations")
        for round in 0..<6 {
            let folder = "part\(round)"
            let command = (["\"$APP\""] + (run + ["-o", folder]).map { "'\($0)'" }).joined(separator: " ")
            _ = try place.shell(
                "APP='\(Place.program!)'; timeout -s KILL \(Double(random.index(below: 60)) / 100 + 0.02) \(command); true"
            )
            let journal = "\(place.path)/\(folder)/evaluation.journal"
            if round % 2 == 0, var bytes = try? Data(contentsOf: URL(fileURLWithPath: journal)),
                bytes.count > 40
            {
                let lines = bytes.firstIndex(of: 10) ?? 0
                if bytes.count > lines + 30 { bytes.removeLast(17) }
                try bytes.write(to: URL(fileURLWithPath: journal))
            }
            let resumed = try place.run(run + ["-o", folder, "--resume"])
            #expect(resumed.code == 0, "\(resumed.err)")
            try RunTests.expectSame(place, "whole", folder)
        }
        // A finished one is kept, and another question is another run.
        let finished = try place.run(run + ["-o", "whole", "--resume"])
        #expect(finished.code == 0 && finished.out.contains("9 of them before"), "\(finished.err)")
        let other = try place.run(run + ["-o", "whole", "--resume", "--set-metric", "deletion.score=logit"])
        #expect(other.code == 10 && other.err.contains("another evaluation"), "\(other.err)")
    }

    @Test func sanityAndCost() throws {
        let (place, _) = try RunTests.place(2)
        let outcome = try place.run(
            ["evaluate", "photos", "--recursive", "-o", "out", "--sanity", "2", "--cost"] + Self.options)
        #expect(outcome.code == 0, "\(outcome.err)")
        #expect(outcome.out.contains("Weights made random") && outcome.out.contains("Cost of a picture"))
        let data = try Data(contentsOf: URL(fileURLWithPath: "\(place.path)/out/evaluation.json"))
        let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        let cost = try #require(document["cost"] as? [String: [String: Int]])
        #expect(
            cost["gradcam"] == ["forward": 1, "backward": 1] && cost["fem"] == ["forward": 1, "backward": 0])
        #expect((document["sanity"] as? [String: Any])?["levels"] is [String])
    }

    @Test func whatIsRefused() throws {
        let (place, _) = try RunTests.place(2)
        func message(_ arguments: [String]) throws -> (Int32, String) {
            let outcome = try place.run(
                ["evaluate", "photos", "--recursive", "--model", "small.onnx", "--device", "cpu"] + arguments)
            return (outcome.code, outcome.err)
        }
        #expect(try message(["--metrics", "delete"]).1.contains("There is no metric “delete”"))
        #expect(try message(["--metrics", "energy"]).1.contains("--masks FOLDER"))
        #expect(try message(["--masks", "nowhere"]).1.contains("no folder of masks"))
        #expect(try message(["--boxes", "nowhere.json"]).1.contains("not there"))
        #expect(try message(["--masks", "photos", "--boxes", "photos"]).0 == 64)
        #expect(try message(["--set-metric", "deletion"]).1.contains("METRIC.SETTING=VALUE"))
        #expect(try message(["--set-metric", "deletion.steps=0"]).1.contains("from 1 to"))
        #expect(try message(["--sanity", "0"]).0 == 64)
        #expect(try message(["--negative"]).1.contains("--negative"))
        // No mask has a picture's name: said of each map, and not guessed.
        try FileManager.default.createDirectory(
            atPath: place.path + "/none", withIntermediateDirectories: false)
        let none = try place.run(
            [
                "evaluate", "photos", "--recursive", "-o", "out", "--masks", "none", "--model",
                "small.onnx", "--device", "cpu", "--metrics", "energy",
            ])
        #expect(none.code == 0 && none.out.contains("no number (the folder of masks has none"), "\(none.out)")
        // A mask that could be that of two pictures is that of neither: the second says so.
        try place.picture("none/0.png", seed: 0)
        let two = try place.run([
            "evaluate", "photos", "--recursive", "-o", "two", "--masks", "none", "--model", "small.onnx",
            "--device",
            "cpu", "--metrics", "energy",
        ])
        #expect(two.code == 2 && two.err.contains("was taken for photos/cat/0.png already"), "\(two.err)")
        // Another mask is another evaluation.
        try place.picture("none/1.png", seed: 1)
        let other = try place.run([
            "evaluate", "photos", "--recursive", "-o", "two", "--masks", "none", "--model", "small.onnx",
            "--device",
            "cpu", "--metrics", "energy", "--resume",
        ])
        #expect(other.code == 10 && other.err.contains("another evaluation"), "\(other.err)")
        // Of nothing there are no results.
        try place.write("bad.png", [1])
        let nothing = try place.run(["evaluate", "bad.png", "-o", "nothing"] + Self.options)
        #expect(nothing.code == 3 && place.list("nothing").isEmpty)
    }

    /// A class that is asked of a picture is part of what was measured.
    @Test func otherClassesAreMeasuredAgain() throws {
        let (place, pictures) = try RunTests.place(2)
        for (folder, index) in [("one", 1), ("two", 2)] {
            try place.write("\(folder).csv", Array(pictures.map { "\($0),\(index)\n" }.joined().utf8))
            #expect(
                try place.run(
                    ["evaluate"] + pictures + ["--targets", "\(folder).csv", "-o", folder] + Self.options
                ).code == 0)
        }
        let resumed = try place.run(
            ["evaluate"] + pictures + ["--targets", "two.csv", "-o", "one", "--resume"] + Self.options)
        #expect(resumed.code == 0 && !resumed.out.contains("of them before"), "\(resumed.out)")
        try RunTests.expectSame(place, "one", "two")
    }

    /// Maps that were packed are summarised as those in files of their own; of shards each its own blocks.
    @Test func summarisesPackedMaps() throws {
        let (place, _) = try RunTests.place(18)
        let run = [
            "explain", "photos", "--recursive", "--model", "small.onnx", "--device", "cpu", "--class", "1",
        ]
        #expect(try place.run(run + ["--write", "map", "-o", "files"]).code == 0)
        #expect(try place.run(run + ["--pack", "--pack-size", "5", "-o", "packed"]).code == 0)
        for shard in 1...2 {
            #expect(
                try place.run(
                    run + ["--pack", "--pack-size", "5", "--shard", "\(shard)/2", "-o", "shard\(shard)"]
                ).code == 0)
        }
        let files = try place.run("summarise", "files", "--json")
        #expect(files.code == 0, "\(files.err)")
        #expect(try place.run("summarise", "packed", "--json").out == files.out)
        let both = try place.run("summarise", "shard1", "shard2", "--json", "-o", "both").json()
        #expect(both["pictures"] as? Int == 18)
        let again = try place.run("summarise", "files")
        #expect(again.code == 10 && again.err.contains("--force"))
        #expect(try place.run("summarise", "photos").err.contains("neither results.json"))
    }

    @Test func listsMetrics() throws {
        let place = try Place()
        let all = try place.run("metrics")
        #expect(all.code == 0 && all.out.contains("max-sensitivity") && all.out.contains("Localisation"))
        let one = try place.run("metrics", "deletion")
        #expect(one.code == 0 && one.out.contains("deletion.steps=224"))
        #expect(try place.run("metrics", "deletoin").err.contains("Did you mean"))
    }
}
