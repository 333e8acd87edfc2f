// Heat maps of videos: planes whose frames lie below each other.

extension Plane {
    /// The plane at another size, by `resized(width:height:)`, or, where it has frames, each of `height / frames` rows, trilinearly between the centres of
    /// cells, edges held (PyTorch's `interpolate(mode="trilinear", align_corners=False)`): first each frame bilinearly, then for output frame Z, with z₀, z₁
    /// and t as of a column, (1 − t) · v[z₀] + t · v[z₁].
    /// - Parameters:
    ///   - frames: nil for an image.
    ///   - sides: [height, width] of an image; [frames, height, width] of a video, for which an image is one frame that stays.
    package func resized(frames: Int?, to sides: [Int]) -> Plane {
        guard sides.count == 3 else {
            precondition(frames ?? 1 == 1)
            return resized(width: sides[1], height: sides[0])
        }
        let large = parts(frames ?? 1).map { $0.resized(width: sides[2], height: sides[1]).values }
        var values: [Float] = []
        values.reserveCapacity(sides.reduce(1, *))
        for z in 0..<sides[0] {
            let at = Sample(at: z, from: large.count, to: sides[0])
            let (before, after) = (large[at.low], large[at.high])
            // A weight of zero leaves the other value alone, as along the other axes.
            if at.t == 0 {
                values += before
            } else {
                values += zip(before, after).map { (1 - at.t) * $0 + at.t * $1 }
            }
        }
        return Plane(width: sides[2], height: sides[0] * sides[1], values: values)
    }

    /// Its frames, which lie below each other.
    package func parts(_ frames: Int) -> [Plane] {
        precondition(frames > 0 && height % frames == 0)
        let count = values.count / frames
        return (0..<frames).map {
            Plane(width: width, height: height / frames, values: Array(values[$0 * count..<($0 + 1) * count]))
        }
    }
}

package enum Filmstrip {
    /// Of `count` things, `wanted` that lie evenly: the middle ones of as many equal parts, all if there are no more.
    package static func even(_ wanted: Int, of count: Int) -> [Int] {
        guard wanted < count else { return Array(0..<count) }
        return (0..<wanted).map { (2 * $0 + 1) * count / (2 * wanted) }
    }

    /// The most frames that a filmstrip shows.
    package static let most = 16

    /// Frames of one size in rows that are about as long as they are many, in their order, with white lines between them. Of more than
    /// sixteen, sixteen that lie evenly.
    package static func picture(_ frames: [RGBImage]) -> RGBImage {
        let shown = even(most, of: frames.count).map { frames[$0] }
        let columns = (1...shown.count).first { $0 * $0 >= shown.count }!
        let rows = (shown.count + columns - 1) / columns
        let (width, height, gap) = (shown[0].width, shown[0].height, 2)
        var strip = RGBImage(
            width: columns * (width + gap) - gap, height: rows * (height + gap) - gap, colour: (255, 255, 255)
        )
        for (i, frame) in shown.enumerated() {
            strip.paste(frame, left: i % columns * (width + gap), top: i / columns * (height + gap))
        }
        return strip
    }
}
