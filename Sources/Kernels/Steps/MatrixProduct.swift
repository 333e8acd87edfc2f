// Products of matrices that are computed: the right one is packed like weights (kernels/product.cl), and the rest is a convolution.

import CLRuntime
import CMicrokernels

/// y = a b for pairs of matrices.
package struct MatrixProduct: Step {
    let a: Value, b: Value, zeros: Value, y: Value
    let panels: wb_panels
    /// Each pair is a group, each row of `a` a pixel.
    let product: wb_conv
    /// The packed right operands, and sums of chunks that are added up afterwards.
    let packed: Value, sums: Value

    package var kernel: String { "product" }
    package var readsViews: Bool { true }
    package var reads: [Value] { [a, b, zeros] }
    package var writes: [Value] { [y] }
    package var workspaces: [Value] { [packed, sums] }
    package var operations: Int { 2 * product.rows * Int(product.oc) * Int(panels.k) }
    package var weight: Double { 2 }

    private var matrixPanels: Int { (Int(panels.n) + Int(WB_PANEL) - 1) / Int(WB_PANEL) }
    private var packedCount: Int { Int(panels.batch) * matrixPanels * Int(panels.k) * Int(WB_PANEL) }

    package func room(on device: Device) -> [Int] {
        var sums = 0
        if case .openCL(let device) = device { sums = Convolution.sums(device, product) }
        return [packedCount, sums]
    }

    package func run(_ cpu: CPUFrame) {
        let (pb, packed) = (cpu.pointer(b), cpu.pointer(packed))
        let operands = wb_conv_operands(
            x: cpu.pointer(a), weights: packed, bias: nil, residual: nil, zeros: cpu.pointer(zeros),
            y: cpu.pointer(y))
        let (functions, each, rows, matrices) = (
            cpu.functions, matrixPanels, product.rows, Int(panels.batch)
        )
        func pack(_ range: Range<Int>) {
            withUnsafePointer(to: panels) {
                functions.pack_panels($0, pb, packed, Int32(range.lowerBound), Int32(range.upperBound))
            }
        }
        func multiply(_ rows: Range<Int>, panels: Range<Int>, _ scratch: UnsafeMutablePointer<wb_scratch>) {
            withUnsafePointer(to: product) { product in
                withUnsafePointer(to: operands) { operands in
                    functions.convolution(
                        product, operands, scratch, Int64(rows.lowerBound), Int64(rows.upperBound),
                        Int32(panels.lowerBound), Int32(panels.upperBound))
                }
            }
        }
        // Of many pairs, each is packed and multiplied by one thread, so that its panels are in that thread's cache; of few, the
        // threads share the panels.
        if matrices >= 2 * cpu.threads || cpu.threads == 1 {
            cpu.split(matrices) { begin, end, scratch in
                for matrix in begin..<end {
                    pack(matrix * each..<(matrix + 1) * each)
                    multiply(0..<rows, panels: matrix * each..<(matrix + 1) * each, scratch)
                }
            }
        } else {
            cpu.split(matrices * each) { begin, end, _ in pack(begin..<end) }
            let parts = min(rows, 2 * cpu.threads)
            cpu.split(matrices * parts) { begin, end, scratch in
                for unit in begin..<end {
                    let (matrix, part) = (unit / parts, unit % parts)
                    multiply(
                        rows * part / parts..<rows * (part + 1) / parts,
                        panels: matrix * each..<(matrix + 1) * each, scratch)
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let (pa, packed) = (frame.buffer(a), frame.buffer(packed))
        let arguments: [CLArgument] = [frame.buffer(b), packed, .structure(panels)]
        let pack: OpenCLLaunch
        switch frame.device.shape {
        case .cpu:
            let run = 256
            pack = try frame.launch(
                "pack_panels", in: "product", options: "-DWB_CPU_SHAPE=1 -DWB_RUN=\(run)", arguments,
                global: CLSize((Int(panels.k) + run - 1) / run, Int(panels.batch) * matrixPanels),
                local: [1, 1])
        case .gpu:
            pack = try frame.launch("pack_panels", in: "product", arguments, count: packedCount)
        }
        return try [pack]
            + Convolution.launches(
                frame, product, [pa, packed, pa, pa, frame.buffer(zeros), frame.buffer(y)], sums: sums)
    }
}

extension Tape {
    /// The products of matrices, the last two dimensions of `a` and `b`, whose other dimensions are broadcast.
    ///
    /// The result lies as the rows of `b` do where its columns are the innermost: so what is multiplied by values of heads side by side has
    /// its heads side by side. Else it is row-major.
    package mutating func product(_ a: Value, _ b: Value) throws -> Value {
        let (p, q) = (shape(a).dims, shape(b).dims)
        let (m, k, n) = (p[p.count - 2], p[p.count - 1], q[q.count - 1])
        precondition(q[q.count - 2] == k)
        guard let batch = Shape.broadcast(Shape(Array(p.dropLast(2))), Shape(Array(q.dropLast(2))))?.dims,
            batch.count <= 4
        else { throw OperatorError("multiplies \(shape(a)) by \(shape(b)), which do not fit") }
        let result = try Shape(batch + [m, n]).checked()
        if isSketch { return value(result) }

        // Rows of the left operand are read as they lie, if their terms are neighbours. Else the operands may change their roles, each
        // transposed; or the smaller one is copied.
        var a = a
        if strides(a).last! != 1 && k > 1 {
            let other = strides(b)[q.count - 2] == 1
            if other || shape(b).count < shape(a).count {
                let y = try product(
                    other ? transposed(b) : rowMajor(transposed(b)), transposed(a))
                return transposed(y)
            }
            a = rowMajor(a)
        }

        var right = strides(b, broadcastTo: Shape(batch + q.suffix(2)))
        let (kStride, nStride) = (right[batch.count], right[batch.count + 1])
        right.removeLast(2)
        // In which order the result's dimensions lie, the outermost first.
        var order = Array(0...batch.count)
        if nStride == 1, zip(batch, right).contains(where: { $0 > 1 && $1 != 0 && abs($1) < abs(kStride) }) {
            let place = (right + [kStride]).map { $0 == 0 ? Int.max : abs($0) }
            order.sort { (-place[$0], $0) < (-place[$1], $1) }
        }
        func resultStrides(_ order: [Int]) -> [Int] {
            var (strides, next) = ([Int](repeating: 0, count: batch.count + 1), n)
            for d in order.reversed() {
                strides[d] = next
                next *= result.dims[d]
            }
            return strides
        }
        func groups(_ a: Value, _ order: [Int]) -> ProductGroups? {
            let left = Array(strides(a, broadcastTo: Shape(batch + [m, k])).dropLast())
            return ProductGroups(batch: batch, rows: m, x: left, y: resultStrides(order))
        }
        var found = groups(a, order)
        if found == nil {
            a = rowMajor(a)
            found = groups(a, order)
        }
        if found == nil {
            order = Array(0...batch.count)
            found = groups(a, order)
        }
        // A broadcast operand may not be in steps.
        if found == nil {
            let all = Shape(batch + [m, k])
            a = rowMajor(view(a, as: all, strides: strides(a, broadcastTo: all), offset: offset(a)))
            found = groups(a, order)
        }
        var steps = found!
        // One right operand for all: their rows are those of one product.
        var matrices = batch
        if right.allSatisfy({ $0 == 0 }), let one = steps.merged {
            (steps, matrices, right) = (one, [], [])
        }

        func int(_ i: Int) -> Int32 { Int32(i) }
        func four(_ values: [Int], pad: Int) -> (Int32, Int32, Int32, Int32) {
            let all = (Array(repeating: pad, count: 4 - values.count) + values).map { Int32($0) }
            return (all[0], all[1], all[2], all[3])
        }
        let count = steps.groups
        let packedPanels = count * ((n + Int(WB_PANEL) - 1) / Int(WB_PANEL))
        _ = try Shape([packedPanels, k, Int(WB_PANEL)]).checked()
        _ = try Shape([count, k]).checked()
        let y = value([result.count])
        add(
            MatrixProduct(
                a: a, b: b, zeros: zeros(max(64, k)), y: y,
                panels: wb_panels(
                    batch: int(count), k: int(k), n: int(n), start: int(offset(b)), k_stride: int(kStride),
                    n_stride: int(nStride), batch_dims: four(matrices, pad: 1),
                    batch_strides: four(right, pad: 0)),
                product: wb_conv(
                    n: 1, d: 1, h: 1, w: int(steps.rows), c: int(count * k), od: 1, oh: 1,
                    ow: int(steps.rows), oc: int(count * n), groups: int(count), inner: int(steps.inner),
                    x_pixel: int(steps.x.row), x_group: int(steps.x.next), y_pixel: int(steps.y.row),
                    y_group: int(steps.y.next), x0: int(offset(a)), x_outer: int(steps.x.outer),
                    y_outer: int(steps.y.outer), kd: 1, kh: 1, kw: 1, stride_d: 1, stride_h: 1,
                    stride_w: 1, pad_d: 0, pad_h: 0, pad_w: 0, dilation_d: 1, dilation_h: 1, dilation_w: 1,
                    bias: 0, residual: 0, clip: 0, lo: 0, hi: 0), packed: workspace(), sums: workspace()))
        return view(y, as: result, strides: resultStrides(order) + [1], offset: 0)
    }

    /// The last two dimensions exchanged.
    package mutating func transposed(_ x: Value) -> Value {
        let rank = shape(x).rank
        return transpose(x, Array(0..<rank - 2) + [rank - 1, rank - 2])
    }
}

/// How pairs of matrices lie: in rows of `inner` pairs.
private struct ProductGroups {
    struct Steps {
        /// Floats from a row of a matrix to the next, from a matrix to the next, from a row of matrices to the next.
        var row: Int, next: Int, outer: Int
    }
    var groups: Int, inner: Int, rows: Int
    var x: Steps, y: Steps

    /// - Parameters:
    ///   - x, y: strides of the dimensions of the batch and, last, of the matrices' rows.
    /// - Returns: nil if that takes more steps.
    init?(batch: [Int], rows: Int, x: [Int], y: [Int]) {
        var merged: [(dim: Int, x: Int, y: Int)] = []
        for d in batch.indices where batch[d] != 1 {
            if let last = merged.last, last.x == x[d] * batch[d], last.y == y[d] * batch[d] {
                merged[merged.count - 1] = (last.dim * batch[d], x[d], y[d])
            } else {
                merged.append((batch[d], x[d], y[d]))
            }
        }
        guard merged.count <= 2 else { return nil }
        let next = merged.last ?? (dim: 1, x: 0, y: 0)
        let outer = merged.count == 2 ? merged[0] : (dim: 1, x: 0, y: 0)
        (groups, inner, self.rows) = (next.dim * outer.dim, next.dim, rows)
        // (A single row has no next one.)
        self.x = Steps(row: rows == 1 ? next.x : x.last!, next: next.x, outer: outer.x)
        self.y = Steps(row: rows == 1 ? next.y : y.last!, next: next.y, outer: outer.y)
    }

    /// All as one matrix with more rows, if those lie evenly.
    var merged: ProductGroups? {
        func isEven(_ s: Steps) -> Bool {
            (inner == 1 || s.next == s.row * rows) && (groups == inner || s.outer == s.next * inner)
        }
        guard isEven(x), isEven(y) else { return nil }
        var one = self
        (one.groups, one.inner, one.rows) = (1, 1, rows * groups)
        (one.x.next, one.x.outer, one.y.next, one.y.outer) = (0, 0, 0, 0)
        return one
    }
}
