// WebP through libwebp: of an animated picture the first frame, where it lies on the canvas. The decoder writes into memory of ours whose
// size it is told.

import CWebP

enum WebP {
    static func isOne(_ bytes: [UInt8]) -> Bool {
        bytes.starts(with: "RIFF".utf8) && bytes.dropFirst(8).starts(with: "WEBP".utf8)
    }

    static func decode(
        _ bytes: [UInt8], name: String, _ admission: RGBImage.Admission
    ) throws(ImageError) -> RGBImage {
        func damaged(_ reason: String) -> ImageError { .damaged(file: name, reason: reason) }
        // What the file claims to be long is told by the RIFF header, so that a cut one is called that.
        guard bytes.count >= 12, 8 + bytes.littleEndian32(at: 4) <= bytes.count else {
            throw damaged("the WebP file is cut off after \(bytes.count) bytes")
        }
        // The bytes must stay where they are as long as the parser lives.
        let result: Result<RGBImage, ImageError> = bytes.withUnsafeBufferPointer { buffer in
            do throws(ImageError) {
                var file = WebPData(bytes: buffer.baseAddress, size: buffer.count)
                guard let parser = WebPDemux(&file) else {
                    throw damaged("its chunks make no WebP picture")
                }
                defer { WebPDemuxDelete(parser) }
                return .success(try decode(parser, fileSize: bytes, name: name, admission))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private static func decode(
        _ parser: OpaquePointer, fileSize bytes: [UInt8], name: String, _ admission: RGBImage.Admission
    ) throws(ImageError) -> RGBImage {
        func damaged(_ reason: String) -> ImageError { .damaged(file: name, reason: reason) }
        let width = Int(WebPDemuxGetI(parser, WEBP_FF_CANVAS_WIDTH))
        let height = Int(WebPDemuxGetI(parser, WEBP_FF_CANVAS_HEIGHT))
        try RGBImage.checkSize(width, height, name: name)
        // With its opacity, and what the decoder holds of a lossless picture.
        try admission(RGBImage.decodingMemory(width, height, file: bytes) + 8 * width * height)

        var frame = WebPIterator()
        guard WebPDemuxGetFrame(parser, 1, &frame) != 0 else {
            throw damaged("the WebP file holds no picture")
        }
        defer { WebPDemuxReleaseIterator(&frame) }
        let (left, top) = (Int(frame.x_offset), Int(frame.y_offset))
        let (columns, rows) = (Int(frame.width), Int(frame.height))
        guard frame.complete != 0, left >= 0, top >= 0, columns > 0, rows > 0, left + columns <= width,
            top + rows <= height
        else { throw damaged("its first frame does not lie in it") }

        var configuration = WebPDecoderConfig()
        guard WebPInitDecoderConfig(&configuration) != 0 else {
            throw .unsupported(file: name, reason: "the libwebp that is installed is of another version")
        }
        // Outside of the frame one can see through.
        var canvas = [UInt8](repeating: 0, count: width * height * 4)
        let status = canvas.withUnsafeMutableBufferPointer { canvas in
            let start = 4 * (top * width + left)
            configuration.output.colorspace = MODE_RGBA
            configuration.output.is_external_memory = 1
            configuration.output.u.RGBA.rgba = canvas.baseAddress! + start
            configuration.output.u.RGBA.stride = Int32(4 * width)
            configuration.output.u.RGBA.size = canvas.count - start
            return WebPDecode(frame.fragment.bytes, frame.fragment.size, &configuration)
        }
        guard status == VP8_STATUS_OK else {
            throw damaged("the WebP decoder says \"\(words(status))\"")
        }
        guard configuration.output.width == frame.width, configuration.output.height == frame.height else {
            throw damaged("its picture is of another size than it claims")
        }
        let hasOpacity = WebPDemuxGetI(parser, WEBP_FF_FORMAT_FLAGS) & ALPHA_FLAG.rawValue != 0
        let picture = RGBImage(
            width: width, height: height, splitting: canvas, isOpaque: !hasOpacity && frame.has_alpha == 0)
        return picture.upright(orientation: orientation(parser))
    }

    /// What the chunk with EXIF says; it may begin with the name that this has in JPEG files.
    private static func orientation(_ parser: OpaquePointer) -> Int {
        var chunk = WebPChunkIterator()
        guard WebPDemuxGetChunk(parser, "EXIF", 1, &chunk) != 0 else { return 1 }
        defer { WebPDemuxReleaseChunkIterator(&chunk) }
        let block = [UInt8](UnsafeBufferPointer(start: chunk.chunk.bytes, count: chunk.chunk.size))
        return EXIF.orientation(of: block.starts(with: EXIF.name) ? block.dropFirst(6) : block[...])
    }

    private static func words(_ status: VP8StatusCode) -> String {
        switch status {
        case VP8_STATUS_OUT_OF_MEMORY: "out of memory"
        case VP8_STATUS_BITSTREAM_ERROR: "broken data"
        case VP8_STATUS_UNSUPPORTED_FEATURE: "unsupported feature"
        case VP8_STATUS_NOT_ENOUGH_DATA, VP8_STATUS_SUSPENDED: "not enough data"
        default: "error \(status.rawValue)"
        }
    }
}
