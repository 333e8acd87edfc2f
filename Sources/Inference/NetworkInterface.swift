// Which of a network's inputs is the picture, and which of its outputs are the scores, where it has several.

import Kernels
import ONNX
import Text

/// What a person says of a network's inputs and outputs.
package struct NetworkInterface: Sendable {
    /// The input that is the picture; nil for the only one that can be.
    package var input: String?
    /// The other inputs that the scores depend on, by name: the same for every picture.
    package var given: [String: HostTensor] = [:]
    /// The output that has the scores; nil for the first.
    package var scoreOutput: String?
    /// Numbers in the place of weights in the file, by name.
    package var weights: [String: HostTensor] = [:]

    package init(input: String? = nil, given: [String: HostTensor] = [:], scoreOutput: String? = nil) {
        (self.input, self.given, self.scoreOutput) = (input, given, scoreOutput)
    }

    /// The input that is the picture.
    /// - Throws: `NetworkError` with one sentence.
    func picture(of graph: ONNXGraph, path: String) throws -> ONNXValueInfo {
        func fail(_ reason: String) -> NetworkError { NetworkError(.input, "\(path): \(reason)") }
        let names = graph.inputs.map(\.name)
        func unknown(_ name: String) -> NetworkError {
            let near = nearMatches(name, among: names)
            return fail(
                "There is no input “\(shortened(name))” in the network; "
                    + (near.isEmpty
                        ? "its inputs are \(described(graph.inputs))."
                        : "did you mean \(near.map { "“\(shortened($0))”" }.joined(separator: ", "))?"))
        }
        for (name, tensor) in given.sorted(by: { $0.key < $1.key }) {
            guard let input = graph.inputs.first(where: { $0.name == name }) else { throw unknown(name) }
            guard let dims = input.dims else { continue }
            guard dims.count == tensor.shape.rank,
                zip(dims, tensor.shape.dims).allSatisfy({ $0.size == nil || $0.size == $1 })
            else {
                throw fail(
                    "The input “\(shortened(name))” is \(describedShape(dims)), and what is given for it has the shape \(tensor.shape)."
                )
            }
        }
        if let input {
            guard given[input] == nil else {
                throw fail(
                    "The input “\(shortened(input))” is the picture, and numbers are given for it too.")
            }
            guard let found = graph.inputs.first(where: { $0.name == input }) else { throw unknown(input) }
            return found
        }
        let open = graph.inputs.filter { given[$0.name] == nil }
        guard let first = open.first else {
            throw fail("Numbers are given for every input of the network, and none is left for the picture.")
        }
        if open.count == 1 { return first }
        // A list of numbers, in whatever form, is no picture.
        let images = open.filter { input in
            input.dims.map { $0.count == 4 && $0.count { $0.size != 1 } > 1 } ?? false
        }
        guard images.count == 1 else {
            throw NetworkError(
                .unsupported,
                "\(path): The network has \(open.count) inputs (\(described(open))), of which \(images.isEmpty ? "none" : "several") could be the picture; "
                    + "name it with --input NAME, and give the others with --input NAME=FILE.npy.")
        }
        return images[0]
    }

    private func described(_ inputs: [ONNXValueInfo]) -> String {
        let shown = inputs.prefix(8).map { input in
            "“\(shortened(input.name))”" + (input.dims.map { " " + describedShape($0) } ?? "")
        }
        return shown.joined(separator: ", ") + (inputs.count > 8 ? ", …" : "")
    }

    private func describedShape(_ dims: [ONNXDimension]) -> String {
        dims.isEmpty ? "a single number" : dims.map(\.description).joined(separator: "×")
    }

    /// The output that has the scores.
    func scores(of graph: ONNXGraph, path: String) throws -> ONNXValueInfo {
        guard let first = graph.outputs.first else {
            throw NetworkError(.invalid, "\(path): The network has no output.")
        }
        guard let name = scoreOutput else { return first }
        if let found = graph.outputs.first(where: { $0.name == name }) { return found }
        let near = nearMatches(name, among: graph.outputs.map(\.name))
        throw NetworkError(
            .noSuchValue,
            "\(path): There is no output “\(shortened(name))” in the network; "
                + (near.isEmpty
                    ? "its outputs are \(described(graph.outputs))."
                    : "did you mean \(near.map { "“\(shortened($0))”" }.joined(separator: ", "))?"))
    }

    /// The nodes on which a value depends, by their places, and the names that they read.
    static func ancestors(of value: String, in graph: ONNXGraph) -> (nodes: Set<Int>, reads: Set<String>) {
        var needed: Set<String> = [value]
        var nodes: Set<Int> = []
        for (i, node) in graph.nodes.enumerated().reversed()
        where node.outputs.contains(where: needed.contains) {
            nodes.insert(i)
            needed.formUnion(node.inputs + node.captures)
        }
        return (nodes, needed)
    }
}
