"""The notebook and the Ray example, run as their readers would."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np

from .support import PHOTOS, ROOT, SQUEEZENET, Case, explained, needs_app

NOTEBOOK = ROOT / "Examples" / "notebook" / "whitebox.ipynb"


def run_notebook():
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata.pop("language_info", None)
    return notebook


def run_example(name, folder, *arguments):
    """Runs an example on the photographs, and on a file that is none."""
    os.mkdir(f"{folder}/photos")
    for photo in PHOTOS:
        os.symlink(photo, f"{folder}/photos/{photo.name}")
    pathlib.Path(folder, "photos", "broken.png").write_bytes(b"rubbish")
    return subprocess.run([sys.executable, ROOT / "Examples" / name / "explain.py", f"{folder}/photos", *arguments],
                          capture_output=True, text=True, timeout=600)


class Examples(Case):
    @unittest.skipUnless(importlib.util.find_spec("nbclient"), "nbclient is not installed")
    def test_notebook(self):
        notebook = run_notebook()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        text = "".join(str(output.get("data", output.get("text"))) for output in outputs)
        self.assertIn("espresso", text)
        self.assertEqual(sum("image/png" in output.get("data", {}) for output in outputs), 2)
        # What is committed has been run.
        import nbformat

        committed = nbformat.read(NOTEBOOK, as_version=4)
        for cell in committed.cells:
            if cell.cell_type == "code":
                self.assertIsNotNone(cell.execution_count, "run `python -m Python.tests.test_examples` to run the notebook anew")

    @needs_app
    @unittest.skipUnless(importlib.util.find_spec("ray"), "Ray is not installed")
    def test_ray(self):
        """Two workers find what one run of the program finds, bit for bit."""
        import pandas as pd

        with tempfile.TemporaryDirectory() as folder:
            out = run_example(
                "ray", folder, "--model", SQUEEZENET, "--methods", "gradcam,fem",
                "--output", f"{folder}/maps", "--workers", "2", "--batch", "2", "--cpus-each", "0.5", "--device", "cpu")
            self.assertEqual(out.returncode, 0, out.stderr[-3000:])
            table = pd.concat([pd.read_parquet(path) for path in sorted(pathlib.Path(folder, "maps").glob("*.parquet"))])
        self.assertEqual(len(table), 2 * len(PHOTOS) + 1)
        self.assertEqual(sum(table["error"] != ""), 1)
        for photo in PHOTOS:
            _, arrays = explained(SQUEEZENET, photo, ["gradcam", "fem"])
            for (method, index, kind), expected in arrays.items():
                if kind != "map":
                    continue
                row = table[(table["path"].str.endswith("/" + photo.name)) & (table["method"] == method)].iloc[0]
                found = np.asarray(row["map"], np.float32).reshape(row["height"], row["width"])
                self.assertSame(found, expected, (photo, method))

    @needs_app
    @unittest.skipUnless(importlib.util.find_spec("distributed"), "Dask is not installed")
    def test_dask(self):
        """The same of Dask's workers."""
        import json

        with tempfile.TemporaryDirectory() as folder:
            out = run_example(
                "dask", folder, "--model", SQUEEZENET, "--output", f"{folder}/maps",
                "--batch", "2", "--device", "cpu")
            self.assertEqual(out.returncode, 0, out.stderr[-3000:])
            maps = np.load(f"{folder}/maps/maps.npy", mmap_mode="r")
            lines = list(map(json.loads, pathlib.Path(folder, "maps", "index.jsonl").read_text(encoding="utf-8").splitlines()))
        self.assertEqual(len(lines), len(PHOTOS) + 1)
        for line in lines:
            if line["image"].endswith("broken.png"):
                self.assertIsNotNone(line["error"])
                continue
            photo = next(p for p in PHOTOS if line["image"].endswith("/" + p.name))
            _, arrays = explained(SQUEEZENET, photo, ["gradcam"])
            self.assertSame(np.array(maps[line["row"]]), arrays["gradcam", line["class"], "map"], photo)


if __name__ == "__main__":
    import nbformat

    nbformat.write(run_notebook(), NOTEBOOK)
