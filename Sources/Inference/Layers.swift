// The layers of a network as people see them, and the one that is explained by default.

import Kernels
import Text

/// A row of `app layers`.
package struct Layer: Sendable {
    package let index: Int
    package let name: String
    /// The operator's name.
    package let type: String
    /// The value that it makes, by its name in the file.
    package let output: String
    /// For a batch of one.
    package let shape: Shape
    package let parameters: Int
    /// Whether it is no other layer's activation, pooled or passed on.
    let isActivation: Bool

    /// Whether it is [N, C, H, W]: what maps can be made of.
    package var isSpatial: Bool { shape.rank == 4 }
}

/// A layer and why it was taken.
package struct LayerChoice: Sendable {
    package let layer: Layer
    package let reason: String
    package init(layer: Layer, reason: String) { (self.layer, self.reason) = (layer, reason) }
}

extension Network {
    /// All layers, in the order in which they run.
    package func layers(height: Int? = nil, width: Int? = nil) throws -> [Layer] {
        let names = nodes.flatMap(\.outputs).filter { !$0.isEmpty }
        let plan = try Planner(self, batch: 1, height: height, width: width, stored: Set(names), sketch: true)
        var layers: [Layer] = []
        for node in nodes {
            guard let output = node.outputs.first(where: { !$0.isEmpty }), let shape = plan.shape(output)
            else { continue }
            layers.append(
                Layer(
                    index: layers.count, name: node.name, type: node.type, output: output, shape: shape,
                    parameters: node.parameters, isActivation: node.operation.role.makesActivation))
        }
        return layers
    }

    /// The layer that `auto` takes: the last activation with a grid larger than 1×1 on the way to the score.
    package func automaticLayer(_ layers: [Layer]) throws -> LayerChoice {
        var ancestors: Set<String> = [logitsName]
        var fromInput: Set<String> = [inputName]
        for node in nodes.reversed() where node.outputs.contains(where: ancestors.contains) {
            ancestors.formUnion(node.reads)
        }
        for node in nodes where node.inputs.contains(where: fromInput.contains) {
            fromInput.formUnion(node.makes)
        }
        guard
            let layer = layers.last(where: {
                $0.isSpatial && $0.shape.dims[2] * $0.shape.dims[3] > 1 && ancestors.contains($0.output)
                    && fromInput.contains($0.output) && $0.isActivation
            })
        else {
            throw NetworkError(
                .noSuchLayer,
                "\(model.path): The network has no activation with a grid larger than 1×1 on the way to its score, so there is nothing to map."
            )
        }
        let next = nodes.first {
            $0.inputs.contains(layer.output) && $0.outputs.contains(where: ancestors.contains)
        }
        let grid = "\(layer.shape.dims[2])×\(layer.shape.dims[3])"
        return LayerChoice(
            layer: layer,
            reason: "the last activation with a grid (\(grid)) on the way to the score"
                + (next.map { ", before the \(shortened($0.type)) “\(shortened($0.name))”" } ?? ""))
    }

    /// The last activation at each size of grid with more than one cell, of those on ways from the input to the score; the finest
    /// grid first.
    package func stages(height: Int? = nil, width: Int? = nil) throws -> [Layer] {
        let onTheWay = Set(path(from: [inputName]).flatMap { nodes[$0].makes })
        var last: [[Int]: Layer] = [:]
        for layer in try layers(height: height, width: width)
        where layer.isSpatial && layer.isActivation && onTheWay.contains(layer.output) {
            let grid = Array(layer.shape.dims[2...])
            if grid[0] * grid[1] > 1 { last[grid] = layer }
        }
        return last.values.sorted { $0.index < $1.index }
    }

    /// Whether something between the input and the score might make pictures of a batch depend on each other: what moves, cuts or
    /// joins axes, of which nobody knows which one holds the pictures.
    package var mayJoinPictures: Bool {
        path(from: [inputName]).contains { i in
            if case .passes = nodes[i].operation.role { return false }
            return !nodes[i].operation.keepsPicturesApart
        }
    }

    /// Whether all that follows a value on the ways to the score is linear, and averages its grid to one cell.
    package func endsInLinearAverage(after value: String) -> Bool {
        let path = path(from: [value]).map { nodes[$0] }
        guard !path.isEmpty,
            path.allSatisfy({ node in
                // What is linear needs no numbers of its inputs to go back, but for the product with a matrix that is a constant.
                node.operation.gradientNeeds.isEmpty
                    || (node.operation is MatMul && node.reads.contains { constants[$0] != nil })
            })
        else { return false }
        return path.contains { if case .pools = $0.operation.role { true } else { false } }
    }

    /// The layer that a person names: by `auto`, its index, its name, or the name of the value that it makes.
    package func layer(named text: String, of layers: [Layer]) throws -> LayerChoice {
        if text == "auto" { return try automaticLayer(layers) }
        let found =
            layers.first { $0.name == text } ?? layers.first { $0.output == text }
            ?? Int(text).flatMap { layers.indices.contains($0) ? layers[$0] : nil }
        guard let found else {
            if text.lowercased() == "auto" { return try automaticLayer(layers) }
            let near = nearMatches(text, among: layers.map(\.name))
            let hint =
                near.isEmpty
                ? "`app layers` lists them: 0 to \(layers.count - 1)."
                : "Did you mean \(near.map { "“\(shortened($0))”" }.joined(separator: ", "))?"
            throw NetworkError(
                .noSuchLayer, "\(model.path): There is no layer “\(shortened(text))” in the network. \(hint)")
        }
        guard found.isSpatial else {
            throw NetworkError(
                .noSuchLayer,
                "\(model.path): The layer “\(shortened(found.name))” has the shape \(found.shape), which is no grid of cells, so no map can be made of it."
            )
        }
        return LayerChoice(layer: found, reason: "as asked")
    }
}
