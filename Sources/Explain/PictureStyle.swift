// How the pictures of results are drawn.

import Glibc
import Imaging
import Text

/// How maps become pictures. No number of an array depends on it.
public struct PictureStyle: Sendable {
    /// What the brightest colour means.
    public enum Scale: String, Sendable, CaseIterable {
        /// The largest number of any class that a method explains of the picture, so that a class of which there is little looks like little.
        case common
        /// The largest number of each map itself.
        case own
    }

    /// The name of a colour map (`PictureStyle.colorMaps`). That for signs shows maps with signs on both sides of 0, and others as inferno does.
    public var colorMap = PictureStyle.colorMaps[0]
    /// Of the map over the photograph, 0 … 1.
    public var opacity: Float = 0.6
    public var scale = Scale.common
    /// From which part of its own scale on a map is in its mask, box and contour, 0 … 1.
    public var threshold: Float = 0.5

    public init() {}

    /// The names of all colour maps.
    public static let colorMaps = ColorMap.all.map(\.name)

    var entries: [(String, JSON)] {
        [
            ("colormap", .string(colorMap)), ("opacity", .float(opacity)), ("scale", .string(scale.rawValue)),
            ("threshold", .float(threshold)),
        ]
    }
}

/// A map as it is drawn: colours, and the numbers at their ends.
struct DrawnMap {
    /// 0 … 1, of the size of the network's input.
    let heat: Plane
    let colorMap: ColorMap
    let low: Float, high: Float
    /// Whether what lies beyond is shown as the ends are.
    let isCut: Bool

    /// The numbers between which a map's own heat map goes.
    private static func range(_ found: Explanation) throws -> (low: Float, high: Float, isCut: Bool) {
        let plane = Plane(found.map)
        let quantile = try ExplainerList.named(found.method).brightestQuantile
        let cut = plane.clipped(atQuantile: quantile, signed: found.isSigned)
        let scaled = cut.normalised(signed: found.isSigned)
        return (scaled.minimum, scaled.maximum, cut != plane)
    }

    /// The numbers between which the maps of each method go: of each its own, or those of all of its classes.
    static func ranges(_ all: [Explanation], _ scale: PictureStyle.Scale) throws -> [(
        low: Float, high: Float, isCut: Bool
    )] {
        let own = try all.map(range)
        guard scale == .common else { return own }
        return all.indices.map { i in
            // What is explained of the classes must be the same number.
            let alike = all.indices.filter {
                all[$0].method == all[i].method && all[$0].target?.scale == all[i].target?.scale
                    && all[$0].layerIndex == all[i].layerIndex && all[$0].blank == nil
            }
            guard all[i].blank == nil else { return own[i] }
            return (
                alike.map { own[$0].low }.min()!, alike.map { own[$0].high }.max()!,
                alike.contains { own[$0].isCut }
            )
        }
    }

    init(_ found: Explanation, _ style: PictureStyle, _ range: (low: Float, high: Float, isCut: Bool)) throws
    {
        let asked = ColorMap.named(style.colorMap)!
        isCut = range.isCut
        if asked.isDiverging, found.isSigned, found.blank == nil {
            let scale = range.high > 0 ? range.high : found.map.values.map { -$0 }.max() ?? 1
            (low, high, colorMap) = (-scale, scale, asked)
            let raw = found.map
            let middled = Plane(
                width: raw.width, height: raw.height * (raw.frames ?? 1),
                values: raw.values.map { $0.isFinite ? 0.5 + 0.5 * min(max($0 / scale, -1), 1) : 0.5 })
            heat = middled.resized(
                frames: raw.frames,
                to: (found.heatmap.frames.map { [$0] } ?? []) + [found.heatmap.height, found.heatmap.width])
            return
        }
        (low, high, colorMap) = (range.low, range.high, asked.isDiverging ? .inferno : asked)
        let own = try DrawnMap.range(found)
        var plane = Plane(found.heatmap)
        if own.low != low || own.high != high, high > low {
            // Enlarging and scaling may be exchanged.
            let (factor, shift) = ((own.high - own.low) / (high - low), (own.low - low) / (high - low))
            plane.values = plane.values.map { $0 * factor + shift }
        }
        heat = plane
    }

    /// For the ends of a bar of its colours.
    var labels: (low: String, high: String) {
        let isBoth = colorMap.isDiverging
        return (
            (isCut && isBoth ? "<= " : "") + DrawnMap.number(low),
            (isCut ? ">= " : "") + DrawnMap.number(high)
        )
    }

    /// Three digits that matter.
    private static func number(_ value: Float) -> String {
        if value == 0 { return "0" }
        let exponent = Int(log10(Double(abs(value))).rounded(.down))
        guard (-3...4).contains(exponent) else { return scientific(Double(value), digits: 2) }
        return decimal(Double(value), digits: max(0, 2 - exponent))
    }
}
