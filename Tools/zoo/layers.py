"""Which layer pytorch-grad-cam's documentation recommends for a network, and whether the program chose it.

Its README ("Choosing the Target Layer") has: ResNet `layer4[-1]`, VGG and DenseNet `features[-1]`, MNASNet `layers[-1]`, ViT `blocks[-1].norm1`,
Swin `layers[-1].blocks[-1].norm1`; its tutorials use `features[-1]` for MobileNets too. A network of the same make in the other package has
the same layer under the name that it has there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

# The network's key, and the layer as an expression on its module; the first that matches counts. For others nothing is recommended.
RULES = (
    (r"torchvision/(resnet|resnext|wide_resnet)", "layer4[-1]"),
    (r"timm/(resnet\d|resnext\d|wide_resnet|seresnet|seresnext|ecaresnet|resnetaa|resnetblur|resnetrs)", "layer4[-1]"),
    (r"torchvision/(vgg|densenet|mobilenet_v)|timm/(vgg|densenet)", "features[-1]"),
    (r"torchvision/mnasnet", "layers[-1]"),
    (r"torchvision/vit_", "encoder.layers[-1].ln_1"),
    (r"timm/(vit_(tiny|small|base)_patch|deit3?_|beitv?2?_|flexivit|eva02_tiny)", "blocks[-1].norm1"),
    (r"torchvision/swin", "features[-1][-1].norm1"),
    (r"timm/swin", "layers[-1].blocks[-1].norm1"),
)
# What is put directly on a layer: its map has the same cells, and is the layer's where that is positive.
ACTIVATIONS = {"Relu", "Clip", "HardSwish", "Sigmoid", "Gelu"}


def recommended(key: str) -> str | None:
    return next((layer for network, layer in RULES if re.match(network, key)), None)


def path(module: object, expression: str) -> str | None:
    """The name of a module that an expression such as `layer4[-1]` means, as PyTorch has it: "layer4.2"; None if there is no such module."""
    names = []
    for name, index in re.findall(r"(\w+)|\[(-?\d+)\]", expression):
        children = dict(module.named_children())
        name = name or list(children)[int(index)]
        if name not in children:
            return None
        names.append(name)
        module = children[name]
    return ".".join(names)


def module_of(node: object) -> str:
    """The module that a node belongs to: exporters write it in different places."""
    for property in node.metadata_props:
        if property.key == "pkg.torch.onnx.name_scopes":
            # Each is the whole path to a module within the one before; the last is the operator.
            return next((name for name in reversed(json.loads(property.value.replace("'", '"'))[:-1]) if name), "")
    # /layer4/layer4.2/relu_2/Relu: members of a list bear its name.
    parts: list[str] = []
    for part in node.name.strip("/").split("/")[:-1]:
        if parts and part.startswith(parts[-1] + "."):
            parts[-1] = part
        else:
            parts.append(part)
    return ".".join(parts)


def choice(model_path: Path, layer: str, wanted: str | None) -> tuple[str, str | None]:
    """The chosen layer as module and operator, and whether it is the module that is recommended: "yes", "its activation", "what it reads" (tokens
    before they are normalised, say), or "no"."""
    import onnx
    graph = onnx.load(model_path, load_external_data=False).graph
    chosen = next((node for node in graph.node if node.name == layer or layer in node.output), None)
    if chosen is None:
        return layer, None if wanted is None else "no"
    name = f"{module_of(chosen)} {chosen.op_type}".strip()
    if wanted is None:
        return name, None
    inside = [node for node in graph.node if (module_of(node) + ".").startswith(wanted + ".")]
    if not inside:
        return name, "no"
    if chosen.name == inside[-1].name:
        return name, "yes"
    given = set(inside[-1].output)
    if chosen.op_type in ACTIVATIONS and given & set(chosen.input):
        return name, "its activation"
    taken = {value for node in inside for value in node.input}
    return name, "what it reads" if taken & set(chosen.output) else "no"
