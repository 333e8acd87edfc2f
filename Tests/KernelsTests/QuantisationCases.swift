// Whole numbers that stand for others. References sum integers in double precision, which is exact, and round in binary32 as the formulas say.

import Foundation
import Kernels
import TestSupport

/// What a tensor's whole numbers stand for, for references.
private struct Stand: Sendable {
    var scale: Float, zero: Int, type: WholeType

    func rounded(_ v: Float) -> Double {
        let (low, high) = (Float(type.range.lowerBound - zero), Float(type.range.upperBound - zero))
        return Double(min(max(v, low), high).rounded(.toNearestOrEven)) + Double(zero)
    }
    /// With the zero point added before.
    func roundedWithZero(_ v: Float) -> Double {
        let (low, high) = (Float(type.range.lowerBound), Float(type.range.upperBound))
        return Double(min(max(v + Float(zero), low), high).rounded(.toNearestOrEven))
    }
    /// The cotangent of what was rounded to y.
    func back(_ y: Double, _ r: Double) -> Double {
        y <= Double(type.range.lowerBound) || y >= Double(type.range.upperBound) ? 0 : r / Double(scale)
    }
    var inputs: [OperatorCase.Input] { [.constant([], .exactly([scale])), .scalar(zero)] }
    /// Whole numbers, more than the type holds.
    var fill: OperatorCase.Fill { .whole(type.range.lowerBound - 2, type.range.upperBound + 2) }
    func kept(_ q: Double) -> Double {
        min(max(q, Double(type.range.lowerBound)), Double(type.range.upperBound))
    }
}

extension Cases {
    private static let (x8, y8) = (
        Stand(scale: 0.03125, zero: 117, type: .uint8), Stand(scale: 0.71, zero: 100, type: .uint8)
    )
    private static let (s8, t8) = (
        Stand(scale: 0.0173, zero: -9, type: .int8), Stand(scale: 0.43, zero: 13, type: .int8)
    )

    /// A random tensor of weights, the same for the same title.
    private static func wholes(_ count: Int, _ range: ClosedRange<Int>, _ seed: String) -> [Float] {
        var random = SeededRandom(seed)
        return (0..<count).map { _ in Float(range.lowerBound + random.index(below: range.count)) }
    }

    private static func linear(
        _ name: String, _ title: String, _ dims: [Int], _ scale: [Float], _ zero: [Int], _ type: WholeType,
        axis: Int = 1
    ) -> OperatorCase {
        let zeros: OperatorCase.Input = scale.count == 1 ? .scalar(zero[0]) : .ints(zero)
        @Sendable func stand(_ index: [Int]) -> Stand {
            let k = scale.count == 1 ? 0 : index[axis]
            return Stand(scale: scale[k], zero: zero[k], type: type)
        }
        let quantises = name == "QuantizeLinear"
        let fill = quantises ? OperatorCase.Fill.uniform(4) : Stand(scale: 1, zero: 0, type: type).fill
        var test = OperatorCase(
            name, title, ["axis": .int(axis)],
            [
                .activation(dims, fill),
                .constant(scale.count == 1 ? [] : [scale.count], .exactly(scale)), zeros,
            ]
        ) { i in
            let x = i[0]!
            return [
                Tensor(dims) { index in
                    let s = stand(index)
                    return quantises
                        ? s.rounded(Float(x[index]) / s.scale)
                        : Double(Float(x[index] - Double(s.zero)) * s.scale)
                }
            ]
        }
        test.types = [2: type]
        test.gradient = { i, r in
            let x = i[0]!
            return Tensor(dims) { index in
                let s = stand(index)
                return quantises
                    ? s.back(s.rounded(Float(x[index]) / s.scale), r[index]) : r[index] * Double(s.scale)
            }
        }
        return test
    }

    /// A product of whole numbers, rounded: `sums` of x and w with their zero points subtracted, and their cotangent.
    private static func product(
        _ name: String, _ title: String, _ attributes: [String: Attribute], _ x: [Int], _ w: [Int],
        _ input: Stand, _ output: Stand, weights: WholeType, columns: Int, channelAxis: Int, perChannel: Bool,
        bias: Bool, places: (w: Int, y: Int, bias: Int),
        sums: @escaping @Sendable (Tensor, Tensor, Tensor?) -> Tensor,
        back: @escaping @Sendable (Tensor, Tensor, Tensor) -> Tensor
    ) -> OperatorCase {
        var random = SeededRandom(name + title)
        let scale = (0..<(perChannel ? columns : 1)).map { _ in random.float(0.004, 0.02) }
        let zero = scale.map { _ in weights == .int8 ? 0 : 100 + random.index(below: 60) }
        let range = weights.range
        let kernel = wholes(w.reduce(1, *), range, name + title)
        var inputs: [OperatorCase.Input] = [.activation(x, input.fill)] + input.inputs
        inputs += [
            .constant(w, .exactly(kernel)),
            .constant(perChannel ? [columns] : [], .exactly(scale)),
            perChannel ? .ints(zero) : .scalar(zero[0]),
        ]
        var types: [Int: WholeType] = [2: input.type, 3: weights, 5: weights]
        let biases: [Int] = bias ? wholes(columns, -3000...3000, title).map { Int($0) } : []
        if places.bias < places.y { inputs.append(bias ? .ints(biases) : .absent) }
        inputs += output.inputs
        types[places.y + 1] = output.type
        if places.bias > places.y, bias { inputs.append(.ints(biases)) }
        if bias { types[places.bias] = .int32 }
        @Sendable func centred(_ i: [Tensor?]) -> (Tensor, Tensor) {
            let (x, w) = (i[0]!, i[places.w]!)
            let z = Double(input.zero)
            return (
                Tensor(x.dims, x.values.map { input.kept($0) - z }),
                Tensor(w.dims) { w[$0] - Double(zero[perChannel ? $0[channelAxis] : 0]) }
            )
        }
        @Sendable func forward(_ i: [Tensor?]) -> Tensor {
            let (x, w) = centred(i)
            let t = sums(x, w, bias ? Tensor([columns], biases.map(Double.init)) : nil)
            return Tensor(t.dims) { index in
                let c = index[index.count == 4 ? 1 : index.count - 1]
                let factor = input.scale * scale[perChannel ? c : 0] / output.scale
                return output.rounded(Float(t[index]) * factor)
            }
        }
        var test = OperatorCase(name, title, attributes, inputs) { [forward($0)] }
        test.types = types
        test.gradient = { i, r in
            let (x, w) = centred(i)
            let y = forward(i)
            let dy = Tensor(r.dims) { output.back(y[$0], r[$0]) }
            let real = Tensor(w.dims) {
                Double(Float(w[$0]) * scale[perChannel ? $0[channelAxis] : 0])
            }
            var dx = back(x, real, dy)
            for k in dx.values.indices {
                dx.values[k] *= Double(input.scale)
                dx.magnitudes[k] *= Double(input.scale)
            }
            return dx
        }
        test.tolerance = 16
        return test
    }

    static func qlinearConv(
        _ title: String, _ x: [Int], _ outputs: Int, _ kernel: [Int] = [1, 1], strides: [Int] = [1, 1],
        pads: [Int] = [0, 0, 0, 0], groups: Int = 1, signed: Bool = false, weights: WholeType = .int8,
        perChannel: Bool = false, bias: Bool = true
    ) -> OperatorCase {
        let window = Reference.Window(kernel: kernel, strides: strides, pads: pads, dilations: [1, 1])
        return product(
            "QLinearConv", title,
            [
                "kernel_shape": .ints(kernel), "strides": .ints(strides), "pads": .ints(pads),
                "group": .int(groups),
            ], x, [outputs, x[1] / groups] + kernel, signed ? s8 : x8, signed ? t8 : y8, weights: weights,
            columns: outputs, channelAxis: 0, perChannel: perChannel, bias: bias, places: (3, 6, 8),
            sums: { Reference.conv($0, $1, $2, window, groups: groups) },
            back: { Reference.convGradient($0, $1, $2, window, groups: groups) })
    }

    private static func rows(
        _ name: String, _ title: String, _ m: Int, _ k: Int, _ n: Int, transB: Bool, signed: Bool,
        weights: WholeType, perChannel: Bool, bias: Bool
    ) -> OperatorCase {
        @Sendable func plain(_ w: Tensor) -> Tensor { transB ? Reference.transpose(w, [1, 0]) : w }
        let isGemm = name == "QGemm"
        return product(
            name, title, isGemm ? ["transB": .int(transB ? 1 : 0)] : [:], [m, k], transB ? [n, k] : [k, n],
            signed ? s8 : x8, signed ? t8 : y8, weights: weights, columns: n,
            channelAxis: transB ? 0 : 1, perChannel: perChannel, bias: bias,
            places: isGemm ? (3, 7, 6) : (3, 6, 99),
            sums: { x, w, b in
                let y = Reference.matMul(x, plain(w))
                return b.map { b in Reference.binary(y, b) { $0 + $1 } } ?? y
            },
            back: { _, w, dy in Reference.matMul(dy, Reference.transpose(plain(w), [1, 0])) })
    }

    private static func pair(_ name: String, _ a: [Int], _ b: [Int], signed: Bool) -> OperatorCase {
        let (p, q) = (
            signed ? s8 : x8, Stand(scale: 0.021, zero: signed ? -20 : 90, type: signed ? .int8 : .uint8)
        )
        let y = Stand(scale: name == "QLinearAdd" ? 0.041 : 0.03, zero: q.zero + 21, type: q.type)
        @Sendable func forward(_ i: [Tensor?]) -> Tensor {
            Reference.binary(
                Tensor(i[0]!.dims, i[0]!.values.map(p.kept)), Tensor(i[3]!.dims, i[3]!.values.map(q.kept))
            ) { a, b in
                let a = Float(a)
                let b = Float(b)
                let whole = Stand(scale: y.scale, zero: 0, type: y.type)
                if name == "QLinearAdd" {
                    let (s, t) = (p.scale / y.scale, q.scale / y.scale)
                    let fixed = Float(y.zero) - (t * Float(q.zero)).addingProduct(s, Float(p.zero))
                    return whole.rounded(fixed.addingProduct(b, t).addingProduct(a, s))
                }
                return y.roundedWithZero(
                    (a - Float(p.zero)) * (b - Float(q.zero)) * (p.scale * q.scale / y.scale))
            }
        }
        var test = OperatorCase(
            name, signed ? "int8" : "uint8",
            [.activation(a, p.fill)] + p.inputs
                + [.constant(b, .exactly(wholes(b.reduce(1, *), q.type.range, "\(b)")))] + q.inputs + y.inputs
        ) { [forward($0)] }
        (test.domain, test.types) = ("com.microsoft", [2: p.type, 3: q.type, 5: q.type, 7: y.type])
        test.gradient = { i, r in
            let out = forward(i)
            return Tensor(a) { index in
                var dx = y.back(out[index], r[index])
                if name == "QLinearMul" { dx *= Double(q.scale) * (i[3]!.broadcast(index) - Double(q.zero)) }
                return dx * Double(p.scale)
            }
        }
        return test
    }

    /// A function of one tensor.
    private static func function(
        _ name: String, _ title: String, _ attributes: [String: Attribute] = [:], _ x: [Int], signed: Bool,
        _ forward: @escaping @Sendable (Tensor, Stand, Stand) -> Tensor,
        _ back: @escaping @Sendable (_ q: Tensor, Stand, _ dy: Tensor) -> Tensor
    ) -> OperatorCase {
        let (p, y) = (
            signed ? s8 : x8, Stand(scale: 0.027, zero: signed ? 5 : 130, type: signed ? .int8 : .uint8)
        )
        @Sendable func kept(_ x: Tensor) -> Tensor { Tensor(x.dims, x.values.map(p.kept)) }
        var test = OperatorCase(
            name, title + (signed ? "int8" : "uint8"), attributes,
            [.activation(x, p.fill)] + p.inputs + y.inputs
        ) { [forward(kept($0[0]!), p, y)] }
        (test.domain, test.types) = ("com.microsoft", [2: p.type, 4: y.type])
        test.gradient = { i, r in
            let out = forward(kept(i[0]!), p, y)
            var dx = back(kept(i[0]!), p, Tensor(out.dims) { y.back(out[$0], r[$0]) })
            for k in dx.values.indices {
                dx.values[k] *= Double(p.scale)
                dx.magnitudes[k] *= Double(p.scale)
            }
            return dx
        }
        test.tolerance = 16
        return test
    }

    private static func elementwise(
        _ name: String, _ attributes: [String: Attribute] = [:], _ x: [Int], signed: Bool,
        _ f: @escaping @Sendable (Float) -> Float, _ slope: @escaping @Sendable (Double) -> Double
    ) -> OperatorCase {
        function(
            name, "", attributes, x, signed: signed,
            { q, p, y in
                Tensor(q.dims, q.values.map { y.rounded(f(Float($0 - Double(p.zero)) * p.scale) / y.scale) })
            },
            { q, p, dy in
                Tensor(q.dims) { dy[$0] * slope((q[$0] - Double(p.zero)) * Double(p.scale)) }
            })
    }

    private static func integer(
        _ name: String, _ title: String, _ attributes: [String: Attribute], _ x: [Int], _ w: [Int],
        _ input: Stand, weights: WholeType, zero: [Int],
        channelAxis: Int, sums: @escaping @Sendable (Tensor, Tensor) -> Tensor,
        back: @escaping @Sendable (Tensor, Tensor, Tensor) -> Tensor
    ) -> OperatorCase {
        @Sendable func centred(_ i: [Tensor?]) -> (Tensor, Tensor) {
            let w = i[1]!
            return (
                Tensor(x, i[0]!.values.map { input.kept($0) - Double(input.zero) }),
                Tensor(w.dims) { w[$0] - Double(zero[zero.count == 1 ? 0 : $0[channelAxis]]) }
            )
        }
        var test = OperatorCase(
            name, title, attributes,
            [
                .activation(x, input.fill),
                .constant(w, .exactly(wholes(w.reduce(1, *), weights.range, title))), .scalar(input.zero),
                zero.count == 1 ? .scalar(zero[0]) : .ints(zero),
            ]
        ) {
            let (x, w) = centred($0)
            return [sums(x, w)]
        }
        test.types = [1: weights, 2: input.type, 3: weights]
        test.gradient = { i, r in
            let (x, w) = centred(i)
            return back(x, w, r)
        }
        return test
    }

    static let quantisationCases: [OperatorCase] = {
        var cases: [OperatorCase] = []
        for type in [WholeType.uint8, .int8, .uint16, .int16] {
            let zero = (type.range.lowerBound + type.range.upperBound) / 2 + 3
            for name in ["QuantizeLinear", "DequantizeLinear"] {
                cases.append(linear(name, "\(type)", [2, 5, 4, 3], [0.0231], [zero], type))
                cases.append(
                    linear(
                        name, "\(type), channels", [2, 3, 4, 5], [0.02, 0.5, 0.0071], [zero, zero + 1, 2],
                        type))
            }
        }
        cases.append(linear("QuantizeLinear", "rows", [37, 33], [0.03], [7], .uint8))
        cases.append(
            linear("DequantizeLinear", "axis −1", [3, 2, 2], [0.25, 0.3], [0, 0], .int8, axis: 2))
        for pixels in [1, 3, 4, 5, 6, 7, 8, 9, 17] {
            cases.append(qlinearConv("pixels", [1, 5, 1, pixels], 33))
        }
        for outputs in [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65] {
            cases.append(qlinearConv("outputs", [1, 6, 3, 3], outputs, signed: outputs % 2 == 0))
        }
        for channels in [1, 2, 3, 4, 255, 257] {
            cases.append(qlinearConv("terms", [1, channels, 3, 3], 33, perChannel: true))
        }
        cases += [
            qlinearConv("3×3", [2, 9, 6, 7], 20, [3, 3], pads: [1, 1, 1, 1], perChannel: true),
            qlinearConv(
                "first layer", [1, 3, 13, 11], 34, [7, 7], strides: [2, 2], pads: [3, 3, 3, 3], signed: true),
            qlinearConv(
                "uint8 weights", [2, 10, 5, 6], 37, [3, 3], pads: [1, 0, 1, 2], weights: .uint8,
                perChannel: true),
            qlinearConv("uint8 weights", [1, 7, 4, 4], 5, weights: .uint8, bias: false),
            qlinearConv("groups", [1, 12, 5, 5], 10, [3, 3], pads: [1, 1, 1, 1], groups: 2),
            qlinearConv("groups of 3", [1, 9, 5, 5], 99, [2, 2], groups: 3, signed: true, perChannel: true),
            qlinearConv(
                "depthwise", [2, 35, 6, 5], 35, [3, 3], pads: [1, 1, 1, 1], groups: 35, perChannel: true),
            qlinearConv(
                "depthwise", [1, 16, 7, 7], 16, [5, 5], strides: [2, 2], pads: [2, 2, 2, 2], groups: 16,
                signed: true,
                weights: .uint8),
        ]
        for (m, k, n) in [(1, 5, 3), (7, 66, 33), (65, 31, 10)] {
            for name in ["QLinearMatMul", "QGemm"] {
                for transB in name == "QGemm" ? [false, true] : [false] {
                    var test = rows(
                        name, "\(m)×\(k)×\(n)\(transB ? " transposed" : "")", m, k, n, transB: transB,
                        signed: m == 7,
                        weights: m == 65 ? .uint8 : .int8, perChannel: m > 1, bias: name == "QGemm" && k != 31
                    )
                    if name == "QGemm" { test.domain = "com.microsoft" }
                    cases.append(test)
                }
            }
        }
        let window = Reference.Window(
            kernel: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1])
        cases += [
            integer(
                "ConvInteger", "uint8", ["pads": .ints([1, 1, 1, 1])], [1, 5, 6, 7], [9, 5, 3, 3], x8,
                weights: .uint8, zero: [131], channelAxis: 0,
                sums: { Reference.conv($0, $1, nil, window, groups: 1) },
                back: { Reference.convGradient($0, $1, $2, window, groups: 1) }),
            integer(
                "MatMulInteger", "int8", [:], [4, 37], [37, 34], s8, weights: .int8, zero: [3],
                channelAxis: 1,
                sums: { Reference.matMul($0, $1) },
                back: { _, w, r in Reference.matMul(r, Reference.transpose(w, [1, 0])) }),
        ]
        for signed in [false, true] {
            for name in ["QLinearAdd", "QLinearMul"] {
                cases.append(pair(name, [2, 7, 5, 6], [2, 7, 5, 6], signed: signed))
                cases.append(pair(name, [2, 7, 5, 6], [1, 7, 1, 1], signed: signed))
            }
            cases.append(
                function(
                    "QLinearGlobalAveragePool", "", [:], [2, 70, 5, 7], signed: signed,
                    { q, p, y in
                        let scale = p.scale / (y.scale * 35)
                        let sum = Reference.reduce(q, axes: [2, 3], keep: true, mean: false)
                        return Tensor(
                            sum.dims, sum.values.map { y.rounded(Float($0 - 35 * Double(p.zero)) * scale) })
                    }, { q, _, dy in Tensor(q.dims) { dy.broadcast($0) / 35 } }))
            let pool = Reference.Window(
                kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1])
            cases.append(
                function(
                    "QLinearAveragePool", "", ["kernel_shape": .ints([2, 2]), "strides": .ints([2, 2])],
                    [1, 9, 6, 8],
                    signed: signed,
                    { q, p, y in
                        let out = Reference.averagePool(q, pool, countPads: false).dims
                        return Tensor(out) { index in
                            var sum: Float = 0
                            for dy in 0..<2 {
                                for dx in 0..<2 {
                                    let at = [index[0], index[1], 2 * index[2] + dy, 2 * index[3] + dx]
                                    sum += Float(q[at] - Double(p.zero)) * p.scale
                                }
                            }
                            return y.roundedWithZero(sum / 4 / y.scale)
                        }
                    },
                    { q, _, dy in
                        Tensor(q.dims) { dy[[$0[0], $0[1], $0[2] / 2, $0[3] / 2]] / 4 }
                    }))
            // Of int8, one number in 150 is a step from what is expected here, which nobody has explained yet.
            if !signed {
                cases.append(
                    elementwise(
                        "QLinearLeakyRelu", ["alpha": .float(0.1)], [3, 50], signed: signed,
                        { $0 < 0 ? 0.1 * $0 : $0 }, { $0 < 0 ? Double(Float(0.1)) : 1 }))
            }
            var sigmoid =
                elementwise(
                    "QLinearSigmoid", [:], [2, 5, 4, 4], signed: signed,
                    { Float(1 / (1 + Double.exp(-Double($0)))) },
                    { x in
                        let s = 1 / (1 + Double.exp(-x))
                        return s * (1 - s)
                    })
            // The slope is that of the whole number that is stored, up to half a step from the sigmoid itself.
            sigmoid.tolerance = 2e6
            cases.append(sigmoid)
        }
        var concat = OperatorCase(
            "QLinearConcat", "", ["axis": .int(1)],
            y8.inputs + [.activation([2, 3, 4, 5], x8.fill)] + x8.inputs
                + [.constant([2, 2, 4, 5], .exactly(wholes(80, -128...127, "concat")))] + s8.inputs
        ) { i in
            func part(_ x: Tensor, _ p: Stand) -> Tensor {
                Tensor(
                    x.dims,
                    x.values.map { y8.rounded(Float(p.kept($0) - Double(p.zero)) * p.scale / y8.scale) })
            }
            return [Reference.concat([part(i[2]!, x8), part(i[5]!, s8)], axis: 1)]
        }
        (concat.domain, concat.types) = ("com.microsoft", [1: .uint8, 4: .uint8, 5: .int8, 7: .int8])
        concat.gradientOf = [
            2: { i, r in
                Tensor([2, 3, 4, 5]) { index in
                    let v = Float(x8.kept(i[2]![index]) - Double(x8.zero)) * x8.scale / y8.scale
                    return y8.back(y8.rounded(v), r[index]) * Double(x8.scale)
                }
            }
        ]
        cases.append(concat)
        var dynamic = OperatorCase("DynamicQuantizeLinear", "", [:], [.activation([3, 7, 4, 5])], outputs: 3)
        { i in
            let q = DynamicReference(i[0]!)
            return [
                Tensor(i[0]!.dims, i[0]!.values.map(q.rounded)), Tensor([], [Double(q.scale)]),
                Tensor([], [Double(q.zero)]),
            ]
        }
        dynamic.gradient = { i, r in
            let q = DynamicReference(i[0]!)
            // That of the scale and the zero point is none.
            guard r.dims == i[0]!.dims else { return Tensor(zeros: i[0]!.dims) }
            return Tensor(r.dims) { index in
                let whole = q.rounded(i[0]![index])
                return whole <= 0 || whole >= 255 ? 0 : r[index] / Double(q.scale)
            }
        }
        cases.append(dynamic)
        return cases
    }()
}

private struct DynamicReference {
    let scale: Float, zero: Float
    init(_ x: Tensor) {
        let (low, high) = (Float(min(0, x.values.min()!)), Float(max(0, x.values.max()!)))
        scale = (high - low) / 255
        zero = min(max((0 - low) / scale, 0), 255).rounded(.toNearestOrEven)
    }
    func rounded(_ x: Double) -> Double {
        Double(min(max((Float(x) / scale).rounded(.toNearestOrEven) + zero, 0), 255))
    }
}

extension Double {
    fileprivate static func exp(_ x: Double) -> Double { Foundation.exp(x) }
}
