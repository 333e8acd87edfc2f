// Layer-wise relevance propagation as a backward rule: how the relevance of an operator's output becomes that of its inputs.

import CMicrokernels
import Inference
import Kernels
import Text

/// How a layer with trained weights shares the relevance R of its outputs z = W a + b among its inputs a. Names are those of Zennit and of the
/// papers. A small s > 0 keeps divisors from 0: z ± s stands for z + s where z ≥ 0, and for z − s elsewhere; v⁺ = max(v, 0), v⁻ = min(v, 0).
package enum LayerRule: String, SettingChoice {
    /// R_i = a_i Σ_j w_ij R_j / (z_j ± ε). Bach et al. 2015, equation 58.
    case epsilon
    /// As ε, with w + γ w⁺ where z > 0 and w + γ w⁻ where z < 0, for the part of a above 0, and the other way round for the part below it.
    /// Montavon et al. 2019, section 10.2.3, whose inputs are nowhere negative; for any inputs Andéol et al. 2021.
    case gamma
    /// R_i = Σ_j (a_i w_ij)⁺ R_j / (Σ_i (a_i w_ij)⁺ + b_j⁺ + s): αβ with α = 1 and β = 0. Montavon et al. 2017, equation 17.
    case zPlus = "z-plus"
    /// Twice that, less Σ_j (a_i w_ij)⁻ R_j / (Σ_i (a_i w_ij)⁻ + b_j⁻ − s): αβ with α = 2 and β = 1. Bach et al. 2015, equation 60.
    case alpha2Beta1 = "alpha2-beta1"
    /// Of pixels between l and h: R_i = Σ_j (a_i w_ij − l_i w_ij⁺ − h_i w_ij⁻) R_j / (Σ_i of the same ± s). Montavon et al. 2017, equation 19.
    case zBox = "z-box"
    /// R_i = Σ_j w_ij² R_j / (Σ_i w_ij² + s). Montavon et al. 2017, equation 13.
    case wSquare = "w-square"
    /// The same with 1 for each weight. Lapuschkin et al. 2019.
    case flat
}

/// The way back of relevance. What layers with weights do is chosen; all other operators have one rule each.
package struct RelevanceRule: BackwardRule {
    /// Of convolutions, and of dense layers.
    package var convolutions: LayerRule, dense: LayerRule
    /// Of layers that no other with weights precedes; nil if they are as the others.
    package var first: LayerRule?
    package var epsilon: Float, gamma: Float, stabiliser: Float
    /// Whether biases take their part of the relevance; else they are left out of what it is divided by.
    package var biasesAbsorb: Bool
    /// The least and the largest number of each of the input's channels.
    package var low: [Float], high: [Float]

    package init(
        convolutions: LayerRule, dense: LayerRule, first: LayerRule? = nil, epsilon: Float = 1e-6,
        gamma: Float = 0.25, stabiliser: Float = 1e-6, biasesAbsorb: Bool = true, low: [Float] = [],
        high: [Float] = []
    ) {
        (self.convolutions, self.dense, self.first) = (convolutions, dense, first)
        (self.epsilon, self.gamma, self.stabiliser) = (epsilon, gamma, stabiliser)
        (self.biasesAbsorb, self.low, self.high) = (biasesAbsorb, low, high)
    }

    /// Whether relevance may get lost where all is well: to biases, or, where rules look at other sums than the layer's own, to outputs that no
    /// input contributes to. (α2β1 may also give more than there was.)
    package var dropsPart: Bool {
        biasesAbsorb || [convolutions, dense, first].contains { $0 != nil && $0 != .epsilon && $0 != .gamma }
    }

    private func rule(_ layer: any LinearOperator) -> LayerRule { layer.slides ? convolutions : dense }

    package func gradientNeeds(_ operation: any Operator) -> GradientNeeds {
        switch operation.dependence {
        case .products:
            guard let layer = operation as? any LinearOperator else { return [] }
            return [rule(layer), first].contains { $0 == .epsilon || $0 == .gamma }
                ? [.inputs, .output] : .inputs
        case .adds, .averages, .multiplies, .softmax, .normalises: return [.inputs, .output]
        default: return []
        }
    }

    package func vjp(
        _ tape: inout Tape, _ operation: any Operator, _ node: LoweredNode, cotangents: [Value?],
        wanted: Set<Int>
    ) throws -> [Value?]? {
        guard let r = cotangents[0] else { return nil }
        /// The relevance of one input, which gets all of it.
        func all(to input: Int?) -> [Value?] {
            node.inputs.indices.map {
                $0 == input && wanted.contains($0) ? tape.sum(r, to: tape.shape(node.inputs[$0]!)) : nil
            }
        }
        if let layer = operation as? any LinearOperator, layer.isLinear(node.inputs) {
            let rule = node.origins[0].contains(.unweighed) ? first ?? rule(layer) : rule(layer)
            let share = try Layer(layer: layer, node: node, settings: self).share(&tape, r, by: rule)
            return node.inputs.indices.map { $0 == 0 ? share : nil }
        }
        let activations = node.activations
        switch (operation.dependence, activations.count) {
        case (.selects, _), (.chooses, _), (.largest, _): return nil
        case (.normalises, 1):
            guard let layer = operation as? any CentringOperator else { return all(to: activations[0]) }
            // Achtibat et al. 2024, proposition 3.4: the division by the deviation passes all on; the rest is a linear layer, mean and bias included.
            let y = biasesAbsorb ? try tape.value(node.output) : try layer.unbiased(&tape, node)
            let c = tape.map(WB_MAP_divide_stabilised, r, y, a: stabiliser)
            let dx = try layer.linearVJP(&tape, node, c)
            let share = tape.map(WB_MAP_multiply, try tape.value(node.inputs[activations[0]]!), dx)
            return node.inputs.indices.map { $0 == activations[0] ? share : nil }
        case (.affine, 1), (.curve, 1), (.divides, 1): return all(to: activations[0])
        case (.averages, 1): return try inProportion(&tape, operation, node, r, wanted)
        case (.adds, 1):
            // What is added to a layer's product is its bias. Any other constant belongs to no layer, and takes nothing.
            return biasesAbsorb && node.origins[activations[0]].contains(.product)
                ? try inProportion(&tape, operation, node, r, wanted) : all(to: activations[0])
        case (.adds, _):
            // Constants among them are no layer's bias, and take nothing.
            let terms = try activations.map { try tape.value(node.inputs[$0]!) }
            let whole =
                terms.count == node.inputs.count
                ? nil : terms.dropFirst().reduce(terms[0]) { tape.map(WB_MAP_add, $0, $1) }
            return try inProportion(&tape, operation, node, r, wanted, of: whole)
        case (.multiplies, 1) where !(operation is any LinearOperator): return all(to: activations[0])
        case (.multiplies, 2):
            let whole = tape.shape(node.output)
            // A factor that serves many numbers of the other is a gate, which lets through what is explained.
            if !(operation is any LinearOperator),
                let signal = activations.first(where: { tape.shape(node.inputs[$0]!) == whole }),
                tape.shape(node.inputs[1 - signal]!) != whole
            {
                return all(to: signal)
            }
            return try inProportion(&tape, operation, node, r, wanted, part: 0.5)
        case (.divides, 2): return all(to: 0)
        case (.softmax(let rows), 1):
            // Achtibat et al. 2024, equation 13: R_i = x_i (R_i − y_i Σ_j R_j).
            let shape = tape.shape(r)
            let (form, axis) = try rows(shape)
            let (x, y) = (try tape.value(node.inputs[activations[0]]!), try tape.value(node.output))
            let own = tape.reshape(r, to: form)
            let taken = tape.map(
                WB_MAP_multiply, tape.reshape(y, to: form), tape.reduce(own, axes: [axis]))
            let share = tape.map(
                WB_MAP_multiply, tape.reshape(x, to: form), tape.map(WB_MAP_subtract, own, taken))
            return node.inputs.indices.map { $0 == activations[0] ? tape.reshape(share, to: shape) : nil }
        default:
            throw OperatorError(
                unsupported: "has no rule of layer-wise relevance propagation here; take another method")
        }
    }

    /// Each number of an input gets of each output what it contributes to it: x_i Σ_j (∂y_j/∂x_i) R_j / (y_j ± s).
    /// - Parameters:
    ///   - part: of the relevance, for each input.
    ///   - whole: what takes the place of y.
    private func inProportion(
        _ tape: inout Tape, _ operation: any Operator, _ node: LoweredNode, _ r: Value, _ wanted: Set<Int>,
        part: Float = 1, of whole: Value? = nil
    ) throws -> [Value?] {
        let y = try whole ?? tape.value(node.output)
        var c = tape.map(WB_MAP_divide_stabilised, r, y, a: stabiliser)
        if part != 1 { c = tape.map(WB_MAP_scale, c, a: part) }
        let back = try operation.vjp(&tape, node, cotangents: [c], wanted: wanted)
        return try node.inputs.indices.map { i in
            guard let dx = back[i] else { return nil }
            return tape.map(WB_MAP_multiply, try tape.value(node.inputs[i]!), dx)
        }
    }
}

/// A layer with weights, and what is read of it.
private struct Layer {
    let layer: any LinearOperator
    let node: LoweredNode
    let settings: RelevanceRule

    func share(_ tape: inout Tape, _ r: Value, by rule: LayerRule) throws -> Value {
        let a = try tape.value(node.inputs[0]!)
        let s = settings.stabiliser
        switch rule {
        case .epsilon:
            let c = tape.map(WB_MAP_divide_stabilised, r, try sums(&tape, a), a: settings.epsilon)
            return try back(&tape, a, c, nil)
        case .gamma:
            let z = try sums(&tape, a)
            let (up, down) = (
                WeightChange.morePositive(settings.gamma), WeightChange.moreNegative(settings.gamma)
            )
            let above = try parts(
                &tape, a, tape.map(WB_MAP_keep_where_positive, r, z), up, down, bias: up)
            let below = try parts(
                &tape, a, tape.map(WB_MAP_keep_where_negative, r, z), down, up, bias: down)
            return tape.map(WB_MAP_add, above, below)
        case .zPlus:
            return try parts(&tape, a, r, .positivePart, .negativePart, bias: .positivePart)
        case .alpha2Beta1:
            let positive = try parts(&tape, a, r, .positivePart, .negativePart, bias: .positivePart)
            let negative = try parts(&tape, a, r, .negativePart, .positivePart, bias: .negativePart)
            return tape.map(WB_MAP_subtract, tape.map(WB_MAP_scale, positive, a: 2), negative)
        case .zBox:
            guard node.origins[0].contains(.picture), settings.low.count == tape.shape(a).dims[1] else {
                throw OperatorError(
                    unsupported:
                        "has no bounds for the rule z-box, because it does not read the network's input itself, as a convolution with its channels can; "
                        + "take another rule for the first layer (lrp.first)")
            }
            let low = try bound(&tape, settings.low, a)
            let high = try bound(&tape, settings.high, a)
            // The parts of the bias cancel.
            var z = try layer.product(&tape, node.inputs, of: a, weights: nil, bias: nil)
            for (x, change) in [(low, WeightChange.positivePart), (high, .negativePart)] {
                z = tape.map(
                    WB_MAP_subtract, z,
                    try layer.product(&tape, node.inputs, of: x, weights: change, bias: nil))
            }
            let c = tape.map(WB_MAP_divide_stabilised, r, z, a: s)
            var share = try back(&tape, a, c, nil)
            for (x, change) in [(low, WeightChange.positivePart), (high, .negativePart)] {
                share = tape.map(WB_MAP_subtract, share, try back(&tape, x, c, change))
            }
            return share
        case .wSquare, .flat:
            let change = rule == .flat ? WeightChange.one : .square
            let ones = tape.fill(one(like: a, tape), with: 1)
            let z = try layer.product(&tape, node.inputs, of: ones, weights: change, bias: nil)
            let c = tape.map(WB_MAP_divide_stabilised, r, z, a: s)
            return try layer.reverseProduct(&tape, node.inputs, c, weights: change)
        }
    }

    /// What the layer's outputs are, with the bias or without.
    private func sums(_ tape: inout Tape, _ a: Value) throws -> Value {
        settings.biasesAbsorb
            ? try tape.value(node.output)
            : try layer.product(&tape, node.inputs, of: a, weights: nil, bias: nil)
    }

    /// x ⊙ W′ᵀ c.
    private func back(_ tape: inout Tape, _ x: Value, _ c: Value, _ change: WeightChange?) throws -> Value {
        let dx = try layer.reverseProduct(&tape, node.inputs, c, weights: change)
        return tape.map(WB_MAP_multiply, dx, x)
    }

    /// a⁺ ⊙ Vᵀ c + a⁻ ⊙ Uᵀ c with c = R / (V a⁺ + U a⁻ + b′ ± s): V are the weights for the inputs above 0, U for those below. Where none is
    /// below, all that is U's is left out.
    private func parts(
        _ tape: inout Tape, _ a: Value, _ r: Value, _ v: WeightChange, _ u: WeightChange, bias: WeightChange
    ) throws -> Value {
        let hasNegative = !node.origins[0].contains(.nonNegative)
        let above = hasNegative ? tape.map(WB_MAP_clip, a, a: 0, b: .infinity) : a
        var z = try layer.product(
            &tape, node.inputs, of: above, weights: v, bias: settings.biasesAbsorb ? .changes(bias) : nil)
        guard hasNegative else {
            let c = tape.map(WB_MAP_divide_stabilised, r, z, a: settings.stabiliser)
            return try back(&tape, above, c, v)
        }
        let below = tape.map(WB_MAP_clip, a, a: -.infinity, b: 0)
        z = tape.map(
            WB_MAP_add, z, try layer.product(&tape, node.inputs, of: below, weights: u, bias: nil))
        let c = tape.map(WB_MAP_divide_stabilised, r, z, a: settings.stabiliser)
        return tape.map(WB_MAP_add, try back(&tape, above, c, v), try back(&tape, below, c, u))
    }

    /// The shape of what serves all pictures.
    private func one(like a: Value, _ tape: Tape) -> Shape {
        let shape = tape.shape(a)
        return layer.slides ? Shape([1] + shape.dims.dropFirst()) : shape
    }

    /// One number for each channel, in all places of an input.
    private func bound(_ tape: inout Tape, _ numbers: [Float], _ a: Value) throws -> Value {
        let channels = Shape([1, numbers.count] + tape.shape(a).dims.dropFirst(2).map { _ in 1 })
        let whole = tape.fill(one(like: a, tape), with: 0)
        return tape.map(WB_MAP_add, whole, try tape.constant(HostTensor(channels, .floats(numbers))))
    }
}
