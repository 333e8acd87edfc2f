// swift-tools-version: 6.1
// A program of its own that uses the library Explain. Yours would depend on a URL instead of a path.
import PackageDescription

let package = Package(
    name: "whitebox-examples",
    dependencies: [.package(name: "whitebox", path: "..")],
    targets: [
        .executableTarget(
            name: "explain-image", dependencies: [.product(name: "Explain", package: "whitebox")])
    ],
    swiftLanguageModes: [.v6]
)
