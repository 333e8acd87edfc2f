// Several devices at once, of which some fail.

import Explain
import Inference
import Kernels
import Synchronization
import TestSupport
import Testing

@Suite struct SessionPoolTests {
    private let options = {
        var options = Options()
        (options.device, options.threads, options.layer, options.batch) = (.cpu, 1, "relu", 4)
        return options
    }()

    /// What a pool says of pictures of which one is bad, and what it notes.
    private func run(
        _ devices: Int, count: Int = 41, seed: Int, fault: (@Sendable (Int) throws -> Void)?
    ) throws -> (found: [String], notes: [String]) {
        let model = try Model(Network(oneConvNetwork().model()), preprocessing: "none")
        let notes = Mutex<[String]>([])
        let pool = try SessionPool(model, options: options, devices: Array(repeating: .cpu, count: devices)) {
            note in notes.withLock { $0.append(note) }
        }
        var random = SeededRandom("pool \(seed)")
        var pictures = (0..<count).map { number in
            Picture.array((0..<16).map { _ in random.float(-1, 1) }, name: "\(number)")
        }
        pictures[count / 2] = .array([1], name: "bad")
        // Of some runs many are bad, and others get their places.
        for i in 0..<(seed % 3 * count / 2) {
            pictures[random.index(below: count)] = .array([1], name: "bad \(i)")
        }
        var taken = 0
        var found: [String] = []
        func next() -> [PictureRequest] {
            // Batches of several sizes.
            let end = min(count, taken + 1 + random.index(below: pool.batch))
            defer { taken = end }
            return pictures[taken..<end].map { PictureRequest($0) }
        }
        try pool.explain(next: next, fault: fault) { results in
            for result in results {
                switch result {
                case .success(let image):
                    found.append(
                        "\(image.name): \(image.explanations[0].map.values) \(image.predictions[0].logit)")
                case .failure(let error): found.append(error.description)
                }
            }
        }
        return (found, notes.withLock { $0 })
    }

    /// Whichever devices fail at whichever of their batches, all pictures are explained, in order, with the same numbers.
    @Test(arguments: 0..<20) func devicesThatFail(_ seed: Int) throws {
        var random = SeededRandom("faults \(seed)")
        let devices = 2 + random.index(below: 3)
        let alone = try run(1, seed: seed, fault: nil)
        #expect(alone.found.count == 41 && alone.notes.isEmpty)
        #expect(try run(devices, seed: seed, fault: nil).found == alone.found)
        // All but the last fail, some at once.
        let last = (0..<devices - 1).map { _ in random.index(below: 5) }
        let counts = Mutex(Array(repeating: 0, count: devices))
        let several = try run(devices, seed: seed) { device in
            let count = counts.withLock { counts in
                counts[device] += 1
                return counts[device]
            }
            if device < devices - 1, count > last[device] {
                throw DeviceError("The device \(device) was lost.")
            }
        }
        #expect(several.found == alone.found)
        // One that had nothing to do did not fail.
        #expect(
            several.notes.allSatisfy { $0.contains("is left out from here on") && $0.contains("was lost") })
        #expect(several.notes.count <= devices - 1)
    }

    @Test func noDeviceIsLeft() throws {
        for devices in 1...3 {
            #expect {
                try run(devices, seed: 1) { _ in throw DeviceError("The device was lost.") }
            } throws: { error in
                (error as? ExplainError)?.kind == .device && "\(error)".contains("was lost")
            }
        }
    }

    /// Memory that runs out makes batches smaller.
    @Test func memoryRunsOut() throws {
        let alone = try run(1, seed: 3, fault: nil)
        let count = Mutex(0)
        let small = try run(1, seed: 3) { _ in
            let number = count.withLock { count in
                count += 1
                return count
            }
            if number == 2 || number == 4 { throw LimitError("There is no memory.", isMemory: true) }
        }
        #expect(small.found == alone.found)
        #expect(
            small.notes.count == 2 && small.notes.allSatisfy { $0.contains("fewer pictures") },
            "\(small.notes)")
    }

    /// What whoever receives the results throws ends all threads.
    @Test func endedFromOutside() throws {
        struct Stop: Error {}
        let model = try Model(Network(oneConvNetwork().model()), preprocessing: "none")
        let pool = try SessionPool(model, options: options, devices: [.cpu, .cpu])
        for place in 0..<3 {
            var (taken, received) = (0, 0)
            #expect(throws: Stop.self) {
                func next() throws -> [PictureRequest] {
                    taken += 1
                    if place == 0, taken == 9 { throw Stop() }
                    return [PictureRequest(.array((0..<16).map(Float.init), name: "a"))]
                }
                try pool.explain(next: next) { _ in
                    received += 1
                    if place > 0, received == 5 * place { throw Stop() }
                }
            }
        }
    }
}
