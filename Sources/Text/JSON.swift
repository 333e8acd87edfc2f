// JSON whose keys keep the order in which they were written, so that people can read it and programs can compare it.

/// A JSON value.
package indirect enum JSON: Sendable {
    case null
    case bool(Bool)
    case int(Int)
    /// Written with the fewest digits that give the same binary32 back; null if it is not finite.
    case float(Float)
    case double(Double)
    case string(String)
    case array([JSON])
    case object([(String, JSON)])

    package init(_ text: String?) { self = text.map(JSON.string) ?? .null }
    package init(_ number: Int?) { self = number.map(JSON.int) ?? .null }
    package init(_ number: Float?) { self = number.map(JSON.float) ?? .null }
    package init(_ texts: [String]) { self = .array(texts.map(JSON.string)) }
    package init(_ numbers: [Int]) { self = .array(numbers.map(JSON.int)) }

    /// The text, indented, with a line feed at its end.
    package var text: String { text(indent: "") + "\n" }

    /// The text as it stands within another that is indented so far.
    package func text(indent: String) -> String {
        var text = ""
        write(to: &text, indent: indent)
        return text
    }

    /// The text on one line, without a line feed.
    package var line: String {
        var text = ""
        writeLine(to: &text)
        return text
    }

    private func writeLine(to text: inout String) {
        switch self {
        case .array(let items):
            text += "["
            for (i, item) in items.enumerated() {
                if i > 0 { text += "," }
                item.writeLine(to: &text)
            }
            text += "]"
        case .object(let entries):
            text += "{"
            for (i, (key, value)) in entries.enumerated() {
                if i > 0 { text += "," }
                JSON.quote(key, to: &text)
                text += ":"
                value.writeLine(to: &text)
            }
            text += "}"
        default: write(to: &text, indent: "")
        }
    }

    /// The value of a key of an object; nil if it has none, or is none.
    package subscript(key key: String) -> JSON? {
        guard case .object(let entries) = self else { return nil }
        return entries.first { $0.0 == key }?.1
    }

    /// The text of a string.
    package var asString: String? { if case .string(let text) = self { text } else { nil } }
    /// A whole number.
    package var asBool: Bool? { if case .bool(let flag) = self { flag } else { nil } }
    package var asInt: Int? { if case .int(let number) = self { number } else { nil } }

    private var isSimple: Bool {
        switch self {
        case .array(let items): items.isEmpty
        case .object(let entries): entries.isEmpty
        default: true
        }
    }

    private func write(to text: inout String, indent: String) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .int(let value): text += String(value)
        case .float(let value): text += value.isFinite ? "\(value)" : "null"
        case .double(let value): text += value.isFinite ? "\(value)" : "null"
        case .string(let value): JSON.quote(value, to: &text)
        case .array(let items):
            // Short lists of plain values stay on one line.
            if items.allSatisfy(\.isSimple) && items.count <= 8 {
                text += "["
                for (i, item) in items.enumerated() {
                    if i > 0 { text += ", " }
                    item.write(to: &text, indent: indent)
                }
                text += "]"
                return
            }
            let inner = indent + "  "
            text += "[\n"
            for (i, item) in items.enumerated() {
                text += (i > 0 ? ",\n" : "") + inner
                item.write(to: &text, indent: inner)
            }
            text += "\n\(indent)]"
        case .object(let entries):
            // So do small objects of plain values.
            let flat = entries.count <= 6 && !indent.isEmpty && entries.allSatisfy(\.1.isSimple)
            let inner = indent + "  "
            text += flat ? "{" : "{\n"
            for (i, (key, value)) in entries.enumerated() {
                if i > 0 { text += flat ? ", " : ",\n" }
                if !flat { text += inner }
                JSON.quote(key, to: &text)
                text += ": "
                value.write(to: &text, indent: inner)
            }
            text += flat ? "}" : "\n\(indent)}"
        }
    }

    private static func quote(_ value: String, to text: inout String) {
        text += "\""
        defer { text += "\"" }
        // Most texts are plain.
        var value = value
        let isPlain = value.withUTF8 { bytes in
            bytes.allSatisfy {
                $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\")
            }
        }
        guard !isPlain else {
            text += value
            return
        }
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            case "\r": text += "\\r"
            default:
                if scalar.isPrintable {
                    text.unicodeScalars.append(scalar)
                } else {
                    // Whoever prints the file to a terminal is not attacked, and whoever reads it gets the true name.
                    for unit in String(scalar).utf16 {
                        let digits = String(unit, radix: 16)
                        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                    }
                }
            }
        }
    }
}
