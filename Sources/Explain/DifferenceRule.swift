// DeepLIFT's rescale rule as a backward rule: multipliers of differences between two pictures in place of gradients.

import CMicrokernels
import Inference
import Kernels

/// The way back of multipliers in a pass over pairs: m with Σ m_i Δx_i = Δs, Δ being a picture's number less that of what it is compared with.
///
/// What is linear takes multipliers as it takes gradients. A function of one number multiplies them by Δy/Δx, or by its gradient at the picture
/// where Δx is so small that the quotient says nothing. What combines numbers in other ways is made of such parts
/// (Documentation/Propagation.md). Through each operator Σ m_i Δx_i stays what it was.
package struct DifferenceRule: BackwardRule {
    /// |Δx| below which the gradient is taken: through straight lines, whose quotients are exact but for rounding, and elsewhere, where a quotient of rounded
    /// numbers is less exact than the gradient, which is off by half of Δx times the curvature.
    package static let least: Float = 1e-10, leastOfCurves: Float = 1e-4

    package init() {}

    package func gradientNeeds(_ operation: any Operator) -> GradientNeeds {
        switch operation.dependence {
        case .curve, .largest, .divides: [.inputs, .output]
        case .multiplies, .softmax: .inputs
        default: []
        }
    }

    package func vjp(
        _ tape: inout Tape, _ operation: any Operator, _ node: LoweredNode, cotangents: [Value?],
        wanted: Set<Int>
    ) throws -> [Value?]? {
        let pair = Pair(operation: operation, node: node)
        if let layer = operation as? any LinearOperator, layer.isLinear(node.inputs) { return nil }
        let activations = node.activations
        switch (operation.dependence, activations.count) {
        case (.selects, _), (.adds, _), (.averages, _), (.affine, _), (.products, _), (.multiplies, 1):
            return nil
        // By what the pictures do not change.
        case (.chooses, _) where !activations.contains(0): return nil
        case (.divides, 1) where activations[0] == 0: return nil
        case (.curve(let isSmooth), 1):
            return try pair.rescaled(
                &tape, cotangents[0]!, wanted, least: isSmooth ? Self.leastOfCurves : Self.least)
        case (.divides, 1): return try pair.rescaled(&tape, cotangents[0]!, wanted, least: Self.leastOfCurves)
        case (.largest, 1): return try pair.largest(&tape, cotangents[0]!, wanted)
        case (.multiplies, 2): return try pair.multiplied(&tape, cotangents[0]!, wanted)
        case (.divides, 2): return try pair.divided(&tape, cotangents[0]!, wanted)
        case (.softmax(let rows), 1): return [try pair.softmax(&tape, cotangents[0]!, rows)]
        default:
            throw OperatorError(unsupported: "has no rule of DeepLIFT here; take another method")
        }
    }
}

/// A node, and what it read and made of both pictures.
private struct Pair {
    let operation: any Operator
    let node: LoweredNode

    private func both(_ tape: inout Tape, input: Int) throws -> (Value, Value) {
        (try tape.value(node.inputs[input]!), try tape.value(node.seconds!.inputs[input]!))
    }
    private func outputs(_ tape: inout Tape) throws -> (Value, Value) {
        (try tape.value(node.output), try tape.value(node.seconds!.outputs[0]!))
    }
    private func mean(_ tape: inout Tape, _ values: (Value, Value)) -> Value {
        tape.map(WB_MAP_scale, tape.map(WB_MAP_add, values.0, values.1), a: 0.5)
    }
    private func difference(_ tape: inout Tape, _ values: (Value, Value)) -> Value {
        tape.map(WB_MAP_subtract, values.0, values.1)
    }

    /// dy Δy/Δx, or the gradient at the picture.
    func rescaled(_ tape: inout Tape, _ dy: Value, _ wanted: Set<Int>, least: Float) throws -> [Value?] {
        let input = node.activations[0]
        let dx = difference(&tape, try both(&tape, input: input))
        let change = difference(&tape, try outputs(&tape))
        let quotient = tape.map(WB_MAP_divide_unless_small, change, dx, a: least)
        let small = tape.map(WB_MAP_keep_where_small, dy, dx, a: least)
        let gradient = try operation.vjp(&tape, node, cotangents: [small], wanted: wanted)
        let part = tape.sum(tape.map(WB_MAP_multiply, dy, quotient), to: tape.shape(dx))
        return node.inputs.indices.map { i in gradient[i].map { tape.map(WB_MAP_add, part, $0) } }
    }

    /// What y gained goes to where the picture has its largest number, what it lost to where the other has: there Δx is at least as large. As in
    /// SHAP's and Captum's programs.
    func largest(_ tape: inout Tape, _ dy: Value, _ wanted: Set<Int>) throws -> [Value?] {
        let change = difference(&tape, try outputs(&tape))
        func part(_ node: LoweredNode, _ low: Float, _ high: Float) throws -> Value {
            let gain = tape.map(WB_MAP_clip, change, a: low, b: high)
            return try operation.vjp(
                &tape, node, cotangents: [tape.map(WB_MAP_multiply, dy, gain)], wanted: wanted)[0]!
        }
        let seconds = LoweredNode(inputs: node.seconds!.inputs, outputs: node.seconds!.outputs)
        let whole = tape.map(
            WB_MAP_add, try part(node, 0, .infinity), try part(seconds, -.infinity, 0))
        let dx = difference(&tape, try both(&tape, input: 0))
        let quotient = tape.map(WB_MAP_divide_unless_small, whole, dx, a: DifferenceRule.least)
        let gradient = try operation.vjp(&tape, node, cotangents: [dy], wanted: wanted)[0]!
        let small = tape.map(WB_MAP_keep_where_small, gradient, dx, a: DifferenceRule.least)
        return node.inputs.indices.map { $0 == 0 ? tape.map(WB_MAP_add, quotient, small) : nil }
    }

    /// Δ(a b) = Δa (b + b′)/2 + Δb (a + a′)/2: the gradient at the means of both.
    func multiplied(_ tape: inout Tape, _ dy: Value, _ wanted: Set<Int>) throws -> [Value?] {
        let means = try node.inputs.indices.map { Operand.value(mean(&tape, try both(&tape, input: $0))) }
        let middle = LoweredNode(inputs: means, outputs: node.outputs)
        return try operation.vjp(&tape, middle, cotangents: [dy], wanted: wanted)
    }

    /// Δ(a/b) = Δa (1/b + 1/b′)/2 + Δ(1/b) (a + a′)/2, with Δ(1/b) = −Δb / (b b′).
    func divided(_ tape: inout Tape, _ dy: Value, _ wanted: Set<Int>) throws -> [Value?] {
        let (a, b) = (try both(&tape, input: 0), try both(&tape, input: 1))
        let one = tape.fill([1], with: 1)
        let inverses = (tape.map(WB_MAP_divide, one, b.0), tape.map(WB_MAP_divide, one, b.1))
        let parts: [Value] = [
            mean(&tape, inverses),
            tape.map(
                WB_MAP_multiply, mean(&tape, a),
                tape.map(WB_MAP_scale, tape.map(WB_MAP_multiply, inverses.0, inverses.1), a: -1)),
        ]
        return try node.inputs.indices.map { i in
            guard wanted.contains(i) else { return nil }
            return tape.sum(
                tape.map(WB_MAP_multiply, dy, parts[i]), to: tape.shape(try required(node.inputs, i, "input"))
            )
        }
    }

    /// change/dx, or `slope` where dx is small.
    private func quotient(_ tape: inout Tape, _ change: Value, _ dx: Value, slope: Value) -> Value {
        let least = DifferenceRule.leastOfCurves
        return tape.map(
            WB_MAP_add, tape.map(WB_MAP_divide_unless_small, change, dx, a: least),
            tape.map(WB_MAP_keep_where_small, slope, dx, a: least))
    }

    /// y = exp(x − L) with L = log S, S = Σ e, e = exp(x − c): functions of one number, and a sum. So ΔL = Σ w_j Δx_j with w_j = (Δe_j/Δx_j) / (ΔS/ΔL), and
    /// the multipliers are m_j − w_j Σ m with m_j = dy_j Δy_j/Δ(x_j − L). Nothing of that depends on c, the largest of both pictures' numbers.
    func softmax(
        _ tape: inout Tape, _ dy: Value, _ rows: (_ shape: Shape) throws -> (form: Shape, axis: Int)
    ) throws -> Value {
        let shape = tape.shape(dy)
        let (form, axis) = try rows(shape)
        let (x, dy) = (try both(&tape, input: 0), tape.reshape(dy, to: form))
        func row(_ x: Value) -> (x: Value, top: Value, logarithm: Value, y: Value) {
            let x = tape.reshape(x, to: form)
            let top = tape.reduce(x, axes: [axis], WB_REDUCE_MAX)
            let powers = tape.map(WB_MAP_exp, tape.map(WB_MAP_subtract, x, top))
            let logarithm = tape.map(WB_MAP_add, top, tape.map(WB_MAP_log, tape.reduce(powers, axes: [axis])))
            return (x, top, logarithm, tape.map(WB_MAP_exp, tape.map(WB_MAP_subtract, x, logarithm)))
        }
        let (p, q) = (row(x.0), row(x.1))
        // The larger of two.
        let gain = tape.map(WB_MAP_clip, tape.map(WB_MAP_subtract, q.top, p.top), a: 0, b: .infinity)
        let top = tape.map(WB_MAP_add, p.top, gain)
        func powers(_ x: Value) -> (each: Value, sum: Value) {
            let each = tape.map(WB_MAP_exp, tape.map(WB_MAP_subtract, x, top))
            return (each, tape.reduce(each, axes: [axis]))
        }
        let (e, f) = (powers(p.x), powers(q.x))
        let dx = tape.map(WB_MAP_subtract, p.x, q.x)
        let dL = tape.map(WB_MAP_subtract, p.logarithm, q.logarithm)
        let ofSum = quotient(&tape, tape.map(WB_MAP_subtract, e.sum, f.sum), dL, slope: e.sum)
        let w = tape.map(
            WB_MAP_divide,
            quotient(&tape, tape.map(WB_MAP_subtract, e.each, f.each), dx, slope: e.each), ofSum)
        let m = tape.map(
            WB_MAP_multiply, dy,
            quotient(
                &tape, tape.map(WB_MAP_subtract, p.y, q.y), tape.map(WB_MAP_subtract, dx, dL), slope: p.y))
        let all = tape.map(WB_MAP_multiply, tape.reduce(m, axes: [axis]), w)
        return tape.reshape(tape.map(WB_MAP_subtract, m, all), to: shape)
    }
}
