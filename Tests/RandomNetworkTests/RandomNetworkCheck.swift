// What is checked of a random network.

import Foundation
import Inference
import Kernels
import ONNX
import RandomNetworks
import Synchronization
import TestSupport

struct RandomNetworkCheck {
    /// Slopes that gradients were compared with, and those that were not because of a kink.
    struct Slopes: CustomStringConvertible {
        var taken = 0, skipped = 0
        var description: String { "\(skipped) of \(taken) slopes skipped" }
    }

    /// Relative errors that are put into every constant and every result, to see what they do: 8 units in the last place of binary32.
    private static let noise = 8 * Evaluator.unit
    /// How much more than those the difference between two implementations may be.
    private static let factor = 4.0
    /// ONNX Runtime is less exact than we: its LRN has errors of 7e-6 (see `lostByRuntime`), its Sigmoid of 1e-7 (0 instead of 3e-11), its means cancel. So it may
    /// be this much further from double precision.
    private static let (runtimeFactor, runtimeError) = (32.0, 1e-6)

    /// The largest errors so far, as shares of what is allowed.
    static let ratios = Mutex<[String: Double]>([:])

    private static let devices: [TestDevice] = {
        let cpus = Devices.cpus.filter { !$0.description.contains("3 threads") }
        // Caches so small that cascades form.
        let cascading = [1, 2].map { (threads: Int) in
            TestDevice(
                device: .cpu(try! CPU(threads: threads, cache: 16 << 10)),
                description: "cpu, \(threads) threads, small caches")
        }
        return cpus + cascading + Devices.openCL
    }()

    private let network: RandomNetwork
    var problems: [String] = []

    init(_ network: RandomNetwork) { self.network = network }

    private static func note(_ what: String, _ ratio: Double) {
        ratios.withLock { $0[what] = max($0[what] ?? 0, ratio) }
    }

    mutating func run(_ others: RuntimeNumbers, _ slopes: inout Slopes) throws {
        let model = try network.model()
        let loaded = try Network(model)
        let pictures = network.pictures
        let size = pictures.count / 3
        let device = Self.devices[0].device
        let names = loaded.valueNames
        let one = network.inputDims
        let three = [3] + one.dropFirst()
        let evaluator = Evaluator(model)
        var random = SeededRandom("checks \(network.seed) \(network.number)")

        // A value inside that the logits depend on and that can be moved.
        let exact = try (0..<2).map {
            try evaluator.run(
                Array64(dims: one, values: pictures[$0 * size..<($0 + 1) * size].map(Double.init)))
        }
        let scores = exact[0][loaded.logitsName]!.count
        let chosen = random.index(below: scores)
        let classIndex = scores == 1 ? 1 : chosen
        let target = inner(model, loaded, exact[0], &random)

        // Stored, in a batch: the reference.
        let all = try loaded.run(
            pictures, dims: three, outputs: names, gradient: classIndex, target: loaded.inputName, on: device)

        // Every value and gradient on every device.
        let verified = try loaded.verify(
            pictures, batch: 3, height: one.count == 4 ? one[2] : nil, width: one.count == 4 ? one[3] : nil,
            on: Self.devices.map(\.device))
        if let d = verified.difference {
            problems.append(
                "\(d.name)[\(d.index)] is 0x\(String(d.bits, radix: 16)) on \(d.device) and 0x\(String(d.referenceBits, radix: 16)) on \(d.reference); \(d.count) of \(d.total) numbers differ."
            )
        }

        // Fused, in a batch and alone.
        var alone: [[NamedTensor]] = []
        for i in 0..<3 {
            alone.append(
                try loaded.run(
                    Array(pictures[i * size..<(i + 1) * size]), dims: one, outputs: names,
                    gradient: classIndex, on: device))
            for (whole, part) in zip(all, alone[i]) where whole.shape.rank > 0 {
                let count = part.values.count
                // What does not depend on the picture is there once.
                guard whole.values.count == 3 * count else { continue }
                expectEqual(
                    Array(whole.values[i * count..<(i + 1) * count]), part.values,
                    "\(whole.name) of picture \(i), in a batch and alone")
            }
        }
        let logits = all.first { $0.name == loaded.logitsName }!.values
        let output = all.first { $0.name == loaded.outputName }!.values
        let innerGradient = try target.map {
            try loaded.run(
                pictures, dims: three, outputs: [], gradient: classIndex, target: $0, on: device)[0].values
        }
        for other in Self.devices {
            let lean = try loaded.run(pictures, dims: three, outputs: nil, on: other.device)
            expectEqual(output, lean[0].values, "the output, stored and fused on \(other)")
            let both = try loaded.run(
                pictures, dims: three, outputs: [loaded.logitsName], gradient: classIndex, on: other.device)
            expectEqual(logits, both[0].values, "the logits, stored and fused on \(other)")
            expectEqual(all.last!.values, both[1].values, "the gradient, stored and fused on \(other)")
        }
        for other in [Self.devices[1]] + Devices.openCL {
            guard let target, let innerGradient else { continue }
            let own = try loaded.run(
                pictures, dims: three, outputs: [], gradient: classIndex, target: target, on: other.device)
            expectEqual(innerGradient, own[0].values, "the gradient of \(target), fused on \(other)")
        }

        // Each node by itself, from the program's own numbers.
        for i in 0..<3 {
            try compareNodes(
                evaluator, alone[i],
                Array64(
                    dims: one, values: pictures[i * size..<(i + 1) * size].map(Double.init)), picture: i)
        }

        // The whole.
        let noisy = (0..<2).map { Evaluator(model, noise: Self.noise, sample: $0) }
        let nodeNames = model.graph.nodes.flatMap(\.outputs).filter { !$0.isEmpty }
        let runtime = try others.values(network, nodeNames)
        for i in 0..<2 {
            let input = Array64(dims: one, values: pictures[i * size..<(i + 1) * size].map(Double.init))
            let disturbed = try noisy.map { try $0.run(input) }
            let ours = Dictionary(uniqueKeysWithValues: alone[i].map { ($0.name, $0) })
            let lost = lostByRuntime(model, exact[i])
            for name in nodeNames {
                guard let right = exact[i][name], let theirs = runtime[i][name] else { continue }
                if theirs.dims != right.dims {
                    problems.append(
                        "\(name) has the shape \(theirs.dims) in ONNX Runtime, not \(right.dims).")
                    return
                }
                var moved = 0.0
                var largest = 0.0
                for (k, v) in right.values.enumerated() {
                    largest = max(largest, abs(v))
                    for other in disturbed { moved = max(moved, abs(other[name]!.values[k] - v)) }
                }
                let allowed = Self.factor * (moved + Self.noise * largest) + 1e-37
                // So a rule that the program and the double-precision evaluator misunderstand alike is found.
                if !lost.contains(name) {
                    compare(
                        theirs.values, right.values, Self.runtimeFactor * allowed + Self.runtimeError,
                        "\(name) of picture \(i)", "ONNX Runtime", "double precision")
                }
                if let own = ours[name] {
                    if own.shape.dims != right.dims {
                        problems.append("\(name) has the shape \(own.shape), not \(right.dims).")
                        return
                    }
                    compare(
                        own.values.map(Double.init), right.values, allowed, "\(name) of picture \(i)",
                        "the program", "double precision")
                }
            }
        }

        // Gradients.
        let score = scores == 1 ? 0 : chosen
        var gradients = [(loaded.inputName, Array(all.last!.values.prefix(size)))]
        if let target, let innerGradient {
            gradients.append((target, Array(innerGradient.prefix(innerGradient.count / 3))))
        }
        for (name, gradient) in gradients {
            try compareSlopes(
                evaluator, noisy, exact[0], loaded.logitsName, score, name, gradient, alone[0], &random,
                &slopes)
        }
    }

    /// The values of which ONNX Runtime knows nothing: its LRN slides a sum of squares along the channels, and of the small squares
    /// beside large ones rounding leaves nothing.
    private func lostByRuntime(_ model: ONNXModel, _ values: [String: Array64]) -> Set<String> {
        var lost: Set<String> = []
        for node in model.graph.nodes {
            let isLRN = node.opType == "LRN" && values[node.inputs[0]]!.values.contains { abs($0) > 100 }
            if isLRN || node.inputs.contains(where: lost.contains) { lost.formUnion(node.outputs) }
        }
        return lost
    }

    private mutating func expectEqual(_ a: [Float], _ b: [Float], _ what: @autoclosure () -> String) {
        if let difference = bitDifference(a, b) { problems.append("\(what()): \(difference)") }
    }

    private mutating func compare(
        _ found: [Double], _ right: [Double], _ allowed: Double, _ what: String, _ finder: String,
        _ judge: String
    ) {
        guard allowed.isFinite else { return }
        for (k, (a, b)) in zip(found, right).enumerated() {
            let error = abs(a - b)
            if error <= allowed || a == b { continue }
            problems.append(
                "\(what): number \(k) is \(a) by \(finder) and \(b) by \(judge), with \(allowed) allowed.")
            return
        }
        if let worst = zip(found, right).map({ abs($0 - $1) }).max(), allowed > 1e-30 {
            Self.note("\(finder) against \(judge)", worst / allowed)
        }
    }

    // MARK: Nodes

    private mutating func compareNodes(
        _ evaluator: Evaluator, _ found: [NamedTensor], _ input: Array64, picture: Int
    ) throws {
        // Constants and the arithmetic of shapes come from the evaluator, all else from the program.
        var values = try evaluator.run(input)
        for tensor in found where tensor.name != "gradient" && values[tensor.name]?.isInteger == false {
            values[tensor.name] = Array64(dims: tensor.shape.dims, values: tensor.values.map(Double.init))
        }
        let stored = Set(found.map(\.name))
        var allowances: [String: Array64] = [:]
        var makers: [String: ONNXNode] = [:]
        // What is inside an operator that was spelled out, and so not stored.
        var inside: Set<String> = []
        for node in evaluator.graph.nodes {
            let inputs = node.inputs.map { values[$0] }
            let results = try evaluator.evaluate(node, inputs)
            var allowed = try evaluator.allowances(node, inputs, results)
            if node.inputs.contains(where: inside.contains) {
                allowed[0] = wholeAllowance(node, makers, values, inside, results[0])
            }
            for (name, result) in zip(node.outputs, results)
            where !stored.contains(name) && !result.isInteger
                && node.inputs.contains(where: {
                    stored.contains($0) || inside.contains($0) || $0 == evaluator.graph.inputs.first?.name
                })
            {
                inside.insert(name)
                values[name] = result
            }
            // What overflows before a normalisation need not do so if both are one.
            let mayMerge = node.opType == "BatchNormalization" && makers[node.inputs[0]]?.opType == "Conv"
            if mayMerge, let before = allowances[node.inputs[0]] {
                // It may be merged with the convolution, and so have the convolution's rounding too.
                let area = before.dims.dropFirst(2).reduce(1, *)
                let epsilon = Double(try node.float("epsilon", default: 1e-5))
                for k in before.values.indices {
                    let c = k / area % before.dims[1]
                    allowed[0].values[k] +=
                        abs(inputs[1]!.values[c]) / (inputs[4]!.values[c] + epsilon).squareRoot()
                        * before.values[k]
                }
            }
            for (k, name) in node.outputs.enumerated() where !name.isEmpty {
                makers[name] = node
                allowances[name] = allowed[k]
                guard stored.contains(name), let own = values[name], !own.isInteger else { continue }
                guard own.dims == results[k].dims else {
                    problems.append("\(name) has the shape \(own.dims), not \(results[k].dims).")
                    return
                }
                var worst = 0.0
                for (at, (a, b)) in zip(own.values, results[k].values).enumerated() {
                    let bound = allowed[k].values[at]
                    if a == b || (a.isNaN && b.isNaN) { continue }
                    // What is not finite for double precision is not finite; more may be, by an overflow on the way.
                    let isLost = !mayMerge && ((b.isNaN && !a.isNaN) || (b.isInfinite && a.isFinite))
                    if !isLost, bound == .infinity { continue }
                    let error = abs(a - b)
                    if !isLost, error <= bound {
                        if bound > 1e-30 { worst = max(worst, error / bound) }
                        continue
                    }
                    problems.append(
                        "\(name) (\(node.opType)) of picture \(picture): number \(at) is \(a), and \(b) by double precision of the same inputs, with \(bound) allowed."
                    )
                    return
                }
                Self.note(node.opType, worst)
            }
        }
    }

    /// What the last node of a layer normalisation or a GELU may be off that was spelled out and is computed as one.
    private func wholeAllowance(
        _ last: ONNXNode, _ makers: [String: ONNXNode], _ values: [String: Array64], _ inside: Set<String>,
        _ result: Array64
    ) -> Array64 {
        var (nodes, open) = ([last], [last])
        while let node = open.popLast() {
            let more = node.inputs.filter(inside.contains).compactMap { makers[$0] }
            nodes += more
            open += more
        }
        let x = nodes.flatMap(\.inputs).first {
            !inside.contains($0) && makers[$0]?.opType != "Constant" && values[$0]?.dims == result.dims
        }.flatMap { values[$0] }
        guard let x else { return result.map { _ in 0 } }
        let unit = 0x1p-24
        if nodes.contains(where: { $0.opType == "Erf" }) {
            return Array64(dims: result.dims, values: x.values.map { 16 * unit * abs($0) + 1e-37 })
        }
        guard let root = nodes.first(where: { $0.opType == "Sqrt" })?.outputs[0], let deviation = values[root]
        else { return result.map { _ in 0 } }
        // The mean is off by the row's largest number times the roundings of a sum, and the rest by a few roundings of their own.
        let columns = result.dims.last!
        let most =
            nodes.flatMap(\.inputs).compactMap { name -> Double? in
                guard !inside.contains(name), let value = values[name], value.dims == [columns] else {
                    return nil
                }
                return value.values.map(abs).max()
            }.max() ?? 1
        return Array64(
            dims: result.dims,
            values: result.values.indices.map { i in
                let row = i / columns
                let largest = x.values[row * columns..<(row + 1) * columns].map(abs).max() ?? 0
                // Squares overflow long before the result does.
                if largest > 1e18 { return .infinity }
                let share = largest / deviation.values[row]
                let units = Double(8 + min(columns, 256))
                return units * unit * (most * (share + 2) * (1 + share) + abs(result.values[i])) + 1e-37
            })
    }

    // MARK: Gradients

    /// A value between the input and the logits whose elements can all be moved a little without meeting a kink at once.
    private func inner(
        _ model: ONNXModel, _ loaded: Network, _ exact: [String: Array64], _ random: inout SeededRandom
    ) -> String? {
        var reached: Set<String> = [loaded.inputName]
        for node in model.graph.nodes
        where node.opType != "Shape" && node.inputs.contains(where: reached.contains) {
            reached.formUnion(node.outputs)
        }
        var needed: Set<String> = [loaded.logitsName]
        for node in model.graph.nodes.reversed()
        where node.opType != "Shape" && node.outputs.contains(where: needed.contains) {
            needed.formUnion(node.inputs)
        }
        // What is inside an operator that was spelled out is no value of the network.
        let known = Set(loaded.valueNames)
        let candidates = model.graph.nodes.flatMap(\.outputs).filter {
            known.contains($0) && reached.contains($0) && needed.contains($0) && $0 != loaded.logitsName
                && exact[$0]!.values.allSatisfy { $0 != 0 && $0.isFinite }
                // Equal numbers, as a Pad makes them, are ties of a maximum.
                && Set(exact[$0]!.values).count == exact[$0]!.count
        }
        return candidates.isEmpty ? nil : candidates[random.index(below: candidates.count)]
    }

    private mutating func compareSlopes(
        _ evaluator: Evaluator, _ noisy: [Evaluator], _ exact: [String: Array64], _ logits: String,
        _ classIndex: Int, _ name: String, _ gradient: [Float], _ found: [NamedTensor],
        _ random: inout SeededRandom, _ slopes: inout Slopes
    ) throws {
        let point = exact[name]!
        guard gradient.count == point.count else {
            problems.append("The gradient of \(name) has \(gradient.count) numbers, not \(point.count).")
            return
        }
        let step = 1e-6 * max(1e-3, point.values.reduce(0) { max($0, min(abs($1), 100)) })
        let bases =
            try [exact]
            + noisy.map { try $0.run(exact[evaluator.graph.inputs[0].name]!, overriding: [name: point]) }
        func score(_ values: [String: Array64]) -> Double { values[logits]!.values[classIndex] }

        var directions = (0..<2).map { _ in point.values.map { _ in Double(random.float()) } }
        var single = [Double](repeating: 0, count: point.count)
        single[gradient.indices.max { abs(gradient[$0]) < abs(gradient[$1]) }!] = 1
        directions.append(single)
        for direction in directions {
            /// The slope along the direction, and how far it is from straight.
            func slope(_ who: Evaluator, _ base: [String: Array64]) throws -> (Double, Double) {
                func moved(_ by: Double) throws -> Double {
                    var there = point
                    for i in there.values.indices { there.values[i] += by * direction[i] }
                    return score(try who.rerun(base, changing: [name: there]))
                }
                let (up, down) = (try moved(step), try moved(-step))
                return ((up - down) / (2 * step), abs(up + down - 2 * score(base)) / (2 * step))
            }
            let (right, bend) = try slope(evaluator, bases[0])
            var along = 0.0
            var terms = 0.0
            for (g, d) in zip(gradient, direction) {
                along += Double(g) * d
                terms += Double(g) * d * Double(g) * d
            }
            var moved = 0.0
            for (who, base) in zip(noisy, bases.dropFirst()) {
                moved = max(moved, abs(try slope(who, base).0 - right))
            }
            let size = terms.squareRoot() + abs(right)
            let allowed =
                Self.factor * (moved + Self.noise * size) + 1e-14 * max(1, abs(score(exact))) / step
            slopes.taken += 1
            let error = abs(along - right)
            // Where errors of the last place turn the slope, there is nothing to compare with.
            if moved > 1e-3 * size {
                slopes.skipped += 1
            } else if !(error <= allowed) {
                let isBent = error <= 1.5 * bend + allowed
                if try isBent || !sameSides(evaluator, exact, found) {
                    slopes.skipped += 1
                } else {
                    problems.append(
                        "The gradient of logit \(classIndex) with respect to \(name) along a direction is \(along), and \(right) by differences, with \(allowed) allowed."
                    )
                    return
                }
            } else {
                Self.note("gradients", error / allowed)
            }
        }
    }

    /// Whether the program was on the same side of every kink as double precision.
    private func sameSides(_ evaluator: Evaluator, _ exact: [String: Array64], _ found: [NamedTensor]) throws
        -> Bool
    {
        var own = exact
        for tensor in found where exact[tensor.name]?.isInteger == false {
            own[tensor.name] = Array64(dims: tensor.shape.dims, values: tensor.values.map(Double.init))
        }
        return try evaluator.graph.nodes.allSatisfy { node in
            try evaluator.sides(node, node.inputs.map { exact[$0] })
                == evaluator.sides(node, node.inputs.map { own[$0] })
        }
    }
}
