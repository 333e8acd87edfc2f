// Files that are complete or not there.

import Files
import Foundation
import TestSupport
import Testing

/// The sentence of the error that `body` throws, or nil if it throws none.
private func sentence(_ body: () throws(FileError) -> Void) -> String? {
    do {
        try body()
        return nil
    } catch {
        return error.description
    }
}

@Suite struct AtomicFileTests {
    @Test func writesAndReplaces() throws {
        let scratch = try TemporaryDirectory()
        let path = scratch.path + "/map.bin"
        try AtomicFile.write([1, 2, 3], to: path, overwrite: false)
        #expect(
            sentence { () throws(FileError) in try AtomicFile.write([4], to: path, overwrite: false) }
                == "Cannot write '\(path)': it is there already (--force replaces it).")
        #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) == [1, 2, 3])
        try AtomicFile.write([], to: path, overwrite: true)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)).isEmpty)
        #expect(scratch.files == ["map.bin"])
    }

    @Test func longNames() throws {
        let scratch = try TemporaryDirectory()
        let name = String(repeating: "n", count: 250) + ".png"
        try AtomicFile.write([1], to: "\(scratch.path)/\(name)", overwrite: false)
        #expect(scratch.files == [name])
        let tooLong = scratch.path + "/" + String(repeating: "n", count: 300)
        #expect(throws: FileError.self) { try AtomicFile.write([1], to: tooLong, overwrite: true) }
        #expect(scratch.files == [name])
    }

    @Test func placesThatCannotBeWritten() throws {
        let scratch = try TemporaryDirectory()
        func said(_ path: String) -> String? {
            sentence { () throws(FileError) in try AtomicFile.write([1], to: path, overwrite: true) }
        }
        #expect(
            said(scratch.path + "/none/map.npy")?.contains("none' does not exist; create it first") == true)
        #expect(said(scratch.path)?.contains("it is a directory") == true)
        #expect(said(scratch.path + "/")?.contains("it names no file") == true)
        try AtomicFile.write([1], to: scratch.path + "/file", overwrite: false)
        #expect(said(scratch.path + "/file/map.npy")?.contains("is not a directory") == true)
        #expect(said("/proc/map.npy")?.contains("cannot be written to") == true)
        #expect(scratch.files == ["file"])
    }
}
