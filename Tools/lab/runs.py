"""Runs the program: one method on one picture by one network, its map and the processor's seconds that it took."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import resource
import subprocess
from pathlib import Path

import numpy as np

# What a run is asked for beside the program's own defaults. The paper's 4,000 masks of RISE would double the time of the exercise.
USUAL = {"lime": {"samples": "1000"}, "rise": {"samples": "2000"}}
_DONE = "done.json"


class RunError(RuntimeError):
    """The program failed; the message is its own sentence."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of the program. Settings that are not named are the usual ones."""

    network: Path
    picture: Path
    method: str
    target: str = "top1"
    settings: dict[str, str] = dataclasses.field(default_factory=dict)
    layer: str = "auto"
    seed: int = 0

    @property
    def folder(self) -> str:
        parts = [self.method, self.target, *(f"{name}={value}" for name, value in self.settings.items())]
        parts += [f"layer={self.layer}"] * (self.layer != "auto") + [f"seed={self.seed}"] * (self.seed != 0)
        return "/".join([self.network.stem, self.picture.stem, "-".join(parts)])

    def arguments(self) -> list[str]:
        settings = USUAL.get(self.method, {}) | self.settings
        sets = [word for name, value in settings.items() for word in ("--set", f"{self.method}.{name}={value}")]
        return [
            "explain", str(self.picture), "--model", str(self.network), "--method", self.method, "--class", self.target,
            "--layer", self.layer, "--seed", str(self.seed), "--device", "cpu", *sets,
        ]


@dataclasses.dataclass(frozen=True)
class Explained:
    """The answer: the entry of results.json, the raw map, the heat map, and the processor's seconds."""

    results: dict
    raw: np.ndarray
    heat: np.ndarray
    seconds: float

    @property
    def image(self) -> dict:
        return self.results["images"][0]

    @property
    def explanation(self) -> dict:
        return self.image["explanations"][0]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.raw.astype("<f4").tobytes()).hexdigest()


class Program:
    """`app`, and the folder for its results. A run whose results are there, by the same program of the same files, is not repeated."""

    def __init__(self, app: Path, results: Path) -> None:
        self._app, self._results = app, results

    def json(self, *arguments: str) -> object:
        return json.loads(self._run([*arguments, "--json"]))

    def explain(self, request: Request) -> Explained:
        folder = self._results / request.folder
        arguments, done = request.arguments(), folder / _DONE
        run = {"arguments": arguments, "files": [file_sha256(path) for path in (self._app, request.network, request.picture)]}
        known = json.loads(done.read_text()) if done.exists() else {}
        if {key: known.get(key) for key in run} != run:
            done.unlink(missing_ok=True)
            before = _processor_seconds()
            self._run([*arguments, "--output", str(folder), "--force", "--quiet"])
            known = run | {"seconds": _processor_seconds() - before}
            done.write_text(json.dumps(known))
        results = json.loads((folder / "results.json").read_text())
        answer = results["images"][0]["explanations"][0]
        raw, heat = (np.load(folder / answer[name]) for name in ("map", "heatmap"))
        return Explained(results, raw, heat, known["seconds"])

    def _run(self, arguments: list[str]) -> str:
        result = subprocess.run([self._app, *arguments], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RunError(result.stderr.strip() or f"{self._app} ended with {result.returncode}.")
        return result.stdout


@functools.cache
def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
