# Copyright Whitebox's authors. Licence: Apache-2.0.
"""Networks of PyTorch and Keras, exported and compared with the file that came of it."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from typing import Any, List, Optional

from ._errors import ModelError, UsageError
from ._model import Model

#: How far logits may be from the module's, of the largest.
TOLERANCE = 1e-3


def from_torch(module: Any, example: Any, *, path: Any = None, **options: Any) -> Model:
    """A model of a PyTorch module.

    It is exported to ONNX, by PyTorch's newest exporter and, where that fails, by the older one; and what comes of it is computed for the example and
    compared with what the module says.

    Parameters
    ----------
    module : torch.nn.Module
        A classifier. It is exported as it evaluates (`module.eval()`), and left as it was.
    example : torch.Tensor
        An input of the module, [N, C, H, W], such as a normalised photograph: noise may hide a difference.
    path : path, optional
        Where the ONNX file goes; if left out it lies in a temporary folder as long as the model lives.
    **options
        Those of `Model`: preprocess, labels, …

    Returns
    -------
    Model
        Whose `explain` takes modules for layers: ``layer=module.layer4``.

    Raises
    ------
    ModelError
        No exporter could export it, or the logits of the file differ from the module's by more than 1e-3 of the largest.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"from_torch takes a torch.nn.Module, and this is a {type(module).__name__}.")
    if not isinstance(example, torch.Tensor) or example.ndim not in (4, 5):
        raise UsageError("from_torch takes an example of the module's input, a tensor [N, C, H, W].")
    folder: Optional[tempfile.TemporaryDirectory] = None
    if path is None:
        folder = tempfile.TemporaryDirectory(prefix="whitebox-")
        path = os.path.join(folder.name, type(module).__name__ + ".onnx")
    path = os.fsdecode(path)
    was_training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            expected = module(example)
            if isinstance(expected, (tuple, list)):
                expected = expected[0]
            elif hasattr(expected, "logits"):
                expected = expected.logits
            if not isinstance(expected, torch.Tensor) or expected.ndim != 2:
                raise ModelError("The module does not give one row of scores for each picture, [N, classes].")
            expected = expected.float().cpu()
        reasons: List[str] = []
        for exporter in (_newest, _older):
            try:
                exporter(torch, module, example, path)
                model = Model(path, **options)
                difference = _difference(model, example, expected)
                if difference is not None:
                    raise ModelError(difference)
            except KeyboardInterrupt:
                raise
            except Exception as reason:  # exporters fail in many ways
                sentence = (str(reason).strip() or type(reason).__name__).splitlines()[0]
                reasons.append(f"{exporter.__doc__}: {sentence}")
                continue
            model._modules = {id(part): name for name, part in module.named_modules() if name}
            # An id means something only as long as its object lives.
            model._kept = (folder, module)
            return model
    finally:
        for part in was_training:
            part.training = True
    raise ModelError("The module could not be exported as what it is. " + " ".join(
        reason if reason.endswith(".") else reason + "." for reason in reasons))


def _newest(torch: Any, module: Any, example: Any, path: str) -> None:
    """By torch.export"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=1, max=4096)
        # A batch of one would be taken for a constant.
        several = example if len(example) > 1 else torch.cat([example, example])
        # It prints whole graphs before it gives up.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            torch.onnx.export(
                module, (several,), path, dynamo=True, dynamic_shapes=({0: batch},), external_data=False, verbose=False
            )


def _older(torch: Any, module: Any, example: Any, path: str) -> None:
    """By tracing"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (example,), path, dynamo=False, opset_version=17, input_names=["input"], output_names=["scores"],
            dynamic_axes={"input": {0: "batch"}, "scores": {0: "batch"}},
        )


def _difference(model: Model, example: Any, expected: Any) -> Optional[str]:
    """Why the model is not the module; None if it is."""
    import numpy as np

    found = model.classify(list(example.detach().float().cpu().numpy()), device="cpu", progress=False)
    logits = np.stack([explanation.logits for explanation in found])
    wanted = expected.numpy()
    # A network that ends in a softmax has its logits before that.
    if logits.shape != wanted.shape:
        return f"Its file has {logits.shape[1]} scores, and the module {wanted.shape[1]}"
    probabilities = np.stack([explanation.probabilities for explanation in found])
    largest = float(np.abs(wanted).max()) or 1.0
    off = min(float(np.abs(logits - wanted).max()), float(np.abs(probabilities - wanted).max()))
    if not off <= TOLERANCE * largest:
        return f"What its file says differs from what the module says by {off:.3g}, of numbers as large as {largest:.3g}"
    return None


def from_keras(model: Any, *, path: Any = None, **options: Any) -> Model:
    """A model of a Keras one, exported by Keras 3 or tf2onnx and compared with it on noise.

    Parameters are those of `from_torch`. Keras' applications have preparations of their own: say `preprocess`.
    """
    import numpy as np

    try:
        import tf2onnx  # type: ignore[import-not-found]
    except ImportError:
        raise UsageError("from_keras needs tf2onnx; install it.") from None
    folder: Optional[tempfile.TemporaryDirectory] = None
    if path is None:
        folder = tempfile.TemporaryDirectory(prefix="whitebox-")
        path = os.path.join(folder.name, "model.onnx")
    path = os.fsdecode(path)
    # One that was never called cannot be exported.
    model(np.zeros((1, *model.input_shape[1:]), np.float32))
    reasons: List[str] = []
    for export in (
        lambda: model.export(path, format="onnx", verbose=False),  # of Keras 3
        lambda: tf2onnx.convert.from_keras(model, output_path=path),
    ):
        try:
            export()
            break
        except Exception as reason:  # exporters fail in many ways
            reasons.append((str(reason).strip() or type(reason).__name__).splitlines()[0])
    else:
        raise ModelError("The Keras model could not be exported. " + " ".join(f"{r.rstrip('.')}." for r in reasons))
    made = Model(path, **options)
    made._kept = folder
    shape = made.input_shape
    noise = np.random.default_rng(0).uniform(-1, 1, (1, *shape)).astype(np.float32)
    # The network's input may have its channels last, and numbers are given as [C, H, W].
    given = noise if list(model.input_shape[1:]) == list(shape) else noise.transpose(0, 2, 3, 1)
    expected = np.asarray(model(given))
    found = made.classify(noise, device="cpu", progress=False)[0]
    off = min(np.abs(found.logits - expected[0]).max(), np.abs(found.probabilities - expected[0]).max())
    if not off <= TOLERANCE * (float(np.abs(expected).max()) or 1.0):
        raise ModelError(f"What the file says differs from what the Keras model says by {off:.3g}.")
    return made
