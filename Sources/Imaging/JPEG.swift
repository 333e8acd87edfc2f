// JPEG through the TurboJPEG interface, which returns its errors: no setjmp.
//
// Accurate integer transform and smooth chroma upsampling, as Pillow decodes. We walk the markers ourselves
// first: for the size (checked before anything is allocated), the orientation, and to know that the file is
// complete, since the decoder would fill up a truncated picture with grey and only warn.

import CTurboJPEG
import Files
import Glibc

enum JPEG {
    /// The most scans that a picture may be made of. Encoders write 10 or so; a scan of a few bytes that says nothing takes
    /// as long as one that says everything.
    private static let scanLimit = 100

    static func decode(
        _ bytes: [UInt8], name: String, _ admission: RGBImage.Admission
    ) throws(ImageError) -> RGBImage {
        let frame = try walk(bytes, name: name)
        // Even a plain grey picture needs about two bits for each block of 64 pixels and colour; runs of
        // progressive files can save half of them, coarse colour a little more.
        guard frame.width * frame.height <= bytes.count * 4096 else {
            throw .damaged(
                file: name,
                reason:
                    "it claims \(frame.width) × \(frame.height) pixels but is only \(bytes.count) bytes long")
        }
        // Of four inks there is one number more, in coefficients too.
        let isCMYK = frame.components == 4
        try admission(
            RGBImage.decodingMemory(frame.width, frame.height, file: bytes)
                + (isCMYK ? 6 * frame.width * frame.height : 0))
        guard let decoder = tjInitDecompress() else {
            throw .file(FileError(.read, name, ENOMEM, "the JPEG decoder could not be started"))
        }
        defer { tjDestroy(decoder) }
        let channels = isCMYK ? 4 : 3
        let size = frame.width * frame.height * channels
        var status: Int32 = 0
        let pixels = [UInt8](unsafeUninitializedCapacity: size) { target, count in
            target.initialize(repeating: 0)
            count = size
            // Given the size, the decoder never writes more, whatever else the file may claim.
            status = tjDecompress2(
                decoder, bytes, UInt(bytes.count), target.baseAddress, Int32(frame.width),
                Int32(frame.width * channels), Int32(frame.height),
                Int32((isCMYK ? TJPF_CMYK : TJPF_RGB).rawValue),
                TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS)
        }
        if status != 0 {
            let message = String(cString: tjGetErrorStr2(decoder))
            // A warning tells of broken data, except for these, which every decoder lives with.
            let harmless = ["extraneous bytes before", "Invalid SOS", "Adobe", "JFIF", "progression"]
            let isHarmless =
                tjGetErrorCode(decoder) == Int32(TJERR_WARNING.rawValue)
                && harmless.contains { message.firstRange(of: $0) != nil }
            guard isHarmless else {
                throw .damaged(file: name, reason: "the JPEG decoder says \"\(message)\"")
            }
        }
        return RGBImage(
            width: frame.width, height: frame.height, pixels: isCMYK ? colours(ofInverted: pixels) : pixels
        ).upright(orientation: frame.orientation)
    }

    /// Colours of inks as JPEG files have them: what the paper shows, not how much ink is on it.
    private static func colours(ofInverted inks: [UInt8]) -> [UInt8] {
        let count = inks.count / 4
        return [UInt8](unsafeUninitializedCapacity: 3 * count) { target, filled in
            inks.withUnsafeBufferPointer { inks in
                for i in 0..<count {
                    for c in 0..<3 {
                        target[3 * i + c] = CMYK.light(
                            ink: 255 - inks[4 * i + c], black: 255 - inks[4 * i + 3])
                    }
                }
            }
            filled = 3 * count
        }
    }

    // MARK: Writing

    /// A JPEG file of a picture, its colours at half the resolution.
    /// - Parameter quality: 1 … 100.
    static func encode(_ image: RGBImage, quality: Int) -> [UInt8] {
        let encoder = tjInitCompress()
        precondition(encoder != nil, "There is no memory to write a picture with.")
        defer { tjDestroy(encoder) }
        let subsampling = Int32(TJSAMP_420.rawValue)
        let bound = Int(tjBufSize(Int32(image.width), Int32(image.height), subsampling))
        return [UInt8](unsafeUninitializedCapacity: bound) { buffer, count in
            var target = buffer.baseAddress
            var size = UInt(bound)
            let status = tjCompress2(
                encoder, image.pixels, Int32(image.width), 0, Int32(image.height), Int32(TJPF_RGB.rawValue),
                &target, &size, subsampling, Int32(quality), TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT)
            precondition(status == 0, "There is always room for so many bytes.")
            count = Int(size)
        }
    }

    private struct Frame {
        var width = 0
        var height = 0
        var components = 0
        var orientation = 1
    }

    /// Walks the markers from the start of the file to its end marker.
    private static func walk(_ bytes: [UInt8], name: String) throws(ImageError) -> Frame {
        let cutOff = ImageError.damaged(
            file: name, reason: "the JPEG file is cut off after \(bytes.count) bytes")
        var frame = Frame()
        var scans = 0
        var position = 2
        while true {
            // The next marker: FF, perhaps repeated, and a byte that is neither stuffing nor a restart.
            while position < bytes.count && bytes[position] != 0xFF { position += 1 }
            while position < bytes.count && bytes[position] == 0xFF { position += 1 }
            guard position < bytes.count else { throw cutOff }
            let marker = bytes[position]
            position += 1
            switch marker {
            case 0x00, 0x01, 0xD0...0xD8: continue
            case 0xD9:
                guard scans > 0 && frame.width > 0 else {
                    throw .damaged(file: name, reason: "the JPEG file holds no picture")
                }
                return frame
            default: break
            }
            guard position + 2 <= bytes.count else { throw cutOff }
            let length = bytes.bigEndian16(at: position)
            let end = position + length
            guard length >= 2 && end <= bytes.count else { throw cutOff }
            switch marker {
            case 0xC0...0xC3, 0xC5...0xC7, 0xC9...0xCB, 0xCD...0xCF:
                guard length >= 8 else { throw .damaged(file: name, reason: "its frame header is too short") }
                guard bytes[position + 2] == 8 else {
                    throw .unsupported(
                        file: name,
                        reason:
                            "it has \(bytes[position + 2]) bits per sample, but only JPEGs with 8 are read")
                }
                frame.height = bytes.bigEndian16(at: position + 3)
                frame.width = bytes.bigEndian16(at: position + 5)
                try RGBImage.checkSize(frame.width, frame.height, name: name)
                frame.components = Int(bytes[position + 7])
                guard [1, 3, 4].contains(frame.components) else {
                    throw .unsupported(
                        file: name,
                        reason:
                            "it has \(frame.components) colour components, but only grey (1), colour (3) and inks (4) are read"
                    )
                }
            case 0xE1:
                let content = bytes[position + 2..<end]
                if content.starts(with: EXIF.name) && frame.orientation == 1 {
                    frame.orientation = EXIF.orientation(of: content.dropFirst(6))
                }
            case 0xDA:
                scans += 1
                guard scans <= scanLimit else {
                    throw .unsupported(
                        file: name,
                        reason:
                            "it is made of more than \(scanLimit) scans, each of which costs the time of a picture; save it anew"
                    )
                }
            default: break
            }
            position = end
        }
    }
}

extension RGBImage {
    /// The picture as a JPEG file. No side may exceed 65,500 pixels.
    package func jpegData(quality: Int) -> [UInt8] { JPEG.encode(self, quality: quality) }
}
