// File names as text and back. A name is bytes; text must be UTF-8, in results.json too.

import Glibc

/// File names that survive being text.
///
/// A byte that is no part of valid UTF-8 is written `\xNN`, with two small hexadecimal digits from 80 to ff; a backslash that
/// the name itself has before such a thing is written `\x5c`, so that each text means one name. All other names are
/// what they are. Names are compared by their bytes: Swift holds `ü` in its two Unicode forms for equal, file systems don't.
package enum FileName {
    /// The text of a name or a path.
    package static func text(_ bytes: some Sequence<UInt8>) -> String {
        var bytes = ContiguousArray(bytes)
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count)
        var i = 0
        while i < bytes.count {
            let length = bytes.withUnsafeMutableBufferPointer { sequence($0, at: i) }
            if length == 0 {
                text += escape(bytes[i])
                i += 1
            } else if bytes[i] == backslash, escaped(bytes, at: i) != nil {
                text += escape(backslash)
                i += 1
            } else {
                text += bytes[i..<i + length]
                i += length
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The text of a name that the C library gave.
    package static func text(_ name: UnsafePointer<CChar>) -> String {
        text(
            UnsafeBufferPointer(
                start: UnsafeRawPointer(name).assumingMemoryBound(to: UInt8.self), count: strlen(name)))
    }

    /// The bytes of the name that `text` stands for.
    package static func bytes(_ text: String) -> [UInt8] {
        let source = ContiguousArray(text.utf8)
        guard source.contains(backslash) else { return Array(source) }
        var bytes: [UInt8] = []
        var i = 0
        while i < source.count {
            if source[i] == backslash, let byte = escaped(source, at: i) {
                bytes.append(byte)
                i += 4
            } else {
                bytes.append(source[i])
                i += 1
            }
        }
        return bytes
    }

    /// Calls `body` with the name as the C library wants it.
    package static func withPath<R>(_ text: String, _ body: (UnsafePointer<CChar>) -> R) -> R {
        (bytes(text) + [0]).withUnsafeBufferPointer {
            $0.withMemoryRebound(to: CChar.self) { body($0.baseAddress!) }
        }
    }

    /// Opens a file. Returns its descriptor, or -1 with the reason in `errno`.
    package static func open(_ text: String, _ flags: Int32) -> Int32 {
        withPath(text) { Glibc.open($0, flags | O_CLOEXEC) }
    }

    /// Takes the name away from a file. That there is no such file is no error.
    package static func remove(_ text: String) { _ = withPath(text) { unlink($0) } }

    /// The path without symbolic links and dots; nil where it leads nowhere.
    package static func resolved(_ text: String) -> String? {
        guard let path = withPath(text, { realpath($0, nil) }) else { return nil }
        defer { free(path) }
        return FileName.text(path)
    }

    /// Whether something lies in a folder. Both are paths as `resolved` gives them.
    package static func isBelow(_ text: String, folder: String) -> Bool {
        let folder = bytes(folder)
        return bytes(text).starts(
            with: folder.last == UInt8(ascii: "/") ? folder : folder + [UInt8(ascii: "/")])
    }

    /// A variable of the environment that names a file; nil if it is not set or empty.
    package static func environment(_ variable: String) -> String? {
        getenv(variable).map { FileName.text($0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// Sorted by bytes.
    package static func sorted(_ names: [String]) -> [String] {
        names.sorted { bytes($0).lexicographicallyPrecedes(bytes($1)) }
    }

    private static let backslash = UInt8(ascii: "\\")

    private static func escape(_ byte: UInt8) -> [UInt8] {
        let digits = Array("0123456789abcdef".utf8)
        return Array("\\x".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
    }

    /// What `\xNN` at `i` stands for; nil if it is none of ours.
    private static func escaped(_ text: ContiguousArray<UInt8>, at i: Int) -> UInt8? {
        func digit(_ byte: UInt8) -> UInt8? {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
            default: nil
            }
        }
        guard i + 3 < text.count, text[i + 1] == UInt8(ascii: "x"), let high = digit(text[i + 2]),
            let low = digit(text[i + 3])
        else { return nil }
        let byte = high << 4 | low
        return byte >= 0x80 || byte == backslash ? byte : nil
    }

    /// The length of the valid UTF-8 sequence at `i`, 0 if there is none.
    private static func sequence(_ bytes: UnsafeMutableBufferPointer<UInt8>, at i: Int) -> Int {
        let first = bytes[i]
        if first < 0x80 { return 1 }
        let length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0
        guard length > 0, i + length <= bytes.count else { return 0 }
        return String(validating: bytes[i..<i + length], as: UTF8.self) == nil ? 0 : length
    }
}
