"""The tables of the lab exercise: generated from what was measured, between the marks of Documentation/Lab.md."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, median

from record import Change, Lab, Map


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def pictures(lab: Lab) -> str:
    rows = [(s.picture, s.network, f"{s.best}, {_percent(s.best_probability)}", f"{s.explained}, {_percent(s.probability)}")
            for s in lab.sayings]
    return _table(("picture", "network", "says", "explained class"), rows)


def layers(lab: Lab) -> str:
    rows = [(network.name, f"{stage.index}{' *' * stage.chosen}", f"`{stage.name}`", stage.operator, stage.channels,
             f"{stage.grid} × {stage.grid}") for network in lab.networks for stage in network.stages]
    return _table(("network", "index", "layer", "operator", "channels", "grid"), rows)


def likeness(lab: Lab) -> str:
    maps = {(m.network, m.picture, m.method): m for m in lab.maps}
    rows = []
    for row in lab.between("gradcam", "fem"):
        a, b = (maps[row.network, row.picture, method] for method in (row.first, row.second))
        within = [f"{_percent(m.within)}{_hit(m)}" for m in (a, b)]
        rows.append((row.picture, row.network, _number(row.pcc), _number(row.sim), _percent(row.overlap), *within,
                     _percent(lab.areas.get(row.picture))))
    return _table(("picture", "network", "PCC", "SIM", "top tenth", "Grad-CAM in mask", "FEM in mask", "mask"), rows)


def _hit(m: Map) -> str:
    return {None: "", True: ", hit", False: ", miss"}[m.points]


def animals(lab: Lab) -> str:
    rows = [(d.network, d.what, _percent(d.elephant), _percent(d.bear)) for d in lab.divisions]
    return _table(("network", "share of", "on the elephant", "on the bear"), rows)


def methods(lab: Lab) -> str:
    rows = []
    for method in lab.methods:
        maps = lab.of(method.name)
        points = [m.points for m in maps if m.points is not None]
        rows.append((
            method.title, f"{maps[0].passes:,}", "to the layer" if "back" in method.passes else "none",
            f"{median(m.seconds for m in maps):.2g}", f"{len(method.choices)}: {', '.join(method.choices)}",
            _percent(_mean(m.within for m in maps)), f"{sum(points)} of {len(points)}" if points else "–",
        ))
    return _table(("method", "forward passes", "way back", "processor's seconds", "what can be chosen", "in mask", "hits"), rows)


def alike(lab: Lab) -> str:
    titles = {method.name: method.title for method in lab.methods}
    pairs = dict.fromkeys((row.first, row.second) for row in lab.likenesses)
    rows = []
    for first, second in pairs:
        of = lab.between(first, second)
        rows.append((f"{titles[first]}, {titles[second]}", _number(_mean(r.pcc for r in of)), _number(_mean(r.sim for r in of)),
                     _percent(_mean(r.overlap for r in of))))
    return _table(("methods", "PCC", "SIM", "top tenth"), rows)


def changes(lab: Lab) -> str:
    titles = {method.name: method.title for method in lab.methods}

    def cell(row: Change) -> str:
        return f"{_code(row, row.value)}: {_number(row.pcc)}, {_percent(row.overlap)}"

    rows = []
    for method, setting in dict.fromkeys((row.method, row.setting) for row in lab.changes):
        values = lab.changes_by(method, setting)
        cells = [cell(row) for row in values] + [""] * (2 - len(values))
        rows.append((titles[method], setting, _code(values[0], values[0].usual), *cells))
    return _table(("method", "setting", "usual", "another value: PCC, top tenth", "a third value"), rows)


def _code(row: Change, value: str) -> str:
    return f"`{value}`" if row.setting == "layer" else value


TABLES: dict[str, Callable[[Lab], str]] = {
    table.__name__: table for table in (pictures, layers, likeness, animals, methods, alike, changes)
}


def fill(document: str, lab: Lab) -> str:
    """The document with its tables made anew."""
    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n{TABLES[match[2]](lab)}\n{match[3]}"

    return re.sub(r"(<!-- table: (\w+) -->)\n.*?(<!-- end -->)", table, document, flags=re.DOTALL)


def bare(lab: Lab, figures: Path) -> str:
    """The tables and figures without what Documentation/Lab.md says of them, which is true of its own pictures only."""
    parts = ["# The lab exercise on other pictures or networks\n\nWhat the tables mean is in Documentation/Lab.md."]
    parts += [table(lab) for name, table in TABLES.items() if name != "animals" or lab.divisions]
    parts += [f"![{path.stem}]({os.path.relpath(path, figures.parent)})" for path in sorted(figures.glob("*.png"))]
    return "\n\n".join(parts) + "\n"
