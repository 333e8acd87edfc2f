import SwiftProtobuf
import Text

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// An ONNX file that has been read and checked.
///
/// The file is mapped, not read: weights take no memory until they are used, and stay valid as long as this value or
/// one of its tensors lives.
package struct ONNXModel: Sendable {
    /// The versions of the operator set ai.onnx that can be read.
    package static let supportedOpsets = 7...22

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

    /// Reads and checks a file.
    package init(path: String) throws(ONNXError) {
        let data = try ModelFile.map(path)
        try self.init(data: data, isMapped: true, name: path, folder: ModelFile.folder(of: path))
    }

    /// Checks the bytes of a file.
    /// - Parameters:
    ///   - name: stands for the path in sentences.
    ///   - folder: where external data may lie; nil allows none.
    package init(
        data: Data, name: String = "(model in memory)", folder: String? = nil
    ) throws(ONNXError) {
        try self.init(data: data, isMapped: false, name: name, folder: folder)
    }

    private init(data: Data, isMapped: Bool, name: String, folder: String?) throws(ONNXError) {
        path = name
        func failure(_ kind: ONNXError.Kind, _ reason: String) -> ONNXError {
            ONNXError(kind, file: name, reason)
        }
        guard !data.isEmpty else { throw failure(.empty, "The file is empty.") }
        let parts = try Parts(data, file: name)
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
        for (index, (tensor, rawData)) in parts.initializers.enumerated() {
            guard !tensor.name.isEmpty else {
                throw failure(.malformed, "The initializer number \(index) has no name.")
            }
            initializers.append(
                try ONNXTensor(
                    tensor, rawData: rawData, isMapped: isMapped,
                    label: "the initializer \(quoted(tensor.name))", file: name,
                    externalData: &externalData))
        }
        graph = try ONNXGraph(
            parts.graph, nodes: parts.nodes, initializers: initializers, file: name,
            externalData: &externalData)

        if !wire.functions.isEmpty {
            let functions = Set(wire.functions.map { [$0.domain, $0.name] })
            if let node = graph.nodes.first(where: { functions.contains([$0.domain, $0.opType]) }) {
                throw failure(
                    .unsupportedFeature,
                    "The operator of \(node.label) is a function that the model defines itself, which is not "
                        + "supported; inline it with onnx.inliner.")
            }
        }
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
    let initializers: [(tensor: WireTensor, rawData: Data?)]

    init(_ data: Data, file: String) throws(ONNXError) {
        func slice(_ range: Range<Int>) -> Data {
            data[data.startIndex + range.lowerBound..<data.startIndex + range.upperBound]
        }
        func parse<Message: SwiftProtobuf.Message>(
            _ ranges: [Range<Int>], _ what: @autoclosure () -> String
        ) throws(ONNXError) -> Message {
            var options = BinaryDecodingOptions()
            options.discardUnknownFields = true
            do {
                if ranges.count == 1 {
                    return try Message(serializedBytes: slice(ranges[0]), options: options)
                }
                var bytes = Data()
                for range in ranges { bytes.append(slice(range)) }
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

        let scanned: Result<WireLayout, WireLayout.Failure> = data.withUnsafeBytes { bytes in
            Result { () throws(WireLayout.Failure) in try WireLayout(scanning: bytes) }
        }
        let layout: WireLayout
        switch scanned {
        case .success(let value): layout = value
        case .failure(let failure):
            if let format = ModelFile.otherFormat(data) {
                throw ONNXError(.malformed, file: file, "This is not an ONNX file but \(format).")
            }
            switch failure {
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
        model = try parse(layout.modelFields, "its header")
        graph = try parse(layout.graphFields, "the description of its inputs and outputs")
        var nodes: [WireNode] = []
        nodes.reserveCapacity(layout.nodes.count)
        for range in layout.nodes { nodes.append(try parse([range], "its node number \(nodes.count)")) }
        self.nodes = nodes
        var initializers: [(tensor: WireTensor, rawData: Data?)] = []
        initializers.reserveCapacity(layout.initializers.count)
        for part in layout.initializers {
            let ranges = part.rawData == nil ? [part.message] : part.otherFields
            let tensor: WireTensor = try parse(ranges, "its initializer number \(initializers.count)")
            initializers.append((tensor, part.rawData.map(slice)))
        }
        self.initializers = initializers
    }
}
