// What slides over height and width: of convolutions and of pools.

/// What Conv and the pools share: a window that slides over height and width.
struct Window: Sendable {
    var kernel: [Int]?
    let strides: [Int], dilations: [Int]
    private let pads: [Int]?
    private let autoPad: String

    init(_ attributes: Attributes) throws {
        func two(_ name: String) throws -> [Int]? {
            guard let values = try attributes.ints(name) else { return nil }
            guard values.count == 2 else {
                throw OperatorError(
                    unsupported:
                        "has \(values.count) numbers in “\(name)”; only two-dimensional windows are supported"
                )
            }
            guard values.allSatisfy({ $0 >= 1 }) else {
                throw OperatorError("has \(values) as “\(name)”, which must be at least 1")
            }
            guard values.allSatisfy({ $0 <= 1 << 20 }) else {
                throw OperatorError(
                    unsupported: "has \(values) as “\(name)”, which must be at most \(1 << 20) here")
            }
            return values
        }
        kernel = try two("kernel_shape")
        strides = try two("strides") ?? [1, 1]
        dilations = try two("dilations") ?? [1, 1]
        pads = try attributes.ints("pads")
        if let pads, pads.count != 4 || !pads.allSatisfy({ $0 >= 0 }) {
            throw OperatorError("has \(pads) as “pads”, which must be four numbers of at least 0")
        }
        if let pads, !pads.allSatisfy({ $0 <= 1 << 20 }) {
            throw OperatorError(unsupported: "has \(pads) as “pads”, which must be at most \(1 << 20) here")
        }
        autoPad = try attributes.string("auto_pad", default: "NOTSET")
        guard ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"].contains(autoPad) else {
            throw OperatorError("has the auto_pad “\(autoPad.prefix(40))”, which does not exist")
        }
    }

    /// Pads (top, left, bottom, right) and output extents for an input of `size`.
    func place(_ size: [Int], kernel: [Int], ceil: Bool = false) throws -> (pads: [Int], output: [Int]) {
        var pads = self.pads ?? [0, 0, 0, 0]
        var output = [0, 0]
        for d in 0..<2 {
            let reach = dilations[d] * (kernel[d] - 1) + 1
            guard reach < 1 << 24, kernel[0] * kernel[1] < 1 << 24 else {
                throw OperatorError(
                    "has a window of \(kernel[0])×\(kernel[1]) with dilations \(dilations), which is too large"
                )
            }
            switch autoPad {
            case "SAME_UPPER", "SAME_LOWER":
                output[d] = (size[d] + strides[d] - 1) / strides[d]
                let total = max(0, (output[d] - 1) * strides[d] + reach - size[d])
                let less = total / 2
                pads[d] = autoPad == "SAME_UPPER" ? less : total - less
                pads[d + 2] = total - pads[d]
            default:
                if autoPad == "VALID" { (pads[d], pads[d + 2]) = (0, 0) }
                let room = size[d] + pads[d] + pads[d + 2] - reach
                guard room >= 0 else {
                    throw OperatorError(
                        "has a window of \(reach) \(d == 0 ? "rows" : "columns") on an input of \(size[d]) with pads \(pads)"
                    )
                }
                output[d] = room / strides[d] + 1
                // A further window, partly outside, if it starts inside the input or its first pad.
                if ceil, room % strides[d] != 0, output[d] * strides[d] < size[d] + pads[d] { output[d] += 1 }
            }
        }
        return (pads, output)
    }
}

/// A shape that must be [N, C, H, W].
func image(_ shape: Shape) throws -> Shape {
    guard shape.rank == 4 else {
        let problem = "works on tensors of rank 4 (N, C, H, W) here, and its input has the shape \(shape)"
        throw shape.rank < 3 ? OperatorError(problem) : OperatorError(unsupported: problem)
    }
    return shape
}
