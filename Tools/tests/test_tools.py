"""Tests of the model tool. They download nothing: `python -m unittest discover -s Tools/tests`."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pickle
import struct
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
from onnx import numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import architectures
import checkpoint
import fetch
import models
import networks
import reference
from graph import GraphBuilder, Tensor


class _Global:
    """Pickled as a bare global name."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Call:
    """Pickled as a call of a global."""

    def __init__(self, function: _Global, *arguments: object) -> None:
        self.function, self.arguments = function, arguments


class _Storage:
    """Pickled as a reference to a storage."""

    def __init__(self, kind: str, key: str, count: int) -> None:
        self.pid = ("storage", _Global("torch", kind), key, "cpu", count)


class _Pickler(pickle._Pickler):  # the Python one: it lets us write names that do not exist here
    def save(self, obj: object, save_persistent_id: bool = True) -> None:
        match obj:
            case _Global():
                self.write(f"c{obj.module}\n{obj.name}\n".encode())
            case _Call():
                self.save(obj.function)
                self.save(obj.arguments)
                self.write(pickle.REDUCE)
            case _Storage():
                self.save(obj.pid)
                self.write(pickle.BINPERSID)
            case _:
                super().save(obj, save_persistent_id)


def _pickled(value: object) -> bytes:
    file = io.BytesIO()
    _Pickler(file, 2).dump(value)
    return file.getvalue()


def _tensor(storage: _Storage, offset: int, shape: tuple, strides: tuple) -> _Call:
    return _Call(_Global("torch._utils", "_rebuild_tensor_v2"), storage, offset, shape, strides, False, {})


_DATA = np.arange(12, dtype=np.float32)


def _legacy(tree: object, count: int = 12) -> io.BytesIO:
    system = {"protocol_version": 1001, "little_endian": True}
    head = b"".join(map(_pickled, (0x1950A86A20F9469CFC6C, 1001, system, tree, ["7"])))
    return io.BytesIO(head + struct.pack("<q", count) + _DATA.tobytes())


def _zipped(tree: object) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights/data.pkl", _pickled(tree))
        archive.writestr("weights/data/7", _DATA.tobytes())
    return file


class CheckpointTests(unittest.TestCase):
    def test_both_formats_give_strided_views(self) -> None:
        storage = _Storage("FloatStorage", "7", 12)
        tree = {"plain": _tensor(storage, 0, (3, 4), (4, 1)), "turned": _tensor(storage, 2, (2, 3), (1, 2))}
        for write in (_legacy, _zipped):
            tensors = checkpoint.read_torch(write(tree))
            np.testing.assert_array_equal(tensors["plain"], _DATA.reshape(3, 4))
            np.testing.assert_array_equal(tensors["turned"], [[2, 4, 6], [3, 5, 7]])

    def test_calls_nothing_that_it_does_not_know(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            witness = Path(folder) / "called"
            attacks = [
                _Call(_Global("os", "system"), f"touch {witness}"),
                _Call(_Global("builtins", "eval"), f"open({str(witness)!r}, 'w')"),
                _Call(_Global("builtins", "getattr"), {}, "clear"),
                _Call(_Global("torch", "load"), "x"),
                _Call(_Global("collections", "namedtuple"), "a", "b"),
            ]
            for attack in attacks:
                for write in (_legacy, _zipped):
                    with self.assertRaisesRegex(checkpoint.CheckpointError, "no need of"):
                        checkpoint.read_torch(write({"weight": attack}))
            self.assertFalse(witness.exists())

    def test_refuses_tensors_beyond_their_storage(self) -> None:
        storage = _Storage("FloatStorage", "7", 12)
        for tensor in (
            _tensor(storage, 0, (4, 4), (4, 1)), _tensor(storage, -1, (2,), (1,)), _tensor(storage, 0, (2,), (-1,)),
            _tensor(storage, 0, (2, 2), (1,)), _tensor(storage, 13, (1,), (1,)), _tensor(storage, 0, ("x",), (1,)),
        ):
            with self.assertRaises(checkpoint.CheckpointError):
                checkpoint.read_torch(_zipped({"weight": tensor}))

    def test_broken_files_are_one_kind_of_error(self) -> None:
        tree = {"weight": _tensor(_Storage("FloatStorage", "7", 12), 0, (12,), (1,))}
        whole = _legacy(tree).getvalue()
        broken = [b"", b"not a pickle", whole[: len(whole) // 2], whole[:-1], _legacy(tree, -1).getvalue(), _pickled(1)]
        for data in broken:
            with self.assertRaises(checkpoint.CheckpointError):
                checkpoint.read_torch(io.BytesIO(data))


class FetchTests(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_failure_leaves_nothing_and_keeps_the_old_file(self) -> None:
        path = self.folder / "model.onnx"
        with mock.patch("os.replace", side_effect=OSError("disk full")), self.assertRaises(OSError):
            fetch.write_atomically(path, b"new")
        self.assertEqual(list(self.folder.iterdir()), [])
        fetch.write_atomically(path, b"old")
        with mock.patch("os.fsync", side_effect=KeyboardInterrupt), self.assertRaises(KeyboardInterrupt):
            fetch.write_atomically(path, b"new")
        self.assertEqual(path.read_bytes(), b"old")
        self.assertEqual(list(self.folder.iterdir()), [path])

    def test_sweeps_what_a_killed_process_left_and_spares_the_living(self) -> None:
        dead, living = self.folder / ".partial-999999999-a", self.folder / f".partial-{os.getpid()}-b"
        dead.mkdir()
        living.mkdir()
        with fetch.workspace(self.folder):
            self.assertFalse(dead.exists())
        self.assertTrue(living.exists())

    def test_a_wheel_with_another_checksum_is_refused(self) -> None:
        def download(command: list[str], **_: object) -> mock.Mock:
            folder = Path(command[command.index("--dest") + 1])
            folder.mkdir(parents=True)
            (folder / "x-1-py3-none-any.whl").write_bytes(b"something else")
            return mock.Mock(returncode=0, stderr="")

        with mock.patch("subprocess.run", side_effect=download), mock.patch("builtins.print"):
            with self.assertRaisesRegex(fetch.FetchError, "not the file that we know"):
                fetch.Wheel("x", "1", "0" * 64, 1).read({}, self.folder)

    def test_no_network_is_one_sentence_and_no_file(self) -> None:
        failed = mock.Mock(returncode=1, stderr="ERROR: No matching distribution found for x\n")
        stderr = io.StringIO()
        with mock.patch("subprocess.run", return_value=failed), contextlib.redirect_stdout(io.StringIO()):
            with contextlib.redirect_stderr(stderr):
                self.assertEqual(models.main(["models", "--output", str(self.folder)]), 1)
        self.assertRegex(stderr.getvalue(), r"^models\.py: .*could not be downloaded \(No matching distribution.*\)\.\n$")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_what_is_there_is_not_downloaded(self) -> None:
        for network in networks.NETWORKS:
            (self.folder / network.file).write_bytes(b"there")
        with mock.patch("subprocess.run", side_effect=AssertionError), mock.patch("builtins.print") as said:
            self.assertEqual(models.main(["models", "--output", str(self.folder)]), 0)
        self.assertIn("nothing was downloaded", said.call_args.args[0])


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


class NetworkTests(unittest.TestCase):
    def test_preprocessing_has_exactly_the_keys_that_are_read(self) -> None:
        for text in (networks.IMAGENET, networks.LITE, networks.CAFFE):
            value = json.loads(text)
            self.assertEqual(set(value), {"resize", "interpolation", "crop", "colours", "divisor", "mean", "std"})
            self.assertEqual((value["resize"], value["crop"]), ({"shortSide": 256}, {"width": 224, "height": 224}))
            self.assertIn(value["interpolation"], ("bilinear", "bicubic"))
            self.assertIn(value["colours"], ("rgb", "bgr"))
            self.assertEqual((len(value["mean"]), len(value["std"])), (3, 3))

    def test_random_networks_are_sound_and_have_the_published_sizes(self) -> None:
        # Trainable parameters as published with torchvision's models. VGG-16 (138,357,544) would take half a minute.
        published = {
            "resnet18": 11_689_512, "mobilenet_v2": 3_504_872, "shufflenet_v2": 2_278_604, "densenet121": 7_978_856,
            "squeezenet1_1": 1_235_496, "efficientnet_lite0": 4_652_008, "googlenet": 6_624_904,
            "resnext50_32x4d": 25_028_904,
        }
        for name, expected in published.items():
            with self.subTest(name):
                model = networks.build(
                    architectures.ARCHITECTURES[name], name, architectures.RandomWeights(0), networks.IMAGENET, "random"
                )
                onnx.checker.check_model(model, full_check=True)
                trainable = [t for t in model.graph.initializer if t.name.endswith((".weight", ".bias"))]
                self.assertEqual(sum(math.prod(t.dims) for t in trainable), expected)
                self.assertEqual(model.graph.input[0].type.tensor_type.shape.dim[0].dim_param, "N")
                self.assertEqual(model.graph.output[0].name, "logits")
                json.loads(_metadata(model)["whitebox.preprocessing"])
                names = [node.name for node in model.graph.node]
                self.assertEqual(len(set(names)), len(names))

    def test_random_weights_depend_on_the_seed_and_the_name_only(self) -> None:
        draw = lambda seed, name: architectures.RandomWeights(seed).get(name, (8, 8, 3, 3), 1)
        np.testing.assert_array_equal(draw(0, "a.weight"), draw(0, "a.weight"))
        self.assertFalse(np.array_equal(draw(0, "a.weight"), draw(1, "a.weight")))
        self.assertFalse(np.array_equal(draw(0, "a.weight"), draw(0, "b.weight")))

    def test_same_padding_is_tensorflows(self) -> None:
        g = GraphBuilder(architectures.RandomWeights(0))
        y = g.conv(Tensor("input", (3, 224, 224)), "a", 8, 3, stride=2, pad="same")
        self.assertEqual(y.shape, (8, 112, 112))
        pads = next(a for a in g._nodes[0].attribute if a.name == "pads")
        self.assertEqual(list(pads.ints), [0, 0, 1, 1])

    def test_a_trained_network_must_use_its_whole_checkpoint(self) -> None:
        weights = networks.TrainedWeights({"a": np.zeros(1), "b": np.zeros(1)})
        weights.get("a", (1,), 1)
        with self.assertRaisesRegex(checkpoint.CheckpointError, "no place for b"):
            weights.check_all_used()
        with self.assertRaisesRegex(checkpoint.CheckpointError, "lacks 'a'"):
            weights.get("a", (1,), 1)


class ReferenceTests(unittest.TestCase):
    def test_fem_by_hand(self) -> None:
        a = np.zeros((1, 2, 3, 3))
        a[0, 0, 1, 1] = 9  # mean 1, sigma sqrt(8): 9 > 1 + 2 sigma
        a[0, 1] = 5  # constant: nothing exceeds its mean
        expected = np.zeros((1, 3, 3))
        expected[0, 1, 1] = 1
        np.testing.assert_array_equal(reference.fem(a), expected)

    def test_gradcam_weights_are_the_classifiers_row(self) -> None:
        model = networks.build(
            architectures.ARCHITECTURES["resnet18"], "r", architectures.RandomWeights(0), networks.IMAGENET, "random"
        )
        layer = reference.default_layer(model)
        self.assertEqual(layer, "layer4.1.relu")
        matrix = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "fc.weight")
        np.testing.assert_array_equal(reference.class_weights(model, layer, 386, 512), matrix[386])
        self.assertIsNone(reference.class_weights(model, "layer3.1.relu", 386, 256))


if __name__ == "__main__":
    unittest.main()
