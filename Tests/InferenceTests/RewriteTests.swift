// The list of rewrites: that the documentation says what it says.

import Foundation
import Inference
import Testing

@Suite struct RewriteTests {
    @Test func documentationListsThem() throws {
        let root = URL(filePath: #filePath).appending(path: "../../..").standardized
        let page = try String(
            contentsOf: root.appending(path: "Documentation/Architecture.md"), encoding: .utf8)
        let table =
            "| Rewrite | |\n|---|---|\n" + Rewrite.all.map { "| \($0.name) | \($0.sentence) |\n" }.joined()
            + "\n"
        #expect(page.contains(table), "Documentation/Architecture.md should have this table:\n\(table)")
    }
}
