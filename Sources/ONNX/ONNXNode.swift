import Text

/// One use of an operator in a graph.
package struct ONNXNode: Sendable {
    /// The name in the file; for a node without one, its operator and first output: `Conv_input.3`.
    package let name: String
    package let opType: String
    /// The operator's domain; "" is ai.onnx.
    package let domain: String
    /// Which of several functions of that name it calls.
    let overload: String
    /// The names of the values that it reads; "" for an optional input that is left out.
    package let inputs: [String]
    /// The names of the values that it makes; "" for an optional output that is left out.
    package let outputs: [String]
    package let attributes: [String: ONNXAttribute]
    /// Values around the node that graphs inside it read by their names.
    package let captures: [String]
    /// The modules of the program that the network was exported from to which it belongs, from the outermost, where the exporter says so:
    /// `layer4`, `layer4.2`, `layer4.2.conv3`.
    package let modules: [String]
    /// The model's file, for sentences.
    package let file: String

    init(
        name: String, opType: String, domain: String = "", overload: String = "", inputs: [String],
        outputs: [String],
        attributes: [String: ONNXAttribute] = [:], captures: [String] = [], modules: [String] = [],
        file: String
    ) {
        (self.name, self.opType, self.domain, self.overload) = (name, opType, domain, overload)
        (self.inputs, self.outputs, self.attributes, self.captures) = (inputs, outputs, attributes, captures)
        (self.modules, self.file) = (modules, file)
    }

    /// How sentences call this node.
    package var label: String { "the node \(quoted(name)) (\(domain.isEmpty ? "" : domain + ".")\(opType))" }
}

/// The value of a node's attribute.
package enum ONNXAttribute: Sendable {
    case float(Float)
    case int(Int)
    case string(String)
    case tensor(ONNXTensor)
    case floats([Float])
    case ints([Int])
    case strings([String])
    /// A graph inside the node, as `If` and `Loop` have it.
    case graph(ONNXSubgraph)
    /// In a function: the value is that of the call's attribute of this name. Graphs have none.
    case reference(String)
    /// A kind that is not read, by the format's name for it.
    case unsupported(String)

    /// The name of the kind, for sentences.
    package var kindName: String {
        switch self {
        case .float: "a float"
        case .int: "an integer"
        case .string: "a string"
        case .tensor: "a tensor"
        case .floats: "a list of floats"
        case .ints: "a list of integers"
        case .strings: "a list of strings"
        case .graph: "a graph"
        case .reference: "a reference"
        case .unsupported(let name): "of the kind \(name)"
        }
    }
}

extension ONNXAttribute: ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByStringLiteral,
    ExpressibleByArrayLiteral
{
    package init(integerLiteral value: Int) { self = .int(value) }
    package init(floatLiteral value: Float) { self = .float(value) }
    package init(stringLiteral value: String) { self = .string(value) }
    package init(arrayLiteral elements: Int...) { self = .ints(elements) }
}

// MARK: - Typed access

/// Each accessor comes twice: with a default for an attribute that may be left out, and without one for an
/// attribute that must be there. Both throw `invalidAttribute` if it is there and of another kind.
extension ONNXNode {
    /// Whether the attribute is given.
    package func has(_ attribute: String) -> Bool { attributes[attribute] != nil }

    package func int(_ attribute: String, default value: Int) throws(ONNXError) -> Int {
        try find(attribute, "an integer") { if case .int(let value) = $0 { value } else { nil } } ?? value
    }

    package func int(_ attribute: String) throws(ONNXError) -> Int {
        try require(attribute, "an integer") { if case .int(let value) = $0 { value } else { nil } }
    }

    package func ints(_ attribute: String, default value: [Int]) throws(ONNXError) -> [Int] {
        try find(attribute, "a list of integers") { if case .ints(let value) = $0 { value } else { nil } }
            ?? value
    }

    package func ints(_ attribute: String) throws(ONNXError) -> [Int] {
        try require(attribute, "a list of integers") { if case .ints(let value) = $0 { value } else { nil } }
    }

    package func float(_ attribute: String, default value: Float) throws(ONNXError) -> Float {
        try find(attribute, "a float") { if case .float(let value) = $0 { value } else { nil } } ?? value
    }

    package func float(_ attribute: String) throws(ONNXError) -> Float {
        try require(attribute, "a float") { if case .float(let value) = $0 { value } else { nil } }
    }

    package func floats(_ attribute: String, default value: [Float]) throws(ONNXError) -> [Float] {
        try find(attribute, "a list of floats") { if case .floats(let value) = $0 { value } else { nil } }
            ?? value
    }

    package func floats(_ attribute: String) throws(ONNXError) -> [Float] {
        try require(attribute, "a list of floats") { if case .floats(let value) = $0 { value } else { nil } }
    }

    package func string(_ attribute: String, default value: String) throws(ONNXError) -> String {
        try find(attribute, "a string") { if case .string(let value) = $0 { value } else { nil } } ?? value
    }

    package func string(_ attribute: String) throws(ONNXError) -> String {
        try require(attribute, "a string") { if case .string(let value) = $0 { value } else { nil } }
    }

    package func strings(_ attribute: String, default value: [String]) throws(ONNXError) -> [String] {
        try find(attribute, "a list of strings") { if case .strings(let value) = $0 { value } else { nil } }
            ?? value
    }

    package func strings(_ attribute: String) throws(ONNXError) -> [String] {
        try require(attribute, "a list of strings") {
            if case .strings(let value) = $0 { value } else { nil }
        }
    }

    package func tensor(_ attribute: String) throws(ONNXError) -> ONNXTensor {
        try require(attribute, "a tensor") { if case .tensor(let value) = $0 { value } else { nil } }
    }

    private func find<Value>(
        _ attribute: String, _ wanted: String, _ value: (ONNXAttribute) -> Value?
    ) throws(ONNXError) -> Value? {
        guard let found = attributes[attribute] else { return nil }
        if let value = value(found) { return value }
        throw ONNXError(
            .invalidAttribute, file: file,
            "The attribute \(quoted(attribute)) of \(label) is \(found.kindName), where \(wanted) is needed.")
    }

    private func require<Value>(
        _ attribute: String, _ wanted: String, _ value: (ONNXAttribute) -> Value?
    ) throws(ONNXError) -> Value {
        if let value = try find(attribute, wanted, value) { return value }
        throw ONNXError(
            .invalidAttribute, file: file,
            "The attribute \(quoted(attribute)) of \(label) is missing, where \(wanted) is needed.")
    }
}

// MARK: - From the file

extension ONNXNode {
    init(_ wire: WireNode, index: Int, file: String, externalData: inout ExternalData) throws(ONNXError) {
        guard !wire.opType.isEmpty else {
            throw ONNXError(
                .malformed, file: file,
                "The node number \(index) \(wire.name.isEmpty ? "" : quoted(wire.name) + " ")names no operator."
            )
        }
        if !wire.name.isEmpty {
            name = wire.name
        } else if let output = wire.output.first(where: { !$0.isEmpty }) {
            name = "\(wire.opType)_\(output)"
        } else {
            name = "\(wire.opType)_\(index)"
        }
        opType = wire.opType
        domain = wire.domain == "ai.onnx" ? "" : wire.domain
        overload = wire.overload
        inputs = wire.input
        outputs = wire.output
        self.file = file
        var attributes: [String: ONNXAttribute] = [:]
        for attribute in wire.attribute {
            let label = "the attribute \(quoted(attribute.name)) of the node \(quoted(name)) (\(wire.opType))"
            let value = try ONNXAttribute(attribute, label: label, file: file, externalData: &externalData)
            guard attributes.updateValue(value, forKey: attribute.name) == nil else {
                throw ONNXError(.duplicateName, file: file, "There is \(label) twice.")
            }
        }
        self.attributes = attributes
        captures = Self.captures(attributes)
        modules = Self.modules(wire.metadataProps)
    }

    /// What the graphs among attributes read from around them.
    static func captures(_ attributes: [String: ONNXAttribute]) -> [String] {
        var names: Set<String> = []
        for case .graph(let graph) in attributes.values { names.formUnion(graph.captures) }
        return names.sorted()
    }

    /// The modules, as PyTorch's exporter writes them: the list of their names as Python writes it, or their names and classes between
    /// slashes. The first is the network itself, and the last the operation within the innermost module.
    private static func modules(_ metadata: [WireStringPair]) -> [String] {
        let (scopes, namespace) = ("pkg.torch.onnx.name_scopes", "namespace")
        var names: [String] = []
        if let text = metadata.first(where: { $0.key == scopes })?.value, text.hasPrefix("["),
            text.hasSuffix("]")
        {
            names = text.dropFirst().dropLast().split(separator: ",").map { part in
                String(part.drop { $0 == " " }).trimming(quotes: "'\"")
            }
        } else if let text = metadata.first(where: { $0.key == namespace })?.value, text.contains(": ") {
            names = text.split(separator: "/", omittingEmptySubsequences: false).map { part in
                String(part.prefix { $0 != ":" })
            }
        }
        return names.dropLast().filter { !$0.isEmpty }
    }

    var wire: WireNode {
        var wire = WireNode()
        wire.name = name
        wire.opType = opType
        wire.domain = domain
        wire.overload = overload
        wire.input = inputs
        wire.output = outputs
        wire.attribute = orderedAttributes.map { name, value in value.wire(named: name) }
        return wire
    }
}

extension String {
    fileprivate func trimming(quotes: String) -> String {
        guard count > 1, let first, quotes.contains(first), last == first else { return self }
        return String(dropFirst().dropLast())
    }
}

extension ONNXAttribute {
    init(
        _ wire: WireAttribute, label: String, file: String, externalData: inout ExternalData
    ) throws(ONNXError) {
        if !wire.refAttrName.isEmpty {
            self = .reference(wire.refAttrName)
            return
        }
        switch wire.type {
        case .float: self = .float(wire.f)
        case .int: self = .int(Int(wire.i))
        case .string: self = .string(String(decoding: wire.s, as: UTF8.self))
        case .floats: self = .floats(wire.floats)
        case .ints: self = .ints(wire.ints.map { Int($0) })
        case .strings: self = .strings(wire.strings.map { String(decoding: $0, as: UTF8.self) })
        case .tensor:
            self = .tensor(
                try ONNXTensor(wire.t, raw: nil, label: label, file: file, externalData: &externalData))
        case .graph:
            self = .graph(try ONNXSubgraph(wire.g, label: label, file: file, externalData: &externalData))
        case .graphs: self = .unsupported("GRAPHS")
        case .tensors: self = .unsupported("TENSORS")
        case .sparseTensor: self = .unsupported("SPARSE_TENSOR")
        case .sparseTensors: self = .unsupported("SPARSE_TENSORS")
        case .typeProto: self = .unsupported("TYPE_PROTO")
        case .typeProtos: self = .unsupported("TYPE_PROTOS")
        case .undefined: throw ONNXError(.malformed, file: file, "There is no kind of value in \(label).")
        case .UNRECOGNIZED(let code): self = .unsupported("number \(code)")
        }
    }

    fileprivate func wire(named name: String) -> WireAttribute {
        var wire = WireAttribute()
        wire.name = name
        switch self {
        case .float(let value): (wire.type, wire.f) = (.float, value)
        case .int(let value): (wire.type, wire.i) = (.int, Int64(value))
        case .string(let value): (wire.type, wire.s) = (.string, .init(value.utf8))
        case .tensor(let value): (wire.type, wire.t) = (.tensor, value.wire)
        case .floats(let value): (wire.type, wire.floats) = (.floats, value)
        case .ints(let value): (wire.type, wire.ints) = (.ints, value.map(Int64.init))
        case .strings(let value): (wire.type, wire.strings) = (.strings, value.map { .init($0.utf8) })
        case .graph(let graph): (wire.type, wire.g) = (.graph, graph.wire)
        case .reference(let name): wire.refAttrName = name
        case .unsupported: wire.type = .sparseTensor
        }
        return wire
    }
}
