// Are the bits the same on every device?

import CMicrokernels
import Glibc
import Kernels

/// The first number in which two devices differ.
package struct Difference: Sendable {
    /// The value, such as `layer4.relu` or `gradient of fc`.
    package let name: String
    package let device: String, reference: String
    package let index: Int
    package let bits: UInt32, referenceBits: UInt32
    /// How many numbers of this value differ, and how many there are.
    package let count: Int, total: Int
}

/// What was compared.
package struct Verification: Sendable {
    package let values: Int
    package let numbers: Int
    /// The first difference in the order of the computation; nil if there is none.
    package let difference: Difference?
}

extension Network {
    /// Runs every layer forward, and the gradient of the logit of each picture's best class backward to the input, on each device,
    /// and compares the bit patterns of every value with those of the first device.
    ///
    /// Two NaNs count as equal whatever their payload: IEEE 754 leaves that open, and no result depends on it.
    /// - Parameters:
    ///   - values: pictures as the network takes them, in row-major order.
    ///   - batch: how many pictures they are.
    ///   - report: is told of each device but the first, once it has been compared.
    package func verify(
        _ values: [Float], batch: Int, height: Int?, width: Int?, on devices: [Device],
        report: (Verification, Device) throws -> Void = { _, _ in }
    ) throws -> Verification {
        let (plan, watched) = try verificationPlan(batch: batch, height: height, width: width)
        let shape = plan.tape.shape(plan.input)
        guard values.count == shape.count else {
            throw NetworkError(
                .input,
                "The pictures have \(values.count) numbers; the network takes \(shape), which is \(shape.count)."
            )
        }
        var cotangent: [Float] = []
        var reference: [[Float]] = []
        var numbers = 0
        var firstDifference: Difference?
        for (d, device) in devices.enumerated() {
            let pass = try Engine(self, on: LoadedDevice(device)).pass(plan)
            try pass.feed(values)
            try pass.forward()
            if d == 0 {
                // Every device explains the class that the first one finds.
                let scores = try pass.stored(logitsName)!
                let classes = scores.count / batch
                cotangent = Array(repeating: 0, count: scores.count)
                for i in 0..<batch {
                    let row = scores[i * classes..<(i + 1) * classes]
                    cotangent[row.indices.max { row[$0] < row[$1] } ?? row.startIndex] = 1
                }
            }
            try pass.backward(cotangent)
            var own = 0
            var difference: Difference?
            for (k, item) in watched.enumerated() {
                let found = try pass.executor.memoryOrder(item.value)
                own += found.count
                if d == 0 {
                    reference.append(found)
                    continue
                }
                let expected = reference[k]
                if difference != nil || Network.haveEqualBytes(found, expected) { continue }
                let different = found.indices.filter {
                    found[$0].bitPattern != expected[$0].bitPattern
                        && !(found[$0].isNaN && expected[$0].isNaN)
                }
                if let first = different.first {
                    difference = Difference(
                        name: item.name, device: device.description, reference: devices[0].description,
                        index: first,
                        bits: found[first].bitPattern, referenceBits: expected[first].bitPattern,
                        count: different.count,
                        total: found.count)
                }
            }
            numbers += own
            firstDifference = firstDifference ?? difference
            if d > 0 {
                try report(Verification(values: watched.count, numbers: own, difference: difference), device)
            }
        }
        return Verification(values: watched.count, numbers: numbers, difference: firstDifference)
    }

    private static func haveEqualBytes(_ a: [Float], _ b: [Float]) -> Bool {
        a.withUnsafeBytes { a in
            b.withUnsafeBytes { b in
                a.count == b.count && memcmp(a.baseAddress!, b.baseAddress!, a.count) == 0
            }
        }
    }

    /// A plan that stores everything, so that the first difference can be named.
    private func verificationPlan(
        batch: Int, height: Int?, width: Int?
    ) throws -> (plan: PassPlan, watched: [(name: String, value: Value)]) {
        let path = path(from: [inputName])
        let targets =
            [inputName]
            + path.filter { nodes[$0].merged == nil }.flatMap { nodes[$0].outputs }
            .filter { $0 != logitsName }
        let reachable = Set(path.flatMap { nodes[$0].inputs })
        var spec = PassSpec(batch: batch, height: height, width: width)
        spec.stored = Set(valueNames + [logitsName])
        spec.gradients = targets.filter { reachable.contains($0) }
        let plan = try PassPlan(spec, of: self)
        let watched =
            valueNames.compactMap { name in plan.stored[name].map { (name, $0) } }
            + targets.reversed().compactMap { name in
                plan.gradients[name].map { ("gradient with respect to \(name)", $0) }
            }
        return (plan, watched)
    }
}
