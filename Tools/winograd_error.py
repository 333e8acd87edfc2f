#!/usr/bin/env python3
"""How exact are 3x3 convolutions, by Winograd's way and direct, against double precision?

Runs single convolutions through the program and prints the table of Documentation/Determinism.md: the largest error as a share of the
largest output, and the root-mean-square error as a share of the outputs' standard deviation. One more channel of zeros takes a layer out of
Winograd's rule, so that the same sums are computed directly. Needs numpy and onnx; `make winograd-error` installs them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

APP = Path(__file__).resolve().parent.parent / ".build/release/app"
# Channels in and out, height and width; from 9 on by tiles of 4x4, below by tiles of 2x2.
LAYERS = ((32, 56), (64, 56), (128, 28), (256, 14), (512, 14), (64, 8), (256, 7), (512, 7))


def exact(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The convolution with pads of 1, in double precision."""
    height, width = x.shape[2:]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    return sum(np.einsum("nchw,oc->nohw", padded[:, :, i:i + height, j:j + width], w[:, :, i, j].astype(np.float64), optimize=True)
               for i in range(3) for j in range(3))


def ours(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w")])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx")
        np.save(folder / "x.npy", x)
        done = subprocess.run([APP, "run", "--model", folder / "model.onnx", "--input", folder / "x.npy", "--outputs", "y", "--device", "cpu",
                               "--output", folder / "out"], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"winograd_error: {done.stderr.strip()}")
        return np.load(next((folder / "out").glob("*.npy")))


def main() -> None:
    print("| channels, size | tiles | largest: Winograd | direct | r.m.s.: Winograd | direct |\n|---|---|---|---|---|---|")
    for channels, size in LAYERS:
        random = np.random.default_rng(channels)
        x = np.maximum(random.standard_normal((1, channels, size, size)), 0).astype(np.float32)
        w = (random.standard_normal((channels, channels, 3, 3)) * np.sqrt(2 / (9 * channels))).astype(np.float32)
        reference = exact(x, w)
        winograd = ours(x, w)
        direct = ours(np.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))), np.pad(w, ((0, 0), (0, 1), (0, 0), (0, 0))))
        largest = [f"{np.abs(y - reference).max() / np.abs(reference).max():.1e}" for y in (winograd, direct)]
        mean = [f"{np.sqrt(((y - reference) ** 2).mean()) / reference.std():.1e}" for y in (winograd, direct)]
        print(f"| {channels} → {channels}, {size}×{size} | {'4×4' if size > 8 else '2×2'} | " + " | ".join(largest + mean).replace("e-0", "e-") + " |")


if __name__ == "__main__":
    main()
