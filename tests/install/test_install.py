#!/usr/bin/env python3
"""What `cmake --install` leaves: the command with its page and completions, and a library that
programs find by pkg-config and by CMake, built here as their users would and run on a small made-up
data set. Run as: test_install.py SOURCE_TREE BUILD_TREE [sanitizers it was built with]."""

import json
import os
import pathlib
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(sys.argv[1]).resolve()
BUILD = pathlib.Path(sys.argv[2]).resolve()
SANITIZE = sys.argv[3] if len(sys.argv) > 3 else ""
FLAGS = [f"-fsanitize={SANITIZE}"] if SANITIZE else []
# What libcresset.so may need, and nothing else.
NEEDED = {"libm.so.6", "libgomp.so.1", "libz.so.1", "libjansson.so.4", "libc.so.6"}
SIDE = 12  # pixels
CPP = """
#include <cresset/cresset.h>
#include <cstdio>
int main()
{
    cr_tensor_args args = {};
    args.shape = cr_shape_scalar();
    std::printf("%g\\n", cr_item(cr_add(cr_ones_with(args), cr_ones_with(args))));
    cr_frame_end_all();
    return cr_failed();
}
"""

PICTURES = """
#include <cresset/image_file.h>
#include <stdio.h>
#include <string.h>
int main(int count, char **words)
{
    cr_image image = { 0 };
    cr_image_info info = { 0 };
    if (count == 2 && cr_image_resize_room(&image, 4, 5, 3) == CR_OK) {
        memset(image.pixels, 7, 60);
        cr_image_write_jpeg(words[1], &image, 90);
        cr_image_read(words[1], 1, &image);
        cr_image_probe(words[1], &info);
        printf("%s %dx%d %d\\n", cr_image_format_name(info.format), (int)info.width,
               (int)info.height, image.pixels[19]);
    }
    cr_image_free(&image);
    fputs(cr_error_message(), stderr);
    return cr_failed();
}
"""


def call(*words, **options):
    """The standard output of a program that must succeed."""
    done = subprocess.run([str(word) for word in words], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, **options)
    if done.returncode != 0:
        line = shlex.join(map(str, words))
        raise AssertionError(f"{line} gave {done.returncode}:\n{done.stdout}")
    return done.stdout


def write_idx(folder, part, count):
    """Small pictures whose class is told by which row is bright."""
    labels = bytes(index % 10 for index in range(count))
    pictures = b"".join(bytes((200 if row - 1 == label else 20) + row * column % 7
                              for row in range(SIDE) for column in range(SIDE)) for label in labels)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(
        struct.pack(">BBBBIII", 0, 0, 8, 3, count, SIDE, SIDE) + pictures)
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(
        struct.pack(">BBBBI", 0, 0, 8, 1, count) + labels)


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        cls.prefix = cls.root / "prefix"
        call("cmake", "--install", BUILD, "--prefix", cls.prefix)
        cls.library, = cls.prefix.rglob("libcresset.so")
        cls.archive, = cls.prefix.rglob("libcresset.a")
        cls.data = cls.root / "data"
        cls.data.mkdir()
        write_idx(cls.data, "train", 100)
        write_idx(cls.data, "t10k", 50)
        cls.environment = {**os.environ, "LD_LIBRARY_PATH": str(cls.library.parent),
                           "PKG_CONFIG_PATH": str(cls.library.parent / "pkgconfig")}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def flags(self, *options, package="cresset"):
        return call("pkg-config", *options, package, env=self.environment).split()

    def run_example(self, program):
        """Trains for an epoch; the report must show all classes, and the run must be there."""
        run = self.root / f"{program.name}-run"
        said = call(program, self.data, run, "2", env=self.environment)
        self.assertIn("epoch 2: loss ", said)
        self.assertRegex(said, r"macro avg +\d\.\d\d +\d\.\d\d +\d\.\d\d +50\n")
        self.assertTrue((run / "weights/best.safetensors").stat().st_size > 1000)
        self.assertEqual(len((run / "metrics.csv").read_text().splitlines()), 3)

    def test_the_command_is_there_with_its_page_and_completions(self):
        said = json.loads(call(self.prefix / "bin/cresset", "info", "--json"))
        self.assertTrue(said["version"])
        for name in ("man/man1/cresset.1", "bash-completion/completions/cresset",
                     "zsh/site-functions/_cresset", "fish/vendor_completions.d/cresset.fish"):
            self.assertIn("completion", (self.prefix / "share" / name).read_text(), name)

    def test_the_headers_of_the_library_are_there_and_one_includes_them_all(self):
        folder = self.prefix / "include/cresset"
        said = call("cc", "-M", f"-I{folder.parent}", folder / "cresset.h")
        included = {pathlib.Path(word).name for word in said.split() if str(folder) in word}
        headers = {path.name for path in folder.iterdir()}
        self.assertGreater(len(headers), 20)
        self.assertEqual(headers - included, {"image_file.h", "image_sets.h"})  # cresset_images
        self.assertFalse(headers & {"plot.h", "report.h", "tensorboard.h"})

    def test_a_program_by_pkg_config(self):
        program = self.root / "by_pkg_config"
        call("cc", *FLAGS, "-O2", "-Wall", "-Wextra", "-Werror",
             SOURCE / "examples/fashion_mnist.c", *self.flags("--cflags", "--libs"), "-o", program)
        self.run_example(program)

    def test_a_program_by_pkg_config_linked_statically(self):
        program = self.root / "linked_statically"
        libraries = [self.archive if word == "-lcresset" else word
                     for word in self.flags("--cflags", "--libs", "--static")]
        call("cc", *FLAGS, SOURCE / "examples/fashion_mnist.c", *libraries, "-o", program)
        self.assertNotIn("libcresset", call("ldd", program))
        self.run_example(program)

    def test_a_program_that_reads_pictures(self):
        source, program = self.root / "pictures.c", self.root / "pictures"
        source.write_text(PICTURES)
        call("cc", *FLAGS, "-std=c11", "-Wall", "-Wextra", "-Werror", source,
             *self.flags("--cflags", "--libs", package="cresset-images"), "-o", program)
        said = call(program, self.root / "seven.jpeg", env=self.environment)
        self.assertEqual(said, "JPEG 5x4 7\n")

    def test_a_program_by_cmake(self):
        build = self.root / "cmake-build"
        call("cmake", "-S", SOURCE / "tests/install/project", "-B", build,
             f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_C_FLAGS={' '.join(FLAGS)}",
             f"-DSOURCE={SOURCE / 'examples/fashion_mnist.c'}")
        call("cmake", "--build", build)
        self.run_example(build / "program")

    @unittest.skipUnless(shutil.which("c++"), "no C++ compiler")
    def test_a_program_in_cpp(self):
        source, program = self.root / "two.cpp", self.root / "two"
        source.write_text(CPP)
        call("c++", *FLAGS, "-std=c++17", "-Wall", "-Wextra", "-Werror", source,
             *self.flags("--cflags", "--libs"), "-o", program)
        self.assertEqual(call(program, env=self.environment), "2\n")

    def programs_that_run_a_model(self):
        """inference in C, C++ and Python, as far as they can be here."""
        flags = self.flags("--cflags", "--libs")
        for compiler, ending in (("cc", "c"), ("c++", "cpp")):
            if shutil.which(compiler):
                program = self.root / f"inference_{ending}"
                call(compiler, *FLAGS, "-Wall", "-Wextra", "-Werror",
                     SOURCE / f"examples/inference.{ending}", *flags, "-o", program)
                yield [program]
        if not SANITIZE:  # the interpreter is built without
            yield [sys.executable, "-B", SOURCE / "examples/inference.py"]

    def test_programs_that_run_a_model(self):
        run, sample = self.root / "model-run", self.root / "sample.bin"
        call(self.prefix / "bin/cresset", "train", "--data", self.data, "--model", "mlp",
             "--epochs", "1", "--out", run)
        sample.write_bytes(struct.pack(f"<{SIDE * SIDE}f", *(i % 5 - 2 for i in range(SIDE ** 2))))
        said = {call(*words, run, sample, env=self.environment)
                for words in self.programs_that_run_a_model()}
        self.assertEqual(len(said), 1)
        self.assertEqual(len(said.pop().split()), 10)
        with self.assertRaisesRegex(AssertionError, "another size"):
            call(self.root / "inference_c", run, run / "args.json", env=self.environment)

    @unittest.skipIf(SANITIZE, "sanitizers add their own")
    def test_the_library_exports_its_own_names_only(self):
        lines = call("nm", "-D", "--defined-only", self.library).splitlines()
        names = [line.split()[2].split("@")[0] for line in lines if line.split()[1] != "A"]
        self.assertGreater(len(names), 300)
        self.assertEqual([name for name in names if not name.startswith("cr_")], [])

    @unittest.skipIf(SANITIZE, "sanitizers add their own")
    def test_the_library_needs_little(self):
        lines = call("readelf", "-d", self.library).splitlines()
        needed = {line.split("[")[1].rstrip("]") for line in lines if "(NEEDED)" in line}
        loader = {name for name in needed if name.startswith("ld-linux")}  # a part of libc
        self.assertEqual(needed - NEEDED - loader, set())
        for path in (self.library, self.archive, self.prefix / "bin/cresset"):
            print(f"{path.stat().st_size / 2**20:7.2f} MiB  {path.relative_to(self.prefix)}")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
