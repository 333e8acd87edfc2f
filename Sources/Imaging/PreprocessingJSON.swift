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

import FoundationEssentials
import Text

extension Preprocessing: Codable {
    /// The metadata key under which a model carries its preprocessing.
    package static let metadataKey = "whitebox.preprocessing"

    /// Reads a preprocessing file.
    package static func load(path: String) throws(ImageError) -> Preprocessing {
        try Preprocessing(json: try readFile(path), name: path)
    }

    /// Reads the JSON form; `name` is what errors call it.
    package init(json: [UInt8], name: String) throws(ImageError) {
        func failed(_ reason: String) -> ImageError { .badPreprocessing(file: name, reason: reason) }
        do {
            self = try JSONDecoder().decode(Preprocessing.self, from: Data(json))
        } catch let fault as Fault {
            throw failed(fault.reason)
        } catch DecodingError.keyNotFound(let key, let context) {
            throw failed("the key \"\(Self.path(context.codingPath + [key]))\" is missing")
        } catch DecodingError.typeMismatch(let type, let context) {
            let path = Self.path(context.codingPath)
            let wanted = "\(type)".hasPrefix("Dictionary") ? "an object" : Self.words["\(type)"] ?? "\(type)"
            throw failed(path.isEmpty ? "it is not a JSON object" : "\"\(path)\" must be \(wanted)")
        } catch DecodingError.valueNotFound(_, let context) {
            throw failed("\"\(Self.path(context.codingPath))\" is null")
        } catch DecodingError.dataCorrupted(let context) where !context.codingPath.isEmpty {
            throw failed("\"\(Self.path(context.codingPath))\" holds a number that does not fit")
        } catch {
            throw failed("it is not JSON")
        }
    }

    /// The JSON form, one line for each key.
    package var json: String {
        func list(_ values: [Float]) -> String { "[\(values.map(Self.number).joined(separator: ", "))]" }
        func object(_ size: Size) -> String { "{\"width\": \(size.width), \"height\": \(size.height)}" }
        let resizing =
            switch resize {
            case .shortSide(let n): "{\"shortSide\": \(n)}"
            case .exact(let width, let height): object(Size(width: width, height: height))
            case .none: "\"none\""
            }
        var lines = ["\"resize\": \(resizing)", "\"interpolation\": \"\(interpolation.rawValue)\""]
        if let crop { lines.append("\"crop\": \(object(crop))") }
        lines.append("\"colours\": \"\(colours.rawValue)\"")
        lines.append("\"divisor\": \(Self.number(divisor))")
        lines.append("\"mean\": \(list(mean))")
        lines.append("\"std\": \(list(std))")
        return "{\n  \(lines.joined(separator: ",\n  "))\n}\n"
    }

    /// A whole number without its ".0".
    private static func number(_ value: Float) -> String {
        value == value.rounded() && abs(value) < 1e6 ? "\(Int(value))" : "\(value)"
    }

    private static let words = [
        "Float": "a number", "String": "a text", "Array<Any>": "a list of three numbers",
    ]

    private static func path(_ keys: [any CodingKey]) -> String {
        keys.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ".")
    }

    // MARK: Codable

    private struct Fault: Error { let reason: String }

    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(_ name: String) { stringValue = name }
        init?(stringValue: String) { self.init(stringValue) }
        init?(intValue: Int) { nil }
    }

    private static func check(
        _ container: KeyedDecodingContainer<Key>, in place: String, knows known: [String]
    ) throws {
        let unknown = container.allKeys.map(\.stringValue).filter { !known.contains($0) }.sorted()
        guard let key = unknown.first else { return }
        throw Fault(
            reason: "unknown key \"\(shortened(key))\"\(place); known are \(known.joined(separator: ", "))")
    }

    private static func size(_ decoder: any Decoder, in place: String) throws -> Size {
        let container = try decoder.container(keyedBy: Key.self)
        try check(container, in: place, knows: ["width", "height"])
        return Size(width: try side(container, "width"), height: try side(container, "height"))
    }

    private static func side(_ container: KeyedDecodingContainer<Key>, _ key: String) throws -> Int {
        let value = try container.decode(Float.self, forKey: Key(key))
        guard (1...16384).contains(value) && value == value.rounded() else {
            throw Fault(
                reason: "\"\(key)\" is \(number(value)), but must be a whole number between 1 and 16384")
        }
        return Int(value)
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        try Self.check(
            container, in: "",
            knows: ["resize", "interpolation", "crop", "colours", "divisor", "mean", "std"])

        func choice<Choice: RawRepresentable & CaseIterable>(_ key: String, _ standard: Choice) throws
            -> Choice
        where Choice.RawValue == String {
            guard let text = try container.decodeIfPresent(String.self, forKey: Key(key)) else {
                return standard
            }
            guard let value = Choice(rawValue: text) else {
                let all = Choice.allCases.map(\.rawValue).joined(separator: ", ")
                throw Fault(reason: "\"\(key)\" is \"\(shortened(text))\", but must be one of \(all)")
            }
            return value
        }
        func numbers(_ key: String, _ standard: Float) throws -> [Float] {
            let standard = [standard, standard, standard]
            let values = try container.decodeIfPresent([Float].self, forKey: Key(key)) ?? standard
            guard values.count == 3 && values.allSatisfy(\.isFinite) else {
                throw Fault(reason: "\"\(key)\" must hold three numbers, one for each channel")
            }
            return values
        }

        let resize: Resize
        if let text = try? container.decode(String.self, forKey: Key("resize")) {
            guard text == "none" else {
                throw Fault(
                    reason:
                        "\"resize\" is \"\(shortened(text))\", but the only word that it may be is \"none\"")
            }
            resize = .none
        } else {
            guard container.contains(Key("resize")) else {
                throw Fault(reason: "the key \"resize\" is missing")
            }
            let nested = try container.superDecoder(forKey: Key("resize"))
            let keys = try nested.container(keyedBy: Key.self)
            if keys.contains(Key("shortSide")) {
                try Self.check(keys, in: " in \"resize\"", knows: ["shortSide"])
                resize = .shortSide(try Self.side(keys, "shortSide"))
            } else {
                let size = try Self.size(nested, in: " in \"resize\"")
                resize = .exact(width: size.width, height: size.height)
            }
        }
        var crop: Size?
        if container.contains(Key("crop")) {
            crop = try Self.size(container.superDecoder(forKey: Key("crop")), in: " in \"crop\"")
        }
        let divisor = try container.decodeIfPresent(Float.self, forKey: Key("divisor")) ?? 1
        guard divisor.isFinite && divisor != 0 else { throw Fault(reason: "\"divisor\" must not be zero") }
        let std = try numbers("std", 1)
        guard !std.contains(0) else { throw Fault(reason: "\"std\" must not hold a zero") }
        self.init(
            resize: resize, interpolation: try choice("interpolation", Interpolation.bilinear), crop: crop,
            colours: try choice("colours", ColourOrder.rgb), divisor: divisor, mean: try numbers("mean", 0),
            std: std)
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        switch resize {
        case .shortSide(let n): try container.encode(["shortSide": n], forKey: Key("resize"))
        case .exact(let width, let height):
            try container.encode(Size(width: width, height: height), forKey: Key("resize"))
        case .none: try container.encode("none", forKey: Key("resize"))
        }
        try container.encode(interpolation, forKey: Key("interpolation"))
        try container.encodeIfPresent(crop, forKey: Key("crop"))
        try container.encode(colours, forKey: Key("colours"))
        try container.encode(divisor, forKey: Key("divisor"))
        try container.encode(mean, forKey: Key("mean"))
        try container.encode(std, forKey: Key("std"))
    }
}
