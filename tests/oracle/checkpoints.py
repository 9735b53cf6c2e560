#!/usr/bin/env python3
"""PyTorch's checkpoints: what torch.save wrote is read as torch.load reads it, in both forms and
all protocols; what Cresset writes torch.load reads; and what is hostile or broken is refused at
once, in a sentence, with nothing executed. Files from elsewhere are read too where CRESSET_DATA (by
default ../shared/data beside the source) has some."""
import collections
import copyreg
import ctypes
import io
import json
import os
import pathlib
import pickle
import sys
import tempfile
import time
import unittest
import zipfile

try:
    import torch
    import torchvision
except ImportError as missing:
    print(f"skipped: PyTorch or torchvision is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr
from cresset import lib
from training import Net

_P, _I, _B, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_bool, ctypes.c_char_p
for _name, (_result, *_arguments) in {
        "cr_torch_open": (_P, _S, _S), "cr_torch_close": (None, _P), "cr_torch_count": (_I, _P),
        "cr_torch_section": (_S, _P), "cr_torch_load": (_P, _P, _S),
        "oracle_torch_name": (_S, _P, _I),
        "oracle_torch_dtype": (_S, _P, _I), "cr_torch_find": (_I, _P, _S),
        "cr_weights_open": (_P, _S), "cr_weights_close": (None, _P), "cr_weights_count": (_I, _P),
        "cr_weights_format": (_S, _P), "cr_weights_load": (_P, _P, _I),
        "oracle_weights_name": (_S, _P, _I), "oracle_save": (_I, _S, _P, _P, _I, _B),
        "oracle_model_load": (_I, _P, _S, _B, _S, _P), "cr_model_save_torch": (_I, _P, _S)}.items():
    _function = getattr(lib, _name)
    _function.restype, _function.argtypes = _result, _arguments

SECONDS = 10 if os.environ.get("CRESSET_SLOW") else 1  # in which a file is refused
DATA = pathlib.Path(os.environ.get("CRESSET_DATA", cr.ROOT.parent / "shared/data"))
FORMS = [(True, 2), (True, 4), (True, 5), (False, 2), (False, 3), (False, 4)]


def read(path, section=None):
    """(section, {name: tensor}) of a checkpoint."""
    at = lib.cr_torch_open(os.fsencode(path), None if section is None else section.encode())
    cr.check(failed=not at)
    try:
        found = {}
        for i in range(lib.cr_torch_count(at)):
            name = lib.oracle_torch_name(at, i)
            assert lib.cr_torch_find(at, name) == i
            with cr.frame():
                own = cr.Tensor(cr.check(lib.cr_torch_load(at, name)))
                found[name.decode()] = own.torch()
        return lib.cr_torch_section(at).decode(), found
    finally:
        lib.cr_torch_close(at)


def save(path, tensors, as_torch=True):
    names = (ctypes.c_char_p * len(tensors))(*[name.encode() for name in tensors])
    with cr.frame():
        own = [cr.tensor(value) for value in tensors.values()]
        status = lib.oracle_save(os.fsencode(path), names, cr._pointers(own), len(own), as_torch)
        cr.check(failed=status)


def of_all_dtypes():
    torch.manual_seed(0)
    found = collections.OrderedDict()
    for dtype in cr.DTYPES:
        found[f"some.{str(dtype)[6:]}"] = (torch.randn(3, 4, 2) * 20).to(dtype)
    found["scalar"] = torch.tensor(2.5)
    found["empty"] = torch.zeros(0, 3)
    return found


class FileTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def path(self, name="file.pth"):
        return str(self.folder / name)

    def assert_same(self, found, expected):
        self.assertEqual(list(found), list(expected))
        for name, value in expected.items():
            value = value.detach()
            self.assertEqual(found[name].dtype, value.dtype, name)
            self.assertTrue(torch.equal(found[name], value), name)

    def refused(self, path, *words):
        start = time.process_time()
        with self.assertRaises(cr.CressetError) as refusal:
            read(path)
        self.assertLess(time.process_time() - start, SECONDS)
        sentence = str(refusal.exception)
        self.assertIn(str(path), sentence)
        self.assertNotIn("\n", sentence)
        for word in words:
            self.assertIn(word, sentence)


class Reading(FileTest):
    def both_ways(self, value, expected, section=""):
        for is_zip, protocol in FORMS:
            with self.subTest(zip=is_zip, protocol=protocol):
                torch.save(value, self.path(), _use_new_zipfile_serialization=is_zip,
                           pickle_protocol=protocol)
                found, tensors = read(self.path())
                self.assertEqual(found, section)
                self.assert_same(tensors, expected)

    def test_dtypes(self):
        self.both_ways(of_all_dtypes(), of_all_dtypes())

    def test_strides_and_shared_storages(self):
        base = torch.arange(120.0).reshape(4, 5, 6)
        tensors = {"base": base, "transposed": base.transpose(0, 2), "slice": base[1:3, ::2, 3],
                   "expanded": base[:, :1, :1].expand(4, 7, 9), "row": base[2, 4],
                   "last": base.permute(1, 2, 0)[4:, 5:], "same": base}
        self.both_ways(tensors, tensors)

    def test_sections_and_prefixes(self):
        state = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
        for key in ("state_dict", "model", "model_state", "model_state_dict", "net"):
            self.both_ways({"epoch": 3, "best": 0.5, "args": {"lr": [1e-3, None, True, 1 << 70]},
                            key: state, "device": torch.device("cpu"), "dtype": torch.float16,
                            "size": torch.Size([1, 2])}, state, key)
        wrapped = {"state_dict": {"model": state}, "extra": torch.zeros(1)}
        torch.save(wrapped, self.path())
        self.assert_same(read(self.path())[1], state)
        self.assertIn("extra", read(self.path(), "")[1])
        self.assert_same(read(self.path(), "state_dict.model")[1], state)
        with self.assertRaisesRegex(cr.CressetError, 'has no section "absent"'):
            read(self.path(), "absent")

    def test_parameters_and_other_objects(self):
        net = torch.nn.Linear(2, 3)
        self.both_ways({"weight": net.weight, "bias": torch.nn.Parameter(net.bias, False)},
                       dict(net.named_parameters()))
        self.both_ways(torch.ones(2, 2), {"tensor": torch.ones(2, 2)})
        self.both_ways([torch.ones(1), (torch.zeros(2),)],
                       {"0": torch.ones(1), "1.0": torch.zeros(2)})
        complexes = {"wave": torch.zeros(2, dtype=torch.complex64), "plain": torch.ones(2)}
        torch.save(complexes, self.path())
        with self.assertRaisesRegex(cr.CressetError, "wave.* is complex64, which is not a dtype"):
            read(self.path())

    def test_optimizer(self):
        net = torch.nn.Linear(2, 3)
        optimizer = torch.optim.Adam(net.parameters())
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, self.path())
        self.assert_same(read(self.path())[1], net.state_dict())
        found = read(self.path(), "optimizer")[1]
        self.assertTrue(torch.equal(found["state.1.exp_avg"],
                                    optimizer.state_dict()["state"][1]["exp_avg"]))

    def test_files_from_elsewhere(self):
        paths = sorted(p for kind in ("*.th", "*.pth", "*.pt") for p in DATA.glob(f"w_*/**/{kind}"))
        if not paths:
            self.skipTest(f"there are none under {DATA}")
        for path in paths:
            with self.subTest(path=path.name):
                expected = torch.load(path, map_location="cpu")
                section, found = read(path)
                for key in section.split(".") if section else ():
                    expected = expected[key]
                self.assert_same(found, expected)


class Writing(FileTest):
    def test_torch_reads_it(self):
        tensors = of_all_dtypes()
        tensors["transposed"] = torch.arange(6.0).reshape(2, 3).t()
        save(self.path(), tensors)
        found = torch.load(self.path())
        self.assertIsInstance(found, collections.OrderedDict)
        self.assert_same(found, tensors)
        self.assert_same(read(self.path())[1], tensors)
        with zipfile.ZipFile(self.path()) as archive:
            self.assertIsNone(archive.testzip())
            for entry in archive.infolist():
                archive.fp.seek(entry.header_offset + 26)
                lengths = archive.fp.read(4)
                start = entry.header_offset + 30 + sum(int.from_bytes(lengths[i:i + 2], "little")
                                                       for i in (0, 2))
                self.assertEqual(start % 64, 0)

    def test_refusals(self):
        for names in (["a", "a"], [""]):
            with self.assertRaises(cr.CressetError):
                own = (ctypes.c_char_p * len(names))(*[name.encode() for name in names])
                with cr.frame():
                    tensors = [cr.tensor(torch.ones(1)) for _ in names]
                    cr.check(failed=lib.oracle_save(self.path().encode(), own,
                                                    cr._pointers(tensors), len(names), True))
        self.assertFalse(os.path.exists(self.path()))

    def test_a_model_comes_back(self):
        torch.manual_seed(0)
        theirs = torchvision.models.resnet18(num_classes=7)
        torch.save({"epoch": 1, "state_dict": {f"module.{name}": value for name, value in
                                               theirs.state_dict().items()}}, self.path())
        ours = Net("resnet18", 7, (1, 3, 64, 64))
        counts = (ctypes.c_int * 5)()
        cr.check(failed=lib.oracle_model_load(ours.at, self.path().encode(), False, None, counts))
        self.assertEqual(list(counts), [122, 0, 0, 0, 0])
        for name, own in ours.tensors().items():
            self.assertTrue(torch.equal(own.torch(), theirs.state_dict()[name]), name)
        cr.check(failed=lib.cr_model_save_torch(ours.at, self.path("own.pth").encode()))
        theirs.load_state_dict(torch.load(self.path("own.pth")))
        other = Net("resnet18", 3, (1, 3, 64, 64))
        cr.check(failed=lib.oracle_model_load(other.at, self.path().encode(), False, b"fc.*",
                                              counts))
        self.assertEqual(list(counts), [120, 0, 0, 0, 2])
        with self.assertRaisesRegex(cr.CressetError, r"fc.weight is \(7, 512\) in the file and "
                                                     r"\(3, 512\) in the model"):
            cr.check(failed=lib.oracle_model_load(other.at, self.path().encode(), True, None,
                                                  counts))


class Shards(FileTest):
    def index(self, **files):
        path = self.path("model.index.json")
        names = {name: file for file, tensors in files.items() for name in tensors}
        with open(path, "w", encoding="utf-8") as out:
            json.dump({"metadata": {"total_size": 1}, "weight_map": names}, out)
        return path

    def read(self, path):
        at = cr.check(lib.cr_weights_open(path.encode()))
        with cr.frame():
            found = {lib.oracle_weights_name(at, i).decode():
                     cr.Tensor(cr.check(lib.cr_weights_load(at, i))).torch()
                     for i in range(lib.cr_weights_count(at))}
        kind = lib.cr_weights_format(at).decode()
        lib.cr_weights_close(at)
        return kind, found

    def test_several_files(self):
        first, second = {"a": torch.ones(2), "c": torch.zeros(1)}, {"b": torch.arange(3)}
        for as_torch, kind in ((False, "safetensors with an index"),
                               (True, "PyTorch checkpoints with an index")):
            save(self.path("one"), first, as_torch)
            save(self.path("two"), second, as_torch)
            found_kind, found = self.read(self.index(one=first, two=second))
            self.assertEqual(found_kind, kind)
            self.assert_same(dict(sorted(found.items())), dict(sorted({**first, **second}.items())))

    def test_refusals(self):
        save(self.path("one"), {"a": torch.ones(2)}, False)
        for files, words in (({"one": "ab"}, "b is in one, and it is not"),
                             ({"../one": "a"}, "not beside it"), ({}, "weight_map"),
                             ({"absent": "a"}, "No such file")):
            with self.assertRaisesRegex(cr.CressetError, words):
                self.read(self.index(**files))
        with open(self.path("bad.json"), "w", encoding="utf-8") as out:
            out.write('{"weight_map": ')
        with self.assertRaisesRegex(cr.CressetError, "not valid JSON"):
            self.read(self.path("bad.json"))


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Hostile(FileTest):
    def rewrite(self, change, compression=zipfile.ZIP_STORED, name="data.pkl"):
        """The archive of a small checkpoint with one entry changed."""
        source = io.BytesIO()
        torch.save({"a": torch.arange(4.0)}, source)
        with zipfile.ZipFile(source) as old, \
                zipfile.ZipFile(self.path(), "w", compression) as new:
            for entry in old.namelist():
                data = old.read(entry)
                new.writestr(entry, change(data) if entry.endswith("/" + name) else data)

    def test_calls(self):
        marker = self.path("executed")
        for call in (Call(os.system, f"touch {marker}"), Call(eval, "1"), Call(open, marker, "w"),
                     Call(getattr, "x", "upper"), Call(copyreg._reconstructor, int, object, 1)):
            for is_zip, protocol in FORMS:
                with self.subTest(call=call.call, zip=is_zip, protocol=protocol):
                    torch.save({"state_dict": {"a": torch.ones(1)}, "x": call}, self.path(),
                               _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol)
                    function = call.call[0]
                    module = {2: "__builtin__", 3: "builtins"}.get(protocol, "builtins")
                    name = f"{module}.{function.__name__}"
                    self.refused(self.path(), "refused", "nothing of it was executed",
                                 name if function in (eval, getattr) else "")
        self.assertFalse(os.path.exists(marker))

    def test_whole_models(self):
        torch.save(torch.nn.Linear(1, 1), self.path())
        self.refused(self.path(), "torch.nn.modules.linear.Linear", "state_dict()")
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), self.path())
        self.refused(self.path(), "TorchScript")

    def test_storages(self):
        self.rewrite(lambda data: data[:-1], name="data/0")
        self.refused(self.path(), "its storage 0 should have 16 bytes, and there are 15")
        self.rewrite(lambda data: data.replace(b"K\x04\x85", b"K\x05\x85"))
        self.refused(self.path(), 'tensor "a" reaches past the end of its storage')
        self.rewrite(lambda data: data.replace(b"K\x00K\x04\x85", b"K\x01K\x04\x85"))
        self.refused(self.path(), "reaches past the end")
        huge = pickle.encode_long(1 << 62)
        long = b"\x8a" + bytes([len(huge)]) + huge
        self.rewrite(lambda data: data.replace(b"K\x04\x85", long + b"\x85"))
        self.refused(self.path(), 'tensor "a"')
        self.rewrite(lambda data: data.replace(b"K\x04\x85", long + long + b"\x86")
                     .replace(b"K\x01\x85", b"K\x00K\x00\x86"))
        self.refused(self.path(), 'tensor "a" has more elements than can be addressed')
        self.rewrite(lambda data: data.replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x007"))
        self.refused(self.path(), "it has no storage 7")

    def test_bombs(self):
        self.rewrite(lambda data: bytes(200 << 20), zipfile.ZIP_DEFLATED, "data/0")
        self.assertLess(os.path.getsize(self.path()), 1 << 20)
        self.refused(self.path(), "compressed, which PyTorch never does")
        self.rewrite(lambda data: b"\x80\x02}" + b"N" * (20 << 20) + b".")
        self.refused(self.path(), "asks for more than 256 MiB of values")
        nested = []
        for _ in range(40):
            nested = [nested, nested]
        torch.save({"x": nested}, self.path())
        self.refused(self.path(), "nested more than 16 deep")
        wide = [torch.ones(1)]
        for _ in range(12):
            wide = [wide] * 8
        torch.save({"x": wide}, self.path())
        self.refused(self.path(), "damaged")
        self.rewrite(lambda data: b"\x80\x02}r\xff\xff\xff\xff.")
        self.refused(self.path(), "under a number that is too large")

    def test_truncated(self):
        for is_zip in (True, False):
            torch.save(of_all_dtypes(), self.path("whole"),
                       _use_new_zipfile_serialization=is_zip)
            whole = pathlib.Path(self.path("whole")).read_bytes()
            for length in [*range(0, 64), *range(64, len(whole) - 1, len(whole) // 60)]:
                with open(self.path(), "wb") as out:
                    out.write(whole[:length])
                self.refused(self.path())

    def test_other_files(self):
        for data, word in ((b"", "no checkpoint"), (b"hello, world", "no checkpoint"),
                           (b"\0" * 257 + b"ustar" + b"\0" * 250, "tar form")):
            with open(self.path(), "wb") as out:
                out.write(data)
            self.refused(self.path(), word)
        with zipfile.ZipFile(self.path(), "w") as out:
            out.writestr("a/b", b"")
        self.refused(self.path(), "no checkpoint of PyTorch's")
        self.refused(self.path("absent"), "No such file")


if __name__ == "__main__":
    unittest.main(verbosity=2)
