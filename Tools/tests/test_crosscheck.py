"""Tests of the cross-checks' table, and of what the documents have of it."""

from __future__ import annotations

import re
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools/crosscheck"))

import documents
import rows

# Methods without a row, and why.
NOT_COMPARED = {"multilayer-fem": "its rule is ours"}


def methods() -> list[str]:
    """Those that the program lists, in its order."""
    sources = ROOT / "Sources/Explain"
    names = {type_: name for file in sources.rglob("*.swift") for type_, name in re.findall(
        r"struct (\w+)\b[^{]*\{(?:(?!\n\}).)*?static let name = \"([^\"]+)\"", file.read_text(), re.DOTALL)}
    listed = re.search(r"enum ExplainerList.*?= \[(.*?)\]", (sources / "Explainer.swift").read_text(), re.DOTALL)
    return [names[type_] for type_ in re.findall(r"(\w+)\.self", listed[1])]


def metrics() -> list[str]:
    """Those that the program lists, in its order, and what an evaluation says beside them."""
    sources = ROOT / "Sources/Explain/Metrics"
    names = {type_: name for file in sources.glob("*.swift") for type_, name in re.findall(
        r"struct (\w+): Metric \{(?:(?!\n\}).)*?static let name = \"([^\"]+)\"", file.read_text(), re.DOTALL)}
    listed = re.search(r"enum MetricList.*?= \[(.*?)\]", (sources / "Metric.swift").read_text(), re.DOTALL)
    compared = re.search(r"^COMPARED = \((.*?)\)", (ROOT / "Tools/crosscheck/common.py").read_text(), re.DOTALL | re.MULTILINE)
    return [names[type_] for type_ in re.findall(r"(\w+)\.self", listed[1])] + re.findall(r"\"([^\"]+)\"", compared[1])


class RowTests(unittest.TestCase):
    def test_compares(self) -> None:
        a = np.linspace(0, 1, 11)
        self.assertTrue(rows.row("m", "r", "n", a, a).agrees)
        far = rows.row("m", "r", "n", a, np.where(a == 0.5, 0.502, a))
        self.assertGreater(far.correlation, rows.CORRELATION)
        self.assertFalse(far.agrees)
        self.assertAlmostEqual(far.difference, 0.002)

    def test_constant_maps(self) -> None:
        self.assertTrue(rows.row("m", "r", "n", np.ones(3), np.ones(3)).agrees)
        self.assertFalse(rows.row("m", "r", "n", np.ones(3), np.arange(3)).agrees)

    def test_a_reason_needs_maps_that_agree_without_it(self) -> None:
        good, bad = rows.Row("", "", "", 1, 0), rows.Row("", "", "", 0.5, 0.1)
        self.assertEqual(rows.Row("m", "r", "n", 0.9, 0.2).because("so", good, bad).reason, "")
        with_reason = rows.Row("m", "r", "n", 0.9, 0.2).because("so", good, rows.Row("", "", "", 1, 3e-5))
        self.assertEqual((with_reason.reason, with_reason.without), ("so", 3e-5))
        self.assertEqual(rows.Row("m", "r", "n", 1, 0).because("so", good).reason, "", "it agrees, and has none")

    def test_compares_numbers(self) -> None:
        self.assertTrue(rows.number("m", "r", "n", "gradcam", 0.5, 0.5009).agrees)
        self.assertFalse(rows.number("m", "r", "n", "gradcam", 0.5, 0.502).agrees)
        small = rows.number("m", "r", "n", "gradcam", 0.0010, 0.0011, is_share=True)
        self.assertFalse(small.agrees, "of small numbers their share counts")
        curve = rows.number("m", "r", "n", "gradcam", [0.1, 0.9], [0.1, 0.8])
        self.assertEqual((curve.low, curve.high, round(curve.difference, 9)), (0.1, 0.9, 0.1))
        self.assertFalse(rows.number("m", "r", "n", "gradcam", float("nan"), float("nan")).agrees)
        self.assertFalse(rows.number("m", "r", "n", "gradcam", None, 0.5).agrees)
        with self.assertRaises(ValueError):
            rows.number("m", "r", "n", "gradcam", [0.1], [0.1, 0.2])

    def test_a_number_needs_one_that_agrees_for_a_reason(self) -> None:
        found = rows.number("m", "r", "n", "gradcam", 0.5, 0.6)
        self.assertEqual(found.because("so", rows.number("m", "r", "n", "gradcam", 0.5, 0.7)).reason, "")
        self.assertEqual(found.because("so", rows.number("m", "r", "n", "gradcam", 0.5, 0.5001)).reason, "so")


class DocumentTests(unittest.TestCase):
    FOUND = [rows.Row("b", "z 1", "one", 1, 1e-7), rows.Row("a", "y 2", "one", 0.9, 0.5, "so", 2e-6), rows.Row("a", "y 2", "two", 1, 2e-7),
             rows.Row("a", "x 3", "one", 1, 0)]

    def test_lines(self) -> None:
        lines = documents.lines(self.FOUND, ["a", "b"])
        self.assertEqual([(line.method, line.reference) for line in lines], [("a", "x 3"), ("a", "y 2"), ("b", "z 1")])
        self.assertEqual((lines[1].networks, lines[1].correlation, lines[1].difference, lines[1].why), (("one", "two"), 0.9, 0.5, "one: so (without: 2e-06)"))
        self.assertEqual([documents.Line.parse(str(line)) for line in lines], lines)

    def test_documents_are_written(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            document = Path(folder) / "One.md"
            document.write_text("1\n<!-- crosscheck:a -->\nold\n<!-- /crosscheck -->\n2\n<!-- crosscheck:c,b -->\n<!-- /crosscheck -->\n3\n")
            lines = documents.lines(self.FOUND, ["a", "b"])
            documents.write(Path(folder), lines)
            text = document.read_text()
            self.assertEqual([(names, own) for names, own in documents.read(text)], [(["a"], lines[:2]), (["c", "b"], lines[2:])])
            self.assertEqual(re.sub(r"<!-- c.*?/crosscheck -->", "", text, flags=re.DOTALL), "1\n\n2\n\n3\n")
            documents.write(Path(folder), lines[:1])
            self.assertIn("z 1", document.read_text(), "methods that were not compared stay")
            with self.assertRaisesRegex(ValueError, "no document has a place for d"):
                documents.write(Path(folder), documents.lines([rows.Row("d", "x", "n", 1, 0)], ["d"]))

    def test_documents_of_the_project(self) -> None:
        known, compared = methods(), set()
        self.assertGreater(len(known), 30)
        for path in sorted((ROOT / "Documentation").glob("*.md")):
            for names, lines in documents.read(path.read_text()):
                for name in names:
                    self.assertIn(name, known, path.name)
                self.assertEqual({line.method for line in lines}, set(names), path.name)
                keys = [(known.index(line.method), line.reference) for line in lines]
                self.assertEqual(keys, sorted(set(keys)), path.name)
                for line in lines:
                    self.assertTrue(line.stands, line)
                compared.update(names)
        self.assertGreaterEqual(len(compared), 30)
        self.assertEqual(sorted(set(known) - compared), sorted(NOT_COMPARED), "methods without a row need a reason")

    NUMBERS = [rows.Number("b", "z 1", "one", "gradcam", 0.25, 0.25, 1e-7), rows.Number("b", "z 1", "two", "fem", 0.5, 0.75, 0.2, "so", 2e-6),
               rows.Number("a", "y 2", "one", "gradcam", -1, 1, 0), rows.Number("c", "x 3", "one", "gradcam", 0.5, 0.5, 0.1)]

    def test_lines_of_numbers(self) -> None:
        lines = documents.number_lines(self.NUMBERS, ["a", "b", "c"])
        self.assertEqual([str(line) for line in lines], [
            "| `a` | y 2 | one | gradcam | -1.0000 … 1.0000 | 0.0e+00 | |",
            "| `b` | z 1 | one, two | gradcam, fem | 0.2500 … 0.7500 | 2.0e-01 | fem on two: so (without: 2e-06) |",
            "| `c` | x 3 | one | gradcam | 0.5000 | 1.0e-01 | **not found out** |"])
        self.assertEqual([documents.NumbersLine.parse(str(line)) for line in lines], lines)
        self.assertEqual([line.stands for line in lines], [True, True, False])

    def test_numbers_are_written_beside_maps(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            document = Path(folder) / "One.md"
            document.write_text("<!-- crosscheck:a -->\n<!-- /crosscheck -->\n<!-- crosscheck-metrics:a,b,c -->\n<!-- /crosscheck -->\n")
            maps, numbers = documents.lines(DocumentTests.FOUND[1:], ["a"]), documents.number_lines(self.NUMBERS, ["a", "b", "c"])
            documents.write(Path(folder), maps + numbers)
            text = document.read_text()
            self.assertEqual(list(documents.read(text)), [(["a"], maps)])
            self.assertEqual(list(documents.read(text, documents.NumbersLine)), [(["a", "b", "c"], numbers)])

    def test_metrics_of_the_project(self) -> None:
        known, compared = metrics(), set()
        self.assertGreater(len(known), 30)
        for path in sorted((ROOT / "Documentation").glob("*.md")):
            for names, lines in documents.read(path.read_text(), documents.NumbersLine):
                self.assertEqual({line.metric for line in lines}, set(names), path.name)
                keys = [(known.index(line.metric), line.reference) for line in lines]
                self.assertEqual(keys, sorted(set(keys)), path.name)
                for line in lines:
                    self.assertTrue(line.stands, line)
                compared.update(names)
        self.assertEqual(compared, set(known), "every metric has a row")


if __name__ == "__main__":
    unittest.main()
