// A run over pictures: what is taken, what is done, and what is said of it meanwhile.

import ArgumentParser
import Explain
import Files
import FoundationEssentials
import Glibc
import Text

/// Why a run ends before its pictures do; what is done stays.
protocol EarlyEnd: Error {
    /// What stderr and results.json say.
    func sentence(_ done: Int, of count: Int?) -> String
    /// Whether anybody is there to read it.
    var isToBeSaid: Bool { get }
}

/// How many pictures may fail.
enum FailureLimit: ExpressibleByArgument, Equatable {
    case count(Int)
    /// Of all pictures, 0 … 1.
    case share(Double)

    init?(argument: String) {
        if argument.hasSuffix("%"), let percent = Double(argument.dropLast()), (0...100).contains(percent) {
            self = .share(percent / 100)
        } else if let count = Int(argument), count >= 0 {
            self = .count(count)
        } else {
            return nil
        }
    }

    /// Where nobody knows how many pictures there are, their share is only taken of so many and more.
    private static let fewest = 100

    func isExceeded(by failed: Int, of seen: Int, all: Int?) -> Bool {
        switch self {
        case .count(let most): failed > most
        case .share(let share):
            if let all {
                Double(failed) > share * Double(all)
            } else {
                seen >= FailureLimit.fewest && Double(failed) > share * Double(seen)
            }
        }
    }
}

/// Thrown when too many pictures fail.
struct TooManyFailures: EarlyEnd {
    let failed: Int, first: ExplainError
    var isToBeSaid: Bool { true }
    func sentence(_ done: Int, of count: Int?) -> String {
        "The run was ended because \(failed) of the first \(done) images could not be explained (--max-failures); the first: \(first.description)"
    }
}

/// Takes pictures, has them explained, and counts.
final class Run {
    let queue: PictureQueue
    let pool: SessionPool
    let progress: ProgressBar
    private let isQuiet: Bool
    private let limit: FailureLimit?
    private let metrics: String?
    private let start = Benchmark.now()
    private var lastMetrics = Benchmark.now(), lastLog = Benchmark.now()
    /// Seconds for reading and preparing pictures, of all threads together, and of devices for computing them.
    private var preparing = 0.0, computing = 0.0
    private var writer: ResultWriter?
    /// Pictures that are done, whatever came of them; those of an earlier run among them; those that failed.
    private(set) var seen = 0, kept = 0, failed = 0
    private var firstFailure: ExplainError?
    /// What was taken and is not done yet, batch by batch.
    private var taken: [[RunItem]] = []
    /// What is said of pictures, in their order; of files only once they are there.
    private var waiting: [(item: RunItem, result: Result<ImageExplanation, ExplainError>)] = []

    init(_ queue: PictureQueue, _ pool: SessionPool, isQuiet: Bool, limit: FailureLimit?, metrics: String?) {
        (self.queue, self.pool, self.isQuiet, self.limit) = (queue, pool, isQuiet, limit)
        self.metrics = metrics
        progress = ProgressBar(total: queue.count)
        progress.show(0)
    }

    private func fail(_ error: ExplainError) throws {
        failed += 1
        firstFailure = firstFailure ?? error
        if let limit, limit.isExceeded(by: failed, of: max(seen, failed), all: queue.count) {
            throw TooManyFailures(failed: failed, first: firstFailure!)
        }
    }

    /// Explains what has not been explained before.
    func explain(
        _ writer: ResultWriter, report: ReportWriter? = nil, _ tell: (ImageExplanation, RunItem) -> Void
    ) throws {
        self.writer = writer
        try go(
            keep: { item in try writer.keep(item.index, stem: item.stem, item.request) },
            take: { item, result in
                try writer.write(item.index, stem: item.stem, item.request, result)
                try report?.take(item.index, item.request.picture, result)
                self.waiting.append((item, result))
                self.report(writer, tell)
            })
    }

    /// Says what the network sees.
    func classify(_ take: (RunItem, Result<ImageExplanation, ExplainError>) -> Void) throws {
        try go(
            keep: { _ in false },
            take: { item, result in
                self.progress.hide()
                if case .failure(let error) = result { Report.failure(error) }
                take(item, result)
            })
    }

    private func go(
        keep: (RunItem) throws -> Bool,
        take: (RunItem, Result<ImageExplanation, ExplainError>) throws -> Void
    ) throws {
        func done(_ item: RunItem, _ result: Result<ImageExplanation, ExplainError>) throws {
            try take(item, result)
            seen += 1
            if case .success(let image) = result {
                preparing += image.seconds.prepare
                computing += image.seconds.compute
            }
            if case .failure(let error) = result { try fail(error) }
            progress.show(seen)
        }
        func next() throws -> [PictureRequest] {
            var items: [RunItem] = []
            while items.count < pool.batch, let item = try queue.next() {
                if let failure = item.failure {
                    try done(item, .failure(failure))
                } else if try keep(item) {
                    seen += 1
                    kept += 1
                    if kept % 256 == 0 { try Interruption.check() }
                    progress.show(seen)
                } else if let failure = item.request.picture.whyUnreadable {
                    // It takes no picture's place in a batch.
                    try done(item, .failure(failure))
                } else {
                    items.append(item)
                }
            }
            taken.append(items)
            return items.map(\.request)
        }
        func tell(_ part: Double) throws {
            progress.show(Double(seen) + part)
            try watch()
            try Interruption.check()
        }
        try pool.explain(progress: tell, next: next) { results in
            for (item, result) in zip(taken.removeFirst(), results) { try done(item, result) }
            try watch()
            // What has been computed is kept: it ends after a batch.
            try Interruption.check()
        }
    }

    /// Says what is known of pictures whose files are there.
    func report(_ writer: ResultWriter, _ tell: (ImageExplanation, RunItem) -> Void) {
        let ready = waiting.prefix {
            if case .success = $0.result {
                writer.isWritten($0.item.index) || writer.failure(of: $0.item.index) != nil
            } else {
                true
            }
        }
        guard !ready.isEmpty else { return }
        progress.hide()
        for (item, result) in ready {
            switch result {
            case .failure(let error): Report.failure(error)
            case .success(let image):
                if let error = writer.failure(of: item.index) {
                    failed += 1
                    firstFailure = firstFailure ?? error
                    Report.failure(error)
                } else if !isQuiet {
                    tell(image, item)
                }
            }
        }
        waiting.removeFirst(ready.count)
    }

    // MARK: To be watched

    /// Says now and then how far it is.
    private func watch() throws {
        let now = Benchmark.now()
        if metrics != nil, now - lastMetrics > 5 {
            lastMetrics = now
            try writeMetrics()
        }
        if Terminal.isJSON, now - lastLog > 10 {
            lastLog = now
            Terminal.complain("progress", level: "info", numbers)
        }
    }

    private var rate: Double { Double(seen - kept) / max(1e-3, Benchmark.now() - start) }

    private var numbers: [(String, JSON)] {
        [
            ("done", .int(seen)), ("failed", .int(failed)), ("before", .int(kept)),
            ("all", JSON(queue.count)),
            ("perSecond", .double((rate * 100).rounded() / 100)),
        ]
    }

    /// Writes the file of `--metrics`, if there is to be one.
    func writeMetrics() throws {
        guard let metrics else { return }
        var text = ""
        func add(_ name: String, _ kind: String, _ help: String, _ values: [(label: String, value: Double)]) {
            text += "# HELP whitebox_\(name) \(help)\n# TYPE whitebox_\(name) \(kind)\n"
            for (label, value) in values { text += "whitebox_\(name)\(label) \(value)\n" }
        }
        func label(_ name: String, _ value: String) -> String { "{\(name)=\(JSON.string(value).line)}" }
        let times = writer?.times ?? ResultWriter.Times()
        add(
            "pictures_done_total", "counter", "Pictures that are done, whatever came of them.",
            [("", Double(seen))])
        add(
            "pictures_failed_total", "counter", "Pictures that could not be explained.",
            [("", Double(failed))])
        add(
            "pictures_before_total", "counter", "Pictures that an earlier run had done.", [("", Double(kept))]
        )
        if let count = queue.count { add("pictures", "gauge", "Pictures of the run.", [("", Double(count))]) }
        add("pictures_per_second", "gauge", "Pictures in a second, since the start.", [("", rate)])
        var devices: [(label: String, value: Double)] = []
        for (number, device) in pool.computed.enumerated() {
            devices.append(
                ("{number=\"\(number)\",device=\(JSON.string(device.device).line)}", Double(device.pictures)))
        }
        add("device_pictures_total", "counter", "Pictures that a device has computed.", devices)
        add(
            "stage_seconds_total", "counter", "Seconds of all threads of a stage.",
            [
                (label("stage", "prepare"), preparing), (label("stage", "compute"), computing),
                (label("stage", "write"), times.writing), (label("stage", "blocked"), times.blocked),
            ])
        add("waiting_pictures", "gauge", "Pictures that wait to be written.", [("", Double(times.waiting))])
        add(
            "start_time_seconds", "gauge", "When the run began.",
            [("", Date().timeIntervalSince1970 - (Benchmark.now() - start))])
        do {
            try AtomicFile.write(Array(text.utf8), to: metrics, overwrite: true)
        } catch {
            throw ExplainError(error, .output)
        }
    }

    /// Where the time went, for a run that took some.
    var summary: String? {
        let seconds = Benchmark.now() - start
        guard seen - kept - failed > 1, seconds > 2 else { return nil }
        let times = writer?.times ?? ResultWriter.Times()
        // How busy each is that the run may have waited for; a CPU that computes also reads and writes.
        let cores = Double(ProcessInfo.processInfo.activeProcessorCount)
        let loads = [
            (computing / Double(pool.computed.count), "the device bounds it"),
            (preparing / cores, "reading and preparing pictures bounds it"),
            (max(times.writing / cores, times.blocked), "writing bounds it"),
        ]
        let reason = loads.max { $0.0 < $1.0 }!.1
        return
            "\(Report.number(rate, digits: rate < 10 ? 2 : 0)) images a second: reading and preparing took \(Report.time(preparing)) of the threads, computing \(Report.time(computing)) of the device"
            + (times.writing > 0 ? ", writing \(Report.time(times.writing)) of the threads" : "")
            + "; \(reason)."
    }

    /// Some failed, or all.
    func end() throws {
        guard seen > 0 || queue.shard != nil else {
            throw ExplainError(.input, "No picture was named: the list or the archive holds none.")
        }
        guard let firstFailure else { return }
        throw ExitCode(failed < seen ? 2 : firstFailure.kind.rawValue)
    }
}
