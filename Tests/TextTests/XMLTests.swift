// What is read of XML, and what is refused.

import TestSupport
import Testing
import Text

@Suite struct XMLTests {
    private func pieces(_ text: String) throws -> [XMLReader.Piece] {
        var reader = XMLReader(Array(text.utf8))
        var pieces: [XMLReader.Piece] = []
        while let piece = try reader.next() { pieces.append(piece) }
        return pieces
    }

    private func message(_ text: String) -> String {
        do {
            return "nothing was thrown: \(try pieces(text))"
        } catch {
            return "\(error)"
        }
    }

    @Test func elementsTextsAndReferences() throws {
        let text = """
            <?xml version="1.0" encoding="latin-1"?><!DOCTYPE a><!-- <b> -->
            <a x='1' y = "&amp;>"><b/>c &amp;&#x41;&#66;<![CDATA[<d>&]]>e</a >
            """
        #expect(
            try pieces(text) == [
                .start("a"), .start("b"), .end("b"), .text("c &AB"), .text("<d>&"), .text("e"), .end("a"),
            ])
        #expect(try pieces("\u{FEFF}<a>é</a>") == [.start("a"), .text("é"), .end("a")])
    }

    @Test func whatIsNoXML() {
        #expect(message("") == "line 1: there is no element")
        #expect(message("<a>\n<b></a>") == "line 2: </a> closes nothing that is open")
        #expect(message("<a>\n") == "line 2: <a> is not closed")
        #expect(message("<a/><b/>").contains("two elements"))
        #expect(message("<a/>b").contains("outside"))
        #expect(message("<a b></a>").contains("no value"))
        #expect(message("<a b=1></a>").contains("no value"))
        #expect(message("<a>&b;</a>").contains("nobody says"))
        #expect(message("<a>&#0;</a>").contains("nobody says"))
        #expect(message("<a>& b</a>").contains("no reference"))
        #expect(message("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>").contains("of its own"))
        #expect(message("<a><![CDATA[</a>").contains("“]]>” is missing"))
        #expect(message("<>").contains("a name"))
        var reader = XMLReader([0x3C, 0x61, 0x3E, 0xE9, 0x3C])
        #expect(throws: XMLReader.Problem.self) { while try reader.next() != nil {} }
    }

    /// Whatever bytes come, there are pieces or a sentence, and each end has its start.
    @Test func changedTexts() {
        var random = SeededRandom("changed XML")
        let text = Array("<?xml?><a b='c'><d>e &amp; f</d><![CDATA[g]]><!-- h --><i/></a>".utf8)
        for _ in 0..<20_000 {
            var bytes = text
            for _ in 0...random.index(below: 4) {
                let at = random.index(below: bytes.count)
                switch random.index(below: 3) {
                case 0: bytes[at] = UInt8(random.index(below: 256))
                case 1: bytes.remove(at: at)
                default: bytes.insert(text[random.index(below: text.count)], at: at)
                }
            }
            var (reader, open) = (XMLReader(bytes), [String]())
            do {
                while let piece = try reader.next() {
                    switch piece {
                    case .start(let name): open.append(name)
                    case .end(let name): #expect(open.popLast() == name)
                    case .text: #expect(!open.isEmpty)
                    }
                }
                #expect(open.isEmpty)
            } catch {
                #expect(error.line >= 1 && !error.words.isEmpty)
            }
        }
    }
}
