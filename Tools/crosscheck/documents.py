"""The table of the cross-checks, as the documents have it.

A document has `<!-- crosscheck:METHOD,… -->` and `<!-- /crosscheck -->` where the rows of these methods belong; what is between is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rows import CORRELATION, DIFFERENCE, Row

PLACE = re.compile(r"<!-- crosscheck:(?P<methods>[^ ]+) -->\n(?P<text>.*?)<!-- /crosscheck -->", re.DOTALL)
HEAD = "| Method | Reference | Networks | Correlation, least | Difference / range, largest | Why |\n|---|---|---|---|---|---|\n"
LINE = re.compile(r"\| `(?P<method>[^`]+)` \| (?P<reference>[^|]+) \| (?P<networks>[^|]+) \| (?P<correlation>-?[0-9.]+) \| "
                  r"(?P<difference>[0-9.e+-]+) \| (?P<why>[^|]*)\|")


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


def lines(rows: Iterable[Row], methods: list[str]) -> list[Line]:
    """By method in the program's order, then by reference."""
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((methods.index(row.method), row.reference), []).append(row)
    return [Line.of(groups[key]) for key in sorted(groups)]


def table(found: list[Line]) -> str:
    return HEAD + "".join(f"{line}\n" for line in found)


def read(text: str) -> Iterator[tuple[list[str], list[Line]]]:
    """The methods of each place in a document, and its lines."""
    for place in PLACE.finditer(text):
        if not place["text"].startswith(HEAD):
            raise ValueError(f"there is no table for {place['methods']}")
        yield place["methods"].split(","), [Line.parse(line) for line in place["text"].removeprefix(HEAD).splitlines()]


def write(folder: Path, found: list[Line]) -> None:
    """Into every document of a folder. Places of methods that were not compared now stay as they are."""
    written: set[str] = set()

    def renewed(place: re.Match[str]) -> str:
        methods = place["methods"].split(",")
        own = [line for line in found if line.method in methods]
        written.update(line.method for line in own)
        return f"<!-- crosscheck:{place['methods']} -->\n{table(own)}<!-- /crosscheck -->" if own else place[0]

    for document in sorted(folder.glob("*.md")):
        text = document.read_text()
        document.write_text(PLACE.sub(renewed, text))
    if missing := {line.method for line in found} - written:
        raise ValueError(f"no document has a place for {', '.join(sorted(missing))}")
