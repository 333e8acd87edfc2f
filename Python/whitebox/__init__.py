# Copyright Whitebox's authors. Licence: Apache-2.0.
"""Whitebox: why an image classifier said what it said.

    import whitebox
    model = whitebox.Model("resnet50.onnx")
    e = model.explain(["cat.jpg", array, pil_image], methods=["gradcam", "rise"], target="top1")
    e[0].predictions, e[0]["gradcam"].map, e[0]["gradcam"].heatmap
    e.save("results/")

The bits are those of the program `app`, which `python -m whitebox` runs.
"""

# What follows is loaded when it is first used: importing this takes no time.
_places = {
    "Model": "_model", "Layer": "_model",
    "Explanation": "_explanation", "Explanations": "_explanation", "Map": "_explanation", "Prediction": "_explanation",
    "from_torch": "_export", "from_keras": "_export",
    "evaluate": "_commands", "compare": "_commands", "verify": "_commands", "check": "_commands",
    "devices": "_commands", "methods": "_commands", "metrics": "_commands", "Evaluation": "_commands",
    **dict.fromkeys(
        (
            "Error", "InputError", "ModelError", "UnsupportedModelError", "LayerError", "ClassError", "DeviceError",
            "MethodError", "OutputError", "SettingsError", "LimitError", "UsageError", "Cancelled",
        ),
        "_errors",
    ),
}

__all__ = [*_places, "__version__", "numerics"]


def __getattr__(name):
    if name in _places:
        from importlib import import_module

        value = getattr(import_module("." + _places[name], __name__), name)
    elif name == "__version__":
        from ._library import functions, text

        value = text(functions["version"]())
    elif name == "numerics":
        # Results of the same number have the same bits, on every device.
        from ._library import functions

        value = functions["numerics"]()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(__all__) | set(globals()))
