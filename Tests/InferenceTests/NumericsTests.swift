// The bits are those that they were: digests of logits, gradients and maps, recorded once for each version of the numerics.
//
// `WHITEBOX_RECORD_NUMERICS=yes swift test … --filter NumericsTests` writes what it finds to the file instead of comparing. That is
// for new cases, and for whoever changes a bit on purpose: raise `Whitebox.numerics` first, and say why in Documentation/Determinism.md.

import Explain
import Foundation
import Imaging
import Inference
import Kernels
import TestSupport
import Testing
import Text

/// Of one network: the SHA-256 of numbers, as little-endian binary32 in row-major order, by what they are.
private typealias Digests = [String: String]

@Suite(.serialized) struct NumericsTests {
    private static let file = URL(filePath: #filePath).deletingLastPathComponent().appending(
        path: "numerics-\(Whitebox.numerics).txt")
    private static let records = ProcessInfo.processInfo.environment["WHITEBOX_RECORD_NUMERICS"] != nil

    /// Lines such as `ResNet/logits a3f0…`.
    private static func recorded() throws -> [String: String] {
        guard FileManager.default.fileExists(atPath: file.path) else { return [:] }
        let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
        return Dictionary(
            uniqueKeysWithValues: lines.map { line in
                let space = line.lastIndex(of: " ")!
                return (String(line[..<space]), String(line[line.index(after: space)...]))
            })
    }

    private func digest(_ numbers: [Float]) -> String {
        var hash = SHA256()
        // The payload of a NaN is not specified.
        let bits = numbers.map { ($0.isNaN ? 0x7fc0_0000 : $0.bitPattern).littleEndian }
        bits.withUnsafeBytes { hash.update($0) }
        return hash.digits()
    }

    private func compare(_ name: String, _ found: Digests) throws {
        var known = try Self.recorded()
        if Self.records {
            for (what, digest) in found { known["\(name)/\(what)"] = digest }
            let text = known.sorted { $0.key < $1.key }.map { "\($0) \($1)\n" }.joined()
            try Data(text.utf8).write(to: Self.file, options: .atomic)
            return
        }
        for (what, digest) in found.sorted(by: { $0.key < $1.key }) {
            #expect(
                known["\(name)/\(what)"] == digest,
                "The \(what) of \(name) are not those of numerics \(Whitebox.numerics). If that is on purpose, raise Whitebox.numerics."
            )
        }
        let names = Set(known.keys.filter { $0.hasPrefix(name + "/") })
        #expect(
            names == Set(found.keys.map { "\(name)/\($0)" }), "A recorded digest of \(name) was not made.")
    }

    /// Values, gradients, and maps by every method of the time, for `input` of shape `dims`.
    private func digests(_ network: Network, _ input: [Float], dims: [Int], gradientsToo: Bool = true) throws
        -> Digests
    {
        let device = Device.cpu(try CPU(threads: 2))
        var found: Digests = ["input": digest(input)]
        let values = try network.run(
            input, dims: dims, outputs: [network.logitsName], gradient: gradientsToo ? 2 : nil, on: device)
        found["logits"] = digest(values[0].values)
        if gradientsToo { found["gradient"] = digest(values[1].values) }
        let model = try Model(network, preprocessing: "none")
        var options = Options()
        options.methods = ["gradcam", "fem"]
        options.classChoice = .top(2)
        options.settings["fem"] = ["k": "1"]
        options.device = .cpu
        options.threads = 2
        options.batch = dims[0]
        var maps: [String: [Float]] = [:]
        let size = input.count / dims[0]
        let pictures = (0..<dims[0]).map {
            Picture.array(Array(input[$0 * size..<($0 + 1) * size]), name: "\($0)")
        }
        try ExplanationSession(model, options: options).explain(pictures) { _, result in
            let result = try result.get()
            for explanation in result.explanations {
                maps["\(explanation.method) maps", default: []] += explanation.map.values
                maps["\(explanation.method) heat maps", default: []] += explanation.heatmap.values
            }
            maps["probabilities", default: []] += result.predictions.map(\.probability)
        }
        for (what, numbers) in maps { found[what] = digest(numbers) }
        return found
    }

    @Test(arguments: Style.all) func smallNetworks(_ style: Style) throws {
        try compare(
            style.name, digests(Network(style.network().model()), pictures(3), dims: [3, 3, 14, 14]))
    }

    /// Layers that are wide enough for Winograd's two tiles, for several chunks of terms and for strided gradients of many channels.
    @Test func wideNetwork() throws {
        var n = SmallNetwork("wide", input: ["N", 3, 45, 45])
        var x = n.convNormRelu("image", 3, 32, kernel: 7, stride: 2)
        x = n.relu(n.conv(x, 32, 48))
        var y = n.conv(x, 48, 48)
        x = n.relu(n.node("Add", [y, x]))
        x = n.relu(n.conv(x, 48, 40, kernel: 5, stride: 3))
        y = n.relu(n.conv(x, 40, 40, groups: 40))
        y = n.relu(n.conv(y, 40, 40, groups: 5))
        x = n.concat([x, y, n.relu(n.conv(x, 40, 240, kernel: 1))])
        x = n.relu(n.conv(x, 320, 64, kernel: 1))
        x = n.relu(n.node("Add", [n.conv(x, 64, 64), x]))
        x = n.node("Flatten", [n.pooled(x)])
        n.output(n.gemm(x, 64, 6))
        try compare(
            "wide", digests(Network(n.model()), pictures(2, size: 45), dims: [2, 3, 45, 45]))
    }

    /// Trained networks and photographs, with all that comes before and after the network.
    @Test(
        .enabled(
            if: SharedFiles.file("models") != nil && SharedFiles.file("images") != nil,
            "the shared networks and photographs are not beside this checkout"),
        arguments: [
            ("efficientnet-lite0", "lite"), ("mobilenetv2", "imagenet"), ("squeezenet1.1", "imagenet"),
        ])
    func trainedNetworks(_ name: String, _ preprocessing: String) throws {
        let model = try Model(
            path: SharedFiles.file("models/\(name).onnx")!.path, preprocessing: preprocessing)
        let photos = ["cat_chelsea.png", "african_elephant_1.jpg", "zebra.jpg"]
        var input: [Float] = []
        for photo in photos {
            let view = try model.preprocessing.view(
                of: RGBImage.load(path: SharedFiles.file("images/\(photo)")!.path))
            var numbers = [Float](repeating: 0, count: 3 * 224 * 224)
            numbers.withUnsafeMutableBufferPointer {
                model.preprocessing.write(view, into: $0, order: .planar)
            }
            input += numbers
        }
        try compare(name, digests(model.network, input, dims: [3, 3, 224, 224]))
    }
}
