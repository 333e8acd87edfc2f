// The devices under test: all that must give the same bits.

import CLRuntime
import Kernels

/// A device, and the way in which it is used here.
package struct TestDevice: Sendable, CustomStringConvertible {
    package let device: Device
    package let description: String

    package init(device: Device, description: String) {
        (self.device, self.description) = (device, description)
    }
}

package enum Devices {
    package static let inventory = CLInventory.discover()

    /// The processor with each of its instruction sets and one, two and three threads; the best set with one thread first.
    package static let cpus: [TestDevice] = CPU.instructionSets.flatMap { set in
        [1, 2, 3].map { threads in
            let cpu = try! CPU(threads: threads, instructionSet: set)
            return TestDevice(device: .cpu(cpu), description: cpu.description)
        }
    }

    /// Each OpenCL device that can keep the promise, with each shape of the kernels.
    package static let openCL: [TestDevice] = inventory.devices.filter {
        OpenCL.fitness(of: $0).problem == nil
    }.flatMap { device in
        KernelShape.allCases.map { shape in
            let opened = try! OpenCL(device, shape: shape)
            return TestDevice(
                device: .openCL(opened), description: "\(opened.description), kernels for a \(shape.rawValue)"
            )
        }
    }

    package static let all = cpus + openCL

    /// The first OpenCL device with kernels for a GPU in every form that a GPU may choose, which are not all chosen here.
    package static let gpuForms: [TestDevice] =
        openCL.isEmpty
        ? []
        : [
            (OpenCLTile(64, 64), false), (OpenCLTile(128, 128), false), (OpenCLTile(128, 64), true),
            (OpenCLTile(128, 32), true), (OpenCLTile(32, 32), true),
        ].map { tile, split in
            let opened = try! OpenCL(
                inventory.devices.first { OpenCL.fitness(of: $0).problem == nil }!, shape: .gpu, tile: tile,
                split: split
            )
            return TestDevice(
                device: .openCL(opened),
                description:
                    "\(opened.description), tiles of \(tile.rows) × \(tile.columns)\(split ? ", split" : "")")
        }

    /// The first OpenCL device, as if it offered less.
    package static func lesser(
        _ title: String, shape: KernelShape? = nil, _ change: (inout CLDevice) -> Void
    ) throws -> TestDevice? {
        guard var device = inventory.devices.first(where: { OpenCL.fitness(of: $0).problem == nil }) else {
            return nil
        }
        change(&device)
        let opened = try OpenCL(device, shape: shape)
        return TestDevice(
            device: .openCL(opened),
            description: "\(opened.description), kernels for a \(opened.shape.rawValue), \(title)")
    }

    /// The least that a device may offer, with memory of its own: both shapes of the kernels.
    package static let little: [TestDevice] = KernelShape.allCases.compactMap { shape in
        try! lesser("as small as they come", shape: shape) {
            $0.version = "OpenCL 1.2 little"
            $0.extensions = []
            $0.maxWorkGroupSize = 32
            $0.maxWorkItemSizes = [32, 32, 32]
            $0.localMemory = 16 << 10
            $0.maxAllocation = 128 << 20
            $0.globalMemory = 512 << 20
            $0.sharesHostMemory = false
        }
    }

    /// Both shapes of the kernels, with buffers that hold a few small values.
    package static func crumbs(_ bytes: Int) -> [TestDevice] {
        KernelShape.allCases.compactMap { shape in
            try! lesser("buffers of \(bytes) bytes", shape: shape) { $0.maxAllocation = bytes }
        }
    }

    /// The first OpenCL device, with inputs that travel as they do to a device with memory of its own.
    package static let copying: [TestDevice] = inventory.devices.filter {
        OpenCL.fitness(of: $0).problem == nil
    }.prefix(
        1
    ).map {
        let opened = try! OpenCL($0, copies: true)
        return TestDevice(device: .openCL(opened), description: "\(opened.description), copies")
    }

    /// Why there is no OpenCL device, as a full sentence; nil if there is one.
    package static var openCLProblem: String? {
        if !openCL.isEmpty { return nil }
        if let reason = inventory.unavailableReason { return "These tests need an OpenCL device. " + reason }
        let lacks = inventory.devices.map { "\($0.name) \(OpenCL.fitness(of: $0).problem ?? "")" }
        return "These tests need an OpenCL device with IEEE arithmetic; \(lacks.joined(separator: "; "))."
    }
}
