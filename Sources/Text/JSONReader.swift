// Reading JSON that anybody may have written.
//
// Strict (RFC 8259), and bounded: values nest at most 32 deep, so that no file can exhaust the stack, and a key that an object has twice is an
// error, because every other reader picks one of the two in silence.

extension JSON {
    /// Why a text is not JSON: the end of a sentence, and where.
    package struct ReadingError: Error, Equatable, CustomStringConvertible {
        package let reason: String
        /// Counted from 1.
        package let line: Int
        package var description: String { "\(reason) (line \(line))" }
    }

    /// How deep arrays and objects may nest.
    package static let depthLimit = 32

    /// Reads a text in UTF-8, with or without a byte order mark. Whole numbers that fit become `int`, others `double`.
    package init(reading bytes: [UInt8]) throws(ReadingError) {
        var reader = JSONReader(bytes)
        self = try reader.document()
    }
}

private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

private struct JSONReader {
    private let bytes: [UInt8]
    private var at = 0

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { at = 3 }
    }

    mutating func document() throws(JSON.ReadingError) -> JSON {
        let value = try value(depth: 0)
        skipSpace()
        guard at == bytes.count else { throw failure("something follows the end of the JSON value") }
        return value
    }

    private func failure(_ reason: String) -> JSON.ReadingError {
        JSON.ReadingError(
            reason: reason, line: 1 + bytes[..<min(at, bytes.count)].count { $0 == UInt8(ascii: "\n") })
    }

    private var next: UInt8? { at < bytes.count ? bytes[at] : nil }

    private mutating func skipSpace() {
        while let byte = next, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { at += 1 }
    }

    /// Goes past `byte` if it is there.
    private mutating func take(_ byte: Character) -> Bool {
        guard next == byte.asciiValue else { return false }
        at += 1
        return true
    }

    private mutating func value(depth: Int) throws(JSON.ReadingError) -> JSON {
        guard depth <= JSON.depthLimit else {
            throw failure("its values nest more than \(JSON.depthLimit) deep")
        }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return try object(depth)
        case UInt8(ascii: "["): return try array(depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case nil: throw failure("it ends where a value should be")
        case let byte? where byte == UInt8(ascii: "-") || isDigit(byte): return try number()
        default: throw failure("a value is missing, or is none of JSON's")
        }
    }

    private mutating func word(_ word: String, _ value: JSON) throws(JSON.ReadingError) -> JSON {
        guard bytes[at...].starts(with: word.utf8) else { throw failure("a value is none of JSON's") }
        at += word.utf8.count
        return value
    }

    private mutating func array(_ depth: Int) throws(JSON.ReadingError) -> JSON {
        at += 1
        var items: [JSON] = []
        skipSpace()
        if take("]") { return .array(items) }
        while true {
            items.append(try value(depth: depth + 1))
            skipSpace()
            if take("]") { return .array(items) }
            guard take(",") else { throw failure("a comma or ] is missing in a list") }
        }
    }

    private mutating func object(_ depth: Int) throws(JSON.ReadingError) -> JSON {
        at += 1
        var entries: [(String, JSON)] = []
        var keys: Set<[UInt8]> = []
        skipSpace()
        if take("}") { return .object(entries) }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw failure("a key in quotes is missing in an object") }
            let key = try string()
            guard keys.insert(Array(key.utf8)).inserted else {
                throw failure("the key \"\(shortened(key))\" is there twice")
            }
            skipSpace()
            guard take(":") else { throw failure("the colon after the key \"\(shortened(key))\" is missing") }
            entries.append((key, try value(depth: depth + 1)))
            skipSpace()
            if take("}") { return .object(entries) }
            guard take(",") else { throw failure("a comma or } is missing in an object") }
        }
    }

    private mutating func number() throws(JSON.ReadingError) -> JSON {
        let start = at
        _ = take("-")
        func digits(_ reader: inout JSONReader) -> Int {
            let start = reader.at
            while let byte = reader.next, isDigit(byte) { reader.at += 1 }
            return reader.at - start
        }
        let leadsWithZero = next == UInt8(ascii: "0")
        let whole = digits(&self)
        var isWhole = true
        guard whole == 1 || whole > 1 && !leadsWithZero else { throw failure("a number is none of JSON's") }
        if take(".") {
            isWhole = false
            guard digits(&self) > 0 else { throw failure("a number is none of JSON's") }
        }
        if take("e") || take("E") {
            isWhole = false
            _ = take("+") || take("-")
            guard digits(&self) > 0 else { throw failure("a number is none of JSON's") }
        }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        if isWhole, let value = Int(text) { return .int(value) }
        guard let value = Double(text), value.isFinite else { throw failure("a number is too large") }
        return .double(value)
    }

    private mutating func string() throws(JSON.ReadingError) -> String {
        at += 1
        var text: [UInt8] = []
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                at += 1
                guard let valid = String(validating: text, as: UTF8.self) else {
                    throw failure("a text is not UTF-8")
                }
                return valid
            case UInt8(ascii: "\\"):
                at += 1
                text += try escaped()
            case 0..<0x20: throw failure("a text holds a control character, or its closing quote is missing")
            default:
                text.append(byte)
                at += 1
            }
        }
        throw failure("it ends within a text")
    }

    /// What a backslash stands for; the position is after it.
    private mutating func escaped() throws(JSON.ReadingError) -> [UInt8] {
        let plain: [Character: Character] = [
            "\"": "\"", "\\": "\\", "/": "/", "b": "\u{8}", "f": "\u{C}", "n": "\n", "r": "\r", "t": "\t",
        ]
        if let byte = next, let character = plain[Character(Unicode.Scalar(byte))] {
            at += 1
            return Array(String(character).utf8)
        }
        guard take("u") else { throw failure("a text has a backslash that stands for nothing") }
        var units = [try unit()]
        if UTF16.isLeadSurrogate(units[0]) {
            guard take("\\"), take("u") else { throw failure("a text holds half a character") }
            units.append(try unit())
        }
        guard let character = String(validating: units, as: UTF16.self) else {
            throw failure("a text holds half a character")
        }
        return Array(character.utf8)
    }

    private mutating func unit() throws(JSON.ReadingError) -> UInt16 {
        guard at + 4 <= bytes.count else { throw failure("it ends within a text") }
        let digits = String(decoding: bytes[at..<at + 4], as: UTF8.self)
        guard digits.utf8.count == 4, digits.allSatisfy(\.isHexDigit), let unit = UInt16(digits, radix: 16)
        else {
            throw failure("a text has \\u without four digits")
        }
        at += 4
        return unit
    }
}
