#!/usr/bin/env python3
"""The same bits on every OpenCL implementation within reach of a machine without a GPU.

Runs `app verify` and the tests of the kernels on PoCL, Intel's runtime for CPUs, oclgrind (a simulator that calls itself a GPU and
finds data races and invalid accesses) and rusticl on llvmpipe, and prints a table in Markdown. Exits 1 if something differs, races
or fails on a device that is taken. Debian's packages and .venv-opencl come from `make opencl-matrix`. With --quick, as
`make test` has it: the small network only, on Intel's runtime and oclgrind.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import onnx
from architectures import RandomWeights
from graph import GraphBuilder, Tensor

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / ".build/release/app"
WORK = ROOT / ".build/opencl-matrix"
NETWORKS = ("squeezenet1.1", "efficientnet-lite0")
PICTURE = ROOT / "demo/photos/cat_chelsea.png"


@dataclasses.dataclass(frozen=True)
class Implementation:
    name: str
    library: str  # what the loader opens: a name, or a path with wildcards below / or the project
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    networks: tuple[str, ...] = NETWORKS  # beside the small one
    tests: str = "KernelsTests"


INTEL = Implementation(
    "Intel CPU runtime", ".venv-opencl/lib/libintelocl.so", {"LD_LIBRARY_PATH": str(ROOT / ".venv-opencl/lib")}
)
# A simulator takes minutes for what takes others a second.
OCLGRIND = Implementation(
    "oclgrind", "usr/lib/oclgrind/liboclgrind-rt-icd.so", {"OCLGRIND_DATA_RACES": "1"}, (),
    r"KernelsTests\.(ProbeTests|DivisionTests|OrderTests|LittleDeviceTests/groupsOfKernels)",
)
ALL = (
    Implementation("PoCL", "libpocl.so.2*"), INTEL, OCLGRIND,
    Implementation("rusticl, llvmpipe", "libRusticlOpenCL.so.1*", {"RUSTICL_ENABLE": "llvmpipe"}),
)


def small_network() -> onnx.ModelProto:
    """Every family of kernels, on few numbers: both tiles of Winograd, split sums, strides, narrow groups, pools, a normalisation."""
    x = Tensor("input", (3, 20, 20))
    g = GraphBuilder(RandomWeights(8))
    y = g.relu(g.conv(x, "first", 32, 3, 2, 1, bias=True), "first.relu")  # 10 x 10
    z = g.relu(g.conv(y, "tiles4", 32, 3, 1, 1), "tiles4.relu")
    y = g.add(z, g.conv(y, "beside", 32, 1), "sum")
    y = g.relu6(g.conv(y, "depthwise", 32, 5, 2, "same", groups=32, bias=True), "depthwise.clip")  # 5 x 5
    y = g.relu(g.batch_norm(g.conv(y, "tiles2", 32, 3, 1, 1), "norm"), "tiles2.relu")
    y = g.relu(g.conv(y, "grouped", 32, 3, 1, 1, groups=8), "grouped.relu")
    y = g.concat([g.max_pool(y, "max", 3, 1), g.average_pool(y, "average", 3, 1)], "pools")  # 3 x 3
    y = g.shuffle(y, "shuffle")
    y = g.relu(g.conv(y, "wide", 40, 3, 1, 1), "wide.relu")
    y = g.linear(g.flatten(g.global_average_pool(y, "mean"), "flat"), "classes", 7, "logits")
    return g.model("small", x, y, {})


def find(library: str) -> Path | None:
    if "/" not in library:
        places = [Path(line) for line in subprocess.run(
            ["find", "/usr/lib", "-name", library], capture_output=True, text=True, check=False).stdout.split()]
    else:
        places = [*ROOT.glob(library), *Path("/").glob(library)]
    return sorted(places)[0] if places else None


def loader() -> str:
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    return re.search(r"libOpenCL\.so\.1 .*=> (\S+)", listing)[1]


@dataclasses.dataclass
class Row:
    cells: list[str]
    problems: list[str]


def check(implementation: Implementation, small: Path, quick: bool) -> Row:
    problems: list[str] = []
    library = find(implementation.library)
    if library is None:
        # `make test` does without what `make SETUP=no` was not to install, and what there is not for this processor.
        problem = [] if quick else [f"{implementation.library} was not found"]
        return Row([implementation.name, "not installed"] + [""] * 7, problem)
    folder = WORK / re.sub(r"\W+", "-", implementation.name)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.icd"):
        old.unlink()
    (folder / "only.icd").write_text(f"{library}\n")
    log = folder / "oclgrind.log"
    log.unlink(missing_ok=True)
    environment = os.environ | {
        "OCL_ICD_VENDORS": str(folder), "WHITEBOX_OPENCL_LIBRARY": loader(), "WHITEBOX_CACHE_DIR": str(folder),
        "OCLGRIND_LOG": str(log),
    } | implementation.environment

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, check=False, cwd=ROOT)

    listing = run(APP, "devices", "--json")
    devices = json.loads(listing.stdout)["opencl"] if listing.returncode == 0 else []
    if not devices:
        return Row([implementation.name, "no device"] + [""] * 7, [listing.stderr.strip() or "it offers no device"])
    device = devices[0]
    cells = [implementation.name, f"{device['driver']} ({device['version']})", device["declared"],
             device["measured"] or "nothing"]
    if not device["usable"]:
        return Row(cells + [f"refused: it {device['problem']}"] + [""] * 4, [])

    numbers = differences = 0
    models = [] if quick else [ROOT / f"models/{name}.onnx" for name in implementation.networks]
    for model in [small, *models]:
        # The simulator takes minutes for many passes.
        few = ["--method", "gradcam,gradcam++,fem,saliency"] if implementation.name == "oclgrind" else []
        result = run(APP, "verify", "--model", model, "--device", "opencl:0", "--json", *few, *([] if model == small else [PICTURE]))
        if result.returncode not in (0, 1):
            problems.append(f"app verify on {model.name} ended with {result.returncode}: {result.stderr.strip()}")
            continue
        for variant in json.loads(result.stdout)["devices"]:
            numbers += variant["numbers"]
            if variant["difference"]:
                differences += 1
                problems.append(f"{model.name}, {variant['device']}: {variant['difference']}")
    simulated = implementation == OCLGRIND
    tests = ""
    if not quick:
        # oclgrind crashes where several threads call it.
        result = run("swift", "test", "-c", "release", "--disable-testable-imports", "--disable-xctest",
                     *(["--no-parallel"] if simulated else []), "--filter", implementation.tests)
        summary = re.search(r"Test run with (\d+) tests.* (passed|failed)", result.stdout + result.stderr)
        tests = f"{summary[1]} {summary[2]}" if summary else "did not run"
        if result.returncode != 0 or not summary:
            (folder / "tests.log").write_text(result.stdout + result.stderr)
            problems.append(f"tests: see {folder / 'tests.log'}")
    said = log.read_text(errors="replace") if log.exists() else ""
    races, invalid = (len(re.findall(pattern, said, re.M)) for pattern in (r"data race at", r"^Invalid (?:read|write)"))
    if races + invalid:
        problems.append(f"{races} races and {invalid} invalid accesses: see {log}")
    counts = [str(races), str(invalid)] if simulated else ["not looked for"] * 2
    return Row(cells + [f"{numbers:,}", str(differences), tests, *counts], problems)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    small = WORK / "small.onnx"
    onnx.save(small_network(), small)
    columns = ["implementation", "version", "declares", "measured", "numbers compared", "differences", "kernel tests", "races",
               "invalid accesses"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    failed = False
    for implementation in (INTEL, OCLGRIND) if options.quick else ALL:
        row = check(implementation, small, options.quick)
        print("| " + " | ".join(row.cells) + " |", flush=True)
        for problem in row.problems:
            failed = True
            print(f"{implementation.name}: {problem}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
