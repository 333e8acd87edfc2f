"""What `make localisation` found, as tables, as a plot, and in words."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

METRICS = ("energy", "pointing-game", "iou")
START, END = "<!-- localisation: written by make localisation -->", "<!-- end of localisation -->"


def estimate(values: list[float], resamples: int = 2000) -> tuple[float, float, float, int]:
    """The mean, its 95 % bootstrap interval, and of how many."""
    if not values:
        return float("nan"), float("nan"), float("nan"), 0
    array = np.array(values)
    drawn = np.random.default_rng(0).integers(len(array), size=(resamples, len(array)))
    low, high = np.percentile(array[drawn].mean(1), (2.5, 97.5))
    return float(array.mean()), float(low), float(high), len(array)


def ranked(found: dict) -> list[tuple[str, dict[str, tuple[float, float, float, int]]]]:
    """Methods with their estimates, by falling mean of the ranks that they have in the three measures."""
    rows = [(method, {m: estimate([v[m] for v in pictures.values() if m in v]) for m in METRICS}) for method, pictures in found.items()]
    places = np.mean([np.argsort(np.argsort([-np.nan_to_num(row[1][m][0], nan=-1) for row in rows])) for m in METRICS], axis=0)
    return [rows[i] for i in np.argsort(places, kind="stable")]


def table(found: dict) -> str:
    lines = [f"| Method | {' | '.join(METRICS)} | energy, of two animals | maps |", "|---|" + "---|" * (len(METRICS) + 2)]
    for method, estimates in ranked(found):
        # Every third scene has two.
        two = estimate([v["energy"] for name, v in found[method].items() if int(name.partition("-")[0]) % 3 == 2 and "energy" in v])
        cells = [f"{mean:.3f} ({low:.3f} … {high:.3f})" if count else "–" for mean, low, high, count in (*estimates.values(), two)]
        lines.append(f"| {method} | {' | '.join(cells)} | {estimates['energy'][3]} |")
    return "\n".join(lines)


def tables(found: dict) -> list[str]:
    """The methods that were measured on every picture, and all methods on the pictures that all were measured on."""
    most = max(len(pictures) for pictures in found.values())
    whole = {method: pictures for method, pictures in found.items() if len(pictures) == most}
    parts = [table(whole)]
    if len(whole) < len(found):
        common = set.intersection(*(set(pictures) for pictures in found.values()))
        parts += [f"All methods, on the first {len(common)} of these maps:",
                  table({method: {name: pictures[name] for name in common} for method, pictures in found.items()})]
    return parts


def plot(results: dict) -> str:
    """Energy in the mask of every method on each network, as SVG: a dot and its interval."""
    networks = list(results)
    order = [method for method, _ in ranked(results[networks[0]])]
    order += [m for name in networks[1:] for m in results[name] if m not in order]
    colours = ("#0b6e99", "#c2571a", "#3f7d20")
    left, top, step, width = 170, 46, 18, 460
    height = top + step * len(order) + 30
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 30}" height="{height}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>']
    for i, name in enumerate(networks):
        parts.append(f'<circle cx="{left + 10 + 190 * i}" cy="16" r="4" fill="{colours[i]}"/><text x="{left + 20 + 190 * i}" y="20">{name}</text>')
    for tick in np.linspace(0, 1, 6):
        x = left + width * tick
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 8}" y2="{height - 26}" stroke="#ddd"/>'
                     f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle">{tick:.1f}</text>')
    parts.append(f'<text x="{left}" y="38">energy in the mask, 95 % interval</text>')
    for row, method in enumerate(order):
        y = top + step * row + step / 2
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{method}</text>')
        for i, name in enumerate(networks):
            if method not in results[name]:
                continue
            mean, low, high, _ = estimate([v["energy"] for v in results[name][method].values() if "energy" in v])
            at = y + 3 * (i - (len(networks) - 1) / 2)
            parts.append(f'<line x1="{left + width * low:.1f}" x2="{left + width * high:.1f}" y1="{at:.1f}" y2="{at:.1f}" stroke="{colours[i]}"/>'
                         f'<circle cx="{left + width * mean:.1f}" cy="{at:.1f}" r="3" fill="{colours[i]}"/>')
    return "\n".join(parts + ["</svg>"]) + "\n"


def findings(path: Path, found: dict) -> None:
    """Puts the pointing game's numbers into what `app methods` says, between two marks."""
    shares = {method: (round(1000 * round(mean, 3)), count) for method, estimates in ranked(found)
              for mean, _, _, count in (estimates["pointing-game"],)}
    lines = [f'        "{method}": Finding({share}, of: {count}),' for method, (share, count) in shares.items() if not method.startswith("(")]
    body = "\n".join(["    package static let pointing = [", *lines, "    ]",
                      "    /// The same of a map that is the picture's own edges: what a method must beat.",
                      "    package static let edges = Finding({}, of: {})".format(*shares["(edges of the picture)"])])
    start, end = "    // Written by `make localisation`.\n", "    // End of what is written.\n"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(re.escape(start) + ".*" + re.escape(end), lambda _: f"{start}{body}\n{end}", text, flags=re.S), encoding="utf-8")


def write(documentation: Path, results: dict, scenes: dict, settings: tuple[str, ...]) -> None:
    """Puts tables and plot into Comparison.md, between two marks; the rest of the page stays."""
    path = documentation / "Comparison.md"
    text = path.read_text(encoding="utf-8")
    (documentation / "images").mkdir(exist_ok=True)
    (documentation / "images/localisation.svg").write_text(plot(results), encoding="utf-8")
    parts = [f"{scenes['composed']} scenes were composed (seed {scenes['seed']}); "
             + ", ".join(f"{name} names the animals of {len(kept)}" for name, kept in scenes["kept"].items())
             + "." + (f" Fewer samples than usual: {', '.join(f'`{s}`' for s in settings)}." if settings else ""),
             "![Energy in the mask of every method](images/localisation.svg)"]
    for name, found in results.items():
        if not found:
            continue
        parts += [f"**{name}**, by the mean of the ranks in the three measures:", *tables(found)]
    body = "\n\n".join(parts)
    path.write_text(re.sub(re.escape(START) + ".*" + re.escape(END), lambda _: f"{START}\n\n{body}\n\n{END}", text, flags=re.S), encoding="utf-8")
