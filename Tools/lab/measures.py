"""How alike two heat maps are, and how much of one lies on the animal."""

from __future__ import annotations

import numpy as np


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson's correlation coefficient (PCC); None if a map is blank."""
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else None


def similarity(a: np.ndarray, b: np.ndarray) -> float | None:
    """SIM: what two maps have in common if each adds up to 1; None if a map is blank."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if a.sum() <= 0 or b.sum() <= 0:
        return None
    return float(np.minimum(a / a.sum(), b / b.sum()).sum())


def top_tenth(heat: np.ndarray) -> np.ndarray:
    """1 for the tenth of the pixels that are hottest, else 0; pixels that tie at the border share what is left of the tenth."""
    size = heat.size / 10
    border = np.sort(heat, axis=None)[-int(np.ceil(size))]
    above, tied = heat > border, heat == border
    return above + tied * ((size - above.sum()) / tied.sum())


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The share of the hottest tenth of `a` that is in the hottest tenth of `b`."""
    return float(np.minimum(top_tenth(a), top_tenth(b)).sum() / (a.size / 10))


def share_within(heat: np.ndarray, mask: np.ndarray) -> float | None:
    """The share of the map's sum that lies in `mask`; None if it is blank."""
    total = heat.sum(dtype=np.float64)
    return float(heat[mask].sum(dtype=np.float64) / total) if total > 0 else None


def points_at(heat: np.ndarray, mask: np.ndarray) -> bool:
    """The pointing game: is the hottest pixel in `mask`? Of several, most of them."""
    return bool(mask[heat == heat.max()].mean() > 0.5)


def seen(mask: np.ndarray, short_side: int, crop: int) -> np.ndarray:
    """The mask of a square picture as the network sees it: resized to `short_side` (nearest pixel), the centre cut out."""
    margin = (short_side - crop) // 2
    at = ((np.arange(crop) + margin + 0.5) * mask.shape[0] / short_side).astype(int)
    return mask[np.ix_(at, at)]
