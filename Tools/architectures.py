"""The architectures that we write, and random weights for them.

Each function adds one published network to a graph, from `x` to the logits. Node names are those of the network's
usual PyTorch implementation (torchvision), so that a table of layers looks familiar; EfficientNet-Lite0 and
SqueezeNet have names of their own, because their checkpoints' names are mapped to them (see `networks.py`).
"""

from __future__ import annotations

import zlib
from typing import Callable

import numpy as np

from graph import GraphBuilder, Tensor

Architecture = Callable[[GraphBuilder, Tensor], Tensor]

# Filters without a mean pass on a signal's variance, and a ReLU leaves (1 - 1/pi)/2 of a normal signal's variance: the
# layer before it makes up for that (Brock et al. 2021). A residual branch is scaled down, so that a deep stack keeps
# its scale.
_BEFORE_RELU = (2 / (1 - 1 / np.pi)) ** 0.5
_RESIDUAL = 0.3


class RandomWeights:
    """Seeded weights that keep activations finite, alive and near unit scale.

    Each tensor has its own stream, drawn from the seed and its name: adding a layer leaves the others as they are.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def get(self, name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
        random = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        match name.rpartition(".")[2]:
            case "running_var":
                return random.uniform(0.7, 1.4, shape).astype(np.float32)
            case "weight" if len(shape) == 1:
                return np.float32(gain) * random.uniform(0.7, 1.3, shape).astype(np.float32)
            case "weight":
                fan_in = int(np.prod(shape[1:]))
                weight = random.standard_normal(shape, np.float32)
                if shape[1] > 4:
                    # Without the mean that all inputs share, else every image looks the same to a deep network.
                    weight -= weight.mean(axis=tuple(range(1, len(shape))), keepdims=True)
                return weight * np.float32(gain / fan_in**0.5)
        return 0.1 * random.standard_normal(shape, np.float32)  # biases and means


def _conv_bn(g: GraphBuilder, x: Tensor, conv: str, bn: str, channels: int, *, act: str | None = None, six: bool = False,
             eps: float = 1e-5, residual: bool = False, **options: object) -> Tensor:
    """Convolution, batch norm and, if `act` names it, the activation (ReLU, or ReLU6)."""
    x = g.conv(x, conv, channels, gain=_BEFORE_RELU if act else 1, **options)
    x = g.batch_norm(x, bn, eps, gain=_RESIDUAL if residual else 1)
    return x if act is None else (g.relu6 if six else g.relu)(x, act)


def _resnet(blocks: list[int], bottleneck: bool, groups: int = 1, group_width: int = 64) -> Architecture:
    """He et al. 2016, stride in the 3×3 convolution; with groups Xie et al. 2017 (ResNeXt)."""

    def build(g: GraphBuilder, x: Tensor) -> Tensor:
        x = _conv_bn(g, x, "conv1", "bn1", 64, act="relu", kernel=7, stride=2, pad=3)
        x = g.max_pool(x, "maxpool", pad=1)
        for stage, count in enumerate(blocks):
            width = 64 << stage
            for block in range(count):
                n = f"layer{stage + 1}.{block}"
                stride = 2 if stage > 0 and block == 0 else 1
                if bottleneck:
                    inner = width * group_width // 64 * groups
                    steps = [(inner, 1, 1, 1), (inner, 3, stride, groups), (4 * width, 1, 1, 1)]
                else:
                    steps = [(width, 3, stride, 1), (width, 3, 1, 1)]
                y = x
                for i, (channels, kernel, s, parts) in enumerate(steps, 1):
                    last = i == len(steps)
                    y = _conv_bn(g, y, f"{n}.conv{i}", f"{n}.bn{i}", channels, act=None if last else f"{n}.relu{i}",
                                 residual=last, kernel=kernel, stride=s, pad=kernel // 2, groups=parts)
                if y.shape != x.shape:
                    x = _conv_bn(g, x, f"{n}.downsample.0", f"{n}.downsample.1", y.shape[0], stride=stride)
                x = g.relu(g.add(y, x, f"{n}.add"), f"{n}.relu")
        x = g.flatten(g.global_average_pool(x, "avgpool"), "flatten")
        return g.linear(x, "fc", 1000, "logits")

    return build


def _vgg16(g: GraphBuilder, x: Tensor) -> Tensor:
    """Simonyan and Zisserman 2015, configuration D."""
    index = 0
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = g.conv(x, f"features.{index}", width, 3, pad=1, bias=True, gain=_BEFORE_RELU)
            x = g.relu(x, f"features.{index + 1}")
            index += 2
        x = g.max_pool(x, f"features.{index}", 2)
        index += 1
    x = g.flatten(x, "flatten")
    for index in (0, 3):
        x = g.relu(g.linear(x, f"classifier.{index}", 4096, gain=_BEFORE_RELU), f"classifier.{index + 1}")
    return g.linear(x, "classifier.6", 1000, "logits")


def _mobilenet_v2(g: GraphBuilder, x: Tensor) -> Tensor:
    """Sandler et al. 2018, width 1."""

    def step(x: Tensor, n: str, channels: int, **options: object) -> Tensor:
        return _conv_bn(g, x, f"{n}.0", f"{n}.1", channels, act=f"{n}.2", six=True, **options)

    x = step(x, "features.0", 32, kernel=3, stride=2, pad=1)
    index = 1
    for expand, channels, count, first in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                           (6, 160, 3, 2), (6, 320, 1, 1)):
        for block in range(count):
            n, y, part = f"features.{index}.conv", x, 0
            hidden = expand * x.shape[0]
            if expand > 1:
                y, part = step(y, f"{n}.0", hidden), 1
            y = step(y, f"{n}.{part}", hidden, kernel=3, stride=first if block == 0 else 1, pad=1, groups=hidden)
            y = _conv_bn(g, y, f"{n}.{part + 1}", f"{n}.{part + 2}", channels, residual=y.shape == x.shape)
            x = g.add(x, y, f"features.{index}.add") if y.shape == x.shape else y
            index += 1
    x = step(x, "features.18", 1280)
    return g.linear(g.flatten(g.global_average_pool(x, "avgpool"), "flatten"), "classifier.1", 1000, "logits")


def _densenet121(g: GraphBuilder, x: Tensor) -> Tensor:
    """Huang et al. 2017: each layer reads all before it in its block."""
    x = _conv_bn(g, x, "features.conv0", "features.norm0", 64, act="features.relu0", kernel=7, stride=2, pad=3)
    x = g.max_pool(x, "features.pool0", pad=1)
    norm_relu = lambda x, n, i: g.relu(g.batch_norm(x, f"{n}.norm{i}"), f"{n}.relu{i}")
    for block, count in enumerate((6, 12, 24, 16), 1):
        for layer in range(1, count + 1):
            n = f"features.denseblock{block}.denselayer{layer}"
            y = g.conv(norm_relu(x, n, 1), f"{n}.conv1", 128, gain=_BEFORE_RELU)
            y = g.conv(norm_relu(y, n, 2), f"{n}.conv2", 32, 3, pad=1, gain=_BEFORE_RELU)
            x = g.concat([x, y], f"{n}.concat")
        if block < 4:
            n = f"features.transition{block}"
            y = g.conv(norm_relu(x, n, ""), f"{n}.conv", x.shape[0] // 2, gain=_BEFORE_RELU)
            x = g.average_pool(y, f"{n}.pool")
    x = g.relu(g.batch_norm(x, "features.norm5"), "features.relu5")
    return g.linear(g.flatten(g.global_average_pool(x, "avgpool"), "flatten"), "classifier", 1000, "logits")


def _shufflenet_v2(g: GraphBuilder, x: Tensor) -> Tensor:
    """Ma et al. 2018, width 1."""

    def depthwise(x: Tensor, n: str, i: int, stride: int) -> Tensor:
        return _conv_bn(g, x, f"{n}.{i}", f"{n}.{i + 1}", x.shape[0], kernel=3, stride=stride, pad=1, groups=x.shape[0])

    def pointwise(x: Tensor, n: str, i: int, channels: int) -> Tensor:
        return _conv_bn(g, x, f"{n}.{i}", f"{n}.{i + 1}", channels, act=f"{n}.{i + 2}")

    x = _conv_bn(g, x, "conv1.0", "conv1.1", 24, act="conv1.2", kernel=3, stride=2, pad=1)
    x = g.max_pool(x, "maxpool", pad=1)
    for stage, channels, count in ((2, 116, 4), (3, 232, 8), (4, 464, 4)):
        for block in range(count):
            n, half = f"stage{stage}.{block}", channels // 2
            if block == 0:
                stride, right = 2, x
                left = pointwise(depthwise(x, f"{n}.branch1", 0, stride), f"{n}.branch1", 2, half)
            else:
                stride, (left, right) = 1, g.split(x, f"{n}.split")
            right = depthwise(pointwise(right, f"{n}.branch2", 0, half), f"{n}.branch2", 3, stride)
            right = pointwise(right, f"{n}.branch2", 5, half)
            x = g.shuffle(g.concat([left, right], f"{n}.concat"), f"{n}.shuffle")
    x = _conv_bn(g, x, "conv5.0", "conv5.1", 1024, act="conv5.2")
    return g.linear(g.flatten(g.global_average_pool(x, "avgpool"), "flatten"), "fc", 1000, "logits")


def _googlenet(g: GraphBuilder, x: Tensor) -> Tensor:
    """Szegedy et al. 2015 with batch norms, without the auxiliary classifiers; the branch "5×5" has a 3×3 filter there."""

    def step(x: Tensor, n: str, channels: int, kernel: int = 1, stride: int = 1) -> Tensor:
        return _conv_bn(g, x, f"{n}.conv", f"{n}.bn", channels, act=f"{n}.relu", eps=1e-3, kernel=kernel, stride=stride,
                        pad=kernel // 2)

    x = step(x, "conv1", 64, 7, 2)
    x = g.max_pool(x, "maxpool1", ceil=True)
    x = step(step(x, "conv2", 64), "conv3", 192, 3)
    x = g.max_pool(x, "maxpool2", ceil=True)
    for n, first, before3, three, before5, five, pool in (
            ("3a", 64, 96, 128, 16, 32, 32), ("3b", 128, 128, 192, 32, 96, 64), ("4a", 192, 96, 208, 16, 48, 64),
            ("4b", 160, 112, 224, 24, 64, 64), ("4c", 128, 128, 256, 24, 64, 64), ("4d", 112, 144, 288, 32, 64, 64),
            ("4e", 256, 160, 320, 32, 128, 128), ("5a", 256, 160, 320, 32, 128, 128), ("5b", 384, 192, 384, 48, 128, 128)):
        if n in ("4a", "5a"):
            x = g.max_pool(x, f"maxpool{int(n[0]) - 1}", kernel=3 if n == "4a" else 2, ceil=True)
        n = f"inception{n}"
        x = g.concat([
            step(x, f"{n}.branch1", first),
            step(step(x, f"{n}.branch2.0", before3), f"{n}.branch2.1", three, 3),
            step(step(x, f"{n}.branch3.0", before5), f"{n}.branch3.1", five, 3),
            step(g.max_pool(x, f"{n}.branch4.0", stride=1, pad=1, ceil=True), f"{n}.branch4.1", pool),
        ], f"{n}.concat")
    return g.linear(g.flatten(g.global_average_pool(x, "avgpool"), "flatten"), "fc", 1000, "logits")


def efficientnet_lite0(g: GraphBuilder, x: Tensor) -> Tensor:
    """Tan and Le 2019 without squeeze-and-excitation and with ReLU6, padded as TensorFlow does."""

    def step(x: Tensor, n: str, channels: int, clip: bool = True, **options: object) -> Tensor:
        return _conv_bn(g, x, f"{n}.conv", f"{n}.bn", channels, act=f"{n}.clip" if clip else None, six=True, eps=1e-3,
                        pad="same", **options)

    x = step(x, "stem", 32, kernel=3, stride=2)
    index = 0
    for expand, channels, count, first, kernel in ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
                                                   (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)):
        for block in range(count):
            n, y = f"blocks.{index}", x
            hidden, stride = expand * x.shape[0], first if block == 0 else 1
            if expand > 1:
                y = step(y, f"{n}.expand", hidden)
            y = step(y, f"{n}.depthwise", hidden, kernel=kernel, stride=stride, groups=hidden)
            same = stride == 1 and channels == x.shape[0]
            y = step(y, f"{n}.project", channels, clip=False, residual=same)
            x = g.add(y, x, f"{n}.add") if same else y
            index += 1
    x = step(x, "head", 1280)
    return g.linear(g.flatten(g.global_average_pool(x, "pool"), "flatten"), "classifier", 1000, "logits")


def squeezenet1_1(g: GraphBuilder, x: Tensor) -> Tensor:
    """Iandola et al. 2016, version 1.1; the logits are spatial means of conv10 after its ReLU."""

    def step(x: Tensor, n: str, channels: int, **options: object) -> Tensor:
        return g.relu(g.conv(x, n, channels, bias=True, gain=_BEFORE_RELU, **options), f"{n}.relu")

    x = step(x, "conv1", 64, kernel=3, stride=2)
    x = g.max_pool(x, "pool1")
    for index, (squeeze, expand) in enumerate(((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256),
                                               (64, 256)), 2):
        n = f"fire{index}"
        x = step(x, f"{n}.squeeze1x1", squeeze)
        parts = [step(x, f"{n}.expand1x1", expand), step(x, f"{n}.expand3x3", expand, kernel=3, pad=1)]
        x = g.concat(parts, f"{n}.concat")
        if index in (3, 5):
            x = g.max_pool(x, f"pool{index}")
    x = step(x, "conv10", 1000)
    return g.flatten(g.global_average_pool(x, "pool10"), "flatten", "logits")


ARCHITECTURES: dict[str, Architecture] = {
    "densenet121": _densenet121,
    "efficientnet_lite0": efficientnet_lite0,
    "googlenet": _googlenet,
    "mobilenet_v2": _mobilenet_v2,
    "resnet18": _resnet([2, 2, 2, 2], bottleneck=False),
    "resnet50": _resnet([3, 4, 6, 3], bottleneck=True),
    "resnext50_32x4d": _resnet([3, 4, 6, 3], bottleneck=True, groups=32, group_width=4),
    "shufflenet_v2": _shufflenet_v2,
    "squeezenet1_1": squeezenet1_1,
    "vgg16": _vgg16,
}
