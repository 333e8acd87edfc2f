// The three trained networks that lie beside the checkout on some machines, with all the photographs there.

import Explain
import Foundation
import Kernels
import TestSupport
import Testing

private let present = SharedFiles.file("models") != nil && SharedFiles.file("images") != nil

@Suite(.enabled(if: present, "the shared networks and photographs are not beside this checkout"))
struct SharedNetworkTests {
    /// Top-1 by SqueezeNet 1.1, MobileNetV2, EfficientNet-Lite0, as ONNX Runtime computes it.
    static let expected: [(photo: String, classes: [Int], probabilities: [Float])] = [
        ("african_elephant_1.jpg", [386, 386, 386], [0.51, 0.88, 0.88]),
        ("african_elephant_2.jpg", [346, 386, 386], [0.43, 0.98, 0.91]),
        ("black_bear_1.jpg", [295, 295, 295], [0.85, 1, 0.94]),
        ("black_bear_2.jpg", [295, 295, 295], [0.98, 1, 0.98]),
        ("cat_chelsea.png", [285, 285, 282], [0.5, 0.71, 0.39]),
        ("coffee.png", [967, 967, 967], [0.87, 0.99, 0.95]),
        ("dog.jpg", [537, 249, 249], [0.92, 0.76, 0.38]),
        ("dog_and_cat.png", [242, 243, 243], [0.23, 0.39, 0.36]),
        ("puppies_1600x1200.jpg", [208, 208, 208], [0.86, 0.92, 0.94]),
        ("zebra.jpg", [340, 340, 340], [0.99, 1, 0.96]),
    ]

    @Test(arguments: [(0, "squeezenet1.1"), (1, "mobilenetv2"), (2, "efficientnet-lite0")])
    func saysWhatOthersSay(_ column: Int, _ name: String) throws {
        let model = try Model(
            path: SharedFiles.file("models/\(name).onnx")!.path,
            preprocessing: name == "efficientnet-lite0" ? "lite" : "imagenet")
        let photos = Self.expected.map { Picture.file(SharedFiles.file("images/\($0.photo)")!.path) }
        func explain(_ device: DeviceChoice, _ shown: [Picture], batch: Int) throws -> [ImageExplanation] {
            var options = Options()
            options.methods = ["gradcam", "fem"]
            options.device = device
            options.batch = batch
            var found: [ImageExplanation] = []
            try ExplanationSession(model, options: options).explain(shown) { _, result in
                found.append(try result.get())
            }
            return found
        }
        let found = try explain(.cpu, photos, batch: 4)
        for (item, result) in zip(Self.expected, found) {
            #expect(result.predictions[0].index == item.classes[column], "\(item.photo)")
            // The list was made with the longer side rounded where torchvision cuts it off, which moves some crops by half a pixel.
            #expect(
                abs(result.predictions[0].probability - item.probabilities[column]) < 0.07, "\(item.photo)")
            #expect(result.explanations.map(\.method) == ["gradcam", "fem"])
            #expect(result.explanations.allSatisfy { $0.blank == nil })
        }
        // Two of them on an OpenCL device: the same bits.
        let there = try explain(.openCL(0), Array(photos[..<2]), batch: 2)
        for (a, b) in zip(there, found) {
            #expect(a.predictions == b.predictions)
            #expect(
                zip(a.explanations, b.explanations).allSatisfy {
                    $0.map == $1.map && $0.heatmap == $1.heatmap
                })
        }
    }
}
