#!/usr/bin/env python3
"""Grad-CAM of one photograph as a script with ONNX Runtime, NumPy and Pillow does it: what `app explain` is timed beside.

    one_photograph.py prepare MODEL.onnx LAYER FOLDER      once: the model with the layer among its outputs, and the head's matrix
    one_photograph.py explain FOLDER PHOTO.jpg PNG THREADS
"""

import sys
from pathlib import Path

import numpy as np


def prepare(model: Path, layer: str, folder: Path) -> None:
    import onnx
    from peers import Head, with_outputs

    head = Head(onnx.load(model).graph, layer)
    if len(head.matrices) != 1:
        sys.exit("one_photograph: only for networks that end in a global average pool and one matrix")
    folder.mkdir()
    (folder / "model.onnx").write_bytes(with_outputs(model, [head.logits, layer], (1, 3, 224, 224)))
    np.save(folder / "matrix.npy", head.matrices[0])


def explain(folder: Path, photo: Path, png: Path, threads: int) -> None:
    import onnxruntime as ort
    from PIL import Image

    with Image.open(photo) as picture:
        scale = 256 / min(picture.size)
        picture = picture.convert("RGB").resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
    left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
    pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)), np.float32)
    x = (pixels / 255 - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    logits, activation = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(x.transpose(2, 0, 1)[None])})
    weights = np.load(folder / "matrix.npy", mmap_mode="r")[logits.argmax()]
    raw = np.maximum(np.tensordot(weights, activation[0], 1), 0)
    scaled = (raw - raw.min()) / max(raw.max() - raw.min(), 1e-12)
    heat = np.asarray(Image.fromarray(scaled.astype(np.float32)).resize((224, 224), Image.Resampling.BILINEAR))
    colours = np.stack([np.clip(1.5 - np.abs(4 * heat - centre), 0, 1) for centre in (3, 2, 1)], 2) * 255
    Image.fromarray(((colours + pixels) / 2).astype(np.uint8)).save(png)
    np.save(png.with_suffix(".npy"), heat)


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        explain(Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
