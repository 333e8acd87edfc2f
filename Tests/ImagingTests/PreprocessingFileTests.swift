// Preprocessing as timm and Hugging Face write it, against what they make of pictures, and the forms that only we have.

import Imaging
import Testing
import Text

@Suite struct PreprocessingFileTests {
    /// The bytes to the last, and the numbers to a few units in the last place: of what others compute in several steps, or in double precision.
    @Test(arguments: PreprocessingReference.all)
    func seesWhatOthersSee(_ reference: PreprocessingReference) throws {
        let asked = reference.asked.map { Preprocessing.Size(width: $0.0, height: $0.1) }
        let preprocessing = try Preprocessing(
            json: Array(reference.json.utf8), name: reference.name, size: asked)
        let (width, height) = reference.picture
        let view = try preprocessing.view(of: synthetic(width, height)).image
        #expect([view.width, view.height] == [reference.size.0, reference.size.1], "\(reference.name)")
        #expect(checksum(view.pixels) == reference.checksum, "\(reference.name)")
        let channels = preprocessing.mean.count
        #expect(reference.numbers.count == channels * PreprocessingReference.levels.count)
        for (i, level) in PreprocessingReference.levels.enumerated() {
            let solid = RGBImage(width: width, height: height, colour: (level, level, level))
            let prepared = try preprocessing.apply(solid)
            let cells = prepared.width * prepared.height
            for channel in 0..<channels {
                let middle = prepared.height / 2 * prepared.width + prepared.width / 2
                let (ours, theirs) = (
                    prepared.tensor[channel * cells + middle], reference.numbers[i * channels + channel]
                )
                #expect(abs(ours - theirs) <= 4e-7 * max(1, abs(theirs)), "\(reference.name), \(level)")
            }
        }
        // What was understood is what we write.
        let again = try Preprocessing(
            json: Array(JSON.object(preprocessing.entries).text.utf8), name: "again")
        #expect(again == preprocessing, "\(reference.name)")
    }

    @Test(arguments: [
        (
            #"{"input_size": [3, 24, 24], "crop_mode": "random"}"#,
            "\"crop_mode\" is \"random\", but must be center"
        ),
        (#"{"input_size": [3, 24, 24], "interpolation": "random"}"#, "\"interpolation\" is \"random\""),
        (#"{"input_size": [3, 24]}"#, "\"input_size\" must hold three numbers"),
        (#"{"input_size": [5, 24, 24]}"#, "must hold the number of channels, which is 3 or 1"),
        (#"{"input_size": [1, 24, 24]}"#, "neither \"mean\" nor \"std\" may be left out"),
        (#"{"input_size": [3, 24, 24], "crop_pct": 0}"#, "\"crop_pct\" must be above 0"),
        (#"{"input_size": [3, 24, 24], "gamma": 2}"#, "unknown key \"gamma\""),
        (
            #"{"pretrained_cfg": {"input_size": [3, 24, 24], "gamma": 2}}"#,
            "unknown key \"gamma\" in \"pretrained_cfg\""
        ),
        (#"{"pretrained_cfg": 3}"#, "\"pretrained_cfg\" must be an object"),
        (
            #"{"image_processor_type": "ImageGPTImageProcessor"}"#,
            "it is for the class \"ImageGPTImageProcessor\", and known are Beit"
        ),
        (
            #"{"do_resize": true, "size": 224, "resample": 2, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}"#,
            "which may be both sides or the shorter one"
        ),
        (#"{"do_resize": true}"#, "it names no class (image_processor_type)"),
        (
            #"{"image_processor_type": "ViTImageProcessor", "resample": 6}"#,
            "\"resample\" must be one of Pillow's filters"
        ),
        (
            #"{"image_processor_type": "ViTImageProcessor", "size": {"shortest_edge": 6}}"#,
            "\"size\" must hold \"height\" and \"width\""
        ),
        (#"{"image_processor_type": "ViTImageProcessor", "do_pad": true}"#, "unknown key \"do_pad\""),
        (
            #"{"image_processor_type": "ViTImageProcessor", "do_resize": 1}"#,
            "\"do_resize\" must be true or false"
        ),
        (
            #"{"image_processor_type": "ViTImageProcessor", "image_std": [1, 0, 1]}"#,
            "\"image_std\" must not hold a zero"
        ),
        (
            #"{"image_processor_type": "ConvNextImageProcessor", "size": {"height": 6, "width": 6}}"#,
            "must be one number, or a \"shortest_edge\""
        ),
        (#"{"resize": {"fit": {"width": 3}}}"#, "the key \"resize.fit.height\" is missing"),
        (#"{"resize": {"fit": {"width": 3, "height": 3}, "cover": {}}}"#, "unknown key \"cover\""),
        (
            #"{"resize": "none", "padding": [1, 2, 300]}"#,
            "\"padding\" must hold whole numbers between 0 and 255"
        ),
        (#"{"resize": "none", "colours": "grey", "mean": [1, 2, 3]}"#, "\"mean\" must hold one number"),
        (
            #"{"resize": "none", "mean": [1, 2, 3, 4], "std": [1, 2, 3]}"#,
            "\"std\" must hold as many numbers as \"mean\""
        ),
    ])
    func faults(_ text: String, _ expected: String) {
        let said = sentence { () throws(ImageError) in
            _ = try Preprocessing(json: Array(text.utf8), name: "p.json")
        }
        #expect(said?.contains(expected) == true, "\(said ?? "accepted")")
    }

    /// A configuration of timm is a rule for any size, unless it says that its network has one.
    @Test func timmFollowsTheNetwork() throws {
        let text = #"{"input_size": [3, 224, 224], "crop_pct": 0.9, "fixed_input_size": FIXED}"#
        func size(_ fixed: String) throws(ImageError) -> Preprocessing {
            try Preprocessing(
                json: Array(text.replacing("FIXED", with: fixed).utf8), name: "c",
                size: .init(width: 384, height: 384))
        }
        let free = try size("false")
        #expect(free.resize == .shortSide(426) && free.crop == .init(width: 384, height: 384))
        let said = sentence { () throws(ImageError) in _ = try size("true") }
        #expect(said?.contains("takes pictures of 224×224 only") == true)
        // ConvNext's way with a size depends on it.
        let convNext = try Preprocessing(
            json: Array(#"{"image_processor_type": "ConvNextImageProcessor", "size": 224}"#.utf8), name: "c",
            size: .init(width: 384, height: 384))
        #expect(convNext.resize == .exact(width: 384, height: 384) && convNext.crop == nil)
    }

    /// The whole picture, and the colour around it.
    @Test func letterbox() throws {
        let text = #"{"resize": {"fit": {"width": 8, "height": 6}}, "padding": [114, 115, 116]}"#
        let letterbox = try Preprocessing(json: Array(text.utf8), name: "l")
        let view = try letterbox.view(of: RGBImage(width: 4, height: 2, colour: (9, 8, 7)))
        #expect([view.image.width, view.image.height] == [8, 6])
        let padding = Array(repeating: [114, 115, 116] as [UInt8], count: 8).flatMap(\.self)
        let row = Array(repeating: [9, 8, 7] as [UInt8], count: 8).flatMap(\.self)
        #expect(view.image.pixels == padding + row + row + row + row + padding)
        #expect(view.region == Region(x: 0, y: -0.5, width: 4, height: 3))
        let large = letterbox.fitting(width: 16, height: 12)
        #expect(large.resize == .fit(width: 16, height: 12) && large.crop == .init(width: 16, height: 12))
    }

    /// A grey network's one number is Pillow's lightness if that is asked for, else the mean of what three would be.
    @Test func grey() throws {
        let image = RGBImage(width: 1, height: 1, colour: (200, 100, 50))
        let lightness = Preprocessing(resize: .none, colours: .grey, mean: [100], std: [2])
        // (19595·200 + 38470·100 + 7471·50 + 32768) / 65536 = 124.7
        #expect(try lightness.apply(image).tensor == [12])
        #expect(try lightness.apply(image, channels: 3).tensor == [12, 12, 12])
        let mean = Preprocessing(resize: .none, mean: [100, 0, 0], std: [2, 1, 1])
        #expect(try mean.apply(image, channels: 1).tensor == [(50 + 100 + 50) / 3])
    }

    /// Opacity is prepared like a colour, and is 255 where the picture does not state it.
    @Test func opacity() throws {
        let rows: [[UInt8]] = [[10, 20, 30, 0, 40, 50, 60, 128]]
        let file = MadePNG.file(2, 1, depth: 8, type: 6, rows: rows)
        let image = try RGBImage(decoding: file, name: "a.png")
        #expect(
            image.opacity == [0, 128] && image.isTransparent && image.pixels == [10, 20, 30, 40, 50, 60])
        let plain = Preprocessing(resize: .none, colours: .bgr, divisor: 2)
        #expect(try plain.view(of: image).image.opacity == nil)
        let four = plain.fitting(channels: 4)
        #expect(four.hasOpacity && plain.fitting(channels: 3) == plain)
        #expect(try four.apply(image).tensor == [15, 30, 10, 25, 5, 20, 0, 64])
        let opaque = RGBImage(width: 1, height: 1, colour: (10, 20, 30))
        #expect(try four.apply(opaque).tensor == [15, 10, 5, 127.5])
        // It is resized as a colour is, and lies where the colours lie.
        let wide = try Preprocessing(resize: .exact(width: 4, height: 1), interpolation: .box).fitting(
            channels: 4
        )
        .view(of: image.upright(orientation: 2))
        #expect(wide.image.opacity == [128, 128, 0, 0])
        let padded = try Preprocessing(resize: .none, crop: .init(width: 4, height: 1)).fitting(channels: 4)
            .view(of: image)
        #expect(padded.image.opacity == [0, 0, 128, 0])
    }

    @Test func aColourOf16BitsIsNoOpacity() throws {
        let transparent = MadePNG.chunk("tRNS", [0, 10, 0, 20, 0, 30])
        let file = MadePNG.file(
            1, 1, depth: 16, type: 2, rows: [[0, 10, 0, 20, 0, 30]], extra: transparent)
        let image = try RGBImage(decoding: file, name: "a.png")
        #expect(throws: ImageError.self) {
            try Preprocessing(resize: .none).fitting(channels: 4).view(of: image)
        }
    }
}
