// A network on a device, and its passes.

import Kernels

/// Plans, loads and keeps the passes of a network on one device. They share the weights and the memory that they work in.
///
/// It belongs to one thread at a time, together with its passes.
package final class Engine {
    package let network: Network
    package let device: LoadedDevice
    private var passes: [PassSpec: Pass] = [:]
    /// What was computed so far, in pictures: how many went forward, whole or from a layer on, and how many came back.
    package let count = PassCount()

    package init(_ network: Network, on device: LoadedDevice) {
        (self.network, self.device) = (network, device)
    }

    /// The pass that computes what a spec says, ready to run. It stays loaded.
    package func pass(_ spec: PassSpec) throws -> Pass {
        try passes[spec] ?? pass(PassPlan(spec, of: network))
    }

    /// The same from a plan that is there already.
    package func pass(_ plan: PassPlan) throws -> Pass {
        if let pass = passes[plan.spec] { return pass }
        let pass = Pass(plan, try device.load(plan.tape, keeping: plan.kept), count)
        passes[plan.spec] = pass
        return pass
    }

    /// A pass of as many pictures as the device's memory has room for: at most `most`, or half of them, and so on; of one, if the network
    /// makes pictures of a batch depend on each other. It is to be fed anew.
    /// - Parameter spec: of a batch of so many.
    package func pass(ofAtMost most: Int, _ spec: (_ batch: Int) -> PassSpec) throws -> Pass {
        var batch = joinsPictures[spec(most).feed] == true ? 1 : most
        while true {
            let spec = spec(batch)
            do {
                let pass = try pass(spec)
                // A batch of one may still be a pair, and whoever asked for that decides what follows.
                guard batch > 1, try joinsPictures(in: pass) else { return pass }
                forget(spec)
                batch = 1
            } catch  where batch > 1 && isOutOfMemory(error) {
                forget(spec)
                batch = (batch + 1) / 2
            }
        }
    }

    /// Whether the network, or its tail from a value on, makes pictures of a batch depend on each other. It is tried once.
    private var joinsPictures: [String?: Bool] = [:]

    /// The same of what a pass computes.
    package func joinsPictures(in pass: Pass) throws -> Bool {
        let spec = pass.plan.spec
        guard spec.batch > 1 else { return false }
        if let known = joinsPictures[spec.feed] { return known }
        let joins = try network.keepsPicturesApart(spec) ? false : triesToJoin(spec)
        joinsPictures[spec.feed] = joins
        return joins
    }

    /// Whether any picture of a batch has other scores than alone. They are tried at several scales, those of prepared pictures and of bare ones:
    /// a network may be deaf to numbers of one.
    private func triesToJoin(_ spec: PassSpec) throws -> Bool {
        // Passes of its own: others may still be read.
        func bare(_ batch: Int) throws -> Pass {
            var bare = PassSpec(batch: batch, height: spec.height, width: spec.width)
            (bare.feed, bare.stored) = (spec.feed, [network.logitsName])
            let plan = try PassPlan(bare, of: network)
            return Pass(plan, try device.load(plan.tape, keeping: plan.kept))
        }
        let all = try bare(spec.batch)
        // A file may be made for several pictures only, which are then compared with themselves among others.
        let alone = try? bare(1)
        return try [Float(1), 4, 300].contains { scale in
            let samples = Array(0..<spec.batch)
            let scores = try all.scores(samples, scale: scale)
            guard let alone else {
                return try samples.contains { i in
                    let others = samples.map { $0 == i ? i : spec.batch + $0 }
                    return try all.scores(others, scale: scale)[i] != scores[i]
                }
            }
            return try samples.contains { try alone.scores([$0], scale: scale)[0] != scores[$0] }
        }
    }

    /// Lets a pass go, with the memory that only it needed.
    package func forget(_ spec: PassSpec) {
        passes[spec] = nil
        device.releaseWorkingMemory()
    }
}

/// How many pictures went through the passes of an engine.
package final class PassCount {
    package fileprivate(set) var forward = 0, backward = 0
}

/// A pass that is loaded on a device. What can be read of it stays until it runs again, whatever else the engine does.
package final class Pass {
    package let plan: PassPlan
    /// For those who time its steps.
    package let executor: any Executor
    package var tape: Tape { plan.tape }
    private let count: PassCount

    fileprivate init(_ plan: PassPlan, _ executor: any Executor, _ count: PassCount = PassCount()) {
        (self.plan, self.executor, self.count) = (plan, executor, count)
    }

    // MARK: Feeding

    /// Feeds numbers, in row-major order.
    /// - Parameter index: which of the values that the pass's source takes.
    package func feed(_ numbers: [Float], at index: Int = 0) throws {
        let input = plan.inputs[index]
        try tape.shape(input).memoryOrder(numbers).withUnsafeBufferPointer {
            try executor.write(input, from: $0)
        }
    }

    /// Feeds a value that another pass of the engine stored; it does not leave the device.
    package func feed(from other: Pass, _ name: String) throws {
        guard let source = other.plan.stored[name] else {
            preconditionFailure("The pass does not store “\(name)”.")
        }
        precondition(tape.shape(plan.input) == other.tape.shape(source), "Another batch, or another value.")
        try executor.copy(plan.input, from: source, of: other.executor)
    }

    /// Memory from which the input comes, batch after batch.
    package func slot() throws -> any InputSlot { try executor.slot(for: plan.input) }

    /// Feeds what lies in a slot.
    package func feed(_ slot: any InputSlot) throws { try executor.take(slot, as: plan.input) }

    // MARK: Running

    /// Begins the forward stage; reading waits for it where the device goes on by itself.
    /// - Parameter pictures: how many are counted: the others only fill the batch up. All if nil.
    package func forward(pictures: Int? = nil) throws {
        count.forward += pictures ?? plan.spec.batch
        try executor.start(tape.stage(0))
    }

    /// Begins the stage that goes back.
    /// - Parameters:
    ///   - cotangent: of the logits, in row-major order: such as 1 at a class and 0 elsewhere, for each picture.
    ///   - pictures: how many are counted, as above.
    package func backward(_ cotangent: [Float], pictures: Int? = nil) throws {
        guard let seed = plan.seed else {
            preconditionFailure("A pass that differentiates nothing goes nowhere back.")
        }
        try tape.shape(seed).memoryOrder(cotangent).withUnsafeBufferPointer {
            try executor.write(seed, from: $0)
        }
        count.backward += pictures ?? plan.spec.batch
        try executor.start(tape.stage(1))
    }

    /// The scores of numbers that nobody chose, by picture: NaNs are equal.
    fileprivate func scores(_ samples: [Int], scale: Float) throws -> [ArraySlice<UInt32>] {
        /// −scale … scale, scattered over the numbers by their bits (the finaliser of MurmurHash3).
        func number(_ sample: Int, _ place: Int) -> Float {
            var word = UInt32(truncatingIfNeeded: sample &* 0x1_0001 &+ place &* 0x9E37_79B9)
            word = (word ^ word >> 16) &* 0x85EB_CA6B
            word = (word ^ word >> 13) &* 0xC2B2_AE35
            return Float(Int32(bitPattern: word ^ word >> 16)) * 0x1p-31 * scale
        }
        let size = tape.shape(plan.input).count / samples.count
        try feed(samples.flatMap { sample in (0..<size).map { number(sample, $0) } })
        try forward()
        let all = try stored(plan.network.logitsName)!.map { $0.isNaN ? .max : $0.bitPattern }
        let row = all.count / samples.count
        return samples.indices.map { all[$0 * row..<($0 + 1) * row] }
    }

    // MARK: Reading

    /// A value of `spec.stored`, in row-major order; nil if it is not computed.
    package func stored(_ name: String) throws -> [Float]? { try plan.stored[name].map(read) }

    /// The gradient with respect to one of `spec.gradients`, in row-major order.
    package func gradient(_ name: String) throws -> [Float]? { try plan.gradients[name].map(read) }

    /// What addition `index` made, in row-major order.
    package func addition(_ index: Int) throws -> [[Float]] { try plan.additions[index].map(read) }

    private func read(_ value: Value) throws -> [Float] {
        tape.shape(value).rowMajor(try executor.memoryOrder(value))
    }
}
