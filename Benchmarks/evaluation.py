#!/usr/bin/env python3
"""Times insertion and deletion (224 steps each) of one map beside the forward passes that they need.

    evaluation.py MODEL.onnx [--app APP] [--rounds 5] [--device cpu]

Whole processes are timed, in turn; what is the same in both (starting, loading, the map itself) is taken away by a run with one step, and one of a single picture. The
passes are those of `app classify` over as many copies of the picture, in the batches that the metrics have. Prints the median of the rounds' ratios, the least and the most;
1.1 is the target for ResNet-50.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
STEPS = 224


def seconds(command: list[object]) -> float:
    start = time.monotonic()
    done = subprocess.run([str(word) for word in command], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"evaluation: {' '.join(map(str, command))} failed: {done.stderr[-500:]}")
    return time.monotonic() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        picture = place / "picture.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)).save(picture)
        # What the longer run asks for and the shorter does not.
        passes = 2 * (STEPS - 1)
        for name, count in (("one", 64), ("many", 64 + passes)):
            (place / name).write_text(f"{picture}\n" * count)
        common = ["--model", arguments.model, "--device", arguments.device, "--quiet"]

        def measured(steps: int) -> float:
            shutil.rmtree(place / "out", ignore_errors=True)
            return seconds([arguments.app, "evaluate", picture, *common, "--metrics", "insertion,deletion", "--set-metric", f"insertion.steps={steps}",
                            "--set-metric", f"deletion.steps={steps}", "--output", place / "out"])

        def forward(name: str) -> float:
            return seconds([arguments.app, "classify", "--list", place / name, *common, "--batch", "64"])

        ratios = []
        for _ in range(arguments.rounds):
            ours, theirs = measured(STEPS) - measured(1), forward("many") - forward("one")
            ratios.append(ours / theirs)
            print(f"{passes} steps {ours:.2f} s, {passes} passes {theirs:.2f} s: {ratios[-1]:.3f}", flush=True)
    print(f"insertion and deletion over their forward passes: {statistics.median(ratios):.3f} ({min(ratios):.3f} … {max(ratios):.3f}); at most 1.1 wanted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
