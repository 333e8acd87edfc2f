"""What can be said of Tools/onnx_tests.py and Tools/zoo without the program and without PyTorch."""

import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

TOOLS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOOLS), str(TOOLS / "zoo")]

import layers  # noqa: E402
import onnx_tests  # noqa: E402
import table  # noqa: E402
import zoo  # noqa: E402


def case(operator: str, inputs: dict[str, np.ndarray], output: np.ndarray, opset: int = 18) -> onnx_tests.Case:
    def value(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    graph = helper.make_graph([helper.make_node(operator, list(inputs), ["y"], "node")], "g", [value(n, a) for n, a in inputs.items()], [value("y", output)])
    return onnx_tests.Case(f"test_{operator}", helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), inputs, {"y": output})


class Ways(unittest.TestCase):
    def computed(self, of: onnx_tests.Case) -> dict[str, np.ndarray]:
        """What ONNX's own evaluator computes in each way."""
        from onnx.reference import ReferenceEvaluator
        found = {}
        for way in onnx_tests.ways(of):
            onnx.checker.check_model(way.model)
            (given,) = way.model.graph.input
            self.assertEqual(given.type.tensor_type.elem_type, TensorProto.FLOAT)
            results = ReferenceEvaluator(way.model).run(list(of.outputs), {given.name: way.input})
            found[way.name] = results[0]
        return found

    def test_each_float_input_alone_and_all_together(self) -> None:
        a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.float32(7)
        for opset in (11, 18):
            found = self.computed(case("Sub", {"a": a, "b": np.asarray(b)}, a - b, opset))
            self.assertEqual(list(found), ["a alone", "b alone", "together", "constants"])
            for way, value in found.items():
                np.testing.assert_array_equal(value, a - b, way)

    def test_truths_and_whole_numbers_are_cast(self) -> None:
        a, b = np.array([True, False]), np.array([True, True])
        self.assertEqual(list(self.computed(case("And", {"a": a, "b": b}, a & b))), ["a cast", "constants"])
        large = np.array([1 << 30], np.int32)
        self.assertEqual(list(self.computed(case("Neg", {"a": large}, -large))), ["constants"])

    def test_nothing_is_made_of_an_empty_input(self) -> None:
        empty = np.zeros((2, 0), np.float32)
        self.assertEqual([way.name for way in onnx_tests.ways(case("Relu", {"a": empty}, empty))], ["constants"])

    def test_narrowed(self) -> None:
        x = np.ones(3, np.float64)
        of = case("Relu", {"a": x}, x)
        self.assertTrue(onnx_tests.narrow(of.model))
        self.assertEqual(of.model.graph.input[0].type.tensor_type.elem_type, TensorProto.FLOAT)
        self.assertFalse(onnx_tests.narrow(of.model))

    def test_what_does_not_apply_says_why(self) -> None:
        x = np.ones(3, np.float32)
        with self.assertRaisesRegex(onnx_tests.NotApplicable, "operators Relu"):
            onnx_tests.check_operators(case("Relu", {"a": x}, x).model, {"Abs"})
        onnx_tests.check_operators(case("Relu", {"a": x}, x).model, {"Relu"})
        strings = helper.make_tensor_value_info("s", TensorProto.STRING, [1])
        with self.assertRaisesRegex(onnx_tests.NotApplicable, "type string"):
            onnx_tests.check_types([strings])

    def test_differences(self) -> None:
        one = np.ones((2, 2), np.float32)
        self.assertIsNone(onnx_tests.difference(one * 1.0005, one))
        self.assertIsNotNone(onnx_tests.difference(one * 1.002, one))
        self.assertIsNotNone(onnx_tests.difference(one[0], one))
        # Whole numbers are equal or they are not.
        self.assertIsNone(onnx_tests.difference(np.float32([1000]), np.array([1000])))
        self.assertIsNotNone(onnx_tests.difference(np.float32([1000.5]), np.array([1000])))


class Zoo(unittest.TestCase):
    row = {"key": "timm/a", "exporter": "dynamo", "opset": 18, "outcome": "right", "logits": 1e-6, "gradient": 2e-4, "single": 1e-4, "layer": "l",
           "recommended": "yes", "map": True, "same_bits": True, "ratio": 1.23}

    def test_the_table_is_written_between_its_marks(self) -> None:
        refused = {"key": "timm/b", "exporter": "torchscript", "opset": 13, "outcome": "not exported", "reason": "a|b <c>"}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "Networks.md"
            path.write_text("before\n<!-- zoo -->\nold\n<!-- /zoo -->\nafter\n")
            table.write(path, [refused, self.row])
            text = path.read_text()
        self.assertNotIn("old", text)
        self.assertIn("1 are right in everything (100.0 %)", text)
        lines = text.splitlines()
        self.assertIn("| timm/a | dynamo 18 | 1e-06 | 2e-04 | 1e-04 | `l` | yes | ✓ | ✓ | 1.2 | right |", lines)
        self.assertLess(text.index("timm/a"), text.index("timm/b"))
        self.assertIn("a\\|b &lt;c>", text)

    def test_the_document_has_the_place(self) -> None:
        self.assertRegex((TOOLS.parent / "Documentation/Networks.md").read_text(), table.PLACE)

    def test_recommended_layers(self) -> None:
        def node(operator: str, inputs: list[str], name: str, scopes: list[str] | None = None) -> onnx.NodeProto:
            made = helper.make_node(operator, inputs, [name + ".out"], name)
            if scopes:
                made.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=str(scopes))
            return made

        older = [node("Conv", ["x"], "/features/features.3/conv/Conv"), node("BatchNormalization", ["/features/features.3/conv/Conv.out"], "/features/features.3/norm/B"),
                 node("Relu", ["/features/features.3/norm/B.out"], "/Relu"), node("Relu", ["/Relu.out"], "/other/Relu")]
        before = [node("Relu", ["x"], "/stem/Relu"), node("Conv", ["/stem/Relu.out"], "/features/features.3/conv/Conv")]
        newer = [node("Conv", ["x"], "node_1", ["", "features", "features.3", "features.3.conv", "conv"]), node("Relu", ["node_1.out"], "node_2", ["", "relu"])]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            for nodes, layer, expected in (
                (older, "/features/features.3/norm/B", ("features.3.norm BatchNormalization", "yes")), (older, "/Relu", ("Relu", "its activation")),
                (older, "/other/Relu", ("other Relu", "no")), (older, "/features/features.3/conv/Conv", ("features.3.conv Conv", "what it reads")),
                (older[1:], "/Relu", ("Relu", "its activation")), (before, "/stem/Relu", ("stem Relu", "what it reads")),
                (newer, "node_1", ("features.3.conv Conv", "yes")), (newer, "node_2", ("Relu", "its activation")),
            ):
                onnx.save(helper.make_model(helper.make_graph(nodes, "g", [], [])), path)
                self.assertEqual(layers.choice(path, layer, "features.3"), expected)
                self.assertEqual(layers.choice(path, layer, None), (expected[0], None))
        self.assertEqual(layers.recommended("torchvision/resnet50"), "layer4[-1]")
        self.assertIsNone(layers.recommended("timm/xcit_nano_12_p8_224"))

    def test_gradients_are_compared_with_differences_and_with_pytorch(self) -> None:
        random = np.random.default_rng(0)
        exact, directions = random.normal(size=(1, 3, 4, 4)), random.normal(size=(2, 1, 3, 4, 4))
        logits = random.normal(size=(1, 10)).astype(np.float32)
        reference = {"logits": logits, "exact": logits.astype(np.float64), "gradient": exact, "single": exact.astype(np.float32),
                     "directions": directions, "slopes": np.array([(d * exact).sum() for d in directions])}

        def complaints(**changed: np.ndarray) -> list[str]:
            found: list[str] = []
            ours = {"logits": logits, "gradient": exact.astype(np.float32)}
            zoo.compare(ours | {k: v for k, v in changed.items() if k in ours}, reference | {k: v for k, v in changed.items() if k not in ours}, {}, found)
            return found

        self.assertEqual(complaints(), [])
        self.assertRegex(complaints(gradient=exact.astype(np.float32) * np.float32(1.01))[0], "from differences")
        self.assertRegex(complaints(slopes=reference["slopes"] * 1.01)[0], "from differences")
        # Where PyTorch's own float32 is as far from the truth, rounding is to blame.
        self.assertEqual(complaints(gradient=exact.astype(np.float32) * np.float32(1.01), single=exact.astype(np.float32) * np.float32(1.01)), [])
        self.assertRegex(complaints(logits=logits * np.float32(1.001))[0], "logits")
        self.assertRegex(complaints(logits=logits * np.float32("nan"))[0], "logits")

    def test_no_network_is_listed_twice(self) -> None:
        names = [line for line in (TOOLS / "zoo/timm.txt").read_text().splitlines() if not line.startswith("#")]
        self.assertGreaterEqual(len(names), 150)
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main()
