// What a model may take of the machine. A few hundred bytes of a file can ask for any amount of memory and work, so both are
// counted before they are spent, against limits that the user sets.

import FoundationEssentials
import Synchronization

/// A limit that a model, or its use, would exceed.
///
/// An operator or a step says the end of a sentence that begins with its node; what reaches people is a whole sentence.
package struct LimitError: Error, Sendable, CustomStringConvertible {
    package let description: String
    /// Whether a batch takes too much memory, of which a smaller one may take less.
    package let isMemory: Bool
    package init(_ description: String, isMemory: Bool = false) {
        (self.description, self.isMemory) = (description, isMemory)
    }
}

/// What a network may take. A network has them, and all that is made from it shares them.
package struct Limits: Sendable {
    package let memory: MemoryBudget
    /// Operations for one picture, as `Tape.work` weighs them.
    package let work: Double

    package init(memory: Int = Limits.standardMemory, work: Double = Limits.standardWork) {
        self.memory = MemoryBudget(limit: memory)
        self.work = work
    }

    /// Half of the memory that the machine has, or that this process's control group may use.
    package static let standardMemory: Int = {
        var most = Int(clamping: ProcessInfo.processInfo.physicalMemory)
        for file in ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"] {
            if let text = try? String(contentsOfFile: file, encoding: .utf8),
                let bytes = Int(text.trimmed), bytes > 0
            {
                most = min(most, bytes)
            }
        }
        return most / 2
    }()

    /// Ten times what the largest published classifiers take; a processor of today is busy with it for a minute.
    package static let standardWork = 1e13

    /// The share of the work that may be spent on a network's constants, before there is any picture.
    package static let foldingShare = 0.01
}

/// Memory that is counted before it is allocated.
package final class MemoryBudget: Sendable {
    package let limit: Int
    private let used = Mutex(0)

    package init(limit: Int) { self.limit = limit }

    /// Bytes that are counted as long as this lives.
    package final class Share: Sendable {
        private let budget: MemoryBudget
        private let bytes: Int
        fileprivate init(_ budget: MemoryBudget, _ bytes: Int) { (self.budget, self.bytes) = (budget, bytes) }
        deinit { budget.used.withLock { $0 -= bytes } }
    }

    /// Bytes that are not in use.
    package var left: Int { limit - used.withLock { $0 } }

    /// Counts `bytes`; nil if they would exceed the limit.
    package func tryReserve(_ bytes: Int) -> Share? {
        let fits = used.withLock { used in
            guard bytes >= 0, bytes <= limit - used else { return false }
            used += bytes
            return true
        }
        return fits ? Share(self, bytes) : nil
    }

    /// Counts `bytes`.
    /// - Throws: the end of a sentence whose subject needs them.
    package func reserve(_ bytes: Int) throws(LimitError) -> Share {
        guard let share = tryReserve(bytes) else {
            throw LimitError("needs \(describe(bytes)), which \(exceeded); --memory-limit raises it")
        }
        return share
    }

    /// Refuses what could not be reserved now: for what is made and dropped at once.
    package func check(_ bytes: Int) throws(LimitError) { _ = try reserve(bytes) }

    /// What is wrong with too much, for sentences.
    package var exceeded: String {
        let left = left
        return "exceeds the memory limit of \(MemoryBudget.mebibytes(limit))"
            + (left < limit ? " (\(MemoryBudget.mebibytes(max(0, left))) of it are left)" : "")
    }

    private func describe(_ bytes: Int) -> String { "\(MemoryBudget.mebibytes(bytes)) of memory" }

    package static func mebibytes(_ bytes: Int) -> String {
        bytes < 1 << 20 ? "\(bytes) bytes" : "\((bytes + (1 << 20) - 1) >> 20) MiB"
    }
}
