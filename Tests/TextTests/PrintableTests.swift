// What a terminal would obey is written out; what people write in any script stays.

import Testing
import Text

@Suite struct PrintableTests {
    @Test(arguments: [
        ("\u{1B}[31m", "\\u{1B}[31m"), ("a\nb", "a\\nb"), ("a\r\nb", "a\\r\\nb"), ("\t", "\\t"),
        ("\u{7}", "\\u{7}"),
        ("\u{0}", "\\u{0}"), ("\u{7F}", "\\u{7F}"), ("\u{9B}31m", "\\u{9B}31m"), ("\u{85}", "\\u{85}"),
        ("gpj\u{202E}.exe", "gpj\\u{202E}.exe"), ("\u{2028}\u{2029}", "\\u{2028}\\u{2029}"),
        ("\u{200E}\u{200F}\u{61C}\u{2066}\u{2069}", "\\u{200E}\\u{200F}\\u{61C}\\u{2066}\\u{2069}"),
        ("\u{FEFF}\u{AD}\u{200B}", "\\u{FEFF}\\u{AD}\\u{200B}"), ("\u{E0041}", "\\u{E0041}"),
    ])
    func isWrittenOut(_ text: String, _ expected: String) {
        #expect(Text.printable(text) == expected)
        #expect(Text.printable("é" + text + "x") == "é" + expected + "x")
        #expect(Text.printable(Text.printable(text)) == expected)
    }

    @Test(arguments: [
        "", "photo.jpg", "é e\u{301} ß", "写真", "صورة", "می\u{200C}خواهم", "👩\u{200D}🔬 🇩🇪", "a b\u{A0}c",
        "“x” ’ …", "\\u{1B}",
    ])
    func stays(_ text: String) {
        #expect(Text.printable(text) == text)
        #expect(Text.shortened(text) == text)
    }

    /// Every scalar, against the categories of Unicode.
    @Test func everyScalar() {
        var hidden = 0
        for value in UInt32(0)...0x10FFFF {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let category = scalar.properties.generalCategory
            let obeyed =
                [.control, .format, .lineSeparator, .paragraphSeparator].contains(category)
                && value != 0x200C && value != 0x200D
            #expect(scalar.isPrintable == !obeyed, "\(value)")
            if scalar.properties.isBidiControl { #expect(!scalar.isPrintable) }
            if obeyed { hidden += 1 }
        }
        #expect(hidden > 200)
    }

    @Test func lines() {
        #expect(Text.printableLines("a\nb\u{1B}\r\n") == "a\nb\\u{1B}\\r\n")
    }

    @Test func longNamesAreShortened() {
        #expect(
            Text.quoted(String(repeating: "x", count: 120)) == "'" + String(repeating: "x", count: 120) + "'")
        #expect(
            Text.quoted(String(repeating: "x", count: 121)) == "'" + String(repeating: "x", count: 120) + "…'"
        )
        #expect(Text.quoted("\u{1B}") == "'\\u{1B}'")
    }
}
