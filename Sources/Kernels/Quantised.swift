// What whole numbers stand for: quantised tensors, and how they lie on a tape.
//
// A tensor of uint8 or int8 lies as bytes; of int8, each is 128 more than its number, so that kernels know one type. Numbers of 16 bits
// lie as binary32, which holds them exactly. Sums of products are integers of 32 bits, which wrap as everybody's do.

import CMicrokernels

/// The types of whole numbers that stand for others.
package enum WholeType: Sendable, Hashable {
    case uint8, int8, uint16, int16, int32

    package var range: ClosedRange<Int> {
        switch self {
        case .uint8: 0...255
        case .int8: -128...127
        case .uint16: 0...65535
        case .int16: -32768...32767
        case .int32: Int(Int32.min)...Int(Int32.max)
        }
    }
    package var isByte: Bool { self == .uint8 || self == .int8 }
    /// What a byte is more than the number that it stands for.
    var shift: Int { self == .int8 ? 128 : 0 }
    var element: Element { self == .int8 ? .int8 : self == .uint8 ? .uint8 : .float32 }

    package init?(_ element: Element) {
        switch element {
        case .uint8: self = .uint8
        case .int8: self = .int8
        case .int32: self = .int32
        case .float32: return nil
        }
    }
}

/// x = scale (q − zero): one pair of numbers for a tensor, or one for each index along an axis.
package struct Quantisation: Sendable {
    package let scale: [Float], zero: [Int]
    /// Of several numbers.
    package let axis: Int
    package let type: WholeType

    package init(scale: [Float], zero: [Int], axis: Int, type: WholeType) {
        precondition(scale.count == zero.count)
        (self.scale, self.zero, self.axis, self.type) = (scale, zero, axis, type)
    }

    package var isOfTensor: Bool { scale.count == 1 }

    /// How quotients by the scale become bytes: rounded, then moved by the zero point.
    func rounding(_ index: Int = 0, clip: Bounds? = nil) -> wb_rounding {
        var (low, high) = (type.range.lowerBound - zero[index], type.range.upperBound - zero[index])
        if let clip {
            // Rounding keeps the order of numbers, so what is clipped first is clipped to what its bounds become.
            func whole(_ bound: Float) -> Int {
                let quotient = (bound / scale[index]).rounded(.toNearestOrEven)
                return Int(min(max(quotient, Float(low)), Float(high)))
            }
            (low, high) = (whole(clip.low), whole(clip.high))
        }
        return wb_rounding(
            before: 0, low: Float(low), high: Float(high), after: Int32(zero[index] + type.shift))
    }

    /// The zero point is added before the sum is rounded.
    func roundingWithZero() -> wb_rounding {
        wb_rounding(
            before: Float(zero[0]), low: Float(type.range.lowerBound), high: Float(type.range.upperBound),
            after: Int32(type.shift))
    }
}

/// What a constant of real numbers was computed from.
package final class QuantisedConstant: Sendable {
    package let whole: HostTensor, quantisation: Quantisation
    init(whole: HostTensor, quantisation: Quantisation) {
        (self.whole, self.quantisation) = (whole, quantisation)
    }
}

/// A tensor as whole numbers, and what they stand for.
package enum QuantisedOperand: Sendable {
    /// Bytes on the tape.
    case value(Value, Quantisation)
    case constant(HostTensor, Quantisation)

    package var quantisation: Quantisation {
        switch self {
        case .value(_, let quantisation), .constant(_, let quantisation): quantisation
        }
    }
}

extension Tape {
    /// Bytes that a step writes. Kernels read words of four, so there are some more behind them.
    mutating func bytes(_ shape: Shape, _ type: WholeType, channelsLast: Bool = false) -> Value {
        let room = value([shape.count + 4], of: type.element)
        let strides = channelsLast && shape.rank > 2 ? shape.channelsLastStrides : shape.strides
        return view(room, as: shape, strides: strides, offset: 0)
    }

    /// Bytes with the channels innermost.
    mutating func bytesChannelsLast(_ x: Value) -> Value {
        let shape = self.shape(x)
        if shape.rank <= 2 ? isDense(x) : hasChannelsLast(x) || shape.rank == 4 && isDense(x) { return x }
        let type = WholeType(element(x))!
        let y = bytes(shape, type, channelsLast: true)
        quantise(asFloats(x), Quantisation(scale: [1], zero: [0], axis: 0, type: type), into: y)
        return y
    }

    /// The numbers of a value of integers, as binary32; any other value is itself.
    package mutating func asFloats(_ x: Value) -> Value {
        switch element(x) {
        case .float32: return x
        case .int32: return integersAsFloats(x)
        case .uint8, .int8:
            return dequantise(
                x, Quantisation(scale: [1], zero: [0], axis: 0, type: WholeType(element(x))!), stated: true)
        }
    }

    /// Whole numbers of a type of 8 bits, as bytes; those that are none are brought to its range.
    mutating func asBytes(_ x: Value, _ type: WholeType) -> Value {
        if element(x) == type.element { return x }
        let y = bytes(shape(x), type)
        quantise(asFloats(x), Quantisation(scale: [1], zero: [0], axis: 0, type: type), into: y)
        return stating(y, .integer)
    }

    /// The same elements of any type under a new shape, where no copy is needed.
    mutating func reshapeInPlace(_ x: Value, to shape: Shape) -> Value? {
        if self.shape(x) == shape { return x }
        guard isDense(x), self.shape(x).isRowMajor, shape.isRowMajor else { return nil }
        return view(x, as: shape, strides: shape.strides, offset: 0)
    }

    /// Real numbers as bytes.
    mutating func quantised(_ x: Value, _ quantisation: Quantisation) -> Value {
        let y = bytes(
            shape(x), quantisation.type, channelsLast: !isDense(x) && hasChannelsLast(x))
        quantise(x, quantisation, into: y)
        return stating(y, .integer)
    }
}
