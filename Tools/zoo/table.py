"""The table of the zoo, between its marks in Documentation/Networks.md."""

from __future__ import annotations

import re
from pathlib import Path

PLACE = re.compile(r"<!-- zoo -->\n.*?<!-- /zoo -->", re.DOTALL)
HEAD = ("| Network | Export | Logits | Gradient | PyTorch's | Layer chosen | As recommended | Map | Same bits | Time | |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n")


# PyTorch refuses to export it, or the numbers to compare with took too long.
NOT_OURS = ("not exported", "no reference")
ORDER = ("wrong", "refused", "right", *NOT_OURS)


def number(value: object) -> str:
    return f"{value:.0e}" if isinstance(value, float) else "–"


def mark(value: object) -> str:
    return {True: "✓", False: "✗"}.get(value, "–") if isinstance(value, bool) else "–"


def line(row: dict) -> str:
    ratio = f"{row['ratio']:.1f}" if row.get("ratio") else "–"
    layer = f"`{row['layer']}`" if row.get("layer") else "–"
    reason = row.get("reason", "").replace("|", "\\|").replace("<", "&lt;")
    export = {"torchscript": "TorchScript", "dynamo": "dynamo"}[row["exporter"]] + f" {row['opset']}"
    return (f"| {row['key']} | {export} | {number(row.get('logits'))} | {number(row.get('gradient'))} | {number(row.get('single'))} | {layer} | "
            f"{row.get('recommended') or '–'} | {mark(row.get('map'))} | {mark(row.get('same_bits'))} | {ratio} | {row['outcome']}{': ' + reason if reason else ''} |\n")


def summary(rows: list[dict]) -> str:
    exported = [row for row in rows if row["outcome"] not in NOT_OURS]
    right = sum(row["outcome"] == "right" for row in rows)
    named = [row["recommended"] for row in rows if row.get("recommended")]
    share = 100 * right / len(exported) if exported else 0.0
    text = (f"{len(rows)} networks, of which {len(rows) - len(exported)} could not be exported or have no reference. Of the other {len(exported)}, "
            f"{right} are right in everything ({share:.1f} %).")
    if quick := sum(bool(row.get("quick")) for row in exported):
        text += f" Of {quick} the gradient was compared with PyTorch's in float32 only (`--quick`), to 0.1."
    if named:
        text += (f" Where pytorch-grad-cam recommends a layer, `--layer auto` takes it for {named.count('yes')} of {len(named)}, "
                 f"the activation function on it for {named.count('its activation')}, and what it reads for {named.count('what it reads')}.")
    return text


def table(rows: list[dict]) -> str:
    return HEAD + "".join(line(row) for row in sorted(rows, key=lambda row: (ORDER.index(row["outcome"]), row["key"])))


def write(document: Path, rows: list[dict]) -> None:
    text = document.read_text()
    if not PLACE.search(text):
        raise ValueError(f"{document} has no place for the table of the zoo")
    document.write_text(PLACE.sub(lambda _: f"<!-- zoo -->\n{summary(rows)}\n\n{table(rows)}<!-- /zoo -->", text))
