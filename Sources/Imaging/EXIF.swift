// The one thing of EXIF that matters here: which way up the picture is.

package enum EXIF {
    /// What stands before the block in JPEG files, and in some WebP files: "Exif" and two zeros.
    static let name: [UInt8] = [0x45, 0x78, 0x69, 0x66, 0, 0]

    /// The orientation (1…8) that a TIFF block states in its first directory; 1 where it states none or is broken.
    package static func orientation(of block: ArraySlice<UInt8>) -> Int {
        let bytes = [UInt8](block)
        let isLittle: Bool
        if bytes.starts(with: [0x49, 0x49, 0x2A, 0]) {
            isLittle = true
        } else if bytes.starts(with: [0x4D, 0x4D, 0, 0x2A]) {
            isLittle = false
        } else {
            return 1
        }
        func number(at offset: Int, size: Int) -> Int? {
            guard offset >= 0 && offset + size <= bytes.count else { return nil }
            let digits = bytes[offset..<offset + size]
            return isLittle
                ? digits.reversed().reduce(0) { $0 << 8 | Int($1) } : digits.reduce(0) { $0 << 8 | Int($1) }
        }
        guard let directory = number(at: 4, size: 4), let entries = number(at: directory, size: 2) else {
            return 1
        }
        for entry in 0..<entries {
            let at = directory + 2 + 12 * entry
            guard let tag = number(at: at, size: 2) else { return 1 }
            guard tag == 0x0112 else { continue }
            let isShort = number(at: at + 2, size: 2) == 3
            guard isShort, let value = number(at: at + 8, size: 2), (1...8).contains(value) else { return 1 }
            return value
        }
        return 1
    }
}
