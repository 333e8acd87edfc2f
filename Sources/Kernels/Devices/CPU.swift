// The CPU as a device: instruction set, threads, and the memory of a loaded tape.

import CMicrokernels
import Dispatch
import Foundation

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

    func pointer(_ value: Value) -> UnsafeMutablePointer<Float> { memory[storages[value.id]]! }

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

/// A tape in the CPU's memory.
package final class CPUExecutor: Executor {
    private let tape: Tape
    private var frame: CPUFrame
    private let blocks: [Block]  // keeps the memory
    private let share: MemoryBudget.Share  // of the limit, for that
    private let cascades: [Int: Cascade]  // by their first steps
    private var taken: [Int: Block] = [:]  // the input slots in use, by value
    package let arenaBytes: Int

    /// - Throws: `LimitError` if the tape needs more memory or work than its limits allow; nothing has been allocated then.
    package init(_ tape: Tape, keeping kept: [Value], on cpu: CPU) throws {
        self.tape = tape
        let cascades = Cascade.all(in: tape, keeping: kept, threads: cpu.threads, cache: cpu.cache)
        // Sixteen floats fill a cache line.
        let arena = tape.arena(
            keeping: kept, alignment: 16, room: { $0.room(on: .cpu(cpu)) }, runs: cascades.map(\.steps),
            overwriting: true)
        // All weights lie in one block, so that large pages can serve even small layers.
        var packed: [(storage: Int, weights: PackedWeights, offset: Int)] = []
        var weightCount = 0
        for storage in tape.used(keeping: kept).sorted() {
            guard case .weights(let weights) = tape.sources[storage] else { continue }
            packed.append((storage, weights, weightCount))
            weightCount += (weights.count + 15) / 16 * 16
        }
        try tape.checkWork(tape.limits.work * tape.pictures)
        share = try tape.reserveMemory(arena: arena.size, keeping: kept)
        let memory = try Block(workingMemory: arena.size)
        let weights = try Block(workingMemory: weightCount)
        var blocks = [memory, weights]
        var pointers = [UnsafeMutablePointer<Float>?](repeating: nil, count: tape.sources.count)
        for (storage, source) in tape.sources.enumerated() {
            switch source {
            case .constant(let block):
                blocks.append(block)
                pointers[storage] = block.pointer
            case .input:
                let block = Block(count: tape.sizes[storage])
                blocks.append(block)
                pointers[storage] = block.pointer
            case .step, .workspace:
                pointers[storage] = arena.places[storage].map { memory.pointer + $0.offset }
            case .weights: break
            }
        }
        for part in packed {
            let pointer = weights.pointer + part.offset
            try part.weights.write(pointer)
            pointers[part.storage] = pointer
        }
        arenaBytes = arena.size * 4
        self.cascades = Dictionary(uniqueKeysWithValues: cascades.map { ($0.steps.lowerBound, $0) })
        self.blocks = blocks
        let scratch = UnsafeMutablePointer<wb_scratch>.allocate(capacity: 2 * cpu.threads)
        scratch.initialize(repeating: wb_scratch(), count: 2 * cpu.threads)
        frame = CPUFrame(
            functions: cpu.functions.pointee, threads: cpu.threads,
            pool: cpu.threads > 1 ? wb_threads_make(Int32(cpu.threads), cpu.threads <= CPU.cores) : nil,
            storages: tape.entries.map(\.storage), memory: pointers, scratch: scratch)
        // Worth to know where the host writes what they are multiplied by: it may be a 1 among zeros.
        for case let product as Convolution in tape.steps where product.isRowProduct {
            guard case .input = tape.sources[tape.storage(product.x)] else { continue }
            let storage = tape.storage(product.weights)
            let numbers = UnsafeBufferPointer(start: pointers[storage]!, count: tape.sizes[storage])
            if numbers.allSatisfy({ $0.isFinite }) { frame.finite.insert(storage) }
        }
    }

    deinit {
        if let pool = frame.pool { wb_threads_free(pool) }
        for i in 0..<2 * frame.threads { wb_scratch_free(frame.scratch + i) }
        frame.scratch.deallocate()
    }

    package func slot(for value: Value) -> any InputSlot { HostSlot(count: tape.shape(value).count) }

    /// Steps read what lies in the slot.
    package func take(_ slot: any InputSlot, as value: Value) {
        precondition(slot.numbers.count == tape.shape(value).count)
        taken[value.id] = slot.numbers
        frame.memory[tape.storage(value)] = slot.numbers.pointer
    }

    package func write(_ value: Value, from source: UnsafeBufferPointer<Float>) {
        frame.pointer(value).update(from: source.baseAddress!, count: source.count)
    }

    package func run(_ steps: Range<Int>) {
        forEach(steps) {
            tape.steps[$0].run(frame)
        } cascade: {
            $0.run(frame)
        }
    }

    /// Goes through steps; those of a cascade run together.
    private func forEach(_ steps: Range<Int>, step: (Int) -> Void, cascade: (Cascade) -> Void) {
        var i = steps.lowerBound
        while i < steps.upperBound {
            if let found = cascades[i] {
                precondition(found.steps.upperBound <= steps.upperBound)
                cascade(found)
                i = found.steps.upperBound
            } else {
                step(i)
                i += 1
            }
        }
    }

    package func memoryOrder(_ value: Value) -> [Float] {
        Array(UnsafeBufferPointer(start: frame.pointer(value), count: tape.shape(value).count))
    }

    package func time(_ steps: Range<Int>) -> [Double] {
        var times: [Double] = []
        forEach(steps) { i in
            let start = DispatchTime.now().uptimeNanoseconds
            tape.steps[i].run(frame)
            times.append(Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9)
        } cascade: {
            times += $0.time(frame)
        }
        return times
    }
}
