// The README's table of operators is the list of operators.

import Foundation
import Kernels
import Testing

@Suite struct ReadmeTests {
    @Test func tableOfOperatorsIsTheList() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let readme = try String(contentsOf: root.appending(path: "README.md"), encoding: .utf8)
        let section = try #require(readme.components(separatedBy: "\n## Operators\n").dropFirst().first)
        let rows = section.components(separatedBy: "\n## ")[0].split(separator: "\n").filter {
            $0.hasPrefix("| ")
        }
        .map(String.init)
        let expected = OperatorList.all.sorted { $0.fullName < $1.fullName }.map { type in
            "| \(type.fullName) | \(type.opsets.lowerBound)–\(type.opsets.upperBound) | \(type.hasGradient ? "yes" : "–") | "
                + type.formula.replacingOccurrences(of: "|", with: "\\|") + " |"
        }
        #expect(
            Array(rows.dropFirst()) == expected,
            "The table under “Operators” in README.md should be:\n\(expected.joined(separator: "\n"))")
    }
}
