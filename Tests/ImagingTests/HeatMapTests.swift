// Heat maps: enlarging, scaling, colours, overlays and the sheet.

import Foundation
import Imaging
import Testing

@Suite struct HeatMapTests {
    @Test func bilinearBetweenCentres() {
        let small = Plane(width: 2, height: 2, values: [0, 1, 2, 3])
        // torch.nn.functional.interpolate(…, size=4, mode="bilinear", align_corners=False)
        #expect(
            small.resized(width: 4, height: 4).values
                == [0, 0.25, 0.75, 1, 0.5, 0.75, 1.25, 1.5, 1.5, 1.75, 2.25, 2.5, 2, 2.25, 2.75, 3])
        let row = Plane(width: 4, height: 1, values: [0, 1, 2, 10])
        #expect(row.resized(width: 2, height: 1).values == [0.5, 6])  // two neighbours each, no antialiasing
        #expect(row.resized(width: 4, height: 1) == row)
        #expect(row.resized(width: 4, height: 2).values == [0, 1, 2, 10, 0, 1, 2, 10])
        // Samples at −0.2, 0.4, 1, 1.6, 2.2 of [1, 4, 2].
        let odd = Plane(width: 3, height: 1, values: [1, 4, 2]).resized(width: 5, height: 1).values
        for (value, expected) in zip(odd, [1, 2.2, 4, 2.8, 2] as [Float]) {
            #expect(abs(value - expected) < 1e-6)
        }
    }

    /// To any size, each number as the definition has it: nothing is contracted, and a weight of zero hides infinities.
    @Test func bilinearBits() {
        let plane = Plane(
            width: 5, height: 3,
            values: (0..<15).map { $0 == 7 ? .infinity : Float(($0 * 37) % 11) / 7 - 0.3 })
        for (width, height) in [(1, 1), (5, 3), (5, 7), (13, 3), (2, 2), (10, 6), (224, 31), (3, 100)] {
            func sample(_ i: Int, _ size: Int, _ newSize: Int) -> (Int, Int, Float) {
                let s = min(
                    max((Float(i) + 0.5) * (Float(size) / Float(newSize)) - 0.5, 0), Float(size - 1))
                return (Int(s), min(Int(s) + 1, size - 1), s - Float(Int(s)))
            }
            func mix(_ a: Float, _ b: Float, _ t: Float) -> Float { t == 0 ? a : (1 - t) * a + t * b }
            var expected: [Float] = []
            for y in 0..<height {
                let (y0, y1, u) = sample(y, 3, height)
                for x in 0..<width {
                    let (x0, x1, t) = sample(x, 5, width)
                    let v = plane.values
                    expected.append(
                        mix(mix(v[y0 * 5 + x0], v[y0 * 5 + x1], t), mix(v[y1 * 5 + x0], v[y1 * 5 + x1], t), u)
                    )
                }
            }
            #expect(
                plane.resized(width: width, height: height).values.map(\.bitPattern)
                    == expected.map(\.bitPattern))
        }
    }

    @Test func scaling() {
        let plain = Plane(width: 3, height: 1, values: [-1, 3, 1]).normalised()
        #expect(plain.plane.values == [0, 1, 0.5] && plain.minimum == -1 && plain.maximum == 3)
        #expect(!plain.isConstant && plain.notFinite == 0)

        let flat = Plane(width: 2, height: 1, values: [7, 7]).normalised()
        #expect(flat.isConstant && flat.plane.values == [0, 0] && flat.maximum == 7)

        let broken = Plane(width: 5, height: 1, values: [.nan, 2, .infinity, 4, -.infinity]).normalised()
        #expect(broken.plane.values == [0, 0, 0, 1, 0] && broken.notFinite == 3 && !broken.isConstant)
        let hopeless = Plane(width: 2, height: 1, values: [.nan, .nan]).normalised()
        #expect(hopeless.isConstant && hopeless.notFinite == 2 && hopeless.plane.values == [0, 0])

        let most = Float.greatestFiniteMagnitude
        #expect(
            Plane(width: 3, height: 1, values: [-most, 0, most]).normalised().plane.values == [0, 0.5, 1])
        let least = Float.leastNonzeroMagnitude
        #expect(Plane(width: 2, height: 1, values: [0, least]).normalised().plane.values == [0, 1])
    }

    @Test func colours() {
        #expect(
            ColorMap.all.map(\.name)
                == ["inferno", "viridis", "cividis", "coolwarm", "jet", "turbo", "hot", "grey"])
        #expect(ColorMap.all.filter(\.isDiverging) == [.coolwarm])
        #expect(ColorMap.inferno.colour(0) == (0, 0, 4) && ColorMap.inferno.colour(1) == (252, 255, 164))
        // Halfway is one of the published colours; between two of them lies their mean.
        #expect(ColorMap.cividis.colour(0.5) == (124, 123, 120))
        #expect(ColorMap.coolwarm.colour(0.5).green >= 220)
        #expect(ColorMap.jet.colour(0) == (0, 0, 128))
        #expect(ColorMap.jet.colour(1) == (128, 0, 0))
        let middle = ColorMap.jet.colour(0.5)
        #expect(middle.green == 255 && middle.red > 120 && middle.blue > 120)
        #expect(ColorMap.hot.colour(0) == (0, 0, 0) && ColorMap.hot.colour(1) == (255, 255, 255))
        #expect(ColorMap.grey.colour(0.5) == (128, 128, 128))
        #expect(ColorMap.turbo.colour(0) == (35, 23, 27))
        for map in ColorMap.all {
            #expect(map.colour(.nan) == map.colour(0) && map.colour(-3) == map.colour(0))
            #expect(map.colour(.infinity) == map.colour(1))
            #expect(ColorMap.named(map.name) == map)
        }
    }

    /// Of the maps for numbers without a sign, those that say so grow lighter with each step.
    @Test(arguments: [ColorMap.inferno, .viridis, .cividis, .grey]) func lightness(_ map: ColorMap) {
        let light = (0..<256).map { step -> Double in
            let (red, green, blue) = map.colour(Float(step) / 255)
            func linear(_ byte: UInt8) -> Double { pow(Double(byte) / 255, 2.2) }
            return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
        }
        #expect(zip(light, light.dropFirst(8)).allSatisfy { $0 < $1 })
    }

    @Test func jpegFiles() throws {
        var picture = RGBImage(width: 61, height: 33, colour: (200, 40, 90))
        picture = picture.cropped(left: -3, top: 0, width: 64, height: 33, filling: (0, 90, 200))
        let fine = try RGBImage(decoding: picture.jpegData(quality: 95), name: "fine")
        #expect((fine.width, fine.height) == (64, 33))
        let inner = 3 * (16 * 64 + 40)
        #expect(zip(fine.pixels[inner..<inner + 3], [200, 40, 90]).allSatisfy { abs(Int($0) - $1) < 4 })
        #expect(picture.jpegData(quality: 20).count < picture.jpegData(quality: 95).count)
    }

    @Test func overlay() {
        let photo = RGBImage(width: 2, height: 1, pixels: [10, 20, 30, 255, 0, 101])
        let heat = Plane(width: 2, height: 1, values: [0, 1])
        // jet(0) = 0, 0, 128 and jet(1) = 128, 0, 0; halves go up.
        #expect(Overlay.overlay(photo: photo, heat: heat, colorMap: .jet).pixels == [5, 10, 79, 192, 0, 51])
        #expect(Overlay.overlay(photo: photo, heat: heat, colorMap: .jet, opacity: 0) == photo)
        #expect(
            Overlay.overlay(photo: photo, heat: heat, colorMap: .grey, opacity: 1).pixels
                == [0, 0, 0, 255, 255, 255])
        // A small map is enlarged.
        let grown = Overlay.overlay(
            photo: RGBImage(width: 4, height: 4), heat: Plane(width: 2, height: 2, values: [0, 1, 2, 3]),
            colorMap: .grey, opacity: 1)
        #expect(grown.pixels[3] == 64)
    }

    /// Of colours for signs the middle leaves the photograph alone.
    @Test func overlayOfSigns() {
        let photo = RGBImage(width: 3, height: 1, pixels: [10, 20, 30, 100, 100, 100, 255, 0, 101])
        let heat = Plane(width: 3, height: 1, values: [0, 0.5, 1])
        let full = Overlay.overlay(photo: photo, heat: heat, colorMap: .coolwarm, opacity: 1).pixels
        #expect(Array(full[0..<3]) == [0x3b, 0x4c, 0xc0] && Array(full[6..<9]) == [0xb4, 0x04, 0x26])
        #expect(full[3..<6].allSatisfy { abs(Int($0) - 100) < 9 })
    }

    @Test func regions() {
        // Two pieces that touch at a corner, one of three places and one of two; and one place that is no number.
        let plane = Plane(
            width: 5, height: 3,
            values: [
                1, 1, 0, 0, .nan,  //
                1, 0, 0, 0.5, 0,  //
                0, 0, 0, 0.5, 0.4,
            ])
        let regions = MapRegions(plane, threshold: 0.5)
        #expect(regions.isIn.count { $0 } == 5)
        #expect(regions.box == MapRegions.Box(left: 0, top: 0, width: 2, height: 2))
        #expect(regions.picture.pixels.count { $0 == 255 } == 15)
        #expect(MapRegions(plane, threshold: 2).box == nil)
        // The right column has no place of the piece beside it.
        let grey = RGBImage(width: 5, height: 3, colour: (90, 90, 90))
        let lines = stride(from: 0, to: 45, by: 3).map { regions.outlined(grey).pixels[$0] }
        #expect(lines == [255, 255, 0, 0, 90, 255, 0, 0, 255, 0, 0, 90, 0, 255, 0])
        let box = MapRegions.drawn(.init(left: 1, top: 0, width: 2, height: 3), on: grey)
        #expect(
            stride(from: 0, to: 15, by: 3).map { box.pixels[$0] } == [0, 255, 255, 0, 90])
    }

    @Test func overlayOnThePhotograph() {
        let photo = RGBImage(width: 6, height: 4, colour: (100, 100, 100))
        let heat = Plane(width: 2, height: 2, values: [0, 1, 0, 1])
        let result = Overlay.overlayOnPhoto(
            photo: photo, heat: heat, region: Region(x: 1, y: 0, width: 4, height: 4), colorMap: .grey,
            opacity: 1, outside: 0.5)
        let row = stride(from: 0, to: 18, by: 3).map { result.pixels[$0] }
        #expect(row == [50, 0, 64, 191, 255, 50])
        #expect((0..<4).allSatisfy { result.pixels[$0 * 18] == 50 })

        // A padded crop reaches beyond the photograph; one beside it darkens everything.
        let padded = Overlay.overlayOnPhoto(
            photo: photo, heat: heat, region: Region(x: -3, y: -4, width: 12, height: 12), colorMap: .jet,
            opacity: 0)
        #expect(padded == photo)
        let beside = Overlay.overlayOnPhoto(
            photo: photo, heat: heat, region: Region(x: 50, y: 0, width: 4, height: 4), colorMap: .jet,
            outside: 0)
        #expect(beside.pixels.allSatisfy { $0 == 0 })
    }

    @Test func barsOfTheSheet() {
        let picture = RGBImage(width: 32, height: 32, colour: (200, 30, 30))
        let item = ComparisonSheet.Item(
            picture: picture, title: "A", subtitle: "B", bar: .init(.grey, low: "0", high: "1"))
        let plain = ComparisonSheet(items: [.init(picture: picture, title: "A", subtitle: "B")]).render()
        let sheet = ComparisonSheet(items: [item]).render()
        #expect(sheet.width == plain.width && sheet.height == plain.height + 21)
        // In the bar's row there are greys from dark to light.
        let y = 24 + 320 + 70 - 5
        let row = (0..<sheet.width).map { sheet.pixels[3 * (y * sheet.width + $0)] }
        #expect(Set(row).count > 200)
    }

    @Test func sheet() {
        let picture = RGBImage(width: 224, height: 224, colour: (200, 30, 30))
        let item = ComparisonSheet.Item(
            picture: picture, title: "Grad-CAM", subtitle: "African elephant 88 %")
        var sheet = ComparisonSheet(items: [item, item, item])
        let plain = sheet.render()
        #expect(plain.width == 2 * 24 + 3 * 320 + 2 * 20)
        #expect(Array(plain.pixels[..<3]) == [255, 255, 255])
        let inside = (100 * plain.width + 100) * 3
        #expect(Array(plain.pixels[inside..<inside + 3]) == [200, 30, 30])
        // There is lettering under the picture, and none beside it.
        func dark(_ columns: Range<Int>) -> Int {
            (345..<400).reduce(0) { sum, y in
                sum + columns.filter { plain.pixels[(y * plain.width + $0) * 3] < 128 }.count
            }
        }
        #expect(dark(24..<344) > 200 && dark(0..<20) == 0 && dark(346..<362) == 0)

        sheet.scale = 2
        #expect(sheet.render().width == 2 * plain.width)
        sheet.scale = 1
        sheet.columns = 2
        #expect(sheet.render().width == 2 * 24 + 2 * 320 + 20 && sheet.render().height > 2 * 320)
        sheet.columns = nil
        sheet.groups[0].items = Array(repeating: item, count: 7)
        #expect(sheet.render().width == 2 * 24 + 4 * 320 + 3 * 20)
        // Two groups with titles: as wide as the larger, and as high as both.
        let group = ComparisonSheet.Group(title: "Gradients", items: [item, item])
        let grouped = ComparisonSheet(groups: [.init(items: [item]), group, group]).render()
        let untitled = ComparisonSheet(groups: [.init(items: [item, item])]).render()
        #expect(grouped.width == 2 * 24 + 2 * 320 + 20)
        #expect(grouped.height == 3 * (untitled.height - 48) + 2 * 20 + 2 * 44 + 48)
        sheet.groups = []
        #expect(sheet.render().height > 0)
    }

    @Test func lettering() {
        let style = Lettering.Style(size: 13, pen: 2, colour: (0, 0, 0))
        func ink(_ text: String) -> [UInt8] {
            var page = RGBImage(width: 30, height: 24, colour: (255, 255, 255))
            Lettering.draw(text, x: 4, baseline: 18, style: style, on: &page)
            return page.pixels
        }
        // Every printable character has a shape of its own.
        let printable = (32...126).map { String(UnicodeScalar($0)) } + ["·", "×", "–", "…", "°"]
        var shapes: Set<[UInt8]> = []
        for character in printable { shapes.insert(ink(character)) }
        #expect(shapes.count == printable.count)
        #expect(ink(" ") == ink(""))
        #expect(Lettering.width(of: "WW", style: style) > Lettering.width(of: "ii", style: style))
        let fitted = Lettering.fitted("a title that is much too long", into: 100, style: style)
        #expect(fitted.hasSuffix("…") && Lettering.width(of: fitted, style: style) <= 100)
        // Beyond every edge nothing is drawn, and nothing breaks.
        var page = RGBImage(width: 10, height: 10)
        // Of other scripts, in fonts of the machine; what is ASCII has the same bytes with and without these.
        func drawn(_ text: String) -> RGBImage {
            var page = RGBImage(width: 200, height: 30, colour: (255, 255, 255))
            Lettering.draw(text, x: 4, baseline: 20, style: style, on: &page)
            return page
        }
        let words = ["слон", "слот", "éléphant", "elephant", "فيل", "????"].map(drawn)
        for (i, word) in words.enumerated() {
            #expect(word.pixels.contains { $0 < 128 })
            for other in words[..<i] { #expect(word != other) }
        }
        let long = Lettering.fitted("слон африканский саванный", into: 100, style: style)
        #expect(long.hasPrefix("слон") && Lettering.width(of: long, style: style) <= 100)
        Lettering.draw("слон", x: -20, baseline: 3, style: style, on: &page)
        Lettering.draw("слон", x: 1e9, baseline: -1e9, style: style, on: &page)
        Lettering.draw("far away", x: -500, baseline: 1000, style: style, on: &page)
        Lettering.draw("across the edges", x: -5, baseline: 4, style: style, on: &page)
        Lettering.draw("above", x: 5, baseline: -40, style: style, on: &page)
    }
}
