import Foundation
import Imaging
import ONNX
import Testing

/// Bad input: one sentence, a code of its own, and nothing written.
@Suite struct BadInputTests {
    struct Case: CustomTestStringConvertible {
        let arguments: [String]
        let code: Int32
        /// What the sentence says.
        let words: [String]
        var testDescription: String { "app " + arguments.joined(separator: " ") }
        init(_ line: String, _ code: Int32, _ words: String...) {
            (arguments, self.code, self.words) = (line.split(separator: " ").map(String.init), code, words)
        }
    }

    static let cases = [
        Case("missing.png --model small.onnx", 3, "missing.png", "no such file"),
        Case("empty.png --model small.onnx", 3, "empty.png", "empty"),
        Case("cut.png --model small.onnx", 3, "cut.png", "damaged"),
        Case("text.png --model small.onnx", 3, "text.png", "no picture in a format that is read"),
        Case("folder --model small.onnx", 3, "'folder'", "no picture (PNG, JPEG, WebP, TIFF, GIF or BMP)"),
        Case("z*.png --model small.onnx", 3, "z*.png"),
        Case("one.png --model missing.onnx", 4, "missing.onnx"),
        Case("one.png --model empty.onnx", 4, "empty.onnx", "empty"),
        Case("one.png --model cut.onnx", 4, "cut.onnx", "truncated"),
        Case("one.png --model text.png", 4, "text.png", "not an ONNX"),
        Case("one.png --model folder", 4, "folder", "directory"),
        Case("one.png --model strange.onnx", 5, "strange.onnx", "Frobnicate", "Twist", "“one”", "“two”"),
        Case("one.png --model last.onnx", 5, "N×32×32×5", "5 channels"),
        Case("classify one.png --model last.onnx", 5, "5 channels"),
        Case("classify one.png --model open.onnx --preprocess imagenet", 5, "5 channels"),
        Case("one.png --model small.onnx --size 3x", 64, "--size"),
        Case("one.png --model small.onnx --size 33", 11, "33×33", "open height and width"),
        Case("one.png --model small.onnx --layer relu3", 6, "“relu3”", "relu1", "relu2"),
        Case("one.png --model small.onnx --layer 99", 6, "“99”"),
        Case("one.png --model small.onnx --layer flatten", 6, "flatten", "no grid"),
        Case(
            "one.png --model small.onnx --class cut", 7, "“cut”", "2 “cat”", "best classes of one.png", " %)"),
        Case("one.png --model small.onnx --class ant,5", 7, "0 to 3"),
        Case("one.png --model small.onnx --class ant,,bee", 7, "empty"),
        Case("--model small.onnx --class= one.png", 64, "--class= has no value"),
        Case("one.png --model small.onnx --output=", 64, "--output= has no value"),
        Case("one.png --model small.onnx --class 4", 7, "0 to 3"),
        Case("one.png --model small.onnx --class -1", 7, "0 to 3"),
        Case("one.png --model small.onnx --class top9", 7, "4 classes"),
        Case("one.png --model small.onnx --class top0", 7, "the least is top1"),
        Case("one.png --model small.onnx --device opencl:99", 8, "99"),
        Case("one.png --model small.onnx --method gradcm", 9, "gradcm", "gradcam", "fem"),
        Case("one.png --model small.onnx --method fem --set fem.k=16", 9, "16×16", "--set fem.k="),
        Case("one.png --model small.onnx --method fem --set fem.k=nan", 9, "nan", "a number"),
        Case("one.png --model small.onnx --set fem.kk=1 --method fem", 9, "fem", "kk", "k"),
        Case("one.png --model small.onnx --set fem.k", 9, "METHOD.SETTING=VALUE"),
        Case("one.png --model small.onnx --class 1 --against 1", 7, "itself"),
        Case("one.png --model small.onnx --layer nothing*", 6, "nothing*", "fits no layer"),
        Case("one.png --model small.onnx --output one.png", 10, "one.png"),
        Case("one.png --model small.onnx --output text.png/below", 10, "text.png"),
        Case(
            "one.png --model small.onnx --preprocess nonsense", 11, "nonsense",
            "imagenet, lite, caffe, tf, kinetics, none"),
        Case("one.png --model small.onnx --preprocess text.png", 11, "text.png"),
        Case("one.png --model small.onnx --preprocess own.json", 11, "own.json", "20×28", "32×32"),
        Case("one.png --model small.onnx --labels missing.txt", 11, "missing.txt", "no such file"),
        Case("one.png --model small.onnx --labels latin.txt", 11, "latin.txt", "not UTF-8"),
        Case("one.png --model small.onnx --labels two.txt", 11, "two.txt", "names 2 classes", "4 classes"),
        Case("classify one.png --model small.onnx --labels two.txt", 11, "two.txt"),
        Case("classify one.png --model nan.onnx", 4, "one.png", "logits are not finite"),
        Case("one.png --model nan.onnx", 4, "one.png", "logits are not finite"),
        Case("one.png --model small.onnx --labels empty.png", 11, "empty.png"),
        Case("one.png --model small.onnx --device gpu", 64, "gpu", "opencl:N"),
        Case("one.png --model small.onnx --batch 0", 64, "--batch"),
        Case("one.png --model small.onnx --threads 0", 64, "--threads"),
        Case("one.png --model small.onnx --batch -1", 64, "--batch"),
        Case("one.png --model small.onnx --threads -2", 64, "--threads"),
        Case("one.png --model small.onnx --work-limit -2", 64, "--work-limit"),
        Case("help clasify", 64, "no command", "clasify"),
        Case("one.png --model small.onnx --class ant --class 9", 7, "0 to 3"),
        Case(
            "run --model small.onnx --input flat.npy --output out --labels two.txt", 11, "two.txt",
            "4 classes"),
        Case("one.png --model small.onnx --overlay nowhere", 64, "--overlay"),
        Case("one.png --model small.onnx --kernels wide", 64, "--kernels"),
        Case("one.png --nonsense", 64, "--nonsense"),
        Case("explain", 64, "No image was named"),
        Case("classify", 64, "No image was named"),
        Case("run --model small.onnx --output out", 64, "--input"),
        Case("run --model small.onnx --input missing.npy --output out", 3, "missing.npy"),
        Case("run --model small.onnx --input flat.npy --output out --outputs ,", 64, "--outputs"),
        Case("run --model small.onnx --input scalar.npy --output out", 3, "scalar.npy", "a single number"),
        Case("run --model small.onnx --input text.png --output out", 3, "text.png"),
        Case(
            "run --model scalar.onnx --input flat.npy --output out --gradient 0", 5, "scalar.onnx",
            "one row of scores for each picture"),
        Case("run --model scalar.onnx --input flat.npy --output out --labels two.txt", 5, "scalar.onnx"),
        Case("run --model small.onnx --input flat.npy --output out", 3, "flat.npy", "N×3×32×32"),
        Case("bench --model small.onnx --batch 1,x", 64, "1,x"),
        Case("bench --model small.onnx --work hard", 64, "hard", "input-gradient"),
        Case("bench --model small.onnx --input x.npy --batch 2", 64, "--batch"),
        Case("bench --model small.onnx --on-request", 64, "--batch"),
        Case("bench --model small.onnx --input missing.npy", 3, "missing.npy"),
        Case("verify --model small.onnx --device opencl:99", 8, "99"),
    ]

    @Test(arguments: cases) func isOneSentenceAndACode(_ bad: Case) throws {
        let place = try Place()
        let model = try Data(contentsOf: URL(fileURLWithPath: place.model))
        let picture = try Data(contentsOf: URL(fileURLWithPath: place.path + "/one.png"))
        try place.write("empty.png", [])
        try place.write("empty.onnx", [])
        try place.write("cut.png", Array(picture.prefix(picture.count / 2)))
        try place.write("cut.onnx", Array(model.prefix(model.count / 2)))
        try place.write("text.png", Array("This is no picture.".utf8))
        try FileManager.default.createDirectory(
            atPath: place.path + "/folder", withIntermediateDirectories: true)
        var strange = Place.network()
        strange.node("Frobnicate", ["r1"], ["x1"], name: "one")
        strange.node("Twist", ["x1"], ["x2"], name: "two")
        try strange.data().write(to: URL(fileURLWithPath: place.path + "/strange.onnx"))
        try place.write("two.txt", Array("ant\r\nbee\r\n".utf8))
        try place.write("latin.txt", Array("b".utf8) + [0xE4] + Array("r\nant\nbee\ncat".utf8))
        try place.write(
            "own.json", Array(#"{"resize": {"shortSide": 36}, "crop": {"width": 20, "height": 28}}"#.utf8))
        var overflowing = Place.network()
        overflowing.initializer("huge", [4], floats: [.infinity, 0, 0, -.infinity])
        overflowing.node("Add", ["logits", "huge"], ["sum"], name: "overflow")
        overflowing.graph.output.removeAll()
        overflowing.output("sum", [1, 4])
        for (name, side) in [("last", ONNXDimension.fixed(32)), ("open", .unknown)] {
            var last = ONNXBuilder()
            last.input("image", ["N", side, side, 5])
            last.node("Transpose", ["image"], ["x"], ["perm": [0, 3, 1, 2]], name: "transpose")
            last.node("Relu", ["x"], ["r"], name: "relu")
            last.node("GlobalAveragePool", ["r"], ["p"], name: "pool")
            last.node("Flatten", ["p"], ["y"], name: "flatten")
            last.output("y", ["N", 5])
            last.metadata(
                "whitebox.preprocessing",
                #"{"resize": {"shortSide": 32}, "crop": {"width": 32, "height": 32}}"#)
            try last.data().write(to: URL(fileURLWithPath: place.path + "/\(name).onnx"))
        }
        var scalar = ONNXBuilder()
        scalar.input("image", [1, 3, 32, 32])
        scalar.node("ReduceMean", ["image"], ["y"], ["keepdims": 0], name: "mean")
        scalar.output("y", [])
        try scalar.data().write(to: URL(fileURLWithPath: place.path + "/scalar.onnx"))
        try overflowing.data().write(to: URL(fileURLWithPath: place.path + "/nan.onnx"))
        try NPYFile.flat.write(to: URL(fileURLWithPath: place.path + "/flat.npy"))
        try NPYArray(shape: [], values: [1]).write(to: place.path + "/scalar.npy", overwrite: false)

        let before = place.list("")
        let outcome = try place.run(bad.arguments)
        #expect(outcome.code == bad.code, "\(outcome.err)")
        #expect(outcome.complaints.count == 1, "\(outcome.err)")
        let sentence = outcome.complaints.first ?? ""
        #expect(
            sentence.hasPrefix("app: ") && (sentence.hasSuffix(".") || sentence.hasSuffix("?")), "\(sentence)"
        )
        for word in bad.words { #expect(sentence.contains(word), "“\(sentence)” lacks “\(word)”") }
        for trace in ["Error(", "Optional(", "Swift.", "fatal"] { #expect(!outcome.err.contains(trace)) }
        #expect(place.list("") == before, "something was written")
    }

    @Test func aSecondBadImageDoesNotStopTheOthers() throws {
        let place = try Place()
        try place.write("bad.png", [1, 2, 3])
        let outcome = try place.run(
            "one.png", "bad.png", "two.png", "--model", "small.onnx", "--device", "cpu", "--output", "out")
        #expect(outcome.code == 2 && outcome.complaints.count == 1)
        #expect(outcome.out.contains("2 of 3 images"))
        #expect(
            place.list("out").filter { $0.hasSuffix(".compare.png") } == [
                "one.compare.png", "two.compare.png",
            ])
        #expect(place.list("out").allSatisfy { !$0.hasSuffix(".part") })
    }

    @Test func withoutOpenCL() throws {
        let place = try Place()
        let none = ["OCL_ICD_VENDORS": "/nonexistent"]
        let devices = try place.run("devices", environment: none)
        #expect(
            devices.code == 0 && devices.out.contains("instruction set")
                && devices.out.contains("OpenCL finds no platform"))
        #expect(
            try place.run("one.png", "--model", "small.onnx", "--device", "opencl", environment: none).code
                == 8)
        let verify = try place.run("verify", "--model", "small.onnx", environment: none)
        #expect(verify.code == 8 && verify.complaints.count == 1)
        #expect(
            try place.run("verify", "--model", "small.onnx", "--device", "cpu", environment: none).code == 0)
        let fallback = try place.run("one.png", "--model", "small.onnx", environment: none)
        #expect(fallback.code == 0 && fallback.err.contains("the CPU computes"))
    }
}

enum NPYFile {
    /// Four numbers in a row.
    static let flat: Data = {
        var header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }"
        header += String(repeating: " ", count: 128 - 10 - header.count - 1) + "\n"
        return Data([0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0]) + Data(header.utf8) + Data(count: 16)
    }()
}
