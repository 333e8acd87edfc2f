// Pictures and files that the tests make themselves, and checksums to compare them with what Pillow made.

import Foundation
import Imaging

/// FNV-1a, 64 bits.
func checksum(_ bytes: [UInt8]) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
}

/// A busy picture: ((3x² + 17y + 85c + 7xy) >> 1) mod 256.
func synthetic(_ width: Int, _ height: Int) -> RGBImage {
    var pixels: [UInt8] = []
    for y in 0..<height {
        for x in 0..<width {
            for c in 0..<3 {
                let value: Int = x * x * 3 + y * 17 + c * 85 + x * y * 7
                pixels.append(UInt8((value >> 1) & 255))
            }
        }
    }
    return RGBImage(width: width, height: height, pixels: pixels)
}

/// The sentence of the error that `body` throws, or nil if it throws none.
func sentence(_ body: () throws(ImageError) -> Void) -> String? {
    do {
        try body()
        return nil
    } catch {
        return error.description
    }
}

/// PNG files of any kind, with stored (uncompressed) rows.
enum MadePNG {
    static func chunk(_ kind: String, _ content: [UInt8]) -> [UInt8] {
        let body = Array(kind.utf8) + content
        var crc: UInt32 = 0xFFFF_FFFF
        for byte in body {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
        }
        return big(UInt32(content.count)) + body + big(~crc)
    }

    static func big(_ value: UInt32) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { [UInt8]($0) } }

    static func header(_ width: Int, _ height: Int, depth: UInt8, type: UInt8, interlaced: Bool = false)
        -> [UInt8]
    {
        chunk("IHDR", big(UInt32(width)) + big(UInt32(height)) + [depth, type, 0, 0, interlaced ? 1 : 0])
    }

    static func file(
        _ width: Int, _ height: Int, depth: UInt8, type: UInt8, rows: [[UInt8]], extra: [UInt8] = [],
        interlaced: Bool = false
    ) -> [UInt8] {
        let raw: [UInt8] = rows.flatMap { [0] + $0 }
        var (a, b) = (UInt32(1), UInt32(0))
        for byte in raw {
            a = (a + UInt32(byte)) % 65521
            b = (b + a) % 65521
        }
        let size = UInt16(raw.count)
        var stream: [UInt8] = [0x78, 0x01, 0x01, UInt8(size & 255), UInt8(size >> 8)]
        stream += [UInt8(~size & 255), UInt8(~size >> 8)]
        stream += raw
        stream += big(b << 16 | a)
        return PNG.signature + header(width, height, depth: depth, type: type, interlaced: interlaced)
            + extra
            + chunk("IDAT", stream) + chunk("IEND", [])
    }
}

/// PNG files of 7 × 5 pixels that Pillow wrote, in each of its modes: the checksum of the pixels that Pillow reads, transparency left out, and
/// whether one can see through any of them.
enum PillowPNG {
    static let all: [(name: String, checksum: UInt64, isTransparent: Bool, base64: String)] = [
        (
            "rgb", 0x3fa9_af04_f4a0_df88, false,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFCAIAAAAG+GGPAAAAeUlEQVR42gFuAJH/AP/kInnzvQaDZqhSwbuWUfPNGOwI9gGk5yQu\
            iIgAPwQIRPmY25YuYpWvGZwAeN5FH19sJG3uRTNR5NPKOspBTEbBAGgq+tGkAiyyjGIC8xUyHQ4HNTKX3QP6J2lBNCgJKwZSV8Pd\
            H/em6g3o7Hb7dTDtndVLdQAAAABJRU5ErkJggg==
            """
        ),
        (
            "rgba", 0x3fa9_af04_f4a0_df88, true,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFCAYAAACJmvbYAAAAnElEQVR42gGRAG7/AP/kIqh58712BoNm1qhSwcm7llFF880YGewI\
            9rkBpOckHy6IiAUAPwQJCET5cZjblq8uYpXhrxmc3gLU9yG7TfDA+1K/Pt9rQajScgaLy5qbbUb9/lH/AGgq+oLRpAIWLLKM+mIC\
            84EVMh2ODgc1UDKX3SID+idpHEE0KHwJKwZJUlfDEt0f9y2m6g3v6Ox27UOpROwfyuhqAAAAAElFTkSuQmCC
            """
        ),
        (
            "opaque", 0x3fa9_af04_f4a0_df88, false,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFCAYAAACJmvbYAAAAnElEQVR42gGRAG7/AP/kIv95873/BoNm/6hSwf+7llH/880Y/+wI\
            9v8BpOck/y6IiAAAPwQACET5AJjblgAuYpUArxmcAAB43kX/H19s/yRt7v9FM1H/5NPK/zrKQf9MRsH/AGgq+v/RpAL/LLKM/2IC\
            8/8VMh3/Dgc1/zKX3f8D+idpgEE0KAAJKwYAUlfDAN0f9wCm6g0A6Ox2AKalR1f1CpBhAAAAAElFTkSuQmCC
            """
        ),
        (
            "grey", 0x9664_4825_cb20_9e83, false,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFCAAAAACs8akEAAAAM0lEQVR42gEoANf/Adbykh4hK6MBvdclKr/C6wLxua1ZNSsHA/1P\
            BNmfs08E9wwvNrzx0XOtEom2oJbDAAAAAElFTkSuQmCC
            """
        ),
        (
            "grey-alpha", 0x9664_4825_cb20_9e83, true,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFCAQAAAAjkz5TAAAAVklEQVR42gFLALT/Adao8s6SYB7zIXwr1KOgAb0f1wUlCSpxv6/C\
            4eveAvG7ufut31nSNcsrRgf/A/0VT8YE6dnMn0Kzz0/1AyEcNnwdSUUSBy0m793tveMlMyruFuQAAAAASUVORK5CYII=
            """
        ),
        (
            "bits", 0xbaa7_75af_120c_b78e, false,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFAQAAAACh4ct1AAAAEklEQVR42mO4wvSMWZtZjukbABAhAwQITm53AAAAAElFTkSuQmCC
            """
        ),
        (
            "palette", 0x4c1d_9eec_4d4d_4a36, false,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFBAMAAAB7tOvrAAAAElBMVEXZ22TIo2hYxHqAVIgeY6pyIZX/xLPoAAAAIUlEQVR42mNm\
            cnrvwcjIL8rNpGx6V4BJ94EzA7Pkuw//AUSdB0Iuxbf6AAAAAElFTkSuQmCC
            """
        ),
        (
            "palette-transparent", 0x4c1d_9eec_4d4d_4a36, true,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFBAMAAAB7tOvrAAAAElBMVEXZ22TIo2hYxHqAVIgeY6pyIZX/xLPoAAAAA3RSTlP//wDX\
            yg1BAAAAIUlEQVR42mNmcnrvwcjIL8rNpGx6V4BJ94EzA7Pkuw//AUSdB0Iuxbf6AAAAAElFTkSuQmCC
            """
        ),
        (
            "palette-alpha", 0x4c1d_9eec_4d4d_4a36, true,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFBAMAAAB7tOvrAAAAElBMVEXZ22TIo2hYxHqAVIgeY6pyIZX/xLPoAAAABnRSTlP//4AA\
            //8Tec8VAAAAIUlEQVR42mNmcnrvwcjIL8rNpGx6V4BJ94EzA7Pkuw//AUSdB0Iuxbf6AAAAAElFTkSuQmCC
            """
        ),
        (
            "colour-key", 0x3fa9_af04_f4a0_df88, true,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFCAIAAAAG+GGPAAAABnRSTlMARQAzAFHE9OoDAAAAeUlEQVR42gFuAJH/AP/kInnzvQaD\
            ZqhSwbuWUfPNGOwI9gGk5yQuiIgAPwQIRPmY25YuYpWvGZwAeN5FH19sJG3uRTNR5NPKOspBTEbBAGgq+tGkAiyyjGIC8xUyHQ4H\
            NTKX3QP6J2lBNCgJKwZSV8PdH/em6g3o7Hb7dTDtndVLdQAAAABJRU5ErkJggg==
            """
        ),
        (
            "grey-key", 0x9664_4825_cb20_9e83, true,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFCAAAAACs8akEAAAAAnRSTlMA1hkjutkAAAAzSURBVHjaASgA1/8B1vKSHiErowG91yUq\
            v8LrAvG5rVk1KwcD/U8E2Z+zTwT3DC82vPHRc60SibaglsMAAAAASUVORK5CYII=
            """
        ),
        (
            "key-unused", 0x3fa9_af04_f4a0_df88, false,
            """
            iVBORw0KGgoAAAANSUhEUgAAAAcAAAAFCAIAAAAG+GGPAAAABnRSTlMAAQACAAPJS6v1AAAAeUlEQVR42gFuAJH/AP/kInnzvQaD\
            ZqhSwbuWUfPNGOwI9gGk5yQuiIgAPwQIRPmY25YuYpWvGZwAeN5FH19sJG3uRTNR5NPKOspBTEbBAGgq+tGkAiyyjGIC8xUyHQ4H\
            NTKX3QP6J2lBNCgJKwZSV8PdH/em6g3o7Hb7dTDtndVLdQAAAABJRU5ErkJggg==
            """
        ),
    ]
}

/// JPEG files that Pillow wrote, and the checksums of the pixels that Pillow reads from them.
enum MadeJPEG {
    /// 19 × 13, 4:2:0.
    static let colour = bytes(
        """
        /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNS\
        Mj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P\
        T09PT0//wAARCAANABMDASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAABQYA/8QAHRAAAQMFAQAAAAAAAAAAAAAAAAMEIgECBSEx\
        Ev/EABcBAAMBAAAAAAAAAAAAAAAAAAMEBQb/xAAbEQABBQEBAAAAAAAAAAAAAAAAAQIDBRETBP/aAAwDAQACEQMRAD8AkW2K5EWbYjkR\
        5qyS0MtWKWiXHN0AeC0cmExbh40iYurWKXmhhjiaNLZ2H//Z
        """)
    static let progressive = bytes(
        """
        /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNS\
        Mj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P\
        T09PT0//wgARCAANABMDASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAABAUA/8QAFgEBAQEAAAAAAAAAAAAAAAAAAwQF/9oADAMB\
        AAIQAxAAAAGQt7JTma7k0v/EABkQAAMBAQEAAAAAAAAAAAAAAAABAgMSE//aAAgBAQABBQKcicjxJhEwjhH/xAAYEQACAwAAAAAAAAAA\
        AAAAAAAAAQMEFP/aAAgBAwEBPwGC0zWz/8QAFhEAAwAAAAAAAAAAAAAAAAAAAAIS/9oACAECAQE/AVeiD//EABQQAQAAAAAAAAAAAAAA\
        AAAAACD/2gAIAQEABj8CX//EABoQAAICAwAAAAAAAAAAAAAAAAABEGERITH/2gAIAQEAAT8hoKRacmZYj//aAAwDAQACAAMAAAAQFA//\
        xAAWEQADAAAAAAAAAAAAAAAAAAAAARH/2gAIAQMBAT8QUgoH/8QAFBEBAAAAAAAAAAAAAAAAAAAAEP/aAAgBAgEBPxAD/8QAFxABAQEB\
        AAAAAAAAAAAAAAAAACExEf/aAAgBAQABPxDMzICNC4T/2Q==
        """)
    static let colourSum: UInt64 = 0x3bec_d4cc_fadc_ac83
    static let grey = bytes(
        """
        /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNS\
        Mj5aYVpQYEpRUk//wAALCAANABMBAREA/8QAFgABAQEAAAAAAAAAAAAAAAAABQQG/8QAHRAAAQMFAQAAAAAAAAAAAAAABAADIgECBSEx\
        Ev/aAAgBAQAAPwDIjYrkUsNiORSFuHjSKuFCa0mRQWtJO0FrzRf/2Q==
        """)
    static let greySum: UInt64 = 0xcebd_976a_ca38_0b4d
    static let cmyk = bytes(
        """
        /9j/7gAOQWRvYmUAZAAAAAAA/9sAQwANCQoLCggNCwoLDg4NDxMgFRMSEhMnHB4XIC4pMTAuKS0sMzpKPjM2RjcsLUBXQUZMTlJTUjI+\
        WmFaUGBKUVJP/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAAAAAAAAYH/8QAHRAAAQIHAAAAAAAAAAAAAAAAAAMF\
        ERMWIUJiof/aAA4EQwBNAFkASwAAPwAYy4hmnNOE4QRmQsU4/9k=
        """)

    private static func bytes(_ text: String) -> [UInt8] { [UInt8](Data(base64Encoded: text)!) }

    /// The colour picture with an orientation in an EXIF block of either byte order.
    static func oriented(_ orientation: UInt8, little: Bool) -> [UInt8] {
        let tiff: [UInt8] =
            little
            ? [0x49, 0x49, 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]
            : [0x4D, 0x4D, 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]
        let block = Array("Exif\0\0".utf8) + tiff
        return Array(colour[..<2]) + [0xFF, 0xE1, 0, UInt8(block.count + 2)] + block + Array(colour[2...])
    }
}

/// The photographs beside the checkout, or nil where there are none.
let photographs: String? = {
    let path = URL(fileURLWithPath: #filePath).appending(path: "../../../../shared/images").standardized.path
    return FileManager.default.fileExists(atPath: path + "/zebra.jpg") ? path : nil
}()
