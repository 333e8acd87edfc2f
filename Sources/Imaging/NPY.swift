// NumPy's array files: written as format 1.0, binary32, C order; read in every version and in the common
// element types, converted to binary32. The header of a file is read first, so that an array of a shape that nobody wants costs nothing.

import Files
import Text

/// An array of binary32 in C order.
package struct NPYArray: Equatable, Sendable {
    package var shape: [Int]
    package var values: [Float]

    package init(shape: [Int], values: [Float]) {
        precondition(shape.allSatisfy { $0 >= 0 } && shape.reduce(1, *) == values.count)
        self.shape = shape
        self.values = values
    }

    package init(_ plane: Plane) {
        self.init(shape: [plane.height, plane.width], values: plane.values)
    }

    package static func load(path: String) throws(ImageError) -> NPYArray {
        let file = try NPYFile(path: path)
        return NPYArray(shape: file.shape, values: try file.values())
    }

    package func write(to path: String, overwrite: Bool) throws(ImageError) {
        do { try AtomicFile.write(npyData, to: path, overwrite: overwrite) } catch { throw .file(error) }
    }

    // MARK: Writing

    /// The bytes of the file: magic, version 1.0, a header padded so that the data begin at a multiple of 64.
    package var npyData: [UInt8] {
        var bytes = NPYArray.header(shape, "<f4")
        bytes.reserveCapacity(bytes.count + 4 * values.count)
        for value in values {
            withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
        }
        return bytes
    }

    /// What stands before the numbers.
    /// - Parameter element: as NumPy describes it, such as `<f4`.
    package static func header(_ shape: [Int], _ element: String) -> [UInt8] {
        let sizes = shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? "," : "")
        var header = "{'descr': '\(element)', 'fortran_order': False, 'shape': (\(sizes)), }"
        header += String(repeating: " ", count: 63 - (10 + header.utf8.count) % 64) + "\n"
        let length = header.utf8.count
        return NPYHeader.magic + [1, 0, UInt8(length & 0xFF), UInt8(length >> 8)] + header.utf8
    }

    // MARK: Reading

    package init(decoding bytes: [UInt8], name: String) throws(ImageError) {
        let header = try NPYHeader(startOf: bytes, size: bytes.count, name: name)
        var values: [Float] = []
        values.reserveCapacity(header.count)
        header.append(bytes[header.end...], to: &values)
        shape = header.shape
        self.values = header.inCOrder(values)
    }
}

/// An array file whose values have not been read yet.
package struct NPYFile: ~Copyable {
    private let file: InputFile
    private let header: NPYHeader

    package init(path: String) throws(ImageError) {
        let file = try Self.open(path)
        let start = try Self.read(file, from: 0, count: min(file.size, NPYHeader.sizeLimit))
        header = try NPYHeader(startOf: start, size: file.size, name: path)
        self.file = file
    }

    private static func open(_ path: String) throws(ImageError) -> InputFile {
        do { return try InputFile(path, isBounded: true) } catch { throw .file(error) }
    }

    private static func read(
        _ file: borrowing InputFile, from offset: Int, count: Int
    ) throws(ImageError) -> [UInt8] {
        do { return try file.read(from: offset, count: count) } catch { throw .file(error) }
    }

    package var shape: [Int] { header.shape }

    /// All values, in C order.
    package func values() throws(ImageError) -> [Float] {
        header.inCOrder(try elements(0..<header.count))
    }

    /// The values, in C order, in as many parts of equal length as the first axis counts.
    package func slices() throws(ImageError) -> [[Float]] {
        guard let count = shape.first, count > 0 else { return [] }
        let size = header.count / count
        var slices: [[Float]] = []
        slices.reserveCapacity(count)
        if header.isFortran {
            let values = try values()
            for i in 0..<count { slices.append(Array(values[i * size..<(i + 1) * size])) }
        } else {
            for i in 0..<count { slices.append(try elements(i * size..<(i + 1) * size)) }
        }
        return slices
    }

    /// Elements in the order of the file.
    private func elements(_ range: Range<Int>) throws(ImageError) -> [Float] {
        var values: [Float] = []
        values.reserveCapacity(range.count)
        // A piece at a time: the file's bytes are not needed beside all the numbers.
        let piece = 1 << 18
        for start in stride(from: range.lowerBound, to: range.upperBound, by: piece) {
            let count = min(piece, range.upperBound - start) * header.size
            let bytes = try Self.read(file, from: header.end + start * header.size, count: count)
            guard bytes.count == count else {
                throw .badArray(file: file.path, reason: "it became shorter while it was read")
            }
            header.append(bytes[...], to: &values)
        }
        return values
    }
}

/// The head of an array file: what its elements are, and how many of them follow.
private struct NPYHeader {
    static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)
    /// The longest head that is read, in bytes; NumPy reads 10,000 unless it is told to trust the file.
    static let sizeLimit = 1 << 16

    private enum Kind: String, CaseIterable { case f2, f4, f8, i4, i8, u1, b1 }

    private var kind = Kind.f4
    private var isBig = false
    /// Bytes of an element.
    private(set) var size = 4
    private(set) var isFortran = false
    private(set) var shape: [Int] = []
    /// The number of elements.
    private(set) var count = 1
    /// Where the elements begin.
    private(set) var end = 0

    /// Reads the head of a file of `size` bytes, of which at least the first `sizeLimit` are given, and checks that the elements that it
    /// speaks of are there.
    init(startOf bytes: [UInt8], size fileSize: Int, name: String) throws(ImageError) {
        func failed(_ reason: String) -> ImageError { .badArray(file: name, reason: reason) }
        guard bytes.starts(with: Self.magic) else { throw failed("it does not begin as a .npy file does") }
        guard bytes.count >= 12 else { throw failed("it ends within its header") }
        let version = bytes[6]
        guard (1...3).contains(version) else {
            throw failed("it has format version \(version), but only 1, 2 and 3 are read")
        }
        let start = version == 1 ? 10 : 12
        let length = (8..<start).reversed().reduce(0) { $0 << 8 | Int(bytes[$1]) }
        end = start + length
        guard end <= fileSize else { throw failed("it ends within its header") }
        guard end <= min(bytes.count, Self.sizeLimit) else {
            throw failed("its header has \(length) bytes, but at most \(Self.sizeLimit - start) are read")
        }
        do throws(Fault) {
            try parse(bytes[start..<end])
        } catch {
            throw failed(error.reason)
        }
        for extent in shape {
            let (product, overflow) = count.multipliedReportingOverflow(by: extent)
            guard !overflow else { throw failed("its shape \(shape) is impossibly large") }
            count = product
        }
        let (needed, overflow) = count.multipliedReportingOverflow(by: size)
        guard !overflow && needed == fileSize - end else {
            throw failed(
                "its shape \(shape) needs \(overflow ? "too many" : "\(needed)") bytes of data, "
                    + "but \(fileSize - end) follow its header")
        }
    }

    /// Appends elements as they lie in the file.
    func append(_ bytes: ArraySlice<UInt8>, to values: inout [Float]) {
        bytes.withUnsafeBytes { data in
            for offset in stride(from: 0, to: data.count, by: size) {
                values.append(element(data, at: offset))
            }
        }
    }

    private func element(_ data: UnsafeRawBufferPointer, at offset: Int) -> Float {
        func load<T: FixedWidthInteger>(_ type: T.Type) -> T {
            let raw = data.loadUnaligned(fromByteOffset: offset, as: T.self)
            return isBig ? T(bigEndian: raw) : T(littleEndian: raw)
        }
        return switch kind {
        case .f2: Float(Float16(bitPattern: load(UInt16.self)))
        case .f4: Float(bitPattern: load(UInt32.self))
        case .f8: Float(Double(bitPattern: load(UInt64.self)))
        case .i8: Float(load(Int64.self))
        case .i4: Float(load(Int32.self))
        case .b1: load(UInt8.self) == 0 ? 0 : 1
        case .u1: Float(load(UInt8.self))
        }
    }

    /// From first axis fastest, if that is how the file has it, to last axis fastest.
    func inCOrder(_ values: [Float]) -> [Float] {
        guard isFortran && shape.count > 1 else { return values }
        var steps = [Int](repeating: 1, count: shape.count)
        for axis in 1..<shape.count { steps[axis] = steps[axis - 1] * shape[axis - 1] }
        var position = [Int](repeating: 0, count: shape.count)
        var source = 0
        return values.indices.map { _ in
            defer {
                for axis in shape.indices.reversed() {
                    position[axis] += 1
                    source += steps[axis]
                    if position[axis] < shape[axis] { break }
                    source -= steps[axis] * shape[axis]
                    position[axis] = 0
                }
            }
            return values[source]
        }
    }

    private struct Fault: Error { let reason: String }

    /// The Python dictionary.
    private mutating func parse(_ text: ArraySlice<UInt8>) throws(Fault) {
        var tokens = Tokens(text)
        var seen: Set<String> = []
        try tokens.expect("{")
        while tokens.peek != "}" {
            let key = try tokens.string()
            guard seen.insert(key).inserted else {
                throw Fault(reason: "its header repeats \(quoted(key))")
            }
            try tokens.expect(":")
            switch key {
            case "descr":
                guard tokens.peek != "[" else {
                    throw Fault(reason: "its elements are records, but only plain numbers are read")
                }
                try setType(try tokens.string())
            case "fortran_order": isFortran = try tokens.truth()
            case "shape": shape = try tokens.tuple()
            default: throw Fault(reason: "its header holds the unknown key \(quoted(key))")
            }
            if tokens.peek != "}" { try tokens.expect(",") }
        }
        for key in ["descr", "fortran_order", "shape"] where !seen.contains(key) {
            throw Fault(reason: "its header lacks '\(key)'")
        }
    }

    private mutating func setType(_ text: String) throws(Fault) {
        let name = String(text.drop { "<>|=".contains($0) })
        guard let kind = Kind(rawValue: name) else {
            throw Fault(
                reason:
                    "its elements are of type \(quoted(text)), but only f2, f4, f8, i4, i8, u1 and bool are read"
            )
        }
        self.kind = kind
        size = Int(name.dropFirst())!
        isBig = text.first == ">"
    }

    /// Just enough of Python's literals.
    private struct Tokens {
        private var rest: ArraySlice<UInt8>

        init(_ text: ArraySlice<UInt8>) { rest = text }

        var peek: Character? {
            mutating get {
                rest = rest.drop { $0 == 0x20 || $0 == 0x0A }
                return rest.first.map { Character(UnicodeScalar($0)) }
            }
        }

        private static let fault = Fault(reason: "its header is not the dictionary that it should be")

        mutating func expect(_ character: Character) throws(Fault) {
            guard peek == character else { throw Self.fault }
            rest.removeFirst()
        }

        mutating func string() throws(Fault) -> String {
            guard let quote = peek, quote == "'" || quote == "\"" else { throw Self.fault }
            rest.removeFirst()
            guard let end = rest.firstIndex(of: quote.asciiValue!) else { throw Self.fault }
            defer { rest = rest[(end + 1)...] }
            return String(decoding: rest[..<end], as: UTF8.self)
        }

        mutating func truth() throws(Fault) -> Bool {
            _ = peek
            for (word, value) in [("True", true), ("False", false)] where rest.starts(with: word.utf8) {
                rest = rest.dropFirst(word.utf8.count)
                return value
            }
            throw Self.fault
        }

        mutating func tuple() throws(Fault) -> [Int] {
            try expect("(")
            var sizes: [Int] = []
            while peek != ")" {
                let digits = rest.prefix { (0x30...0x39).contains($0) }
                guard let size = Int(String(decoding: digits, as: UTF8.self)) else { throw Self.fault }
                sizes.append(size)
                rest = rest.dropFirst(digits.count)
                if peek != ")" { try expect(",") }
            }
            rest.removeFirst()
            guard sizes.count <= 32 else { throw Fault(reason: "its shape has more than 32 axes") }
            return sizes
        }
    }
}
