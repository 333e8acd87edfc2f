// No model crashes the program: whatever is changed in small valid models, loading, planning and explaining them gives maps or a
// sentence.

import Foundation
import FuzzTargets
import Kernels
import ONNX
import TestSupport
import Testing

/// More rounds: `FUZZ_ROUNDS=50 FUZZ_LAST=/tmp/last.onnx swift test …`; the second keeps the model that is being tried, which is the
/// one that crashed if one did.
@Suite struct ModelFuzzTests {
    private static let last = ProcessInfo.processInfo.environment["FUZZ_LAST"]
    private static let rounds = ProcessInfo.processInfo.environment["FUZZ_ROUNDS"].flatMap { Int($0) } ?? 1

    /// Explains what was changed; every failure must be a sentence.
    /// - Returns: whether there was something to explain.
    @discardableResult
    private func explain(_ data: Data, _ what: @autoclosure () -> String) -> Bool {
        if let path = ModelFuzzTests.last { try? data.write(to: URL(filePath: path)) }
        let (isExplained, fault) = ModelAttack.explain(data)
        #expect(fault == nil, "\(what()): \(fault ?? "")")
        return isExplained
    }

    private func bytes(_ builder: ONNXBuilder) -> Data { builder.data() }

    @Test(arguments: Style.all) func changedBytes(_ style: Style) {
        var random = SeededRandom("bytes of " + style.name)
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

    @Test(arguments: Style.all) func changedFields(_ style: Style) throws {
        var random = SeededRandom("fields of " + style.name)
        var explained = 0
        for opset in [9, 13, 18] {
            let builder = style.network(opset: opset).builder
            for round in 0..<200 * Self.rounds {
                var changed = builder
                var changes: [String] = []
                for _ in 0..<(1 + random.index(below: 3)) {
                    changes.append(
                        ModelAttack.change(&changed.graph, &changed.wire.opsetImport[0].version, &random))
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
        var random = SeededRandom("odd inputs")
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
                                ModelAttack.numbers[random.index(below: ModelAttack.numbers.count)]
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
                    attributes[name] = .int(Int(ModelAttack.numbers[random.index(below: 8)]))
                }
                for name in ["axes", "perm", "pads", "starts", "ends", "strides", "split"]
                where random.index(below: 3) == 0 {
                    attributes[name] = .ints(
                        (0..<random.index(below: 5)).map { _ in
                            Int(ModelAttack.numbers[random.index(below: ModelAttack.numbers.count)])
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
