"""Gradients with respect to pixels beside Captum, pytorch-grad-cam, and formulas in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytorch_grad_cam as pgc
import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from common import Check, Twin, colours, uniform, words
from decisions import against
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from rows import Row, package, row
from torch import nn
from torch.nn.functional import interpolate

# Few: both programs have the same.
STEPS, SAMPLES = 6, 4
CAPTUM, FORMULA = package("captum"), f"formula, {package('torch')}"
NOISE_STREAM, DRAW_STREAM = 0x534D4F4F, 0x45585045


@contextmanager
def our_noise(check: Check, shape: torch.Size) -> Iterator[None]:
    """Has Captum draw our noise, one sample after the other."""
    drawn = 0

    def normal(mean: float, deviation: torch.Tensor) -> torch.Tensor:
        nonlocal drawn
        several = len(deviation)
        numbers = [check.normals(shape[1:].numel(), drawn + i, NOISE_STREAM).reshape(shape[1:]) for i in range(several)]
        drawn += several
        return mean + deviation * torch.from_numpy(np.stack(numbers)).to(deviation.dtype)

    with mock.patch("torch.normal", normal):
        yield


def rows(check: Check, twin: Twin) -> Iterator[Row]:
    x, index = check.input, check.best(twin)

    def ours(method: str, *settings: str, key: str = "map") -> np.ndarray:
        options = [part for setting in settings for part in ("--set", f"{method}.{setting}")]
        return check.explain(twin, method, "--class", str(index), *options)[key]

    yield against(check, "saliency", CAPTUM, twin, ours("saliency"),
                  lambda: Saliency(twin.module).attribute(twin.typed(x), index)[0].amax(0).numpy())
    yield against(check, "input-x-gradient", CAPTUM, twin, ours("input-x-gradient"),
                  lambda: colours(InputXGradient(twin.module).attribute(twin.typed(x), index)))

    def path(baseline: torch.Tensor, rule: str) -> np.ndarray:
        return colours(IntegratedGradients(twin.module).attribute(
            twin.typed(x), twin.typed(baseline), index, n_steps=STEPS, method=rule, internal_batch_size=STEPS))

    for rule, theirs in (("gauss-legendre", "gausslegendre"), ("riemann-middle", "riemann_middle")):
        for name, baseline in (("zero", torch.zeros_like(x)), ("black", check.black)):
            found = ours("integrated-gradients", f"steps={STEPS}", f"rule={rule}", f"baseline={name}")
            def points(fed: torch.Tensor, rule: str = rule, baseline: torch.Tensor = baseline) -> torch.Tensor:
                # Captum's middles are other ones by a last bit.
                middles = (np.arange(STEPS, dtype=np.float32) + np.float32(0.5)) / np.float32(STEPS)
                return fed if rule == "gauss-legendre" else torch.cat([(x - baseline) * float(share) + baseline for share in middles])

            yield against(check, "integrated-gradients", f"{CAPTUM}, {rule}, {name}", twin, found,
                          lambda theirs=theirs, baseline=baseline: path(baseline, theirs), points)
    found = ours("integrated-gradients", f"steps={STEPS}", "rule=trapezoid", "baseline=black")
    name = f"{CAPTUM}, trapezoid, black"
    plain = row("integrated-gradients", name, twin.name, found, path(check.black, "riemann_trapezoid"))
    mended = against(check, "integrated-gradients", f"{name}, × n/(n − 1)", twin, found,
                     lambda: path(check.black, "riemann_trapezoid") * STEPS / (STEPS - 1))
    yield plain.because("its weights add up to (n − 1)/n", mended)
    yield mended

    yield from noise(check, twin, index, ours)
    yield from expected(check, twin, index, ours)
    yield from full(check, twin, index, ours)


def noise(check: Check, twin: Twin, index: int, ours: Callable) -> Iterator[Row]:
    x = check.input
    deviation = float(np.float32(0.15) * (x.max() - x.min()))
    for method, kind, factor in (("smoothgrad", "smoothgrad", 1.0), ("smoothgrad-squared", "smoothgrad_sq", 1.0),
                                 ("vargrad", "vargrad", SAMPLES / (SAMPLES - 1))):
        def attributions(kind: str = kind, factor: float = factor) -> np.ndarray:
            with our_noise(check, x.shape):
                found = NoiseTunnel(Saliency(twin.module)).attribute(
                    twin.typed(x), nt_type=kind, nt_samples=SAMPLES, nt_samples_batch_size=4, stdevs=deviation, target=index, abs=False)
            return factor * found[0].detach().abs().amax(0).numpy()

        reference = f"{CAPTUM}, our noise" + (", × n/(n − 1)" if factor != 1 else "")
        yield against(check, method, reference, twin, ours(method, f"samples={SAMPLES}"), attributions)


def expected(check: Check, twin: Twin, index: int, ours: Callable) -> Iterator[Row]:
    """With our baselines of one colour, in double precision but for the network."""
    def values() -> np.ndarray:
        x, found = twin.typed(check.input), []
        for sample in range(SAMPLES):
            drawn = words(np.arange(2), sample, DRAW_STREAM)
            share = float(uniform(drawn[0, :1])[0])
            levels = torch.from_numpy(np.float32(255) * uniform(drawn[1, :3]))
            baseline = twin.typed(((levels / 255 - torch.tensor(check.MEAN)) / torch.tensor(check.STD))[None, :, None, None])
            point = (baseline + share * (x - baseline)).requires_grad_(True)
            (gradient,) = torch.autograd.grad(twin.module(point)[0, index], point)
            found.append(((x - baseline).double() * gradient.double())[0].sum(0).numpy())
        return np.stack(found)

    setting = f"samples={SAMPLES}"
    yield against(check, "expected-gradients", FORMULA, twin, ours("expected-gradients", setting), lambda: values().mean(0))
    yield against(check, "expected-gradients", f"{FORMULA}, its error", twin, ours("expected-gradients", setting, key="sampleError"),
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
        x = twin.typed(check.input).requires_grad_(True)
        score = twin.module(x)[0, index]
        for hook in hooks:
            hook.remove()
        gradients = torch.autograd.grad(score, [x] + [output for _, output in outputs])
        return [x.detach() * gradients[0]] + [bias * g for (bias, _), g in zip(outputs, gradients[1:], strict=True)]

    def formula(scale: str, little: float = 0) -> np.ndarray:
        total = 0
        for part in parts():
            size, axes = part.abs(), (2, 3) if scale == "channel" else (1, 2, 3)
            low, high = size.amin(axes, keepdim=True), size.amax(axes, keepdim=True)
            scaled = torch.where(high > low, (size - low) / (high - low + little), torch.zeros_like(size))
            total = total + interpolate(scaled.sum(1, keepdim=True), check.input.shape[2:], mode="bilinear", align_corners=False)
        return total[0, 0].numpy()

    found = {scale: ours("fullgrad", f"scale={scale}") for scale in ("layer", "channel")}
    by_layer = against(check, "fullgrad", f"{FORMULA}, as the authors' program", twin, found["layer"], lambda: formula("layer"))
    by_channel = against(check, "fullgrad", f"{FORMULA}, equation 4, scale=channel", twin, found["channel"], lambda: formula("channel"))
    yield by_layer
    yield by_channel

    cam = pgc.FullGrad(model=twin.module, target_layers=[])
    kept = {}
    cam.aggregate_multi_layers = lambda maps: kept.setdefault("map", np.sum(maps, axis=1))
    cam(input_tensor=check.input.detach().clone().requires_grad_(True), targets=[ClassifierOutputTarget(index)])
    cam.activations_and_grads.release()
    theirs = kept["map"][0]
    yield row("fullgrad", f"{package('grad-cam')}, scale=channel", twin.name, found["channel"], theirs).because(
        "it adds 1e-7 to divisors, which is much for channels that hardly matter",
        by_channel, row("", "", "", formula("channel", 1e-7), theirs))
