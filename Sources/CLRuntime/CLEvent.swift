import COpenCL

/// The completion of one command.
package final class CLEvent: Sendable {
    // Unsafe only for the compiler: OpenCL events are thread-safe, and the handle never changes.
    nonisolated(unsafe) let handle: cl_event

    init(handle: cl_event) { self.handle = handle }

    deinit { _ = wb_clReleaseEvent(handle) }

    /// Waits for the command, and throws if it failed.
    package func wait() throws(CLError) {
        var event: cl_event? = handle
        try check(wb_clWaitForEvents(1, &event), "clWaitForEvents", "wait for a command on the device")
    }

    /// Whether the command has ended; throws if it failed.
    package var isComplete: Bool {
        get throws(CLError) {
            let status = try CLInfo(function: "clGetEventInfo", subject: "a command") { [handle] in
                wb_clGetEventInfo(handle, $0, $1, $2, $3)
            }.scalar(CL_EVENT_COMMAND_EXECUTION_STATUS, as: cl_int.self)
            if status < 0 {
                throw CLError("clGetEventInfo", status, attempt: "complete a command on the device")
            }
            return status == CL_COMPLETE
        }
    }
}
