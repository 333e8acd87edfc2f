// A run over pictures: what is taken, what is done, and what is said of it meanwhile.

import ArgumentParser
import Explain
import Foundation
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
    /// Pictures that are done, whatever came of them; those of an earlier run among them; those that failed.
    private(set) var seen = 0, kept = 0, failed = 0
    private var firstFailure: ExplainError?
    /// What was taken and is not done yet, batch by batch.
    private var taken: [[RunItem]] = []
    /// What is said of pictures, in their order; of files only once they are there.
    private var waiting: [(item: RunItem, result: Result<ImageExplanation, ExplainError>)] = []

    init(_ queue: PictureQueue, _ pool: SessionPool, isQuiet: Bool, limit: FailureLimit?) {
        (self.queue, self.pool, self.isQuiet, self.limit) = (queue, pool, isQuiet, limit)
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
    func explain(_ writer: ResultWriter, _ tell: (ImageExplanation, RunItem) -> Void) throws {
        try go(
            keep: { item in try writer.keep(item.index, stem: item.stem, item.request) },
            take: { item, result in
                try writer.write(item.index, stem: item.stem, item.request, result)
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
                } else {
                    items.append(item)
                }
            }
            taken.append(items)
            return items.map(\.request)
        }
        func tell(_ part: Double) throws {
            progress.show(Double(seen) + part)
            try Interruption.check()
        }
        try pool.explain(progress: tell, next: next) { results in
            for (item, result) in zip(taken.removeFirst(), results) { try done(item, result) }
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

    /// Some failed, or all.
    func end() throws {
        guard let firstFailure else { return }
        throw ExitCode(failed < seen ? 2 : firstFailure.kind.rawValue)
    }
}
