"""The comparison's arithmetic and tables; nothing is timed here."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import report
from report import Row, Skipped


def row(network: str = "resnet50", batch: int = 1, peer: str = "openvino", ratio: float = 1.5, **other: object) -> Row:
    fields = {"work": "gradcam", "threads": 2, "device": "cpu", "peer_version": "1", "ours_ms": 10.0, "peer_ms": 10 * ratio, "spread": (1.4, 1.6)}
    return Row(network=network, batch=batch, peer=peer, ratio=ratio, **{**fields, **other})


class Statistics(unittest.TestCase):
    def test_ratios_are_taken_within_rounds(self) -> None:
        found = report.compared([10, 20, 10], [20, 20, 30])
        self.assertEqual((found["ours_ms"], found["peer_ms"]), (10, 20))
        self.assertEqual((found["ratio"], found["spread"]), (2, (1, 3)))


class Targets(unittest.TestCase):
    def verdicts(self, rows: list) -> dict[tuple[str, str], str]:
        lines = report.targets_table(rows, markdown=True).splitlines()[2:]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return {(c[0], c[2]): c[6] for c in cells if c[1] == "resnet50"}

    def test_the_best_peer_decides(self) -> None:
        found = self.verdicts([row(peer="openvino", ratio=1.2), row(peer="onnxruntime", ratio=1.4), row(batch=8, ratio=1.3)])
        title = "Grad-CAM, best of ONNX Runtime and OpenVINO"
        self.assertEqual((found[title, "1"], found[title, "8"]), ("missed", "met"))

    def test_some_numbers_should_be_small(self) -> None:
        memory = row(work="peak memory", peer="onnxruntime", ours_ms=240.0, unit="MB")
        self.assertEqual(self.verdicts([memory])["Peak memory", "1"], "met")
        self.assertEqual(self.verdicts([row(work="peak memory", peer="onnxruntime", ours_ms=260.0)])["Peak memory", "1"], "missed")

    def test_nothing_measured_is_said(self) -> None:
        skipped = Skipped("resnet50", "gradcam", 1, 2, "cpu", "torch-compile", "no compiler")
        self.assertEqual(set(self.verdicts([skipped]).values()), {"not measured"})
        self.assertIn("left out: no compiler", report.rows_table([skipped]))


class Files(unittest.TestCase):
    def test_rows_survive_json(self) -> None:
        for item in (row(), Skipped("vgg16", "fem", 1, 2, "cpu", "captum", "it has no such method")):
            self.assertEqual(report.read(item.record()), item)

    def test_tables_are_aligned(self) -> None:
        lines = report.rows_table([row(), row(batch=32)]).splitlines()
        self.assertEqual(len(lines), 3)
        self.assertEqual(lines[0].index("ratio"), lines[1].index(" 1.50") )


if __name__ == "__main__":
    unittest.main()
