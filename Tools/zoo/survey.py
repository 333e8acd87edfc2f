"""Which operators each network of the zoo has, without running it: what is missing, and how many networks that stops.

    survey.py --list FILE.json [--only NAME …] [--app APP]

The list is kept and continued.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import multiprocessing
import subprocess
import tempfile
import warnings
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def operators(key: str) -> dict[str, object]:
    import onnx
    import torch

    from entries import build, entries, export
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    entry = next(entry for entry in entries() if entry.key == key)
    row: dict[str, object] = {"key": key, "exporter": entry.exporter, "opset": entry.opset}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "model.onnx"
        try:
            module, size = build(entry)
            export(entry, module, torch.zeros(1, 3, size, size), path)
        except Exception as error:
            return row | {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        model = onnx.load(path, load_external_data=False)
    counts = collections.Counter((f"{node.domain}." if node.domain else "") + node.op_type for node in model.graph.node)
    for function in model.functions:
        counts.update((f"{node.domain}." if node.domain else "") + node.op_type for node in function.node)
    return row | {"operators": dict(counts)}


def main() -> None:
    from entries import entries
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    parser.add_argument("--report", action="store_true", help="export nothing")
    arguments = parser.parse_args()
    rows = {row["key"]: row for row in json.loads(arguments.list.read_text())} if arguments.list.exists() else {}
    if not arguments.report:
        # In no order, so that a list that is not complete says something of all.
        for entry in sorted(entries(), key=lambda entry: zlib.crc32(entry.key.encode())):
            if entry.key in rows or (arguments.only and entry.name not in arguments.only):
                continue
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows[entry.key] = pool.apply(operators, (entry.key,))
            arguments.list.write_text(json.dumps(list(rows.values()), indent=0))
            print(entry.key, rows[entry.key].get("error", ""), flush=True)
    known = {(row["domain"] + "." if row.get("domain") else "") + row["name"].split(".")[-1] for row in json.loads(subprocess.run([arguments.app, "operators", "--json"], capture_output=True, text=True, check=True).stdout)}
    stopped: dict[str, set[str]] = collections.defaultdict(set)
    alone: collections.Counter[str] = collections.Counter()
    for key, row in rows.items():
        missing = [name for name in row.get("operators", {}) if name not in known]
        for name in missing:
            stopped[name].add(key)
        if len(missing) == 1:
            alone[missing[0]] += 1
    clear = sum("operators" in row and not any(key in names for names in stopped.values()) for key, row in rows.items())
    print(f"{len(rows)} networks, {sum('error' in row for row in rows.values())} not exported, {clear} with all operators known")
    for name, keys in sorted(stopped.items(), key=lambda item: -len(item[1])):
        print(f"{len(keys):4} {name:24} alone {alone[name]:3}  {', '.join(sorted(keys)[:4])}")


if __name__ == "__main__":
    main()
