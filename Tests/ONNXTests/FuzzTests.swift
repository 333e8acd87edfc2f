import Foundation
import ONNX
import Testing

/// No bytes crash the reader: it returns a model or throws a sentence. Tensors that are returned can be read.
@Suite struct FuzzTests {
    private func read(_ data: Data) {
        guard let model = try? ONNXModel(data: data) else { return }
        for tensor in model.graph.initializers.values {
            precondition((try? tensor.floats())?.count == tensor.elementCount)
            _ = try? tensor.ints()
        }
    }

    /// The small model with every storage of tensors and every kind of attribute.
    private var seed: Data {
        var builder = smallModel()
        builder.initializer(ONNXTensor(name: "half", dims: [3], type: .float16, raw: Data(count: 6)))
        builder.initializer("typed", [2], floats: [1, 2])
        builder.graph.initializer[3].clearRawData()
        builder.graph.initializer[3].floatData = [1, 2]
        builder.node(
            "Thing", ["y", "half"], ["z"],
            [
                "s": "text", "ints": [1, 2], "floats": .floats([0.5]), "strings": .strings(["a"]),
                "g": .graph(ONNXSubgraph()),
                "t": .tensor(ONNXTensor(dims: [2], floats: [7, 8])),
            ])
        precondition((try? builder.model()) != nil)
        return builder.data()
    }

    @Test func truncations() {
        let data = seed
        for count in 0..<data.count { read(data.prefix(count)) }
    }

    @Test func everyBitFlipped() {
        let data = seed
        for index in data.indices {
            for bit in 0..<8 {
                var changed = data
                changed[index] ^= 1 << bit
                read(changed)
            }
        }
    }

    @Test func severalBytesChanged() {
        var random = Random(state: 1)
        let data = seed
        for _ in 0..<5000 {
            var changed = data
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                changed[Int.random(in: 0..<changed.count, using: &random)] = UInt8.random(
                    in: 0...255, using: &random)
            }
            read(changed)
        }
    }

    @Test func piecesMoved() {
        var random = Random(state: 2)
        let data = seed
        for _ in 0..<3000 {
            var changed = data
            let start = Int.random(in: 0..<data.count, using: &random)
            let end = Int.random(in: start..<min(data.count, start + 64), using: &random)
            let piece = changed.subdata(in: start..<end)
            if Bool.random(using: &random) { changed.removeSubrange(start..<end) }
            changed.insert(contentsOf: piece, at: Int.random(in: 0...changed.count, using: &random))
            read(changed)
        }
    }

    @Test func randomBytes() {
        var random = Random(state: 3)
        for _ in 0..<5000 {
            let count = Int.random(in: 1...200, using: &random)
            var bytes = Data((0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
            // Half of them start like a model: a graph of random bytes.
            if Bool.random(using: &random) { bytes = Data([8, 8, 0x3a, UInt8(min(127, count))]) + bytes }
            read(bytes)
        }
    }
}
