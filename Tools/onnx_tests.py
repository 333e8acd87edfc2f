#!/usr/bin/env python3
"""ONNX's own test data through the program: each case, on each device.

    onnx_tests.py [--app PATH] [--device cpu --device opencl:0] [--only TEXT] [--jobs 2] [--verbose] [--json FILE]

A case is a model with arrays for its inputs and outputs. A network that is explained has one input that is a picture, so a case runs in
several *ways*, all on the first device and the last of them on the others:

  alone      a float input is the network's input, and the other inputs are constants; each float input in turn (three at most)
  together   all float inputs are cut out of one network input, so that all are activations
  cast       as `alone`, for a truth or a whole number: the network's input is float32, and a Cast follows it
  constants  all inputs are constants, and outputs are folded when the network is loaded; where no way above is possible, or is taken

A case passes if every way that the program takes gives the expected arrays, and it takes one; it is *refused* if the program
takes none and says so in a sentence; it fails if anything else happens. Float arrays are compared as ONNX's own runner does (rtol
0.001, atol 1e-7), others must be equal. A case of float16 or float64 runs as float32, is compared
by the same tolerances, and counted apart. Devices must give the same bits.

Cases that do not apply are counted by reason: operators that the program doesn't list, types that no network of pictures has, training.
Exits 1 if a case fails or fewer pass than --least. Needs onnx 1.22.0, the last release that carries the data.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("node", "pytorch-converted", "pytorch-operator", "simple", "light")
OPSETS = (7, 24)
# ONNX's own, which all its cases have.
RTOL, ATOL = 1e-3, 1e-7
# The program's exit codes for what is not supported, with a sentence on stderr: a model, its features, its layers.
REFUSALS = (4, 5, 6)
TIMEOUT = 300
LOSSES = {"NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"}
# Types of numbers that a network's activations can stand for: all are float32 where they are computed.
FLOATS = {TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
WHOLE = {TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
         TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64, TensorProto.BOOL}
LARGEST_WHOLE = 1 << 24


class NotApplicable(Exception):
    """Why a case is none of the program's."""


@dataclasses.dataclass
class Case:
    name: str
    model: onnx.ModelProto
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    # Whether numbers that were float16 or float64 are float32.
    narrowed: bool = False


@dataclasses.dataclass
class Way:
    """A network that computes a case's outputs of one input."""

    name: str
    model: onnx.ModelProto
    input: np.ndarray


@dataclasses.dataclass
class Result:
    case: str
    outcome: str  # "passed", "refused", "failed" or "other"
    why: str = ""
    narrowed: bool = False
    ways: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
                yield from graphs(inner)


# Reading


def array(path: Path) -> np.ndarray:
    tensor = TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def arrays(folder: Path, kind: str) -> list[np.ndarray]:
    return [array(path) for path in sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))]


def type_name(value: onnx.ValueInfoProto) -> str:
    kind = value.type.WhichOneof("value")
    return TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower() if kind == "tensor_type" else (kind or "none").removesuffix("_type")


def check_types(values: list[onnx.ValueInfoProto]) -> None:
    taken = {TensorProto.DataType.Name(t).lower() for t in FLOATS | WHOLE | {TensorProto.FLOAT}}
    if wrong := sorted({type_name(value) for value in values} - taken):
        raise NotApplicable(f"type {wrong[0]}")


def check_operators(model: onnx.ModelProto, listed: set[str]) -> None:
    own = {f.name for f in model.functions}
    names = {f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
             for graph in graphs(model.graph) for node in graph.node if node.op_type not in own}
    if LOSSES & names or any(name.startswith("ai.onnx.preview.training") for name in names):
        raise NotApplicable("training")
    if missing := sorted(names - listed):
        raise NotApplicable("operators " + ", ".join(missing))
    if "Dropout" in names or "BatchNormalization" in names:
        for node in model.graph.node:
            training = {a.name: a.i for a in node.attribute}.get("training_mode", 0)
            if training or (node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]):
                raise NotApplicable("training")


def shape(model: onnx.ModelProto, name: str) -> list[int]:
    """Of a constant or an input."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return list(tensor.dims)
    return next(([d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.input if value.name == name), [])


def bring_into_range(model: onnx.ModelProto) -> onnx.ModelProto:
    """In an operator set that the program knows, where the case's nodes mean the same in it."""
    old = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if old is None or OPSETS[0] <= old <= OPSETS[1]:
        return model
    if old < OPSETS[0]:
        # Its slopes belonged to the channels, and the converter leaves them as they are, where they belong to the last axis.
        if any(node.op_type == "PRelu" and shape(model, node.input[1])[1:] == [] and shape(model, node.input[1])[:1] > [1] for node in model.graph.node):
            raise NotApplicable(f"PRelu of operator set {old}, which onnx.version_converter does not convert")
        try:
            return onnx.version_converter.convert_version(model, OPSETS[0])
        except Exception:
            raise NotApplicable(f"operator set {old}, which onnx.version_converter does not convert") from None
    for graph in graphs(model.graph):
        for node in graph.node:
            if node.domain in ("", "ai.onnx") and onnx.defs.has(node.op_type):
                try:
                    new = onnx.defs.get_schema(node.op_type, old)
                    schema = onnx.defs.get_schema(node.op_type, OPSETS[1])
                except onnx.defs.SchemaError:
                    raise NotApplicable(f"operators {node.op_type} of operator set {old}") from None
                # Later versions take more types; the meaning of what there was is the same (see ONNX's Changelog.md).
                if new.since_version != schema.since_version and not {a.name for a in node.attribute} <= set(schema.attributes):
                    raise NotApplicable(f"operators {node.op_type} of operator set {old}")
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = OPSETS[1]
    return model


def narrow(model: onnx.ModelProto) -> bool:
    """Makes float32 of every number with more or fewer bits; whether there was one."""
    changed = False

    def tensor(value: TensorProto) -> None:
        nonlocal changed
        if value.data_type in FLOATS:
            value.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(value).astype(np.float32), value.name))
            changed = True

    for graph in graphs(model.graph):
        for value in [*graph.input, *graph.output, *graph.value_info]:
            if value.type.tensor_type.elem_type in FLOATS:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
                changed = True
        for initializer in graph.initializer:
            tensor(initializer)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    tensor(attribute.t)
                if attribute.name in ("to", "dtype", "stash_type") and attribute.i in FLOATS:
                    attribute.i = TensorProto.FLOAT
                    changed = True
    return changed


def float32(value: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return value.astype(np.float32) if value.dtype in (np.float16, np.float64) or value.dtype.name == "bfloat16" else value


def read(folder: Path, listed: set[str]) -> Case:
    model = onnx.load(folder / "model.onnx")
    constants = {i.name for i in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    check_types([*inputs, *model.graph.output])
    if folder.name.startswith("test_cast") and any(type_name(value) in ("float16", "bfloat16") for value in model.graph.output):
        # Its subject is how numbers are rounded to that.
        raise NotApplicable(f"type {type_name(model.graph.output[0])} as the result of a Cast")
    check_operators(model, listed)
    model = bring_into_range(model)
    given = arrays(folder / "test_data_set_0", "input")
    # An optional input that is not there has no array of its own.
    if len(given) != len(inputs):
        raise NotApplicable("inputs that have no arrays")
    wanted = arrays(folder / "test_data_set_0", "output")
    if len(wanted) != len(model.graph.output):
        raise NotApplicable("outputs that have no arrays")
    narrowed = narrow(model)
    return Case(folder.name, model, dict(zip((v.name for v in inputs), map(float32, given))),
                dict(zip((v.name for v in model.graph.output), map(float32, wanted))), narrowed)


def light(path: Path, listed: set[str]) -> Case:
    """A whole network with weights that its file computes of its shapes; ONNX's runner feeds it numbers that count up."""
    model = onnx.load(path)
    check_operators(model, listed)
    model = bring_into_range(model)
    constants = {i.name for i in model.graph.initializer}
    (value,) = [value for value in model.graph.input if value.name not in constants]
    shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    n = int(np.prod(shape))
    picture = (np.arange(n).reshape(shape) / n).astype(np.float32)
    expected = array(path.with_name(f"{path.stem}_output_0.pb"))
    return Case(path.stem, model, {value.name: picture}, {model.graph.output[0].name: expected})


# Ways


def constant(name: str, value: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value) if value.ndim else value, name)


def without_inputs(case: Case, kept: set[str]) -> onnx.ModelProto:
    """A copy of the case's model in which all inputs but these are constants, or are left to be made."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    own = {i.name for i in model.graph.initializer}
    for value in list(model.graph.input):
        # Weights are inputs as well, up to IR version 3.
        if value.name in own or value.name not in kept:
            model.graph.input.remove(value)
    return model


def network_input(model: onnx.ModelProto, name: str, shape: tuple[int, ...]) -> None:
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def put_first(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes + rest)


def reshaped(model: onnx.ModelProto, source: str, name: str, shape: tuple[int, ...]) -> onnx.NodeProto:
    model.graph.initializer.append(constant(f"{name}.shape", np.array(shape, np.int64)))
    return helper.make_node("Reshape", [source, f"{name}.shape"], [name], f"{name}.reshape")


def alone(case: Case, name: str) -> Way:
    value = case.inputs[name]
    real = value.dtype == np.float32
    model = without_inputs(case, {name} if real and value.ndim else set())
    model.graph.initializer.extend(constant(other, v) for other, v in case.inputs.items() if other != name)
    if real and value.ndim:
        return Way(f"{name} alone", model, value)
    picture = np.atleast_1d(value.astype(np.float32))
    network_input(model, "network_input", picture.shape)
    nodes, source = [], "network_input"
    if not value.ndim:
        nodes.append(reshaped(model, source, name if real else f"{name}.number", ()))
        source = nodes[-1].output[0]
    if not real:
        nodes.append(helper.make_node("Cast", [source], [name], f"{name}.cast", to=helper.np_dtype_to_tensor_dtype(value.dtype)))
    put_first(model, nodes)
    return Way(f"{name} cast" if not real else f"{name} alone", model, picture)


def together(case: Case, names: list[str]) -> Way:
    model = without_inputs(case, set())
    model.graph.initializer.extend(constant(other, v) for other, v in case.inputs.items() if other not in names)
    lengths = [case.inputs[name].size for name in names]
    network_input(model, "network_input", (1, sum(lengths)))
    parts = [f"{name}.part" for name in names]
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset >= 13:
        model.graph.initializer.append(constant("network_input.lengths", np.array(lengths, np.int64)))
        nodes = [helper.make_node("Split", ["network_input", "network_input.lengths"], parts, "network_input.split", axis=1)]
    else:
        nodes = [helper.make_node("Split", ["network_input"], parts, "network_input.split", axis=1, split=lengths)]
    nodes += [reshaped(model, part, name, case.inputs[name].shape) for part, name in zip(parts, names)]
    put_first(model, nodes)
    return Way("together", model, np.concatenate([case.inputs[name].ravel() for name in names]).reshape(1, -1))


def folded(case: Case) -> Way:
    """What the network computes of its input is something else: the case's outputs are there when it has been loaded."""
    model = without_inputs(case, set())
    model.graph.initializer.extend(constant(name, v) for name, v in case.inputs.items())
    network_input(model, "network_input", (1, 4))
    put_first(model, [helper.make_node("Relu", ["network_input"], ["network_output"], "network_output")])
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend([helper.make_tensor_value_info("network_output", TensorProto.FLOAT, (1, 4)), *outputs])
    return Way("constants", model, np.zeros((1, 4), np.float32))


def ways(case: Case) -> Iterator[Way]:
    """The constants come last."""
    full = {name: value for name, value in case.inputs.items() if value.size}
    reals = [name for name, value in full.items() if value.dtype == np.float32]
    for name in reals[:3]:
        yield alone(case, name)
    if len(reals) > 1:
        yield together(case, reals)
    if not reals:
        for name, value in full.items():
            if np.abs(value.astype(np.float64)).max() <= LARGEST_WHOLE:
                yield alone(case, name)
                break
    yield folded(case)


# Running


def difference(got: np.ndarray, want: np.ndarray) -> str | None:
    if got.shape != want.shape:
        return f"has the shape {got.shape}, and {want.shape} is expected"
    if want.dtype == np.float32:
        with np.errstate(all="ignore"):
            if np.allclose(got, want, rtol=RTOL, atol=ATOL, equal_nan=True):
                return None
            apart = np.abs(got.astype(np.float64) - want)
        return f"differs by {np.nanmax(apart):g}" if not np.isnan(apart).all() else "has other NaN"
    if np.array_equal(got, want.astype(np.float32)):
        return None
    return f"differs in {int((got != want.astype(np.float32)).sum())} of {want.size}"


class Refused(Exception):
    """The program's sentence."""


class Failed(Exception):
    """What went wrong."""


def run(app: Path, case: Case, way: Way, device: str, folder: Path) -> dict[str, bytes]:
    """The case's outputs, as expected, as bytes."""
    path, x, results = folder / "model.onnx", folder / "x.npy", folder / "results"
    onnx.save(way.model, path)
    np.save(x, way.input)
    try:
        done = subprocess.run([app, "run", "--model", path, "--input", x, "--output", results, "--outputs", ",".join(case.outputs),
                               "--device", device, "--force", "--json"], capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Failed(f"{way.name}: {device}: takes more than {TIMEOUT} s") from None
    sentence = done.stderr.strip().removeprefix("app: ").replace(str(path), "model")
    if done.returncode in REFUSALS and sentence:
        raise Refused(sentence)
    if done.returncode != 0:
        raise Failed(f"{way.name}: {device}: exit {done.returncode}: {sentence[-300:]}")
    files = {row["name"]: row["file"] for row in json.loads(done.stdout)["outputs"]}
    found = {}
    for name, want in case.outputs.items():
        if name not in files:
            raise Failed(f"{way.name}: {device}: {name} is not written")
        got = np.load(results / files[name])
        if (wrong := difference(got, want)) is not None:
            raise Failed(f"{way.name}: {device}: {name} {wrong}")
        found[name] = got.tobytes()
    return found


def check(app: Path, case: Case, devices: list[str], scratch: Path) -> Result:
    """All ways on the first device, and the last that it takes, which has the most activations, on the others."""
    passed: list[str] = []
    refused: list[str] = []
    taken: tuple[Way, dict[str, bytes]] | None = None
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        try:
            for way in ways(case):
                if way.name == "constants" and taken:
                    break
                try:
                    taken = way, run(app, case, way, devices[0], Path(folder))
                    passed.append(way.name)
                except Refused as sentence:
                    refused.append(f"{way.name}: {sentence}")
            for device in devices[1:] if taken else []:
                way, expected = taken
                try:
                    found = run(app, case, way, device, Path(folder))
                except Refused as sentence:
                    raise Failed(f"{way.name}: {device} refuses what {devices[0]} computes: {sentence}") from None
                if other := [name for name in expected if found[name] != expected[name]]:
                    raise Failed(f"{way.name}: {other[0]} has other bits on {device} than on {devices[0]}")
        except Failed as why:
            return Result(case.name, "failed", str(why), case.narrowed)
    if passed:
        return Result(case.name, "passed", "", case.narrowed, tuple(passed), tuple(refused))
    return Result(case.name, "refused", refused[0], case.narrowed, (), tuple(refused))


def places(data: Path, only: str) -> Iterator[tuple[str, Path]]:
    for group in GROUPS:
        for path in sorted((data / group).glob("*.onnx" if group == "light" else "*/model.onnx")):
            name = path.stem if group == "light" else path.parent.name
            if only in name:
                yield group, path


def work(job: tuple[Path, str, Path, set[str], list[str], Path]) -> Result:
    app, group, path, listed, devices, scratch = job
    name = path.stem if group == "light" else path.parent.name
    try:
        case = light(path, listed) if group == "light" else read(path.parent, listed)
    except NotApplicable as reason:
        return Result(name, "other", str(reason))
    return check(app, case, devices, scratch)


def report(results: list[Result]) -> None:
    other = [result.why for result in results if result.outcome == "other"]
    lacking = [why.removeprefix("operators ").split(", ") for why in other if why.startswith("operators ")]
    print("Not applicable, by reason:")
    for why, count in collections.Counter(why for why in other if not why.startswith("operators ")).most_common():
        print(f"{count:6} {why}")
    print(f"{len(lacking):6} operators that the program does not list; a case may lack several:")
    names = collections.Counter(name for names in lacking for name in names).most_common()
    for at in range(0, len(names), 8):
        print("         " + ", ".join(f"{name} {count}" for name, count in names[at:at + 8]))
    passed = [result for result in results if result.outcome == "passed"]
    constants = sum(result.ways == ("constants",) for result in passed)
    narrowed = sum(result.narrowed for result in passed)
    counts = collections.Counter(result.outcome for result in results)
    print(f"{len(results)} cases: {len(passed)} passed ({narrowed} of them as float32, {constants} folded from constants alone), "
          f"{counts['failed']} failed, {counts['refused']} refused, {counts['other']} not applicable.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", type=Path, default=ROOT / ".build/release/app")
    parser.add_argument("--device", action="append", help="cpu, opencl:N; given once for each")
    parser.add_argument("--only", default="", help="cases whose names have this text")
    parser.add_argument("--data", type=Path, default=Path(onnx.__file__).parent / "backend/test/data")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--least", type=int, default=1, help="how many must pass")
    parser.add_argument("--verbose", action="store_true", help="name the ways of each case that passed")
    parser.add_argument("--json", type=Path, help="a file for all results")
    arguments = parser.parse_args()
    start = time.monotonic()
    rows = json.loads(subprocess.run([arguments.app, "operators", "--json"], capture_output=True, text=True, check=True).stdout)
    listed = {f"{row['domain']}.{row['name']}" if row.get("domain") else row["name"] for row in rows}
    devices = arguments.device or ["cpu"]
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        jobs = [(arguments.app, group, path, listed, devices, Path(scratch)) for group, path in places(arguments.data, arguments.only)]
        results = []
        for result in pool.map(work, jobs):
            results.append(result)
            if result.outcome == "failed":
                print(f"FAILED {result.case}: {result.why}", flush=True)
            if result.outcome == "refused" or (arguments.verbose and result.outcome == "passed"):
                print(f"{result.outcome} {result.case}: {', '.join(result.ways) or result.why}", flush=True)
                for way in result.refused if arguments.verbose else []:
                    print(f"  not {way}", flush=True)
    report(results)
    print(f"{', '.join(devices)}; {time.monotonic() - start:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(result) for result in results], indent=1))
    counts = collections.Counter(result.outcome for result in results)
    return 1 if counts["failed"] or counts["passed"] < arguments.least else 0


if __name__ == "__main__":
    sys.exit(main())
