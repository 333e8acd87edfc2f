// What a report says, as plain data, and the page that it becomes: one file of HTML, with all that it needs inside.
//
// The page is report.html with its style sheet, its program and blocks of JSON in place of comments. The first block says what the run is and
// lists the pictures; each picture has a block of its own, which the page reads when somebody wants to see it. So a page of
// hundreds of pictures opens at once, and who writes it keeps one picture at a time.

import CReport
import FoundationEssentials
import Glibc
import Imaging
import Text

package struct ReportDocument: Sendable {
    /// A line of “how this was made”.
    package struct Fact: Sendable {
        package var name: String, value: String
        package init(_ name: String, _ value: String) { (self.name, self.value) = (name, value) }
    }

    /// What was measured of a map; what is higher, or lower, is better.
    package struct Metric: Sendable {
        package var method: String
        package var classIndex: Int?
        package var name: String
        package var value: Double
        package var isHigherBetter: Bool
        /// Of a mean over pictures: its 95 % interval, and how many have a number; nil of one picture.
        package var spread: (low: Double, high: Double, pictures: Int)?

        package init(method: String, classIndex: Int?, name: String, value: Double, isHigherBetter: Bool) {
            (self.method, self.classIndex, self.name) = (method, classIndex, name)
            (self.value, self.isHigherBetter) = (value, isHigherBetter)
        }

        var json: JSON {
            .object([
                ("method", .string(method)), ("class", JSON(classIndex)), ("name", .string(printable(name))),
                ("value", .double(value)), ("higher", .bool(isHigherBetter)),
                ("low", spread.map { .double($0.low) } ?? .null),
                ("high", spread.map { .double($0.high) } ?? .null),
                ("pictures", JSON(spread?.pictures)),
            ])
        }
    }

    /// A table whose cells are ready to be read, such as of what methods cost.
    package struct Table: Sendable {
        package var title: String
        package var head: [String], rows: [[String]]
        /// Sentences below it.
        package var remarks: [String]
        /// Where the page draws the rows as lines: of each the numbers, −1 … 1, one for each of the columns from the second on as far as they go; nil where one is missing.
        package var lines: [[Double?]]

        package init(
            title: String, head: [String], rows: [[String]], remarks: [String] = [], lines: [[Double?]] = []
        ) {
            (self.title, self.head, self.rows, self.remarks, self.lines) = (title, head, rows, remarks, lines)
        }

        var json: JSON {
            .object([
                ("title", .string(printable(title))), ("head", JSON(head.map(printable))),
                ("rows", .array(rows.map { JSON($0.map(printable)) })),
                ("remarks", JSON(remarks.map(printable))),
                ("lines", .array(lines.map { .array($0.map { $0.map(JSON.double) ?? .null }) })),
            ])
        }
    }

    /// What the network says while pixels go or come, those first that a map marks most.
    package struct Curve: Sendable {
        package enum Kind: String, Sendable { case deletion, insertion }
        package var method: String
        package var classIndex: Int?
        package var kind: Kind
        /// At equal steps from no pixel to all of them.
        package var scores: [Float]

        package init(method: String, classIndex: Int?, kind: Kind, scores: [Float]) {
            (self.method, self.classIndex, self.kind, self.scores) = (method, classIndex, kind, scores)
        }

        var json: JSON {
            .object([
                ("method", .string(method)), ("class", JSON(classIndex)), ("name", .string(kind.rawValue)),
                ("scores", .array(scores.map(JSON.float))),
            ])
        }
    }

    /// One map of a picture.
    package struct Panel: Sendable {
        package var method: String
        /// The class, as it was called; nil for a method that knows none.
        package var classIndex: Int?, label: String?, probability: Float?
        /// More of what is explained, such as “not tusker”; nil if there is no more.
        package var more: String?
        package var layer: String
        package var map: QuantisedMap
        package var blank: String?, note: String?

        package init(
            method: String, classIndex: Int?, label: String?, probability: Float?, more: String? = nil,
            layer: String, map: QuantisedMap, blank: String? = nil, note: String? = nil
        ) {
            (self.method, self.classIndex, self.label) = (method, classIndex, label)
            (self.probability, self.more, self.layer) = (probability, more, layer)
            (self.map, self.blank, self.note) = (map, blank, note)
        }

        var json: JSON {
            .object(
                [
                    ("method", .string(method)), ("class", JSON(classIndex)),
                    ("label", JSON(label.map(printable))), ("probability", JSON(probability)),
                    ("more", JSON(more.map(printable))), ("layer", .string(printable(layer))),
                    ("blank", JSON(blank.map(printable))), ("note", JSON(note.map(printable))),
                ] + map.json)
        }
    }

    /// One picture with all of its maps.
    package struct Picture: Sendable {
        package var name: String
        /// Of the photograph, in pixels.
        package var width: Int, height: Int
        /// The photograph, smaller, as a JPEG file; and a little one for lists.
        package var photo: [UInt8], thumbnail: [UInt8]
        /// Where the maps lie, in parts of the photograph's width and height; beyond it where it was padded.
        package var region: Region
        package var predictions: [Prediction]
        package var note: String?
        package var panels: [Panel]
        /// Of each method, where it is known.
        package var seconds: [String: Double]
        package var metrics: [Metric] = []
        package var curves: [Curve] = []

        package init(
            name: String, width: Int, height: Int, photo: [UInt8], thumbnail: [UInt8], region: Region,
            predictions: [Prediction], note: String? = nil, panels: [Panel], seconds: [String: Double] = [:]
        ) {
            (self.name, self.width, self.height) = (name, width, height)
            (self.photo, self.thumbnail, self.region) = (photo, thumbnail, region)
            (self.predictions, self.note, self.panels) = (predictions, note, panels)
            self.seconds = seconds
        }

        /// What the page's list has of it.
        package var entry: JSON {
            .object([
                ("name", .string(printable(name))), ("thumbnail", .string(base64(thumbnail))),
                ("label", JSON((predictions.first?.label).map(printable))),
                ("probability", JSON(predictions.first?.probability)), ("error", .null),
            ])
        }

        package var json: JSON {
            .object([
                ("name", .string(printable(name))), ("width", .int(width)), ("height", .int(height)),
                ("photo", .string(base64(photo))),
                ("region", .array([region.x, region.y, region.width, region.height].map(JSON.double))),
                ("note", JSON(note.map(printable))),
                (
                    "predictions",
                    .array(
                        predictions.map {
                            .object([
                                ("class", .int($0.index)), ("label", .string(printable($0.label))),
                                ("probability", .float($0.probability)),
                            ])
                        })
                ),
                ("panels", .array(panels.map(\.json))),
                ("seconds", .object(seconds.sorted { $0.key < $1.key }.map { ($0.key, .double($0.value)) })),
                ("metrics", .array(metrics.map(\.json))), ("curves", .array(curves.map(\.json))),
            ])
        }

        private func base64(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }
    }

    /// The command that makes the report again.
    package var command: String
    package var facts: [Fact]
    /// All that results.json says of the run.
    package var details: String
    /// By name.
    package var methods: [String]
    /// What maps take with the settings of the run, by method; else what they take with the defaults.
    package var passes: [String: String] = [:]
    /// Methods that were asked for and cannot explain the network, and why.
    package var leftOut: [(method: String, reason: String)] = []
    /// Of all pictures together.
    package var metrics: [Metric] = []
    package var tables: [Table] = []
    /// Why not all is here; nil if it is.
    package var incomplete: String?

    package init(command: String, facts: [Fact], details: String, methods: [String]) {
        (self.command, self.facts) = (command, facts)
        (self.details, self.methods) = (details, methods)
    }

    /// - Parameter pictures: entries of the list, in their order.
    private func head(_ pictures: [JSON]) throws -> JSON {
        .object([
            ("command", .string(printable(command))),
            (
                "facts",
                .array(facts.map { JSON([printable($0.name), printable($0.value)]) })
            ),
            ("details", .string(printableLines(details))), ("incomplete", JSON(incomplete.map(printable))),
            ("leftOut", .array(leftOut.map { JSON([$0.method, printable($0.reason)]) })),
            (
                "methods",
                .object(
                    try methods.map {
                        ($0, ReportDocument.method(try ExplainerList.named($0), passes: passes[$0]))
                    })
            ),
            (
                "colours",
                .array(
                    ColorMap.all.map {
                        .object([
                            ("name", .string($0.name)), ("summary", .string($0.summary)),
                            ("diverging", .bool($0.isDiverging)),
                            ("table", .string(Data($0.table).base64EncodedString())),
                        ])
                    })
            ),
            ("metrics", .array(metrics.map(\.json))), ("tables", .array(tables.map(\.json))),
            ("pictures", .array(pictures)),
        ])
    }

    private static func method(_ type: any Explainer.Type, passes: String?) -> JSON {
        .object([
            ("title", .string(type.title)), ("family", .string(type.family.title)),
            ("formula", .string(type.formula)), ("source", .string(type.source)),
            ("reading", .string(type.reading)), ("passes", .string(passes ?? type.cost)),
            ("black", .bool(type.family == .perturbation)),
        ])
    }

    /// An entry for a picture that could not be explained.
    static func entry(_ name: String, failed reason: String) -> JSON {
        .object([
            ("name", .string(printable(name))), ("thumbnail", .null), ("label", .null),
            ("probability", .null), ("error", .string(printable(reason))),
        ])
    }

    // MARK: The page

    /// A block of JSON in the page. Nothing of it can be taken for the page's own marks: it holds no `<`.
    package static func block(_ json: JSON, id: String) -> String {
        "<script type=\"application/json\" id=\"\(id)\">\(escaped(json))</script>\n"
    }

    /// JSON without what HTML would read: `<` and `&` stand only in texts, where JSON has other ways to write them.
    static func escaped(_ json: JSON) -> String {
        json.line.replacing("<", with: "\\u003c").replacing("&", with: "\\u0026")
    }

    /// The page around the blocks of pictures.
    /// - Parameter pictures: entries of the list.
    package func page(_ pictures: [JSON]) throws -> (before: String, after: String) {
        func source(_ name: String) -> String { String(cString: wb_report_source(name)) }
        let (style, program) = (source("report.css"), source("report.js"))
        var page = source("report.html")
        // The page runs this program and no other, and reaches for nothing outside of itself.
        func hash(_ text: String) -> String {
            var hash = SHA256()
            Array(text.utf8).withUnsafeBytes { hash.update($0) }
            return "'sha256-\(Data(hash.digest()).base64EncodedString())'"
        }
        let policy =
            "default-src 'none'; img-src data:; script-src \(hash(program)); style-src \(hash(style))"
        for (mark, text) in [
            ("<!--policy-->", "<meta http-equiv=\"Content-Security-Policy\" content=\"\(policy)\">"),
            ("<!--style-->", "<style>\(style)</style>"), ("<!--program-->", "<script>\(program)</script>"),
        ] {
            precondition(page.contains(mark), "report.html has no place for \(mark).")
            page = page.replacing(mark, with: text)
        }
        let parts = page.split(separator: "<!--data-->").map(String.init)
        precondition(parts.count == 2, "report.html has no place for what is to be shown.")
        return (parts[0] + ReportDocument.block(try head(pictures), id: "report"), parts[1])
    }
}
