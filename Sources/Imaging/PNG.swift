// PNG: read through libpng's simplified interface, which needs no setjmp; written with libdeflate, which is quicker than zlib.
//
// That interface manages colours: it converts a file with a gAMA, sRGB or iCCP chunk to sRGB, and takes 16-bit
// samples for linear light. Networks were trained on the stored numbers. So only the chunks that say what
// the numbers are (IHDR, PLTE, tRNS, IDAT, IEND) are handed on. 16-bit files without transparency are then read as "linear"
// to "linear", which changes nothing, and keep their high byte; 16-bit files with transparency, which
// would come out multiplied by it, are rounded to 8 bits instead (at most one step from the high byte).
//
// Transparency changes no number: a network has no background to show through, and sees the colours that are stored. The picture says that it
// is transparent, so that people can be told, and keeps how opaque each pixel is, for networks that take that too.

import CDeflate
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

    /// A PNG file of 8-bit colours. Each row is filtered by what leaves the least of it: the pixel to the left, or the one above.
    package static func encode(_ image: RGBImage, fast: Bool) -> [UInt8] {
        let rows = filtered(image)
        // libdeflate's levels; the least is twice as quick as zlib's, with smaller files.
        let compressor = libdeflate_alloc_compressor(fast ? 1 : 8)
        precondition(compressor != nil, "There is no memory to write a picture with.")
        defer { libdeflate_free_compressor(compressor) }
        let bound = libdeflate_zlib_compress_bound(compressor, rows.count)
        let compressed = [UInt8](unsafeUninitializedCapacity: bound) { buffer, count in
            count = libdeflate_zlib_compress(compressor, rows, rows.count, buffer.baseAddress, bound)
            precondition(count > 0, "There is always room for so many bytes.")
        }
        let header = bigEndian32(image.width) + bigEndian32(image.height) + [8, 2, 0, 0, 0]
        // The colours are those of sRGB.
        return signature + chunk("IHDR", header) + chunk("sRGB", [0]) + chunk("IDAT", compressed)
            + chunk("IEND", [])
    }

    /// The rows as they are compressed: each with the number of its filter in front.
    private static func filtered(_ image: RGBImage) -> [UInt8] {
        let stride = 3 * image.width
        return [UInt8](unsafeUninitializedCapacity: (stride + 1) * image.height) { buffer, count in
            image.pixels.withUnsafeBufferPointer { pixels in
                var target = buffer.baseAddress!
                var row = pixels.baseAddress!
                /// What is left of a row, as numbers from −128 to 127.
                func rest(_ distance: Int, from first: Int) -> Int {
                    var sum: UInt32 = 0
                    for i in first..<stride {
                        let left = Int16(Int8(truncatingIfNeeded: Int16(row[i]) - Int16(row[i - distance])))
                        sum &+= UInt32(truncatingIfNeeded: left < 0 ? -left : left)
                    }
                    return Int(sum)
                }
                for y in 0..<image.height {
                    let isUp = y > 0 && rest(stride, from: 0) < rest(3, from: 3)
                    target[0] = isUp ? 2 : 1
                    target += 1
                    let (distance, first) = isUp ? (stride, 0) : (3, 3)
                    for i in 0..<first { target[i] = row[i] }
                    for i in first..<stride { target[i] = row[i] &- row[i - distance] }
                    target += stride
                    row += stride
                }
            }
            count = (stride + 1) * image.height
        }
    }
}

extension RGBImage {
    /// The picture as a PNG file. `fast` is several times quicker and gives slightly larger files.
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
