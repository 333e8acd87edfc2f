// Tokens seen as the cells of an image: what a transformer computes, in the form [N, C, H, W] that methods explain; and volumes, what a network of
// videos computes, whose frames lie below each other in that form.

import Kernels
import Text

/// Where the cells of an image lie in a value that is not [N, C, H, W]: tokens in a row, some of which may stand for nothing in the
/// picture (class and register tokens), or channels behind the grid. Or a volume [N, C, T, H, W], as T images below each other.
package struct TokenGrid: Hashable, Sendable {
    /// The axis along which the tokens lie, row by row; or the two axes of rows and columns; or the three of a volume.
    let axes: [Int]
    let channels: Int
    /// The height is that of all frames together.
    package let height: Int, width: Int
    /// How many images it is; nil for tokens of one.
    package let frames: Int?
    /// Along the one axis: the first token that is a cell, and how many there are, cells or not.
    let start: Int, count: Int
    /// Whether the tokens go down the columns.
    let isTransposed: Bool

    init(
        axes: [Int], channels: Int, height: Int, width: Int, start: Int, count: Int, isTransposed: Bool
    ) {
        (self.axes, self.channels, self.height, self.width) = (axes, channels, height, width)
        (self.start, self.count, self.isTransposed, frames) = (start, count, isTransposed, nil)
    }

    /// The cells of a volume [N, C, T, H, W].
    init(volume shape: Shape) {
        let (frames, height, width) = (shape.dims[2], shape.dims[3], shape.dims[4])
        (axes, channels, self.frames) = ([2, 3, 4], 1, frames)
        (self.height, self.width) = (frames * height, width)
        (start, count, isTransposed) = (0, frames * height * width, false)
    }

    /// Tokens that are no cells.
    package var extra: Int { count - height * width }

    private var split: [Int] { isTransposed ? [width, height] : [height, width] }

    /// [N, C, H, W] of a value, or of its cotangent: a view.
    package func grid(_ tape: inout Tape, _ tokens: Value) throws -> Value {
        if frames != nil {
            let dims = tape.shape(tokens).dims
            return tape.reshape(tokens, to: [dims[0], dims[1], height, width])
        }
        var x = tokens
        var rows = axes[0]
        if axes.count == 1 {
            if extra > 0 { x = tape.part(x, axis: rows, start: start, count: height * width) }
            let dims = tape.shape(x).dims
            x = tape.reshape(x, to: Shape(dims[..<rows] + split + dims[(rows + 1)...]))
        }
        var columns = axes.count == 1 ? rows + 1 : axes[1]
        if isTransposed { swap(&rows, &columns) }
        let channels = axes.count == 1 && self.channels > axes[0] ? self.channels + 1 : self.channels
        return tape.transpose(x, [0, channels, rows, columns])
    }

    /// Tokens whose cells are those of a grid, and the others those of `rest`.
    /// - Parameters:
    ///   - rest: tokens; of one picture, if they serve all of the grid.
    ///   - shape: of the tokens that are made.
    package func tokens(_ tape: inout Tape, cells: Value, rest: Value, shape: Shape) throws -> Value {
        let whole = tape.value(shape)
        tape.copy(rest, into: whole, strides: shape.strides, as: shape)
        let place = try grid(&tape, whole)
        tape.copy(cells, into: whole, strides: tape.strides(place), start: tape.offset(place))
        return whole
    }

    /// The other way, where all tokens are cells.
    func tokens(_ tape: inout Tape, _ grid: Value) throws -> Value {
        precondition(extra == 0)
        if let frames {
            let dims = tape.shape(grid).dims
            return tape.reshape(grid, to: [dims[0], dims[1], frames, height / frames, width])
        }
        // The places of N, C, H, W in the order of the value.
        var order: [Int]
        if axes.count == 2 {
            order = [0, 0, 0, 0]
            (order[channels], order[axes[0]], order[axes[1]]) = (1, 2, 3)
            if isTransposed { (order[axes[0]], order[axes[1]]) = (3, 2) }
            return tape.transpose(grid, order)
        }
        let cells = isTransposed ? [3, 2] : [2, 3]
        order = channels < axes[0] ? [0, 1] + cells : [0] + cells + [1]
        let x = tape.transpose(grid, order)
        let (n, c) = (tape.shape(grid).dims[0], tape.shape(grid).dims[1])
        return tape.reshape(x, to: channels < axes[0] ? [n, c, count] : [n, count, c])
    }
}

/// y = the tokens as [N, C, H, W].
struct TokensAsGrid: UnaryOperator {
    static let name = "TokensAsGrid"
    static let formula = "tokens as the cells of an image"
    let grid: TokenGrid
    init(_ attributes: Attributes) throws { throw OperatorError("is made here, and stands in no file") }
    init(_ grid: TokenGrid) { self.grid = grid }
    var role: Role { .rearranges }
    var dependence: Dependence { .selects }
    var reach: Reach { .behindFirst }
    /// Where some tokens are no cells, all of them go around the grid, and it hears of the gradient from there.
    var passesGradient: Bool { grid.extra == 0 }
    func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.value(try grid.grid(&tape, tape.value(required(inputs, 0, "tokens"))))]
    }
    func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        try grid.tokens(&tape, dy)
    }
}

/// The way back from a grid to its tokens, with which a network goes on. It computes nothing, so the network's other numbers and
/// gradients keep their bits.
///
/// Where all tokens are cells its one input is the grid; else the tokens come first, and pass.
struct GridAsTokens: Operator {
    static let name = "GridAsTokens"
    static let formula = "the cells of an image as tokens"
    static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    let grid: TokenGrid
    init(_ attributes: Attributes) throws { throw OperatorError("is made here, and stands in no file") }
    init(_ grid: TokenGrid) { self.grid = grid }
    var role: Role { .rearranges }
    var dependence: Dependence { .selects }
    var reach: Reach { .behindFirst }
    func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let first = try tape.value(required(inputs, 0, "tokens"))
        return [.value(grid.extra > 0 ? first : try grid.tokens(&tape, first))]
    }
    func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let dy = cotangents[0]!
        return try node.inputs.indices.map { input in
            guard wanted.contains(input) else { return nil }
            return grid.extra > 0 && input == 0 ? dy : try grid.grid(&tape, dy)
        }
    }
}

extension Network {
    /// The name of the grid that a value's tokens make.
    static func gridName(_ value: String) -> String { value + " (grid)" }

    /// The same network, in which the tokens of those layers are there as grids, by the layers' `output`.
    package func showing(_ layers: [Layer]) -> Network {
        var network = self
        for layer in layers {
            guard let grid = layer.tokens, network.producers[layer.output] == nil else { continue }
            network.insert(grid, of: layer.value)
        }
        return network
    }

    private mutating func insert(_ grid: TokenGrid, of value: String) {
        guard let at = producers[value] else { return }
        let (seen, after) = (Network.gridName(value), value + " (after its grid)")
        var nodes = Array(self.nodes[...at])
        func node(_ operation: any Operator, _ inputs: [String], _ output: String) -> NetworkNode {
            NetworkNode(
                name: output, type: type(of: operation).name, operation: operation, inputs: inputs,
                outputs: [output], parameters: 0)
        }
        nodes.append(node(TokensAsGrid(grid), [value], seen))
        nodes.append(node(GridAsTokens(grid), grid.extra > 0 ? [value, seen] : [seen], after))
        for next in self.nodes[(at + 1)...] {
            nodes.append(next.reading(after, insteadOf: value))
        }
        // The places of nodes that others know.
        for i in nodes.indices {
            guard let merged = nodes[i].merged, merged.into > at else { continue }
            nodes[i].merged = NetworkNode.Merged(
                into: merged.into + 2, normalisation: merged.normalisation,
                inputs: merged.inputs.map { $0 == value ? after : $0 })
        }
        replace(nodes)
    }
}
