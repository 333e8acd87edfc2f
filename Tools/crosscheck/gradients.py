"""Gradients with respect to pixels beside Captum, pytorch-grad-cam, and formulas in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from unittest import mock

import numpy as np
import pytorch_grad_cam as pgc
import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from common import Check, Row, Twin, philox, row
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn.functional import interpolate

SAMPLES = 32
NOISE_STREAM, DRAW_STREAM = 0x534D4F4F, 0x45585045


def words(places: np.ndarray, sample: int, stream: int, attempt: int = 0, seed: int = 0) -> np.ndarray:
    """Four words for each place (CounterRandom.words)."""
    counter = np.zeros((len(places), 4), np.uint32)
    counter[:, 0], counter[:, 1], counter[:, 2], counter[:, 3] = places, sample, stream, attempt
    return philox(counter, (seed & 0xFFFFFFFF, seed >> 32))


def uniform(word: np.ndarray) -> np.ndarray:
    return (word >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def normals(count: int, sample: int, stream: int) -> np.ndarray:
    """`count` numbers of a sample with the standard normal distribution (CounterRandom.normals)."""
    one, half = np.float32(1), np.float32(0.5)
    out = np.zeros(((count + 1) // 2, 2), np.float32)
    open_, attempt = np.arange(len(out)), 0
    while len(open_):
        drawn = words(open_, sample, stream, attempt)[:, :2]
        uv = ((drawn >> np.uint32(9)).astype(np.float32) + half) * np.float32(2**-22) - one
        s = (uv * uv).sum(1, dtype=np.float32)
        good = (s < 1) & (s > 0)
        factor = np.sqrt(np.float32(-2) * np.log(s[good]) / s[good])
        out[open_[good]] = uv[good] * factor[:, None]
        open_, attempt = open_[~good], attempt + 1
    return out.ravel()[:count]


@contextmanager
def our_noise(shape: torch.Size) -> Iterator[None]:
    """Has Captum draw our noise, one sample after the other."""
    drawn = 0

    def normal(mean: float, deviation: torch.Tensor) -> torch.Tensor:
        nonlocal drawn
        several = len(deviation)
        numbers = [normals(shape[1:].numel(), drawn + i, NOISE_STREAM).reshape(shape[1:]) for i in range(several)]
        drawn += several
        return mean + deviation * torch.from_numpy(np.stack(numbers))

    with mock.patch("torch.normal", normal):
        yield


def rows(check: Check, twins: list[Twin]) -> Iterator[Row]:
    captum = f"captum {version('captum')}"
    for twin in twins:
        index, x = check.best(twin), check.input
        chosen = ("--class", str(index))

        def ours(method: str, *settings: str, key: str = "map", twin: Twin = twin, chosen: tuple[str, str] = chosen) -> np.ndarray:
            options = [part for setting in settings for part in ("--set", f"{method}.{setting}")]
            return check.explain(twin, method, *chosen, *options)[key]

        def colours(attributions: torch.Tensor) -> np.ndarray:
            return attributions[0].detach().sum(0).numpy()

        yield row("saliency", captum, twin.name, ours("saliency"), Saliency(twin.module).attribute(x, index)[0].amax(0).numpy())
        yield row("input-x-gradient", captum, twin.name, ours("input-x-gradient"),
                  colours(InputXGradient(twin.module).attribute(x, index)))

        black = (-torch.tensor(check.MEAN) / torch.tensor(check.STD))[None, :, None, None].expand_as(x)
        integrated = IntegratedGradients(twin.module)

        def path(baseline: torch.Tensor, rule: str, integrated: IntegratedGradients = integrated, index: int = index) -> np.ndarray:
            return colours(integrated.attribute(x, baseline, index, n_steps=20, method=rule, internal_batch_size=10))

        for rule, theirs in (("gauss-legendre", "gausslegendre"), ("riemann-middle", "riemann_middle")):
            for name, baseline in (("zero", torch.zeros_like(x)), ("black", black)):
                yield row("integrated-gradients", f"{captum}, {theirs}, {name}", twin.name,
                          ours("integrated-gradients", "steps=20", f"rule={rule}", f"baseline={name}"), path(baseline, theirs))
        trapezoid = path(torch.zeros_like(x), "riemann_trapezoid")
        found = ours("integrated-gradients", "steps=20", "rule=trapezoid")
        yield row("integrated-gradients", f"{captum}, riemann_trapezoid", twin.name, found, trapezoid,
                  "Captum's weights add up to (n − 1)/n")
        yield row("integrated-gradients", f"{captum}, riemann_trapezoid × n/(n − 1)", twin.name, found, trapezoid * 20 / 19)

        yield from noise(check, twin, index, ours, captum)
        yield from expected(check, twin, index, ours)
        yield from full(check, twin, index, ours)


def noise(check: Check, twin: Twin, index: int, ours: Callable, captum: str) -> Iterator[Row]:
    x = check.input
    deviation = float(np.float32(0.15) * (x.max() - x.min()))
    for method, kind, factor in (("smoothgrad", "smoothgrad", 1.0), ("smoothgrad-squared", "smoothgrad_sq", 1.0),
                                 ("vargrad", "vargrad", SAMPLES / (SAMPLES - 1))):
        with our_noise(x.shape):
            found = NoiseTunnel(Saliency(twin.module)).attribute(
                x, nt_type=kind, nt_samples=SAMPLES, nt_samples_batch_size=8, stdevs=deviation, target=index, abs=False)
        reference = f"{captum}, our noise" + (", × n/(n − 1)" if factor != 1 else "")
        yield row(method, reference, twin.name, ours(method, f"samples={SAMPLES}"), factor * found[0].detach().abs().amax(0).numpy())


def expected(check: Check, twin: Twin, index: int, ours: Callable) -> Iterator[Row]:
    """With our baselines of one colour, in double precision but for the network."""
    x, values = check.input, []
    for sample in range(SAMPLES):
        drawn = words(np.arange(2), sample, DRAW_STREAM)
        share = float(uniform(drawn[0, :1])[0])
        levels = torch.from_numpy(np.float32(255) * uniform(drawn[1, :3]))
        baseline = ((levels / 255 - torch.tensor(check.MEAN)) / torch.tensor(check.STD))[None, :, None, None]
        point = (baseline + share * (x - baseline)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(twin.module(point)[0, index], point)
        values.append(((x - baseline).double() * gradient.double())[0].sum(0).numpy())
    name = f"formula, PyTorch {torch.__version__.split('+')[0]}"
    setting = f"samples={SAMPLES}"
    yield row("expected-gradients", name, twin.name, ours("expected-gradients", setting), np.mean(values, 0))
    yield row("expected-gradients", name + ", its error", twin.name, ours("expected-gradients", setting, key="standardError"),
              np.std(values, 0, ddof=1) / np.sqrt(SAMPLES))


def full(check: Check, twin: Twin, index: int, ours: Callable) -> Iterator[Row]:
    """FullGrad as its authors' program has it, and as pytorch-grad-cam does."""
    outputs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def keep(module: nn.Module, _: object, output: torch.Tensor) -> None:
        if isinstance(module, nn.BatchNorm2d):
            bias = module.bias - module.running_mean * module.weight / torch.sqrt(module.running_var + module.eps)
        else:
            bias = module.bias
        if bias is not None:
            outputs.append((bias.detach()[None, :, None, None], output))

    hooks = [m.register_forward_hook(keep) for m in twin.module.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    x = check.input.clone().requires_grad_(True)
    score = twin.module(x)[0, index]
    for hook in hooks:
        hook.remove()
    gradients = torch.autograd.grad(score, [x] + [output for _, output in outputs])

    def scaled(part: torch.Tensor) -> torch.Tensor:
        size = part.detach().abs()
        return (size - size.min()) / (size.max() - size.min() + 1e-6)

    def enlarged(part: torch.Tensor, aligned: bool) -> torch.Tensor:
        large = interpolate(scaled(part).sum(1, keepdim=True), x.shape[2:], mode="bilinear", align_corners=aligned)
        return large[0, 0]

    parts = [x * gradients[0]] + [bias * g for (bias, _), g in zip(outputs, gradients[1:], strict=True)]
    found = ours("fullgrad")
    for aligned, reason in ((False, ""), (True, "the authors enlarge with aligned corners")):
        theirs = sum(enlarged(part, aligned) for part in parts).numpy()
        corners = " with aligned corners" if aligned else ""
        yield row("fullgrad", f"the authors' formula{corners}", twin.name, found, theirs, reason)

    cam = pgc.FullGrad(model=twin.module, target_layers=[])
    kept = {}
    cam.aggregate_multi_layers = lambda parts: kept.setdefault("map", np.sum(parts, axis=1))
    cam(input_tensor=check.input.clone().requires_grad_(True), targets=[ClassifierOutputTarget(index)])
    yield row("fullgrad", f"grad-cam {version('grad-cam')}, scale=channel", twin.name, ours("fullgrad", "scale=channel"), kept["map"][0])
