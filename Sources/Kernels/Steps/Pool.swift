// Pooling: kernels/pool.cl.

import CLRuntime
import CMicrokernels

/// Maximum or average over windows, and the cotangents of their inputs.
package struct Pool: Step {
    enum Kind: String {
        case maxPool = "max_pool"
        case maxPoolTaken = "max_pool_taken"  // integers: which tap of each window is its largest
        case maxPoolVJP = "max_pool_vjp"
        case averagePool = "average_pool"
        case averagePoolVJP = "average_pool_vjp"
    }
    let kind: Kind
    let pooling: wb_pool
    let inputs: [Value]  // x; or dy; max_pool_vjp: what max_pool_taken found, and dy
    let output: Value

    package var kernel: String { kind.rawValue }
    package var reads: [Value] { inputs }
    package var writes: [Value] { [output] }
    package var readsViews: Bool { true }
    package var operations: Int {
        Int(pooling.n) * Int(pooling.od) * Int(pooling.oh) * Int(pooling.ow) * Int(pooling.c)
            * Int(pooling.kd) * Int(pooling.kh) * Int(pooling.kw)
    }
    /// Vectors hold sixteen channels, of which there may be fewer, and the way back searches.
    package var weight: Double {
        let isBack = kind == .maxPoolVJP || kind == .averagePoolVJP
        return (isBack ? 64 : 16) * 16 / Double(min(16, max(1, pooling.c)))
    }
    /// Whether there are no more axes than two.
    var isFlat: Bool { pooling.d == 1 && pooling.od == 1 && pooling.kd == 1 && pooling.pad_d == 0 }
    private var rows: Int {
        switch kind {
        case .maxPool, .maxPoolTaken, .averagePool:
            Int(pooling.n) * Int(pooling.od) * Int(pooling.oh) * Int(pooling.ow)
        case .maxPoolVJP, .averagePoolVJP: Int(pooling.n) * Int(pooling.d) * Int(pooling.h) * Int(pooling.w)
        }
    }

    package func run(_ cpu: CPUFrame) {
        let x = inputs.map(cpu.pointer)
        let y = cpu.pointer(output)
        withUnsafePointer(to: pooling) { window in
            cpu.split(rows, minimum: 16) { begin, end, _ in
                let (begin, end) = (Int64(begin), Int64(end))
                switch kind {
                case .maxPool: cpu.functions.max_pool(window, x[0], y, begin, end)
                case .maxPoolTaken:
                    cpu.functions.max_pool_taken(window, x[0], cpu.integers(output), begin, end)
                case .maxPoolVJP:
                    cpu.functions.max_pool_vjp(window, cpu.integers(inputs[0]), x[1], y, begin, end)
                case .averagePool: cpu.functions.average_pool(window, x[0], y, begin, end)
                case .averagePoolVJP: cpu.functions.average_pool_vjp(window, x[0], y, begin, end)
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let arguments = inputs.map(frame.buffer) + [frame.buffer(output), .structure(pooling)]
        let axes = isFlat ? "" : " -DWB_AXES=3"
        switch frame.device.shape {
        case .cpu:
            return [
                try frame.launch(
                    kernel, in: "pool", options: "-DWB_CPU_SHAPE=1" + axes, arguments, over: CLSize(1, rows),
                    inGroupsOf: CLSize(1, 8))
            ]
        case .gpu:
            return [
                try frame.launch(
                    kernel, in: "pool", options: axes, arguments, columns: Int(pooling.c), rows: rows)
            ]
        }
    }
}
