// Arrays in, arrays out: a network's own numbers, for checking them against anything.

import CMicrokernels
import Kernels

/// A tensor with its name, in row-major order.
package struct NamedTensor: Sendable {
    package let name: String
    package let shape: Shape
    package let values: [Float]
}

extension Network {
    /// Refuses an input of another shape than the network takes.
    package func checkInput(_ dims: [Int]) throws {
        guard let batch = dims.first, batch > 0 else {
            throw NetworkError(
                .input,
                "The input array \(dims.isEmpty ? "is a single number" : "has the shape \(Shape(dims))") and so holds no pictures; the network takes \(describedInput)."
            )
        }
        let shape = try inputShape(
            batch: batch, height: dims.count == 4 ? dims[2] : nil, width: dims.count == 4 ? dims[3] : nil)
        guard shape.dims == dims else {
            throw NetworkError(
                .input, "The input array has the shape \(Shape(dims)); the network takes \(describedInput).")
        }
    }

    /// The network's output as the file names it, or any other values by name, or all of them, for an input in row-major order.
    /// - Parameters:
    ///   - dims: the input's shape; its first extent is the batch.
    ///   - names: values, or nodes for the first value that each makes; nil for the output.
    ///   - gradient: a class: the gradient of its logit with respect to `target`, for each picture of the batch, is added
    ///     under the name `gradient`.
    ///   - target: the value that is differentiated with respect to; the input if nil.
    package func run(
        _ values: [Float], dims: [Int], outputs names: [String]?, gradient: Int? = nil, target: String? = nil,
        on device: Device
    ) throws -> [NamedTensor] {
        try checkInput(dims)
        let shape = Shape(dims)
        guard values.count == shape.count else {
            throw NetworkError(.input, "The input array of shape \(shape) holds \(values.count) numbers.")
        }
        let batch = dims[0]
        let height = dims.count == 4 ? dims[2] : nil
        let width = dims.count == 4 ? dims[3] : nil
        let asked = names ?? [outputName]
        let wanted = try asked.map(valueName)
        let source = try valueName(target ?? inputName)
        var plan = try Planner(
            self, batch: batch, height: height, width: width, stored: Set(wanted),
            differentiated: gradient == nil ? [] : [source])
        var results: [(name: String, value: Value)] = []
        var folded: [NamedTensor] = []
        for (name, own) in zip(wanted, asked) {
            if let constant = constants[name] {
                folded.append(NamedTensor(name: own, shape: constant.shape, values: try constant.floats()))
            } else if let value = try? plan.value(name) {
                results.append((own, value))
            }
        }
        var seedValues: [Float] = []
        var seed: Value?
        if let gradient {
            let logits = plan.tape.shape(try plan.logits)
            let scores = ClassScores(scores: logits.count / batch)
            guard gradient >= 0, gradient < scores.classes else {
                throw NetworkError(
                    .input,
                    "There is no class \(gradient): the network has the classes 0 to \(scores.classes - 1).")
            }
            plan.tape.beginStage()
            seed = plan.tape.input(logits)
            seedValues = Array(repeating: 0, count: logits.count)
            let own = scores.seed(gradient)
            for i in 0..<batch { seedValues[i * scores.scores + own.score] = own.cotangent }
            results.append(("gradient", try plan.gradients(seed: seed!, of: [source])[source]!))
        }
        plan.tape.dropDeadSteps(keeping: results.map(\.value))
        let executor = try device.load(plan.tape, keeping: results.map(\.value))
        // All values stay until they are given back; the last is copied into rows, and to its file.
        let counts = results.map { plan.tape.shape($0.value).count }
        do {
            try limits.memory.check(4 * (counts.reduce(0, +) + 3 * (counts.max() ?? 0)))
        } catch {
            throw LimitError("\(model.path): Giving back what it computes \(error).")
        }
        try shape.memoryOrder(values).withUnsafeBufferPointer { try executor.write(plan.input, from: $0) }
        try executor.run(plan.tape.stage(0))
        if let seed {
            try seedValues.withUnsafeBufferPointer { try executor.write(seed, from: $0) }
            try executor.run(plan.tape.stage(1))
        }
        return try folded
            + results.map { name, value in
                let shape = plan.tape.shape(value)
                return NamedTensor(
                    name: name, shape: shape, values: shape.rowMajor(try executor.memoryOrder(value)))
            }
    }

    /// The value of that name, or else the first that the node of that name makes.
    package func valueName(_ name: String) throws -> String {
        if producers[name] != nil || name == inputName || constants[name] != nil { return name }
        if let value = nodes.first(where: { $0.name == name })?.makes.first { return value }
        throw NetworkError(.noSuchValue, unknownValue(name))
    }

    /// The names of all values that nodes make, in order.
    package var valueNames: [String] { nodes.flatMap(\.outputs).filter { !$0.isEmpty } }

    /// The input's shape in words, such as N×3×224×224.
    package var describedInput: String {
        inputDims.enumerated().map { i, d in i == 0 ? "N" : d.map(String.init) ?? "?" }.joined(separator: "×")
    }
}
