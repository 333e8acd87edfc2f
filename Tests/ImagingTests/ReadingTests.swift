// Decoding: equal to Pillow, colours untouched, upright, and a sentence for everything that is no picture.

import Foundation
import Imaging
import TestSupport
import Testing

@Suite struct ReadingTests {
    @Test func jpegEqualsPillow() throws {
        let colour = try RGBImage(decoding: MadeJPEG.colour, name: "c")
        #expect(colour.width == 19 && colour.height == 13)
        #expect(checksum(colour.pixels) == MadeJPEG.colourSum)
        #expect(try RGBImage(decoding: MadeJPEG.progressive, name: "p") == colour)
        #expect(checksum(try RGBImage(decoding: MadeJPEG.grey, name: "g").pixels) == MadeJPEG.greySum)
    }

    @Test func somethingBehindAJPEGDoesNoHarm() throws {
        #expect(throws: Never.self) {
            try RGBImage(decoding: MadeJPEG.colour + [0, 0, 0xFF, 0xD8, 1, 2, 3], name: "c")
        }
    }

    @Test func printersJPEGEqualsPillow() throws {
        let inks = try RGBImage(decoding: MadeJPEG.cmyk, name: "print.jpg")
        #expect(inks.width == 8 && inks.height == 8)
        #expect(checksum(inks.pixels) == 0xa158_649c_c450_fa04)
    }

    /// Orientation n: where the pixel (x, y) of the upright picture lies in a stored picture of w × h.
    @Test(arguments: 1...8, [true, false])
    func orientation(_ n: Int, little: Bool) throws {
        let stored = try RGBImage(decoding: MadeJPEG.colour, name: "c")
        let upright = try RGBImage(decoding: MadeJPEG.oriented(UInt8(n), little: little), name: "o")
        let (w, h) = (stored.width, stored.height)
        #expect(upright.width == (n >= 5 ? h : w) && upright.height == (n >= 5 ? w : h))
        for y in 0..<upright.height {
            for x in 0..<upright.width {
                let (sx, sy) = [
                    (x, y), (w - 1 - x, y), (w - 1 - x, h - 1 - y), (x, h - 1 - y), (y, x), (y, h - 1 - x),
                    (w - 1 - y, h - 1 - x), (w - 1 - y, x),
                ][n - 1]
                let (a, b) = ((y * upright.width + x) * 3, (sy * w + sx) * 3)
                try #require(upright.pixels[a..<a + 3] == stored.pixels[b..<b + 3])
            }
        }
    }

    @Test func senselessOrientationCountsAsNone() throws {
        let plain = try RGBImage(decoding: MadeJPEG.colour, name: "c")
        for value: UInt8 in [0, 9, 255] {
            #expect(
                try RGBImage(decoding: MadeJPEG.oriented(value, little: true), name: "o") == plain)
        }
        #expect(EXIF.orientation(of: [0x49, 0x49, 42, 0, 255, 255, 255, 255]) == 1)
        #expect(EXIF.orientation(of: [0x4D, 0x4D, 0, 42, 0, 0, 0, 8, 255, 255]) == 1)
        #expect(EXIF.orientation(of: []) == 1)
    }

    /// libpng believes the last header, the reader the first: together they wrote over the heap.
    @Test func pngWithTwoHeadersIsRefused() {
        let small = MadePNG.file(1, 1, depth: 8, type: 2, rows: [[1, 2, 3]])
        let large = MadePNG.file(
            100, 100, depth: 8, type: 2, rows: Array(repeating: Array(repeating: 7, count: 300), count: 100))
        let end = MadePNG.chunk("IEND", [])
        for (first, second) in [
            (large, MadePNG.header(1, 1, depth: 8, type: 2)),
            (small, MadePNG.header(100, 100, depth: 8, type: 2)),
        ] + (0..<6).map({ (small, MadePNG.chunk("IHDR", Array(repeating: 0, count: $0))) }) {
            for ending in [end, []] {
                #expect(throws: ImageError.self) {
                    try RGBImage(
                        decoding: Array(first.dropLast(end.count)) + second + ending, name: "two.png")
                }
            }
        }
    }

    @Test func pngRoundTrip() throws {
        let image = synthetic(61, 37)
        #expect(checksum(image.pixels) == 0x6716_97d0_9ac0_3008)
        #expect(try RGBImage(decoding: image.pngData(), name: "a") == image)
        #expect(try RGBImage(decoding: image.pngData(fast: true), name: "b") == image)
    }

    @Test func pngPaletteAndTransparency() throws {
        let palette = MadePNG.chunk("PLTE", [1, 2, 3, 40, 50, 60, 255, 0, 128])
        let half = MadePNG.chunk("tRNS", [0, 128])
        let indexed = MadePNG.file(3, 1, depth: 8, type: 3, rows: [[2, 0, 1]], extra: palette + half)
        #expect(try RGBImage(decoding: indexed, name: "p").pixels == [255, 0, 128, 1, 2, 3, 40, 50, 60])

        let rgba = MadePNG.file(2, 1, depth: 8, type: 6, rows: [[9, 8, 7, 0, 200, 100, 50, 128]])
        #expect(try RGBImage(decoding: rgba, name: "a").pixels == [9, 8, 7, 200, 100, 50])
        let greyAlpha = MadePNG.file(2, 1, depth: 8, type: 4, rows: [[9, 0, 200, 128]])
        #expect(try RGBImage(decoding: greyAlpha, name: "ga").pixels == [9, 9, 9, 200, 200, 200])
        let bits = MadePNG.file(4, 1, depth: 1, type: 0, rows: [[0b1010_0000]])
        #expect(
            try RGBImage(decoding: bits, name: "b").pixels == [
                255, 255, 255, 0, 0, 0, 255, 255, 255, 0, 0, 0,
            ])
    }

    /// Transparency changes no pixel, but the picture knows of it.
    @Test func pngEqualsPillow() throws {
        for (name, sum, isTransparent, base64) in PillowPNG.all {
            let image = try RGBImage(decoding: [UInt8](Data(base64Encoded: base64)!), name: name)
            #expect(image.width == 7 && image.height == 5)
            #expect(checksum(image.pixels) == sum, "\(name)")
            #expect(image.isTransparent == isTransparent, "\(name)")
        }
    }

    /// Interlaced pictures have the pixels that they have without, or are refused.
    @Test(
        arguments: [(0, 8), (0, 16), (2, 8), (2, 16), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]
            as [(UInt8, UInt8)])
    func interlacing(_ type: UInt8, _ depth: UInt8) throws {
        let channels: [UInt8: Int] = [0: 1, 2: 3, 3: 1, 4: 2, 6: 4]
        let size = try #require(channels[type]) * Int(depth) / 8
        // Four pixels: the upper two are passes of their own, the lower two one more.
        var pixels: [[UInt8]] = []
        for i in 0..<4 { pixels.append((0..<size).map { (k: Int) -> UInt8 in UInt8(40 * i + 9 * k + 3) }) }
        let colours: [UInt8] = (0..<768).map { (k: Int) -> UInt8 in UInt8(truncatingIfNeeded: 7 * k) }
        let palette: [UInt8] = type == 3 ? MadePNG.chunk("PLTE", colours) : []
        func picture(_ rows: [[UInt8]], interlaced: Bool) throws -> [UInt8] {
            let file = MadePNG.file(
                2, 2, depth: depth, type: type, rows: rows, extra: palette, interlaced: interlaced)
            return try RGBImage(decoding: file, name: "i.png").pixels
        }
        let plain = try picture([pixels[0] + pixels[1], pixels[2] + pixels[3]], interlaced: false)
        let rows = [pixels[0], pixels[1], pixels[2] + pixels[3]]
        if depth == 16 && (type == 4 || type == 6) {
            let error = #expect(throws: ImageError.self) { try picture(rows, interlaced: true) }
            #expect(error?.description.contains("interlaced PNG of 16 bits") == true)
        } else {
            #expect(try picture(rows, interlaced: true) == plain)
        }
        var colour: Set<[UInt8]> = []
        for i in 0..<4 { colour.insert(Array(plain[3 * i..<3 * i + 3])) }
        #expect(colour.count == 4)
    }

    @Test func transparencyThatIsTurnedUprightOrSixteenBitsDeep() throws {
        let block: [UInt8] = [0x4D, 0x4D, 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 3, 0, 0]
        let file = MadePNG.file(
            2, 1, depth: 8, type: 6, rows: [[1, 2, 3, 0, 4, 5, 6, 255]], extra: MadePNG.chunk("eXIf", block))
        let turned = try RGBImage(decoding: file, name: "o")
        #expect(turned.pixels == [4, 5, 6, 1, 2, 3] && turned.isTransparent)
        // The colour that is declared transparent is not looked for in 16 bits.
        let key = MadePNG.chunk("tRNS", [0x12, 0xFF])
        let deep = MadePNG.file(1, 1, depth: 16, type: 0, rows: [[0x12, 0xFF]], extra: key)
        let image = try RGBImage(decoding: deep, name: "d")
        #expect(image.pixels == [0x12, 0x12, 0x12] && image.isTransparent)
    }

    /// A few bytes for each scan, and each takes the decoder as long as a picture.
    @Test func endlessProgressiveJPEGIsRefused() throws {
        let file = MadeJPEG.progressive
        let last = file.indices.dropLast().last { file[$0] == 0xFF && file[$0 + 1] == 0xDA }!
        let scan = Array(file[last..<file.count - 2])
        let before = file.indices.dropLast().count { file[$0] == 0xFF && file[$0 + 1] == 0xDA }
        func with(scans: Int) -> [UInt8] {
            Array(file[..<(file.count - 2)]) + (before..<scans).flatMap { _ in scan } + [0xFF, 0xD9]
        }
        #expect(
            sentence { () throws(ImageError) in
                _ = try RGBImage(decoding: with(scans: 101), name: "endless.jpg")
            }
                == "The image 'endless.jpg' is of an unsupported kind: it is made of more than 100 scans, each of which costs the "
                + "time of a picture; save it anew.")
        #expect(try RGBImage(decoding: with(scans: 100), name: "long.jpg").width == 19)
    }

    @Test func pngColoursAreNotManaged() throws {
        let rows: [[UInt8]] = [[10, 100, 200, 0, 128, 255]]
        for gamma: UInt32 in [100_000, 22_000, 1] {
            let chunk = MadePNG.chunk("gAMA", MadePNG.big(gamma))
            let file = MadePNG.file(2, 1, depth: 8, type: 2, rows: rows, extra: chunk)
            #expect(try RGBImage(decoding: file, name: "g").pixels == rows[0])
        }
    }

    @Test func deepPNGKeepsItsHighByte() throws {
        let deep: [UInt8] = [0x12, 0xFF, 0x80, 0x00, 0xFE, 0xFF]
        let gamma = MadePNG.chunk("gAMA", MadePNG.big(45_455))
        for extra in [[], gamma] {
            let colour = MadePNG.file(1, 1, depth: 16, type: 2, rows: [deep], extra: extra)
            #expect(try RGBImage(decoding: colour, name: "d").pixels == [0x12, 0x80, 0xFE])
            let grey = MadePNG.file(3, 1, depth: 16, type: 0, rows: [deep], extra: extra)
            #expect(
                try RGBImage(decoding: grey, name: "d").pixels
                    == [0x12, 0x12, 0x12, 0x80, 0x80, 0x80, 0xFE, 0xFE, 0xFE])
            // With transparency: rounded, not multiplied by it.
            let alpha = MadePNG.file(1, 1, depth: 16, type: 6, rows: [deep + [0, 9]], extra: extra)
            #expect(try RGBImage(decoding: alpha, name: "d").pixels == [0x13, 0x80, 0xFE])
        }
    }

    @Test func pngOrientation() throws {
        let block: [UInt8] = [0x4D, 0x4D, 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 3, 0, 0]
        let file = MadePNG.file(
            2, 1, depth: 8, type: 2, rows: [[1, 2, 3, 4, 5, 6]], extra: MadePNG.chunk("eXIf", block))
        #expect(try RGBImage(decoding: file, name: "o").pixels == [4, 5, 6, 1, 2, 3])
    }

    @Test func everyTruncationIsRefused() {
        let files = [MadeJPEG.colour, MadeJPEG.progressive, MadeJPEG.grey, synthetic(9, 7).pngData()]
        for file in files {
            for length in 0..<file.count {
                let said = sentence { () throws(ImageError) in
                    _ = try RGBImage(decoding: Array(file[..<length]), name: "cut")
                }
                #expect(
                    said?.hasSuffix(".") == true, "\(length) of \(file.count) bytes were taken for a picture")
            }
        }
    }

    @Test func rowsThatAreMissingAreRefused() {
        // Complete chunks with too little in them.
        let file = MadePNG.file(4, 4, depth: 8, type: 2, rows: [[UInt8](repeating: 7, count: 12)])
        #expect(throws: ImageError.self) { try RGBImage(decoding: file, name: "short") }
    }

    @Test func claimsOfHugeSizesCostNothing() {
        let png =
            PNG.signature + MadePNG.header(50_000, 50_000, depth: 8, type: 2) + MadePNG.chunk("IDAT", [])
            + MadePNG.chunk("IEND", [])
        #expect(
            throws: ImageError.tooLarge(file: "huge", width: 50_000, height: 50_000)
        ) { try RGBImage(decoding: png, name: "huge") }
        let large =
            PNG.signature + MadePNG.header(14_000, 14_000, depth: 8, type: 2) + MadePNG.chunk("IDAT", [])
            + MadePNG.chunk("IEND", [])
        #expect(
            sentence { () throws(ImageError) in _ = try RGBImage(decoding: large, name: "large") }?
                .contains("holds only 0 bytes") == true)

        var jpeg = MadeJPEG.colour
        let frame = jpeg.indices.first { jpeg[$0...].starts(with: [0xFF, 0xC0]) }!
        jpeg.replaceSubrange(frame + 5..<frame + 9, with: [0xC3, 0x50, 0xC3, 0x50])
        #expect(
            throws: ImageError.tooLarge(file: "huge", width: 50_000, height: 50_000)
        ) { try RGBImage(decoding: jpeg, name: "huge") }
        jpeg.replaceSubrange(frame + 5..<frame + 9, with: [0, 0, 0, 5])
        #expect(throws: ImageError.self) { try RGBImage(decoding: jpeg, name: "flat") }
    }

    @Test func rubbishNeverCrashes() {
        var state: UInt64 = 42
        func random() -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33)
        }
        let seeds = [
            MadeJPEG.colour, MadeJPEG.progressive, MadeJPEG.oriented(6, little: false),
            synthetic(9, 7).pngData(), PNG.signature, [0xFF, 0xD8, 0xFF], [],
        ]
        for round in 0..<3000 {
            var bytes = seeds[round % seeds.count]
            if bytes.count < 10 {
                bytes += (0..<200).map { _ in UInt8(random() & 255) }
            } else {
                for _ in 0...random() % 3 { bytes[random() % bytes.count] ^= 1 << UInt8(random() % 8) }
            }
            let said = sentence { () throws(ImageError) in _ = try RGBImage(decoding: bytes, name: "x") }
            #expect(said == nil || said!.hasSuffix("."))
        }
    }

    @Test func whatIsNoPictureIsNamed() {
        func said(_ bytes: [UInt8]) -> String? {
            sentence { () throws(ImageError) in _ = try RGBImage(decoding: bytes, name: "x.jpg") }
        }
        #expect(said([])!.contains("is empty"))
        #expect(
            said(Array("....ftypavif".utf8))!.contains(
                "it is an HEIF, AVIF or MP4 file, and only PNG, JPEG, WebP, TIFF, GIF and BMP are read"))
        #expect(said([0, 0, 0, 12] + Array("jP  ".utf8))!.contains("it is a JPEG 2000 image"))
        #expect(
            said(Array("hello".utf8))!.contains(
                "no picture in a format that is read (PNG, JPEG, WebP, TIFF, GIF or BMP)"))
        #expect(said(Array("BM is how this text begins".utf8))!.contains("no picture in a format"))
    }

    @Test func filesThatCannotBeRead() throws {
        let scratch = try TemporaryDirectory()
        let missing = scratch.path + "/none.png"
        #expect(
            sentence { () throws(ImageError) in _ = try RGBImage.load(path: missing) }
                == "Cannot read '\(missing)': there is no such file.")
        #expect(
            sentence { () throws(ImageError) in _ = try RGBImage.load(path: scratch.path) }?
                .contains("it is a directory") == true)
        #expect(
            sentence { () throws(ImageError) in _ = try RGBImage.load(path: "/dev/null") }?
                .contains("not a regular file") == true)
    }

    @Test(.enabled(if: photographs != nil, "the photographs are not beside this checkout"))
    func photographsAsPillowReadsThem() throws {
        // Checksums of Pillow's pixels, whole and after torchvision's Resize(256), CenterCrop(224).
        let known: [(String, UInt64, UInt64)] = [
            ("african_elephant_1.jpg", 0x4750_227b_e869_ab41, 0xacf_f286_2626_5b71),
            ("cat_chelsea.png", 0xb217_9687_9661_57a8, 0x4ef0_8003_9560_ed28),
            ("dog.jpg", 0x1f32_5145_7142_c378, 0x6927_545f_1663_0892),
            ("zebra.jpg", 0x40ac_2650_4486_f9ce, 0x305a_1c5a_d7e9_1c84),
        ]
        for (name, whole, view) in known {
            let image = try RGBImage.load(path: "\(photographs!)/\(name)")
            #expect(checksum(image.pixels) == whole, "\(name)")
            #expect(checksum(try Preprocessing.imagenet.view(of: image).image.pixels) == view, "\(name)")
        }
    }
}
