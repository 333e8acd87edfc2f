"""The pictures of the lab exercise: two of an African elephant, one of a bear, and one of both, made of free files.

The animals are cut-outs of Debian's package of stamps, pasted pixel for pixel on gravel, so that their masks are exact. Which ground,
scale and side was tried out until both networks name the animal.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
from fetch import DebianPackage, FetchError, workspace, write_atomically
from photos import SCIKIT_IMAGE
from PIL import Image

ELEPHANT, BEAR = 386, 295
NAMES = {ELEPHANT: "African elephant", BEAR: "American black bear"}

_STAMPS = DebianPackage("tuxpaint-stamps-default", megabytes=161)
_MAMMALS = "usr/share/tuxpaint/stamps/animals/mammals"
_ANIMALS = {
    ELEPHANT: (f"{_MAMMALS}/elephant.png", "c58332e1f4ef1f476ffb0e8a2df86f0b55c589496b3699de26cfeabd231a8a70"),
    BEAR: (f"{_MAMMALS}/bears/bear.png", "aba4c267dac9003ba033fb0e6e7f09ed43b10e38ec625e5c2d6b67196e182c7f"),
}
_GRAVEL = ("skimage/data/gravel.png", "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12")

_ATTRIBUTION = """\
The elephant and the bear: Pere Pujal i Carabantes, for Tux Paint; GPL-2; from Debian's package tuxpaint-stamps-default.
The gravel: CC0Textures, CC0; from PyPI scikit-image 0.26.0.
"""


@dataclasses.dataclass(frozen=True)
class Animal:
    """Where a cut-out lies: its upper left corner, or in the middle."""

    class_index: int
    at: tuple[int, int] | None = None
    mirrored: bool = False


@dataclasses.dataclass(frozen=True)
class Scene:
    """A square picture: gravel in a tint, sky down to a horizon, and animals on it."""

    name: str
    side: int
    tint: tuple[int, int, int]
    pale: bool
    sky: bool
    animals: tuple[Animal, ...]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture to explain: the class that it shows, and for each of its animals a mask as large as the picture."""

    path: Path
    target: str
    masks: dict[int, np.ndarray]

    @property
    def name(self) -> str:
        return self.path.stem


_SAND, _GREEN = (255, 225, 170), (190, 230, 130)
SCENES = (
    Scene("elephant_1", 256, _SAND, pale=False, sky=True, animals=(Animal(ELEPHANT),)),
    Scene("elephant_2", 288, _SAND, pale=True, sky=False, animals=(Animal(ELEPHANT, mirrored=True),)),
    Scene("bear", 256, _GREEN, pale=False, sky=False, animals=(Animal(BEAR),)),
    Scene("elephant_and_bear", 416, _SAND, pale=False, sky=True, animals=(Animal(ELEPHANT, (128, 32)), Animal(BEAR, (128, 207)))),
)


def compose(scene: Scene, gravel: np.ndarray, cutouts: dict[int, np.ndarray]) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The picture, bytes [side, side, 3], and the mask of each animal. `gravel` is grey, cut-outs have four channels."""
    side = scene.side
    ground = gravel[:side, :side, None].astype(np.int64)
    picture = ((ground + 255) // 2 if scene.pale else ground) * np.array(scene.tint) // 255
    if scene.sky:
        picture[: side * 3 // 5] = (150, 190, 230)
    masks = {}
    for animal in scene.animals:
        cutout = cutouts[animal.class_index].astype(np.int64)
        if animal.mirrored:
            cutout = cutout[:, ::-1]
        height, width = cutout.shape[:2]
        top, left = animal.at or ((side - height) // 2, (side - width) // 2)
        below = picture[top : top + height, left : left + width]
        alpha = cutout[..., 3:]
        below[:] = (below * (255 - alpha) + cutout[..., :3] * alpha + 127) // 255
        mask = np.zeros((side, side), bool)
        mask[top : top + height, left : left + width] = alpha[..., 0] >= 128
        masks[animal.class_index] = mask
    return picture.astype(np.uint8), masks


def standard_pictures(folder: Path) -> list[Picture]:
    """The four pictures in `folder`, made of files that are downloaded if they are not there yet."""
    sources = folder / "sources"
    files = {path.rpartition("/")[2]: (path, sha256) for path, sha256 in (*_ANIMALS.values(), _GRAVEL)}
    if not all((sources / name).exists() for name in files):
        with workspace(sources) as work:
            try:
                found = _STAMPS.read(dict(_ANIMALS.values()), work)
            except FetchError as error:
                raise FetchError(f"{error} Photographs of your own would do: IMAGES=folder.") from None
            found |= SCIKIT_IMAGE.read(dict([_GRAVEL]), work)
        for name, (path, _) in files.items():
            write_atomically(sources / name, found[path])
        write_atomically(folder / "ATTRIBUTION.txt", _ATTRIBUTION.encode())
    gravel = np.asarray(Image.open(sources / "gravel.png").convert("L"))
    cutouts = {index: np.asarray(Image.open(sources / Path(path).name).convert("RGBA")) for index, (path, _) in _ANIMALS.items()}
    pictures = []
    for scene in SCENES:
        pixels, masks = compose(scene, gravel, cutouts)
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        path = folder / f"{scene.name}.png"
        write_atomically(path, png.getvalue())
        pictures.append(Picture(path, str(scene.animals[0].class_index), masks))
    return pictures


def own_pictures(folder: Path) -> list[Picture]:
    """The photographs in `folder`; what they show is taken to be what the network says."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not paths:
        raise FetchError(f"There are no photographs (PNG or JPEG) in {folder}.")
    return [Picture(path, "top1", {}) for path in paths]
