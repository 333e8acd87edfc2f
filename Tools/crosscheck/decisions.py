"""Why maps of gradients differ where both programs are right: their units decide otherwise.

A ReLU lets a gradient through or not, and a max pool sends it to one of its inputs. Where a sum is nearly 0, or two inputs are nearly equal,
rounding decides; and what some rules divide by may itself be little more than rounding. Here the reference, in double precision, is given what
the units of a program in single precision read. If that makes each program's own map, then nothing but this rounding separates the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest import mock

import numpy as np
import onnx
import torch
from common import Check, Twin
from pytorch_grad_cam.guided_backprop import GuidedBackpropReLUasModule
from rows import Row, row
from torch import nn
from torch.nn.functional import max_pool2d
from zennit.layer import Sum

# Modules that run as units, and the ONNX operators that they are.
UNITS = {nn.ReLU: "Relu", GuidedBackpropReLUasModule: "Relu", nn.MaxPool2d: "MaxPool", Sum: "Add"}




class Given(torch.autograd.Function):
    """A value in the place of another, which gets its gradient."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return value.to(x.dtype)

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


@dataclass
class Reading:
    """What a unit read when it ran."""

    unit: nn.Module
    value: torch.Tensor

    def decisions(self) -> torch.Tensor:
        if isinstance(self.unit, nn.MaxPool2d):
            unit = self.unit
            return max_pool2d(self.value, unit.kernel_size, unit.stride, unit.padding, unit.dilation, unit.ceil_mode, return_indices=True)[1]
        return self.value > 0


@contextmanager
def reading(change: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> Iterator[list[Reading]]:
    """Has what units read changed, in whatever copy of a network they are; lists what they then read."""
    read: list[Reading] = []

    def call(unit: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = change(unit, x)
        read.append(Reading(unit, x.detach()))
        return nn.Module.__call__(unit, x)

    with ExitStack() as stack:
        for kind in UNITS:
            stack.enter_context(mock.patch.object(kind, "__call__", call, create=True))
        yield read


@contextmanager
def feeding(twin: Twin, receive: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """Hears what a network is fed, in whatever copy of it: what its first layer reads, also where a package puts a baseline beside the picture."""
    first = next(layer for layer in twin.module.modules() if isinstance(layer, nn.Conv2d))
    hook = first.register_forward_pre_hook(lambda _, given: receive(given[0].detach()))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def ours_in(check: Check, twin: Twin, fed: list[torch.Tensor]) -> Iterator[list[Reading]]:
    """Gives units what those of our program read when it is fed such: in single precision, as noise and points on a way were rounded."""
    nodes = [node for node in onnx.load(twin.path).graph.node if node.op_type in UNITS.values()]
    inputs = iter(fed)
    waiting: list[tuple[str, torch.Tensor]] = []

    def begin(_: torch.Tensor) -> None:
        values = check.values(twin, next(inputs).numpy(), [name for node in nodes for name in node.input])
        waiting.clear()
        for node in nodes:
            read = [torch.from_numpy(values[name]) for name in node.input]
            # Zennit's sums are of a shortcut and a branch, in this order.
            waiting.append((node.op_type, torch.stack(read[::-1], -1) if node.op_type == "Add" else read[0]))

    def change(unit: nn.Module, x: torch.Tensor) -> torch.Tensor:
        # Not every copy of a network has its sums as units.
        while waiting[0][0] != UNITS[type(unit)]:
            waiting.pop(0)
        return Given.apply(x, waiting.pop(0)[1])

    with feeding(twin, begin), reading(change) as read:
        yield read


def against(check: Check, method: str, reference: str, twin: Twin, ours: np.ndarray, theirs: Callable[[], np.ndarray],
            own: Callable[[torch.Tensor], torch.Tensor] = lambda fed: fed) -> Row:
    """A row of a map of gradients. `own` says what our program is fed where the reference is fed something that is rounded otherwise. If it does not agree, rounding is the reason if each program's map is that of the reference in double
    precision whose units read what that program's do.
    """
    fed: list[torch.Tensor] = []
    with feeding(twin, fed.append), reading(lambda _, x: x) as their_readings:
        single = theirs()
    found = row(method, reference, twin.name, ours, single)
    if found.agrees:
        return found
    twin.module.double()
    try:
        with ours_in(check, twin, [own(given) for given in fed]) as our_readings:
            at_ours = row(method, reference, twin.name, ours, theirs())
        replay = iter(their_readings)
        with reading(lambda _, x: Given.apply(x, next(replay).value)):
            at_theirs = row(method, reference, twin.name, single, theirs())
    finally:
        twin.module.float()
    different = all_ = 0
    for one, other in zip(our_readings, their_readings, strict=True):
        if not isinstance(one.unit, Sum):
            unlike = one.decisions() != other.decisions()
            different, all_ = different + int(unlike.sum()), all_ + unlike.numel()
    return found.because(f"rounding: {different:,} of {all_:,} units decide otherwise", at_ours, at_theirs)
