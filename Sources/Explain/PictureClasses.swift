// Classes of their own: what is asked of each picture, and what is known of it.

import Files
import Synchronization
import Text

/// Where the classes of pictures come from, beside what a list says of each.
package enum PictureClasses: Sendable {
    /// Nobody names any: all are asked for what the options say.
    case none
    /// A picture's class is the name of the folder that it lies in: that is explained, and true.
    case folders(Resolver)
    /// A file says it.
    case table(ClassTable, Resolver)
    /// Only what a list says.
    case listed(Resolver)

    /// Finds classes of a network by what people call them.
    package final class Resolver: Sendable {
        private let model: Model, classes: Int
        // Names are looked for among all; of a million pictures few are different.
        private let known = Mutex<[String: TrueClass]>([:])

        package init(_ session: ExplanationSession) { (model, classes) = (session.model, session.classes) }

        func trueClass(_ text: String) -> TrueClass {
            if let found = known.withLock({ $0[text] }) { return found }
            var index: Int?
            if let found = try? ClassChoice(text).targets(in: model, classes: classes), found.count == 1,
                case .fixed(let one) = found[0]
            {
                index = one
            }
            let result = TrueClass(given: text, index: index, label: index.map(model.label))
            known.withLock { $0[text] = result }
            return result
        }
    }

    /// - Throws: of kind `classChoice` if a picture lacks what it needs.
    func apply(to request: inout PictureRequest, _ named: PictureQueue.Named) throws(ExplainError) {
        var (asked, known) = (named.asked, named.trueClass)
        let resolver: Resolver
        switch self {
        case .none: return
        case .listed(let given): resolver = given
        case .folders(let given):
            resolver = given
            let folder = Paths.name(Paths.split(named.picture.name).folder)
            guard !["", ".", "..", "/"].contains(folder) else {
                throw ExplainError(
                    .classChoice,
                    "\(shortenedPath(named.picture.name)): It lies in no folder whose name could be its class (--class folder); name the folder above it."
                )
            }
            asked = asked ?? folder
            known = known ?? folder
        case .table(let table, let given):
            resolver = given
            guard let row = table.row(for: named) else {
                throw ExplainError(
                    .classChoice,
                    "\(shortenedPath(named.picture.name)): The file of targets does not name it.")
            }
            asked = row.asked
            known = row.known ?? known
        }
        if let asked { request.classChoice = ClassChoice(asked) }
        if let known { request.trueClass = resolver.trueClass(known) }
    }
}

/// A file that says of pictures which class is explained, and which is true: CSV (picture, class, true class), or lines of JSON
/// ({"image": …, "class": …, "true": …}).
package struct ClassTable: Sendable {
    /// What is asked and known, each once.
    private var rows: [(asked: String, known: String?)] = []
    private var places: [UInt64: Int32] = [:]
    private var numbers: [String: Int32] = [:]

    package var count: Int { places.count }

    package init(path: String) throws {
        let lines = try TextLines(path)
        while let line = try lines.next() {
            guard let first = line.first(where: { $0 != UInt8(ascii: " ") }) else { continue }
            func failed(_ reason: String) -> ExplainError {
                ExplainError(.settings, "The file of targets '\(path)', line \(lines.number): \(reason)")
            }
            guard lines.number > 1 || !TextLines.beginsArray(line) else {
                throw failed(TextLines.arrayReason)
            }
            var cells: [String]
            if first == UInt8(ascii: "{") {
                guard let value = try? JSON(reading: line) else {
                    throw failed("The line looks like JSON, and is none.")
                }
                func text(_ key: String) -> String? {
                    value[key: key].flatMap { $0.asString ?? $0.asInt.map(String.init) }
                }
                guard let image = text("image"), let asked = text("class") else {
                    throw failed(
                        "It needs an image and a class, such as {\"image\": \"cat.jpg\", \"class\": 281}.")
                }
                cells = [image, asked] + (text("true").map { [$0] } ?? [])
            } else {
                guard let found = ClassTable.cells(line) else {
                    throw failed("A quotation mark is not closed.")
                }
                cells = found
                // A first line may say what the columns are.
                if lines.number == 1 {
                    let names = cells.map(ClassTable.column)
                    if names.contains(1) {
                        guard names == (0..<names.count).map(Optional.some), names.count <= 3 else {
                            throw failed(
                                "The columns are \(cells.joined(separator: ", ")), and must be picture, class and perhaps true, in this order."
                            )
                        }
                        continue
                    }
                }
                guard (2...3).contains(cells.count), !cells[0].isEmpty, !cells[1].isEmpty else {
                    throw failed(
                        "It needs a picture and a class with a comma between them, and may have the true class behind that; what has a comma itself stands in quotation marks."
                    )
                }
            }
            let known = cells.count > 2 && !cells[2].isEmpty ? cells[2] : nil
            let key = "\(cells[1])\u{0}\(known ?? "")"
            let number = numbers[key] ?? Int32(rows.count)
            if numbers.updateValue(number, forKey: key) == nil { rows.append((cells[1], known)) }
            if let before = places.updateValue(number, forKey: ClassTable.key(cells[0])), before != number {
                throw failed(
                    "The picture “\(shortened(cells[0]))” is named a second time, with another class.")
            }
        }
        guard !rows.isEmpty else {
            throw ExplainError(.settings, "The file of targets '\(path)' names no picture.")
        }
    }

    /// Which column has that name; nil for none.
    private static func column(_ name: String) -> Int? {
        switch name.lowercased() {
        case "picture", "image", "path", "file": 0
        case "class", "target": 1
        case "true", "truth", "true class", "label": 2
        default: nil
        }
    }

    /// The cells of a line of CSV (RFC 4180, without line feeds inside of cells); nil if quotation marks do not match.
    private static func cells(_ line: [UInt8]) -> [String]? {
        var cells: [[UInt8]] = [[]]
        var (isQuoted, at) = (false, 0)
        let quote = UInt8(ascii: "\"")
        while at < line.count {
            let byte = line[at]
            if isQuoted {
                if byte == quote, at + 1 < line.count, line[at + 1] == quote {
                    cells[cells.count - 1].append(quote)
                    at += 1
                } else if byte == quote {
                    isQuoted = false
                } else {
                    cells[cells.count - 1].append(byte)
                }
            } else if byte == quote, cells.last!.isEmpty {
                isQuoted = true
            } else if byte == UInt8(ascii: ",") {
                cells.append([])
            } else {
                cells[cells.count - 1].append(byte)
            }
            at += 1
        }
        guard !isQuoted else { return nil }
        return cells.map { cell in
            let isSpace = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
            return FileName.text(cell.drop(while: isSpace).reversed().drop(while: isSpace).reversed())
        }
    }

    /// The same for all spellings of a path that differ in what leads nowhere: `./a//b` is `a/b`.
    private static func key(_ path: String) -> UInt64 {
        guard path.utf8.contains(UInt8(ascii: "/")) else { return Journal.hash(path) }
        let parts = path.unicodeScalars.split(separator: "/").map { String($0) }.filter { $0 != "." }
        return Journal.hash((path.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/"))
    }

    /// What the file says of a picture: by its path as it was named, by that within its folder, or by its name alone.
    func row(for named: PictureQueue.Named) -> (asked: String, known: String?)? {
        for key in [named.picture.name, named.path, Paths.name(named.picture.name)] {
            if let place = places[ClassTable.key(key)] { return rows[Int(place)] }
        }
        return nil
    }
}
