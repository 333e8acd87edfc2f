// The cases of every operator, chosen around the edges of tiles, panels, chunks and vectors.

import Foundation
import Kernels

enum Cases {
    static let all: [OperatorCase] = [
        convolutions, products, activations, arithmetic, pools, normalisations, shapes, slices, constants,
        // Each in a file of its own.
        elementwiseCases, normalisationCases, movementCases, attentionCases, quantisationCases,
        sampleCases,
    ].flatMap { $0 }

    // MARK: Products

    static func conv(
        _ title: String, _ x: [Int], _ outputs: Int, _ kernel: [Int] = [1, 1], strides: [Int] = [1, 1],
        pads: [Int] = [0, 0, 0, 0], dilations: [Int] = [1, 1], groups: Int = 1, autoPad: String? = nil,
        bias: Bool = true,
        adds: Bool = false, clip: Bounds? = nil
    ) -> OperatorCase {
        var window = Reference.Window(kernel: kernel, strides: strides, pads: pads, dilations: dilations)
        var attributes: [String: Attribute] = [
            "kernel_shape": .ints(kernel), "strides": .ints(strides), "dilations": .ints(dilations),
            "group": .int(groups),
        ]
        if let autoPad {
            window.autoPad = autoPad
            attributes["auto_pad"] = .string(autoPad)
        } else {
            attributes["pads"] = .ints(pads)
        }
        let final = window
        var test = OperatorCase(
            "Conv", title, attributes,
            [.activation(x), .constant([outputs, x[1] / groups] + kernel)]
                + (bias ? [.constant([outputs])] : [])
        ) { [Reference.conv($0[0]!, $0[1]!, $0.count > 2 ? $0[2] : nil, final, groups: groups)] }
        test.gradient = { Reference.convGradient($0[0]!, $0[1]!, $1, final, groups: groups) }
        (test.adds, test.clip, test.independent) = (adds, clip, x[0] == 5)
        return test
    }

    static let convolutions: [OperatorCase] = {
        var cases: [OperatorCase] = []
        for pixels in [1, 7, 8, 9, 47, 48, 49, 63, 64, 65] {
            cases.append(conv("pixels", [1, 3, 1, pixels], 33))
        }
        for outputs in [1, 15, 16, 17, 31, 32, 33, 48, 49, 63, 64, 65, 127, 128, 129, 130] {
            cases.append(conv("outputs", [1, 5, 3, 3], outputs))
        }
        for channels in [255, 256, 257, 511, 512, 513, 769] {
            cases.append(conv("terms", [1, channels, 3, 3], 33))
        }
        for channels in [28, 29, 57, 64] {
            cases.append(conv("terms 3×3", [1, channels, 5, 4], 34, [3, 3], pads: [1, 1, 1, 1]))
        }
        cases += [
            conv("5×5", [2, 4, 9, 8], 8, [5, 5], pads: [2, 2, 2, 2]),
            conv("first layer", [1, 3, 23, 21], 64, [7, 7], strides: [2, 2], pads: [3, 3, 3, 3]),
            conv("1×7", [1, 6, 5, 12], 7, [1, 7], pads: [0, 3, 0, 3]),
            conv("7×1", [1, 6, 12, 5], 7, [7, 1], pads: [3, 0, 3, 0]),
            conv("stride 2", [1, 5, 9, 8], 6, [3, 3], strides: [2, 2], pads: [1, 1, 1, 1]),
            conv("stride 3", [1, 4, 11, 10], 6, [3, 3], strides: [3, 3]),
            // Phases of the gradient that have a single tap, and pads.
            conv("RGB, stride 4", [1, 3, 17, 19], 8, [5, 5], strides: [4, 4], pads: [2, 2, 2, 2]),
            conv("8 channels, stride 3", [2, 8, 12, 13], 8, [3, 3], strides: [3, 3], pads: [1, 1, 1, 1]),
            conv(
                "40 channels, stride 3", [1, 40, 11, 12], 33, [3, 3], strides: [3, 3], pads: [1, 1, 1, 1]),
            conv("kernel 4, stride 4", [1, 8, 15, 16], 8, [4, 4], strides: [4, 4], pads: [1, 1, 1, 1]),
            conv(
                "kernel 2, stride 4, far pads", [1, 8, 15, 16], 8, [2, 2], strides: [4, 3],
                pads: [5, 1, 0, 6]),
            conv("strides 2, 3 of 1×1", [1, 5, 9, 11], 6, strides: [2, 3]),
            conv("strides 1, 2", [1, 4, 6, 9], 5, [2, 3], strides: [1, 2], pads: [1, 0, 0, 1]),
            conv("dilations", [1, 5, 11, 13], 6, [3, 3], pads: [2, 3, 2, 3], dilations: [2, 3]),
            conv(
                "stride and dilation", [2, 4, 13, 12], 9, [3, 3], strides: [2, 3], pads: [3, 1, 2, 0],
                dilations: [3, 2]),
            conv("asymmetric pads", [1, 3, 6, 7], 4, [3, 3], pads: [0, 1, 2, 3]),
            conv("pads beyond the kernel", [1, 3, 3, 2], 4, [2, 2], strides: [2, 1], pads: [3, 3, 3, 4]),
            conv("1×1 with pads", [1, 3, 3, 2], 4, pads: [1, 1, 1, 1]),
            conv(
                "1×1, as large as the input by strides and pads", [1, 5, 3, 3], 6, strides: [2, 2],
                pads: [1, 1, 1, 1]),
            // Tiles of neighbours in a line, clear of padding and not.
            conv("wide", [2, 7, 6, 43], 40, [3, 3], pads: [1, 1, 1, 1]),
            conv("wide, stride", [2, 3, 9, 61], 40, [3, 3], strides: [2, 2], pads: [1, 1, 1, 1]),
            conv("wide, short runs", [1, 3, 11, 71], 33, [5, 5], strides: [2, 2], pads: [2, 2, 2, 2]),
            conv(
                "wide, stride and dilation", [1, 23, 12, 66], 33, [3, 3], strides: [1, 3],
                pads: [2, 4, 2, 4],
                dilations: [2, 4]),
            conv("wide, 1×1 with strides", [1, 9, 5, 37], 33, strides: [1, 2]),
            conv("even kernel", [1, 3, 6, 7], 4, [4, 2], strides: [2, 1], pads: [1, 1, 2, 0]),
            conv("no bias", [1, 3, 4, 4], 40, [3, 3], bias: false),
            conv("same upper", [1, 3, 7, 8], 5, [4, 3], strides: [2, 2], autoPad: "SAME_UPPER"),
            conv("same lower", [1, 3, 7, 8], 5, [4, 3], strides: [2, 2], autoPad: "SAME_LOWER"),
            conv(
                "same, stride beyond kernel", [1, 3, 7, 8], 5, [1, 1], strides: [3, 3], autoPad: "SAME_UPPER"),
            conv("same, dilated", [1, 2, 9, 9], 5, [3, 3], dilations: [2, 2], autoPad: "SAME_LOWER"),
            conv("valid", [1, 3, 7, 8], 5, [4, 3], strides: [2, 2], autoPad: "VALID"),
            conv("2 groups", [2, 6, 5, 5], 10, [3, 3], pads: [1, 1, 1, 1], groups: 2),
            conv("4 groups over panels", [1, 12, 4, 5], 132, [3, 3], pads: [1, 1, 1, 1], groups: 4),
            conv(
                "4 wide groups", [1, 4 * 67, 3, 3], 12, [2, 2], strides: [2, 2], pads: [1, 1, 0, 0], groups: 4
            ),
            conv("groups of one input", [1, 5, 4, 5], 10, [3, 3], pads: [1, 1, 1, 1], groups: 5),
            conv("groups of one output", [1, 10, 4, 5], 5, [3, 3], pads: [1, 1, 1, 1], groups: 5),
            conv(
                "groups of four", [1, 8, 4, 5], 70, [3, 3], strides: [1, 2], pads: [1, 1, 1, 1], groups: 2),
            conv("adds and clips", [2, 7, 5, 4], 37, [3, 3], pads: [1, 1, 1, 1], adds: true, clip: .relu),
            conv(
                "adds and clips, 24 columns of 49 pixels", [1, 40, 7, 7], 56, adds: true, clip: Bounds(0, 6)),
            conv("adds, 16 columns", [1, 9, 7, 8], 48, adds: true),
            conv("adds", [1, 70, 5, 4], 64, [3, 3], pads: [1, 1, 1, 1], bias: false, adds: true),
            conv("clips to crossed bounds", [1, 4, 3, 3], 37, clip: Bounds(0.5, -0.25)),
            conv(
                "depthwise, clips to crossed bounds", [1, 19, 3, 3], 19, [3, 3], groups: 19,
                clip: Bounds(0.5, -0.25)),
            conv("clips to 0 … 6", [1, 40, 5, 4], 65, [3, 3], clip: Bounds(0, 6)),
            conv(
                "adds and clips, groups", [2, 6, 5, 4], 74, [3, 3], groups: 2, adds: true,
                clip: Bounds(-0.5, 0.75)),
            conv("5 images", [5, 13, 5, 7], 35, [3, 3], strides: [2, 1], pads: [1, 1, 1, 1]),
            conv("5 images", [5, 300, 3, 3], 66),
            conv("5 images, 2 groups", [5, 8, 5, 7], 6, [3, 3], pads: [1, 1, 1, 1], groups: 2),
            conv("5 images, adds and clips", [5, 9, 3, 3], 32, adds: true, clip: .relu),
            conv("many pixels", [3, 6, 15, 13], 24, [3, 3], pads: [1, 1, 1, 1]),
            // As many outputs as make the largest tiles of the GPU shape worth while on a device with as many units as cores.
            conv("large tiles", [1, 4, 1, 2 * 128 * 128 * CPU.cores / 130 + 300], 130),
        ]
        // 3×3 convolutions that go by Winograd's way, and their neighbours that do not: tiles of 2×2 and 4×4, panels, chunks,
        // batches of tiles, pads. Errors are those of a tile, not of an output, so a small output may have a larger one.
        for (pixels, c, o) in [
            (3, 32, 32), (4, 32, 32), (5, 48, 16), (6, 64, 48), (7, 31, 32), (7, 32, 33), (7, 528, 48),
            (8, 272, 80),
            (8, 32, 32), (9, 32, 32), (10, 48, 16), (11, 32, 48), (12, 64, 80), (13, 31, 32), (13, 32, 33),
            (16, 256, 32), (9, 272, 48), (9, 528, 32),
        ] {
            var test = conv("Winograd", [1, c, pixels, 9], o, [3, 3], pads: [1, 1, 1, 1])
            test.tolerance = 16
            cases.append(test)
        }
        // Its gradient's phases have kernels of 3×3.
        var phases = conv(
            "stride 2, phases of Winograd", [1, 32, 25, 26], 32, [6, 6], strides: [2, 2], pads: [2, 2, 2, 2])
        phases.tolerance = 16
        cases.append(phases)
        for var test in [
            conv("Winograd, 4×4", [1, 32, 4, 4], 32, [3, 3], pads: [1, 1, 1, 1]),
            conv("Winograd, 5×4", [3, 48, 5, 4], 32, [3, 3], pads: [1, 1, 1, 1], adds: true),
            conv("Winograd, 7×7", [1, 512, 7, 7], 64, [3, 3], pads: [1, 1, 1, 1], clip: .relu),
            conv("Winograd, 8×5", [2, 64, 8, 5], 96, [3, 3], pads: [1, 1, 1, 1], bias: false, adds: true),
            conv("Winograd, small, pads", [2, 32, 7, 6], 48, [3, 3], pads: [0, 1, 1, 0]),
            conv("not Winograd, small, wide pads", [1, 32, 6, 6], 48, [3, 3], pads: [1, 1, 1, 2]),
            conv("Winograd, small, valid", [1, 32, 7, 9], 32, [3, 3], clip: Bounds(-0.5, 0.5)),
            conv(
                "Winograd, 5 small images", [5, 32, 7, 7], 32, [3, 3], pads: [1, 1, 1, 1], adds: true,
                clip: .relu),
            conv("Winograd, many small tiles", [34, 32, 8, 7], 32, [3, 3], pads: [1, 1, 1, 1]),
            conv("Winograd, pads", [2, 32, 13, 14], 32, [3, 3], pads: [0, 1, 1, 0], bias: false),
            conv("not Winograd, wide pads", [1, 32, 9, 9], 48, [3, 3], pads: [1, 1, 2, 1]),
            conv("Winograd, valid", [1, 48, 11, 15], 32, [3, 3]),
            conv(
                "Winograd, adds", [2, 32, 10, 9], 96, [3, 3], pads: [1, 1, 1, 1], adds: true, clip: .relu),
            conv(
                "Winograd, 5 images", [5, 32, 9, 17], 64, [3, 3], pads: [1, 1, 1, 1], clip: Bounds(-0.5, 0.5)),
            conv("Winograd, many tiles", [3, 32, 45, 43], 32, [3, 3], pads: [1, 1, 1, 1], adds: true),
        ] {
            test.tolerance = 16
            cases.append(test)
        }
        for channels in [1, 15, 16, 17, 33, 64, 65] {
            cases.append(
                conv(
                    "depthwise", [2, channels, 5, 6], channels, [3, 3], pads: [1, 1, 1, 1], groups: channels))
        }
        cases += [
            conv(
                "depthwise, stride", [5, 35, 7, 6], 35, [3, 3], strides: [2, 2], pads: [0, 0, 1, 1],
                groups: 35),
            conv(
                "depthwise, dilation", [1, 18, 9, 10], 18, [3, 3], strides: [1, 2], pads: [2, 2, 2, 2],
                dilations: [2, 2], groups: 18),
            conv(
                "depthwise, 5×5, stride", [1, 33, 9, 19], 33, [5, 5], strides: [2, 2], pads: [2, 2, 2, 2],
                groups: 33),
            conv("depthwise, many taps", [1, 17, 19, 18], 17, [17, 17], groups: 17, bias: false),
            conv("depthwise, 256 taps", [1, 3, 17, 17], 3, [16, 16], groups: 3),
            conv("depthwise, 513 taps", [1, 18, 20, 28], 18, [19, 27], groups: 18),
            conv(
                "depthwise, adds and clips", [2, 49, 6, 5], 49, [5, 5], pads: [2, 2, 2, 2], groups: 49,
                adds: true, clip: Bounds(0, 6)),
            conv("depthwise, many pixels", [1, 20, 15, 14], 20, [3, 3], pads: [1, 1, 1, 1], groups: 20),
            conv("depthwise, 65 taps", [1, 16, 14, 6], 16, [13, 5], groups: 16),
            conv("groups of 4", [5, 32, 5, 6], 32, [3, 3], pads: [1, 1, 1, 1], groups: 8),
            conv(
                "groups of 4, 65 taps", [1, 32, 13, 9], 32, [13, 5], pads: [0, 2, 0, 2], groups: 8,
                bias: false),
            conv(
                "groups of 8, stride", [2, 64, 7, 6], 64, [3, 3], strides: [2, 2], pads: [1, 1, 1, 1],
                groups: 8),
            conv("groups of 8, 32 taps", [1, 32, 8, 9], 32, [8, 4], groups: 4),
            conv(
                "groups of 8, adds and clips", [1, 96, 5, 7], 96, [5, 5], pads: [2, 2, 2, 2], groups: 12,
                adds: true,
                clip: Bounds(0, 6)),
            conv("groups of 16", [2, 64, 6, 5], 64, [3, 3], pads: [1, 1, 1, 1], groups: 4),
            conv(
                "groups of 16, dilation", [1, 32, 9, 11], 32, [5, 5], strides: [1, 2], pads: [3, 3, 3, 3],
                dilations: [2, 1], groups: 2),
            conv(
                "groups of 4 in no whole panels", [1, 24, 5, 6], 24, [3, 3], pads: [1, 1, 1, 1], groups: 6),
            conv("groups of 4 to 8", [1, 32, 5, 6], 64, [3, 3], pads: [1, 1, 1, 1], groups: 8),
            // Phases of the gradient: together in one convolution, apart, and some that meet no tap.
            conv(
                "stride 2, phases apart", [2, 20, 9, 8], 40, [3, 3], strides: [2, 2], pads: [1, 1, 1, 1]),
            conv(
                "stride 2, phases together, many terms", [1, 7, 9, 8], 150, [3, 3], strides: [2, 2],
                pads: [0, 1, 1, 0]),
            conv("stride 2 of 1×1, phases apart", [1, 40, 7, 6], 12, strides: [2, 2]),
            conv(
                "stride 2, dilations", [1, 3, 15, 14], 5, [3, 3], strides: [2, 2], pads: [2, 3, 2, 3],
                dilations: [2, 3]),
            conv(
                "stride 4, dilation 2", [1, 3, 19, 17], 5, [3, 3], strides: [4, 4], pads: [1, 1, 1, 1],
                dilations: [2, 2]),
            conv("stride beyond the image", [1, 3, 4, 3], 5, [2, 2], strides: [7, 7]),
        ]
        return cases
    }()

    static func batchNorm(_ x: [Int], adds: Bool = false, clip: Bounds? = nil) -> OperatorCase {
        let c = x[1]
        var test = OperatorCase(
            "BatchNormalization", ["epsilon": .float(1e-3)],
            [
                .activation(x), .constant([c]), .constant([c]), .constant([c]),
                .constant([c], .between(0.2, 2)),
            ]
        ) { [Reference.batchNormalization($0.map { $0! }, epsilon: Double(Float(1e-3)))] }
        (test.adds, test.clip, test.independent) = (adds, clip, x[0] == 5)
        if adds { test.title += ", adds and clips" }
        return test
    }

    static func gemm(
        _ m: Int, _ k: Int, _ n: Int, c: [Int]?, alpha: Float = 1, beta: Float = 1, transA: Bool = false,
        transB: Bool = false, adds: Bool = false, clip: Bounds? = nil, activationC: Bool = false
    ) -> OperatorCase {
        var test = OperatorCase(
            "Gemm",
            "α \(alpha), β \(beta), \(transA ? "Aᵀ" : "A") \(transB ? "Bᵀ" : "B")\(adds ? ", adds" : "")",
            [
                "alpha": .float(alpha), "beta": .float(beta), "transA": .int(transA ? 1 : 0),
                "transB": .int(transB ? 1 : 0),
            ],
            [.activation(transA ? [k, m] : [m, k]), .constant(transB ? [n, k] : [k, n])]
                + (c.map { [activationC ? .activation($0) : .constant($0)] } ?? [])
        ) {
            [Reference.gemm($0, alpha: Double(alpha), beta: Double(beta), transA: transA, transB: transB)]
        }
        (test.adds, test.clip) = (adds, clip)
        test.independent = m == 5 && !transA && (c == nil || c!.last == c!.reduce(1, *))
        return test
    }

    static func matMul(_ a: OperatorCase.Input, _ b: OperatorCase.Input) -> OperatorCase {
        OperatorCase("MatMul", [a, b]) { [Reference.matMul($0[0]!, $0[1]!)] }
    }

    static let products: [OperatorCase] = [
        batchNorm([2, 1, 3, 4]), batchNorm([2, 17, 3, 4]), batchNorm([5, 70, 2, 3]), batchNorm([3, 33]),
        batchNorm([2, 19, 5, 5], adds: true, clip: .relu), batchNorm([4, 19], adds: true, clip: .relu),
        batchNorm([5, 3, 7]), batchNorm([2, 3, 2, 3, 2]), batchNorm([2, 19, 6], adds: true, clip: .relu),
        gemm(1, 512, 10, c: [10], transB: true), gemm(5, 257, 33, c: [33], transB: true),
        gemm(5, 64, 31, c: nil),
        gemm(9, 40, 65, c: [65], alpha: 0.5, beta: 2), gemm(4, 20, 30, c: [1], alpha: 1.5, transA: true),
        gemm(7, 20, 30, c: [], transA: true, transB: true), gemm(4, 20, 6, c: [4, 1], beta: 0.5),
        gemm(4, 20, 6, c: [1, 6], beta: 0.5), gemm(4, 20, 6, c: [4, 6]), gemm(4, 20, 6, c: [6], beta: 0),
        gemm(4, 20, 6, c: [4, 6], beta: -1.5, activationC: true), gemm(4, 20, 6, c: [6], activationC: true),
        gemm(4, 20, 1, c: [1]), gemm(6, 20, 35, c: [35], adds: true, clip: .relu),
        gemm(6, 20, 35, c: [6, 1], adds: true, clip: Bounds(-0.5, 0.5)),
        matMul(.activation([3, 20]), .constant([20, 33])),
        matMul(.activation([2, 3, 257]), .constant([257, 5])),
        matMul(.activation([2, 3, 4, 20]), .constant([20, 6])),
        matMul(.activation([20]), .constant([20, 6])),
        matMul(.activation([2, 3, 4, 5, 8]), .constant([8, 9])),
        matMul(.activation([3, 20]), .activation([20, 7])), matMul(.activation([20]), .activation([20])),
        matMul(.activation([20]), .activation([3, 20, 4])),
        matMul(.activation([3, 4, 20]), .activation([20])),
        matMul(.activation([2, 1, 4, 6]), .activation([3, 6, 5])),
        matMul(.activation([3, 1, 4, 6]), .activation([1, 2, 6, 5])),
        matMul(.activation([2, 3, 4, 6]), .activation([2, 3, 6, 5])),
        matMul(.activation([4, 6]), .activation([2, 3, 6, 5])),
        matMul(.activation([2, 1, 3, 4, 6]), .activation([2, 1, 6, 5])),
        matMul(.activation([2, 600]), .activation([600, 3])),
        matMul(.constant([4, 6]), .activation([2, 6, 5])),
        matMul(.activation([2, 2, 1, 2, 3, 4]), .activation([3, 1, 4, 2])),
        matMul(.activation([3, 4, 6]), .constant([3, 6, 5])),
        matMul(.activation([1, 3, 4, 6]), .constant([6])),
    ]

    // MARK: Functions of one number

    private static func unary(
        _ name: String, _ fill: OperatorCase.Fill = .uniform(4), _ attributes: [String: Attribute] = [:],
        opset: Int = 17,
        extra: [OperatorCase.Input] = [], title: String = "", shapes: [[Int]] = [[2, 5, 3, 4], [37]],
        magnitude: (@Sendable (Double) -> Double)? = nil, _ f: @escaping @Sendable (Double) -> Double
    ) -> [OperatorCase] {
        shapes.map { dims in
            var test = OperatorCase(name, title, opset: opset, attributes, [.activation(dims, fill)] + extra)
            {
                [Reference.unary($0[0]!, f, magnitude: magnitude)]
            }
            test.independent = dims[0] == 5
            return test
        }
    }

    private static let bound: [OperatorCase.Input] = [
        .constant([], .exactly([-0.5])), .constant([], .exactly([1.5])),
    ]

    static let activations: [OperatorCase] = {
        let many = [[5, 7, 3, 4], [41001], [3, 1], [2, 3, 2, 2, 2, 3], [1, 3, 1, 1]]
        let relu: @Sendable (Double) -> Double = { max($0, 0) }
        var cases: [OperatorCase] = []
        cases += unary("Relu", .away(from: [0]), shapes: many, relu)
        cases += unary("LeakyRelu", .away(from: [0]), ["alpha": .float(0.25)]) { $0 < 0 ? 0.25 * $0 : $0 }
        cases += unary("LeakyRelu", .away(from: [0]), title: "default") {
            $0 < 0 ? Double(Float(0.01)) * $0 : $0
        }
        cases += unary("Clip", .away(from: [-0.5, 1.5]), extra: bound) { min(max($0, -0.5), 1.5) }
        cases += unary("Clip", .away(from: [1.5]), extra: [.absent, bound[1]]) { min($0, 1.5) }
        cases += unary("Clip", .away(from: [-0.5]), extra: [bound[0]]) { max($0, -0.5) }
        cases += unary("Clip") { $0 }
        cases += unary(
            "Clip", .uniform(4), ["min": .float(1), "max": .float(-1)], opset: 7, title: "crossed bounds"
        ) { _ in -1 }
        cases += unary("Clip", .away(from: [0, 1.5]), ["min": .float(0), "max": .float(1.5)], opset: 7) {
            min(max($0, 0), 1.5)
        }
        cases += unary("Sigmoid", .uniform(6), shapes: many) { 1 / (1 + exp(-$0)) }
        cases += unary(
            "HardSigmoid", .away(from: [-2.5, 2.5], low: -4, high: 4), magnitude: { abs($0) / 5 + 0.5 }
        ) {
            min(max(Double(Float(0.2)) * $0 + 0.5, 0), 1)
        }
        cases += unary(
            "HardSigmoid", .away(from: [-1, 3], low: -4, high: 4),
            ["alpha": .float(0.25), "beta": .float(0.25)], title: "α ¼, β ¼",
            magnitude: { abs($0) / 4 + 0.25 }
        ) { min(max(0.25 * $0 + 0.25, 0), 1) }
        cases += unary(
            "HardSwish", .away(from: [-3, 3], low: -5, high: 5), magnitude: { abs($0) * (abs($0) / 6 + 0.5) }
        ) {
            $0 * min(max($0 / 6 + 0.5, 0), 1)
        }
        cases += unary("Tanh") { tanh($0) }
        cases += unary("Elu", .away(from: [0])) { $0 < 0 ? expm1($0) : $0 }
        cases += unary("Elu", .away(from: [0]), ["alpha": .float(0.5)], title: "α ½") {
            $0 < 0 ? 0.5 * expm1($0) : $0
        }
        cases += unary("Exp") { exp($0) }
        cases += unary("Log", .between(0.2, 5)) { log($0) }
        cases += unary("Sqrt", .between(0.2, 5)) { $0.squareRoot() }
        cases += unary("Erf", .uniform(2)) { erf($0) }
        cases += unary("Abs", .away(from: [0])) { abs($0) }
        cases += unary("Neg") { -$0 }
        for (x, slope) in [
            ([2, 5, 3, 4], [5, 1, 1]), ([2, 5, 3, 4], [1]), ([2, 5, 3, 4], []),
            ([2, 5, 3, 4], [1, 5, 1, 1]),
            ([2, 5, 3, 4], [5, 3, 4]), ([2, 5, 3, 4], [2, 5, 3, 4]), ([3, 7], [7]),
        ] as [([Int], [Int])] {
            cases.append(
                OperatorCase("PRelu", [.activation(x, .away(from: [0])), .constant(slope)]) { inputs in
                    [Reference.binary(inputs[0]!, inputs[1]!) { $0 < 0 ? $0 * $1 : $0 }]
                })
        }
        return cases
    }()

    // MARK: Arithmetic

    static let arithmetic: [OperatorCase] = {
        typealias Pair = ([Int], [Int])
        let shapes: [Pair] = [
            ([2, 5, 3, 4], [2, 5, 3, 4]), ([2, 5, 3, 4], [5, 1, 1]), ([2, 5, 3, 4], []), ([], [2, 5, 3, 4]),
            ([2, 5, 3, 4], [1]), ([2, 5, 1, 1], [2, 5, 3, 4]), ([2, 1, 3, 4], [2, 5, 3, 4]),
            ([1, 5, 3, 1], [2, 1, 1, 4]),
            ([2, 5, 3, 4], [4]), ([2, 5, 3, 4], [3, 4]), ([2, 5, 3, 4], [5, 3, 4]),
            ([2, 1, 1, 4], [2, 5, 3, 4]),
            ([3, 4], [4]), ([3, 1], [1, 4]), ([2, 3, 4], [3, 1]), ([2, 3, 4, 5, 2], [4, 1, 2]),
            ([2, 3, 2, 3, 2, 3], [2, 3, 1, 3]),
            ([2, 1, 2, 1, 2, 1], [1, 3, 1, 3, 1, 3]), ([1], [1]), ([], []),
        ]
        var cases: [OperatorCase] = []
        let operations: [(String, @Sendable (Double, Double) -> Double)] = [
            ("Add", { $0 + $1 }), ("Sub", { $0 - $1 }), ("Mul", { $0 * $1 }), ("Div", { $0 / $1 }),
        ]
        for (name, f) in operations {
            for (i, (a, b)) in shapes.enumerated() where name == "Add" || i % 2 == 0 || i == 7 {
                cases.append(
                    OperatorCase(name, [.activation(a), .activation(b, .between(0.5, 2))]) {
                        [Reference.binary($0[0]!, $0[1]!, f)]
                    })
            }
            cases.append(
                OperatorCase(name, [.activation([2, 5, 3, 4]), .constant([5, 1, 1], .between(0.5, 2))]) {
                    [Reference.binary($0[0]!, $0[1]!, f)]
                })
            cases.append(
                OperatorCase(name, [.constant([1, 1, 3, 4]), .activation([5, 6, 3, 4], .between(0.5, 2))]) {
                    [Reference.binary($0[0]!, $0[1]!, f)]
                })
        }
        cases.append(
            OperatorCase("Mul", "long", [.activation([3, 41, 33, 17]), .activation([41, 1, 1])]) {
                [Reference.binary($0[0]!, $0[1]!, *)]
            })
        for inputs in [[[2, 5, 3, 4]], [[2, 5, 3, 4], [5, 1, 1], [4]], [[3], [2, 3], [1, 1, 1]]] as [[[Int]]]
        {
            cases.append(
                OperatorCase("Sum", inputs.map { .activation($0) }) { tensors in
                    let sum = tensors.dropFirst().reduce(tensors[0]!) { Reference.binary($0, $1!, +) }
                    var magnitudes = sum
                    magnitudes.magnitudes =
                        tensors.dropFirst().reduce(Reference.unary(tensors[0]!, abs)) {
                            Reference.binary($0, Reference.unary($1!, abs), +)
                        }.values
                    return [magnitudes]
                })
        }
        return cases
    }()

    // MARK: Pools and reductions

    static func pool(
        _ title: String, _ x: [Int], _ kernel: [Int], strides: [Int] = [1, 1], pads: [Int] = [0, 0, 0, 0],
        dilations: [Int] = [1, 1], autoPad: String? = nil, ceil: Bool = false
    ) -> [OperatorCase] {
        var window = Reference.Window(kernel: kernel, strides: strides, pads: pads, dilations: dilations)
        window.ceil = ceil
        var attributes: [String: Attribute] = [
            "kernel_shape": .ints(kernel), "strides": .ints(strides), "ceil_mode": .int(ceil ? 1 : 0),
        ]
        if dilations != [1, 1] { attributes["dilations"] = .ints(dilations) }
        if let autoPad {
            window.autoPad = autoPad
            attributes["auto_pad"] = .string(autoPad)
        } else {
            attributes["pads"] = .ints(pads)
        }
        let final = window
        var cases = [
            OperatorCase("MaxPool", title, attributes, [.activation(x, .distinct)]) {
                [Reference.maxPool($0[0]!, final)]
            }
        ]
        for countPads in [false, true] {
            attributes["count_include_pad"] = .int(countPads ? 1 : 0)
            cases.append(
                OperatorCase(
                    "AveragePool", title + (countPads ? ", pads count" : ""), opset: 19, attributes,
                    [.activation(x)]
                ) {
                    [Reference.averagePool($0[0]!, final, countPads: countPads)]
                })
        }
        for i in cases.indices { cases[i].independent = x[0] == 5 }
        return cases
    }

    static func reduction(
        _ x: [Int], _ axes: [Int]?, keep: Bool = true, opset: Int = 18, noop: Bool = false
    ) -> [OperatorCase] {
        ["ReduceMean", "ReduceSum"].map { name in
            var attributes: [String: Attribute] = ["keepdims": .int(keep ? 1 : 0)]
            if noop { attributes["noop_with_empty_axes"] = .int(1) }
            var inputs: [OperatorCase.Input] = [.activation(x)]
            let axesAreInput = opset >= (name == "ReduceMean" ? 18 : 13)
            if let axes {
                if axesAreInput { inputs.append(.ints(axes)) } else { attributes["axes"] = .ints(axes) }
            }
            let all = axes ?? (noop ? [] : Array(x.indices))
            return OperatorCase(
                name, keep ? "keeps, axes \(all)" : "axes \(all)", opset: opset, attributes, inputs
            ) {
                [Reference.reduce($0[0]!, axes: all, keep: keep, mean: name == "ReduceMean")]
            }
        }
    }

    static let pools: [OperatorCase] = {
        var cases: [OperatorCase] = []
        cases += pool("2×2", [2, 5, 6, 8], [2, 2], strides: [2, 2])
        cases += pool("ResNet", [1, 65, 9, 8], [3, 3], strides: [2, 2], pads: [1, 1, 1, 1])
        cases += pool("overlap", [5, 17, 7, 7], [3, 3])
        cases += pool("asymmetric", [1, 3, 7, 6], [3, 2], strides: [1, 2], pads: [0, 1, 2, 0])
        cases += pool("ceil", [1, 16, 8, 7], [3, 3], strides: [2, 2], ceil: true)
        cases += pool(
            "ceil and pads", [1, 3, 6, 7], [3, 3], strides: [2, 3], pads: [1, 1, 1, 1], ceil: true)
        cases += pool(
            "ceil, last window dropped", [1, 3, 4, 5], [2, 2], strides: [3, 3], pads: [0, 1, 1, 1], ceil: true
        )
        cases += pool(
            "dilated", [1, 4, 9, 10], [3, 2], strides: [1, 2], pads: [1, 0, 1, 0], dilations: [2, 3])
        cases += pool(
            "dilated, ceil", [1, 4, 10, 9], [2, 2], strides: [3, 2], pads: [1, 1, 0, 0], dilations: [2, 2],
            ceil: true)
        cases += pool("same upper", [1, 3, 7, 8], [3, 2], strides: [2, 2], autoPad: "SAME_UPPER")
        cases += pool("same lower", [1, 3, 7, 8], [3, 2], strides: [2, 2], autoPad: "SAME_LOWER")
        cases += pool("valid", [1, 3, 7, 8], [3, 2], strides: [2, 2], autoPad: "VALID")
        cases += pool("stride beyond kernel", [1, 3, 8, 9], [2, 1], strides: [3, 4])
        cases += pool("many", [2, 64, 15, 14], [3, 3], strides: [2, 2], pads: [1, 1, 1, 1])
        for x in [[5, 17, 7, 7], [1, 3, 1, 1], [2, 64, 4, 5], [1, 40, 14, 15]] {
            var mean = OperatorCase("GlobalAveragePool", [.activation(x)]) {
                [Reference.reduce($0[0]!, axes: [2, 3], keep: true, mean: true)]
            }
            var largest = OperatorCase("GlobalMaxPool", [.activation(x, .distinct)]) {
                [Reference.maxPool($0[0]!, Reference.Window(kernel: Array(x[2...])))]
            }
            mean.independent = x[0] == 5
            largest.independent = x[0] == 5
            cases += [mean, largest]
        }
        for keep in [true, false] {
            cases += reduction([2, 5, 3, 4], [2, 3], keep: keep)
            cases += reduction([2, 5, 3, 4], [1], keep: keep)
            cases += reduction([2, 5, 3, 4], [0, 3], keep: keep, opset: 11)
            cases += reduction([2, 5, 3, 4], [-1, 0], keep: keep)
            cases += reduction([2, 5, 3, 4], nil, keep: keep)
            cases += reduction([3, 40], [1], keep: keep)
            cases += reduction([40, 35], [0], keep: keep)
            cases += reduction([2, 3, 2, 3, 2, 3], [1, 4], keep: keep)
        }
        cases += reduction([2, 5, 3, 4], nil, opset: 18, noop: true)
        cases += reduction([2, 3, 4], [1], keep: false, opset: 12)
        cases += reduction([3, 300, 40], [1])
        cases += reduction([1, 3, 90, 91], [1, 2, 3], keep: false)
        return cases
    }()

    // MARK: Normalisations

    static let normalisations: [OperatorCase] = {
        var cases: [OperatorCase] = []
        for logarithm in [false, true] {
            for (x, axis, opset) in [
                ([3, 10], nil, 13), ([3, 10], nil, 7), ([5, 1000], -1, 13), ([2, 5, 3, 4], 1, 13),
                ([2, 5, 3, 4], 2, 13),
                ([2, 5, 3, 4], 3, 13), ([2, 5, 3, 4], 0, 13), ([2, 5, 3, 4], 1, 11), ([2, 5, 3, 4], 2, 11),
                ([2, 5, 3, 4], 0, 9),
                ([2, 5, 3, 4], -1, 11), ([2, 3, 4], 1, 13), ([2, 3, 4], 1, 12), ([2, 2, 3, 2, 2], 2, 13),
                ([17], 0, 13),
                ([2, 7, 1, 1], 1, 11), ([2, 7, 1, 1], 1, 13), ([2, 1, 4], 1, 13),
            ] as [([Int], Int?, Int)] {
                let flattens = opset < 13
                let resolved = axis ?? (flattens ? 1 : -1)
                cases.append(
                    OperatorCase(
                        logarithm ? "LogSoftmax" : "Softmax", "axis \(axis.map(String.init) ?? "default")",
                        opset: opset,
                        axis.map { ["axis": .int($0)] } ?? [:], [.activation(x, .uniform(4))]
                    ) {
                        [Reference.softmax($0[0]!, axis: resolved, flattens: flattens, logarithm: logarithm)]
                    })
                cases[cases.count - 1].independent = x[0] == 5
            }
        }
        for (size, x) in [
            (1, [1, 5, 2, 3]), (2, [1, 5, 2, 3]), (3, [5, 8, 2, 3]), (4, [1, 8, 2, 2]), (5, [2, 33, 3, 3]),
            (9, [1, 4, 2, 2]),
        ] as [(Int, [Int])] {
            var test = OperatorCase(
                "LRN", "size \(size)",
                ["size": .int(size), "alpha": .float(0.5), "beta": .float(0.75), "bias": .float(1.25)],
                [.activation(x, .uniform(3))]
            ) { [Reference.lrn($0[0]!, size: size, alpha: 0.5, beta: 0.75, bias: 1.25)] }
            test.independent = x[0] == 5
            cases.append(test)
        }
        cases.append(
            OperatorCase("LRN", "defaults", ["size": .int(5)], [.activation([1, 9, 2, 3], .uniform(30))]) {
                [Reference.lrn($0[0]!, size: 5, alpha: Double(Float(1e-4)), beta: 0.75, bias: 1)]
            })
        return cases
    }()

    // MARK: Shapes

    static let shapes: [OperatorCase] = {
        var cases: [OperatorCase] = []
        func shaped(
            _ name: String, _ x: [Int], _ y: [Int], _ attributes: [String: Attribute] = [:], opset: Int = 17,
            extra: [OperatorCase.Input] = []
        ) {
            cases.append(
                OperatorCase(name, "to \(Shape(y))", opset: opset, attributes, [.activation(x)] + extra) {
                    [Reference.shaped($0[0]!, y)]
                })
            cases[cases.count - 1].independent = x[0] == 5 && y[0] == 5
        }
        shaped("Flatten", [5, 3, 3, 4], [5, 36])
        shaped("Flatten", [2, 3, 3, 4], [6, 12], ["axis": .int(2)])
        shaped("Flatten", [2, 3, 3, 4], [1, 72], ["axis": .int(0)])
        shaped("Flatten", [2, 3, 3, 4], [18, 4], ["axis": .int(-1)])
        shaped("Flatten", [2, 3, 3, 4], [72, 1], ["axis": .int(4)])
        shaped("Flatten", [2, 7, 1, 1], [2, 7])
        shaped("Flatten", [6], [6, 1], ["axis": .int(1)])
        shaped("Reshape", [2, 6, 3, 4], [2, 2, 3, 3, 4], extra: [.ints([0, 2, 3, 3, -1])])
        shaped("Reshape", [2, 6, 3, 4], [2, 3, 4, 6], extra: [.ints([2, 3, 4, 6])])
        shaped("Reshape", [2, 72], [2, 6, 3, 4], extra: [.ints([0, -1, 3, 4])])
        shaped("Reshape", [2, 6, 3, 4], [144], extra: [.ints([-1])])
        shaped("Reshape", [1, 6, 3, 4], [6, 3, 4], extra: [.ints([6, 3, 4])])
        shaped("Reshape", [6, 12], [6, 12, 1, 1], extra: [.ints([6, 12, 1, 1])])
        shaped("Reshape", [6, 12], [6, 1, 3, 4], extra: [.ints([0, 1, 3, 4])])
        shaped("Reshape", [2, 3, 2, 2, 2, 3], [6, 4, 6], extra: [.ints([6, 4, 6])])
        shaped("Reshape", [1], [], extra: [.ints([])])
        shaped("Squeeze", [2, 5, 1, 1], [2, 5], extra: [.ints([2, 3])])
        shaped("Squeeze", [2, 5, 1, 1], [2, 5], ["axes": .ints([-1, -2])], opset: 11)
        shaped("Squeeze", [1, 5, 3, 4], [5, 3, 4], extra: [.ints([0])])
        shaped("Squeeze", [1, 5, 1, 4], [5, 4])
        shaped("Squeeze", [1, 2, 5, 3, 4], [2, 5, 3, 4], extra: [.ints([0])])
        shaped("Unsqueeze", [5, 3, 4], [1, 5, 3, 4], extra: [.ints([0])])
        shaped("Unsqueeze", [5, 4], [5, 1, 4, 1], extra: [.ints([-1, 1])])
        shaped("Unsqueeze", [2, 5, 3, 4], [2, 5, 1, 3, 4, 1], ["axes": .ints([2, 5])], opset: 11)
        shaped("Identity", [5, 3, 3, 4], [5, 3, 3, 4])
        shaped("Dropout", [5, 3, 3, 4], [5, 3, 3, 4])
        shaped("Dropout", [3, 4], [3, 4], ["ratio": .float(0.5)], opset: 7)
        shaped("Cast", [5, 3, 3, 4], [5, 3, 3, 4], ["to": .int(1)])
        for (x, order) in [
            ([2, 5, 3, 4], [0, 2, 3, 1]), ([2, 5, 3, 4], [0, 3, 1, 2]), ([2, 5, 3, 4], [3, 2, 1, 0]),
            ([2, 5, 3, 4], [1, 0, 3, 2]),
            ([2, 5, 3, 4], [0, 1, 2, 3]), ([3, 4], [1, 0]), ([2, 3, 4], [1, 2, 0]),
            ([2, 2, 3, 2, 3], [4, 1, 3, 0, 2]),
            ([2, 3, 2, 3, 2, 2], [5, 0, 3, 1, 4, 2]), ([7], [0]), ([2, 1, 3, 1], [0, 3, 1, 2]),
        ] as [([Int], [Int])] {
            cases.append(
                OperatorCase("Transpose", "\(order)", ["perm": .ints(order)], [.activation(x)]) {
                    [Reference.transpose($0[0]!, order)]
                })
        }
        cases.append(
            OperatorCase("Transpose", "default", [.activation([2, 3, 5])]) {
                [Reference.transpose($0[0]!, [2, 1, 0])]
            })
        return cases
    }()

    // MARK: Parts

    static func slice(
        _ x: [Int], starts: [Int], ends: [Int], axes: [Int]? = nil, steps: [Int]? = nil, opset: Int = 17
    ) -> OperatorCase {
        var inputs: [OperatorCase.Input] = [.activation(x)]
        var attributes: [String: Attribute] = [:]
        if opset < 10 {
            attributes = ["starts": .ints(starts), "ends": .ints(ends)]
            if let axes { attributes["axes"] = .ints(axes) }
        } else {
            inputs += [.ints(starts), .ints(ends)]
            if axes != nil || steps != nil { inputs.append(axes.map { .ints($0) } ?? .absent) }
            if let steps { inputs.append(.ints(steps)) }
        }
        var taken: [Int: [Int]] = [:]
        for i in starts.indices {
            let axis = axes.map { $0[i] < 0 ? $0[i] + x.count : $0[i] } ?? i
            taken[axis] = Reference.slice(x[axis], starts[i], ends[i], steps?[i] ?? 1)
        }
        let final = taken
        return OperatorCase("Slice", opset: opset, attributes, inputs) { [Reference.pick($0[0]!, final)] }
    }

    static func split(_ x: [Int], axis: Int, _ sizes: [Int], opset: Int, listed: Bool = true)
        -> OperatorCase
    {
        var attributes: [String: Attribute] = ["axis": .int(axis)]
        var inputs: [OperatorCase.Input] = [.activation(x)]
        if listed {
            if opset >= 13 { inputs.append(.ints(sizes)) } else { attributes["split"] = .ints(sizes) }
        }
        if !listed && opset >= 18 { attributes["num_outputs"] = .int(sizes.count) }
        let along = axis < 0 ? axis + x.count : axis
        return OperatorCase(
            "Split", "axis \(axis) into \(sizes)", opset: opset, attributes, inputs, outputs: sizes.count
        ) { tensors in
            var start = 0
            return sizes.map { size in
                defer { start += size }
                return Reference.pick(tensors[0]!, [along: Array(start..<(start + size))])
            }
        }
    }

    static func pad(
        _ x: [Int], _ pads: [Int], mode: String = "constant", value: Float? = nil, opset: Int = 13,
        axes: [Int]? = nil
    ) -> OperatorCase {
        var attributes: [String: Attribute] = ["mode": .string(mode)]
        var inputs: [OperatorCase.Input] = [.activation(x)]
        if opset < 11 {
            attributes["pads"] = .ints(pads)
            if let value { attributes["value"] = .float(value) }
        } else {
            inputs.append(.ints(pads))
            if value != nil || axes != nil {
                inputs.append(value.map { .constant([], .exactly([$0])) } ?? .absent)
            }
            if let axes { inputs.append(.ints(axes)) }
        }
        var full = [Int](repeating: 0, count: 2 * x.count)
        for (i, axis) in (axes ?? Array(x.indices)).enumerated() {
            let axis = axis < 0 ? axis + x.count : axis
            (full[axis], full[axis + x.count]) = (pads[i], pads[i + pads.count / 2])
        }
        let final = full
        return OperatorCase("Pad", mode, opset: opset, attributes, inputs) {
            [
                Reference.pad(
                    $0[0]!, final, mode: mode,
                    value: ($0.count > 2 ? $0[2]?.values[0] : nil) ?? Double(value ?? 0))
            ]
        }
    }

    static let slices: [OperatorCase] = {
        var cases: [OperatorCase] = [
            slice([2, 5, 7, 6], starts: [1, 2], ends: [5, -1], axes: [2, 3]),
            slice([2, 5, 7, 6], starts: [1], ends: [4], axes: [1]),
            slice([2, 5, 7, 6], starts: [0, 1, 2, 0], ends: [2, 5, 100, 6], steps: [1, 2, 3, 5]),
            slice([2, 5, 7, 6], starts: [-1, 4], ends: [Int.min, 0], axes: [-1, 1], steps: [-1, -2]),
            slice(
                [2, 5, 7, 6], starts: [-1, -1, -1, -1], ends: [-100, -100, -100, -100],
                steps: [-1, -1, -1, -1]),
            slice([2, 5, 7, 6], starts: [0, 0], ends: [Int.max, Int.max], axes: [2, 3], steps: [2, 2]),
            slice([9], starts: [-3], ends: [Int.max]),
            slice([9], starts: [8], ends: [-10], axes: [0], steps: [-3]),
            slice([3, 8], starts: [100], ends: [0], axes: [1], steps: [-3]),
            slice([3, 8], starts: [1, 3], ends: [3, 4]),
            slice([2, 2, 3, 2, 3], starts: [1, 2], ends: [2, -4], axes: [2, 4], steps: [1, -1]),
            slice([2, 5, 7, 6], starts: [1, -3], ends: [4, 7], axes: [1, 2], opset: 9),
            slice([3, 8], starts: [1], ends: [2], opset: 7),
            slice([4, 6, 9, 5], starts: [2], ends: [4]),
            split([2, 6, 3, 4], axis: 1, [2, 3, 1], opset: 17),
            split([2, 6, 3, 4], axis: 1, [3, 3], opset: 11),
            split([2, 6, 3, 4], axis: -1, [1, 3], opset: 13),
            split([2, 6, 3, 4], axis: 0, [1, 1], opset: 13, listed: false),
            split([2, 7], axis: 1, [3, 3, 1], opset: 18, listed: false),
            split([8, 3], axis: 0, [8], opset: 9),
            pad([2, 5, 3, 4], [0, 0, 1, 2, 0, 0, 3, 1]),
            pad([2, 5, 3, 4], [1, 2, 0, 0, 0, 1, 0, 2], value: 1.5),
            pad([2, 5, 3, 4], [0, 0, 1, 2, 0, 0, 2, 1], value: -2, opset: 7), pad([7], [2, 3], value: 0.5),
            pad([2, 5, 3, 4], [2, 1, 1, 2], axes: [-1, 2]),
            pad([2, 5, 3, 4], [2, 1, 1, 2], value: 3, opset: 18, axes: [3, 1]),
            pad([2, 5, 3, 4], [0, 0, 0, 0, 0, 0, 0, 0]),
        ]
        for mode in ["reflect", "edge", "wrap"] {
            let opset = mode == "wrap" ? 19 : 13
            cases += [
                pad([2, 5, 4, 5], [0, 0, 1, 2, 0, 0, 3, 1], mode: mode, opset: opset),
                pad([3, 3, 3, 3], [2, 1, 0, 2, 1, 2, 2, 0], mode: mode, opset: opset),
                pad([6], [3, 2], mode: mode, opset: opset),
                pad([2, 3, 4], [0, 2, 0, 1, 0, 3], mode: mode, opset: opset),
                pad([5, 4], [4, 0, 0, 3], mode: mode, opset: opset),
            ]
        }
        cases.append(pad([3, 2], [7, 0, 9, 5], mode: "edge"))
        for (shapes, axis) in [
            ([[2, 5, 3, 4], [2, 1, 3, 4], [2, 33, 3, 4]], 1), ([[2, 5, 3, 4], [1, 5, 3, 4]], 0),
            ([[2, 5, 3, 4], [2, 5, 3, 1]], 3),
            ([[2, 5, 3, 4], [2, 5, 2, 4]], -2), ([[3], [4], [1]], 0), ([[2, 3], [2, 4]], 1),
            ([[2, 3, 2, 2, 3], [2, 3, 2, 4, 3]], 3),
            ([[2, 5, 3, 4]], 1), ([[2, 20, 9, 10], [2, 31, 9, 10]], 1),
        ] as [([[Int]], Int)] {
            cases.append(
                OperatorCase("Concat", "axis \(axis)", ["axis": .int(axis)], shapes.map { .activation($0) }) {
                    [Reference.concat($0.map { $0! }, axis: axis)]
                })
        }
        cases.append(
            OperatorCase(
                "Concat", "with a constant", ["axis": .int(1)],
                [.constant([1, 2, 2, 3]), .activation([1, 3, 2, 3])]
            ) {
                [Reference.concat($0.map { $0! }, axis: 1)]
            })
        for (x, axis, index) in [
            ([2, 5, 3, 4], 1, 3), ([2, 5, 3, 4], -1, -2), ([2, 5, 3, 4], 0, 1), ([3, 4], 1, 0), ([7], 0, -1),
            ([2, 3, 2, 2, 3], 2, 1),
        ] as [([Int], Int, Int)] {
            let along = axis < 0 ? axis + x.count : axis
            let at = index < 0 ? index + x[along] : index
            cases.append(
                OperatorCase(
                    "Gather", "axis \(axis)", ["axis": .int(axis)], [.activation(x), .scalar(index)]
                ) {
                    var part = Reference.pick($0[0]!, [along: [at]])
                    part.dims.remove(at: along)
                    return [part]
                })
            cases.append(
                OperatorCase(
                    "Gather", "axis \(axis)", ["axis": .int(axis)], [.activation(x), .ints([index])]
                ) {
                    [Reference.pick($0[0]!, [along: [at]])]
                })
        }
        return cases
    }()

    // MARK: Constants

    static let constants: [OperatorCase] = [
        OperatorCase(
            "Constant", "tensor", ["value": .tensor(HostTensor([2, 2], .floats([1, 2, 3, 4])))], []
        ) { _ in
            [Tensor([2, 2], [1, 2, 3, 4])]
        },
        OperatorCase("Constant", "float", ["value_float": .float(0.5)], []) { _ in [Tensor([], [0.5])] },
        OperatorCase("Constant", "int", ["value_int": .int(7)], []) { _ in [Tensor([], [7])] },
        OperatorCase("Constant", "ints", ["value_ints": .ints([7, 8])], []) { _ in [Tensor([2], [7, 8])] },
        OperatorCase("Constant", "floats", ["value_floats": .floats([7, 8])], []) { _ in
            [Tensor([2], [7, 8])]
        },
        OperatorCase("ConstantOfShape", [.ints([2, 3])]) { _ in [Tensor(zeros: [2, 3])] },
        OperatorCase("ConstantOfShape", ["value": .tensor(HostTensor([1], .floats([2.5])))], [.ints([2])]) {
            _ in [Tensor([2], [2.5, 2.5])]
        },
        OperatorCase("ConstantOfShape", "ints", ["value": .tensor(HostTensor(ints: [3]))], [.ints([1, 2])]) {
            _ in [Tensor([1, 2], [3, 3])]
        },
        OperatorCase("Shape", [.activation([2, 5, 3, 4])]) { _ in [Tensor([4], [2, 5, 3, 4])] },
        OperatorCase("Shape", "part", ["start": .int(1), "end": .int(-1)], [.activation([2, 5, 3, 4])]) { _ in
            [Tensor([2], [5, 3])]
        },
    ]
}
