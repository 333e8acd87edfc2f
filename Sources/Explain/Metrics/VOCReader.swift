// Pascal VOC's XML: the boxes of a picture.

import CExpat
import Text

/// Reads <annotation><filename>…<object><name>…<bndbox>….
final class VOCReader {
    private let parser: XML_Parser
    private var path: [String] = []
    private var text: [UInt8] = []
    private var filename: String?
    private var name: String?
    private var sides: [String: Double] = [:]
    private var size: [String: Int] = [:]
    private var boxes: [ObjectBox] = []
    private var problem: String?

    /// - Throws: `ExplainError` of kind `settings`.
    static func read(_ bytes: [UInt8], _ file: String) throws -> (
        picture: String, size: (width: Int, height: Int)?, boxes: [ObjectBox]
    ) {
        func failed(_ reason: String) -> ExplainError {
            ExplainError(.settings, "The file of boxes '\(file)': \(reason)")
        }
        guard let parser = XML_ParserCreate(nil) else { throw failed("There is no memory to read it.") }
        defer { XML_ParserFree(parser) }
        let reader = VOCReader(parser)
        let isRead = withExtendedLifetime(reader) {
            bytes.withUnsafeBytes {
                XML_Parse(
                    parser, $0.baseAddress?.assumingMemoryBound(to: CChar.self),
                    Int32(clamping: bytes.count), 1)
            } == XML_STATUS_OK
        }
        guard bytes.count <= Int(Int32.max), isRead else {
            throw failed(reader.problem ?? "It is no XML (line \(XML_GetCurrentLineNumber(parser))).")
        }
        guard let filename = reader.filename else {
            throw failed("It does not say of which picture it is (filename).")
        }
        let size = reader.size["width"].flatMap { width in reader.size["height"].map { (width, $0) } }
        return (filename, size.map { (width: $0.0, height: $0.1) }, reader.boxes)
    }

    private init(_ parser: XML_Parser) {
        self.parser = parser
        // Whoever parses holds this until it is done.
        XML_SetUserData(parser, Unmanaged.passUnretained(self).toOpaque())
        XML_SetElementHandler(
            parser, { data, name, _ in VOCReader.of(data).begin(String(cString: name!)) },
            { data, _ in VOCReader.of(data).end() })
        // What stands in CDATA sections comes here, too.
        XML_SetCharacterDataHandler(parser) { data, characters, count in
            let bytes = UnsafeRawBufferPointer(start: characters, count: Int(count))
            VOCReader.of(data).text += bytes
        }
    }

    private static func of(_ data: UnsafeMutableRawPointer?) -> VOCReader {
        Unmanaged<VOCReader>.fromOpaque(data!).takeUnretainedValue()
    }

    private func begin(_ element: String) {
        path.append(element)
        text = []
        if path == ["annotation", "object"] { (name, sides) = (nil, [:]) }
    }

    private func end() {
        let element = path[path.count - 1]
        let value = String(decoding: text, as: UTF8.self).trimmed
        // Parts of objects, such as heads, have boxes of their own, deeper down.
        switch path {
        case ["annotation", "filename"]: filename = value
        case ["annotation", "size", element]: size[element] = Int(value)
        case ["annotation", "object", "name"]: name = value
        case ["annotation", "object", "bndbox", element]: sides[element] = Double(value)
        case ["annotation", "object"]:
            guard let left = sides["xmin"], let top = sides["ymin"], let right = sides["xmax"],
                let bottom = sides["ymax"], left <= right, top <= bottom
            else {
                problem =
                    problem ?? "An object lacks its box of numbers (bndbox with xmin, ymin, xmax, ymax)."
                XML_StopParser(parser, XML_Bool(0))
                return
            }
            boxes.append(
                ObjectBox(left: left - 1, top: top - 1, right: right, bottom: bottom, name: name))
        default: break
        }
        path.removeLast()
        text = []
    }
}
