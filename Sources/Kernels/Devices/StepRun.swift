// Steps that follow each other on the CPU and run together, part by part.

import Dispatch

/// What takes the place of some steps of a tape.
protocol StepRun: Sendable {
    /// The steps that this replaces.
    var steps: Range<Int> { get }
    /// - Parameter clocks: for each thread and step, where the seconds that it takes are added.
    func run(_ cpu: CPUFrame, clocks: UnsafeMutablePointer<Double>?)
}

extension StepRun {
    func run(_ cpu: CPUFrame) { run(cpu, clocks: nil) }

    /// Runs, and tells how many seconds each step took: of the whole time, its share in the threads' time.
    func time(_ cpu: CPUFrame) -> [Double] {
        var clocks = [Double](repeating: 0, count: cpu.threads * steps.count)
        let start = DispatchTime.now().uptimeNanoseconds
        clocks.withUnsafeMutableBufferPointer { run(cpu, clocks: $0.baseAddress!) }
        let whole = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
        let all = clocks.reduce(0, +)
        return (0..<steps.count).map { i in
            (0..<cpu.threads).reduce(0) { $0 + clocks[$1 * steps.count + i] } / all * whole
        }
    }
}

extension Tape {
    /// How often each storage is read, by steps and by whoever keeps a value.
    func readers(keeping kept: [Value]) -> [Int: Int] {
        (steps.flatMap(\.reads) + kept).reduce(into: [:]) { $0[storage($1), default: 0] += 1 }
    }

    /// Those of a tape, by their first steps.
    /// - Parameter cache: bytes of a thread's second-level cache.
    func runs(keeping kept: [Value], threads: Int, cache: Int) -> [Int: any StepRun] {
        let all: [any StepRun] =
            Cascade.all(in: self, keeping: kept, threads: threads, cache: cache)
            + ElementwiseRun.all(in: self, keeping: kept)
        return Dictionary(uniqueKeysWithValues: all.map { ($0.steps.lowerBound, $0) })
    }
}
