// PNG through libpng's simplified interface, which needs no setjmp.
//
// That interface manages colours: it converts a file with a gAMA, sRGB or iCCP chunk to sRGB, and takes 16-bit
// samples for linear light. Networks were trained on the stored numbers. So only the chunks that say what
// the numbers are (IHDR, PLTE, IDAT, IEND) are handed on. 16-bit files without transparency are then read as "linear"
// to "linear", which changes nothing, and keep their high byte; 16-bit files with transparency, which
// would come out multiplied by it, are rounded to 8 bits instead (at most one step from the high byte).

import CPNG

package enum PNG {
    package static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    // MARK: Reading

    package static func decode(_ bytes: [UInt8], name: String) throws(ImageError) -> RGBImage {
        let file = try essentials(of: bytes, name: name)
        let hasAlpha = file.colourType == 4 || file.colourType == 6
        let isDeep = file.bitDepth == 16
        let channels = hasAlpha ? 4 : 3
        let samples = file.width * file.height * channels

        var format = UInt32(PNG_FORMAT_FLAG_COLOR)
        if hasAlpha { format |= UInt32(PNG_FORMAT_FLAG_ALPHA) }
        var pixels: [UInt8]
        if isDeep && !hasAlpha {
            format |= UInt32(PNG_FORMAT_FLAG_LINEAR)
            var deep = [UInt16](repeating: 0, count: samples)
            try read(file.chunks, format: format, into: &deep, name: name)
            pixels = deep.map { UInt8(truncatingIfNeeded: $0 >> 8) }
        } else {
            pixels = [UInt8](repeating: 0, count: samples)
            try read(file.chunks, format: format, into: &pixels, name: name)
        }
        if hasAlpha {
            let count = file.width * file.height
            pixels.withUnsafeMutableBufferPointer { p in
                for i in 0..<count {
                    p[3 * i] = p[4 * i]
                    p[3 * i + 1] = p[4 * i + 1]
                    p[3 * i + 2] = p[4 * i + 2]
                }
            }
            pixels.removeLast(count)
        }
        return RGBImage(width: file.width, height: file.height, pixels: pixels)
            .upright(orientation: file.orientation)
    }

    private static func read<Sample>(
        _ chunks: [UInt8], format: UInt32, into samples: inout [Sample], name: String
    ) throws(ImageError) {
        var image = png_image()
        image.version = UInt32(PNG_IMAGE_VERSION)
        image.flags = 0
        defer { png_image_free(&image) }
        let begun = chunks.withUnsafeBytes { (buffer: UnsafeRawBufferPointer) -> Bool in
            guard png_image_begin_read_from_memory(&image, buffer.baseAddress, buffer.count) != 0 else {
                return false
            }
            image.format = format
            // libpng writes as much as its own idea of the size asks for.
            guard samples.count * MemoryLayout<Sample>.stride >= bytesNeeded(image) else { return false }
            if format & UInt32(PNG_FORMAT_FLAG_LINEAR) == 0 {
                image.flags |= UInt32(PNG_IMAGE_FLAG_16BIT_sRGB)
            }
            return samples.withUnsafeMutableBytes { target in
                png_image_finish_read(&image, nil, target.baseAddress, 0, nil) != 0
            }
        }
        guard begun else {
            throw .damaged(file: name, reason: "the PNG decoder says \"\(message(of: image))\"")
        }
    }

    /// What libpng will write for the size and format that `image` has now.
    private static func bytesNeeded(_ image: png_image) -> Int {
        let channels = image.format & UInt32(PNG_FORMAT_FLAG_ALPHA) != 0 ? 4 : 3
        let sample = image.format & UInt32(PNG_FORMAT_FLAG_LINEAR) != 0 ? 2 : 1
        return Int(image.width) * Int(image.height) * channels * sample
    }

    private static func message(of image: png_image) -> String {
        withUnsafeBytes(of: image.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    private struct Essentials {
        var width = 0
        var height = 0
        var bitDepth = 0
        var colourType = 0
        var orientation = 1
        /// A PNG file of the chunks that matter.
        var chunks = PNG.signature
    }

    /// Walks the chunks: the header, the orientation, and a file without the chunks that would change colours.
    private static func essentials(of bytes: [UInt8], name: String) throws(ImageError) -> Essentials {
        var file = Essentials()
        var position = signature.count
        var compressed = 0
        var isFirst = true
        file.chunks.reserveCapacity(bytes.count)
        while true {
            guard position + 12 <= bytes.count else {
                throw .damaged(file: name, reason: "the PNG file is cut off after \(bytes.count) bytes")
            }
            let length = bytes.bigEndian32(at: position)
            let kind = String(decoding: bytes[position + 4..<position + 8], as: UTF8.self)
            let end = position + 12 + length
            guard !isFirst || (kind == "IHDR" && length == 13) else {
                throw .damaged(file: name, reason: "the PNG file does not begin with a header")
            }
            guard end <= bytes.count else {
                throw .damaged(file: name, reason: "the PNG file is cut off after \(bytes.count) bytes")
            }
            guard isFirst || kind != "IHDR" else {
                throw .damaged(file: name, reason: "the PNG file has a second header")
            }
            let content = position + 8..<position + 8 + length
            switch kind {
            case "IHDR":
                file.width = bytes.bigEndian32(at: position + 8)
                file.height = bytes.bigEndian32(at: position + 12)
                file.bitDepth = Int(bytes[position + 16])
                file.colourType = Int(bytes[position + 17])
                try RGBImage.checkSize(file.width, file.height, name: name)
            case "IDAT": compressed += length
            case "eXIf": file.orientation = EXIF.orientation(of: bytes[content])
            default: break
            }
            if ["IHDR", "PLTE", "IDAT", "IEND"].contains(kind) { file.chunks += bytes[position..<end] }
            if kind == "IEND" { break }
            position = end
            isFirst = false
        }
        // Deflate shrinks by at most 1032. A tiny file that claims to be huge is refused before it costs memory.
        let bitsPerPixel = file.bitDepth * [1, 0, 3, 1, 2, 0, 4, 0][file.colourType & 7]
        guard file.width * file.height / 8 * bitsPerPixel <= (compressed + 64) * 1032 else {
            throw .damaged(
                file: name,
                reason:
                    "it claims \(file.width) × \(file.height) pixels but holds only \(compressed) bytes of them"
            )
        }
        return file
    }

    // MARK: Writing

    package static func encode(_ image: RGBImage, fast: Bool) -> [UInt8] {
        var header = png_image()
        header.version = UInt32(PNG_IMAGE_VERSION)
        header.width = UInt32(image.width)
        header.height = UInt32(image.height)
        header.format = UInt32(PNG_FORMAT_FLAG_COLOR)
        header.flags = fast ? UInt32(PNG_IMAGE_FLAG_FAST) : 0
        // More than deflate and the chunks around it can add to the rows.
        let raw = image.height * (1 + 3 * image.width)
        var size = raw + raw / 8 + 4096
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            let written = image.pixels.withUnsafeBytes {
                png_image_write_to_memory(&header, buffer.baseAddress, &size, 0, $0.baseAddress, 0, nil)
            }
            precondition(written != 0, "libpng could not write to memory: \(message(of: header))")
            count = size
        }
        return bytes
    }
}

extension RGBImage {
    /// The picture as a PNG file. `fast` is three to ten times quicker and gives files half as large again.
    package func pngData(fast: Bool = false) -> [UInt8] { PNG.encode(self, fast: fast) }

    /// Writes the picture as a PNG file, completely or not at all.
    package func writePNG(to path: String, overwrite: Bool, fast: Bool = false) throws(ImageError) {
        try AtomicFile.write(pngData(fast: fast), to: path, overwrite: overwrite)
    }
}

extension [UInt8] {
    func bigEndian16(at i: Int) -> Int { Int(self[i]) << 8 | Int(self[i + 1]) }
    func bigEndian32(at i: Int) -> Int { bigEndian16(at: i) << 16 | bigEndian16(at: i + 2) }
}
