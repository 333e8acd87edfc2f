// What a file said, made fit for people to read.
//
// Names in models, pictures' file names, keys of JSON: all of it may come from strangers. A terminal obeys control characters and
// lets others reorder a line, so whatever is not plainly visible is written out. Everything that this program says of a file goes through here.

extension Unicode.Scalar {
    /// Whether a terminal shows it, rather than obey it, break the line, or let it change how its neighbours are shown.
    ///
    /// Not printable are control characters (C0, DEL, C1), the separators of lines and paragraphs, and characters of format
    /// (bidirectional controls, zero widths, tags), but for the two joiners that scripts and emoji need.
    package var isPrintable: Bool {
        if value < 0x7F { return value >= 0x20 }
        return switch properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator, .surrogate: false
        case .format: value == 0x200C || value == 0x200D
        default: true
        }
    }
}

/// `text` on one line, with what is not printable written out: `\n`, `\r`, `\t`, `\u{1B}`.
package func printable(_ text: String) -> String {
    printable(text, keepingLines: false)
}

/// The same for a text of several lines, which stay.
package func printableLines(_ text: String) -> String {
    printable(text, keepingLines: true)
}

private func printable(_ text: String, keepingLines: Bool) -> String {
    func stays(_ scalar: Unicode.Scalar) -> Bool { scalar.isPrintable || keepingLines && scalar == "\n" }
    guard !text.unicodeScalars.allSatisfy(stays) else { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
        switch scalar {
        case _ where stays(scalar): result.append(scalar)
        case "\n": result.append(contentsOf: "\\n".unicodeScalars)
        case "\r": result.append(contentsOf: "\\r".unicodeScalars)
        case "\t": result.append(contentsOf: "\\t".unicodeScalars)
        default:
            let digits = String(scalar.value, radix: 16, uppercase: true)
            result.append(contentsOf: "\\u{\(digits)}".unicodeScalars)
        }
    }
    return String(result)
}

/// A name out of a file, in quotes, for a sentence: printable, and only the start of a very long one.
package func quoted(_ name: String) -> String { "'\(shortened(name))'" }

/// A name out of a file for a sentence that has its own quotes: printable, and only the start of a very long one.
package func shortened(_ name: String) -> String {
    let limit = 120
    let scalars = name.unicodeScalars
    guard let end = scalars.index(scalars.startIndex, offsetBy: limit, limitedBy: scalars.endIndex),
        end < scalars.endIndex
    else { return printable(name) }
    return printable(String(scalars[..<end])) + "…"
}

/// A path for a sentence: of a very long one the start, and the end, where its name is.
package func shortenedPath(_ path: String) -> String {
    let scalars = path.unicodeScalars
    guard path.utf8.count > 400, scalars.count > 400 else { return path }
    return String(scalars.prefix(100)) + "…" + String(scalars.suffix(280))
}
