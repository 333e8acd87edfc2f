"""Tests of the lab exercise: its measures by hand, its pictures, and that Documentation/Lab.md says what was measured."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Tools"), str(ROOT / "Tools/lab")]

import architectures
import figures
import lab
import measures
import networks
import report
from claims import CLAIMS
from pictures import ELEPHANT, Animal, Picture, Scene, compose, standard_pictures
from PIL import Image
from record import Lab
from runs import Program

APP = ROOT / ".build/release/app"
RECORD = ROOT / "Documentation/lab.json"
DOCUMENT = ROOT / "Documentation/Lab.md"


class MeasuresTests(unittest.TestCase):
    def test_likeness_by_hand(self) -> None:
        a, b = np.array([[0.0, 1], [2, 3]]), np.array([[3.0, 1], [0, 0]])
        # Less their means: (-1.5, -0.5, 0.5, 1.5) and (2, 0, -1, -1); -5 / sqrt(5 · 6).
        self.assertAlmostEqual(measures.correlation(a, b), -5 / 30**0.5)
        # Of sixths (0, 1, 2, 3) and quarters (3, 1, 0, 0) the least: 0, 1/6, 0, 0.
        self.assertAlmostEqual(measures.similarity(a, b), 1 / 6)
        self.assertIsNone(measures.correlation(a, np.ones((2, 2))))
        self.assertIsNone(measures.similarity(a, np.zeros((2, 2))))

    def test_ties_share_the_top_tenth(self) -> None:
        a, b = np.zeros(20), np.zeros(20)
        a[:2] = 1
        b[0], b[1:5] = 2, 1  # one for certain, and a quarter of each of four
        np.testing.assert_array_equal(measures.top_tenth(b)[:6], [1, 0.25, 0.25, 0.25, 0.25, 0])
        self.assertAlmostEqual(measures.overlap(a, b), 1.25 / 2)
        self.assertAlmostEqual(measures.overlap(b, b), 1)

    def test_masks(self) -> None:
        heat = np.array([[0.0, 1], [3, 4]])
        mask = np.array([[False, True], [True, False]])
        self.assertEqual(measures.share_within(heat, mask), 0.5)
        self.assertFalse(measures.points_at(heat, mask))
        self.assertTrue(measures.points_at(heat, ~mask))
        large = np.arange(256) // 100 == 1
        seen = measures.seen(np.outer(large, large), 256, 224)
        np.testing.assert_array_equal(np.flatnonzero(seen[100]), np.arange(100, 200) - 16)

    def test_cutouts_are_blended_by_their_alpha(self) -> None:
        cutout = np.zeros((2, 2, 4), np.uint8)
        cutout[0, 0], cutout[1, 1] = (200, 100, 50, 255), (200, 100, 50, 51)
        scene = Scene("s", 4, (255, 255, 255), pale=False, sky=False, animals=(Animal(ELEPHANT, (1, 2), mirrored=True),))
        picture, masks = compose(scene, np.full((4, 4), 100, np.uint8), {ELEPHANT: cutout})
        np.testing.assert_array_equal(picture[1, 3], [200, 100, 50])
        np.testing.assert_array_equal(picture[2, 2], [120, 100, 90])  # a fifth of it
        np.testing.assert_array_equal(np.argwhere(masks[ELEPHANT]), [[1, 3]])
        self.assertEqual((picture == 100).all(axis=2).sum(), 14)


class DocumentTests(unittest.TestCase):
    """What Documentation/Lab.md says follows from Documentation/lab.json."""

    def setUp(self) -> None:
        self.lab = Lab.read(RECORD)
        self.text = DOCUMENT.read_text()

    def test_record_is_as_written(self) -> None:
        self.assertEqual(self.lab.text(), RECORD.read_text())
        self.assertTrue(self.lab.standard)

    def test_tables_are_those_of_the_record(self) -> None:
        self.assertEqual(report.fill(self.text, self.lab), self.text)
        self.assertEqual(re.findall(r"<!-- table: (\w+) -->", self.text), list(report.TABLES))

    def test_claims_hold(self) -> None:
        prose = " ".join(self.text.split())
        for claim in CLAIMS:
            with self.subTest(claim.sentence):
                self.assertIn(claim.sentence, prose)
                self.assertTrue(claim.holds(self.lab))

    def test_figures_are_there(self) -> None:
        for name in re.findall(r"\]\((images/lab-[\w-]+\.png)\)", self.text):
            self.assertLess((ROOT / "Documentation" / name).stat().st_size, 250_000)


def _run(program: Program, network: Path, pictures: list[Picture]) -> lab.Exercise:
    exercise = lab.Exercise(program, [network], pictures, lab.QUICK, standard=False)
    with contextlib.redirect_stdout(io.StringIO()):
        exercise.run()
    return exercise


@unittest.skipUnless(APP.exists(), "the program is not built: make build")
class ProgramTests(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.program = Program(APP, self.folder / "results")

    def test_the_same_bits_here(self) -> None:
        network, work = ROOT / "models/squeezenet1.1.onnx", ROOT / "demo/lab"
        if not network.exists() or not (work / "sources/elephant.png").exists():
            self.skipTest("the networks or the pictures are not there: make lab")
        pictures = [picture for picture in standard_pictures(work) if picture.name == "elephant_1"]
        found = {(m.network, m.picture, m.method): m.sha256 for m in _run(self.program, network, pictures).lab.maps}
        recorded = {(m.network, m.picture, m.method): m.sha256 for m in Lab.read(RECORD).maps}
        self.assertEqual(len(found), 2)
        self.assertEqual(found, {key: recorded[key] for key in found})

    def test_another_network_and_photographs_of_your_own(self) -> None:
        """The way of `make lab IMAGES=… RESNET50=…`, with random weights."""
        network, photograph = self.folder / "random.onnx", self.folder / "noise.png"
        model = networks.build(
            architectures.ARCHITECTURES["squeezenet1_1"], "random", architectures.RandomWeights(0), networks.IMAGENET, "random")
        networks.save(model, network)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 300, 3), np.uint8)).save(photograph)
        exercise = _run(self.program, network, [Picture(photograph, "top1", {})])
        figures.write_all(exercise.lab, exercise, self.folder / "figures", with_pictures=True)
        text = report.bare(exercise.lab, self.folder / "figures")
        self.assertIn("| noise | random |", text)
        self.assertIn("(figures/lab-maps.png)", text)


if __name__ == "__main__":
    unittest.main()
