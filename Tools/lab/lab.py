#!/usr/bin/env python3
"""The lab exercise that this project came from: Grad-CAM and FEM, then LIME and RISE, on two networks and pictures of two animals.

    lab.py                          writes Documentation/lab.json, the tables of Documentation/Lab.md and its figures
    lab.py --images FOLDER          photographs of your own; --resnet50 FILE: one more network. Both write to demo/lab only

Every map is by the program .build/release/app; those that it made before of the same files are not made again. The same figures with
the pictures below the maps go to demo/lab/figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools"))

import figures
import measures
import report
from fetch import FetchError, write_atomically
from pictures import BEAR, ELEPHANT, NAMES, Picture, own_pictures, standard_pictures
from record import Change, Division, Lab, Likeness, Map, Method, Network, Saying, Stage
from runs import Explained, Program, Request, RunError, file_sha256

NETWORKS = tuple(ROOT / f"models/{name}.onnx" for name in ("efficientnet-lite0", "squeezenet1.1"))
METHODS = ("gradcam", "fem", "lime", "rise")
QUICK = METHODS[:2]


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting, and values other than its usual one; `given` are settings without which it has no meaning."""

    method: str
    name: str
    values: tuple[str, ...]
    given: dict[str, str] = dataclasses.field(default_factory=dict)


# Half and double, where that can be. Grids are whole (3.5 would be half of 7); with p = 1 no mask hides anything, so what is halved
# instead of p doubled is 1 - p.
SETTINGS = (
    Setting("fem", "k", ("1", "4")),
    Setting("lime", "samples", ("500", "2000")),
    Setting("lime", "width", ("0.125", "0.5")),
    Setting("lime", "alpha", ("0.5", "2")),
    Setting("lime", "kernel", ("2", "8")),
    Setting("lime", "distance", ("100", "400")),
    Setting("lime", "ratio", ("0.1", "0.4")),
    Setting("lime", "segmentation", ("slic",)),
    Setting("lime", "segments", ("50", "200"), {"segmentation": "slic"}),
    Setting("lime", "compactness", ("5", "20"), {"segmentation": "slic"}),
    Setting("rise", "samples", ("1000", "4000")),
    Setting("rise", "grid", ("4", "14")),
    Setting("rise", "p", ("0.25", "0.75")),
)


def describe_network(program: Program, path: Path) -> Network:
    listing = program.json("layers", "--model", str(path))
    passed_over = ("Pool", "Flatten", "Reshape", "Dropout", "Identity", "Reduce")
    stages: dict[int, Stage] = {}
    for layer in listing["layers"]:
        shape = layer["shape"]
        if len(shape) == 4 and shape[2] > 1 and not any(word in layer["operator"] for word in passed_over):
            stages[shape[2]] = Stage(layer["index"], layer["name"], layer["operator"], shape[1], shape[2],
                                     chosen=layer["index"] == listing["automatic"])
    return Network(path.stem, file_sha256(path), listing["reason"], list(stages.values()))


def describe_method(program: Program, name: str) -> Method:
    method = program.json("methods", name)[0]
    choices = [setting["name"] for setting in method["settings"]]
    choices += ["layer"] * (name in QUICK) + ["seed"] * (name not in QUICK)
    return Method(name, method["title"], method["passes"], choices)


class Exercise:
    """Runs the exercise, and keeps the heat maps for the figures."""

    def __init__(self, program: Program, networks: list[Path], pictures: list[Picture], methods: tuple[str, ...], standard: bool) -> None:
        self.program, self.paths, self.pictures, self.methods = program, networks, pictures, methods
        self.both = next((picture for picture in pictures if len(picture.masks) > 1), None)
        self.single = [picture for picture in pictures if picture is not self.both]
        self.heats: dict[tuple[str, ...], np.ndarray] = {}
        self.masks: dict[tuple[str, int], np.ndarray] = {}
        first = program.explain(Request(networks[0], pictures[0].path, "fem")).results
        self.lab = Lab(
            whitebox=first["whitebox"], device=first["device"], standard=standard,
            networks=[describe_network(program, path) for path in networks],
            methods=[describe_method(program, method) for method in methods],
        )

    def run(self) -> None:
        for path in self.paths:
            # Another network than the two small ones has Grad-CAM and FEM only: LIME and RISE would take it many minutes.
            methods = self.methods if path in NETWORKS else QUICK
            for picture in self.single:
                self._explain(path, picture, methods)
            if self.both:
                self._divide(path, self.both)
        self._change(self.paths[0], self.single[0])

    def _ask(self, request: Request) -> Explained:
        began = time.monotonic()
        answer = self.program.explain(request)
        self.lab.seconds += answer.seconds
        print(f"  {request.folder}: {time.monotonic() - began:.1f} s", flush=True)
        return answer

    def _seen(self, picture: Picture, animal: int, answer: Explained) -> np.ndarray:
        short_side = answer.results["preprocessing"]["resize"]["shortSide"]
        mask = measures.seen(picture.masks[animal], short_side, answer.heat.shape[0])
        self.masks[picture.name, animal] = mask
        return mask

    def _note_saying(self, network: str, picture: Picture, answer: Explained) -> None:
        best, entry = answer.image["predictions"][0], answer.explanation
        self.lab.sayings.append(Saying(network, picture.name, _name(best), best["probability"], _name(entry), entry["probability"]))

    def _explain(self, path: Path, picture: Picture, methods: tuple[str, ...]) -> None:
        network = path.stem
        for method in methods:
            answer = self._ask(Request(path, picture.path, method, picture.target))
            within = points = None
            for animal in picture.masks:
                mask = self._seen(picture, animal, answer)
                self.lab.areas[picture.name] = round(float(mask.mean()), 4)
                within, points = measures.share_within(answer.heat, mask), measures.points_at(answer.heat, mask)
            entry = answer.explanation
            self.lab.maps.append(Map(
                network, picture.name, method, answer.sha256, entry["samples"] or 1, answer.seconds, entry["note"], entry["blank"],
                float(answer.heat.mean(dtype=np.float64)), within, points,
            ))
            self.heats[network, picture.name, method] = answer.heat
            if method == "gradcam":
                self._note_saying(network, picture, answer)
        for first, second in itertools.combinations(methods, 2):
            a, b = (self.heats[network, picture.name, method] for method in (first, second))
            self.lab.likenesses.append(Likeness(
                network, picture.name, first, second, measures.correlation(a, b), measures.similarity(a, b), measures.overlap(a, b)))

    def _divide(self, path: Path, picture: Picture) -> None:
        """The picture with two animals: Grad-CAM of each, and FEM, which knows no class."""
        network = path.stem
        for method, target in (("gradcam", ELEPHANT), ("gradcam", BEAR), ("fem", ELEPHANT)):
            answer = self._ask(Request(path, picture.path, method, str(target)))
            masks = [self._seen(picture, animal, answer) for animal in (ELEPHANT, BEAR)]
            what = f"Grad-CAM, {NAMES[target]}" if method == "gradcam" else "FEM"
            if method == "gradcam":
                self._note_saying(network, picture, answer)
            shares = [measures.share_within(answer.heat, mask) for mask in masks]
            self.lab.divisions.append(Division(network, what, *shares))
            self.heats[network, picture.name, what] = answer.heat
        areas = [float(mask.mean()) for mask in masks]
        self.lab.divisions.append(Division(network, "the picture's area", *areas))

    def _change(self, path: Path, picture: Picture) -> None:
        """One setting at a time has another value, on one picture and one network."""
        network = self.lab.networks[0]
        self.lab.changes_of = (network.name, picture.name)
        plain = {method: Request(path, picture.path, method, picture.target) for method in self.methods}
        for method in QUICK:
            self._compare(plain[method], "layer", dataclasses.replace(plain[method], layer=network.finer.name))
        for setting in SETTINGS:
            if setting.method not in self.methods:
                continue
            usual = dataclasses.replace(plain[setting.method], settings=setting.given)
            for value in setting.values:
                changed = dataclasses.replace(usual, settings=setting.given | {setting.name: value})
                self._compare(usual, setting.name, changed)
        for method in self.methods:
            if method not in QUICK:
                self._compare(plain[method], "seed", dataclasses.replace(plain[method], seed=1))

    def _compare(self, usual: Request, setting: str, changed: Request) -> None:
        a, b = self.program.explain(usual), self._ask(changed)
        values = [str(_value(answer, usual.method, setting)) for answer in (a, b)]
        self.lab.changes.append(Change(
            usual.method, setting, *values, measures.correlation(a.heat, b.heat), measures.overlap(a.heat, b.heat)))
        self.heats["usual", usual.method, setting] = a.heat
        self.heats["changed", usual.method, setting, values[1]] = b.heat


def _value(answer: Explained, method: str, setting: str) -> object:
    """What the program says that it used."""
    if setting == "layer":
        return answer.explanation["layer"]
    value = answer.results["seed"] if setting == "seed" else answer.results["settings"][method][setting]
    return f"{value:g}" if isinstance(value, float) else value


def _name(entry: dict) -> str:
    """The first of a class's names."""
    return entry["label"].partition(",")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="photographs of your own, in place of the four pictures")
    parser.add_argument("--resnet50", type=Path, metavar="FILE", help="one more network, for Grad-CAM and FEM")
    parser.add_argument("--quick", action="store_true", help="Grad-CAM and FEM only; writes to demo/lab only")
    options = parser.parse_args()
    standard = not (options.images or options.resnet50 or options.quick)
    work = ROOT / "demo/lab"
    began = time.monotonic()
    try:
        pictures = own_pictures(options.images) if options.images else standard_pictures(work)
        networks = [*NETWORKS, *([options.resnet50] if options.resnet50 else [])]
        program = Program(options.app, work / "results")
        exercise = Exercise(program, networks, pictures, QUICK if options.quick else METHODS, standard)
        exercise.run()
    except (FetchError, RunError, OSError) as error:
        print(f"lab.py: {error}", file=sys.stderr)
        return 1
    text = exercise.lab.text()
    home = ROOT / "Documentation" if standard else work
    write_atomically(home / "lab.json", text.encode())
    lab = Lab.read(home / "lab.json")
    figures.write_all(lab, exercise, work / "figures", with_pictures=True)
    if standard:
        figures.write_all(lab, exercise, home / "images", with_pictures=False)
        document = home / "Lab.md"
        write_atomically(document, report.fill(document.read_text(), lab).encode())
    else:
        write_atomically(home / "Lab.md", report.bare(lab, work / "figures").encode())
    print(f"Wrote {home / 'Lab.md'}, lab.json beside it, and figures with the pictures to {work / 'figures'}, "
          f"after {(time.monotonic() - began) / 60:.1f} minutes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
