// Networks of videos: maps over three axes with exact numbers, frames that are chosen, and what is written of them.

import Explain
import Foundation
import Imaging
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

/// Conv(1→2, 1×1×1, weights 1 and 2, bias −3 and −10), Relu, mean over all cells, Gemm with rows (8, −4) and (0, 8).
func smallVideoNetwork(channels: Int = 1, frames: ONNXDimension = 2, side: Int = 2) -> ONNXBuilder {
    var builder = ONNXBuilder(name: "small video network")
    builder.input("x", ["N", .fixed(channels), frames, .fixed(side), .fixed(side)])
    builder.initializer(
        "w", [2, channels, 1, 1, 1],
        floats: Array(repeating: 1, count: channels) + Array(repeating: 2, count: channels))
    builder.initializer("b", [2], floats: [-3, -10])
    builder.initializer("rows", [2, 2], floats: [8, -4, 0, 8])
    builder.node("Conv", ["x", "w", "b"], ["conv.out"], ["kernel_shape": [1, 1, 1]], name: "conv")
    builder.node("Relu", ["conv.out"], ["relu.out"], name: "relu")
    builder.node("GlobalAveragePool", ["relu.out"], ["mean"], name: "pool")
    builder.node("Flatten", ["mean"], ["flat"], name: "flatten")
    builder.node("Gemm", ["flat", "rows"], ["scores"], ["transB": 1], name: "linear")
    builder.output("scores", ["N", 2])
    return builder
}

@Suite struct VideoTests {
    private let video = (0..<8).map(Float.init)

    private func options(_ methods: [String], _ change: (inout Options) throws -> Void = { _ in }) throws
        -> Options
    {
        var options = Options()
        options.device = .cpu
        (options.batch, options.classChoice, options.methods) = (1, .index(0), methods)
        try change(&options)
        return options
    }

    private func explain(_ builder: ONNXBuilder, _ options: Options) throws -> ImageExplanation {
        let model = try Model(Network(builder.model()), preprocessing: "none")
        return try ExplanationSession(model, options: options).explain(.array(video, name: "numbers"))
    }

    /// A0 = [0, 0, 0, 0, 1, 2, 3, 4] and A1 = [0, 0, 0, 0, 0, 0, 2, 4], the first four of the first frame. The gradient of class 0 is 1 and −½ everywhere.
    @Test func mapsOverThreeAxes() throws {
        let found = try explain(
            smallVideoNetwork(),
            options(["gradcam", "hirescam", "fem", "layercam", "reciprocam", "scorecam", "multilayer-fem"]) {
                try $0.set("fem.k=1")
                try $0.set("multilayer-fem.k=1")
                $0.scale = .logit
            })
        #expect(found.predictions.map(\.logit) == [7, 6])
        func map(_ method: String) throws -> Grid2D {
            try #require(found.explanations.first { $0.method == method }).map
        }
        let gradCAM = try map("gradcam")
        #expect(gradCAM.frames == 2 && gradCAM.width == 2 && gradCAM.height == 2)
        #expect(gradCAM.values == [0, 0, 0, 0, 1, 2, 2, 2])
        #expect(try map("hirescam").values == [0, 0, 0, 0, 1, 2, 2, 2])
        // max(G, 0) A, channel by channel.
        #expect(try map("layercam").values == [0, 0, 0, 0, 1, 2, 3, 4])
        // μ = 1.25 and 0.75; with k = 1 the thresholds are 2.73 and 2.14.
        #expect(try map("fem").values == [0, 0, 0, 0, 0, 0, 0.625, 1])
        #expect(try map("multilayer-fem").values == [0, 0, 0, 0, 0, 0, 0.625, 1])
        // One cell alone: (8 A0 − 4 A1) / 8.
        #expect(try map("reciprocam").values == [0, 0, 0, 0, 1, 2, 2, 2])
        let heat = found.explanations[0].heatmap
        #expect(heat.frames == 2 && heat.values == [0, 0, 0, 0, 0.5, 1, 1, 1])
        // Score-CAM asks with masks over three axes: A0 / 4 and A1 / 4 times x, so x ⊙ m = [0, 0, 0, 0, 1, 2.5, 4.5, 7] and [0, …, 3, 7].
        // Scores: A0 = [0, …, 1.5, 4], A1 = [0, …, 0, 4], so 5.5 − 2 = 3.5; and A0 = [0, …, 0, 4], A1 = [0, …, 4], so 4 − 2 = 2.
        let (a, b) = (Float(1 / (1 + exp(-1.5))), Float(1 / (1 + exp(1.5))))
        let expected = zip([0, 0, 0, 0, 1, 2, 3, 4], [0, 0, 0, 0, 0, 0, 2, 4] as [Float]).map {
            a * $0 + b * $1
        }
        for (value, right) in zip(try map("scorecam").values, expected) { #expect(abs(value - right) < 1e-5) }
    }

    /// All devices say the same, and so do batches.
    @Test func sameBits() throws {
        if let problem = Devices.openCLProblem { Issue.record("\(problem)") }
        let model = try Model(
            Network(smallVideoNetwork(frames: .fixed(5), side: 3).model()), preprocessing: "none")
        let videos = (0..<3).map { v in
            Picture.array((0..<45).map { Float(($0 * 37 + v * 11) % 19) / 1.7 - 1 }, name: "\(v)")
        }
        var all: [[UInt32]] = []
        for device in [DeviceChoice.cpu, .openCL(0)] {
            for batch in [1, 3] {
                let options = try options(["gradcam", "fem", "layercam", "gradcam++", "eigencam"]) {
                    ($0.device, $0.batch) = (device, batch)
                    try $0.set("fem.k=1")
                }
                var bits: [UInt32] = []
                try ExplanationSession(model, options: options).explain(videos) { _, result in
                    for found in try result.get().explanations {
                        bits += (found.map.values + found.heatmap.values).map(\.bitPattern)
                    }
                }
                all.append(bits)
            }
        }
        #expect(all.allSatisfy { $0 == all[0] } && all[0].count == 3 * 5 * 90)
    }

    @Test func layersAreVolumes() throws {
        let network = try Network(smallVideoNetwork().model())
        let layers = try network.layers()
        let choice = try network.automaticLayer(layers)
        #expect(choice.layer.name == "relu" && choice.layer.frames == 2 && choice.layer.cells == 8)
        #expect(choice.reason.contains("2×2×2"), "\(choice.reason)")
        #expect(layers.first { $0.name == "pool" }?.cells == 1)
    }

    /// Through other orders of axes the frames are followed; where they are lost there is no volume.
    @Test func axesAreFollowed() throws {
        var builder = ONNXBuilder(name: "axes")
        builder.input("x", ["N", 3, 2, 4, 5])
        builder.initializer("m", [3, 6], floats: (0..<18).map(Float.init))
        builder.initializer("shape", [5], ints: [0, 6, 2, 5, 4])
        builder.node("Transpose", ["x"], ["last"], ["perm": [0, 2, 3, 4, 1]])
        builder.node("MatMul", ["last", "m"], ["product"])
        builder.node("Relu", ["product"], ["active"])
        builder.node("Transpose", ["active"], ["first"], ["perm": [0, 4, 1, 2, 3]])
        builder.node("Relu", ["first"], ["volume"])
        builder.node("Reshape", ["volume", "shape"], ["mixed"])
        builder.node("Relu", ["mixed"], ["nothing"])
        builder.node("GlobalAveragePool", ["nothing"], ["mean"])
        builder.node("Flatten", ["mean"], ["scores"])
        builder.output("scores", ["N", 6])
        let layers = try Network(builder.model()).layers()
        let spatial = layers.filter(\.isSpatial).map(\.value)
        #expect(spatial == ["first", "volume"])
        #expect(layers.first { $0.value == "volume" }?.shape == [1, 6, 8, 5])
    }

    @Test func whatIsForPicturesIsRefused() throws {
        func refused(_ methods: [String], _ part: String, _ change: (inout Options) throws -> Void = { _ in })
        {
            do {
                _ = try explain(smallVideoNetwork(), options(methods, change))
                Issue.record("\(methods) was computed.")
            } catch {
                #expect("\(error)".contains(part), "\(error)")
            }
        }
        for method in [
            "saliency", "lrp", "occlusion", "rise", "lime", "smoothgrad", "integrated-gradients",
            "guided-gradcam",
        ] {
            refused([method], "no grid")
        }
        refused(["gradcam"], "--augment") { $0.augmentations = [.flip] }
    }

    // MARK: Frames

    private func frames(_ count: Int, in folder: String) throws {
        for i in 0..<count {
            let image = RGBImage(width: 2, height: 2, colour: (UInt8(i), UInt8(i), UInt8(i)))
            try image.writePNG(to: "\(folder)/frame\(i).png", overwrite: false)
        }
    }

    @Test func numbersInNamesAreCounted() throws {
        let names = ["a10", "a2", "a1", "a02", "b", "a", "a2b3", "a2b12", "A3"]
        #expect(
            names.sorted(by: Picture.counted) == ["A3", "a", "a1", "a02", "a2", "a2b3", "a2b12", "a10", "b"])
    }

    @Test func framesLieEvenly() throws {
        let folder = try TemporaryDirectory()
        try frames(12, in: folder.path)
        let model = try Model(
            Network(smallVideoNetwork(channels: 3, frames: 4).model()), preprocessing: "none")
        let session = try ExplanationSession(model, options: options([]))
        // Twelve frames in four parts of three: the middle ones.
        let found = try session.explain(.video(folder: folder.path))
        #expect(found.frames.map { $0.pixels[0] } == [1, 4, 7, 10])
        #expect(found.frameNames.last == "\(folder.path)/frame10.png")
        #expect(found.size! == (2, 2))
        // The same frames as a list, and as an animation, say the same.
        let list = folder.path + "/list.txt"
        try "frame1.png\n\n frame4.png\nframe7.png\nframe10.png\n".write(
            toFile: list, atomically: true, encoding: .utf8)
        let animation = folder.path + "/whole.png"
        let images = (0..<12).map { RGBImage(width: 2, height: 2, colour: (UInt8($0), UInt8($0), UInt8($0))) }
        try Data(PNG.encode(animation: images, framesPerSecond: 8, fast: true)).write(
            to: URL(fileURLWithPath: animation))
        for path in [list, animation] {
            let other = try session.explain(.video(path: path))
            #expect(other.predictions == found.predictions && other.frames == found.frames, "\(path)")
        }
        func refused(_ picture: @autoclosure () throws -> Picture, _ part: String) {
            do {
                _ = try session.explain(picture())
                Issue.record("It was explained.")
            } catch {
                #expect("\(error)".contains(part), "\(error)")
            }
        }
        refused(.video(["\(folder.path)/frame1.png"], name: "short"), "has 1 frame, and the network takes 4")
        refused(.file("\(folder.path)/frame1.png"), "one picture")
        refused(try .video(path: folder.path + "/nothing.png"), "nothing.png")
        try RGBImage(width: 3, height: 2).writePNG(to: folder.path + "/wide.png", overwrite: false)
        let paths = ["frame1", "frame2", "wide", "frame3"].map { "\(folder.path)/\($0).png" }
        refused(.video(paths, name: "mixed"), "3×2, and the first is 2×2")
        let empty = try TemporaryDirectory()
        refused(try .video(folder: empty.path), "holds no picture")
    }

    /// Frame after frame, channel by channel: [C, T, H, W].
    @Test func numbersAreInPlace() throws {
        let folder = try TemporaryDirectory()
        try RGBImage(width: 1, height: 1, colour: (1, 2, 3)).writePNG(
            to: folder.path + "/a.png", overwrite: false)
        try RGBImage(width: 1, height: 1, colour: (10, 20, 30)).writePNG(
            to: folder.path + "/b.png", overwrite: false)
        var builder = ONNXBuilder(name: "as it is")
        builder.input("x", ["N", 3, 2, 1, 1])
        builder.node("Flatten", ["x"], ["scores"])
        builder.output("scores", ["N", 6])
        let model = try Model(Network(builder.model()), preprocessing: "none")
        let found = try ExplanationSession(model, options: options([])).explain(.video(folder: folder.path))
        #expect(
            found.predictions.sorted { $0.index < $1.index }.map(\.logit) == [10, 2, 20, 3, 30])
    }

    @Test func openFramesAreSixteenOrAsAsked() throws {
        let builder = smallVideoNetwork(channels: 3, frames: "T")
        #expect(try Model(Network(builder.model())).inputFrames == 16)
        let folder = try TemporaryDirectory()
        let path = folder.path + "/model.onnx"
        try builder.data().write(to: URL(fileURLWithPath: path))
        #expect(try Model(path: path, frames: 5).inputFrames == 5)
        #expect(throws: ExplainError.self) { try Model(path: path, frames: 0) }
        try smallVideoNetwork(channels: 3).data().write(to: URL(fileURLWithPath: path))
        #expect(throws: ExplainError.self) { try Model(path: path, frames: 5) }
        #expect(try Model(path: path, frames: 2).inputFrames == 2)
    }

    @Test func results() throws {
        let folder = try TemporaryDirectory()
        try frames(4, in: folder.path)
        let model = try Model(
            Network(smallVideoNetwork(channels: 3, frames: 4).model()), preprocessing: "none")
        let options = try options(["gradcam", "fem"]) { try $0.set("fem.k=1") }
        let session = try ExplanationSession(model, options: options)
        let picture = try Picture.video(folder: folder.path)
        let out = folder.path + "/results"
        let writer = try ResultWriter(directory: out, pictures: [picture], options: options)
        let found = try session.explain(picture)
        try writer.begin(session)
        try writer.write(0, .success(found))
        try writer.finish(session)
        let text = try String(contentsOfFile: out + "/results.json", encoding: .utf8)
        let stem = writer.stems[0]
        let endings = ["apng", "heatmap.npy", "map.npy", "png"]
        var expected: [String] =
            endings.map { "\(stem).fem.\($0)" } + endings.map { "\(stem).gradcam.0.\($0)" }
        expected = ["\(stem).compare.png"] + expected + ["results.json"]
        #expect(TemporaryDirectory.list(out) == expected.sorted())
        #expect(try NPYArray.load(path: "\(out)/\(stem).gradcam.0.map.npy").shape == [4, 2, 2])
        #expect(
            text.contains("\"frames\"") && text.contains("frame3.png") && text.contains("\(stem).fem.apng"))
        let file = try [UInt8](Data(contentsOf: URL(fileURLWithPath: "\(out)/\(stem).gradcam.0.apng")))
        #expect(try Animation(file, name: "result")?.count == 4)
        #expect(try RGBImage.load(path: "\(out)/\(stem).gradcam.0.png").width == 6)
        // What is there is replaced whole.
        #expect(throws: ExplainError.self) {
            try ResultWriter(directory: out, pictures: [picture], options: options)
        }
        #expect(throws: ExplainError.self) {
            try ResultWriter(directory: out + "2", pictures: [picture], options: options, background: .photo)
        }
    }
}
