// Random ONNX networks over every operator of the list: network n of a seed is the same for ever.

import ONNX
import TestSupport

package struct RandomNetwork: Sendable {
    package let seed: Int, number: Int
    package private(set) var builder: ONNXBuilder
    package let opset: Int
    /// Of one picture, with its batch of 1.
    package let inputDims: [Int]
    /// Whether the file leaves the batch open; else it says 1.
    package let isOpen: Bool
    /// The graph in words, one line for each node.
    package private(set) var lines: [String] = []

    private var random: SeededRandom
    private var count = 0
    /// Multiplications that may still be spent.
    private var budget = 1_500_000

    /// A value, with its extents for one picture.
    private struct Item {
        var name: String, dims: [Int]
        var size: Int { dims.reduce(1, *) }
    }

    package init(seed: Int, number: Int) {
        (self.seed, self.number) = (seed, number)
        random = SeededRandom("random network \(seed) \(number)")
        opset =
            [7, 8, 9, 10, 11, 11, 12, 13, 13, 14, 15, 16, 17, 17, 18, 19, 20, 21, 22][
                random.index(below: 19)]
        isOpen = random.index(below: 3) > 0
        builder = ONNXBuilder(name: "random", opset: opset, irVersion: 8)
        let rank = [2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4][random.index(below: 14)]
        var dims = [1]
        switch rank {
        case 2: dims += [1 + random.index(below: 70)]
        case 3: dims += [1 + random.index(below: 30), 1 + random.index(below: 30)]
        default:
            let channels = [1, 2, 3, 3, 3, 4, 8, 16, 32, 1 + random.index(below: 70)]
            dims += [
                channels[random.index(below: 10)], 3 + random.index(below: 19), 3 + random.index(below: 19),
            ]
        }
        inputDims = dims
        let batch: ONNXDimension = isOpen ? "N" : 1
        builder.input("x", [batch] + dims.dropFirst().map { .fixed($0) })
        build()
    }

    package func model() throws -> ONNXModel { try builder.model(name: "network \(number) of seed \(seed)") }

    package var description: String {
        "Network \(number) of seed \(seed): operator set \(opset), x \(isOpen ? "N" : "1")"
            + inputDims.dropFirst().map { "×\($0)" }.joined() + "\n" + lines.joined(separator: "\n")
    }

    /// Three pictures, [3, …]: of ordinary numbers; with zeros of both signs, subnormal and small ones; with infinities and NaN, and in
    /// every other network with numbers so large that they overflow.
    package var pictures: [Float] {
        var random = SeededRandom("pictures \(seed) \(number)")
        let small: [Float] = [
            0, -0, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, Float(bitPattern: 0x1_0000),
            -Float(bitPattern: 0x20_0000),
            .leastNormalMagnitude, -.leastNormalMagnitude, 1e-20, -1e-20, 1e-6, 0.5, -3, 6, -8,
        ]
        let wild: [Float] = [.infinity, -.infinity, .nan]
        let huge: [Float] = [3e38, -3e38, .greatestFiniteMagnitude, 1e20, -1e19]
        let size = inputDims.reduce(1, *)
        return (0..<3 * size).map { i in
            let ordinary = random.float(-1.5, 1.5)
            let (dice, other) = (random.index(below: 61), random.index(below: 1 << 20))
            switch i / size {
            case 0: return ordinary
            case 1: return dice % 4 == 0 ? small[other % small.count] : ordinary
            default:
                // One at least.
                if dice == 0 || i == 2 * size { return wild[other % 3] }
                if overflows, dice < 6 { return huge[other % huge.count] }
                return dice < 12 ? small[other % small.count] : ordinary
            }
        }
    }
    package var overflows: Bool { number % 2 == 1 }

    // MARK: Choosing

    private mutating func chance(_ percent: Int) -> Bool { random.index(below: 100) < percent }
    private mutating func int(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + random.index(below: range.count)
    }
    private mutating func any<Element>(_ list: [Element]) -> Element { list[random.index(below: list.count)] }

    private mutating func fresh(_ stem: String) -> String {
        count += 1
        return "\(stem).\(count)"
    }

    // MARK: Nodes

    private mutating func nodes(
        _ type: String, _ inputs: [String], _ dims: [[Int]], _ attributes: [String: ONNXAttribute] = [:]
    ) -> [Item] {
        let stem = fresh(type.lowercased())
        let names = dims.indices.map { dims.count == 1 ? stem : "\(stem).\($0)" }
        builder.node(type, inputs, names, attributes, name: "\(type).\(count)")
        let shown = attributes.sorted { $0.key < $1.key }.map { " \($0.key)=\(Self.shown($0.value))" }
        lines.append(
            "  \(names.joined(separator: ", ")) = \(type)(\(inputs.joined(separator: ", ")))\(shown.joined()): "
                + dims.map { $0.map(String.init).joined(separator: "×") }.joined(separator: ", "))
        return zip(names, dims).map { Item(name: $0, dims: $1) }
    }

    private static func shown(_ attribute: ONNXAttribute) -> String {
        switch attribute {
        case .int(let value): "\(value)"
        case .float(let value): "\(value)"
        case .string(let value): value
        case .ints(let values): "\(values)"
        case .floats(let values): "\(values)"
        case .tensor(let tensor):
            tensor.elementCount < 9 ? "\(tensor.dims)\(try! tensor.floats())" : "\(tensor.dims)"
        default: "…"
        }
    }

    private mutating func node(
        _ type: String, _ inputs: [String], _ dims: [Int], _ attributes: [String: ONNXAttribute] = [:]
    ) -> Item { nodes(type, inputs, [dims], attributes)[0] }

    /// A constant: an initializer or a node.
    private mutating func constant(_ tensor: ONNXTensor) -> String {
        if chance(10) { return node("Constant", [], tensor.dims, ["value": .tensor(tensor)]).name }
        let name = fresh("c")
        builder.initializer(
            tensor.type.isFloatingPoint
                ? ONNXTensor(name: name, dims: tensor.dims, floats: try! tensor.floats())
                : ONNXTensor(name: name, dims: tensor.dims, ints: (try? tensor.ints()) ?? []))
        lines.append(
            "  \(name) = \(tensor.dims)" + (tensor.elementCount < 9 ? " \(try! tensor.floats())" : ""))
        return name
    }
    private mutating func floats(_ dims: [Int], _ low: Float = -1, _ high: Float = 1) -> String {
        let values = (0..<dims.reduce(1, *)).map { _ in random.float(low, high) }
        return constant(ONNXTensor(dims: dims, floats: values))
    }
    private mutating func ints(_ values: [Int]) -> String {
        if opset >= 12, chance(10) {
            return node("Constant", [], [values.count], ["value_ints": .ints(values)]).name
        }
        return constant(ONNXTensor(dims: [values.count], ints: values.map(Int64.init)))
    }
    private mutating func number(_ value: Float) -> String {
        if opset >= 12, chance(10) { return node("Constant", [], [], ["value_float": .float(value)]).name }
        return constant(ONNXTensor(dims: [], floats: [value]))
    }
    /// An axis as it is, or counted from the end.
    private mutating func axis(_ a: Int, _ rank: Int) -> Int { opset >= 11 && chance(30) ? a - rank : a }

    // MARK: Products

    private mutating func conv(
        _ x: Item, outputs: Int? = nil, kernel: [Int]? = nil, same: Bool = false, groups: Int? = nil
    ) -> Item {
        let (c, size) = (x.dims[1], [x.dims[2], x.dims[3]])
        var kernel =
            kernel
            ?? any([[3, 3], [3, 3], [3, 3], [3, 3], [1, 1], [1, 1], [1, 1], [int(1...7), int(1...7)]])
        if same { kernel = kernel.map { $0 % 2 == 0 ? $0 - 1 : $0 } }
        var strides = [1, 1]
        var dilations = [1, 1]
        if !same {
            if chance(35) {
                strides = chance(70) ? Array(repeating: int(2...5), count: 2) : [int(1...4), int(1...4)]
            }
        }
        if chance(12) { dilations = [int(1...3), int(1...3)] }
        var group = groups ?? 1
        var out = outputs ?? any([c, c, int(1...70), int(1...20), 16, 32, 48, 64])
        if groups == nil, outputs == nil, chance(25) {
            switch int(0...3) {
            case 0: (group, out) = (c, same ? c : c * (c < 20 ? int(1...2) : 1))
            case 1:
                let narrow = [4, 8, 16].filter { c % $0 == 0 }
                if !narrow.isEmpty { (group, out) = (c / any(narrow), c) }
            default:
                group = any((1...c).filter { c % $0 == 0 })
                out = same ? c : group * int(1...max(1, 40 / group))
            }
        }
        if same, outputs == nil { out = c }
        if out % group != 0 { group = 1 }

        var pads = [0, 0, 0, 0]
        var auto: String?
        func reach(_ d: Int) -> Int { dilations[d] * (kernel[d] - 1) + 1 }
        if same {
            for d in 0..<2 { (pads[d], pads[d + 2]) = (reach(d) / 2, reach(d) / 2) }
        } else {
            switch int(0...9) {
            case 0: auto = any(["SAME_UPPER", "SAME_LOWER", "VALID"])
            case 1, 2, 3: break
            case 4, 5: pads = (0..<4).map { _ in int(0...3) }
            default: for d in 0..<2 { (pads[d], pads[d + 2]) = (reach(d) / 2, reach(d) / 2) }
            }
        }
        // ONNX Runtime refuses dilations with SAME, and some of its versions strides beyond the kernel.
        if let name = auto, name.hasPrefix("SAME") {
            dilations = [1, 1]
            for d in 0..<2 { strides[d] = min(strides[d], kernel[d]) }
        }
        for d in 0..<2 where size[d] + (auto == nil ? pads[d] + pads[d + 2] : 0) < reach(d) {
            (kernel[d], dilations[d]) = (1, 1)
            if same { (pads[d], pads[d + 2]) = (0, 0) }
        }
        var extents = [0, 0]
        func place() {
            for d in 0..<2 {
                extents[d] =
                    auto?.hasPrefix("SAME") == true
                    ? (size[d] + strides[d] - 1) / strides[d]
                    : (size[d] + (auto == nil ? pads[d] + pads[d + 2] : 0) - reach(d)) / strides[d] + 1
            }
        }
        place()
        func work() -> Int {
            extents[0] * extents[1] * out * (c / group) * kernel[0] * kernel[1]
        }
        if outputs == nil, !same, group == 1 { while work() > budget / 2, out > 2 { out /= 2 } }
        if work() > budget, groups == nil, !same, auto == nil {
            strides = strides.map { $0 + 1 }
            place()
        }
        budget -= work()

        let terms = Float(c / group * kernel[0] * kernel[1])
        let bound = (any([3, 6]) / terms).squareRoot()
        var inputs = [x.name, floats([out, c / group] + kernel, -bound, bound)]
        if chance(60) { inputs.append(floats([out], -0.4, 0.4)) }
        var attributes: [String: ONNXAttribute] = [:]
        if chance(70) { attributes["kernel_shape"] = .ints(kernel) }
        if strides != [1, 1] || chance(50) { attributes["strides"] = .ints(strides) }
        if dilations != [1, 1] || chance(20) { attributes["dilations"] = .ints(dilations) }
        if group != 1 || chance(20) { attributes["group"] = .int(group) }
        if let auto {
            attributes["auto_pad"] = .string(auto)
        } else if pads != [0, 0, 0, 0] || chance(30) {
            attributes["pads"] = .ints(pads)
        }
        return node("Conv", inputs, [1, out] + extents, attributes)
    }

    private mutating func normalise(_ x: Item) -> Item {
        let c = [x.dims[1]]
        return node(
            "BatchNormalization",
            [
                x.name, floats(c, chance(20) ? -1.5 : 0.5, 1.5), floats(c, -0.4, 0.4), floats(c, -0.4, 0.4),
                floats(c, 0.4, 1.6),
            ], x.dims, chance(50) ? ["epsilon": any([1e-3, 1e-5, 0.1])] : [:])
    }

    /// Rows with a constant matrix, along the last dimension.
    private mutating func dense(_ x: Item, _ columns: Int) -> Item {
        let terms = x.dims.last!
        let bound = (3 / Float(terms)).squareRoot()
        budget -= x.size * columns
        let dims = Array(x.dims.dropLast()) + [columns]
        guard x.dims.count == 2, chance(75) else {
            let y = node("MatMul", [x.name, floats([terms, columns], -bound, bound)], dims)
            return chance(50)
                ? node("Add", chance(50) ? [y.name, floats([columns])] : [floats([columns]), y.name], dims)
                : y
        }
        var attributes: [String: ONNXAttribute] = [:]
        let transposed = chance(60)
        if transposed { attributes["transB"] = 1 }
        if chance(20) { attributes["alpha"] = .float(random.float(0.5, 2)) }
        if chance(20) { attributes["beta"] = .float(random.float(-2, 2)) }
        var inputs = [x.name, floats(transposed ? [columns, terms] : [terms, columns], -bound, bound)]
        if opset < 11 || chance(80) {
            inputs.append(floats(any([[columns], [columns], [columns], [1], [1, columns], []]), -0.4, 0.4))
        }
        return node("Gemm", inputs, dims, attributes)
    }

    /// A product of activations: x · something of x.
    private mutating func attention(_ x: Item) -> Item {
        let rank = x.dims.count
        var order = Array(0..<rank)
        order.swapAt(rank - 1, rank - 2)
        let turned = transpose(x, order)
        var scores = node(
            "MatMul", [x.name, turned.name], Array(x.dims.dropLast()) + [x.dims[rank - 2]])
        budget -= 2 * x.size * x.dims[rank - 2]
        scores = node("Mul", [scores.name, number(1 / Float(x.dims[rank - 1]).squareRoot())], scores.dims)
        scores = softmax(scores, lastAxis: true)
        return node("MatMul", [scores.name, x.name], x.dims)
    }

    // MARK: Functions of one number

    private mutating func binary(_ type: String, _ a: Item, _ constant: Float) -> Item {
        node(type, [a.name, number(constant)], a.dims)
    }

    private mutating func clip(_ x: Item, _ low: Float?, _ high: Float?) -> Item {
        if opset < 11 {
            var attributes: [String: ONNXAttribute] = [:]
            if let low { attributes["min"] = .float(low) }
            if let high { attributes["max"] = .float(high) }
            return node("Clip", [x.name], x.dims, attributes)
        }
        var inputs = [x.name]
        if low != nil || high != nil { inputs.append(low.map { number($0) } ?? "") }
        if let high { inputs.append(number(high)) }
        return node("Clip", inputs, x.dims)
    }

    private mutating func activate(_ x: Item) -> Item {
        func plain(_ type: String, _ attributes: [String: ONNXAttribute] = [:]) -> Item {
            node(type, [x.name], x.dims, attributes)
        }
        switch int(0...26) {
        case 0...5: return plain("Relu")
        case 6: return plain("LeakyRelu", chance(70) ? ["alpha": any([0.1, 0.25, 0.01])] : [:])
        case 7, 8:
            let c = x.dims[1]
            let spread = x.dims.dropFirst(2).map { _ in 1 }
            return node(
                "PRelu",
                [
                    x.name,
                    floats(any([[c] + spread, [1], [1, c] + spread, Array(x.dims.dropFirst())]), -0.5, 1),
                ],
                x.dims)
        case 9: return clip(x, 0, 6)
        case 10: return clip(x, any([nil, -0.5, -1]), any([nil, 0.75, 1]))
        case 11: return plain("Sigmoid")
        case 12:
            return plain("HardSigmoid", chance(50) ? ["alpha": .float(1 / 6), "beta": 0.5] : [:])
        case 13:
            if opset >= 14 { return plain("HardSwish") }
            let gate = plain("HardSigmoid", ["alpha": .float(1 / 6), "beta": 0.5])
            return node("Mul", [x.name, gate.name], x.dims)
        case 14: return plain("Tanh")
        case 15: return plain("Elu", chance(50) ? ["alpha": any([0.5, 1.5])] : [:])
        case 16:
            guard opset >= 9 else { return plain("Tanh") }
            // GELU.
            let inner = node("Erf", [binary("Div", x, 1.4142135).name], x.dims)
            return node(
                "Mul", [node("Mul", [x.name, binary("Add", inner, 1).name], x.dims).name, number(0.5)], x.dims
            )
        case 17: return plain("Abs")
        case 18: return plain("Neg")
        case 19:
            // Swish.
            return node("Mul", [x.name, plain("Sigmoid").name], x.dims)
        case 20:
            let bounded = chance(50) ? plain("Tanh") : clip(x, -2, 1.5)
            return node("Exp", [bounded.name], x.dims)
        case 21:
            let positive = binary("Add", plain("Abs"), 0.5)
            return node("Log", [positive.name], x.dims)
        case 22:
            let positive = binary(
                "Add", chance(50) ? plain("Abs") : node("Mul", [x.name, x.name], x.dims), 0.25)
            return node("Sqrt", [positive.name], x.dims)
        case 23:
            let below = binary("Add", plain("Sigmoid"), 0.5)
            return node("Div", chance(50) ? [x.name, below.name] : [number(1), below.name], x.dims)
        case 24: return node(any(["Identity", "Dropout"]), [x.name], x.dims)
        case 25: return plain("Cast", ["to": 1])
        default:
            // Softplus.
            let power = node("Exp", [clip(x, -3, 3).name], x.dims)
            return node("Log", [binary("Add", power, 1).name], x.dims)
        }
    }

    private mutating func softmax(_ x: Item, lastAxis: Bool = false) -> Item {
        let rank = x.dims.count
        // Over the batch only where a picture is alone; never here.
        let a = lastAxis ? rank - 1 : int(1...rank - 1)
        return node(
            chance(75) ? "Softmax" : "LogSoftmax", [x.name], x.dims,
            a == 1 && opset < 13 && chance(50) || a == rank - 1 && opset >= 13 && chance(50)
                ? [:] : ["axis": .int(axis(a, rank))])
    }

    // MARK: Arithmetic with constants

    private mutating func arithmetic(_ x: Item) -> Item {
        let type = any(["Add", "Add", "Sub", "Mul", "Div"])
        let rank = x.dims.count
        // Some extents are 1, leading ones may be left out.
        var dims = x.dims.map { chance(50) ? $0 : 1 }
        dims[0] = 1
        dims.removeFirst(chance(60) ? int(1...rank) : 0)
        if opset >= 9, chance(10) {
            // One number, in the shape that x turns out to have.
            let shape = node("Shape", [x.name], [rank])
            let value = ONNXTensor(dims: [1], floats: [random.float(0.5, 2)])
            let filled = node("ConstantOfShape", [shape.name], x.dims, ["value": .tensor(value)])
            return node(type, [x.name, filled.name], x.dims)
        }
        let other = type == "Div" ? floats(dims, 0.5, 2) : floats(dims)
        if type == "Div" || chance(70) { return node(type, [x.name, other], x.dims) }
        return node(type, [other, x.name], x.dims)
    }

    /// x with a part of itself that broadcasts: a mean over some axes, or one gate for each channel.
    private mutating func withPart(_ x: Item) -> Item {
        let part = reduce(x, keep: true)
        let gate = chance(50) ? node("Sigmoid", [part.name], part.dims) : part
        let type = any(["Add", "Sub", "Mul"])
        return node(type, chance(50) ? [x.name, gate.name] : [gate.name, x.name], x.dims)
    }

    /// A mean or a sum over some axes, never the batch.
    private mutating func reduce(_ x: Item, keep: Bool? = nil) -> Item {
        let rank = x.dims.count
        var axes = (1..<rank).filter { _ in chance(50) }
        if axes.isEmpty { axes = [int(1...rank - 1)] }
        if rank == 4, chance(50) { axes = [2, 3] }
        let size = axes.reduce(1) { $0 * x.dims[$1] }
        let type = size <= 12 && chance(40) ? "ReduceSum" : "ReduceMean"
        let keeps = keep ?? (axes.count == rank - 1 || chance(50))
        let shown = axes.map { axis($0, rank) }
        var attributes: [String: ONNXAttribute] = [:]
        if !keeps || chance(50) { attributes["keepdims"] = keeps ? 1 : 0 }
        var inputs = [x.name]
        if opset >= (type == "ReduceSum" ? 13 : 18) {
            inputs.append(ints(shown))
        } else {
            attributes["axes"] = .ints(shown)
        }
        let dims =
            keeps
            ? x.dims.indices.map { axes.contains($0) ? 1 : x.dims[$0] }
            : x.dims.indices.filter { !axes.contains($0) }.map { x.dims[$0] }
        return node(type, inputs, dims, attributes)
    }

    // MARK: Pools

    private mutating func pool(_ x: Item, same: Bool = false) -> Item {
        let size = [x.dims[2], x.dims[3]]
        let isMax = chance(50)
        var kernel = [int(1...4), int(1...4)]
        if chance(50) || same { kernel = chance(50) ? [3, 3] : same ? [1, 3] : [2, 2] }
        var strides = same ? [1, 1] : chance(60) ? [2, 2] : [int(1...3), int(1...3)]
        var dilations = [1, 1]
        if !same, opset >= (isMax ? 10 : 19), chance(20) { dilations = [int(1...2), int(1...2)] }
        var pads = [0, 0, 0, 0]
        var auto: String?
        var ceil = false
        if same {
            pads = [kernel[0] / 2, kernel[1] / 2, kernel[0] / 2, kernel[1] / 2]
        } else {
            switch int(0...5) {
            case 0 where dilations == [1, 1]: auto = any(["SAME_UPPER", "SAME_LOWER", "VALID"])
            case 1, 2: break
            default: pads = [0, 1, 0, 1].map { int(0...kernel[$0] - 1) }
            }
            ceil = auto == nil && opset >= 10 && chance(35)
        }
        for d in 0..<2 {
            func reach() -> Int { dilations[d] * (kernel[d] - 1) + 1 }
            if size[d] < dilations[d] || size[d] + (auto == nil ? pads[d] + pads[d + 2] : 0) < reach() {
                (kernel[d], dilations[d], strides[d], pads[d], pads[d + 2]) = (1, 1, 1, 0, 0)
            }
        }
        // Where a further window would begin in the last pad, and so is dropped, ONNX Runtime infers another shape than it computes.
        for d in 0..<2 where ceil {
            let room = size[d] + pads[d] + pads[d + 2] - dilations[d] * (kernel[d] - 1) - 1
            if room % strides[d] != 0, (room / strides[d] + 1) * strides[d] >= size[d] + pads[d] {
                ceil = false
            }
        }
        // As of convolutions.
        if auto?.hasPrefix("SAME") == true { for d in 0..<2 { strides[d] = min(strides[d], kernel[d]) } }
        var extents = [0, 0]
        for d in 0..<2 {
            if auto?.hasPrefix("SAME") == true {
                extents[d] = (size[d] + strides[d] - 1) / strides[d]
                continue
            }
            let room = size[d] + pads[d] + pads[d + 2] - dilations[d] * (kernel[d] - 1) - 1
            extents[d] = room / strides[d] + 1
            if ceil, room % strides[d] != 0, extents[d] * strides[d] < size[d] + pads[d] { extents[d] += 1 }
        }
        var attributes: [String: ONNXAttribute] = ["kernel_shape": .ints(kernel)]
        if strides != [1, 1] || chance(50) { attributes["strides"] = .ints(strides) }
        if dilations != [1, 1] { attributes["dilations"] = .ints(dilations) }
        if let auto {
            attributes["auto_pad"] = .string(auto)
        } else if pads != [0, 0, 0, 0] {
            attributes["pads"] = .ints(pads)
        }
        if ceil { attributes["ceil_mode"] = 1 }
        if !isMax, chance(50) { attributes["count_include_pad"] = any([0, 1]) }
        return node(isMax ? "MaxPool" : "AveragePool", [x.name], x.dims.prefix(2) + extents, attributes)
    }

    // MARK: Shapes

    private mutating func transpose(_ x: Item, _ order: [Int]) -> Item {
        node("Transpose", [x.name], order.map { x.dims[$0] }, ["perm": .ints(order)])
    }

    /// A Reshape that keeps pictures apart, with the batch written in one of the ways that exporters have.
    private mutating func reshape(_ x: Item, _ dims: [Int]) -> Item {
        var wanted = dims
        switch int(0...4) {
        case 0: wanted[0] = -1
        case 1 where !isOpen: wanted[0] = 1
        case 2:
            // The batch is taken from x; PyTorch does so.
            let shape = node("Shape", [x.name], [x.dims.count])
            var batch = node("Gather", [shape.name, ints([0])], [1], ["axis": 0])
            if chance(50), opset >= 10 {
                batch = node("Slice", [shape.name, ints([0]), ints([1])], [1])
            }
            let parts = [batch.name, ints(Array(dims.dropFirst()))]
            let list = node("Concat", parts, [dims.count], ["axis": 0])
            return node("Reshape", [x.name, list.name], dims)
        default:
            wanted[0] = 0
            let open = int(1...dims.count)
            if open < dims.count { wanted[open] = -1 }
        }
        // 0 keeps an extent that is the same in both.
        for d in 1..<dims.count
        where d < x.dims.count && dims[d] == x.dims[d] && wanted[d] != -1 && chance(30) {
            wanted[d] = 0
        }
        return node("Reshape", [x.name, ints(wanted)], dims)
    }

    private mutating func unsqueeze(_ x: Item, at axes: [Int]) -> Item {
        var dims = x.dims
        for a in axes.sorted() { dims.insert(1, at: a) }
        let shown = axes.map { axis($0, dims.count) }
        return opset < 13
            ? node("Unsqueeze", [x.name], dims, ["axes": .ints(shown)])
            : node("Unsqueeze", [x.name, ints(shown)], dims)
    }

    private mutating func squeeze(_ x: Item, _ axes: [Int]) -> Item {
        let dims = x.dims.indices.filter { !axes.contains($0) }.map { x.dims[$0] }
        let shown = axes.map { axis($0, x.dims.count) }
        return opset < 13
            ? node("Squeeze", [x.name], dims, ["axes": .ints(shown)])
            : node("Squeeze", [x.name, ints(shown)], dims)
    }

    private mutating func flatten(_ x: Item) -> Item {
        let dims = [1, x.size]
        if x.dims.count > 2, chance(30) { return reshape(x, dims) }
        return node("Flatten", [x.name], dims, chance(50) ? ["axis": .int(1)] : [:])
    }

    /// Four dimensions of what has fewer or more.
    private mutating func image(_ x: Item) -> Item {
        let d = x.dims
        switch d.count {
        case 4: return x
        case 3: return unsqueeze(x, at: [any([1, 2, 3])])
        case 2:
            let divisors = (1...d[1]).filter { d[1] % $0 == 0 && $0 <= 70 }
            let c = any(divisors)
            let rows = any((1...d[1] / c).filter { d[1] / c % $0 == 0 })
            if c == d[1], chance(50) { return unsqueeze(x, at: [2, 3]) }
            return reshape(x, [1, c, rows, d[1] / c / rows])
        default: return reshape(x, [1, d[1], d[2], d.dropFirst(3).reduce(1, *)])
        }
    }

    private mutating func slice(_ x: Item) -> Item {
        let rank = x.dims.count
        var axes = (1..<rank).filter { x.dims[$0] > 1 && chance(50) }
        if axes.isEmpty { axes = [int(1...rank - 1)] }
        var (starts, ends, steps, dims) = ([Int](), [Int](), [Int](), x.dims)
        for a in axes {
            let extent = x.dims[a]
            let step = opset >= 10 && chance(40) ? any([2, 3, -1, -2]) : 1
            let first = random.index(below: extent)
            if step > 0 {
                let last = first + int(1...extent - first)
                starts.append(chance(30) ? first - extent : first)
                ends.append(last == extent && chance(50) ? Int(Int32.max) : last)
                dims[a] = (last - first + step - 1) / step
            } else {
                // Down to the first element.
                starts.append(first)
                ends.append(-extent - 1)
                dims[a] = first / -step + 1
            }
            steps.append(step)
        }
        let shown = axes.map { axis($0, rank) }
        if opset < 10 {
            return node(
                "Slice", [x.name], dims,
                ["starts": .ints(starts), "ends": .ints(ends), "axes": .ints(axes)])
        }
        var inputs = [x.name, ints(starts), ints(ends), ints(shown)]
        if steps.contains(where: { $0 != 1 }) || chance(30) { inputs.append(ints(steps)) }
        return node("Slice", inputs, dims)
    }

    private mutating func split(_ x: Item) -> Item {
        let rank = x.dims.count
        let wide = (1..<rank).filter { x.dims[$0] > 1 }
        guard !wide.isEmpty else { return x }
        let a = any(wide)
        let extent = x.dims[a]
        let count = min(extent, int(2...3))
        var sizes = Array(repeating: extent / count, count: count)
        sizes[count - 1] += extent % count
        var listed = true
        if extent % count == 0 {
            listed = chance(60)
        } else if chance(50) {
            sizes[0] += 1
            sizes[count - 1] -= 1
            if sizes[count - 1] == 0 { sizes = [extent] }
        }
        var attributes: [String: ONNXAttribute] = ["axis": .int(axis(a, rank))]
        var inputs = [x.name]
        if listed {
            if opset >= 13 { inputs.append(ints(sizes)) } else { attributes["split"] = .ints(sizes) }
        } else if opset >= 18 {
            attributes["num_outputs"] = .int(sizes.count)
        }
        let shapes = sizes.map { size in
            var dims = x.dims
            dims[a] = size
            return dims
        }
        var parts = nodes("Split", inputs, shapes, attributes)
        // One that nobody reads. (It keeps its name: ONNX Runtime crashes where a part is left out.)
        if parts.count == 3, chance(30) { parts.remove(at: 1) }
        parts[0] = activate(parts[0])
        if parts.count == 1 || chance(25) { return parts[0] }
        if chance(50) { parts.reverse() }
        return concat(parts, a)
    }

    private mutating func concat(_ parts: [Item], _ a: Int) -> Item {
        var dims = parts[0].dims
        dims[a] = parts.reduce(0) { $0 + $1.dims[a] }
        return node("Concat", parts.map(\.name), dims, ["axis": .int(axis(a, dims.count))])
    }

    private mutating func gather(_ x: Item) -> Item {
        let a = int(1...x.dims.count - 1)
        let extent = x.dims[a]
        var index = random.index(below: extent)
        if opset >= 11, chance(30) { index -= extent }
        var dims = x.dims
        if chance(50) {
            dims[a] = 1
            return node("Gather", [x.name, ints([index])], dims, ["axis": .int(axis(a, dims.count))])
        }
        let shown = axis(a, dims.count)
        dims.remove(at: a)
        let scalar = constant(ONNXTensor(dims: [], ints: [Int64(index)]))
        return node("Gather", [x.name, scalar], dims, ["axis": .int(shown)])
    }

    private mutating func pad(_ x: Item) -> Item {
        let rank = x.dims.count
        let mode = any(
            opset >= 19 ? ["constant", "reflect", "edge", "wrap"] : ["constant", "reflect", "edge"])
        var pads = [Int](repeating: 0, count: 2 * rank)
        for d in max(1, rank - 2)..<rank {
            // Mirrors and repetitions need something to repeat.
            let most = mode == "reflect" ? min(3, x.dims[d] - 1) : mode == "wrap" ? min(3, x.dims[d]) : 3
            (pads[d], pads[d + rank]) = (int(0...most), int(0...most))
        }
        let dims = (0..<rank).map { x.dims[$0] + pads[$0] + pads[$0 + rank] }
        let value: Float? = mode == "constant" && chance(50) ? random.float() : nil
        if opset < 11 {
            var attributes: [String: ONNXAttribute] = ["pads": .ints(pads)]
            if mode != "constant" || chance(50) { attributes["mode"] = .string(mode) }
            if let value { attributes["value"] = .float(value) }
            return node("Pad", [x.name], dims, attributes)
        }
        var inputs = [x.name, ints(pads)]
        if opset >= 18, chance(50) {
            let axes = Array(max(1, rank - 2)..<rank)
            inputs[1] = ints(axes.map { pads[$0] } + axes.map { pads[$0 + rank] })
            inputs += [value.map { number($0) } ?? "", ints(axes.map { axis($0, rank) })]
        } else if let value {
            inputs.append(number(value))
        }
        return node("Pad", inputs, dims, mode == "constant" ? [:] : ["mode": .string(mode)])
    }

    // MARK: Blocks

    /// What keeps the extents.
    private mutating func branch(_ x: Item, outputs: Int? = nil) -> Item {
        guard x.dims.count == 4 else {
            return activate(x.dims.count == 2 && chance(50) ? dense(x, x.dims[1]) : x)
        }
        switch int(0...5) {
        case 0...2:
            var y = conv(x, outputs: outputs, same: true)
            for _ in 0..<any([0, 0, 1, 1, 2]) { y = normalise(y) }
            return chance(60) ? activate(y) : y
        case 3: return pool(x, same: true)
        default: return activate(x)
        }
    }

    private mutating func residual(_ x: Item) -> Item {
        var y = x
        for _ in 0..<int(1...2) {
            y = conv(y, outputs: x.dims[1], kernel: chance(70) ? [3, 3] : [1, 1], same: true)
            for _ in 0..<any([0, 1, 1, 1, 2, 3]) { y = normalise(y) }
            if chance(40) { y = activate(y) }
        }
        let short = chance(70) ? x : conv(x, outputs: x.dims[1], kernel: [1, 1], same: true)
        let sum = node("Add", chance(50) ? [y.name, short.name] : [short.name, y.name], y.dims)
        return chance(60) ? node("Relu", [sum.name], sum.dims) : chance(50) ? clip(sum, 0, 6) : sum
    }

    /// A wide 3×3 layer, as Winograd's rule wants it, and a sum that may take its term's place.
    private mutating func wide(_ x: Item) -> Item {
        let channels = any([32, 32, 48, 64])
        let cost = x.dims[2] * x.dims[3] * channels * (x.dims[1] + 9 * channels)
        guard x.dims[2] > 3, x.dims[3] > 3, cost < 4_000_000 else { return residual(x) }
        var y = conv(x, outputs: channels, kernel: [1, 1], same: true)
        if chance(50) { y = node("Relu", [y.name], y.dims) }
        return residual(y)
    }

    private mutating func squeezeAndExcite(_ x: Item) -> Item {
        let c = x.dims[1]
        var gate = node("GlobalAveragePool", [x.name], [1, c, 1, 1])
        gate = activate(conv(gate, outputs: int(1...8), kernel: [1, 1], same: true))
        gate = conv(gate, outputs: c, kernel: [1, 1], same: true)
        gate = node(any(["Sigmoid", "HardSigmoid"]), [gate.name], gate.dims)
        return node("Mul", chance(50) ? [x.name, gate.name] : [gate.name, x.name], x.dims)
    }

    private mutating func shuffle(_ x: Item) -> Item {
        let d = x.dims
        let groups = (2...max(2, d[1])).filter { d[1] % $0 == 0 }
        if d[2] % 2 == 0, d[3] % 2 == 0, chance(50) {
            // Space to depth.
            var y = reshape(x, [1, d[1], d[2] / 2, 2, d[3] / 2, 2])
            y = transpose(y, [0, 3, 5, 1, 2, 4])
            return reshape(y, [1, 4 * d[1], d[2] / 2, d[3] / 2])
        }
        guard let g = groups.isEmpty ? nil : any(groups) else { return x }
        var y = reshape(x, [1, g, d[1] / g, d[2], d[3]])
        y = transpose(y, [0, 2, 1, 3, 4])
        return reshape(y, d)
    }

    /// A row of tokens and back.
    private mutating func tokens(_ x: Item) -> Item {
        let d = x.dims
        var y = reshape(x, [1, d[1], d[2] * d[3]])
        y = transpose(y, [0, 2, 1])
        for _ in 0..<int(1...2) {
            switch int(0...3) {
            case 0: y = dense(y, int(1...30))
            case 1 where y.dims[1] <= 150: y = attention(y)
            case 2:
                // A layer normalisation in parts.
                let mean = last(y)
                let centred = node("Sub", [y.name, mean.name], y.dims)
                let square = node("Mul", [centred.name, centred.name], y.dims)
                let root = node("Sqrt", [binary("Add", last(square), 0.1).name], mean.dims)
                y = node("Div", [centred.name, root.name], y.dims)
                // Trained ones have a scale and a bias; then they are known for what they are.
                if chance(60) {
                    let own = [y.dims[2]]
                    y = node("Mul", [y.name, floats(own, 0.5, 1.5)], y.dims)
                    if chance(70) { y = node("Add", [floats(own, -0.5, 0.5), y.name], y.dims) }
                }
            default: y = activate(y)
            }
        }
        y = transpose(y, [0, 2, 1])
        return reshape(y, [1, y.dims[1], d[2], d[3]])
    }

    /// The mean over the last axis, which stays.
    private mutating func last(_ x: Item) -> Item {
        let axis = opset >= 11 && chance(70) ? -1 : x.dims.count - 1
        let dims = Array(x.dims.dropLast()) + [1]
        return opset < 18
            ? node("ReduceMean", [x.name], dims, ["axes": .ints([axis])])
            : node("ReduceMean", [x.name, ints([axis])], dims)
    }

    private mutating func step(_ x: Item) -> Item {
        let isImage = x.dims.count == 4
        if isImage {
            switch int(0...99) {
            case 0...17:
                var y = conv(x)
                for _ in 0..<any([0, 0, 1, 1, 1, 2, 3]) { y = normalise(y) }
                return chance(70) ? activate(y) : y
            case 18...25: return residual(x)
            case 26...33: return wide(x)
            case 34...42: return pool(x)
            case 43...46: return squeezeAndExcite(x)
            case 47...50: return shuffle(x)
            case 51...54: return tokens(x)
            case 55...57:
                var attributes: [String: ONNXAttribute] = ["size": .int(any([1, 3, 5, 7]))]
                if chance(70) { attributes["alpha"] = .float(random.float(0.1, 1)) }
                if chance(50) { attributes["beta"] = .float(random.float(0.3, 1)) }
                if chance(50) { attributes["bias"] = .float(random.float(0.5, 2)) }
                return node("LRN", [x.name], x.dims, attributes)
            case 58...61:
                return transpose(x, any([[0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2], [0, 2, 1, 3]]))
            case 62...65: return pad(x)
            case 66...68: return normalise(x)
            case 69: return node("GlobalMaxPool", [x.name], [1, x.dims[1], 1, 1])
            default: break
            }
        }
        switch int(0...12) {
        case 0: return activate(x)
        case 1: return arithmetic(x)
        case 2: return withPart(x)
        case 3: return slice(x)
        case 4: return split(x)
        case 5: return x.dims.count > 2 ? gather(x) : activate(x)
        case 6:
            let branches = [branch(x), branch(x)] + (chance(30) ? [x] : [])
            let same = branches.filter { $0.dims.dropFirst(2) == x.dims.dropFirst(2) }
            let a = 1
            return concat(same.isEmpty ? [x, x] : same, a)
        case 7:
            let parts = [x, branch(x), branch(x)].prefix(int(2...3)).filter { $0.dims == x.dims }
            if chance(40) || parts.count == 3 { return node("Sum", parts.map(\.name), x.dims) }
            let other = parts.count > 1 ? parts[1] : x
            return node(any(["Add", "Sub", "Mul"]), [x.name, other.name], x.dims)
        case 8: return x.dims.count == 3 && x.dims[1] < 150 ? attention(x) : softmax(x)
        case 9 where x.dims.count > 2 && x.dims.dropFirst().contains(1):
            return squeeze(x, [any((1..<x.dims.count).filter { x.dims[$0] == 1 })])
        case 10 where x.dims.count < 4: return dense(x, int(1...40))
        case 11 where x.dims.count > 2: return reduce(x)
        default:
            if x.dims.count == 2 { return normalise(x) }
            return x.dims.count < 4 || x.dims.count > 4 ? image(x) : activate(x)
        }
    }

    private mutating func build() {
        var x = Item(name: "x", dims: inputDims)
        if chance(20) { x = binary("Div", binary("Sub", x, 0.1), 0.5) }
        if x.dims.count != 4, chance(70) { x = image(x) }
        for _ in 0..<int(2...9) {
            let y = step(x)
            // What grew too large is thinned out.
            if y.dims.count <= 5, y.size <= 24_000, budget > 0 { x = y } else if budget <= 0 { break }
        }
        if chance(8), x.dims.count == 4 {
            // Somebody else's output, in the middle.
            x = activate(conv(x, outputs: int(1...12), kernel: [1, 1], same: true))
            builder.output(x.name, nil)
            let aside = builder.graph.output.removeLast()
            x = head(x)
            builder.graph.output.append(aside)
            return
        }
        _ = head(x)
    }

    /// The scores.
    private mutating func head(_ last: Item) -> Item {
        var x = last
        if x.dims.count == 4, chance(75) || x.size > 3000 {
            switch int(0...3) {
            case 0: x = node("GlobalMaxPool", [x.name], [1, x.dims[1], 1, 1])
            case 1:
                let inputs = opset < 18 ? [x.name] : [x.name, ints([2, 3])]
                var attributes: [String: ONNXAttribute] = ["keepdims": 0]
                if opset < 18 { attributes["axes"] = [2, 3] }
                x = node("ReduceMean", inputs, [1, x.dims[1]], attributes)
            default: x = node("GlobalAveragePool", [x.name], [1, x.dims[1], 1, 1])
            }
        }
        if x.dims.count == 4, x.dims[2] == 1, x.dims[3] == 1, chance(40) {
            x = conv(x, outputs: int(1...12), kernel: [1, 1], same: true)
            x = chance(50) ? squeeze(x, [2, 3]) : flatten(x)
        } else {
            if x.dims.count != 2 { x = flatten(x) }
            if chance(30) { x = activate(dense(x, int(4...40))) }
            x = dense(x, chance(5) ? 1 : int(2...12))
        }
        let logits = x
        switch int(0...9) {
        case 0: x = node("Softmax", [x.name], x.dims, ["axis": 1])
        case 1: x = node("LogSoftmax", [x.name], x.dims, ["axis": 1])
        case 2: x = node("Sigmoid", [x.name], x.dims)
        case 3: x = node("Identity", [x.name], x.dims)
        case 4: x = node("Dropout", [x.name], x.dims)
        default: break
        }
        builder.output(x.name, [isOpen ? "N" : 1, .fixed(x.dims[1])])
        return logits
    }
}
