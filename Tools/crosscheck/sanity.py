"""Maps of networks with random weights (`app evaluate --sanity`): our random weights in PyTorch's network, its maps, and Quantus's tests of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import onnx
import quantus
import torch
from common import Check, Twin, normals, words
from maps import explained, heated
from onnx import numpy_helper
from rows import Number, number, package
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

WEIGHTS = 0x57454947
LEVELS, NOISY = 8, 8
QUANTUS, FORMULA = package("quantus"), f"formula, {package('torch')}, {package('scipy')}"


def folded(module: nn.Module) -> nn.Module:
    """A copy whose normalisations are part of the convolutions before them, as in the ONNX file."""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        before = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and isinstance(before, tuple):
                setattr(parent, before[0], fuse_conv_bn_eval(before[1], child))
                setattr(parent, name, nn.Identity())
            before = (name, child) if isinstance(child, nn.Conv2d) else None
    return module


class Random:
    """The network with our random numbers in the place of the weights of some layers."""

    def __init__(self, check: Check, twin: Twin) -> None:
        self.module, self.twin = folded(twin.module), twin
        graph = onnx.load(twin.path).graph
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        parameters = [parameter for parameter in self.module.parameters() if parameter.dim() > 1]
        # Nodes from the scores to the picture.
        self.layers: list[tuple[str, nn.Parameter, torch.Tensor, torch.Tensor]] = []
        for node in reversed(graph.node):
            if node.op_type not in ("Conv", "Gemm", "MatMul"):
                continue
            values = weights[node.input[1]]
            near = [p for p in parameters if tuple(p.shape) == values.shape and np.allclose(p.detach().numpy(), values, atol=1e-5)]
            if len(near) != 1:
                raise ValueError(f"{len(near)} layers of {twin.name} have the weights of {node.name}")
            numbers = normals(values.size, len(self.layers), WEIGHTS).reshape(values.shape).astype(np.float64)
            drawn = values.mean(dtype=np.float64) + values.std(dtype=np.float64) * numbers
            self.layers.append((node.name, near[0], torch.from_numpy(values.copy()), torch.from_numpy(drawn.astype(np.float32))))

    def with_random(self, layers: range) -> Twin:
        """The network whose layers of these numbers are random."""
        with torch.no_grad():
            for number_, (_, parameter, own, random) in enumerate(self.layers):
                parameter.copy_(random if number_ in layers else own)
        return Twin(self.twin.name, self.module[0], self.module[1], self.twin.path, "", "")

    @property
    def depths(self) -> list[int]:
        count = min(LEVELS, len(self.layers))
        return [max(1, (level * len(self.layers) + count // 2) // count) for level in range(1, count + 1)]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """0 if one is the same everywhere."""
    return float(spearmanr(a.ravel(), b.ravel()).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def entropy(map_: np.ndarray) -> float:
    shares = np.abs(map_.astype(np.float64)).ravel()
    shares = shares[shares > 0] / shares.sum()
    return float(-(shares * np.log(shares)).sum())


def numbers(check: Check, twin: Twin, index: int, maps: dict[str, np.ndarray], found: dict) -> Iterator[Number]:
    random, side, x = Random(check, twin), check.input.shape[-1], check.input
    depths = random.depths
    if found["levels"] != [random.layers[depth - 1][0] for depth in depths]:
        raise ValueError(f"our levels of {twin.name} are {found['levels']}")
    spread = float(x.max() - x.min())
    noisy = [x + 0.2 * spread * torch.from_numpy(normals(x.numel(), -1 - sample & 0xFFFFFFFF, WEIGHTS)).reshape(x.shape) for sample in range(NOISY)]
    drawn = int(words(np.array([1 << 30]), 0, WEIGHTS)[0, 0])
    with torch.no_grad():
        classes = twin.module(x).shape[1]
    other = (index + 1 + (drawn * (classes - 1) >> 32)) % classes
    orders = {"cascading": [range(depth) for depth in depths], "independent": [range(depth - 1, depth) for depth in depths]}
    for method, own in maps.items():
        ours = found["methods"][method]

        def one(metric: str, reference: str, theirs: object, mine: object, method: str = method) -> Number:
            return number(metric, reference, twin.name, method, mine, theirs)

        for order, levels in orders.items():
            ranks, structures = [], []
            for layers in levels:
                map_ = explained(random.with_random(layers), x, index, method)
                ranks.append(rank_correlation(own, map_))
                structures.append(structural_similarity(heated(own, method, side), heated(map_, method, side), gaussian_weights=True, sigma=1.5,
                                                        use_sample_covariance=False, data_range=1))
            yield one("sanity-spearman", f"{FORMULA}, {order}", ranks, ours[order]["spearman"])
            yield one("sanity-ssim", f"formula, {package('torch')}, {package('scikit-image')}, {order}", structures, ours[order]["ssim"])
        # All weights are random now.
        last = random.with_random(range(len(random.layers)))
        at_last = explained(last, x, index, method)
        theirs = (entropy(at_last) - entropy(own)) / entropy(own) if np.any(at_last) else None
        if theirs is not None:
            yield one("sanity-entropy", f"{FORMULA}", theirs, ours["entropyRise"])
        smooth = sum(explained(last, picture, index, method).astype(np.float64) for picture in noisy)
        before = sum(explained(twin, picture, index, method).astype(np.float64) for picture in noisy)
        yield one("sanity-smooth", FORMULA, rank_correlation(before.astype(np.float32), smooth.astype(np.float32)), ours["smoothSpearman"])
        if ours["otherClassSpearman"] is not None:
            yield one("sanity-other-class", FORMULA, rank_correlation(own, explained(twin, x, other, method)), ours["otherClassSpearman"])
        if own.shape == tuple(x.shape[-2:]):
            yield from beside_quantus(x, index, other, classes, method, own, random, twin, noisy, one, ours)


def beside_quantus(x: torch.Tensor, index: int, other: int, classes: int, method: str, own: np.ndarray, random: Random, twin: Twin,
                   noisy: list[torch.Tensor], one: Callable, ours: dict) -> Iterator[Number]:
    """Its tests, with our random weights, other class and noise; of maps of the picture's size, which are all that it takes."""
    settings = {"abs": False, "normalise": False, "disable_warnings": True}
    network = random.with_random(range(0)).module

    def explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
        place = Twin("", model[0], model[1], twin.path, "", "")
        return np.stack([explained(place, torch.from_numpy(np.float32(picture))[None], int(target), method)[None]
                         for picture, target in zip(inputs, targets, strict=True)])

    def layers(*_: object, **__: object) -> Iterator[tuple[str, nn.Module]]:
        for depth in random.depths:
            changed = copy.deepcopy(random.with_random(range(depth)).module)
            random.with_random(range(0))
            yield random.layers[depth - 1][0], changed

    def said(metric: object, own: np.ndarray = own, **given: object) -> object:
        wrapper = quantus.helpers.model.pytorch_model.PyTorchModel
        with mock.patch.object(wrapper, "get_random_layer_generator", layers), \
                mock.patch.object(wrapper, "random_layer_generator_length", len(random.depths)):
            return metric(model=network.eval(), x_batch=x.numpy(), y_batch=np.array([index]), a_batch=own[None, None].copy(), channel_first=True,
                          explain_func=explain, **given)

    spearman = quantus.similarity_func.correlation_spearman
    found = said(quantus.MPRT(similarity_func=spearman, **settings))
    theirs = [value for name, (value,) in found.items() if name != "original"]
    yield one("sanity-spearman", f"{QUANTUS}, MPRT, our weights", np.nan_to_num(theirs), ours["cascading"]["spearman"])
    if ours["entropyRise"] is not None:
        (theirs,) = said(quantus.EfficientMPRT(
            complexity_func=lambda a, **_: entropy(a), complexity_func_kwargs={"n_bins": 1}, skip_layers=True, **settings))
        yield one("sanity-entropy", f"{QUANTUS}, EfficientMPRT, entropy of shares, our weights", theirs, ours["entropyRise"])

    # It explains noisy pictures, and at last the picture itself: here that is a noisy one too.
    asked = 0

    def noisy_one(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
        nonlocal asked
        asked += 1
        return explain(model, noisy[(asked - 1) % NOISY].numpy(), targets)

    before = np.mean([explain(network, picture.numpy(), np.array([index]))[0, 0] for picture in noisy], axis=0)
    with mock.patch.object(quantus, "explain", noisy_one):
        found = said(quantus.SmoothMPRT(nr_samples=NOISY, similarity_func=spearman, skip_layers=True, **settings), before)
    yield one("sanity-smooth", f"{QUANTUS}, SmoothMPRT, our weights and noise", np.nan_to_num(list(found.values())[-1]), ours["smoothSpearman"])
    # Of all classes but the explained one.
    with mock.patch.object(np.random, "randint", lambda *_: np.array([other - (other > index)])):
        (theirs,) = said(quantus.RandomLogit(num_classes=classes, similarity_func=spearman, **settings))
    yield one("sanity-other-class", f"{QUANTUS}, RandomLogit, our class", theirs, ours["otherClassSpearman"])
