"""Runs the built command for the tests of this folder. CRESSET names the program."""
import json
import os
import subprocess
import unittest

CRESSET = os.environ.get("CRESSET", "build/cresset")


def run(*words, env=None, cwd=None, timeout=300, stdin=None):
    """The finished process of one call: returncode, stdout, stderr."""
    settings = {key: value for key, value in os.environ.items()
                if key not in ("COLUMNS", "NO_COLOR")}
    settings.update(env or {})
    return subprocess.run([CRESSET, *map(str, words)], capture_output=True, text=True,
                          env=settings, cwd=cwd, timeout=timeout, input=stdin)


def commands():
    """The names of the subcommands, as the general help lists them."""
    names, inside = [], False
    for line in run("--help").stdout.splitlines():
        if line.startswith("  ") and inside:
            if line[2] != " ":
                names.append(line.split()[0])
        else:
            inside = line == "Commands"
    return names


class CommandTest(unittest.TestCase):
    """A test case with the assertions that fit a command."""

    def assert_done(self, *words, **settings):
        result = run(*words, **settings)
        self.assertEqual(result.returncode, 0, f"{words}: {result.stderr}{result.stdout}")
        return result.stdout

    def assert_json(self, *words, **settings):
        return json.loads(self.assert_done(*words, **settings))

    def assert_refused(self, status, sentence, *words, **settings):
        """The call ends with `status` and one line on standard error that holds `sentence`."""
        result = run(*words, **settings)
        self.assertEqual(result.returncode, status, f"{words}: {result.stderr}{result.stdout}")
        self.assertIn(sentence, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertTrue(result.stderr.startswith("cresset"), result.stderr)
        return result.stderr
