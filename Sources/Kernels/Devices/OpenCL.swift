// An OpenCL device: its programs, and the memory and launches of a loaded tape.

import CKernelSources
import CLRuntime
import CMicrokernels
import Dispatch
import Glibc
import Synchronization

package typealias OpenCLLaunch = CLLaunch

/// Which form of the kernels that have two a device gets. The bits are the same.
package enum KernelShape: String, Sendable, CaseIterable {
    /// Wide vectors in one work-item.
    case cpu
    /// Work-groups that share tiles in local memory.
    case gpu
}

/// The outputs, as rows by columns of the matrix product, that a work-group of the GPU-shaped convolution computes.
package struct OpenCLTile: Sendable, Hashable {
    package var rows: Int, columns: Int
    package init(_ rows: Int, _ columns: Int) { (self.rows, self.columns) = (rows, columns) }

    /// Each work-item computes 8 × 8 outputs.
    var items: Int { rows * columns / 64 }
    /// Bytes of local memory that a work-group takes: two copies of 8 terms of each row and column, and where each row's
    /// window lies. (A third axis takes 4 bytes a row more, which make no difference to a device of any usual size.)
    package var localMemory: Int { 2 * 8 * 4 * (rows + columns) + 3 * 4 * rows }
    func fits(_ device: CLDevice) -> Bool {
        items <= device.maxWorkGroupSize && localMemory <= device.localMemory
    }
    package static let smallest = OpenCLTile(32, 32)
    func across(_ columns: Int) -> Int { (columns + self.columns - 1) / self.columns }
    func down(_ rows: Int) -> Int { (rows + self.rows - 1) / self.rows }
}

/// An OpenCL device that can keep the promise of equal bits.
package final class OpenCL: Sendable {
    package let device: CLDevice
    package let shape: KernelShape
    let context: CLContext
    private let fixedTile: OpenCLTile?
    private let fixedSplit: Bool?
    /// Whether inputs travel on a queue of their own.
    let copies: Bool
    private let arithmetic: Probe
    private let programs = Mutex<[String: CLProgram]>([:])
    private let largestGroups = Mutex<[String: Int]>([:])  // of convolutions, by their options

    /// The defaults suit the device; everything else gives the same bits, and is there for tests.
    /// - Parameters:
    ///   - shape: the kernels' shape.
    ///   - tile: the GPU shape's tiles, each extent 32, 64 or 128; smaller ones where built kernels do not allow so many work-items.
    ///   - split: whether the GPU shape's work-groups compute one chunk of terms, wherever there are several.
    ///   - copies: whether inputs travel on a queue of their own, which is of use to devices with memory of their own.
    ///   - nativeDivision: whether the device's own division and square root are used where they are correctly rounded.
    package init(
        _ device: CLDevice, shape: KernelShape? = nil, tile: OpenCLTile? = nil, split: Bool? = nil,
        copies: Bool? = nil, nativeDivision: Bool = true
    ) throws {
        let fitness = OpenCL.fitness(of: device)
        guard fitness.problem == nil, let measured = fitness.measured else {
            throw DeviceError(
                "The OpenCL device “\(device.name)” \(fitness.problem!); use another device, or `--device cpu`."
            )
        }
        self.device = device
        // The kernels for CPUs need no local memory and no work-groups, and run everywhere.
        let least = OpenCLTile.smallest
        self.shape = shape ?? (device.kind == .cpu || !least.fits(device) ? .cpu : .gpu)
        guard self.shape == .cpu || least.fits(device) else {
            throw DeviceError(
                "The OpenCL device “\(device.name)” has \(device.localMemory) bytes of local memory and \(device.maxWorkGroupSize) "
                    + "work-items in a work-group, and the kernels for GPUs need \(least.localMemory) and \(least.items); use those "
                    + "for CPUs.")
        }
        fixedTile = tile
        fixedSplit = split
        self.copies = copies ?? (!device.sharesHostMemory && !device.isSimulated)
        var arithmetic = measured
        arithmetic.nativeDivision = nativeDivision && measured.nativeDivision
        self.arithmetic = arithmetic
        context = try CLContext(device: device)
    }

    /// Whether a device can keep the promise, and why not.
    package struct Fitness: Sendable {
        /// What goes after the device's name in a sentence, such as “lacks a compiler, without which …”; nil if it can.
        package let problem: String?
        /// What was measured; nil if it came not to that.
        package let measured: Probe?
    }

    /// The one answer to whether a device is used. What a driver declares of its arithmetic is not asked but measured:
    /// `CL_FP_FMA`, for one, says that fma is fast, not that it is right. (Only its division must be declared right too, because
    /// the compiler needs an option then.)
    package static func fitness(of device: CLDevice, cache: CLProgramCache = .standard) -> Fitness {
        var missing: [String] = []
        if !device.speaks(1, 2) { missing.append("OpenCL 1.2") }
        if !device.hasCompiler { missing.append("a compiler") }
        if !device.isLittleEndian { missing.append("little-endian memory") }
        if !missing.isEmpty {
            return Fitness(
                problem:
                    "lacks \(missing.joined(separator: " and ")), without which nothing can be computed there",
                measured: nil)
        }
        if !device.isAvailable { return Fitness(problem: "is not available now", measured: nil) }
        do {
            let measured = try Probe.outcome(of: device, cache: cache)
            return Fitness(
                problem: measured.wrong.map {
                    "computes wrong, so results would differ from those of other devices: \($0)"
                },
                measured: measured)
        } catch {
            return Fitness(
                problem: "does not run the program that measures its arithmetic (\(error))", measured: nil)
        }
    }

    /// Whether the compiler takes clang's own prefetch, which is no OpenCL: NVIDIA's and rusticl's refuse it.
    var prefetches: Bool { device.platform.name == "Portable Computing Language" && device.kind == .cpu }

    package var description: String { "opencl:\(device.index) (\(device.name), \(device.platform.name))" }

    private static func text(_ name: String) -> String {
        wb_kernel_source(name).map { String(cString: $0) } ?? ""
    }

    /// The source of a family of kernels, with all that it needs in front.
    package static func source(_ family: String) -> String {
        [
            "types.clh", "common.clh", "math.clh", "epilogue.clh", "grid.clh", "window.clh", "tree.clh",
            "\(family).clh",
            "\(family).cl",
        ].map(text).joined(separator: "\n")
    }

    /// A kernel of `kernels/FAMILY.cl`, built with `options`. Each program holds one kernel, so that nothing is compiled that does
    /// not run.
    func kernel(_ name: String, in family: String, options: String = "") throws -> CLKernel {
        var all = "-cl-std=CL1.2 -w -DWB_KERNEL_\(name)=1" + arithmetic.options
        if !options.isEmpty { all += " " + options }
        let program = try programs.withLock { programs in
            let key = family + " " + all
            if let built = programs[key] { return built }
            let built = try CLProgram(context: context, source: OpenCL.source(family), options: all)
            programs[key] = built
            return built
        }
        return try program.kernel(name)
    }

    /// How the GPU shape computes `groups` products of `rows` by `columns` outputs, of terms in so many `chunks`: the tiles, the
    /// largest that make enough work-groups for the device, since large tiles read least; and whether it splits the terms. Nil
    /// where the built kernel allows not even the work-items of the smallest tile: that product takes the kernel for CPUs.
    package func cut(rows: Int, columns: Int, groups: Int, chunks: Int) -> (tile: OpenCLTile, splits: Bool)? {
        func tiles(_ tile: OpenCLTile) -> Int { groups * tile.across(columns) * tile.down(rows) }
        func splits(_ tile: OpenCLTile) -> Bool {
            self.splits(chunks: chunks, tiles: tiles(tile), sums: chunks * groups * rows * columns)
        }
        // A CPU runs this shape only to test it, and small groups are what it can bear.
        let usual: [OpenCLTile] =
            device.kind == .cpu
            ? []
            : columns <= 32
                ? [OpenCLTile(128, 32)] : [OpenCLTile(128, 128), OpenCLTile(128, 64), OpenCLTile(64, 64)]
        let choices = fixedTile.map { [$0] } ?? usual.filter { $0.fits(device) }
        // Not wider than the columns need, and enough of them; else the smallest of the usual ones.
        let first =
            choices.firstIndex { tile in
                tile.across(columns) * tile.columns <= (columns + 63) / 64 * 64
                    && tiles(tile) >= 2 * device.computeUnits
            } ?? max(0, choices.count - 1)
        for tile in choices[first...] + [.smallest] where allows(tile, split: splits(tile)) {
            return (tile, splits(tile))
        }
        return nil
    }

    /// The options with which the GPU shape of the convolution is built.
    func options(_ tile: OpenCLTile, split: Bool) -> String {
        "-DWB_ROWS=\(tile.rows) -DWB_COLUMNS=\(tile.columns)" + (split ? " -DWB_SPLIT=1" : "")
            // The whole kernel unrolled would take a CPU's compiler long.
            + (device.kind == .cpu ? " -DWB_ROLLED=1" : "")
    }

    /// Whether the kernel built for a tile allows its work-items: registers may not suffice for so many.
    private func allows(_ tile: OpenCLTile, split: Bool) -> Bool {
        let options = options(tile, split: split)
        if let most = largestGroups.withLock({ $0[options] }) { return tile.items <= most }
        // A kernel that does not build says so when it is launched.
        let most =
            (try? kernel("convolution", in: "convolution", options: options).workGroupInfo.maxSize) ?? .max
        largestGroups.withLock { $0[options] = most }
        return tile.items <= most
    }

    /// Whether `chunks` chunks of terms are computed by work-groups of their own, to be added up afterwards: where `tiles`
    /// tiles would leave much of the device idle, and one buffer holds the `sums`, which kernels count in 32 bits.
    private func splits(chunks: Int, tiles: Int, sums: Int) -> Bool {
        guard chunks > 1, 4 * sums <= device.maxAllocation, sums <= Int(Int32.max) else { return false }
        return fixedSplit ?? (device.kind != .cpu && tiles < 2 * device.computeUnits)
    }
}

/// What a step sees of an OpenCL device when its launches are made.
package struct OpenCLFrame {
    package let device: OpenCL
    fileprivate let storages: [Int]
    fileprivate var buffers: [CLBuffer?]

    func buffer(_ value: Value) -> CLArgument { .buffer(buffers[storages[value.id]]!) }

    /// A launch over `global` work-items in work-groups of exactly `local`.
    func launch(
        _ name: String, in family: String, options: String = "", _ arguments: [CLArgument], global: CLSize,
        local: CLSize
    ) throws -> CLLaunch {
        let kernel = try device.kernel(name, in: family, options: options)
        try kernel.setArguments(arguments)
        return try kernel.launch(global: global, local: local)
    }

    /// A launch over at least `global` work-items, as the kernel checks its range; in work-groups of `wanted`, or smaller ones
    /// where the device or the built kernel allows fewer.
    func launch(
        _ name: String, in family: String, options: String = "", _ arguments: [CLArgument],
        over global: CLSize,
        inGroupsOf wanted: CLSize
    ) throws -> CLLaunch {
        let kernel = try device.kernel(name, in: family, options: options)
        try kernel.setArguments(arguments)
        let local = wanted.halved(until: try kernel.workGroupInfo.maxSize, device.device.maxWorkItemSizes)
        return try kernel.launch(global: global.roundedUp(to: local), local: local)
    }

    /// A launch over `count` work-items in a row.
    func launch(
        _ name: String, in family: String, options: String = "", _ arguments: [CLArgument], count: Int
    ) throws -> CLLaunch {
        try launch(
            name, in: family, options: options, arguments, over: CLSize(max(count, 1)),
            inGroupsOf: CLSize(device.shape == .gpu ? 128 : 16))
    }

    /// A launch over `columns` by `rows` work-items.
    func launch(
        _ name: String, in family: String, options: String = "", _ arguments: [CLArgument], columns: Int,
        rows: Int
    ) throws -> CLLaunch {
        try launch(
            name, in: family, options: options, arguments, over: CLSize(max(columns, 1), max(rows, 1)),
            inGroupsOf: device.shape == .gpu ? CLSize(32, 4) : CLSize(16, 1))
    }
}

extension CLSize {
    /// The extents halved, the last one first, until a work-group has at most `most` work-items and each extent fits `extents`.
    fileprivate func halved(until most: Int, _ extents: [Int]) -> CLSize {
        var (x, y) = (x, y)
        while x > max(1, extents[0]) { x = (x + 1) / 2 }
        while y > 1, x * y > most || y > extents[1] { y = (y + 1) / 2 }
        while x > 1, x * y > most { x = (x + 1) / 2 }
        return dimensions == 1 ? CLSize(x) : CLSize(x, y)
    }
}

/// A slot whose numbers travel through memory that the device reaches by itself, on a queue of their own, into a buffer of
/// their own.
private final class CopySlot: InputSlot {
    let numbers: Block
    let buffer: CLBuffer
    private let queue: CLQueue
    private let sent = Mutex<CLEvent?>(nil)

    init(count: Int, _ queue: CLQueue) throws {
        let memory = try CLHostMemory(queue: queue, byteCount: count * 4)
        numbers = Block(memory.bytes, of: memory)
        buffer = try CLBuffer(context: queue.context, byteCount: count * 4)
        self.queue = queue
    }

    func send() throws {
        let event = try queue.startWriting(
            UnsafeRawBufferPointer(start: numbers.pointer, count: buffer.byteCount), to: buffer)
        try queue.flush()
        sent.withLock { $0 = event }
    }

    /// When the numbers are in the buffer.
    func arrival() throws -> CLEvent {
        if sent.withLock({ $0 == nil }) { try send() }
        return sent.withLock { event in
            defer { event = nil }
            return event!
        }
    }
}

/// An OpenCL device made ready: its queues, and what tapes share.
final class LoadedOpenCL {
    let device: OpenCL
    let queue: CLQueue
    let copies: CLQueue?
    let working = WorkingMemory<CLBuffer>()
    let weights = WeightStore<Weights>()

    /// The weights of a step.
    final class Weights: WeightMemory {
        let buffer: CLBuffer
        private let share: MemoryBudget.Share
        var bytes: Int { buffer.byteCount }
        init(_ buffer: CLBuffer, _ share: MemoryBudget.Share) { (self.buffer, self.share) = (buffer, share) }
    }

    init(_ device: OpenCL) throws {
        self.device = device
        queue = try CLQueue(context: device.context)
        copies = device.copies ? try CLQueue(context: device.context) : nil
    }

    func allocate(_ floats: Int) throws -> CLBuffer {
        let buffer = try CLBuffer(context: device.context, byteCount: floats * 4)
        // Some drivers find the memory when it is first used, and that had better be now.
        try queue.write([Float(0)], to: buffer)
        return buffer
    }

    /// Numbers that no step changes, in a buffer.
    func buffer(holding block: Block, bytes: Int) throws -> CLBuffer {
        let memory = UnsafeMutableRawBufferPointer(start: block.pointer, count: bytes)
        if device.device.sharesHostMemory {
            // Such a device reads the host's memory where it lies.
            return try CLBuffer(context: device.context, borrowing: memory, of: block, flags: .readOnly)
        }
        let buffer = try CLBuffer(context: device.context, byteCount: bytes, flags: .readOnly)
        try queue.write(UnsafeRawBufferPointer(memory), to: buffer)
        return buffer
    }
}

/// A tape in the memory of an OpenCL device.
package final class OpenCLExecutor: Executor {
    private let tape: Tape
    private let kept: [Value]
    private let machine: LoadedOpenCL
    private let memory: Tape.Memory
    private let buffers: [CLBuffer?]  // of each storage that is not worked in
    private var frame: OpenCLFrame
    private var launches: [[CLLaunch]] = []  // of each step
    private var generation = -1  // of the working memory that those use
    private let weights: [LoadedOpenCL.Weights]
    /// Of the limit, for what lies in the host's memory and is only this tape's.
    private let share: MemoryBudget.Share
    package var arenaBytes: Int { 4 * memory.size }
    package var queue: CLQueue { machine.queue }

    init(_ tape: Tape, keeping kept: [Value], on machine: LoadedOpenCL) throws {
        (self.tape, self.kept, self.machine) = (tape, kept, machine)
        let device = machine.device
        // Parts of buffers begin where the device can address them, and buffers hold whole parts.
        let alignment = max(64, device.device.baseAddressAlignment / 4)
        let memory = tape.memory(
            keeping: kept, alignment: alignment,
            most: device.device.maxAllocation / 4 / alignment * alignment,
            room: { $0.room(on: .openCL(device)) })
        self.memory = memory
        try OpenCLExecutor.check(tape, memory, machine, keeping: kept)
        try tape.checkWork(tape.limits.work * tape.pictures)
        let shared = device.device.sharesHostMemory
        var found: [Int: LoadedOpenCL.Weights] = [:]
        let needed = tape.weights(keeping: kept)
        for (storage, weights) in needed { found[storage] = machine.weights[weights.key]?.memory }
        // A device with memory of its own has its own limits; what is packed for it passes through the host's.
        let new = needed.map(\.storage).filter { found[$0] == nil }
        var shares = try tape.reserveMemory(
            [
                (shared ? 4 * memory.lasting.size : 0) + tape.inputBytes,
                shared ? 4 * machine.working.lacking(memory.passing.sizes) : 0,
            ] + new.map { tape.weightBytes([$0]) }, keeping: kept)
        share = shares.removeFirst()
        try machine.working.grow(
            memory.passing.sizes, shares.removeFirst(), allocate: machine.allocate)
        do {
            let regions = try memory.lasting.sizes.map(machine.allocate)
            let weightShares = Dictionary(uniqueKeysWithValues: zip(new, shares))
            var weights: [LoadedOpenCL.Weights] = []
            var added: [(memory: LoadedOpenCL.Weights, contents: [(key: PackedWeights.Key?, place: Int)])] =
                []
            var buffers = [CLBuffer?](repeating: nil, count: tape.sources.count)
            for (storage, source) in tape.sources.enumerated() {
                let bytes = max(4, tape.sizes[storage] * 4)
                switch source {
                case .weights(let packed):
                    if found[storage] == nil, let share = weightShares[storage] {
                        let new = LoadedOpenCL.Weights(
                            try machine.buffer(holding: Block(packed), bytes: bytes), share)
                        added.append((new, [(packed.key, 0)]))
                        found[storage] = new
                    }
                    buffers[storage] = found[storage]?.buffer
                    weights += found[storage].map { [$0] } ?? []
                case .input: buffers[storage] = try CLBuffer(context: device.context, byteCount: bytes)
                case .step, .workspace:
                    buffers[storage] = try memory.lasting.places[storage].map {
                        try OpenCLExecutor.part($0, of: regions)
                    }
                }
            }
            machine.weights.add(added)
            (self.buffers, self.weights) = (buffers, weights)
            frame = OpenCLFrame(device: device, storages: tape.entries.map(\.storage), buffers: buffers)
            try bind()
        } catch {
            // What was to be worked in may be too large for whoever tries again with less.
            machine.working.drop()
            throw error
        }
    }

    private static func part(_ place: Tape.Arena.Place, of regions: [CLBuffer]) throws -> CLBuffer {
        try regions[place.block].part(offset: place.offset * 4, byteCount: max(4, place.size * 4))
    }

    /// Makes the launches, anew where the working memory has grown since.
    private func bind() throws {
        guard generation != machine.working.generation else { return }
        let lacking = machine.working.lacking(memory.passing.sizes)
        if lacking > 0 {
            let shared = machine.device.device.sharesHostMemory
            let share = try tape.reserveMemory([shared ? 4 * lacking : 0], keeping: kept)[0]
            try machine.working.grow(memory.passing.sizes, share, allocate: machine.allocate)
        }
        var buffers = buffers
        for (storage, place) in memory.passing.places {
            buffers[storage] = try OpenCLExecutor.part(place, of: machine.working.regions)
        }
        frame.buffers = buffers
        launches = try tape.steps.map { try $0.launches(frame) }
        generation = machine.working.generation
    }

    /// Launches read memory that goes with this object, and OpenCL lets them go on without it.
    deinit {
        try? queue.finish()
        try? machine.copies?.finish()
    }

    /// Refuses what the device says that it cannot hold: first what no smaller batch would change.
    private static func check(
        _ tape: Tape, _ memory: Tape.Memory, _ machine: LoadedOpenCL, keeping kept: [Value]
    ) throws {
        let device = machine.device
        let (name, most) = ("The OpenCL device “\(device.device.name)”", device.device.maxAllocation)
        func size(_ bytes: Int) -> String {
            bytes < 16 << 20 ? "\((bytes + 1023) >> 10) KiB" : "\((bytes + (1 << 20) - 1) >> 20) MiB"
        }
        let working = machine.working
        var total =
            4 * (memory.lasting.size + working.size + working.lacking(memory.passing.sizes))
            + (device.device.sharesHostMemory ? 0 : machine.weights.bytes)
        var (weights, tensors): ([Int], [Int]) = ([], [])  // storages
        let used = tape.used(keeping: kept)
        for (storage, source) in tape.sources.enumerated() {
            let bytes = 4 * tape.sizes[storage]
            switch source {
            case .weights(let packed):
                guard used.contains(storage) else { continue }
                weights.append(storage)
                if machine.weights[packed.key] != nil { break }
                if !device.device.sharesHostMemory { total += bytes }
            case .input:
                tensors.append(storage)
                // With the one that is computed, two may be on their way.
                total += device.copies ? 3 * bytes : bytes
            case .step:
                if (memory.lasting.places[storage] ?? memory.passing.places[storage]) != nil {
                    tensors.append(storage)
                }
            case .workspace: break
            }
        }
        for (storages, what, way) in [
            (weights, "the weights", "use another device, or `--device cpu`"),
            (tensors, "a tensor", "take a smaller batch or picture"),
        ] {
            guard let storage = storages.first(where: { 4 * tape.sizes[$0] > most }) else { continue }
            throw DeviceError(
                "\(name) gives buffers of at most \(size(most)), and \(what) of “\(tape.label(using: storage) ?? "the input")” "
                    + "need\(storages == tensors ? "s" : "") one of \(size(4 * tape.sizes[storage])); \(way).",
                isMemory: storages == tensors)
        }
        if let largest = (memory.lasting.sizes + memory.passing.sizes).max(), 4 * largest > most {
            throw DeviceError(
                "\(name) gives buffers of at most \(size(most)), and a step needs one of \(size(4 * largest)) to work in; "
                    + "take a smaller batch or picture.", isMemory: true)
        }
        guard total <= device.device.globalMemory else {
            throw DeviceError(
                "\(name) has \(size(device.device.globalMemory)) of memory, and this needs \(size(total)); take a smaller batch or "
                    + "picture.", isMemory: true)
        }
    }

    private func buffer(_ value: Value) -> CLBuffer { frame.buffers[frame.storages[value.id]]! }

    private func lasting(_ value: Value) -> CLBuffer {
        precondition(
            tape.isDense(value) && memory.passing.places[tape.storage(value)] == nil,
            "A value that nobody kept may be gone.")
        return buffer(value)
    }

    package func write(_ value: Value, from source: UnsafeBufferPointer<Float>) throws {
        try queue.write(UnsafeRawBufferPointer(source), to: buffer(value))
    }

    package func slot(for value: Value) throws -> any InputSlot {
        let count = tape.shape(value).count
        return if let copies = machine.copies { try CopySlot(count: count, copies) } else {
            HostSlot(count: count)
        }
    }

    package func copy(_ value: Value, from source: Value, of other: any Executor) throws {
        let from = (other as! OpenCLExecutor).lasting(source)
        try queue.copy(from: from, to: buffer(value), byteCount: tape.shape(value).count * 4)
    }

    package func take(_ slot: any InputSlot, as value: Value) throws {
        guard let slot = slot as? CopySlot else {
            return try write(
                value, from: UnsafeBufferPointer(start: slot.numbers.pointer, count: slot.numbers.count))
        }
        // What was computed from the last batch keeps its input until it is done, because it is before this in the queue.
        try queue.enqueueBarrier(after: [slot.arrival()])
        try queue.copy(from: slot.buffer, to: buffer(value), byteCount: slot.buffer.byteCount)
    }

    package func run(_ steps: Range<Int>) throws {
        try start(steps)
        try queue.finish()
    }

    package var runsBesideHost: Bool { true }

    package func start(_ steps: Range<Int>) throws {
        try bind()
        // Everything is enqueued before anything is waited for: a wait between short kernels leaves cores idle.
        for i in steps { for launch in launches[i] { try queue.enqueue(launch) } }
        try queue.flush()
    }

    package func memoryOrder(_ value: Value) throws -> [Float] {
        try queue.read(Float.self, from: lasting(value), count: tape.shape(value).count)
    }

    package func time(_ steps: Range<Int>) throws -> [Double] {
        try bind()
        return try steps.map { i in
            let start = DispatchTime.now().uptimeNanoseconds
            for launch in launches[i] { try queue.enqueue(launch) }
            try queue.finish()
            return Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
        }
    }
}
