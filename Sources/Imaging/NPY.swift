// NumPy's array files: written as format 1.0, binary32, C order; read in every version and in the common
// element types, converted to binary32.

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
        try NPYArray(decoding: try readFile(path), name: path)
    }

    package func write(to path: String, overwrite: Bool) throws(ImageError) {
        try AtomicFile.write(npyData, to: path, overwrite: overwrite)
    }

    // MARK: Writing

    private static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)

    /// The bytes of the file: magic, version 1.0, a header padded so that the data begin at a multiple of 64.
    package var npyData: [UInt8] {
        let sizes = shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? "," : "")
        var header = "{'descr': '<f4', 'fortran_order': False, 'shape': (\(sizes)), }"
        header += String(repeating: " ", count: 63 - (10 + header.utf8.count) % 64) + "\n"
        let length = header.utf8.count
        var bytes = Self.magic + [1, 0, UInt8(length & 0xFF), UInt8(length >> 8)]
        bytes += header.utf8
        bytes.reserveCapacity(bytes.count + 4 * values.count)
        for value in values {
            withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
        }
        return bytes
    }

    // MARK: Reading

    package init(decoding bytes: [UInt8], name: String) throws(ImageError) {
        func failed(_ reason: String) -> ImageError { .badArray(file: name, reason: reason) }
        guard bytes.starts(with: Self.magic) else { throw failed("it does not begin as a .npy file does") }
        guard bytes.count >= 12 else { throw failed("it ends within its header") }
        let version = bytes[6]
        guard (1...3).contains(version) else {
            throw failed("it has format version \(version), but only 1, 2 and 3 are read")
        }
        let start = version == 1 ? 10 : 12
        let length = (8..<start).reversed().reduce(0) { $0 << 8 | Int(bytes[$1]) }
        guard start + length <= bytes.count else { throw failed("it ends within its header") }

        var header: Header
        do {
            header = try Header(parsing: bytes[start..<start + length])
        } catch {
            throw failed(error.reason)
        }
        var count = 1
        for size in header.shape {
            let (product, overflow) = count.multipliedReportingOverflow(by: size)
            guard !overflow else { throw failed("its shape \(header.shape) is impossibly large") }
            count = product
        }
        let available = bytes.count - start - length
        let (needed, overflow) = count.multipliedReportingOverflow(by: header.size)
        guard !overflow && needed == available else {
            throw failed(
                "its shape \(header.shape) needs \(overflow ? "too many" : "\(needed)") bytes of data, "
                    + "but \(available) follow its header")
        }
        var values = [Float](repeating: 0, count: count)
        bytes.withUnsafeBytes { buffer in
            let data = UnsafeRawBufferPointer(rebasing: buffer[(start + length)...])
            for i in 0..<count { values[i] = header.element(data, at: i * header.size) }
        }
        if header.isFortran && header.shape.count > 1 {
            values = Self.cOrder(values, shape: header.shape)
        }
        shape = header.shape
        self.values = values
    }

    /// From first axis fastest to last axis fastest.
    private static func cOrder(_ values: [Float], shape: [Int]) -> [Float] {
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

    /// The Python dictionary at the head of the file.
    private struct Header {
        var kind = ""
        var size = 0
        var isBig = false
        var isFortran = false
        var shape: [Int] = []

        init(parsing text: ArraySlice<UInt8>) throws(Fault) {
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
            kind = String(text.drop { "<>|=".contains($0) })
            isBig = text.first == ">"
            let sizes = ["f2": 2, "f4": 4, "f8": 8, "i8": 8, "i4": 4, "u1": 1, "b1": 1]
            guard let size = sizes[kind] else {
                throw Fault(
                    reason:
                        "its elements are of type \(quoted(text)), but only f2, f4, f8, i4, i8, u1 and bool are read"
                )
            }
            self.size = size
        }

        func element(_ data: UnsafeRawBufferPointer, at offset: Int) -> Float {
            func load<T: FixedWidthInteger>(_ type: T.Type) -> T {
                let raw = data.loadUnaligned(fromByteOffset: offset, as: T.self)
                return isBig ? T(bigEndian: raw) : T(littleEndian: raw)
            }
            return switch kind {
            case "f2": Float(Float16(bitPattern: load(UInt16.self)))
            case "f4": Float(bitPattern: load(UInt32.self))
            case "f8": Float(Double(bitPattern: load(UInt64.self)))
            case "i8": Float(load(Int64.self))
            case "i4": Float(load(Int32.self))
            case "b1": load(UInt8.self) == 0 ? 0 : 1
            default: Float(load(UInt8.self))
            }
        }
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
