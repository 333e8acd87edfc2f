"""Rows of the comparison: their statistics, the targets, and the tables made of them. Knows no engine and runs nothing."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field


@dataclass
class Row:
    """Two ways to do the same work, timed alternately. `ratio` is the peer's time by ours, so more is better for us."""

    network: str
    work: str
    batch: int
    threads: int
    device: str
    peer: str
    peer_version: str
    ours_ms: float
    peer_ms: float
    ratio: float
    spread: tuple[float, float]
    correlation: float | None = None
    unit: str = "ms"
    # The ratio of what both take of the processor, and the share of it that other processes took meanwhile.
    processor: float | None = None
    others: float | None = None

    @property
    def key(self) -> tuple:
        return (self.network, self.work, self.batch, self.threads, self.device, self.peer)

    def record(self) -> dict:
        return asdict(self)


@dataclass
class Skipped:
    """A peer that could not do the work, and why."""

    network: str
    work: str
    batch: int
    threads: int
    device: str
    peer: str
    skipped: str

    @property
    def key(self) -> tuple:
        return (self.network, self.work, self.batch, self.threads, self.device, self.peer)

    def record(self) -> dict:
        return asdict(self)


def read(record: dict) -> Row | Skipped:
    if "skipped" in record:
        return Skipped(**record)
    return Row(**{**record, "spread": tuple(record["spread"])})


def keep(rows: list[Row | Skipped], row: Row | Skipped) -> None:
    """Adds a row, or puts it in the place of the one that it renews."""
    keys = [old.key for old in rows]
    if row.key in keys:
        rows[keys.index(row.key)] = row
    else:
        rows.append(row)


def compared(ours: list[float], theirs: list[float]) -> dict:
    """Medians of the rounds, and the ratio of each round: its median, smallest and largest."""
    ratios = [t / o for o, t in zip(ours, theirs, strict=True)]
    return {"ours_ms": statistics.median(ours), "peer_ms": statistics.median(theirs), "ratio": statistics.median(ratios),
            "spread": (min(ratios), max(ratios))}


FORWARD = ("onnxruntime", "openvino")
TORCH = ("torch-eager", "torch-channels-last", "torch-compile")
ALL = (*FORWARD, "pytorch-grad-cam", "captum", *TORCH)
# Who can do it. The first two run any ONNX file, the others the networks that torchvision has.
PEERS = {
    "gradcam": (*FORWARD, "pytorch-grad-cam", "captum", "torch-channels-last", "torch-compile"),
    "fem": (*FORWARD, "torch-channels-last", "torch-compile"),
    "input-gradient": TORCH,
}


@dataclass
class Target:
    """What is to be reached: a ratio of at least `bound`, or, where `at_most`, our number of at most `bound`."""

    title: str
    networks: tuple[str, ...]
    work: str
    bound: float
    peers: tuple[str, ...]
    batches: tuple[int, ...] = (1,)
    device: str = "cpu"
    at_most: bool = False
    unit: str = "×"
    rows: list[Row] = field(default_factory=list)

    def of(self, rows: list[Row]) -> list[Row]:
        """The rows that decide: of each network and batch the one with the best peer."""
        best: dict[tuple, Row] = {}
        for row in rows:
            fits = (row.network in self.networks and row.work == self.work and row.batch in self.batches and row.peer in self.peers
                    and row.device.startswith(self.device))
            place = (row.network, row.batch)
            if fits and (place not in best or row.ratio < best[place].ratio):
                best[place] = row
        return [best[place] for place in sorted(best, key=lambda p: (self.networks.index(p[0]), p[1]))]

    @property
    def wanted(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:.3g} {self.unit}"

    def number(self, row: Row) -> float:
        return row.ours_ms if self.at_most else row.ratio

    def met(self, row: Row) -> bool:
        return self.number(row) <= self.bound if self.at_most else self.number(row) >= self.bound


# Two threads, binary32, ratios within one run.
TARGETS = [
    Target("Grad-CAM, best of ONNX Runtime and OpenVINO", ("resnet50",), "gradcam", 1.25, FORWARD, (1, 8, 32)),
    Target("Grad-CAM, pytorch-grad-cam", ("resnet50",), "gradcam", 6, ("pytorch-grad-cam",), (1, 8, 32)),
    Target("Grad-CAM, best peer", ("vgg16",), "gradcam", 1.6, ALL, (1, 8)),
    Target("Grad-CAM, best peer", ("mobilenet_v2", "mobilenetv2", "efficientnet-lite0", "densenet121", "resnext50_32x4d", "googlenet"),
           "gradcam", 1.0, ALL, (1, 8)),
    Target("Input gradient, best form in PyTorch", ("resnet50",), "input-gradient", 2.5, TORCH, (1, 8)),
    Target("OpenCL on a CPU, our own cpu", ("resnet50", "mobilenet_v2", "vgg16"), "gradcam", 0.85, ("our cpu",), (1, 8), device="opencl"),
    Target("cpu with 2 threads, with 1", ("resnet50", "mobilenet_v2", "vgg16"), "gradcam", 1.8, ("our cpu, 1 thread",), (1, 8)),
    Target("Peak memory", ("resnet50",), "peak memory", 250, ("onnxruntime",), (1,), at_most=True, unit="MB"),
    Target("Peak memory", ("resnet50",), "peak memory", 500, ("onnxruntime",), (32,), at_most=True, unit="MB"),
    Target("One photograph, from process start to PNG, cpu", ("efficientnet-lite0",), "photograph", 120, ("onnxruntime",), at_most=True, unit="ms"),
    Target("One photograph, from process start to PNG, cpu", ("resnet50",), "photograph", 300, ("onnxruntime",), at_most=True, unit="ms"),
    Target("One photograph, from process start to PNG, OpenCL, warm cache", ("efficientnet-lite0",), "photograph", 300, ("onnxruntime",),
           device="opencl", at_most=True, unit="ms"),
    Target("One photograph, from process start to PNG, OpenCL, warm cache", ("resnet50",), "photograph", 500, ("onnxruntime",), device="opencl",
           at_most=True, unit="ms"),
]

# methods.py: ratios are of a pass, a step or a picture. Within 1.3 × is a ratio of 1 / 1.3.
BLACK_BOX = ("scorecam", "rise", "lime", "occlusion")
PACKAGES = {"scorecam": "pytorch-grad-cam", "lime": "lime", "occlusion": "captum"}
GRADIENTS = ("integrated-gradients", "smoothgrad", "lrp")
METHOD_TARGETS = [
    *(Target("As fast as plain passes", ("resnet50",), work, 0.92, ("our passes",)) for work in BLACK_BOX),
    *(Target("By hand in PyTorch", ("resnet50",), work, 2.5, ("torch-eager", "torch-channels-last")) for work in BLACK_BOX),
    *(Target("By hand around ONNX Runtime", ("resnet50",), work, 1.2, ("onnxruntime",)) for work in BLACK_BOX),
    *(Target("The package", ("resnet50",), work, 3, (peer,)) for work, peer in PACKAGES.items()),
    *(Target("Within 1.3 × of one pass", ("resnet50",), work, 1 / 1.3, ("our gradcam",)) for work in ("ablationcam", "reciprocam")),
    *(Target("Captum and Zennit", ("resnet50",), work, 2, ("captum", "zennit")) for work in GRADIENTS),
    Target("Within 1.15 × of Grad-CAM", ("resnet50",), "ten CAMs", 1 / 1.15, ("our gradcam",)),
    *(Target("Peak memory", ("resnet50",), f"memory of {work}", 600, ("our gradcam",), at_most=True, unit="MB")
      for work in ("gradcam", *BLACK_BOX, "ablationcam", "reciprocam", *GRADIENTS, "ten CAMs")),
]


def table(cells: list[list[str]], numbers: set[int], markdown: bool = False) -> str:
    """Columns side by side, the first row being their titles; columns in `numbers` end at the right."""
    widths = [max(len(row[c]) for row in cells) for c in range(len(cells[0]))]
    lines = []
    for i, row in enumerate(cells):
        padded = [text.rjust(w) if c in numbers else text.ljust(w) for c, (text, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("| " + " | ".join(padded) + " |" if markdown else "  ".join(padded).rstrip())
        if i == 0 and markdown:
            lines.append("|" + "|".join("-" * (w + 1) + (":" if c in numbers else "-") for c, w in enumerate(widths)) + "|")
    return "\n".join(lines)


def rows_table(rows: list[Row | Skipped], markdown: bool = False) -> str:
    cells = [["network", "work", "batch", "threads", "device", "peer", "ours", "peer's", "unit", "ratio", "spread"]]
    for row in rows:
        start = [row.network, row.work, str(row.batch), str(row.threads), row.device]
        if isinstance(row, Skipped):
            cells.append([*start, row.peer, "", "", "", "", f"left out: {row.skipped}"])
        else:
            cells.append([*start, f"{row.peer} {row.peer_version}".strip(), f"{row.ours_ms:.1f}", f"{row.peer_ms:.1f}", row.unit, f"{row.ratio:.2f}",
                          f"{row.spread[0]:.2f} … {row.spread[1]:.2f}"])
    return table(cells, {2, 3, 6, 7, 9}, markdown)


def methods_table(rows: list[Row | Skipped], markdown: bool = False) -> str:
    """Each row with its target and whether that is met by the clock; targets are of one network, so rows of others have none. A row is
    disturbed if others took more than a fifth of the processor."""
    cells = [["network", "work", "peer", "ours", "peer's", "unit", "ratio", "spread", "of processor", "others", "wanted", "verdict"]]
    for row in rows:
        if isinstance(row, Skipped):
            cells.append([row.network, row.work, row.peer, "", "", "", "", f"left out: {row.skipped}", "", "", "", ""])
            continue
        numbers = [f"{row.ours_ms:.1f}", f"{row.peer_ms:.1f}", row.unit, f"{row.ratio:.2f}", f"{row.spread[0]:.2f} … {row.spread[1]:.2f}",
                   *("" if number is None else form.format(number) for number, form in ((row.processor, "{:.2f}"), (row.others, "{:.0%}")))]
        target = next((target for target in METHOD_TARGETS if target.of([row])), None)
        disturbed = ", disturbed" if (row.others or 0) > 0.2 else ""
        verdict = ["", ""] if target is None else [target.wanted, ("met" if target.met(row) else "missed") + disturbed]
        cells.append([row.network, row.work, f"{row.peer} {row.peer_version}".strip(), *numbers, *verdict])
    return table(cells, {3, 4, 6, 8, 9, 10}, markdown)


def targets_table(rows: list[Row | Skipped], markdown: bool = False) -> str:
    """Every target, what was measured, and whether that is enough; “not measured” for a network without a row that decides."""
    measured = [row for row in rows if isinstance(row, Row)]
    cells = [["target", "network", "batch", "against", "wanted", "measured", "verdict"]]
    for target in TARGETS:
        wanted = target.wanted
        found = target.of(measured)
        for row in found:
            number = target.number(row)
            text = f"{number:.0f}" if target.at_most else f"{number:.2f}"
            cells.append([target.title, row.network, str(row.batch), row.peer, wanted, f"{text} {target.unit}",
                          "met" if target.met(row) else "missed"])
        for network in target.networks:
            if all(row.network != network for row in found):
                cells.append([target.title, network, "", "", wanted, "", "not measured"])
    return table(cells, {2, 4, 5}, markdown)


def document(rows: list[Row | Skipped]) -> str:
    """Both tables in Markdown."""
    return (f"## Targets\n\n{targets_table(rows, markdown=True)}\n\n## Rows\n\n`ratio` is the peer's number by ours, the median over rounds; "
            f"`spread` its smallest and largest.\n\n{rows_table(rows, markdown=True)}\n")
