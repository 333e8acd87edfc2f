# Copyright Whitebox's authors. Licence: Apache-2.0.
"""What the command line does with files, by the program itself: the same names, defaults and messages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from typing import Any, Dict, List, Mapping, Optional, Sequence

from . import _images as images_
from . import _library as lib
from ._errors import ModelError, UsageError, error_of_code
from ._options import words


def run(arguments: Sequence[str], allowed: Sequence[int] = (0,), quiet: bool = True) -> str:
    """Runs the program and returns what it printed.

    What it says on stderr is shown, unless `quiet`; what it failed with is raised. Ctrl-C reaches it, too, and it ends as it does in a terminal.
    """
    process = subprocess.Popen(
        [lib.PROGRAM, *map(lib.encoded, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL, env={**os.environ, "WHITEBOX_PARENT": str(os.getpid())},
    )
    try:
        out, err = process.communicate()
    except BaseException:
        # The first lets it end what is in hand, and write what it has; the second ends it at once.
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=2)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            process.kill()
            process.communicate()
        raise
    said = err.decode("utf-8", "replace")
    if process.returncode not in allowed:
        lines = [line[5:] for line in said.splitlines() if line.startswith("app: ")]
        sentence = lines[-1] if lines else f"The program ended with {process.returncode}. {said}".strip()
        raise error_of_code(process.returncode, sentence)
    if process.returncode == 2:
        # Some images failed, and others did not.
        for line in said.splitlines():
            if line.startswith("app: "):
                warnings.warn(line[5:], stacklevel=3)
    elif not quiet and said:
        sys.stderr.write(said)
    return out.decode("utf-8", "replace")


class _Pictures:
    """Paths for the program, with files in a folder of their own for images that are none."""

    def __init__(self, images: Any):
        self.images = images
        self.folder: Optional[tempfile.TemporaryDirectory] = None
        self.paths: List[str] = []

    def __enter__(self) -> List[str]:
        try:
            # The program finds the pictures of a folder itself, those in folders below too if it is told to.
            images = [self.images] if images_.is_path(self.images) else images_.listed(self.images)
            for image, name in images_.named(images):
                self.paths.append(os.fsdecode(image) if images_.is_path(image) else self._file(image, name))
        except BaseException:
            self.__exit__()
            raise
        # A path that begins with a dash is no option.
        return ["--", *self.paths]

    def _file(self, image: Any, name: str) -> str:
        if self.folder is None:
            self.folder = tempfile.TemporaryDirectory(prefix="whitebox-")
        path = os.path.join(self.folder.name, os.path.basename(name))
        if isinstance(image, (bytes, bytearray, memoryview)):
            with open(path, "wb") as file:
                file.write(image)
            return path
        array = None if hasattr(image, "convert") else images_.array_of(image)
        prepared = None if array is not None and array.dtype.kind == "f" else images_.prepare(image, name, ())
        if prepared is None or prepared.kind != lib.PIXELS:
            raise UsageError(f"{name}: This command takes photographs, and not the network's own numbers; give a path, a PIL image, or an array of uint8.")
        try:
            from PIL import Image
        except ImportError:
            raise UsageError(f"{name}: To be given to this command an image must become a file, for which Pillow is needed; install it.") from None
        path += ".png"
        Image.fromarray(prepared.data).save(path)
        return path

    def named(self, text: str) -> str:
        """A text without the folder in which images lie that had none."""
        return text if self.folder is None else text.replace(self.folder.name + "/", "")

    def __exit__(self, *_: Any) -> None:
        if self.folder is not None:
            self.folder.cleanup()


def _model(model: Any) -> List[str]:
    """A `Model`, or a path, as options."""
    if model is None:
        return []
    if images_.is_path(model):
        return [f"--model={os.fsdecode(model)}"]
    return [f"--model={model.path}", *model._words]


def _options(options: Mapping[str, Any]) -> Dict[str, Any]:
    names = {"methods": "method", "target": "class", "settings": "set", "metric_settings": "set_metric"}
    return {names.get(key, key): value for key, value in options.items()}


def devices() -> Dict[str, Any]:
    """The devices that there are: `app devices`.

    >>> import whitebox
    >>> "baseline" in whitebox.devices()["cpu"]["instructionSets"]
    True
    """
    return json.loads(run(["devices", "--json"]))


def methods(*names: str) -> List[Dict[str, Any]]:
    """The methods of explanation with their formulas, papers and settings, or those that are named.

    >>> import whitebox
    >>> "gradcam" in [method["name"] for method in whitebox.methods()]
    True
    """
    return json.loads(run(["methods", "--json", *_names(names)]))


def metrics(*names: str) -> List[Dict[str, Any]]:
    """What `whitebox.evaluate` can measure, with formulas, papers and settings, or those that are named.

    >>> import whitebox
    >>> whitebox.metrics("sparseness")[0]["better"]
    'higher'
    """
    return json.loads(run(["metrics", "--json", *_names(names)]))


def _names(names: Sequence[Any]) -> List[str]:
    """A list may be given as one."""
    return [name for part in names for name in ([part] if isinstance(part, str) else part)]


def evaluate(
    images: Any, model: Any, methods: Any = "gradcam", metrics: Any = None, *, masks: Any = None, boxes: Any = None,
    output: Any = None, **options: Any,
) -> "Evaluation":
    """Measures how good maps are, on images: `app evaluate`.

    Parameters
    ----------
    images : an image, or several
        As for `Model.explain`, but for the network's own numbers; a path may be a folder.
    model : Model or path
    methods, metrics : str or list of str
        What is measured, and by what; all metrics that need no masks, if left out (`whitebox.metrics()`).
    masks, boxes : path, optional
        Where the objects are: a folder of PNG files of the pictures' names (arrays are called image-0, image-1, …); COCO's JSON or Pascal VOC's XML.
    output : path, optional
        Where the results go; if left out they are only returned.
    **options
        Those of the command line: ``sanity=3``, ``cost=True``, ``target="top1"``, ``device="cpu"``, ``resume=True``, ``metric_settings={…}`` …
    """
    pictures = _Pictures(images)
    with tempfile.TemporaryDirectory(prefix="whitebox-") as folder, pictures as paths:
        place = os.fsdecode(output) if output is not None else os.path.join(folder, "evaluation")
        asked = {"method": methods, "metrics": metrics, "masks": masks, "boxes": boxes, **_options(options)}
        text = run(["evaluate", "--json", f"--output={place}", *_model(model), *words(asked), *paths], allowed=(0, 2))
        result = Evaluation(json.loads(pictures.named(text)))
        result.folder = os.fsdecode(output) if output is not None else None
        with open(os.path.join(place, "measurements.csv"), encoding="utf-8") as file:
            result._csv = pictures.named(file.read())
        return result


class Evaluation(dict):
    """What `evaluation.json` says, and all measurements."""

    folder: Optional[str] = None
    _csv = ""

    def to_pandas(self) -> Any:
        """A row for each number: image, method, class, metric, value."""
        import io

        import pandas as pd

        return pd.read_csv(io.StringIO(self._csv))


def compare(images: Any, model: Any = None, methods: Any = "all", report: Any = "report.html", **options: Any) -> str:
    """Explains images by many methods, and writes a page that compares them: `app compare`. Returns the page's path."""
    with tempfile.TemporaryDirectory(prefix="whitebox-") as folder, _Pictures(images) as paths:
        asked = {"output": os.path.join(folder, "results"), **_options(options)}
        run(
            ["compare", *_model(model), *words({"methods": methods, "report": report, **asked}), *paths],
            quiet=False,
        )
    return os.fsdecode(report)


def verify(model: Any, images: Any = (), **options: Any) -> Dict[str, Any]:
    """Compares a model's numbers on all devices of this machine, bit for bit: `app verify`. ``result["same"]`` says whether they are the same."""
    with _Pictures(images) as paths:
        text = run(["verify", "--json", *_model(model), *words(_options(options)), *paths], allowed=(0, 1))
    return json.loads(text)


def check(model: Any, images: Any = (), **options: Any) -> Dict[str, Any]:
    """Everything about a model, and what is in its way: `app check`."""
    with _Pictures(images) as paths:
        # What stands in the way of a model is a finding, and said as what it is.
        text = run(["check", "--json", *_model(model), *words(_options(options)), *paths], allowed=range(13))
    found = json.loads(text)
    for finding in found["findings"]:
        if finding["topic"] == "file" and finding["level"] == "problem":
            raise ModelError(finding["text"])
    return found
