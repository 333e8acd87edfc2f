// The number that an explanation explains.

import CMicrokernels
import Inference
import Text

/// What is explained of a picture: a number s that the network says of it.
///
/// s is the logit or the probability of a class; or its difference to that of another class (“why this and not that”); or the
/// negative of those (“what speaks against it”).
public struct Target: Hashable, Sendable {
    /// What of a class is meant.
    public enum Scale: String, Sendable, CaseIterable {
        /// The network's score before a final softmax or sigmoid.
        case logit
        /// Softmax of the logits over all classes, or the sigmoid of this one if that is how the network ends.
        case probability
    }

    /// The class, counted from 0.
    public var classIndex: Int
    /// The class whose number is subtracted; nil if none is.
    public var against: Int?
    /// Whether the negative is explained.
    public var isNegative: Bool
    public var scale: Scale

    public init(_ classIndex: Int, against: Int? = nil, isNegative: Bool = false, scale: Scale = .logit) {
        (self.classIndex, self.against) = (classIndex, against)
        (self.isNegative, self.scale) = (isNegative, scale)
    }

    /// How names of files say it: `386`, `386-vs-101`, `not-386`.
    package var fileName: String {
        (isNegative ? "not-" : "") + "\(classIndex)" + (against.map { "-vs-\($0)" } ?? "")
    }

    /// Reads `fileName`.
    package init?(fileName: some StringProtocol) {
        var text = Substring(fileName)
        let isNegative = text.hasPrefix("not-")
        if isNegative { text = text.dropFirst(4) }
        let parts = text.split(separator: "-vs-", omittingEmptySubsequences: false).map { Int($0) }
        guard (1...2).contains(parts.count), let index = parts[0], parts.count == 1 || parts[1] != nil else {
            return nil
        }
        self.init(index, against: parts.count == 2 ? parts[1] : nil, isNegative: isNegative)
        guard self.fileName == fileName else { return nil }
    }
}

/// What a network's scores mean, as numbers to explain.
package struct Scoring: Sendable {
    package let network: Network
    package let scores: ClassScores

    package init(network: Network, scores: ClassScores) { (self.network, self.scores) = (network, scores) }

    package var classes: Int { scores.classes }

    /// The probabilities of all classes, from their logits.
    package func probabilities(_ logits: [Float]) -> [Float] { network.probabilities(logits, of: scores) }

    /// Whether each class has a probability of its own.
    private var isSigmoid: Bool { network.scoreIsSigmoid || scores.isBinary }

    /// The number s of a target, from the logits of all classes.
    package func value(_ target: Target, _ logits: [Float]) -> Float {
        let numbers = target.scale == .logit ? logits : probabilities(logits)
        let s = numbers[target.classIndex] - (target.against.map { numbers[$0] } ?? 0)
        return target.isNegative ? -s : s
    }

    /// ∂s/∂(logits of all classes). Of a probability p = softmax(z), ∂p_t/∂z_j = p_t ([j = t] − p_j).
    package func cotangent(_ target: Target, _ logits: [Float]) -> [Float] {
        var row = [Float](repeating: 0, count: classes)
        var parts: [(index: Int, sign: Float)] = [(target.classIndex, 1)]
        if let other = target.against { parts.append((other, -1)) }
        switch target.scale {
        case .logit: for (index, sign) in parts { row[index] += sign }
        case .probability:
            let p = probabilities(logits)
            for (index, sign) in parts {
                if isSigmoid {
                    row[index] += sign * (p[index] * (1 - p[index]))
                } else {
                    for j in row.indices { row[j] += sign * (p[index] * ((j == index ? 1 : 0) - p[j])) }
                }
            }
        }
        return target.isNegative ? row.map { -$0 } : row
    }

    /// What the differences between two rows of logits are multiplied by so that they add up to that of s: Σ m_j (z_j − z′_j) = s(z) − s(z′). Of a
    /// logit that is its derivative; of a probability, what DeepLIFT's rules make of exp(z_j − log Σ exp(z)) (`DifferenceRule`).
    package func multipliers(_ target: Target, _ logits: [Float], _ others: [Float]) -> [Float] {
        guard target.scale == .probability else { return cotangent(target, logits) }
        func quotient(_ change: Double, _ dx: Double, slope: Double) -> Double {
            abs(dx) < Double(DifferenceRule.leastOfCurves) ? slope : change / dx
        }
        /// exp(z − top), their sum, and log Σ exp(z).
        func powers(_ z: [Float], _ top: Float) -> (each: [Double], sum: Double, logarithm: Double) {
            let each = z.map { Double(wb_host_exp($0 - top)) }
            let sum = each.reduce(0, +)
            return (each, sum, Double(top) + Double(wb_host_log(Float(sum))))
        }
        let (own, other) = (probabilities(logits), probabilities(others))
        let change = logits.indices.map { Double(logits[$0]) - Double(others[$0]) }
        let top = max(logits.max()!, others.max()!)
        let (e, f) = (powers(logits, top), powers(others, top))
        let dL = powers(logits, logits.max()!).logarithm - powers(others, others.max()!).logarithm
        let ofSum = quotient(e.sum - f.sum, dL, slope: e.sum)
        var row = [Double](repeating: 0, count: classes)
        var parts: [(index: Int, sign: Double)] = [(target.classIndex, 1)]
        if let against = target.against { parts.append((against, -1)) }
        for (index, sign) in parts {
            let (p, gain) = (Double(own[index]), Double(own[index]) - Double(other[index]))
            if isSigmoid {
                row[index] += sign * quotient(gain, change[index], slope: p * (1 - p))
                continue
            }
            let m = sign * quotient(gain, change[index] - dL, slope: p)
            row[index] += m
            for j in row.indices {
                row[j] -= m * quotient(e.each[j] - f.each[j], change[j], slope: e.each[j]) / ofSum
            }
        }
        return row.map { Float(target.isNegative ? -$0 : $0) }
    }
}
