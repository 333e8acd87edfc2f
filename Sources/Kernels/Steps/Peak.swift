// What a device can do at best, measured: kernels/peak.cl.

import CLRuntime
import CMicrokernels

/// y[i] = what `rounds` of s = fma(s, 1/2, 1) make of s = i mod 256. All chains are independent, so this is as fast as fma gets.
struct Peak: Step {
    let y: Value
    let count: Int, rounds: Int

    /// Outputs of one work-item, and of one pass of the C loop: multiples of this many are computed.
    static let grain = Int(WB_PEAK)

    var kernel: String { "peak" }
    var reads: [Value] { [] }
    var writes: [Value] { [y] }
    var operations: Int { 2 * count * rounds }

    func run(_ cpu: CPUFrame) {
        let y = cpu.pointer(y)
        cpu.split(count, grain: Peak.grain) { begin, end, _ in
            cpu.functions.peak(Int32(rounds), y, Int64(begin), Int64(end))
        }
    }

    func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let isCPU = frame.device.shape == .cpu
        return [
            try frame.launch(
                "peak", in: "peak", options: isCPU ? "-DWB_CPU_SHAPE" : "",
                [frame.buffer(y), .int(Int32(count)), .int(Int32(rounds))],
                count: count / (isCPU ? Peak.grain : 16))
        ]
    }
}

/// y = a + b, of so many numbers that it is as fast as memory gets.
struct Stream: Step {
    let a: Value, b: Value, y: Value
    let count: Int

    var kernel: String { "stream" }
    var reads: [Value] { [a, b] }
    var writes: [Value] { [y] }
    var operations: Int { count }

    func run(_ cpu: CPUFrame) {
        let grid = Grid(dims: [count], x: [1], z: [1], y: [1])
        Elementwise(operation: WB_MAP_add, x: a, z: b, y: y, grid: grid, a: 0, b: 0).run(cpu)
    }

    func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let isCPU = frame.device.shape == .cpu
        return [
            try frame.launch(
                "stream", in: "peak", options: isCPU ? "-DWB_CPU_SHAPE" : "",
                [frame.buffer(a), frame.buffer(b), frame.buffer(y), .int(Int32(count))],
                count: count / (isCPU ? Peak.grain : 4))
        ]
    }
}

extension Tape {
    /// A tensor of numbers that cost `rounds` fused multiply-adds each.
    package mutating func peak(count: Int, rounds: Int) -> Value {
        precondition(count % Peak.grain == 0)
        let y = value([count])
        add(Peak(y: y, count: count, rounds: rounds))
        return y
    }

    /// The sum of two tensors of one shape.
    package mutating func stream(_ a: Value, _ b: Value) -> Value {
        let count = shape(a).count
        precondition(count == shape(b).count && count % Peak.grain == 0)
        let y = value([count])
        add(Stream(a: a, b: b, y: y, count: count))
        return y
    }
}

extension Device {
    /// Rates that no kernel exceeds.
    package struct Peak: Sendable {
        /// Thousands of millions of fp32 operations in a second, a fused multiply-add counted as two.
        package let gflops: Double
        /// Thousands of millions of bytes that a sum of two tensors, larger than caches, reads and writes in a second.
        package let gigabytesPerSecond: Double
    }

    /// Measures: takes a fraction of a second, and 192 MiB.
    package func peak() throws -> Peak {
        // As many rounds as take long enough to be measured; a processor without fma in hardware does few.
        let count = isCPU ? 1 << 18 : 1 << 22
        var gflops = 0.0
        var rounds = 16
        while true {
            var tape = Tape()
            let y = tape.peak(count: count, rounds: rounds)
            let seconds = try best(tape, keeping: y)
            gflops = Double(2 * count * rounds) / seconds * 1e-9
            if seconds > 0.01 || rounds >= 1 << 16 { break }
            rounds *= 4
        }
        var tape = Tape()
        let elements = 1 << 24
        let (a, b) = (tape.input([elements]), tape.input([elements]))
        let y = tape.stream(a, b)
        let seconds = try best(tape, keeping: y, writing: [a, b])
        return Peak(gflops: gflops, gigabytesPerSecond: Double(3 * 4 * elements) / seconds * 1e-9)
    }

    /// The shortest of several times of a tape of one step.
    private func best(_ tape: Tape, keeping kept: Value, writing inputs: [Value] = []) throws -> Double {
        let executor = try load(tape, keeping: [kept])
        for input in inputs {
            try [Float](repeating: 1, count: tape.shape(input).count).withUnsafeBufferPointer {
                try executor.write(input, from: $0)
            }
        }
        return try (0..<6).map { _ in try executor.time(0..<1)[0] }.dropFirst().min()!
    }

    private var isCPU: Bool {
        switch self {
        case .cpu: true
        case .openCL(let device): device.shape == .cpu
        }
    }
}
