#!/usr/bin/env python3
"""One peer, ready to be timed: `app bench --on-request` in another engine.

    peers.py PEER --model FILE.onnx --layer VALUE --work WORK --threads N --input x.npy --output maps.npy

prepares the peer for the batch in x.npy, writes what it computes to maps.npy, prints `ready VERSION` (or `skip REASON`), and then, for
each line on stdin, computes the batch once and prints its milliseconds. Arrays in, arrays out: heat maps [N, H, W], or gradients
[N, C, H, W]. The forms in PyTorch take their weights from networks.py, by the file's name, and so does the file.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

Compute = Callable[[], np.ndarray]
FEM_K = 2.0


class Skip(Exception):
    """Why a peer cannot do this work here."""


# MARK: ONNX


class Head:
    """The way from the target layer to the logits in an ONNX file, if it is pooling and fully connected layers.

    Then Grad-CAM's weights need no gradient: the channel means of the gradient are a few products of matrices, because pooling only
    shares out the gradient of a window among its cells. `hidden` names values behind whose ReLU a gradient vanishes.
    """

    passed = {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout", "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean",
              "Softmax"}

    def __init__(self, graph, layer: str) -> None:
        from onnx import numpy_helper

        constants = {tensor.name: tensor for tensor in graph.initializer}
        readers = {name: node for node in reversed(graph.node) for name in node.input}
        self.hidden: list[str] = []
        self.matrices: list[np.ndarray] = []  # [outputs, inputs]
        value, pooled = layer, False
        self.logits = layer
        while value in readers:
            node = readers[value]
            value = node.output[0]
            if node.op_type in ("Gemm", "MatMul"):
                matrix = numpy_helper.to_array(constants[node.input[1]])
                transposed = any(a.name == "transB" and a.i for a in node.attribute)
                self.matrices.append(np.ascontiguousarray(matrix if transposed else matrix.T))
            elif node.op_type == "Relu":
                self.hidden.append(value)
            elif node.op_type == "Add" and any(name in constants for name in node.input):
                pass
            elif node.op_type not in self.passed:
                raise Skip(f"the head of the network has a {node.op_type}")
            pooled = pooled or node.op_type in ("GlobalAveragePool", "ReduceMean")
            if node.op_type != "Softmax":
                self.logits = value
        if self.matrices and not pooled:
            # The first matrix takes every cell of a channel; only their sum matters.
            first, channels = self.matrices[0], _channels(graph, layer)
            self.matrices[0] = np.ascontiguousarray(first.reshape(len(first), channels, -1).sum(2))

    def weights(self, logits: np.ndarray, hidden: list[np.ndarray], channels: int, cells: int) -> np.ndarray:
        best = logits.reshape(len(logits), -1).argmax(1)
        if not self.matrices:
            return np.eye(channels, dtype=np.float32)[best] / cells
        weights = self.matrices[-1][best]
        for matrix, value in zip(reversed(self.matrices[:-1]), reversed(hidden), strict=True):
            weights = (weights * (value > 0)) @ matrix
        return weights / cells


def _channels(graph, layer: str) -> int:
    """Of the convolution that makes the layer's value."""
    makers = {name: node for node in graph.node for name in node.output}
    while makers[layer].op_type != "Conv":
        layer = makers[layer].input[0]
    weights = makers[layer].input[1]
    return next(tensor.dims[0] for tensor in graph.initializer if tensor.name == weights)


def with_outputs(path: Path, names: list[str], shape: tuple[int, ...]) -> bytes:
    """The model with these values as its outputs, and its input's shape fixed."""
    import onnx

    model = onnx.load(path)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, extent in zip(dims, shape, strict=True):
        dim.Clear()
        dim.dim_value = extent
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    return model.SerializeToString()


def onnx_peer(options: argparse.Namespace, x: np.ndarray, start: Callable[[bytes, list[str]], Callable[[], list[np.ndarray]]]) -> Compute:
    """Grad-CAM or FEM in NumPy behind an engine for the forward pass."""
    import onnx

    if options.work == "fem":
        run = start(with_outputs(options.model, [options.layer], x.shape), [options.layer])
        return lambda: heat_maps(fem(run()[0]), x.shape[2:])
    head = Head(onnx.load(options.model).graph, options.layer)
    names = list(dict.fromkeys([head.logits, options.layer, *head.hidden]))
    run = start(with_outputs(options.model, names, x.shape), names)
    slots = [names.index(name) for name in (head.logits, options.layer, *head.hidden)]

    def compute() -> np.ndarray:
        outputs = run()
        logits, activation, *hidden = (outputs[slot] for slot in slots)
        n, channels, height, width = activation.shape
        weights = head.weights(logits, hidden, channels, height * width)
        raw = np.matmul(weights[:, None], activation.reshape(n, channels, -1)).reshape(n, height, width)
        return heat_maps(np.maximum(raw, 0), x.shape[2:])

    return compute


def fem(activation: np.ndarray, k: float = FEM_K) -> np.ndarray:
    n, channels, height, width = activation.shape
    a = activation.reshape(n, channels, -1)
    mean = a.mean(2, keepdims=True)
    fires = a > mean + k * a.std(2, keepdims=True)
    return np.matmul(mean.transpose(0, 2, 1), fires.astype(np.float32)).reshape(n, height, width)


def heat_maps(raw: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Scaled to 0 … 1, then enlarged bilinearly (half-pixel centres), as two small matrix products."""
    low, high = raw.min((1, 2), keepdims=True), raw.max((1, 2), keepdims=True)
    scaled = (raw - low) / np.maximum(high - low, 1e-12)
    return _bilinear(raw.shape[1], size[0]) @ scaled @ _bilinear(raw.shape[2], size[1]).T


_matrices: dict[tuple[int, int], np.ndarray] = {}


def _bilinear(old: int, new: int) -> np.ndarray:
    if (old, new) not in _matrices:
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.minimum(at.astype(int), max(old - 2, 0))
        matrix = np.zeros((new, old), np.float32)
        matrix[np.arange(new), low] = 1 - (at - low)
        if old > 1:
            matrix[np.arange(new), low + 1] += at - low
        _matrices[old, new] = matrix
    return _matrices[old, new]


def onnxruntime(options: argparse.Namespace, x: np.ndarray) -> tuple[str, Compute]:
    import onnxruntime as ort

    def start(model: bytes, names: list[str]) -> Callable[[], list[np.ndarray]]:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads
        session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda: session.run(names, {name: x})

    return ort.__version__, onnx_peer(options, x, start)


def openvino(options: argparse.Namespace, x: np.ndarray) -> tuple[str, Compute]:
    import openvino as ov

    def start(model: bytes, names: list[str]) -> Callable[[], list[np.ndarray]]:
        core = ov.Core()
        compiled = core.compile_model(core.read_model(model, b""), "CPU", {
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": options.threads, "INFERENCE_PRECISION_HINT": "f32"})
        request = compiled.create_infer_request()
        outputs = [compiled.output(i) for i in range(len(names))]

        def run() -> list[np.ndarray]:
            request.infer({0: x}, share_inputs=True)
            return [request.get_tensor(output).data for output in outputs]

        return run

    return ov.get_version().split("-")[0], onnx_peer(options, x, start)


# MARK: PyTorch


def _network(options: argparse.Namespace):
    """torch, and the module whose weights the ONNX file has."""
    import networks
    import torch

    torch.set_num_threads(options.threads)
    return torch, networks.build(options.model.stem)


def _fast(torch, network):
    """For inference: normalisations merged into convolutions, channels-last, no gradients of weights."""
    from torch.fx.experimental.optimization import fuse

    network.requires_grad_(False)
    network.features = fuse(network.features)
    return network.to(memory_format=torch.channels_last)


def _torch_maps(torch, network, work: str, size: tuple[int, ...]):
    """The function of pixels that computes heat maps without automatic differentiation: the head's gradient is written out."""
    functional = torch.nn.functional
    linear = [m for m in network.head if isinstance(m, torch.nn.Linear)]
    linear += [m for s in network.head if isinstance(s, torch.nn.Sequential) for m in s if isinstance(m, torch.nn.Linear)]
    pooled = isinstance(network.head[0], torch.nn.AdaptiveAvgPool2d)
    matrices = [m.weight.detach() for m in linear]
    if not pooled:
        # The first matrix takes every cell of a channel; only their sum matters.
        first = matrices[0]
        matrices[0] = first.reshape(len(first), -1, 49).sum(2)

    def raw_gradcam(x):
        a = network.features(x)
        value = a.mean((2, 3)) if pooled else network.head[0](a).flatten(1)
        hidden = []
        for layer in linear[:-1]:
            value = functional.relu(layer(value))
            hidden.append(value)
        best = linear[-1](value).argmax(1)
        weights = matrices[-1][best]
        for matrix, value in zip(reversed(matrices[:-1]), reversed(hidden), strict=True):
            weights = (weights * (value > 0)) @ matrix
        return functional.relu(torch.einsum("nc,nchw->nhw", weights, a) / (a.shape[2] * a.shape[3]))

    def raw_fem(x):
        a = network.features(x)
        mean = a.mean((2, 3), keepdim=True)
        fires = a > mean + FEM_K * a.std((2, 3), correction=0, keepdim=True)
        return torch.einsum("nc,nchw->nhw", mean[:, :, 0, 0], fires.to(a.dtype))

    raw_maps = raw_fem if work == "fem" else raw_gradcam

    def maps(x):
        raw = raw_maps(x)
        low, high = raw.amin((1, 2), keepdim=True), raw.amax((1, 2), keepdim=True)
        scaled = (raw - low) / (high - low).clamp_min(1e-12)
        return functional.interpolate(scaled[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]

    return maps


def _gradient(torch, network, x, channels_last: bool) -> Compute:
    """The gradient of each picture's largest logit with respect to its pixels, by automatic differentiation."""
    def compute() -> np.ndarray:
        pixels = torch.from_numpy(x)
        if channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        pixels.requires_grad_(True)
        best = network(pixels).max(1).values.sum()
        return torch.autograd.grad(best, pixels)[0].numpy()

    return compute


def torch_eager(options: argparse.Namespace, x: np.ndarray) -> tuple[str, Compute]:
    """Automatic differentiation of the module as it is: gradients alone, for maps there is pytorch-grad-cam."""
    torch, network = _network(options)
    return torch.__version__, _gradient(torch, network, x, channels_last=False)


def torch_channels_last(options: argparse.Namespace, x: np.ndarray) -> tuple[str, Compute]:
    """Written by hand: everything that eager PyTorch offers for speed."""
    torch, network = _network(options)
    network = _fast(torch, network)
    if options.work == "input-gradient":
        return torch.__version__, _gradient(torch, network, x, channels_last=True)
    maps = _torch_maps(torch, network, options.work, x.shape[2:])

    def compute() -> np.ndarray:
        with torch.inference_mode():
            return maps(torch.from_numpy(x).contiguous(memory_format=torch.channels_last)).numpy()

    return torch.__version__, compute


def torch_compile(options: argparse.Namespace, x: np.ndarray) -> tuple[str, Compute]:
    """The same, compiled; with weights frozen into the code where no gradient is taken."""
    torch, network = _network(options)
    import torch._inductor.config

    network = _fast(torch, network)
    try:
        if options.work == "input-gradient":
            compiled = torch.compile(network)
            compute = _gradient(torch, compiled, x, channels_last=True)
        else:
            torch._inductor.config.freezing = True
            maps = torch.compile(_torch_maps(torch, network, options.work, x.shape[2:]))

            def compute() -> np.ndarray:
                with torch.no_grad():
                    return maps(torch.from_numpy(x).contiguous(memory_format=torch.channels_last)).numpy()

        compute()
    except Exception as error:
        raise Skip(f"torch.compile: {type(error).__name__}: {str(error).strip().splitlines()[0][:200]}") from error
    return torch.__version__, compute


def pytorch_grad_cam(options: argparse.Namespace, x: np.ndarray) -> tuple[str, Compute]:
    """As its README shows it."""
    from importlib.metadata import version

    torch, network = _network(options)
    from pytorch_grad_cam import GradCAM

    cam = GradCAM(model=network, target_layers=[network.features])
    return version("grad-cam"), lambda: cam(input_tensor=torch.from_numpy(x), targets=None)


def captum(options: argparse.Namespace, x: np.ndarray) -> tuple[str, Compute]:
    """LayerGradCam, with the class found first, and its own interpolation."""
    from importlib.metadata import version

    torch, network = _network(options)
    from captum.attr import LayerAttribution, LayerGradCam

    cam = LayerGradCam(network, network.features)

    def compute() -> np.ndarray:
        pixels = torch.from_numpy(x)
        with torch.no_grad():
            best = network(pixels).argmax(1)
        raw = cam.attribute(pixels, target=best, relu_attributions=True)
        return LayerAttribution.interpolate(raw, x.shape[2:], "bilinear")[:, 0].detach().numpy()

    return version("captum"), compute


PEERS: dict[str, Callable[[argparse.Namespace, np.ndarray], tuple[str, Compute]]] = {
    "onnxruntime": onnxruntime, "openvino": openvino, "pytorch-grad-cam": pytorch_grad_cam, "captum": captum, "torch-eager": torch_eager,
    "torch-channels-last": torch_channels_last, "torch-compile": torch_compile,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    # Answers go where stdout was; whatever the engines print goes to stderr.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    try:
        version, compute = PEERS[options.peer](options, np.load(options.input))
    except Skip as reason:
        print("skip", reason, file=answers)
        return
    np.save(options.output, compute())
    compute()
    print("ready", version, file=answers)
    for _ in sys.stdin:
        start = time.perf_counter()
        compute()
        print((time.perf_counter() - start) * 1e3, file=answers)


if __name__ == "__main__":
    main()
