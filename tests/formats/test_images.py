#!/usr/bin/env python3
"""Pictures in files, compared pixel by pixel with what Pillow reads: generated ones of every format
and kind, broken ones, and, where they are, the odd and hostile ones of ../shared/data. Run as:
test_images.py READ_IMAGES"""

import io
import logging
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import unittest
import warnings
import zlib

try:
    import numpy as np
    from PIL import Image, ImageOps, features
except ImportError as error:
    print(f"skipped: Pillow or NumPy is not installed for {sys.executable} ({error})")
    sys.exit(77)

PROGRAM = sys.argv[1]
DATA = pathlib.Path(os.environ.get("CRESSET_SOURCE", ".")).resolve().parent / "shared/data"
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
READ = {"JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "DIB", "PPM"}
LARGE = 1 << 22  # pixels: larger ones are not given to Pillow
# What Pillow gives less of, or in another way: grey of 16 bits is cut to 255, Lab stays Lab.
OTHER_MODES = {"I", "I;16", "I;16B", "F", "LAB"}


class Reader:
    """The program that reads pictures for us."""

    def __init__(self):
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().decode().rstrip("\n").split(" ")
        if len(words) < 2:
            raise AssertionError(f"the reader of pictures ended at: {line}")
        return words

    def read(self, path, channels=3):
        """(pixels, format, seconds) or (None, message, seconds)."""
        words = self.ask(f"{channels} {path}")
        if words[0] != "ok":
            return None, " ".join(words[2:]), float(words[1])
        width, height, planes = map(int, words[1:4])
        data = self.process.stdout.read(width * height * planes)
        return (np.frombuffer(data, np.uint8).reshape(height, width, planes), words[4],
                float(words[5]))

    def write(self, kind, source, target):
        return self.ask(f"{kind} {source}\t{target}")

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()


def reference(path, mode):
    """What Pillow reads, turned as EXIF asks (it turns TIFF by itself)."""
    with Image.open(path) as image:
        if image.width * image.height > LARGE:
            raise ValueError("too large to compare")
        image.load()
        kind = image.format, image.mode, "transparency" in image.info
        if image.format != "TIFF":
            image = ImageOps.exif_transpose(image)
        return kind, np.asarray(image.convert(mode)).reshape(image.height, image.width, -1)


def scene(width=37, height=23):
    """A picture of smooth colours, edges and noise."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.RandomState(7).randint(0, 30, (height, width, 3))
    planes = np.stack([x * 5 + y, 200 - 3 * y, 120 * ((x // 6 + y // 5) % 2)], -1)
    return Image.fromarray(np.clip(planes + noise, 0, 255).astype(np.uint8))


class Pictures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        cls.reader = Reader()
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        cls.rgb = scene()
        cls.rgba = cls.rgb.copy()
        y, x = np.mgrid[:23, :37]
        cls.rgba.putalpha(Image.fromarray(((x * 7 + y * 11) % 256).astype(np.uint8)))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()
        assert cls.reader.close() == 0, "a picture leaks"

    def save(self, name, data):
        path = self.root / name
        path.write_bytes(data)
        return path

    def same(self, path, channels=(1, 3, 4)):
        for count in channels:
            pixels, words, _ = self.reader.read(path, count)
            self.assertIsNotNone(pixels, words)
            _, wanted = reference(path, MODES[count])
            self.assertEqual(pixels.shape, wanted.shape)
            self.assertTrue((pixels == wanted).all(),
                            f"{path.name} as {MODES[count]}: {(pixels != wanted).sum()} differ")

    def saved(self, image, kind, **options):
        self.same_count = getattr(self, "same_count", 0) + 1
        path = self.root / f"{kind}-{image.mode}-{self.same_count}.{kind.lower()}"
        image.save(path, kind, **options)
        return path

    def refused(self, path, *words):
        pixels, message, seconds = self.reader.read(path)
        self.assertIsNone(pixels, path.name)
        for word in (path.name, *words):
            self.assertIn(word, message)
        self.assertLess(seconds, 1)
        return message

    def channels(self, path):
        return self.reader.read(path, 0)[0].shape[2]

    # ---- each format ----

    def test_jpeg(self):
        for image in (self.rgb, self.rgb.convert("L"), self.rgb.convert("CMYK")):
            for options in ({}, {"quality": 95, "subsampling": 0}, {"subsampling": 1},
                            {"progressive": True}, {"quality": 10, "optimize": True}):
                path = self.saved(image, "JPEG", **options)
                self.same(path)
                self.assertEqual(self.channels(path), 1 if image.mode == "L" else 3)
        self.same(self.saved(scene(1, 1), "JPEG"))
        self.same(self.saved(scene(640, 480), "JPEG"), (3,))

    def test_rotation_of_exif(self):
        for kind in ("JPEG", "PNG", "WEBP"):
            for orientation in range(10):
                exif = Image.Exif()
                exif[0x0112] = orientation
                self.same(self.saved(self.rgb, kind, exif=exif), (1, 3))
        for orientation in range(1, 9):
            self.same(self.saved(self.rgb, "TIFF", tiffinfo={274: orientation}), (3,))

    def test_png(self):
        palette = self.rgb.convert("P", palette=Image.ADAPTIVE, colors=11)
        for image in (self.rgb, self.rgba, self.rgb.convert("L"), self.rgba.convert("LA"),
                      self.rgb.convert("1"), palette):
            self.same(self.saved(image, "PNG"))
        self.same(self.saved(palette, "PNG", transparency=3))
        self.same(self.saved(palette, "PNG", transparency=bytes(range(0, 220, 20))))
        self.same(self.saved(self.rgb, "PNG", transparency=self.rgb.getpixel((0, 0))))
        for bits in (1, 2, 4):
            self.same(self.saved(palette.quantize(2 ** bits), "PNG", bits=bits))

    def png(self, depth, color, rows, extra=b""):
        def chunk(name, data):
            return (struct.pack(">I", len(data)) + name + data +
                    struct.pack(">I", zlib.crc32(name + data)))
        height = len(rows)
        samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
        width = len(rows[0]) * 8 // (depth * samples)
        head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra +
                chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) +
                chunk(b"IEND", b""))

    def test_png_of_16_bits_keeps_the_upper_8(self):
        values = np.random.RandomState(3).randint(0, 65536, (4, 6, 4)).astype(">u2")
        for color, count in ((0, 1), (2, 3), (6, 4)):
            part = values[:, :, :count]
            path = self.save(f"{color}.png", self.png(16, color, [row.tobytes() for row in part]))
            pixels, _, _ = self.reader.read(path, 0)
            self.assertTrue((pixels == (part >> 8)).all())
            if count > 1:
                self.same(path)

    def test_png_of_few_bits(self):
        for depth in (1, 2, 4):
            rows = [bytes(random.Random(depth).randbytes(3)) for _ in range(5)]
            self.same(self.save(f"few{depth}.png", self.png(depth, 0, rows)))

    @unittest.skipUnless(features.check("webp"), "Pillow has no WebP")
    def test_webp(self):
        for image in (self.rgb, self.rgba):
            for options in ({"lossless": True}, {"quality": 30}, {"quality": 90, "method": 6}):
                path = self.saved(image, "WEBP", **options)
                self.same(path)
                self.assertEqual(self.channels(path), len(image.mode))
        turned = self.rgb.rotate(90)
        self.same(self.saved(self.rgb, "WEBP", save_all=True, append_images=[turned]))

    def test_tiff(self):
        palette = self.rgb.convert("P", palette=Image.ADAPTIVE, colors=200)
        for compression in (None, "tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate"):
            for image in (self.rgb, self.rgba, self.rgb.convert("L"), self.rgb.convert("1"),
                          self.rgb.convert("CMYK"), self.rgba.convert("LA"), palette):
                self.same(self.saved(image, "TIFF", compression=compression))
        for compression in ("group3", "group4"):
            self.same(self.saved(self.rgb.convert("1"), "TIFF", compression=compression))
        self.same(self.saved(self.rgb, "TIFF", compression="jpeg"))
        self.same(self.saved(self.rgb.convert("L"), "TIFF", compression="jpeg"))
        self.same(self.saved(scene(300, 500), "TIFF", compression="tiff_lzw"), (3,))

    def test_tiff_of_16_bits_keeps_the_upper_8(self):
        values = np.random.RandomState(5).randint(0, 65536, (9, 7)).astype(np.uint16)
        path = self.saved(Image.fromarray(values), "TIFF")
        self.assertTrue((self.reader.read(path, 0)[0][:, :, 0] == values >> 8).all())

    def test_bmp(self):
        palette = self.rgb.convert("P", palette=Image.ADAPTIVE, colors=9)
        for image in (self.rgb, self.rgba, self.rgb.convert("L"), self.rgb.convert("1"), palette):
            self.same(self.saved(image, "BMP"))
        self.assertEqual(self.channels(self.saved(self.rgb.convert("L"), "BMP")), 1)
        for bits in (16, 24, 32):
            for height in (5, -5):
                head = struct.pack("<IiiHHIIiiII", 40, 7, height, 1, bits, 0, 0, 0, 0, 0, 0)
                data = random.Random(bits).randbytes(5 * ((7 * bits + 31) // 32 * 4))
                self.same(self.save(f"{bits}{height}.bmp",
                                    b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + head + data))

    def test_bmp_of_runs(self):
        runs = b"\x03\x01\x02\x02\0\0\0\x05\x01\x02\0\x01\x02\0\0\0\x05\x02\0\0\0\x01"
        head = struct.pack("<IiiHHIIiiII", 40, 5, 3, 1, 8, 1, len(runs), 0, 0, 3, 0)
        palette = bytes([0, 0, 9, 0, 255, 0, 0, 0, 0, 255, 9, 0])
        start = b"BM" + struct.pack("<IHHI", 66 + len(runs), 0, 0, 66) + head + palette
        self.same(self.save("runs.bmp", start + runs))
        self.refused(self.save("cut.bmp", start + runs[:9]), "truncated")

    def test_pnm(self):
        for image in (self.rgb, self.rgb.convert("L"), self.rgb.convert("1")):
            self.same(self.saved(image, "PPM"))
        for name, data in {
                "a.pbm": b"P1\n# bits\n5 2\n0101 0\n11100\n",
                "b.pgm": b"P2 3 2 15 0 1 2 13 14 15 ",
                "c.ppm": b"P3\n2 1 # two\n9\n1 2 3 7 8 9\n",
                "d.pgm": b"P5 4 1 100\n\x00\x07\x32\x64",
                "e.ppm": b"P6 1 1 1000\n\x03\xe8\x01\xf4\x00\x07"}.items():
            self.same(self.save(name, data))

    # ---- what is refused ----

    def test_claims_that_are_too_large_are_refused_at_once(self):
        side = 60000
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        png = (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + head +
               struct.pack(">I", zlib.crc32(b"IHDR" + head)) + b"\0\0\0\x01IDAT\0")
        info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        for name, data in {
                "a.png": png, "b.bmp": b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + info,
                "c.ppm": b"P6 60000 60000 255\n", "d.pgm": b"P5 1000000 1 255\n"}.items():
            self.refused(self.save(name, data), "pixels large", "134217728")

    def test_files_that_end_too_early_are_refused(self):
        for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM"):
            data = io.BytesIO()
            scene(64, 64).save(data, kind)
            data = data.getvalue()
            ends = {2, len(data) // 8, len(data) // 2, len(data) - 40}
            for end in ends:
                self.refused(self.save(f"{kind}-{end}.bin", data[:end]))
            message = self.refused(self.save(f"half.{kind}", data[:len(data) // 2]))
            self.assertIn("truncated" if kind != "TIFF" else "damaged", message)

    def test_other_files_are_named_for_what_they_are(self):
        self.refused(self.save("x.gif", b"GIF89a" + bytes(20)), "is a GIF picture")
        self.refused(self.save("x.heic", b"\0\0\0\x18ftypheic" + bytes(20)), "HEIF")
        self.refused(self.save("x.dcm", bytes(128) + b"DICM"), "DICOM")
        self.refused(self.save("x.html", b"<html>"), "web page")
        self.refused(self.save("empty.png", b""), "is empty")
        self.refused(self.save("text.png", b"hello"), "not a picture")
        self.refused(self.root / "absent.png", "No such file")
        self.refused(self.root, "it is a folder")

    def test_damage_ends_in_a_picture_or_a_sentence(self):
        dice = random.Random(1)
        for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM"):
            data = io.BytesIO()
            self.rgb.save(data, kind)
            for turn in range(60):
                broken = bytearray(data.getvalue())
                for _ in range(dice.randint(1, 4)):
                    broken[dice.randrange(len(broken))] = dice.randrange(256)
                _, words, seconds = self.reader.read(self.save("broken.bin", bytes(broken)))
                self.assertTrue(words)
                self.assertLess(seconds, 2, f"{kind} {turn}")

    # ---- writing ----

    def test_what_is_written_is_read_back(self):
        source = self.saved(self.rgba, "PNG")
        for image in (self.rgb, self.rgba, self.rgb.convert("L")):
            source = self.saved(image, "PNG")
            target = self.root / "copy.png"
            self.assertEqual(self.reader.write("png", source, target)[0], "written")
            with Image.open(target) as copy:
                self.assertEqual(copy.mode, image.mode)
                self.assertTrue((np.asarray(copy) == np.asarray(image)).all())
            target = self.root / "copy.jpg"
            self.assertEqual(self.reader.write("jpeg", source, target)[0], "written")
            wanted = io.BytesIO()
            image.convert("L" if image.mode == "L" else "RGB").save(wanted, "JPEG", quality=90)
            with Image.open(target) as copy, Image.open(wanted) as other:
                self.assertTrue((np.asarray(copy) == np.asarray(other)).all())
        words = self.reader.write("png", source, self.root / "no/such/folder.png")
        self.assertEqual(words[0], "error")
        self.assertEqual(list(self.root.glob("*.tmp-*")), [])

    # ---- real files ----

    @unittest.skipUnless((DATA / "img_hostile").is_dir(), "the odd pictures are not here")
    def test_odd_and_hostile_pictures(self):
        counts = {"same": 0, "other": 0, "refused": 0, "ours": 0}
        faults = []
        for path in sorted(p for p in (DATA / "img_hostile").rglob("*") if p.is_file()):
            pixels, words, seconds = self.reader.read(path, 3)
            if seconds > 1:
                faults.append(f"{path}: {seconds:.1f} s")
            try:
                kind, wanted = reference(path, "RGB")
            except Exception:  # pylint: disable=broad-except
                kind, wanted = None, None
            if pixels is None:
                counts["refused"] += 1
                if kind and kind[0] in READ and kind[1] not in OTHER_MODES:
                    faults.append(f"{path}: refused: {words}")
            elif wanted is None:
                counts["ours"] += 1
            elif kind[1] in OTHER_MODES:
                counts["other"] += 1
            elif pixels.shape == wanted.shape and (pixels == wanted).all():
                counts["same"] += 1
            else:
                faults.append(f"{path}: differs {kind}")
        print(counts)
        known = ("badcrc.png", "huge_IDAT.png",  # checksum, and a chunk past the end of the file
                 # colours that are not there
                 "badpal", "pal8badindex.bmp", "regression-palette-8.png",
                 "rletrns.bmp",  # pixels that no run covers
                 "xmp_tags_orientation.png")  # rotation in XMP
        faults = [fault for fault in faults if not any(word in fault for word in known)]
        self.assertEqual(faults, [])
        self.assertGreater(counts["same"], 700)

    @unittest.skipUnless((DATA / "img_oct2017_sample").is_dir(), "the real pictures are not here")
    def test_real_photographs(self):
        paths = [*(DATA / "img_oct2017_sample").rglob("*.jp*g"),
                 *(DATA / "img_imagenet_sample").rglob("*.[jJ]*")]
        for path in sorted(paths)[::4]:
            self.same(path, (3,))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
