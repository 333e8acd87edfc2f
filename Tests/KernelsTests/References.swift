// The operators in double precision, straight from their definitions in ONNX.

import Foundation

enum Reference {
    /// The pads (top, left, bottom, right) and extents of a window, as ONNX defines them.
    struct Window: Sendable {
        var kernel: [Int], strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], autoPad = "NOTSET",
            ceil = false

        func place(_ size: [Int]) -> (pads: [Int], out: [Int]) {
            var pads = autoPad == "VALID" ? [0, 0, 0, 0] : self.pads
            var out = [0, 0]
            for d in 0..<2 {
                let reach = (kernel[d] - 1) * dilations[d] + 1
                if autoPad.hasPrefix("SAME") {
                    out[d] = Int((Double(size[d]) / Double(strides[d])).rounded(.up))
                    let total = max((out[d] - 1) * strides[d] + reach - size[d], 0)
                    pads[d] = autoPad == "SAME_LOWER" ? (total + 1) / 2 : total / 2
                    pads[d + 2] = total - pads[d]
                    continue
                }
                let steps = Double(size[d] + pads[d] + pads[d + 2] - reach) / Double(strides[d])
                out[d] = Int(steps.rounded(ceil ? .up : .down)) + 1
                // A window that would start in the last pad is not there.
                if ceil && (out[d] - 1) * strides[d] >= size[d] + pads[d] { out[d] -= 1 }
            }
            return (pads, out)
        }
    }

    /// Calls `body` for each product of a convolution: positions in y, x and w.
    private static func products(
        _ x: [Int], _ w: [Int], _ window: Window, groups: Int, out: [Int], pads: [Int],
        _ body: (Int, Int, Int) -> Void
    ) {
        let perGroup = w[0] / groups
        for n in 0..<x[0] {
            for o in 0..<w[0] {
                for oy in 0..<out[0] {
                    for ox in 0..<out[1] {
                        let y = ((n * w[0] + o) * out[0] + oy) * out[1] + ox
                        for ky in 0..<w[2] {
                            let iy = oy * window.strides[0] - pads[0] + ky * window.dilations[0]
                            if iy < 0 || iy >= x[2] { continue }
                            for kx in 0..<w[3] {
                                let ix = ox * window.strides[1] - pads[1] + kx * window.dilations[1]
                                if ix < 0 || ix >= x[3] { continue }
                                for c in 0..<w[1] {
                                    let from = o / perGroup * w[1] + c
                                    body(
                                        y, ((n * x[1] + from) * x[2] + iy) * x[3] + ix,
                                        ((o * w[1] + c) * w[2] + ky) * w[3] + kx)
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    static func conv(_ x: Tensor, _ w: Tensor, _ b: Tensor?, _ window: Window, groups: Int) -> Tensor {
        let (pads, out) = window.place([x.dims[2], x.dims[3]])
        var y = Tensor(zeros: [x.dims[0], w.dims[0], out[0], out[1]])
        y.values.withUnsafeMutableBufferPointer { sums in
            y.magnitudes.withUnsafeMutableBufferPointer { magnitudes in
                x.values.withUnsafeBufferPointer { inputs in
                    w.values.withUnsafeBufferPointer { weights in
                        products(x.dims, w.dims, window, groups: groups, out: out, pads: pads) { y, x, w in
                            let term = inputs[x] * weights[w]
                            sums[y] += term
                            magnitudes[y] += abs(term)
                        }
                    }
                }
            }
        }
        guard let b else { return y }
        for i in y.values.indices {
            let term = b.values[i / (out[0] * out[1]) % w.dims[0]]
            y.values[i] += term
            y.magnitudes[i] += abs(term)
        }
        return y
    }

    /// The gradient of Σ r·conv(x) with respect to x.
    static func convGradient(_ x: Tensor, _ w: Tensor, _ r: Tensor, _ window: Window, groups: Int) -> Tensor {
        let (pads, out) = window.place([x.dims[2], x.dims[3]])
        var g = Tensor(zeros: x.dims)
        g.values.withUnsafeMutableBufferPointer { sums in
            g.magnitudes.withUnsafeMutableBufferPointer { magnitudes in
                r.values.withUnsafeBufferPointer { cotangents in
                    w.values.withUnsafeBufferPointer { weights in
                        products(x.dims, w.dims, window, groups: groups, out: out, pads: pads) { y, x, w in
                            let term = cotangents[y] * weights[w]
                            sums[x] += term
                            magnitudes[x] += abs(term)
                        }
                    }
                }
            }
        }
        return g
    }

    static func batchNormalization(_ i: [Tensor], epsilon: Double) -> Tensor {
        let (x, scale, bias, mean, variance) = (i[0], i[1].values, i[2].values, i[3].values, i[4].values)
        return Tensor(sums: x.dims) { index, add in
            let c = index[1]
            let factor = scale[c] / (variance[c] + epsilon).squareRoot()
            add(x[index] * factor)
            add(-mean[c] * factor)
            add(bias[c])
        }
    }

    static func gemm(_ i: [Tensor?], alpha: Double, beta: Double, transA: Bool, transB: Bool) -> Tensor {
        let a = i[0]!
        let b = i[1]!
        let c = i.count > 2 ? i[2] : nil
        let k = a.dims[transA ? 0 : 1]
        return Tensor(sums: [a.dims[transA ? 1 : 0], b.dims[transB ? 0 : 1]]) { index, add in
            for t in 0..<k {
                add(
                    alpha * a[transA ? [t, index[0]] : [index[0], t]]
                        * b[transB ? [index[1], t] : [t, index[1]]])
            }
            if let c { add(beta * c.broadcast(index)) }
        }
    }

    /// As NumPy's matmul.
    static func matMul(_ a: Tensor, _ b: Tensor) -> Tensor {
        let p = a.dims.count == 1 ? Tensor([1] + a.dims, a.values) : a
        let q = b.dims.count == 1 ? Tensor(b.dims + [1], b.values) : b
        let rank = max(p.dims.count, q.dims.count) - 2
        func lead(_ dims: [Int], _ d: Int) -> Int {
            let at = d - (rank - (dims.count - 2))
            return at < 0 ? 1 : dims[at]
        }
        let batch = (0..<rank).map { max(lead(p.dims, $0), lead(q.dims, $0)) }
        let (m, k, n) = (p.dims[p.dims.count - 2], p.dims.last!, q.dims.last!)
        func part(_ dims: [Int], _ index: [Int]) -> [Int] {
            zip(index.prefix(rank).suffix(dims.count - 2), dims).map { $1 == 1 ? 0 : $0 }
        }
        var y = Tensor(sums: batch + [m, n]) { index, add in
            for t in 0..<k {
                add(
                    p[part(p.dims, index) + [index[rank], t]] * q[part(q.dims, index) + [t, index[rank + 1]]])
            }
        }
        y.dims = batch + (a.dims.count == 1 ? [] : [m]) + (b.dims.count == 1 ? [] : [n])
        return y
    }

    static func unary(_ x: Tensor, _ f: (Double) -> Double, magnitude: ((Double) -> Double)? = nil) -> Tensor
    {
        var y = Tensor(x.dims, x.values.map(f))
        if let magnitude { y.magnitudes = x.values.map(magnitude) }
        return y
    }

    static func binary(_ a: Tensor, _ b: Tensor, _ f: (Double, Double) -> Double) -> Tensor {
        let rank = max(a.dims.count, b.dims.count)
        let dims = (0..<rank).map { d -> Int in
            let (i, j) = (d - (rank - a.dims.count), d - (rank - b.dims.count))
            let (p, q) = (i < 0 ? 1 : a.dims[i], j < 0 ? 1 : b.dims[j])
            return p == 1 ? q : p
        }
        return Tensor(dims) { f(a.broadcast($0), b.broadcast($0)) }
    }

    /// The cells of the window of output (oy, ox) that lie on the image, and how many cells the padded image has there.
    private static func cells(_ w: Window, _ size: [Int], _ pads: [Int], _ o: [Int]) -> (
        cells: [[Int]], padded: Int
    ) {
        var cells: [[Int]] = []
        var padded = 0
        for ky in 0..<w.kernel[0] {
            for kx in 0..<w.kernel[1] {
                let y = o[0] * w.strides[0] - pads[0] + ky * w.dilations[0]
                let x = o[1] * w.strides[1] - pads[1] + kx * w.dilations[1]
                if y < size[0] + pads[2] && x < size[1] + pads[3] { padded += 1 }
                if y >= 0 && y < size[0] && x >= 0 && x < size[1] { cells.append([y, x]) }
            }
        }
        return (cells, padded)
    }

    static func maxPool(_ x: Tensor, _ w: Window) -> Tensor {
        let size = Array(x.dims[2...])
        let (pads, out) = w.place(size)
        return Tensor([x.dims[0], x.dims[1]] + out) { i in
            cells(w, size, pads, [i[2], i[3]]).cells.map { x[[i[0], i[1]] + $0] }.max() ?? -.infinity
        }
    }

    static func averagePool(_ x: Tensor, _ w: Window, countPads: Bool) -> Tensor {
        let size = Array(x.dims[2...])
        let (pads, out) = w.place(size)
        return Tensor(sums: [x.dims[0], x.dims[1]] + out) { i, add in
            let (cells, padded) = cells(w, size, pads, [i[2], i[3]])
            for cell in cells { add(x[[i[0], i[1]] + cell] / Double(countPads ? padded : cells.count)) }
        }
    }

    static func reduce(_ x: Tensor, axes: [Int], keep: Bool, mean: Bool) -> Tensor {
        let axes = axes.map { $0 < 0 ? $0 + x.dims.count : $0 }
        let reduced = axes.map { x.dims[$0] }
        var y = Tensor(sums: x.dims.indices.map { axes.contains($0) ? 1 : x.dims[$0] }) { index, add in
            forEachIndex(reduced) { at in
                var index = index
                for (axis, i) in zip(axes, at) { index[axis] = i }
                add(x[index])
            }
        }
        if mean {
            let count = Double(reduced.reduce(1, *))
            y.values = y.values.map { $0 / count }
            y.magnitudes = y.magnitudes.map { $0 / count }
        }
        if !keep { y.dims = x.dims.indices.filter { !axes.contains($0) }.map { x.dims[$0] } }
        return y
    }

    static func softmax(_ x: Tensor, axis: Int, flattens: Bool, logarithm: Bool) -> Tensor {
        let axis = axis < 0 ? axis + x.dims.count : axis
        var x = x
        let dims = x.dims
        var along = axis
        if flattens {
            x.dims = [dims[..<axis].reduce(1, *), dims[axis...].reduce(1, *)]
            along = 1
        }
        var y = Tensor(zeros: x.dims)
        var i = 0
        forEachIndex(x.dims) { index in
            let row = (0..<x.dims[along]).map { j -> Double in
                var at = index
                at[along] = j
                return x[at]
            }
            let largest = row.max()!
            let sum = row.map { exp($0 - largest) }.reduce(0, +)
            let shifted = x[index] - largest
            y.values[i] = logarithm ? shifted - log(sum) : exp(shifted) / sum
            // The sum's own rounding error is one of the logarithm, however small that is.
            y.magnitudes[i] = logarithm ? abs(shifted) + log(sum) + 1 : y.values[i] * (1 + abs(shifted))
            i += 1
        }
        y.dims = dims
        return y
    }

    static func lrn(_ x: Tensor, size: Int, alpha: Double, beta: Double, bias: Double) -> Tensor {
        Tensor(x.dims) { i in
            let first = max(0, i[1] - (size - 1) / 2)
            let last = min(x.dims[1] - 1, i[1] + size / 2)
            var sum = 0.0
            for c in first...last { sum += pow(x[[i[0], c, i[2], i[3]]], 2) }
            return x[i] / pow(bias + alpha / Double(size) * sum, beta)
        }
    }

    static func shaped(_ x: Tensor, _ dims: [Int]) -> Tensor { Tensor(dims, x.values) }

    static func transpose(_ x: Tensor, _ order: [Int]) -> Tensor {
        Tensor(order.map { x.dims[$0] }) { i in
            var from = i
            for (d, axis) in order.enumerated() { from[axis] = i[d] }
            return x[from]
        }
    }

    static func concat(_ parts: [Tensor], axis: Int) -> Tensor {
        let axis = axis < 0 ? axis + parts[0].dims.count : axis
        var dims = parts[0].dims
        dims[axis] = parts.map { $0.dims[axis] }.reduce(0, +)
        return Tensor(dims) { i in
            var i = i
            for part in parts {
                if i[axis] < part.dims[axis] { return part[i] }
                i[axis] -= part.dims[axis]
            }
            return .nan
        }
    }

    /// The indices that Python's start:end:step takes.
    static func slice(_ extent: Int, _ start: Int, _ end: Int, _ step: Int) -> [Int] {
        var from = start < 0 ? start + extent : start
        var to = end < 0 ? end + extent : end
        (from, to) =
            step > 0
            ? (min(max(from, 0), extent), min(max(to, 0), extent))
            : (min(max(from, -1), extent - 1), min(max(to, -1), extent - 1))
        return Array(stride(from: from, to: to, by: step))
    }

    /// Takes `indices[axis]` of each axis named.
    static func pick(_ x: Tensor, _ indices: [Int: [Int]]) -> Tensor {
        Tensor(x.dims.indices.map { indices[$0]?.count ?? x.dims[$0] }) { i in
            x[i.indices.map { indices[$0]?[i[$0]] ?? i[$0] }]
        }
    }

    static func pad(_ x: Tensor, _ pads: [Int], mode: String, value: Double) -> Tensor {
        let rank = x.dims.count
        return Tensor((0..<rank).map { x.dims[$0] + pads[$0] + pads[$0 + rank] }) { i in
            var from = i
            for d in 0..<rank {
                let n = x.dims[d]
                var j = i[d] - pads[d]
                // Beyond the first mirror image there is the next.
                if mode == "reflect" { while j < 0 || j >= n { j = j < 0 ? -j : 2 * (n - 1) - j } }
                switch mode {
                case "edge": from[d] = min(max(j, 0), n - 1)
                case "reflect": from[d] = j
                case "wrap": from[d] = (j % n + n) % n
                default:
                    if j < 0 || j >= n { return value }
                    from[d] = j
                }
            }
            return x[from]
        }
    }
}
