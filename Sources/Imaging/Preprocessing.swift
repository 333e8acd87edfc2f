// From a photograph to the numbers that a network was trained on.
//
// Resize, crop, then for each pixel and channel, in binary32 and in this order:
//
//     value = (pixel / divisor − mean[c]) / std[c]
//
// which with divisor 255 is torchvision's ToTensor and Normalize bit for bit. There are only 256 pixel values,
// so each channel is a table. Opacity, where a network takes it as a fourth channel, is prepared like a colour.

/// A rectangle of the photograph, in its (upright) pixels; it reaches beyond the photograph where a crop was padded.
package struct Region: Equatable, Sendable {
    package var x: Double
    package var y: Double
    package var width: Double
    package var height: Double

    package init(x: Double, y: Double, width: Double, height: Double) {
        self.x = x
        self.y = y
        self.width = width
        self.height = height
    }
}

/// The order of a network's input in memory.
package enum ChannelOrder: Sendable {
    /// [channels, height, width]
    case planar
    /// [height, width, channels]
    case channelsLast
}

/// What the network sees of a photograph.
package struct PreparedView: Equatable, Sendable {
    /// The resized and cropped picture, before the colours become numbers; always RGB.
    package var image: RGBImage
    /// The part of the photograph that it shows.
    package var region: Region
}

/// A photograph ready for the network.
package struct PreparedImage: Equatable, Sendable {
    /// [channels, height, width], binary32.
    package var tensor: [Float]
    package var view: PreparedView
    package var width: Int { view.image.width }
    package var height: Int { view.image.height }
}

package struct Preprocessing: Equatable, Sendable {
    package enum Resize: Equatable, Sendable {
        /// The shorter side becomes n, the longer ⌊n · longer / shorter⌋ (torchvision's `Resize(n)`).
        case shortSide(Int)
        /// Exactly this size, whatever that does to the proportions.
        case exact(width: Int, height: Int)
        /// As large as fits in this size with its proportions kept: both sides divided by the larger of the ratios to this size, and
        /// rounded, a half to even (timm's `ResizeKeepRatio(longest=1)`).
        case fit(width: Int, height: Int)
        /// As small as covers this size, likewise: divided by the smaller of the ratios (timm's `ResizeKeepRatio`).
        case cover(width: Int, height: Int)
        /// The photograph as it is.
        case none
    }

    package struct Size: Equatable, Sendable {
        package var width: Int
        package var height: Int
        package init(width: Int, height: Int) {
            self.width = width
            self.height = height
        }
    }

    package enum ColourOrder: String, CaseIterable, Sendable {
        case rgb, bgr
        /// One number for each pixel, (19595 R + 38470 G + 7471 B + 32768) / 65536 rounded down, made before anything else is done with the
        /// picture: Pillow's `convert("L")`.
        case grey
    }

    /// Which pixel a crop begins at where the margins are odd.
    package enum CropRounding: String, CaseIterable, Sendable {
        /// Half the margin, a half rounded to even; of what is put around a smaller picture the smaller half in front (torchvision, timm).
        case even
        /// Half the margin, rounded down; of what is put around a smaller picture the larger half in front (Hugging Face's processors).
        case down
    }

    package var resize: Resize
    package var interpolation: Interpolation
    /// The middle of the resized picture; where the picture is smaller, `padding` is put around it.
    package var crop: Size?
    package var cropRounding: CropRounding
    /// R, G and B of what is put around a picture that is smaller than the crop.
    package var padding: [UInt8]
    package var colours: ColourOrder
    package var divisor: Float
    /// Three numbers in the network's channel order (B, G, R with `.bgr`), or four, the last of which is the opacity's; one of a grey.
    package var mean: [Float]
    package var std: [Float]

    /// Whether the opacity of pixels is prepared too, as a fourth channel; what a picture does not state is opaque.
    package var hasOpacity: Bool { mean.count == 4 }

    package init(
        resize: Resize, interpolation: Interpolation = .bilinear, crop: Size? = nil,
        cropRounding: CropRounding = .even, padding: [UInt8] = [0, 0, 0], colours: ColourOrder = .rgb,
        divisor: Float = 1, mean: [Float]? = nil, std: [Float]? = nil
    ) {
        let channels = mean?.count ?? std?.count ?? (colours == .grey ? 1 : 3)
        let (mean, std) = (
            mean ?? Array(repeating: 0, count: channels), std ?? Array(repeating: 1, count: channels)
        )
        precondition(mean.count == std.count && (colours == .grey ? [1] : [3, 4]).contains(mean.count))
        precondition(padding.count == 3)
        self.resize = resize
        self.interpolation = interpolation
        self.crop = crop
        self.cropRounding = cropRounding
        self.padding = padding
        self.colours = colours
        self.divisor = divisor
        self.mean = mean
        self.std = std
    }

    // MARK: Presets

    private static let crop224 = Size(width: 224, height: 224)

    /// torchvision's classifiers and most others trained with PyTorch.
    package static let imagenet = Preprocessing(
        resize: .shortSide(256), crop: crop224, divisor: 255, mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225])
    /// EfficientNet-Lite: (pixel − 127) / 128.
    package static let lite = Preprocessing(
        resize: .shortSide(256), interpolation: .bicubic, crop: crop224, mean: [127, 127, 127],
        std: [128, 128, 128])
    /// Caffe, and Keras's mode `caffe`: BGR less the mean colour.
    package static let caffe = Preprocessing(
        resize: .shortSide(256), crop: crop224, colours: .bgr, mean: [103.939, 116.779, 123.68])
    /// Keras: `load_img(target_size:)`, whose default is the nearest pixel, and mode `tf`: pixel / 127.5 − 1.
    package static let tf = Preprocessing(
        resize: .exact(width: 224, height: 224), interpolation: .nearest, divisor: 127.5, mean: [1, 1, 1])
    /// torchvision's networks of videos: r3d_18, mc3_18, r2plus1d_18, s3d (256 × 342 and 224 of larger inputs), mvit and swin3d. Each frame by itself.
    package static let kinetics = Preprocessing(
        resize: .exact(width: 171, height: 128), crop: Size(width: 112, height: 112), divisor: 255,
        mean: [0.43216, 0.394666, 0.37645], std: [0.22803, 0.22145, 0.216989])
    /// The pixels 0…255 as they are, for networks that prepare them themselves.
    package static let none = Preprocessing(resize: .none)

    /// Every preset under the name that users type.
    package static let presets: [(name: String, value: Preprocessing)] = [
        ("imagenet", imagenet), ("lite", lite), ("caffe", caffe), ("tf", tf), ("kinetics", kinetics),
        ("none", none),
    ]

    package static func preset(named name: String) -> Preprocessing? {
        presets.first { $0.name == name }?.value
    }

    /// The size of what it makes of any picture; nil if that depends on the picture.
    package var outputSize: Size? {
        if case .exact(let width, let height) = resize { return crop ?? Size(width: width, height: height) }
        return crop
    }

    /// The same preparation for a network with another input size. The crop becomes that size, and the short
    /// side grows with it (256 for 224, 293 for 256; the longer side of the input counts, so that no padding
    /// appears). An exact size becomes the new size. `.none` without a crop stays as it is.
    package func fitting(width: Int, height: Int) -> Preprocessing {
        precondition(width > 0 && height > 0)
        var result = self
        let size = Size(width: width, height: height)
        func scaled(_ w: Int, _ h: Int, _ resize: (Int, Int) -> Resize) -> Resize {
            guard let crop else { return resize(width, height) }
            result.crop = size
            return resize(
                max(1, Int((Double(w * width) / Double(crop.width)).rounded())),
                max(1, Int((Double(h * height) / Double(crop.height)).rounded())))
        }
        switch resize {
        case .shortSide(let side):
            guard crop != size else { return self }
            let covered = Double(crop.map { max($0.width, $0.height) } ?? side)
            let scaled = Double(side) * Double(max(width, height)) / covered
            result.resize = .shortSide(max(1, Int(scaled.rounded())))
            result.crop = size
        case .exact(let w, let h): result.resize = scaled(w, h) { .exact(width: $0, height: $1) }
        case .fit(let w, let h): result.resize = scaled(w, h) { .fit(width: $0, height: $1) }
        case .cover(let w, let h): result.resize = scaled(w, h) { .cover(width: $0, height: $1) }
        case .none:
            if crop != nil { result.crop = size }
        }
        return result
    }

    // MARK: Applying

    /// Resizes and crops. A transparent picture keeps its opacity only where that is prepared too, and then each number of it is resized
    /// as a colour's would be.
    package func view(of photo: RGBImage) throws(ImageError) -> PreparedView {
        var image = colours == .grey ? photo.lightness : photo
        if !hasOpacity { image.opacity = nil }
        guard !hasOpacity || image.opacity != nil || !image.isTransparent else {
            throw .unsupported(
                file: "to be prepared",
                reason:
                    "its transparent pixels are declared by a colour of 16 bits, and the network takes opacity; save it with 8 bits"
            )
        }
        /// Both sides divided by a ratio; Python's rounding.
        func divided(by ratio: Double) -> (Int, Int) {
            func side(_ length: Int) -> Int {
                max(1, Int((Double(length) / ratio).rounded(.toNearestOrEven)))
            }
            return (side(image.width), side(image.height))
        }
        func ratios(_ width: Int, _ height: Int) -> (Double, Double) {
            (Double(image.width) / Double(width), Double(image.height) / Double(height))
        }
        let w: Int
        let h: Int
        switch resize {
        case .none: (w, h) = (image.width, image.height)
        case .exact(let width, let height): (w, h) = (width, height)
        case .shortSide(let n):
            (w, h) =
                image.width <= image.height
                ? (n, n * image.height / image.width) : (n * image.width / image.height, n)
        case .fit(let width, let height):
            let (x, y) = ratios(width, height)
            (w, h) = divided(by: max(x, y))
        case .cover(let width, let height):
            let (x, y) = ratios(width, height)
            (w, h) = divided(by: min(x, y))
        }
        let size = crop ?? Size(width: w, height: h)
        try RGBImage.checkSize(size.width, size.height, name: "resized picture")
        let (left, top) = (offset(of: size.width, in: w), offset(of: size.height, in: h))
        let columns = max(left, 0)..<min(left + size.width, w)
        let rows = max(top, 0)..<min(top + size.height, h)
        var view = image.resized(width: w, height: h, by: interpolation, columns: columns, rows: rows)
        if left < 0 || top < 0 {
            view = view.cropped(
                left: min(left, 0), top: min(top, 0), width: size.width, height: size.height,
                filling: (padding[0], padding[1], padding[2]))
        }
        let (sx, sy) = (Double(image.width) / Double(w), Double(image.height) / Double(h))
        return PreparedView(
            image: view,
            region: Region(
                x: Double(left) * sx, y: Double(top) * sy, width: Double(size.width) * sx,
                height: Double(size.height) * sy))
    }

    /// Where a crop begins; below 0 where something is put in front.
    private func offset(of crop: Int, in size: Int) -> Int {
        switch cropRounding {
        case .even:
            crop > size
                ? -((crop - size) / 2) : Int((Double(size - crop) / 2).rounded(.toNearestOrEven))
        case .down: Int((Double(size - crop) / 2).rounded(.down))
        }
    }

    /// Prepares a photograph for a network of so many channels (1, 3 or 4); for as many as this preprocessing makes unless it is said.
    package func apply(_ image: RGBImage, channels: Int? = nil) throws(ImageError) -> PreparedImage {
        let (view, channels) = (try view(of: image), channels ?? mean.count)
        var tensor = [Float](repeating: 0, count: channels * view.image.width * view.image.height)
        tensor.withUnsafeMutableBufferPointer { write(view, into: $0, order: .planar) }
        return PreparedImage(tensor: tensor, view: view)
    }

    /// The numbers of a picture that is a view already, [channels, height, width].
    package func numbers(of view: RGBImage, channels: Int) -> [Float] {
        var numbers = [Float](repeating: 0, count: channels * view.width * view.height)
        let whole = Region(x: 0, y: 0, width: Double(view.width), height: Double(view.height))
        numbers.withUnsafeMutableBufferPointer {
            write(PreparedView(image: view, region: whole), into: $0, order: .planar)
        }
        return numbers
    }

    /// Prepares a photograph straight into its place in a batch: `buffer` holds exactly channels × height × width floats.
    package func apply(
        _ image: RGBImage, into buffer: UnsafeMutableBufferPointer<Float>, order: ChannelOrder
    ) throws(ImageError) -> PreparedView {
        let view = try view(of: image)
        write(view, into: buffer, order: order)
        return view
    }

    /// The same preparation for a network of so many channels: of four, the last is the opacity, whose number is pixel / divisor unless it
    /// is said.
    package func fitting(channels: Int) -> Preprocessing {
        guard channels == 4, mean.count == 3 else { return self }
        var result = self
        result.mean.append(0)
        result.std.append(1)
        return result
    }

    /// What a network of one channel sees of a picture in colours: it takes the mean of three channels' numbers, in which a channel of a
    /// small deviation weighs more.
    package func grey(_ image: RGBImage) -> RGBImage {
        guard colours != .grey else { return image }
        let inverses = (colours == .rgb ? Array(std[..<3]) : std[..<3].reversed()).map { 1 / abs($0) }
        let sum = inverses.reduce(0, +)
        let weights = inverses.map { sum.isFinite ? $0 / sum : 1 / 3 }
        var grey = image
        for i in 0..<image.width * image.height {
            let mean = (0..<3).reduce(Float(0)) { $0 + weights[$1] * Float(image.pixels[3 * i + $1]) }
            let level = UInt8(max(0, min(255, mean.rounded())))
            for c in 0..<3 { grey.pixels[3 * i + c] = level }
        }
        return grey
    }

    /// What the network is fed of a pixel's brightness, 0 … 255, in one of its channels: of three channels, of one, which is a grey or the
    /// mean of what three would be, or of four, the last of which is the opacity.
    package func number(_ level: Float, channel: Int, of channels: Int) -> Float {
        func number(_ channel: Int) -> Float { (level / divisor - mean[channel]) / std[channel] }
        if colours == .grey { return number(0) }
        return channels == 1 ? (number(0) + number(1) + number(2)) / 3 : number(channel)
    }

    /// Whether its numbers are the bytes of pixels.
    package var givesBytes: Bool {
        divisor == 1 && mean.allSatisfy { $0 == 0 } && std.allSatisfy { $0 == 1 }
    }

    /// Turns the pixels of a view into the network's numbers, for a network of 1, 3 or 4 channels.
    package func write(
        _ view: PreparedView, into buffer: UnsafeMutableBufferPointer<Float>, order: ChannelOrder
    ) {
        let count = view.image.width * view.image.height
        let channels = buffer.count / count
        precondition(
            buffer.count == channels * count && [1, 3, 4].contains(channels)
                && (channels < 4 || hasOpacity || colours == .grey),
            "the buffer must hold channels × height × width floats")
        func table(_ channel: Int) -> [Float] {
            (0..<256).map { (Float($0) / divisor - mean[channel]) / std[channel] }
        }
        /// Where a channel's bytes lie in a pixel.
        func place(_ channel: Int) -> Int { colours == .bgr ? 2 - channel : channel }
        view.image.pixels.withUnsafeBufferPointer { pixels in
            if channels == 1, colours != .grey {
                // The mean of what three would be.
                let tables = (0..<3).map(table)
                let (r, g, b) = (place(0), place(1), place(2))
                for i in 0..<count {
                    buffer[i] =
                        (tables[0][Int(pixels[3 * i + r])] + tables[1][Int(pixels[3 * i + g])]
                            + tables[2][Int(pixels[3 * i + b])]) / 3
                }
                return
            }
            let (channelStep, pixelStep) = order == .planar ? (count, 1) : (1, channels)
            for channel in 0..<channels {
                let table = table(colours == .grey ? 0 : channel)
                guard channel < 3 || colours == .grey else {
                    for i in 0..<count {
                        buffer[channel * channelStep + i * pixelStep] =
                            table[Int(view.image.opacity?[i] ?? 255)]
                    }
                    continue
                }
                let source = colours == .grey ? 0 : place(channel)
                table.withUnsafeBufferPointer { table in
                    for i in 0..<count {
                        buffer[channel * channelStep + i * pixelStep] = table[Int(pixels[3 * i + source])]
                    }
                }
            }
        }
    }
}
