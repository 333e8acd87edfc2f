#!/usr/bin/env python3
"""Runs ONNX's own test data through the program: each case of the operators that it supports, on each device asked for.

    conformance.py [--app PATH] [--device cpu --device opencl:0] [--only TEXT] [--data FOLDER]

A case's model takes all its tensors as inputs; here all but the first become constants, since a network that is explained has one
input. Cases of other operators, of other types than float32, and of features that are refused with a sentence are counted, with the
sentence, not failed. Exits 1 if a result is wrong. Needs onnx 1.22.0, the last release that carries the data.
"""

from __future__ import annotations

import argparse
import collections
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parent.parent


def supported(app: Path) -> set[str]:
    import json
    return {row["name"] for row in json.loads(subprocess.run([app, "operators", "--json"], capture_output=True, text=True, check=True).stdout)}


def tensors(folder: Path, kind: str) -> list[np.ndarray | None]:
    found = []
    for path in sorted(folder.glob(f"{kind}_*.pb"), key=lambda p: int(p.stem.split("_")[1])):
        tensor = onnx.TensorProto()
        tensor.ParseFromString(path.read_bytes())
        try:
            found.append(numpy_helper.to_array(tensor))
        except Exception:
            found.append(None)
    return found


def check(app: Path, case: Path, operators: set[str], devices: list[str], scratch: Path) -> tuple[str, str]:
    """("passed" | "failed" | "refused" | "other", why)"""
    model = onnx.load(case / "model.onnx")
    graph = model.graph
    types = {node.op_type for node in graph.node}
    if not types <= operators or any(node.domain for node in graph.node):
        return "other", "operator"
    inputs, outputs = tensors(case / "test_data_set_0", "input"), tensors(case / "test_data_set_0", "output")
    names = [value.name for value in graph.input if value.name not in {i.name for i in graph.initializer}]
    if not inputs or len(names) != len(inputs) or any(t is None for t in inputs + outputs):
        return "other", "form"
    if inputs[0].dtype != np.float32 or any(t.dtype != np.float32 for t in outputs):
        return "other", "type"
    # The operators that are supported mean the same in these versions; those that don't are not in the data.
    for opset in model.opset_import:
        if opset.domain == "":
            opset.version = min(max(opset.version, 7 if not any(a.name == "broadcast" for n in graph.node for a in n.attribute) else 6), 22)
    for name, tensor in list(zip(names, inputs))[1:]:
        graph.initializer.append(numpy_helper.from_array(tensor, name))
        graph.input.remove(next(value for value in graph.input if value.name == name))
    path, x = scratch / "model.onnx", scratch / "x.npy"
    onnx.save(model, path)
    np.save(x, inputs[0])
    expected = dict(zip((o.name for o in graph.output), outputs))
    for device in devices:
        folder = scratch / f"{case.parent.name}.{case.name}.{device.replace(':', '')}"
        result = subprocess.run(
            [app, "run", "--model", path, "--input", x, "--output", folder, "--outputs", ",".join(expected), "--device", device, "--force"],
            capture_output=True, text=True)
        if result.returncode in (4, 5, 6):
            return "refused", result.stderr.strip().replace(str(path), "model")
        if result.returncode != 0:
            return "failed", f"{device}: exit {result.returncode}: {result.stderr.strip()[-300:]}"
        for name, want in expected.items():
            file = folder / f"{name}.npy"
            if not file.exists():
                return "failed", f"{device}: no {file.name}"
            got = np.load(file)
            if got.shape != want.shape:
                return "failed", f"{device}: shape {got.shape}, expected {want.shape}"
            if not np.allclose(got, want, rtol=1e-3, atol=1e-5, equal_nan=True):
                return "failed", f"{device}: {name} differs by {np.nanmax(np.abs(got - want)):g}"
    return "passed", ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    parser.add_argument("--device", action="append")
    parser.add_argument("--only", default="")
    parser.add_argument("--data", type=Path, default=Path(onnx.__file__).parent / "backend/test/data")
    arguments = parser.parse_args()
    operators = supported(arguments.app)
    counts: collections.Counter[str] = collections.Counter()
    refusals: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        for group in ("node", "pytorch-converted", "pytorch-operator", "simple"):
            for case in sorted((arguments.data / group).glob("*")):
                if arguments.only not in case.name or not (case / "model.onnx").exists():
                    continue
                outcome, why = check(arguments.app, case, operators, arguments.device or ["cpu"], Path(name))
                counts[outcome] += 1
                if outcome == "failed":
                    print(f"FAILED {case.name}: {why}", flush=True)
                if outcome == "refused":
                    refusals[f"{case.name}: {why}"] += 1
    for sentence in sorted(refusals):
        print(f"refused {sentence}")
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
