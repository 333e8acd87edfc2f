// Normalisations of rows, and what they pass back: kernels/normalise.cl.

import CLRuntime
import CMicrokernels

/// y = (x − mean) / √(variance + ε) · scale + bias over rows of elements; or the cotangent of x.
package struct Normalise: Step {
    let norm: wb_norm
    /// x, and the cotangent of y if that of x is asked for.
    let inputs: [Value]
    /// Where runs begin, scale, and bias on the way forward.
    let parameters: [Value]
    let output: Value
    let rows: Int

    package var kernel: String { inputs.count == 1 ? "normalise" : "normalise_vjp" }
    package var reads: [Value] { inputs + parameters }
    package var writes: [Value] { [output] }
    package var readsViews: Bool { true }
    package var operations: Int { rows * Int(norm.runs) * Int(norm.length) }

    package func run(_ cpu: CPUFrame) {
        let (x, y) = (inputs.map(cpu.pointer), cpu.pointer(output))
        let offsets = cpu.integers(parameters[0])
        let (scale, units) = (cpu.pointer(parameters[1]), Int(norm.units))
        withUnsafePointer(to: norm) { norm in
            cpu.split(units, minimum: max(1, 8192 * units / max(1, operations))) { begin, end, _ in
                if x.count == 1 {
                    cpu.functions.normalise(
                        norm, offsets, x[0], scale, cpu.pointer(parameters[2]), y, Int64(begin), Int64(end))
                } else {
                    cpu.functions.normalise_vjp(
                        norm, offsets, x[0], x[1], scale, y, Int64(begin), Int64(end))
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let values = [inputs[0], parameters[0]] + inputs.dropFirst() + parameters.dropFirst() + [output]
        let arguments = values.map(frame.buffer) + [.structure(norm)]
        switch frame.device.shape {
        case .cpu:
            return [
                try frame.launch(
                    kernel, in: "normalise", options: "-DWB_CPU_SHAPE=1", arguments, count: Int(norm.units))
            ]
        case .gpu:
            return [
                try frame.launch(
                    kernel, in: "normalise", arguments, over: CLSize(Int(WB_LANES), rows),
                    inGroupsOf: CLSize(Int(WB_LANES), 4))
            ]
        }
    }
}

/// What is normalised together, and by what.
struct NormalisedRows {
    /// The axes of a row, in the order in which its elements are counted: the last one innermost.
    var axes: [Int]
    /// Factors and terms, and how far apart in both are those of neighbours along each dimension; 0 where they have the same.
    var scale: HostTensor?
    var bias: HostTensor?
    var strides: [Int]
    /// Whether the mean is taken off.
    var isCentred = true
    var epsilon: Float
    /// Whether epsilon is added to the root, not under it.
    var isOutside = false
}

extension Tape {
    /// The cotangent of `x` from that of the result, as if the deviations of the rows were constants: v − the mean of v, with v = scale dy / deviation.
    mutating func centre(_ x: Value, _ rows: NormalisedRows, cotangent dy: Value) throws -> Value {
        let shape = self.shape(x)
        let axes = rows.axes.sorted()
        let count = Float(shape.count(axes))
        let deviations = map(WB_MAP_subtract, x, reduce(x, axes: axes, divisor: count))
        let variance = reduce(deviations, axes: axes, WB_REDUCE_SQUARES, divisor: count)
        var v = dy
        if let scale = rows.scale {
            let factors = view(try constant(scale), as: shape, strides: rows.strides, offset: 0)
            v = map(WB_MAP_multiply, v, factors)
        }
        if rows.isOutside {
            let root = map(WB_MAP_sqrt, variance)
            v = map(WB_MAP_divide, v, map(WB_MAP_add, root, fill(self.shape(root), with: rows.epsilon)))
        } else {
            v = map(WB_MAP_multiply, v, map(WB_MAP_inverse_root, variance, a: rows.epsilon))
        }
        return map(WB_MAP_subtract, v, reduce(v, axes: axes, divisor: count))
    }

    /// The rows of `x` normalised; or the cotangent of `x`, from that of the result. It lies as `x` does where that has no gaps.
    mutating func normalise(_ x: Value, _ rows: NormalisedRows, cotangent dy: Value? = nil) throws -> Value {
        let x = hasNoGaps(x) ? x : dense(x)
        let (shape, strides) = (self.shape(x), self.strides(x))
        let y = isDense(x) ? value(shape) : view(value([shape.count]), as: shape, strides: strides, offset: 0)
        if isSketch { return y }
        var inputs = [x]
        if let dy {
            if shape.strides(self.strides(dy), equal: strides) {
                inputs.append(dy)
            } else {
                let aligned = view(value([shape.count]), as: shape, strides: strides, offset: 0)
                copy(dy, into: aligned, strides: strides)
                inputs.append(aligned)
            }
        }

        // The dimensions of a row, those that lie evenly as one.
        var walked: [(extent: Int, stride: Int, z: Int)] = []
        for axis in rows.axes where shape.dims[axis] > 1 {
            let (extent, stride, z) = (shape.dims[axis], strides[axis], rows.strides[axis])
            if let last = walked.last, last.stride == stride * extent, last.z == z * extent {
                walked[walked.count - 1] = (last.extent * extent, stride, z)
            } else {
                walked.append((extent, stride, z))
            }
        }
        let inner = walked.popLast() ?? (1, 1, 0)
        let outer = walked
        let runs = outer.reduce(1) { $0 * $1.extent }
        let offsets = weights(
            PackedWeights(
                integers: 2 * runs, key: .offsets([-1] + outer.flatMap { [$0.extent, $0.stride, $0.z] })
            ) { table in
                for run in 0..<runs {
                    var (rest, at, z) = (run, 0, 0)
                    for part in outer.reversed() {
                        at += rest % part.extent * part.stride
                        z += rest % part.extent * part.z
                        rest /= part.extent
                    }
                    (table[run], table[runs + run]) = (Int32(at), Int32(z))
                }
            })

        let kept = shape.dims.indices.filter { !rows.axes.contains($0) }
        let grid = Grid(
            dims: kept.map { shape.dims[$0] }, x: kept.map { strides[$0] }, z: kept.map { rows.strides[$0] },
            y: kept.map { strides[$0] }, x0: offset(x))
        let innermost = grid.strides
        let isAlong = inner.stride == 1 && inner.z <= 1 && (runs == 1 || inner.extent % 16 == 0)
        let isAcross = innermost.x == 1 && innermost.z <= 1 && grid.inner >= 16
        // As the kernels name them: along, across, one by one.
        let form: Int32 = isAlong && inner.extent >= 16 ? 1 : isAcross ? 2 : 0
        let units = form == 2 ? grid.outer * ((grid.inner + 15) / 16) : (grid.count + 3) / 4
        let norm = wb_norm(
            rows: grid.raw, dy0: Int32(inputs.last.map(offset)!), runs: Int32(runs),
            length: Int32(inner.extent),
            step: Int32(inner.stride), z_step: Int32(inner.z), form: form, units: Int32(units),
            centred: rows.isCentred ? 1 : 0, outside: rows.isOutside ? 1 : 0, epsilon: rows.epsilon)

        func list(_ tensor: HostTensor?, standard: Float) throws -> Value {
            // In row-major order, whatever its rank.
            if let tensor { return try constant(tensor.reshaped([tensor.shape.count])) }
            let count = rows.scale?.shape.count ?? 1
            if standard == 0 { return zeros(count) }
            return weights(
                PackedWeights(count: count, key: .numbers([standard.bitPattern], layout: [count])) {
                    $0.initialize(repeating: standard, count: count)
                })
        }
        var parameters = [offsets, try list(rows.scale, standard: 1)]
        if dy == nil { parameters.append(try list(rows.bias, standard: 0)) }
        add(Normalise(norm: norm, inputs: inputs, parameters: parameters, output: y, rows: grid.count))
        return y
    }

    /// Whether the elements fill the memory between the first and the last of them, in some order of the dimensions.
    func hasNoGaps(_ x: Value) -> Bool {
        if isDense(x) { return true }
        var next = 1
        for (extent, stride) in zip(shape(x).dims, strides(x)).sorted(by: { $0.1 < $1.1 }) where extent > 1 {
            guard stride == next else { return false }
            next *= extent
        }
        return true
    }
}
