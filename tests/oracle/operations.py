#!/usr/bin/env python3
"""docs/operations.md, the table of operations, made from the op records: fails if the page is not
what the library says. `operations.py --write` writes it."""
import ctypes
import sys

try:
    import torch  # noqa: F401  (the binding needs it)
except ImportError as missing:
    print(f"skipped: PyTorch is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr

PAGE = cr.ROOT / "docs/operations.md"
HEAD = """# Operations

Every operation of the library, from its record (`tests/oracle/operations.py --write` makes this
page, and a test compares the two). An operation can be run by this name with `cr_op_find` and
`cr_apply`; its C function has the same name after `cr_`, or `cr_functional_` where a layer has the
plain one. *Gradient*: yes, or no where there is none by nature. Names that end in `_backward` are
kernels that gradients use.

| operation | inputs | attributes | gradient | what it is |
| --- | --- | --- | --- | --- |
"""


class Record(ctypes.Structure):
    """The beginning of cr_op."""
    _fields_ = [("name", ctypes.c_char_p), ("summary", ctypes.c_char_p),
                ("input_names", ctypes.c_char_p)]


def words(op):
    record = ctypes.cast(op.at, ctypes.POINTER(Record)).contents
    kind, offset, i, attributes = ctypes.c_int(), ctypes.c_int64(), 0, []
    while (name := cr.lib.oracle_op_attribute(op.at, i, ctypes.byref(kind),
                                              ctypes.byref(offset))) is not None:
        attributes.append(name.decode())
        i += 1
    gradient = "no" if cr.lib.oracle_op_flags(op.at) & cr.NOT_DIFFERENTIABLE else "yes"
    summary = (record.summary or b"").decode().replace("|", "\\|")
    return [f"`{record.name.decode()}`", record.input_names.decode(), ", ".join(attributes),
            gradient, summary]


def main():
    rows = sorted(words(op) for op in cr.table())
    page = HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        print("docs/operations.md is not what the records say; run operations.py --write")
        sys.exit(1)
    lacking = [row[0] for row in rows if not row[4]]
    if lacking:
        print("records without a summary:", *lacking)
        sys.exit(1)
    print(f"{len(rows)} operations")


if __name__ == "__main__":
    main()
