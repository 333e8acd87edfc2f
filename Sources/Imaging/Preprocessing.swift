// From a photograph to the numbers that a network was trained on.
//
// Resize, crop, then for each pixel and channel, in binary32 and in this order:
//
//     value = (pixel / divisor − mean[c]) / std[c]
//
// which with divisor 255 is torchvision's ToTensor and Normalize bit for bit. There are only 256 pixel values,
// so each channel is a table.

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
    /// [3, height, width]
    case planar
    /// [height, width, 3]
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
    /// [3, height, width], binary32.
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

    package enum ColourOrder: String, CaseIterable, Sendable { case rgb, bgr }

    package var resize: Resize
    package var interpolation: Interpolation
    /// The middle of the resized picture; where the picture is smaller, black is put around it.
    package var crop: Size?
    package var colours: ColourOrder
    package var divisor: Float
    /// Three numbers in the network's channel order (B, G, R with `.bgr`).
    package var mean: [Float]
    package var std: [Float]

    package init(
        resize: Resize, interpolation: Interpolation = .bilinear, crop: Size? = nil,
        colours: ColourOrder = .rgb, divisor: Float = 1, mean: [Float] = [0, 0, 0], std: [Float] = [1, 1, 1]
    ) {
        precondition(mean.count == 3 && std.count == 3)
        self.resize = resize
        self.interpolation = interpolation
        self.crop = crop
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
    /// The pixels 0…255 as they are, for networks that prepare them themselves.
    package static let none = Preprocessing(resize: .none)

    /// Every preset under the name that users type.
    package static let presets: [(name: String, value: Preprocessing)] = [
        ("imagenet", imagenet), ("lite", lite), ("caffe", caffe), ("tf", tf), ("none", none),
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
        switch resize {
        case .shortSide(let side):
            guard crop != size else { return self }
            let covered = Double(crop.map { max($0.width, $0.height) } ?? side)
            let scaled = Double(side) * Double(max(width, height)) / covered
            result.resize = .shortSide(max(1, Int(scaled.rounded())))
            result.crop = size
        case .exact:
            if crop == nil {
                result.resize = .exact(width: width, height: height)
            } else {
                result.crop = size
                if case .exact(let w, let h) = resize, let crop {
                    result.resize = .exact(
                        width: max(1, Int((Double(w * width) / Double(crop.width)).rounded())),
                        height: max(1, Int((Double(h * height) / Double(crop.height)).rounded())))
                }
            }
        case .none:
            if crop != nil { result.crop = size }
        }
        return result
    }

    // MARK: Applying

    /// Resizes and crops.
    package func view(of image: RGBImage) throws(ImageError) -> PreparedView {
        let (w, h) =
            switch resize {
            case .none: (image.width, image.height)
            case .exact(let width, let height): (width, height)
            case .shortSide(let n):
                image.width <= image.height
                    ? (n, n * image.height / image.width) : (n * image.width / image.height, n)
            }
        let size = crop ?? Size(width: w, height: h)
        try RGBImage.checkSize(size.width, size.height, name: "resized picture")
        let (left, top) = (Self.offset(of: size.width, in: w), Self.offset(of: size.height, in: h))
        let columns = max(left, 0)..<min(left + size.width, w)
        let rows = max(top, 0)..<min(top + size.height, h)
        var view = image.resized(width: w, height: h, by: interpolation, columns: columns, rows: rows)
        if left < 0 || top < 0 {
            view = view.cropped(left: min(left, 0), top: min(top, 0), width: size.width, height: size.height)
        }
        let (sx, sy) = (Double(image.width) / Double(w), Double(image.height) / Double(h))
        return PreparedView(
            image: view,
            region: Region(
                x: Double(left) * sx, y: Double(top) * sy, width: Double(size.width) * sx,
                height: Double(size.height) * sy))
    }

    /// Where torchvision's CenterCrop begins: half the margin, a half rounded to even; padding, ⌊half⌋ in front.
    private static func offset(of crop: Int, in size: Int) -> Int {
        crop > size ? -((crop - size) / 2) : Int((Double(size - crop) / 2).rounded(.toNearestOrEven))
    }

    /// Prepares a photograph.
    package func apply(_ image: RGBImage) throws(ImageError) -> PreparedImage {
        let view = try view(of: image)
        var tensor = [Float](repeating: 0, count: view.image.pixels.count)
        tensor.withUnsafeMutableBufferPointer { write(view, into: $0, order: .planar) }
        return PreparedImage(tensor: tensor, view: view)
    }

    /// Prepares a photograph straight into its place in a batch: `buffer` holds exactly 3 × height × width floats.
    package func apply(
        _ image: RGBImage, into buffer: UnsafeMutableBufferPointer<Float>, order: ChannelOrder
    ) throws(ImageError) -> PreparedView {
        let view = try view(of: image)
        write(view, into: buffer, order: order)
        return view
    }

    /// What a network of one channel sees: it takes the mean of three channels' numbers, in which a channel of a small deviation weighs more.
    package func grey(_ image: RGBImage) -> RGBImage {
        let inverses = (colours == .rgb ? std : std.reversed()).map { 1 / abs($0) }
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

    /// Turns the pixels of a view into the network's numbers.
    package func write(
        _ view: PreparedView, into buffer: UnsafeMutableBufferPointer<Float>, order: ChannelOrder
    ) {
        let count = view.image.width * view.image.height
        precondition(buffer.count == 3 * count, "the buffer must hold 3 × height × width floats")
        let (channelStep, pixelStep) = order == .planar ? (count, 1) : (1, 3)
        var table = [Float](repeating: 0, count: 256)
        for channel in 0..<3 {
            for pixel in 0..<256 {
                table[pixel] = (Float(pixel) / divisor - mean[channel]) / std[channel]
            }
            let source = colours == .rgb ? channel : 2 - channel
            view.image.pixels.withUnsafeBufferPointer { pixels in
                table.withUnsafeBufferPointer { table in
                    for i in 0..<count {
                        buffer[channel * channelStep + i * pixelStep] = table[Int(pixels[3 * i + source])]
                    }
                }
            }
        }
    }
}
