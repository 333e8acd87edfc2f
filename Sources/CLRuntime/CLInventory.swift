import COpenCL
import Synchronization

/// What OpenCL offers on this machine. Never fails: where there is nothing, it says why.
package struct CLInventory: Sendable {
    package let platforms: [CLPlatform]
    /// All devices of all platforms in order; `devices[i].index == i`.
    package let devices: [CLDevice]
    /// If `devices` is empty: one full sentence that says why.
    package let unavailableReason: String?
    /// Platforms and devices that were left out because their driver failed to describe them.
    package let problems: [CLError]
    /// The OpenCL library in use, for example `libOpenCL.so.1`.
    package let library: String?

    /// Asks all installed drivers. It takes milliseconds to a second, so ask once and keep the answer.
    package static func discover() -> CLInventory { asking.withLock { _ in ask() } }

    /// One thread at a time: PoCL makes its devices when it is asked for the first time, and tells whoever asks meanwhile that it has none.
    private static let asking = Mutex(())

    private static func ask() -> CLInventory {
        var why: UnsafePointer<CChar>?
        guard wb_opencl_available(&why) else {
            let reason = why.map { String(cString: $0) } ?? "unknown reason"
            return CLInventory(
                platforms: [], devices: [],
                unavailableReason: "No OpenCL library could be opened (\(reason)); "
                    + "install an OpenCL loader, such as the package ocl-icd-libopencl1, and a driver for the device.",
                problems: [], library: nil)
        }
        let library = wb_opencl_library().map { String(cString: $0) }
        func nothing(_ reason: String, _ problems: [CLError] = [], _ platforms: [CLPlatform] = [])
            -> CLInventory
        {
            CLInventory(
                platforms: platforms, devices: [], unavailableReason: reason, problems: problems,
                library: library)
        }
        let noDriver =
            "OpenCL finds no platform on this machine; install a driver for the device "
            + "(or the package pocl-opencl-icd, which runs on any CPU)."

        var count: cl_uint = 0
        var code = wb_clGetPlatformIDs(0, nil, &count)
        if code == WB_CL_PLATFORM_NOT_FOUND || (code == CL_SUCCESS && count == 0) { return nothing(noDriver) }
        var ids = [cl_platform_id?](repeating: nil, count: code == CL_SUCCESS ? Int(count) : 0)
        if code == CL_SUCCESS { code = wb_clGetPlatformIDs(count, &ids, nil) }
        if code != CL_SUCCESS {
            let error = CLError("clGetPlatformIDs", code, attempt: "list the OpenCL platforms")
            return nothing(error.message, [error])
        }

        var platforms: [CLPlatform] = []
        var devices: [CLDevice] = []
        var problems: [CLError] = []
        for case let id? in ids {
            // A platform or a device whose driver fails is left out; the others stay.
            do throws(CLError) {
                let platform = try CLPlatform(id: id)
                platforms.append(platform)
                for deviceID in try platform.deviceIDs() {
                    do throws(CLError) {
                        devices.append(try CLDevice(id: deviceID, index: devices.count, platform: platform))
                    } catch { problems.append(error) }
                }
            } catch { problems.append(error) }
        }
        if devices.isEmpty {
            let reason =
                problems.first.map { "No OpenCL device could be used. " + $0.message }
                ?? "The OpenCL platforms (\(platforms.map(\.name).joined(separator: ", "))) offer no device."
            return nothing(reason, problems, platforms)
        }
        return CLInventory(
            platforms: platforms, devices: devices, unavailableReason: nil, problems: problems,
            library: library)
    }
}

/// One OpenCL implementation (a vendor's driver).
package struct CLPlatform: Sendable {
    // Unsafe only for the compiler: a platform is an immutable object that lives as long as the process.
    nonisolated(unsafe) let id: cl_platform_id
    package let name: String
    package let vendor: String
    /// For example `OpenCL 3.0 PoCL 3.1+debian …`.
    package let version: String

    init(id: cl_platform_id) throws(CLError) {
        self.id = id
        let info = CLInfo(function: "clGetPlatformInfo", subject: "a platform") {
            wb_clGetPlatformInfo(id, $0, $1, $2, $3)
        }
        name = try info.string(CL_PLATFORM_NAME)
        vendor = try info.string(CL_PLATFORM_VENDOR)
        version = try info.string(CL_PLATFORM_VERSION)
    }

    func deviceIDs() throws(CLError) -> [cl_device_id] {
        let all = cl_device_type(CL_DEVICE_TYPE_ALL)
        var count: cl_uint = 0
        let code = wb_clGetDeviceIDs(id, all, 0, nil, &count)
        if code == CL_DEVICE_NOT_FOUND || (code == CL_SUCCESS && count == 0) { return [] }
        try check(code, "clGetDeviceIDs", "list the devices of the platform “\(name)”")
        var ids = [cl_device_id?](repeating: nil, count: Int(count))
        try check(
            wb_clGetDeviceIDs(id, all, count, &ids, nil), "clGetDeviceIDs",
            "list the devices of the platform “\(name)”")
        return ids.compactMap { $0 }
    }
}
