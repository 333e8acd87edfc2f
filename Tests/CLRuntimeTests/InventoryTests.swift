import CLRuntime
import Dispatch
import Glibc
import Synchronization
import Testing

@Suite struct InventoryTests {
    @Test func listsDevicesWithPlausibleFacts() throws {
        let inventory = Bench.inventory
        #expect(!inventory.devices.isEmpty, "\(inventory.unavailableReason ?? "")")
        #expect(inventory.unavailableReason == nil)
        #expect(inventory.library != nil)
        for (position, device) in inventory.devices.enumerated() {
            #expect(device.index == position)
            #expect(!device.platform.name.isEmpty && device.platform.version.hasPrefix("OpenCL "))
            #expect(!device.name.isEmpty && !device.vendor.isEmpty && !device.driverVersion.isEmpty)
            #expect(device.computeUnits > 0)
            #expect(device.globalMemory >= device.maxAllocation && device.maxAllocation > 1 << 20)
            #expect(device.maxWorkGroupSize > 0 && device.maxWorkItemSizes.count >= 3)
            #expect(device.baseAddressAlignment > 0 && device.baseAddressAlignment.nonzeroBitCount == 1)
            #expect(device.floatConfiguration.isSuperset(of: [.infinityAndNaN, .roundToNearest]))
            #expect(device.isLittleEndian)
        }
    }

    /// PoCL makes its devices when a process asks for the first time; several threads that asked at once got none, or a crash.
    @Test func threadsMayAskAtTheSameTime() async {
        for _ in 0..<4 {
            await #expect(processExitsWith: .success) {
                let counts = Mutex<[Int]>([])
                DispatchQueue.concurrentPerform(iterations: 4) { _ in
                    let count = CLInventory.discover().devices.count
                    counts.withLock { $0.append(count) }
                }
                let all = counts.withLock { $0 }
                exit(all[0] > 0 && all.allSatisfy { $0 == all[0] } ? EXIT_SUCCESS : EXIT_FAILURE)
            }
        }
    }

    // The loader is opened once for each process, so a missing one needs a process of its own.
    @Test func missingLibraryIsAReasonNotACrash() async {
        await #expect(processExitsWith: .success) {
            setenv("WHITEBOX_OPENCL_LIBRARY", "/nonexistent/libNoSuchOpenCL.so", 1)
            let inventory = CLInventory.discover()
            #expect(inventory.devices.isEmpty && inventory.platforms.isEmpty && inventory.library == nil)
            let reason = inventory.unavailableReason ?? ""
            #expect(reason.contains("libNoSuchOpenCL.so") && reason.hasSuffix("."))
            // Two more times the same.
            #expect(CLInventory.discover().unavailableReason == reason)
            exit(
                inventory.devices.isEmpty && reason.contains("libNoSuchOpenCL.so")
                    ? EXIT_SUCCESS : EXIT_FAILURE)
        }
    }

    @Test func libraryThatIsNotOpenCLIsAReason() async {
        await #expect(processExitsWith: .success) {
            setenv("WHITEBOX_OPENCL_LIBRARY", "libm.so.6", 1)
            let inventory = CLInventory.discover()
            let reason = inventory.unavailableReason ?? ""
            exit(
                inventory.devices.isEmpty && reason.contains("lacks this function")
                    ? EXIT_SUCCESS : EXIT_FAILURE)
        }
    }

    @Test func loaderWithoutDriversIsAReason() async {
        await #expect(processExitsWith: .success) {
            setenv("OCL_ICD_VENDORS", "/nonexistent", 1)
            let inventory = CLInventory.discover()
            let reason = inventory.unavailableReason ?? ""
            exit(
                inventory.devices.isEmpty && inventory.library != nil && reason.contains("no platform")
                    ? EXIT_SUCCESS : EXIT_FAILURE)
        }
    }

    @Test func errorsAreFullSentences() {
        let error = CLError("clCreateBuffer", -61, attempt: "allocate a buffer", hint: "It is too large.")
        #expect(error.symbol == "CL_INVALID_BUFFER_SIZE")
        #expect(error.kind == .outOfMemory)
        #expect(
            error.message == "Could not allocate a buffer: the device allows no buffer of this size "
                + "(CL_INVALID_BUFFER_SIZE from clCreateBuffer). It is too large.")
        #expect(CLError("clFinish", -9999, attempt: "finish").message.contains("status -9999"))
    }

    @Test func bytesForPeople() {
        #expect(describe(bytes: 1) == "1 byte")
        #expect(describe(bytes: 1000) == "1000 bytes")
        #expect(describe(bytes: 1536) == "1.5 KiB")
        #expect(describe(bytes: 2 << 30) == "2 GiB")
    }
}
