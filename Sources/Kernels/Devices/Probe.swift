// Whether an OpenCL device computes what the processor computes, measured before it is used: kernels/probe.cl.

import CLRuntime
import CMicrokernels
import Glibc
import Synchronization

/// What was measured of a device's arithmetic.
package struct Probe: Sendable, Hashable {
    /// What the first operation that differs gave, such as “fma(0.5, 1.0, 0.0) = 0.0 instead of 0.5”; nil if none differs.
    package var wrong: String?
    /// Whether the device's own division and square root are right, and are used.
    package var nativeDivision: Bool
    /// Whether the compiler keeps the order of sums only where it must mind exceptions.
    package var strict: Bool
    /// What was wrong before division, square root or the way of compiling were replaced.
    package var replaced: [String] = []
    /// How many numbers were compared.
    package var numbers = 0

    /// One line for people.
    package var description: String {
        let all = "\(numbers) numbers compared with the processor's"
        guard wrong == nil else { return "wrong: \(wrong!)" }
        return replaced.isEmpty
            ? "right, \(all)"
            : "right, \(all), with what was wrong replaced: \(replaced.joined(separator: "; "))"
    }

    // MARK: Measuring, or remembering

    /// Of each directory of caches, the outcomes that this process knows.
    private static let known = Mutex<[String: [CLProgramCache.Key: Probe]]>([:])

    /// What was measured when this device was first opened with this driver, which the program cache remembers; measured now if
    /// that is the first time.
    package static func outcome(of device: CLDevice, cache: CLProgramCache = .standard) throws -> Probe {
        let (key, directory) = (key(of: device), cache.directory ?? "")
        if let probe = known.withLock({ $0[directory]?[key] }) { return probe }
        var remembered = cache.load(key).flatMap { Probe(String(decoding: $0, as: UTF8.self)) }
        if remembered == nil {
            remembered = try measure(device)
            _ = cache.store(Array(remembered!.text.utf8), key)
        }
        let probe = remembered!
        known.withLock { $0[directory, default: [:]][key] = probe }
        return probe
    }

    /// What an outcome depends on.
    package static func key(of device: CLDevice) -> CLProgramCache.Key {
        CLProgramCache.key([
            "probe 1", OpenCL.source("probe"), device.platform.name, device.platform.version, device.name,
            device.version,
            device.driverVersion, "\(device.floatConfiguration.rawValue)",
        ])
    }

    private init(nativeDivision: Bool, strict: Bool) {
        (self.nativeDivision, self.strict) = (nativeDivision, strict)
    }

    /// As it lies on disk: a line of facts, one of what is wrong (or empty), and those that were replaced.
    package var text: String {
        (["\(nativeDivision) \(strict) \(numbers)", wrong ?? ""] + replaced).joined(separator: "\n")
    }

    package init?(_ text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let facts = lines[0].split(separator: " ")
        guard lines.count >= 2, facts.count == 3, let native = Bool(String(facts[0])),
            let strict = Bool(String(facts[1])),
            let numbers = Int(facts[2])
        else { return nil }
        self.init(nativeDivision: native, strict: strict)
        (wrong, replaced, self.numbers) = (lines[1].isEmpty ? nil : lines[1], Array(lines[2...]), numbers)
    }

    /// Tries the fastest way first, and takes the first that is right.
    /// - Parameter source: another text for tests, which make a device wrong with it.
    package static func measure(_ device: CLDevice, source: String = OpenCL.source("probe")) throws -> Probe {
        let bench = try Bench(device, source)
        var replaced: [String] = []
        for strict in [false, true] {
            let declared = device.floatConfiguration.contains(.correctlyRoundedDivideSqrt)
            for native in declared ? [true, false] : [false] {
                var probe = Probe(nativeDivision: native, strict: strict)
                do {
                    (probe.wrong, probe.numbers) = try bench.compare(probe)
                } catch is CLError where strict {
                    // Compilers need not know how to be strict (NVIDIA's does not), nor simulators what is then built; it is no way.
                    continue
                }
                if probe.wrong == nil {
                    probe.replaced = replaced
                    return probe
                }
                if !replaced.contains(probe.wrong!) { replaced.append(probe.wrong!) }
            }
        }
        // What is wrong in every way is the reason; the last is without all that can be replaced.
        var probe = Probe(nativeDivision: false, strict: false)
        probe.wrong = replaced.last
        return probe
    }

    /// The options with which programs are built, so that they compute as measured.
    package var options: String {
        (nativeDivision ? " -cl-fp32-correctly-rounded-divide-sqrt -DWB_NATIVE_DIV=1" : "")
            + (strict ? " -DWB_STRICT=1" : "")
    }
}

// MARK: The operations

/// An operation of the probe: its name with x, y, z for the operands, and what the processor makes of them.
private struct Operation: Sendable {
    let name: String
    let value: @Sendable (Float, Float, Float) -> Float
    init(_ name: String, _ value: @escaping @Sendable (Float, Float, Float) -> Float) {
        (self.name, self.value) = (name, value)
    }

    /// Those that kernels also use with vectors of 4 and 16.
    static let vectors = [
        Operation("x + y") { x, y, _ in x + y },
        Operation("x - y") { x, y, _ in x - y },
        Operation("x * y") { x, y, _ in x * y },
        Operation("x * y + z") { x, y, z in x * y + z },
        Operation("(x + y) - x") { x, y, _ in (x + y) - x },
        Operation("fma(x, y, z)") { x, y, z in z.addingProduct(x, y) },
        Operation("x < y ? y : x") { x, y, _ in x < y ? y : x },
    ]
    /// All, in the order of the kernel.
    static let scalars =
        vectors + [
            Operation("float(int(x) >> 8)") { x, _, _ in Float(Int32(bitPattern: x.bitPattern) >> 8) },
            Operation("float(int(x))") { x, _, _ in abs(x) < 0x1p24 ? Float(Int32(x)) : 0 },
            Operation("max(x, y)") { x, y, _ in wb_host_max(x, y) },
            Operation("min(x, y)") { x, y, _ in wb_host_min(x, y) },
            Operation("x / y") { x, y, _ in x / y },
            Operation("sqrt(x)") { x, _, _ in x.squareRoot() },
            Operation("integer x / y") { x, y, _ in x / y },
            Operation("integer sqrt(x)") { x, _, _ in x.squareRoot() },
            Operation("exp(x)") { x, _, _ in wb_host_exp(x) },
            Operation("expm1(x)") { x, _, _ in wb_host_expm1(x) },
            Operation("log(x)") { x, _, _ in wb_host_log(x) },
            Operation("log1p(x)") { x, _, _ in wb_host_log1p(x) },
            Operation("softplus(x)") { x, _, _ in wb_host_softplus(x) },
            Operation("sigmoid(x)") { x, _, _ in wb_host_sigmoid(x) },
            Operation("tanh(x)") { x, _, _ in wb_host_tanh(x) },
            Operation("erf(x)") { x, _, _ in wb_host_erf(x) },
            Operation("pow(x, y)") { x, y, _ in wb_host_pow(x, y) },
        ]
}

/// The cases, three operands each: special numbers, and those where a wrong rounding shows.
private let cases: (x: [Float], y: [Float], z: [Float]) = {
    var (x, y, z): ([Float], [Float], [Float]) = ([], [], [])
    func add(_ a: Float, _ b: Float, _ c: Float) {
        x.append(a)
        y.append(b)
        z.append(c)
    }
    var state: UInt64 = 1
    func bits() -> UInt32 {
        // SplitMix64, Steele, Lea and Flood 2014.
        state &+= 0x9e37_79b9_7f4a_7c15
        var s = state
        s = (s ^ (s >> 30)) &* 0xbf58_476d_1ce4_e5b9
        s = (s ^ (s >> 27)) &* 0x94d0_49bb_1331_11eb
        return UInt32(truncatingIfNeeded: (s ^ (s >> 31)) >> 16)
    }
    func float(_ low: Float, _ high: Float) -> Float { low + (high - low) * Float(bits() >> 8) * 0x1p-24 }
    let tiny = Float.leastNonzeroMagnitude
    let special: [Float] = [
        0, -0, 1, -1, 0.5, 3, -2.5, tiny, -3 * tiny, .leastNormalMagnitude, -.leastNormalMagnitude.nextDown,
        (1 as Float).nextUp,
        (1 as Float).nextDown, .greatestFiniteMagnitude, -.greatestFiniteMagnitude, 0x1p24, 0x1p-24,
        .infinity, -.infinity, .nan,
    ]
    for (i, a) in special.enumerated() {
        for (j, b) in special.enumerated() { add(a, b, special[(i * 7 + j) % special.count]) }
    }
    for _ in 0..<200 {
        // A product whose rounding error is all that is left, and one half way between two floats with a crumb beside it.
        let (a, b) = (float(1, 2), float(-2, 2))
        add(a, b, -(a * b))
        let (p, q) = (Float(bits() >> 19 | 0x1001) * 0x1p-12, Float(bits() >> 20 | 0x801) * 0x1p-11)
        add(p, q, bits() & 1 == 0 ? 0x1p-70 : -0x1p-70)
        // Quotients and roots that lie close to half way; results among the subnormals.
        let half = Double(bits() >> 8 | 0x80_0000) + 0.5
        let divisor = Float(bits() >> 8 | 0x80_0001)
        add(Float(half * Double(divisor)), divisor, a)
        add(Float(half * half), float(-1, 1), b)
        add(float(-1, 1) * 0x1p-120, float(1, 2) * 0x1p25, 0x1p-149)
        add(float(-2, 2) * 0x1p-70, float(-2, 2) * 0x1p-72, float(-2, 2) * 0x1p-140)
        // Where our functions have their branches, and any bits at all.
        add(float(-4, 4), float(-4, 4), float(-4, 4))
        add(float(-110, 110), float(-20, 20), float(-1, 1))
        add(float(0, 1e-3), float(0, 1000), 1)
        add(Float(bitPattern: bits()), Float(bitPattern: bits()), Float(bitPattern: bits()))
    }
    // Whole vectors.
    while x.count % 16 != 0 { add(1, 2, 3) }
    return (x, y, z)
}()

// MARK: Running

/// The device and the cases in its memory.
private struct Bench {
    private let context: CLContext
    private let queue: CLQueue
    private let operands: [CLArgument]
    private let out: CLBuffer
    private let source: String
    private let count = cases.x.count
    /// Sums of so many terms: as many as leave some for the ends of vectors and unrolled loops.
    private static let (sums, terms) = (19, 99)

    init(_ device: CLDevice, _ source: String) throws {
        let context = try CLContext(device: device)
        (self.context, self.source) = (context, source)
        queue = try CLQueue(context: context)
        operands = try [cases.x, cases.y, cases.z].map {
            .buffer(try CLBuffer(context: context, copying: $0))
        }
        out = try CLBuffer(context: context, byteCount: 4 * count * Operation.scalars.count)
    }

    /// The first difference in words, and how many numbers were compared.
    func compare(_ probe: Probe) throws -> (wrong: String?, numbers: Int) {
        let program = try CLProgram(
            context: context, source: source,
            options: "-cl-std=CL1.2 -w" + probe.options, cache: .off)
        func run(_ name: String, _ arguments: [CLArgument], _ items: Int, group: Int? = nil, results: Int)
            throws -> [Float]
        {
            let kernel = try program.kernel(name)
            try kernel.setArguments(arguments)
            let local = try group.map { min($0, try kernel.workGroupInfo.maxSize) }
            try queue.enqueue(
                kernel.launch(
                    global: local.map { CLSize(items).roundedUp(to: CLSize($0)) } ?? CLSize(items),
                    local: local.map { CLSize($0) }))
            return try queue.read(Float.self, from: out, count: results)
        }
        var numbers = 0
        for (width, operations) in [(1, Operation.scalars), (4, Operation.vectors), (16, Operation.vectors)] {
            let got = try run(
                width == 1 ? "probe" : "probe_\(width)", operands + [.buffer(out)], count / width,
                results: count * operations.count)
            for (o, operation) in operations.enumerated() {
                for i in 0..<count {
                    let (x, y, z) = (cases.x[i], cases.y[i], cases.z[i])
                    if let difference = difference(got[o * count + i], operation.value(x, y, z)) {
                        let operands = [("x", x), ("y", y), ("z", z)].filter { operation.name.contains($0.0) }
                            .map { "\($0.0) = \($0.1)" }.joined(separator: ", ")
                        return (
                            "\(operation.name)\(width > 1 ? " in vectors of \(width)" : "") is \(difference) where \(operands)",
                            0
                        )
                    }
                }
            }
            numbers += count * operations.count
        }
        // Sums, in work-groups of one and of several items, of which the last is not full: compilers treat each in its own way.
        let (sums, terms) = (Bench.sums, Bench.terms)
        let a = (0..<sums * terms).map { Float(($0 * 7919 + 13) % 10007) * 0.37e-3 }
        let b = (0..<terms).map { Float(($0 * 104729 + 7) % 1009) * 2.9e-3 }
        let buffers: [CLArgument] = try [a, b].map { .buffer(try CLBuffer(context: context, copying: $0)) }
        let forms: [(String, @Sendable (Float, Float, Float) -> Float)] = [
            ("a sum of terms in order", { sum, a, _ in sum + a }),
            ("a sum of chosen terms in order", { sum, a, b in sum + (a > b ? b : 0) }),
            ("a sum of products in order", { sum, a, b in sum + a * b }),
            ("a sum by fma in order", { sum, a, b in sum.addingProduct(a, b) }),
        ]
        for group in [1, 16] {
            let got = try run(
                "probe_sums", buffers + [.buffer(out), .int(Int32(sums)), .int(Int32(terms))], sums,
                group: group,
                results: sums * forms.count)
            for (f, (name, add)) in forms.enumerated() {
                for i in 0..<sums {
                    let sum = (0..<terms).reduce(Float(0)) { add($0, a[i * terms + $1], b[$1]) }
                    if let difference = difference(got[f * sums + i], sum) {
                        return ("\(name) is \(difference)", 0)
                    }
                }
            }
            numbers += sums * forms.count
        }
        return (nil, numbers)
    }

    private func difference(_ got: Float, _ want: Float) -> String? {
        got.bitPattern == want.bitPattern || (got.isNaN && want.isNaN) ? nil : "\(got) instead of \(want)"
    }
}
