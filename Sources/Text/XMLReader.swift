// What annotations need of XML: elements, text, and nothing from outside the file.

/// Reads XML in UTF-8, whatever it says of itself, piece after piece. Attributes, comments and instructions are passed over; entities of a document's own are refused.
///
/// (Foundation's parser ends the program on some files that are no XML.)
package struct XMLReader {
    package enum Piece: Equatable, Sendable {
        case start(String)
        case end(String)
        /// Between two marks; sections of characters (CDATA) are pieces of their own.
        case text(String)
    }

    /// Why a text is no XML, as a clause.
    package struct Problem: Error, CustomStringConvertible {
        package let line: Int, words: String
        package var description: String { "line \(line): \(words)" }
    }

    private let bytes: [UInt8]
    private var at = 0
    private var open: [String] = []
    private var hasRoot = false
    /// Of an element that ends where it begins.
    private var ending: String?

    package init(_ bytes: [UInt8]) {
        self.bytes = bytes
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { at = 3 }
    }

    /// - Returns: nil after the last piece.
    package mutating func next() throws(Problem) -> Piece? {
        if let name = ending {
            ending = nil
            return .end(name)
        }
        while at < bytes.count {
            if bytes[at] != UInt8(ascii: "<") {
                let text = try readText()
                if !open.isEmpty { return .text(text) }
                guard text.allSatisfy(\.isWhitespace) else {
                    throw problem("text stands outside of all elements")
                }
            } else if takes("<!--") {
                _ = try text(to: "-->")
            } else if takes("<?") {
                _ = try text(to: "?>")
            } else if takes("<![CDATA[") {
                guard !open.isEmpty else { throw problem("text stands outside of all elements") }
                return .text(try text(to: "]]>"))
            } else if takes("<!") {
                guard try !text(to: ">").contains("[") else {
                    throw problem("it declares entities or elements of its own, which are not read")
                }
            } else if takes("</") {
                let name = try name()
                skipSpace()
                guard takes(">"), open.popLast() == name else {
                    throw problem("</\(name)> closes nothing that is open")
                }
                return .end(name)
            } else {
                return try start()
            }
        }
        guard let name = open.last else {
            guard hasRoot else { throw problem("there is no element") }
            return nil
        }
        throw problem("<\(name)> is not closed")
    }

    private mutating func start() throws(Problem) -> Piece {
        at += 1
        let name = try name()
        guard !open.isEmpty || !hasRoot else { throw problem("there are two elements that hold all") }
        hasRoot = true
        while true {
            skipSpace()
            if takes("/>") {
                ending = name
                return .start(name)
            }
            if takes(">") {
                open.append(name)
                return .start(name)
            }
            // An attribute, of which nobody wants to know.
            _ = try self.name()
            skipSpace()
            guard takes("=") else { throw problem("an attribute of <\(name)> has no value") }
            skipSpace()
            let quote = takes("\"") ? "\"" : takes("'") ? "'" : nil
            guard let quote, try !text(to: quote).contains("<") else {
                throw problem("an attribute of <\(name)> has no value")
            }
        }
    }

    // MARK: Bytes

    private func problem(_ words: String) -> Problem {
        Problem(line: 1 + bytes[..<min(at, bytes.count)].count { $0 == 0x0A }, words: printable(words))
    }

    private mutating func takes(_ mark: String) -> Bool {
        guard bytes[at...].starts(with: mark.utf8) else { return false }
        at += mark.utf8.count
        return true
    }

    private mutating func skipSpace() {
        while at < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[at]) { at += 1 }
    }

    private func string(_ range: Range<Int>) throws(Problem) -> String {
        guard let text = String(validating: bytes[range], as: UTF8.self) else {
            throw problem("it is not in UTF-8")
        }
        return text
    }

    /// What stands before a mark, which is taken too.
    private mutating func text(to mark: String) throws(Problem) -> String {
        let pattern = Array(mark.utf8)
        guard let end = bytes[at...].firstRange(of: pattern) else {
            throw problem("“\(mark)” is missing")
        }
        let text = try string(at..<end.lowerBound)
        at = end.upperBound
        return text
    }

    private mutating func name() throws(Problem) -> String {
        let begin = at
        while at < bytes.count, bytes[at] > 0x20, !"/>=<&\"'!?[]".utf8.contains(bytes[at]) { at += 1 }
        guard at > begin else { throw problem("a name is missing") }
        return try string(begin..<at)
    }

    /// Text up to the next mark, its references replaced.
    private mutating func readText() throws(Problem) -> String {
        let end = bytes[at...].firstIndex(of: UInt8(ascii: "<")) ?? bytes.count
        var text = ""
        while at < end {
            let reference = bytes[at..<end].firstIndex(of: UInt8(ascii: "&")) ?? end
            text += try string(at..<reference)
            at = reference
            guard at < end else { break }
            guard let close = bytes[at..<min(end, at + 12)].firstIndex(of: UInt8(ascii: ";")) else {
                throw problem("“&” begins no reference")
            }
            let name = try string(at + 1..<close)
            guard let character = XMLReader.character(name) else {
                throw problem("nobody says what “&\(name);” is")
            }
            text.unicodeScalars.append(character)
            at = close + 1
        }
        return text
    }

    /// What a reference stands for.
    private static func character(_ name: String) -> Unicode.Scalar? {
        let known: [String: Unicode.Scalar] = ["amp": "&", "lt": "<", "gt": ">", "quot": "\"", "apos": "'"]
        if let scalar = known[name] { return scalar }
        let number =
            name.hasPrefix("#x")
            ? UInt32(name.dropFirst(2), radix: 16)
            : name.hasPrefix("#") ? UInt32(name.dropFirst()) : nil
        return number.flatMap { $0 == 0 ? nil : Unicode.Scalar($0) }
    }
}
