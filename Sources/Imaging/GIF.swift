// GIF through giflib: the first frame on its canvas, row by row. What the frame leaves free of the canvas is the transparent colour, or the
// first of the palette, as Pillow has it; without a palette the numbers are greys.
//
// What follows the first frame is not looked at: where the file is cut off behind it, the picture is whole.

import CGIF

enum GIF {
    static func isOne(_ bytes: [UInt8]) -> Bool {
        bytes.starts(with: "GIF87a".utf8) || bytes.starts(with: "GIF89a".utf8)
    }

    /// What giflib reads from.
    private struct Source {
        let bytes: UnsafeBufferPointer<UInt8>
        var position = 0
    }

    static func decode(
        _ bytes: [UInt8], name: String, _ admission: RGBImage.Admission
    ) throws(ImageError) -> RGBImage {
        let result: Result<RGBImage, ImageError> = bytes.withUnsafeBufferPointer { buffer in
            var source = Source(bytes: buffer)
            return withUnsafeMutablePointer(to: &source) { source in
                do throws(ImageError) {
                    return .success(try decode(source, file: bytes, name: name, admission))
                } catch {
                    return .failure(error)
                }
            }
        }
        return try result.get()
    }

    private static func decode(
        _ source: UnsafeMutablePointer<Source>, file bytes: [UInt8], name: String,
        _ admission: RGBImage.Admission
    ) throws(ImageError) -> RGBImage {
        func damaged(_ reason: String) -> ImageError { .damaged(file: name, reason: reason) }
        func said(_ code: Int32) -> ImageError {
            code == D_GIF_ERR_EOF_TOO_SOON
                || code == D_GIF_ERR_READ_FAILED && source.pointee.position == bytes.count
                ? damaged("the GIF file is cut off after \(bytes.count) bytes")
                : damaged(
                    "the GIF decoder says \"\(GifErrorString(code).map { String(cString: $0) } ?? "error \(code)")\""
                )
        }
        var code: Int32 = 0
        let opened = DGifOpen(
            source,
            { file, target, count in
                let source = file!.pointee.UserData.assumingMemoryBound(to: Source.self)
                let bytes = source.pointee.bytes
                let done = max(0, min(Int(count), bytes.count - source.pointee.position))
                if done > 0 {
                    target!.update(from: bytes.baseAddress! + source.pointee.position, count: done)
                }
                source.pointee.position += done
                return Int32(done)
            }, &code)
        guard let file = opened else { throw said(code) }
        defer { DGifCloseFile(file, nil) }

        var transparent: Int?
        search: while true {
            var kind = UNDEFINED_RECORD_TYPE
            guard DGifGetRecordType(file, &kind) == GIF_OK else { throw said(file.pointee.Error) }
            switch kind {
            case IMAGE_DESC_RECORD_TYPE: break search
            case EXTENSION_RECORD_TYPE:
                var (code, block): (Int32, UnsafeMutablePointer<GifByteType>?) = (0, nil)
                guard DGifGetExtension(file, &code, &block) == GIF_OK else { throw said(file.pointee.Error) }
                // A block begins with its length. This one says whether a colour, and which, is transparent.
                if code == GRAPHICS_EXT_FUNC_CODE, let block, block[0] >= 4, block[1] & 1 != 0 {
                    transparent = Int(block[4])
                }
                while block != nil {
                    guard DGifGetExtensionNext(file, &block) == GIF_OK else { throw said(file.pointee.Error) }
                }
            default: throw damaged("the GIF file holds no picture")
            }
        }
        guard DGifGetImageDesc(file) == GIF_OK else { throw said(file.pointee.Error) }
        let frame = file.pointee.Image
        let (left, top) = (Int(frame.Left), Int(frame.Top))
        let (columns, rows) = (Int(frame.Width), Int(frame.Height))
        guard columns > 0, rows > 0, left >= 0, top >= 0 else { throw damaged("its first frame is empty") }
        // A code has three bits at least, and stands for 4,096 pixels at most.
        guard columns * rows / 4096 <= bytes.count * 3 else {
            throw damaged("it claims \(columns) × \(rows) pixels but is only \(bytes.count) bytes long")
        }
        // A canvas that is too small for the frame grows.
        let width = max(Int(file.pointee.SWidth), left + columns)
        let height = max(Int(file.pointee.SHeight), top + rows)
        try RGBImage.checkSize(width, height, name: name)
        try admission(RGBImage.decodingMemory(width, height, file: bytes) + 4 * width * height)

        var palette = Palette.greys
        if let map = frame.ColorMap ?? file.pointee.SColorMap {
            let colours = UnsafeBufferPointer(start: map.pointee.Colors, count: Int(map.pointee.ColorCount))
            palette = Palette(colours.map { ($0.Red, $0.Green, $0.Blue) })
        }
        var picture = RGBImage(width: width, height: height, colour: palette[UInt8(transparent ?? 0)])
        var opacity = transparent.map { _ in [UInt8](repeating: 0, count: width * height) }
        var row = [GifPixelType](repeating: 0, count: columns)
        // Interlaced, each eighth row is first, and then what lies between.
        let passes = frame.Interlace ? [(0, 8), (4, 8), (2, 4), (1, 2)] : [(0, 1)]
        for (first, step) in passes {
            for y in stride(from: first, to: rows, by: step) {
                guard DGifGetLine(file, &row, Int32(columns)) == GIF_OK else {
                    throw said(file.pointee.Error)
                }
                let start = (top + y) * width + left
                palette.paint(row, on: &picture.pixels, from: start)
                guard let transparent else { continue }
                for x in 0..<columns where Int(row[x]) != transparent { opacity![start + x] = 255 }
            }
        }
        picture.setOpacity(opacity)
        return picture
    }
}
