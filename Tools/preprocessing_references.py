#!/usr/bin/env python3
"""What timm and Hugging Face's transformers make of pictures: the numbers that Tests/ImagingTests/PreprocessingReferences.swift holds.

Writes that file. Of each configuration: the bytes after resizing and cropping, as a checksum, and what some of them become. Needs timm,
transformers (4.51, whose processors of Pillow are the reference), torch, torchvision and Pillow before 13 (which began to resize along columns first).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from timm.data import create_transform, resolve_data_config

OUTPUT = Path(__file__).resolve().parent.parent / "Tests/ImagingTests/PreprocessingReferences.swift"
LEVELS = (0, 1, 77, 128, 255)
LANDSCAPE, PORTRAIT, SMALL = (61, 37), (37, 61), (20, 15)

TIMM = [
    ("timm, its defaults", {"input_size": [3, 24, 24]}, LANDSCAPE, None),
    ("timm, config.json", {
        "architecture": "resnet10t", "num_classes": 1000, "num_features": 512, "global_pool": "avg",
        "pretrained_cfg": {
            "tag": "c3_in1k", "custom_load": False, "input_size": [3, 26, 26], "test_input_size": [3, 32, 32], "fixed_input_size": False,
            "interpolation": "bicubic", "crop_pct": 0.95, "test_crop_pct": 1.0, "crop_mode": "center", "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225], "num_classes": 1000, "pool_size": [6, 6], "first_conv": "conv1.0", "classifier": "fc"}}, PORTRAIT, None),
    ("timm, its size for tests", {"input_size": [3, 26, 26], "test_input_size": [3, 32, 32], "crop_pct": 0.95, "test_crop_pct": 1.0},
     PORTRAIT, [32, 32]),
    ("timm, another size", {"input_size": [3, 26, 26], "test_input_size": [3, 32, 32], "crop_pct": 0.9, "test_crop_pct": 1.0}, PORTRAIT, [29, 29]),
    ("timm, bilinear", {"input_size": [3, 25, 25], "interpolation": "bilinear", "crop_pct": 0.7}, LANDSCAPE, None),
    ("timm, lanczos", {"input_size": [3, 25, 25], "interpolation": "lanczos", "crop_pct": 0.9}, LANDSCAPE, None),
    ("timm, lanczos, enlarged", {"input_size": [3, 31, 31], "interpolation": "lanczos", "crop_pct": 1.0}, SMALL, None),
    ("timm, hamming", {"input_size": [3, 25, 25], "interpolation": "hamming", "crop_pct": 0.9}, PORTRAIT, None),
    ("timm, hamming, enlarged", {"input_size": [3, 31, 31], "interpolation": "hamming", "crop_pct": 1.0}, SMALL, None),
    ("timm, box", {"input_size": [3, 25, 25], "interpolation": "box", "crop_pct": 0.9}, PORTRAIT, None),
    ("timm, nearest", {"input_size": [3, 25, 25], "interpolation": "nearest", "crop_pct": 0.9}, PORTRAIT, None),
    ("timm, squash", {"input_size": [3, 24, 24], "crop_mode": "squash", "crop_pct": 1.0, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
     LANDSCAPE, None),
    ("timm, squash and crop", {"input_size": [3, 24, 24], "crop_mode": "squash", "crop_pct": 0.9}, PORTRAIT, None),
    ("timm, border", {"input_size": [3, 24, 24], "crop_mode": "border", "crop_pct": 1.0}, LANDSCAPE, None),
    ("timm, border and crop", {"input_size": [3, 24, 24], "crop_mode": "border", "crop_pct": 0.9, "mean": [0.481, 0.457, 0.408]}, PORTRAIT, None),
    ("timm, wide", {"input_size": [3, 20, 29], "crop_pct": 0.9}, LANDSCAPE, None),
    ("timm, high", {"input_size": [3, 29, 20], "crop_pct": 0.95}, LANDSCAPE, None),
    ("timm, grey", {"input_size": [1, 24, 24], "mean": [0.5], "std": [0.25]}, LANDSCAPE, None),
]

HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
HUGGING_FACE = [
    ("ViT", {"image_processor_type": "ViTImageProcessor", "do_normalize": True, "do_rescale": True, "do_resize": True, **HALF, "resample": 2,
             "rescale_factor": 0.00392156862745098, "size": {"height": 24, "width": 24}}, LANDSCAPE),
    ("ViT, old", {"do_normalize": True, "do_resize": True, **HALF, "resample": 2, "size": 24, "feature_extractor_type": "ViTFeatureExtractor"},
     PORTRAIT),
    ("ViT, wide", {"image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 27}, "image_mean": [0.485, 0.456, 0.406],
                   "image_std": [0.229, 0.224, 0.225], "resample": 3}, LANDSCAPE),
    ("ViT, nothing normalised", {"image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 27}, "do_normalize": False},
     LANDSCAPE),
    ("ViT, bytes", {"image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 27}, "do_rescale": False,
                    "image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375]}, LANDSCAPE),
    ("DeiT", {"image_processor_type": "DeiTImageProcessor", "size": {"height": 28, "width": 28}, "crop_size": {"height": 23, "width": 23}},
     LANDSCAPE),
    ("DeiT, old", {"feature_extractor_type": "DeiTFeatureExtractor", "size": 28, "crop_size": 24, "do_center_crop": True, "resample": 3},
     PORTRAIT),
    ("Beit, old", {"feature_extractor_type": "BeitFeatureExtractor", "size": 24, "crop_size": 24, "do_center_crop": False, "resample": 2,
                   "reduce_labels": False}, LANDSCAPE),
    ("ConvNext", {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 25}, "crop_pct": 0.875, "resample": 3,
                  "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}, LANDSCAPE),
    ("ConvNext, old", {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 24, "crop_pct": None, "resample": 3}, PORTRAIT),
    ("ConvNext, large", {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}}, SMALL),
    ("EfficientNet", {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 24, "width": 24}, "do_center_crop": False,
                      "image_mean": [0.485, 0.456, 0.406], "image_std": [0.47853944, 0.4732864, 0.47434163], "include_top": True, "resample": 0,
                      "rescale_offset": False}, LANDSCAPE),
    ("EfficientNet, offset", {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 30, "width": 30}, "do_center_crop": True,
                              "crop_size": {"height": 25, "width": 24}, "rescale_factor": 0.00784313725490196, "rescale_offset": True,
                              "include_top": False, "resample": 3}, LANDSCAPE),
    ("MobileNetV1", {"image_processor_type": "MobileNetV1ImageProcessor", "size": {"shortest_edge": 27}, "crop_size": {"height": 24, "width": 24}},
     LANDSCAPE),
    ("MobileNetV2", {"image_processor_type": "MobileNetV2ImageProcessor", "size": {"shortest_edge": 27}, "crop_size": {"height": 24, "width": 22},
                     "resample": 2}, PORTRAIT),
    ("MobileViT", {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 27}, "crop_size": {"height": 24, "width": 24},
                   "do_flip_channel_order": True}, LANDSCAPE),
    ("Bit", {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 26}, "crop_size": {"height": 22, "width": 22},
             "do_convert_rgb": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}, PORTRAIT),
    ("CLIP", {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}, LANDSCAPE),
    ("CLIP, old", {"feature_extractor_type": "CLIPFeatureExtractor", "size": 24, "crop_size": 24, "do_center_crop": True, "resample": 3}, PORTRAIT),
    ("CLIP, padded", {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 19}, "crop_size": {"height": 24, "width": 24}},
     LANDSCAPE),
    ("Levit", {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}, LANDSCAPE),
    ("PoolFormer", {"image_processor_type": "PoolFormerImageProcessor", "size": {"shortest_edge": 24}, "crop_pct": 0.95,
                    "crop_size": {"height": 24, "width": 24}}, LANDSCAPE),
    ("Pvt", {"image_processor_type": "PvtImageProcessor", "size": {"height": 24, "width": 24}}, LANDSCAPE),
    ("Siglip", {"image_processor_type": "SiglipImageProcessor", "size": {"height": 24, "width": 24}, "resample": 1}, LANDSCAPE),
]


def synthetic(width: int, height: int) -> Image.Image:
    """The busy picture of the tests."""
    y, x, c = np.mgrid[:height, :width, :3].astype(np.int64)
    return Image.fromarray((((x * x * 3 + y * 17 + c * 85 + x * y * 7) >> 1) & 255).astype(np.uint8))


def checksum(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & (1 << 64) - 1
    return value


def of_timm(configuration: dict, size: list[int] | None, picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    cfg = configuration.get("pretrained_cfg", configuration)
    is_test = size is not None and cfg.get("test_input_size", [0])[1:] == size
    args = {"input_size": (cfg["input_size"][0], *size)} if size is not None and not is_test else {}
    data = resolve_data_config(args, pretrained_cfg=cfg, use_test_size=is_test)
    if data["input_size"][0] == 1:
        picture = picture.convert("L")
    return (create_transform(**data, is_training=False)(picture).numpy(),
            np.asarray(create_transform(**data, is_training=False, use_prefetcher=True)(picture)))


def of_hugging_face(configuration: dict, picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    name = configuration.get("image_processor_type") or configuration["feature_extractor_type"].replace("FeatureExtractor", "ImageProcessor")
    processor = getattr(transformers, name).from_dict(configuration)
    pixels = processor(picture, return_tensors="np")["pixel_values"][0]
    off = {"do_rescale": False} | ({} if "MobileViT" in name else {"do_normalize": False})
    off |= {"include_top": False} if "EfficientNet" in name else {}
    data = processor(picture, return_tensors="np", **off)["pixel_values"][0]
    return pixels, data[::-1] if "MobileViT" in name else data


def swift(name: str, configuration: dict, picture: tuple[int, int], size: list[int] | None) -> str:
    def both(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        return of_hugging_face(configuration, image) if size == [] else of_timm(configuration, size, image)

    _, view = both(synthetic(*picture))
    assert (view == np.round(view)).all() and view.min() >= 0 and view.max() <= 255 and view.max() > 1, (name, view)
    view = view.astype(np.uint8)
    colours = np.repeat(view, 3, axis=0) if view.shape[0] == 1 else view
    data = checksum(np.ascontiguousarray(colours.transpose(1, 2, 0)).tobytes())
    numbers = []
    for level in LEVELS:
        pixels, _ = both(Image.new("RGB", picture, (level,) * 3))
        numbers += [float(x) for x in pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2]]
    asked = f"({size[1]}, {size[0]})" if size else "nil"
    text = json.dumps(configuration)
    lines, line = [], "           "
    for number in numbers:
        word = f" {np.float32(number)!s},"
        if len(line) + len(word) > 108:
            lines.append(line)
            line = "           "
        line += word
    lines.append(line.rstrip(","))
    return "\n".join([
        "        PreprocessingReference(", f'            name: "{name}",', f"            json: #\"{text}\"#,",
        f"            picture: ({picture[0]}, {picture[1]}), asked: {asked}, size: ({view.shape[2]}, {view.shape[1]}), checksum: 0x{data:016x},",
        "            numbers: [", *lines, "            ]),"])


def main() -> None:
    torch.set_num_threads(1)
    rows = [swift(name, cfg, picture, size) for name, cfg, picture, size in TIMM]
    rows += [swift("Hugging Face, " + name, cfg, picture, []) for name, cfg, picture in HUGGING_FACE]
    OUTPUT.write_text("\n".join([
        "// Written by Tools/preprocessing_references.py.", "", "// swift-format-ignore-file", "",
        "/// What another program makes of the synthetic picture of a size: the size and the checksum of the bytes, and what the levels",
        "/// 0, 1, 77, 128 and 255 become in each of its channels.", "struct PreprocessingReference: Sendable {",
        "    let name: String, json: String", "    let picture: (Int, Int), asked: (Int, Int)?, size: (Int, Int)", "    let checksum: UInt64",
        "    let numbers: [Float]", "", "    static let levels: [UInt8] = [0, 1, 77, 128, 255]", "    static let all = [", *rows, "    ]", "}", ""]))


if __name__ == "__main__":
    main()
