// Tokens as grids: seeded random transformers, whose tokens' places are found by what a change of one patch of the picture changes.

import Inference
import Kernels
import ONNX
import TestSupport
import Testing

/// A transformer of random form: patches in rows or columns, windows that are shifted, tokens that stand for no place, patches that are merged, a
/// score of one token or of the mean.
struct RandomTransformer {
    var net: SmallNetwork
    let number: Int
    /// Cells of the grid at the end.
    private(set) var height: Int, width: Int
    /// Tokens that are no cells, and whether they stand behind the cells.
    let extra: Int, isBehind: Bool
    /// [N, H, W, C] throughout.
    let isNHWC: Bool
    let isTransposed: Bool
    let readsExtra: Bool
    let patch: Int
    private var channels: Int

    init(_ number: Int) {
        var random = SeededRandom("transformer \(number)")
        func any(_ list: [Int]) -> Int { list[random.index(below: list.count)] }
        self.number = number
        isNHWC = random.index(below: 3) == 0
        extra = isNHWC ? 0 : any([0, 0, 1, 1, 4])
        isBehind = random.index(below: 4) == 0
        isTransposed = !isNHWC && random.index(below: 4) == 0
        readsExtra = extra > 0 && random.index(below: 4) > 0
        (height, width) = (any([4, 6, 8]), any([4, 6, 8]))
        if isNHWC, random.index(below: 2) == 0 { width = height }
        patch = any([2, 3])
        channels = any([4, 8])
        net = SmallNetwork(
            "transformer \(number)", input: ["N", 3, .fixed(height * patch), .fixed(width * patch)])
        build(&random)
    }

    private var tokens: Int { height * width + extra }

    private mutating func reshape(_ x: String, _ dims: [Int]) -> String {
        net.node("Reshape", [x, net.ints(dims.map(Int64.init))])
    }

    private mutating func transpose(_ x: String, _ order: [Int]) -> String {
        net.node("Transpose", [x], ["perm": .ints(order)])
    }

    /// With small weights, so that the residual stream stays the largest part.
    private mutating func dense(_ x: String, _ terms: Int, _ columns: Int, _ bound: Float = 0.2) -> String {
        net.node("MatMul", [x, net.floats([terms, columns], -bound, bound)])
    }

    private mutating func norm(_ x: String) -> String {
        func mean(_ x: String) -> String { net.node("ReduceMean", [x], ["axes": [-1]]) }
        let centred = net.node("Sub", [x, mean(x)])
        let deviation = net.node(
            "Sqrt", [net.node("Add", [mean(net.node("Mul", [centred, centred])), net.number(1e-3)])])
        return net.node(
            "Mul", [net.node("Div", [centred, deviation]), net.floats([channels], 0.5, 1.5)])
    }

    /// Attention over the second last axis of [B, T, C].
    private mutating func attention(_ x: String, tokens: Int, heads: Int) -> String {
        let size = channels / heads
        let parts = (0..<3).map { _ in
            transpose(reshape(dense(x, channels, channels), [-1, tokens, heads, size]), [0, 2, 1, 3])
        }
        let scores = net.node("MatMul", [parts[0], transpose(parts[1], [0, 1, 3, 2])])
        let mixed = net.node("MatMul", [net.node("Softmax", [scores], ["axis": -1]), parts[2]])
        return dense(reshape(transpose(mixed, [0, 2, 1, 3]), [-1, tokens, channels]), channels, channels)
    }

    private mutating func rolled(_ x: String, by shift: Int, axis: Int, of extent: Int) -> String {
        func part(_ from: Int, _ to: Int) -> String {
            net.node(
                "Slice", [x, net.ints([Int64(from)]), net.ints([Int64(to)]), net.ints([Int64(axis)])])
        }
        return net.concat([part(shift, extent), part(0, shift)], axis: axis)
    }

    /// Attention within windows of 2×2 of [N, H, W, C].
    private mutating func windowed(_ x: String, shift: Int) -> String {
        var x = x
        if shift > 0 {
            x = rolled(x, by: shift, axis: 1, of: height)
            x = rolled(x, by: shift, axis: 2, of: width)
        }
        x = transpose(reshape(x, [-1, height / 2, 2, width / 2, 2, channels]), [0, 1, 3, 2, 4, 5])
        x = attention(reshape(x, [-1, 4, channels]), tokens: 4, heads: 2)
        x = transpose(reshape(x, [-1, height / 2, width / 2, 2, 2, channels]), [0, 1, 3, 2, 4, 5])
        x = reshape(x, [-1, height, width, channels])
        if shift > 0 {
            x = rolled(x, by: height - shift, axis: 1, of: height)
            x = rolled(x, by: width - shift, axis: 2, of: width)
        }
        return x
    }

    private mutating func build(_ random: inout SeededRandom) {
        var x = net.node(
            "Conv", ["image", net.floats([channels, 3, patch, patch], -0.5, 0.5)],
            ["kernel_shape": [patch, patch], "strides": [patch, patch]])
        if isNHWC {
            x = transpose(x, [0, 2, 3, 1])
        } else {
            x = transpose(x, isTransposed ? [0, 3, 2, 1] : [0, 2, 3, 1])
            x = reshape(x, [-1, height * width, channels])
            if extra > 0 {
                let own = net.floats([1, extra, channels])
                x = net.concat(isBehind ? [x, own] : [own, x])
            }
            x = net.node("Add", [x, net.floats([1, tokens, channels], -0.2, 0.2)])
        }
        let blocks = 2 + random.index(below: 2)
        for block in 0..<blocks {
            let before = norm(x)
            let mixed =
                isNHWC
                ? windowed(before, shift: block % 2) : attention(before, tokens: tokens, heads: 2)
            x = net.node("Add", [x, mixed])
            let wide = net.node("Sigmoid", [dense(norm(x), channels, 2 * channels)])
            x = net.node("Add", [x, dense(wide, 2 * channels, channels)])
            if isNHWC, block == 0, height % 4 == 0, width % 4 == 0 {
                // Four neighbours become one.
                let parts = [(0, 0), (1, 0), (0, 1), (1, 1)].map { y, z in
                    net.node(
                        "Slice",
                        [
                            x, net.ints([Int64(y), Int64(z)]), net.ints([999, 999]), net.ints([1, 2]),
                            net.ints([2, 2]),
                        ])
                }
                x = dense(net.concat(parts, axis: 3), 4 * channels, channels, 0.5)
                (height, width) = (height / 2, width / 2)
            }
        }
        x = norm(x)
        if isNHWC {
            x = net.node("ReduceMean", [x], ["axes": [1, 2], "keepdims": 0])
        } else if readsExtra {
            let place = isBehind ? height * width : 0
            x = net.node("Gather", [x, net.ints([Int64(place)], scalar: true)], ["axis": 1])
        } else {
            x = net.node("ReduceMean", [x], ["axes": [1], "keepdims": 0])
        }
        net.output(net.gemm(x, channels, 6))
    }
}

@Suite struct TokenTests {
    private func picture(_ network: Network, number: Int) throws -> (numbers: [Float], dims: [Int]) {
        let dims = try network.inputShape(batch: 1).dims
        var random = SeededRandom("picture of transformer \(number)")
        return ((0..<dims.reduce(1, *)).map { _ in random.float(-1, 1) }, dims)
    }

    /// The cell of the grid that changes most is where the picture was changed.
    @Test(arguments: 0..<24)
    func cellsAreWhereThePictureIs(_ number: Int) throws {
        let made = RandomTransformer(number)
        let network = try Network(made.net.model())
        let choice = try network.layer(named: "auto", of: network.layers())
        let tokens = try #require(choice.layer.tokens, "\(choice)")
        #expect([tokens.height, tokens.width] == [made.height, made.width])
        #expect(tokens.extra == made.extra)
        let shown = network.showing([choice.layer])
        let device = Devices.all[0].device
        var (numbers, dims) = try picture(network, number: number)
        func grid(_ numbers: [Float]) throws -> [Float] {
            try shown.run(numbers, dims: dims, outputs: [choice.layer.output], on: device)[0].values
        }
        let plain = try grid(numbers)
        let cells = made.height * made.width
        let size = (dims[2] / made.height, dims[3] / made.width)
        for cell in 0..<cells {
            let kept = numbers
            for c in 0..<3 {
                for y in 0..<size.0 {
                    for x in 0..<size.1 {
                        let (row, column) = (cell / made.width * size.0 + y, cell % made.width * size.1 + x)
                        numbers[(c * dims[2] + row) * dims[3] + column] += c == 1 ? -1 : 1.5
                    }
                }
            }
            let changed = try grid(numbers)
            numbers = kept
            let changes = (0..<cells).map { k in
                stride(from: k, to: plain.count, by: cells).reduce(0) { $0 + abs(changed[$1] - plain[$1]) }
            }
            let most = changes.indices.max { changes[$0] < changes[$1] }
            #expect(most == cell, "\(made.net.builder) \(choice.reason)")
        }
    }

    /// To see tokens as a grid changes no number and no gradient, and the rest of the network can be computed from there.
    @Test(arguments: 0..<12, [Devices.all[0], Devices.all.last!])
    func seeingThemChangesNothing(_ number: Int, _ device: TestDevice) throws {
        let made = RandomTransformer(number)
        let network = try Network(made.net.model())
        let layers = try network.layers()
        let layer = try network.layer(named: "auto", of: layers).layer
        let shown = network.showing([layer])
        let (numbers, dims) = try picture(network, number: number)
        func run(_ network: Network, _ outputs: [String], of target: String) throws -> [[UInt32]] {
            try network.run(
                numbers, dims: dims, outputs: outputs, gradient: 2, target: target, on: device.device
            ).map { $0.values.map(\.bitPattern) }
        }
        let logits = network.logitsName
        #expect(try run(network, [logits], of: "image") == run(shown, [logits], of: "image"))

        // The gradient's cells are those of the tokens' gradient.
        let tokens = try run(network, [layer.value], of: layer.value)
        let grid = try run(shown, [layer.output], of: layer.output)
        let (c, cells) = (layer.shape.dims[1], layer.cells)
        let first = made.isBehind ? 0 : made.extra
        for part in 0..<2 {
            var places: [UInt32] = []
            for channel in 0..<c {
                for cell in 0..<cells {
                    let (y, x) = (cell / made.width, cell % made.width)
                    let token = made.isTransposed ? x * made.height + y : cell
                    places.append(tokens[part][(first + token) * c + channel])
                }
            }
            #expect(grid[part] == places)
        }

        let engine = Engine(shown, on: try LoadedDevice(device.device))
        let feed = made.extra > 0 ? layer.value : layer.output
        var whole = PassSpec(batch: 1)
        whole.stored = [logits, feed]
        var rest = whole.tail(from: feed)
        rest.stored = [logits]
        let pass = try engine.pass(whole)
        try pass.feed(numbers)
        try pass.forward()
        let tail = try engine.pass(rest)
        try tail.feed(from: pass, feed)
        try tail.forward()
        #expect(try tail.stored(logits)!.map(\.bitPattern) == pass.stored(logits)!.map(\.bitPattern))
    }

    /// Where only tokens that are no cells are read at the end, the layer lies before they meet the cells for the last time.
    @Test func layerReachesTheScore() throws {
        var readers = 0
        for number in 0..<24 {
            let made = RandomTransformer(number)
            let network = try Network(made.net.model())
            let layer = try network.layer(named: "auto", of: network.layers()).layer
            let (numbers, dims) = try picture(network, number: number)
            let gradient = try network.showing([layer]).run(
                numbers, dims: dims, outputs: [], gradient: 1, target: layer.output,
                on: Devices.all[0].device
            ).last!.values
            #expect(gradient.contains { $0 != 0 })
            readers += made.readsExtra ? 1 : 0
        }
        #expect((4...20).contains(readers))
    }

    /// Convolutions around something that moves the cells of an image.
    /// - Returns: whether a layer behind it can be explained, as one before it can.
    private func staysImage(_ move: (inout SmallNetwork, String) -> String) throws -> Bool {
        var net = SmallNetwork("moves", input: ["N", 3, 32, 32])
        let before = net.node("Relu", [net.conv("image", 3, 4, stride: 2)])
        let moved = move(&net, before)
        // Windows with strides, and some without, so that places have a way to go.
        var x = net.node("Relu", [net.conv(moved, 4, 4)])
        x = net.node("Relu", [net.conv(x, 4, 6, stride: 2)])
        let behind = net.node("Sigmoid", [x])
        let flat = net.node("Flatten", [net.node("GlobalAveragePool", [behind])])
        net.output(net.node("Gemm", [flat, net.floats([6, 5])]))
        let layers = try Network(net.model()).layers()
        #expect(try #require(layers.first { $0.value == before }).isSpatial)
        return try #require(layers.first { $0.value == behind }).isSpatial
    }

    /// A map of cells that lie elsewhere than in the picture would be drawn in the wrong place.
    @Test(arguments: [2, 3]) func cellsThatMove(_ axis: Int) throws {
        #expect(try !staysImage { $0.mirrored($1, axis) })
        let twice = try staysImage { net, x in
            let once = net.mirrored(x, axis)
            return net.mirrored(once, axis)
        }
        #expect(twice)
        #expect(try !staysImage { $0.rolled($1, axis, by: 8) })
        let around = try staysImage { net, x in
            let once = net.rolled(x, axis, by: 6)
            return net.rolled(once, axis, by: 10)
        }
        #expect(around)
        #expect(try !staysImage { $0.part($1, axis, 0, 8) })
        #expect(try !staysImage { $0.part($1, axis, 4, 16) })
        // Every second cell, and the two halves that make them all.
        let interleaved = try staysImage { net, x in
            let even = net.part(x, axis, 0, 16, step: 2)
            return net.node("Add", [even, net.part(x, axis, 1, 16, step: 2)])
        }
        #expect(interleaved)
        let both = try staysImage { net, x in net.node("Add", [x, net.mirrored(x, axis)]) }
        #expect(!both)
    }

    @Test func cellsThatAreSampled() throws {
        #expect(try staysImage { $0.sampled($1, 1) })
        #expect(try !staysImage { $0.sampled($1, -1) })
        // Where the network looks depends on the picture.
        let looking = try staysImage { net, x in
            let pooled = net.node("GlobalAveragePool", [x])
            let shift = net.node("Reshape", [net.conv(pooled, 4, 2, kernel: 1), net.ints([-1, 1, 1, 2])])
            return net.node("GridSample", [x, net.node("Add", [net.floats([1, 16, 16, 2]), shift])])
        }
        #expect(!looking)
    }

    /// The border that a convolution would have had itself, and one that is none.
    @Test(arguments: [
        ([0, 0, 1, 1], true), ([1, 1, 1, 1], true), ([16, 0, 0, 0], false), ([0, 0, 0, 12], false),
    ])
    func borders(_ pads: [Int64], stays: Bool) throws {
        let found = try staysImage { net, x in
            net.node("Pad", [x, net.ints([0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]])])
        }
        #expect(found == stays)
    }

    /// Attention's scores are no image, though they have four axes; nor are heads.
    @Test func whatIsNoImage() throws {
        let network = try Network(RandomTransformer(1).net.model())
        for layer in try network.layers() where layer.type == "Softmax" {
            #expect(!layer.isSpatial)
            #expect(throws: NetworkError.self) {
                try network.layer(named: layer.name, of: network.layers())
            }
        }
    }
}

extension SmallNetwork {
    fileprivate mutating func part(_ x: String, _ axis: Int, _ from: Int64, _ to: Int64, step: Int64 = 1)
        -> String
    {
        node("Slice", [x, ints([from]), ints([to]), ints([Int64(axis)]), ints([step])])
    }

    fileprivate mutating func mirrored(_ x: String, _ axis: Int) -> String {
        part(x, axis, -1, -Int64.max, step: -1)
    }

    fileprivate mutating func rolled(_ x: String, _ axis: Int, by cells: Int64) -> String {
        let end = part(x, axis, cells, Int64.max)
        return node("Concat", [end, part(x, axis, 0, cells)], ["axis": .int(axis)])
    }

    /// Of 16×16 cells each where it lies, or from right to left.
    fileprivate mutating func sampled(_ x: String, _ sign: Float) -> String {
        var grid: [Float] = []
        for i in 0..<256 {
            grid.append(sign * (Float(2 * (i % 16) + 1) / 16 - 1))
            grid.append(Float(2 * (i / 16) + 1) / 16 - 1)
        }
        builder.initializer("grid", [1, 16, 16, 2], floats: grid)
        return node("GridSample", [x, "grid"], ["mode": .string("bilinear")])
    }
}
