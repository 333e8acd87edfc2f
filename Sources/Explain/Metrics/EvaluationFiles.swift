// The files of an evaluation: a journal while it runs, and the results at its end.

import Files
import Glibc
import Text

/// Writes into a folder: `pictures.jsonl`, a record for each picture; `measurements.csv`, a line for each number; `evaluation.json`, what was asked and what the
/// numbers say together. While it runs there is `evaluation.journal`, from which it goes on when it was ended.
package final class EvaluationFiles {
    package let directory: String
    private let journal: String
    /// The journal, open for writing as long as this lives.
    private var file: Int32 = -1
    private var end = 0
    /// Whether the folder was made for this run.
    private let isNew: Bool
    /// What an earlier run found beside the measures of pictures, by asking the same.
    private var stored: [(String, JSON)] = []
    private static let beside = ["sanity", "cost"]
    /// Where the record of a picture lies, and of which it is.
    private struct Place {
        let offset: Int, length: Int
        let image: String, sha256: String?, asked: String?
        let isFailure: Bool
    }
    /// By the pictures' stems, which depend on what other pictures there are.
    private var places: [String: Place] = [:]
    /// The stems of this run, in its order.
    private var order: [String] = []
    private static let names = ["evaluation.json", "measurements.csv", "pictures.jsonl"]

    package enum Existing { case refuse, replace, resume }

    /// - Throws: `ExplainError` of kind `output` if results are there that may not be touched, or are of another run.
    package init(_ directory: String, _ evaluation: Evaluation, existing: Existing) throws {
        self.directory = directory
        journal = Paths.join(directory, "evaluation.journal")
        let head = JSON.object(try evaluation.head()).line
        func failed(_ reason: String) -> ExplainError { ExplainError(.output, reason) }
        isNew = FileKind(directory) == .missing
        if !isNew {
            let found = (Self.names + ["evaluation.journal"]).filter {
                FileKind(Paths.join(directory, $0)) != .missing
            }
            if existing == .refuse, let one = found.first {
                throw failed(
                    "'\(Paths.join(directory, one))' is there already; --force replaces it, --resume goes on with it, or choose another --output."
                )
            }
        }
        do { try Folder.make(directory) } catch { throw ExplainError(error, .output) }
        var kept: [UInt8] = []
        if existing == .resume {
            if let document = storedDocument(), Self.head(of: document) == head {
                stored = document.filter { Self.beside.contains($0.0) }
            }
            // A run that was finished goes on from its records.
            for path in [journal, Paths.join(directory, "pictures.jsonl")] where FileKind(path) == .file {
                guard kept.isEmpty else { break }
                do { kept = try InputFile.contents(path) } catch { throw ExplainError(error, .output) }
                if path != journal { kept = Array("\(try storedHead())\n".utf8) + kept }
            }
        }
        var lines: [[UInt8]] = []
        var begin = 0
        while let next = kept[begin...].firstIndex(of: 0x0A) {
            lines.append(Array(kept[begin..<next]))
            begin = next + 1
        }
        if let first = lines.first, first != Array(head.utf8) {
            throw failed(
                "'\(directory)' is of another evaluation: the model, the methods, the metrics or their settings are not the same. Go on with it as it was begun, or choose another --output."
            )
        }
        let new = journal + ".new"
        let descriptor = FileName.withPath(new) {
            open($0, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0o666)
        }
        guard descriptor >= 0 else { throw ExplainError(FileError(.write, journal, errno), .output) }
        file = descriptor
        try append(head)
        for line in lines.dropFirst() {
            // A last line that was torn has no line feed; one that is damaged says nothing.
            guard let record = try? JSON(reading: line), let stem = record[key: "stem"]?.asString else {
                continue
            }
            try append(String(decoding: line, as: UTF8.self), record, stem)
        }
        guard FileName.withPath(new, { new in FileName.withPath(journal) { rename(new, $0) } }) == 0 else {
            throw ExplainError(FileError(.write, journal, errno), .output)
        }
    }

    deinit { if file >= 0 { close(file) } }

    /// What a finished run was asked for.
    private func storedHead() throws -> String {
        guard let document = storedDocument() else {
            throw ExplainError(
                .output,
                "'\(Paths.join(directory, "evaluation.json"))' cannot be read, so it is not known what was measured; --force begins anew."
            )
        }
        return Self.head(of: document)
    }

    /// The document of results that is there.
    private func storedDocument() -> [(String, JSON)]? {
        guard let bytes = try? InputFile.contents(Paths.join(directory, "evaluation.json")),
            case .object(let entries)? = try? JSON(reading: bytes)
        else { return nil }
        return entries
    }

    /// What was asked for.
    private static func head(of document: [(String, JSON)]) -> String {
        let others = ["summary", "device", "incomplete"] + beside
        return JSON.object(document.filter { !others.contains($0.0) }).line
    }

    private func append(_ line: String, _ record: JSON? = nil, _ stem: String? = nil) throws {
        let bytes = Array((line + "\n").utf8)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { write(file, $0.baseAddress! + done, bytes.count - done) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                throw ExplainError(.output, "'\(journal)' cannot be written; is the disk full?")
            }
            done += count
        }
        if let stem, let record {
            places[stem] = Place(
                offset: end, length: bytes.count - 1, image: record[key: "image"]?.asString ?? stem,
                sha256: record[key: "sha256"]?.asString, asked: record[key: "asked"]?.asString,
                isFailure: record[key: "error"] != nil)
        }
        end += bytes.count
    }

    /// Removes the journal of a run that measured nothing, and the folder if it was made for that.
    package func discard() {
        FileName.remove(journal)
        if isNew { _ = FileName.withPath(directory) { rmdir($0) } }
    }

    /// Whether a picture was measured before, and is still the same. One that failed is tried again.
    package func keeps(_ stem: String, _ request: PictureRequest) -> Bool {
        guard let place = places[stem], !place.isFailure, let sha256 = place.sha256,
            place.asked == request.classChoice?.text,
            request.picture.isStill(PictureSource(sha256: sha256, stamp: nil))
        else { return false }
        order.append(stem)
        return true
    }

    /// Keeps the record of a picture.
    package func add(_ record: JSON, stem: String) throws {
        try append(record.line, record, stem)
        order.append(stem)
    }

    /// The records of this run, one after the other.
    package func forEach(_ body: (JSON, _ line: String) throws -> Void) throws {
        do {
            let reader = try InputFile(journal)
            for stem in order {
                guard let place = places[stem] else { continue }
                let bytes = try reader.read(from: place.offset, count: place.length)
                try body(JSON(reading: bytes), String(decoding: bytes, as: UTF8.self))
            }
        } catch let error as FileError {
            throw ExplainError(error, .output)
        }
    }

    /// Writes the results, and removes the journal if the run came to its end.
    /// - Parameter extra: what was found beside the measures of pictures; what an earlier run found and this one did not ask for stays.
    /// - Throws: `ExplainError` of kind `output`, if a run that is gone on with has pictures that this one was not told: they would be lost.
    package func finish(
        _ evaluation: Evaluation, extra: [(String, JSON)], incomplete: String?
    ) throws -> Evaluation.Summary {
        fsync(file)
        if incomplete == nil { try checkAllAreNamed() }
        let new = Set(extra.map(\.0))
        let extra = (stored.filter { !new.contains($0.0) } + extra).sorted {
            Self.beside.firstIndex(of: $0.0) ?? 0 < Self.beside.firstIndex(of: $1.0) ?? 0
        }
        var summary = evaluation.summary()
        var csv = "image,method,class,metric,value\n"
        var lines = ""
        let names = evaluation.metrics.map { type(of: $0.metric).name }
        try forEach { record, line in
            summary.add(record)
            lines += line + "\n"
            guard case .array(let maps)? = record[key: "maps"] else { return }
            for map in maps {
                for name in names {
                    let value = map[key: "metrics"]?[key: name]?.number
                    csv +=
                        "\(Self.cell(record[key: "image"]?.asString ?? "")),\(map[key: "method"]?.asString ?? ""),"
                        + "\(map[key: "class"]?.asInt ?? 0),\(name),\(value.map { "\($0)" } ?? "")\n"
                }
            }
        }
        let document = JSON.object(
            try evaluation.head() + [("device", .string(evaluation.session.device))] + extra
                + [("incomplete", JSON(incomplete)), ("summary", summary.json())])
        do {
            for (name, text) in zip(Self.names, [document.text, csv, lines]) {
                try AtomicFile.write(
                    Array(text.utf8), to: Paths.join(directory, name), overwrite: true)
            }
        } catch { throw ExplainError(error, .output) }
        if incomplete == nil { FileName.remove(journal) }
        return summary
    }

    private func checkAllAreNamed() throws {
        let now = order.compactMap { places[$0] }
        let (images, digests) = (Set(now.map(\.image)), Set(now.compactMap(\.sha256)))
        let others = Set(
            places.values.filter {
                !$0.isFailure && !images.contains($0.image) && !digests.contains($0.sha256 ?? "")
            }.map(\.image))
        guard let one = others.min() else { return }
        throw ExplainError(
            .output,
            "'\(directory)' has measures of \(others.count) picture\(others.count == 1 ? "" : "s") that \(others.count == 1 ? "is" : "are") not named now, such as “\(shortenedPath(one))”, and they would be lost. Name all pictures, and more if you like, or choose another --output; nothing was removed."
        )
    }

    private static func cell(_ text: String) -> String {
        text.contains { ",\"\n\r".contains($0) } ? "\"" + text.replacing("\"", with: "\"\"") + "\"" : text
    }
}
