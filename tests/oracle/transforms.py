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
    from torchvision.transforms import InterpolationMode, autoaugment, functional
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

    # Pillow multiplies RGBA by its transparency first, which we leave to the conversion to RGB.
    OPAQUE = [picture for picture in PICTURES if picture.shape[2:] != (4,)]

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
        for word, mode in WORDS.items():
            for size in (24, (40, 31), (11, 200), (64, 64), 1):
                words = ":".join(map(str, size)) if isinstance(size, tuple) else f"{size}"
                self.compare(f"resize:{words}:interpolation={word}",
                             transforms.Resize(size, mode), self.OPAQUE)

    def test_center_crop(self):
        for size in (1, 5, 32, 63, (20, 90), (301, 4)):
            words = ":".join(map(str, size)) if isinstance(size, tuple) else f"{size}"
            self.compare(f"center_crop:{words}", transforms.CenterCrop(size))

    def test_corners(self):
        """Those of five_crop, in its order."""
        for place, corner in enumerate(("top_left", "top_right", "bottom_left", "bottom_right")):
            for size in (1, 12, (20, 13)):
                words = ":".join(map(str, size)) if isinstance(size, tuple) else f"{size}"
                crop = transforms.FiveCrop(size)
                self.compare(f"resize:40:50,corner_crop:{words}:corner={corner}",
                             lambda picture, crop=crop, place=place:
                             crop(transforms.Resize((40, 50))(picture))[place], self.OPAQUE)

    def test_flips(self):
        self.compare("flip:1", transforms.RandomHorizontalFlip(1))
        self.compare("vertical_flip:1", transforms.RandomVerticalFlip(1))

    def test_pad(self):
        for mode in ("constant", "edge", "reflect", "symmetric"):
            for padding in (0, 1, 4):
                pictures = [picture for picture in PICTURES if min(picture.shape[:2]) > 4]
                self.compare(f"pad:{padding}:7:{mode}", transforms.Pad(padding, 7, mode), pictures)
        self.compare("pad:9:mode=reflect", transforms.Pad(9, 0, "reflect"), [noise(5, 4)])

    def test_rotate(self):
        for word in ("nearest", "bilinear", "bicubic"):
            for degrees in (0, 10, -33.3, 90, 180, 270, 123.456, -360):
                for grows in ("no", "yes"):
                    def reference(picture):
                        return functional.rotate(picture, degrees, WORDS[word], grows == "yes",
                                                 fill=9)
                    if grows == "no":
                        self.compare(f"rotate:{degrees}:{degrees}:{word}:9", reference,
                                     self.OPAQUE)
                    else:  # the size that comes out is not known before
                        self.compare_grown(f"rotate:{degrees}:{degrees}:{word}:9:yes", reference)

    def compare_grown(self, text, reference):
        for picture in self.OPAQUE:
            wanted = numpy.asarray(reference(Image.fromarray(picture)))
            with self.subTest(text=text, size=picture.shape):
                height, width = wanted.shape[:2]
                found = pixels_of(f"{text},center_crop:{height}:{width}", picture)
                self.assertTrue(numpy.array_equal(found, wanted))

    def test_affine(self):
        for word in ("nearest", "bilinear", "bicubic"):
            for degrees, scale in ((0, 1), (0, 0.7), (20, 1), (-45, 1.3), (90, 2), (7, 0.01)):
                self.compare(
                    f"affine:{degrees}:{degrees}:0:{scale}:{scale}:0:{word}:30",
                    lambda picture, d=degrees, s=scale, w=word: functional.affine(
                        picture, d, [0, 0], s, [0, 0], WORDS[w], fill=30), self.OPAQUE)

    def test_colours(self):
        rgb = [picture for picture in PICTURES if picture.shape[2:] != (4,)]
        self.compare("invert:1", functional.invert, rgb)
        self.compare("equalize:1", functional.equalize, rgb)
        self.compare("autocontrast:1", functional.autocontrast, rgb)
        flat = [numpy.full((9, 8, 3), 77, numpy.uint8), noise(40, 40) // 4 + 90]
        self.compare("equalize:1", functional.equalize, flat)
        self.compare("autocontrast:1", functional.autocontrast, flat)
        for bits in (0, 1, 4, 7, 8):
            self.compare(f"posterize:{bits}:1", lambda p, b=bits: functional.posterize(p, b), rgb)
        for threshold in (0, 100, 128.5, 256):
            self.compare(f"solarize:{threshold}:1",
                         lambda p, t=threshold: functional.solarize(p, t), rgb)
        for factor in (0, 0.3, 1, 2, 7.5):
            self.compare(f"sharpness:{factor}:1",
                         lambda p, f=factor: functional.adjust_sharpness(p, f), rgb)
        self.compare("random_grayscale:1", transforms.RandomGrayscale(1), rgb)
        for picture in rgb:
            for channels in (1, 3):
                found = apply(f"grayscale:{channels}", picture)
                wanted = functional.to_grayscale(Image.fromarray(picture), channels)
                self.assertTrue(torch.equal(torch.from_numpy(found),
                                            functional.to_tensor(wanted)))

    def test_blur(self):
        """Sums in another order may round a half the other way: by one, and seldom."""
        for size, sigma in ((3, 0.5), (5, 1.5), (9, 2.0), (23, 3.3)):
            for picture in PICTURES:
                if min(picture.shape[:2]) <= size // 2 or picture.shape[2:] == (4,):
                    continue
                wanted = functional.gaussian_blur(Image.fromarray(picture), size, sigma)
                wanted = numpy.asarray(wanted).astype(int)
                difference = abs(pixels_of(f"blur:{size}:{sigma}:{sigma}", picture) - wanted)
                self.assertLessEqual(difference.max(), 1)
                self.assertLessEqual((difference > 0).mean(), 1e-3)
        with self.assertRaisesRegex(cr.CressetError, "blur: a window of 9 pixels does not fit"):
            pixels_of("blur:9", noise(4, 20))

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

    # What torchvision's policies are made of, at one magnitude: (operation, magnitude).
    SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color",
              "Contrast", "Sharpness")

    def candidates(self, picture, magnitudes):
        image = Image.fromarray(picture)
        found = {}
        for name, values in magnitudes.items():
            for value in values:
                for sign in ((1, -1) if name in self.SIGNED else (1,)):
                    result = autoaugment._apply_op(image, name, float(value) * sign,
                                                   InterpolationMode.NEAREST, None)
                    found.setdefault(numpy.asarray(result).tobytes(), []).append(name)
        return found

    def check_policy(self, text, magnitudes, least):
        picture = noise(31, 44)
        candidates = self.candidates(picture, magnitudes)
        seen = set()
        for i in range(1500):
            result = pixels_of(text, picture, 4, i).tobytes()
            self.assertIn(result, candidates, f"{text}, sample {i}: torchvision gives none such")
            seen.add(result)
        self.assertGreaterEqual(len(seen), least)

    def test_randaugment(self):
        for magnitude in (9, 30):
            space = transforms.RandAugment()._augmentation_space(31, (31, 44))
            magnitudes = {name: [values[magnitude].item() if values.ndim else 0.0]
                          for name, (values, _) in space.items()}
            every = len(self.candidates(noise(31, 44), magnitudes))
            self.check_policy(f"randaugment:1:{magnitude}", magnitudes, every)

    def test_trivialaugment(self):
        space = transforms.TrivialAugmentWide()._augmentation_space(31)
        magnitudes = {name: [float(value) for value in values] if values.ndim else [0.0]
                      for name, (values, _) in space.items()}
        self.check_policy("trivialaugment", magnitudes, 350)

    def test_autoaugment(self):
        """Each pair of the policy, all ways that its chances allow."""
        picture = noise(31, 44)
        for policy in autoaugment.AutoAugmentPolicy:
            reference = transforms.AutoAugment(policy)
            space = reference._augmentation_space(10, (31, 44))
            wanted = set()
            for pair in reference.policies:
                for way in range(16):
                    image = Image.fromarray(picture)
                    for i, (name, p, level) in enumerate(pair):
                        values, signed = space[name]
                        value = values[level].item() if level is not None else 0.0
                        if way >> i & 1 and p > 0:
                            image = autoaugment._apply_op(
                                image, name, -value if signed and way >> (2 + i) & 1 else value,
                                InterpolationMode.NEAREST, None)
                    wanted.add(numpy.asarray(image).tobytes())
            seen = {pixels_of(f"autoaugment:{policy.value}", picture, 5, i).tobytes()
                    for i in range(1000)}
            self.assertLessEqual(seen, wanted)
            self.assertGreater(len(seen), 40)

    def test_jitter(self):
        picture = noise(20, 30)
        image = Image.fromarray(picture)
        hues = {numpy.asarray(functional.adjust_hue(image, i / 254)).tobytes()
                for i in range(-127, 128)}
        seen = {pixels_of("jitter:hue=0.5", picture, 6, i).tobytes() for i in range(600)}
        self.assertLessEqual(seen, hues)
        self.assertGreater(len(seen), 200)
        flat = numpy.full((2, 2, 3), 100, numpy.uint8)
        values = numpy.array([int(pixels_of("jitter:0.4", flat, 7, i)[0, 0, 0])
                              for i in range(2000)])
        self.assertTrue(60 <= values.min() <= 61 and 138 <= values.max() <= 139)
        self.assertLess(abs(values.mean() + 0.5 - 100), 5 * 80 / math.sqrt(12 * 2000))
        grey = pixels_of("jitter:saturation=100", noise(6, 6, 1), 8, 0)
        self.assertEqual(grey.shape, (6, 6))
        # The parts in another order give another picture.
        both = {pixels_of("jitter:0.9:0.9", picture, 9, i).tobytes() for i in range(50)}
        self.assertEqual(len(both), 50)

    def test_warps(self):
        """Where the middle goes is all that may be drawn."""
        picture = self.coordinates(64, 64)
        moved = numpy.array([pixels_of("affine:0:translate=0.25", picture, 1, i)[32, 32, :2]
                             for i in range(800)]).astype(int)
        self.assertEqual((moved.min(), moved.max()), (16, 48))
        self.assertLess(abs(moved.mean() - 32), 5 * 33 / math.sqrt(12 * 1600))
        angles = []
        for i in range(800):
            turned = pixels_of("rotate:30:interpolation=bilinear", picture, 2, i).astype(float)
            dy, dx = turned[32, 40, :2] - turned[32, 24, :2]
            angles.append(math.degrees(math.atan2(dy, dx)))
        self.assertLess(abs(numpy.mean(angles)), 5 * 60 / math.sqrt(12 * 800))
        self.assertTrue(27 < max(angles) < 31 and -31 < min(angles) < -27)
        inset = [pixels_of("perspective:0.5:1", picture, 3, i) for i in range(300)]
        corner = numpy.array([one[0, 0].max() == 0 and one[20, 20].max() > 0 for one in inset])
        self.assertGreater(corner.mean(), 0.9)
        self.assertTrue(numpy.array_equal(pixels_of("perspective:0.5:0", picture), picture))
        self.assertTrue(numpy.array_equal(pixels_of("perspective:0:1", picture), picture))
        self.assertTrue(numpy.array_equal(pixels_of("elastic:0", picture), picture))
        bent = pixels_of("elastic:100:6", self.coordinates(200, 200), 4, 0).astype(int)
        shift = bent[40:160, 40:160, :2] - self.coordinates(200, 200)[40:160, 40:160, :2]
        torch.manual_seed(0)
        field = transforms.ElasticTransform(100.0, 6.0).get_params([100.0] * 2, [6.0] * 2,
                                                                   [200, 200])
        self.assertLess(abs(shift.std() / (field * 100).std().item() - 1), 0.4)

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
