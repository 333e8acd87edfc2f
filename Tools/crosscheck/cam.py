"""Class activation maps beside pytorch-grad-cam, TorchCAM and scikit-learn, and formulas in PyTorch where no package has a method as its paper does.

Methods that mask the picture by each channel of a layer are compared on a layer with few channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from unittest import mock

import numpy as np
import pytorch_grad_cam as pgc
import torch
import torchcam.methods as tc
from common import Check, Twin, normals, uniforms
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from rows import Row, package, row
from sklearn.decomposition import KernelPCA
from torch import nn
from torch.nn.functional import interpolate

RANDOM_STREAM, MASK_STREAM, NOISE_STREAM = 1, 2, 0x534D4F4F
SIGMA, SAMPLES = 2.0, 8
VARIANTS = 2
GRAD_CAM, TORCHCAM, SKLEARN = package("grad-cam"), package("torchcam"), package("scikit-learn")
FORMULA = f"formula, {package('torch')}"


def pytorch_grad_cam(kind: type[pgc.base_cam.BaseCAM], twin: Twin, x: torch.Tensor, index: int, layer: nn.Module,
                     reshape: Callable[[torch.Tensor], torch.Tensor] | None = None) -> np.ndarray:
    """Their map of x before it is scaled and enlarged. Tokens need `reshape`, which makes [N, C, H, W] of them."""
    cam = kind(model=twin.module, target_layers=[layer], reshape_transform=reshape)
    cam.batch_size = 16
    kept = {}
    original = cam.get_cam_image

    def keep(*arguments: object, **named: object) -> np.ndarray:
        kept["map"] = np.array(original(*arguments, **named))
        return kept["map"]

    cam.get_cam_image = keep
    cam(input_tensor=x.clone().requires_grad_(True), targets=[ClassifierOutputTarget(index)])
    cam.activations_and_grads.release()
    return kept["map"][0]


def torchcam(extractor: tc.core._CAM, check: Check, twin: Twin, index: int) -> np.ndarray:
    with extractor:
        scores = twin.module(check.input)
        return extractor(index, scores, normalized=False)[0][0].detach().numpy()


def rows(check: Check, twin: Twin) -> Iterator[Row]:
    index = check.best(twin)

    def ours(method: str, *options: str) -> np.ndarray:
        return check.explain(twin, method, "--class", str(index), *options)["map"]

    with torch.no_grad():
        activation = twin.features(check.input)
    yield from gradients(check, twin, index, ours, activation)
    yield from components(check, twin, index, ours, activation[0])
    yield from others(check, twin, index, ours, activation[0])
    yield from masks(check, twin, index, ours)


def gradients(check: Check, twin: Twin, index: int, ours: Callable, activation: torch.Tensor) -> Iterator[Row]:
    """Weights from gradients."""
    leaf = activation.clone().requires_grad_(True)
    logits = twin.head(leaf)[0]

    def gradient(of: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(of, leaf, retain_graph=True)[0][0]

    def weighted(weights: torch.Tensor) -> np.ndarray:
        return torch.einsum("c,chw->hw", weights, activation[0].to(weights.dtype)).clamp(min=0).numpy()

    def theirs(kind: type[pgc.base_cam.BaseCAM]) -> np.ndarray:
        # Theirs are cut off at 0 later.
        return np.maximum(pytorch_grad_cam(kind, twin, check.input, index, twin.features), 0)

    for method, kind in (("gradcam", pgc.GradCAM), ("xgradcam", pgc.XGradCAM), ("hirescam", pgc.HiResCAM),
                         ("elementwise-gradcam", pgc.GradCAMElementWise), ("layercam", pgc.LayerCAM), ("ablationcam", pgc.AblationCAM)):
        yield row(method, GRAD_CAM, twin.name, ours(method), theirs(kind))
    for method, kind in (("gradcam", tc.GradCAM), ("xgradcam", tc.XGradCAM), ("layercam", tc.LayerCAM)):
        yield row(method, TORCHCAM, twin.name, ours(method), torchcam(kind(twin.module, twin.features), check, twin, index))

    # Grad-CAM++: with what is added to the divisor; and without the division.
    g = gradient(logits[index]).double()
    total = activation[0].double().sum((1, 2), keepdim=True)

    def plus_plus(little: float) -> np.ndarray:
        divisor = 2 * g**2 + total * g**3 + little
        return weighted((torch.where(g != 0, g**2 / divisor, 0) * g.clamp(min=0)).sum((1, 2)))

    found = ours("gradcam++")
    exact = row("gradcam++", FORMULA, twin.name, found, plus_plus(0))
    yield exact
    map_ = theirs(pgc.GradCAMPlusPlus)
    yield row("gradcam++", GRAD_CAM, twin.name, found, map_).because(
        "it adds 1e-6 to the divisor", exact, row("", "", "", plus_plus(1e-6), map_))
    map_ = torchcam(tc.GradCAMpp(twin.module, twin.features), check, twin, index)
    yield row("gradcam++", TORCHCAM, twin.name, found, map_).because(
        "it divides a copy, so that its weights are those before the division",
        exact, row("", "", "", weighted((g**2 * g.clamp(min=0)).sum((1, 2))), map_))
    if "smooth-gradcam++" in check.methods:
        yield from smooth(check, twin, index, ours)

    # Finer-CAM: the three classes with the nearest logits.
    found = ours("finercam")
    distance = (logits - logits[index]).abs().detach()
    distance[index] = float("inf")
    near = distance.argsort(stable=True)[:3]
    yield row("finercam", FORMULA, twin.name, found, weighted(gradient(logits[index] - logits[near].mean()).mean((1, 2))))
    yield row("finercam", TORCHCAM, twin.name, found, torchcam(tc.FinerCAM(twin.module, twin.features, gamma=1), check, twin, index))
    # Shapley-CAM: the heads here are linear, so the second derivative, for which pytorch-grad-cam fails there, is 0.
    yield row("shapleycam", FORMULA, twin.name, ours("shapleycam"), weighted(gradient(logits[index]).mean((1, 2))))
    # CAM: the mean of the gradient times the cells is the linear layer's weight.
    found, weights = ours("cam"), gradient(logits[index]).sum((1, 2))
    yield row("cam", FORMULA, twin.name, found, torch.einsum("c,chw->hw", weights, activation[0]).numpy())
    if any(isinstance(module, nn.Linear) for module in twin.head):
        yield row("cam", TORCHCAM, twin.name, found, torchcam(tc.CAM(twin.module, twin.features, twin.head[-1]), check, twin, index))


def smooth(check: Check, twin: Twin, index: int, ours: Callable) -> Iterator[Row]:
    """Smooth Grad-CAM++ with our noise, from the mean, the square and the cube of gradients at noisy pictures."""
    x = check.input
    sigma = float(np.float32(0.15) * (x.max() - x.min()))

    class Noise:
        drawn = -1

        def sample(self, size: torch.Size) -> torch.Tensor:
            self.drawn += 1
            return sigma * torch.from_numpy(normals(size[1:].numel(), self.drawn, NOISE_STREAM).reshape(size))

    with torch.no_grad():
        activation = twin.features(x)[0].double()
    noise, gradients = Noise(), []
    for _ in range(SAMPLES):
        last = twin.features(x + noise.sample(x.shape)).detach().requires_grad_(True)
        gradients.append(torch.autograd.grad(twin.head(last)[0, index], last)[0][0].double())
    g, last = torch.stack(gradients), last[0].detach().double()

    def formula(second: torch.Tensor, divisor: torch.Tensor, first: torch.Tensor, activation: torch.Tensor) -> np.ndarray:
        alpha = torch.where(divisor != 0, second / divisor, 0)
        return torch.einsum("c,chw->hw", (alpha * first.clamp(min=0)).sum((1, 2)), activation).clamp(min=0).numpy()

    second, third = (g**2).mean(0), (g**3).mean(0)
    found = ours("smooth-gradcam++", "--set", f"smooth-gradcam++.samples={SAMPLES}")
    exact = row("smooth-gradcam++", f"{FORMULA}, our noise", twin.name, found,
                formula(second, 2 * second + activation.sum((1, 2), keepdim=True) * third, g.mean(0), activation))
    yield exact
    extractor = tc.SmoothGradCAMpp(twin.module, twin.features, num_samples=SAMPLES)
    extractor._distrib = Noise()
    map_ = torchcam(extractor, check, twin, index)
    as_theirs = formula(second, 2 * second + (third * activation).sum((1, 2), keepdim=True) + 1e-8, g[-1], last)
    yield row("smooth-gradcam++", f"{TORCHCAM}, our noise", twin.name, found, map_).because(
        "its last G is that of the last copy alone, and so is its A; Σ (G³ A) stands for Σ A G³; and it adds 1e-8 to the divisor",
        exact, row("", "", "", as_theirs, map_))


def components(check: Check, twin: Twin, index: int, ours: Callable, activation: torch.Tensor) -> Iterator[Row]:
    """Principal components, whose sign is arbitrary."""
    def same_sign(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
        return -theirs if (theirs * ours).sum() < 0 else theirs

    for method, kind in (("eigencam", pgc.EigenCAM), ("eigengradcam", pgc.EigenGradCAM)):
        found = ours(method)
        yield row(method, GRAD_CAM, twin.name, found, same_sign(pytorch_grad_cam(kind, twin, check.input, index, twin.features), found))

    cells = activation.flatten(1).T.double().numpy()
    cells -= cells.mean(0)
    found = ours("kpcacam")
    component = KernelPCA(1, kernel="sigmoid").fit_transform(cells)[:, 0].reshape(found.shape)
    yield row("kpcacam", SKLEARN, twin.name, found, same_sign(component, found))
    yield row("kpcacam", GRAD_CAM, twin.name, found, same_sign(pytorch_grad_cam(pgc.KPCA_CAM, twin, check.input, index, twin.features), found))


def others(check: Check, twin: Twin, index: int, ours: Callable, activation: torch.Tensor) -> Iterator[Row]:
    # Recipro-CAM: one cell kept.
    height, width = activation.shape[1:]
    kept = torch.zeros(height * width, *activation.shape)
    for cell in range(height * width):
        kept[cell, :, cell // width, cell % width] = activation[:, cell // width, cell % width]
    with torch.no_grad():
        recipro = torch.softmax(twin.head(kept), 1)[:, index].reshape(height, width).numpy()
    yield row("reciprocam", FORMULA, twin.name, ours("reciprocam"), recipro)
    # FEM, k = 2, population standard deviation, strictly above.
    mean, deviation = activation.mean((1, 2), keepdim=True), activation.std((1, 2), correction=0, keepdim=True)
    fem = (mean * (activation > mean + 2 * deviation)).sum(0)
    yield row("fem", FORMULA, twin.name, check.explain(twin, "fem")["map"], (fem / fem.max().abs()).numpy())

    def our_numbers(low: float, high: float, size: tuple[int, int]) -> np.ndarray:
        return low + (high - low) * uniforms(size[1], 0, RANDOM_STREAM)[None]

    with mock.patch("numpy.random.uniform", our_numbers):
        random = np.maximum(pytorch_grad_cam(pgc.RandomCAM, twin, check.input, index, twin.features), 0)
    yield row("randomcam", f"{GRAD_CAM}, our numbers", twin.name, check.explain(twin, "randomcam")["map"], random)


def masks(check: Check, twin: Twin, index: int, ours: Callable) -> Iterator[Row]:
    """Scores of the picture masked by each channel of a layer."""
    layer, size = twin.module.get_submodule(twin.narrow), check.input.shape[2:]
    options = ("--layer", twin.narrow_value)
    made: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _, __, output: made.append(output))
    with torch.no_grad():
        twin.module(check.input)
    hook.remove()
    activation = made[0][0]

    enlarged = interpolate(activation[None], size, mode="bilinear", align_corners=False)[0]
    low, high = enlarged.amin((1, 2), keepdim=True), enlarged.amax((1, 2), keepdim=True)
    scaled = torch.where(high > low, (enlarged - low) / (high - low).clamp(min=1e-30), torch.zeros(()))

    def formula(*shares: float, probability: bool = False) -> np.ndarray:
        with torch.no_grad():
            scores = torch.zeros(len(scaled))
            for share in shares:
                logits = torch.cat([twin.module(check.input * share * part[:, None]) for part in scaled.split(16)])
                scores += (logits.softmax(1) if probability else logits)[:, index] / len(shares)
            return torch.einsum("c,chw->hw", scores.softmax(0), activation).clamp(min=0).numpy()

    # As the papers have them, with the class's probability.
    yield row("scorecam", FORMULA, twin.name, ours("scorecam", *options), formula(1, probability=True))
    found = ours("iscam", *options, "--set", f"iscam.samples={VARIANTS}")
    yield row("iscam", FORMULA, twin.name, found, formula(0.5, 1, probability=True))

    logit = (*options, "--score", "logit")
    found = ours("scorecam", *logit)

    def grad_cam() -> np.ndarray:
        return np.maximum(pytorch_grad_cam(pgc.ScoreCAM, twin, check.input, index, layer), 0)

    plain = row("scorecam", GRAD_CAM, twin.name, found, grad_cam())
    with mock.patch("torch.nn.UpsamplingBilinear2d", lambda size: nn.Upsample(size, mode="bilinear", align_corners=False)):
        mended = row("scorecam", f"{GRAD_CAM}, corners not aligned", twin.name, found, grad_cam())
    yield plain.because("it enlarges channels with aligned corners", mended)
    yield mended

    def scaled_later() -> AbstractContextManager:
        """Has TorchCAM scale masks after it enlarged them, as the papers do."""
        def upsample(_: tc.ScoreCAM, masks: torch.Tensor) -> torch.Tensor:
            large = interpolate(masks, size, mode="bilinear", align_corners=False)
            low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
            return (large - low) / (high - low + 1e-8)

        return mock.patch.multiple(tc.ScoreCAM, _normalize=staticmethod(lambda masks, _: masks), _upsample=upsample)

    def theirs(change: AbstractContextManager) -> np.ndarray:
        with change:
            return torchcam(tc.ScoreCAM(twin.module, layer, batch_size=16), check, twin, index)

    later = "it scales masks before it enlarges them"
    plain = row("scorecam", TORCHCAM, twin.name, found, theirs(nullcontext()))
    mended = row("scorecam", f"{TORCHCAM}, masks scaled when enlarged", twin.name, found, theirs(scaled_later()))
    yield plain.because(later, mended)
    yield mended

    class Noise:
        variant = -1

        def sample(self, size: torch.Size) -> torch.Tensor:
            self.variant += 1
            planes = [normals(size[2] * size[3], self.variant * size[1] + channel, MASK_STREAM).reshape(size[2:]) for channel in range(size[1])]
            return torch.from_numpy(np.float32(SIGMA) * np.stack(planes)[None])

    def smoothed(change: AbstractContextManager) -> np.ndarray:
        extractor = tc.SSCAM(twin.module, layer, batch_size=16, num_samples=VARIANTS, std=SIGMA)
        extractor._distrib = Noise()
        with change:
            return torchcam(extractor, check, twin, index)

    found = ours("sscam", *logit, "--set", f"sscam.samples={VARIANTS}", "--set", f"sscam.sigma={SIGMA}")
    plain = row("sscam", f"{TORCHCAM}, our noise", twin.name, found, smoothed(nullcontext()))
    mended = row("sscam", f"{TORCHCAM}, our noise, masks scaled when enlarged", twin.name, found, smoothed(scaled_later()))
    yield plain.because(later, mended)
    yield mended

    with scaled_later():
        integrated = torchcam(tc.ISCAM(twin.module, layer, batch_size=16, num_samples=VARIANTS), check, twin, index)
    found = ours("iscam", *logit, "--set", f"iscam.samples={VARIANTS}")
    exact = row("iscam", f"{FORMULA}, logit", twin.name, found, formula(0.5, 1))
    yield exact
    yield row("iscam", f"{TORCHCAM}, masks scaled when enlarged", twin.name, found, integrated).because(
        "its shares add up: of two, ½ and then ½ + 1", exact, row("", "", "", formula(0.5, 1.5), integrated))
