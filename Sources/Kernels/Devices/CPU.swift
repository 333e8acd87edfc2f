// The CPU as a device: instruction set, threads, and the memory of a loaded tape.

import CMicrokernels
import Dispatch
import FoundationEssentials
import Glibc

/// The processor that the program runs on.
package struct CPU: Sendable {
    // The tables of functions are constants of the program.
    nonisolated(unsafe) let functions: UnsafePointer<wb_functions>
    package let threads: Int
    /// Bytes of a thread's second-level cache. Only speed depends on it.
    package let cache: Int

    /// What the machine offers, best first: "AVX-512", "AVX2", "baseline".
    package static var instructionSets: [String] {
        (0...).lazy.map { wb_functions_at(Int32($0)) }.prefix { $0 != nil }.map {
            String(cString: $0!.pointee.name)
        }
    }

    /// The cores that this process may use.
    package static var cores: Int { max(1, ProcessInfo.processInfo.activeProcessorCount) }

    /// - Parameters:
    ///   - threads: how many work at a time; all cores if nil.
    ///   - instructionSet: one of `instructionSets`; the best if nil.
    ///   - cache: what processors of today have at least; another size for tests.
    package init(threads: Int? = nil, instructionSet: String? = nil, cache: Int = 512 << 10)
        throws(DeviceError)
    {
        let names = CPU.instructionSets
        guard let index = instructionSet.map({ names.firstIndex(of: $0) }) ?? 0 else {
            throw DeviceError(
                "This processor does not have the instruction set “\(instructionSet!)”; it has \(names.joined(separator: ", "))."
            )
        }
        functions = wb_functions_at(Int32(index))!
        self.threads = max(1, threads ?? CPU.cores)
        self.cache = cache
    }

    package var instructionSet: String { String(cString: functions.pointee.name) }

    package var description: String { "cpu (\(instructionSet), \(threads) thread\(threads == 1 ? "" : "s"))" }
}

/// What a step sees of the CPU while it runs.
package struct CPUFrame {
    let functions: wb_functions
    let threads: Int
    fileprivate let pool: OpaquePointer?  // nil for one thread
    fileprivate let storages: [Int]
    fileprivate var memory: [UnsafeMutablePointer<Float>?]
    fileprivate let scratch: UnsafeMutablePointer<wb_scratch>  // two for each thread

    fileprivate var finite: Set<Int> = []  // storages

    /// Whether it is known that all numbers of these weights are finite.
    func isFinite(_ weights: Value) -> Bool { finite.contains(storages[weights.id]) }

    /// The thread that has this scratch memory.
    func thread(of scratch: UnsafeMutablePointer<wb_scratch>) -> Int { scratch - self.scratch }

    /// More scratch memory of the same thread.
    func bands(beside scratch: UnsafeMutablePointer<wb_scratch>) -> UnsafeMutablePointer<wb_scratch> {
        scratch + threads
    }

    /// Where a value's memory begins.
    func pointer(_ value: Value) -> UnsafeMutablePointer<Float> { memory[storages[value.id]]! }

    /// The same of a value whose elements are integers.
    func integers(_ value: Value) -> UnsafeMutablePointer<Int32> {
        UnsafeMutableRawPointer(pointer(value)).assumingMemoryBound(to: Int32.self)
    }

    /// Cuts `count` units of work into ranges that threads take, with boundaries at multiples of `grain`: two for each thread
    /// where there is enough, so that one whose core is busy elsewhere leaves work to the others.
    /// - Parameters:
    ///   - minimum: the units that are worth a thread.
    ///   - whole: the units that are not cut where each thread has some anyway.
    ///   - body: works on a range, with scratch memory that no other thread uses meanwhile.
    func split(
        _ count: Int, grain: Int = 1, minimum: Int = 1, whole: Int = 1,
        _ body: (_ begin: Int, _ end: Int, _ scratch: UnsafeMutablePointer<wb_scratch>) -> Void
    ) {
        let grains = (count + grain - 1) / grain
        let workers = min(threads, count / max(1, minimum), grains)
        guard workers > 1, let pool else { return body(0, count, scratch) }
        // One range or two for every thread: with three, one thread would have twice the work of another.
        let cut = count / max(1, minimum, whole) >= 2 * workers && grains >= 2 * workers
        let parts = cut ? 2 * workers : workers
        struct Job {
            let grains: Int, grain: Int, count: Int, parts: Int
            let scratch: UnsafeMutablePointer<wb_scratch>
            let body: (Int, Int, UnsafeMutablePointer<wb_scratch>) -> Void
        }
        withoutActuallyEscaping(body) { body in
            var job = Job(
                grains: grains, grain: grain, count: count, parts: parts, scratch: scratch, body: body)
            withUnsafeMutablePointer(to: &job) { job in
                wb_threads_run(
                    pool, Int32(parts),
                    { context, part, thread in
                        let job = context!.assumingMemoryBound(to: Job.self).pointee
                        let begin = job.grains * Int(part) / job.parts * job.grain
                        let end = min(job.count, job.grains * (Int(part) + 1) / job.parts * job.grain)
                        job.body(begin, end, job.scratch + Int(thread))
                    }, job)
            }
        }
    }
}

/// The processor made ready: its threads, their scratch memory, and what tapes share.
final class LoadedCPU {
    let cpu: CPU
    let working = WorkingMemory<Block>()
    let weights = WeightStore<Weights>()
    fileprivate let pool: OpaquePointer?  // nil for one thread
    fileprivate let scratch: UnsafeMutablePointer<wb_scratch>  // two for each thread

    /// The weights that a tape was the first to read: one block, so that large pages can serve even small layers.
    final class Weights: WeightMemory {
        let block: Block
        private let share: MemoryBudget.Share
        var bytes: Int { 4 * block.count }
        init(_ block: Block, _ share: MemoryBudget.Share) { (self.block, self.share) = (block, share) }
    }

    init(_ cpu: CPU) {
        self.cpu = cpu
        pool = cpu.threads > 1 ? wb_threads_make(Int32(cpu.threads), cpu.threads <= CPU.cores) : nil
        scratch = .allocate(capacity: 2 * cpu.threads)
        scratch.initialize(repeating: wb_scratch(), count: 2 * cpu.threads)
    }

    deinit {
        if let pool { wb_threads_free(pool) }
        for i in 0..<2 * cpu.threads { wb_scratch_free(scratch + i) }
        scratch.deallocate()
    }
}

/// A tape in the CPU's memory.
final class CPUExecutor: Executor {
    private let tape: Tape
    private let kept: [Value]
    private let machine: LoadedCPU
    private let memory: Tape.Memory
    private var frame: CPUFrame
    private let lasting: Block, inputs: [Block], weights: [LoadedCPU.Weights]  // keep what is pointed at
    private let share: MemoryBudget.Share  // of the limit, for what is only this tape's
    private let runs: [Int: any StepRun]  // by their first steps
    private var taken: [Int: Block] = [:]  // the input slots in use, by value
    private var generation = -1  // of the working memory that the frame points into
    var arenaBytes: Int { 4 * memory.size }

    init(_ tape: Tape, keeping kept: [Value], on machine: LoadedCPU) throws {
        let cpu = machine.cpu
        (self.tape, self.kept, self.machine) = (tape, kept, machine)
        let runs = tape.runs(keeping: kept, threads: cpu.threads, cache: cpu.cache)
        // Sixteen floats fill a cache line.
        let memory = tape.memory(
            keeping: kept, alignment: 16, room: { $0.room(on: .cpu(cpu)) }, runs: runs.values.map(\.steps),
            overwriting: true)
        self.memory = memory
        var found: [(storage: Int, weights: WeightStore<LoadedCPU.Weights>.Found)] = []
        var new: [(storage: Int, weights: PackedWeights, offset: Int)] = []
        var newCount = 0
        for (storage, weights) in tape.weights(keeping: kept) {
            if let there = machine.weights[weights.key] {
                found.append((storage, there))
            } else {
                new.append((storage, weights, newCount))
                newCount += (weights.count + 15) / 16 * 16
            }
        }
        try tape.checkWork(tape.limits.work * tape.pictures)
        var shares = try tape.reserveMemory(
            [
                4 * memory.lasting.size + tape.inputBytes,
                tape.weightBytes(new.map(\.storage)),
                4 * machine.working.lacking(memory.passing.sizes),
            ], keeping: kept)
        try machine.working.grow(memory.passing.sizes, shares.removeLast()) {
            try Block(workingMemory: $0)
        }
        do {
            let lasting = try Block(workingMemory: memory.lasting.size)
            var pointers = [UnsafeMutablePointer<Float>?](repeating: nil, count: tape.sources.count)
            var inputs: [Block] = []
            for (storage, source) in tape.sources.enumerated() {
                switch source {
                case .input:
                    let block = Block(count: tape.sizes[storage])
                    inputs.append(block)
                    pointers[storage] = block.pointer
                case .step, .workspace:
                    pointers[storage] = memory.lasting.places[storage].map { lasting.pointer + $0.offset }
                case .weights: break
                }
            }
            let added = LoadedCPU.Weights(try Block(workingMemory: newCount), shares.removeLast())
            // The largest first: with each comes a copy of what it is made of, and there is most room for that at the beginning.
            for (storage, weights, offset) in new.sorted(by: { $0.weights.count > $1.weights.count }) {
                try weights.write(added.block.pointer + offset)
                pointers[storage] = added.block.pointer + offset
            }
            for (storage, there) in found { pointers[storage] = there.memory.block.pointer + there.place }
            if newCount > 0 { machine.weights.add([(added, new.map { ($0.weights.key, $0.offset) })]) }
            (self.lasting, self.inputs) = (lasting, inputs)
            weights = [added] + found.map(\.weights.memory)
            share = shares.removeLast()
            self.runs = runs
            frame = CPUFrame(
                functions: cpu.functions.pointee, threads: cpu.threads, pool: machine.pool,
                storages: tape.entries.map(\.storage), memory: pointers, scratch: machine.scratch)
        } catch {
            // What was to be worked in may be too large for whoever tries again with less.
            machine.working.drop()
            throw error
        }
        // Worth to know where the host writes what they are multiplied by: it may be a 1 among zeros.
        for step in tape.steps {
            guard let (input, weights) = step.selects, case .input = tape.sources[tape.storage(input)] else {
                continue
            }
            let storage = tape.storage(weights)
            let numbers = UnsafeBufferPointer(start: frame.memory[storage]!, count: tape.sizes[storage])
            if numbers.allSatisfy({ $0.isFinite }) { frame.finite.insert(storage) }
        }
    }

    /// Points at the working memory, which may have grown since.
    private func bind() throws {
        guard generation != machine.working.generation else { return }
        let lacking = machine.working.lacking(memory.passing.sizes)
        if lacking > 0 {
            let share = try tape.reserveMemory([4 * lacking], keeping: kept)[0]
            try machine.working.grow(memory.passing.sizes, share) { try Block(workingMemory: $0) }
        }
        for (storage, place) in memory.passing.places {
            frame.memory[storage] = machine.working.regions[place.block].pointer + place.offset
        }
        generation = machine.working.generation
    }

    func slot(for value: Value) -> any InputSlot { HostSlot(count: tape.shape(value).count) }

    /// Steps read what lies in the slot.
    func take(_ slot: any InputSlot, as value: Value) {
        precondition(slot.numbers.count == tape.shape(value).count)
        taken[value.id] = slot.numbers
        frame.memory[tape.storage(value)] = slot.numbers.pointer
    }

    func write(_ value: Value, from source: UnsafeBufferPointer<Float>) {
        frame.pointer(value).update(from: source.baseAddress!, count: source.count)
    }

    func run(_ steps: Range<Int>) throws {
        try bind()
        forEach(steps) {
            tape.steps[$0].run(frame)
        } run: {
            $0.run(frame)
        }
    }

    /// Goes through steps, some of which run together.
    private func forEach(_ steps: Range<Int>, step: (Int) -> Void, run: (any StepRun) -> Void) {
        var i = steps.lowerBound
        while i < steps.upperBound {
            if let found = runs[i] {
                precondition(found.steps.upperBound <= steps.upperBound)
                run(found)
                i = found.steps.upperBound
            } else {
                step(i)
                i += 1
            }
        }
    }

    func copy(_ value: Value, from source: Value, of other: any Executor) throws {
        let numbers = try (other as! CPUExecutor).numbers(source)
        precondition(numbers.count == tape.shape(value).count)
        frame.pointer(value).update(from: numbers.baseAddress!, count: numbers.count)
    }

    func memoryOrder(_ value: Value) throws -> [Float] { Array(try numbers(value)) }

    private func numbers(_ value: Value) throws -> UnsafeBufferPointer<Float> {
        precondition(
            tape.isDense(value) && memory.passing.places[tape.storage(value)] == nil,
            "A value that nobody kept may be gone.")
        return UnsafeBufferPointer(start: frame.pointer(value), count: tape.shape(value).count)
    }

    func time(_ steps: Range<Int>) throws -> [Double] {
        try bind()
        var times: [Double] = []
        forEach(steps) { i in
            let start = DispatchTime.now().uptimeNanoseconds
            tape.steps[i].run(frame)
            times.append(Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9)
        } run: {
            times += $0.time(frame)
        }
        return times
    }
}
