// A second opinion: ONNX graphs in double precision, plain loops straight from ONNX's definitions of the operators, sharing no code with
// the program.

import Foundation
import ONNX
import TestSupport

/// Numbers with a shape, row-major. Integers are held as doubles too.
package struct Array64: Sendable {
    package var dims: [Int]
    package var values: [Double]
    package var isInteger = false

    package var count: Int { values.count }

    package init(dims: [Int], values: [Double]) { (self.dims, self.values) = (dims, values) }

    package init(dims: [Int], repeating value: Double) {
        self.init(dims: dims, values: Array(repeating: value, count: dims.reduce(1, *)))
    }

    package func map(_ body: (Double) -> Double) -> Array64 {
        Array64(dims: dims, values: values.map(body))
    }

    var strides: [Int] {
        var strides = [Int](repeating: 1, count: dims.count)
        for d in dims.indices.dropLast().reversed() { strides[d] = strides[d + 1] * dims[d + 1] }
        return strides
    }

    /// A tensor of shape `dims` of this one's elements: index i of dimension d moves by `moves[d][i]`; where a move is nil, the element is
    /// `fill`.
    func picked(_ moves: [[Int?]], fill: Double = 0) -> Array64 {
        var places: [Int?] = [0]
        for along in moves {
            var next: [Int?] = []
            next.reserveCapacity(places.count * along.count)
            for place in places {
                for move in along {
                    if let place, let move { next.append(place + move) } else { next.append(nil) }
                }
            }
            places = next
        }
        return Array64(
            dims: moves.map(\.count), values: places.map { place in place.map { values[$0] } ?? fill })
    }

    /// The moves that keep every index.
    var allMoves: [[Int?]] { zip(dims, strides).map { extent, stride in (0..<extent).map { $0 * stride } } }

    /// This tensor stretched to `dims`, which it broadcasts to.
    func broadcast(to wanted: [Int]) -> Array64 {
        if dims == wanted { return self }
        let missing = wanted.count - dims.count
        let strides = strides
        return picked(
            wanted.indices.map { d in
                let own = d - missing
                let step = own < 0 || dims[own] == 1 ? 0 : strides[own]
                return (0..<wanted[d]).map { $0 * step }
            })
    }
}

package struct Evaluator: Sendable {
    package struct Unknown: Error { package let node: String }
    package let graph: ONNXGraph
    package let opset: Int
    let constants: [String: Array64]
    /// Relative errors of up to this size are added to every constant and every result: what a computation with less precision would do.
    private let noise: Double
    private let stream: UInt64

    /// - Parameters:
    ///   - noise: errors that are put in, the same ones in every run.
    ///   - sample: which errors.
    package init(_ model: ONNXModel, noise: Double = 0, sample: Int = 0) {
        graph = model.graph
        opset = model.opset
        self.noise = noise
        stream = UInt64(sample + 1) << 32
        var constants: [String: Array64] = [:]
        for (i, name) in graph.initializers.keys.sorted().enumerated() {
            var tensor = Evaluator.array(graph.initializers[name]!)
            Evaluator.disturb(&tensor, noise, stream + UInt64(i))
            constants[name] = tensor
        }
        self.constants = constants
    }

    private static func array(_ tensor: ONNXTensor) -> Array64 {
        var array = Array64(dims: tensor.dims, values: try! tensor.floats().map(Double.init))
        array.isInteger = !tensor.type.isFloatingPoint
        return array
    }

    private static func disturb(_ tensor: inout Array64, _ noise: Double, _ stream: UInt64) {
        if noise == 0 || tensor.isInteger { return }
        var seed = SeededRandom(stream)
        var state = seed.next() | 1
        for i in tensor.values.indices {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            tensor.values[i] *= 1 + noise * (Double(state >> 11) * 0x1p-52 - 1)
        }
    }

    /// The inputs of a node. A sum without weights is one with weights of 1, so it has the errors of these in its terms.
    private func terms(_ i: Int, _ node: ONNXNode, _ values: [String: Array64]) -> [Array64?] {
        var inputs = node.inputs.map { values[$0] }
        if noise != 0, ["ReduceSum", "ReduceMean", "AveragePool", "GlobalAveragePool"].contains(node.opType),
            var x = inputs[0]
        {
            Evaluator.disturb(&x, noise, stream + 1 << 24 + UInt64(i))
            inputs[0] = x
        }
        return inputs
    }

    /// All values of the network by name.
    /// - Parameter overriding: values that are what is given here, whatever their nodes would make.
    package func run(_ input: Array64, overriding: [String: Array64] = [:]) throws -> [String: Array64] {
        var values = constants
        values[graph.inputs[0].name] = input
        values.merge(overriding) { $1 }
        for (i, node) in graph.nodes.enumerated() {
            if !overriding.isEmpty, node.outputs.allSatisfy({ $0.isEmpty || overriding[$0] != nil }) {
                continue
            }
            for (k, result) in try evaluate(node, terms(i, node, values)).enumerated()
            where k < node.outputs.count && !node.outputs[k].isEmpty && overriding[node.outputs[k]] == nil {
                var result = result
                Evaluator.disturb(&result, noise, stream + 1 << 16 + UInt64(8 * i + k))
                values[node.outputs[k]] = result
            }
        }
        return values
    }

    /// The values that depend on `names`, once they were run: only these nodes are run again.
    package func rerun(_ values: [String: Array64], changing changed: [String: Array64]) throws
        -> [String: Array64]
    {
        let before = values
        var values = values
        values.merge(changed) { $1 }
        var moved = Set(changed.keys)
        for (i, node) in graph.nodes.enumerated()
        where node.inputs.contains(where: moved.contains)
            && !node.outputs.contains(where: { changed[$0] != nil })
        {
            for (k, result) in try evaluate(node, terms(i, node, values)).enumerated()
            where k < node.outputs.count && !node.outputs[k].isEmpty {
                var result = result
                Evaluator.disturb(&result, noise, stream + 1 << 16 + UInt64(8 * i + k))
                saturate(
                    node, from: before[node.inputs[0]], to: values[node.inputs[0]], &result,
                    base: before[node.outputs[k]])
                values[node.outputs[k]] = result
                moved.insert(node.outputs[k])
            }
        }
        return values
    }

    /// What an error of an output does to a slope that is computed from it: where 1 - y² and 1 - y are small, an error of y is a
    /// large share of them. The error of the factor, times the way from where the slope is taken.
    private func saturate(
        _ node: ONNXNode, from x0: Array64?, to x: Array64?, _ y: inout Array64, base y0: Array64?
    ) {
        guard noise != 0, ["Tanh", "Sigmoid"].contains(node.opType), let x0, let x, let y0 else { return }
        let factor = node.opType == "Tanh" ? 2.0 : 1.0
        for i in y.values.indices {
            y.values[i] += noise * factor * y0.values[i] * y0.values[i] * (x.values[i] - x0.values[i])
        }
    }

    // MARK: Operators

    private func broadcast(_ a: Array64, _ b: Array64, _ body: (Double, Double) -> Double) -> Array64 {
        let rank = max(a.dims.count, b.dims.count)
        let p = Array(repeating: 1, count: rank - a.dims.count) + a.dims
        let q = Array(repeating: 1, count: rank - b.dims.count) + b.dims
        let dims = zip(p, q).map { $0 == 1 ? $1 : $0 }
        let (x, z) = (a.broadcast(to: dims).values, b.broadcast(to: dims).values)
        var values = [Double](repeating: 0, count: x.count)
        for i in values.indices { values[i] = body(x[i], z[i]) }
        return Array64(dims: dims, values: values)
    }

    private func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

    /// As the program documents it: NaN passes, and of crossed bounds the upper wins.
    private func clip(_ x: Double, _ low: Double, _ high: Double) -> Double {
        let t = x < low ? low : x
        return t > high ? high : t
    }

    /// What a node makes of its inputs.
    package func evaluate(_ node: ONNXNode, _ inputs: [Array64?]) throws -> [Array64] {
        var results = try compute(node, inputs)
        let given = inputs.compactMap { $0 }
        // The arithmetic of shapes; other nodes say for themselves.
        if !given.isEmpty, node.opType != "ConstantOfShape", node.opType != "Cast",
            given.allSatisfy(\.isInteger)
        {
            for i in results.indices { results[i].isInteger = true }
        }
        return results
    }

    private func compute(_ node: ONNXNode, _ inputs: [Array64?]) throws -> [Array64] {
        func has(_ i: Int) -> Bool { i < inputs.count && inputs[i] != nil }
        func x(_ i: Int = 0) -> Array64 { inputs[i]! }
        func list(_ i: Int) -> [Int]? { has(i) ? inputs[i]!.values.map { Int($0) } : nil }
        func axis(_ a: Int, _ rank: Int) -> Int { a < 0 ? a + rank : a }
        func number(_ name: String, _ fallback: Float) throws -> Double {
            Double(try node.float(name, default: fallback))
        }
        /// A list that became an input with operator set `from`.
        func listed(_ name: String, _ input: Int, from: Int) throws -> [Int]? {
            if opset >= from { return list(input) }
            return node.has(name) ? try node.ints(name) : nil
        }
        func reshaped(_ dims: [Int]) -> [Array64] { [Array64(dims: dims, values: x().values)] }

        switch node.opType {
        case "Identity", "Dropout": return [x()]
        case "Cast":
            var y = x()
            let type = try node.int("to")
            y.isInteger = ![1, 10, 11, 16].contains(type)
            if y.isInteger { y.values = y.values.map { $0.rounded(.towardZero) } }
            return [y]
        case "Relu": return [x().map { $0 < 0 ? 0 : $0 }]
        case "LeakyRelu":
            let alpha = try number("alpha", 0.01)
            return [x().map { $0 < 0 ? alpha * $0 : $0 }]
        case "PRelu": return [broadcast(x(0), x(1)) { $0 < 0 ? $0 * $1 : $0 }]
        case "Elu":
            let alpha = try number("alpha", 1)
            return [x().map { $0 < 0 ? alpha * expm1($0) : $0 }]
        case "Clip":
            let attributes = opset < 11
            let low = attributes ? try number("min", -.infinity) : has(1) ? x(1).values[0] : -.infinity
            let high = attributes ? try number("max", .infinity) : has(2) ? x(2).values[0] : .infinity
            return [x().map { clip($0, low, high) }]
        case "Sigmoid": return [x().map(sigmoid)]
        case "Tanh": return [x().map { tanh($0) }]
        case "Exp": return [x().map { exp($0) }]
        case "Log": return [x().map { log($0) }]
        case "Sqrt": return [x().map { $0.squareRoot() }]
        case "Erf": return [x().map { erf($0) }]
        case "Abs": return [x().map { abs($0) }]
        case "Neg": return [x().map { -$0 }]
        case "HardSigmoid":
            let (a, b) = (try number("alpha", 0.2), try number("beta", 0.5))
            return [x().map { clip(a * $0 + b, 0, 1) }]
        case "HardSwish": return [x().map { $0 * clip($0 / 6 + 0.5, 0, 1) }]
        case "Add": return [broadcast(x(0), x(1), +)]
        case "Sub": return [broadcast(x(0), x(1), -)]
        case "Mul": return [broadcast(x(0), x(1), *)]
        case "Div":
            let whole = x(0).isInteger && x(1).isInteger
            return [broadcast(x(0), x(1)) { whole ? ($0 / $1).rounded(.towardZero) : $0 / $1 }]
        case "Sum": return [inputs.indices.dropFirst().reduce(x(0)) { broadcast($0, inputs[$1]!, +) }]
        case "Conv": return [try conv(node, inputs)]
        case "BatchNormalization":
            let epsilon = try number("epsilon", 1e-5)
            let area = x().dims.dropFirst(2).reduce(1, *)
            var y = x()
            for i in y.values.indices {
                let c = i / area % x().dims[1]
                y.values[i] =
                    x(1).values[c] * (y.values[i] - x(3).values[c])
                    / (x(4).values[c] + epsilon).squareRoot() + x(2).values[c]
            }
            return [y]
        case "LRN":
            let size = try node.int("size")
            let (alpha, beta) = (try number("alpha", 1e-4), try number("beta", 0.75))
            let bias = try number("bias", 1)
            let (channels, area) = (x().dims[1], x().dims.dropFirst(2).reduce(1, *))
            var y = x()
            for i in y.values.indices {
                let c = i / area % channels
                var squares = 0.0
                for other in max(0, c - (size - 1) / 2)...min(channels - 1, c + size / 2) {
                    let v = x().values[i + (other - c) * area]
                    squares += v * v
                }
                y.values[i] /= pow(bias + alpha / Double(size) * squares, beta)
            }
            return [y]
        case "MaxPool", "AveragePool": return [try pool(node, x())]
        case "GlobalAveragePool": return [reduce(x(), [2, 3], keep: true, mean: true)]
        case "GlobalMaxPool":
            let area = x().dims[2] * x().dims[3]
            let rows = x().count / area
            return [
                Array64(
                    dims: [x().dims[0], x().dims[1], 1, 1],
                    values: (0..<rows).map { row in
                        largest(x().values[row * area..<(row + 1) * area])
                    })
            ]
        case "ReduceMean", "ReduceSum":
            let mean = node.opType == "ReduceMean"
            let axes = try listed("axes", 1, from: mean ? 18 : 13) ?? []
            let keep = try node.int("keepdims", default: 1) != 0
            let rank = x().dims.count
            if axes.isEmpty, try node.int("noop_with_empty_axes", default: 0) != 0 { return [x()] }
            return [
                reduce(
                    x(), axes.isEmpty ? Array(0..<rank) : axes.map { axis($0, rank) }, keep: keep, mean: mean)
            ]
        case "Gemm":
            let (alpha, beta) = (try number("alpha", 1), try number("beta", 1))
            let a = try node.int("transA", default: 0) != 0 ? turned(x(0)) : x(0)
            let b = try node.int("transB", default: 0) != 0 ? turned(x(1)) : x(1)
            let product = multiply(a, b).map { alpha * $0 }
            return [has(2) ? broadcast(product, x(2).map { $0 * beta }, +) : product]
        case "MatMul": return [matMul(x(0), x(1))]
        case "Softmax", "LogSoftmax":
            let dims = x().dims
            let flattens = opset < 13
            let a = axis(try node.int("axis", default: flattens ? 1 : -1), dims.count)
            let inner = flattens ? 1 : dims.dropFirst(a + 1).reduce(1, *)
            let length = flattens ? dims[a...].reduce(1, *) : dims[a]
            var y = x()
            for row in 0..<y.count / max(1, length) {
                let start = row / inner * inner * length + row % inner
                let places = (0..<length).map { start + $0 * inner }
                let most = largest(places.map { x().values[$0] })
                let sum = places.reduce(0) { $0 + exp(x().values[$1] - most) }
                for place in places {
                    let shifted = x().values[place] - most
                    y.values[place] = node.opType == "Softmax" ? exp(shifted) / sum : shifted - log(sum)
                }
            }
            return [y]
        case "Flatten":
            let given = try node.int("axis", default: 1)
            let a = given < 0 ? given + x().dims.count : given
            return reshaped([x().dims[..<a].reduce(1, *), x().dims[a...].reduce(1, *)])
        case "Reshape":
            let allowZero = try node.int("allowzero", default: 0) != 0
            var dims = list(1)!.enumerated().map { $1 == 0 && !allowZero ? x().dims[$0] : $1 }
            if let open = dims.firstIndex(of: -1) {
                dims[open] = 1
                dims[open] = x().count / dims.reduce(1, *)
            }
            return reshaped(dims)
        case "Squeeze":
            let rank = x().dims.count
            let axes =
                try listed("axes", 1, from: 13)?.map { axis($0, rank) }
                ?? (0..<rank).filter { x().dims[$0] == 1 }
            return reshaped((0..<rank).filter { !axes.contains($0) }.map { x().dims[$0] })
        case "Unsqueeze":
            let given = try listed("axes", 1, from: 13)!
            let rank = x().dims.count + given.count
            var dims = x().dims
            for a in given.map({ axis($0, rank) }).sorted() { dims.insert(1, at: a) }
            return reshaped(dims)
        case "Transpose":
            let order = node.has("perm") ? try node.ints("perm") : x().dims.indices.reversed()
            let moves = x().allMoves
            return [x().picked(order.map { moves[$0] })]
        case "Concat":
            let parts = inputs.map { $0! }
            let a = axis(try node.int("axis"), parts[0].dims.count)
            let outer = parts[0].dims[..<a].reduce(1, *)
            var values: [Double] = []
            for o in 0..<outer {
                for part in parts {
                    let run = part.count / max(1, outer)
                    values += part.values[o * run..<(o + 1) * run]
                }
            }
            var dims = parts[0].dims
            dims[a] = parts.reduce(0) { $0 + $1.dims[a] }
            return [Array64(dims: dims, values: values)]
        case "Slice": return [try slice(node, x(), list)]
        case "Split":
            let a = axis(try node.int("axis", default: 0), x().dims.count)
            let count = node.outputs.count
            let size = (x().dims[a] + count - 1) / count
            let sizes =
                try listed("split", 1, from: 13)
                ?? (0..<count).map { min(size, x().dims[a] - $0 * size) }
            var start = 0
            return sizes.map { size in
                defer { start += size }
                var moves = x().allMoves
                moves[a] = Array(moves[a][start..<start + size])
                return x().picked(moves)
            }
        case "Gather":
            let a = axis(try node.int("axis", default: 0), x().dims.count)
            var moves = x().allMoves
            moves[a] = list(1)!.map { moves[a][$0 < 0 ? $0 + x().dims[a] : $0] }
            var y = x().picked(moves)
            y.dims = Array(x().dims[..<a]) + x(1).dims + Array(x().dims[(a + 1)...])
            return [y]
        case "Pad": return [try pad(node, x(), list, value: has(2) ? x(2).values[0] : 0)]
        case "Shape":
            let rank = x().dims.count
            func place(_ i: Int) -> Int { min(max(i < 0 ? i + rank : i, 0), rank) }
            let (first, last) = (
                place(try node.int("start", default: 0)), place(try node.int("end", default: rank))
            )
            var y = Array64(dims: [max(0, last - first)], values: [])
            if first < last { y.values = x().dims[first..<last].map(Double.init) }
            y.isInteger = true
            return [y]
        case "Constant":
            if node.has("value") { return [Evaluator.array(try node.tensor("value"))] }
            if node.has("value_float") { return [Array64(dims: [], values: [try number("value_float", 0)])] }
            if node.has("value_floats") {
                let values = try node.floats("value_floats").map(Double.init)
                return [Array64(dims: [values.count], values: values)]
            }
            let isScalar = node.has("value_int")
            let ints = try isScalar ? [node.int("value_int")] : node.ints("value_ints")
            var y = Array64(dims: isScalar ? [] : [ints.count], values: ints.map(Double.init))
            y.isInteger = true
            return [y]
        case "ConstantOfShape":
            let one =
                node.has("value")
                ? Evaluator.array(try node.tensor("value")) : Array64(dims: [1], values: [0])
            var y = Array64(dims: list(0)!, repeating: one.values[0])
            y.isInteger = one.isInteger
            return [y]
        default: throw Unknown(node: node.opType)
        }
    }

    /// NaN is larger than everything.
    private func largest(_ values: some Sequence<Double>) -> Double {
        var most = -Double.infinity
        for v in values {
            if v.isNaN { return v }
            if v > most { most = v }
        }
        return most
    }

    private func reduce(_ x: Array64, _ axes: [Int], keep: Bool, mean: Bool) -> Array64 {
        let kept = x.dims.indices.map { axes.contains($0) ? 1 : x.dims[$0] }
        var sums = Array64(dims: kept, repeating: 0)
        let steps = zip(kept, sums.strides).map { $0 == 1 ? 0 : $1 }
        var index = [Int](repeating: 0, count: x.dims.count)
        for value in x.values {
            var place = 0
            for d in index.indices { place += index[d] * steps[d] }
            sums.values[place] += value
            for d in index.indices.reversed() {
                index[d] += 1
                if index[d] < x.dims[d] { break }
                index[d] = 0
            }
        }
        let count = mean ? Double(x.count / sums.count) : 1
        let dims = keep ? kept : x.dims.indices.filter { !axes.contains($0) }.map { x.dims[$0] }
        return Array64(dims: dims, values: sums.values.map { $0 / count })
    }

    private func turned(_ x: Array64) -> Array64 {
        let moves = x.allMoves
        return x.picked([moves[1], moves[0]])
    }

    /// Of matrices.
    private func multiply(_ a: Array64, _ b: Array64) -> Array64 {
        let (m, k, n) = (a.dims[0], a.dims[1], b.dims[1])
        var y = Array64(dims: [m, n], repeating: 0)
        y.values.withUnsafeMutableBufferPointer { y in
            a.values.withUnsafeBufferPointer { a in
                b.values.withUnsafeBufferPointer { b in
                    for i in 0..<m {
                        for t in 0..<k {
                            let factor = a[i * k + t]
                            for j in 0..<n { y[i * n + j] += factor * b[t * n + j] }
                        }
                    }
                }
            }
        }
        return y
    }

    private func matMul(_ a: Array64, _ b: Array64) -> Array64 {
        let p = a.dims.count == 1 ? [1] + a.dims : a.dims
        let q = b.dims.count == 1 ? b.dims + [1] : b.dims
        let lead = Array64(dims: Array(p.dropLast(2)), repeating: 0)
        let other = Array64(dims: Array(q.dropLast(2)), repeating: 0)
        let batch = broadcast(lead, other, +).dims
        let left = Array64(dims: p, values: a.values).broadcast(to: batch + p.suffix(2))
        let right = Array64(dims: q, values: b.values).broadcast(to: batch + q.suffix(2))
        var values: [Double] = []
        let (sizeP, sizeQ) = (p.suffix(2).reduce(1, *), q.suffix(2).reduce(1, *))
        for i in 0..<batch.reduce(1, *) {
            values +=
                multiply(
                    Array64(
                        dims: Array(p.suffix(2)), values: Array(left.values[i * sizeP..<(i + 1) * sizeP])),
                    Array64(
                        dims: Array(q.suffix(2)), values: Array(right.values[i * sizeQ..<(i + 1) * sizeQ]))
                ).values
        }
        let dims =
            batch + (a.dims.count == 1 ? [] : [p[p.count - 2]]) + (b.dims.count == 1 ? [] : [q[q.count - 1]])
        return Array64(dims: dims, values: values)
    }

    private func slice(_ node: ONNXNode, _ x: Array64, _ list: (Int) -> [Int]?) throws -> Array64 {
        let starts = try opset < 10 ? node.ints("starts") : list(1)!
        let ends = try opset < 10 ? node.ints("ends") : list(2)!
        let axes = try opset < 10 ? (node.has("axes") ? node.ints("axes") : nil) : list(3)
        let steps = opset < 10 ? nil : list(4)
        var moves = x.allMoves
        for i in starts.indices {
            let given = axes?[i] ?? i
            let a = given < 0 ? given + x.dims.count : given
            let (extent, step) = (x.dims[a], steps?[i] ?? 1)
            let start = starts[i] < 0 ? starts[i] + extent : starts[i]
            let end = ends[i] < 0 ? ends[i] + extent : ends[i]
            let taken =
                step > 0
                ? stride(from: min(max(start, 0), extent), to: min(max(end, 0), extent), by: step)
                : stride(from: min(max(start, -1), extent - 1), to: min(max(end, -1), extent - 1), by: step)
            moves[a] = taken.map { moves[a][$0] }
        }
        return x.picked(moves)
    }

    private func pad(_ node: ONNXNode, _ x: Array64, _ list: (Int) -> [Int]?, value: Double) throws -> Array64
    {
        let mode = try node.string("mode", default: "constant")
        let pads = try opset < 11 ? node.ints("pads") : list(1)!
        let fill = opset < 11 ? Double(try node.float("value", default: 0)) : value
        let axes = (list(3) ?? Array(x.dims.indices)).map { $0 < 0 ? $0 + x.dims.count : $0 }
        var moves = x.allMoves
        for (i, a) in axes.enumerated() {
            let extent = x.dims[a]
            let own = moves[a]
            moves[a] = (-pads[i]..<extent + pads[i + axes.count]).map { at in
                switch mode {
                case "edge": own[min(max(at, 0), extent - 1)]
                case "reflect": own[at < 0 ? -at : at >= extent ? 2 * (extent - 1) - at : at]
                case "wrap": own[((at % extent) + extent) % extent]
                default: at < 0 || at >= extent ? nil : own[at]
                }
            }
        }
        return x.picked(moves, fill: fill)
    }

    // MARK: Windows

    /// Where the windows of Conv and the pools lie on height and width.
    package struct Windows {
        package var kernel: [Int], strides: [Int], dilations: [Int], pads: [Int], output: [Int]
    }

    package func windows(_ node: ONNXNode, size: [Int], kernel: [Int]) throws -> Windows {
        let strides = try node.ints("strides", default: [1, 1])
        let dilations = try node.ints("dilations", default: [1, 1])
        var pads = try node.ints("pads", default: [0, 0, 0, 0])
        let ceil = try node.int("ceil_mode", default: 0) != 0
        let auto = try node.string("auto_pad", default: "NOTSET")
        var output = [0, 0]
        for d in 0..<2 {
            let reach = dilations[d] * (kernel[d] - 1) + 1
            if auto.hasPrefix("SAME") {
                output[d] = Int((Double(size[d]) / Double(strides[d])).rounded(.up))
                let total = max((output[d] - 1) * strides[d] + reach - size[d], 0)
                pads[d] = auto == "SAME_LOWER" ? (total + 1) / 2 : total / 2
                pads[d + 2] = total - pads[d]
                continue
            }
            let steps = Double(size[d] + pads[d] + pads[d + 2] - reach) / Double(strides[d])
            output[d] = Int(steps.rounded(ceil ? .up : .down)) + 1
            // A window that would start in the last pad is not there.
            if ceil && (output[d] - 1) * strides[d] >= size[d] + pads[d] { output[d] -= 1 }
        }
        return Windows(
            kernel: kernel, strides: strides, dilations: dilations, pads: pads, output: output)
    }

    private func conv(_ node: ONNXNode, _ inputs: [Array64?]) throws -> Array64 {
        let x = inputs[0]!
        let w = inputs[1]!
        let bias = inputs.count > 2 ? inputs[2] : nil
        let groups = try node.int("group", default: 1)
        let windows = try windows(node, size: [x.dims[2], x.dims[3]], kernel: [w.dims[2], w.dims[3]])
        let (h, width, cin, cout) = (x.dims[2], x.dims[3], w.dims[1], w.dims[0])
        let (kh, kw) = (w.dims[2], w.dims[3])
        let (oh, ow) = (windows.output[0], windows.output[1])
        let (sy, sx) = (windows.strides[0], windows.strides[1])
        var y = Array64(dims: [x.dims[0], cout, oh, ow], repeating: 0)
        y.values.withUnsafeMutableBufferPointer { y in
            x.values.withUnsafeBufferPointer { x64 in
                w.values.withUnsafeBufferPointer { w64 in
                    for image in 0..<x.dims[0] {
                        for o in 0..<cout {
                            let to = (image * cout + o) * oh * ow
                            if let bias { for i in 0..<oh * ow { y[to + i] = bias.values[o] } }
                            for c in 0..<cin {
                                let from = (image * x.dims[1] + o / (cout / groups) * cin + c) * h * width
                                for ky in 0..<kh {
                                    for kx in 0..<kw {
                                        let weight = w64[((o * cin + c) * kh + ky) * kw + kx]
                                        let left = kx * windows.dilations[1] - windows.pads[1]
                                        // Outputs whose tap lies on the picture.
                                        let first = left < 0 ? (-left + sx - 1) / sx : 0
                                        let last = left > width - 1 ? 0 : min(ow, (width - 1 - left) / sx + 1)
                                        if first >= last { continue }
                                        for oy in 0..<oh {
                                            let iy =
                                                oy * sy - windows.pads[0] + ky * windows.dilations[0]
                                            if iy < 0 || iy >= h { continue }
                                            let row = from + iy * width + left
                                            for ox in first..<last {
                                                y[to + oy * ow + ox] += weight * x64[row + ox * sx]
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        return y
    }

    /// Calls `body` for each output of a pool: its place, and the places of the cells of its window that lie on the picture.
    package func forEachWindow(
        _ node: ONNXNode, _ x: Array64, _ body: (Int, [Int], _ padded: Int) -> Void
    ) throws {
        let size = [x.dims[2], x.dims[3]]
        let windows = try windows(node, size: size, kernel: node.ints("kernel_shape"))
        var at = 0
        var cells: [Int] = []
        for plane in 0..<x.dims[0] * x.dims[1] {
            for oy in 0..<windows.output[0] {
                for ox in 0..<windows.output[1] {
                    cells.removeAll(keepingCapacity: true)
                    var padded = 0
                    for ky in 0..<windows.kernel[0] {
                        let iy = oy * windows.strides[0] - windows.pads[0] + ky * windows.dilations[0]
                        for kx in 0..<windows.kernel[1] {
                            let ix = ox * windows.strides[1] - windows.pads[1] + kx * windows.dilations[1]
                            // What ceil_mode adds beyond the pads does not count.
                            if iy < size[0] + windows.pads[2], ix < size[1] + windows.pads[3] { padded += 1 }
                            if iy >= 0, iy < size[0], ix >= 0, ix < size[1] {
                                cells.append((plane * size[0] + iy) * size[1] + ix)
                            }
                        }
                    }
                    body(at, cells, padded)
                    at += 1
                }
            }
        }
    }

    private func pool(_ node: ONNXNode, _ x: Array64) throws -> Array64 {
        let countPads = try node.int("count_include_pad", default: 0) != 0
        let windows = try windows(
            node, size: [x.dims[2], x.dims[3]], kernel: node.ints("kernel_shape"))
        var y = Array64(dims: [x.dims[0], x.dims[1]] + windows.output, repeating: 0)
        let isMax = node.opType == "MaxPool"
        try forEachWindow(node, x) { at, cells, padded in
            y.values[at] =
                isMax
                ? largest(cells.lazy.map { x.values[$0] })
                : cells.reduce(0) { $0 + x.values[$1] } / Double(countPads ? padded : cells.count)
        }
        return y
    }
}
