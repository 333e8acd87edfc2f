#!/usr/bin/env python3
"""The networks of the comparison, as torchvision defines them, with seeded random weights.

    networks.py FOLDER [NAME …]

writes FOLDER/NAME.onnx (operator set 17, one file, open batch) for each network that is not there yet. As modules they come from `build`.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import torch
import torchvision
from torch import nn

NAMES = ("resnet50", "vgg16", "mobilenet_v2", "densenet121", "resnext50_32x4d", "googlenet")


class Network(nn.Module):
    """A classifier in two parts: `features` gives the target layer's activations, `head` makes logits of them.

    The target layer is the one that the program takes for `auto`: the last activation on a grid, after its activation function.
    """

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def _pooled(classifier: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), classifier)


def _split(name: str) -> Network:
    models = torchvision.models
    if name in ("resnet50", "resnext50_32x4d"):
        whole = getattr(models, name)(weights=None)
        parts = [(n, m) for n, m in whole.named_children() if n not in ("avgpool", "fc")]
        return Network(nn.Sequential(OrderedDict(parts)), _pooled(whole.fc))
    if name == "vgg16":
        whole = models.vgg16(weights=None)
        pool = whole.features[-1]
        return Network(whole.features[:-1], nn.Sequential(pool, nn.Flatten(1), *whole.classifier))
    if name == "mobilenet_v2":
        whole = models.mobilenet_v2(weights=None)
        return Network(whole.features, _pooled(whole.classifier))
    if name == "densenet121":
        whole = models.densenet121(weights=None)
        return Network(nn.Sequential(whole.features, nn.ReLU()), _pooled(whole.classifier))
    if name == "googlenet":
        whole = models.googlenet(weights=None, aux_logits=False, transform_input=False, init_weights=False)
        parts = [(n, m) for n, m in whole.named_children() if n not in ("avgpool", "dropout", "fc", "aux1", "aux2") and m is not None]
        return Network(nn.Sequential(OrderedDict(parts)), _pooled(whole.fc))
    raise ValueError(f"There is no network “{name}”; there are {', '.join(NAMES)}.")


def pictures(batch: int, seed: int, size: int = 224) -> torch.Tensor:
    """Noise with coarse and fine structure, about as normalised photographs are spread."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, 3, 7, 7, generator=generator)
    fine = torch.randn(batch, 3, size, size, generator=generator)
    return nn.functional.interpolate(coarse, size=(size, size), mode="bilinear") + 0.5 * fine


def build(name: str) -> Network:
    """The network in inference mode. Weights depend on the name and the versions of torch and torchvision alone."""
    torch.manual_seed(0)
    network = _split(name)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in network.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(m.weight, mode="fan_in", nonlinearity="relu")
            if m.bias is not None:
                nn.init.normal_(m.bias, std=0.05)
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
        norm.momentum = None
    # Statistics of real activations, so that these neither vanish nor explode.
    if norms:
        network.train()
        with torch.no_grad():
            network.features(pictures(8, seed=1))
    return network.eval().requires_grad_(True)


def export(name: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    axes = {"input": {0: "n"}, "logits": {0: "n"}}
    torch.onnx.export(build(name), (pictures(1, seed=2),), str(part), dynamo=False, opset_version=17, input_names=["input"],
                      output_names=["logits"], dynamic_axes=axes)
    part.rename(path)


def main() -> None:
    folder = Path(sys.argv[1])
    for name in sys.argv[2:] or NAMES:
        path = folder / f"{name}.onnx"
        if not path.exists():
            print(f"Writing {path}", flush=True)
            export(name, path)


if __name__ == "__main__":
    main()
