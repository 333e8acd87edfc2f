import COpenCL

/// One, two or three extents: the number of work-items in all (global) or in each work-group (local).
package struct CLSize: Sendable, Hashable, CustomStringConvertible, ExpressibleByIntegerLiteral,
    ExpressibleByArrayLiteral
{
    package let x: Int
    package let y: Int
    package let z: Int
    /// 1, 2 or 3.
    package let dimensions: Int

    package init(_ x: Int) { (self.x, y, z, dimensions) = (x, 1, 1, 1) }
    package init(_ x: Int, _ y: Int) { (self.x, self.y, z, dimensions) = (x, y, 1, 2) }
    package init(_ x: Int, _ y: Int, _ z: Int) { (self.x, self.y, self.z, dimensions) = (x, y, z, 3) }
    package init(integerLiteral value: Int) { self.init(value) }

    /// One to three extents.
    package init(arrayLiteral extents: Int...) {
        precondition((1...3).contains(extents.count), "A CLSize has one to three extents.")
        x = extents[0]
        y = extents.count > 1 ? extents[1] : 1
        z = extents.count > 2 ? extents[2] : 1
        dimensions = extents.count
    }

    /// The number of work-items.
    package var count: Int { x * y * z }

    /// Each extent rounded up to a multiple of that of `local`.
    package func roundedUp(to local: CLSize) -> CLSize {
        func up(_ a: Int, _ b: Int) -> Int { (a + b - 1) / b * b }
        return CLSize(up(x, local.x), up(y, local.y), up(z, local.z), dimensions: dimensions)
    }

    private init(_ x: Int, _ y: Int, _ z: Int, dimensions: Int) {
        (self.x, self.y, self.z, self.dimensions) = (x, y, z, dimensions)
    }

    var extents: (Int, Int, Int) { (x, y, z) }

    package var description: String {
        switch dimensions {
        case 1: "\(x)"
        case 2: "\(x) × \(y)"
        default: "\(x) × \(y) × \(z)"
        }
    }
}

/// A value for a kernel's parameter.
package enum CLArgument: Sendable {
    /// `global T *` or `constant T *`
    case buffer(CLBuffer)
    /// A null pointer for `global T *`.
    case noBuffer
    /// `int`
    case int(Int32)
    /// `uint`
    case uint(UInt32)
    /// `long`
    case long(Int64)
    /// `ulong`
    case ulong(UInt64)
    /// `float`
    case float(Float)
    /// A structure that the kernel takes by value, as it lies in memory.
    case bytes([UInt8])
    /// `local T *` of so many bytes.
    case local(bytes: Int)

    /// A C structure whose layout the kernel shares.
    package static func structure<T: BitwiseCopyable>(_ value: T) -> CLArgument {
        .bytes(withUnsafeBytes(of: value) { Array($0) })
    }
}

/// A kernel with its arguments.
///
/// Not Sendable, because `clSetKernelArg` is the one OpenCL function that is not thread-safe: where several threads
/// launch, each makes its own from the program. Kernels are cheap; give each recurring launch its own, set its arguments
/// once, and keep its `CLLaunch`.
package final class CLKernel {
    let handle: cl_kernel
    package let program: CLProgram
    package let name: String
    package let argumentCount: Int
    // OpenCL does not keep a kernel's buffers alive.
    private var buffers: [CLBuffer?]
    private var knownWorkGroupInfo: CLWorkGroupInfo?

    init(program: CLProgram, name: String) throws(CLError) {
        var code = CL_SUCCESS
        let made = wb_clCreateKernel(program.handle, name, &code)
        guard code == CL_SUCCESS, let made else {
            throw CLError(
                "clCreateKernel", code, attempt: "take the kernel “\(name)” from a program",
                hint: code == CL_INVALID_KERNEL_NAME
                    ? "Its kernels are: \(((try? program.kernelNames) ?? []).joined(separator: ", "))." : nil)
        }
        let info = CLInfo(function: "clGetKernelInfo", subject: "the kernel “\(name)”") {
            wb_clGetKernelInfo(made, $0, $1, $2, $3)
        }
        do throws(CLError) {
            argumentCount = try info.int(CL_KERNEL_NUM_ARGS, as: cl_uint.self)
        } catch {
            _ = wb_clReleaseKernel(made)
            throw error
        }
        handle = made
        self.program = program
        self.name = name
        buffers = Array(repeating: nil, count: argumentCount)
    }

    deinit { _ = wb_clReleaseKernel(handle) }

    /// Sets all arguments, in order. Launches that are already enqueued keep the earlier ones.
    package func setArguments(_ arguments: [CLArgument]) throws(CLError) {
        guard arguments.count == argumentCount else {
            throw CLError(
                "clSetKernelArg", CL_INVALID_ARG_INDEX,
                attempt: "set \(arguments.count) arguments of the kernel “\(name)”",
                hint: "It has \(argumentCount).")
        }
        for index in arguments.indices { try setArgument(index, arguments[index]) }
    }

    /// Sets one argument; the others stay as they are.
    package func setArgument(_ index: Int, _ argument: CLArgument) throws(CLError) {
        guard buffers.indices.contains(index) else {
            throw CLError(
                "clSetKernelArg", CL_INVALID_ARG_INDEX,
                attempt: "set argument \(index) of the kernel “\(name)”",
                hint: "It has \(argumentCount).")
        }
        let code: cl_int
        var buffer: CLBuffer?
        switch argument {
        case .buffer(let value):
            buffer = value
            code = set(index, Optional(value.handle))
        case .noBuffer: code = set(index, cl_mem?.none)
        case .int(let value): code = set(index, value)
        case .uint(let value): code = set(index, value)
        case .long(let value): code = set(index, value)
        case .ulong(let value): code = set(index, value)
        case .float(let value): code = set(index, value)
        case .bytes(let value):
            code = value.withUnsafeBytes {
                wb_clSetKernelArg(handle, cl_uint(index), $0.count, $0.baseAddress)
            }
        case .local(let bytes): code = wb_clSetKernelArg(handle, cl_uint(index), max(0, bytes), nil)
        }
        try check(
            code, "clSetKernelArg", "set argument \(index) of the kernel “\(name)” to \(describe(argument))",
            hint: code == CL_OUT_OF_RESOURCES ? program.context.device.memoryLimits : nil)
        buffers[index] = buffer
    }

    private func set<T>(_ index: Int, _ value: T) -> cl_int {
        withUnsafePointer(to: value) { wb_clSetKernelArg(handle, cl_uint(index), MemoryLayout<T>.size, $0) }
    }

    private func describe(_ argument: CLArgument) -> String {
        switch argument {
        case .buffer(let buffer): "a buffer of \(buffer.byteCount) bytes"
        case .noBuffer: "a null pointer"
        case .int(let value): "the int \(value)"
        case .uint(let value): "the uint \(value)"
        case .long(let value): "the long \(value)"
        case .ulong(let value): "the ulong \(value)"
        case .float(let value): "the float \(value)"
        case .bytes(let value): "a structure of \(value.count) bytes"
        case .local(let bytes): "\(bytes) bytes of local memory"
        }
    }

    /// What the compiled kernel needs and allows. Asked once, so `localMemory` may not count `local` arguments that were
    /// set later.
    package var workGroupInfo: CLWorkGroupInfo {
        get throws(CLError) {
            if let knownWorkGroupInfo { return knownWorkGroupInfo }
            let info = try freshWorkGroupInfo()
            knownWorkGroupInfo = info
            return info
        }
    }

    func freshWorkGroupInfo() throws(CLError) -> CLWorkGroupInfo {
        let info = CLInfo(function: "clGetKernelWorkGroupInfo", subject: "the kernel “\(name)”") {
            [handle, device = program.context.device.id] in
            wb_clGetKernelWorkGroupInfo(handle, device, $0, $1, $2, $3)
        }
        return CLWorkGroupInfo(
            maxSize: min(
                try info.int(CL_KERNEL_WORK_GROUP_SIZE, as: Int.self),
                program.context.device.maxWorkGroupSize, program.context.device.maxKernelGroup),
            localMemory: try info.int(CL_KERNEL_LOCAL_MEM_SIZE, as: cl_ulong.self),
            privateMemory: try info.int(CL_KERNEL_PRIVATE_MEM_SIZE, as: cl_ulong.self))
    }

    /// Prepares a launch of this kernel over `global` work-items in work-groups of `local` (of the driver's choice, if
    /// nil). Each extent of `global` must be a multiple of that of `local`.
    package func launch(global: CLSize, local: CLSize? = nil) throws(CLError) -> CLLaunch {
        try CLLaunch(kernel: self, global: global, local: local)
    }
}

/// What a compiled kernel needs and allows. Memory is in bytes.
package struct CLWorkGroupInfo: Sendable, Hashable {
    /// The largest work-group with which this kernel can run.
    package let maxSize: Int
    /// Local memory for one work-group.
    package let localMemory: Int
    /// Private memory for one work-item; on GPUs what did not fit into registers.
    package let privateMemory: Int
}

/// A kernel and the sizes with which it runs: checked once, enqueued often.
package struct CLLaunch {
    package let kernel: CLKernel
    package let global: CLSize
    let local: CLSize
    let hasLocal: Bool
    let dimensions: cl_uint

    package init(kernel: CLKernel, global: CLSize, local: CLSize? = nil) throws(CLError) {
        func refuse(_ code: Int32, _ hint: String) -> CLError {
            CLError(
                "clEnqueueNDRangeKernel", code,
                attempt: "launch the kernel “\(kernel.name)” over \(global) work-items"
                    + (local.map { " in work-groups of \($0)" } ?? ""), hint: hint)
        }
        guard global.x > 0, global.y > 0, global.z > 0 else {
            throw refuse(CL_INVALID_GLOBAL_WORK_SIZE, "Each extent must be at least one.")
        }
        if let local {
            guard local.dimensions == global.dimensions, local.x > 0, local.y > 0, local.z > 0,
                global.x % local.x == 0, global.y % local.y == 0, global.z % local.z == 0
            else {
                throw refuse(
                    CL_INVALID_WORK_GROUP_SIZE,
                    "Each extent of the global size must be a multiple of that of the work-group.")
            }
            let (device, info) = (kernel.program.context.device, try kernel.workGroupInfo)
            guard info.localMemory <= device.localMemory else {
                throw refuse(
                    CL_OUT_OF_RESOURCES,
                    "This kernel needs \(info.localMemory) bytes of local memory. \(device.memoryLimits)")
            }
            let most = info.maxSize
            guard local.count <= most else {
                throw refuse(
                    CL_INVALID_WORK_GROUP_SIZE,
                    "On the device “\(device.name)” this kernel allows at most \(most) "
                        + "work-items in a work-group.")
            }
        }
        self.kernel = kernel
        self.global = global
        self.local = local ?? global
        hasLocal = local != nil
        dimensions = cl_uint(global.dimensions)
    }
}
