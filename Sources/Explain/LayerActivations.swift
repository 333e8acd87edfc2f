// What methods do with a layer's activations on the host.

import CMicrokernels
import Imaging
import Inference
import Kernels

/// A method whose map is made on the host, of a layer's activations and, if it says so, of the gradient with respect to them.
package protocol HostLayerMethod: Explainer {
    var layer: TargetLayer { get }
    /// Whether it reads `ExplainedBatch.gradient` of the layer.
    var readsGradient: Bool { get }
}

extension HostLayerMethod {
    package static var family: MethodFamily { .activation }
    package var readsGradient: Bool { false }
    package var grid: Attribution.Grid { layer.grid }

    package func request(_ spec: inout PassSpec) {
        spec.stored.formUnion([layer.output, layer.feed])
        if readsGradient, !spec.gradients.contains(layer.output) { spec.gradients.append(layer.output) }
    }
}

/// Σ_c w_c A_c, in the order of the channels.
/// - Parameters:
///   - activations: [C, H, W], row by row.
///   - clip: keep only what is above 0.
func weightedChannels(_ activations: ArraySlice<Float>, _ weights: [Float], clip: Bool) -> [Float] {
    let cells = activations.count / weights.count
    var map = [Float](repeating: 0, count: cells)
    activations.withUnsafeBufferPointer { activations in
        for (c, weight) in weights.enumerated() where weight != 0 {
            for i in 0..<cells { map[i] += weight * activations[c * cells + i] }
        }
    }
    return clip ? map.map { $0 > 0 ? $0 : 0 } : map
}

/// exp(x_i − max x) / Σ exp(x_j − max x), the sum in order.
func softmax(_ x: [Float]) -> [Float] {
    let largest = x.max() ?? 0
    let powers = x.map { wb_host_exp($0 - largest) }
    let sum = powers.reduce(0, +)
    return powers.map { $0 / sum }
}

extension TargetLayer {
    package var grid: Attribution.Grid { .layers([name], frames: frames, height: height, width: width) }

    /// The activations of a picture [C, H, W], of a pass that stores them.
    func activations(of batch: ExplainedBatch) throws -> [[Float]] { try stored(output, of: batch) }

    /// What the rest of the network is computed from, of each picture.
    func fed(of batch: ExplainedBatch) throws -> [[Float]] { try stored(feed, of: batch) }

    private func stored(_ value: String, of batch: ExplainedBatch) throws -> [[Float]] {
        let all = try batch.pass.stored(value)!
        let size = all.count / batch.size
        return batch.pictures.map { Array(all[$0 * size..<($0 + 1) * size]) }
    }
}

/// Tokens whose cells are fed as an image, and the others as they are: it is fed [N, C, H, W], and the tokens.
struct CellsInTokens: PassSource {
    let tokens: TokenGrid
    /// The shape of the image.
    let cells: Shape
    var label: String { "variants of the layer" }
    func fed(_ shape: Shape) -> [Shape] { [cells, shape] }
    func add(to tape: inout Tape, fed: [Value], shape: Shape) throws -> Value {
        try tokens.tokens(&tape, cells: fed[0], rest: fed[1], shape: shape)
    }
}
