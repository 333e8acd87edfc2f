// Attacks on models: loading, planning and explaining whatever a file says must give maps or a sentence.

import Explain
import Foundation
import Inference
import Kernels
import ONNX
import SwiftProtobuf
import TestSupport

package enum ModelAttack {
    /// Loads, lists the layers, makes a session and explains; every failure must be a sentence.
    /// - Parameter largest: values that a network may make; what is merely large is no trap, but a test has no time for it.
    /// - Returns: whether there was something to explain, and what should not have happened.
    package static func explain(_ data: Data, largest: Double = 1e6) -> (isExplained: Bool, fault: String?) {
        do {
            let network = try Network(ONNXModel(data: data), limits: Limits(memory: 256 << 20, work: 1e10))
            let model = try Model(network, preprocessing: "none")
            let layers = try network.layers(height: model.inputHeight, width: model.inputWidth)
            let shape = try network.inputShape(
                batch: 1, height: model.inputHeight, width: model.inputWidth)
            let count = shape.count
            guard layers.reduce(Double(count), { $0 + Double($1.shape.count) }) < largest else {
                return (false, nil)
            }
            var options = Options()
            options.device = .cpu
            options.threads = 1
            options.batch = 2
            options.methods = ["gradcam", "fem"]
            options.settings["fem"] = ["k": "0.5"]
            let session = try ExplanationSession(model, options: options)
            let input = (0..<count).map { Float($0 % 7) - 3 }
            var fault: String?
            try session.explain([.array(input, name: "a"), .array([], name: "b")]) { i, result in
                switch result {
                case .success(let explanation):
                    if i != 0 || explanation.explanations.count != 2 {
                        fault = "other explanations than asked for"
                    }
                case .failure(let error):
                    // The first may only fail because a changed network overflows.
                    let overflows = error.kind == .model && error.description.contains("not finite numbers")
                    if i == 1 ? error.kind != .input : !overflows { fault = "\(error)" }
                }
            }
            // All the values, and the gradient with respect to the input.
            _ = try network.run(
                input, dims: shape.dims, outputs: network.valueNames, gradient: 0,
                on: .cpu(CPU(threads: 1)))
            return (true, fault)
        } catch {
            let isKnown =
                error is ExplainError || error is NetworkError || error is ONNXError || error is LimitError
            return (false, isKnown ? nil : "\(type(of: error)) \(error)")
        }
    }

    /// Numbers at which arithmetic breaks.
    package static let numbers: [Int64] = [
        0, 1, 2, 3, 5, -1, -2, 7, 13, 64, 255, 1 << 15, 1 << 16, 1 << 20, (1 << 20) + 1, 1 << 24, 1 << 31 - 1,
        1 << 31, 1 << 32, -1 << 31,
        1 << 62, .max, .min, .min + 1,
    ]
    package static let floats: [Float] = [
        0, 1, -1, .nan, .infinity, -.infinity, 1e38, -1e38, .leastNonzeroMagnitude, 0.5,
    ]

    /// Changes one thing that a file says.
    package static func change(
        _ graph: inout WireGraph, _ opset: inout Int64, _ random: inout SeededRandom
    ) -> String {
        guard !graph.node.isEmpty else { return "" }
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
                    graph.node[n].attribute[a].i = any(numbers)
                    graph.node[n].attribute[a].f = any(floats)
                } else {
                    graph.node[n].attribute[a].ints[
                        random.index(below: graph.node[n].attribute[a].ints.count)] = any(numbers)
                }
            case 3:
                graph.node[n].attribute[a].ints = (0..<random.index(below: 5)).map { _ in any(numbers) }
            case 4: graph.node[n].attribute.remove(at: a)
            default: graph.node[n].attribute[a].type = any([.int, .ints, .float, .string, .tensor, .floats])
            }
            return label
        case 4:
            var extra = WireAttribute()
            extra.name = any([
                "auto_pad", "dilations", "axis", "group", "axes", "perm", "ceil_mode", "transA", "transB",
                "keepdims", "allowzero", "split", "pads", "strides", "kernel_shape", "num_outputs",
                "count_include_pad", "start", "end", "alpha", "beta", "bias", "ends", "epsilon", "max", "min",
                "mode", "noop_with_empty_axes", "size", "spatial", "starts", "storage_order", "to",
                "training_mode", "value", "value_float", "value_int", "value_ints",
            ])
            if extra.name == "auto_pad" || extra.name == "mode" {
                extra.type = .string
                extra.s = Data(
                    any(["SAME_UPPER", "SAME_LOWER", "VALID", "OTHER", "reflect", "edge", "CRD"]).utf8)
            } else if random.index(below: 3) == 0 {
                (extra.type, extra.f) = (.float, any(floats))
            } else if random.index(below: 2) == 0 {
                (extra.type, extra.i) = (.int, any(numbers))
            } else {
                extra.type = .ints
                extra.ints = (0..<(1 + random.index(below: 4))).map { _ in any(numbers) }
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
                dims + [1], dims.map { _ in any(numbers) },
            ])
            return "shape of \(graph.initializer[k].name)"
        case 12:
            let whole = graph.initializer.indices.filter { graph.initializer[$0].dataType == 7 }
            guard !whole.isEmpty else { return "" }
            let k = any(whole)
            let count = min(8, max(0, Int(graph.initializer[k].dims.reduce(1, &*))))
            let values = (0..<count).map { _ in any(numbers) }
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
            guard let rank = graph.input.first?.type.tensorType.shape.dim.count, rank > 0 else { return "" }
            let d = random.index(below: rank)
            graph.input[0].type.tensorType.shape.dim[d].dimValue = any(numbers)
            return "dimension \(d) of the input"
        default:
            opset = Int64(7 + random.index(below: 17))
            return "operator set \(opset)"
        }
    }

    /// Bytes changed blindly, or up to three fields of a file that can be read.
    static func changed(
        _ bytes: [UInt8], _ random: inout SeededRandom, blindly: ([UInt8]) -> [UInt8]
    ) -> [UInt8] {
        guard random.index(below: 3) > 0, var model = try? WireModel(serializedBytes: bytes) else {
            return blindly(bytes)
        }
        var (graph, opset) = (model.graph, model.opsetImport.first?.version ?? 17)
        for _ in 0...random.index(below: 3) {
            // What a function holds, or a graph inside a node, is changed as a graph of its own.
            let inside = graph.node.indices.filter { n in graph.node[n].attribute.contains { $0.hasG } }
            if !model.functions.isEmpty, random.index(below: 2) == 0 {
                let k = random.index(below: model.functions.count)
                var body = WireGraph()
                body.node = model.functions[k].node
                _ = change(&body, &opset, &random)
                model.functions[k].node = body.node
                if random.index(below: 4) == 0 {
                    _ =
                        random.index(below: 2) == 0
                        ? model.functions[k].input.popLast() : model.functions[k].output.popLast()
                }
            } else if !inside.isEmpty, random.index(below: 2) == 0 {
                let n = inside[random.index(below: inside.count)]
                for a in graph.node[n].attribute.indices where graph.node[n].attribute[a].hasG {
                    _ = change(&graph.node[n].attribute[a].g, &opset, &random)
                }
            } else {
                _ = change(&graph, &opset, &random)
            }
        }
        model.graph = graph
        if model.opsetImport.isEmpty { model.opsetImport = [WireOperatorSet()] }
        model.opsetImport[0].version = opset
        return (try? model.serializedBytes()) ?? blindly(bytes)
    }
}

extension Array {
    fileprivate subscript(safe index: Int) -> Element {
        get { self[index] }
        set { if indices.contains(index) { self[index] = newValue } }
    }
}
