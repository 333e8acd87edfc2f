// The picture type of the whole program, and how one comes out of a file.
//
// Decoding gives what Pillow's `Image.open(path).convert("RGB")` gives, bit for bit, with two exceptions:
// the orientation that EXIF or TIFF states is applied (as `ImageOps.exif_transpose` does), and 16-bit greys keep their high
// byte, where Pillow clips them to white. Transparency is dropped: the colours under it are used as they are.
// No colour management: gamma, chromaticities and ICC profiles are ignored.

import Files

/// A picture of 8-bit red, green and blue, interleaved, rows from top to bottom.
package struct RGBImage: Equatable, Sendable {
    package let width: Int
    package let height: Int
    /// `height × width × 3` bytes: R, G, B of the top left pixel first.
    package internal(set) var pixels: [UInt8]
    /// How opaque each pixel is, `height × width` bytes; nil if all of them are, or the file says it by a colour of 16 bits.
    package internal(set) var opacity: [UInt8]?
    /// Whether the file says that one can see through some of the pixels. Their colours are here as if one could not.
    package internal(set) var isTransparent = false

    /// The largest picture that is read or made, in pixels.
    package static let pixelLimit = 200_000_000

    /// A picture from its bytes; `pixels` must hold `width × height × 3` of them.
    package init(width: Int, height: Int, pixels: [UInt8]) {
        precondition(width > 0 && height > 0 && pixels.count == width * height * 3)
        self.width = width
        self.height = height
        self.pixels = pixels
    }

    /// A picture of one colour.
    package init(width: Int, height: Int, colour: (UInt8, UInt8, UInt8) = (0, 0, 0)) {
        precondition(width > 0 && height > 0)
        self.width = width
        self.height = height
        pixels = [UInt8](repeating: colour.0, count: width * height * 3)
        guard colour.1 != colour.0 || colour.2 != colour.0 else { return }
        for i in 0..<width * height {
            pixels[3 * i + 1] = colour.1
            pixels[3 * i + 2] = colour.2
        }
    }

    /// Of files that people call pictures of the formats that are read; what a file is its content tells.
    package static let fileExtensions = ["png", "jpg", "jpeg", "webp", "tif", "tiff", "gif", "bmp"]
    /// The formats that are read, for sentences.
    package static let formats = "PNG, JPEG, WebP, TIFF, GIF or BMP"

    /// Asked when the size of a picture is known, before it is decoded: the bytes of memory that decoding takes, at most, with the file's.
    package typealias Admission = (_ bytes: Int) throws(ImageError) -> Void

    /// Reads a picture file of any of the formats. The format is told by the content, never by the name.
    package static func load(
        path: String, admission: Admission = { _ throws(ImageError) in }
    ) throws(ImageError) -> RGBImage {
        let bytes: [UInt8]
        do { bytes = try InputFile.contents(path) } catch { throw .file(error) }
        return try RGBImage(decoding: bytes, name: path, admission: admission)
    }

    /// Decodes the bytes of a picture file; `name` is what errors call it.
    package init(
        decoding bytes: [UInt8], name: String, admission: Admission = { _ throws(ImageError) in }
    ) throws(ImageError) {
        if bytes.starts(with: PNG.signature) {
            self = try PNG.decode(bytes, name: name, admission)
        } else if bytes.starts(with: [0xFF, 0xD8, 0xFF]) {
            self = try JPEG.decode(bytes, name: name, admission)
        } else if WebP.isOne(bytes) {
            self = try WebP.decode(bytes, name: name, admission)
        } else if TIFF.isOne(bytes) {
            self = try TIFF.decode(bytes, name: name, admission)
        } else if GIF.isOne(bytes) {
            self = try GIF.decode(bytes, name: name, admission)
        } else if BMP.isOne(bytes) {
            self = try BMP.decode(bytes, name: name, admission)
        } else {
            throw .notAnImage(file: name, reason: Self.guess(bytes))
        }
    }

    /// The picture, and whichever is largest: samples of 16 bits, the coefficients of a progressive JPEG, the picture turned upright; and the
    /// file, of which a PNG's chunks are copied.
    static func decodingMemory(_ width: Int, _ height: Int, file bytes: [UInt8]) -> Int {
        12 * width * height + 2 * bytes.count
    }

    /// What a file of none of the formats seems to be.
    private static func guess(_ bytes: [UInt8]) -> String {
        let advice = "only \(formats.replacing(" or ", with: " and ")) are read, so convert it to one of them"
        func at(_ offset: Int, _ text: String) -> Bool {
            bytes.dropFirst(offset).starts(with: text.utf8)
        }
        if bytes.isEmpty { return "the file is empty" }
        if at(4, "ftyp") { return "it is an HEIF, AVIF or MP4 file, and \(advice)" }
        if bytes.starts(with: [0xFF, 0x0A]) || at(4, "JXL ") {
            return "it is a JPEG XL image, and \(advice)"
        }
        if at(4, "jP  ") || bytes.starts(with: [0xFF, 0x4F, 0xFF, 0x51]) {
            return "it is a JPEG 2000 image, and \(advice)"
        }
        if at(1, "NUMPY") { return "it is a NumPy array, and \(advice)" }
        return "it is no picture in a format that is read (\(formats))"
    }

    static func checkSize(_ width: Int, _ height: Int, name: String) throws(ImageError) {
        guard width > 0 && height > 0 else {
            throw .damaged(file: name, reason: "it claims to be \(width) × \(height) pixels large")
        }
        let (area, overflow) = width.multipliedReportingOverflow(by: height)
        guard !overflow && area <= pixelLimit else {
            throw .tooLarge(file: name, width: width, height: height)
        }
    }

    /// The picture with each pixel's lightness for its colours, as Pillow's `convert("L")` has it.
    package var lightness: RGBImage {
        var grey = self
        for i in stride(from: 0, to: pixels.count, by: 3) {
            let (r, g, b) = (Int(pixels[i]), Int(pixels[i + 1]), Int(pixels[i + 2]))
            let level = UInt8((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16)
            for c in 0..<3 { grey.pixels[i + c] = level }
        }
        return grey
    }

    /// Does the same to the colours and, as if it were a grey, to the opacity.
    func changed(_ change: (RGBImage) -> RGBImage) -> RGBImage {
        guard let opacity else { return change(self) }
        var colours = self
        colours.opacity = nil
        var result = change(colours)
        let greys = RGBImage(width: width, height: height, pixels: opacity.flatMap { [$0, $0, $0] })
        let changed = change(greys).pixels
        result.opacity = stride(from: 0, to: changed.count, by: 3).map { changed[$0] }
        return result
    }

    /// The part `width × height` whose top left corner is at (`left`, `top`); what lies outside is black, or of another colour, and
    /// transparent where anything is.
    package func cropped(
        left: Int, top: Int, width: Int, height: Int, filling: (UInt8, UInt8, UInt8) = (0, 0, 0)
    ) -> RGBImage {
        if opacity != nil {
            var result = changed {
                $0.cropped(left: left, top: top, width: width, height: height)
            }
            if filling != (0, 0, 0) {
                var colours = self
                colours.opacity = nil
                result.pixels =
                    colours.cropped(left: left, top: top, width: width, height: height, filling: filling)
                    .pixels
            }
            return result
        }
        var result = RGBImage(width: width, height: height, colour: filling)
        let columns = max(left, 0)..<max(max(left, 0), min(left + width, self.width))
        let rows = max(top, 0)..<max(max(top, 0), min(top + height, self.height))
        guard !columns.isEmpty else { return result }
        pixels.withUnsafeBufferPointer { from in
            result.pixels.withUnsafeMutableBufferPointer { to in
                for y in rows {
                    let source = from.baseAddress! + (y * self.width + columns.lowerBound) * 3
                    let target = to.baseAddress! + ((y - top) * width + columns.lowerBound - left) * 3
                    target.update(from: source, count: columns.count * 3)
                }
            }
        }
        return result
    }

    /// The picture turned upright, given the EXIF orientation (1…8) that its file states.
    package func upright(orientation: Int) -> RGBImage {
        guard (2...8).contains(orientation) else { return self }
        guard opacity == nil else { return changed { $0.upright(orientation: orientation) } }
        let (w, h) = (width, height)
        let swaps = orientation >= 5
        // The source of the target pixel (x, y) is origin + x·dx + y·dy.
        let (origin, dx, dy): (Int, Int, Int) =
            switch orientation {
            case 2: (w - 1, -1, w)  // mirrored left to right
            case 3: (w * h - 1, -1, -w)  // upside down
            case 4: ((h - 1) * w, 1, -w)  // mirrored top to bottom
            case 5: (0, w, 1)  // transposed
            case 6: ((h - 1) * w, -w, 1)  // needs a quarter turn clockwise
            case 7: (w * h - 1, -w, -1)  // transposed along the other diagonal
            default: (w - 1, w, -1)  // needs a quarter turn counter-clockwise
            }
        var result = RGBImage(width: swaps ? h : w, height: swaps ? w : h)
        result.isTransparent = isTransparent
        let (columns, rows) = (result.width, result.height)
        pixels.withUnsafeBufferPointer { from in
            result.pixels.withUnsafeMutableBufferPointer { to in
                var target = 0
                for y in 0..<rows {
                    for x in 0..<columns {
                        let source = (origin + x * dx + y * dy) * 3
                        to[target] = from[source]
                        to[target + 1] = from[source + 1]
                        to[target + 2] = from[source + 2]
                        target += 3
                    }
                }
            }
        }
        return result
    }
}
