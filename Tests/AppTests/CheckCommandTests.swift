import Foundation
import Imaging
import Testing

@Suite struct CheckCommandTests {
    @Test func layersMarkTheAutomaticOne() throws {
        let place = try Place()
        let text = try place.run("layers", "--model", "small.onnx")
        #expect(text.code == 0)
        let rows = text.out.split(separator: "\n")
        #expect(rows.count == 9)
        #expect(rows.filter { $0.hasPrefix("*") }.count == 2)
        #expect(rows[4].hasPrefix("*") && rows[4].contains("relu2") && rows[4].contains("1×16×16×16"))
        #expect(rows[8].contains("before the GlobalAveragePool “pool”"))
        let json = try place.run("layers", "--model", "small.onnx", "--json").json()
        #expect(json["automatic"] as? Int == 3 && (json["layers"] as? [Any])?.count == 7)
    }

    @Test func lists() throws {
        let place = try Place()
        let devices = try place.run("devices")
        #expect(devices.code == 0 && devices.out.hasPrefix("cpu\n"))
        #expect(try place.run("devices", "--json").json()["cpu"] is [String: Any])
        let operators = try place.run("operators")
        #expect(operators.code == 0)
        for name in ["Conv", "BatchNormalization", "HardSwish", "LRN", "Softmax"] {
            #expect(operators.out.contains("\n\(name) "))
        }
        let methods = try place.run("methods")
        #expect(
            methods.code == 0 && methods.out.contains("gradcam") && methods.out.contains("Fuad et al. 2020"))
    }

    @Test func withoutALoader() throws {
        let place = try Place()
        let devices = try place.run(
            "devices", environment: ["WHITEBOX_OPENCL_LIBRARY": "/nonexistent/libOpenCL.so"])
        #expect(
            devices.code == 0 && devices.out.hasPrefix("cpu\n")
                && devices.out.contains("No OpenCL library could be opened"))
    }

    @Test func runWritesArrays() throws {
        let place = try Place()
        let values = (0..<6144).map { (i: Int) -> Float in Float(i % 17) / 17 }
        try NPYArray(shape: [2, 3, 32, 32], values: values).write(to: place.path + "/x.npy", overwrite: false)
        let all = try place.run(
            "run", "--model", "small.onnx", "--input", "x.npy", "--output", "out", "--outputs", "all",
            "--gradient", "dog",
            "--device", "cpu")
        #expect(all.code == 0, "\(all.err)")
        let names: [String] = ["c1", "c2", "flat", "gradient", "logits", "mean", "r1", "r2"].map {
            "\($0).npy"
        }
        #expect(place.list("out") == names)
        #expect(try place.array("out/r2.npy").shape == [2, 16, 16, 16])
        #expect(try place.array("out/gradient.npy").shape == [2, 3, 32, 32])
        let (before, after) = (try place.array("out/c1.npy").values, try place.array("out/r1.npy").values)
        #expect(zip(before, after).allSatisfy { max($0, 0) == $1 })
        let again = try place.run(
            "run", "--model", "small.onnx", "--input", "x.npy", "--output", "out", "--device", "cpu")
        #expect(again.code == 10 && again.err.contains("logits.npy"))
        // To store a value changes no other's bits.
        let alone = try place.run(
            "run", "--model", "small.onnx", "--input", "x.npy", "--output", "alone", "--device", "cpu")
        #expect(alone.code == 0 && place.list("alone") == ["logits.npy"])
        #expect(try place.array("alone/logits.npy") == place.array("out/logits.npy"))
    }

    @Test func everyDeviceComputesTheSameBits() throws {
        let place = try Place()
        let outcome = try place.run("verify", "one.png", "two.png", "--model", "small.onnx")
        #expect(outcome.code == 0, "\(outcome.out)\(outcome.err)")
        #expect(
            outcome.out.contains("✓ cpu") && outcome.out.contains("cpu kernels")
                && outcome.out.contains("gpu kernels"))
        #expect(outcome.out.contains("All bits are the same"))
    }

    @Test func benchMeasures() throws {
        let place = try Place()
        let result = try place.run(
            "bench", "--model", "small.onnx", "--method", "gradcam,fem", "--batch", "1,2", "--rounds", "2",
            "--device", "cpu",
            "--layers", "--json"
        ).json()
        let batches = try #require(result["batches"] as? [[String: Any]])
        #expect(batches.map { $0["batch"] as? Int } == [1, 2])
        for batch in batches {
            #expect((batch["imagesPerSecond"] as? Double ?? 0) > 0)
            #expect(
                (batch["milliseconds"] as? [String: Any])?.keys.sorted()
                    == ["decode", "firstRun", "forward", "gradient", "maps", "plan", "whole"])
            #expect(batch["peak"] is [String: Any])
            // The roofline: each step, and sums, all numbers there and finite (JSON has null for others).
            let steps = try #require(batch["steps"] as? [[String: Any]])
            let kernels = try #require(batch["kernels"] as? [[String: Any]])
            let total = try #require(batch["total"] as? [String: Any])
            #expect(steps.contains { $0["kernel"] as? String == "convolution" })
            for part in steps + kernels + [total] {
                for name in ["milliseconds", "share", "gflops", "shareOfPeak", "gigabytesPerSecond"] {
                    #expect((part[name] as? Double ?? -1) >= 0, "\(name) of \(part)")
                }
                #expect((part["bytes"] as? Int ?? 0) > 0)
            }
            func sum(_ parts: [[String: Any]]) -> Int {
                parts.compactMap { $0["operations"] as? Int }.reduce(0, +)
            }
            #expect(sum(steps) > 0 && sum(steps) == sum(kernels) && sum(steps) == total["operations"] as? Int)
            // The first convolution: 16×16 pixels, 27 terms, 8 channels; its input, its weights in panels of 32, its output.
            let n = try #require(batch["batch"] as? Int)
            #expect(steps[0]["operations"] as? Int == n * 2 * 256 * 27 * 8)
            #expect(steps[0]["bytes"] as? Int ?? 0 >= 4 * (n * 3072 + 27 * 32 + n * 2048))
        }
        let text = try place.run(
            "bench", "one.png", "--model", "small.onnx", "--batch", "2", "--rounds", "1", "--device", "cpu",
            "--layers")
        #expect(text.code == 0 && text.out.contains("images/s"))
        #expect(text.out.contains("of peak") && text.out.contains("GFLOP/s (fp32, peak)"))
    }

    @Test func benchWritesWhatItTimes() throws {
        let place = try Place()
        let values = (0..<6144).map { (i: Int) -> Float in Float(i % 17) / 17 }
        try NPYArray(shape: [2, 3, 32, 32], values: values).write(to: place.path + "/x.npy", overwrite: false)
        let bench = [
            "bench", "--model", "small.onnx", "--input", "x.npy", "--device", "cpu", "--rounds", "1",
        ]
        let maps = try place.run(bench + ["--output", "maps.npy", "--method", "gradcam,fem"])
        #expect(maps.code == 0, "\(maps.err)")
        #expect(try place.array("maps.npy").shape == [2, 2, 32, 32])
        // With nobody there to ask, it is ready and ends.
        let gradients = try place.run(
            bench + ["--output", "gradients.npy", "--work", "input-gradient", "--on-request"])
        #expect(gradients.code == 0 && gradients.out == "ready\n", "\(gradients.err)")
        // For each picture the same as that of `run` for its best class.
        let found = try place.array("gradients.npy")
        #expect(found.shape == [2, 3, 32, 32])
        for picture in 0..<2 {
            func run(_ gradient: Int) throws -> (logits: ArraySlice<Float>, gradient: ArraySlice<Float>) {
                let run = try place.run(
                    "run", "--model", "small.onnx", "--input", "x.npy", "--output", "out", "--force",
                    "--gradient", "\(gradient)", "--device", "cpu")
                #expect(run.code == 0, "\(run.err)")
                return (
                    try place.array("out/logits.npy").values[picture * 4..<picture * 4 + 4],
                    try place.array("out/gradient.npy").values[picture * 3072..<(picture + 1) * 3072]
                )
            }
            let logits = Array(try run(0).logits)
            let best = logits.indices.max { logits[$0] < logits[$1] }!
            #expect(try run(best).gradient == found.values[picture * 3072..<(picture + 1) * 3072])
        }
        let again = try place.run(bench + ["--output", "maps.npy"])
        #expect(again.code == 10 && again.err.contains("maps.npy"))
        let wrong = try place.run(
            "bench", "--model", "small.onnx", "--input", "out/logits.npy", "--device", "cpu")
        #expect(wrong.code == 3 && wrong.err.contains("N×3×32×32"))
    }
}

/// The networks and photographs beside the project.
@Suite(.enabled(if: Place.shared != nil, "there is no folder ../shared with networks and photographs"))
struct PhotographTests {
    static let networks = [
        (
            name: "squeezenet1.1", preprocess: "imagenet",
            classes: [386, 346, 295, 295, 285, 967, 537, 242, 208, 340]
        ),
        (
            name: "mobilenetv2", preprocess: "imagenet",
            classes: [386, 386, 295, 295, 285, 967, 249, 243, 208, 340]
        ),
        (
            name: "efficientnet-lite0", preprocess: "lite",
            classes: [386, 386, 295, 295, 282, 967, 249, 243, 208, 340]
        ),
    ]

    @Test(arguments: networks.indices) func namesWhatIsThere(_ index: Int) throws {
        let shared = try #require(Place.shared)
        let network = Self.networks[index]
        let place = try Place()
        let outcome = try place.run(
            "classify", shared + "/images", "--model", "\(shared)/models/\(network.name).onnx",
            "--preprocess", network.preprocess,
            "--labels", shared + "/labels/imagenet_classes.txt", "--device", "cpu", "--json")
        #expect(outcome.code == 0, "\(outcome.err)")
        let images = try #require(try outcome.json()["images"] as? [[String: Any]])
        let best = images.map { (($0["predictions"] as? [[String: Any]])?.first?["index"] as? Int) ?? -1 }
        #expect(best == network.classes)
    }

    /// The middle of the warmest tenth of a heat map lies on what is shown.
    @Test func gradCAMLiesOnTheAnimal() throws {
        let shared = try #require(Place.shared)
        let place = try Place()
        let outcome = try place.run(
            "\(shared)/images/african_elephant_1.jpg", "\(shared)/images/dog_and_cat.png", "--model",
            "\(shared)/models/efficientnet-lite0.onnx", "--preprocess", "lite", "--device", "cpu", "--output",
            "out")
        #expect(outcome.code == 0, "\(outcome.err)")
        // The big elephant's head, and the dog's, at the network's 224×224.
        let wanted = [
            ("african_elephant_1.gradcam.386", 120...215, 25...110),
            ("dog_and_cat.gradcam.243", 75...150, 5...85),
        ]
        for (name, columns, rows) in wanted {
            let heat = try place.array("out/\(name).heatmap.npy").values
            let limit = heat.sorted(by: >)[heat.count / 10]
            let warm = heat.indices.filter { heat[$0] > limit }
            let (x, y) = (
                warm.map { $0 % 224 }.reduce(0, +) / warm.count,
                warm.map { $0 / 224 }.reduce(0, +) / warm.count
            )
            #expect(columns.contains(x) && rows.contains(y), "\(name): the warmest part is at \(x), \(y)")
        }
    }

    @Test func everyDeviceComputesTheSameBits() throws {
        let shared = try #require(Place.shared)
        let place = try Place()
        let outcome = try place.run(
            "verify", shared + "/images/zebra.jpg", "--model", "\(shared)/models/squeezenet1.1.onnx",
            "--device", "opencl:0")
        #expect(outcome.code == 0, "\(outcome.out)\(outcome.err)")
    }
}
