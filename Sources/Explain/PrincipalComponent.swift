// The first principal component of a layer's activations, in double precision and one fixed order, so that it has the same bits
// wherever it is computed.

/// A symmetric matrix, row by row.
struct SymmetricMatrix {
    let size: Int
    var values: [Double]

    /// The products of all pairs of rows.
    /// - Parameter rows: each of the same length.
    init(productsOf rows: [[Double]]) {
        size = rows.count
        values = Array(repeating: 0, count: size * size)
        for i in 0..<size {
            rows[i].withUnsafeBufferPointer { a in
                for j in i..<size {
                    let product = rows[j].withUnsafeBufferPointer { b in SymmetricMatrix.dot(a, b) }
                    values[i * size + j] = product
                    values[j * size + i] = product
                }
            }
        }
    }

    /// Eight sums side by side, each of every eighth product, added in order at the end.
    private static func dot(_ a: UnsafeBufferPointer<Double>, _ b: UnsafeBufferPointer<Double>) -> Double {
        var sums = SIMD8<Double>.zero
        let whole = a.count / 8 * 8
        for i in stride(from: 0, to: whole, by: 8) {
            let x = UnsafeRawPointer(a.baseAddress! + i).loadUnaligned(as: SIMD8<Double>.self)
            let y = UnsafeRawPointer(b.baseAddress! + i).loadUnaligned(as: SIMD8<Double>.self)
            sums += x * y
        }
        var sum = 0.0
        for k in 0..<8 { sum += sums[k] }
        for i in whole..<a.count { sum += a[i] * b[i] }
        return sum
    }

    /// Takes the means of rows and columns out: the products of what differs from the mean of all rows (Schölkopf et al. 1998).
    mutating func centre() {
        let means = (0..<size).map { i in values[i * size..<(i + 1) * size].reduce(0, +) / Double(size) }
        let mean = means.reduce(0, +) / Double(size)
        for i in 0..<size {
            for j in 0..<size { values[i * size + j] += mean - means[i] - means[j] }
        }
    }

    /// The eigenvector of the largest eigenvalue, of length 1, and that eigenvalue; nil if it is not above 0.
    ///
    /// Power iteration, from the column with the largest element of the diagonal. Where the eigenvalue of the largest size is
    /// negative, all are raised by its size first.
    func largestEigenvector() -> (vector: [Double], value: Double)? {
        guard values.allSatisfy(\.isFinite),
            let start = (0..<size).max(by: { values[$0 * size + $0] < values[$1 * size + $1] })
        else { return nil }
        var shift = 0.0
        while true {
            var vector = Array(values[start * size..<(start + 1) * size])
            guard SymmetricMatrix.normalise(&vector) else { return nil }
            var value = 0.0
            for _ in 0..<2000 {
                var next = (0..<size).map { i in
                    var sum = shift * vector[i]
                    for j in 0..<size { sum += values[i * size + j] * vector[j] }
                    return sum
                }
                value = zip(vector, next).reduce(0) { $0 + $1.0 * $1.1 }
                guard SymmetricMatrix.normalise(&next) else { return nil }
                let sign: Double = value < 0 ? -1 : 1
                let change = zip(vector, next).reduce(0) { max($0, abs($1.0 - sign * $1.1)) }
                vector = next
                if change < 1e-12 { break }
            }
            if value < 0 {
                shift = -2 * value
                continue
            }
            return value - shift > 0 ? (vector, value - shift) : nil
        }
    }

    /// - Returns: whether there is anything to make 1.
    private static func normalise(_ vector: inout [Double]) -> Bool {
        // Twice, since squares of small numbers vanish.
        let largest = vector.reduce(0) { max($0, abs($1)) }
        guard largest > 0, largest.isFinite else { return false }
        for i in vector.indices { vector[i] /= largest }
        let length = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
        for i in vector.indices { vector[i] /= length }
        return true
    }
}

/// Where a layer's cells lie along the direction in which they differ most.
enum PrincipalComponent {
    /// The projection of each cell [H·W] on the first principal component of the cells, which have a number in each channel, the
    /// means of the channels removed (`sign` says which way is up); zeros if all cells are alike.
    /// - Parameter activations: [C, H, W], row by row.
    static func projection(_ activations: [Float], channels: Int) -> [Float] {
        let cells = activations.count / channels
        let centred = (0..<channels).map { c in
            let row = activations[c * cells..<(c + 1) * cells].map(Double.init)
            let mean = row.reduce(0, +) / Double(cells)
            return row.map { $0 - mean }
        }
        var projection: [Double]
        if channels < cells {
            guard let found = SymmetricMatrix(productsOf: centred).largestEigenvector() else {
                return Array(repeating: 0, count: cells)
            }
            projection = Array(repeating: 0, count: cells)
            for c in 0..<channels {
                for i in 0..<cells { projection[i] += found.vector[c] * centred[c][i] }
            }
        } else {
            let rows = transposed(centred, cells)
            guard let found = SymmetricMatrix(productsOf: rows).largestEigenvector() else {
                return Array(repeating: 0, count: cells)
            }
            let length = found.value.squareRoot()
            projection = found.vector.map { $0 * length }
        }
        return oriented(projection, activations, channels)
    }

    static func transposed(_ rows: [[Double]], _ length: Int) -> [[Double]] {
        (0..<length).map { i in rows.map { $0[i] } }
    }

    /// The sign of a component is nobody's: here the cells that lie above 0 are those where the layer is more active, its channels
    /// summed; if that tells nothing, the cell farthest from 0 lies above it.
    static func oriented(_ projection: [Double], _ activations: [Float], _ channels: Int) -> [Float] {
        let cells = projection.count
        var sums = [Double](repeating: 0, count: cells)
        for c in 0..<channels { for i in 0..<cells { sums[i] += Double(activations[c * cells + i]) } }
        let mean = sums.reduce(0, +) / Double(cells)
        var covariance = 0.0
        for i in 0..<cells { covariance += projection[i] * (sums[i] - mean) }
        if covariance == 0 { covariance = projection.max { abs($0) < abs($1) } ?? 0 }
        return projection.map { Float(covariance < 0 ? -$0 : $0) }
    }
}
