// Where in the picture the numbers of a value come from: how tokens are found to be the cells of an image.
//
// A walk over the network with places instead of numbers. Each element carries a weight m and m times its place (y, x), 0 … 1 down and across
// the picture; the three travel one after the other. What only moves numbers moves these; where numbers meet they meet too; a product with
// trained weights takes the mean over the row that it sums. A value whose places then form a lattice is a grid, in whatever order its tokens lie: rows of
// patches, windows, merged patches. What is made of constants alone, as class tokens are, has m = 0: it stands for no place.
//
// An image that only windows slide over keeps its places; behind what moves its cells, such as a mirror, a shift or a crop, they are followed too.

import CMicrokernels
import Kernels

/// What a value is to the picture.
enum GridForm: Hashable, Sendable {
    /// [N, C, H, W].
    case image
    case tokens(TokenGrid)
    /// Its elements have no places that would form a grid.
    case none
}

/// The forms of a network's values at a size of picture.
struct Positions: Sendable {
    let forms: [String: GridForm]
    /// Whether the scores depend on cells only as far as they reach tokens that are none, such as a class token.
    let endsInExtraTokens: Bool

    /// What becomes of a mean beside what it is added to: the residual stream keeps its own places.
    fileprivate static let share: Float = 0.125
}

extension Network {
    /// Whether there is anything in it but images, by what its operators do on the way to the score.
    fileprivate var mayHoldTokens: Bool {
        path(from: [inputName]).contains { i in
            let node = nodes[i]
            if node.operation is Transpose { return true }
            return node.operation is MatMul && node.reads.allSatisfy { constants[$0] == nil }
        }
    }

    /// Whether an operator on the way to the score may put cells of an image where others were, or takes some away.
    /// - Parameter isOfTokens: whether there are tokens: then cells go into windows and rows in many ways, and come back; only mirrors count.
    fileprivate func movesCells(_ node: NetworkNode, _ plan: Planner, isOfTokens: Bool) -> Bool {
        guard let x = node.inputs.first, constants[x] == nil, let before = plan.shape(x), before.rank == 4
        else { return false }
        if node.operation is GridSample { return true }
        if isOfTokens {
            guard let slice = node.operation as? Slice,
                let cuts = try? slice.cuts(before, node.inputs.map(plan.operand))
            else { return false }
            return cuts.contains { $0.axis > 1 && $0.step < 0 && $0.count > 1 }
        }
        switch (node.operation.role, node.operation.dependence) {
        case (.rearranges, _), (_, .selects): break
        default: return false
        }
        switch node.operation.reach {
        case .anywhere: return true
        case .along(let axes):
            guard let axes = try? axes(before, node.inputs.map(plan.operand)),
                axes.contains(where: { $0 > 1 })
            else { return false }
            return !(node.operation is Pad && padsForWindows(node, before, plan))
        default: return false
        }
    }

    /// Whether a border serves the windows that slide over it, as some exporters write a convolution's own.
    private func padsForWindows(_ pad: NetworkNode, _ before: Shape, _ plan: Planner) -> Bool {
        guard let name = pad.outputs.first, let after = plan.shape(name) else { return false }
        let border = zip(after.dims, before.dims).map { $0 - $1 }
        return nodes.allSatisfy { reader in
            guard reader.reads.contains(name) else { return true }
            if let linear = reader.operation as? any LinearOperator, linear.slides, reader.inputs.count > 1,
                let window = plan.shape(reader.inputs[1]), window.rank == 4
            {
                return border[2] < window.dims[2] && border[3] < window.dims[3]
            }
            if case .pools = reader.operation.role { return border.allSatisfy { $0 < 4 } }
            return false
        }
    }

    /// nil where all values of rank 4 are images, as far as operators tell.
    /// - Parameter plan: with the shapes of all values.
    func positions(_ plan: Planner) throws -> Positions? {
        let isOfTokens = mayHoldTokens
        guard inputDims.count == 4,
            isOfTokens
                || path(from: [inputName]).contains(where: { movesCells(nodes[$0], plan, isOfTokens: false) })
        else { return nil }
        var walk = PositionWalk(self, plan)
        for i in path(from: [inputName]) { walk.take(nodes[i]) }
        return try walk.found()
    }
}

private struct PositionWalk {
    let network: Network
    let plan: Planner
    var tape: Tape
    /// Of the network's values.
    var places: [String: Value] = [:]
    let isOfTokens: Bool
    /// Those made of something whose cells an operator may have moved.
    var moved: Set<String> = []
    /// What is fed: an image of one channel.
    var images: [Value] = []
    /// Some channels of values, by which forms are told.
    var samples: [(name: String, channels: Int, values: [Value])] = []

    init(_ network: Network, _ plan: Planner) {
        (self.network, self.plan) = (network, plan)
        isOfTokens = network.mayHoldTokens
        tape = Tape(limits: network.limits)
        places[network.inputName] = image(plan.tape.shape(plan.input))
    }

    /// The places of a value that is an image.
    private mutating func image(_ shape: Shape) -> Value {
        let image = tape.input(Shape([1, 1] + shape.dims[2...]))
        images.append(image)
        return broadcast(image, to: shape)
    }

    /// The places of what windows make of an image: its own, or, where cells may have moved, those of what lies there, stretched to the new extents.
    private mutating func windows(_ node: NetworkNode, of x: Value, to shape: Shape) -> Value {
        guard node.inputs.contains(where: moved.contains) else { return image(shape) }
        var y = tape.reduce(x, axes: [1], divisor: Float(tape.shape(x).dims[1]))
        for axis in 2...3 where tape.shape(x).dims[axis] != shape.dims[axis] {
            let matrix = PositionWalk.stretch(tape.shape(x).dims[axis], to: shape.dims[axis])
            y = tape.product(
                SparseProduct(matrix, axes: axis..<axis + 1, extents: [shape.dims[axis]]), y)
        }
        return broadcast(y, to: shape)
    }

    /// Means of what lies below each element where there become fewer; else by a straight line through its neighbours.
    private static func stretch(_ input: Int, to output: Int) -> SparseMatrix {
        let scale = Double(input) / Double(output)
        let rows = (0..<output).map { i -> [(column: Int, weight: Float)] in
            let (low, high) = (Double(i) * scale, Double(i + 1) * scale)
            guard output > input, input > 1 else {
                return (Int(low)..<min(input, Int(high.rounded(.up)))).map {
                    ($0, Float((min(high, Double($0 + 1)) - max(low, Double($0))) / scale))
                }
            }
            let at = (low + high - 1) / 2
            let left = min(max(Int(at.rounded(.down)), 0), input - 2)
            return [(left, Float(Double(left + 1) - at)), (left + 1, Float(at - Double(left)))]
        }
        return SparseMatrix(columns: input, rows: rows)
    }

    /// What is fed for an image of that shape.
    private static func numbers(_ shape: Shape, round: Int) -> [Float] {
        let (h, w) = (shape.dims[2], shape.dims[3])
        return (0..<h * w).map {
            [1, (Float($0 / w) + 0.5) / Float(h), (Float($0 % w) + 0.5) / Float(w)][round]
        }
    }

    private mutating func broadcast(_ x: Value, to shape: Shape) -> Value {
        tape.view(x, as: shape, strides: tape.strides(x, broadcastTo: shape), offset: tape.offset(x))
    }

    /// The mean over an axis, everywhere along it, and along it so many.
    private mutating func mean(_ x: Value, axis: Int, to shape: Shape, scale: Float = 1) -> Value {
        let mean = tape.reduce(
            x, axes: [axis], divisor: Float(tape.shape(x).dims[axis]) / scale)
        return broadcast(mean, to: shape)
    }

    mutating func take(_ node: NetworkNode) {
        tape.label = node.name
        guard let name = node.outputs.first, !name.isEmpty, let shape = plan.shape(name), shape.rank > 0
        else { return }
        let moves =
            node.inputs.contains(where: moved.contains)
            || network.movesCells(node, plan, isOfTokens: isOfTokens)
        if moves { moved.formUnion(node.outputs) }
        let made = try? outputs(node, shape)
        for (name, value) in zip(node.outputs, made ?? []) where !name.isEmpty {
            guard let value, let shape = plan.shape(name), tape.shape(value) == shape else { continue }
            places[name] = value
            sample(name)
        }
    }

    /// The places of a node's outputs; nil where nothing is known.
    private mutating func outputs(_ node: NetworkNode, _ shape: Shape) throws -> [Value?] {
        let known = node.inputs.indices.filter { places[node.inputs[$0]] != nil }
        guard let first = known.first, let x = places[node.inputs[first]] else { return [] }
        let before = tape.shape(x)
        let isImage = before.rank == 4 && shape.rank == 4 && before.dims[0] == shape.dims[0]
        let isProduct = node.operation is MatMul || node.operation is Gemm
        if node.operation is GridSample {
            // Where the picture itself says where to look, its cells have no fixed places.
            guard first == 0, case .host(let grid)? = plan.operand(node.inputs[1]) else { return [] }
            let y = try node.operation.forward(&tape, [.value(x), .host(grid)], outputs: 1)
            return y.map { if case .value(let value) = $0 { value } else { nil } }
        }
        switch (node.operation.role, node.operation.dependence) {
        case (.quantises, _), (.dequantises, _): return first == 0 && before == shape ? [x] : []
        case (.rearranges, _), (.reshapes, _), (.passes, _), (_, .averages), (_, .selects):
            if case .reshapes = node.operation.role { return [tape.reshape(x, to: shape)] }
            // Windows leave more than one place of an axis; what is left of a whole axis is a mean.
            if isImage, case .pools = node.operation.role, shape.dims[1] == before.dims[1],
                !zip(before.dims, shape.dims).contains(where: { $0 > 1 && $1 == 1 })
            {
                return [windows(node, of: x, to: shape)]
            }
            let operands = try node.inputs.map { name -> Operand? in
                if let value = places[name] { return .value(value) }
                switch plan.operand(name) {
                case .host(let tensor)? where !tensor.isInteger: return try nowhere(tensor.shape)
                case .value(let value)?: return try nowhere(plan.tape.shape(value))
                case let other: return other
                }
            }
            return try node.operation.forward(&tape, operands, outputs: node.outputs.count).map {
                if case .value(let value) = $0 { value } else { nil }
            }
        default: break
        }
        // A reduction of any kind stands where the mean of what it reads does.
        if first == 0, known.count == 1, case .pools = node.operation.role,
            case .along(let axes) = node.operation.reach,
            let axes = try? axes(before, node.inputs.map(plan.operand)), !axes.isEmpty,
            before.reduced(axes).count == shape.count
        {
            let mean = tape.reduce(
                x, axes: axes.sorted(), divisor: Float(before.count(axes)))
            return [tape.reshape(mean, to: shape)]
        }
        if let linear = node.operation as? any LinearOperator, linear.slides, isImage {
            if shape.dims[2...] != before.dims[2...] { return [windows(node, of: x, to: shape)] }
            return [mean(x, axis: 1, to: shape)]
        }
        // What works along axes, such as a norm, knows nothing of images.
        if isImage, case .behindFirst = node.operation.reach, shape.dims[1] == before.dims[1],
            shape.dims[2...] != before.dims[2...]
        {
            return [windows(node, of: x, to: shape)]
        }
        if !isProduct,
            known.allSatisfy({ Shape.broadcast(tape.shape(places[node.inputs[$0]]!), shape) == shape })
        {
            // Number by number: every operand has its say.
            var sum = x
            for i in known.dropFirst() {
                sum = tape.map(WB_MAP_add, sum, places[node.inputs[i]]!)
            }
            if known.count > 1 { sum = tape.map(WB_MAP_scale, sum, a: 1 / Float(known.count)) }
            return [tape.shape(sum) == shape ? sum : broadcast(sum, to: shape)]
        }
        // A product keeps the places of the rows on its left.
        if first == 0, before.dims.dropLast() == shape.dims.dropLast() {
            return [mean(x, axis: before.rank - 1, to: shape, scale: Positions.share)]
        }
        return []
    }

    private mutating func nowhere(_ shape: Shape) throws -> Operand {
        let zero = try tape.constant(HostTensor([1], .floats([0])))
        return .value(broadcast(zero, to: shape))
    }

    /// Notes the first and the last of a value's channels, for each axis that may hold them.
    private mutating func sample(_ name: String) {
        guard let value = places[name] else { return }
        let shape = tape.shape(value)
        let batch = plan.batch
        guard shape.rank == 3 || shape.rank == 4, shape.dims[0] == batch, name != network.logitsName else {
            return
        }
        for axis in [1, shape.rank - 1] where shape.count / shape.dims[axis] > batch {
            let first = tape.part(value, axis: 0, start: 0, count: 1)
            let ends = [0, shape.dims[axis] - 1].map {
                tape.dense(tape.part(first, axis: axis, start: $0, count: 1))
            }
            samples.append((name, axis, ends))
        }
    }

    /// Runs the walk, and reads what it found.
    mutating func found() throws -> Positions {
        let end = places[network.logitsName].map { value in
            tape.dense(tape.reduce(value, axes: Array(1..<tape.shape(value).rank)))
        }
        let kept = samples.flatMap(\.values) + (end.map { [$0] } ?? [])
        guard !kept.isEmpty else {
            return Positions(
                forms: Dictionary(uniqueKeysWithValues: moved.map { ($0, .none) }), endsInExtraTokens: false)
        }
        tape.dropDeadSteps(keeping: kept)
        let executor = try Device.cpu(CPU()).load(tape, keeping: kept)
        var numbers = [[Float]](repeating: [], count: kept.count)
        for round in 0..<3 {
            for image in images {
                try PositionWalk.numbers(tape.shape(image), round: round).withUnsafeBufferPointer {
                    try executor.write(image, from: $0)
                }
            }
            try executor.run(tape.stage(0))
            for (i, value) in kept.enumerated() {
                numbers[i] += tape.shape(value).rowMajor(try executor.memoryOrder(value))
            }
        }
        var forms: [String: GridForm] = [:]
        for (i, sample) in samples.enumerated() {
            let form = Positions.form(
                plan.shape(sample.name)!, channels: sample.channels,
                mayLieElsewhere: moved.contains(sample.name),
                Array(numbers[2 * i..<2 * i + 2]))
            if forms[sample.name] == nil || forms[sample.name] == GridForm.none { forms[sample.name] = form }
        }
        // What nothing is known of, behind what moves cells, is no image.
        for name in moved where forms[name] == nil { forms[name] = GridForm.none }
        return Positions(forms: forms, endsInExtraTokens: end != nil && numbers.last![0] == 0)
    }
}

extension Positions {
    /// What a value is, if its channels lie along an axis.
    /// - Parameters:
    ///   - mayLieElsewhere: whether it counts that an image covers all of the picture, to half a cell.
    ///   - ends: of the first and the last channel m, m y and m x of all tokens.
    static func form(_ shape: Shape, channels: Int, mayLieElsewhere: Bool, _ ends: [[Float]]) -> GridForm {
        let count = ends[0].count / 3
        func place(_ end: [Float], _ k: Int) -> (y: Double, x: Double)? {
            let m = Double(end[k])
            guard m > 0 else { return nil }
            return (Double(end[count + k]) / m, Double(end[2 * count + k]) / m)
        }
        let first = (0..<count).map { place(ends[0], $0) }
        let last = (0..<count).map { place(ends[1], $0) }
        let cells = first.indices.filter { first[$0] != nil }
        guard cells.count > 1, cells.last! - cells[0] == cells.count - 1 else { return .none }
        let (ys, xs) = (levels(cells.map { first[$0]!.y }), levels(cells.map { first[$0]!.x }))
        let (h, w) = (ys.count, xs.count)
        guard h * w == cells.count else { return .none }
        // Every channel of a token comes from the same place.
        let near = 0.05 / Double(max(h, w)) * max(spread(ys), spread(xs))
        for k in cells {
            guard let b = last[k], abs(first[k]!.y - b.y) <= near, abs(first[k]!.x - b.x) <= near else {
                return .none
            }
        }
        func lies(_ row: (Int) -> Int, _ column: (Int) -> Int) -> Bool {
            cells.indices.allSatisfy { i in
                let p = first[cells[i]]!
                return nearest(p.y, ys) == row(i) && nearest(p.x, xs) == column(i)
            }
        }
        let isRows = lies({ $0 / w }, { $0 % w })
        guard isRows || lies({ $0 % h }, { $0 / h }) else { return .none }
        let axes = shape.dims.indices.filter { $0 != 0 && $0 != channels }
        if axes.count == 2 {
            guard cells.count == count,
                [shape.dims[axes[0]], shape.dims[axes[1]]] == (isRows ? [h, w] : [w, h])
            else { return .none }
            if isRows, channels == 1 {
                func covers(_ levels: [Double]) -> Bool {
                    let half = 0.5001 / Double(levels.count)
                    return abs(levels[0] - half) < half && abs(levels.last! - (1 - half)) < half
                }
                return mayLieElsewhere && !(covers(ys) && covers(xs)) ? .none : .image
            }
        }
        return .tokens(
            TokenGrid(
                axes: axes, channels: channels, height: h, width: w, start: axes.count == 1 ? cells[0] : 0,
                count: count, isTransposed: !isRows))
    }

    /// Numbers that are nearly the same, as one each, in ascending order.
    private static func levels(_ all: [Double]) -> [Double] {
        let sorted = all.sorted()
        let range = sorted.last! - sorted[0]
        var levels: [Double] = []
        for value in sorted where levels.isEmpty || value - levels.last! > max(1e-9, range * 1e-3) {
            levels.append(value)
        }
        return levels
    }

    private static func spread(_ levels: [Double]) -> Double { levels.last! - levels[0] }

    private static func nearest(_ value: Double, _ levels: [Double]) -> Int {
        levels.indices.min { abs(levels[$0] - value) < abs(levels[$1] - value) }!
    }
}
