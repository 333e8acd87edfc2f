// Changes of pictures that keep what a decoder checks first, so that what it does next is attacked too.

import TestSupport

/// PNG: chunks with the checksums that they need, in any number and order.
package enum PNGAttack {
    package static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    package struct Chunk: Equatable, Sendable {
        package var kind: [UInt8]
        package var content: [UInt8]
        /// What is added to the true length and the true checksum.
        package var lengthError: UInt32 = 0
        package var checksumError: UInt32 = 0

        package init(_ kind: String, _ content: [UInt8]) {
            (self.kind, self.content) = (Array(kind.utf8), content)
        }

        fileprivate init(kind: [UInt8], content: [UInt8]) { (self.kind, self.content) = (kind, content) }

        fileprivate var bytes: [UInt8] {
            big(UInt32(content.count) &+ lengthError) + kind + content
                + big(checksum(kind + content) &+ checksumError)
        }
    }

    package static func file(_ chunks: [Chunk]) -> [UInt8] { signature + chunks.flatMap(\.bytes) }

    /// The chunks of a file, as far as they go.
    package static func chunks(_ bytes: [UInt8]) -> [Chunk] {
        var chunks: [Chunk] = []
        var at = signature.count
        while at + 12 <= bytes.count {
            let length = bytes[at..<at + 4].reduce(0) { $0 << 8 | Int($1) }
            let end = min(bytes.count - 4, at + 8 + length)
            chunks.append(Chunk(kind: Array(bytes[at + 4..<at + 8]), content: Array(bytes[at + 8..<end])))
            at = end + 4
        }
        return chunks
    }

    private static func big(_ value: UInt32) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }

    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
    }

    private static func checksum(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(0xFFFF_FFFF) { table[Int(($0 ^ UInt32($1)) & 0xFF)] ^ $0 >> 8 }
    }

    private static let kinds = [
        "IHDR", "PLTE", "IDAT", "IEND", "tRNS", "gAMA", "iCCP", "sRGB", "eXIf", "sBIT", "bKGD", "acTL",
        "zzZz",
    ]
    private static let sides: [UInt32] = [
        0, 1, 2, 3, 4, 7, 8, 9, 16, 31, 100, 1000, 14_000, 50_000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
    ]

    /// One change of the list of chunks.
    package static func change(_ chunks: inout [Chunk], _ random: inout SeededRandom) {
        func any<T>(_ list: [T]) -> T { list[random.index(below: list.count)] }
        func noise(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(random.index(below: 256)) } }
        guard !chunks.isEmpty else { return chunks.append(Chunk(any(kinds), [])) }
        let i = random.index(below: chunks.count)
        switch random.index(below: 12) {
        case 0: chunks.insert(chunks[i], at: random.index(below: chunks.count + 1))
        case 1: chunks.remove(at: i)
        case 2: chunks.swapAt(i, random.index(below: chunks.count))
        case 3:
            chunks.insert(
                Chunk(any(kinds), noise(any([0, 1, 2, 5, 12, 13, 14, 26, 768]))),
                at: random.index(below: chunks.count + 1))
        case 4: chunks[i].kind = Array(any(kinds).utf8)
        case 5: chunks[i].content = Array(chunks[i].content.prefix(random.index(below: 16)))
        case 6: chunks[i].content += noise(1 + random.index(below: 8))
        case 7:
            // A part of the data in a chunk of its own.
            let cut = random.index(below: chunks[i].content.count + 1)
            let rest = Chunk(kind: chunks[i].kind, content: Array(chunks[i].content[cut...]))
            chunks[i].content.removeSubrange(cut...)
            chunks.insert(rest, at: i + 1)
        case 8: chunks[i].lengthError = any([1, 2, 0x7FFF_FFFF, 0x8000_0000, ~0, ~1])
        case 9: chunks[i].checksumError = 1
        default:
            guard let header = chunks.firstIndex(where: { $0.kind == Array("IHDR".utf8) }),
                chunks[header].content.count == 13
            else { return }
            let field = random.index(below: 7)
            if field < 2 {
                chunks[header].content.replaceSubrange(4 * field..<4 * field + 4, with: big(any(sides)))
            } else {
                chunks[header].content[6 + field] = any([0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 255])
            }
        }
    }

    static func changed(
        _ bytes: [UInt8], _ random: inout SeededRandom, blindly: ([UInt8]) -> [UInt8]
    ) -> [UInt8] {
        switch random.index(below: 8) {
        case 0: return blindly(bytes)
        case 1...4: return file(chunks(blindly(bytes)))
        default:
            var chunks = chunks(bytes)
            for _ in 0...random.index(below: 3) { change(&chunks, &random) }
            return file(chunks)
        }
    }
}

/// JPEG: pictures that stay small enough that a second is time for many.
enum JPEGAttack {
    static func changed(
        _ bytes: [UInt8], _ random: inout SeededRandom, blindly: ([UInt8]) -> [UInt8]
    ) -> [UInt8] {
        var changed = blindly(bytes)
        // Claims of large pictures cost time and find nothing, so few are left.
        guard random.index(below: 64) > 0 else { return changed }
        var at = 2
        while at + 9 < changed.count {
            if changed[at] == 0xFF, (0xC0...0xCF).contains(changed[at + 1]),
                ![0xC4, 0xC8, 0xCC].contains(changed[at + 1])
            {
                changed[at + 5] = 0
                changed[at + 7] = 0
            }
            at += 1
        }
        return changed
    }
}
