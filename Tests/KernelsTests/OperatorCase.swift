// One use of an operator, and running it: forward and backward, on any device.

import Kernels
import TestSupport
import Testing

struct OperatorCase: Sendable, CustomTestStringConvertible {
    enum Fill: Sendable {
        /// Uniform in -scale ... scale.
        case uniform(Float = 1)
        /// No two numbers alike, so that a maximum is not tied.
        case distinct
        /// Between the bounds, and at least 0.05 from each of the numbers.
        case away(from: [Float], low: Float = -2, high: Float = 2)
        case between(Float, Float)
        case exactly([Float])
        /// Whole numbers between the bounds.
        case whole(Int, Int)
    }
    enum Input: Sendable {
        case activation([Int], Fill = .uniform())
        case constant([Int], Fill = .uniform())
        case ints([Int])
        /// Integers of a shape.
        case table([Int], [Int])
        case scalar(Int)
        case absent
    }

    var name: String
    /// "" is ai.onnx.
    var domain = ""
    var title = ""
    var opset = 17
    var attributes: [String: Attribute] = [:]
    var inputs: [Input]
    /// What activations stand for that are no real numbers.
    var meanings: [Int: Meaning] = [:]
    var outputs = 1
    /// Of an operator that can also add and clip.
    var adds = false
    var clip: Bounds?
    /// Each image of a batch goes its own way: input 0 and the outputs are lists of images.
    var independent = false
    /// Allowed error in units of 2⁻²⁴ Σ|terms|.
    var tolerance = 8.0
    var reference: @Sendable ([Tensor?]) -> [Tensor]
    /// The gradient of Σ r·y with respect to input 0, if it is known; else it comes from differences.
    var gradient: Gradient? {
        get { gradientOf[0] }
        set { gradientOf[0] = newValue }
    }
    /// The same of other inputs.
    var gradientOf: [Int: Gradient] = [:]
    /// Of constants that are whole numbers of a type that can stand for real ones.
    var types: [Int: WholeType] = [:]

    typealias Gradient = @Sendable (_ inputs: [Tensor?], _ r: Tensor) -> Tensor

    var testDescription: String { "\(name) \(title)" }

    typealias Exact = @Sendable ([Tensor?]) -> [Tensor]

    init(_ name: String, opset: Int = 17, _ inputs: [Input], _ reference: @escaping Exact) {
        self.init(name, "", opset: opset, [:], inputs, reference)
    }
    init(_ name: String, _ title: String, opset: Int = 17, _ inputs: [Input], _ reference: @escaping Exact) {
        self.init(name, title, opset: opset, [:], inputs, reference)
    }
    init(
        _ name: String, opset: Int = 17, _ attributes: [String: Attribute], _ inputs: [Input],
        _ reference: @escaping Exact
    ) {
        self.init(name, "", opset: opset, attributes, inputs, reference)
    }
    init(
        _ name: String, _ title: String, opset: Int = 17, _ attributes: [String: Attribute],
        _ inputs: [Input],
        outputs: Int = 1, _ reference: @escaping Exact
    ) {
        (self.name, self.opset, self.attributes, self.inputs) = (name, opset, attributes, inputs)
        (self.outputs, self.reference) = (outputs, reference)
        let shapes = inputs.map { input -> String in
            switch input {
            case .activation(let dims, _): dims.isEmpty ? "scalar" : Shape(dims).description
            case .constant(let dims, _): "constant " + Shape(dims).description
            case .ints(let ints): "\(ints)"
            case .table(let dims, let ints): "\(Shape(dims)): \(ints)"
            case .scalar(let int): "\(int)"
            case .absent: "nothing"
            }
        }
        self.title = ([title] + shapes + ["opset \(opset)"]).filter { !$0.isEmpty }.joined(separator: ", ")
    }
}

/// Which numbers the activations of a case get.
enum Numbers: CaseIterable {
    case ordinary
    /// With zeros of both signs, subnormal, tiny and huge numbers among them.
    case extreme
    /// With infinities and NaN too.
    case notFinite

    func change(_ values: inout [Float], _ random: inout SeededRandom) {
        let odd: [Float] = [
            0, -0, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, 0x1.16c2p-133, -0x1.05564p-128,
            .leastNormalMagnitude,
            -.leastNormalMagnitude, 1e-20, -1e-20, 3e38, -3e38, .greatestFiniteMagnitude, 1e20, -1e19, 88.8,
            -104, 0.5,
            -3, 3, 6, 1,
        ]
        let wild: [Float] = [.infinity, -.infinity, .nan]
        for i in values.indices {
            switch self {
            case .ordinary: break
            case .extreme: if random.index(below: 4) == 0 { values[i] = odd[random.index(below: odd.count)] }
            case .notFinite:
                if random.index(below: 9) == 0 { values[i] = odd[random.index(below: odd.count)] }
                if random.index(below: 61) == 0 { values[i] = wild[random.index(below: 3)] }
            }
        }
    }
}

/// A case on a tape.
struct PreparedCase {
    var tape = Tape()
    let operands: [Operand?]
    /// What the host writes: activations, then a residual, then cotangents.
    var written: [Value] = []
    var fills: [OperatorCase.Fill] = []
    /// Numbers of the constants in double precision, nil where an activation is.
    var constants: [Tensor?] = []
    var activations: [Int] = []  // which inputs are activations
    var residual: Value?
    var outputs: [Operand] = []
    var cotangents: [Value] = []
    /// Gradients, with the output whose cotangent they come from, or nil where they come from all, and the input that they
    /// belong to.
    var gradients: [(output: Int?, input: Int, value: Value)] = []

    init(_ test: OperatorCase, images: Int? = nil) throws {
        let type = try #require(OperatorList[test.name, domain: test.domain])
        let op = try type.init(Attributes(opset: test.opset, test.attributes))
        var random = SeededRandom(test.testDescription)
        var operands: [Operand?] = []
        for (i, input) in test.inputs.enumerated() {
            switch input {
            case .activation(var dims, let fill):
                if let images { dims[0] = images }
                let value = tape.input(Shape(dims))
                operands.append(.value(tape.stating(value, test.meanings[i] ?? .real)))
                written.append(value)
                fills.append(fill)
                activations.append(i)
                constants.append(nil)
            case .constant(let dims, let fill):
                let numbers = fill.numbers(dims.reduce(1, *), &random)
                let type = test.types[i]
                operands.append(
                    .host(
                        HostTensor(
                            Shape(dims), type == nil ? .floats(numbers) : .ints(numbers.map { Int($0) }),
                            type: type)))
                constants.append(Tensor(dims, numbers.map(Double.init)))
            case .ints(let ints):
                operands.append(.host(HostTensor([ints.count], .ints(ints), type: test.types[i])))
                constants.append(Tensor([ints.count], ints.map(Double.init)))
            case .table(let dims, let ints):
                operands.append(.host(HostTensor(Shape(dims), .ints(ints))))
                constants.append(Tensor(dims, ints.map(Double.init)))
            case .scalar(let int):
                operands.append(.host(HostTensor([], .ints([int]), type: test.types[i])))
                constants.append(Tensor([], [Double(int)]))
            case .absent:
                operands.append(nil)
                constants.append(nil)
            }
        }
        self.operands = operands
        if test.adds || test.clip != nil {
            let fusing = try #require(op as? any FusingOperator)
            if test.adds {
                residual = tape.input(try fusing.outputShape(tape, operands))
                written.append(residual!)
                fills.append(.uniform())
            }
            outputs = [.value(try fusing.forward(&tape, operands, residual: residual, clip: test.clip))]
            return
        }
        outputs = try op.forward(&tape, operands, outputs: test.outputs)
        try #require(outputs.count == test.outputs)
        guard op.passesGradient else { return }
        for case .value(let y) in outputs {
            cotangents.append(tape.input(tape.shape(y)))
            fills.append(.uniform())
        }
        written += cotangents
        guard !cotangents.isEmpty else { return }
        let node = LoweredNode(inputs: operands, outputs: outputs)
        // Of one output and one input at a time, and of all at once.
        let real = activations.filter { test.meanings[$0] == nil }
        var ways = cotangents.indices.flatMap { output in
            real.map { (output: Int?(output), wanted: Set([$0])) }
        }
        if ways.count > 1 { ways.append((nil, Set(real))) }
        for (output, wanted) in ways {
            let arrived = cotangents.indices.map { output ?? $0 == $0 ? cotangents[$0] : nil }
            let found = try op.vjp(&tape, node, cotangents: arrived, wanted: wanted)
            #expect(found.indices.filter { found[$0] != nil } == wanted.sorted(), "\(test.testDescription)")
            for input in wanted.sorted() {
                let value = try #require(found[input])
                #expect(
                    tape.shape(value) == tape.shape(operands[input]!),
                    "\(test.testDescription): gradient's shape")
                gradients.append((output, input, value))
            }
        }
    }

    var kept: [Value] {
        outputs.compactMap { if case .value(let value) = $0 { value } else { nil } } + gradients.map(\.value)
    }

    /// Row-major numbers for what the host writes.
    func numbers(_ numbers: Numbers, seed: String) -> [[Float]] {
        var random = SeededRandom(seed)
        return zip(written, fills).map { value, fill in
            var values = fill.numbers(tape.shape(value).count, &random)
            if case .whole = fill { return values }
            numbers.change(&values, &random)
            return values
        }
    }

    /// Outputs and gradients, row-major, for each set of numbers.
    func run(_ sets: [[[Float]]], on device: TestDevice) throws -> [[[Float]]] {
        // Some of it may be views.
        var tape = tape
        let kept = kept.map { tape.dense(tape.asFloats($0)) }
        let executor = try device.device.load(tape, keeping: kept)
        return try sets.map { numbers in
            for (value, values) in zip(written, numbers) {
                try tape.shape(value).memoryOrder(values).withUnsafeBufferPointer {
                    try executor.write(value, from: $0)
                }
            }
            try executor.run(0..<tape.steps.count)
            return try kept.map { tape.shape($0).rowMajor(try executor.memoryOrder($0)) }
        }
    }
}

extension OperatorCase.Fill {
    func numbers(_ count: Int, _ random: inout SeededRandom) -> [Float] {
        switch self {
        case .uniform(let scale): return (0..<count).map { _ in random.float(-scale, scale) }
        case .distinct:
            return (0..<count).shuffled(using: &random).map { (Float($0) + 0.5) / Float(count) * 8 - 4 }
        case .between(let low, let high): return (0..<count).map { _ in random.float(low, high) }
        case .exactly(let values): return values
        case .whole(let low, let high):
            return (0..<count).map { _ in Float(low + random.index(below: high - low + 1)) }
        case .away(let kinks, let low, let high):
            return (0..<count).map { _ in
                while true {
                    let x = random.float(low, high)
                    if kinks.allSatisfy({ abs(x - $0) > 0.05 }) { return x }
                }
            }
        }
    }
}
