// Iteration spaces of the element-wise kernels and the reductions.

import CMicrokernels

/// An iteration space with the strides of up to three operands, as simple as it can be made: dimensions of extent 1 are
/// gone, neighbours that every operand walks through evenly are merged, and the innermost one is the one in which `y` is
/// contiguous, if any is.
package struct Grid: Sendable {
    package private(set) var raw = wb_grid()
    package let count: Int

    /// Strides are in elements, one for each of `dims`; the order of `dims` does not matter.
    package init(dims: [Int], x: [Int], z: [Int]? = nil, y: [Int], x0: Int = 0, z0: Int = 0, y0: Int = 0) {
        count = dims.reduce(1, *)
        let z = z ?? dims.map { _ in 0 }
        let order = dims.indices.filter { dims[$0] != 1 }.sorted { (y[$0], x[$0]) > (y[$1], x[$1]) }
        var merged: [(dim: Int, x: Int, z: Int, y: Int)] = []
        for d in order {
            if let last = merged.last, last.x == x[d] * dims[d], last.z == z[d] * dims[d],
                last.y == y[d] * dims[d]
            {
                merged[merged.count - 1] = (last.dim * dims[d], x[d], z[d], y[d])
            } else {
                merged.append((dims[d], x[d], z[d], y[d]))
            }
        }
        if merged.isEmpty { merged = [(1, 1, 1, 1)] }
        precondition(merged.count <= Int(WB_RANK), "A grid has at most \(WB_RANK) dimensions.")
        let pad = Int(WB_RANK) - merged.count
        let all = Array(repeating: (dim: 1, x: 0, z: 0, y: 0), count: pad) + merged
        raw.rank = Int32(merged.count)
        Grid.set(&raw.dims, all.map(\.dim))
        Grid.set(&raw.x, all.map(\.x))
        Grid.set(&raw.z, all.map(\.z))
        Grid.set(&raw.y, all.map(\.y))
        (raw.x0, raw.z0, raw.y0) = (Int32(x0), Int32(z0), Int32(y0))
    }

    /// The extent of the innermost dimension, and the number of its runs.
    var inner: Int { Grid.get(raw.dims)[Int(WB_RANK) - 1] }
    var outer: Int { count == 0 ? 0 : count / inner }

    /// The strides of the innermost dimension.
    var strides: (x: Int, z: Int, y: Int) {
        let last = Int(WB_RANK) - 1
        return (Grid.get(raw.x)[last], Grid.get(raw.z)[last], Grid.get(raw.y)[last])
    }

    /// Elements `range` of the innermost dimension only.
    func innerPart(_ range: Range<Int>) -> wb_grid {
        var part = raw
        let last = Int(WB_RANK) - 1
        var dims = Grid.get(raw.dims)
        dims[last] = range.count
        Grid.set(&part.dims, dims)
        part.x0 += Int32(range.lowerBound * Grid.get(raw.x)[last])
        part.z0 += Int32(range.lowerBound * Grid.get(raw.z)[last])
        part.y0 += Int32(range.lowerBound * Grid.get(raw.y)[last])
        return part
    }

    // C's arrays of WB_RANK ints arrive in Swift as tuples.
    private typealias Six = (Int32, Int32, Int32, Int32, Int32, Int32)
    private static func set(_ to: inout Six, _ values: [Int]) {
        withUnsafeMutableBytes(of: &to) {
            $0.copyBytes(from: values.map { Int32($0) }.withUnsafeBytes { Array($0) })
        }
    }
    private static func get(_ from: Six) -> [Int] {
        withUnsafeBytes(of: from) { $0.bindMemory(to: Int32.self).map(Int.init) }
    }
}
