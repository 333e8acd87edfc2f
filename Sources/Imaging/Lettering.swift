// Letters in pictures. What is plain ASCII is drawn by a small lettering of our own, with a round pen: no font file is needed, and a picture has the same
// bytes on every machine. Other scripts are set by Pango in the machine's own fonts, where it has any.
//
// A glyph is its advance and its strokes on a grid: x to the right, y up, both one hexadecimal digit. The
// baseline is y = 3, small letters reach 9, capitals and ascenders c, descenders 0. A stroke begins with what it is:
// `-` straight lines through its points, `~` a smooth curve (quadratic B-spline) between its ends, `o` a
// closed one. Printable ASCII, and · × – … °; without Pango everything else shows as a question mark.

import CPango
import Text

/// Text drawn into a picture.
package enum Lettering {
    package struct Style {
        /// Height of capitals in pixels.
        package var size: Double
        /// Width of the pen in pixels.
        package var pen: Double
        package var colour: (UInt8, UInt8, UInt8)

        package init(size: Double, pen: Double, colour: (UInt8, UInt8, UInt8)) {
            (self.size, self.pen, self.colour) = (size, pen, colour)
        }
    }

    private typealias Point = SIMD2<Double>

    private struct Glyph {
        var advance = 0.0
        /// Each stroke as a chain of short straight lines; a single point is a dot.
        var strokes: [[Point]] = []
    }

    /// Space between letters, in grid units.
    private static let spacing = 2.6
    private static let capitalHeight = 9.0

    /// Of a text that has letters which are not ours, in the fonts of the machine; nil where these cannot be had, or are not needed.
    private struct Foreign {
        let bytes: [UInt8], style: Style

        init?(_ text: String, _ style: Style) {
            guard !text.allSatisfy({ glyphs[$0] != nil }), wb_text_available(nil) else { return nil }
            // It may come from a stranger's file.
            (bytes, self.style) = (Array(printable(text).utf8), style)
        }

        /// Of the letters, where capitals are as high as ours; fonts have about that proportion.
        private var size: Double { style.size / 0.714 }
        private var isBold: Bool { style.pen / style.size >= 0.13 }

        private func withText<R>(_ body: (UnsafePointer<CChar>, Int) -> R) -> R {
            bytes.withUnsafeBytes { body($0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count) }
        }

        var width: Double { withText { wb_text_width($0, $1, size, isBold) } }

        /// - Returns: whether it is drawn.
        func draw(x: Double, baseline: Double, on image: inout RGBImage) -> Bool {
            let (left, top) = (x.rounded(.down) - 4, (baseline - 2 * size).rounded(.down))
            let (columns, rows) = (width.rounded(.up) + 12, (3 * size).rounded(.up))
            guard columns > 12, columns < 20000, rows < 2000, abs(left) < 1e6, abs(top) < 1e6 else {
                return false
            }
            var mask = [UInt8](repeating: 0, count: Int(columns) * Int(rows))
            let isDrawn = withText {
                wb_text_draw(
                    $0, $1, size, isBold, &mask, Int32(columns), Int32(rows), x - left, baseline - top)
            }
            guard isDrawn else { return false }
            for row in 0..<Int(rows) where (0..<image.height).contains(Int(top) + row) {
                for column in 0..<Int(columns) where (0..<image.width).contains(Int(left) + column) {
                    let cover = mask[row * Int(columns) + column]
                    guard cover > 0 else { continue }
                    image.blend(
                        style.colour, Double(cover) / 255, x: Int(left) + column, y: Int(top) + row)
                }
            }
            return true
        }
    }

    /// How wide the text comes out, in pixels.
    package static func width(of text: String, style: Style) -> Double {
        if let width = Foreign(text, style)?.width, width >= 0 { return width }
        let units = text.reduce(-spacing) { $0 + glyph($1).advance + spacing }
        return max(units, 0) * style.size / capitalHeight + style.pen
    }

    /// The text, or as much of its beginning as fits into `width` pixels with three dots behind it.
    package static func fitted(_ text: String, into width: Double, style: Style) -> String {
        guard self.width(of: text, style: style) > width else { return text }
        var short = text
        while !short.isEmpty && self.width(of: short + "…", style: style) > width { short.removeLast() }
        return short + "…"
    }

    /// Draws `text` with the left end of its baseline at (`x`, `baseline`).
    package static func draw(
        _ text: String, x: Double, baseline: Double, style: Style, on image: inout RGBImage
    ) {
        if let foreign = Foreign(text, style), foreign.draw(x: x, baseline: baseline, on: &image) { return }
        let scale = style.size / capitalHeight
        var pen = Point(x + style.pen / 2, baseline - style.pen / 2)
        for character in text {
            let glyph = glyph(character)
            for stroke in glyph.strokes {
                let points = stroke.map { Point(pen.x + $0.x * scale, pen.y - ($0.y - 3) * scale) }
                trace(points, style: style, on: &image)
            }
            pen.x += (glyph.advance + spacing) * scale
        }
    }

    /// One stroke: every pixel near it is covered as far as its distance to the nearest line says.
    private static func trace(_ points: [Point], style: Style, on image: inout RGBImage) {
        let reach = style.pen / 2 + 1
        let (xs, ys) = (points.map(\.x), points.map(\.y))
        func reached(_ positions: [Double], _ size: Int) -> Range<Int> {
            let limit = Double(size)
            let low = min(max(positions.min()! - reach, 0), limit)
            return Int(low)..<Int(min(max(positions.max()! + reach + 1, low), limit))
        }
        let (columns, rows) = (reached(xs, image.width), reached(ys, image.height))
        // A dot is a little larger than the pen, or it would look faint.
        let radius = points.count == 1 ? style.pen * 0.62 : style.pen / 2
        for y in rows {
            for x in columns {
                let centre = Point(Double(x) + 0.5, Double(y) + 0.5)
                var nearest = Double.infinity
                for i in 0..<max(points.count - 1, 1) {
                    let (a, b) = (points[i], points[min(i + 1, points.count - 1)])
                    let (along, from) = (b - a, centre - a)
                    let length = (along * along).sum()
                    let t = length > 0 ? min(max((along * from).sum() / length, 0), 1) : 0
                    let gap = from - t * along
                    nearest = min(nearest, (gap * gap).sum())
                }
                let cover = min(max(radius - nearest.squareRoot() + 0.5, 0), 1)
                guard cover > 0 else { continue }
                image.blend(style.colour, cover, x: x, y: y)
            }
        }
    }

    // MARK: The glyphs

    private static func glyph(_ character: Character) -> Glyph {
        glyphs[character] ?? glyphs["?"]!
    }

    private static let glyphs: [Character: Glyph] = {
        var glyphs: [Character: Glyph] = [" ": Glyph(advance: 1.5)]
        for line in drawings.split(separator: "\n") {
            let parts = line.split(separator: " ")
            guard parts.count >= 3, let character = parts[0].first, let advance = Int(parts[1], radix: 16)
            else { continue }
            glyphs[character] = Glyph(advance: Double(advance), strokes: parts[2...].map(flattened))
        }
        return glyphs
    }()

    private static func flattened(_ stroke: Substring) -> [Point] {
        let digits = stroke.dropFirst().compactMap(\.hexDigitValue).map(Double.init)
        let points = stride(from: 0, to: digits.count - 1, by: 2).map { Point(digits[$0], digits[$0 + 1]) }
        func curve(_ from: Point, _ control: Point, _ to: Point) -> [Point] {
            (1...6).map { step in
                let t = Double(step) / 6
                let (a, b) = (from + (control - from) * t, control + (to - control) * t)
                return a + (b - a) * t
            }
        }
        func middle(_ i: Int, _ j: Int) -> Point { (points[i % points.count] + points[j % points.count]) / 2 }
        switch stroke.first {
        case "~" where points.count > 2:
            var result = [points[0]]
            for i in 1..<points.count - 1 {
                let end = i == points.count - 2 ? points[i + 1] : middle(i, i + 1)
                result += curve(result.last!, points[i], end)
            }
            return result
        case "o":
            var result = [middle(0, 1)]
            for i in 1...points.count {
                result += curve(result.last!, points[i % points.count], middle(i, i + 1))
            }
            return result
        default: return points
        }
    }

    private static let drawings = #"""
        A 8 -034c83 -2666
        B 7 -030c ~0c3c6c683808 ~0838787333 -3303
        C 8 ~8a7c4c0c080703437385
        D 8 -030c -0c2c ~2c8c888783 -0323 ~2383878c2c
        E 6 -6c0c0363 -0858
        F 6 -6c0c03 -0858
        G 8 ~8a7c4c0c08070343838587 -5787
        H 7 -030c -737c -0878
        I 0 -030c
        J 5 ~5c5756532303030506
        K 7 -030c -7c06 -3873
        L 6 -0c0363
        M 8 -030c448c83
        N 7 -030c737c
        O 8 o0c4c8c8887834303 
        P 7 -030c -0c3c ~3c7c7737 -3707
        Q 8 o0c4c8c8887834303 -5582
        R 7 -030c -0c3c ~3c7c7737 -3707 -4773
        S 7 ~7a7c3c0c083877733303 -0305
        T 8 -0c8c -4c43
        U 7 ~0c08060333437376787c
        V 8 -0c438c
        W c -0c336c93cc
        X 7 -0c73 -7c03
        Y 8 -0c488c -4843
        Z 7 -0c7c0373
        a 6 ~08093969666563 ~663606033365
        b 6 -0c03 o0939696663330306
        c 6 ~6869390906033363 -6364
        d 6 -6c63 o0939696663330306
        e 6 -0666 ~666939090603335364
        f 4 ~4c2c2a2923 -0949
        g 6 o0939696663330306 ~6965603010 -1001
        h 6 -0c03 ~05093969666563
        i 0 -0903 -0c
        j 2 ~29242000 -2c
        k 6 -0c03 -6905 -2663
        l 2 ~0c06050323
        m a -0903 ~050929595653 ~555979a9a6a3
        n 6 -0903 ~05093969666563
        o 6 o0939696663330306
        p 6 -0900 o0939696663330306
        q 6 -6960 o0939696663330306
        r 4 -0903 ~05092949
        s 5 ~5859290906265653230304
        t 4 ~2b26232343 -0949
        u 6 ~0907060333636667 -6963
        v 6 -093369
        w a -09235983a9
        x 6 -0963 -6903
        y 6 -0933 -6920
        z 5 -09590353
        0 7 o0c3c4c7c787773433303 
        1 5 -1a3c33
        2 7 ~0a0c4c7c794603 -0373
        3 7 ~0a0c3c7c7838 ~38787333030505
        4 7 -535c0575
        5 7 -6c1c08 ~08193979733303 -0304
        6 7 ~6b6c3c0c080706 o0949797673430306
        7 7 -0c7c33
        8 7 o0c3c4c7c78483808 o0838487873433303
        9 7 o0c3c4c7c79763606 ~79777343131304
        ! 0 -0c06 -03
        " 2 -0c09 -2c29
        # 8 -233c -536c -0686 -0989
        $ 7 ~7a7c3c0c083877733303 -0305 -4d42
        % a o0c2c4c4a48280809 -8c23 o6787a7a5a3836365
        & 8 -832a ~2a2c5c5a4806 ~060333638386 
        ' 0 -0c09
        ( 2 ~2d0b07060421
        ) 2 ~0d2b27262401
        * 4 -2c28 -0b49 -4b09
        + 6 -343a -0767
        , 1 -1301
        - 4 -0747
        . 0 -03
        / 4 -024d
        : 0 -03 -08
        ; 1 -1301 -18
        < 6 -6b0763
        = 6 -0565 -0969
        > 6 -0b6703
        ? 6 ~0a0c3c6c693736 -33
        @ b ~9353030708 ~080c5caca8a575 -7579 o395979787555 
        [ 2 -2d0d0121
        \ 4 -0d42
        ] 2 -0d2d2101
        ^ 6 -093c69
        _ 6 -0161
        ` 2 -0d2b
        { 3 ~3d1d1a0707 ~07071411 -1131
        | 0 -0d01
        } 3 ~0d2d2a3737 ~37372421 -2101
        ~ 7 ~0609384575 -7578
        · 0 -07
        × 4 -0549 -4509
        – 6 -0767
        … 8 -03 -43 -83
        ° 3 o0c3c3909
        """#
}

extension RGBImage {
    /// Lays a colour over a pixel of which it covers a part, 0 … 1.
    fileprivate mutating func blend(_ colour: (UInt8, UInt8, UInt8), _ cover: Double, x: Int, y: Int) {
        let at = (y * width + x) * 3
        func mixed(_ new: UInt8, _ old: UInt8) -> UInt8 {
            UInt8(Double(old) + (Double(new) - Double(old)) * cover + 0.5)
        }
        pixels[at] = mixed(colour.0, pixels[at])
        pixels[at + 1] = mixed(colour.1, pixels[at + 1])
        pixels[at + 2] = mixed(colour.2, pixels[at + 2])
    }
}
