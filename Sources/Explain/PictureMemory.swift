// Memory for pictures on their way: those that are decoded, and results that wait to be written.

import Glibc
import Kernels

/// Counts pictures in bytes, so that only as many are in memory at the same time as may be.
///
/// Who wants room waits until others have given theirs back; what takes more than the bound waits until it is alone. Nobody waits for
/// room who has some already, so all get on.
package final class PictureMemory: Sendable {
    private let budget: MemoryBudget
    /// Bytes of all together, but for one that is alone.
    package let bound: Int
    private let condition = Condition()
    // Under the condition's lock.
    nonisolated(unsafe) private var used = 0
    nonisolated(unsafe) private var mostUsed = 0

    /// - Parameter budget: of the model; the bound is an eighth of its limit.
    init(_ budget: MemoryBudget) { (self.budget, bound) = (budget, budget.limit / 8) }

    /// Bytes that are counted as long as this lives.
    package final class Room: Sendable {
        private let memory: PictureMemory
        private let bytes: Int
        // Of the model's limit; none where what is alone does without.
        private let share: MemoryBudget.Share?
        fileprivate init(_ memory: PictureMemory, _ bytes: Int, _ share: MemoryBudget.Share?) {
            (self.memory, self.bytes, self.share) = (memory, bytes, share)
        }
        deinit { memory.give(bytes) }
    }

    /// Waits for room.
    /// - Parameter isPromised: whether it is had, once alone, even where that exceeds the model's limit.
    /// - Returns: nil if the model's limit does not allow it, even alone.
    package func room(_ bytes: Int, isPromised: Bool = false) -> Room? {
        condition.lock()
        defer { condition.unlock() }
        while true {
            if used == 0 || bytes <= bound - used {
                let share = budget.tryReserve(bytes)
                if share != nil || used == 0 {
                    guard share != nil || isPromised else { return nil }
                    used += bytes
                    mostUsed = max(mostUsed, used)
                    return Room(self, bytes, share)
                }
            }
            condition.wait()
        }
    }

    private func give(_ bytes: Int) {
        condition.locked {
            used -= bytes
            condition.broadcast()
        }
    }

    /// The most bytes that were counted at the same time.
    package var peak: Int { condition.locked { mostUsed } }
}
