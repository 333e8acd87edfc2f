"""Class activation maps beside pytorch-grad-cam and TorchCAM."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import pytorch_grad_cam as pgc
import torch
from common import Check, Row, Twin, row, uniforms
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from sklearn.decomposition import KernelPCA

# Ours, theirs, options of ours, why they differ.
METHODS = (
    ("gradcam", pgc.GradCAM, (), ""),
    ("gradcam++", pgc.GradCAMPlusPlus, (), "they add 1e-6 to the divisor, which is of the size of 1e-5"),
    ("xgradcam", pgc.XGradCAM, (), ""),
    ("hirescam", pgc.HiResCAM, (), ""),
    ("elementwise-gradcam", pgc.GradCAMElementWise, (), ""),
    ("layercam", pgc.LayerCAM, (), ""),
    ("eigencam", pgc.EigenCAM, (), ""),
    ("eigengradcam", pgc.EigenGradCAM, (), ""),
    ("kpcacam", pgc.KPCA_CAM, (), "they take the channels' means out before the kernel, and not only after it"),
    ("ablationcam", pgc.AblationCAM, (), ""),
    ("scorecam", pgc.ScoreCAM, ("--score", "logit"), "they enlarge channels with aligned corners"),
)
SIGNED = ("eigencam", "eigengradcam", "kpcacam", "cam")


def raw_map(cam: pgc.base_cam.BaseCAM, x: torch.Tensor, index: int) -> np.ndarray:
    """Their map before it is cut off, scaled and enlarged."""
    kept = {}
    original = cam.get_cam_image

    def keep(*arguments, **named):
        kept["map"] = np.array(original(*arguments, **named))
        return kept["map"]

    cam.get_cam_image = keep
    cam(input_tensor=x.clone().requires_grad_(True), targets=[ClassifierOutputTarget(index)])
    return kept["map"][0]


def rows(check: Check, twins: list[Twin]) -> Iterator[Row]:
    name = f"grad-cam {version('grad-cam')}"
    for twin in twins:
        index = check.best(twin)
        for method, theirs, options, deviation in METHODS:
            ours = check.explain(twin, method, "--class", str(index), *options)["map"]
            cam = theirs(model=twin.module, target_layers=[twin.features])
            cam.batch_size = 16
            found = raw_map(cam, check.input, index)
            if method not in SIGNED:
                found = np.maximum(found, 0)
            # The sign of a component is arbitrary; ours is fixed.
            elif (found * ours).sum() < 0:
                found = -found
            yield row(method, name, twin.name, ours, found, deviation)
        yield from formulas(check, twin, index)


def formulas(check: Check, twin: Twin, index: int) -> Iterator[Row]:
    """Those that no package has as the paper does, from PyTorch's gradients and activations."""
    with torch.no_grad():
        activation = twin.features(check.input)
    leaf = activation.clone().requires_grad_(True)
    logits = twin.head(leaf)[0]

    def gradient(of: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(of, leaf, retain_graph=True)[0][0]

    a = activation[0]
    name = f"formula, PyTorch {torch.__version__.split('+')[0]}"
    ours = check.explain(twin, "cam", "--class", str(index))["map"] if _ends_in_average(twin) else None
    if ours is not None:
        weights = gradient(logits[index]).sum((1, 2))
        yield row("cam", name, twin.name, ours, torch.einsum("c,chw->hw", weights, a).numpy())
    # Shapley-CAM: the heads here are linear, so the second derivative, for which pytorch-grad-cam fails there, is 0.
    weights = gradient(logits[index]).mean((1, 2))
    shapley = torch.einsum("c,chw->hw", weights, a).clamp(min=0).numpy()
    yield row("shapleycam", name, twin.name, check.explain(twin, "shapleycam", "--class", str(index))["map"], shapley)
    # Finer-CAM: the three classes with the nearest logits.
    distance = (logits - logits[index]).abs().detach()
    distance[index] = float("inf")
    near = distance.argsort(stable=True)[:3]
    weights = gradient(logits[index] - logits[near].mean()).mean((1, 2))
    finer = torch.einsum("c,chw->hw", weights, a).clamp(min=0).numpy()
    yield row("finercam", name, twin.name, check.explain(twin, "finercam", "--class", str(index))["map"], finer)
    # Recipro-CAM: one cell kept.
    height, width = a.shape[1:]
    kept = torch.zeros(height * width, *a.shape)
    for cell in range(height * width):
        kept[cell, :, cell // width, cell % width] = a[:, cell // width, cell % width]
    with torch.no_grad():
        recipro = torch.softmax(twin.head(kept), 1)[:, index].reshape(height, width).numpy()
    yield row("reciprocam", name, twin.name, check.explain(twin, "reciprocam", "--class", str(index))["map"], recipro)
    # FEM, k = 2, population standard deviation, strictly above.
    mean, deviation = a.mean((1, 2), keepdim=True), a.std((1, 2), correction=0, keepdim=True)
    fem = (mean * (a > mean + 2 * deviation)).sum(0)
    yield row("fem", name, twin.name, check.explain(twin, "fem")["map"], (fem / fem.max().abs()).numpy())
    # KPCA-CAM of the activations as they are. Where they are large the kernel differs from 1 by less than binary32 can tell.
    cells = a.flatten(1).T.double().numpy()
    component = KernelPCA(1, kernel="sigmoid").fit_transform(cells)[:, 0].reshape(height, width)
    kpca = check.explain(twin, "kpcacam")["map"]
    yield row("kpcacam", f"scikit-learn {version('scikit-learn')}", twin.name, kpca, component if (component * kpca).sum() > 0 else -component,
              "" if np.tanh(cells @ cells.T / cells.shape[1] + 1).min() < 0.999 else "the kernel is 1 but for 1e-5, and ours is in binary32")
    # Random-CAM with our numbers.
    weights = torch.from_numpy(2 * uniforms(a.shape[0], 0, stream=1) - 1)
    random = torch.einsum("c,chw->hw", weights, a).clamp(min=0).numpy()
    yield row("randomcam", name, twin.name, check.explain(twin, "randomcam")["map"], random)
    # Score-CAM and IS-CAM as their papers have them, with the class's probability.
    masks = torch.nn.functional.interpolate(a[None], check.input.shape[2:], mode="bilinear", align_corners=False)[0]
    low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
    masks = torch.where(high > low, (masks - low) / (high - low).clamp(min=1e-30), torch.zeros(()))
    with torch.no_grad():
        def scores(factor: float) -> torch.Tensor:
            return torch.cat([torch.softmax(twin.module(check.input * factor * part[:, None]), 1)[:, index] for part in masks.split(16)])

        for method, steps, options in (("scorecam", 1, ()), ("iscam", 2, ("--set", "iscam.samples=2"))):
            weights = torch.softmax(sum(scores((i + 1) / steps) for i in range(steps)) / steps, 0)
            expected = torch.einsum("c,chw->hw", weights, a).clamp(min=0).numpy()
            yield row(method, name, twin.name, check.explain(twin, method, "--class", str(index), *options)["map"], expected)


def _ends_in_average(twin: Twin) -> bool:
    return any(isinstance(module, torch.nn.AdaptiveAvgPool2d) for module in twin.head)
