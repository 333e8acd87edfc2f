// Parts of tensors, and tensors put together from parts.

import CMicrokernels

/// Every `step`th index of one dimension from `start` on, `count` of them.
struct SliceRange: Hashable {
    var axis: Int, start: Int, step: Int, count: Int
}

extension Tape {
    /// The strides of a part of a tensor with these strides, and where it begins.
    private func place(_ strides: [Int], _ ranges: [SliceRange]) -> (strides: [Int], start: Int) {
        var part = strides
        for range in ranges { part[range.axis] *= range.step }
        return (part, ranges.reduce(0) { $0 + $1.start * strides[$1.axis] })
    }

    /// A part of a value: a view.
    mutating func slice(_ x: Value, _ ranges: [SliceRange]) -> Value {
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
    mutating func unslice(_ part: Value, into whole: Shape, _ ranges: [SliceRange]) -> Value {
        let y = fill(whole, with: 0)
        place(part, into: y, ranges)
        return y
    }

    mutating func place(_ part: Value, into whole: Value, _ ranges: [SliceRange]) {
        let (strides, start) = place(shape(whole).strides, ranges)
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
    package var keepsPicturesApart: Bool { axis == 1 }
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
        return (axis, starts, try Shape(dims).checked())
    }

    /// The shapes of the operands. A constant of one picture beside activations of several, as a class token in a file that was made for one
    /// picture, belongs to each of them.
    private func shapes(_ tape: Tape, _ operands: [Operand]) -> [Shape] {
        let shapes = operands.map { tape.shape($0) }
        let pictures = zip(operands, shapes).compactMap { operand, shape -> Int? in
            if case .host = operand { nil } else { shape.dims.first }
        }.max()
        guard let pictures, axis != 0 else { return shapes }
        return zip(operands, shapes).map { operand, shape in
            guard case .host = operand, shape.rank > 0, shape.dims[0] == 1 else { return shape }
            return Shape([pictures] + shape.dims.dropFirst())
        }
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        let parts = inputs.compactMap { $0 }
        guard parts.count == inputs.count, parts.allSatisfy({ $0.isInteger && $0.shape.rank == 1 }) else {
            return nil
        }
        _ = try normalised(axis, rank: 1)
        try limits.memory.check(16 * parts.reduce(0) { $0 + $1.shape.count })
        return [HostTensor(ints: try parts.flatMap { try $0.ints() })]
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let operands = try inputs.indices.map { try required(inputs, $0, "input") }
        let shapes = shapes(tape, operands)
        let (axis, starts, shape) = try layout(shapes)
        let y = tape.value(shape)
        // An empty constant adds nothing.
        for ((operand, own), start) in zip(zip(operands, shapes), starts) where own.count > 0 {
            let value = try tape.value(operand)
            let part = tape.view(
                value, as: own, strides: tape.strides(value, broadcastTo: own), offset: tape.offset(value))
            tape.place(
                part, into: y,
                [SliceRange(axis: axis, start: start, step: 1, count: tape.shape(part).dims[axis])])
        }
        return [.value(y)]
    }
    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let shapes = shapes(tape, try node.inputs.indices.map { try required(node.inputs, $0, "input") })
        let (axis, starts, _) = try layout(shapes)
        return node.each(wanted) { input in
            let part = SliceRange(
                axis: axis, start: starts[input], step: 1, count: shapes[input].dims[axis])
            return tape.slice(cotangents[0]!, [part])
        }
    }
}

package struct Slice: UnaryOperator {
    package static let name = "Slice"
    package static let accepts = Meaning.all
    package static let formula = "every step-th element from start to end along axes"
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 10 ? 5 : 1) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
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

    private func ranges(_ shape: Shape, _ inputs: [Operand?]) throws -> [SliceRange] {
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
            guard count > 0 else {
                throw OperatorError("takes nothing of axis \(axis) of the shape \(shape)")
            }
            return SliceRange(axis: axis, start: start, step: step, count: count)
        }
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first else { return nil }
        let ranges = try ranges(x.shape, inputs.map { $0.map(Operand.host) })
        // The positions, those before the last axis, and the elements; and all elements as floats.
        let count = ranges.reduce(x.shape.count) { $0 / x.shape.dims[$1.axis] * $1.count }
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

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
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

package struct Gather: UnaryOperator {
    package static let name = "Gather"
    package static let accepts = Meaning.all
    package static let formula =
        "the elements at constant indices along an axis; of activations one index only"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 2) }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
    private let axis: Int
    package init(_ attributes: Attributes) throws { axis = try attributes.int("axis", default: 0) }

    private func place(_ shape: Shape, _ inputs: [HostTensor?]) throws -> (
        axis: Int, indices: [Int], shape: Shape
    ) {
        guard inputs.count > 1, let indices = inputs[1] else { throw OperatorError("lacks its indices") }
        let axis = try normalised(self.axis, rank: shape.rank)
        let extent = shape.rank == 0 ? 0 : shape.dims[axis]
        let list = try indices.ints().map { index in
            guard index >= -extent, index < extent else {
                throw OperatorError("takes index \(index) of \(extent)")
            }
            return index < 0 ? index + extent : index
        }
        let gathered = Array(shape.dims[..<axis]) + indices.shape.dims + Array(shape.dims[(axis + 1)...])
        return (axis, list, try Shape(checking: gathered))
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first else { return nil }
        let (axis, list, shape) = try place(x.shape, inputs)
        let outer = x.shape.dims[..<axis].reduce(1, *)
        let inner = x.shape.dims[(axis + 1)...].reduce(1, *)
        // The positions, growing, and the elements; and all elements as floats.
        try limits.memory.check(32 * shape.count + 4 * x.shape.count)
        let indices = (0..<outer).flatMap { o in
            list.flatMap { i in (0..<inner).map { (o * x.shape.dims[axis] + i) * inner + $0 } }
        }
        return [try x.picking(indices, shape: shape)]
    }

    private func range(_ tape: Tape, _ inputs: [Operand?]) throws -> (range: SliceRange, shape: Shape) {
        guard let indices = try constant(inputs, 1, "indices") else {
            throw OperatorError("lacks its indices")
        }
        let (axis, list, shape) = try place(tape.shape(required(inputs, 0, "data")), [nil, indices])
        guard list.count == 1 else {
            throw OperatorError(
                unsupported: "gathers \(list.count) slices of an activation; one is supported")
        }
        return (SliceRange(axis: axis, start: list[0], step: 1, count: 1), shape)
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let (range, shape) = try range(tape, inputs)
        return [
            .value(tape.reshape(tape.slice(try tape.value(required(inputs, 0, "data")), [range]), to: shape))
        ]
    }
    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let whole = tape.shape(try required(node.inputs, 0, "data"))
        let range = try range(tape, node.inputs).range
        var dims = whole.dims
        dims[range.axis] = 1
        return tape.unslice(tape.reshape(dy, to: Shape(dims)), into: whole, [range])
    }
}

package struct Pad: UnaryOperator {
    package static let name = "Pad"
    package static let formula = "a border of a constant, or of the tensor's own edge or mirror image"
    package static func arity(opset: Int) -> Arity {
        Arity(inputs: opset >= 18 ? 4 : opset >= 11 ? 3 : 1)
    }
    package let role: Role = .rearranges
    package let dependence: Dependence = .selects
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

    /// Elements before and after, for each dimension.
    private func pads(_ shape: Shape, _ inputs: [Operand?]) throws -> [(before: Int, after: Int)] {
        guard let given = try listed ?? constant(inputs, 1, "pads")?.ints() else {
            throw OperatorError("lacks its pads")
        }
        let axes =
            try constant(inputs, 3, "axes")?.ints().map { try normalised($0, rank: shape.rank) }
            ?? Array(0..<shape.rank)
        guard given.count == 2 * axes.count else {
            throw OperatorError("has \(given.count) pads for \(axes.count) axes")
        }
        var pads = Array(repeating: (before: 0, after: 0), count: shape.rank)
        for (i, axis) in axes.enumerated() {
            let (before, after) = (given[i], given[i + axes.count])
            let extent = shape.dims[axis]
            guard before >= 0, after >= 0, before < 1 << 24, after < 1 << 24 else {
                throw OperatorError("has the pads \(given); they must be 0 to \((1 << 24) - 1) here")
            }
            let most = mode == .reflect ? extent - 1 : mode == .wrap ? extent : Int.max
            guard max(before, after) <= most else {
                throw OperatorError(
                    "pads \(extent) elements by \(max(before, after)) in mode \(mode.rawValue)")
            }
            pads[axis] = (before, after)
        }
        return pads
    }

    /// Where the border of `axis` comes from: ranges of the padded tensor, and of the tensor before.
    private func borders(_ extent: Int, _ pad: (before: Int, after: Int), axis: Int) -> [(
        to: SliceRange, from: SliceRange
    )] {
        func range(_ start: Int, _ count: Int, step: Int = 1) -> SliceRange {
            SliceRange(axis: axis, start: start, step: step, count: count)
        }
        let (b, a) = pad
        let before: SliceRange
        let after: SliceRange
        switch mode {
        case .constant: return []
        case .edge: (before, after) = (range(0, b, step: 0), range(extent - 1, a, step: 0))
        case .reflect: (before, after) = (range(b, b, step: -1), range(extent - 2, a, step: -1))
        case .wrap: (before, after) = (range(extent - b, b), range(0, a))
        }
        return [(range(0, b), before), (range(b + extent, a), after)].filter { $0.0.count > 0 }
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        var x = try tape.value(required(inputs, 0, "data"))
        let pads = try pads(tape.shape(x), inputs)
        if mode == .constant {
            let number = try constant(inputs, 2, "constant_value")?.floats().first ?? self.number
            let shape = tape.shape(x)
            let padded = try Shape(
                shape.dims.indices.map { pads[$0].before + shape.dims[$0] + pads[$0].after }
            ).checked()
            let y = tape.fill(padded, with: number)
            tape.place(
                x, into: y,
                shape.dims.indices.map {
                    SliceRange(axis: $0, start: pads[$0].before, step: 1, count: shape.dims[$0])
                })
            return [.value(y)]
        }
        for (axis, pad) in pads.enumerated() where pad.before + pad.after > 0 {
            let shape = tape.shape(x)
            let extent = shape.dims[axis]
            var dims = shape.dims
            dims[axis] += pad.before + pad.after
            let y = tape.value(try Shape(dims).checked())
            tape.place(x, into: y, [SliceRange(axis: axis, start: pad.before, step: 1, count: extent)])
            for (to, from) in borders(extent, pad, axis: axis) {
                tape.place(tape.slice(x, [from]), into: y, [to])
            }
            x = y
        }
        return [.value(x)]
    }

    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        let shape = tape.shape(try required(node.inputs, 0, "data"))
        let pads = try pads(shape, node.inputs)
        var dy = dy
        if mode == .constant {
            return tape.slice(
                dy,
                shape.dims.indices.map {
                    SliceRange(axis: $0, start: pads[$0].before, step: 1, count: shape.dims[$0])
                })
        }
        for (axis, pad) in pads.enumerated().reversed() where pad.before + pad.after > 0 {
            let extent = shape.dims[axis]
            var dx = tape.slice(dy, [SliceRange(axis: axis, start: pad.before, step: 1, count: extent)])
            for (to, from) in borders(extent, pad, axis: axis) {
                var part = tape.slice(dy, [to])
                var from = from
                if from.step == 0 {
                    // Every element of the border came from the one on the edge.
                    part = tape.reduce(part, axes: [axis])
                    (from.step, from.count) = (1, 1)
                }
                dx = tape.map(WB_MAP_add, dx, tape.unslice(part, into: tape.shape(dx), [from]))
            }
            dy = dx
        }
        return dy
    }
}
