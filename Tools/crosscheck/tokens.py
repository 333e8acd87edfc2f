"""Methods on a transformer, whose tokens are the cells of an image: beside pytorch-grad-cam with its reshape transform, and beside formulas in
PyTorch for rollouts and for AttnLRP.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytorch_grad_cam as pgc
import torch
from cam import FORMULA, GRAD_CAM, pytorch_grad_cam
from common import Check, Twin, colours, export
from rows import Row, row
from torch import nn

SIDE, PATCH, WIDTH, HEADS, BLOCKS, CLASSES = 224, 32, 48, 4, 3, 10
CELLS = SIDE // PATCH


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.probabilities: torch.Tensor | None = None
        # For AttnLRP: what a product gives back is halved (its relevance is shared between both factors).
        self.product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch.matmul

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        self.probabilities = (self.product(q, k.transpose(-2, -1)) * (WIDTH // HEADS) ** -0.5).softmax(-1)
        return self.proj(self.product(self.probabilities, v).transpose(1, 2).reshape(batch, tokens, WIDTH))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(WIDTH), Attention(), nn.LayerNorm(WIDTH)
        self.fc1, self.act, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, WIDTH)), nn.Parameter(torch.randn(1, CELLS**2 + 1, WIDTH) * 0.3)
        self.blocks = nn.Sequential(*[Block() for _ in range(BLOCKS)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def placed(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.proj(x).flatten(2).transpose(1, 2)
        x = self.placed(torch.cat([self.token.expand(len(x), -1, -1), x], 1))
        return self.head(self.norm(self.blocks(x))[:, 0])


def transformer(folder: Path) -> Twin:
    """A small vision transformer with seeded random weights, large enough that attention is not the same everywhere."""
    torch.manual_seed(3)
    module = Transformer()
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=1.6 * part.in_features**-0.5)
            nn.init.normal_(part.bias, std=0.1)
        if isinstance(part, nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.7, 1.3)
            nn.init.normal_(part.bias, std=0.1)
    nn.init.normal_(module.proj.weight, std=0.04)
    twin = Twin("a small transformer", module, nn.Identity(), folder / "transformer.onnx", narrow="", narrow_value="")
    twin.module = module.eval()
    export(module, twin.path, SIDE)
    return twin


def as_grid(tokens: torch.Tensor) -> torch.Tensor:
    """pytorch-grad-cam's reshape transform for ViT."""
    return tokens[:, 1:].reshape(len(tokens), CELLS, CELLS, -1).permute(0, 3, 1, 2)


def rows(check: Check) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        twin = transformer(Path(folder))
        index = check.best(twin)
        layer = ("--class", str(index), "--layer", f"blocks.{BLOCKS - 1}.norm1")
        for method, kind in (("gradcam", pgc.GradCAM), ("xgradcam", pgc.XGradCAM), ("hirescam", pgc.HiResCAM),
                             ("elementwise-gradcam", pgc.GradCAMElementWise), ("layercam", pgc.LayerCAM), ("eigencam", pgc.EigenCAM)):
            found = check.explain(twin, method, *layer)["map"]
            theirs = pytorch_grad_cam(kind, twin, check.input, index, twin.module.blocks[-1].norm1, as_grid)
            if method == "eigencam":
                theirs = -theirs if (theirs * found).sum() < 0 else theirs
            else:
                theirs = np.maximum(theirs, 0)
            yield row(method, GRAD_CAM, twin.name, found, theirs)
        yield from rollouts(check, twin, index)
        yield from relevance(check, twin, index)


def rollouts(check: Check, twin: Twin, index: int) -> Iterator[Row]:
    module = twin.module
    logits = module(check.input)[0]
    attentions = [block.attn.probabilities for block in module.blocks]
    gradients = torch.autograd.grad(logits[index], attentions)

    def rolled(blocks: list[torch.Tensor]) -> np.ndarray:
        product = torch.eye(CELLS**2 + 1, dtype=torch.float64)
        for block in blocks:
            product = block.double() @ product
        return product[0, 1:].reshape(CELLS, CELLS).detach().numpy()

    one = torch.eye(CELLS**2 + 1)
    for heads, fuse in (("mean", lambda a: a.mean(0)), ("max", lambda a: a.amax(0)), ("min", lambda a: a.amin(0))):
        found = check.explain(twin, "rollout", "--set", f"rollout.heads={heads}")["map"]
        yield row("rollout", f"{FORMULA}, {heads}", twin.name, found, rolled([(fuse(a[0]) + one) / 2 for a in attentions]))
    weighted = [one + (a[0] * g[0]).clamp(min=0).mean(0) for a, g in zip(attentions, gradients, strict=True)]
    yield row("gradient-rollout", FORMULA, twin.name, check.explain(twin, "gradient-rollout", "--class", str(index))["map"], rolled(weighted))


class Halved(torch.autograd.Function):
    """x, of whose cotangent half goes back."""

    @staticmethod
    def forward(_: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(_: object, cotangent: torch.Tensor) -> torch.Tensor:
        return cotangent / 2


def relevance(check: Check, twin: Twin, index: int) -> Iterator[Row]:
    """AttnLRP as gradient times input of a network whose gradients are changed (Achtibat et al. 2024, appendix): what layer norms divide by is a
    constant, what a function of one number gives is its input times a constant, and products give back halves. In double precision.
    """
    module = Transformer().double().eval()
    module.load_state_dict(twin.module.state_dict())

    def norm(part: nn.LayerNorm) -> Callable[[torch.Tensor], torch.Tensor]:
        def forward(x: torch.Tensor) -> torch.Tensor:
            centred = x - x.mean(-1, keepdim=True)
            deviation = (centred.square().mean(-1, keepdim=True) + part.eps).sqrt().detach()
            return centred / deviation * part.weight + part.bias

        return forward

    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            part.forward = norm(part)
        if isinstance(part, nn.GELU):
            part.forward = lambda x: x * (nn.functional.gelu(x) / x).detach()
        if isinstance(part, Attention):
            part.product = lambda a, b: torch.matmul(Halved.apply(a), Halved.apply(b))
    # Places are constants that belong to no layer, and earn nothing here.
    module.placed = lambda x: x * ((x + module.place) / x).detach()
    x = check.input.double().requires_grad_(True)
    logit = module(x)[0, index]
    (gradient,) = torch.autograd.grad(logit, x)
    found = check.explain(twin, "lrp", "--class", str(index), "--set", "lrp.composite=epsilon", "--set", "lrp.epsilon=1e-9",
                          "--set", "lrp.stabilizer=1e-9")["map"]
    yield row("lrp", f"{FORMULA}, AttnLRP as gradient × input", twin.name, found, colours(x.detach() * gradient))
