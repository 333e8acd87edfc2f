// What an operator is to the rest of the program, which knows no operator by its name or type.

/// What an operator does, as far as others treat it by that. Each operator says it beside its formula.
package enum Role: Sendable {
    /// Makes activations in a way that is its own business.
    case computes
    /// Adds its two inputs.
    case adds
    /// Clips its first input to bounds, which other inputs may give.
    case clips(bounds: @Sendable (_ inputs: [Operand?]) throws -> Bounds)
    /// A convolution that can be followed by an affine map of its channels, as one operator.
    case convolves(followedBy: @Sendable (ChannelAffine) -> any Operator)
    /// An affine map of each channel, which other inputs give.
    case normalises(affine: @Sendable (_ inputs: [Operand?]) throws -> ChannelAffine)
    /// Combines numbers of one activation: of windows, of whole maps, of neighbouring channels.
    case pools
    /// Passes the same numbers on in another shape, order, selection or type.
    case rearranges
    /// The same, in a shape that the file writes down.
    case reshapes(shape: @Sendable (_ from: Shape, _ inputs: [Operand?]) throws -> Shape)
    /// y = x.
    case passes
    /// Makes whole numbers that stand for its first input's.
    case quantises
    /// Makes what whole numbers stand for.
    case dequantises
    /// Makes probabilities of logits, or their logarithms: all classes together have one.
    case softmax
    /// Each class has a probability of its own. In the middle of a network it is an activation like any other.
    case sigmoid

    /// Whether what it makes is an activation of its own, and not another's, pooled or passed on.
    package var makesActivation: Bool {
        switch self {
        case .computes, .adds, .clips, .convolves, .normalises, .sigmoid, .dequantises: true
        case .quantises, .pools, .rearranges, .reshapes, .passes, .softmax: false
        }
    }
}

/// y = x·scale + shift for each channel, in double precision.
package struct ChannelAffine: Sendable {
    package let scale: [Double], shift: [Double]
}

/// The most inputs and outputs that an operator has; nil for any number. More would be passed over in silence.
package struct Arity: Sendable {
    package let inputs: Int?, outputs: Int?
    package init(inputs: Int? = 1, outputs: Int? = 1) { (self.inputs, self.outputs) = (inputs, outputs) }
}
