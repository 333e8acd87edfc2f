// Parts of tensors, and tensors put together from parts.

import CMicrokernels

/// Every `step`th index of one dimension from `start` on, `count` of them.
package struct SliceRange: Hashable, Sendable {
    package var axis: Int, start: Int, step: Int, count: Int
    package init(axis: Int, start: Int, step: Int, count: Int) {
        (self.axis, self.start, self.step, self.count) = (axis, start, step, count)
    }
}

/// An operator that may take a run of indices of one axis.
package protocol Selecting: Operator {
    /// - Returns: the run, in the first input's shape; nil if it takes something else.
    func selection(of shape: Shape, _ inputs: [Operand?]) throws -> SliceRange?
}

extension Tape {
    /// The strides of a part of a tensor with these strides, and where it begins.
    private func place(_ strides: [Int], _ ranges: [SliceRange]) -> (strides: [Int], start: Int) {
        var part = strides
        for range in ranges { part[range.axis] *= range.step }
        return (part, ranges.reduce(0) { $0 + $1.start * strides[$1.axis] })
    }

    /// A part of a value: a view.
    package mutating func slice(_ x: Value, _ ranges: [SliceRange]) -> Value {
        var dims = shape(x).dims
        for range in ranges { dims[range.axis] = range.count }
        let (strides, start) = place(strides(x), ranges)
        return view(x, as: Shape(dims), strides: strides, offset: offset(x) + start)
    }

    /// `count` indices of one dimension from `start` on: a view.
    package mutating func part(_ x: Value, axis: Int, start: Int, count: Int) -> Value {
        slice(x, [SliceRange(axis: axis, start: start, step: 1, count: count)])
    }

    /// Zeros with `part` in the place that `ranges` name.
    package mutating func unslice(_ part: Value, into whole: Shape, _ ranges: [SliceRange]) -> Value {
        let y = fill(whole, with: 0)
        place(part, into: y, ranges)
        return y
    }

    mutating func place(_ part: Value, into whole: Value, _ ranges: [SliceRange]) {
        let (strides, start) = place(strides(whole), ranges)
        copy(part, into: whole, strides: strides, start: start)
    }
}

/// The same on the host: the row-major positions of a part.
private func positions(_ shape: Shape, _ ranges: [SliceRange]) -> (indices: [Int], shape: Shape) {
    var dims = shape.dims
    for range in ranges { dims[range.axis] = range.count }
    let strides = shape.rowMajorStrides
    var indices = [0]
    for axis in shape.dims.indices {
        let range =
            ranges.first { $0.axis == axis } ?? SliceRange(axis: axis, start: 0, step: 1, count: dims[axis])
        indices = indices.flatMap { base in
            (0..<range.count).map { base + (range.start + $0 * range.step) * strides[axis] }
        }
    }
    return (indices, Shape(dims))
}

package struct Concat: Operator {
    package let dependence: Dependence = .selects
    package var reach: Reach { .along(axis) }
    package static let name = "Concat"
    package static let accepts = Meaning.all
    package static let formula = "tensors one after the other along an axis"
    package static func arity(opset: Int) -> Arity { Arity(inputs: nil) }
    private let axis: Int
    package init(_ attributes: Attributes) throws { axis = try attributes.int("axis") }

    private func layout(_ shapes: [Shape]) throws -> (axis: Int, starts: [Int], shape: Shape) {
        guard let first = shapes.first else { throw OperatorError("has no inputs") }
        let axis = try normalised(self.axis, rank: first.rank)
        var starts: [Int] = []
        var total = 0
        for shape in shapes {
            guard shape.rank == first.rank,
                shape.dims.indices.allSatisfy({ $0 == axis || shape.dims[$0] == first.dims[$0] })
            else { throw OperatorError("joins shapes that do not fit: \(first) and \(shape)") }
            starts.append(total)
            total += shape.dims[axis]
        }
        var dims = first.dims
        dims[axis] = total
        return (axis, starts, try Shape(checking: dims))
    }

    /// The shapes of the inputs. In a file that is made for single pictures, a constant that is joined to a picture is joined to each
    /// of a batch.
    private func shapes(_ tape: Tape, _ inputs: [Operand?]) throws -> [Shape] {
        let operands = try inputs.indices.map { try required(inputs, $0, "input") }
        let shapes = operands.map { tape.shape($0) }
        let batch = zip(operands, shapes).first { if case .host = $0.0 { false } else { true } }?.1.dims.first
        guard tape.writtenBatch == 1, let batch, axis != 0 else { return shapes }
        return zip(operands, shapes).map { operand, shape in
            guard case .host = operand, shape.dims.first == 1, axis != -shape.rank else { return shape }
            return Shape([batch] + shape.dims.dropFirst())
        }
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        let parts = inputs.compactMap { $0 }
        guard parts.count == inputs.count else { return nil }
        let (axis, _, shape) = try layout(parts.map(\.shape))
        try limits.memory.check(24 * shape.count)
        // One after the other, those of all parts for each place of the dimensions before the axis.
        func joined<Number>(_ parts: [(shape: Shape, numbers: [Number])]) -> [Number] {
            (0..<shape.dims[..<axis].reduce(1, *)).flatMap { outer in
                parts.flatMap { part in
                    let run = part.shape.dims[axis...].reduce(1, *)
                    return part.numbers[outer * run..<(outer + 1) * run]
                }
            }
        }
        if parts.allSatisfy(\.isInteger) {
            return [HostTensor(shape, .ints(joined(try parts.map { ($0.shape, try $0.ints()) })))]
        }
        return [HostTensor(shape, .floats(joined(try parts.map { ($0.shape, try $0.floats()) })))]
    }
    /// Of all inputs, if they agree.
    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        let all = Set(inputs.compactMap { $0 })
        return all.count == 1 ? all.first! : .real
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let operands = try inputs.indices.map { try required(inputs, $0, "input") }
        let shapes = try shapes(tape, inputs)
        let (axis, starts, shape) = try layout(shapes)
        // As the first part lies that is no dense one.
        let order = operands.compactMap { operand -> [Int]? in
            guard case .value(let part) = operand, !tape.isDense(part) else { return nil }
            return tape.order(part)
        }.first
        let y = try order.map { tape.value(try shape.checked(), order: $0) } ?? tape.value(shape.checked())
        // An empty constant adds nothing.
        for (i, start) in starts.enumerated() where shapes[i].count > 0 {
            var part = try tape.wholeValue(operands[i])
            if tape.shape(part) != shapes[i] {
                part = tape.view(
                    part, as: shapes[i], strides: tape.strides(part, broadcastTo: shapes[i]),
                    offset: tape.offset(part))
            }
            tape.place(
                part, into: y,
                [SliceRange(axis: axis, start: start, step: 1, count: tape.shape(part).dims[axis])])
        }
        return [.value(y)]
    }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let shapes = try shapes(tape, node.inputs)
        let (axis, starts, _) = try layout(shapes)
        return node.each(wanted) { input in
            let part = SliceRange(
                axis: axis, start: starts[input], step: 1, count: shapes[input].dims[axis])
            return tape.slice(cotangents[0]!, [part])
        }
    }
}

package struct Slice: UnaryOperator, Selecting {
    package static let name = "Slice"
    package static let accepts = Meaning.all
    package static let formula = "every step-th element from start to end along axes"
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 10 ? 5 : 1) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    package var reach: Reach { .along { try cuts($0, $1).map(\.axis) } }
    /// What is taken whole stays where it is.
    /// What it takes of each axis that it works along.
    package func cuts(_ shape: Shape, _ inputs: [Operand?]) throws -> [SliceRange] {
        try ranges(shape, inputs).filter { $0.step != 1 || $0.count != shape.dims[$0.axis] }
    }
    package func selection(of shape: Shape, _ inputs: [Operand?]) throws -> SliceRange? {
        let cuts = try cuts(shape, inputs)
        return cuts.count == 1 && cuts[0].step == 1 ? cuts[0] : nil
    }
    private let listed: (starts: [Int], ends: [Int], axes: [Int]?)?

    package init(_ attributes: Attributes) throws {
        guard attributes.opset < 10 else {
            listed = nil
            return
        }
        guard let starts = try attributes.ints("starts"), let ends = try attributes.ints("ends") else {
            throw OperatorError("lacks its starts or ends")
        }
        listed = (starts, ends, try attributes.ints("axes"))
    }

    /// - Parameter mayBeEmpty: as in the arithmetic of shapes.
    private func ranges(_ shape: Shape, _ inputs: [Operand?], mayBeEmpty: Bool = false) throws
        -> [SliceRange]
    {
        let starts = try listed?.starts ?? constant(inputs, 1, "starts")?.ints() ?? []
        let ends = try listed?.ends ?? constant(inputs, 2, "ends")?.ints() ?? []
        let axes = try listed == nil ? constant(inputs, 3, "axes")?.ints() : listed!.axes
        let steps = try listed == nil ? constant(inputs, 4, "steps")?.ints() : nil
        guard starts.count == ends.count, axes.map({ $0.count == starts.count }) ?? true,
            steps.map({ $0.count == starts.count }) ?? true, starts.count <= shape.rank
        else { throw OperatorError("has starts, ends, axes and steps of different lengths") }
        let named = try starts.indices.map { try normalised(axes?[$0] ?? $0, rank: shape.rank) }
        guard Set(named).count == named.count else {
            throw OperatorError("names an axis twice: \(axes ?? [])")
        }
        return try starts.indices.map { i in
            let axis = named[i]
            let extent = shape.dims[axis]
            let step = steps?[i] ?? 1
            guard step != 0, (-1 << 31...1 << 31).contains(step) else {
                throw OperatorError("has the step \(step)")
            }
            func place(_ index: Int, _ low: Int, _ high: Int) -> Int {
                min(max(index < 0 ? index + extent : index, low), high)
            }
            let start = step > 0 ? place(starts[i], 0, extent) : place(starts[i], 0, extent - 1)
            let end = step > 0 ? place(ends[i], 0, extent) : place(ends[i], -1, extent - 1)
            let count = max(0, step > 0 ? (end - start + step - 1) / step : (start - end - step - 1) / -step)
            guard count > 0 || mayBeEmpty else {
                throw OperatorError("takes nothing of axis \(axis) of the shape \(shape)")
            }
            return SliceRange(axis: axis, start: start, step: step, count: count)
        }
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first else { return nil }
        let ranges = try ranges(x.shape, inputs.map { $0.map(Operand.host) }, mayBeEmpty: true)
        // The positions, those before the last axis, and the elements; and all elements as floats.
        var dims = x.shape.dims
        for range in ranges { dims[range.axis] = range.count }
        let count = dims.reduce(1, *)
        try limits.memory.check(24 * count + 4 * x.shape.count)
        let (indices, shape) = positions(x.shape, ranges)
        return [try x.picking(indices, shape: shape)]
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try tape.value(required(inputs, 0, "data"))
        return [.value(tape.slice(x, try ranges(tape.shape(x), inputs)))]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let shape = tape.shape(try required(node.inputs, 0, "data"))
        return tape.unslice(dy, into: shape, try ranges(shape, node.inputs))
    }
}

package struct Split: Operator {
    package static let name = "Split"
    package static let accepts = Meaning.all
    package static let formula = "parts of a tensor along an axis"
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 13 ? 2 : 1, outputs: nil) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    package var reach: Reach { .along(axis) }
    private let axis: Int, listed: [Int]?, parts: Int?, sizesAreInput: Bool
    package init(_ attributes: Attributes) throws {
        axis = try attributes.int("axis", default: 0)
        sizesAreInput = attributes.opset >= 13
        listed = sizesAreInput ? nil : try attributes.ints("split")
        parts =
            attributes.opset >= 18 && attributes.has("num_outputs")
            ? try attributes.int("num_outputs") : nil
    }

    private func ranges(_ shape: Shape, _ inputs: [Operand?], outputs: Int) throws -> [SliceRange] {
        let axis = try normalised(self.axis, rank: shape.rank)
        let extent = shape.dims[axis]
        if let parts, parts != outputs {
            throw OperatorError("has \(outputs) outputs, and num_outputs \(parts)")
        }
        var sizes = sizesAreInput ? try constant(inputs, 1, "split")?.ints() : listed
        if sizes == nil, outputs > 0 {
            let size = (extent + outputs - 1) / outputs
            sizes = (0..<outputs).map { min(size, extent - $0 * size) }
        }
        guard let sizes, sizes.count == outputs, sizes.allSatisfy({ $0 > 0 && $0 <= extent }),
            sizes.reduce(0, +) == extent
        else {
            throw OperatorError("splits \(extent) elements into \(sizes ?? []) for \(outputs) outputs")
        }
        var start = 0
        return sizes.map { size in
            defer { start += size }
            return SliceRange(axis: axis, start: start, step: 1, count: size)
        }
    }

    /// The number of outputs is not known here, so the sizes must be.
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first else { return nil }
        let operands = inputs.map { $0.map(Operand.host) }
        let sizes = try sizesAreInput ? constant(operands, 1, "split")?.ints() : listed
        guard let outputs = sizes?.count ?? parts else { return nil }
        try limits.memory.check(40 * x.shape.count)
        return try ranges(x.shape, operands, outputs: outputs).map { range in
            let (indices, shape) = positions(x.shape, [range])
            return try x.picking(indices, shape: shape)
        }
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        if case .host(let x)? = inputs.first {
            // Whole numbers, as of a shape.
            try tape.limits.memory.check(40 * x.shape.count)
            return try ranges(x.shape, inputs, outputs: outputs).map { range in
                let (indices, shape) = positions(x.shape, [range])
                return .host(try x.picking(indices, shape: shape))
            }
        }
        let x = try tape.value(required(inputs, 0, "input"))
        return try ranges(tape.shape(x), inputs, outputs: outputs).map { .value(tape.slice(x, [$0])) }
    }
    /// The parts in ascending order, each among zeros. They are added even where nothing meets: x + 0 makes +0 of −0.
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let shape = tape.shape(try required(node.inputs, 0, "input"))
        let ranges = try ranges(shape, node.inputs, outputs: cotangents.count)
        var sum: Value?
        for (part, range) in zip(cotangents, ranges) {
            guard let part else { continue }
            let whole = tape.unslice(part, into: shape, [range])
            sum = sum.map { tape.map(WB_MAP_add, $0, whole) } ?? whole
        }
        return node.each(wanted) { $0 == 0 ? sum : nil }
    }
}

package struct Pad: UnaryOperator {
    package static let name = "Pad"
    package static let accepts = Meaning.all
    package static let formula =
        "a border of a constant, or of the tensor's own edge, mirror image or other side; negative pads cut off"
    package static func arity(opset: Int) -> Arity {
        Arity(inputs: opset >= 18 ? 4 : opset >= 11 ? 3 : 1)
    }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    package var reach: Reach {
        .along { shape, inputs in
            let (kept, pads) = try pads(shape, inputs)
            return shape.dims.indices.filter { axis in
                pads[axis] != (0, 0) || kept.contains { $0.axis == axis }
            }
        }
    }
    private enum Mode: String { case constant, edge, reflect, wrap }
    private let mode: Mode, listed: [Int]?, number: Float
    package var addsNegatives: Bool { !(number >= 0) }

    package init(_ attributes: Attributes) throws {
        let name = try attributes.string("mode", default: "constant")
        guard let mode = Mode(rawValue: name) else {
            throw OperatorError("has the mode “\(name.prefix(40))”, which does not exist")
        }
        self.mode = mode
        listed = attributes.opset < 11 ? try attributes.ints("pads") ?? [] : nil
        number = attributes.opset < 11 ? try attributes.float("value", default: 0) : 0
    }

    /// What is left of the tensor where pads are negative, and the elements before and after it, for each dimension.
    private func pads(_ shape: Shape, _ inputs: [Operand?]) throws -> (
        kept: [SliceRange], pads: [(before: Int, after: Int)]
    ) {
        guard let given = try listed ?? constant(inputs, 1, "pads")?.ints() else {
            throw OperatorError("lacks its pads")
        }
        let axes =
            try constant(inputs, 3, "axes")?.ints().map { try normalised($0, rank: shape.rank) }
            ?? Array(0..<shape.rank)
        guard given.count == 2 * axes.count, Set(axes).count == axes.count else {
            throw OperatorError("has \(given.count) pads for \(axes.count) axes")
        }
        var pads = Array(repeating: (before: 0, after: 0), count: shape.rank)
        var kept: [SliceRange] = []
        for (i, axis) in axes.enumerated() {
            let (before, after) = (given[i], given[i + axes.count])
            guard max(abs(before), abs(after)) < 1 << 24 else {
                throw OperatorError("has the pads \(given); they must be less than \(1 << 24) here")
            }
            let extent = shape.dims[axis] + min(before, 0) + min(after, 0)
            guard extent > 0 else {
                throw OperatorError(
                    "leaves nothing of axis \(axis) of the shape \(shape) with the pads \(given)")
            }
            if extent < shape.dims[axis] {
                kept.append(SliceRange(axis: axis, start: max(0, -before), step: 1, count: extent))
            }
            pads[axis] = (max(before, 0), max(after, 0))
            guard mode != .reflect || extent > 1 || pads[axis] == (0, 0) else {
                throw OperatorError("mirrors axis \(axis) of the shape \(shape), which has one element")
            }
        }
        return (kept, pads)
    }

    /// Where the elements of one dimension come from; -1 for the constant.
    private func sources(_ extent: Int, _ pad: (before: Int, after: Int)) -> [Int] {
        (-pad.before..<extent + pad.after).map { i in
            switch mode {
            case .constant: return (0..<extent).contains(i) ? i : -1
            case .edge: return min(max(i, 0), extent - 1)
            case .wrap: return (i % extent + extent) % extent
            case .reflect:
                let period = max(1, 2 * (extent - 1))
                let at = (i % period + period) % period
                return min(at, period - at)
            }
        }
    }

    /// The border of the modes that take it from the tensor, one dimension after the other.
    private func products(_ shape: Shape, _ pads: [(before: Int, after: Int)], _ limits: Limits) throws
        -> [SparseProduct]
    {
        try shape.dims.indices.filter { pads[$0] != (0, 0) }.map { axis in
            let (extent, rows) = (shape.dims[axis], shape.dims[axis] + pads[axis].before + pads[axis].after)
            try limits.memory.check(SparseMatrix.bytes(rows: rows, terms: rows))
            return SparseProduct(
                SparseMatrix(columns: extent, selecting: sources(extent, pads[axis])), axes: axis..<axis + 1,
                extents: [rows])
        }
    }

    private func padded(_ shape: Shape, _ pads: [(before: Int, after: Int)]) -> [Int] {
        shape.dims.indices.map { pads[$0].before + shape.dims[$0] + pads[$0].after }
    }
    private func inside(_ shape: Shape, _ pads: [(before: Int, after: Int)]) -> [SliceRange] {
        shape.dims.indices.map {
            SliceRange(axis: $0, start: pads[$0].before, step: 1, count: shape.dims[$0])
        }
    }
    private func number(_ inputs: [Operand?]) throws -> Float {
        try constant(inputs, 2, "constant_value")?.floats().first ?? number
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, var x = first else { return nil }
        let operands = inputs.map { $0.map(Operand.host) }
        let (kept, pads) = try pads(x.shape, operands)
        try limits.memory.check(40 * x.shape.count)
        let (indices, shape) = positions(x.shape, kept)
        x = try x.picking(indices, shape: shape)
        guard mode == .constant else {
            for product in try products(shape, pads, limits) {
                try limits.memory.check(16 * product.shape(of: x.shape).count)
                x = try product(x)!
            }
            return [x]
        }
        let new = try Shape(checking: padded(shape, pads))
        try limits.memory.check(32 * new.count)
        let places = positions(new, inside(shape, pads)).indices
        func filled<Number>(_ number: Number, _ numbers: [Number]) -> [Number] {
            var all = [Number](repeating: number, count: new.count)
            for (place, number) in zip(places, numbers) { all[place] = number }
            return all
        }
        if x.isInteger {
            let whole =
                try constant(operands, 2, "constant_value")?.ints().first
                ?? HostTensor([], .floats([self.number])).ints()[0]
            return [HostTensor(new, .ints(filled(whole, try x.ints())))]
        }
        return [HostTensor(new, .floats(filled(try number(operands), try x.floats())))]
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        var x = try tape.value(required(inputs, 0, "data"))
        let (kept, pads) = try pads(tape.shape(x), inputs)
        if !kept.isEmpty { x = tape.slice(x, kept) }
        let shape = tape.shape(x)
        let new = try Shape(padded(shape, pads)).checked()
        guard mode == .constant else {
            for product in try products(shape, pads, tape.limits) { x = tape.product(product, x) }
            return [.value(x)]
        }
        let y = tape.fill(new, with: try number(inputs))
        tape.place(x, into: y, inside(shape, pads))
        return [.value(y)]
    }

    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let whole = tape.shape(try required(node.inputs, 0, "data"))
        let (kept, pads) = try pads(whole, node.inputs)
        var dims = whole.dims
        for range in kept { dims[range.axis] = range.count }
        let shape = Shape(dims)
        var dx = dy
        if mode == .constant {
            dx = tape.slice(dy, inside(shape, pads))
        } else {
            var before = shape
            var back: [SparseProduct] = []
            for product in try products(shape, pads, tape.limits) {
                back.append(product.transposed(for: before))
                before = product.shape(of: before)
            }
            for product in back.reversed() { dx = tape.product(product, dx) }
        }
        return kept.isEmpty ? dx : tape.unslice(dx, into: whole, kept)
    }
}

/// The middle of a tensor, or the tensor in the middle of zeros, axis by axis.
package struct CenterCropPad: SparseOperator {
    package static let name = "CenterCropPad"
    package static let accepts = Meaning.all
    package static let formula =
        "the middle of the tensor, or the tensor in the middle of zeros, of a constant shape"
    package static let opsets = 18...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    private let axes: [Int]?
    package init(_ attributes: Attributes) throws { axes = try attributes.ints("axes") }

    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct] {
        guard let extents = try constant(inputs, 1, "shape")?.ints() else {
            throw OperatorError("lacks its shape")
        }
        let axes = try (axes ?? Array(0..<shape.rank)).map { try normalised($0, rank: shape.rank) }
        guard axes.count == extents.count, Set(axes).count == axes.count, extents.allSatisfy({ $0 > 0 })
        else {
            throw OperatorError("gives the axes \(axes) the extents \(extents)")
        }
        _ = try Shape(checking: extents)
        return try zip(axes, extents).filter { shape.dims[$0] != $1 }.map { axis, rows in
            let extent = shape.dims[axis]
            try limits.memory.check(SparseMatrix.bytes(rows: rows, terms: rows))
            let start = rows < extent ? (extent - rows) / 2 : -((rows - extent) / 2)
            return SparseProduct(
                SparseMatrix(
                    columns: extent,
                    selecting: (start..<start + rows).map { (0..<extent).contains($0) ? $0 : -1 }),
                axes: axis..<axis + 1, extents: [rows])
        }
    }
}
