// Functions of single numbers, comparisons and logic.

import Foundation
import Kernels
import TestSupport
import Testing

extension OperatorCase {
    /// The same case of an operator of ONNX Runtime's own.
    fileprivate func microsoft() -> OperatorCase {
        var test = self
        test.domain = "com.microsoft"
        test.title = "com.microsoft, " + title
        return test
    }
    /// The same with inputs that stand for something else.
    fileprivate func stating(_ meanings: [Int: Meaning]) -> OperatorCase {
        var test = self
        test.meanings = meanings
        test.title = "\(meanings.sorted { $0.key < $1.key }.map { "\($0.value)" }), " + title
        return test
    }
    fileprivate func titled(_ title: String) -> OperatorCase {
        var test = self
        test.title = title + ", " + self.title
        return test
    }
}

extension Cases {
    typealias Curve = @Sendable (Double) -> Double

    /// Runs of vectors and what is left of them, images, a single number, what broadcasting walks through.
    private static let various: [[Int]] = [[5, 7, 3, 4], [16385], [], [2, 3, 2, 2, 2, 3]]

    private static func curve(
        _ name: String, _ fill: OperatorCase.Fill = .uniform(4), _ attributes: [String: Attribute] = [:],
        opset: Int = 17, title: String = "", many: Bool = false, magnitude: Curve? = nil, _ f: @escaping Curve
    ) -> [OperatorCase] {
        (many ? various : [[5, 5, 3, 4], [37]]).map { dims in
            var test = OperatorCase(name, title, opset: opset, attributes, [.activation(dims, fill)]) {
                [Reference.unary($0[0]!, f, magnitude: magnitude)]
            }
            test.independent = dims.count == 4
            return test
        }
    }

    private static let gelu: Curve = { 0.5 * $0 * (1 + erf($0 * 0.5.squareRoot())) }
    private static let geluTanh: Curve = {
        0.5 * $0 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0)))
    }
    private static let size: Curve = { abs($0) }

    private static let curves: [OperatorCase] = {
        var cases: [OperatorCase] = []
        let (alpha, gamma) = (
            Double(Float(1.67326319217681884765625)), Double(Float(1.05070102214813232421875))
        )
        cases += curve("Selu", .away(from: [0])) { gamma * ($0 < 0 ? alpha * expm1($0) : $0) }
        cases += curve(
            "Selu", .away(from: [0]), ["alpha": .float(0.5), "gamma": .float(3)], title: "α ½, γ 3"
        ) {
            3 * ($0 < 0 ? 0.5 * expm1($0) : $0)
        }
        cases += curve("Celu") { $0 < 0 ? expm1($0) : $0 }
        cases += curve("Celu", .uniform(4), ["alpha": .float(2)], title: "α 2") {
            $0 < 0 ? 2 * expm1($0 / 2) : $0
        }
        cases += curve("Softplus", many: true) { log1p(exp($0)) }
        cases += curve("Softsign") { $0 / (1 + abs($0)) }
        cases += curve("Mish", opset: 18, many: true, magnitude: size) { $0 * tanh(log1p(exp($0))) }
        cases += curve("Swish", opset: 24, many: true) { $0 / (1 + exp(-$0)) }
        cases += curve("Swish", .uniform(4), ["alpha": .float(-1.5)], opset: 24, title: "α -1½") {
            $0 / (1 + exp(1.5 * $0))
        }
        cases += curve("ThresholdedRelu", .away(from: [1])) { $0 > 1 ? $0 : 0 }
        cases += curve("ThresholdedRelu", .away(from: [-0.5]), ["alpha": .float(-0.5)], title: "α -½") {
            $0 > -0.5 ? $0 : 0
        }
        cases += curve("Shrink", .away(from: [-0.5, 0.5])) { abs($0) > 0.5 ? $0 : 0 }
        cases += curve(
            "Shrink", .away(from: [-1, 1]), ["lambd": .float(1), "bias": .float(1.5)], title: "soft",
            magnitude: { abs($0) + 1.5 }
        ) { $0 < -1 ? $0 + 1.5 : $0 > 1 ? $0 - 1.5 : 0 }
        cases += curve("Gelu", opset: 20, many: true, magnitude: size, gelu)
        cases += curve(
            "Gelu", .uniform(4), ["approximate": .string("tanh")], opset: 20, title: "tanh", many: true,
            magnitude: size,
            geluTanh)
        cases += curve("Sin", .uniform(40), many: true) { sin($0) }
        cases += curve("Cos", .uniform(40)) { cos($0) }
        cases += curve("Tan", .uniform(1.2)) { tan($0) }
        cases += curve("Asin", .uniform(0.95)) { asin($0) }
        cases += curve("Acos", .uniform(0.95)) { acos($0) }
        cases += curve("Atan") { atan($0) }
        cases += curve("Sinh") { sinh($0) }
        cases += curve("Cosh") { cosh($0) }
        cases += curve("Asinh") { asinh($0) }
        cases += curve("Acosh", .between(1.1, 5)) { acosh($0) }
        cases += curve("Atanh", .uniform(0.9)) { atanh($0) }
        cases += curve("Reciprocal", .between(0.2, 4)) { 1 / $0 }
        cases += curve("Floor") { floor($0) }
        cases += curve("Ceil") { ceil($0) }
        cases += curve("Round") { $0.rounded(.toNearestOrEven) }
        cases.append(
            OperatorCase("Round", "halves", [.activation([6], .exactly([0.5, 1.5, 2.5, -0.5, -1.5, -2.5]))]) {
                [Reference.unary($0[0]!) { $0.rounded(.toNearestOrEven) }]
            })
        cases += curve("Sign", .whole(-1, 1)) { $0 < 0 ? -1 : $0 > 0 ? 1 : 0 }
        let odd: [Float] = [1, .infinity, -.infinity, .nan, -0, 3e38, -3e38]
        cases.append(
            OperatorCase("IsNaN", [.activation([7], .exactly(odd))]) {
                [Reference.unary($0[0]!) { $0.isNaN ? 1 : 0 }]
            })
        for (positive, negative) in [(1, 1), (1, 0), (0, 1), (0, 0)] {
            cases.append(
                OperatorCase(
                    "IsInf", "\(positive) \(negative)",
                    ["detect_positive": .int(positive), "detect_negative": .int(negative)],
                    [.activation([7], .exactly(odd))]
                ) {
                    [
                        Reference.unary($0[0]!) {
                            $0.isInfinite && ($0 > 0 ? positive : negative) == 1 ? 1 : 0
                        }
                    ]
                })
        }
        for name in ["Abs", "Neg", "Sign"] {
            cases.append(
                OperatorCase(name, [.activation([37], .whole(-9, 9))]) {
                    [
                        Reference.unary($0[0]!) {
                            name == "Abs"
                                ? abs($0)
                                : name == "Neg" ? -$0 : Double($0.sign == .minus ? -1 : $0 == 0 ? 0 : 1)
                        }
                    ]
                }.stating([0: .integer]))
        }
        cases += curve("Gelu", magnitude: size, gelu).map { $0.microsoft() }
        cases += curve("QuickGelu") { $0 / (1 + exp(-Double(Float(1.702)) * $0)) }.map { $0.microsoft() }
        cases += curve("QuickGelu", .uniform(4), ["alpha": .float(1)], title: "α 1") { $0 / (1 + exp(-$0)) }
            .map { $0.microsoft() }
        let biased = { (f: @escaping Curve) -> OperatorCase.Exact in
            { inputs in
                let sum =
                    inputs.count > 1 ? Reference.binary(inputs[0]!, inputs[1]!, +) : inputs[0]!
                return [Reference.unary(sum, f, magnitude: { abs($0) + 2 })]
            }
        }
        for bias in [.constant([7]), .activation([7])] as [OperatorCase.Input] {
            cases.append(OperatorCase("BiasGelu", [.activation([2, 3, 7]), bias], biased(gelu)).microsoft())
            cases.append(
                OperatorCase("FastGelu", [.activation([2, 3, 7]), bias], biased(geluTanh)).microsoft())
        }
        cases.append(OperatorCase("FastGelu", [.activation([3, 7])], biased(geluTanh)).microsoft())
        return cases
    }()

    // MARK: Arithmetic

    private static func cutOff(_ x: Double) -> Double { x.rounded(.towardZero) }
    private static func modulo(_ a: Double, _ b: Double) -> Double { a - b * floor(a / b) }

    private static func pair(
        _ name: String, _ title: String, _ attributes: [String: Attribute], _ a: OperatorCase.Input,
        _ b: OperatorCase.Input, _ f: @escaping @Sendable (Double, Double) -> Double
    ) -> OperatorCase {
        OperatorCase(name, title, attributes, [a, b]) { [Reference.binary($0[0]!, $0[1]!, f)] }
    }
    private static func pair(
        _ name: String, _ title: String, _ a: OperatorCase.Input, _ b: OperatorCase.Input,
        _ f: @escaping @Sendable (Double, Double) -> Double
    ) -> OperatorCase { pair(name, title, [:], a, b, f) }
    private static func pair(
        _ name: String, _ a: OperatorCase.Input, _ b: OperatorCase.Input,
        _ f: @escaping @Sendable (Double, Double) -> Double
    ) -> OperatorCase { pair(name, "", [:], a, b, f) }

    private static let furtherArithmetic: [OperatorCase] = {
        var cases: [OperatorCase] = []
        let (x, y): ([Int], [Int]) = ([2, 5, 3, 4], [5, 1, 1])
        for e in [2, 0.5, -0.5, 3, -1, 1, 0, 1.7, -2.5, 4] as [Float] {
            cases.append(
                pair("Pow", "exponent \(e)", .activation(x, .between(0.3, 3)), .constant([], .exactly([e]))) {
                    pow($0, $1)
                })
        }
        for e in [2, 3, -1, 4] as [Float] {
            cases.append(
                pair(
                    "Pow", "negative, exponent \(e)", .activation(x, .between(-3, -0.3)),
                    .constant([1], .exactly([e]))
                ) { pow($0, $1) })
        }
        cases += [
            pair("Pow", .activation(x, .between(0.3, 3)), .activation(y)) { pow($0, $1) },
            pair("Pow", .activation(y, .between(0.3, 3)), .activation(x)) { pow($0, $1) },
            pair("Pow", .constant(x, .between(0.3, 3)), .activation(y)) { pow($0, $1) },
            pair("Pow", .activation(x, .between(0.3, 3)), .constant(y)) { pow($0, $1) },
            pair("Pow", .activation([4, 3], .between(0.3, 3)), .ints([2, 0, -3])) { pow($0, $1) },
            pair("Pow", .activation([3], .between(0.3, 3)), .constant([1, 1], .exactly([2]))) { pow($0, $1) },
            pair(
                "Mod", "fmod", ["fmod": .int(1)], .activation(x, .between(2.1, 2.9)),
                .activation(y, .between(0.95, 1.02))
            ) {
                fmod($0, $1)
            },
            pair(
                "Mod", "fmod, negative", ["fmod": .int(1)], .activation(x, .between(-0.9, -0.1)),
                .constant(y, .between(1, 2))
            ) {
                fmod($0, $1)
            },
            pair(
                "Mod", "fmod, whole", ["fmod": .int(1)], .activation(x, .whole(-50, 50)),
                .activation(y, .whole(1, 9))
            ) {
                fmod($0, $1)
            }.stating([0: .integer, 1: .integer]),
            pair("Mod", "whole", .activation(x, .whole(-50, 50)), .activation(y, .whole(-9, -1)), modulo)
                .stating([0: .integer, 1: .integer]),
            pair("Mod", "whole", .activation(x, .whole(-50, 50)), .scalar(7), modulo).stating([0: .integer]),
        ]
        let whole: [(String, @Sendable (Double, Double) -> Double)] = [
            ("Add", { $0 + $1 }), ("Sub", { $0 - $1 }), ("Mul", { $0 * $1 }), ("Div", { cutOff($0 / $1) }),
            ("Max", { max($0, $1) }), ("Min", { min($0, $1) }),
        ]
        for (name, f) in whole {
            cases.append(
                pair(name, .activation(x, .whole(-300, 300)), .activation(y, .whole(1, 40)), f).stating([
                    0: .integer, 1: .integer,
                ]))
            cases.append(pair(name, .activation(x, .whole(-300, 300)), .scalar(-7), f).stating([0: .integer]))
            // What may not be exact is not a number.
            let large = Float(1 << 24)
            cases.append(
                pair(
                    name, "large", .activation([4], .exactly([large, -large, large, 2])),
                    .activation([4], .exactly([-1, 1, 1, 3]))
                ) {
                    let y = f($0, $1)
                    // An extreme is one of what is there already.
                    return abs(y) >= Double(large) && name != "Max" && name != "Min" ? .nan : y
                }.stating([0: .integer, 1: .integer]))
        }
        for inputs in [[x], [x, y, [4]], [[3], [2, 3], [1, 1, 1]]] as [[[Int]]] {
            // No two numbers alike, nor of two inputs.
            let all = inputs.enumerated().map {
                OperatorCase.Input.activation($1, .between(Float($0) * 0.3, Float($0) * 0.3 + 1))
            }
            cases.append(
                OperatorCase("Max", all) {
                    $0.dropFirst().reduce([$0[0]!]) { [Reference.binary($0[0], $1!, max)] }
                })
            cases.append(
                OperatorCase("Min", all) {
                    $0.dropFirst().reduce([$0[0]!]) { [Reference.binary($0[0], $1!, min)] }
                })
            cases.append(
                OperatorCase("Mean", inputs.map { .activation($0, .between(0.5, 2)) }) { inputs in
                    let sum = inputs.dropFirst().reduce(inputs[0]!) { Reference.binary($0, $1!, +) }
                    return [Reference.unary(sum) { $0 / Double(inputs.count) }]
                })
        }
        cases.append(
            pair("Max", "constant", .activation(x, .away(from: [0.5])), .constant([], .exactly([0.5])), max))
        var tied = OperatorCase(
            "Max", "tied", [.activation([2], .exactly([1, 2])), .constant([2], .exactly([1, 2]))]
        ) { [$0[0]!] }
        tied.gradient = { _, r in r }
        cases.append(tied)
        return cases
    }()

    // MARK: Truths

    private static let truths: [OperatorCase] = {
        var cases: [OperatorCase] = []
        let (x, y): ([Int], [Int]) = ([2, 5, 3, 4], [5, 1, 4])
        let comparisons: [(String, @Sendable (Double, Double) -> Bool)] = [
            ("Equal", { $0 == $1 }), ("Greater", { $0 > $1 }), ("GreaterOrEqual", { $0 >= $1 }),
            ("Less", { $0 < $1 }), ("LessOrEqual", { $0 <= $1 }),
        ]
        for (name, f) in comparisons {
            let test = { (a: OperatorCase.Input, b: OperatorCase.Input) in
                pair(name, a, b) { f($0, $1) ? 1 : 0 }
            }
            let three = OperatorCase.Fill.whole(-1, 1)
            cases += [
                test(.activation(x, three), .activation(y, three)).titled("real"),
                test(.activation(x, three), .activation(y, three)).stating([0: .integer, 1: .integer]),
                test(.activation(x, three), .scalar(0)).stating([0: .integer]),
                test(.activation(y), .constant(x)), test(.activation([1]), .activation([41])),
                test(
                    .activation([5], .exactly([1, .nan, .infinity, -.infinity, 0])),
                    .activation([5], .exactly([.nan, .nan, .infinity, .infinity, -0]))),
            ]
        }
        cases.append(
            pair("Equal", .activation(x, .whole(0, 1)), .activation(y, .whole(0, 1))) { $0 == $1 ? 1 : 0 }
                .stating([0: .boolean, 1: .boolean]))
        let logic: [(String, @Sendable (Bool, Bool) -> Bool)] = [
            ("And", { $0 && $1 }), ("Or", { $0 || $1 }), ("Xor", { $0 != $1 }),
        ]
        for (name, f) in logic {
            cases.append(
                pair(name, .activation(x, .whole(0, 1)), .activation(y, .whole(0, 1))) {
                    f($0 != 0, $1 != 0) ? 1 : 0
                }.stating([0: .boolean, 1: .boolean]))
            cases.append(
                pair(name, .activation([4, 2], .whole(0, 1)), .ints([0, 1])) { f($0 != 0, $1 != 0) ? 1 : 0 }
                    .stating([0: .boolean]))
        }
        cases.append(
            OperatorCase("Not", [.activation(x, .whole(0, 1))]) {
                [Reference.unary($0[0]!) { $0 == 0 ? 1 : 0 }]
            }
            .stating([0: .boolean]))

        let choice: OperatorCase.Exact = { inputs in
            let first = Reference.binary(inputs[0]!, inputs[1]!) { $0 != 0 ? $1 : 0 }
            let second = Reference.binary(inputs[0]!, inputs[2]!) { $0 != 0 ? 0 : $1 }
            return [Reference.binary(first, second, +)]
        }
        let truth = OperatorCase.Fill.whole(0, 1)
        let choices: [[OperatorCase.Input]] = [
            [.activation(x, truth), .activation(x), .activation(x)],
            [.activation([3, 4], truth), .activation(x), .activation([5, 1, 1])],
            [.activation(x, truth), .activation([]), .activation([1])],
            [.activation([5, 1, 1], truth), .constant([], .exactly([-2])), .activation(x)],
            [.activation([5, 1, 1], truth), .activation(x), .constant([1], .exactly([7]))],
            [.activation([37], truth), .activation([37]), .constant([], .exactly([-.infinity]))],
            [.activation(x, truth), .constant([], .exactly([3])), .constant([1, 5, 1, 1])],
        ]
        for inputs in choices { cases.append(OperatorCase("Where", inputs, choice).stating([0: .boolean])) }
        cases += [
            OperatorCase("Where", [.ints([0, 1, 1]), .activation([2, 3]), .activation([3])], choice),
            OperatorCase(
                "Where", [.activation([3], truth), .ints([4, 5, 6]), .activation([2, 3], .whole(-9, 9))],
                choice
            )
            .stating([0: .boolean, 2: .integer]),
            OperatorCase(
                "Where", [.activation([3], truth), .activation([3], .whole(-9, 9)), .scalar(3)], choice
            )
            .stating([0: .boolean, 1: .integer]),
        ]

        @Sendable func wrapped(_ x: Double, _ range: ClosedRange<Int>) -> Double {
            var x = Int(x)
            while x > range.upperBound { x -= range.count }
            while x < range.lowerBound { x += range.count }
            return Double(x)
        }
        func cast(_ type: Int, _ dims: [Int], _ fill: OperatorCase.Fill, _ f: @escaping Curve) -> OperatorCase
        {
            OperatorCase("Cast", "to \(type)", ["to": .int(type)], [.activation(dims, fill)]) {
                [Reference.unary($0[0]!, f)]
            }
        }
        let cut: Curve = { cutOff($0) + 0 }
        cases += [
            cast(9, [37], .whole(-1, 1)) { $0 != 0 ? 1 : 0 },
            cast(9, [37], .whole(-1, 1)) { $0 != 0 ? 1 : 0 }.stating([0: .integer]),
            cast(9, [3], .exactly([.nan, .infinity, 0x1p-149])) { _ in 1 },
            cast(6, [5, 7, 3, 4], .uniform(9), cut), cast(7, [37], .uniform(1000), cut),
            cast(7, [4], .exactly([0x1.fffffep23, 0x1p24, .nan, -.infinity])) {
                $0 == 0x1.fffffep23 ? $0 : .nan
            },
            cast(1, [37], .whole(-9, 9)) { $0 }.stating([0: .integer]),
            // Of 8 and 16 bits, and without a sign.
            cast(2, [5, 7, 3, 4], .between(0, 256)) { wrapped(cut($0), 0...255) },
            cast(3, [37], .between(-128, 127), cut),
            cast(4, [37], .between(0, 65535)) { wrapped(cut($0), 0...65535) },
            cast(5, [37], .between(-32768, 32767), cut),
            cast(12, [37], .between(0, 1e6), cut), cast(13, [37], .between(0, 1e6), cut),
            cast(2, [6], .exactly([255.9, 256, -0.9, -1, .nan, .infinity])) {
                $0 > -1 && $0 < 256 ? cut($0) : .nan
            },
            cast(3, [4], .exactly([127.5, 128, -128.5, -129])) {
                $0 > -129 && $0 < 128 ? cut($0) : .nan
            },
            cast(12, [3], .exactly([-1, 0x1p24, 7])) { $0 == 7 ? 7 : .nan },
            cast(2, [65], .whole(-1000, 1000)) { wrapped($0, 0...255) }.stating([0: .integer]),
            cast(3, [65], .whole(-1000, 1000)) { wrapped($0, -128...127) }.stating([0: .integer]),
            cast(4, [65], .whole(-200_000, 200_000)) { wrapped($0, 0...65535) }.stating([0: .integer]),
            cast(5, [65], .whole(-200_000, 200_000)) { wrapped($0, -32768...32767) }
                .stating([0: .integer]),
            cast(13, [37], .whole(-3, 9)) { $0 < 0 ? .nan : $0 }.stating([0: .integer]),
            cast(3, [37], .whole(0, 1)) { $0 }.stating([0: .boolean]),
            cast(1, [37], .whole(0, 255)) { $0 }.stating([0: .wrapping]),
            cast(3, [37], .whole(0, 255)) { wrapped($0, -128...127) }.stating([0: .wrapping]),
            cast(1, [37], .whole(0, 1)) { $0 }.stating([0: .boolean]),
            cast(7, [37], .whole(0, 1)) { $0 }.stating([0: .boolean]),
        ]
        // Their gradient is that of numbers that are not rounded.
        for (type, rounded) in [(10, { Double(Float16($0)) }), (16, MathTests.bfloat16)] as [(Int, Curve)] {
            var test = cast(type, [5, 7, 3, 4], .uniform(9), rounded)
            test.gradient = { _, r in r }
            cases.append(test)
            test = cast(type, [6], .exactly([65519.996, 65520, 1e-7, -0x1p-25, 0x1.8p-25, 3.4e38]), rounded)
            test.gradient = { _, r in r }
            cases.append(test)
        }
        func like(_ fill: OperatorCase.Fill, _ meanings: [Int: Meaning], _ f: @escaping Curve) -> OperatorCase
        {
            OperatorCase("CastLike", [.activation([3, 7], fill), .activation([2], .whole(0, 1))]) {
                [Reference.unary($0[0]!, f)]
            }.stating(meanings)
        }
        cases += [
            like(.whole(-9, 9), [0: .integer, 1: .boolean]) { $0 == 0 ? 0 : 1 },
            like(.whole(0, 1), [0: .boolean, 1: .integer]) { $0 },
            OperatorCase("CastLike", [.activation([3, 7]), .constant([2])]) {
                [Reference.unary($0[0]!) { $0 }]
            },
        ]
        return cases
    }()

    static let elementwiseCases: [OperatorCase] = curves + furtherArithmetic + truths

    // MARK: At random

    /// Any curve or choice on any shapes; number n is the same for ever.
    static func randomElementwise(_ number: Int) -> OperatorCase {
        var random = SeededRandom("random element-wise case \(number)")
        func int(_ range: ClosedRange<Int>) -> Int { range.lowerBound + random.index(below: range.count) }
        let dims = (0..<int(0...6)).map { _ in int(1...6) }
        func part() -> [Int] {
            let some = dims.map { random.index(below: 2) == 0 ? $0 : 1 }
            return Array(some.dropFirst(int(0...some.count)))
        }
        let smooth: [(String, Int, Curve)] = [
            ("Softplus", 17, { log1p(exp($0)) }), ("Gelu", 20, gelu),
            ("Mish", 18, { $0 * tanh(log1p(exp($0))) }),
            ("Swish", 24, { $0 / (1 + exp(-$0)) }), ("Sin", 17, { sin($0) }), ("Cos", 17, { cos($0) }),
            ("Softsign", 17, { $0 / (1 + abs($0)) }), ("Atan", 17, { atan($0) }),
        ]
        var test: OperatorCase
        switch int(0...4) {
        case 0, 1:
            let (name, opset, f) = smooth[random.index(below: smooth.count)]
            test = OperatorCase(name, opset: opset, [.activation(dims, .uniform(4))]) {
                [Reference.unary($0[0]!, f, magnitude: { abs($0) + 1 })]
            }
        case 2:
            test = pair("Pow", .activation(dims, .between(0.3, 3)), .activation(part())) { pow($0, $1) }
        case 3:
            let (a, b) = (part(), part())
            test = OperatorCase(
                "Where", [.activation(dims, .whole(0, 1)), .activation(a), .activation(b)]
            ) { inputs in
                let first = Reference.binary(inputs[0]!, inputs[1]!) { $0 != 0 ? $1 : 0 }
                let second = Reference.binary(inputs[0]!, inputs[2]!) { $0 != 0 ? 0 : $1 }
                return [Reference.binary(first, second, +)]
            }.stating([0: .boolean])
        default:
            test = pair(
                "LessOrEqual", .activation(part(), .whole(-2, 2)), .activation(dims, .whole(-2, 2))
            ) { $0 <= $1 ? 1 : 0 }
        }
        test.title = "random element-wise case \(number), " + test.title
        return test
    }
}

extension OperatorTests {
    @Test(arguments: 0..<60)
    func randomElementwise(_ number: Int) throws {
        try check(Cases.randomElementwise(number), on: Devices.all + Devices.little)
    }
}
