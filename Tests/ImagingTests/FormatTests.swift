// WebP, TIFF, GIF, BMP and JPEGs of four inks: the pixels that Pillow reads, and a sentence for what is damaged, hostile or beyond us.

import Foundation
import Imaging
import TestSupport
import Testing

@Suite struct FormatTests {
    private static let files = PillowPictures.all.map {
        (name: $0.name, bytes: [UInt8](Data(base64Encoded: $0.base64)!))
    }

    @Test func picturesEqualPillow() throws {
        #expect(PillowPictures.all.count > 80)
        for (name, width, height, pixels, opacity, base64) in PillowPictures.all {
            let image = try RGBImage(decoding: [UInt8](Data(base64Encoded: base64)!), name: name)
            #expect(image.width == width && image.height == height, "\(name)")
            #expect(checksum(image.pixels) == pixels, "\(name)")
            #expect(image.opacity.map(checksum) ?? 0 == opacity, "\(name)")
            #expect(image.isTransparent == (opacity != 0), "\(name)")
        }
    }

    /// A file that is cut off is refused, unless it has lost nothing of the picture: a later frame or page, or what fills up its last row.
    @Test func cutFilesAreRefusedOrWhole() throws {
        var refused = 0
        for (name, bytes) in Self.files {
            let whole = try RGBImage(decoding: bytes, name: name)
            for length in 0..<bytes.count {
                do throws(ImageError) {
                    let picture = try RGBImage(decoding: Array(bytes[..<length]), name: "cut")
                    #expect(picture == whole, "\(name), \(length) of \(bytes.count) bytes")
                } catch {
                    refused += 1
                    #expect(error.description.hasSuffix("."))
                }
            }
        }
        #expect(refused > Self.files.reduce(0) { $0 + $1.bytes.count } / 2)
    }

    @Test func changedFilesNeverCrash() {
        var random = SeededRandom("changed pictures")
        for (_, bytes) in Self.files {
            for _ in 0..<200 {
                var changed = bytes
                for _ in 0...random.index(below: 3) {
                    // What a file says of itself is at its start, and at the end of those TIFFs.
                    let places =
                        random.index(below: 2) == 0 ? changed.count : min(changed.count, 64)
                    let at = random.index(below: places)
                    changed[random.index(below: 4) == 0 ? changed.count - 1 - at : at] =
                        random.index(below: 3) == 0
                        ? [0, 1, 0x7F, 0x80, 0xFF][random.index(below: 5)] : UInt8(random.index(below: 256))
                }
                // What is merely large takes its time.
                let said = sentence { () throws(ImageError) in
                    _ = try RGBImage(decoding: changed, name: "x") { memory throws(ImageError) in
                        guard memory < 1 << 26 else { throw .overLimit(file: "x", reason: "is large") }
                    }
                }
                #expect(said == nil || said!.hasSuffix("."))
            }
        }
    }

    private static func little(_ value: Int, _ bytes: Int) -> [UInt8] {
        (0..<bytes).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    /// A BMP's headers, with the pixels behind them.
    private static func bmp(
        _ width: Int, _ height: Int, bits: Int = 24, compression: Int = 0, _ content: [UInt8] = []
    ) -> [UInt8] {
        let header: [UInt8] = little(40, 4) + little(width, 4) + little(height, 4) + [1, 0] + little(bits, 2)
        return Array("BM".utf8) + little(0, 8) + little(54, 4) + header + little(compression, 4)
            + [UInt8](repeating: 0, count: 20) + content
    }

    /// A TIFF's first directory, of numbers of 32 bits.
    private static func tiff(_ tags: [(Int, Int)], _ content: [UInt8] = []) -> [UInt8] {
        let entries = tags.flatMap { little($0.0, 2) + little(4, 2) + little(1, 4) + little($0.1, 4) }
        return Array("II*\0".utf8) + little(8, 4) + little(tags.count, 2) + entries + little(0, 4) + content
    }

    @Test func claimsOfHugeSizesCostNothing() {
        let (w, h) = (50_000, 50_000)
        let files: [(String, [UInt8])] = [
            ("BMP", Self.bmp(w, h)), ("upside down", Self.bmp(w, -h)),
            ("TIFF", Self.tiff([(256, w), (257, h), (258, 8), (259, 1), (262, 1), (273, 8), (279, 9)])),
            (
                "GIF",
                Array("GIF89a".utf8) + Self.little(w, 2) + Self.little(h, 2) + [
                    0, 0, 0, 0x2C, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 0,
                ]
            ),
        ]
        for (name, file) in files {
            #expect(throws: ImageError.tooLarge(file: name, width: w, height: h)) {
                try RGBImage(decoding: file, name: name)
            }
        }
        // Of what is allowed, memory is asked for before it is taken, for at least the picture.
        let few: [(String, [UInt8])] = [
            (
                "TIFF",
                Self.tiff([(256, 9000), (257, 9000), (258, 8), (259, 1), (262, 1), (273, 8), (279, 9)])
            ),
            ("BMP", Self.bmp(9000, 9000)),
            (
                "GIF",
                Array("GIF89a".utf8) + Self.little(9000, 2) + Self.little(9000, 2) + [
                    0, 0, 0, 0x2C, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 0,
                ]
            ),
        ]
        for (name, file) in few {
            var asked = 0
            #expect(throws: ImageError.overLimit(file: name, reason: "is large")) {
                try RGBImage(decoding: file, name: name) { memory throws(ImageError) in
                    asked = memory
                    throw .overLimit(file: name, reason: "is large")
                }
            }
            #expect(asked >= 12 * 81_000_000, "\(name)")
        }
    }

    /// Parts that are much larger than the picture, or a directory that says two things.
    @Test func hostileTIFFs() {
        func said(_ tags: [(Int, Int)]) -> String {
            sentence { () throws(ImageError) in
                _ = try RGBImage(decoding: Self.tiff(tags, [UInt8](repeating: 0, count: 100)), name: "t.tif")
            } ?? "nothing"
        }
        let plain = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 1)]
        #expect(said(plain + [(273, 100), (277, 1), (278, 4), (279, 16)]) == "nothing")
        #expect(said(plain + [(273, 1 << 30), (277, 1), (278, 4), (279, 16)]).contains("damaged"))
        #expect(said(plain + [(273, 100), (277, 17), (278, 4), (279, 16)]).contains("17 samples"))
        #expect(
            said(plain + [(322, 1 << 20), (323, 1 << 20), (324, 100), (325, 16)]).contains(
                "do not fit the picture"))
        #expect(said([(257, 4), (258, 8), (259, 1), (262, 1)]).contains("0 × 4 pixels"))
        #expect(
            said([
                (256, 4), (257, 4), (258, 32), (259, 1), (262, 1), (273, 100), (278, 4), (279, 64), (339, 3),
            ])
            .contains("unsupported kind"))
        #expect(
            said([(256, 4), (257, 4), (258, 8), (259, 1), (262, 8), (273, 100), (279, 16)]).contains(
                "colours of kind 8"))
    }

    @Test func unsupportedBMPs() {
        func said(_ file: [UInt8]) -> String? {
            sentence { () throws(ImageError) in _ = try RGBImage(decoding: file, name: "b.bmp") }
        }
        #expect(said(Self.bmp(2, 2, bits: 2))!.contains("2 bits per pixel"))
        #expect(said(Self.bmp(2, 2, compression: 4))!.contains("compression 4"))
        #expect(said(Self.bmp(2, 2, bits: 8, compression: 2))!.contains("compression 2"))
        #expect(said(Self.bmp(1, Int(Int32.min)))!.contains("too large"))
        #expect(said(Self.bmp(-1, 1))!.contains("-1 × 1 pixels"))
        #expect(said(Self.bmp(1, 1, [1, 2, 3])) == nil)
        #expect(said(Self.bmp(1, 1, [1, 2]))!.contains("cut off"))
    }

    /// Runs that end early, or do not end at all.
    @Test func runsThatDoNotFillTheBMP() {
        let colours = [UInt8](repeating: 7, count: 1024)
        func said(_ runs: [UInt8]) -> String? {
            sentence { () throws(ImageError) in
                _ = try RGBImage(
                    decoding: Self.bmp(3, 2, bits: 8, compression: 1, colours + runs), name: "r.bmp")
            }
        }
        #expect(said([3, 1, 0, 0, 3, 2]) == nil)
        #expect(said([3, 1, 0, 0, 200, 2]) == nil)
        #expect(said([3, 1, 0, 1])!.contains("end after 3 of 6 pixels"))
        #expect(said([3, 1, 0, 0])!.contains("cut off"))
        #expect(said([0, 2, 255, 255]) == nil)
    }

    @Test func extensionsOfFolders() {
        #expect(RGBImage.fileExtensions == ["png", "jpg", "jpeg", "webp", "tif", "tiff", "gif", "bmp"])
    }
}
