"""Which layer pytorch-grad-cam's documentation recommends for a network, and whether that is the one that the program chose.

Its README ("Choosing the Target Layer") names: ResNet `layer4[-1]`, VGG and DenseNet `features[-1]`, MNASNet `layers[-1]`, ViT
`blocks[-1].norm1`, Swin `layers[-1].blocks[-1].norm1`. Networks of the same make have the same layer under the name that their modules have.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

# The network's key, and the module as its exported nodes have it in their names; the first that matches counts.
# For others, that README recommends nothing.
RULES = (
    (r"torchvision/(resnet|resnext|wide_resnet)", r"layer4/layer4\.\d+"),
    (r"timm/(eca|se|ecase)?resne(t|xt)(aa|blur|rs|light)?\d|timm/(wide_resnet|seresnet|seresnext|ecaresnetlight|resnetaa|resnetblur|resnetrs)", r"layer4/layer4\.\d+"),
    (r"torchvision/(vgg|densenet|mobilenet_v|squeezenet)|timm/(vgg|densenet)", r"features(/features\.\d+|/denseblock4|/norm5|$)"),
    (r"torchvision/mnasnet", r"layers/layers\.\d+"),
    (r"torchvision/vit_", r"encoder_layer_\d+/ln_1"),
    (r"timm/(vit_(tiny|small|base)_patch|deit3?_|beitv?2?_|flexivit|eva02_tiny)", r"blocks\.\d+/norm1"),
    (r"torchvision/swin", r"features\.7/features\.7\.1/norm1"),
    (r"timm/swin", r"layers\.3/blocks/blocks\.1/norm[12]"),
)


def scope(model_path: Path, layer: str) -> str:
    """The modules that a layer's node is in, from the outside: "layer4/layer4.2/relu". Exporters write them in different places."""
    import onnx
    model = onnx.load(model_path, load_external_data=False)
    nodes = [n for n in model.graph.node if n.name == layer or layer in n.output]
    if not nodes:
        return layer
    for property in nodes[0].metadata_props:
        if property.key == "pkg.torch.onnx.name_scopes":
            names = json.loads(property.value.replace("'", '"'))
            # Each is the whole path to a module, with dots.
            return "/".join(name for name in names[:-1] if name)
    return nodes[0].name.strip("/")


def recommended(key: str) -> str | None:
    return next((layer for network, layer in RULES if re.match(network, key)), None)


def chosen_is_recommended(key: str, scope: str) -> bool | None:
    rule = recommended(key)
    if rule is None:
        return None
    return re.search(rule, scope.replace("..", ".")) is not None
