"""Rows of the table: comparisons of a map of ours with somebody else's."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

# What a row must reach, unless it has a reason.
CORRELATION, DIFFERENCE = 0.999, 1e-3


def package(name: str) -> str:
    """A package as rows name it."""
    return f"{name} {version(name).split('+')[0]}"


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
    def agrees(self) -> bool:
        return self.correlation >= CORRELATION and self.difference <= DIFFERENCE

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
