// The gradient of the best logit with respect to the pixels: what gradient methods spend their time on, for `app bench`.

import Foundation
import Imaging
import Inference
import Kernels

/// A model made ready to differentiate each picture's largest logit with respect to its input.
final class InputGradient {
    let device: String
    let tape: Tape
    let executor: any Executor
    private let input: Value, logits: Value, seed: Value, gradient: Value

    init(_ model: Model, options: Options) throws {
        do {
            var plan = try Planner(
                model.network, batch: max(1, options.batch), height: model.inputHeight,
                width: model.inputWidth, differentiated: [model.network.inputName])
            (input, logits) = (plan.input, try plan.logits)
            plan.tape.beginStage()
            seed = plan.tape.input(plan.tape.shape(logits))
            gradient = try plan.gradients(seed: seed, of: [model.network.inputName])[model.network.inputName]!
            plan.tape.dropDeadSteps(keeping: [logits, gradient])
            tape = plan.tape
            let opened = try options.openDevice()
            device = opened.device.description
            executor = try opened.device.load(tape, keeping: [logits, gradient])
        } catch {
            throw ExplainError(error, .model)
        }
    }

    /// Gradients [N, C, H, W] for pictures of that shape, both in row-major order.
    func compute(_ values: [Float]) throws -> [Float] {
        do {
            let shape = tape.shape(input)
            try shape.memoryOrder(values).withUnsafeBufferPointer { try executor.write(input, from: $0) }
            try executor.run(tape.stage(0))
            let scores = try executor.memoryOrder(logits)
            let classes = scores.count / shape.dims[0]
            var cotangent = [Float](repeating: 0, count: scores.count)
            for begin in stride(from: 0, to: scores.count, by: classes) {
                cotangent[begin + ExplanationSession.best(1, of: Array(scores[begin..<begin + classes]))[0]] =
                    1
            }
            try cotangent.withUnsafeBufferPointer { try executor.write(seed, from: $0) }
            try executor.run(tape.stage(1))
            return shape.rowMajor(try executor.memoryOrder(gradient))
        } catch {
            throw ExplainError(error, .device)
        }
    }
}
