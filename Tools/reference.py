#!/usr/bin/env python3
"""Reference numbers to check Whitebox against, by ONNX Runtime and NumPy. A developer's tool; `make test` does without.

    reference.py MODEL INPUT.npy --output FOLDER [--outputs all|NAME,…] [--layer NAME] [--class INDEX]

writes each wanted tensor as NAME.npy (`/` in a name becomes `_`), the logits always among them, and for `--layer`
(by default the input of the last global average pool) `gradcam.npy` and `fem.npy`: raw maps [N,H,W] in float64.

Grad-CAM is computed where its weights have a closed form, that is where the layer reaches the logits through
GlobalAveragePool and at most one Gemm: w_c = W[class, c] / (H W), or for a network without a Gemm [c = class] / (H W).
FEM (Fuad et al. 2020): B_c = [A_c > mean_c + 2 sigma_c] with the population sigma, S = sum mean_c B_c, S / max S.

Needs onnxruntime beside Tools/requirements.txt.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

_TRANSPARENT = ("Flatten", "Reshape", "Squeeze", "Dropout", "Identity")


def run(model: onnx.ModelProto, x: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """The named tensors of `model` at `x`, computed without graph optimisation."""
    import onnxruntime

    extended = onnx.ModelProto.FromString(model.SerializeToString())
    there = {output.name for output in extended.graph.output}
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(extended.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: x})))


def default_layer(model: onnx.ModelProto) -> str:
    """What the last global average pool reads."""
    pools = [node for node in model.graph.node if node.op_type == "GlobalAveragePool"]
    if not pools:
        raise SystemExit("The network has no GlobalAveragePool: name a layer with --layer.")
    return pools[-1].input[0]


def class_weights(model: onnx.ModelProto, layer: str, index: int, channels: int) -> np.ndarray | None:
    """d logit / d (mean of channel c), or None where the path from `layer` is not a pool and at most one Gemm."""
    logits = model.graph.output[0].name
    weights, pooled = np.eye(channels)[index] if index < channels else None, False
    while layer != logits:
        readers = [node for node in model.graph.node if layer in node.input]
        if len(readers) != 1:
            return None
        (node,) = readers
        if node.op_type == "GlobalAveragePool" and not pooled:
            pooled = True
        elif node.op_type == "Gemm" and pooled:
            matrix = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == node.input[1])
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            matrix = matrix if attributes.get("transB", 0) else matrix.T
            weights = matrix[index].astype(np.float64) * attributes.get("alpha", 1)
        elif node.op_type not in _TRANSPARENT:
            return None
        layer = node.output[0]
    return weights if pooled else None


def gradcam(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ReLU of the weighted sum; `weights` [N,C] are those of the channel means."""
    cells = activations.shape[2] * activations.shape[3]
    return np.maximum(np.einsum("nc,nchw->nhw", weights / cells, activations.astype(np.float64)), 0)


def fem(activations: np.ndarray, k: float = 2) -> np.ndarray:
    a = activations.astype(np.float64)
    mean, sigma = a.mean((2, 3), keepdims=True), a.std((2, 3), keepdims=True)
    total = (mean * (a > mean + k * sigma)).sum(1)
    largest = total.max((1, 2), keepdims=True)
    return np.divide(total, largest, out=total, where=largest != 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("input", type=Path)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--outputs", default="", metavar="all|NAME,…")
    parser.add_argument("--layer")
    parser.add_argument("--class", type=int, dest="index", help="by default the top class of each image")
    options = parser.parse_args()

    model = onnx.load(options.model)
    logits = model.graph.output[0].name
    names = [n for n in options.outputs.split(",") if n]
    if names == ["all"]:
        names = [name for node in model.graph.node for name in node.output if name]
    layer = options.layer or default_layer(model)
    names = list(dict.fromkeys([*names, layer, logits]))
    values = run(model, np.load(options.input).astype(np.float32), names)

    a, scores = values[layer], values[logits].reshape(len(values[layer]), -1)
    indices = scores.argmax(1) if options.index is None else np.full(len(scores), options.index)
    rows = [class_weights(model, layer, int(index), a.shape[1]) for index in indices]
    values["fem"] = fem(a)
    if any(row is None for row in rows):
        print(f"No Grad-CAM: '{layer}' does not reach the logits by a global average pool and at most one Gemm.")
    else:
        values["gradcam"] = gradcam(a, np.stack(rows))
    options.output.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        np.save(options.output / f"{name.replace('/', '_')}.npy", value)
    print(f"layer {layer} {list(a.shape)}, classes {indices.tolist()}, logits {scores.max(1).tolist()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
