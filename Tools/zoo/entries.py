"""The zoo: which networks, who exports them and for which operator set, and how they get their weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
import torchvision

# The exporters of PyTorch and the operator sets; each network gets one pair, in turn. "torchscript" is the older one (dynamo=False), whose
# newest set is 20.
EXPORTS = (("torchscript", 13), ("dynamo", 24), ("torchscript", 17), ("dynamo", 18))


@dataclasses.dataclass(frozen=True)
class Entry:
    source: str  # "torchvision" or "timm"
    name: str
    exporter: str
    opset: int

    @property
    def key(self) -> str:
        return f"{self.source}/{self.name}"


def entries() -> list[Entry]:
    listed = [("torchvision", name) for name in torchvision.models.list_models(module=torchvision.models)]
    text = (Path(__file__).parent / "timm.txt").read_text()
    listed += [("timm", line) for line in text.splitlines() if line and not line.startswith("#")]
    return [Entry(source, name, *EXPORTS[i % len(EXPORTS)]) for i, (source, name) in enumerate(listed)]


def build(entry: Entry) -> tuple[torch.nn.Module, int]:
    """The network with random weights, and the side of its pictures."""
    torch.manual_seed(0)
    # Neither exporter knows the fused form of attention that PyTorch takes where no gradient is asked for.
    torch.backends.mha.set_fastpath_enabled(False)
    if entry.source == "torchvision":
        weights = torchvision.models.get_model_weights(entry.name)
        size = min(w.transforms().crop_size[0] for w in weights)
        extra = {"init_weights": True} if entry.name in ("googlenet", "inception_v3") else {}
        module = torchvision.models.get_model(entry.name, weights=None, **extra)
    else:
        import timm
        # scaled_dot_product_attention is exported from operator set 14 on; `exportable` is what timm's own onnx_export.py says.
        timm.layers.set_fused_attn(entry.opset >= 14)
        module = timm.create_model(entry.name, pretrained=False, exportable=True)
        size = module.pretrained_cfg["input_size"][-1]
    module = module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module, size


def fill(module: torch.nn.Module) -> None:
    """Random numbers for the weights that a network starts with as constants: scales of norms and layers, biases, heads of zeros. With them as
    they are, many blocks compute nothing, and logits are all the same."""
    generator = torch.Generator().manual_seed(1)

    def uniform(value: torch.Tensor, low: float, high: float) -> None:
        value.copy_(low + (high - low) * torch.rand(value.shape, generator=generator))

    with torch.no_grad():
        for value in module.parameters():
            if not value.is_floating_point() or (value.numel() > 1 and (value != value.flatten()[0]).any()):
                continue
            first = float(value.flatten()[0])
            if value.ndim >= 2 and first == 0 and value.shape[0] > 1:
                value.copy_(torch.randn(value.shape, generator=generator) / max(value[0].numel(), 1) ** 0.5)
            elif first == 0 and value.numel() > 1:
                uniform(value, -0.1, 0.1)
            elif abs(first) < 0.1:
                # The scale of a block that is to start as the identity.
                uniform(value, 0.2, 0.6)
            else:
                uniform(value, 0.7 * first, 1.3 * first)


def calibrate(module: torch.nn.Module, pictures: torch.Tensor) -> None:
    """Batch norms get the statistics of some pictures, as training would give them."""
    norms = [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        module(pictures)
    for norm in norms:
        norm.eval()


def pictures(size: int, count: int) -> np.ndarray:
    """Noise, [count, size, size, 3] in 0 … 255, that as photographs has structure of all sizes. No two pixels are alike: a surface of one colour
    has all its ReLUs change side at once, and then gradients in float32 say little."""
    random = np.random.default_rng(0)
    result = np.zeros((count, size, size, 3))
    for side in (2, 4, 8, 16, 32, 64, size):
        coarse = random.normal(size=(count, side, side, 3))
        at = np.arange(size) * side // size
        result += coarse[:, at][:, :, at] / np.log2(2 * min(side, 64))
    result -= result.min((1, 2), keepdims=True)
    result /= result.max((1, 2), keepdims=True)
    return (255 * result).astype(np.uint8)


def prepared(images: np.ndarray) -> torch.Tensor:
    """As the program's preset `imagenet` does."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return torch.from_numpy(((images / 255 - mean) / deviation).transpose(0, 3, 1, 2).astype(np.float32))


def make(entry: Entry, picture: int) -> tuple[torch.nn.Module, np.ndarray]:
    """The network, ready, and one of its pictures."""
    module, size = build(entry)
    images = pictures(size, 4)
    fill(module)
    calibrate(module, prepared(images))
    return module, images[picture]


def export(entry: Entry, module: torch.nn.Module, x: torch.Tensor, path: Path) -> None:
    options: dict[str, object] = {"input_names": ["input"], "output_names": ["logits"], "opset_version": entry.opset}
    if entry.exporter == "dynamo":
        options |= {"dynamo": True, "verbose": False, "external_data": sum(p.numel() for p in module.parameters()) > 500e6}
    else:
        options |= {"dynamo": False}
    torch.onnx.export(module, (x,), path, **options)
