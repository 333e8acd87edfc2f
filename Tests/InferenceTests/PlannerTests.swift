// What the planner fuses, drops and stores, and that none of it shows in the numbers.

import CMicrokernels
import Inference
import Kernels
import ONNX
import RandomNetworks
import TestSupport
import Testing

@Suite struct PlannerTests {
    private let device = Device.cpu(try! CPU(threads: 1))
    private let dims = [2, 3, 14, 14]

    /// Runs a network with nothing stored, with everything stored, and in double precision; gives the steps of the leanest plan.
    @discardableResult
    private func check(_ net: SmallNetwork, sourceLocation: SourceLocation = #_sourceLocation) throws
        -> [String]
    {
        let model = try net.model()
        let network = try Network(model)
        let input = pictures(2)
        let names = network.valueNames
        let all = try network.run(input, dims: dims, outputs: names, gradient: 0, on: device)
        let lean = try network.run(input, dims: dims, outputs: [network.logitsName], gradient: 0, on: device)
        let expected = try Evaluator(model).run(Array64(dims: dims, values: input.map(Double.init)))
        for tensor in all where tensor.name != "gradient" {
            let right = try #require(expected[tensor.name]).values
            let error = zip(tensor.values, right).map { abs(Double($0) - $1) }.max()!
            #expect(
                error <= 1e-5 * max(1, right.map(abs).max()!), "\(tensor.name)",
                sourceLocation: sourceLocation)
        }
        let logits = all.first { $0.name == network.logitsName }!
        #expect(bitDifference(lean[0].values, logits.values) == nil, sourceLocation: sourceLocation)
        #expect(bitDifference(lean.last!.values, all.last!.values) == nil, sourceLocation: sourceLocation)
        try slope(network, Evaluator(model), input, all.last!.values, sourceLocation: sourceLocation)
        return try steps(network)
    }

    /// The gradient against central differences, for a few inputs of the first picture.
    private func slope(
        _ network: Network, _ evaluator: Evaluator, _ input: [Float], _ gradient: [Float],
        sourceLocation: SourceLocation
    ) throws {
        var random = SeededRandom("slopes")
        for _ in 0..<6 {
            let i = random.index(below: input.count / 2)
            func score(_ shift: Double) throws -> Double {
                var values = Array64(
                    dims: [1] + dims.dropFirst(), values: input.prefix(input.count / 2).map(Double.init))
                values.values[i] += shift
                return try evaluator.run(values)[network.logitsName]!.values[0]
            }
            let expected = try (score(1e-6) - score(-1e-6)) / 2e-6
            #expect(abs(Double(gradient[i]) - expected) < 1e-4, sourceLocation: sourceLocation)
        }
    }

    /// The kernels of the forward pass with nothing stored but the scores.
    private func steps(_ network: Network) throws -> [String] {
        try Planner(network, batch: 1).tape.steps.map(\.kernel)
    }

    private func head(_ net: inout SmallNetwork, _ x: String, _ channels: Int) {
        net.output(net.gemm(net.node("Flatten", [net.pooled(x)]), channels, 6))
    }

    /// Pads that follow from a shape by way of real numbers are known, whether or not somebody asks for those.
    @Test func padsFromRealNumbers() throws {
        var net = SmallNetwork("real pads")
        let x = net.conv("image", 3, 4)
        let height = net.node(
            "Gather", [net.node("Shape", [x]), net.ints([2], scalar: true)], ["axis": 0])
        let quarter = net.node("Div", [net.node("Cast", [height], ["to": 1]), net.number(4)])
        let pad = net.unsqueeze(net.node("Cast", [net.node("Ceil", [quarter])], ["to": 7]), [0])
        let pads = net.concat([net.ints([0, 0]), pad, net.ints([0, 0, 0]), pad, net.ints([1])], axis: 0)
        let padded = net.node("Pad", [x, pads])
        net.output(net.gemm(net.node("Flatten", [net.pooled(padded)]), 4, 6))
        let network = try Network(net.model())
        // 14 / 4 = 3.5.
        #expect(try network.layers().first { $0.value == padded }?.valueShape == [1, 4, 22, 15])
        let (numbers, dims) = ([Float](repeating: 1, count: 3 * 14 * 14), [1, 3, 14, 14])
        let found = try network.run(
            numbers, dims: dims, outputs: [quarter, padded], on: Devices.all[0].device)
        #expect(found[0].values == [3.5] && found[1].values.count == 4 * 22 * 15)
    }

    @Test func aSumOfTwoConvolutionsAndItsClipAreOneStep() throws {
        var net = SmallNetwork("two convolutions")
        let (a, b) = (net.conv("image", 3, 5), net.conv("image", 3, 5))
        head(&net, net.relu(net.node("Add", [a, b])), 5)
        #expect(try check(net) == ["convolution", "convolution", "reduce_sum", "convolution"])
    }

    @Test func eitherOperandOfASumCanBeTheResidual() throws {
        for flip in [false, true] {
            var net = SmallNetwork("residual")
            let x = net.relu(net.conv("image", 3, 5))
            let y = net.conv(x, 5, 5)
            head(&net, net.clip(net.node("Add", flip ? [x, y] : [y, x]), -0.5, 0.5), 5)
            #expect(try check(net) == ["convolution", "convolution", "reduce_sum", "convolution"])
        }
    }

    @Test func anOperandThatIsUsedTwiceIsStored() throws {
        var net = SmallNetwork("used twice")
        let a = net.conv("image", 3, 5)
        let sum = net.node("Add", [a, net.conv("image", 3, 5)])
        head(&net, net.node("Add", [net.relu(sum), net.relu(a)]), 5)
        try check(net)
    }

    @Test func aTensorPlusItself() throws {
        var net = SmallNetwork("x + x")
        let a = net.conv("image", 3, 5)
        head(&net, net.relu(net.node("Add", [a, a])), 5)
        try check(net)
    }

    @Test func aSumOfDifferentShapes() throws {
        var net = SmallNetwork("broadcast")
        let a = net.conv("image", 3, 5)
        let b = net.conv(net.pooled(a), 5, 5, kernel: 1)
        let sum = net.relu(net.node("Add", [net.conv(a, 5, 5), b]))
        let shifted = net.node("Add", [net.conv(sum, 5, 5), net.floats([5, 1, 1])])
        head(&net, net.relu(shifted), 5)
        try check(net)
    }

    @Test func aChainOfSums() throws {
        var net = SmallNetwork("chain")
        let (a, b, c) = (net.conv("image", 3, 5), net.conv("image", 3, 5), net.conv("image", 3, 5))
        head(&net, net.relu(net.node("Add", [c, net.node("Add", [a, b])])), 5)
        try check(net)
    }

    @Test func aClipAfterAConcatenationStandsAlone() throws {
        var net = SmallNetwork("concat")
        let (a, b) = (net.conv("image", 3, 4), net.conv("image", 3, 3))
        head(&net, net.clip(net.concat([a, b]), 0, 1), 7)
        #expect(try check(net).contains("clip"))
    }

    @Test func clipOfClip() throws {
        var net = SmallNetwork("clips")
        head(&net, net.clip(net.clip(net.conv("image", 3, 5), -1, 0.7), 0, 6), 5)
        try check(net)
    }

    @Test func aValueThatIsAlsoAnOutputOfTheGraphIsThere() throws {
        var net = SmallNetwork("outputs")
        let a = net.conv("image", 3, 5)
        let normal = net.batchNorm(a, 5)
        head(&net, net.relu(normal), 5)
        net.builder.output(a)
        net.builder.output(normal)
        try check(net)
        let network = try Network(net.model())
        let found = try network.run(pictures(2), dims: dims, outputs: [a, normal], on: device)
        #expect(found.map(\.name) == [a, normal])
    }

    @Test func theOrderOfTheFileDoesNotMatter() throws {
        let net = Style.all.first { $0.name == "ResNet" }!.network()
        let expected = try Network(net.model()).run(
            pictures(2), dims: dims, outputs: nil, gradient: 1, on: device)
        var random = SeededRandom("order")
        for _ in 0..<3 {
            var scrambled = net
            scrambled.builder.graph.node.shuffle(using: &random)
            let found = try Network(scrambled.model()).run(
                pictures(2), dims: dims, outputs: nil, gradient: 1, on: device)
            for (a, b) in zip(found, expected) { #expect(bitDifference(a.values, b.values) == nil) }
        }
    }

    @Test func deadNodesAreDropped() throws {
        var net = SmallNetwork("dead")
        let a = net.relu(net.conv("image", 3, 5))
        _ = net.conv(a, 5, 9)
        _ = net.node("Sigmoid", [net.conv(a, 5, 4)])
        head(&net, a, 5)
        #expect(try check(net) == ["convolution", "reduce_sum", "convolution"])
    }

    /// A convolution that was merged with the normalisation after it can still be asked for its own output.
    @Test func theOutputOfAMergedConvolution() throws {
        var net = SmallNetwork("merged")
        let x = net.relu(net.conv("image", 3, 5))
        let convolved = net.conv(x, 5, 7, bias: false)
        let normal = net.batchNorm(convolved, 7)
        head(&net, net.relu(normal), 7)
        let model = try net.model()
        let network = try Network(model)
        let input = pictures(2)
        let without = try network.run(input, dims: dims, outputs: nil, gradient: 2, on: device)
        let with = try network.run(
            input, dims: dims, outputs: [network.outputName, convolved], gradient: 2, on: device)
        #expect(bitDifference(with[0].values, without[0].values) == nil)
        #expect(bitDifference(with[2].values, without[1].values) == nil)
        let expected = try Evaluator(model).run(Array64(dims: dims, values: input.map(Double.init)))[
            convolved]!
        #expect(zip(with[1].values, expected.values).allSatisfy { abs(Double($0) - $1) < 1e-5 })

        // Its gradient is the normalisation's times the factor of each channel.
        let own = try network.run(
            input, dims: dims, outputs: nil, gradient: 2, target: convolved, on: device)[1]
        let after = try network.run(input, dims: dims, outputs: nil, gradient: 2, target: normal, on: device)[
            1]
        let inputs = model.graph.nodes.first { $0.opType == "BatchNormalization" }!.inputs
        let scale = try model.graph.initializers[inputs[1]]!.floats()
        let variance = try model.graph.initializers[inputs[4]]!.floats()
        let pixels = 14 * 14
        #expect(own.values.count == after.values.count && own.values.contains { $0 != 0 })
        for (i, pair) in zip(own.values, after.values).enumerated() {
            let c = i / pixels % 7
            #expect(
                abs(pair.0 - pair.1 * scale[c] / (variance[c] + 1e-3).squareRoot()) <= 1e-6 * abs(pair.1)
                    + 1e-9)
        }
    }

    /// A merged normalisation is a convolution, and has no room for another one.
    @Test func chainsOfNormalisations() throws {
        var random = SeededRandom("chains of normalisations")
        for seed in 0..<24 {
            var net = SmallNetwork("chain \(seed)")
            var x = "image"
            var channels = 3
            var asked: [String] = []
            for _ in 0..<2 + random.index(below: 6) {
                switch random.index(below: 5) {
                case 0:
                    let wider = 3 + random.index(below: 7)
                    x = net.conv(
                        x, channels, wider, kernel: random.index(below: 2) * 2 + 1,
                        bias: random.index(below: 2) == 0)
                    channels = wider
                    asked.append(x)
                case 1: x = net.relu(x)
                default:
                    x = net.batchNorm(x, channels)
                    asked.append(x)
                }
            }
            x = net.conv(x, channels, 5)
            asked.append(x)
            for _ in 0..<1 + random.index(below: 3) { x = net.batchNorm(x, 5) }
            head(&net, x, 5)
            let model = try net.model()
            let network = try Network(model)
            let input = pictures(2)
            let evaluator = Evaluator(model)
            let expected = try evaluator.run(Array64(dims: dims, values: input.map(Double.init)))
            let all = try network.run(input, dims: dims, outputs: asked + [network.outputName], on: device)
            let alone = try network.run(input, dims: dims, outputs: nil, on: device)
            #expect(bitDifference(all.last!.values, alone[0].values) == nil)
            for found in all {
                let right = expected[found.name]!.values
                let most = right.reduce(0) { max($0, abs($1)) }
                #expect(
                    zip(found.values, right).allSatisfy { abs(Double($0) - $1) <= 1e-5 * (1 + most) },
                    "chain \(seed), \(found.name)")
            }

            // Two ways to a gradient: from the values asked for down to the next, and to the input by differences.
            let gradient = try network.run(input, dims: dims, outputs: nil, gradient: 1, on: device)[1].values
            let step = 1e-4
            for _ in 0..<3 {
                let i = random.index(below: input.count)
                func score(_ change: Double) throws -> Double {
                    var moved = input.map(Double.init)
                    moved[i] += change
                    let logits = try evaluator.run(Array64(dims: dims, values: moved))[network.logitsName]!
                    let classes = logits.count / dims[0]
                    return (0..<dims[0]).reduce(0) { $0 + logits.values[$1 * classes + 1] }
                }
                let (down, here, up) = (try score(-step), try score(0), try score(step))
                // Not across the kink of a ReLU.
                guard abs(up + down - 2 * here) < 1e-9 else { continue }
                let slope = (up - down) / (2 * step)
                #expect(
                    abs(Double(gradient[i]) - slope) <= 1e-4 * (1 + abs(slope)), "chain \(seed), input \(i)")
            }
        }
    }

    /// Standardised weights, as timm exports them: a normalisation in training mode over constants is a constant.
    @Test(arguments: [false, true]) func standardisedWeights(_ areInPlanes: Bool) throws {
        let (outputs, channels, taps) = (5, 3, 9)
        var net = SmallNetwork("standardised")
        let weights = net.floats([outputs, channels, 3, 3], -1, 2)
        let gain = net.floats([outputs], 0.5, 1.5)
        let zeros = (0..<3).map { _ in net.floats([outputs], -0.2, 0.2) }
        let rows = net.node(
            "Reshape", [weights, net.ints(areInPlanes ? [1, 5, 9, 3] : [1, 5, -1])])
        let normal = net.node(
            "BatchNormalization", [rows, gain] + zeros, ["training_mode": 1, "epsilon": 1e-3])
        let standard = net.node("Reshape", [normal, net.ints([5, 3, 3, 3])])
        let convolved = net.node("Conv", ["image", standard], ["kernel_shape": [3, 3]])
        head(&net, net.relu(convolved), outputs)
        let model = try net.model()
        let network = try Network(model)
        let got = try network.run(pictures(2), dims: dims, outputs: [standard, convolved], on: device)
        func numbers(_ name: String) throws -> [Double] {
            try model.graph.initializers[name]!.floats().map(Double.init)
        }
        let (w, g, b) = (try numbers(weights), try numbers(gain), try numbers(zeros[0]))
        let row = channels * taps
        for o in 0..<outputs {
            let own = w[o * row..<(o + 1) * row]
            let mean = own.reduce(0, +) / Double(row)
            let variance = own.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(row)
            for (i, value) in own.enumerated() {
                let wanted = (value - mean) / (variance + Double(Float(1e-3))).squareRoot() * g[o] + b[o]
                #expect(abs(Double(got[0].values[o * row + i]) - wanted) < 1e-6)
            }
        }
        #expect(got[1].shape.dims[1] == outputs && got[1].values.contains { $0 != 0 })
    }

    /// Of Conv, BatchNormalization, BatchNormalization: the gradients of all three by the factors of their channels.
    @Test func theGradientOfAConvolutionBeforeTwoNormalisations() throws {
        var net = SmallNetwork("two normalisations")
        let convolved = net.conv("image", 3, 5)
        let first = net.batchNorm(convolved, 5)
        let second = net.batchNorm(first, 5)
        head(&net, net.relu(second), 5)
        let model = try net.model()
        let network = try Network(model)
        let gradients = try [convolved, first, second].map {
            try network.run(pictures(2), dims: dims, outputs: nil, gradient: 2, target: $0, on: device)[1]
        }
        let nodes = model.graph.nodes.filter { $0.opType == "BatchNormalization" }
        let area = gradients[0].shape.dims[2] * gradients[0].shape.dims[3]
        for (k, node) in nodes.enumerated() {
            let scale = try model.graph.initializers[node.inputs[1]]!.floats()
            let variance = try model.graph.initializers[node.inputs[4]]!.floats()
            #expect(gradients[k].values.contains { $0 != 0 })
            for (i, pair) in zip(gradients[k].values, gradients[k + 1].values).enumerated() {
                let c = i / area % 5
                let wanted = pair.1 * scale[c] / (variance[c] + 1e-3).squareRoot()
                #expect(abs(pair.0 - wanted) <= 1e-5 * abs(wanted) + 1e-9)
            }
        }
    }

    /// A gradient stops at its target, and a forward pass at the scores.
    @Test func theWalkGoesNoFurtherThanItMust() throws {
        let net = Style.all.first { $0.name == "ResNet" }!.network()
        let network = try Network(net.model())
        let last = try network.automaticLayer(network.layers(height: 14, width: 14)).layer.output
        var plan = try Planner(
            network, batch: 1, height: 14, width: 14, stored: [last], differentiated: [last])
        let forward = plan.tape.steps.count
        plan.tape.beginStage()
        let seed = plan.tape.input(plan.tape.shape(try plan.logits))
        _ = try plan.gradients(seed: seed, of: [last])
        // Through the fully connected layer, and spread over the pool's cells.
        #expect(plan.tape.steps.dropFirst(forward).map(\.kernel) == ["reverse_product", "scale"])
    }

    @Test func aFixedBatchInTheFileIsNotMeant() throws {
        for asNode in [false, true] {
            var net = SmallNetwork("fixed batch", input: [1, 3, 14, 14])
            var x = net.relu(net.conv("image", 3, 6, stride: 2))
            func shape(_ dims: [Int64]) -> String {
                guard asNode else { return net.ints(dims) }
                return net.node(
                    "Constant", [], ["value": .tensor(ONNXTensor(dims: [dims.count], ints: dims))])
            }
            x = net.node("Reshape", [x, shape([1, 2, 3, 7, 7])])
            x = net.node("Transpose", [x], ["perm": .ints([0, 2, 1, 3, 4])])
            x = net.node("Reshape", [x, shape([1, 6, 7, 7])])
            x = net.node("Reshape", [net.pooled(x), shape([1, -1])])
            net.output(net.gemm(x, 6, 6))
            let network = try Network(net.model())
            let all = pictures(5)
            let size = all.count / 5
            let together = try network.run(all, dims: [5, 3, 14, 14], outputs: nil, gradient: 1, on: device)
            #expect(together[0].shape == [5, 6])
            for i in 0..<5 {
                let alone = try network.run(
                    Array(all[i * size..<(i + 1) * size]), dims: [1, 3, 14, 14], outputs: nil, gradient: 1,
                    on: device)
                for (a, b) in zip(together, alone) {
                    let part = b.values.count
                    #expect(bitDifference(Array(a.values[i * part..<(i + 1) * part]), b.values) == nil)
                }
            }
        }
    }

    /// A Reshape to [1, …] means its shape where its input does not begin with the batch.
    @Test func aReshapeThatFoldsPicturesAndUnfoldsThem() throws {
        var net = SmallNetwork("folding", input: [1, 3, 8, 8])
        let rows = net.node("Reshape", ["image", net.ints([3, 64])])
        net.output(net.node("Reshape", [net.relu(rows), net.ints([1, -1])]))
        let network = try Network(net.model())
        let values = (0..<384).map { Float($0 % 7) - 2 }
        for batch in [1, 2] {
            let input = Array(values[..<(192 * batch)])
            let found = try network.run(
                input, dims: [batch, 3, 8, 8], outputs: nil, gradient: 5, on: device)
            #expect(found[0].shape == [batch, 192])
            #expect(found[0].values == input.map { max($0, 0) })
            #expect(
                found[1].values.indices.filter { found[1].values[$0] != 0 }
                    == (0..<batch).filter { input[192 * $0 + 5] > 0 }.map { 192 * $0 + 5 })
        }

        // A picture without a batch.
        var single = SmallNetwork("no batch", input: [3, 8, 8])
        let x = single.node("Reshape", ["image", single.ints([1, 3, 8, 8])])
        single.output(single.relu(x))
        let found = try Network(single.model()).run(
            Array(values[..<192]), dims: [3, 8, 8], outputs: nil, on: device)
        #expect(found[0].shape == [1, 3, 8, 8] && found[0].values == values[..<192].map { max($0, 0) })

        // Windows of Swin: cut, and put together again.
        var swin = SmallNetwork("windows", input: [1, 4, 4, 5])
        var y = swin.node("Reshape", ["image", swin.ints([1, 2, 2, 2, 2, 5])])
        y = swin.node("Transpose", [y], ["perm": .ints([0, 1, 3, 2, 4, 5])])
        y = swin.node("Reshape", [y, swin.ints([-1, 4, 5])])
        y = swin.node("Reshape", [swin.relu(y), swin.ints([1, 2, 2, 2, 2, 5])])
        y = swin.node("Transpose", [y], ["perm": .ints([0, 1, 3, 2, 4, 5])])
        swin.output(swin.node("Reshape", [y, swin.ints([1, 4, 4, 5])]))
        let windows = try Network(swin.model())
        for batch in [1, 3] {
            let input = Array(values[..<(80 * batch)])
            let found = try windows.run(input, dims: [batch, 4, 4, 5], outputs: nil, on: device)
            #expect(found[0].shape == [batch, 4, 4, 5] && found[0].values == input.map { max($0, 0) })
        }

        // What mixes pictures is refused.
        var mixed = SmallNetwork("mixed", input: [1, 3, 8, 8])
        let turned = mixed.node("Transpose", ["image"], ["perm": .ints([1, 0, 2, 3])])
        mixed.output(mixed.node("Reshape", [turned, mixed.ints([1, -1])]))
        let mixing = try Network(mixed.model())
        #expect(
            try mixing.run(Array(values[..<192]), dims: [1, 3, 8, 8], outputs: nil, on: device)[0].values
                == Array(values[..<192]))
        #expect {
            try mixing.run(values, dims: [2, 3, 8, 8], outputs: nil, on: device)
        } throws: { "\($0)".contains("--batch 1") && "\($0)".contains("Reshape") }
    }

    /// An error of a convolution that waits for its activation is the convolution's.
    @Test func aWaitingConvolutionIsNamedItself() throws {
        var net = SmallNetwork("waiting")
        let x = net.node("Conv", ["image", net.floats([4, 3, 1, 1]), net.floats([5])])
        let name = "(Conv)"
        net.output(net.relu(x))
        let network = try Network(net.model())
        #expect {
            try network.run(pictures(2), dims: dims, outputs: nil, on: device)
        } throws: { "\($0)".contains(name) && !"\($0)".contains("(Relu)") }
    }

    /// Outputs that are left out do not connect nodes, and parts keep their places.
    @Test func aSplitWhoseMiddlePartNobodyReads() throws {
        var net = SmallNetwork("split")
        let x = net.relu(net.conv("image", 3, 9))
        net.builder.node("Split", [x, net.ints([2, 3, 4])], ["first", "", "last"], ["axis": 1])
        head(&net, net.concat(["last", "first"]), 6)
        let model = try net.model()
        let network = try Network(model)
        let input = pictures(2)
        let found = try network.run(input, dims: dims, outputs: nil, gradient: 0, on: device)
        let expected = try Evaluator(model).run(Array64(dims: dims, values: input.map(Double.init)))[
            network.outputName]!
        #expect(zip(found[0].values, expected.values).allSatisfy { abs(Double($0) - $1) < 1e-5 })
        #expect(found[1].values.contains { $0 != 0 })
    }
}
