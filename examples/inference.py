#!/usr/bin/env python3
"""A trained model inside a program in Python, with nothing but ctypes: what inference.c does.
Run as: inference.py MODEL SAMPLE."""

import ctypes
import pathlib
import sys

MAX_DIMS = 8
F32 = 0  # cr_dtype


class Shape(ctypes.Structure):
    _fields_ = [("ndim", ctypes.c_int), ("dim", ctypes.c_int64 * MAX_DIMS)]


class Port(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("dtype", ctypes.c_int), ("shape", Shape)]


def load_library():
    cresset = ctypes.CDLL("libcresset.so.0")
    signatures = {
        "cr_session_load": (ctypes.c_void_p, ctypes.c_char_p),
        "cr_session_input_at": (Port, ctypes.c_void_p, ctypes.c_int),
        "cr_session_input": (ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, Shape,
                             ctypes.c_int),
        "cr_session_run": (ctypes.c_int, ctypes.c_void_p),
        "cr_session_output": (ctypes.POINTER(ctypes.c_float), ctypes.c_void_p, ctypes.c_int,
                              ctypes.POINTER(Shape)),
        "cr_session_free": (None, ctypes.c_void_p),
        "cr_shape_numel": (ctypes.c_int64, ctypes.POINTER(Shape)),
        "cr_error_message": (ctypes.c_char_p,),
    }
    for name, (result, *arguments) in signatures.items():
        function = getattr(cresset, name)
        function.restype, function.argtypes = result, arguments
    return cresset


def run(cresset, session, sample):
    """The numbers of the first output for the bytes of one sample; None on failure."""
    shape = cresset.cr_session_input_at(session, 0).shape
    shape.dim[0] = 1  # the batch, of any size
    if len(sample) != 4 * cresset.cr_shape_numel(shape):
        sys.exit("inference.py: the sample has another size than the model's input")
    cresset.cr_session_input(session, 0, sample, shape, F32)
    cresset.cr_session_run(session)
    output = cresset.cr_session_output(session, 0, shape)
    return output[:cresset.cr_shape_numel(shape)] if output else None


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: inference.py MODEL SAMPLE")
    cresset = load_library()
    session = cresset.cr_session_load(sys.argv[1].encode())
    numbers = session and run(cresset, session, pathlib.Path(sys.argv[2]).read_bytes())
    if not numbers:
        sys.exit(f"inference.py: {cresset.cr_error_message().decode()}")
    print(*(f"{number:.5f}" for number in numbers), sep="\n")
    cresset.cr_session_free(session)


if __name__ == "__main__":
    main()
