"""The package as its users have it, beside the program: equal bits, errors, threads, interrupts, memory, time.

It is run twice: where nothing is installed but the package and NumPy, and where everything is.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest

import numpy as np

import whitebox

from .support import APP, COFFEE, EFFICIENTNET, PHOTOS, ROOT, SQUEEZENET, Case, app, explained, needs_app, needs_shared

METHODS = ["gradcam", "gradcam++", "fem", "layercam", "hirescam", "xgradcam", "eigencam", "saliency", "lrp", "rise"]
FEW = {"rise.samples": 40}


def has(module):
    return importlib.util.find_spec(module) is not None


class EqualBits(Case):
    """What Python has is what the program writes."""

    def check_network(self, path, image, preprocess=None):
        options = ["--set", "rise.samples=40", "--class", "top2"]
        document, arrays = explained(path, image, METHODS, *options, *(["--preprocess", preprocess] if preprocess else []))
        model = whitebox.Model(path, preprocess=preprocess)
        found = model.explain(image, METHODS, "top2", settings=FEW, device="cpu")[0]
        record = document["images"][0]
        self.assertEqual(len(found), len(record["explanations"]))
        for map, entry in zip(found, record["explanations"]):
            for key in ("method", "class", "label", "probability", "layer", "blank", "note", "signed", "completeness",
                        "samples", "score", "negative", "against"):
                self.assertEqual(map.record[key], entry[key], key)
            self.assertSame(map.map, arrays[map.method, map.class_index, "map"], map)
            self.assertSame(map.heatmap, arrays[map.method, map.class_index, "heatmap"], map)
            if entry["sampleError"]:
                self.assertSame(map.sample_error, arrays[map.method, map.class_index, "sampleError"], map)
            else:
                self.assertIsNone(map.sample_error)
        for key in ("predictions", "size", "sha256", "note"):
            self.assertEqual(found.record[key], record[key], key)
        run = model.explain(image, METHODS, "top2", settings=FEW, device="cpu").run
        for key in ("whitebox", "numerics", "model", "preprocessing", "layers", "settings", "seed", "leftOut"):
            self.assertEqual(run[key], document[key], key)

    @needs_app
    def test_squeezenet(self):
        self.check_network(SQUEEZENET, COFFEE)

    @needs_app
    def test_efficientnet(self):
        self.check_network(EFFICIENTNET, COFFEE)

    @needs_app
    @needs_shared
    def test_mobilenet(self):
        self.check_network(ROOT.parent / "shared" / "models" / "mobilenetv2.onnx", COFFEE)

    @needs_app
    def test_files(self):
        """What is saved is what the program writes, byte for byte."""
        with tempfile.TemporaryDirectory() as folder:
            paths = list(map(str, PHOTOS))
            app("explain", *paths, "--model", SQUEEZENET, "--method", "gradcam,fem", "--output", f"{folder}/a",
                "--device", "cpu", "--quiet", "--write", "map,heatmap,overlay,sheet,mask,box,contour",
                "--colormap", "viridis")
            model = whitebox.Model(SQUEEZENET)
            results = model.explain(paths, ["gradcam", "fem"], device="cpu")
            parts = "map,heatmap,overlay,sheet,mask,box,contour"
            results.save(f"{folder}/b", write=parts, colormap="viridis")
            files = sorted(p.name for p in pathlib.Path(folder, "a").iterdir())
            self.assertEqual(files, sorted(p.name for p in pathlib.Path(folder, "b").iterdir()))
            for name in files:
                self.assertEqual(pathlib.Path(folder, "a", name).read_bytes(), pathlib.Path(folder, "b", name).read_bytes(), name)
            # And what is made in memory.
            made = results[0].files(write=parts, colormap="viridis")
            for name, content in made.items():
                self.assertEqual(pathlib.Path(folder, "a", name).read_bytes(), content, name)
            self.assertEqual(len(made), 13)
            with self.assertRaises(whitebox.OutputError) as caught:
                results.save(f"{folder}/b")
            self.assertIn("already holds results", str(caught.exception))
            results.save(f"{folder}/b", force=True)
            with self.assertRaises(whitebox.UsageError):
                results[:1].save(f"{folder}/c")

    def test_inputs(self):
        """A picture is the same in whichever form it comes."""
        model = whitebox.Model(SQUEEZENET)
        expected = model.explain(COFFEE, device="cpu")[0]
        forms = [COFFEE.read_bytes(), bytearray(COFFEE.read_bytes()), str(COFFEE)]
        if has("PIL"):
            from PIL import Image

            image = Image.open(COFFEE)
            rgb = np.asarray(image.convert("RGB"))
            alpha = np.concatenate([rgb, np.full_like(rgb[:, :, :1], 255)], axis=2)
            forms += [image, rgb, alpha, np.asfortranarray(rgb), rgb[:, ::-1][:, ::-1]]
        for number, form in enumerate(forms):
            found = model.explain(form, device="cpu")[0]
            self.assertSame(found["gradcam"].map, expected["gradcam"].map, number)
            self.assertSame(found.image, expected.image, number)
            self.assertSame(found.logits, expected.logits, number)
        if has("PIL"):
            # Upright, as a file with the same orientation.
            import io

            from PIL import Image

            exif = Image.Exif()
            exif[0x0112] = 6
            file = io.BytesIO()
            Image.open(COFFEE).convert("RGB").save(file, "JPEG", exif=exif)
            of_file = model.explain(file.getvalue(), device="cpu")[0]
            of_image = model.explain(Image.open(io.BytesIO(file.getvalue())), device="cpu")[0]
            self.assertSame(of_file["gradcam"].map, of_image["gradcam"].map)

    def test_numbers(self):
        """The network's own input, in any layout of memory, alone and in batches."""
        model = whitebox.Model(SQUEEZENET)
        numbers = np.random.default_rng(1).normal(size=(5, 3, 224, 224)).astype(np.float32)
        all = model.explain(numbers, "gradcam", device="cpu", batch=2)
        self.assertEqual([e.name for e in all], [f"image-{i}" for i in range(5)])
        for i in range(5):
            for form in (numbers[i], np.asfortranarray(numbers[i]), numbers[i].astype(np.float64), numbers[i : i + 1]):
                self.assertSame(model.explain(form, device="cpu")[0]["gradcam"].map, all[i]["gradcam"].map)
            self.assertIsNone(all[i].image)
        stack = all.stack("gradcam")
        self.assertEqual(stack.shape, (5, 13, 13))
        self.assertSame(stack[3], all[3]["gradcam"].map)

    def test_devices(self):
        """No bit depends on the device, the batch or the number of threads."""
        model = whitebox.Model(SQUEEZENET)
        expected = model.explain(COFFEE, METHODS[:4], device="cpu")[0]
        choices = [dict(device="cpu", threads=1), dict(device="cpu", batch=3)]
        if any(device["usable"] for device in whitebox.devices()["opencl"]):
            choices += [dict(device="opencl:0"), dict(device="opencl:0,cpu"), dict(device="all")]
        for choice in choices:
            for explanation in model.explain([COFFEE] * 5, METHODS[:4], **choice):
                for a, b in zip(explanation, expected):
                    self.assertSame(a.map, b.map, choice)

    def test_iteration(self):
        model = whitebox.Model(SQUEEZENET)
        numbers = np.random.default_rng(2).normal(size=(7, 3, 224, 224)).astype(np.float32)
        expected = [e["layercam"].map for e in model.explain(numbers, "layercam", device="cpu")]
        loaders = {
            "images": iter(numbers), "one array": [numbers], "arrays": [numbers[:4], numbers[4:]],
            "labelled": [(numbers[:4], np.arange(4)), [numbers[4:], np.arange(3)]],
            "pairs": [(image, 3) for image in numbers], "dictionaries": [{"image": numbers}],
        }
        for name, loader in loaders.items():
            for batch in (1, 3, 32):
                found = list(model.explain_iter(loader if name != "images" else iter(numbers), "layercam", batch=batch, device="cpu"))
                self.assertEqual(len(found), 7, name)
                for a, b in zip(found, expected):
                    self.assertSame(a["layercam"].map, b, name)
        # One that fails is none that ends it.
        found = list(model.explain_iter([COFFEE, "missing.png", COFFEE], device="cpu"))
        self.assertEqual([e.error is None for e in found], [True, False, True])


class Results(Case):
    def setUp(self):
        self.model = whitebox.Model(SQUEEZENET)

    def test_access(self):
        e = self.model.explain(COFFEE, ["gradcam", "fem"], ["top2", 285], device="cpu")[0]
        self.assertEqual([(m.method, m.class_index) for m in e], [("gradcam", 967), ("gradcam", 925), ("gradcam", 285), ("fem", None)])
        self.assertEqual(e["gradcam"].class_index, 967)
        self.assertEqual(e["gradcam", 285].label, self.model.labels[285])
        self.assertEqual(e[-1].method, "fem")
        with self.assertRaises(KeyError) as caught:
            e["rise"]
        self.assertIn("gradcam of 967", str(caught.exception))
        self.assertEqual(len(e.predictions), 5)
        self.assertEqual(int(np.argmax(e.logits)), e.predictions[0].index)
        self.assertAlmostEqual(float(e.probabilities.sum()), 1, 5)
        with self.assertRaises(ValueError):
            e["gradcam"].map[0, 0] = 1
        self.assertSame(np.asarray(e["fem"]), e["fem"].map)
        self.assertEqual(np.asarray(e["fem"], dtype=np.float64).dtype, np.float64)

    def test_arrays_outlive_results(self):
        """An array is the library's memory, which stays as long as any array of it."""
        map = self.model.explain(COFFEE, device="cpu")[0]["gradcam"].map
        copy = map.copy()
        for _ in range(5):
            self.model.explain(COFFEE, "fem", device="cpu")
        self.assertSame(map, copy)

    def test_targets(self):
        all = self.model.explain([COFFEE] * 3, targets=["top1", 285, "espresso"], device="cpu")
        self.assertEqual([e[0].class_index for e in all], [967, 285, 967])
        with self.assertRaises(whitebox.UsageError):
            self.model.explain([COFFEE] * 3, targets=[1], device="cpu")

    def test_shown(self):
        e = self.model.explain(COFFEE, ["gradcam", "fem"], device="cpu")
        page = e._repr_html_()
        self.assertIn("espresso", page)
        self.assertIn("data:image/png;base64,", page)
        self.assertTrue(e[0]._repr_png_().startswith(b"\x89PNG"))
        self.assertTrue(e[0]["fem"]._repr_png_().startswith(b"\x89PNG"))
        self.assertNotEqual(e[0]["fem"].overlay(), e[0]["fem"].overlay(colormap="jet"))
        bad = self.model.explain(["<b>.png"], errors="keep", device="cpu")
        self.assertIn("&lt;b&gt;", bad[0]._repr_html_())
        self.assertNotIn("<b>.png", bad[0]._repr_html_())

    @unittest.skipUnless(has("pandas"), "pandas is not installed")
    def test_pandas(self):
        table = self.model.explain([COFFEE, "missing.png"], ["gradcam", "fem"], errors="keep", device="cpu").to_pandas()
        self.assertEqual(list(table["method"][:2]), ["gradcam", "fem"])
        self.assertEqual(len(table), 3)
        self.assertIn("no such file", table["error"][2])

    @unittest.skipUnless(has("xarray"), "xarray is not installed")
    def test_xarray(self):
        all = self.model.explain([COFFEE, str(PHOTOS[0])], ["gradcam", "fem"], device="cpu")
        data = all.to_xarray()
        self.assertSame(data["gradcam"].values[1], all[1]["gradcam"].heatmap)
        self.assertEqual(data.sizes["image"], 2)

    def test_classify(self):
        found = self.model.classify([COFFEE, str(PHOTOS[0])], device="cpu")
        self.assertEqual(found[0].predictions[0].label, "espresso")
        self.assertEqual(len(found[0]), 0)


class Errors(Case):
    """Each kind has its exception, and the sentence is the program's."""

    def test_kinds(self):
        model = whitebox.Model(SQUEEZENET)
        cases = [
            (whitebox.ModelError, lambda: whitebox.Model("missing.onnx")),
            (whitebox.UsageError, lambda: whitebox.Model(b"x" * 3)),
            (whitebox.SettingsError, lambda: whitebox.Model(SQUEEZENET, preprocess="nonsense")),
            (whitebox.SettingsError, lambda: whitebox.Model(SQUEEZENET, labels=["a", "b"]).explain(COFFEE)),
            (whitebox.UsageError, lambda: whitebox.Model(SQUEEZENET, size="big")),
            (whitebox.LimitError, lambda: whitebox.Model(SQUEEZENET, memory_limit="1MiB").explain(COFFEE)),
            (whitebox.InputError, lambda: model.explain("missing.png")),
            (whitebox.InputError, lambda: model.explain(b"no picture")),
            (whitebox.InputError, lambda: model.explain(np.zeros((3, 224, 225), np.float32))),
            (whitebox.InputError, lambda: model.explain(np.zeros((224, 224, 3), np.int64))),
            (whitebox.InputError, lambda: model.explain(np.zeros((224, 224, 2), np.uint8))),
            (whitebox.InputError, lambda: model.explain(np.zeros((0, 224, 3), np.uint8))),
            (whitebox.UsageError, lambda: model.explain(object())),
            (whitebox.UsageError, lambda: model.explain(None)),
            (whitebox.LayerError, lambda: model.explain(COFFEE, layer="nowhere")),
            (whitebox.ClassError, lambda: model.explain(COFFEE, target=1000)),
            (whitebox.ClassError, lambda: model.explain(COFFEE, targets=["nothing of this name"])),
            (whitebox.DeviceError, lambda: model.explain(COFFEE, device="opencl:99")),
            (whitebox.UsageError, lambda: model.explain(COFFEE, device="cuda")),
            (whitebox.MethodError, lambda: model.explain(COFFEE, "gradcan")),
            (whitebox.UsageError, lambda: model.explain(COFFEE, [])),
            (whitebox.MethodError, lambda: model.explain(COFFEE, "rollout")),
            (whitebox.MethodError, lambda: model.explain(COFFEE, "fem", settings={"fem.nonsense": 1})),
            (whitebox.UsageError, lambda: model.explain(COFFEE, score="odds")),
            (whitebox.UsageError, lambda: model.explain(COFFEE, batch=0)),
            (whitebox.UsageError, lambda: model.explain(COFFEE, errors="ignore")),
        ]
        for number, (kind, call) in enumerate(cases):
            with self.subTest(number), self.assertRaises(kind) as caught:
                call()
            sentence = str(caught.exception)
            self.assertRegex(sentence, r"[.?]$", number)
            self.assertNotIn("\n", sentence, number)
        self.assertTrue(issubclass(whitebox.InputError, ValueError))

    @needs_app
    def test_messages(self):
        """The sentence is that of the program, word for word."""
        model = whitebox.Model(SQUEEZENET)
        for arguments, call in [
            (["--method", "gradcan"], lambda: model.explain(COFFEE, "gradcan")),
            (["--layer", "nowhere"], lambda: model.explain(COFFEE, layer="nowhere")),
            (["--method", "rollout"], lambda: model.explain(COFFEE, "rollout")),
            (["--device", "opencl:99"], lambda: model.explain(COFFEE, device="opencl:99")),
        ]:
            ran = subprocess.run([APP, "explain", COFFEE, "--model", SQUEEZENET, "--output", "/nonexistent/x", *arguments],
                                 capture_output=True, text=True)
            ran = subprocess.run([APP, "explain", COFFEE, "--model", SQUEEZENET, "--output",
                                  tempfile.mkdtemp() + "/x", *arguments], capture_output=True, text=True)
            with self.assertRaises(whitebox.Error) as caught:
                call()
            self.assertEqual(ran.stderr.strip().splitlines()[-1], f"app: {caught.exception}")
            self.assertEqual(ran.returncode, caught.exception.code)

    def test_names(self):
        """File names may be any bytes, and nothing of them reaches a terminal."""
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(os.fsencode(folder), b"\xff\x1b[2J.png")
            shutil.copy(COFFEE, name)
            found = whitebox.Model(SQUEEZENET).explain(os.fsdecode(name), device="cpu")
            self.assertEqual(found[0].predictions[0].label, "espresso")
            with self.assertRaises(whitebox.InputError) as caught:
                whitebox.Model(SQUEEZENET).explain(os.fsdecode(name) + "x")
            self.assertNotIn("\x1b", str(caught.exception))


class Attacks(Case):
    """What an attack from outside found."""

    def setUp(self):
        self.model = whitebox.Model(SQUEEZENET)

    def test_interrupted_pictures(self):
        """Ctrl-C while pictures are made is raised, and never leaves another method's picture."""
        code = textwrap.dedent(f"""
            import signal, whitebox
            e = whitebox.Model({str(SQUEEZENET)!r}).explain({str(COFFEE)!r}, ["gradcam", "fem"], device="cpu")[0]
            right = [m.overlay() for m in e]
            def interrupt(*_):
                raise KeyboardInterrupt
            signal.signal(signal.SIGALRM, interrupt)
            counts = [0, 0, 0]
            for i in range(150):
                try:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.0005 * (i % 40))
                        found = e[i % 2].overlay()
                        counts[0 if found == right[i % 2] else 2] += 1
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    counts[1] += 1
            print(counts[0] + counts[1], counts[2])
        """)
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
        answered, wrong = map(int, out.stdout.split())
        # One that comes between its answer and the end of its turn counts twice.
        self.assertGreaterEqual(answered, 150, out.stderr)
        self.assertEqual(wrong, 0, out.stderr)

    def test_targets(self):
        explain = lambda **options: [e[0].class_index for e in self.model.explain([COFFEE] * 2, device="cpu", **options)]
        self.assertEqual(explain(targets=np.array([0, 5])), [0, 5])
        self.assertEqual(explain(targets=[0, None]), [0, 967])
        self.assertEqual(explain(target=np.int64(3)), [3, 3])
        for wrong in (dict(target=False), dict(target=True), dict(against=False), dict(targets={0: 5, 1: 6}), dict(targets="28"),
                      dict(targets=[True, 1]), dict(batch=True), dict(batch=None), dict(batch="8"), dict(seed=True), dict(settings=5),
                      dict(methods=5), dict(layer=["fem", object()])):
            with self.subTest(str(wrong)), self.assertRaises(whitebox.UsageError):
                explain(**wrong)

    def test_images(self):
        masked = np.ma.masked_array(np.zeros((224, 224, 3), np.uint8), mask=True)
        with self.assertRaises(whitebox.InputError):
            self.model.explain(masked)
        self.model.explain(np.ma.masked_array(np.zeros((224, 224, 3), np.uint8)), device="cpu")
        single = list(self.model.explain_iter(np.zeros((40, 50, 3), np.uint8), device="cpu"))
        self.assertEqual(len(single), 1)
        self.assertEqual(len(list(self.model.explain_iter(str(COFFEE), device="cpu"))), 1)
        batches = np.zeros((2, 40, 50, 3), np.uint8)
        self.assertEqual(len(list(self.model.explain_iter([[batches, batches]], device="cpu"))), 4)
        # Those that are none are kept among the others, in their places.
        found = self.model.explain([COFFEE, np.zeros((3, 3), np.uint16), COFFEE], errors="keep", device="cpu")
        self.assertEqual([e.error is None for e in found], [True, False, True])
        self.assertIn("uint16", found[1].error)
        found = list(self.model.explain_iter([COFFEE, np.zeros((3, 3), np.uint16), COFFEE], device="cpu", batch=2))
        self.assertEqual([e.error is None for e in found], [True, False, True])

        def failing():
            yield from [COFFEE] * 3
            raise RuntimeError("the disk is gone")

        found = []
        with self.assertRaises(RuntimeError):
            for e in self.model.explain_iter(failing(), batch=2, device="cpu"):
                found.append(e)
        self.assertEqual(len(found), 3)

    @unittest.skipUnless(has("PIL"), "Pillow is not installed")
    def test_deep_images(self):
        import io

        from PIL import Image

        deep = np.random.default_rng(4).integers(0, 65536, (230, 240)).astype(np.uint16)
        file = io.BytesIO()
        Image.fromarray(deep).save(file, "PNG")
        of_file = self.model.explain(file.getvalue(), device="cpu")[0]
        of_image = self.model.explain(Image.open(io.BytesIO(file.getvalue())), device="cpu")[0]
        self.assertSame(of_file.image, of_image.image)
        for mode in ("I", "F"):
            with self.assertRaises(whitebox.InputError):
                self.model.explain(Image.new(mode, (9, 9)))

    def test_names(self):
        for wrong in (lambda: whitebox.Model(f"{SQUEEZENET}\0x"), lambda: self.model.explain(f"{COFFEE}\0.png"),
                      lambda: self.model.explain(COFFEE, target="top1\0x"), lambda: self.model.explain(COFFEE, targets=["top1\0x"]),
                      lambda: self.model.explain(COFFEE, device="cpu").save("x\0y"), lambda: self.model.explain("\ud800.png"),
                      lambda: whitebox.methods("fem\0"), lambda: whitebox.evaluate(COFFEE, SQUEEZENET, help=True)):
            with self.assertRaises(whitebox.UsageError):
                wrong()
        with self.assertRaises(whitebox.ModelError):
            whitebox.check("-t.onnx")

    def test_arrays(self):
        map = self.model.explain(COFFEE, device="cpu")[0].maps[0].map
        with self.assertRaises(ValueError):
            map.flags.writeable = True

    def test_copies(self):
        import copy
        import pickle

        model = whitebox.Model(SQUEEZENET, labels=[f"class {i}" for i in range(1000)])
        del self.model
        copied = copy.copy(model)
        del copied
        self.assertEqual(model.explain(COFFEE, device="cpu")[0].predictions[0].label, "class 967")
        whitebox.check(model)
        again = pickle.loads(pickle.dumps(model))
        self.assertEqual(again.labels[5], "class 5")
        e = model.explain(COFFEE, device="cpu")
        for thing in (e[0], e[0][0], e):
            with self.assertRaises(whitebox.UsageError):
                pickle.dumps(thing)

    def test_saved_in_order(self):
        e = self.model.explain([COFFEE, str(PHOTOS[0])], device="cpu")
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaises(whitebox.UsageError):
                e[::-1].save(f"{folder}/x")
            with self.assertRaises(whitebox.UsageError):
                e.save(None)
            e[:].save(f"{folder}/x")
        with self.assertRaises(whitebox.UsageError):
            e[0].sheet(write="map")

    def test_failures_are_told(self):
        with self.assertWarns(UserWarning) as caught:
            whitebox.evaluate([COFFEE, "nope.png"], self.model, "gradcam", "sparseness", device="cpu")
        self.assertIn("nope.png", str(caught.warning))

    def test_forked(self):
        """A process that was forked says so, and does not wait for ever."""
        code = textwrap.dedent(f"""
            import os, whitebox
            model = whitebox.Model({str(SQUEEZENET)!r})
            model.labels
            child = os.fork()
            if child == 0:
                try:
                    model.explain({str(COFFEE)!r}, device="cpu")
                except whitebox.Error as reason:
                    os._exit(7 if "spawn" in str(reason) else 8)
                os._exit(9)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), model.explain({str(COFFEE)!r}, device="cpu")[0].predictions[0].label)
        """)
        out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
        self.assertEqual(out.stdout.split(), ["7", "espresso"], out.stderr)

    def test_interrupts_are_ones_own(self):
        """Ctrl-C ends the main thread's call, and nobody else's."""
        code = textwrap.dedent(f"""
            import os, signal, threading, time, whitebox
            # Who started the tests may ignore interrupts, as shells do for what runs in the background.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            model = whitebox.Model({str(SQUEEZENET)!r})
            options = dict(methods="rise", settings={{"rise.samples": 300}}, device="cpu", batch=1)
            model.explain({str(COFFEE)!r}, **options)
            outcome = []
            def work():
                try:
                    for _ in range(4):
                        model.explain({str(COFFEE)!r}, **options)
                        outcome.append("done")
                except BaseException as reason:
                    outcome.append(repr(reason))
            threads = [threading.Thread(target=work) for _ in range(2)]
            [t.start() for t in threads]
            for i in range(5):
                threading.Timer(0.05 + 0.1 * i, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
                try:
                    while True:
                        model.explain({str(COFFEE)!r}, **options)
                except KeyboardInterrupt:
                    outcome.append("interrupted")
            [t.join() for t in threads]
            print(*sorted(outcome))
        """)
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        self.assertEqual(out.stdout.split(), ["done"] * 8 + ["interrupted"] * 5, out.stderr)


class Strangers(Case):
    """What a stranger stumbled over."""

    def setUp(self):
        self.model = whitebox.Model(SQUEEZENET)

    def test_what_is_there(self):
        e = self.model.explain(COFFEE, ["gradcam", "fem"], "top2", device="cpu")[0]
        self.assertTrue("gradcam" in e and ("gradcam", 967) in e and "fem" in e)
        self.assertFalse("rise" in e or ("gradcam", 3) in e)

    def test_several_maps_of_a_method(self):
        """Where one array has room for one map, none is left out in silence."""
        e = self.model.explain([COFFEE] * 2, "gradcam", [282, 285], device="cpu")
        apart = self.model.explain([COFFEE], "gradcam", layer=[10, 20], each_layer=True, device="cpu")
        both = self.model.explain([COFFEE], ["gradcam", "fem"], device="cpu")
        for call in (lambda: e.stack("gradcam"), lambda: apart.stack("gradcam"), lambda: both.stack(),
                     lambda: self.model.classify(COFFEE).stack()):
            with self.assertRaises(whitebox.UsageError):
                call()
        if has("xarray"):
            with self.assertRaises(whitebox.UsageError):
                e.to_xarray()
            data = both.to_xarray()
            self.assertEqual(int(data["gradcam_class"][0]), 967)

    def test_opacity(self):
        e = self.model.explain(COFFEE, device="cpu")[0]
        with self.assertRaises(whitebox.UsageError) as caught:
            e[0].overlay(opacity=0.6)
        self.assertIn("60", str(caught.exception))
        e[0].overlay(opacity=60)

    def test_numbers_without_sign(self):
        with self.assertWarns(UserWarning) as caught:
            self.model.explain(np.random.default_rng(0).random((3, 224, 224), np.float32), device="cpu")
        self.assertIn("already normalised", str(caught.warning))

    def test_sources(self):
        with open(COFFEE, "rb") as file:
            self.assertEqual(self.model.explain(file, device="cpu")[0].predictions[0].label, "espresso")
        folder = self.model.classify(str(PHOTOS[0].parent), device="cpu")
        self.assertEqual([pathlib.Path(e.name).name for e in folder], [p.name for p in PHOTOS])
        self.assertEqual(len(self.model.classify(np.array([str(COFFEE)] * 2), device="cpu")), 2)
        for wrong, words in ((np.zeros((3, 50, 50), np.uint8), "transpose"), (np.zeros((50, 50, 3), np.float32), "255"),
                             ({"image": 3}, "no image"), (5, "no image")):
            with self.assertRaises(whitebox.Error) as caught:
                self.model.explain(wrong)
            self.assertIn(words, str(caught.exception))

    def test_options(self):
        by_name = self.model.explain(COFFEE, "fem", layer=self.model.layers[20], settings={"fem": {"k": 1.0}}, device="cpu")[0]
        by_index = self.model.explain(COFFEE, "fem", layer=20, settings={"fem.k": 1}, device="cpu")[0]
        self.assertSame(by_name[0].map, by_index[0].map)
        own = {"resize": {"shortSide": 256}, "crop": {"width": 224, "height": 224}, "colours": "rgb", "divisor": 255,
               "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
        a = whitebox.Model(SQUEEZENET, preprocess=own).classify(COFFEE, device="cpu")[0].logits
        self.assertSame(a, whitebox.Model(SQUEEZENET, preprocess="imagenet").classify(COFFEE, device="cpu")[0].logits)
        with self.assertRaises(whitebox.MethodError):
            self.model.explain_iter([], "gradcan")

    def test_labels_of_loaders(self):
        numbers = np.random.default_rng(5).normal(size=(5, 3, 224, 224)).astype(np.float32)
        labels = np.array([3, 1, 4, 1, 5])
        loader = [(numbers[:2], labels[:2]), (numbers[2:], labels[2:])]
        found = list(self.model.explain_iter(loader, targets="labels", batch=3, device="cpu"))
        self.assertEqual([e[0].class_index for e in found], labels.tolist())
        found = list(self.model.explain_iter(numbers, targets=labels, batch=2, device="cpu"))
        self.assertEqual([e[0].class_index for e in found], labels.tolist())
        pairs = zip(numbers, labels.tolist())
        self.assertEqual([e[0].class_index for e in self.model.explain_iter(pairs, targets="labels", device="cpu")], labels.tolist())

    @unittest.skipUnless(has("tqdm"), "tqdm is not installed")
    def test_progress(self):
        code = f"import whitebox; whitebox.Model({str(SQUEEZENET)!r}).explain([{str(COFFEE)!r}] * 3, 'rise', settings={{'rise.samples': 64}}, device='cpu', progress=%s)"
        for wanted, shown in ((True, True), (None, False), (False, False)):
            out = subprocess.run([sys.executable, "-c", code % wanted], capture_output=True, text=True)
            self.assertEqual(out.returncode, 0, out.stderr)
            # Where nobody looks there is none, unless it is asked for.
            self.assertEqual("100%" in out.stderr, shown, out.stderr)

    def test_killed(self):
        """Of a command nothing goes on where Python is killed."""
        code = f"import whitebox; whitebox.evaluate({str(COFFEE)!r}, {str(SQUEEZENET)!r}, 'rise', 'max-sensitivity', device='cpu')"
        process = subprocess.Popen([sys.executable, "-c", code])
        child = None
        for _ in range(200):
            time.sleep(0.05)
            found = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if found:
                child = int(found[0])
                break
        self.assertIsNotNone(child)
        time.sleep(0.3)
        process.kill()
        process.wait()
        for _ in range(100):
            time.sleep(0.05)
            try:
                if "Z" in pathlib.Path(f"/proc/{child}/stat").read_text().split()[2]:
                    break
            except (FileNotFoundError, ProcessLookupError):
                break
        else:
            os.kill(child, signal.SIGKILL)
            self.fail("The command went on.")

    def test_broken_models(self):
        with self.assertRaises(whitebox.ModelError) as caught:
            whitebox.check("no.onnx")
        self.assertIn("no such file", str(caught.exception))


class Concurrency(Case):
    def test_threads(self):
        """Threads share a model, and even an engine, and each has what it asked for."""
        model = whitebox.Model(SQUEEZENET)
        numbers = np.random.default_rng(3).normal(size=(4, 3, 224, 224)).astype(np.float32)
        methods = ["gradcam", "fem"]
        expected = {m: [e[m].map for e in model.explain(numbers, m, device="cpu")] for m in methods}
        failures = []

        def work(number):
            try:
                for round in range(6):
                    i, method = (number + round) % 4, methods[(number + round) % 2]
                    found = model.explain(numbers[i], method, device="cpu")[0][method].map
                    self.assertSame(found, expected[method][i])
                    with self.assertRaises(whitebox.InputError):
                        model.explain("missing.png", method, device="cpu")
            except BaseException as reason:
                failures.append(reason)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(failures, [])

    def test_lock_is_released(self):
        """Other threads of Python run while it computes."""
        model = whitebox.Model(SQUEEZENET)
        model.explain(COFFEE, "rise", settings={"rise.samples": 8}, device="cpu", threads=1)
        count = [0]
        stop = threading.Event()

        def tick():
            while not stop.is_set():
                count[0] += 1
                time.sleep(0.001)

        thread = threading.Thread(target=tick)
        thread.start()
        start = time.monotonic()
        model.explain(COFFEE, "rise", settings={"rise.samples": 400}, device="cpu", threads=1)
        seconds = time.monotonic() - start
        stop.set()
        thread.join()
        self.assertGreater(count[0], 50 * seconds)

    def test_interrupt(self):
        """Ctrl-C ends a call within a batch, and the model goes on to work."""
        code = textwrap.dedent(f"""
            import os, signal, threading, time, whitebox
            signal.signal(signal.SIGINT, signal.default_int_handler)
            model = whitebox.Model({str(SQUEEZENET)!r})
            model.explain({str(COFFEE)!r}, "gradcam", device="cpu")
            for delay in (0.0, 0.0005, 0.01, 0.3, 1.0):
                start = time.monotonic()
                try:
                    threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
                    model.explain({str(COFFEE)!r}, "rise", settings={{"rise.samples": 20000}}, device="cpu")
                    print("it was not interrupted")
                except KeyboardInterrupt:
                    print("ended" if time.monotonic() - start < delay + 5 else "late")
            print(model.explain({str(COFFEE)!r}, "gradcam", device="cpu")[0].predictions[0].label)
        """)
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
        self.assertEqual(out.stdout.split(), ["ended"] * 5 + ["espresso"], out.stderr)

    def test_fork(self):
        """A process that was forked makes a model of its own."""
        code = textwrap.dedent(f"""
            import multiprocessing, whitebox
            def work(_):
                return whitebox.Model({str(SQUEEZENET)!r}).explain({str(COFFEE)!r}, device="cpu")[0].predictions[0].label
            if __name__ == "__main__":
                with multiprocessing.get_context("spawn").Pool(2) as pool:
                    print(pool.map(work, range(2)))
        """)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "main.py")
            path.write_text(code)
            out = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120)
        self.assertEqual(out.stdout.strip(), "['espresso', 'espresso']", out.stderr)


class Resources(Case):
    def test_memory(self):
        """Ten thousand explanations leave nothing behind."""
        code = textwrap.dedent("""
            import numpy as np, whitebox, sys
            sys.path.insert(0, sys.argv[1])
            model = whitebox.Model(sys.argv[2])
            numbers = np.random.default_rng(0).normal(size=(50, *model.input_shape)).astype(np.float32)
            def resident():
                return int(open("/proc/self/statm").read().split()[1]) * 4096
            def work(count):
                for e in model.explain_iter((numbers[i % 50] for i in range(count)), ["gradcam", "fem"], batch=32, device="cpu"):
                    e["gradcam"].heatmap, e["fem"].map, e.predictions
            work(1000)
            before = resident()
            work(10000)
            print(resident() - before)
        """)
        out = subprocess.run([sys.executable, "-c", code, str(ROOT), str(tiny_network())], capture_output=True, text=True, timeout=600)
        self.assertEqual(out.stderr, "")
        self.assertLess(int(out.stdout), 12 << 20)

    def test_many_engines(self):
        """Models keep few engines, and give them back."""
        model = whitebox.Model(SQUEEZENET)
        for seed in range(12):
            model.explain(COFFEE, "fem", seed=seed, device="cpu")
        self.assertEqual(len(model._engines), 4)


def tiny_network():
    """A network that takes no time, made of bytes: a convolution, a mean, ten classes."""
    path = ROOT / ".build" / "tiny.onnx"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_tiny())
    return path


def _tiny():
    # Fields of ONNX's messages, by their numbers: no package for ONNX is needed.
    def number(field, value):
        return _varint(field << 3) + _varint(value)

    def bytes_(field, value):
        value = value.encode() if isinstance(value, str) else value
        return _varint(field << 3 | 2) + _varint(len(value)) + value

    def tensor(name, array):
        dims = b"".join(number(1, side) for side in array.shape)
        return dims + number(2, 1) + bytes_(8, name) + bytes_(9, array.astype("<f4").tobytes())

    def value(name, dims):
        shape = b"".join(bytes_(1, number(1, side) if isinstance(side, int) else bytes_(2, side)) for side in dims)
        return bytes_(1, name) + bytes_(2, bytes_(1, number(1, 1) + bytes_(2, shape)))

    def node(kind, inputs, outputs, attributes=b""):
        return b"".join(bytes_(1, i) for i in inputs) + b"".join(bytes_(2, o) for o in outputs) + bytes_(4, kind) + attributes

    def ints(name, values):
        return bytes_(5, bytes_(1, name) + number(20, 7) + b"".join(number(8, v) for v in values))

    random = np.random.default_rng(0)
    graph = b"".join([
        bytes_(1, node("Conv", ["x", "w"], ["c"], ints("kernel_shape", [3, 3]) + ints("strides", [4, 4]))),
        bytes_(1, node("Relu", ["c"], ["r"])),
        bytes_(1, node("GlobalAveragePool", ["r"], ["g"])),
        bytes_(1, node("Flatten", ["g"], ["f"])),
        bytes_(1, node("Gemm", ["f", "m"], ["y"])),
        bytes_(2, "tiny"),
        bytes_(5, tensor("w", random.normal(size=(4, 3, 3, 3)))),
        bytes_(5, tensor("m", random.normal(size=(4, 10)))),
        bytes_(11, value("x", ["N", 3, 32, 32])),
        bytes_(12, value("y", ["N", 10])),
    ])
    return number(1, 8) + bytes_(7, graph) + bytes_(8, bytes_(1, "") + number(2, 13))


def _varint(value):
    out = b""
    while True:
        part, value = value & 127, value >> 7
        out += bytes([part | (128 if value else 0)])
        if not value:
            return out


class Commands(Case):
    def test_lists(self):
        self.assertIn("gradcam", [m["name"] for m in whitebox.methods()])
        self.assertEqual(whitebox.methods("fem")[0]["settings"][0]["name"], "k")
        self.assertIn("insertion", [m["name"] for m in whitebox.metrics()])
        self.assertEqual(len(whitebox.methods(["fem", "rise"])), 2)
        self.assertIn("cpu", whitebox.devices())
        with self.assertRaises(whitebox.MethodError):
            whitebox.methods("nothing")

    def test_program(self):
        out = subprocess.run([sys.executable, "-m", "whitebox", "--version"], capture_output=True, text=True)
        self.assertEqual(out.stdout.strip(), f"whitebox {whitebox.__version__}")
        out = subprocess.run([sys.executable, "-m", "whitebox", "missing.png", "--model", str(SQUEEZENET)], capture_output=True, text=True)
        self.assertEqual(out.returncode, 3)

    def test_verify(self):
        self.assertTrue(whitebox.verify(whitebox.Model(SQUEEZENET), methods="gradcam", device="cpu")["same"])

    def test_check(self):
        self.assertIn("well", whitebox.check(SQUEEZENET))

    def test_evaluate(self):
        model = whitebox.Model(SQUEEZENET)
        with tempfile.TemporaryDirectory() as folder:
            found = whitebox.evaluate(str(COFFEE), model, ["gradcam", "fem"], ["insertion", "sparseness"], device="cpu",
                                      output=f"{folder}/out", metric_settings={"insertion.steps": 8})
            self.assertEqual(found.folder, f"{folder}/out")
            self.assertTrue(os.path.exists(f"{folder}/out/evaluation.json"))
        self.assertIn("summary", found)
        if has("pandas"):
            self.assertEqual(len(found.to_pandas()), 4)
        if has("PIL"):
            from PIL import Image

            again = whitebox.evaluate(Image.open(COFFEE), model, ["gradcam", "fem"], ["insertion", "sparseness"], device="cpu",
                                      metric_settings={"insertion.steps": 8})
            self.assertEqual(json.dumps(found["summary"]), json.dumps(again["summary"]))
            if has("pandas"):
                self.assertEqual(set(again.to_pandas()["image"]), {"image-0.png"})
            self.assertIsNone(again.folder)
        # A folder, and what lies below it.
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(f"{folder}/a/b")
            for place in ("a/1.png", "a/b/2.png"):
                shutil.copy(COFFEE, f"{folder}/{place}")
            for options, count in ((dict(), 1), (dict(recursive=True), 2)):
                deep = whitebox.evaluate(f"{folder}/a", model, "fem", "sparseness", device="cpu", **options)
                self.assertEqual(len(deep._csv.splitlines()) - 1, count)
        with self.assertRaises(whitebox.Error):
            whitebox.evaluate(np.zeros(model.input_shape, np.float32), model)

    def test_compare(self):
        with tempfile.TemporaryDirectory() as folder:
            path = whitebox.compare(str(COFFEE), SQUEEZENET, ["gradcam", "fem"], f"{folder}/page.html", device="cpu", quiet=True)
            self.assertIn("<!doctype html>", pathlib.Path(path).read_text().lower())


class Types(unittest.TestCase):
    @unittest.skipUnless(has("mypy"), "mypy is not installed")
    def test_types(self):
        """What the package says of types holds together, as a user's checker sees it."""
        code = textwrap.dedent("""
            import whitebox
            model = whitebox.Model("a.onnx", size=(224, 224))
            for e in model.explain_iter([], methods="fem", batch=4):
                label: str = e.predictions[0].label
                method: str = e["fem"].method
                both: str = [m for m in e][0].title
            error: type = whitebox.InputError
            whitebox.evaluate([], model).to_pandas()
            model.explain([], wrong=1)
        """)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "use.py")
            path.write_text(code)
            out = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(path)],
                                 capture_output=True, text=True, cwd=folder)
        lines = [line for line in out.stdout.splitlines() if ": error:" in line]
        self.assertEqual(len(lines), 1, out.stdout + out.stderr)
        self.assertIn('Unexpected keyword argument "wrong"', lines[0])


class Documentation(unittest.TestCase):
    def test_docstrings(self):
        """Everything that is public is described, and the examples are true."""
        import doctest
        import importlib

        here = os.getcwd()
        os.chdir(ROOT)
        try:
            for name in ("_model", "_commands", "_explanation", "_export"):
                module = importlib.import_module("whitebox." + name)
                result = doctest.testmod(module)
                self.assertEqual(result.failed, 0, name)
        finally:
            os.chdir(here)
        for name in whitebox.__all__:
            self.assertTrue(isinstance(getattr(whitebox, name), (int, str)) or getattr(whitebox, name).__doc__, name)

    def test_stub(self):
        """The stub names what there is."""
        stub = (pathlib.Path(whitebox.__file__).parent / "__init__.pyi").read_text()
        for name in whitebox.__all__:
            self.assertRegex(stub, rf"\b{name}\b")


if __name__ == "__main__":
    unittest.main()
