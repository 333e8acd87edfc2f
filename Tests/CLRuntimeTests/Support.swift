import CLRuntime
import Glibc
import Testing

/// A device with a queue. There must be one: without it this module is not tested, and that is a failure.
struct Bench {
    static let inventory = CLInventory.discover()

    let device: CLDevice
    let context: CLContext
    let queue: CLQueue

    init() throws {
        device = try #require(
            Bench.inventory.devices.first,
            "these tests need an OpenCL device: \(Bench.inventory.unavailableReason ?? "")")
        context = try CLContext(device: device)
        queue = try CLQueue(context: context)
    }

    func buffer<T: BitwiseCopyable>(_ values: [T]) throws -> CLBuffer {
        try CLBuffer(context: context, copying: values)
    }

    func buffer(floats: Int) throws -> CLBuffer { try CLBuffer(context: context, byteCount: 4 * floats) }

    /// The kernel `name` of a program that is built without the cache.
    func kernel(_ name: String, _ source: String, options: String = "") throws -> CLKernel {
        try CLProgram(context: context, source: source, options: options, cache: .off).kernel(name)
    }
}

/// Reproducible numbers (SplitMix64).
struct Numbers: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
