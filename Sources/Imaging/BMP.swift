// BMP, read by ourselves: there is little to it, and no library that Debian has reads it alone.
//
// Headers of 12 bytes (OS/2) and 40 to 124 (Windows); palettes of 1, 4 and 8 bits, also run-length coded; 16, 24 and 32 bits with any masks.
// Pixels are what Pillow makes of them. Rows lie from the bottom up, unless the height is negative.

enum BMP {
    private static let headers: Set<Int> = [12, 40, 52, 56, 64, 108, 124]

    /// Two letters are not much of a signature, so the size of the header must be one that there is.
    static func isOne(_ bytes: [UInt8]) -> Bool {
        bytes.starts(with: "BM".utf8) && (bytes.count < 18 || headers.contains(bytes.littleEndian32(at: 14)))
    }

    private enum Compression: Int { case none, runs8, runs4, masks }

    private struct Header {
        let width: Int, height: Int
        /// The first row is the topmost.
        let isTopDown: Bool
        let bits: Int
        let compression: Compression
        let palette: Palette
        /// Of the red, the green, the blue and the opacity of a pixel.
        let masks: [Mask]
        /// Where the pixels are.
        let pixels: Int
    }

    /// Which bits of a pixel are a channel.
    private struct Mask {
        let bits: UInt32, shift: UInt32
        let largest: Int

        init(_ bits: UInt32) {
            self.bits = bits
            shift = bits == 0 ? 0 : UInt32(bits.trailingZeroBitCount)
            largest = Int(bits >> shift)
        }

        @inline(__always) func level(_ pixel: UInt32) -> UInt8 {
            let number = (pixel & bits) &>> shift
            if largest == 255 { return UInt8(truncatingIfNeeded: number) }
            return largest == 0 ? 0 : UInt8(Int(number) * 255 / largest)
        }
    }

    static func decode(
        _ bytes: [UInt8], name: String, _ admission: RGBImage.Admission
    ) throws(ImageError) -> RGBImage {
        let header = try header(bytes, name: name)
        let (width, height) = (header.width, header.height)
        try RGBImage.checkSize(width, height, name: name)
        try admission(RGBImage.decodingMemory(width, height, file: bytes) + 2 * width * height)
        if header.compression == .runs4 || header.compression == .runs8 {
            let indices = try runs(bytes, header, name: name)
            var picture = RGBImage(width: width, height: height)
            for y in 0..<height {
                let row = header.isTopDown ? y : height - 1 - y
                header.palette.paint(
                    indices[row * width..<row * width + width], on: &picture.pixels, from: y * width)
            }
            return picture
        }
        // Rows are filled up to four bytes, which the last may lack.
        let row = (width * header.bits + 7) / 8
        let stride = (width * header.bits + 31) / 32 * 4
        guard header.pixels <= bytes.count, stride * (height - 1) + row <= bytes.count - header.pixels else {
            throw cutOff(bytes, name)
        }
        var picture = RGBImage(width: width, height: height)
        let (red, green, blue, last) = (header.masks[0], header.masks[1], header.masks[2], header.masks[3])
        let hasOpacity = header.bits == 32 && last.largest != 0
        var opacity = [UInt8](repeating: 255, count: hasOpacity ? width * height : 0)
        bytes.withUnsafeBufferPointer { bytes in
            var indices = [UInt8](repeating: 0, count: header.bits <= 8 ? width : 0)
            for y in 0..<height {
                let source = header.pixels + stride * (header.isTopDown ? y : height - 1 - y)
                if header.bits <= 8 {
                    let (bits, perByte) = (header.bits, 8 / header.bits)
                    for x in 0..<width {
                        let shift = 8 - bits - x % perByte * bits
                        indices[x] = bytes[source + x / perByte] >> shift & UInt8(1 << bits - 1)
                    }
                    header.palette.paint(indices, on: &picture.pixels, from: y * width)
                    continue
                }
                picture.pixels.withUnsafeMutableBufferPointer { target in
                    let size = header.bits / 8
                    for x in 0..<width {
                        let (at, to) = (source + size * x, y * width + x)
                        var pixel = UInt32(bytes[at]) | UInt32(bytes[at + 1]) << 8
                        if size > 2 { pixel |= UInt32(bytes[at + 2]) << 16 }
                        if size > 3 { pixel |= UInt32(bytes[at + 3]) << 24 }
                        target[3 * to] = red.level(pixel)
                        target[3 * to + 1] = green.level(pixel)
                        target[3 * to + 2] = blue.level(pixel)
                        if hasOpacity { opacity[to] = last.level(pixel) }
                    }
                }
            }
        }
        if hasOpacity { picture.setOpacity(opacity) }
        return picture
    }

    private static func cutOff(_ bytes: [UInt8], _ name: String) -> ImageError {
        .damaged(file: name, reason: "the BMP file is cut off after \(bytes.count) bytes")
    }

    private static func header(_ bytes: [UInt8], name: String) throws(ImageError) -> Header {
        guard bytes.count >= 18 else { throw cutOff(bytes, name) }
        let size = bytes.littleEndian32(at: 14)
        guard bytes.count >= 14 + size else { throw cutOff(bytes, name) }
        let isOld = size == 12
        let (width, signedHeight): (Int, Int) =
            isOld
            ? (bytes.littleEndian16(at: 18), bytes.littleEndian16(at: 20))
            : (
                Int(Int32(truncatingIfNeeded: bytes.littleEndian32(at: 18))),
                Int(Int32(truncatingIfNeeded: bytes.littleEndian32(at: 22)))
            )
        let bits = bytes.littleEndian16(at: isOld ? 24 : 28)
        let number = isOld ? 0 : bytes.littleEndian32(at: 30)
        guard [1, 4, 8, 16, 24, 32].contains(bits) else {
            throw .unsupported(
                file: name,
                reason: "it has \(bits) bits per pixel, but only BMPs with 1, 4, 8, 16, 24 and 32 are read")
        }
        guard let compression = Compression(rawValue: number), size != 64 || compression != .masks,
            compression != .masks || bits >= 16, compression != .runs8 || bits == 8,
            compression != .runs4 || bits == 4
        else {
            throw .unsupported(
                file: name,
                reason:
                    "it is a BMP of \(bits) bits with compression \(number), which is not read; save it uncompressed"
            )
        }

        var end = 14 + size
        var masks: [UInt32] = bits == 16 ? [0x7C00, 0x3E0, 0x1F, 0] : [0xFF0000, 0xFF00, 0xFF, 0]
        if compression == .masks {
            // Behind the oldest of these headers; in the others, which may have one for the opacity too.
            let count = size >= 56 ? 4 : 3
            guard bytes.count >= 54 + 4 * count else { throw cutOff(bytes, name) }
            masks = (0..<4).map { $0 < count ? UInt32(bytes.littleEndian32(at: 54 + 4 * $0)) : 0 }
            if size == 40 { end += 12 }
            if bits == 32, masks.allSatisfy({ $0 == 0 }) { masks = [0xFF0000, 0xFF00, 0xFF, 0xFF00_0000] }
        }

        var palette = Palette.greys
        if bits <= 8 {
            let claimed = isOld ? 0 : bytes.littleEndian32(at: 46)
            let (count, step) = (claimed == 0 ? 1 << bits : claimed, isOld ? 3 : 4)
            guard count <= 65536 else {
                throw .damaged(file: name, reason: "it claims a palette of \(count) colours")
            }
            guard end + step * count <= bytes.count else { throw cutOff(bytes, name) }
            palette = Palette(
                (0..<min(count, 256)).map {
                    let at = end + step * $0
                    return (bytes[at + 2], bytes[at + 1], bytes[at])
                })
            end += step * count
        }
        let offset = bytes.littleEndian32(at: 10)
        // Some writers forget the palette when they say where the pixels are.
        let pixels = offset == 0 || bits <= 8 && offset == 14 + size ? end : offset
        return Header(
            width: width, height: abs(signedHeight), isTopDown: signedHeight < 0, bits: bits,
            compression: compression, palette: palette, masks: masks.map(Mask.init), pixels: pixels)
    }

    /// Numbers of colours, in the order of the file, where a run tells how often one (or with 4 bits, two in turn) comes. What is jumped over is
    /// number 0.
    private static func runs(_ bytes: [UInt8], _ header: Header, name: String) throws(ImageError) -> [UInt8] {
        let (width, count) = (header.width, header.width * header.height)
        let isNarrow = header.compression == .runs4
        var indices = [UInt8](repeating: 0, count: count)
        // The next pixel, and its column as far as runs are concerned: they end with the row.
        var (next, column, position) = (0, 0, header.pixels)
        func byte(_ at: Int) throws(ImageError) -> UInt8 {
            guard at < bytes.count else { throw cutOff(bytes, name) }
            return bytes[at]
        }
        while next < count {
            let (length, value) = (Int(try byte(position)), try byte(position + 1))
            position += 2
            if length > 0 {
                let run = min(max(0, min(length, width - column)), count - next)
                for i in 0..<run {
                    indices[next + i] = !isNarrow ? value : i % 2 == 0 ? value >> 4 : value & 15
                }
                next += run
                column += run
                continue
            }
            switch value {
            case 0:
                next = min(count, (next + width - 1) / width * width)
                column = 0
            case 1:
                throw .damaged(file: name, reason: "its runs end after \(next) of \(count) pixels")
            case 2:
                next += Int(try byte(position)) + Int(try byte(position + 1)) * width
                next = min(next, count)
                column = next % width
                position += 2
            default:
                let run = min(count - next, Int(value))
                for i in 0..<run {
                    indices[next + i] =
                        !isNarrow
                        ? try byte(position + i)
                        : i % 2 == 0 ? try byte(position + i / 2) >> 4 : try byte(position + i / 2) & 15
                }
                next += run
                column += Int(value)
                // To an even place in the file.
                position += isNarrow ? (run + 1) / 2 : run
                position += position % 2
            }
        }
        return indices
    }
}

extension [UInt8] {
    func littleEndian16(at i: Int) -> Int { Int(self[i]) | Int(self[i + 1]) << 8 }
    func littleEndian32(at i: Int) -> Int { littleEndian16(at: i) | littleEndian16(at: i + 2) << 16 }
}
