// From where an operator takes the numbers of its output, as far as axes tell: how it is known that pictures of a batch stay apart.

/// On which numbers of its inputs each number of an operator's output depends.
package enum Reach: Sendable {
    /// Nobody has said so far: on any.
    case anywhere
    /// On those at its own place; the shapes of the inputs are broadcast to the output's.
    case place
    /// On those that lie along these axes of the inputs, whose other axes are the output's. Axes of the output that are not there, or
    /// that an input does not have, are among them.
    case along(_ axes: @Sendable (_ shape: Shape, _ inputs: [Operand?]) throws -> [Int])
    /// On those that have the same index of the first axis, which is the output's too.
    case behindFirst
    /// Each is one of the input's, in the same order of all.
    case rowMajor
    /// Each is one of the input's; its axes are those of the input in another order.
    case ordered(_ axes: @Sendable (_ rank: Int) throws -> [Int])
    /// On a row of the first input and a column of another, along the last two axes of each. All other inputs are broadcast to the
    /// output's shape, as the axes before those are.
    case product(right: Int)

    static var product: Reach { .product(right: 1) }

    /// Along one axis, which is counted from the end if it is negative.
    static func along(_ axis: Int) -> Reach {
        .along { shape, _ in [try normalised(axis, rank: shape.rank)] }
    }
    /// Along an axis and all behind it.
    static func from(_ axis: Int) -> Reach {
        .along { shape, _ in Array(try normalised(axis, rank: shape.rank)..<shape.rank) }
    }
}
