#!/usr/bin/env python3
"""Times methods of explanation that ask the network many times, beside our own forward passes and beside peers, alternating in one run.

    methods.py [--network NAME] [--quick | --full] [--only ROW,…] [--rounds N] [--threads N] [--json FILE] [--markdown FILE]

Works on one photograph. Where a method takes minutes, fewer of its passes are timed: the program twice, with few and with more samples, of
which the difference says what one more pass costs and the rest what is needed once; both are put together for as many passes as the method
makes by default. Peers written by hand are timed with one or two batches and without cutting the picture into segments, in their favour. `--full`
makes all passes. In a round each engine has its turn; a ratio is taken within a round. Rows have the ratio of processor time too, which
other processes disturb less than the clock's, and what those took of the processor; before each turn the script waits for a moment in which
they leave it alone, altogether not longer than --patience. Rows join those that are in the JSON file already.
That maps agree is what `make crosscheck` shows; here only time and memory are measured.
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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import report
from compare import HERE, ROOT, Engine, Failure
from method_peers import DEVIATION, MEAN
from report import Row, Skipped

# Milliseconds by the clock and of the processor: of a pass, a step or a picture, whatever the row counts.
Cost = np.ndarray
Timer = Callable[[], Cost]


@dataclass(frozen=True)
class Layer:
    """A layer by its name here, as a value of the ONNX file, and as a module of networks.py: a convolution, so that no channel is the same
    everywhere."""

    name: str
    module: str
    channels: int

    @property
    def value(self) -> str:
        return self.name + "_output_0"


# Of each network two layers with few channels, for Score-CAM in less than minutes. Channels are multiples of 8, how many passes the program
# makes at a time on two threads.
LAYERS = {
    "resnet50": (Layer("/features/layer1/layer1.2/conv2/Conv", "features.layer1.2.conv2", 64),
                 Layer("/features/layer2/layer2.3/conv2/Conv", "features.layer2.3.conv2", 128)),
    "mobilenet_v2": (Layer("/features/features.2/conv/conv.2/Conv", "features.2.conv.2", 24),
                     Layer("/features/features.8/conv/conv.2/Conv", "features.8.conv.2", 64)),
}
# The last module of `features` is the layer that the program explains of its own accord.
LAST = "features"

# Those that one pass forward and one back serve.
TEN = ("gradcam", "gradcam++", "xgradcam", "hirescam", "elementwise-gradcam", "layercam", "eigencam", "eigengradcam", "finercam", "cam")
ROWS = (*report.BLACK_BOX, "ablationcam", "reciprocam", *report.GRADIENTS, "ten CAMs", "memory")
HAND = ("torch-eager", "torch-channels-last", "onnxruntime")
SIDE, WINDOW, STRIDE, STEPS = 224, 15, 8, 50


def windows(side: int, window: int, stride: int) -> int:
    """How many lie on a square picture; the last ends at the edge."""
    along = 1 + -(-(side - window) // stride)
    return along * along


@dataclass(frozen=True)
class Amount:
    """How much of a black-box method is timed: samples, of Score-CAM channels, of Occlusion the side of a window in pixels."""

    whole: int
    ours: tuple[int, int]
    # Of peers by hand as many as fill their batches; of packages one number, or two if something is needed once.
    torch: int
    onnxruntime: int
    package: tuple[int, ...]
    named: int

    def of(self, peer: str, full: bool) -> tuple[int, ...]:
        if full:
            return (self.named,)
        if peer in HAND:
            return (self.onnxruntime if peer == "onnxruntime" else self.torch,)
        return self.package


AMOUNTS = {
    # As many as there are channels.
    "scorecam": Amount(whole=0, ours=(0, 0), torch=32, onnxruntime=16, package=(0,), named=1 << 20),
    "rise": Amount(whole=4000, ours=(8, 72), torch=32, onnxruntime=16, package=(), named=4000),
    "lime": Amount(whole=1000, ours=(8, 72), torch=32, onnxruntime=16, package=(10, 30), named=1000),
    # Windows of 56 pixels, 4 × 4 of them, and of 28.
    "occlusion": Amount(whole=windows(SIDE, WINDOW, STRIDE), ours=(56, 28), torch=56, onnxruntime=56, package=(56,), named=WINDOW),
}


def per_pass(few: Cost, many: Cost, passes: tuple[int, int], whole: int) -> Cost:
    """What a pass takes among `whole` ones, if so many took `few` and `many`: what one more takes, and its share of what is needed once."""
    one = (many - few) / (passes[1] - passes[0])
    return one + (few - one * passes[0]) / whole


class Machine:
    """The processor, of which others may take a part."""

    def __init__(self, patience: float) -> None:
        self.patience = patience

    @staticmethod
    def busy() -> float:
        """Seconds that all of it has worked, whoever for."""
        user, nice, system, _, _, irq, soft, steal = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
        return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def spent(process: int) -> float:
        """Seconds that it has worked for a process. The clock's number is Linux's (clock_getcpuclockid)."""
        return time.clock_gettime((~process << 3) | 2)

    def wait(self) -> None:
        """For a quiet third of a second, as long as there is patience."""
        while self.patience > 0:
            start, busy = time.perf_counter(), self.busy()
            time.sleep(0.3)
            passed = time.perf_counter() - start
            if self.busy() - busy < 0.15 * passed:
                return
            self.patience -= passed


@dataclass
class Turns:
    """Of one side of a comparison, its cost in each round, and what others took of the processor meanwhile."""

    name: str
    timer: Timer
    engines: list[Engine]
    costs: list[Cost] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def spent(self) -> float:
        return sum(Machine.spent(engine.process.pid) for engine in self.engines)

    def take(self, machine: Machine, seconds: float) -> None:
        machine.wait()
        start, busy, own = time.perf_counter(), machine.busy(), self.spent()
        costs = [self.timer()]
        while time.perf_counter() - start < seconds:
            costs.append(self.timer())
        passed = time.perf_counter() - start
        self.costs.append(np.median(costs, axis=0))
        self.others.append(max(0.0, machine.busy() - busy - (self.spent() - own)) / (passed * os.cpu_count()))

    def times(self) -> list[float]:
        return [float(cost[0]) for cost in self.costs]


class Asked(Engine):
    """The program, or a peer, which says with how many passes it needed its time."""

    def measure(self) -> tuple[Cost, int]:
        own = Machine.spent(self.process.pid)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        milliseconds, _, passes = self._line().partition(" ")
        return np.array([float(milliseconds), (Machine.spent(self.process.pid) - own) * 1e3]), int(passes or 1)

    def cost(self) -> Cost:
        return self.measure()[0]

    def a_pass(self) -> Cost:
        cost, passes = self.measure()
        return cost / passes


class Methods:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.machine = Machine(options.patience)
        self.model = ROOT / f"models/bench/{options.network}.onnx"
        if not self.model.exists():
            raise SystemExit(f"methods: There is no {self.model}; `make bench-methods` writes it.")
        self.small, self.larger = LAYERS[options.network]
        self.rows: list[Row | Skipped] = []
        if options.json and options.json.exists():
            self.rows = [report.read(record) for record in json.loads(options.json.read_text())]
        self.input = self.folder / "x.npy"
        np.save(self.input, self.pixels())
        self.engines: list[Asked] = []
        self.batch = 0

    def pixels(self) -> np.ndarray:
        """The photograph as the network is fed it."""
        from PIL import Image

        with Image.open(self.options.photo) as picture:
            scale = 256 / min(picture.size)
            picture = picture.convert("RGB").resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
        left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
        pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)), np.float32) / 255
        return np.ascontiguousarray(((pixels - MEAN) / DEVIATION).transpose(2, 0, 1)[None])

    # MARK: Engines

    def shared(self) -> list[str | Path]:
        return ["--model", self.model, "--preprocess", "imagenet", "--device", "cpu", "--threads", str(self.options.threads), "--work-limit",
                "1000000"]

    def ours(self, method: str, *more: str, pictures: Path | None = None) -> Asked:
        return self.start(f"app bench ({method})", [self.options.app, "bench", *self.shared(), "--input", pictures or self.input, "--method", method,
                                                    *more, "--on-request"])

    def peer(self, name: str, method: str, amount: int, layer: Layer, stride: int = STRIDE) -> Asked | None:
        peer = self.start(name, [sys.executable, HERE / "method_peers.py", name, method, "--model", self.model, "--value", layer.value, "--module",
                                 layer.module, "--amount", str(amount), "--stride", str(stride), "--threads", str(self.options.threads), "--input",
                                 self.input])
        if peer.skipped is not None:
            self.add(Skipped(*self.place(method), name, peer.skipped))
            return None
        return peer

    def start(self, name: str, command: list[str | Path]) -> Asked:
        engine = Asked(name, command, self.options.threads)
        self.engines.append(engine)
        return engine

    def plain(self) -> tuple[str, Turns]:
        """Passes in batches: Grad-CAM, because the program times nothing without maps. Its way back to the last layer and its maps are some
        thousandths of it."""
        batch = self.best_batch()
        pictures = self.folder / f"{batch}.npy"
        np.save(pictures, np.repeat(np.load(self.input), batch, axis=0))
        engine = self.ours("gradcam", pictures=pictures)
        return "", Turns("our passes", lambda: engine.cost() / batch, [engine])

    def best_batch(self) -> int:
        if not self.batch:
            found = self.program("bench", *self.shared(), "--batch", "1,8,32", "--rounds", "1", "--json")
            self.batch = min(found["batches"], key=lambda batch: batch["milliseconds"]["forward"] / batch["batch"])["batch"]
        return self.batch

    def program(self, *arguments: str | Path) -> dict:
        done = subprocess.run([self.options.app, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(done.stderr.strip())
        return json.loads(done.stdout)

    # MARK: Rows

    def compare(self, work: str, unit: str, ours: Turns, peers: list[tuple[str, Turns]]) -> None:
        """Adds a row for each peer, given with its version."""
        for _ in range(self.options.rounds):
            for turns in (ours, *(turns for _, turns in peers)):
                turns.take(self.machine, self.options.seconds)
        for version, turns in peers:
            processor = statistics.median(float(t[1] / o[1]) for o, t in zip(ours.costs, turns.costs, strict=True))
            self.add(Row(*self.place(work), turns.name, version.partition("+")[0], **report.compared(ours.times(), turns.times()), unit=unit,
                         processor=processor, others=statistics.mean(ours.others + turns.others)))

    def place(self, work: str) -> tuple:
        return (self.options.network, work, 1, self.options.threads, "cpu")

    def add(self, row: Row | Skipped) -> None:
        report.keep(self.rows, row)
        print(report.methods_table([row]).splitlines()[1], flush=True)

    def black_box(self, method: str) -> None:
        """The passes of a method beside plain ones, beside the same by hand, and beside the package that has it."""
        ours = self.all_passes(method) if self.options.full else self.some_passes(method)
        peers = [self.plain()]
        layer = Layer(self.automatic()[:-len("_output_0")], LAST, self.live()) if self.options.full else self.small
        for name in (*HAND, report.PACKAGES.get(method)):
            if name is None:
                continue
            amounts = AMOUNTS[method].of(name, self.options.full)
            asked = [self.peer(name, method, min(amount, layer.channels) if method == "scorecam" else amount, layer,
                               STRIDE if self.options.full else amount) for amount in amounts]
            if None in asked:
                continue
            if len(asked) == 1:
                peers.append((asked[0].version, Turns(name, asked[0].a_pass, asked)))
            else:
                peers.append((asked[0].version, Turns(name, lambda asked=asked: self.extrapolated(*asked, AMOUNTS[method].whole), asked)))
        self.compare(method, "ms a pass", ours, peers)

    @staticmethod
    def extrapolated(few: Asked, many: Asked, whole: int) -> Cost:
        (t, n), (u, m) = few.measure(), many.measure()
        return per_pass(t, u, (n, m), whole)

    def some_passes(self, method: str) -> Turns:
        """Ours, told from what is needed once by two numbers of them."""
        a = AMOUNTS[method]
        whole = a.whole
        if method == "scorecam":
            engines = [self.ours(method, "--layer", layer.name) for layer in (self.small, self.larger)]
            passes, whole = (self.small.channels, self.larger.channels), self.live()
        elif method == "occlusion":
            engines = [self.ours(method, "--set", f"occlusion.window={side}", "--set", f"occlusion.stride={side}") for side in a.ours]
            passes = tuple(windows(SIDE, side, side) for side in a.ours)
        else:
            engines = [self.ours(method, "--set", f"{method}.samples={n}") for n in a.ours]
            passes = a.ours
        few, many = engines
        return Turns("ours", lambda: per_pass(few.cost(), many.cost(), passes, whole), engines)

    def all_passes(self, method: str) -> Turns:
        engine, passes = self.ours(method), self.live() if method == "scorecam" else AMOUNTS[method].whole
        return Turns("ours", lambda: engine.cost() / passes, [engine])

    def automatic(self) -> str:
        """The value that the program explains of its own accord."""
        found = self.program("layers", "--model", self.model, "--json")
        return found["layers"][found["automatic"]]["output"]

    def live(self) -> int:
        """Passes of Score-CAM at that layer: channels that differ from place to place, and one for the others, if there are any."""
        folder = self.folder / "activation"
        self.program("run", *self.shared(), "--input", self.input, "--output", folder, "--outputs", self.automatic(), "--force", "--json")
        values = np.load(next(folder.glob("*.npy")))[0]
        flat = values.reshape(len(values), -1)
        live = int((flat.min(1) != flat.max(1)).sum())
        return live + (live < len(flat))

    def beside_gradcam(self, work: str, method: str) -> None:
        """One picture, all of it, beside its Grad-CAM, which is one pass and some thousandths."""
        ours, alone = self.ours(method), self.ours("gradcam")
        self.compare(work, "ms", Turns("ours", ours.cost, [ours]), [("", Turns("our gradcam", alone.cost, [alone]))])

    def gradients(self, method: str) -> None:
        """Our steps as many as named, the peers' in part: they need nothing once. Relevance is one step."""
        if method == "lrp":
            if "lrp" not in self.methods():
                raise Failure("the program has no method lrp")
            engine, steps, theirs = self.ours(method), 1, {"captum": 1, "zennit": 1}
        else:
            setting = "steps" if method == "integrated-gradients" else "samples"
            engine, steps = self.ours(method, "--set", f"{method}.{setting}={STEPS}"), STEPS
            theirs = {"captum": STEPS, "zennit": STEPS} if self.options.full else {"captum": 16, "zennit": 4}
        peers = [peer for name, amount in theirs.items() if (peer := self.peer(name, method, amount, self.small))]
        self.compare(method, "ms" if method == "lrp" else "ms a step", Turns("ours", lambda: engine.cost() / steps, [engine]),
                     [(peer.version, Turns(peer.name, peer.a_pass, [peer])) for peer in peers])

    def methods(self) -> set[str]:
        found = subprocess.run([self.options.app, "methods"], capture_output=True, text=True, check=True).stdout
        return {line.split()[0] for line in found.splitlines()[1:] if line.strip()}

    def memory(self) -> None:
        """The most that a process holds that explains the photograph, beside that of Grad-CAM. Fewer passes forward hold no less; of passes back
        as many are computed at a time as divide the number well, so that all are computed."""
        few = {"scorecam": ["--layer", self.small.name], "occlusion": ["--set", "occlusion.window=56", "--set", "occlusion.stride=56"],
               "rise": ["--set", "rise.samples=16"], "lime": ["--set", "lime.samples=16"]}
        gradcam = self.held("gradcam")
        for method in ("gradcam", *(row for row in ROWS[:9] if row in self.methods()), ",".join(TEN)):
            held = self.held(method, *([] if self.options.full else few.get(method, [])))
            self.add(Row(*self.place(f"memory of {'ten CAMs' if ',' in method else method}"), "our gradcam", "", held, gradcam, gradcam / held,
                         (gradcam / held, gradcam / held), unit="MB"))

    def held(self, method: str, *more: str) -> float:
        command = [self.options.app, "explain", self.options.photo, *self.shared(), "--method", method, *more, "--output", self.folder / "results",
                   "--force", "--quiet"]
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise Failure(errors.strip())
        return usage.ru_maxrss * 1024 * 1e-6

    # MARK: All

    def run(self) -> None:
        for name in self.options.only or ROWS:
            try:
                self.row(name)
            except Failure as reason:
                self.add(Skipped(*self.place(name), "", str(reason)))
            finally:
                for engine in self.engines:
                    engine.close()
                self.engines.clear()
            self.save()

    def row(self, name: str) -> None:
        if name in report.BLACK_BOX:
            self.black_box(name)
        elif name in report.GRADIENTS:
            self.gradients(name)
        elif name == "memory":
            self.memory()
        else:
            self.beside_gradcam(name, ",".join(TEN) if name == "ten CAMs" else name)

    def save(self) -> None:
        if self.options.json:
            self.options.json.parent.mkdir(parents=True, exist_ok=True)
            self.options.json.write_text(json.dumps([row.record() for row in self.rows], indent=1, ensure_ascii=False) + "\n")
        if self.options.markdown:
            self.options.markdown.write_text(report.methods_table(self.rows, markdown=True) + "\n")


def main() -> None:
    def names(text: str) -> list[str]:
        return [part for part in text.split(",") if part]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=LAYERS)
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="MobileNetV2, one round")
    extent.add_argument("--full", action="store_true", help="all samples, in one round: more than an hour")
    parser.add_argument("--only", type=names, help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, default=0.4, help="what an engine may repeat its work for in a turn")
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait, in all, for others to leave the processor alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--photo", type=Path, default=ROOT / "demo/photos/coffee.png")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    options = parser.parse_args()
    options.app = options.app.resolve()
    options.network = options.network or ("mobilenet_v2" if options.quick else "resnet50")
    options.rounds = options.rounds or (1 if options.quick or options.full else 3)
    if wrong := set(options.only or []) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(wrong))}; there are {', '.join(ROWS)}")

    folder = Path(tempfile.mkdtemp(prefix="whitebox-bench-"))
    try:
        methods = Methods(options, folder)
        methods.run()
        print()
        print(report.methods_table(methods.rows))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
