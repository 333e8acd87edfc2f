// What the parts of a file become in memory, at most: it is counted before SwiftProtobuf makes it.
//
// A number of one byte becomes one of eight, an empty message of two bytes a node with all that is made of it later. The sizes of
// messages are rounded up from what networks of many small nodes were seen to take, from the file to the planned pass.

/// What a field becomes.
indirect enum WireKind: Sendable {
    /// Numbers of variable length, each of which becomes so many bytes.
    case numbers(Int)
    /// Numbers that are as many bytes in the file.
    case fixed(Int)
    /// Text, or bytes.
    case text
    case message(WireMessage)
    /// A graph inside a node.
    case graph
}

/// What a message becomes.
struct WireMessage: Sendable {
    /// Bytes of the message itself, with its single numbers.
    let own: Int
    /// Fields of any length; others cost nothing but their place in the file.
    let fields: [Int: WireKind]

    /// Bytes of a text besides its characters, and a name is a key of dictionaries.
    static let text = 256

    private static let pair = WireMessage(own: 128, fields: [1: .text, 2: .text])
    private static let numbers: [Int: WireKind] = [
        1: .numbers(16), 3: .text, 4: .fixed(4), 5: .numbers(4), 7: .numbers(8), 8: .text, 10: .fixed(8),
        11: .numbers(8), 13: .message(pair),
    ]
    /// A tensor whose `raw_data` stay where they are.
    static let initializer = WireMessage(own: 2048, fields: numbers)
    private static let tensor = WireMessage(own: 2048, fields: numbers.merging([9: .text]) { $1 })
    private static let attribute = WireMessage(
        own: 1024,
        fields: [
            1: .text, 4: .text, 5: .message(tensor), 6: .graph, 7: .fixed(4), 8: .numbers(16), 9: .text,
            21: .text,
        ])
    static let node = WireMessage(
        own: 8192,
        fields: [
            1: .text, 2: .text, 3: .text, 4: .text, 5: .message(attribute), 7: .text, 8: .text,
            9: .message(pair),
        ])

    private static let dimension = WireMessage(own: 128, fields: [2: .text])
    private static let shape = WireMessage(own: 128, fields: [1: .message(dimension)])
    private static let type = WireMessage(
        own: 256,
        fields: [
            1: .message(WireMessage(own: 128, fields: [2: .message(shape)])), 4: .text, 5: .text, 8: .text,
            9: .text,
        ])
    private static let value = WireMessage(own: 512, fields: [1: .text, 2: .message(type)])
    /// The graph without its nodes and initializers.
    static let graph = WireMessage(
        own: 512,
        fields: [2: .text, 11: .message(value), 12: .message(value), 13: .message(value), 15: .text])

    /// With its nodes and initializers.
    static let subgraph = WireMessage(
        own: 512, fields: graph.fields.merging([1: .message(node), 5: .message(tensor)]) { $1 })

    private static let named = WireMessage(own: 128, fields: [1: .text])
    private static let function = WireMessage(
        own: 512,
        fields: [
            1: .text, 4: .text, 5: .text, 6: .text, 7: .message(node), 9: .message(named), 10: .text,
            11: .message(attribute), 13: .text,
        ])

    /// What a node becomes that is made of a function's, with names as long as these.
    static func copy(_ node: ONNXNode) -> Int {
        let names = [node.name] + node.inputs + node.outputs + node.captures
        return names.reduce(WireMessage.node.own + 1024 * node.attributes.count) {
            $0 + text + 3 * $1.utf8.count
        }
    }
    /// The model without its graph.
    static let model = WireMessage(
        own: 512,
        fields: [2: .text, 3: .text, 8: .message(named), 14: .message(pair), 25: .message(function)])
}
