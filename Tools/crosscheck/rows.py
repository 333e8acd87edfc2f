"""Rows of the tables: comparisons of a map, or of a metric's number, of ours with somebody else's."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import ArrayLike

# What a row must reach, unless it has a reason.
CORRELATION, DIFFERENCE = 0.999, 1e-3


def package(name: str) -> str:
    """A package as rows name it."""
    return f"{name} {version(name).split('+')[0]}"


def mark(found: Row | Number) -> str:
    return "✓" if found.agrees else "≠" if found.reason else "✗"


def why(found: Row | Number) -> str:
    return f" {found.reason} (without: {found.without:.0e})" if found.reason else ""


@dataclass
class Row:
    """A comparison of one of our maps with somebody else's."""

    method: str
    reference: str
    network: str
    correlation: float
    # The largest difference over the range of the reference's map.
    difference: float
    # Why the two are not the same, and the largest difference without that, as measured in this run.
    reason: str = ""
    without: float = 0

    @property
    def name(self) -> str:
        return self.method

    @property
    def agrees(self) -> bool:
        return self.correlation >= CORRELATION and self.difference <= DIFFERENCE

    def __str__(self) -> str:
        return (f"{mark(self)} {self.method:19} {self.reference:50} {self.network:13} {self.correlation:.6f} {self.difference:7.1e}"
                f"{why(self)}")

    def because(self, reason: str, *without: Row) -> Row:
        """Gives a row that does not agree its reason, if maps without it do."""
        if not self.agrees and all(other.agrees or other.reason for other in without):
            self.reason, self.without = reason, max(other.without if other.reason else other.difference for other in without)
        return self


def row(method: str, reference: str, network: str, ours: np.ndarray, theirs: np.ndarray) -> Row:
    """Compares two maps of the same shape, number by number."""
    a, b = np.asarray(ours, np.float64).ravel(), np.asarray(theirs, np.float64).ravel()
    if a.shape != b.shape:
        raise ValueError(f"{method} on {network}: {np.shape(ours)} numbers are ours, and {np.shape(theirs)} theirs")
    spread = float(b.max() - b.min())
    if spread == 0 or a.max() == a.min():
        same = float(np.abs(a - b).max()) <= 1e-6
        return Row(method, reference, network, 1.0 if same else 0.0, 0.0 if same else float("inf"))
    return Row(method, reference, network, float(np.corrcoef(a, b)[0, 1]), float(np.abs(a - b).max() / spread))


@dataclass
class Number:
    """A comparison of one or more numbers of a metric of ours with somebody else's: those of a map, or its curve's."""

    metric: str
    reference: str
    network: str
    # The method whose map it is; of two that are compared, both.
    map: str
    # Ours, least and most.
    low: float
    high: float
    # The largest difference, in the metric's own unit, or as a share of the reference's number.
    difference: float
    # Why the two are not the same, and the largest difference without that, as measured in this run.
    reason: str = ""
    without: float = 0

    @property
    def name(self) -> str:
        return self.metric

    @property
    def agrees(self) -> bool:
        return self.difference <= DIFFERENCE

    def __str__(self) -> str:
        ours = f"{self.low:.4f}" + (f" … {self.high:.4f}" if self.high != self.low else "")
        return f"{mark(self)} {self.metric:19} {self.reference:60} {self.network:13} {self.map:16} {ours:18} {self.difference:7.1e}{why(self)}"

    def because(self, reason: str, *without: Number) -> Number:
        """Gives a number that does not agree its reason, if numbers without it do."""
        if not self.agrees and all(other.agrees for other in without):
            self.reason, self.without = reason, max(other.difference for other in without)
        return self


def number(metric: str, reference: str, network: str, map_: str, ours: ArrayLike, theirs: ArrayLike,
           is_share: bool = False) -> Number:
    """Compares a number, or as many as there are, with that of a reference; `is_share` where numbers are small. What is no number is unlike any."""
    a, b = (np.array(values, np.float64).ravel() for values in (ours, theirs))
    if a.shape != b.shape:
        raise ValueError(f"{metric} on {network}: {len(a)} numbers are ours, and {len(b)} theirs")
    difference = float((np.abs(a - b) / (np.abs(b) if is_share else 1)).max())
    return Number(metric, reference, network, map_, float(a.min()), float(a.max()), difference if np.isfinite(difference) else float("inf"))
