#!/usr/bin/env python3
"""One peer that explains one picture by one method, ready to be timed: `app bench --on-request` in another library.

    method_peers.py PEER METHOD --model FILE.onnx --value NAME --module NAME --amount N --threads N --input x.npy

prints `ready VERSION` (or `skip REASON`), and then, for each line on stdin, explains the picture in x.npy once and prints its milliseconds
and the passes of the network that it took. `torch-eager`, `torch-channels-last` and `onnxruntime` are written by hand, as a person would who
knows the paper and the library; the others are called as their READMEs and tutorials show. N is the number of masks, samples or steps; of
Occlusion the side of a window in pixels. The target layer has a name as a value of the ONNX file and one as a module.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peers import Skip, _bilinear, _fast, _network, with_outputs

Compute = Callable[[], Any]
BATCH = {"torch-eager": 32, "torch-channels-last": 32, "onnxruntime": 8}
MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
SHOWN, CELLS = 0.5, 7


class Passes:
    """How many pictures a network has seen since it was last asked."""

    def __init__(self) -> None:
        self.count = 0

    def watch(self, network: Any) -> None:
        network.register_forward_pre_hook(lambda _, inputs: self.add(len(inputs[0])))

    def add(self, pictures: int) -> None:
        self.count += pictures

    def taken(self) -> int:
        count, self.count = self.count, 0
        return count


# MARK: By hand. NumPy and PyTorch share these names, so that a method is written once for both.


class NumPyArrays:
    library = np

    @staticmethod
    def array(values: np.ndarray) -> np.ndarray:
        return values

    @staticmethod
    def enlarge(planes: np.ndarray, height: int, width: int) -> np.ndarray:
        return _bilinear(planes.shape[1], height) @ planes @ _bilinear(planes.shape[2], width).T


class TorchArrays:
    def __init__(self, torch: Any) -> None:
        self.library = torch

    def array(self, values: np.ndarray) -> Any:
        return self.library.from_numpy(values)

    def enlarge(self, planes: Any, height: int, width: int) -> Any:
        return self.library.nn.functional.interpolate(planes[None], size=(height, width), mode="bilinear", align_corners=False)[0]


class RISE:
    """The mean of random masks, each weighed by the class's probability under it."""

    def __init__(self, arrays: Any, size: tuple[int, int], samples: int) -> None:
        random = np.random.default_rng(0)
        self.arrays, self.size, self.count = arrays, size, samples
        self.cell = [-(-side // CELLS) for side in size]
        self.cells = arrays.array((random.random((samples, CELLS, CELLS)) < SHOWN).astype(np.float32))
        self.corners = random.integers(0, self.cell, (samples, 2)).tolist()
        self.total: Any = 0

    def masks(self, begin: int, end: int) -> Any:
        large = self.arrays.enlarge(self.cells[begin:end], *[(CELLS + 1) * cell for cell in self.cell])
        height, width = self.size
        return self.arrays.library.stack([plane[top:top + height, left:left + width]
                                          for plane, (top, left) in zip(large, self.corners[begin:end], strict=True)])

    def add(self, scores: Any, masks: Any) -> None:
        self.total = self.total + self.arrays.library.tensordot(scores, masks, 1)

    def map(self) -> Any:
        return self.total / (self.count * SHOWN)


class Occlusion:
    """What the class's probability loses with each window, as the mean over the windows that cover a pixel."""

    def __init__(self, arrays: Any, size: tuple[int, int], window: int, stride: int, score: float) -> None:
        self.arrays, self.size, self.window, self.score = arrays, size, window, score
        self.corners = [(top, left) for top in self.starts(size[0], window, stride) for left in self.starts(size[1], window, stride)]
        self.count = len(self.corners)
        self.total: Any = 0
        self.covers: Any = 0

    @staticmethod
    def starts(side: int, window: int, stride: int) -> list[int]:
        """The last window ends at the edge."""
        found = list(range(0, side - window + 1, stride))
        return found if found[-1] + window == side else [*found, side - window]

    def masks(self, begin: int, end: int) -> Any:
        masks = self.arrays.library.ones((end - begin, *self.size), dtype=self.arrays.library.float32)
        for mask, (top, left) in zip(masks, self.corners[begin:end], strict=True):
            mask[top:top + self.window, left:left + self.window] = 0
        return masks

    def add(self, scores: Any, masks: Any) -> None:
        hidden = 1 - masks
        self.total = self.total + self.arrays.library.tensordot(self.score - scores, hidden, 1)
        self.covers = self.covers + hidden.sum(0)

    def map(self) -> Any:
        return self.total / self.covers


class ScoreCAM:
    """Channels of a layer, weighed by the softmax of the class's probabilities where they mask the picture."""

    def __init__(self, arrays: Any, size: tuple[int, int], activation: Any) -> None:
        self.arrays, self.size, self.activation, self.count = arrays, size, activation, len(activation)
        self.scores: list[Any] = []

    def masks(self, begin: int, end: int) -> Any:
        library = self.arrays.library
        large = self.arrays.enlarge(self.activation[begin:end], *self.size)
        flat = large.reshape(end - begin, -1)
        low, high = library.amin(flat, 1)[:, None, None], library.amax(flat, 1)[:, None, None]
        return (large - low) / (high - low + 1e-12)

    def add(self, scores: Any, _: Any) -> None:
        self.scores.append(scores)

    def map(self) -> Any:
        weights = self.arrays.library.exp(self.arrays.library.concatenate(self.scores))
        return self.arrays.library.tensordot(weights / weights.sum(), self.activation, 1).clip(0)


class LIME:
    """A weighted ridge regression of the class's probability on which segments are shown. Segments are given."""

    def __init__(self, arrays: Any, labels: np.ndarray, samples: int) -> None:
        self.arrays, self.labels, self.count = arrays, labels, samples
        self.shown = np.random.default_rng(0).integers(0, 2, (samples, labels.max() + 1)).astype(np.float32)
        self.shown[0] = 1
        self.rows = arrays.array(self.shown)
        self.scores: list[np.ndarray] = []

    def masks(self, begin: int, end: int) -> Any:
        return self.rows[begin:end][:, self.labels]

    def add(self, scores: Any, _: Any) -> None:
        self.scores.append(np.asarray(scores))

    def map(self) -> Any:
        from sklearn.linear_model import Ridge

        distance = 1 - np.sqrt(self.shown.mean(1))
        fit = Ridge(alpha=1).fit(self.shown, np.concatenate(self.scores), np.sqrt(np.exp(-(distance / 0.25) ** 2)))
        return fit.coef_[self.labels]


def segments(x: np.ndarray) -> np.ndarray:
    from skimage.segmentation import quickshift

    return quickshift(colours(x), kernel_size=4, max_dist=200, ratio=0.2)


def colours(x: np.ndarray) -> np.ndarray:
    """The picture [H, W, 3] in bytes that x [1, 3, H, W] was made of."""
    return np.rint(np.clip(x[0].transpose(1, 2, 0) * DEVIATION + MEAN, 0, 1) * 255).astype(np.uint8)


def mean_colours(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    counts = np.bincount(labels.ravel())
    return np.stack([(np.bincount(labels.ravel(), channel.ravel()) / counts)[labels] for channel in x[0]]).astype(np.float32)[None]


def by_hand(options: argparse.Namespace, x: np.ndarray, arrays: Any, probabilities: Callable, activation: Callable) -> Compute:
    """The method in steps of a batch; `probabilities` and `activation` are of variants and of the picture."""
    size, amount, batch = x.shape[2:], options.amount, BATCH[options.peer]
    labels = segments(x) if options.method == "lime" else None
    picture = arrays.array(x)

    def compute() -> Any:
        first = probabilities(picture)
        best = int(first.argmax())
        baseline = None
        if options.method == "rise":
            method = RISE(arrays, size, amount)
        elif options.method == "occlusion":
            method = Occlusion(arrays, size, amount, options.stride, float(first[0, best]))
        elif options.method == "scorecam":
            method = ScoreCAM(arrays, size, activation()[:amount])
        else:
            method, baseline = LIME(arrays, labels, amount), arrays.array(mean_colours(x, labels))
        for begin in range(0, method.count, batch):
            masks = method.masks(begin, min(begin + batch, method.count))
            variants = picture * masks[:, None]
            if baseline is not None:
                variants = variants + baseline * (1 - masks[:, None])
            method.add(probabilities(variants)[:, best], masks)
        return method.map()

    return compute


def onnxruntime(options: argparse.Namespace, x: np.ndarray, passes: Passes) -> tuple[str, Compute]:
    import onnx
    import onnxruntime as ort

    if options.method not in ("scorecam", "rise", "lime", "occlusion"):
        raise Skip("it has no gradients")
    logits = onnx.load(options.model).graph.output[0].name
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads

    def session(names: list[str], batch: int) -> Callable[[np.ndarray], list[np.ndarray]]:
        started = ort.InferenceSession(with_outputs(options.model, names, (batch, *x.shape[1:])), settings, providers=["CPUExecutionProvider"])
        name = started.get_inputs()[0].name
        return lambda values: started.run(names, {name: values})

    batch = BATCH["onnxruntime"]
    one, many = session([logits, options.value], 1), session([logits], batch)

    def probabilities(variants: np.ndarray) -> np.ndarray:
        passes.add(len(variants))
        if len(variants) == 1:
            values = one(variants)[0]
        else:
            # The session's batch is fixed: the last one is filled up.
            filled = np.resize(variants, (batch, *variants.shape[1:])) if len(variants) < batch else variants
            values = many(np.ascontiguousarray(filled, np.float32))[0][:len(variants)]
        values = np.exp(values - values.max(1, keepdims=True))
        return values / values.sum(1, keepdims=True)

    def activation() -> np.ndarray:
        passes.add(1)
        return one(x)[1][0]

    return ort.__version__, by_hand(options, x, NumPyArrays(), probabilities, activation)


def torch_by_hand(options: argparse.Namespace, x: np.ndarray, passes: Passes) -> tuple[str, Compute]:
    torch, network = _network(options)
    fast = options.peer == "torch-channels-last"
    if fast:
        network = _fast(torch, network)
    passes.watch(network)
    layout = torch.channels_last if fast else torch.contiguous_format

    def probabilities(variants: Any) -> Any:
        return network(variants.contiguous(memory_format=layout)).softmax(1)

    def activation() -> Any:
        found = []
        hook = network.get_submodule(options.module).register_forward_hook(lambda _, __, output: found.append(output[0].contiguous()))
        probabilities(torch.from_numpy(x))
        hook.remove()
        return found[0]

    compute = by_hand(options, x, TorchArrays(torch), probabilities, activation)

    def without_gradients() -> Any:
        with torch.no_grad():
            return compute()

    return torch.__version__, without_gradients


# MARK: Packages


def pytorch_grad_cam(options: argparse.Namespace, x: np.ndarray, passes: Passes) -> tuple[str, Compute]:
    from importlib.metadata import version

    torch, network = _network(options)
    from pytorch_grad_cam import ScoreCAM as Theirs

    passes.watch(network)
    cam = Theirs(model=network, target_layers=[network.get_submodule(options.module)])
    return version("grad-cam"), lambda: cam(input_tensor=torch.from_numpy(x), targets=None)


def lime(options: argparse.Namespace, x: np.ndarray, passes: Passes) -> tuple[str, Compute]:
    """As the package's tutorial for PyTorch has it."""
    from importlib.metadata import version

    torch, network = _network(options)
    from lime.lime_image import LimeImageExplainer
    from torchvision import transforms

    passes.watch(network)
    prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)])

    def batch_predict(images: list[np.ndarray]) -> np.ndarray:
        batch = torch.stack(tuple(prepare(image) for image in images), dim=0)
        return torch.nn.functional.softmax(network(batch), dim=1).detach().cpu().numpy()

    image = colours(x)
    return version("lime"), lambda: LimeImageExplainer().explain_instance(image, batch_predict, top_labels=5, hide_color=0,
                                                                         num_samples=options.amount)


def captum(options: argparse.Namespace, x: np.ndarray, passes: Passes) -> tuple[str, Compute]:
    """All samples of a gradient method at once, and windows one by one: its defaults."""
    from importlib.metadata import version

    torch, network = _network(options)
    from captum.attr import LRP, IntegratedGradients, NoiseTunnel, Saliency
    from captum.attr import Occlusion as Theirs

    picture, amount = torch.from_numpy(x), options.amount
    with torch.no_grad():
        best = int(network(picture).argmax())
    passes.watch(network)
    window, stride = (3, amount, amount), (3, options.stride, options.stride)
    calls: dict[str, Compute] = {
        "occlusion": lambda: Theirs(network).attribute(picture, strides=stride, target=best, sliding_window_shapes=window, baselines=0),
        "integrated-gradients": lambda: IntegratedGradients(network).attribute(picture, torch.zeros_like(picture), target=best, n_steps=amount),
        "smoothgrad": lambda: NoiseTunnel(Saliency(network)).attribute(picture, nt_type="smoothgrad", nt_samples=amount, target=best),
        "lrp": lambda: LRP(network).attribute(picture, target=best),
    }
    if options.method == "lrp":
        try:
            calls["lrp"]()
        except Exception as error:
            # That it has no rule for a module, or that one runs twice.
            raise Skip(f"LRP: {str(error).partition('.')[0].strip()[:60]} …") from error
    return version("captum"), calls[options.method]


def zennit(options: argparse.Namespace, x: np.ndarray, passes: Passes) -> tuple[str, Compute]:
    from importlib.metadata import version

    torch, network = _network(options)
    try:
        from zennit.attribution import Gradient, IntegratedGradients, SmoothGrad
        from zennit.composites import EpsilonPlus
        from zennit.torchvision import ResNetCanonizer
    except ImportError as error:
        raise Skip("it is not installed") from error
    picture, amount = torch.from_numpy(x), options.amount
    with torch.no_grad():
        logits = network(picture)
    passes.watch(network)
    target = torch.eye(logits.shape[1])[[int(logits.argmax())]]

    def compute() -> Any:
        pixels = picture.clone().requires_grad_(True)
        if options.method == "lrp":
            attributor = Gradient(model=network, composite=EpsilonPlus(canonizers=[ResNetCanonizer()]))
        elif options.method == "smoothgrad":
            attributor = SmoothGrad(model=network, noise_level=0.15, n_iter=amount)
        else:
            attributor = IntegratedGradients(model=network, n_iter=amount)
        with attributor:
            return attributor(pixels, target)[1]

    return version("zennit"), compute


PEERS: dict[str, Callable[[argparse.Namespace, np.ndarray, Passes], tuple[str, Compute]]] = {
    "torch-eager": torch_by_hand, "torch-channels-last": torch_by_hand, "onnxruntime": onnxruntime, "pytorch-grad-cam": pytorch_grad_cam,
    "lime": lime, "captum": captum, "zennit": zennit,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("method")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--value", required=True)
    parser.add_argument("--module", required=True)
    parser.add_argument("--amount", type=int, required=True)
    parser.add_argument("--stride", type=int, default=8)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--input", type=Path, required=True)
    options = parser.parse_args()
    # Answers go where stdout was; whatever the engines print goes to stderr.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    passes = Passes()
    try:
        version, compute = PEERS[options.peer](options, np.load(options.input), passes)
    except Skip as reason:
        print("skip", reason, file=answers)
        return
    print("ready", version, file=answers)
    passes.taken()
    for _ in sys.stdin:
        start = time.perf_counter()
        compute()
        print((time.perf_counter() - start) * 1e3, passes.taken(), file=answers)


if __name__ == "__main__":
    main()
