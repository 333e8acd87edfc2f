// Colours for numbers between 0 and 1, each map from a formula.

/// 256 colours under a name.
package struct ColorMap: Sendable, Equatable {
    package let name: String
    package let summary: String
    /// R, G, B of the 256 steps from 0 to 1.
    let table: [UInt8]

    private init(_ name: String, _ summary: String, _ colour: (Double) -> (Double, Double, Double)) {
        self.name = name
        self.summary = summary
        table = (0..<256).flatMap { step in
            let (r, g, b) = colour(Double(step) / 255)
            return [r, g, b].map { UInt8((min(max($0, 0), 1) * 255 + 0.5).rounded(.down)) }
        }
    }

    /// The colour of a number; below 0 and NaN count as 0, above 1 as 1.
    package func colour(_ value: Float) -> (red: UInt8, green: UInt8, blue: UInt8) {
        let i = 3 * index(value)
        return (table[i], table[i + 1], table[i + 2])
    }

    /// The nearest of the 256 steps, a half rounded up.
    @inline(__always)
    func index(_ value: Float) -> Int {
        value > 0 ? Int(min(value, 1) * 255 + 0.5) : 0
    }

    /// The plane in colours.
    package func picture(_ plane: Plane) -> RGBImage {
        var image = RGBImage(width: plane.width, height: plane.height)
        for (i, value) in plane.values.enumerated() {
            (image.pixels[3 * i], image.pixels[3 * i + 1], image.pixels[3 * i + 2]) = colour(value)
        }
        return image
    }

    /// The rainbow of the saliency literature: blue, cyan, yellow, red; three tents of slope 4.
    package static let jet = ColorMap("jet", "blue, cyan, yellow, red: the classic") { x in
        (1.5 - abs(4 * x - 3), 1.5 - abs(4 * x - 2), 1.5 - abs(4 * x - 1))
    }

    /// A smoother rainbow: the degree 5 polynomials published with Turbo (A. Mikhailov, 2019).
    package static let turbo = ColorMap("turbo", "a smoother rainbow, without false edges") { x in
        func polynomial(_ c: [Double]) -> Double { c.reversed().reduce(0) { $0 * x + $1 } }
        return (
            polynomial([0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943]),
            polynomial([0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604]),
            polynomial([0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973])
        )
    }

    /// Black, red, yellow, white, one channel after the other.
    package static let hot = ColorMap("hot", "black, red, yellow, white") { x in
        (x * 8 / 3, (x - 0.375) * 8 / 3, (x - 0.75) * 4)
    }

    package static let grey = ColorMap("grey", "black to white") { x in (x, x, x) }

    /// Every map; the first is the default.
    package static let all = [jet, turbo, hot, grey]

    package static func named(_ name: String) -> ColorMap? { all.first { $0.name == name } }
}
