// Arrays in .npy files.

import Foundation
import Imaging
import TestSupport
import Testing

@Suite struct NPYTests {
    static func file(_ header: String, _ data: [UInt8], version: UInt8 = 1) -> [UInt8] {
        let size = header.utf8.count
        let length = [UInt8(size & 255), UInt8(size >> 8)] + (version == 1 ? [] : [0, 0])
        return [0x93] + Array("NUMPY".utf8) + [version, 0] + length + Array(header.utf8) + data
    }

    static func header(_ type: String, _ shape: String, fortran: Bool = false) -> String {
        "{'descr': '\(type)', 'fortran_order': \(fortran ? "True" : "False"), 'shape': \(shape), }\n"
    }

    @Test func writesWhatNumPyReads() {
        let bytes = NPYArray(shape: [2, 3], values: [0, 1, 2, 3, 4, 5]).npyData
        #expect(bytes.count % 4 == 0 && (bytes.count - 24) % 64 == 0)
        #expect(bytes.starts(with: [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0]))
        let text = String(decoding: bytes[10..<bytes.count - 24], as: UTF8.self)
        #expect(text.hasPrefix("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } "))
        #expect(text.hasSuffix(" \n"))
        #expect(Array(bytes.suffix(4)) == [0, 0, 0xA0, 0x40])
    }

    @Test func roundTrip() throws {
        let values: [Float] = [1.5, -0, .infinity, .leastNonzeroMagnitude, 3e38, 7]
        for shape in [[6], [2, 3], [1, 2, 3], [6, 1, 1, 1]] {
            let array = NPYArray(shape: shape, values: values)
            #expect(try NPYArray(decoding: array.npyData, name: "a") == array)
        }
        let single = NPYArray(shape: [], values: [4])
        #expect(try NPYArray(decoding: single.npyData, name: "s") == single)
        let empty = NPYArray(shape: [0, 5], values: [])
        #expect(try NPYArray(decoding: empty.npyData, name: "e") == empty)
    }

    @Test(
        arguments: [
            ("<f4", [0, 0, 0xC0, 0x3F], 1.5), (">f4", [0x3F, 0xC0, 0, 0], 1.5),
            ("<f8", [0, 0, 0, 0, 0, 0, 0xF8, 0x3F], 1.5), ("<f2", [0x00, 0x3E], 1.5),
            ("<i8", [0xFE, 255, 255, 255, 255, 255, 255, 255], -2), ("<i4", [0xFE, 255, 255, 255], -2),
            (">i4", [0, 0, 1, 0], 256), ("|u1", [200], 200), ("|b1", [1], 1),
        ] as [(String, [UInt8], Float)])
    func elementTypes(_ type: String, _ data: [UInt8], _ value: Float) throws {
        for version: UInt8 in 1...3 {
            let file = Self.file(Self.header(type, "(1,)"), data, version: version)
            #expect(try NPYArray(decoding: file, name: type) == NPYArray(shape: [1], values: [value]))
        }
    }

    /// Only what is wanted is read: a file of one gigabyte that is nearly all hole tells its shape at once, and gives its parts one by one.
    @Test func shapeBeforeValues() throws {
        let scratch = try TemporaryDirectory()
        let path = scratch.path + "/x.npy"
        let text = Self.header("|u1", "(3, 4)")
        FileManager.default.createFile(atPath: path, contents: Data(Self.file(text, Array(1...12))))
        #expect(try NPYFile(path: path).shape == [3, 4])
        #expect(try NPYFile(path: path).values() == (1...12).map(Float.init))
        #expect(try NPYFile(path: path).slices() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]])
        let turned = Self.header("|u1", "(3, 4)", fortran: true)
        FileManager.default.createFile(atPath: path, contents: Data(Self.file(turned, Array(1...12))))
        #expect(try NPYFile(path: path).slices() == [[1, 4, 7, 10], [2, 5, 8, 11], [3, 6, 9, 12]])

        let head = Self.file(Self.header("<f4", "(262144, 1023)"), [])
        #expect(FileManager.default.createFile(atPath: path, contents: Data(head)))
        let size = head.count + 4 * 262144 * 1023
        #expect(truncate(path, size) == 0)
        #expect(try NPYFile(path: path).shape == [262144, 1023])
        #expect(truncate(path, size - 1) == 0)
        #expect(
            sentence { () throws(ImageError) in _ = try NPYFile(path: path) }?
                .contains("needs \(size - head.count) bytes of data, but \(size - head.count - 1) follow")
                == true)
    }

    @Test func headersThatAreVeryLong() {
        for count in [65_400, 65_600] {
            let header = Self.header("|u1", "(1,)") + String(repeating: " ", count: count)
            let file =
                [0x93] + Array("NUMPY".utf8) + [2, 0]
                + withUnsafeBytes(of: UInt32(header.utf8.count).littleEndian) { Array($0) }
                + Array(header.utf8) + [7]
            let said = sentence { () throws(ImageError) in _ = try NPYArray(decoding: file, name: "x") }
            #expect(
                count == 65_400 ? said == nil : said?.contains("at most 65524 are read") == true,
                "\(said ?? "")")
        }
    }

    @Test func fortranOrder() throws {
        let matrix = Self.file(Self.header("|u1", "(2, 3)", fortran: true), [1, 4, 2, 5, 3, 6])
        #expect(try NPYArray(decoding: matrix, name: "f").values == [1, 2, 3, 4, 5, 6])
        // [i, j, k] of shape 2 × 2 × 3 lies at i + 2j + 4k.
        let cube = Self.file(Self.header("|u1", "(2, 2, 3)", fortran: true), Array(0..<12))
        #expect(try NPYArray(decoding: cube, name: "f").values == [0, 4, 8, 2, 6, 10, 1, 5, 9, 3, 7, 11])
    }

    @Test(
        arguments: [
            ([], "does not begin"), (Array("not an array".utf8), "does not begin"),
            (file(header("<f4", "(1,)"), [0, 0, 0, 0], version: 9), "version 9"),
            (file(header("<f4", "(2,)"), [0, 0, 0, 0]), "needs 8 bytes of data, but 4 follow"),
            (file(header("<f4", "(1,)"), [0, 0, 0, 0, 0]), "needs 4 bytes of data, but 5 follow"),
            (file(header("<c8", "(1,)"), [0, 0, 0, 0]), "type '<c8'"),
            (file(header("<f4", "(99999999999, 99999999999)"), []), "impossibly large"),
            (file(header("<f4", "(99999999999999999999,)"), []), "not the dictionary"),
            (file(header("<f4", "(-1,)"), []), "not the dictionary"),
            (file("{'descr': [('a', '<f4')], }", []), "records"),
            (file("{'descr': '<f4', }", []), "lacks 'fortran_order'"),
            (file("{'descr': '<f4', 'colour': 3}", []), "unknown key 'colour'"),
            (file("{  ", []), "not the dictionary"), (file("  ", []), "not the dictionary"),
            (file("", []), "ends within its header"),
            (Array(file(header("<f4", "(1,)"), [0, 0, 0, 0])[..<30]), "ends within its header"),
        ] as [([UInt8], String)])
    func rubbish(_ bytes: [UInt8], _ expected: String) {
        let said = sentence { () throws(ImageError) in _ = try NPYArray(decoding: bytes, name: "x.npy") }
        #expect(said?.contains(expected) == true, "\(said ?? "accepted")")
    }
}
