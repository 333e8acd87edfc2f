// Pascal VOC's XML: the boxes of a picture.

import Text

/// Reads <annotation><filename>…<object><name>…<bndbox>….
struct VOCReader {
    private var path: [String] = []
    private var text = ""
    private var filename: String?
    private var name: String?
    private var sides: [String: Double] = [:]
    private var size: [String: Int] = [:]
    private var boxes: [ObjectBox] = []

    /// - Throws: `ExplainError` of kind `settings`.
    static func read(_ bytes: [UInt8], _ file: String) throws(ExplainError) -> (
        picture: String, size: (width: Int, height: Int)?, boxes: [ObjectBox]
    ) {
        func failed(_ reason: String) -> ExplainError {
            ExplainError(.settings, "The file of boxes '\(file)': \(reason)")
        }
        var (xml, reader) = (XMLReader(bytes), VOCReader())
        do {
            while let piece = try xml.next() {
                guard reader.take(piece) else {
                    throw failed("An object lacks its box of numbers (bndbox with xmin, ymin, xmax, ymax).")
                }
            }
        } catch let problem as XMLReader.Problem {
            throw failed("It is no XML (\(problem)).")
        } catch {
            throw ExplainError(error, .settings)
        }
        guard let filename = reader.filename else {
            throw failed("It does not say of which picture it is (filename).")
        }
        let size = reader.size["width"].flatMap { width in reader.size["height"].map { (width, $0) } }
        return (filename, size.map { (width: $0.0, height: $0.1) }, reader.boxes)
    }

    /// - Returns: whether an object that ends has a box.
    private mutating func take(_ piece: XMLReader.Piece) -> Bool {
        switch piece {
        case .start(let element):
            path.append(element)
            text = ""
            if path == ["annotation", "object"] { (name, sides) = (nil, [:]) }
        case .text(let more): text += more
        case .end(let element):
            defer {
                path.removeLast()
                text = ""
            }
            let value = VOCReader.trimmed(text)
            // Parts of objects, such as heads, have boxes of their own, deeper down.
            switch path {
            case ["annotation", "filename"]: filename = value
            case ["annotation", "size", element]: size[element] = Int(value)
            case ["annotation", "object", "name"]: name = value
            case ["annotation", "object", "bndbox", element]: sides[element] = Double(value)
            case ["annotation", "object"]:
                guard let left = sides["xmin"], let top = sides["ymin"], let right = sides["xmax"],
                    let bottom = sides["ymax"], left <= right, top <= bottom,
                    // Numbers of pixels there begin at 1, and the last one counts.
                    let box = ObjectBox(
                        left: left - 1, top: top - 1, right: right, bottom: bottom, name: name)
                else { return false }
                boxes.append(box)
            default: break
            }
        }
        return true
    }

    /// Without white space at both ends.
    private static func trimmed(_ text: String) -> String {
        guard let begin = text.firstIndex(where: { !$0.isWhitespace }),
            let end = text.lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return String(text[begin...end])
    }
}
