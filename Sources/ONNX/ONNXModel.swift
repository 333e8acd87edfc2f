import Files
import SwiftProtobuf
import Text

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// An ONNX file that has been read and checked.
///
/// Weights stay in the file, which is open as long as this value or one of its tensors lives, and take no memory until they are
/// used. If another program writes to the file meanwhile, whoever reads it gets an error.
package struct ONNXModel: Sendable {
    /// The versions of the operator set ai.onnx that can be read.
    package static let supportedOpsets = 7...24

    /// The path of the file, or the name that was given to bytes in memory.
    package let path: String
    /// The version of the file format.
    package let irVersion: Int
    /// The version of the operator set ai.onnx.
    package let opset: Int
    /// The versions of the other operator sets, by domain.
    package let otherOpsets: [String: Int]
    /// The program that wrote the file, such as "pytorch"; may be empty.
    package let producerName: String
    package let producerVersion: String
    package let metadata: [String: String]
    package let graph: ONNXGraph
    /// The bytes of the file itself.
    package let bytes: ModelBytes
    /// The files beside it that hold tensors, by their places, in the order of the names.
    package let externalFiles: [(location: String, file: ModelFile)]
    /// Bytes of memory that all but the weights take, at most.
    package let memory: Int

    /// Reads and checks a file.
    /// - Parameter memory: bytes that all but the weights may take.
    package init(path: String, memory: Int = .max) throws(ONNXError) {
        try self.init(
            .file(try ModelFile(path)), name: path, folder: Paths.split(path).folder, memory: memory)
    }

    /// Checks the bytes of a file.
    /// - Parameters:
    ///   - name: stands for the path in sentences.
    ///   - folder: where external data may lie; nil allows none.
    ///   - memory: bytes that all but the weights may take.
    package init(
        data: Data, name: String = "(model in memory)", folder: String? = nil, memory: Int = .max
    ) throws(ONNXError) {
        try self.init(.memory(data), name: name, folder: folder, memory: memory)
    }

    private init(_ bytes: ModelBytes, name: String, folder: String?, memory: Int) throws(ONNXError) {
        path = name
        self.bytes = bytes
        func failure(_ kind: ONNXError.Kind, _ reason: String) -> ONNXError {
            ONNXError(kind, file: name, reason)
        }
        guard bytes.count > 0 else { throw failure(.empty, "The file is empty.") }
        let parts = try Parts(bytes, file: name, memory: memory)
        guard parts.hasGraph else {
            throw failure(
                .noGraph, "The file has no graph in it; it is not an ONNX model, or it is truncated.")
        }
        let wire = parts.model
        guard wire.irVersion > 0 else {
            throw failure(
                .malformed, "The file does not say its IR version, so it is not a valid ONNX model.")
        }
        irVersion = Int(wire.irVersion)
        producerName = wire.producerName
        producerVersion = wire.producerVersion
        metadata = Dictionary(wire.metadataProps.map { ($0.key, $0.value) }) { first, _ in first }

        let supported = "\(Self.supportedOpsets.lowerBound) to \(Self.supportedOpsets.upperBound)"
        var opset: Int?
        var otherOpsets: [String: Int] = [:]
        for entry in wire.opsetImport {
            let version = Int(entry.version)
            if !entry.domain.isEmpty && entry.domain != "ai.onnx" {
                otherOpsets[entry.domain] = version
            } else if let opset, opset != version {
                throw failure(
                    .unsupportedOpset, "The file asks for two opsets at once, \(opset) and \(version).")
            } else {
                opset = version
            }
        }
        guard let opset else {
            throw failure(
                .unsupportedOpset,
                "The file does not say its opset; it is truncated, or was not written for the operators of ai.onnx "
                    + "(opsets \(supported) are supported).")
        }
        guard Self.supportedOpsets.contains(opset) else {
            throw failure(
                .unsupportedOpset,
                "The model is written for opset \(opset), but only opsets \(supported) are supported; export it "
                    + "again, or convert it with onnx.version_converter.")
        }
        self.opset = opset
        self.otherOpsets = otherOpsets

        var externalData = ExternalData(file: name, folder: folder)
        var initializers: [ONNXTensor] = []
        initializers.reserveCapacity(parts.initializers.count)
        for (index, (tensor, raw)) in parts.initializers.enumerated() {
            guard !tensor.name.isEmpty else {
                throw failure(.malformed, "The initializer number \(index) has no name.")
            }
            initializers.append(
                try ONNXTensor(
                    tensor, raw: raw, label: "the initializer \(quoted(tensor.name))", file: name,
                    externalData: &externalData))
        }
        var functions = try FunctionInliner(
            wire.functions, opset: opset, file: name, memory: memory, used: parts.memory)
        graph = try ONNXGraph(
            parts.graph, nodes: parts.nodes, initializers: initializers, file: name,
            functions: &functions, externalData: &externalData)
        externalFiles = externalData.files
        self.memory = functions.memory
    }

    /// The same model with another graph, whose memory is that of this one.
    private init(_ model: ONNXModel, graph: ONNXGraph) {
        path = model.path
        irVersion = model.irVersion
        opset = model.opset
        otherOpsets = model.otherOpsets
        producerName = model.producerName
        producerVersion = model.producerVersion
        metadata = model.metadata
        self.graph = graph
        bytes = model.bytes
        externalFiles = model.externalFiles
        memory = 0
    }

    /// Some nodes of a graph that this model became, with the initializers that they read. What it says takes no memory of its own.
    /// - Parameters:
    ///   - reading: other values whose initializers are kept.
    ///   - output: the only one.
    package func part(of graph: ONNXGraph, nodes: [ONNXNode], reading: [String], output: ONNXValueInfo)
        -> ONNXModel
    {
        let reads = Set(reading + nodes.flatMap { $0.inputs + $0.captures })
        return ONNXModel(
            self,
            graph: ONNXGraph(
                name: graph.name, inputs: graph.inputs, outputs: [output], nodes: nodes,
                initializers: graph.initializers.filter { reads.contains($0.key) }, valueInfo: [:]))
    }
}

/// The messages of a file, each parsed by itself; see `WireLayout`.
private struct Parts {
    let hasGraph: Bool
    /// Without the graph.
    let model: WireModel
    /// Without nodes and initializers.
    let graph: WireGraph
    let nodes: [WireNode]
    let initializers: [(tensor: WireTensor, raw: ONNXTensor.Raw?)]
    /// Bytes that they take, at most.
    let memory: Int

    init(_ data: ModelBytes, file: String, memory: Int) throws(ONNXError) {
        let reader = ByteReader(data)
        func parse<Message: SwiftProtobuf.Message>(
            _ ranges: [Range<Int>], _ what: @autoclosure () -> String
        ) throws(ONNXError) -> Message {
            var options = BinaryDecodingOptions()
            options.discardUnknownFields = true
            var bytes = Data()
            if ranges.count == 1 {
                bytes = try reader.data(ranges[0])
            } else {
                for range in ranges { bytes.append(try reader.data(range)) }
            }
            do {
                return try Message(serializedBytes: bytes, options: options)
            } catch {
                let why =
                    error as? BinaryDecodingError == .invalidUTF8
                    ? "has text that is not UTF-8" : "cannot be read"
                throw ONNXError(
                    .malformed, file: file,
                    "The file is damaged: \(what()) \(why); fetch or export the model again.")
            }
        }

        let layout: WireLayout
        do {
            layout = try WireLayout(scanning: reader, memory: memory)
        } catch {
            switch error {
            case .unreadable(let error): throw error
            case .tooMuch(let part):
                throw ONNXError(
                    .memory, file: file,
                    "What the file says, up to \(part), takes more memory when it is read than the memory limit leaves "
                        + "(\(memory >> 20) MiB); store its numbers as raw data, or raise the limit with --memory-limit."
                )
            default: break
            }
            if let format = ModelFile.otherFormat(try reader.data(0..<min(64, data.count))) {
                throw ONNXError(.malformed, file: file, "This is not an ONNX file but \(format).")
            }
            switch error {
            case .unreadable, .tooMuch: preconditionFailure("thrown already")
            case .truncated(let position):
                throw ONNXError(
                    .malformed, file: file,
                    "The file ends, after \(data.count) bytes, within a field that starts at byte \(position): it is "
                        + "truncated, or is not an ONNX file; fetch or export the model again.")
            case .malformed(let position):
                throw ONNXError(
                    .malformed, file: file,
                    "The file is not an ONNX model, or it is damaged: at byte \(position) there is no valid "
                        + "protobuf field.")
            }
        }

        hasGraph = layout.hasGraph
        self.memory = layout.memory
        model = try parse(layout.modelFields, "its header")
        graph = try parse(layout.graphFields, "the description of its inputs and outputs")
        var nodes: [WireNode] = []
        nodes.reserveCapacity(layout.nodes.count)
        for range in layout.nodes { nodes.append(try parse([range], "its node number \(nodes.count)")) }
        self.nodes = nodes
        var initializers: [(tensor: WireTensor, raw: ONNXTensor.Raw?)] = []
        initializers.reserveCapacity(layout.initializers.count)
        for part in layout.initializers {
            let ranges = part.rawData == nil ? [part.message] : part.otherFields
            let tensor: WireTensor = try parse(ranges, "its initializer number \(initializers.count)")
            initializers.append((tensor, part.rawData.map { ONNXTensor.Raw(data, $0) }))
        }
        self.initializers = initializers
    }
}
