// Resampling along axes. The weights of each axis are a constant sparse matrix, computed here in double precision and rounded once, and
// the axes are resampled one after the other, the first one first; so the gradient is the product with the transposed matrices.

import CMicrokernels

/// How the elements of a resized axis are made of those of the axis before.
private struct Resampling {
    enum Mode: String { case nearest, linear, cubic }
    var mode = Mode.nearest
    var coordinates = "half_pixel"
    /// `simple` is that of operator sets before 11: down where the axis grows, up where it shrinks.
    var nearest = "round_prefer_floor"
    var a = -0.75
    var excludesOutside = false
    var antialias = false

    /// An axis, and what becomes of it.
    struct Line {
        var input: Int, output: Int
        /// As it is given; nil where it is output / input.
        var scale: Float?
        var roi = (start: 0.0, end: 1.0)

        var factor: Double { scale.map(Double.init) ?? Double(output) / Double(input) }
        /// The extent before it was cut off to whole elements.
        var exactOutput: Double { scale.map { Double($0) * Double(input) } ?? Double(output) }
    }

    /// Where an element of the output lies in the input; nil if it is to be the extrapolation's number.
    private func position(_ index: Int, _ line: Line) -> Double? {
        let x = Double(index)
        let (input, output) = (Double(line.input), Double(line.output))
        /// x / scale, exact where that is.
        func scaled(_ x: Double) -> Double {
            line.scale == nil ? x * input / output : x / line.factor
        }
        switch coordinates {
        case "asymmetric": return scaled(x)
        case "tf_half_pixel_for_nn": return scaled(x + 0.5)
        case "align_corners": return line.output == 1 ? 0 : x * (input - 1) / (output - 1)
        case "pytorch_half_pixel": return line.output == 1 ? 0 : scaled(x + 0.5) - 0.5
        case "half_pixel_symmetric":
            return input / 2 * (1 - output / line.exactOutput) + scaled(x + 0.5) - 0.5
        case "tf_crop_and_resize":
            let (start, end) = line.roi
            let at =
                line.output == 1
                ? 0.5 * (start + end) * (input - 1)
                : start * (input - 1) + x * (end - start) * (input - 1) / (output - 1)
            return at < 0 || at > input - 1 ? nil : at
        default: return scaled(x + 0.5) - 0.5
        }
    }

    private func nearestIndex(_ x: Double, _ line: Line) -> Int {
        switch nearest {
        case "round_prefer_ceil": Int((x + 0.5).rounded(.down))
        case "floor": Int(x.rounded(.down))
        case "ceil": Int(x.rounded(.up))
        case "simple": Int(x.rounded(line.factor < 1 ? .up : .down))
        default: Int((x - 0.5).rounded(.up))
        }
    }

    /// The filter at a distance, in elements of the input, or of the output where it is stretched.
    private func filter(_ distance: Double) -> Double {
        let x = abs(distance)
        if mode == .linear { return max(0, 1 - x) }
        if x <= 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
        return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0
    }

    /// Elements of the input and their weights, in ascending order.
    private func terms(_ index: Int, _ line: Line) -> [(column: Int, weight: Float)] {
        guard let x = position(index, line) else { return [] }
        func inside(_ i: Int) -> Int { min(max(i, 0), line.input - 1) }
        if mode == .nearest { return [(inside(nearestIndex(x, line)), 1)] }
        let stretch = antialias ? min(1, line.factor) : 1
        let reach = (mode == .linear ? 1 : 2) / stretch
        let places = Int((x - reach).rounded(.up))...Int((x + reach).rounded(.down))
        var weights: [(at: Int, weight: Double)] = []
        for i in places where !excludesOutside || i == inside(i) {
            weights.append((inside(i), filter((Double(i) - x) * stretch)))
        }
        let sum = weights.reduce(0) { $0 + $1.weight }
        var joined: [(column: Int, weight: Double)] = []
        for (at, weight) in weights where weight != 0 {
            let share = excludesOutside || antialias ? weight / sum : weight
            if joined.last?.column == at {
                joined[joined.count - 1].weight += share
            } else {
                joined.append((at, share))
            }
        }
        return joined.map { ($0.column, Float($0.weight)) }
    }

    /// nil where every element is its own.
    func matrix(_ line: Line, _ limits: Limits) throws -> SparseMatrix? {
        let stretch = antialias ? min(1, line.factor) : 1
        let width = mode == .nearest ? 1 : Int(4 / stretch) + 2
        try limits.memory.check(2 * SparseMatrix.bytes(rows: line.output, terms: line.output * width))
        let rows = (0..<line.output).map { terms($0, line) }
        if line.input == line.output,
            rows.indices.allSatisfy({ rows[$0].count == 1 && rows[$0][0] == ($0, 1) })
        {
            return nil
        }
        if rows.allSatisfy({ $0.count <= 1 && $0.allSatisfy { $0.weight == 1 } }) {
            return SparseMatrix(columns: line.input, selecting: rows.map { $0.first?.column ?? -1 })
        }
        return SparseMatrix(columns: line.input, rows: rows)
    }

    /// Elements that are not made of the input.
    func outside(_ line: Line) -> [Bool] { (0..<line.output).map { position($0, line) == nil } }
}

/// Extents times scales, cut off: products of binary32, as exporters compute them.
private func resized(_ shape: Shape, axes: [Int], by scales: [Float]) throws -> [Resampling.Line] {
    guard scales.count == axes.count, scales.allSatisfy({ $0 > 0 && $0 < 0x1p+24 }) else {
        throw OperatorError("scales the axes \(axes) of the shape \(shape) by \(scales)")
    }
    return try zip(axes, scales).map { axis, scale in
        let extent = (Float(shape.dims[axis]) * scale).rounded(.down)
        guard extent >= 1, extent < 0x1p+30 else {
            throw OperatorError("scales axis \(axis) of the shape \(shape) by \(scale)")
        }
        return Resampling.Line(input: shape.dims[axis], output: Int(extent), scale: scale)
    }
}

private func products(
    _ shape: Shape, _ lines: [(axis: Int, line: Resampling.Line)], _ resampling: Resampling, _ limits: Limits
) throws -> [SparseProduct] {
    var dims = shape.dims
    for (axis, line) in lines { dims[axis] = line.output }
    _ = try Shape(dims).checked()
    return try lines.compactMap { axis, line in
        guard let matrix = try resampling.matrix(line, limits) else { return nil }
        guard axis > 0 else {
            throw OperatorError(
                unsupported:
                    "resizes the first dimension, which has the pictures of a batch, from \(line.input) to \(line.output)"
            )
        }
        return SparseProduct(matrix, axes: axis..<axis + 1, extents: [line.output])
    }.sorted { $0.axes.lowerBound < $1.axes.lowerBound }
}

package struct Resize: SparseOperator {
    package static let name = "Resize"
    package static let formula = "the tensor resampled along axes, by constant scales or to constant sizes"
    package static let opsets = 10...24
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 11 ? 4 : 2) }
    package var reach: Reach { .behindFirst }
    package let role: Role = .pools
    package var dependence: Dependence { resampling.mode == .nearest ? .selects : .averages }
    package var addsNegatives: Bool { resampling.mode == .cubic || !(extrapolation >= 0) }
    private let opset: Int
    private let resampling: Resampling
    private let extrapolation: Float
    private let listedAxes: [Int]?
    private let policy: String

    package init(_ attributes: Attributes) throws {
        opset = attributes.opset
        var resampling = Resampling()
        let mode = try attributes.string("mode", default: "nearest")
        guard let known = Resampling.Mode(rawValue: mode), known != .cubic || opset >= 11 else {
            throw OperatorError("has the mode “\(mode.prefix(40))”, which does not exist")
        }
        resampling.mode = known
        func choice(_ name: String, _ fallback: String, _ choices: [String]) throws -> String {
            let value = try attributes.string(name, default: fallback)
            guard choices.contains(value) else {
                throw OperatorError("has the \(name) “\(value.prefix(40))”, which does not exist")
            }
            return value
        }
        guard opset >= 11 else {
            (resampling.coordinates, resampling.nearest) = ("asymmetric", "simple")
            (self.resampling, extrapolation, listedAxes, policy) = (resampling, 0, nil, "stretch")
            return
        }
        resampling.coordinates = try choice(
            "coordinate_transformation_mode", "half_pixel",
            [
                "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
            ] + (opset < 13 ? ["tf_half_pixel_for_nn"] : []) + (opset >= 19 ? ["half_pixel_symmetric"] : []))
        resampling.nearest = try choice(
            "nearest_mode", "round_prefer_floor",
            ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
        resampling.a = Double(try attributes.float("cubic_coeff_a", default: -0.75))
        resampling.excludesOutside = try attributes.int("exclude_outside", default: 0) != 0
        resampling.antialias = try opset >= 18 && attributes.int("antialias", default: 0) != 0
        if resampling.antialias, known == .nearest {
            throw OperatorError(unsupported: "has antialias in the mode nearest, which has no filter")
        }
        self.resampling = resampling
        extrapolation = try attributes.float("extrapolation_value", default: 0)
        listedAxes = try opset >= 18 ? attributes.ints("axes") : nil
        policy =
            try opset >= 18
            ? choice("keep_aspect_ratio_policy", "stretch", ["stretch", "not_larger", "not_smaller"])
            : "stretch"
    }

    private func lines(_ shape: Shape, _ inputs: [Operand?]) throws -> [(axis: Int, line: Resampling.Line)] {
        func given(_ index: Int, _ what: String) throws -> HostTensor? {
            try constant(inputs, index, what).flatMap { $0.shape.count == 0 ? nil : $0 }
        }
        let axes = try (listedAxes ?? Array(0..<shape.rank)).map { try normalised($0, rank: shape.rank) }
        guard Set(axes).count == axes.count else { throw OperatorError("names an axis twice: \(axes)") }
        var lines: [Resampling.Line]
        let scales = try given(opset >= 11 ? 2 : 1, "scales")
        let sizes = try opset >= 11 ? given(3, "sizes") : nil
        guard (scales == nil) != (sizes == nil) else {
            throw OperatorError("needs scales or sizes, and one of them only")
        }
        if let scales {
            lines = try resized(shape, axes: axes, by: scales.floats())
            // The extent before it was cut off, or after?
            if resampling.coordinates == "align_corners",
                let line = lines.first(where: { abs($0.exactOutput - Double($0.output)) > 1e-4 })
            {
                throw OperatorError(
                    unsupported:
                        "scales \(line.input) elements with their corners aligned by \(line.factor), which makes no whole number of them; "
                        + "what that means is not agreed upon, so export it with sizes")
            }
        } else {
            let sizes = try sizes!.ints()
            guard sizes.count == axes.count, sizes.allSatisfy({ $0 > 0 && $0 < 1 << 30 }) else {
                throw OperatorError("gives the axes \(axes) of the shape \(shape) the sizes \(sizes)")
            }
            lines = zip(axes, sizes).map { Resampling.Line(input: shape.dims[$0], output: $1) }
            if policy != "stretch" {
                let factors = lines.map(\.factor)
                let line = lines[
                    factors.firstIndex(of: policy == "not_larger" ? factors.min()! : factors.max()!)!]
                lines = lines.map {
                    // Halves are rounded up.
                    let extent = (2 * line.output * $0.input + line.input) / (2 * line.input)
                    return Resampling.Line(input: $0.input, output: max(1, extent))
                }
            }
        }
        if resampling.coordinates == "tf_crop_and_resize" {
            guard let roi = try given(1, "roi")?.floats(), roi.count == 2 * axes.count,
                roi.allSatisfy(\.isFinite)
            else {
                throw OperatorError("lacks the region to crop for the axes \(axes)")
            }
            for i in axes.indices { lines[i].roi = (Double(roi[i]), Double(roi[i + axes.count])) }
        }
        return Array(zip(axes, lines))
    }

    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct] {
        try Kernels.products(shape, lines(shape, inputs), resampling, limits)
    }

    /// Constants that are resampled are computed as activations are.
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? { nil }

    /// The inputs with sizes of this batch, where they are written for the one that the file fixes.
    private func corrected(_ tape: Tape, _ inputs: [Operand?]) throws -> [Operand?] {
        guard let written = tape.writtenBatch, listedAxes == nil, inputs.count > 3, let x = inputs[0],
            var sizes = try constant(inputs, 3, "sizes")?.ints(), sizes.first == written
        else { return inputs }
        sizes[0] = tape.shape(x).dims[0]
        return inputs[..<3] + [.host(HostTensor(ints: sizes))]
    }

    package func vjp(_ tape: inout Tape, _ node: LoweredNode, _ dy: Value) throws -> Value {
        var shape = tape.shape(try required(node.inputs, 0, "X"))
        var back: [SparseProduct] = []
        for product in try products(shape, corrected(tape, node.inputs), within: tape.limits) {
            back.append(product.transposed(for: shape))
            shape = product.shape(of: shape)
        }
        return back.reversed().reduce(dy) { tape.product($1, $0) }
    }

    package func forward(_ tape: inout Tape, _ inputs: [Operand?], outputs: Int) throws -> [Operand] {
        var x = try tape.value(required(inputs, 0, "X"))
        let lines = try lines(tape.shape(x), corrected(tape, inputs))
        for product in try Kernels.products(tape.shape(x), lines, resampling, tape.limits) {
            x = tape.product(product, x)
        }
        guard resampling.coordinates == "tf_crop_and_resize", extrapolation != 0 else { return [.value(x)] }
        // The sum of what is made of the input and this is one of the two.
        var dims = tape.shape(x).dims.map { _ in 1 }
        var outside = [false]
        for (axis, line) in lines.sorted(by: { $0.axis < $1.axis }) {
            let more = resampling.outside(line)
            guard more.contains(true) else { continue }
            dims[axis] = line.output
            try tape.limits.memory.check(8 * outside.count * more.count)
            outside = outside.flatMap { known in more.map { known || $0 } }
        }
        let border = HostTensor(Shape(dims), .floats(outside.map { $0 ? extrapolation : 0 }))
        return [.value(tape.map(WB_MAP_add, x, try tape.constant(border)))]
    }
}

package struct Upsample: SparseOperator {
    package static let name = "Upsample"
    package static let formula = "the tensor resampled along axes by constant scales"
    package static let opsets = 7...9
    package static func arity(opset: Int) -> Arity { Arity(inputs: opset >= 9 ? 2 : 1) }
    package var reach: Reach { .behindFirst }
    package let role: Role = .pools
    package var dependence: Dependence { resampling.mode == .nearest ? .selects : .averages }
    private let resampling: Resampling
    private let scales: [Float]?

    package init(_ attributes: Attributes) throws {
        var resampling = Resampling()
        let mode = try attributes.string("mode", default: "nearest")
        // Files of the first operator sets call it so.
        guard let known = Resampling.Mode(rawValue: mode == "bilinear" ? "linear" : mode), known != .cubic
        else { throw OperatorError("has the mode “\(mode.prefix(40))”, which does not exist") }
        (resampling.mode, resampling.coordinates, resampling.nearest) = (known, "asymmetric", "simple")
        self.resampling = resampling
        switch attributes.opset >= 9 ? nil : attributes["scales"] {
        case .floats(let values)?: scales = values
        case .float(let value)?: scales = [value]
        default: scales = nil
        }
    }
    func products(_ shape: Shape, _ inputs: [Operand?], within limits: Limits) throws -> [SparseProduct] {
        guard let scales = try scales ?? constant(inputs, 1, "scales")?.floats() else {
            throw OperatorError("lacks its scales")
        }
        let axes = Array(0..<shape.rank)
        return try Kernels.products(
            shape, Array(zip(axes, resized(shape, axes: axes, by: scales))), resampling, limits)
    }
    package func fold(_ inputs: [HostTensor?], within limits: Limits) throws -> [HostTensor]? { nil }
}
