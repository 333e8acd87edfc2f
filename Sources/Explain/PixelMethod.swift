// Methods whose map is made of the gradient with respect to the pixels, in the pass that all methods share.

import Inference
import Kernels

/// The pixels that a network takes of a picture.
package struct PixelInput: Hashable, Sendable {
    /// The value's name.
    package let name: String
    package let channels: Int, height: Int, width: Int

    /// Pixels of one channel, and numbers of all.
    package var cells: Int { height * width }
    package var count: Int { channels * cells }
    package var grid: Attribution.Grid { .pixels(height: height, width: width) }

    /// - Parameter title: of the method that asks.
    /// - Throws: `ExplainError` of kind `method` if the network takes no pictures.
    package init(_ subject: ExplainedNetwork, for title: String) throws {
        let dims = subject.input.dims
        guard dims.count == 4 else {
            throw ExplainError(
                .method,
                "\(title) explains pixels, and the network's input for one picture is \(subject.input), which is no grid of them; "
                    + "take a method that explains a layer.")
        }
        self.init(name: subject.network.inputName, shape: subject.input)
    }

    /// - Parameter shape: of one picture, [1, C, H, W].
    init(name: String, shape: Shape) {
        (self.name, channels, height, width) = (name, shape.dims[1], shape.dims[2], shape.dims[3])
    }
}

/// A method whose map [N, 1, H, W] is made, pixel by pixel, of the network's input and of the gradient of what is explained with respect to it,
/// both [N, C, H, W].
package protocol PixelMethod: Explainer, PassAddition {
    var input: PixelInput { get }
    init(_ settings: Settings, explaining input: PixelInput) throws
    /// Puts the method on the tape.
    func map(_ tape: inout Tape, input: Value, gradient: Value) -> Value
    /// Why a map is zero everywhere.
    static var blankReason: String { get }
}

extension PixelMethod {
    package static var family: MethodFamily { .gradient }
    package static var cost: String { "1 forward, 1 back to the pixels" }

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        try self.init(settings, explaining: PixelInput(subject, for: Self.title))
    }

    package var grid: Attribution.Grid { input.grid }
    package var label: String { Self.title }
    package var layers: [String] { [input.name] }
    package var readsGradients: Bool { true }

    package func request(_ spec: inout PassSpec) { spec.add(self) }

    package func add(to tape: inout Tape, activations: [Value], gradients: [Value]) -> [Value] {
        [map(&tape, input: activations[0], gradient: gradients[0])]
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        try batch.rounds(targets) { targets, pictures in
            let maps = try batch.outputs(of: self, targets: targets)[0]
            return pictures.map {
                Attribution(
                    picture: $0, target: targets[$0], grid: grid,
                    values: Array(maps[$0 * input.cells..<($0 + 1) * input.cells]),
                    blankReason: Self.blankReason)
            }
        }
    }
}
