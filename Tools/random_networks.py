#!/usr/bin/env python3
"""What ONNX Runtime makes of the networks in a folder. RandomNetworkTests/RuntimeNumbers.swift calls it.

    random_networks.py FOLDER

For each NAME.onnx and NAME.npy, pictures [3, ...], writes NAME.out.npy: for each picture, by itself, and each value in the order of the nodes
its rank, its extents and its numbers, all in one row of float32. Where ONNX Runtime refuses a network, NAME.txt says why. The graph is not
optimised, so that every value is what its node makes of its inputs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime


def run(path: Path) -> np.ndarray:
    model = onnx.load(path)
    names = [name for node in model.graph.node for name in node.output if name]
    there = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    row = []
    for picture in np.load(path.with_suffix(".npy")):
        for value in session.run(names, {model.graph.input[0].name: picture[None]}):
            row += [np.array([value.ndim, *value.shape], np.float32), value.astype(np.float32).ravel()]
    return np.concatenate(row)


def main(folder: Path) -> None:
    for path in sorted(folder.glob("*.onnx")):
        # A process for each: a network on which ONNX Runtime crashes is named like one that it refuses.
        child = os.fork()
        if child == 0:
            try:
                np.save(path.with_suffix(".out.npy"), run(path))
            except Exception as error:  # whatever it is, the test names the network
                path.with_suffix(".txt").write_text(f"{error}\n")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            path.with_suffix(".txt").write_text(f"It ended with the status {status}.\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
