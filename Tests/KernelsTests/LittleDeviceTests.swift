// Devices that offer little: what they are refused for, what they make do with, and that nothing outlives its memory.

import CLRuntime
import CMicrokernels
import Kernels
import TestSupport
import Testing

@Suite struct LittleDeviceTests {
    private func refusal(_ body: () throws -> Void) -> String? {
        #expect(throws: DeviceError.self) { try body() }?.description
    }

    /// What the promise needs is asked for before anything is built.
    @Test func refusedDevices() throws {
        let changes: [(String, (inout CLDevice) -> Void)] = [
            ("little-endian memory", { $0.isLittleEndian = false }),
            ("OpenCL 1.2", { $0.version = "OpenCL 1.1 old" }),
            ("OpenCL 1.2", { $0.version = "nonsense" }),
            ("a compiler", { $0.hasCompiler = false }),
        ]
        for (missing, change) in changes {
            let said = try #require(refusal { _ = try Devices.lesser("lesser", change) })
            #expect(said.contains("lacks \(missing), without which"), "\(said)")
        }
        for version in ["OpenCL 1.2 x", "OpenCL 2.0", "OpenCL 3.0 PoCL", "OpenCL 10.0 x"] {
            #expect(try Devices.lesser("lesser") { $0.version = version } != nil)
        }
    }

    /// Built kernels may allow fewer work-items than the device: tiles shrink, and where not even the smallest fits, that product
    /// takes the kernel for CPUs.
    @Test(
        arguments: [
            (1024, OpenCLTile(64, 64)), (64, OpenCLTile(64, 64)), (63, .smallest), (16, .smallest), (15, nil),
            (1, nil),
        ] as [(Int, OpenCLTile?)])
    func groupsOfKernels(_ most: Int, _ tile: OpenCLTile?) throws {
        var device = try #require(Devices.inventory.devices.first { OpenCL.fitness(of: $0).problem == nil })
        device.maxKernelGroup = most
        // A product of several chunks, one for each channel, a mean, a function and a map.
        var tape = Tape()
        let dims: Shape = [2, 40, 6, 5]
        func convolution(_ x: Value, _ kernel: [Int], groups: Int) -> Value {
            let weights = HostTensor(
                [40, 40 / groups, kernel[0], kernel[1]],
                .floats((0..<1600 / groups * kernel[0] * kernel[1]).map { Float($0 % 17) * 0.031 - 0.2 }))
            let shape = ConvolutionShape(
                input: dims, output: dims, kernel: kernel, strides: [1, 1],
                pads: [kernel[0] / 2, kernel[1] / 2],
                dilations: [1, 1], groups: groups)
            return tape.convolution(x, shape, PackedWeights(weights, for: shape))
        }
        let x = tape.input(dims)
        let wide = convolution(x, [3, 5], groups: 1)
        let each = convolution(wide, [3, 3], groups: 40)
        let kept = [wide, each, tape.spatialMean(each), tape.map(WB_MAP_exp, each), tape.femMap(each, k: 1)]
        let numbers = (0..<dims.count).map { Float($0 % 23) * 0.17 - 1.5 }
        func run(_ device: Device) throws -> [[Float]] {
            let executor = try device.load(tape, keeping: kept)
            try numbers.withUnsafeBufferPointer { try executor.write(x, from: $0) }
            try executor.run(0..<tape.steps.count)
            return try kept.map(executor.memoryOrder)
        }
        let expected = try run(Devices.all[0].device)
        for split in [false, true] {
            let gpu = try OpenCL(device, shape: .gpu, tile: OpenCLTile(64, 64), split: split)
            #expect(gpu.cut(rows: 60, columns: 40, groups: 1, chunks: 3)?.tile == tile)
            for opened in [gpu, try OpenCL(device, shape: .cpu)] {
                for (a, b) in zip(expected, try run(.openCL(opened))) {
                    if let difference = bitDifference(a, b) {
                        Issue.record("\(opened.shape), \(split): \(difference)")
                    }
                }
            }
        }
    }

    /// Without room for the smallest tile, a GPU gets the kernels that need none.
    @Test func littleLocalMemory() throws {
        let said = try #require(
            refusal { _ = try Devices.lesser("lesser", shape: .gpu) { $0.localMemory = 4 << 10 } })
        #expect(said.contains("4096 bytes of local memory"))
        let none = try #require(try Devices.lesser("lesser") { $0.localMemory = 0 })
        guard case .openCL(let device) = none.device else { return }
        #expect(device.shape == .cpu)
    }

    /// The tiles for GPUs take what they say: a device with that runs them, and with one byte less does not.
    @Test(arguments: [
        OpenCLTile(128, 128), OpenCLTile(128, 64), OpenCLTile(64, 64), OpenCLTile(128, 32), .smallest,
    ])
    func localMemoryOfTiles(_ tile: OpenCLTile) throws {
        var device = try #require(Devices.inventory.devices.first { OpenCL.fitness(of: $0).problem == nil })
        // Some drivers take a few bytes for themselves.
        device.localMemory = tile.localMemory + 64
        let shape = ConvolutionShape(
            input: [1, 40, 9, 9], output: [1, 40, 9, 9], kernel: [1, 1], strides: [1, 1], pads: [0, 0],
            dilations: [1, 1], groups: 1)
        var tape = Tape()
        let weights = HostTensor([40, 40, 1, 1], .floats([Float](repeating: 1, count: 1600)))
        let y = tape.convolution(tape.input(shape.input), shape, PackedWeights(weights, for: shape))
        _ = try Device.openCL(OpenCL(device, shape: .gpu, tile: tile)).load(tape, keeping: [y])
        device.localMemory = tile.localMemory - 1
        #expect(throws: (any Error).self) {
            _ = try Device.openCL(OpenCL(device, shape: .gpu, tile: tile)).load(tape, keeping: [y])
        }
    }

    /// Sentences about memory say whether a smaller batch would help, and name what is large.
    @Test func tooLarge() throws {
        var tape = Tape()
        tape.label = "the sum"
        let x = tape.input([4, 1 << 16])
        let sum = tape.map(
            WB_MAP_add, x,
            try tape.constant(HostTensor([1 << 16], .floats(Array(repeating: 0, count: 1 << 16)))))
        tape.label = "the rest"
        let y = tape.map(WB_MAP_scale, sum, a: 2)
        func error(_ change: (inout CLDevice) -> Void) throws -> DeviceError {
            let device = try #require(try Devices.lesser("lesser", change))
            return try #require(
                #expect(throws: DeviceError.self) { _ = try device.device.load(tape, keeping: [y]) })
        }
        let weights = try error { $0.maxAllocation = 1 << 16 }
        #expect(!weights.isMemory && weights.description.contains("the weights of “the sum”"))
        let tensor = try error { $0.maxAllocation = 1 << 18 }
        #expect(tensor.isMemory && tensor.description.contains("at most 256 KiB"))
        let memory = try error { ($0.globalMemory, $0.sharesHostMemory) = (1 << 20, true) }
        #expect(
            memory.isMemory && memory.description.contains("has 1024 KiB of memory, and this needs 3072 KiB"))
        let separate = try error { ($0.globalMemory, $0.sharesHostMemory) = (3 << 20, false) }
        #expect(separate.isMemory && separate.description.contains("this needs 5376 KiB"))
    }

    /// An executor that is dropped while its device works waits for it: the work reads memory that goes with the executor.
    @Test(arguments: Devices.openCL)
    func droppedAtWork(_ device: TestDevice) throws {
        var tape = Tape()
        let x = tape.input([1 << 22])
        var y = tape.map(WB_MAP_exp, x)
        for _ in 0..<20 { y = tape.map(WB_MAP_exp, y) }
        var executor = try device.device.load(tape, keeping: [y]) as? OpenCLExecutor
        let queue = try #require(executor?.queue)
        try executor?.start(0..<tape.steps.count)
        let marker = try queue.marker()
        try queue.flush()
        executor = nil
        #expect(try marker.isComplete)
    }

    /// Where each thread has tiles of its own, Winograd's convolutions need no workspace; where threads share them, one as large as
    /// the tiles are many; and steps use it one after the other.
    @Test func workspacesOfWinograd() throws {
        func memory(_ side: Int, images: Int, threads: Int) throws -> Int {
            let dims: Shape = [images, 32, side, side]
            let shape = ConvolutionShape(
                input: dims, output: dims, kernel: [3, 3], strides: [1, 1], pads: [1, 1], dilations: [1, 1],
                groups: 1)
            var tape = Tape()
            let weights = HostTensor([32, 32, 3, 3], .floats([Float](repeating: 1, count: 32 * 288)))
            var x = tape.input(dims)
            for _ in 0..<4 { x = tape.convolution(x, shape, PackedWeights(weights, for: shape)) }
            #expect(tape.steps.allSatisfy { $0 is Winograd })
            let device = Device.cpu(try CPU(threads: threads))
            // Two values at a time, and the one that is kept.
            return try device.load(tape, keeping: [x]).arenaBytes - 3 * 4 * dims.count
        }
        #expect(try memory(12, images: 1, threads: 1) == 0)
        #expect(try memory(48, images: 4, threads: 2) == 0)
        // Nine tiles of 36 numbers for 32 channels, transformed and as products.
        #expect(try memory(12, images: 1, threads: 2) == 2 * 4 * 9 * 36 * 32)
    }
}
