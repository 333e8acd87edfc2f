// Products of matrices that lie in any way, against the contract written out, bit by bit on every device; and how results lie.

import CMicrokernels
import Kernels
import TestSupport
import Testing

@Suite struct MatrixProductTests {
    /// Random extents, orders of dimensions, parts of larger tensors, and broadcasts.
    @Test(arguments: 0..<12)
    func views(_ block: Int) throws {
        for number in block * 8..<block * 8 + 8 {
            var random = SeededRandom("matrix product \(number)")
            func int(_ range: ClosedRange<Int>) -> Int {
                range.lowerBound + random.index(below: range.count)
            }
            let (m, n) = (int(1...40), int(1...70))
            let k = int(0...3) == 0 ? int(250...520) : int(1...40)
            let batch = (0..<int(0...3)).map { _ in int(1...3) }
            var tape = Tape()
            /// A view of a dense input, and its numbers, row-major.
            func operand(_ last: [Int]) -> (Value, Value, [Float], Shape) {
                let all = batch.map { int(0...3) == 0 ? 1 : $0 } + last
                let order = all.indices.shuffled(using: &random)
                let extra = all.map { _ in int(0...2) }
                // In memory the dimensions come in another order, each perhaps longer.
                let dense = Shape(order.map { all[$0] + extra[$0] })
                let input = tape.input(dense)
                let inverse = all.indices.map { d in order.firstIndex(of: d)! }
                let turned = tape.transpose(input, inverse)
                let strides = tape.strides(turned)
                let offset = zip(extra, strides).reduce(0) { $0 + $1.0 * $1.1 }
                let view = tape.view(turned, as: Shape(all), strides: strides, offset: offset)
                let numbers = (0..<dense.count).map { _ in random.float() }
                return (input, view, dense.memoryOrder(numbers), Shape(all))
            }
            let (a, va, na, sa) = operand([m, k])
            let (b, vb, nb, sb) = operand([k, n])
            let y = try tape.product(va, vb)
            let kept = [tape.dense(y), tape.dense(va), tape.dense(vb)]
            var results: [[Float]] = []
            for device in Devices.all + Devices.gpuForms + Devices.little {
                let executor = try device.device.load(tape, keeping: kept)
                try na.withUnsafeBufferPointer { try executor.write(a, from: $0) }
                try nb.withUnsafeBufferPointer { try executor.write(b, from: $0) }
                try executor.run(0..<tape.steps.count)
                let all = try kept.map { tape.shape($0).rowMajor(try executor.memoryOrder($0)) }
                if results.isEmpty {
                    results = all
                    let exact = expected(all[1], sa, all[2], sb, tape.shape(y))
                    #expect(bitDifference(all[0], exact) == nil, "case \(number) \(device)")
                } else {
                    #expect(bitDifference(all[0], results[0]) == nil, "case \(number) \(device)")
                }
            }
        }
    }

    /// Chunks of 256 terms in ascending order, each from +0.
    private func expected(_ a: [Float], _ sa: Shape, _ b: [Float], _ sb: Shape, _ shape: Shape) -> [Float] {
        let (p, q, rank) = (sa.dims, sb.dims, shape.rank)
        let k = p.last!
        var result: [Float] = []
        forEachIndex(shape.dims) { index in
            func start(_ dims: [Int]) -> Int {
                var at = 0
                for d in 0..<dims.count - 2 {
                    let i = index[rank - dims.count + d]
                    at = at * dims[d] + (dims[d] == 1 ? 0 : i)
                }
                return at * dims[dims.count - 2] * dims.last!
            }
            let (from, to) = (start(p) + index[rank - 2] * k, start(q) + index[rank - 1])
            var total: Float = 0
            for first in stride(from: 0, to: k, by: 256) {
                var sum: Float = 0
                for t in first..<min(first + 256, k) {
                    sum = sum.addingProduct(a[from + t], b[to + t * q.last!])
                }
                total = first == 0 ? sum : total + sum
            }
            result.append(total)
        }
        return result
    }

    /// What a map makes of heads side by side lies as they do, and its rows go into a product and a softmax without a copy.
    @Test func transformersNeedNoCopies() throws {
        var tape = Tape()
        let (batch, rows, heads, size) = (2, 9, 3, 16)
        let x = tape.input([batch, rows, 3 * heads * size])
        let split = tape.transpose(tape.reshape(x, to: [batch, rows, 3, heads, size]), [2, 0, 3, 1, 4])
        func part(_ i: Int) -> Value {
            let s = tape.strides(split)
            return tape.view(
                split, as: [batch, heads, rows, size], strides: Array(s[1...]), offset: i * s[0])
        }
        let q = tape.map(WB_MAP_scale, part(0), a: 0.25)
        let scores = try tape.product(q, tape.transposed(part(1)))
        let softmax = try #require(OperatorList["Softmax"]).init(
            Attributes(opset: 17, ["axis": .int(-1)]))
        let p = try softmax.forward(&tape, [.value(scores)], outputs: 1)[0]
        guard case .value(let p) = p else { return }
        let y = try tape.product(p, part(2))
        let joined = tape.reshape(tape.transpose(y, [0, 2, 1, 3]), to: [batch, rows, heads * size])
        #expect(tape.isDense(joined))
        #expect(tape.steps.map(\.kernel) == ["scale", "product", "softmax", "product"])
    }
}
