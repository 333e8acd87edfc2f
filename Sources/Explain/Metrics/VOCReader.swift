// Pascal VOC's XML: the boxes of a picture.

import Foundation
import Text

#if canImport(FoundationXML)
    import FoundationXML
#endif

/// Reads <annotation><filename>…<object><name>…<bndbox>….
final class VOCReader: NSObject, XMLParserDelegate {
    private var path: [String] = []
    private var text = ""
    private var filename: String?
    private var name: String?
    private var sides: [String: Double] = [:]
    private var size: [String: Int] = [:]
    private var boxes: [ObjectBox] = []
    private var problem: String?
    private var isComplete = false

    /// - Throws: `ExplainError` of kind `settings`.
    static func read(_ bytes: [UInt8], _ file: String) throws -> (
        picture: String, size: (width: Int, height: Int)?, boxes: [ObjectBox]
    ) {
        func failed(_ reason: String) -> ExplainError {
            ExplainError(.settings, "The file of boxes '\(file)': \(reason)")
        }
        let (parser, reader) = (XMLParser(data: Data(bytes)), VOCReader())
        parser.delegate = reader
        parser.shouldResolveExternalEntities = false
        // Where a file ends too early, the parser is content.
        guard parser.parse(), reader.isComplete else {
            throw failed(
                reader.problem ?? "It is no XML (line \(parser.lineNumber)).")
        }
        guard let filename = reader.filename else {
            throw failed("It does not say of which picture it is (filename).")
        }
        let size = reader.size["width"].flatMap { width in reader.size["height"].map { (width, $0) } }
        return (filename, size.map { (width: $0.0, height: $0.1) }, reader.boxes)
    }

    func parser(
        _ parser: XMLParser, didStartElement element: String, namespaceURI: String?,
        qualifiedName: String?, attributes: [String: String] = [:]
    ) {
        path.append(element)
        text = ""
        if path == ["annotation", "object"] { (name, sides) = (nil, [:]) }
    }

    func parser(_ parser: XMLParser, foundCharacters characters: String) { text += characters }

    func parser(
        _ parser: XMLParser, didEndElement element: String, namespaceURI: String?, qualifiedName: String?
    ) {
        let value = text.trimmingCharacters(in: .whitespacesAndNewlines)
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
                problem = "An object lacks its box of numbers (bndbox with xmin, ymin, xmax, ymax)."
                parser.abortParsing()
                return
            }
            boxes.append(
                ObjectBox(left: left - 1, top: top - 1, right: right, bottom: bottom, name: name))
        default: break
        }
        path.removeLast()
        if path.isEmpty { isComplete = element == "annotation" }
        text = ""
    }
}
