import CMicrokernels
import Foundation
import Testing

/// The functions of kernels/math.clh, on the host, against double precision.
///
/// The bounds are those of Documentation/Math.md, which come from a run over every binary32 number.
struct MathTests {
    struct Unary: Sendable, CustomTestStringConvertible {
        let name: String
        let number: wb_math_function
        let bound: Double
        let exact: @Sendable (Double) -> Double
        let host: @Sendable (Float) -> Float

        var testDescription: String { name }
    }

    struct Binary: Sendable, CustomTestStringConvertible {
        let name: String
        let number: wb_math_function2
        let host: @Sendable (Float, Float) -> Float

        var testDescription: String { name }
    }

    static let unary: [Unary] = [
        Unary(name: "exp", number: WB_MATH_EXP, bound: 1.0, exact: { exp($0) }, host: wb_host_exp),
        Unary(name: "expm1", number: WB_MATH_EXPM1, bound: 1.5, exact: { expm1($0) }, host: wb_host_expm1),
        Unary(name: "log", number: WB_MATH_LOG, bound: 0.9, exact: { log($0) }, host: wb_host_log),
        Unary(name: "log1p", number: WB_MATH_LOG1P, bound: 1.2, exact: { log1p($0) }, host: wb_host_log1p),
        Unary(
            name: "softplus", number: WB_MATH_SOFTPLUS, bound: 1.7,
            exact: { max($0, 0) + log1p(exp(-abs($0))) }, host: wb_host_softplus),
        Unary(
            name: "sigmoid", number: WB_MATH_SIGMOID, bound: 1.0,
            exact: { $0 < 0 ? exp($0) / (1 + exp($0)) : 1 / (1 + exp(-$0)) }, host: wb_host_sigmoid),
        Unary(name: "tanh", number: WB_MATH_TANH, bound: 0.9, exact: { tanh($0) }, host: wb_host_tanh),
        Unary(name: "erf", number: WB_MATH_ERF, bound: 1.1, exact: { erf($0) }, host: wb_host_erf),
        Unary(name: "sin", number: WB_MATH_SIN, bound: 0.75, exact: { sin($0) }, host: wb_host_sin),
        Unary(name: "cos", number: WB_MATH_COS, bound: 0.75, exact: { cos($0) }, host: wb_host_cos),
        Unary(name: "tan", number: WB_MATH_TAN, bound: 2.2, exact: { tan($0) }, host: wb_host_tan),
        Unary(name: "asin", number: WB_MATH_ASIN, bound: 2.4, exact: { asin($0) }, host: wb_host_asin),
        Unary(name: "acos", number: WB_MATH_ACOS, bound: 1.2, exact: { acos($0) }, host: wb_host_acos),
        Unary(name: "atan", number: WB_MATH_ATAN, bound: 1.9, exact: { atan($0) }, host: wb_host_atan),
        Unary(name: "sinh", number: WB_MATH_SINH, bound: 2.6, exact: { sinh($0) }, host: wb_host_sinh),
        Unary(name: "cosh", number: WB_MATH_COSH, bound: 2.6, exact: { cosh($0) }, host: wb_host_cosh),
        Unary(name: "asinh", number: WB_MATH_ASINH, bound: 1.75, exact: { asinh($0) }, host: wb_host_asinh),
        Unary(name: "acosh", number: WB_MATH_ACOSH, bound: 1.9, exact: { acosh($0) }, host: wb_host_acosh),
        Unary(name: "atanh", number: WB_MATH_ATANH, bound: 2.15, exact: { atanh($0) }, host: wb_host_atanh),
        Unary(
            name: "round", number: WB_MATH_ROUND, bound: 0, exact: { $0.rounded(.toNearestOrEven) },
            host: wb_host_round),
        Unary(name: "floor", number: WB_MATH_FLOOR, bound: 0, exact: { floor($0) }, host: wb_host_floor),
        Unary(name: "ceil", number: WB_MATH_CEIL, bound: 0, exact: { ceil($0) }, host: wb_host_ceil),
        Unary(name: "trunc", number: WB_MATH_TRUNC, bound: 0, exact: { trunc($0) + 0 }, host: wb_host_trunc),
        Unary(
            name: "half", number: WB_MATH_HALF, bound: 0, exact: { Double(Float16($0)) }, host: wb_host_half),
        Unary(
            name: "bfloat", number: WB_MATH_BFLOAT, bound: 0, exact: MathTests.bfloat16, host: wb_host_bfloat),
    ]

    static let binary: [Binary] = [
        Binary(name: "pow", number: WB_MATH_POW, host: wb_host_pow),
        Binary(name: "div", number: WB_MATH_DIV, host: wb_host_div),
        Binary(name: "div_integer", number: WB_MATH_DIV_INTEGER, host: wb_host_div_integer),
        Binary(name: "min", number: WB_MATH_MIN, host: wb_host_min),
        Binary(name: "max", number: WB_MATH_MAX, host: wb_host_max),
        Binary(name: "fmod", number: WB_MATH_FMOD, host: wb_host_fmod),
    ]

    /// The nearest number with eight bits and the exponents of binary32.
    static let bfloat16: @Sendable (Double) -> Double = { x in
        guard x.isFinite, x != 0 else { return x }
        let step = Double(sign: .plus, exponent: max(Int(x.exponent), -126) - 7, significand: 1)
        let nearest = (x / step).rounded(.toNearestOrEven) * step
        return abs(nearest) >= 0x1p128 ? (x < 0 ? -Double.infinity : .infinity) : nearest
    }

    static let canonicalNaN: UInt32 = 0x7fc0_0000

    /// Zeros, subnormals, powers of two, integers, limits, NaNs, and the neighbours of each.
    static let specials: [Float] = {
        var patterns: [UInt32] = [0x7f80_0000, 0x7f80_0001, 0x7fc0_0000, 0x7fc1_2345, 0x7fff_ffff]
        let centres: [Float] = [
            0, 0x1p-149, 0x1p-126, 0x1p-25, 0x1p-24, 0x1p-13, 1.0 / 3, 0.3465736, 0.5, 0.625, 2.0 / 3,
            0.70710677,
            0.75, 0.9375, 1, 1.5, 4.0 / 3, 2, 2.5, 3, 3.95, 9, 10, 16.635532, 17, 18, 64, 87.33655, 88.02969,
            88.72284,
            89, 103.27893, 103.97208, 104, 110, 8_388_607, 8_388_608, 16_777_215, 16_777_216, 0x1p30, 0x1p64,
            0x1.fffffep127,
        ]
        for centre in centres {
            let bits = centre.bitPattern
            let low = bits > 3 ? bits - 3 : 0
            patterns.append(contentsOf: low...min(bits + 3, 0x7f80_0000))
        }
        return patterns.flatMap { [Float(bitPattern: $0), Float(bitPattern: $0 | 0x8000_0000)] }
    }()

    /// Every `step`-th bit pattern, in blocks, and the specials.
    static func forEachBlock(step: Int, _ body: ([Float]) -> Void) {
        body(specials)
        let block = 1 << 16
        var first = 0
        while first <= Int(UInt32.max) {
            let last = min(first + block * step, Int(UInt32.max) + 1)
            body(stride(from: first, to: last, by: step).map { Float(bitPattern: UInt32($0)) })
            first += block * step
        }
    }

    static func map(_ function: wb_math_function, _ x: [Float], target: wb_math_target? = nil) -> [Float] {
        var y = [Float](repeating: 0, count: x.count)
        if let target {
            wb_math_map_target(Int32(target.rawValue), Int32(function.rawValue), x, &y, x.count)
        } else {
            wb_math_map(Int32(function.rawValue), x, &y, x.count)
        }
        return y
    }

    static func map(
        _ function: wb_math_function2, _ x: [Float], _ y: [Float], target: wb_math_target? = nil
    ) -> [Float] {
        var z = [Float](repeating: 0, count: x.count)
        if let target {
            wb_math_map2_target(Int32(target.rawValue), Int32(function.rawValue), x, y, &z, x.count)
        } else {
            wb_math_map2(Int32(function.rawValue), x, y, &z, x.count)
        }
        return z
    }

    static func bits(_ x: [Float]) -> [UInt32] { x.map(\.bitPattern) }

    /// The error of `y` in units of the last place of `exact`; infinite where the kind or the sign is wrong.
    static func ulps(_ y: Float, _ exact: Double) -> Double {
        if exact.isNaN { return y.bitPattern == canonicalNaN ? 0 : .infinity }
        if y.isNaN || (y.sign != exact.sign) { return .infinity }
        if Double(y) == exact { return 0 }
        // Past the largest float, the error counts from 2^128, which infinity stands for.
        let value = y.isInfinite ? (y < 0 ? -0x1p128 : 0x1p128) : Double(y)
        if exact.isInfinite { return .infinity }
        if y.isInfinite, abs(exact) >= 0x1p128 { return 0 }
        let exponent = min(max(exact == 0 ? -126 : Int(exact.exponent), -126), 127)
        return abs(value - exact) * Double(sign: .plus, exponent: 23 - exponent, significand: 1)
    }

    // 37 divides nothing of interest in a bit pattern. A debug build takes a coarser step.
    #if DEBUG
        static let step = 37 * 1009
    #else
        static let step = 37 * 13
    #endif

    @Test(arguments: unary)
    func staysWithinItsBound(_ function: Unary) {
        var worst = 0.0
        var worstAt: Float = 0
        Self.forEachBlock(step: Self.step) { x in
            let y = Self.map(function.number, x)
            for i in x.indices {
                let error = Self.ulps(y[i], function.exact(Double(x[i])))
                if error > worst { (worst, worstAt) = (error, x[i]) }
            }
        }
        #expect(worst <= function.bound, "\(function.name)(\(worstAt)) is off by \(worst) ulp")
    }

    @Test func hasTheExactValuesThatItMust() {
        #expect(wb_host_exp(0) == 1)
        #expect(wb_host_exp(-0.0) == 1)
        #expect(wb_host_exp(-.infinity).bitPattern == 0)
        #expect(wb_host_exp(.infinity) == .infinity)
        #expect(wb_host_expm1(-.infinity) == -1)
        #expect(wb_host_expm1(-0.0).bitPattern == 0x8000_0000)
        #expect(wb_host_log(1).bitPattern == 0)
        #expect(wb_host_log(0) == -.infinity)
        #expect(wb_host_log(-0.0) == -.infinity)
        #expect(wb_host_log(-1).bitPattern == Self.canonicalNaN)
        #expect(wb_host_log1p(-0.0).bitPattern == 0x8000_0000)
        #expect(wb_host_log1p(-1) == -.infinity)
        #expect(wb_host_sigmoid(0) == 0.5)
        #expect(wb_host_sigmoid(-.infinity).bitPattern == 0)
        #expect(wb_host_sigmoid(.infinity) == 1)
        #expect(wb_host_softplus(-.infinity).bitPattern == 0)
        #expect(wb_host_softplus(.infinity) == .infinity)
        #expect(wb_host_tanh(-0.0).bitPattern == 0x8000_0000)
        #expect(wb_host_tanh(.infinity) == 1)
        #expect(wb_host_erf(-0.0).bitPattern == 0x8000_0000)
        #expect(wb_host_erf(-.infinity) == -1)
    }

    @Test func turnsEveryNaNIntoOne() {
        for pattern: UInt32 in [0x7f80_0001, 0x7fc0_0000, 0xffc0_0000, 0xff80_0001, 0x7fff_ffff, 0xffff_ffff]
        {
            let nan = Float(bitPattern: pattern)
            for function in Self.unary {
                #expect(function.host(nan).bitPattern == Self.canonicalNaN, "\(function.name)")
            }
            #expect(wb_host_canonical(nan).bitPattern == Self.canonicalNaN)
            #expect(wb_host_sqrt(nan).bitPattern == Self.canonicalNaN)
            #expect(wb_host_sqrt_integer(nan).bitPattern == Self.canonicalNaN)
            for function in Self.binary {
                #expect(function.host(nan, 2).bitPattern == Self.canonicalNaN, "\(function.name)")
                #expect(function.host(2, nan).bitPattern == Self.canonicalNaN, "\(function.name)")
            }
        }
        #expect(wb_host_canonical(-0.0).bitPattern == 0x8000_0000)
        #expect(wb_host_canonical(-.infinity) == -.infinity)
    }

    @Test func extremesHaveAnOrderOfZeros() {
        #expect(wb_host_max(0, -0.0).bitPattern == 0)
        #expect(wb_host_max(-0.0, 0).bitPattern == 0)
        #expect(wb_host_max(-0.0, -0.0).bitPattern == 0x8000_0000)
        #expect(wb_host_min(0, -0.0).bitPattern == 0x8000_0000)
        #expect(wb_host_min(-0.0, 0).bitPattern == 0x8000_0000)
        #expect(wb_host_min(0, 0).bitPattern == 0)
        var wrong = 0
        for x in Self.specials where !x.isNaN {
            for y in Self.specials where !y.isNaN && x != y {
                if wb_host_max(x, y) != (x > y ? x : y) { wrong += 1 }
                if wb_host_min(x, y) != (x < y ? x : y) { wrong += 1 }
            }
        }
        #expect(wrong == 0)
    }

    @Test(arguments: [WB_MATH_SQRT, WB_MATH_SQRT_INTEGER])
    func squareRootIsExact(_ function: wb_math_function) {
        var wrong = 0
        Self.forEachBlock(step: Self.step) { x in
            let y = Self.map(function, x)
            for i in x.indices {
                let root = x[i].squareRoot()
                if y[i].bitPattern != (root.isNaN ? Self.canonicalNaN : root.bitPattern) { wrong += 1 }
            }
        }
        #expect(wrong == 0)
    }

    /// Pairs of special numbers, then random pairs: any at all; both small; quotients that are subnormal.
    static func pairs(seed: UInt64, count: Int) -> (x: [Float], y: [Float]) {
        var x: [Float] = []
        var y: [Float] = []
        for a in specials {
            for b in specials {
                x.append(a)
                y.append(b)
            }
        }
        var state = seed
        for i in 0..<count {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            var a = UInt32(truncatingIfNeeded: state >> 32)
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            var b = UInt32(truncatingIfNeeded: state >> 32)
            if i % 3 == 1 { (a, b) = (a & 0x80ff_ffff, b & 0x81ff_ffff) }
            if i % 3 == 2 { (a, b) = (a & 0x80ff_ffff, (b & 0x83ff_ffff) + 0x3f80_0000) }
            x.append(Float(bitPattern: a))
            y.append(Float(bitPattern: b))
        }
        return (x, y)
    }

    @Test(arguments: [WB_MATH_DIV, WB_MATH_DIV_INTEGER])
    func divisionIsExact(_ function: wb_math_function2) {
        let (x, y) = Self.pairs(seed: 1, count: Self.step > 10_000 ? 100_000 : 2_000_000)
        let z = Self.map(function, x, y)
        var wrong = 0
        for i in x.indices {
            let quotient = x[i] / y[i]
            if z[i].bitPattern != (quotient.isNaN ? Self.canonicalNaN : quotient.bitPattern) { wrong += 1 }
        }
        #expect(wrong == 0)
    }

    @Test func remainderIsExact() {
        let (x, y) = Self.pairs(seed: 6, count: 200_000)
        let z = Self.map(WB_MATH_FMOD, x, y)
        var wrong = 0
        for i in x.indices {
            let rest = fmodf(x[i], y[i])
            if z[i].bitPattern != (rest.isNaN ? Self.canonicalNaN : rest.bitPattern) { wrong += 1 }
        }
        #expect(wrong == 0)
    }

    /// Their errors are small beside the argument, not beside the result where that is nearly 0.
    @Test(arguments: ["gelu", "gelu_tanh", "mish"])
    func gatesStayWithinTheirBounds(_ name: String) {
        let functions: [String: (wb_math_function, Double, (Double) -> Double)] = [
            "gelu": (WB_MATH_GELU, 1, { 0.5 * $0 * erfc(-$0 * 0.5.squareRoot()) }),
            "gelu_tanh": (
                WB_MATH_GELU_TANH, 2,
                { 0.5 * $0 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) }
            ),
            "mish": (WB_MATH_MISH, 2, { $0 * tanh(max($0, 0) + log1p(exp(-abs($0)))) }),
        ]
        let (number, bound, exact) = functions[name]!
        var worst = 0.0
        var worstAt: Float = 0
        Self.forEachBlock(step: Self.step) { x in
            let y = Self.map(number, x)
            for i in x.indices where x[i].isFinite && abs(x[i]) > 1e-30 {
                let error = abs(Double(y[i]) - exact(Double(x[i]))) / Double(x[i].magnitude) * 0x1p23
                if !(error <= worst) { (worst, worstAt) = (error, x[i]) }
            }
        }
        #expect(worst <= bound, "\(name)(\(worstAt)) is off by \(worst) · 2⁻²³ |x|")
        for x: Float in [.nan, -.infinity] {
            #expect(Self.map(number, [x])[0].bitPattern == Self.canonicalNaN)
        }
        #expect(Self.map(number, [.infinity])[0] == .infinity)
    }

    @Test func powerStaysWithinItsBound() {
        var (x, y) = Self.pairs(seed: 2, count: 100_000)
        // Random bases with powers that are neither infinite nor zero.
        var state: UInt64 = 3
        for i in 0..<(Self.step > 10_000 ? 100_000 : 1_000_000) {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let pattern = UInt32(truncatingIfNeeded: state >> 33)
            let base = Float(bitPattern: i % 2 == 0 ? pattern : 0x3f00_0000 | (pattern & 0x00ff_ffff))
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let logarithm = Double(state >> 40) / 0x1p24 * 280 - 150
            x.append(base)
            y.append(Float(logarithm / log2(Double(base))))
        }
        let z = Self.map(WB_MATH_POW, x, y)
        var worst = 0.0
        var at = 0
        for i in x.indices {
            let error = Self.ulps(z[i], pow(Double(x[i]), Double(y[i])))
            if error > worst { (worst, at) = (error, i) }
        }
        #expect(worst <= 1.25, "pow(\(x[at]), \(y[at])) is off by \(worst) ulp")
    }

    @Test(arguments: [WB_MATH_AVX2, WB_MATH_AVX512])
    func everyTargetGivesTheSameBits(_ target: wb_math_target) {
        guard wb_math_has_target(Int32(target.rawValue)) != 0 else { return }
        for number in 0..<WB_MATH_FUNCTIONS.rawValue {
            let function = wb_math_function(rawValue: number)
            Self.forEachBlock(step: 37 * 1009) { x in
                let expected = Self.bits(Self.map(function, x, target: WB_MATH_BASELINE))
                #expect(Self.bits(Self.map(function, x, target: target)) == expected, "function \(number)")
            }
        }
        let (x, y) = Self.pairs(seed: 4, count: 50_000)
        for number in 0..<WB_MATH_FUNCTIONS2.rawValue {
            let function = wb_math_function2(rawValue: number)
            let expected = Self.bits(Self.map(function, x, y, target: WB_MATH_BASELINE))
            #expect(Self.bits(Self.map(function, x, y, target: target)) == expected, "function \(number)")
        }
    }

    @Test func oneNumberIsLikeMany() {
        for function in Self.unary {
            let expected = Self.bits(Self.map(function.number, Self.specials))
            #expect(Self.bits(Self.specials.map(function.host)) == expected, "\(function.name)")
        }
        let (x, y) = Self.pairs(seed: 5, count: 1000)
        for function in Self.binary {
            let expected = Self.bits(Self.map(function.number, x, y))
            #expect(Self.bits(zip(x, y).map(function.host)) == expected, "\(function.name)")
        }
    }
}
