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
}

/// The names of an explanation's files, within the directory; nil where none is written.
public struct ResultFiles: Sendable {
    public let map: String?, heatmap: String?, overlay: String?
    /// Of a map that was estimated from samples.
    public let sampleError: String?
    /// Of a video, whose overlay is a filmstrip.
    public let animation: String?

    var all: [String] { [map, heatmap, overlay, sampleError, animation].compactMap { $0 } }
}

/// Writes the files of pictures.
package struct PictureFiles: Sendable {
    let background: ResultWriter.Background
    let parts: Set<ResultPart>

    /// Names of the files of an explanation, within the directory.
    func files(_ stem: String, _ explanation: Explanation) -> ResultFiles {
        let base = "\(stem).\(explanation.method)" + (explanation.target.map { ".\($0.fileName)" } ?? "")
        func name(_ part: ResultPart, _ ending: String) -> String? {
            parts.contains(part) ? base + ending : nil
        }
        return ResultFiles(
            map: name(.map, ".map.npy"), heatmap: name(.heatmap, ".heatmap.npy"),
            overlay: name(.overlay, ".png"),
            sampleError: explanation.sampleError.flatMap { _ in name(.map, ".stderr.npy") },
            animation: explanation.heatmap.frames.flatMap { _ in name(.overlay, ".apng") })
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
    /// - Throws: `Spoiled`, or what `write` throws.
    func write(_ image: ImageExplanation, stem: String, _ write: ([UInt8], String) throws -> Void) throws {
        if image.explanations.isEmpty { return }
        if parts.isDisjoint(with: [.overlay, .sheet]) {
            for explanation in image.explanations { try writeArrays(explanation, stem, write) }
            return
        }
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
        guard let view else { return }
        var items: [ComparisonSheet.Item] = []
        for explanation in image.explanations {
            let names = files(stem, explanation)
            let heat = Plane(explanation.heatmap)
            try writeArrays(explanation, stem, write)
            // Where there is nothing to see the picture stays as it is.
            let small: RGBImage
            if explanation.heatmap.frames != nil {
                let parts =
                    explanation.blank == nil
                    ? heat.parts(frames.count).map(Optional.some) : frames.map { _ in nil }
                let overlays = zip(frames, parts).map { frame, heat in
                    heat.map { Overlay.overlay(photo: frame, heat: $0) } ?? frame
                }
                if let name = names.animation {
                    try write(
                        PNG.encode(
                            animation: overlays, framesPerSecond: PictureFiles.framesPerSecond, fast: true),
                        name)
                }
                small = Filmstrip.picture(overlays)
            } else {
                small = explanation.blank == nil ? Overlay.overlay(photo: view, heat: heat) : view
            }
            var picture = small
            if let photo, let region = image.view?.region {
                picture = Overlay.overlayOnPhoto(
                    photo: photo, heat: heat, region: region, opacity: explanation.blank == nil ? 0.5 : 0)
            }
            if let name = names.overlay { try write(picture.pngData(fast: true), name) }
            guard parts.contains(.sheet) else { continue }
            let what = PictureFiles.caption(explanation, among: image.explanations)
            items.append(
                ComparisonSheet.Item(
                    picture: small, title: explanation.title,
                    subtitle: explanation.blank == nil ? what : "blank: \(what)"))
        }
        guard let name = sheet(stem, image) else { return }
        let shown = ComparisonSheet.Item(
            picture: view, title: Paths.name(image.name),
            subtitle: image.predictions.first.map { PictureFiles.caption($0.label, $0.probability) })
        try write(
            PictureFiles.sheet(shown, image.explanations, items).render().pngData(fast: true), name)
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
        let families = try explanations.map { try ExplainerList.named($0.method).family }
        guard items.count >= 10, Set(families).count > 1 else {
            return ComparisonSheet(items: [picture] + items)
        }
        var groups = [ComparisonSheet.Group(items: [picture])]
        for family in MethodFamily.allCases where families.contains(family) {
            groups.append(
                ComparisonSheet.Group(
                    title: family.title, items: zip(families, items).filter { $0.0 == family }.map(\.1)))
        }
        return ComparisonSheet(
            groups: groups,
            heading:
                "\(items.count) maps, each from its least (blue) to its most (red), or from 0 where it has a sign"
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
