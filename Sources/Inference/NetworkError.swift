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
    /// The same in full, where the description leaves out what a long list would have; nil if it leaves out nothing.
    package let details: String?

    package init(_ kind: Kind, _ description: String, details: String? = nil) {
        (self.kind, self.description, self.details) = (kind, printable(description), details.map(printable))
    }
}

/// Names that resemble `name`, the nearest first.
package func nearMatches(_ name: String, among names: [String], limit: Int = 5) -> [String] {
    nearIndices(name, among: names, limit: limit).map { names[$0] }
}

/// Where names are that resemble `name`, the nearest first.
package func nearIndices(_ name: String, among names: [String], limit: Int = 5) -> [Int] {
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
    let scored = names.enumerated().map { index, other -> (index: Int, distance: Int) in
        let full = other.lowercased()
        let synonyms = full.split(separator: ",").map { String($0.drop { $0 == " " }) }
        let words = synonyms.flatMap { $0.split(whereSeparator: { " -_/.".contains($0) }).map(String.init) }
        let nearest = ([full] + synonyms + words.filter { $0.count > 2 }).map(distance).min() ?? Int.max
        return (index, full.contains(lower) ? min(nearest, 1) : nearest)
    }
    return scored.filter { $0.distance <= max(1, wanted.count / 3) }
        .sorted {
            let (a, b) = (names[$0.index], names[$1.index])
            // Of equally near ones first those that are so as a whole.
            let wholes = (distance(a) - $0.distance, distance(b) - $1.distance)
            return ($0.distance, wholes.0, a, $0.index) < ($1.distance, wholes.1, b, $1.index)
        }
        .prefix(limit).map(\.index)
}
