// The CPU as a device: instruction set, threads, and the memory of a loaded tape.

import CMicrokernels
import Dispatch
import Foundation

/// The processor that the program runs on.
package struct CPU: Sendable {
    // The tables of functions are constants of the program.
    nonisolated(unsafe) let functions: UnsafePointer<wb_functions>
    package let threads: Int

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
    package init(threads: Int? = nil, instructionSet: String? = nil) throws(DeviceError) {
        let names = CPU.instructionSets
        guard let index = instructionSet.map({ names.firstIndex(of: $0) }) ?? 0 else {
            throw DeviceError(
                "This processor does not have the instruction set “\(instructionSet!)”; it has \(names.joined(separator: ", "))."
            )
        }
        functions = wb_functions_at(Int32(index))!
        self.threads = max(1, threads ?? CPU.cores)
    }

    package var instructionSet: String { String(cString: functions.pointee.name) }

    package var description: String { "cpu (\(instructionSet), \(threads) thread\(threads == 1 ? "" : "s"))" }
}

/// What a step sees of the CPU while it runs.
package struct CPUFrame {
    let functions: wb_functions
    let threads: Int
    fileprivate let storages: [Int]
    fileprivate let memory: [UnsafeMutablePointer<Float>?]
    fileprivate let scratch: UnsafeMutablePointer<wb_scratch>

    func pointer(_ value: Value) -> UnsafeMutablePointer<Float> { memory[storages[value.id]]! }

    /// Cuts `count` pieces of work into one range per thread, with boundaries at multiples of `grain`.
    /// - Parameter minimum: the pieces that are worth a thread.
    func split(
        _ count: Int, grain: Int = 1, minimum: Int = 1,
        _ body: (_ begin: Int, _ end: Int, _ scratch: UnsafeMutablePointer<wb_scratch>) -> Void
    ) {
        let parts = max(1, min(threads, count / max(1, minimum), (count + grain - 1) / grain))
        if parts == 1 { return body(0, count, scratch) }
        let grains = (count + grain - 1) / grain
        // Neither outlives this call, and no two parts write the same memory.
        nonisolated(unsafe) let (body, scratch) = (body, scratch)
        DispatchQueue.concurrentPerform(iterations: parts) { part in
            let begin = grains * part / parts * grain
            let end = min(count, grains * (part + 1) / parts * grain)
            if begin < end { body(begin, end, scratch + part) }
        }
    }
}

/// A tape in the CPU's memory.
package final class CPUExecutor: Executor {
    private let tape: Tape
    private let frame: CPUFrame
    private let blocks: [Block]  // keeps the memory
    private let scratch: UnsafeMutablePointer<wb_scratch>
    package let arenaBytes: Int

    /// - Throws: if the tape needs more memory than the machine has, rather than be killed for it.
    package init(_ tape: Tape, keeping kept: [Value], on cpu: CPU) throws(DeviceError) {
        self.tape = tape
        // Sixteen floats fill a cache line.
        let arena = tape.arena(keeping: kept, alignment: 16)
        let needed = 4 * (arena.size + tape.largest)
        let most = Int(ProcessInfo.processInfo.physicalMemory)
        guard needed <= most else {
            throw DeviceError(
                "This needs \(needed >> 20) MiB of working memory, and the machine has \(most >> 20) MiB; take a smaller batch or picture."
            )
        }
        let memory = try Block(workingMemory: arena.size)
        var blocks = [memory]
        var pointers: [UnsafeMutablePointer<Float>?] = []
        for (storage, source) in tape.sources.enumerated() {
            switch source {
            case .constant(let block):
                blocks.append(block)
                pointers.append(block.pointer)
            case .input:
                let block = Block(count: tape.sizes[storage])
                blocks.append(block)
                pointers.append(block.pointer)
            case .step: pointers.append(arena.offsets[storage].map { memory.pointer + $0 })
            }
        }
        arenaBytes = arena.size * 4
        self.blocks = blocks
        scratch = .allocate(capacity: cpu.threads)
        scratch.initialize(repeating: wb_scratch(), count: cpu.threads)
        frame = CPUFrame(
            functions: cpu.functions.pointee, threads: cpu.threads, storages: tape.entries.map(\.storage),
            memory: pointers, scratch: scratch)
    }

    deinit {
        for i in 0..<frame.threads { wb_scratch_free(scratch + i) }
        scratch.deallocate()
    }

    package func slot(for value: Value) -> any InputSlot { HostSlot(count: tape.shape(value).count) }

    package func write(_ value: Value, from source: UnsafeBufferPointer<Float>) {
        frame.pointer(value).update(from: source.baseAddress!, count: source.count)
    }

    package func run(_ steps: Range<Int>) {
        for i in steps { tape.steps[i].run(frame) }
    }

    package func memoryOrder(_ value: Value) -> [Float] {
        Array(UnsafeBufferPointer(start: frame.pointer(value), count: tape.shape(value).count))
    }

    package func time(_ steps: Range<Int>) -> [Double] {
        steps.map { i in
            let start = DispatchTime.now().uptimeNanoseconds
            tape.steps[i].run(frame)
            return Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
        }
    }
}
