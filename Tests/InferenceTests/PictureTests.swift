// Whether pictures of a batch stay apart: what the walk says, beside what happens to one picture's scores when another changes.

import Inference
import Kernels
import ONNX
import TestSupport
import Testing

/// A network of random nodes that move, cut, join and multiply axes, the pictures' among them; its file fixes a batch of 3.
struct RandomAxes {
    static let batch = 3
    private var net: SmallNetwork
    private var x = "image"
    private var dims = [RandomAxes.batch, 3, 4, 6]

    /// - Parameter selects: whether a part of an axis is all that is left at the end.
    init(_ number: Int, selects: Bool = false) {
        net = SmallNetwork("axes \(number)", input: [3, 3, 4, 6].map { .fixed($0) })
        var random = SeededRandom("axes \(number)")
        // So that nobody takes it for a network of another layout.
        x = net.conv(x, 3, 3, kernel: 1)
        for _ in 0..<2 + random.index(below: 6) { step(&random) }
        if selects { select(&random) }
        let columns = dims.reduce(1, *) / RandomAxes.batch
        guard dims.reduce(1, *) % RandomAxes.batch == 0 else { return }
        reshape([RandomAxes.batch, columns])
        net.output(net.gemm(x, columns, 4))
        isWhole = true
    }

    /// By an index that takes the axis away, or several, or a slice.
    private mutating func select(_ random: inout SeededRandom) {
        guard let axis = dims.indices.filter({ dims[$0] > 1 }).randomElement(&random) else { return }
        let count = 1 + random.index(below: max(1, dims[axis] / 2))
        let start = random.index(below: dims[axis] - count + 1)
        switch random.index(below: 3) {
        case 0:
            x = net.node("Gather", [x, net.ints([Int64(start)], scalar: true)], ["axis": .int(axis)])
            dims.remove(at: axis)
        case 1:
            x = net.node(
                "Gather", [x, net.ints((start..<start + count).map(Int64.init))], ["axis": .int(axis)])
            dims[axis] = count
        default:
            x = net.node(
                "Slice",
                [
                    x, net.ints([Int64(start)]), net.ints([Int64(start + count)]), net.ints([Int64(axis)]),
                    net.ints([1]),
                ])
            dims[axis] = count
        }
    }

    /// Whether it could be finished with a row for each picture.
    private(set) var isWhole = false
    func model() throws -> ONNXModel { try net.model() }

    private mutating func reshape(_ new: [Int]) {
        x = net.node("Reshape", [x, net.ints(new.map(Int64.init))])
        dims = new
    }

    private mutating func step(_ random: inout SeededRandom) {
        let axis = random.index(below: dims.count)
        switch random.index(below: 12) {
        case 0, 1, 2:
            var order = Array(dims.indices)
            for i in order.indices.dropFirst() { order.swapAt(i, random.index(below: i + 1)) }
            x = net.node("Transpose", [x], ["perm": .ints(order)])
            dims = order.map { dims[$0] }
        case 3:
            // Two axes become one.
            guard axis > 0 else { return }
            reshape(Array(dims[..<(axis - 1)]) + [dims[axis - 1] * dims[axis]] + Array(dims[(axis + 1)...]))
        case 4:
            // One becomes two.
            guard dims.count < 5,
                let part = [2, 3, 4].filter({ dims[axis] % $0 == 0 && dims[axis] > $0 }).randomElement(
                    &random)
            else { return }
            reshape(Array(dims[..<axis]) + [dims[axis] / part, part] + Array(dims[(axis + 1)...]))
        case 5: x = net.node("Softmax", [x], ["axis": .int(axis)])
        case 6:
            guard dims[axis] > 1 else { return }
            let cut = 1 + random.index(below: dims[axis] - 1)
            func part(_ from: Int, _ to: Int) -> String {
                net.node(
                    "Slice", [x, net.ints([Int64(from)]), net.ints([Int64(to)]), net.ints([Int64(axis)])])
            }
            x = net.concat([part(cut, dims[axis]), part(0, cut)], axis: axis)
        case 7:
            guard dims.count > 1 else { return }
            x = net.node("MatMul", [x, net.floats([dims.last!, dims.last!])])
        case 8:
            // Of all pairs of rows.
            guard dims.count > 2 else { return }
            let turned = net.node(
                "Transpose", [x],
                ["perm": .ints(Array(dims.indices.dropLast(2)) + [dims.count - 1, dims.count - 2])])
            x = net.node("MatMul", [net.node("MatMul", [x, turned]), x])
            x = net.node("Tanh", [x])
        case 9:
            // Two ways, of which one works number by number.
            let beside = net.node("Sigmoid", [net.node("Mul", [x, net.floats([dims.last!])])])
            x = net.node("Add", [x, beside])
        case 10: x = net.node("Add", [net.floats([dims.last!]), net.node("Erf", [x])])
        default:
            let mean = net.node("ReduceMean", [x], ["axes": .ints([axis]), "keepdims": 1])
            x = net.node("Sub", [x, mean])
        }
    }
}

extension Array {
    fileprivate func randomElement(_ random: inout SeededRandom) -> Element? {
        isEmpty ? nil : self[random.index(below: count)]
    }
}

@Suite struct PictureTests {
    /// Whether the scores of any picture change with another.
    private func meet(_ network: Network, seed: Int) throws -> Bool {
        let dims = try network.inputShape(batch: RandomAxes.batch).dims
        var random = SeededRandom("pictures \(seed)")
        let count = dims.reduce(1, *)
        let size = count / RandomAxes.batch
        let numbers = (0..<count).map { _ in random.float(-1, 1) }
        func scores(_ numbers: [Float]) throws -> [[UInt32]] {
            let all = try network.run(
                numbers, dims: dims, outputs: [network.logitsName], on: Devices.all[0].device)[0].values
            let row = all.count / RandomAxes.batch
            return (0..<RandomAxes.batch).map { i in all[i * row..<(i + 1) * row].map(\.bitPattern) }
        }
        let plain = try scores(numbers)
        for changed in 0..<RandomAxes.batch {
            var other = numbers
            for i in changed * size..<(changed + 1) * size { other[i] = random.float(-1, 1) }
            let found = try scores(other)
            if (0..<RandomAxes.batch).contains(where: { $0 != changed && found[$0] != plain[$0] }) {
                return true
            }
        }
        return false
    }

    @Test func neverSaysSoWherePicturesMeet() throws {
        var (apart, joined, missed) = (0, 0, 0)
        for number in 0..<240 {
            let made = RandomAxes(number)
            guard made.isWhole else { continue }
            let network = try Network(made.model())
            let sure = try network.keepsPicturesApart(PassSpec(batch: RandomAxes.batch))
            let meet = try meet(network, seed: number)
            #expect(!(sure && meet), "\(number)")
            if sure { apart += 1 } else if meet { joined += 1 } else { missed += 1 }
        }
        // It says something, and of little that it does not know.
        #expect(apart > 40 && joined > 40 && missed < 20, "\(apart) \(joined) \(missed)")
    }

    /// Those whose axes are moved as people's transformers do are known.
    @Test(arguments: 0..<24)
    func knowsTransformers(_ number: Int) throws {
        let made = RandomTransformer(number)
        // Their own tokens are for one picture.
        if made.extra > 0 { return }
        let network = try Network(made.net.model())
        #expect(try network.keepsPicturesApart(PassSpec(batch: 2)))
        let choice = try network.layer(named: "auto", of: network.layers())
        #expect(try network.showing([choice.layer]).keepsPicturesApart(PassSpec(batch: 3)))
    }
}
