// The form of results.json: what the run is, and a record of each picture.

import Files
import Glibc
import Imaging
import Text

package enum ResultDocument {
    static let name = "results.json"

    // MARK: What the run is

    /// What stands there of the pictures.
    private static let noImages = "[]\n}\n"

    /// What the run is: the document without its pictures.
    /// - Parameters:
    ///   - isWhole: else without what does not make it another run: the program's version, and the device.
    ///   - incomplete: why not all pictures were explained.
    static func head(
        _ session: ExplanationSession, _ format: PictureFiles, _ pack: PackFormat?, shard: Shard? = nil,
        isWhole: Bool = false, incomplete: String? = nil, list: UInt64? = nil, blocks: [JSON] = []
    ) throws -> String {
        let document = try document(
            session, images: [], format, pack, shard, list: list, incomplete: incomplete, blocks: blocks)
        return isWhole ? document.text : stripped(document).text
    }

    private static func stripped(_ document: JSON) -> JSON {
        guard case .object(let entries) = document else { return document }
        return .object(
            entries.filter {
                !["whitebox", "device", "deviceNote", "incomplete", "list", "blocks", "images"].contains($0.0)
            })
    }

    /// Refuses to go on with another run.
    static func checkSame(_ earlier: String, _ now: String, _ path: String) throws {
        func parts(_ head: String) -> [(String, JSON)] {
            if case .object(let entries)? = try? JSON(reading: Array(head.utf8)) { entries } else { [] }
        }
        let (before, after) = (parts(earlier), parts(now))
        let others = after.filter { entry in
            before.first { $0.0 == entry.0 }.map { $0.1.line != entry.1.line } ?? true
        }
        guard let first = others.first else { return }
        let names = [
            "numerics": "the arithmetic of this version", "leftOut": "the methods that are left out",
            "layers": "the layer",
        ]
        throw ExplainError(
            .output,
            "'\(path)' is of another run: "
                + others.map { names[$0.0] ?? "the \($0.0)" }.joined(separator: ", ")
                + " \(others.count == 1 && first.0 != "options" && first.0 != "settings" ? "is" : "are") not the same. Go on with it as it was begun, or choose another --output."
        )
    }

    /// The whole document. Nothing in it but `device` depends on where it was computed.
    package static func text(
        _ session: ExplanationSession, images: [JSON], incomplete: String? = nil
    ) throws -> String {
        try document(session, images: images, nil, nil, nil, incomplete: incomplete, blocks: []).text
    }

    static func document(
        _ session: ExplanationSession, images: [JSON], _ format: PictureFiles?, _ pack: PackFormat?,
        _ shard: Shard?, list: UInt64? = nil, incomplete: String?, blocks: [JSON]
    ) throws -> JSON {
        let model = session.model
        let options = session.options
        return JSON.object([
            ("whitebox", .string(Whitebox.version)),
            ("numerics", .int(Whitebox.numerics)),
            ("device", .string(session.device)),
            ("deviceNote", JSON(session.deviceNote)),
            (
                "model",
                .object([
                    ("file", .string(model.path)), ("sha256", .string(try model.sha256())),
                    (
                        "externalData",
                        .array(
                            try model.externalSHA256().map {
                                .object([("file", .string($0.file)), ("sha256", .string($0.sha256))])
                            })
                    ),
                    ("source", JSON(model.source)),
                    ("license", JSON(model.license)), ("classes", .int(session.classes)),
                    (
                        "input",
                        JSON((model.inputFrames.map { [$0] } ?? []) + [model.inputHeight, model.inputWidth])
                    ),
                ])
            ),
            (
                "preprocessing",
                .object([("source", .string(model.preprocessingSource))] + model.preprocessing.entries)
            ),
            (
                "layers",
                .array(
                    session.layers.map {
                        .object([
                            ("name", .string($0.name)), ("operator", .string($0.type)),
                            ("index", .int($0.index)), ("reason", .string($0.reason)),
                        ])
                    })
            ),
            (
                "options",
                .object([
                    ("methods", JSON(options.methods)),
                    ("class", .string(options.ownClasses ?? options.classChoice.text)),
                    ("against", JSON(options.against)), ("negative", .bool(options.isNegative)),
                    ("score", JSON(options.scale?.rawValue)), ("layer", .string(options.layer)),
                    ("eachLayer", .bool(options.layersApart)),
                    ("augment", JSON(options.augmentations.map(\.rawValue).sorted())),
                    ("overlay", .string((format?.background ?? .view).rawValue)),
                    ("pictures", .object((format?.style ?? PictureStyle()).entries)),
                    (
                        "write",
                        JSON(
                            ResultPart.allCases.filter { format?.parts.contains($0) ?? false }.map(\.rawValue)
                        )
                    ),
                ])
            ),
            ("leftOut", .object(session.leftOut.map { ($0.method, .string($0.reason)) })),
            ("settings", .object(session.methods.map { ($0.type.name, .object($0.settings)) })),
            // Whole numbers of JSON end before those of 64 bits do.
            ("seed", Int(exactly: options.seed).map(JSON.int) ?? .string("\(options.seed)")),
            ("incomplete", JSON(incomplete)),
            (
                "contact",
                format?.parts.contains(.contact) ?? false ? .string(ContactSheet.name) : .null
            ),
            ("pack", pack?.json ?? .null),
            ("shard", shard.map { JSON([$0.number, $0.count]) } ?? .null),
            ("list", JSON(list.map { String($0, radix: 16) })),
            ("blocks", .array(blocks)),
            ("images", .array(images)),
        ])
    }

    // MARK: Pictures

    /// How far records are indented.
    static let recordIndent = "    "

    /// Writes the document.
    /// - Parameters:
    ///   - head: without pictures.
    ///   - records: of the pictures, as they stand there.
    static func write(_ head: String, _ records: some Sequence<String>, _ append: ([UInt8]) throws -> Void)
        throws
    {
        try write(head, records.lazy.map { .success($0) }, append)
    }

    /// The same of records that have to be read.
    static func write(
        _ head: String, _ records: some Sequence<Result<String, any Error>>,
        _ append: ([UInt8]) throws -> Void
    ) throws {
        precondition(head.hasSuffix(noImages))
        var part = Array(head.utf8.dropLast(noImages.utf8.count))
        var isFirst = true
        for record in records {
            part += ((isFirst ? "[\n" : ",\n") + recordIndent).utf8
            part += try record.get().utf8
            isFirst = false
            guard part.count >= 1 << 20 else { continue }
            try append(part)
            part = []
        }
        part += (isFirst ? noImages : "\n  ]\n}\n").utf8
        try append(part)
    }

    /// A document that is there, without its pictures; its bytes, and where the pictures begin in them.
    private static func parts(of path: String) throws -> (document: JSON, bytes: [UInt8], images: Int) {
        let bytes: [UInt8]
        do { bytes = try InputFile.contents(path) } catch { throw ExplainError(error, .output) }
        let marker = Array("\n  \"images\": ".utf8)
        let start = bytes.firstRange(of: marker)?.lowerBound
        guard let start,
            let document = try? JSON(reading: bytes[..<(start + marker.count)] + Array(noImages.utf8)),
            document[key: "whitebox"]?.asString != nil
        else {
            throw ExplainError(
                .output,
                "'\(path)' is not as this program wrote it, so nothing can be added to it; choose another --output, or replace it with --force."
            )
        }
        return (document, bytes, start + marker.count)
    }

    /// What a run was, whose document is there.
    static func head(in path: String) throws -> String { stripped(try parts(of: path).document).text }

    /// Hands over what is done by a document that is there.
    static func entries(in path: String, _ take: (Journal.Entry) throws -> Void) throws {
        let (_, bytes, images) = try parts(of: path)
        let folder = Paths.parent(path)
        // Texts hold no line feeds, so a record ends with the line that closes it.
        var record: [UInt8] = []
        for line in bytes[images...].split(separator: UInt8(ascii: "\n")) {
            guard line.starts(with: recordIndent.utf8) else { continue }
            record += record.isEmpty ? line.dropFirst(recordIndent.utf8.count) : [UInt8(ascii: "\n")] + line
            guard line.dropFirst(recordIndent.utf8.count).first == UInt8(ascii: "}") else { continue }
            if record.last == UInt8(ascii: ",") { record.removeLast() }
            defer { record = [] }
            guard let value = try? JSON(reading: record), let stem = value[key: "stem"]?.asString else {
                continue
            }
            let files = files(of: value)
            try take(
                Journal.Entry(
                    stem: stem,
                    source: value[key: "sha256"]?.asString.map { PictureSource(sha256: $0, stamp: nil) },
                    classText: value[key: "asked"]?.asString,
                    trueClass: value[key: "trueClass"]?[key: "given"]?.asString,
                    // Of a version that did not say it, what there is.
                    bytes: value[key: "bytes"]?.asInt
                        ?? files.reduce(0) { $0 + (FileStamp(Paths.join(folder, $1))?.size ?? 0) },
                    files: files,
                    isFailure: value[key: "error"]?.asString != nil, row: nil, rowSum: 0,
                    image: value[key: "image"]?.asString ?? "",
                    record: String(decoding: record, as: UTF8.self),
                    index: ""))
        }
    }

    /// The files that a record lists.
    static func files(of record: JSON) -> [String] {
        var names: [String] = []
        if case .array(let explanations)? = record[key: "explanations"] {
            for explanation in explanations {
                names += [
                    "map", "heatmap", "overlay", "sampleError", "animation", "mask", "boxPicture", "contour",
                ].compactMap {
                    explanation[key: $0]?.asString
                }
            }
        }
        if let sheet = record[key: "comparison"]?.asString { names.append(sheet) }
        return names
    }

    /// Whether a name can be that of a file of results: it lies in the directory, or in folders of it.
    static func isOurs(_ name: String) -> Bool {
        !name.utf8.contains { $0 < 32 }
            && name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
                !$0.isEmpty && !$0.hasPrefix(".")
            } && (name.hasSuffix(".png") || name.hasSuffix(".npy") || name.hasSuffix(".apng"))
    }

    /// The files that a results.json in a directory lists, by their names within it; and of a run that goes on or was killed, those that it has
    /// written. None if there is neither.
    package static func files(in directory: String) -> [String] {
        var names: [String] = []
        let path = Paths.join(directory, name)
        if FileKind(path) == .file, let bytes = try? InputFile.contents(path), bytes.count <= 1 << 28,
            let document = try? JSON(reading: bytes), document[key: "whitebox"]?.asString != nil,
            case .array(let images)? = document[key: "images"]
        {
            names = images.flatMap(files) + [document[key: "contact"]?.asString].compactMap { $0 }
        }
        if let journal = try? Journal(continuing: directory, isRead: true) {
            for line in journal.done { names += (try? journal.entry(at: line).files) ?? [] }
            var methods: [String] = []
            if let head = try? JSON(reading: Array(journal.head.utf8)),
                case .array(let all)? = head[key: "options"]?[key: "methods"]
            {
                methods = all.compactMap(\.asString)
            }
            for stem in journal.unfinished {
                let begun = ResultWriter.Names(stems: [Paths.name(stem)], methods: methods, classes: nil)
                let folder = Paths.split(stem).folder
                for file in Folder.names(Paths.parent(Paths.join(directory, stem))) ?? []
                where begun.contain(file) {
                    names.append(folder == "." ? file : Paths.join(folder, file))
                }
            }
        }
        names = names.filter(isOurs)
        guard
            !names.isEmpty || FileKind(path) != .missing
                || FileKind(Paths.join(directory, Journal.name)) != .missing
        else { return [] }
        return names + (Folder.names(directory) ?? []).filter(PackFormat.isOurs)
    }

    /// What the index of packed maps says of a picture: a line, but for its row.
    static func indexLine(
        _ request: PictureRequest, _ result: Result<ImageExplanation, ExplainError>, stem: String
    ) -> String {
        guard case .object(var entries) = image(request, result, nil) else { return "{}" }
        entries.insert(("stem", .string(stem)), at: 1)
        guard case .success(let image) = result else {
            return JSON.object(
                entries.filter { $0.0 != "explanations" } + [
                    ("class", .null), ("label", .null), ("probability", .null), ("maps", .array([])),
                ]
            ).line
        }
        let best = image.predictions.first
        let maps = image.packed.map { explanation in
            JSON.object(
                [
                    ("method", .string(explanation.method)), ("class", JSON(explanation.classIndex)),
                    ("label", JSON(explanation.label)), ("probability", JSON(explanation.probability)),
                ] + target(explanation.target) + [
                    ("layer", .string(explanation.layer)), ("blank", JSON(explanation.blank)),
                    ("note", JSON(explanation.note)), ("signed", .bool(explanation.isSigned)),
                ])
        }
        return JSON.object(
            entries + [
                ("class", JSON(best?.index)), ("label", JSON(best?.label)),
                ("probability", JSON(best?.probability)), ("maps", .array(maps)),
            ]
        ).line
    }

    /// Hands over what is done by blocks of packed maps that a document lists, and their rows. Of a block that is not what was written nothing is
    /// done.
    static func entries(
        ofBlocksIn directory: String, _ pack: PackFormat, _ take: (Journal.Entry, [UInt8]) throws -> Void
    ) throws {
        let document = try parts(of: Paths.join(directory, name)).document
        guard case .array(let blocks)? = document[key: "blocks"] else { return }
        for block in blocks {
            guard let index = block[key: "index"]?.asString, let maps = block[key: "maps"]?.asString,
                let sum = block[key: "sum"]?.asString.flatMap({ UInt64($0, radix: 16) }),
                PackFormat.isOurs(index), PackFormat.isOurs(maps),
                let lines = try? InputFile.contents(Paths.join(directory, index)).split(
                    separator: UInt8(ascii: "\n")),
                FileKind(Paths.join(directory, maps)) == .file
            else { continue }
            let file = try InputFile(Paths.join(directory, maps))
            let headerBytes =
                file.size - lines.count { !$0.starts(with: "{\"row\":null".utf8) } * pack.rowBytes
            guard headerBytes > 0 else { continue }
            func bytes(_ row: Int) throws -> [UInt8] {
                try file.read(from: headerBytes + row * pack.rowBytes, count: pack.rowBytes)
            }
            // Once to see whether all is as it was, and once more to take it, so that only a row is held.
            var entries: [Journal.Entry] = []
            var row = 0
            for line in lines {
                guard let value = try? JSON(reading: Array(line)), let stem = value[key: "stem"]?.asString,
                    let image = value[key: "image"]?.asString,
                    let comma = line.firstIndex(of: UInt8(ascii: ","))
                else { break }
                let isThere = value[key: "row"]?.asInt == row
                entries.append(
                    Journal.Entry(
                        stem: stem,
                        source: value[key: "sha256"]?.asString.map { PictureSource(sha256: $0, stamp: nil) },
                        classText: value[key: "asked"]?.asString,
                        trueClass: value[key: "trueClass"]?[key: "given"]?.asString, bytes: 0, files: [],
                        isFailure: !isThere, row: isThere ? row : nil,
                        rowSum: isThere ? CRC32.of(try bytes(row)[...]) : 0, image: image, record: "",
                        index: "{" + String(decoding: line[(comma + 1)...], as: UTF8.self)))
                row += isThere ? 1 : 0
            }
            guard PackFormat.sum(entries) == sum else { continue }
            for entry in entries { if let row = entry.row { try take(entry, try bytes(row)) } }
        }
    }

    private static func target(_ target: Target?) -> [(String, JSON)] {
        [
            ("against", JSON(target?.against)), ("negative", .bool(target?.isNegative ?? false)),
            ("score", JSON(target?.scale.rawValue)),
        ]
    }

    private static func completeness(_ found: Completeness?) -> JSON {
        guard let found else { return .null }
        return .object([
            ("sum", .float(found.sum)), ("expected", .float(found.expected)), ("error", JSON(found.error)),
            ("absorbedBy", JSON(found.absorbedBy)), ("ofSegments", .bool(found.isOfSegments)),
        ])
    }

    /// One picture.
    /// - Parameters:
    ///   - format: what is written of it; nil for nothing.
    ///   - stem: of its files.
    ///   - bytes: of its files together.
    package static func image(
        _ request: PictureRequest, _ result: Result<ImageExplanation, ExplainError>,
        _ format: PictureFiles? = nil,
        stem: String = "", bytes: Int = 0
    ) -> JSON {
        var entries: [(String, JSON)] = [("image", .string(request.picture.name))]
        if format != nil { entries.append(("stem", .string(stem))) }
        func asked() -> [(String, JSON)] {
            [
                ("asked", JSON(request.classChoice?.text)),
                (
                    "trueClass",
                    request.trueClass.map {
                        .object([
                            ("given", .string($0.given)), ("index", JSON($0.index)),
                            ("label", JSON($0.label)),
                        ])
                    } ?? .null
                ),
            ]
        }
        switch result {
        case .failure(let error):
            return .object(
                entries + [
                    ("sha256", .null), ("size", .null), ("error", .string(error.description)),
                    ("note", .null),
                ] + asked() + [("predictions", .array([])), ("explanations", .array([]))])
        case .success(let image):
            let predictions = image.predictions.map {
                JSON.object([
                    ("index", .int($0.index)), ("label", .string($0.label)), ("logit", .float($0.logit)),
                    ("probability", .float($0.probability)),
                ])
            }
            entries +=
                [
                    ("sha256", JSON(image.source?.sha256)),
                    ("size", image.size.map { JSON([$0.width, $0.height]) } ?? .null),
                    ("error", .null), ("note", JSON(image.note)),
                ] + asked() + [("predictions", .array(predictions))]
            if !image.frameNames.isEmpty { entries.append(("frames", JSON(image.frameNames))) }
            if let format {
                let explanations = image.explanations.map { explanation in
                    let names = format.files(stem, explanation)
                    return JSON.object(
                        [
                            ("method", .string(explanation.method)), ("class", JSON(explanation.classIndex)),
                            ("label", JSON(explanation.label)),
                            ("probability", JSON(explanation.probability)),
                        ] + target(explanation.target) + [
                            ("layer", .string(explanation.layer)), ("blank", JSON(explanation.blank)),
                            ("note", JSON(explanation.note)), ("signed", .bool(explanation.isSigned)),
                            ("completeness", completeness(explanation.completeness)),
                            ("samples", JSON(explanation.samples)),
                            ("map", JSON(names.map)),
                            ("heatmap", JSON(names.heatmap)), ("overlay", JSON(names.overlay)),
                            ("sampleError", JSON(names.sampleError)),
                        ] + (names.animation.map { [("animation", .string($0))] } ?? [])
                            + (names.mask.map { [("mask", .string($0))] } ?? [])
                            + (names.contour.map { [("contour", .string($0))] } ?? [])
                            + (names.box.map { name in
                                let box = format.box(explanation, of: image)
                                return [
                                    ("boxPicture", .string(name)),
                                    ("box", box.map { .array($0.map(JSON.double)) } ?? .null),
                                ]
                            } ?? []))
                }
                entries.append(("explanations", .array(explanations)))
                entries.append(("comparison", JSON(format.sheet(stem, image))))
                entries.append(("bytes", .int(bytes)))
            }
            return .object(entries)
        }
    }
}
