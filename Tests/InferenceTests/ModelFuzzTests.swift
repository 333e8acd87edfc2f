// No model crashes the program: whatever is changed in small valid models, loading, planning and explaining them gives maps or a
// sentence.

import Explain
import Foundation
import Inference
import Kernels
import ONNX
import SwiftProtobuf
import TestSupport
import Testing

/// More rounds: `FUZZ_ROUNDS=50 FUZZ_LAST=/tmp/last.onnx swift test …`; the second keeps the model that is being tried, which is the
/// one that crashed if one did.
@Suite struct ModelFuzzTests {
    private static let last = ProcessInfo.processInfo.environment["FUZZ_LAST"]
    private static let rounds = ProcessInfo.processInfo.environment["FUZZ_ROUNDS"].flatMap { Int($0) } ?? 1

    /// Loads, lists the layers, makes a session and explains; every failure must be a sentence.
    /// - Returns: whether there was something to explain.
    @discardableResult
    private func explain(_ data: Data, _ what: @autoclosure () -> String) -> Bool {
        if let path = ModelFuzzTests.last { try? data.write(to: URL(filePath: path)) }
        do {
            let network = try Network(ONNXModel(data: data), limits: Limits(memory: 256 << 20, work: 1e10))
            let model = try Model(network, preprocessing: "none")
            // What is merely large is no trap, but a test has no time for it.
            let layers = try network.layers(height: model.inputHeight, width: model.inputWidth)
            let count = try network.inputShape(batch: 1, height: model.inputHeight, width: model.inputWidth)
                .count
            guard layers.reduce(Double(count), { $0 + Double($1.shape.count) }) < 1e6 else { return false }
            var options = Options()
            options.device = .cpu
            options.threads = 1
            options.batch = 2
            options.methods = ["gradcam", "fem"]
            options.femThreshold = 0.5
            let session = try ExplanationSession(model, options: options)
            let input = (0..<count).map { Float($0 % 7) - 3 }
            try session.explain([.array(input, name: "a"), .array([], name: "b")]) { i, result in
                switch result {
                case .success(let explanation):
                    #expect(i == 0 && explanation.explanations.count == 2, "\(what())")
                case .failure(let error):
                    // The first may only fail because a changed network overflows.
                    let overflows = error.kind == .model && error.description.contains("not finite numbers")
                    #expect(i == 1 ? error.kind == .input : overflows, "\(what()): \(error)")
                }
            }
            // All the values, and the gradient with respect to the input.
            _ = try network.run(
                input,
                dims: network.inputShape(batch: 1, height: model.inputHeight, width: model.inputWidth).dims,
                outputs: network.valueNames, gradient: 0, on: .cpu(CPU(threads: 1)))
            return true
        } catch {
            let known =
                error is ExplainError || error is NetworkError || error is ONNXError || error is LimitError
            #expect(known, "\(what()): \(type(of: error)) \(error)")
            return false
        }
    }

    private func bytes(_ builder: ONNXBuilder) -> Data { builder.data() }

    @Test(arguments: Style.all) func changedBytes(_ style: Style) {
        var random = CounterRandom("bytes of " + style.name)
        // A later operator set and an older one.
        for opset in [9, 17] {
            let data = bytes(style.network(opset: opset).builder)
            for round in 0..<150 * Self.rounds {
                var changed = data
                for _ in 0..<(1 + random.index(below: 4)) {
                    changed[random.index(below: changed.count)] = UInt8(random.index(below: 256))
                }
                explain(changed, "\(style.name), operator set \(opset), round \(round)")
            }
        }
    }

    /// Numbers at which arithmetic breaks.
    private static let numbers: [Int64] = [
        0, 1, 2, 3, 5, -1, -2, 7, 13, 64, 255, 1 << 15, 1 << 16, 1 << 20, (1 << 20) + 1, 1 << 24, 1 << 31 - 1,
        1 << 31, 1 << 32, -1 << 31,
        1 << 62, .max, .min, .min + 1,
    ]
    private static let floats: [Float] = [0, 1, -1, .nan, .infinity, -.infinity, 1e38, -1e38, 1e-45, 0.5]

    /// Changes one thing that a file says.
    private func change(_ graph: inout WireGraph, _ opset: inout Int64, _ random: inout CounterRandom)
        -> String
    {
        func any<T>(_ list: [T]) -> T { list[random.index(below: list.count)] }
        let n = random.index(below: graph.node.count)
        let names = graph.node.flatMap(\.output) + graph.initializer.map(\.name) + ["image", "", "nothing"]
        switch random.index(below: 16) {
        case 0...3:
            guard !graph.node[n].attribute.isEmpty else { return "" }
            let a = random.index(below: graph.node[n].attribute.count)
            let label = "attribute \(graph.node[n].attribute[a].name) of \(graph.node[n].name)"
            switch random.index(below: 6) {
            case 0...2:
                if graph.node[n].attribute[a].ints.isEmpty {
                    graph.node[n].attribute[a].i = any(Self.numbers)
                    graph.node[n].attribute[a].f = any(Self.floats)
                } else {
                    graph.node[n].attribute[a].ints[
                        random.index(below: graph.node[n].attribute[a].ints.count)] = any(Self.numbers)
                }
            case 3:
                graph.node[n].attribute[a].ints = (0..<random.index(below: 5)).map { _ in any(Self.numbers) }
            case 4: graph.node[n].attribute.remove(at: a)
            default: graph.node[n].attribute[a].type = any([.int, .ints, .float, .string, .tensor, .floats])
            }
            return label
        case 4:
            var extra = WireAttribute()
            extra.name = any([
                "auto_pad", "dilations", "axis", "group", "axes", "perm", "ceil_mode", "transA", "transB",
                "keepdims", "allowzero", "split", "pads",
                "count_include_pad", "start", "end", "alpha",
            ])
            if extra.name == "auto_pad" {
                extra.type = .string
                extra.s = Data(any(["SAME_UPPER", "SAME_LOWER", "VALID", "OTHER"]).utf8)
            } else if random.index(below: 2) == 0 {
                (extra.type, extra.i) = (.int, any(Self.numbers))
            } else {
                extra.type = .ints
                extra.ints = (0..<(1 + random.index(below: 4))).map { _ in any(Self.numbers) }
            }
            graph.node[n].attribute.removeAll { $0.name == extra.name }
            graph.node[n].attribute.append(extra)
            return "\(extra.name) added to \(graph.node[n].name)"
        case 5, 6:
            guard !graph.node[n].input.isEmpty else { return "" }
            let k = random.index(below: graph.node[n].input.count)
            graph.node[n].input[k] = any(names)
            return "input \(k) of \(graph.node[n].name)"
        case 7:
            if random.index(below: 2) == 0 {
                graph.node[n].input.append(any(names))
            } else {
                _ = graph.node[n].input.popLast()
            }
            return "number of inputs of \(graph.node[n].name)"
        case 8:
            if random.index(below: 2) == 0 {
                graph.node[n].output.append("extra")
            } else {
                _ = graph.node[n].output.popLast()
            }
            return "number of outputs of \(graph.node[n].name)"
        case 9:
            graph.node[n].opType = any(OperatorList.all.map { $0.name })
            return "operator of \(graph.node[n].name)"
        case 10, 11:
            guard !graph.initializer.isEmpty else { return "" }
            let k = random.index(below: graph.initializer.count)
            let dims = graph.initializer[k].dims
            let count = dims.reduce(1, &*)
            // Another shape of the same size, so that the file stays whole.
            graph.initializer[k].dims = any([
                [count], [1, count], [count, 1], [count, 1, 1, 1], [1, 1, 1, count], Array(dims.reversed()),
                [1, 1, 1, 1, 1, 1, 1, count],
                dims + [1], dims.map { _ in any(Self.numbers) },
            ])
            return "shape of \(graph.initializer[k].name)"
        case 12:
            let whole = graph.initializer.indices.filter { graph.initializer[$0].dataType == 7 }
            guard !whole.isEmpty else { return "" }
            let k = any(whole)
            let count = min(8, max(0, Int(graph.initializer[k].dims.reduce(1, &*))))
            let values = (0..<count).map { _ in any(Self.numbers) }
            graph.initializer[k].rawData = values.withUnsafeBytes { Data($0) }
            graph.initializer[k].int64Data = []
            return "numbers of \(graph.initializer[k].name)"
        case 13:
            guard !graph.initializer.isEmpty else { return "" }
            let k = random.index(below: graph.initializer.count)
            graph.initializer[k].dims[safe: 0] = 0
            graph.initializer[k].rawData = Data()
            graph.initializer[k].floatData = []
            graph.initializer[k].int64Data = []
            return "emptied \(graph.initializer[k].name)"
        case 14:
            let d = random.index(below: graph.input[0].type.tensorType.shape.dim.count)
            graph.input[0].type.tensorType.shape.dim[d].dimValue = any(Self.numbers)
            return "dimension \(d) of the input"
        default:
            opset = Int64(7 + random.index(below: 17))
            return "operator set \(opset)"
        }
    }

    @Test(arguments: Style.all) func changedFields(_ style: Style) throws {
        var random = CounterRandom("fields of " + style.name)
        var explained = 0
        for opset in [9, 13, 18] {
            let builder = style.network(opset: opset).builder
            for round in 0..<200 * Self.rounds {
                var changed = builder
                var changes: [String] = []
                for _ in 0..<(1 + random.index(below: 3)) {
                    changes.append(change(&changed.graph, &changed.wire.opsetImport[0].version, &random))
                }
                if explain(changed.data(), "\(style.name), operator set \(opset), round \(round): \(changes)")
                {
                    explained += 1
                }
            }
        }
        // Enough of them get through to where numbers are computed.
        #expect(explained > 40 * Self.rounds)
    }

    /// Each operator with odd numbers of odd inputs.
    @Test func operatorsWithOddInputs() {
        var random = CounterRandom("odd inputs")
        for type in OperatorList.all {
            for round in 0..<60 * Self.rounds {
                var net = SmallNetwork("odd", opset: 9 + random.index(below: 14))
                let x = net.relu(net.conv("image", 3, 6))
                func operand() -> String {
                    switch random.index(below: 8) {
                    case 0, 1, 2: return x
                    case 3: return net.node("Flatten", [x])
                    case 4:
                        return net.ints(
                            (0..<random.index(below: 4)).map { _ in
                                Self.numbers[random.index(below: Self.numbers.count)]
                            })
                    case 5: return net.ints([2], scalar: true)
                    case 6: return net.floats(Array([6, 6, 3, 1].prefix(random.index(below: 5))))
                    default: return net.node("Shape", [x])
                    }
                }
                let inputs = (0..<random.index(below: 5)).map { _ in operand() }
                var attributes: [String: ONNXAttribute] = [
                    "to": .int([1, 7, 6, 11][random.index(below: 4)]), "size": 3, "kernel_shape": [2, 2],
                ]
                for name in ["axis", "group", "keepdims"] where random.index(below: 3) == 0 {
                    attributes[name] = .int(Int(Self.numbers[random.index(below: 8)]))
                }
                for name in ["axes", "perm", "pads", "starts", "ends", "strides", "split"]
                where random.index(below: 3) == 0 {
                    attributes[name] = .ints(
                        (0..<random.index(below: 5)).map { _ in
                            Int(Self.numbers[random.index(below: Self.numbers.count)])
                        })
                }
                if type.name == "Concat", attributes["axis"] == nil { attributes["axis"] = 1 }
                let y = net.nodes(type.name, inputs, outputs: 1 + random.index(below: 3), attributes)[0]
                // Its result reaches the scores in one of two ways, or the scores do without.
                let joined = random.index(below: 2) == 0 ? net.node("Mul", [x, y]) : y
                let flat = net.node("Flatten", [net.pooled(joined)])
                net.output(net.node("Add", [flat, net.node("Flatten", [net.pooled(x)])]))
                explain(net.builder.data(), "\(type.name), round \(round)")
            }
        }
    }
}

extension Array {
    fileprivate subscript(safe index: Int) -> Element {
        get { self[index] }
        set { if indices.contains(index) { self[index] = newValue } }
    }
}
