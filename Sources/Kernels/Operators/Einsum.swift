// Sums of products by an equation: sums over axes, transposes, and one product of matrices.

import CMicrokernels

/// y by an equation such as “bhwc,hkc->bhwk”. No letter stands twice in one operand.
package struct Einsum: Operator {
    package static let name = "Einsum"
    package static let formula =
        "sums of products of one or two tensors by an equation without a letter twice in one of them"
    package static let opsets = 12...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: nil) }
    package let gradientNeeds: GradientNeeds = .inputs
    private let equation: String

    package init(_ attributes: Attributes) throws {
        equation = try attributes.string("equation", default: "").filter { $0 != " " }
        guard !equation.isEmpty else { throw OperatorError("lacks its equation") }
    }

    /// The axes of each operand and of the output, named by letters; those of an ellipsis by numbers from behind.
    private struct Plan {
        var terms: [[String]], output: [String]
        var extents: [String: Int]
        /// In both operands and the output; in both only; in the output and one of them.
        var batch: [String] = [], summed: [String] = [], own: [[String]] = [[], []]
        func shape(_ names: [String]) -> Shape { Shape(names.map { extents[$0]! }) }
        func count(_ names: [String]) -> Int { names.reduce(1) { $0 * extents[$1]! } }
        /// What is left of an operand when it is summed over the axes that nobody else has.
        func kept(_ operand: Int) -> [String] {
            terms[operand].filter { name in
                output.contains(name) || terms.indices.contains { $0 != operand && terms[$0].contains(name) }
            }
        }
    }

    private func plan(_ shapes: [Shape]) throws -> Plan {
        func fault(_ problem: String) -> OperatorError {
            OperatorError("has the equation “\(equation.prefix(80))”, which \(problem)")
        }
        let sides = equation.split(separator: "->", omittingEmptySubsequences: false).map(String.init)
        let operands = sides[0].split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        guard sides.count <= 2, operands.count == shapes.count else {
            throw fault("is not for \(shapes.count) inputs")
        }
        guard shapes.count <= 2 else {
            throw OperatorError(unsupported: "has \(shapes.count) inputs; one or two are supported")
        }
        /// The names of a term's axes.
        func names(_ term: String, ellipsis: Int) throws -> [String] {
            var names: [String] = []
            var rest = Substring(term)
            while let letter = rest.first {
                if rest.hasPrefix("...") {
                    names += (0..<ellipsis).reversed().map { "\($0)" }
                    rest = rest.dropFirst(3)
                } else if letter.isASCII, letter.isLetter {
                    names.append(String(letter))
                    rest = rest.dropFirst()
                } else {
                    throw fault("has a “\(letter)”")
                }
            }
            guard Set(names).count == names.count else {
                throw OperatorError(
                    unsupported:
                        "has the equation “\(equation.prefix(80))”, with an axis twice in one term, which is not supported"
                )
            }
            return names
        }
        var terms: [[String]] = []
        var (extents, dots): ([String: Int], Int) = ([:], 0)
        for (term, shape) in zip(operands, shapes) {
            let ellipsis = term.contains("...") ? shape.rank - (term.count - 3) : 0
            guard ellipsis >= 0 else { throw fault("does not fit the shape \(shape)") }
            dots = max(dots, ellipsis)
            let axes = try names(term, ellipsis: ellipsis)
            guard axes.count == shape.rank else { throw fault("does not fit the shape \(shape)") }
            for (name, extent) in zip(axes, shape.dims) {
                guard extents[name, default: extent] == extent else {
                    throw OperatorError(
                        unsupported:
                            "has the equation “\(equation.prefix(80))” and extents of \(extents[name]!) and \(extent) for one axis"
                    )
                }
                extents[name] = extent
            }
            terms.append(axes)
        }
        let output: [String]
        if sides.count == 2 {
            output = try names(sides[1], ellipsis: dots)
        } else {
            // Those that stand once, in the order of the alphabet, after an ellipsis.
            let all = terms.flatMap(\.self)
            let letters = Set(all).filter { name in
                name.first!.isLetter && all.count { $0 == name } == 1
            }
            output = (0..<dots).reversed().map { "\($0)" } + letters.sorted()
        }
        guard output.allSatisfy({ extents[$0] != nil }) else { throw fault("makes axes of nothing") }
        var plan = Plan(terms: terms, output: output, extents: extents)
        guard terms.count == 2 else { return plan }
        let (a, b) = (Set(terms[0]), Set(terms[1]))
        plan.batch = output.filter { a.contains($0) && b.contains($0) }
        plan.summed = terms[0].filter { b.contains($0) && !output.contains($0) }
        plan.own = [output.filter { !b.contains($0) }, output.filter { !a.contains($0) }]
        return plan
    }

    /// An operand as matrices: [batch, rows, terms] or [batch, terms, columns].
    private func order(_ plan: Plan, _ operand: Int) -> (names: [String], shape: Shape) {
        let own = plan.own[operand]
        let (batch, summed) = (plan.count(plan.batch), plan.count(plan.summed))
        return operand == 0
            ? (plan.batch + own + plan.summed, [batch, plan.count(own), summed])
            : (plan.batch + plan.summed + own, [batch, summed, plan.count(own)])
    }

    private func arranged(_ tape: inout Tape, _ x: Value, _ from: [String], _ to: [String]) -> Value {
        tape.transpose(x, to.map { from.firstIndex(of: $0)! })
    }

    /// The sum over the axes of an operand that stand nowhere else.
    private func reduced(_ tape: inout Tape, _ x: Value, _ plan: Plan, _ operand: Int) -> Value {
        let kept = plan.kept(operand)
        let axes = plan.terms[operand].indices.filter { !kept.contains(plan.terms[operand][$0]) }
        return axes.isEmpty ? x : tape.reshape(tape.reduce(x, axes: axes), to: plan.shape(kept))
    }

    private func matrices(_ tape: inout Tape, _ inputs: [Operand?], _ plan: Plan) throws -> [Operand] {
        try (0..<2).map { operand in
            let given = try required(inputs, operand, "an operand")
            let (names, shape) = order(plan, operand)
            // A constant matrix is put in order when it is loaded, and read as weights are.
            if case .host(let tensor) = given, operand == 1, plan.batch.isEmpty,
                names.count == plan.terms[1].count, !tensor.isInteger
            {
                let turned = tensor.transposed(names.map { plan.terms[1].firstIndex(of: $0)! })
                return .host(turned.reshaped(Shape(Array(shape.dims.dropFirst()))))
            }
            let x = reduced(&tape, try tape.value(given), plan, operand)
            return .value(
                tape.reshape(arranged(&tape, x, plan.kept(operand), names), to: try shape.checked()))
        }
    }

    private func shapes(_ tape: Tape, _ inputs: [Operand?]) throws -> [Shape] {
        try inputs.indices.map { tape.shape(try required(inputs, $0, "an operand")) }
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        let plan = try plan(shapes(tape, inputs))
        _ = try plan.shape(plan.output).checked()
        guard inputs.count == 2 else {
            let x = reduced(&tape, try tape.value(required(inputs, 0, "an operand")), plan, 0)
            return [.value(arranged(&tape, x, plan.kept(0), plan.output))]
        }
        let product = try MatMul(Attributes(opset: 13)).forward(
            &tape, matrices(&tape, inputs, plan), outputs: 1)
        let names = plan.batch + plan.own[0] + plan.own[1]
        let y = tape.reshape(try tape.value(product[0]), to: plan.shape(names))
        return [.value(arranged(&tape, y, names, plan.output))]
    }

    package func vjp(
        _ tape: inout Tape, _ node: LoweredNode, cotangents: [Value?], wanted: Set<Int>
    ) throws -> [Value?] {
        let shapes = try shapes(tape, node.inputs)
        let plan = try plan(shapes)
        /// Back through the sum: each element gets the same.
        func spread(_ dx: Value, _ operand: Int) -> Value {
            let kept = plan.kept(operand)
            let one = Shape(plan.terms[operand].map { kept.contains($0) ? plan.extents[$0]! : 1 })
            if one == shapes[operand] { return dx }
            let x = tape.reshape(dx, to: one)
            return tape.view(
                x, as: shapes[operand], strides: tape.strides(x, broadcastTo: shapes[operand]),
                offset: tape.offset(x))
        }
        guard node.inputs.count == 2 else {
            let dx = arranged(&tape, cotangents[0]!, plan.output, plan.kept(0))
            return node.each(wanted) { _ in spread(dx, 0) }
        }
        let names = plan.batch + plan.own[0] + plan.own[1]
        let dy = tape.reshape(
            arranged(&tape, cotangents[0]!, plan.output, names),
            to: [plan.count(plan.batch), plan.count(plan.own[0]), plan.count(plan.own[1])])
        let product = LoweredNode(
            inputs: try matrices(&tape, node.inputs, plan), outputs: [.value(dy)])
        let back = try MatMul(Attributes(opset: 13)).vjp(
            &tape, product, cotangents: [dy], wanted: wanted)
        return node.each(wanted) { operand in
            let (order, _) = order(plan, operand)
            let kept = plan.kept(operand)
            let dx = tape.reshape(back[operand]!, to: plan.shape(order))
            return spread(arranged(&tape, dx, order, kept), operand)
        }
    }
}

extension HostTensor {
    /// The dimensions in another order; the numbers are put in it for as long as they are lent.
    fileprivate func transposed(_ order: [Int]) -> HostTensor {
        let (dims, strides) = (order.map { shape.dims[$0] }, order.map { shape.rowMajorStrides[$0] })
        @Sendable func turned(_ numbers: UnsafeRawBufferPointer) -> [Float] {
            zip(dims, strides).reduce([0]) { all, axis in
                all.flatMap { base in (0..<axis.0).map { base + $0 * axis.1 } }
            }.map { numbers.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
        }
        return HostTensor(
            Shape(dims), .deferred { body in try self.withFloats { try turned($0).withUnsafeBytes(body) } },
            identity: identity.derived([0x5472] + order))
    }
}
