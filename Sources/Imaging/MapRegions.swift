// The part of a map that is strong: as a mask, as the box around its largest piece, and as a line around it.

/// The places of a plane whose number is at least a threshold.
package struct MapRegions: Sendable, Equatable {
    package let width: Int, height: Int
    /// Row by row from the top.
    package let isIn: [Bool]

    /// NaN is never in it.
    package init(_ plane: Plane, threshold: Float) {
        (width, height) = (plane.width, plane.height)
        isIn = plane.values.map { $0 >= threshold }
    }

    /// White where it is, black elsewhere.
    package var picture: RGBImage {
        RGBImage(
            width: width, height: height,
            pixels: isIn.flatMap { [UInt8](repeating: $0 ? 255 : 0, count: 3) })
    }

    /// A rectangle of whole places.
    package struct Box: Sendable, Equatable {
        package var left: Int, top: Int, width: Int, height: Int

        package init(left: Int, top: Int, width: Int, height: Int) {
            (self.left, self.top, self.width, self.height) = (left, top, width, height)
        }
    }

    /// The box around the largest piece, of which each place has a neighbour above, below, left or right; of equal ones the first from the
    /// top. Nil if there is none.
    package var box: Box? {
        var seen = isIn.map { !$0 }
        var best: (count: Int, box: Box)?
        for start in isIn.indices where !seen[start] {
            var (stack, count) = ([start], 0)
            var (left, right, top, bottom) = (width, -1, height, -1)
            seen[start] = true
            while let place = stack.popLast() {
                let (x, y) = (place % width, place / width)
                count += 1
                (left, right) = (min(left, x), max(right, x))
                (top, bottom) = (min(top, y), max(bottom, y))
                for (isThere, next) in [
                    (x > 0, place - 1), (x < width - 1, place + 1), (y > 0, place - width),
                    (y < height - 1, place + width),
                ] where isThere && !seen[next] {
                    seen[next] = true
                    stack.append(next)
                }
            }
            if count > best?.count ?? 0 {
                best = (
                    count, Box(left: left, top: top, width: right - left + 1, height: bottom - top + 1)
                )
            }
        }
        return best?.box
    }

    /// The picture, of the same size, with a white line two pixels wide within each piece's edge and a black one outside of it, so that it is
    /// seen on any ground. The picture's own edge is none.
    package func outlined(_ picture: RGBImage) -> RGBImage {
        precondition(picture.width == width && picture.height == height)
        var result = picture
        for y in 0..<height {
            for x in 0..<width {
                let place = y * width + x
                let reach = isIn[place] ? [1, 2] : [1]
                let isEdge = reach.contains { d in
                    [(-d, 0), (d, 0), (0, -d), (0, d)].contains { dx, dy in
                        let (nx, ny) = (x + dx, y + dy)
                        return nx >= 0 && nx < width && ny >= 0 && ny < height
                            && isIn[ny * width + nx] != isIn[place]
                    }
                }
                if isEdge { result.paint(x, y, isIn[place] ? 255 : 0) }
            }
        }
        return result
    }

    /// The picture with a box drawn upon it likewise.
    package static func drawn(_ box: Box, on picture: RGBImage) -> RGBImage {
        let inner = Plane(
            width: picture.width, height: picture.height,
            values: (0..<picture.width * picture.height).map { place in
                let (x, y) = (place % picture.width - box.left, place / picture.width - box.top)
                return x >= 0 && y >= 0 && x < box.width && y < box.height ? 1 : 0
            })
        return MapRegions(inner, threshold: 1).outlined(picture)
    }
}

extension RGBImage {
    fileprivate mutating func paint(_ x: Int, _ y: Int, _ grey: UInt8) {
        let at = 3 * (y * width + x)
        for i in at..<at + 3 { pixels[i] = grey }
    }
}
