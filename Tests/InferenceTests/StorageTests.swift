// Numbers that are stored in other floating-point types are computed with in binary32.

import Foundation
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct StorageTests {
    /// A network whose weights, constants, input and casts are of a type, and the same in float32 with the rounded weights.
    @Test(arguments: [ONNXDataType.float16, .bfloat16, .float64]) func binary32OfRoundedWeights(
        _ type: ONNXDataType
    ) throws {
        var random = SeededRandom("storage")
        let weights = (0..<4 * 3 * 9).map { _ in random.float(-1, 1) }
        func raw(_ values: [Float]) -> Data {
            switch type {
            case .float16: littleEndian(values.map { Self.half($0) })
            case .bfloat16: littleEndian(values.map { UInt16($0.bitPattern >> 16) })
            default: littleEndian(values.map { (Double($0) + 1e-12).bitPattern })
            }
        }
        func network(stored: Bool) throws -> Network {
            var builder = ONNXBuilder()
            builder.input("x", [1, 3, 6, 5], type: stored ? type : .float32)
            let tensor = ONNXTensor(name: "w", dims: [4, 3, 3, 3], type: type, raw: raw(weights))
            let half = ONNXTensor(dims: [1], type: type, raw: raw([0.375]))
            builder.initializer(
                stored ? tensor : ONNXTensor(name: "w", dims: tensor.dims, floats: try tensor.floats()))
            if stored {
                builder.node("Cast", ["x"], ["wide"], ["to": 1])
                builder.node("Cast", ["wide"], ["narrow"], ["to": .int(Int(type.rawValue))])
            }
            builder.node("Conv", [stored ? "narrow" : "x", "w"], ["a"])
            builder.node(
                "Constant", [], ["k"],
                ["value": .tensor(stored ? half : ONNXTensor(dims: [1], floats: try half.floats()))])
            builder.node("Mul", ["a", "k"], ["b"])
            builder.node("GlobalAveragePool", ["b"], ["p"])
            builder.node("Flatten", ["p"], ["y"])
            builder.output("y", [1, 4], type: stored ? type : .float32)
            return try Network(builder.model())
        }
        // Numbers that each of the types holds, since a Cast to it rounds.
        let picture = (0..<90).map { _ in (random.float(-1, 1) * 64).rounded() / 64 }
        func numbers(_ network: Network) throws -> [[UInt32]] {
            try network.run(
                picture, dims: [1, 3, 6, 5], outputs: ["a", "y"], gradient: 2, on: .cpu(CPU(threads: 1))
            )
            .map { $0.values.map(\.bitPattern) }
        }
        #expect(try numbers(network(stored: true)) == numbers(network(stored: false)))
    }

    private func littleEndian<Bits: FixedWidthInteger>(_ values: [Bits]) -> Data {
        Data(values.flatMap { value in withUnsafeBytes(of: value.littleEndian) { Array($0) } })
    }

    /// The bits of float16, cut off: of a number between 2⁻¹⁴ and 2.
    private static func half(_ value: Float) -> UInt16 {
        let bits = value.bitPattern
        let exponent = Int(bits >> 23 & 0xff) - 112
        guard exponent > 0 else { return 0 }
        return UInt16(bits >> 16 & 0x8000) | UInt16(exponent << 10) | UInt16(bits >> 13 & 0x3ff)
    }
}
