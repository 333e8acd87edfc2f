# Copyright Whitebox's authors. Licence: Apache-2.0.
"""Models, and what explains images by them."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import json
import os
import threading
import time
import warnings
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from . import _images as images_
from . import _library as lib
from ._errors import InputError, UsageError, error_of_code
from ._explanation import Explanation, Explanations, Found
from ._options import method_options, word, words


class Layer(NamedTuple):
    """A layer of a network."""

    index: int  # type: ignore[assignment]
    name: str
    #: ONNX's operator, such as Conv.
    operator: str
    #: Of its output for one picture.
    shape: Tuple[int, ...]
    #: The module that the exporter named, such as layer4.2.conv3; empty if none.
    module: str


class Engine:
    """A model made ready on a device; kept by the model for the next call with the same options."""

    def __init__(self, model: lib.Handle, arguments: Tuple[str, ...]):
        self.handle = lib.Handle(
            "engine", lib.call("engine_open", model.pointer, lib.texts(arguments), len(arguments))
        )
        self._run: Optional[Dict[str, Any]] = None

    @property
    def run(self) -> Dict[str, Any]:
        """What results.json says of a run, but for its pictures."""
        if self._run is None:
            self._run = json.loads(lib.call("engine_json", self.handle.pointer))
        return self._run

    def explain(
        self, prepared: Sequence[images_.Prepared], targets: Sequence[Optional[str]],
        progress: Optional[Callable[[float], None]],
    ) -> "Found":
        pictures = (lib.Picture * len(prepared))()
        kept = [
            picture.write(place, target) for picture, place, target in zip(prepared, pictures, targets)
        ]
        last = 0.0
        ended = threading.Event()

        def goes_on(_: Any, done: float) -> bool:
            nonlocal last
            now = time.monotonic()
            if progress is not None and now - last > 0.1:
                last = now
                # A bar that fails must not end what it shows.
                with contextlib.suppress(Exception):
                    progress(done)
            return not ended.is_set()

        # Only the main thread is interrupted, and only its own call must end.
        is_main = threading.current_thread() is threading.main_thread()
        callback = lib.Progress(goes_on) if progress or is_main else None

        pointer = lib.interruptible(
            lambda: lib.call(
                "explain", self.handle.pointer, pictures, len(prepared),
                ctypes.cast(callback, ctypes.c_void_p) if callback else None, None,
            ),
            ended.set,
            lambda pointer: lib.Handle("results", pointer),  # which frees it
        )
        del kept
        return Found(lib.Handle("results", pointer), self)


class Model:
    """A trained image classifier, read from an ONNX file.

    Parameters
    ----------
    path : str or path
        The ONNX file (operator sets 7 to 24).
    preprocess : str or dict, optional
        How pictures are prepared: ``imagenet``, ``lite``, ``caffe``, ``tf``, ``kinetics``, ``none``, a dictionary, or a JSON file (timm's ``config.json`` and
        Hugging Face's ``preprocessor_config.json`` too). If left out, as the model says, else ``imagenet``.
    labels : str or list of str, optional
        Class names: a file with one on each line or a JSON list, or the names themselves, in the order of the scores.
    size : int or (int, int), optional
        The size that pictures get, of a network that leaves it open: both sides, or height and width, in pixels.
    input, score_output : str, optional
        The input that is the picture and the output that has the scores, of a network with several.
    frames : int, optional
        How many frames a video has, of a network of videos that leaves it open.
    memory_limit : str, optional
        Memory that may be used, such as ``"8GiB"``; half of the machine's if left out.
    work_limit : float, optional
        Operations that may be spent on a picture, in units of 10^9.

    Raises
    ------
    ModelError, UnsupportedModelError, SettingsError
        The sentence says which file, and which node of the network.

    Threads may share a model.

    >>> import whitebox
    >>> model = whitebox.Model("models/squeezenet1.1.onnx")
    >>> model.input_shape
    (3, 224, 224)
    >>> model.labels[967]
    'espresso'
    """

    #: Engines that are kept ready.
    _engine_limit = 4

    def __init__(
        self, path: Any, *, preprocess: Any = None, labels: Any = None, size: Any = None, input: Any = None,
        score_output: Optional[str] = None, frames: Optional[int] = None, memory_limit: Optional[str] = None,
        work_limit: Optional[float] = None,
    ):
        if not isinstance(path, (str, os.PathLike)):
            raise UsageError(f"A model is named by the path of an ONNX file, and this is a {type(path).__name__}; "
                             "for a module of PyTorch there is whitebox.from_torch.")
        #: The path of the file.
        self.path = os.fsdecode(path)
        self._arguments = (self.path, {
            "preprocess": preprocess, "labels": labels, "size": size, "input": input, "score_output": score_output,
            "frames": frames, "memory_limit": memory_limit, "work_limit": work_limit,
        })
        # Files that this made and takes away.
        self._own_files: List[str] = []
        if labels is not None and not isinstance(labels, (str, os.PathLike)):
            self._arguments[1]["labels"] = list(map(str, labels))
            labels = self._written("labels", self._arguments[1]["labels"])
        if isinstance(preprocess, dict):
            preprocess = self._written("preprocess", preprocess)
        if isinstance(size, (list, tuple)):
            size = "x".join(map(str, size))
        #: Its options as words of the command line.
        self._words = words({
            "preprocess": preprocess, "labels": labels, "size": size, "input": input, "score_output": score_output,
            "frames": frames, "memory_limit": memory_limit, "work_limit": work_limit,
        })
        self._modules: Dict[int, str] = {}
        #: Files that are there as long as this is.
        self._kept: Any = None
        self._handle = lib.Handle(
            "model",
            lib.call("model_open", lib.encoded(self.path), lib.texts(self._words), len(self._words)),
        )
        self._info: Optional[Dict[str, Any]] = None
        self._is_warned = False
        self._engines: "collections.OrderedDict[Tuple[str, ...], Engine]" = collections.OrderedDict()
        # A signal's handler may explain something, too.
        self._lock = threading.RLock()

    def _written(self, name: str, content: Any) -> str:
        """The path of a file of JSON."""
        import tempfile

        with tempfile.NamedTemporaryFile("w", prefix=f"{name}-", suffix=".json", delete=False, encoding="utf-8") as file:
            self._own_files.append(file.name)
            json.dump(content, file)
        return file.name

    def __del__(self) -> None:
        for path in getattr(self, "_own_files", []):
            try:
                os.unlink(path)
            except (OSError, TypeError):
                pass

    def __repr__(self) -> str:
        return f"whitebox.Model({self.path!r})"

    def __copy__(self) -> "Model":
        return self

    def __deepcopy__(self, _: Any) -> "Model":
        return self

    def __reduce__(self) -> Any:
        # In another process it is opened anew; what modules its layers were is not known there.
        return _reopened, self._arguments

    # What it is

    @property
    def info(self) -> Dict[str, Any]:
        """Everything that is known of the model: file, SHA-256, input, labels, preprocessing, layers, notes."""
        if self._info is None:
            self._info = json.loads(lib.call("model_json", self._handle.pointer))
        return self._info

    @property
    def labels(self) -> List[str]:
        """The names of the classes, in the order of the scores; empty if nobody names them."""
        return self.info["labels"]

    @property
    def input_shape(self) -> Tuple[int, ...]:
        """What the network takes of one picture, such as (3, 224, 224)."""
        return tuple(self.info["shape"])

    @property
    def layers(self) -> List[Layer]:
        """The layers, in the order in which they run."""
        return [
            Layer(l["index"], l["name"], l["operator"], tuple(l["shape"]), l["module"]) for l in self.info["layers"]
        ]

    @property
    def notes(self) -> List[str]:
        """What one should know: what was assumed of the model, and why."""
        return self.info["notes"]

    # What it says, and why

    def classify(
        self, images: Any, *, batch: int = 8, device: str = "auto", threads: Optional[int] = None,
        progress: Optional[bool] = None, errors: str = "raise",
    ) -> Explanations:
        """What the network says of images, without any map.

        >>> import whitebox
        >>> model = whitebox.Model("models/squeezenet1.1.onnx")
        >>> best = model.classify("demo/photos/coffee.png")[0].predictions[0]
        >>> best.index, best.label
        (967, 'espresso')
        """
        return self._explain(images, {"classify": True}, None, batch, device, threads, progress, errors)

    def explain(
        self, images: Any, methods: Any = "gradcam", target: Any = "top1", *, targets: Optional[Sequence[Any]] = None,
        against: Any = None, negative: bool = False, score: Optional[str] = None, layer: Any = "auto",
        each_layer: bool = False, settings: Any = None, augment: Any = None, seed: int = 0, batch: int = 8,
        device: str = "auto", threads: Optional[int] = None, progress: Optional[bool] = None, errors: str = "raise",
    ) -> Explanations:
        """Explains images by one or several methods.

        Parameters
        ----------
        images : an image, or several
            A path (of a folder: the pictures in it, by their names), the bytes of a picture file, an open file, a PIL image, a uint8 array [H, W, 3] (a photograph, prepared as one from a file), or a float array
            of the network's own input shape, already normalised. Arrays of four dimensions are several. Torch tensors are arrays.
        methods : str or list of str
            Names (`whitebox.methods()`), or ``all``, ``white`` (those that look inside the network), ``black`` (those that only ask it).
        target : str, int, or a list of them
            The class to explain: ``top1``, ``top3``, an index, a name.
        targets : list, optional
            A target for each image, in place of the one for all.
        against : str or int, optional
            Explain the difference to this class.
        negative : bool
            Explain what speaks against the class.
        score : {"logit", "probability"}, optional
            What of a class is explained; what each method's paper takes if left out.
        layer : str, int, list, a `Layer`, or a module
            ``auto``, a layer's index or name, a module's path such as ``layer4``, several, or, after `from_torch`, the module itself.
        each_layer : bool
            A map of each of several layers, in place of one that is fused of all.
        settings : dict, optional
            Of methods: ``{"fem.k": 1, "rise.samples": 2000}``; `whitebox.methods("rise")` lists them.
        augment : str or list of str, optional
            Average over versions of the picture: ``flip``, ``brightness``.
        seed : int
            Of the random samples that some methods draw.
        batch : int
            How many images are computed at a time. No bit depends on it, nor on the next two.
        device : str
            ``auto``, ``cpu``, ``opencl:N``, several with commas between them, or ``all``.
        threads : int, optional
            Of the CPU; one for each core if left out.
        progress : bool, optional
            Whether tqdm shows a bar; if left out, where it is installed and there is something to wait for.
        errors : {"raise", "keep"}
            Whether an image that cannot be explained ends the call, or has an explanation whose ``error`` says why.

        Returns
        -------
        Explanations
            One for each image, in their order.

        Raises
        ------
        InputError, LayerError, ClassError, MethodError, DeviceError, LimitError, UsageError
            KeyboardInterrupt (Ctrl-C) ends it within a batch.

        >>> import whitebox
        >>> model = whitebox.Model("models/squeezenet1.1.onnx")
        >>> e = model.explain("demo/photos/coffee.png", methods=["gradcam", "fem"], device="cpu")
        >>> e[0]["gradcam"].map.shape, e[0]["gradcam"].heatmap.shape
        ((13, 13), (224, 224))
        """
        options = method_options(
            self._names(methods), target, against, negative, score, self._layer(layer), each_layer, settings,
            augment, seed,
        )
        return self._explain(images, options, targets, batch, device, threads, progress, errors)

    def explain_iter(
        self, images: Iterable[Any], methods: Any = "gradcam", target: Any = "top1", *, targets: Any = None, against: Any = None,
        negative: bool = False, score: Optional[str] = None, layer: Any = "auto", each_layer: bool = False,
        settings: Any = None, augment: Any = None, seed: int = 0, batch: int = 8, device: str = "auto",
        threads: Optional[int] = None,
    ) -> Iterator[Explanation]:
        """Explains images as they come, such as from a DataLoader, in memory that does not grow with their number.

        `images` gives images, or batches of them. `targets` gives a target for each, or is ``"labels"`` for what PyTorch's DataLoader gives beside its
        images; else that is left out. Other parameters are those of `explain`. An image that cannot be explained has an explanation whose ``error`` says why. With several devices each has the next
        batch when it is free.
        """
        options = method_options(
            self._names(methods), target, against, negative, score, self._layer(layer), each_layer, settings,
            augment, seed,
        )
        check_batch(batch)
        engine = self._engine(options, batch, device, threads)
        if isinstance(targets, str) and targets != "labels":
            raise UsageError("targets gives a target for each image, or is “labels”; for all images there is target.")
        return self._explain_iter(images, engine, batch, str(device), targets)

    def _explain_iter(self, images: Iterable[Any], engine: Engine, batch: int, device: str, targets: Any) -> Iterator[Explanation]:
        # Several batches for each device, so that none waits for the others at the end of each.
        devices = 1 if device in ("auto", "cpu") else max(1, device.count(",") + 1, 4 if device == "all" else 1)
        most = batch * (4 * devices if devices > 1 else 1)
        waiting: List[images_.Prepared] = []
        shape = self.input_shape
        refused: List[Optional[str]] = []
        own: List[Optional[str]] = []

        def explained() -> Iterator[Explanation]:
            found = engine.explain(waiting, own, None)
            yield from found.explanations(list(refused))

        given = enumerate(images_.of_loader(images))
        wanted = None if targets is None or isinstance(targets, str) else iter(targets)
        while True:
            try:
                number, (image, label) = next(given)
                picture, reason = self._prepared(image, f"image-{number}", shape)
                target = label if isinstance(targets, str) else None if wanted is None else next(wanted, None)
                target = None if target is None else word(target)
            except StopIteration:
                break
            except Exception:
                # What was given before the loader failed is explained.
                if waiting:
                    yield from explained()
                raise
            waiting.append(picture)
            refused.append(reason)
            own.append(target)
            if len(waiting) == most:
                yield from explained()
                waiting, refused, own = [], [], []
        if waiting:
            yield from explained()

    # How

    def _prepared(
        self, image: Any, name: str, shape: Sequence[int], keeps: bool = True
    ) -> Tuple[images_.Prepared, Optional[str]]:
        """An image for the library; if it is none, one that fails there, and why."""
        try:
            picture = images_.prepare(image, name, shape)
        except InputError as reason:
            if not keeps:
                raise
            return images_.Prepared(lib.PIXELS, name, b""), str(reason)
        if picture.kind == lib.NUMBERS and not self._is_warned and self._is_signed() and picture.data.min() >= 0:
            self._is_warned = True
            warnings.warn(
                f"{name}: No number of this array is below 0, and what this model takes has some. A float array is taken for the network's input, already "
                "normalised; is it? A photograph is an array of uint8.", stacklevel=4,
            )
        return picture, None

    def _is_signed(self) -> bool:
        """Whether black becomes a negative number."""
        mean = self.info["preprocessing"].get("mean")
        return bool(mean) and max(mean) > 0

    def _names(self, methods: Any) -> Any:
        if hasattr(methods, "tolist"):
            methods = methods.tolist()
        if not isinstance(methods, (str, list, tuple)) or len(methods) == 0:
            raise UsageError("methods names no method; whitebox.methods() lists them.")
        return methods

    def _layer(self, layer: Any) -> Any:
        if isinstance(layer, Layer):
            return layer.index
        if isinstance(layer, (list, tuple)):
            return [self._layer(part) for part in layer]
        if id(layer) in self._modules:
            return self._modules[id(layer)]
        if hasattr(layer, "named_modules"):
            raise UsageError(
                "layer is a module that is not part of the one that this model was made of (whitebox.from_torch); give its path, such as layer4."
            )
        return None if isinstance(layer, str) and layer == "auto" else layer

    def _engine(self, options: Dict[str, Any], batch: int, device: str, threads: Optional[int]) -> Engine:
        arguments = tuple(words({**options, "batch": batch, "device": device, "threads": threads}))
        with self._lock:
            engine = self._engines.get(arguments)
            if engine is None:
                engine = Engine(self._handle, arguments)
                self._engines[arguments] = engine
                while len(self._engines) > self._engine_limit:
                    self._engines.popitem(last=False)
            self._engines.move_to_end(arguments)
            return engine

    def _explain(
        self, images: Any, options: Dict[str, Any], targets: Optional[Sequence[Any]], batch: int, device: str,
        threads: Optional[int], progress: Optional[bool], errors: str,
    ) -> Explanations:
        if errors not in ("raise", "keep"):
            raise UsageError(f"errors must be “raise” or “keep”, and is {errors!r}.")
        shape = self.input_shape
        prepared: List[images_.Prepared] = []
        refused: List[Optional[str]] = []
        for image, name in images_.named(images_.listed(images)):
            picture, reason = self._prepared(image, name, shape, keeps=errors == "keep")
            prepared.append(picture)
            refused.append(reason)
        if targets is not None:
            if isinstance(targets, (str, dict)) or not hasattr(targets, "__len__"):
                raise UsageError("targets is a list with a target for each image; for all images there is target.")
            targets = targets.tolist() if hasattr(targets, "tolist") else list(targets)
        if targets is not None and len(targets) != len(prepared):
            raise UsageError(f"There are {len(targets)} targets for {len(prepared)} images.")
        own: List[Optional[str]] = [None] * len(prepared)
        for number, target in enumerate(targets or []):
            if isinstance(target, bool):
                raise UsageError(f"A target cannot be {target}.")
            own[number] = None if target is None else word(target)
        check_batch(batch)
        # A batch is computed whole, so one that is not full costs what a full one does: of few images there are as many as twos.
        size = batch
        while size > 1 and size // 2 >= len(prepared):
            size //= 2
        engine = self._engine(options, size, device, threads)
        with _bar(progress, len(prepared)) as told:
            found = engine.explain(prepared, own, told)
        result = Explanations(list(found.explanations(refused)), found)
        if errors == "raise":
            for explanation in result:
                if explanation.error is not None:
                    raise error_of_code(explanation.record["code"], explanation.error)
        return result


def check_batch(batch: Any) -> None:
    """Refuses what cannot be reckoned with; the library says which numbers there may be."""
    if not isinstance(batch, int) or isinstance(batch, bool):
        raise UsageError(f"batch must be a number from 1 to 1024, and is {batch!r}.")


def _reopened(path: str, options: Dict[str, Any]) -> Model:
    return Model(path, **options)


class _bar:
    """tqdm's bar, if it is wanted and there; else nothing."""

    def __init__(self, wanted: Optional[bool], total: int):
        self.bar: Any = None
        if wanted is False or total == 0:
            return
        try:
            from tqdm.auto import tqdm
        except ImportError:
            if wanted:
                raise UsageError("progress=True needs tqdm; install it.") from None
            return
        # By default only where a person looks.
        self.bar = tqdm(total=total, unit="image", disable=False if wanted else None, delay=0 if wanted else 1)

    def __enter__(self) -> Optional[Callable[[float], None]]:
        if self.bar is None:
            return None
        return lambda done: self.bar.update(done - self.bar.n)

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self.bar is not None:
            if kind is None:
                self.bar.update(self.bar.total - self.bar.n)
            self.bar.close()
