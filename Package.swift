// swift-tools-version: 6.1
// Whitebox: the program `app`, the library `Explain`, and the modules they are made of. Each module is used only by those below it in
// this list; Documentation/Architecture.md has a picture of them, which a test compares with this file.
import PackageDescription

let package = Package(
    name: "whitebox",
    products: [
        .library(name: "Explain", targets: ["Explain"]),
        .executable(name: "app", targets: ["app"]),
        // What other languages load: see CWhitebox.
        .library(name: "whitebox", type: .dynamic, targets: ["Interface"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        // Nothing of its default traits is used; and since their order on the compiler's command line differs from build to build,
        // with them half of everything would be compiled anew each time.
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: []),
    ],
    targets: [
        // C: what Swift cannot say.
        .target(name: "CSystem"),
        .target(name: "CArchive", dependencies: ["CSystem"]),
        .target(name: "CExpat", dependencies: ["CSystem"]),
        .target(name: "COpenCL"),
        .target(name: "CKernelSources"),
        .target(name: "CMicrokernels"),
        .target(name: "CPango", dependencies: ["CSystem"]),
        .target(name: "CReport", exclude: ["report.html", "report.css", "report.js"]),
        .target(name: "CTIFF", dependencies: ["CSystem"]),
        .systemLibrary(name: "CDeflate", pkgConfig: "libdeflate", providers: [.apt(["libdeflate-dev"])]),
        .systemLibrary(name: "CGIF", providers: [.apt(["libgif-dev"])]),
        .systemLibrary(name: "CNettle", pkgConfig: "nettle", providers: [.apt(["nettle-dev"])]),
        .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
        .systemLibrary(
            name: "CTurboJPEG", pkgConfig: "libturbojpeg", providers: [.apt(["libturbojpeg0-dev"])]),
        .systemLibrary(name: "CWebP", pkgConfig: "libwebpdemux", providers: [.apt(["libwebp-dev"])]),

        // Swift, from the machine up to the user.
        .target(name: "Text", dependencies: ["CNettle"]),
        .target(name: "Files", dependencies: ["CArchive", "CSystem", "Text"]),
        .target(name: "CLRuntime", dependencies: ["COpenCL", "Files"]),
        .target(name: "Kernels", dependencies: ["CLRuntime", "CKernelSources", "CMicrokernels"]),
        .target(
            name: "ONNX",
            dependencies: ["Files", "Text", .product(name: "SwiftProtobuf", package: "swift-protobuf")]),
        .target(name: "Inference", dependencies: ["Kernels", "ONNX", "CMicrokernels", "Text"]),
        .target(
            name: "Imaging", dependencies: ["CDeflate", "CGIF", "CPNG", "CPango", "CTIFF", "CTurboJPEG", "CWebP", "Files", "Text"]),
        .target(
            name: "Explain",
            dependencies: ["Inference", "Imaging", "CExpat", "CMicrokernels", "CReport", "Files", "Text"]),
        .target(
            name: "Commands",
            dependencies: [
                "Explain", "Files", "Text",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        .executableTarget(name: "app", dependencies: ["Commands"]),
        .target(name: "CWhitebox"),
        .target(
            name: "Interface",
            dependencies: [
                "CWhitebox", "Commands", "Explain", "Files", "Imaging", "Text",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        .testTarget(name: "TextTests", dependencies: ["Text"]),
        .testTarget(name: "FilesTests", dependencies: ["Files", "TestSupport"]),
        .target(name: "TestSupport", dependencies: ["CLRuntime", "Kernels"], path: "Tests/TestSupport"),
        .target(name: "RandomNetworks", dependencies: ["ONNX", "TestSupport"], path: "Tests/RandomNetworks"),
        .target(
            name: "FuzzTargets",
            dependencies: [
                "Explain", "Files", "Imaging", "Inference", "Kernels", "ONNX", "TestSupport", "Text",
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ], path: "Tests/FuzzTargets"),
        .testTarget(
            name: "FuzzTests", dependencies: ["FuzzTargets", "TestSupport"], exclude: ["Corpus"]),
        .testTarget(name: "CLRuntimeTests", dependencies: ["CLRuntime", "TestSupport"]),
        .testTarget(
            name: "KernelsTests", dependencies: ["CLRuntime", "CMicrokernels", "Kernels", "TestSupport"]),
        .testTarget(name: "ONNXTests", dependencies: ["ONNX", "TestSupport"]),
        .testTarget(
            name: "InferenceTests",
            dependencies: [
                "Explain", "FuzzTargets", "Imaging", "Inference", "Kernels", "ONNX", "RandomNetworks",
                "TestSupport", "Text",
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ], exclude: ["numerics-2.txt"]),
        .testTarget(
            name: "RandomNetworkTests",
            dependencies: ["Imaging", "Inference", "Kernels", "ONNX", "RandomNetworks", "TestSupport"]),
        .testTarget(name: "ImagingTests", dependencies: ["Imaging", "TestSupport", "Text"]),
        .testTarget(
            name: "ExplainTests",
            dependencies: ["Explain", "Imaging", "Inference", "Kernels", "ONNX", "TestSupport"]),
        .testTarget(
            name: "AppTests", dependencies: ["app", "Explain", "Files", "Imaging", "ONNX", "TestSupport"]),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .c2x
)

// libFuzzer brings a main function of its own, so this links only with `--sanitize fuzzer`: see `make fuzz`.
if Context.environment["WHITEBOX_FUZZER"] != nil {
    package.targets += [
        .systemLibrary(name: "CLibFuzzer", path: "Tests/CLibFuzzer"),
        .executableTarget(
            name: "Fuzzer", dependencies: ["CLibFuzzer", "FuzzTargets", "TestSupport"], path: "Tests/Fuzzer"),
    ]
}
