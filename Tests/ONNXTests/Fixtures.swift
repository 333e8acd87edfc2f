import Foundation
import ONNX

/// x [1, 2] → Gemm → Relu → y, with metadata and two initializers.
func smallModel() -> ONNXBuilder {
    var builder = ONNXBuilder(name: "small")
    builder.metadata("classes", "a,b")
    builder.input("x", [1, 2])
    builder.initializer("w", [2, 2], floats: [1, 2, 3, 4])
    builder.initializer("shape", [2], ints: [1, -1])
    builder.node("Gemm", ["x", "w"], ["h"], ["transB": 1, "alpha": 0.5], name: "fc")
    builder.node("Reshape", ["h", "shape"], ["r"])
    builder.node("Relu", ["r"], ["y"])
    builder.valueInfo("h", [1, 2])
    builder.output("y", ["batch", 2])
    return builder
}

/// The error of a model that must not load.
func failure(_ builder: ONNXBuilder, folder: String? = nil) -> ONNXError? {
    failure { () throws(ONNXError) in _ = try builder.model(name: "m.onnx", folder: folder) }
}

func failure(_ body: () throws(ONNXError) -> Void) -> ONNXError? {
    do {
        try body()
        return nil
    } catch {
        return error
    }
}

/// Runs `body` with a new folder, which is removed afterwards.
func withFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("onnx-\(UUID().uuidString)")
        .path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    return try body(folder)
}

func write(_ bytes: Data, _ path: String) throws { try bytes.write(to: URL(fileURLWithPath: path)) }

/// SplitMix64, so that a failing case can be run again.
struct Random: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

func littleEndian<Bits: FixedWidthInteger>(_ values: [Bits]) -> Data {
    Data(values.flatMap { value in withUnsafeBytes(of: value.littleEndian) { Array($0) } })
}
