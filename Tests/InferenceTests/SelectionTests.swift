// What a selection leaves out is not computed, and what is left has the bits that it has beside the rest.

import Inference
import Kernels
import ONNX
import TestSupport
import Testing

@Suite struct SelectionTests {
    /// Logits and the gradient with respect to a value, with and without all other values stored, which must all be there as wholes then;
    /// and the operations that each takes.
    private func compare(
        _ network: Network, batch: Int, target: String, seed: Int, on device: Device
    ) throws -> (isSame: Bool, work: Double, wholeWork: Double) {
        var random = SeededRandom("selection \(seed)")
        let dims = try network.inputShape(batch: batch).dims
        let numbers = (0..<dims.reduce(1, *)).map { _ in random.float(-1, 1) }
        func run(_ others: Set<String>) throws -> (bits: [[UInt32]], work: Double) {
            var spec = PassSpec(batch: batch)
            spec.stored = others.union([network.logitsName])
            spec.gradients = [target]
            let pass = try Engine(network, on: LoadedDevice(device)).pass(spec)
            try pass.feed(numbers)
            try pass.forward()
            let logits = try #require(try pass.stored(network.logitsName))
            try pass.backward(logits.indices.map { Float($0 % 3) - 0.5 })
            let gradient = try #require(try pass.gradient(target))
            // +0 and −0 are the same number.
            return ([logits.map(\.bitPattern), gradient.map { ($0 + 0).bitPattern }], pass.tape.work)
        }
        let all = Set(network.model.graph.nodes.flatMap(\.outputs))
        let (part, whole) = (try run([]), try run(all))
        return (part.bits == whole.bits, part.work, whole.work)
    }

    @Test(arguments: Devices.all)
    func partsHaveTheBitsOfWholes(_ device: TestDevice) throws {
        var less = 0
        var count = 0
        for number in 0..<160 {
            let made = RandomAxes(number, selects: true)
            guard made.isWhole else { continue }
            let network = try Network(made.model())
            let found = try compare(
                network, batch: RandomAxes.batch, target: "image", seed: number, on: device.device)
            #expect(found.isSame, "\(number)")
            // Steps that store more are work too, of which there is little.
            less += found.work < 0.9 * found.wholeWork ? 1 : 0
            count += 1
        }
        #expect(less > count / 4, "\(less) of \(count)")
    }

    @Test(arguments: 0..<24)
    func classTokens(_ number: Int) throws {
        let made = RandomTransformer(number)
        let network = try Network(made.net.model())
        let layer = try network.layer(named: "auto", of: network.layers()).layer
        let found = try compare(
            network, batch: 1, target: layer.value, seed: number, on: Devices.all[0].device)
        #expect(found.isSame)
        if made.readsExtra { #expect(found.work < 0.9 * found.wholeWork) }
    }
}
