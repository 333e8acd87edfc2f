// Colours for numbers between 0 and 1, each map from a formula or from a few colours with straight lines between them.

/// 256 colours under a name.
package struct ColorMap: Sendable, Equatable {
    package let name: String
    package let summary: String
    /// Whether its middle means 0, for maps that have two signs.
    package var isDiverging: Bool { self == .coolwarm }
    /// R, G, B of the 256 steps from 0 to 1.
    package let table: [UInt8]

    private init(_ name: String, _ summary: String, _ colour: (Double) -> (Double, Double, Double)) {
        self.name = name
        self.summary = summary
        table = (0..<256).flatMap { step in
            let (r, g, b) = colour(Double(step) / 255)
            return [r, g, b].map { UInt8((min(max($0, 0), 1) * 255 + 0.5).rounded(.down)) }
        }
    }

    /// Between colours (RRGGBB) at equal distances, straight lines.
    private init(_ name: String, _ summary: String, between colours: String) {
        let anchors = colours.split(separator: " ").map { colour in
            let number = Int(colour, radix: 16)!
            return [number >> 16, number >> 8 & 255, number & 255].map { Double($0) / 255 }
        }
        self.init(name, summary) { x in
            let position = x * Double(anchors.count - 1)
            let low = min(Int(position), anchors.count - 2)
            let t = position - Double(low)
            let mixed = (0..<3).map { (1 - t) * anchors[low][$0] + t * anchors[low + 1][$0] }
            return (mixed[0], mixed[1], mixed[2])
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

    /// Black, violet, orange, yellow: as light as the number is large (S. van der Walt and N. Smith, 2015).
    package static let inferno = ColorMap(
        "inferno", "black, violet, orange, yellow: even steps look even, to the colour-blind too",
        between:
            "000004 0b0724 210c4a 3c0965 57106d 70196e 89226a a32b61 bb3755 d14644 e35932 f1711e f98d0a fcab0f f9ca32 f2e865 fcffa4"
    )

    /// Violet, blue, green, yellow, likewise (S. van der Walt and N. Smith, 2015).
    package static let viridis = ColorMap(
        "viridis", "violet, blue, green, yellow: even steps look even, to the colour-blind too",
        between:
            "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26818e 21908c 1f9f88 28ae80 3ebc74 5dc963 82d34c abdc32 d5e21a fde725"
    )

    /// Blue, grey, yellow, which nearly everybody sees alike (J. Nuñez, C. Anderton and R. Renslow, 2018).
    package static let cividis = ColorMap(
        "cividis", "blue, grey, yellow: nearly the same to everybody",
        between:
            "00224e 002e6a 1a386f 32436d 434e6c 52596d 61656f 6f7073 7c7b78 8b8778 9b9376 aba072 bbad6c ccba64 ddc958 efd748 fee838"
    )

    /// Blue, light grey, red, as far from grey as the number is from the middle (K. Moreland, 2009).
    package static let coolwarm = ColorMap(
        "coolwarm", "blue for what speaks against, grey for nothing, red for what speaks for",
        between:
            "3b4cc0 4d68d7 6282ea 779af7 8db0fe a3c2fe b8d0f9 ccd9ee dddddd ecd3c5 f4c4ad f7b194 f49a7b ec7f63 de604d cb3e38 b40426"
    )

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
    package static let all = [inferno, viridis, cividis, coolwarm, jet, turbo, hot, grey]

    package static func named(_ name: String) -> ColorMap? { all.first { $0.name == name } }
}
