"""What the cross-checks of all families share: networks that exist both as ONNX files and as PyTorch modules, pictures, runs of the
program, and its random numbers.

Each family is a script beside this one with a function `rows(check, twin)` that yields `Row`s, or `rows(check)` if it has a network of its own;
`crosscheck.py` runs them all.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
import torchvision
from onnx import numpy_helper
from PIL import Image
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
# What an evaluation says of two maps, and of maps of networks with random weights, beside its metrics.
COMPARED = ("pcc", "sim", "ssim", "top10", "sanity-spearman", "sanity-ssim", "sanity-smooth", "sanity-entropy", "sanity-other-class")


def colours(attributions: torch.Tensor) -> np.ndarray:
    """A map of a picture's: the sum over its channels."""
    return attributions[0].detach().sum(0).numpy()


class Twin:
    """A network as an ONNX file and as a module in two parts: `features` makes the activations of the layer that is explained. A module of it
    has few channels, none of which is the same everywhere, and makes the file's value `narrow_value`.
    """

    def __init__(self, name: str, features: nn.Module, head: nn.Module, path: Path, narrow: str, narrow_value: str) -> None:
        self.name, self.features, self.head, self.path = name, features, head, path
        self.narrow, self.narrow_value = narrow, narrow_value
        self.module = nn.Sequential(features, head).eval()
        for parameter in self.module.parameters():
            parameter.requires_grad_(True)

    def typed(self, x: torch.Tensor) -> torch.Tensor:
        """A copy in the precision that the module has now."""
        return x.detach().to(next(self.module.parameters()).dtype, copy=True)


def squeezenet() -> Twin:
    """The trained SqueezeNet 1.1 of `make models`, with the weights of its file."""
    path = ROOT / "models/squeezenet1.1.onnx"
    weights = [numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    whole = torchvision.models.squeezenet1_1(weights=None)
    state = whole.state_dict()
    # The file names them as another tool did, in the same order.
    if [tuple(w.shape) for w in weights] != [tuple(t.shape) for t in state.values()]:
        raise ValueError(f"{path} is not torchvision's SqueezeNet 1.1")
    whole.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in zip(state, weights, strict=True)})
    for module in whole.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    features = nn.Sequential(whole.features, *list(whole.classifier)[:3])
    return Twin("squeezenet1.1", features, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)), path,
                narrow="0.0.6.squeeze_activation", narrow_value="fire4.squeeze1x1.relu")


def resnet18(folder: Path) -> Twin:
    """ResNet-18 with seeded random weights and statistics, so that its normalisations do something."""
    torch.manual_seed(0)
    whole = torchvision.models.resnet18(weights=None)
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
        if isinstance(module, nn.ReLU):
            module.inplace = False
    # So that the logits are as far apart as those of a trained network.
    nn.init.normal_(whole.fc.weight, std=0.3)
    features = nn.Sequential(*[m for n, m in whole.named_children() if n not in ("avgpool", "fc")])
    twin = Twin("resnet18", features, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), whole.fc), folder / "resnet18.onnx",
                narrow="0.4.1", narrow_value="/0/0.4/0.4.1/relu_1/Relu_output_0")
    export(twin.module, twin.path)
    return twin


def export(module: nn.Module, path: Path, side: int = 224, channels: int = 3) -> None:
    """Writes a module as ONNX with an open batch."""
    torch.onnx.export(module.eval(), (torch.zeros(1, channels, side, side),), str(path), dynamo=False, opset_version=17,
                      input_names=["input"], output_names=["logits"], dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}})


class Check:
    """Runs the program, and has the numbers that it was given."""

    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, app: Path, photo: Path, side: int = 224) -> None:
        self.app = app
        self.photo, self.folder = photo, tempfile.TemporaryDirectory()
        place = Path(self.folder.name)
        # A picture of the network's size, so that nothing but the colours is prepared.
        self.picture = place / "picture.png"
        picture = Image.open(photo).convert("RGB")
        picture.resize((side, side), Image.Resampling.BICUBIC).save(self.picture)
        self.preprocessing = place / "preprocessing.json"
        self.preprocessing.write_text(json.dumps({"resize": "none", "divisor": 255, "mean": self.MEAN, "std": self.STD}))
        self.colours = Image.open(self.picture)
        colours = np.asarray(self.colours, np.float32) / 255
        numbers = (colours - np.float32(self.MEAN)) / np.float32(self.STD)
        self.input = torch.from_numpy(numbers.transpose(2, 0, 1)[None].copy())
        # Pictures of one colour, as the network sees them.
        self.black, self.white = (
            torch.from_numpy((np.float32(level) - np.float32(self.MEAN)) / np.float32(self.STD))[None, :, None, None].expand_as(self.input)
            for level in (0, 1))
        self.runs = 0
        listed = subprocess.run([str(app), "methods", "--json"], check=True, capture_output=True, text=True)
        self.methods = [method["name"] for method in json.loads(listed.stdout)]
        listed = subprocess.run([str(app), "metrics"], check=True, capture_output=True, text=True)
        self.metrics = [line.split()[0] for line in listed.stdout.splitlines() if line.startswith("  ")] + list(COMPARED)

    def of_photograph(self, photo: Path, preprocessing: dict) -> Check:
        """Runs of a photograph that is prepared in another way; what the network is fed of it is not known here."""
        other = copy.copy(self)
        other.folder = tempfile.TemporaryDirectory()
        other.picture, other.preprocessing = photo, Path(other.folder.name) / "preprocessing.json"
        other.preprocessing.write_text(json.dumps({**preprocessing, "divisor": 255, "mean": self.MEAN, "std": self.STD}))
        return other

    def explain(self, twin: Twin, method: str, *options: str, video: Path | None = None) -> dict:
        """One explanation, of the picture or of a video: its entry of results.json, with `map` and `heatmap` (and `sampleError`) as arrays."""
        self.runs += 1
        out = Path(self.folder.name) / f"run{self.runs}"
        explained = [self.picture] if video is None else ["--video", video]
        command = [self.app, "explain", *explained, "--model", twin.path, "--preprocess", self.preprocessing, "--method", method,
                   "--device", "cpu", "--output", out, "--quiet", *options]
        done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{method} on {twin.name}: {done.stderr.strip()}")
        found = json.loads((out / "results.json").read_text())["images"][0]["explanations"][0]
        for key in ("map", "heatmap", "sampleError"):
            if found.get(key):
                found[key] = np.load(out / found[key])
        return found

    def evaluate(self, twin: Twin, methods: list[str], *options: str) -> tuple[dict, dict]:
        """An evaluation of maps of the picture: the picture's record, and evaluation.json."""
        self.runs += 1
        out = Path(self.folder.name) / f"run{self.runs}"
        command = [self.app, "evaluate", self.picture, "--model", twin.path, "--preprocess", self.preprocessing, "--method", ",".join(methods),
                   "--device", "cpu", "--output", out, "--quiet", "--json", *options]
        done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"an evaluation on {twin.name}: {done.stderr.strip()}")
        return json.loads((out / "pictures.jsonl").read_text()), json.loads((out / "evaluation.json").read_text())

    def values(self, twin: Twin, pictures: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """What the program computes of inputs on the way, by the names that the ONNX file has."""
        self.runs += 1
        out = Path(self.folder.name) / f"run{self.runs}"
        fed = out.with_suffix(".npy")
        np.save(fed, pictures)
        command = [self.app, "run", "--model", twin.path, "--input", fed, "--outputs", ",".join(dict.fromkeys(names)), "--output", out,
                   "--device", "cpu", "--json"]
        done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
        found = {output["name"]: np.load(out / output["file"]) for output in json.loads(done.stdout)["outputs"]}
        # They are large.
        fed.unlink()
        shutil.rmtree(out)
        return found

    def log(self, x: np.ndarray) -> np.ndarray:
        """The program's own logarithm, which rounds otherwise than NumPy's: a network of one node."""
        self.runs += 1
        place = Path(self.folder.name) / f"run{self.runs}"
        model, fed = place.with_suffix(".onnx"), place.with_suffix(".npy")
        shape = [1, len(x)]
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Log", ["x"], ["y"])], "log",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)])
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), model)
        np.save(fed, x.reshape(shape))
        command = [self.app, "run", "--model", model, "--input", fed, "--outputs", "y", "--output", place, "--device", "cpu", "--json"]
        done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
        (file,) = (output["file"] for output in json.loads(done.stdout)["outputs"] if output["name"] == "y")
        return np.load(place / file).ravel()

    def normals(self, count: int, sample: int, stream: int) -> np.ndarray:
        """As `normals`, to the last bit."""
        return normals(count, sample, stream, self.log)

    def best(self, twin: Twin) -> int:
        """The class that the network says."""
        with torch.no_grad():
            return int(twin.module(self.input).argmax())


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox 4x32 with ten rounds (Salmon et al. 2011), of counters [N, 4]: the program's random numbers."""
    x = counter.astype(np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for turn in range(10):
        if turn:
            k0, k1 = (k0 + np.uint64(0x9E3779B9)) & mask, (k1 + np.uint64(0xBB67AE85)) & mask
        a, b = x[:, 0] * np.uint64(0xD2511F53), x[:, 2] * np.uint64(0xCD9E8D57)
        x = np.stack([(b >> np.uint64(32)) ^ x[:, 1] ^ k0, b & mask, (a >> np.uint64(32)) ^ x[:, 3] ^ k1, a & mask], axis=1)
    return x.astype(np.uint32)


def words(places: np.ndarray, sample: int, stream: int, attempt: int = 0, seed: int = 0) -> np.ndarray:
    """Four words for each place (CounterRandom.words)."""
    counter = np.zeros((len(places), 4), np.uint32)
    counter[:, 0], counter[:, 1], counter[:, 2], counter[:, 3] = places, sample, stream, attempt
    return philox(counter, (seed & 0xFFFFFFFF, seed >> 32))


def uniform(word: np.ndarray) -> np.ndarray:
    """0 <= x < 1 (CounterRandom.uniform)."""
    return (word >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def normals(count: int, sample: int, stream: int, log: Callable[[np.ndarray], np.ndarray] = np.log) -> np.ndarray:
    """`count` numbers of a sample with the standard normal distribution (CounterRandom.normals)."""
    one, half = np.float32(1), np.float32(0.5)
    out = np.zeros(((count + 1) // 2, 2), np.float32)
    open_, attempt = np.arange(len(out)), 0
    while len(open_):
        drawn = words(open_, sample, stream, attempt)[:, :2]
        uv = ((drawn >> np.uint32(9)).astype(np.float32) + half) * np.float32(2**-22) - one
        s = (uv * uv).sum(1, dtype=np.float32)
        good = (s < 1) & (s > 0)
        factor = np.sqrt(np.float32(-2) * log(s[good]) / s[good])
        out[open_[good]] = uv[good] * factor[:, None]
        open_, attempt = open_[~good], attempt + 1
    return out.ravel()[:count]


def uniforms(count: int, sample: int, stream: int) -> np.ndarray:
    """`count` numbers of a sample, each 0 <= x < 1 (CounterRandom.uniforms)."""
    return uniform(words(np.arange((count + 3) // 4), sample, stream).ravel()[:count])


def standard_twins(folder: Path) -> Iterator[Twin]:
    """The networks that every family is checked on."""
    yield squeezenet()
    yield resnet18(folder)
