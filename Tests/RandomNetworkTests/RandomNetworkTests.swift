// Random networks over every operator: the right numbers, the same bits everywhere, the right gradients.
//
// For each network:
// - every value that the program stores is, but for the rounding of its own node, what double precision makes of that node's inputs;
// - every value is what double precision makes of the whole network, within what small relative errors of all constants, results and terms
//   do to it; and double precision's is ONNX Runtime's, within what that one's own errors do to it;
// - every value and every gradient has the same bits on all devices, stored or fused, in a batch of 3 or alone;
// - gradients of a class's logit with respect to the input and to a value inside are the slopes of the double-precision network.
//
// `make random-networks COUNT=1000 SEED=2` runs more; what fails says how to run it alone.

import Foundation
import Inference
import Kernels
import ONNX
import RandomNetworks
import Synchronization
import TestSupport
import Testing

@Suite struct RandomNetworkTests {
    /// Which networks: those of `make test`, or what the environment asks for.
    private enum Asked {
        private static func number(_ name: String) -> Int? {
            ProcessInfo.processInfo.environment["WHITEBOX_RANDOM_" + name].flatMap { Int($0) }
        }
        static let seed = number("SEED") ?? 1
        static let first = number("FIRST") ?? 0
        static let count = number("COUNT") ?? 200
        /// ONNX Runtime starts once for each of these.
        static let pieces = stride(from: first, to: first + count, by: 25).map {
            $0..<min($0 + 25, first + count)
        }
    }

    private static let slopes = Mutex(RandomNetworkCheck.Slopes())

    @Test(arguments: Asked.pieces) func agree(_ numbers: Range<Int>) throws {
        if let problem = Devices.openCLProblem { Issue.record("\(problem)") }
        let networks = numbers.map { RandomNetwork(seed: Asked.seed, number: $0) }
        let others = try RuntimeNumbers(networks)
        defer { others.remove() }
        var slopes = RandomNetworkCheck.Slopes()
        for network in networks {
            var check = RandomNetworkCheck(network)
            do {
                try check.run(others, &slopes)
            } catch {
                check.problems.append("\(error)")
            }
            if check.problems.isEmpty { continue }
            Issue.record(
                """
                \(network.description)
                \(check.problems.prefix(3).joined(separator: "\n"))
                To run it alone: make random-networks SEED=\(network.seed) FIRST=\(network.number) COUNT=1
                """)
        }
        let soFar = Self.slopes.withLock { all in
            all.taken += slopes.taken
            all.skipped += slopes.skipped
            return all
        }
        // A share says nothing about a few.
        #expect(
            soFar.taken < 500 || 10 * soFar.skipped <= soFar.taken,
            "Too many gradients met a kink: \(soFar)")
        if ProcessInfo.processInfo.environment["WHITEBOX_RANDOM_VERBOSE"] != nil {
            print("networks \(numbers): \(slopes) \(RandomNetworkCheck.ratios.withLock { $0 })")
        }
    }

    /// The networks of `make test` have every operator and operator set, and what their plans reach is reached: Winograd's two tiles, sums
    /// that take the place of their term, there and elsewhere, cascades, merged normalisations and those left alone, narrow groups.
    @Test func everythingOccurs() throws {
        var types: Set<String> = []
        var opsets: Set<Int> = []
        var kernels: Set<String> = []
        var sides: Set<Int> = []
        var (open, inPlace, others, cascades) = (0, 0, 0, 0)
        for number in 0..<200 {
            let network = RandomNetwork(seed: 1, number: number)
            let model = try network.model()
            for node in model.graph.nodes { types.insert(node.opType) }
            opsets.insert(network.opset)
            if network.isOpen { open += 1 }
            let dims = network.inputDims
            let plan = try Planner(
                Network(model), batch: 1, height: dims.count == 4 ? dims[2] : nil,
                width: dims.count == 4 ? dims[3] : nil)
            for step in plan.tape.steps {
                kernels.insert(step.kernel)
                if let winograd = step as? Winograd {
                    sides.insert(winograd.side)
                    if step.overwrites != nil { inPlace += 1 }
                } else if step.overwrites != nil {
                    others += 1
                }
            }
            cascades +=
                Cascade.all(in: plan.tape, keeping: [try plan.logits], threads: 1, cache: 16 << 10).count
        }
        // Those that came later have seeded cases of their own (KernelsTests/RandomCases.swift).
        #expect(types.count >= 48 && types.isSubset(of: Set(OperatorList.all.map { $0.name })))
        #expect(opsets == Set(7...22))
        #expect((50...150).contains(open))
        #expect(sides == [2, 4])
        #expect(inPlace >= 5 && others >= 5 && cascades >= 5, "\(inPlace), \(others), \(cascades)")
        #expect(kernels.isSuperset(of: ["convolution", "winograd", "depthwise", "product"]), "\(kernels)")
    }

    /// The same networks for ever: what was reported once can be looked at later.
    @Test func networksStayTheSame() throws {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for number in 0..<20 {
            let network = RandomNetwork(seed: 1, number: number)
            for byte in network.builder.data() { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
            for value in network.pictures { hash = (hash ^ UInt64(value.bitPattern)) &* 0x100_0000_01b3 }
        }
        #expect(hash == 7_575_576_576_380_447_895, "Random networks are others than they were: \(hash)")
    }
}
