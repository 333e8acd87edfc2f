#!/usr/bin/env python3
"""Explains a folder of pictures by Dask: workers that each keep a model take some pictures at a time, and an array of maps is written with a table
of what the network says beside it.

    pip install whitebox-….whl 'dask[distributed]'
    python explain.py photos --model resnet50.onnx --method gradcam --output maps            # workers on this machine
    python explain.py photos --model resnet50.onnx --scheduler tcp://host:8786               # a cluster with the same paths

No bit depends on how many workers there are, or on what devices.
"""

import argparse
import functools
import json
import os
import pathlib

import numpy as np
from dask.distributed import Client, LocalCluster


@functools.lru_cache(maxsize=1)
def opened(model):
    """One model for each process of a worker."""
    import whitebox

    return whitebox.Model(model)


def explain(paths, model, method, target, device, threads):
    """The maps of some pictures, and a line about each."""
    lines, maps = [], []
    for e in opened(model).explain(paths, method, target, device=device, threads=threads, batch=len(paths), progress=False, errors="keep"):
        line = {"image": e.name, "row": None, "error": e.error}
        if e.error is None:
            best = e.predictions[0]
            line.update({"class": best.index, "label": best.label, "probability": best.probability, "layer": e[0].layer})
            maps.append(e[0].map)
        lines.append(line)
    return lines, np.stack(maps) if maps else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--model", required=True)
    parser.add_argument("--method", default="gradcam")
    parser.add_argument("--target", default="top1")
    parser.add_argument("--output", default="maps")
    parser.add_argument("--scheduler", help="of a cluster; workers on this machine if left out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    endings = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".bmp"}
    paths = sorted(str(p.absolute()) for p in pathlib.Path(arguments.folder).rglob("*") if p.suffix.lower() in endings)
    parts = [paths[i : i + arguments.batch] for i in range(0, len(paths), arguments.batch)]
    # One thread of Python for each worker: the library has threads of its own.
    cluster = None if arguments.scheduler else LocalCluster(n_workers=arguments.workers, threads_per_worker=1, dashboard_address=None)
    threads = None if arguments.scheduler else max(1, (os.cpu_count() or 1) // arguments.workers)
    with Client(arguments.scheduler or cluster) as client:
        found = client.gather(
            client.map(
                explain, parts, model=os.path.abspath(arguments.model), method=arguments.method, target=arguments.target,
                device=arguments.device, threads=threads,
            )
        )
    if cluster:
        cluster.close()
    output = pathlib.Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    maps = [part for _, part in found if part is not None]
    if maps:
        np.save(output / "maps.npy", np.concatenate(maps))
    row = 0
    with open(output / "index.jsonl", "w", encoding="utf-8") as file:
        for line in (line for lines, _ in found for line in lines):
            if line["error"] is None:
                line["row"], row = row, row + 1
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(f"{row} maps are in {output}.")


if __name__ == "__main__":
    main()
