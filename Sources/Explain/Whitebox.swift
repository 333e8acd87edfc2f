// What this is, and in which version.

/// Facts about this library.
public enum Whitebox {
    /// The version of the library and of the program; it stands in every result.
    public static let version = "0.1.0"
}
