// What can be wrong with a network, in sentences.

import Kernels
import Text

package struct NetworkError: Error, Sendable, CustomStringConvertible {
    package enum Kind: Sendable {
        case unsupported  // operators or features that are not there
        case invalid  // the file contradicts itself
        case noSuchLayer, noSuchValue
        case input  // what is fed does not fit
    }
    package let kind: Kind
    package let description: String

    package init(_ kind: Kind, _ description: String) {
        (self.kind, self.description) = (kind, printable(description))
    }
}

/// Names that resemble `name`, the nearest first.
package func nearMatches(_ name: String, among names: [String], limit: Int = 5) -> [String] {
    let wanted = Array(name.lowercased().unicodeScalars)
    func distance(_ other: String) -> Int {
        let b = Array(other.lowercased().unicodeScalars)
        var row = Array(0...b.count)
        for (i, p) in wanted.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, q) in b.enumerated() {
                let next = min(row[j + 1] + 1, row[j] + 1, diagonal + (p == q ? 0 : 1))
                diagonal = row[j + 1]
                row[j + 1] = next
            }
        }
        return row[b.count]
    }
    guard !wanted.isEmpty else { return [] }
    let lower = name.lowercased()
    // A name resembles another as much as the part of it does that comes nearest: a synonym between commas, or a word.
    let scored = names.map { other -> (String, Int) in
        let full = other.lowercased()
        let synonyms = full.split(separator: ",").map { String($0.drop { $0 == " " }) }
        let words = synonyms.flatMap { $0.split(whereSeparator: { " -_/.".contains($0) }).map(String.init) }
        let nearest = ([full] + synonyms + words.filter { $0.count > 2 }).map(distance).min() ?? Int.max
        return (other, full.contains(lower) ? min(nearest, 1) : nearest)
    }
    return scored.filter { $0.1 <= max(1, wanted.count / 3) }.sorted { ($0.1, $0.0) < ($1.1, $1.0) }.prefix(
        limit
    ).map(
        \.0)
}
