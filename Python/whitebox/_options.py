# Copyright Whitebox's authors. Licence: Apache-2.0.
"""Arguments of Python as words of the command line: `layer="layer4"` is `--layer layer4`."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping

from ._errors import UsageError

#: Options that are given once for each of their values.
REPEATED = {"set", "set_metric", "input"}


def word(value: Any) -> str:
    if isinstance(value, (str, os.PathLike)):
        return os.fsdecode(value)
    if isinstance(value, bool) or value is None:
        raise UsageError(f"An option cannot be {value}.")
    if isinstance(value, (list, tuple)):
        return ",".join(word(part) for part in value)
    if hasattr(value, "item"):  # a number of NumPy
        value = value.item()
    return repr(value) if isinstance(value, float) else str(value)


def words(options: Mapping[str, Any]) -> List[str]:
    """None and False leave an option out; True gives a flag; lists get commas, but for options that are given once for each value."""
    result: List[str] = []
    for key, value in options.items():
        name = "--" + key.rstrip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            result.append(name)
        elif key.rstrip("_") in REPEATED:
            if isinstance(value, Mapping):
                value = [f"{setting}={word(number)}" for setting, number in value.items()]
            elif isinstance(value, str):
                value = [value]
            for part in value:
                result += [name, word(part)]
        else:
            result += [name, word(value)]
    return result


def method_options(
    methods: Any, target: Any, against: Any, negative: bool, score: Any, layer: Any, each_layer: bool,
    settings: Any, augment: Any, seed: int,
) -> Dict[str, Any]:
    return {
        "method": methods, "class": target, "against": against, "negative": negative, "score": score,
        "layer": layer, "each_layer": each_layer, "set": settings, "augment": augment, "seed": seed or None,
    }
