"""Reports as a browser shows them: every control changes what is seen, nothing is fetched or run that is not the page's own,
axe-core finds no fault in either theme, and hundreds of pictures stay usable.

`make test-report` runs it with what it needs (requirements-report.txt, and Debian's chromium). WHITEBOX_APP names another program,
WHITEBOX_SCREENSHOTS a folder for pictures of the pages.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

root = Path(__file__).resolve().parents[2]
app = Path(os.environ.get("WHITEBOX_APP", root / ".build/release/app"))
model = root / "models/squeezenet1.1.onnx"
photos = root / "demo/photos"
chromium = shutil.which("chromium")

try:
    import numpy as np
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None

hostile_labels = [
    "<script>window.hurt = 1</script>",
    "</script><img src=x onerror='window.hurt = 2'>",
    "<!--<script>",
    "line\u2028separator & ampersand",
    "虎斑猫",
    "قطة مخططة",
]
hostile_name = "<img src=x onerror='window.hurt = 3'> 猫 قطة.jpg"


def block(page: str, name: str) -> dict:
    """The JSON of a block of a page."""
    return json.loads(re.search(f'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)[1])


def with_block(page: str, name: str, content: dict) -> str:
    """The page with other JSON in a block."""
    text = json.dumps(content).replace("<", "\\u003c").replace("&", "\\u0026")
    start = f'<script type="application/json" id="{name}">'
    before, rest = page.split(start, 1)
    return before + start + text + rest[rest.index("</script>") :]


@unittest.skipIf(sync_playwright is None, "needs what `make test-report` installs")
@unittest.skipIf(chromium is None, "needs Debian's chromium")
@unittest.skipUnless(app.exists() and model.exists() and photos.is_dir(), "needs `make build models photos`")
class ReportTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="whitebox-report-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.playwright = sync_playwright().start()
        cls.addClassCleanup(cls.playwright.stop)
        cls.browser = cls.playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        cls.addClassCleanup(cls.browser.close)
        cls.explain(
            "plain.html", photos / "dog.jpg", photos / "coffee.png", photos / "rocket.jpg", "--method", "gradcam,fem,saliency,input-x-gradient",
            "--class", "top2", "--output", cls.folder / "plain",
        )
        page = (cls.folder / "plain.html").read_text()
        # As `app evaluate` will have them.
        picture = block(page, "picture-0")
        best = picture["predictions"][0]["class"]
        steps = [1 - i / 20 for i in range(21)]
        picture["curves"] = [
            {"method": method, "class": best, "name": kind, "scores": [s ** power for s in (steps if kind == "deletion" else steps[::-1])]}
            for method, power in (("gradcam", 2), ("saliency", 1))
            for kind in ("deletion", "insertion")
        ]
        picture["metrics"] = [
            {"method": method, "class": best, "name": name, "value": value, "higher": name == "insertion"}
            for method, name, value in (
                ("gradcam", "insertion", 0.7), ("saliency", "insertion", 0.9), ("fem", "insertion", 0.8), ("gradcam", "deletion", 0.1), ("saliency", "deletion", 0.3),
            )
        ]
        (cls.folder / "measured.html").write_text(with_block(page, "picture-0", picture))
        labels = [f"class {i}" for i in range(1000)]
        known = block(page, "picture-0")["predictions"]
        for prediction, label in zip(known, hostile_labels):
            labels[prediction["class"]] = label
        # The second class of the picture has a name in Chinese, the third one in Arabic.
        labels[known[1]["class"]], labels[known[2]["class"]] = hostile_labels[4], hostile_labels[5]
        labels[known[0]["class"]] = "".join(hostile_labels[:4])
        (cls.folder / "labels.json").write_text(json.dumps(labels))
        shutil.copy(photos / "dog.jpg", cls.folder / hostile_name)
        (cls.folder / "bad <b>.png").write_text("no picture")
        cls.explain(
            "hostile.html", cls.folder / hostile_name, cls.folder / "bad <b>.png", "--class", "top3", "--labels", cls.folder / "labels.json",
            "--output", cls.folder / "hostile", code=2,
        )

    @classmethod
    def explain(cls, report, *arguments, code=0):
        command = [app, "explain", *arguments, "--model", model, "--device", "cpu", "--report", cls.folder / report]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        assert done.returncode == code, done.stderr

    def open(self, name, *, scheme="light", width=1280, height=900, bypass_csp=False):
        """A page; at the end nothing may have been complained of, or asked for."""
        context = self.browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": height}, bypass_csp=bypass_csp, has_touch=width < 500
        )
        page = context.new_page()
        complaints = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url))
        page.goto((self.folder / name).as_uri())
        page.wait_for_selector("body[data-picture]")
        page.wait_for_timeout(100)

        def end():
            context.close()
            self.assertEqual(complaints, [])

        self.addCleanup(end)
        return page

    def pixels(self, page, selector="#grid canvas"):
        """What is drawn on all canvases of a kind, once it is."""
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return page.eval_on_selector_all(selector, "all => all.map(c => c.toDataURL())")

    def set(self, page, selector, value):
        page.eval_on_selector(
            selector, "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })) }", str(value)
        )

    # What is seen

    def test_controls_change_what_is_seen(self):
        page = self.open("plain.html")
        for selector, value in [
            ("#opacity", 20), ("#share", 10), ("#colour", "jet"), ("#signs", "for"), ("#scale", "own"), ("#cells", "plain"), ("#extent", "whole"),
        ]:
            with self.subTest(selector):
                before = self.pixels(page)
                self.set(page, selector, value)
                self.assertNotEqual(before, self.pixels(page))

    def test_nothing_is_drawn_at_opacity_0(self):
        page = self.open("plain.html")
        self.set(page, "#opacity", 0)
        drawn = self.pixels(page, "#grid .map canvas")
        self.assertEqual(len(set(drawn)), 1)

    def test_choices(self):
        page = self.open("plain.html")
        # Two classes by three methods, and FEM.
        self.assertEqual(page.locator("figure").count(), 7)
        known = page.eval_on_selector("#class", "s => [...s.options].map(o => o.value)")
        page.select_option("#class", known[1])
        self.assertEqual(page.locator("figure").count(), 4)
        layers = page.eval_on_selector("#layer", "s => [...s.options].map(o => o.value)")
        self.assertEqual(len(layers), 3)
        page.select_option("#layer", "the input")
        self.assertEqual(page.locator("figure").count(), 2)
        page.select_option("#layer", "all")
        page.click("#chosen summary")
        page.uncheck("#chosen label:has-text('FEM') input")
        self.assertEqual(page.locator("figure").count(), 3)

    def test_wipe(self):
        page = self.open("plain.html")
        line = "() => document.getElementById('line').style.left"
        page.focus("#border")
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        self.assertEqual(page.evaluate(line), "55%")
        self.assertEqual(page.eval_on_selector("#right-map", "c => c.style.clipPath"), "inset(0px 0px 0px 55%)")
        stage = page.locator("#stage")
        stage.scroll_into_view_if_needed()
        box = stage.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 50)
        page.mouse.down()
        page.mouse.up()
        self.assertEqual(page.evaluate(line), "20%")
        before = self.pixels(page, "#left-map")
        page.select_option("#left", "photograph")
        self.assertNotEqual(before, self.pixels(page, "#left-map"))

    def test_reads_values_by_mouse_and_keyboard(self):
        page = self.open("plain.html")
        # By Tab from the last control to the first map, whose strongest place it goes to.
        page.focus("#chosen summary")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        values = page.locator(".value").all_text_contents()
        self.assertTrue(all(values), values)
        best = block((self.folder / "plain.html").read_text(), "picture-0")["predictions"][0]["class"]
        raw = np.load(self.folder / f"plain/dog.gradcam.{best}.map.npy")
        self.assertAlmostEqual(float(values[0].split(",")[0]), float(raw.max()), delta=float(raw.max()) / 100)
        self.assertIn("Grad-CAM", page.text_content("#place"))
        place = page.text_content("#place")
        page.keyboard.press("ArrowLeft")
        self.assertNotEqual(place, page.text_content("#place"))
        page.keyboard.press("PageDown")
        page.keyboard.press("Enter")
        self.assertIn("100 % of the largest", page.locator(".value").all_text_contents()[1] + page.text_content("#place"))
        page.keyboard.press("Escape")
        self.assertEqual(page.text_content("#place"), "")
        page.hover("figure:nth-child(2) .map", position={"x": 60, "y": 80})
        self.assertTrue(all(page.locator(".value").all_text_contents()))
        self.assertRegex(page.text_content("#place"), r"^Pixel \d+, \d+ of the photograph")

    def test_agreement_is_pearsons(self):
        page = self.open("plain.html")
        best = block((self.folder / "plain.html").read_text(), "picture-0")["predictions"][0]["class"]

        def enlarged(name):
            grid = np.load(self.folder / f"plain/dog.{name}.map.npy")
            at = np.clip((np.arange(112) + 0.5) * grid.shape[0] / 112 - 0.5, 0, grid.shape[0] - 1)
            rows = np.array([np.interp(at, np.arange(grid.shape[1]), row) for row in grid])
            fine = np.array([np.interp(at, np.arange(grid.shape[0]), column) for column in rows.T]).T
            return fine.reshape(56, 2, 56, 2).mean((1, 3)).ravel()

        expected = np.corrcoef(enlarged(f"gradcam.{best}"), enlarged("fem"))[0, 1]
        names = page.locator("#matrix tbody th").all_text_contents()
        column = next(i for i, name in enumerate(names) if "FEM" in name)
        found = page.locator("#matrix tbody tr").first.locator("td").all_text_contents()[column]
        self.assertAlmostEqual(float(found.replace("−", "-")), expected, delta=0.006)

    def test_curves_and_metrics(self):
        page = self.open("plain.html")
        self.assertTrue(page.is_hidden("#curves") and page.is_hidden("#metrics"))
        page = self.open("measured.html")
        self.assertTrue(page.is_visible("#curves") and page.is_visible("#metrics"))
        self.assertEqual(page.locator("#charts path").count(), 4)
        before = self.pixels(page, "#charts canvas")
        self.set(page, "#pixels", 60)
        after = self.pixels(page, "#charts canvas")
        self.assertTrue(all(a != b for a, b in zip(before, after)))
        rows = lambda: page.locator("#metrics tbody th").all_text_contents()
        # The best first; again, the worst.
        page.click("#metrics thead button:has-text('insertion')")
        self.assertIn("Saliency", rows()[0])
        page.click("#metrics thead button:has-text('insertion')")
        self.assertIn("Grad-CAM", rows()[0])
        self.assertEqual(page.get_attribute("#metrics th:has-text('insertion')", "aria-sort"), "ascending")
        page.click("#metrics thead button:has-text('deletion')")
        self.assertIn("Grad-CAM", rows()[0])

    def test_tables_of_all_pictures(self):
        text = (self.folder / "measured.html").read_text()
        head = block(text, "report")
        head["metrics"] = [{"method": "gradcam", "class": None, "name": "insertion", "value": 0.7, "higher": True, "low": 0.6, "high": 0.8, "pictures": 12}]
        head["tables"] = [{"title": "Cost of <b>", "head": ["Method", "Time"], "rows": [["gradcam", "3 ms"]], "remarks": ["<b>fem</b> does not notice."], "lines": []},
                          {"title": "Weights made random", "head": ["Method", "head", "stem", "other class"], "rows": [["gradcam", "0.5", "–", "0.1"], ["fem", "1", "0.9", "–"]],
                           "remarks": [], "lines": [[0.5, None], [1, 0.9]]}]
        (self.folder / "all.html").write_text(with_block(text, "report", head))
        page = self.open("all.html")
        shown = page.inner_text("#metrics-tables")
        for words in ("0.6 … 0.8, n = 12", "Cost of <b>", "3 ms", "<b>fem</b> does not notice."):
            self.assertIn(words, shown)
        self.assertEqual(page.locator("#metrics table").count(), 4)
        # Two lines over the two columns that have numbers of them, one of which has a gap.
        self.assertEqual(page.locator("#metrics svg.lines path").count(), 2)
        self.assertEqual(page.locator("#metrics svg.lines circle").count(), 3)
        self.assertIn("stem", page.text_content("#metrics svg.lines"))
        self.assertNotIn("other class", page.text_content("#metrics svg.lines"))

    def test_other_pictures(self):
        page = self.open("plain.html")
        before = self.pixels(page)
        page.keyboard.press("Tab")
        page.locator("#list button").nth(1).focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-picture='1']")
        self.assertIn("coffee", page.text_content("#name"))
        self.assertNotEqual(before, self.pixels(page))
        page.click("#next")
        page.wait_for_selector("body[data-picture='2']")
        self.assertTrue(page.is_disabled("#next"))

    # What is not

    def test_hostile_texts_are_text(self):
        page = self.open("hostile.html")
        self.assertIsNone(page.evaluate("() => window.hurt ?? null"))
        self.assertEqual(page.text_content("#name"), hostile_name)
        said = page.text_content("#predictions")
        for label in hostile_labels:
            self.assertIn(label.replace("\u2028", "\\u{2028}"), said)
        self.assertEqual(page.locator("main img, main script").count(), 0)
        directions = page.eval_on_selector_all("#predictions bdi", "all => all.map(b => getComputedStyle(b).direction)")
        self.assertEqual(directions[:3], ["ltr", "ltr", "rtl"])
        # What could not be explained says why.
        page.locator("#list button").nth(1).click()
        self.assertIn("bad <b>.png", page.text_content("#error"))
        self.assertTrue(page.is_hidden("#maps"))
        source = (self.folder / "hostile.html").read_text()
        self.assertNotIn("<script>window.hurt", source)
        self.assertNotIn("\u2028", source)

    def test_nothing_comes_from_elsewhere(self):
        source = (self.folder / "plain.html").read_text()
        self.assertIn("default-src 'none'", source)
        self.assertNotRegex(source, r"https?://(?!www\.w3\.org/2000/svg)")

    def test_axe_finds_no_fault(self):
        for scheme, width in [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]:
            for name in ["measured.html", "hostile.html"]:
                with self.subTest(name=name, scheme=scheme, width=width):
                    # The policy would keep axe out.
                    page = self.open(name, scheme=scheme, width=width, height=844, bypass_csp=True)
                    page.click("#chosen summary") if page.is_visible("#chosen summary") else None
                    found = Axe().run(page).response
                    self.assertGreater(len(found["passes"]), 25)
                    self.assertEqual([(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]], [])

    def test_fits_a_telephone(self):
        page = self.open("measured.html", width=390, height=844)
        self.assertLessEqual(page.evaluate("() => document.documentElement.scrollWidth"), 390)
        page.locator("figure .map").first.scroll_into_view_if_needed()
        page.locator("figure .map").first.tap(position={"x": 40, "y": 50})
        self.assertTrue(all(page.locator(".value").all_text_contents()))
        # Of a table that is cut there is a hint, and of one that fits there is none.
        hint = lambda: page.evaluate("() => getComputedStyle(document.querySelector('#matrix'), '::after').content")
        page.wait_for_selector("#matrix.more")
        self.assertIn("scroll", hint())
        page.set_viewport_size({"width": 1280, "height": 844})
        page.wait_for_selector("#matrix:not(.more)")
        self.assertEqual(hint(), "none")

    def test_prints(self):
        page = self.open("measured.html")
        page.emulate_media(media="print")
        self.assertTrue(page.is_hidden("#controls") and page.is_visible("#grid") and page.is_visible("#command"))
        self.assertGreater(len(page.pdf()), 100_000)

    def test_size(self):
        page = (self.folder / "plain.html").stat().st_size
        self.assertLess(page / 3, 1_000_000)
        picture = block((self.folder / "plain.html").read_text(), "picture-0")
        self.assertTrue(base64.b64decode(picture["photo"]).startswith(b"\xff\xd8\xff"))

    def test_two_hundred_pictures(self):
        self.explain("six.html", photos / "dog.jpg", "--method", "gradcam,fem,layercam,hirescam,saliency,input-x-gradient", "--output", self.folder / "six")
        page = (self.folder / "six.html").read_text()
        head, picture = block(page, "report"), block(page, "picture-0")
        entry = head["pictures"][0]
        head["pictures"] = [entry | {"id": f"picture-{i}", "name": f"photos/{i}.jpg"} for i in range(200)]
        text = json.dumps(picture)
        blocks = "".join(f'<script type="application/json" id="picture-{i}">{text}</script>' for i in range(1, 200))
        page = with_block(page, "report", head)
        end = page.index("</script>", page.index('id="picture-0"')) + len("</script>")
        (self.folder / "many.html").write_text(page[:end] + blocks + page[end:])
        start = time.monotonic()
        shown = self.open("many.html")
        seconds = time.monotonic() - start
        heap = shown.evaluate("() => performance.memory.usedJSHeapSize")
        size = (self.folder / "many.html").stat().st_size
        print(f"\n200 pictures by 6 methods: {size / 1e6:.0f} MB, shown after {seconds:.2f} s, {heap / 1e6:.0f} MB of JavaScript's memory")
        self.assertLess(seconds, 3)
        self.set(shown, "#find", "77")
        self.assertEqual(shown.text_content("#found"), "2 of 200")
        start = time.monotonic()
        shown.locator("#list button:visible").nth(1).click()
        shown.wait_for_selector("body[data-picture='177']")
        self.assertLess(time.monotonic() - start, 1.5)

    def test_is_looked_at(self):
        """No check: pictures of the pages for whoever wants to look at them."""
        folder = os.environ.get("WHITEBOX_SCREENSHOTS")
        if not folder:
            self.skipTest("WHITEBOX_SCREENSHOTS names no folder")
        Path(folder).mkdir(parents=True, exist_ok=True)
        for scheme, width in [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]:
            for name in ["measured", "hostile"]:
                page = self.open(f"{name}.html", scheme=scheme, width=width)
                page.screenshot(path=f"{folder}/{name}-{scheme}-{width}.png", full_page=True)


if __name__ == "__main__":
    unittest.main()
