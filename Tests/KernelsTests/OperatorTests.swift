// Every operator: against double precision, and bit by bit on every device.
//
// Forward: |y − exact| ≤ tolerance · 2⁻²⁴ Σ|terms|, where a case's tolerance is 8 unless it says otherwise.
// Gradients of Σ r·y with random r: of convolutions, the same against a sum written out; of all others, within 2·10⁻⁵ of
// the largest gradient of central differences of the double-precision forward computation, of single elements and
// along random directions through all of them.
// Bits: outputs and gradients of ordinary, extreme and not finite numbers are equal on all devices.

import Foundation
import Kernels
import TestSupport
import Testing

@Suite struct OperatorTests {
    @Test func everyOperatorHasCases() {
        for type in OperatorList.all {
            let cases = Cases.all.filter { $0.name == type.name && $0.domain == type.domain }
            #expect(!cases.isEmpty, "\(type.name) has no case.")
            let hasActivation = cases.contains {
                $0.inputs.contains { if case .activation = $0 { true } else { false } }
            }
            #expect(!type.hasGradient || hasActivation, "The gradient of \(type.name) has no case.")
        }
        for test in Cases.all {
            #expect(OperatorList[test.name, domain: test.domain] != nil, "There is no operator \(test.name).")
        }
        let names = Dictionary(grouping: Cases.all, by: \.testDescription)
        #expect(names.filter { $1.count > 1 }.keys.sorted() == [], "Cases have names of their own.")
    }

    /// `WHITEBOX_OPERATORS=Gemm,MatMul swift test …`: these alone.
    private static let chosen: [OperatorCase] = {
        guard let names = ProcessInfo.processInfo.environment["WHITEBOX_OPERATORS"] else { return Cases.all }
        return Cases.all.filter { names.split(separator: ",").contains(Substring($0.name)) }
    }()

    @Test(arguments: chosen)
    func agrees(_ test: OperatorCase) throws { try check(test, on: Devices.all) }

    /// Uses that nobody thought of, on the devices that offer little and with all forms of the GPU shape too.
    @Test(arguments: RandomCases.pieces)
    func randomConfigurations(_ numbers: Range<Int>) throws {
        for number in numbers {
            try check(RandomCases.make(number), on: Devices.all + Devices.gpuForms + Devices.little)
        }
    }

    func check(_ test: OperatorCase, on devices: [TestDevice]) throws {
        let prepared = try PreparedCase(test)
        let sets = Numbers.allCases.map { prepared.numbers($0, seed: "\(test.testDescription) \($0)") }
        let first = devices[0]
        let results = try prepared.run(sets, on: first)
        try compareWithExact(test, prepared, numbers: sets[0], results[0])
        if prepared.kept.isEmpty { return }
        for other in devices.dropFirst() {
            let others = try prepared.run(sets, on: other)
            for (set, numbers) in Numbers.allCases.enumerated() {
                for (i, (a, b)) in zip(results[set], others[set]).enumerated() {
                    if let difference = bitDifference(a, b) {
                        let what =
                            i < prepared.outputs.count
                            ? "output \(i)" : "gradient \(i - prepared.outputs.count)"
                        Issue.record(
                            "\(test.testDescription): \(what), \(numbers) numbers, \(first) and \(other): \(difference)"
                        )
                    }
                }
            }
        }
    }

    @Test(arguments: Cases.all.filter(\.independent))
    func imagesAreIndependent(_ test: OperatorCase) throws {
        guard case .activation(let dims, _) = test.inputs[0] else { return }
        let count = dims[0]
        let whole = try PreparedCase(test)
        let one = try PreparedCase(test, images: 1)
        let numbers = whole.numbers(.extreme, seed: test.testDescription)
        func image(_ i: Int, of all: [Float]) -> [Float] {
            Array(all[(all.count / count * i)..<(all.count / count * (i + 1))])
        }
        for device in [Devices.all[1]] + Devices.openCL {
            let together = try whole.run([numbers], on: device)[0]
            let alone = try one.run((0..<count).map { i in numbers.map { image(i, of: $0) } }, on: device)
            for i in 0..<count {
                for (all, single) in zip(together, alone[i]) {
                    if let difference = bitDifference(image(i, of: all), single) {
                        Issue.record("Image \(i) of \(count) and alone, \(device): \(difference)")
                    }
                }
            }
        }
    }

    /// The tiles of the GPU shape that a CPU does not take of itself.
    @Test(arguments: Devices.gpuForms)
    func largeTiles(_ device: TestDevice) throws {
        for test in Cases.convolutions where !test.title.contains("many") && !test.title.contains("depthwise")
        {
            let prepared = try PreparedCase(test)
            let numbers = prepared.numbers(.extreme, seed: test.testDescription)
            let (expected, got) = (
                try prepared.run([numbers], on: Devices.all[0])[0], try prepared.run([numbers], on: device)[0]
            )
            for (a, b) in zip(expected, got) {
                if let difference = bitDifference(a, b) {
                    Issue.record("\(test.testDescription): \(difference)")
                }
            }
        }
    }

    /// One case of each operator, and all convolutions but the longest, on devices that have what OpenCL 1.2 asks for and no more.
    @Test(arguments: Devices.little)
    func devicesWithLittle(_ device: TestDevice) throws {
        var seen: Set<String> = []
        for test in Cases.all {
            let isConvolution = test.name == "Conv" && !test.title.contains("many")
            guard seen.insert(test.name).inserted || isConvolution else { continue }
            let prepared = try PreparedCase(test)
            if prepared.kept.isEmpty { continue }
            let numbers = prepared.numbers(.extreme, seed: test.testDescription)
            let (expected, got) = (
                try prepared.run([numbers], on: Devices.all[0])[0], try prepared.run([numbers], on: device)[0]
            )
            for (a, b) in zip(expected, got) {
                if let difference = bitDifference(a, b) {
                    Issue.record("\(test.testDescription): \(difference)")
                }
            }
        }
    }

    /// Operators that are worth computing on the host say the same there.
    @Test(arguments: OperatorList.all.map { $0.name })
    func folding(_ name: String) throws {
        for test in Cases.all where test.name == name && test.types.isEmpty {
            var random = SeededRandom(test.testDescription)
            for integers in [false, true] {
                let inputs = test.inputs.map { input -> HostTensor? in
                    switch input {
                    case .activation(let dims, let fill), .constant(let dims, let fill):
                        let numbers = fill.numbers(dims.reduce(1, *), &random)
                        // Of either sign, none of them 0.
                        return integers
                            ? HostTensor(
                                Shape(dims),
                                .ints(
                                    numbers.map { _ in
                                        (1 + random.index(below: 9)) * (random.index(below: 2) == 0 ? 1 : -1)
                                    }))
                            : HostTensor(Shape(dims), .floats(numbers))
                    case .ints(let ints): return HostTensor(ints: ints)
                    case .table(let dims, let ints): return HostTensor(Shape(dims), .ints(ints))
                    case .scalar(let int): return HostTensor([], .ints([int]))
                    case .absent: return nil
                    }
                }
                let op = try #require(OperatorList[name, domain: test.domain]).init(
                    Attributes(opset: test.opset, test.attributes))
                guard let folded = try op.fold(inputs, within: Limits()) else { continue }
                let exact = test.reference(
                    try inputs.map { input in
                        try input.map { Tensor($0.shape.dims, try $0.floats().map(Double.init)) }
                    })
                // A case whose numbers are chosen for that stands for those alone.
                guard !exact.contains(where: { $0.values.contains(where: \.isNaN) }) else { continue }
                try #require(folded.count == exact.count)
                for (a, b) in zip(folded, exact) {
                    #expect(a.shape.dims == b.dims, "\(test.testDescription)")
                    // Quotients of integers are cut off, as ONNX has it.
                    let right = a.isInteger ? b.values.map { $0.rounded(.towardZero) } : b.values
                    let found = try a.isInteger ? a.ints().map(Double.init) : a.floats().map(Double.init)
                    #expect(found == right, "\(test.testDescription)")
                }
            }
        }
    }

    // MARK: Against double precision

    private func compareWithExact(
        _ test: OperatorCase, _ prepared: PreparedCase, numbers: [[Float]], _ results: [[Float]]
    ) throws {
        var inputs = prepared.constants
        for (n, i) in prepared.activations.enumerated() {
            inputs[i] = Tensor(prepared.tape.shape(prepared.written[n]).dims, numbers[n].map(Double.init))
        }
        var exact = test.reference(inputs)
        try #require(exact.count == test.outputs)
        if prepared.residual != nil {
            for (i, term) in numbers[prepared.activations.count].enumerated() {
                exact[0].values[i] += Double(term)
                exact[0].magnitudes[i] += abs(Double(term))
            }
        }
        if let clip = test.clip {
            exact[0].values = exact[0].values.map { min(max($0, Double(clip.low)), Double(clip.high)) }
        }

        var next = 0
        for (o, output) in prepared.outputs.enumerated() {
            let got: [Float]
            switch output {
            case .host(let tensor): got = try tensor.floats()
            default:
                got = results[next]
                next += 1
            }
            #expect(prepared.tape.shape(output).dims == exact[o].dims, "shape of output \(o)")
            compare(got, exact[o], tolerance: test.tolerance, "\(test.testDescription): output \(o)")
        }

        let cotangents = numbers.suffix(prepared.cotangents.count)
        for (g, gradient) in prepared.gradients.enumerated() {
            let got = results[next + g]
            let r = zip(cotangents, exact.indices).map { cotangent, output in
                cotangent.map { output == gradient.output ?? output ? Double($0) : 0 }
            }
            if let known = test.gradientOf[gradient.input] {
                compare(
                    got, known(inputs, Tensor(exact[0].dims, r[0])), tolerance: test.tolerance,
                    "\(test.testDescription): gradient")
            } else {
                compareWithDifferences(test, inputs, r, gradient.input, got)
            }
        }
    }

    private func compare(_ got: [Float], _ exact: Tensor, tolerance: Double, _ what: String) {
        guard got.count == exact.values.count else {
            Issue.record("\(what) has \(got.count) numbers instead of \(exact.values.count).")
            return
        }
        var worst = 0.0
        var at = 0
        for i in got.indices {
            let error = abs(Double(got[i]) - exact.values[i])
            let allowed = exact.magnitudes[i] * 0x1p-24 + 0x1p-149
            let isSame = Double(got[i]) == exact.values[i] || got[i].isNaN && exact.values[i].isNaN
            let ratio = error == 0 || isSame ? 0 : error / allowed
            if !(ratio <= worst) { (worst, at) = (ratio.isNaN ? .infinity : ratio, i) }
        }
        #expect(
            worst <= tolerance,
            "\(what)[\(at)] is \(got[at]) instead of \(exact.values[at]): an error of \(worst) · 2⁻²⁴ Σ|terms|"
        )
    }

    private func compareWithDifferences(
        _ test: OperatorCase, _ inputs: [Tensor?], _ r: [[Double]], _ input: Int, _ got: [Float]
    ) {
        var random = SeededRandom(test.testDescription + " differences")
        let h = 1e-5
        func score(_ x: Tensor) -> Double {
            var all = inputs
            all[input] = x
            return zip(test.reference(all), r).reduce(0) { sum, output in
                zip(output.0.values, output.1).reduce(sum) { $0 + $1.0 * $1.1 }
            }
        }
        func slope(_ direction: (Int) -> Double) -> Double {
            var up = inputs[input]!
            var down = up
            for i in up.values.indices {
                up.values[i] += h * direction(i)
                down.values[i] -= h * direction(i)
            }
            return (score(up) - score(down)) / (2 * h)
        }
        let count = got.count
        let elements = count <= 40 ? Array(0..<count) : (0..<16).map { _ in random.index(below: count) }
        let slopes = elements.map { e in slope { $0 == e ? 1 : 0 } }
        // Where the score itself is no number, neither are differences.
        if slopes.contains(where: \.isNaN) { return }
        let largest = max(got.map { abs(Double($0)) }.max() ?? 0, 1e-3)
        for (e, exact) in zip(elements, slopes) where !(abs(Double(got[e]) - exact) <= 2e-5 * largest) {
            Issue.record(
                "\(test.testDescription): gradient of input \(input) at \(e) is \(got[e]) instead of \(exact)"
            )
            return
        }
        let direction = (0..<count).map { _ in Double(random.float()) }
        let exact = slope { direction[$0] }
        let along = zip(got, direction).reduce(0) { $0 + Double($1.0) * $1.1 }
        let size = zip(got, direction).reduce(0) { $0 + abs(Double($1.0) * $1.1) }
        #expect(
            abs(along - exact) <= 2e-5 * max(size, 1e-3),
            "\(test.testDescription): gradient of input \(input) along a direction")
    }
}
