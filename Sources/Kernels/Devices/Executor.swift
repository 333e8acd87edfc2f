// What a loaded tape can do, on any device.

import CLRuntime

/// A device that can't be had, or not for this.
package struct DeviceError: Error, Sendable, CustomStringConvertible {
    package let description: String
    /// Whether it lacks memory, which a smaller batch may not need.
    package let isMemory: Bool
    package init(_ description: String, isMemory: Bool = false) {
        (self.description, self.isMemory) = (description, isMemory)
    }
}

/// Whether it is lack of memory, so that a smaller batch may do.
package func isOutOfMemory(_ error: any Error) -> Bool {
    switch error {
    case let error as DeviceError: error.isMemory
    case let error as LimitError: error.isMemory
    case let error as CLError: error.kind == .outOfMemory
    default: false
    }
}

/// Host memory for one batch of an input. What lies in it can travel to the device while that computes another batch.
package protocol InputSlot: Sendable {
    /// To be filled in memory order, unless the slot is in use.
    var numbers: Block { get }
    /// Begins the journey, once the numbers are there. Any thread may call it.
    func send() throws
}

/// A slot of a device that computes in the host's memory: there is no journey.
struct HostSlot: InputSlot {
    let numbers: Block
    init(count: Int) { numbers = Block(count: count) }
    func send() {}
}

/// A tape loaded on a device: memory is allocated and programs are built; running it allocates nothing more.
package protocol Executor: AnyObject {
    /// Writes an input, in memory order.
    func write(_ value: Value, from source: UnsafeBufferPointer<Float>) throws
    /// Memory from which an input comes, batch after batch; for several batches on their way, several slots.
    func slot(for value: Value) throws -> any InputSlot
    /// Writes an input with a value that another executor of the same loaded device keeps.
    func copy(_ value: Value, from source: Value, of other: any Executor) throws
    /// Makes what lies in the slot the input's value, for steps that start afterwards. The slot is in use until results of
    /// those have been read.
    func take(_ slot: any InputSlot, as value: Value) throws
    /// Runs steps and waits for them.
    func run(_ steps: Range<Int>) throws
    /// Runs steps, and does not wait for a device that goes on by itself; reading a value does.
    func start(_ steps: Range<Int>) throws
    /// Whether `start` returns before the steps are done.
    var runsBesideHost: Bool { get }
    /// The numbers of a value that stays, in memory order.
    func memoryOrder(_ value: Value) throws -> [Float]
    /// Seconds that each step takes, run one after the other.
    func time(_ steps: Range<Int>) throws -> [Double]
    /// Bytes of memory for values, without weights and inputs.
    var arenaBytes: Int { get }
}

extension Executor {
    package func take(_ slot: any InputSlot, as value: Value) throws {
        try write(value, from: UnsafeBufferPointer(start: slot.numbers.pointer, count: slot.numbers.count))
    }
    package func start(_ steps: Range<Int>) throws { try run(steps) }
    package var runsBesideHost: Bool { false }
}

/// Where a tape can run.
package enum Device: Sendable {
    case cpu(CPU)
    case openCL(OpenCL)

    /// Loads a tape that shares nothing with others.
    package func load(_ tape: Tape, keeping kept: [Value]) throws -> any Executor {
        try LoadedDevice(self).load(tape, keeping: kept)
    }

    /// How many images to compute at a time where `most` are wanted. No bit depends on it. A CPU is as fast with a few images
    /// for each thread as with many, and they take less memory; the parts of `most` are made equal.
    package func batch(_ most: Int) -> Int {
        let threads: Int
        switch self {
        case .cpu(let cpu): threads = cpu.threads
        case .openCL(let device):
            guard device.device.kind == .cpu else { return most }
            threads = device.device.computeUnits
        }
        let limit = max(8, 4 * threads)
        let parts = (most + limit - 1) / limit
        return (most + parts - 1) / parts
    }

    package var description: String {
        switch self {
        case .cpu(let cpu): cpu.description
        case .openCL(let device): device.description
        }
    }
}
