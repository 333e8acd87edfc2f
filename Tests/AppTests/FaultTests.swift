// Devices that fail in the middle of a run: a loader of OpenCL whose n-th call of a function returns an error.

import Foundation
import TestSupport
import Testing

@Suite struct FaultTests {
    /// The loader, built once.
    private static let library: String? = {
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("FaultyOpenCL/faulty.c").path
        let target =
            FileManager.default.temporaryDirectory.path
            + "/whitebox-faulty-\(ProcessInfo.processInfo.processIdentifier).so"
        let compiler = Process()
        compiler.executableURL = URL(fileURLWithPath: "/bin/sh")
        compiler.arguments = [
            "-c", "cc -shared -fPIC -O1 \"$0\" -o \"$1\" -Wl,--no-as-needed -l:libOpenCL.so.1", source,
            target,
        ]
        try? compiler.run()
        compiler.waitUntilExit()
        return compiler.terminationStatus == 0 ? target : nil
    }()

    /// Whatever fails at whichever call, a run with another device beside comes to its end or says in a sentence why it does not, and goes on then; what is there in the
    /// end has the bits of a run that nobody disturbs.
    @Test(arguments: 0..<12) func devicesThatFail(_ seed: Int) throws {
        let library = try #require(Self.library, "a C compiler (cc) and libOpenCL.so.1 are needed")
        var random = SeededRandom("faults of OpenCL \(seed)")
        let (place, _) = try RunTests.place(16)
        let functions = [
            "clEnqueueNDRangeKernel", "clEnqueueReadBuffer", "clEnqueueWriteBuffer", "clWaitForEvents",
            "clCreateBuffer", "clFlush", "clFinish", "clEnqueueMapBuffer",
        ]
        // Out of resources, of memory for an object, of memory of the host; a queue that is none any more.
        let codes = [-5, -4, -6, -36]
        let fault =
            "\(functions[seed % functions.count]):\(1 + random.index(below: 150)):"
            + "\(codes[random.index(below: codes.count)])\(random.index(below: 2) == 0 ? "+" : "")"
        let isAlone = seed % 3 == 2
        let arguments = [
            "photos", "--recursive", "--model", "small.onnx", "--batch", "3", "--method", "gradcam,saliency",
            "--device", isAlone ? "opencl:0" : "opencl:0,cpu",
        ]
        let whole = try place.run(arguments + ["--output", "whole"])
        #expect(whole.code == 0, "\(whole.err)")
        let disturbed = try place.run(
            arguments + ["--output", "out"],
            environment: ["WHITEBOX_OPENCL_LIBRARY": library, "FAULT": fault])
        if disturbed.code != 0 {
            #expect(
                [8, 12].contains(disturbed.code) && disturbed.complaints.count == 1,
                "\(fault): \(disturbed.code) \(disturbed.err)")
            let on = try place.run(arguments + ["--output", "out", "--resume"])
            #expect(on.code == 0, "\(fault): \(on.err)")
        }
        let (expected, found) = (try RunTests.content(place, "whole"), try RunTests.content(place, "out"))
        #expect(expected.keys.sorted() == found.keys.sorted(), "\(fault)")
        for (name, data) in expected where name != "results.json" {
            #expect(found[name] == data, "\(fault): \(name)")
        }
        let images = try (RunTests.images(place, "whole"), RunTests.images(place, "out"))
        #expect(NSArray(array: images.0) == NSArray(array: images.1), "\(fault)")
    }
}
