"""Write a convolutional network as an ONNX graph, one call for each node.

A node, its output tensor and its weights share one name: node `layer1.0.conv1` gives tensor `layer1.0.conv1` and reads
`layer1.0.conv1.weight`. So the names that a user meets in a table of layers are those of the network's author.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
IR_VERSION = 7  # the one that belongs to opset 13: older runtimes read it too


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """A value in the graph; `shape` leaves the batch dimension out."""

    name: str
    shape: tuple[int, ...]


class Weights(Protocol):
    """Where a graph's numbers come from: a checkpoint or a random generator."""

    def get(self, name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
        """`gain` is the factor by which the layer should scale its input; only a random generator needs it."""


class GraphBuilder:
    """Collects nodes and weights; `Tensor`s carry the shapes."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    # Plumbing

    def _constant(self, name: str, value: np.ndarray) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def _weight(self, name: str, shape: tuple[int, ...], gain: float = 1) -> str:
        value = np.asarray(self._weights.get(name, shape, gain), np.float32)
        if value.shape != shape:
            raise ValueError(f"Weight '{name}' has shape {list(value.shape)}; the network needs {list(shape)}.")
        return self._constant(name, value)

    def _node(self, operator: str, name: str, inputs: list[str], shape: tuple[int, ...], **attributes: object) -> Tensor:
        self._nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return Tensor(name, shape)

    # Layers with weights

    def conv(
        self,
        x: Tensor,
        name: str,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        pad: int | str = 0,
        groups: int = 1,
        bias: bool = False,
        gain: float = 1,
    ) -> Tensor:
        """`pad` is the same number on every side, or "same": TensorFlow's rule, which may pad the far side by one more."""
        inputs, height, width = x.shape
        pads = [_same(n, kernel, stride) if pad == "same" else (pad, pad) for n in (height, width)]
        shape = tuple((n + sum(p) - kernel) // stride + 1 for n, p in zip((height, width), pads))
        names = [x.name, self._weight(f"{name}.weight", (channels, inputs // groups, kernel, kernel), gain)]
        if bias:
            names.append(self._weight(f"{name}.bias", (channels,)))
        return self._node(
            "Conv", name, names, (channels, *shape), kernel_shape=[kernel, kernel], strides=[stride, stride],
            pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]], dilations=[1, 1], group=groups,
        )

    def batch_norm(self, x: Tensor, name: str, epsilon: float = 1e-5, gain: float = 1) -> Tensor:
        fields = [self._weight(f"{name}.weight", x.shape[:1], gain)]
        fields += [self._weight(f"{name}.{field}", x.shape[:1]) for field in ("bias", "running_mean", "running_var")]
        return self._node("BatchNormalization", name, [x.name, *fields], x.shape, epsilon=epsilon)

    def linear(self, x: Tensor, name: str, features: int, output: str | None = None, gain: float = 1) -> Tensor:
        names = [self._weight(f"{name}.weight", (features, x.shape[0]), gain), self._weight(f"{name}.bias", (features,))]
        y = self._node("Gemm", name, [x.name, *names], (features,), transB=1)
        return self._renamed(y, output)

    # Layers without

    def relu(self, x: Tensor, name: str) -> Tensor:
        return self._node("Relu", name, [x.name], x.shape)

    def relu6(self, x: Tensor, name: str) -> Tensor:
        limits = [self._constant(f"constant.{n}", np.float32(n)) for n in (0, 6)]
        return self._node("Clip", name, [x.name, *limits], x.shape)

    def add(self, x: Tensor, y: Tensor, name: str) -> Tensor:
        return self._node("Add", name, [x.name, y.name], x.shape)

    def concat(self, xs: list[Tensor], name: str) -> Tensor:
        return self._node("Concat", name, [x.name for x in xs], (sum(x.shape[0] for x in xs), *xs[0].shape[1:]), axis=1)

    def split(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Two halves of the channels."""
        half = x.shape[0] // 2
        sizes = self._constant(f"constant.halves{half}", np.array([half, half], np.int64))
        names = [f"{name}.0", f"{name}.1"]
        self._nodes.append(helper.make_node("Split", [x.name, sizes], names, name, axis=1))
        return Tensor(names[0], (half, *x.shape[1:])), Tensor(names[1], (half, *x.shape[1:]))

    def shuffle(self, x: Tensor, name: str, groups: int = 2) -> Tensor:
        """ShuffleNet's: the channels as a matrix [groups, rest], transposed."""
        channels, height, width = x.shape
        parts = (groups, channels // groups, height, width)
        y = self.reshape(x, f"{name}.split", parts)
        y = self._node("Transpose", f"{name}.transpose", [y.name], (parts[1], parts[0], *parts[2:]), perm=[0, 2, 1, 3, 4])
        return self.reshape(y, f"{name}.join", x.shape)

    def reshape(self, x: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
        target = self._constant(f"constant.shape{'x'.join(map(str, shape))}", np.array([0, *shape], np.int64))
        return self._node("Reshape", name, [x.name, target], shape)

    def max_pool(
        self, x: Tensor, name: str, kernel: int = 3, stride: int = 2, pad: int = 0, ceil: bool = False
    ) -> Tensor:
        """With `ceil` a last window may hang over the edge, if it starts before it."""
        return self._pool("MaxPool", x, name, kernel, stride, pad, ceil)

    def average_pool(self, x: Tensor, name: str, kernel: int = 2, stride: int = 2) -> Tensor:
        return self._pool("AveragePool", x, name, kernel, stride, 0)

    def _pool(
        self, operator: str, x: Tensor, name: str, kernel: int, stride: int, pad: int, ceil: bool = False
    ) -> Tensor:
        def windows(size: int) -> int:
            count, rest = divmod(size + 2 * pad - kernel, stride)
            return count + 1 + (ceil and rest > 0 and (count + 1) * stride < size + pad)

        shape = tuple(map(windows, x.shape[1:]))
        more = {"ceil_mode": 1} if ceil else {}
        return self._node(
            operator, name, [x.name], (x.shape[0], *shape), kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4,
            **more,
        )

    def global_average_pool(self, x: Tensor, name: str) -> Tensor:
        return self._node("GlobalAveragePool", name, [x.name], (x.shape[0], 1, 1))

    def flatten(self, x: Tensor, name: str, output: str | None = None) -> Tensor:
        return self._renamed(self._node("Flatten", name, [x.name], (int(np.prod(x.shape)),), axis=1), output)

    def _renamed(self, x: Tensor, output: str | None) -> Tensor:
        """The last node keeps its name; its tensor gets the network's output name."""
        if output is None:
            return x
        self._nodes[-1].output[0] = output
        return Tensor(output, x.shape)

    def model(self, name: str, x: Tensor, y: Tensor, metadata: dict[str, str]) -> onnx.ModelProto:
        """The finished network from `x` to `y`, checked; the batch dimension is the symbol N."""
        value = lambda t: helper.make_tensor_value_info(t.name, TensorProto.FLOAT, ["N", *t.shape])
        graph = helper.make_graph(self._nodes, name, [value(x)], [value(y)], list(self._constants.values()))
        model = helper.make_model(
            graph, producer_name="whitebox", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "same" padding (before, after): the output has ceil(size / stride) cells."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
