# Copyright Whitebox's authors. Licence: Apache-2.0.
"""What people call an image, as the library takes it."""

from __future__ import annotations

import os
from typing import Any, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

from . import _library as lib
from ._errors import InputError, UsageError

#: A path, the bytes of a picture file, a NumPy array or torch tensor, or a PIL image.
Image = Any


#: Of files in a folder that are pictures.
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".bmp")


class Prepared:
    """A picture for C, and what must stay alive until the library has copied it."""

    __slots__ = ("kind", "name", "data", "size", "height", "width")

    def __init__(self, kind: int, name: str, data=None, size: int = 0, height: int = 0, width: int = 0):
        self.kind, self.name, self.data = kind, name, data
        self.size, self.height, self.width = size, height, width

    def write(self, place: lib.Picture, target: Optional[str]) -> List[Any]:
        """Fills a structure of C; what is returned must live as long."""
        name = lib.encoded(self.name)
        place.kind, place.name, place.size = self.kind, name, self.size
        place.height, place.width = self.height, self.width
        kept: List[Any] = [name, self.data]
        if isinstance(self.data, bytes):
            import ctypes

            pointer = ctypes.c_char_p(self.data)
            kept.append(pointer)
            place.data = ctypes.cast(pointer, ctypes.c_void_p).value
        elif self.data is not None:
            place.data = self.data.ctypes.data
        if target is not None:
            word = lib.encoded(target)
            kept.append(word)
            place.target = word
        return kept


def is_path(image: Image) -> bool:
    return isinstance(image, (str, os.PathLike))


def array_of(image: Image):
    """A NumPy array of the same numbers: itself, or by `__array__`, DLPack, or of a torch tensor wherever that lies. Nothing is copied that
    lies in this machine's memory already. None if it is no array."""
    import numpy as np

    if isinstance(image, np.ma.MaskedArray) and np.ma.is_masked(image):
        raise InputError("An array with masked elements is no image: what lies under the mask is nobody's.")
    if isinstance(image, np.ndarray):
        return np.asarray(image)
    if hasattr(image, "detach") and hasattr(image, "cpu"):  # torch
        image = image.detach().cpu()
        if str(image.dtype) == "torch.bfloat16":
            image = image.float()
        return image.numpy()
    if hasattr(image, "__dlpack__"):
        return np.from_dlpack(image)
    if hasattr(image, "__array__") and not hasattr(image, "convert"):
        return np.asarray(image)
    return None


def is_batch(image: Image) -> bool:
    """Whether it is an array of several images."""
    dimensions = getattr(image, "ndim", None)
    return isinstance(dimensions, int) and dimensions == 4


def is_single(image: Any) -> bool:
    """Whether it is one image, and no list of some."""
    return (
        is_path(image) or isinstance(image, (bytes, bytearray, memoryview)) or hasattr(image, "convert") or hasattr(image, "read")
        or getattr(image, "ndim", None) in (2, 3)
    )


def prepare(image: Image, name: str, shape: Sequence[int]) -> Prepared:
    """
    - a path: the picture file there;
    - bytes: the content of a picture file;
    - a uint8 array [H, W], [H, W, 1], [H, W, 3] (red, green, blue) or [H, W, 4] (opacity is left out, as of a file): a photograph, which is
      prepared as one from a file;
    - a float array of the network's input shape, such as [3, 224, 224]: that input itself, already normalised;
    - a PIL image: the photograph, upright as its EXIF orientation says.
    """
    if is_path(image):
        return Prepared(lib.FILE, os.fsdecode(image))
    if hasattr(image, "read") and not hasattr(image, "convert"):  # an open file
        image = image.read()
    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
        return Prepared(lib.ENCODED, name, data, len(data))
    if hasattr(image, "convert") and hasattr(image, "getexif"):  # PIL
        import numpy as np
        from PIL import ImageOps

        name = os.path.basename(getattr(image, "filename", "") or "") or name
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            # Pillow would clip it to white; of a file the high bytes are taken, too.
            return _pixels((np.asarray(upright).astype("<u2") >> 8).astype(np.uint8), name)
        if upright.mode in ("I", "F"):
            raise InputError(
                f"{name}: The image has the mode {upright.mode}, of which nobody knows what is white; convert it to L or RGB yourself."
            )
        try:
            return _pixels(np.asarray(upright.convert("RGB")), name)
        except ValueError as reason:
            raise InputError(f"{name}: Pillow cannot make red, green and blue of an image of mode {upright.mode}: {reason}.") from None
    array = array_of(image)
    if array is None:
        raise UsageError(
            f"{name}: This is no image but of type {type(image).__name__}; give a path, the bytes of a picture file, a NumPy array, a torch tensor, or a PIL image; "
            "for loaders there is explain_iter."
        )
    if array.dtype.kind == "f":
        import numpy as np

        if list(array.shape) == [1, *shape]:
            array = array[0]
        if list(array.shape) != list(shape):
            raise InputError(
                f"{name}: An array of {array.dtype} is taken for the network's input, already normalised, which is {list(shape)}, and this one is "
                f"{list(array.shape)}; a photograph is an array of uint8, [height, width, 3]"
                + (": (255 * array).round().astype(\"uint8\"), if this one has 0 to 1." if array.ndim == 3 and array.shape[2] == 3 else ".")
            )
        numbers = np.ascontiguousarray(array, dtype="<f4")
        return Prepared(lib.NUMBERS, name, numbers, numbers.size)
    if str(array.dtype) == "uint8":
        return _pixels(array, name)
    raise InputError(
        f"{name}: An array of {array.dtype} is neither a photograph (uint8, [height, width, 3]) nor the network's input (float32, {list(shape)})."
    )


def _pixels(array, name: str) -> Prepared:
    import numpy as np

    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(
            f"{name}: An array of uint8 is taken for a photograph, [height, width, 3] (or 1 or 4 channels, or none), and this one is {list(array.shape)}"
            + ("; array.transpose(1, 2, 0) has the channels last." if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ".")
        )
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    pixels = np.ascontiguousarray(array[:, :, :3])
    return Prepared(lib.PIXELS, name, pixels, 0, pixels.shape[0], pixels.shape[1])


def listed(images: Union[Image, Iterable[Image]]) -> Iterable[Image]:
    """One image is a list of one; an array of four dimensions is the images in it."""
    if isinstance(images, (str, os.PathLike)) and os.path.isdir(images):
        return sorted(
            entry.path for entry in os.scandir(os.fsdecode(images))
            if entry.name.lower().endswith(ENDINGS) and not entry.name.startswith(".") and not entry.is_dir()
        )
    if getattr(getattr(images, "dtype", None), "kind", None) in ("O", "U", "S") and hasattr(images, "tolist"):
        return images.tolist()  # paths in an array, or in a column of a table
    if is_batch(images):
        return list(array_of(images))
    # What is no list is one image, or none, which is said of it later.
    is_list = hasattr(images, "__iter__") and not isinstance(images, dict) and getattr(images, "ndim", None) is None
    return images if is_list and not is_single(images) else [images]


def of_loader(loader: Iterable[Any]) -> Iterator[Tuple[Image, Any]]:
    """The images that a loader gives, one by one, each with its label, or None: images, lists or arrays of them, or, as PyTorch's DataLoader does, a list or
    tuple of such a batch and what else belongs to it."""
    for item in listed(loader) if is_single(loader) or is_batch(loader) else loader:
        if isinstance(item, (list, tuple)) and item and is_batch(item[0]):
            # Labels and the like belong to the images in front of them; other arrays of images do not.
            parts = [part for part in item if is_batch(part)]
            labels = item[1] if len(item) == 2 and len(parts) == 1 and hasattr(item[1], "__len__") else None
            for part in parts:
                several = list(listed(part))
                yield from zip(several, labels if labels is not None and len(labels) == len(several) else [None] * len(several))
            continue
        if isinstance(item, (list, tuple)) and _is_labelled(item):
            yield item[0], item[1]
            continue
        if isinstance(item, dict):
            for key in ("image", "pixel_values", "img"):
                if key in item:
                    item = item[key]
                    break
            else:
                raise UsageError(f"The loader gives a dictionary without “image”; it has {', '.join(map(str, item))}.")
        for image in listed(item):
            yield image, None


def _is_labelled(item: Sequence[Any]) -> bool:
    """(image, label), as torchvision's datasets give it."""
    if len(item) != 2 or is_single(item[1]):
        return False
    first, second = item
    is_image = is_path(first) or hasattr(first, "convert") or getattr(first, "ndim", 0) in (2, 3)
    is_label = isinstance(second, int) or getattr(second, "ndim", None) == 0
    return is_image and is_label


def named(images: Iterable[Image]) -> Iterator[Tuple[Image, str]]:
    for number, image in enumerate(images):
        yield image, f"image-{number}"
