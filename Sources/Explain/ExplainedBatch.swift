// What methods are given of a batch.

import Dispatch
import Inference
import Kernels

/// A batch of pictures that went forward through the pass that all methods share.
package final class ExplainedBatch {
    package let pass: Pass
    /// The places of the pictures in the batch, which may have room for more.
    package let pictures: Range<Int>
    /// The logits of all classes, of each picture.
    package let logits: [[Float]]
    package let scoring: Scoring
    private let numbers: Block?
    /// Of the pictures, for sentences.
    package let names: [String]
    private var forward: [Int: [[Float]]] = [:]  // by addition
    private var rounds: [[UInt32]: Round] = [:]  // by the bits of what the pass went back with
    /// What the pass made on a way back.
    private struct Round {
        var additions: [Int: [[Float]]] = [:]
        var gradients: [String: [Float]] = [:]
    }
    private let progress: ((_ done: Double) throws -> Void)?
    /// How long the shared pass went back, whoever asked for it first.
    private(set) var sharedSeconds = 0.0

    /// The pictures that there is room for.
    package var size: Int { pass.plan.spec.batch }

    /// - Parameters:
    ///   - pass: runs forward, or has run.
    ///   - names: of the pictures.
    ///   - numbers: what it was fed, in memory order, for methods that read pixels.
    ///   - progress: is told how much of a method is done, 0 … 1, and may end it.
    init(
        _ pass: Pass, pictures names: [String], scoring: Scoring, numbers: Block? = nil,
        progress: ((_ done: Double) throws -> Void)? = nil
    ) throws {
        (self.pass, self.pictures, self.scoring, self.numbers) = (pass, names.indices, scoring, numbers)
        (self.names, self.progress) = (names, progress)
        logits = try ExplainedBatch.logits(of: pass, names.count, scoring)
    }

    /// The logits of all classes, of each picture, or of the first `count` variants, as another pass gives them, which stores the network's.
    package func logits(of pass: Pass, count: Int? = nil) throws -> [[Float]] {
        try ExplainedBatch.logits(of: pass, count ?? pictures.count, scoring)
    }

    /// The same without a batch.
    static func logits(of pass: Pass, _ pictures: Int, _ scoring: Scoring) throws -> [[Float]] {
        let (all, count) = (try pass.stored(pass.plan.network.logitsName)!, scoring.scores.scores)
        return (0..<pictures).map { scoring.scores.logits(Array(all[$0 * count..<($0 + 1) * count])) }
    }

    /// What the network was fed of a picture, [C, H, W] row by row.
    package func input(_ picture: Int) -> [Float] {
        guard let numbers else { preconditionFailure("Nobody said what the pass was fed.") }
        let shape = pass.tape.shape(pass.plan.input)
        let one = Shape([1] + shape.dims.dropFirst())
        return one.rowMajor(
            Array(UnsafeBufferPointer(start: numbers.pointer + picture * one.count, count: one.count)))
    }

    /// The number that a target stands for.
    package func value(_ target: Target, picture: Int) -> Float { scoring.value(target, logits[picture]) }

    /// Says how much is done by a method that takes the pictures one after the other.
    /// - Parameter done: parts of `parts` of the work for this picture.
    /// - Throws: whatever ends the work.
    package func advance(_ picture: Int, done: Int, of parts: Int) throws {
        try progress?((Double(picture) + Double(done) / Double(parts)) / Double(pictures.count))
    }

    // MARK: The shared pass

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

    /// What an addition that reads gradients made, if the numbers of these targets are differentiated, one of each picture. The pass
    /// goes back once for them, whoever asks.
    package func outputs(of addition: some PassAddition, targets: [Target]) throws -> [[Float]] {
        try outputs(of: addition, cotangents: cotangents(targets))
    }

    /// The same for any function of the logits.
    /// - Parameter cotangents: its derivatives with respect to the logits of all classes, of each picture.
    package func outputs(of addition: some PassAddition, cotangents: [[Float]]) throws -> [[Float]] {
        try back(cotangents).additions[index(addition)]!
    }

    /// The gradient with respect to a value of `PassSpec.gradients`, of the whole batch in row-major order.
    package func gradient(_ name: String, targets: [Target]) throws -> [Float] {
        try back(cotangents(targets)).gradients[name]!
    }

    /// The derivatives of targets, one of each picture, with respect to the logits of all classes.
    package func cotangents(_ targets: [Target]) -> [[Float]] {
        zip(targets, logits).map { scoring.cotangent($0, $1) }
    }

    /// The seed of a pass that goes back.
    /// - Parameters:
    ///   - cotangents: as above; rows that are missing are 0.
    ///   - size: the pass's batch.
    package func seed(_ cotangents: [[Float]], size: Int) -> [Float] {
        let known = cotangents.flatMap(scoring.scores.cotangent(ofLogits:))
        return known + Array(repeating: 0, count: size * scoring.scores.scores - known.count)
    }

    private func back(_ cotangents: [[Float]]) throws -> Round {
        let seed = seed(cotangents, size: size)
        let bits = seed.map(\.bitPattern)
        if let known = rounds[bits] { return known }
        let begin = DispatchTime.now().uptimeNanoseconds
        defer { sharedSeconds += Double(DispatchTime.now().uptimeNanoseconds - begin) * 1e-9 }
        try pass.backward(seed, pictures: pictures.count)
        var round = Round()
        for (i, other) in pass.plan.spec.additions.enumerated() where other.readsGradients {
            round.additions[i] = try pass.addition(i)
        }
        for name in pass.plan.spec.gradients { round.gradients[name] = try pass.gradient(name) }
        rounds[bits] = round
        return round
    }

    /// What a method does for each round of targets: the first of each picture, then the second, ….
    /// - Parameter body: is given a target of each picture, and those pictures that have one in this round; the others repeat their
    ///   first, and nobody looks.
    package func rounds(
        _ targets: [[Target]], _ body: (_ targets: [Target], _ pictures: [Int]) throws -> [Attribution]
    ) rethrows -> [Attribution] {
        try (0..<(targets.map(\.count).max() ?? 0)).flatMap { round in
            try body(
                targets.map { round < $0.count ? $0[round] : $0[0] },
                pictures.filter { round < targets[$0].count })
        }
    }
}
