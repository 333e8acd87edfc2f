// The preprocessing that Hugging Face's transformers writes beside its models: preprocessor_config.json.
//
// What such a file leaves out is the default of the class that it names, which is the table below; what it says is followed as that class
// does with pictures of Pillow (the ones called fast resize with PyTorch instead, whose bytes differ by a step here and there).

import Text

extension Preprocessing {
    static func isHuggingFace(_ file: Entries) -> Bool {
        !file.has("resize")
            && ["image_processor_type", "feature_extractor_type", "do_resize", "do_normalize", "image_mean"]
                .contains(where: file.has)
    }

    /// What a class does with a size that says one number.
    fileprivate enum Sizing {
        /// The picture becomes a square.
        case square
        /// The shorter side becomes it; of what is larger by a factor.
        case shortSide(factor: Double)
        /// The shorter side becomes it divided by `crop_pct`, and the middle is cut out; from 384 on, a square.
        case convNext
        /// The shorter side becomes it divided by `crop_pct`, if that is said.
        case poolFormer
    }

    /// A class of transformers.
    fileprivate struct Processor {
        var size: Int, sizing: Sizing = .square
        var interpolation: Interpolation = .bilinear
        /// Whether the middle is cut out unless the file says otherwise, and its size.
        var crops = false, crop = 224
        var mean: [Float] = [0.5, 0.5, 0.5], std: [Float] = [0.5, 0.5, 0.5]
        var normalises = true
        /// Knows `rescale_offset` and `include_top`.
        var isEfficientNet = false
    }

    private static let imagenetMean: [Float] = [0.485, 0.456, 0.406]
    private static let imagenetStd: [Float] = [0.229, 0.224, 0.225]
    private static let clip = Processor(
        size: 224, sizing: .shortSide(factor: 1), interpolation: .bicubic, crops: true,
        mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711])
    private static let mobileNet = Processor(size: 256, sizing: .shortSide(factor: 1), crops: true)

    /// By their names, without “ImageProcessor” and “FeatureExtractor”.
    private static let processors: [String: Processor] = [
        "Beit": Processor(size: 256, interpolation: .bicubic, crops: true),
        "Bit": clip, "CLIP": clip, "ChineseCLIP": clip,
        "ConvNext": Processor(size: 384, sizing: .convNext),
        "DeiT": Processor(size: 256, interpolation: .bicubic, crops: true),
        "EfficientNet": Processor(size: 346, interpolation: .nearest, crop: 289, isEfficientNet: true),
        "Levit": Processor(
            size: 224, sizing: .shortSide(factor: 256.0 / 224), interpolation: .bicubic, crops: true,
            mean: imagenetMean, std: imagenetStd),
        "MobileNetV1": mobileNet, "MobileNetV2": mobileNet,
        "MobileViT": Processor(
            size: 224, sizing: .shortSide(factor: 1), crops: true, crop: 256, normalises: false),
        "PoolFormer": Processor(
            size: 224, sizing: .poolFormer, interpolation: .bicubic, crops: true, mean: imagenetMean,
            std: imagenetStd),
        "Pvt": Processor(size: 224, mean: imagenetMean, std: imagenetStd),
        "Segformer": Processor(size: 512, mean: imagenetMean, std: imagenetStd),
        "Siglip": Processor(size: 224, interpolation: .bicubic),
        "ViT": Processor(size: 224),
    ]

    /// Of all of these classes; they change no number of a picture.
    private static let harmless = [
        "image_processor_type", "feature_extractor_type", "processor_class", "auto_map",
        "_valid_processor_keys",
        "valid_processor_keys", "do_convert_rgb", "do_reduce_labels", "reduce_labels", "return_tensors",
        "data_format", "input_data_format", "device", "default_to_square", "disable_grouping", "num_labels",
        "id2label", "label2id", "_processor_class", "patch_size", "model_type", "transformers_version",
    ]

    /// - Parameter asked: a size to follow; nil for the file's own.
    init(huggingFace file: Entries, size asked: Size?) throws(Fault) {
        var name: String?
        for key in ["image_processor_type", "feature_extractor_type"] where name == nil && file.has(key) {
            name = try file.text(key)
        }
        var processor: Processor?
        if let full = name {
            var short = full[...]
            for ending in ["Fast", "Pil", "ImageProcessor", "FeatureExtractor"] where short.hasSuffix(ending)
            {
                short.removeLast(ending.count)
            }
            processor = Preprocessing.processors[String(short)]
            guard processor != nil else {
                throw Fault(
                    reason:
                        "it is for the class \"\(shortened(full))\", and known are \(Preprocessing.processors.keys.sorted().joined(separator: ", ")) "
                        + "(each with ImageProcessor or FeatureExtractor after it)")
            }
        }
        try file.check(
            knows: [
                "do_resize", "size", "resample", "crop_pct", "do_center_crop", "crop_size", "do_rescale",
                "rescale_factor", "rescale_offset", "do_normalize", "image_mean", "image_std", "include_top",
                "do_flip_channel_order",
            ],
            harmless: Preprocessing.harmless + file.saying(nothing: ["do_pad", "size_divisor", "pad_size"]))
        let isNamed = processor != nil
        let standard = processor ?? Processor(size: 0)
        func needed(_ key: String) throws(Fault) {
            guard isNamed || file.has(key) else {
                throw Fault(
                    reason:
                        "it names no class (image_processor_type), so nothing says what \"\(key)\" is, which it leaves out"
                )
            }
        }

        // The size, and what becomes of it.
        var resize = Resize.none
        var crop: Size?
        if try file.truth("do_resize", true) {
            try needed("size")
            try needed("resample")
            switch (
                try file.edge("size", squares: isNamed ? standard.isSquare : nil, standard.size),
                standard.sizing
            ) {
            case (.exact(let size), .convNext):
                throw file.fault(
                    "size", "must be one number, or a \"shortest_edge\", and is \(size.width)×\(size.height)")
            case (.exact(let size), .poolFormer) where !file.isNull("crop_pct"):
                guard size.width == size.height else {
                    throw file.fault("size", "must be as wide as high for \"crop_pct\"")
                }
                resize = .shortSide(try file.divided(size.width, by: "crop_pct", 0.9))
            case (.exact(let size), _): resize = .exact(width: size.width, height: size.height)
            case (.short, .square) where isNamed:
                throw file.fault("size", "must hold \"height\" and \"width\"")
            case (.short(let side), .square): resize = .shortSide(side)
            case (.short(let side), .shortSide(let factor)):
                resize = .shortSide(Int(factor * Double(side)))
            case (.short(let side), .poolFormer):
                resize = .shortSide(
                    file.isNull("crop_pct") ? side : try file.divided(side, by: "crop_pct", 0.9))
            case (.short(let own), .convNext):
                let side = asked.map { max($0.width, $0.height) } ?? own
                if side < 384 {
                    resize = .shortSide(try file.divided(side, by: "crop_pct", 224.0 / 256))
                    crop = Size(width: side, height: side)
                } else {
                    resize = .exact(width: side, height: side)
                }
            }
        }
        if standard.sizing.isConvNext {
            guard !file.has("do_center_crop") else {
                throw file.fault("do_center_crop", "means nothing to ConvNextImageProcessor")
            }
        } else if try file.truth("do_center_crop", standard.crops) {
            try needed("crop_size")
            switch try file.edge("crop_size", squares: true, standard.crop) {
            case .exact(let size): crop = size
            case .short: throw file.fault("crop_size", "must hold \"height\" and \"width\"")
            }
        }
        var interpolation = standard.interpolation
        if file.has("resample") {
            let codes: [Interpolation] = [.nearest, .lanczos, .bilinear, .bicubic, .box, .hamming]
            let code = try file.double("resample", 0)
            guard let index = Int(exactly: code), codes.indices.contains(index) else {
                throw file.fault("resample", "must be one of Pillow's filters, 0 to 5")
            }
            interpolation = codes[index]
        }

        // The numbers: (pixel · factor − offset − mean) / std, as (pixel / divisor − mean) / std.
        var divisor = 1.0
        var offset = 0.0
        if try file.truth("do_rescale", true) {
            let factor = try file.double("rescale_factor", 1.0 / 255)
            guard factor > 0 else { throw file.fault("rescale_factor", "must be above 0") }
            divisor = 1 / factor
            // As it was meant: 255, 127.5.
            if abs(2 * divisor - (2 * divisor).rounded()) < 1e-9 * divisor {
                divisor = (2 * divisor).rounded() / 2
            }
            if standard.isEfficientNet, try file.truth("rescale_offset", false) { offset = 1 }
        }
        let counts = file.isList("image_mean", of: 1) || file.isList("image_std", of: 1) ? [1] : [3]
        var mean = [Double](repeating: offset, count: counts[0])
        var std = [Double](repeating: 1, count: counts[0])
        let normalises = try file.truth("do_normalize", standard.normalises)
        // EfficientNet's divides by its deviations again, or only then.
        let dividesAgain = standard.isEfficientNet ? try file.truth("include_top", true) : false
        if normalises || dividesAgain {
            try needed("image_mean")
            try needed("image_std")
            let means = try file.levels("image_mean", counts: counts) ?? standard.mean
            let deviations = try file.levels("image_std", counts: counts) ?? standard.std
            guard means.count == counts[0], deviations.count == counts[0] else {
                throw file.fault("image_mean", "and \"image_std\" must be of as many channels")
            }
            guard !deviations.contains(0) else { throw file.fault("image_std", "must not hold a zero") }
            if normalises {
                mean = means.map { offset + Double($0) }
                std = deviations.map(Double.init)
            }
            if dividesAgain { std = zip(std, deviations).map { $0 * Double($1) } }
        }
        let flips = try file.truth("do_flip_channel_order", !standard.normalises)
        self.init(
            resize: resize, interpolation: interpolation, crop: crop, cropRounding: .down,
            colours: counts == [1] ? .grey : flips ? .bgr : .rgb, divisor: Float(divisor),
            mean: mean.map { Float($0) }, std: std.map { Float($0) })
    }
}

extension Preprocessing.Processor {
    fileprivate var isSquare: Bool { if case .square = sizing { true } else { false } }
}

extension Preprocessing.Sizing {
    fileprivate var isConvNext: Bool { if case .convNext = self { true } else { false } }
}

extension Preprocessing.Entries {
    fileprivate enum Edge {
        case exact(Preprocessing.Size)
        case short(Int)
    }

    /// A size as transformers writes it: a number, {height, width}, or {shortest_edge}; `standard` if the key says nothing.
    /// - Parameter squares: whether a number is both sides, or the shorter one; nil if nothing says it.
    fileprivate func edge(_ key: String, squares: Bool?, _ standard: Int) throws(Preprocessing.Fault) -> Edge
    {
        func one(_ side: Int) throws(Preprocessing.Fault) -> Edge {
            guard let squares else {
                throw fault(
                    key,
                    "is one number, which may be both sides or the shorter one; name the class (image_processor_type), or write an object"
                )
            }
            return squares ? .exact(Preprocessing.Size(width: side, height: side)) : .short(side)
        }
        guard has(key) else { return try one(standard) }
        switch try value(key) {
        case .object:
            let entries = try Preprocessing.Entries(key, in: self)
            if entries.has("shortest_edge") {
                try entries.check(knows: ["shortest_edge"])
                return .short(try entries.side("shortest_edge"))
            }
            return .exact(try entries.size())
        case .array:
            guard let sides = try numbers(key, counts: [2]),
                sides.allSatisfy({ (1...16384).contains($0) && $0 == $0.rounded() })
            else { throw fault(key, "must hold two whole numbers") }
            return .exact(Preprocessing.Size(width: Int(sides[1]), height: Int(sides[0])))
        default: return try one(side(key))
        }
    }

    /// ⌊side / share⌋.
    fileprivate func divided(_ side: Int, by key: String, _ standard: Double) throws(Preprocessing.Fault)
        -> Int
    {
        let share = try double(key, standard)
        guard share > 0, Double(side) / share <= 16384, Double(side) / share >= 1 else {
            throw fault(key, "must be above 0, and a share")
        }
        return Int(Double(side) / share)
    }

    /// A number for each channel, or one for all.
    fileprivate func levels(_ key: String, counts: [Int]) throws(Preprocessing.Fault) -> [Float]? {
        guard has(key) else { return nil }
        if case .array = try value(key) { return try numbers(key, counts: counts) }
        return Array(repeating: try number(key, 0), count: counts[0])
    }

    fileprivate func isList(_ key: String, of count: Int) -> Bool {
        if has(key), case .array(let items)? = try? value(key) { items.count == count } else { false }
    }

    /// Whether the key is there and says null.
    fileprivate func isNull(_ key: String) -> Bool { keys.contains(key) && !has(key) }

    /// Of these keys, those that are false.
    fileprivate func saying(nothing keys: [String]) -> [String] {
        keys.filter { key in
            if has(key), case .bool(false)? = try? value(key) { true } else { false }
        }
    }
}
