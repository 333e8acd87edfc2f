/// Where the parts of a model lie in its file.
///
/// SwiftProtobuf copies every `bytes` field. For a file that is nearly all weights this takes twice the memory and
/// most of the loading time, so the three outermost levels (model, graph, tensor) are walked here and only
/// ranges of the file are kept; SwiftProtobuf then parses each part, and never sees the weights of an initializer.
/// The walk also counts what the parts will take in memory, and ends where that is more than is allowed.
struct WireLayout {
    struct TensorPart {
        /// The message in the file.
        var message: Range<Int>
        /// Its fields other than `raw_data`.
        var otherFields: [Range<Int>] = []
        /// The bytes of `raw_data`, if the tensor has that field.
        var rawData: Range<Int>?
    }

    /// Fields of the model, other than its graph, that `WireModel` declares.
    var modelFields: [Range<Int>] = []
    var hasGraph = false
    /// Fields of the graph, other than nodes and initializers, that `WireGraph` declares.
    var graphFields: [Range<Int>] = []
    var nodes: [Range<Int>] = []
    var initializers: [TensorPart] = []
    /// Bytes of memory that all of these take once they are parsed, at most; see `WireMessage`.
    private(set) var memory = 0
    private let mostMemory: Int

    enum Failure: Error {
        /// The file cannot be read.
        case unreadable(ONNXError)
        /// With this part, all that has been found takes more memory than is allowed.
        case tooMuch(String)
        /// A field that starts at this byte goes on after the end of the file.
        case truncated(at: Int)
        /// There is no well-formed field at this byte.
        case malformed(at: Int)
    }

    /// The field numbers of proto/onnx.proto that matter here.
    private enum Number {
        static let modelGraph = 7
        static let modelOthers: Set<Int> = [1, 2, 3, 8, 14, 25]
        static let graphNode = 1
        static let graphInitializer = 5
        static let graphOthers: Set<Int> = [2, 11, 12, 13, 15]
        static let tensorRawData = 9
    }

    /// - Parameter memory: bytes that the parsed parts may take together.
    init(scanning file: ByteReader, memory: Int) throws(Failure) {
        mostMemory = memory
        var model = WireFields(of: file, in: 0..<file.count)
        while let field = try model.next() {
            if field.number == Number.modelGraph {
                try scanGraph(file, try field.message())
            } else if Number.modelOthers.contains(field.number) {
                try count(file, field, of: .model, "its header")
                Self.append(field.range, to: &modelFields)
            }
        }
    }

    private mutating func scanGraph(_ file: ByteReader, _ range: Range<Int>) throws(Failure) {
        // A message field that occurs twice means one message with the fields of both.
        hasGraph = true
        var graph = WireFields(of: file, in: range)
        while let field = try graph.next() {
            if field.number == Number.graphNode {
                let number = nodes.count
                try count(file, try field.message(), .node, "its node number \(number)")
                nodes.append(try field.message())
            } else if field.number == Number.graphInitializer {
                let number = initializers.count
                try count(file, try field.message(), .initializer, "its initializer number \(number)")
                initializers.append(try Self.scanTensor(file, try field.message()))
            } else if Number.graphOthers.contains(field.number) {
                try count(file, field, of: .graph, "the description of its inputs and outputs")
                Self.append(field.range, to: &graphFields)
            }
        }
    }

    private static func scanTensor(_ file: ByteReader, _ range: Range<Int>) throws(Failure) -> TensorPart {
        var part = TensorPart(message: range)
        var tensor = WireFields(of: file, in: range)
        while let field = try tensor.next() {
            if field.number == Number.tensorRawData {
                part.rawData = try field.message()
            } else {
                append(field.range, to: &part.otherFields)
            }
        }
        return part
    }

    /// Adjacent fields are one range.
    private static func append(_ range: Range<Int>, to ranges: inout [Range<Int>]) {
        if let last = ranges.last, last.upperBound == range.lowerBound {
            ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
        } else {
            ranges.append(range)
        }
    }

    // MARK: Memory

    /// Counts a message, and its place in the file, which is copied before it is parsed.
    private mutating func count(
        _ file: ByteReader, _ range: Range<Int>, _ message: WireMessage, _ part: @autoclosure () -> String,
        depth: Int = 0
    ) throws(Failure) {
        try add(message.own, part())
        var fields = WireFields(of: file, in: range)
        while let field = try fields.next() { try count(file, field, of: message, part(), depth: depth) }
    }

    /// Counts a field of a message.
    private mutating func count(
        _ file: ByteReader, _ field: WireFields.Field, of message: WireMessage,
        _ part: @autoclosure () -> String, depth: Int = 0
    ) throws(Failure) {
        guard let kind = message.fields[field.number] else { return }
        // Graphs lie in nodes of graphs; no network comes near the depth at which messages are refused.
        guard depth < 100 else { throw .malformed(at: field.range.lowerBound) }
        // A single number of a list that grows: twice what it takes, and what it took before.
        let alone = 3
        switch kind {
        case .message(let inner):
            try count(file, try field.message(), inner, part(), depth: depth + 1)
        case .graph:
            try count(file, try field.message(), .subgraph, part(), depth: depth + 1)
        case .text:
            try add(WireMessage.text + 3 * (field.body?.count ?? 0), part())
        case .fixed(let size):
            try add(field.body.map { 2 * $0.count } ?? alone * size, part())
        case .numbers(let size):
            guard let body = field.body else { return try add(alone * size, part()) }
            // Each number ends with the byte that has no mark.
            var numbers = 0
            for position in body {
                do {
                    if try file.byte(at: position) < 0x80 { numbers += 1 }
                } catch {
                    throw .unreadable(error)
                }
            }
            try add(body.count, part())
            try add(size * numbers, part())
        }
    }

    private mutating func add(_ bytes: Int, _ part: @autoclosure () -> String) throws(Failure) {
        memory += bytes
        if memory > mostMemory { throw .tooMuch(part()) }
    }
}

/// The fields of one message, in the order of the file.
private struct WireFields {
    struct Field {
        let number: Int
        /// Tag and value.
        let range: Range<Int>
        /// The bytes of a length-delimited value, nil for a number.
        let body: Range<Int>?

        func message() throws(WireLayout.Failure) -> Range<Int> {
            guard let body else { throw .malformed(at: range.lowerBound) }
            return body
        }
    }

    private let file: ByteReader
    private var position: Int
    private let end: Int

    init(of file: ByteReader, in range: Range<Int>) {
        self.file = file
        position = range.lowerBound
        end = range.upperBound
    }

    mutating func next() throws(WireLayout.Failure) -> Field? {
        guard position < end else { return nil }
        let start = position
        let tag = try varint(from: start)
        guard tag >> 3 >= 1, tag >> 3 < 1 << 29 else { throw .malformed(at: start) }
        var body: Range<Int>?
        switch tag & 7 {
        case 0: _ = try varint(from: start)
        case 1: try skip(8, from: start)
        case 2:
            let length = try varint(from: start)
            let bodyStart = position
            guard length <= UInt64(Int.max) else { throw .malformed(at: start) }
            try skip(Int(length), from: start)
            body = bodyStart..<position
        case 5: try skip(4, from: start)
        default: throw .malformed(at: start)  // ONNX has no groups.
        }
        return Field(number: Int(tag >> 3), range: start..<position, body: body)
    }

    private mutating func skip(_ count: Int, from start: Int) throws(WireLayout.Failure) {
        guard count <= end - position else { throw pastTheEnd(start) }
        position += count
    }

    private mutating func varint(from start: Int) throws(WireLayout.Failure) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 70, by: 7) {
            guard position < end else { throw pastTheEnd(start) }
            let byte: UInt8
            do { byte = try file.byte(at: position) } catch { throw .unreadable(error) }
            position += 1
            value |= UInt64(byte & 0x7f) << UInt64(shift)
            if byte < 0x80 { return value }
        }
        throw .malformed(at: start)
    }

    /// A field that leaves its message is cut off if the message ends where the file does.
    private func pastTheEnd(_ start: Int) -> WireLayout.Failure {
        end == file.count ? .truncated(at: start) : .malformed(at: start)
    }
}
