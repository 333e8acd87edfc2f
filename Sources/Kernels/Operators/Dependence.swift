// How outputs depend on inputs, as far as rules treat operators by that which share what arrives at an output among the inputs.

/// How an operator's output depends on the activations among its inputs. Each operator says it beside its formula; by constants among its inputs
/// it may become less than it says: a product with a constant is an affine map.
package enum Dependence: Sendable {
    /// Nobody has said so far; who needs to know refuses it.
    case unstated
    /// Each number of the output is one of an input, or a constant: another shape, order or selection, parts put together.
    case selects
    /// Each number of the output is one of two inputs, and the first input says of which.
    case chooses
    /// Each number of the output is the largest of some of the input.
    case largest
    /// Sums and differences of inputs, number by number.
    case adds
    /// Sums of numbers of one input with the same weights everywhere: means, and sums over axes.
    case averages
    /// Sums of an input's numbers with trained weights, and a bias: a `LinearOperator`.
    case products
    /// y = a x + b, number by number.
    case affine
    /// A function of one number, which is made of straight lines unless it is smooth.
    case curve(isSmooth: Bool)
    /// Each number divided by something that is made of many of them.
    case normalises
    /// Products of numbers of two inputs, and sums of such products.
    case multiplies
    /// Quotients of numbers of two inputs.
    case divides
    /// Softmax along an axis of the input in another form.
    case softmax(rows: @Sendable (_ input: Shape) throws -> (form: Shape, axis: Int))
}

/// What is known of a value of a network, whatever the picture.
package struct Origin: OptionSet, Hashable, Sendable {
    package let rawValue: Int
    package init(rawValue: Int) { self.rawValue = rawValue }
    /// No number of it is below 0.
    package static let nonNegative = Origin(rawValue: 1)
    /// The network's input itself.
    package static let picture = Origin(rawValue: 2)
    /// No operator with trained weights lies between the network's input and it.
    package static let unweighed = Origin(rawValue: 4)
    /// What a `LinearOperator` makes.
    package static let product = Origin(rawValue: 8)
}

/// What becomes of the weights and the bias of a linear operator, number by number.
package enum WeightChange: Hashable, Sendable {
    case positivePart, negativePart
    /// w + γ max(w, 0), and w + γ min(w, 0).
    case morePositive(Float)
    case moreNegative(Float)
    case square
    /// 1, whatever the weight.
    case one

    package func callAsFunction(_ w: Float) -> Float {
        switch self {
        case .positivePart: max(w, 0)
        case .negativePart: min(w, 0)
        case .morePositive(let gamma): w + gamma * max(w, 0)
        case .moreNegative(let gamma): w + gamma * min(w, 0)
        case .square: w * w
        case .one: 1
        }
    }

    fileprivate var code: [Int] {
        switch self {
        case .positivePart: [0]
        case .negativePart: [1]
        case .morePositive(let gamma): [2, Int(gamma.bitPattern)]
        case .moreNegative(let gamma): [3, Int(gamma.bitPattern)]
        case .square: [4]
        case .one: [5]
        }
    }
}

/// An operator whose output is W x + b, x its first input, with constants W and b, and that can compute with others in their place.
package protocol LinearOperator: Operator {
    /// Whether it slides over a grid, as convolutions do and dense layers do not.
    var slides: Bool { get }
    /// Whether these inputs are such: x is an activation, and all others are constants.
    func isLinear(_ inputs: [Operand?]) -> Bool
    /// Puts W′ x + b′ on the tape.
    /// - Parameters:
    ///   - x: in place of the first input: of its shape, but for the number of pictures.
    ///   - weights: what becomes of W; nil if it stays.
    ///   - bias: what becomes of b; nil if it is left out.
    func product(
        _ tape: inout Tape, _ inputs: [Operand?], of x: Value, weights: WeightChange?, bias: BiasChange?
    ) throws -> Value
    /// Puts W′ᵀ dy on the tape, of the shape of the first input.
    func reverseProduct(_ tape: inout Tape, _ inputs: [Operand?], _ dy: Value, weights: WeightChange?) throws
        -> Value
}

/// What becomes of a bias that is not left out.
package enum BiasChange: Hashable, Sendable {
    case stays
    case changes(WeightChange)

    package func callAsFunction(_ b: Float) -> Float {
        switch self {
        case .stays: b
        case .changes(let change): change(b)
        }
    }
}

extension HostTensor {
    /// Other weights: a function of each, which is multiplied by the factor of its row first and rounded.
    /// - Parameter scale: a factor for each index of the first dimension.
    func changed(_ change: WeightChange, scale: [Double]?) -> HostTensor {
        let row = shape.count / max(1, shape.dims.first ?? 1)
        /// Made when a device loads the tape, and for as long as they are lent.
        @Sendable func changed(_ numbers: UnsafeRawBufferPointer) -> [Float] {
            (0..<numbers.count / 4).map {
                let w = numbers.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self)
                return change(scale == nil ? w : Float(Double(w) * scale![$0 / row]))
            }
        }
        return HostTensor(
            shape, .deferred { body in try self.withFloats { try changed($0).withUnsafeBytes(body) } },
            identity: identity.derived(
                [0x4368] + change.code + (scale ?? []).map { Int(truncatingIfNeeded: $0.bitPattern) }))
    }
}
