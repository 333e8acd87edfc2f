// How fast? For `app bench`.

import Dispatch
import Foundation
import Imaging
import Kernels

/// Times of whole explanations, and of their parts.
package struct Benchmark: Sendable {
    package var options: Options
    package var rounds: Int
    /// Seconds for reading the model.
    package let loading: Double

    package struct Row: Sendable {
        package let device: String
        package let batch: Int
        /// Whole explanations: pictures to numbers, the network, maps and heat maps; the median over rounds.
        package let imagesPerSecond: Double
        /// Milliseconds. `plan`, `firstRun`: once. `batch`: one whole batch. `decode`: one picture. `forward`, `gradient`, `maps`:
        /// the device's work for one batch, each part waited for.
        package let plan: Double, firstRun: Double, batchTime: Double, decode: Double
        package let forward: Double, gradient: Double, maps: Double
        /// The most memory that the process held since the row began, in bytes; nil where the system does not say.
        package let peakMemory: Int?
        /// The session's memory for activations, in bytes.
        package let workingMemory: Int
        package let steps: [StepTime]
    }

    /// One step of the computation.
    package struct StepTime: Sendable {
        package let label: String, kernel: String
        package let milliseconds: Double
        /// Floating-point operations.
        package let operations: Int
    }

    package init(options: Options, rounds: Int, loading: Double) {
        (self.options, self.rounds, self.loading) = (options, max(1, rounds), loading)
    }

    /// - Parameter pictures: are used again and again to fill batches.
    package func run(_ model: Model, pictures: [Picture], batch: Int, steps: Bool) throws -> Row {
        Benchmark.resetPeak()
        var options = options
        options.batch = batch
        let start = Benchmark.now()
        let session = try ExplanationSession(model, options: options)
        let planned = Benchmark.now()
        let batchPictures = (0..<batch).map { pictures[$0 % pictures.count] }
        var decode: [Double] = []
        func explain() throws -> Double {
            let start = Benchmark.now()
            try session.explain(batchPictures) { _, result in decode.append(try result.get().seconds.prepare)
            }
            return Benchmark.now() - start
        }
        let first = try explain()
        decode = []
        let times = try (0..<rounds).map { _ in try explain() }
        // Only the maps' steps bear a method's title.
        let titles = Set(session.methods.map { $0.title })
        let all = 0..<session.tape.steps.count
        var parts: [[Range<Int>]] = [[], [], []]  // forward, gradient, maps
        for stage in 0..<session.tape.stageCount {
            let range = session.tape.stage(stage)
            let cut = range.first { titles.contains(session.tape.labels[$0]) } ?? range.upperBound
            parts[min(stage, 1)].append(range.lowerBound..<cut)
            parts[2].append(cut..<range.upperBound)
        }
        var partTimes: [[Double]] = [[], [], []]
        for _ in 0..<rounds {
            // In the order of the computation: forward and its maps, gradient and its maps.
            var sums = [0.0, 0.0, 0.0]
            let order = parts.enumerated().flatMap { part, ranges in ranges.map { (part, $0) } }
                .sorted { $0.1.lowerBound < $1.1.lowerBound }
            for (part, range) in order where !range.isEmpty {
                let start = Benchmark.now()
                do {
                    try session.executor.run(range)
                } catch {
                    throw ExplainError(error, .device)
                }
                sums[part] += Benchmark.now() - start
            }
            for part in 0..<3 { partTimes[part].append(sums[part]) }
        }
        var stepTimes: [StepTime] = []
        if steps {
            do {
                let runs = try (0..<max(3, rounds)).map { _ in try session.executor.time(all) }
                stepTimes = all.map { i in
                    StepTime(
                        label: session.tape.labels[i], kernel: session.tape.steps[i].kernel,
                        milliseconds: Benchmark.median(runs.map { $0[i] }) * 1e3,
                        operations: session.tape.steps[i].operations)
                }
            } catch {
                throw ExplainError(error, .device)
            }
        }
        let time = Benchmark.median(times)
        return Row(
            device: session.device, batch: batch, imagesPerSecond: Double(batch) / time,
            plan: (planned - start) * 1e3,
            firstRun: first * 1e3, batchTime: time * 1e3, decode: Benchmark.median(decode) * 1e3,
            forward: Benchmark.median(partTimes[0]) * 1e3, gradient: Benchmark.median(partTimes[1]) * 1e3,
            maps: Benchmark.median(partTimes[2]) * 1e3, peakMemory: Benchmark.peak(),
            workingMemory: session.workingMemory,
            steps: stepTimes)
    }

    /// Seconds of a clock that only goes forward.
    package static func now() -> Double { Double(DispatchTime.now().uptimeNanoseconds) * 1e-9 }

    static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        let n = sorted.count
        return n == 0 ? 0 : n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2
    }

    /// Linux keeps the most memory that a process held, and forgets it when told to.
    private static func resetPeak() {
        try? FileHandle(forWritingTo: URL(fileURLWithPath: "/proc/self/clear_refs")).write(
            contentsOf: Data("5".utf8))
    }

    private static func peak() -> Int? {
        guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") })
        else { return nil }
        return line.split(separator: " ").compactMap { Int($0) }.first.map { $0 * 1024 }
    }
}
