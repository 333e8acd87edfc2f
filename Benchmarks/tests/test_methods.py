"""What is counted and put together of methods' times, and the peers' masks in NumPy."""

import sys
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import method_peers
import methods
import report
from report import Row


class Costs(unittest.TestCase):
    def test_what_is_needed_once_is_shared_by_all_passes(self) -> None:
        # 100 once and 3 for each pass, by the clock; 200 and 6 of the processor.
        few, many = np.array([124.0, 248.0]), np.array([220.0, 440.0])
        self.assertEqual(methods.per_pass(few, many, (8, 40), 1000).tolist(), [3.1, 6.2])

    def test_windows_end_at_the_edge(self) -> None:
        for window, stride in ((15, 8), (56, 56), (28, 28), (60, 50)):
            starts = method_peers.Occlusion.starts(224, window, stride)
            self.assertEqual(starts[-1] + window, 224)
            self.assertEqual(len(starts) ** 2, methods.windows(224, window, stride))
        self.assertEqual(methods.windows(224, 15, 8), 784)

    def test_all_is_measured_in_full(self) -> None:
        lime = methods.AMOUNTS["lime"]
        self.assertEqual(lime.of("lime", full=True), (1000,))
        self.assertEqual((lime.of("lime", full=False), lime.of("onnxruntime", full=False)), ((10, 30), (16,)))

    def test_our_own_processor_time_is_seen(self) -> None:
        start = methods.Machine.spent(methods.os.getpid())
        sum(range(2_000_000))
        self.assertGreater(methods.Machine.spent(methods.os.getpid()), start)


class Targets(unittest.TestCase):
    def verdict(self, work: str, peer: str, ratio: float, **other: object) -> str:
        row = Row(**{"network": "resnet50", "work": work, "batch": 1, "threads": 2, "device": "cpu", "peer": peer, "peer_version": "",
                     "ours_ms": 10.0, "peer_ms": 10 * ratio, "ratio": ratio, "spread": (ratio, ratio), **other})
        return report.methods_table([row], markdown=True).splitlines()[2].rstrip(" |").rpartition("| ")[2]

    def test_verdicts(self) -> None:
        self.assertEqual(self.verdict("rise", "our passes", 0.93), "met")
        self.assertEqual(self.verdict("rise", "our passes", 0.91), "missed")
        self.assertEqual(self.verdict("ablationcam", "our gradcam", 0.77), "met")
        self.assertEqual(self.verdict("rise", "our passes", 0.93, others=0.5), "met, disturbed")
        self.assertEqual(self.verdict("memory of lime", "our gradcam", 1, ours_ms=601.0), "missed")

    def test_every_row_has_a_target(self) -> None:
        works = {target.work for target in report.METHOD_TARGETS}
        self.assertEqual(works - {work for work in works if work.startswith("memory of")}, set(methods.ROWS) - {"memory"})


class Masks(unittest.TestCase):
    arrays = method_peers.NumPyArrays()

    def test_rise(self) -> None:
        rise = method_peers.RISE(self.arrays, (28, 42), samples=500)
        masks = rise.masks(0, 500)
        self.assertEqual(masks.shape, (500, 28, 42))
        self.assertTrue(0 <= masks.min() and masks.max() <= 1)
        self.assertAlmostEqual(float(masks.mean()), 0.5, delta=0.02)
        rise.add(np.ones(500, np.float32), masks)
        # The mean of all masks, each weighed by 1, divided by how much they show.
        self.assertAlmostEqual(float(rise.map().mean()), 1, delta=0.04)

    def test_occlusion(self) -> None:
        occlusion = method_peers.Occlusion(self.arrays, (4, 4), window=2, stride=2, score=1)
        masks = occlusion.masks(0, 4)
        self.assertEqual(masks[1].tolist(), [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]])
        occlusion.add(np.float32([1, 0.25, 1, 0.5]), masks)
        self.assertEqual(occlusion.map()[[0, 0, 3, 3], [0, 3, 0, 3]].tolist(), [0, 0.75, 0, 0.5])

    def test_scorecam(self) -> None:
        activation = np.float32([[[0, 2], [2, 4]], [[1, 1], [1, 3]]])
        scorecam = method_peers.ScoreCAM(self.arrays, (8, 8), activation)
        masks = scorecam.masks(0, 2)
        self.assertEqual((masks.shape, masks.min(), masks.max()), ((2, 8, 8), 0, 1))
        scorecam.add(np.log(np.float32([1, 3])), masks)
        self.assertTrue(np.allclose(scorecam.map(), activation[0] / 4 + activation[1] * 3 / 4))

    def test_mean_colours(self) -> None:
        x = np.float32([[[[1, 3], [5, 8]]]])
        self.assertEqual(method_peers.mean_colours(x, np.array([[0, 0], [0, 1]])).tolist(), [[[[3, 3], [3, 8]]]])


if __name__ == "__main__":
    unittest.main()
