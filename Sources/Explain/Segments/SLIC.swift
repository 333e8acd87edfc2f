// SLIC: segments of about the same size, by k-means of colours and places.

/// Achanta et al., “SLIC Superpixels Compared to State-of-the-art Superpixel Methods”, PAMI 2012, algorithm 1, as scikit-image 0.26 has it
/// (`slic`, without smoothing): colours are scaled to 0 … 1 together and turned into L*a*b*; centres begin on a grid, ten rounds at most; then parts of a
/// segment that do not touch become segments of their own, those of less than half a segment's usual size joining a neighbour, and none
/// growing beyond three times that.
package struct SLIC: Sendable {
    /// About how many.
    package let segments: Int
    /// How much places count beside colours.
    package let compactness: Float

    package init(segments: Int, compactness: Float) {
        (self.segments, self.compactness) = (segments, compactness)
    }

    /// Points of a regular grid of about `count` points on an axis or two: from where on, and how far apart.
    private func grid(_ height: Int, _ width: Int, _ count: Int) -> (y: (Int, Int), x: (Int, Int)) {
        let (small, large) = (min(height, width), max(height, width))
        guard height * width > count else { return ((0, 1), (0, 1)) }
        var steps = (small: (Double(height * width) / Double(count)).squareRoot(), large: 0.0)
        steps.large = steps.small
        if Double(small) < steps.small {
            steps = (Double(small), Double(large) / Double(count))
        }
        func axis(_ step: Double) -> (Int, Int) {
            (Int(step / 2), Int(step.rounded(.toNearestOrEven)))
        }
        return height <= width
            ? (axis(steps.small), axis(steps.large)) : (axis(steps.large), axis(steps.small))
    }

    /// - Returns: the segment of each pixel, row by row, counted from 0.
    package func labels(_ picture: ViewedColours) -> [Int] {
        let (height, width, channels) = (picture.height, picture.width, picture.channels)
        let seeds = grid(height, width, segments)
        // y, x and colours of each.
        var centres: [[Double]] = []
        for y in stride(from: seeds.y.0, to: height, by: seeds.y.1) {
            for x in stride(from: seeds.x.0, to: width, by: seeds.x.1) {
                centres.append([Double(y), Double(x)] + Array(repeating: 0, count: channels))
            }
        }
        let step = Double(max(seeds.y.1, seeds.x.1))
        let ratio = 1 / Double(compactness)
        let colours = picture.stretched.lab.map { $0 * ratio }
        var labels = [Int](repeating: 0, count: height * width)
        cluster(
            &labels, &centres, colours, (height, width, channels), 1 / (step * step),
            grid(height, width, centres.count))
        let usual = Double(height * width) / Double(centres.count)
        return connected(labels, height, width, least: Int(0.5 * usual), most: Int(3 * usual))
    }

    private func cluster(
        _ labels: inout [Int], _ centres: inout [[Double]], _ colours: [Double],
        _ size: (height: Int, width: Int, channels: Int), _ weight: Double,
        _ grid: (y: (Int, Int), x: (Int, Int))
    ) {
        let (height, width, channels) = size
        for _ in 0..<10 {
            var nearest = [Double](repeating: .infinity, count: labels.count)
            var changes = false
            for (k, centre) in centres.enumerated() where !centre.isEmpty {
                let (cy, cx) = (centre[0], centre[1])
                let (reachY, reachX) = (Double(2 * grid.y.1), Double(2 * grid.x.1))
                let rows = Int(max(cy - reachY, 0))..<Int(min(cy + reachY + 1, Double(height)))
                let columns = Int(max(cx - reachX, 0))..<Int(min(cx + reachX + 1, Double(width)))
                colours.withUnsafeBufferPointer { colours in
                    for y in rows {
                        let dy = (cy - Double(y)) * (cy - Double(y))
                        for x in columns {
                            let i = y * width + x
                            var distance = (dy + (cx - Double(x)) * (cx - Double(x))) * weight
                            var colour = 0.0
                            for c in 0..<channels {
                                let t = colours[i * channels + c] - centre[2 + c]
                                colour += t * t
                            }
                            distance += colour
                            if nearest[i] > distance {
                                (nearest[i], labels[i], changes) = (distance, k, true)
                            }
                        }
                    }
                }
            }
            guard changes else { return }
            var counts = [Double](repeating: 0, count: centres.count)
            for k in centres.indices { centres[k] = Array(repeating: 0, count: 2 + channels) }
            for (i, k) in labels.enumerated() {
                counts[k] += 1
                centres[k][0] += Double(i / width)
                centres[k][1] += Double(i % width)
                for c in 0..<channels { centres[k][2 + c] += colours[i * channels + c] }
            }
            for k in centres.indices {
                // A centre that lost all its pixels is gone.
                centres[k] = counts[k] > 0 ? centres[k].map { $0 / counts[k] } : []
            }
        }
    }

    /// Makes each segment one piece.
    private func connected(_ labels: [Int], _ height: Int, _ width: Int, least: Int, most: Int) -> [Int] {
        var result = [Int](repeating: -1, count: labels.count)
        var next = 0
        for start in labels.indices where result[start] < 0 {
            var (piece, visited, neighbour) = ([start], 0, 0)
            result[start] = next
            // The nearest pixels first.
            while visited < piece.count, piece.count < most {
                let (y, x) = (piece[visited] / width, piece[visited] % width)
                for (dy, dx) in [(0, 1), (0, -1), (1, 0), (-1, 0)] {
                    guard (0..<height).contains(y + dy), (0..<width).contains(x + dx) else { continue }
                    let i = (y + dy) * width + x + dx
                    if labels[i] == labels[start], result[i] < 0 {
                        piece.append(i)
                        result[i] = next
                        if piece.count >= most { break }
                    } else if result[i] >= 0, result[i] != next {
                        neighbour = result[i]
                    }
                }
                visited += 1
            }
            if piece.count < least {
                for i in piece { result[i] = neighbour }
            } else {
                next += 1
            }
        }
        return result
    }
}
