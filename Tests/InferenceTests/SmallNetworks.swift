// Small networks with random weights in the style of each family that the program is meant for, made in memory.

import ONNX
import TestSupport
import Testing

/// An ONNX file under construction: each method adds a node and gives the name of the value that it makes.
struct SmallNetwork {
    var builder: ONNXBuilder
    let opset: Int
    var random: SeededRandom
    private var values = 0

    init(_ name: String, opset: Int = 17, input: [ONNXDimension] = ["N", 3, 14, 14]) {
        builder = ONNXBuilder(name: name, opset: opset)
        self.opset = opset
        random = SeededRandom(name)
        builder.input("image", input)
    }

    mutating func floats(_ dims: [Int], _ low: Float = -1, _ high: Float = 1) -> String {
        let name = "weights.\(values)"
        values += 1
        builder.initializer(name, dims, floats: (0..<dims.reduce(1, *)).map { _ in random.float(low, high) })
        return name
    }

    mutating func ints(_ values: [Int64], scalar: Bool = false) -> String {
        let name = "numbers.\(self.values)"
        self.values += 1
        builder.initializer(name, scalar ? [] : [values.count], ints: values)
        return name
    }

    mutating func number(_ value: Float) -> String {
        let name = "number.\(values)"
        values += 1
        builder.initializer(name, [], floats: [value])
        return name
    }

    mutating func nodes(
        _ type: String, _ inputs: [String], outputs: Int, _ attributes: [String: ONNXAttribute] = [:]
    ) -> [String] {
        let names = (0..<outputs).map { "\(type.lowercased()).\(values)" + (outputs > 1 ? ".\($0)" : "") }
        builder.node(type, inputs, names, attributes, name: "\(type).\(values)")
        values += 1
        return names
    }

    mutating func node(_ type: String, _ inputs: [String], _ attributes: [String: ONNXAttribute] = [:])
        -> String
    {
        nodes(type, inputs, outputs: 1, attributes)[0]
    }

    mutating func conv(
        _ x: String, _ channels: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1, groups: Int = 1,
        bias: Bool = true
    ) -> String {
        let fan = Float(channels / groups * kernel * kernel)
        let bound = (6 / fan).squareRoot()
        let pad = kernel / 2
        var inputs = [x, floats([outputs, channels / groups, kernel, kernel], -bound, bound)]
        if bias { inputs.append(floats([outputs], -0.3, 0.3)) }
        return node(
            "Conv", inputs,
            [
                "kernel_shape": [kernel, kernel], "strides": [stride, stride],
                "pads": .ints([pad, pad, pad, pad]), "group": .int(groups),
            ])
    }

    mutating func batchNorm(_ x: String, _ channels: Int) -> String {
        node(
            "BatchNormalization",
            [
                x, floats([channels], 0.5, 1.5), floats([channels], -0.4, 0.4), floats([channels], -0.4, 0.4),
                floats([channels], 0.4, 1.6),
            ],
            ["epsilon": 1e-3])
    }

    mutating func relu(_ x: String) -> String { node("Relu", [x]) }

    mutating func clip(_ x: String, _ low: Float = 0, _ high: Float = 6) -> String {
        if opset < 11 { return node("Clip", [x], ["min": .float(low), "max": .float(high)]) }
        return node("Clip", [x, number(low), number(high)])
    }

    mutating func convNormRelu(
        _ x: String, _ channels: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1, groups: Int = 1
    ) -> String {
        relu(
            batchNorm(
                conv(x, channels, outputs, kernel: kernel, stride: stride, groups: groups, bias: false),
                outputs))
    }

    mutating func maxPool(_ x: String, kernel: Int = 2, stride: Int = 2, pad: Int = 0) -> String {
        node(
            "MaxPool", [x],
            [
                "kernel_shape": [kernel, kernel], "strides": [stride, stride],
                "pads": .ints([pad, pad, pad, pad]),
            ])
    }

    mutating func averagePool(_ x: String, kernel: Int, stride: Int, pad: Int = 0, countPads: Bool = false)
        -> String
    {
        node(
            "AveragePool", [x],
            [
                "kernel_shape": [kernel, kernel], "strides": [stride, stride],
                "pads": .ints([pad, pad, pad, pad]),
                "count_include_pad": countPads ? 1 : 0,
            ])
    }

    mutating func concat(_ parts: [String], axis: Int = 1) -> String {
        node("Concat", parts, ["axis": .int(axis)])
    }
    mutating func pooled(_ x: String) -> String { node("GlobalAveragePool", [x]) }

    mutating func gemm(_ x: String, _ terms: Int, _ columns: Int) -> String {
        let bound = (6 / Float(terms)).squareRoot()
        return node(
            "Gemm", [x, floats([columns, terms], -bound, bound), floats([columns], -0.2, 0.2)], ["transB": 1])
    }

    mutating func unsqueeze(_ x: String, _ axes: [Int]) -> String {
        opset < 13
            ? node("Unsqueeze", [x], ["axes": .ints(axes)])
            : node("Unsqueeze", [x, ints(axes.map(Int64.init))])
    }

    mutating func split(_ x: String, axis: Int, sizes: [Int]) -> [String] {
        opset < 13
            ? nodes("Split", [x], outputs: sizes.count, ["axis": .int(axis), "split": .ints(sizes)])
            : nodes("Split", [x, ints(sizes.map(Int64.init))], outputs: sizes.count, ["axis": .int(axis)])
    }

    mutating func spatialMean(_ x: String, keep: Bool) -> String {
        opset < 18
            ? node("ReduceMean", [x], ["axes": [2, 3], "keepdims": keep ? 1 : 0])
            : node("ReduceMean", [x, ints([2, 3])], ["keepdims": keep ? 1 : 0])
    }

    mutating func output(_ name: String) { builder.output(name, ["N", 6]) }

    func model() throws -> ONNXModel { try builder.model(name: "small.onnx") }
}

/// A family of networks.
struct Style: Sendable, CustomTestStringConvertible {
    let name: String
    private let build: @Sendable (inout SmallNetwork) -> String

    var testDescription: String { name }

    func network(opset: Int = 17) -> SmallNetwork {
        var net = SmallNetwork("\(name) \(opset)", opset: opset)
        let y = build(&net)
        net.output(y)
        return net
    }

    static let opsets = [9, 11, 13, 17, 22]

    static let all: [Style] = [
        Style(name: "AlexNet") { n in
            var x = n.relu(n.conv("image", 3, 12, kernel: 5, stride: 2))
            x = n.node("LRN", [x], ["size": 5, "alpha": 0.1, "beta": 0.75, "bias": 1.0])
            x = n.maxPool(x, kernel: 3, stride: 2)
            x = n.relu(n.conv(x, 12, 10, groups: 2))
            x = n.node("Flatten", [x], ["axis": 1])
            x = n.relu(n.gemm(x, 90, 20))
            x = n.opset < 12 ? n.node("Dropout", [x], ["ratio": 0.5]) : n.node("Dropout", [x, n.number(0.5)])
            return n.gemm(x, 20, 6)
        },
        Style(name: "VGG") { n in
            var x = n.relu(n.conv("image", 3, 8))
            x = n.maxPool(n.relu(n.conv(x, 8, 8)))
            x = n.maxPool(n.relu(n.conv(x, 8, 16)))
            x = n.node("Reshape", [x, n.ints([0, -1])])
            x = n.node("MatMul", [x, n.floats([144, 20], -0.2, 0.2)])
            x = n.relu(n.node("Add", [x, n.floats([20])]))
            return n.node("Softmax", [n.gemm(x, 20, 6)], ["axis": 1])
        },
        Style(name: "ResNet") { n in
            var x = n.convNormRelu("image", 3, 8, kernel: 5, stride: 2)
            x = n.maxPool(x, kernel: 3, stride: 1, pad: 1)
            // A block with an identity, one with a downsampled branch: both operands of its sum are convolutions.
            var y = n.convNormRelu(x, 8, 8)
            y = n.batchNorm(n.conv(y, 8, 8, bias: false), 8)
            x = n.relu(n.node("Add", [y, x]))
            y = n.convNormRelu(x, 8, 4, kernel: 1)
            y = n.convNormRelu(y, 4, 4, stride: 2)
            y = n.batchNorm(n.conv(y, 4, 36, kernel: 1, bias: false), 36)
            let down = n.batchNorm(n.conv(x, 8, 36, kernel: 1, stride: 2, bias: false), 36)
            x = n.relu(n.node("Add", [y, down]))
            x = n.node("Flatten", [n.pooled(x)])
            return n.gemm(x, 36, 6)
        },
        Style(name: "SqueezeNet") { n in
            var x = n.maxPool(n.relu(n.conv("image", 3, 8)), kernel: 3, stride: 2)
            let squeezed = n.relu(n.conv(x, 8, 4, kernel: 1))
            let (a, b) = (n.conv(squeezed, 4, 8, kernel: 1), n.conv(squeezed, 4, 8))
            x = n.concat([n.relu(a), n.relu(b)])
            x = n.relu(n.conv(x, 16, 6, kernel: 1))
            return n.node("Flatten", [n.pooled(x)])
        },
        Style(name: "Inception") { n in
            var x = n.convNormRelu("image", 3, 8)
            let one = n.convNormRelu(x, 8, 5, kernel: 1)
            let three = n.convNormRelu(n.convNormRelu(x, 8, 4, kernel: 1), 4, 6)
            let pooled = n.convNormRelu(
                n.averagePool(x, kernel: 3, stride: 1, pad: 1, countPads: true), 8, 4, kernel: 1)
            let largest = n.maxPool(x, kernel: 3, stride: 1, pad: 1)
            x = n.concat([one, three, pooled, largest])
            x = n.averagePool(x, kernel: 5, stride: 3, pad: 1)
            x = n.node("Flatten", [n.pooled(x)])
            return n.gemm(x, 23, 6)
        },
        Style(name: "DenseNet") { n in
            var x = n.conv("image", 3, 8, stride: 2, bias: false)
            for i in 0..<2 {
                var y = n.relu(n.batchNorm(x, 8 + 4 * i))
                y = n.conv(y, 8 + 4 * i, 6, kernel: 1, bias: false)
                y = n.conv(n.relu(n.batchNorm(y, 6)), 6, 4, bias: false)
                x = n.concat([x, y])
            }
            x = n.averagePool(n.relu(n.batchNorm(x, 16)), kernel: 2, stride: 2)
            x = n.relu(n.batchNorm(x, 16))
            x = n.node("Flatten", [n.pooled(x)])
            return n.gemm(x, 16, 6)
        },
        Style(name: "MobileNetV2") { n in
            var x = n.clip(n.batchNorm(n.conv("image", 3, 8, stride: 2, bias: false), 8))
            var y = n.clip(n.batchNorm(n.conv(x, 8, 24, kernel: 1, bias: false), 24))
            y = n.clip(n.batchNorm(n.conv(y, 24, 24, groups: 24, bias: false), 24))
            y = n.batchNorm(n.conv(y, 24, 8, kernel: 1, bias: false), 8)
            x = n.node("Add", [x, y])
            x = n.clip(n.batchNorm(n.conv(x, 8, 40, kernel: 1, bias: false), 40))
            x = n.spatialMean(x, keep: false)
            return n.gemm(x, 40, 6)
        },
        Style(name: "EfficientNet") { n in
            var x = n.batchNorm(n.conv("image", 3, 12, stride: 2, bias: false), 12)
            x =
                n.opset < 14
                ? n.node("Mul", [x, n.node("HardSigmoid", [x], ["alpha": .float(1 / 6), "beta": 0.5])])
                : n.node("HardSwish", [x])
            var y = n.batchNorm(n.conv(x, 12, 12, kernel: 5, groups: 12, bias: false), 12)
            y = n.node("Mul", [y, n.node("Sigmoid", [y])])
            // Squeeze and excitation.
            var gate = n.spatialMean(y, keep: true)
            gate = n.relu(n.conv(gate, 12, 3, kernel: 1))
            gate = n.node("Sigmoid", [n.conv(gate, 3, 12, kernel: 1)])
            y = n.node("Mul", [gate, y])
            x = n.node("Add", [n.batchNorm(n.conv(y, 12, 12, kernel: 1, bias: false), 12), x])
            x = n.node("Flatten", [n.pooled(x)])
            return n.gemm(x, 12, 6)
        },
        Style(name: "ShuffleNet") { n in
            let stem = n.maxPool(n.convNormRelu("image", 3, 12), kernel: 3, stride: 2, pad: 1)
            // Two halves, one of which passes; then their channels are shuffled, with arithmetic of shapes as PyTorch exports it.
            let halves = n.split(stem, axis: 1, sizes: [6, 6])
            var y = n.convNormRelu(halves[1], 6, 6, kernel: 1)
            y = n.batchNorm(n.conv(y, 6, 6, groups: 6, bias: false), 6)
            y = n.convNormRelu(y, 6, 6, kernel: 1)
            var x = n.concat([halves[0], y])
            let shape = n.node("Shape", [x])
            func extent(_ n: inout SmallNetwork, _ axis: Int64) -> String {
                n.unsqueeze(n.node("Gather", [shape, n.ints([axis], scalar: true)], ["axis": 0]), [0])
            }
            let (batch, height, width) = (extent(&n, 0), extent(&n, 2), extent(&n, 3))
            let perGroup = n.node("Div", [extent(&n, 1), n.ints([2])])
            let apart = n.concat([batch, n.ints([2]), perGroup, height, width], axis: 0)
            x = n.node("Transpose", [n.node("Reshape", [x, apart])], ["perm": .ints([0, 2, 1, 3, 4])])
            x = n.node("Reshape", [x, n.concat([batch, n.ints([-1]), height, width], axis: 0)])
            x = n.convNormRelu(x, 12, 20, kernel: 1)
            x = n.spatialMean(x, keep: false)
            return n.gemm(x, 20, 6)
        },
        Style(name: "MNASNet") { n in
            var x = n.convNormRelu("image", 3, 8, stride: 2)
            x = n.convNormRelu(x, 8, 8, groups: 8)
            x = n.batchNorm(n.conv(x, 8, 6, kernel: 1, bias: false), 6)
            var y = n.convNormRelu(x, 6, 18, kernel: 1)
            y = n.convNormRelu(y, 18, 18, kernel: 5, groups: 18)
            y = n.batchNorm(n.conv(y, 18, 6, kernel: 1, bias: false), 6)
            x = n.node("Add", [y, x])
            x = n.convNormRelu(x, 6, 33, kernel: 1)
            x = n.spatialMean(x, keep: false)
            return n.node("Identity", [n.gemm(x, 33, 6)])
        },
    ]
}

/// Pictures for a small network, row-major.
func pictures(_ batch: Int, channels: Int = 3, size: Int = 14) -> [Float] {
    var random = SeededRandom("pictures")
    return (0..<batch * channels * size * size).map { _ in random.float(-1.5, 1.5) }
}
