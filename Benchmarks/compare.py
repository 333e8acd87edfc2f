#!/usr/bin/env python3
"""Times this program beside its peers, alternating in one run, on the same arrays with the same number of threads.

    compare.py [--quick] [--networks …] [--peers …] [--work …] [--batch …] [--threads N] [--device cpu] [--json FILE] [--markdown FILE]

For each network, work and batch: every engine is started and computes the batch; maps must agree with ours (Pearson correlation of each
picture >= 0.9999, of gradients >= 0.999); then, in each round, each in turn is asked a few times and gives its median. The tables have medians over rounds, and
the ratio peer / ours within rounds with its smallest and largest value. Further rows, by --work: `device` (an OpenCL device against our own
cpu), `threads` (cpu with 2 threads against 1), `memory` (the process's largest), `photograph` (one photograph, from process start to PNG).
Rows join those that are in the JSON file already, so that a long comparison can be done in parts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import report
from report import Row, Skipped

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NETWORKS = ("resnet50", "vgg16", "mobilenet_v2", "densenet121", "resnext50_32x4d", "googlenet")
WORK = ("gradcam", "fem", "input-gradient", "device", "threads", "memory", "photograph")
# What maps must reach. A gradient with respect to pixels has jumps: one rounding decides at every ReLU and every window that is nearly even.
# On this ResNet-50, PyTorch's two memory formats correlate with each other by 0.99986 at worst, and with double precision by 0.99980;
# ours with double precision by 0.99981. So no two programs in binary32 can be asked for more.
CORRELATION = {"input-gradient": 0.999}


class Failure(Exception):
    """Why something could not be compared."""


class Engine:
    """A process that computes a batch once for each line that it is sent, and answers with its milliseconds."""

    def __init__(self, name: str, command: list[str | Path], threads: int, output: Path | None = None) -> None:
        self.name, self.output = name, output
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_CACHE_DIR": str(ROOT / "models/bench/inductor")}
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, env=environment)
        answer = self._line()
        word, _, rest = answer.partition(" ")
        self.skipped = rest if word == "skip" else None
        self.version = rest
        if word not in ("ready", "skip"):
            raise Failure(f"{name} answered “{answer}”")

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            last = self.errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise Failure(f"{self.name} has ended: {' '.join(last)[:300]}")
        return line.strip()

    def time(self) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> int:
        """Ends it, and gives the most memory that it held, in bytes."""
        self.process.stdin.close()
        self.process.stdout.close()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_maxrss * 1024


def rounds_of(engines: list[Engine], rounds: int, seconds: float) -> list[list[float]]:
    """Milliseconds of each engine in each round, the engines taking turns; a round has as many repeats as fit into `seconds`."""
    first = [engine.time() for engine in engines]
    repeats = [max(1, min(20, int(seconds * 1e3 / t))) for t in first]
    times: list[list[float]] = [[] for _ in engines]
    for _ in range(rounds):
        for engine, repeat, found in zip(engines, repeats, times, strict=True):
            # Threads of the one before fall asleep meanwhile, and ours wake up.
            time.sleep(0.02)
            if repeat > 1:
                engine.time()
            found.append(statistics.median(engine.time() for _ in range(repeat)))
    return times


class Comparison:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.rows: list[Row | Skipped] = []
        self.failed = False
        if options.json and options.json.exists():
            self.rows = [report.read(record) for record in json.loads(options.json.read_text())]

    def add(self, row: Row | Skipped) -> None:
        report.keep(self.rows, row)
        print(report.rows_table([row]).splitlines()[1], flush=True)

    # MARK: What is needed

    def model(self, network: str) -> Path:
        for path in (ROOT / f"models/bench/{network}.onnx", ROOT.parent / f"shared/models/{network}.onnx", ROOT / f"models/{network}.onnx"):
            if path.exists():
                return path
        raise SystemExit(f"compare: There is no network “{network}” in models/bench or ../shared/models; `make bench` writes the former.")

    def layer(self, model: Path) -> str:
        """The value that the program explains of its own accord."""
        found = json.loads(self.program("layers", "--model", model, "--json").stdout)
        return found["layers"][found["automatic"]]["output"]

    def program(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([self.options.app, *arguments], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"compare: {done.stderr.strip()}")
        return done

    def batch(self, batch: int, model: Path) -> Path:
        """Noise with coarse and fine structure, the same for all."""
        path = self.folder / f"{batch}.npy"
        if not path.exists():
            random = np.random.default_rng(3)
            coarse = np.kron(random.standard_normal((batch, 3, 14, 14)), np.ones((16, 16)))
            fine = random.standard_normal((batch, 3, 224, 224))
            np.save(path, (coarse + 0.5 * fine).astype(np.float32))
        return path

    def ours(self, model: Path, work: str, x: Path, device: str, threads: int) -> Engine:
        output = self.folder / "ours.npy"
        arguments = ["--work", work] if work == "input-gradient" else ["--method", work]
        return Engine(f"app bench ({device})", [
            self.options.app, "bench", "--model", model, "--input", x, *arguments, "--device", device, "--threads", str(threads), "--on-request",
            "--output", output, "--force"], threads, output)

    def peer(self, name: str, model: Path, layer: str, work: str, x: Path, threads: int) -> Engine:
        output = self.folder / f"{name}.npy"
        return Engine(name, [
            sys.executable, HERE / "peers.py", name, "--model", model, "--layer", layer, "--work", work, "--threads", str(threads), "--input", x,
            "--output", output], threads, output)

    def agreeing(self, work: str, ours: np.ndarray, theirs: np.ndarray, name: str) -> float:
        """The smallest Pearson correlation of a picture's maps; times of maps that differ would mean nothing."""
        n = len(ours)
        found = min(float(np.corrcoef(a, b)[0, 1]) for a, b in zip(ours.reshape(n, -1), theirs.reshape(n, -1), strict=True))
        if not found >= CORRELATION.get(work, 0.9999):
            raise Failure(f"the maps of {name} and ours have a correlation of {found:.6f}")
        return found

    # MARK: Rows

    def compare(self, network: str, work: str, batch: int) -> None:
        """Against the other engines."""
        o = self.options
        model = self.model(network)
        layer, x = self.layer(model), self.batch(batch, model)
        place = (network, work, batch, o.threads, o.device)
        ours = self.ours(model, work, x, o.device, o.threads)
        engines, correlations = [ours], [1.0]
        able = [name for name in report.PEERS[work] if name in report.FORWARD or network in NETWORKS]
        for name in [name for name in o.peers if name in able]:
            try:
                peer = self.peer(name, model, layer, work, x, o.threads)
                if peer.skipped is not None:
                    self.add(Skipped(*place, name, peer.skipped))
                    continue
                correlations.append(self.agreeing(work, np.load(ours.output), np.load(peer.output), name))
                engines.append(peer)
            except Failure as reason:
                # The others can still be timed.
                self.add(Skipped(*place, name, str(reason)))
                self.failed = True
        if o.check_only:
            for peer, agreement in zip(engines[1:], correlations[1:], strict=True):
                print(f"{network}, {work}, batch {batch}: correlation with {peer.name} {peer.version} {agreement:.7f}", flush=True)
        else:
            times = rounds_of(engines, o.rounds, o.seconds)
            for peer, found, agreement in zip(engines[1:], times[1:], correlations[1:], strict=True):
                self.add(Row(*place, peer.name, peer.version, **report.compared(times[0], found), correlation=agreement))
        for engine in engines:
            engine.close()

    def against_ourselves(self, network: str, batch: int, other: tuple[str, int], peer: str, device: str, threads: int) -> None:
        """The program on `device` with `threads` against itself on the device, with the threads, of `other`."""
        model = self.model(network)
        x = self.batch(batch, model)
        engines = [self.ours(model, "gradcam", x, device, threads), self.ours(model, "gradcam", x, *other)]
        times = rounds_of(engines, self.options.rounds, self.options.seconds)
        for engine in engines:
            engine.close()
        self.add(Row(network, "gradcam", batch, threads, device, peer, "", **report.compared(*times)))

    def memory(self, network: str, batch: int) -> None:
        model = self.model(network)
        x, layer, threads = self.batch(batch, model), self.layer(model), self.options.threads
        sizes = []
        for start in (lambda: self.ours(model, "gradcam", x, self.options.device, threads),
                      lambda: self.peer("onnxruntime", model, layer, "gradcam", x, threads)):
            engine = start()
            engine.time()
            sizes.append(engine.close() * 1e-6)
        ratio = sizes[1] / sizes[0]
        self.add(Row(network, "peak memory", batch, threads, self.options.device, "onnxruntime", engine.version, *sizes, ratio, (ratio, ratio),
                     unit="MB"))

    def photograph(self, network: str, device: str) -> None:
        """One photograph, from process start to PNG written, with warm caches."""
        model = self.model(network)
        photo = self.photo()
        result = self.folder / "results"
        prepared = self.folder / f"{network}.prepared"
        if not prepared.exists():
            subprocess.run([sys.executable, HERE / "one_photograph.py", "prepare", model, self.layer(model), prepared], check=True)
        threads = str(self.options.threads)
        commands = [
            [self.options.app, "explain", photo, "--model", model, "--preprocess", "imagenet", "--device", device, "--threads", threads,
             "--output", result, "--force"],
            [sys.executable, HERE / "one_photograph.py", "explain", prepared, photo, self.folder / "peer.png", threads]]

        def run(command: list[str | Path]) -> float:
            start = time.perf_counter()
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
            if done.returncode != 0:
                raise Failure(done.stderr.strip())
            return (time.perf_counter() - start) * 1e3

        shutil.rmtree(result, ignore_errors=True)
        for command in commands:
            run(command)
        heat = np.load(next(result.glob("*.heatmap.npy")))[None]
        agreement = self.agreeing("photograph", heat, np.load(self.folder / "peer.npy")[None], "the script")
        times: list[list[float]] = [[], []]
        for _ in range(self.options.rounds):
            for command, found in zip(commands, times, strict=True):
                found.append(run(command))
        import onnxruntime

        self.add(Row(network, "photograph", 1, self.options.threads, device, "onnxruntime", onnxruntime.__version__, **report.compared(*times),
                     correlation=agreement))

    def photo(self) -> Path:
        """A JPEG of the size that telephones share."""
        from PIL import Image

        path = self.folder / "photograph.jpg"
        if not path.exists():
            coarse = np.random.default_rng(4).integers(0, 256, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((1024, 768), Image.Resampling.BICUBIC).save(path, quality=92)
        return path

    def openCL(self) -> str | None:
        """The first OpenCL device that is the processor, and that the program can use."""
        devices = json.loads(self.program("devices", "--json").stdout)["opencl"]
        return next((device["name"] for device in devices if device["usable"] and device["type"] == "cpu"), None)

    # MARK: All

    def run(self) -> None:
        o = self.options
        device = self.openCL() if {"device", "photograph"} & set(o.work) else None
        for network in o.networks:
            for work in o.work:
                for batch in o.batch if work not in ("photograph",) else [1]:
                    if work in ("gradcam", "fem", "input-gradient"):
                        self.compare(network, work, batch)
                    elif work == "device" and device:
                        self.against_ourselves(network, batch, ("cpu", o.threads), "our cpu", device, o.threads)
                    elif work == "threads":
                        self.against_ourselves(network, batch, ("cpu", 1), "our cpu, 1 thread", "cpu", 2)
                    elif work == "memory":
                        self.memory(network, batch)
                    elif work == "photograph":
                        self.photograph(network, "cpu")
                        if device:
                            self.photograph(network, device)
                self.save()

    def save(self) -> None:
        if self.options.json:
            self.options.json.parent.mkdir(parents=True, exist_ok=True)
            self.options.json.write_text(json.dumps([row.record() for row in self.rows], indent=1, ensure_ascii=False) + "\n")
        if self.options.markdown:
            self.options.markdown.write_text(report.document(self.rows))


# What `make bench` does: (networks, work, batches). More batches where a target names them, else one and eight.
EVERYTHING: list[tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]] = [
    (("resnet50",), ("gradcam",), (1, 8, 32)),
    (("vgg16", "mobilenet_v2", "densenet121", "resnext50_32x4d", "googlenet"), ("gradcam",), (1, 8)),
    # One of these has the batch 1 written into it, which the peers obey.
    (("SHARED",), ("gradcam",), (1,)),
    (("resnet50", "mobilenet_v2", "vgg16"), ("input-gradient", "fem"), (1, 8)),
    (("resnet50", "mobilenet_v2", "vgg16"), ("device", "threads"), (1, 8)),
    (("resnet50",), ("memory",), (1, 32)),
    (("efficientnet-lite0", "resnet50"), ("photograph",), (1,)),
]
QUICK = [(("resnet50",), ("gradcam",), (1, 8))]


def main() -> None:
    def names(text: str) -> list[str]:
        return [part for part in text.split(",") if part]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ResNet-50 beside ONNX Runtime and OpenVINO alone")
    parser.add_argument("--networks", type=names)
    parser.add_argument("--peers", type=names)
    parser.add_argument("--work", type=names, help=", ".join(WORK))
    parser.add_argument("--batch", type=lambda text: [int(part) for part in names(text)])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="ours: cpu or opencl:N")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="what an engine may repeat its work for in a round")
    parser.add_argument("--check-only", action="store_true", help="compare maps, time nothing")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    options = parser.parse_args()
    options.app = options.app.resolve()
    if wrong := set(options.peers or []) - set(report.ALL):
        parser.error(f"no such peer: {', '.join(sorted(wrong))}; there are {', '.join(report.ALL)}")
    if wrong := set(options.work or []) - set(WORK):
        parser.error(f"no such work: {', '.join(sorted(wrong))}; there are {', '.join(WORK)}")
    options.peers = options.peers or list(report.FORWARD if options.quick else report.ALL)

    shared = sorted(path.stem for path in (ROOT.parent / "shared/models").glob("*.onnx"))
    folder = Path(tempfile.mkdtemp(prefix="whitebox-bench-"))
    try:
        comparison = Comparison(options, folder)
        for networks, work, batches in QUICK if options.quick else EVERYTHING:
            if options.networks or options.work or options.batch:
                # A choice is made of everything that can be measured.
                networks, work, batches = options.networks or ("resnet50",), options.work or ("gradcam",), options.batch or (1,)
            options_of_part = argparse.Namespace(**{**vars(options), "work": work, "batch": batches, "networks": [
                name for network in networks for name in (shared if network == "SHARED" else [network])]})
            comparison.options = options_of_part
            comparison.run()
            if options.networks or options.work or options.batch:
                break
        if not options.check_only:
            print()
            print(report.targets_table(comparison.rows))
        if comparison.failed:
            sys.exit("compare: Some engines could not be compared; the rows say why.")
    except Failure as reason:
        sys.exit(f"compare: {reason}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
