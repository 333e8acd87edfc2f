"""The figures of the lab exercise: heat maps with the animals' outlines, with the pictures below them or alone.

The pictures are GPL-2, so that those in Documentation/images are alone.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from fetch import write_atomically
from PIL import Image, ImageDraw, ImageFont
from record import Lab

if TYPE_CHECKING:
    from lab import Exercise

_GAP, _HEAD, _TEXT = 6, 22, 14
_FONT = ImageFont.load_default(_TEXT)


def _coloured(heat: np.ndarray) -> np.ndarray:
    """Blue, cyan, yellow, red, as the program's own overlays."""
    tents = [1.5 - abs(4 * heat - peak) for peak in (3, 2, 1)]
    return (np.clip(np.stack(tents, axis=-1), 0, 1) * 255).astype(np.uint8)


def _outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask that have a neighbour outside."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


class Sheet:
    """Heat maps in rows and columns, with titles."""

    def __init__(self, exercise: Exercise, rows: int, columns: int, with_pictures: bool, captions: bool = False) -> None:
        self._exercise, self._with_pictures = exercise, with_pictures
        self._cell = next(iter(exercise.heats.values())).shape[0]
        self._head = 0 if captions else _HEAD
        self._foot = _HEAD if captions else 0
        width = columns * (self._cell + _GAP) - _GAP
        self._image = Image.new("RGB", (width, rows * (self._cell + _GAP + self._foot) - _GAP + self._head), "white")

    def _at(self, row: int, column: int) -> tuple[int, int]:
        return column * (self._cell + _GAP), self._head + row * (self._cell + _GAP + self._foot)

    def title(self, column: int, text: str) -> None:
        self._write((self._at(0, column)[0], 0), text)

    def put(self, row: int, column: int, picture: str, heat: np.ndarray, caption: str = "") -> None:
        pixels = _coloured(heat)
        if self._with_pictures:
            pixels = ((pixels.astype(int) + self._photograph(picture)) // 2).astype(np.uint8)
        for (name, _), mask in self._exercise.masks.items():
            if name == picture:
                pixels[_outline(mask)] = 255
        left, top = self._at(row, column)
        self._image.paste(Image.fromarray(pixels), (left, top))
        self._write((left, top + self._cell), caption)

    def _photograph(self, name: str) -> np.ndarray:
        """What the network saw, near enough to look at."""
        path = next(picture.path for picture in self._exercise.pictures if picture.name == name)
        image = Image.open(path).convert("RGB")
        scale = self._cell * 256 / 224 / min(image.size)
        image = image.resize([round(extent * scale) for extent in image.size], Image.Resampling.BILINEAR)
        left, top = ((extent - self._cell) // 2 for extent in image.size)
        return np.asarray(image.crop((left, top, left + self._cell, top + self._cell))).astype(int)

    def _write(self, at: tuple[int, int], text: str) -> None:
        ImageDraw.Draw(self._image).text((at[0] + self._cell // 2, at[1] + 2), text, "black", _FONT, anchor="ma")

    def save(self, path: Path) -> None:
        file = io.BytesIO()
        self._image.quantize(128, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        write_atomically(path, file.getvalue())


def write_all(lab: Lab, exercise: Exercise, folder: Path, with_pictures: bool) -> None:
    """Those that this exercise has; others of an earlier one are removed."""
    for old in folder.glob("lab-*.png"):
        old.unlink()
    titles = {method.name: method.title for method in lab.methods}
    networks = [network.name for network in lab.networks]
    pairs = {"maps": ("gradcam", "fem")} | ({"black-box": ("lime", "rise")} if "lime" in titles else {})
    for name, methods in pairs.items():
        columns = [(n, m) for n in networks for m in methods if (n, exercise.single[0].name, m) in exercise.heats]
        sheet = Sheet(exercise, len(exercise.single), len(columns), with_pictures)
        for column, (network, method) in enumerate(columns):
            sheet.title(column, f"{titles[method]}, {network}")
            for row, picture in enumerate(exercise.single):
                sheet.put(row, column, picture.name, exercise.heats[network, picture.name, method])
        sheet.save(folder / f"lab-{name}.png")
    if exercise.both:
        kinds = list(dict.fromkeys(row.what for row in lab.divisions if (networks[0], exercise.both.name, row.what) in exercise.heats))
        sheet = Sheet(exercise, len(networks), len(kinds), with_pictures)
        for column, what in enumerate(kinds):
            sheet.title(column, what)
            for row, network in enumerate(networks):
                sheet.put(row, column, exercise.both.name, exercise.heats[network, exercise.both.name, what])
        sheet.save(folder / "lab-two-animals.png")
    _write_changes(lab, exercise, titles, folder, with_pictures)


def _write_changes(lab: Lab, exercise: Exercise, titles: dict[str, str], folder: Path, with_pictures: bool) -> None:
    """Of each method one setting: half, usual, double. Of Grad-CAM and FEM the layer too."""
    shown = [("fem", "k"), ("lime", "kernel"), ("rise", "grid"), ("rise", "p")]
    shown = [(method, setting) for method, setting in shown if lab.changes_by(method, setting)]
    sheet = Sheet(exercise, len(shown), 3, with_pictures, captions=True)
    for row, (method, setting) in enumerate(shown):
        low, high = lab.changes_by(method, setting)
        heats = [exercise.heats["changed", method, setting, low.value], exercise.heats["usual", method, setting],
                 exercise.heats["changed", method, setting, high.value]]
        for column, (heat, value) in enumerate(zip(heats, (low.value, low.usual, high.value))):
            sheet.put(row, column, lab.changes_of[1], heat, f"{titles[method]}, {setting} = {value}")
    sheet.save(folder / "lab-settings.png")
