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
        let ordered = channelsFirst(dims)
        let shape = try inputShape(
            batch: batch, height: dims.count == 4 ? ordered[2] : nil,
            width: dims.count == 4 ? ordered[3] : nil)
        guard shape.dims == ordered else {
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
        guard values.count == Shape(dims).count else {
            throw NetworkError(
                .input, "The input array of shape \(Shape(dims)) holds \(values.count) numbers.")
        }
        if takesBytes, let bad = values.first(where: { !((0...255).contains($0) && $0 == $0.rounded()) }) {
            throw NetworkError(
                .input, "The input array holds \(bad), and the network takes bytes, 0 to 255.")
        }
        let dims = channelsFirst(dims)
        let shape = Shape(dims)
        let batch = dims[0]
        let height = dims.count == 4 ? dims[2] : nil
        let width = dims.count == 4 ? dims[3] : nil
        let asked = names ?? [outputName]
        let wanted = try asked.map(valueName)
        let source = try valueName(target ?? inputName)
        var spec = PassSpec(batch: batch, height: height, width: width)
        spec.stored = Set(wanted.filter { constants[$0] == nil })
        if gradient != nil { spec.gradients = [source] }
        let plan = try PassPlan(spec, of: self)
        var cotangent: [Float] = []
        if let gradient {
            let scores = ClassScores(scores: plan.logits.count / batch)
            guard gradient >= 0, gradient < scores.classes else {
                throw NetworkError(
                    .input,
                    "There is no class \(gradient): the network has the classes 0 to \(scores.classes - 1).")
            }
            cotangent = scores.cotangent(Array(repeating: gradient, count: batch))
        }
        let pass = try Engine(self, on: LoadedDevice(device)).pass(plan)
        // All values stay until they are given back; the last is copied into rows, and to its file.
        let counts = plan.kept.map { plan.tape.shape($0).count }
        do {
            try limits.memory.check(4 * (counts.reduce(0, +) + 3 * (counts.max() ?? 0)))
        } catch {
            throw LimitError("\(model.path): Giving back what it computes \(error).")
        }
        try pass.feed(channelsFirst(values, shape))
        try pass.forward()
        if gradient != nil { try pass.backward(cotangent) }
        var (folded, results): ([NamedTensor], [NamedTensor]) = ([], [])
        for (name, own) in zip(wanted, asked) {
            if let constant = constants[name] ?? plan.known[name] {
                folded.append(NamedTensor(name: own, shape: constant.shape, values: try constant.floats()))
            } else if let shape = plan.shape(name), let values = try pass.stored(name) {
                results.append(asInFile(NamedTensor(name: own, shape: shape, values: values), of: name))
            }
        }
        if let value = plan.gradients[source], let values = try pass.gradient(source) {
            let found = NamedTensor(name: "gradient", shape: plan.tape.shape(value), values: values)
            results.append(asInFile(found, of: source))
        }
        return folded + results
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
        let words = inputDims.enumerated().map { i, d in i == 0 ? "N" : d.map(String.init) ?? "?" }
        let order = isChannelsLast ? [0, 2, 3, 1] : Array(words.indices)
        return order.map { words[$0] }.joined(separator: "×")
    }
}
