// Animated PNG files, written and read, and heat maps of videos enlarged.

import Imaging
import Testing

@Suite struct AnimationTests {
    private func frames(_ count: Int, width: Int = 5, height: Int = 3) -> [RGBImage] {
        (0..<count).map { frame in
            RGBImage(
                width: width, height: height,
                pixels: (0..<3 * width * height).map { UInt8(truncatingIfNeeded: 7 * $0 + 31 * frame) })
        }
    }

    private func decoded(_ bytes: [UInt8], _ wanted: [Int]? = nil) throws -> [RGBImage] {
        let animation = try #require(try Animation(bytes, name: "test.png"))
        var found: [RGBImage] = []
        try animation.decode(wanted ?? Array(0..<animation.count)) { found.append($1) }
        return found
    }

    @Test func whatIsWrittenIsRead() throws {
        for count in [1, 2, 7] {
            let frames = frames(count)
            let bytes = PNG.encode(animation: frames, framesPerSecond: 8, fast: true)
            #expect(try decoded(bytes) == frames)
            #expect(try decoded(bytes, [count - 1]) == [frames[count - 1]])
            // To who knows no animations it is the first frame.
            #expect(try RGBImage(decoding: bytes, name: "test.png") == frames[0])
        }
        #expect(try Animation(frames(1)[0].pngData(), name: "plain.png") == nil)
        #expect(try Animation([1, 2, 3], name: "other") == nil)
    }

    // MARK: Files made by hand

    private func number(_ number: Int) -> [UInt8] { [24, 16, 8, 0].map { UInt8(number >> $0 & 255) } }

    /// RGBA pixels of one row, in a deflate stream that is not compressed.
    private func data(_ pixels: [[UInt8]]) -> [UInt8] {
        let raw = [0] + pixels.flatMap(\.self)
        var (a, b) = (1, 0)
        for byte in raw {
            a = (a + Int(byte)) % 65521
            b = (b + a) % 65521
        }
        let (low, high) = (UInt8(raw.count & 255), UInt8(raw.count >> 8))
        return [0x78, 1, 1, low, high, ~low, ~high] + raw + number(b << 16 | a)
    }

    private struct Part {
        var left = 0
        var pixels: [[UInt8]]
        var disposal = 0
        var blend = 0
    }

    /// One row of pixels.
    private func file(
        width: Int, _ parts: [Part], count: Int? = nil, numbers: [Int]? = nil, hidden: [[UInt8]]? = nil
    ) -> [UInt8] {
        var bytes = PNG.signature + PNG.chunk("IHDR", number(width) + number(1) + [8, 6, 0, 0, 0])
        bytes += PNG.chunk("acTL", number(count ?? parts.count) + number(0))
        if let hidden { bytes += PNG.chunk("IDAT", data(hidden)) }
        var next = 0
        func numbered() -> [UInt8] {
            defer { next += 1 }
            return number(numbers?[next] ?? next)
        }
        for (i, part) in parts.enumerated() {
            bytes += PNG.chunk(
                "fcTL",
                numbered() + number(part.pixels.count) + number(1) + number(part.left) + number(0) + [
                    0, 1, 0, 8,
                ]
                    + [UInt8(part.disposal), UInt8(part.blend)])
            bytes +=
                i == 0 && hidden == nil
                ? PNG.chunk("IDAT", data(part.pixels)) : PNG.chunk("fdAT", numbered() + data(part.pixels))
        }
        return bytes + PNG.chunk("IEND", [])
    }

    private let red: [UInt8] = [200, 0, 0, 255]
    private let green: [UInt8] = [0, 100, 0, 255]
    private let clear: [UInt8] = [9, 9, 9, 0]
    private let half: [UInt8] = [0, 0, 255, 128]

    @Test func framesAreDrawnOverEachOther() throws {
        let first = Part(pixels: [red, red, red])
        func rows(_ parts: [Part]) throws -> [[UInt8]] { try decoded(file(width: 3, parts)).map(\.pixels) }
        let whole: [UInt8] = [200, 0, 0, 200, 0, 0, 200, 0, 0]
        // In place of what is there, or over it.
        #expect(
            try rows([first, Part(left: 1, pixels: [green])]) == [whole, [200, 0, 0, 0, 100, 0, 200, 0, 0]])
        #expect(
            try rows([first, Part(left: 1, pixels: [clear, green], blend: 1)])
                == [whole, [200, 0, 0, 200, 0, 0, 0, 100, 0]])
        // 128 of 255 parts: 200 · 127 / 255 = 99.6, and 255 · 128 / 255.
        #expect(
            try rows([first, Part(left: 2, pixels: [half], blend: 1)]) == [
                whole, [200, 0, 0, 200, 0, 0, 100, 0, 128],
            ])
        // Colours under pixels that nobody sees are as they are stored.
        #expect(
            try rows([first, Part(left: 0, pixels: [clear])]) == [whole, [9, 9, 9, 200, 0, 0, 200, 0, 0]])
        // What a frame leaves: itself, nothing, or what was there before.
        let after = Part(left: 2, pixels: [green])
        func middle(_ disposal: Int) -> Part { Part(left: 0, pixels: [green, green], disposal: disposal) }
        #expect(try rows([first, middle(0), after])[2] == [0, 100, 0, 0, 100, 0, 0, 100, 0])
        #expect(try rows([first, middle(1), after])[2] == [0, 0, 0, 0, 0, 0, 0, 100, 0])
        #expect(try rows([first, middle(2), after])[2] == [200, 0, 0, 200, 0, 0, 0, 100, 0])
        // Before the first frame there is nothing.
        #expect(
            try rows([Part(pixels: [red, red, red], disposal: 2), after])[1] == [0, 0, 0, 0, 0, 0, 0, 100, 0])
        // A picture for who knows no animations, which is none of the frames.
        #expect(
            try decoded(file(width: 3, [first, after], hidden: [green, green, green])).map(\.pixels)
                == [whole, [200, 0, 0, 200, 0, 0, 0, 100, 0]])
    }

    @Test func brokenFilesAreRefused() throws {
        let first = Part(pixels: [red, red, red])
        func refused(_ bytes: [UInt8], _ part: String) {
            do {
                _ = try decoded(bytes)
                Issue.record("It was read, and should be refused for “\(part)”.")
            } catch {
                #expect("\(error)".contains(part), "\(error)")
            }
        }
        refused(file(width: 3, [first], count: 2), "claims to have 2 frames, and has 1")
        refused(file(width: 3, [first, first], count: 1), "more frames than the 1")
        refused(file(width: 3, [first], count: 0), "0 frames")
        refused(file(width: 3, [first], count: 1 << 30), "frames; 1 to")
        refused(file(width: 3, [first, first], numbers: [0, 2, 1]), "bears the number 2, and the next is 1")
        refused(file(width: 3, [first, Part(left: 3, pixels: [red])]), "frame 2 is 1×1 at (3, 0)")
        refused(file(width: 3, [Part(pixels: [red])]), "frame 1 is 1×1")
        refused(file(width: 3, [first, Part(pixels: [red], disposal: 3)]), "no known way")
        refused(file(width: 3, [first, Part(pixels: [red], blend: 2)]), "no known way")
    }

    /// No byte that is changed, and no end that is missing, crashes.
    @Test func changedFilesGiveSentences() throws {
        let whole = file(
            width: 3,
            [
                Part(pixels: [red, half, red], disposal: 2),
                Part(left: 1, pixels: [half], disposal: 1, blend: 1),
            ])
        var refused = 0
        func read(_ bytes: [UInt8]) {
            do { _ = try Animation(bytes, name: "test.png")?.decode([0, 1]) { _, _ in } } catch {
                #expect(error is ImageError, "\(error)")
                refused += 1
            }
        }
        for i in whole.indices {
            read(Array(whole[..<i]))
            for change in [0x01, 0x80, 0xFF] as [UInt8] {
                var bytes = whole
                bytes[i] ^= change
                read(bytes)
            }
        }
        #expect(refused > whole.count)
    }

    // MARK: Volumes

    /// What grows evenly along each axis is found between the centres of cells.
    @Test func trilinearBetweenCentres() {
        let small = Plane(width: 2, height: 4, values: [0, 1, 2, 3, 4, 5, 6, 7])
        let places: [Float] = [0, 0.25, 0.75, 1]
        var expected: [Float] = []
        for z in places {
            for y in places {
                for x in places { expected.append(4 * z + 2 * y + x) }
            }
        }
        #expect(small.resized(frames: 2, to: [4, 4, 4]).values == expected)
        // torch.nn.functional.interpolate(…, size=(3, 1, 2), mode="trilinear", align_corners=False)
        #expect(small.resized(frames: 2, to: [3, 1, 2]).values == [1, 2, 3, 4, 5, 6])
        #expect(small.resized(frames: 2, to: [2, 2, 2]) == small)
        // An image stays through all frames; and a plane is none.
        let plane = Plane(width: 2, height: 1, values: [1, 5])
        #expect(plane.resized(frames: nil, to: [3, 1, 2]).values == [1, 5, 1, 5, 1, 5])
        #expect(plane.resized(frames: nil, to: [2, 4]) == plane.resized(width: 4, height: 2))
        let wild = Plane(width: 1, height: 2, values: [.infinity, 1])
        #expect(wild.resized(frames: 2, to: [2, 1, 1]) == wild)
    }

    @Test func filmstrips() {
        #expect(Filmstrip.even(4, of: 4) == [0, 1, 2, 3])
        #expect(Filmstrip.even(4, of: 8) == [1, 3, 5, 7])
        #expect(Filmstrip.even(1, of: 9) == [4])
        #expect(Filmstrip.even(3, of: 4) == [0, 2, 3])
        let strip = Filmstrip.picture(frames(5, width: 4, height: 2))
        #expect((strip.width, strip.height) == (3 * 6 - 2, 2 * 4 - 2))
        #expect(Filmstrip.picture(frames(40)).width == 4 * 7 - 2)
        #expect(Filmstrip.picture(frames(1)) == frames(1)[0])
    }
}
