// An engine's passes: they share weights and memory, keep what is theirs, and give the bits of a pass that is alone.

import Explain
import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct EngineTests {
    private static let devices = [Devices.all[0], Devices.cpus[1]] + Devices.openCL

    /// A residual network with a wide last layer: `body` is where its tail begins, `inner` lies beside a sum that leads around it.
    private func network() throws -> (network: Network, body: String, inner: String, merged: String) {
        var net = SmallNetwork("engine")
        let start = net.relu(net.conv("image", 3, 32))
        let merged = net.conv(start, 32, 32, bias: false)
        let inner = net.relu(net.batchNorm(merged, 32))
        let body = net.relu(net.node("Add", [net.conv(inner, 32, 32), start]))
        let scores = net.gemm(net.node("Flatten", [net.pooled(net.conv(body, 32, 64, stride: 2))]), 64, 6)
        net.output(scores)
        return (try Network(net.model()), body, inner, merged)
    }

    private func spec(batch: Int = 2, _ change: (inout PassSpec) -> Void = { _ in }) -> PassSpec {
        var spec = PassSpec(batch: batch)
        change(&spec)
        return spec
    }

    private func same(_ a: [Float]?, _ b: [Float]?) -> Bool {
        a != nil && a?.map(\.bitPattern) == b?.map(\.bitPattern)
    }

    /// The tail, fed what lies in the middle of the whole network, gives the whole network's logits and gradients; and what a pass
    /// keeps stays while others run.
    @Test(arguments: devices)
    func tailsGiveTheSameBits(_ device: TestDevice) throws {
        let (network, body, _, _) = try network()
        let engine = Engine(network, on: try LoadedDevice(device.device))
        let logits = network.logitsName
        let whole = try engine.pass(spec { $0.stored = [logits, body] })
        let back = try engine.pass(spec { ($0.stored, $0.gradients) = ([logits], [body, "image"]) })
        let tail = try engine.pass(spec { ($0.feed, $0.stored, $0.gradients) = (body, [logits], [body]) })
        #expect(tail.tape.steps.count < whole.tape.steps.count + 8)
        try whole.feed(pictures(2))
        try whole.forward()
        let expected = try whole.stored(logits)
        let seed = (0..<12).map { Float($0 % 5) - 1.5 }

        try tail.feed(from: whole, body)
        try tail.forward()
        #expect(same(try tail.stored(logits), expected))
        try back.feed(pictures(2))
        try back.forward()
        try back.backward(seed)
        try tail.backward(seed)
        #expect(same(try tail.gradient(body), try back.gradient(body)))
        #expect(same(try whole.stored(logits), expected))

        // From the host, many times, each time something else; and then once more the first.
        let numbers = try #require(try whole.stored(body))
        for i in 0..<20 {
            try tail.feed(numbers.map { $0 * Float(i) })
            try tail.forward()
            #expect(same(try tail.stored(logits), expected) == (i == 1))
        }
        try whole.feed(pictures(2))
        try whole.forward()
        #expect(same(try whole.stored(logits), expected))
        #expect(try back.gradient("image")?.contains { $0 != 0 } == true)
    }

    /// Weights are there once, but for those that a gradient needs in another order.
    @Test(arguments: devices)
    func weightsAreHeldOnce(_ device: TestDevice) throws {
        let (network, body, _, _) = try network()
        let loaded = try LoadedDevice(device.device)
        let engine = Engine(network, on: loaded)
        let logits = network.logitsName
        _ = try engine.pass(spec { $0.stored = [logits] })
        let once = loaded.weightBytes
        #expect(once > 4 * (3 * 32 * 9 + 2 * 32 * 32 * 9 + 32 * 64 * 9))
        let working = loaded.workingBytes
        _ = try engine.pass(spec { ($0.feed, $0.stored) = (body, [logits]) })
        _ = try engine.pass(spec(batch: 1) { $0.stored = [body] })
        #expect(loaded.weightBytes == once)
        #expect(loaded.workingBytes == working)
        let back = spec { ($0.stored, $0.gradients) = ([logits], ["image"]) }
        _ = try engine.pass(back)
        let both = loaded.weightBytes
        #expect(both > once && both < 3 * once)
        _ = try engine.pass(spec(batch: 1) { ($0.stored, $0.gradients) = ([logits], ["image"]) })
        #expect(loaded.weightBytes == both)
        #expect(try engine.pass(back) === engine.pass(back))
    }

    /// Weights go with the last pass that reads them.
    @Test func weightsGoWithTheirPasses() throws {
        let (network, _, _, _) = try network()
        let loaded = try LoadedDevice(.cpu(CPU(threads: 1)))
        let engine = Engine(network, on: loaded)
        let spec = spec { $0.stored = [network.logitsName] }
        _ = try engine.pass(spec)
        #expect(loaded.weightBytes > 0 && loaded.workingBytes > 0)
        engine.forget(spec)
        #expect(loaded.weightBytes == 0 && loaded.workingBytes == 0)
        let pass = try engine.pass(spec)
        try pass.feed(pictures(2))
        try pass.forward()
        #expect(try pass.stored(network.logitsName)?.count == 12)
    }

    /// A pass that was loaded before a larger one finds its way in the memory that has grown since.
    @Test(arguments: devices)
    func workingMemoryGrows(_ device: TestDevice) throws {
        let (network, _, _, _) = try network()
        let loaded = try LoadedDevice(device.device)
        let engine = Engine(network, on: loaded)
        let logits = network.logitsName
        func logitsOf(_ pass: Pass, _ batch: Int) throws -> [Float]? {
            try pass.feed(pictures(batch))
            try pass.forward()
            return try pass.stored(logits)
        }
        let small = try engine.pass(spec(batch: 1) { $0.stored = [logits] })
        let first = try logitsOf(small, 1)
        let working = loaded.workingBytes
        let large = try engine.pass(spec(batch: 16) { $0.stored = [logits] })
        #expect(loaded.workingBytes > working)
        #expect(same(try logitsOf(small, 1), first))
        let all = try logitsOf(large, 16)
        #expect(same(Array(all![..<6]), first))
        engine.device.releaseWorkingMemory()
        #expect(same(try logitsOf(small, 1), first))
        #expect(same(try logitsOf(large, 16), all))
    }

    @Test func noWayAround() throws {
        let (network, _, inner, _) = try network()
        let spec = spec { ($0.feed, $0.stored) = (inner, [network.logitsName]) }
        do {
            _ = try PassPlan(spec, of: network)
            Issue.record("A tail that needs more than it is fed was planned.")
        } catch let error as NetworkError {
            #expect(error.description.contains(inner) && error.description.contains("around"))
        }
    }

    /// The output of a convolution that is merged with the normalisation after it: fed that, the tail normalises by itself.
    @Test func tailOfAMergedConvolution() throws {
        var net = SmallNetwork("merged tail")
        let conv = net.conv("image", 3, 16, bias: false)
        let scores = net.gemm(
            net.node("Flatten", [net.pooled(net.relu(net.batchNorm(conv, 16)))]), 16, 6)
        net.output(scores)
        let network = try Network(net.model())
        let engine = Engine(network, on: try LoadedDevice(.cpu(CPU(threads: 1))))
        let whole = try engine.pass(spec { $0.stored = [conv, network.logitsName] })
        let tail = try engine.pass(spec { ($0.feed, $0.stored) = (conv, [network.logitsName]) })
        try whole.feed(pictures(2))
        try whole.forward()
        try tail.feed(from: whole, conv)
        try tail.forward()
        let (a, b) = (
            try #require(try whole.stored(network.logitsName)),
            try #require(try tail.stored(network.logitsName))
        )
        #expect(zip(a, b).allSatisfy { abs($0 - $1) < 1e-5 } && a.count == b.count)
    }

    /// A changed backward rule, as a method would bring it.
    @Test(arguments: devices)
    func backwardRulesAreData(_ device: TestDevice) throws {
        let (network, body, _, _) = try network()
        let engine = Engine(network, on: try LoadedDevice(device.device))
        let plain = try engine.pass(spec { $0.gradients = [body, "image"] })
        let guided = try engine.pass(
            spec {
                $0.gradients = [body, "image"]
                $0.add(rule: ClipRule.guided)
            })
        #expect(plain !== guided)
        for pass in [plain, guided] {
            try pass.feed(pictures(2))
            try pass.forward()
            try pass.backward((0..<12).map { $0 % 6 == 1 ? 1 : 0 })
        }
        // No Relu lies behind the body; all do before it.
        #expect(same(try plain.gradient(body), try guided.gradient(body)))
        #expect(!same(try plain.gradient("image"), try guided.gradient("image")))
    }
}
