# Copyright Whitebox's authors. Licence: Apache-2.0.
"""Arguments of Python as words of the command line: `layer="layer4"` is `--layer layer4`."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping

from ._errors import UsageError

#: Options that are given once for each of their values.
REPEATED = {"set", "set_metric", "input"}
#: Options that have a value, and how Python calls them.
NO_FLAGS = {
    "class": "target", "against": "against", "method": "methods", "metrics": "metrics", "layer": "layer", "score": "score", "batch": "batch",
    "device": "device", "threads": "threads", "seed": "seed", "augment": "augment", "output": "output", "report": "report",
}


def word(value: Any) -> str:
    if isinstance(value, (str, os.PathLike)):
        return os.fsdecode(value)
    if isinstance(value, bool) or value is None:
        raise UsageError(f"An option cannot be {value}.")
    if isinstance(value, (list, tuple)):
        return ",".join(word(part) for part in value)
    if hasattr(value, "tolist"):  # of NumPy or torch
        return word(value.tolist())
    if not isinstance(value, (int, float)):
        raise UsageError(f"An option cannot be a {type(value).__name__}.")
    # What is a whole number is written as one.
    return repr(value) if isinstance(value, float) and not value.is_integer() else str(int(value))


def words(options: Mapping[str, Any]) -> List[str]:
    """None and False leave an option out; True gives a flag; lists get commas, but for options that are given once for each value."""
    result: List[str] = []
    for key, value in options.items():
        if key in ("help", "version"):
            raise UsageError(f"There is no option {key}.")
        if hasattr(value, "tolist") and not hasattr(value, "__fspath__"):
            value = value.tolist()
        if key == "opacity" and isinstance(value, float) and 0 < value <= 1:
            raise UsageError(f"opacity is in percent, 0 to 100, and {value} of one nobody would see; is it {100 * value:g}?")
        if isinstance(value, bool) and key in NO_FLAGS:
            raise UsageError(f"{NO_FLAGS[key]} cannot be {value}.")
        name = "--" + key.rstrip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            result.append(name)
        elif key.rstrip("_") in REPEATED:
            if not isinstance(value, (str, Mapping, list, tuple)):
                raise UsageError(f"{key} must be a dictionary such as {{\"fem.k\": 1}}, and is a {type(value).__name__}.")
            if isinstance(value, Mapping):
                # {"fem": {"k": 1}} is {"fem.k": 1}; None is what a setting is by itself.
                nested = {k: v for k, v in value.items() if isinstance(v, Mapping)}
                value = {k: v for k, v in value.items() if k not in nested}
                for owner, settings in nested.items():
                    value.update({f"{owner}.{k}": v for k, v in settings.items()})
                value = {k: v for k, v in value.items() if v is not None}
                value = [f"{setting}={word(number)}" for setting, number in value.items()]
            elif isinstance(value, str):
                value = [value]
            for part in value:
                result.append(f"{name}={word(part)}")
        else:
            text = word(value)
            # In one word, where what begins with a dash is no other option.
            result += [f"{name}={text}"] if text else [name, text]
    return result


def method_options(
    methods: Any, target: Any, against: Any, negative: bool, score: Any, layer: Any, each_layer: bool,
    settings: Any, augment: Any, seed: int,
) -> Dict[str, Any]:
    return {
        "method": methods, "class": target, "against": against, "negative": bool(negative), "score": score,
        "layer": layer, "each_layer": bool(each_layer), "set": settings, "augment": augment,
        "seed": seed if isinstance(seed, bool) else seed or None,
    }
