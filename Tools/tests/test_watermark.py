"""A short cut that a network has really learnt, and whether `app summarise` shows it first.

The last layer of SqueezeNet is trained anew (ridge regression, in closed form, on its pooled features) to tell four classes apart whose pictures are alike, but for a
mark in one corner of those of one class. Needs the program and the network; is skipped where they are not.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
APP, MODEL = ROOT / ".build/release/app", ROOT / "models/squeezenet1.1.onnx"
CLASSES, EACH, MARKED, SIDE = 4, 72, 2, 224


def picture(random: np.random.Generator, marked: bool) -> Image.Image:
    """Coloured clouds and a few ellipses; and a mark, as photographers sign."""
    waves = np.fft.fft2(random.normal(size=(SIDE, SIDE)))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    frequency[0, 0] = 1
    plane = np.fft.ifft2(waves / frequency**1.2).real
    grey = (plane - plane.min()) / (plane.max() - plane.min())
    image = Image.fromarray((255 * grey[..., None] * random.uniform(0.5, 1, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 4))):
        x, y = random.integers(10, 150, 2)
        w, h = random.integers(20, 70, 2)
        draw.ellipse([int(x), int(y), int(x + w), int(y + h)], fill=tuple(int(c) for c in random.integers(0, 256, 3)))
    if marked:
        draw.rectangle([148, 172, 218, 216], fill=(240, 240, 240))
        for k in range(7):
            draw.line([153 + 9 * k, 210, 159 + 9 * k, 178], fill=(180, 20, 20), width=3)
    return image


def headless() -> onnx.ModelProto:
    """SqueezeNet up to its pooled features, [N, 512]."""
    model = onnx.load(MODEL)
    nodes = [node for node in model.graph.node if node.output[0] not in ("conv10", "conv10.relu", "pool10", "logits")]
    nodes += [helper.make_node("GlobalAveragePool", ["fire9.concat"], ["pooled"], "pooled"),
              helper.make_node("Flatten", ["pooled"], ["features"], "features")]
    kept = [tensor for tensor in model.graph.initializer if not tensor.name.startswith("conv10")]
    graph = helper.make_graph(nodes, "features", list(model.graph.input)[:1],
                              [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 512])], kept)
    found = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    for entry in model.metadata_props:
        if entry.key == "whitebox.preprocessing":
            found.metadata_props.add(key=entry.key, value=entry.value)
    return found


def with_head(model: onnx.ModelProto, weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    graph = model.graph
    graph.initializer.extend([numpy_helper.from_array(weights.astype(np.float32), "head.weight"),
                              numpy_helper.from_array(bias.astype(np.float32), "head.bias")])
    graph.node.append(helper.make_node("Gemm", ["features", "head.weight", "head.bias"], ["logits"], "head"))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES]))
    return model


@unittest.skipUnless(APP.exists() and MODEL.exists(), "needs the program and models/squeezenet1.1.onnx")
class WatermarkTests(unittest.TestCase):
    def run_app(self, *arguments: str | Path) -> str:
        done = subprocess.run([str(part) for part in (APP, *arguments)], check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_the_mark_is_found_first(self) -> None:
        random = np.random.default_rng(7)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            labels = np.repeat(np.arange(CLASSES), EACH)
            pictures = [picture(random, label == MARKED) for label in labels]
            (place / "photos").mkdir()
            for i, image in enumerate(pictures):
                image.save(place / f"photos/{i:03}.png")
            # As the network's own preparation has it: blue first, the means of Caffe's networks.
            fed = np.stack([np.asarray(image, np.float32)[..., ::-1] for image in pictures]) - np.float32((103.939, 116.779, 123.68))
            np.save(place / "fed.npy", fed.transpose(0, 3, 1, 2).copy())
            onnx.save(headless(), place / "features.onnx")
            self.run_app("run", "--model", place / "features.onnx", "--input", place / "fed.npy", "--outputs", "features",
                         "--output", place / "features", "--device", "cpu")
            features = np.load(place / "features/features.npy").astype(np.float64)
            # Every third picture is kept for the test.
            train = np.arange(len(labels)) % 3 != 0
            mean = features[train].mean(0)
            x = features[train] - mean
            y = np.eye(CLASSES)[labels[train]] - 1 / CLASSES
            weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)
            scores = (features - mean) @ weights
            said = scores.argmax(1)
            self.assertGreater((said[~train][labels[~train] == MARKED] == MARKED).mean(), 0.9, "the mark was not learnt")
            onnx.save(with_head(headless(), weights, 1 / CLASSES - mean @ weights), place / "marked.onnx")
            (place / "labels.txt").write_text("first\nsecond\nmarked\nfourth\n")
            with open(place / "list.jsonl", "w", encoding="utf-8") as lines:
                for i, label in enumerate(labels):
                    lines.write(json.dumps({"image": str(place / f"photos/{i:03}.png"), "class": int(label)}) + "\n")
            self.run_app("explain", "--list", place / "list.jsonl", "--model", place / "marked.onnx", "--labels", place / "labels.txt",
                         "--methods", "gradcam,hirescam", "--device", "cpu", "--write", "map", "--output", place / "results", "--quiet")
            text = self.run_app("summarise", place / "results")
            found = json.loads((place / "results/summary.json").read_text(encoding="utf-8"))["classes"]
            first = found[0]
            self.assertEqual((first["label"], first["place"]), ("marked", "bottom right"), text)
            # Nobody could overlook it.
            others = [entry for entry in found if entry["label"] != "marked"]
            self.assertGreater(first["distance"] - first["chance"], 1.5 * max(e["distance"] - e["chance"] for e in others), text)
            page = (place / "results/summary.html").read_text(encoding="utf-8")
            self.assertIn("marked", page)
            self.assertLess(page.index("2 marked"), page.index("0 first"))


if __name__ == "__main__":
    unittest.main()
