// The JSON form of a preprocessing: a file that users write, and what a model carries in its metadata under
// `whitebox.preprocessing`. All keys but "resize" may be left out; an unknown key is an error.
//
//     {
//       "resize": {"shortSide": 256},            or {"width": 224, "height": 224}, or "none"
//       "interpolation": "bilinear",             nearest, box, bilinear or bicubic; bilinear if left out
//       "crop": {"width": 224, "height": 224},   no crop if left out
//       "colours": "rgb",                        rgb or bgr; rgb if left out
//       "divisor": 255,                          1 if left out
//       "mean": [0.485, 0.456, 0.406],           0 if left out
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
    package static func load(path: String) throws(ImageError) -> Preprocessing {
        let bytes: [UInt8]
        do { bytes = try InputFile.contents(path) } catch { throw .file(error) }
        return try Preprocessing(json: bytes, name: path)
    }

    /// Reads the JSON form; `name` is what errors call it.
    package init(json: [UInt8], name: String) throws(ImageError) {
        do throws(Fault) {
            self = try Preprocessing(Entries(file: json))
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
            case .none: .string("none")
            }
        return [
            ("resize", resizing), ("interpolation", .string(interpolation.rawValue)),
            ("crop", crop.map(object) ?? .null), ("colours", .string(colours.rawValue)),
            ("divisor", .float(divisor)), ("mean", .array(mean.map(JSON.float))),
            ("std", .array(std.map(JSON.float))),
        ]
    }

    /// A whole number without its ".0".
    private static func number(_ value: Float) -> String {
        value == value.rounded() && abs(value) < 1e6 ? "\(Int(value))" : "\(value)"
    }

    // MARK: Reading

    private struct Fault: Error { let reason: String }

    /// An object of the file.
    private struct Entries {
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
                        + (key == "resize" ? " such as {\"shortSide\": 256}, or \"none\"" : ""))
            }
            (self.entries, prefix) = (entries, outer.prefix + key + ".")
        }

        func check(knows known: [String]) throws(Fault) {
            let place = prefix.isEmpty ? "" : " in \"\(prefix.dropLast())\""
            for (key, _) in entries where !known.contains(key) {
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

        private func number(_ value: JSON, _ key: String) throws(Fault) -> Float {
            let number: Float? =
                switch value {
                case .int(let number): Float(number)
                case .double(let number): Float(number)
                default: nil
                }
            guard let number else { throw fault(key, "must be a number") }
            guard number.isFinite else { throw fault(key, "holds a number that does not fit") }
            return number
        }

        /// What the key says, or `standard` if it says nothing.
        func number(_ key: String, _ standard: Float) throws(Fault) -> Float {
            has(key) ? try number(value(key), key) : standard
        }

        func numbers(_ key: String, _ standard: Float) throws(Fault) -> [Float] {
            guard has(key) else { return [standard, standard, standard] }
            guard case .array(let items) = try value(key) else {
                throw fault(key, "must be a list of three numbers")
            }
            guard items.count == 3 else {
                throw fault(key, "must hold three numbers, one for each channel")
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
            knows: ["resize", "interpolation", "crop", "colours", "divisor", "mean", "std"])
        let resize: Resize
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
            } else {
                let size = try entries.size(["shortSide", "width", "height"])
                resize = .exact(width: size.width, height: size.height)
            }
        }
        let divisor = try file.number("divisor", 1)
        guard divisor != 0 else { throw file.fault("divisor", "must not be zero") }
        let std = try file.numbers("std", 1)
        guard !std.contains(0) else { throw file.fault("std", "must not hold a zero") }
        self.init(
            resize: resize, interpolation: try file.choice("interpolation", Interpolation.bilinear),
            crop: file.has("crop") ? try Entries("crop", in: file).size() : nil,
            colours: try file.choice("colours", ColourOrder.rgb), divisor: divisor,
            mean: try file.numbers("mean", 0), std: std)
    }
}
