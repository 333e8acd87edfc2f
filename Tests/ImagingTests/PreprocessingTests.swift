// Preparing photographs: torchvision's sizes and offsets, the exact formula, and the JSON form.

import Imaging
import Testing
import Text

@Suite struct PreprocessingTests {
    @Test func presetsSeeWhatTorchvisionSees() throws {
        let image = synthetic(61, 37)
        #expect(checksum(try Preprocessing.imagenet.view(of: image).image.pixels) == 0xff6c_f5ee_f516_0daf)
        #expect(checksum(try Preprocessing.lite.view(of: image).image.pixels) == 0x0a8a_4737_9e69_3e47)
    }

    /// Short side, crop, checksum of Resize and CenterCrop done with Pillow: odd margins and padding included.
    @Test func resizeAndCrop() throws {
        let known: [(Int, Int, UInt64)] = [
            (27, 24, 0x91b8_6d30_96a7_981), (25, 24, 0xe5e0_3308_264d_e4a8), (30, 33, 0x827b_3738_f9ed_9522),
            (20, 50, 0xe7bd_d97e_0f9d_b719),
        ]
        for (side, crop, sum) in known {
            let preprocessing = Preprocessing(
                resize: .shortSide(side), crop: .init(width: crop, height: crop))
            let view = try preprocessing.view(of: synthetic(61, 37)).image
            #expect(view.width == crop && view.height == crop)
            #expect(checksum(view.pixels) == sum, "short side \(side), crop \(crop)")
        }
        let portrait = synthetic(61, 37).upright(orientation: 5)
        let view = try Preprocessing(resize: .shortSide(27), crop: .init(width: 24, height: 24)).view(
            of: portrait)
        #expect(checksum(view.image.pixels) == 0x27e0_301c_0c17_816a)
    }

    @Test func margins() throws {
        // (size − crop) / 2 = 0.5 and 2.5 round to the even 0 and 2, 1.5 to 2.
        for (size, left) in [(5, 0.0), (7, 2), (9, 2), (6, 1), (3, 0), (2, -1), (1, -1)] {
            let region = try Preprocessing(resize: .none, crop: .init(width: 4, height: 4))
                .view(of: RGBImage(width: size, height: size)).region
            #expect(region == Region(x: left, y: left, width: 4, height: 4), "\(size)")
        }
    }

    @Test func regionIsInPixelsOfThePhotograph() throws {
        let region = try Preprocessing.imagenet.view(of: RGBImage(width: 1024, height: 512)).region
        // 1024 × 512 becomes 512 × 256: everything counts twice.
        #expect(region == Region(x: 288, y: 32, width: 448, height: 448))
        let squeezed = try Preprocessing.tf.view(of: RGBImage(width: 100, height: 50)).region
        #expect(squeezed == Region(x: 0, y: 0, width: 100, height: 50))
    }

    @Test func numbers() throws {
        let image = RGBImage(width: 1, height: 1, colour: (10, 130, 255))
        func values(_ preset: Preprocessing) throws -> [Float] {
            var preset = preset
            preset.resize = .none
            preset.crop = nil
            return try preset.apply(image).tensor
        }
        let mean: [Float] = [0.485, 0.456, 0.406]
        let std: [Float] = [0.229, 0.224, 0.225]
        #expect(
            try values(.imagenet)
                == [
                    (10 / 255 - mean[0]) / std[0], (130 / 255 - mean[1]) / std[1],
                    (255 / 255 - mean[2]) / std[2],
                ])
        #expect(try values(.lite) == [-117 / 128, 3 / 128, 1])
        #expect(try values(.caffe) == [255 - 103.939, 130 - 116.779, 10 - 123.68])
        #expect(try values(.tf) == [10 / 127.5 - 1, 130 / 127.5 - 1, 1])
        #expect(try values(.none) == [10, 130, 255])
    }

    @Test func bothOrdersHoldTheSame() throws {
        let image = synthetic(61, 37)
        let planar = try Preprocessing.caffe.apply(image)
        #expect(planar.width == 224 && planar.height == 224 && planar.tensor.count == 3 * 224 * 224)
        let count = 224 * 224
        for order in [ChannelOrder.planar, .channelsLast] {
            // The second place of a batch of two.
            var batch = [Float](repeating: .nan, count: 6 * count)
            let view = try batch.withUnsafeMutableBufferPointer { buffer throws(ImageError) in
                try Preprocessing.caffe.apply(
                    image, into: UnsafeMutableBufferPointer(rebasing: buffer[(3 * count)...]), order: order)
            }
            #expect(view == planar.view)
            let untouched = batch[..<(3 * count)].allSatisfy { $0.isNaN }
            #expect(untouched)
            for channel in 0..<3 {
                for pixel in 0..<count {
                    let at = order == .planar ? channel * count + pixel : 3 * pixel + channel
                    try #require(batch[3 * count + at] == planar.tensor[channel * count + pixel])
                }
            }
        }
    }

    @Test func fittingAnotherInput() {
        let large = Preprocessing.imagenet.fitting(width: 299, height: 299)
        #expect(large.resize == .shortSide(342) && large.crop == .init(width: 299, height: 299))
        #expect(Preprocessing.imagenet.fitting(width: 224, height: 224) == .imagenet)
        let wide = Preprocessing.imagenet.fitting(width: 448, height: 224)
        #expect(wide.resize == .shortSide(512) && wide.crop == .init(width: 448, height: 224))
        #expect(
            Preprocessing.tf.fitting(width: 299, height: 300).resize == .exact(width: 299, height: 300))
        #expect(Preprocessing.none.fitting(width: 299, height: 299) == .none)
    }

    @Test func absurdProportionsAreRefusedNotComputed() throws {
        let thread = RGBImage(width: 4_000_000, height: 1)
        #expect(try Preprocessing.imagenet.view(of: thread).image.width == 224)
        let uncropped = Preprocessing(resize: .shortSide(256))
        #expect(throws: ImageError.self) { try uncropped.view(of: thread) }
    }

    // MARK: JSON

    @Test func jsonRoundTrip() throws {
        for (name, value) in Preprocessing.presets {
            let text = JSON.object(value.entries).text
            #expect(try Preprocessing(json: Array(text.utf8), name: name) == value, "\(name)")
            #expect(Preprocessing.preset(named: name) == value)
        }
        #expect(
            JSON.object(Preprocessing.imagenet.entries).text == """
                {
                  "resize": {"shortSide": 256},
                  "interpolation": "bilinear",
                  "crop": {"width": 224, "height": 224},
                  "colours": "rgb",
                  "divisor": 255.0,
                  "mean": [0.485, 0.456, 0.406],
                  "std": [0.229, 0.224, 0.225]
                }

                """)
        #expect(Preprocessing.preset(named: "nonsense") == nil)
    }

    @Test func jsonMayBeShort() throws {
        let text = #"{"resize": "none"}"#
        #expect(try Preprocessing(json: Array(text.utf8), name: "x") == .none)
    }

    @Test(arguments: [
        ("", "it is not JSON"), ("[1]", "it is not a JSON object"), ("{}", "the key \"resize\" is missing"),
        (
            #"{"resize": {"shortside": 256}}"#,
            "unknown key \"shortside\" in \"resize\"; known are shortSide, width, height"
        ),
        (#"{"resize": "none", "men": [0, 0, 0]}"#, "unknown key \"men\"; known are resize, interpolation"),
        (#"{"resize": {"shortSide": 256, "width": 3}}"#, "unknown key \"width\" in \"resize\""),
        (#"{"resize": {"width": 3}}"#, "the key \"resize.height\" is missing"),
        (
            #"{"resize": {"shortSide": 0}}"#,
            "\"shortSide\" is 0, but must be a whole number between 1 and 16384"
        ),
        (#"{"resize": {"shortSide": 2.5}}"#, "\"shortSide\" is 2.5, but must be a whole number"),
        (#"{"resize": {"shortSide": "x"}}"#, "\"resize.shortSide\" must be a number"),
        (#"{"resize": "big"}"#, "the only word that it may be is \"none\""),
        (#"{"resize": 7}"#, "\"resize\" must be an object such as"),
        (#"{"resize": null}"#, "\"resize\""),
        (#"{"resize": "none", "crop": {"width": 2}}"#, "the key \"crop.height\" is missing"),
        (#"{"resize": "none", "std": [1, 0, 1]}"#, "\"std\" must not hold a zero"),
        (#"{"resize": "none", "mean": [1, 0]}"#, "\"mean\" must hold three numbers"),
        (#"{"resize": "none", "mean": 5}"#, "\"mean\" must be a list"),
        (#"{"resize": "none", "mean": [1, "a", 2]}"#, "\"mean[1]\" must be a number"),
        (#"{"resize": "none", "divisor": 0}"#, "\"divisor\" must not be zero"),
        (#"{"resize": "none", "colours": "grb"}"#, "\"colours\" is \"grb\", but must be one of rgb, bgr"),
        (#"{"resize": "none", "interpolation": 1}"#, "\"interpolation\" must be a text"),
        (#"{"resize": "none", "divisor": 1e39}"#, "\"divisor\" holds a number that does not fit"),
        (#"{"resize": "none", "divisor": 1, "divisor": 2}"#, "the key \"divisor\" is there twice"),
        (String(repeating: "[", count: 513), "it is not JSON: its values nest more than 32 deep"),
    ])
    func jsonFaults(_ text: String, _ expected: String) {
        let said = sentence { () throws(ImageError) in
            _ = try Preprocessing(json: Array(text.utf8), name: "p.json")
        }
        #expect(said?.contains(expected) == true, "\(said ?? "accepted")")
        #expect(said?.hasPrefix("The preprocessing 'p.json' is not valid: ") == true)
    }

    /// A network of one channel takes the mean of three channels' numbers: a channel of a small deviation weighs more.
    @Test func greyIsWhatTheMeanOfTheChannelsIs() {
        let image = RGBImage(width: 2, height: 1, pixels: [10, 20, 60, 255, 0, 0])
        #expect(Preprocessing(resize: .none).grey(image).pixels == [30, 30, 30, 85, 85, 85])
        let weighted = Preprocessing(resize: .none, colours: .bgr, std: [1, 2, 4])
        // B, G, R weigh 4, 2 and 1 sevenths.
        #expect(weighted.grey(image).pixels == [41, 41, 41, 36, 36, 36])
    }
}
