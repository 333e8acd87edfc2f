// Whether the devices are there that the other tests compare.

import Kernels
import TestSupport
import Testing

@Suite struct DeviceTests {
    @Test func anOpenCLDeviceIsThere() {
        if let problem = Devices.openCLProblem { Issue.record(Comment(rawValue: problem)) }
        #expect(
            Devices.openCL.count == 2 * Devices.inventory.devices.count,
            "Each device is tested in both shapes.")
    }

    @Test func everyInstructionSetIsThere() throws {
        #expect(CPU.instructionSets.last == "baseline")
        for set in CPU.instructionSets {
            let cpu = try CPU(threads: 2, instructionSet: set)
            #expect(cpu.instructionSet == set && cpu.threads == 2)
        }
        #expect(throws: DeviceError.self) { try CPU(instructionSet: "abacus") }
    }
}
