"""Methods on a network of videos, whose layers have cells along three axes: beside pytorch-grad-cam, and beside formulas in PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytorch_grad_cam as pgc
import torch
from cam import FORMULA, GRAD_CAM, pytorch_grad_cam
from common import Check, Twin
from rows import Row, row
from torch import nn
from torch.nn import functional

SIDE, FRAMES, CLASSES = 64, 8, 10


def network(folder: Path) -> Twin:
    """A small network of videos with seeded random weights and statistics, so that its normalisations do something."""
    torch.manual_seed(5)

    def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        norm = nn.BatchNorm3d(outputs)
        norm.running_mean.uniform_(-0.2, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
        nn.init.uniform_(norm.weight, 0.8, 1.2)
        nn.init.uniform_(norm.bias, -0.2, 0.2)
        return [nn.Conv3d(inputs, outputs, 3, stride, 1), norm, nn.ReLU()]

    features = nn.Sequential(*block(3, 16, 2), *block(16, 32, 1), *block(32, 48, 2))
    linear = nn.Linear(48, CLASSES)
    nn.init.normal_(linear.weight, std=1)
    twin = Twin("a small network of videos", features, nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(1), linear),
                folder / "video.onnx", narrow="", narrow_value="")
    torch.onnx.export(twin.module, (torch.zeros(1, 3, FRAMES, SIDE, SIDE),), str(twin.path), dynamo=False, opset_version=17,
                      input_names=["input"], output_names=["logits"], dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}})
    return twin


def video(check: Check, folder: Path) -> torch.Tensor:
    """Writes frames, parts of the picture on a way across it, and gives what the network sees of them."""
    frames = []
    for i in range(FRAMES):
        part = check.colours.crop((12 * i, 6 * i, 12 * i + SIDE, 6 * i + SIDE))
        part.save(folder / f"frame{i}.png")
        frames.append((np.asarray(part, np.float32) / 255 - np.float32(check.MEAN)) / np.float32(check.STD))
    return torch.from_numpy(np.stack(frames).transpose(3, 0, 1, 2)[None].copy())


def rows(check: Check) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as frames:
        twin = network(Path(folder))
        x = video(check, Path(frames))
        activations = twin.features(x).detach().requires_grad_(True)
        logits = twin.head(activations)[0]
        index = int(logits.argmax())
        (gradient,) = torch.autograd.grad(logits[index], activations)
        a, g = activations.detach()[0].double(), gradient[0].double()

        def explain(method: str) -> dict:
            return check.explain(twin, method, "--class", str(index), video=Path(frames))

        mean, deviation = a.mean((1, 2, 3), keepdim=True), a.std((1, 2, 3), unbiased=False, keepdim=True)
        fem = (mean * (a > mean + 2 * deviation)).sum(0)
        formulas = {
            "gradcam": (g.mean((1, 2, 3), keepdim=True) * a).sum(0).clamp(min=0),
            "hirescam": (g * a).sum(0).clamp(min=0),
            "layercam": (g.clamp(min=0) * a).sum(0),
            "fem": fem / fem.abs().max(),
        }
        for method, theirs in formulas.items():
            found = explain(method)
            yield row(method, f"{FORMULA}, three axes", twin.name, found["map"], theirs.numpy())
            if method == "gradcam":
                yield row(method, GRAD_CAM, twin.name, found["map"], np.maximum(pytorch_grad_cam(pgc.GradCAM, twin, x, index, twin.features[-1]), 0))
                scaled = torch.from_numpy(found["map"])
                scaled = (scaled - scaled.min()) / (scaled.max() - scaled.min())
                large = functional.interpolate(scaled[None, None], (FRAMES, SIDE, SIDE), mode="trilinear", align_corners=False)
                yield row(method, f"{FORMULA}, heat map", twin.name, found["heatmap"], large[0, 0].numpy())
