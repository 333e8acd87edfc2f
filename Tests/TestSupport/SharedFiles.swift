// Files that lie beside the checkout on some machines and are part of none.

import Foundation

package enum SharedFiles {
    /// The folder `shared` beside the checkout, nil where there is none: tests that need it skip, with a reason.
    package static let folder: URL? = {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let shared = root.deletingLastPathComponent().appending(path: "shared")
        var isFolder: ObjCBool = false
        return FileManager.default.fileExists(atPath: shared.path, isDirectory: &isFolder)
            && isFolder.boolValue
            ? shared : nil
    }()

    package static func file(_ name: String) -> URL? {
        folder.map { $0.appending(path: name) }.flatMap {
            FileManager.default.fileExists(atPath: $0.path) ? $0 : nil
        }
    }
}
