// What picks numbers by constant indices, and puts them into places that constant indices name: products with constant sparse matrices
// (Steps/Sparse.swift).

import CMicrokernels

/// An operator whose output is a constant sparse matrix times its first input, one after the other along some axes.
protocol SparseOperator: UnaryOperator {
    /// - Parameter inputs: the first may be left out; the others are constants.
    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct]
}

extension SparseOperator {
    package var reach: Reach {
        .along { shape, inputs in
            let products = try products(shape, inputs, within: Limits())
            // One that changes the rank has no others beside it that could count the axes.
            guard products.count == 1 || products.allSatisfy({ $0.axes.count == $0.extents.count }) else {
                return Array(shape.dims.indices)
            }
            return Set(products.flatMap(\.axes)).sorted()
        }
    }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first else { return nil }
        guard x.shape.count < Int32.max else { return nil }
        let products = try products(x.shape, inputs.map { $0.map(Operand.host) }, within: limits)
        var y = x
        for product in products {
            try limits.memory.check(
                16 * (y.shape.count + Shape(checking: product.shape(of: y.shape).dims).count))
            guard let next = try product(y) else { return nil }
            y = next
        }
        return [y]
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        var x = try tape.value(required(inputs, 0, "data"))
        for product in try products(tape.shape(x), inputs, within: tape.limits) {
            _ = try product.shape(of: tape.shape(x)).checked()
            x = tape.product(product, x)
        }
        return [.value(x)]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        var shape = tape.shape(try required(node.inputs, 0, "data"))
        var back: [SparseProduct] = []
        for product in try products(shape, node.inputs, within: tape.limits) {
            back.append(product.transposed(for: shape))
            shape = product.shape(of: shape)
        }
        return back.reversed().reduce(dy) { tape.product($1, $0) }
    }
}

/// A constant list of indices, counted from the front.
private func counted(_ indices: [Int], of extent: Int) throws -> [Int] {
    try indices.map { index in
        guard index >= -extent, index < extent else {
            throw OperatorError("takes index \(index) of \(extent)")
        }
        return index < 0 ? index + extent : index
    }
}

private func needed(_ inputs: [Operand?], _ index: Int, _ what: String) throws -> HostTensor {
    guard let tensor = try constant(inputs, index, what) else { throw OperatorError("lacks its \(what)") }
    return tensor
}

package struct Gather: UnaryOperator, Selecting {
    package static let name = "Gather"
    package static let accepts = Meaning.all
    package static let formula = "the elements at constant indices along an axis"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    package var reach: Reach { .along(axis) }
    private let axis: Int
    package init(_ attributes: Attributes) throws { axis = try attributes.int("axis", default: 0) }

    private func place(_ shape: Shape, _ inputs: [Operand?]) throws -> (
        axis: Int, indices: [Int], extents: [Int]
    ) {
        let indices = try needed(inputs, 1, "indices")
        let axis = try normalised(self.axis, rank: shape.rank)
        return (axis, try counted(try indices.ints(), of: shape.dims[axis]), indices.shape.dims)
    }

    private func product(_ shape: Shape, _ inputs: [Operand?], _ limits: Limits) throws -> SparseProduct {
        let (axis, indices, extents) = try place(shape, inputs)
        try limits.memory.check(SparseMatrix.bytes(rows: indices.count, terms: indices.count))
        return SparseProduct(
            SparseMatrix(columns: shape.dims[axis], selecting: indices), axes: axis..<axis + 1,
            extents: extents)
    }

    /// Indices that are evenly apart are a view.
    private func range(_ axis: Int, _ indices: [Int]) -> SliceRange? {
        guard let first = indices.first else { return nil }
        let step = indices.count > 1 ? indices[1] - first : 1
        guard step != 0, indices.indices.allSatisfy({ indices[$0] == first + $0 * step }) else { return nil }
        return SliceRange(axis: axis, start: first, step: step, count: indices.count)
    }

    package func selection(of shape: Shape, _ inputs: [Operand?]) throws -> SliceRange? {
        let (axis, indices, _) = try place(shape, inputs)
        return range(axis, indices).flatMap { $0.step == 1 ? $0 : nil }
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first, x.shape.count < Int32.max else { return nil }
        let product = try product(x.shape, inputs.map { $0.map(Operand.host) }, limits)
        // The elements; and all elements as floats.
        try limits.memory.check(
            16 * Shape(checking: product.shape(of: x.shape).dims).count + 4 * x.shape.count)
        return try product(x).map { [$0] }
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "data"))
        let (axis, indices, extents) = try place(tape.shape(x), inputs)
        let shape = tape.shape(x).dims
        let new = try Shape(Array(shape[..<axis]) + extents + Array(shape[(axis + 1)...])).checked()
        if let range = range(axis, indices) {
            return [.value(tape.reshape(tape.slice(x, [range]), to: new))]
        }
        return [.value(tape.product(try product(tape.shape(x), inputs, tape.limits), x))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let whole = tape.shape(try required(node.inputs, 0, "data"))
        let (axis, indices, _) = try place(whole, node.inputs)
        if let range = range(axis, indices) {
            var dims = whole.dims
            dims[axis] = range.count
            return tape.unslice(tape.reshape(dy, to: Shape(dims)), into: whole, [range])
        }
        return tape.product(try product(whole, node.inputs, tape.limits).transposed(for: whole), dy)
    }
}

package struct GatherElements: SparseOperator {
    package static let name = "GatherElements"
    package static let accepts = Meaning.all
    package static let formula = "y[i] = x[i, with the constant index at i along the axis]"
    package static let opsets = 11...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    private let axis: Int
    package init(_ attributes: Attributes) throws { axis = try attributes.int("axis", default: 0) }

    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct] {
        let indices = try needed(inputs, 1, "indices")
        let places = try elements(shape, indices, axis: axis, limits)
        return [
            SparseProduct(
                SparseMatrix(columns: shape.count, selecting: places), axes: 0..<shape.rank,
                extents: indices.shape.dims)
        ]
    }
}

/// The row-major places in a tensor that indices along an axis name, each at its own place along the others.
private func elements(_ shape: Shape, _ indices: HostTensor, axis: Int, _ limits: Limits) throws -> [Int] {
    let axis = try normalised(axis, rank: shape.rank)
    let small = indices.shape
    guard small.rank == shape.rank,
        shape.dims.indices.allSatisfy({ $0 == axis || small.dims[$0] <= shape.dims[$0] })
    else { throw OperatorError("has indices of shape \(small) for a tensor of shape \(shape)") }
    try limits.memory.check(SparseMatrix.bytes(rows: shape.count + small.count, terms: small.count))
    let along = try counted(try indices.ints(), of: shape.dims[axis])
    let strides = shape.rowMajorStrides
    var at = [Int](repeating: 0, count: shape.rank)
    var places: [Int] = []
    places.reserveCapacity(along.count)
    for index in along {
        places.append(at.indices.reduce(0) { $0 + ($1 == axis ? index : at[$1]) * strides[$1] })
        for d in at.indices.reversed() {
            at[d] += 1
            if at[d] < small.dims[d] { break }
            at[d] = 0
        }
    }
    return places
}

/// The row-major places over the first dimensions of a tensor that tuples of indices name, after `batch` dimensions in common.
private func tuples(_ shape: Shape, _ indices: HostTensor, batch: Int = 0, _ limits: Limits) throws -> (
    places: [Int], depth: Int
) {
    guard let length = indices.shape.dims.last, indices.shape.rank > batch, batch >= 0,
        batch + length <= shape.rank,
        indices.shape.dims[..<batch].elementsEqual(shape.dims[..<batch])
    else { throw OperatorError("has indices of shape \(indices.shape) for a tensor of shape \(shape)") }
    let named = Array(shape.dims[batch..<batch + length])
    try limits.memory.check(
        SparseMatrix.bytes(rows: indices.shape.count, terms: indices.shape.count)
            + SparseMatrix.bytes(rows: shape.dims[..<(batch + length)].reduce(1, *), terms: 0))
    let numbers = try indices.ints()
    let count = indices.shape.dims.dropLast().reduce(1, *)
    let each = indices.shape.dims[batch...].dropLast().reduce(1, *)
    let places = try (0..<count).map { tuple -> Int in
        var place = each == 0 ? 0 : tuple / each
        for (d, extent) in named.enumerated() {
            place = place * extent + (try counted([numbers[tuple * length + d]], of: extent)[0])
        }
        return place
    }
    return (places, batch + length)
}

package struct GatherND: SparseOperator {
    package static let name = "GatherND"
    package static let accepts = Meaning.all
    package static let formula = "the parts at constant tuples of indices of the first dimensions"
    package static let opsets = 11...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    private let batch: Int
    package init(_ attributes: Attributes) throws {
        batch = attributes.opset >= 12 ? try attributes.int("batch_dims", default: 0) : 0
    }
    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct] {
        let indices = try needed(inputs, 1, "indices")
        let (places, depth) = try tuples(shape, indices, batch: batch, limits)
        return [
            SparseProduct(
                SparseMatrix(columns: shape.dims[..<depth].reduce(1, *), selecting: places), axes: 0..<depth,
                extents: Array(indices.shape.dims.dropLast()))
        ]
    }
}

/// What the operators share that put updates into places of a tensor.
protocol Scattering: Operator {
    var reduction: ScatterReduction { get }
    /// The place of each update, over the first `depth` dimensions of the data in row-major order; the others are the updates' own.
    func places(_ data: Shape, _ indices: HostTensor, _ limits: Limits) throws -> (places: [Int], depth: Int)
}

/// What becomes of the number that is there, and of several updates of one place.
package enum ScatterReduction: String, Sendable { case none, add, mul, max, min }

private func reduction(_ attributes: Attributes, from opset: Int) throws -> ScatterReduction {
    let name = attributes.opset >= opset ? try attributes.string("reduction", default: "none") : "none"
    guard let reduction = ScatterReduction(rawValue: name) else {
        throw OperatorError("has the reduction “\(name.prefix(40))”, which does not exist")
    }
    return reduction
}

extension Scattering {
    package static var accepts: Set<Meaning> { Meaning.all }
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    package var dependence: Dependence {
        switch reduction {
        case .none: .selects
        case .add: .adds
        default: .unstated
        }
    }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        if [inputs[0], inputs[2]].contains(.wrapping) { return .wrapping }
        return inputs[0] == inputs[2] ? inputs[0] ?? .real : .real
    }

    /// The data and behind it the updates make up a column; each row is a place of the data.
    private func matrix(_ data: Shape, _ inputs: [Operand?], updates: Shape, _ limits: Limits) throws -> (
        matrix: SparseMatrix, inner: Int
    ) {
        let indices = try needed(inputs, 1, "indices")
        let (places, depth) = try places(data, indices, limits)
        let (rows, inner) = (data.dims[..<depth].reduce(1, *), data.dims[depth...].reduce(1, *))
        guard updates.count == places.count * inner else {
            throw OperatorError(
                "has updates of shape \(updates) and indices of shape \(indices.shape) for data of shape \(data)"
            )
        }
        if reduction == .none {
            var selected = Array(0..<rows)
            for (update, place) in places.enumerated() { selected[place] = rows + update }
            return (SparseMatrix(columns: rows + places.count, selecting: selected), inner)
        }
        var terms = (0..<rows).map { [$0] }
        for (update, place) in places.enumerated() { terms[place].append(rows + update) }
        return (SparseMatrix(columns: rows + places.count, adding: terms), inner)
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard inputs.count == 3, let data = inputs[0], let updates = inputs[2],
            max(data.shape.count, updates.shape.count) < Int32.max / 2
        else { return nil }
        // Sums that are rounded are left to the tape.
        if reduction == .add, !data.isInteger { return nil }
        let operands = inputs.map { $0.map(Operand.host) }
        try limits.memory.check(32 * (data.shape.count + updates.shape.count))
        let (matrix, inner) = try matrix(data.shape, operands, updates: updates.shape, limits)
        func combined<Number: Comparable>(
            _ values: [Number], _ add: (Number, Number) -> Number, _ multiply: (Number, Number) -> Number
        ) -> [Number] {
            (0..<data.shape.count).map { i in
                let terms = Int(matrix.starts[i / inner])..<Int(matrix.starts[i / inner + 1])
                let numbers = terms.map { values[Int(matrix.places[$0]) * inner + i % inner] }
                return numbers.dropFirst().reduce(numbers[0]) { known, next in
                    switch reduction {
                    case .none: next
                    case .add: add(known, next)
                    case .mul: multiply(known, next)
                    case .max: known < next || !(next == next) ? next : known
                    case .min: next < known || !(next == next) ? next : known
                    }
                }
            }
        }
        if data.isInteger, updates.isInteger {
            return [HostTensor(data.shape, .ints(combined(try data.ints() + updates.ints(), &+, &*)))]
        }
        return [HostTensor(data.shape, .floats(combined(try data.floats() + updates.floats(), +, *)))]
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        guard reduction == .none || reduction == .add else {
            throw OperatorError(
                unsupported:
                    "has the reduction “\(reduction.rawValue)” of activations; none and add are supported")
        }
        let summands = [try required(inputs, 0, "data"), try required(inputs, 2, "updates")]
        if reduction == .add, summands.contains(where: { tape.meaning($0) == .wrapping }) {
            throw OperatorError(
                unsupported:
                    "adds whole numbers of 8 or 16 bits or without a sign, which wrap around; that is not supported"
            )
        }
        let data = try tape.wholeValue(required(inputs, 0, "data"))
        let updates = try tape.wholeValue(required(inputs, 2, "updates"))
        let shape = tape.shape(data)
        let (matrix, inner) = try matrix(shape, inputs, updates: tape.shape(updates), tape.limits)
        let all = tape.value(try Shape([matrix.columns, inner]).checked())
        tape.place(
            tape.reshape(data, to: [matrix.rows, inner]), into: all,
            [SliceRange(axis: 0, start: 0, step: 1, count: matrix.rows)])
        if matrix.columns > matrix.rows {
            let count = matrix.columns - matrix.rows
            tape.place(
                tape.reshape(updates, to: [count, inner]), into: all,
                [SliceRange(axis: 0, start: matrix.rows, step: 1, count: count)])
        }
        let y = tape.product(SparseProduct(matrix, axes: 0..<1, extents: [matrix.rows]), all)
        return [.value(tape.reshape(y, to: shape))]
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let (data, updates) = (
            tape.shape(try required(node.inputs, 0, "data")),
            tape.shape(try required(node.inputs, 2, "updates"))
        )
        let (matrix, inner) = try matrix(data, node.inputs, updates: updates, tape.limits)
        let product = SparseProduct(matrix, axes: 0..<1, extents: [matrix.rows])
        let dy = tape.reshape(cotangents[0]!, to: [matrix.rows, inner])
        let all = tape.product(product.transposed(for: [matrix.columns, inner]), dy)
        return node.each(wanted) { input in
            let start = input == 0 ? 0 : matrix.rows
            let count = input == 0 ? matrix.rows : matrix.columns - matrix.rows
            if input == 1 { return nil }
            return tape.reshape(
                tape.slice(all, [SliceRange(axis: 0, start: start, step: 1, count: count)]),
                to: input == 0 ? data : updates)
        }
    }
}

package struct ScatterND: Scattering {
    package static let name = "ScatterND"
    package static let formula =
        "x with parts replaced by updates, or updates added, at constant tuples of indices"
    package static let opsets = 11...24
    let reduction: ScatterReduction
    package init(_ attributes: Attributes) throws { reduction = try Kernels.reduction(attributes, from: 16) }
    func places(_ data: Shape, _ indices: HostTensor, _ limits: Limits) throws -> (places: [Int], depth: Int)
    {
        try tuples(data, indices, limits)
    }
}

package struct ScatterElements: Scattering {
    package static let name = "ScatterElements"
    package static let formula =
        "x with elements replaced by updates, or updates added, at constant indices along an axis"
    package static let opsets = 11...24
    let reduction: ScatterReduction
    private let axis: Int
    package init(_ attributes: Attributes) throws {
        reduction = try Kernels.reduction(attributes, from: 16)
        axis = try attributes.int("axis", default: 0)
    }
    func places(_ data: Shape, _ indices: HostTensor, _ limits: Limits) throws -> (places: [Int], depth: Int)
    {
        (try elements(data, indices, axis: axis, limits), data.rank)
    }
}

package struct Tile: SparseOperator {
    package static let name = "Tile"
    package static let accepts = Meaning.all
    package static let formula = "the tensor side by side with itself, so many times along each axis"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    package init(_ attributes: Attributes) throws {}

    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct] {
        let repeats = try needed(inputs, 1, "repeats").ints()
        guard repeats.count == shape.rank, repeats.allSatisfy({ $0 >= 0 }) else {
            throw OperatorError("repeats a tensor of shape \(shape) \(repeats) times")
        }
        for (extent, count) in zip(shape.dims, repeats) { _ = try Shape(checking: [extent, count]) }
        _ = try Shape(checking: zip(shape.dims, repeats).map { $0 * $1 })
        return try shape.dims.indices.filter { repeats[$0] != 1 }.map { axis in
            let (extent, count) = (shape.dims[axis], shape.dims[axis] * repeats[axis])
            try limits.memory.check(SparseMatrix.bytes(rows: count, terms: count))
            return SparseProduct(
                SparseMatrix(columns: extent, selecting: (0..<count).map { $0 % extent }),
                axes: axis..<axis + 1, extents: [count])
        }
    }
}

package struct Trilu: SparseOperator {
    package static let name = "Trilu"
    package static let accepts = Meaning.all
    package static let formula = "the upper or lower triangle of matrices, and 0 elsewhere"
    package static let opsets = 14...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    private let upper: Bool
    package init(_ attributes: Attributes) throws { upper = try attributes.int("upper", default: 1) != 0 }

    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct] {
        guard shape.rank >= 2 else { throw OperatorError("needs matrices, and has the shape \(shape)") }
        let k = try constant(inputs, 1, "k")?.ints().first ?? 0
        let (m, n) = (shape.dims[shape.rank - 2], shape.dims[shape.rank - 1])
        try limits.memory.check(SparseMatrix.bytes(rows: m * n, terms: m * n))
        let selected = (0..<m * n).map { place -> Int in
            let diagonal = place % n - place / n
            return (upper ? diagonal >= k : diagonal <= k) ? place : -1
        }
        return [
            SparseProduct(
                SparseMatrix(columns: m * n, selecting: selected), axes: shape.rank - 2..<shape.rank,
                extents: [m, n])
        ]
    }
}

package struct CumSum: SparseOperator {
    package static let name = "CumSum"
    package static let accepts: Set<Meaning> = [.real, .integer]
    package static let formula = "y[i] = x[0] + ... + x[i] along an axis"
    package static let opsets = 11...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .pools
    package let dependence: Dependence = .averages
    private let exclusive: Bool, reverse: Bool
    package init(_ attributes: Attributes) throws {
        exclusive = try attributes.int("exclusive", default: 0) != 0
        reverse = try attributes.int("reverse", default: 0) != 0
    }
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        (inputs.first ?? nil) ?? .real
    }

    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct] {
        guard let given = try needed(inputs, 1, "axis").ints().first else {
            throw OperatorError("lacks its axis")
        }
        let axis = try normalised(given, rank: shape.rank)
        let extent = shape.dims[axis]
        guard extent <= 2048 else {
            throw OperatorError(unsupported: "adds up \(extent) numbers one by one; the limit is 2048")
        }
        try limits.memory.check(SparseMatrix.bytes(rows: extent, terms: extent * extent))
        let rows = (0..<extent).map { i -> [Int] in
            let last = exclusive ? 1 : 0
            // In the order in which a running sum meets them.
            return reverse ? Array((i + last..<max(i + last, extent)).reversed()) : Array(0..<i + 1 - last)
        }
        return [
            SparseProduct(
                SparseMatrix(columns: extent, adding: rows), axes: axis..<axis + 1, extents: [extent])
        ]
    }
}

package struct ReverseSequence: SparseOperator {
    package static let name = "ReverseSequence"
    package static let accepts = Meaning.all
    package static let formula =
        "the first elements of each sequence in reverse; their constant number is each sequence's own"
    package static let opsets = 10...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    private let batchAxis: Int, timeAxis: Int
    package init(_ attributes: Attributes) throws {
        batchAxis = try attributes.int("batch_axis", default: 1)
        timeAxis = try attributes.int("time_axis", default: 0)
        guard Set([batchAxis, timeAxis]) == [0, 1] else {
            throw OperatorError("has the axes \(batchAxis) and \(timeAxis), which must be 0 and 1")
        }
    }
    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct] {
        guard shape.rank >= 2 else { throw OperatorError("needs sequences, and has the shape \(shape)") }
        let lengths = try needed(inputs, 1, "sequence_lens").ints()
        guard lengths.count == shape.dims[batchAxis],
            lengths.allSatisfy({ (0...shape.dims[timeAxis]).contains($0) })
        else {
            throw OperatorError("has sequences of the lengths \(lengths) in a tensor of shape \(shape)")
        }
        let (m, n) = (shape.dims[0], shape.dims[1])
        try limits.memory.check(SparseMatrix.bytes(rows: m * n, terms: m * n))
        let selected = (0..<m * n).map { place -> Int in
            var at = [place / n, place % n]
            let length = lengths[at[batchAxis]]
            if at[timeAxis] < length { at[timeAxis] = length - 1 - at[timeAxis] }
            return at[0] * n + at[1]
        }
        return [
            SparseProduct(SparseMatrix(columns: m * n, selecting: selected), axes: 0..<2, extents: [m, n])
        ]
    }
}

package struct Compress: SparseOperator {
    package static let name = "Compress"
    package static let accepts = Meaning.all
    package static let formula = "the elements, or the slices along an axis, where a constant condition holds"
    package static let opsets = 9...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    private let axis: Int?
    package init(_ attributes: Attributes) throws {
        axis = attributes.has("axis") ? try attributes.int("axis") : nil
    }
    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct] {
        let condition = try needed(inputs, 1, "condition").ints()
        let axes = try axis.map { try normalised($0, rank: shape.rank) }.map { $0..<$0 + 1 } ?? 0..<shape.rank
        let columns = shape.dims[axes].reduce(1, *)
        guard condition.count <= columns else {
            throw OperatorError("has a condition of \(condition.count) truths for \(columns) slices")
        }
        let selected = condition.indices.filter { condition[$0] != 0 }
        return [
            SparseProduct(
                SparseMatrix(columns: columns, selecting: selected), axes: axes, extents: [selected.count])
        ]
    }
}

/// Sums of the blocks that an unfolding cut out of a picture.
package struct Col2Im: SparseOperator {
    package static let name = "Col2Im"
    package static let formula = "blocks of columns added up where they lie in a picture"
    package static let opsets = 18...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    package let role: Role = .pools
    package let dependence: Dependence = .averages
    private let strides: [Int]?, pads: [Int]?, dilations: [Int]?
    package init(_ attributes: Attributes) throws {
        strides = try attributes.ints("strides")
        pads = try attributes.ints("pads")
        dilations = try attributes.ints("dilations")
    }
    /// The window that an unfolding slid over a picture, with blocks as its outputs.
    private func window(_ image: [Int], _ block: [Int]) throws -> [Axis] {
        let count = image.count
        let strides = strides ?? image.map { _ in 1 }
        let dilations = dilations ?? image.map { _ in 1 }
        let pads = pads ?? (image + image).map { _ in 0 }
        let extents: [Int] = image + block + strides + dilations
        guard count > 0, block.count == count, strides.count == count, dilations.count == count,
            pads.count == 2 * count, extents.allSatisfy({ $0 > 0 && $0 < 1 << 24 }),
            pads.allSatisfy({ $0 >= 0 && $0 < 1 << 24 })
        else { throw OperatorError("puts blocks of \(block) into pictures of \(image)") }
        return (0..<count).map { d in
            let reach = dilations[d] * (block[d] - 1) + 1
            let room = image[d] + pads[d] + pads[d + count] - reach
            return Axis(
                input: image[d], output: room < 0 ? 0 : room / strides[d] + 1, kernel: block[d],
                stride: strides[d], pad: pads[d], dilation: dilations[d])
        }
    }

    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct] {
        let image = try needed(inputs, 1, "image_shape").ints()
        let block = try needed(inputs, 2, "block_shape").ints()
        let axes = try window(image, block)
        let taps = try Shape(checking: block).count
        let blocks = try Shape(checking: axes.map(\.output))
        guard shape.rank == 3, shape.dims[1] % taps == 0, blocks.count == shape.dims[2] else {
            throw OperatorError(
                "puts a tensor of shape \(shape) as blocks of \(block) into pictures of \(image)")
        }
        let (places, columns) = (try Shape(checking: image).count, taps * blocks.count)
        let channels = shape.dims[1] / taps
        _ = try Shape(checking: [channels] + image)
        try limits.memory.check(SparseMatrix.bytes(rows: channels * places, terms: channels * columns))
        /// Along one axis: for each tap and block the place in the picture; nil beside it.
        func place(_ axis: Axis, _ tap: Int, _ cut: Int) -> Int? {
            let at = cut * axis.stride - axis.pad + tap * axis.dilation
            return at >= 0 && at < axis.input ? at : nil
        }
        let (tapStrides, cutStrides) = (Shape(block).rowMajorStrides, blocks.rowMajorStrides)
        // Of each place of one channel, the taps and blocks over it.
        var rows = [[Int]](repeating: [], count: places)
        for tap in 0..<taps {
            for cut in 0..<blocks.count {
                var to: Int? = 0
                for (d, axis) in axes.enumerated() {
                    let at = place(
                        axis, tap / tapStrides[d] % axis.kernel, cut / cutStrides[d] % axis.output)
                    to = at.flatMap { at in to.map { $0 * axis.input + at } }
                }
                if let to { rows[to].append(tap * blocks.count + cut) }
            }
        }
        let all = (0..<channels).flatMap { c in rows.map { row in row.map { $0 + c * columns } } }
        return [
            SparseProduct(
                SparseMatrix(columns: channels * columns, adding: all), axes: 1..<3,
                extents: [channels] + image)
        ]
    }
}
