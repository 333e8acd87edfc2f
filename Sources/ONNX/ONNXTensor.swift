import Text

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif
#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The element types that tensors of a file may have here. Raw values are those of the format.
package enum ONNXDataType: Int32, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    case float32 = 1
    case uint8 = 2
    case int8 = 3
    case uint16 = 4
    case int16 = 5
    case int32 = 6
    case int64 = 7
    case bool = 9
    case float16 = 10
    case float64 = 11
    case uint32 = 12
    case uint64 = 13
    case bfloat16 = 16

    package var bytesPerElement: Int {
        switch self {
        case .uint8, .int8, .bool: 1
        case .uint16, .int16, .float16, .bfloat16: 2
        case .float32, .int32, .uint32: 4
        case .int64, .float64, .uint64: 8
        }
    }

    /// What `int32_data` may hold of a type that is narrower (of half floats, their bits); nil where it is not, and for bool, which takes
    /// any number.
    fileprivate var narrowRange: ClosedRange<Int32>? {
        switch self {
        case .uint8: 0...255
        case .int8: -128...127
        case .int16: -32768...32767
        case .uint16, .float16, .bfloat16: 0...65535
        default: nil
        }
    }

    package var isFloatingPoint: Bool {
        switch self {
        case .float16, .bfloat16, .float32, .float64: true
        default: false
        }
    }

    package var description: String {
        switch self {
        case .float32: "float32"
        case .uint8: "uint8"
        case .int8: "int8"
        case .uint16: "uint16"
        case .int16: "int16"
        case .int32: "int32"
        case .int64: "int64"
        case .bool: "bool"
        case .float16: "float16"
        case .float64: "float64"
        case .uint32: "uint32"
        case .uint64: "uint64"
        case .bfloat16: "bfloat16"
        }
    }

    /// The name of any element type of the format, for sentences.
    static func name(of code: Int32) -> String {
        if let type = ONNXDataType(rawValue: code) { return type.description }
        let others: [Int32: String] = [
            0: "undefined", 8: "string", 14: "complex64", 15: "complex128", 17: "float8e4m3fn",
            18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4",
            23: "float4e2m1", 24: "float8e8m0",
        ]
        return others[code] ?? "number \(code)"
    }
}

/// A constant of a file: weights, or a tensor in an attribute. Its shape, type and data are known to fit.
///
/// The elements stay where they are, usually in the file, until they are asked for.
package struct ONNXTensor: Sendable {
    package let name: String
    /// The shape, outermost dimension first; empty for a scalar.
    package let dims: [Int]
    package let type: ONNXDataType
    /// The product of `dims`.
    package let elementCount: Int
    /// The model's file, for sentences.
    package let file: String
    let storage: Storage

    /// The elements as the file holds them. The format keeps narrow types in `int32_data`, `uint64_data` is also
    /// for uint32.
    enum Storage: Sendable {
        case raw(Raw)
        case float32([Float])
        case float64([Double])
        case int32([Int32])
        case int64([Int64])
        case uint64([UInt64])
    }

    /// Elements as bytes, little-endian and packed.
    struct Raw: Sendable {
        private let bytes: ModelBytes
        private let range: Range<Int>
        init(_ bytes: ModelBytes, _ range: Range<Int>) { (self.bytes, self.range) = (bytes, range) }

        var count: Int { range.count }
        /// They have no alignment.
        func data() throws(ONNXError) -> Data { try bytes.data(range) }
    }

    /// A tensor of the program's own making.
    /// - Precondition: `floats` has as many elements as `dims` say.
    package init(name: String = "", dims: [Int], floats: [Float]) {
        self.init(name: name, dims: dims, type: .float32, storage: .float32(floats), count: floats.count)
    }

    /// A tensor of the program's own making.
    /// - Precondition: `ints` has as many elements as `dims` say.
    package init(name: String = "", dims: [Int], ints: [Int64]) {
        self.init(name: name, dims: dims, type: .int64, storage: .int64(ints), count: ints.count)
    }

    /// A tensor of the program's own making, out of little-endian packed elements.
    /// - Precondition: `raw` has as many bytes as `dims` and `type` say.
    package init(name: String = "", dims: [Int], type: ONNXDataType, raw: Data) {
        precondition(raw.count % type.bytesPerElement == 0, "half an element")
        self.init(
            name: name, dims: dims, type: type, storage: .raw(Raw(.memory(raw), 0..<raw.count)),
            count: raw.count / type.bytesPerElement)
    }

    private init(name: String, dims: [Int], type: ONNXDataType, storage: Storage, count: Int) {
        precondition(dims.allSatisfy { $0 >= 0 } && dims.reduce(1, *) == count, "elements do not fit \(dims)")
        self.name = name
        self.dims = dims
        self.type = type
        self.storage = storage
        elementCount = count
        file = "(model in memory)"
    }

    private init(_ tensor: ONNXTensor, name: String) {
        self.name = name
        (dims, type, elementCount) = (tensor.dims, tensor.type, tensor.elementCount)
        (file, storage) = (tensor.file, tensor.storage)
    }

    /// The same tensor under another name.
    func named(_ name: String) -> ONNXTensor { ONNXTensor(self, name: name) }

    /// Whether `withFloatBytes` needs neither a conversion nor a copy.
    package var isFloat32: Bool { type == .float32 }

    /// The elements in row-major order, converted to float32 (rounded to nearest even where they do not fit).
    /// - Throws: what reading the file throws.
    package func floats() throws(ONNXError) -> [Float] {
        if case .float32(let values) = storage { return values }
        // Asked for first, so that nothing fails while memory is filled.
        let raw = try rawData()
        return [Float](unsafeUninitializedCapacity: elementCount) { buffer, count in
            convert(raw, to: UnsafeMutableBufferPointer(rebasing: buffer[..<elementCount]))
            count = elementCount
        }
    }

    /// The bytes of the elements, read if they lie in a file; none where they were parsed.
    private func rawData() throws(ONNXError) -> Data {
        if case .raw(let raw) = storage { try raw.data() } else { Data() }
    }

    private func convert(_ raw: Data, to destination: UnsafeMutableBufferPointer<Float>) {
        precondition(destination.count == elementCount)
        func write<Source>(_ source: some RandomAccessCollection<Source>, _ convert: (Source) -> Float) {
            var index = 0
            for value in source {
                destination[index] = convert(value)
                index += 1
            }
        }
        switch storage {
        case .float32(let values): write(values) { $0 }
        case .float64(let values): write(values) { Float($0) }
        case .int64(let values): write(values) { Float($0) }
        case .uint64(let values): write(values) { Float($0) }
        case .int32(let values):
            switch type {
            case .float16: write(values) { Self.float(float16: UInt16(truncatingIfNeeded: $0)) }
            case .bfloat16: write(values) { Self.float(bfloat16: UInt16(truncatingIfNeeded: $0)) }
            default: write(values) { Float($0) }
            }
        case .raw:
            raw.withUnsafeBytes { bytes in
                func write<Bits: FixedWidthInteger>(_: Bits.Type, _ convert: (Bits) -> Float) {
                    for index in 0..<elementCount {
                        let offset = index &* MemoryLayout<Bits>.size
                        destination[index] = convert(
                            Bits(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Bits.self)))
                    }
                }
                switch type {
                case .float32: write(UInt32.self) { Float(bitPattern: $0) }
                case .float64: write(UInt64.self) { Float(Double(bitPattern: $0)) }
                case .float16: write(UInt16.self) { Self.float(float16: $0) }
                case .bfloat16: write(UInt16.self) { Self.float(bfloat16: $0) }
                case .bool: write(UInt8.self) { $0 == 0 ? 0 : 1 }
                case .uint8: write(UInt8.self) { Float($0) }
                case .int8: write(Int8.self) { Float($0) }
                case .uint16: write(UInt16.self) { Float($0) }
                case .int16: write(Int16.self) { Float($0) }
                case .uint32: write(UInt32.self) { Float($0) }
                case .int32: write(Int32.self) { Float($0) }
                case .uint64: write(UInt64.self) { Float($0) }
                case .int64: write(Int64.self) { Float($0) }
                }
            }
        }
    }

    /// Lends the elements as float32 in row-major order, `4 * elementCount` bytes **of any alignment** (use
    /// `loadUnaligned` or copy). They are in memory only meanwhile, if they lie in a file.
    package func withFloatBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
        if case .raw(let raw) = storage, isFloat32 { return try raw.data().withUnsafeBytes(body) }
        return try floats().withUnsafeBytes(body)
    }

    /// The elements in row-major order, for tensors that hold shapes, axes and the like.
    /// - Throws: `invalidTensor` if they are not integers, or one is beyond `Int64`; what reading the file throws.
    package func ints() throws(ONNXError) -> [Int64] {
        guard !type.isFloatingPoint else {
            throw ONNXError(
                .invalidTensor, file: file,
                "The tensor \(quoted(name)) holds \(type) where integers are needed.")
        }
        var unsigned: [UInt64]?
        var result: [Int64] = []
        switch storage {
        case .int64(let values): result = values
        case .int32(let values): result = values.map { Int64($0) }
        case .uint64(let values): unsigned = values
        case .float32, .float64: break
        case .raw(let raw):
            let data = try raw.data()
            func read<Bits: FixedWidthInteger>(_: Bits.Type) -> [Bits] {
                data.withUnsafeBytes { bytes in
                    (0..<elementCount).map {
                        Bits(
                            littleEndian: bytes.loadUnaligned(
                                fromByteOffset: $0 &* MemoryLayout<Bits>.size, as: Bits.self))
                    }
                }
            }
            switch type {
            case .uint64: unsigned = read(UInt64.self)
            case .int64: result = read(Int64.self)
            case .uint32: result = read(UInt32.self).map { Int64($0) }
            case .int32: result = read(Int32.self).map { Int64($0) }
            case .uint16: result = read(UInt16.self).map { Int64($0) }
            case .int16: result = read(Int16.self).map { Int64($0) }
            case .int8: result = read(Int8.self).map { Int64($0) }
            case .uint8: result = read(UInt8.self).map { Int64($0) }
            case .bool: result = read(UInt8.self).map { $0 == 0 ? 0 : 1 }
            case .float16, .bfloat16, .float32, .float64: break
            }
        }
        guard let unsigned else { return result }
        result.reserveCapacity(unsigned.count)
        for value in unsigned {
            guard let signed = Int64(exactly: value) else {
                throw ONNXError(
                    .invalidTensor, file: file,
                    "The tensor \(quoted(name)) holds \(value), which is beyond a signed 64-bit integer.")
            }
            result.append(signed)
        }
        return result
    }

    /// Exact. Branch-free, so that the compiler can do several at once.
    static func float(float16 bits: UInt16) -> Float {
        // As a float32 the exponent is too small by 127 - 15 = 112, for normal and subnormal numbers alike.
        let magnitude = Float(bitPattern: UInt32(bits & 0x7fff) << 13) * 0x1p112
        let infinite: UInt32 = bits & 0x7c00 == 0x7c00 ? 0x7f80_0000 : 0
        return Float(bitPattern: magnitude.bitPattern | infinite | UInt32(bits & 0x8000) << 16)
    }

    /// Exact.
    static func float(bfloat16 bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }
}

// MARK: - From the file

extension ONNXTensor {
    /// The largest dimension and the most elements that are believed: 2^40 elements are 4 TB of weights.
    private static let largestCount = 1 << 40

    /// - Parameters:
    ///   - label: how sentences call the tensor, for example "the initializer 'w'".
    ///   - raw: the bytes of `raw_data` where `wire` was parsed without them.
    init(
        _ wire: WireTensor, raw: Raw?, label: String, file: String, externalData: inout ExternalData
    ) throws(ONNXError) {
        func failure(_ kind: ONNXError.Kind, _ reason: String) -> ONNXError {
            ONNXError(kind, file: file, reason)
        }
        guard let type = ONNXDataType(rawValue: wire.dataType) else {
            throw failure(
                .unsupportedDataType,
                "The element type of \(label) is \(ONNXDataType.name(of: wire.dataType)), which is not supported; "
                    + "supported are \(ONNXDataType.allCases.map(\.description).joined(separator: ", ")).")
        }
        guard wire.segment.isEmpty else {
            throw failure(
                .unsupportedFeature, "The data of \(label) is split into segments, which is not supported.")
        }
        let dims = wire.dims
        if let negative = dims.first(where: { $0 < 0 }) {
            throw failure(.invalidShape, "The shape of \(label) has the negative dimension \(negative).")
        }
        var count = 1
        var overflows = false
        // A zero anywhere makes the product zero, but does not excuse an absurd dimension beside it.
        for dim in dims {
            if dim > Self.largestCount { overflows = true }
            let product = count.multipliedReportingOverflow(by: max(1, Int(clamping: dim)))
            overflows = overflows || product.overflow || product.partialValue > Self.largestCount
            if overflows { break }
            count = product.partialValue
        }
        guard !overflows else {
            let shape = dims.prefix(8).map(String.init).joined(separator: " × ")
            throw failure(
                .invalidShape, "The shape of \(label), \(shape), has more elements than any file can hold.")
        }
        if dims.contains(0) { count = 0 }
        let byteCount = count * type.bytesPerElement

        let typed: (storage: Storage, count: Int) =
            switch type {
            case .float32: (.float32(wire.floatData), wire.floatData.count)
            case .float64: (.float64(wire.doubleData), wire.doubleData.count)
            case .int64: (.int64(wire.int64Data), wire.int64Data.count)
            case .uint32, .uint64: (.uint64(wire.uint64Data), wire.uint64Data.count)
            // As with bytes: whatever is not 0 is true.
            case .bool: (.int32(wire.int32Data.map { $0 == 0 ? 0 : 1 }), wire.int32Data.count)
            case .uint8, .int8, .uint16, .int16, .int32, .float16, .bfloat16:
                (.int32(wire.int32Data), wire.int32Data.count)
            }
        if let range = type.narrowRange, let wrong = wire.int32Data.first(where: { !range.contains($0) }) {
            throw failure(
                .invalidTensor, "The data of \(label) hold the number \(wrong), which no \(type) can be.")
        }
        if type == .uint32, let wrong = wire.uint64Data.first(where: { $0 > UInt32.max }) {
            throw failure(
                .invalidTensor, "The data of \(label) hold the number \(wrong), which no \(type) can be.")
        }
        let raw = raw ?? (wire.hasRawData ? Raw(.memory(wire.rawData), 0..<wire.rawData.count) : nil)

        let storage: Storage
        if wire.dataLocation == .external {
            guard (raw?.count ?? 0) == 0, typed.count == 0 else {
                throw failure(.invalidTensor, "The data of \(label) is both inside and outside the file.")
            }
            storage = .raw(try externalData.bytes(of: wire, named: label, byteCount: byteCount))
        } else if let raw, !(raw.count == 0 && typed.count > 0) {
            guard typed.count == 0 else {
                throw failure(
                    .invalidTensor, "The data of \(label) is in the file twice, as bytes and as numbers.")
            }
            guard raw.count == byteCount else {
                throw failure(
                    .invalidTensor,
                    "The data of \(label) has \(raw.count) bytes, where its shape \(wire.dims) and its type \(type) "
                        + "ask for \(byteCount).")
            }
            storage = .raw(raw)
        } else {
            guard typed.count == count else {
                throw failure(
                    .invalidTensor,
                    "The data of \(label) has \(typed.count) elements, where its shape \(wire.dims) asks for \(count)."
                )
            }
            storage = typed.storage
        }
        name = wire.name
        self.dims = dims.map { Int($0) }
        self.type = type
        elementCount = count
        self.file = file
        self.storage = storage
    }

    /// The message that a file would hold.
    /// - Precondition: the elements do not lie in a file.
    var wire: WireTensor {
        var wire = WireTensor()
        wire.name = name
        wire.dims = dims.map(Int64.init)
        wire.dataType = type.rawValue
        switch storage {
        case .raw(let raw):
            guard let data = try? raw.data() else { preconditionFailure("elements that cannot be read") }
            wire.rawData = data
        case .float32(let values): wire.rawData = values.withUnsafeBytes { Data($0) }
        case .float64(let values): wire.rawData = values.withUnsafeBytes { Data($0) }
        case .int64(let values): wire.rawData = values.withUnsafeBytes { Data($0) }
        case .int32(let values): wire.int32Data = values
        case .uint64(let values): wire.uint64Data = values
        }
        return wire
    }
}
