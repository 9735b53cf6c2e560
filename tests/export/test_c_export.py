#!/usr/bin/env python3
"""Models written as C: compiled as strict C99 and compared with the library, also for 32-bit x86,
a big-endian machine and a Cortex-M, where the tools of `scripts/setup.sh devices` are; and the
command, down to the classes of a picture. Run as: test_c_export.py WRITE_NET, with CRESSET naming
the command."""

import math
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
import command  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
WRITE_NET = sys.argv.pop(1)
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2"]
NETS = ["convolutions", "moves", "elements", "reductions", "attention", "lenet5:28",
        "mobilenet_v3_small:32", "shufflenet_v2_x0_5:32"]


def numbers(path):
    data = pathlib.Path(path).read_bytes()
    return struct.unpack(f"={len(data) // 4}f", data)


def call(words, **settings):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          check=False, **settings)
    if done.returncode:
        raise AssertionError(f"{words}: {done.stdout}{done.stderr}")
    return done.stdout


def works(compiler, *flags):
    """Whether a compiler is there and links a program that needs libm."""
    if not shutil.which(compiler):
        return False
    with tempfile.TemporaryDirectory() as folder:
        source = "#include <math.h>\nint main(int n, char **v) { (void)v; return cosf(n) > 2; }\n"
        done = subprocess.run([compiler, *flags, "-xc", "-", "-o", f"{folder}/a", "-lm"],
                              input=source, text=True, capture_output=True, check=False)
        return done.returncode == 0


class Nets(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, net, lanes=0, *file):
        where = self.folder / f"{net.split(':')[0]}-{lanes}"
        call([WRITE_NET, net, where, lanes, *file])
        return where

    def compare(self, where, text):
        got = [float(line) for line in text.split()]
        expected = numbers(where / "expected.raw")
        self.assertEqual(len(got), len(expected))
        most = max(1, max(map(abs, expected)))
        worst = max(abs(a - b) if math.isfinite(a) else math.inf for a, b in zip(got, expected))
        self.assertLessEqual(worst, 1e-4 * most, where.name)

    def build_and_compare(self, where, compiler="cc", flags=(), before=()):
        sources = [name for name in ("main.c", "net.c", "net_weights.c") if (where / name).exists()]
        call([compiler, *STRICT, *flags, "-o", "net", *sources, "-lm"], cwd=where)
        weights = [] if "net_weights.c" in sources else ["net_weights.bin"]
        self.compare(where, call([*before, "./net", "--values", *weights, "input.raw"], cwd=where))

    def test_every_op(self):
        for net in NETS:
            with self.subTest(net=net):
                self.build_and_compare(self.write(net))

    def test_lanes_and_weights_in_a_file(self):
        for lanes in (1, 4, 17):
            with self.subTest(lanes=lanes):
                self.build_and_compare(self.write("convolutions", lanes, "file"))

    def test_refusal_names_all_ops(self):
        done = subprocess.run([WRITE_NET, "refused", self.folder / "no"], capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot be written as C: it needs sin, native_scan\n", done.stderr)
        self.assertFalse((self.folder / "no").exists())

    def test_32_bit(self):
        if not works("cc", "-m32"):
            self.skipTest("cc does not build for 32 bits (scripts/setup.sh devices)")
        for net in ("convolutions", "attention"):
            self.build_and_compare(self.write(net), flags=["-m32"])

    def test_big_endian(self):
        if not works("s390x-linux-gnu-gcc", "-static") or not shutil.which("qemu-s390x"):
            self.skipTest("no s390x-linux-gnu-gcc or qemu-s390x (scripts/setup.sh devices)")
        self.build_and_compare(self.swapped("convolutions"), "s390x-linux-gnu-gcc", ["-static"],
                               ["qemu-s390x"])

    def swapped(self, net):
        """Written with its weights in a file, which is little-endian everywhere."""
        where = self.write(net, 0, "file")
        self.assertEqual(sys.byteorder, "little")
        return where

    def test_cortex_m(self):
        compiler = "arm-none-eabi-gcc"
        machine = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
        if not works(compiler, *machine, "--specs=nosys.specs") or \
                not shutil.which("qemu-system-arm"):
            self.skipTest("no arm-none-eabi-gcc or qemu-system-arm (scripts/setup.sh devices)")
        where = self.write("lenet5:28", 4)
        values = ", ".join(f"{value:.9g}" for value in numbers(where / "input.raw"))
        (where / "sample.c").write_text(f"const float sample[] = {{ {values} }};\n")
        call([compiler, *STRICT, *machine, "--specs=rdimon.specs", "-nostartfiles",
              "-T", HERE / "cortex_m.ld", f"-I{where}", "-o", "net", HERE / "cortex_m.c",
              "sample.c", "net.c", "net_weights.c", "-lm"], cwd=where)
        self.compare(where, call(["qemu-system-arm", "-M", "mps2-an386", "-nographic",
                                  "-semihosting-config", "enable=on,target=native",
                                  "-kernel", "net"], cwd=where, timeout=120))


class Command(command.FolderTest):
    def test_picture(self):
        """The program of a trained model gives a picture the classes that predict gives it."""
        self.make_data()
        command.run("train", "--data", self.path("data"), "--model", "convnet", "--width", "4",
                    "--epochs", "1", "--preprocess", "resize:12,center_crop:8", "--out",
                    self.path("run"), "--no-report", "--quiet")
        report = self.assert_json("export", self.path("run"), "--format", "c", "-o",
                                  self.path("net"), "--json")
        self.assertGreater(report["weight_bytes"], 1000)
        call(["make", "-C", self.path("net"), "CFLAGS=-O2 -Wall -Wextra -Werror -pedantic"])
        for width, height in ((8, 8), (31, 22), (5, 40)):
            pixels = bytes((x * x + 31 * y) % 256 for y in range(height) for x in range(width))
            picture = self.path("picture.pgm")
            with open(picture, "wb") as file:
                file.write(b"P5\n# a comment\n%d %d\n255\n" % (width, height) + pixels)
            lines = call([self.path("net/net"), picture]).splitlines()
            answer = self.assert_json("predict", self.path("run"), picture, "--json")[0]
            for line, expected in zip(lines, answer["predictions"]):
                share, name = line.split("%", 1)
                self.assertEqual(name.strip(), expected["name"])
                self.assertAlmostEqual(float(share), 100 * expected["probability"], delta=0.011)

    def test_refusals(self):
        self.make_data()
        command.run("train", "--data", self.path("data"), "--model", "mlp", "--epochs", "1",
                    "--out", self.path("run"), "--no-report", "--quiet")
        self.assert_refused(2, "--format", "export", self.path("run"), "--format", "cpp", "-o", "x")
        with open(self.path("file"), "w", encoding="utf-8") as file:
            file.write("x")
        self.assert_refused(1, "file", "export", self.path("run"), "--format", "c", "-o",
                            self.path("file"))
        self.assert_done("export", self.path("run"), "--format", "safetensors", "-o",
                         self.path("model.safetensors"))
        self.assert_done("export", self.path("model.safetensors"), "--format", "c", "-o",
                         self.path("net"))
        call(["make", "-C", self.path("net"), "CFLAGS=-O1"])
        short = self.path("short.raw")
        pathlib.Path(short).write_bytes(b"123")
        done = subprocess.run([self.path("net/net"), short], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("neither a PPM or PGM picture", done.stderr)


if __name__ == "__main__":
    unittest.main()
