"""Starts the built command as a server for the tests of this folder, on models that are trained for
a moment on pictures made here, and asks it over HTTP. CRESSET names the program."""
import gzip
import http.client
import json
import os
import random
import re
import signal
import struct
import subprocess
import tempfile
import time
import unittest
import zlib

CRESSET = os.path.abspath(os.environ.get("CRESSET", "build/cresset"))
SIDE = 28
CLASSES = 4
NAMES = ("upper left", "upper right", "lower left", "lower right")


def picture(label, generator):
    """SIDE x SIDE bytes: a bright quarter that tells the class, and noise."""
    pixels = bytearray(generator.randrange(80) for _ in range(SIDE * SIDE))
    for y in range(SIDE // 2):
        for x in range(SIDE // 2):
            at = (y + label // 2 * SIDE // 2) * SIDE + x + label % 2 * SIDE // 2
            pixels[at] = min(255, pixels[at] + 150)
    return bytes(pixels)


def png(pixels, width=SIDE, height=SIDE, channels=1):
    """A PNG file of 8-bit pixels, grey or in colours."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    row = width * channels
    rows = b"".join(b"\0" + pixels[y * row:(y + 1) * row] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def write_data(folder, train=240, test=40, seed=1):
    """Writes an idx data set that a small net learns in a moment."""
    generator = random.Random(seed)
    for name, count in (("train", train), ("t10k", test)):
        labels = bytes(i % CLASSES for i in range(count))
        images = [picture(label, generator) for label in labels]
        with gzip.open(os.path.join(folder, f"{name}-images-idx3-ubyte.gz"), "wb") as file:
            file.write(struct.pack(">IIII", 0x803, count, SIDE, SIDE) + b"".join(images))
        with gzip.open(os.path.join(folder, f"{name}-labels-idx1-ubyte.gz"), "wb") as file:
            file.write(struct.pack(">II", 0x801, count) + labels)


def train(folder, name, model="lenet5", seed=1, epochs=2):
    """A run of that name in the folder, and its path."""
    data = os.path.join(folder, "data")
    if not os.path.exists(data):
        os.mkdir(data)
        write_data(data)
    out = os.path.join(folder, name)
    done = subprocess.run([CRESSET, "train", "--data", data, "--model", model, "--epochs",
                           str(epochs), "--batch-size", "16", "--lr", "0.01", "--seed", str(seed),
                           "--out", out, "--no-report", "--quiet"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    return out


class Answer:
    """Status, headers and body of one answer."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Server:
    """A running `cresset serve`; ends with the with-block."""

    def __init__(self, *words, env=None):
        self.log = tempfile.NamedTemporaryFile(mode="r", suffix=".jsonl")
        self.process = subprocess.Popen(
            [CRESSET, "serve", *map(str, words), "--port", "0", "--access-log", self.log.name],
            stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        first = self.process.stderr.readline()
        found = re.search(r"(https?)://(.+):(\d+);", first)
        if not found:
            self.process.wait()
            raise AssertionError(f"no server: {first}")
        self.scheme, self.host, self.port = found[1], found[2].strip("[]"), int(found[3])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.log.close()

    def connect(self, timeout=30):
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None):
        """The answer to one request on a connection of its own."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def post(self, path, body=None, **headers):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        return self.ask("POST", path, body, headers)

    def infer(self, model, *rows, name="input", shape=None, **fields):
        """The answer to a request with one tensor of numbers."""
        shape = shape or [len(rows), 1, SIDE, SIDE]
        return self.post(f"/v2/models/{model}/infer", {
            "inputs": [{"name": name, "shape": shape, "datatype": "FP32",
                        "data": [value for row in rows for value in row]}], **fields})

    def metric(self, name, **labels):
        """The value of a metric."""
        pattern = name + (r"\{" + ",".join(f'{key}="{value}"' for key, value in labels.items())
                          + r"\}" if labels else "") + r" (\S+)"
        found = re.search("^" + pattern + "$", self.get("/metrics").body.decode(), re.M)
        return float(found[1]) if found else None

    def events(self):
        """The lines of the log so far."""
        time.sleep(0.3)
        with open(self.log.name, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def wait_for(self, event, count=1, seconds=15):
        """Waits until the log has so many events of a kind."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = [each for each in self.events() if each["event"] == event]
            if len(found) >= count:
                return found
        raise AssertionError(f"no {event} in the log: {self.events()}")

    def stop(self, number=signal.SIGTERM):
        """Its exit status, and what it wrote on standard error."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        errors = self.process.communicate(timeout=60)[1]
        return self.process.returncode, errors


class ServingTest(unittest.TestCase):
    """A test case with two trained models and a folder of its own."""

    words = ()

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.model = train(folder.name, "places")
        generator = random.Random(5)
        cls.pixels = [picture(label, generator) for label in range(CLASSES)]
        cls.pictures = [png(pixels) for pixels in cls.pixels]

    def assert_refused(self, answer, status, words):
        """A refusal with a status and a sentence that holds some words."""
        self.assertEqual(answer.status, status, answer.body)
        self.assertIn(words, answer.json["error"])
        self.assertEqual(answer.headers["Content-Type"], "application/json")

    def assert_alive(self, server, model="places"):
        """The server still answers as it should."""
        self.assertEqual(server.get("/v2/health/live").json, {"live": True})
        answer = server.post(f"/predictions/{model}", self.pictures[2])
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(next(iter(answer.json)), "2")


def binary_request(tensors, **fields):
    """Body and header of a request of the binary extension; tensors: (name, datatype, shape,
    bytes)."""
    head = json.dumps({"inputs": [
        {"name": name, "datatype": datatype, "shape": shape,
         "parameters": {"binary_data_size": len(data)}}
        for name, datatype, shape, data in tensors], **fields}).encode()
    return (head + b"".join(each[3] for each in tensors),
            {"Inference-Header-Content-Length": str(len(head)),
             "Content-Type": "application/octet-stream"})


def form(name, content, filename="picture.png", boundary="frontier"):
    """Body and header of a form with one file."""
    return (f"--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename="
            f"\"{filename}\"\r\nContent-Type: image/png\r\n\r\n".encode() + content
            + f"\r\n--{boundary}--\r\n".encode(),
            {"Content-Type": f"multipart/form-data; boundary={boundary}"})
