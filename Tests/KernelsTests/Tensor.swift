// Tensors in double precision, row-major: what the references compute with. They share no code with what is tested.

struct Tensor: Sendable {
    var dims: [Int]
    var values: [Double]
    /// Σ |terms| of each value: what its rounding errors are measured by.
    var magnitudes: [Double]

    init(_ dims: [Int], _ values: [Double]) {
        (self.dims, self.values, magnitudes) = (dims, values, values.map(abs))
    }

    init(zeros dims: [Int]) { self.init(dims, Array(repeating: 0, count: dims.reduce(1, *))) }

    /// Each element from its index.
    init(_ dims: [Int], _ element: ([Int]) -> Double) {
        self.init(zeros: dims)
        var i = 0
        forEachIndex(dims) { index in
            values[i] = element(index)
            magnitudes[i] = abs(values[i])
            i += 1
        }
    }

    /// Each element as a sum of terms.
    init(sums dims: [Int], _ terms: ([Int], (Double) -> Void) -> Void) {
        self.init(zeros: dims)
        var i = 0
        forEachIndex(dims) { index in
            var (sum, magnitude) = (0.0, 0.0)
            terms(index) {
                sum += $0
                magnitude += abs($0)
            }
            (values[i], magnitudes[i]) = (sum, magnitude)
            i += 1
        }
    }

    func place(_ index: [Int]) -> Int {
        var at = 0
        for d in dims.indices { at = at * dims[d] + index[d] }
        return at
    }

    subscript(index: [Int]) -> Double { values[place(index)] }

    /// The element that serves `index` of a tensor that this one broadcasts to.
    func broadcast(_ index: [Int]) -> Double {
        let own = index.suffix(dims.count)
        return self[zip(own, dims).map { $1 == 1 ? 0 : $0 }]
    }
}

/// Row-major order.
func forEachIndex(_ dims: [Int], _ body: ([Int]) -> Void) {
    guard dims.allSatisfy({ $0 > 0 }) else { return }
    var index = [Int](repeating: 0, count: dims.count)
    while true {
        body(index)
        var d = dims.count - 1
        while d >= 0 {
            index[d] += 1
            if index[d] < dims[d] { break }
            index[d] = 0
            d -= 1
        }
        if d < 0 { return }
    }
}
