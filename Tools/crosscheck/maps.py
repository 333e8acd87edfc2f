"""Maps of a few methods in PyTorch, of any picture and of any weights, for metrics that have pictures explained anew."""

from __future__ import annotations

import numpy as np
import torch
from captum.attr import InputXGradient, LayerGradCam, Saliency
from common import Twin, colours
from torch.nn.functional import interpolate

# Those that have a sign, and those whose brightest hundredth is as bright as all of it.
SIGNED, CLIPPED = ("input-x-gradient",), ("saliency", "input-x-gradient")


def enlarged(map_: np.ndarray, side: int) -> np.ndarray:
    """A map at the size of the picture."""
    if map_.shape == (side, side):
        return map_
    return interpolate(torch.from_numpy(map_)[None, None], (side, side), mode="bilinear", align_corners=False)[0, 0].numpy()


def heated(map_: np.ndarray, method: str, side: int) -> np.ndarray:
    """The heat map of a map: 0 … 1."""
    if method in CLIPPED:
        flat = np.sort(map_.ravel())
        bound = flat[int(np.ceil(0.99 * flat.size)) - 1]
        if bound > (max(0, flat[0]) if method in SIGNED else flat[0]):
            map_ = np.minimum(map_, bound)
    low = 0 if method in SIGNED else map_.min()
    spread = map_.max() - low
    return enlarged(np.maximum(map_ - low, 0) / spread if spread > 0 else np.zeros_like(map_), side)


def explained(twin: Twin, x: torch.Tensor, index: int, method: str) -> np.ndarray:
    """The map of one picture."""
    with torch.enable_grad():
        if method == "gradcam":
            found = LayerGradCam(twin.module, twin.features).attribute(x.clone(), index, relu_attributions=True)[0, 0].detach().numpy()
        elif method == "saliency":
            found = Saliency(twin.module).attribute(x.clone().requires_grad_(), index)[0].amax(0).numpy()
        elif method == "input-x-gradient":
            found = colours(InputXGradient(twin.module).attribute(x.clone().requires_grad_(), index))
        else:
            with torch.no_grad():
                activation = twin.features(x)[0]
            mean, deviation = activation.mean((1, 2), keepdim=True), activation.std((1, 2), correction=0, keepdim=True)
            found = (mean * (activation > mean + 2 * deviation)).sum(0).numpy()
            found = found / max(np.abs(found).max(), np.finfo(np.float32).tiny)
    return found
