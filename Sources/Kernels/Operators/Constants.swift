// Tensors that are known before any picture is: constants, and the arithmetic of shapes.

import CMicrokernels

package struct Constant: Operator {
    package static let name = "Constant"
    package static let formula = "a tensor that the node carries"
    package static func arity(opset: Int) -> Arity { Arity(inputs: 0) }
    package static let hasGradient = false
    private let tensor: HostTensor

    package init(_ attributes: Attributes) throws {
        if let tensor = try attributes.tensor("value") {
            self.tensor = tensor
        } else if attributes.has("value_float") {
            tensor = HostTensor([], .floats([try attributes.float("value_float", default: 0)]))
        } else if attributes.has("value_int") {
            tensor = HostTensor([], .ints([try attributes.int("value_int")]))
        } else if let ints = try attributes.ints("value_ints") {
            tensor = HostTensor(ints: ints)
        } else if case .floats(let floats)? = attributes["value_floats"] {
            tensor = HostTensor([floats.count], .floats(floats))
        } else {
            throw OperatorError("carries no tensor of numbers")
        }
    }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? { [tensor] }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.host(tensor)]
    }
}

package struct ConstantOfShape: Operator {
    package static let name = "ConstantOfShape"
    package static let formula = "a tensor of one number with a constant shape"
    package static let hasGradient = false
    package static let opsets = 9...24
    private let number: HostTensor

    package init(_ attributes: Attributes) throws {
        number = try attributes.tensor("value") ?? HostTensor([1], .floats([0]))
        guard number.shape.count == 1 else {
            throw OperatorError("has a “value” of \(number.shape.count) numbers, where one is needed")
        }
    }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let dims = try first?.ints() else {
            throw OperatorError("lacks its shape")
        }
        guard dims.count <= Shape.maximumRank else { throw OperatorError("makes a tensor of shape \(dims)") }
        let shape = try Shape(checking: dims)
        let count = shape.count
        try limits.memory.check(8 * count)
        if number.isInteger {
            return [HostTensor(shape, .ints(Array(repeating: try number.ints()[0], count: count)))]
        }
        return [HostTensor(shape, .floats(Array(repeating: try number.floats()[0], count: count)))]
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        guard let shape = try constant(inputs, 0, "shape") else { throw OperatorError("lacks its shape") }
        return try fold([shape], within: tape.limits)!.map { .host($0) }
    }
}

package struct ShapeOperator: Operator {
    package static let name = "Shape"
    package static let accepts = Meaning.all
    package static let formula = "the extents of a tensor, known once the input's are"
    package static let hasGradient = false
    private let start: Int, end: Int?
    package init(_ attributes: Attributes) throws {
        start = try attributes.int("start", default: 0)
        end = attributes.has("end") ? try attributes.int("end") : nil
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let shape = tape.shape(try required(inputs, 0, "data"))
        func place(_ i: Int) -> Int { min(max(i < 0 ? i + shape.rank : i, 0), shape.rank) }
        let (first, last) = (place(start), place(end ?? shape.rank))
        return [.host(HostTensor(ints: first < last ? Array(shape.dims[first..<last]) : []))]
    }
}

package struct Size: Operator {
    package static let name = "Size"
    package static let accepts = Meaning.all
    package static let formula = "the number of a tensor's elements, known once the input's shape is"
    package static let hasGradient = false
    package init(_ attributes: Attributes) throws {}
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        [.host(HostTensor([], .ints([tape.shape(try required(inputs, 0, "data")).count])))]
    }
}

/// An operator of constants alone: `fold` is all that there is to it.
protocol HostOperator: Operator {
    func value(_ inputs: [HostTensor?], _ limits: Limits) throws -> HostTensor
}
extension HostOperator {
    package static var hasGradient: Bool { false }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        [try value(inputs, limits)]
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let constants = try inputs.indices.map { try constant(inputs, $0, "all of them") }
        return [.host(try value(constants, tape.limits))]
    }
    fileprivate func given(_ inputs: [HostTensor?], _ index: Int, _ what: String) throws -> HostTensor {
        guard index < inputs.count, let tensor = inputs[index] else {
            throw OperatorError("lacks its input \(index) (\(what))")
        }
        return tensor
    }
}

package struct RangeOperator: HostOperator {
    package static let name = "Range"
    package static let formula = "start, start + delta, ... up to but not including the limit; constants"
    package static let opsets = 11...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    package init(_ attributes: Attributes) throws {}
    func value(_ inputs: [HostTensor?], _ limits: Limits) throws -> HostTensor {
        let parts = try (0..<3).map { try given(inputs, $0, ["start", "limit", "delta"][$0]) }
        guard parts.allSatisfy({ $0.shape.count == 1 }) else {
            throw OperatorError("needs single numbers, and has shapes \(parts.map(\.shape))")
        }
        func checked(_ count: Double) throws -> Int {
            guard count.isFinite, count < Double(Shape.largestCount) else {
                throw OperatorError("makes a list of \(count) numbers")
            }
            try limits.memory.check(16 * Int(max(0, count)))
            return Int(max(0, count))
        }
        if parts.allSatisfy(\.isInteger) {
            let (start, limit, delta) = (
                try parts[0].ints()[0], try parts[1].ints()[0], try parts[2].ints()[0]
            )
            guard delta != 0 else { throw OperatorError("has steps of 0") }
            let (span, overflow) = limit.subtractingReportingOverflow(start)
            guard !overflow, span > .min, delta > .min else {
                throw OperatorError("goes from \(start) to \(limit)")
            }
            let steps = span / delta + (span % delta != 0 && (span < 0) == (delta < 0) ? 1 : 0)
            let count = try checked(Double(steps))
            return HostTensor(ints: (0..<count).map { start + $0 * delta })
        }
        let (start, limit, delta) = (
            try parts[0].floats()[0], try parts[1].floats()[0], try parts[2].floats()[0]
        )
        guard delta != 0 else { throw OperatorError("has steps of 0") }
        let count = try checked(((Double(limit) - Double(start)) / Double(delta)).rounded(.up))
        return HostTensor([count], .floats((0..<count).map { start + Float($0) * delta }))
    }
}

package struct NonZero: HostOperator {
    package static let name = "NonZero"
    package static let formula = "the indices of the numbers of a constant that are not 0"
    package static let opsets = 9...24
    package init(_ attributes: Attributes) throws {}
    func value(_ inputs: [HostTensor?], _ limits: Limits) throws -> HostTensor {
        let x = try given(inputs, 0, "X")
        try limits.memory.check(8 * (2 + x.shape.rank) * x.shape.count)
        let numbers = x.isInteger ? try x.ints().map { $0 != 0 } : try x.floats().map { $0 != 0 }
        let found = numbers.indices.filter { numbers[$0] }
        let places = zip(x.shape.dims, x.shape.rowMajorStrides).flatMap { extent, stride in
            found.map { $0 / stride % extent }
        }
        return HostTensor([x.shape.rank, found.count], .ints(places))
    }
}

package struct EyeLike: Operator {
    package static let name = "EyeLike"
    package static let accepts = Meaning.all
    package static let formula = "1 on a diagonal of a matrix, and 0 elsewhere"
    package static let opsets = 9...24
    package static let hasGradient = false
    private let type: Int?, k: Int
    package init(_ attributes: Attributes) throws {
        type = attributes.has("dtype") ? try attributes.int("dtype") : nil
        k = try attributes.int("k", default: 0)
    }
    private func eye(_ shape: Shape, isInteger: Bool, _ limits: Limits) throws -> HostTensor {
        guard shape.rank == 2 else { throw OperatorError("needs a matrix, and has the shape \(shape)") }
        try limits.memory.check(16 * shape.count)
        let ones = (0..<shape.count).map { $0 % shape.dims[1] - $0 / shape.dims[1] == k }
        // The floating-point data types of ONNX, as Cast has them.
        let whole = type.map { ![1, 10, 11, 16].contains($0) } ?? isInteger
        return HostTensor(
            shape, whole ? .ints(ones.map { $0 ? 1 : 0 }) : .floats(ones.map { $0 ? 1 : 0 }))
    }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let x = first else { return nil }
        return [try eye(x.shape, isInteger: x.isInteger, limits)]
    }
    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let x = try required(inputs, 0, "input")
        return [.host(try eye(tape.shape(x), isInteger: tape.meaning(x) != .real, tape.limits))]
    }
}

package struct OneHot: Operator {
    package static let name = "OneHot"
    package static let accepts: Set<Meaning> = [.real, .integer]
    package static let formula = "one number at each index along a new axis, and another elsewhere"
    package static let opsets = 9...24
    package static let hasGradient = false
    package static func arity(opset: Int) -> Arity { Arity(inputs: 3) }
    private let axis: Int
    package init(_ attributes: Attributes) throws { axis = try attributes.int("axis", default: -1) }

    package func meaning(ofOutput index: Int, _ inputs: [Meaning?]) -> Meaning {
        (inputs.count > 2 ? inputs[2] : nil) ?? .real
    }

    private func layout(_ indices: Shape, _ inputs: [Operand?]) throws -> (
        axis: Int, depth: Int, values: HostTensor, shape: Shape
    ) {
        guard let depth = try constant(inputs, 1, "depth")?.ints().first, depth > 0, depth < 1 << 24 else {
            throw OperatorError("lacks its depth")
        }
        guard let values = try constant(inputs, 2, "values"), values.shape.count == 2 else {
            throw OperatorError("lacks its two values")
        }
        let axis = try normalised(self.axis, rank: indices.rank + 1)
        var dims = indices.dims
        dims.insert(depth, at: axis)
        return (axis, depth, values, try Shape(checking: dims))
    }

    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? {
        guard let first = inputs.first, let indices = first else { return nil }
        let (axis, depth, values, shape) = try layout(indices.shape, inputs.map { $0.map(Operand.host) })
        try limits.memory.check(24 * shape.count)
        let list = try indices.ints()
        let inner = shape.dims[(axis + 1)...].reduce(1, *)
        let hot = (0..<shape.count).map { place -> Bool in
            let index = list[place / (inner * depth) * inner + place % inner]
            return (index < 0 ? index + depth : index) == place / inner % depth
        }
        if values.isInteger {
            let (off, on) = (try values.ints()[0], try values.ints()[1])
            return [HostTensor(shape, .ints(hot.map { $0 ? on : off }))]
        }
        let (off, on) = (try values.floats()[0], try values.floats()[1])
        return [HostTensor(shape, .floats(hot.map { $0 ? on : off }))]
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let indices = try tape.wholeValue(required(inputs, 0, "indices"))
        let (axis, depth, values, shape) = try layout(tape.shape(indices), inputs)
        _ = try shape.checked()
        let numbers = try values.floats()
        guard numbers.allSatisfy(\.isFinite) else { throw OperatorError("has the values \(numbers)") }
        var dims = tape.shape(indices).dims
        dims.insert(1, at: axis)
        let index = tape.reshape(indices, to: Shape(dims))
        var line = dims.map { _ in 1 }
        line[axis] = depth
        // A number that is the place's, or lies `depth` below it.
        var y: Value?
        for shift in [0, depth] {
            let places = HostTensor(Shape(line), .floats((0..<depth).map { Float($0 - shift) }))
            let distance = tape.map(WB_MAP_subtract, index, try tape.constant(places))
            let one = tape.map(WB_MAP_keep_where_small, tape.fill([1], with: 1), distance, a: 0.5)
            y = y.map { tape.map(WB_MAP_add, $0, one) } ?? one
        }
        // on · 1 + off · 0, and the other way round: both exact.
        let off = tape.map(
            WB_MAP_scale, tape.map(WB_MAP_subtract, tape.fill([1], with: 1), y!), a: numbers[0])
        return [.value(tape.map(WB_MAP_add, tape.map(WB_MAP_scale, y!, a: numbers[1]), off))]
    }
}
