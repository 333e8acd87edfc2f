// Written by Tools/preprocessing_references.py.

// swift-format-ignore-file

/// What another program makes of the synthetic picture of a size: the size and the checksum of the bytes, and what the levels
/// 0, 1, 77, 128 and 255 become in each of its channels.
struct PreprocessingReference: Sendable {
    let name: String, json: String
    let picture: (Int, Int), asked: (Int, Int)?, size: (Int, Int)
    let checksum: UInt64
    let numbers: [Float]

    static let levels: [UInt8] = [0, 1, 77, 128, 255]
    static let all = [
        PreprocessingReference(
            name: "timm, its defaults",
            json: #"{"input_size": [3, 24, 24]}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x6444399564f00685,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, config.json",
            json: #"{"architecture": "resnet10t", "num_classes": 1000, "num_features": 512, "global_pool": "avg", "pretrained_cfg": {"tag": "c3_in1k", "custom_load": false, "input_size": [3, 26, 26], "test_input_size": [3, 32, 32], "fixed_input_size": false, "interpolation": "bicubic", "crop_pct": 0.95, "test_crop_pct": 1.0, "crop_mode": "center", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "num_classes": 1000, "pool_size": [6, 6], "first_conv": "conv1.0", "classifier": "fc"}}"#,
            picture: (37, 61), asked: nil, size: (26, 26), checksum: 0x6086b5bef5233909,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, its size for tests",
            json: #"{"input_size": [3, 26, 26], "test_input_size": [3, 32, 32], "crop_pct": 0.95, "test_crop_pct": 1.0}"#,
            picture: (37, 61), asked: (32, 32), size: (32, 32), checksum: 0xd967bb5131a2e9d4,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, another size",
            json: #"{"input_size": [3, 26, 26], "test_input_size": [3, 32, 32], "crop_pct": 0.9, "test_crop_pct": 1.0}"#,
            picture: (37, 61), asked: (29, 29), size: (29, 29), checksum: 0x54f1fb7766739cf2,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, bilinear",
            json: #"{"input_size": [3, 25, 25], "interpolation": "bilinear", "crop_pct": 0.7}"#,
            picture: (61, 37), asked: nil, size: (25, 25), checksum: 0x5b8ce3156852ddad,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, lanczos",
            json: #"{"input_size": [3, 25, 25], "interpolation": "lanczos", "crop_pct": 0.9}"#,
            picture: (61, 37), asked: nil, size: (25, 25), checksum: 0x294d3a258de860a5,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, lanczos, enlarged",
            json: #"{"input_size": [3, 31, 31], "interpolation": "lanczos", "crop_pct": 1.0}"#,
            picture: (20, 15), asked: nil, size: (31, 31), checksum: 0x83f91d16c9604345,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, hamming",
            json: #"{"input_size": [3, 25, 25], "interpolation": "hamming", "crop_pct": 0.9}"#,
            picture: (37, 61), asked: nil, size: (25, 25), checksum: 0xe5e2c7729c91256a,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, hamming, enlarged",
            json: #"{"input_size": [3, 31, 31], "interpolation": "hamming", "crop_pct": 1.0}"#,
            picture: (20, 15), asked: nil, size: (31, 31), checksum: 0x140348650aa310bc,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, box",
            json: #"{"input_size": [3, 25, 25], "interpolation": "box", "crop_pct": 0.9}"#,
            picture: (37, 61), asked: nil, size: (25, 25), checksum: 0xb357291eb3a3f564,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, nearest",
            json: #"{"input_size": [3, 25, 25], "interpolation": "nearest", "crop_pct": 0.9}"#,
            picture: (37, 61), asked: nil, size: (25, 25), checksum: 0x7388a97c699200ef,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, squash",
            json: #"{"input_size": [3, 24, 24], "crop_mode": "squash", "crop_pct": 1.0, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x4a0d8b59de38f687,
            numbers: [
            -1.0, -1.0, -1.0, -0.99215686, -0.99215686, -0.99215686, -0.3960784, -0.3960784, -0.3960784,
            0.003921628, 0.003921628, 0.003921628, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "timm, squash and crop",
            json: #"{"input_size": [3, 24, 24], "crop_mode": "squash", "crop_pct": 0.9}"#,
            picture: (37, 61), asked: nil, size: (24, 24), checksum: 0x1582edd0717fecdb,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, border",
            json: #"{"input_size": [3, 24, 24], "crop_mode": "border", "crop_pct": 1.0}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x1145dd065c91dbc1,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, border and crop",
            json: #"{"input_size": [3, 24, 24], "crop_mode": "border", "crop_pct": 0.9, "mean": [0.481, 0.457, 0.408]}"#,
            picture: (37, 61), asked: nil, size: (24, 24), checksum: 0x6f3db6ebb3354554,
            numbers: [
            -2.1004367, -2.0401785, -1.8133334, -2.083312, -2.0226715, -1.7959042, -0.7818306, -0.6921392,
            -0.47128534, 0.09153191, 0.20071797, 0.41760367, 2.2663755, 2.424107, 2.6311111
            ]),
        PreprocessingReference(
            name: "timm, wide",
            json: #"{"input_size": [3, 20, 29], "crop_pct": 0.9}"#,
            picture: (61, 37), asked: nil, size: (29, 20), checksum: 0x9d96e381062c5830,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, high",
            json: #"{"input_size": [3, 29, 20], "crop_pct": 0.95}"#,
            picture: (61, 37), asked: nil, size: (20, 29), checksum: 0x7c17e74250ebcace,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "timm, grey",
            json: #"{"input_size": [1, 24, 24], "mean": [0.5], "std": [0.25]}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0xba9868c4d8b7cbd5,
            numbers: [
            -2.0, -1.9843137, -0.7921568, 0.007843256, 2.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, ViT",
            json: #"{"image_processor_type": "ViTImageProcessor", "do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2, "rescale_factor": 0.00392156862745098, "size": {"height": 24, "width": 24}}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x8b604ba5db89a40b,
            numbers: [
            -1.0, -1.0, -1.0, -0.99215686, -0.99215686, -0.99215686, -0.3960784, -0.3960784, -0.3960784,
            0.003921628, 0.003921628, 0.003921628, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, ViT, old",
            json: #"{"do_normalize": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2, "size": 24, "feature_extractor_type": "ViTFeatureExtractor"}"#,
            picture: (37, 61), asked: nil, size: (24, 24), checksum: 0x666ad2482ce26c73,
            numbers: [
            -1.0, -1.0, -1.0, -0.99215686, -0.99215686, -0.99215686, -0.3960784, -0.3960784, -0.3960784,
            0.003921628, 0.003921628, 0.003921628, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, ViT, wide",
            json: #"{"image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 27}, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3}"#,
            picture: (61, 37), asked: nil, size: (27, 20), checksum: 0x6d62337c93adf716,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "Hugging Face, ViT, nothing normalised",
            json: #"{"image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 27}, "do_normalize": false}"#,
            picture: (61, 37), asked: nil, size: (27, 20), checksum: 0x4140f639ad9852d8,
            numbers: [
            0.0, 0.0, 0.0, 0.003921569, 0.003921569, 0.003921569, 0.3019608, 0.3019608, 0.3019608,
            0.5019608, 0.5019608, 0.5019608, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, ViT, bytes",
            json: #"{"image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 27}, "do_rescale": false, "image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375]}"#,
            picture: (61, 37), asked: nil, size: (27, 20), checksum: 0x4140f639ad9852d8,
            numbers: [
            -2.117904, -2.0357144, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.7992979, -0.68767506,
            -0.4623965, 0.07406451, 0.2051821, 0.4264924, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "Hugging Face, DeiT",
            json: #"{"image_processor_type": "DeiTImageProcessor", "size": {"height": 28, "width": 28}, "crop_size": {"height": 23, "width": 23}}"#,
            picture: (61, 37), asked: nil, size: (23, 23), checksum: 0x82891d08931aec1e,
            numbers: [
            -1.0, -1.0, -1.0, -0.99215686, -0.99215686, -0.99215686, -0.3960784, -0.3960784, -0.3960784,
            0.003921628, 0.003921628, 0.003921628, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, DeiT, old",
            json: #"{"feature_extractor_type": "DeiTFeatureExtractor", "size": 28, "crop_size": 24, "do_center_crop": true, "resample": 3}"#,
            picture: (37, 61), asked: nil, size: (24, 24), checksum: 0xc4f694de2a7f8607,
            numbers: [
            -1.0, -1.0, -1.0, -0.99215686, -0.99215686, -0.99215686, -0.3960784, -0.3960784, -0.3960784,
            0.003921628, 0.003921628, 0.003921628, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, Beit, old",
            json: #"{"feature_extractor_type": "BeitFeatureExtractor", "size": 24, "crop_size": 24, "do_center_crop": false, "resample": 2, "reduce_labels": false}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x8b604ba5db89a40b,
            numbers: [
            -1.0, -1.0, -1.0, -0.99215686, -0.99215686, -0.99215686, -0.3960784, -0.3960784, -0.3960784,
            0.003921628, 0.003921628, 0.003921628, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, ConvNext",
            json: #"{"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 25}, "crop_pct": 0.875, "resample": 3, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}"#,
            picture: (61, 37), asked: nil, size: (25, 25), checksum: 0xd64d61a220aa5223,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "Hugging Face, ConvNext, old",
            json: #"{"feature_extractor_type": "ConvNextFeatureExtractor", "size": 24, "crop_pct": null, "resample": 3}"#,
            picture: (37, 61), asked: nil, size: (24, 24), checksum: 0x664c724dc75a9f07,
            numbers: [
            -1.0, -1.0, -1.0, -0.99215686, -0.99215686, -0.99215686, -0.3960784, -0.3960784, -0.3960784,
            0.003921628, 0.003921628, 0.003921628, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, ConvNext, large",
            json: #"{"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}}"#,
            picture: (20, 15), asked: nil, size: (384, 384), checksum: 0x3a041db3adf70b17,
            numbers: [
            -1.0, -1.0, -1.0, -0.99215686, -0.99215686, -0.99215686, -0.3960784, -0.3960784, -0.3960784,
            0.003921628, 0.003921628, 0.003921628, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, EfficientNet",
            json: #"{"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 24, "width": 24}, "do_center_crop": false, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.47853944, 0.4732864, 0.47434163], "include_top": true, "resample": 0, "rescale_offset": false}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0xd74201e16fc9e951,
            numbers: [
            -2.117904, -2.0357141, -1.8044446, -2.1007793, -2.0182073, -1.7870153, -0.7992979, -0.687675,
            -0.46239644, 0.074064635, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "Hugging Face, EfficientNet, offset",
            json: #"{"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 30, "width": 30}, "do_center_crop": true, "crop_size": {"height": 25, "width": 24}, "rescale_factor": 0.00784313725490196, "rescale_offset": true, "include_top": false, "resample": 3}"#,
            picture: (61, 37), asked: nil, size: (24, 25), checksum: 0xeda6b1c90957b860,
            numbers: [
            -3.0, -3.0, -3.0, -2.9843137, -2.9843137, -2.9843137, -1.7921568, -1.7921568, -1.7921568,
            -0.99215674, -0.99215674, -0.99215674, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, MobileNetV1",
            json: #"{"image_processor_type": "MobileNetV1ImageProcessor", "size": {"shortest_edge": 27}, "crop_size": {"height": 24, "width": 24}}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x713d688ed832cca5,
            numbers: [
            -1.0, -1.0, -1.0, -0.99215686, -0.99215686, -0.99215686, -0.3960784, -0.3960784, -0.3960784,
            0.003921628, 0.003921628, 0.003921628, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, MobileNetV2",
            json: #"{"image_processor_type": "MobileNetV2ImageProcessor", "size": {"shortest_edge": 27}, "crop_size": {"height": 24, "width": 22}, "resample": 2}"#,
            picture: (37, 61), asked: nil, size: (22, 24), checksum: 0x896f747244b3c5d6,
            numbers: [
            -1.0, -1.0, -1.0, -0.99215686, -0.99215686, -0.99215686, -0.3960784, -0.3960784, -0.3960784,
            0.003921628, 0.003921628, 0.003921628, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, MobileViT",
            json: #"{"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 27}, "crop_size": {"height": 24, "width": 24}, "do_flip_channel_order": true}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x713d688ed832cca5,
            numbers: [
            0.0, 0.0, 0.0, 0.003921569, 0.003921569, 0.003921569, 0.3019608, 0.3019608, 0.3019608,
            0.5019608, 0.5019608, 0.5019608, 1.0, 1.0, 1.0
            ]),
        PreprocessingReference(
            name: "Hugging Face, Bit",
            json: #"{"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 26}, "crop_size": {"height": 22, "width": 22}, "do_convert_rgb": true, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}"#,
            picture: (37, 61), asked: nil, size: (22, 22), checksum: 0xe81d48fb8342ff73,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "Hugging Face, CLIP",
            json: #"{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x08a1d7007c8b79a9,
            numbers: [
            -1.7922626, -1.7520971, -1.4802198, -1.7776641, -1.7370893, -1.4659997, -0.6681836, -0.5964989,
            -0.38527465, 0.076336145, 0.16889732, 0.33994877, 1.9303361, 2.0748837, 2.145897
            ]),
        PreprocessingReference(
            name: "Hugging Face, CLIP, old",
            json: #"{"feature_extractor_type": "CLIPFeatureExtractor", "size": 24, "crop_size": 24, "do_center_crop": true, "resample": 3}"#,
            picture: (37, 61), asked: nil, size: (24, 24), checksum: 0xe3c18b553d5e8e49,
            numbers: [
            -1.7922626, -1.7520971, -1.4802198, -1.7776641, -1.7370893, -1.4659997, -0.6681836, -0.5964989,
            -0.38527465, 0.076336145, 0.16889732, 0.33994877, 1.9303361, 2.0748837, 2.145897
            ]),
        PreprocessingReference(
            name: "Hugging Face, CLIP, padded",
            json: #"{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 19}, "crop_size": {"height": 24, "width": 24}}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x6ff62fe1e45a3242,
            numbers: [
            -1.7922626, -1.7520971, -1.4802198, -1.7776641, -1.7370893, -1.4659997, -0.6681836, -0.5964989,
            -0.38527465, 0.076336145, 0.16889732, 0.33994877, 1.9303361, 2.0748837, 2.145897
            ]),
        PreprocessingReference(
            name: "Hugging Face, Levit",
            json: #"{"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x37dbdd829cfd6d1a,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "Hugging Face, PoolFormer",
            json: #"{"image_processor_type": "PoolFormerImageProcessor", "size": {"shortest_edge": 24}, "crop_pct": 0.95, "crop_size": {"height": 24, "width": 24}}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x96ee1c9d60612327,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "Hugging Face, Pvt",
            json: #"{"image_processor_type": "PvtImageProcessor", "size": {"height": 24, "width": 24}}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0x8b604ba5db89a40b,
            numbers: [
            -2.117904, -2.0357141, -1.8044444, -2.1007793, -2.0182073, -1.7870152, -0.79929787, -0.687675,
            -0.4623964, 0.07406463, 0.2051822, 0.42649257, 2.2489083, 2.4285715, 2.64
            ]),
        PreprocessingReference(
            name: "Hugging Face, Siglip",
            json: #"{"image_processor_type": "SiglipImageProcessor", "size": {"height": 24, "width": 24}, "resample": 1}"#,
            picture: (61, 37), asked: nil, size: (24, 24), checksum: 0xaf461076aaa7eacd,
            numbers: [
            -1.0, -1.0, -1.0, -0.99215686, -0.99215686, -0.99215686, -0.3960784, -0.3960784, -0.3960784,
            0.003921628, 0.003921628, 0.003921628, 1.0, 1.0, 1.0
            ]),
    ]
}
