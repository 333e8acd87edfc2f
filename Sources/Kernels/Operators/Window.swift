// What slides over images: of convolutions and of pools.

/// What Conv and the pools share: a window that slides over one, two or three axes.
struct Window: Sendable {
    let kernel: [Int]?
    private let strides: [Int]?, dilations: [Int]?, pads: [Int]?
    private let autoPad: String

    init(_ attributes: Attributes) throws {
        func extents(_ name: String) throws -> [Int]? {
            guard let values = try attributes.ints(name) else { return nil }
            guard values.allSatisfy({ $0 >= 1 }) else {
                throw OperatorError("has \(values) as “\(name)”, which must be at least 1")
            }
            guard values.allSatisfy({ $0 <= 1 << 20 }) else {
                throw OperatorError(
                    unsupported: "has \(values) as “\(name)”, which must be at most \(1 << 20) here")
            }
            return values
        }
        kernel = try extents("kernel_shape")
        strides = try extents("strides")
        dilations = try extents("dilations")
        pads = try attributes.ints("pads")
        if let pads, !pads.allSatisfy({ $0 >= 0 }) {
            throw OperatorError("has \(pads) as “pads”, which must be at least 0")
        }
        if let pads, !pads.allSatisfy({ $0 <= 1 << 20 }) {
            throw OperatorError(unsupported: "has \(pads) as “pads”, which must be at most \(1 << 20) here")
        }
        autoPad = try attributes.string("auto_pad", default: "NOTSET")
        guard ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"].contains(autoPad) else {
            throw OperatorError("has the auto_pad “\(autoPad.prefix(40))”, which does not exist")
        }
    }

    /// The axes of an input of shape [N, C, …], and the pads at their ends.
    /// - Parameter kernel: of each axis.
    func axes(_ input: Shape, kernel: [Int], ceil: Bool = false) throws -> (axes: [Axis], ends: [Int]) {
        let size = try images(input).dims[2...]
        func one(_ values: [Int]?, _ name: String, each: Int = 1, standard: Int) throws -> [Int] {
            guard let values else { return Array(repeating: standard, count: each * size.count) }
            guard values.count == each * size.count else {
                throw OperatorError(
                    "has \(values.count) numbers in “\(name)”, where an input of shape \(input) has \(size.count) "
                        + "dimensions to slide over")
            }
            return values
        }
        let kernel = try one(kernel, "kernel_shape", standard: 1)
        let strides = try one(strides, "strides", standard: 1)
        let dilations = try one(dilations, "dilations", standard: 1)
        let pads = try one(pads, "pads", each: 2, standard: 0)
        guard kernel.reduce(1.0, { $0 * Double($1) }) < Double(1 << 24),
            zip(kernel, dilations).allSatisfy({ $1 * ($0 - 1) + 1 < 1 << 24 })
        else {
            throw OperatorError(
                "has a window of \(Shape(kernel)) with dilations \(dilations), which is too large")
        }
        var ends: [Int] = []
        let axes = try size.enumerated().map { d, size in
            let (stride, reach) = (strides[d], dilations[d] * (kernel[d] - 1) + 1)
            var axis = Axis(
                input: size, output: 0, kernel: kernel[d], stride: stride, dilation: dilations[d])
            var end = 0
            switch autoPad {
            case "SAME_UPPER", "SAME_LOWER":
                axis.output = (size + stride - 1) / stride
                let total = max(0, (axis.output - 1) * stride + reach - size)
                axis.pad = autoPad == "SAME_UPPER" ? total / 2 : total - total / 2
                end = total - axis.pad
            default:
                if autoPad != "VALID" { (axis.pad, end) = (pads[d], pads[d + kernel.count]) }
                let room = size + axis.pad + end - reach
                // Rounded up, one window that is larger than all that there is has some of it.
                guard room >= 0 || (ceil && room > -stride && size + axis.pad > 0) else {
                    let what = ["columns", "rows", "planes"][kernel.count - 1 - d]
                    throw OperatorError(
                        "has a window of \(reach) \(what) on an input of \(size) with pads \(pads)")
                }
                axis.output = max(0, room) / stride + 1
                // A further window, partly outside, if it starts inside the input or its first pad.
                if ceil, room > 0, room % stride != 0, axis.output * stride < size + axis.pad {
                    axis.output += 1
                }
            }
            ends.append(end)
            return axis
        }
        return (axes, ends)
    }
}

/// A shape that must be [N, C, …] with one, two or three dimensions to slide over.
private func images(_ shape: Shape) throws -> Shape {
    try checked(shape, 3...5, "3 to 5 (N, C, and up to three dimensions)")
}

/// A shape that must be [N, C, H, W].
func image(_ shape: Shape) throws -> Shape {
    try checked(shape, 4...4, "4 (N, C, H, W) here")
}

/// The standard has pictures of rank 3 and more.
private func checked(_ shape: Shape, _ ranks: ClosedRange<Int>, _ which: String) throws -> Shape {
    guard ranks.contains(shape.rank) else {
        let problem = "works on tensors of rank \(which), and its input has the shape \(shape)"
        throw shape.rank < 3 ? OperatorError(problem) : OperatorError(unsupported: problem)
    }
    return shape
}
