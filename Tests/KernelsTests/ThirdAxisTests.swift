// Windows of three axes, by the C functions of every instruction set and by the OpenCL kernels in both shapes: of arguments that are
// made here, the bits of the documented order, which is written out once more.

import CLRuntime
import CMicrokernels
import Kernels
import TestSupport
import Testing

/// Depth, height and width of a random window.
private struct Axes {
    var input: [Int] = [], output: [Int] = [], kernel: [Int] = []
    var strides: [Int] = [], dilations: [Int] = [], pads: [Int] = [], ends: [Int] = []

    init(_ random: inout SeededRandom) {
        while output.count < 3 {
            let (size, taps) = (1 + random.index(below: 7), 1 + random.index(below: 3))
            let (stride, dilation) = (1 + random.index(below: 2), 1 + random.index(below: 4) / 3)
            let (pad, end) = (random.index(below: 3), random.index(below: 3))
            let room = size + pad + end - (taps - 1) * dilation - 1
            if room < 0 { continue }
            (input, output, kernel) = (input + [size], output + [room / stride + 1], kernel + [taps])
            (strides, dilations) = (strides + [stride], dilations + [dilation])
            (pads, ends) = (pads + [pad], ends + [end])
        }
    }

    var inputs: Int { input.reduce(1, *) }
    var outputs: Int { output.reduce(1, *) }
    var taps: Int { kernel.reduce(1, *) }

    /// Where the taps of an output read, in their order, by axis; outside of the input on padding.
    func places(_ output: [Int]) -> [[Int]] {
        var places: [[Int]] = []
        forEachIndex(kernel) { tap in
            places.append((0..<3).map { output[$0] * strides[$0] - pads[$0] + tap[$0] * dilations[$0] })
        }
        return places
    }

    /// The input pixel at a place.
    func pixel(_ place: [Int]) -> Int? {
        guard (0..<3).allSatisfy({ 0..<input[$0] ~= place[$0] }) else { return nil }
        return (place[0] * input[1] + place[1]) * input[2] + place[2]
    }
}

/// The first OpenCL device, used by hand.
private struct Bench {
    let device: CLDevice, context: CLContext, queue: CLQueue, options: String

    init?() throws {
        guard let found = Devices.inventory.devices.first(where: { OpenCL.fitness(of: $0).problem == nil })
        else { return nil }
        (device, context) = (found, try CLContext(device: found))
        queue = try CLQueue(context: context)
        options = OpenCL.fitness(of: found).measured!.options
    }

    func run(
        _ kernel: String, in family: String, _ options: String, _ arguments: [CLArgument], global: CLSize,
        local: CLSize
    ) throws {
        let program = try CLProgram(
            context: context, source: OpenCL.source(family),
            options: "-cl-std=CL1.2 -DWB_AXES=3 -DWB_KERNEL_\(kernel)=1 " + options + self.options)
        let kernel = try program.kernel(kernel)
        try kernel.setArguments(arguments)
        try queue.enqueue(kernel, global: global, local: local)
        try queue.finish()
    }
    func buffer<T: BitwiseCopyable>(_ numbers: [T]) throws -> CLArgument {
        .buffer(try CLBuffer(context: context, copying: numbers))
    }
    func numbers<T: BitwiseCopyable>(_ type: T.Type, _ argument: CLArgument, _ count: Int) throws -> [T] {
        guard case .buffer(let buffer) = argument else { return [] }
        return try queue.read(type, from: buffer, count: count)
    }
}

// The tables of functions are constants of the program.
nonisolated(unsafe) private let sets: [wb_functions] = CPU.instructionSets.indices.map {
    wb_functions_at(Int32($0))!.pointee
}

@Suite struct ThirdAxisTests {
    private func numbers(_ count: Int, _ random: inout SeededRandom) -> [Float] {
        (0..<count).map { _ in random.float() }
    }

    enum Kind: CaseIterable { case product, depthwise, grouped }

    @Test(arguments: Kind.allCases, 0..<8)
    func convolutions(_ kind: Kind, seed: Int) throws {
        var random = SeededRandom("\(kind) \(seed)")
        let axes = Axes(&random)
        let images = 1 + random.index(below: 2)
        let (groups, c, oc): (Int, Int, Int)
        switch kind {
        case .product:
            groups = [1, 1, 1, 2, 3][random.index(below: 5)]
            c = groups * [1, 3, 4, 12, 40][random.index(below: 5)]
            oc = groups * [1, 5, 12, 16, 20, 32, 40, 70][random.index(below: 8)]
        case .depthwise:
            groups = [2, 3, 8, 16, 17, 40][random.index(below: 6)]
            (c, oc) = (groups, groups)
        case .grouped:
            let width = [4, 8, 16][seed % 3]
            (groups, c, oc) = (64 / width, 64, 64)
        }
        let (rows, taps, channels, columns) = (images * axes.outputs, axes.taps, c / groups, oc / groups)
        let x = numbers(images * axes.inputs * c, &random)
        let weights = numbers(oc * taps * channels, &random)  // [oc][tap][channel]
        let bias = numbers(oc, &random)
        let residual = numbers(rows * oc, &random)
        let zeros = [Float](repeating: 0, count: max(64, axes.kernel[2] * c))
        func int(_ i: Int) -> Int32 { Int32(i) }
        var s = wb_conv()
        (s.n, s.c, s.oc, s.groups) = (int(images), int(c), int(oc), int(groups))
        (s.d, s.h, s.w) = (int(axes.input[0]), int(axes.input[1]), int(axes.input[2]))
        (s.od, s.oh, s.ow) = (int(axes.output[0]), int(axes.output[1]), int(axes.output[2]))
        (s.kd, s.kh, s.kw) = (int(axes.kernel[0]), int(axes.kernel[1]), int(axes.kernel[2]))
        (s.stride_d, s.stride_h, s.stride_w) = (
            int(axes.strides[0]), int(axes.strides[1]), int(axes.strides[2])
        )
        (s.pad_d, s.pad_h, s.pad_w) = (int(axes.pads[0]), int(axes.pads[1]), int(axes.pads[2]))
        (s.dilation_d, s.dilation_h, s.dilation_w) = (
            int(axes.dilations[0]), int(axes.dilations[1]), int(axes.dilations[2])
        )
        s.inner = s.groups
        (s.x_pixel, s.x_group, s.y_pixel, s.y_group) = (int(c), int(channels), int(oc), int(columns))
        (s.bias, s.residual, s.clip, s.lo, s.hi) = (1, int(seed % 2), int(seed / 2 % 2), -0.5, 1)

        // The contract: chunks of 256 terms.
        var expected: [Float] = []
        for image in 0..<images {
            forEachIndex(axes.output) { output in
                let pixels = axes.places(output).map(axes.pixel)
                for o in 0..<oc {
                    var (total, sum): (Float, Float) = (0, 0)
                    for k in 0..<taps * channels {
                        if k > 0, k % 256 == 0 { (total, sum) = (k == 256 ? sum : total + sum, 0) }
                        let channel = o / columns * channels + k % channels
                        let input = pixels[k / channels].map { x[(image * axes.inputs + $0) * c + channel] }
                        sum.addProduct(input ?? 0, weights[o * taps * channels + k])
                    }
                    var y = (taps * channels > 256 ? total + sum : sum) + bias[o]
                    if s.residual != 0 { y += residual[expected.count] }
                    if s.clip != 0 { y = max(s.lo, min(s.hi, y)) }
                    expected.append(y)
                }
            }
        }

        // Weights and biases as the kernels want them.
        let panels = (columns + 31) / 32
        var (packed, packedBias) = ([Float](repeating: 0, count: oc * taps * channels), bias)
        if kind == .product {
            packed = [Float](repeating: 0, count: groups * panels * 32 * taps * channels)
            packedBias = [Float](repeating: 0, count: groups * panels * 32)
        }
        for o in 0..<oc {
            let column = o / columns * panels * 32 + o % columns
            for k in 0..<taps * channels {
                let at =
                    switch kind {
                    case .product: (column / 32 * taps * channels + k) * 32 + column % 32
                    case .depthwise: k * c + o
                    case .grouped: (o / 32 * taps * channels + k) * 32 + o % 32
                    }
                packed[at] = weights[o * taps * channels + k]
            }
            if kind == .product { packedBias[column] = bias[o] }
        }

        var scratch = wb_scratch()
        defer { wb_scratch_free(&scratch) }
        for set in sets {
            var y = [Float](repeating: .nan, count: rows * oc)
            y.withUnsafeMutableBufferPointer { y in
                var operands = wb_conv_operands(
                    x: x, weights: packed, bias: packedBias, residual: residual, zeros: zeros,
                    y: y.baseAddress!)
                for (begin, end) in [(0, rows / 3), (rows / 3, rows)] {
                    switch kind {
                    case .product:
                        set.convolution(
                            &s, &operands, &scratch, Int64(begin), Int64(end), 0, int(groups * panels))
                    case .depthwise: set.depthwise(&s, &operands, Int64(begin), Int64(end))
                    case .grouped: set.grouped(&s, &operands, Int64(begin), Int64(end))
                    }
                }
            }
            #expect(bitDifference(y, expected) == nil, "\(String(cString: set.name)), \(s)")
        }

        guard let bench = try Bench() else { return }
        let buffers = try [x, packed, packedBias, residual, zeros].map(bench.buffer)
        func check(_ what: String, _ run: (_ y: CLArgument) throws -> Void) throws {
            let y = try bench.buffer([Float](repeating: .nan, count: rows * oc))
            try run(y)
            let found = try bench.numbers(Float.self, y, rows * oc)
            #expect(bitDifference(found, expected) == nil, "OpenCL \(what), \(s)")
        }
        func narrow(_ options: String, global: CLSize, local: CLSize) throws {
            let kernel = kind == .grouped ? "grouped" : "depthwise"
            let width = kind == .grouped ? "-DWB_WIDTH=\(channels) " : ""
            try check(kernel + options) { y in
                try bench.run(
                    kernel, in: "depthwise", width + options, buffers + [y, .structure(s)], global: global,
                    local: local)
            }
        }
        guard kind == .product else {
            try narrow("-DWB_CPU_SHAPE=1", global: CLSize((rows + 7) / 8), local: 1)
            try narrow("", global: CLSize((rows * oc + 15) / 16 * 16), local: 16)
            if kind == .depthwise, c >= 16, axes.kernel[2] == 3, axes.dilations[2] == 1 {
                try narrow(
                    "-DWB_CPU_SHAPE=1 -DWB_LINE=3 -DWB_STRIDE=\(axes.strides[2]) -DWB_MOST_ROWS=9",
                    global: CLSize(1, rows / axes.output[2]), local: [1, 1])
            }
            return
        }
        for tile in [8, 7] {
            try check("tiles of \(tile)") { y in
                try bench.run(
                    "convolution", in: "convolution", "-DWB_CPU_SHAPE=1 -DWB_TILE_ROWS=\(tile)",
                    buffers + [y, .structure(s)],
                    global: CLSize((rows + tile - 1) / tile, groups * panels), local: [1, 1])
            }
        }
        let tile = "-DWB_ROWS=32 -DWB_COLUMNS=32 -DWB_ROLLED=1"
        let (chunks, across, down) = ((taps * channels + 255) / 256, (columns + 31) / 32, (rows + 31) / 32)
        try check("kernels for a GPU") { y in
            try bench.run(
                "convolution", in: "convolution", tile, buffers + [y, .structure(s)],
                global: CLSize(groups * across * 16, down, 1), local: [16, 1, 1])
        }
        try check("kernels for a GPU, split") { y in
            let sums = try bench.buffer([Float](repeating: .nan, count: chunks * rows * oc))
            try bench.run(
                "convolution", in: "convolution", tile + " -DWB_SPLIT=1", buffers + [sums, .structure(s)],
                global: CLSize(groups * across * 16, down, chunks), local: [16, 1, 1])
            try bench.run(
                "join_chunks", in: "convolution", "", [sums, buffers[2], buffers[3], y, .structure(s)],
                global: CLSize(rows * oc), local: 1)
        }
    }

    @Test(arguments: 0..<12)
    func pools(seed: Int) throws {
        var random = SeededRandom("pools \(seed)")
        let axes = Axes(&random)
        let (images, c) = (1 + random.index(below: 2), [1, 3, 16, 21, 40][seed % 5])
        let (inputs, outputs) = (images * axes.inputs * c, images * axes.outputs * c)
        // Few values, so that there are ties, and now and then one that is none.
        let x = (0..<inputs).map { _ in
            random.index(below: 50) == 0 ? Float.nan : Float(random.index(below: 9)) - 4
        }
        let (even, dy) = (numbers(inputs, &random), numbers(outputs, &random))
        func int(_ i: Int) -> Int32 { Int32(i) }
        var s = wb_pool()
        (s.n, s.c, s.count_pads) = (int(images), int(c), int(seed % 2))
        (s.d, s.h, s.w) = (int(axes.input[0]), int(axes.input[1]), int(axes.input[2]))
        (s.od, s.oh, s.ow) = (int(axes.output[0]), int(axes.output[1]), int(axes.output[2]))
        (s.kd, s.kh, s.kw) = (int(axes.kernel[0]), int(axes.kernel[1]), int(axes.kernel[2]))
        (s.stride_d, s.stride_h, s.stride_w) = (
            int(axes.strides[0]), int(axes.strides[1]), int(axes.strides[2])
        )
        (s.pad_d, s.pad_h, s.pad_w) = (int(axes.pads[0]), int(axes.pads[1]), int(axes.pads[2]))
        (s.dilation_d, s.dilation_h, s.dilation_w) = (
            int(axes.dilations[0]), int(axes.dilations[1]), int(axes.dilations[2])
        )
        let padded = (0..<3).map { axes.input[$0] + axes.ends[$0] }
        (s.padded_d, s.padded_h, s.padded_w) = (int(padded[0]), int(padded[1]), int(padded[2]))

        var (largest, taken, mean): ([Float], [Int32], [Float]) = ([], [], [])
        var maxBack = [Float](repeating: 0, count: inputs)
        var meanBack = maxBack
        for image in 0..<images {
            forEachIndex(axes.output) { output in
                let places = axes.places(output)
                let pixels = places.map { axes.pixel($0).map { image * axes.inputs + $0 } }
                let real = pixels.enumerated().filter { $0.element != nil }.map { ($0.offset, $0.element!) }
                let count = Float(
                    s.count_pads == 0
                        ? real.count
                        : places.count { place in (0..<3).allSatisfy { place[$0] < padded[$0] } })
                for channel in 0..<c {
                    var (best, tap, sum): (Float, Int32, Float) = (-.infinity, -1, 0)
                    for (offset, pixel) in real {
                        let value = x[pixel * c + channel]
                        if tap < 0 || !(value <= best || best.isNaN) { (best, tap) = (value, int(offset)) }
                        sum += even[pixel * c + channel]
                    }
                    let cotangent = dy[largest.count]
                    for (offset, pixel) in real {
                        if int(offset) == tap { maxBack[pixel * c + channel] += cotangent }
                        meanBack[pixel * c + channel] += cotangent / count
                    }
                    largest.append(best)
                    taken.append(tap)
                    mean.append(sum / count)
                }
            }
        }

        let (rows, pixels) = (Int64(outputs / c), Int64(inputs / c))
        for set in sets {
            let name = String(cString: set.name)
            var y = [Float](repeating: .nan, count: outputs)
            var found = [Int32](repeating: -2, count: outputs)
            var dx = [Float](repeating: .nan, count: inputs)
            set.max_pool(&s, x, &y, 0, rows)
            #expect(bitDifference(y, largest) == nil, "\(name), \(s)")
            set.max_pool_taken(&s, x, &found, 0, rows)
            #expect(found == taken, "\(name), \(s)")
            set.max_pool_vjp(&s, found, dy, &dx, 0, pixels)
            #expect(bitDifference(dx, maxBack) == nil, "\(name), \(s)")
            set.average_pool(&s, even, &y, 0, rows)
            #expect(bitDifference(y, mean) == nil, "\(name), \(s)")
            set.average_pool_vjp(&s, dy, &dx, 0, pixels)
            #expect(bitDifference(dx, meanBack) == nil, "\(name), \(s)")
        }

        guard let bench = try Bench() else { return }
        func run<T: BitwiseCopyable>(
            _ kernel: String, _ shape: String, _ inputs: [CLArgument], _ y: T, _ count: Int
        ) throws -> [T] {
            let output = try bench.buffer([T](repeating: y, count: count))
            try bench.run(
                kernel, in: "pool", shape, inputs + [output, .structure(s)],
                global: CLSize(shape.isEmpty ? c : 1, count / c), local: [1, 1])
            return try bench.numbers(T.self, output, count)
        }
        let (px, peven, pdy) = try (bench.buffer(x), bench.buffer(even), bench.buffer(dy))
        let ptaken = try bench.buffer(taken)
        for shape in ["-DWB_CPU_SHAPE=1", ""] {
            let y = try run("max_pool", shape, [px], Float.nan, outputs)
            #expect(bitDifference(y, largest) == nil, "OpenCL \(shape), \(s)")
            let places = try run("max_pool_taken", shape, [px], Int32(-2), outputs)
            #expect(places == taken, "OpenCL \(shape), \(s)")
            let back = try run("max_pool_vjp", shape, [ptaken, pdy], Float.nan, inputs)
            #expect(bitDifference(back, maxBack) == nil, "OpenCL \(shape), \(s)")
            let average = try run("average_pool", shape, [peven], Float.nan, outputs)
            #expect(bitDifference(average, mean) == nil, "OpenCL \(shape), \(s)")
            let averageBack = try run("average_pool_vjp", shape, [pdy], Float.nan, inputs)
            #expect(bitDifference(averageBack, meanBack) == nil, "OpenCL \(shape), \(s)")
        }
    }
}
