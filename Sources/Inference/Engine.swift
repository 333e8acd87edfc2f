// A network on a device, and its passes.

import Kernels

/// Plans, loads and keeps the passes of a network on one device. They share the weights and the memory that they work in.
///
/// It belongs to one thread at a time, together with its passes.
package final class Engine {
    package let network: Network
    package let device: LoadedDevice
    private var passes: [PassSpec: Pass] = [:]

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
        let pass = Pass(plan, try device.load(plan.tape, keeping: plan.kept))
        passes[plan.spec] = pass
        return pass
    }

    /// Lets a pass go, with the memory that only it needed.
    package func forget(_ spec: PassSpec) {
        passes[spec] = nil
        device.releaseWorkingMemory()
    }
}

/// A pass that is loaded on a device. What can be read of it stays until it runs again, whatever else the engine does.
package final class Pass {
    package let plan: PassPlan
    /// For those who time its steps.
    package let executor: any Executor
    package var tape: Tape { plan.tape }

    fileprivate init(_ plan: PassPlan, _ executor: any Executor) {
        (self.plan, self.executor) = (plan, executor)
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
    package func forward() throws { try executor.start(tape.stage(0)) }

    /// Begins the stage that goes back.
    /// - Parameter cotangent: of the logits, in row-major order: such as 1 at a class and 0 elsewhere, for each picture.
    package func backward(_ cotangent: [Float]) throws {
        guard let seed = plan.seed else {
            preconditionFailure("A pass that differentiates nothing goes nowhere back.")
        }
        try plan.logits.memoryOrder(cotangent).withUnsafeBufferPointer { try executor.write(seed, from: $0) }
        try executor.start(tape.stage(1))
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
