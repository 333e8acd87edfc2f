"""The peers' NumPy: numbers that are known."""

import sys
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peers


class Maps(unittest.TestCase):
    def test_fem(self) -> None:
        activation = np.float32([[[[1, 1], [1, 1]], [[0, 0], [0, 4]]]])
        self.assertEqual(peers.fem(activation, k=1).tolist(), [[[0, 0], [0, 1]]])

    def test_heat_maps_are_scaled_and_enlarged(self) -> None:
        heat = peers.heat_maps(np.float32([[[1, 3], [1, 3]], [[5, 5], [5, 5]]]), (4, 4))
        self.assertEqual(heat.shape, (2, 4, 4))
        self.assertEqual(heat[0, 2].tolist(), [0, 0.25, 0.75, 1])
        self.assertFalse(heat[1].any())


class Heads(unittest.TestCase):
    """The weights of Grad-CAM without a gradient, against central differences."""

    def test_two_matrices_behind_a_window(self) -> None:
        random = np.random.default_rng(0)
        first, last = random.standard_normal((6, 3 * 4)), random.standard_normal((5, 6))
        activation = random.random((1, 3, 4, 4))

        def forward(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            pooled = a.reshape(1, 3, 2, 2, 2, 2).max((3, 5))
            hidden = np.maximum(pooled.reshape(1, -1) @ first.T, 0)
            return hidden, hidden @ last.T

        head = peers.Head.__new__(peers.Head)
        head.matrices = [first.reshape(6, 3, 4).sum(2), last]
        hidden, logits = forward(activation)
        found = head.weights(logits, [hidden], channels=3, cells=16)[0]
        best, step = int(logits.argmax()), 1e-6
        for channel in range(3):
            # A shift of all cells of a channel changes the score by the sum of their gradients.
            shifted = [activation.copy(), activation.copy()]
            shifted[0][0, channel] += step
            shifted[1][0, channel] -= step
            slope = (forward(shifted[0])[1][0, best] - forward(shifted[1])[1][0, best]) / (2 * step)
            self.assertAlmostEqual(found[channel], slope / 16, places=6)


if __name__ == "__main__":
    unittest.main()
