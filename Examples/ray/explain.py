#!/usr/bin/env python3
"""Explains a folder of pictures on a Ray cluster: actors that each hold an engine take batches of pictures, and a Parquet file each is written of
the maps and of what the network says.

    pip install whitebox-….whl 'ray[data]'
    python explain.py photos --model resnet50.onnx --methods gradcam,fem --output maps --workers 8 --gpus-each 0.25

No bit depends on how many workers there are, on which machines, or on what devices: what is written is what one run of `app` finds.
"""

import argparse
import os

# Nobody's business.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import pyarrow as pa
import ray


class Explainer:
    """An actor: it opens the model once, and explains batch after batch. Workers on one GPU share it by fractions (`--gpus-each 0.25`): Ray sets
    CUDA_VISIBLE_DEVICES, which OpenCL on NVIDIA's GPUs obeys."""

    def __init__(self, model, methods, target, device, threads):
        import whitebox

        self.model = whitebox.Model(model)
        self.options = dict(methods=methods, target=target, device=device, threads=threads, progress=False, errors="keep")

    def __call__(self, batch):
        rows = {key: [] for key in ("path", "error", "method", "class", "label", "probability", "height", "width", "map")}
        images = [bytes(content) for content in batch["bytes"]]
        for path, explanation in zip(batch["path"], self.model.explain(images, batch=max(1, len(images)), **self.options)):
            for map in explanation.maps or [None]:
                found = map.map if map is not None else np.zeros((0, 0), np.float32)
                values = {
                    "path": path,
                    "error": explanation.error or "",
                    "method": map.method if map is not None else "",
                    "class": -1 if map is None or map.class_index is None else map.class_index,
                    "label": "" if map is None or map.label is None else map.label,
                    "probability": float("nan") if map is None or map.probability is None else map.probability,
                    "height": found.shape[0],
                    "width": found.shape[1],
                    # Row by row; of float32, whose bits Parquet keeps.
                    "map": found.reshape(-1),
                }
                for key, value in values.items():
                    rows[key].append(value)
        maps = pa.array(rows.pop("map"), type=pa.list_(pa.float32()))
        return pa.table({**rows, "map": maps})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--model", required=True)
    parser.add_argument("--methods", default="gradcam")
    parser.add_argument("--target", default="top1")
    parser.add_argument("--output", default="maps")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--gpus-each", type=float, default=0, help="part of a GPU for each worker")
    parser.add_argument("--cpus-each", type=float, default=1, help="cores for each worker")
    arguments = parser.parse_args()

    ray.init(log_to_driver=False, include_dashboard=False)
    pictures = ray.data.read_binary_files(
        os.path.abspath(arguments.folder), include_paths=True, file_extensions=["png", "jpg", "jpeg", "webp", "tif", "tiff", "gif", "bmp"]
    )
    maps = pictures.map_batches(
        Explainer,
        fn_constructor_args=(
            os.path.abspath(arguments.model), arguments.methods, arguments.target, arguments.device,
            max(1, int(arguments.cpus_each)),
        ),
        batch_size=arguments.batch,
        concurrency=arguments.workers,
        num_gpus=arguments.gpus_each,
        num_cpus=arguments.cpus_each,
    )
    maps.write_parquet(os.path.abspath(arguments.output))
    print(f"The maps are in {arguments.output}.")


if __name__ == "__main__":
    main()
