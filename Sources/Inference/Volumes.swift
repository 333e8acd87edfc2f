// Where the frames of a video lie in the values of a network that takes videos.
//
// A walk over the network with the order of axes instead of numbers. What slides over a volume [N, C, T, H, W], or computes number by number, makes
// a volume with the same axes; a transpose moves them. What else moves numbers, as windows and tokens do, leaves no volume. A value whose axes
// are again in the order of the input is one whose cells are places in the video.

import Kernels

extension Network {
    /// Whether its input has a form that videos may have: [N, C, T, H, W].
    package var takesVideos: Bool { inputDims.count == 5 }

    /// The values that are volumes [1, C, T, H, W].
    /// - Parameter plan: with the shapes of all values, for one video.
    func volumes(_ plan: Planner) -> [String: GridForm] {
        let ordered = [0, 1, 2, 3, 4]
        // The axes that stand for N, C, T, H, W, of each value of which it is known.
        var axes = [inputName: ordered]
        for i in path(from: [inputName]) {
            let node = nodes[i]
            guard let output = node.outputs.first, let shape = plan.shape(output), shape.rank == 5,
                let found = volumeAxes(node, shape, plan, axes)
            else { continue }
            axes[output] = found
        }
        var volumes: [String: GridForm] = [:]
        for (name, found) in axes where name != inputName && found == ordered {
            guard let shape = plan.shape(name), shape.dims[0] == 1 else { continue }
            volumes[name] = .tokens(TokenGrid(volume: shape))
        }
        return volumes
    }

    /// The axes of what a node makes; nil where they are not known.
    private func volumeAxes(_ node: NetworkNode, _ shape: Shape, _ plan: Planner, _ axes: [String: [Int]])
        -> [Int]?
    {
        let known = node.inputs.filter { axes[$0] != nil }
        guard let first = known.first, let before = axes[first], known.allSatisfy({ axes[$0] == before }),
            let from = plan.shape(first) ?? (first == inputName ? plan.tape.shape(plan.input) : nil)
        else { return nil }
        let isOrdered = before == [0, 1, 2, 3, 4]
        let keeps = shape.dims[before[0]] == from.dims[before[0]]
        switch node.operation {
        case let transpose as Transpose:
            let order = transpose.order ?? [4, 3, 2, 1, 0]
            return before.map { order.firstIndex(of: $0)! }
        case is Pad: return before
        case is Concat:
            // Side by side along the channels.
            let others = before.filter { $0 != before[1] }
            return others.allSatisfy { shape.dims[$0] == from.dims[$0] } ? before : nil
        case is MatMul:
            // A product with trained weights, along the channels if these come last.
            return first == node.inputs.first && before[1] == 4
                && from.dims.dropLast() == shape.dims.dropLast()
                && node.reads.count { constants[$0] == nil } == 1 ? before : nil
        default: break
        }
        if let linear = node.operation as? any LinearOperator, linear.slides {
            return isOrdered && keeps ? before : nil
        }
        switch node.operation.role {
        case .pools: return isOrdered && keeps && shape.dims[1] == from.dims[1] ? before : nil
        case .rearranges, .reshapes: return nil
        default:
            // Number by number, if the shape says so; what else is read is repeated over the whole.
            return known.contains { plan.shape($0) == shape } ? before : nil
        }
    }
}
