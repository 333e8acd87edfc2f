// Numbers and words as text, where the standard library has nothing for it.
//
// Foundation would have, but brings tens of megabytes of all the world's calendars and languages with it; of it only FoundationEssentials is used.

import Glibc

/// A number with so many digits behind the point, rounded to nearest.
package func decimal(_ value: Double, digits: Int) -> String { formatted("%.\(digits)f", value) }

/// A number as a digit, a point, so many digits, and a power of ten: 1.25e-07.
package func scientific(_ value: Double, digits: Int) -> String { formatted("%.\(digits)e", value) }

private func formatted(_ format: String, _ value: Double) -> String {
    // The largest number has 309 digits before the point.
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 400) { buffer in
        let count = withVaList([value]) { vsnprintf(buffer.baseAddress!, buffer.count, format, $0) }
        return String(decoding: UnsafeRawBufferPointer(buffer)[..<min(Int(count), 399)], as: UTF8.self)
    }
}

extension StringProtocol {
    /// Without spaces and line breaks at its ends.
    package var trimmed: String {
        let isSpace: (Character) -> Bool = { $0.isWhitespace }
        return String(drop(while: isSpace).reversed().drop(while: isSpace).reversed())
    }
}
