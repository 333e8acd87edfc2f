// The preprocessing that timm writes beside its models: a model's config.json, with its `pretrained_cfg`, or that alone.
//
// It says of which share of the resized picture the network sees the middle (`crop_pct`), so it stands for any size: the network's. What
// follows is timm's `create_transform` for evaluation.

import Text

extension Preprocessing {
    static func isTimm(_ file: Entries) -> Bool {
        file.has("pretrained_cfg") || file.has("input_size") && !file.has("resize")
    }

    /// All other keys of a configuration; they change no number of a picture. (`in_chans` of a model is that of its `input_size`.)
    private static let harmless = [
        "url", "file", "hf_hub_id", "hf_hub_filename", "source", "architecture", "tag", "custom_load",
        "min_input_size", "num_classes", "label_offset", "label_names", "label_descriptions", "pool_size",
        "test_pool_size", "first_conv", "classifier", "license", "description", "origin_url", "paper_name",
        "paper_ids", "notes", "state_dict", "num_features", "global_pool", "model_args",
        "has_pretrained", "in_chans", "sha256",
    ]

    /// - Parameter size: the network's; nil for the configuration's own.
    init(timm file: Entries, size: Size?) throws(Fault) {
        var cfg = file
        if file.has("pretrained_cfg") {
            cfg = try Entries("pretrained_cfg", in: file)
        }
        try cfg.check(
            knows: [
                "input_size", "test_input_size", "fixed_input_size", "interpolation", "crop_pct",
                "test_crop_pct", "crop_mode", "mean", "std",
            ], harmless: Preprocessing.harmless)
        let own = try cfg.channelsAndSize("input_size") ?? (3, Size(width: 224, height: 224))
        let test = try cfg.channelsAndSize("test_input_size")
        let size = size ?? own.size
        let isTest = size != own.size && size == test?.size
        let isFixed = try cfg.truth("fixed_input_size", false)
        guard isTest || size == own.size || !isFixed else {
            throw Fault(
                reason:
                    "its network takes pictures of \(own.size.width)×\(own.size.height) only (\"fixed_input_size\"), and this one takes "
                    + "\(size.width)×\(size.height)")
        }
        var share = try cfg.double("crop_pct", 0.875)
        if isTest { share = try cfg.double("test_crop_pct", share) }
        guard share > 0, share <= 16 else {
            throw cfg.fault("crop_pct", "must be above 0, and at most 16")
        }
        func scaled(_ side: Int) -> Int { Int((Double(side) / share).rounded(.down)) }
        let (width, height) = (scaled(size.width), scaled(size.height))
        guard (1...16384).contains(width), (1...16384).contains(height) else {
            throw cfg.fault("crop_pct", "resizes to \(width)×\(height)")
        }
        let counts = own.channels == 1 ? [1] : [3]
        let mean = try cfg.numbers("mean", counts: counts) ?? [0.485, 0.456, 0.406]
        let std = try cfg.numbers("std", counts: counts) ?? [0.229, 0.224, 0.225]
        guard mean.count == counts[0], std.count == counts[0] else {
            throw cfg.fault(
                "input_size", "has one channel, of which neither \"mean\" nor \"std\" may be left out")
        }
        guard !std.contains(0) else { throw cfg.fault("std", "must not hold a zero") }
        let mode = try cfg.has("crop_mode") ? cfg.text("crop_mode") : "center"
        let resize: Resize
        switch mode {
        case "center":
            resize = width == height ? .shortSide(width) : .cover(width: width, height: height)
        case "squash": resize = .exact(width: width, height: height)
        case "border": resize = .fit(width: width, height: height)
        default:
            throw cfg.fault("crop_mode", "is \"\(shortened(mode))\", but must be center, squash or border")
        }
        /// Of a mean, the nearest byte, as Python rounds.
        func byte(_ mean: Float) -> UInt8 {
            UInt8(max(0, min(255, (255 * Double("\(mean)")!).rounded(.toNearestOrEven))))
        }
        let border =
            mode != "border"
            ? [0, 0, 0] : mean.count == 1 ? Array(repeating: byte(mean[0]), count: 3) : mean.map(byte)
        self.init(
            resize: resize, interpolation: try cfg.choice("interpolation", Interpolation.bicubic), crop: size,
            padding: border, colours: own.channels == 1 ? .grey : .rgb, divisor: 255, mean: mean, std: std)
    }
}

extension Preprocessing.Entries {
    /// A list [channels, height, width]; nil if the key says nothing.
    fileprivate func channelsAndSize(_ key: String) throws(Preprocessing.Fault) -> (
        channels: Int, size: Preprocessing.Size
    )? {
        guard let numbers = try numbers(key, counts: [3]) else { return nil }
        let sides = 1...Float(16384)
        guard numbers.allSatisfy({ sides.contains($0) && $0 == $0.rounded() }), [1, 3].contains(numbers[0])
        else {
            throw fault(key, "must hold the number of channels, which is 3 or 1, the height and the width")
        }
        return (Int(numbers[0]), Preprocessing.Size(width: Int(numbers[2]), height: Int(numbers[1])))
    }
}
