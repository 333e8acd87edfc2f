// Random networks, cut into functions that call functions: every value and the gradient have the bits of the whole network.

import Foundation
import Inference
import Kernels
import ONNX
import RandomNetworks
import TestSupport
import Testing

@Suite struct FunctionCutTests {
    /// Cuts runs of nodes out of a list, each of which becomes a function that one node calls.
    private struct Cutter {
        var functions: [WireFunction] = []
        let opsets: [WireOperatorSet]
        var random: SeededRandom

        mutating func cut(_ nodes: [WireNode], outputs: Set<String>, depth: Int) -> [WireNode] {
            var result: [WireNode] = []
            var rest = nodes[...]
            while !rest.isEmpty {
                let count = min(rest.count, 1 + random.index(below: 6))
                let part = Array(rest.prefix(count))
                rest = rest.dropFirst(count)
                guard random.index(below: 3) > 0 else {
                    result += part
                    continue
                }
                let wanted = outputs.union(rest.flatMap(\.input))
                result.append(call(part, wanted: wanted, depth: depth))
            }
            return result
        }

        private mutating func call(_ nodes: [WireNode], wanted: Set<String>, depth: Int) -> WireNode {
            let made = Set(nodes.flatMap(\.output))
            var reads: [String] = []
            for name in nodes.flatMap(\.input)
            where !name.isEmpty && !made.contains(name) && !reads.contains(name) {
                reads.append(name)
            }
            let gives = nodes.flatMap(\.output).filter(wanted.contains)
            // Other names inside, the same in every function.
            var names: [String: String] = ["": ""]
            for name in reads + nodes.flatMap(\.output) where names[name] == nil {
                names[name] = "v\(names.count)"
            }
            var call = WireNode()
            var inner = nodes
            var function = WireFunction()
            for i in inner.indices {
                inner[i].input = inner[i].input.map { names[$0]! }
                inner[i].output = inner[i].output.map { names[$0]! }
                for a in inner[i].attribute.indices where random.index(below: 3) == 0 {
                    // The call has it, or the function's default, whatever the other says.
                    let name = "attribute\(i).\(a)"
                    var value = inner[i].attribute[a]
                    inner[i].attribute[a] = .with {
                        ($0.name, $0.refAttrName, $0.type) = (value.name, name, value.type)
                    }
                    value.name = name
                    if random.index(below: 2) == 0 {
                        function.attributeProto.append(value)
                    } else {
                        function.attribute.append(name)
                        call.attribute.append(value)
                    }
                }
            }
            function.output = gives.map { names[$0]! }
            if depth > 0, random.index(below: 2) == 0,
                !inner.contains(where: { $0.attribute.contains { !$0.refAttrName.isEmpty } })
            {
                inner = cut(inner, outputs: Set(function.output), depth: depth - 1)
            }
            (function.name, function.domain) = ("F\(functions.count)", "cuts")
            (function.input, function.node, function.opsetImport) = (reads.map { names[$0]! }, inner, opsets)
            functions.append(function)
            (call.name, call.opType, call.domain) = ("call.\(functions.count)", function.name, "cuts")
            (call.input, call.output) = (reads, gives)
            return call
        }
    }

    @Test(arguments: [0..<40, 40..<80]) func cutsChangeNothing(_ numbers: Range<Int>) throws {
        var (calls, compared) = (0, 0)
        for number in numbers {
            let network = RandomNetwork(seed: 1, number: number)
            let whole = try Network(network.model())
            var builder = network.builder
            var cutter = Cutter(opsets: builder.wire.opsetImport, random: SeededRandom("cuts \(number)"))
            builder.graph.node = cutter.cut(
                builder.graph.node, outputs: Set(builder.graph.output.map(\.name)), depth: 2)
            builder.wire.functions = cutter.functions
            builder.opset(1, domain: "cuts")
            calls += cutter.functions.count
            let joined = try Network(builder.model())
            #expect(joined.nodes.count == whole.nodes.count, "\(network.description)")
            func results(_ network: Network, _ names: [String]) throws -> [String: [UInt32]] {
                let picture = picture(number, network)
                let values = try network.run(
                    picture,
                    dims: [1] + network.model.graph.inputs[0].dims!.dropFirst().map { $0.size ?? 12 },
                    outputs: names,
                    on: .cpu(CPU(threads: 1)))
                return Dictionary(values.map { ($0.name, $0.values.map(\.bitPattern)) }) { a, _ in a }
            }
            let expected = try results(whole, whole.valueNames)
            let found = try results(joined, joined.valueNames.filter { expected[$0] != nil })
            for (name, bits) in found {
                compared += 1
                #expect(bits == expected[name], "\(name) of \(network.description)")
            }
        }
        #expect(calls > 40 && compared > 100, "\(calls) calls, \(compared) values")
    }

    private func picture(_ number: Int, _ network: Network) -> [Float] {
        var random = SeededRandom("picture \(number)")
        let count = (try? network.inputShape(batch: 1).count) ?? 0
        return (0..<count).map { _ in random.float(-1.5, 1.5) }
    }
}
