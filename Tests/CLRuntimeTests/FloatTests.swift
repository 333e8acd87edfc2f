import CLRuntime
import Testing

/// What “the same bits everywhere” stands on: that a device's + × fma (and ÷ √ where it says so) are those of IEEE 754.
@Suite struct FloatTests {
    private static let source = """
        #pragma OPENCL FP_CONTRACT OFF
        #define EACH(T, N) \\
            kernel void fma_##N(global const T *a, global const T *b, global const T *c, global T *o) { \\
                size_t i = get_global_id(0); o[i] = fma(a[i], b[i], c[i]); } \\
            kernel void mul_add_##N(global const T *a, global const T *b, global const T *c, global T *o) { \\
                size_t i = get_global_id(0); o[i] = a[i] * b[i] + c[i]; } \\
            kernel void divide_##N(global const T *a, global const T *b, global const T *c, global T *o) { \\
                size_t i = get_global_id(0); o[i] = a[i] / b[i]; } \\
            kernel void root_##N(global const T *a, global const T *b, global const T *c, global T *o) { \\
                size_t i = get_global_id(0); o[i] = sqrt(fabs(a[i])); }
        EACH(float, 1)
        EACH(float4, 4)
        EACH(float16, 16)
        """

    private static let count = 1 << 14

    /// Hand-picked cases, then floats with random bits in all, then ones of similar size, where rounding decides.
    private static let inputs: (a: [Float], b: [Float], c: [Float]) = {
        var numbers = Numbers(state: 1)
        let tiny = Float.leastNonzeroMagnitude
        let one = 1 + Float(sign: .plus, exponent: -12, significand: 1)
        // one × one = 1 + 2⁻¹¹ + 2⁻²⁴ rounds to 1 + 2⁻¹¹: contracted the sum is 2⁻²⁴, otherwise 0.
        let two = -(1 + Float(sign: .plus, exponent: -11, significand: 1))
        var a: [Float] = [
            one, 1e-30, tiny, 3e38, 0, -0, .infinity, tiny * 5, .leastNormalMagnitude, 1, 16_777_215,
        ]
        var b: [Float] = [one, 1e-10, 0.5, 10, 3, 3, 2, 3, 0.5, 3, 3]
        var c: [Float] = [two, 0, tiny, -3e38, -0, -0, 1, -tiny, tiny, -tiny, 0]
        while a.count < count {
            let wild = a.count < count / 2
            func number() -> Float {
                wild
                    ? Float(bitPattern: UInt32.random(in: 0 ... .max, using: &numbers))
                    : Float.random(in: -2...2, using: &numbers)
            }
            a.append(number())
            b.append(number())
            c.append(number())
        }
        return (a, b, c)
    }()

    private func compare(
        _ operation: String, _ bench: Bench, options: String = "", _ expected: (Float, Float, Float) -> Float
    ) throws {
        let program = try CLProgram(
            context: bench.context, source: Self.source, options: options, cache: .off)
        let (a, b, c) = Self.inputs
        for width in [1, 4, 16] {
            let out = try bench.buffer(floats: Self.count)
            let kernel = try program.kernel("\(operation)_\(width)")
            try kernel.setArguments([
                .buffer(bench.buffer(a)), .buffer(bench.buffer(b)), .buffer(bench.buffer(c)), .buffer(out),
            ])
            try bench.queue.enqueue(kernel, global: CLSize(Self.count / width))
            let got = try bench.queue.read(Float.self, from: out)
            var wrong: [String] = []
            for i in 0..<Self.count {
                let want = expected(a[i], b[i], c[i])
                let same = want.isNaN ? got[i].isNaN : want.bitPattern == got[i].bitPattern
                if !same {
                    wrong.append("\(operation)(\(a[i]), \(b[i]), \(c[i])) is \(got[i]) instead of \(want)")
                }
            }
            #expect(wrong.isEmpty, "width \(width): \(wrong.count) wrong, \(wrong.prefix(3))")
        }
    }

    @Test func fmaRoundsOnce() throws {
        try compare("fma", Bench()) { a, b, c in c.addingProduct(a, b) }
    }

    @Test func nothingIsContracted() throws {
        let (a, b, c) = (Self.inputs.a[0], Self.inputs.b[0], Self.inputs.c[0])
        #expect(a * b + c == 0 && c.addingProduct(a, b) != 0, "the case must tell the two apart")
        try compare("mul_add", Bench()) { a, b, c in a * b + c }
    }

    @Test func subnormalsAreKeptAsClaimed() throws {
        let bench = try Bench()
        #expect(bench.device.floatConfiguration.contains(.denorm))
        let kernel = try bench.kernel(
            "half_", "kernel void half_(global float *x) { x[get_global_id(0)] *= 0.5f; }")
        let tiny = Float.leastNonzeroMagnitude
        let x = try bench.buffer([2 * tiny, Float.leastNormalMagnitude, -6 * tiny])
        try kernel.setArguments([.buffer(x)])
        try bench.queue.enqueue(kernel, global: 3)
        #expect(
            try bench.queue.read(Float.self, from: x) == [tiny, Float.leastNormalMagnitude / 2, -3 * tiny])
    }

    @Test func divisionAndRootAreRoundedAsClaimed() throws {
        let bench = try Bench()
        guard bench.device.floatConfiguration.contains(.correctlyRoundedDivideSqrt) else { return }
        let options = "-cl-fp32-correctly-rounded-divide-sqrt"
        try compare("divide", bench, options: options) { a, b, _ in a / b }
        try compare("root", bench, options: options) { a, _, _ in a.magnitude.squareRoot() }
    }
}
