import Foundation

/// A directory that is removed with this object.
package final class TemporaryDirectory {
    package let path = NSTemporaryDirectory() + "whitebox-test-" + UUID().uuidString

    package init() throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    package var files: [String] { TemporaryDirectory.list(path) }

    package static func list(_ path: String) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: path).sorted()) ?? []
    }
}
