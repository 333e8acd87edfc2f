#!/usr/bin/env python3
"""Times runs over many photographs: what explaining costs beside classifying, and beside a pipeline of PyTorch's loader and ONNX Runtime.

    batch.py [--app APP] [--model MODEL.onnx] [--photos FOLDER] [--count 2000] [--rounds 3] [--names 0] [--resnet50 MODEL.onnx] [--only WORD …]
             [--json FILE]

Photographs of 500 × 400 to 4000 × 3000 are cut out of those in FOLDER, by a seed. Each row is one thing over another, in turn, so many rounds;
what is printed is the median of the rounds' ratios (above 1: the first is quicker), and the least and the most. Whole processes are timed, from
their start to their end. With --names 1000000 the peak memory of a run over so many names is compared with that over 1,000.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = [(500, 400)] * 8 + [(800, 600)] * 4 + [(1600, 1200)] * 2 + [(4000, 3000)]


def photographs(source: Path, folder: Path, count: int) -> None:
    from PIL import Image

    picked = random.Random(1)
    originals = [Image.open(path).convert("RGB") for path in sorted(source.iterdir()) if path.suffix in (".jpg", ".png")]
    folder.mkdir()
    for i in range(count):
        original, size = picked.choice(originals), picked.choice(SIZES)
        part = picked.uniform(0.6, 1)
        width, height = int(original.width * part), int(original.height * part)
        left, top = picked.randint(0, original.width - width), picked.randint(0, original.height - height)
        original.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BICUBIC).save(folder / f"{i:05d}.jpg", quality=90)


def run(command: list[object], out: Path | None = None, environment: dict[str, str] | None = None) -> tuple[float, int]:
    """Seconds, and the most memory in bytes."""
    if out is not None:
        shutil.rmtree(out, ignore_errors=True)
    start = time.monotonic()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | (environment or {}))
    message = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"batch: {' '.join(map(str, command))} failed: {message[-500:]}")
    return seconds, usage.ru_maxrss * 1024


def peer(model: Path, folder: Path, layer: str, out: Path) -> None:
    """PyTorch's loader with two workers, ONNX Runtime, and NumPy for the class activation map."""
    import numpy as np
    import onnx
    import onnxruntime as ort
    import torch
    from PIL import Image
    from peers import Head, with_outputs

    class Photographs(torch.utils.data.Dataset):
        paths = sorted(folder.iterdir())

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, i: int) -> np.ndarray:
            with Image.open(self.paths[i]) as picture:
                picture.draft("RGB", (256, 256))
                picture = picture.convert("RGB")
                scale = 256 / min(picture.size)
                picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
            left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
            pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)), np.float32)
            return np.ascontiguousarray(((pixels - 127) / 128).transpose(2, 0, 1))

    head = Head(onnx.load(model).graph, layer)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(with_outputs(model, [head.logits, layer], (32, 3, 224, 224)), options, providers=["CPUExecutionProvider"])
    name, weights, maps = session.get_inputs()[0].name, head.matrices[0], []
    for batch in torch.utils.data.DataLoader(Photographs(), batch_size=32, num_workers=2):
        full = np.zeros((32, 3, 224, 224), np.float32)
        full[: len(batch)] = batch.numpy()
        logits, activations = session.run(None, {name: full})
        maps.append(np.maximum(np.einsum("nc,nchw->nhw", weights[logits.argmax(1)], activations), 0)[: len(batch)])
    np.save(out, np.concatenate(maps))


def small_network(path: Path) -> None:
    """A convolution, a mean and four classes, for pictures of 32 × 32: where only the number of pictures counts."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    numbers = np.random.default_rng(1)
    weights = [numpy_helper.from_array(numbers.normal(size=shape).astype(np.float32), name) for name, shape in (("w", (8, 3, 3, 3)), ("v", (8, 4)))]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], strides=[4, 4]), helper.make_node("Relu", ["c"], ["r"]),
             helper.make_node("GlobalAveragePool", ["r"], ["p"]), helper.make_node("Flatten", ["p"], ["f"]), helper.make_node("Gemm", ["f", "v"], ["y"])]
    graph = helper.make_graph(nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 32, 32])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


class Row:
    def __init__(self, what: str, wanted: float, first: object, second: object) -> None:
        self.what, self.wanted, self.first, self.second = what, wanted, first, second
        self.ratios: list[float] = []

    def round(self) -> None:
        # The one that comes first changes, so that neither always finds the machine as the other left it.
        order = [self.first, self.second] if len(self.ratios) % 2 == 0 else [self.second, self.first]
        seconds = {id(one): one() for one in order}
        self.ratios.append(seconds[id(self.second)] / seconds[id(self.first)])

    def line(self) -> str:
        return f"| {self.what} | {self.wanted:g} | {statistics.median(self.ratios):.2f} | {min(self.ratios):.2f} … {max(self.ratios):.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    parser.add_argument("--before", type=Path, help="an older program, to compare what a plain run takes")
    parser.add_argument("--model", type=Path, default=ROOT / "models/efficientnet-lite0.onnx")
    parser.add_argument("--resnet50", type=Path, help="a ResNet-50, for the row of that name")
    parser.add_argument("--layer", default="head.clip", help="the value that the peer maps")
    parser.add_argument("--photos", type=Path, default=ROOT / "demo/photos")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--names", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], help="rows with one of these words")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peer", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        peer(arguments.model, arguments.peer[0], arguments.layer, arguments.peer[1])
        return
    with tempfile.TemporaryDirectory(prefix="batch-") as name:
        place = Path(name)
        photos, out = place / "photos", place / "out"
        photographs(arguments.photos, photos, arguments.count)
        common = ["--model", arguments.model, "--device", "cpu"]

        def app(*words: object, program: Path | None = None, device: str | None = None, environment: dict[str, str] | None = None) -> object:
            writes = words[0] == "explain"
            command = [program or arguments.app, words[0], photos, *words[1:], "--model", arguments.model, "--device", device or "cpu",
                       *(["--output", out] if writes else [])]
            return lambda: run(command, out, environment)[0]

        # Two devices of one thread each; the device `pthread` would have all threads.
        pocl = {"POCL_DEVICES": "basic basic"}
        rows = [
            Row("`--pack` against `classify`", 0.9, app("explain", "--pack"), app("classify")),
            Row("overlays and heat maps, without sheet, against `classify`", 0.7, app("explain", "--write", "map,heatmap,overlay"), app("classify")),
            Row("all that a plain run writes, against `classify`", 0, app("explain"), app("classify")),
            Row("`--pack` against PyTorch's loader, ONNX Runtime and NumPy", 1.5, app("explain", "--pack", "--batch", "32"),
                lambda: run([sys.executable, __file__, "--model", arguments.model, "--layer", arguments.layer, "--peer", photos, place / "maps.npy"])[0]),
            Row("two workers (PoCL twice, one thread each) against one", 1.8, app("explain", "--pack", device="opencl:0,opencl:1", environment=pocl),
                app("explain", "--pack", device="opencl:0", environment=pocl)),
            Row("two workers (the CPU twice, one thread each) against one", 1.8, app("explain", "--pack", "--threads", "1", device="cpu,cpu"),
                app("explain", "--pack", "--threads", "1")),
        ]
        if arguments.resnet50:
            resnet50 = ["--model", arguments.resnet50, "--device", "cpu", "--preprocess", "imagenet", "--batch", "8"]

            def alone() -> float:
                """Seconds that the same maps of ready arrays would take."""
                command = [arguments.app, "bench", "--rounds", "10", "--json", *resnet50]
                done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
                return arguments.count / json.loads(done.stdout)["batches"][0]["imagesPerSecond"]

            rows.append(Row("ResNet-50, `--pack` from JPEGs against the network alone on ready arrays", 0.9,
                            lambda: run([arguments.app, "explain", photos, "--pack", *resnet50, "--output", out], out)[0], alone))
        if arguments.before:
            rows.append(Row("a plain run against that of the older program", 3, app("explain"), app("explain", program=arguments.before)))
        if arguments.only:
            rows = [row for row in rows if any(word in row.what for word in arguments.only)]
        for row in rows:
            if "PoCL" in row.what:
                row.first()  # compiles
        for number in range(arguments.rounds):
            for row in rows:
                row.round()
                print(f"round {number + 1}: {row.line()}", flush=True)
        print("| What | Wanted | Median | Least … most |\n|---|---|---|---|")
        for row in rows:
            print(row.line())
        if rows:
            # A run that has nothing left to do: what the journal and the look at every picture cost.
            run([arguments.app, "explain", photos, "--pack", *common, "--output", out], out)
            seconds = app("explain", "--pack")()
            again = run([arguments.app, "explain", photos, "--pack", *common, "--output", out, "--resume"])[0]
            print(f"| going on where nothing is left to do, as a share of the run | 0.02 | {again / seconds:.3f} | |")
        if arguments.names:
            from PIL import Image

            tiny, small = place / "tiny.jpg", place / "small.onnx"
            Image.new("RGB", (32, 32), (90, 120, 40)).save(tiny)
            small_network(small)
            peaks = {}
            for count in (1000, arguments.names):
                listed = place / "names.txt"
                with listed.open("w") as file:
                    for i in range(count):
                        file.write(json.dumps({"image": str(tiny), "id": f"{i // 1000:04d}/{i}"}) + "\n")
                seconds, peaks[count] = run([arguments.app, "explain", "--list", listed, "--pack", "--quiet", "--json", "--batch", "64", "--model", small,
                                                "--preprocess", "none", "--device", "cpu", "--output", out], out)
                print(f"{count} names: {seconds:.1f} s, {peaks[count] / 2**20:.1f} MiB at most", flush=True)
            print(f"| MiB more for {arguments.names} names than for 1000 | 20 | {(peaks[arguments.names] - peaks[1000]) / 2**20:.1f} | |")
        if arguments.json:
            arguments.json.write_text(json.dumps([{"what": row.what, "wanted": row.wanted, "ratios": row.ratios} for row in rows], indent=1))


if __name__ == "__main__":
    main()
