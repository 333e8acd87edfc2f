// Explaining, and results, as C has them.
// swift-format-ignore-file: AlwaysUseLowerCamelCase

import ArgumentParser
import CWhitebox
import Commands
import Explain
import Files
import Synchronization
import Text

/// What was found of some pictures.
final class FoundResults: Handle, Sendable {
    let engine: OpenedEngine
    let requests: [PictureRequest]
    let results: [Result<ImageExplanation, ExplainError>]
    // What C reads is made when it is asked for, and stays.
    private struct Kept {
        var records: [Int: CText] = [:]
        var arrays: [Place: Numbers] = [:]
    }
    private struct Place: Hashable {
        let picture: Int, map: Int
        let content: UInt32
    }
    private let kept = Mutex(Kept())

    /// Memory that stays where it is.
    private final class Numbers: Sendable {
        // Nobody changes it.
        nonisolated(unsafe) let memory: UnsafeMutableRawBufferPointer
        let shape: [Int]
        init<T: BitwiseCopyable>(_ values: [T], _ shape: [Int]) {
            let memory = UnsafeMutableRawBufferPointer.allocate(
                byteCount: max(1, values.count * MemoryLayout<T>.stride), alignment: 64)
            values.withUnsafeBytes { memory.copyMemory(from: $0) }
            (self.memory, self.shape) = (memory, shape)
        }
        deinit { memory.deallocate() }
    }

    init(
        _ engine: OpenedEngine, _ requests: [PictureRequest],
        _ results: [Result<ImageExplanation, ExplainError>]
    ) {
        (self.engine, self.requests, self.results) = (engine, requests, results)
    }

    func record(_ picture: Int) -> CText? {
        guard results.indices.contains(picture) else { return nil }
        return kept.withLock { kept in
            if let text = kept.records[picture] { return text }
            let text = CText(ResultDocument.record(requests[picture], results[picture]).text)
            kept.records[picture] = text
            return text
        }
    }

    func array(_ picture: Int, _ map: Int, _ content: whitebox_content) -> whitebox_array? {
        guard results.indices.contains(picture), case .success(let image) = results[picture] else {
            return nil
        }
        let isOfMap = [WHITEBOX_MAP, WHITEBOX_HEATMAP, WHITEBOX_SAMPLE_ERROR].contains(content)
        guard !isOfMap || image.explanations.indices.contains(map) else { return nil }
        let place = Place(picture: picture, map: isOfMap ? map : 0, content: content.rawValue)
        let numbers: Numbers? = kept.withLock { kept in
            if let numbers = kept.arrays[place] { return numbers }
            func numbers(_ grid: Grid2D?) -> Numbers? {
                grid.map { Numbers($0.values, ($0.frames.map { [$0] } ?? []) + [$0.height, $0.width]) }
            }
            let made: Numbers? =
                switch content {
                case WHITEBOX_MAP: numbers(image.explanations[map].map)
                case WHITEBOX_HEATMAP: numbers(image.explanations[map].heatmap)
                case WHITEBOX_SAMPLE_ERROR: numbers(image.explanations[map].sampleError)
                case WHITEBOX_LOGITS: Numbers(image.logits, [image.logits.count])
                case WHITEBOX_PROBABILITIES: Numbers(image.probabilities, [image.probabilities.count])
                case WHITEBOX_VIEW:
                    image.seen.map { Numbers($0.pixels, [$0.height, $0.width, 3]) }
                default: nil
                }
            kept.arrays[place] = made
            return made
        }
        guard let numbers else { return nil }
        var array = whitebox_array()
        array.data = UnsafeRawPointer(numbers.memory.baseAddress)
        array.rank = Int32(numbers.shape.count)
        withUnsafeMutableBytes(of: &array.shape) { shape in
            for (axis, side) in numbers.shape.enumerated() {
                shape.storeBytes(of: Int64(side), toByteOffset: 8 * axis, as: Int64.self)
            }
        }
        return array
    }
}

extension PictureRequest {
    /// What C asks for.
    init(_ picture: whitebox_picture, number: Int) throws {
        let name = FileName.text(picture.name)
        func data() throws -> UnsafeRawPointer {
            guard let data = picture.data else {
                throw Usage(sentence: "\(printable(name)): Picture \(number) has no data (NULL).")
            }
            try checkCount(picture.size, false, "bytes or numbers")
            return data
        }
        let source: Picture =
            switch picture.kind {
            case WHITEBOX_FILE: .file(name)
            case WHITEBOX_ENCODED:
                .encoded(Array(UnsafeRawBufferPointer(start: try data(), count: picture.size)), name: name)
            case WHITEBOX_PIXELS:
                try Self.pixels(picture, name, data())
            case WHITEBOX_NUMBERS:
                .array(
                    Array(
                        UnsafeBufferPointer(
                            start: try data().assumingMemoryBound(to: Float.self), count: picture.size)),
                    name: name)
            default:
                throw Usage(
                    sentence: "\(printable(name)): There is no kind \(picture.kind.rawValue) of pictures.")
            }
        self.init(source, classChoice: picture.target.map { ClassChoice(String(cString: $0)) })
    }

    private static func pixels(
        _ picture: whitebox_picture, _ name: String, _ data: UnsafeRawPointer
    ) throws -> Picture {
        let (height, width) = (Int(picture.height), Int(picture.width))
        // What is larger than any picture may be is not even copied, and refused like one that cannot be read.
        guard height > 0, width > 0, height * width <= 200_000_000 else {
            return .pixels([], height: height, width: width, name: name)
        }
        let bytes = Array(UnsafeRawBufferPointer(start: data, count: 3 * height * width))
        return .pixels(bytes, height: height, width: width, name: name)
    }
}

@c @implementation
public func whitebox_explain(
    _ engine: OpaquePointer, _ pictures: UnsafePointer<whitebox_picture>?, _ count: Int,
    _ progress: whitebox_progress?, _ context: UnsafeMutableRawPointer?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    attempt(error) {
        try checkCount(count, pictures == nil, "pictures")
        let engine = OpenedEngine.at(engine)
        let requests = try (0..<count).map { try PictureRequest(pictures![$0], number: $0) }
        let results = try engine.explain(
            requests, progress: progress.map { progress in { progress(context, $0) } })
        return FoundResults(engine, requests, results).retained
    }
}

@c @implementation
public func whitebox_results_free(_ results: OpaquePointer?) { FoundResults.release(results) }

@c @implementation
public func whitebox_results_count(_ results: OpaquePointer) -> Int { FoundResults.at(results).results.count }

@c @implementation
public func whitebox_results_json(_ results: OpaquePointer, _ picture: Int) -> UnsafePointer<CChar>? {
    FoundResults.at(results).record(picture)?.pointer
}

@c @implementation
public func whitebox_results_array(
    _ results: OpaquePointer, _ picture: Int, _ map: Int, _ content: whitebox_content,
    _ array: UnsafeMutablePointer<whitebox_array>
) -> Bool {
    guard let found = FoundResults.at(results).array(picture, map, content) else { return false }
    array.pointee = found
    return true
}

// MARK: Files

private struct OptionsOfFiles: ParsableArguments {
    @OptionGroup var files: WriteOptions
}

private struct OptionsOfFolders: ParsableArguments {
    @OptionGroup var files: WriteOptions
    @Flag var force = false
}

@c @implementation
public func whitebox_results_files(
    _ results: OpaquePointer, _ picture: Int, _ options: UnsafePointer<UnsafePointer<CChar>>?, _ count: Int,
    _ file: whitebox_file, _ context: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> Bool {
    attempt(error) {
        let results = FoundResults.at(results)
        guard results.results.indices.contains(picture) else {
            throw Usage(
                sentence:
                    "There is no picture \(picture): there are \(results.results.count), and the first is 0.")
        }
        let asked = try parsed(OptionsOfFiles.self, options, count).files
        let image = try results.results[picture].get()
        try image.files(
            asked.parts ?? ResultPart.standard, stem: results.stems[picture], background: asked.background,
            style: asked.style.style
        ) { name, content in
            let goes = content.withUnsafeBufferPointer { bytes in
                CText(name).withPointer { file(context, $0, bytes.baseAddress!, bytes.count) }
            }
            guard goes else { throw Cancelled() }
        }
        return true
    } ?? false
}

extension FoundResults {
    /// The names of the pictures' files, without what distinguishes methods.
    var stems: [String] { Stems.of(requests.map(\.picture)) }
}

extension CText {
    func withPointer<R>(_ body: (UnsafePointer<CChar>) throws -> R) rethrows -> R {
        try withExtendedLifetime(self) { try body(pointer) }
    }
}

@c @implementation
public func whitebox_results_save(
    _ results: UnsafePointer<OpaquePointer>, _ resultsCount: Int, _ folder: UnsafePointer<CChar>,
    _ options: UnsafePointer<UnsafePointer<CChar>>?, _ count: Int,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> Bool {
    attempt(error) {
        try checkCount(resultsCount, false, "results")
        let all = (0..<resultsCount).map { FoundResults.at(results[$0]) }
        guard let engine = all.first?.engine else { throw Usage(sentence: "There are no results to save.") }
        guard all.allSatisfy({ $0.engine === engine }) else {
            throw Usage(
                sentence:
                    "The results are of several engines, and a folder describes one; save those of each in a folder of its own."
            )
        }
        let asked = try parsed(OptionsOfFolders.self, options, count)
        let requests = all.flatMap(\.requests)
        try engine.withSession { session in
            let writer = try ResultWriter(
                directory: FileName.text(folder), pictures: requests.map(\.picture), options: session.options,
                background: asked.files.background, parts: asked.files.parts ?? ResultPart.standard,
                style: asked.files.style.style, overwrite: asked.force)
            try writer.begin(session)
            for (number, (request, result)) in zip(requests, all.flatMap(\.results)).enumerated() {
                try writer.write(number, stem: writer.stems[number], request, result)
            }
            try writer.finish(session)
        }
        return true
    } ?? false
}
