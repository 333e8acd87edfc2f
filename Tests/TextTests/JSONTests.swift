// JSON in and out: what is valid comes back as it was, what is not is refused, and nothing exhausts the stack.

import Foundation
import Testing
import Text

@Suite struct JSONTests {
    private func read(_ text: String) throws -> String { try JSON(reading: Array(text.utf8)).text }
    private func refusal(_ text: String) -> String? {
        do {
            _ = try JSON(reading: Array(text.utf8))
            return nil
        } catch {
            return "\(error)"
        }
    }

    @Test(arguments: [
        "null", "true", "false", "0", "-12", "1.5", "[]", "[[]]", "[1, 2]", "\"\"", "\"a\\\"b\\\\c\\n\"",
        "\"é写👩\"",
    ])
    func comesBack(_ text: String) throws {
        #expect(try read(text) == text + "\n")
        #expect(try read("\u{FEFF} \r\n\t\(text) ") == text + "\n")
    }

    @Test func escapes() throws {
        guard
            case .string(let text) = try JSON(
                reading: Array(#""\u0041\u00e9\ud83d\ude00\/\b\f\n\r\t\\""#.utf8))
        else {
            Issue.record("no text")
            return
        }
        #expect(text == "Aé😀/\u{8}\u{C}\n\r\t\\")
        guard case .double(let number) = try JSON(reading: Array("-1.25e+2".utf8)) else {
            Issue.record("no number")
            return
        }
        #expect(number == -125)
    }

    @Test(arguments: [
        "", " ", "[", "{", "[1", "[1,", "[1,]", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{a:1}", "nul",
        "nulll", "01", "-", "1.", ".5",
        "1e", "+1", "\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u+123\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
        "\"\\udc00\"", "\"\n\"", "1 2", "[1] x", "'a'",
        "1e999", "{\"a\": 1, \"a\": 2}", "[1 2]", "{\"a\" 1}", "\u{A0}1",
    ])
    func isRefused(_ text: String) { #expect(refusal(text) != nil, "\(text)") }

    @Test func bytesThatAreNoUTF8() {
        #expect(throws: JSON.ReadingError.self) { try JSON(reading: [0x22, 0xFF, 0x22]) }
        #expect(throws: JSON.ReadingError.self) { try JSON(reading: [0x22, 0xC0, 0xAF, 0x22]) }
    }

    @Test func depthIsBounded() throws {
        func nested(_ n: Int) -> String {
            String(repeating: "[", count: n) + String(repeating: "]", count: n)
        }
        _ = try read(nested(JSON.depthLimit + 1))
        #expect(refusal(nested(JSON.depthLimit + 2))?.contains("deep") ?? false)
        #expect(refusal(String(repeating: "[", count: 1_000_000)) != nil)
        #expect(refusal(String(repeating: "{\"a\":", count: 1_000_000)) != nil)
    }

    @Test func theLineIsNamed() { #expect(refusal("[\n\"a\"\n\"b\"]")?.contains("line 3") ?? false) }

    /// Foundation agrees, on texts made by changing valid ones.
    @Test func agreesWithFoundation() {
        var state: UInt64 = 1
        func random(_ n: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % n
        }
        let seeds = [
            #"{"resize": {"shortSide": 256}, "mean": [0.485, -1e-3, 3], "x": "a\u00e9\n", "y": [true, false, null]}"#,
            #"["ant", "bee", ["n02504458", "x"], {}]"#,
        ].map { Array($0.utf8) }
        let letters = Array(#"{}[]",:\ntfu0123456789.eE+- x"#.utf8)
        var (valid, invalid) = (0, 0)
        for i in 0..<20_000 {
            var text = seeds[i % 2]
            for _ in 0...random(3) {
                let at = random(text.count)
                switch random(3) {
                case 0: text.remove(at: at)
                case 1: text.insert(letters[random(letters.count)], at: at)
                default: text[at] = letters[random(letters.count)]
                }
            }
            let theirs =
                (try? JSONSerialization.jsonObject(with: Data(text), options: .fragmentsAllowed)) != nil
            let ours: Bool
            do {
                _ = try JSON(reading: text)
                ours = true
            } catch {
                // Foundation lets a key pass that is there twice, a number beyond double precision, and a comma before the end.
                let isLenient =
                    error.reason.contains("twice") || error.reason.contains("too large")
                    || String(decoding: text, as: UTF8.self).contains(#/,\s*[\]}]/#)
                ours = isLenient ? theirs : false
            }
            #expect(ours == theirs, "\(String(decoding: text, as: UTF8.self))")
            if ours { valid += 1 } else { invalid += 1 }
        }
        #expect(valid > 1000 && invalid > 1000)
    }

    /// Names stay true in JSON, and nothing in it makes a terminal do anything.
    @Test func whatIsNotPrintableIsEscaped() throws {
        let name = "a\u{1B}\u{7}\r\n\u{9B}\u{202E}\u{2028}\u{E0041}é\u{0}"
        let text = JSON.object([(name, .string(name))]).text
        #expect(text.unicodeScalars.allSatisfy { $0.isPrintable || $0 == "\n" })
        let back = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: String])
        #expect(back.keys.first.map { Array($0.utf8) } == Array(name.utf8))
        #expect(back.values.first.map { Array($0.utf8) } == Array(name.utf8))
    }
}
