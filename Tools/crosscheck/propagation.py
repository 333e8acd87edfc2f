"""Rules of the way back beside Captum, pytorch-grad-cam and Zennit."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from unittest import mock

import numpy as np
import torch
from captum.attr import LRP, Deconvolution, DeepLift, GuidedBackprop, GuidedGradCam
from captum.attr._utils.lrp_rules import EpsilonRule
from common import Check, Twin, colours
from decisions import against
from pytorch_grad_cam import GuidedBackpropReLUModel
from rows import Row, package, row
from torch import nn
from torchvision.models.resnet import BasicBlock
from zennit import composites
from zennit.attribution import Gradient
from zennit.core import Composite
from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare
from zennit.torchvision import ResNetCanonizer
from zennit.types import Linear

CAPTUM, ZENNIT = package("captum"), package("zennit")


def one_relu_each(module: nn.Module) -> nn.Module:
    """A copy in which no module runs twice, as Captum asks for: torchvision's residual blocks have one ReLU for two places."""
    def forward(self: BasicBlock, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.last(out + (x if self.downsample is None else self.downsample(x)))

    whole = copy.deepcopy(module)
    for block in whole.modules():
        if isinstance(block, BasicBlock):
            block.last = nn.ReLU()
            block.forward = types.MethodType(forward, block)
    return whole


class Copy(nn.Module):
    """The same numbers in another tensor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()


def apart(module: nn.Module) -> nn.Module:
    """A copy whose max pools read no tensor that a ReLU wrote. Captum hangs its rules on tensors: of a tensor that is a ReLU's output and a pool's
    input, the ReLU's gets what arrives before the pool's has changed it.
    """
    whole = one_relu_each(module)
    for parent in list(whole.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, name, nn.Sequential(Copy(), child))
    return whole


def unpool(values: torch.Tensor, places: torch.Tensor, kernel: object, stride: object, padding: object, size: list[int]) -> torch.Tensor:
    """What max_unpool2d does, but for places that several windows share: those get all of it, not what one of them sends."""
    return torch.zeros(size, dtype=values.dtype).flatten(2).scatter_add(2, places.flatten(2), values.flatten(2)).view(size)


def uniform(rule: Callable[[], object], canonizers: list) -> Composite:
    """One rule for all layers with weights."""
    return composites.LayerMapComposite([*composites.layer_map_base(), (Linear, rule())], canonizers=canonizers)


def rows(check: Check, twin: Twin) -> Iterator[Row]:
    index = check.best(twin)

    def ours(method: str, *settings: str) -> np.ndarray:
        options = [part for setting in settings for part in ("--set", f"{method}.{setting}")]
        return check.explain(twin, method, "--class", str(index), *options)["map"]

    def now() -> torch.Tensor:
        return twin.typed(check.input).requires_grad_(True)

    yield from relus(check, twin, index, ours, now)
    yield from relevance(check, twin, index, ours, now)
    yield from differences(check, twin, index, ours, now)


def relus(check: Check, twin: Twin, index: int, ours: Callable, now: Callable[[], torch.Tensor]) -> Iterator[Row]:
    for method, theirs in (("guided-backprop", GuidedBackprop), ("deconvnet", Deconvolution)):
        yield against(check, method, CAPTUM, twin, ours(method),
                      lambda theirs=theirs: colours(theirs(one_relu_each(twin.module)).attribute(now(), index)))

    def guided() -> np.ndarray:
        return GuidedBackpropReLUModel(copy.deepcopy(twin.module), device=torch.device("cpu"))(now().detach(), index).sum(-1)

    yield against(check, "guided-backprop", package("grad-cam"), twin, ours("guided-backprop"), guided)

    def product() -> np.ndarray:
        whole = one_relu_each(twin.module)
        return colours(GuidedGradCam(whole, whole[0]).attribute(now(), index))

    yield against(check, "guided-gradcam", f"{CAPTUM}, enlargement=nearest", twin, ours("guided-gradcam", "enlargement=nearest"), product)


def relevance(check: Check, twin: Twin, index: int, ours: Callable, now: Callable[[], torch.Tensor]) -> Iterator[Row]:
    """LRP. Zennit merges normalisations of residual networks, as our file has them."""
    canonizers = [ResNetCanonizer()] if twin.name.startswith("resnet") else []

    def box() -> Composite:
        low, high = (twin.typed(bound.expand_as(check.input)) for bound in (check.black, check.white))
        return composites.EpsilonGammaBox(low, high, canonizers=canonizers)

    theirs: dict[str, Callable[[], Composite]] = {
        "epsilon-plus": lambda: composites.EpsilonPlus(canonizers=canonizers),
        "epsilon-plus-flat": lambda: composites.EpsilonPlusFlat(canonizers=canonizers),
        "epsilon-gamma-box": box,
        "epsilon-alpha2-beta1": lambda: composites.EpsilonAlpha2Beta1(canonizers=canonizers),
        "epsilon-alpha2-beta1-flat": lambda: composites.EpsilonAlpha2Beta1Flat(canonizers=canonizers),
        "excitation-backprop": lambda: composites.ExcitationBackprop(canonizers=canonizers),
        "epsilon": lambda: uniform(Epsilon, canonizers),
        "gamma": lambda: uniform(Gamma, canonizers),
        "alpha2-beta1": lambda: uniform(AlphaBeta, canonizers),
        "w-square": lambda: uniform(lambda: WSquare(zero_params="bias"), canonizers),
        "flat": lambda: uniform(Flat, canonizers),
    }
    for name, composite in theirs.items():
        def attributions(composite: Callable[[], Composite] = composite) -> np.ndarray:
            with Gradient(model=copy.deepcopy(twin.module), composite=composite()) as attributor:
                _, found = attributor(now(), lambda out: out * torch.eye(out.shape[1], dtype=out.dtype)[[index]])
            return colours(found)

        yield against(check, "lrp", f"{ZENNIT}, {name}", twin, ours("lrp", f"composite={name}"), attributions)

    # Captum has no rule for sums and normalisations.
    if not canonizers:
        def epsilon() -> np.ndarray:
            whole = copy.deepcopy(twin.module)
            for module in whole.modules():
                if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AdaptiveAvgPool2d | nn.Flatten):
                    module.rule = EpsilonRule(epsilon=1e-6)
            return colours(LRP(whole).attribute(now(), index))

        yield against(check, "lrp", f"{CAPTUM}, epsilon", twin, ours("lrp", "composite=epsilon"), epsilon)


def differences(check: Check, twin: Twin, index: int, ours: Callable, now: Callable[[], torch.Tensor]) -> Iterator[Row]:
    """DeepLIFT, with Captum as it is, and with its rule for max pools mended."""
    for name, baseline in (("zero", torch.zeros_like(check.input)), ("black", check.black)):
        def theirs(change: Callable[[nn.Module], nn.Module], summed: bool, baseline: torch.Tensor = baseline) -> np.ndarray:
            with mock.patch("torch.nn.functional.max_unpool2d", unpool) if summed else nullcontext():
                return colours(DeepLift(change(twin.module)).attribute(now(), twin.typed(baseline), index))

        found = ours("deeplift", f"baseline={name}")
        plain = row("deeplift", f"{CAPTUM}, {name}", twin.name, found, theirs(one_relu_each, summed=False))
        mended = against(check, "deeplift", f"{CAPTUM}, {name}, its rule for max pools mended", twin, found,
                         lambda theirs=theirs: theirs(apart, summed=True))
        yield plain.because("of a max pool after a ReLU its rule is lost, and of windows that overlap one counts alone", mended)
        yield mended
