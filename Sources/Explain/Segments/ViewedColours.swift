// The colours of what a network sees, from the numbers that it is fed: segments follow colours.

import CMicrokernels
import Imaging

/// A picture's colours as methods of segmentation want them, in double precision: some numbers for each pixel.
package struct ViewedColours: Sendable {
    package let height: Int, width: Int
    /// Of each pixel, row by row: R, G and B, 0 … 1; or the numbers of its channels, if they are not colours.
    package var values: [Double]
    /// Numbers of a pixel.
    package let channels: Int
    /// Whether they are R, G and B.
    package let areColours: Bool

    /// Undoes the preprocessing: the bytes of the picture, divided by 255 (what is within a hundredth of a byte is that byte). A network's single
    /// channel is a grey.
    ///
    /// Numbers that no picture can have become (an array was explained, prepared in another way), and those of networks with other
    /// numbers of channels, are taken as they are, but scaled together to 0 … 1.
    /// - Parameter numbers: what the network is fed, [C, H, W] row by row.
    package init(_ numbers: [Float], of input: PixelInput, preparedBy preprocessing: Preprocessing) {
        (height, width) = (input.height, input.width)
        let cells = input.cells
        if let levels = preprocessing.levels(numbers, channels: input.channels, cells: cells) {
            (channels, areColours) = (3, true)
            values = levels.map { $0 / 255 }
            return
        }
        (channels, areColours) = (input.channels, false)
        let (low, high) = (Double(numbers.min() ?? 0), Double(numbers.max() ?? 0))
        let (count, extent) = (channels, high > low ? high - low : 1)
        values = (0..<cells * count).map { (Double(numbers[$0 % count * cells + $0 / count]) - low) / extent }
    }

    /// - Parameter values: as above.
    package init(height: Int, width: Int, channels: Int, areColours: Bool, values: [Double]) {
        precondition(values.count == height * width * channels)
        (self.height, self.width, self.channels) = (height, width, channels)
        (self.areColours, self.values) = (areColours, values)
    }

    /// The same numbers, all scaled together to 0 … 1.
    package var stretched: ViewedColours {
        var result = self
        guard let low = values.min(), let high = values.max(), high > low else { return result }
        for i in values.indices { result.values[i] = (values[i] - low) / (high - low) }
        return result
    }

    /// CIE L*a*b* (1976) of sRGB colours, for the white D65 and the observer of 2°, with the constants of scikit-image's `rgb2lab`. What is
    /// no colour counts as so many lightnesses, 0 … 100.
    package var lab: [Double] {
        guard areColours else { return values.map { 100 * $0 } }
        var result = values
        for i in stride(from: 0, to: values.count, by: 3) {
            let (r, g, b) = (linear(values[i]), linear(values[i + 1]), linear(values[i + 2]))
            let x = compressed((0.412453 * r + 0.357580 * g + 0.180423 * b) / 0.95047)
            let y = compressed(0.212671 * r + 0.715160 * g + 0.072169 * b)
            let z = compressed((0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.08883)
            (result[i], result[i + 1], result[i + 2]) = (116 * y - 16, 500 * (x - y), 200 * (y - z))
        }
        return result
    }
}

extension Preprocessing {
    /// R, G and B of each pixel, 0 … 255, that became these numbers; nil if none can have.
    fileprivate func levels(_ numbers: [Float], channels: Int, cells: Int) -> [Double]? {
        guard [1, 3, 4].contains(channels) else { return nil }
        var levels = [Double](repeating: 0, count: 3 * cells)
        // What is stored under transparent pixels is seen too.
        for channel in 0..<min(3, channels) {
            // Any number is `low` + level · `step`.
            let low = Double(number(0, channel: channel, of: channels))
            let step = (Double(number(255, channel: channel, of: channels)) - low) / 255
            for i in 0..<cells {
                var level = (Double(numbers[channel * cells + i]) - low) / step
                if abs(level - level.rounded()) < 0.01 { level = level.rounded() }
                guard level >= 0, level <= 255 else { return nil }
                if channels == 1 {
                    for c in 0..<3 { levels[3 * i + c] = level }
                } else {
                    levels[3 * i + (colours == .bgr ? 2 - channel : channel)] = level
                }
            }
        }
        return levels
    }
}

/// sRGB to linear light.
private func linear(_ value: Double) -> Double {
    guard value > 0.04045 else { return value / 12.92 }
    let x = (value + 0.055) / 1.055
    // x^2.4 = x² (x^⅕)²; the fifth root by Newton's method, twice from 20 bits.
    var root = Double(wb_host_pow(Float(x), 0.2))
    for _ in 0..<2 {
        let fourth = root * root * (root * root)
        root -= (fourth * root - x) / (5 * fourth)
    }
    return x * x * (root * root)
}

/// The cube root, but for small numbers.
private func compressed(_ x: Double) -> Double {
    guard x > 0.008856 else { return 7.787 * x + 16.0 / 116 }
    var root = Double(wb_host_pow(Float(x), 1 / 3))
    for _ in 0..<2 { root -= (root - x / (root * root)) / 3 }
    return root
}
