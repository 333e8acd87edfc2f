"""Black-box methods beside lime, shap, scikit-image, Captum and formulas in NumPy, all with our own samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import torch
from captum.attr import Occlusion
from common import Check, Twin, normals, uniforms
from lime.lime_image import LimeImageExplainer
from rows import Row, package, row
from skimage.segmentation import quickshift, slic
from sklearn.metrics import adjusted_rand_score

RISE, LIME, SHAP, TIES = 3, 0x4C494D45, 0x53484150, 0x54494553
MASKS, SAMPLES = 200, 200


def probabilities(twin: Twin, pictures: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([twin.module(part).softmax(1) for part in pictures.split(16)]).double().numpy()


def rows(check: Check, twin: Twin) -> Iterator[Row]:
    index = check.best(twin)

    def ours(method: str, *settings: str) -> dict:
        options = [part for setting in settings for part in ("--set", f"{method}.{setting}")]
        return check.explain(twin, method, "--class", str(index), *options)

    yield occlusion(check, twin, index, ours)
    yield from rise(check, twin, index, ours)
    yield from segments(check, twin, index, ours)


def occlusion(check: Check, twin: Twin, index: int, ours: Callable) -> Row:
    """Windows that fit, so that none ends at the edge: 224 = 32 + 12 · 16."""
    def score(x: torch.Tensor) -> torch.Tensor:
        return twin.module(x).softmax(1)

    with torch.no_grad():
        theirs = Occlusion(score).attribute(check.input, (3, 32, 32), (3, 16, 16), target=index, perturbations_per_eval=13)[0, 0].numpy()
    return row("occlusion", package("captum"), twin.name, ours("occlusion", "window=32", "stride=16")["map"], theirs)


def rise(check: Check, twin: Twin, index: int, ours: Callable) -> Iterator[Row]:
    """Equation 6 in double precision, with masks enlarged by PyTorch."""
    side, cells = check.input.shape[-1], 7
    cell = -(-side // cells)
    masks = []
    for sample in range(MASKS):
        numbers = uniforms(cells * cells + 2, sample, RISE)
        small = torch.from_numpy((numbers[:-2] < 0.5).astype(np.float32)).reshape(1, 1, cells, cells)
        large = torch.nn.functional.interpolate(small, ((cells + 1) * cell,) * 2, mode="bilinear", align_corners=False)[0, 0]
        top, left = (min(int(number * np.float32(cell)), cell - 1) for number in numbers[-2:])
        masks.append(large[top:top + side, left:left + side])
    shown = torch.stack(masks)
    parts = probabilities(twin, check.input * shown[:, None])[:, index, None, None] * shown.double().numpy() / 0.5
    found = ours("rise", f"samples={MASKS}")
    name = f"formula, {package('torch')}, equation 6"
    yield row("rise", name, twin.name, found["map"], parts.mean(0))
    yield row("rise", name + ", its error", twin.name, found["sampleError"], parts.std(0, ddof=1) / math.sqrt(MASKS))


class OurNoise(np.random.Generator):
    """Breaks quickshift's ties as we do."""

    def normal(self, loc: float = 0, scale: float = 1, size: tuple[int, int] | None = None) -> np.ndarray:
        return loc + scale * normals(math.prod(size), 0, TIES).astype(np.float64).reshape(size)


def segments(check: Check, twin: Twin, index: int, ours: Callable) -> Iterator[Row]:
    colours = np.asarray(check.colours)
    with mock.patch("numpy.random.default_rng", lambda *_: OurNoise(np.random.PCG64(0))):
        shifted = quickshift(colours, kernel_size=4, max_dist=200, ratio=0.2)
    grown = slic(colours, n_segments=100, compactness=10, start_label=0)
    for name, theirs in (("quickshift", shifted), ("slic", grown)):
        found = ours("lime", f"samples={SAMPLES}", f"segmentation={name}")["map"]
        likeness = adjusted_rand_score(np.unique(found, return_inverse=True)[1].ravel(), theirs.ravel())
        yield Row("lime", f"{package('scikit-image')}, {name}, Rand index", twin.name, likeness, 1 - likeness)
        yield row("lime", f"{package('lime')}, our samples, {name}", twin.name, found, lime(check, twin, index, theirs))
    yield from shap(check, twin, index, ours)


def covered(check: Check, labels: np.ndarray, shown: np.ndarray) -> torch.Tensor:
    """The picture with the segments of each row of `shown`, the others in their mean colours."""
    x = check.input[0].numpy().astype(np.float64)
    means = np.stack([np.bincount(labels.ravel(), channel.ravel()) / np.bincount(labels.ravel()) for channel in x])
    return torch.from_numpy(np.where(shown[:, None, labels] == 1, x, means[:, labels]).astype(np.float32))


def lime(check: Check, twin: Twin, index: int, labels: np.ndarray) -> np.ndarray:
    """The package's own regression, of our samples."""
    n = labels.max() + 1
    data = np.stack([(uniforms(n, sample, LIME) < 0.5).astype(int) for sample in range(SAMPLES)])
    data[0] = 1

    explainer = LimeImageExplainer(kernel_width=0.25)
    scores = probabilities(twin, covered(check, labels, data))
    with mock.patch.object(explainer, "data_labels", lambda *_, **__: (data, scores)):
        found = explainer.explain_instance(np.asarray(check.colours) / 255, None, labels=(index,), top_labels=None, num_samples=SAMPLES,
                                           segmentation_fn=lambda _: labels)
    weights = np.zeros(n)
    for segment, weight in found.local_exp[index]:
        weights[segment] = weight
    return weights[labels]


def shap(check: Check, twin: Twin, index: int, ours: Callable) -> Iterator[Row]:
    """Few segments: Shapley's definition. Many: the constrained regression in NumPy, of our coalitions."""
    labels = slic(np.asarray(check.colours), n_segments=8, compactness=10, start_label=0)
    n = labels.max() + 1
    subsets = np.array(list(itertools.product((0, 1), repeat=n)))
    scores = probabilities(twin, covered(check, labels, subsets))[:, index]
    place = 2 ** np.arange(n)[::-1]
    phi = np.zeros(n)
    for j in range(n):
        without = subsets[subsets[:, j] == 0]
        weight = [math.factorial(k) * math.factorial(n - 1 - k) / math.factorial(n) for k in without.sum(1)]
        phi[j] = np.sum(weight * (scores[without @ place + place[j]] - scores[without @ place]))
    found = ours("kernel-shap", "segmentation=slic", "segments=8")["map"]
    yield row("kernel-shap", f"formula, {package('numpy')}, Shapley's definition, {n} segments", twin.name, found, phi[labels])

    labels = slic(np.asarray(check.colours), n_segments=40, compactness=10, start_label=0)
    n = labels.max() + 1
    sizes = np.concatenate([[0], np.cumsum([1 / (s * (n - s)) for s in range(1, n)])])
    shown = []
    for pair in range(SAMPLES // 2):
        numbers = uniforms(n, pair, SHAP).astype(np.float64)
        size = int(np.argmax(numbers[0] * sizes[-1] < sizes)) if numbers[0] * sizes[-1] < sizes[-1] else n - 1
        order = np.arange(n)
        for i in range(size):
            j = i + min(int(numbers[i + 1] * (n - i)), n - i - 1)
            order[[i, j]] = order[[j, i]]
        z = np.zeros(n, int)
        z[order[:size]] = 1
        shown += [z, 1 - z]
    z = np.stack([np.zeros(n, int), np.ones(n, int), *shown])
    scores = probabilities(twin, covered(check, labels, z))[:, index]
    gain, y = scores[1] - scores[0], scores[2:] - scores[0]
    z = z[2:].astype(np.float64)
    # The last follows from the others.
    free = np.linalg.lstsq(z[:, :-1] - z[:, -1:], y - z[:, -1] * gain, rcond=None)[0]
    phi = np.append(free, gain - free.sum())
    found = ours("kernel-shap", "segmentation=slic", "segments=40", f"samples={SAMPLES}")["map"]
    yield row("kernel-shap", f"formula, {package('numpy')}, our coalitions, {n} segments", twin.name, found, phi[labels])
