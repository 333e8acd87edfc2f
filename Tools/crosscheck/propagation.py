"""Rules of the way back beside Captum, pytorch-grad-cam and Zennit."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Iterator
from importlib.metadata import version

import numpy as np
import torch
from captum.attr import LRP, Deconvolution, DeepLift, GuidedBackprop, GuidedGradCam
from captum.attr._utils.lrp_rules import EpsilonRule
from common import Check, Row, Twin, row
from gradients import against
from pytorch_grad_cam import GuidedBackpropReLUModel
from torch import nn
from torchvision.models.resnet import BasicBlock
from zennit import composites
from zennit.attribution import Gradient
from zennit.core import Composite
from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare
from zennit.torchvision import ResNetCanonizer
from zennit.types import Linear


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


def uniform(rule: Callable[[], object], canonizers: list) -> Composite:
    """One rule for all layers with weights."""
    return composites.LayerMapComposite([*composites.layer_map_base(), (Linear, rule())], canonizers=canonizers)


def rows(check: Check, twins: list[Twin]) -> Iterator[Row]:
    captum, zennit = f"captum {version('captum')}", f"zennit {version('zennit')}"
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (check.MEAN, check.STD))
    low, high = -mean / std, (1 - mean) / std
    for twin in twins:
        index, x = check.best(twin), check.input

        def ours(method: str, *settings: str, twin: Twin = twin, index: int = index) -> np.ndarray:
            options = [part for setting in settings for part in ("--set", f"{method}.{setting}")]
            return check.explain(twin, method, "--class", str(index), *options)["map"]

        def now(twin: Twin = twin) -> torch.Tensor:
            return x.detach().to(next(twin.module.parameters()).dtype).requires_grad_(True)

        def colours(found: torch.Tensor) -> np.ndarray:
            return found[0].detach().sum(0).numpy()

        # Rules of the ReLU.
        for method, theirs in (("guided-backprop", GuidedBackprop), ("deconvnet", Deconvolution)):
            yield against(method, captum, twin, ours(method),
                          lambda theirs=theirs, twin=twin, index=index, now=now: colours(theirs(one_relu_each(twin.module)).attribute(now(), index)))
        guided = GuidedBackpropReLUModel(copy.deepcopy(twin.module), device=torch.device("cpu"))
        yield row("guided-backprop", f"grad-cam {version('grad-cam')}", twin.name, ours("guided-backprop"), guided(x, index).sum(-1))

        def product(twin: Twin = twin, index: int = index, now: Callable = now) -> np.ndarray:
            whole = one_relu_each(twin.module)
            return colours(GuidedGradCam(whole, whole[0]).attribute(now(), index))

        found = check.explain(twin, "guided-gradcam", "--class", str(index), "--set", "guided-gradcam.enlargement=nearest")["map"]
        yield against("guided-gradcam", captum, twin, found, product)

        # Relevance.
        def relevance(composite: Callable[[list], Composite], twin: Twin = twin, index: int = index, now: Callable = now) -> Callable[[], np.ndarray]:
            def attributions() -> np.ndarray:
                whole = copy.deepcopy(twin.module)
                canonizers = [ResNetCanonizer()] if twin.name.startswith("resnet") else []
                with Gradient(model=whole, composite=composite(canonizers)) as attributor:
                    _, found = attributor(now(), lambda out: out * torch.eye(out.shape[1], dtype=out.dtype)[[index]])
                return colours(found)
            return attributions

        def box(c: list) -> Composite:
            kind = next(twin.module.parameters()).dtype  # noqa: B023 - called at once
            return composites.EpsilonGammaBox(low.expand_as(x).to(kind), high.expand_as(x).to(kind), canonizers=c)

        theirs: dict[str, Callable[[list], Composite]] = {
            "epsilon-plus": lambda c: composites.EpsilonPlus(canonizers=c),
            "epsilon-plus-flat": lambda c: composites.EpsilonPlusFlat(canonizers=c),
            "epsilon-gamma-box": box,
            "epsilon-alpha2-beta1": lambda c: composites.EpsilonAlpha2Beta1(canonizers=c),
            "epsilon-alpha2-beta1-flat": lambda c: composites.EpsilonAlpha2Beta1Flat(canonizers=c),
            "epsilon": lambda c: uniform(Epsilon, c),
            "gamma": lambda c: uniform(Gamma, c),
            "alpha2-beta1": lambda c: uniform(AlphaBeta, c),
            "w-square": lambda c: uniform(lambda: WSquare(zero_params="bias"), c),
            "flat": lambda c: uniform(Flat, c),
        }
        for name, composite in theirs.items():
            yield against("lrp", f"{zennit}, {name}", twin, ours("lrp", f"composite={name}"), relevance(composite))

        def excitation(c: list) -> Composite:
            return composites.ExcitationBackprop(canonizers=c)

        yield against("lrp", f"{zennit}, excitation-backprop", twin, ours("lrp", "composite=excitation-backprop"), relevance(excitation))

        if not twin.name.startswith("resnet"):
            def epsilon(twin: Twin = twin, index: int = index, now: Callable = now) -> np.ndarray:
                whole = copy.deepcopy(twin.module)
                for module in whole.modules():
                    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AdaptiveAvgPool2d | nn.Flatten):
                        module.rule = EpsilonRule(epsilon=1e-6)
                return colours(LRP(whole).attribute(now(), index))

            yield against("lrp", f"{captum}, epsilon", twin, ours("lrp", "composite=epsilon"), epsilon)

        # Differences.
        for name, baseline in (("zero", torch.zeros_like(x)), ("black", low.expand_as(x))):
            def differences(baseline: torch.Tensor = baseline, twin: Twin = twin, index: int = index, now: Callable = now) -> np.ndarray:
                return colours(DeepLift(one_relu_each(twin.module)).attribute(now(), baseline.to(now().dtype), index))

            yield against("deeplift", f"{captum}, {name}", twin, ours("deeplift", f"baseline={name}"), differences)
