# Copyright Whitebox's authors. Licence: Apache-2.0.
"""What was found: maps, and what the network says."""

from __future__ import annotations

import base64
import ctypes
import html
import json
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union, overload

from . import _library as lib
from ._errors import Cancelled, Error, UsageError, error_of_code
from ._options import words


class Prediction(NamedTuple):
    """A class and how sure the network is of it."""

    index: int  # type: ignore[assignment]
    label: str
    #: Before a final softmax or sigmoid.
    logit: float
    #: 0 … 1.
    probability: float


_unpicklable = UsageError(
    "Explanations are memory of the library and cannot be pickled or copied; take what you need of them: record, map.copy()."
)


class Found:
    """Results of one call, as the library has them."""

    def __init__(self, handle: lib.Handle, engine: Any):
        self.handle, self.engine = handle, engine
        self.count = lib.functions["results_count"](handle.pointer)

    def explanations(self, refused: Sequence[Optional[str]] = ()) -> Iterator["Explanation"]:
        """`refused`: why images were not even given to the library; None for those that were."""
        for number in range(self.count):
            yield Explanation(self, number, refused[number] if refused else None)

    def array(self, picture: int, index: int, content: int) -> Any:
        """The library's own memory as an array, which cannot be written to; None if there are no such numbers."""
        import numpy as np

        found = lib.Array()
        if not lib.functions["results_array"](self.handle.pointer, picture, index, content, ctypes.byref(found)):
            return None
        shape = tuple(found.shape[: found.rank])
        kind = ctypes.c_uint8 if content == lib.VIEW else ctypes.c_float
        count = 1
        for side in shape:
            count *= side
        memory = (kind * count).from_address(found.data)
        # The array holds this, and this what it lies in.
        memory._found = self  # type: ignore[union-attr]
        buffer = memoryview(memory).toreadonly()
        return np.frombuffer(buffer, dtype=np.uint8 if content == lib.VIEW else np.float32).reshape(shape)

    def files(self, picture: int, options: Dict[str, Any]) -> Dict[str, bytes]:
        arguments = words(options)
        files: Dict[str, bytes] = {}
        reasons: List[BaseException] = []

        def take(_: Any, name: bytes, data: Any, size: int) -> bool:
            # What is raised here reaches nobody by itself.
            try:
                files[os.fsdecode(name)] = ctypes.string_at(data, size)
                return not reasons
            except BaseException as reason:
                reasons.append(reason)
                return False

        callback = lib.File(take)
        try:
            lib.interruptible(
                lambda: lib.call(
                    "results_files", self.handle.pointer, picture, lib.texts(arguments), len(arguments), callback, None
                ),
                lambda: reasons.append(KeyboardInterrupt()),
            )
        except Cancelled:
            raise reasons[0] if reasons else Error("The files were not made.") from None
        return files


class Map:
    """What one method says about one image.

    It is an array wherever NumPy wants one: that of `map`.
    """

    def __init__(self, explanation: "Explanation", index: int, record: Dict[str, Any]):
        self._explanation, self._index = explanation, index
        #: What results.json says of it.
        self.record = record

    method: str = property(lambda self: self.record["method"], doc="The method's name, such as gradcam.")  # type: ignore[assignment]
    title: str = property(lambda self: self.record["title"], doc="What people read, such as Grad-CAM.")  # type: ignore[assignment]
    class_index: Optional[int] = property(lambda self: self.record["class"], doc="The class that is explained; None for a method that knows none.")  # type: ignore[assignment]
    label: Optional[str] = property(lambda self: self.record["label"], doc="That class's name.")  # type: ignore[assignment]
    probability: Optional[float] = property(lambda self: self.record["probability"], doc="How sure the network is of that class.")  # type: ignore[assignment]
    layer: str = property(lambda self: self.record["layer"], doc="The layer's name, or those of several, or “the input”.")  # type: ignore[assignment]
    blank: Optional[str] = property(lambda self: self.record["blank"], doc="Why the map shows nothing; None if it shows something.")  # type: ignore[assignment]
    note: Optional[str] = property(lambda self: self.record["note"], doc="What one should know of this map; None if nothing.")  # type: ignore[assignment]
    signed: bool = property(lambda self: self.record["signed"], doc="Whether numbers above 0 speak for what is explained and those below against it.")  # type: ignore[assignment]
    completeness: Optional[Dict[str, Any]] = property(lambda self: self.record["completeness"], doc="What the map adds up to, and what it should.")  # type: ignore[assignment]
    samples: Optional[int] = property(lambda self: self.record["samples"], doc="Of a map that was estimated.")  # type: ignore[assignment]

    @property
    def map(self) -> Any:
        """The method's own numbers, float32 [height, width] of the layer, or of the network's input for methods that explain pixels; of a video with
        the frames in front. Not scaled. It cannot be written to; copy it for that."""
        return self._array(lib.MAP)

    @property
    def heatmap(self) -> Any:
        """The map scaled to 0 … 1 and enlarged to the network's input, float32 [height, width]."""
        return self._array(lib.HEATMAP)

    @property
    def sample_error(self) -> Any:
        """The standard error of each number of `map`, if it was estimated from samples; else None."""
        return self._array(lib.SAMPLE_ERROR)

    def _array(self, content: int) -> Any:
        return self._explanation._found.array(self._explanation._number, self._index, content)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        import numpy as np

        array = self.map
        if copy or (dtype is not None and np.dtype(dtype) != array.dtype):
            return array.astype(dtype or array.dtype)
        return array

    def overlay(self, **style: Any) -> bytes:
        """The heat map over the picture, a PNG file. `style`: colormap, opacity (0 … 100), scale, overlay ("view" or "photo")."""
        return self._explanation._overlays(style)[self._index]

    def _repr_png_(self) -> bytes:
        return self.overlay()

    def __reduce__(self) -> Any:
        raise _unpicklable

    def __repr__(self) -> str:
        of = f" of {self.class_index} {self.label!r}" if self.class_index is not None else ""
        return f"<whitebox.Map {self.method}{of} {self.map.shape}{', blank' if self.blank else ''}>"


class Explanation(Sequence[Map]):
    """Everything about one image: what the network says, and a `Map` of each method and class, in the order in which they were asked for.

    ``explanation["gradcam"]`` is the map of a method, of its best class if there are several; ``explanation["gradcam", 285]`` that of a class.
    """

    def __init__(self, found: Found, number: int, refused: Optional[str] = None):
        self._found, self._number, self._refused = found, number, refused
        self._record: Optional[Dict[str, Any]] = None

    @property
    def record(self) -> Dict[str, Any]:
        """What results.json says of the image."""
        if self._record is None:
            text = lib.functions["results_json"](self._found.handle.pointer, self._number)
            self._record = json.loads(text)
            if self._refused is not None:
                self._record["error"] = self._refused
        return self._record

    @property
    def name(self) -> str:
        """The image's path, or image-0, image-1, … for what has none."""
        return self.record["image"]

    @property
    def error(self) -> Optional[str]:
        """Why it could not be explained; None if it was."""
        return self.record["error"]

    @property
    def note(self) -> Optional[str]:
        """What one should know of the picture; None if nothing."""
        return self.record["note"]

    @property
    def predictions(self) -> List[Prediction]:
        """The five classes with the highest scores, best first."""
        return [
            Prediction(p["index"], p["label"], p["logit"], p["probability"]) for p in self.record["predictions"]
        ]

    @property
    def logits(self) -> Any:
        """The scores of all classes, float32 [classes], before a final softmax or sigmoid."""
        self._check()
        return self._found.array(self._number, 0, lib.LOGITS)

    @property
    def probabilities(self) -> Any:
        """What these make of it, float32 [classes], 0 … 1."""
        self._check()
        return self._found.array(self._number, 0, lib.PROBABILITIES)

    @property
    def image(self) -> Any:
        """What the network saw, uint8 [height, width, 3]; None if it was given numbers, or a video."""
        self._check()
        return self._found.array(self._number, 0, lib.VIEW)

    def _check(self) -> None:
        if self.error is not None:
            raise error_of_code(self.record["code"], self.error)

    # Maps

    @property
    def maps(self) -> List[Map]:
        """All of them, by method, and within a method by class, best first."""
        # Made anew each time: kept here they would hold this, and this them, and the library's memory would wait for the garbage collector.
        return [Map(self, i, record) for i, record in enumerate(self.record["explanations"])]

    def __len__(self) -> int:
        return len(self.maps)

    def __iter__(self) -> Iterator[Map]:
        return iter(self.maps)

    def __contains__(self, key: object) -> bool:
        """Whether there is a map of a method, or of a method and a class."""
        method, target = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        return any(
            map.method == method and (target is None or target in (map.class_index, map.label)) for map in self.maps
        )

    @overload
    def __getitem__(self, key: Union[str, int, Tuple[str, Any]]) -> Map: ...
    @overload
    def __getitem__(self, key: slice) -> List[Map]: ...  # type: ignore[overload-cannot-match,unused-ignore]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice) or hasattr(key, "__index__"):
            return self.maps[key]
        self._check()
        method, target = key if isinstance(key, tuple) else (key, None)
        for map in self.maps:
            if map.method == method and (target is None or target in (map.class_index, map.label)):
                return map
        there = ", ".join(
            map.method + (f" of {map.class_index}" if map.class_index is not None else "") for map in self.maps
        )
        raise KeyError(f"There is no map “{method}”{'' if target is None else f' of {target}'}; there is {there or 'none'}.")

    # Pictures

    def _overlays(self, style: Dict[str, Any]) -> List[bytes]:
        self._check()
        made = self._files("overlay", style)
        pictures = [data for name, data in made.items() if name.endswith(".png")]
        if len(pictures) != len(self.maps):
            raise Error(f"There are {len(pictures)} pictures of {len(self.maps)} maps.")
        return pictures

    def _files(self, write: str, style: Dict[str, Any]) -> Dict[str, bytes]:
        if "write" in style:
            raise UsageError("write says which files there are; this makes one. Use files.")
        return self._found.files(self._number, {"write": write, **style})

    def sheet(self, **style: Any) -> bytes:
        """The picture and all heat maps side by side, a PNG file. `style` is that of `Map.overlay`."""
        self._check()
        if not self.maps:
            raise UsageError("There is no map to show: the image was only classified.")
        return next(iter(self._files("sheet", style).values()))

    def files(self, write: Any = None, **style: Any) -> Dict[str, bytes]:
        """The files that `Explanations.save` would write of this image, by their names."""
        self._check()
        return self._found.files(self._number, {"write": write, **style})

    def show(self, **style: Any) -> None:
        """Shows the sheet: in a notebook in place, else by PIL's viewer."""
        png = self.sheet(**style)
        try:
            from IPython import get_ipython  # type: ignore[import-not-found]

            in_notebook = get_ipython() is not None and "IPKernelApp" in get_ipython().config
        except ImportError:
            in_notebook = False
        if in_notebook:
            from IPython.display import Image, display  # type: ignore[import-not-found]

            display(Image(png))
            return
        try:
            from PIL import Image as PILImage
        except ImportError:
            raise UsageError("show needs Pillow, or a notebook; save writes files.") from None
        import io

        PILImage.open(io.BytesIO(png)).show()

    def _repr_png_(self) -> Optional[bytes]:
        return self.sheet() if self.error is None and self.maps else None

    def _repr_html_(self) -> str:
        name = html.escape(self.name)
        if self.error is not None:
            return f"<p><b>{name}</b>: {html.escape(self.error)}</p>"
        rows = "".join(
            f"<tr><td>{100 * p.probability:.1f}&thinsp;%</td><td>{p.index}</td><td>{html.escape(p.label)}</td></tr>"
            for p in self.predictions
        )
        notes = [self.note] + [f"{m.title}: {m.note}" for m in self.maps if m.note]
        notes += [f"{m.title} is blank: {m.blank}" for m in self.maps if m.blank]
        said = "".join(f"<p>{html.escape(note)}.</p>" for note in notes if note)
        picture = ""
        if self.maps:
            data = base64.b64encode(self.sheet()).decode()
            picture = f'<img alt="{name} and its heat maps" src="data:image/png;base64,{data}">'
        return f"<div><b>{name}</b><table>{rows}</table>{said}{picture}</div>"

    def __reduce__(self) -> Any:
        raise _unpicklable

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<whitebox.Explanation {self.name!r}: {self.error}>"
        best = self.predictions[0]
        return f"<whitebox.Explanation {self.name!r}: {best.index} {best.label!r} {100 * best.probability:.1f} %, {len(self.maps)} maps>"


def _only(explanation: Explanation, method: Optional[str]) -> Map:
    """The one map of a method, or the one map that there is."""
    found = [map for map in explanation.maps if method in (None, map.method)]
    if explanation.error is None and len(found) > 1:
        raise UsageError(
            f"{explanation.name} has {len(found)} maps{f' of {method}' if method else ''}, and one array has room for one; take them by e.maps, or explain "
            "one class, layer or method at a time."
        )
    if method is not None or explanation.error is not None:
        found = [explanation[method or ""]]
    if not found:
        raise UsageError(f"{explanation.name} has no map: it was only classified.")
    return found[0]


class Explanations(Sequence[Explanation]):
    """Of several images, in their order."""

    def __init__(self, explanations: Sequence[Explanation], found: Optional[Found] = None):
        self._all = list(explanations)
        self._found = found

    def __len__(self) -> int:
        return len(self._all)

    @overload
    def __getitem__(self, key: int) -> Explanation: ...
    @overload
    def __getitem__(self, key: slice) -> "Explanations": ...

    def __getitem__(self, key: Any) -> Any:
        return Explanations(self._all[key]) if isinstance(key, slice) else self._all[key]

    @property
    def run(self) -> Dict[str, Any]:
        """What results.json says of the run: versions, device, model with its SHA-256, layers, options, settings, seed."""
        if not self._all:
            return {}
        return self._all[0]._found.engine.run

    @property
    def notes(self) -> List[str]:
        """What one should know of the run: which device was taken and why, and what was assumed of the model."""
        return self.run.get("notes", [])

    def save(self, folder: Any, *, write: Any = None, force: bool = False, **style: Any) -> None:
        """Writes what `app explain --output folder` does: for each image heat maps, arrays and a sheet, and results.json.

        `write` names parts (map, heatmap, overlay, sheet, mask, box, contour, contact); `style` is that of `Map.overlay`, with threshold. What is
        there already is only replaced with `force`.
        """
        founds: List[Found] = []
        for explanation in self._all:
            if not founds or founds[-1] is not explanation._found:
                founds.append(explanation._found)
        if folder is None:
            raise UsageError("save needs a folder.")
        order = [(found, number) for found in founds for number in range(found.count)]
        if [(e._found, e._number) for e in self._all] != order:
            raise UsageError("Only all images of a call can be saved together, in their order; explain alone what is to be saved alone.")
        pointers = (ctypes.c_void_p * len(founds))(*[found.handle.pointer for found in founds])
        arguments = words({"write": write, "force": force, **style})
        lib.call("results_save", pointers, len(founds), lib.encoded(os.fspath(folder)), lib.texts(arguments), len(arguments))

    def stack(self, method: Optional[str] = None, heatmaps: bool = False) -> Any:
        """The maps of one method as one array [images, height, width], or the heat maps. Each image must have one of it: of several classes or layers
        nobody would know which is where."""
        import numpy as np

        maps = [_only(explanation, method) for explanation in self._all]
        return np.stack([map.heatmap if heatmaps else map.map for map in maps])

    def to_numpy(self, method: Optional[str] = None) -> Any:
        """`stack`."""
        return self.stack(method)

    def to_pandas(self) -> Any:
        """A table with a row for each map; of images without any, one row."""
        import pandas as pd

        rows = []
        for explanation in self._all:
            best = explanation.predictions[0] if explanation.predictions else None
            base = {
                "image": explanation.name, "error": explanation.error,
                "prediction": best and best.index, "prediction_label": best and best.label,
                "prediction_probability": best and best.probability,
            }
            for map in explanation.maps or [None]:  # type: ignore[list-item]
                row = dict(base)
                if map is not None:
                    row.update({key: map.record[key] for key in (
                        "method", "class", "label", "probability", "against", "negative", "score", "layer", "layerIndex", "signed",
                        "blank", "note")})
                    row.update(minimum=float(map.map.min()), maximum=float(map.map.max()))
                rows.append(row)
        return pd.DataFrame(rows)

    def to_xarray(self, heatmaps: bool = True) -> Any:
        """An `xarray.Dataset` with a variable for each method, [image, y, x], and the class of each map as a coordinate. Images that failed are left out;
        of several classes or layers of a method it is refused, as by `stack`."""
        import numpy as np
        import xarray as xr

        good = [explanation for explanation in self._all if explanation.error is None]
        variables: Dict[str, Any] = {}
        classes: Dict[str, Any] = {}
        for method in dict.fromkeys(map.method for explanation in good for map in explanation.maps):
            maps = [_only(explanation, method) for explanation in good]
            classes[f"{method}_class"] = ("image", [-1 if map.class_index is None else map.class_index for map in maps])
            values = np.stack([map.heatmap if heatmaps else map.map for map in maps])
            axes = ("y", "x") if heatmaps else (f"y_{method}", f"x_{method}")
            variables[method] = (("image", *axes), values, {"title": maps[0].title, "layer": maps[0].layer})
        return xr.Dataset(variables, coords={"image": [explanation.name for explanation in good], **classes},
                          attrs={"whitebox": self.run.get("whitebox", ""), "numerics": self.run.get("numerics", 0)})

    def _repr_html_(self) -> str:
        shown = "".join(explanation._repr_html_() for explanation in self._all[:20])
        rest = len(self._all) - 20
        return shown + (f"<p>… and {rest} more.</p>" if rest > 0 else "")

    def __repr__(self) -> str:
        return f"<whitebox.Explanations of {len(self._all)} images>"
