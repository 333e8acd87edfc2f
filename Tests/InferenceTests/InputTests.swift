// Pictures as files hold them: channels last, bytes, greys; and normalisation that is part of the network.

import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct InputTests {
    private static let devices = [Devices.all[0], Devices.cpus[1]] + Devices.openCL

    /// A convolution and what ends in six scores, of a value of `channels` channels; the same weights in each network.
    private static func classifier(_ net: inout SmallNetwork, _ x: String, channels: Int = 3) {
        let conv = net.convNormRelu(x, channels, 8, stride: 2)
        net.output(net.gemm(net.node("Flatten", [net.pooled(conv)]), 8, 6))
    }

    /// How a network reads a picture [N, H, W, C].
    enum Reading: CaseIterable, Sendable {
        case transposed, transposedTwice, cast, subtracted, joined
    }

    private static func network(
        _ dims: [ONNXDimension], type: ONNXDataType = .float32,
        _ body: (inout SmallNetwork) -> Void
    ) throws -> Network {
        var net = SmallNetwork("inputs", input: dims)
        net.builder.graph.input.removeAll()
        net.builder.input("image", dims, type: type)
        body(&net)
        return try Network(net.model())
    }

    private static let size = (batch: 2, height: 11, width: 13)

    /// Bytes, so that every type of input holds them.
    private static func picture(_ channels: Int) -> [Float] {
        (0..<size.batch * channels * size.height * size.width).map { Float(($0 * 73 + $0 / 7) % 256) }
    }

    /// [N, C, H, W] as [N, H, W, C].
    private static func last(_ values: [Float], _ channels: Int) -> [Float] {
        var result = values
        let cells = size.height * size.width
        for n in 0..<size.batch {
            for c in 0..<channels {
                for i in 0..<cells {
                    result[(n * cells + i) * channels + c] = values[(n * channels + c) * cells + i]
                }
            }
        }
        return result
    }

    private static func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }

    /// The scores and the gradient of a network whose input lies channels-last are those of the network with channels first, bit by bit,
    /// in the file's own order.
    @Test(arguments: Reading.allCases) func channelsLast(_ reading: Reading) throws {
        for channels in [1, 3, 4] {
            let open: [ONNXDimension] = ["N", .unknown, .unknown, .fixed(channels)]
            func normalised(_ net: inout SmallNetwork, _ x: String, _ shape: [Int]) -> String {
                guard reading == .subtracted else { return x }
                net.builder.initializer("mean", shape, floats: (0..<channels).map { 100 + Float($0) })
                return net.node("Sub", [x, "mean"])
            }
            let first = try Self.network(["N", .fixed(channels), .unknown, .unknown]) { net in
                var x = normalised(&net, "image", [channels, 1, 1])
                if reading == .transposedTwice {
                    x = net.node("Add", [x, net.node("Mul", [x, net.number(0)])])
                }
                Self.classifier(&net, reading == .joined ? net.node("Add", [x, x]) : x, channels: channels)
            }
            let type: ONNXDataType = reading == .cast ? .uint8 : .float32
            let last = try Self.network(open, type: type) { net in
                let perm: [String: ONNXAttribute] = ["perm": [0, 3, 1, 2]]
                switch reading {
                case .transposed:
                    Self.classifier(&net, net.node("Transpose", ["image"], perm), channels: channels)
                case .transposedTwice:
                    let (a, b) = (
                        net.node("Transpose", ["image"], perm), net.node("Transpose", ["image"], perm)
                    )
                    let zero = net.number(0)
                    Self.classifier(
                        &net, net.node("Add", [a, net.node("Mul", [b, zero])]), channels: channels)
                case .cast:
                    let x = net.node("Cast", ["image"], ["to": 1])
                    Self.classifier(&net, net.node("Transpose", [x], perm), channels: channels)
                case .subtracted:
                    let x = normalised(&net, "image", [channels])
                    Self.classifier(&net, net.node("Transpose", [x], perm), channels: channels)
                case .joined:
                    let x = net.node("Add", ["image", net.node("Identity", ["image"])])
                    Self.classifier(&net, net.node("Transpose", [x], perm), channels: channels)
                }
            }
            #expect(last.isChannelsLast && !first.isChannelsLast)
            #expect(last.inputDims == [nil, channels, nil, nil])
            #expect(last.describedInput == "N×?×?×\(channels)")
            #expect(last.takesBytes == (reading == .cast))
            let (n, h, w) = Self.size
            let x = Self.picture(channels)
            if reading == .transposed || reading == .cast {
                // It costs nothing.
                var spec = PassSpec(batch: n, height: h, width: w)
                (spec.stored, spec.gradients) = ([first.outputName], ["image"])
                let steps = try PassPlan(spec, of: first).tape.steps.count
                spec.stored = [last.outputName]
                #expect(try PassPlan(spec, of: last).tape.steps.count == steps)
            }
            for device in Self.devices {
                let a = try first.run(
                    x, dims: [n, channels, h, w], outputs: [first.outputName, "image"], gradient: 2,
                    on: device.device)
                let b = try last.run(
                    Self.last(x, channels), dims: [n, h, w, channels], outputs: [last.outputName, "image"],
                    gradient: 2, on: device.device)
                #expect(Self.bits(a[0].values) == Self.bits(b[0].values), "\(device), \(channels)")
                #expect(b[1].shape == [n, h, w, channels] && b[1].values == Self.last(x, channels))
                #expect(b[2].shape == [n, h, w, channels])
                #expect(Self.bits(Self.last(a[2].values, channels)) == Self.bits(b[2].values), "\(device)")
            }
        }
    }

    @Test func whatReadsTheInputDecides() throws {
        // A convolution takes its channels from the second dimension, whatever the fourth is.
        let conv = try Self.network(["N", 9, 9, 3]) { Self.classifier(&$0, "image", channels: 9) }
        #expect(!conv.isChannelsLast && conv.inputDims == [nil, 9, 9, 3])
        // Nothing else is known of rows of patches.
        let patches = try Self.network(["N", 16, 16, 3]) { net in
            let rows = net.node("Reshape", ["image", net.ints([0, -1])])
            net.output(net.gemm(rows, 768, 6))
        }
        #expect(patches.isChannelsLast && patches.inputDims == [nil, 3, 16, 16])
        // What is too small for a picture is none.
        let small = try Self.network(["N", 5, 5, 3]) { net in
            net.output(net.gemm(net.node("Flatten", ["image"]), 75, 6))
        }
        #expect(!small.isChannelsLast)
    }

    @Test func bytes() throws {
        let network = try Self.network(["N", 3, 11, 13], type: .uint8) {
            Self.classifier(&$0, $0.node("Cast", ["image"], ["to": 1]))
        }
        #expect(network.takesBytes && !network.isChannelsLast)
        let device = Self.devices[0].device
        var x = [Float](repeating: 7, count: 3 * 11 * 13)
        _ = try network.run(x, dims: [1, 3, 11, 13], outputs: nil, on: device)
        for bad in [0.5, -1, 256, Float.nan] {
            x[5] = bad
            #expect(throws: NetworkError.self) {
                try network.run(x, dims: [1, 3, 11, 13], outputs: nil, on: device)
            }
        }
        let wrapping = #expect(throws: NetworkError.self) {
            try Self.network(["N", 3, 11, 13], type: .uint8) { net in
                let x = net.node("Add", ["image", "image"])
                Self.classifier(&net, net.node("Cast", [x], ["to": 1]))
            }
        }
        #expect(wrapping?.description.contains("computes with the bytes of the input “image”") == true)
        #expect(wrapping?.kind == .unsupported)
        let whole = #expect(throws: NetworkError.self) {
            try Self.network(["N", 3, 11, 13], type: .int32) {
                Self.classifier(&$0, $0.node("Cast", ["image"], ["to": 1]))
            }
        }
        #expect(whole?.description.contains("or of bytes (uint8)") == true)
    }

    // MARK: Normalisation

    private static func normalisation(
        _ dims: [ONNXDimension] = ["N", 3, 11, 13], _ body: (inout SmallNetwork, String) -> String
    ) throws -> InputNormalisation? {
        try network(dims) { net in classifier(&net, body(&net, "image")) }.inputNormalisation
    }

    private static func constant(_ net: inout SmallNetwork, _ values: [Float], _ shape: [Int] = [3, 1, 1])
        -> String
    {
        let name = "constant.\(net.builder.graph.initializer.count)"
        net.builder.initializer(name, values.count == 1 ? [] : shape, floats: values)
        return name
    }

    @Test func normalisationIsNoticed() throws {
        let (mean, std): ([Float], [Float]) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
        let bytes = try #require(
            try Self.normalisation { net, x in
                let centred = net.node("Sub", [x, Self.constant(&net, mean)])
                return net.node("Div", [centred, Self.constant(&net, std)])
            })
        #expect(bytes.range == .bytes && bytes.operators == ["Sub", "Div"])
        #expect(bytes.centre.elementsEqual(mean.map(Double.init)) { abs($0 - $1) < 1e-9 })
        #expect(bytes.spread.elementsEqual(std.map(Double.init)) { abs($0 - $1) < 1e-9 })
        // Division first, and then as torchvision has it.
        let both = try Self.normalisation { net, x in
            let unit = net.node("Mul", [x, Self.constant(&net, [1 / 255])])
            let centred = net.node("Add", [Self.constant(&net, [-0.485, -0.456, -0.406]), unit])
            return net.node("Div", [centred, Self.constant(&net, [0.229, 0.224, 0.225])])
        }
        #expect(both?.range == .bytes)
        let unit = try Self.normalisation { net, x in
            let centred = net.node("Sub", [x, Self.constant(&net, [0.485, 0.456, 0.406])])
            return net.node("Div", [centred, Self.constant(&net, [0.229, 0.224, 0.225])])
        }
        #expect(unit?.range == .unit)
        let signed = try Self.normalisation { net, x in
            net.node("Sub", [net.node("Mul", [x, Self.constant(&net, [2])]), Self.constant(&net, [1])])
        }
        #expect(signed?.range == .unit)
        let keras = try Self.normalisation { net, x in
            net.node("Add", [net.node("Div", [x, Self.constant(&net, [127.5])]), Self.constant(&net, [-1])])
        }
        #expect(keras?.range == .bytes)
        let onlyMeans = try Self.normalisation { net, x in net.node("Sub", [x, Self.constant(&net, mean)]) }
        #expect(onlyMeans?.range == .bytes)
        let caffe = try Self.normalisation { net, x in
            net.node("Sub", [x, Self.constant(&net, [103.939, 116.779, 123.68])])
        }
        #expect(caffe?.range == .bytesBlueFirst)
        let batch = try Self.normalisation { net, x in
            net.node(
                "BatchNormalization",
                [
                    x, Self.constant(&net, [1, 1, 1], [3]), Self.constant(&net, [0, 0, 0], [3]),
                    Self.constant(&net, [120, 118, 105], [3]), Self.constant(&net, [3600, 3500, 3700], [3]),
                ])
        }
        #expect(batch?.range == .bytes && batch?.operators == ["BatchNormalization"])
        // Of a network whose channels lie last, before they are brought to the front.
        let last = try Self.normalisation(["N", 11, 13, 3]) { net, x in
            let centred = net.node("Sub", [x, Self.constant(&net, mean, [3])])
            return net.node("Transpose", [centred], ["perm": [0, 3, 1, 2]])
        }
        #expect(last?.range == .bytes && last?.centre.count == 3)
    }

    @Test func whatIsNoNormalisation() throws {
        #expect(try Self.normalisation { _, x in x } == nil)
        #expect(try Self.normalisation { net, x in net.node("Mul", [x, Self.constant(&net, [1])]) } == nil)
        // Another reader sees the picture as it is.
        #expect(
            try Self.normalisation { net, x in
                net.node("Add", [x, net.node("Div", [x, Self.constant(&net, [255])])])
            } == nil)
        // Not a number for each channel.
        #expect(
            try Self.normalisation { net, x in
                let rows = Self.constant(&net, (0..<13).map { Float($0) }, [13])
                return net.node("Sub", [x, rows])
            } == nil)
        // Numbers that are normalised already, as some Inceptions turn from one way to another.
        let again = try Self.normalisation { net, x in
            let scaled = net.node("Mul", [x, Self.constant(&net, [0.458, 0.448, 0.45])])
            return net.node("Add", [scaled, Self.constant(&net, [-0.03, -0.088, -0.188])])
        }
        #expect(again?.range == .normalised || again?.range == .unknown)
        let odd = try Self.normalisation { net, x in net.node("Div", [x, Self.constant(&net, [5000])]) }
        #expect(odd?.range == .unknown)
    }
}
