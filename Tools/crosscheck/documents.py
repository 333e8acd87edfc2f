"""The tables of the cross-checks, as the documents have them.

A document has `<!-- crosscheck:METHOD,… -->` and `<!-- /crosscheck -->` where the rows of these methods belong, and `<!-- crosscheck-metrics:METRIC,… -->`
and `<!-- /crosscheck -->` where numbers of metrics do; what is between is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rows import CORRELATION, DIFFERENCE, Number, Row

PLACE = re.compile(r"<!-- (?P<kind>crosscheck|crosscheck-metrics):(?P<methods>[^ ]+) -->\n(?P<text>.*?)<!-- /crosscheck -->", re.DOTALL)
HEAD = "| Method | Reference | Networks | Correlation, least | Difference / range, largest | Why |\n|---|---|---|---|---|---|\n"
LINE = re.compile(r"\| `(?P<method>[^`]+)` \| (?P<reference>[^|]+) \| (?P<networks>[^|]+) \| (?P<correlation>-?[0-9.]+) \| "
                  r"(?P<difference>[0-9.e+-]+) \| (?P<why>[^|]*)\|")
# More are those of two maps each.
MOST_MAPS = 4
NUMBERS_HEAD = "| Metric | Reference | Networks | Maps | Ours | Difference, largest | Why |\n|---|---|---|---|---|---|---|\n"
NUMBERS_LINE = re.compile(r"\| `(?P<metric>[^`]+)` \| (?P<reference>[^|]+) \| (?P<networks>[^|]+) \| (?P<maps>[^|]+) \| "
                          r"(?P<low>-?[0-9.]+)( … (?P<high>-?[0-9.]+))? \| (?P<difference>[0-9.e+-]+) \| (?P<why>[^|]*)\|")


@dataclass(frozen=True)
class Line:
    """The rows of one method and one reference, on all networks."""

    method: str
    reference: str
    networks: tuple[str, ...]
    correlation: float
    difference: float
    why: str

    @classmethod
    def of(cls, rows: list[Row]) -> Line:
        reasons = {row.network: row.reason or ("" if row.agrees else "**not found out**") for row in rows}
        why = reasons[rows[0].network]
        if len(set(reasons.values())) > 1:
            why = "; ".join(f"{network}: {reason}" for network, reason in reasons.items() if reason)
        if any(row.reason for row in rows):
            why += f" (without: {max(row.without for row in rows):.0e})"
        correlation, difference = min(row.correlation for row in rows), max(row.difference for row in rows)
        return cls(rows[0].method, rows[0].reference, tuple(reasons), correlation, difference, why)

    @classmethod
    def parse(cls, text: str) -> Line:
        found = LINE.fullmatch(text)
        if found is None:
            raise ValueError(f"this is no line of a cross-check: {text}")
        return cls(found["method"], found["reference"], tuple(found["networks"].split(", ")), float(found["correlation"]),
                   float(found["difference"]), found["why"].strip())

    def __str__(self) -> str:
        why = f"{self.why} " if self.why else ""
        return f"| `{self.method}` | {self.reference} | {', '.join(self.networks)} | {self.correlation:.6f} | {self.difference:.1e} | {why}|"

    @property
    def stands(self) -> bool:
        """Whether it agrees, or says why not."""
        return bool(self.why) or (self.correlation >= CORRELATION and self.difference <= DIFFERENCE)


@dataclass(frozen=True)
class NumbersLine:
    """The numbers of one metric and one reference, of all maps on all networks."""

    metric: str
    reference: str
    networks: tuple[str, ...]
    maps: tuple[str, ...]
    low: str
    high: str
    difference: float
    why: str

    @classmethod
    def of(cls, numbers: list[Number]) -> NumbersLine:
        networks, maps = (tuple(dict.fromkeys(getattr(number, key) for number in numbers)) for key in ("network", "map"))
        if len(maps) > MOST_MAPS:
            maps = (f"{len(maps)} pairs",)
        # A network and a map are named only where not all numbers have the same reason.
        whys: dict[str, list[str]] = {}
        for number in numbers:
            if not number.agrees:
                name = number.map if len(networks) == 1 else number.network if len(maps) == 1 else f"{number.map} on {number.network}"
                whys.setdefault(number.reason or "**not found out**", []).append(name)
        agrees = any(number.agrees for number in numbers)
        why = "; ".join(f"{', '.join(names)}: {reason}" if agrees or len(whys) > 1 else reason for reason, names in whys.items())
        if any(number.reason for number in numbers):
            why += f" (without: {max(number.without for number in numbers):.0e})"
        low, high = min(number.low for number in numbers), max(number.high for number in numbers)
        return cls(numbers[0].metric, numbers[0].reference, networks, maps, f"{low:.4f}", f"{high:.4f}",
                   max(number.difference for number in numbers), why)

    @classmethod
    def parse(cls, text: str) -> NumbersLine:
        found = NUMBERS_LINE.fullmatch(text)
        if found is None:
            raise ValueError(f"this is no line of a cross-check of metrics: {text}")
        return cls(found["metric"], found["reference"], tuple(found["networks"].split(", ")), tuple(found["maps"].split(", ")), found["low"],
                   found["high"] or found["low"], float(found["difference"]), found["why"].strip())

    def __str__(self) -> str:
        why, ours = f"{self.why} " if self.why else "", self.low + (f" … {self.high}" if self.high != self.low else "")
        return (f"| `{self.metric}` | {self.reference} | {', '.join(self.networks)} | {', '.join(self.maps)} | {ours} | {self.difference:.1e} "
                f"| {why}|")

    @property
    def method(self) -> str:
        return self.metric

    @property
    def stands(self) -> bool:
        """Whether it agrees, or says why not."""
        return bool(self.why) and "**not found out**" not in self.why or self.difference <= DIFFERENCE


def lines(rows: Iterable[Row], methods: list[str]) -> list[Line]:
    """By method in the program's order, then by reference."""
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((methods.index(row.method), row.reference), []).append(row)
    return [Line.of(groups[key]) for key in sorted(groups)]


def number_lines(numbers: Iterable[Number], metrics: list[str]) -> list[NumbersLine]:
    """By metric in the program's order, then as they were compared."""
    groups: dict[tuple[int, str], list[Number]] = {}
    for number in numbers:
        groups.setdefault((metrics.index(number.metric), number.reference), []).append(number)
    return [NumbersLine.of(groups[key]) for key in sorted(groups)]


def table(found: list[Line] | list[NumbersLine]) -> str:
    head = NUMBERS_HEAD if isinstance(found[0], NumbersLine) else HEAD
    return head + "".join(f"{line}\n" for line in found)


def read(text: str, kind: type[Line] | type[NumbersLine] = Line) -> Iterator[tuple[list[str], list[Line] | list[NumbersLine]]]:
    """The methods, or the metrics, of each place in a document, and its lines."""
    head = NUMBERS_HEAD if kind is NumbersLine else HEAD
    for place in PLACE.finditer(text):
        if (place["kind"] == "crosscheck-metrics") != (kind is NumbersLine):
            continue
        if not place["text"].startswith(head):
            raise ValueError(f"there is no table for {place['methods']}")
        yield place["methods"].split(","), [kind.parse(line) for line in place["text"].removeprefix(head).splitlines()]


def write(folder: Path, found: list[Line | NumbersLine]) -> None:
    """Into every document of a folder. Places of methods that were not compared now stay as they are."""
    written: set[str] = set()

    def renewed(place: re.Match[str]) -> str:
        methods = place["methods"].split(",")
        own = [line for line in found if line.method in methods and isinstance(line, NumbersLine) == (place["kind"] == "crosscheck-metrics")]
        written.update(line.method for line in own)
        return f"<!-- {place['kind']}:{place['methods']} -->\n{table(own)}<!-- /crosscheck -->" if own else place[0]

    for document in sorted(folder.glob("*.md")):
        text = document.read_text()
        document.write_text(PLACE.sub(renewed, text))
    if missing := {line.method for line in found} - written:
        raise ValueError(f"no document has a place for {', '.join(sorted(missing))}")
