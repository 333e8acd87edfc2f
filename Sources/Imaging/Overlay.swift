// A heat map laid over the picture that it explains.
//
// Each channel is (1 − a) · photo + a · colour in binary32, a half rounded up. Of colours for signs, a is multiplied by √|2 v − 1|, so that the
// photograph stays where a map says nothing. The brightness is left alone: what
// the network did not look at keeps the colour that the formula gives it, in every picture the same.

package enum Overlay {
    /// The heat map (0…1, any size) over the picture that the network saw.
    package static func overlay(
        photo: RGBImage, heat: Plane, colorMap: ColorMap, opacity: Float = 0.5
    ) -> RGBImage {
        var result = photo
        let same = heat.width == photo.width && heat.height == photo.height
        let heat = same ? heat : heat.resized(width: photo.width, height: photo.height)
        blend(
            heat, colorMap, opacity, into: &result, columns: 0..<photo.width, rows: 0..<photo.height)
        return result
    }

    /// The heat map (0…1, any size) of a crop, put back on the whole photograph where it belongs. What lies
    /// outside `region`, and so was never shown to the network, is darkened to `outside` of its brightness.
    package static func overlayOnPhoto(
        photo: RGBImage, heat: Plane, region: Region, colorMap: ColorMap, opacity: Float = 0.5,
        outside: Float = 0.35
    ) -> RGBImage {
        // The pixels whose centres lie in the region.
        func inside(_ start: Double, _ length: Double, _ size: Int) -> Range<Int> {
            let limit = Double(size)
            let low = Int(min(max((start - 0.5).rounded(.up), 0), limit))
            let high = Int(min(max((start + length - 0.5).rounded(.up), 0), limit))
            return low..<max(low, high)
        }
        let columns = inside(region.x, region.width, photo.width)
        let rows = inside(region.y, region.height, photo.height)
        func samples(_ range: Range<Int>, _ start: Double, _ length: Double, _ size: Int) -> [Plane.Sample] {
            range.map {
                let position = (Double($0) + 0.5 - start) / length * Double(size) - 0.5
                return Plane.Sample(position: Float(position), size: size)
            }
        }
        var result = photo
        let dark = (0..<256).map { UInt8(min(max(Float($0) * outside + 0.5, 0), 255)) }
        result.pixels.withUnsafeMutableBufferPointer { pixels in
            for y in 0..<photo.height {
                for x in 0..<photo.width where !(rows.contains(y) && columns.contains(x)) {
                    let at = (y * photo.width + x) * 3
                    for i in at..<at + 3 { pixels[i] = dark[Int(pixels[i])] }
                }
            }
        }
        guard !columns.isEmpty && !rows.isEmpty else { return result }
        let placed = heat.sampled(
            columns: samples(columns, region.x, region.width, heat.width),
            rows: samples(rows, region.y, region.height, heat.height))
        blend(placed, colorMap, opacity, into: &result, columns: columns, rows: rows)
        return result
    }

    private static func blend(
        _ heat: Plane, _ colorMap: ColorMap, _ opacity: Float, into picture: inout RGBImage,
        columns: Range<Int>, rows: Range<Int>
    ) {
        let most = min(max(opacity, 0), 1)
        // Of each of the 256 steps.
        let alphas = (0..<256).map { step in
            colorMap.isDiverging ? most * abs(2 * Float(step) / 255 - 1).squareRoot() : most
        }
        let width = picture.width
        picture.pixels.withUnsafeMutableBufferPointer { pixels in
            heat.values.withUnsafeBufferPointer { heat in
                colorMap.table.withUnsafeBufferPointer { table in
                    var cell = 0
                    for y in rows {
                        var at = (y * width + columns.lowerBound) * 3
                        for _ in columns {
                            let step = colorMap.index(heat[cell])
                            let (entry, a) = (3 * step, alphas[step])
                            for channel in 0..<3 {
                                let mixed =
                                    (1 - a) * Float(pixels[at + channel]) + a * Float(table[entry + channel])
                                pixels[at + channel] = UInt8(mixed + 0.5)
                            }
                            at += 3
                            cell += 1
                        }
                    }
                }
            }
        }
    }
}
