// What the scores of one picture mean: which classes they stand for, and how sure the network is of each.

import CMicrokernels

/// The classes behind a row of scores.
///
/// Several scores are as many classes. A single score s is that of a binary classifier, whose two classes have the logits −s and s: class 1 is
/// what the network looks for, class 0 everything else.
package struct ClassScores: Sendable {
    /// Scores for each picture.
    package let scores: Int
    package init(scores: Int) { self.scores = scores }

    package var isBinary: Bool { scores == 1 }
    package var classes: Int { isBinary ? 2 : scores }

    /// The logits of all classes, from a row of scores.
    package func logits(_ row: [Float]) -> [Float] { isBinary ? [-row[0], row[0]] : row }

    /// The cotangent of a picture's scores, from that of the logits of all classes.
    package func cotangent(ofLogits row: [Float]) -> [Float] { isBinary ? [row[1] - row[0]] : row }

    /// The cotangent of the scores of several pictures, if the logit of one class of each is differentiated.
    package func cotangent(_ classes: [Int]) -> [Float] {
        classes.flatMap { index in
            var row = [Float](repeating: 0, count: self.classes)
            row[index] = 1
            return cotangent(ofLogits: row)
        }
    }
}

extension Network {
    /// The softmax between the logits and the output of the network, the last if there are several: its operator's name.
    package var softmax: String? {
        var name = outputName
        while name != logitsName, let i = producers[name], let source = nodes[i].inputs.first {
            if case .softmax = nodes[i].operation.role { return nodes[i].type }
            name = source
        }
        return nil
    }

    /// Softmax of the logits, or their sigmoid if that is how the network ends, or if there is one score only. Sums run in
    /// ascending order of the class.
    package func probabilities(_ logits: [Float], of scores: ClassScores) -> [Float] {
        if scoreIsSigmoid || scores.isBinary { return logits.map { wb_host_sigmoid($0) } }
        let largest = logits.max() ?? 0
        let powers = logits.map { wb_host_exp($0 - largest) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    }
}
