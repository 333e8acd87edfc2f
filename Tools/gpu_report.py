#!/usr/bin/env python3
"""What compilers make of the GPU-shaped kernels, without a GPU.

Compiles every kernel of kernels/ for NVIDIA (clang and libclc to PTX, then ptxas) and for AMD (clang to assembly), and prints
registers, spills, local memory and how many warps or waves fit; for the matrix product also what its inner loop is made of, from
the machine code. Exits 1 if any kernel spills. Needs clang-19 and libclc-19 (Debian) and the PyPI packages nvidia-cuda-nvcc-cu12
and nvidia-cuda-nvdisasm; `make gpu-report` installs them. With an argument: only kernels whose name has it in it.
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
# Waves that a SIMD holds at most.
MOST_WAVES = {"gfx90a": 8, "gfx1100": 16}
# Shared memory of a multiprocessor in KiB, less 1 KiB for each of some work-groups.
SHARED = {"sm_80": 156, "sm_90": 216}
# The tiles of Sources/Kernels/Devices/OpenCL.swift.
TILES = ((128, 128), (128, 64), (64, 64), (128, 32))
ONE_FORM: list[tuple[str, list[str]]] = [("", [])]
FORMS = {
    "convolution": [(f" {r}x{c}{' split' * s}", [f"-DWB_ROWS={r}", f"-DWB_COLUMNS={c}"] + ["-DWB_SPLIT=1"] * s)
                    for r, c in TILES for s in ((0, 1) if r * c <= 64 * 64 else (0,))],
    **dict.fromkeys(("winograd_input", "winograd_output"), [(f" {side}x{side}", [f"-DWB_TILE={side}"]) for side in (2, 4)]),
    "grouped": [(f" {width}", [f"-DWB_WIDTH={width}"]) for width in (4, 8, 16)],
}
Row = list[str]


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
            for form, options in FORMS.get(name, ONE_FORM):
                found.append((path.stem, name + form, [f"-DWB_KERNEL_{name}", *options]))
    return found


def source(family: str) -> str:
    names = ["types.clh", "common.clh", "math.clh", "epilogue.clh", "grid.clh", "window.clh", f"{family}.clh", f"{family}.cl"]
    return "\n".join((KERNELS / name).read_text() for name in names if (KERNELS / name).exists())


def clang(folder: Path, family: str, options: list[str], target: list[str], bitcode: str, output: Path) -> None:
    text = folder / f"{family}.cl"
    command = [
        "clang-19", "-x", "cl", "-cl-std=CL1.2", "-O3", "-w", *target, "-Xclang", "-finclude-default-header",
        "-Xclang", "-mlink-bitcode-file", "-Xclang", str(BITCODE / bitcode), "-D__OPENCL_VERSION__=120",
        "-DWB_NATIVE_DIV=1", *options, "-S", str(text), "-o", str(output),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)


def work_items(label: str) -> int:
    """In a work-group."""
    tile = re.match(r"convolution (\d+)x(\d+)", label)
    return int(tile[1]) * int(tile[2]) // 64 if tile else 128


def inner_loop(code: str, fma: str, weight: dict[str, int], local: str, globals_: str, wide: str) -> str:
    """Of the instructions from the first fma to the last, the unrolled loop: the share of fma, and how memory is read."""
    lines = [line for line in code.splitlines() if re.match(r"\s+(/\*[0-9a-f]{4,}\*/\s+)?[@A-Za-z]", line)]
    at = [i for i, line in enumerate(lines) if re.search(fma, line)]
    loop = lines[at[0]:at[-1] + 1]
    sums = sum(weight[found] for line in loop for found in re.findall(fma, line))
    busy = sum(1 for line in loop if re.search(fma, line))

    def loads(pattern: str, among: list[str]) -> str:
        found = [line for line in among if re.search(pattern, line)]
        return f"{sum(1 for line in found if re.search(wide, line))} of {len(found)}"

    return f"{sums:>6} fma in {len(loop):>5} instructions ({busy / len(loop):.0%}), 16-byte loads: local {loads(local, loop)}, global {loads(globals_, lines)}"


def nvidia(folder: Path, job: tuple[str, str, list[str]], chip: str, ptxas: str, nvdisasm: str | None) -> tuple[Row, bool, str]:
    family, label, options = job
    ptx = folder / f"{label}.{chip}.ptx".replace(" ", "_")
    cubin = ptx.with_suffix(".cubin")
    clang(folder, family, options, [
        "-target", "nvptx64--nvidiacl", "-Xclang", "-target-cpu", "-Xclang", chip, "-Xclang", "-target-feature", "-Xclang", "+ptx80",
    ], "nvptx64--nvidiacl.bc", ptx)
    report = subprocess.run([ptxas, "-v", f"-arch={chip}", str(ptx), "-o", str(cubin)], check=True, capture_output=True, text=True).stderr
    registers = int(re.search(r"Used (\d+) registers", report)[1])
    shared = re.search(r"(\d+) bytes smem", report)
    spills = sum(int(n) for n in re.findall(r"(\d+) bytes spill", report))
    stack = sum(int(n) for n in re.findall(r"(\d+) bytes stack frame", report))
    threads = work_items(label)
    memory = int(shared[1]) if shared else 0
    # A multiprocessor has 65,536 registers, given out by eights, and 64 warps.
    groups = min(65536 // (-(-registers // 8) * 8 * threads), 2048 // threads, SHARED[chip] * 1024 // memory if memory else 32, 32)
    row = [label, chip, str(registers), str(spills), str(stack), str(memory), f"{groups * threads // 32:>2} of 64 warps an SM"]
    loop = ""
    if label.startswith("convolution") and nvdisasm:
        code = subprocess.run([nvdisasm, "-c", str(cubin)], check=True, capture_output=True, text=True).stdout
        loop = inner_loop(code, r"\bFFMA\b", {"FFMA": 1}, r"\bLDS\b", r"\bLDG\b", r"\.128\b")
    return row, spills > 0, loop


def amd(folder: Path, job: tuple[str, str, list[str]], chip: str) -> tuple[Row, bool, str]:
    family, label, options = job
    assembly = folder / f"{label}.{chip}.s".replace(" ", "_")
    clang(folder, family, options, ["-target", "amdgcn--amdhsa", f"-mcpu={chip}", "-nogpulib"], "amdgcn--amdhsa.bc", assembly)
    text = assembly.read_text()

    def number(key: str) -> int:
        found = re.search(rf"; {key}:\s*(\d+)", text) or re.search(rf"\.{key}:\s*(\d+)", text)
        return int(found[1]) if found else 0

    spills = number("vgpr_spill_count") + number("sgpr_spill_count")
    row = [label, chip, str(number("TotalNumVgprs") or number("NumVgprs")), str(spills), str(number("ScratchSize")),
           str(number("LDSByteSize")), f"{number('Occupancy'):>2} of {MOST_WAVES[chip]} waves a SIMD"]
    loop = ""
    if label.startswith("convolution"):
        kinds = {"v_pk_fma_f32": 2, "v_fma_f32": 1, "v_fmac_f32": 1, "v_dual_fmac_f32": 1}
        loop = inner_loop(text, r"\b(v_pk_fma_f32|v_fma_f32|v_fmac_f32|v_dual_fmac_f32)(?=_|\b)", kinds, r"\bds_(read|load)_",
                          r"\bglobal_load_", r"(b128|dwordx4)\b")
    return row, spills > 0, loop


def main() -> int:
    ptxas, nvdisasm = (
        next(map(str, sorted(Path(sys.prefix).glob(f"lib/python*/site-packages/nvidia/*/bin/{tool}"))), None)
        for tool in ("ptxas", "nvdisasm"))
    if ptxas is None:
        sys.exit("gpu_report: ptxas is missing; `make gpu-report` installs it.")
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    jobs = [job for job in variants() if only in job[1]]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor() as pool:
        folder = Path(name)
        for family in {job[0] for job in jobs}:
            (folder / f"{family}.cl").write_text(source(family))
        work = [pool.submit(nvidia, folder, job, chip, ptxas, nvdisasm) for job in jobs for chip in NVIDIA]
        work += [pool.submit(amd, folder, job, chip) for job in jobs for chip in AMD]
        results = []
        for item in work:
            try:
                results.append(item.result())
            except subprocess.CalledProcessError as error:
                sys.exit(f"gpu_report: a kernel does not compile.\n{' '.join(error.cmd)}\n{error.stderr}")
    results.sort(key=lambda result: (result[0][0], result[0][1]))
    print(f"{'kernel':32}{'chip':>9}{'registers':>11}{'spills':>8}{'stack':>7}{'local':>8}  room for")
    for row, _, _ in results:
        print(f"{row[0]:32}{row[1]:>9}{row[2]:>11}{row[3]:>8}{row[4]:>7}{row[5]:>8}  {row[6]}")
    print("\nSpills and stack in bytes on NVIDIA; spilled registers and scratch bytes on AMD; local memory in bytes.")
    print("\nThe product's inner loop: each work-item computes 8 x 8 outputs; unrolled 8 terms. (Global loads that are not of 16 bytes")
    print("serve layers whose channels are no multiple of 4.)")
    for row, _, loop in results:
        if loop:
            print(f"{row[0]:32}{row[1]:>9}{loop}")
    spilled = sum(bad for _, bad, _ in results)
    print(f"\n{len(results)} compilations, {spilled} with spills.")
    return 1 if spilled else 0


if __name__ == "__main__":
    sys.exit(main())
