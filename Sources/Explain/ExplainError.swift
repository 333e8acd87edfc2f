// Everything that this library throws.

import CLRuntime
import Imaging
import Inference
import Kernels
import ONNX
import Text

/// Why something could not be explained: one full sentence for people, a kind for programs.
public struct ExplainError: Error, Sendable, CustomStringConvertible {
    /// What sort of thing went wrong. The raw values are the exit codes of the program.
    public enum Kind: Int32, Sendable, CaseIterable {
        /// A picture or an array is missing, broken, or not what it should be.
        case input = 3
        /// A model file is missing, broken, or contradicts itself.
        case model = 4
        /// A model uses operators or features that are not supported.
        case unsupportedModel = 5
        /// The network has no such layer, or the layer cannot be mapped.
        case layer = 6
        /// There is no such class.
        case classChoice = 7
        /// The device is not there, or not able.
        case device = 8
        /// A method cannot be applied to this layer or with these options.
        case method = 9
        /// A result cannot be written, or is there already.
        case output = 10
        /// A preprocessing or label file is broken.
        case settings = 11
        /// A model, or what is asked of it, exceeds the limit on memory or work.
        case limit = 12
    }
    public let kind: Kind
    /// The sentence: which file, node or option, what is wrong with it, and what would work. One line, without characters that a
    /// terminal would obey: those of a file's own words are written out, such as `\u{1B}`.
    public let description: String

    /// Whether the device or the limit had not enough memory, so that less at a time may do.
    package private(set) var isOutOfMemory = false

    /// The same in full, where the description leaves out names; nil if it leaves out nothing.
    package let details: String?

    public init(_ kind: Kind, _ description: String) { self.init(kind, description, details: nil) }

    package init(_ kind: Kind, _ description: String, details: String?) {
        (self.kind, self.description, self.details) = (kind, printable(description), details.map(printable))
    }

    /// The same error in this library's terms; `kind` where the error itself does not tell.
    package init(_ error: any Error, _ kind: Kind) {
        switch error {
        case let error as ExplainError: self = error
        case let error as NetworkError:
            let kinds: [NetworkError.Kind: Kind] = [
                .unsupported: .unsupportedModel, .invalid: .model, .noSuchLayer: .layer, .noSuchValue: .layer,
                .input: .model,
            ]
            self.init(kinds[error.kind] ?? kind, error.description, details: error.details)
        case let error as ONNXError:
            let kinds: [ONNXError.Kind: Kind] = [.unsupportedOpset: .unsupportedModel, .memory: .limit]
            self.init(kinds[error.kind] ?? .model, error.description)
        case let error as LimitError: self.init(.limit, error.description)
        case ImageError.overLimit: self.init(.limit, "\(error)")
        case let error as DeviceError: self.init(.device, error.description)
        case let error as CLError: self.init(.device, error.description, details: error.details)
        default: self.init(kind, "\(error)")
        }
        if !(error is ExplainError) { isOutOfMemory = Kernels.isOutOfMemory(error) }
    }
}
