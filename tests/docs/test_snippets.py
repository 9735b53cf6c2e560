#!/usr/bin/env python3
"""Every block of C in the README and the guides is code that compiles: either it stands so in an
example, which the build compiles, or it compiles by itself, at file scope or in a function. What
such a block takes for granted stands before it in a comment: <!-- given: cr_tensor *x; -->.
Run as: test_snippets.py SOURCE_TREE."""

import pathlib
import re
import subprocess
import sys

BLOCK = re.compile(r"(?:<!-- given:(?P<given>.*?)-->\s*)?^```c\n(?P<code>.*?)^```", re.S | re.M)
COMPILE = ["cc", "-xc", "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wno-unused",
           "-Wno-missing-field-initializers", "-fsyntax-only", "-"]
HEAD = "#include <stdio.h>\n#include <stdlib.h>\n#include <cresset/cresset.h>\n"


def squeezed(text):
    """The lines without indentation and blank lines."""
    return "\n" + "\n".join(line.strip() for line in text.splitlines() if line.strip()) + "\n"


def compiles(root, source):
    """What the compiler complains of; "" if nothing."""
    done = subprocess.run([*COMPILE, f"-I{root / 'include'}"], input=source, text=True,
                          capture_output=True, check=False)
    return done.stderr


def fault_of_block(root, examples, given, code):
    if any(squeezed(code) in example for example in examples):
        return ""
    body = f"{given}\nvoid snippet(void);\nvoid snippet(void)\n{{\n{code}\n}}\n"
    return compiles(root, f"{HEAD}{given}\n{code}") and compiles(root, HEAD + body)


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    examples = [squeezed(path.read_text()) for path in sorted((root / "examples").glob("*.c"))]
    count = faults = 0
    for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        text = path.read_text() if path.exists() else ""
        for block in BLOCK.finditer(text):
            count += 1
            fault = fault_of_block(root, examples, block["given"] or "", block["code"])
            if fault:
                line = text[:block.start("code")].count("\n") + 1
                print(f"{path.relative_to(root)}:{line}: does not compile\n{fault}")
                faults += 1
    print(f"{count} blocks of C, {faults} faults")
    return 1 if faults or not count else 0


if __name__ == "__main__":
    sys.exit(main())
