// Where the time goes, and how near each step is to what the device can do. For `app bench --layers`.

import Kernels

/// The times of a tape's steps beside the peaks of the device that runs them.
package struct Roofline: Sendable {
    /// A step, or the sum of several.
    package struct Part: Sendable {
        /// What the step is for; empty for a sum.
        package var label: String
        package var kernel: String
        /// How many steps.
        package var count: Int
        package var milliseconds: Double
        /// Floating-point operations, a fused multiply-add counted as two.
        package var operations: Int
        /// What the step must at least move: each value that it reads or writes, weights too, counted once.
        package var bytes: Int

        package var gflops: Double { Double(operations) / milliseconds * 1e-6 }
        package var gigabytesPerSecond: Double { Double(bytes) / milliseconds * 1e-6 }

        fileprivate mutating func add(_ other: Part) {
            count += other.count
            milliseconds += other.milliseconds
            operations += other.operations
            bytes += other.bytes
        }
    }

    package let peak: Device.Peak
    /// In the order in which they run.
    package let steps: [Part]
    /// The sums of each kernel's steps, the longest first.
    package let kernels: [Part]
    package let total: Part

    /// - Parameter device: the one that the subject runs on.
    init(_ subject: Benchmark.Subject, rounds: Int, device: Device) throws {
        let (tape, executor) = (subject.tape, subject.executor)
        do {
            let runs = try (0..<rounds).map { _ in try executor.time(0..<tape.steps.count) }
            steps = tape.steps.indices.map { i in
                let step = tape.steps[i]
                return Part(
                    label: tape.labels[i], kernel: step.kernel, count: 1,
                    // A clock's tick at least, so that quotients stay finite.
                    milliseconds: max(Benchmark.median(runs.map { $0[i] }) * 1e3, 1e-6),
                    operations: step.operations,
                    bytes: Set(step.reads + step.writes).map { tape.shape($0).count * 4 }.reduce(0, +))
            }
            peak = try device.peak()
        } catch {
            throw ExplainError(error, .device)
        }
        func sum(_ parts: [Part], kernel: String) -> Part {
            var sum = Part(label: "", kernel: kernel, count: 0, milliseconds: 0, operations: 0, bytes: 0)
            for part in parts { sum.add(part) }
            return sum
        }
        kernels = Dictionary(grouping: steps, by: \.kernel).map { sum($0.value, kernel: $0.key) }
            .sorted { ($0.milliseconds, $1.kernel) > ($1.milliseconds, $0.kernel) }
        total = sum(steps, kernel: "all")
    }
}
