import COpenCL

/// What went wrong in OpenCL, in a form for people and one for code.
package struct CLError: Error, Sendable, Hashable, CustomStringConvertible {
    /// A coarse sorting of the status codes, for callers that react differently.
    package enum Kind: Sendable, Hashable {
        /// There is no OpenCL on this machine, or no platform or device in it.
        case unavailable
        /// The device or the host has not enough memory or other resources.
        case outOfMemory
        /// The compiler refused a program; `log` says why.
        case buildFailed
        /// Anything else: an argument that OpenCL does not accept, or a failing driver.
        case other
    }

    /// The OpenCL function that failed, for example `clCreateBuffer`.
    package let function: String
    /// Its status code, for example −61.
    package let code: Int32
    /// One full sentence (or two): what was attempted, why it failed, and where known what would work.
    package let message: String
    /// The compiler's output, if a program failed to build.
    package let log: String?

    /// The message, and of the compiler's output the first lines; `details` has all of it.
    package var description: String {
        guard let log, !log.isEmpty else { return message }
        let lines = log.split(whereSeparator: \.isNewline)
        let first = lines.prefix(CLError.linesShown).map { line in
            line.count > CLError.lineShown ? "\(line.prefix(CLError.lineShown))…" : String(line)
        }
        return message + " " + first.joined(separator: " / ")
            + (lines.count > first.count ? " (\(lines.count - first.count) more lines with --verbose)" : "")
    }
    private static let (linesShown, lineShown) = (3, 160)

    /// The message and the whole of the compiler's output; nil if there is none.
    package var details: String? { log.flatMap { $0.isEmpty ? nil : message + "\n" + $0 } }

    /// The name of `code` in the OpenCL headers, for example `CL_INVALID_BUFFER_SIZE`.
    package var symbol: String { CLError.symbol(code) }

    package var kind: Kind {
        switch code {
        case WB_CL_LOADER_MISSING, WB_CL_PLATFORM_NOT_FOUND, CL_DEVICE_NOT_FOUND, CL_DEVICE_NOT_AVAILABLE:
            .unavailable
        case CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_OUT_OF_RESOURCES, CL_OUT_OF_HOST_MEMORY,
            CL_INVALID_BUFFER_SIZE:
            .outOfMemory
        case CL_BUILD_PROGRAM_FAILURE, CL_COMPILE_PROGRAM_FAILURE, CL_LINK_PROGRAM_FAILURE: .buildFailed
        default: .other
        }
    }

    /// - Parameters:
    ///   - attempt: what could not be done, as an infinitive: “create a command queue”.
    ///   - hint: what else the reader should know, as a full sentence.
    package init(_ function: String, _ code: Int32, attempt: String, hint: String? = nil, log: String? = nil)
    {
        self.function = function
        self.code = code
        self.log = log
        let reason = CLError.meaning(code)
        message =
            "Could not \(attempt): \(reason) (\(CLError.symbol(code)) from \(function))."
            + (hint.map { " " + $0 } ?? "")
    }

    /// Symbolic names and meanings of the status codes of OpenCL 1.2, of the loader, and of our own forwarder.
    private static let codes: [Int32: (symbol: String, meaning: String)] = [
        CL_DEVICE_NOT_FOUND: ("CL_DEVICE_NOT_FOUND", "there is no such device"),
        CL_DEVICE_NOT_AVAILABLE: ("CL_DEVICE_NOT_AVAILABLE", "the device is not available now"),
        CL_COMPILER_NOT_AVAILABLE: ("CL_COMPILER_NOT_AVAILABLE", "the driver has no compiler"),
        CL_MEM_OBJECT_ALLOCATION_FAILURE: (
            "CL_MEM_OBJECT_ALLOCATION_FAILURE", "the device has not enough free memory"
        ),
        CL_OUT_OF_RESOURCES: ("CL_OUT_OF_RESOURCES", "the device ran out of resources"),
        CL_OUT_OF_HOST_MEMORY: ("CL_OUT_OF_HOST_MEMORY", "the driver ran out of host memory"),
        CL_PROFILING_INFO_NOT_AVAILABLE: (
            "CL_PROFILING_INFO_NOT_AVAILABLE", "the command has not ended, or its queue does not profile"
        ),
        CL_MEM_COPY_OVERLAP: ("CL_MEM_COPY_OVERLAP", "source and target overlap"),
        CL_BUILD_PROGRAM_FAILURE: ("CL_BUILD_PROGRAM_FAILURE", "the device's compiler refused it"),
        CL_MAP_FAILURE: ("CL_MAP_FAILURE", "the buffer cannot be mapped into host memory"),
        CL_MISALIGNED_SUB_BUFFER_OFFSET: (
            "CL_MISALIGNED_SUB_BUFFER_OFFSET",
            "the offset is not a multiple of the device's base address alignment"
        ),
        CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST: (
            "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST", "a command that it waits for has failed"
        ),
        CL_COMPILE_PROGRAM_FAILURE: ("CL_COMPILE_PROGRAM_FAILURE", "the device's compiler refused it"),
        CL_LINKER_NOT_AVAILABLE: ("CL_LINKER_NOT_AVAILABLE", "the driver has no linker"),
        CL_LINK_PROGRAM_FAILURE: ("CL_LINK_PROGRAM_FAILURE", "the device's linker refused it"),
        CL_INVALID_VALUE: ("CL_INVALID_VALUE", "a value is out of its range"),
        CL_INVALID_DEVICE_TYPE: ("CL_INVALID_DEVICE_TYPE", "the device type is not valid"),
        CL_INVALID_PLATFORM: ("CL_INVALID_PLATFORM", "the platform is not valid"),
        CL_INVALID_DEVICE: ("CL_INVALID_DEVICE", "the device is not valid"),
        CL_INVALID_CONTEXT: ("CL_INVALID_CONTEXT", "the context is not valid"),
        CL_INVALID_QUEUE_PROPERTIES: (
            "CL_INVALID_QUEUE_PROPERTIES", "the device does not support such a queue"
        ),
        CL_INVALID_COMMAND_QUEUE: (
            "CL_INVALID_COMMAND_QUEUE",
            "the queue is not valid, perhaps because an earlier command on it failed"
        ),
        CL_INVALID_HOST_PTR: ("CL_INVALID_HOST_PTR", "the host pointer does not go with the flags"),
        CL_INVALID_MEM_OBJECT: ("CL_INVALID_MEM_OBJECT", "the buffer is not valid"),
        CL_INVALID_BINARY: ("CL_INVALID_BINARY", "the binary is not one for this device and driver"),
        CL_INVALID_BUILD_OPTIONS: ("CL_INVALID_BUILD_OPTIONS", "the compiler does not know these options"),
        CL_INVALID_PROGRAM: ("CL_INVALID_PROGRAM", "the program is not valid"),
        CL_INVALID_PROGRAM_EXECUTABLE: (
            "CL_INVALID_PROGRAM_EXECUTABLE", "the program was not built for this device"
        ),
        CL_INVALID_KERNEL_NAME: ("CL_INVALID_KERNEL_NAME", "the program has no kernel of this name"),
        CL_INVALID_KERNEL_DEFINITION: (
            "CL_INVALID_KERNEL_DEFINITION", "the kernel is not the same on all of the devices"
        ),
        CL_INVALID_KERNEL: ("CL_INVALID_KERNEL", "the kernel is not valid"),
        CL_INVALID_ARG_INDEX: ("CL_INVALID_ARG_INDEX", "the kernel has no argument of this index"),
        CL_INVALID_ARG_VALUE: ("CL_INVALID_ARG_VALUE", "the value does not go with the kernel's parameter"),
        CL_INVALID_ARG_SIZE: (
            "CL_INVALID_ARG_SIZE", "the value has another size than the kernel's parameter"
        ),
        CL_INVALID_KERNEL_ARGS: (
            "CL_INVALID_KERNEL_ARGS", "some of the kernel's arguments have not been set"
        ),
        CL_INVALID_WORK_DIMENSION: ("CL_INVALID_WORK_DIMENSION", "there must be one to three dimensions"),
        CL_INVALID_WORK_GROUP_SIZE: (
            "CL_INVALID_WORK_GROUP_SIZE",
            "the work-group does not fit the kernel, the device or the global size"
        ),
        CL_INVALID_WORK_ITEM_SIZE: (
            "CL_INVALID_WORK_ITEM_SIZE", "the work-group is too long in one dimension"
        ),
        CL_INVALID_GLOBAL_OFFSET: ("CL_INVALID_GLOBAL_OFFSET", "the global offset is not valid"),
        CL_INVALID_EVENT_WAIT_LIST: (
            "CL_INVALID_EVENT_WAIT_LIST", "the list of events to wait for is not valid"
        ),
        CL_INVALID_EVENT: ("CL_INVALID_EVENT", "the event is not valid"),
        CL_INVALID_OPERATION: ("CL_INVALID_OPERATION", "the operation is not allowed here"),
        CL_INVALID_BUFFER_SIZE: ("CL_INVALID_BUFFER_SIZE", "the device allows no buffer of this size"),
        CL_INVALID_GLOBAL_WORK_SIZE: ("CL_INVALID_GLOBAL_WORK_SIZE", "the global size is zero or too large"),
        CL_INVALID_PROPERTY: ("CL_INVALID_PROPERTY", "a property is not valid"),
        CL_INVALID_COMPILER_OPTIONS: (
            "CL_INVALID_COMPILER_OPTIONS", "the compiler does not know these options"
        ),
        CL_INVALID_LINKER_OPTIONS: ("CL_INVALID_LINKER_OPTIONS", "the linker does not know these options"),
        WB_CL_PLATFORM_NOT_FOUND: ("CL_PLATFORM_NOT_FOUND_KHR", "no OpenCL driver is installed"),
        WB_CL_LOADER_MISSING: ("loader missing", "no OpenCL library could be opened"),
        WB_CL_FUNCTION_MISSING: ("function missing", "the OpenCL library lacks this function"),
    ]

    private static func symbol(_ code: Int32) -> String { codes[code]?.symbol ?? "status \(code)" }

    private static func meaning(_ code: Int32) -> String {
        codes[code]?.meaning ?? "the driver reported an error that OpenCL 1.2 does not name"
    }
}

/// Throws if `code` is not `CL_SUCCESS`; the texts are made only then.
@inline(__always)
func check(
    _ code: cl_int, _ function: StaticString, _ attempt: @autoclosure () -> String,
    hint: @autoclosure () -> String? = nil
) throws(CLError) {
    if code != CL_SUCCESS { throw CLError("\(function)", code, attempt: attempt(), hint: hint()) }
}

/// A number of bytes for people: “2.0 GiB”, “512 KiB”, “100 bytes”.
package func describe(bytes: Int) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] where bytes >= 1 << shift {
        let tenths = Int((Double(bytes) / Double(1 << shift) * 10).rounded())
        return tenths % 10 == 0 ? "\(tenths / 10) \(unit)" : "\(tenths / 10).\(tenths % 10) \(unit)"
    }
    return bytes == 1 ? "1 byte" : "\(bytes) bytes"
}
