// Maps of many pictures in few files: arrays for numpy.load, and beside each an index for pandas.
//
// While a run goes on, maps are rows of one file that only grows, in the order in which they come; the journal says which row is whose. When all
// pictures of a block are done, its array and its index are made of that, in the order of the pictures; so they do not depend on how often the run was
// ended, or on who computed what.

import Files
import Glibc
import Imaging
import Synchronization
import Text

/// How maps are packed.
package struct PackFormat: Sendable, Equatable {
    package enum Element: String, Sendable, CaseIterable {
        case float32, float16
        var bytes: Int { self == .float32 ? 4 : 2 }
        var description: String { self == .float32 ? "<f4" : "<f2" }
    }

    package let element: Element
    /// Pictures of a block, which share a file.
    package let block: Int
    /// [maps, height, width] of a picture.
    package let shape: [Int]

    package init(element: Element, block: Int, shape: [Int]) {
        (self.element, self.block, self.shape) = (element, block, shape)
    }

    /// As many pictures as make an array of some megabytes.
    package static func block(of shape: [Int]) -> Int {
        min(2048, max(16, (64 << 20) / (4 * max(1, shape.reduce(1, *)))))
    }

    var rowBytes: Int { shape.reduce(1, *) * element.bytes }

    var json: JSON {
        .object([
            ("element", .string(element.rawValue)), ("pictures", .int(block)), ("shape", JSON(shape)),
        ])
    }

    static func maps(_ number: Int) -> String { "maps-\(digits(number)).npy" }
    static func index(_ number: Int) -> String { "index-\(digits(number)).jsonl" }
    private static func digits(_ number: Int) -> String {
        let text = "\(number)"
        return String(repeating: "0", count: max(0, 5 - text.count)) + text
    }

    /// Whether a name in a folder of results can be that of a block's file, or of the rows of a run that goes on.
    static func isOurs(_ name: String) -> Bool {
        func isNumbered(_ front: String, _ end: String) -> Bool {
            name.hasPrefix(front) && name.hasSuffix(end)
                && name.count >= front.count + 5 + end.count
                && name.dropFirst(front.count).dropLast(end.count).allSatisfy { $0.isASCII && $0.isNumber }
        }
        return isNumbered("maps-", ".npy") || isNumbered("index-", ".jsonl") || name == MapRows.name
    }
}

/// Rows of maps of pictures, as they come.
final class MapRows: Sendable {
    static let name = "journal.rows"
    private let descriptor: Int32
    private let path: String
    private let format: PackFormat
    private let count: Mutex<Int>

    /// Opens those in a folder, or begins some.
    /// - Parameter isNew: whether there must be none.
    init(_ directory: String, _ format: PackFormat, isNew: Bool = false) throws {
        path = Paths.join(directory, MapRows.name)
        self.format = format
        descriptor = FileName.withPath(path) {
            open($0, O_RDWR | O_CREAT | O_CLOEXEC | (isNew ? O_EXCL : O_NOFOLLOW), 0o666)
        }
        guard descriptor >= 0 else { throw FileError(.write, path, errno) }
        let size = lseek(descriptor, 0, SEEK_END)
        count = Mutex(max(0, Int(size)) / max(1, format.rowBytes))
    }

    deinit { close(descriptor) }

    func remove() { FileName.remove(path) }

    /// - Returns: which row it is, and a sum of its bytes.
    func append(_ bytes: [UInt8]) throws -> (row: Int, sum: UInt32) {
        precondition(bytes.count == format.rowBytes)
        let row = count.withLock { count in
            defer { count += 1 }
            return count
        }
        var done = 0
        while done < bytes.count {
            let written = bytes.withUnsafeBytes {
                pwrite(
                    descriptor, $0.baseAddress! + done, bytes.count - done,
                    off_t(row * format.rowBytes + done))
            }
            if written < 0 && errno == EINTR { continue }
            guard written >= 0 else { throw FileError(.write, path, errno) }
            done += written
        }
        return (row, CRC32.of(bytes[...]))
    }

    func row(_ row: Int) throws -> [UInt8] {
        var done = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: format.rowBytes) { buffer, count in
            while done < format.rowBytes {
                let read = pread(
                    descriptor, buffer.baseAddress! + done, format.rowBytes - done,
                    off_t(row * format.rowBytes + done))
                if read < 0 && errno == EINTR { continue }
                guard read > 0 else { break }
                done += read
            }
            count = done
        }
        guard done == format.rowBytes else { throw FileError(.read, path, EIO, "a row of it is missing") }
        return bytes
    }

    /// Whether a row is what was written.
    func holds(_ row: Int, _ sum: UInt32) -> Bool {
        guard let bytes = try? self.row(row) else { return false }
        return CRC32.of(bytes[...]) == sum
    }
}

extension PackFormat {
    /// The maps of a picture as a row.
    /// - Throws: if they are not of the shape that all have.
    func row(of image: ImageExplanation) throws(ExplainError) -> [UInt8] {
        let maps = image.packed.map(\.map)
        guard maps.count == shape[0], maps.allSatisfy({ $0.shape == [shape[1], shape[2]] }) else {
            throw ExplainError(
                .settings,
                "\(shortenedPath(image.name)): Its maps are not \(shape[0]) of \(shape[1])×\(shape[2]) as those of all other pictures, so they do not fit into the "
                    + "array (--pack); ask for as many classes of each picture.")
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(rowBytes)
        for map in maps {
            switch element {
            case .float32:
                for value in map.values { withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 } }
            case .float16:
                for value in map.values {
                    withUnsafeBytes(of: Float16(value).bitPattern.littleEndian) { bytes += $0 }
                }
            }
        }
        return bytes
    }

    /// Writes the array and the index of a block.
    /// - Parameters:
    ///   - number: of the block, among those of all hosts.
    ///   - entries: of its pictures, in their order.
    /// - Returns: the sizes of both files.
    func write(
        block number: Int, _ entries: [Journal.Entry], _ rows: MapRows, to directory: String, overwrite: Bool
    ) throws -> (maps: Int, index: Int) {
        let found = entries.filter { $0.row != nil }
        let header = NPYArray.header([found.count] + shape, element.description)
        try AtomicFile.write(to: Paths.join(directory, PackFormat.maps(number)), overwrite: overwrite) {
            append in
            var part = header
            for entry in found {
                part += try rows.row(entry.row!)
                guard part.count > 1 << 20 else { continue }
                try append(part)
                part = []
            }
            try append(part)
        }
        var (row, indexBytes) = (0, 0)
        try AtomicFile.write(to: Paths.join(directory, PackFormat.index(number)), overwrite: overwrite) {
            append in
            var part: [UInt8] = []
            (row, indexBytes) = (0, 0)
            for entry in entries {
                part += "{\"row\":\(entry.row == nil ? "null" : "\(row)"),".utf8
                part += entry.index.utf8.dropFirst()
                part.append(UInt8(ascii: "\n"))
                row += entry.row == nil ? 0 : 1
                guard part.count > 1 << 20 else { continue }
                indexBytes += part.count
                try append(part)
                part = []
            }
            indexBytes += part.count
            try append(part)
        }
        return (header.count + found.count * rowBytes, indexBytes)
    }

    /// A number that tells whether a block is made of the same.
    static func sum(_ entries: [Journal.Entry]) -> UInt64 {
        entries.reduce(0xcbf2_9ce4_8422_2325) {
            ($0 &* 0x100_0000_01b3) ^ Journal.hash("\($1.index)\($1.row == nil)\($1.rowSum)")
        }
    }
}
