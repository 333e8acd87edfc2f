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


if __name__ == "__main__":
    unittest.main()
