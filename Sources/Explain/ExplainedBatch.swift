// What methods are given of a batch.

import Inference

/// A batch of pictures that went forward through the pass that all methods share.
package final class ExplainedBatch {
    package let pass: Pass
    /// The places of the pictures in the batch, which may have room for more.
    package let pictures: Range<Int>
    /// The logits of all classes, of each picture.
    package let logits: [[Float]]
    private let scores: ClassScores
    private var forward: [Int: [[Float]]] = [:]  // by addition
    private var rounds: [[Int]: [Int: [[Float]]]] = [:]  // by classes

    /// The pictures that there is room for.
    package var size: Int { pass.plan.spec.batch }

    /// - Parameter pass: runs forward, or has run.
    init(_ pass: Pass, pictures: Int, scores: ClassScores) throws {
        (self.pass, self.pictures, self.scores) = (pass, 0..<pictures, scores)
        logits = try ExplainedBatch.logits(of: pass, pictures, scores)
    }

    /// The logits of all classes, of each picture, as another pass of the same batch gives them, which stores the network's.
    package func logits(of pass: Pass) throws -> [[Float]] {
        try ExplainedBatch.logits(of: pass, pictures.count, scores)
    }

    private static func logits(of pass: Pass, _ pictures: Int, _ scores: ClassScores) throws -> [[Float]] {
        let (all, count) = (try pass.stored(pass.plan.network.logitsName)!, scores.scores)
        return (0..<pictures).map { scores.logits(Array(all[$0 * count..<($0 + 1) * count])) }
    }

    private func index(_ addition: some PassAddition) -> Int {
        pass.plan.spec.additions.firstIndex { AnyHashable($0) == AnyHashable(addition) }!
    }

    /// What an addition to the pass that reads no gradients made for the batch, in row-major order.
    package func outputs(of addition: some PassAddition) throws -> [[Float]] {
        let index = index(addition)
        if let known = forward[index] { return known }
        let outputs = try pass.addition(index)
        forward[index] = outputs
        return outputs
    }

    /// What an addition that reads gradients made, if the logit of one class of each picture is differentiated. The pass goes back
    /// once for these classes, whoever asks.
    package func outputs(of addition: some PassAddition, classes: [Int]) throws -> [[Float]] {
        let index = index(addition)
        if let known = rounds[classes]?[index] { return known }
        let rest = (size - classes.count) * scores.scores
        try pass.backward(scores.cotangent(classes) + Array(repeating: 0, count: rest))
        var found: [Int: [[Float]]] = [:]
        for (i, other) in pass.plan.spec.additions.enumerated() where other.readsGradients {
            found[i] = try pass.addition(i)
        }
        rounds[classes] = found
        return found[index]!
    }
}
