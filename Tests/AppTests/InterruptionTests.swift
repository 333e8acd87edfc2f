// Runs that end early: by signals, by readers that go away, by force. What they leave is whole and is listed.
//
// Nothing here depends on time: the program writes into a pipe that holds one page, so it cannot finish before the test reads on.

import Foundation
import Imaging
import Testing

/// The program while it runs.
private final class Running {
    /// The end of a pipe from which the test reads.
    final class Reader {
        private var descriptor: Int32
        private var bytes: [UInt8] = []

        fileprivate init(_ descriptor: Int32) { self.descriptor = descriptor }

        deinit { close() }

        /// Once: the number may be another test's by the second time.
        func close() {
            if descriptor >= 0 { Foundation.close(descriptor) }
            descriptor = -1
        }

        /// The next line without its end, nil where there are no more.
        func line() -> String? {
            while true {
                if let end = bytes.firstIndex(of: UInt8(ascii: "\n")) {
                    defer { bytes.removeSubrange(...end) }
                    return String(decoding: bytes[..<end], as: UTF8.self)
                }
                guard fill() else {
                    defer { bytes = [] }
                    return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self) + " (no line feed)"
                }
            }
        }

        /// Reads lines until one holds `part`.
        func skip(to part: String) throws {
            while let line = line() { if line.contains(part) { return } }
            try #require(Bool(false), "the output ended before “\(part)”")
        }

        func rest() -> [String] {
            var lines: [String] = []
            while let line = line() { lines.append(line) }
            return lines
        }

        private func fill() -> Bool {
            // Little at a time: whoever takes a whole page makes room for all that is left to say.
            var part = [UInt8](repeating: 0, count: 64)
            let count = read(descriptor, &part, part.count)
            if count < 0 && errno == EINTR { return fill() }
            guard count > 0 else { return false }
            bytes += part[..<count]
            return true
        }
    }

    private let process = Process()
    let out: Reader, err: Reader

    /// - Parameter way: what `env` does first; by default it gives signals the effect that they have when a user types the command.
    init(_ place: Place, _ arguments: [String], by way: [String] = ["--default-signal"]) throws {
        // By a name, which is gone at once: other tests start programs meanwhile, which must never hold an end.
        func pipe() throws -> (read: Int32, write: Int32) {
            let name = "\(place.path)/.pipe-\(UInt64.random(in: .min ... .max))"
            try #require(mkfifo(name, 0o600) == 0)
            defer { unlink(name) }
            let read = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
            let write = open(name, O_WRONLY | O_CLOEXEC)
            let setSize: Int32 = 1031  // F_SETPIPE_SZ, which Swift does not import
            try #require(read >= 0 && write >= 0 && fcntl(write, setSize, 4096) == 4096)
            try #require(fcntl(read, F_SETFL, 0) == 0)
            return (read, write)
        }
        let (out, err) = (try pipe(), try pipe())
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments =
            way + [try #require(Place.program, "the program `app` is not beside the tests")] + arguments
        process.currentDirectoryURL = URL(fileURLWithPath: place.path)
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle(fileDescriptor: out.write, closeOnDealloc: false)
        process.standardError = FileHandle(fileDescriptor: err.write, closeOnDealloc: false)
        (self.out, self.err) = (Reader(out.read), Reader(err.read))
        defer { for end in [out.write, err.write] { close(end) } }
        try process.run()
    }

    func send(_ signal: Int32) { kill(process.processIdentifier, signal) }

    /// How it ended, as shells count it.
    func code() -> Int32 {
        process.waitUntilExit()
        return process.terminationReason == .exit
            ? process.terminationStatus : 128 + process.terminationStatus
    }
}

@Suite struct InterruptionTests {
    static let options = FilesTests.options
    static let count = 60
    static let notice = "app: Ending; what is complete is kept. Once more ends at once."

    /// A place with more pictures than a page has room to speak of.
    private static func place() throws -> (place: Place, pictures: [String]) {
        let place = try Place()
        let names = (0..<count).map { "p\($0).png" }
        for (i, name) in names.enumerated() { try place.picture(name, seed: i) }
        return (place, names)
    }

    private static func results(_ place: Place, _ folder: String = "out") throws -> [String: Any] {
        let data = try Data(contentsOf: URL(fileURLWithPath: "\(place.path)/\(folder)/results.json"))
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    /// What results.json lists, and itself.
    private static func listed(_ results: [String: Any]) throws -> [String] {
        let images = try #require(results["images"] as? [[String: Any]])
        return
            (images.flatMap { image in
                (image["explanations"] as? [[String: Any]] ?? []).flatMap { explanation in
                    ["map", "heatmap", "overlay"].compactMap { explanation[$0] as? String }
                } + [image["comparison"] as? String].compactMap { $0 }
            } + ["results.json"]).sorted()
    }

    /// Every file there, but those with hidden names, is whole.
    private static func checkWhole(_ place: Place, _ folder: String = "out") {
        for name in place.list(folder)
        where !name.hasPrefix(".") && !["results.json", "journal.jsonl"].contains(name) {
            #expect(throws: Never.self) {
                if name.hasSuffix(".png") {
                    _ = try RGBImage.load(path: "\(place.path)/\(folder)/\(name)")
                } else {
                    _ = try place.array(folder + "/" + name)
                }
            }
        }
    }

    @Test(arguments: [
        (SIGINT, 130 as Int32, "an interrupt (Ctrl-C)"), (SIGTERM, 143, "a request to terminate"),
    ])
    func signalsEndExplainAfterTheBatch(_ signal: Int32, _ code: Int32, _ why: String) throws {
        let (place, names) = try Self.place()
        let run = try Running(place, names + ["--output", "out", "--batch", "3"] + Self.options)
        try run.out.skip(to: "Side by side")
        run.send(signal)
        #expect(run.err.line() == Self.notice)
        _ = run.out.rest()
        let complaints = run.err.rest()
        #expect(run.code() == code)

        let results = try Self.results(place)
        let images = try #require(results["images"] as? [[String: Any]])
        #expect(0 < images.count && images.count < Self.count && images.count % 3 == 0)
        #expect(images.map { $0["image"] as? String } == names.prefix(images.count).map { $0 })
        let sentence = "The run was ended by \(why) after \(images.count) of \(Self.count) images."
        #expect(results["incomplete"] as? String == sentence)
        #expect(complaints == ["app: " + sentence])
        #expect(try place.list("out") == (Self.listed(results) + ["journal.jsonl"]).sorted())
        Self.checkWhole(place)

        // What it listed the next run removes, if it may.
        #expect(try place.run(["p1.png", "--output", "out"] + Self.options).code == 10)
        #expect(try place.run(["p1.png", "--output", "out", "--force"] + Self.options).code == 0)
        let after = try Self.results(place)
        #expect(after["incomplete"] is NSNull)
        #expect(try place.list("out") == Self.listed(after))
        #expect(place.list("out").count == 5)
    }

    @Test func aSecondSignalEndsAtOnce() throws {
        let (place, names) = try Self.place()
        let run = try Running(place, names + ["--output", "out"] + Self.options)
        try run.out.skip(to: "Side by side")
        run.send(SIGINT)
        #expect(run.err.line() == Self.notice)
        // It waits for somebody to read what it prints, and nobody does.
        run.send(SIGTERM)
        #expect(run.code() == 143)
        try Self.checkKilled(place)
    }

    /// The folder of a run that could list nothing says so, and what is in it is not taken for photographs, and does not stay.
    private static func checkKilled(_ place: Place) throws {
        #expect(place.list("out").contains("journal.jsonl") && !place.list("out").contains("results.json"))
        checkWhole(place)
        // What was being written: an overlay may not yet be there, and so no picture at all.
        let pictures = place.list("out").filter { $0.hasSuffix(".png") }.count
        let again = try place.run(["out", "--output", "again"] + options)
        #expect(again.code == 3)
        #expect(
            pictures == 0
                || again.err.contains("\(pictures) result\(pictures == 1 ? "" : "s") of an earlier run"),
            "\(again.err)")
        let refused = try place.run(["p7.png", "--output", "out"] + options)
        #expect(
            refused.code == 10
                && refused.err.contains("has not ended, or was killed; go on with it by --resume"),
            "\(refused.err)")
        // What it cannot have written stays.
        let own = ["elevation.map.npy", "p1.heatmap.npy", "p1.gradcam.x.map.npy"]
        for name in own { try place.write("out/" + name, [1]) }
        #expect(try place.run(["p7.png", "--output", "out", "--force"] + options).code == 0)
        let left = place.list("out").filter { !$0.hasPrefix(".") }
        #expect(try Set(left) == Set(listed(Self.results(place)) + own))
    }

    /// A photograph that has the name of a result is not replaced by one, whatever is forced.
    @Test func aPictureIsNotReplaced() throws {
        let place = try Place()
        try place.picture("one.compare.png", seed: 3)
        let before = try Data(contentsOf: URL(fileURLWithPath: place.path + "/one.compare.png"))
        let outcome = try place.run(
            ["one.png", "one.compare.png", "--output", ".", "--force"] + Self.options)
        #expect(outcome.code == 10 && outcome.err.contains("would be overwritten"), "\(outcome.err)")
        #expect(try Data(contentsOf: URL(fileURLWithPath: place.path + "/one.compare.png")) == before)
        #expect(try place.run(["one.png", "--output", ".", "--force"] + Self.options).code == 0)
    }

    /// What a results.json lists is a name, not a way to remove something else.
    @Test func namesThatEndEarly() throws {
        let place = try Place()
        try place.write("notes.txt", [1])
        let text =
            #"{"whitebox":"0","device":"x","images":[{"explanations":[],"comparison":"notes.txt\u0000.png"}]}"#
        try place.write("results.json", Array(text.utf8))
        #expect(try place.run(["one.png", "--output", ".", "--force"] + Self.options).code == 0)
        #expect(place.list("").contains("notes.txt"))
    }

    /// Of two runs into the same folder the first goes on as if it were alone.
    @Test func theSecondRunIntoAFolderEnds() throws {
        let (place, names) = try Self.place()
        let first = try Running(place, names + ["--output", "out"] + Self.options)
        try first.out.skip(to: "Side by side")
        let second = try place.run(["one.png", "--output", "out"] + Self.options)
        #expect(second.code == 10)
        #expect(second.err.contains("already holds results"))
        let forced = try place.run(["one.png", "--output", "out", "--force"] + Self.options)
        #expect(forced.code == 10 && forced.err.contains("Another run is writing"), "\(forced.err)")
        _ = first.out.rest()
        #expect(first.code() == 0)
        #expect(try place.list("out") == Self.listed(Self.results(place)))
        #expect((try Self.results(place)["images"] as? [Any])?.count == Self.count)
    }

    @Test func whatIsIgnoredStaysIgnored() throws {
        let (place, names) = try Self.place()
        let run = try Running(
            place, names + ["--output", "out"] + Self.options, by: ["--ignore-signal=INT"])
        try run.out.skip(to: "Side by side")
        run.send(SIGINT)
        run.send(SIGTERM)
        #expect(run.err.line() == Self.notice)
        _ = run.out.rest()
        #expect(run.code() == 143)
        #expect(try (Self.results(place)["incomplete"] as? String)?.contains("terminate") == true)
    }

    @Test func aReaderThatGoesAwayEndsExplain() throws {
        let (place, names) = try Self.place()
        let run = try Running(place, names + ["--output", "out", "--batch", "2"] + Self.options)
        try run.out.skip(to: "Model")
        run.out.close()
        #expect(run.err.rest().isEmpty)
        #expect(run.code() == 141)
        let results = try Self.results(place)
        let done = try #require(results["images"] as? [Any]).count
        #expect(0 < done && done < Self.count && done % 2 == 0)
        #expect(
            results["incomplete"] as? String
                == "The run was ended by a reader of its output that went away after \(done) of \(Self.count) images."
        )
        #expect(try place.list("out") == (Self.listed(results) + ["journal.jsonl"]).sorted())
    }

    @Test func signalsEndClassifyAfterTheBatch() throws {
        let (place, names) = try Self.place()
        let run = try Running(place, ["classify"] + names + ["--batch", "4"] + Self.options)
        let first = try #require(run.out.line())
        #expect(first.hasPrefix("p0.png"))
        run.send(SIGINT)
        #expect(run.err.line() == Self.notice)
        let lines = [first] + run.out.rest()
        let complaints = run.err.rest()
        #expect(run.code() == 130)
        // Each picture has a line for itself and one for each of four classes.
        let done = lines.count / 5
        #expect(lines.count % 5 == 0 && done % 4 == 0 && done < Self.count)
        #expect(
            complaints == [
                "app: The run was ended by an interrupt (Ctrl-C) after \(done) of \(Self.count) images."
            ])
        #expect(place.list("").allSatisfy { !$0.hasPrefix("whitebox-results") })
    }

    @Test func aReaderThatGoesAwayEndsClassify() throws {
        let (place, names) = try Self.place()
        let run = try Running(place, ["classify"] + names + Self.options)
        #expect(run.out.line()?.hasPrefix("p0.png") == true)
        run.out.close()
        #expect(run.err.rest().isEmpty)
        #expect(run.code() == 141)
    }

    /// Nothing that is printed may be lost in silence, or get into a file that has been given the place of stdout.
    @Test func outputThatNobodyCanTake() throws {
        let (place, names) = try Self.place()
        func shell(_ redirection: String) -> [String] { ["sh", "-c", "exec \"$0\" \"$@\" \(redirection)"] }
        for command in [
            ["classify"] + names + ["--batch", "2"] + Self.options,
            ["classify", "--json", "p0.png"] + Self.options,
            ["operators"],
        ] {
            let run = try Running(place, command, by: shell("> /dev/full"))
            #expect(run.err.rest().joined().contains("could not be written to the end"))
            #expect(run.code() == 10)
        }
        for command in [
            ["classify"] + names + ["--batch", "2"] + Self.options,
            ["classify", "--json", "p0.png"] + Self.options,
            ["operators"], ["--help"], [],
        ] {
            let run = try Running(place, command, by: shell(">&-"))
            #expect(
                run.err.rest() == ["app: The output cannot be written, because stdout is closed."],
                "\(command)")
            #expect(run.code() == 10)
        }
        // Here the results are files.
        let run = try Running(
            place, ["p0.png", "p1.png", "--output", "out"] + Self.options, by: shell(">&-"))
        #expect(run.err.rest().isEmpty)
        #expect(run.code() == 0)
        #expect(try place.list("out") == Self.listed(Self.results(place)))
        Self.checkWhole(place)
    }

    @Test(arguments: [1, 12, 40]) func killedRunsLeaveNothingHalfWritten(_ lines: Int) throws {
        let (place, names) = try Self.place()
        let run = try Running(
            place, names + ["--output", "out", "--method", "gradcam,fem", "--batch", "2"] + Self.options)
        try run.out.skip(to: "Side by side")
        for _ in 0..<lines { _ = run.out.line() }
        run.send(SIGKILL)
        #expect(run.code() == 137)
        try Self.checkKilled(place)

        // A file system may need hidden names; what bears one is removed, unless somebody is still at it or it is not ours.
        let (left, held, foreign) = (
            ".p0.png.whitebox.1y2p0ij32e8e7.part", ".p1.png.whitebox.3w5e11264sgsf.part",
            ".mine.12345678.part"
        )
        for name in [left, held, foreign] { try place.write("out/" + name, [1, 2]) }
        let file = open("\(place.path)/out/\(held)", O_RDONLY | O_CLOEXEC)
        try #require(file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0)
        #expect(try place.run(["p0.png", "--output", "out", "--force"] + Self.options).code == 0)
        #expect(place.list("out").filter { $0.hasPrefix(".") } == [foreign, held].sorted())
        close(file)
        #expect(try place.run(["p0.png", "--output", "out", "--force"] + Self.options).code == 0)
        #expect(place.list("out").filter { $0.hasPrefix(".") } == [foreign])
    }

    @Test func fourRunsAtOnceHaveFourFolders() throws {
        let place = try Place()
        // In one batch: when it has been computed each complains until its pipe is full, and let go it soon has something to keep.
        let missing = (0..<100).map { "missing-\($0).png" }
        let runs = try (0..<4).map { _ in
            try Running(place, missing + ["one.png", "two.png", "--batch", "102"] + Self.options)
        }
        for run in runs { #expect(run.err.line()?.contains("missing-0.png") == true) }
        nonisolated(unsafe) let all = runs
        DispatchQueue.concurrentPerform(iterations: runs.count) { i in _ = all[i].err.rest() }
        for run in runs {
            _ = run.out.rest()
            #expect(run.code() == 2)
        }
        let folders = place.list("").filter { $0.hasPrefix("whitebox-results") }
        #expect(folders == ["whitebox-results"] + (2...4).map { "whitebox-results-\($0)" })
        for folder in folders {
            let results = try Self.results(place, folder)
            #expect((results["images"] as? [Any])?.count == missing.count + 2)
            #expect(try place.list(folder) == Self.listed(results))
        }
    }
}
