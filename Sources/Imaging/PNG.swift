// PNG through libpng's simplified interface, which needs no setjmp.
//
// That interface manages colours: it converts a file with a gAMA, sRGB or iCCP chunk to sRGB, and takes 16-bit
// samples for linear light. Networks were trained on the stored numbers. So only the chunks that say what
// the numbers are (IHDR, PLTE, tRNS, IDAT, IEND) are handed on. 16-bit files without transparency are then read as "linear"
// to "linear", which changes nothing, and keep their high byte; 16-bit files with transparency, which
// would come out multiplied by it, are rounded to 8 bits instead (at most one step from the high byte).
//
// Transparency changes no number: a network has no background to show through, and sees the colours that are stored. The picture says that it
// is transparent, so that people can be told, and keeps how opaque each pixel is, for networks that take that too.

import CPNG
import Files

package enum PNG {
    package static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    // MARK: Reading

    package static func decode(
        _ bytes: [UInt8], name: String, _ admission: RGBImage.Admission
    ) throws(ImageError) -> RGBImage {
        let file = try essentials(of: bytes, name: name)
        let isDeep = file.bitDepth == 16
        let hasAlpha = file.colourType == 4 || file.colourType == 6 || file.hasTransparentColours && !isDeep
        // Its opacity is kept too, and turned upright.
        try admission(
            RGBImage.decodingMemory(file.width, file.height, file: bytes)
                + (hasAlpha ? 4 * file.width * file.height : 0))
        // libpng 1.6.39 rounds such rows to 8 bits without asking to which of the picture's they belong.
        guard !(file.isInterlaced && isDeep && hasAlpha) else {
            throw .unsupported(
                file: name,
                reason:
                    "it is an interlaced PNG of 16 bits with transparency; save it with 8 bits, or without interlacing"
            )
        }
        var format = UInt32(PNG_FORMAT_FLAG_COLOR)
        if hasAlpha { format |= UInt32(PNG_FORMAT_FLAG_ALPHA) }
        var picture: RGBImage
        if isDeep && !hasAlpha {
            format |= UInt32(PNG_FORMAT_FLAG_LINEAR)
            let (width, height, deep) = try read(file.chunks, format, UInt16.self, name: name)
            picture = RGBImage(
                width: width, height: height, pixels: deep.map { UInt8(truncatingIfNeeded: $0 >> 8) })
            picture.isTransparent = file.hasTransparentColours
        } else {
            var (width, height, pixels) = try read(file.chunks, format, UInt8.self, name: name)
            var opacity: [UInt8]?
            if hasAlpha {
                let count = width * height
                pixels.withUnsafeMutableBufferPointer { p in
                    if (0..<count).contains(where: { p[4 * $0 + 3] < 255 }) {
                        opacity = (0..<count).map { p[4 * $0 + 3] }
                    }
                    for i in 0..<count {
                        p[3 * i] = p[4 * i]
                        p[3 * i + 1] = p[4 * i + 1]
                        p[3 * i + 2] = p[4 * i + 2]
                    }
                }
                pixels.removeLast(count)
            }
            picture = RGBImage(width: width, height: height, pixels: pixels)
            (picture.isTransparent, picture.opacity) = (opacity != nil, opacity)
        }
        return picture.upright(orientation: file.orientation)
    }

    /// Has libpng read a file. How much it writes is its own idea of the size, so that alone says how much room there is.
    private static func read<Sample: FixedWidthInteger>(
        _ chunks: [UInt8], _ format: UInt32, _: Sample.Type, name: String
    ) throws(ImageError) -> (width: Int, height: Int, samples: [Sample]) {
        var image = png_image()
        image.version = UInt32(PNG_IMAGE_VERSION)
        image.flags = 0
        defer { png_image_free(&image) }
        // The bytes must stay where they are from one call to the other.
        let result: Result<[Sample], ImageError> = chunks.withUnsafeBytes { buffer in
            func failed() -> Result<[Sample], ImageError> {
                .failure(.damaged(file: name, reason: "the PNG decoder says \"\(message(of: image))\""))
            }
            guard png_image_begin_read_from_memory(&image, buffer.baseAddress, buffer.count) != 0 else {
                return failed()
            }
            let (width, height) = (Int(image.width), Int(image.height))
            do throws(ImageError) {
                try RGBImage.checkSize(width, height, name: name)
            } catch {
                return .failure(error)
            }
            image.format = format
            if format & UInt32(PNG_FORMAT_FLAG_LINEAR) == 0 {
                image.flags |= UInt32(PNG_IMAGE_FLAG_16BIT_sRGB)
            }
            let channels = format & UInt32(PNG_FORMAT_FLAG_ALPHA) != 0 ? 4 : 3
            var samples = [Sample](repeating: 0, count: width * height * channels)
            let isRead = samples.withUnsafeMutableBytes { target in
                png_image_finish_read(&image, nil, target.baseAddress, 0, nil) != 0
            }
            return isRead ? .success(samples) : failed()
        }
        return (Int(image.width), Int(image.height), try result.get())
    }

    private static func message(of image: png_image) -> String {
        withUnsafeBytes(of: image.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    private struct Essentials {
        var width = 0
        var height = 0
        var bitDepth = 0
        var colourType = 0
        var isInterlaced = false
        var orientation = 1
        /// Whether colours, or entries of the palette, are declared transparent.
        var hasTransparentColours = false
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
                file.isInterlaced = bytes[position + 20] == 1
                try RGBImage.checkSize(file.width, file.height, name: name)
            case "IDAT": compressed += length
            case "eXIf": file.orientation = EXIF.orientation(of: bytes[content])
            default: break
            }
            // Of 16 bits, colours would be multiplied by it.
            if kind == "tRNS" && file.colourType < 4 { file.hasTransparentColours = true }
            let isKept =
                kind == "tRNS"
                ? file.bitDepth < 16 && file.colourType < 4 : ["IHDR", "PLTE", "IDAT", "IEND"].contains(kind)
            if isKept { file.chunks += bytes[position..<end] }
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
        do { try AtomicFile.write(pngData(fast: fast), to: path, overwrite: overwrite) } catch {
            throw .file(error)
        }
    }
}

extension [UInt8] {
    func bigEndian16(at i: Int) -> Int { Int(self[i]) << 8 | Int(self[i + 1]) }
    func bigEndian32(at i: Int) -> Int { bigEndian16(at: i) << 16 | bigEndian16(at: i + 2) }
}
