// The names of classes: from a file of the user's own, or as a model carries them.

import Files
import Text

/// Names of classes in the order of the logits, and where they come from.
struct ClassNames: Sendable {
    /// True names: what is not printable is written out only where it is printed.
    var names: [String] = []
    /// Which class has a WordNet number, such as n02504458, where the file has those in front of names.
    private(set) var numbers: [String: Int] = [:]
    /// How sentences call them; nil without names.
    var origin: String?
    /// What would work, for a sentence on their number.
    private var remedy = ""

    /// Class names that nobody gave.
    init() {}

    /// Reads a file: plain text with one name on each line, a JSON list, or a JSON object with the index of each class for a
    /// key, which may be `id2label` (or a list `label_names`) of a larger one; in UTF-8.
    init(file: String) throws {
        let bytes: [UInt8]
        do { bytes = try InputFile.contents(file) } catch { throw ExplainError(error, .settings) }
        func failed(_ reason: String) -> ExplainError { ExplainError(.settings, "\(file): \(reason)") }
        guard !bytes.starts(with: [0xFF, 0xFE]), !bytes.starts(with: [0xFE, 0xFF]) else {
            throw failed("The labels are in UTF-16; save the file as UTF-8.")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw failed("The labels are not UTF-8; save the file as UTF-8 text, one class name per line.")
        }
        origin = file
        remedy = "the file needs one for each, in the order of the logits"
        switch text.unicodeScalars.first(where: { !" \t\r\n\u{FEFF}".unicodeScalars.contains($0) }) {
        case "[", "{":
            do { try take(ClassNames.names(json: bytes)) } catch { throw failed("The labels \(error).") }
        default:
            do { try take(ClassNames.names(lines: text)) } catch { throw failed("\(error)") }
        }
    }

    private mutating func take(_ classes: [(number: String?, name: String)]) {
        names = classes.map(\.name)
        // What several have names none of them.
        numbers = Dictionary(
            classes.enumerated().compactMap { index, found in found.number.map { ($0, index) } }
        ) { _, _ in -1 }
    }

    /// Reads what a model carries: JSON.
    init(carried: String, by path: String) throws {
        origin = "\(path): What the model carries"
        remedy = "give a file with --labels"
        do {
            try take(ClassNames.names(json: Array(carried.utf8)))
        } catch {
            throw ExplainError(.settings, "\(path): The labels that the model carries \(error).")
        }
    }

    /// Refuses names that are not one for each class.
    /// - Parameter others: outputs that may be the scores instead, for a sentence.
    func check(classes: Int, isBinary: Bool, beside others: String) throws {
        guard let origin, names.count != classes else { return }
        let network =
            isBinary
            ? "the network has one score, which makes two classes: first what it does not look for, then what it does"
            : "the network has \(classes) classes"
        throw ExplainError(
            .settings,
            "\(origin) names \(names.count) class\(names.count == 1 ? "" : "es"), and \(network); \(remedy)"
                + (others.isEmpty
                    ? "." : ", or --score-output names another output as the scores: \(others)."))
    }

    // MARK: Forms

    /// The end of a sentence, or a whole one.
    private struct Fault: Error, CustomStringConvertible { let description: String }

    private static func names(lines text: String) throws -> [(number: String?, name: String)] {
        // By scalars, because Swift takes CR and LF together for one character.
        var lines: [String] = []
        var line = String.UnicodeScalarView()
        var previous: Unicode.Scalar?
        for scalar in text.unicodeScalars {
            if scalar == "\n" && previous == "\r" {
                // The rest of the line's end.
            } else if scalar == "\n" || scalar == "\r" {
                lines.append(trimmed(line))
                line = .init()
            } else if previous != nil || scalar != "\u{FEFF}" {
                line.append(scalar)
            }
            previous = scalar
        }
        lines.append(trimmed(line))
        while lines.last == "" { lines.removeLast() }
        guard !lines.isEmpty else { throw Fault(description: "The file of labels is empty.") }
        if let blank = lines.firstIndex(of: "") {
            throw Fault(
                description:
                    "Line \(blank + 1) of the labels is blank, and others follow; each class needs a name on a line of its own."
            )
        }
        return lines.map(parts)
    }

    private static func names(json bytes: [UInt8]) throws -> [(number: String?, name: String)] {
        var value: JSON
        do {
            value = try JSON(reading: bytes)
        } catch {
            throw Fault(description: "look like JSON, but \(error)")
        }
        func name(_ value: JSON, _ index: Int) throws -> (number: String?, name: String) {
            // Keras' file of ImageNet's names has pairs: ["n02504458", "African_elephant"].
            if case .array(let pair) = value, pair.count == 2, case .string(let number) = pair[0],
                isWordNet(number)
            {
                return (number, try name(pair[1], index).name)
            }
            guard case .string(let text) = value else {
                throw Fault(description: "have something other than a text for class \(index)")
            }
            let name = trimmed(text.unicodeScalars)
            guard !name.isEmpty else { throw Fault(description: "have an empty name for class \(index)") }
            return parts(name)
        }
        // Hugging Face's config.json has them among other things; timm's lists them.
        if case .object(let entries) = value,
            let list = entries.first(where: { ["id2label", "label_names"].contains($0.0) })
        {
            value = list.1
        }
        switch value {
        case .array(let items):
            guard !items.isEmpty else { throw Fault(description: "are an empty list") }
            return try items.enumerated().map { try name($1, $0) }
        case .object(let entries):
            guard !entries.isEmpty else { throw Fault(description: "are an empty object") }
            var names = [(number: String?, name: String)?](repeating: nil, count: entries.count)
            for (key, value) in entries {
                guard let index = Int(key), String(index) == key, index >= 0 else {
                    throw Fault(
                        description:
                            "are a JSON object with the key \"\(shortened(key))\", where keys are the indices of classes, from \"0\""
                    )
                }
                guard names.indices.contains(index) else {
                    throw Fault(
                        description:
                            "are a JSON object of \(entries.count) classes with the index \(index), so others are missing"
                    )
                }
                names[index] = try name(value, index)
            }
            // As many different keys as places, each in range.
            return names.map { $0! }
        default: throw Fault(description: "are neither a JSON list nor a JSON object")
        }
    }

    private static func isWordNet(_ text: some StringProtocol) -> Bool {
        text.utf8.count == 9 && text.first == "n"
            && text.utf8.dropFirst().allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains)
    }

    private static func trimmed(_ scalars: String.UnicodeScalarView) -> String {
        func isSpace(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isWhitespace }
        guard let first = scalars.firstIndex(where: { !isSpace($0) }),
            let last = scalars.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(scalars[first...last])
    }

    /// Lines such as "n02504458 African elephant" carry a WordNet number first.
    private static func parts(_ line: String) -> (number: String?, name: String) {
        let parts = line.split(maxSplits: 1) { $0 == " " || $0 == "\t" }
        guard parts.count == 2, isWordNet(parts[0]) else { return (nil, line) }
        return (String(parts[0]), trimmed(parts[1].unicodeScalars.reduce(into: .init()) { $0.append($1) }))
    }
}
