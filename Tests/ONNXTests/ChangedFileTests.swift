import Dispatch
import Foundation
import ONNX
import Testing

/// What other programs do to a file while it is in use, and what a file may take of memory before its weights are read.
@Suite struct ChangedFileTests {
    /// A model of a few tensors, with its path; last written long ago, so that any change shows.
    private func write(_ tensors: Int, of count: Int, to folder: String) throws -> String {
        var builder = smallModel()
        for i in 0..<tensors {
            builder.initializer("t\(i)", [count], floats: (0..<count).map { Float($0 + i) })
        }
        let path = "\(folder)/m.onnx"
        try ONNXTests.write(builder.data(), path)
        try age(path)
        return path
    }

    private func age(_ path: String) throws {
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSince1970: 1e9)], ofItemAtPath: path)
    }

    private func expectChanged(
        _ tensor: ONNXTensor?, _ file: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let error = failure { () throws(ONNXError) in _ = try tensor?.floats() }
        #expect(error?.kind == .changed, sourceLocation: sourceLocation)
        #expect(error?.description.contains(file) == true, sourceLocation: sourceLocation)
        #expect(error?.description.contains("changed by another program") == true)
        #expect(throws: ONNXError.self, sourceLocation: sourceLocation) {
            try tensor?.withFloatBytes { _ in }
        }
    }

    @Test func shortened() throws {
        try withFolder { folder in
            let path = try write(2, of: 100_000, to: folder)
            let model = try ONNXModel(path: path)
            #expect(truncate(path, 1000) == 0)
            expectChanged(model.graph.initializers["t0"], path)
            expectChanged(model.graph.initializers["t1"], path)
        }
    }

    @Test func overwritten() throws {
        try withFolder { folder in
            let path = try write(1, of: 1000, to: folder)
            let model = try ONNXModel(path: path)
            let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
            try file.write(contentsOf: Data(count: 4))
            try file.close()
            expectChanged(model.graph.initializers["t0"], path)
        }
    }

    /// Whoever puts another file in its place disturbs nobody.
    @Test func replacedOrRemoved() throws {
        try withFolder { folder in
            let path = try write(1, of: 1000, to: folder)
            let model = try ONNXModel(path: path)
            let values = try model.graph.initializers["t0"]?.floats()
            try ONNXTests.write(Data("other".utf8), "\(folder)/other")
            #expect(rename("\(folder)/other", path) == 0)
            #expect(try model.graph.initializers["t0"]?.floats() == values)
            try FileManager.default.removeItem(atPath: path)
            #expect(try model.graph.initializers["t0"]?.floats() == values && values?.count == 1000)
        }
    }

    @Test func externalData() throws {
        try withFolder { folder in
            var builder = smallModel()
            builder.graph.initializer[0].clearRawData()
            builder.graph.initializer[0].externalData = [.with { ($0.key, $0.value) = ("location", "w.bin") }]
            builder.graph.initializer[0].dataLocation = .external
            try ONNXTests.write(Data(count: 16), "\(folder)/w.bin")
            try age("\(folder)/w.bin")
            try ONNXTests.write(builder.data(), "\(folder)/m.onnx")
            let model = try ONNXModel(path: "\(folder)/m.onnx")
            #expect(model.externalFiles.map(\.location) == ["w.bin"])
            #expect(try model.graph.initializers["w"]?.floats() == [0, 0, 0, 0])
            #expect(truncate("\(folder)/w.bin", 8) == 0)
            expectChanged(model.graph.initializers["w"], "w.bin")
        }
    }

    /// A file that is shortened at any moment of reading it gives a model or a sentence, and its tensors numbers or a sentence.
    @Test func shortenedAtAnyMoment() throws {
        try withFolder { folder in
            for round in 0..<60 {
                let path = try write(40, of: 20_000, to: folder)
                let delay = UInt32(round * 50)
                let done = DispatchGroup()
                DispatchQueue.global().async(group: done) {
                    usleep(delay)
                    _ = truncate(path, off_t(round * 1000))
                }
                do {
                    let model = try ONNXModel(path: path)
                    for i in 0..<40 {
                        let values = try model.graph.initializers["t\(i)"]?.floats()
                        #expect(values?[19_999] == Float(19_999 + i))
                    }
                } catch let error as ONNXError {
                    #expect([.changed, .malformed, .empty, .noGraph].contains(error.kind), "\(error)")
                }
                done.wait()
            }
        }
    }

    // MARK: Memory

    /// What the parser makes of numbers and names is counted before it is made.
    @Test(arguments: [
        "float_data", "int32_data", "int64_data", "uint64_data", "double_data", "numbers one by one",
        "a tensor of an attribute", "integers of an attribute", "many nodes", "many names", "a long name",
        "many values", "metadata",
    ])
    func memoryIsCounted(_ what: String) throws {
        var builder = smallModel()
        let many = 200_000
        /// What must be counted at least.
        var least = 8 * many
        func tensor(_ type: Int32, _ fill: (inout WireTensor) -> Void) {
            var tensor = WireTensor()
            (tensor.name, tensor.dims, tensor.dataType) = ("numbers", [Int64(many)], type)
            fill(&tensor)
            builder.graph.initializer.append(tensor)
        }
        var tail = Data()
        switch what {
        case "float_data":
            tensor(1) { $0.floatData = Array(repeating: 1, count: many) }
        case "int32_data":
            tensor(6) { $0.int32Data = Array(repeating: 1, count: many) }
            least = 4 * many
        case "int64_data": tensor(7) { $0.int64Data = Array(repeating: 1, count: many) }
        case "uint64_data": tensor(13) { $0.uint64Data = Array(repeating: 1, count: many) }
        case "double_data": tensor(11) { $0.doubleData = Array(repeating: 1, count: many) }
        case "numbers one by one":
            // Fields of their own, as proto2 writes them: int64_data = 1, again and again.
            var message = Data([0x10, 7, 0x42, 1, 0x6e, 0x08]) + varint(many)
            for _ in 0..<many { message += [0x38, 1] }
            let initializer = Data([0x2a]) + varint(message.count) + message
            tail = Data([0x3a]) + varint(initializer.count) + initializer
        case "a tensor of an attribute":
            let tensor = ONNXTensor(dims: [many], floats: Array(repeating: 1, count: many))
            builder.node("Constant", [], ["k"], ["value": .tensor(tensor)])
        case "integers of an attribute":
            builder.node("Thing", ["y"], ["k"], ["v": .ints(Array(repeating: 1, count: many))])
        case "many nodes":
            for i in 0..<2000 { builder.node("Relu", ["y"], ["y\(i)"]) }
            least = 2000 * 2000
        case "many names": builder.node("Concat", Array(repeating: "y", count: many), ["k"])
        case "a long name":
            builder.node("Relu", ["y"], [String(repeating: "n", count: many)])
            least = many
        case "many values":
            for i in 0..<2000 { builder.valueInfo("v\(i)", [1, 2, 3]) }
            least = 2000 * 500
        default:
            builder.metadata("long", String(repeating: "n", count: many))
            least = many
        }
        let data = builder.data() + tail
        let model = try ONNXModel(data: data)
        #expect(model.memory >= least)
        #expect(try ONNXModel(data: data, memory: model.memory).memory == model.memory)
        for memory in [model.memory - 1, least / 2] {
            let error = failure { () throws(ONNXError) in _ = try ONNXModel(data: data, memory: memory) }
            #expect(error?.kind == .memory && error!.description.contains("--memory-limit"))
        }
    }

    private func varint(_ value: Int) -> Data {
        var (value, bytes) = (value, Data())
        while value >= 0x80 {
            bytes.append(UInt8(value & 0x7f) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(value))
        return bytes
    }

    /// Weights in `raw_data` are no part of it: they stay in the file.
    @Test func weightsAreNotCounted() throws {
        try withFolder { folder in
            let path = try write(2, of: 1_000_000, to: folder)
            #expect(try ONNXModel(path: path, memory: 200_000).memory < 200_000)
        }
    }
}
