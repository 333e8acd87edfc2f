// The files of one explained picture: overlays, heat maps, raw maps, and a sheet.

import Files
import Imaging
import Text

/// What is written of each picture.
public enum ResultPart: String, Sendable, CaseIterable {
    /// `STEM.METHOD.CLASS.map.npy`, and `.stderr.npy` of a map that was estimated from samples.
    case map
    /// `STEM.METHOD.CLASS.heatmap.npy`.
    case heatmap
    /// `STEM.METHOD.CLASS.png`, and `.apng` of a video.
    case overlay
    /// `STEM.compare.png`.
    case sheet
    /// `STEM.METHOD.CLASS.mask.png`: white where the heat map is at least the threshold.
    case mask
    /// `STEM.METHOD.CLASS.box.png`: the box around the largest piece of that, which `results.json` has in numbers too.
    case box
    /// `STEM.METHOD.CLASS.contour.png`: a line around all of it.
    case contour
    /// `contact.png`: of each picture the first map, on one sheet for all.
    case contact

    /// What is written unless something else is asked for.
    public static let standard: Set<ResultPart> = [.map, .heatmap, .overlay, .sheet]
}

/// The names of an explanation's files, within the directory; nil where none is written.
public struct ResultFiles: Sendable {
    public let map: String?, heatmap: String?, overlay: String?
    /// Of a map that was estimated from samples.
    public let sampleError: String?
    /// Of a video, whose overlay is a filmstrip.
    public let animation: String?
    /// Of the part that is above the threshold; none of a video.
    public let mask: String?, box: String?, contour: String?

    var all: [String] {
        [map, heatmap, overlay, sampleError, animation, mask, box, contour].compactMap { $0 }
    }
}

/// Writes the files of pictures.
package struct PictureFiles: Sendable {
    let background: ResultWriter.Background
    let parts: Set<ResultPart>
    var style = PictureStyle()

    /// The most maps of a sheet: one of more can hardly be opened.
    static let sheetLimit = 60

    /// Names of the files of an explanation, within the directory.
    func files(_ stem: String, _ explanation: Explanation) -> ResultFiles {
        let base =
            "\(stem).\(explanation.method)" + (explanation.layerIndex.map { ".layer\($0)" } ?? "")
            + (explanation.target.map { ".\($0.fileName)" } ?? "")
        func name(_ part: ResultPart, _ ending: String) -> String? {
            parts.contains(part) ? base + ending : nil
        }
        func region(_ part: ResultPart) -> String? {
            explanation.heatmap.frames == nil ? name(part, ".\(part.rawValue).png") : nil
        }
        return ResultFiles(
            map: name(.map, ".map.npy"), heatmap: name(.heatmap, ".heatmap.npy"),
            overlay: name(.overlay, ".png"),
            sampleError: explanation.sampleError.flatMap { _ in name(.map, ".stderr.npy") },
            animation: explanation.heatmap.frames.flatMap { _ in name(.overlay, ".apng") },
            mask: region(.mask), box: region(.box), contour: region(.contour))
    }

    /// The box around the largest piece of a map that is above the threshold: x, y, width and height in pixels of the photograph, or of the network's
    /// input where there is none. Nil if there is nothing, or nobody asked.
    func box(_ explanation: Explanation, of image: ImageExplanation) -> [Double]? {
        guard parts.contains(.box), explanation.heatmap.frames == nil, explanation.blank == nil,
            let box = MapRegions(Plane(explanation.heatmap), threshold: style.threshold).box
        else { return nil }
        let (width, height) = (Double(explanation.heatmap.width), Double(explanation.heatmap.height))
        let region = image.view?.region ?? Region(x: 0, y: 0, width: width, height: height)
        let (x, y) = (region.width / width, region.height / height)
        return [
            region.x + Double(box.left) * x, region.y + Double(box.top) * y, Double(box.width) * x,
            Double(box.height) * y,
        ].map { ($0 * 100).rounded() / 100 }
    }

    /// The name of a picture's comparison sheet, within the directory; nil if there is none.
    func sheet(_ stem: String, _ image: ImageExplanation) -> String? {
        parts.contains(.sheet) && !image.explanations.isEmpty ? stem + ".compare.png" : nil
    }

    /// With what a result of that name begins.
    static func firstByte(of name: String) -> UInt8 { name.hasSuffix(".npy") ? 0x93 : 0x89 }

    /// Bytes that a result takes until it is written.
    func memory(_ image: ImageExplanation) -> Int {
        guard let heat = image.explanations.first?.heatmap else { return 0 }
        let maps = image.explanations.count
        // Raw maps and their standard errors, as numbers and as a file.
        let numbers = image.explanations.reduce(0) {
            $0 + $1.map.values.count + ($1.sampleError?.values.count ?? 0)
        }
        // Of a video there are frames, a filmstrip of some of them, and an animation.
        let pixels = heat.width * heat.height * (heat.frames.map { 3 * $0 } ?? 1)
        // Heat map and overlay; and each on the sheet, of 320 × 400 pixels, as a picture and as a file.
        var bytes = 8 * numbers + maps * 8 * pixels + (maps + 1) * 6 * 320 * 400
        if background == .photo, let size = image.size {
            // While it is decoded; then with its overlay, and that as a file.
            bytes += 13 * size.width * size.height
        }
        return bytes
    }

    /// A picture that could not be read again, or is another now.
    struct Spoiled: Error { let reason: ExplainError }

    /// Writes all files of a picture.
    /// - Parameter write: is given a file's content and its name within the directory.
    /// - Returns: its place on the sheet for all pictures, if there is to be one.
    /// - Throws: `Spoiled`, or what `write` throws.
    @discardableResult
    func write(_ image: ImageExplanation, stem: String, _ write: ([UInt8], String) throws -> Void) throws
        -> ComparisonSheet.Item?
    {
        if image.explanations.isEmpty { return nil }
        if parts.isDisjoint(with: [.overlay, .sheet, .mask, .box, .contour, .contact]) {
            for explanation in image.explanations { try writeArrays(explanation, stem, write) }
            return nil
        }
        var contact: ComparisonSheet.Item?
        var photo: RGBImage?
        if background == .photo, parts.contains(.overlay) {
            do { photo = try image.photo?() } catch { throw Spoiled(reason: ExplainError(error, .input)) }
        }
        // Of a video, what there is grey in place of its frames if they came as numbers.
        let frames = image.frames.isEmpty ? PictureFiles.greyFrames(image) : image.frames
        let view =
            image.view?.image ?? (frames.isEmpty ? nil : Filmstrip.picture(frames))
            ?? image.explanations.first.map {
                RGBImage(width: $0.heatmap.width, height: $0.heatmap.height, colour: (128, 128, 128))
            }
        guard let view else { return nil }
        var items: [ComparisonSheet.Item] = []
        let ranges = try DrawnMap.ranges(image.explanations, style.scale)
        for (explanation, range) in zip(image.explanations, ranges) {
            let names = files(stem, explanation)
            let map = try DrawnMap(explanation, style, range)
            let heat = map.heat
            // Two colours stand out from a grey photograph.
            func ground(_ picture: RGBImage) -> RGBImage {
                map.colorMap.isDiverging ? picture.lightness : picture
            }
            func overlay(_ picture: RGBImage, _ heat: Plane) -> RGBImage {
                Overlay.overlay(
                    photo: ground(picture), heat: heat, colorMap: map.colorMap, opacity: style.opacity)
            }
            try writeRegions(explanation, names, over: view, write)
            try writeArrays(explanation, stem, write)
            // Where there is nothing to see the picture stays as it is.
            let small: RGBImage
            if explanation.heatmap.frames != nil {
                let parts =
                    explanation.blank == nil
                    ? heat.parts(frames.count).map(Optional.some) : frames.map { _ in nil }
                let overlays = zip(frames, parts).map { frame, heat in
                    heat.map { overlay(frame, $0) } ?? frame
                }
                if let name = names.animation {
                    try write(
                        PNG.encode(
                            animation: overlays, framesPerSecond: PictureFiles.framesPerSecond, fast: true),
                        name)
                }
                small = Filmstrip.picture(overlays)
            } else {
                small = explanation.blank == nil ? overlay(view, heat) : view
            }
            var picture = small
            if let photo, let region = image.view?.region {
                picture = Overlay.overlayOnPhoto(
                    photo: ground(photo), heat: heat, region: region, colorMap: map.colorMap,
                    opacity: explanation.blank == nil ? style.opacity : 0)
            }
            if let name = names.overlay { try write(picture.pngData(fast: true), name) }
            if contact == nil, parts.contains(.contact) {
                let best = image.predictions.first.map { PictureFiles.caption($0.label, $0.probability) }
                contact = ComparisonSheet.Item(
                    picture: small.fitted(ContactSheet.cell), title: Paths.name(image.name), subtitle: best)
            }
            guard parts.contains(.sheet), items.count < PictureFiles.sheetLimit else { continue }
            let what = PictureFiles.caption(explanation, among: image.explanations)
            items.append(
                ComparisonSheet.Item(
                    picture: small,
                    title: explanation.title + (explanation.layerIndex.map { ", layer \($0)" } ?? ""),
                    subtitle: explanation.blank == nil ? what : "blank: \(what)",
                    bar: explanation.blank == nil
                        ? .init(map.colorMap, low: map.labels.low, high: map.labels.high) : nil))
        }
        guard let name = sheet(stem, image) else { return contact }
        let shown = ComparisonSheet.Item(
            picture: view, title: Paths.name(image.name),
            subtitle: image.predictions.first.map { PictureFiles.caption($0.label, $0.probability) })
        try write(
            PictureFiles.sheet(shown, image.explanations, items).render().pngData(fast: true), name)
        return contact
    }

    /// The part of a map that is above the threshold, as it was asked for.
    private func writeRegions(
        _ explanation: Explanation, _ names: ResultFiles, over view: RGBImage,
        _ write: ([UInt8], String) throws -> Void
    ) throws {
        guard names.mask != nil || names.box != nil || names.contour != nil else { return }
        var plane = Plane(explanation.heatmap)
        if explanation.blank != nil { plane.values = plane.values.map { _ in -1 } }
        let regions = MapRegions(plane, threshold: style.threshold)
        if let name = names.mask { try write(regions.picture.pngData(fast: true), name) }
        if let name = names.contour { try write(regions.outlined(view).pngData(fast: true), name) }
        if let name = names.box {
            try write((regions.box.map { MapRegions.drawn($0, on: view) } ?? view).pngData(fast: true), name)
        }
    }

    private func writeArrays(
        _ explanation: Explanation, _ stem: String, _ write: ([UInt8], String) throws -> Void
    ) throws {
        let names = files(stem, explanation)
        if let name = names.map { try write(NPYArray(explanation.map).npyData, name) }
        if let name = names.heatmap { try write(NPYArray(explanation.heatmap).npyData, name) }
        if let error = explanation.sampleError, let name = names.sampleError {
            try write(NPYArray(error).npyData, name)
        }
    }

    /// Of animations of videos, whose own speed nobody knows.
    private static let framesPerSecond = 8

    private static func greyFrames(_ image: ImageExplanation) -> [RGBImage] {
        guard let heat = image.explanations.first?.heatmap, let frames = heat.frames else { return [] }
        return Array(
            repeating: RGBImage(width: heat.width, height: heat.height, colour: (128, 128, 128)),
            count: frames)
    }

    /// The picture and its maps; more than would fill two rows are put together by the methods' families, if these are several.
    private static func sheet(
        _ picture: ComparisonSheet.Item, _ explanations: [Explanation], _ items: [ComparisonSheet.Item]
    ) throws -> ComparisonSheet {
        let families = try explanations.prefix(items.count).map {
            try ExplainerList.named($0.method).family
        }
        let rest =
            items.count < explanations.count
            ? "the first \(items.count) of \(explanations.count) maps; the others are files of their own"
            : nil
        guard items.count >= 10, Set(families).count > 1 else {
            return ComparisonSheet(items: [picture] + items, heading: rest)
        }
        var groups = [ComparisonSheet.Group(items: [picture])]
        for family in MethodFamily.allCases where families.contains(family) {
            groups.append(
                ComparisonSheet.Group(
                    title: family.title, items: zip(families, items).filter { $0.0 == family }.map(\.1)))
        }
        return ComparisonSheet(
            groups: groups,
            heading: rest ?? "\(items.count) maps; the bar under each has its numbers"
        )
    }

    private static func caption(_ explanation: Explanation, among all: [Explanation]) -> String {
        guard let label = explanation.label else { return "whatever the class" }
        let name = caption(label, nil)
        // ImageNet has two cranes and two maillots.
        let isShared = all.contains {
            $0.classIndex != explanation.classIndex && $0.label.map { caption($0, nil) == name } ?? false
        }
        return (explanation.target?.isNegative ?? false ? "not " : "")
            + (isShared ? "\(explanation.classIndex!) " : "") + caption(label, explanation.probability)
            + (explanation.againstLabel.map { ", not " + caption($0, nil) } ?? "")
    }

    private static func caption(_ label: String, _ probability: Float?) -> String {
        // ImageNet's names list synonyms; the first is enough for a title.
        let name = label.prefix { $0 != "," }
        guard let probability, probability.isFinite else { return String(name) }
        // Not “class 8 11 %”.
        let comma = name.last.map { $0.isNumber } ?? false ? "," : ""
        return name + comma + (probability < 0.005 ? " < 1 %" : " \(Int((probability * 100).rounded())) %")
    }
}

extension Plane {
    /// Frames lie below each other.
    init(_ grid: Grid2D) {
        self.init(width: grid.width, height: (grid.frames ?? 1) * grid.height, values: grid.values)
    }
}

extension NPYArray {
    init(_ grid: Grid2D) { self.init(shape: grid.shape, values: grid.values) }
}
