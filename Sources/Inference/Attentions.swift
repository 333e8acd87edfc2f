// The attention of a transformer: what its tokens take from each other, block by block.

import Kernels
import Text

/// The attention probabilities of a network whose tokens are the same throughout: the values that softmax makes of products of tokens.
package struct Attentions: Sendable {
    /// In the order in which they run, [N, heads, T, T] or [N · heads, T, T]: row i says what token i takes from each.
    package let values: [String]
    /// How many heads each has.
    package let heads: [Int]
    /// Tokens, T.
    package let count: Int
    /// Where the cells of the picture are among them.
    package let tokens: TokenGrid
    /// The tokens that the score is read from: some that are no cells, such as a class token, or all.
    package let read: [Int]
}

extension TokenGrid {
    /// The token of each cell, row by row.
    package var places: [Int] {
        (0..<height * width).map { cell in
            let (y, x) = (cell / width, cell % width)
            return start + (isTransposed ? x * height + y : cell)
        }
    }
}

extension Network {
    /// The attentions on the way from the picture to the score.
    /// - Throws: `NetworkError` of kind `noSuchLayer`, with the end of a sentence why there are none to speak of.
    package func attentions(height: Int? = nil, width: Int? = nil) throws -> Attentions {
        func none(_ reason: String) -> NetworkError { NetworkError(.noSuchLayer, reason) }
        let layers = try layers(height: height, width: width)
        let path = path(from: [inputName])
        let softmaxes = path.filter { if case .softmax = nodes[$0].operation.role { true } else { false } }
        let byValue = Dictionary(layers.map { ($0.value, $0) }) { first, _ in first }
        // Tokens in a row, as many as attention has rows and columns.
        let rows = layers.compactMap { layer in
            layer.tokens.flatMap { $0.axes.count == 1 && $0.channels == 2 ? $0 : nil }
        }
        var (values, heads): ([String], [Int]) = ([], [])
        var tokens: TokenGrid?
        var last = 0
        for i in softmaxes {
            guard let name = nodes[i].makes.first, let shape = byValue[name]?.valueShape else { continue }
            let dims = shape.dims
            guard dims.count == 4 || dims.count == 3, dims[dims.count - 1] == dims[dims.count - 2] else {
                continue
            }
            let count = dims[dims.count - 1]
            guard let found = rows.first(where: { $0.count == count }), dims.count == 3 || dims[0] == 1 else {
                throw none(
                    "the block of “\(shortened(nodes[i].name))” attends within windows, or to other tokens than those of the picture"
                )
            }
            guard tokens == nil || tokens!.count == count else {
                throw none("its blocks have different numbers of tokens, \(tokens!.count) and \(count)")
            }
            tokens = found
            values.append(name)
            heads.append(dims.count == 4 ? dims[1] : dims[0])
            last = path.firstIndex(of: i)!
        }
        guard let tokens else {
            throw none(
                path.contains { nodes[$0].type.hasSuffix("Attention") }
                    ? "its attention is one operator, which does not give out its probabilities"
                    : "it has no attention between tokens that are the cells of the picture")
        }
        // Patches that are merged on the way are other tokens.
        let first = layers.firstIndex { $0.value == values[0] }!
        if let other = layers[first...].first(where: {
            $0.isOnEveryWay && $0.cells > 1 && $0.cells != tokens.height * tokens.width
        }) {
            throw none(
                "its tokens are not the same throughout: “\(shortened(other.name))” has \(other.cells)")
        }
        return Attentions(
            values: values, heads: heads, count: tokens.count, tokens: tokens,
            read: readTokens(Array(path[(last + 1)...]), of: tokens, byValue))
    }

    /// The tokens that are taken out of all after the last attention; all of them if none are.
    private func readTokens(_ rest: [Int], of tokens: TokenGrid, _ layers: [String: Layer]) -> [Int] {
        var read: Set<Int> = []
        for i in rest {
            let node = nodes[i]
            guard let source = node.inputs.first, let shape = layers[source]?.valueShape, shape.rank == 3,
                shape.dims[1] == tokens.count, node.operation is Gather || node.operation is Slice,
                node.inputs.count > 1, let indices = try? constants[node.inputs[1]]?.ints()
            else { continue }
            if node.operation is Gather {
                read.formUnion(indices.map { $0 < 0 ? $0 + tokens.count : $0 })
            } else if let made = layers[node.makes[0]]?.valueShape, made.dims[1] < tokens.count,
                let from = indices.first
            {
                let start = from < 0 ? from + tokens.count : from
                read.formUnion(start..<start + made.dims[1])
            }
        }
        let extra = read.filter { !tokens.places.contains($0) }
        return extra.isEmpty ? Array(0..<tokens.count) : extra.sorted()
    }
}
