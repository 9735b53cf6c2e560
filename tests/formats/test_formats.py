#!/usr/bin/env python3
"""Files exchanged with NumPy: safetensors and idx files written here by the letter of their
formats are read by the library, and what the library writes is read back here by a strict reader.
Run as: test_formats.py LIBCRESSET.so"""

import ctypes
import gzip
import json
import pathlib
import struct
import sys
import tempfile
import unittest

try:
    import numpy as np
except ImportError as error:
    print(f"skipped: NumPy is not installed for {sys.executable} ({error})")
    sys.exit(77)

# In the order of cr_dtype: the format's name and NumPy's; bfloat16 goes as its bits.
DTYPES = [("F32", "<f4"), ("F64", "<f8"), ("BF16", "<u2"), ("F16", "<f2"), ("I64", "<i8"),
          ("I32", "<i4"), ("I16", "<i2"), ("I8", "|i1"), ("U8", "|u1"), ("BOOL", "|b1")]
SHAPES = [(), (1,), (0, 3), (2, 3), (3, 1, 5), (2, 1, 2, 1, 2, 1, 2, 1)]


class Shape(ctypes.Structure):
    _fields_ = [("ndim", ctypes.c_int), ("dim", ctypes.c_int64 * 8)]


class Item(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("tensor", ctypes.c_void_p)]


class Pair(ctypes.Structure):
    _fields_ = [("key", ctypes.c_char_p), ("value", ctypes.c_char_p)]


class Statistics(ctypes.Structure):
    _fields_ = [("size", ctypes.c_int64), ("unlabelled", ctypes.c_int64),
                ("class_count", ctypes.c_int), ("class_counts", ctypes.POINTER(ctypes.c_int64)),
                ("channel_count", ctypes.c_int), ("means", ctypes.POINTER(ctypes.c_double)),
                ("deviations", ctypes.POINTER(ctypes.c_double))]


def declare(library):
    pointer, text, integer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures = {
        "cr_from_buffer": (pointer, [pointer, Shape, integer]),
        "cr_to_buffer": (integer, [pointer, pointer, ctypes.c_size_t]),
        "cr_shape_of": (Shape, [pointer]),
        "cr_dtype_of": (integer, [pointer]),
        "cr_error_message": (text, []),
        "cr_safetensors_open": (pointer, [text]),
        "cr_safetensors_close": (None, [pointer]),
        "cr_safetensors_count": (integer, [pointer]),
        "cr_safetensors_load": (pointer, [pointer, text]),
        "cr_safetensors_metadata": (text, [pointer, text]),
        "cr_safetensors_save": (integer, [text, ctypes.POINTER(Item), integer,
                                          ctypes.POINTER(Pair), integer]),
        "cr_idx_load": (pointer, [text]),
        "cr_dataset_open_idx": (pointer, [text, integer]),
        "cr_dataset_measure": (integer, [pointer, ctypes.POINTER(Statistics)]),
        "cr_dataset_statistics_free": (None, [ctypes.POINTER(Statistics)]),
        "cr_dataset_free": (None, [pointer]),
        "cr_frame_end_all": (None, []),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


def sample_arrays():
    """Arrays of every dtype and shape by name, filled with bits of all kinds."""
    random = np.random.default_rng(1)
    arrays = {}
    for name, numpy in DTYPES:
        for shape in SHAPES:
            bits = random.integers(0, 2 if name == "BOOL" else 256,
                                   (*shape, np.dtype(numpy).itemsize), dtype=np.uint8)
            arrays[f"{name.lower()}.{len(shape)}.{'x'.join(map(str, shape))}"] = (
                name, bits.reshape(-1).view(numpy).reshape(shape))
    return arrays


def write_safetensors(path, arrays, metadata):
    """In the order given, which need not be by alignment, and without padding."""
    header, data = {"__metadata__": metadata}, b""
    for name, (dtype, array) in arrays.items():
        raw = array.tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    """The metadata and {name: (dtype, array)}; refuses everything that the format forbids."""
    raw = path.read_bytes()
    length, = struct.unpack("<Q", raw[:8])
    assert raw[8:9] == b"{" and length % 8 == 0
    header = json.loads(raw[8:8 + length])
    data = raw[8 + length:]
    metadata = header.pop("__metadata__", {})
    sizes = {name: np.dtype(numpy) for name, numpy in DTYPES}
    place, arrays, order = 0, {}, []
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        dtype = sizes[entry["dtype"]]
        assert begin == place and begin % dtype.itemsize == 0
        order.append((-dtype.itemsize, name))
        array = np.frombuffer(data[begin:end], dtype).reshape(entry["shape"])
        arrays[name] = (entry["dtype"], array)
        place = end
    assert place == len(data) and order == sorted(order)
    return metadata, arrays


class Formats(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.scratch.name)

    def tearDown(self):
        LIBRARY.cr_frame_end_all()
        self.scratch.cleanup()

    def array_of(self, tensor):
        """The format's dtype and the elements of a tensor."""
        self.assertTrue(tensor, LIBRARY.cr_error_message())
        shape = LIBRARY.cr_shape_of(tensor)
        name, numpy = DTYPES[LIBRARY.cr_dtype_of(tensor)]
        array = np.empty(tuple(shape.dim[:shape.ndim]), numpy)
        status = LIBRARY.cr_to_buffer(tensor, array.ctypes.data, array.nbytes)
        self.assertEqual(status, 0)
        return name, array

    def tensor_of(self, dtype, array):
        shape = Shape(array.ndim, (ctypes.c_int64 * 8)(*array.shape))
        number = [name for name, _ in DTYPES].index(dtype)
        array = np.ascontiguousarray(array)
        return LIBRARY.cr_from_buffer(array.ctypes.data, shape, number)

    def assert_same(self, found, expected):
        self.assertEqual(found[0], expected[0])
        self.assertEqual(found[1].shape, expected[1].shape)
        self.assertEqual(found[1].tobytes(), expected[1].tobytes())

    def test_safetensors_written_by_numpy(self):
        arrays = sample_arrays()
        path = self.folder / "numpy.safetensors"
        write_safetensors(path, arrays, {"format": "np", "ключ": "значение\n\""})
        file = LIBRARY.cr_safetensors_open(str(path).encode())
        self.assertTrue(file, LIBRARY.cr_error_message())
        self.assertEqual(LIBRARY.cr_safetensors_count(file), len(arrays))
        self.assertEqual(LIBRARY.cr_safetensors_metadata(file, "ключ".encode()).decode(),
                         "значение\n\"")
        for name, expected in arrays.items():
            found = self.array_of(LIBRARY.cr_safetensors_load(file, name.encode()))
            self.assert_same(found, expected)
        LIBRARY.cr_safetensors_close(file)

    def test_safetensors_read_by_numpy(self):
        arrays = sample_arrays()
        path = self.folder / "cresset.safetensors"
        items = [Item(name.encode(), self.tensor_of(*value)) for name, value in arrays.items()]
        pairs = (Pair * 1)(Pair("клю\"ч".encode(), b"{\"a\": 1}\t"))
        status = LIBRARY.cr_safetensors_save(str(path).encode(), (Item * len(items))(*items),
                                             len(items), pairs, 1)
        self.assertEqual(status, 0, LIBRARY.cr_error_message())
        metadata, found = read_safetensors(path)
        self.assertEqual(metadata, {"клю\"ч": "{\"a\": 1}\t"})
        self.assertEqual(set(found), set(arrays))
        for name, expected in arrays.items():
            self.assert_same(found[name], expected)

    def test_idx_written_by_numpy(self):
        random = np.random.default_rng(2)
        codes = {"U8": (8, "|u1"), "I8": (9, "|i1"), "I16": (11, ">i2"), "I32": (12, ">i4"),
                 "F32": (13, ">f4"), "F64": (14, ">f8")}
        for name, (code, numpy) in codes.items():
            for shape in SHAPES[1:]:
                array = (random.normal(size=shape) * 50).astype(numpy)
                raw = bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
                path = self.folder / "array.gz"
                path.write_bytes(gzip.compress(raw + array.tobytes()))
                found = self.array_of(LIBRARY.cr_idx_load(str(path).encode()))
                self.assert_same(found, (name, array.astype(np.dtype(numpy).newbyteorder("<"))))

    def test_statistics_of_an_idx_folder(self):
        random = np.random.default_rng(3)
        images = random.integers(0, 256, (37, 5, 4), dtype=np.uint8)
        labels = random.integers(0, 10, 37, dtype=np.uint8)
        for name, array in ("images-idx3", images), ("labels-idx1", labels):
            raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (self.folder / f"t10k-{name}-ubyte").write_bytes(raw + array.tobytes())
        data = LIBRARY.cr_dataset_open_idx(str(self.folder).encode(), 1)
        self.assertTrue(data, LIBRARY.cr_error_message())
        statistics = Statistics()
        self.assertEqual(LIBRARY.cr_dataset_measure(data, ctypes.byref(statistics)), 0)
        self.assertEqual(statistics.class_counts[:10],
                         np.bincount(labels, minlength=10).tolist())
        self.assertAlmostEqual(statistics.means[0], (images / 255).mean(), places=12)
        self.assertAlmostEqual(statistics.deviations[0], (images / 255).std(), places=12)
        LIBRARY.cr_dataset_statistics_free(ctypes.byref(statistics))
        LIBRARY.cr_dataset_free(data)


if __name__ == "__main__":
    LIBRARY = declare(ctypes.CDLL(sys.argv.pop(1)))
    unittest.main()
