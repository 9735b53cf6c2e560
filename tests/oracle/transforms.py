#!/usr/bin/env python3
"""Transforms against torchvision's on Pillow's pictures: those without chance pixel by pixel, those
with chance by what they can give and how often."""
import ctypes
import math
import sys
import unittest

try:
    import numpy
    import torch
    from PIL import Image
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode
except ImportError as missing:
    print(f"skipped: torchvision is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr

lib = cr.lib
lib.oracle_transform.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p,
                                 ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int64, ctypes.c_void_p]
RANDOM = numpy.random.default_rng(0)


def apply(text, picture, seed=0, index=0):
    """A list of transforms on uint8 (H, W) or (H, W, C): float32 (C, H, W)."""
    pixels = numpy.ascontiguousarray(picture if picture.ndim == 3 else picture[:, :, None])
    size = (ctypes.c_int64 * 3)(pixels.shape[2], *pixels.shape[:2])
    shape = (ctypes.c_int64 * 3)(*size)
    status = lib.oracle_transform_shape(text.encode(), shape)
    if status == 0:
        out = numpy.empty(tuple(shape), numpy.float32)
        status = lib.oracle_transform(text.encode(), pixels.ctypes.data, size, shape, seed, index,
                                      out.ctypes.data)
    cr.check(failed=status != 0)
    return out


def pixels_of(text, picture, seed=0, index=0):
    """The bytes that a list of transforms of pictures gives: (H, W) or (H, W, C)."""
    out = numpy.rint(apply(text, picture, seed, index) * 255).astype(numpy.uint8).transpose(1, 2, 0)
    return out[:, :, 0] if picture.ndim == 2 else out


def noise(height, width, channels=3):
    """Noise on a slope, black and white corners: what rounding and clipping show on."""
    slope = numpy.linspace(0, 255, width)[None, :, None] + numpy.zeros((height, 1, 1))
    picture = slope + RANDOM.normal(0, 60, (height, width, channels))
    picture[:3, :3], picture[-3:, -3:] = 0, 255
    picture = picture.clip(0, 255).astype(numpy.uint8)
    return picture[:, :, 0] if channels == 1 else picture


PICTURES = [noise(*size) for size in
            ((37, 53), (64, 64), (300, 211), (53, 20, 1), (7, 5, 4), (1, 1), (2, 90, 1), (129, 33))]
WORDS = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR,
         "bicubic": InterpolationMode.BICUBIC, "box": InterpolationMode.BOX,
         "hamming": InterpolationMode.HAMMING, "lanczos": InterpolationMode.LANCZOS}


class Exact(unittest.TestCase):
    """Pixel by pixel."""

    def compare(self, text, reference, pictures=None):
        for picture in PICTURES if pictures is None else pictures:
            mode = {2: "L", 3: "RGB" if picture.shape[-1] == 3 else "RGBA"}[picture.ndim]
            wanted = numpy.asarray(reference(Image.fromarray(picture, mode)))
            with self.subTest(text=text, size=picture.shape):
                found = pixels_of(text, picture)
                self.assertEqual(found.shape, wanted.shape)
                different = int((found != wanted).sum())
                self.assertEqual(different, 0, f"{different} of {found.size} differ, by up to "
                                 f"{abs(found.astype(int) - wanted).max()}")

    def test_resize(self):
        # Pillow multiplies RGBA by its transparency first, which we leave to the conversion to RGB.
        pictures = [picture for picture in PICTURES if picture.shape[2:] != (4,)]
        for word, mode in WORDS.items():
            for size in (24, (40, 31), (11, 200), (64, 64), 1):
                words = ":".join(map(str, size)) if isinstance(size, tuple) else f"{size}"
                self.compare(f"resize:{words}:interpolation={word}",
                             transforms.Resize(size, mode), pictures)

    def test_center_crop(self):
        for size in (1, 5, 32, 63, (20, 90), (301, 4)):
            words = ":".join(map(str, size)) if isinstance(size, tuple) else f"{size}"
            self.compare(f"center_crop:{words}", transforms.CenterCrop(size))

    def test_flips(self):
        self.compare("flip:1", transforms.RandomHorizontalFlip(1))
        self.compare("vertical_flip:1", transforms.RandomVerticalFlip(1))

    def test_imagenet(self):
        """The whole preparation of ImageNet's pictures, to the bit."""
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        reference = transforms.Compose([
            transforms.Resize(40), transforms.CenterCrop(32), transforms.ToTensor(),
            transforms.Normalize(mean, std)])
        text = "resize:40,center_crop:32,normalize:" + ":".join(map(str, mean + std))
        for picture in PICTURES:
            if picture.ndim == 3 and picture.shape[2] == 3:
                wanted = reference(Image.fromarray(picture)).numpy()
                self.assertTrue(numpy.array_equal(apply(text, picture), wanted))


class Chance(unittest.TestCase):
    """What comes at random: all that may come does, in its share."""

    @staticmethod
    def coordinates(height, width):
        """A picture whose pixels say where they are."""
        y, x = numpy.mgrid[:height, :width]
        return numpy.stack([y, x, numpy.zeros_like(y)], 2).astype(numpy.uint8)

    def test_flip(self):
        picture = self.coordinates(4, 4)
        flips = sum(int(pixels_of("flip:0.3", picture, 1, i)[0, 0, 1] == 3) for i in range(2000))
        self.assertLess(abs(flips - 600), 5 * math.sqrt(2000 * 0.3 * 0.7))

    def test_random_crop(self):
        picture = self.coordinates(20, 13)
        corners = {}
        for i in range(4000):
            found = pixels_of("random_crop:9:10:1:200", picture, 2, i)
            inside = found[found[:, :, 2] == 0]
            wanted_rows = 9 - int((found[:, 5, 2] == 200).sum())
            self.assertEqual(len(set(inside[:, 0])), wanted_rows)
            middle = found[4, 5]
            corners[tuple(middle[:2])] = corners.get(tuple(middle[:2]), 0) + 1
        self.assertEqual(len(corners), (20 + 2 - 9 + 1) * (13 + 2 - 10 + 1))
        self.assertLess(max(corners.values()), 4000 / 84 * 2)
        with self.assertRaisesRegex(cr.CressetError, "13 × 20 is smaller than 30 × 30"):
            pixels_of("random_crop:30", picture)

    def test_random_resized_crop(self):
        """The mean area and ratio of the boxes, found by their corners, are torchvision's."""
        picture = self.coordinates(120, 160)
        ours, theirs = [], []
        reference = transforms.RandomResizedCrop(8)
        torch.manual_seed(0)
        for i in range(1500):
            found = pixels_of("random_resized_crop:8:interpolation=nearest", picture, 3, i)
            height, width = (int(found[-1, -1, axis]) - int(found[0, 0, axis]) for axis in (0, 1))
            ours.append((height * width * (8 / 7) ** 2, width / max(height, 1)))
            _, _, height, width = reference.get_params(Image.new("L", (160, 120)),
                                                       reference.scale, reference.ratio)
            theirs.append((height * width, width / height))
        ours, theirs = numpy.array(ours), numpy.array(theirs)
        for i in range(2):
            error = theirs[:, i].std() / math.sqrt(1500) * math.sqrt(2)
            self.assertLess(abs(ours[:, i].mean() - theirs[:, i].mean()), 5 * error)
            self.assertLess(abs(ours[:, i].std() / theirs[:, i].std() - 1), 0.1)

    def test_same_seed(self):
        picture = noise(40, 50)
        text = "random_resized_crop:16,flip,shift:0.2,erase"
        self.assertTrue(numpy.array_equal(apply(text, picture, 5, 7), apply(text, picture, 5, 7)))
        self.assertFalse(numpy.array_equal(apply(text, picture, 5, 7), apply(text, picture, 5, 8)))


if __name__ == "__main__":
    unittest.main()
