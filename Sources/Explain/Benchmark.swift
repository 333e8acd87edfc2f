// How fast? For `app bench`.

import Dispatch
import Files
import FoundationEssentials
import Glibc
import Imaging
import Inference
import Kernels

/// Times of whole explanations, and of their parts.
package struct Benchmark: Sendable {
    /// What is timed.
    package enum Work: String, Sendable, CaseIterable {
        /// Pictures in, heat maps out.
        case explain
        /// Pictures in, the gradients of their largest logits with respect to the pixels out.
        case inputGradient = "input-gradient"
    }

    package var options: Options
    package var work: Work
    package var rounds: Int
    /// Seconds for reading the model.
    package let loading: Double

    package struct Row: Sendable {
        package let device: String
        package let batch: Int
        /// The whole work: pictures to numbers, the network, maps and heat maps; the median over rounds.
        package let imagesPerSecond: Double
        /// Milliseconds. `plan`, `firstRun`: once. `batch`: one whole batch. `decode`: one picture. `forward`, `gradient`, `maps`:
        /// the device's work for one batch, each part waited for.
        package let plan: Double, firstRun: Double, batchTime: Double, decode: Double
        package let forward: Double, gradient: Double, maps: Double
        /// The most memory that the process held since the row began, in bytes; nil where the system does not say.
        package let peakMemory: Int?
        /// The session's memory for activations, in bytes.
        package let workingMemory: Int
        /// nil unless steps are timed.
        package let roofline: Roofline?
    }

    package init(options: Options, work: Work = .explain, rounds: Int, loading: Double) {
        (self.options, self.work, self.rounds, self.loading) = (options, work, max(1, rounds), loading)
    }

    /// A model on a device, ready to compute the same pictures again and again.
    /// - Parameter pictures: are repeated, or cut, to fill the batch.
    package func subject(_ model: Model, pictures: [Picture], batch: Int) throws -> Subject {
        var options = options
        options.batch = batch
        let pictures = (0..<batch).map { pictures[$0 % pictures.count] }
        switch work {
        case .explain:
            return Subject(try ExplanationSession(model, options: options), pictures: pictures)
        case .inputGradient:
            return try Subject(inputGradient: model, options: options, pictures: pictures)
        }
    }

    package func run(_ model: Model, pictures: [Picture], batch: Int, steps: Bool) throws -> Row {
        Benchmark.resetPeak()
        let start = Benchmark.now()
        let subject = try subject(model, pictures: pictures, batch: batch)
        let planned = Benchmark.now()
        let first = try subject.time().seconds
        let rows = try (0..<rounds).map { _ in try subject.time() }
        let time = Benchmark.median(rows.map(\.seconds))
        let parts = try subject.times(rounds: rounds)
        // Read before the peaks are measured, which takes memory of its own.
        let memory = Benchmark.peak()
        let roofline =
            steps
            ? try Roofline(
                subject, rounds: max(3, rounds), device: options.openDevice().device) : nil
        return Row(
            device: subject.device, batch: batch, imagesPerSecond: Double(batch) / time,
            plan: (planned - start) * 1e3, firstRun: first * 1e3, batchTime: time * 1e3,
            decode: Benchmark.median(rows.flatMap(\.decode)) * 1e3, forward: parts[0] * 1e3,
            gradient: parts[1] * 1e3, maps: parts[2] * 1e3, peakMemory: memory,
            workingMemory: subject.executor.arenaBytes, roofline: roofline)
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
        let file = FileName.open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        _ = write(file, "5", 1)
        close(file)
    }

    private static func peak() -> Int? {
        guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") })
        else { return nil }
        return line.split(separator: " ").compactMap { Int($0) }.first.map { $0 * 1024 }
    }
}

extension Benchmark {
    /// Work that is ready to run. Belongs to one thread at a time.
    package final class Subject {
        package let device: String
        let tape: Tape
        let executor: any Executor
        /// Only the maps' steps bear one of these.
        private let mapTitles: Set<String>
        private let compute: () throws -> (values: [[Float]], decode: [Double])
        /// Of what is computed.
        private let shape: [Int]

        fileprivate init(_ session: ExplanationSession, pictures: [Picture]) {
            (device, tape, executor) = (session.device, session.pass.tape, session.pass.executor)
            mapTitles = Set(session.pass.plan.spec.additions.map(\.label))
            shape = [pictures.count, session.mapsOfEach, session.model.inputHeight, session.model.inputWidth]
            compute = {
                var (maps, decode): ([[Float]], [Double]) = ([], [])
                try session.explain(pictures) { _, result in
                    let image = try result.get()
                    decode.append(image.seconds.prepare)
                    maps += image.explanations.map(\.heatmap.values)
                }
                return (maps, decode)
            }
        }

        /// The gradient of each picture's largest logit with respect to its pixels: what gradient methods spend their time on.
        fileprivate init(inputGradient model: Model, options: Options, pictures: [Picture]) throws {
            let pass: Pass
            do {
                var spec = PassSpec(batch: pictures.count, height: model.inputHeight, width: model.inputWidth)
                let (input, logits) = (model.network.inputName, model.network.logitsName)
                (spec.stored, spec.gradients) = ([logits], [input])
                let plan = try PassPlan(spec, of: model.network)
                let opened = try options.openDevice()
                device = opened.device.description
                pass = try Engine(model.network, on: LoadedDevice(opened.device)).pass(plan)
            } catch {
                throw ExplainError(error, .model)
            }
            (tape, executor, mapTitles) = (pass.tape, pass.executor, [])
            shape = [pictures.count, model.channels, model.inputHeight, model.inputWidth]
            compute = {
                var values: [Float] = []
                let decode = try pictures.map { picture in
                    let start = now()
                    values += try model.tensor(picture)
                    return now() - start
                }
                do {
                    try pass.feed(values)
                    try pass.forward()
                    let logits = try pass.stored(model.network.logitsName)!
                    let classes = logits.count / pictures.count
                    var cotangent = [Float](repeating: 0, count: logits.count)
                    for begin in stride(from: 0, to: logits.count, by: classes) {
                        let row = Array(logits[begin..<begin + classes])
                        cotangent[begin + ExplanationSession.best(1, of: row)[0]] = 1
                    }
                    try pass.backward(cotangent)
                    return ([try pass.gradient(model.network.inputName)!], decode)
                } catch {
                    throw ExplainError(error, .device)
                }
            }
        }

        /// Computes the batch.
        package func time() throws -> (seconds: Double, decode: [Double]) {
            let start = now()
            let decode = try compute().decode
            return (now() - start, decode)
        }

        /// Writes what is timed computes as a .npy file: heat maps [N, maps of each picture, H, W], or gradients [N, C, H, W].
        package func write(to path: String, overwrite: Bool) throws {
            let values = try compute().values.flatMap(\.self)
            guard values.count == shape.reduce(1, *) else {
                throw ExplainError(
                    .classChoice,
                    "\(path): The classes that are asked for are fewer for some pictures than for others; give indices, or topN alone."
                )
            }
            do {
                try NPYArray(shape: shape, values: values).write(to: path, overwrite: overwrite)
            } catch {
                throw ExplainError(error, .output)
            }
        }

        /// Seconds for the device's part of the work: forward, gradient, maps; each waited for.
        fileprivate func times(rounds: Int) throws -> [Double] {
            // In the order of the computation: forward and its maps, gradient and its maps.
            var parts: [(part: Int, steps: Range<Int>)] = []
            for stage in 0..<tape.stageCount {
                let range = tape.stage(stage)
                let cut = range.first { mapTitles.contains(tape.labels[$0]) } ?? range.upperBound
                parts += [(min(stage, 1), range.lowerBound..<cut), (2, cut..<range.upperBound)]
            }
            var times: [[Double]] = [[], [], []]
            for _ in 0..<rounds {
                var sums = [0.0, 0.0, 0.0]
                for (part, range) in parts where !range.isEmpty {
                    let start = now()
                    do { try executor.run(range) } catch { throw ExplainError(error, .device) }
                    sums[part] += now() - start
                }
                for part in 0..<3 { times[part].append(sums[part]) }
            }
            return times.map(median)
        }
    }
}
