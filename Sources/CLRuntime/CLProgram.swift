import COpenCL

/// A program built for the device of its context.
package final class CLProgram: Sendable {
    // Unsafe only for the compiler: OpenCL programs are thread-safe once built, and the handle never changes.
    nonisolated(unsafe) let handle: cl_program
    package let context: CLContext
    package let options: String
    /// Whether the program was loaded from the cache rather than compiled.
    package let cameFromCache: Bool
    /// One full sentence if the cache was to be used but could not be written, else nil.
    package let cacheProblem: String?
    /// What the compiler said although it succeeded, such as warnings; empty if the program came from the cache.
    package let buildLog: String

    /// Builds OpenCL C, or loads what an earlier build of the same left in the cache.
    ///
    /// The cache knows a program by `source` and `options` alone, so `source` must not include other files.
    package init(
        context: CLContext, source: String, options: String = "", cache: CLProgramCache = .standard
    ) throws(CLError) {
        self.context = context
        self.options = options
        let device = context.device
        let key = CLProgramCache.key([
            source, options, device.platform.name, device.platform.version, device.name, device.version,
            device.driverVersion,
        ])
        if let binary = cache.load(key), let loaded = CLProgram.load(binary, context, options) {
            handle = loaded
            cameFromCache = true
            cacheProblem = nil
            buildLog = ""
            return
        }
        let (built, log) = try CLProgram.build(source, context, options)
        handle = built
        cameFromCache = false
        buildLog = log
        // The cache only saves time: what goes wrong with it is told, not thrown.
        if cache.directory == nil {
            cacheProblem = nil
        } else if let binary = try? CLProgram.binary(of: built), !binary.isEmpty {
            cacheProblem = cache.store(binary, key)
        } else {
            cacheProblem =
                "The driver of “\(device.name)” gives no binary of a program, so it cannot be cached."
        }
    }

    deinit { _ = wb_clReleaseProgram(handle) }

    /// Makes a kernel of this program. See `CLKernel` for threads.
    package func kernel(_ name: String) throws(CLError) -> CLKernel {
        try CLKernel(program: self, name: name)
    }

    package var kernelNames: [String] {
        get throws(CLError) {
            try CLProgram.info(handle).string(CL_PROGRAM_KERNEL_NAMES).split(separator: ";").map(String.init)
        }
    }

    /// The device code in the driver's own format (PTX on NVIDIA).
    package func binary() throws(CLError) -> [UInt8] { try CLProgram.binary(of: handle) }

    // MARK: Parts of the initializer

    private static func info(_ program: cl_program) -> CLInfo {
        CLInfo(function: "clGetProgramInfo", subject: "a program") {
            wb_clGetProgramInfo(program, $0, $1, $2, $3)
        }
    }

    private static func build(
        _ source: String, _ context: CLContext, _ options: String
    ) throws(CLError) -> (cl_program, log: String) {
        let device = context.device
        func attempt() -> String {
            "build a program of \(source.utf8.count) bytes for the device “\(device.name)”"
                + (options.isEmpty ? "" : " with the options “\(options)”")
        }
        var code = CL_SUCCESS
        var text = source
        let made = text.withUTF8 { utf8 in
            utf8.withMemoryRebound(to: CChar.self) { chars in
                var start = chars.baseAddress
                var length = chars.count
                return wb_clCreateProgramWithSource(context.handle, 1, &start, &length, &code)
            }
        }
        guard code == CL_SUCCESS, let made else {
            throw CLError("clCreateProgramWithSource", code, attempt: attempt())
        }
        var id: cl_device_id? = device.id
        code = wb_clBuildProgram(made, 1, &id, options, nil, nil)
        let info = CLInfo(function: "clGetProgramBuildInfo", subject: "a program") {
            wb_clGetProgramBuildInfo(made, device.id, $0, $1, $2, $3)
        }
        let log = (try? info.string(CL_PROGRAM_BUILD_LOG)) ?? ""
        guard code == CL_SUCCESS else {
            _ = wb_clReleaseProgram(made)
            throw CLError(
                "clBuildProgram", code, attempt: attempt(),
                hint: log.isEmpty ? "The compiler left no log." : "The compiler said:", log: log)
        }
        return (made, log)
    }

    /// A built program from a binary, or nil if the driver does not take it.
    private static func load(_ binary: [UInt8], _ context: CLContext, _ options: String) -> cl_program? {
        var code = CL_SUCCESS
        var loaded = CL_SUCCESS
        var id: cl_device_id? = context.device.id
        let made = binary.withUnsafeBufferPointer { bytes in
            var start = bytes.baseAddress
            var length = bytes.count
            return wb_clCreateProgramWithBinary(context.handle, 1, &id, &length, &start, &loaded, &code)
        }
        guard let made else { return nil }
        guard code == CL_SUCCESS, loaded == CL_SUCCESS,
            wb_clBuildProgram(made, 1, &id, options, nil, nil) == CL_SUCCESS,
            let kernels = try? info(made).string(CL_PROGRAM_KERNEL_NAMES), !kernels.isEmpty
        else {
            _ = wb_clReleaseProgram(made)
            return nil
        }
        return made
    }

    private static func binary(of program: cl_program) throws(CLError) -> [UInt8] {
        let info = info(program)
        guard let size = try info.array(CL_PROGRAM_BINARY_SIZES, of: Int.self).first, size > 0 else {
            return []
        }
        var bytes = [UInt8](repeating: 0, count: size)
        let code = bytes.withUnsafeMutableBufferPointer { room in
            // The value is an array of pointers, one for each device, to which the driver writes.
            var target = room.baseAddress
            return wb_clGetProgramInfo(
                program, cl_program_info(CL_PROGRAM_BINARIES), MemoryLayout.size(ofValue: target), &target,
                nil)
        }
        try check(code, "clGetProgramInfo", "get the binary of a program")
        return bytes
    }
}
