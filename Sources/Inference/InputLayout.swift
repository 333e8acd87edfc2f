// How a file holds pictures, where it is not as binary32 numbers [N, C, H, W]: channels last, as TensorFlow has them, and bytes.
//
// Everywhere but here and in RawRun.swift, which deals with a file's own arrays, the network's input is [N, C, H, W] in binary32.

import Kernels
import ONNX
import Text

/// What a file's input is, beside its shape.
struct InputLayout {
    /// Whether the file holds [N, H, W, C].
    private(set) var isChannelsLast = false
    /// The values, by name, that are [N, H, W, C] in the file and [N, C, H, W] here.
    private(set) var turned: Set<String> = []
    /// The input's extents, [N, C, H, W].
    private(set) var dims: [Int?]
    /// The nodes, which read such an input.
    private(set) var nodes: [NetworkNode]

    /// Decides it from what reads the input, or else from its extents.
    ///
    /// A transpose to channels first, as tf2onnx puts one in front, has nothing left to do. Other readers of channels that lie last read them
    /// through a transpose of ours, which is a view, as are all; activations lie channels-last in memory.
    init(of input: String, _ dims: [Int?], _ nodes: [NetworkNode], opset: Int) throws {
        (self.dims, self.nodes) = (dims, nodes)
        guard dims.count == 4 else { return }
        func readers(_ name: String) -> [Int] { nodes.indices.filter { nodes[$0].inputs.contains(name) } }
        /// Whether a node brings channels that lie last to their place.
        func turns(_ i: Int) -> Bool { (nodes[i].operation as? Transpose)?.order == [0, 3, 1, 2] }

        // Past casts and the like.
        var (passed, last): (Set<String>, String) = ([input], input)
        var reading = readers(input)
        while reading.count == 1, case .passes = nodes[reading[0]].operation.role,
            let next = nodes[reading[0]].makes.first
        {
            passed.insert(next)
            last = next
            reading = readers(next)
        }
        let areTurned = !reading.isEmpty && reading.allSatisfy(turns)
        guard areTurned || reading.contains(where: turns) || InputLayout.lieLast(dims, of: last, nodes) else {
            return
        }
        isChannelsLast = true
        self.dims = [dims[0], dims[3], dims[1], dims[2]]
        let none = Attributes(opset: opset, [:])
        if areTurned {
            turned = passed
            for i in reading { self.nodes[i] = nodes[i].replacing(try Identity(none), inputs: [last]) }
            return
        }
        turned = [input]
        var inner = "\(input), channels last"
        while nodes.contains(where: { $0.makes.contains(inner) || $0.reads.contains(inner) }) { inner += "'" }
        let transpose = try Transpose(Attributes(opset: opset, ["perm": .ints([0, 2, 3, 1])]))
        self.nodes =
            [
                NetworkNode(
                    name: inner, type: Transpose.name, operation: transpose, inputs: [input],
                    outputs: [inner], parameters: 0)
            ] + nodes.map { $0.reading(inner, insteadOf: input) }
    }

    /// Whether what reads the input says so, or else its extents.
    private static func lieLast(_ dims: [Int?], of input: String, _ nodes: [NetworkNode]) -> Bool {
        var names: Set<String> = [input]
        for node in nodes where node.inputs.contains(where: names.contains) {
            if let order = (node.operation as? Transpose)?.order, order == [0, 3, 1, 2] { return true }
            switch (node.operation.role, node.operation.dependence) {
            // These take their channels from the second dimension.
            case (.convolves, _), (.normalises, _), (_, .largest): return false
            case (_, .adds), (_, .multiplies), (_, .divides), (_, .affine), (_, .curve), (.passes, _):
                names.formUnion(node.makes)
            default: break
            }
        }
        // Of an extent that is too small for a picture's nothing is believed.
        return dims[3].map([1, 3, 4].contains) ?? false && dims[1].map { $0 >= 8 } ?? true
    }

    /// Refuses whatever computes with bytes before they are real numbers: such arithmetic wraps around.
    static func checkBytes(_ input: String, _ nodes: [NetworkNode]) throws {
        var bytes: Set<String> = [input]
        for node in nodes where node.inputs.contains(where: bytes.contains) {
            if node.operation is Cast, node.operation.passesGradient { continue }
            guard case .selects = node.operation.dependence else {
                throw NetworkError(
                    .unsupported,
                    "\(node.label) computes with the bytes of the input “\(shortened(input))”, which is not supported before they are cast to real numbers."
                )
            }
            bytes.formUnion(node.makes)
        }
    }
}

extension Network {
    /// The shape of an array of the file's as [N, C, H, W], which is where everything else has it.
    func channelsFirst(_ dims: [Int]) -> [Int] {
        isChannelsLast && dims.count == 4 ? [dims[0], dims[3], dims[1], dims[2]] : dims
    }

    /// An array of the file's own order, row by row, as [N, C, H, W].
    /// - Parameter shape: [N, C, H, W].
    package func channelsFirst(_ values: [Float], _ shape: Shape) -> [Float] {
        isChannelsLast ? shape.rowMajor(values) : values
    }

    /// A shape [N, C, H, W] in the file's order.
    package func asInFile(_ dims: [Int]) -> [Int] {
        isChannelsLast && dims.count == 4 ? [dims[0], dims[2], dims[3], dims[1]] : dims
    }

    /// A value in the file's order.
    func asInFile(_ tensor: NamedTensor, of name: String) -> NamedTensor {
        guard turned.contains(name) else { return tensor }
        return NamedTensor(
            name: tensor.name, shape: Shape(asInFile(tensor.shape.dims)),
            values: tensor.shape.memoryOrder(tensor.values))
    }
}
