// Colours that pixels name by number, and inks that become colours: what several formats have in common.

/// 256 colours; those that a file does not have are black.
struct Palette {
    private var colours = [UInt8](repeating: 0, count: 768)

    static let greys = Palette((0..<256).map { (UInt8($0), UInt8($0), UInt8($0)) })

    init(_ colours: [(UInt8, UInt8, UInt8)]) {
        for (i, colour) in colours.prefix(256).enumerated() {
            (self.colours[3 * i], self.colours[3 * i + 1], self.colours[3 * i + 2]) = colour
        }
    }

    subscript(_ index: UInt8) -> (UInt8, UInt8, UInt8) {
        let i = 3 * Int(index)
        return (colours[i], colours[i + 1], colours[i + 2])
    }

    /// Paints pixels in a row, of which the first is pixel number `start` of the picture.
    func paint(_ indices: some Collection<UInt8>, on pixels: inout [UInt8], from start: Int) {
        var target = 3 * start
        colours.withUnsafeBufferPointer { colours in
            pixels.withUnsafeMutableBufferPointer { pixels in
                for index in indices {
                    let i = 3 * Int(index)
                    pixels[target] = colours[i]
                    pixels[target + 1] = colours[i + 1]
                    pixels[target + 2] = colours[i + 2]
                    target += 3
                }
            }
        }
    }
}

/// Cyan, magenta, yellow and black.
enum CMYK {
    /// An ink on what black leaves of the light, as Pillow's `convert("RGB")` has it: rounded products of 255ths.
    @inline(__always) static func light(ink: UInt8, black: UInt8) -> UInt8 {
        let white = 255 - Int(black)
        let product = Int(ink) * white + 128
        return UInt8(white - (product >> 8 + product) >> 8)
    }
}

/// Luma and two chromas, as JPEG has them.
enum YCbCr {
    /// In 64ths, as Pillow's `convert("RGB")` has it: each product rounded by itself, the sum rounded down.
    @inline(__always) static func colour(_ y: UInt8, _ cb: UInt8, _ cr: UInt8) -> (UInt8, UInt8, UInt8) {
        func part(_ factor: Double, _ chroma: UInt8) -> Int {
            Int(factor * Double(Int(chroma) - 128) * 64 + 0.5)
        }
        func level(_ change: Int) -> UInt8 { UInt8(max(0, min(255, Int(y) + change >> 6))) }
        return (
            level(part(1.402, cr)), level(part(-0.34414, cb) + part(-0.71414, cr)), level(part(1.772, cb))
        )
    }
}

extension RGBImage {
    /// A picture from pixels of four bytes, of which the last is the opacity.
    init(width: Int, height: Int, splitting rgba: [UInt8], isOpaque: Bool) {
        let count = width * height
        precondition(rgba.count == 4 * count)
        let pixels = [UInt8](unsafeUninitializedCapacity: 3 * count) { target, filled in
            rgba.withUnsafeBufferPointer { p in
                for i in 0..<count {
                    target[3 * i] = p[4 * i]
                    target[3 * i + 1] = p[4 * i + 1]
                    target[3 * i + 2] = p[4 * i + 2]
                }
            }
            filled = 3 * count
        }
        self.init(width: width, height: height, pixels: pixels)
        guard !isOpaque else { return }
        setOpacity(
            [UInt8](unsafeUninitializedCapacity: count) { target, filled in
                rgba.withUnsafeBufferPointer { p in
                    for i in 0..<count { target[i] = p[4 * i + 3] }
                }
                filled = count
            })
    }

    /// Says how opaque the pixels are; nothing where all of them are.
    mutating func setOpacity(_ levels: [UInt8]?) {
        opacity = levels.flatMap { levels in levels.contains { $0 < 255 } ? levels : nil }
        isTransparent = opacity != nil
    }
}
