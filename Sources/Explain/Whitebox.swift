// What this is, and in which version.

import Text

/// Facts about this library.
public enum Whitebox {
    /// The version of the library and of the program; it stands in every result.
    public static let version = "0.1.0"
}

/// The form of results; whoever uses this module writes it too.
package typealias JSON = Text.JSON
