"""Writes the tables of docs/performance.md from JSON files of bench/run.sh: report.py SUITE=FILE…

A table stands between two comments, <!-- SUITE --> and <!-- end of SUITE -->."""
import contextlib
import io
import json
import os
import re
import sys

from compare import print_all, print_means

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "performance.md")


def tables(path):
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        print_all(rows)
        print_means(rows)
    return text.getvalue()


def main():
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    for word in sys.argv[1:]:
        suite, path = word.split("=", 1)
        begin, end = f"<!-- {suite} -->\n", f"<!-- end of {suite} -->"
        if begin not in page or end not in page:
            sys.exit(f"docs/performance.md has no place for the table of {suite}")
        page = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}",
                      lambda _: f"{begin}\n{tables(path)}\n{end}", page, flags=re.S)
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(page)


if __name__ == "__main__":
    main()
