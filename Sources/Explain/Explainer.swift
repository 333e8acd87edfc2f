// What a method is, and the one list of them.

import Inference
import Kernels
import Text

/// A method of explanation, with its settings, for certain layers of a network.
///
/// It asks for what it reads of the pass that all methods share, and later makes its maps of a batch: from that pass, and from any
/// passes of its own that it has the engine run. A map of one layer takes less: see `LayerMethod` and `ClassActivationMap`.
package protocol Explainer: Sendable {
    associatedtype Settings: MethodSettings = NoSettings

    /// What people type.
    static var name: String { get }
    /// What people read.
    static var title: String { get }
    /// One line: the formula.
    static var formula: String { get }
    /// Where it was published.
    static var source: String { get }
    /// Whether its map depends on a class.
    static var isClassSpecific: Bool { get }

    /// - Throws: `ExplainError` of kind `method` for layers or settings with which every map would be blank.
    init(_ settings: Settings, explaining layers: [Layer]) throws
    /// What its maps lie on.
    var grid: Attribution.Grid { get }
    /// Adds what it reads to the pass that all methods share.
    func request(_ spec: inout PassSpec)
    /// The maps of a batch: of each picture one for each of its classes, or one if the method knows no class.
    /// - Parameter classes: of each picture, each once.
    func explain(_ batch: ExplainedBatch, _ classes: [[Int]], _ engine: Engine) throws -> [Attribution]
}

/// A map of one picture, as a method gives it.
package struct Attribution: Sendable {
    /// What a map lies on.
    package enum Grid: Hashable, Sendable {
        /// The cells of a layer, or of several that were fused.
        case layers([String], height: Int, width: Int)
        /// The pixels that the network takes.
        case pixels(height: Int, width: Int)

        package var size: (height: Int, width: Int) {
            switch self {
            case .layers(_, let height, let width), .pixels(let height, let width): (height, width)
            }
        }
        package var cells: Int { size.height * size.width }
        /// The layer, or layers, in words.
        package var title: String {
            switch self {
            case .layers(let names, _, _): names.joined(separator: ", ")
            case .pixels: "the input"
            }
        }
    }
    /// The picture's place in the batch.
    package let picture: Int
    /// nil for a method that knows no class.
    package let classIndex: Int?
    package let grid: Grid
    /// Row by row, in the method's own units.
    package let values: [Float]
    /// Why the map is 0 everywhere, if it is.
    package let blankReason: String

    package init(picture: Int, classIndex: Int?, grid: Grid, values: [Float], blankReason: String) {
        precondition(values.count == grid.cells)
        (self.picture, self.classIndex, self.grid) = (picture, classIndex, grid)
        (self.values, self.blankReason) = (values, blankReason)
    }
}

// MARK: - Settings

/// What can be chosen of a method: a value of each method's own type, with defaults.
package protocol MethodSettings: Hashable, Sendable {
    init()
    /// How people name each, and what it means.
    static var list: [MethodSetting<Self>] { get }
}

/// One of a method's settings.
package struct MethodSetting<Settings>: Sendable {
    package let name: String
    /// One line.
    package let help: String
    /// What its texts are, in words.
    fileprivate let expected: String
    fileprivate let read: @Sendable (String, inout Settings) -> Bool

    /// A number.
    package init(
        _ name: String, _ path: WritableKeyPath<Settings, Float> & Sendable, _ help: String
    ) {
        (self.name, self.help, expected) = (name, help, "a number")
        read = { text, settings in
            guard let number = Float(text) else { return false }
            settings[keyPath: path] = number
            return true
        }
    }
}

/// Of a method that has none.
package struct NoSettings: MethodSettings {
    package init() {}
    package static let list: [MethodSetting<NoSettings>] = []
}

extension MethodSettings {
    /// The defaults, but for what is given.
    /// - Parameter texts: by the names of settings.
    fileprivate init(_ texts: [String: String], of method: String) throws {
        self.init()
        for (name, text) in texts.sorted(by: { $0.key < $1.key }) {
            guard let setting = Self.list.first(where: { $0.name == name }) else {
                let names = Self.list.map(\.name)
                throw ExplainError(
                    .method,
                    "The method \(method) has no setting “\(shortened(name))”; "
                        + (names.isEmpty ? "it has none." : "it has \(names.joined(separator: ", ")).")
                        + didYouMean(name, among: names))
            }
            guard setting.read(text, &self) else {
                throw ExplainError(
                    .method,
                    "The setting \(method).\(name) is “\(shortened(text))”; it must be \(setting.expected).")
            }
        }
    }
}

private func didYouMean(_ name: String, among names: [String]) -> String {
    let near = nearMatches(name, among: names)
    return near.isEmpty ? "" : " Did you mean \(near.map { "“\($0)”" }.joined(separator: ", "))?"
}

// MARK: - The list

/// The methods: `--method`, its help, the README and the tests read this list.
package enum ExplainerList {
    package static let all: [any Explainer.Type] = [GradCAM.self, FEM.self]

    package static func named(_ name: String) throws -> any Explainer.Type {
        if let method = all.first(where: { $0.name == name }) { return method }
        let names = all.map { $0.name }
        throw ExplainError(
            .method,
            "There is no method “\(name)”; there are \(names.joined(separator: ", "))."
                + didYouMean(name, among: names))
    }
}

extension Explainer {
    /// - Parameter texts: by the names of settings.
    static func make(_ texts: [String: String], explaining layers: [Layer]) throws -> any Explainer {
        try Self(Settings(texts, of: name), explaining: layers)
    }
}
