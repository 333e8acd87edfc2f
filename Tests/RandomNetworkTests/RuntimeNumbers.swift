// ONNX Runtime's numbers for random networks.

import Foundation
import Imaging
import RandomNetworks

/// ONNX Runtime's numbers for some networks: Tools/random_networks.py computes them, in one start of Python.
struct RuntimeNumbers {
    struct Missing: Error, CustomStringConvertible { let description: String }

    private let folder: URL

    init(_ networks: [RandomNetwork]) throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let python = root.appending(path: ".venv/bin/python")
        guard FileManager.default.isExecutableFile(atPath: python.path) else {
            throw Missing(description: "These tests need ONNX Runtime: `make .venv/ready` gets it.")
        }
        folder = FileManager.default.temporaryDirectory.appending(
            path: "random-networks-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        for network in networks {
            try network.builder.data().write(to: folder.appending(path: "\(network.number).onnx"))
            let array = NPYArray(
                shape: [3] + network.inputDims.dropFirst(), values: network.pictures)
            try array.write(to: folder.appending(path: "\(network.number).npy").path, overwrite: false)
        }
        let process = Process()
        process.executableURL = python
        process.arguments = [root.appending(path: "Tools/random_networks.py").path, folder.path]
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Missing(description: "Tools/random_networks.py ended with \(process.terminationStatus).")
        }
    }

    func remove() { try? FileManager.default.removeItem(at: folder) }

    /// For each picture the values by name.
    func values(_ network: RandomNetwork, _ names: [String]) throws -> [[String: Array64]] {
        let path = folder.appending(path: "\(network.number)").path
        if let refusal = try? String(contentsOfFile: path + ".txt", encoding: .utf8) {
            throw Missing(description: "ONNX Runtime refuses it: \(refusal)")
        }
        let row = try NPYArray.load(path: path + ".out.npy").values
        var at = 0
        func take(_ count: Int) -> [Double] {
            defer { at += count }
            return row[at..<at + count].map(Double.init)
        }
        return (0..<3).map { _ in
            Dictionary(
                uniqueKeysWithValues: names.map { name in
                    let rank = Int(take(1)[0])
                    let dims = take(rank).map { Int($0) }
                    return (name, Array64(dims: dims, values: take(dims.reduce(1, *))))
                })
        }
    }
}
