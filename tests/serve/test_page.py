"""The page of `cresset serve` in headless Chromium, where that is installed: a picture is dropped
and the answer read, a digit is drawn with the keyboard, at desktop and phone size, by day and by
night. With CRESSET_SCREENSHOTS=FOLDER it keeps pictures of what it saw."""
import os
import sys
import unittest

from browser import Browser, is_here, keep
from serving import Server, ServingTest, png, train

ANSWERED = ("!document.querySelector('#answer').hidden && "
            "!document.querySelector('#result').hasAttribute('aria-busy')")
SPACE, DOWN, TAB, ENTER = "\ue00d", "\ue015", "\ue004", "\ue007"
KEY = "0123456789abcdef-key"


class PageTest(ServingTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = train(cls.folder, "other", model="mlp")

    def open(self, browser, server, models=1):
        browser.open(f"http://127.0.0.1:{server.port}/")
        browser.wait(f"document.querySelectorAll('.model').length == {models}")

    def assert_quiet(self, browser):
        """Nothing went wrong, nothing was loaded from elsewhere, nothing is wider than the page."""
        self.assertEqual(browser.complaints(), [])
        self.assertEqual(browser.run("""return performance.getEntriesByType("resource")
            .map(e => e.name).filter(name => !name.startsWith(location.origin)
                                             && !/^(data|blob):/.test(name))"""), [])
        self.assertLessEqual(browser.run("return document.documentElement.scrollWidth"),
                             browser.run("return innerWidth"))

    def test_dropped_picture(self):
        with Server(self.model, self.other) as server:
            for name, width, height, dark in (("desktop", 1280, 900, False),
                                              ("phone-dark", 390, 844, True)):
                with Browser(width, height, dark) as browser:
                    self.open(browser, server, 2)
                    browser.run("document.querySelector('#model').value = 'places/1'")
                    browser.drop("#drop", self.pictures[2])
                    browser.wait(ANSWERED)
                    self.assertEqual(browser.text("#best-label"), "2")
                    self.assertRegex(browser.text("#best-share"), r"^\d+\.\d %$")
                    self.assertTrue(browser.text("#say").startswith("2, "))
                    self.assertEqual(browser.run(
                        "return document.querySelectorAll('#bars li').length"), 5)
                    self.assertTrue(browser.run(
                        "return document.querySelector('#seen-picture').naturalWidth == 28"))
                    self.assertEqual(browser.text("#fact-batch"), "alone")
                    self.assertIn("ms", browser.text("#fact-time"))
                    self.assertIn("/predictions/", browser.text("code"))
                    before = browser.run("return document.querySelector('#seen-picture').src")
                    browser.run("document.querySelectorAll('#bars button')[1].click()")
                    browser.wait("document.querySelectorAll('#bars button')[1].getAttribute("
                                 "'aria-pressed') == 'true'")
                    after = browser.run("return document.querySelector('#seen-picture').src")
                    self.assertNotEqual(before, after)
                    self.assert_quiet(browser)
                    keep(browser, name)

    def test_words_for_what_cannot_be(self):
        with Server(self.model) as server, Browser() as browser:
            self.open(browser, server)
            browser.drop("#drop", b"rubbish", "notes.png")
            browser.wait("!document.querySelector('#problem').hidden")
            self.assertIn("the picture", browser.text("#problem"))
            browser.drop("#drop", png(bytes(784)))
            browser.wait(ANSWERED)
            self.assertTrue(browser.run("return document.querySelector('#problem').hidden"))
            server.stop()
            browser.drop("#drop", png(bytes(784)))
            browser.wait("!document.querySelector('#problem').hidden")
            self.assertEqual(browser.text("#problem"), "The server does not answer.")

    def test_drawing_with_the_keyboard(self):
        with Server(self.model) as server, Browser(dark=True) as browser:
            self.open(browser, server)
            for _ in range(20):
                browser.keys(TAB)
                if browser.run("return document.activeElement.id") == "tab-picture":
                    break
            browser.keys("\ue014") # the right arrow
            self.assertEqual(browser.run("return document.activeElement.id"), "tab-draw")
            browser.keys(TAB)
            self.assertEqual(browser.run("return document.activeElement.id"), "canvas")
            browser.keys(SPACE, *[DOWN] * 8, SPACE)
            browser.wait(ANSWERED)
            self.assertTrue(browser.text("#best-label"))
            self.assertTrue(browser.run(
                "return document.querySelector('#own-picture').src.startsWith('data:image/png')"))
            browser.keys(TAB, ENTER)
            self.assertEqual(browser.run("return document.activeElement.id"), "canvas")
            self.assert_quiet(browser)
            keep(browser, "drawing-dark")

    def test_key(self):
        path = os.path.join(self.folder, "keys")
        with open(path, "w", encoding="utf-8") as file:
            file.write(KEY + "\n")
        with Server(self.model, "--api-key-file", path) as server, Browser() as browser:
            browser.open(f"http://127.0.0.1:{server.port}/")
            browser.wait("document.activeElement.id == 'key'")
            browser.keys(*KEY, ENTER)
            browser.wait("document.querySelectorAll('.model').length == 1")
            self.assertTrue(browser.run("return document.querySelector('#key-form').hidden"))
            self.assertIn("$KEY", browser.text("code"))
            browser.drop("#drop", self.pictures[1])
            browser.wait(ANSWERED)
            self.assertEqual(browser.text("#best-label"), "1")

    def test_model_that_went_away(self):
        with Server(self.model) as server, Browser() as browser:
            server.post("/v2/repository/models/places/unload")
            self.open(browser, server)
            self.assertEqual(browser.text("#state"), "0 of 1 models ready")
            self.assertEqual(browser.text(".pill"), "not loaded")
            browser.drop("#drop", self.pictures[1])
            browser.wait("!document.querySelector('#problem').hidden")
            self.assertIn("no model here that takes pictures", browser.text("#problem"))


if __name__ == "__main__":
    if not is_here():
        print("skipped: chromium and chromedriver are not installed")
        sys.exit(77)
    unittest.main()
