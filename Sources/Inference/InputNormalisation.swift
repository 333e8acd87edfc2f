// Normalisation that is part of the network, so that nobody does it twice: the affine maps that come before anything else.

import Kernels

/// What a network's first nodes do to each channel of the picture, y = x·scale + shift, and what that says of the numbers that it takes.
package struct InputNormalisation: Sendable {
    /// Of each channel, or one for all.
    package let scale: [Double], shift: [Double]
    /// The operators, in order.
    package let operators: [String]

    /// What pixels are to be before them.
    package enum Range: Sendable, Equatable {
        /// 0 … 255.
        case bytes
        /// The same, with blue first, as Caffe's means have it.
        case bytesBlueFirst
        /// 0 … 1.
        case unit
        /// Numbers like those that a network without such nodes takes.
        case normalised
        /// No usual ones.
        case unknown
    }

    /// Of each channel, the number that becomes 0, and how far from it the number lies that becomes 1.
    package var centre: [Double] { zip(scale, shift).map { -$1 / $0 } }
    package var spread: [Double] { scale.map { 1 / abs($0) } }

    package var range: Range {
        guard scale.allSatisfy({ $0 != 0 && $0.isFinite }), shift.allSatisfy(\.isFinite) else {
            return .unknown
        }
        let centre = centre
        func mean(_ numbers: [Double]) -> Double { numbers.reduce(0, +) / Double(numbers.count) }
        let (middle, width) = (mean(centre), mean(spread))
        // Keras's `preprocess_input` in its mode `caffe` and others subtract the mean colour only.
        let caffe = [103.939, 116.779, 123.68]
        if centre.count == 3, zip(centre, caffe).allSatisfy({ abs($0 - $1) < 1 }) { return .bytesBlueFirst }
        if (16...600).contains(width), (-16...256).contains(middle) { return .bytes }
        if (0.5...2).contains(width), (32...224).contains(middle) { return .bytes }
        // A deviation or an extent of numbers 0 … 1 around their middle; or they become bytes first.
        if (0.1...1.05).contains(width), (0.2...0.8).contains(middle) { return .unit }
        if abs(width * 255 - 1) < 0.05, (-0.01...1).contains(middle) { return .unit }
        if (0.3...3).contains(width), abs(middle) < 0.5 { return .normalised }
        return .unknown
    }

    /// In words, such as “Sub, Div: from numbers around 116 with a spread of 57”.
    package var description: String {
        func text(_ numbers: [Double]) -> String {
            let mean = numbers.reduce(0, +) / Double(numbers.count)
            let rounded = (mean * 1000).rounded() / 1000
            return rounded == rounded.rounded() && abs(rounded) < 1e9 ? "\(Int(rounded))" : "\(rounded)"
        }
        return
            "\(operators.joined(separator: ", ")): from numbers around \(text(centre)) with a spread of \(text(spread))"
    }
}

extension Network {
    /// What the first nodes do to the input if they are affine maps of each channel by constants; nil if they are not, or change nothing.
    package var inputNormalisation: InputNormalisation? {
        guard inputDims.count == 4 else { return nil }
        var readers: [String: [NetworkNode]] = [:]
        for node in nodes where node.merged == nil {
            for name in Set(node.reads) { readers[name, default: []].append(node) }
        }
        var (scale, shift, operators): ([Double], [Double], [String]) = ([1], [0], [])
        var (name, axis) = (inputName, 1)
        /// Both of as many channels.
        func combine(_ a: [Double], _ b: [Double], _ operation: (Double, Double) -> Double) -> [Double]? {
            guard a.count == b.count || a.count == 1 || b.count == 1 else { return nil }
            return (0..<max(a.count, b.count)).map {
                operation(a[a.count == 1 ? 0 : $0], b[b.count == 1 ? 0 : $0])
            }
        }
        walk: while let all = readers[name], all.count == 1, let node = all.first,
            let output = node.makes.first
        {
            var (a, b): ([Double], [Double]) = ([1], [0])
            if case .passes = node.operation.role {
                name = output
                continue
            } else if let order = (node.operation as? Transpose)?.order, order.count == 4, order[0] == 0 {
                axis = order.firstIndex(of: axis)!
                name = output
                continue
            } else if case .normalises(let affine) = node.operation.role, axis == 1,
                let found = try? affine(node.inputs.map { constants[$0].map(Operand.host) })
            {
                (a, b) = (found.scale, found.shift)
            } else {
                guard node.inputs.count == 2, let place = node.inputs.firstIndex(of: name),
                    let c = channelNumbers(node.inputs[1 - place], axis: axis)
                else { break walk }
                switch node.operation {
                case is Add: b = c
                case is Sub where place == 0: b = c.map { -$0 }
                case is Sub: (a, b) = ([-1], c)
                case is Mul: a = c
                case is Div where place == 0: a = c.map { 1 / $0 }
                default: break walk
                }
            }
            guard let newScale = combine(scale, a, { $0 * $1 }),
                let scaled = combine(shift, a, { $0 * $1 }), let newShift = combine(scaled, b, { $0 + $1 })
            else { break }
            (scale, shift, name) = (newScale, newShift, output)
            operators.append(node.type)
            // What follows a normalisation by means and variances is the network's own.
            if case .normalises = node.operation.role { break }
        }
        guard !operators.isEmpty, !(scale.allSatisfy { $0 == 1 } && shift.allSatisfy { $0 == 0 }) else {
            return nil
        }
        let channels = max(scale.count, shift.count)
        func spread(_ x: [Double]) -> [Double] { x.count == 1 ? Array(repeating: x[0], count: channels) : x }
        return InputNormalisation(scale: spread(scale), shift: spread(shift), operators: operators)
    }

    /// A constant that is a single number, or one for each channel of a value of rank 4.
    private func channelNumbers(_ name: String, axis: Int) -> [Double]? {
        guard let tensor = constants[name], tensor.shape.count <= 4096, tensor.shape.rank <= 4,
            let values = try? tensor.floats()
        else { return nil }
        let dims = Array(repeating: 1, count: 4 - tensor.shape.rank) + tensor.shape.dims
        guard dims.enumerated().allSatisfy({ $0 == axis || $1 == 1 }) else { return nil }
        return values.map(Double.init)
    }
}

extension Network {
    /// The first value on the way from the input that a normalisation by trained means and variances makes. Of the pictures that the network was
    /// trained on, channel c of it had the mean `mean[c]` and the deviation `deviation[c]`.
    package var firstNormalised: (value: String, mean: [Float], deviation: [Float])? {
        for node in nodes {
            // One that was merged stands in its convolution.
            let (inputs, operation, value) =
                node.merged.map { ($0.inputs, $0.normalisation, nodes[$0.into].makes.first) }
                ?? (node.inputs, node.operation, node.makes.first)
            guard case .normalises = operation.role, inputs.count == 5, let value,
                let scale = try? constants[inputs[1]]?.floats(),
                let shift = try? constants[inputs[2]]?.floats(),
                scale.count == shift.count, scale.contains(where: { $0 != 0 })
            else { continue }
            return (value, shift, scale.map(abs))
        }
        return nil
    }

    /// The first value that is an activation of the network's own.
    package var firstActivation: String? {
        nodes.first {
            $0.merged == nil && $0.operation.role.makesActivation && $0.operation is any LinearOperator
        }?
        .makes.first
    }
}
