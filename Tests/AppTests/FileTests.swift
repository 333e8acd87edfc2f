// Names that are bytes, folders that are shared, runs that end early.

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
        try place.write("out/x.gif", [1])
        try FileManager.default.createDirectory(
            atPath: place.path + "/out/x.jpg", withIntermediateDirectories: false)
        let outcome = try place.run(["out", "--output", "more", "--json"] + Self.options)
        #expect(outcome.code == 0, "\(outcome.err)")
        #expect((try outcome.json()["images"] as? [Any])?.count == 1)
        for part in ["1 file of another format", "2 results of an earlier run", "1 folder or pipe"] {
            #expect(outcome.err.contains(part), "\(outcome.err)")
        }
        #expect(try place.run(["**/*.png", "--output", "deep"] + Self.options).err.contains("**"))
        #expect(try place.run("clasify", "one.png").err.contains("did you mean `app classify`?"))
    }
}
