import Foundation
import ONNX
import Testing

/// Each thing that can be wrong with a file has its kind, and a sentence that names the file and the place.
@Suite struct RefusalTests {
    private func expect(
        _ error: ONNXError?, _ kind: ONNXError.Kind, _ parts: String...,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(error?.kind == kind, sourceLocation: sourceLocation)
        for part in parts {
            #expect(
                error?.description.contains(part) == true,
                "\(error.map(\.description) ?? "no error") lacks \(part)",
                sourceLocation: sourceLocation)
        }
        #expect(error?.description.hasSuffix(".") == true, sourceLocation: sourceLocation)
    }

    private func load(_ path: String) -> ONNXError? {
        failure { () throws(ONNXError) in _ = try ONNXModel(path: path) }
    }

    private func load(_ data: Data) -> ONNXError? {
        failure { () throws(ONNXError) in _ = try ONNXModel(data: data, name: "m.onnx") }
    }

    @Test func paths() throws {
        try withFolder { folder in
            expect(load("\(folder)/none.onnx"), .fileNotFound, "\(folder)/none.onnx")
            expect(load(""), .fileNotFound)
            expect(load("a\0b"), .fileNotFound)
            expect(load(folder), .notAFile, folder, "directory")
            expect(load("/dev/null"), .notAFile, "/dev/null")
            try write(Data(), "\(folder)/empty.onnx")
            expect(load("\(folder)/empty.onnx"), .empty, "\(folder)/empty.onnx")
            try write(smallModel().data(), "\(folder)/good.onnx")
            #expect(try ONNXModel(path: "\(folder)/good.onnx").graph.nodes.count == 3)
            try write(smallModel().data().dropLast(3), "\(folder)/short.onnx")
            expect(load("\(folder)/short.onnx"), .malformed, "short.onnx", "truncated")
        }
    }

    @Test func otherFormats() {
        expect(load(Data("PK\u{3}\u{4}data".utf8)), .malformed, "zip archive", "ONNX")
        expect(load(Data("version https://git-lfs.github.com/spec/v1\n".utf8)), .malformed, "git lfs pull")
        expect(load(Data("<html></html>".utf8)), .malformed, "web page")
        expect(load(Data("Hello, world.\n".utf8)), .malformed, "m.onnx")
        expect(load(Data([0xff, 0xff, 0xff, 0xff])), .malformed)
    }

    @Test func incompleteModels() {
        var builder = smallModel()
        expect(load((try? builder.wire.serializedBytes()) ?? Data()), .noGraph, "m.onnx", "no graph")
        builder = smallModel()
        builder.wire.irVersion = 0
        expect(failure(builder), .malformed, "IR version")
        builder = smallModel()
        builder.wire.opsetImport = []
        expect(failure(builder), .unsupportedOpset, "7 to 24")
        builder.opset(1, domain: "ai.onnx.ml")
        expect(failure(builder), .unsupportedOpset)
        builder.opset(6)
        expect(failure(builder), .unsupportedOpset, "opset 6", "7 to 24")
        builder.wire.opsetImport[1].version = 25
        expect(failure(builder), .unsupportedOpset, "opset 25")
        builder.wire.opsetImport[1].version = 7
        #expect(failure(builder) == nil)
        builder.opset(8)
        expect(failure(builder), .unsupportedOpset, "7 and 8")
    }

    @Test func duplicateNames() {
        var builder = smallModel()
        builder.initializer("w", [1], floats: [1])
        expect(failure(builder), .duplicateName, "'w'", "m.onnx")
        builder = smallModel()
        builder.input("x", [1])
        expect(failure(builder), .duplicateName, "'x'")
        builder = smallModel()
        builder.node("Relu", ["x"], ["h"], name: "again")
        expect(failure(builder), .duplicateName, "'h'", "'fc'", "'again'")
        builder = smallModel()
        builder.node("Split", ["x"], ["p", "p"])
        expect(failure(builder), .duplicateName, "'p'", "twice")
        builder = smallModel()
        builder.node("Relu", ["y"], ["x"])
        expect(failure(builder), .duplicateName, "'x'", "input")
        builder = smallModel()
        builder.node("Relu", ["y"], ["w"])
        expect(failure(builder), .duplicateName, "'w'", "initializer")
        builder = smallModel()
        builder.output("y", nil)
        expect(failure(builder), .duplicateName, "'y'")
        builder = smallModel()
        builder.graph.node[0].attribute.append(builder.graph.node[0].attribute[0])
        expect(failure(builder), .duplicateName, "'alpha'", "'fc'")
    }

    @Test func missingValues() {
        var builder = smallModel()
        builder.node("Add", ["y", "ghost"], ["z"], name: "sum")
        expect(failure(builder), .missingValue, "'ghost'", "'sum'", "(Add)", "m.onnx")
        builder = smallModel()
        builder.output("nothing", nil)
        expect(failure(builder), .missingValue, "'nothing'")
        builder = smallModel()
        builder.graph.output = []
        expect(failure(builder), .missingValue, "no outputs")
    }

    @Test func circles() {
        var builder = smallModel()
        builder.node("Add", ["y", "c"], ["a"], name: "first")
        builder.node("Relu", ["a"], ["b"], name: "second")
        builder.node("Relu", ["b"], ["c"], name: "third")
        expect(failure(builder), .cycle, "'first' → 'second' → 'third' → 'first'")
        builder = smallModel()
        builder.node("Add", ["s"], ["s"], name: "self")
        expect(failure(builder), .cycle, "'self' → 'self'")
    }

    @Test func namelessThings() {
        var builder = smallModel()
        builder.graph.node[1].opType = ""
        expect(failure(builder), .malformed, "number 1")
        builder = smallModel()
        builder.graph.initializer[0].name = ""
        expect(failure(builder), .malformed, "number 0")
        builder = smallModel()
        builder.input("", [1])
        expect(failure(builder), .malformed, "input")
        builder = smallModel()
        builder.output("", [1])
        expect(failure(builder), .malformed, "output")
        builder = smallModel()
        builder.graph.node[0].attribute[0].type = .undefined
        expect(failure(builder), .malformed, "'alpha'")
    }

    @Test func shapes() {
        func tensor(_ dims: [Int64]) -> ONNXError? {
            var builder = smallModel()
            builder.graph.initializer[0].dims = dims
            return failure(builder)
        }
        expect(tensor([-2, -2]), .invalidShape, "'w'", "-2", "m.onnx")
        expect(tensor([.max, .max]), .invalidShape, "'w'")
        expect(tensor([1 << 32, 1 << 32]), .invalidShape)
        expect(tensor([1 << 62, 4]), .invalidShape)
        expect(tensor([0, .max]), .invalidShape)
        expect(tensor([.min]), .invalidShape)
        expect(tensor([3, 2]), .invalidTensor, "16 bytes", "24")
        expect(tensor([]), .invalidTensor, "16 bytes", "ask for 4")
        expect(tensor([0, 2]), .invalidTensor)
        var builder = smallModel()
        builder.input("big", [.fixed(1 << 40)])
        expect(failure(builder), .invalidShape, "'big'", "too large")
        builder = smallModel()
        builder.input("negative", [.fixed(-7)])
        expect(failure(builder), .invalidShape, "'negative'", "-7")
    }

    @Test func tensors() throws {
        var builder = smallModel()
        builder.graph.initializer[0].rawData.removeLast()
        expect(failure(builder), .invalidTensor, "'w'", "15 bytes", "float32")
        builder = smallModel()
        builder.graph.initializer[0].floatData = [1, 2, 3, 4]
        expect(failure(builder), .invalidTensor, "'w'", "twice")
        builder.graph.initializer[0].clearRawData()
        #expect(failure(builder) == nil)
        builder.graph.initializer[0].floatData.removeLast()
        expect(failure(builder), .invalidTensor, "3 elements", "4")
        builder.graph.initializer[0].floatData = []
        expect(failure(builder), .invalidTensor, "0 elements")
        for (code, name) in [
            (8, "string"), (0, "undefined"), (14, "complex64"), (22, "int4"), (99, "number 99"),
        ] {
            builder = smallModel()
            builder.graph.initializer[0].dataType = Int32(code)
            expect(failure(builder), .unsupportedDataType, "'w'", name, "float32")
        }
        builder = smallModel()
        builder.graph.initializer[0].segment = Data([8, 0])
        expect(failure(builder), .unsupportedFeature, "'w'", "segments")
        builder = smallModel()
        var constant = ONNXTensor(dims: [1], floats: [1])
        builder.node("Constant", [], ["k"], ["value": .tensor(constant)], name: "const")
        #expect(failure(builder) == nil)
        builder.graph.node[3].attribute[0].t.dims = [5]
        expect(failure(builder), .invalidTensor, "'value'", "'const'")
        constant = ONNXTensor(dims: [0], floats: [])
        #expect(try constant.floats() == [])
    }

    @Test func features() {
        var builder = smallModel()
        builder.graph.sparseInitializer = [Data()]
        expect(failure(builder), .unsupportedFeature, "sparse")
    }

    @Test func namesFitOneLine() {
        var builder = smallModel()
        builder.node("Relu", [String(repeating: "long\n", count: 1000)], ["z"])
        let text = failure(builder)?.description ?? ""
        #expect(!text.isEmpty && !text.contains("\n") && text.count < 400)
    }

    /// Text must be UTF-8.
    @Test func invalidText() {
        var data = smallModel().data()
        let name = data.range(of: Data("Gemm".utf8))!
        data[name.lowerBound] = 0xff
        expect(load(data), .malformed, "node number 0", "UTF-8")
    }
}
