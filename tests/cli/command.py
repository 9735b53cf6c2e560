"""Runs the built command for the tests of this folder, and makes small data for it. CRESSET names
the program."""
import gzip
import json
import os
import random
import struct
import subprocess
import tempfile
import unittest
import zlib

CRESSET = os.path.abspath(os.environ.get("CRESSET", "build/cresset"))


def run(*words, env=None, cwd=None, timeout=300, stdin=None):
    """The finished process of one call: returncode, stdout, stderr."""
    return subprocess.run([CRESSET, *map(str, words)], capture_output=True, text=True,
                          env=clean_environment(env), cwd=cwd, timeout=timeout, input=stdin)


def commands():
    """The names of the subcommands, as the general help lists them."""
    names, inside = [], False
    for line in run("--help").stdout.splitlines():
        if line.startswith("  ") and inside:
            if line[2] != " ":
                names.append(line.split()[0])
        else:
            inside = line == "Commands"
    return names


def clean_environment(extra=None):
    """The environment without what changes the layout of the output."""
    settings = {key: value for key, value in os.environ.items()
                if key not in ("COLUMNS", "NO_COLOR")}
    settings.update(extra or {})
    return settings


SIDE = 8  # pixels of the pictures made here
CLASSES = 4


def picture(label, generator):
    """SIDE x SIDE bytes: a bright quarter that tells the class, and noise."""
    pixels = bytearray(generator.randrange(80) for _ in range(SIDE * SIDE))
    for y in range(SIDE // 2):
        for x in range(SIDE // 2):
            at = (y + label // 2 * SIDE // 2) * SIDE + x + label % 2 * SIDE // 2
            pixels[at] = min(255, pixels[at] + 150)
    return bytes(pixels)


def write_data(folder, train=400, test=100, seed=1):
    """Writes an idx data set that a perceptron learns in an epoch or two; the test samples."""
    generator = random.Random(seed)
    samples = []
    for name, count in (("train", train), ("t10k", test)):
        labels = bytes(i % CLASSES for i in range(count))
        images = [picture(label, generator) for label in labels]
        with gzip.open(os.path.join(folder, f"{name}-images-idx3-ubyte.gz"), "wb") as file:
            file.write(struct.pack(">IIII", 0x803, count, SIDE, SIDE) + b"".join(images))
        with gzip.open(os.path.join(folder, f"{name}-labels-idx1-ubyte.gz"), "wb") as file:
            file.write(struct.pack(">II", 0x801, count) + labels)
        samples = list(zip(images, labels))
    return samples


def write_png(path, pixels, width, height):
    """Writes 8-bit grey pixels as a PNG file."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    rows = b"".join(b"\0" + pixels[y * width:(y + 1) * width] for y in range(height))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n"
                   + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
                   + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def tensors(path):
    """The tensors of a safetensors file by name, as bytes: everything but the metadata."""
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: data[8 + length:][slice(*entry["data_offsets"])]
            for name, entry in header.items()}


class CommandTest(unittest.TestCase):
    """A test case with the assertions that fit a command."""

    def assert_done(self, *words, **settings):
        result = run(*words, **settings)
        self.assertEqual(result.returncode, 0, f"{words}: {result.stderr}{result.stdout}")
        return result.stdout

    def assert_json(self, *words, **settings):
        return json.loads(self.assert_done(*words, **settings))

    def assert_refused(self, status, sentence, *words, **settings):
        """The call ends with `status` and one line on standard error that holds `sentence`."""
        result = run(*words, **settings)
        self.assertEqual(result.returncode, status, f"{words}: {result.stderr}{result.stdout}")
        self.assertIn(sentence, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertTrue(result.stderr.startswith("cresset"), result.stderr)
        return result.stderr


class FolderTest(CommandTest):
    """A test case with a folder of its own that goes away with it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def make_data(self):
        os.mkdir(self.path("data"))
        self.samples = write_data(self.path("data"))
        return self.path("data")
