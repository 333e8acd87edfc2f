// Systems of linear equations whose matrix is symmetric and not negative.

/// A x = b by A = L D Lᵀ, in double precision. Rows are taken in their order, and every sum runs in the order of its terms.
package struct SymmetricSystem: Sendable {
    /// L below the diagonal, D on it, row by row.
    private var factors: [Double]
    private let size: Int
    /// Whether some unknown was not determined by A: it is then 0.
    package private(set) var isSingular = false

    /// - Parameter matrix: size × size; only what is on and below the diagonal is read.
    package init(_ matrix: [Double], size: Int) {
        precondition(matrix.count == size * size)
        (factors, self.size) = (matrix, size)
        // What cancels to less than this is rounding.
        let least = 1e-12 * (0..<size).reduce(0) { max($0, matrix[$1 * size + $1]) }
        var singular = false
        factors.withUnsafeMutableBufferPointer { a in
            for i in 0..<size {
                let row = a.baseAddress! + i * size
                for j in 0..<i {
                    let other = a.baseAddress! + j * size
                    var sum = row[j]
                    // row[k] is L D until the row is done.
                    for k in 0..<j { sum -= row[k] * other[k] }
                    row[j] = sum
                }
                var pivot = row[i]
                for j in 0..<i {
                    let d = a[j * size + j]
                    let l = d > 0 ? row[j] / d : 0
                    pivot -= l * row[j]
                    row[j] = l
                }
                if pivot <= least { (pivot, singular) = (0, true) }
                row[i] = pivot
            }
        }
        isSingular = singular
    }

    package func solve(_ right: [Double]) -> [Double] {
        var x = right
        for i in 0..<size {
            for j in 0..<i { x[i] -= factors[i * size + j] * x[j] }
        }
        for i in 0..<size {
            let d = factors[i * size + i]
            x[i] = d > 0 ? x[i] / d : 0
        }
        for i in (0..<size).reversed() {
            for j in i + 1..<max(size, i + 1) { x[i] -= factors[j * size + i] * x[j] }
        }
        return x
    }

    /// A⁻¹, row by row.
    package var inverse: [Double] {
        (0..<size).flatMap { i in
            solve((0..<size).map { $0 == i ? 1 : 0 })
        }
    }
}
