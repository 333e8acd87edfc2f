// Which classes are explained: as people say it, and what that means for a network and a picture.

import Inference
import Text

/// Which classes of each image are explained.
public enum ClassChoice: Sendable, Equatable {
    /// The `n` classes with the highest logits of each picture, best first; of equal logits the lower index.
    case top(Int)
    /// The class of that index, from 0, for every picture.
    case index(Int)
    /// The class of that name: a whole label, or one of the names between its commas; case does not matter. If it is
    /// neither, it may be several choices with commas between them.
    case label(String)
    /// Several, in this order. A class that is named twice is explained once.
    indirect case list([ClassChoice])

    /// Reads `top1`, `top3`, `386`, a class name, or several with commas between them. As a name may have commas itself, what is a
    /// name is decided when the labels are known.
    public init(_ text: String) {
        let parts = ClassChoice.parts(text)
        let plain = parts.compactMap(ClassChoice.init(plain:))
        if plain.count == parts.count {
            self = plain.count == 1 ? plain[0] : .list(plain)
        } else {
            self = .label(text.trimmed)
        }
    }

    /// What is no name.
    private init?(plain text: String) {
        let lower = text.lowercased()
        if lower.hasPrefix("top"), let n = Int(lower.dropFirst(3)), n >= 0 {
            self = .top(n)
        } else if let index = Int(text) {
            self = .index(index)
        } else {
            return nil
        }
    }

    private static func parts(_ text: String) -> [String] {
        text.split(separator: ",", omittingEmptySubsequences: false).map {
            $0.trimmed
        }
    }

    /// As people type it.
    package var text: String {
        switch self {
        case .top(let n): "top\(n)"
        case .index(let i): "\(i)"
        case .label(let label): label
        case .list(let choices): choices.map(\.text).joined(separator: ",")
        }
    }

    /// The classes, if they depend neither on a picture nor on names.
    package var indices: Set<Int>? {
        switch self {
        case .top, .label: return nil
        case .index(let i): return [i]
        case .list(let choices):
            let all = choices.map(\.indices)
            return all.contains(nil) ? nil : all.reduce(into: []) { $0.formUnion($1!) }
        }
    }
}

/// A class that is explained.
enum ClassTarget: Equatable {
    case fixed(Int)
    /// The picture's best class (0), its second (1), ….
    case rank(Int)
}

extension ClassChoice {
    /// The one class that others are compared with; `top2` is the second best here.
    func single(in model: Model, classes: Int) throws -> ClassTarget {
        let found = try targets(in: model, classes: classes)
        if case .top = self { return found[found.count - 1] }
        guard found.count == 1 else {
            throw ExplainError(
                .classChoice,
                "Classes are compared with one other, and “\(shortened(text))” names \(found.count).")
        }
        return found[0]
    }
}

extension Array where Element: Equatable {
    /// Each once, where it is first.
    var unique: [Element] { reduce(into: []) { if !$0.contains($1) { $0.append($1) } } }
}

extension [ClassTarget] {
    /// The class of a picture that each stands for, of which several may be the same.
    /// - Parameter logits: of all classes.
    func classes(_ logits: [Float]) -> [Int] {
        let ranks = map { if case .rank(let rank) = $0 { rank + 1 } else { 0 } }.max() ?? 0
        let ranked = ranks == 0 ? [] : ExplanationSession.best(ranks, of: logits)
        return map {
            if case .rank(let rank) = $0 {
                ranked[rank]
            } else if case .fixed(let index) = $0 {
                index
            } else {
                0
            }
        }
    }
}

// MARK: - Names

extension ClassChoice {
    /// What it means for a network.
    /// - Throws: `ExplainError` of kind `classChoice`.
    func targets(in model: Model, classes: Int) throws -> [ClassTarget] {
        switch self {
        case .top(let n):
            guard n >= 1 else { throw ExplainError(.classChoice, "There is no top \(n); the least is top1.") }
            guard n <= classes else {
                throw ExplainError(
                    .classChoice, "The network has \(classes) classes, so there is no top \(n).")
            }
            return (0..<n).map(ClassTarget.rank)
        case .index(let i):
            guard i >= 0, i < classes else {
                throw ExplainError(
                    .classChoice, "There is no class \(i): the network has the classes 0 to \(classes - 1).")
            }
            return [.fixed(i)]
        case .label(let name): return try ClassChoice.targets(named: name, in: model, classes: classes)
        case .list(let choices):
            guard !choices.isEmpty else { throw ClassChoice.empty }
            return try choices.flatMap { try $0.targets(in: model, classes: classes) }
        }
    }

    private static let empty = ExplainError(
        .classChoice,
        "A class is empty; give top1 (the best), an index, a name, or several with commas between them.")

    private static func targets(named text: String, in model: Model, classes: Int) throws -> [ClassTarget] {
        let parts = parts(text)
        // A name may have commas: the longest part that is a whole label counts as one.
        var targets: [ClassTarget] = []
        var next = 0
        while next < parts.count {
            let whole = (next + 1...parts.count).reversed().lazy.compactMap { end in
                let found = ClassChoice.whole(parts[next..<end].joined(separator: ", "), in: model.labels)
                return found.isEmpty ? nil : (end, found)
            }.first
            if let (end, found) = whole {
                targets.append(
                    .fixed(try only(found, parts[next..<end].joined(separator: ", "), model.labels)))
                next = end
                continue
            }
            let part = parts[next]
            next += 1
            guard !part.isEmpty else { throw empty }
            if let index = model.classIndex(wordNet: part.lowercased()) {
                targets.append(.fixed(index))
                continue
            }
            if let plain = ClassChoice(plain: part) {
                targets += try plain.targets(in: model, classes: classes)
                continue
            }
            guard !model.labels.isEmpty else {
                // The name that we give to those without one.
                if let index = Int(part.lowercased().trimmingPrefix("class ")),
                    part.lowercased() == model.label(index)
                {
                    targets += try ClassChoice.index(index).targets(in: model, classes: classes)
                    continue
                }
                throw ExplainError(
                    .classChoice,
                    "The model carries no class names, so “\(shortened(part))” means nothing; give its index, or a file with --labels."
                )
            }
            let wanted = part.lowercased()
            let found = model.labels.indices.filter {
                ClassChoice.parts(model.labels[$0].lowercased()).contains(wanted)
            }
            targets.append(.fixed(try only(found, part, model.labels)))
        }
        return targets
    }

    /// The labels that are that name, with any spaces around its commas.
    private static func whole(_ name: String, in labels: [String]) -> [Int] {
        let wanted = name.lowercased()
        return labels.indices.filter { parts(labels[$0].lowercased()).joined(separator: ", ") == wanted }
    }

    private static func only(_ found: [Int], _ name: String, _ labels: [String]) throws -> Int {
        guard found.count <= 1 else {
            throw ExplainError(
                .classChoice,
                "The name “\(shortened(name))” stands for the classes \(found.map(String.init).joined(separator: " and ")); give the index."
            )
        }
        guard let index = found.first else {
            let near = nearIndices(name, among: labels).map { "\($0) “\(shortened(labels[$0]))”" }
            throw ExplainError(
                .classChoice,
                "There is no class “\(shortened(name))”."
                    + (near.isEmpty ? "" : " Did you mean \(near.joined(separator: ", "))?"))
        }
        return index
    }
}
