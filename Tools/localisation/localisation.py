#!/usr/bin/env python3
"""Which method finds the object? All methods on pictures of which it is known to the pixel where the object is.

    localisation.py [--count 300] [--heavy 300] [--networks …] [--methods all] [--documents]

Scenes are composed from a seed (scenes.py) until each network has named the animals of `--count` of them: of one animal it must be the first class, of two both
must be among the first five. Each animal's class is then explained by every method and measured against the animal's own mask by `app evaluate`: energy in the mask,
pointing game, IoU. Methods that ask a network many times do so for the first `--heavy` pictures only, and with fewer samples (SETTINGS). Controls beside
Random-CAM: a Gaussian in the middle of the picture, and the picture's edges. It goes on where it was ended. `--documents` writes Documentation/Comparison.md and
what `app methods` says of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools"))
sys.path.insert(0, str(ROOT / "Tools/localisation"))

import report  # noqa: E402
from fetch import write_atomically  # noqa: E402
from scenes import SIDE, Material, material, png, scene  # noqa: E402
from transformer import transformer  # noqa: E402

METRICS = ("energy", "pointing-game", "iou")
# Fewer samples than the methods' papers have, so that it ends.
SETTINGS = ("rise.samples=1000", "lime.samples=500", "kernel-shap.samples=500", "sscam.samples=2", "iscam.samples=2")
# To see which methods can explain a network.
TRIAL = ("rise.samples=2", "lime.samples=128", "kernel-shap.samples=256", "sscam.samples=2", "iscam.samples=1", "smoothgrad.samples=2")
# What asks the network many times: seconds a picture, where the others need milliseconds.
HEAVY = ("smooth-gradcam++", "scorecam", "sscam", "iscam", "rise", "lime", "kernel-shap", "occlusion", "smoothgrad", "smoothgrad-squared", "vargrad",
         "expected-gradients", "integrated-gradients")


class Network:
    def __init__(self, path: Path, folder: Path, app: Path) -> None:
        self.name, self.path, self.app = path.stem, path, app
        self.folder = folder / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.preprocessing: Path | None = None

    def prepare(self, picture: Path) -> None:
        """Takes the model's own preparation of colours, but leaves pictures at their size: so masks stay what they are."""
        if self.run("explain", picture, "--write", "map", "--output", self.folder / "trial", "--force").returncode != 0:
            raise SystemExit(f"explain on {self.name} failed")
        found = json.loads((self.folder / "trial/results.json").read_text())["preprocessing"]
        kept = {key: found[key] for key in ("colours", "divisor", "mean", "std") if key in found}
        self.preprocessing = self.folder / "preprocessing.json"
        self.preprocessing.write_text(json.dumps({"resize": "none"} | kept))

    def run(self, command: str, *arguments: str | Path) -> subprocess.CompletedProcess:
        own = ["--preprocess", self.preprocessing] if self.preprocessing else []
        line = [self.app, command, "--model", self.path, *own, "--quiet", *arguments]
        return subprocess.run([str(part) for part in line], check=False, stdout=subprocess.PIPE, text=True)


def compose(networks: list[Network], parts: Material, folder: Path, count: int, seed: int) -> None:
    """Composes scenes until every network names the animals of `count` of them; writes the list of each."""
    pictures, masks = folder / "pictures", folder / "masks"
    pictures.mkdir(parents=True, exist_ok=True)
    masks.mkdir(exist_ok=True)
    kept: dict[str, list[tuple[str, list[int]]]] = {network.name: [] for network in networks}
    number, step = 0, 200
    while any(len(found) < count for found in kept.values()):
        if number >= 40 * count:
            raise SystemExit(f"Of {number} scenes a network names fewer than {count}.")
        scenes = [scene(number + i, parts, seed) for i in range(step)]
        number += step
        paths = []
        for one in scenes:
            paths.append(pictures / f"{one.name}.png")
            if not paths[-1].exists():
                write_atomically(paths[-1], png(one.pixels))
        names = folder / "candidates.txt"
        names.write_text("".join(f"{path}\n" for path in paths))
        for network in networks:
            done = network.run("classify", "--list", names, "--json")
            if done.returncode != 0:
                raise SystemExit(f"classify on {network.name} ended with {done.returncode}")
            for one, image in zip(scenes, json.loads(done.stdout)["images"], strict=True):
                best = [prediction["class"] if "class" in prediction else prediction["index"] for prediction in image["predictions"]]
                classes = list(one.masks)
                if len(kept[network.name]) < count and (best[0] == classes[0] if len(classes) == 1 else set(classes) <= set(best)):
                    kept[network.name].append((one.name, classes))
                    for index, mask in one.masks.items():
                        path = masks / f"{one.name}.{index}.png"
                        if not path.exists():
                            write_atomically(path, png(mask.astype(np.uint8) * 255))
        print(f"{number} scenes: " + ", ".join(f"{name} names {len(found)}" for name, found in kept.items()), flush=True)
    for network in networks:
        lines = [json.dumps({"image": str(pictures / f"{name}.png"), "id": f"{name}-{index}", "class": index})
                 for name, classes in kept[network.name] for index in classes]
        (network.folder / "list.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "scenes.json").write_text(json.dumps({"composed": number, "seed": seed, "kept": kept}))


def evaluate(network: Network, masks: Path, methods: list[str], count: int | None, name: str) -> Path:
    """Measures methods on the listed pictures, or the first `count` of them."""
    lines = (network.folder / "list.jsonl").read_text().splitlines(keepends=True)
    listed = network.folder / f"{name}.jsonl"
    listed.write_text("".join(lines[:count]))
    out = network.folder / name
    own = [setting for setting in SETTINGS if setting.partition(".")[0] in methods]
    done = network.run("evaluate", "--list", listed, "--masks", masks, "--metrics", ",".join(METRICS), "--methods", ",".join(methods),
                       *(part for setting in own for part in ("--set", setting)), "--output", out, "--resume")
    if done.returncode not in (0, 2):
        raise SystemExit(f"evaluate on {network.name} ended with {done.returncode}")
    return out


def measured(mask: np.ndarray, heat: np.ndarray) -> dict[str, float]:
    """The same measures of a control, from the formulas."""
    hot = heat >= 0.5 * heat.max()
    return {"energy": float(heat[mask].sum() / heat.sum()), "pointing-game": float(mask.ravel()[heat.argmax()]),
            "iou": float((hot & mask).sum() / (hot | mask).sum())}


def controls(network: Network, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Of each control and picture: its measures."""
    from PIL import Image
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    gaussian = np.exp(-(x * x + y * y) / (2 * (SIDE / 4) ** 2))
    found: dict[str, dict[str, dict[str, float]]] = {"(centred Gaussian)": {}, "(edges of the picture)": {}}
    for line in (network.folder / "list.jsonl").read_text().splitlines():
        entry = json.loads(line)
        name, _, index = entry["id"].partition("-")
        mask = np.asarray(Image.open(folder / "masks" / f"{name}.{index}.png").convert("L")) > 0
        grey = np.asarray(Image.open(entry["image"]).convert("L"), np.float64)
        edges = np.hypot(*np.gradient(grey))
        found["(centred Gaussian)"][entry["id"]] = measured(mask, gaussian)
        found["(edges of the picture)"][entry["id"]] = measured(mask, edges)
    return found


def numbers(out: Path) -> dict[str, dict[str, dict[str, float]]]:
    """By method and picture: its measures."""
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    with open(out / "pictures.jsonl", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            for entry in record.get("maps", []):
                found[entry["method"]][record["stem"]] = {k: v for k, v in entry["metrics"].items() if v is not None}
    return found


def sheet(network: Network, folder: Path, found: dict[str, dict[str, dict[str, float]]], shown: list[str], rows: int = 4) -> None:
    """The scenes whose animals most methods find best, and worst, with some methods' maps. It stays in the folder: the cut-outs are not ours to publish."""
    from PIL import Image, ImageDraw
    means: dict[str, list[float]] = defaultdict(list)
    for method, pictures in found.items():
        if not method.startswith("("):
            for name, values in pictures.items():
                # A map without anything above 0 has none.
                if "energy" in values:
                    means[name].append(values["energy"])
    order = sorted(means, key=lambda name: -float(np.mean(means[name])))
    chosen = order[:rows] + order[-rows:]
    entries = {entry["id"]: entry for entry in map(json.loads, (network.folder / "list.jsonl").read_text().splitlines())}
    listed = network.folder / "sheet.jsonl"
    listed.write_text("".join(json.dumps(entries[name]) + "\n" for name in chosen))
    out = network.folder / "sheet"
    done = network.run("explain", "--list", listed, "--methods", ",".join(shown), "--write", "overlay", "--output", out, "--force")
    if done.returncode != 0:
        raise SystemExit(f"explain on {network.name} ended with {done.returncode}")
    record = {image["stem"]: image for image in json.loads((out / "results.json").read_text())["images"]}
    page = Image.new("RGB", ((len(shown) + 1) * (SIDE + 8) + 8, len(chosen) * (SIDE + 24) + 8), "white")
    draw = ImageDraw.Draw(page)
    for row, name in enumerate(chosen):
        scene_, _, index = name.partition("-")
        photo = Image.open(entries[name]["image"]).convert("RGB")
        mask = np.asarray(Image.open(folder / "masks" / f"{scene_}.{index}.png").convert("L")) > 0
        inner = mask.copy()
        inner[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        pixels = np.array(photo)
        pixels[mask & ~inner] = (255, 0, 255)
        pictures = [Image.fromarray(pixels)] + [Image.open(out / e["overlay"]).convert("RGB").resize((SIDE, SIDE)) for e in record[name]["explanations"]]
        titles = [f"{'best' if row < rows else 'worst'}: {index}, energy {np.mean(means[name]):.2f} over methods"] + [
            f"{method} {found[method][name].get('energy', 0):.2f}" for method in shown]
        for column, (picture, title) in enumerate(zip(pictures, titles)):
            place = (8 + column * (SIDE + 8), 8 + row * (SIDE + 24))
            page.paste(picture, (place[0], place[1] + 14))
            draw.text(place, title, fill="black")
    page.save(network.folder / "sheet.jpg", quality=88)
    print(f"The best and the worst scenes: {network.folder / 'sheet.jpg'}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--heavy", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--networks", type=Path, nargs="+", help="if left out: efficientnet-lite0, squeezenet1.1, and the transformer")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--folder", type=Path, default=ROOT / "demo/localisation")
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    parser.add_argument("--documents", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder
    parts = material(folder / "sources")
    paths = arguments.networks or [*(ROOT / "models" / f"{name}.onnx" for name in ("efficientnet-lite0", "squeezenet1.1")),
                                   transformer(folder / "networks", parts)]
    networks = [Network(path, folder, arguments.app) for path in paths]
    write_atomically(folder / "first.png", png(scene(0, parts, arguments.seed).pixels))
    for network in networks:
        network.prepare(folder / "first.png")
    state = folder / "scenes.json"
    wanted = {"seed": arguments.seed, "kept": {network.name: arguments.count for network in networks}}
    known = json.loads(state.read_text()) if state.exists() else {}
    if known.get("seed") != wanted["seed"] or {k: len(v) for k, v in known.get("kept", {}).items()} != wanted["kept"]:
        compose(networks, parts, folder, arguments.count, arguments.seed)
    results = {}
    for network in networks:
        listed = subprocess.run([str(arguments.app), "methods", "--json"], check=True, capture_output=True, text=True)
        every = [method["name"] for method in json.loads(listed.stdout)]
        chosen = every if arguments.methods == "all" else arguments.methods.split(",")
        # What cannot explain the network is left out, by a trial on one picture.
        first = json.loads((network.folder / "list.jsonl").read_text().splitlines()[0])
        trial = network.run("explain", first["image"], "--methods", "all" if arguments.methods == "all" else arguments.methods, "--write", "map",
                            *(part for setting in TRIAL for part in ("--set", setting)),
                            "--output", network.folder / "trial", "--force") if arguments.methods == "all" else None
        if trial is not None:
            if trial.returncode != 0:
                raise SystemExit(f"explain on {network.name} ended with {trial.returncode}")
            left = set(json.loads((network.folder / "trial/results.json").read_text())["leftOut"])
            chosen = [method for method in chosen if method not in left]
        light = [method for method in chosen if method not in HEAVY]
        heavy = [method for method in chosen if method in HEAVY]
        found = numbers(evaluate(network, folder / "masks", light, None, "light")) if light else {}
        if heavy:
            found |= numbers(evaluate(network, folder / "masks", heavy, arguments.heavy, "heavy"))
        results[network.name] = dict(found) | controls(network, folder)
        print("\n\n".join(report.tables(results[network.name])), flush=True)
        shown = [method for method in ("gradcam", "fem", "lrp") if method in found] or list(found)[:3]
        if shown:
            sheet(network, folder, results[network.name], shown)
    write_atomically(folder / "results.json", json.dumps(results).encode())
    with open(folder / "ranking.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["network", "method", "metric", "mean", "low", "high", "pictures"])
        for name, found in results.items():
            for method in found:
                for metric in METRICS:
                    mean, low, high, count = report.estimate([v[metric] for v in found[method].values() if metric in v])
                    writer.writerow([name, method, metric, mean, low, high, count])
    if arguments.documents:
        used = tuple(s for s in SETTINGS if any(s.partition(".")[0] in found for found in results.values()))
        report.write(ROOT / "Documentation", results, json.loads(state.read_text()), used)
        if found := results.get("efficientnet-lite0"):
            report.findings(ROOT / "Sources/Explain/Finding.swift", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
