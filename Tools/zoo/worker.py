"""Makes one network of the zoo and the numbers that the program's are compared with, in a process of its own: `worker.py KEY FOLDER PICTURE [--quick]`.

It writes model.onnx, picture.png, input.npy and reference.npz, and says on stdout what it found, as JSON:

  exporter's refusal, if it has one                              {"error": "…"}
  why there is nothing to compare with                           {"broken": "…"}
  the class (the largest logit of ONNX Runtime), its seconds     {"class": 3, "seconds": 0.1, …}

reference.npz has `logits` of ONNX Runtime and `exact`, the module's own in float64; `gradient`, of the class's logit in float64 by PyTorch;
`single`, the same in float32; and for some random `directions` how the logit changes along them, `slopes`, by central differences in float64.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import layers
from entries import entries, export, make, prepared

DIRECTIONS = 2
THREADS = 2
# A step this large loses half of float64's digits, and is too short for most networks' kinks.
STEP = 1e-7


def short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:240]}"


def gradient(module: torch.nn.Module, x: torch.Tensor, chosen: int) -> np.ndarray:
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        (result,) = torch.autograd.grad(module(x)[0, chosen], x)
    return result.numpy()


def slopes(module: torch.nn.Module, x: torch.Tensor, chosen: int, directions: torch.Tensor, step: float) -> np.ndarray:
    with torch.no_grad():
        return np.array([float(module(x + step * d)[0, chosen] - module(x - step * d)[0, chosen]) / (2 * step) for d in directions])


def in_double(module: torch.nn.Module, x: torch.Tensor, chosen: int, wanted: dict[str, np.ndarray]) -> None:
    torch.set_default_dtype(torch.float64)
    module.double()
    x = x.double()
    with torch.no_grad():
        wanted["exact"] = module(x).numpy()
    if wanted["exact"].dtype != np.float64:
        raise TypeError("the module computes in float32 whatever its type")
    wanted["gradient"] = exact = gradient(module, x, chosen)
    directions = torch.randn((DIRECTIONS, *x.shape), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    # Modules that compute some of it in float32 need longer steps, and others have kinks within those: the pair that agrees with itself best. (What
    # autograd says has no say: of some modules it is wrong.)
    pairs = [[slopes(module, x, chosen, directions, step * factor) for factor in (1, 10)] for step in (STEP, 1e3 * STEP)]
    found = min(pairs, key=lambda pair: np.abs(pair[0] - pair[1]).max())[0]
    wanted["directions"], wanted["slopes"] = directions.numpy(), found


def main() -> None:
    key, folder, picture = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(THREADS)
    out, said = sys.stdout, {}
    entry = next(entry for entry in entries() if entry.key == key)
    with contextlib.redirect_stdout(io.StringIO()):
        module, image = make(entry, picture)
        x = prepared(image[None])
        rule = layers.recommended(key)
        said["recommended"] = rule and layers.path(module, rule)
        said["weights"] = sum(p.numel() for p in module.parameters())
        path = folder / "model.onnx"
        start = time.monotonic()
        try:
            with torch.no_grad():
                export(entry, module, x, path)
        except Exception as error:
            print(json.dumps(said | {"error": short(error)}), file=out)
            return
        said["export_seconds"] = time.monotonic() - start

        from PIL import Image
        Image.fromarray(image).save(folder / "picture.png")
        np.save(folder / "input.npy", x.numpy())

        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            feed = {"input": x.numpy()}
            (logits,) = session.run(["logits"], feed)
        except Exception as error:
            print(json.dumps(said | {"broken": "ONNX Runtime: " + short(error)}), file=out)
            return
        times = []
        for _ in range(3):
            start = time.monotonic()
            session.run(["logits"], feed)
            times.append(time.monotonic() - start)
        del session
        wanted = {"logits": logits}
        if logits.ndim != 2:
            print(json.dumps(said | {"broken": f"no classifier: its output has the shape {list(logits.shape)}"}), file=out)
            return
        chosen = int(logits[0].argmax())
        said |= {"class": chosen, "seconds": min(times)}
        with torch.no_grad():
            other = module(prepared(image[:, ::-1].copy()[None])).numpy()
        # Whether there is anything to see: logits that differ from each other and between pictures.
        said["spread"] = float(logits.std())
        said["change"] = float(np.abs(logits - other).max() / np.abs(logits).max())
        wanted["single"] = gradient(module, x, chosen)
        try:
            if "--quick" in sys.argv:
                raise TimeoutError("--quick")
            in_double(module, x, chosen, wanted)
        except Exception as error:
            said["no_double"] = short(error)
        np.savez(folder / "reference.npz", **wanted)
    print(json.dumps(said), file=out)


if __name__ == "__main__":
    # Nothing that the packages say belongs to the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = answer
    main()
    sys.stdout.flush()
