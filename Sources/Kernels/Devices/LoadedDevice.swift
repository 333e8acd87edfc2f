// A device made ready, and what all tapes that are loaded on it share.

/// A device with what computing takes: threads or a queue, scratch memory, built programs, the memory that tapes work in, and the
/// weights that they have in common.
///
/// It belongs to one thread at a time, together with all that is loaded on it. Two of the same device know nothing of each other.
package final class LoadedDevice {
    private enum Machine {
        case cpu(LoadedCPU)
        case openCL(LoadedOpenCL)
    }
    package let device: Device
    private let machine: Machine

    package init(_ device: Device) throws {
        self.device = device
        machine =
            switch device {
            case .cpu(let cpu): .cpu(LoadedCPU(cpu))
            case .openCL(let device): .openCL(try LoadedOpenCL(device))
            }
    }

    /// Makes a tape ready to run. Values in `kept`, and those that one stage leaves to another, stay until the tape runs again,
    /// whatever else runs on the device.
    /// - Throws: `LimitError` if the tape takes more memory or work than its limits allow, `DeviceError` if it takes more memory than
    ///   the device has; nothing has been allocated then. `CLError` if a driver has less than it says.
    package func load(_ tape: Tape, keeping kept: [Value]) throws -> any Executor {
        switch machine {
        case .cpu(let machine): try CPUExecutor(tape, keeping: kept, on: machine)
        case .openCL(let machine): try OpenCLExecutor(tape, keeping: kept, on: machine)
        }
    }

    /// Lets go of the memory that tapes work in; those that run get it again.
    package func releaseWorkingMemory() {
        switch machine {
        case .cpu(let machine): machine.working.drop()
        case .openCL(let machine): machine.working.drop()
        }
    }

    /// Bytes of all weights that are loaded.
    package var weightBytes: Int {
        switch machine {
        case .cpu(let machine): machine.weights.bytes
        case .openCL(let machine): machine.weights.bytes
        }
    }

    /// Bytes of the memory that tapes work in, one after the other.
    package var workingBytes: Int {
        switch machine {
        case .cpu(let machine): 4 * machine.working.size
        case .openCL(let machine): 4 * machine.working.size
        }
    }
}

/// Weights in a device's memory, held by the tapes that read them.
protocol WeightMemory: AnyObject {
    var bytes: Int { get }
}

/// The weights that are loaded on a device, each once, for as long as a tape reads them.
final class WeightStore<Memory: WeightMemory> {
    /// Where weights are: a place in memory.
    struct Found {
        let memory: Memory, place: Int
    }
    private struct Entry {
        weak var memory: Memory?
        let place: Int
    }
    private var entries: [PackedWeights.Key: Entry] = [:]
    private var all: [() -> Memory?] = []

    subscript(key: PackedWeights.Key?) -> Found? {
        guard let key, let entry = entries[key], let memory = entry.memory else { return nil }
        return Found(memory: memory, place: entry.place)
    }

    /// Remembers what lies in memory that is new, all of a tape's at once: what has gone is looked for each time.
    func add(_ new: [(memory: Memory, contents: [(key: PackedWeights.Key?, place: Int)])]) {
        guard !new.isEmpty else { return }
        entries = entries.filter { $0.value.memory != nil }
        all = all.filter { $0() != nil }
        for (memory, contents) in new {
            all.append { [weak memory] in memory }
            for case (let key?, let place) in contents { entries[key] = Entry(memory: memory, place: place) }
        }
    }

    var bytes: Int { all.reduce(0) { $0 + ($1()?.bytes ?? 0) } }
}

/// The memory that tapes work in, one after the other: what a stage leaves there is nobody's. It grows with the tapes.
final class WorkingMemory<Region> {
    private(set) var regions: [Region] = []
    /// Of the regions, in floats.
    private(set) var sizes: [Int] = []
    /// Changes whenever the regions do.
    private(set) var generation = 0
    private var shares: [MemoryBudget.Share] = []

    var size: Int { sizes.reduce(0, +) }

    /// The floats that it lacks for regions of these sizes.
    func lacking(_ wanted: [Int]) -> Int { WorkingMemory.union(sizes, wanted).reduce(0, +) - size }

    /// Grows where it lacks something.
    /// - Parameter share: of the limit, for what it lacks.
    func grow(_ wanted: [Int], _ share: MemoryBudget.Share, allocate: (Int) throws -> Region) throws {
        let next = WorkingMemory.union(sizes, wanted)
        guard next != sizes else { return }
        // The old ones first, so that both never exist at once.
        let held = shares
        drop()
        regions = try next.map(allocate)
        (sizes, shares) = (next, held + [share])
        generation += 1
    }

    /// Lets all go. Tapes ask for it again when they run.
    func drop() {
        (regions, sizes, shares) = ([], [], [])
        generation += 1
    }

    private static func union(_ a: [Int], _ b: [Int]) -> [Int] {
        (0..<max(a.count, b.count)).map { max($0 < a.count ? a[$0] : 0, $0 < b.count ? b[$0] : 0) }
    }
}
