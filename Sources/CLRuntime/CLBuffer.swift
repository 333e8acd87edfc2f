import COpenCL
import Synchronization

/// How the device and the host will use a buffer.
package struct CLMemoryFlags: OptionSet, Sendable, Hashable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package static let readWrite = CLMemoryFlags(rawValue: 1 << 0)
    /// Kernels only read.
    package static let readOnly = CLMemoryFlags(rawValue: 1 << 2)
    /// Memory that the host reaches well: pinned on most GPUs, so that copies to and from it are fast.
    package static let hostAccessible = CLMemoryFlags(rawValue: 1 << 4)

    static let useHostPointer = CLMemoryFlags(rawValue: 1 << 3)
    static let copyHostPointer = CLMemoryFlags(rawValue: 1 << 5)
}

/// Memory on the device, or a part of another buffer. The contents of a new buffer are undefined.
///
/// A buffer may be dropped while commands that use it are still queued: OpenCL frees the memory after them.
package final class CLBuffer: Sendable {
    // Unsafe only for the compiler: OpenCL buffers are thread-safe, and the handle never changes.
    nonisolated(unsafe) let handle: cl_mem
    package let context: CLContext
    package let byteCount: Int
    /// The buffer that this one is a part of.
    package let parent: CLBuffer?
    /// Where this one starts in its parent, in bytes; 0 without a parent.
    package let offset: Int
    /// What the memory belongs to, if this buffer borrows it: it outlives the buffer.
    private let owner: (any AnyObject & Sendable)?

    /// A handle that may lie in a lock.
    // Unsafe only for the compiler, as above.
    private struct Part: Sendable { nonisolated(unsafe) let handle: cl_mem }
    /// The handles of this buffer's parts, in the order in which they were made. They are released with the whole, the last
    /// first: NVIDIA's driver (580) crashes when parts that overlap are released in any other order.
    private let parts = Mutex<[Part]>([])

    /// Allocates `byteCount` bytes (at least one).
    package convenience init(context: CLContext, byteCount: Int, flags: CLMemoryFlags = .readWrite)
        throws(CLError)
    {
        try self.init(context: context, byteCount: byteCount, flags: flags, host: nil)
    }

    /// Allocates a buffer and copies `bytes` into it; `bytes` is not needed afterwards.
    package convenience init(
        context: CLContext, copying bytes: UnsafeRawBufferPointer, flags: CLMemoryFlags = .readWrite
    ) throws(CLError) {
        try self.init(
            context: context, byteCount: bytes.count, flags: flags.union(.copyHostPointer),
            host: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
    }

    /// Allocates a buffer that holds `values`.
    package convenience init<T: BitwiseCopyable>(
        context: CLContext, copying values: [T], flags: CLMemoryFlags = .readWrite
    ) throws(CLError) {
        // The closure cannot throw a CLError without losing its type, hence the Result.
        let parts = values.withUnsafeBytes { bytes in
            Result { () throws(CLError) in
                try CLBuffer.create(
                    context, bytes.count, flags.union(.copyHostPointer),
                    UnsafeMutableRawPointer(mutating: bytes.baseAddress))
            }
        }
        try self.init(
            handle: parts.get(), context: context, byteCount: values.count * MemoryLayout<T>.stride,
            parent: nil,
            offset: 0)
    }

    /// Uses the host's memory `bytes` as the buffer, and the host may touch it only while the buffer is mapped. Devices that
    /// share the host's memory then copy nothing, if `bytes` is well aligned (a page is always enough).
    /// - Parameter owner: what `bytes` belongs to; this keeps it. Who drops the buffer must have waited for the commands on
    ///   it, because OpenCL, which does not know the owner, lets them go on.
    package convenience init(
        context: CLContext, borrowing bytes: UnsafeMutableRawBufferPointer,
        of owner: any AnyObject & Sendable, flags: CLMemoryFlags = .readWrite
    ) throws(CLError) {
        try self.init(
            context: context, byteCount: bytes.count, flags: flags.union(.useHostPointer),
            host: bytes.baseAddress, owner: owner)
    }

    private convenience init(
        context: CLContext, byteCount: Int, flags: CLMemoryFlags, host: UnsafeMutableRawPointer?,
        owner: (any AnyObject & Sendable)? = nil
    ) throws(CLError) {
        let handle = try CLBuffer.create(context, byteCount, flags, host)
        self.init(
            handle: handle, context: context, byteCount: byteCount, parent: nil, offset: 0, owner: owner)
    }

    private init(
        handle: cl_mem, context: CLContext, byteCount: Int, parent: CLBuffer?, offset: Int,
        owner: (any AnyObject & Sendable)? = nil
    ) {
        self.handle = handle
        self.context = context
        self.byteCount = byteCount
        self.parent = parent
        self.offset = offset
        self.owner = owner
    }

    deinit {
        // The whole outlives its parts, which hold it.
        guard parent == nil else { return }
        for part in parts.withLock({ $0 }).reversed() { _ = wb_clReleaseMemObject(part.handle) }
        _ = wb_clReleaseMemObject(handle)
    }

    private static func create(
        _ context: CLContext, _ byteCount: Int, _ flags: CLMemoryFlags, _ host: UnsafeMutableRawPointer?
    ) throws(CLError) -> cl_mem {
        guard byteCount > 0 else {
            throw CLError(
                "clCreateBuffer", CL_INVALID_BUFFER_SIZE, attempt: "allocate a buffer of \(byteCount) bytes",
                hint: "A buffer needs at least one byte.")
        }
        // Some drivers try all the same, and fail later.
        guard byteCount <= context.device.maxAllocation else {
            throw CLError(
                "clCreateBuffer", CL_INVALID_BUFFER_SIZE,
                attempt: "allocate a buffer of \(describe(bytes: byteCount)) (\(byteCount) bytes)",
                hint: context.device.memoryLimits)
        }
        var code = CL_SUCCESS
        let made = wb_clCreateBuffer(context.handle, flags.rawValue, byteCount, host, &code)
        guard code == CL_SUCCESS, let made else {
            throw CLError(
                "clCreateBuffer", code,
                attempt: "allocate a buffer of \(describe(bytes: byteCount)) (\(byteCount) bytes)",
                hint: context.device.memoryLimits)
        }
        return made
    }

    /// The part of this buffer that starts at `offset` (a multiple of `device.baseAddressAlignment`). It shares the
    /// memory, and its handle is released with the whole. OpenCL has no parts of parts: a part of a part is made from the whole,
    /// which only matters for `parent` and `offset`.
    package func part(offset: Int, byteCount: Int, flags: CLMemoryFlags = []) throws(CLError) -> CLBuffer {
        func attempt() -> String {
            "take \(byteCount) bytes at offset \(offset) of a buffer of \(self.byteCount) bytes"
        }
        try checkRange(offset, byteCount, "clCreateSubBuffer", attempt())
        if let parent {
            return try parent.part(offset: self.offset + offset, byteCount: byteCount, flags: flags)
        }
        // Some drivers do not check, and go wrong later.
        guard offset % context.device.baseAddressAlignment == 0 else {
            throw CLError(
                "clCreateSubBuffer", CL_MISALIGNED_SUB_BUFFER_OFFSET, attempt: attempt(),
                hint: "The offset must be a multiple of \(context.device.baseAddressAlignment) bytes.")
        }
        var code = CL_SUCCESS
        var region = cl_buffer_region(origin: offset, size: byteCount)
        let made = wb_clCreateSubBuffer(
            handle, flags.rawValue, cl_buffer_create_type(CL_BUFFER_CREATE_TYPE_REGION), &region, &code)
        guard code == CL_SUCCESS, let made else {
            throw CLError("clCreateSubBuffer", code, attempt: attempt())
        }
        let part = Part(handle: made)
        parts.withLock { $0.append(part) }
        return CLBuffer(handle: made, context: context, byteCount: byteCount, parent: self, offset: offset)
    }

    /// Throws unless `offset ..< offset + count` is a non-empty range of this buffer.
    func checkRange(
        _ offset: Int, _ count: Int, _ function: String, _ attempt: @autoclosure () -> String
    ) throws(CLError) {
        guard offset >= 0, count > 0, offset <= byteCount, count <= byteCount - offset else {
            throw CLError(
                function, CL_INVALID_VALUE, attempt: attempt(),
                hint: "Bytes \(offset) to \(offset &+ count) are not a part of 0 to \(byteCount).")
        }
    }
}

/// Memory that both sides reach quickly, mapped for the host as long as this object lives: pinned memory on most GPUs.
/// Copies between it and a buffer are faster than from and to ordinary memory, and overlap with kernels.
package final class CLHostMemory: Sendable {
    private let buffer: CLBuffer
    private let queue: CLQueue
    /// Undefined contents at first. Valid as long as this object lives; whoever shares it between threads keeps order.
    // Unsafe only for the compiler: the pointer never changes; ordering the accesses is the caller's job, as said.
    package nonisolated(unsafe) let bytes: UnsafeMutableRawBufferPointer

    package init(queue: CLQueue, byteCount: Int) throws(CLError) {
        buffer = try CLBuffer(
            context: queue.context, byteCount: byteCount, flags: [.readWrite, .hostAccessible])
        bytes = try queue.map(buffer, for: [.read, .write])
        self.queue = queue
    }

    deinit { try? queue.unmap(buffer, bytes) }
}
