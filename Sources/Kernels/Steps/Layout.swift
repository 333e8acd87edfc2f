// How values lie in memory, and how results follow: a step that passes element by element writes its result in the order in which
// its operand lies, so that a transposed activation, such as the heads of a transformer, need not be copied for each.

extension Tape {
    /// The dimensions in the order in which a value lies, the outermost first; nil where elements share places, or lie backwards.
    /// Whether there are gaps between them is another matter.
    package func order(_ value: Value) -> [Int]? {
        let (dims, strides) = (shape(value).dims, strides(value))
        guard zip(dims, strides).allSatisfy({ $0 == 1 || $1 > 0 }) else { return nil }
        // A dimension of one place goes with the one behind it.
        var place = strides
        for d in dims.indices.reversed() where dims[d] == 1 {
            place[d] = d + 1 < dims.count ? place[d + 1] : 1
        }
        let order = dims.indices.sorted { (-place[$0], $0) < (-place[$1], $1) }
        // Each must be past the one inside it, or some elements are in each other's place.
        for (outer, inner) in zip(order, order.dropFirst())
        where dims[outer] > 1 && dims[inner] > 1 && strides[outer] < strides[inner] * dims[inner] {
            return nil
        }
        return order
    }

    /// A value that a step writes, whose dimensions lie in an order.
    package mutating func value(_ shape: Shape, order: [Int], of element: Element = .float32)
        -> Value
    {
        var (strides, next) = (shape.dims, 1)
        for d in order.reversed() {
            strides[d] = next
            next *= shape.dims[d]
        }
        return view(value([shape.count], of: element), as: shape, strides: strides, offset: 0)
    }

    /// A value of the shape of one of the operands that a step writes in the order in which that lies: the first such.
    package mutating func value(_ shape: Shape, like operands: [Value]) -> Value {
        guard let first = operands.first(where: { self.shape($0) == shape }), !isDense(first),
            let order = order(first)
        else { return value(shape) }
        return value(shape, order: order)
    }

    /// The same numbers with the dimensions in an order, without gaps; a copy where they are not so.
    package mutating func arranged(_ x: Value, _ order: [Int]) -> Value {
        let shape = self.shape(x)
        var (strides, next) = (shape.dims, 1)
        for d in order.reversed() {
            strides[d] = next
            next *= shape.dims[d]
        }
        if offset(x) == 0, shape.strides(self.strides(x), equal: strides) { return x }
        let copy = value(shape, order: order, of: element(x))
        self.copy(x, into: copy, strides: strides)
        return copy
    }

    /// The same numbers, row-major.
    package mutating func rowMajor(_ x: Value) -> Value { arranged(x, Array(shape(x).dims.indices)) }

    /// Rows along one dimension, as dense numbers [outer, length, inner] in whatever order the others lie: what treats each row alike, such
    /// as a softmax, need not know it.
    struct Rows {
        /// Of that shape.
        let value: Value
        private let permuted: Shape, inverse: [Int], axis: Int, order: [Int]

        /// - Parameter order: one in which others are to lie too.
        init(_ tape: inout Tape, _ x: Value, axis: Int, order wanted: [Int]? = nil) {
            let dims = tape.shape(x).dims
            let order = wanted ?? tape.order(x) ?? Array(dims.indices)
            let inverse = dims.indices.map { d in order.firstIndex(of: d)! }
            let permuted = Shape(order.map { dims[$0] })
            let at = inverse[axis]
            let dense = tape.transpose(tape.arranged(x, order), order)
            value = tape.reshape(
                dense,
                to: [
                    permuted.dims[..<at].reduce(1, *), dims[axis], permuted.dims[(at + 1)...].reduce(1, *),
                ])
            (self.permuted, self.inverse, self.axis, self.order) = (permuted, inverse, at, order)
        }

        /// Of the last dimension, which then lies innermost: [rows, length, 1].
        init(_ tape: inout Tape, ofLast x: Value) {
            let last = tape.shape(x).rank - 1
            let order = tape.order(x) ?? Array(0...last)
            self.init(&tape, x, axis: last, order: order.filter { $0 != last } + [last])
        }

        /// Those of another value, in the same order.
        func same(_ tape: inout Tape, _ x: Value) -> Value {
            Rows(&tape, x, axis: order[axis], order: order).value
        }

        /// Rows of any length, [outer, length, inner], under the shape and in the order of these.
        func restored(_ tape: inout Tape, _ rows: Value) -> Value {
            var dims = permuted.dims
            dims[axis] = tape.shape(rows).dims[1]
            return tape.transpose(tape.reshape(rows, to: Shape(dims)), inverse)
        }
    }
}
