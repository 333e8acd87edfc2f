// One sheet for all pictures of a run: of each its first map, small.

import Imaging

/// Takes pictures in any order.
struct ContactSheet {
    static let name = "contact.png"
    /// The most pictures: a sheet of more can hardly be opened.
    static let limit = 240
    /// The longest side of a picture.
    static let cell = 160

    /// By the places of the pictures among all.
    private var items: [Int: ComparisonSheet.Item] = [:]
    private var count = 0

    mutating func add(_ index: Int, _ item: ComparisonSheet.Item) {
        count += 1
        items[index] = item
        // The first ones stay, whoever was ready first.
        if items.count > ContactSheet.limit { items[items.keys.max()!] = nil }
    }

    /// The sheet as a PNG file; nil if there is no picture.
    var file: [UInt8]? {
        guard count > 0 else { return nil }
        var sheet = ComparisonSheet(
            items: items.sorted { $0.key < $1.key }.map(\.value),
            heading: count > items.count ? "The first \(items.count) of \(count) pictures" : nil)
        (sheet.cellWidth, sheet.columns) = (ContactSheet.cell, 8)
        return sheet.render().pngData(fast: true)
    }
}
