// What a method is, and the one list of them.

import Inference
import Kernels

/// What a method may depend on, beside the network and the picture.
package struct MethodSettings: Sendable {
    package var femThreshold: Float = 2
    package init() {}
}

/// What a method is given: values on the planner's tape, [N, C, H, W] each.
package struct MethodInputs {
    /// The target layer's activations.
    package let activation: Value
    /// The gradient of the score with respect to them; nil unless the method asks for it.
    package let gradient: Value?
    package let settings: MethodSettings
}

/// What a method puts on the tape.
package struct MethodOutputs {
    /// The raw map [N, 1, H, W].
    package var map: Value
    /// One number for each channel [N, C, 1, 1], if the map is a sum over channels: to tell why a map is blank.
    package var weights: Value?
}

/// A method that makes a map of a layer's activations.
package protocol Explainer: Sendable {
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

    /// Refuses a layer or settings with which every map would be blank.
    static func check(layer shape: Shape, _ settings: MethodSettings) throws
    /// Puts the method on the tape.
    static func map(_ tape: inout Tape, _ inputs: MethodInputs) throws -> MethodOutputs
    /// What is left to do to the numbers of a map.
    static func finish(_ map: [Float]) -> [Float]
    /// Why a map is zero everywhere.
    static func blankReason(weights: [Float]?) -> String
}

extension Explainer {
    package static func check(layer shape: Shape, _ settings: MethodSettings) throws {}
    package static func finish(_ map: [Float]) -> [Float] { map }
}

/// The methods: `--method`, its help, the README and the tests read this list.
package enum ExplainerList {
    package static let all: [any Explainer.Type] = [GradCAM.self, FEM.self]

    package static func named(_ name: String) throws -> any Explainer.Type {
        if let method = all.first(where: { $0.name == name }) { return method }
        let names = all.map { $0.name }
        let near = nearMatches(name, among: names)
        throw ExplainError(
            .method,
            "There is no method “\(name)”; there are \(names.joined(separator: ", "))."
                + (near.isEmpty ? "" : " Did you mean \(near.map { "“\($0)”" }.joined(separator: ", "))?"))
    }
}
