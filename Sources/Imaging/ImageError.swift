// What can go wrong with a picture, an array or a preprocessing file: each case becomes one full sentence
// that names the file, says what is wrong and, where something would, what would work.

import Files
import Text

/// An error of the module `Imaging`. `description` is a sentence that ends with a full stop.
package enum ImageError: Error, Equatable, CustomStringConvertible {
    /// A file cannot be read, or could not be written; nothing half-written was left.
    case file(FileError)
    /// The bytes are no picture that we read.
    case notAnImage(file: String, reason: String)
    /// The bytes begin like a picture but are cut off or broken.
    case damaged(file: String, reason: String)
    /// A sound file of a kind that we do not read.
    case unsupported(file: String, reason: String)
    /// More pixels than we are willing to hold.
    case tooLarge(file: String, width: Int, height: Int)
    /// It would take more memory than is allowed; the reason says how much.
    case overLimit(file: String, reason: String)
    /// A `.npy` file that is not one, or whose elements we do not read.
    case badArray(file: String, reason: String)
    /// A preprocessing description that does not say what it should.
    case badPreprocessing(file: String, reason: String)

    package var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .file(let error):
            error.description
        case .notAnImage(let file, let reason):
            "'\(shortenedPath(file))' is not an image that can be read: \(reason)."
        case .damaged(let file, let reason):
            "The image '\(shortenedPath(file))' is damaged: \(reason)."
        case .unsupported(let file, let reason):
            "The image '\(shortenedPath(file))' is of an unsupported kind: \(reason)."
        case .tooLarge(let file, let width, let height):
            "The image '\(shortenedPath(file))' is too large: \(width) × \(height) pixels, "
                + "but at most \(RGBImage.pixelLimit / 1_000_000) million pixels are accepted; scale it down first."
        case .overLimit(let file, let reason):
            "The image '\(shortenedPath(file))' \(reason)."
        case .badArray(let file, let reason):
            "The array '\(shortenedPath(file))' cannot be read: \(reason)."
        case .badPreprocessing(let file, let reason):
            "The preprocessing '\(shortenedPath(file))' is not valid: \(reason)."
        }
    }
}
