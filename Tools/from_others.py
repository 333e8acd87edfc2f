#!/usr/bin/env python3
"""The same tasks in other packages and here, side by side, with what differs in numbers: Documentation/FromOthers.md.

    from_others.py [--documents]

Each task is two functions, whose bodies the document shows and this program runs, on torchvision's ResNet-18 (weights by chance from a seed, which
make differences no smaller) and a photograph. `--documents` writes the document's tables anew.
"""

import argparse
import inspect
import pathlib
import sys
import textwrap

import numpy as np
import torch
import torchvision
from PIL import Image

import whitebox

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "Documentation" / "FromOthers.md"


class Setting:
    """What both sides have: a module, the model that was made of it, a picture as the network takes it, and a class."""

    def __init__(self):
        torch.manual_seed(0)
        self.module = torchvision.models.resnet18().eval()
        # Statistics as of a trained network, so that the last layer is not nearly 0.
        for part in self.module.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.data.uniform_(0.5, 1.5)
                part.bias.data.normal_(0, 0.2)
        photo = Image.open(ROOT / "demo" / "photos" / "coffee.png").convert("RGB").resize((224, 224))
        numbers = torch.tensor(np.asarray(photo)).permute(2, 0, 1).float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        self.x = ((numbers - mean[:, None, None]) / std[:, None, None])[None]
        self.model = whitebox.from_torch(self.module, self.x)
        self.c = 7


# Each task: a title, what is compared and what should be, how far at most, and both sides; theirs first.


def gradcam_theirs(module, x, c):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(module, [module.layer4]) as cam:
        return cam(x, targets=[ClassifierOutputTarget(c)])[0]


def gradcam_ours(model, module, x, c):
    heat = model.explain(x, "gradcam", c, layer=module.layer4)[0]["gradcam"].heatmap
    return heat / heat.max()


def plusplus_theirs(module, x, c):
    from pytorch_grad_cam import GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAMPlusPlus(module, [module.layer4]) as cam:
        return cam(x, targets=[ClassifierOutputTarget(c)])[0]


def plusplus_ours(model, module, x, c):
    heat = model.explain(x, "gradcam++", c, layer=module.layer4)[0]["gradcam++"].heatmap
    return heat / heat.max()


def layers_theirs(module, x, c):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(module, [module.layer3, module.layer4]) as cam:
        return cam(x, targets=[ClassifierOutputTarget(c)])[0]


def layers_ours(model, module, x, c):
    e = model.explain(x, "gradcam", c, layer=[module.layer3, module.layer4])
    heat = e[0]["gradcam"].heatmap
    return heat / heat.max()


def captum_theirs(module, x, c):
    from captum.attr import LayerGradCam

    cam = LayerGradCam(module, module.layer4)
    return cam.attribute(x, target=c, relu_attributions=True)[0, 0].detach().numpy()


def captum_ours(model, module, x, c):
    e = model.explain(x, "gradcam", c, layer=module.layer4)
    return e[0]["gradcam"].map


def layercam_theirs(module, x, c):
    from torchcam.methods import LayerCAM

    with LayerCAM(module, module.layer4) as extractor:
        scores = module(x)
        return extractor(c, scores)[0][0].numpy()


def layercam_ours(model, module, x, c):
    map = model.explain(x, "layercam", c, layer=module.layer4)[0]["layercam"].map
    return (map - map.min()) / (map.max() - map.min())


def saliency_theirs(module, x, c):
    from captum.attr import Saliency

    return Saliency(module).attribute(x, target=c)[0].amax(0).numpy()


def saliency_ours(model, module, x, c):
    return model.explain(x, "saliency", c)[0]["saliency"].map


def ig_theirs(module, x, c):
    from captum.attr import IntegratedGradients

    ig = IntegratedGradients(module)
    return ig.attribute(x, target=c, n_steps=50)[0].sum(0).numpy()


def ig_ours(model, module, x, c):
    e = model.explain(x, "integrated-gradients", c, settings={"integrated-gradients.steps": 50})
    return e[0]["integrated-gradients"].map


def occlusion_theirs(module, x, c):
    from captum.attr import Occlusion

    found = Occlusion(module).attribute(x, target=c, sliding_window_shapes=(3, 32, 32), strides=(3, 32, 32))
    return found[0, 0].detach().numpy()


def occlusion_ours(model, module, x, c):
    settings = {"occlusion.window": 32, "occlusion.stride": 32, "occlusion.baseline": "zero"}
    return model.explain(x, "occlusion", c, score="logit", settings=settings)[0]["occlusion"].map


TASKS = [
    ("Grad-CAM, enlarged and scaled to 0 … 1", "pytorch-grad-cam", gradcam_theirs, gradcam_ours, 1e-3,
     "It scales the map, enlarges it, and scales once more; here the second is left out (so the brightest pixel may be below 1), and is done above to compare."),
    ("Grad-CAM++", "pytorch-grad-cam", plusplus_theirs, plusplus_ours, 0.2,
     "It adds 1e-6 to the divisor of the paper's equation 19, which where gradients are small is not small beside it: what differs is the map, and not only its scale."),
    ("Grad-CAM of two layers", "pytorch-grad-cam", layers_theirs, layers_ours, 0.3,
     "It enlarges each layer's map to the picture, scales it and takes the mean; here maps are scaled, enlarged to the largest layer's grid, the mean is taken, and that is enlarged."),
    ("Grad-CAM, the numbers of the layer", "Captum", captum_theirs, captum_ours, 1e-4,
     "Nothing, if it is told to apply the ReLU of the paper (`relu_attributions=True`)."),
    ("Layer-CAM", "TorchCAM", layercam_theirs, layercam_ours, 1e-4,
     "TorchCAM scales its maps to 0 … 1; here `map` has the paper's own numbers."),
    ("Saliency", "Captum", saliency_theirs, saliency_ours, 1e-4,
     "Captum leaves the channels apart; the paper takes the maximum over them, and so does `map`. A ReLU's gradient jumps at 0, and a max pool's where two numbers are equal: where a rounding decides, pixels around that place differ."),
    ("Integrated gradients", "Captum", ig_theirs, ig_ours, 1e-3,
     "Captum leaves the channels apart; here they are added. Both take Gauss–Legendre, 50 steps, from a picture of zeros."),
    ("Occlusion", "Captum", occlusion_theirs, occlusion_ours, 1e-4,
     "With windows that do not overlap nothing; where they do, Captum averages over those that cover a pixel and cuts the last ones off at the edge."),
]


def measure(setting):
    """Of each task the difference that 99 of 100 numbers keep within, and the largest, as parts of the largest number of theirs."""
    rows = []
    for title, package, theirs, ours, limit, words in TASKS:
        a = np.asarray(theirs(setting.module, setting.x.clone(), setting.c))
        b = np.asarray(ours(setting.model, setting.module, setting.x, setting.c))
        if a.shape != b.shape:
            sys.exit(f"{title}: theirs is {a.shape}, ours {b.shape}.")
        differences = np.abs(a - b) / np.abs(a).max()
        rows.append((title, package, theirs, ours, limit, words, float(np.quantile(differences, 0.99)), float(differences.max())))
    return rows


def body(function):
    """What stands in a function."""
    return textwrap.dedent("".join(inspect.getsource(function).splitlines(keepends=True)[1:])).strip()


def document(rows):
    parts = ["| Task | Beside | 99 of 100 numbers within | Largest difference | What differs, and why |", "|---|---|---|---|---|"]
    for title, package, _, _, _, words, most, largest in rows:
        parts.append(f"| {title} | {package} | {most:.0e} | {largest:.0e} | {words} |")
    parts.append("")
    for title, package, theirs, ours, *_ in rows:
        parts += [f"### {title}", "", f"{package}:", "", "```python", body(theirs), "```", "", "Here:", "", "```python", body(ours), "```", ""]
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", action="store_true")
    arguments = parser.parse_args()
    rows = measure(Setting())
    for title, package, _, _, limit, _, most, largest in rows:
        print(f"{title:45} {package:18} {most:9.1e} {largest:9.1e}   at most {limit:.0e} of 99 %{'' if most <= limit else '   TOO LARGE'}")
    if arguments.documents:
        text = DOCUMENT.read_text()
        begin, end = "<!-- from_others.py -->\n", "<!-- end -->"
        front, rest = text.split(begin)
        DOCUMENT.write_text(front + begin + document(rows) + "\n" + end + rest.split(end)[1])
    if any(most > limit for *_, limit, _, most, _ in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
