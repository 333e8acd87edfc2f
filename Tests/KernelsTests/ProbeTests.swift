// The probe: devices that compute right pass it, others are refused with an example, and what it found is remembered.

import CLRuntime
import Foundation
import Kernels
import TestSupport
import Testing

@Suite struct ProbeTests {
    private static let devices = Devices.inventory.devices.filter { OpenCL.fitness(of: $0).problem == nil }

    private func device() throws -> CLDevice { try #require(ProbeTests.devices.first) }

    @Test func thoseInUseAreRight() throws {
        for device in ProbeTests.devices {
            let probe = try Probe.measure(device)
            #expect(probe.wrong == nil && probe.numbers > 50_000, "\(device.name): \(probe.description)")
            #expect(try Probe.outcome(of: device) == probe)
        }
    }

    /// The probe's source with some of it replaced, which must be there.
    private func spoiled(_ text: String, _ other: String) -> String {
        let source = OpenCL.source("probe")
        let spoiled = source.replacingOccurrences(of: text, with: other)
        #expect(spoiled != source, "\(text)")
        return spoiled
    }

    /// What a compiler or a device may get wrong, and what the probe says of it.
    @Test(arguments: [
        ("PUT(fma(x, y, z))", "PUT(x * y + z)", "fma(x, y, z) is "),
        ("PUT(x * y + z)", "PUT(fma(x, y, z))", "x * y + z is "),
        (
            "vstore##N(fma(x, y, z), i, out)", "vstore##N(x * y + z, i, out)",
            "fma(x, y, z) in vectors of 4 is "
        ),
        ("PUT(wb_tanh(x))", "PUT(tanh(x))", "tanh(x) is "),
        ("sum = sum + a[k];", "sum = sum + a[terms - 1 - k];", "a sum of terms in order is "),
    ])
    func wrongArithmeticIsRefused(_ text: String, _ other: String, _ said: String) throws {
        let probe = try Probe.measure(device(), source: spoiled(text, other))
        let wrong = try #require(probe.wrong)
        #expect(wrong.hasPrefix(said) && wrong.contains(" instead of "), "\(wrong)")
        #expect(probe.description == "wrong: \(wrong)")
    }

    /// Where the compiler knows no way to be strict, what is wrong without it is what is said.
    @Test func strictnessIsNoDuty() throws {
        let strict = "#pragma clang fp exceptions(strict)"
        let source = spoiled(strict, "#error").replacingOccurrences(
            of: "PUT(fma(x, y, z))", with: "PUT(x * y + z)")
        let probe = try Probe.measure(device(), source: source)
        #expect(probe.wrong?.hasPrefix("fma(x, y, z) is ") == true, "\(probe.description)")
    }

    /// Division or square root that are declared right and are not give way to those made of integers.
    @Test func wrongRootsAreReplaced() throws {
        let device = try device()
        let probe = try Probe.measure(
            device, source: spoiled("wb_native_sqrt(a) sqrt(a)", "wb_native_sqrt(a) ((a) * 0.5f)"))
        #expect(probe.wrong == nil && !probe.nativeDivision, "\(probe.description)")
        if device.floatConfiguration.contains(.correctlyRoundedDivideSqrt) {
            #expect(
                probe.replaced.count == 1 && probe.replaced.first?.hasPrefix("sqrt(x) is ") == true,
                "\(probe.replaced)")
            #expect(probe.description.contains("replaced: sqrt(x) is "))
        }
    }

    /// What a driver declares of its arithmetic is not believed, either way, but for division.
    @Test func declarationsAreNotAsked() throws {
        var device = try device()
        device.floatConfiguration = []
        let fitness = OpenCL.fitness(of: device)
        #expect(fitness.problem == nil && fitness.measured?.nativeDivision == false)
    }

    @Test func outcomesAreRemembered() throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
            "probe-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: directory) }
        let device = try device()
        let cache = CLProgramCache(directory: directory.path)
        let probe = try Probe.outcome(of: device, cache: cache)
        let bytes = try #require(cache.load(Probe.key(of: device)))
        #expect(Probe(String(decoding: bytes, as: UTF8.self)) == probe)
        #expect(Probe("nonsense") == nil && Probe("") == nil)

        // A device that was found wrong is refused with what was wrong, without being measured again.
        var other = probe
        (other.wrong, other.replaced) = (
            "fma(x, y, z) is 0.0 instead of 1.0", ["x / y is 2.0 instead of 1.0"]
        )
        let elsewhere = CLProgramCache(directory: directory.path + "/other")
        #expect(elsewhere.store(Array(other.text.utf8), Probe.key(of: device)) == nil)
        let fitness = OpenCL.fitness(of: device, cache: elsewhere)
        #expect(fitness.measured == other)
        #expect(
            fitness.problem
                == "computes wrong, so results would differ from those of other devices: fma(x, y, z) is 0.0 instead of 1.0"
        )
    }
}
