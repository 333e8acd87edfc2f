// A second opinion: ONNX graphs in double precision, one plain loop per operator, sharing no code with the program.

import Foundation
import ONNX

/// Numbers with a shape, row-major. Integers are held as doubles too.
struct Array64 {
    var dims: [Int]
    var values: [Double]

    var count: Int { values.count }

    func at(_ index: [Int]) -> Double {
        var place = 0
        for (i, d) in zip(index, dims) { place = place * d + i }
        return values[place]
    }

    /// Element by element, for each index of the shape.
    init(dims: [Int], _ value: ([Int]) -> Double) {
        self.dims = dims
        values = []
        values.reserveCapacity(dims.reduce(1, *))
        var index = [Int](repeating: 0, count: dims.count)
        for _ in 0..<dims.reduce(1, *) {
            values.append(value(index))
            for d in dims.indices.reversed() {
                index[d] += 1
                if index[d] < dims[d] { break }
                index[d] = 0
            }
        }
    }

    init(dims: [Int], values: [Double]) { (self.dims, self.values) = (dims, values) }

    func map(_ body: (Double) -> Double) -> Array64 { Array64(dims: dims, values: values.map(body)) }
}

struct Evaluator {
    struct Unknown: Error { let node: String }
    let graph: ONNXGraph
    let opset: Int
    private let constants: [String: Array64]

    init(_ model: ONNXModel) {
        graph = model.graph
        opset = model.opset
        constants = graph.initializers.mapValues(Evaluator.array)
    }

    private static func array(_ tensor: ONNXTensor) -> Array64 {
        Array64(dims: tensor.dims, values: try! tensor.floats().map(Double.init))
    }

    /// All values of the network by name.
    func run(_ input: Array64) throws -> [String: Array64] {
        var values = constants
        values[graph.inputs[0].name] = input
        for node in graph.nodes {
            let inputs = node.inputs.map { values[$0] }
            for (name, value) in zip(node.outputs, try evaluate(node, inputs)) { values[name] = value }
        }
        return values
    }

    private func broadcast(_ a: Array64, _ b: Array64, _ body: (Double, Double) -> Double) -> Array64 {
        let rank = max(a.dims.count, b.dims.count)
        let p = Array(repeating: 1, count: rank - a.dims.count) + a.dims
        let q = Array(repeating: 1, count: rank - b.dims.count) + b.dims
        let (x, z) = (Array64(dims: p, values: a.values), Array64(dims: q, values: b.values))
        return Array64(dims: zip(p, q).map { $0 == 1 ? $1 : $0 }) { i in
            body(x.at(zip(i, p).map { $1 == 1 ? 0 : $0 }), z.at(zip(i, q).map { $1 == 1 ? 0 : $0 }))
        }
    }

    private func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

    private func evaluate(_ node: ONNXNode, _ inputs: [Array64?]) throws -> [Array64] {
        func x(_ i: Int = 0) -> Array64 { inputs[i]! }
        func list(_ i: Int) -> [Int]? { i < inputs.count ? inputs[i].map { $0.values.map { Int($0) } } : nil }
        func axis(_ a: Int, _ rank: Int) -> Int { a < 0 ? a + rank : a }
        switch node.opType {
        case "Identity", "Dropout", "Cast": return [x()]
        case "Relu": return [x().map { max($0, 0) }]
        case "LeakyRelu":
            let alpha = Double(try node.float("alpha", default: 0.01))
            return [x().map { $0 < 0 ? alpha * $0 : $0 }]
        case "Clip":
            let low = opset < 11 ? Double(try node.float("min")) : x(1).values[0]
            let high = opset < 11 ? Double(try node.float("max")) : x(2).values[0]
            return [x().map { min(max($0, low), high) }]
        case "Sigmoid": return [x().map(sigmoid)]
        case "Tanh": return [x().map { tanh($0) }]
        case "HardSigmoid":
            let (a, b) = (
                Double(try node.float("alpha", default: 0.2)), Double(try node.float("beta", default: 0.5))
            )
            return [x().map { min(max(a * $0 + b, 0), 1) }]
        case "HardSwish": return [x().map { $0 * min(max($0 / 6 + 0.5, 0), 1) }]
        case "Add": return [broadcast(x(0), x(1), +)]
        case "Sub": return [broadcast(x(0), x(1), -)]
        case "Mul": return [broadcast(x(0), x(1), *)]
        case "Div":
            // Only the arithmetic of shapes divides here: integers.
            return [broadcast(x(0), x(1)) { ($0 / $1).rounded(.towardZero) }]
        case "Sum": return [inputs.indices.dropFirst().reduce(x(0)) { broadcast($0, inputs[$1]!, +) }]
        case "Conv": return [try conv(node, inputs)]
        case "BatchNormalization":
            let epsilon = Double(try node.float("epsilon", default: 1e-5))
            return [
                Array64(dims: x().dims) { i in
                    let c = i[1]
                    return x(1).values[c] * (x().at(i) - x(3).values[c])
                        / (x(4).values[c] + epsilon).squareRoot() + x(2).values[c]
                }
            ]
        case "LRN":
            let size = try node.int("size")
            let alpha = Double(try node.float("alpha", default: 1e-4))
            let beta = Double(try node.float("beta", default: 0.75))
            let bias = Double(try node.float("bias", default: 1))
            let channels = x().dims[1]
            return [
                Array64(dims: x().dims) { i in
                    let first = max(0, i[1] - (size - 1) / 2)
                    let last = min(channels - 1, i[1] + size / 2)
                    let squares = (first...last).reduce(0.0) { sum, c in
                        let v = x().at([i[0], c, i[2], i[3]])
                        return sum + v * v
                    }
                    return x().at(i) / pow(bias + alpha / Double(size) * squares, beta)
                }
            ]
        case "MaxPool", "AveragePool": return [try pool(node, x())]
        case "GlobalAveragePool": return [mean(x(), [2, 3], keep: true)]
        case "GlobalMaxPool":
            let d = x().dims
            return [
                Array64(dims: [d[0], d[1], 1, 1]) { i in
                    (0..<d[2] * d[3]).map { x().at([i[0], i[1], $0 / d[3], $0 % d[3]]) }.max()!
                }
            ]
        case "ReduceMean":
            return [
                mean(
                    x(), try opset < 18 ? node.ints("axes") : list(1)!,
                    keep: try node.int("keepdims", default: 1) != 0)
            ]
        case "Gemm":
            let transB = try node.int("transB", default: 0) != 0
            let alpha = Double(try node.float("alpha", default: 1))
            let beta = Double(try node.float("beta", default: 1))
            let k = x().dims[1]
            let product = Array64(dims: [x().dims[0], x(1).dims[transB ? 0 : 1]]) { i in
                alpha
                    * (0..<k).reduce(0) {
                        $0 + x().at([i[0], $1]) * x(1).at(transB ? [i[1], $1] : [$1, i[1]])
                    }
            }
            return [inputs.count > 2 ? broadcast(product, x(2).map { $0 * beta }, +) : product]
        case "MatMul":
            return [
                Array64(dims: [x().dims[0], x(1).dims[1]]) { i in
                    (0..<x().dims[1]).reduce(0) { $0 + x().at([i[0], $1]) * x(1).at([$1, i[1]]) }
                }
            ]
        case "Softmax":
            let last = x().dims.count - 1
            let a = axis(try node.int("axis", default: -1), last + 1)
            precondition(a == last)
            return [
                Array64(dims: x().dims) { i in
                    let row = (0..<x().dims[last]).map { exp(x().at(i.dropLast() + [$0])) }
                    return row[i[last]] / row.reduce(0, +)
                }
            ]
        case "Flatten":
            return [Array64(dims: [x().dims[0], x().dims.dropFirst().reduce(1, *)], values: x().values)]
        case "Reshape":
            var dims = list(1)!.enumerated().map { $1 == 0 ? x().dims[$0] : $1 }
            if let open = dims.firstIndex(of: -1) {
                dims[open] = 1
                dims[open] = x().count / dims.reduce(1, *)
            }
            return [Array64(dims: dims, values: x().values)]
        case "Unsqueeze":
            let axes = try opset < 13 ? node.ints("axes") : list(1)!
            var dims = x().dims
            for a in axes.sorted() { dims.insert(1, at: a) }
            return [Array64(dims: dims, values: x().values)]
        case "Transpose":
            let order = try node.ints("perm")
            return [
                Array64(dims: order.map { x().dims[$0] }) { i in
                    var from = i
                    for (k, d) in order.enumerated() { from[d] = i[k] }
                    return x().at(from)
                }
            ]
        case "Concat":
            let parts = inputs.map { $0! }
            let a = axis(try node.int("axis"), parts[0].dims.count)
            var dims = parts[0].dims
            dims[a] = parts.reduce(0) { $0 + $1.dims[a] }
            return [
                Array64(dims: dims) { i in
                    var i = i
                    for part in parts {
                        if i[a] < part.dims[a] { return part.at(i) }
                        i[a] -= part.dims[a]
                    }
                    return .nan
                }
            ]
        case "Split":
            let a = axis(try node.int("axis", default: 0), x().dims.count)
            let sizes = try opset < 13 ? node.ints("split") : list(1)!
            var start = 0
            return sizes.map { size in
                defer { start += size }
                let begin = start
                var dims = x().dims
                dims[a] = size
                return Array64(dims: dims) { i in
                    var i = i
                    i[a] += begin
                    return x().at(i)
                }
            }
        case "Shape": return [Array64(dims: [x().dims.count], values: x().dims.map(Double.init))]
        case "Gather": return [Array64(dims: x(1).dims, values: x(1).values.map { x().values[Int($0)] })]
        case "Constant": return [Evaluator.array(try node.tensor("value"))]
        default: throw Unknown(node: node.opType)
        }
    }

    private func mean(_ x: Array64, _ axes: [Int], keep: Bool) -> Array64 {
        var sums = Array64(dims: x.dims.indices.map { axes.contains($0) ? 1 : x.dims[$0] }) { _ in 0 }
        _ = Array64(dims: x.dims) { i in
            var place = 0
            for d in i.indices where !axes.contains(d) { place = place * x.dims[d] + i[d] }
            sums.values[place] += x.at(i)
            return 0
        }
        let count = Double(x.count / sums.count)
        let dims = keep ? sums.dims : x.dims.indices.filter { !axes.contains($0) }.map { x.dims[$0] }
        return Array64(dims: dims, values: sums.values.map { $0 / count })
    }

    private func conv(_ node: ONNXNode, _ inputs: [Array64?]) throws -> Array64 {
        let x = inputs[0]!
        let w = inputs[1]!
        let bias = inputs.count > 2 ? inputs[2] : nil
        let groups = try node.int("group", default: 1)
        let strides = try node.ints("strides", default: [1, 1])
        let pads = try node.ints("pads", default: [0, 0, 0, 0])
        let dilations = try node.ints("dilations", default: [1, 1])
        let (h, wd, kh, kw, cin, cout) = (x.dims[2], x.dims[3], w.dims[2], w.dims[3], w.dims[1], w.dims[0])
        let oh = (h + pads[0] + pads[2] - dilations[0] * (kh - 1) - 1) / strides[0] + 1
        let ow = (wd + pads[1] + pads[3] - dilations[1] * (kw - 1) - 1) / strides[1] + 1
        var y = Array64(
            dims: [x.dims[0], cout, oh, ow], values: Array(repeating: 0, count: x.dims[0] * cout * oh * ow))
        var at = 0
        for n in 0..<x.dims[0] {
            for o in 0..<cout {
                let group = o / (cout / groups)
                for oy in 0..<oh {
                    for ox in 0..<ow {
                        var sum = bias?.values[o] ?? 0
                        for c in 0..<cin {
                            for ky in 0..<kh {
                                let iy = oy * strides[0] - pads[0] + ky * dilations[0]
                                if iy < 0 || iy >= h { continue }
                                for kx in 0..<kw {
                                    let ix = ox * strides[1] - pads[1] + kx * dilations[1]
                                    if ix < 0 || ix >= wd { continue }
                                    sum +=
                                        x.values[((n * x.dims[1] + group * cin + c) * h + iy) * wd + ix]
                                        * w.values[((o * cin + c) * kh + ky) * kw + kx]
                                }
                            }
                        }
                        y.values[at] = sum
                        at += 1
                    }
                }
            }
        }
        return y
    }

    private func pool(_ node: ONNXNode, _ x: Array64) throws -> Array64 {
        let kernel = try node.ints("kernel_shape")
        let strides = try node.ints("strides", default: [1, 1])
        let pads = try node.ints("pads", default: [0, 0, 0, 0])
        let countPads = try node.int("count_include_pad", default: 0) != 0
        let (h, w) = (x.dims[2], x.dims[3])
        let oh = (h + pads[0] + pads[2] - kernel[0]) / strides[0] + 1
        let ow = (w + pads[1] + pads[3] - kernel[1]) / strides[1] + 1
        return Array64(dims: [x.dims[0], x.dims[1], oh, ow]) { i in
            var found: [Double] = []
            for ky in 0..<kernel[0] {
                for kx in 0..<kernel[1] {
                    let iy = i[2] * strides[0] - pads[0] + ky
                    let ix = i[3] * strides[1] - pads[1] + kx
                    if iy >= 0, iy < h, ix >= 0, ix < w { found.append(x.at([i[0], i[1], iy, ix])) }
                }
            }
            if node.opType == "MaxPool" { return found.max()! }
            return found.reduce(0, +) / Double(countPads ? kernel[0] * kernel[1] : found.count)
        }
    }
}
