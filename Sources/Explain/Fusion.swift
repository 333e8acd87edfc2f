// Maps of several layers made one.

import Imaging

extension Attribution {
    /// The grid of fused maps: the largest of theirs.
    static func fusedGrid(_ grids: [Grid]) -> Grid {
        guard grids.count > 1 else { return grids[0] }
        let largest = grids.max { $0.cells < $1.cells }!
        return .layers(
            grids.map(\.title), frames: largest.frames, height: largest.size.height, width: largest.size.width
        )
    }

    /// The maps of one method, made of several layers, as one map of each picture and target: each map is scaled to 0 … 1 (from its
    /// minimum, or from 0 if it is signed), enlarged bilinearly (of a video, trilinearly) to the largest grid, and their mean is taken, added in the order of
    /// the layers.
    /// - Parameter maps: of each layer; all have the same pictures and targets in the same order.
    static func fused(_ maps: [[Attribution]], sign: MapSign) -> [Attribution] {
        guard maps.count > 1 else { return maps.first ?? [] }
        return maps[0].indices.map { i in
            let parts = maps.map { $0[i] }
            let grid = fusedGrid(parts.map(\.grid))
            let (frames, rows) = (grid.frames, grid.size.height / (grid.frames ?? 1))
            let sides = (frames.map { [$0] } ?? []) + [rows, grid.size.width]
            var sum = [Float](repeating: 0, count: grid.cells)
            // Layers share their samples, so their errors may be the same one: the mean of them is the most that it can be.
            var error: [Float]? = parts.allSatisfy { $0.sampleError != nil } ? sum : nil
            for part in parts {
                precondition(part.picture == parts[0].picture && part.target == parts[0].target)
                let size = part.grid.size
                let plane = Plane(width: size.width, height: size.height, values: part.values)
                let scaled = plane.normalised(signed: sign == .evidence)
                // What is not finite must be seen, and not vanish in a mean.
                guard scaled.notFinite == 0 else {
                    sum = sum.map { _ in .nan }
                    continue
                }
                let large = scaled.plane.resized(frames: part.grid.frames, to: sides)
                for k in sum.indices { sum[k] += large.values[k] }
                if let own = part.sampleError {
                    let range = scaled.maximum - scaled.minimum
                    let errors = Plane(
                        width: size.width, height: size.height, values: own.map { range > 0 ? $0 / range : 0 }
                    )
                    .resized(frames: part.grid.frames, to: sides)
                    for k in sum.indices { error?[k] += errors.values[k] }
                }
            }
            var fused = Attribution(
                picture: parts[0].picture, target: parts[0].target, grid: grid,
                values: sum.map { $0 / Float(parts.count) },
                blankReason: "of every layer: " + parts[0].blankReason)
            fused.samples = parts[0].samples
            fused.sampleError = error.map { $0.map { $0 / Float(parts.count) } }
            fused.note = parts.compactMap(\.note).first
            return fused
        }
    }
}
