import COpenCL

/// What the host will do with a mapped buffer.
package struct CLMapFlags: OptionSet, Sendable, Hashable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package static let read = CLMapFlags(rawValue: 1 << 0)
    package static let write = CLMapFlags(rawValue: 1 << 1)
    /// Write all of it: the old contents need not be brought to the host.
    package static let overwrite = CLMapFlags(rawValue: 1 << 2)
}

/// A queue of commands that run in the order in which they were enqueued.
///
/// Nothing waits unless its description says so: enqueue all, then `finish()` once. Any thread may enqueue.
package final class CLQueue: Sendable {
    // Unsafe only for the compiler: OpenCL queues are thread-safe, and the handle never changes.
    nonisolated(unsafe) let handle: cl_command_queue
    package let context: CLContext

    package init(context: CLContext) throws(CLError) {
        var code = CL_SUCCESS
        let made = wb_clCreateCommandQueue(context.handle, context.device.id, 0, &code)
        guard code == CL_SUCCESS, let made else {
            throw CLError(
                "clCreateCommandQueue", code, attempt: "create a queue on the device “\(context.device.name)”"
            )
        }
        handle = made
        self.context = context
    }

    deinit {
        // Releasing a queue flushes it, but some drivers then drop what has not started.
        _ = wb_clFinish(handle)
        _ = wb_clReleaseCommandQueue(handle)
    }

    // MARK: Kernels

    /// Enqueues a prepared launch. The kernel's arguments are those that it has now.
    package func enqueue(_ launch: CLLaunch) throws(CLError) {
        let code = withUnsafePointer(to: launch.global.extents) { global in
            withUnsafePointer(to: launch.local.extents) { local in
                // A homogeneous tuple is laid out like a C array.
                wb_clEnqueueNDRangeKernel(
                    handle, launch.kernel.handle, launch.dimensions, nil,
                    UnsafeRawPointer(global).assumingMemoryBound(to: Int.self),
                    launch.hasLocal ? UnsafeRawPointer(local).assumingMemoryBound(to: Int.self) : nil,
                    0, nil, nil)
            }
        }
        if code != CL_SUCCESS { throw failure(launch, code) }
    }

    /// Prepares a launch and enqueues it. For a launch that recurs, keep a `CLLaunch`.
    package func enqueue(_ kernel: CLKernel, global: CLSize, local: CLSize? = nil) throws(CLError) {
        try enqueue(kernel.launch(global: global, local: local))
    }

    private func failure(_ launch: CLLaunch, _ code: cl_int) -> CLError {
        let local = launch.hasLocal ? " in work-groups of \(launch.local)" : ""
        var hint: String?
        switch code {
        case CL_OUT_OF_RESOURCES, CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_OUT_OF_HOST_MEMORY:
            hint = context.device.memoryLimits
            if let info = try? launch.kernel.freshWorkGroupInfo() {
                hint! +=
                    " The kernel uses \(describe(bytes: info.localMemory)) of local memory for each work-group and "
                    + "\(describe(bytes: info.privateMemory)) of private memory for each work-item."
            }
        case CL_INVALID_WORK_GROUP_SIZE, CL_INVALID_WORK_ITEM_SIZE:
            hint =
                "The device allows work-groups of \(context.device.maxWorkGroupSize) work-items, and "
                + "\(context.device.maxWorkItemSizes.map(String.init).joined(separator: " × ")) at most."
        default: break
        }
        return CLError(
            "clEnqueueNDRangeKernel", code,
            attempt: "launch the kernel “\(launch.kernel.name)” over \(launch.global) work-items\(local)",
            hint: hint)
    }

    // MARK: Copies

    /// Copies from the start of `source` at `offset` on into all of `target`, and waits for it.
    package func read(_ source: CLBuffer, offset: Int = 0, into target: UnsafeMutableRawBufferPointer)
        throws(CLError)
    {
        if target.isEmpty { return }
        func attempt() -> String {
            "read \(describe(bytes: target.count)) from a buffer of \(source.byteCount) bytes"
        }
        try source.checkRange(offset, target.count, "clEnqueueReadBuffer", attempt())
        try check(
            wb_clEnqueueReadBuffer(
                handle, source.handle, cl_bool(CL_TRUE), offset, target.count, target.baseAddress, 0, nil, nil
            ),
            "clEnqueueReadBuffer", attempt(), hint: context.device.memoryLimits)
    }

    /// Reads `count` values from byte `offset` on (all up to the end, if `count` is nil), and waits for them.
    package func read<T: BitwiseCopyable>(
        _ type: T.Type, from source: CLBuffer, offset: Int = 0, count: Int? = nil
    ) throws(CLError) -> [T] {
        let count = count ?? max(0, source.byteCount - offset) / MemoryLayout<T>.stride
        if count <= 0 { return [] }
        var failure: CLError?
        let values = [T](unsafeUninitializedCapacity: count) { room, initialized in
            do throws(CLError) {
                // The capacity may be larger than asked for.
                let bytes = UnsafeMutableRawBufferPointer(
                    UnsafeMutableBufferPointer(rebasing: room[..<count]))
                try read(source, offset: offset, into: bytes)
                initialized = count
            } catch { failure = error }
        }
        if let failure { throw failure }
        return values
    }

    /// Copies all of `source` to `target` at `offset`, and waits until `source` may be reused.
    package func write(_ source: UnsafeRawBufferPointer, to target: CLBuffer, offset: Int = 0) throws(CLError)
    {
        if source.isEmpty { return }
        try enqueueWrite(source, target, offset, blocking: true, nil)
    }

    /// The same without waiting: `source` must stay valid and unchanged until the event is complete.
    package func startWriting(
        _ source: UnsafeRawBufferPointer, to target: CLBuffer, offset: Int = 0
    ) throws(CLError) -> CLEvent {
        if source.isEmpty { return try marker() }
        var event: cl_event?
        try enqueueWrite(source, target, offset, blocking: false, &event)
        return CLEvent(handle: event!)
    }

    /// Writes `values` to `target` from byte `offset` on, and waits until they may be reused.
    package func write<T: BitwiseCopyable>(_ values: [T], to target: CLBuffer, offset: Int = 0)
        throws(CLError)
    {
        let result = values.withUnsafeBytes { bytes in
            Result { () throws(CLError) in try write(bytes, to: target, offset: offset) }
        }
        try result.get()
    }

    /// Copies between buffers, or within one where the ranges do not overlap.
    package func copy(
        from source: CLBuffer, offset sourceOffset: Int = 0, to target: CLBuffer,
        offset targetOffset: Int = 0,
        byteCount: Int
    ) throws(CLError) {
        if byteCount == 0 { return }
        func attempt() -> String { "copy \(byteCount) bytes between buffers" }
        try source.checkRange(sourceOffset, byteCount, "clEnqueueCopyBuffer", attempt())
        try target.checkRange(targetOffset, byteCount, "clEnqueueCopyBuffer", attempt())
        try check(
            wb_clEnqueueCopyBuffer(
                handle, source.handle, target.handle, sourceOffset, targetOffset, byteCount, 0, nil, nil),
            "clEnqueueCopyBuffer", attempt())
    }

    /// Fills `byteCount` bytes from `offset` on (up to the end, if nil) with `value`, whose size must be a power of two
    /// of at most 128 bytes and divide both.
    package func fill<T: BitwiseCopyable>(
        _ target: CLBuffer, with value: T, offset: Int = 0, byteCount: Int? = nil
    ) throws(CLError) {
        let byteCount = byteCount ?? target.byteCount - offset
        if byteCount == 0 { return }
        func attempt() -> String {
            "fill \(byteCount) bytes at offset \(offset) of a buffer with a pattern of \(MemoryLayout<T>.size) bytes"
        }
        try target.checkRange(offset, byteCount, "clEnqueueFillBuffer", attempt())
        let code = withUnsafeBytes(of: value) {
            wb_clEnqueueFillBuffer(
                handle, target.handle, $0.baseAddress, $0.count, offset, byteCount, 0, nil, nil)
        }
        try check(code, "clEnqueueFillBuffer", attempt())
    }

    /// Makes a range of `buffer` (up to the end, if `byteCount` is nil) visible to the host, and waits until it is. No
    /// kernel may use it until `unmap`.
    package func map(
        _ buffer: CLBuffer, for flags: CLMapFlags, offset: Int = 0, byteCount: Int? = nil
    ) throws(CLError) -> UnsafeMutableRawBufferPointer {
        let byteCount = byteCount ?? buffer.byteCount - offset
        func attempt() -> String { "map \(describe(bytes: byteCount)) of a buffer into host memory" }
        try buffer.checkRange(offset, byteCount, "clEnqueueMapBuffer", attempt())
        var code = CL_SUCCESS
        let pointer = wb_clEnqueueMapBuffer(
            handle, buffer.handle, cl_bool(CL_TRUE), flags.rawValue, offset, byteCount, 0, nil, nil, &code)
        guard code == CL_SUCCESS, let pointer else {
            throw CLError("clEnqueueMapBuffer", code, attempt: attempt())
        }
        return UnsafeMutableRawBufferPointer(start: pointer, count: byteCount)
    }

    /// Gives back what `map` returned.
    package func unmap(_ buffer: CLBuffer, _ bytes: UnsafeMutableRawBufferPointer) throws(CLError) {
        try check(
            wb_clEnqueueUnmapMemObject(handle, buffer.handle, bytes.baseAddress, 0, nil, nil),
            "clEnqueueUnmapMemObject", "unmap a buffer")
    }

    private func enqueueWrite(
        _ source: UnsafeRawBufferPointer, _ target: CLBuffer, _ offset: Int, blocking: Bool,
        _ event: UnsafeMutablePointer<cl_event?>?
    ) throws(CLError) {
        func attempt() -> String {
            "write \(describe(bytes: source.count)) to a buffer of \(target.byteCount) bytes"
        }
        try target.checkRange(offset, source.count, "clEnqueueWriteBuffer", attempt())
        try check(
            wb_clEnqueueWriteBuffer(
                handle, target.handle, cl_bool(blocking ? CL_TRUE : CL_FALSE), offset, source.count,
                source.baseAddress, 0, nil, event),
            "clEnqueueWriteBuffer", attempt(), hint: context.device.memoryLimits)
    }

    // MARK: Order

    /// An event that is complete once all commands enqueued so far have ended.
    package func marker() throws(CLError) -> CLEvent {
        var event: cl_event?
        let code = wb_clEnqueueMarkerWithWaitList(handle, 0, nil, &event)
        guard code == CL_SUCCESS, let event else {
            throw CLError("clEnqueueMarkerWithWaitList", code, attempt: "enqueue a marker")
        }
        return CLEvent(handle: event)
    }

    /// Later commands of this queue start after `events`, which may come from other queues of the context; flush those.
    package func enqueueBarrier(after events: [CLEvent]) throws(CLError) {
        if events.isEmpty { return }
        let handles: [cl_event?] = events.map(\.handle)
        let code = withExtendedLifetime(events) {
            wb_clEnqueueBarrierWithWaitList(handle, cl_uint(handles.count), handles, nil)
        }
        try check(code, "clEnqueueBarrierWithWaitList", "make a queue wait for \(handles.count) commands")
    }

    /// Hands all commands to the device without waiting.
    package func flush() throws(CLError) {
        try check(wb_clFlush(handle), "clFlush", "hand commands to the device “\(context.device.name)”")
    }

    /// Waits for all commands.
    package func finish() throws(CLError) {
        try check(
            wb_clFinish(handle), "clFinish", "finish the commands on the device “\(context.device.name)”",
            hint: context.device.memoryLimits)
    }
}
