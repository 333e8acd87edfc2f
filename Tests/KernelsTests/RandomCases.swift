// Random uses of operators beside the listed ones: case n is the same for ever.

import Foundation
import Kernels
import TestSupport

struct RandomCases {
    /// More: `WHITEBOX_RANDOM_CASES=3000 swift test … --filter OperatorTests.randomConfigurations`; one alone: `WHITEBOX_RANDOM_CASE=17`.
    static let pieces: [Range<Int>] = {
        func number(_ name: String) -> Int? { ProcessInfo.processInfo.environment[name].flatMap { Int($0) } }
        if let one = number("WHITEBOX_RANDOM_CASE") { return [one..<one + 1] }
        let count = number("WHITEBOX_RANDOM_CASES") ?? 320
        return stride(from: 0, to: count, by: 20).map { $0..<min(count, $0 + 20) }
    }()

    static func make(_ number: Int) -> OperatorCase {
        var own = SeededRandom("random normalisation \(number)")
        if var test = Cases.randomNormalisation(number, &own) {
            test.title = "random case \(number), " + test.title
            return test
        }
        var random = RandomCases(random: SeededRandom("random case \(number)"))
        var test = random.make()
        test.title = "random case \(number), " + test.title
        return test
    }

    private var random: SeededRandom

    private mutating func chance(_ percent: Int) -> Bool { random.index(below: 100) < percent }
    private mutating func int(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + random.index(below: range.count)
    }
    private mutating func any<Element>(_ list: [Element]) -> Element { list[random.index(below: list.count)] }

    private mutating func make() -> OperatorCase {
        switch int(0...19) {
        case 0...9: conv()
        case 10, 11: pool()
        case 12: reduction()
        case 13: chance(50) ? Cases.randomAttention(&random) : matMul()
        case 14: gemm()
        case 15: slice()
        case 16: split()
        case 17: pad()
        case 18: chance(50) ? Cases.randomSample(&random) : arithmetic()
        default: transpose()
        }
    }

    // MARK: Windows

    /// Terms in a convolution of this size, at most.
    private static let most = 1_500_000

    private mutating func conv() -> OperatorCase {
        let channels = chance(50) ? any([1, 3, 4, 8, 16, 32, 48, 64]) : int(1...70)
        var groups = 1
        var outputs = chance(40) ? any([8, 16, 32, 48, 64]) : int(1...70)
        switch int(0...9) {
        case 0: (groups, outputs) = (channels, channels)
        case 1: (groups, outputs) = (channels, channels * int(1...2))
        case 2:
            let narrow = [4, 8, 16].filter { channels % $0 == 0 }
            if !narrow.isEmpty { (groups, outputs) = (channels / any(narrow), channels) }
        case 3:
            groups = any((1...channels).filter { channels % $0 == 0 })
            outputs = groups * int(1...max(1, 40 / groups))
        default: break
        }
        var kernel = chance(45) ? [3, 3] : [int(1...7), int(1...7)]
        let dilations = chance(80) ? [1, 1] : [int(1...3), int(1...3)]
        let strides =
            chance(40)
            ? [1, 1] : chance(60) ? Array(repeating: int(2...5), count: 2) : [int(1...5), int(1...5)]
        var size = [int(1...24), int(1...24)]
        var batch = int(1...3)
        var pads = [0, 0, 0, 0]
        func reach(_ d: Int) -> Int { dilations[d] * (kernel[d] - 1) + 1 }
        switch int(0...9) {
        case 0...2: break
        case 3...6: for d in 0..<2 { (pads[d], pads[d + 2]) = (reach(d) / 2, reach(d) / 2) }
        case 7, 8: pads = (0..<4).map { _ in int(0...3) }
        // Beyond the kernel.
        default: pads = (0..<4).map { _ in int(0...8) }
        }
        func extent(_ d: Int) -> Int { (size[d] + pads[d] + pads[d + 2] - reach(d)) / strides[d] + 1 }
        for d in 0..<2 { size[d] = max(size[d], reach(d) - pads[d] - pads[d + 2]) }
        func work() -> Int {
            batch * outputs * channels / groups * kernel[0] * kernel[1] * extent(0) * extent(1)
        }
        while work() > Self.most {
            if batch > 1 {
                batch -= 1
            } else if kernel[0] > 3 {
                kernel[0] -= 1
            } else if kernel[1] > 3 {
                kernel[1] -= 1
            } else {
                let d = size[0] > size[1] ? 0 : 1
                size[d] = max(size[d] - 3, reach(d) - pads[d] - pads[d + 2], 1)
                if work() > Self.most, size.allSatisfy({ $0 <= 4 }) { pads = [0, 0, 0, 0] }
            }
            for d in 0..<2 { size[d] = max(size[d], reach(d) - pads[d] - pads[d + 2], 1) }
        }
        var test = Cases.conv(
            "kernel \(kernel), strides \(strides), pads \(pads), dilations \(dilations), \(groups) groups",
            [batch, channels, size[0], size[1]], outputs, kernel, strides: strides, pads: pads,
            dilations: dilations, groups: groups, bias: chance(70), adds: chance(25),
            clip: chance(30) ? any([.relu, Bounds(0, 6), Bounds(-0.5, 0.75)]) : nil)
        // Wide ones, and phases of their gradients, may go by Winograd's way.
        if channels >= 32, outputs >= 32, groups == 1 { test.tolerance = 16 }
        return test
    }

    private mutating func pool() -> OperatorCase {
        var kernel = [int(1...5), int(1...5)]
        let strides = [int(1...5), int(1...5)]
        var dilations = chance(75) ? [1, 1] : [int(1...3), int(1...3)]
        let size = [int(1...15), int(1...15)]
        var pads = [0, 1, 0, 1].map { d in int(0...kernel[d] - 1) }
        if chance(30) { pads = [0, 0, 0, 0] }
        for d in 0..<2
        where size[d] < dilations[d]
            || size[d] + pads[d] + pads[d + 2] < dilations[d] * (kernel[d] - 1) + 1
        {
            (kernel[d], dilations[d], pads[d], pads[d + 2]) = (1, 1, 0, 0)
        }
        return any(
            Cases.pool(
                "kernel \(kernel), strides \(strides), pads \(pads), dilations \(dilations)",
                [int(1...3), int(1...70), size[0], size[1]], kernel, strides: strides, pads: pads,
                dilations: dilations, ceil: chance(40)))
    }

    // MARK: Shapes

    /// Extents of up to six dimensions.
    private mutating func dims(_ ranks: ClosedRange<Int> = 1...6) -> [Int] {
        let rank = chance(50) && ranks.contains(4) ? 4 : int(ranks)
        var dims = (0..<rank).map { _ in int(1...(rank > 4 ? 4 : 12)) }
        if rank >= 2 { dims[1] = int(1...(rank > 4 ? 6 : 40)) }
        return dims
    }
    private mutating func reduction() -> OperatorCase {
        let x = dims()
        let axes = x.indices.filter { _ in chance(50) }
        return any(Cases.reduction(x, axes.isEmpty ? nil : axes, keep: chance(50)))
    }

    private mutating func matMul() -> OperatorCase {
        let (m, k, n) = (int(1...20), int(1...300), int(1...70))
        let lead = (0..<int(0...3)).map { _ in int(1...3) }
        if chance(40) {
            return Cases.matMul(.activation(lead + [m, k]), .constant([k, n]))
        }
        let other = lead.map { chance(50) ? $0 : 1 }
        let (a, b) = chance(50) ? (lead, other) : (other, lead)
        return Cases.matMul(.activation(a + [m, k]), .activation(b + [k, n]))
    }

    private mutating func gemm() -> OperatorCase {
        let (m, k, n) = (int(1...20), int(1...600), int(1...70))
        let c: [Int]? = any([nil, [n], [1], [1, n], [m, 1], [m, n], []])
        return Cases.gemm(
            m, k, n, c: c, alpha: any([1, 1, 0.5, -2]), beta: any([1, 1, 0, 0.75, -1.5]),
            transA: chance(30), transB: chance(50), adds: chance(20),
            clip: chance(20) ? Bounds(-0.5, 0.5) : nil)
    }

    private mutating func slice() -> OperatorCase {
        let x = dims()
        let axes = x.indices.filter { _ in chance(60) }
        let named = axes.isEmpty ? [0] : axes
        var (starts, ends, steps) = ([Int](), [Int](), [Int]())
        for a in named {
            let step = any([1, 1, 2, 3, -1, -2])
            let first = random.index(below: x[a])
            starts.append(chance(30) ? first - x[a] : first)
            ends.append(step > 0 ? int(first + 1...x[a] + 3) : -x[a] - 1)
            steps.append(step)
        }
        return Cases.slice(
            x, starts: starts, ends: ends, axes: chance(30) ? named.map { $0 - x.count } : named, steps: steps
        )
    }

    private mutating func split() -> OperatorCase {
        let x = dims()
        let a = random.index(below: x.count)
        var sizes: [Int] = []
        var left = x[a]
        while left > 0 {
            sizes.append(sizes.count == 3 ? left : int(1...left))
            left -= sizes.last!
        }
        return Cases.split(x, axis: chance(30) ? a - x.count : a, sizes, opset: any([11, 13, 18]))
    }

    private mutating func pad() -> OperatorCase {
        let x = dims(1...4)
        let mode = any(["constant", "reflect", "edge", "wrap"])
        let pads = (0..<2 * x.count).map { i -> Int in
            let extent = x[i % x.count]
            return int(0...(mode == "reflect" ? min(3, extent - 1) : mode == "wrap" ? min(3, extent) : 3))
        }
        return Cases.pad(x, pads, mode: mode, value: mode == "constant" && chance(50) ? 1.5 : nil, opset: 19)
    }

    private mutating func arithmetic() -> OperatorCase {
        let x = dims()
        var other = x.map { chance(50) ? $0 : 1 }
        other.removeFirst(int(0...x.count))
        typealias Operation = (name: String, f: @Sendable (Double, Double) -> Double)
        let operations: [Operation] = [
            ("Add", { $0 + $1 }), ("Sub", { $0 - $1 }), ("Mul", { $0 * $1 }), ("Div", { $0 / $1 }),
        ]
        let (name, f) = any(operations)
        return OperatorCase(name, [.activation(x), .activation(other, .between(0.5, 2))]) {
            [Reference.binary($0[0]!, $0[1]!, f)]
        }
    }

    private mutating func transpose() -> OperatorCase {
        let x = dims()
        let order = Array(x.indices).shuffled(using: &random)
        return OperatorCase("Transpose", "\(order)", ["perm": .ints(order)], [.activation(x)]) {
            [Reference.transpose($0[0]!, order)]
        }
    }
}
