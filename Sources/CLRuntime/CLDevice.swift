import COpenCL

/// A device and the facts that its driver states about it. Sizes are in bytes.
///
/// Some facts can be changed in a copy, so that tests have devices that offer less than those at hand: buffers and launches keep
/// to what the copy says.
package struct CLDevice: Sendable {
    package enum Kind: String, Sendable { case gpu, cpu, accelerator, other }

    // Unsafe only for the compiler: a root device is an immutable object that lives as long as the process.
    nonisolated(unsafe) let id: cl_device_id

    /// Whether this is oclgrind's simulator. It crashes where several threads call it, even on queues of their own.
    package var isSimulated: Bool { platform.name == "Oclgrind" }

    /// Position in `CLInventory.devices`.
    package let index: Int
    package let platform: CLPlatform
    package let name: String
    package let vendor: String
    /// For example `OpenCL 3.0 CUDA`.
    package var version: String
    package let driverVersion: String
    package var kind: Kind
    /// Whether the device can be used now.
    package let isAvailable: Bool
    /// Whether the driver can build programs from source.
    package var hasCompiler: Bool
    package var extensions: Set<String>

    package let computeUnits: Int
    package let clockMHz: Int
    package var isLittleEndian: Bool
    package let nativeVectorWidthFloat: Int
    package var maxWorkGroupSize: Int
    /// The longest work-group in each dimension.
    package var maxWorkItemSizes: [Int]
    /// The most work-items in a work-group of any kernel: built kernels may allow fewer than `maxWorkGroupSize`, each its own
    /// number (`CLWorkGroupInfo.maxSize`), which is never more than this.
    package var maxKernelGroup = Int.max

    package var globalMemory: Int
    /// The most that one buffer may hold.
    package var maxAllocation: Int
    package var localMemory: Int
    /// The alignment that a sub-buffer's offset needs.
    package let baseAddressAlignment: Int
    /// Whether device and host share one memory, so that mapping a buffer copies nothing.
    package var sharesHostMemory: Bool

    /// What binary32 arithmetic can do.
    package var floatConfiguration: CLFloatConfiguration

    init(id: cl_device_id, index: Int, platform: CLPlatform) throws(CLError) {
        self.id = id
        self.index = index
        self.platform = platform
        let info = CLInfo(function: "clGetDeviceInfo", subject: "a device of the platform “\(platform.name)”")
        {
            wb_clGetDeviceInfo(id, $0, $1, $2, $3)
        }
        name = try info.string(CL_DEVICE_NAME)
        vendor = try info.string(CL_DEVICE_VENDOR)
        version = try info.string(CL_DEVICE_VERSION)
        driverVersion = try info.string(CL_DRIVER_VERSION)
        let type = try info.scalar(CL_DEVICE_TYPE, as: cl_device_type.self)
        // The bits of CL_DEVICE_TYPE_CPU, _GPU and _ACCELERATOR.
        kind =
            type & (1 << 2) != 0
            ? .gpu : type & (1 << 1) != 0 ? .cpu : type & (1 << 3) != 0 ? .accelerator : .other
        isAvailable = try info.bool(CL_DEVICE_AVAILABLE)
        hasCompiler = try info.bool(CL_DEVICE_COMPILER_AVAILABLE)
        extensions = Set(try info.string(CL_DEVICE_EXTENSIONS).split(separator: " ").map(String.init))

        computeUnits = try info.int(CL_DEVICE_MAX_COMPUTE_UNITS, as: cl_uint.self)
        clockMHz = try info.int(CL_DEVICE_MAX_CLOCK_FREQUENCY, as: cl_uint.self)
        isLittleEndian = try info.bool(CL_DEVICE_ENDIAN_LITTLE)
        nativeVectorWidthFloat = try info.int(CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, as: cl_uint.self)
        maxWorkGroupSize = try info.int(CL_DEVICE_MAX_WORK_GROUP_SIZE, as: Int.self)
        maxWorkItemSizes = try info.array(CL_DEVICE_MAX_WORK_ITEM_SIZES, of: Int.self)

        globalMemory = try info.int(CL_DEVICE_GLOBAL_MEM_SIZE, as: cl_ulong.self)
        maxAllocation = try info.int(CL_DEVICE_MAX_MEM_ALLOC_SIZE, as: cl_ulong.self)
        localMemory = try info.int(CL_DEVICE_LOCAL_MEM_SIZE, as: cl_ulong.self)
        baseAddressAlignment = max(1, try info.int(CL_DEVICE_MEM_BASE_ADDR_ALIGN, as: cl_uint.self) / 8)
        sharesHostMemory = (try? info.bool(CL_DEVICE_HOST_UNIFIED_MEMORY)) ?? false

        floatConfiguration = CLFloatConfiguration(
            rawValue: try info.scalar(CL_DEVICE_SINGLE_FP_CONFIG, as: cl_device_fp_config.self))
    }

    /// Whether it speaks at least that version of OpenCL, going by `version`, which begins with `OpenCL MAJOR.MINOR`.
    package func speaks(_ major: Int, _ minor: Int) -> Bool {
        let numbers =
            version.split(separator: " ").dropFirst().first?.split(separator: ".").map { Int($0) ?? 0 } ?? []
        return !numbers.lexicographicallyPrecedes([major, minor])
    }

    /// The device's limits on memory, one sentence for error messages.
    var memoryLimits: String {
        "The device “\(name)” has \(describe(bytes: globalMemory)) of global memory, allows at most "
            + "\(describe(bytes: maxAllocation)) in one buffer, and has \(describe(bytes: localMemory)) of local memory."
    }
}

/// What a device's floating-point arithmetic can do (`cl_device_fp_config`).
package struct CLFloatConfiguration: OptionSet, Sendable, Hashable, CustomStringConvertible {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Subnormal numbers are kept.
    package static let denorm = CLFloatConfiguration(rawValue: 1 << 0)
    package static let infinityAndNaN = CLFloatConfiguration(rawValue: 1 << 1)
    package static let roundToNearest = CLFloatConfiguration(rawValue: 1 << 2)
    /// `fma` rounds once (IEEE 754-2008) and is fast.
    package static let fma = CLFloatConfiguration(rawValue: 1 << 5)
    /// Division and `sqrt` are correctly rounded if the program is built with
    /// `-cl-fp32-correctly-rounded-divide-sqrt`.
    package static let correctlyRoundedDivideSqrt = CLFloatConfiguration(rawValue: 1 << 7)

    private static let names = [
        "denorm", "inf/nan", "round to nearest", "round to zero", "round to infinity", "fma", "soft float",
        "correctly rounded divide and sqrt",
    ]

    package var description: String {
        let set = CLFloatConfiguration.names.indices.filter { rawValue & (1 << UInt64($0)) != 0 }
        return set.isEmpty ? "none" : set.map { CLFloatConfiguration.names[$0] }.joined(separator: ", ")
    }
}
