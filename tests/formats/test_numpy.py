#!/usr/bin/env python3
"""What is shared with NumPy: npy and npz files both ways, and how tensors are printed. Run as:
test_numpy.py LIBCRESSET.so"""

import ctypes
import pathlib
import sys
import tempfile
import unittest

try:
    import numpy as np
except ImportError as error:
    print(f"skipped: NumPy is not installed for {sys.executable} ({error})")
    sys.exit(77)

# In the order of cr_dtype; bfloat16 is a two-byte void there.
DTYPES = ["<f4", "<f8", "<V2", "<f2", "<i8", "<i4", "<i2", "|i1", "|u1", "|b1"]
SHAPES = [(), (1,), (7,), (0, 3), (2, 3), (3, 1, 5), (2, 1, 2, 1, 2, 1, 2, 1)]


class Shape(ctypes.Structure):
    _fields_ = [("ndim", ctypes.c_int), ("dim", ctypes.c_int64 * 8)]


class Item(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("tensor", ctypes.c_void_p)]


class Options(ctypes.Structure):
    _fields_ = [("precision", ctypes.c_int), ("threshold", ctypes.c_int64),
                ("edge_items", ctypes.c_int64), ("line_width", ctypes.c_int)]


class Text(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("length", ctypes.c_size_t),
                ("capacity", ctypes.c_size_t)]


def declare(library):
    pointer, text, integer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures = {
        "cr_from_buffer": (pointer, [pointer, Shape, integer]),
        "cr_to_buffer": (integer, [pointer, pointer, ctypes.c_size_t]),
        "cr_transpose": (pointer, [pointer, integer, integer]),
        "cr_shape_of": (Shape, [pointer]),
        "cr_dtype_of": (integer, [pointer]),
        "cr_error_message": (text, []),
        "cr_error_clear": (None, []),
        "cr_npy_load": (pointer, [text]),
        "cr_npy_save": (integer, [text, pointer]),
        "cr_npz_open": (pointer, [text]),
        "cr_npz_close": (None, [pointer]),
        "cr_npz_count": (integer, [pointer]),
        "cr_npz_name": (text, [pointer, integer]),
        "cr_npz_load": (pointer, [pointer, text]),
        "cr_npz_save": (integer, [text, ctypes.POINTER(Item), integer]),
        "cr_tensor_format_with": (integer, [pointer, Options, ctypes.POINTER(Text)]),
        "cr_text_free": (None, [ctypes.POINTER(Text)]),
        "cr_frame_end_all": (None, []),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


def tensor_of(array):
    array = np.asarray(array, order="C")
    shape = Shape(array.ndim, (ctypes.c_int64 * 8)(*array.shape))
    dtype = DTYPES.index(np.dtype(array.dtype).str.replace("|V2", "<V2"))
    return LIBRARY.cr_from_buffer(array.ctypes.data, shape, dtype)


def array_of(tensor):
    assert tensor, LIBRARY.cr_error_message()
    shape = LIBRARY.cr_shape_of(tensor)
    array = np.empty(tuple(shape.dim[:shape.ndim]), DTYPES[LIBRARY.cr_dtype_of(tensor)])
    assert LIBRARY.cr_to_buffer(tensor, array.ctypes.data, array.nbytes) == 0
    return array


def arrays():
    """Arrays of every dtype and shape, filled with bits of all kinds."""
    random = np.random.default_rng(1)
    for dtype in DTYPES:
        for shape in SHAPES:
            size = (*shape, np.dtype(dtype).itemsize)
            bits = random.integers(0, 2 if dtype == "|b1" else 256, size, dtype=np.uint8)
            yield bits.reshape(-1).view(dtype).reshape(shape)


class Files(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.scratch.name)
        self.path = self.folder / "file"

    def tearDown(self):
        LIBRARY.cr_frame_end_all()
        self.scratch.cleanup()

    def same(self, ours, theirs):
        self.assertEqual(ours.shape, theirs.shape)
        self.assertEqual(ours.dtype.itemsize, theirs.dtype.itemsize)
        self.assertEqual(ours.tobytes(), theirs.tobytes())

    def refused(self, words):
        self.assertRegex(LIBRARY.cr_error_message().decode(), words)
        LIBRARY.cr_error_clear()

    def test_npy(self):
        for array in arrays():
            for layout in (array, np.array(array, order="F")):
                with open(self.path, "wb") as file:
                    np.save(file, layout)
                self.same(array_of(LIBRARY.cr_npy_load(bytes(self.path))), array)
            self.assertEqual(LIBRARY.cr_npy_save(bytes(self.path), tensor_of(array)), 0)
            self.same(np.load(self.path), array)

    def test_other_byte_order(self):
        for dtype in (">f4", ">f8", ">i2", ">i8"):
            array = np.arange(6).reshape(2, 3).astype(dtype)
            with open(self.path, "wb") as file:
                np.save(file, array)
            read = array_of(LIBRARY.cr_npy_load(bytes(self.path)))
            self.assertTrue(np.array_equal(read, array))

    def test_strided(self):
        array = np.arange(12, dtype="<f4").reshape(3, 4)
        turned = LIBRARY.cr_transpose(tensor_of(array), 0, 1)
        self.assertEqual(LIBRARY.cr_npy_save(bytes(self.path), turned), 0)
        self.same(np.load(self.path), np.ascontiguousarray(array.T))

    def test_npz(self):
        named = {f"array {i}/é": array for i, array in enumerate(arrays())}
        for save in (np.savez, np.savez_compressed):
            with open(self.path, "wb") as file:
                save(file, **named)
            opened = LIBRARY.cr_npz_open(bytes(self.path))
            names = [LIBRARY.cr_npz_name(opened, i).decode()
                     for i in range(LIBRARY.cr_npz_count(opened))]
            self.assertEqual(names, list(named))
            for name, array in named.items():
                self.same(array_of(LIBRARY.cr_npz_load(opened, name.encode())), array)
            self.assertFalse(LIBRARY.cr_npz_load(opened, b"other"))
            self.refused("no array \"other\"")
            LIBRARY.cr_npz_close(opened)
        items = (Item * len(named))(*[(name.encode(), tensor_of(array))
                                      for name, array in named.items()])
        self.assertEqual(LIBRARY.cr_npz_save(bytes(self.path), items, len(named)), 0)
        with np.load(self.path) as read:
            self.assertEqual(list(read), list(named))
            for name, array in named.items():
                self.same(read[name], array)

    def test_refusals(self):
        def write(array):
            with open(self.path, "wb") as file:
                np.save(file, array)
            return self.path.read_bytes()

        good = write(np.arange(6, dtype="<f4"))
        for bad, words in ((good[:-1], "23 bytes .* more"), (good + b"x", "25 bytes .* less"),
                           (good[:40], "too long"), (b"PK" + good, "no npy file"),
                           (good.replace(b"(6,)", b"(6,-"), "plain dtype"),
                           (write(np.array([{}])), r"\|O"), (write(np.array([1j])), "<c16"),
                           (write(np.zeros(2, [("a", "<f4")])), "plain dtype"),
                           (write(np.array([True])).replace(b"\n\x01", b"\n\x02"), "no bool")):
            self.path.write_bytes(bad)
            self.assertFalse(LIBRARY.cr_npy_load(bytes(self.path)), words)
            self.refused(words)
        self.path.write_bytes(b"no archive at all, certainly not")
        self.assertFalse(LIBRARY.cr_npz_open(bytes(self.path)))
        self.refused("no zip archive")
        with open(self.path, "wb") as file:
            np.savez(file, a=np.array([0x1234567]))
        self.path.write_bytes(self.path.read_bytes().replace(b"\x67\x45\x23", b"\x67\x45\x24"))
        opened = LIBRARY.cr_npz_open(bytes(self.path))
        self.assertFalse(LIBRARY.cr_npz_load(opened, b"a"))
        self.refused("check sum")
        LIBRARY.cr_npz_close(opened)


def numpy_text(array, precision, threshold, edge_items, line_width):
    """As repr of an array, but called tensor, and of the dtypes that go without saying here."""
    implied = array.dtype in (np.float32, np.int64, np.bool_) and array.size
    end = ")" if implied else ","
    if array.size or array.ndim == 1:
        with np.printoptions(precision=precision, threshold=threshold, edgeitems=edge_items,
                             linewidth=line_width):
            body = np.array2string(array, separator=", ", prefix="tensor(", suffix=end)
    else:
        body = f"[], shape={array.shape}"
    text = f"tensor({body}{end}"
    dtype = f"dtype={array.dtype.name})"
    last = len(text) - text.rfind("\n") - 1
    space = "\n" + " " * 7 if last + len(dtype) + 1 > line_width else " "
    return text if implied else text + space + dtype


class Printing(unittest.TestCase):
    def tearDown(self):
        LIBRARY.cr_frame_end_all()

    def compare(self, array, precision=4, threshold=1000, edge_items=3, line_width=80):
        text = Text()
        options = Options(precision, threshold, edge_items, line_width)
        self.assertEqual(LIBRARY.cr_tensor_format_with(tensor_of(array), options,
                                                       ctypes.byref(text)), 0)
        ours = text.data.decode()
        LIBRARY.cr_text_free(ctypes.byref(text))
        self.assertEqual(ours, numpy_text(array, precision, threshold, edge_items, line_width))

    def variations(self, array):
        self.compare(array)
        self.compare(array, precision=8, line_width=40)
        self.compare(array, threshold=10, edge_items=2)

    def test_floats(self):
        random = np.random.default_rng(2)
        for dtype in ("<f4", "<f8", "<f2"):
            for shape in (*SHAPES, (30,), (3, 40), (2, 2, 2, 3), (5, 300), (20, 20, 20)):
                for scale in (1, 1e-3, 1e3, 1e-6, 1e9, 1e30):
                    with np.errstate(over="ignore"):
                        array = np.asarray(random.standard_normal(shape) * scale).astype(dtype)
                    self.variations(array)
                    self.variations(np.asarray(np.round(array)))
                    self.variations(np.asarray(np.round(array.astype("<f8") * 4) / 4).astype(dtype))

    def test_special_values(self):
        for values in ([np.nan, 1], [np.inf, -np.inf, 0.5], [np.nan] * 3, [-np.inf] * 2, [0, -0.0],
                       [1e300, 1e-300, 5e-324, 1e100], [9.99999, 0.99996], [1.2345e-4, 0.1],
                       [1e8], [99999999], [1, 1000], [1, 1000.1], [1e16], [123456.789]):
            for dtype in ("<f4", "<f8"):
                with np.errstate(over="ignore", under="ignore"):
                    self.variations(np.array(values).astype(dtype))

    def test_integers(self):
        random = np.random.default_rng(3)
        for dtype in ("<i8", "<i4", "<i2", "|i1", "|u1", "|b1"):
            for shape in (*SHAPES, (50,), (4, 60), (3, 3, 500)):
                self.variations(np.asarray(random.integers(0, 100, shape) - 40).astype(dtype))


if __name__ == "__main__":
    LIBRARY = declare(ctypes.CDLL(sys.argv.pop(1)))
    unittest.main()
