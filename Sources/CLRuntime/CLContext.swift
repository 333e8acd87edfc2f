import COpenCL

/// The world in which buffers, programs and queues of one device live. They keep their context alive.
package final class CLContext: Sendable {
    // Unsafe only for the compiler: OpenCL contexts are thread-safe, and the handle never changes.
    nonisolated(unsafe) let handle: cl_context
    package let device: CLDevice

    package init(device: CLDevice) throws(CLError) {
        var code = CL_SUCCESS
        var id: cl_device_id? = device.id
        let properties: [cl_context_properties] = [
            cl_context_properties(CL_CONTEXT_PLATFORM),
            cl_context_properties(Int(bitPattern: device.platform.id)), 0,
        ]
        let made = wb_clCreateContext(properties, 1, &id, nil, nil, &code)
        guard code == CL_SUCCESS, let made else {
            throw CLError("clCreateContext", code, attempt: "open the device “\(device.name)”")
        }
        self.device = device
        handle = made
    }

    deinit { _ = wb_clReleaseContext(handle) }
}
