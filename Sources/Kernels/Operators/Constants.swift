// Tensors that are known before any picture is: constants, and the arithmetic of shapes.

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
