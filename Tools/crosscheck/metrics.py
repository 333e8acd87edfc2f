"""Numbers of metrics beside Quantus, TorchCAM, pytorch-grad-cam, Captum, scikit-image, and formulas in PyTorch, of the same maps.

Each is computed of the maps that `app explain` wrote, enlarged by PyTorch, and compared with what `app evaluate` says of them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytorch_grad_cam as pgc
import quantus
import sanity
import torch
import torchcam.metrics as tc
from captum.metrics import infidelity, sensitivity_max
from common import Check, Twin, normals, uniforms, words
from maps import enlarged, explained, heated
from PIL import Image
from pytorch_grad_cam.metrics import arcc, cam_mult_image, perturbation_confidence, road
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from rows import Number, number, package
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import nn
from torch.nn.functional import conv2d, interpolate, pad

INFIDELITY, ROAD, SENSITIVITY = 0x494E4649, 0x524F4144, 0x53454E53
CAPTUM, QUANTUS, TORCHCAM, GRAD_CAM = (package(name) for name in ("captum", "quantus", "torchcam", "grad-cam"))
FORMULA = f"formula, {package('torch')}"
# Maps with and without equal numbers, of magnitudes and signed: more of them on the network that is faster.
METHODS = {"squeezenet1.1": ["gradcam", "fem", "saliency", "input-x-gradient"], "resnet18": ["gradcam", "input-x-gradient"]}
# Solving its equations takes theirs long.
REMOVED = ("gradcam", "fem", "input-x-gradient")
TIES = "pixels of equal numbers are in another order"
PERCENTILES = range(10, 100, 10)
# Of curves: fewer than by default, which make no difference.
STEPS = 56
NOISE = 0.3


class Probabilities(nn.Module):
    """The network's probabilities of pictures; it remembers the explained class's."""

    def __init__(self, twin: Twin, index: int) -> None:
        super().__init__()
        self.network, self.index, self.seen = twin.module, index, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = torch.cat([self.network(part) for part in x.float().split(8)]).softmax(1)
        self.seen += p[:, self.index].tolist()
        return p


class Shown(nn.Module):
    """The network's numbers of a picture of which some pixels are shown and the others are those of a baseline, so that a package changes pixels, and
    not their colours apart.
    """

    def __init__(self, network: nn.Module, x: torch.Tensor, baseline: torch.Tensor) -> None:
        super().__init__()
        self.network, self.x, self.baseline = network, x, baseline

    def forward(self, shown: torch.Tensor) -> torch.Tensor:
        return self.network(torch.where(shown > 0.5, self.x, self.baseline))


class Extractor:
    """What TorchCAM's metrics take maps from: gives one of ours."""

    def __init__(self, model: nn.Module, map_: np.ndarray) -> None:
        self.model, self.map = model, torch.from_numpy(map_)[None]

    def __call__(self, *_: object, **__: object) -> list[torch.Tensor]:
        return [self.map]

    def fuse_cams(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return maps[0]

    def _hooks_off(self) -> nullcontext:
        return nullcontext()


class Subject:
    """A map of ours, what our evaluation says of it, and the network."""

    def __init__(self, check: Check, twin: Twin, index: int, record: dict, map_: np.ndarray, heat: np.ndarray) -> None:
        self.check, self.twin, self.index, self.method = check, twin, index, record["method"]
        self.x, self.side = check.input, check.input.shape[-1]
        self.values, self.curves, self.raw, self.heat = record["metrics"], record["curves"], map_, heat
        self.map = enlarged(map_, self.side)
        # By falling number; of equals the first comes first.
        order = np.argsort(-self.map.ravel(), kind="stable")
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        self.order, self.places = order, places.reshape(self.map.shape)
        # The same order, without equals.
        self.ranks = (len(order) - 1 - self.places).astype(np.float32)
        self.network = Probabilities(twin, index)
        self.p = float(self.probabilities(self.x)[0])

    def number(self, metric: str, reference: str, theirs: object, ours: object = None) -> Number:
        ours = self.values[metric] if ours is None else ours
        return number(metric, reference, self.twin.name, self.method, ours, theirs, is_share=metric == "infidelity")

    def probabilities(self, pictures: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return self.network(pictures)[:, self.index].double().numpy()

    def logits(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.twin.module(part) for part in pictures.float().split(8)])

    def composed(self, counts: np.ndarray, shown: torch.Tensor, others: torch.Tensor) -> Iterator[torch.Tensor]:
        """Pictures of which so many most important pixels are those of one, and the others of another."""
        places = torch.from_numpy(self.places)
        for part in np.array_split(counts, -(-len(counts) // 16)):
            yield torch.where((places < torch.from_numpy(part).reshape(-1, 1, 1))[:, None], shown, others)

    def curve(self, counts: np.ndarray, shown: torch.Tensor, others: torch.Tensor) -> np.ndarray:
        return np.concatenate([self.probabilities(pictures) for pictures in self.composed(counts, shown, others)])

    def tied(self, metric: str, reference: str, theirs: Callable[[np.ndarray], object], ours: object = None) -> Number:
        """A number of the map; if it does not agree, that of its ranks shows whether equal numbers are the reason."""
        found = self.number(metric, reference, theirs(self.map), ours)
        return found if found.agrees else found.because(TIES, self.number(metric, reference, theirs(self.ranks), ours))


def rows(check: Check, twin: Twin) -> Iterator[Number]:
    index = check.best(twin)
    methods = METHODS[twin.name]
    folder = Path(check.folder.name) / f"masks-{twin.name}"
    inside = write_mask(check, folder)
    chosen = ("--class", str(index))
    record, document = check.evaluate(twin, methods, *chosen, "--masks", str(folder), "--sanity", "1", *(
        part for setting in ("road.noise=0", "road-most.noise=0", "road-least.noise=0", f"deletion.steps={STEPS}", f"insertion.steps={STEPS}")
        for part in ("--set-metric", setting)))
    # Settings that are not those by default.
    other, _ = check.evaluate(twin, methods, *chosen, "--metrics", "road-most,monotonicity,deletion,infidelity", *(
        part for setting in (f"road-most.noise={NOISE}", "monotonicity.steps=2", "deletion.steps=7", "deletion.score=logit", "deletion.baseline=white",
                             "infidelity.samples=16", "infidelity.size=0.1", "infidelity.baseline=black")
        for part in ("--set-metric", setting)))
    found = {method: check.explain(twin, method, *chosen) for method in methods}
    subjects = [Subject(check, twin, index, one, found[one["method"]]["map"], found[one["method"]]["heatmap"]) for one in record["maps"]]
    for subject, otherwise in zip(subjects, other["maps"], strict=True):
        yield from curves(subject, otherwise)
        yield from flipped_pixels(subject)
        yield from monotonicity(subject, otherwise)
        yield from highlighted(subject)
        yield from sufficiency(subject)
        yield from squares(subject, otherwise)
        yield from spread(subject)
        yield from stability(subject)
        yield from localised(subject, inside)
        if subject.method in REMOVED:
            yield from removed(subject, otherwise["metrics"]["road-most"])
    yield from boxes(check, twin, index, subjects)
    yield from photographed(check, twin, index)
    yield from alike(twin, subjects, record["agreement"])
    yield from sanity.numbers(check, twin, index, {subject.method: subject.raw for subject in subjects}, document["sanity"])


# Curves.


def trapezoids(curve: np.ndarray) -> float:
    """auc of the authors' evaluation.py."""
    return float((curve.sum() - curve[0] / 2 - curve[-1] / 2) / (len(curve) - 1))


def blurred(x: torch.Tensor, kernel: np.ndarray, edges: str) -> torch.Tensor:
    return conv2d(pad(x, (5, 5, 5, 5), edges), torch.from_numpy(kernel).float().expand(3, 1, 11, 11), groups=3)


def authors_kernel() -> np.ndarray:
    """gkern(11, 5) of the authors' evaluation.py, which folds back what lies beyond 5 pixels."""
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    return gaussian_filter(impulse, 5)


def cut_kernel() -> np.ndarray:
    """A Gaussian that ends after 5 pixels."""
    line = np.exp(-np.arange(-5, 6) ** 2 / 50)
    return np.outer(line, line) / line.sum() ** 2


def curves(subject: Subject, otherwise: dict) -> Iterator[Number]:
    """The authors' algorithm; and TorchCAM's."""
    counts = np.arange(0, subject.side**2 + 1, step(subject, STEPS))
    zero, x = torch.zeros_like(subject.x), subject.x
    soft = blurred(x, cut_kernel(), "replicate")
    for metric, shown, others in (("deletion", zero, x), ("insertion", x, soft)):
        found = subject.curve(counts, shown, others)
        yield subject.number(metric, f"{FORMULA}, algorithm 1", trapezoids(found))
        yield subject.number(metric, f"{FORMULA}, algorithm 1, the curve", found, subject.curves[metric])
        if subject.method != "gradcam":
            continue
        theirs = tc.DeletionInsertionMetric(Extractor(subject.twin.module, subject.map), partial(torch.softmax, dim=-1), steps=STEPS,
                                            baseline=shown if metric == "deletion" else others, batch_size=8)
        theirs.update(x, subject.index)
        yield subject.number(metric, f"{TORCHCAM}, DeletionInsertionMetric" + (", our blur" if metric == "insertion" else ""),
                             theirs.summary()[f"{metric}_auc"])
    few = np.minimum(np.arange(8) * step(subject, 7), subject.side**2)
    with torch.no_grad():
        logits = torch.cat([subject.twin.module(pictures) for pictures in subject.composed(few, subject.check.white, x)])[:, subject.index].double()
    yield number("deletion", f"{FORMULA}, logits, to white, 7 steps", subject.twin.name, subject.method, otherwise["metrics"]["deletion"],
                 trapezoids(logits.numpy()), is_share=True)
    if subject.method == "gradcam":
        theirs = trapezoids(subject.curve(counts, x, blurred(x, authors_kernel(), "constant")))
        yield subject.number("insertion", f"{FORMULA}, the authors' own blur", theirs).because(
            "their blur is flatter, and has zeros beyond the edges", subject.number("insertion", "", trapezoids(found)))


def quantus_of(metric: object, subject: Subject, map_: np.ndarray, network: nn.Module, x: np.ndarray | None = None, **given: object) -> object:
    """What a metric of Quantus says of a map."""
    pixels = np.ones((1, 1, *map_.shape), np.float32) if x is None else x
    return metric(model=network, x_batch=pixels, y_batch=np.array([subject.index]), a_batch=map_[None, None].copy(), channel_first=True,
                  softmax=True, **given)


def plain(**settings: object) -> dict:
    """Settings of Quantus: of the numbers themselves, and in silence."""
    return {"abs": False, "normalise": False, "disable_warnings": True, **settings}


def step(subject: Subject, steps: int) -> int:
    return -(-subject.side**2 // steps)


def flipped_pixels(subject: Subject) -> Iterator[Number]:
    shown = Shown(subject.twin.module, subject.x, subject.check.black).eval()
    ours = np.array(subject.curves["pixel-flipping"])
    name = f"{QUANTUS}, PixelFlipping"

    def theirs(map_: np.ndarray) -> np.ndarray:
        metric = quantus.PixelFlipping(features_in_step=step(subject, 56), perturb_baseline=0.0, **plain())
        return np.array(quantus_of(metric, subject, map_, shown)[0])

    found = subject.tied("pixel-flipping", f"{name}, the curve", theirs, ours[1:])
    yield found
    curve = theirs(subject.map if not found.reason else subject.ranks)
    with mock.patch.object(np, "trapz", np.trapezoid, create=True):
        area = float(quantus.helpers.utils.calculate_auc(curve))
    yield subject.number("pixel-flipping", f"{name}, area", area).because(
        "theirs leaves out the first point, and counts a step as 1",
        subject.number("pixel-flipping", "", float(np.trapezoid([subject.p, *curve])) / len(curve)))


def monotonicity(subject: Subject, otherwise: dict) -> Iterator[Number]:
    network = Probabilities(subject.twin, subject.index)
    shown = Shown(network, subject.x, subject.check.black).eval()
    ours = np.array(subject.curves["monotonicity"])
    # Theirs does not ask whether the first step is one down.
    own = float((np.diff(ours[1:]) >= 0).all())
    name = f"{QUANTUS}, Monotonicity"

    def put_in(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
        arr = arr.copy()
        np.put_along_axis(arr, indices, 1, axis=1)
        return arr

    def theirs(map_: np.ndarray, steps: int = 28, **settings: object) -> tuple[bool, list[float]]:
        network.seen.clear()
        metric = quantus.Monotonicity(features_in_step=step(subject, steps), perturb_baseline=0.0, **plain(**settings))
        # The network gives probabilities already.
        with mock.patch.object(quantus.helpers.model.pytorch_model.torch, "softmax", lambda p, **_: p):
            return quantus_of(metric, subject, map_, shown)[0], network.seen.copy()

    # Of equals ours puts the last in first.
    found = subject.number("monotonicity", f"{name}, pixels put in, the curve", theirs(subject.map, perturb_func=put_in)[1], ours[1:])
    if not found.agrees:
        found.because(TIES, subject.number("monotonicity", "", theirs(subject.ranks, perturb_func=put_in)[1], ours[1:]))
    yield found
    mended = subject.number("monotonicity", f"{name}, pixels put in, whether it is 1", theirs(subject.ranks, perturb_func=put_in)[0], own)
    yield mended
    yield subject.number("monotonicity", f"{name}, whether it is 1", theirs(subject.ranks)[0], own).because(
        "theirs puts the baseline in the place of the baseline, so that nothing changes", mended)
    two = np.array(otherwise["curves"]["monotonicity"])
    yield subject.number("monotonicity", f"{name}, pixels put in, two steps, whether it is 1", theirs(subject.ranks, 2, perturb_func=put_in)[0],
                         float(two[2] >= two[1]))
    share = float(np.mean(np.diff([subject.probabilities(subject.check.black)[0], *theirs(subject.ranks, perturb_func=put_in)[1]]) >= 0))
    yield subject.number("monotonicity", f"{FORMULA}, share of steps", share)


# The picture times its heat map.


def highlighted(subject: Subject) -> Iterator[Number]:
    heat, x = subject.heat, subject.x
    theirs = tc.ClassificationMetric(Extractor(subject.twin.module, heat), partial(torch.softmax, dim=-1))
    theirs.update(x, subject.index)
    yield subject.number("average-drop", f"{TORCHCAM}, ClassificationMetric", theirs.summary()["avg_drop"])
    yield subject.number("increase", f"{TORCHCAM}, ClassificationMetric", theirs.summary()["conf_increase"])

    def product(kind: Callable) -> float:
        return float(kind()(x, heat[None], [ClassifierOutputTarget(subject.index)], subject.network)[0])

    dropped = product(cam_mult_image.DropInConfidence)
    yield subject.number("average-drop", f"{GRAD_CAM}, DropInConfidence", dropped).because(
        "theirs does not divide by p", subject.number("average-drop", "", dropped / subject.p))
    yield subject.number("increase", f"{GRAD_CAM}, IncreaseInConfidence", product(cam_mult_image.IncreaseInConfidence))
    left = float(subject.probabilities(x * torch.from_numpy(heat))[0])
    yield subject.number("average-gain", FORMULA, max(0, left - subject.p) / (1 - subject.p))

    other = heated(explained(subject.twin, x * torch.from_numpy(heat), subject.index, subject.method), subject.method, subject.side)
    coherency = (float(np.corrcoef(heat.ravel().astype(np.float64), other.ravel().astype(np.float64))[0, 1]) + 1) / 2
    yield subject.number("coherency", f"{FORMULA}, equation 5", coherency)
    given = arcc.Coherency()(x, heat[None], None, None, lambda **_: other[None])
    yield subject.number("coherency", f"{GRAD_CAM}, Coherency", given[0])
    if subject.method == "gradcam":
        with pgc.GradCAM(subject.twin.module, [subject.twin.features]) as method:
            given = arcc.Coherency()(x, heat[None], [ClassifierOutputTarget(subject.index)], None, method)
        yield subject.number("coherency", f"{GRAD_CAM}, Coherency with its GradCAM", given[0])
    complexity = float(heat.astype(np.float64).mean())
    yield subject.number("complexity", f"{GRAD_CAM}, Complexity", arcc.Complexity()(heat[None])[0])
    drop = max(0, subject.p - left) / subject.p
    yield subject.number("adcc", f"{FORMULA}, equation 7", 3 / sum(1 / part for part in (coherency, 1 - complexity, 1 - drop)))


def sufficiency(subject: Subject) -> Iterator[Number]:
    counts = np.array([-(-subject.side**2 * share // 100) for share in (5, 10, 20, 50)])
    left = subject.curve(counts, subject.x, torch.zeros_like(subject.x))
    yield subject.number("sufficiency", f"{FORMULA}, section 4.2", float((subject.p - left).mean()))


# Infidelity.


def squares(subject: Subject, otherwise: dict) -> Iterator[Number]:
    """Packages get our squares."""
    def changed(samples: int, side: int, baseline: torch.Tensor) -> torch.Tensor:
        pictures = subject.x.repeat(samples, 1, 1, 1)
        for sample, picture in enumerate(pictures):
            top, left = (int(word) * (subject.side - side + 1) >> 32 for word in words(np.zeros(1), sample, INFIDELITY)[0, :2])
            picture[:, top:top + side, left:left + side] = baseline[0, :, top:top + side, left:left + side]
        return pictures

    attributions = torch.from_numpy(subject.map).expand_as(subject.x)

    def theirs(pictures: torch.Tensor) -> float:
        begin = 0

        def ours(given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal begin
            part = pictures[begin:begin + len(given)]
            begin += len(given)
            return given - part, part

        with torch.no_grad():
            return float(infidelity(subject.network, ours, subject.x, attributions, target=subject.index, n_perturb_samples=len(pictures),
                                    max_examples_per_batch=16, normalize=True))

    pictures = changed(64, subject.side // 4, torch.zeros_like(subject.x))
    yield subject.number("infidelity", f"{CAPTUM}, infidelity, our squares", theirs(pictures))
    yield subject.number("infidelity", f"{CAPTUM}, infidelity, our squares, 16 of a tenth, black",
                         theirs(changed(16, round(0.1 * subject.side), subject.check.black)), otherwise["metrics"]["infidelity"])
    sums = ((subject.x - pictures).double() * attributions.double()).sum((1, 2, 3)).numpy()
    drops = subject.p - subject.probabilities(pictures)
    factor = float(sums @ drops / (sums @ sums))
    waiting = iter(pictures.numpy())

    def loss(a: np.ndarray, b: np.ndarray, **given: object) -> np.ndarray:
        return quantus.functions.loss_func.mse(a=a, b=factor * b, **given)

    metric = quantus.Infidelity(perturb_patch_sizes=[subject.side // 8], n_perturb_samples=1, perturb_func=lambda **_: next(waiting)[None], **plain())
    metric.loss_func = loss
    theirs = quantus_of(metric, subject, subject.map, subject.twin.module.eval(), subject.x.numpy())
    yield subject.number("infidelity", f"{QUANTUS}, Infidelity, our squares, sums times the best factor", float(theirs[0]))


# How much of the picture a map takes.


def spread(subject: Subject) -> Iterator[Number]:
    def theirs(kind: type) -> float:
        return float(quantus_of(kind(disable_warnings=True), subject, subject.map, subject.twin.module, subject.x.numpy())[0])

    yield subject.number("sparseness", f"{QUANTUS}, Sparseness", theirs(quantus.Sparseness))
    entropy = theirs(quantus.Complexity)
    yield subject.number("entropy", f"{QUANTUS}, Complexity", entropy)
    yield subject.number("effective-pixels", f"formula, {package('numpy')}", np.exp(entropy) / subject.map.size)


# ROAD.


class Imputer(road.NoisyLinearImputer):
    """Theirs, with our noise."""

    def __init__(self, noise: float = 0, samples: Iterator[int] | None = None) -> None:
        super().__init__(noise=noise)
        self.samples = samples

    def __call__(self, img: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        def our_noise(found: torch.Tensor) -> torch.Tensor:
            if self.samples is None:
                return torch.zeros_like(found)
            numbers = torch.from_numpy(normals(img.numel(), next(self.samples), ROAD).reshape(len(img), -1))
            return numbers[:, (mask.reshape(-1) == 0)]

        with mock.patch.object(torch, "randn_like", our_noise):
            return super().__call__(img, mask)


def removed(subject: Subject, noisy: float) -> Iterator[Number]:
    def theirs(kind: Callable, map_: np.ndarray, imputer: Imputer) -> float:
        average = perturbation_confidence.AveragerAcrossThresholds(
            lambda percentile: perturbation_confidence.PerturbationConfidenceMetric(kind(percentile, imputer)), list(PERCENTILES))
        return float(average(subject.x, map_[None], [ClassifierOutputTarget(subject.index)], subject.network)[0])

    orders = {"most": ("ROADMostRelevantFirstAverage", perturbation_confidence.RemoveMostRelevantFirst),
              "least": ("ROADLeastRelevantFirstAverage", perturbation_confidence.RemoveLeastRelevantFirst)}
    own: dict[str, float] = {}
    for order, (name, kind) in orders.items():
        own[order] = theirs(kind, subject.map, Imputer())
        found = subject.number(f"road-{order}", f"{GRAD_CAM}, {name}, no noise", own[order])
        if not found.agrees:
            own[order] = theirs(kind, subject.ranks, Imputer())
            found.because("theirs removes all pixels of equal numbers together", subject.number(f"road-{order}", "", own[order]))
        yield found
    yield subject.number("road", f"{GRAD_CAM}, ROADCombined, no noise", (own["least"] - own["most"]) / 2)
    yield subject.number("road-most", f"{GRAD_CAM}, ROADMostRelevantFirstAverage, our noise of {NOISE}",
                         theirs(orders["most"][1], subject.ranks, Imputer(NOISE, iter(range(len(PERCENTILES))))), noisy)


# Changed pictures, explained by PyTorch.


def stability(subject: Subject) -> Iterator[Number]:
    x, side, method = subject.x, subject.side, subject.method

    def correlation(metric: str, name: str, changed: torch.Tensor, own: Callable = lambda map_: map_, back: Callable = lambda map_: map_) -> Number:
        other = back(torch.from_numpy(enlarged(explained(subject.twin, changed, subject.index, method), side))[None, None])
        mine = own(torch.from_numpy(subject.map)[None, None])
        return subject.number(metric, name, float(np.corrcoef(mine.double().numpy().ravel(), other.double().numpy().ravel())[0, 1]))

    def cropped(x: torch.Tensor) -> torch.Tensor:
        cut = side // 16
        return interpolate(x[..., cut:-cut, cut:-cut], (side, side), mode="bilinear", align_corners=False)

    file = io.BytesIO()
    subject.check.colours.save(file, "JPEG", quality=75)
    lossy = np.asarray(Image.open(file).convert("RGB"), np.float32) / 255
    lossy = torch.from_numpy(((lossy - np.float32(Check.MEAN)) / np.float32(Check.STD)).transpose(2, 0, 1)[None].copy())
    yield correlation("stability-flip", FORMULA, x.flip(-1), back=lambda map_: map_.flip(-1))
    yield correlation("stability-crop", FORMULA, cropped(x), own=cropped)
    yield correlation("stability-jpeg", f"{FORMULA}, {package('pillow')}", lossy)

    samples = 10
    changed = [x + np.float32(0.02) * (2 * torch.from_numpy(uniforms(x.numel(), sample, SENSITIVITY)).reshape(x.shape) - 1) for sample in range(samples)]

    def maps(pictures: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.from_numpy(explained(subject.twin, picture[None], subject.index, method)) for picture in pictures])

    def tuples(given: tuple[torch.Tensor] | torch.Tensor) -> tuple[torch.Tensor]:
        return (maps(given[0] if isinstance(given, tuple) else given),)

    theirs = sensitivity_max(tuples, x, lambda given: torch.cat(changed)[:len(given)], n_perturb_samples=samples)
    yield subject.number("max-sensitivity", f"{CAPTUM}, sensitivity_max, our changes", float(theirs))
    if subject.raw.shape == subject.map.shape:
        waiting = iter(changed)

        def explain(model: object, inputs: np.ndarray, targets: object, **_: object) -> np.ndarray:
            return maps(torch.from_numpy(inputs))[:, None].numpy()

        metric = quantus.MaxSensitivity(nr_samples=samples, perturb_func=lambda **_: next(waiting).numpy().reshape(1, -1), **plain())
        theirs = quantus_of(metric, subject, subject.raw, subject.twin.module.eval(), x.numpy(), explain_func=explain)
        yield subject.number("max-sensitivity", f"{QUANTUS}, MaxSensitivity, our changes", float(theirs[0]))


# Objects.


def write_mask(check: Check, folder: Path) -> np.ndarray:
    """A mask of the picture: an ellipse."""
    folder.mkdir()
    side = check.input.shape[-1]
    y, x = np.mgrid[:side, :side]
    inside = ((x - 0.4 * side) / (0.3 * side)) ** 2 + ((y - 0.5 * side) / (0.2 * side)) ** 2 <= 1
    Image.fromarray(inside.astype(np.uint8) * 255).save(folder / check.picture.name)
    return inside


def localised(subject: Subject, inside: np.ndarray) -> Iterator[Number]:
    def theirs(metric: object, map_: np.ndarray = subject.map) -> float:
        return float(quantus_of(metric, subject, map_, subject.twin.module, subject.x.numpy(), s_batch=inside[None, None].astype(np.float32))[0])

    yield subject.number("pointing-game", f"{QUANTUS}, PointingGame", theirs(quantus.PointingGame(**plain())))
    yield subject.tied("top-precision", f"{QUANTUS}, RelevanceRankAccuracy", lambda map_: theirs(quantus.RelevanceRankAccuracy(**plain()), map_))
    yield subject.tied("top-precision", f"{QUANTUS}, TopKIntersection, k the object's size",
                       lambda map_: theirs(quantus.TopKIntersection(k=int(inside.sum()), **plain()), map_))
    with redirect_stdout(io.StringIO()):
        # It says that it wants magnitudes; what is above 0 it asks for itself.
        localisation = quantus.AttributionLocalisation(positive_attributions=True, **plain())
    yield subject.number("energy", f"{QUANTUS}, AttributionLocalisation, positive_attributions", theirs(localisation))
    yield subject.number("energy", f"{QUANTUS}, RelevanceMassAccuracy", theirs(quantus.RelevanceMassAccuracy(**plain()))).because(
        "theirs also adds up what is below 0", subject.number("energy", "", theirs(quantus.RelevanceMassAccuracy(**plain()), np.maximum(subject.map, 0))))
    yield subject.number("iou", f"formula, {package('numpy')}", overlap(subject.heat, inside))


def overlap(heat: np.ndarray, inside: np.ndarray) -> float:
    hot = heat >= 0.5
    return float((hot & inside).sum() / (hot | inside).sum())


def located(map_: np.ndarray, heat: np.ndarray, inside: np.ndarray, tolerance: int) -> dict[str, float]:
    """The four metrics, by NumPy."""
    order = np.argsort(-map_.ravel(), kind="stable")
    v, u = divmod(int(order[0]), map_.shape[1])
    y, x = np.mgrid[:map_.shape[0], :map_.shape[1]]
    positive = np.maximum(map_.astype(np.float64), 0)
    return {"pointing-game": float((inside & ((y - v) ** 2 + (x - u) ** 2 <= tolerance**2)).any()), "energy": positive[inside].sum() / positive.sum(),
            "iou": overlap(heat, inside), "top-precision": inside.ravel()[order[:inside.sum()]].mean()}


def write_boxes(place: Path, picture: str, box: tuple[int, int, int, int]) -> dict[str, Path]:
    """The same box, left, top, width, height, in two formats. Its name is none of the network's classes."""
    left, top, width, height = box
    files = {"COCO": place / "boxes.json", "VOC": place / "boxes.xml"}
    files["COCO"].write_text(json.dumps({
        "images": [{"id": 7, "file_name": picture}], "categories": [{"id": 3, "name": "whatsit"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [left, top, width, height]}]}))
    # Numbers there begin at 1, and the last pixel belongs to the box.
    files["VOC"].write_text(f"<annotation><filename>{picture}</filename><object><name>whatsit</name><bndbox><xmin>{left + 1}</xmin>"
                            f"<ymin>{top + 1}</ymin><xmax>{left + width}</xmax><ymax>{top + height}</ymax></bndbox></object></annotation>")
    return files


LOCATED = ("--metrics", "pointing-game,energy,iou,top-precision", "--set-metric", "pointing-game.tolerance=15")


def boxes(check: Check, twin: Twin, index: int, subjects: list[Subject]) -> Iterator[Number]:
    box = left, top, width, height = 24, 60, 90, 75
    inside = np.zeros(subjects[0].map.shape, bool)
    inside[top:top + height, left:left + width] = True
    for kind, file in write_boxes(Path(check.folder.name), check.picture.name, box).items():
        record, _ = check.evaluate(twin, [subject.method for subject in subjects], "--class", str(index), "--boxes", str(file), *LOCATED)
        for subject, found in zip(subjects, record["maps"], strict=True):
            for metric, value in located(subject.map, subject.heat, inside, 15).items():
                name = f"formula, {package('numpy')}, {kind}'s box"
                yield subject.number(metric, name + (", 15 pixels beside it" if metric == "pointing-game" else ""), value, found["metrics"][metric])


def photographed(check: Check, twin: Twin, index: int) -> Iterator[Number]:
    """Objects of a photograph of which the network sees a part, at another size."""
    width, height = Image.open(check.photo).size
    side, short = check.input.shape[-1], 256
    # As torchvision prepares it: the other side is cut off to whole pixels.
    new = [short * length // min(width, height) for length in (width, height)]
    cut = [round((length - side) / 2) for length in new]
    v, u = np.mgrid[:side, :side]
    # Where the centres of what it sees lie in the photograph.
    x, y = (u + 0.5 + cut[0]) * width / new[0], (v + 0.5 + cut[1]) * height / new[1]
    box = left, top, across, down = width // 4 + 1, height // 3, width // 3, height // 2 + 1
    framed = (x >= left) & (x < left + across) & (y >= top) & (y < top + down)
    rows_, columns = np.mgrid[:height, :width]
    ellipse = ((columns - 0.45 * width) / (0.3 * width)) ** 2 + ((rows_ - 0.6 * height) / (0.25 * height)) ** 2 <= 1

    own = check.of_photograph(check.photo, {"resize": {"shortSide": short}, "interpolation": "bilinear", "crop": {"width": side, "height": side}})
    place, stem = Path(own.folder.name), check.photo.stem
    masks = place / "masks"
    masks.mkdir()
    # What is of the explained class alone comes before what is of all.
    Image.fromarray(ellipse.astype(np.uint8) * 255).save(masks / f"{stem}.{index}.png")
    Image.fromarray((~ellipse).astype(np.uint8) * 255).save(masks / f"{stem}.png")
    chosen = ("--class", str(index))
    found = own.explain(twin, "gradcam", *chosen)
    map_, heat = enlarged(found["map"], side), found["heatmap"]
    given = [("a mask of a class", ("--masks", str(masks)), ellipse[y.astype(int), x.astype(int)])]
    given += [(f"{kind}'s box", ("--boxes", str(file)), framed) for kind, file in write_boxes(place, check.photo.name, box).items()]
    for kind, options, inside in given:
        record, _ = own.evaluate(twin, ["gradcam"], *chosen, *options, *LOCATED)
        for metric, value in located(map_, heat, inside, 15).items():
            yield number(metric, f"formula, {package('numpy')}, {kind}, of a photograph that is scaled and cropped", twin.name, "gradcam",
                         record["maps"][0]["metrics"][metric], value)


# Two maps.


def alike(twin: Twin, subjects: list[Subject], agreement: list[dict]) -> Iterator[Number]:
    named = {subject.method: subject for subject in subjects}
    for pair in agreement:
        a, b = named[pair["a"]], named[pair["b"]]
        shares = [subject.heat / subject.heat.sum(dtype=np.float64) for subject in (a, b)]
        tenth = -(-a.places.size // 10)
        theirs = {
            "pcc": (f"{package('numpy')}, corrcoef", np.corrcoef(a.map.ravel().astype(np.float64), b.map.ravel().astype(np.float64))[0, 1]),
            "sim": (f"formula, {package('numpy')}", np.minimum(*shares).sum()),
            "ssim": (f"{package('scikit-image')}, structural_similarity", structural_similarity(
                a.heat, b.heat, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1)),
            "top10": (f"formula, {package('numpy')}", ((a.places < tenth) & (b.places < tenth)).sum() / tenth)}
        for metric, (reference, value) in theirs.items():
            yield number(metric, reference, twin.name, f"{a.method} + {b.method}", pair[metric], value)
