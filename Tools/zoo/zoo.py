#!/usr/bin/env python3
"""Every classifier of torchvision and a network of each of timm's families, with random weights, exported by PyTorch: is all of it right?

    zoo.py [--only NAME …] [--documents] [--keep] [--quick] [--app APP] [--device opencl:0] [--timeout 900]

For each network:

  logits     differ from ONNX Runtime's by at most 1e-4 of the largest
  gradient   of the largest logit with respect to the picture: along random directions it is what central differences of the module in
             float64 say, and it is PyTorch's in float64; to 1e-3 of its length, or to four times what PyTorch's own in float32 differs,
             with one of three pictures (a ReLU near 0 that float32 puts on the other side changes some thousandths). Of some modules
             PyTorch's gradient is wrong, in float64 too: not what central differences say, which then decide alone
  layer      what `--layer auto` chose, and whether pytorch-grad-cam's documentation recommends that (see layers.py)
  map        Grad-CAM's is finite and not blank
  same bits  logits, gradient and map on the CPU and on the OpenCL device
  time       of an explanation by Grad-CAM, over ONNX Runtime's for the logits alone

One network at a time; its files are removed afterwards. What was found is kept in .build/zoo/rows.json by the program's bytes, so that a run
that was interrupted goes on; --keep also keeps what was right with another program. --quick leaves out float64, and compares gradients with
PyTorch's in float32: to 0.1; what is not right then is tried again in full. With --documents the table of Documentation/Networks.md is
written anew. It fails if less than 97 % of what could be exported is right.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

import layers
import table

ROOT = Path(__file__).resolve().parents[2]
ENOUGH = 0.97
LOGITS, GRADIENT, SLACK = 1e-4, 1e-3, 4
# Two gradients in float32 differ by this at most, since ReLUs and maxima near a tie fall on either side.
COARSE = 0.1
# A gradient that is right but for such a tie is tried again with another picture; one that is wrong is wrong with each.
PICTURES = 3


class Refused(Exception):
    """The program said in a sentence that it can't."""


class Wrong(Exception):
    """Something is not as it should be."""


class WrongGradient(Wrong):
    """Nothing but the gradient is not as it should be."""


class Program:
    def __init__(self, app: Path, timeout: float) -> None:
        self.app, self.timeout = app, timeout

    def __call__(self, *arguments: object, seconds: float | None = None) -> str:
        try:
            done = subprocess.run([self.app, *map(str, arguments)], capture_output=True, text=True, timeout=seconds or self.timeout)
        except subprocess.TimeoutExpired:
            raise Wrong(f"`app {arguments[0]}` takes more than {seconds or self.timeout:.0f} s") from None
        if done.returncode == 0:
            return done.stdout
        sentence = done.stderr.strip().removeprefix("app: ")
        if 3 <= done.returncode <= 12:
            # Networks lie in folders whose names are of no interest.
            raise Refused(sentence.split("model.onnx: ", 1)[-1])
        raise Wrong(f"`app {arguments[0]}` ends with {done.returncode}: {sentence[-200:]}")


def relative(difference: np.ndarray, of: np.ndarray) -> float:
    length = float(np.linalg.norm(np.asarray(of, np.float64)))
    return float(np.linalg.norm(np.asarray(difference, np.float64))) / length if length else float("inf")


def check(program: Program, device: str, folder: Path, said: dict, row: dict) -> None:
    """Fills the row in; raises at the first thing that is not right, when the rest of the row is known."""
    model, picture, reference = folder / "model.onnx", folder / "picture.png", np.load(folder / "reference.npz")
    if not said["spread"] > 0 or not np.isfinite(reference["logits"]).all():
        raise Wrong("the reference's logits are all the same or not finite")
    results: dict[str, dict[str, np.ndarray]] = {}
    wrong: list[str] = []
    for place in ("cpu", device):
        out = folder / f"run-{place.replace(':', '')}"
        program("run", "--model", model, "--input", folder / "input.npy", "--output", out, "--outputs", "logits", "--gradient", said["class"],
                "--device", place)
        results[place] = {name: np.load(out / f"{name}.npy") for name in ("logits", "gradient")}
        if place == "cpu":
            compare(results[place], reference, row, wrong)
    for place in ("cpu", device):
        out = folder / f"explain-{place.replace(':', '')}"
        text = program("explain", picture, "--model", model, "--preprocess", "imagenet", "--class", said["class"], "--device", place,
                       "--output", out, "--json")
        found = json.loads(text)
        explanation = found["images"][0]["explanations"][0]
        results[place]["map"] = np.load(out / explanation["map"])
        if place == "cpu":
            layer = found["layers"][0]["name"]
            row["layer"], row["recommended"] = layers.choice(model, layer, said["recommended"])
            values = results[place]["map"]
            row["map"] = bool(np.isfinite(values).all() and values.max() > values.min())
            if not row["map"]:
                wrong.append("the map is blank" + (f": {explanation['blank']}" if explanation["blank"] else ""))
    row["same_bits"] = all(results["cpu"][name].tobytes() == results[device][name].tobytes() for name in results["cpu"])
    if not row["same_bits"]:
        wrong.append(f"other bits on {device} in " + ", ".join(
            name for name in results["cpu"] if results["cpu"][name].tobytes() != results[device][name].tobytes()))
    try:
        bench = json.loads(program("bench", "--model", model, "--preprocess", "imagenet", "--device", "cpu", "--batch", 1, "--rounds", 3, "--json"))
        row["ratio"] = milliseconds(bench) / 1000 / said["seconds"]
    except (Refused, Wrong, KeyError, json.JSONDecodeError):
        row["ratio"] = None
    if wrong:
        raise (WrongGradient if all(why.startswith("the gradient") for why in wrong) else Wrong)("; ".join(wrong))


def milliseconds(bench: object) -> float:
    """The median of an explanation."""
    (batch,) = bench["batches"]
    return batch["milliseconds"]["whole"]


def compare(ours: dict[str, np.ndarray], reference: dict[str, np.ndarray], row: dict, wrong: list[str]) -> None:
    row["logits"] = float(np.abs(ours["logits"].astype(np.float64) - reference["logits"]).max() / np.abs(reference["logits"]).max())
    if not row["logits"] <= LOGITS:
        wrong.append(f"logits differ from ONNX Runtime's by {row['logits']:.0e}")
        if "exact" in reference:
            largest = np.abs(reference["exact"]).max()
            both = (float(np.abs(logits - reference["exact"]).max() / largest) for logits in (ours["logits"], reference["logits"]))
            wrong[-1] += " (from float64's by {:.0e}, and ONNX Runtime's by {:.0e})".format(*both)
    gradient = ours["gradient"].astype(np.float64)
    if "slopes" not in reference:
        # The module can't compute in float64: PyTorch's float32 is all there is to compare with.
        row["gradient"] = relative(gradient - reference["single"], reference["single"])
        if not row["gradient"] <= COARSE:
            wrong.append(f"the gradient differs from PyTorch's in float32 by {row['gradient']:.0e}")
        return
    exact = reference["gradient"]
    row["single"] = relative(reference["single"] - exact, exact)
    row["autograd"] = relative(gradient - exact, exact)
    along = np.array([(direction * gradient).sum() for direction in reference["directions"]])
    row["slopes"] = float(np.abs(along - reference["slopes"]).max() / np.linalg.norm(exact))
    row["gradient"] = max(row["autograd"], row["slopes"])
    allowed = max(GRADIENT, SLACK * row["single"])
    if not row["slopes"] <= allowed:
        wrong.append(f"the gradient differs from differences by {row['slopes']:.0e}")
    elif not row["autograd"] <= allowed:
        theirs = np.array([(direction * exact).sum() for direction in reference["directions"]])
        if np.abs(theirs - reference["slopes"]).max() / np.linalg.norm(exact) > 10 * allowed:
            # The differences agree with the program's, and not with PyTorch's.
            row["gradient"], row["reason"] = row["slopes"], "PyTorch's own gradient is wrong: it is not that of its own module"
            return
        wrong.append(f"the gradient differs from PyTorch's in float64 by {row['autograd']:.0e}")


def examine(entry: object, program: Program, device: str, timeout: float, quick: bool) -> dict:
    for picture in range(PICTURES):
        row: dict = {"key": entry.key, "exporter": entry.exporter, "opset": entry.opset, "quick": quick, "pictures": picture + 1}
        with tempfile.TemporaryDirectory(prefix="zoo-") as name:
            folder = Path(name)
            arguments = [sys.executable, Path(__file__).with_name("worker.py"), entry.key, folder, str(picture), *(["--quick"] if quick else [])]
            try:
                done = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout)
                lines = done.stdout.strip().splitlines()
                said = (json.loads(lines[-1]) if done.returncode == 0 and lines
                        else {"broken": f"worker.py ended with {done.returncode}: {' '.join(done.stderr.split())[-200:]}"})
            except subprocess.TimeoutExpired:
                said = {"broken": f"the export and the reference take more than {timeout:.0f} s"}
            if "error" in said:
                return row | {"outcome": "not exported", "reason": said["error"]}
            if "broken" in said:
                return row | {"outcome": "no reference", "reason": said["broken"]}
            row |= {name: said.get(name) for name in ("weights", "spread", "change", "no_double")}
            try:
                check(program, device, folder, said, row)
                return row | {"outcome": "right"}
            except Refused as sentence:
                return row | {"outcome": "refused", "reason": str(sentence)[:600]}
            except WrongGradient as sentence:
                row |= {"outcome": "wrong", "reason": f"{sentence}, with each of {PICTURES} pictures"}
            except Wrong as sentence:
                return row | {"outcome": "wrong", "reason": str(sentence)}
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="networks, by their names")
    parser.add_argument("--documents", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true", help="run nothing; say what is known")
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    parser.add_argument("--rows", type=Path, default=ROOT / ".build/zoo/rows.json")
    parser.add_argument("--device", default="opencl:0")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for each step of a network")
    arguments = parser.parse_args()
    from entries import entries
    everything = entries()
    if unknown := set(arguments.only) - {entry.name for entry in everything}:
        parser.error(f"the zoo has no {', '.join(sorted(unknown))}")
    chosen = [entry for entry in everything if not arguments.only or entry.name in arguments.only]
    digest = hashlib.sha256(arguments.app.read_bytes()).hexdigest()[:16]
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    kept: dict[str, dict] = {row["key"]: row for row in json.loads(arguments.rows.read_text())} if arguments.rows.exists() else {}
    arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    program = Program(arguments.app.resolve(), arguments.timeout)
    # In no order, so that a run that is not finished says something of all.
    for i, entry in enumerate(sorted(chosen, key=lambda entry: zlib.crc32(entry.key.encode()))):
        old = kept.get(entry.key)
        good = old is not None and (old["exporter"], old["opset"]) == (entry.exporter, entry.opset) and (arguments.quick or not old["quick"])
        # What PyTorch doesn't export has nothing to do with the program.
        current = good and (old["program"] == digest or old["outcome"] in table.NOT_OURS or (arguments.keep and old["outcome"] == "right"))
        if arguments.report or current:
            continue
        start = time.monotonic()
        row = examine(entry, program, arguments.device, arguments.timeout, arguments.quick)
        if arguments.quick and row["outcome"] == "wrong":
            row = examine(entry, program, arguments.device, arguments.timeout, False)
        row |= {"program": digest}
        kept[entry.key] = row
        beside = arguments.rows.with_suffix(".new")
        beside.write_text(json.dumps(list(kept.values()), indent=1))
        beside.replace(arguments.rows)
        print(f"{i + 1}/{len(chosen)} {time.monotonic() - start:4.0f} s {table.line(row)}", end="", flush=True)
    rows = [kept[entry.key] for entry in chosen if entry.key in kept]
    print(table.summary(rows))
    if arguments.documents:
        table.write(ROOT / "Documentation/Networks.md", [kept[entry.key] for entry in everything if entry.key in kept])
    exported = [row for row in rows if row["outcome"] not in table.NOT_OURS]
    return 0 if exported and sum(row["outcome"] == "right" for row in exported) >= ENOUGH * len(exported) else 1


if __name__ == "__main__":
    sys.exit(main())
