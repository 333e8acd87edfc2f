// Sampling at positions that a grid gives.

import Foundation
import Kernels
import TestSupport

extension Reference {
    struct Sampling: Sendable {
        /// nearest, linear or cubic, whatever the operator set calls them.
        var mode = "linear", padding = "zeros", aligned = false
    }

    /// As PyTorch has it: positions first, then for each a kernel over all pixels near it.
    static func sample(_ x: Tensor, _ grid: Tensor, _ a: Sampling) -> Tensor {
        let axes = x.dims.count - 2
        /// The place of a pixel within the image; nil for none.
        func inside(_ i: Int, _ extent: Int) -> Int? {
            if (0..<extent).contains(i) { return i }
            switch a.padding {
            case "zeros": return nil
            case "border": return i < 0 ? 0 : extent - 1
            default:
                if a.aligned && extent == 1 { return 0 }
                var i = i
                while !(0..<extent).contains(i) {
                    if i < 0 { i = a.aligned ? -i : -1 - i } else { i = 2 * extent - (a.aligned ? 2 : 1) - i }
                }
                return i
            }
        }
        /// Keys' kernel, and those of the others.
        func kernel(_ d: Double) -> Double {
            let d = abs(d)
            switch a.mode {
            case "linear": return max(0, 1 - d)
            case "cubic":
                if d <= 1 { return 1.25 * d * d * d - 2.25 * d * d + 1 }
                return d < 2 ? -0.75 * (d * d * d - 5 * d * d + 8 * d - 4) : 0
            default: return 1
            }
        }
        let out = Array(grid.dims[1...axes])
        var y = Tensor(zeros: Array(x.dims[..<2]) + out)
        let points = out.reduce(1, *)
        for n in 0..<x.dims[0] {
            for point in 0..<points {
                let row = (grid.dims[0] == 1 ? 0 : n * points) + point
                // The outermost axis first; the grid has it last.
                var taps: [(index: [Int], weight: Double)] = [([], 1)]
                var (isLost, distance) = (false, 0.0)
                for axis in 0..<axes {
                    let extent = x.dims[2 + axis]
                    let g = grid.values[row * axes + axes - 1 - axis]
                    let l = Double(extent)
                    let p = a.aligned ? (g + 1) / 2 * (l - 1) : ((g + 1) * l - 1) / 2
                    guard p.isFinite, abs(p) < 0x1p+24 else {
                        if p.isNaN || a.padding == "reflection" {
                            isLost = true
                        } else if a.padding == "zeros" {
                            taps = []
                        } else {
                            taps = taps.map { ($0.index + [p < 0 ? 0 : extent - 1], $0.weight) }
                        }
                        continue
                    }
                    distance += abs(p) + l + 2
                    let near =
                        a.mode == "nearest"
                        ? [Int(p.rounded(.toNearestOrEven))] : Array(Int(floor(p)) - 1...Int(floor(p)) + 2)
                    taps = taps.flatMap { known in
                        near.compactMap { i in
                            inside(i, extent).map {
                                (known.index + [$0], known.weight * kernel(Double(i) - p))
                            }
                        }
                    }
                }
                for c in 0..<x.dims[1] {
                    let place = (n * x.dims[1] + c) * points + point
                    for (index, weight) in taps where !isLost {
                        let number = x[[n, c] + index]
                        y.values[place] += weight * number
                        // Positions are rounded too.
                        y.magnitudes[place] +=
                            abs(number) * (a.mode == "nearest" ? 1 : abs(weight) + distance)
                    }
                    if isLost { y.values[place] = .nan }
                }
            }
        }
        return y
    }
}

extension Cases {
    /// A grid whose points are nowhere near a kink: neither on a pixel nor half way between two.
    private static func grid(
        _ n: Int, _ extents: [Int], _ out: [Int], aligned: Bool, beyond: Int, _ random: inout SeededRandom
    ) -> [Float] {
        (0..<n * out.reduce(1, *)).flatMap { _ in
            extents.reversed().map { extent -> Float in
                let part = 0.1 + 0.3 * Double(random.float()) + (random.index(below: 2) == 0 ? 0.5 : 0)
                let p = Double(random.index(below: extent + 2 * beyond) - beyond) + part
                let l = Double(extent)
                if aligned { return extent == 1 ? random.float(-2, 2) : Float(2 * p / (l - 1) - 1) }
                return Float((2 * p + 1) / l - 1)
            }
        }
    }

    static func sample(
        _ title: String, _ x: [Int], _ out: [Int], _ a: Reference.Sampling, constant: Bool = false,
        same: Bool = false, beyond: Int = 3, opset: Int = 20, image: Bool = true, numbers: [Float]? = nil
    ) -> OperatorCase {
        let mode =
            opset >= 20 || a.mode == "nearest" ? a.mode : ["linear": "bilinear", "cubic": "bicubic"][a.mode]!
        var random = SeededRandom("\(title) \(x) \(out) \(a) \(constant) \(beyond)")
        let n = same ? 1 : x[0]
        let numbers =
            numbers
            ?? grid(n, Array(x[2...]), out, aligned: a.aligned, beyond: beyond, &random)
        let dims = [n] + out + [out.count]
        var test = OperatorCase(
            "GridSample", "\(title) \(a.mode) \(a.padding)\(a.aligned ? " aligned" : "")", opset: opset,
            [
                "mode": .string(mode), "padding_mode": .string(a.padding),
                "align_corners": .int(a.aligned ? 1 : 0),
            ],
            [
                image ? .activation(x) : .constant(x),
                constant ? .constant(dims, .exactly(numbers)) : .activation(dims, .exactly(numbers)),
            ]
        ) { [Reference.sample($0[0]!, $0[1]!, a)] }
        test.independent = constant && same && x[0] == 5
        return test
    }

    static let sampleCases: [OperatorCase] = {
        var cases: [OperatorCase] = []
        for mode in ["linear", "nearest", "cubic"] {
            for padding in ["zeros", "border", "reflection"] {
                for aligned in [false, true] {
                    let a = Reference.Sampling(mode: mode, padding: padding, aligned: aligned)
                    cases += [
                        sample("", [2, 3, 4, 5], [3, 7], a), sample("", [2, 5, 3, 4, 2], [2, 3, 3], a),
                        sample("constant", [2, 3, 4, 5], [3, 7], a, constant: true),
                        sample("", [2, 3, 7], [9], a),
                    ]
                    // Where all taps are one pixel, the derivatives of cubic weights add up to 0 but for rounding.
                    if mode == "cubic", padding != "zeros" { continue }
                    cases += [
                        sample("far", [1, 2, 3, 2], [5, 5], a, beyond: 40),
                        sample("", [1, 1, 1, 1], [2, 2], a),
                    ]
                }
            }
        }
        let linear = Reference.Sampling()
        for channels in [1, 15, 16, 17, 33] {
            cases.append(sample("channels", [2, channels, 6, 5], [4, 4], linear))
        }
        cases += [
            sample("many points", [1, 2, 17, 19], [40, 41], linear),
            sample("one grid", [5, 3, 6, 6], [4, 5], linear, constant: true, same: true),
            sample("one grid, computed", [3, 3, 6, 6], [4, 5], linear, same: true),
            sample("constant picture", [2, 3, 6, 6], [4, 5], linear, image: false),
            sample("opset 16", [2, 3, 4, 5], [3, 7], linear, opset: 16),
            sample("opset 16", [2, 3, 4, 5], [3, 7], Reference.Sampling(mode: "cubic"), opset: 16),
            sample("opset 24", [2, 3, 4, 5], [3, 7], Reference.Sampling(mode: "nearest"), opset: 24),
            // Half way between two pixels: 0.5 and 1.5, 2.5, -0.5 and 3.5 of four.
            sample(
                "ties", [1, 2, 1, 4], [1, 5], Reference.Sampling(mode: "nearest", padding: "border"),
                constant: true, numbers: [-0.5, 0, 0, 0, 0.5, 0, -1, 0, 1, 0]),
        ]
        for padding in ["zeros", "border", "reflection"] {
            for mode in ["linear", "nearest", "cubic"] {
                let a = Reference.Sampling(mode: mode, padding: padding)
                cases += [false, true].flatMap { constant in
                    [
                        sample(
                            "infinite", [1, 2, 3, 4], [1, 4], a, constant: constant,
                            numbers: [.infinity, 0.3, 0.3, -.infinity, 3e38, -3e38, 1e8, 0.2]),
                        sample(
                            "undefined", [1, 2, 3, 4], [1, 3], a, constant: constant,
                            numbers: [.nan, 0.2, 0.3, .nan, -7, .nan]),
                    ]
                }
            }
        }
        return cases
    }()

    static func randomSample(_ random: inout SeededRandom) -> OperatorCase {
        func int(_ range: ClosedRange<Int>) -> Int { range.lowerBound + random.index(below: range.count) }
        func any<T>(_ list: [T]) -> T { list[random.index(below: list.count)] }
        let axes = any([1, 2, 2, 2, 3])
        let a = Reference.Sampling(
            mode: any(["linear", "nearest", "cubic"]), padding: any(["zeros", "border", "reflection"]),
            aligned: int(0...1) == 0)
        let most = axes == 3 ? 5 : 12
        // See above.
        let isFlat = a.mode == "cubic" && a.padding != "zeros"
        return sample(
            "", [int(1...3), int(1...20)] + (0..<axes).map { _ in int((isFlat ? 3 : 1)...most) },
            (0..<axes).map { _ in int(1...most) }, a,
            constant: int(0...2) == 0, same: int(0...2) == 0, beyond: isFlat ? 1 : any([0, 1, 3, 9]),
            opset: axes == 2 ? any([16, 20, 22]) : any([20, 22]))
    }
}
