import Text

/// Why an ONNX file cannot be used: a kind for programs, and a full sentence that names the file for people.
package struct ONNXError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Kind: Hashable, Sendable {
        /// There is no such file.
        case fileNotFound
        /// The path names a directory, a device, or anything else that is not a regular file.
        case notAFile
        /// The file exists and could not be read.
        case unreadable
        /// The file was written to while it was in use.
        case changed
        /// What the file says would take more memory than is allowed.
        case memory
        /// The file has no bytes.
        case empty
        /// The bytes are not an ONNX message: random, truncated, or another format.
        case malformed
        /// The message holds no graph.
        case noGraph
        /// The opset is missing or outside `ONNXModel.supportedOpsets`.
        case unsupportedOpset
        /// Two producers, or two inputs, share one name.
        case duplicateName
        /// A value is read that nothing produces.
        case missingValue
        /// The nodes wait for one another in a circle.
        case cycle
        /// A dimension or an element count is negative or too large.
        case invalidShape
        /// A tensor's data does not fit its shape and type.
        case invalidTensor
        /// A tensor has an element type that is not supported.
        case unsupportedDataType
        /// The file uses a feature of the format that is not supported.
        case unsupportedFeature
        /// A file of external data is missing, too short, or outside the model's folder.
        case externalData
        /// An attribute is missing or of another kind than its operator asks for.
        case invalidAttribute
    }

    package let kind: Kind
    /// The path of the model, or the name that it was given.
    package let file: String
    /// What is wrong and what would help, without the file.
    package let reason: String

    package init(_ kind: Kind, file: String, _ reason: String) {
        self.kind = kind
        self.file = file
        self.reason = reason
    }

    /// One sentence: the file, what is wrong, and what would help.
    package var description: String { printable("\(file): \(reason)") }
}
