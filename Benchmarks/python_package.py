#!/usr/bin/env python3
"""How long importing the Python package takes, and how much a call costs beyond the library's own time.

Medians of several rounds; the library's own time is that of the same call through ctypes, without what Python makes of it.
"""

import ctypes
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def importing(what, rounds=15):
    code = f"import time; t = time.perf_counter(); {what}; print(time.perf_counter() - t)"
    times = []
    for _ in range(rounds):
        times.append(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout))
    return statistics.median(times)


def main():
    print(f"import whitebox                    {1e3 * importing('import whitebox'):7.1f} ms")
    print(f"import whitebox; whitebox.Model    {1e3 * importing('import whitebox; whitebox.Model'):7.1f} ms")
    print(f"import numpy, for comparison       {1e3 * importing('import numpy'):7.1f} ms")

    import whitebox
    from Python.tests.test_package import tiny_network
    from whitebox import _library as lib

    model = whitebox.Model(tiny_network())
    numbers = np.random.default_rng(0).normal(size=model.input_shape).astype(np.float32)
    model.explain(numbers, device="cpu")
    engine = next(iter(model._engines.values()))

    def bare():
        picture = lib.Picture(kind=lib.NUMBERS, name=b"x", data=numbers.ctypes.data, size=numbers.size)
        lib.functions["results_free"](lib.call("explain", engine.handle.pointer, ctypes.byref(picture), 1, None, None))

    def whole():
        found = model.explain(numbers, device="cpu")[0]
        found["gradcam"].map, found.predictions

    differences = []
    for _ in range(7):
        medians = []
        for call in (bare, whole):
            times = []
            for _ in range(300):
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
            medians.append(statistics.median(times))
        differences.append(medians[1] - medians[0])
    print(f"a call of a tiny network           {1e3 * medians[0]:7.3f} ms in the library, {1e3 * medians[1]:.3f} ms in Python")
    print(f"what Python adds (median of 7)     {1e3 * statistics.median(differences):7.3f} ms")


if __name__ == "__main__":
    main()
