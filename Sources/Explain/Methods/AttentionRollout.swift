// Attention rollout, and its gradient-weighted form: what reaches the token that is read, through the attention of all blocks.

import Inference
import Kernels

/// What methods share that follow the attention of a transformer from the token that is read back to the patches.
package protocol AttentionMethod: Explainer {
    var attentions: Attentions { get }
    var title: String { get }
    /// What a block passes on beside what stays: the T×T matrix B of R ← (1 + B) R, row by row, from its probabilities and, if the method knows
    /// classes, their gradient, [heads, T, T] both.
    func block(_ attention: ArraySlice<Float>, gradient: ArraySlice<Float>?, heads: Int) -> [Float]
    /// What is multiplied to 1 + B.
    var share: Float { get }
}

extension AttentionMethod {
    package static var family: MethodFamily { .attention }
    package static var sign: MapSign { .magnitude }
    package var title: String { Self.title }
    package var share: Float { 1 }

    /// - Throws: `ExplainError` of kind `method` if the network has no such attention.
    static func attentions(_ subject: ExplainedNetwork) throws -> Attentions {
        do {
            return try subject.network.attentions(height: subject.input.dims[2], width: subject.input.dims[3])
        } catch let error as NetworkError where error.kind == .noSuchLayer {
            throw ExplainError(
                .method,
                "\(title) follows the attention of a transformer, and \(subject.network.model.path) is none that it could follow: \(error.description); "
                    + "take Grad-CAM, or a method that explains pixels.")
        }
    }

    package var grid: Attribution.Grid {
        .layers(["attention"], height: attentions.tokens.height, width: attentions.tokens.width)
    }

    package func request(_ spec: inout PassSpec) {
        spec.stored.formUnion(attentions.values)
        guard Self.isClassSpecific else { return }
        for name in attentions.values where !spec.gradients.contains(name) { spec.gradients.append(name) }
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let probabilities = try attentions.values.map { try batch.pass.stored($0)! }
        func map(_ picture: Int, _ target: Target?, _ gradients: [[Float]]?) -> Attribution {
            let (count, places) = (attentions.count, attentions.tokens.places)
            var row = [Float](repeating: 0, count: count)
            for token in attentions.read { row[token] = 1 / Float(attentions.read.count) }
            // From the last block to the first: r ← r (1 + B).
            for (i, all) in probabilities.enumerated().reversed() {
                let size = all.count / batch.size
                let own = picture * size..<(picture + 1) * size
                let block = block(
                    all[own], gradient: gradients.map { $0[i][own] }, heads: attentions.heads[i])
                var next = row
                for (token, weight) in row.enumerated() where weight != 0 {
                    for k in 0..<count { next[k] += weight * block[token * count + k] }
                }
                row = next.map { $0 * share }
            }
            return Attribution(
                picture: picture, target: target, grid: grid, values: places.map { row[$0] },
                blankReason: "no attention reaches the token that is read from any cell")
        }
        guard Self.isClassSpecific else { return batch.pictures.map { map($0, nil, nil) } }
        return try batch.rounds(targets) { targets, pictures in
            let gradients = try attentions.values.map { try batch.gradient($0, targets: targets) }
            return pictures.map { map($0, targets[$0], gradients) }
        }
    }
}

/// How the heads of a block become one.
package enum HeadFusion: String, SettingChoice {
    case mean, max, min
}

/// Abnar and Zuidema, “Quantifying Attention Flow in Transformers”, ACL 2020, section 3: with A_l the mean of a block's heads, the map is the row of
/// the token that is read of the product over the blocks of ½ A_l + ½. It knows no class. Where all tokens are read, it is the mean of
/// their rows.
package struct AttentionRollout: AttentionMethod {
    package static let name = "rollout"
    package static let title = "Attention rollout"
    package static let formula =
        "row of the class token of the product over blocks of (mean over heads of A + 1) / 2"
    package static let reading =
        "From which patches the class token's attention came, whatever the class; do not use it to ask why one class won, because attention says where was looked and not what was concluded."
    package static let source = "Abnar and Zuidema 2020"
    package static let isClassSpecific = false
    package static let cost = "1 forward"

    package struct Settings: MethodSettings {
        package var heads = HeadFusion.mean
        package init() {}
        package static let list = [
            MethodSetting<Settings>("heads", \.heads, "how the heads of a block become one")
        ]
    }
    package let attentions: Attentions
    package var share: Float { 0.5 }
    private let heads: HeadFusion

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        (attentions, heads) = (try Self.attentions(subject), settings.heads)
    }

    package func block(_ attention: ArraySlice<Float>, gradient: ArraySlice<Float>?, heads: Int) -> [Float] {
        let (size, start) = (attention.count / heads, attention.startIndex)
        return (0..<size).map { i in
            let all = (0..<heads).map { attention[start + $0 * size + i] }
            switch self.heads {
            case .mean: return all.reduce(0, +) / Float(heads)
            case .max: return all.max()!
            case .min: return all.min()!
            }
        }
    }
}

/// Chefer, Gur and Wolf, “Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers”, ICCV 2021,
/// equations 5 and 6 for self-attention: with Ā the mean over heads of (∂s/∂A ⊙ A)⁺, R ← R + Ā R over the blocks, from R = 1; the map is the row of the
/// token that is read.
package struct GradientRollout: AttentionMethod {
    package static let name = "gradient-rollout"
    package static let title = "Gradient-weighted rollout"
    package static let formula =
        "row of the class token of the product over blocks of 1 + mean over heads of (dA A)+"
    package static let reading =
        "Attention that the class's gradient weighs, so it is of a class; do not look for what speaks against the class, because only positive parts are kept."
    package static let source = "Chefer et al. 2021 (ICCV), equations 5 and 6"
    package static let cost = "1 forward, 1 back to the first block's attention"
    package let attentions: Attentions

    package init(_ settings: NoSettings, explaining subject: ExplainedNetwork) throws {
        attentions = try Self.attentions(subject)
    }

    package func block(_ attention: ArraySlice<Float>, gradient: ArraySlice<Float>?, heads: Int) -> [Float] {
        let (size, start) = (attention.count / heads, attention.startIndex)
        let (a, g) = (attention, gradient!)
        return (0..<size).map { i in
            var sum: Float = 0
            for head in 0..<heads {
                let product = a[start + head * size + i] * g[g.startIndex + head * size + i]
                if !(product <= 0) { sum += product }
            }
            return sum / Float(heads)
        }
    }
}
