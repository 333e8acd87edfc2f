"""Read trained weights from files that were not written for us: PyTorch checkpoints and Keras HDF5.

A PyTorch checkpoint is a pickle, and unpickling is running a program. `read_torch` therefore uses an unpickler that
knows five kinds of name only, none of them a function of anyone else's; every other name is an error before anything
is called.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import math
import pickle
import struct
import zipfile
from typing import Any, BinaryIO, Callable

import numpy as np

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

_STORAGE_TYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class CheckpointError(ValueError):
    """The file is not a checkpoint that we read, or it asks for something that we refuse."""


@dataclasses.dataclass(frozen=True, slots=True)
class _StorageType:
    """Stands for `torch.FloatStorage` and its kin."""

    dtype: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Storage:
    """A flat array that lies elsewhere in the file under `key`."""

    key: str
    dtype: str
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class _TensorView:
    """A strided view of a storage, read once the storages are there."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def resolve(self, storages: dict[str, np.ndarray]) -> np.ndarray:
        data = storages.get(self.storage.key)
        if data is None:
            raise CheckpointError(f"The checkpoint names a storage {self.storage.key!r} that it does not hold.")
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or not all(type(n) is int and n >= 0 for n in numbers):
            raise CheckpointError("The checkpoint holds a tensor with an impossible shape.")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        if math.prod(self.shape) > 0 and last >= data.size:
            raise CheckpointError("The checkpoint holds a tensor that reaches beyond its storage.")
        view = np.lib.stride_tricks.as_strided(
            data[self.offset :], self.shape, [s * data.itemsize for s in self.strides], writeable=False
        )
        return np.ascontiguousarray(view).reshape(self.shape)


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _TensorView:
    """Stands for `torch._utils._rebuild_tensor_v2`; gradient flags and hooks are dropped."""
    if not isinstance(storage, _Storage):
        raise CheckpointError("The checkpoint builds a tensor from something that is not a storage.")
    return _TensorView(storage, offset, tuple(shape), tuple(strides))


class RestrictedUnpickler(pickle.Unpickler):
    """Builds tensors, ordered dictionaries and plain values, and nothing else.

    `on_storage` is told of each storage that a tensor refers to.
    """

    def __init__(self, file: BinaryIO, on_storage: Callable[[_Storage], None] = lambda storage: None) -> None:
        super().__init__(file)
        self._on_storage = on_storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGE_TYPES:
            return _StorageType(_STORAGE_TYPES[name])
        raise CheckpointError(f"The checkpoint asks for '{module}.{name}', which a file of weights has no need of.")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType() as kind, str() as key, str(), int() as count, *view) if view in ([], [None]):
                storage = _Storage(key, kind.dtype, count)
                self._on_storage(storage)
                return storage
        raise CheckpointError("The checkpoint holds a reference that is not a plain storage.")

    def load(self) -> Any:
        try:
            return super().load()
        except CheckpointError:
            raise
        except Exception as error:  # a broken pickle raises nearly anything
            raise CheckpointError(f"The checkpoint's pickle is broken: {error}.") from error


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise CheckpointError("The checkpoint ends before its last tensor.")
    return data


def _read_legacy(file: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
    """The format before PyTorch 1.6: five pickles, then each storage as a count and its bytes."""
    if RestrictedUnpickler(file).load() != _LEGACY_MAGIC or RestrictedUnpickler(file).load() != _LEGACY_PROTOCOL:
        raise CheckpointError("The file is not a PyTorch checkpoint.")
    system = RestrictedUnpickler(file).load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("The checkpoint was not written on a little-endian machine.")
    kinds: dict[str, str] = {}
    tree = RestrictedUnpickler(file, lambda storage: kinds.update({storage.key: storage.dtype})).load()
    storages = {}
    for key in RestrictedUnpickler(file).load():
        if key not in kinds:
            raise CheckpointError(f"The checkpoint holds a storage {key!r} that no tensor uses.")
        (count,) = struct.unpack("<q", _read_exactly(file, 8))
        if count < 0:
            raise CheckpointError(f"The checkpoint gives storage {key!r} a negative size.")
        dtype = np.dtype(kinds[key])
        storages[key] = np.frombuffer(_read_exactly(file, count * dtype.itemsize), dtype)
    return tree, storages


def _read_zip(file: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
    """The format since PyTorch 1.6: a zip with `data.pkl` and one stored file for each storage."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointError("The zip file holds no 'data.pkl', so it is not a PyTorch checkpoint.")
        root = pickles[0].removesuffix("data.pkl")
        if root + "byteorder" in names and archive.read(root + "byteorder") != b"little":
            raise CheckpointError("The checkpoint was not written on a little-endian machine.")
        storages: dict[str, np.ndarray] = {}

        def read(storage: _Storage) -> None:
            if storage.key not in storages:
                storages[storage.key] = np.frombuffer(archive.read(f"{root}data/{storage.key}"), storage.dtype)

        return RestrictedUnpickler(io.BytesIO(archive.read(pickles[0])), read).load(), storages


def read_torch(file: BinaryIO) -> dict[str, np.ndarray]:
    """The named tensors of a PyTorch state dictionary, in either of its two file formats."""
    tree, storages = (_read_zip if zipfile.is_zipfile(file) else _read_legacy)(_rewound(file))
    if not isinstance(tree, dict) or not all(isinstance(name, str) for name in tree):
        raise CheckpointError("The checkpoint is not a dictionary of named tensors.")
    return {name: view.resolve(storages) for name, view in tree.items() if isinstance(view, _TensorView)}


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def read_keras(file: BinaryIO) -> dict[str, np.ndarray]:
    """The weights of a Keras HDF5 file under PyTorch's names and layouts.

    Layer `fire2/squeeze1x1` gives `fire2.squeeze1x1.weight` (HWIO turned to OIHW) and `fire2.squeeze1x1.bias`.
    """
    import h5py

    tensors = {}
    with h5py.File(file, "r") as archive:
        for layer in archive.attrs["layer_names"]:
            group = archive[layer.decode()]
            arrays = [np.asarray(group[name.decode()]) for name in group.attrs["weight_names"]]
            for array in arrays:
                kind = {4: "weight", 1: "bias"}.get(array.ndim)
                if kind is None:
                    raise CheckpointError(f"Layer {layer.decode()!r} has a weight of rank {array.ndim}, not 1 or 4.")
                name = f"{layer.decode().replace('/', '.')}.{kind}"
                tensors[name] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    return tensors
