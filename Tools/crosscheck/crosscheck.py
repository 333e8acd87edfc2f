#!/usr/bin/env python3
"""Each method beside its reference from PyPI, run live on the same weights and the same pixels.

    crosscheck.py [--families cam,…] [--markdown FILE] [--app APP]

A row agrees if the maps correlate by at least 0.999 and differ by at most 0.001 of the range; one that does not must name its reason.
It fails if a row neither agrees nor names one.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from common import ROOT, Check, Row, standard_twins

FAMILIES = ("cam", "gradients", "propagation", "perturbation")


def table(rows: list[Row]) -> str:
    lines = ["| method | reference | network | correlation | largest difference / range | |", "|---|---|---|---|---|---|"]
    for r in rows:
        verdict = r.deviation or ("" if r.agrees else "**differs**")
        lines.append(f"| `{r.method}` | {r.reference} | {r.network} | {r.correlation:.6f} | {r.difference:.1e} | {verdict} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(2)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        check = Check(arguments.app, ROOT / "demo/photos/dog.jpg")
        twins = list(standard_twins(Path(folder)))
        for family in arguments.families.split(","):
            for row in importlib.import_module(family).rows(check, twins):
                rows.append(row)
                mark = "✓" if row.agrees else "≠" if row.deviation else "✗"
                print(f"{mark} {row.method:22} {row.reference:24} {row.network:14} {row.correlation:9.6f} {row.difference:9.1e}  {row.deviation}",
                      flush=True)
    if arguments.markdown:
        arguments.markdown.write_text(table(rows))
    bad = [row for row in rows if not row.agrees and not row.deviation]
    methods = {row.method for row in rows}
    print(f"{len(rows)} rows of {len(methods)} methods; {len(bad)} differ without a reason.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
