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
from common import CORRELATION, Check, Row, Twin, normals, row, uniform, words
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn.functional import interpolate

SAMPLES = 32
NOISE_STREAM, DRAW_STREAM = 0x534D4F4F, 0x45585045


@contextmanager
def our_noise(shape: torch.Size) -> Iterator[None]:
    """Has Captum draw our noise, one sample after the other."""
    drawn = 0

    def normal(mean: float, deviation: torch.Tensor) -> torch.Tensor:
        nonlocal drawn
        several = len(deviation)
        numbers = [normals(shape[1:].numel(), drawn + i, NOISE_STREAM).reshape(shape[1:]) for i in range(several)]
        drawn += several
        return mean + deviation * torch.from_numpy(np.stack(numbers)).to(deviation.dtype)

    with mock.patch("torch.normal", normal):
        yield


def against(method: str, reference: str, twin: Twin, ours: np.ndarray, theirs: Callable[[], np.ndarray], deviation: str = "") -> Row:
    """A row of a map of gradients. Of some units rounding decides on which side of a kink they are (a ReLU, a max pool), and so which gradient
    they have: what differs more than it should, though by no more than twice what the reference does from itself in double precision, says so.
    """
    single = theirs()
    found = row(method, reference, twin.name, ours, single, deviation)
    if found.agrees or found.deviation:
        return found
    twin.module.double()
    double = theirs()
    twin.module.float()
    itself = row(method, reference, twin.name, single, double)
    nearer = row(method, reference, twin.name, ours, double)
    if found.correlation >= CORRELATION and min(found.difference, nearer.difference) <= 2 * itself.difference:
        found.deviation = f"kinks: the reference in double precision is {itself.difference:.1e} from itself, ours {nearer.difference:.1e}"
    return found


def rows(check: Check, twins: list[Twin]) -> Iterator[Row]:
    captum, x = f"captum {version('captum')}", check.input
    for twin in twins:
        index = check.best(twin)
        chosen = ("--class", str(index))

        def ours(method: str, *settings: str, key: str = "map", twin: Twin = twin, chosen: tuple[str, str] = chosen) -> np.ndarray:
            options = [part for setting in settings for part in ("--set", f"{method}.{setting}")]
            return check.explain(twin, method, *chosen, *options)[key]

        def colours(attributions: torch.Tensor) -> np.ndarray:
            return attributions[0].detach().sum(0).numpy()

        def now(twin: Twin = twin) -> torch.Tensor:
            return x.detach().to(next(twin.module.parameters()).dtype)

        yield against("saliency", captum, twin, ours("saliency"),
                      lambda twin=twin, index=index, now=now: Saliency(twin.module).attribute(now(), index)[0].amax(0).numpy())
        yield against("input-x-gradient", captum, twin, ours("input-x-gradient"),
                      lambda twin=twin, index=index, now=now: colours(InputXGradient(twin.module).attribute(now(), index)))

        black = (-torch.tensor(check.MEAN) / torch.tensor(check.STD))[None, :, None, None].expand_as(x)
        zero = torch.zeros_like(x)

        def path(baseline: torch.Tensor, rule: str, twin: Twin = twin, index: int = index) -> Callable[[], np.ndarray]:
            def attributions() -> np.ndarray:
                kind = next(twin.module.parameters()).dtype
                return colours(IntegratedGradients(twin.module).attribute(
                    x.detach().to(kind), baseline.to(kind), index, n_steps=20, method=rule, internal_batch_size=10))
            return attributions

        for rule, theirs in (("gauss-legendre", "gausslegendre"), ("riemann-middle", "riemann_middle")):
            for name, baseline in (("zero", zero), ("black", black)):
                yield against("integrated-gradients", f"{captum}, {theirs}, {name}", twin,
                               ours("integrated-gradients", "steps=20", f"rule={rule}", f"baseline={name}"), path(baseline, theirs))
        trapezoid = path(black, "riemann_trapezoid")
        found = ours("integrated-gradients", "steps=20", "rule=trapezoid", "baseline=black")
        yield against("integrated-gradients", f"{captum}, riemann_trapezoid", twin, found, trapezoid,
                       "Captum's weights add up to (n − 1)/n")
        yield against("integrated-gradients", f"{captum}, riemann_trapezoid × n/(n − 1)", twin, found,
                       lambda trapezoid=trapezoid: trapezoid() * 20 / 19)

        yield from noise(check, twin, index, ours, captum)
        yield from expected(check, twin, index, ours)
        yield from full(check, twin, index, ours)


def noise(check: Check, twin: Twin, index: int, ours: Callable, captum: str) -> Iterator[Row]:
    x = check.input
    deviation = float(np.float32(0.15) * (x.max() - x.min()))
    for method, kind, factor in (("smoothgrad", "smoothgrad", 1.0), ("smoothgrad-squared", "smoothgrad_sq", 1.0),
                                 ("vargrad", "vargrad", SAMPLES / (SAMPLES - 1))):
        def attributions(kind: str = kind, factor: float = factor) -> np.ndarray:
            dtype = next(twin.module.parameters()).dtype
            with our_noise(x.shape):
                found = NoiseTunnel(Saliency(twin.module)).attribute(
                    x.detach().to(dtype), nt_type=kind, nt_samples=SAMPLES, nt_samples_batch_size=8, stdevs=deviation, target=index, abs=False)
            return factor * found[0].detach().abs().amax(0).numpy()

        reference = f"{captum}, our noise" + (", × n/(n − 1)" if factor != 1 else "")
        yield against(method, reference, twin, ours(method, f"samples={SAMPLES}"), attributions)


def expected(check: Check, twin: Twin, index: int, ours: Callable) -> Iterator[Row]:
    """With our baselines of one colour, in double precision but for the network."""
    def values() -> np.ndarray:
        dtype = next(twin.module.parameters()).dtype
        x, found = check.input.detach().to(dtype), []
        for sample in range(SAMPLES):
            drawn = words(np.arange(2), sample, DRAW_STREAM)
            share = float(uniform(drawn[0, :1])[0])
            levels = torch.from_numpy(np.float32(255) * uniform(drawn[1, :3]))
            baseline = ((levels / 255 - torch.tensor(check.MEAN)) / torch.tensor(check.STD))[None, :, None, None].to(dtype)
            point = (baseline + share * (x - baseline)).requires_grad_(True)
            (gradient,) = torch.autograd.grad(twin.module(point)[0, index], point)
            found.append(((x - baseline).double() * gradient.double())[0].sum(0).numpy())
        return np.stack(found)

    name = f"formula, PyTorch {torch.__version__.split('+')[0]}"
    setting = f"samples={SAMPLES}"
    yield against("expected-gradients", name, twin, ours("expected-gradients", setting), lambda: values().mean(0))
    yield against("expected-gradients", name + ", its error", twin, ours("expected-gradients", setting, key="sampleError"),
                   lambda: values().std(0, ddof=1) / np.sqrt(SAMPLES))


def full(check: Check, twin: Twin, index: int, ours: Callable) -> Iterator[Row]:
    """FullGrad as its authors' program has it, and as pytorch-grad-cam does."""
    def parts() -> list[torch.Tensor]:
        outputs: list[tuple[torch.Tensor, torch.Tensor]] = []

        def keep(module: nn.Module, _: object, output: torch.Tensor) -> None:
            if isinstance(module, nn.BatchNorm2d):
                bias = module.bias - module.running_mean * module.weight / torch.sqrt(module.running_var + module.eps)
            else:
                bias = module.bias
            if bias is not None:
                outputs.append((bias.detach()[None, :, None, None], output))

        hooks = [m.register_forward_hook(keep) for m in twin.module.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
        x = check.input.detach().to(next(twin.module.parameters()).dtype).requires_grad_(True)
        score = twin.module(x)[0, index]
        for hook in hooks:
            hook.remove()
        gradients = torch.autograd.grad(score, [x] + [output for _, output in outputs])
        return [x.detach() * gradients[0]] + [bias * g for (bias, _), g in zip(outputs, gradients[1:], strict=True)]

    def formula(scale: str, little: float = 0, aligned: bool = False) -> np.ndarray:
        total = 0
        for part in parts():
            size, axes = part.abs(), (2, 3) if scale == "channel" else (1, 2, 3)
            low, high = size.amin(axes, keepdim=True), size.amax(axes, keepdim=True)
            scaled = torch.where(high > low, (size - low) / (high - low + little), torch.zeros_like(size))
            total = total + interpolate(scaled.sum(1, keepdim=True), check.input.shape[2:], mode="bilinear", align_corners=aligned)
        return total[0, 0].numpy()

    found = {scale: ours("fullgrad", f"scale={scale}") for scale in ("layer", "channel")}
    yield against("fullgrad", "the authors' formula, PyTorch", twin, found["layer"], lambda: formula("layer"))
    yield against("fullgrad", "equation 4, PyTorch", twin, found["channel"], lambda: formula("channel"))
    yield row("fullgrad", "the authors' formula, as they compute it", twin.name, found["layer"], formula("layer", 1e-6, aligned=True),
              "they enlarge with aligned corners, and add 1e-6 to divisors")

    cam = pgc.FullGrad(model=twin.module, target_layers=[])
    kept = {}
    cam.aggregate_multi_layers = lambda maps: kept.setdefault("map", np.sum(maps, axis=1))
    cam(input_tensor=check.input.detach().clone().requires_grad_(True), targets=[ClassifierOutputTarget(index)])
    yield row("fullgrad", f"grad-cam {version('grad-cam')}, scale=channel", twin.name, found["channel"], kept["map"][0],
              "it adds 1e-7 to divisors, which is much for channels that hardly matter")
