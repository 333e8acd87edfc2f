// Animated PNG files: https://www.w3.org/TR/png-3/#apng-frame-based-animation. Each frame is handed to libpng as a PNG file of its own.
//
// Sequence numbers, counts, places and the sums (CRC) of the animation's own chunks are checked here; what is in the frames, there.

import CDeflate
import CPNG
import Files

/// The frames of an animated PNG file, not decoded yet.
package struct Animation: Sendable {
    /// The size of the whole.
    package let width: Int, height: Int
    private let name: String
    private let orientation: Int
    private var frames: [Frame] = []
    /// IHDR's last five bytes, and PLTE and tRNS as chunks.
    private let format: [UInt8]
    private var colours: [UInt8] = []

    package var count: Int { frames.count }

    private struct Frame {
        let width: Int, height: Int, left: Int, top: Int
        let disposal: Disposal
        /// Whether it is laid over what is there by its opacity, and does not just take the place.
        let isBlended: Bool
        /// What IDAT holds.
        var data: [UInt8] = []
    }
    private enum Disposal: UInt8 { case none, background, previous }

    /// The most frames of a file.
    private static let most = 100_000

    /// - Returns: nil for a PNG file that is not animated.
    /// - Throws: `ImageError.damaged` for one that breaks the format's rules.
    package init?(_ bytes: [UInt8], name: String) throws(ImageError) {
        func damaged(_ reason: String) -> ImageError { .damaged(file: name, reason: reason) }
        guard bytes.starts(with: PNG.signature) else { return nil }
        var (position, header) = (PNG.signature.count, nil as Range<Int>?)
        var (declared, next, hasData, orientation) = (nil as Int?, 0, false, 1)
        var (format, colours, frames): ([UInt8], [UInt8], [Frame]) = ([], [], [])
        var (width, height) = (0, 0)
        /// The number that frames' chunks bear in their order.
        func number(_ at: Int) throws(ImageError) {
            guard bytes.bigEndian32(at: at) == next else {
                throw damaged(
                    "a part of its animation bears the number \(bytes.bigEndian32(at: at)), and the next is \(next)"
                )
            }
            next += 1
        }
        chunks: while position + 12 <= bytes.count {
            let length = bytes.bigEndian32(at: position)
            let (content, end) = (position + 8, position + 12 + length)
            guard end <= bytes.count else {
                throw damaged("the PNG file is cut off after \(bytes.count) bytes")
            }
            let kind = String(decoding: bytes[position + 4..<content], as: UTF8.self)
            guard header != nil || kind == "IHDR" && length == 13 else {
                throw damaged("the PNG file does not begin with a header")
            }
            if ["acTL", "fcTL", "fdAT"].contains(kind) {
                guard
                    CRC32.of(bytes[position + 4..<content + length]) == UInt32(bytes.bigEndian32(at: end - 4))
                else {
                    throw damaged("the sum of a chunk \(kind) is wrong")
                }
            }
            switch kind {
            case "IHDR":
                guard header == nil else { throw damaged("the PNG file has a second header") }
                header = content..<content + length
                (width, height) = (bytes.bigEndian32(at: content), bytes.bigEndian32(at: content + 4))
                try RGBImage.checkSize(width, height, name: name)
                format = Array(bytes[content + 8..<content + 13])
            case "PLTE", "tRNS": if !hasData { colours += bytes[position..<end] }
            case "eXIf": orientation = EXIF.orientation(of: bytes[content..<content + length])
            case "acTL":
                guard length == 8, declared == nil, !hasData else {
                    throw damaged(
                        "the chunk acTL of its animation is of the wrong length, out of place, or there twice"
                    )
                }
                let count = bytes.bigEndian32(at: content)
                guard (1...Self.most).contains(count) else {
                    throw damaged("it claims to have \(count) frames; 1 to \(Self.most) are accepted")
                }
                declared = count
            case "fcTL":
                // Without the chunk that says so the file is a plain picture.
                guard declared != nil else { break }
                guard length == 26 else {
                    throw damaged("a frame's chunk fcTL has \(length) bytes instead of 26")
                }
                guard frames.last.map({ !$0.data.isEmpty }) ?? true else {
                    throw damaged("frame \(frames.count) is empty")
                }
                try number(content)
                let size = (bytes.bigEndian32(at: content + 4), bytes.bigEndian32(at: content + 8))
                let place = (bytes.bigEndian32(at: content + 12), bytes.bigEndian32(at: content + 16))
                guard size.0 > 0, size.1 > 0, size.0 <= width, size.1 <= height, place.0 <= width - size.0,
                    place.1 <= height - size.1, hasData || size == (width, height)
                else {
                    throw damaged(
                        "frame \(frames.count + 1) is \(size.0)×\(size.1) at (\(place.0), \(place.1)), in a picture of \(width)×\(height)"
                    )
                }
                guard let disposal = Disposal(rawValue: bytes[content + 24]), bytes[content + 25] < 2 else {
                    throw damaged("frame \(frames.count + 1) says in no known way how it is drawn")
                }
                frames.append(
                    Frame(
                        width: size.0, height: size.1, left: place.0, top: place.1, disposal: disposal,
                        isBlended: bytes[content + 25] == 1))
                guard frames.count <= declared! else {
                    throw damaged("it has more frames than the \(declared!) that it claims")
                }
            case "IDAT":
                // Before any frame is said to begin, it is the picture of who knows no animations.
                hasData = true
                guard frames.count < 2 else {
                    throw damaged("a chunk IDAT is among the frames of its animation")
                }
                if !frames.isEmpty { frames[frames.count - 1].data += bytes[content..<content + length] }
            case "fdAT":
                guard declared != nil else { break }
                guard length > 4, hasData, !frames.isEmpty else {
                    throw damaged("a chunk fdAT of its animation is out of place, or empty")
                }
                try number(content)
                frames[frames.count - 1].data += bytes[content + 4..<content + length]
            case "IEND": break chunks
            default: break
            }
            position = end
        }
        guard let declared else { return nil }
        guard frames.count == declared, !frames.last!.data.isEmpty else {
            throw damaged(
                "it claims to have \(declared) frames, and has \(frames.count { !$0.data.isEmpty })")
        }
        (self.width, self.height, self.name, self.orientation) = (width, height, name, orientation)
        (self.format, self.colours, self.frames) = (format, colours, frames)
    }

    /// Bytes of memory that decoding takes, at most, but for the frames that are handed on.
    package var decodingMemory: Int { 16 * width * height + (frames.map(\.data.count).max() ?? 0) * 3 }

    /// Decodes frames, as they are seen: each drawn over what those before it left. Transparency is dropped at the end, as of pictures.
    /// - Parameters:
    ///   - wanted: in ascending order.
    ///   - receive: is given each, turned upright.
    package func decode(_ wanted: [Int], _ receive: (_ frame: Int, RGBImage) throws -> Void) throws {
        var (canvas, opacity) = (
            RGBImage(width: width, height: height), [UInt8](repeating: 0, count: width * height)
        )
        let wantedSet = Set(wanted)
        for (i, frame) in frames.enumerated() where i <= wanted.last ?? -1 {
            // Before the first there is nothing, so going back to that is to clear.
            let disposal = i == 0 && frame.disposal == .previous ? .background : frame.disposal
            // Rows of the frame's place, as they were.
            let rows = (frame.top..<frame.top + frame.height).map {
                $0 * width + frame.left..<$0 * width + frame.left + frame.width
            }
            let before =
                disposal == .previous
                ? rows.map { (canvas.pixels[3 * $0.lowerBound..<3 * $0.upperBound], opacity[$0]) } : []
            try draw(frame, number: i, on: &canvas.pixels, &opacity)
            if wantedSet.contains(i) {
                var shown = canvas.upright(orientation: orientation)
                shown.isTransparent = opacity.contains { $0 < 255 }
                try receive(i, shown)
            }
            switch disposal {
            case .none: break
            case .previous:
                for (row, old) in zip(rows, before) {
                    canvas.pixels.replaceSubrange(3 * row.lowerBound..<3 * row.upperBound, with: old.0)
                    opacity.replaceSubrange(row, with: old.1)
                }
            case .background:
                for x in rows.joined() {
                    opacity[x] = 0
                    for c in 0..<3 { canvas.pixels[3 * x + c] = 0 }
                }
            }
        }
    }

    private func draw(_ frame: Frame, number: Int, on pixels: inout [UInt8], _ opacity: inout [UInt8])
        throws(ImageError)
    {
        let title = "\(name), frame \(number + 1)"
        var file = PNG.signature
        file += PNG.chunk("IHDR", [frame.width, frame.height].flatMap(bigEndian32) + format)
        file += colours
        file += PNG.chunk("IDAT", frame.data)
        file += PNG.chunk("IEND", [])
        let picture = try PNG.decode(file, name: title) { _ throws(ImageError) in }
        guard !frame.isBlended || !picture.isTransparent || picture.opacity != nil else {
            throw .unsupported(
                file: title,
                reason: "its transparent pixels are declared by a colour of 16 bits; save it with 8 bits")
        }
        for y in 0..<frame.height {
            for x in 0..<frame.width {
                let (from, to) = (y * frame.width + x, (y + frame.top) * width + x + frame.left)
                let a = Int(picture.opacity?[from] ?? 255)
                // The first has nothing to be laid over, so colours under pixels that nobody sees are those of the file, as in a still picture.
                guard frame.isBlended, number > 0, a < 255 else {
                    for c in 0..<3 { pixels[3 * to + c] = picture.pixels[3 * from + c] }
                    opacity[to] = UInt8(a)
                    continue
                }
                guard a > 0 else { continue }
                // In units of 1 / 255², a half rounded up.
                let below = Int(opacity[to]) * (255 - a)
                let sum = 255 * a + below
                for c in 0..<3 {
                    let mixed = 255 * a * Int(picture.pixels[3 * from + c]) + below * Int(pixels[3 * to + c])
                    pixels[3 * to + c] = UInt8((mixed + sum / 2) / sum)
                }
                opacity[to] = UInt8((sum + 127) / 255)
            }
        }
    }
}

extension PNG {
    /// An animated PNG file that repeats for ever.
    /// - Parameter frames: of one size; at least one.
    package static func encode(animation frames: [RGBImage], framesPerSecond: Int, fast: Bool) -> [UInt8] {
        var (file, number) = (signature, 0)
        func numbered(_ content: [UInt8] = []) -> [UInt8] {
            defer { number += 1 }
            return bigEndian32(number) + content
        }
        for (i, frame) in frames.enumerated() {
            precondition(frame.width == frames[0].width && frame.height == frames[0].height)
            let whole = encode(frame, fast: fast)
            let control =
                [frame.width, frame.height, 0, 0].flatMap(bigEndian32)
                + [0, 1, UInt8(framesPerSecond >> 8), UInt8(framesPerSecond & 255), 0, 0]
            var (position, hasBegun) = (signature.count, false)
            while position < whole.count {
                let (length, kind) = (
                    whole.bigEndian32(at: position),
                    String(decoding: whole[position + 4..<position + 8], as: UTF8.self)
                )
                let content = Array(whole[position + 8..<position + 8 + length])
                if kind == "IDAT", !hasBegun {
                    hasBegun = true
                    if i == 0 { file += chunk("acTL", bigEndian32(frames.count) + bigEndian32(0)) }
                    file += chunk("fcTL", numbered(control))
                }
                if kind == "IDAT", i > 0 {
                    file += chunk("fdAT", numbered(content))
                } else if i == 0, kind != "IEND" {
                    // What says what the numbers mean is there once.
                    file += chunk(kind, content)
                }
                position += 12 + length
            }
        }
        return file + chunk("IEND", [])
    }

    package static func chunk(_ kind: String, _ content: [UInt8]) -> [UInt8] {
        let body = Array(kind.utf8) + content
        return bigEndian32(content.count) + body + bigEndian32(Int(CRC32.of(body[...])))
    }
}

func bigEndian32(_ number: Int) -> [UInt8] {
    withUnsafeBytes(of: UInt32(truncatingIfNeeded: number).bigEndian) { Array($0) }
}

/// The sum of a PNG file's chunks (ISO 3309).
package enum CRC32 {
    package static func of(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        bytes.withUnsafeBytes { libdeflate_crc32(0, $0.baseAddress, $0.count) }
    }
}
