// TIFF through libtiff, the first page: greys, colours, palettes and inks, in strips or tiles, of 1 to 16 bits.
//
// libtiff decodes strips and tiles into memory of ours, and says no more than what the samples are; how they become colours is done here, as
// Pillow does it. Only where pixels share samples, or it is not known whether they do (YCbCr that is compressed, but not by JPEG, whose decoder
// converts), libtiff's own conversion is taken, as Pillow does too.
// Of 16 bits the high byte is kept.
//
// The first directory is walked before libtiff sees the file, so that the size is checked, and memory asked for, before anything is allocated.

import CTIFF

enum TIFF {
    static func isOne(_ bytes: [UInt8]) -> Bool { Directory.order(bytes) != nil }

    static func decode(
        _ bytes: [UInt8], name: String, _ admission: RGBImage.Admission
    ) throws(ImageError) -> RGBImage {
        let directory = try Directory(bytes, name: name)
        let (width, height) = (directory.width, directory.height)
        try RGBImage.checkSize(width, height, name: name)
        guard (1...16).contains(directory.samples) else {
            throw .unsupported(
                file: name,
                reason: "it is a TIFF with \(directory.samples) samples per pixel; 1 to 16 are read")
        }
        // A strip or a row of tiles may be the whole picture, of 16 bits; and opacity is turned upright too.
        let area = width * height
        let strips = 2 * directory.samples * area
        try admission(RGBImage.decodingMemory(width, height, file: bytes) + 4 * area + strips)

        var reason: UnsafePointer<CChar>?
        guard wb_tiff_available(&reason) else {
            let why = reason.map { String(cString: $0) } ?? "unknown"
            throw .unsupported(
                file: name,
                reason:
                    "it is a TIFF, which needs the library libtiff (Debian's package libtiff6), and that cannot be opened: \(why)"
            )
        }
        let result: Result<RGBImage, ImageError> = bytes.withUnsafeBufferPointer { buffer in
            do throws(ImageError) {
                guard let file = wb_tiff_open(buffer.baseAddress, buffer.count, strips + 64 << 20) else {
                    throw .damaged(file: name, reason: "there is no memory to decode it")
                }
                defer { wb_tiff_close(file) }
                return .success(try Reader(file, directory, name: name).picture())
            } catch {
                return .failure(error)
            }
        }
        return try result.get().upright(orientation: directory.orientation)
    }

    // MARK: The first directory

    /// What is known before libtiff looks at it.
    struct Directory {
        private(set) var width = 0, height = 0, samples = 1, orientation = 1
        /// What says how pixels are stored, and which way up.
        private static let tags: Set<Int> = [
            256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324,
            325, 338, 339,
            347, 530, 532,
        ]
        /// Whether it says what the samples behind the colours are.
        private(set) var namesExtraSamples = false

        enum Order { case little, big }

        static func order(_ bytes: [UInt8]) -> (order: Order, isBig: Bool)? {
            switch bytes.prefix(4) {
            case [0x49, 0x49, 42, 0]: (.little, false)
            case [0x4D, 0x4D, 0, 42]: (.big, false)
            case [0x49, 0x49, 43, 0]: (.little, true)
            case [0x4D, 0x4D, 0, 43]: (.big, true)
            default: nil
            }
        }

        init(_ bytes: [UInt8], name: String) throws(ImageError) {
            let (order, isBig) = Self.order(bytes)!
            let cutOff = ImageError.damaged(
                file: name,
                reason: "the TIFF file is cut off after \(bytes.count) bytes, or points behind its end")
            func number(_ at: Int, _ size: Int) throws(ImageError) -> Int {
                guard at >= 0, at <= bytes.count - size else { throw cutOff }
                var value: UInt64 = 0
                for i in 0..<size {
                    value = value << 8 | UInt64(bytes[order == .big ? at + i : at + size - 1 - i])
                }
                // What is no Int is no place in the file, and too large for all else.
                return Int(exactly: value) ?? .max
            }
            let start = try isBig ? number(8, 8) : number(4, 4)
            let count = try number(start, isBig ? 8 : 2)
            let (entry, head) = (isBig ? 20 : 12, isBig ? 8 : 2)
            guard start <= bytes.count - head, count <= (bytes.count - start - head) / entry else {
                throw cutOff
            }
            for i in 0..<count {
                let at = start + head + entry * i
                let tag = try number(at, 2)
                guard Self.tags.contains(tag) else { continue }
                if tag == 338 { namesExtraSamples = true }
                let sizes = [1: 1, 3: 2, 4: 4, 5: 8, 7: 1, 16: 8, 18: 8]
                guard let size = sizes[try number(at + 2, 2)] else { continue }
                let room = isBig ? 8 : 4
                let place = at + 4 + room
                let count = try number(at + 4, room)
                // libtiff leaves out what it cannot read, a palette for instance, and guesses.
                guard count <= bytes.count / size else { throw cutOff }
                if count * size > room, try number(place, room) > bytes.count - count * size { throw cutOff }
                let value = try number(place, min(size, room))
                // Of several entries the first counts, as for libtiff.
                switch tag {
                case 256: if width == 0 { width = value }
                case 257: if height == 0 { height = value }
                case 277: samples = value
                case 274: orientation = value
                default: break
                }
            }
        }
    }

    // MARK: Pixels

    /// Reads the picture of a file that libtiff has open.
    private struct Reader {
        private let file: OpaquePointer
        private let directory: Directory
        private let name: String
        private var facts = wb_tiff_facts()

        /// None, fax (three kinds), LZW, JPEG, deflate (two numbers), packed bits, LZMA, Zstandard and WebP. The others are rare, and their
        /// decoders not as well kept.
        private static let compressions: Set<Int> = [1, 2, 3, 4, 5, 7, 8, 32773, 32946, 34925, 50000, 50001]

        private var width: Int { directory.width }
        private var height: Int { directory.height }

        /// What the first samples of a pixel are.
        private enum Colours {
            case grey(isInverted: Bool)
            case palette(Palette)
            case rgb, yCbCr, cmyk
        }
        private enum Opacity { case straight, multiplied }

        init(_ file: OpaquePointer, _ directory: Directory, name: String) throws(ImageError) {
            (self.file, self.directory, self.name) = (file, directory, name)
            guard wb_tiff_describe(file, &facts), wb_tiff_problem(file) == nil else { throw problem() }
            guard Int(facts.width) == width, Int(facts.height) == height,
                Int(facts.samples) == directory.samples
            else {
                throw .damaged(
                    file: name, reason: "its directory says twice how large it is, and not the same")
            }
            guard Self.compressions.contains(Int(facts.compression)) else {
                throw .unsupported(
                    file: name,
                    reason:
                        "it is a TIFF with compression \(facts.compression); save it uncompressed, or with LZW or deflate"
                )
            }
        }

        private func problem() -> ImageError {
            let words = wb_tiff_problem(file).map { String(cString: $0) } ?? "not enough data"
            return .damaged(file: name, reason: "the TIFF decoder says \"\(words)\"")
        }

        private func unsupported(_ what: String) -> ImageError {
            .unsupported(
                file: name,
                reason: "it is a TIFF with \(what); save it with 8 bits per sample, as grey or RGB")
        }

        func picture() throws(ImageError) -> RGBImage {
            let isTiled = facts.tile_width > 0
            let blockWidth = isTiled ? Int(facts.tile_width) : width
            let blockHeight = isTiled ? Int(facts.tile_height) : min(Int(facts.rows_per_strip), height)
            let misfit = ImageError.damaged(
                file: name,
                reason: "its parts of \(blockWidth) × \(blockHeight) pixels do not fit the picture")
            // Tiles that cover much more than the picture cost time that it does not need.
            guard (1...1 << 30).contains(blockWidth), (1...1 << 30).contains(blockHeight) else {
                throw misfit
            }
            let covered =
                (((width - 1) / blockWidth + 1) * blockWidth)
                .multipliedReportingOverflow(by: ((height - 1) / blockHeight + 1) * blockHeight)
            guard !covered.overflow, covered.partialValue <= 4 * width * height + 1 << 22 else {
                throw misfit
            }
            if facts.is_rgba { return try converted() }

            let (colours, count) = try colours()
            let opacity = try opacity(behind: count)
            let bits = Int(facts.bits)
            let channels = count + (opacity == nil ? 0 : 1)
            let samplesInRow = facts.is_planar ? 1 : Int(facts.samples)
            let rowSize = (blockWidth * samplesInRow * bits + 7) / 8
            // The memory for one part is what was asked for, but for a small picture in one tile.
            guard Int(clamping: facts.row_size) == rowSize,
                Int(clamping: facts.block_size) >= rowSize * blockHeight,
                rowSize * blockHeight <= 2 * directory.samples * width * height / samplesInRow + 1 << 24
            else { throw misfit }

            // One after the other, and the planes of one side by side.
            let planes = facts.is_planar ? channels : 1
            let planeSize = rowSize * blockHeight
            var block = [UInt8](repeating: 0, count: planes * planeSize)
            // Of a row, one sample after the other.
            var levels = [UInt8](repeating: 0, count: channels * blockWidth)
            var picture = RGBImage(width: width, height: height)
            var opacities = [UInt8](repeating: 255, count: opacity == nil ? 0 : width * height)
            for top in stride(from: 0, to: height, by: blockHeight) {
                for left in stride(from: 0, to: width, by: blockWidth) {
                    // The last strip is shorter, a tile never is.
                    let rows = min(blockHeight, height - top)
                    let size = isTiled ? planeSize : rowSize * rows
                    for plane in 0..<planes {
                        let isRead = block.withUnsafeMutableBufferPointer {
                            wb_tiff_read(
                                file, UInt32(left), UInt32(top), UInt16(plane),
                                $0.baseAddress! + plane * planeSize,
                                size)
                        }
                        guard isRead, wb_tiff_problem(file) == nil else { throw problem() }
                    }
                    let columns = min(blockWidth, width - left)
                    for y in 0..<rows {
                        for c in 0..<channels {
                            let start = y * rowSize + (facts.is_planar ? c * planeSize : c * bits / 8)
                            spread(
                                block, from: start, step: samplesInRow, columns, into: &levels,
                                at: c * blockWidth)
                        }
                        let target = (top + y) * width + left
                        levels.withUnsafeBufferPointer { levels in
                            paint(
                                (0..<channels).map {
                                    .init(rebasing: levels[($0 * blockWidth)...].prefix(columns))
                                },
                                colours, opacity, on: &picture.pixels, &opacities, from: target)
                        }
                    }
                }
            }
            if opacity != nil { picture.setOpacity(opacities) }
            return picture
        }

        /// What the colours are, and how many samples of a pixel.
        private func colours() throws(ImageError) -> (Colours, Int) {
            let bits = Int(facts.bits)
            let count: Int
            let colours: Colours
            var accepted = [8, 16]
            switch Int32(facts.photometric) {
            case 0, 1:
                (colours, count, accepted) = (.grey(isInverted: facts.photometric == 0), 1, [1, 2, 4, 8, 16])
            case 2: (colours, count) = (.rgb, 3)
            // From JPEG it comes as RGB.
            case 6: (colours, count) = (facts.compression == 7 ? .rgb : .yCbCr, 3)
            case 3:
                (count, accepted) = (1, [1, 2, 4, 8])
                guard accepted.contains(bits) else { throw unsupported("a palette of \(bits) bits") }
                var (red, green, blue):
                    (UnsafePointer<UInt16>?, UnsafePointer<UInt16>?, UnsafePointer<UInt16>?)
                guard wb_tiff_palette(file, &red, &green, &blue), let red, let green, let blue else {
                    throw .damaged(file: name, reason: "its palette is missing")
                }
                colours = .palette(
                    Palette(
                        (0..<1 << bits).map {
                            (UInt8(red[$0] >> 8), UInt8(green[$0] >> 8), UInt8(blue[$0] >> 8))
                        }))
            case 5: (colours, count) = (.cmyk, 4)
            default: throw unsupported("colours of kind \(facts.photometric)")
            }
            guard Int(facts.samples) >= count else {
                throw .damaged(
                    file: name, reason: "it has \(facts.samples) samples per pixel instead of \(count)")
            }
            guard accepted.contains(bits), bits >= 8 || facts.samples == 1 || facts.is_planar else {
                throw unsupported("\(facts.samples) samples of \(bits) bits per pixel")
            }
            // Signed bytes count as bytes; numbers that are not whole are no levels of light.
            guard
                facts.sample_format == 1 || facts.sample_format == 4 || facts.sample_format == 2 && bits == 8
            else {
                throw unsupported(
                    facts.sample_format == 2 ? "signed samples" : "samples that are no whole numbers")
            }
            return (colours, count)
        }

        /// Whether the sample behind the colours is the opacity. Of four samples of which nothing is said the last is, for colours.
        private func opacity(behind count: Int) throws(ImageError) -> Opacity? {
            guard Int(facts.samples) > count, count != 4 else { return nil }
            if !directory.namesExtraSamples { return count == 3 && facts.samples == 4 ? .straight : nil }
            return switch facts.extra {
            case 1: .multiplied
            case 2, 999: .straight
            default: nil
            }
        }

        /// One sample of each pixel of a row, as a byte; of palettes the number.
        private func spread(
            _ block: [UInt8], from start: Int, step: Int, _ count: Int, into levels: inout [UInt8],
            at target: Int
        ) {
            block.withUnsafeBytes { block in
                levels.withUnsafeMutableBufferPointer { all in
                    let levels = UnsafeMutableBufferPointer(rebasing: all[target..<target + count])
                    switch Int(facts.bits) {
                    case 8: for x in 0..<count { levels[x] = block[start + x * step] }
                    case 16:
                        for x in 0..<count {
                            let sample = block.loadUnaligned(
                                fromByteOffset: start + 2 * x * step, as: UInt16.self)
                            levels[x] = UInt8(sample >> 8)
                        }
                    case let bits:
                        let perByte = 8 / bits
                        let most = UInt8(1 << bits - 1)
                        // Levels of light span all of a byte.
                        let factor: UInt8 = facts.photometric == 3 ? 1 : 255 / most
                        for x in 0..<count {
                            let shift = 8 - bits - x % perByte * bits
                            levels[x] = (block[start + x / perByte] >> shift & most) * factor
                        }
                    }
                }
            }
        }

        private func paint(
            _ levels: [UnsafeBufferPointer<UInt8>], _ colours: Colours, _ opacity: Opacity?,
            on pixels: inout [UInt8],
            _ opacities: inout [UInt8], from target: Int
        ) {
            let first = levels[0]
            if case .palette(let palette) = colours {
                palette.paint(first, on: &pixels, from: target)
            } else {
                pixels.withUnsafeMutableBufferPointer { all in
                    let row = UnsafeMutableBufferPointer(
                        rebasing: all[(3 * target)...].prefix(3 * first.count))
                    switch colours {
                    case .palette: break
                    case .grey(let isInverted):
                        let flip: UInt8 = isInverted ? 255 : 0
                        for x in 0..<first.count {
                            let level = first[x] ^ flip
                            (row[3 * x], row[3 * x + 1], row[3 * x + 2]) = (level, level, level)
                        }
                    case .rgb:
                        let (green, blue) = (levels[1], levels[2])
                        for x in 0..<first.count {
                            (row[3 * x], row[3 * x + 1], row[3 * x + 2]) = (first[x], green[x], blue[x])
                        }
                    case .yCbCr:
                        for x in 0..<first.count {
                            (row[3 * x], row[3 * x + 1], row[3 * x + 2]) =
                                YCbCr.colour(first[x], levels[1][x], levels[2][x])
                        }
                    case .cmyk:
                        for c in 0..<3 {
                            let (ink, black) = (levels[c], levels[3])
                            for x in 0..<first.count {
                                row[3 * x + c] = CMYK.light(ink: ink[x], black: black[x])
                            }
                        }
                    }
                }
            }
            guard let opacity, let last = levels.last else { return }
            for x in 0..<last.count {
                opacities[target + x] = last[x]
                guard opacity == .multiplied, last[x] < 255 else { continue }
                for c in 0..<3 {
                    // Of what nobody sees no colour is left.
                    let level = last[x] == 0 ? 0 : 255 * Int(pixels[3 * (target + x) + c]) / Int(last[x])
                    pixels[3 * (target + x) + c] = UInt8(min(255, level))
                }
            }
        }

        /// The picture by libtiff's own conversion.
        private func converted() throws(ImageError) -> RGBImage {
            var rgba = [UInt32](repeating: 0, count: width * height)
            guard wb_tiff_read_rgba(file, facts.width, facts.height, &rgba), wb_tiff_problem(file) == nil
            else {
                throw problem()
            }
            let pixels = [UInt8](unsafeUninitializedCapacity: 3 * rgba.count) { target, filled in
                for (i, pixel) in rgba.enumerated() {
                    for c in 0..<3 { target[3 * i + c] = UInt8(truncatingIfNeeded: pixel >> UInt32(8 * c)) }
                }
                filled = 3 * rgba.count
            }
            return RGBImage(width: width, height: height, pixels: pixels)
        }
    }
}
