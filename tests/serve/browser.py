"""Drives a headless Chromium by the WebDriver protocol, with the standard library only."""
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--hide-scrollbars"]


def is_here():
    """True if Chromium and its driver are installed."""
    return bool(shutil.which("chromedriver") and shutil.which("chromium"))


class Browser:
    """One window; ends with the with-block."""

    def __init__(self, width=1280, height=900, dark=False):
        self.profile = tempfile.mkdtemp()
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True)
        for line in self.driver.stdout:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                break
        self.root = f"http://127.0.0.1:{found[1]}/session"
        options = {"binary": shutil.which("chromium"),
                   "args": FLAGS + [f"--window-size={width},{height}",
                                    f"--user-data-dir={self.profile}"]}
        made = self.command("POST", "", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"}}}})
        self.root += "/" + made["sessionId"]
        self.devtools("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=1, mobile=width < 600)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.command("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.driver.stdout.close()
            shutil.rmtree(self.profile, ignore_errors=True)

    def command(self, method, path, body=None):
        request = urllib.request.Request(self.root + path, method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def devtools(self, name, **parameters):
        return self.command("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def open(self, url):
        self.command("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """What a piece of JavaScript returns."""
        return self.command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.textContent.trim()", selector)

    def wait(self, script, seconds=20):
        """Waits until a JavaScript expression is true."""
        until = time.monotonic() + seconds
        while not self.run("return Boolean(" + script + ")"):
            if time.monotonic() > until:
                raise AssertionError("never came true: " + script)
            time.sleep(0.1)

    def keys(self, *keys):
        """Presses keys one after another, where the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.command("POST", "/actions", {"actions": [
            {"type": "key", "id": "keyboard", "actions": actions}]})

    def drop(self, selector, content, name="picture.png", kind="image/png"):
        """Drops a file on an element."""
        self.run("""
            const bytes = Uint8Array.from(atob(arguments[1]), c => c.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], arguments[2], { type: arguments[3] }));
            const to = document.querySelector(arguments[0]);
            for (const event of ["dragenter", "dragover", "drop"])
                to.dispatchEvent(new DragEvent(event, { dataTransfer: data, bubbles: true,
                                                        cancelable: true }));""",
                 selector, base64.b64encode(content).decode(), name, kind)

    def screenshot(self, path):
        """The whole page as a PNG file."""
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        data = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip={
            "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1})["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def complaints(self):
        """What the browser wrote to its console: errors, and violations of the content policy."""
        return [each["message"] for each in self.command("POST", "/se/log", {"type": "browser"})
                if each["level"] in ("SEVERE", "WARNING")]


def keep(browser, name):
    """Keeps a screenshot, if CRESSET_SCREENSHOTS names a folder for it."""
    folder = os.environ.get("CRESSET_SCREENSHOTS")
    if folder:
        browser.screenshot(os.path.join(folder, name + ".png"))
