// The layers of a network as people see them, and the one that is explained by default.

import Kernels
import Synchronization
import Text

/// A row of `app layers`.
package struct Layer: Sendable {
    package let index: Int
    package let name: String
    /// The operator's name.
    package let type: String
    /// The value that it makes, by its name in the file.
    package let value: String
    /// The shape of that, for a batch of one.
    package let valueShape: Shape
    package let parameters: Int
    /// Whether it is no other layer's activation, pooled or passed on.
    let isActivation: Bool
    /// Whether all ways to the score lead through it, and its cells matter to what comes after.
    let isOnEveryWay: Bool
    /// Whether its cells reach the score: past what is made of them to tokens that are read.
    package let reachesScore: Bool
    /// What the value is to the picture.
    let form: GridForm
    /// The modules that it belongs to, from the outermost, as the exporter named them.
    package let modules: [String]

    /// How its tokens are an image, if it has such.
    package var tokens: TokenGrid? { if case .tokens(let grid) = form { grid } else { nil } }
    /// Whether it is an image, or can be seen as one: what maps can be made of.
    package var isSpatial: Bool { form != .none }
    /// The value that methods explain, which for tokens is there in `Network.showing`.
    package var output: String { tokens == nil ? value : Network.gridName(value) }
    /// The shape of that: [N, C, H, W] if it is spatial.
    package var shape: Shape {
        guard let tokens else { return valueShape }
        return [valueShape.dims[0], valueShape.dims[tokens.channels], tokens.height, tokens.width]
    }
    /// Cells of a map.
    package var cells: Int { isSpatial ? shape.dims[2] * shape.dims[3] : 0 }
    /// Of a volume, how many frames it has, which lie below each other in `shape`; nil for all else.
    package var frames: Int? { tokens?.frames }
    /// The grid in words, such as 7×7, or 2×7×7 of a volume.
    package var grid: String {
        let (height, width) = (shape.dims[2], shape.dims[3])
        return frames.map { "\($0)×\(height / $0)×\(width)" } ?? "\(height)×\(width)"
    }
    /// Its module in dots, such as `layer4.2.conv3`, and the name of its operator's node behind that.
    package var module: String { modules.last ?? "" }
}

/// A layer and why it was taken.
package struct LayerChoice: Sendable {
    package let layer: Layer
    package let reason: String
    package init(layer: Layer, reason: String) { (self.layer, self.reason) = (layer, reason) }
}

/// The layers of a network at the sizes that somebody asked for: to find them, the whole network is walked.
final class KnownLayers: Sendable {
    private let known = Mutex<[[Int?]: [Layer]]>([:])

    func layers(height: Int?, width: Int?, _ find: () throws -> [Layer]) rethrows -> [Layer] {
        if let layers = known.withLock({ $0[[height, width]] }) { return layers }
        let layers = try find()
        known.withLock { $0[[height, width]] = layers }
        return layers
    }
}

extension Network {
    /// All layers, in the order in which they run.
    package func layers(height: Int? = nil, width: Int? = nil) throws -> [Layer] {
        try knownLayers.layers(height: height, width: width) {
            try findLayers(height: height, width: width)
        }
    }

    private func findLayers(height: Int?, width: Int?) throws -> [Layer] {
        let plan = try sketch(batch: 1, height: height, width: width)
        let positions = try positions(plan)
        let volumes = takesVideos ? volumes(plan) : [:]
        let cellsEnd = positions?.endsInExtraTokens ?? false
        let everyWay = valuesOnEveryWay(cellsEnd: cellsEnd)
        let reaching = cellsEnd ? valuesBeforeMeetings() : nil
        var layers: [Layer] = []
        for node in nodes {
            guard let output = node.outputs.first(where: { !$0.isEmpty }), let shape = plan.shape(output),
                !(node.operation is TokensAsGrid), !(node.operation is GridAsTokens)
            else { continue }
            layers.append(
                Layer(
                    index: layers.count, name: node.name, type: node.type, value: output, valueShape: shape,
                    parameters: node.parameters,
                    isActivation: node.operation.role.makesActivation || joins(node),
                    isOnEveryWay: everyWay.contains(output),
                    reachesScore: reaching?.contains(output) ?? true,
                    form: takesVideos
                        ? volumes[output] ?? .none
                        : positions?.forms[output]
                            ?? (shape.rank == 4 && shape.dims[0] == 1 ? .image : .none),
                    modules: node.modules))
        }
        return layers
    }

    /// Whether it puts several activations together, side by side.
    private func joins(_ node: NetworkNode) -> Bool {
        node.operation is Concat && node.reads.count { constants[$0] == nil } > 1
    }

    /// The values through which all ways from the input to the score lead.
    /// - Parameter cellsEnd: whether the score reads only tokens that are no cells; then those are left out in which no cell reaches such a
    ///   token any more: after the last product of two activations, which is where tokens meet.
    private func valuesOnEveryWay(cellsEnd: Bool) -> Set<String> {
        let path = path(from: [inputName])
        var lastRead = [inputName: -1]
        for (at, i) in path.enumerated() {
            for name in nodes[i].reads { lastRead[name] = at }
        }
        let lastMeeting = cellsEnd ? path.lastIndex { tokensMeet(nodes[$0]) } ?? path.count : path.count
        var found: Set<String> = []
        // The latest place where anything is read that was made so far.
        var open = lastRead[inputName]!
        for (at, i) in path.enumerated() where at < lastMeeting {
            if open <= at, nodes[i].makes.count == 1 { found.insert(nodes[i].makes[0]) }
            for name in nodes[i].makes { open = max(open, lastRead[name] ?? -1) }
        }
        return found
    }

    /// Whether tokens meet there: a product of two activations, or attention as one operator.
    private func tokensMeet(_ node: NetworkNode) -> Bool {
        node.operation is MatMul && node.reads.allSatisfy { constants[$0] == nil }
            || node.type.hasSuffix("Attention")
    }

    /// The values of which something is made that meets other tokens on a way to the score. Where the score reads only tokens that are no cells,
    /// cells reach it nowhere else.
    private func valuesBeforeMeetings() -> Set<String> {
        var found: Set<String> = []
        for i in path(from: [inputName]).reversed()
        where tokensMeet(nodes[i]) || nodes[i].outputs.contains(where: found.contains) {
            found.formUnion(nodes[i].reads)
        }
        return found
    }

    /// The layer that `auto` takes: the last activation with a grid larger than 1×1 through which all ways to the score lead; if there is
    /// none, the last on any way.
    package func automaticLayer(_ layers: [Layer]) throws -> LayerChoice {
        let onTheWay = Set(path(from: [inputName]).flatMap { nodes[$0].makes })
        let fitting = layers.filter {
            $0.cells > 1 && $0.isActivation && $0.reachesScore && onTheWay.contains($0.value)
        }
        guard let layer = fitting.last(where: \.isOnEveryWay) ?? fitting.last else {
            throw NetworkError(
                .noSuchLayer,
                "\(model.path): The network has no activation on the way to its score that is a grid of more than one cell, each where it lies in the picture, so there is nothing to map."
            )
        }
        let next = path(from: [layer.value]).first { nodes[$0].inputs.contains(layer.value) }.map {
            nodes[$0]
        }
        let grid = layer.grid
        var reason: String
        if let tokens = layer.tokens, layer.frames == nil {
            reason = "the last tokens that form a grid (\(grid)"
            if tokens.extra > 0 {
                reason += ", \(tokens.extra) more stand\(tokens.extra == 1 ? "s" : "") for no place"
            }
            reason += ")"
        } else {
            reason = "the last activation with a grid (\(grid))"
        }
        reason += layer.isOnEveryWay ? " on every way to the score" : " on a way to the score, of several"
        return LayerChoice(
            layer: layer,
            reason: reason + (next.map { ", before the \(shortened($0.type)) “\(shortened($0.name))”" } ?? "")
        )
    }

    /// The last activation at each size of grid with more than one cell, of those on ways from the input to the score; the finest
    /// grid first.
    package func stages(height: Int? = nil, width: Int? = nil) throws -> [Layer] {
        let onTheWay = Set(path(from: [inputName]).flatMap { nodes[$0].makes })
        var last: [String: Layer] = [:]
        for layer in try layers(height: height, width: width)
        where layer.cells > 1 && layer.isActivation && onTheWay.contains(layer.value) {
            last[layer.grid] = layer
        }
        return last.values.sorted { $0.index < $1.index }
    }

    /// Whether all that follows a value on the ways to the score is linear, and averages its grid to one cell.
    package func endsInLinearAverage(after value: String) -> Bool {
        let path = path(from: [value]).map { nodes[$0] }
        guard !path.isEmpty,
            path.allSatisfy({ node in
                // What is linear needs no numbers of its inputs to go back, but for the product with a matrix that is a constant.
                node.operation.gradientNeeds.isEmpty
                    || (node.operation is any LinearOperator && node.reads.contains { constants[$0] != nil })
            })
        else { return false }
        return path.contains { if case .pools = $0.operation.role { true } else { false } }
    }

    /// The layer that a person names: by `auto`, its index, its name, the name of the value that it makes, or that of a module, of which it
    /// is the last activation with a grid.
    package func layer(named text: String, of layers: [Layer]) throws -> LayerChoice {
        if text == "auto" { return try automaticLayer(layers) }
        let found =
            layers.first { $0.name == text } ?? layers.first { $0.value == text }
            ?? Int(text).flatMap { layers.indices.contains($0) ? layers[$0] : nil }
        guard let found else {
            if text.lowercased() == "auto" { return try automaticLayer(layers) }
            let inside = layers.filter { $0.modules.contains(text) }
            if let last = inside.last(where: { $0.cells > 1 && $0.isActivation })
                ?? inside.last(where: { $0.cells > 1 })
            {
                return LayerChoice(
                    layer: last, reason: "the last activation with a grid of the module \(shortened(text))")
            }
            guard inside.isEmpty else {
                throw NetworkError(
                    .noSuchLayer,
                    "\(model.path): No layer of the module “\(shortened(text))” has a grid of cells, so no map can be made of it."
                )
            }
            let names = layers.map(\.name)
            let near = nearMatches(
                text, among: names + Set(layers.flatMap(\.modules)).subtracting(names).sorted())
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
                "\(model.path): The layer “\(shortened(found.name))” has the shape \(found.shape), which is no grid of cells that lie as those of the picture do, so no map can be made of it."
            )
        }
        return LayerChoice(layer: found, reason: "as asked")
    }
}

extension NetworkNode {
    /// The modules that it belongs to, from the outermost, by the exporter's names in dots: as the file says beside the node, or by its name: of
    /// `/layer4/layer4.2/conv3/Conv` these are `layer4`, `layer4.2` and `layer4.2.conv3`.
    var modules: [String] {
        guard statedModules.isEmpty else { return statedModules }
        guard name.hasPrefix("/") else { return [] }
        var modules: [String] = []
        for part in name.split(separator: "/").dropLast() {
            guard let outer = modules.last else {
                modules.append(String(part))
                continue
            }
            // A member of a list bears the list's name again.
            modules.append(
                part.hasPrefix(outer.split(separator: ".").last! + ".") || part.hasPrefix(outer + ".")
                    ? outer.split(separator: ".").dropLast().map { $0 + "." }.joined() + part
                    : outer + "." + part)
        }
        return modules
    }
}
