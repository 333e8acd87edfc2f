// Several explanations side by side: pictures with a title and a second line under each, on white.

package struct ComparisonSheet: Sendable {
    /// One picture of the sheet.
    package struct Item: Sendable {
        package var picture: RGBImage
        package var title: String
        package var subtitle: String?
        package var bar: Bar?

        package init(picture: RGBImage, title: String, subtitle: String? = nil, bar: Bar? = nil) {
            self.picture = picture
            self.title = title
            self.subtitle = subtitle
            self.bar = bar
        }
    }

    /// The colours of a picture, from left to right, and what their ends mean.
    package struct Bar: Sendable {
        package var colorMap: ColorMap
        package var low: String, high: String

        package init(_ colorMap: ColorMap, low: String, high: String) {
            (self.colorMap, self.low, self.high) = (colorMap, low, high)
        }
    }

    /// Items that belong together; each group begins a row.
    package struct Group: Sendable {
        /// A line over the group.
        package var title: String?
        package var items: [Item]

        package init(title: String? = nil, items: [Item]) { (self.title, self.items) = (title, items) }
    }

    package var groups: [Group]
    /// A line over the whole sheet.
    package var heading: String?
    /// The width of a picture on the sheet at scale 1; smaller ones are enlarged, larger ones shrunk, smoothly.
    package var cellWidth = 320
    /// Pictures in a row at most; if left out, the rows of the largest group are as even as possible with at most five.
    package var columns: Int?
    /// 1, or 2 for screens and papers with fine pixels.
    package var scale = 1

    package init(groups: [Group], heading: String? = nil) {
        self.groups = groups
        self.heading = heading
    }

    package init(items: [Item], heading: String? = nil) {
        self.init(groups: [Group(items: items)], heading: heading)
    }

    /// How many pictures a row holds.
    private var perRow: Int {
        let items = groups.map(\.items.count).max() ?? 0
        if let columns { return max(1, min(columns, items)) }
        let rows = max(1, (items + 4) / 5)
        return max(1, (items + rows - 1) / rows)
    }

    /// Pictures side by side.
    private struct Row {
        let items: ArraySlice<Item>
        /// Of the group that begins with it.
        let title: String?
    }

    private var rows: [Row] {
        groups.flatMap { group in
            stride(from: 0, to: group.items.count, by: perRow).map {
                Row(
                    items: group.items[$0..<min($0 + perRow, group.items.count)],
                    title: $0 == 0 ? group.title : nil)
            }
        }
    }

    /// Draws the sheet; without items it is an empty page.
    package func render() -> RGBImage {
        let s = max(scale, 1)
        let (cell, margin, gap) = (max(cellWidth, 16) * s, 24 * s, 20 * s)
        let title = Lettering.Style(size: Double(13 * s), pen: 1.9 * Double(s), colour: (26, 28, 32))
        let second = Lettering.Style(size: Double(11 * s), pen: 1.3 * Double(s), colour: (96, 100, 108))
        let head = Lettering.Style(size: Double(17 * s), pen: 2.4 * Double(s), colour: (26, 28, 32))
        let (titleDrop, secondDrop, barDrop, groupDrop) = (27 * s, 49 * s, 70 * s, 44 * s)

        let rows = rows
        let pictureHeights = rows.map { row in
            row.items.map { Self.height(of: $0.picture, width: cell) }.max()!
        }
        let captionHeights = rows.map { row in
            let drop =
                row.items.contains { $0.bar != nil }
                ? barDrop : row.items.contains { $0.subtitle != nil } ? secondDrop : titleDrop
            return drop + 4 * s
        }
        let top = margin + (heading == nil ? 0 : 40 * s)
        let width = 2 * margin + perRow * cell + (perRow - 1) * gap
        let titleHeights = rows.map { $0.title == nil ? 0 : groupDrop }
        let heights = rows.indices.map { titleHeights[$0] + pictureHeights[$0] + captionHeights[$0] }
        let height = top + heights.reduce(0, +) + max(0, rows.count - 1) * gap + margin
        var sheet = RGBImage(width: width, height: height, colour: (255, 255, 255))

        if let heading {
            let text = Lettering.fitted(heading, into: Double(width - 2 * margin), style: head)
            Lettering.draw(
                text, x: Double(margin), baseline: Double(margin + 19 * s), style: head, on: &sheet)
        }
        var y = top
        for (number, row) in rows.enumerated() {
            if let text = row.title {
                Lettering.draw(
                    Lettering.fitted(text, into: Double(width - 2 * margin), style: head), x: Double(margin),
                    baseline: Double(y + 28 * s), style: head, on: &sheet)
            }
            // Where the captions of its pictures begin.
            let bottom = y + titleHeights[number] + pictureHeights[number]
            for (column, item) in row.items.enumerated() {
                let x = margin + column * (cell + gap)
                let picture = item.picture.resized(
                    width: cell, height: Self.height(of: item.picture, width: cell), by: .bicubic)
                // Lower pictures stand on the captions, so that those are level.
                sheet.paste(picture, left: x, top: bottom - picture.height)
                let lines = [(item.title, titleDrop, title), (item.subtitle ?? "", secondDrop, second)]
                for (text, drop, style) in lines {
                    Lettering.draw(
                        Lettering.fitted(text, into: Double(cell), style: style), x: Double(x),
                        baseline: Double(bottom + drop), style: style, on: &sheet)
                }
                if let bar = item.bar {
                    Self.draw(
                        bar, x: x, width: cell, baseline: bottom + barDrop, style: second, s, on: &sheet)
                }
            }
            y += heights[number] + gap
        }
        return sheet
    }

    /// A bar of colours between the numbers of its ends.
    private static func draw(
        _ bar: Bar, x: Int, width: Int, baseline: Int, style: Lettering.Style, _ s: Int,
        on sheet: inout RGBImage
    ) {
        let ends = [bar.low, bar.high].map { Int(Lettering.width(of: $0, style: style).rounded(.up)) }
        Lettering.draw(bar.low, x: Double(x), baseline: Double(baseline), style: style, on: &sheet)
        Lettering.draw(
            bar.high, x: Double(x + width - ends[1]), baseline: Double(baseline), style: style, on: &sheet)
        let length = width - ends[0] - ends[1] - 16 * s
        guard length > 1 else { return }
        let ramp = Plane(
            width: length, height: 9 * s,
            values: (0..<9 * s * length).map { Float($0 % length) / Float(length - 1) })
        sheet.paste(bar.colorMap.picture(ramp), left: x + ends[0] + 8 * s, top: baseline - 10 * s)
    }

    /// The height of a picture at the cell's width; very tall ones are squeezed to four cells.
    private static func height(of picture: RGBImage, width: Int) -> Int {
        let exact = Double(picture.height) * Double(width) / Double(picture.width)
        return Int(min(max(exact.rounded(), 1), Double(4 * width)))
    }
}

extension RGBImage {
    /// Copies `picture`, which must fit, to (`left`, `top`).
    mutating func paste(_ picture: RGBImage, left: Int, top: Int) {
        precondition(left >= 0 && top >= 0 && left + picture.width <= width && top + picture.height <= height)
        for y in 0..<picture.height {
            let from = y * picture.width * 3
            let to = ((top + y) * width + left) * 3
            pixels.replaceSubrange(
                to..<to + picture.width * 3, with: picture.pixels[from..<from + picture.width * 3])
        }
    }
}
