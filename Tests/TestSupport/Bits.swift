// Comparing numbers bit by bit.

/// Where `a` and `b` first differ, as a sentence; nil if all bits are equal. A NaN equals a NaN, whatever its payload.
package func bitDifference(_ a: [Float], _ b: [Float]) -> String? {
    guard a.count == b.count else { return "There are \(a.count) numbers and \(b.count)." }
    guard
        let i = a.indices.first(where: {
            a[$0].bitPattern != b[$0].bitPattern && !(a[$0].isNaN && b[$0].isNaN)
        })
    else { return nil }
    func shown(_ x: Float) -> String { "\(x) (0x\(String(x.bitPattern, radix: 16)))" }
    let count = a.indices.count { a[$0].bitPattern != b[$0].bitPattern && !(a[$0].isNaN && b[$0].isNaN) }
    return "\(count) of \(a.count) numbers differ, first number \(i): \(shown(a[i])) and \(shown(b[i]))."
}
