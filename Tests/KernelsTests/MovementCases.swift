// Selection, order and resampling.

import Foundation
import Kernels
import TestSupport
import Testing

extension Cases {
    static let movementCases: [OperatorCase] = [
        expansions, gathers, scatters, paddings, blocks, resizes, transposedConvolutions, equations,
        fusedConvolutions,
        hostCases,
    ].flatMap { $0 }

    private static func places(_ count: Int, below limit: Int, _ seed: String, negative: Bool = true) -> [Int]
    {
        var random = SeededRandom(seed)
        return (0..<count).map { _ in
            let i = random.index(below: limit)
            return negative && random.index(below: 3) == 0 ? i - limit : i
        }
    }
    private static func wrapped(_ i: Double, _ extent: Int) -> Int { i < 0 ? Int(i) + extent : Int(i) }

    // MARK: Copies

    static func expand(_ x: [Int], _ shape: [Int]) -> OperatorCase {
        OperatorCase("Expand", [.activation(x), .ints(shape)]) {
            let rank = max(x.count, shape.count)
            func at(_ dims: [Int], _ d: Int) -> Int {
                let i = d - (rank - dims.count)
                return i < 0 ? 1 : dims[i]
            }
            let input = $0[0]!
            return [
                Tensor((0..<rank).map { max(at(x, $0), at(shape, $0)) }) { input.broadcast($0) }
            ]
        }
    }

    static func tile(_ x: [Int], _ repeats: [Int]) -> OperatorCase {
        OperatorCase("Tile", [.activation(x), .ints(repeats)]) {
            let input = $0[0]!
            return [
                Tensor(zip(x, repeats).map { $0 * $1 }) { i in input[zip(i, x).map { $0 % $1 }] }
            ]
        }
    }

    static let expansions: [OperatorCase] = [
        expand([1, 1, 7], [3, 5, 7]), expand([1, 1, 7], [3, 1, 1]), expand([2, 5, 1, 1], [1, 1, 3, 4]),
        expand([3, 1], [2, 1, 3, 4]), expand([4], [2, 3, 4]), expand([2, 3], [1]), expand([1], [17]),
        expand([2, 1, 3, 1, 2, 1], [2, 2, 3, 2, 2, 3]), expand([1, 33, 1, 1], [2, 33, 5, 3]),
        tile([2, 5, 3, 4], [1, 1, 2, 3]), tile([2, 5, 3, 4], [2, 3, 1, 1]), tile([7], [3]),
        tile([1, 1, 5], [2, 4, 1]), tile([2, 3, 2, 1, 2, 2], [1, 2, 2, 3, 1, 2]), tile([3, 17], [1, 1]),
        OperatorCase("Tile", "opset 7", opset: 7, [.activation([2, 3]), .ints([2, 2])]) {
            let x = $0[0]!
            return [Tensor([4, 6]) { x[[$0[0] % 2, $0[1] % 3]] }]
        },
    ]

    // MARK: Gathers

    static func gather(_ x: [Int], axis: Int, _ dims: [Int], _ indices: [Int]) -> OperatorCase {
        let along = axis < 0 ? axis + x.count : axis
        return OperatorCase(
            "Gather", "\(indices.count) along \(axis)", ["axis": .int(axis)],
            [.activation(x), .table(dims, indices)]
        ) {
            let (x, list) = ($0[0]!, $0[1]!)
            let dims = Array(x.dims[..<along]) + list.dims + Array(x.dims[(along + 1)...])
            return [
                Tensor(dims) { i in
                    let at = list[Array(i[along..<along + list.dims.count])]
                    return x[
                        Array(i[..<along]) + [wrapped(at, x.dims[along])]
                            + Array(i[(along + list.dims.count)...])]
                }
            ]
        }
    }

    static func gatherElements(_ x: [Int], axis: Int, _ dims: [Int]) -> OperatorCase {
        let along = axis < 0 ? axis + x.count : axis
        let indices = places(dims.reduce(1, *), below: x[along], "elements \(x) \(axis) \(dims)")
        return OperatorCase(
            "GatherElements", "axis \(axis)", ["axis": .int(axis)], [.activation(x), .table(dims, indices)]
        ) {
            let (x, list) = ($0[0]!, $0[1]!)
            return [
                Tensor(list.dims) { i in
                    var at = i
                    at[along] = wrapped(list[i], x.dims[along])
                    return x[at]
                }
            ]
        }
    }

    static func gatherND(_ x: [Int], _ dims: [Int], batch: Int = 0) -> OperatorCase {
        let length = dims.last!
        var indices: [Int] = []
        for (i, place) in places(dims.reduce(1, *), below: 1 << 20, "tuples \(x) \(dims)", negative: false)
            .enumerated()
        {
            let extent = x[batch + i % length]
            indices.append(place % extent - (place % 7 == 0 ? extent : 0))
        }
        return OperatorCase(
            "GatherND", "\(batch) in common", batch > 0 ? ["batch_dims": .int(batch)] : [:],
            [.activation(x), .table(dims, indices)]
        ) {
            let (x, list) = ($0[0]!, $0[1]!)
            let outer = list.dims.dropLast()
            return [
                Tensor(Array(outer) + Array(x.dims[(batch + length)...])) { i in
                    let lead = Array(i[..<outer.count])
                    let named = (0..<length).map { wrapped(list[lead + [$0]], x.dims[batch + $0]) }
                    return x[Array(lead[..<batch]) + named + Array(i[outer.count...])]
                }
            ]
        }
    }

    static let gathers: [OperatorCase] = {
        var cases = [
            gather([2, 5, 3, 4], axis: 1, [3], [4, 0, -1]), gather([2, 5, 3, 4], axis: 2, [2], [2, 0]),
            gather([2, 5, 3, 4], axis: 3, [5], [3, 3, 0, 1, 3]),
            gather([2, 5, 3, 4], axis: 0, [3], [1, 0, 1]),
            gather([3, 40], axis: 1, [2, 3], [39, 0, 7, 7, -40, 5]),
            gather([5, 33], axis: 0, [2, 2], [4, 1, 1, 3]),
            gather([9], axis: 0, [17], places(17, below: 9, "nine")),
            gather([9], axis: 0, [4], [8, 6, 4, 2]),
            gather([2, 7, 20], axis: -2, [49], places(49, below: 7, "seven")),
            gather([2, 2, 3, 2, 3], axis: 3, [2, 2], [1, 0, 0, 1]),
            gather([2, 3, 5, 2, 2, 3], axis: 2, [3], [4, 4, 0]), gather([4, 3], axis: 0, [2], [2, 2]),
            gatherElements([2, 5, 3, 4], axis: 1, [2, 3, 3, 4]), gatherElements([3, 4], axis: 0, [2, 4]),
            gatherElements([3, 17], axis: -1, [3, 40]), gatherElements([6], axis: 0, [9]),
            gatherElements([2, 3, 4], axis: 1, [1, 5, 2]),
            gatherND([2, 5, 3, 4], [3, 1]), gatherND([2, 5, 3, 4], [2, 2, 3]),
            gatherND([2, 5, 3, 4], [7, 4]),
            gatherND([3, 4, 5], [3, 2, 1], batch: 1), gatherND([2, 3, 4, 5], [2, 3, 2, 1], batch: 2),
            gatherND([6], [4, 1]),
        ]
        for (x, k, upper) in [
            ([5, 7], nil, true), ([2, 4, 4], 1, true), ([2, 3, 5, 4], -1, false), ([3, 6], 9, true),
            ([3, 3], -2, true), ([4, 17], 2, false),
        ] as [([Int], Int?, Bool)] {
            cases.append(
                OperatorCase(
                    "Trilu", upper ? "upper" : "lower", upper ? [:] : ["upper": .int(0)],
                    [.activation(x)] + (k.map { [.scalar($0)] } ?? [])
                ) {
                    let x = $0[0]!
                    return [
                        Tensor(x.dims) { i in
                            let diagonal = i[i.count - 1] - i[i.count - 2]
                            return (upper ? diagonal >= k ?? 0 : diagonal <= k ?? 0) ? x[i] : 0
                        }
                    ]
                })
        }
        for (x, axis) in [([7], 0), ([2, 5, 3, 4], 1), ([2, 5, 3, 4], -1), ([3, 40], 1), ([2, 3, 9], 1)] {
            for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
                let along = axis < 0 ? axis + x.count : axis
                cases.append(
                    OperatorCase(
                        "CumSum", "\(exclusive ? "exclusive" : "") \(reverse ? "reverse" : "")",
                        ["exclusive": .int(exclusive ? 1 : 0), "reverse": .int(reverse ? 1 : 0)],
                        [.activation(x), .scalar(axis)]
                    ) {
                        let x = $0[0]!
                        return [
                            Tensor(sums: x.dims) { i, add in
                                for k in 0..<x.dims[along]
                                where (exclusive ? k != i[along] : true)
                                    && (reverse ? k >= i[along] : k <= i[along])
                                {
                                    var at = i
                                    at[along] = k
                                    add(x[at])
                                }
                            }
                        ]
                    })
            }
        }
        for (x, batchAxis) in [([4, 3], 1), ([3, 5, 2], 0), ([4, 4, 2, 3], 1)] {
            let lengths = places(x[batchAxis], below: x[1 - batchAxis] + 1, "lengths \(x)", negative: false)
            cases.append(
                OperatorCase(
                    "ReverseSequence", ["batch_axis": .int(batchAxis), "time_axis": .int(1 - batchAxis)],
                    [.activation(x), .ints(lengths)]
                ) {
                    let x = $0[0]!
                    return [
                        Tensor(x.dims) { i in
                            var at = i
                            let length = lengths[i[batchAxis]]
                            if i[1 - batchAxis] < length { at[1 - batchAxis] = length - 1 - i[1 - batchAxis] }
                            return x[at]
                        }
                    ]
                })
        }
        for (x, axis, condition) in [
            ([2, 5, 3, 4], 1, [1, 0, 0, 1]), ([3, 4], nil, [0, 1, 1, 0, 1, 0, 0, 1]),
            ([6], -1, [0, 1, 1, 0, 0, 1]),
        ] as [([Int], Int?, [Int])] {
            cases.append(
                OperatorCase(
                    "Compress", axis.map { ["axis": .int($0)] } ?? [:], [.activation(x), .ints(condition)]
                ) {
                    let x = $0[0]!
                    let taken = condition.indices.filter { condition[$0] != 0 }
                    guard let axis else { return [Tensor([taken.count], taken.map { x.values[$0] })] }
                    return [Reference.pick(x, [axis < 0 ? axis + x.dims.count : axis: taken])]
                })
        }
        return cases
    }()

    // MARK: Scatters

    private static let adding: [String: Attribute] = ["reduction": .string("add")]

    static func scatterND(_ x: [Int], _ tuples: [[Int]], adds: Bool = false, updates: Bool = true)
        -> OperatorCase
    {
        let length = tuples[0].count
        let (inner, dims) = (Array(x[length...]), [tuples.count, length])
        return OperatorCase(
            "ScatterND", "\(tuples)\(adds ? ", adds" : "")", adds ? adding : [:],
            [
                .activation(x), .table(dims, tuples.flatMap(\.self)),
                updates ? .activation([tuples.count] + inner) : .constant([tuples.count] + inner),
            ]
        ) {
            let (x, updates) = ($0[0]!, $0[2]!)
            return [
                Tensor(sums: x.dims) { i, add in
                    let here = tuples.indices.filter { t in
                        zip(tuples[t], i).enumerated().allSatisfy {
                            wrapped(Double($0.element.0), x.dims[$0.offset]) == $0.element.1
                        }
                    }
                    if adds || here.isEmpty { add(x[i]) }
                    for t in adds ? here : here.suffix(1) { add(updates[[t] + Array(i[length...])]) }
                }
            ]
        }
    }

    static func scatterElements(_ x: [Int], axis: Int, _ dims: [Int], _ indices: [Int], adds: Bool = false)
        -> OperatorCase
    {
        let along = axis < 0 ? axis + x.count : axis
        return OperatorCase(
            "ScatterElements", "axis \(axis)\(adds ? ", adds" : "")",
            ["axis": .int(axis)].merging(adds ? adding : [:]) { $1 },
            [.activation(x), .table(dims, indices), .activation(dims)]
        ) {
            let (x, list, updates) = ($0[0]!, $0[1]!, $0[2]!)
            return [
                Tensor(sums: x.dims) { i, add in
                    var here: [Double] = []
                    forEachIndex(dims) { j in
                        var at = j
                        at[along] = wrapped(list[j], x.dims[along])
                        if at == i { here.append(updates[j]) }
                    }
                    if adds || here.isEmpty { add(x[i]) }
                    for update in adds ? here : Array(here.suffix(1)) { add(update) }
                }
            ]
        }
    }

    static let scatters: [OperatorCase] = [
        scatterND([6], [[1], [4], [-1]]), scatterND([2, 5, 3, 4], [[1, 2], [0, -5]]),
        scatterND([4, 17], [[0], [3]]), scatterND([4, 3], [[2], [2], [0]], adds: true),
        scatterND([2, 3, 4], [[1, 2, 3], [0, 0, 0]], updates: false),
        scatterND([2, 3, 4], [[1, 2, 3], [1, 2, 3], [0, 1, 0]], adds: true),
        scatterElements([3, 4], axis: 1, [2, 2], [3, 0, -3, 2]),
        scatterElements(
            [2, 5, 3, 4], axis: 1, [2, 2, 1, 4], [4, 0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 1, 3, 0, 2]),
        scatterElements([6], axis: -1, [4], [1, 1, 5, 1], adds: true),
        scatterElements([2, 3], axis: 0, [1, 3], [1, 0, 1]),
    ]

    // MARK: Borders and blocks

    static let paddings: [OperatorCase] = {
        var cases = [
            pad([2, 5, 6, 7], [0, 0, -1, 2, 0, 0, 3, -2]),
            pad([2, 5, 6, 7], [0, -2, -1, -1, 0, 0, -1, -1], value: 2),
            pad([9], [-2, 4], value: 1), pad([9], [-3, -5]),
            pad([2, 3, 9], [0, 0, 1, 0, -1, -4], opset: 18),
            pad([5], [11, 14], mode: "reflect"), pad([4], [9, 13], mode: "wrap", opset: 19),
            pad([2, 3, 4, 5], [0, 0, 9, 3, 0, 0, 1, 17], mode: "reflect"),
        ]
        for (mode, opset) in [("edge", 13), ("reflect", 13), ("wrap", 19)] {
            var test = pad([2, 5, 6, 7], [0, 0, 0, 2, 0, 0, 3, 0], mode: mode, opset: opset)
            // Cut off first: the border is that of what is left.
            test = OperatorCase(
                "Pad", mode + ", cut", opset: opset, ["mode": .string(mode)],
                [.activation([2, 5, 6, 7]), .ints([0, 0, -2, 2, 0, -1, 3, -3])]
            ) {
                let x = Reference.pick($0[0]!, [1: [0, 1, 2, 3], 2: [2, 3, 4, 5], 3: [0, 1, 2, 3]])
                return [Reference.pad(x, [0, 0, 0, 2, 0, 0, 3, 0], mode: mode, value: 0)]
            }
            cases.append(test)
        }
        for (x, shape, axes) in [
            ([2, 5, 6, 7], [3, 9], [2, 3]), ([2, 5, 6, 7], [4, 8], [-2, 1]), ([7], [4], [0]), ([6], [9], [0]),
            ([2, 3, 8], [2, 6, 5], nil),
        ] as [([Int], [Int], [Int]?)] {
            let named = (axes ?? Array(x.indices)).map { $0 < 0 ? $0 + x.count : $0 }
            cases.append(
                OperatorCase(
                    "CenterCropPad", opset: 18, axes.map { ["axes": .ints($0)] } ?? [:],
                    [.activation(x), .ints(shape)]
                ) {
                    let x = $0[0]!
                    var (dims, starts) = (x.dims, x.dims.map { _ in 0 })
                    for (axis, extent) in zip(named, shape) {
                        dims[axis] = extent
                        starts[axis] =
                            extent < x.dims[axis]
                            ? (x.dims[axis] - extent) / 2 : -((extent - x.dims[axis]) / 2)
                    }
                    return [
                        Tensor(dims) { i in
                            let at = zip(i, starts).map { $0 + $1 }
                            return zip(at, x.dims).allSatisfy { $0 >= 0 && $0 < $1 } ? x[at] : 0
                        }
                    ]
                })
        }
        return cases
    }()

    static let blocks: [OperatorCase] = {
        var cases: [OperatorCase] = []
        for (x, size) in [([2, 12, 2, 3], 2), ([1, 18, 1, 2], 3), ([2, 5, 3, 4], 1), ([1, 64, 3, 2], 4)] {
            for mode in ["DCR", "CRD"] {
                let c = x[1] / (size * size)
                cases.append(
                    OperatorCase(
                        "DepthToSpace", mode, ["blocksize": .int(size), "mode": .string(mode)],
                        [.activation(x)]
                    ) {
                        let x = $0[0]!
                        return [
                            Tensor([x.dims[0], c, x.dims[2] * size, x.dims[3] * size]) { i in
                                let pixel = i[2] % size * size + i[3] % size
                                let channel = mode == "DCR" ? pixel * c + i[1] : i[1] * size * size + pixel
                                return x[[i[0], channel, i[2] / size, i[3] / size]]
                            }
                        ]
                    })
            }
        }
        for (x, size) in [([2, 3, 4, 6], 2), ([1, 17, 3, 9], 3), ([2, 5, 3, 4], 1)] {
            cases.append(
                OperatorCase("SpaceToDepth", ["blocksize": .int(size)], [.activation(x)]) {
                    let x = $0[0]!
                    let c = x.dims[1]
                    return [
                        Tensor([x.dims[0], c * size * size, x.dims[2] / size, x.dims[3] / size]) { i in
                            let pixel = i[1] / c
                            return x[
                                [i[0], i[1] % c, i[2] * size + pixel / size, i[3] * size + pixel % size]]
                        }
                    ]
                })
        }
        for (image, block, strides, pads, dilations, channels) in [
            ([5, 5], [1, 5], [1, 1], [0, 0, 0, 0], [1, 1], 1),
            ([6, 7], [3, 2], [2, 1], [1, 0, 1, 1], [1, 1], 3),
            ([9, 8], [3, 3], [1, 2], [2, 2, 2, 2], [2, 2], 2), ([12], [4], [3], [1, 2], [1], 5),
        ] as [([Int], [Int], [Int], [Int], [Int], Int)] {
            let rank = image.count
            let cuts = (0..<rank).map { (d: Int) -> Int in
                let reach: Int = dilations[d] * (block[d] - 1) + 1
                let padded: Int = image[d] + pads[d] + pads[d + rank]
                return (padded - reach) / strides[d] + 1
            }
            let taps = block.reduce(1, *)
            cases.append(
                OperatorCase(
                    "Col2Im", "image \(image), block \(block)", opset: 18,
                    ["strides": .ints(strides), "pads": .ints(pads), "dilations": .ints(dilations)],
                    [
                        .activation([2, channels * taps, cuts.reduce(1, *)]), .ints(image), .ints(block),
                    ]
                ) {
                    let x = $0[0]!
                    return [
                        Tensor(sums: [2, channels] + image) { i, add in
                            var tap = 0
                            forEachIndex(block) { k in
                                var cut = 0
                                forEachIndex(cuts) { o in
                                    let at = (0..<rank).map {
                                        o[$0] * strides[$0] + k[$0] * dilations[$0] - pads[$0]
                                    }
                                    if at == Array(i[2...]) { add(x[[i[0], i[1] * taps + tap, cut]]) }
                                    cut += 1
                                }
                                tap += 1
                            }
                        }
                    ]
                })
        }
        return cases
    }()

    // MARK: Resampling

    /// As the standard's reference resamples one axis: its neighbours and their coefficients.
    struct Sampling: Sendable {
        var mode = "nearest", coordinates = "half_pixel", nearest = "round_prefer_floor"
        var a = -0.75
        var excludes = false, antialias = false
        var extrapolation: Float = 0

        func position(_ i: Int, _ input: Int, _ output: Int, _ scale: Double, _ roi: (Double, Double))
            -> Double
        {
            let (x, n, m) = (Double(i), Double(input), Double(output))
            switch coordinates {
            case "asymmetric": return x / scale
            case "tf_half_pixel_for_nn": return (x + 0.5) / scale
            case "align_corners": return output == 1 ? 0 : x * (n - 1) / (m - 1)
            case "pytorch_half_pixel": return output == 1 ? -0.5 : (x + 0.5) / scale - 0.5
            case "half_pixel_symmetric":
                return n / 2 * (1 - m / (scale * n)) + (x + 0.5) / scale - 0.5
            case "tf_crop_and_resize":
                return output == 1
                    ? (roi.0 + roi.1) * (n - 1) / 2
                    : roi.0 * (n - 1) + x * (roi.1 - roi.0) * (n - 1) / (m - 1)
            default: return (x + 0.5) / scale - 0.5
            }
        }

        func neighbours(_ x: Double, _ input: Int, _ scale: Double) -> [(Int, Double)] {
            if mode == "nearest" {
                let i: Double
                switch nearest {
                case "floor": i = floor(x)
                case "ceil": i = ceil(x)
                case "round_prefer_ceil": i = floor(x + 0.5)
                case "simple": i = scale < 1 ? ceil(x) : floor(x)
                default: i = ceil(x - 0.5)
                }
                return [(min(max(Int(i), 0), input - 1), 1)]
            }
            func filter(_ d: Double) -> Double {
                let d = abs(d)
                if mode == "linear" { return max(0, 1 - d) }
                if d <= 1 { return (a + 2) * d * d * d - (a + 3) * d * d + 1 }
                return d < 2 ? a * d * d * d - 5 * a * d * d + 8 * a * d - 4 * a : 0
            }
            let stretch = antialias ? min(scale, 1) : 1
            var all = (-60...60).map { (Int(floor(x)) + $0, 0.0) }
            for k in all.indices { all[k].1 = filter((Double(all[k].0) - x) * stretch) }
            if antialias {
                let sum = all.map(\.1).reduce(0, +)
                for k in all.indices { all[k].1 /= sum }
            }
            if excludes {
                all = all.filter { (0..<input).contains($0.0) }
                let sum = all.map(\.1).reduce(0, +)
                for k in all.indices { all[k].1 /= sum }
            }
            return all.filter { $0.1 != 0 }.map { (min(max($0.0, 0), input - 1), $0.1) }
        }

        func callAsFunction(
            _ x: Tensor, _ dims: [Int], scales: [Double], roi: [(Double, Double)]? = nil
        ) -> Tensor {
            let rank = dims.count
            let lines = (0..<rank).map { d in
                (0..<dims[d]).map { i -> [(Int, Double)]? in
                    let at = position(i, x.dims[d], dims[d], scales[d], roi?[d] ?? (0, 1))
                    if coordinates == "tf_crop_and_resize", at < 0 || at > Double(x.dims[d] - 1) {
                        return nil
                    }
                    return neighbours(at, x.dims[d], scales[d])
                }
            }
            return Tensor(sums: dims) { i, add in
                let rows = (0..<rank).map { lines[$0][i[$0]] }
                guard rows.allSatisfy({ $0 != nil }) else { return add(Double(extrapolation)) }
                forEachIndex(rows.map { $0!.count }) { k in
                    let terms = (0..<rank).map { rows[$0]![k[$0]] }
                    add(terms.reduce(x[terms.map(\.0)]) { $0 * $1.1 })
                }
            }
        }
    }

    static func resize(
        _ x: [Int], sizes: [Int]? = nil, scales: [Float]? = nil, axes: [Int]? = nil, roi: [Float]? = nil,
        opset: Int = 19, _ change: (inout Sampling) -> Void
    ) -> OperatorCase {
        var sampling = Sampling()
        change(&sampling)
        var attributes: [String: Attribute] = ["mode": .string(sampling.mode)]
        if opset >= 11 {
            attributes["coordinate_transformation_mode"] = .string(sampling.coordinates)
            if sampling.mode == "nearest" { attributes["nearest_mode"] = .string(sampling.nearest) }
            if sampling.a != -0.75 { attributes["cubic_coeff_a"] = .float(Float(sampling.a)) }
            if sampling.excludes { attributes["exclude_outside"] = .int(1) }
            if sampling.antialias { attributes["antialias"] = .int(1) }
            if sampling.extrapolation != 0 {
                attributes["extrapolation_value"] = .float(sampling.extrapolation)
            }
            if let axes { attributes["axes"] = .ints(axes) }
        }
        let named = axes ?? Array(x.indices)
        var (dims, factors) = (x, x.map { _ in 1.0 })
        var regions = x.map { _ in (0.0, 1.0) }
        for (k, axis) in named.enumerated() {
            dims[axis] = sizes?[k] ?? Int(Float(x[axis]) * scales![k])
            factors[axis] = sizes.map { Double($0[k]) / Double(x[axis]) } ?? Double(scales![k])
            if let roi { regions[axis] = (Double(roi[k]), Double(roi[k + named.count])) }
        }
        var inputs: [OperatorCase.Input] = [.activation(x)]
        if opset >= 11 { inputs.append(roi.map { .constant([$0.count], .exactly($0)) } ?? .absent) }
        if let scales { inputs.append(.constant([scales.count], .exactly(scales))) }
        if let sizes { inputs += [.absent, .ints(sizes)] }
        let (final, to, by, from) = (sampling, dims, factors, regions)
        var test = OperatorCase(
            "Resize", "\(sampling) to \(dims)", opset: opset, attributes, inputs
        ) { [final($0[0]!, to, scales: by, roi: from)] }
        // One rounding for each axis and weight.
        test.tolerance = 16
        return test
    }

    static let resizes: [OperatorCase] = {
        var cases: [OperatorCase] = []
        for mode in ["linear", "cubic", "nearest"] {
            for coordinates in [
                "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric",
            ] {
                cases.append(
                    resize([2, 5, 5, 7], sizes: [2, 5, 9, 3]) {
                        ($0.mode, $0.coordinates) = (mode, coordinates)
                    })
            }
        }
        for nearest in ["round_prefer_ceil", "floor", "ceil"] {
            cases.append(resize([1, 3, 5, 4], scales: [1, 1, 2, 1.5]) { $0.nearest = nearest })
            cases.append(
                resize([1, 3, 5, 8], scales: [1, 1, 0.6, 0.5], opset: 13) {
                    ($0.nearest, $0.coordinates) = (nearest, "asymmetric")
                })
        }
        cases += [
            resize([1, 33, 7, 7], scales: [1, 1, 2, 2], opset: 11) { $0.mode = "linear" },
            resize([1, 17, 3, 3], scales: [1, 1, 2.5, 3.3]) {
                ($0.mode, $0.coordinates) = ("cubic", "half_pixel_symmetric")
            },
            resize([2, 4, 3, 5], scales: [1, 1, 2, 2], opset: 11) {
                ($0.coordinates, $0.nearest) = ("tf_half_pixel_for_nn", "floor")
            },
            resize([1, 3, 6, 6], sizes: [4, 5], axes: [3, 2]) { ($0.mode, $0.excludes) = ("cubic", true) },
            resize([1, 3, 6, 6], sizes: [9, 11], axes: [2, 3]) {
                ($0.mode, $0.a, $0.excludes) = ("cubic", -0.5, true)
            },
            resize([1, 3, 17, 12], sizes: [5, 7], axes: [2, 3]) {
                ($0.mode, $0.antialias) = ("linear", true)
            },
            resize([1, 3, 17, 12], sizes: [5, 17], axes: [2, 3]) {
                ($0.mode, $0.antialias) = ("cubic", true)
            },
            resize([1, 3, 17, 12], scales: [0.3, 0.7], axes: [2, 3]) {
                ($0.mode, $0.antialias, $0.excludes) = ("cubic", true, true)
            },
            resize([1, 3, 17, 12], scales: [0.3, 0.7], axes: [2, 3]) {
                ($0.mode, $0.antialias, $0.excludes) = ("linear", true, true)
            },
            resize([2, 5, 9], sizes: [2, 5, 20]) { $0.mode = "linear" },
            resize([1, 3, 4, 5, 3], sizes: [7, 3, 5], axes: [2, 3, 4]) { $0.mode = "linear" },
            resize([1, 3, 4, 5, 3], sizes: [7, 3, 5], axes: [2, 3, 4]) { _ in },
            resize([2, 3, 4, 6], sizes: [1, 1], axes: [2, 3]) {
                ($0.mode, $0.coordinates) = ("linear", "pytorch_half_pixel")
            },
            resize([2, 3, 4, 6], sizes: [1, 1], axes: [2, 3]) {
                ($0.mode, $0.coordinates) = ("linear", "align_corners")
            },
            resize([1, 2, 6, 6], sizes: [5, 7], axes: [2, 3], roi: [0.2, -0.1, 0.7, 1.3]) {
                ($0.mode, $0.coordinates, $0.extrapolation) = ("linear", "tf_crop_and_resize", 3)
            },
            resize([1, 2, 6, 6], sizes: [1, 2, 5, 7], roi: [0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7]) {
                ($0.mode, $0.coordinates) = ("cubic", "tf_crop_and_resize")
            },
            resize([1, 3, 4, 4], sizes: [1, 3, 4, 4]) { $0.mode = "cubic" },
            resize([2, 3, 5, 6], scales: [1, 1, 2, 1.5], opset: 10) {
                ($0.mode, $0.coordinates) = ("linear", "asymmetric")
            },
            resize([2, 3, 5, 6], scales: [1, 1, 2, 0.5], opset: 10) {
                ($0.coordinates, $0.nearest) = ("asymmetric", "simple")
            },
        ]
        for (mode, opset) in [("nearest", 7), ("linear", 7), ("nearest", 9), ("linear", 9)] {
            let scales: [Float] = [1, 1, 2, 3]
            var sampling = Sampling(mode: mode)
            (sampling.coordinates, sampling.nearest) = ("asymmetric", "simple")
            let final = sampling
            cases.append(
                OperatorCase(
                    "Upsample", mode, opset: opset,
                    ["mode": .string(mode)].merging(opset < 9 ? ["scales": .floats(scales)] : [:]) { $1 },
                    [.activation([2, 5, 3, 4])] + (opset < 9 ? [] : [.constant([4], .exactly(scales))])
                ) { [final($0[0]!, [2, 5, 6, 12], scales: [1, 1, 2, 3])] })
        }
        return cases
    }()

    // MARK: Transposed convolutions

    static func convTranspose(
        _ title: String, _ x: [Int], _ outputs: Int, _ kernel: [Int], strides: [Int]? = nil,
        pads: [Int]? = nil,
        dilations: [Int]? = nil, padding: [Int]? = nil, shape: [Int]? = nil, autoPad: String? = nil,
        groups: Int = 1, bias: Bool = true
    ) -> OperatorCase {
        let rank = kernel.count
        var attributes: [String: Attribute] = ["group": .int(groups), "kernel_shape": .ints(kernel)]
        attributes["strides"] = strides.map { .ints($0) }
        attributes["pads"] = pads.map { .ints($0) }
        attributes["dilations"] = dilations.map { .ints($0) }
        attributes["output_padding"] = padding.map { .ints($0) }
        attributes["output_shape"] = shape.map { .ints($0) }
        attributes["auto_pad"] = autoPad.map { .string($0) }
        let s = strides ?? kernel.map { _ in 1 }
        let dilate = dilations ?? kernel.map { _ in 1 }
        var begin = (0..<rank).map { pads?[$0] ?? 0 }
        let extents = (0..<rank).map { d -> Int in
            let whole = s[d] * (x[d + 2] - 1) + (padding?[d] ?? 0) + (kernel[d] - 1) * dilate[d] + 1
            if shape == nil, autoPad == nil { return whole - begin[d] - (pads?[d + rank] ?? 0) }
            let wanted = shape?[d] ?? x[d + 2] * s[d]
            let total = max(0, whole - wanted)
            begin[d] = autoPad == "SAME_UPPER" ? total / 2 : total - total / 2
            return wanted
        }
        let before = begin
        return OperatorCase(
            "ConvTranspose", title, attributes,
            [.activation(x), .constant([x[1], outputs / groups] + kernel)]
                + (bias ? [.constant([outputs])] : [])
        ) {
            let (x, w) = ($0[0]!, $0[1]!)
            let b = $0.count > 2 ? $0[2] : nil
            let (perIn, perOut) = (x.dims[1] / groups, outputs / groups)
            return [
                Tensor(sums: [x.dims[0], outputs] + extents) { i, add in
                    if let b { add(b[[i[1]]]) }
                    let group = i[1] / perOut
                    forEachIndex(kernel) { k in
                        var p: [Int] = []
                        for d in 0..<rank {
                            let at = i[d + 2] + before[d] - k[d] * dilate[d]
                            guard at >= 0, at % s[d] == 0, at / s[d] < x.dims[d + 2] else { return }
                            p.append(at / s[d])
                        }
                        for c in group * perIn..<(group + 1) * perIn {
                            add(w[[c, i[1] % perOut] + k] * x[[i[0], c] + p])
                        }
                    }
                }
            ]
        }
    }

    static let transposedConvolutions: [OperatorCase] = [
        convTranspose("plain", [1, 3, 4, 5], 5, [3, 3]),
        convTranspose("no bias", [2, 3, 4, 5], 33, [2, 2], strides: [2, 2], bias: false),
        convTranspose("stride 2", [2, 8, 3, 4], 6, [3, 3], strides: [2, 2], pads: [1, 1, 1, 1]),
        convTranspose(
            "output padding", [1, 5, 3, 4], 4, [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], padding: [1, 1]),
        convTranspose("strides 3, 2", [1, 4, 3, 3], 2, [3, 3], strides: [3, 2], padding: [1, 0]),
        convTranspose("asymmetric pads", [1, 4, 4, 4], 3, [4, 3], strides: [2, 1], pads: [1, 0, 2, 1]),
        convTranspose("dilations", [1, 3, 4, 4], 4, [2, 3], strides: [2, 1], dilations: [2, 3]),
        convTranspose("output shape", [1, 3, 3, 3], 2, [3, 3], strides: [3, 2], shape: [10, 8]),
        convTranspose("small output shape", [1, 3, 3, 3], 2, [3, 3], strides: [3, 2], shape: [8, 6]),
        convTranspose(
            "output shape, upper", [1, 3, 3, 3], 2, [3, 3], strides: [3, 2], shape: [10, 8],
            autoPad: "SAME_UPPER"),
        convTranspose("same upper", [1, 3, 3, 4], 4, [3, 3], strides: [2, 2], autoPad: "SAME_UPPER"),
        convTranspose("same lower", [1, 3, 3, 4], 4, [4, 3], strides: [2, 2], autoPad: "SAME_LOWER"),
        convTranspose("kernel below stride", [1, 3, 3, 4], 4, [2, 1], strides: [3, 2]),
        convTranspose(
            "2 groups", [1, 6, 3, 4], 8, [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], groups: 2),
        convTranspose(
            "depthwise", [1, 17, 4, 3], 17, [4, 4], strides: [2, 2], pads: [1, 1, 1, 1], groups: 17),
        convTranspose("depthwise, stride 1", [1, 19, 4, 3], 19, [3, 3], pads: [1, 1, 1, 1], groups: 19),
        convTranspose("one axis", [2, 5, 7], 6, [4], strides: [2], pads: [1, 1]),
        convTranspose("one axis, stride 1", [2, 5, 7], 6, [3]),
        convTranspose(
            "three axes", [1, 3, 2, 3, 4], 4, [3, 2, 3], strides: [2, 1, 2], pads: [1, 0, 1, 1, 0, 1]),
        convTranspose("three axes, stride 1", [1, 3, 2, 3, 4], 5, [2, 2, 3]),
        convTranspose("wide", [1, 64, 7, 7], 33, [2, 2], strides: [2, 2]),
    ]

    static let fusedConvolutions: [OperatorCase] = {
        let window = Reference.Window(kernel: [3, 3], strides: [1, 2], pads: [1, 1, 1, 1])
        let x = OperatorCase.Input.activation([2, 5, 4, 7])
        let weights = OperatorCase.Input.constant([6, 5, 3, 3])
        func fused(
            _ activation: String?, numbers: [Float] = [], _ inputs: [OperatorCase.Input],
            _ f: @escaping @Sendable (Double) -> Double
        ) -> OperatorCase {
            var attributes: [String: Attribute] = [
                "kernel_shape": .ints([3, 3]), "strides": .ints([1, 2]), "pads": .ints([1, 1, 1, 1]),
            ]
            attributes["activation"] = activation.map { .string($0) }
            if !numbers.isEmpty { attributes["activation_params"] = .floats(numbers) }
            var test = OperatorCase("FusedConv", activation ?? "", attributes, inputs) {
                var y = Reference.conv($0[0]!, $0[1]!, $0.count > 2 ? $0[2] : nil, window, groups: 1)
                if $0.count > 3, let z = $0[3] {
                    for i in y.values.indices {
                        y.values[i] += z.values[i]
                        y.magnitudes[i] += abs(z.values[i])
                    }
                }
                y.values = y.values.map(f)
                return [y]
            }
            test.domain = "com.microsoft"
            return test
        }
        return [
            fused("Relu", [x, weights, .constant([6])]) { max($0, 0) },
            fused("Relu", [x, weights, .absent, .activation([2, 6, 4, 4])]) { max($0, 0) },
            fused("LeakyRelu", numbers: [0.125], [x, weights]) { $0 < 0 ? 0.125 * $0 : $0 },
            fused("Clip", numbers: [-0.5, 0.75], [x, weights, .constant([6])]) { min(max($0, -0.5), 0.75) },
            fused(nil, [x, weights, .constant([6]), .activation([2, 6, 4, 4])]) { $0 },
        ]
    }()

    // MARK: Equations

    static func einsum(_ equation: String, _ operands: [OperatorCase.Input]) -> OperatorCase {
        let sides = equation.filter { $0 != " " }.split(separator: "-").map(String.init)
        let terms = sides[0].split(separator: ",").map { $0.map(String.init) }
        // The letters that stand once, if there is no other side.
        let output =
            sides.count > 1
            ? sides[1].dropFirst().map(String.init)
            : Set(terms.joined()).filter { name in terms.joined().count { $0 == name } == 1 }.sorted()
        return OperatorCase("Einsum", equation, ["equation": .string(equation)], operands) {
            var extents: [String: Int] = [:]
            let tensors = $0.map { $0! }
            for (term, tensor) in zip(terms, tensors) {
                for (name, extent) in zip(term, tensor.dims) { extents[name] = extent }
            }
            let summed = extents.keys.filter { !output.contains($0) }.sorted()
            return [
                Tensor(sums: output.map { extents[$0]! }) { i, add in
                    forEachIndex(summed.map { extents[$0]! }) { k in
                        func at(_ name: String) -> Int {
                            output.firstIndex(of: name).map { i[$0] } ?? k[summed.firstIndex(of: name)!]
                        }
                        add(zip(terms, tensors).reduce(1) { $0 * $1.1[$1.0.map(at)] })
                    }
                }
            ]
        }
    }

    static let equations: [OperatorCase] = [
        einsum("ij,jk->ik", [.activation([3, 17]), .activation([17, 5])]),
        einsum("ij,jk->ik", [.activation([3, 17]), .constant([17, 33])]),
        einsum("bhwc,hkc->bhwk", [.activation([2, 3, 4, 5]), .activation([3, 6, 5])]),
        einsum("bhqd, bhkd -> bhqk", [.activation([2, 3, 4, 5]), .activation([2, 3, 7, 5])]),
        einsum("bchw,oc->bohw", [.activation([2, 5, 3, 4]), .constant([7, 5])]),
        einsum("bij,kjl->bikl", [.activation([2, 3, 5]), .constant([4, 5, 2])]),
        einsum("bchw,bkc->bkhw", [.activation([2, 5, 3, 4]), .constant([2, 6, 5])]),
        einsum("bij,bjk", [.activation([1, 3, 5]), .activation([1, 5, 2])]),
        einsum("i,j->ji", [.activation([3]), .activation([4])]),
        einsum("i,i->", [.activation([19]), .activation([19])]),
        einsum("abc,cd->d", [.activation([2, 3, 4]), .activation([4, 5])]),
        einsum("abcd->dbca", [.activation([2, 3, 4, 5])]), einsum("abcd->ca", [.activation([2, 3, 4, 5])]),
        einsum("ba", [.activation([2, 3])]),
        einsum("ab,ab->ab", [.activation([3, 4]), .activation([3, 4])]),
        OperatorCase(
            "Einsum", "ellipsis", ["equation": .string("...ij,...jk->...ik")],
            [.activation([2, 3, 4, 5]), .activation([2, 3, 5, 6])]
        ) {
            let (a, b) = ($0[0]!, $0[1]!)
            return [
                Tensor(sums: [2, 3, 4, 6]) { i, add in
                    for j in 0..<5 { add(a[[i[0], i[1], i[2], j]] * b[[i[0], i[1], j, i[3]]]) }
                }
            ]
        },
    ]

    // MARK: Constants

    static let hostCases: [OperatorCase] = {
        var cases = [
            OperatorCase("Size", [.activation([2, 5, 3, 4])]) { _ in [Tensor([], [120])] },
            OperatorCase("NonZero", [.table([2, 3], [0, 4, 0, -1, 0, 2])]) { _ in
                [Tensor([2, 3], [0, 1, 1, 1, 0, 2])]
            },
            OperatorCase("NonZero", [.constant([4], .exactly([0, 0.5, -0, -2]))]) {
                let values = $0[0]!.values
                let found = values.indices.filter { values[$0] != 0 }
                return [Tensor([1, found.count], found.map(Double.init))]
            },
            OperatorCase("EyeLike", ["k": .int(1)], [.activation([3, 4])]) { _ in
                [Tensor([3, 4]) { $0[1] - $0[0] == 1 ? 1 : 0 }]
            },
            OperatorCase("EyeLike", ["dtype": .int(7), "k": .int(-1)], [.activation([3, 3])]) { _ in
                [Tensor([3, 3]) { $0[1] - $0[0] == -1 ? 1 : 0 }]
            },
            OperatorCase(
                "Concat", "of tables", ["axis": .int(1)],
                [.table([2, 1], [1, 2]), .activation([2, 2], .exactly([3, 4, 5, 6]))]
            ) {
                [Reference.concat($0.map { $0! }, axis: 1)]
            },
        ]
        func single(_ number: Float) -> OperatorCase.Input { .constant([], .exactly([number])) }
        for inputs: [OperatorCase.Input] in [
            [.scalar(3), .scalar(10), .scalar(3)], [.scalar(10), .scalar(4), .scalar(-2)],
            [.scalar(10), .scalar(4), .scalar(2)], [.scalar(0), .scalar(7), .scalar(1)],
            [single(1), single(2.25), single(0.5)], [single(1), single(-2.25), single(-0.5)],
        ] {
            cases.append(
                OperatorCase("Range", "\(cases.count)", inputs) { given in
                    let (start, limit, delta) = (
                        given[0]!.values[0], given[1]!.values[0], given[2]!.values[0]
                    )
                    let list = Array(stride(from: start, to: limit, by: delta))
                    return [Tensor([list.count], list)]
                })
        }
        for (axis, dims) in [(-1, [2, 3, 5]), (0, [5, 2, 3]), (1, [2, 5, 3])] {
            let at = axis < 0 ? 2 : axis
            cases.append(
                OperatorCase(
                    "OneHot", "axis \(axis)", ["axis": .int(axis)],
                    [
                        .activation([2, 3], .exactly([0, 4, -1, 7, -5, 2])), .scalar(5),
                        .constant([2], .exactly([-0.25, 3])),
                    ]
                ) {
                    let (x, values) = ($0[0]!, $0[2]!.values)
                    return [
                        Tensor(dims) { i in
                            var from = i
                            let place = from.remove(at: at)
                            let index = x[from] < 0 ? x[from] + 5 : x[from]
                            return index == Double(place) ? values[1] : values[0]
                        }
                    ]
                })
        }
        return cases
    }()
}

// MARK: Random uses

/// Random uses of these operators: case n is the same for ever.
private struct RandomMovement {
    var random: SeededRandom
    private mutating func int(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + random.index(below: range.count)
    }
    private mutating func chance(_ percent: Int) -> Bool { random.index(below: 100) < percent }
    private mutating func any<Element>(_ list: [Element]) -> Element { list[random.index(below: list.count)] }
    private mutating func dims(_ ranks: ClosedRange<Int>) -> [Int] {
        let rank = int(ranks)
        return (0..<rank).map { _ in int(1...(rank > 4 ? 4 : 9)) }
    }

    static func make(_ number: Int) -> OperatorCase {
        var random = RandomMovement(random: SeededRandom("random movement \(number)"))
        var test = random.make()
        test.title = "random movement \(number), " + test.title
        return test
    }

    private mutating func make() -> OperatorCase {
        switch int(0...9) {
        case 0...3: resize()
        case 4...6: convTranspose()
        case 7: gather()
        case 8: tile()
        default: expand()
        }
    }

    private mutating func resize() -> OperatorCase {
        var x = [int(1...2), int(1...40)]
        for _ in 0..<any([1, 2, 2, 2, 3]) { x.append(int(1...9)) }
        let sizes = x.indices.map { $0 < 2 ? x[$0] : int(1...20) }
        let mode = any(["nearest", "linear", "linear", "cubic"])
        let coordinates = any([
            "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric",
        ])
        let nearest = any(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
        let (excludes, antialias) = (chance(30), chance(30) && mode != "nearest")
        return Cases.resize(x, sizes: sizes) {
            ($0.mode, $0.coordinates, $0.nearest) = (mode, coordinates, nearest)
            ($0.excludes, $0.antialias) = (excludes, antialias)
        }
    }

    private mutating func convTranspose() -> OperatorCase {
        let axes = any([1, 2, 2, 2, 3])
        let groups = any([1, 1, 1, 2, 3])
        let x = [int(1...2), groups * int(1...12)] + (0..<axes).map { _ in int(1...(axes == 3 ? 4 : 7)) }
        let kernel = (0..<axes).map { _ in int(1...4) }
        let (strides, dilations) = ((0..<axes).map { _ in int(1...3) }, (0..<axes).map { _ in int(1...2) })
        let reach = (0..<axes).map { (kernel[$0] - 1) * dilations[$0] + 1 }
        let padding = (0..<axes).map { int(0...max(strides[$0], dilations[$0]) - 1) }
        let pads = (0..<2 * axes).map { i in
            int(0...min(2, (strides[i % axes] * (x[i % axes + 2] - 1) + reach[i % axes] - 1) / 2))
        }
        return Cases.convTranspose(
            "", x, groups * int(1...12), kernel, strides: strides, pads: pads, dilations: dilations,
            padding: padding, groups: groups, bias: chance(60))
    }

    private mutating func gather() -> OperatorCase {
        let x = dims(1...5)
        let axis = random.index(below: x.count)
        let indices = (0..<int(1...12)).map { _ in random.index(below: x[axis]) - (chance(30) ? x[axis] : 0) }
        return Cases.gather(x, axis: axis, [indices.count], indices)
    }

    private mutating func tile() -> OperatorCase {
        let x = dims(1...5)
        return Cases.tile(x, x.map { _ in int(1...3) })
    }

    private mutating func expand() -> OperatorCase {
        let x = dims(1...6).map { chance(40) ? 1 : $0 }
        return Cases.expand(x, x.map { $0 == 1 ? int(1...4) : any([1, $0]) })
    }
}

extension OperatorTests {
    @Test(arguments: RandomCases.pieces)
    func randomMovements(_ numbers: Range<Int>) throws {
        for number in numbers {
            try check(RandomMovement.make(number), on: Devices.all + Devices.gpuForms + Devices.little)
        }
    }
}
