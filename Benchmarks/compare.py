#!/usr/bin/env python3
"""Times Grad-CAM by this program and by ONNX Runtime + NumPy, alternating, on the same network with the same number of threads.

    compare.py MODEL [--batch 1,8] [--threads 2] [--rounds 7] [--device cpu] [--json FILE]

Both take a prepared batch and give maps at the network's input size. The network must end in a global average pool and at most one Gemm:
then Grad-CAM is a product of the class's weights with the activations, and the peer needs no gradient. First the maps of both are
compared (Pearson correlation >= 0.9999), then they are timed: in each round each runs several times and gives its median; the table has the
median over the rounds, and the ratio peer / ours with its smallest and largest value.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parent.parent


class Peer:
    """ONNX Runtime for the forward pass, NumPy for the map."""

    def __init__(self, path: Path, threads: int) -> None:
        model = onnx.load(path)
        graph = model.graph
        makers = {name: node for node in graph.node for name in node.output}
        constants = {tensor.name: tensor for tensor in graph.initializer}
        value, weights = graph.output[0].name, None
        while makers[value].op_type != "GlobalAveragePool":
            node = makers[value]
            if node.op_type == "Gemm":
                weights = numpy_helper.to_array(constants[node.input[1]])
                if not any(a.name == "transB" and a.i for a in node.attribute):
                    weights = weights.T
            value = node.input[0]
        self.layer = makers[value].input[0]
        self.weights = weights
        graph.output.append(onnx.helper.make_tensor_value_info(self.layer, onnx.TensorProto.FLOAT, None))
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def raw(self, x: np.ndarray) -> np.ndarray:
        logits, activation = self.session.run(None, {self.input: x})
        best = logits.reshape(len(x), -1).argmax(1)
        n, c, h, w = activation.shape
        weights = np.eye(c, dtype=np.float32)[best] if self.weights is None else self.weights[best]
        return np.maximum(np.einsum("nc,nchw->nhw", weights, activation, optimize=True) / (h * w), 0)

    def maps(self, x: np.ndarray) -> np.ndarray:
        raw = self.raw(x)
        low, high = raw.min((1, 2), keepdims=True), raw.max((1, 2), keepdims=True)
        return enlarge((raw - low) / np.maximum(high - low, 1e-7), x.shape[2], x.shape[3])


def enlarge(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, half-pixel centres, as two small matrix products."""
    def matrix(old: int, new: int) -> np.ndarray:
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.minimum(at.astype(int), old - 2) if old > 1 else np.zeros(new, int)
        result = np.zeros((new, old), np.float32)
        result[np.arange(new), low] = 1 - (at - low)
        if old > 1:
            result[np.arange(new), low + 1] = at - low
        return result
    return matrix(maps.shape[1], height) @ maps @ matrix(maps.shape[2], width).T


def ours(app: Path, arguments: list[str]) -> dict:
    result = subprocess.run([app, *arguments, "--json"], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"compare: {result.stderr.strip()}")
    return json.loads(result.stdout)


def check(app: Path, model: Path, peer: Peer, device: str, shape: list[int]) -> float:
    """The correlation of our gradient-based map with the peer's, on noise."""
    x = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "x.npy", x)
        best = int(peer.session.run(None, {peer.input: x})[0].argmax())
        subprocess.run([app, "run", "--model", model, "--input", folder / "x.npy", "--outputs", peer.layer, "--gradient", str(best),
                        "--wrt", peer.layer, "--device", device, "--output", folder], check=True, capture_output=True)
        files = {path.stem: np.load(path) for path in folder.glob("*.npy")}
        gradient = files.pop("gradient")
        files.pop("x")
        activation = next(iter(files.values()))
        mine = np.maximum((gradient.mean((2, 3), keepdims=True) * activation).sum(1), 0)
    return float(np.corrcoef(mine.ravel(), peer.raw(x).ravel())[0, 1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    parser.add_argument("--batch", default="1,8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()

    peer = Peer(a.model, a.threads)
    shape = [d if isinstance(d, int) else 224 for d in peer.session.get_inputs()[0].shape[1:]]
    correlation = check(a.app, a.model, peer, a.device, shape)
    print(f"{a.model.name}: Pearson correlation of the maps {correlation:.6f}")
    if correlation < 0.9999:
        return 1
    rows = []
    print(f"{'batch':>5} {'ours ms':>10} {'ORT ms':>10} {'ours img/s':>11} {'ORT img/s':>11} {'ratio':>6}  spread")
    for batch in map(int, a.batch.split(",")):
        x = np.random.default_rng(1).standard_normal((batch, *shape), dtype=np.float32)
        repeats = max(3, 16 // batch)
        mine, theirs = [], []
        for _ in range(a.rounds):
            row = ours(a.app, ["bench", "--model", str(a.model), "--batch", str(batch), "--device", a.device, "--threads", str(a.threads),
                               "--rounds", str(repeats)])["batches"][0]["milliseconds"]
            mine.append(row["whole"] - row["decode"])
            peer.maps(x)
            times = []
            for _ in range(repeats):
                start = time.perf_counter()
                peer.maps(x)
                times.append((time.perf_counter() - start) * 1e3)
            theirs.append(statistics.median(times))
        ratios = [t / m for t, m in zip(theirs, mine)]
        row = {"network": a.model.stem, "work": "gradcam", "batch": batch, "threads": a.threads, "device": a.device, "peer": "onnxruntime+numpy",
               "peer_version": ort.__version__, "ours_ms": statistics.median(mine), "peer_ms": statistics.median(theirs),
               "ratio": statistics.median(ratios), "spread": [min(ratios), max(ratios)]}
        rows.append(row)
        print(f"{batch:5} {row['ours_ms']:10.1f} {row['peer_ms']:10.1f} {1e3 * batch / row['ours_ms']:11.1f} {1e3 * batch / row['peer_ms']:11.1f} "
              f"{row['ratio']:6.2f}  {min(ratios):.2f} ... {max(ratios):.2f}", flush=True)
    if a.json:
        a.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
