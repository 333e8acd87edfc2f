// Test-time augmentation: a map as the mean of those of changed versions of the picture.

import Imaging
import Inference
import Kernels
import Text

/// A change of the picture that leaves what is seen in it the same.
public enum Augmentation: String, Sendable, CaseIterable {
    /// The picture, and the picture mirrored left to right, whose map is mirrored back.
    case flip
    /// The picture, and the picture with 0.9 times and 1.1 times its levels; those that exceed the range are not cut off.
    case brightness

    /// Reads a list with commas.
    /// - Throws: `ExplainError` of kind `method` for a name that is none.
    public static func list(_ text: String) throws -> Set<Augmentation> {
        let names = text.split(separator: ",").map { $0.filter { $0 != " " }.lowercased() }
        let known = allCases.map(\.rawValue)
        guard !names.isEmpty else {
            throw ExplainError(
                .method, "No augmentation was named; there are \(known.joined(separator: ", ")).")
        }
        return Set(
            try names.map { name in
                guard let found = Augmentation(rawValue: name) else {
                    throw ExplainError(
                        .method,
                        "There is no augmentation “\(shortened(name))”; there are \(known.joined(separator: ", "))."
                            + didYouMean(name, among: known))
                }
                return found
            })
    }
}

/// One version of a picture.
struct AugmentedVersion: Sendable {
    let isMirrored: Bool
    /// What levels are multiplied by.
    let brightness: Float

    var isPlain: Bool { !isMirrored && brightness == 1 }

    /// Each combination once, the picture itself first: with both augmentations six, as in pytorch-grad-cam's `aug_smooth`.
    static func versions(_ augmentations: Set<Augmentation>) -> [AugmentedVersion] {
        (augmentations.contains(.brightness) ? [1, 0.9, 1.1] : [1]).flatMap { brightness in
            (augmentations.contains(.flip) ? [false, true] : [false]).map {
                AugmentedVersion(isMirrored: $0, brightness: brightness)
            }
        }
    }

    /// A picture's numbers [C, H, W], row by row, as this version has them.
    func numbers(_ picture: [Float], of input: PixelInput, _ preprocessing: Preprocessing) -> [Float] {
        var numbers = picture
        if isMirrored { numbers.mirror(rowsOf: input.width) }
        guard brightness != 1 else { return numbers }
        // A picture's opacity has no brightness.
        for channel in 0..<min(3, input.channels) {
            // Levels times b are numbers n with n − n(0) times b.
            let dark = preprocessing.number(0, channel: channel, of: input.channels)
            for i in channel * input.cells..<(channel + 1) * input.cells {
                numbers[i] = (numbers[i] - dark) * brightness + dark
            }
        }
        return numbers
    }

    /// A map of this version, as one of the picture.
    func restored(_ found: Attribution) -> Attribution {
        guard isMirrored else { return found }
        var (values, sampleError) = (found.values, found.sampleError)
        values.mirror(rowsOf: found.grid.size.width)
        sampleError?.mirror(rowsOf: found.grid.size.width)
        var restored = Attribution(
            picture: found.picture, target: found.target, grid: found.grid, values: values,
            blankReason: found.blankReason)
        (restored.sampleError, restored.samples) = (sampleError, found.samples)
        (restored.completeness, restored.note) = (found.completeness, found.note)
        return restored
    }
}

extension [Float] {
    fileprivate mutating func mirror(rowsOf width: Int) {
        for start in stride(from: 0, to: count, by: width) { self[start..<start + width].reverse() }
    }
}

extension Attribution {
    /// The mean of the maps of versions of the same pictures, added in their order, in the method's own units.
    ///
    /// Versions are given the same samples, so their standard errors may be those of one and the same error: the mean of these is the most that
    /// the error of the mean can be.
    static func mean(_ versions: [[Attribution]]) -> [Attribution] {
        guard versions.count > 1 else { return versions[0] }
        let count = Float(versions.count)
        func mean(_ rows: [[Float]]) -> [Float] {
            rows[0].indices.map { i in rows.reduce(Float(0)) { $0 + $1[i] } / count }
        }
        return versions[0].indices.map { i in
            let parts = versions.map { $0[i] }
            let first = parts[0]
            precondition(parts.allSatisfy { $0.picture == first.picture && $0.target == first.target })
            var whole = Attribution(
                picture: first.picture, target: first.target, grid: first.grid,
                values: mean(parts.map(\.values)), blankReason: "of every version: " + first.blankReason)
            let errors = parts.compactMap(\.sampleError)
            if errors.count == parts.count { whole.sampleError = mean(errors) }
            whole.samples = first.samples.map { _ in parts.compactMap(\.samples).reduce(0, +) }
            let sums = parts.compactMap(\.completeness)
            if sums.count == parts.count {
                whole.completeness = Completeness(
                    sum: sums.reduce(0) { $0 + $1.sum } / count,
                    expected: sums.reduce(0) { $0 + $1.expected } / count,
                    absorbedBy: sums[0].absorbedBy, isOfSegments: sums[0].isOfSegments, remedy: sums[0].remedy
                )
            }
            whole.note = parts.compactMap(\.note).first
            return whole
        }
    }
}
