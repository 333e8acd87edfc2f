// Pascal VOC's XML: the boxes of a picture.

import CExpat
import Text

/// Reads <annotation><filename>…<object><name>…<bndbox>….
final class VOCReader {
    private var path: [String] = []
    private var text: [UInt8] = []
    private var filename: String?
    private var name: String?
    private var sides: [String: Double] = [:]
    private var size: [String: Int] = [:]
    private var boxes: [ObjectBox] = []
    private var problem: String?

    /// - Throws: `ExplainError` of kind `settings`.
    static func read(_ bytes: [UInt8], _ file: String) throws(ExplainError) -> (
        picture: String, size: (width: Int, height: Int)?, boxes: [ObjectBox]
    ) {
        func failed(_ reason: String) -> ExplainError {
            ExplainError(.settings, "The file of boxes '\(file)': \(reason)")
        }
        var why: UnsafePointer<CChar>?
        guard wb_xml_available(&why) else {
            throw failed(
                "It is XML, which needs the library libexpat (Debian's package libexpat1), and that cannot be opened: \(String(cString: why!))"
            )
        }
        let reader = VOCReader()
        var functions = wb_xml_reader()
        functions.context = Unmanaged.passUnretained(reader).toOpaque()
        functions.begin = { VOCReader.of($0).begin(String(cString: $1!)) }
        functions.text = { VOCReader.of($0).text += UnsafeRawBufferPointer(start: $1, count: $2) }
        functions.end = { context, _ in VOCReader.of(context).end() }
        let line = withExtendedLifetime(reader) { wb_xml_read(bytes, bytes.count, &functions) }
        guard line == 0 else { throw failed(reader.problem ?? "It is no XML (line \(line)).") }
        guard let filename = reader.filename else {
            throw failed("It does not say of which picture it is (filename).")
        }
        let size = reader.size["width"].flatMap { width in reader.size["height"].map { (width, $0) } }
        return (filename, size.map { (width: $0.0, height: $0.1) }, reader.boxes)
    }

    private static func of(_ context: UnsafeMutableRawPointer?) -> VOCReader {
        Unmanaged<VOCReader>.fromOpaque(context!).takeUnretainedValue()
    }

    private func begin(_ element: String) {
        path.append(element)
        text = []
        if path == ["annotation", "object"] { (name, sides) = (nil, [:]) }
    }

    /// - Returns: whether it goes on.
    private func end() -> Bool {
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
                let bottom = sides["ymax"], left <= right, top <= bottom,
                // Numbers of pixels there begin at 1, and the last one counts.
                let box = ObjectBox(left: left - 1, top: top - 1, right: right, bottom: bottom, name: name)
            else {
                problem = "An object lacks its box of numbers (bndbox with xmin, ymin, xmax, ymax)."
                return false
            }
            boxes.append(box)
        default: break
        }
        path.removeLast()
        text = []
        return true
    }
}
