// Runs over many pictures: where they come from, what is written of them, and going on where a run was ended.

import Foundation
import Imaging
import TestSupport
import Testing

@Suite struct RunTests {
    static let options = ["--model", "small.onnx", "--device", "cpu"]

    /// Pictures in folders, some with names that others have too.
    static func place(_ count: Int) throws -> (place: Place, pictures: [String]) {
        let place = try Place()
        var names: [String] = []
        for i in 0..<count {
            let folder = ["cat", "dog", "dog/old"][i % 3]
            try FileManager.default.createDirectory(
                atPath: "\(place.path)/photos/\(folder)", withIntermediateDirectories: true)
            names.append("photos/\(folder)/\(i / 3).png")
            try place.picture(names[i], seed: i)
        }
        return (place, names)
    }

    /// All files below a folder with their content.
    static func content(_ place: Place, _ folder: String) throws -> [String: Data] {
        var found: [String: Data] = [:]
        let root = "\(place.path)/\(folder)"
        for case let name as String in FileManager.default.enumerator(atPath: root) ?? .init() {
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: "\(root)/\(name)", isDirectory: &isFolder),
                !isFolder.boolValue
            else { continue }
            found[name] = try Data(contentsOf: URL(fileURLWithPath: "\(root)/\(name)"))
        }
        return found
    }

    static func expectSame(_ place: Place, _ a: String, _ b: String) throws {
        let (a, b) = (try content(place, a), try content(place, b))
        #expect(a.keys.sorted() == b.keys.sorted())
        for (name, data) in a { #expect(b[name] == data, "\(name) differs") }
    }

    static func images(_ place: Place, _ folder: String) throws -> [[String: Any]] {
        let data = try Data(contentsOf: URL(fileURLWithPath: "\(place.path)/\(folder)/results.json"))
        let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        return try #require(document["images"] as? [[String: Any]])
    }

    // MARK: Where pictures come from

    @Test func foldersOfFolders() throws {
        let (place, _) = try Self.place(7)
        try place.write("photos/dog/notes.txt", [1])
        let outcome = try place.run(
            ["photos", "--recursive", "--output", "out", "--write", "overlay"] + Self.options)
        #expect(outcome.code == 0, "\(outcome.err)")
        #expect(
            try Self.images(place, "out").map { $0["image"] as? String }
                == ["cat/0", "cat/1", "cat/2", "dog/0", "dog/1", "dog/old/0", "dog/old/1"].map {
                    "photos/\($0).png"
                })
        let files = try Self.content(place, "out").keys.sorted()
        #expect(files.count == 8 && files.allSatisfy { $0 == "results.json" || $0.hasSuffix(".png") })
        #expect(files.contains { $0.hasPrefix("dog/old/1.gradcam.") })
        // Without it only the folder itself is looked into, and it holds none.
        let flat = try place.run(["photos", "--output", "other"] + Self.options)
        #expect(flat.code == 3 && flat.err.contains("--recursive"), "\(flat.err)")
        // Results that lie in folders among the pictures are no pictures.
        #expect(try place.run(["photos", "--recursive", "--output", "photos/out"] + Self.options).code == 0)
        let again = try place.run(["photos", "--recursive", "--output", "third"] + Self.options)
        #expect(again.code == 0 && again.err.contains("of an earlier run"), "\(again.err)")
        #expect(try Self.images(place, "third").count == 7)
    }

    @Test func listsOfPictures() throws {
        let (place, names) = try Self.place(5)
        let lines = [
            names[0], "", "{\"image\": \"\(names[1])\", \"class\": \"bee\"}", names[2] + "\r",
            "{\"image\": \"\(names[3])\", \"id\": \"../own/name\", \"class\": 2, \"true\": \"dog\"}",
            "missing.png",
        ]
        try place.write("list.txt", Array(lines.joined(separator: "\n").utf8))
        let outcome = try place.run(["--list", "list.txt", "--output", "out"] + Self.options)
        #expect(outcome.code == 2 && outcome.complaints.count == 1 && outcome.err.contains("missing.png"))
        let images = try Self.images(place, "out")
        #expect(
            images.map { $0["stem"] as? String } == [
                "photos/cat/0", "photos/dog/0", "photos/dog/old/0", "own/name", "missing",
            ])
        #expect(images.map { $0["asked"] as? String } == [nil, "bee", nil, "2", nil])
        let explained = images.map { (($0["explanations"] as? [[String: Any]])?.first?["class"]) as? Int }
        #expect(explained[1] == 1 && explained[3] == 2)
        let known = try #require(images[3]["trueClass"] as? [String: Any])
        #expect(known["index"] as? Int == 3 && known["label"] as? String == "dog")
        // The same through a pipe, with the same bytes.
        let piped = try place.shell(
            "cat list.txt | \"$app\" --list - --output piped \(Self.options.joined(separator: " ")) || true")
        #expect(piped.err.contains("missing.png"))
        try Self.expectSame(place, "out", "piped")
    }

    @Test func listsThatMakeNoSense() throws {
        let place = try Place()
        for (text, reason) in [
            ("", "names no picture"), ("{\"image\": 1}", "must be a text"),
            ("{\"picture\": \"one.png\"}", "picture"),
            ("{\"image\": \"one.png\"", "line 1"), ("[{\"image\": \"one.png\"}]", "array of JSON"),
            ("{\"class\": 1}", "names no image"),
        ] {
            try place.write("list.txt", Array(text.utf8))
            let outcome = try place.run(["--list", "list.txt", "--output", "out"] + Self.options)
            #expect(
                outcome.code == 3 && outcome.complaints.count == 1 && outcome.err.contains(reason),
                "\(text): \(outcome.err)")
        }
        let both = try place.run(["one.png", "--list", "list.txt"] + Self.options)
        #expect(both.code == 64 && both.err.contains("--list"), "\(both.err)")
    }

    /// What is read out of archives has the bits of what lies in folders; a run over them is ended and goes on as any other.
    @Test func archives() throws {
        let (place, _) = try Self.place(7)
        try place.write("photos/cat/notes.txt", [1])
        try place.write("photos/dog/broken.png", [1])
        let packing = try place.shell(
            "cd photos; tar cf ../all.tar cat dog; tar czf ../first.tgz cat; tar cf ../second.tar dog; head -c 9000 ../all.tar > ../cut.tar"
        )
        #expect(packing.code == 0, "\(packing.err)")
        #expect(try place.run(["photos", "--recursive", "--output", "folders"] + Self.options).code == 2)
        let whole = try place.run(["all.tar", "--output", "whole"] + Self.options)
        #expect(whole.code == 2 && whole.err.contains("left out 1 file"), "\(whole.err)")
        let (folders, archive) = (try Self.content(place, "folders"), try Self.content(place, "whole"))
        #expect(folders.keys.sorted() == archive.keys.sorted())
        // The sheet has the picture's name, which is the same.
        for (name, data) in folders where name != "results.json" { #expect(archive[name] == data, "\(name)") }
        #expect(try Self.images(place, "whole").contains { $0["image"] as? String == "all.tar/cat/1.png" })
        let several = try place.run(
            ["first.tgz", "second.tar", "--write", "map", "--output", "several"] + Self.options)
        #expect(several.code == 2, "\(several.err)")
        #expect(
            try Self.content(place, "several").keys.contains { $0.hasPrefix("second/dog/old/1.gradcam.") })
        // Cut off, what came before is kept; and the whole archive goes on from there.
        let cut = try place.run(["cut.tar", "--output", "out", "--batch", "1"] + Self.options)
        #expect(cut.code == 3 && cut.err.contains("cut off"), "\(cut.err)")
        try FileManager.default.removeItem(atPath: place.path + "/cut.tar")
        try FileManager.default.copyItem(atPath: place.path + "/all.tar", toPath: place.path + "/cut.tar")
        let on = try place.run(["cut.tar", "--output", "out", "--resume"] + Self.options)
        #expect(on.code == 2 && on.out.contains("before"), "\(on.out)\(on.err)")
        let again = try Self.content(place, "out")
        for (name, data) in archive where name != "results.json" { #expect(again[name] == data, "\(name)") }
        #expect(again.count == archive.count)
        #expect(try place.run(["all.tar", "one.png"] + Self.options).code == 64)
        #expect(try place.run(["missing.tar"] + Self.options).code == 3)
    }

    /// WebDataset's archives say the true class beside each picture, before or behind it.
    @Test func archivesWithClasses() throws {
        let (place, _) = try Self.place(6)
        for (name, text) in [("a.cls", "2"), ("b.cls", " dog\n"), ("d.cls", ""), ("e.cls", "wolf")] {
            try place.write("photos/" + name, Array(text.utf8))
        }
        let packing = try place.shell(
            """
            cd photos; for n in a b c d e; do cp cat/0.png $n.png; echo '{}' > $n.json; done; cp cat/0.png b.left.png
            tar cf ../w.tar a.cls a.png b.left.png b.json b.png b.cls c.json c.png d.png d.cls e.json e.png e.cls
            """)
        #expect(packing.code == 0, "\(packing.err)")
        let outcome = try place.run(["w.tar", "--output", "out", "--write", "map"] + Self.options)
        #expect(outcome.code == 0 && outcome.err.contains("left out 3 files"), "\(outcome.err)")
        let known = try Self.images(place, "out").map { $0["trueClass"] as? [String: Any] }
        #expect(known.map { $0?["given"] as? String } == ["2", nil, "dog", nil, nil, "wolf"])
        #expect(known.map { $0?["index"] as? Int } == [2, nil, 3, nil, nil, nil])
        let again = try place.run(["w.tar", "--output", "out", "--write", "map", "--resume"] + Self.options)
        #expect(again.out.contains("6 of them before"), "\(again.out)\(again.err)")
        // Of a shard, too.
        #expect(try place.run(["w.tar", "--shard", "2/2", "--output", "half"] + Self.options).code == 0)
        #expect(
            try Self.images(place, "half").map { ($0["trueClass"] as? [String: Any])?["given"] as? String }
                == [nil, nil, "wolf"])
    }

    @Test func classesOfTheirOwn() throws {
        let (place, names) = try Self.place(4)
        // The last lies in the folder cat.
        let folders = try place.run(
            ["photos", "--recursive", "--class", "folder", "--output", "out"] + Self.options)
        #expect(folders.code == 2 && folders.err.contains("There is no class “old”"), "\(folders.err)")
        let images = try Self.images(place, "out")
        let explained = images.map { (($0["explanations"] as? [[String: Any]])?.first?["class"]) as? Int }
        #expect(explained == [2, 2, 3, nil])
        #expect((images[0]["trueClass"] as? [String: Any])?["index"] as? Int == 2)

        try place.write(
            "targets.csv",
            Array("picture,class\n\"\(names[0])\",dog\n1.png , 0,bee\n\(names[1]),\"ant\"\n".utf8))
        let table = try place.run(
            ["photos", "--recursive", "--targets", "targets.csv", "--output", "table"] + Self.options)
        #expect(
            table.code == 2 && table.complaints.count == 1 && table.err.contains("does not name it"),
            "\(table.err)")
        let found = try Self.images(place, "table")
        #expect(found.map { $0["asked"] as? String } == ["dog", "0", "ant", nil])
        #expect((found[1]["trueClass"] as? [String: Any])?["label"] as? String == "bee")
        // However a path is spelled.
        try place.write(
            "targets.csv",
            Array(names.map { "./photos//./\($0.dropFirst(7)),0" }.joined(separator: "\n").utf8))
        #expect(
            try place.run(
                ["./photos", "--recursive", "--targets", "targets.csv", "--output", "spelled"] + Self.options
            ).code == 0)
        for text in [
            "[\n{\"image\": \"a.png\", \"class\": 1}\n]", "[{\"image\": \"a.png\", \"class\": 1}]", "[]",
            "a.png", "a.png,\"b", "a.png,1\na.png,2", "", "picture,true,class\na.png,1,2",
            "class,picture\n1,a.png",
        ] {
            try place.write("targets.csv", Array(text.utf8))
            let outcome = try place.run(
                ["photos", "--recursive", "--targets", "targets.csv", "--output", "bad"] + Self.options)
            #expect(outcome.code == 11 && outcome.complaints.count == 1, "\(text): \(outcome.err)")
        }
    }

    // MARK: What is written

    @Test func onlyWhatIsWanted() throws {
        let place = try Place()
        for (what, endings) in [
            ("map", [".map.npy"]), ("heatmap,overlay", [".heatmap.npy", ".png"]), ("sheet", [".compare.png"]),
        ] {
            let outcome = try place.run(
                ["one.png", "--write", what, "--output", what, "--class", "0"] + Self.options)
            #expect(outcome.code == 0, "\(outcome.err)")
            #expect(
                place.list(what)
                    == (endings.map { $0 == ".compare.png" ? "one" + $0 : "one.gradcam.0" + $0 } + [
                        "results.json"
                    ]).sorted())
            let explanation = try #require(
                (try Self.images(place, what)[0]["explanations"] as? [[String: Any]])?.first)
            #expect((explanation["map"] is NSNull) == (what != "map"))
            #expect((explanation["overlay"] is NSNull) == !what.contains("overlay"))
        }
        #expect(try place.run(["one.png", "--write", "maps"] + Self.options).code == 64)
        #expect(try place.run(["one.png", "--write", ","] + Self.options).code == 64)
    }

    @Test func errorsOfTheCommandLineAreLoggedToo() throws {
        let place = try Place()
        for arguments in [
            ["one.png", "--log-json", "--nonsense"], ["one.png", "--log-json", "--batch", "x"],
            ["--log-json", "--class="],
        ] {
            let outcome = try place.run(arguments)
            let line = try? JSONSerialization.jsonObject(with: Data(outcome.err.utf8)) as? [String: Any]
            #expect(outcome.code == 64 && line?["level"] as? String == "error", "\(outcome.err)")
        }
    }

    @Test func tooManyFailures() throws {
        let place = try Place()
        for i in 0..<20 { try place.write("bad\(i).png", [1, 2, 3]) }
        let names = (0..<20).map { "bad\($0).png" }
        let outcome = try place.run(
            ["one.png"] + names + ["--max-failures", "5", "--batch", "2", "--output", "out"] + Self.options)
        #expect(
            outcome.code == 2 && outcome.complaints.last?.contains("--max-failures") == true, "\(outcome.err)"
        )
        #expect(outcome.complaints.count == 7)
        #expect(
            try place.run(["one.png"] + names + ["--max-failures", "20", "--output", "all"] + Self.options)
                .complaints.count == 20)
        let share = try place.run(
            ["one.png"] + names + ["--max-failures", "50%", "--output", "share"] + Self.options)
        #expect(share.code == 2 && share.err.contains("11 of the first"), "\(share.err)")
        #expect(try place.run(["one.png", "--max-failures", "many"] + Self.options).code == 64)
    }

    @Test func runsAreWatched() throws {
        let place = try Place()
        try place.write("bad.png", [1])
        let outcome = try place.run(
            ["one.png", "bad.png", "two.png", "--metrics", "run.prom", "--log-json", "--output", "out"]
                + Self.options)
        #expect(outcome.code == 2)
        let lines = outcome.err.split(separator: "\n").map {
            try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
        }
        #expect(
            !lines.isEmpty
                && lines.allSatisfy {
                    ($0?["message"] as? String) != nil && ($0?["time"] as? String)?.isEmpty == false
                })
        #expect(
            lines.contains {
                $0?["level"] as? String == "error" && ($0?["message"] as? String)?.contains("bad.png") == true
            })
        let metrics = try String(contentsOfFile: place.path + "/run.prom", encoding: .utf8)
        for line in [
            "whitebox_pictures_done_total 3.0", "whitebox_pictures_failed_total 1.0", "whitebox_pictures 3.0",
            "whitebox_pictures_before_total 0.0",
            "# TYPE whitebox_stage_seconds_total counter", "whitebox_waiting_pictures 0.0",
        ] { #expect(metrics.split(separator: "\n").contains(Substring(line)), "\(line)") }
        #expect(
            metrics.contains("whitebox_device_pictures_total{number=\"0\",device=\"cpu (")
                && metrics.contains("} 2.0"))
        #expect(
            try place.run(["one.png", "--metrics", "nowhere/run.prom", "--output", "out2"] + Self.options)
                .code == 10)
    }

    // MARK: Going on

    /// Runs that are killed at any moment and gone on with, until one comes to its end, leave what one leaves that nobody disturbs.
    @Test(arguments: 0..<10) func killedAndGoneOnWith(_ number: Int) throws {
        var random = SeededRandom("killed \(number)")
        let (place, names) = try Self.place(24)
        try place.write("broken.png", [1])
        var list = names + ["broken.png", "missing.png"]
        try place.write("list.txt", Array(list.joined(separator: "\n").utf8))
        let arguments =
            ["--list", "list.txt", "--method", "gradcam,fem", "--batch", "\(1 + number % 4)"] + Self.options
        let start = Date()
        #expect(try place.run(arguments + ["--output", "whole"]).code == 2)
        let seconds = Date().timeIntervalSince(start)
        var done = 0
        for round in 0..<6 {
            let killer = try Process.run(
                URL(fileURLWithPath: "/usr/bin/timeout"),
                arguments: [
                    "-s", "KILL", "\(Double(random.float(0.02, 1)) * seconds)", try #require(Place.program),
                ]
                    + arguments + ["--output", "out", "--resume"],
                in: place.path)
            killer.waitUntilExit()
            let journal =
                (try? String(contentsOfFile: place.path + "/out/journal.jsonl", encoding: .utf8)) ?? ""
            let now = Set(
                journal.split(separator: "\n").filter { $0.hasPrefix("{\"done\"") }.map { $0.prefix(40) }
            ).count
            if place.list("out").contains("journal.jsonl") {
                #expect(now >= done, "what was done is not known any more")
                done = now
            }
            if round == 3, number % 2 == 1 {
                // Another list: what is not in it goes, and what is there is not done again.
                list = Array(list.dropFirst(3).reversed()) + [names[1]]
                try place.write("list.txt", Array(list.joined(separator: "\n").utf8))
            }
            if round >= 3, place.list("out").contains("journal.jsonl") {
                try Self.loseWhatMayBeLost(place, "out", &random)
                done = 0
            }
        }
        let last = try place.run(arguments + ["--output", "out", "--resume"])
        #expect(last.code == 2, "\(last.err)")
        if number % 2 == 1 { #expect(try place.run(arguments + ["--output", "whole", "--force"]).code == 2) }
        try Self.expectSame(place, "whole", "out")
    }

    /// The machine goes down: its next start has another name, files of which the journal does not yet say that they are on the disk are empty or zero,
    /// and the journal is torn, or a byte of it is another.
    static func loseWhatMayBeLost(_ place: Place, _ folder: String, _ random: inout SeededRandom) throws {
        let path = "\(place.path)/\(folder)/journal.jsonl"
        var lines = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))).split(
            separator: UInt8(ascii: "\n"))
        var (offset, synced) = (0, 0)
        var done: [(offset: Int, files: [String])] = []
        for line in lines {
            let value = try? JSONSerialization.jsonObject(with: Data(line)) as? [String: Any]
            if let end = (value?["disk"] as? String).flatMap({ Int($0) }) { synced = end }
            if value?["done"] != nil { done.append((offset, value?["files"] as? [String] ?? [])) }
            offset += line.count + 1
        }
        for (offset, files) in done where offset >= synced {
            for file in files where random.index(below: 3) == 0 {
                let file = "\(place.path)/\(folder)/\(file)"
                guard let size = (try? Data(contentsOf: URL(fileURLWithPath: file)))?.count else { continue }
                try Data(count: random.index(below: 2) * size).write(to: URL(fileURLWithPath: file))
            }
        }
        for i in lines.indices where lines[i].starts(with: Array("{\"start\"".utf8)) {
            // As long as it was: other lines say where lines are.
            let name =
                String("\(random.index(below: 1 << 30))-".reversed()) + String(repeating: "0", count: 36)
            lines[i] = summed("{\"start\":\"\(name.prefix(36))\"")[...]
        }
        var bytes = Array(lines.joined(separator: [UInt8(ascii: "\n")])) + [UInt8(ascii: "\n")]
        // Only what was written last is lost.
        switch random.index(below: 3) {
        case 0: bytes.removeLast(random.index(below: 20))
        case 1:
            let front = max(synced, lines[0].count + 1)
            guard front < bytes.count else { break }
            bytes[front + random.index(below: bytes.count - front)] ^= 1 << UInt8(random.index(below: 8))
        default: break
        }
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    /// A line of a journal with its sum.
    static func summed(_ content: String) -> [UInt8] {
        let digits = String(CRC32.of(Array(content.utf8)[...]), radix: 16)
        return Array(
            (content + ",\"sum\":\"" + String(repeating: "0", count: 8 - digits.count) + digits + "\"}").utf8)
    }

    /// What became empty, short or zero since it was written is done again, of a run that came to its end, too.
    @Test func damagedFilesAreDoneAgain() throws {
        let (place, _) = try Self.place(6)
        let arguments = ["photos", "--recursive", "--output", "out"] + Self.options
        #expect(try place.run(arguments).code == 0)
        let whole = try Self.content(place, "out")
        let files = whole.keys.sorted().filter { $0 != "results.json" }
        for (i, file) in files.enumerated() where i % 4 == 0 {
            let data = try #require(whole[file])
            let damaged = [Data(), Data(count: data.count), data.dropLast(), data + [0]][i / 4 % 4]
            try damaged.write(to: URL(fileURLWithPath: "\(place.path)/out/\(file)"))
        }
        let again = try place.run(arguments + ["--resume"])
        #expect(again.code == 0 && !again.out.contains("of them before"), "\(again.out)\(again.err)")
        #expect(try Self.content(place, "out") == whole)
    }

    /// Where the machine went down, files may be there although the journal's line that they are begun is lost.
    @Test(arguments: ["other start", "torn"]) func lostLinesOfJournals(_ how: String) throws {
        let (place, names) = try Self.place(6)
        try place.write("broken.png", [1])
        let arguments = ["--output", "out", "--batch", "1"] + Self.options
        #expect(
            try place.run(names + ["broken.png", "one.png", "--max-failures", "0"] + arguments).code == 2)
        #expect(try place.run(names + ["one.png", "--output", "whole"] + Self.options).code == 0)
        let path = place.path + "/out/journal.jsonl"
        let lines = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))).split(
            separator: UInt8(ascii: "\n"))
        let begins = try #require(lines.indices.first { lines[$0].starts(with: Array("{\"begins\"".utf8)) })
        var left = Array(lines[..<begins].joined(separator: [UInt8(ascii: "\n")])) + [UInt8(ascii: "\n")]
        if how == "torn" {
            left += lines[begins].dropLast(3)
        } else {
            left += Self.summed("{\"start\":\"\(String(repeating: "0", count: 36))\"") + [UInt8(ascii: "\n")]
        }
        try Data(left).write(to: URL(fileURLWithPath: path))
        let again = try place.run(names + ["one.png", "--resume"] + arguments)
        #expect(again.code == 0, "\(again.err)")
        try Self.expectSame(place, "whole", "out")
    }

    /// A line of a journal that is another than was written counts as not said, and what is after it counts.
    @Test func damagedLinesOfJournals() throws {
        let (place, names) = try Self.place(8)
        try place.write("broken.png", [1])
        let arguments = ["--output", "out", "--batch", "1"] + Self.options
        #expect(
            try place.run(names + ["broken.png", "one.png", "--max-failures", "0"] + arguments).code == 2)
        #expect(try place.run(names + ["one.png", "--output", "whole"] + Self.options).code == 0)
        let path = place.path + "/out/journal.jsonl"
        var lines = try String(contentsOfFile: path, encoding: .utf8).components(separatedBy: "\n")
        let third = try #require(
            lines.indices.filter { lines[$0].hasPrefix("{\"done\"") }.dropFirst(2).first)
        #expect(lines.contains { $0.hasPrefix("{\"disk\"") })
        lines[third] = lines[third].replacingOccurrences(of: "\"bytes\":", with: "\"bytes\":1")
        try lines.joined(separator: "\n").write(toFile: path, atomically: false, encoding: .utf8)
        let on = try place.run(names + ["one.png", "--resume"] + arguments)
        #expect(on.code == 0 && on.out.contains("7 of them before"), "\(on.out)\(on.err)")
        try Self.expectSame(place, "whole", "out")
    }

    /// After a power cut that counts which was said to be on the disk, and nothing else.
    @Test(arguments: [[], ["--pack", "--pack-size", "2"]]) func powerCuts(_ how: [String]) throws {
        let (place, names) = try Self.place(10)
        try place.write("broken.png", [1])
        func run(_ names: [String], _ more: String...) throws -> Outcome {
            try place.write("list.txt", Array(names.joined(separator: "\n").utf8))
            return try place.run(["--list", "list.txt", "--batch", "1"] + how + more + Self.options)
        }
        #expect(try run(names, "--output", "whole").code == 0)
        let stop = ["--max-failures", "0"]
        #expect(
            try run(Array(names[..<4]) + ["broken.png", "one.png"], "--output", "out", stop[0], stop[1]).code
                == 2)
        #expect(
            try run(
                Array(names[..<8]) + ["broken.png", "one.png"], "--output", "out", "--resume", stop[0],
                stop[1]
            ).code
                == 2)
        let path = place.path + "/out/journal.jsonl"
        var lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map(String.init)
        let marks = lines.indices.filter { lines[$0].hasPrefix("{\"disk\"") }
        try #require(marks.count == 2 && lines.filter { $0.hasPrefix("{\"start\"") }.count == 1)
        for line in lines[marks[0]...] where line.hasPrefix("{\"done\"") {
            let value = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            for file in value?["files"] as? [String] ?? [] { try place.write("out/" + file, []) }
        }
        lines.remove(at: marks[1])
        let start = try #require(lines.firstIndex { $0.hasPrefix("{\"start\"") })
        // Of the same start of the machine all counts whose files are whole.
        lines[start] = String(
            decoding: Self.summed("{\"start\":\"\(String(repeating: "0", count: 36))\""), as: UTF8.self)
        try (lines.joined(separator: "\n") + "\n").write(toFile: path, atomically: false, encoding: .utf8)
        let on = try run(names, "--output", "out", "--resume")
        #expect(on.code == 0 && on.out.contains("4 of them before"), "\(on.out)\(on.err)")
        try Self.expectSame(place, "whole", "out")
    }

    /// A run that has nothing to add leaves what there is.
    @Test(arguments: [[], ["--pack", "--pack-size", "2"]]) func nothingSucceeds(_ how: [String]) throws {
        let (place, names) = try Self.place(5)
        let arguments = ["--output", "out"] + how + Self.options
        #expect(try place.run(names + arguments).code == 0)
        let whole = try Self.content(place, "out")
        for missing in [["missing.png"], ["missing.png", "nor this.png", "--max-failures", "0"]] {
            let none = try place.run(missing + ["--resume", "--json"] + arguments)
            #expect([2, 3].contains(none.code), "\(none.err)")
            #expect(try Self.content(place, "out") == whole)
            let images = try none.json()["images"] as? [[String: Any]]
            #expect(images?.first?["error"] is String || !how.isEmpty)
        }
        // Nor is that forgotten which an ended run has done.
        try place.write("photos/broken.png", [1])
        let ended = try place.run(
            names + ["photos/broken.png", "--force", "--max-failures", "0", "--batch", "1"] + arguments)
        #expect(ended.code == 2)
        #expect(try place.run(["missing.png", "--resume"] + arguments).code == 3)
        let on = try place.run(names + ["--resume"] + arguments)
        #expect(on.code == 0 && on.out.contains("5 of them before"), "\(on.out)\(on.err)")
        #expect(try Self.content(place, "out") == whole)
    }

    /// What is explained stays as it is, wherever it lies.
    @Test(arguments: ["list.txt", "-"]) func inputsStay(_ list: String) throws {
        let (place, names) = try Self.place(4)
        try place.write("list.txt", Array(names.joined(separator: "\n").utf8))
        #expect(try place.run(["--list", "list.txt", "--output", "out"] + Self.options).code == 0)
        let whole = try Self.content(place, "out")
        let own = try #require(whole.keys.sorted().first { $0.hasSuffix(".compare.png") })
        let other = try #require(whole.keys.sorted().last { $0.hasSuffix(".png") })
        // The first result has the name of the last picture.
        try place.write(
            "list.txt", Array((names + ["out/\(own)", "./out/\(other)"]).joined(separator: "\n").utf8))
        for how in ["--resume", "--force"] {
            let outcome = try place.shell(
                "\"$app\" --list \(list) --output out \(how) \(Self.options.joined(separator: " ")) < list.txt || test $? = 2"
            )
            #expect(outcome.code == 0, "\(outcome.err)")
            let now = try Self.content(place, "out")
            #expect(now[own] == whole[own] && now[other] == whole[other], "\(how): \(outcome.err)")
        }
        // Found among results by their folder, too.
        let again = try place.run(["out/\(own)", "--output", "out", "--resume"] + Self.options)
        #expect(again.code == 0, "\(again.err)")
        #expect(try Self.content(place, "out")[own] == whole[own])
    }

    /// Folders that were links when nobody looked.
    @Test func linksAreNotFollowed() throws {
        let (place, names) = try Self.place(5)
        try place.write("list.txt", Array(names.joined(separator: "\n").utf8))
        func run(_ more: String...) throws -> Outcome {
            try place.run(["--list", "list.txt", "--output", "out"] + more + Self.options)
        }
        let files = FileManager.default
        for folder in ["out", "elsewhere", "out/photos"] {
            try files.createDirectory(atPath: "\(place.path)/\(folder)", withIntermediateDirectories: true)
        }
        let link = place.path + "/out/photos/cat"
        try files.createSymbolicLink(atPath: link, withDestinationPath: place.path + "/elsewhere")
        for more in [[], ["--force"], ["--resume"]] {
            let outcome = try place.run(
                ["--list", "list.txt", "--output", "out"] + more + Self.options)
            #expect(
                outcome.code == 10 && outcome.complaints.last?.contains("is a symbolic link") == true,
                "\(more): \(outcome.err)")
            #expect(place.list("elsewhere").isEmpty)
        }
        try files.removeItem(atPath: link)
        #expect(try run("--resume").code == 0)
        // What lies behind a link is not ours to remove.
        try files.removeItem(atPath: place.path + "/elsewhere")
        try files.moveItem(atPath: link, toPath: place.path + "/elsewhere")
        try files.createSymbolicLink(atPath: link, withDestinationPath: place.path + "/elsewhere")
        let there = place.list("elsewhere")
        #expect(!there.isEmpty)
        try place.write("list.txt", Array(names[1].utf8))
        #expect(try run("--resume").code == 0)
        #expect(place.list("elsewhere") == there)
        #expect(try run("--force").code == 0)
        #expect(place.list("elsewhere") == there)
    }

    /// Folders that a run leaves empty are removed.
    @Test func noEmptyFoldersStay() throws {
        let (place, names) = try Self.place(6)
        func run(_ names: [String], _ more: String...) throws -> Outcome {
            try place.write("list.txt", Array(names.joined(separator: "\n").utf8))
            return try place.run(["--list", "list.txt", "--output", "out"] + more + Self.options)
        }
        #expect(try run(names).code == 0)
        #expect(try run([names[0]], "--resume").code == 0)
        #expect(place.list("out/photos") == ["cat"])
        #expect(try run([names[2]], "--force").code == 0)
        #expect(place.list("out/photos") == ["dog"] && place.list("out/photos/dog") == ["old"])
    }

    /// Names that files of ours have, and names that no file can have.
    @Test func namesThatAreOurs() throws {
        let place = try Place()
        let long = String(repeating: "a/", count: 2000)
        let ids = [
            "results.json/x", "journal.jsonl/x", "journal.rows/x", "maps-00000.npy/x", "index-00000.jsonl/x",
            "one", "one.gradcam.0.png/x", "results.json", "journal.jsonl", long + "x",
            "e" + String(repeating: "\u{301}", count: 300), String(repeating: "n", count: 900),
            String(repeating: "ü", count: 300) + "/x", "x/", "..", "/", "a//b", "results.json_/x",
        ]
        let lines = ids.map { "{\"image\": \"one.png\", \"id\": \"\($0)\", \"class\": 0}" }
        try place.write("list.txt", Array(lines.joined(separator: "\n").utf8))
        for how in [[], ["--pack", "--write", "map"]] {
            let outcome = try place.run(
                ["--list", "list.txt", "--output", "out", "--force"] + how + Self.options)
            #expect(outcome.code == 0 && outcome.complaints.isEmpty, "\(outcome.err)")
        }
        let stems = try Self.images(place, "out").compactMap { $0["stem"] as? String }
        #expect(Set(stems).count == ids.count)
        #expect(
            outcomeLines(try place.run(["--list", "list.txt", "--output", "out2"] + Self.options).out) < 2000)
        let packing = try place.shell(
            "mkdir -p tree/results.json tree/one.gradcam.0.png && cp one.png tree/results.json/x.png && cp one.png tree/one.gradcam.0.png/ && cp one.png tree/ && cd tree && tar cf ../t.tar ."
        )
        #expect(packing.code == 0, "\(packing.err)")
        let archive = try place.run(["t.tar", "--output", "tar", "--class", "0"] + Self.options)
        #expect(archive.code == 0, "\(archive.err)")
        #expect(try Self.images(place, "tar").count == 3)
        let folder = try place.run(
            ["tree", "--recursive", "--output", "tree2", "--class", "0"] + Self.options)
        #expect(folder.code == 0, "\(folder.err)")
        // What a folder of somebody else's is in the way of fails, and the others are written.
        try FileManager.default.createDirectory(
            atPath: place.path + "/out3/one.gradcam.0.png", withIntermediateDirectories: true)
        let taken = try place.run(
            ["one.png", "two.png", "--class", "0", "--output", "out3", "--force"] + Self.options)
        #expect(taken.code == 2 && taken.complaints.count == 1, "\(taken.err)")
        #expect(
            place.list("out3") == [
                "one.gradcam.0.png", "results.json", "two.compare.png", "two.gradcam.0.heatmap.npy",
                "two.gradcam.0.map.npy", "two.gradcam.0.png",
            ])
        let missing = try place.run(["\(long)missing.png", "--output", "out4"] + Self.options)
        #expect(missing.code == 3 && missing.err.utf8.count < 1000, "\(missing.err)")
    }

    /// The longest line.
    private func outcomeLines(_ text: String) -> Int {
        text.split(separator: "\n").map(\.utf8.count).max() ?? 0
    }

    /// What cannot be read takes no room in a batch.
    @Test func whatIsMissingCostsNothing() throws {
        let place = try Place()
        let missing = (0..<40).map { "missing\($0).png" }
        let outcome = try place.run(
            missing + ["one.png", "two.png", "--batch", "2", "--metrics", "run.prom", "--output", "out"]
                + Self.options)
        #expect(outcome.code == 2 && outcome.complaints.count == 40, "\(outcome.err)")
        let metrics = try String(contentsOfFile: place.path + "/run.prom", encoding: .utf8)
        #expect(metrics.contains("whitebox_device_pictures_total{number=\"0\",device=\"cpu ("))
        #expect(
            metrics.split(separator: "\n").contains {
                $0.hasPrefix("whitebox_device_pictures_total") && $0.hasSuffix("} 2.0")
            })
    }

    @Test func onlyTheSameRunGoesOn() throws {
        let (place, _) = try Self.place(4)
        let arguments = ["photos", "--recursive", "--output", "out"] + Self.options
        #expect(try place.run(arguments).code == 0)
        let before = try Self.content(place, "out")
        for other in [
            ["--method", "fem"], ["--seed", "1"], ["--layer", "relu1"], ["--preprocess", "none"],
            ["--write", "map"],
        ] {
            let outcome = try place.run(arguments + ["--resume"] + other)
            #expect(outcome.code == 10 && outcome.err.contains("another run"), "\(other): \(outcome.err)")
        }
        // A picture that is another now is done again, and only that.
        try place.picture("photos/cat/0.png", seed: 77)
        let again = try place.run(arguments + ["--resume"])
        #expect(again.code == 0 && again.out.contains("3 of them before"), "\(again.out)\(again.err)")
        #expect(try place.run(["photos", "--recursive", "--output", "fresh"] + Self.options).code == 0)
        try Self.expectSame(place, "fresh", "out")
        #expect(try Self.content(place, "out") != before)
        // So is one whose files are not all there.
        try FileManager.default.removeItem(atPath: place.path + "/out/dog/0.compare.png")
        let missing = try place.run(arguments + ["--resume"])
        #expect(missing.out.contains("3 of them before"), "\(missing.out)\(missing.err)")
        try Self.expectSame(place, "fresh", "out")
        #expect(try place.run(["photos", "--recursive", "--resume"] + Self.options).code == 64)
        #expect(try place.run(arguments + ["--resume", "--force"]).code == 64)
    }

    /// A run that goes on and is ended again before it comes to what was done leaves that as it is.
    @Test(arguments: [[], ["--pack", "--pack-size", "4"]]) func endedBeforeWhatWasDone(_ how: [String]) throws
    {
        let (place, names) = try Self.place(12)
        try place.write("broken.png", [1])
        func run(_ names: [String], _ more: String...) throws -> Outcome {
            try place.write("list.txt", Array(names.joined(separator: "\n").utf8))
            return try place.run(["--list", "list.txt", "--output", "out"] + how + more + Self.options)
        }
        #expect(try run(names).code == 0)
        let whole = try Self.content(place, "out")
        let ended = try run(["broken.png"] + names, "--resume", "--max-failures", "0")
        #expect(ended.code == 2 && ended.err.contains("--max-failures"), "\(ended.err)")
        let left = try Self.content(place, "out")
        // Blocks are those of the list that was named last.
        for (name, data) in whole where name != "results.json" && how.isEmpty {
            #expect(left[name] == data, "\(name)")
        }
        let on = try run(names, "--resume")
        #expect(on.code == 0 && on.out.contains("12 of them before"), "\(on.out)\(on.err)")
        #expect(try Self.content(place, "out") == whole)
    }

    // MARK: Packed maps

    /// Arrays of all maps with an index beside each, which say what single files say.
    @Test(arguments: ["float32", "float16"]) func packedMaps(_ type: String) throws {
        let (place, names) = try Self.place(8)
        try place.write("photos/cat/broken.png", [1])
        let arguments = ["photos", "--recursive", "--method", "gradcam,fem", "--batch", "3"] + Self.options
        #expect(try place.run(arguments + ["--output", "single", "--write", "map"]).code == 2)
        let outcome = try place.run(
            arguments + ["--output", "packed", "--pack", "--pack-size", "4", "--pack-type", type])
        #expect(outcome.code == 2, "\(outcome.err)")
        #expect(
            place.list("packed")
                == [
                    "index-00000.jsonl", "index-00001.jsonl", "index-00002.jsonl", "maps-00000.npy",
                    "maps-00001.npy", "maps-00002.npy", "results.json",
                ])
        var found: [String] = []
        for block in 0..<3 {
            let maps = try place.array("packed/maps-0000\(block).npy")
            let lines = try String(
                contentsOfFile: "\(place.path)/packed/index-0000\(block).jsonl", encoding: .utf8
            ).split(separator: "\n")
            #expect(lines.count == (block < 2 ? 4 : 1))
            #expect(maps.shape == [lines.count { !$0.hasPrefix("{\"row\":null") }, 2, 16, 16])
            for line in lines {
                let entry = try #require(
                    try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
                let stem = try #require(entry["stem"] as? String)
                guard let row = entry["row"] as? Int else {
                    #expect((entry["error"] as? String)?.contains("broken.png") == true)
                    continue
                }
                found.append(try #require(entry["image"] as? String))
                let explained = try #require(entry["maps"] as? [[String: Any]])
                #expect(entry["class"] as? Int == explained[0]["class"] as? Int)
                for (i, map) in explained.enumerated() {
                    let file = "\(stem).\(map["method"]!)" + ((map["class"] as? Int).map { ".\($0)" } ?? "")
                    let single = try place.array("single/\(file).map.npy").values
                    let start = (row * 2 + i) * 256
                    let values = Array(maps.values[start..<start + 256])
                    #expect(
                        values == (type == "float32" ? single : single.map { Float(Float16($0)) }), "\(file)")
                }
            }
        }
        #expect(found.sorted() == names.sorted())
        let both = try place.run(["one.png", "--method", "gradcam,saliency", "--pack"] + Self.options)
        #expect(both.code == 9 && both.err.contains("one size"), "\(both.err)")
        #expect(try place.run(["one.png", "--pack-size", "3"] + Self.options).code == 64)
        #expect(try place.run(["one.png", "--pack", "--pack-type", "int8"] + Self.options).code == 64)
    }

    /// A class that is asked for in two ways has two maps, so that all pictures have as many.
    @Test func packedMapsOfClassesThatMeet() throws {
        let (place, names) = try Self.place(6)
        let arguments = names + ["--class", "top1,dog,3,top2", "--method", "gradcam,fem"] + Self.options
        #expect(try place.run(arguments + ["--output", "single", "--write", "map"]).code == 0)
        let outcome = try place.run(arguments + ["--output", "out", "--pack", "--write", "map"])
        #expect(outcome.code == 0, "\(outcome.err)")
        let maps = try place.array("out/maps-00000.npy")
        try #require(maps.shape == [6, 4, 16, 16])
        for (name, data) in try Self.content(place, "single") where name != "results.json" {
            #expect(try Self.content(place, "out")[name] == data)
        }
        let lines = try String(contentsOfFile: "\(place.path)/out/index-00000.jsonl", encoding: .utf8).split(
            separator: "\n")
        for (row, line) in lines.enumerated() {
            let entry = try #require(
                try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            let told = try #require(entry["maps"] as? [[String: Any]])
            let best = try #require(entry["predictions"] as? [[String: Any]]).prefix(2).map {
                $0["index"] as? Int
            }
            #expect(told.map { $0["class"] as? Int } == [best[0], 3, best[1], nil])
            for (i, map) in told.enumerated() {
                let file =
                    "\(entry["stem"]!).\(map["method"]!)" + ((map["class"] as? Int).map { ".\($0)" } ?? "")
                let start = (row * 4 + i) * 256
                #expect(
                    try place.array("single/\(file).map.npy").values
                        == Array(maps.values[start..<start + 256]))
            }
        }
        let against = try place.run(
            ["one.png", "--class", "top2", "--against", "dog", "--pack", "--output", "no"] + Self.options)
        #expect(against.code == 9 && against.err.contains("--against"), "\(against.err)")
        #expect(
            try place.run(
                ["one.png", "--class", "0,1", "--against", "dog", "--pack", "--output", "yes"] + Self.options
            ).code == 0)
    }

    /// A block that is not what was written is done again.
    @Test func damagedBlocksAreDoneAgain() throws {
        let (place, names) = try Self.place(6)
        let arguments = names + ["--pack", "--pack-size", "2", "--output", "out"] + Self.options
        #expect(try place.run(arguments).code == 0)
        let whole = try Self.content(place, "out")
        for (i, name) in ["maps-00000.npy", "maps-00001.npy", "index-00002.jsonl"].enumerated() {
            var data = try #require(whole[name])
            if i == 1 { data.removeLast(100) } else { data[data.count - 300] ^= 1 }
            try data.write(to: URL(fileURLWithPath: "\(place.path)/out/\(name)"))
            let again = try place.run(arguments + ["--resume"])
            #expect(again.code == 0 && again.out.contains("4 of them before"), "\(again.out)\(again.err)")
            #expect(try Self.content(place, "out") == whole)
        }
    }

    /// More pictures in front of those that are done move all rows, and nothing is done twice.
    @Test func packedMapsOfAnotherList() throws {
        let (place, names) = try Self.place(9)
        func run(_ names: [String], _ folder: String, _ more: String...) throws -> Outcome {
            try place.write("list.txt", Array(names.joined(separator: "\n").utf8))
            return try place.run(
                ["--list", "list.txt", "--pack", "--pack-size", "2", "--output", folder] + more + Self.options
            )
        }
        #expect(try run(Array(names[3...]), "out").code == 0)
        let more = try run(names, "out", "--resume")
        #expect(more.code == 0 && more.out.contains("6 of them before"), "\(more.out)\(more.err)")
        #expect(try run(names, "whole").code == 0)
        try Self.expectSame(place, "whole", "out")
        let fewer = try run(Array(names[4..<7]), "out", "--resume")
        #expect(fewer.out.contains("3 of them before"), "\(fewer.out)\(fewer.err)")
        #expect(try run(Array(names[4..<7]), "few").code == 0)
        try Self.expectSame(place, "few", "out")
        #expect(try run(names, "few", "--force").code == 0)
        try Self.expectSame(place, "whole", "few")
    }

    /// Maps in arrays and files beside them; a run that came to its end, and one that lost an array.
    @Test func packedMapsBesideFiles() throws {
        let (place, names) = try Self.place(6)
        let arguments = names + ["--pack", "--pack-size", "2", "--write", "overlay"] + Self.options
        #expect(try place.run(arguments + ["--output", "out"]).code == 0)
        let whole = try Self.content(place, "out")
        let again = try place.run(arguments + ["--output", "out", "--resume"])
        #expect(again.code == 0 && again.out.contains("6 of them before"), "\(again.out)\(again.err)")
        #expect(try Self.content(place, "out") == whole)
        try FileManager.default.removeItem(atPath: place.path + "/out/maps-00001.npy")
        let lost = try place.run(arguments + ["--output", "out", "--resume"])
        #expect(lost.code == 0 && lost.out.contains("4 of them before"), "\(lost.out)\(lost.err)")
        #expect(try Self.content(place, "out") == whole)
    }

    /// What no run wrote is not replaced by one that goes on, nor by its metrics.
    @Test func whatIsNotOurs() throws {
        let place = try Place()
        let own = Array("mine".utf8)
        for (name, more) in [
            ("one.gradcam.0.png", []), ("maps-00000.npy", ["--pack"]), ("journal.rows", ["--pack"]),
        ] {
            try FileManager.default.createDirectory(
                atPath: place.path + "/out", withIntermediateDirectories: true)
            try place.write("out/" + name, own)
            let outcome = try place.run(
                ["one.png", "--class", "0", "--output", "out", "--resume"] + more + Self.options)
            #expect(outcome.code == 10 && outcome.complaints.count == 1, "\(name): \(outcome.err)")
            #expect(try Self.content(place, "out")[name] == Data(own), "\(name)")
            // Nor by the next.
            let again = try place.run(
                ["one.png", "--class", "0", "--output", "out", "--resume"] + more + Self.options)
            #expect(again.code == 10, "\(name): \(again.err)")
            #expect(try Self.content(place, "out")[name] == Data(own), "\(name)")
            try FileManager.default.removeItem(atPath: place.path + "/out")
        }
        let before = try Data(contentsOf: URL(fileURLWithPath: place.path + "/one.png"))
        #expect(
            try place.run(["one.png", "--metrics", "one.png", "--output", "out"] + Self.options).code == 10)
        #expect(try Data(contentsOf: URL(fileURLWithPath: place.path + "/one.png")) == before)
        // A journal in which nothing was said yet is none.
        for (folder, text) in [("empty", ""), ("torn", "{\"journal\":1,\"he")] {
            try FileManager.default.createDirectory(
                atPath: "\(place.path)/\(folder)", withIntermediateDirectories: true)
            try place.write(folder + "/journal.jsonl", Array(text.utf8))
            #expect(try place.run(["one.png", "--output", folder, "--resume"] + Self.options).code == 0)
        }
        #expect(
            try place.shell(
                "printf '' | \"$app\" classify --list - \(Self.options.joined(separator: " ")) || test $? = 3"
            ).code == 0)
    }

    // MARK: Shards

    @Test(
        arguments: [1, 3, 5, 12],
        [[], ["--pack", "--pack-size", "2"], ["--pack", "--pack-size", "3", "--write", "map"]])
    func shardsAreMergedToTheWhole(_ count: Int, _ how: [String]) throws {
        let (place, _) = try Self.place(10)
        try place.write("photos/dog/broken.png", [1])
        let arguments = ["photos", "--recursive"] + how + Self.options
        #expect(try place.run(arguments + ["--output", "whole"]).code == 2)
        var folders: [String] = []
        for number in 1...count {
            // One is ended and goes on; one does so by Slurm's names, one by those of Kubernetes.
            let environment =
                number % 2 == 1
                ? [
                    "SLURM_ARRAY_TASK_ID": "\(7 + 2 * (number - 1))", "SLURM_ARRAY_TASK_MIN": "7",
                    "SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_COUNT": "\(count)",
                ]
                : ["JOB_COMPLETION_INDEX": "\(number - 1)", "JOB_COMPLETIONS": "\(count)"]
            let outcome = try place.run(
                arguments + ["--shard", "auto", "--output", "parts/\(number)"], environment: environment)
            #expect([0, 2, 3].contains(outcome.code), "\(outcome.err)")
            folders.append("parts/\(number)")
        }
        let merged = try place.run(["merge"] + folders.reversed() + ["--output", "merged"])
        #expect(merged.code == 0, "\(merged.err)")
        try Self.expectSame(place, "whole", "merged")
        if count > 1 {
            let partly = try place.run(["merge"] + folders.dropFirst() + ["--output", "partly"])
            #expect(
                partly.code == 2 && partly.err.contains("shard 1 of \(count) is not there"), "\(partly.err)")
        }
    }

    @Test func whatIsNotMerged() throws {
        let (place, names) = try Self.place(6)
        func run(_ names: [String], _ shard: String, _ folder: String, _ more: String...) throws {
            let outcome = try place.run(names + ["--shard", shard, "--output", folder] + more + Self.options)
            #expect(outcome.code == 0, "\(outcome.err)")
        }
        try run(names, "1/2", "a")
        try run(names, "2/2", "b", "--method", "fem")
        try run(names, "1/3", "c")
        try run(Array(names[..<3]), "2/2", "d")
        try run(names, "1/1", "whole")
        #expect(try place.run(["one.png", "--output", "plain"] + Self.options).code == 0)
        for (folders, reason) in [
            (["a", "b"], "another run"), (["a", "c"], "shards"), (["a", "a"], "name each once"),
            (["a", "plain"], "whole run"),
            (["a", "missing"], "no results.json"), (["a", "d"], "not of one list"),
        ] {
            let outcome = try place.run(["merge"] + folders + ["--output", "out"])
            #expect(
                outcome.code == 10 && outcome.complaints.count == 1 && outcome.err.contains(reason),
                "\(folders): \(outcome.err)")
            #expect(!place.list("out").contains("results.json"))
            try? FileManager.default.removeItem(atPath: place.path + "/out")
        }
        #expect(try place.run(["merge", "whole", "--output", "a"]).code == 10)
        for shard in ["0/3", "4/3", "1/0", "x", "1", "auto"] {
            #expect(try place.run(["one.png", "--shard", shard] + Self.options).code == 64, "\(shard)")
        }
    }

    /// A merge that fails or is killed leaves nothing in the way of the next, and one that is done may be done again.
    @Test(arguments: [[], ["--pack", "--pack-size", "2"]]) func mergedOnceMore(_ how: [String]) throws {
        let (place, _) = try Self.place(9)
        for number in 1...3 {
            let outcome = try place.run(
                ["photos", "--recursive", "--shard", "\(number)/3", "--output", "parts/\(number)"] + how
                    + Self.options)
            #expect(outcome.code == 0, "\(outcome.err)")
        }
        #expect(try place.run(["photos", "--recursive", "--output", "whole"] + how + Self.options).code == 0)
        let merge = ["merge", "parts/1", "parts/2", "parts/3", "--output", "joined/all"]
        let last = try #require(
            try Self.content(place, "parts/3").keys.sorted().first { $0 != "results.json" })
        func move(_ a: String, _ b: String) throws {
            try FileManager.default.moveItem(atPath: "\(place.path)/\(a)", toPath: "\(place.path)/\(b)")
        }
        try move("parts/3/" + last, "kept")
        let failed = try place.run(merge)
        #expect(failed.code == 10 && !failed.err.contains("--force"), "\(failed.err)")
        #expect(!place.list("").contains("joined"))
        try move("kept", "parts/3/" + last)
        // What a killed one placed, and somebody else's file.
        let first = try #require(
            try Self.content(place, "parts/1").keys.sorted().first { $0 != "results.json" })
        let second = try #require(
            try Self.content(place, "parts/2").keys.sorted().first { $0 != "results.json" })
        let folder = "\(place.path)/joined/all"
        for file in [first, second] {
            try FileManager.default.createDirectory(
                atPath: URL(fileURLWithPath: "\(folder)/\(file)").deletingLastPathComponent().path,
                withIntermediateDirectories: true)
        }
        try FileManager.default.linkItem(
            atPath: "\(place.path)/parts/1/\(first)", toPath: "\(folder)/\(first)")
        try Data("mine".utf8).write(to: URL(fileURLWithPath: "\(folder)/\(second)"))
        let taken = try place.run(merge)
        #expect(
            taken.code == 10 && taken.complaints.count == 1 && taken.err.contains("is there already"),
            "\(taken.err)")
        #expect(try Self.content(place, "joined/all").keys.sorted() == [first, second].sorted())
        try FileManager.default.removeItem(atPath: "\(folder)/\(second)")
        #expect(try place.run(merge).code == 0)
        try Self.expectSame(place, "whole", "joined/all")
        let again = try place.run(merge)
        #expect(again.code == 0, "\(again.err)")
        try Self.expectSame(place, "whole", "joined/all")
        let fewer = try place.run(["merge", "parts/1", "parts/2", "--output", "joined/all"])
        #expect(fewer.code == 10 && fewer.err.contains("already holds results"), "\(fewer.err)")
        try Self.expectSame(place, "whole", "joined/all")
    }

    // MARK: Devices

    @Test func severalDevicesGiveTheSameBits() throws {
        let (place, _) = try Self.place(13)
        try place.write("photos/dog/broken.png", [1])
        let arguments = [
            "photos", "--recursive", "--model", "small.onnx", "--method", "gradcam,fem", "--batch", "2",
        ]
        var devices = ["cpu,cpu", "cpu,cpu,cpu"]
        if try place.run(["one.png", "--model", "small.onnx", "--device", "opencl:0", "--output", "trial"])
            .code == 0
        {
            devices += ["opencl:0,opencl:0", "cpu,opencl:0"]
        }
        #expect(try place.run(arguments + ["--device", "cpu", "--output", "one"]).code == 2)
        let one = try Self.content(place, "one")
        for (i, device) in devices.enumerated() {
            let outcome = try place.run(arguments + ["--device", device, "--output", "several\(i)"])
            #expect(outcome.code == 2 && outcome.complaints.count == 1, "\(outcome.err)")
            let several = try Self.content(place, "several\(i)")
            #expect(several.keys.sorted() == one.keys.sorted())
            for (name, data) in one where name != "results.json" {
                #expect(several[name] == data, "\(device): \(name)")
            }
            #expect(
                try Self.images(place, "several\(i)").map { $0["image"] as? String }
                    == Self.images(place, "one").map { $0["image"] as? String })
        }
        #expect(try place.run(arguments + ["--device", "cpu,opencl:99", "--output", "none"]).code == 8)
        #expect(try place.run(arguments + ["--device", ",", "--output", "none"]).code == 64)
    }
}

extension Process {
    fileprivate static func run(_ program: URL, arguments: [String], in folder: String) throws -> Process {
        let process = Process()
        (process.executableURL, process.arguments) = (program, arguments)
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        return process
    }
}
