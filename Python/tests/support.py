"""Where the tests find networks, photographs, and the program to compare with."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
APP = ROOT / ".build" / "release" / "app"
SQUEEZENET = ROOT / "models" / "squeezenet1.1.onnx"
EFFICIENTNET = ROOT / "models" / "efficientnet-lite0.onnx"
PHOTOS = sorted((ROOT / "demo" / "photos").glob("*.[jp][pn]g"))
COFFEE = ROOT / "demo" / "photos" / "coffee.png"


def app(*arguments):
    """Runs the program of this checkout, which must work."""
    return subprocess.run([str(APP), *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def explained(model, image, methods, *options):
    """What `app explain` wrote: results.json, and its arrays by method, class and kind."""
    with tempfile.TemporaryDirectory() as folder:
        app("explain", image, "--model", model, "--method", ",".join(methods), "--output", f"{folder}/out", "--quiet",
            "--device", "cpu", *options)
        document = json.loads(pathlib.Path(folder, "out", "results.json").read_text())
        arrays = {}
        for record in document["images"][0]["explanations"]:
            for kind in ("map", "heatmap", "sampleError"):
                if record[kind]:
                    arrays[record["method"], record["class"], kind] = np.load(f"{folder}/out/{record[kind]}")
        return document, arrays


class Case(unittest.TestCase):
    """Equality of arrays is that of bits."""

    def assertSame(self, a, b, message=None):
        self.assertEqual(a.shape, b.shape, message)
        self.assertEqual(a.dtype, b.dtype, message)
        self.assertEqual(np.ascontiguousarray(a).tobytes(), np.ascontiguousarray(b).tobytes(), message)


needs_app = unittest.skipUnless(APP.exists(), "the program is not built")
needs_shared = unittest.skipUnless(os.path.exists(ROOT.parent / "shared" / "models" / "mobilenetv2.onnx"),
                                   "no third network lies beside the project")
