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
        let (plan, seed, watched) = try verificationPlan(batch: batch, height: height, width: width)
        let shape = plan.tape.shape(plan.input)
        guard values.count == shape.count else {
            throw NetworkError(
                .input,
                "The pictures have \(values.count) numbers; the network takes \(shape), which is \(shape.count)."
            )
        }
        let memory = shape.memoryOrder(values)
        let logits = try plan.logits
        var seedValues: [Float] = []
        var reference: [[Float]] = []
        var numbers = 0
        var firstDifference: Difference?
        for (d, device) in devices.enumerated() {
            let executor = try device.load(plan.tape, keeping: watched.map(\.value))
            try memory.withUnsafeBufferPointer { try executor.write(plan.input, from: $0) }
            try executor.run(plan.tape.stage(0))
            if d == 0 {
                // Every device explains the class that the first one finds.
                let scores = try executor.memoryOrder(logits)
                let classes = scores.count / batch
                seedValues = Array(repeating: 0, count: scores.count)
                for i in 0..<batch {
                    let row = scores[i * classes..<(i + 1) * classes]
                    let best = row.indices.max { row[$0] < row[$1] } ?? row.startIndex
                    seedValues[best] = 1
                }
            }
            try seedValues.withUnsafeBufferPointer { try executor.write(seed, from: $0) }
            try executor.run(plan.tape.stage(1))
            var own = 0
            var difference: Difference?
            for (k, item) in watched.enumerated() {
                let found = try executor.memoryOrder(item.value)
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
    ) throws -> (plan: Planner, seed: Value, watched: [(name: String, value: Value)]) {
        var plan = try Planner(
            self, batch: batch, height: height, width: width, stored: Set(valueNames),
            differentiated: [inputName])
        var watched: [(name: String, value: Value)] = []
        for name in valueNames {
            if let value = try? plan.value(name) { watched.append((name, value)) }
        }
        plan.tape.beginStage()
        let seed = plan.tape.input(plan.tape.shape(try plan.logits))
        let path = path(from: [inputName])
        let targets =
            [inputName]
            + path.filter { nodes[$0].merged == nil }.flatMap { nodes[$0].outputs }
            .filter { $0 != logitsName }
        let reachable = Set(path.flatMap { nodes[$0].inputs })
        let gradients = try plan.gradients(seed: seed, of: targets.filter { reachable.contains($0) })
        for name in targets.reversed() {
            if let value = gradients[name] { watched.append(("gradient with respect to \(name)", value)) }
        }
        return (plan, seed, watched)
    }
}
