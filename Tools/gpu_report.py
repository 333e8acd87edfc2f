#!/usr/bin/env python3
"""What compilers make of the GPU-shaped kernels, without a GPU.

Compiles every kernel of kernels/ for NVIDIA (clang and libclc to PTX, then ptxas) and for AMD (clang to assembly), and prints
registers, spills, local memory and occupancy. Exits 1 if any kernel spills. Needs clang-19 and libclc-19 (Debian) and the PyPI package
nvidia-cuda-nvcc-cu12; `make gpu-report` installs them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "kernels"
NVIDIA = ("sm_80", "sm_90")
AMD = ("gfx90a", "gfx1100")
BITCODE = Path("/usr/lib/clc")


def variants() -> list[tuple[str, str, list[str]]]:
    """(family, what it is called, options) of every program that a GPU builds."""
    found = []
    for path in sorted(KERNELS.glob("*.cl")):
        text = path.read_text()
        if path.stem == "elementwise":
            formulas = (KERNELS / "elementwise.clh").read_text()
            for name in re.findall(r"MAP\((\w+),", formulas):
                found.append((path.stem, f"map {name}", ["-DWB_KERNEL_map", f"-DWB_MAP=map_{name}"]))
            continue
        for name in dict.fromkeys(re.findall(r"#ifdef WB_KERNEL_(\w+)", text)):
            for tile in (64, 128) if name == "convolution" else (64,):
                label = f"{name} {tile}x{tile}" if name == "convolution" else name
                found.append((path.stem, label, [f"-DWB_KERNEL_{name}", f"-DWB_TILE={tile}"]))
    return found


def source(family: str) -> str:
    names = ["types.clh", "common.clh", "math.clh", f"{family}.clh", f"{family}.cl"]
    return "\n".join((KERNELS / name).read_text() for name in names if (KERNELS / name).exists())


def clang(folder: Path, family: str, options: list[str], target: list[str], bitcode: str, output: Path) -> None:
    text = folder / f"{family}.cl"
    command = [
        "clang-19", "-x", "cl", "-cl-std=CL1.2", "-O3", "-w", *target, "-Xclang", "-finclude-default-header",
        "-Xclang", "-mlink-bitcode-file", "-Xclang", str(BITCODE / bitcode), "-D__OPENCL_VERSION__=120",
        "-DWB_NATIVE_DIV=1", *options, "-S", str(text), "-o", str(output),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)


def nvidia(folder: Path, job: tuple[str, str, list[str]], chip: str, ptxas: str) -> tuple[list[str], bool]:
    family, label, options = job
    ptx = folder / f"{label}.{chip}.ptx".replace(" ", "_")
    clang(folder, family, options, [
        "-target", "nvptx64--nvidiacl", "-Xclang", "-target-cpu", "-Xclang", chip, "-Xclang", "-target-feature", "-Xclang", "+ptx80",
    ], "nvptx64--nvidiacl.bc", ptx)
    report = subprocess.run([ptxas, "-v", f"-arch={chip}", str(ptx), "-o", "/dev/null"], check=True, capture_output=True, text=True).stderr
    registers = int(re.search(r"Used (\d+) registers", report)[1])
    shared = re.search(r"(\d+) bytes smem", report)
    spills = sum(int(n) for n in re.findall(r"(\d+) bytes spill", report))
    stack = sum(int(n) for n in re.findall(r"(\d+) bytes stack frame", report))
    threads = {"convolution 64x64": 64, "convolution 128x128": 256}.get(label, 128)
    memory = int(shared[1]) if shared else 0
    # 65,536 registers, 2,048 threads and (to be safe) 160 KiB of shared memory in a multiprocessor.
    groups = min(65536 // (-(-registers // 8) * 8 * threads), 2048 // threads, 160 * 1024 // memory if memory else 32, 32)
    return [label, chip, str(registers), str(spills), str(stack), str(memory), f"{groups * threads / 2048:.0%}"], spills > 0


def amd(folder: Path, job: tuple[str, str, list[str]], chip: str) -> tuple[list[str], bool]:
    family, label, options = job
    assembly = folder / f"{label}.{chip}.s".replace(" ", "_")
    clang(folder, family, options, ["-target", "amdgcn--amdhsa", f"-mcpu={chip}", "-nogpulib"], "amdgcn--amdhsa.bc", assembly)
    text = assembly.read_text()

    def number(key: str) -> int:
        found = re.search(rf"; {key}:\s*(\d+)", text) or re.search(rf"\.{key}:\s*(\d+)", text)
        return int(found[1]) if found else 0

    spills = number("vgpr_spill_count") + number("sgpr_spill_count")
    row = [label, chip, str(number("TotalNumVgprs") or number("NumVgprs")), str(spills), str(number("ScratchSize")),
           str(number("LDSByteSize")), f"{number('Occupancy')} waves"]
    return row, spills > 0


def main() -> int:
    ptxas = next(iter(sorted(Path(sys.prefix).glob("lib/python*/site-packages/nvidia/*/bin/ptxas"))), None)
    if ptxas is None:
        sys.exit("gpu_report: ptxas is missing; `make gpu-report` installs it.")
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    jobs = [job for job in variants() if only in job[1]]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor() as pool:
        folder = Path(name)
        for family in {job[0] for job in jobs}:
            (folder / f"{family}.cl").write_text(source(family))
        work = [pool.submit(nvidia, folder, job, chip, str(ptxas)) for job in jobs for chip in NVIDIA]
        work += [pool.submit(amd, folder, job, chip) for job in jobs for chip in AMD]
        rows = []
        for item in work:
            try:
                rows.append(item.result())
            except subprocess.CalledProcessError as error:
                sys.exit(f"gpu_report: a kernel does not compile.\n{' '.join(error.cmd)}\n{error.stderr}")
    print(f"{'kernel':32}{'chip':>9}{'registers':>11}{'spills':>8}{'stack':>7}{'local':>8}{'occupancy':>11}")
    for row, _ in sorted(rows, key=lambda r: (r[0][0], r[0][1])):
        print(f"{row[0]:32}{row[1]:>9}{row[2]:>11}{row[3]:>8}{row[4]:>7}{row[5]:>8}{row[6]:>11}")
    spilled = sum(bad for _, bad in rows)
    print(f"\n{len(rows)} compilations, {spilled} with spills. Spills and stack in bytes on NVIDIA; spilled registers and scratch bytes on AMD.")
    return 1 if spilled else 0


if __name__ == "__main__":
    sys.exit(main())
