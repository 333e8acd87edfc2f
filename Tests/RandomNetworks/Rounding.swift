// How far a number that is computed in binary32 may be from the exact one: units of its rounding times the sum of its terms' magnitudes.
//
// The bounds are for one node, given its very inputs; errors of the inputs are none of its own. So nothing adds up from node to node, and a
// wrong last bit of one node is not hidden by what came before.

import Foundation
import ONNX

extension Evaluator {
    /// 2⁻²⁴: half a unit in the last place of 1.
    package static let unit = 0x1p-24

    /// How far each number that a node makes may be from what `evaluate` makes of the same inputs; 0 where nothing rounds, infinite where
    /// something overflows in binary32.
    package func allowances(_ node: ONNXNode, _ inputs: [Array64?], _ results: [Array64]) throws -> [Array64]
    {
        guard let terms = try terms(node, inputs, results) else {
            return results.map { Array64(dims: $0.dims, repeating: 0) }
        }
        // A sum of subnormal terms is rounded to multiples of the smallest.
        return [
            terms.magnitudes.map {
                $0 < terms.most ? terms.units * Evaluator.unit * $0 + 0x1p-136 : .infinity
            }
        ]
    }

    /// The units that a sum of so many terms is allowed. They are added one by one in chunks of 256, then the chunks; each addition rounds
    /// by up to a unit of the sum so far. (Errors of equal terms do add up, so no root of their number would do.)
    private func units(terms: Int) -> Double { Double(4 + min(terms, 256) + terms / 256) }

    /// Σ|terms| of each number, and the units of rounding that it is allowed; nil where nothing rounds.
    private func terms(_ node: ONNXNode, _ inputs: [Array64?], _ results: [Array64]) throws -> (
        magnitudes: Array64, units: Double, most: Double
    )? {
        /// The largest number that is far from an overflow on the way.
        let most = 1e38
        let y = results[0]
        let x = inputs.first.flatMap { $0 } ?? y
        if y.isInteger { return nil }
        let sizes = inputs.map { input in input.map { $0.isInteger ? $0 : $0.map { abs($0) } } }
        func number(_ name: String, _ fallback: Float) throws -> Double {
            Double(try node.float(name, default: fallback))
        }
        func each(_ body: (_ x: Double, _ y: Double) -> Double) -> Array64 {
            Array64(dims: y.dims, values: zip(x.values, y.values).map(body))
        }
        switch node.opType {
        // Rounded once.
        case "Add", "Sub", "Mul", "Div", "Sqrt", "LeakyRelu", "PRelu": return (y.map { abs($0) }, 1, most)
        // Their errors are in Documentation/Math.md.
        case "Sigmoid", "Tanh", "Exp", "Log", "Erf", "Elu": return (y.map { abs($0) }, 8, most)
        case "LRN":
            // Squares overflow long before the result does, a neighbour's too.
            let largest = sizes[0]!.values.filter { !$0.isNaN }.max() ?? 0
            return (y.map { abs($0) }, 16, largest > 1e18 ? 0 : most)
        case "HardSigmoid":
            let (a, b) = (abs(try number("alpha", 0.2)), abs(try number("beta", 0.5)))
            return (each { x, _ in a * abs(x) + b }, 2, most)
        case "HardSwish": return (each { x, _ in abs(x) * (abs(x) / 6 + 0.5) }, 4, most)
        case "Sum": return (try evaluate(node, sizes)[0], Double(inputs.count), most)
        case "MatMul": return (try evaluate(node, sizes)[0], units(terms: x.dims.last!), most)
        case "ReduceSum", "ReduceMean", "AveragePool", "GlobalAveragePool":
            // The sum comes before it is divided.
            let terms =
                node.opType == "AveragePool"
                ? try node.ints("kernel_shape").reduce(1, *) : x.count / max(1, y.count)
            return (try evaluate(node, sizes)[0], units(terms: terms), most / Double(terms))
        case "Gemm":
            // So that of factors of either sign no terms cancel.
            var sizes = sizes
            if try number("alpha", 1) < 0 { sizes[1] = sizes[1]!.map { -$0 } }
            if try number("beta", 1) < 0, sizes.count > 2 { sizes[2] = sizes[2]?.map { -$0 } }
            let terms = x.dims[try node.int("transA", default: 0) != 0 ? 0 : 1]
            return (try evaluate(node, sizes)[0], units(terms: terms), most)
        case "Softmax", "LogSoftmax":
            // exp(x − max) has the error of the difference, whose terms are as large as the row's numbers.
            let largest = sizes[0]!.values.filter(\.isFinite).max() ?? 0
            return (
                node.opType == "Softmax"
                    ? each { _, y in y * (2 + 2 * largest) } : each { _, y in abs(y) + 2 * largest + 8 }, 8,
                most
            )
        case "BatchNormalization":
            let epsilon = try number("epsilon", 1e-5)
            let area = x.dims.dropFirst(2).reduce(1, *)
            var sums = y
            for i in sums.values.indices {
                let c = i / area % x.dims[1]
                let factor = abs(inputs[1]!.values[c]) / (inputs[4]!.values[c] + epsilon).squareRoot()
                sums.values[i] =
                    factor * (abs(x.values[i]) + abs(inputs[3]!.values[c])) + abs(inputs[2]!.values[c])
            }
            return (sums, 4, most)
        case "Conv":
            let sums = try evaluate(node, sizes)[0]
            let allowed = units(terms: inputs[1]!.dims.dropFirst().reduce(1, *))
            guard let side = try winogradTile(node, x, inputs[1]!, y) else { return (sums, allowed, most) }
            // The error belongs to the tile.
            let (h, w) = (y.dims[2], y.dims[3])
            var spread = sums
            for plane in 0..<y.dims[0] * y.dims[1] {
                for top in stride(from: 0, to: h, by: side) {
                    for left in stride(from: 0, to: w, by: side) {
                        let places = (top..<min(h, top + side)).flatMap { row in
                            (left..<min(w, left + side)).map { (plane * h + row) * w + $0 }
                        }
                        let most = places.reduce(0) { max($0, sums.values[$1]) }
                        let isFinite = places.allSatisfy { sums.values[$0].isFinite }
                        for place in places { spread.values[place] = isFinite ? most : .infinity }
                    }
                }
            }
            // Its transformations have larger numbers than its sums.
            return (spread, 2 * allowed, most / 100)
        default: return nil
        }
    }

    /// Documentation/Determinism.md, “Winograd's convolutions”, written down a second time: the side of the tiles, nil if it goes directly.
    package func winogradTile(_ node: ONNXNode, _ x: Array64, _ w: Array64, _ y: Array64) throws -> Int? {
        let windows = try windows(node, size: [x.dims[2], x.dims[3]], kernel: [w.dims[2], w.dims[3]])
        guard windows.kernel == [3, 3], windows.strides == [1, 1], windows.dilations == [1, 1],
            try node.int("group", default: 1) == 1, windows.pads.allSatisfy({ $0 <= 1 }),
            w.dims.prefix(2).allSatisfy({ $0 >= 32 && $0 % 16 == 0 })
        else { return nil }
        let least = min(y.dims[2], y.dims[3])
        return least >= 9 ? 4 : least >= 4 ? 2 : nil
    }
}
