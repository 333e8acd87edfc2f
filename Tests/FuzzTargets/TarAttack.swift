// Changes of tar archives after which the sums of their headers hold, so that what is in them is attacked too.

import TestSupport

enum TarAttack {
    static func changed(
        _ bytes: [UInt8], _ random: inout SeededRandom, blindly: ([UInt8]) -> [UInt8]
    ) -> [UInt8] {
        var changed = blindly(bytes)
        guard random.index(below: 4) > 0 else { return changed }
        let (block, sum) = (512, 148..<156)
        for start in stride(from: 0, through: changed.count - block, by: block) {
            guard changed[(start + 257)...].starts(with: "ustar".utf8) else { continue }
            for i in sum { changed[start + i] = UInt8(ascii: " ") }
            let total = changed[start..<start + block].reduce(0) { $0 + Int($1) }
            let digits = String(total, radix: 8)
            let text = String(repeating: "0", count: max(0, 6 - digits.count)) + digits + "\0 "
            changed.replaceSubrange(start + 148..<start + 156, with: Array(text.utf8.prefix(8)))
        }
        return changed
    }
}
