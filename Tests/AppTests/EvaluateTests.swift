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
            [
                "evaluate", "photos", "--recursive", "-o", "out", "--sanity", "2", "--cost", "--methods",
                "smoothgrad", "--set", "smoothgrad.samples=5", "--report", "page.html",
            ] + Self.options)
        #expect(outcome.code == 0, "\(outcome.err)")
        #expect(outcome.out.contains("Weights made random") && outcome.out.contains("Cost of a picture"))
        let data = try Data(contentsOf: URL(fileURLWithPath: "\(place.path)/out/evaluation.json"))
        let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        let cost = try #require(document["cost"] as? [String: [String: Int]])
        #expect(
            cost["gradcam"] == ["forward": 1, "backward": 1] && cost["fem"] == ["forward": 1, "backward": 0])
        // What only fills a batch up is no passed picture: of five copies at four at a time, five.
        #expect(cost["smoothgrad"] == ["forward": 6, "backward": 5])
        #expect((document["sanity"] as? [String: Any])?["levels"] is [String])
        // The report has the tables that are printed, and the passes of these settings.
        let report = try ReportTests.block(
            try String(contentsOfFile: place.path + "/page.html", encoding: .utf8), "report")
        let tables = try #require(report["tables"] as? [[String: Any]])
        #expect(tables.count == 3 && tables.allSatisfy { ($0["rows"] as? [[String]])?.count == 3 })
        #expect((tables[2]["rows"] as? [[String]])?[0].first == "smoothgrad")
        // Of each method a line for each order of layers.
        let lines = tables.map { ($0["lines"] as? [[Any]])?.count }
        #expect(lines == [3, 3, 0])
        let methods = try #require(report["methods"] as? [String: [String: Any]])
        #expect((methods["smoothgrad"]?["passes"] as? String)?.hasPrefix("5 forward, 5 back") == true)
        let means = try #require(report["metrics"] as? [[String: Any]])
        #expect(means.count == 9 && means.allSatisfy { $0["pictures"] as? Int == 2 && $0["low"] is Double })
        #expect((report["details"] as? String)?.contains("\"deletion\": {\"steps\": 4") == true)
    }

    /// What an earlier run measured is not lost: neither pictures that are not named any more, nor what was asked for beside them.
    @Test func goingOnLosesNothing() throws {
        let (place, pictures) = try RunTests.place(3)
        let run = ["evaluate", "-o", "out"] + Self.options
        #expect(try place.run(run + pictures[..<2] + ["--sanity", "1", "--cost"]).code == 0)
        let before = try RunTests.content(place, "out")
        let fewer = try place.run(run + pictures[..<1] + ["--resume"])
        #expect(fewer.code == 10 && fewer.err.contains("1 picture that is not named now"), "\(fewer.err)")
        let after = try RunTests.content(place, "out").filter { $0.key != "evaluation.journal" }
        #expect(after == before)
        let same = try place.run(run + pictures[..<2] + ["--resume"])
        #expect(same.code == 0 && same.out.contains("2 of them before"), "\(same.err)")
        #expect(try RunTests.content(place, "out") == before)
        let more = try place.run(run + pictures + ["--resume"])
        #expect(more.code == 0, "\(more.err)")
        let data = try Data(contentsOf: URL(fileURLWithPath: "\(place.path)/out/evaluation.json"))
        let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        #expect(document["sanity"] is [String: Any] && document["cost"] is [String: Any])
        #expect((document["summary"] as? [String: Any])?["pictures"] as? Int == 3)
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
        #expect(nothing.code == 3 && !place.list("").contains("nothing"))
        // What is no option here is said to be none, though no help lists it.
        #expect(try message(["--shard", "1/2"]).1.contains("cannot be joined"))
        #expect(try message(["--each-layer"]).1.contains("one layer at a time"))
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

    /// Maps of several layers are no maps of one method: each counts as it does alone.
    @Test func summarisesEachLayerForItself() throws {
        let (place, pictures) = try RunTests.place(12)
        try place.write(
            "classes.csv", Array(pictures.enumerated().map { "\($1),\($0 % 2)\n" }.joined().utf8))
        let run =
            ["explain"] + pictures + [
                "--model", "small.onnx", "--device", "cpu", "--targets", "classes.csv", "--write", "map",
            ]
        #expect(try place.run(run + ["--layer", "relu1,relu2", "--each-layer", "-o", "both"]).code == 0)
        #expect(try place.run(run + ["--layer", "relu1", "-o", "one"]).code == 0)
        func classes(_ folder: String) throws -> [[String: Any]] {
            let outcome = try place.run("summarise", folder, "--json")
            return try #require(try outcome.json()["classes"] as? [[String: Any]])
        }
        let (both, one) = (try classes("both"), try classes("one"))
        #expect(both.count == 4 && one.count == 2)
        #expect(Set(both.compactMap { $0["method"] as? String }) == ["gradcam at relu1", "gradcam at relu2"])
        for alone in one {
            let other = both.first {
                $0["method"] as? String == "gradcam at relu1" && $0["class"] as? Int == alone["class"] as? Int
            }
            #expect(other?["distance"] as? Double == alone["distance"] as? Double)
            #expect(other?["pictures"] as? Int == 6)
        }
    }

    @Test func listsMetrics() throws {
        let place = try Place()
        let all = try place.run("metrics")
        #expect(all.code == 0 && all.out.contains("max-sensitivity") && all.out.contains("Localisation"))
        let one = try place.run("metrics", "deletion")
        #expect(one.code == 0 && one.out.contains("deletion.steps=224"))
        let two = try place.run("metrics", "deletion", "road")
        #expect(two.code == 0 && two.out.contains("deletion.steps=224") && two.out.contains("road.noise"))
        let data = Data(try place.run("metrics", "road", "energy", "--json").out.utf8)
        let records = try #require(try JSONSerialization.jsonObject(with: data) as? [[String: Any]])
        #expect(records.map { $0["name"] as? String } == ["road", "energy"])
        #expect(records.map { $0["needsObject"] as? Bool } == [false, true])
        #expect(try place.run("metrics", "deletoin").err.contains("Did you mean"))
    }
}
