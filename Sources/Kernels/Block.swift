// Memory for numbers that kernels read: aligned, of fixed size, shared without copies.

import Glibc

/// A run of 4-byte numbers at an address that vector instructions like.
///
/// Sendable without the compiler's proof: a block is written by the one who makes it, in `init`, and only read after that,
/// except for those blocks that a CPU executor keeps to itself as working memory.
package final class Block: @unchecked Sendable {
    package let pointer: UnsafeMutablePointer<Float>
    package let count: Int
    private let owner: AnyObject?

    /// Memory that belongs to `owner`.
    init(_ memory: UnsafeMutableRawBufferPointer, of owner: AnyObject) {
        count = memory.count / 4
        pointer = memory.baseAddress!.bindMemory(to: Float.self, capacity: count)
        self.owner = owner
    }

    /// `count` zeros.
    package init(count: Int) {
        guard let memory = Block.allocate(count) else {
            fatalError("There is no memory left: \(count * 4) bytes were asked for.")
        }
        if Block.mapped(count) == nil { memset(memory, 0, count * 4) }
        self.count = count
        pointer = memory
        owner = nil
    }

    /// Working memory, which is written before it is read.
    package init(workingMemory count: Int) throws(DeviceError) {
        guard let memory = Block.allocate(count) else {
            throw DeviceError(
                "The system has no \(count >> 18) MiB of memory left to work with; take a smaller batch or picture.",
                isMemory: true)
        }
        self.count = count
        pointer = memory
        owner = nil
    }

    private static func allocate(_ count: Int) -> UnsafeMutablePointer<Float>? {
        if let bytes = mapped(count) { return map(bytes)?.bindMemory(to: Float.self, capacity: count) }
        var memory: UnsafeMutableRawPointer?
        let bytes = max(64, (count * 4 + 63) & ~63)
        guard posix_memalign(&memory, 64, bytes) == 0, let memory else { return nil }
        return memory.bindMemory(to: Float.self, capacity: bytes / 4)
    }

    /// The bytes, in whole pages, of a block that is mapped; nil for small ones. From `malloc` large ones may lie in pages that it had
    /// before, and those are small and stay so.
    private static func mapped(_ count: Int) -> Int? {
        let page = 4096 * 16  // of any system
        return count * 4 < 4 << 20 ? nil : (count * 4 + page - 1) / page * page
    }

    /// Fresh zeros at a multiple of a large page: those, where the system has them, save the walk through page tables.
    private static func map(_ bytes: Int) -> UnsafeMutableRawPointer? {
        let large = 2 << 20
        guard
            let all = mmap(
                nil, bytes + large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            all != MAP_FAILED
        else { return nil }
        let before = (large - Int(bitPattern: all) % large) % large
        if before > 0 { munmap(all, before) }
        munmap(all + before + bytes, large - before)
        #if os(Linux)
            madvise(all + before, bytes, MADV_HUGEPAGE)
        #endif
        return all + before
    }

    package convenience init(_ weights: PackedWeights) throws {
        try self.init(workingMemory: weights.count)
        try weights.write(pointer)
    }

    deinit {
        if owner != nil { return }
        if let bytes = Block.mapped(count) { munmap(pointer, bytes) } else { free(pointer) }
    }
}
