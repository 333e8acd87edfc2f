import Foundation
import ONNX
import Testing

@Suite struct TensorTests {
    /// The tensor as it comes back from a file.
    private func reload(
        _ tensor: ONNXTensor, _ edit: (inout ONNXBuilder) -> Void = { _ in }
    ) throws -> ONNXTensor {
        var builder = ONNXBuilder()
        builder.initializer(tensor)
        builder.output(tensor.name)
        edit(&builder)
        return try #require(try builder.model().graph.initializers[tensor.name])
    }

    private func raw(_ type: ONNXDataType, _ bytes: Data) throws -> ONNXTensor {
        try reload(
            ONNXTensor(name: "t", dims: [bytes.count / type.bytesPerElement], type: type, raw: bytes))
    }

    @Test func integersFromBytes() throws {
        func check(_ type: ONNXDataType, _ bytes: Data, _ values: [Int64]) throws {
            let tensor = try raw(type, bytes)
            #expect(tensor.type == type)
            #expect(try tensor.ints() == values)
            #expect(try tensor.floats() == values.map { Float($0) })
        }
        try check(.uint8, Data([0, 7, 255]), [0, 7, 255])
        try check(.int8, Data([0, 7, 255]), [0, 7, -1])
        try check(.bool, Data([0, 1, 2]), [0, 1, 1])
        try check(.uint16, littleEndian([1, 65535] as [UInt16]), [1, 65535])
        try check(.int16, littleEndian([1, -2] as [Int16]), [1, -2])
        try check(.uint32, littleEndian([1, .max] as [UInt32]), [1, 4_294_967_295])
        try check(.int32, littleEndian([1, .min] as [Int32]), [1, -2_147_483_648])
        try check(.uint64, littleEndian([1, 1 << 40] as [UInt64]), [1, 1 << 40])
        try check(.int64, littleEndian([.max, .min] as [Int64]), [.max, .min])
    }

    @Test func typedFields() throws {
        func check(
            _ type: ONNXDataType, _ values: [Float], isInteger: Bool, _ fill: (inout WireTensor) -> Void
        ) throws {
            let empty = ONNXTensor(name: "t", dims: [0], type: type, raw: Data())
            let tensor = try reload(empty) { builder in
                builder.graph.initializer[0].clearRawData()
                builder.graph.initializer[0].dims = [Int64(values.count)]
                fill(&builder.graph.initializer[0])
            }
            #expect(try tensor.floats() == values)
            if isInteger { #expect(try tensor.ints() == values.map { Int64($0) }) }
        }
        try check(.float32, [1, -2.5], isInteger: false) { $0.floatData = [1, -2.5] }
        try check(.float64, [1, 0.1], isInteger: false) { $0.doubleData = [1, 0.1] }
        try check(.int64, [1, -3], isInteger: true) { $0.int64Data = [1, -3] }
        try check(.uint64, [1, 5], isInteger: true) { $0.uint64Data = [1, 5] }
        try check(.uint32, [1, 5], isInteger: true) { $0.uint64Data = [1, 5] }
        for type in [ONNXDataType.int32, .int16, .int8, .uint16, .uint8, .bool] {
            try check(type, [1, 0], isInteger: true) { $0.int32Data = [1, 0] }
        }
        // Whatever is not 0 is true, as it is in raw data; what a narrow type cannot be is no number of it.
        try check(.bool, [1, 0, 1], isInteger: true) { $0.int32Data = [2, 0, -3] }
        for (type, number) in [
            (ONNXDataType.uint8, 256), (.uint8, -1), (.int8, 128), (.int16, -32769), (.uint16, 65536),
            (.float16, -1), (.bfloat16, 65536),
        ] as [(ONNXDataType, Int32)] {
            let error = #expect(throws: ONNXError.self) {
                try check(type, [0], isInteger: false) { $0.int32Data = [number] }
            }
            #expect(error?.description.contains("the number \(number), which no \(type) can be") == true)
        }
        #expect(throws: ONNXError.self) {
            try check(.uint32, [0], isInteger: true) { $0.uint64Data = [1 << 32] }
        }
        try check(.float16, [1, -2], isInteger: false) { $0.int32Data = [0x3c00, 0xc000] }
        try check(.bfloat16, [1, -2], isInteger: false) { $0.int32Data = [0x3f80, 0xc000] }
        // An empty raw field beside typed data is as good as none.
        try check(.float32, [4], isInteger: false) {
            $0.rawData = Data()
            $0.floatData = [4]
        }
    }

    @Test func halfPrecisionIsExact() throws {
        let all = (0...UInt16.max).map { $0 }
        let floats = try raw(.float16, littleEndian(all)).floats()
        for (bits, value) in zip(all, floats) {
            let wanted = Self.reference(float16: bits)
            if wanted.isNaN {
                #expect(value.isNaN)
            } else if value.bitPattern != wanted.bitPattern {
                Issue.record("0x\(String(bits, radix: 16)) gave \(value), not \(wanted)")
            }
        }
        let brain = try raw(.bfloat16, littleEndian(all)).floats()
        #expect(zip(all, brain).allSatisfy { $1.bitPattern == UInt32($0) << 16 })
    }

    /// The definition of binary16.
    private static func reference(float16 bits: UInt16) -> Float {
        let sign: Double = bits & 0x8000 == 0 ? 1 : -1
        let exponent = Int(bits >> 10 & 31)
        let fraction = Double(bits & 1023)
        switch exponent {
        case 31: return fraction == 0 ? Float(sign * .infinity) : .nan
        case 0: return Float(sign * fraction * 0x1p-24)
        default:
            return Float(
                sign * (1024 + fraction) * Double(sign: .plus, exponent: exponent - 25, significand: 1))
        }
    }

    @Test func floatBytesAreLent() throws {
        let values: [Float] = [1, .infinity, -0.0, .leastNonzeroMagnitude, .nan]
        for tensor in [
            try reload(ONNXTensor(name: "t", dims: [5], floats: values)),
            ONNXTensor(name: "t", dims: [5], floats: values),
        ] {
            #expect(tensor.isFloat32)
            let lent = try tensor.withFloatBytes { bytes in
                (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self) }
            }
            #expect(lent == values.map(\.bitPattern))
            #expect(try tensor.floats().map(\.bitPattern) == values.map(\.bitPattern))
        }
        #expect(try raw(.uint8, Data([3])).withFloatBytes { $0.loadUnaligned(as: Float.self) } == 3)
    }

    /// Elements are read from their place in the file as often as somebody asks for them.
    @Test func elementsAreReadAgain() throws {
        let values = (0..<100_000).map { Float($0) * 0.25 }
        var builder = smallModel()
        for name in ["a", "b", "c"] { builder.initializer(name, [100_000], floats: values) }
        try withFolder { folder in
            try write(builder.data(), "\(folder)/m.onnx")
            for model in [
                try ONNXModel(path: "\(folder)/m.onnx"), try ONNXModel(data: builder.data()),
            ] {
                let tensors = try ["a", "b", "c"].map { try #require(model.graph.initializers[$0]) }
                for _ in 0..<2 {
                    #expect(try tensors[1].floats() == values)
                    for tensor in tensors { #expect(try tensor.floats() == values) }
                }
            }
        }
    }

    @Test func integersOnly() throws {
        let float = failure { () throws(ONNXError) in
            _ = try ONNXTensor(name: "f", dims: [1], floats: [1]).ints()
        }
        #expect(float?.kind == .invalidTensor)
        #expect(float?.reason.contains("'f'") == true)
        let big = try raw(.uint64, littleEndian([UInt64.max]))
        #expect(failure { () throws(ONNXError) in _ = try big.ints() }?.kind == .invalidTensor)
    }

    @Test func typedTensorsRoundTrip() throws {
        var builder = ONNXBuilder()
        builder.initializer("t", [2], floats: [1, 2])
        builder.graph.initializer[0].clearRawData()
        builder.graph.initializer[0].dataType = 12
        builder.graph.initializer[0].uint64Data = [5, 6]
        builder.output("t")
        let tensor = try #require(try builder.model().graph.initializers["t"])
        #expect(try reload(tensor).ints() == [5, 6])
    }
}

@Suite struct ExternalDataTests {
    private func model(_ location: String?, offset: String? = nil, length: String? = nil) -> ONNXBuilder {
        var builder = smallModel()
        var entries: [WireStringPair] = []
        for (key, value) in [("location", location), ("offset", offset), ("length", length)] {
            if let value { entries.append(.with { ($0.key, $0.value) = (key, value) }) }
        }
        builder.graph.initializer[0].clearRawData()
        builder.graph.initializer[0].externalData = entries
        builder.graph.initializer[0].dataLocation = .external
        return builder
    }

    private let bytes = littleEndian([5, 6, 7, 8, 9].map { Float($0).bitPattern })

    @Test func readsItsPart() throws {
        try withFolder { folder in
            try FileManager.default.createDirectory(
                atPath: "\(folder)/sub", withIntermediateDirectories: true)
            try write(bytes, "\(folder)/sub/w.bin")
            try write(model("sub/w.bin", offset: "4", length: "16").data(), "\(folder)/m.onnx")
            let loaded = try ONNXModel(path: "\(folder)/m.onnx")
            #expect(try loaded.graph.initializers["w"]?.floats() == [6, 7, 8, 9])
            let whole = try model("./sub/w.bin").model(folder: folder)
            #expect(try whole.graph.initializers["w"]?.floats() == [5, 6, 7, 8])
        }
    }

    /// Two files whose names Swift's texts hold for equal.
    @Test func namesAreBytes() throws {
        try withFolder { folder in
            let names = ["\u{FC}.bin", "u\u{308}.bin"]
            var builder = model(names[0])
            builder.initializer("v", [1], floats: [0])
            builder.graph.initializer[2].clearRawData()
            builder.graph.initializer[2].externalData = [
                .with { ($0.key, $0.value) = ("location", names[1]) }
            ]
            builder.graph.initializer[2].dataLocation = .external
            try write(bytes, folder + "/" + names[0])
            try write(littleEndian([Float(3).bitPattern]), folder + "/" + names[1])
            let loaded = try builder.model(folder: folder)
            #expect(try loaded.graph.initializers["w"]?.floats() == [5, 6, 7, 8])
            #expect(try loaded.graph.initializers["v"]?.floats() == [3])
            // What looks like a byte written out is none: a model's texts are UTF-8.
            try write(bytes, folder + "/a\\xff.bin")
            #expect(failure(model("a\\xff.bin"), folder: folder) == nil)
            // A link to the folder's twin leaves it.
            let (inside, outside) = ("\(folder)/d\u{FC}", "\(folder)/du\u{308}")
            for path in [inside, outside] {
                try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            }
            try write(bytes, outside + "/w.bin")
            try FileManager.default.createSymbolicLink(
                atPath: inside + "/link.bin", withDestinationPath: outside + "/w.bin")
            let error = failure(model("link.bin"), folder: inside)
            #expect(error?.reason.contains("leaves the model's folder") == true)
        }
    }

    @Test func refuses() throws {
        try withFolder { outer in
            let folder = "\(outer)/model"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try write(bytes, "\(folder)/w.bin")
            try write(bytes, "\(outer)/secret.bin")
            try FileManager.default.createSymbolicLink(
                atPath: "\(folder)/link.bin", withDestinationPath: "../secret.bin")
            try FileManager.default.createSymbolicLink(atPath: "\(folder)/up", withDestinationPath: "..")
            try FileManager.default.createSymbolicLink(
                atPath: "\(folder)/inside.bin", withDestinationPath: "w.bin")
            #expect(failure(model("inside.bin"), folder: folder) == nil)

            func expect(
                _ builder: ONNXBuilder, _ part: String, _ kind: ONNXError.Kind = .externalData,
                folder: String? = folder, sourceLocation: SourceLocation = #_sourceLocation
            ) {
                let error = failure(builder, folder: folder)
                #expect(error?.kind == kind, sourceLocation: sourceLocation)
                #expect(
                    error?.reason.contains(part) == true && error?.reason.contains("'w'") == true,
                    "\(error.map(\.description) ?? "no error")", sourceLocation: sourceLocation)
            }
            expect(model("none.bin"), "'none.bin', which is missing")
            expect(model(nil), "names no file")
            expect(model(""), "names no file")
            expect(model("\(outer)/secret.bin"), "relative")
            expect(model("../secret.bin"), "'..'")
            expect(model("sub/../w.bin"), "'..'")
            expect(model("link.bin"), "leaves the model's folder")
            expect(model("up/secret.bin"), "leaves the model's folder")
            expect(model("."), "leaves the model's folder")
            expect(model("w.bin\0"), "relative")
            expect(model("w.bin", offset: "8"), "only 20 bytes")
            expect(model("w.bin", offset: "21"), "only 20 bytes")
            expect(model("w.bin", offset: "\(Int.max)"), "only 20 bytes")
            expect(model("w.bin", offset: "-4"), "offset '-4'")
            expect(model("w.bin", offset: "x"), "offset 'x'")
            expect(model("w.bin", length: "99999999999999999999"), "length")
            expect(model("w.bin", length: "12"), "has 12 bytes", .invalidTensor)
            expect(model("w.bin"), "not read from a folder", folder: nil)
            var both = model("w.bin")
            both.graph.initializer[0].floatData = [1]
            expect(both, "both inside and outside", .invalidTensor)
            try FileManager.default.createDirectory(
                atPath: "\(folder)/dir", withIntermediateDirectories: true)
            expect(model("dir"), "directory")
        }
    }
}
