#!/usr/bin/env python3
"""Times ResNet-50 Grad-CAM by PyTorch on the GPU: pixels on the host in, 224x224 maps on the host out, binary32 throughout (no TF32).

    gpu_torch.py [--batch 1,8,32,128] [--rounds 7] --json FILE

Two forms: written by hand (channels-last, no autograd, the map from the weights of the last layer), and pytorch-grad-cam where it can
be imported. The network is torchvision's, or the same written down here; its weights are random, which does not matter for its speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        return functional.relu(self.bn3(self.conv3(y)) + self.shortcut(x), inplace=True)


class ResNet50(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        inputs, stages = 64, []
        for width, depth, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            blocks = []
            for block in range(depth):
                blocks.append(Bottleneck(inputs, width, stride if block == 0 else 1))
                inputs = 4 * width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(2048, 1000)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x).mean((2, 3)))


def resnet50() -> tuple[nn.Module, str]:
    try:
        import torchvision

        network = torchvision.models.resnet50(weights=None)
        network.features = lambda x: network.layer4(network.layer3(network.layer2(network.layer1(
            network.maxpool(network.relu(network.bn1(network.conv1(x))))))))
        return network, f"torchvision {torchvision.__version__}"
    except ImportError:
        return ResNet50(), "written by hand"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", default="1,8,32,128")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    network, origin = resnet50()
    network = network.eval().to(options.device).to(memory_format=torch.channels_last)

    def by_hand(pixels: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            x = pixels.to(options.device, non_blocking=True, memory_format=torch.channels_last)
            activation = network.features(x)
            logits = network.fc(activation.mean((2, 3)))
            weights = network.fc.weight[logits.argmax(1)] / (activation.shape[2] * activation.shape[3])
            cam = torch.einsum("nc,nchw->nhw", weights, activation).relu_()
            low, high = cam.amin((1, 2), keepdim=True), cam.amax((1, 2), keepdim=True)
            cam = (cam - low) / (high - low).clamp_min(1e-12)
            return functional.interpolate(cam[:, None], size=pixels.shape[2:], mode="bilinear", align_corners=False).cpu()

    forms = {"PyTorch by hand, channels-last": by_hand}
    try:
        from pytorch_grad_cam import GradCAM

        cam = GradCAM(model=network, target_layers=[network.layer4[-1]])
        forms["pytorch-grad-cam"] = lambda pixels: cam(input_tensor=pixels.to(options.device), targets=None)
    except ImportError:
        print("pytorch-grad-cam is not there.")

    rows = []
    for batch in map(int, options.batch.split(",")):
        pixels = torch.randn(batch, 3, 224, 224)
        if options.device == "cuda":
            pixels = pixels.pin_memory()
        for peer, run in forms.items():
            try:
                run(pixels), run(pixels)
                times = []
                for _ in range(options.rounds):
                    start = time.perf_counter()
                    run(pixels)
                    if options.device == "cuda":
                        torch.cuda.synchronize()
                    times.append(time.perf_counter() - start)
            except torch.OutOfMemoryError:
                print(f"{peer}, batch {batch}: not enough memory")
                continue
            ms = statistics.median(times) * 1e3
            rows.append({"peer": peer, "version": f"torch {torch.__version__}, {origin}", "batch": batch, "ms": ms,
                         "low": min(times) * 1e3, "high": max(times) * 1e3})
            print(f"{peer}, batch {batch}: {ms:.2f} ms, {batch / ms * 1e3:.1f} images/s")
    options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
