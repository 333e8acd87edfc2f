// Products with a constant sparse matrix: kernels/sparse.clh, which states the order of the terms.
//
// What selects, repeats, moves or mixes numbers in a way that is known before any picture is such a product: a gather, a scatter, a
// resizing along an axis. Its gradient is the product with the transposed matrix, so both are gathers by one kernel.

import CLRuntime
import CMicrokernels

/// A constant matrix most of whose numbers are 0, row by row.
package struct SparseMatrix: Hashable, Sendable {
    package let columns: Int
    /// Row r has the terms starts[r] ..< starts[r + 1].
    let starts: [Int32]
    /// The column of each term.
    let places: [Int32]
    /// The number of each term; nil if all are 1.
    let weights: [Float]?

    package var rows: Int { starts.count - 1 }

    private init(columns: Int, starts: [Int32], places: [Int32], weights: [Float]?) {
        (self.columns, self.starts, self.places, self.weights) = (columns, starts, places, weights)
    }

    /// Row r selects column `selected[r]`, or nothing where that is negative.
    package init(columns: Int, selecting selected: [Int]) {
        var starts: [Int32] = [0]
        var places: [Int32] = []
        starts.reserveCapacity(selected.count + 1)
        places.reserveCapacity(selected.count)
        for column in selected {
            if column >= 0 { places.append(Int32(column)) }
            starts.append(Int32(places.count))
        }
        self.init(columns: columns, starts: starts, places: places, weights: nil)
    }

    /// Each row adds up columns, in the order in which they are listed.
    package init(columns: Int, adding rows: [[Int]]) {
        var starts: [Int32] = [0]
        for row in rows { starts.append(starts.last! + Int32(row.count)) }
        self.init(
            columns: columns, starts: starts, places: rows.flatMap { $0.map { Int32($0) } }, weights: nil)
    }

    package init(columns: Int, rows: [[(column: Int, weight: Float)]]) {
        var starts: [Int32] = [0]
        for row in rows { starts.append(starts.last! + Int32(row.count)) }
        self.init(
            columns: columns, starts: starts, places: rows.flatMap { $0.map { Int32($0.column) } },
            weights: rows.flatMap { $0.map(\.weight) })
    }

    /// The terms of each row in the order of the rows that they come from.
    package var transposed: SparseMatrix {
        var starts = [Int32](repeating: 0, count: columns + 1)
        for place in places { starts[Int(place) + 1] += 1 }
        for column in 0..<columns { starts[column + 1] += starts[column] }
        var next = starts
        var turned = [Int32](repeating: 0, count: places.count)
        var numbers = weights.map { [Float](repeating: 0, count: $0.count) }
        for row in 0..<rows {
            for term in Int(self.starts[row])..<Int(self.starts[row + 1]) {
                let column = Int(places[term])
                let at = Int(next[column])
                next[column] += 1
                turned[at] = Int32(row)
                numbers?[at] = weights![term]
            }
        }
        return SparseMatrix(columns: rows, starts: starts, places: turned, weights: numbers)
    }

    /// The bytes of one with so many rows and terms, while it is made and used; more than there are where 32 bits do not count them.
    static func bytes(rows: Int, terms: Int) -> Int {
        max(rows, terms) < Int32.max ? 32 * (rows + terms) : Int.max / 4
    }
}

/// Such a product over neighbouring axes of a tensor: their places, counted in row-major order, are the matrix's columns, and its rows, in
/// row-major order too, are axes that take their place.
package struct SparseProduct: Sendable {
    package let matrix: SparseMatrix
    package let axes: Range<Int>
    package let extents: [Int]

    package init(_ matrix: SparseMatrix, axes: Range<Int>, extents: [Int]) {
        precondition(matrix.rows == extents.reduce(1, *))
        (self.matrix, self.axes, self.extents) = (matrix, axes, extents)
    }

    package func shape(of x: Shape) -> Shape {
        Shape(Array(x.dims[..<axes.lowerBound]) + extents + Array(x.dims[axes.upperBound...]))
    }

    /// The product that takes the cotangent of this one's output to that of its input.
    package func transposed(for x: Shape) -> SparseProduct {
        SparseProduct(
            matrix.transposed, axes: axes.lowerBound..<axes.lowerBound + extents.count,
            extents: Array(x.dims[axes]))
    }

    /// Whether each number of the output is one of the input, or 0.
    var selects: Bool {
        matrix.weights == nil && zip(matrix.starts, matrix.starts.dropFirst()).allSatisfy { $1 - $0 <= 1 }
    }

    /// The same on the host, of whole numbers or without sums; nil for others.
    func callAsFunction(_ x: HostTensor) throws -> HostTensor? {
        let inner = x.shape.dims[axes.upperBound...].reduce(1, *)
        let outer = x.shape.dims[..<axes.lowerBound].reduce(1, *)
        let result = shape(of: x.shape)
        func sums<Number: Numeric>(_ values: [Number], _ add: (Number, Number) -> Number) -> [Number] {
            var y: [Number] = []
            y.reserveCapacity(result.count)
            for o in 0..<outer {
                for r in 0..<matrix.rows {
                    let places = matrix.places[Int(matrix.starts[r])..<Int(matrix.starts[r + 1])]
                        .map { (o * matrix.columns + Int($0)) * inner }
                    for i in 0..<inner {
                        guard let first = places.first else {
                            y.append(0)
                            continue
                        }
                        y.append(places.dropFirst().reduce(values[first + i]) { add($0, values[$1 + i]) })
                    }
                }
            }
            return y
        }
        if x.isInteger, matrix.weights == nil {
            return HostTensor(result, .ints(sums(try x.ints(), &+)))
        }
        return selects ? HostTensor(result, .floats(sums(try x.floats(), +))) : nil
    }
}

/// y = M x for each place of the other axes.
package struct SparseStep: Step {
    let x: Value, starts: Value, offsets: Value, weights: Value?, y: Value
    let grid: Grid
    let terms: Int

    package var kernel: String { "sparse" }
    package var reads: [Value] { [x, starts, offsets] + (weights.map { [$0] } ?? []) }
    package var writes: [Value] { [y] }
    package var operations: Int { grid.count + 2 * terms }
    package var readsViews: Bool { true }

    package func run(_ cpu: CPUFrame) {
        if grid.count == 0 { return }
        let (px, py) = (cpu.pointer(x), cpu.pointer(y))
        let (starts, offsets) = (cpu.integers(starts), cpu.integers(offsets))
        let numbers = weights.map(cpu.pointer) ?? px
        let weighted: Int32 = weights == nil ? 0 : 1
        let worth = max(16, 16384 / max(1, 1 + terms / grid.count))
        if grid.outer >= cpu.threads {
            withUnsafePointer(to: grid.raw) { raw in
                cpu.split(grid.outer, minimum: max(1, worth / grid.inner)) { begin, end, _ in
                    cpu.functions.sparse(
                        raw, starts, offsets, numbers, weighted, px, py, Int64(begin), Int64(end))
                }
            }
        } else {
            cpu.split(grid.inner, grain: 16, minimum: worth) { begin, end, _ in
                withUnsafePointer(to: grid.innerPart(begin..<end)) {
                    cpu.functions.sparse(
                        $0, starts, offsets, numbers, weighted, px, py, 0, Int64(grid.outer))
                }
            }
        }
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        if grid.count == 0 { return [] }
        let px = frame.buffer(x)
        let arguments: [CLArgument] = [
            px, frame.buffer(starts), frame.buffer(offsets), weights.map(frame.buffer) ?? px, frame.buffer(y),
            .structure(grid.raw), .int(weights == nil ? 0 : 1),
        ]
        switch frame.device.shape {
        case .cpu:
            let run = 512
            return [
                try frame.launch(
                    "sparse", in: "sparse", options: "-DWB_CPU_SHAPE=1 -DWB_RUN=\(run)", arguments,
                    count: grid.outer * ((grid.inner + run - 1) / run))
            ]
        case .gpu: return [try frame.launch("sparse", in: "sparse", arguments, count: grid.count)]
        }
    }
}

extension Tape {
    /// A product with a constant sparse matrix.
    package mutating func product(_ product: SparseProduct, _ x: Value) -> Value {
        let (old, new) = (shape(x), product.shape(of: shape(x)))
        precondition(old.dims[product.axes].reduce(1, *) == product.matrix.columns)
        let keepsOrder = !isDense(x) && hasChannelsLast(x) && old.rank == new.rank
        let y = keepsOrder ? channelsLastValue(new) : value(new)
        if isSketch { return y }
        let (matrix, axes) = (product.matrix, product.axes)
        // Where the columns lie in x, the last axis innermost.
        let strides = strides(x)
        let lies = axes.reduce([Int32(0)]) { all, axis in
            all.flatMap { base in (0..<old.dims[axis]).map { base + Int32($0 * strides[axis]) } }
        }
        let offsets = matrix.places.map { lies[Int($0)] }
        func table(_ integers: [Int32]) -> Value {
            // A buffer of nothing there cannot be.
            let integers = integers.isEmpty ? [0] : integers
            return weights(
                PackedWeights(integers: integers.count, key: .integers(integers)) { to in
                    to.update(from: integers, count: integers.count)
                })
        }
        let numbers = matrix.weights.map { numbers in
            let numbers = numbers.isEmpty ? [0] : numbers
            return weights(
                PackedWeights(
                    count: numbers.count, key: .numbers(numbers.map(\.bitPattern), layout: [numbers.count])
                ) { to in to.update(from: numbers, count: numbers.count) })
        }
        let rows = axes.lowerBound..<axes.lowerBound + product.extents.count
        let (before, after) = (Array(strides[..<axes.lowerBound]), Array(strides[axes.upperBound...]))
        let nothing = rows.map { _ in 0 }
        add(
            SparseStep(
                x: x, starts: table(matrix.starts), offsets: table(offsets), weights: numbers, y: y,
                grid: Grid(
                    dims: new.dims, x: before + nothing + after,
                    z: before.map { _ in 0 } + Shape(product.extents).rowMajorStrides + after.map { _ in 0 },
                    y: self.strides(y), x0: offset(x)),
                terms: matrix.places.count * (new.count / max(1, matrix.rows))))
        return y
    }
}
