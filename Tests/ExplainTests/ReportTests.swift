// Reports: maps in whole numbers, and texts of strangers in the page.

import Explain
import Foundation
import Imaging
import Testing

@Suite struct ReportTests {
    // MARK: Maps in whole numbers

    @Test func smallMapsKeep16Bits() {
        let grid = Grid2D(width: 3, height: 2, values: [0, 0.5, 1, 2, 3.25, 4])
        let map = QuantisedMap(grid, isSigned: false)
        #expect(map.bits == 16 && map.top == 65534 && map.bytes.count == 12 && map.cell == 1 && !map.isCut)
        #expect((map.low, map.high) == (0, 4))
        for row in 0..<2 {
            for column in 0..<3 {
                #expect(
                    abs(map.value(row: row, column: column) - Double(grid[row, column])) <= 4.0 / 65534 / 2)
            }
        }
        // The low byte first: 0.5 of 4 is an eighth of 65534, rounded.
        let level = 8192
        #expect(Array(map.bytes[2..<4]) == [UInt8(level & 255), UInt8(level >> 8)])
    }

    @Test func zeroStaysZeroWhereThereAreSigns() {
        let map = QuantisedMap(Grid2D(width: 4, height: 1, values: [-1, 0, 3, .nan]), isSigned: true)
        #expect((map.low, map.high) == (-3, 3))
        #expect(map.value(row: 0, column: 1) == 0 && map.value(row: 0, column: 3) == 0)
        #expect(abs(map.value(row: 0, column: 0) + 1) < 1e-4 && map.value(row: 0, column: 2) == 3)
    }

    @Test func largeMapsAreMeansOf8Bits() {
        // 100 × 80 numbers that grow to the right; squares of 3 become 34 × 27.
        let grid = Grid2D(width: 100, height: 80, values: (0..<8000).map { Float($0 % 100) })
        let map = QuantisedMap(grid, isSigned: false, cell: 3)
        #expect((map.width, map.height, map.bits, map.cell) == (34, 27, 8, 3))
        #expect(map.bytes.count == 34 * 27 && map.top == 254)
        // The last column has one number of its own, and the first the mean of 0, 1 and 2.
        #expect((map.low, map.high) == (1, 99))
        #expect(map.value(row: 26, column: 33) == 99)
        #expect(abs(map.value(row: 5, column: 10) - 31) <= 98.0 / 254 / 2)
    }

    @Test func whatIsAboveTheQuantileIsCut() {
        let values = (1...100).map(Float.init) + [5000]
        let map = QuantisedMap(Grid2D(width: 101, height: 1, values: values), isSigned: false, quantile: 0.99)
        #expect(map.isCut && map.high == 100 && map.low == 1)
        #expect(map.value(row: 0, column: 100) == 100)
        // Of signs both ends are cut alike.
        let signed = QuantisedMap(
            Grid2D(width: 101, height: 1, values: values.map { -$0 }), isSigned: true, quantile: 0.99)
        #expect(signed.isCut && signed.low == -100 && signed.high == 100)
        // Nothing is cut where nothing else would be left.
        let lonely = QuantisedMap(
            Grid2D(width: 1000, height: 1, values: [7] + [Float](repeating: 0, count: 999)), isSigned: false,
            quantile: 0.99)
        #expect(!lonely.isCut && lonely.high == 7)
    }

    @Test func constantAndBrokenMaps() {
        let constant = QuantisedMap(Grid2D(width: 2, height: 1, values: [2, 2]), isSigned: false)
        #expect((constant.low, constant.high) == (2, 2) && constant.value(row: 0, column: 1) == 2)
        let broken = QuantisedMap(Grid2D(width: 2, height: 1, values: [.nan, .infinity]), isSigned: true)
        #expect((broken.low, broken.high) == (0, 0) && broken.value(row: 0, column: 0) == 0)
    }

    // MARK: The page

    private static let hostile = "</script><!--<script>alert(1)</script>&lt;\u{2028}\u{202E}猫\u{0}"

    private func picture() -> ReportDocument.Picture {
        let map = QuantisedMap(Grid2D(width: 1, height: 1, values: [1]), isSigned: false)
        var picture = ReportDocument.Picture(
            name: Self.hostile, width: 4, height: 4, photo: [1, 2, 3], thumbnail: [4],
            region: Region(x: 0, y: 0, width: 1, height: 1),
            predictions: [
                Prediction(index: 3, label: Self.hostile, logit: 1, probability: 0.5)
            ], note: Self.hostile,
            panels: [
                ReportDocument.Panel(
                    method: "gradcam", classIndex: 3, label: Self.hostile, probability: 0.5,
                    layer: Self.hostile, map: map, note: Self.hostile)
            ], seconds: ["gradcam": 0.25])
        picture.metrics = [
            .init(method: "gradcam", classIndex: 3, name: Self.hostile, value: 0.5, isHigherBetter: true)
        ]
        picture.curves = [
            .init(method: "gradcam", classIndex: 3, kind: .deletion, scores: [1, 0.5, 0])
        ]
        return picture
    }

    @Test func textsOfStrangersAreNoMarks() throws {
        let block = ReportDocument.block(picture().json, id: "picture-0")
        let mark = "<script type=\"application/json\" id=\"picture-0\">"
        #expect(block.hasPrefix(mark) && block.hasSuffix("</script>\n"))
        let json = String(block.dropFirst(mark.count).dropLast("</script>\n".count))
        for bad in ["<", "&", "\u{2028}", "\u{202E}", "\n", "\u{0}"] {
            #expect(!json.contains(bad), "The block holds \(bad.debugDescription).")
        }
        // The page gets the true name, with what is not visible written out.
        let read = try #require(
            try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
        #expect(
            read["name"] as? String
                == "</script><!--<script>alert(1)</script>&lt;\\u{2028}\\u{202E}猫\\u{0}")
        let panels = try #require(read["panels"] as? [[String: Any]])
        #expect(panels[0]["values"] as? String != nil && panels[0]["bits"] as? Int == 16)
        let curves = try #require(read["curves"] as? [[String: Any]])
        #expect(
            curves[0]["name"] as? String == "deletion" && curves[0]["scores"] as? [Double] == [1, 0.5, 0])
    }

    @Test func thePageIsWhole() throws {
        var document = ReportDocument(
            command: "app explain '\(Self.hostile)'", facts: [.init("Model", Self.hostile)],
            details: Self.hostile, methods: ExplainerList.all.map { $0.name })
        document.leftOut = [("rollout", Self.hostile)]
        let page = try document.page([picture().entry])
        for mark in ["<!--policy-->", "<!--style-->", "<!--data-->", "<!--program-->"] {
            #expect(!(page.before + page.after).contains(mark))
        }
        // Nothing but the page's own marks: one program, one style sheet, one block.
        #expect(page.before.components(separatedBy: "<script").count == 2)
        #expect(page.after.components(separatedBy: "<script").count == 2)
        #expect(page.before.contains("default-src 'none'"))
        #expect(!page.before.contains("alert(1)</script>"))
    }

    /// How a map is read, and when it is not to be, is said of each method, in a sentence.
    @Test func everyMethodSaysHowItIsRead() {
        for method in ExplainerList.all {
            let reading = method.reading
            #expect(reading.count > 60 && reading.hasSuffix("."), "\(method.name): \(reading)")
            #expect(
                reading.contains("not ") || reading.contains("never "),
                "\(method.name) does not say when its map is not to be read.")
        }
        #expect(Set(ExplainerList.all.map { $0.reading }).count == ExplainerList.all.count)
    }
}
