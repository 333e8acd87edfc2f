// The three trained networks that lie beside the checkout on some machines, with all the photographs there.

import Explain
import Foundation
import Kernels
import TestSupport
import Testing

private let present = SharedFiles.file("models") != nil && SharedFiles.file("images") != nil

@Suite(.enabled(if: present, "the shared networks and photographs are not beside this checkout"))
struct SharedNetworkTests {
    /// Top-1 by SqueezeNet 1.1, MobileNetV2, EfficientNet-Lite0: Pillow 13.0 resized as torchvision does, short side 256 with the longer
    /// one cut off, bilinear or (Lite0) bicubic, and cropped to 224; ONNX Runtime 1.32 computed logits, NumPy their softmax in double precision.
    static let expected: [(photo: String, classes: [Int], probabilities: [Float])] = [
        ("african_elephant_1.jpg", [386, 386, 386], [0.4983, 0.8974, 0.8815]),
        ("african_elephant_2.jpg", [346, 386, 386], [0.4279, 0.9767, 0.9051]),
        ("black_bear_1.jpg", [295, 295, 295], [0.9093, 0.9984, 0.9176]),
        ("black_bear_2.jpg", [295, 295, 295], [0.9849, 0.9991, 0.9792]),
        ("cat_chelsea.png", [285, 285, 282], [0.5502, 0.716, 0.3946]),
        ("coffee.png", [967, 967, 967], [0.8731, 0.9922, 0.9511]),
        ("dog.jpg", [537, 249, 249], [0.9186, 0.7569, 0.3782]),
        ("dog_and_cat.png", [242, 243, 243], [0.2337, 0.3908, 0.3614]),
        ("puppies_1600x1200.jpg", [208, 208, 208], [0.8624, 0.9198, 0.9425]),
        ("zebra.jpg", [340, 340, 340], [0.9948, 0.9999, 0.9568]),
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
            #expect(
                abs(result.predictions[0].probability - item.probabilities[column]) < 1e-4, "\(item.photo)")
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
