// What this is, and in which version.

import Text

/// Facts about this library.
public enum Whitebox {
    /// The version of the library and of the program; it stands in every result.
    public static let version = "0.1.0"

    /// The version of the numerics. Two results with the same one are comparable bit for bit, whatever else changed between them;
    /// a change of a single bit raises it, and Documentation/Determinism.md says why.
    public static let numerics = 2
}

/// The form of results; whoever uses this module writes it too.
package typealias JSON = Text.JSON
