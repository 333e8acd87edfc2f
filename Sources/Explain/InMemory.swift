// Results for those who keep them instead of writing a folder.

import Imaging
import Text

extension ImageExplanation {
    /// What the network saw of a picture, [height, width, 3] bytes; nil for a raw array and for a video.
    package var seen: (pixels: [UInt8], height: Int, width: Int)? {
        view.map { ($0.image.pixels, $0.image.height, $0.image.width) }
    }

    /// Makes the files that a `ResultWriter` would write, and hands them over.
    /// - Parameter take: is given a file's name, which begins with `stem`, and its content; what it throws is thrown on.
    /// - Throws: `ExplainError` of kind `input` if the whole picture is asked for and is another now.
    package func files(
        _ parts: Set<ResultPart>, stem: String, background: ResultWriter.Background = .view,
        style: PictureStyle = PictureStyle(), _ take: (_ name: String, _ content: [UInt8]) throws -> Void
    ) throws {
        do {
            _ = try PictureFiles(background: background, parts: parts, style: style).write(
                self, stem: stem, { content, name in try take(name, content) })
        } catch let spoiled as PictureFiles.Spoiled {
            throw spoiled.reason
        }
    }
}

extension ResultDocument {
    /// What the document says of a run, but for its pictures and files.
    package static func run(_ session: ExplanationSession) throws -> JSON {
        try without(
            ["images", "blocks", "list", "shard", "pack", "contact", "incomplete"],
            document(session, images: [], nil, nil, nil, incomplete: nil, blocks: []))
    }

    /// What the document says of a picture, but for its files; with what people call its methods, and with seconds.
    package static func record(
        _ request: PictureRequest, _ result: Result<ImageExplanation, ExplainError>
    ) -> JSON {
        let whole = image(request, result, PictureFiles(background: .view, parts: []))
        guard case .object(var entries) = without(["stem", "comparison", "bytes"], whole) else {
            return whole
        }
        switch result {
        case .failure(let error): entries.append(("code", .int(Int(error.kind.rawValue))))
        case .success(let found):
            if let at = entries.firstIndex(where: { $0.0 == "explanations" }),
                case .array(let maps) = entries[at].1
            {
                entries[at].1 = .array(
                    zip(found.explanations, maps).map { explanation, map in
                        guard
                            case .object(let entries) = without(
                                ["map", "heatmap", "overlay", "sampleError", "animation"], map)
                        else { return map }
                        return .object(
                            [("title", .string(explanation.title))] + entries + [
                                ("layerIndex", JSON(explanation.layerIndex))
                            ])
                    })
            }
            entries.append(
                (
                    "seconds",
                    .object([
                        ("prepare", .double(found.seconds.prepare)),
                        ("compute", .double(found.seconds.compute)),
                    ])
                ))
        }
        return .object(entries)
    }

    private static func without(_ keys: Set<String>, _ document: JSON) -> JSON {
        guard case .object(let entries) = document else { return document }
        return .object(entries.filter { !keys.contains($0.0) })
    }
}
