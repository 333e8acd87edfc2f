// What many maps say together: where classes look, and which pictures to look at first.

import Files
import FoundationEssentials
import Glibc
import Imaging
import Text

/// Reads folders of results, one picture after the other, and finds what stands out: classes whose maps lie elsewhere than those of all others (short cuts: a watermark in
/// the corner of one class), maps on the picture's border, methods that disagree, maps beside the object.
///
/// Each map becomes a distribution over 32 × 32 cells: what is above 0, over its sum. A class's `distance` is half of Σ |its mean − the mean of the other classes|: 0 where it looks where all
/// look, 1 where nobody else looks. `chance` is what that is on average if classes are shuffled among the pictures.
package struct ResultSummary {
    /// Cells along each side.
    package static let side = 32
    /// Classes of fewer pictures say nothing.
    package static let fewest = 5
    /// Pictures that are shuffled, at most, and how often.
    static let mostShuffled = 2000, shuffles = 100
    /// The longest that a list of pictures is.
    static let longest = 20

    /// The maps of a class by a method.
    package struct Class {
        /// The method; of a run with maps of several layers, with the layer: “gradcam at layer4”.
        package let method: String
        package let index: Int, label: String
        package let count: Int
        /// [32, 32].
        package let mean: [Double]
        package let distance: Double, chance: Double
        /// The smallest box, in parts of the picture, that has half of what the class has more than the others, and where that is in words.
        package let box: (left: Double, top: Double, right: Double, bottom: Double)
        package let place: String
    }
    /// A picture to look at, and its number.
    package struct Item {
        package let image: String, method: String, value: Double
    }
    /// By falling distance beyond chance.
    package private(set) var classes: [Class] = []
    /// By method, the mean of the means of all classes.
    package private(set) var overall: [String: [Double]] = [:]
    package private(set) var border: [Item] = [], disagreeing: [Item] = [], beside: [Item] = [],
        wrong: [Item] = []
    package private(set) var pictures = 0, failed = 0, blank = 0

    /// The share of a map that lies on a border of a sixteenth if it is the same everywhere.
    package static let evenBorder = 1 - pow(Double(side - 4) / Double(side), 2)

    /// What results call the layer of a map that lies on pixels.
    private static let pixels = Attribution.Grid.pixels(height: 1, width: 1).title

    private struct Sums {
        var sum = [Double](repeating: 0, count: side * side)
        var count = 0
        var label = ""
    }

    /// - Throws: `ExplainError` of kind `input` for folders that hold no results, or none whose maps were written.
    package init(_ folders: [String], seed: UInt64 = 0) throws {
        var sums: [String: [Int: Sums]] = [:]
        var kept: [String: [(index: Int, map: [Float])]] = [:]
        var seen: [String: Int] = [:]
        let random = CounterRandom(seed: seed, stream: CounterRandom.Stream.bootstrap)
        /// Adds the maps of a picture.
        func take(
            _ image: JSON, _ explanations: [JSON], eachLayer: Bool, _ map: (Int) throws -> Plane?
        ) throws {
            let picture = image[key: "image"]?.asString ?? "?"
            guard image[key: "error"]?.asString == nil else {
                failed += 1
                return
            }
            pictures += 1
            if let known = image[key: "trueClass"]?[key: "index"]?.asInt,
                case .array(let predictions)? = image[key: "predictions"],
                let best = predictions.first, let index = best[key: "index"]?.asInt, index != known
            {
                Self.keep(
                    &wrong,
                    Item(
                        image: picture, method: best[key: "label"]?.asString ?? "",
                        value: best[key: "probability"]?.number ?? 0),
                    highest: true)
            }
            var first: [(method: String, layer: String?, map: [Float])] = []
            let firstClass = explanations.lazy.compactMap { $0[key: "class"]?.asInt }.first
            for (place, explanation) in explanations.enumerated() {
                guard let method = explanation[key: "method"]?.asString else { continue }
                // Layers look elsewhere, so that a method counts at each of them for itself.
                let layer =
                    eachLayer
                    ? explanation[key: "layer"]?.asString.flatMap { $0 == Self.pixels ? nil : $0 } : nil
                let name = method + (layer.map { " at \($0)" } ?? "")
                guard let map = try map(place) else { continue }
                guard let cells = Self.distribution(map) else {
                    blank += 1
                    continue
                }
                if explanation[key: "class"]?.asInt == firstClass
                    || explanation[key: "class"]?.asInt == nil
                {
                    first.append((method, layer, cells))
                }
                let share = Self.border(cells)
                if share > Self.evenBorder {
                    Self.keep(&border, Item(image: picture, method: name, value: share), highest: true)
                }
                // Methods that know no class are summed by what the network says.
                guard
                    let index = explanation[key: "class"]?.asInt ?? Self.predicted(image)?.index
                else { continue }
                let label =
                    explanation[key: "label"]?.asString ?? Self.predicted(image)?.label
                    ?? "class \(index)"
                var own = sums[name]?[index] ?? Sums()
                for i in cells.indices { own.sum[i] += Double(cells[i]) }
                (own.count, own.label) = (own.count + 1, label)
                sums[name, default: [:]][index] = own
                // A sample of all, each as likely as any other (Vitter 1985, algorithm R).
                let number = seen[name, default: 0]
                seen[name] = number + 1
                if number < Self.mostShuffled {
                    kept[name, default: []].append((index, cells))
                } else {
                    let at = CounterRandom.index(
                        random.words(sample: number, place: 1 << 20)[0], below: number + 1)
                    if at < Self.mostShuffled { kept[name]![at] = (index, cells) }
                }
            }
            if first.count > 1 {
                var correlations: [Double] = []
                for i in first.indices {
                    // Two layers of a method are no two methods.
                    for j in first.indices.dropFirst(i + 1)
                    where first[i].layer == nil || first[j].layer == nil || first[i].layer == first[j].layer {
                        if let r = Similarity.correlation(first[i].map, first[j].map) {
                            correlations.append(r)
                        }
                    }
                }
                let mean = correlations.reduce(0, +) / Double(max(1, correlations.count))
                if !correlations.isEmpty, mean < 0.5 {
                    Self.keep(
                        &disagreeing,
                        Item(
                            image: picture,
                            method: "\(Set(first.map(\.method)).count) methods",
                            value: mean), highest: false
                    )
                }
            }
        }
        for folder in folders {
            let measured = Paths.join(folder, "pictures.jsonl")
            let results = Paths.join(folder, "results.json")
            guard FileKind(measured) == .file || FileKind(results) == .file else {
                throw ExplainError(
                    .input,
                    "'\(folder)' holds neither results.json (of `app explain`) nor pictures.jsonl (of `app evaluate`)."
                )
            }
            if FileKind(measured) == .file { try addMeasures(measured) }
            guard FileKind(results) == .file else { continue }
            let document: JSON
            do {
                document = try JSON(reading: InputFile.contents(results))
            } catch { throw ExplainError(.input, "\(results): \(error)") }
            guard case .array(let images)? = document[key: "images"] else {
                throw ExplainError(.input, "\(results): It has no list of images.")
            }
            let eachLayer = document[key: "options"]?[key: "eachLayer"]?.asBool ?? false
            if case .array(let blocks)? = document[key: "blocks"], !blocks.isEmpty {
                // Of a run that packs its maps all is in the indices.
                for block in blocks {
                    guard let maps = block[key: "maps"]?.asString, let index = block[key: "index"]?.asString
                    else {
                        throw ExplainError(.input, "\(results): A block of packed maps has no name.")
                    }
                    let pack = try PackedMaps(Paths.join(folder, maps))
                    let lines: TextLines
                    do { lines = try TextLines(Paths.join(folder, index)) } catch {
                        throw ExplainError(error, .input)
                    }
                    while let line = try lines.next() {
                        guard let image = try? JSON(reading: line) else {
                            throw ExplainError(
                                .input, "\(Paths.join(folder, index)): Line \(lines.number) is no JSON.")
                        }
                        var explanations: [JSON] = []
                        if case .array(let maps)? = image[key: "maps"] { explanations = maps }
                        let row = image[key: "row"]?.asInt
                        try take(image, explanations, eachLayer: eachLayer) { place in
                            try row.map { try pack.map($0, place) }
                        }
                    }
                }
                continue
            }
            for image in images {
                var explanations: [JSON] = []
                if case .array(let found)? = image[key: "explanations"] { explanations = found }
                try take(image, explanations, eachLayer: eachLayer) {
                    try Self.map(folder, explanations[$0])
                }
            }
        }
        guard !sums.isEmpty || !beside.isEmpty else {
            throw ExplainError(
                .input,
                "No map of \(folders.count == 1 ? "'\(folders[0])'" : "these folders") can be read; explain with --write map or heatmap, or with --pack."
            )
        }
        for (method, all) in sums.sorted(by: { $0.key < $1.key }) {
            try summarise(method, all, kept[method] ?? [], random)
        }
        classes.sort { ($0.distance - $0.chance, $1.index) > ($1.distance - $1.chance, $0.index) }
    }

    // MARK: Classes

    private mutating func summarise(
        _ method: String, _ all: [Int: Sums], _ kept: [(index: Int, map: [Float])], _ random: CounterRandom
    ) throws {
        let large = all.filter { $0.value.count >= Self.fewest }
        let means = large.mapValues { sums in sums.sum.map { $0 / Double(sums.count) } }
        let cells = Self.side * Self.side
        // Each class counts as much as any other.
        var total = [Double](repeating: 0, count: cells)
        for (_, mean) in means.sorted(by: { $0.key < $1.key }) { for i in 0..<cells { total[i] += mean[i] } }
        if !means.isEmpty { overall[method] = total.map { $0 / Double(means.count) } }
        guard means.count > 1 else { return }
        func distance(_ mean: [Double], _ others: [Double]) -> Double {
            zip(mean, others).reduce(0) { $0 + abs($1.0 - $1.1) } / 2
        }
        // By chance: as many pictures of any class, and the rest.
        var chances: [Int: Double] = [:]
        func chance(of count: Int) -> Double {
            let count = min(count, max(1, kept.count / 2))
            if let known = chances[count] { return known }
            var sum = 0.0
            for shuffle in 0..<Self.shuffles {
                var order = Array(kept.indices)
                for i in 0..<count {
                    let j =
                        i
                        + CounterRandom.index(
                            random.words(sample: shuffle, place: i)[1], below: order.count - i)
                    order.swapAt(i, j)
                }
                var own = [Double](repeating: 0, count: cells)
                var rest = own
                for (place, picture) in order.enumerated() {
                    for i in 0..<cells {
                        if place < count {
                            own[i] += Double(kept[picture].map[i])
                        } else {
                            rest[i] += Double(kept[picture].map[i])
                        }
                    }
                }
                let left = Double(kept.count - count)
                sum += distance(own.map { $0 / Double(count) }, rest.map { $0 / max(1, left) })
            }
            let found = sum / Double(Self.shuffles)
            chances[count] = found
            return found
        }
        for (index, mean) in means.sorted(by: { $0.key < $1.key }) {
            let others = zip(total, mean).map { ($0 - $1) / Double(means.count - 1) }
            let excess = zip(mean, others).map { max(0, $0 - $1) }
            let (box, place) = Self.half(of: excess)
            classes.append(
                Class(
                    method: method, index: index, label: large[index]!.label, count: large[index]!.count,
                    mean: mean,
                    distance: distance(mean, others), chance: chance(of: large[index]!.count), box: box,
                    place: place))
        }
    }

    /// The box of the fewest cells that has half of a sum.
    private static func half(of excess: [Double]) -> (
        (left: Double, top: Double, right: Double, bottom: Double), String
    ) {
        // Sums of all cells above and to the left.
        var table = [Double](repeating: 0, count: (side + 1) * (side + 1))
        for y in 0..<side {
            for x in 0..<side {
                table[(y + 1) * (side + 1) + x + 1] =
                    excess[y * side + x] + table[y * (side + 1) + x + 1] + table[(y + 1) * (side + 1) + x]
                    - table[y * (side + 1) + x]
            }
        }
        func sum(_ top: Int, _ left: Int, _ bottom: Int, _ right: Int) -> Double {
            table[bottom * (side + 1) + right] - table[top * (side + 1) + right]
                - table[bottom * (side + 1) + left]
                + table[top * (side + 1) + left]
        }
        let wanted = sum(0, 0, side, side) / 2
        var best = (top: 0, left: 0, bottom: side, right: side)
        var area = side * side
        for top in 0..<side {
            for bottom in top + 1...side {
                // Two ends that move to the right.
                var left = 0
                for right in 1...side {
                    while left < right - 1, sum(top, left + 1, bottom, right) >= wanted { left += 1 }
                    let own = (bottom - top) * (right - left)
                    if own < area, sum(top, left, bottom, right) >= wanted {
                        (best, area) = ((top, left, bottom, right), own)
                    }
                }
            }
        }
        let s = Double(side)
        let box = (
            left: Double(best.left) / s, top: Double(best.top) / s, right: Double(best.right) / s,
            bottom: Double(best.bottom) / s
        )
        func third(_ low: Double, _ high: Double, _ words: [String]) -> String {
            words[min(2, Int((low + high) / 2 * 3))]
        }
        let row = third(box.top, box.bottom, ["top", "middle", "bottom"])
        let column = third(box.left, box.right, ["left", "centre", "right"])
        return (box, row == "middle" && column == "centre" ? "centre" : "\(row) \(column)")
    }

    // MARK: Pictures

    private static func predicted(_ image: JSON) -> (index: Int, label: String)? {
        guard case .array(let predictions)? = image[key: "predictions"], let first = predictions.first,
            let index = first[key: "index"]?.asInt
        else { return nil }
        return (index, first[key: "label"]?.asString ?? "class \(index)")
    }

    private static func keep(_ list: inout [Item], _ item: Item, highest: Bool) {
        let at = list.firstIndex { highest ? $0.value < item.value : $0.value > item.value } ?? list.count
        guard at < longest else { return }
        list.insert(item, at: at)
        if list.count > longest { list.removeLast() }
    }

    /// The share of a map within a sixteenth of the sides.
    private static func border(_ cells: [Float]) -> Double {
        let width = side / 16
        var sum = 0.0
        for y in 0..<side {
            for x in 0..<side where min(y, x, side - 1 - y, side - 1 - x) < width {
                sum += Double(cells[y * side + x])
            }
        }
        return sum
    }

    /// What is above 0 over its sum, on 32 × 32 cells; nil where nothing is.
    private static func distribution(_ map: Plane) -> [Float]? {
        let plane = Plane(
            width: map.width, height: map.height, values: map.values.map { $0 > 0 && $0.isFinite ? $0 : 0 })
        // Larger maps are averaged down to no fewer than two numbers a cell before they are sampled.
        var small = plane
        while small.width >= 4 * side, small.height >= 4 * side {
            let (w, h) = (small.width / 2, small.height / 2)
            let from = small
            small = Plane(
                width: w, height: h,
                values: (0..<w * h).map { i in
                    let at = 2 * (i / w) * from.width + 2 * (i % w)
                    return
                        (from.values[at] + from.values[at + 1] + from.values[at + from.width]
                        + from.values[at + from.width + 1]) / 4
                })
        }
        let cells = small.resized(width: side, height: side).values
        let sum = cells.reduce(0.0) { $0 + Double($1) }
        guard sum > 0 else { return nil }
        return cells.map { Float(Double($0) / sum) }
    }

    /// A map that was written to a file of its own; the raw one if it is there.
    private static func map(_ folder: String, _ explanation: JSON) throws -> Plane? {
        guard let name = explanation[key: "map"]?.asString ?? explanation[key: "heatmap"]?.asString else {
            return nil
        }
        let path = Paths.join(folder, name)
        let array: NPYArray
        do { array = try NPYArray.load(path: path) } catch { throw ExplainError(error, .input) }
        return try plane(array.values, array.shape, path)
    }

    fileprivate static func plane(_ values: [Float], _ shape: [Int], _ path: String) throws -> Plane {
        guard shape.count == 2, shape.allSatisfy({ $0 > 0 }) else {
            throw ExplainError(
                .input,
                "\(path): The array has \(shape.count) axes, and maps of pictures have two; videos are not summarised."
            )
        }
        return Plane(width: shape[1], height: shape[0], values: values)
    }

    /// Measures of `app evaluate`: pictures whose maps lie beside the object.
    private mutating func addMeasures(_ path: String) throws {
        let lines: TextLines
        do { lines = try TextLines(path) } catch { throw ExplainError(error, .input) }
        while let line = try lines.next() {
            guard let record = try? JSON(reading: line), case .array(let maps)? = record[key: "maps"] else {
                continue
            }
            for map in maps {
                guard let energy = map[key: "metrics"]?[key: "energy"]?.number, energy < 0.5 else { continue }
                Self.keep(
                    &beside,
                    Item(
                        image: record[key: "image"]?.asString ?? "?",
                        method: map[key: "method"]?.asString ?? "", value: energy),
                    highest: false)
            }
        }
    }
}

/// An array of maps that were packed, [rows, maps, height, width].
private struct PackedMaps {
    private let array: NPYArray
    private let path: String

    init(_ path: String) throws {
        do { array = try NPYArray.load(path: path) } catch { throw ExplainError(error, .input) }
        guard array.shape.count == 4 else {
            throw ExplainError(
                .input, "\(path): The array has \(array.shape.count) axes, and packed maps have four.")
        }
        self.path = path
    }

    func map(_ row: Int, _ place: Int) throws -> Plane {
        guard (0..<array.shape[0]).contains(row), (0..<array.shape[1]).contains(place) else {
            throw ExplainError(
                .input, "\(path): The index names a map of row \(row), which the array does not have.")
        }
        let cells = array.shape[2] * array.shape[3]
        let begin = (row * array.shape[1] + place) * cells
        return try ResultSummary.plane(
            Array(array.values[begin..<begin + cells]), Array(array.shape[2...]), path)
    }
}

extension ResultSummary {
    package var json: JSON {
        func items(_ list: [Item], _ what: String) -> JSON {
            .array(
                list.map {
                    .object([
                        ("image", .string($0.image)), (what, .string($0.method)),
                        ("value", .double($0.value)),
                    ])
                })
        }
        return .object([
            ("whitebox", .string(Whitebox.version)), ("pictures", .int(pictures)), ("failed", .int(failed)),
            ("blank", .int(blank)), ("evenBorder", .double(Self.evenBorder)),
            (
                "classes",
                .array(
                    classes.map {
                        .object([
                            ("method", .string($0.method)), ("class", .int($0.index)),
                            ("label", .string($0.label)),
                            ("pictures", .int($0.count)), ("distance", .double($0.distance)),
                            ("chance", .double($0.chance)),
                            ("place", .string($0.place)),
                            (
                                "box",
                                .array(
                                    [$0.box.left, $0.box.top, $0.box.right, $0.box.bottom].map(JSON.double))
                            ),
                        ])
                    })
            ),
            ("border", items(border, "method")), ("disagreeing", items(disagreeing, "of")),
            ("beside", items(beside, "method")), ("wrong", items(wrong, "predicted")),
        ])
    }

    /// A page for people, with everything inside.
    package var page: String {
        func escaped(_ text: String) -> String {
            text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
                .replacing("\"", with: "&quot;")
        }
        func number(_ value: Double) -> String { decimal(value, digits: 3) }
        func picture(_ mean: [Double], _ alt: String) -> String {
            let most = mean.max() ?? 0
            let plane = Plane(
                width: Self.side, height: Self.side, values: mean.map { most > 0 ? Float($0 / most) : 0 }
            ).resized(width: 96, height: 96)
            let png = Data(ColorMap.all[0].picture(plane).pngData()).base64EncodedString()
            return "<img width=96 height=96 alt=\"\(escaped(alt))\" src=\"data:image/png;base64,\(png)\">"
        }
        func list(_ title: String, _ explanation: String, _ head: String, _ items: [Item]) -> String {
            guard !items.isEmpty else { return "" }
            let rows = items.map {
                "<tr><td dir=auto>\(escaped($0.image))<td dir=auto>\(escaped($0.method))<td class=n>\(number($0.value))"
            }.joined(separator: "\n")
            return
                "<h2>\(title)</h2><p>\(explanation)</p><table><thead><tr><th scope=col>Picture<th scope=col>\(head)<th scope=col>Number</thead>\n\(rows)</table>\n"
        }
        let means = overall.sorted { $0.key < $1.key }.map {
            "<figure>\(picture($0.value, "Mean map of all classes by \($0.key)"))<figcaption>\(escaped($0.key))</figcaption></figure>"
        }.joined()
        let rows = classes.prefix(100).map {
            "<tr><td>\(picture($0.mean, "Mean map of \($0.label) by \($0.method)"))<td dir=auto>\($0.index) \(escaped($0.label))<td>\(escaped($0.method))"
                + "<td class=n>\($0.count)<td class=n>\(number($0.distance))<td class=n>\(number($0.chance))<td>\($0.place)"
        }.joined(separator: "\n")
        return """
            <!DOCTYPE html>
            <html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
            <title>What many maps say together</title>
            <style>
            :root { color-scheme: light dark } body { font: 1rem/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 60rem; padding: 0 1rem }
            table { border-collapse: collapse } th, td { text-align: start; padding: .25rem .6rem; border-bottom: 1px solid #8886; overflow-wrap: anywhere }
            .n { text-align: end; font-variant-numeric: tabular-nums } figure { display: inline-block; margin: 0 1rem 1rem 0 } img { image-rendering: pixelated }
            main { overflow-x: auto }
            </style>
            <main>
            <h1>What many maps say together</h1>
            <p>\(pictures) pictures, \(failed) that could not be explained, \(blank) blank maps.</p>
            <h2>Where all classes look</h2>\(means)
            <h2>Where single classes look</h2>
            \(classes.isEmpty ? "<p>No two classes have the \(Self.fewest) pictures each that it takes to compare them.</p>" : "")
            <p>First those whose maps lie elsewhere than the maps of the other classes, beyond what chance makes of as many pictures: look there for short cuts, such as watermarks. Distance is 0 where a class looks where all look, and 1 where nobody else does.</p>
            <table><thead><tr><th scope=col>Mean map<th scope=col>Class<th scope=col>Method<th scope=col>Pictures<th scope=col>Distance<th scope=col>By chance<th scope=col>Where it looks more</thead>
            \(rows)</table>
            \(list("Maps on the border", "The share of the map within a sixteenth of the sides; of an even map it is \(number(Self.evenBorder)), and those above that are here; the most first.", "Method", border))
            \(list("Methods that disagree", "The mean correlation of the maps of each two methods, where it is below 0.5; the least first.", "Of", disagreeing))
            \(list("Maps beside the object", "The share of the map that lies on the object, where that is less than half; the least first.", "Method", beside))
            \(list("Classified otherwise than known", "The probability of the class that the network says; the surest first.", "Predicted", wrong))
            </main></html>

            """
    }
}
