#!/usr/bin/env python3
"""Each method beside its reference from PyPI, run live on the same weights and the same pixels.

    crosscheck.py [--families cam,…] [--documents] [--app APP]

A row agrees if the maps correlate by at least 0.999 and differ by at most 0.001 of the range. One that does not must have a reason that was
measured in this run: without it, maps agree. A number of a metric agrees if it differs by at most 0.001. It fails if a row neither agrees nor has one. With --documents the tables of Documentation are
written anew.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import documents
import torch
from common import ROOT, Check, standard_twins
from rows import Number, Row

FAMILIES = ("cam", "gradients", "propagation", "perturbation", "metrics")
# Those with a network of their own.
OWN_FAMILIES = ("tokens", "video")


def compared(check: Check, families: list[str], folder: Path) -> Iterator[Row | Number]:
    """The rows of all families: on each of the networks that they share, and then on their own."""
    modules = {family: importlib.import_module(family) for family in families}
    if shared := [family for family in families if family not in OWN_FAMILIES]:
        for twin in standard_twins(folder):
            for family in shared:
                yield from modules[family].rows(check, twin)
    for family in families:
        if family in OWN_FAMILIES:
            yield from modules[family].rows(check)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(FAMILIES + OWN_FAMILIES))
    parser.add_argument("--documents", action="store_true")
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(2)
    rows: list[Row | Number] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        check = Check(arguments.app, ROOT / "demo/photos/dog.jpg")
        for row in compared(check, arguments.families.split(","), Path(folder)):
            rows.append(row)
            print(row, flush=True)
    bad = [row for row in rows if not row.agrees and not row.reason]
    numbers = [row for row in rows if isinstance(row, Number)]
    maps = [row for row in rows if isinstance(row, Row)]
    found = documents.lines(maps, check.methods) + documents.number_lines(numbers, check.metrics)
    packages = {row.name for row in rows if not row.reference.startswith("formula")}
    print(f"{len(rows)} rows of {len({row.name for row in maps})} methods and {len({row.name for row in numbers})} metrics, {len(packages)} of them "
          f"beside a package, in {time.monotonic() - start:.0f} s; {len(bad)} differ without a reason.")
    for listed, own in ((check.methods, maps), (check.metrics, numbers)):
        if own and (missing := [name for name in listed if name not in {row.name for row in own}]):
            print(f"Not compared: {', '.join(missing)}.")
    if arguments.documents:
        documents.write(ROOT / "Documentation", found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
