// The JSON form of a preprocessing: a file that users write, and what a model carries in its metadata under
// `whitebox.preprocessing`. All keys but "resize" may be left out; an unknown key is an error. What timm and Hugging Face write instead is
// told by its keys, and read in PreprocessingTimm.swift and PreprocessingHuggingFace.swift.
//
//     {
//       "resize": {"shortSide": 256},            or {"width": 224, "height": 224}, or "none"; or, with the proportions kept,
//                                                {"fit": {"width": …, "height": …}} (a letterbox) or {"cover": {…}}
//       "interpolation": "bilinear",             nearest, box, bilinear, hamming, bicubic or lanczos; bilinear if left out
//       "crop": {"width": 224, "height": 224},   no crop if left out; of "fit" and "cover" that size
//       "cropRounding": "even",                  even or down: where a crop begins if margins are odd; even if left out
//       "padding": [114, 114, 114],              R, G, B around a picture that is smaller than the crop; black if left out
//       "colours": "rgb",                        rgb, bgr or grey; rgb if left out
//       "divisor": 255,                          1 if left out
//       "mean": [0.485, 0.456, 0.406],           0 if left out; one number of a grey, four with opacity
//       "std": [0.229, 0.224, 0.225]             1 if left out
//     }
//
// value = (pixel / divisor − mean[c]) / std[c], mean and std in the network's channel order.

import Files
import Text

extension Preprocessing {
    /// The metadata key under which a model carries its preprocessing.
    package static let metadataKey = "whitebox.preprocessing"

    /// Reads a preprocessing file.
    /// - Parameter size: what the network takes, if that is known; forms that stand for several sizes become it.
    package static func load(path: String, size: Size? = nil) throws(ImageError) -> Preprocessing {
        let bytes: [UInt8]
        do { bytes = try InputFile.contents(path) } catch { throw .file(error) }
        return try Preprocessing(json: bytes, name: path, size: size)
    }

    /// Reads any of the JSON forms; `name` is what errors call it.
    package init(json: [UInt8], name: String, size: Size? = nil) throws(ImageError) {
        do throws(Fault) {
            let file = try Entries(file: json)
            if Preprocessing.isTimm(file) {
                self = try Preprocessing(timm: file, size: size)
            } else if Preprocessing.isHuggingFace(file) {
                self = try Preprocessing(huggingFace: file, size: size)
            } else {
                self = try Preprocessing(file)
            }
        } catch {
            throw .badPreprocessing(file: name, reason: error.reason)
        }
    }

    /// The entries of the JSON form.
    package var entries: [(String, JSON)] {
        func object(_ size: Size) -> JSON {
            .object([("width", .int(size.width)), ("height", .int(size.height))])
        }
        let resizing: JSON =
            switch resize {
            case .shortSide(let side): .object([("shortSide", .int(side))])
            case .exact(let width, let height): object(Size(width: width, height: height))
            case .fit(let width, let height):
                .object([("fit", object(Size(width: width, height: height)))])
            case .cover(let width, let height):
                .object([("cover", object(Size(width: width, height: height)))])
            case .none: .string("none")
            }
        return [
            ("resize", resizing), ("interpolation", .string(interpolation.rawValue)),
            ("crop", crop.map(object) ?? .null),
        ]
            // What is nothing special is not said.
            + (cropRounding == .even ? [] : [("cropRounding", .string(cropRounding.rawValue))])
            + (padding == [0, 0, 0] ? [] : [("padding", .array(padding.map { .int(Int($0)) }))]) + [
                ("colours", .string(colours.rawValue)),
                ("divisor", .float(divisor)), ("mean", .array(mean.map(JSON.float))),
                ("std", .array(std.map(JSON.float))),
            ]
    }

    /// A whole number without its ".0".
    static func number(_ value: Float) -> String {
        value == value.rounded() && abs(value) < 1e6 ? "\(Int(value))" : "\(value)"
    }

    // MARK: Reading

    struct Fault: Error { let reason: String }

    /// An object of the file.
    struct Entries {
        private let entries: [(key: String, value: JSON)]
        /// What errors put before its keys: its own key and a dot.
        private let prefix: String

        init(file bytes: [UInt8]) throws(Fault) {
            let value: JSON
            do {
                value = try JSON(reading: bytes)
            } catch {
                throw Fault(reason: "it is not JSON: \(error)")
            }
            guard case .object(let entries) = value else { throw Fault(reason: "it is not a JSON object") }
            (self.entries, prefix) = (entries, "")
        }

        /// The object under `key`, whose own keys are not yet checked.
        init(_ key: String, in outer: Entries) throws(Fault) {
            guard case .object(let entries) = try outer.value(key) else {
                throw outer.fault(
                    key,
                    "must be an object"
                        + (outer.prefix + key == "resize" ? " such as {\"shortSide\": 256}, or \"none\"" : "")
                )
            }
            (self.entries, prefix) = (entries, outer.prefix + key + ".")
        }

        var keys: [String] { entries.map(\.key) }

        /// - Parameter harmless: keys that may be here too, and are not read. One that says nothing may be here whatever its name.
        func check(knows known: [String], harmless: [String]? = nil) throws(Fault) {
            let place = prefix.isEmpty ? "" : " in \"\(prefix.dropLast())\""
            for (key, _) in entries where !known.contains(key) {
                if let harmless, harmless.contains(key) || !has(key) { continue }
                throw Fault(
                    reason:
                        "unknown key \"\(shortened(key))\"\(place); known are \(known.joined(separator: ", "))"
                )
            }
        }

        /// Whether the key is there and says something; null is nothing.
        func has(_ key: String) -> Bool {
            entries.contains { entry in
                if case .null = entry.value { false } else { entry.key == key }
            }
        }

        func fault(_ key: String, _ reason: String) -> Fault {
            Fault(reason: "\"\(prefix)\(key)\" \(reason)")
        }

        func value(_ key: String) throws(Fault) -> JSON {
            guard let entry = entries.first(where: { $0.key == key }) else {
                throw Fault(reason: "the key \"\(prefix)\(key)\" is missing")
            }
            return entry.value
        }

        func text(_ key: String) throws(Fault) -> String {
            guard case .string(let text) = try value(key) else { throw fault(key, "must be a text") }
            return text
        }

        private func double(_ value: JSON, _ key: String) throws(Fault) -> Double {
            let number: Double? =
                switch value {
                case .int(let number): Double(number)
                case .double(let number): number
                default: nil
                }
            guard let number else { throw fault(key, "must be a number") }
            guard Float(number).isFinite else { throw fault(key, "holds a number that does not fit") }
            return number
        }

        private func number(_ value: JSON, _ key: String) throws(Fault) -> Float {
            if case .int(let number) = value { return Float(number) }
            return Float(try double(value, key))
        }

        /// What the key says, or `standard` if it says nothing.
        func double(_ key: String, _ standard: Double) throws(Fault) -> Double {
            has(key) ? try double(value(key), key) : standard
        }

        func truth(_ key: String, _ standard: Bool) throws(Fault) -> Bool {
            guard has(key) else { return standard }
            guard case .bool(let truth) = try value(key) else { throw fault(key, "must be true or false") }
            return truth
        }

        /// What the key says, or `standard` if it says nothing.
        func number(_ key: String, _ standard: Float) throws(Fault) -> Float {
            has(key) ? try number(value(key), key) : standard
        }

        /// A list of as many numbers as one of `counts`; nil if the key says nothing.
        func numbers(_ key: String, counts: [Int]) throws(Fault) -> [Float]? {
            guard has(key) else { return nil }
            let words = [1: "one number", 2: "two numbers", 3: "three numbers", 4: "four numbers"]
            guard case .array(let items) = try value(key) else {
                throw fault(key, "must be a list of \(words[counts[0]]!)")
            }
            guard counts.contains(items.count) else {
                throw fault(
                    key,
                    counts == [1]
                        ? "must hold one number, as a grey has one channel"
                        : counts == [2]
                            ? "must hold two numbers"
                            : "must hold three numbers, one for each channel"
                                + (counts.contains(4) ? ", or four with the opacity's" : ""))
            }
            var numbers: [Float] = []
            for (i, item) in items.enumerated() { numbers.append(try number(item, "\(key)[\(i)]")) }
            return numbers
        }

        func choice<Choice: RawRepresentable & CaseIterable>(
            _ key: String, _ standard: Choice
        ) throws(Fault) -> Choice where Choice.RawValue == String {
            guard has(key) else { return standard }
            let text = try text(key)
            guard let value = Choice(rawValue: text) else {
                let all = Choice.allCases.map(\.rawValue).joined(separator: ", ")
                throw fault(key, "is \"\(shortened(text))\", but must be one of \(all)")
            }
            return value
        }

        func side(_ key: String) throws(Fault) -> Int {
            let value = try number(value(key), key)
            guard (1...16384).contains(value) && value == value.rounded() else {
                throw Fault(
                    reason:
                        "\"\(key)\" is \(Preprocessing.number(value)), but must be a whole number between 1 and 16384"
                )
            }
            return Int(value)
        }

        /// - Parameter known: the keys that may be here; two of them are read.
        func size(_ known: [String] = ["width", "height"]) throws(Fault) -> Size {
            try check(knows: known)
            return Size(width: try side("width"), height: try side("height"))
        }
    }

    private init(_ file: Entries) throws(Fault) {
        try file.check(
            knows: [
                "resize", "interpolation", "crop", "cropRounding", "padding", "colours", "divisor", "mean",
                "std",
            ])
        let resize: Resize
        // Of what keeps the proportions, the size that is asked for is what comes out.
        var crop: Size?
        if case .string(let word) = try file.value("resize") {
            guard word == "none" else {
                throw file.fault(
                    "resize", "is \"\(shortened(word))\", but the only word that it may be is \"none\"")
            }
            resize = .none
        } else {
            let entries = try Entries("resize", in: file)
            if entries.has("shortSide") {
                try entries.check(knows: ["shortSide"])
                resize = .shortSide(try entries.side("shortSide"))
            } else if entries.has("fit") || entries.has("cover") {
                let word = entries.has("fit") ? "fit" : "cover"
                try entries.check(knows: [word])
                let size = try Entries(word, in: entries).size()
                resize =
                    word == "fit"
                    ? .fit(width: size.width, height: size.height)
                    : .cover(width: size.width, height: size.height)
                crop = size
            } else {
                let size = try entries.size(["shortSide", "width", "height", "fit", "cover"])
                resize = .exact(width: size.width, height: size.height)
            }
        }
        let divisor = try file.number("divisor", 1)
        guard divisor != 0 else { throw file.fault("divisor", "must not be zero") }
        let colours = try file.choice("colours", ColourOrder.rgb)
        let counts = colours == .grey ? [1] : [3, 4]
        let (mean, std) = (
            try file.numbers("mean", counts: counts), try file.numbers("std", counts: counts)
        )
        guard std?.contains(0) != true else { throw file.fault("std", "must not hold a zero") }
        if let mean, let std, mean.count != std.count {
            throw file.fault("std", "must hold as many numbers as \"mean\", which holds \(mean.count)")
        }
        if file.has("crop") { crop = try Entries("crop", in: file).size() }
        var padding: [UInt8] = [0, 0, 0]
        if let numbers = try file.numbers("padding", counts: [3]) {
            guard numbers.allSatisfy({ (0...255).contains($0) && $0 == $0.rounded() }) else {
                throw file.fault("padding", "must hold whole numbers between 0 and 255")
            }
            padding = numbers.map { UInt8($0) }
        }
        self.init(
            resize: resize, interpolation: try file.choice("interpolation", Interpolation.bilinear),
            crop: crop, cropRounding: try file.choice("cropRounding", CropRounding.even), padding: padding,
            colours: colours, divisor: divisor, mean: mean, std: std)
    }
}
